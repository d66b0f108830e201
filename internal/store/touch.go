package store

import (
	"encoding/binary"
	"unsafe"
)

// MaxTouch is how many keys are touched ahead together.
const MaxTouch = 128

// Touch names a key whose memory will be wanted soon.
type Touch struct {
	Hash uint64
	Slot uint16
	line uint64 // offset in the region of what to read next; 0, where nothing lies: none
}

// TouchAhead brings what finding the keys will read into the cache: the headers
// of their slots, then the lines of the index that their hashes point to, then
// the first two lines of the records that those name. In each pass the lines of
// all keys are under way at once, which is what makes a batch of commands cheaper
// than the same commands one by one.
//
// It is a hint: it takes no lock, so what it reads may be torn or stale, and
// nothing of it is used for anything else. Under the race detector it does
// nothing. At most MaxTouch keys. Source: DESIGN section 3, touch-ahead.
func (db *DB) TouchAhead(keys []Touch) {
	if raceEnabled {
		return
	}
	var addrs [MaxTouch]uintptr
	table := db.table.Load()
	region := db.st.Heap.Region()
	base := uintptr(unsafe.Pointer(unsafe.SliceData(region)))
	for i := range keys {
		addrs[i] = uintptr(unsafe.Pointer(&table[keys[i].Slot&(Slots-1)]))
	}
	prefetchLines(addrs[:len(keys)])
	for i := range keys {
		k := &keys[i]
		off, ok := table[k.Slot&(Slots-1)].dict.Bucket(region, k.Hash)
		if !ok || off+64 > uint64(len(region)) {
			off = 0
		}
		k.line = off
		addrs[i] = base + uintptr(off)
	}
	prefetchLines(addrs[:len(keys)])
	for i := range keys {
		k := &keys[i]
		if k.line == 0 {
			continue
		}
		ref := uint64(0)
		bucket := region[k.line:][:64]
		for j := 0; j < 64 && ref == 0; j += 8 {
			ref = matchEntry(bucket[j:j+8], k.Hash)
		}
		if ref == 0 || ref+128 > uint64(len(region)) {
			ref = 0
		}
		k.line = ref
	}
	// Loads, not prefetches, whose page walks the processor drops when it has many:
	// with 16 keys of five million 3 % less time for a batch of GET, 6 % of SET.
	var sum byte
	for i := range keys {
		ref := keys[i].line
		sum += region[ref] + region[ref+64]
	}
	keys[0].line = uint64(sum) // or the compiler leaves the loads out
}

// matchEntry returns the reference of an index entry if its hash bits agree.
// The entry's layout is ds.Dict's.
func matchEntry(b []byte, hash uint64) uint64 {
	e := binary.LittleEndian.Uint64(b)
	if e == 0 || e>>39 != hash>>39 {
		return 0
	}
	return e & (1<<38 - 1) << 3
}
