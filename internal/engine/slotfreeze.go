package engine

import (
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// Slots on their way to another node are frozen for a moment: while the last
// effects reach the target, and now and then before if the target cannot keep up.
// Writes to them wait as for any freeze (freeze.go), and so do FLUSHALL and
// scripts that may write anywhere. Keys that expire or are evicted meanwhile do
// no harm: the target drops its copies by itself.

// FreezeSlots holds back writes to slots until ThawSlots. When it returns no
// write to them is running any more. cut, if not nil, is called at that point,
// under the slots' locks. The slots are not frozen by anyone else.
func (e *Engine) FreezeSlots(slots *SlotSet, cut func()) {
	var set store.StripeSet
	eachSlot(slots, set.Add)
	e.Store.LockSet(&set)
	f := &e.freezes
	f.mu.Lock()
	for i, w := range slots {
		f.moving[i] |= w
	}
	f.n++
	f.movers++
	e.gates.Or(GateFrozen)
	f.mu.Unlock()
	if cut != nil {
		cut()
	}
	e.Store.UnlockSet(&set)
}

// ThawSlots ends FreezeSlots. It takes no slot locks.
func (e *Engine) ThawSlots(slots *SlotSet) {
	f := &e.freezes
	f.mu.Lock()
	for i, w := range slots {
		f.moving[i] &^= w
	}
	f.movers--
	e.endFreeze()
}

// frozenAnywhere reports whether a command that may change any key must wait.
func (f *freezes) frozenAnywhere(spec *command.Spec) bool {
	return f.movers > 0 && spec.Flags&command.Write != 0 && spec.Flags&command.World != 0
}

// isMoving reports whether one of the keys' slots is frozen by FreezeSlots.
func (f *freezes) isMoving(keys []command.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.movers == 0 {
		return false
	}
	for _, k := range keys {
		if f.moving[k.Slot>>6]&(1<<(k.Slot&63)) != 0 {
			return true
		}
	}
	return false
}

// FlushSlot deletes the keys of a slot as a command does, with events, unless
// the slot is frozen: then it does nothing, returns false, and WaitThaw waits
// for the end of that. The caller holds no locks, or the world lock (world).
func (e *Engine) FlushSlot(slot uint16, world bool) (n int, ok bool) {
	if !world {
		e.Store.Lock(slot)
		defer e.Store.Unlock(slot)
	}
	e.freezes.mu.Lock()
	frozen := e.freezes.has(slot)
	e.freezes.mu.Unlock()
	if frozen {
		return 0, false
	}
	var changes []command.Change
	for i := range e.Store.DBs() {
		var effects []byte
		n += e.Store.DB(i).ClearSlot(slot, func(o *store.Obj) {
			key := append([]byte(nil), o.Key()...)
			effects = resp.AppendCommand(effects, []byte("DEL"), key)
			changes = append(changes, command.Change{DB: i, Slot: slot, Key: key, Event: "del"})
		})
		if len(effects) > 0 {
			e.Propagate(i, effects)
		}
	}
	e.Carry(changes...)
	e.dirty.Add(int64(n))
	return n, true
}

// WaitThaw waits for the next end of a freeze, at most a second. No locks are
// held.
func (e *Engine) WaitThaw() { e.freezes.waitThaw() }
