package slotmove

import (
	"sync"
	"time"

	"github.com/skeindb/skein/internal/engine"
)

// brake is what an export does to writers of its slots: it stops them for the
// hand-over, and before that in short pulses while the target is too far behind.
// A pulse ends when the target has caught up by half, or after maxPulse; then
// writers have minGap at least. So a write waits for a pulse once, and however
// many writers there are, what they add in a gap is little against what the
// target runs in a pulse.
type brake struct {
	e     *engine.Engine
	slots *engine.SlotSet
	stats *Stats

	mu     sync.Mutex // held over FreezeSlots, so slot locks are taken under it; they are never held when it is
	frozen bool
	pulse  bool // frozen by a pulse
	over   bool // the job is: nothing is frozen any more
	since  time.Time
	openAt time.Time // end of the last pulse
	timer  *time.Timer
}

const (
	maxPulse = 25 * time.Millisecond
	minGap   = 2 * time.Millisecond
	farLag   = 4 << 20 // bytes outstanding from which on writers are slowed down
)

// slowDown is called with what is outstanding after each write to the target.
func (b *brake) slowDown(lag, limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pulse && lag <= limit/2:
		b.endPulse()
	case !b.frozen && !b.over && lag > limit && time.Since(b.openAt) >= minGap:
		b.e.FreezeSlots(b.slots, nil)
		b.frozen, b.pulse, b.since = true, true, time.Now()
		began := b.since
		b.timer = time.AfterFunc(maxPulse, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.pulse && b.since.Equal(began) {
				b.endPulse()
			}
		})
	}
}

func (b *brake) endPulse() {
	b.timer.Stop()
	b.e.ThawSlots(b.slots)
	b.frozen, b.pulse, b.openAt = false, false, time.Now()
	b.stats.throttle(b.openAt.Sub(b.since))
}

// stop stops writers for the hand-over and calls cut when none is running.
func (b *brake) stop(cut func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return
	}
	if b.pulse { // a gap of microseconds, so that cut is under the slots' locks
		b.endPulse()
	}
	b.since = time.Now()
	b.e.FreezeSlots(b.slots, cut)
	b.frozen = true
}

// resume ends stop, which may come again.
func (b *brake) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.letGo()
}

// release lets writers go on, for good.
func (b *brake) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.letGo()
}

func (b *brake) letGo() {
	switch {
	case b.pulse:
		b.endPulse()
	case b.frozen:
		b.e.ThawSlots(b.slots)
		b.frozen = false
		b.stats.paused(time.Since(b.since))
	}
}
