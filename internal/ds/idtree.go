package ds

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/skeindb/skein/internal/mem"
)

// idTree is a B+tree from 128-bit keys, ordered as StreamID, to refs: the nodes
// of a stream, pending entries, fields by their expiry. Its header, in a record
// of the owner, is
//
//	| root u64 | entries u64 |
//	0          8             16
//
// Leaves hold keys and values, and are chained both ways; inner nodes hold the
// children with the least key below each. Both have one layout. What a value
// refers to is the owner's: the tree neither reads nor frees it.
//
// Invariants:
//  1. A child's key in its parent is the least key below it.
//  2. No node is empty. A node a third full or less is joined with a neighbour
//     if both go into one; a split at the end of the order leaves the old node
//     full, so that ascending insertion, the usual case, makes full nodes.
//  3. Every node has room for idCap entries but a leaf that is the root, which
//     starts small and doubles.
type idTree struct {
	a   Arena
	hdr []byte
}

const (
	idTreeHeader = 16
	idCap        = 40
	idRootCap    = 2
	idMaxDepth   = 16 // a level is added when the root has idCap children: memory ends long before

	idNodeHeader = int(unsafe.Sizeof(idNode{}))  // 24
	idEntrySize  = int(unsafe.Sizeof(idEntry{})) // 24
)

type idNode struct {
	level uint16 // 0 for a leaf
	count uint16
	cap   uint16
	_     uint16
	prev  mem.Ref // of leaves
	next  mem.Ref
}

type idEntry struct {
	key StreamID
	ref mem.Ref
}

// idPath leads from the root to a leaf: inner nodes with the child taken in
// each, then a leaf and an index in it, which may be the leaf's count.
type idPath struct {
	n    int
	node [idMaxDepth]mem.Ref
	idx  [idMaxDepth]int
	leaf mem.Ref
	pos  int
}

func openIDTree(a Arena, hdr []byte) idTree { return idTree{a, hdr[:idTreeHeader:idTreeHeader]} }

func (t idTree) root() mem.Ref     { return mem.Ref(binary.LittleEndian.Uint64(t.hdr)) }
func (t idTree) setRoot(r mem.Ref) { binary.LittleEndian.PutUint64(t.hdr, uint64(r)) }

// Len returns the number of entries.
func (t idTree) Len() int { return int(binary.LittleEndian.Uint64(t.hdr[8:])) }
func (t idTree) addLen(d int) {
	binary.LittleEndian.PutUint64(t.hdr[8:], uint64(t.Len()+d))
}

// The memory is aligned to 8 bytes and never moves; the slices check bounds.
func (t idTree) node(r mem.Ref) *idNode {
	b := t.a.Region()[r:]
	return (*idNode)(unsafe.Pointer(&b[:idNodeHeader][0]))
}

// room returns all places of a node, entries those in use.
func (t idTree) room(r mem.Ref) []idEntry {
	n := int(t.node(r).cap)
	b := t.a.Region()[int(r)+idNodeHeader:]
	return unsafe.Slice((*idEntry)(unsafe.Pointer(&b[:n*idEntrySize][0])), n)
}

func (t idTree) entries(r mem.Ref) []idEntry { return t.room(r)[:t.node(r).count] }

func (t idTree) newNode(level, room int) mem.Ref {
	r := t.a.Alloc(t.a.Shard, idNodeHeader+room*idEntrySize, mem.Nodes)
	*t.node(r) = idNode{level: uint16(level), cap: uint16(room)}
	return r
}

