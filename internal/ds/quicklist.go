package ds

import (
	"encoding/binary"
	"fmt"

	"github.com/skeindb/skein/internal/mem"
)

// A quicklist is a long list: a doubly linked chain of nodes, each a listpack
// of neighbouring elements ("packed") or one oversized element ("plain"). Its
// header lies in the key's record, little endian:
//
//	| head u64 | tail u64 | count u64 | nodes u32 | fill i32 |
//	0          8          16          24          28         32
//
// head and tail are refs of nodes, count the elements, fill the node limit that
// the last insertion was given. A node is one allocation:
//
//	| prev u64 | next u64 | used u32 | count u32 | data, used bytes | slack |
//	0          8          16         20          24
//
// The top bit of count marks a plain node. A node that grows is given slack, so
// that pushing costs amortised O(1); a node is trimmed of it when the next one
// is begun.
//
// An element goes to the node at hand if the limit allows, else to the
// neighbour's near end, else to a new node; only an insertion in the midst of a
// full node splits it. Deletions merge a node that got small with a neighbour,
// so the chain stays dense: nodes are halved before they are joined, which
// keeps an alternation of both from copying each time.
const (
	// QuicklistHeader is the size of a quicklist's header.
	QuicklistHeader = 32

	qlNodeHeader = 24
	qlPlain      = 1 << 31

	// Bytes a node may have when its limit is a number of elements, and the
	// most elements a node may have. Source: list-max-listpack-size.
	qlSafetyBytes = 8192
	qlMaxCount    = 1<<31 - 1
)

// ListNodeLimits returns the most bytes and elements of a list node for a value
// of list-max-listpack-size: -1 to -5 are 4 to 64 KiB, a positive one is a
// number of elements within 8 KiB.
func ListNodeLimits(fill int) (bytes, count int) {
	if fill >= 0 {
		return qlSafetyBytes, max(fill, 1)
	}
	return 4096 << (min(-fill, 5) - 1), qlMaxCount
}

// ListNodeFits reports whether a listpack of so many bytes and elements is
// within the limit of one list node.
func ListNodeFits(fill, bytes, count int) bool {
	maxBytes, maxCount := ListNodeLimits(fill)
	return bytes <= maxBytes && count <= maxCount
}

// Quicklist is a handle on a quicklist: valid, as the views it gives, until the
// record that hdr lies in changes.
type Quicklist struct {
	a   Arena
	hdr []byte
}

// InitQuicklist makes hdr the header of an empty quicklist.
func InitQuicklist(a Arena, hdr []byte) Quicklist {
	clear(hdr[:QuicklistHeader])
	return Quicklist{a, hdr[:QuicklistHeader]}
}

// OpenQuicklist returns a handle on the quicklist with that header.
func OpenQuicklist(a Arena, hdr []byte) Quicklist { return Quicklist{a, hdr[:QuicklistHeader]} }

func (q Quicklist) head() mem.Ref      { return mem.Ref(binary.LittleEndian.Uint64(q.hdr)) }
func (q Quicklist) tail() mem.Ref      { return mem.Ref(binary.LittleEndian.Uint64(q.hdr[8:])) }
func (q Quicklist) setHead(r mem.Ref)  { binary.LittleEndian.PutUint64(q.hdr, uint64(r)) }
func (q Quicklist) setTail(r mem.Ref)  { binary.LittleEndian.PutUint64(q.hdr[8:], uint64(r)) }
func (q Quicklist) setLen(n int)       { binary.LittleEndian.PutUint64(q.hdr[16:], uint64(n)) }
func (q Quicklist) setNodeCount(n int) { binary.LittleEndian.PutUint32(q.hdr[24:], uint32(n)) }
func (q Quicklist) fill() int          { return int(int32(binary.LittleEndian.Uint32(q.hdr[28:]))) }
func (q Quicklist) setFill(fill int)   { binary.LittleEndian.PutUint32(q.hdr[28:], uint32(int32(fill))) }

// Len returns the number of elements.
func (q Quicklist) Len() int { return int(binary.LittleEndian.Uint64(q.hdr[16:])) }

// NodeCount returns the number of nodes.
func (q Quicklist) NodeCount() int { return int(binary.LittleEndian.Uint32(q.hdr[24:])) }

// qlNode is a view of a node's bytes.
type qlNode []byte

func (q Quicklist) node(r mem.Ref) qlNode { return q.a.Region()[r:] }

