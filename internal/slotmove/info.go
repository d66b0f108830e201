package slotmove

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Stats are totals since the start.
type Stats struct {
	Succeeded, Failed, Cancelled atomic.Int64
	KeysOut, BytesOut            atomic.Int64 // of the snapshot; of all that was sent
	Pulses, ThrottleMicros       atomic.Int64 // writers slowed down
	LastPauseMicros, MaxPause    atomic.Int64 // of hand-overs, as the source saw them
}

func (s *Stats) throttle(d time.Duration) {
	s.Pulses.Add(1)
	s.ThrottleMicros.Add(d.Microseconds())
}

func (s *Stats) paused(d time.Duration) {
	n := d.Microseconds()
	s.LastPauseMicros.Store(n)
	for {
		old := s.MaxPause.Load()
		if n <= old || s.MaxPause.CompareAndSwap(old, n) {
			return
		}
	}
}

func (s *Stats) ended(state State) {
	switch state {
	case Success:
		s.Succeeded.Add(1)
	case Cancelled:
		s.Cancelled.Add(1)
	default:
		s.Failed.Add(1)
	}
}

// Info returns the lines for INFO.
func (m *Mover) Info() string {
	m.mu.Lock()
	exports, imports := len(m.exports), len(m.imports)+len(m.tracked)
	var lag int64
	for _, x := range m.exports {
		lag += x.lagging.Load()
	}
	m.mu.Unlock()
	s := &m.stats
	var b []byte
	line := func(name string, n int64) { b = fmt.Appendf(b, "slot_migration_%s:%d\r\n", name, n) }
	line("active_exports", int64(exports))
	line("active_imports", int64(imports))
	line("succeeded", s.Succeeded.Load())
	line("failed", s.Failed.Load())
	line("cancelled", s.Cancelled.Load())
	line("keys_sent", s.KeysOut.Load())
	line("bytes_sent", s.BytesOut.Load())
	line("lag_bytes", lag)
	line("throttle_pulses", s.Pulses.Load())
	line("throttle_usec", s.ThrottleMicros.Load())
	line("last_pause_usec", s.LastPauseMicros.Load())
	line("max_pause_usec", s.MaxPause.Load())
	return string(b)
}
