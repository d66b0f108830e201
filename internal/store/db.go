package store

import (
	"bytes"
	"math/bits"
	"sync/atomic"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/mem"
)

// DB is one database: 16384 slots, whatever the mode, so that hash tags place
// keys in standalone mode as they do in a cluster.
type DB struct {
	st       *Store
	index    int // number that SELECT knows it by; world lock to change
	table    atomic.Pointer[[Slots]slot]
	expiring atomic.Int64              // keys with an expiry
	fielded  atomic.Int64              // hashes of which fields expire
	occupied [Slots / 64]atomic.Uint64 // a bit per slot that holds keys; read without locks
}

type slot struct {
	dict       ds.Dict
	n          atomic.Int32 // keys; the dict's length for readers without the lock
	volatile   int32        // keys with an expiry
	nextExpire atomic.Int64 // no key expires before it; 0: none does
}

func newDB(st *Store, index int) *DB {
	db := &DB{st: st, index: index}
	db.table.Store(new([Slots]slot))
	return db
}

func (db *DB) slot(i uint16) *slot { return &db.table.Load()[i] }

// Store returns the store that db belongs to.
func (db *DB) Store() *Store { return db.st }

// Index returns the number by which SELECT knows the database.
func (db *DB) Index() int { return db.index }

// Find points o at key and reports whether it exists. An expired key exists
// until someone deletes it.
func (db *DB) Find(slot uint16, hash uint64, key []byte, o *Obj) bool {
	h := db.st.Heap
	p := db.slot(slot).dict.Probe(h, hash)
	for p.Next() {
		o.open(db, slot, hash, p.Ref())
		if bytes.Equal(o.rec[o.keyOff:o.valOff], key) {
			return true
		}
	}
	o.rec = nil
	return false
}

// Create makes a record for a key that does not exist and points o at it. The
// n bytes of the inline value are undefined.
func (db *DB) Create(slot uint16, hash uint64, key []byte, t Type, e Encoding, n int, expireAt int64, second uint32, o *Obj) []byte {
	size := headerLen(len(key), expireAt != 0) + len(key) + n
	ref := db.st.Heap.Alloc(StripeOf(slot), size, mem.Records)
	o.write(db, slot, hash, ref, key, t, e, n, expireAt, db.st.firstAccess(second))
	s := db.slot(slot)
	if s.dict.Len() == 0 {
		db.occupied[slot>>6].Or(1 << (slot & 63))
	}
	s.dict.Insert(db.st.arena(slot), hash, ref, o.sweepable())
	if e.FieldsExpire() {
		db.fielded.Add(1)
	}
	s.n.Store(int32(s.dict.Len()))
	if expireAt != 0 {
		s.volatile++
		db.expiring.Add(1)
		s.noteExpire(expireAt)
	}
	return o.Bytes()
}

// Delete removes the record that o is on. o is on no key afterwards. Memory of a
// big value is freed here or in the background, as Store.SetLazyDelete says.
func (db *DB) Delete(o *Obj) { db.DeleteIn(o, db.st.lazyDelete.Load()) }

// DeleteIn is Delete for whoever knows whether a big value's memory is to be freed
// in the background.
func (db *DB) DeleteIn(o *Obj, background bool) {
	db.beforeWrite(o)
	o.release(background)
	db.drop(o)
}

// MoveTo gives the record that o is on another key, or puts it into another
// database: type, encoding, value, expiry and access field go along, the memory
// that the value owns stays where it is. The new key must not exist; both slots
// are locked. o is on no key afterwards, to is on the new one.
func (db *DB) MoveTo(o *Obj, dst *DB, slot uint16, hash uint64, key []byte, to *Obj) {
	db.beforeWrite(o)
	v := o.Bytes()
	copy(dst.Create(slot, hash, key, o.Type(), o.Encoding(), len(v), o.ExpireAt(), 0, to), v)
	to.setAccess(o.Access())
	to.NoteFieldTime()
	if o.rec[offFlags]&flagReading != 0 {
		to.rec[offFlags] |= flagReading
		db.st.snap.moved(o.ref, to)
	}
	db.drop(o)
}

// drop removes the record that o is on from the index and frees it, without
// what its value owns.
func (db *DB) drop(o *Obj) {
	s := db.slot(o.slot)
	if o.rec[offFlags]&flagExpire != 0 {
		s.volatile--
		db.expiring.Add(-1)
		if s.volatile == 0 && db.fielded.Load() == 0 {
			s.nextExpire.Store(0)
		}
	}
	if o.Encoding().FieldsExpire() {
		db.fielded.Add(-1)
	}
	a := o.Arena()
	s.dict.Remove(a, o.hash, o.ref)
	s.n.Store(int32(s.dict.Len()))
	a.Free(a.Shard, o.ref, mem.Records)
	if s.dict.Len() == 0 {
		db.occupied[o.slot>>6].And(^uint64(1 << (o.slot & 63)))
	}
	o.rec = nil
}

// Write declares that the record which o is on is about to change. Every
// change of a record that existed before goes through Write or Delete first:
// it is what keeps snapshots exact.
func (db *DB) Write(o *Obj) { db.beforeWrite(o) }