func (n qlNode) prev() mem.Ref     { return mem.Ref(binary.LittleEndian.Uint64(n)) }
func (n qlNode) next() mem.Ref     { return mem.Ref(binary.LittleEndian.Uint64(n[8:])) }
func (n qlNode) setPrev(r mem.Ref) { binary.LittleEndian.PutUint64(n, uint64(r)) }
func (n qlNode) setNext(r mem.Ref) { binary.LittleEndian.PutUint64(n[8:], uint64(r)) }
func (n qlNode) used() int         { return int(binary.LittleEndian.Uint32(n[16:])) }
func (n qlNode) setUsed(b int)     { binary.LittleEndian.PutUint32(n[16:], uint32(b)) }
func (n qlNode) count() int        { return int(binary.LittleEndian.Uint32(n[20:]) &^ qlPlain) }
func (n qlNode) plain() bool       { return n[23]&0x80 != 0 }
func (n qlNode) setCount(c int, plain bool) {
	v := uint32(c)
	if plain {
		v |= qlPlain
	}
	binary.LittleEndian.PutUint32(n[20:], v)
}

// data returns the node's listpack or plain element.
func (n qlNode) data() []byte {
	end := qlNodeHeader + n.used()
	return n[qlNodeHeader:end:end]
}

// PushHead adds an element at the front; fill is list-max-listpack-size.
func (q Quicklist) PushHead(elem []byte, fill int) {
	q.setFill(fill)
	if e, ok := q.packable(elem); !ok {
		q.newPlain(0, q.head(), elem)
	} else if h := q.head(); !q.putIn(h, lpHeader, &e) {
		q.tighten(h)
		q.newPacked(0, q.head(), &e)
	}
}

// PushTail adds an element at the end; fill is list-max-listpack-size.
func (q Quicklist) PushTail(elem []byte, fill int) {
	q.setFill(fill)
	if e, ok := q.packable(elem); !ok {
		q.newPlain(q.tail(), 0, elem)
	} else if t := q.tail(); !q.putIn(t, -1, &e) {
		q.tighten(t)
		q.newPacked(q.tail(), 0, &e)
	}
}

// First returns the element at the front. The list must not be empty.
func (q Quicklist) First() Elem {
	n := q.node(q.mustNotBeEmpty(q.head()))
	if n.plain() {
		return Elem{Str: n.data()}
	}
	return LP(n.data()).Get(lpHeader)
}

// Last returns the element at the end. The list must not be empty.
func (q Quicklist) Last() Elem {
	n := q.node(q.mustNotBeEmpty(q.tail()))
	if n.plain() {
		return Elem{Str: n.data()}
	}
	p := LP(n.data())
	return p.Get(p.Last())
}

// DropFirst removes the element at the front of a list that is not empty.
func (q Quicklist) DropFirst() {
	r := q.mustNotBeEmpty(q.head())
	q.cut(r, lpHeader, 1)
}

// DropLast removes the element at the end of a list that is not empty.
func (q Quicklist) DropLast() {
	r := q.mustNotBeEmpty(q.tail())
	off := lpHeader
	if n := q.node(r); !n.plain() {
		off = LP(n.data()).Last()
	}
	q.cut(r, off, 1)
}

// PopHead appends the text of the first element to dst and removes it; false
// if the list is empty.
func (q Quicklist) PopHead(dst []byte) ([]byte, bool) {
	if q.Len() == 0 {
		return dst, false
	}
	dst = q.First().Append(dst)
	q.DropFirst()
	return dst, true
}

// PopTail appends the text of the last element to dst and removes it; false if
// the list is empty.
func (q Quicklist) PopTail(dst []byte) ([]byte, bool) {
	if q.Len() == 0 {
		return dst, false
	}
	dst = q.Last().Append(dst)
	q.DropLast()
	return dst, true
}

func (q Quicklist) mustNotBeEmpty(r mem.Ref) mem.Ref {
	if r == 0 {
		panic("ds: quicklist: first or last element of an empty list")
	}
	return r
}

// packable encodes elem unless it is too large for a packed node.
func (q Quicklist) packable(elem []byte) (e lpEnc, ok bool) {
	maxBytes, _ := ListNodeLimits(q.fill())
	if len(elem) > maxBytes {
		return e, false
	}
	return lpEncode(elem), true
}

// putIn adds an element at off (-1: the end) of node r if r is a packed node
// that has room by the limit.
func (q Quicklist) putIn(r mem.Ref, off int, e *lpEnc) bool {
	if r == 0 {
		return false
	}
	n := q.node(r)
	if n.plain() || !ListNodeFits(q.fill(), n.used()+e.size(), n.count()+1) {
		return false
	}
	if off < 0 {
		off = n.used() - 1
	}
	_, n = q.splice(r, off, 0, e.size())
	q.counted(n, 1)
	e.put(n.data()[off:])
	lpFix(n.data(), 1)
	return true
}

