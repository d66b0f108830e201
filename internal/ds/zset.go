package ds

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/skeindb/skein/internal/mem"
)

// A big sorted set (users see "skiplist") finds a member by a Dict, and a place
// in the order by a tree (ztree.go); both hold refs of member records. Its
// header lies in the key's record, little endian:
//
//	| Dict | root u64 |
//	0      16         24
//
// A member record is one allocation that never moves:
//
//	| score f64 | length uvarint | member ... |
//	0           8
//
// The order is ascending by score, then by the member's bytes; -0 equals 0, and
// NaN never comes here. Ranks count from 0.
//
// Why a tree and not a skiplist: it takes 17 bytes a member at random insertion
// order where skiplist nodes take 30 and more, a leaf gives thirty members in a
// row, and scores lie in the leaf, so that a search touches members only among
// equal scores.

// ZSetHeader is the size of a big sorted set's header.
const ZSetHeader = DictSize + 8

// ZSet is a handle on a big sorted set: valid, as the views it gives, until the
// record that hdr lies in changes. Its methods do not allocate on the Go heap.
type ZSet struct {
	a   Arena
	hdr []byte
}

// InitZSet makes hdr the header of an empty sorted set.
func InitZSet(a Arena, hdr []byte) ZSet {
	clear(hdr[:ZSetHeader])
	d := NewDict(mem.Nodes)
	d.Store(hdr)
	return ZSet{a, hdr[:ZSetHeader]}
}

// OpenZSet returns a handle on the sorted set with that header.
func OpenZSet(a Arena, hdr []byte) ZSet { return ZSet{a, hdr[:ZSetHeader]} }

func (z ZSet) root() mem.Ref     { return mem.Ref(binary.LittleEndian.Uint64(z.hdr[DictSize:])) }
func (z ZSet) setRoot(r mem.Ref) { binary.LittleEndian.PutUint64(z.hdr[DictSize:], uint64(r)) }

// Len returns the number of members.
func (z ZSet) Len() int {
	d := LoadDict(z.hdr)
	return d.Len()
}

// member returns the member in record r.
func (z ZSet) member(r mem.Ref) []byte {
	b := z.a.Region()[r+8:]
	if n := int(b[0]); n < 0x80 {
		return b[1 : 1+n : 1+n]
	}
	n, k := binary.Uvarint(b)
	return b[k : k+int(n) : k+int(n)]
}

func (z ZSet) score(r mem.Ref) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(z.a.Region()[r:]))
}

func (z ZSet) setScore(r mem.Ref, score float64) {
	binary.LittleEndian.PutUint64(z.a.Region()[r:], math.Float64bits(score))
}

// newRecord allocates a member's record.
func (z ZSet) newRecord(member []byte, score float64) mem.Ref {
	var head [8 + binary.MaxVarintLen64]byte
	binary.LittleEndian.PutUint64(head[:], math.Float64bits(score))
	k := 8 + binary.PutUvarint(head[8:], uint64(len(member)))
	r := z.a.Alloc(z.a.Shard, k+len(member), mem.Nodes)
	b := z.a.Region()[r:]
	copy(b, head[:k])
	copy(b[k:], member)
	return r
}

// find returns a member's record, 0 if there is none.
func (z ZSet) find(d *Dict, hash uint64, member []byte) mem.Ref {
	p := d.Probe(z.a.Heap, hash)
	for p.Next() {
		if r := p.Ref(); bytes.Equal(z.member(r), member) {
			return r
		}
	}
	return 0
}

// Score returns a member's score.
func (z ZSet) Score(member []byte) (score float64, ok bool) {
	d := LoadDict(z.hdr)
	r := z.find(&d, Hash(member), member)
	if r == 0 {
		return 0, false
	}
	return z.score(r), true
}

// Set gives member a score, which is no NaN. changed is true if member was
// there with another score. O(log n); O(1) after the search if the member keeps
// its place.
func (z ZSet) Set(member []byte, score float64) (added, changed bool) {
	d, hash := LoadDict(z.hdr), Hash(member)
	r := z.find(&d, hash, member)
	if r == 0 {
		r = z.newRecord(member, score)
		d.Insert(z.a, hash, r, false)
		d.Store(z.hdr)
		z.treeInsert(score, r)
		z.a.Reading.born(r)
		return true, false
	}
	old := z.score(r)
	if old == score {
		return false, false
	}
	z.changing(r)
	var path zpath
	z.treeFind(&path, old, r)
	z.setScore(r, score)
	if z.treeFits(&path, score, member) {
		z.treeRescore(&path, score)
	} else {
		z.treeRemove(&path)
		z.treeInsert(score, r)
	}
	return false, true
}

