package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
	"github.com/skeindb/skein/test/workload"
)

var moveVictims = []string{"source", "target", "source replica", "target replica"}

// shard is a primary with its replica.
type shard struct{ primary, replica *proc.Node }

// shardsOf returns the shards of the cluster, that of slot first.
func shardsOf(t *testing.T, c *proc.Cluster, slot int) (all []shard) {
	t.Helper()
	for _, p := range c.Primaries() {
		r := c.Replicas(p)
		if len(r) == 0 {
			t.Fatalf("%s has no replica", p)
		}
		s := shard{p, r[0]}
		if p.Myself().Serves(slot) {
			all = append([]shard{s}, all...)
		} else {
			all = append(all, s)
		}
	}
	return all
}

// Goal: a node is killed at any step of a slot's move, while clients write to its
// keys; redis-cli --cluster fix repairs what is left. Nothing that a replica had
// when it was acknowledged is lost or undone, no key is in two places, and the
// clients go on. Method: one cluster in which a slot moves to and fro, each time
// up to another step, upon which a node is killed; SLOTMOVE=all makes every
// combination, SLOTMOVE=half/source one.
func TestSlotMoveInterrupted(t *testing.T) {
	type scenario struct{ step, victim string }
	var scenarios []scenario
	if os.Getenv("SLOTMOVE") == "all" {
		for _, s := range workload.MoveSteps {
			for _, v := range moveVictims {
				scenarios = append(scenarios, scenario{s, v})
			}
		}
	} else {
		scenarios = []scenario{{"half", "source"}}
		if !testing.Short() {
			scenarios = append(scenarios, scenario{"moved", "target"})
		}
	}
	if only := os.Getenv("SLOTMOVE"); strings.Contains(only, "/") {
		step, victim, _ := strings.Cut(only, "/")
		scenarios = []scenario{{step, victim}}
	}
	c := proc.StartCluster(t, 3, 1)
	for _, s := range scenarios {
		ok := t.Run(s.step+"/"+s.victim, func(t *testing.T) { interruptMove(t, c, s.step, s.victim) })
		if !ok {
			break // the cluster may be in disorder
		}
	}
}

func interruptMove(t *testing.T, c *proc.Cluster, step, victim string) {
	const slot, keys = 2546, 40 // "{move}"
	shards := shardsOf(t, c, slot)
	from, to := shards[0], shards[1]
	for _, s := range shards[1:] {
		if s.primary.Port < to.primary.Port {
			to = s
		}
	}
	dies := map[string]*proc.Node{"source": from.primary, "target": to.primary,
		"source replica": from.replica, "target replica": to.replica}[victim]
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	writers := workload.StartSure(ctx, c, 3, keys, "move")
	// The keys of the scenario before are gone.
	defer func() {
		for _, p := range c.Primaries() {
			p.Must("FLUSHALL")
		}
	}()
	writers.Progress(t, 100, "before the move")
	killed := false
	kill := func() { dies.Kill(); killed = true }
	workload.MoveUntil(t, from.primary, to.primary, slot, step, kill)
	if !killed { // else a shard is without the replica that acknowledges
		writers.Progress(t, 20, "at step "+step)
		kill()
	}
	began := time.Now()
	if victim == "source" || victim == "target" {
		heir := map[string]*proc.Node{"source": from.replica, "target": to.replica}[victim]
		proc.Wait(t, proc.Patience, "failover to "+heir.String(), func() string {
			if !heir.IsPrimary() {
				return "it is a replica"
			}
			return ""
		})
	}
	dies.Start()
	c.WaitHealthy(proc.Patience)
	writers.Progress(t, 20, "after the loss of the "+victim)
	healthy := time.Since(began)
	began = time.Now()
	workload.Fix(t, c.Nodes[0])
	took := time.Since(began)
	writers.Progress(t, 100, "after the repair")
	stop()
	t.Logf("%s; in order again after %v, repaired in %v", writers.Check(t, c), healthy.Round(time.Millisecond), took.Round(time.Millisecond))
	for _, s := range shardsOf(t, c, slot) {
		proc.WaitInStep(t, s.primary, s.replica)
	}
}