// counted changes a packed node's and the list's element count.
func (q Quicklist) counted(n qlNode, delta int) {
	n.setCount(n.count()+delta, false)
	q.setLen(q.Len() + delta)
}

// newPacked links a packed node of one element between two neighbours, either
// of which may be 0.
func (q Quicklist) newPacked(prev, next mem.Ref, e *lpEnc) mem.Ref {
	used := LPEmptySize + e.size()
	room := qlNodeHeader + used
	if used < 256 {
		room += used // a small element is likely to get company
	}
	r := q.link(prev, next, room)
	n := q.node(r)
	n.setUsed(used)
	n.setCount(1, false)
	p := n.data()
	p[4], p[5] = 0, 0
	p[used-1] = lpEnd
	e.put(p[lpHeader:])
	lpFix(p, 1)
	q.setLen(q.Len() + 1)
	return r
}

// newPlain links a plain node between two neighbours.
func (q Quicklist) newPlain(prev, next mem.Ref, elem []byte) mem.Ref {
	r := q.link(prev, next, qlNodeHeader+len(elem))
	n := q.node(r)
	n.setUsed(len(elem))
	n.setCount(1, true)
	copy(n.data(), elem)
	q.setLen(q.Len() + 1)
	return r
}

// link allocates a node of size bytes and links it in; its used and count are
// left to the caller.
func (q Quicklist) link(prev, next mem.Ref, size int) mem.Ref {
	r := q.a.Alloc(q.a.Shard, size, mem.Nodes)
	n := q.node(r)
	n.setPrev(prev)
	n.setNext(next)
	q.relink(r, n)
	q.setNodeCount(q.NodeCount() + 1)
	return r
}

// relink makes the neighbours of n point to r.
func (q Quicklist) relink(r mem.Ref, n qlNode) {
	if p := n.prev(); p != 0 {
		q.node(p).setNext(r)
	} else {
		q.setHead(r)
	}
	if x := n.next(); x != 0 {
		q.node(x).setPrev(r)
	} else {
		q.setTail(r)
	}
}

// unlink frees a node; the elements are uncounted by the caller.
func (q Quicklist) unlink(r mem.Ref) {
	q.changing(r)
	n := q.node(r)
	prev, next := n.prev(), n.next()
	if prev != 0 {
		q.node(prev).setNext(next)
	} else {
		q.setHead(next)
	}
	if next != 0 {
		q.node(next).setPrev(prev)
	} else {
		q.setTail(prev)
	}
	q.setNodeCount(q.NodeCount() - 1)
	q.a.Free(q.a.Shard, r, mem.Nodes)
}

// splice cuts del bytes of a node's data at off and opens a gap of ins bytes.
// The node may move.
func (q Quicklist) splice(r mem.Ref, off, del, ins int) (mem.Ref, qlNode) {
	q.changing(r)
	n := q.node(r)
	used := n.used()
	now := used - del + ins
	have, need := q.a.Size(r), qlNodeHeader+now
	if need <= have && (need > have/2 || have <= 128) {
		d := n[qlNodeHeader:]
		copy(d[off+ins:now], d[off+del:used])
		n.setUsed(now)
		return r, n
	}
	want := need
	if need > have { // grow by half, but not past what the limit lets it use
		limit, _ := ListNodeLimits(q.fill())
		want = max(need, min(need+need/2, qlNodeHeader+limit))
	} else { // shrink, leave a quarter
		want = need + need/4
	}
	return q.move(r, want, off, del, ins)
}

// move gives a node another allocation of size bytes, splicing on the way.
func (q Quicklist) move(r mem.Ref, size, off, del, ins int) (mem.Ref, qlNode) {
	q.changing(r)
	nr := q.a.Alloc(q.a.Shard, size, mem.Nodes)
	n, nn := q.node(r), q.node(nr)
	used := n.used()
	copy(nn, n[:qlNodeHeader+off])
	copy(nn[qlNodeHeader+off+ins:], n[qlNodeHeader+off+del:qlNodeHeader+used])
	nn.setUsed(used - del + ins)
	q.relink(nr, nn)
	q.a.Free(q.a.Shard, r, mem.Nodes)
	return nr, nn
}

// tighten takes a node's slack away if it is worth it; the node may move.
func (q Quicklist) tighten(r mem.Ref) {
	if r == 0 {
		return
	}
	need := qlNodeHeader + q.node(r).used()
	if size := q.a.SizeFor(need); size < q.a.Size(r) {
		q.move(r, size, 0, 0, 0)
	}
}

