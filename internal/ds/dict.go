package ds

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unsafe"

	"github.com/skeindb/skein/internal/mem"
)

// Dict maps 64-bit hashes to refs: the index of a slot's keys, and within Table
// that of a collection's fields. It knows nothing of what the refs point to; the
// caller compares keys. The zero Dict is empty and counted as mem.Index.
//
// A table is n buckets of one cache line, eight entries each:
//
//	entry u64   | hash25 | flag | ref/8 |     0 is no entry
//	            63       39     38      0
//
// hash25 is the top of the hash; n is any number. An entry's home bucket is
// hash25*n >> 25, so the table is in hash order up to collisions, whatever n is:
// a scan that goes by hash keeps its place when the table grows or shrinks, and
// an entry can move to another table without a look at its key. When its home
// is full an entry goes to the next bucket with room, round the end.
//
// Invariants:
//  1. The entries of a bucket fill it from the front.
//  2. All buckets from an entry's home to the one it is in, exclusively, are
//     full. So a search ends at the first bucket that is not, and taking an entry
//     out of a full bucket draws a later one in; there are no tombstones.
//  3. At least one bucket is not full.
//
// Up to smallTable buckets a resize moves everything at once. Beyond, the new
// table has one line more, the move, and each Insert and Remove moves a few home
// buckets in hash order from the old table to the new:
//
//	move   | old ref u64 | old buckets u32 | boundary u32 | entries in old u64 |
//	       0             8                 12             16                   24
//
// Entries whose home in the old table is below boundary are in the new one, all
// others in the old one; each table keeps the invariants by itself.
//
// The caller holds the slot's lock, except for Bucket.
type Dict struct {
	table uint64 // ref of the table, multiple of 64, with two flags in its low bits
	n     uint32 // buckets
	used  uint32 // entries, in both tables
}

// DictSize is the number of bytes Store writes.
const DictSize = 16

const (
	dictMoving = 1 // there is an old table
	dictNodes  = 2 // counted as mem.Nodes, not mem.Index
	dictFlags  = 63

	bucketSize = 64
	perBucket  = 8
	hashBits   = 25
	hashShift  = 64 - hashBits
	flagBit    = 1 << 38
	refMask    = flagBit - 1

	// Buckets a table may have to be rehashed at once: 0.2 ms.
	smallTable = 4096
	// Home buckets moved per Insert or Remove. A move from n buckets then lasts
	// n/2 calls. That is too short for the old table, with n places free when it
	// starts, to fill up even if all inserts go there, and too short for the new
	// one to need the next resize: it has 2 n places to spare after growth by a
	// third, n after shrinking to half.
	moveStep = 2
)

type bucket = [perBucket]uint64

// NewDict returns an empty Dict whose tables are counted under p, which is
// mem.Index or mem.Nodes.
func NewDict(p mem.Purpose) Dict {
	if p == mem.Nodes {
		return Dict{table: dictNodes}
	}
	return Dict{}
}

// LoadDict reads what Store wrote.
func LoadDict(b []byte) Dict {
	return Dict{
		table: binary.LittleEndian.Uint64(b),
		n:     binary.LittleEndian.Uint32(b[8:]),
		used:  binary.LittleEndian.Uint32(b[12:]),
	}
}

// Store writes d into the first DictSize bytes of b.
func (d *Dict) Store(b []byte) {
	_ = b[DictSize-1]
	binary.LittleEndian.PutUint64(b, d.table)
	binary.LittleEndian.PutUint32(b[8:], d.n)
	binary.LittleEndian.PutUint32(b[12:], d.used)
}

// Len returns the number of entries.
func (d *Dict) Len() int { return int(d.used) }

func (d *Dict) purpose() mem.Purpose {
	if d.table&dictNodes != 0 {
		return mem.Nodes
	}
	return mem.Index
}

// table is a view of one table: base is the offset of its first bucket.
type table struct {
	region []byte
	base   uint64
	n      uint32
}

func (t table) bucket(i uint32) *bucket {
	off := t.base + uint64(i)*bucketSize
	return (*bucket)(unsafe.Pointer(&t.region[off : off+bucketSize][0]))
}

func (t table) next(i uint32) uint32 {
	if i++; i == t.n {
		return 0
	}
	return i
}

