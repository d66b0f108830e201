package store

import "github.com/skeindb/skein/internal/mem"

type memRef = mem.Ref

// A scan cursor is | position in the slot's hash order, 26 bits | slot, 14 bits |.
// Zero starts and ends a scan. Hash order does not change when an index grows
// or shrinks, so a key that is there all along is met at least once.
const slotBits = 14

// CursorOf returns the cursor of a position in a slot, and SplitCursor what a
// cursor is made of.
func CursorOf(slot uint16, pos uint64) uint64 { return pos<<slotBits | uint64(slot) }

func SplitCursor(cursor uint64) (slot uint16, pos uint64) {
	return uint16(cursor & (Slots - 1)), cursor >> slotBits
}

// Scan visits keys that are not hidden from cursor on until it has visited at least count, or has
// looked at a bounded number of slots, or is through; it returns the cursor to
// go on from, 0 at the end. It locks one slot at a time, unless the caller holds
// the world lock (world); visit runs under that lock and may delete its key.
func (db *DB) Scan(cursor uint64, count int, world bool, visit func(o *Obj)) uint64 {
	slot := int(cursor & (Slots - 1))
	pos := cursor >> slotBits
	if pos >= 1<<26 {
		return 0
	}
	for n := 0; n < count; {
		if s := db.NextOccupied(slot); s != slot {
			slot, pos = s, 0
		}
		if slot >= Slots {
			return 0
		}
		if db.st.SlotHidden(uint16(slot)) {
			slot, pos = slot+1, 0
			continue
		}
		if !world {
			db.st.Lock(uint16(slot))
		}
		pos = db.scanStep(uint16(slot), pos, &n, visit)
		if !world {
			db.st.Unlock(uint16(slot))
		}
		if pos == 0 {
			slot++
		}
	}
	if slot >= Slots {
		return 0
	}
	// Never hand out 0 for a scan that is not over: slot 0 at position 0 can
	// only be the start.
	return pos<<slotBits | uint64(slot)
}

// ScanSlot visits keys of one slot whose lock the caller holds, from pos on,
// at least count of them or all; it returns the next pos, 0 at the end.
func (db *DB) ScanSlot(slot uint16, pos uint64, count int, visit func(o *Obj)) uint64 {
	for n := 0; n < count; {
		if pos = db.scanStep(slot, pos, &n, visit); pos == 0 {
			return 0
		}
	}
	return pos
}

// scanStep visits one bucket's worth of keys.
func (db *DB) scanStep(slot uint16, pos uint64, n *int, visit func(o *Obj)) uint64 {
	var refs [64]mem.Ref
	got := refs[:0]
	next := db.slot(slot).dict.Scan(db.st.Heap, pos, func(ref mem.Ref, _ bool) {
		got = append(got, ref)
	})
	for _, ref := range got {
		var o Obj
		db.openRef(slot, ref, &o)
		*n++
		visit(&o)
	}
	return next
}

// EachKey visits every key of the database; the caller holds the world lock.
// visit must not change the data.
func (db *DB) EachKey(visit func(o *Obj) bool) {
	for slot := db.NextOccupied(0); slot < Slots; slot = db.NextOccupied(slot + 1) {
		for pos, n := uint64(0), 0; ; {
			stop := false
			pos = db.scanStep(uint16(slot), pos, &n, func(o *Obj) {
				if !stop && !visit(o) {
					stop = true
				}
			})
			if stop {
				return
			}
			if pos == 0 {
				break
			}
		}
	}
}