// cut removes up to k elements of node r from offset off on (all of a plain
// node) and returns the node, 0 if it is empty and gone, which may have moved.
func (q Quicklist) cut(r mem.Ref, off, k int) mem.Ref {
	n := q.node(r)
	if n.plain() || k >= n.count() && off == lpHeader {
		q.setLen(q.Len() - n.count())
		q.unlink(r)
		return 0
	}
	p := LP(n.data())
	end, i := off, 0
	for ; i < k && p[end] != lpEnd; i++ {
		end = p.After(end)
	}
	r, n = q.splice(r, off, end-off, 0)
	q.counted(n, -i)
	lpFix(n.data(), -i)
	return r
}

// split moves the elements from off on, which is neither the first element's
// place nor the end, to a new node behind r.
func (q Quicklist) split(r mem.Ref, off int) (left, right mem.Ref) {
	n := q.node(r)
	p := LP(n.data())
	total, k := n.count(), 0 // k elements stay
	for at := lpHeader; at < off; at = p.After(at) {
		k++
	}
	tailBytes := n.used() - 1 - off
	right = q.link(r, n.next(), qlNodeHeader+LPEmptySize+tailBytes)
	n, rn := q.node(r), q.node(right)
	rn.setUsed(LPEmptySize + tailBytes)
	rn.setCount(total-k, false)
	d := rn.data()
	copy(d[lpHeader:], n.data()[off:])
	binary.LittleEndian.PutUint16(d[4:], uint16(min(total-k, lpCountUnknown)))
	lpFix(d, 0)
	left, n = q.splice(r, off, tailBytes, 0)
	n.setCount(k, false)
	d = n.data()
	binary.LittleEndian.PutUint16(d[4:], uint16(min(k, lpCountUnknown)))
	lpFix(d, 0)
	return left, right
}

// join appends the elements of b to a, its left neighbour, if both are packed
// and together within the given part (1/share) of the limit. It returns where a
// is now, and by how much the offsets of b's elements grew.
func (q Quicklist) join(a, b mem.Ref, share int) (to mem.Ref, shift int, ok bool) {
	if a == 0 || b == 0 {
		return a, 0, false
	}
	na, nb := q.node(a), q.node(b)
	maxBytes, maxCount := ListNodeLimits(q.fill())
	if na.plain() || nb.plain() || na.used()+nb.used() > maxBytes/share ||
		na.count()+nb.count() > max(maxCount/share, 1) {
		return a, 0, false
	}
	at, add, k := na.used()-1, nb.used()-LPEmptySize, nb.count()
	if need := qlNodeHeader + na.used() + add; need > q.a.Size(a) {
		to, na = q.move(a, need, at, 0, add) // no slack: nothing says it will grow
	} else {
		to, na = q.splice(a, at, 0, add)
	}
	copy(na.data()[at:], nb.data()[lpHeader:lpHeader+add])
	na.setCount(na.count()+k, false)
	lpFix(na.data(), k)
	q.unlink(b)
	return to, at - lpHeader, true
}

// DeleteRange removes n elements from index start (not negative) on. O(nodes +
// bytes of the nodes at both ends).
func (q Quicklist) DeleteRange(start, n int) {
	n = min(n, q.Len()-start)
	if n <= 0 {
		return
	}
	if start+n == q.Len() { // drop from the end without walking there
		for n > 0 {
			r := q.tail()
			c := q.node(r).count()
			if c > n {
				q.cut(r, LP(q.node(r).data()).Seek(c-n), n)
				return
			}
			q.cut(r, lpHeader, c)
			n -= c
		}
		return
	}
	r, i := q.locate(start)
	for n > 0 {
		nd := q.node(r)
		next, k := nd.next(), min(n, nd.count()-i)
		off := lpHeader
		if i > 0 {
			off = LP(nd.data()).Seek(i)
		}
		if r = q.cut(r, off, k); r != 0 && n == k {
			q.mergeSmall(r, nil)
		}
		r, i, n = next, 0, n-k
	}
}

// Trim keeps the elements start to stop inclusive, both within the list.
func (q Quicklist) Trim(start, stop int) {
	q.DeleteRange(stop+1, q.Len())
	q.DeleteRange(0, start)
}