// homeOf returns the home bucket, among n, of an entry or hash.
func homeOf(e uint64, n uint32) uint32 { return uint32(e >> hashShift * uint64(n) >> hashBits) }

// firstHash returns the least hash25 whose home, among n, is not below b.
func firstHash(b, n uint32) uint64 { return (uint64(b)<<hashBits + uint64(n) - 1) / uint64(n) }

func (d *Dict) main(region []byte) table {
	return table{region, d.table &^ dictFlags, d.n}
}

// move is the state of an incremental resize, in the line after the new table.
type move struct {
	old      uint64
	n        uint32
	boundary uint32
	used     uint64
}

func (d *Dict) move(region []byte) *move {
	off := d.table&^dictFlags + uint64(d.n)*bucketSize
	return (*move)(unsafe.Pointer(&region[off : off+bucketSize][0]))
}

// of returns the table that holds entries of hash, if any is there.
func (d *Dict) of(region []byte, hash uint64) (t table, old bool) {
	if d.table&dictMoving != 0 {
		if m := d.move(region); homeOf(hash, m.n) >= m.boundary {
			return table{region, m.old, m.n}, true
		}
	}
	return d.main(region), false
}

// Probe walks the entries whose hash25 is that of one hash. On average one in
// four million entries that it returns belongs to another key, so the caller
// must compare. It is valid until the next change of the Dict.
type Probe struct {
	b    *bucket // the one looked at
	e    uint64
	hits uint8 // bit per entry of b that matches and was not returned
	d    *Dict
	h    *mem.Heap
	hash uint64
	i    uint32 // buckets from home to b
}

// Probe starts a walk: p := d.Probe(h, hash); for p.Next() { ... p.Ref() ... }
func (d *Dict) Probe(h *mem.Heap, hash uint64) Probe {
	if d.n == 0 {
		return Probe{b: &noBucket}
	}
	region := h.Region()
	base, n := d.table&^dictFlags, d.n
	if d.table&dictMoving != 0 {
		t, _ := d.of(region, hash)
		base, n = t.base, t.n
	}
	b := (*bucket)(unsafe.Pointer(&region[base+uint64(homeOf(hash, n))*bucketSize:][:bucketSize][0]))
	return Probe{b: b, hits: matches(b, hash), d: d, h: h, hash: hash}
}

// noBucket is what an empty Dict is looked up in. Nothing writes to it.
var noBucket bucket

// Next moves to the next candidate.
func (p *Probe) Next() bool {
	if p.hits == 0 && (p.b[7] == 0 || !p.further()) {
		return false
	}
	p.e = p.b[bits.TrailingZeros8(p.hits)&7]
	p.hits &= p.hits - 1
	return true
}

// further goes on behind full buckets to one with a match; false at the end.
func (p *Probe) further() bool {
	t, _ := p.d.of(p.h.Region(), p.hash)
	at := homeOf(p.hash, t.n)
	for p.b[7] != 0 {
		if p.i++; p.i == t.n {
			p.b = &noBucket
			return false
		}
		j := at + p.i
		if j >= t.n {
			j -= t.n
		}
		p.b = t.bucket(j)
		if p.hits = matches(p.b, p.hash); p.hits != 0 {
			return true
		}
	}
	return false
}

// matches has a bit for each entry of b with hash's hash25. It compares all eight
// without a branch: a loop that stops at the hit costs a mispredicted branch on
// nearly every call.
func matches(b *bucket, hash uint64) uint8 {
	tag := hash >> hashShift << hashShift
	return match(b[0], tag) | match(b[1], tag)<<1 | match(b[2], tag)<<2 | match(b[3], tag)<<3 |
		match(b[4], tag)<<4 | match(b[5], tag)<<5 | match(b[6], tag)<<6 | match(b[7], tag)<<7
}

// match is 1 when e is an entry with tag's hash25, else 0.
func match(e, tag uint64) (bit uint8) {
	// e^tag is below 1<<39 when the hashes agree, and then 0 only for an e of 0,
	// since no entry's ref is.
	if e^tag-1 < 1<<hashShift-1 {
		bit = 1
	}
	return bit
}

// Ref returns the candidate's ref.
func (p *Probe) Ref() mem.Ref { return refOf(p.e) }

