package mem

import (
	"bytes"
	"fmt"
)

// Bytes that Poison fills in.
const (
	dead  = 0xDB // freed
	fresh = 0xA5 // allocated, not yet written
)

func fill(b []byte, v byte) {
	if len(b) > 0 {
		b[0] = v
		for n := 1; n < len(b); n *= 2 {
			copy(b[n:], b[:n])
		}
	}
}

// checkPoison panics when a freed object was written to. The first two bytes are
// the free list's.
func (h *Heap) checkPoison(r Ref, size int) {
	if i := h.poisonBroken(r, size); i >= 0 {
		panic(fmt.Sprintf("mem: %#x of %d bytes was written at byte %d after it was freed", uint64(r), size, i))
	}
}

func (h *Heap) poisonBroken(r Ref, size int) int {
	b := h.At(r, size)
	if b[2] == dead && bytes.Equal(b[2:size-1], b[3:]) { // each equals the one before
		return -1
	}
	i := 2
	for b[i] == dead {
		i++
	}
	return i
}

// The bitmap's word covers 512 bytes, so it never spans two pages, and small
// objects' bits are covered by their shard's lock. A large allocation has its
// pages to itself.
func (h *Heap) setLive(r Ref, on bool) {
	w := &h.live[r>>9]
	if bit := uint64(1) << (r >> 3 & 63); on {
		*w |= bit
	} else {
		*w &^= bit
	}
}

func (h *Heap) isLive(r Ref) bool { return h.live[r>>9]>>(r>>3&63)&1 != 0 }

// Check walks all books and compares them with each other. No other call may be
// in flight. O(pages used + free objects).
func (h *Heap) Check() error {
	var used, held int64
	spans := map[uint32]bool{}
	free := map[uint32]uint32{}
	ring := map[uint32]uint32{}
	var ringSum int
	for _, r := range h.pages.ring[:h.pages.ringLen] {
		ring[r.start] = r.n
		ringSum += int(r.n)
	}
	if ringSum != h.pages.ringSum {
		return fmt.Errorf("mem: ring has %d pages, books say %d", ringSum, h.pages.ringSum)
	}
	var empty int64
	_, blocks := h.pages.blocksOf(run{firstPage, h.pages.top - firstPage})
	inBlock := make([]uint16, blocks)
	hold := func(r run) {
		held += int64(r.n)
		for i, end := h.pages.blocksOf(r); i < end; i++ {
			inBlock[i] += uint16(overlap(r, h.pages.blockRun(i)))
		}
	}
	for page := uint32(firstPage); page < h.pages.top; {
		if n, ok := ring[page]; ok {
			for i := range n {
				if t := h.tags[page+i]; t != 0 {
					return fmt.Errorf("mem: page %d in the ring has tag %#x", page+i, t)
				}
			}
			page += n
			continue
		}
		t := h.tags[page]
		switch t & kindMask {
		case kindSmall:
			sp := &h.spans[page/minSpanPages]
			if t>>8&0x3f != 0 || sp.start != page || sp.class != uint8(t) {
				return fmt.Errorf("mem: page %d tag %#x: span %+v", page, t, *sp)
			}
			n := uint32(classShape[sp.class].pages)
			for i := range n {
				if want := kindSmall | i<<8 | uint32(sp.class); h.tags[page+i] != want {
					return fmt.Errorf("mem: page %d tag %#x, want %#x", page+i, h.tags[page+i], want)
				}
			}
			if err := h.checkSpan(sp); err != nil {
				return err
			}
			if sp.live < sp.cap {
				spans[page/minSpanPages] = true
			}
			if sp.retained {
				empty++
			}
			used += int64(sp.live) * int64(classSize[sp.class])
			hold(run{page, n})
			page += n
		case kindLarge:
			n := t &^ kindMask
			if n == 0 || page+n > h.pages.top {
				return fmt.Errorf("mem: page %d: large allocation of %d pages, top is %d", page, n, h.pages.top)
			}
			if h.poison && !h.isLive(Ref(page)<<pageShift) {
				return fmt.Errorf("mem: page %d: large allocation is not marked live", page)
			}
			used += int64(n) << pageShift
			hold(run{page, n})
			page += n
		case kindFree:
			n := t &^ kindMask
			if n == 0 || page+n >= h.pages.top || h.tags[page+n-1] != t {
				return fmt.Errorf("mem: page %d: free run of %d pages, last tag %#x, top %d", page, n, h.tags[page+n-1], h.pages.top)
			}
			if h.tags[page+n]&kindMask == kindFree {
				return fmt.Errorf("mem: page %d: free runs not merged", page+n)
			}
			free[page] = n
			page += n
		default:
			return fmt.Errorf("mem: page %d below top %d has no tag", page, h.pages.top)
		}
	}
	if got := h.Used(); got != used {
		return fmt.Errorf("mem: used %d, walk found %d", got, used)
	}
	if int64(h.pages.held) != held {
		return fmt.Errorf("mem: held %d pages, walk found %d", h.pages.held, held)
	}
	for i, n := range inBlock {
		if b := h.pages.blocks[i]; b.held != n {
			return fmt.Errorf("mem: block %d holds %d pages, walk found %d", i, b.held, n)
		}
	}
	if h.empty.Load() != empty {
		return fmt.Errorf("mem: %d retained spans, walk found %d", h.empty.Load(), empty)
	}
	return h.checkLists(spans, free)
}

