package store

import "encoding/binary"

// TouchIndex reads the index line that hash points to in the slot, and
// TouchRecord the first two cache lines of the record that the line names, so
// that a later lookup finds them in the cache. Both are hints: they take no
// lock, and what they read is never used for anything else (the result only
// keeps the compiler from dropping the loads). Under the race detector they do
// nothing. Source: DESIGN section 3, touch-ahead.
func (db *DB) TouchIndex(slot uint16, hash uint64) (line uint64) {
	if raceEnabled {
		return 0
	}
	region := db.st.Heap.Region()
	off, ok := db.slot(slot).dict.Bucket(region, hash)
	if !ok || off+64 > uint64(len(region)) {
		return 0
	}
	if region[off] == 0xff { // forces the load
		return off | 1
	}
	return off
}

// TouchRecord continues TouchIndex with the line that it returned.
func (db *DB) TouchRecord(line, hash uint64) byte {
	if raceEnabled || line == 0 {
		return 0
	}
	region := db.st.Heap.Region()
	bucket := region[line&^1:][:64]
	for i := 0; i < 64; i += 8 {
		ref := matchEntry(bucket[i:i+8], hash)
		if ref != 0 && ref+128 < uint64(len(region)) {
			return region[ref] ^ region[ref+64]
		}
	}
	return 0
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