// Delete removes a member and reports whether it was there.
func (z ZSet) Delete(member []byte) bool {
	d, hash := LoadDict(z.hdr), Hash(member)
	r := z.find(&d, hash, member)
	if r == 0 {
		return false
	}
	z.changing(r)
	var path zpath
	z.treeFind(&path, z.score(r), r)
	z.treeRemove(&path)
	d.Remove(z.a, hash, r)
	d.Store(z.hdr)
	z.a.Free(z.a.Shard, r, mem.Nodes)
	return true
}

// DeleteRange removes n members from rank start on; fewer if there are not as
// many. O(n log n). With CountBelow it deletes by score, with CountBelowLex by
// member.
func (z ZSet) DeleteRange(start, n int) {
	d := LoadDict(z.hdr)
	for n = min(n, d.Len()-start); n > 0; n-- {
		var path zpath
		z.treeByRank(&path, start)
		r := z.leaf(path.leaf).ref[path.pos]
		z.changing(r)
		z.treeRemove(&path)
		d.Remove(z.a, Hash(z.member(r)), r)
		z.a.Free(z.a.Shard, r, mem.Nodes)
	}
	d.Store(z.hdr)
}

// Rank returns how many members are before member.
func (z ZSet) Rank(member []byte) (rank int, ok bool) {
	d := LoadDict(z.hdr)
	r := z.find(&d, Hash(member), member)
	if r == 0 {
		return 0, false
	}
	var path zpath
	return z.treeFind(&path, z.score(r), r), true
}

// CountBelow returns how many members have a score below score, or equal if
// orEqual: the rank of the first one that has not. O(log n).
func (z ZSet) CountBelow(score float64, orEqual bool) int {
	var path zpath
	return z.treeSeek(&path, &zbound{kind: zbyScore, score: score, after: orEqual})
}

// CountBelowLex returns how many members are below member as bytes, or equal if
// orEqual. It supposes that all scores are the same. O(log n).
func (z ZSet) CountBelowLex(member []byte, orEqual bool) int {
	var path zpath
	return z.treeSeek(&path, &zbound{kind: zbyMember, member: member, after: orEqual})
}

// ZIter is a place in a sorted set, able to move both ways:
//
//	for it := z.ByRank(10); it.Valid(); it.Next() { use(it.Member(), it.Score()) }
//
// Any change of the set makes it invalid.
type ZIter struct {
	z    ZSet
	leaf mem.Ref // 0: before the first or behind the last
	pos  int
	rank int
}

// ByRank returns an iterator at a rank; not valid if there is none such.
func (z ZSet) ByRank(rank int) ZIter {
	if rank < 0 || rank >= z.Len() {
		return ZIter{z: z, rank: rank}
	}
	var path zpath
	z.treeByRank(&path, rank)
	return ZIter{z, path.leaf, path.pos, rank}
}

// SeekScore returns an iterator at the first member whose score is at least
// score, or above it if after.
func (z ZSet) SeekScore(score float64, after bool) ZIter {
	return z.seek(&zbound{kind: zbyScore, score: score, after: after})
}

// SeekScoreBack returns an iterator at the last member whose score is at most
// score, or below it if before.
func (z ZSet) SeekScoreBack(score float64, before bool) ZIter {
	it := z.seek(&zbound{kind: zbyScore, score: score, after: !before})
	it.Prev()
	return it
}

// SeekLex returns an iterator at the first member that is at least member as
// bytes, or above it if after. It supposes that all scores are the same.
func (z ZSet) SeekLex(member []byte, after bool) ZIter {
	return z.seek(&zbound{kind: zbyMember, member: member, after: after})
}

// SeekLexBack returns an iterator at the last member that is at most member, or
// below it if before. It supposes that all scores are the same.
func (z ZSet) SeekLexBack(member []byte, before bool) ZIter {
	it := z.seek(&zbound{kind: zbyMember, member: member, after: !before})
	it.Prev()
	return it
}

// seek returns an iterator at the first entry that is not before b; it may be
// past the last one, from where Prev leads back.
func (z ZSet) seek(b *zbound) ZIter {
	var path zpath
	rank := z.treeSeek(&path, b)
	it := ZIter{z, path.leaf, path.pos, rank}
	if it.leaf != 0 && it.pos == int(z.leaf(it.leaf).count) {
		it.pos--
		it.rank--
		it.Next()
	}
	return it
}

