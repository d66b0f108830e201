package ds

import (
	"bytes"
	"maps"
	"math"

	"github.com/skeindb/skein/internal/mem"
)

// A Reading gives the elements of a big value to a Taker in pieces, as they were
// when it began, while others change the value between the pieces. Who changes it
// does so through an Arena that has the Reading; what is about to change and was not
// given yet is given, or kept, then. So no step takes time by the size of the value,
// and what is held beside it is what was changed meanwhile.
//
//	hash, set    by hash, the fields below cursor are given
//	sorted set   from the highest entry down, those from bound up are given
//	list, stream node by node in the order of the start; a node that is to change
//	             before its turn is copied
//
// Fields and members that were given out of turn, or are younger than the Reading,
// are known by their refs: a freed one that comes back is younger. They stay in skip to the end.
//
// The caller holds the value's lock for every call, and for what is changed.
type Reading struct {
	take Taker
	kind readingKind
	skip map[mem.Ref]struct{}

	cursor uint64 // hash, set

	begun  bool // sorted set: there is a bound
	score  float64
	member []byte

	nodes []readNode // list, stream
	index map[mem.Ref]int
	next  int
	kept  map[int][]byte
}

type readingKind uint8

const (
	readTable readingKind = iota
	readZSet
	readList
	readStream
)

type readNode struct {
	ref  mem.Ref
	base StreamID
}

// Taker takes elements, which are views for the length of the call. at is when a
// field expires, 0 for never. Nodes come in order, fields and members in any.
type Taker interface {
	Pair(field, value []byte, at int64)
	Member(member []byte, score float64)
	ListNode(data []byte, plain bool)
	StreamNode(base StreamID, node []byte)
}

// Read begins to read the table, whose fields may expire or not.
func (t Table) Read(to Taker) *Reading {
	return &Reading{kind: readTable, take: to, skip: map[mem.Ref]struct{}{}}
}

// Read begins to read the sorted set.
func (z ZSet) Read(to Taker) *Reading {
	return &Reading{kind: readZSet, take: to, skip: map[mem.Ref]struct{}{}}
}

// Read begins to read the list. O(nodes).
func (q Quicklist) Read(to Taker) *Reading {
	r := &Reading{kind: readList, take: to, nodes: make([]readNode, 0, q.NodeCount())}
	for n := q.head(); n != 0; n = q.node(n).next() {
		r.nodes = append(r.nodes, readNode{ref: n})
	}
	return r.indexed()
}

// Read begins to read the stream's nodes. O(nodes).
func (s Stream) Read(to Taker) *Reading {
	r := &Reading{kind: readStream, take: to, nodes: make([]readNode, 0, s.NodeCount())}
	for it := s.tree().first(); it.valid(); it.next() {
		r.nodes = append(r.nodes, readNode{it.ref(), it.key()})
	}
	return r.indexed()
}

func (r *Reading) indexed() *Reading {
	r.index, r.kept = make(map[mem.Ref]int, len(r.nodes)), map[int][]byte{}
	for i, n := range r.nodes {
		r.index[n.ref] = i
	}
	return r
}

// Step gives more elements until full says that it is enough, or all are given, when
// it returns false. hdr is the value's header as it is now; a list or a stream has
// need of none.
func (r *Reading) Step(a Arena, hdr []byte, full func() bool) (more bool) {
	for !full() {
		switch r.kind {
		case readTable:
			more = r.stepTable(a, hdr)
		case readZSet:
			more = r.stepZSet(OpenZSet(a, hdr))
		default:
			more = r.stepNode(a)
		}
		if !more {
			return false
		}
	}
	return true
}

func (r *Reading) skipped(ref mem.Ref) bool {
	_, is := r.skip[ref]
	return is
}

// born notes an element that is younger than the reading; nil is no reading.
func (r *Reading) born(ref mem.Ref) {
	if r != nil {
		r.skip[ref] = struct{}{}
	}
}

