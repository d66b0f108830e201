package store

import "sync/atomic"

// Hidden slots hold keys that nobody may see yet: a slot that arrives from
// another node is whole only when it has been handed over. Its keys are found by
// whoever knows their names (the commands that bring them), they are saved and
// replicated as all others, but they are not listed, counted, drawn at random,
// expired or evicted.
type hiddenSlots struct {
	n    atomic.Int32 // slots that are hidden; 0 is all that the usual path looks at
	bits [Slots / 64]atomic.Uint64
}

// HideSlot hides a slot or ends that. The slot's lock is held.
func (st *Store) HideSlot(slot uint16, hide bool) {
	bit := uint64(1) << (slot & 63)
	was := st.hidden.bits[slot>>6].Load()&bit != 0
	switch {
	case hide && !was:
		st.hidden.bits[slot>>6].Or(bit)
		st.hidden.n.Add(1)
	case !hide && was:
		st.hidden.bits[slot>>6].And(^bit)
		st.hidden.n.Add(-1)
	}
}

// SlotHidden reports whether a slot is hidden. Without the slot's lock the
// answer may be a moment old.
func (st *Store) SlotHidden(slot uint16) bool {
	return st.hidden.n.Load() != 0 && st.hidden.bits[slot>>6].Load()&(1<<(slot&63)) != 0
}

// Visible is Len without the keys of hidden slots. Those grow all the while, so
// the others are added up rather than the hidden taken away.
func (db *DB) Visible(world bool) (keys, volatile int) {
	if db.st.hidden.n.Load() == 0 {
		return db.Len(world)
	}
	for slot := db.NextOccupied(0); slot < Slots; slot = db.NextOccupied(slot + 1) {
		s := uint16(slot)
		if !world {
			db.st.Lock(s)
		}
		if !db.st.SlotHidden(s) {
			keys += db.slot(s).dict.Len()
			volatile += int(db.slot(s).volatile)
		}
		if !world {
			db.st.Unlock(s)
		}
	}
	return keys, volatile
}