// Valid reports whether the iterator is at a member.
func (it *ZIter) Valid() bool { return it.leaf != 0 }

// Rank returns the member's rank.
func (it *ZIter) Rank() int { return it.rank }

// Score returns the member's score.
func (it *ZIter) Score() float64 { return it.z.leaf(it.leaf).score[it.pos] }

// Member returns a view of the member.
func (it *ZIter) Member() []byte { return it.z.member(it.z.leaf(it.leaf).ref[it.pos]) }

// Next moves to the next higher rank.
func (it *ZIter) Next() {
	it.rank++
	if it.leaf == 0 {
		if it.rank == 0 { // from before the first
			*it = it.z.ByRank(0)
		}
		return
	}
	n := it.z.leaf(it.leaf)
	if it.pos++; it.pos == int(n.count) {
		it.leaf, it.pos = n.next, 0
	}
}

// Prev moves to the next lower rank.
func (it *ZIter) Prev() {
	it.rank--
	if it.leaf == 0 {
		if it.rank >= 0 { // from behind the last
			*it = it.z.ByRank(it.rank)
		}
		return
	}
	if it.pos--; it.pos < 0 {
		if it.leaf = it.z.leaf(it.leaf).prev; it.leaf != 0 {
			it.pos = int(it.z.leaf(it.leaf).count) - 1
		}
	}
}

// Each calls yield for each member in order.
func (z ZSet) Each(yield func(member []byte, score float64) bool) {
	for it := z.ByRank(0); it.Valid(); it.Next() {
		if !yield(it.Member(), it.Score()) {
			return
		}
	}
}

// Random returns the member that rnd, a random number, picks; all are equally
// likely. The set must not be empty.
func (z ZSet) Random(rnd uint64) (member []byte, score float64) {
	it := z.ByRank(int(rnd % uint64(z.Len())))
	return it.Member(), it.Score()
}

// Scan calls fn for some members and returns the cursor to go on with, 0 at the
// end; it starts with 0. A member that is there from the start to the end of a
// scan is seen at least once.
func (z ZSet) Scan(cursor uint64, fn func(member []byte, score float64)) (next uint64) {
	d := LoadDict(z.hdr)
	return d.Scan(z.a.Heap, cursor, func(r mem.Ref, _ bool) { fn(z.member(r), z.score(r)) })
}

// Free gives all memory back; the header is that of an empty set afterwards.
func (z ZSet) Free() {
	for it := z.ByRank(0); it.Valid(); it.Next() {
		z.a.Free(z.a.Shard, z.leaf(it.leaf).ref[it.pos], mem.Nodes)
	}
	z.treeFree(z.root())
	d := LoadDict(z.hdr)
	d.Free(z.a)
	InitZSet(z.a, z.hdr)
}

// MemUsed returns the bytes of memory the set holds besides its header. O(n).
func (z ZSet) MemUsed() int {
	d := LoadDict(z.hdr)
	total := d.MemUsed(z.a.Heap) + z.treeMemUsed(z.root())
	for it := z.ByRank(0); it.Valid(); it.Next() {
		total += z.a.Size(z.leaf(it.leaf).ref[it.pos])
	}
	return total
}

// Check verifies the tree's shape, counts and order, and that table and tree
// hold the same records.
func (z ZSet) Check() error {
	d := LoadDict(z.hdr)
	if err := d.Check(z.a.Heap); err != nil {
		return err
	}
	n, err := z.treeCheck()
	if err != nil {
		return err
	}
	if n != d.Len() {
		return fmt.Errorf("ds: sorted set: %d members in the tree, %d in the table", n, d.Len())
	}
	for it := z.ByRank(0); it.Valid(); it.Next() {
		r := z.leaf(it.leaf).ref[it.pos]
		if got := z.find(&d, Hash(it.Member()), it.Member()); got != r {
			return fmt.Errorf("ds: sorted set: member %q is %v in the tree, %v in the table", it.Member(), r, got)
		}
		if math.Float64bits(z.score(r)) != math.Float64bits(it.Score()) {
			return fmt.Errorf("ds: sorted set: member %q: score %v in the tree, %v in its record", it.Member(), it.Score(), z.score(r))
		}
	}
	return nil
}
