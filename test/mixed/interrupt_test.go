package mixed

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
	"github.com/skeindb/skein/test/workload"
)

// A move of a slot between a Skein and a real node ends half-way by SIGKILL to its
// source or its target, whose replica takes over, and redis-cli --cluster fix
// repairs what is left, while clients write to the slot. No key is lost, none is
// left at two nodes, and no acknowledged change is undone.
//
// A real node that fix makes the owner takes keys that are still elsewhere for
// absent ones, so the clients pause while it works. So does an heir of the source
// that cannot know that the slot is moving, as in Redis: there they pause from the
// loss on.
func TestMixedMoveInterrupted(t *testing.T) {
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := proc.Skein(t), r.Program(t)
		heir := skein
		if r == proc.Valkey8 {
			heir = real
		}
		c := proc.FormShardsOf(t, []proc.Shard{
			{Primary: skein, Replicas: []proc.Program{heir}}, {Primary: real, Replicas: []proc.Program{skein}}, {Primary: skein},
		})
		for _, step := range []string{"half", "sending", "moved"} {
			for _, victim := range []string{"source", "target"} {
				for from := range 2 {
					if !*long && (step != "half" || victim != "source" || from != 1) {
						continue
					}
					// Then the keys are at two Valkey nodes, and fix makes one delete its own
					// before they are moved, or not: no node of ours has a part in that.
					if !heir.Skein && victim == "source" && from == 0 && step != "moved" {
						continue
					}
					if !interrupt(t, c, from, step, victim) {
						return // the cluster may be in disorder
					}
				}
			}
		}
	})
}

// The same when a replica of the source or of the target is killed, each of the
// other kind than its primary: nothing is promoted, and the replica is in step again
// afterwards.
func TestMixedMoveReplicaKilled(t *testing.T) {
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := proc.Skein(t), r.Program(t)
		c := proc.FormShardsOf(t, []proc.Shard{
			{Primary: skein, Replicas: []proc.Program{real}}, {Primary: real, Replicas: []proc.Program{skein}}, {Primary: skein},
		})
		for _, step := range []string{"half", "sending", "moved"} {
			for _, victim := range []string{"source replica", "target replica"} {
				for from := range 2 {
					if !*long && (step != "sending" || victim != "target replica" || from != 1) {
						continue
					}
					if !interrupt(t, c, from, step, victim) {
						return // the cluster may be in disorder
					}
				}
			}
		}
	})
}

// interrupted is one move.
type interrupted struct {
	t        *testing.T
	c        *proc.Cluster
	from, to *proc.Node
}

const movedSlot = 2546 // "{move}"

// interrupt is one move, as a subtest, from one of the first two nodes to the other; it
// reports whether all went well.
func interrupt(t *testing.T, c *proc.Cluster, from int, step, victim string) bool {
	name := fmt.Sprintf("%s %s/%s", c.Nodes[from].Program.Name, step, victim)
	return t.Run(name, func(t *testing.T) {
		m := &interrupted{t: t, c: c, from: c.Nodes[from], to: c.Nodes[1-from]}
		m.restore()
		m.run(step, victim)
	})
}

// restore gives the roles of the beginning back, and the slot, which is empty, to
// the source.
func (m *interrupted) restore() {
	m.t.Helper()
	for i, n := range m.c.Nodes[:2] {
		if heir := m.c.Nodes[3+i]; !n.IsPrimary() {
			inStep(m.t, heir, n)
			n.Must("CLUSTER", "FAILOVER", "TAKEOVER")
			exchanged(m.t, n, heir)
		}
	}
	if !m.from.Myself().Serves(movedSlot) {
		workload.MoveUntil(m.t, m.to, m.from, movedSlot, "source", nil)
	}
	m.c.WaitHealthy(proc.Patience)
}

// informed reports whether the replica of a node learns which slots are moving.
func informed(primary, replica *proc.Node) bool {
	for _, n := range []*proc.Node{primary, replica} {
		if !n.Program.Skein && n.Program.Name != proc.Valkey8.Name {
			return false
		}
	}
	return true
}

func (m *interrupted) run(step, victim string) {
	t, c := m.t, m.c
	side, isReplica := strings.CutSuffix(victim, " replica")
	dies := map[string]*proc.Node{"source": m.from, "target": m.to}[side]
	heir := c.Replicas(dies)[0]
	pause := victim == "source" && !informed(dies, heir)
	if isReplica {
		dies, heir = heir, nil
	}
	const keys = 40
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writers := workload.StartSure(ctx, c, 3, keys, "move")
	defer func() {
		for _, p := range c.Primaries() {
			p.Must("FLUSHALL")
		}
	}()
	writers.Progress(t, 100, "before the move")
	killed := false
	var resume []func()
	hold := func() {
		for _, w := range writers[len(resume):] {
			resume = append(resume, w.Pause())
		}
	}
	kill := func() {
		if killed = true; pause {
			hold()
		}
		dies.Kill()
	}
	workload.MoveUntil(t, m.from, m.to, movedSlot, step, kill)
	if !killed {
		writers.Progress(t, 20, "at step "+step)
		kill()
	}
	if heir != nil {
		proc.Wait(t, proc.Patience, "failover to "+heir.String(), func() string {
			if !heir.IsPrimary() {
				return "it is a replica"
			}
			return ""
		})
	}
	dies.Start()
	// Redis does not heed a claim of the slot that it imports, so the cluster may
	// stay down in its view until it is repaired.
	proc.Wait(t, proc.Patience, dies.String()+" back as a replica", func() string {
		if me, i := dies.Myself(), dies.Info("replication"); !me.Is("slave") || i["master_link_status"] != "up" {
			return fmt.Sprint(me, i)
		}
		return ""
	})
	hold()
	workload.Fix(t, c.Nodes[2])
	for _, r := range resume {
		r()
	}
	c.WaitHealthy(proc.Patience)
	writers.Progress(t, 100, "after the repair")
	stop()
	t.Log(writers.Check(t, c))
	for _, p := range c.Primaries() {
		for _, r := range c.Replicas(p) {
			proc.WaitInStep(t, p, r)
		}
	}
}