// SlotLen returns the number of keys in a slot, expired ones included. It needs
// no lock; without it the answer may be a moment old.
func (db *DB) SlotLen(slot uint16) int { return int(db.slot(slot).n.Load()) }

// Keys returns the number of keys of the database, without locks.
func (db *DB) Keys() (n int) {
	for s := db.NextOccupied(0); s < Slots; s = db.NextOccupied(s + 1) {
		n += db.SlotLen(uint16(s))
	}
	return n
}

// Len returns the number of keys and of keys with an expiry. It takes the slot
// locks one after the other, unless the caller holds the world lock (world).
func (db *DB) Len(world bool) (keys, volatile int) {
	for i := range db.st.stripes {
		if !world {
			db.st.LockStripe(i)
		}
		k, v := db.stripeLen(i)
		if !world {
			db.st.UnlockStripe(i)
		}
		keys, volatile = keys+k, volatile+v
	}
	return keys, volatile
}

func (db *DB) stripeLen(stripe int) (keys, volatile int) {
	for s := stripe; s < Slots; s += Stripes {
		if db.slotOccupied(uint16(s)) {
			keys += db.slot(uint16(s)).dict.Len()
			volatile += int(db.slot(uint16(s)).volatile)
		}
	}
	return keys, volatile
}

func (db *DB) slotOccupied(slot uint16) bool {
	return db.occupied[slot>>6].Load()&(1<<(slot&63)) != 0
}

// NextOccupied returns the first slot at or after slot that holds keys, or
// Slots. It needs no lock; its answer may be stale.
func (db *DB) NextOccupied(slot int) int {
	for slot < Slots {
		word := db.occupied[slot>>6].Load() >> (slot & 63)
		if word != 0 {
			return slot + trailingZeros(word)
		}
		slot = (slot | 63) + 1
	}
	return Slots
}

// Expiring returns the number of keys with an expiry, without locks.
func (db *DB) Expiring() int { return int(db.expiring.Load()) }

// Fielded returns the number of hashes of which fields expire, without locks.
func (db *DB) Fielded() int { return int(db.fielded.Load()) }

// Empty reports whether no slot holds a key. It needs no lock; its answer may
// be stale.
func (db *DB) Empty() bool { return db.NextOccupied(0) == Slots }

// RandomSlot returns a slot that holds keys and is not hidden, each such slot as likely as any
// other, or Slots if there is none. It needs no lock; its answer may be stale.
func (db *DB) RandomSlot(rnd uint64) int {
	n := 0
	seen := func(i int) uint64 {
		word := db.occupied[i].Load()
		if db.st.hidden.n.Load() != 0 {
			word &^= db.st.hidden.bits[i].Load()
		}
		return word
	}
	for i := range db.occupied {
		n += bits.OnesCount64(seen(i))
	}
	if n == 0 {
		return Slots
	}
	skip := int(rnd % uint64(n))
	for i := range db.occupied {
		word := seen(i)
		if k := bits.OnesCount64(word); skip >= k {
			skip -= k
			continue
		}
		for ; skip > 0; skip-- {
			word &= word - 1
		}
		return i<<6 + trailingZeros(word)
	}
	for i := range db.occupied { // slots were emptied meanwhile
		if word := seen(i); word != 0 {
			return i<<6 + trailingZeros(word)
		}
	}
	return Slots
}

// Clear removes every key. With async the memory is freed in the background; if a
// snapshot needs what was there, at its end. A snapshot of slots is aborted, since
// their keys and what happened to them travel together. World lock. It returns the
// number of keys.
func (db *DB) Clear(async bool) int {
	n, _ := db.Len(true)
	if n == 0 {
		return 0
	}
	kept := false
	if snap := db.st.snap.cur.Load(); snap != nil && snap.slots != nil {
		db.st.AbortSnapshot("the data set was flushed")
	} else if snap != nil {
		kept = snap.keep(db)
	}
	old := db.table.Swap(new([Slots]slot))
	db.expiring.Store(0)
	db.fielded.Store(0)
	for i := range db.occupied {
		db.occupied[i].Store(0)
	}
	if !kept {
		db.st.lazy.freeSlots(old[:], async)
	}
	return n
}

// ClearSlot removes every key of one slot, calling before for each.
func (db *DB) ClearSlot(slot uint16, before func(o *Obj)) int {
	n := 0
	for {
		ref, ok := db.slot(slot).dict.Random(db.st.Heap, 0)
		if !ok {
			return n
		}
		var o Obj
		db.openRef(slot, ref, &o)
		if before != nil {
			before(&o)
		}
		db.DeleteIn(&o, true)
		n++
	}
}

// openRef points o at a record of which only the reference is known.
func (db *DB) openRef(slot uint16, ref mem.Ref, o *Obj) {
	o.open(db, slot, 0, ref)
	o.hash = Hash(o.Key())
}

// Random points o at a random key of a slot.
func (db *DB) Random(slot uint16, rnd uint64, o *Obj) bool {
	ref, ok := db.slot(slot).dict.Random(db.st.Heap, rnd)
	if !ok {
		o.rec = nil
		return false
	}
	db.openRef(slot, ref, o)
	return true
}