// Flag returns the candidate's flag.
func (p *Probe) Flag() bool { return p.e&flagBit != 0 }

func refOf(e uint64) mem.Ref { return mem.Ref(e & refMask << 3) }

func makeEntry(hash uint64, ref mem.Ref, flag bool) uint64 {
	e := hash>>hashShift<<hashShift | uint64(ref)>>3
	if flag {
		e |= flagBit
	}
	return e
}

// Insert adds an entry. The caller knows that ref is not there yet.
func (d *Dict) Insert(a Arena, hash uint64, ref mem.Ref, flag bool) {
	d.step(a)
	if d.used >= roomOf(d.n) {
		d.resize(a, d.n+(d.n+2)/3)
	}
	t, old := d.of(a.Region(), hash)
	if old {
		d.move(a.Region()).used++
	}
	t.put(makeEntry(hash, ref, flag))
	d.used++
}

// roomOf returns the entries that n buckets take before the table grows, 86 %.
func roomOf(n uint32) uint32 {
	return uint32(min(uint64(n)*55/8, 1<<32-1))
}

// Replace puts new in the place of old, whose record has moved. The flag stays.
func (d *Dict) Replace(a Arena, hash uint64, old, new mem.Ref) {
	e := d.entry(a, hash, old)
	*e = *e&^refMask | uint64(new)>>3
}

// SetFlag sets or clears ref's flag.
func (d *Dict) SetFlag(a Arena, hash uint64, ref mem.Ref, on bool) {
	e := d.entry(a, hash, ref)
	*e = makeEntry(hash, ref, on)
}

// entry returns the place of an entry that must be there.
func (d *Dict) entry(a Arena, hash uint64, ref mem.Ref) *uint64 {
	t, _ := d.of(a.Region(), hash)
	i, k := t.find(hash, ref)
	return &t.bucket(i)[k]
}

// Remove takes an entry out; it must be there. The last one takes the table too.
func (d *Dict) Remove(a Arena, hash uint64, ref mem.Ref) {
	d.step(a)
	t, old := d.of(a.Region(), hash)
	i, k := t.find(hash, ref)
	t.take(i, k)
	d.used--
	if old {
		d.move(a.Region()).used--
	}
	switch {
	case d.used == 0:
		d.Free(a)
	case d.table&dictMoving == 0 && d.n > 1 && uint64(d.used)*10 < uint64(d.n)*perBucket*3 && looksAt(uint64(d.used)):
		n := uint32(uint64(d.used)*10/(perBucket*6)) + 1 // to 60 %
		if d.n > smallTable {
			n = max(n, d.n/2) // as moveStep wants it, also after a Reserve in vain
		}
		// Whoever deletes in the order of a scan leaves the entries of the last
		// part of the hash order, as dense there as they were. In a table sized
		// by their number they would pile up, so the densest part decides.
		n = max(n, uint32(uint64(d.n)*uint64(t.densest())/(7*densitySample))+1)
		if n <= d.n-d.n/4 {
			d.resize(a, n)
		}
	}
}

// looksAt spaces out the attempts to shrink, whose cost does not depend on the
// table's size: one in used/8 to used/4 removals.
func looksAt(used uint64) bool {
	step := uint64(1) << (max(bits.Len64(used), 3) - 3)
	return used&(step-1) == 0
}

// densitySample is the number of buckets that are looked at in each of 16 parts
// of a table.
const densitySample = 8

// densest returns the number of entries in densitySample buckets of the densest
// sixteenth of a table.
func (t table) densest() (most uint32) {
	const parts = 16
	for p := range uint32(parts) {
		count := uint32(0)
		for i := range uint32(densitySample) {
			at := (uint64(p)*densitySample + uint64(i)) * uint64(t.n) / (parts * densitySample)
			for _, e := range t.bucket(uint32(at)) {
				if e != 0 {
					count++
				}
			}
		}
		most = max(most, count)
	}
	return most
}

// put adds an entry to a table with room.
func (t table) put(e uint64) {
	for i := homeOf(e, t.n); ; i = t.next(i) {
		b := t.bucket(i)
		if b[7] != 0 {
			continue
		}
		k := 0
		if b[3] != 0 {
			k = 4
		}
		if b[k+1] != 0 {
			k += 2
		}
		if b[k] != 0 {
			k++
		}
		b[k] = e
		return
	}
}

