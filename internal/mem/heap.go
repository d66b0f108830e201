// Package mem gives out memory that the garbage collector never sees. One
// address range is reserved at the start; an allocation is a Ref, its byte
// offset in the range, so holding ten million of them costs the collector
// nothing and every access is bounds-checked by the range's slice.
//
// What is stored there, and when it dies, is left to packages ds and store.
//
// Read class.go (sizes), heap.go (the contract), span.go (small allocations),
// pages.go (everything else, and the way back to the system), huge.go (huge pages),
// check.go.
//
// # Design
//
// Every shard owns whole spans: runs of pages cut into objects of one class. A
// key's stripe is its shard for life, so an object is nearly always freed by
// the shard that made it and the shard's lock is uncontended. An earlier idea,
// caches of free objects per shard above central lists, pins one span for each
// cached object: 64 shards with 16 objects each could hold 64 MiB after the
// last key was deleted. Here a freed object goes straight to its span, a span
// without live objects is known at once and its pages go back to the system;
// no call to Trim can be forgotten. Retained at most: maxEmptySpans spans and
// ringPages pages, and the free eighth of blocks that were made huge again.
//
//	tags   one word a page: what the page is, and where its span starts
//	spans  one record per small span, found at (first page)/minSpanPages
//	shard  per class the list of spans with room, and the byte counters
//	pages  free page runs, coalesced by their border tags; always clean
//
// An object carries no header; its class is found by its page.
//
// Every method but Collapse may be called from any goroutine. Two goroutines that touch the
// bytes of one allocation must agree themselves (store: the slot's lock).
package mem

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Ref is the byte offset of an allocation in the region. 0 is nil. It is a
// multiple of 8 and below 1<<41.
type Ref uint64

// Purpose says in whose account an allocation is counted.
type Purpose uint8

const (
	Records     Purpose = iota // key records with what is inline in them
	Index                      // hash tables of the keyspace
	Nodes                      // memory owned by big encodings
	Other                      // everything else
	NumPurposes = 4
)

func (p Purpose) String() string {
	return [...]string{"records", "index", "nodes", "other"}[p]
}

// Options of New. The zero value is what a server wants.
type Options struct {
	Reserve int64 // bytes of address space; 0 means defaultReserve
	Shards  int   // power of two; 0 means a few per CPU
	Poison  bool  // tests: fill freed memory, verify it on reuse, find double frees

	// HugePages asks the system (Linux) for pages of 2 MiB: random access to
	// millions of records is about a fifth faster. Nothing here forks, so the usual
	// case against them, copies after a fork, does not hold. But the kernel may
	// later fill the holes of a sparse heap again (khugepaged). See huge.go.
	HugePages bool
}

const (
	pageShift = 12
	pageSize  = 1 << pageShift
	maxRegion = 1 << 40 // keeps page counts in 28 bits, and a Ref well below its bound
	minRegion = 1 << 30 // New stops halving a refused default here
)

// Heap is one region and its books. Make one with New.
type Heap struct {
	region []byte
	tags   []uint32 // by page; see span.go
	spans  []span   // by (first page)/minSpanPages
	shards []shard
	mask   int
	pages  pageHeap
	empty  atomic.Int64 // spans without live objects that shards retain

	huge collapser

	poison  bool
	live    []uint64 // Poison: a bit per 8 bytes, set where a live allocation starts
	release []func() error
}

// New reserves a region. When the system refuses o.Reserve (strict overcommit,
// an address-space limit) it halves the size down to 1 GiB, or tries just the
// wanted size when that is smaller; Stats().Reserved tells what it got.
func New(o Options) (*Heap, error) {
	if o.Shards == 0 {
		o.Shards = 1 << bits.Len(uint(4*runtime.GOMAXPROCS(0)-1))
	}
	if o.Shards < 1 || o.Shards&(o.Shards-1) != 0 {
		return nil, fmt.Errorf("mem: %d shards: want a power of two", o.Shards)
	}
	size := o.Reserve
	if size == 0 {
		size = defaultReserve
	}
	size = min(max(size, 1<<20)+pageSize-1, maxRegion) &^ (pageSize - 1)
	for {
		h := &Heap{shards: make([]shard, o.Shards), mask: o.Shards - 1, poison: o.Poison}
		err := h.reserve(size)
		if err == nil {
			if o.HugePages {
				adviseHuge(h.region)
				h.huge.do = makeHuge
			}
			return h, nil
		}
		h.unmap()
		if size/2 < minRegion {
			return nil, fmt.Errorf("mem: reserve %d bytes: %w", size, err)
		}
		size = (size / 2) &^ (pageSize - 1)
	}
}

