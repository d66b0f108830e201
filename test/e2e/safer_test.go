package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/test/forged"
	"github.com/skeindb/skein/test/proc"
)

// What Skein does more safely than the original, each by a setting whose default
// is the safe behaviour. The switch is turned, too, where that shows at once what
// is lost without it.

// candidate is a replica among forged voters whose primary they call failed. It
// has no data to be old, so the rules of age and completeness are off but for
// what args say.
func candidate(t *testing.T, args ...string) (n *proc.Node, b, c, d *forged.Peer) {
	t.Helper()
	third := func(k int) *cluster.SlotSet {
		return forged.Slots(k*cluster.SlotCount/3, (k+1)*cluster.SlotCount/3-1)
	}
	n = startNode(t, 2000, append([]string{"--cluster-replica-validity-factor", "0", "--cluster-sync-guard", "no"}, args...)...)
	b, c, d = forged.Primary(t, "b", 2, third(0)), forged.Primary(t, "c", 3, third(1)), forged.Primary(t, "d", 4, third(2))
	meet(n, b, c, d)
	n.Must("CLUSTER", "REPLICATE", c.ID.String())
	b.Send(b.Fail(c.ID))
	b.Ping()
	waitFlags(t, n, c.ID, "master,fail")
	return n, b, c, d
}

func ack(p *forged.Peer, epoch uint64) {
	m := p.Message(cluster.TypeAuthAck)
	m.CurrentEpoch = epoch
	p.Send(m)
	p.Ping() // what comes before it has been handled when it is answered
}

// Votes of one voter that arrive again do not make a majority.
func TestVoteCountedOnce(t *testing.T) {
	t.Parallel()
	for _, guard := range []string{"yes", "no"} {
		n, b, _, d := candidate(t, "--cluster-vote-once-guard", guard)
		epoch := b.AwaitType(0, cluster.TypeAuthRequest).Msg.CurrentEpoch
		for range 3 {
			ack(b, epoch)
		}
		if got, want := n.IsPrimary(), guard == "no"; got != want {
			t.Errorf("cluster-vote-once-guard %s: three votes of one voter made a primary: %v", guard, got)
		}
		if guard == "yes" {
			ack(d, epoch)
			if !n.IsPrimary() {
				t.Errorf("the votes of two voters of three did not make a primary")
			}
		}
	}
}

// An election that nobody wins is tried again within the node timeout.
func TestLostElectionIsRetried(t *testing.T) {
	t.Parallel()
	n, b, _, d := candidate(t)
	first := b.AwaitType(0, cluster.TypeAuthRequest)
	second := b.AwaitFrom(0, "a second request", func(r forged.Received) bool {
		return r.Msg.Type == cluster.TypeAuthRequest && r.Msg.CurrentEpoch > first.Msg.CurrentEpoch
	})
	if took := second.At.Sub(first.At); took > 2*time.Second {
		t.Errorf("asked again after %v, want at most the node timeout", took)
	}
	for _, p := range []*forged.Peer{b, d} {
		ack(p, second.Msg.CurrentEpoch)
	}
	if !n.IsPrimary() {
		t.Errorf("the second election was not won")
	}
}

// A replica that has never had its primary's data does not stand for election.
func TestUnsyncedReplicaDoesNotStand(t *testing.T) {
	t.Parallel()
	n, b, _, _ := candidate(t, "--cluster-sync-guard", "yes")
	logged(t, n, "no complete data of this shard")
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); { // twice the longest delay
		if b.Ping(); b.Count(0, cluster.TypeAuthRequest) > 0 {
			t.Fatal("asks for votes without data")
		}
		time.Sleep(20 * time.Millisecond)
	}
	n.Must("CONFIG", "SET", "cluster-sync-guard", "no")
	b.AwaitType(0, cluster.TypeAuthRequest)
}

// A primary that is started again from an old nodes.conf in which its epoch is
// the highest of all becomes the replica of its successor, whose writes stay.
func TestStalePrimaryDoesNotTakeSlotsBack(t *testing.T) {
	for _, guard := range []string{"yes", "no"} {
		if guard == "no" && testing.Short() {
			continue
		}
		c := proc.StartCluster(t, 3, 1, "--cluster-stale-primary-guard", guard)
		old := owner(t, c, "foo")
		heir := c.Replicas(old)[0]
		id := old.Myself().ID
		old.Kill()
		path := filepath.Join(old.Dir, "nodes.conf")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		heir.WaitSet("{foo}new", "1")
		stale := regexp.MustCompile(`(?m)^(`+id+` .* )\d+( connected)`).ReplaceAll(text, []byte("${1}1000$2"))
		stale = regexp.MustCompile(`currentEpoch \d+`).ReplaceAll(stale, []byte("currentEpoch 1000"))
		if !regexp.MustCompile(`(?m)^`+id+` .* myself,master .* 1000 connected`).Match(stale) || !strings.Contains(string(stale), "currentEpoch 1000 ") {
			t.Fatalf("not the file that was wanted:\n%s", stale)
		}
		if err := os.WriteFile(path, stale, 0o644); err != nil {
			t.Fatal(err)
		}
		old.Start()
		if guard == "no" {
			logged(t, heir, "own slots were claimed, becoming a replica", "node="+id)
			continue
		}
		c.WaitHealthy(proc.Patience)
		if me := old.Myself(); !me.Is("slave") || me.Primary != heir.Myself().ID {
			t.Errorf("%s came back as %+v, want a replica of %s", old, me, heir)
		}
		if got := heir.Text("GET", "{foo}new"); got != "1" {
			t.Errorf("the successor's write is %q", got)
		}
		proc.WaitInStep(t, heir, old)
	}
}

