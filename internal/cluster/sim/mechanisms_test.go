package sim

import (
	"os"
	"strconv"
	"testing"

	"github.com/skeindb/skein/internal/cluster"
)

// countTicks lets d microseconds pass and counts the ticks of each node.
func countTicks(w *World, d int64) map[*node]int {
	ticks := map[*node]int{}
	for end := w.now + d; len(w.queue) > 0 && w.queue[0].at <= end && w.err == nil; {
		e := w.pop()
		if e.kind == evTick && e.node.up && e.node.boot == e.boot {
			ticks[e.node]++
		}
		w.handle(e)
	}
	return ticks
}

// The cluster's periodic work runs ten times a second at every node, by the
// node's own clock, which may be a little off.
func TestTenTicksASecond(t *testing.T) {
	w := newWorld(3, Options{Nodes: 6, Faults: []string{}})
	w.createFromFiles()
	w.runUntil(5*second, nil)
	const seconds = 20
	for n, ticks := range countTicks(w, seconds*second) {
		if ticks < 10*seconds-2 || ticks > 10*seconds+2 {
			t.Errorf("node %d: %d ticks in %d s, want %d", n.i, ticks, seconds, 10*seconds)
		}
	}
}

// Of 100 nodes a primary dies: within 2T of the first suspicion a majority of the
// others has reported it to somebody, so that it is FAIL. SKEIN_SEEDS=1000 is
// the long form.
func TestReportsMeetWithin2T(t *testing.T) {
	seeds := few(2)
	if n, err := strconv.Atoi(os.Getenv("SKEIN_SEEDS")); err == nil {
		seeds = uint64(n)
	}
	late := 0
	for seed := uint64(1); seed <= seeds; seed++ {
		w := newWorld(seed, Options{Nodes: 100, Faults: []string{}})
		w.createFromFiles()
		T := int64(w.cfg.NodeTimeout) * ms
		w.runUntil(w.now+4*T, nil)
		victim := w.nodes[0]
		victim.kill()
		flagged := func(f cluster.Flags) bool {
			for _, n := range w.nodes[1:] {
				if v := n.view.Node(victim.id); v != nil && v.Flags.Any(f) {
					return true
				}
			}
			return false
		}
		until := func(end int64, cond func() bool) bool {
			for w.now < end && !cond() && w.err == nil {
				w.runUntil(w.now+50*ms, nil)
			}
			return cond()
		}
		if !until(w.now+3*T, func() bool { return flagged(cluster.FlagPFail | cluster.FlagFail) }) {
			t.Fatalf("seed %d: nobody suspects the dead node: %v", seed, w.err)
		}
		suspected := w.now
		if !until(suspected+2*T, func() bool { return flagged(cluster.FlagFail) }) {
			late++
			t.Logf("seed %d: no FAIL within 2T", seed)
		}
	}
	if late*1000 > int(seeds) {
		t.Errorf("%d of %d clusters had no majority of reports within 2T", late, seeds)
	}
}

// A node's monotonic clock runs up to 2 % fast or slow, but never goes back.
func TestClockNeverGoesBack(t *testing.T) {
	w := newWorld(5, Options{Nodes: 1})
	n := w.nodes[0]
	last := n.elapsed()
	for range 3000 {
		if w.chance(20) {
			n.drift(w.between(-20_000, 20_000))
			if e := n.elapsed(); e < last || e > last+10 {
				t.Fatalf("%d, and %d when the rate has changed", last, e)
			}
		}
		before, now := n.elapsed(), w.now
		w.now += w.between(1, 400*ms)
		last = n.elapsed()
		if d, off := last-before, (w.now-now)/50+2; d < w.now-now-off || d > w.now-now+off || d < 0 {
			t.Fatalf("at %d: %d counted where %d went by, %d ppm", w.now, d, w.now-now, n.driftPPM)
		}
	}
}
