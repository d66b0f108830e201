package repl

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// Writers that take all they may never bring a replica over its limit, whether the
// foresight of the time is right, far too short or far too long; and where there is
// room they are not slowed.
func TestSyncRateKeepsBelowTheLimit(t *testing.T) {
	const limit = 256 << 20
	const step = 10 * time.Millisecond
	for _, takes := range []time.Duration{time.Second, 20 * time.Second, 5 * time.Minute} {
		for _, seen := range []float64{0.01, 0.5, 1, 10} { // foreseen, of what it takes
			lag := 0.0
			for at := time.Duration(0); at < takes; at += step {
				left := time.Duration(float64(takes-at) * seen)
				rate := syncRate(int64(lag), limit, left)
				lag += min(rate, 400<<20) * step.Seconds() // a machine has an end
			}
			if lag > 0.9*limit {
				t.Errorf("%v, foreseen as %v of it: lag %.0f MB of %d", takes, seen, lag/(1<<20), limit>>20)
			}
		}
	}
	if rate := syncRate(limit/10, limit, time.Minute); !math.IsInf(rate, 1) {
		t.Errorf("writers are slowed to %v while a tenth of the limit is used", rate)
	}
	if rate := syncRate(1<<40, 0, time.Minute); !math.IsInf(rate, 1) {
		t.Errorf("writers are slowed to %v without a limit", rate)
	}
}

// After a full sync the replica gets below the soft limit in time, with drains of
// every speed, and the writers then go as fast as it takes.
func TestDrainRateGetsBelowTheSoftLimit(t *testing.T) {
	const hard, soft, softTime = 256 << 20, 64 << 20, time.Minute
	const step = 10 * time.Millisecond
	for _, drain := range []float64{5 << 20, 20 << 20, 200 << 20} {
		lag, at := 0.8*hard, time.Duration(0)
		for ; lag > soft && at < softTime; at += step {
			lag += (min(drainRate(int64(lag), hard, soft, softTime-at, drain), 400<<20) - drain) * step.Seconds()
		}
		if lag > soft {
			t.Errorf("%v bytes a second: still %.0f MB behind after %v", drain, lag/(1<<20), at)
		}
		for range 100000 {
			lag = max(lag+(min(drainRate(int64(lag), hard, soft, softTime, drain), 400<<20)-drain)*step.Seconds(), 0)
		}
		if lag > soft || drain < 400<<20 && lag < soft/4 {
			t.Errorf("%v bytes a second: settles at %.0f MB behind, want below %d and with the link in use", drain, lag/(1<<20), soft>>20)
		}
	}
	if rate := drainRate(soft/4, hard, soft, softTime, 1000); !math.IsInf(rate, 1) {
		t.Errorf("writers are slowed to %v for a replica that is in step", rate)
	}
	if rate := drainRate(1<<40, 0, 0, 0, 1000); !math.IsInf(rate, 1) {
		t.Errorf("writers are slowed to %v without limits", rate)
	}
}

// What is encoded and not sent settles within its bound.
func TestCollectRate(t *testing.T) {
	const out = 20 << 20 // a link of 20 MB a second
	const step = 10 * time.Millisecond
	held, stream, in := 0.0, 100e6, 300e6 // each stream byte brings three of the snapshot
	for range 10000 {
		rate := min(collectRate(int64(held), stream, in, out), 100e6)
		stream, in = rate, 3*rate
		held = max(held+(in-out)*step.Seconds(), 0)
		if held > maxCollected {
			t.Fatalf("%.0f MB wait", held/(1<<20))
		}
	}
}