// locate returns the node of element i and the element's index in it, walking
// from the nearer end.
func (q Quicklist) locate(i int) (r mem.Ref, in int) {
	if n := q.Len(); i >= n/2 {
		at := n // index of the first element behind r
		for r = q.tail(); ; r = q.node(r).prev() {
			at -= q.node(r).count()
			if at <= i {
				return r, i - at
			}
		}
	}
	for r = q.head(); ; r = q.node(r).next() {
		c := q.node(r).count()
		if i < c {
			return r, i
		}
		i -= c
	}
}

// mergeSmall joins a node that got small with a neighbour; it, if not nil, keeps
// its element.
func (q Quicklist) mergeSmall(r mem.Ref, it *ListIter) {
	maxBytes, _ := ListNodeLimits(q.fill())
	n := q.node(r)
	if n.plain() || n.used() > maxBytes/4 {
		return
	}
	for range 2 {
		a, b := q.node(r).prev(), r
		to, shift, ok := q.join(a, b, 2)
		if !ok {
			a, b = r, q.node(r).next()
			if to, shift, ok = q.join(a, b, 2); !ok {
				return
			}
		}
		if it != nil {
			switch it.node {
			case b:
				it.off += shift
				it.node = to
			case a:
				it.node = to
			}
		}
		r = to
	}
}

// Nodes calls yield for each node from head to tail: the listpack of a packed
// one, the element of a plain one.
func (q Quicklist) Nodes(yield func(data []byte, plain bool) bool) {
	for r := q.head(); r != 0; r = q.node(r).next() {
		n := q.node(r)
		if !yield(n.data(), n.plain()) {
			return
		}
	}
}

// AppendPacked adds a whole listpack, already validated, as the last node; an
// empty one adds nothing. fill is list-max-listpack-size. A small listpack turns
// into a list of one node so.
func (q Quicklist) AppendPacked(lp []byte, fill int) {
	q.setFill(fill)
	c := LP(lp).Count()
	if c == 0 {
		return
	}
	r := q.link(q.tail(), 0, qlNodeHeader+len(lp))
	n := q.node(r)
	n.setUsed(len(lp))
	n.setCount(c, false)
	copy(n.data(), lp)
	q.setLen(q.Len() + c)
}

// AppendPlain adds one element as a plain last node, as a file says it.
func (q Quicklist) AppendPlain(elem []byte, fill int) {
	q.setFill(fill)
	q.newPlain(q.tail(), 0, elem)
}

// Single returns the listpack of a list that is one packed node, which a small
// list can be made of.
func (q Quicklist) Single() (lp []byte, ok bool) {
	h := q.head()
	if h == 0 || h != q.tail() || q.node(h).plain() {
		return nil, false
	}
	return q.node(h).data(), true
}

// Free gives the nodes back; the header is that of an empty list afterwards.
func (q Quicklist) Free() {
	for r := q.head(); r != 0; {
		next := q.node(r).next()
		q.changing(r)
		q.a.Free(q.a.Shard, r, mem.Nodes)
		r = next
	}
	clear(q.hdr)
}

// MemUsed returns the bytes of memory the nodes hold. O(nodes).
func (q Quicklist) MemUsed() int {
	total := 0
	for r := q.head(); r != 0; r = q.node(r).next() {
		total += q.a.Size(r)
	}
	return total
}

// Check walks the list and verifies links, counts and every listpack.
func (q Quicklist) Check() error {
	var prev mem.Ref
	nodes, count := 0, 0
	for r := q.head(); r != 0; r = q.node(r).next() {
		n := q.node(r)
		if n.prev() != prev {
			return fmt.Errorf("ds: quicklist node %d: prev %v, want %v", nodes, n.prev(), prev)
		}
		if qlNodeHeader+n.used() > q.a.Size(r) {
			return fmt.Errorf("ds: quicklist node %d: %d bytes used of %d", nodes, n.used(), q.a.Size(r))
		}
		if n.plain() {
			if n.count() != 1 {
				return fmt.Errorf("ds: quicklist node %d: plain with %d elements", nodes, n.count())
			}
		} else if c, err := lpWalkUntrusted(n.data()); err != nil {
			return fmt.Errorf("ds: quicklist node %d: %w", nodes, err)
		} else if c == 0 || c != n.count() {
			return fmt.Errorf("ds: quicklist node %d: %d elements, says %d", nodes, c, n.count())
		}
		nodes++
		count += n.count()
		prev = r
	}
	if q.tail() != prev || nodes != q.NodeCount() || count != q.Len() {
		return fmt.Errorf("ds: quicklist: tail %v want %v, nodes %d want %d, count %d want %d",
			q.tail(), prev, q.NodeCount(), nodes, q.Len(), count)
	}
	return nil
}
