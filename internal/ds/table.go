package ds

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/skeindb/skein/internal/mem"
)

// Table maps fields to values: the big encoding of hashes, and of sets, whose
// members are fields with empty values. Its header lies in the key's record:
//
//	header | Dict | bytes of all pairs u64 |
//	       0      16                       24
//
// Each pair is one allocation, found by the Dict under Hash(field):
//
//	pair   | field length | value length | field | value |
//
// with lengths of 7 bits a byte, the lowest first, the top bit set in all bytes
// but the last. The pair's size is always the least class that holds it; a value
// that leaves the class the same is written in place.
//
// A Table is a handle: valid, like all views it returns, until the next change
// of the table or of the record, or until the slot's lock is released. Fields
// and values passed in are copied; they must not be views of the same table.
type Table struct {
	a   Arena
	hdr []byte
}

// TableHeader is the number of bytes a table takes in its record.
const TableHeader = DictSize + 8

// InitTable makes hdr, of TableHeader bytes, the header of an empty table.
func InitTable(a Arena, hdr []byte) Table {
	t := OpenTable(a, hdr)
	d := NewDict(mem.Nodes)
	t.store(&d)
	t.addPairBytes(-t.pairBytes())
	return t
}

// OpenTable returns a handle on the table whose header is hdr.
func OpenTable(a Arena, hdr []byte) Table { return Table{a, hdr[:TableHeader:TableHeader]} }

func (t Table) dict() Dict     { return LoadDict(t.hdr) }
func (t Table) store(d *Dict)  { d.Store(t.hdr) }
func (t Table) pairBytes() int { return int(binary.LittleEndian.Uint64(t.hdr[DictSize:])) }
func (t Table) addPairBytes(n int) {
	binary.LittleEndian.PutUint64(t.hdr[DictSize:], uint64(t.pairBytes()+n))
}

// Len returns the number of fields.
func (t Table) Len() int {
	d := t.dict()
	return d.Len()
}

// Get returns the value of a field.
func (t Table) Get(field []byte) (value []byte, ok bool) {
	d := t.dict()
	ref, value := t.find(&d, Hash(field), field)
	return value, ref != 0
}

// Has tells whether a field is there.
func (t Table) Has(field []byte) bool {
	d := t.dict()
	ref, _ := t.find(&d, Hash(field), field)
	return ref != 0
}

// Set gives a field its value; added says that the field is new.
func (t Table) Set(field, value []byte) (added bool) {
	h, d := Hash(field), t.dict()
	ref, old := t.find(&d, h, field)
	if ref == 0 {
		t.insert(&d, h, field, value)
		return true
	}
	t.changing(h, ref, 0)
	if len(value) == len(old) {
		copy(old, value)
		return false
	}
	need := pairSize(len(field), len(value))
	if t.a.SizeFor(need) == t.a.Size(ref) {
		writePair(t.a.At(ref, need), field, value)
		return false
	}
	now := t.newPair(field, value)
	d.Replace(t.a, h, ref, now) // changes the index, not d
	t.a.Reading.born(now)
	t.freePair(ref)
	return false
}

// Add adds a member, a field with an empty value, unless it is there.
func (t Table) Add(member []byte) (added bool) {
	h, d := Hash(member), t.dict()
	if ref, _ := t.find(&d, h, member); ref != 0 {
		return false
	}
	t.insert(&d, h, member, nil)
	return true
}

// Delete removes a field; false when it is not there.
func (t Table) Delete(field []byte) bool {
	h, d := Hash(field), t.dict()
	ref, _ := t.find(&d, h, field)
	if ref == 0 {
		return false
	}
	t.changing(h, ref, 0)
	d.Remove(t.a, h, ref)
	t.store(&d)
	t.freePair(ref)
	return true
}

// Reserve makes room for n fields in all, for a caller about to add them.
func (t Table) Reserve(n int) {
	d := t.dict()
	d.Reserve(t.a, n)
	t.store(&d)
}

// Scan calls fn for a few fields from cursor on, with Dict.Scan's cursors and
// guarantees. fn must not change the table.
func (t Table) Scan(cursor uint64, fn func(field, value []byte)) (next uint64) {
	d := t.dict()
	return d.Scan(t.a.Heap, cursor, func(ref mem.Ref, _ bool) {
		fn(t.pair(ref))
	})
}

// Each calls fn for every field until it returns false. The order is that of
// hashes, stable while the table does not change. fn must not change the table.
func (t Table) Each(fn func(field, value []byte) bool) {
	d := t.dict()
	on := true
	for cursor := uint64(0); ; {
		cursor = d.Scan(t.a.Heap, cursor, func(ref mem.Ref, _ bool) {
			if on {
				on = fn(t.pair(ref))
			}
		})
		if cursor == 0 || !on {
			return
		}
	}
}

