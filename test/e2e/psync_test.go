package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// trio is a shard of a primary and two replicas, in a cluster of three primaries.
type trio struct {
	c        *proc.Cluster
	old      *proc.Node
	replicas []*proc.Node
	heir     *proc.Node // after elect
	sibling  *proc.Node
}

const trioTag = "{bar}" // in the first of three shards

func newTrio(t *testing.T) *trio {
	t.Helper()
	x := &trio{c: proc.FormShards(t, []int{2, 0, 0})}
	x.old, x.replicas = x.c.Nodes[0], x.c.Nodes[3:]
	x.old.Must("SET", trioTag, "1")
	for _, r := range x.replicas {
		proc.WaitInStep(t, x.old, r)
	}
	return x
}

// elect waits until one of the replicas has taken over from the dead primary and the
// other one follows it.
func (x *trio) elect(t *testing.T) {
	t.Helper()
	proc.Wait(t, proc.Patience, "a replica is elected", func() string {
		for i, r := range x.replicas {
			if _, err := r.Do("SET", trioTag+"after", "1"); err == nil {
				x.heir, x.sibling = r, x.replicas[1-i]
				return ""
			}
		}
		return "no replica takes a write"
	})
	x.follows(t, x.sibling)
}

// follows waits until a node is a replica of the heir.
func (x *trio) follows(t *testing.T, n *proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, fmt.Sprintf("%s follows %s", n, x.heir), func() string {
		if info := n.Info("replication"); info["master_port"] != strconv.Itoa(x.heir.Port) || info["master_link_status"] != "up" {
			return fmt.Sprintf("it follows port %s, link %s", info["master_port"], info["master_link_status"])
		}
		return ""
	})
}

// syncs returns the counters of the heir.
func (x *trio) syncs(t *testing.T) (full, partial int64) {
	t.Helper()
	return x.heir.InfoInt("stats", "sync_full"), x.heir.InfoInt("stats", "sync_partial_ok")
}

var askedFor = regexp.MustCompile(`Trying a partial resynchronization \(request [0-9a-f]{40}:(\d+)\)`)

// Goal: after the kill of a primary with two replicas under writers nobody is sent
// the whole data set but who has something that the successor never had. Whether
// that is so is read from the offsets that PSYNC asked for; the full and partial
// syncs counted by the successor must be these.
func TestKilledPrimaryCostsNoFullSync(t *testing.T) {
	x := newTrio(t)
	w := &shardWriter{tag: "bar", nodes: x.c.Nodes}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.run(ctx) })
	defer wg.Wait()
	defer cancel()
	proc.Wait(t, proc.Patience, "writer at work", func() string {
		if n := w.safe.Load(); n < 2000 {
			return fmt.Sprintf("%d writes confirmed", n)
		}
		return ""
	})
	x.old.Kill()
	x.elect(t)
	cancel()
	wg.Wait()
	second := x.heir.InfoInt("replication", "second_repl_offset")
	asked := askedFor.FindAllStringSubmatch(x.sibling.Log(), -1)
	if len(asked) == 0 {
		t.Fatalf("%s did not ask for a partial synchronisation", x.sibling)
	}
	at, _ := strconv.ParseInt(asked[len(asked)-1][1], 10, 64)
	full, partial := x.syncs(t)
	if ahead := at > second; ahead && full != 1 || !ahead && (full != 0 || partial != 1) {
		t.Errorf("the sibling asked from %d, the histories part at %d: sync_full %d, sync_partial_ok %d", at, second, full, partial)
	}
	proc.WaitInStep(t, x.heir, x.sibling)
	w.check(t, x.c.Client(), map[string]bool{x.old.Addr(): true})

	// The old one comes back without its memory, and has nothing to continue.
	x.old.Start()
	x.follows(t, x.old)
	proc.WaitInStep(t, x.heir, x.old)
	now, _ := x.syncs(t)
	if now != full+1 {
		t.Errorf("sync_full went from %d to %d for a node that came back empty, want one more", full, now)
	}
	if strings.Contains(x.old.Log(), "Successful partial resynchronization") {
		t.Errorf("an empty node continued the stream")
	}
}

