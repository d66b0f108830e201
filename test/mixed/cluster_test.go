package mixed

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// failoverLimit is how long a shard may be without a primary that serves: the
// time to suspect, to agree, and to elect, on a busy machine.
const failoverLimit = proc.NodeTimeout*3/2 + 5*time.Second

// layout is a cluster of three primaries of one kind with a replica of the other
// kind each. All votes in an election come from the kind that the candidate is
// not.
type layout struct {
	*proc.Cluster
	t    *testing.T
	real proc.Real
	top  *proc.Node // a primary
	sub  *proc.Node // its replica
	tag  string     // a hash tag that they serve

	elected time.Time // when they exchanged their roles last, zero if never
}

// forEachLayout runs a test in both layouts, with every kind of real server.
func forEachLayout(t *testing.T, run func(t *testing.T, l *layout)) {
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := proc.Skein(t), r.Program(t)
		for _, kinds := range [][2]proc.Program{{real, skein}, {skein, real}} {
			t.Run(kinds[0].Name+" primaries", func(t *testing.T) {
				if testing.Short() && kinds[0].Skein {
					t.Skip("the other way round is enough for the short form")
				}
				run(t, startLayout(t, r, kinds[0], kinds[1]))
			})
		}
	})
}

func startLayout(t *testing.T, r proc.Real, primaries, replicas proc.Program) *layout {
	c := proc.StartClusterOf(t, slices.Concat(slices.Repeat([]proc.Program{primaries}, 3), slices.Repeat([]proc.Program{replicas}, 3)), 1)
	l := &layout{Cluster: c, t: t, real: r}
	for n, tag := range fill(t, c) {
		if tag == "{foo}" {
			l.top, l.tag = n, tag
		}
	}
	l.sub = c.Replicas(l.top)[0]
	if l.top.Program.Name != primaries.Name || l.sub.Program.Name != replicas.Name {
		t.Fatalf("primary %s, replica %s", l.top, l.sub)
	}
	inStep(t, l.top, l.sub)
	return l
}

// swap notes that top and sub have exchanged their roles.
func (l *layout) swap() { l.top, l.sub, l.elected = l.sub, l.top, time.Now() }

// rest lets the time pass in which Redis cannot hold another election of the
// shard (cluster specification, 8.1.4 and 8.4.5): its voters grant one in 2T, and
// within 4T of its last one a candidate counts the votes of that one once more
// and becomes a primary with an old epoch, which nobody heeds.
func (l *layout) rest() {
	if l.real != proc.Valkey8 && !l.elected.IsZero() {
		time.Sleep(time.Until(l.elected.Add(4*proc.NodeTimeout + time.Second)))
	}
}

// A killed primary is succeeded by its replica of the other kind, with the votes
// of the primaries, which are of the dead one's kind; it serves soon, with all
// the data, and the old one comes back as its replica. Then the same again the
// other way round, so that every node has been both.
func TestMixedFailover(t *testing.T) {
	forEachLayout(t, func(t *testing.T, l *layout) {
		for range 2 {
			l.kill()
			if !*long {
				return
			}
		}
	})
}

func (l *layout) kill() {
	l.t.Helper()
	digest := l.top.Digest()
	l.top.Kill()
	took := l.sub.WaitSet(l.tag+"after", "1")
	l.t.Logf("%s serves %v after %s was killed", l.sub, took.Round(10*time.Millisecond), l.top)
	if took > failoverLimit {
		l.t.Errorf("%s serves %v after %s was killed, want at most %v", l.sub, took, l.top, failoverLimit)
	}
	l.sub.Must("DEL", l.tag+"after")
	if got := l.sub.Digest(); got != digest {
		l.t.Errorf("digest %s after the failover, %s before", got, digest)
	}
	l.top.Start()
	l.WaitHealthy(proc.Patience)
	exchanged(l.t, l.sub, l.top)
	l.swap()
}