// lowerBound returns the index of the first entry whose key is not before key.
func lowerBound(es []idEntry, key StreamID) int {
	lo, hi := 0, len(es)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if es[mid].key.Less(key) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// seek finds the leaf that has or would have key, and the place in it of the
// first entry that is not before key. The tree is not empty.
func (t idTree) seek(path *idPath, key StreamID) {
	r := t.root()
	for t.node(r).level > 0 {
		es := t.entries(r)
		i := lowerBound(es, key)
		if i == len(es) || es[i].key != key {
			i = max(i-1, 0)
		}
		path.node[path.n], path.idx[path.n] = r, i
		path.n++
		r = es[i].ref
	}
	path.leaf, path.pos = r, lowerBound(t.entries(r), key)
}

// get returns the value of a key.
func (t idTree) get(key StreamID) (ref mem.Ref, ok bool) {
	if it := t.ceiling(key); it.valid() && it.key() == key {
		return it.ref(), true
	}
	return 0, false
}

// insert adds a key that is not there.
func (t idTree) insert(key StreamID, ref mem.Ref) {
	if t.root() == 0 {
		t.setRoot(t.newNode(0, idRootCap))
	}
	var path idPath
	t.seek(&path, key)
	atEnd := t.node(path.leaf).next == 0 && path.pos == int(t.node(path.leaf).count)
	child := path.leaf
	split := t.put(&child, path.pos, idEntry{key, ref}, atEnd)
	for l := path.n - 1; l >= 0; l-- {
		i := path.idx[l]
		t.entries(path.node[l])[i].key = t.entries(child)[0].key
		child = path.node[l]
		if split != 0 {
			split = t.put(&child, i+1, idEntry{t.entries(split)[0].key, split}, atEnd)
		}
	}
	if split != 0 {
		root := t.newNode(int(t.node(child).level)+1, idCap)
		t.node(root).count = 2
		es := t.entries(root)
		es[0] = idEntry{t.entries(child)[0].key, child}
		es[1] = idEntry{t.entries(split)[0].key, split}
		t.setRoot(root)
	}
	t.addLen(1)
}

// put adds an entry to node *r at pos. A root leaf that is full moves to a larger
// place, another node is split: the new right half is returned.
func (t idTree) put(r *mem.Ref, pos int, e idEntry, atEnd bool) (split mem.Ref) {
	n := t.node(*r)
	at := *r
	if n.count == n.cap {
		if n.cap < idCap {
			at = t.newNode(0, min(2*int(n.cap), idCap))
			t.node(at).count = n.count
			copy(t.room(at), t.entries(*r))
			t.a.Free(t.a.Shard, *r, mem.Nodes)
			t.setRoot(at)
			*r = at
		} else {
			keep := int(n.count) / 2
			if atEnd && pos == int(n.count) {
				keep = int(n.count)
			}
			split = t.newNode(int(n.level), idCap)
			right := t.node(split)
			right.count = n.count - uint16(keep)
			copy(t.entries(split), t.entries(*r)[keep:])
			n.count = uint16(keep)
			if n.level == 0 {
				right.prev, right.next = *r, n.next
				if n.next != 0 {
					t.node(n.next).prev = split
				}
				n.next = split
			}
			if pos > keep || keep == idCap {
				at, pos = split, pos-keep
			}
		}
	}
	n = t.node(at)
	n.count++
	es := t.entries(at)
	copy(es[pos+1:], es[pos:])
	es[pos] = e
	return split
}

// remove takes a key out and returns its value.
func (t idTree) remove(key StreamID) (ref mem.Ref, ok bool) {
	if t.root() == 0 {
		return 0, false
	}
	var path idPath
	t.seek(&path, key)
	es := t.entries(path.leaf)
	if path.pos == len(es) || es[path.pos].key != key {
		return 0, false
	}
	ref = es[path.pos].ref
	t.cut(path.leaf, path.pos)
	child := path.leaf
	for l := path.n - 1; l >= 0; l-- {
		r, i := path.node[l], path.idx[l]
		if t.node(child).count == 0 {
			t.unchain(child)
			t.cut(r, i)
		} else {
			t.entries(r)[i].key = t.entries(child)[0].key
			t.join(r, i)
		}
		child = r
	}
	for root := t.root(); ; {
		n := t.node(root)
		if n.count == 0 {
			t.a.Free(t.a.Shard, root, mem.Nodes)
			t.setRoot(0)
		} else if n.level > 0 && n.count == 1 {
			only := t.entries(root)[0].ref
			t.a.Free(t.a.Shard, root, mem.Nodes)
			t.setRoot(only)
			root = only
			continue
		}
		break
	}
	t.addLen(-1)
	return ref, true
}

// cut closes the gap of entry i of node r.
func (t idTree) cut(r mem.Ref, i int) {
	es := t.entries(r)
	copy(es[i:], es[i+1:])
	t.node(r).count--
}

// unchain frees a node that is empty.
func (t idTree) unchain(r mem.Ref) {
	n := t.node(r)
	if n.level == 0 {
		if n.prev != 0 {
			t.node(n.prev).next = n.next
		}
		if n.next != 0 {
			t.node(n.next).prev = n.prev
		}
	}
	t.a.Free(t.a.Shard, r, mem.Nodes)
}

// join moves child i of r, if it is sparse, together with a neighbour.
func (t idTree) join(r mem.Ref, i int) {
	es := t.entries(r)
	if int(t.node(es[i].ref).count) > idCap/3 || len(es) == 1 {
		return
	}
	left := max(i-1, 0)
	a, b := es[left].ref, es[left+1].ref
	na, nb := t.node(a), t.node(b)
	if na.count+nb.count > idCap {
		return
	}
	copy(t.room(a)[na.count:], t.entries(b))
	na.count += nb.count
	nb.count = 0
	t.unchain(b)
	t.cut(r, left+1)
}

// idIter is a place in a tree, able to move both ways; any change of the tree but
// set makes it invalid.
type idIter struct {
	t    idTree
	leaf mem.Ref // 0: at no entry
	pos  int
}

func (it *idIter) valid() bool     { return it.leaf != 0 }
func (it *idIter) key() StreamID   { return it.t.entries(it.leaf)[it.pos].key }
func (it *idIter) ref() mem.Ref    { return it.t.entries(it.leaf)[it.pos].ref }
func (it *idIter) set(ref mem.Ref) { it.t.entries(it.leaf)[it.pos].ref = ref }
func (it *idIter) nodeLen() int    { return int(it.t.node(it.leaf).count) }

func (it *idIter) next() {
	if it.pos++; it.pos >= it.nodeLen() {
		it.leaf, it.pos = it.t.node(it.leaf).next, 0
	}
}

func (it *idIter) prev() {
	if it.pos--; it.pos < 0 {
		if it.leaf = it.t.node(it.leaf).prev; it.leaf != 0 {
			it.pos = it.nodeLen() - 1
		}
	}
}

// first and last return iterators at the ends.
func (t idTree) first() idIter { return t.ceiling(StreamID{}) }

func (t idTree) last() idIter {
	r := t.root()
	if r == 0 {
		return idIter{t: t}
	}
	for t.node(r).level > 0 {
		es := t.entries(r)
		r = es[len(es)-1].ref
	}
	return idIter{t, r, int(t.node(r).count) - 1}
}

// near returns an iterator at the place that seek finds, which may be the end of a
// leaf.
func (t idTree) near(key StreamID) idIter {
	if t.root() == 0 {
		return idIter{t: t}
	}
	var path idPath
	t.seek(&path, key)
	return idIter{t, path.leaf, path.pos}
}

// ceiling returns an iterator at the first entry that is not before key.
func (t idTree) ceiling(key StreamID) idIter {
	it := t.near(key)
	if it.valid() && it.pos == it.nodeLen() {
		it.leaf, it.pos = t.node(it.leaf).next, 0
	}
	return it
}

// floor returns an iterator at the last entry that is not after key.
func (t idTree) floor(key StreamID) idIter {
	it := t.near(key)
	if it.valid() && (it.pos == it.nodeLen() || it.key() != key) {
		it.prev()
	}
	return it
}

// free gives the nodes back; the header is that of an empty tree afterwards.
func (t idTree) free() {
	if r := t.root(); r != 0 {
		t.freeNode(r)
	}
	clear(t.hdr)
}

func (t idTree) freeNode(r mem.Ref) {
	if t.node(r).level > 0 {
		for _, e := range t.entries(r) {
			t.freeNode(e.ref)
		}
	}
	t.a.Free(t.a.Shard, r, mem.Nodes)
}

// memUsed returns the bytes of the nodes. O(nodes).
func (t idTree) memUsed() int {
	if r := t.root(); r != 0 {
		return t.nodeMem(r)
	}
	return 0
}

func (t idTree) nodeMem(r mem.Ref) int {
	total := t.a.Size(r)
	if t.node(r).level > 0 {
		for _, e := range t.entries(r) {
			total += t.nodeMem(e.ref)
		}
	}
	return total
}

// check verifies shape, order, chain and count.
func (t idTree) check() error {
	c := idCheck{t: t}
	if r := t.root(); r != 0 {
		if err := c.walk(r, int(t.node(r).level)); err != nil {
			return err
		}
		if next := t.node(c.leaf).next; next != 0 {
			return fmt.Errorf("ds: id tree: last leaf leads to %v", next)
		}
	}
	if c.n != t.Len() {
		return fmt.Errorf("ds: id tree: %d entries, says %d", c.n, t.Len())
	}
	return nil
}

type idCheck struct {
	t    idTree
	n    int
	leaf mem.Ref
	last StreamID
}

func (c *idCheck) walk(r mem.Ref, level int) error {
	n := c.t.node(r)
	if int(n.level) != level || n.count == 0 || n.count > n.cap || n.cap != idCap && r != c.t.root() {
		return fmt.Errorf("ds: id tree: node %v of level %d has %d of %d entries", r, n.level, n.count, n.cap)
	}
	if level == 0 {
		if n.prev != c.leaf || c.leaf != 0 && c.t.node(c.leaf).next != r {
			return fmt.Errorf("ds: id tree: leaf %v has %v before it, want %v", r, n.prev, c.leaf)
		}
		c.leaf = r
	}
	for _, e := range c.t.entries(r) {
		if level > 0 {
			if first := c.t.entries(e.ref)[0].key; first != e.key {
				return fmt.Errorf("ds: id tree: child %v begins with %v, noted %v", e.ref, first, e.key)
			}
			if err := c.walk(e.ref, level-1); err != nil {
				return err
			}
			continue
		}
		if c.n > 0 && !c.last.Less(e.key) {
			return fmt.Errorf("ds: id tree: %v after %v", e.key, c.last)
		}
		c.last = e.key
		c.n++
	}
	return nil
}