func (h *Heap) checkSpan(sp *span) error {
	if sp.live > sp.bump || sp.bump > sp.cap || int(sp.owner) >= len(h.shards) || sp.retained && sp.live != 0 {
		return fmt.Errorf("mem: span %+v", *sp)
	}
	size := int(classSize[sp.class])
	n := 0
	for f := sp.free; f != 0; n++ {
		if f > sp.bump || n > int(sp.bump) {
			return fmt.Errorf("mem: span %+v: free list reaches object %d after %d", *sp, f-1, n)
		}
		r := Ref(sp.start)<<pageShift + Ref(int(f-1)*size)
		if h.poison {
			if i := h.poisonBroken(r, size); i >= 0 || h.isLive(r) {
				return fmt.Errorf("mem: free object %#x of %d bytes: changed at %d, live %v", uint64(r), size, i, h.isLive(r))
			}
		}
		f = *h.linkAt(r)
	}
	if int(sp.bump)-n != int(sp.live) {
		return fmt.Errorf("mem: span %+v: %d on the free list", *sp, n)
	}
	return nil
}

// checkLists: every span with room and every free run is on its list, once.
func (h *Heap) checkLists(spans map[uint32]bool, free map[uint32]uint32) error {
	for i := range h.shards {
		for c, si := range h.shards[i].room {
			for prev := uint32(0); si != 0; prev, si = si, h.spans[si].next {
				sp := &h.spans[si]
				if !spans[si] || int(sp.owner) != i || int(sp.class) != c || sp.prev != prev {
					return fmt.Errorf("mem: shard %d class %d lists span %d %+v after %d", i, c, si, *sp, prev)
				}
				delete(spans, si)
			}
		}
	}
	if len(spans) != 0 {
		return fmt.Errorf("mem: %d spans with room on no list", len(spans))
	}
	for b, s := range h.pages.bins {
		if has := h.pages.some[b/64]>>(b%64)&1 != 0; has != (s != 0) {
			return fmt.Errorf("mem: bin %d: bitmap says %v", b, has)
		}
		for prev := uint32(0); s != 0; prev, s = s, h.pages.links[s].next {
			if n, ok := free[s]; !ok || binOf(n) != b || h.pages.links[s].prev != prev {
				return fmt.Errorf("mem: bin %d lists run %d of %d pages", b, s, n)
			}
			delete(free, s)
		}
	}
	if len(free) != 0 {
		return fmt.Errorf("mem: %d free runs in no bin", len(free))
	}
	return nil
}
