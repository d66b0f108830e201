package mem

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// pageHeap gives out runs of pages. A run is in one of three states: taken (a
// span, a large allocation); in the ring, just freed, its content still with us;
// or free, its memory back with the system, but zero in the holes of a block that
// was made huge again (huge.go). Free runs are never neighbours:
// their border tags let them merge at once. A free run that reaches top is
// dropped and top comes down. Pages below firstPage are never given out, so
// that a Ref and a span index of 0 can mean nil.
type pageHeap struct {
	mu    sync.Mutex
	h     *Heap
	links []link // by first page of a free run
	bins  [numBins]uint32
	some  [(numBins + 63) / 64]uint64 // bit set: the bin has runs
	top   uint32                      // pages from here on are free and untouched
	limit uint32
	held  int // pages taken

	blocks []block // of blockPages each, from firstBlock on; see huge.go

	ring    [ringRuns]run // recently freed, oldest first
	ringLen int
	ringSum int // pages

	firstBlock uint32 // the first page of the region that begins a huge page
	moves      uint64 // calls of take and give
	seen       uint64 // moves at the last quiet
}

type link struct{ next, prev uint32 }

type run struct{ start, n uint32 }

const firstPage = minSpanPages

// The ring saves a page fault per page, and the call to madvise, when memory of
// one size is freed and taken in turn. It holds up to 4 MiB.
const (
	ringRuns     = 64
	ringPages    = 1024
	ringRunPages = 512 // longer runs bypass it
)

// blockPages is a huge page. The system may make one of any block that has a single
// page in memory, which brings back its free pages: so a block goes to the system as a
// whole when its last page does, and what is retained without need is not, see quiet.
const blockPages = 2 << 20 >> pageShift

// Bins: one for each length up to exactBins pages, then four to a doubling.
const (
	exactBins = 64
	numBins   = exactBins + 4*23
)

func binOf(n uint32) int {
	if n <= exactBins {
		return int(n) - 1
	}
	d := bits.Len32(n) - 7 // 64<<d <= n < 128<<d
	return exactBins + d*4 + int(n>>(4+d))&3
}

func (p *pageHeap) init(h *Heap, links []link, blocks []block) {
	p.h, p.links, p.blocks = h, links, blocks
	p.top, p.limit = firstPage, uint32(len(h.tags))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(h.region))) >> pageShift
	p.firstBlock = uint32(-at & (blockPages - 1))
}

// take returns the first page of a run of n. Clean says that it holds no old
// content: on Linux, all zero. It panics when there is none.
func (p *pageHeap) take(n int) (start uint32, clean bool) {
	p.mu.Lock()
	p.moves++
	if int64(n) <= int64(p.limit) {
		if start, ok := p.takeRing(uint32(n)); ok {
			p.hold(run{start, uint32(n)})
			p.mu.Unlock()
			return start, false
		}
		if start, ok := p.takeFree(uint32(n)); ok {
			p.hold(run{start, uint32(n)})
			p.mu.Unlock()
			return start, true
		}
		if p.ringLen > 0 { // its runs, merged with free ones, may do
			for p.ringLen > 0 {
				r := p.popRing()
				p.h.discardPages(r)
				p.insert(r)
			}
			if start, ok := p.takeFree(uint32(n)); ok {
				p.hold(run{start, uint32(n)})
				p.mu.Unlock()
				return start, true
			}
		}
	}
	held := p.held
	p.mu.Unlock()
	panic(fmt.Sprintf("mem: allocate %d pages of %d bytes: region of %d pages is full (%d held)", n, pageSize, p.limit, held))
}

func (p *pageHeap) takeRing(n uint32) (uint32, bool) {
	for i := p.ringLen - 1; i >= 0; i-- {
		if r := p.ring[i]; r.n == n {
			copy(p.ring[i:], p.ring[i+1:p.ringLen])
			p.ringLen--
			p.ringSum -= int(n)
			return r.start, true
		}
	}
	return 0, false
}

