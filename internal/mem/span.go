package mem

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

// A page's tag:
//
//	| kind 2 | value 30                             |
//	| small  | ... page within its span 6 | class 8 |   every page of a small span
//	| large  | pages                                |   first page of a large allocation
//	| free   | pages                                |   first and last page of a free run
//	| 0                                             |   inside a run, or never used
//
// A tag of a live allocation does not change, so Free and Size read it unlocked.
const (
	kindSmall = 1 << 30
	kindLarge = 2 << 30
	kindFree  = 3 << 30
	kindMask  = 3 << 30
)

// span is a run of pages cut into objects of one class, owned by one shard.
// Objects from bump on were never used: a young span is touched from its start
// only. Freed ones form a list whose links (object number + 1, 0 ends) lie in the
// first two bytes of each. All but owner and start, which are fixed while an
// object lives, belong to the owner's lock.
type span struct {
	next, prev uint32 // spans with room, of one shard and class; index in Heap.spans, 0 ends
	start      uint32 // first page
	live       uint16
	free       uint16 // first freed object + 1
	bump       uint16
	cap        uint16
	owner      uint16
	class      uint8
	retained   bool // no live object, kept for speed; counted in Heap.empty
}

// Spans without a live object that all shards together keep: 1 MiB that saves a
// span's setup when a class swings between none and one.
const maxEmptySpans = 16

// shard: the lock covers room and the spans in it. used is written under it too,
// but atomically, for Used.
type shard struct {
	mu   sync.Mutex
	used [NumPurposes]atomic.Int64
	room [numClasses]uint32 // spans with a free object; the first serves the next call
	_    [64]byte
}

func (h *Heap) allocSmall(hint, n int, p Purpose) Ref {
	c := classOf(n)
	size := classSize[c]
	id := hint & h.mask
	s := &h.shards[id]
	s.mu.Lock()
	si := s.room[c]
	if si == 0 {
		si = h.newSpan(s, id, c)
	}
	sp := &h.spans[si]
	var r Ref
	if sp.free != 0 {
		r = Ref(sp.start)<<pageShift + Ref(uint32(sp.free-1)*size)
		sp.free = *h.linkAt(r)
		if h.poison {
			h.checkPoison(r, int(size))
		}
	} else {
		r = Ref(sp.start)<<pageShift + Ref(uint32(sp.bump)*size)
		sp.bump++
	}
	sp.live++
	if sp.retained {
		sp.retained = false
		h.empty.Add(-1)
	}
	if sp.live == sp.cap {
		h.unlink(s, si, sp)
	}
	s.used[p].Add(int64(size))
	if h.poison {
		h.setLive(r, true)
		fill(h.At(r, int(size)), fresh)
	}
	s.mu.Unlock()
	return r
}

func (h *Heap) freeSmall(t uint32, r Ref, p Purpose) {
	c := uint8(t)
	size := classSize[c]
	page := uint32(r >> pageShift)
	start := page - t>>8&0x3f
	si := start / minSpanPages
	sp := &h.spans[si]
	off := uint32(r) - start<<pageShift // spans are small: the low 32 bits suffice
	i := uint32(uint64(off) * uint64(classShape[c].magic) >> 32)
	if i*size != off || uint64(r)&7 != 0 {
		panic(fmt.Sprintf("mem: free %#x: inside an object of %d bytes", uint64(r), size))
	}
	s := &h.shards[sp.owner]
	s.mu.Lock()
	if sp.live == 0 || i >= uint32(sp.bump) || uint32(sp.free) == i+1 || h.poison && !h.isLive(r) {
		s.mu.Unlock()
		panic(fmt.Sprintf("mem: free %#x of %d bytes: already free", uint64(r), size))
	}
	if h.poison {
		h.setLive(r, false)
		fill(h.At(r, int(size)), dead)
	}
	*h.linkAt(r) = sp.free
	sp.free = uint16(i + 1)
	s.used[p].Add(-int64(size))
	if sp.live == sp.cap {
		// In front: nearly full spans fill up first, the others drain.
		h.linkFront(s, si, sp)
	}
	sp.live--
	if sp.live != 0 {
		s.mu.Unlock()
		return
	}
	if h.retain(sp) {
		sp.free, sp.bump = 0, 0
		s.mu.Unlock()
		return
	}
	h.unlink(s, si, sp)
	s.mu.Unlock()
	h.dropSpan(sp)
}

// retain decides whether a span that has just emptied stays with its shard.
func (h *Heap) retain(sp *span) bool {
	if h.empty.Add(1) > maxEmptySpans {
		h.empty.Add(-1)
		return false
	}
	sp.retained = true
	return true
}

// newSpan makes a span of class c the first with room. The shard is locked.
func (h *Heap) newSpan(s *shard, id int, c uint8) uint32 {
	sh := classShape[c]
	start, _ := h.pages.take(int(sh.pages))
	for i := range uint32(sh.pages) {
		h.setTag(start+i, kindSmall|i<<8|uint32(c))
	}
	si := start / minSpanPages
	h.spans[si] = span{start: start, cap: sh.cap, owner: uint16(id), class: c}
	h.linkFront(s, si, &h.spans[si])
	return si
}

// dropSpan gives back the pages of a span that is on no list and has no object.
func (h *Heap) dropSpan(sp *span) {
	start, n := sp.start, int(classShape[sp.class].pages)
	*sp = span{}
	for i := range n {
		h.setTag(start+uint32(i), 0)
	}
	h.pages.give(start, n)
}

func (h *Heap) trimShard(s *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, si := range s.room {
		for si != 0 {
			sp := &h.spans[si]
			next := sp.next
			if sp.retained {
				h.empty.Add(-1)
				h.unlink(s, si, sp)
				h.dropSpan(sp)
			}
			si = next
		}
	}
}

func (h *Heap) linkFront(s *shard, si uint32, sp *span) {
	head := s.room[sp.class]
	sp.next, sp.prev = head, 0
	if head != 0 {
		h.spans[head].prev = si
	}
	s.room[sp.class] = si
}

func (h *Heap) unlink(s *shard, si uint32, sp *span) {
	if sp.prev != 0 {
		h.spans[sp.prev].next = sp.next
	} else {
		s.room[sp.class] = sp.next
	}
	if sp.next != 0 {
		h.spans[sp.next].prev = sp.prev
	}
	sp.next, sp.prev = 0, 0
}

func (h *Heap) linkAt(r Ref) *uint16 {
	return (*uint16)(unsafe.Pointer(&h.region[r]))
}