// reserve maps the region and its books, which are touched only as far as the
// region is used.
func (h *Heap) reserve(size int64) error {
	nPages := size >> pageShift
	var err error
	take := func(n int64) []byte {
		if err != nil {
			return nil
		}
		var b []byte
		var free func() error
		if b, free, err = reserveBytes(n); err == nil {
			h.release = append(h.release, free)
		}
		return b
	}
	h.region = take(size)
	tags := take(nPages * 4)
	links := take(nPages * int64(unsafe.Sizeof(link{})))
	nSpans := nPages/minSpanPages + 1
	spans := take(nSpans * int64(unsafe.Sizeof(span{})))
	nBlocks := nPages/blockPages + 1
	blocks := take(nBlocks * int64(unsafe.Sizeof(block{})))
	var live []byte
	if h.poison {
		live = take(size / 64)
	}
	if err != nil {
		return err
	}
	h.tags = unsafe.Slice((*uint32)(unsafe.Pointer(&tags[0])), nPages)
	h.spans = unsafe.Slice((*span)(unsafe.Pointer(&spans[0])), nSpans)
	if h.poison {
		h.live = unsafe.Slice((*uint64)(unsafe.Pointer(&live[0])), size/512)
	}
	h.pages.init(h, unsafe.Slice((*link)(unsafe.Pointer(&links[0])), nPages),
		unsafe.Slice((*block)(unsafe.Pointer(&blocks[0])), nBlocks))
	return nil
}

// Close gives the region back to the system. No Ref, and no slice of the
// region, may be used from then on.
func (h *Heap) Close() error { return h.unmap() }

func (h *Heap) unmap() error {
	var err error
	for _, free := range h.release {
		err = errors.Join(err, free())
	}
	h.release, h.region, h.tags, h.spans, h.live = nil, nil, nil, nil, nil
	if err != nil {
		return fmt.Errorf("mem: release region: %w", err)
	}
	return nil
}

// Alloc returns memory of at least n bytes, content undefined, counted under p.
// The shard, any int >= 0, is a hint: calls with different shards do not wait
// for each other. Sizes that are multiples of 64 give addresses that are, and
// everything beyond maxSmall is page-aligned. Alloc panics when the region is
// full; a server bounds itself by Used long before.
func (h *Heap) Alloc(shard, n int, p Purpose) Ref {
	if uint(n) <= maxSmall {
		return h.allocSmall(shard, n, p)
	}
	r, _ := h.allocLarge(shard, n, p)
	return r
}

// AllocZero is Alloc with zeroed content. Large memory that comes fresh from the
// system is not touched, so a table of gigabytes costs nothing until used.
func (h *Heap) AllocZero(shard, n int, p Purpose) Ref {
	if uint(n) <= maxSmall {
		r := h.allocSmall(shard, n, p)
		clear(h.Bytes(r))
		return r
	}
	r, zero := h.allocLarge(shard, n, p)
	if !zero {
		clear(h.Bytes(r))
	}
	return r
}

// Free ends the life of r, which Alloc with the same p returned. It panics on
// anything that is not an allocation; with Poison it also finds every double
// free, otherwise most. The shard is a hint and need not be Alloc's.
func (h *Heap) Free(shard int, r Ref, p Purpose) {
	t := h.tag(r)
	switch t & kindMask {
	case kindSmall:
		h.freeSmall(t, r, p)
	case kindLarge:
		h.freeLarge(shard, t, r, p)
	default:
		panic(fmt.Sprintf("mem: free %#x: not an allocation", uint64(r)))
	}
}