// takeFree prefers the smallest bin that surely fits after a short look into n's
// own; then the top of the region; then the rest of n's own bin.
func (p *pageHeap) takeFree(n uint32) (uint32, bool) {
	const look = 16
	own := binOf(n)
	if s, ok := p.takeFromBin(own, n, look); ok {
		return s, true
	}
	for b := own + 1; b < numBins; b++ {
		w := p.some[b/64] >> (b % 64)
		if w == 0 {
			b |= 63 // on to the next word
			continue
		}
		b += bits.TrailingZeros64(w)
		if s, ok := p.takeFromBin(b, n, 1); ok {
			return s, true
		}
	}
	if p.limit-p.top >= n {
		start := p.top
		p.top += n
		return start, true
	}
	return p.takeFromBin(own, n, 1<<30)
}

func (p *pageHeap) takeFromBin(b int, n uint32, look int) (uint32, bool) {
	for s := p.bins[b]; s != 0 && look > 0; s, look = p.links[s].next, look-1 {
		have := p.h.tags[s] &^ kindMask
		if have < n {
			continue
		}
		p.remove(run{s, have})
		if have > n {
			p.add(run{s + n, have - n})
		}
		return s, true
	}
	return 0, false
}

// give takes back a run whose tags are already cleared. Its memory goes to the
// system now or, by way of the ring, soon. The system is called without the lock.
func (p *pageHeap) give(start uint32, n int) {
	r := run{start, uint32(n)}
	if n > ringRunPages {
		p.h.discardPages(r)
		p.mu.Lock()
		p.moves++
		p.release(r)
		p.insert(r)
		p.mu.Unlock()
		return
	}
	p.mu.Lock()
	p.moves++
	p.release(r)
	for p.ringLen == ringRuns || p.ringLen > 0 && p.ringSum+n > ringPages {
		old := p.popRing()
		p.mu.Unlock()
		p.h.discardPages(old)
		p.mu.Lock()
		p.insert(old)
	}
	p.ring[p.ringLen] = r
	p.ringLen++
	p.ringSum += n
	p.mu.Unlock()
}

// flush empties the ring.
func (p *pageHeap) flush() {
	p.mu.Lock()
	for p.ringLen > 0 {
		r := p.popRing()
		p.mu.Unlock()
		p.h.discardPages(r)
		p.mu.Lock()
		p.insert(r)
	}
	p.mu.Unlock()
}

// quiet reports, at regular calls, that hardly a page has been taken or given since
// the last one: what is retained is of no use then. ring says that this has some.
func (p *pageHeap) quiet() (quiet, ring bool) {
	const few = 16
	p.mu.Lock()
	defer p.mu.Unlock()
	quiet = p.moves-p.seen <= few
	p.seen = p.moves
	return quiet, p.ringLen > 0
}

func (p *pageHeap) popRing() run {
	r := p.ring[0]
	copy(p.ring[:], p.ring[1:p.ringLen])
	p.ringLen--
	p.ringSum -= int(r.n)
	return r
}

// insert makes a clean run free and merges it with its neighbours. Blocks that become
// free by that go to the system as a whole, with mu held: it is one call for 2 MiB.
func (p *pageHeap) insert(r run) {
	p.settle(r, false)
	fresh := r
	if n := p.h.freeAt(r.start - 1); n > 0 {
		before := run{r.start - n, n}
		p.remove(before)
		r = run{before.start, before.n + r.n}
	}
	if end := r.start + r.n; end < p.top {
		if n := p.h.freeAt(end); n > 0 {
			p.remove(run{end, n})
			r.n += n
		}
	}
	end := r.start + r.n
	if end == p.top { // all behind is free
		end = min(p.blockAfter(end), p.limit)
		p.top = r.start
	} else {
		p.add(r)
	}
	// The blocks that are free now and were not before fresh.
	from, to := p.blockAfter(r.start), p.blockOf(end)
	from, to = max(from, p.blockOf(fresh.start)), min(to, p.blockAfter(fresh.start+fresh.n))
	if from < to && (from < fresh.start || to > fresh.start+fresh.n) {
		p.h.discardPages(run{from, to - from})
	}
}