// stepTable gives the fields of one bucket.
func (r *Reading) stepTable(a Arena, hdr []byte) (more bool) {
	t := TTLTable{Table: OpenTable(a, hdr)} // without the tree, which may not be there
	d := t.dict()
	next := d.Scan(a.Heap, r.cursor, func(ref mem.Ref, flag bool) {
		if !r.skipped(ref) {
			r.take.Pair(t.timed(ref, flag))
		}
	})
	if next == 0 {
		r.cursor = 1 << hashBits
		return false
	}
	r.cursor = next
	return true
}

// changing is told of a pair that is about to change or to go.
func (t Table) changing(hash uint64, ref mem.Ref, at int64) {
	r := t.a.Reading
	if r == nil || hash>>hashShift < r.cursor || r.skipped(ref) {
		return
	}
	field, value := t.pair(ref)
	r.take.Pair(field, value, at)
	r.born(ref)
}

// readMembers is how many members of a sorted set are given in one go.
const readMembers = 64

func (r *Reading) stepZSet(z ZSet) (more bool) {
	it := z.ByRank(z.Len() - 1)
	if r.begun {
		it = z.seek(&zbound{kind: zbyEntry, score: r.score, member: r.member})
		it.Prev()
	}
	for n := 0; n < readMembers && it.Valid(); n++ {
		leaf := z.leaf(it.leaf)
		ref := leaf.ref[it.pos]
		r.begun, r.score = true, leaf.score[it.pos]
		if m := z.member(ref); n == readMembers-1 {
			r.member = append(r.member[:0], m...)
		}
		if !r.skipped(ref) {
			r.take.Member(z.member(ref), r.score)
		}
		it.Prev()
	}
	if !it.Valid() {
		r.begun, r.score, r.member = true, math.Inf(-1), r.member[:0]
	}
	return it.Valid()
}

// changing is told of a member that is about to change or to go.
func (z ZSet) changing(ref mem.Ref) {
	r := z.a.Reading
	if r == nil || r.skipped(ref) {
		return
	}
	score, member := z.score(ref), z.member(ref)
	given := r.begun && (score > r.score || score == r.score && bytes.Compare(member, r.member) >= 0)
	if !given {
		r.take.Member(member, score)
	}
	r.born(ref)
}

// stepNode gives one node.
func (r *Reading) stepNode(a Arena) (more bool) {
	if r.next == len(r.nodes) {
		return false
	}
	i, n := r.next, r.nodes[r.next]
	r.next++
	data, kept := r.kept[i]
	delete(r.kept, i)
	if r.kind == readStream {
		if !kept {
			data = Stream{a: a}.node(n.ref)
		}
		r.take.StreamNode(n.base, data)
	} else {
		if !kept {
			data = Quicklist{a: a}.node(n.ref)
		}
		node := qlNode(data)
		r.take.ListNode(node.data(), node.plain())
	}
	return r.next < len(r.nodes)
}

// keep copies the node ref, of which bytes returns the content, if its turn is still
// to come.
func (r *Reading) keep(ref mem.Ref, content []byte) {
	i, is := r.index[ref]
	if !is || i < r.next {
		return
	}
	if _, is := r.kept[i]; !is {
		r.kept[i] = bytes.Clone(content)
	}
}

// changing is told of a node that is about to change or to go.
func (q Quicklist) changing(ref mem.Ref) {
	if r := q.a.Reading; r != nil {
		n := q.node(ref)
		r.keep(ref, n[:qlNodeHeader+n.used()])
	}
}

// changing is told of a node that is about to change or to go.
func (s Stream) changing(ref mem.Ref) {
	if r := s.a.Reading; r != nil {
		r.keep(ref, s.node(ref))
	}
}

// Held returns about how many bytes the reading holds beside the value.
func (r *Reading) Held() int {
	n := 48 * len(r.skip)
	for data := range maps.Values(r.kept) {
		n += len(data)
	}
	return n + 40*len(r.nodes)
}
