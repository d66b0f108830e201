package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/skeindb/skein/test/proc"
)

// Hash tags of which each primary of a fresh cluster of three has one.
var shardTags = []string{"bar", "c", "foo"} // slots 5061, 7365, 12182

// From the kill of a primary to the first write that its successor serves: less than
// a second election as Redis times it, and enough for one on a machine that does
// more than this. TestFailoverTime has the figures.
const failoverLimit = failoverGoal + 3*time.Second

// failoverGoal is what it takes when the machine does nothing else.
const failoverGoal = proc.NodeTimeout*3/2 + 2*time.Second

// A primary is killed while every shard is written to at full speed, again and
// again, another shard each time: its replica is elected and serves in time, with
// every write that it had received; clients go on by themselves; the killed node
// comes back under its id as a replica with the same data.
func TestFailoverUnderWriters(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 2
	}
	c := proc.StartCluster(t, 3, 1)
	client := c.Client()
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	ru, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addrs, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ru.Close()

	var times []time.Duration
	for round := range rounds {
		tag := shardTags[round%len(shardTags)]
		took, dropped := failoverRound(t, c, round, tag, []*clientLoop{
			{name: "go-redis", key: "{" + tag + "}go", set: func(ctx context.Context, k, v string) error { return client.Set(ctx, k, v, 0).Err() }},
			{name: "rueidis", key: "{" + tag + "}ru", set: func(ctx context.Context, k, v string) error {
				return ru.Do(ctx, ru.B().Set().Key(k).Value(v).Build()).Error()
			}},
		})
		if t.Failed() {
			t.Fatalf("in round %d of %d", round+1, rounds)
		}
		t.Logf("round %d: shard of %q served again after %v; %d acknowledged writes had not reached the replica", round+1, tag, took.Round(time.Millisecond), dropped)
		times = append(times, took)
	}
	slices.Sort(times)
	if median := times[rounds/2]; rounds > 2 && median > failoverGoal {
		t.Errorf("half of %d failovers took more than %v, want at most %v", rounds, median, failoverGoal)
	}
	t.Logf("time without service in %d rounds: median %v, longest %v", rounds, times[rounds/2].Round(time.Millisecond), times[rounds-1].Round(time.Millisecond))
}

func failoverRound(t *testing.T, c *proc.Cluster, round int, tag string, loops []*clientLoop) (took time.Duration, dropped int64) {
	t.Helper()
	victim := owner(t, c, tag)
	replicas := c.Replicas(victim)
	if len(replicas) != 1 {
		t.Fatalf("%s has %d replicas, want 1", victim, len(replicas))
	}
	heir, id := replicas[0], victim.Myself().ID

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	var writers []*shardWriter
	var mine *shardWriter
	for _, other := range shardTags {
		w := &shardWriter{tag: other, nodes: c.Nodes}
		writers = append(writers, w)
		if other == tag {
			mine = w
		}
		wg.Go(func() { w.run(ctx) })
	}
	for _, l := range loops {
		wg.Go(func() { l.run(ctx) })
	}
	stop := func() {
		cancel()
		wg.Wait()
	}
	defer stop()
	proc.Wait(t, proc.Patience, "writers are at work", func() string {
		for _, w := range writers {
			if w.acked.Load() < 3000 || w.safe.Load() < 1000 {
				return fmt.Sprintf("shard of %q: %d writes, %d of them confirmed by a replica", w.tag, w.acked.Load(), w.safe.Load())
			}
		}
		for _, l := range loops {
			if l.done.Load() == 0 {
				return fmt.Sprintf("%s: no write, last error %v", l.name, l.err.Load())
			}
		}
		return ""
	})

	victim.Kill()
	killed := time.Now()
	before := mine.acked.Load()
	counts := make([]int64, len(loops))
	for i, l := range loops {
		counts[i] = l.done.Load()
	}
	proc.Wait(t, proc.Patience, heir.String()+" serves", func() string {
		if mine.acked.Load() == before {
			return "no write acknowledged since the kill"
		}
		return ""
	})
	took = time.Since(killed)
	if took > failoverLimit {
		t.Errorf("served again %v after the kill, want at most %v", took, failoverLimit)
	}
	if p := heir.Myself(); !p.Is("master") {
		t.Errorf("%s has flags %v after the failover", heir, p.Flags)
	}
	proc.Wait(t, proc.Patience, "clients go on by themselves", func() string {
		for i, l := range loops {
			if l.done.Load() <= counts[i]+1 {
				return fmt.Sprintf("%s: no write since the kill, last error %v", l.name, l.err.Load())
			}
		}
		return ""
	})

	victim.Start() // the writers do not stop for it
	c.WaitHealthy(proc.Patience)
	me := victim.Myself()
	if me.ID != id || !me.Is("slave") || me.Primary != heir.Myself().ID {
		t.Errorf("%s came back as %+v, want id %s, a replica of %s", victim, me, id, heir.Myself().ID)
	}
	stop()
	proc.WaitInStep(t, heir, victim)
	client := c.Client()
	for _, w := range writers {
		dropped += w.check(t, client, map[string]bool{victim.Addr(): true})
	}
	for _, p := range c.Primaries() { // rings of the next round are new
		if p != heir {
			for _, r := range c.Replicas(p) {
				proc.WaitInStep(t, p, r)
			}
		}
		p.Must("FLUSHALL")
	}
	return took, dropped
}