// find returns bucket and position of an entry that must be there.
func (t table) find(hash uint64, ref mem.Ref) (i uint32, k int) {
	want := makeEntry(hash, ref, false)
	if t.n > 0 {
		i = homeOf(hash, t.n)
		for range t.n {
			b := t.bucket(i)
			for k, e := range b {
				if e&^flagBit == want {
					return i, k
				}
			}
			if b[7] == 0 {
				break
			}
			i = t.next(i)
		}
	}
	panic(fmt.Sprintf("ds: dict of %d buckets has no entry %#x for hash %#x", t.n, uint64(ref), hash))
}

// take removes the entry at k of bucket i and restores the invariants. When the
// bucket was full, an entry further on whose search passes it is drawn in, which
// may leave a hole in a full bucket there, and so on. O(1) on average.
func (t table) take(i uint32, k int) {
	for {
		b := t.bucket(i)
		last := 7
		for b[last] == 0 {
			last--
		}
		b[k], b[last] = b[last], 0
		if last < 7 {
			return
		}
		j, from := t.drawable(i)
		if from < 0 {
			return
		}
		b[7] = t.bucket(j)[from]
		i, k = j, from
	}
}

// drawable finds the first entry after bucket i whose search passes i, or -1.
func (t table) drawable(i uint32) (j uint32, k int) {
	for j = t.next(i); j != i; j = t.next(j) {
		b := t.bucket(j)
		for k, e := range b {
			if e == 0 {
				return 0, -1
			}
			if t.distance(homeOf(e, t.n), j) >= t.distance(i, j) {
				return j, k
			}
		}
	}
	return 0, -1
}

// distance returns the steps from bucket i on to bucket j.
func (t table) distance(i, j uint32) uint32 {
	if j >= i {
		return j - i
	}
	return j + (t.n - i)
}

// resize goes to n buckets, or the few more that the memory's class has room for.
func (d *Dict) resize(a Arena, n uint32) {
	if d.table&dictMoving != 0 {
		panic(fmt.Sprintf("ds: dict %+v is to be resized during a resize", *d))
	}
	n = max(n, 1)
	slow := d.used > 0 && max(n, d.n) > smallTable
	lines := int(n)
	if slow {
		lines++
	}
	lines = a.SizeFor(lines*bucketSize) / bucketSize
	n = uint32(lines)
	if slow {
		n--
	}
	ref := a.AllocZero(a.Shard, lines*bucketSize, d.purpose())
	was := *d
	d.table, d.n = uint64(ref)|d.table&dictNodes, n
	if slow {
		d.table |= dictMoving
		*d.move(a.Region()) = move{old: was.table &^ dictFlags, n: was.n, used: uint64(was.used)}
		return
	}
	from, to := was.main(a.Region()), d.main(a.Region())
	for i := range from.n {
		for _, e := range from.bucket(i) {
			if e == 0 {
				break
			}
			to.put(e)
		}
	}
	if was.n > 0 {
		a.Heap.Free(a.Shard, mem.Ref(from.base), d.purpose())
	}
}

// Reserve makes room for n entries in all, so that loading them does not grow
// the table again and again. It does nothing while a resize is on its way.
func (d *Dict) Reserve(a Arena, n int) {
	if n > int(roomOf(d.n)) && d.table&dictMoving == 0 {
		d.resize(a, uint32(n*8/55+1))
	}
}

// step does this call's part of a resize.
func (d *Dict) step(a Arena) {
	for i := 0; i < moveStep && d.table&dictMoving != 0; i++ {
		d.moveBucket(a)
	}
}