// Goal: a killed primary that comes back from its snapshot continues with its
// successor if it had nothing that the successor lacks; if it had, it is sent
// everything, once. Method: the write that nobody received is made while the
// replicas are stopped and cut off.
func TestReturningPrimary(t *testing.T) {
	for _, diverged := range []bool{false, true} {
		t.Run(fmt.Sprint("diverged ", diverged), func(t *testing.T) {
			x := newTrio(t)
			fillNode(t, x.old, trioTag)
			for _, r := range x.replicas {
				proc.WaitInStep(t, x.old, r)
			}
			if diverged {
				for _, r := range x.replicas {
					r.Freeze()
				}
				x.old.Must("CLIENT", "KILL", "TYPE", "replica")
				proc.Wait(t, proc.Patience, "the links are gone", func() string {
					if n := x.old.InfoInt("replication", "connected_slaves"); n != 0 {
						return fmt.Sprint(n, " replicas")
					}
					return ""
				})
				x.old.Must("SET", trioTag+"nobody", "received this")
			}
			x.old.Must("SAVE")
			offset := x.old.InfoInt("replication", "master_repl_offset")
			x.old.Kill()
			if diverged {
				for _, r := range x.replicas {
					r.Signal(syscall.SIGCONT)
				}
			}
			x.elect(t)
			if full, partial := x.syncs(t); full != 0 || partial != 1 {
				t.Errorf("%s after the takeover: sync_full %d, sync_partial_ok %d; want 0, 1", x.heir, full, partial)
			}
			second := x.heir.InfoInt("replication", "second_repl_offset")
			if ahead := offset+1 > second; ahead != diverged {
				t.Fatalf("the old primary ended at %d, the histories part at %d: the test does not show what it means to", offset, second)
			}
			x.old.Start()
			x.follows(t, x.old)
			proc.WaitInStep(t, x.heir, x.old)
			proc.WaitInStep(t, x.heir, x.sibling)
			wantFull, wantPartial := int64(0), int64(2)
			if diverged {
				wantFull, wantPartial = 1, 1
			}
			if full, partial := x.syncs(t); full != wantFull || partial != wantPartial {
				t.Errorf("%s after the return: sync_full %d, sync_partial_ok %d; want %d, %d", x.heir, full, partial, wantFull, wantPartial)
			}
			if got := strings.Contains(x.old.Log(), "Successful partial resynchronization"); got == diverged {
				t.Errorf("the old primary's log tells of a partial resynchronisation: %v", got)
			}
			if got := x.heir.Text("EXISTS", trioTag+"nobody"); got != "0" {
				t.Errorf("what nobody had received is back")
			}
			h, o := x.heir.Info("replication"), x.old.Info("replication")
			if h["master_replid"] != o["master_replid"] {
				t.Errorf("replid %s at the successor, %s at the old primary", h["master_replid"], o["master_replid"])
			}
		})
	}
}

// Goal: in standalone mode a replica, and then a primary, that ends in order and
// starts again from its snapshot goes on with the stream: no full sync, the same
// offset, the old id as the second one. Also with redis-server on either side.
func TestPartialSyncAfterRestart(t *testing.T) {
	programs := map[string]func(testing.TB) proc.Program{"skein": proc.Skein, "redis": proc.Redis}
	for _, pair := range [][2]string{{"skein", "skein"}, {"skein", "redis"}, {"redis", "skein"}} {
		t.Run(pair[0]+" and replica "+pair[1], func(t *testing.T) {
			args := []string{"--repl-diskless-sync-delay", "0", "--save", "3600 1"}
			primary := proc.StartNode(t, programs[pair[0]](t), args...)
			replica := proc.StartNode(t, programs[pair[1]](t), append(args, "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.Port))...)
			fillNode(t, primary, "")
			primary.Must("SELECT", "0")
			proc.WaitInStep(t, primary, replica)

			replica.Stop()
			primary.Must("SET", "while the replica was away", "1")
			replica.Start()
			proc.WaitInStep(t, primary, replica)
			if full, ok := primary.InfoInt("stats", "sync_full"), primary.InfoInt("stats", "sync_partial_ok"); full != 1 || ok != 1 {
				t.Errorf("replica restarted: sync_full %d, sync_partial_ok %d; want 1, 1", full, ok)
			}

			before := primary.Info("replication")
			primary.Stop()
			primary.Start()
			primary.Must("SET", "after the primary's restart", "1")
			proc.WaitInStep(t, primary, replica)
			if full, ok := primary.InfoInt("stats", "sync_full"), primary.InfoInt("stats", "sync_partial_ok"); full != 0 || ok != 1 {
				t.Errorf("primary restarted: sync_full %d, sync_partial_ok %d; want 0, 1", full, ok)
			}
			after := primary.Info("replication")
			if after["master_replid2"] != before["master_replid"] || after["master_replid"] == before["master_replid"] {
				t.Errorf("ids %s, %s after the restart, %s before: want a new one, and the old one as the second", after["master_replid"], after["master_replid2"], before["master_replid"])
			}
			was, _ := strconv.ParseInt(before["master_repl_offset"], 10, 64)
			second, _ := strconv.ParseInt(after["second_repl_offset"], 10, 64)
			if second < was+1 || second > was+1+1000 { // pings, and what a primary that stops asks of its replicas
				t.Errorf("second_repl_offset %d, want the offset %d before the restart and a little more", second, was)
			}
			if r := replica.Info("replication"); r["master_replid"] != after["master_replid"] {
				t.Errorf("the replica has replid %s, the primary %s", r["master_replid"], after["master_replid"])
			}
		})
	}
}