// owner is the node that serves the slot of a hash tag.
func owner(t *testing.T, c *proc.Cluster, tag string) *proc.Node {
	t.Helper()
	for _, n := range c.Primaries() {
		if _, err := n.Do("EXISTS", "{"+tag+"}"); err == nil {
			return n
		}
	}
	t.Fatalf("no primary serves {%s}", tag)
	return nil
}

// A primary that hangs is replaced; when it wakes it finds that out by itself,
// becomes a replica, drops what only it had, and is in step again.
func TestPausedPrimaryIsDemoted(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	sleeper := owner(t, c, "foo")
	heir := c.Replicas(sleeper)[0]
	others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *proc.Node) bool { return n == sleeper })
	sleeper.Must("SET", "{foo}old", "1")
	id := sleeper.Myself().ID

	sleeper.Freeze()
	start := time.Now()
	heir.WaitSet("{foo}new", "2")
	if took := time.Since(start); took > failoverLimit {
		t.Errorf("served again %v after SIGSTOP, want at most %v", took, failoverLimit)
	}
	proc.Wait(t, proc.Patience, "the others agree", func() string {
		for _, n := range others {
			if info, err := n.ClusterInfo(); err != nil || info["cluster_state"] != "ok" {
				return fmt.Sprintf("%s: %v, state %s", n, err, info["cluster_state"])
			}
		}
		return ""
	})

	sleeper.Signal(syscall.SIGCONT)
	c.WaitHealthy(proc.Patience)
	if me := sleeper.Myself(); me.ID != id || !me.Is("slave") || me.Primary != heir.Myself().ID {
		t.Errorf("%s woke as %+v, want id %s, a replica of %s", sleeper, me, id, heir.Myself().ID)
	}
	proc.WaitInStep(t, heir, sleeper)
	if got := heir.Text("MGET", "{foo}old", "{foo}new"); got != "[1 2]" {
		t.Errorf("data after the failover: %s, want [1 2]", got)
	}
}

// A manual failover loses nothing and takes a moment.
func TestManualFailover(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	old := owner(t, c, "foo")
	heir := c.Replicas(old)[0]
	w := &shardWriter{tag: "foo", nodes: c.Nodes}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.run(ctx) })
	defer wg.Wait()
	defer cancel()
	proc.Wait(t, proc.Patience, "writer at work", func() string {
		if w.safe.Load() < 1000 {
			return fmt.Sprintf("%d writes confirmed", w.safe.Load())
		}
		return ""
	})
	if got := heir.Text("CLUSTER", "FAILOVER"); got != "OK" {
		t.Fatalf("CLUSTER FAILOVER: %s", got)
	}
	took := proc.Wait(t, proc.Patience, "roles exchanged", func() string {
		if h, o := heir.Myself(), old.Myself(); !h.Is("master") || !o.Is("slave") {
			return fmt.Sprintf("%s is %v, %s is %v", heir, h.Flags, old, o.Flags)
		}
		return ""
	})
	before := w.acked.Load()
	proc.Wait(t, proc.Patience, "writer goes on", func() string {
		if w.acked.Load() == before {
			return "no write since the failover"
		}
		return ""
	})
	cancel()
	wg.Wait()
	c.WaitHealthy(proc.Patience)
	w.check(t, c.Client(), nil) // every acknowledged write is there
	proc.WaitInStep(t, heir, old)
	if full := heir.InfoInt("stats", "sync_full"); full != 0 {
		t.Errorf("the old primary was sent the whole data set %d times, want a partial resynchronisation", full)
	}
	t.Logf("roles exchanged after %v", took.Round(time.Millisecond))
}

// When a replica takes over, its siblings go on with the stream where they
// were: nobody is sent the whole data set again.
func TestSiblingsContinue(t *testing.T) {
	c := proc.StartCluster(t, 3, 2)
	old := owner(t, c, "foo")
	replicas := c.Replicas(old)
	if len(replicas) != 2 {
		t.Fatalf("%s has %d replicas, want 2", old, len(replicas))
	}
	fillNode(t, old, "{foo}")
	for _, r := range replicas {
		proc.WaitInStep(t, old, r)
	}
	old.Kill()
	var heir *proc.Node
	proc.Wait(t, proc.Patience, "a replica is elected", func() string {
		for _, r := range replicas {
			if _, err := r.Do("SET", "{foo}after", "1"); err == nil {
				heir = r
				return ""
			}
		}
		return "no replica takes a write"
	})
	sibling := replicas[0]
	if sibling == heir {
		sibling = replicas[1]
	}
	proc.Wait(t, proc.Patience, "the sibling follows "+heir.String(), func() string {
		if info := sibling.Info("replication"); info["master_port"] != fmt.Sprint(heir.Port) || info["master_link_status"] != "up" {
			return fmt.Sprintf("it follows port %s, link %s", info["master_port"], info["master_link_status"])
		}
		return ""
	})
	proc.WaitInStep(t, heir, sibling)
	if full, partial := heir.InfoInt("stats", "sync_full"), heir.InfoInt("stats", "sync_partial_ok"); full != 0 || partial != 1 {
		t.Errorf("%s: sync_full %d, sync_partial_ok %d; want 0, 1", heir, full, partial)
	}
	old.Start()
	c.WaitHealthy(proc.Patience)
	proc.WaitInStep(t, heir, old)
	proc.WaitInStep(t, heir, sibling)
}