// With crash detection by refused connections, a node that is restarted at once
// stays what it is, and one that is frozen is replaced after the node timeout
// as ever.
func TestCrashDetectionRefused(t *testing.T) {
	c := proc.StartCluster(t, 3, 1, "--cluster-crash-detection", "refused", "--cluster-refused-period", "1500", "--save", "900 1")
	victim := owner(t, c, "foo")
	heir := c.Replicas(victim)[0]
	id := victim.Myself().ID
	victim.Must("SET", "{foo}k", "1")
	proc.WaitInStep(t, victim, heir)
	victim.Must("SAVE")
	victim.Kill()
	victim.Start()
	c.WaitHealthy(proc.Patience)
	if me := victim.Myself(); me.ID != id || !me.Is("master") {
		t.Errorf("%s was restarted at once and came back as %+v", victim, me)
	}
	proc.WaitInStep(t, victim, heir)

	start := time.Now()
	victim.Freeze()
	heir.WaitSet("{foo}k", "2")
	if took := time.Since(start); took < proc.NodeTimeout {
		t.Errorf("a frozen node was replaced after %v, want at least %v", took, proc.NodeTimeout)
	}
	victim.Signal(syscall.SIGCONT)
	c.WaitHealthy(proc.Patience)
}

// Of two replicas the one with more data is elected, also right after it lost
// sight of an earlier election. The other cannot authenticate and falls behind.
func TestGreaterOffsetWins(t *testing.T) {
	rounds := max(3, *failoverRounds)
	if testing.Short() {
		rounds = 1
	}
	c := proc.StartCluster(t, 3, 2, "--cluster-crash-detection", "refused", "--cluster-allow-replica-migration", "no")
	for round := range rounds {
		// A voter that has not heard of a role yet refuses its vote.
		proc.Wait(t, proc.Patience, "all know all roles", func() string {
			for _, n := range c.Nodes {
				peers, err := n.Peers()
				if err != nil {
					return err.Error()
				}
				if k := len(slices.DeleteFunc(peers, func(p proc.Peer) bool { return !p.Is("slave") })); k != 6 {
					return fmt.Sprintf("%s knows %d replicas", n, k)
				}
			}
			return ""
		})
		p := owner(t, c, "foo")
		replicas := c.Replicas(p)
		if len(replicas) != 2 {
			t.Fatalf("%s has %d replicas, want 2", p, len(replicas))
		}
		// The one that rank would prefer if the data were the same is the one to fall behind.
		slices.SortFunc(replicas, func(a, b *proc.Node) int { return strings.Compare(a.Myself().ID, b.Myself().ID) })
		stale, best := replicas[0], replicas[1]
		for _, r := range replicas {
			proc.WaitInStep(t, p, r)
		}
		stale.Must("CONFIG", "SET", "masterauth", "wrong")
		p.Must("CLIENT", "KILL", "TYPE", "replica")
		proc.Wait(t, proc.Patience, "one replica is left", func() string {
			if up, down := best.Info("replication")["master_link_status"], stale.Info("replication")["master_link_status"]; up != "up" || down != "down" {
				return fmt.Sprintf("links %s, %s", up, down)
			}
			return ""
		})
		for i := range 200 {
			p.Must("SET", fmt.Sprintf("{foo}%d", i), round)
		}
		proc.WaitInStep(t, p, best)
		p.Kill()
		proc.Wait(t, proc.Patience, "a replica is elected", func() string {
			for _, r := range replicas {
				if r.IsPrimary() {
					return ""
				}
			}
			return "none"
		})
		if stale.IsPrimary() {
			t.Fatalf("round %d: the replica with less data won", round)
		}
		stale.Must("CONFIG", "SET", "masterauth", "")
		p.Start()
		c.WaitHealthy(proc.Patience)
		if got, want := best.Text("GET", "{foo}199"), fmt.Sprint(round); got != want {
			t.Errorf("round %d: {foo}199 is %q, want %q", round, got, want)
		}
	}
}