// Whoever writes waits until the stream may be that long, not longer than the
// bound, and nobody once the limit is lifted.
func TestPacer(t *testing.T) {
	var p pacer
	now := time.Unix(1000, 0)
	p.set(1<<20, 5000, now)
	for _, tt := range []struct {
		off  int64
		want time.Duration
	}{
		{5000, 0},
		{5000 + paceBurst, 0},
		{5000 + paceBurst + 1<<19, 500 * time.Millisecond},
		{5000 + paceBurst + 1<<30, paceMost},
	} {
		if got := p.delay(tt.off, now); got != tt.want {
			t.Errorf("delay at %d = %v, want %v", tt.off, got, tt.want)
		}
	}
	off := int64(5000 + paceBurst + 1<<19)
	if got := p.delay(off, now.Add(500*time.Millisecond)); got != 0 {
		t.Errorf("half a second later: %v, want 0", got)
	}
	p.set(2<<20, 5000+1<<19, now.Add(100*time.Millisecond))
	if got := p.delay(off, now.Add(100*time.Millisecond)); got <= 0 || got > 400*time.Millisecond/2 {
		t.Errorf("at twice the rate: %v, want the rest in half the time", got)
	}
	p.set(0, off, now)
	if got := p.delay(off, now); got != 0 || p.on.Load() {
		t.Errorf("without a limit: %v, on %v", got, p.on.Load())
	}
}

// A replica that hangs in the middle of a snapshot does not slow writers for
// longer than it takes to see that.
func TestHangingReplicaDoesNotSlowWriters(t *testing.T) {
	t.Parallel()
	p := newNode(t, func(s *Settings) {
		s.Timeout, s.Compress = time.Minute, false
		s.OutputHard, s.OutputSoft, s.BacklogSize, s.WriteFloor = 8<<20, 0, 64<<10, 1000
	})
	c := p.client()
	big := strings.Repeat("x", 1<<20)
	for i := range 40 {
		c.want(fmt.Sprintf("SET big:%d %s", i, big), "+OK")
	}
	w := asReplica(p, "REPLCONF capa eof capa psync2")
	w.send("PSYNC ? -1\r\n")
	eventually(t, "the snapshot stands still", func() bool { return strings.Contains(p.logs.String(), "transfer started") }, p.logs.String)
	small := strings.Repeat("y", 64<<10)
	eventually(t, "the hanging replica is cut off at its limit by writers", func() bool {
		c.want("SET other "+small, "+OK")
		return strings.Contains(p.logs.String(), "output buffer limits")
	}, func() string { return p.repl.Info() + p.logs.String() })
	if !strings.Contains(p.logs.String(), "Writers are slowed") {
		t.Errorf("writers were not slowed while it seemed to move: the test shows nothing\n%s", p.logs)
	}
	eventually(t, "no limit any more", func() bool { return p.info("repl_write_limit_bytes_per_sec") == "0" }, p.repl.Info)
}

// The first cut costs nothing, each further one a longer time.
func TestSlowReplicas(t *testing.T) {
	var m slowReplicas
	now := time.Unix(1000, 0)
	for i, want := range []time.Duration{0, refuseFirst, 2 * refuseFirst, 4 * refuseFirst} {
		if got := m.cut("a:1", now); got != want {
			t.Errorf("cut %d: refused for %v, want %v", i+1, got, want)
		}
	}
	for range 20 {
		m.cut("a:1", now)
	}
	if got, first := m.left("a:1", now); got != refuseMost || !first {
		t.Errorf("in the end refused for %v, first %v; want %v, true", got, first, refuseMost)
	}
	if _, first := m.left("a:1", now); first {
		t.Errorf("each refusal is told")
	}
	if got, _ := m.left("a:1", now.Add(refuseMost)); got != 0 {
		t.Errorf("after the time still refused for %v", got)
	}
	if got, _ := m.left("b:1", now); got != 0 {
		t.Errorf("another one is refused for %v", got)
	}
	for i := range 2 * slowMost {
		m.cut(fmt.Sprint("c:", i), now)
	}
	if len(m) > slowMost {
		t.Errorf("%d replicas remembered, the bound is %d", len(m), slowMost)
	}
}
