package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// A command that must wait for the network while its keys stay as they are
// (MIGRATE) cannot keep its slot locks: whoever wants all locks (a snapshot, a
// change of view) would wait too, and everyone behind him. So it lets go of the
// locks and freezes its slots instead: other commands see the gate, and those
// that may write to a frozen slot wait as they do during CLIENT PAUSE. Reads go
// on. What is no command of a client is not held back: a key that expires, is
// evicted or flushed meanwhile is gone afterwards.
type freezes struct {
	mu       sync.Mutex    // a leaf
	slots    [256]uint64   // of Detach
	moving   [256]uint64   // of FreezeSlots
	n        int           // freezes in force
	movers   int           // of them by FreezeSlots
	wake     chan struct{} // closed and replaced at each thaw
	deferred atomic.Bool   // a blocked client's turn came and was put off
}

// Detach runs fn, which may take its time, without the locks of the command
// that s runs, its slots frozen. It reports whether the node is still a primary
// afterwards: otherwise the keys are no longer the command's to change. Inside of
// a transaction or script, whose other commands' locks are held as well, fn runs
// with all of them held: these are to be atomic.
func (s *Session) Detach(fn func()) (primary bool) {
	e, keys := s.e, s.ctx.Keys
	if !s.ctx.MayBlock {
		fn()
		return !e.View().Replica
	}
	f := &e.freezes
	f.mu.Lock()
	for _, k := range keys {
		f.slots[k.Slot>>6] |= 1 << (k.Slot & 63)
	}
	f.n++
	e.gates.Or(GateFrozen)
	f.mu.Unlock()
	s.held.unlock(e.Store)

	fn()

	s.held.lock(e.Store)
	for (e.gates.Load()&(GatePauseWrite|GatePauseAll) != 0 || f.isMoving(keys)) && !e.View().Replica {
		// Nothing may enter the log now: a failover may be under way, or the
		// last effects of the slots are on their way to another node.
		s.held.unlock(e.Store)
		e.waitPause(s)
		s.held.lock(e.Store)
	}
	f.mu.Lock()
	for _, k := range keys {
		f.slots[k.Slot>>6] &^= 1 << (k.Slot & 63)
	}
	e.endFreeze()
	s.ctx.Now = e.Now()
	return !e.View().Replica
}

// endFreeze counts one freeze less and wakes who waits for that; freezes.mu is
// held, and released. Blocked clients that were put off are served by the next
// command that is through, or by PauseTick.
func (e *Engine) endFreeze() {
	f := &e.freezes
	if f.n--; f.n == 0 {
		e.gates.And(^uint32(GateFrozen))
	}
	if f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
	f.mu.Unlock()
	if f.deferred.Swap(false) {
		e.waiters.signalDB(-1)
	}
}

// lock takes again what lockFor took and unlock released.
func (l *held) lock(st *store.Store) {
	switch l.kind {
	case heldSlot:
		st.Lock(l.slot)
	case heldSet:
		st.LockSet(&l.set)
	case heldWorld:
		st.LockWorld()
	}
}

// frozen reports whether the command of s must wait for a thaw. Its slots are
// locked, so none of them can be frozen just now.
func (s *Session) frozen(spec *command.Spec) bool {
	f := &s.e.freezes
	f.mu.Lock()
	defer f.mu.Unlock()
	if spec == s.e.execSpec() {
		if !s.multi.writes {
			return false
		}
		hit := false
		for _, q := range s.multi.queue {
			hit = hit || f.frozenAnywhere(q.spec)
			q.spec.EachKey(q.argv, func(arg int, _ command.KeyFlags) {
				hit = hit || f.has(command.MakeKey(arg, q.argv[arg]).Slot)
			})
		}
		return hit
	}
	if f.frozenAnywhere(spec) {
		return true
	}
	script := spec.Group == command.Scripting && spec.Flags&command.ReadOnly == 0
	if spec.Flags&command.Write == 0 && !script {
		return false
	}
	if script && s.ctx.World {
		return f.n > 0 // it may write to any key
	}
	for _, k := range s.ctx.Keys {
		if f.has(k.Slot) {
			return true
		}
	}
	return false
}

func (f *freezes) has(slot uint16) bool {
	return (f.slots[slot>>6]|f.moving[slot>>6])&(1<<(slot&63)) != 0
}

// waitThaw waits, without locks, for the next thaw.
func (f *freezes) waitThaw() {
	f.mu.Lock()
	if f.n == 0 {
		f.mu.Unlock()
		return
	}
	if f.wake == nil {
		f.wake = make(chan struct{})
	}
	wake := f.wake
	f.mu.Unlock()
	t := time.NewTimer(time.Second) // to see a client that was killed
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	}
}