// Random returns a field with its value, each with the same probability as far
// as rnd is uniform. The table must not be empty.
func (t Table) Random(rnd uint64) (field, value []byte) {
	d := t.dict()
	ref, ok := d.Random(t.a.Heap, rnd)
	if !ok {
		panic("ds: random field of an empty table")
	}
	return t.pair(ref)
}

// Free frees what the table owns and leaves it empty. O(fields).
func (t Table) Free() {
	d := t.dict()
	for cursor := uint64(0); ; {
		cursor = d.Scan(t.a.Heap, cursor, func(ref mem.Ref, _ bool) { t.a.Heap.Free(t.a.Shard, ref, mem.Nodes) })
		if cursor == 0 {
			break
		}
	}
	d.Free(t.a)
	t.store(&d)
	t.addPairBytes(-t.pairBytes())
}

// MemUsed returns the bytes the table owns in the heap, its header not included.
func (t Table) MemUsed() int {
	d := t.dict()
	return d.MemUsed(t.a.Heap) + t.pairBytes()
}

// Check verifies the index, that every pair is found under its field and no
// field is there twice, and the sum of sizes.
func (t Table) Check() error {
	d := t.dict()
	if err := d.Check(t.a.Heap); err != nil {
		return err
	}
	var err error
	n, sum := 0, 0
	for cursor := uint64(0); ; {
		cursor = d.Scan(t.a.Heap, cursor, func(ref mem.Ref, timed bool) {
			n++
			size := t.a.Size(ref)
			sum += size
			field, value := t.pair(ref)
			need := pairSize(len(field), len(value))
			if timed { // TTLTable
				need += 8
			}
			if t.a.SizeFor(need) != size {
				err = fmt.Errorf("ds: pair %#x of %d bytes has %d", uint64(ref), need, size)
			}
			if at, _ := t.find(&d, Hash(field), field); at != ref {
				err = fmt.Errorf("ds: pair %#x: its field is found at %#x", uint64(ref), uint64(at))
			}
		})
		if err != nil {
			return err
		}
		if cursor == 0 {
			break
		}
	}
	if n != d.Len() || sum != t.pairBytes() {
		return fmt.Errorf("ds: table has %d pairs in %d bytes, books say %d in %d", n, sum, d.Len(), t.pairBytes())
	}
	return nil
}

// find returns the pair of a field and its value, or 0.
func (t Table) find(d *Dict, hash uint64, field []byte) (mem.Ref, []byte) {
	region := t.a.Region()
	for c := d.Probe(t.a.Heap, hash); c.Next(); {
		b := region[c.Ref():]
		if f0, f1, v1 := pairBounds(b); string(b[f0:f1]) == string(field) {
			return c.Ref(), b[f1:v1:v1]
		}
	}
	return 0, nil
}

// pair returns views of a pair's field and value.
func (t Table) pair(ref mem.Ref) (field, value []byte) {
	b := t.a.Region()[ref:]
	f0, f1, v1 := pairBounds(b)
	return b[f0:f1:f1], b[f1:v1:v1]
}

// pairBounds returns where in b the field starts, where it ends and the value
// starts, and where that ends.
func pairBounds(b []byte) (f0, f1, v1 int) {
	if x, y := b[0], b[1]; x|y < 0x80 { // a pair has 8 bytes at least
		return 2, 2 + int(x), 2 + int(x) + int(y)
	}
	return longPairBounds(b)
}

func longPairBounds(b []byte) (f0, f1, v1 int) {
	fl, n := binary.Uvarint(b)
	vl, m := binary.Uvarint(b[n:])
	return n + m, n + m + int(fl), n + m + int(fl) + int(vl)
}

func (t Table) insert(d *Dict, hash uint64, field, value []byte) {
	ref := t.newPair(field, value)
	d.Insert(t.a, hash, ref, false)
	t.store(d)
	t.a.Reading.born(ref)
}

func (t Table) newPair(field, value []byte) mem.Ref {
	n := pairSize(len(field), len(value))
	ref := t.a.Alloc(t.a.Shard, n, mem.Nodes)
	t.addPairBytes(t.a.Size(ref))
	writePair(t.a.At(ref, n), field, value)
	return ref
}

func (t Table) freePair(ref mem.Ref) {
	t.addPairBytes(-t.a.Size(ref))
	t.a.Heap.Free(t.a.Shard, ref, mem.Nodes)
}

func pairSize(field, value int) int {
	return uvarintLen(field) + uvarintLen(value) + field + value
}

func uvarintLen(n int) int { return (bits.Len(uint(n)|1) + 6) / 7 }

func writePair(b, field, value []byte) {
	n := binary.PutUvarint(b, uint64(len(field)))
	n += binary.PutUvarint(b[n:], uint64(len(value)))
	n += copy(b[n:], field)
	copy(b[n:], value)
}
