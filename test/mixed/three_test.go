package mixed

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// A cluster of three kinds at once: Skein, Redis 7.0, and one of the newer two,
// which cannot live together. Each kind has primaries that a Skein node follows,
// and replicas that follow a Skein node; an election needs votes of two kinds at
// least. What has to hold in it is tried one after the other: one view of names
// and shards; a primary of each kind killed and succeeded; a node of each kind
// killed at once; all killed at once; nodes reset, forgotten and met again.
func TestThreeKinds(t *testing.T) {
	forNewer(t, func(t *testing.T, newer proc.Real) {
		skein, old, new := proc.Skein(t), proc.Redis7.Program(t), newer.Program(t)
		c := proc.FormShardsOf(t, []proc.Shard{
			{Primary: skein, Replicas: []proc.Program{old}}, {Primary: skein, Replicas: []proc.Program{new}},
			{Primary: old, Replicas: []proc.Program{skein}}, {Primary: new, Replicas: []proc.Program{skein}},
		}, "--repl-ping-replica-period", "1", "--appendonly", "yes")
		r := &roster{t: t, badges: map[*proc.Node]badge{}}
		for i, n := range c.Nodes[:4] {
			r.shards = append(r.shards, []*proc.Node{n, c.Nodes[4+i]})
		}
		three := &three{roster: r, c: c}
		for _, s := range r.shards {
			three.tags = append(three.tags, tagOf(t, s[0]))
			fillNode(t, s[0], three.tags[len(three.tags)-1])
			inStep(t, s[0], s[1])
		}
		r.dress("three")
		r.agreed("at first")
		for i := range r.shards {
			three.killPrimary(i)
		}
		r.agreed("after a failover of each shard")
		three.killOneOfEach()
		r.agreed("after a loss of each kind")
		three.killAll()
		r.agreed("after a restart of all at once")
		three.resetAndMeet()
	})
}

type three struct {
	*roster
	c    *proc.Cluster
	tags []string // of the shards
}

// tagOf finds a hash tag that a primary serves.
func tagOf(t *testing.T, n *proc.Node) string {
	t.Helper()
	for i := range 1000 {
		tag := fmt.Sprintf("{%d}", i)
		if _, err := n.Do("EXISTS", tag); err == nil {
			return tag
		}
	}
	t.Fatalf("%s serves no key", n)
	return ""
}

func (c *three) killPrimary(i int) {
	c.t.Helper()
	old, heir := c.shards[i][0], c.shards[i][1]
	digest := old.Digest()
	old.Kill()
	took := heir.WaitSet(c.tags[i]+"after", "1")
	c.t.Logf("%s serves %v after %s was killed", heir, took.Round(10*time.Millisecond), old)
	if took > failoverLimit {
		c.t.Errorf("%s serves %v after %s was killed, want at most %v", heir, took, old, failoverLimit)
	}
	heir.Must("DEL", c.tags[i]+"after")
	if got := heir.Digest(); got != digest {
		c.t.Errorf("digest %s after the failover to %s, %s before", got, heir, digest)
	}
	old.Start()
	slices.Reverse(c.shards[i])
	c.c.WaitHealthy(proc.Patience)
	exchanged(c.t, heir, old)
}

// killOneOfEach kills a primary of one kind and replicas of the two others, which
// are its shards' only ones, and starts them again when the heir serves. It comes
// after killPrimary has exchanged all roles.
func (c *three) killOneOfEach() {
	c.t.Helper()
	i, heir := 0, c.shards[0][1]
	victims := []*proc.Node{c.shards[0][0], c.shards[1][1], c.shards[3][1]}
	kinds := map[string]bool{}
	for _, v := range victims {
		kinds[v.Program.Name] = true
		v.Kill()
	}
	if len(kinds) != 3 {
		c.t.Fatalf("no victim of each kind: %v", victims)
	}
	took := heir.WaitSet(c.tags[i]+"after", "1")
	c.t.Logf("%s serves %v after %v were killed", heir, took.Round(10*time.Millisecond), victims)
	heir.Must("DEL", c.tags[i]+"after")
	for _, v := range victims {
		v.Start()
	}
	slices.Reverse(c.shards[i])
	c.c.WaitHealthy(proc.Patience)
	exchanged(c.t, heir, victims[0])
	for _, s := range c.shards {
		inStep(c.t, s[0], s[1])
	}
}

// killAll kills all nodes and starts them at once. Each shard has its data again,
// whoever leads it.
func (c *three) killAll() {
	c.t.Helper()
	var digests []string
	for _, s := range c.shards {
		digests = append(digests, s[0].Digest())
	}
	for _, n := range c.c.Nodes {
		n.Kill()
	}
	for _, n := range c.c.Nodes {
		n.Launch()
	}
	for _, n := range c.c.Nodes {
		n.WaitReady()
	}
	took := c.c.WaitHealthy(proc.Patience)
	c.t.Logf("in order %v after a restart of all", took.Round(10*time.Millisecond))
	for i, s := range c.shards {
		if !s[0].IsPrimary() {
			slices.Reverse(s)
		}
		inStep(c.t, s[0], s[1])
		if got := s[0].Digest(); got != digests[i] {
			c.t.Errorf("%s has digest %s after the restart, %s before", s[0], got, digests[i])
		}
	}
}

// resetAndMeet resets the replica of each kind hard: its old id is forgotten, by
// word of one Skein node except where there is Redis 7.0, and it comes back as a
// new node by a MEET to a node of another kind.
func (c *three) resetAndMeet() {
	c.t.Helper()
	done := map[string]bool{}
	for i := range c.shards {
		n, primary := c.shards[i][1], c.shards[i][0]
		if done[n.Program.Name] {
			continue
		}
		done[n.Program.Name] = true
		id := n.Text("CLUSTER", "MYID")
		n.Must("CLUSTER", "RESET", "HARD")
		var others []*proc.Node
		var first *proc.Node
		for _, o := range c.nodes() {
			if o == n {
				continue
			}
			others = append(others, o)
			if o.Program.Skein && first == nil {
				first = o
			}
		}
		first.Must("CLUSTER", "FORGET", id)
		for _, o := range others {
			if !names(o) {
				o.Must("CLUSTER", "FORGET", id)
			}
		}
		proc.Wait(c.t, proc.Patience, "word of a forgotten node to spread", func() string {
			for _, o := range others {
				if text := o.Text("CLUSTER", "NODES"); strings.Contains(text, id) {
					return fmt.Sprintf("%s knows it:\n%s", o, text)
				}
			}
			return ""
		})
		for _, o := range others { // to a node of another kind, as far as there is one
			if o.Program.Name != n.Program.Name && o != primary {
				n.Must("CLUSTER", "MEET", "127.0.0.1", o.Port)
				break
			}
		}
		proc.WaitKnown(c.t, len(c.c.Nodes), c.c.Nodes...)
		c.move(n, i)
		inStep(c.t, primary, n)
		c.c.WaitHealthy(proc.Patience)
		c.agreed(fmt.Sprintf("after %s was reset and met again", n))
	}
	if len(done) != 3 {
		c.t.Errorf("only nodes of %v were reset", done)
	}
}