// blockOf is where the huge page that holds a page begins, 0 if the region begins
// within it.
func (p *pageHeap) blockOf(page uint32) uint32 {
	if page < p.firstBlock {
		return 0
	}
	return page - (page-p.firstBlock)&(blockPages-1)
}

// blockAfter is the first page at or behind a page that begins a huge page.
func (p *pageHeap) blockAfter(page uint32) uint32 {
	return page + (p.firstBlock-page)&(blockPages-1)
}

// setTag changes the tag of a page that the caller holds. Who merges a run next to it
// reads the tag meanwhile, under pages.mu: whichever it meets, the page is not free.
func (h *Heap) setTag(page, tag uint32) { atomic.StoreUint32(&h.tags[page], tag) }

// freeAt is the length of the free run that begins or ends at a page, 0 if the page is
// not free. pages.mu is held.
func (h *Heap) freeAt(page uint32) uint32 {
	if t := atomic.LoadUint32(&h.tags[page]); t&kindMask == kindFree {
		return t &^ kindMask
	}
	return 0
}

func (p *pageHeap) add(r run) {
	p.h.tags[r.start] = kindFree | r.n
	p.h.tags[r.start+r.n-1] = kindFree | r.n
	b := binOf(r.n)
	head := p.bins[b]
	p.links[r.start] = link{next: head}
	if head != 0 {
		p.links[head].prev = r.start
	}
	p.bins[b] = r.start
	p.some[b/64] |= 1 << (b % 64)
}

func (p *pageHeap) remove(r run) {
	p.h.tags[r.start], p.h.tags[r.start+r.n-1] = 0, 0
	b := binOf(r.n)
	l := p.links[r.start]
	if l.prev != 0 {
		p.links[l.prev].next = l.next
	} else {
		p.bins[b] = l.next
		if l.next == 0 {
			p.some[b/64] &^= 1 << (b % 64)
		}
	}
	if l.next != 0 {
		p.links[l.next].prev = l.prev
	}
	p.links[r.start] = link{}
}

// allocLarge serves sizes beyond maxSmall in whole pages. Zero says the content
// is known to be zero.
func (h *Heap) allocLarge(hint, n int, p Purpose) (r Ref, zero bool) {
	if n < 0 || n > len(h.region) {
		panic(fmt.Sprintf("mem: allocate %d bytes: region has %d", n, len(h.region)))
	}
	np := (n + pageSize - 1) >> pageShift
	start, clean := h.pages.take(np)
	h.setTag(start, kindLarge|uint32(np))
	h.shards[hint&h.mask].used[p].Add(int64(np) << pageShift)
	r = Ref(start) << pageShift
	if h.poison {
		h.setLive(r, true)
		if b := h.At(r, np<<pageShift); !clean {
			fill(b, fresh)
		}
	}
	return r, clean && discardZeroes
}

func (h *Heap) freeLarge(hint int, t uint32, r Ref, p Purpose) {
	if r&(pageSize-1) != 0 {
		panic(fmt.Sprintf("mem: free %#x: inside a large allocation", uint64(r)))
	}
	np := int(t &^ kindMask)
	start := uint32(r >> pageShift)
	if h.poison {
		h.setLive(r, false)
		fill(h.At(r, min(np<<pageShift, 1<<20)), dead)
	}
	h.setTag(start, 0)
	h.shards[hint&h.mask].used[p].Add(-int64(np) << pageShift)
	h.pages.give(start, np)
}

func (h *Heap) discardPages(r run) {
	discard(h.region[int64(r.start)<<pageShift : int64(r.start+r.n)<<pageShift])
}