// Size returns the usable bytes of r, at least what was asked for. It is exactly
// what Used counts for r.
func (h *Heap) Size(r Ref) int {
	t := h.tag(r)
	switch t & kindMask {
	case kindSmall:
		return int(classSize[t&0xff])
	case kindLarge:
		return int(t&^kindMask) << pageShift
	}
	panic(fmt.Sprintf("mem: size of %#x: not an allocation", uint64(r)))
}

// SizeFor returns what Size would say of Alloc(n).
func (h *Heap) SizeFor(n int) int {
	if uint(n) <= maxSmall {
		return int(classSize[classOf(n)])
	}
	return (n + pageSize - 1) &^ (pageSize - 1)
}

// Bytes returns all usable bytes of r.
func (h *Heap) Bytes(r Ref) []byte { return h.At(r, h.Size(r)) }

// At returns the first n bytes of r, with no capacity beyond them. It trusts the
// caller's n within the region: no look at the books, the fastest way in.
func (h *Heap) At(r Ref, n int) []byte { return h.region[r : r+Ref(n) : r+Ref(n)] }

// Region returns the whole region, for paths that read r as region[r:].
func (h *Heap) Region() []byte { return h.region }

// Discard gives the whole pages within bytes [from, to) of the large allocation r
// back to the system: their content is undefined (on Linux zero) until written.
// r stays allocated and counted. It does nothing for a small allocation.
func (h *Heap) Discard(r Ref, from, to int) {
	if t := h.tag(r); t&kindMask != kindLarge || to > int(t&^kindMask)<<pageShift {
		return
	}
	a, b := (int(r)+from+pageSize-1)&^(pageSize-1), (int(r)+to)&^(pageSize-1)
	if a < b {
		h.pages.mu.Lock()
		h.pages.settle(run{uint32(a >> pageShift), uint32((b - a) >> pageShift)}, true) // or what went comes back
		h.pages.mu.Unlock()
		discard(h.region[a:b])
	}
}

func (h *Heap) tag(r Ref) uint32 {
	if page := r >> pageShift; page < Ref(len(h.tags)) {
		return h.tags[page]
	}
	return 0
}

// Used returns the bytes handed out and not freed: the sum of Size over all live
// allocations. Exact whenever no call is in flight; a load per shard and purpose.
func (h *Heap) Used() int64 {
	var n int64
	for i := range h.shards {
		for p := range h.shards[i].used {
			n += h.shards[i].used[p].Load()
		}
	}
	return n
}

// Stats is a view of the books.
type Stats struct {
	Reserved  int64              // size of the region
	Used      int64              // as Heap.Used
	ByPurpose [NumPurposes]int64 // parts of Used
	Held      int64              // pages in spans and large allocations: Used plus free objects in spans
	Retained  int64              // freed pages not yet given back to the system
	Top       int64              // the region was never used beyond this, or is free from here
	Shards    int
}

// Stats reads the books, one lock after the other.
func (h *Heap) Stats() Stats {
	s := Stats{Reserved: int64(len(h.region)), Shards: len(h.shards)}
	for i := range h.shards {
		for p := range h.shards[i].used {
			n := h.shards[i].used[p].Load()
			s.ByPurpose[p] += n
			s.Used += n
		}
	}
	h.pages.mu.Lock()
	s.Retained = int64(h.pages.ringSum) << pageShift
	s.Top = int64(h.pages.top) << pageShift
	s.Held = int64(h.pages.held) << pageShift
	h.pages.mu.Unlock()
	return s
}

// Trim gives back to the system what is retained for speed.
func (h *Heap) Trim() {
	for i := range h.shards {
		h.trimShard(&h.shards[i])
	}
	h.pages.flush()
}

// Tick is to be called about once a second: it does Trim when the heap has become
// quiet, so that what was retained does not stay for ever.
func (h *Heap) Tick() {
	if quiet, ring := h.pages.quiet(); quiet && (ring || h.empty.Load() > 0) {
		h.Trim()
	}
}
