package ds

import (
	"bytes"
	"fmt"
	"unsafe"

	"github.com/skeindb/skein/internal/mem"
)

// The order of a big sorted set is a B+tree over (score, member). Leaves hold
// the scores and the refs of the member records, and are chained both ways.
// Inner nodes hold for each child its ref, the members below it, and its first
// entry. All leaves are at level 0, the root at the highest level.
//
// Invariants:
//  1. A child's first entry is the least below it, and its record lives: every
//     change of a node's first entry goes up the path.
//  2. No node is empty. A node filled below a third by a removal is joined with
//     or filled from a neighbour, but a split at either end of the order leaves
//     the old node full and starts a new one, so that members added in order
//     make full nodes. Hence the shape is not bounded from below.

const (
	zleafCap  = 30
	zinnerCap = 36
	zmaxDepth = 12 // even halves would give 15 * 18^12 members

	zleafSize  = int(unsafe.Sizeof(zleaf{}))  // 504
	zinnerSize = int(unsafe.Sizeof(zinner{})) // 1016
)

type zleaf struct {
	level uint16 // 0
	count uint16
	_     uint32
	prev  mem.Ref
	next  mem.Ref
	score [zleafCap]float64
	ref   [zleafCap]mem.Ref
}

type zinner struct {
	level uint16
	count uint16
	_     uint32
	child [zinnerCap]mem.Ref
	score [zinnerCap]float64 // first entry below child
	ref   [zinnerCap]mem.Ref
	size  [zinnerCap]uint32 // members below child
}

// zpath is a place in the tree: the inner nodes from the root down with the
// child taken in each, then a leaf and an index in it, which after a search may
// be the leaf's count.
type zpath struct {
	n    int
	node [zmaxDepth]mem.Ref
	idx  [zmaxDepth]int
	leaf mem.Ref
	pos  int
}

func (p *zpath) push(node mem.Ref, idx int) {
	p.node[p.n], p.idx[p.n] = node, idx
	p.n++
}

// The memory is aligned to 8 bytes and never moves; the slices check bounds.
func (z ZSet) leaf(r mem.Ref) *zleaf {
	b := z.a.Region()[r:]
	return (*zleaf)(unsafe.Pointer(&b[:zleafSize][0]))
}

func (z ZSet) inner(r mem.Ref) *zinner {
	b := z.a.Region()[r:]
	return (*zinner)(unsafe.Pointer(&b[:zinnerSize][0]))
}

func (z ZSet) level(r mem.Ref) int { return int(z.leaf(r).level) }

// zbound is a place between entries.
type zbound struct {
	kind   uint8
	after  bool // behind the entries equal to it, not before them
	score  float64
	member []byte
}

const (
	zbyEntry  = iota // score, then member
	zbyScore         // score alone
	zbyMember        // member alone
)

// before reports whether an entry is before b.
func (z ZSet) before(b *zbound, score float64, r mem.Ref) bool {
	if b.kind != zbyMember {
		if score != b.score {
			return score < b.score
		}
		if b.kind == zbyScore {
			return b.after
		}
	}
	c := bytes.Compare(z.member(r), b.member)
	return c < 0 || c == 0 && b.after
}

