package ds

import (
	"encoding/binary"
	"fmt"

	"github.com/skeindb/skein/internal/mem"
)

// TTLTable is a Table some of whose fields expire. Its header is the table's with
// a tree behind it:
//
//	| Table | idTree |
//	0       24       40
//
// The pair of a field that expires has its time, i64, behind the value, and the
// flag of its entry in the Dict is set. The tree has such pairs in the order of
// their times, under (time, ref of the pair). So a table becomes a TTLTable, and
// the reverse once no field expires, by its header alone. Times are Unix
// milliseconds, 0 for never.
type TTLTable struct {
	Table
	times idTree
}

// TTLTableHeader is the number of bytes a TTLTable takes in its record. The first
// TableHeader of them are those of a Table, the others zero while no field expires.
const TTLTableHeader = TableHeader + idTreeHeader

// OpenTTLTable returns a handle on the table whose header is hdr.
func OpenTTLTable(a Arena, hdr []byte) TTLTable {
	return TTLTable{OpenTable(a, hdr), openIDTree(a, hdr[TableHeader:])}
}

// InitTTLTable makes hdr the header of an empty table.
func InitTTLTable(a Arena, hdr []byte) TTLTable {
	clear(hdr[:TTLTableHeader])
	InitTable(a, hdr)
	return OpenTTLTable(a, hdr)
}

// Expiring returns how many fields expire.
func (t TTLTable) Expiring() int { return t.times.Len() }

// FirstTime returns when the next field expires, 0 for never.
func (t TTLTable) FirstTime() int64 {
	if it := t.times.first(); it.valid() {
		return int64(it.key().Ms)
	}
	return 0
}

// First returns the field that expires next; there is one.
func (t TTLTable) First() (field []byte) {
	it := t.times.first()
	field, _ = t.pair(it.ref())
	return field
}

// findPair returns a field's pair, its value and its time.
func (t TTLTable) findPair(d *Dict, hash uint64, field []byte) (ref mem.Ref, value []byte, at int64) {
	region := t.a.Region()
	for c := d.Probe(t.a.Heap, hash); c.Next(); {
		b := region[c.Ref():]
		if f0, f1, v1 := pairBounds(b); string(b[f0:f1]) == string(field) {
			if c.Flag() {
				at = int64(binary.LittleEndian.Uint64(b[v1:]))
			}
			return c.Ref(), b[f1:v1:v1], at
		}
	}
	return 0, nil, 0
}

// Get returns the value and the time of a field.
func (t TTLTable) Get(field []byte) (value []byte, at int64, ok bool) {
	d := t.dict()
	ref, value, at := t.findPair(&d, Hash(field), field)
	return value, at, ref != 0
}

// Set gives a field its value and time; added says that the field is new. value
// may be the field's present one.
func (t TTLTable) Set(field, value []byte, at int64) (added bool) {
	h, d := Hash(field), t.dict()
	old, _, was := t.findPair(&d, h, field)
	if old != 0 && was == 0 && at == 0 {
		return t.Table.Set(field, value)
	}
	if old != 0 {
		t.changing(h, old, was)
	}
	ref := t.newTimedPair(field, value, at)
	t.a.Reading.born(ref)
	if old == 0 {
		d.Insert(t.a, h, ref, at != 0)
		t.store(&d)
	} else {
		d.Replace(t.a, h, old, ref)
		if (was != 0) != (at != 0) {
			d.SetFlag(t.a, h, ref, at != 0)
		}
		t.dropTime(old, was)
		t.freePair(old)
	}
	if at != 0 {
		t.times.insert(StreamID{uint64(at), uint64(ref)}, ref)
	}
	return old == 0
}

func (t TTLTable) newTimedPair(field, value []byte, at int64) mem.Ref {
	if at == 0 {
		return t.newPair(field, value)
	}
	n := pairSize(len(field), len(value))
	ref := t.a.Alloc(t.a.Shard, n+8, mem.Nodes)
	t.addPairBytes(t.a.Size(ref))
	b := t.a.At(ref, n+8)
	writePair(b, field, value)
	binary.LittleEndian.PutUint64(b[n:], uint64(at))
	return ref
}

func (t TTLTable) dropTime(ref mem.Ref, at int64) {
	if at != 0 {
		t.times.remove(StreamID{uint64(at), uint64(ref)})
	}
}

// Delete removes a field; false when it is not there.
func (t TTLTable) Delete(field []byte) bool {
	h, d := Hash(field), t.dict()
	ref, _, at := t.findPair(&d, h, field)
	if ref == 0 {
		return false
	}
	t.changing(h, ref, at)
	d.Remove(t.a, h, ref)
	t.store(&d)
	t.dropTime(ref, at)
	t.freePair(ref)
	return true
}

// timed returns the pair's field, value and time; flag is that of its entry.
func (t TTLTable) timed(ref mem.Ref, flag bool) (field, value []byte, at int64) {
	b := t.a.Region()[ref:]
	f0, f1, v1 := pairBounds(b)
	if flag {
		at = int64(binary.LittleEndian.Uint64(b[v1:]))
	}
	return b[f0:f1:f1], b[f1:v1:v1], at
}

// Scan is Table.Scan with times.
func (t TTLTable) Scan(cursor uint64, fn func(field, value []byte, at int64)) (next uint64) {
	d := t.dict()
	return d.Scan(t.a.Heap, cursor, func(ref mem.Ref, flag bool) { fn(t.timed(ref, flag)) })
}

// Each is Table.Each with times.
func (t TTLTable) Each(fn func(field, value []byte, at int64) bool) {
	on := true
	for cursor := uint64(0); ; {
		cursor = t.Scan(cursor, func(field, value []byte, at int64) {
			if on {
				on = fn(field, value, at)
			}
		})
		if cursor == 0 || !on {
			return
		}
	}
}

// Free frees what the table owns and leaves it empty.
func (t TTLTable) Free() {
	t.times.free()
	t.Table.Free()
}

// MemUsed returns the bytes the table owns in the heap.
func (t TTLTable) MemUsed() int { return t.Table.MemUsed() + t.times.memUsed() }

// Check verifies table and tree, and that they agree.
func (t TTLTable) Check() error {
	if err := t.Table.Check(); err != nil {
		return err
	}
	if err := t.times.check(); err != nil {
		return err
	}
	n := 0
	var err error
	d := t.dict()
	for cursor := uint64(0); err == nil; {
		cursor = d.Scan(t.a.Heap, cursor, func(ref mem.Ref, flag bool) {
			if !flag {
				return
			}
			n++
			field, _, at := t.timed(ref, true)
			if r, ok := t.times.get(StreamID{uint64(at), uint64(ref)}); !ok || r != ref || at <= 0 {
				err = fmt.Errorf("ds: field %q expires at %d, but not in the tree", field, at)
			}
		})
		if cursor == 0 {
			break
		}
	}
	if err == nil && n != t.Expiring() {
		err = fmt.Errorf("ds: %d fields expire, the tree has %d", n, t.Expiring())
	}
	return err
}
