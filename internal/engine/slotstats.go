package engine

import (
	"sync/atomic"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// SlotUsage is what the commands on one slot have cost since they are counted:
// time in nanoseconds, and bytes of requests, and of replies, messages of shard
// channels and effects sent to replicas.
type SlotUsage struct {
	Nanos, In, Out atomic.Int64
}

func (u *SlotUsage) reset() {
	u.Nanos.Store(0)
	u.In.Store(0)
	u.Out.Store(0)
}

// slotStats counts by slot while cluster-slot-stats-enabled is on. A session
// asks once a batch; while it is off that is all it costs. on is nil then, and
// what was counted is kept.
type slotStats struct {
	on   atomic.Pointer[[store.Slots]SlotUsage]
	kept atomic.Pointer[[store.Slots]SlotUsage]
}

// CountSlots turns the statistics of slots on and off. Not for two goroutines
// at once.
func (e *Engine) CountSlots(on bool) {
	st := &e.slotStats
	if on && st.kept.Load() == nil {
		st.kept.Store(new([store.Slots]SlotUsage))
	}
	if on {
		st.on.Store(st.kept.Load())
	} else {
		st.on.Store(nil)
	}
}

// SlotUsage returns the statistics of a slot, nil while they are off.
func (e *Engine) SlotUsage(slot int) *SlotUsage {
	if st := e.slotStats.on.Load(); st != nil {
		return &st[slot]
	}
	return nil
}

// ResetSlotUsage zeroes the statistics of the slots for which hit returns true,
// while they are off as well.
func (e *Engine) ResetSlotUsage(hit func(slot int) bool) {
	if st := e.slotStats.kept.Load(); st != nil {
		for slot := range st {
			if hit(slot) {
				st[slot].reset()
			}
		}
	}
}

// replied is how many bytes of replies this session has made so far.
func (s *Session) replied() int64 { return s.flushed + int64(len(s.out.Buf)) }

// countSlot adds the command that has run to the statistics of its slot; mark is
// replied before it, nanos how long it took. Refused commands do not count; a
// queued one was counted by queueCommand, a blocked one is when it is answered.
func (s *Session) countSlot(st *[store.Slots]SlotUsage, spec *command.Spec, argv [][]byte, mark, nanos int64) {
	c := &s.ctx
	if s.tally.idle {
		return
	}
	slot, in, effects := -1, commandSize(argv), 0
	if spec == s.e.exec {
		slot = s.multi.slot
		in += len(multiCommand)
		if s.multi.neffects > 0 {
			effects = effectsSize(s.multi.neffects, len(s.multi.effects))
		}
	} else if len(c.Keys) > 0 {
		slot = int(c.Keys[0].Slot)
		effects = effectsSize(c.NEffects, len(c.Effects))
	}
	if slot < 0 {
		return
	}
	u := &st[slot]
	u.Nanos.Add(nanos)
	u.In.Add(int64(in))
	out := int64(0)
	if s.special&(specialReply|specialPrimary) == 0 { // else nobody gets the reply
		out = s.replied() - mark
	}
	if effects > 0 && s.e.Replicas != nil {
		out += int64(effects) * int64(s.e.Replicas())
	}
	u.Out.Add(out)
}

func effectsSize(n, size int) int {
	if n > 1 {
		size += len(multiCommand) + len(execCommand)
	}
	return size
}

// countQueued adds the bytes of a command that MULTI has queued.
func (s *Session) countQueued(argv [][]byte, keys []command.Key) {
	if len(keys) == 0 {
		return
	}
	s.multi.slot = int(keys[0].Slot)
	if st := s.e.slotStats.on.Load(); st != nil {
		st[keys[0].Slot].In.Add(int64(commandSize(argv)))
	}
}

// commandSize is the length of a command as a RESP array.
func commandSize(argv [][]byte) int {
	n := headerSize(len(argv))
	for _, a := range argv {
		n += headerSize(len(a)) + len(a) + 2
	}
	return n
}

// headerSize is the length of a type byte, a number and the end of the line.
func headerSize(n int) int {
	size := 4
	for ; n >= 10; n /= 10 {
		size++
	}
	return size
}