// treeSeek finds the first entry that is not before b, or the place behind the
// entry before it, and returns how many entries are before b.
func (z ZSet) treeSeek(path *zpath, b *zbound) (rank int) {
	r := z.root()
	if r == 0 {
		return 0
	}
	for z.level(r) > 0 {
		n := z.inner(r)
		lo, hi := 1, int(n.count) // child lo-1's first entry is before b, or lo is 1
		for lo < hi {
			mid := (lo + hi) / 2
			if z.before(b, n.score[mid], n.ref[mid]) {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		path.push(r, lo-1)
		for _, s := range n.size[:lo-1] {
			rank += int(s)
		}
		r = n.child[lo-1]
	}
	n := z.leaf(r)
	lo, hi := 0, int(n.count)
	for lo < hi {
		mid := (lo + hi) / 2
		if z.before(b, n.score[mid], n.ref[mid]) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	path.leaf, path.pos = r, lo
	return rank + lo
}

// treeFind finds the entry of record r, which is in the tree with that score,
// and returns its rank.
func (z ZSet) treeFind(path *zpath, score float64, r mem.Ref) (rank int) {
	// The place behind the entry is in its leaf; the place before might be
	// taken at the end of the leaf on the left.
	rank = z.treeSeek(path, &zbound{kind: zbyEntry, score: score, member: z.member(r), after: true})
	path.pos--
	if path.leaf == 0 || path.pos < 0 || z.leaf(path.leaf).ref[path.pos] != r {
		panic(fmt.Sprintf("ds: sorted set: record %v of score %v is not in its place", r, score))
	}
	return rank - 1
}

// treeByRank finds the entry of a rank that exists.
func (z ZSet) treeByRank(path *zpath, rank int) {
	r := z.root()
	for z.level(r) > 0 {
		n := z.inner(r)
		i := 0
		for rank >= int(n.size[i]) {
			rank -= int(n.size[i])
			i++
		}
		path.push(r, i)
		r = n.child[i]
	}
	path.leaf, path.pos = r, rank
}

// treeFits reports whether the entry at path would keep its place with score.
func (z ZSet) treeFits(path *zpath, score float64, member []byte) bool {
	n := z.leaf(path.leaf)
	b := &zbound{kind: zbyEntry, score: score, member: member}
	prev, i := n, path.pos-1
	if i < 0 && n.prev != 0 {
		prev = z.leaf(n.prev)
		i = int(prev.count) - 1
	}
	if i >= 0 && !z.before(b, prev.score[i], prev.ref[i]) {
		return false
	}
	next, i := n, path.pos+1
	if i == int(n.count) {
		if n.next == 0 {
			return true
		}
		next, i = z.leaf(n.next), 0
	}
	return !z.before(b, next.score[i], next.ref[i])
}

// treeRescore changes the score of the entry at path, which keeps its place.
func (z ZSet) treeRescore(path *zpath, score float64) {
	z.leaf(path.leaf).score[path.pos] = score
	for l, first := path.n-1, path.pos == 0; l >= 0 && first; l-- {
		z.inner(path.node[l]).score[path.idx[l]] = score
		first = path.idx[l] == 0
	}
}

// first returns the first entry of node r.
func (z ZSet) first(r mem.Ref) (float64, mem.Ref) {
	if z.level(r) == 0 {
		n := z.leaf(r)
		return n.score[0], n.ref[0]
	}
	n := z.inner(r)
	return n.score[0], n.ref[0]
}

// total returns the number of members below node r.
func (z ZSet) total(r mem.Ref) int {
	if z.level(r) == 0 {
		return int(z.leaf(r).count)
	}
	n, t := z.inner(r), 0
	for _, s := range n.size[:n.count] {
		t += int(s)
	}
	return t
}

// set makes child i of n the node r.
func (z ZSet) set(n *zinner, i int, r mem.Ref) {
	n.child[i] = r
	n.size[i] = uint32(z.total(r))
	n.score[i], n.ref[i] = z.first(r)
}

func (z ZSet) newLeaf() mem.Ref {
	r := z.a.Alloc(z.a.Shard, zleafSize, mem.Nodes)
	n := z.leaf(r)
	n.level, n.count, n.prev, n.next = 0, 0, 0, 0
	return r
}

func (z ZSet) newInner(level int) mem.Ref {
	r := z.a.Alloc(z.a.Shard, zinnerSize, mem.Nodes)
	n := z.inner(r)
	n.level, n.count = uint16(level), 0
	return r
}

// treeInsert adds an entry that is not in the tree.
func (z ZSet) treeInsert(score float64, r mem.Ref) {
	if z.root() == 0 {
		z.setRoot(z.newLeaf())
	}
	var path zpath
	z.treeSeek(&path, &zbound{kind: zbyEntry, score: score, member: z.member(r)})
	split := z.leafInsert(path.leaf, path.pos, score, r)
	child := path.leaf
	for l := path.n - 1; l >= 0; l-- {
		n, i := z.inner(path.node[l]), path.idx[l]
		if split == 0 {
			n.size[i]++
			n.score[i], n.ref[i] = z.first(child)
		} else {
			z.set(n, i, child)
			atEnd := l == 0 || path.isLast(z, l-1)
			split = z.innerInsert(path.node[l], i+1, split, atEnd)
		}
		child = path.node[l]
	}
	if split != 0 {
		root := z.newInner(z.level(child) + 1)
		n := z.inner(root)
		n.count = 2
		z.set(n, 0, child)
		z.set(n, 1, split)
		z.setRoot(root)
	}
}

// isLast reports whether the path takes the last child at levels 0 to l.
func (p *zpath) isLast(z ZSet, l int) bool {
	for ; l >= 0; l-- {
		if p.idx[l] != int(z.inner(p.node[l]).count)-1 {
			return false
		}
	}
	return true
}

// leafInsert adds an entry at pos; if the leaf is full it is split, and the new
// one, on its right, is returned.
func (z ZSet) leafInsert(at mem.Ref, pos int, score float64, r mem.Ref) (split mem.Ref) {
	n := z.leaf(at)
	if c := int(n.count); c == zleafCap {
		keep := c / 2
		if pos == c && n.next == 0 {
			keep = c
		} else if pos == 0 && n.prev == 0 {
			keep = 0
		}
		split = z.newLeaf()
		right := z.leaf(split)
		right.prev, right.next = at, n.next
		if n.next != 0 {
			z.leaf(n.next).prev = split
		}
		n.next = split
		leafShift(n, right, keep-c)
		if pos > keep || keep == c {
			n, pos = right, pos-keep
		}
	}
	c := int(n.count)
	copy(n.score[pos+1:c+1], n.score[pos:c])
	copy(n.ref[pos+1:c+1], n.ref[pos:c])
	n.score[pos], n.ref[pos] = score, r
	n.count++
	return split
}

// innerInsert adds a child at i, as leafInsert does an entry; atEnd says that
// the node is the last of its level.
func (z ZSet) innerInsert(at mem.Ref, i int, child mem.Ref, atEnd bool) (split mem.Ref) {
	n := z.inner(at)
	if c := int(n.count); c == zinnerCap {
		keep := c / 2
		if i == c && atEnd {
			keep = c
		}
		split = z.newInner(int(n.level))
		right := z.inner(split)
		innerShift(n, right, keep-c)
		if i > keep || keep == c {
			n, i = right, i-keep
		}
	}
	c := int(n.count)
	copy(n.child[i+1:c+1], n.child[i:c])
	copy(n.score[i+1:c+1], n.score[i:c])
	copy(n.ref[i+1:c+1], n.ref[i:c])
	copy(n.size[i+1:c+1], n.size[i:c])
	n.count++
	z.set(n, i, child)
	return split
}

// leafShift moves k entries from the front of right to the end of left, or -k
// from the end of left to the front of right.
func leafShift(left, right *zleaf, k int) {
	l, r := int(left.count), int(right.count)
	shiftBoth(left.score[:], right.score[:], l, r, k)
	shiftBoth(left.ref[:], right.ref[:], l, r, k)
	left.count, right.count = uint16(l+k), uint16(r-k)
}

func innerShift(left, right *zinner, k int) {
	l, r := int(left.count), int(right.count)
	shiftBoth(left.child[:], right.child[:], l, r, k)
	shiftBoth(left.score[:], right.score[:], l, r, k)
	shiftBoth(left.ref[:], right.ref[:], l, r, k)
	shiftBoth(left.size[:], right.size[:], l, r, k)
	left.count, right.count = uint16(l+k), uint16(r-k)
}

// shiftBoth is leafShift for one pair of arrays with l and r elements.
func shiftBoth[T any](left, right []T, l, r, k int) {
	if k >= 0 {
		copy(left[l:l+k], right[:k])
		copy(right, right[k:r])
		return
	}
	copy(right[-k:r-k], right[:r])
	copy(right[:-k], left[l+k:l])
}

// treeRemove takes the entry at path out. The record is the caller's.
func (z ZSet) treeRemove(path *zpath) {
	n := z.leaf(path.leaf)
	copy(n.score[path.pos:n.count], n.score[path.pos+1:n.count])
	copy(n.ref[path.pos:n.count], n.ref[path.pos+1:n.count])
	n.count--
	child := path.leaf
	for l := path.n - 1; l >= 0; l-- {
		n, i := z.inner(path.node[l]), path.idx[l]
		switch c := int(z.leaf(child).count); {
		case c == 0:
			z.dropChild(n, i)
		default:
			n.size[i]--
			n.score[i], n.ref[i] = z.first(child)
			if c < zleafCap/3 {
				z.refill(n, i)
			}
		}
		child = path.node[l]
	}
	for root := z.root(); ; {
		switch {
		case z.leaf(root).count == 0:
			z.a.Free(z.a.Shard, root, mem.Nodes)
			z.setRoot(0)
			return
		case z.level(root) > 0 && z.leaf(root).count == 1:
			only := z.inner(root).child[0]
			z.a.Free(z.a.Shard, root, mem.Nodes)
			z.setRoot(only)
			root = only
		default:
			return
		}
	}
}

// dropChild frees child i of n, which is empty, and closes the gap.
func (z ZSet) dropChild(n *zinner, i int) {
	r := n.child[i]
	if n.level == 1 {
		leaf := z.leaf(r)
		if leaf.prev != 0 {
			z.leaf(leaf.prev).next = leaf.next
		}
		if leaf.next != 0 {
			z.leaf(leaf.next).prev = leaf.prev
		}
	}
	z.a.Free(z.a.Shard, r, mem.Nodes)
	c := int(n.count)
	copy(n.child[i:c], n.child[i+1:c])
	copy(n.score[i:c], n.score[i+1:c])
	copy(n.ref[i:c], n.ref[i+1:c])
	copy(n.size[i:c], n.size[i+1:c])
	n.count--
}

// refill joins child i of n, which is sparse, with a neighbour, or takes
// entries from it if both do not go into one node.
func (z ZSet) refill(n *zinner, i int) {
	if n.count == 1 {
		return
	}
	l := max(i-1, 0)
	r := l + 1
	lref, rref := n.child[l], n.child[r]
	lc, rc := int(z.leaf(lref).count), int(z.leaf(rref).count)
	if n.level == 1 {
		k := rc // join
		if lc+rc > zleafCap {
			k = (lc+rc)/2 - lc
		}
		leafShift(z.leaf(lref), z.leaf(rref), k)
	} else {
		k := rc
		if lc+rc > zinnerCap {
			k = (lc+rc)/2 - lc
		}
		innerShift(z.inner(lref), z.inner(rref), k)
	}
	z.set(n, l, lref)
	if z.leaf(rref).count == 0 {
		z.dropChild(n, r)
	} else {
		z.set(n, r, rref)
	}
}

// treeFree gives back the nodes from r down.
func (z ZSet) treeFree(r mem.Ref) {
	if r == 0 {
		return
	}
	if z.level(r) > 0 {
		n := z.inner(r)
		for _, c := range n.child[:n.count] {
			z.treeFree(c)
		}
	}
	z.a.Free(z.a.Shard, r, mem.Nodes)
}

func (z ZSet) treeMemUsed(r mem.Ref) int {
	if r == 0 {
		return 0
	}
	total := z.a.Size(r)
	if z.level(r) > 0 {
		n := z.inner(r)
		for _, c := range n.child[:n.count] {
			total += z.treeMemUsed(c)
		}
	}
	return total
}

// treeCheck verifies the tree and returns the number of its entries.
func (z ZSet) treeCheck() (entries int, err error) {
	c := ztreeCheck{z: z}
	if r := z.root(); r != 0 {
		entries, err = c.walk(r, z.level(r))
		if err == nil && z.leaf(c.leaf).next != 0 {
			err = fmt.Errorf("ds: sorted set: last leaf has a next one")
		}
	}
	return entries, err
}

// ztreeCheck is a walk in order: the leaf and the entry before.
type ztreeCheck struct {
	z    ZSet
	leaf mem.Ref
	any  bool
	s    float64
	r    mem.Ref
}

func (c *ztreeCheck) walk(r mem.Ref, level int) (entries int, err error) {
	z := c.z
	if z.level(r) != level || z.leaf(r).count == 0 {
		return 0, fmt.Errorf("ds: sorted set: node %v of level %d, want %d, has %d entries", r, z.level(r), level, z.leaf(r).count)
	}
	if level == 0 {
		n := z.leaf(r)
		if n.count > zleafCap || n.prev != c.leaf || c.leaf != 0 && z.leaf(c.leaf).next != r {
			return 0, fmt.Errorf("ds: sorted set: leaf %v of %d entries is linked to %v and %v", r, n.count, n.prev, n.next)
		}
		c.leaf = r
		for i := range int(n.count) {
			b := zbound{kind: zbyEntry, score: n.score[i], member: z.member(n.ref[i])}
			if c.any && !z.before(&b, c.s, c.r) {
				return 0, fmt.Errorf("ds: sorted set: %v %q is not behind %v %q", n.score[i], b.member, c.s, z.member(c.r))
			}
			c.any, c.s, c.r = true, n.score[i], n.ref[i]
		}
		return int(n.count), nil
	}
	n := z.inner(r)
	if n.count > zinnerCap {
		return 0, fmt.Errorf("ds: sorted set: node %v has %d children", r, n.count)
	}
	for i := range int(n.count) {
		k, err := c.walk(n.child[i], level-1)
		if err != nil {
			return 0, err
		}
		if k != int(n.size[i]) {
			return 0, fmt.Errorf("ds: sorted set: node %v: child %d has %d members, counted %d", r, i, k, n.size[i])
		}
		if s, fr := z.first(n.child[i]); s != n.score[i] || fr != n.ref[i] {
			return 0, fmt.Errorf("ds: sorted set: node %v: child %d begins with %v, noted %v", r, i, fr, n.ref[i])
		}
		entries += k
	}
	return entries, nil
}