// CLUSTER FAILOVER in its three forms, both ways. A writer loses no acknowledged
// write in the form that agrees with the primary.
func TestMixedManualFailover(t *testing.T) {
	forEachLayout(t, func(t *testing.T, l *layout) {
		forms := []string{"", "", "FORCE", "FORCE", "TAKEOVER", "TAKEOVER"}
		if !*long {
			forms = forms[:1]
		}
		for _, form := range forms {
			var option []any
			if form != "" {
				option = []any{form}
			}
			l.rest()
			w := startWriter(l)
			w.awaitSome()
			l.sub.Must(append([]any{"CLUSTER", "FAILOVER"}, option...)...)
			proc.Wait(t, proc.Patience, "the new primary", func() string {
				if me := l.sub.Myself(); !me.Is("master") {
					return fmt.Sprint(me)
				}
				return ""
			})
			w.awaitSome()
			acked, tried := w.stop()
			exchanged(t, l.sub, l.top)
			l.swap()
			l.WaitHealthy(proc.Patience)
			got := l.top.Must("GET", l.tag+"counter")
			t.Logf("%s took over by FAILOVER %s; counter %v, acknowledged %d of %d", l.top, form, got, acked, tried)
			var n int
			fmt.Sscan(fmt.Sprint(got), &n)
			if n > tried || n < acked && form == "" {
				t.Errorf("counter %d, want from %d to %d", n, acked, tried)
			}
			l.top.Must("DEL", l.tag+"counter")
		}
	})
}

// FORCE and TAKEOVER when the primary does not answer: it hangs, but nobody has
// agreed on that yet.
func TestMixedForcedFailover(t *testing.T) {
	if !*long {
		t.Skip("with -long (make mixed)")
	}
	forEachLayout(t, func(t *testing.T, l *layout) {
		for _, form := range []string{"FORCE", "TAKEOVER"} {
			l.top.Freeze()
			l.sub.Must("CLUSTER", "FAILOVER", form)
			took := l.sub.WaitSet(l.tag+"forced", form)
			t.Logf("%s serves %v after FAILOVER %s", l.sub, took.Round(time.Millisecond), form)
			if took > proc.NodeTimeout {
				t.Errorf("%s serves %v after FAILOVER %s, want less than the node timeout", l.sub, took, form)
			}
			l.top.Signal(syscall.SIGCONT)
			exchanged(t, l.sub, l.top)
			l.swap()
			l.WaitHealthy(proc.Patience)
		}
	})
}

// A replica is reset, softly and hard, forgotten by the others, met again and
// made a replica again; a soft reset keeps its id, a hard one changes it.
func TestMixedForgetAndReset(t *testing.T) {
	if !*long {
		t.Skip("with -long (make mixed)")
	}
	forEachLayout(t, func(t *testing.T, l *layout) {
		for _, hard := range []string{"SOFT", "HARD"} {
			id := l.sub.Text("CLUSTER", "MYID")
			l.sub.Must("CLUSTER", "RESET", hard)
			if n := l.sub.Text("DBSIZE"); n != "0" {
				t.Errorf("DBSIZE %s after RESET %s of a replica", n, hard)
			}
			if same := l.sub.Text("CLUSTER", "MYID") == id; same != (hard == "SOFT") {
				t.Errorf("RESET %s: the same id: %v", hard, same)
			}
			var others []*proc.Node
			for _, n := range l.Nodes {
				if n != l.sub {
					others = append(others, n)
				}
			}
			forget(t, id, others)
			if hard == "SOFT" { // its id is refused for a minute
				for _, n := range others {
					if n.Program.Name == proc.Valkey8.Name {
						n.Must("CONFIG", "SET", "cluster-blacklist-ttl", 1)
					}
				}
				l.sub.Must("CLUSTER", "RESET", "HARD")
			}
			l.sub.Must("CLUSTER", "MEET", "127.0.0.1", l.top.Port)
			proc.WaitKnown(t, len(l.Nodes), l.Nodes...)
			follow(t, l.sub, l.top)
			inStep(t, l.top, l.sub)
			l.WaitHealthy(proc.Patience)
		}
	})
}
