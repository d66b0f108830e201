package ds

import "github.com/skeindb/skein/internal/mem"

// ListIter is a place in a quicklist, moving forward or backward:
//
//	for it := q.Iter(0, false); it.Valid(); {
//		if it.Elem().Equal(x) {
//			it.Delete() // goes on to the next
//		} else {
//			it.Next()
//		}
//	}
//
// Changing the list other than through the iterator makes it invalid.
type ListIter struct {
	q    Quicklist
	node mem.Ref // 0: past the end
	off  int     // of the element in a packed node
	idx  int     // of the element in the list
	back bool
}

// Iter returns an iterator at element i, counted from the end when negative,
// that moves backward if back; not valid if there is no such element. It skips
// whole nodes from the nearer end.
func (q Quicklist) Iter(i int, back bool) ListIter {
	if i < 0 {
		i += q.Len()
	}
	it := ListIter{q: q, idx: i, back: back}
	if i < 0 || i >= q.Len() {
		return it
	}
	r, in := q.locate(i)
	it.node = r
	if n := q.node(r); !n.plain() {
		it.off = LP(n.data()).Seek(in)
	}
	return it
}

// Valid reports whether the iterator is at an element.
func (it *ListIter) Valid() bool { return it.node != 0 }

// Index returns the element's index from the front.
func (it *ListIter) Index() int { return it.idx }

// Elem returns the element.
func (it *ListIter) Elem() Elem {
	n := it.q.node(it.node)
	if n.plain() {
		return Elem{Str: n.data()}
	}
	return LP(n.data()).Get(it.off)
}

// Next moves to the next element in the iterator's direction.
func (it *ListIter) Next() {
	n := it.q.node(it.node)
	if it.back {
		it.idx--
		if !n.plain() {
			if it.off = LP(n.data()).Prev(it.off); it.off >= 0 {
				return
			}
		}
		it.enterLast(n.prev())
		return
	}
	it.idx++
	if !n.plain() {
		if it.off = LP(n.data()).Next(it.off); it.off >= 0 {
			return
		}
	}
	it.node, it.off = n.next(), lpHeader
}

// Run returns the listpack that the element lies in and its position there, so
// that a caller can read the rest of a node in one loop; ok is false for an
// element that is a node of its own. SkipRun then moves on.
func (it *ListIter) Run() (p LP, off int, ok bool) {
	n := it.q.node(it.node)
	if n.plain() {
		return nil, 0, false
	}
	return n.data(), it.off, true
}

// SkipRun moves a forward iterator to the first element of the next node; rest
// is the number of elements from the present one to the end of its node.
func (it *ListIter) SkipRun(rest int) {
	it.idx += rest
	it.node, it.off = it.q.node(it.node).next(), lpHeader
}

// enterLast goes to the last element of node r.
func (it *ListIter) enterLast(r mem.Ref) {
	it.node = r
	if r != 0 {
		if n := it.q.node(r); !n.plain() {
			it.off = LP(n.data()).Last()
		}
	}
}

// Delete removes the element and moves to the next one in the iterator's
// direction.
func (it *ListIter) Delete() {
	n := it.q.node(it.node)
	prev, next := n.prev(), n.next()
	r := it.q.cut(it.node, it.off, 1)
	if r == 0 {
		if it.back {
			it.idx--
			it.enterLast(prev)
		} else {
			it.node, it.off = next, lpHeader
		}
		return
	}
	it.node = r
	p := LP(it.q.node(r).data())
	if it.back {
		it.idx--
		if it.off = p.Prev(it.off); it.off < 0 {
			it.enterLast(prev)
		}
	} else if p[it.off] == lpEnd {
		it.node, it.off = next, lpHeader
	}
	it.q.mergeSmall(r, it)
}

// Replace puts elem in the element's place and stays there; fill is
// list-max-listpack-size.
func (it *ListIter) Replace(elem []byte, fill int) {
	q := it.q
	q.setFill(fill)
	n := q.node(it.node)
	e, ok := q.packable(elem)
	if ok && !n.plain() {
		del, ins := LP(n.data()).After(it.off)-it.off, e.size()
		if ins <= del || n.count() == 1 || ListNodeFits(fill, n.used()-del+ins, n.count()) {
			it.node, n = q.splice(it.node, it.off, del, ins)
			e.put(n.data()[it.off:])
			lpFix(n.data(), 0)
			return
		}
	}
	q.insert(it.node, it.off, true, elem)
	q.DeleteRange(it.idx, 1)
	*it = q.Iter(it.idx, it.back)
}

// InsertBefore adds elem before the element, InsertAfter behind it; fill is
// list-max-listpack-size. The iterator is not valid afterwards.
func (it *ListIter) InsertBefore(elem []byte, fill int) {
	it.q.setFill(fill)
	it.q.insert(it.node, it.off, false, elem)
	it.node = 0
}

// InsertAfter is described at InsertBefore.
func (it *ListIter) InsertAfter(elem []byte, fill int) {
	it.q.setFill(fill)
	it.q.insert(it.node, it.off, true, elem)
	it.node = 0
}

// insert adds elem beside the element at off of node r.
func (q Quicklist) insert(r mem.Ref, off int, after bool, elem []byte) {
	n := q.node(r)
	atLeft, atRight := !after, after // edges of a plain node
	if !n.plain() {
		if after {
			off = LP(n.data()).After(off)
		}
		atLeft, atRight = off == lpHeader, off == n.used()-1
	}
	e, packable := q.packable(elem)
	if packable && q.putIn(r, off, &e) {
		return
	}
	prev, next := n.prev(), n.next()
	switch {
	case atLeft && packable && q.putIn(prev, -1, &e):
		return
	case atRight && packable && q.putIn(next, lpHeader, &e):
		return
	case atLeft:
		next = r
	case atRight:
		prev = r
	default:
		prev, next = q.split(r, off)
		if packable && (q.putIn(prev, -1, &e) || q.putIn(next, lpHeader, &e)) {
			return
		}
	}
	if packable {
		q.newPacked(prev, next, &e)
	} else {
		q.newPlain(prev, next, elem)
	}
}