// moveBucket moves the entries of one home bucket to the new table.
func (d *Dict) moveBucket(a Arena) {
	m := d.move(a.Region())
	from, to := table{a.Region(), m.old, m.n}, d.main(a.Region())
	home := m.boundary
	for i := home; ; {
		b := from.bucket(i)
		for k := 0; k < perBucket && b[k] != 0; {
			e := b[k]
			if homeOf(e, from.n) != home {
				k++
				continue
			}
			from.take(i, k) // another entry may come to k
			to.put(e)
			m.used--
		}
		if i = from.next(i); b[7] == 0 || i == home {
			break
		}
	}
	m.boundary++
	// What lies behind goes back to the system as we go: to free a gigabyte at
	// once takes the kernel many milliseconds.
	const chunk = 1024
	if m.boundary%chunk == 0 && from.allEmpty(m.boundary-chunk, m.boundary) {
		a.Discard(mem.Ref(m.old), int(m.boundary-chunk)*bucketSize, int(m.boundary)*bucketSize)
	}
	if m.boundary == m.n {
		if m.used != 0 {
			panic(fmt.Sprintf("ds: dict %+v moved all, %d entries are left", *d, m.used))
		}
		a.Heap.Free(a.Shard, mem.Ref(m.old), d.purpose())
		d.table &^= dictMoving
	}
}

// allEmpty: entries that wrapped round the end may still lie in passed buckets.
func (t table) allEmpty(from, to uint32) bool {
	for i := from; i < to; i++ {
		if t.bucket(i)[0] != 0 {
			return false
		}
	}
	return true
}

// Free frees the tables, not what the refs point to, and leaves d empty.
func (d *Dict) Free(a Arena) {
	if d.table&dictMoving != 0 {
		a.Heap.Free(a.Shard, mem.Ref(d.move(a.Region()).old), d.purpose())
	}
	if d.n > 0 {
		a.Heap.Free(a.Shard, mem.Ref(d.table&^dictFlags), d.purpose())
	}
	*d = Dict{table: d.table & dictNodes}
}

// Scan calls fn for the entries of one home bucket from cursor on and returns
// the cursor to go on from; 0 starts, and means that all was seen. A cursor is
// the least hash25 not yet seen, so below 1<<26. An entry that is there from the
// first call to the last is met, however often the table is resized between
// calls; met twice only by a caller that goes back. Entries of equal hash25 come
// in one call. fn must not change the Dict.
func (d *Dict) Scan(h *mem.Heap, cursor uint64, fn func(ref mem.Ref, flag bool)) (next uint64) {
	if d.n == 0 || cursor >= 1<<hashBits {
		return 0
	}
	t := d.main(h.Region())
	end := uint64(1 << hashBits)
	if d.table&dictMoving != 0 {
		m := d.move(h.Region())
		if homeOf(cursor<<hashShift, m.n) >= m.boundary {
			t = table{h.Region(), m.old, m.n}
		} else {
			end = firstHash(m.boundary, m.n) // beyond, the entries are in the old table
		}
	}
	home := homeOf(cursor<<hashShift, t.n)
	next = min(end, firstHash(home+1, t.n))
	i := home
	for range t.n {
		b := t.bucket(i)
		for _, e := range b {
			if x := e >> hashShift; e != 0 && cursor <= x && x < next {
				fn(refOf(e), e&flagBit != 0)
			}
		}
		if b[7] == 0 {
			break
		}
		i = t.next(i)
	}
	if next == 1<<hashBits {
		return 0
	}
	return next
}

// Random returns one of the entries, each with the same probability, as far as
// rnd is uniform. False when there is none.
func (d *Dict) Random(h *mem.Heap, rnd uint64) (mem.Ref, bool) {
	if d.used == 0 {
		return 0, false
	}
	t, old := d.main(h.Region()), table{}
	if d.table&dictMoving != 0 {
		m := d.move(h.Region())
		old = table{h.Region(), m.old, m.n}
	}
	// Draw a position until it is taken. The least load that lasts is 30 %; a
	// table of one bucket may have one entry.
	const tries = 100
	at := func(i uint64) *bucket {
		if i < uint64(t.n) {
			return t.bucket(uint32(i))
		}
		return old.bucket(uint32(i - uint64(t.n)))
	}
	all := uint64(t.n) + uint64(old.n)
	var i uint64
	for range tries {
		var k uint64
		rnd = mix(rnd)
		i, k = bits.Mul64(rnd, all)
		if e := at(i)[k>>61]; e != 0 {
			return refOf(e), true
		}
	}
	for ; ; i++ {
		if e := at(i % all)[0]; e != 0 {
			return refOf(e), true
		}
	}
}

