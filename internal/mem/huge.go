package mem

import "runtime"

// Huge pages. A block of the region, 2 MiB, is one huge page when it is first used, and
// small ones from the moment that a part of it goes back to the system; later uses of
// the part leave it so. In a server with five million records a seventh of the memory
// was in such blocks, and a batch of 16 GET cost a fifth more. So blocks that are in use
// for the most part are made huge again, a few at a time.

// block is what is known of one.
type block struct {
	held    uint16 // pages taken
	settled bool   // as huge as it will be, until pages of it are given back
}

// mostPages of a block have to be in use for it to be made huge: the others then take
// memory again.
const mostPages = blockPages * 7 / 8

// maxPatience is how many calls of Collapse do nothing when the system has no huge pages
// left.
const maxPatience = 64

// collapser makes blocks huge. Only Collapse uses it.
type collapser struct {
	do       func([]byte) bool // makeHuge; nil: no huge pages are wanted
	next     int               // where the search goes on
	pass     int               // calls to pass by
	patience int               // calls to pass by after the next failure
}

// blocksOf returns the numbers of the blocks that have a page of r, from a to before b.
// Pages before the first whole block belong to none.
func (p *pageHeap) blocksOf(r run) (a, b uint32) {
	if r.start+r.n <= p.firstBlock {
		return 0, 0
	}
	a = (max(r.start, p.firstBlock) - p.firstBlock) / blockPages
	return a, (r.start+r.n-p.firstBlock-1)/blockPages + 1
}

// hold counts the pages of a run as taken; mu is held.
func (p *pageHeap) hold(r run) { p.addHeld(r, 1) }

// release counts the pages of a run as given back; mu is held.
func (p *pageHeap) release(r run) { p.addHeld(r, -1) }

func (p *pageHeap) addHeld(r run, sign int) {
	p.held += sign * int(r.n)
	for i, end := p.blocksOf(r); i < end; i++ {
		p.blocks[i].held += uint16(sign * int(overlap(r, p.blockRun(i))))
	}
}

// blockRun returns the pages of block i.
func (p *pageHeap) blockRun(i uint32) run { return run{p.firstBlock + i*blockPages, blockPages} }

// overlap is how many pages two runs share, which do.
func overlap(a, b run) uint32 { return min(a.start+a.n, b.start+b.n) - max(a.start, b.start) }

// settle notes whether the blocks of a run are to be left alone; mu is held.
func (p *pageHeap) settle(r run, settled bool) {
	for i, end := p.blocksOf(r); i < end; i++ {
		p.blocks[i].settled = settled
	}
}

// unsettled fills found with blocks that are mostly in use and may be in small pages,
// from the next on, and returns how many there are and where the search ended. They are
// settled now.
func (p *pageHeap) unsettled(found []uint32, next int) (n, end int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, used := p.blocksOf(run{firstPage, p.top - firstPage})
	blocks := p.blocks[:min(used, (p.limit-p.firstBlock)/blockPages)] // whole ones
	for range blocks {
		if n == len(found) {
			break
		}
		if next >= len(blocks) {
			next = 0
		}
		if b := &blocks[next]; b.held >= mostPages && !b.settled {
			b.settled = true
			found[n] = uint32(next)
			n++
		}
		next++
	}
	return n, next
}

// Collapse makes memory in small pages huge until all is or enough says that it is
// enough; it is asked about every 2 ms, for a block is copied in 0.2 to 0.5 ms, while it
// takes a microsecond to see that one is huge already. To be called about once a
// second, by one goroutine.
func (h *Heap) Collapse(enough func() bool) {
	c := &h.huge
	if c.do == nil {
		return
	}
	if c.pass > 0 {
		c.pass--
		return
	}
	var found [8]uint32
	for !enough() {
		n := 0
		n, c.next = h.pages.unsettled(found[:], c.next)
		for k, i := range found[:n] {
			r := h.pages.blockRun(i)
			if !c.do(h.region[int64(r.start)<<pageShift : int64(r.start+r.n)<<pageShift]) {
				h.pages.mu.Lock()
				for _, i := range found[k:n] {
					h.pages.settle(h.pages.blockRun(i), false)
				}
				h.pages.mu.Unlock()
				c.patience = min(2*c.patience+1, maxPatience)
				c.pass = c.patience
				return
			}
			c.patience = 0
			runtime.Gosched()
		}
		if n < len(found) {
			return
		}
	}
}
