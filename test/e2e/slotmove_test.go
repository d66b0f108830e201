package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// The steps of a slot's move as redis-cli makes it; a scenario ends after one.
var moveSteps = []string{
	"importing", // SETSLOT IMPORTING at the target
	"migrating", // SETSLOT MIGRATING at the source
	"half",      // half of the keys have moved
	"sending",   // a MIGRATE of all the others is begun
	"moved",     // all keys have moved
	"target",    // SETSLOT NODE at the target
	"source",    // SETSLOT NODE at the source
}

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
		if serves(p.Myself(), slot) {
			all = append([]shard{s}, all...)
		} else {
			all = append(all, s)
		}
	}
	return all
}

// moveUntil makes the steps of a move up to last. In the step "sending" it calls
// kill itself.
func moveUntil(t *testing.T, from, to shard, slot int, last string, kill func()) {
	t.Helper()
	src, dst := from.primary, to.primary
	srcID, dstID := src.Myself().ID, dst.Myself().ID
	migrate := func(keys []string) []any {
		cmd := []any{"MIGRATE", "127.0.0.1", dst.Port, "", 0, 5000, "KEYS"}
		for _, k := range keys {
			cmd = append(cmd, k)
		}
		return cmd
	}
	inSlot := func(n int) (keys []string) {
		for _, k := range src.Must("CLUSTER", "GETKEYSINSLOT", slot, n).([]any) {
			keys = append(keys, fmt.Sprint(k))
		}
		return keys
	}
	for _, step := range moveSteps {
		switch step {
		case "importing":
			dst.Must("CLUSTER", "SETSLOT", slot, "IMPORTING", srcID)
		case "migrating":
			src.Must("CLUSTER", "SETSLOT", slot, "MIGRATING", dstID)
		case "half":
			n, _ := strconv.Atoi(src.Text("CLUSTER", "COUNTKEYSINSLOT", slot))
			if keys := inSlot(n / 2); len(keys) > 0 {
				src.Must(migrate(keys)...)
			}
		case "sending":
			if last != step {
				continue
			}
			var wg sync.WaitGroup
			if keys := inSlot(10000); len(keys) > 0 {
				wg.Go(func() { src.Do(migrate(keys)...) }) // how far it gets is chance
			}
			kill()
			wg.Wait()
		case "moved":
			proc.Wait(t, proc.Patience, "the rest of the keys moves", func() string {
				keys := inSlot(10)
				if len(keys) == 0 {
					return ""
				}
				if _, err := src.Do(migrate(keys)...); err != nil {
					return err.Error()
				}
				return fmt.Sprintf("%d keys or more left", len(keys))
			})
		case "target":
			dst.Must("CLUSTER", "SETSLOT", slot, "NODE", dstID)
		case "source":
			src.Must("CLUSTER", "SETSLOT", slot, "NODE", dstID)
		}
		if step == last {
			return
		}
	}
}

// fixed runs redis-cli --cluster fix until it and a check find nothing to do.
func fixed(t *testing.T, n *proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, "redis-cli --cluster fix", func() string {
		out, err := proc.Run(t, time.Minute, "yes\n", "redis-cli", "--cluster", "fix", n.Addr())
		t.Log(out)
		if err != nil {
			return out
		}
		out, err = proc.Run(t, time.Minute, "", "redis-cli", "--cluster", "check", n.Addr())
		if err != nil || strings.Contains(out, "[ERR]") || strings.Contains(out, "[WARNING]") {
			return out
		}
		return ""
	})
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
		for _, s := range moveSteps {
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
	var writers []*sureWriter
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for i := range 3 {
		var own []string
		for k := range keys {
			own = append(own, fmt.Sprintf("{move}:%d:%d", i, k))
		}
		w := newSureWriter(c, i, own)
		writers = append(writers, w)
		go w.run(ctx)
	}
	progress := func(n int64, when string) {
		t.Helper()
		for _, w := range writers {
			w.progress(t, n, when)
		}
	}
	// The keys of the scenario before are gone.
	defer func() {
		for _, p := range c.Primaries() {
			p.Must("FLUSHALL")
		}
	}()
	progress(100, "before the move")
	killed := false
	kill := func() { dies.Kill(); killed = true }
	moveUntil(t, from, to, slot, step, kill)
	if !killed { // else a shard is without the replica that acknowledges
		progress(20, "at step "+step)
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
	progress(20, "after the loss of the "+victim)
	healthy := time.Since(began)
	began = time.Now()
	fixed(t, c.Nodes[0])
	took := time.Since(began)
	progress(100, "after the repair")
	stop()
	var sure, unsure, reads int64
	for _, w := range writers {
		<-w.ended
		w.check(t, c)
		sure, unsure, reads = sure+w.sure.Load(), unsure+w.unsure.Load(), reads+w.reads.Load()
	}
	t.Logf("%d acknowledged changes, %d unsure, %d reads; in order again after %v, repaired in %v", sure, unsure, reads, healthy.Round(time.Millisecond), took.Round(time.Millisecond))
	for _, s := range shardsOf(t, c, slot) {
		proc.WaitInStep(t, s.primary, s.replica)
	}
}