// mix is the step of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Bucket returns the offset in region of hash's home bucket, a cache line to be
// read ahead. It is a hint: it may be called without the slot's lock, while d
// and its tables change, and returns nonsense then, but never an offset whose
// line is not in the region.
func (d *Dict) Bucket(region []byte, hash uint64) (off uint64, ok bool) {
	base, n := d.table, d.n
	size := uint64(len(region))
	moving := base&dictMoving != 0
	base &^= dictFlags
	if n == 0 || base >= size {
		return 0, false
	}
	if moving {
		line := base + uint64(n)*bucketSize
		if line+bucketSize > size {
			return 0, false
		}
		m := *(*move)(unsafe.Pointer(&region[line]))
		if m.old < size && homeOf(hash, m.n) >= m.boundary {
			base, n = m.old&^dictFlags, m.n
		}
	}
	off = base + uint64(homeOf(hash, n))*bucketSize
	return off, off+bucketSize <= size
}

// MemUsed returns the bytes of the tables.
func (d *Dict) MemUsed(h *mem.Heap) int {
	if d.n == 0 {
		return 0
	}
	n := h.Size(mem.Ref(d.table &^ dictFlags))
	if d.table&dictMoving != 0 {
		n += h.Size(mem.Ref(d.move(h.Region()).old))
	}
	return n
}

// Check verifies the invariants. O(buckets).
func (d *Dict) Check(h *mem.Heap) error {
	if d.n == 0 {
		if d.used != 0 || d.table&^dictNodes != 0 {
			return fmt.Errorf("ds: empty dict %+v", *d)
		}
		return nil
	}
	t := d.main(h.Region())
	lines := uint64(d.n)
	var old uint64
	if d.table&dictMoving != 0 {
		m := d.move(h.Region())
		from := table{h.Region(), m.old, m.n}
		if m.boundary >= m.n {
			return fmt.Errorf("ds: dict %+v: moving past the end: %+v", *d, *m)
		}
		if err := from.check(h, m.used, func(e uint64) bool { return homeOf(e, m.n) >= m.boundary }); err != nil {
			return fmt.Errorf("old table: %w", err)
		}
		if err := t.check(h, uint64(d.used)-m.used, func(e uint64) bool { return homeOf(e, m.n) < m.boundary }); err != nil {
			return fmt.Errorf("new table: %w", err)
		}
		old = m.used
		lines++
	} else if err := t.check(h, uint64(d.used), func(uint64) bool { return true }); err != nil {
		return err
	}
	if size := h.Size(mem.Ref(t.base)); uint64(size) < lines*bucketSize || old > uint64(d.used) {
		return fmt.Errorf("ds: dict %+v in %d bytes, %d entries in the old table", *d, size, old)
	}
	return nil
}

func (t table) check(h *mem.Heap, want uint64, belongs func(e uint64) bool) error {
	if t.base%bucketSize != 0 || h.Size(mem.Ref(t.base)) < int(t.n)*bucketSize {
		return fmt.Errorf("ds: table of %d buckets at %#x", t.n, t.base)
	}
	// run is the number of full buckets that end just before i, going round.
	var run uint32
	for run < t.n && t.bucket(t.n - 1 - run)[7] != 0 {
		run++
	}
	if run == t.n {
		return fmt.Errorf("ds: table of %d buckets is full", t.n)
	}
	var n uint64
	for i := range t.n {
		b := t.bucket(i)
		for k, e := range b {
			if e == 0 {
				continue
			}
			n++
			switch {
			case k > 0 && b[k-1] == 0:
				return fmt.Errorf("ds: bucket %d of %d has a hole before %d: %x", i, t.n, k, *b)
			case t.distance(homeOf(e, t.n), i) > run:
				return fmt.Errorf("ds: entry %#x of bucket %d of %d, home %d, cannot be found", e, i, t.n, homeOf(e, t.n))
			case !belongs(e):
				return fmt.Errorf("ds: entry %#x is in the wrong table", e)
			case e&refMask == 0:
				return fmt.Errorf("ds: entry %#x has no ref", e)
			}
		}
		if run++; b[7] == 0 {
			run = 0
		}
	}
	if n != want {
		return fmt.Errorf("ds: table of %d buckets has %d entries, books say %d", t.n, n, want)
	}
	return nil
}
