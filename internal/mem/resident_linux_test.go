//go:build linux && !race

package mem

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// resident is the process's resident set in bytes.
func resident(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	var size, rss int64
	if _, err := fmt.Sscan(string(b), &size, &rss); err != nil {
		t.Fatal(err)
	}
	return rss * int64(os.Getpagesize())
}

// A million records cost their size and at most a tenth more; freed in random
// order by random shards they go back to the system without a call to Trim.
func TestReturnsMemory(t *testing.T) {
	t.Run("small pages", func(t *testing.T) { testReturnsMemory(t, Options{Shards: 64}) })
	t.Run("huge pages", func(t *testing.T) { testReturnsMemory(t, Options{Shards: 64, HugePages: true}) })
}

func testReturnsMemory(t *testing.T, o Options) {
	h := newHeap(t, o)
	refs := make([]Ref, 1<<20)
	perm := rand.Perm(len(refs))
	for i := range refs {
		refs[i] = 1 // this page of the test's own is resident from now on
	}
	base := resident(t)
	for i := range refs {
		refs[i] = h.Alloc(i, 86, Records)
		h.Bytes(refs[i])[80] = 1
	}
	used := h.Used()
	if used != 88<<20 {
		t.Fatalf("used %d", used)
	}
	if grown := resident(t) - base; grown > used*11/10 {
		t.Errorf("resident grew by %d for %d", grown, used)
	}
	for _, i := range perm {
		h.Free(i, refs[i], Records)
	}
	if left := resident(t) - base; left > 10<<20 {
		t.Errorf("%d bytes still resident: %+v", left, h.Stats())
	}
	mustCheck(t, h)
}

// The system makes a huge page of a block of which a page is used, and so brings back
// those that were given to it. They go once more when the last page does.
func TestBlockReturnsAsAWhole(t *testing.T) {
	const size, blocks = 64 << 10, 16
	h := newHeap(t, Options{})
	var refs []Ref
	for range 2 { // the first time so that the books are in memory
		for _, r := range refs {
			h.Free(0, r, Records)
		}
		h.Trim()
		refs = refs[:0]
		for range blocks * blockPages << pageShift / size {
			refs = append(refs, h.Alloc(0, size, Records))
		}
	}
	base := resident(t)
	var last []Ref
	for i, r := range refs {
		if i%(blockPages<<pageShift/size) == 7 {
			last = append(last, r)
		} else {
			h.Free(0, r, Records)
		}
	}
	h.Trim()
	for _, r := range refs { // as if the system had
		h.At(r, 1)[0] = 0
		h.At(r+size/2, 1)[0] = 0
	}
	grown := resident(t) - base // by more where the system makes huge pages unasked
	if grown < blocks<<20/16 {
		t.Fatalf("resident grew by %d only", grown)
	}
	for _, r := range last {
		h.Free(0, r, Records)
	}
	h.Trim()
	mustCheck(t, h)
	if left := resident(t) - base; left > max(1<<20, grown/4) {
		t.Errorf("%d bytes are resident still: %+v", left, h.Stats())
	}
}

// What is retained for speed goes when the heap is quiet.
func TestTickWhenQuiet(t *testing.T) {
	h := newHeap(t, Options{})
	h.Free(0, h.Alloc(0, 100<<10, Records), Records)
	h.Tick() // sees that something moved
	for range 20 {
		h.Free(0, h.Alloc(0, 100<<10, Records), Records)
	}
	if h.Tick(); h.Stats().Retained == 0 {
		t.Error("trimmed while in use")
	}
	if h.Tick(); h.Stats().Retained != 0 {
		t.Errorf("quiet: %+v", h.Stats())
	}
}

// hugeBytes is what the process has in huge pages.
func hugeBytes(t *testing.T) int64 {
	t.Helper()
	all, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(all), "AnonHugePages:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

func never() bool { return false }

// Where a part of a block went and came back Collapse makes it huge again, but
// not where most of it is free, or what went is not to come back.
func TestBlocksBecomeHugeAgain(t *testing.T) {
	const size, blocks = 64 << 10, 16
	const inBlock = blockPages << pageShift / size
	h := newHeap(t, Options{HugePages: true})
	before := hugeBytes(t)
	alloc := func() Ref {
		r := h.Alloc(0, size, Records)
		clear(h.At(r, size))
		return r
	}
	var refs []Ref
	for range blocks * inBlock {
		refs = append(refs, alloc())
	}
	large := h.Alloc(0, 16<<20, Records)
	clear(h.At(large, 16<<20))
	whole := hugeBytes(t)
	if whole-before < blocks<<20 {
		t.Skipf("the system gives no huge pages: %d bytes", whole-before)
	}
	for i := 1; i < len(refs); i += inBlock {
		h.Free(0, refs[i], Records)
	}
	half := len(refs) / 2
	for i := half; i < len(refs); i++ { // blocks that are half empty
		if k := i % inBlock; k > inBlock/2 {
			h.Free(0, refs[i], Records)
		}
	}
	h.Trim()
	for i := 1; i < half; i += inBlock {
		refs[i] = alloc()
	}
	h.Discard(large, 0, 12<<20+size)
	split, base := hugeBytes(t), resident(t)
	h.Collapse(never)
	mustCheck(t, h)
	now := hugeBytes(t)
	if gain := now - split; gain < (blocks/2-2)<<21 || gain > (blocks/2+2)<<21 {
		t.Errorf("%d bytes in huge pages, then %d, then %d, of %d blocks", whole, split, now, blocks)
	}
	if grown := resident(t) - base; grown > 1<<20 {
		t.Errorf("resident grew by %d", grown)
	}
}

// A system that has no huge pages left is asked less and less often.
func TestNoHugePages(t *testing.T) {
	h := newHeap(t, Options{HugePages: true})
	r := h.Alloc(0, 8<<20, Records)
	clear(h.At(r, 8<<20))
	asked := 0
	h.huge.do = func([]byte) bool { asked++; return false }
	for range 200 {
		h.Collapse(never)
	}
	if asked < 4 || asked > 10 {
		t.Errorf("asked %d times in 200 calls", asked)
	}
	h.huge.do = func([]byte) bool { asked = 0; return true }
	for range maxPatience + 1 {
		h.Collapse(never)
	}
	if asked != 0 {
		t.Error("not asked any more")
	}
}

// A region that ends within a block, at any distance from its end: where blocks begin in
// it is the system's choice.
func TestLastBlock(t *testing.T) {
	for pages := blockPages / 2; pages <= 5*blockPages/2; pages += 16 {
		h := newHeap(t, Options{Reserve: int64(pages) << pageShift, HugePages: true})
		made := 0
		h.huge.do = func(b []byte) bool {
			if len(b) != blockPages<<pageShift || uintptr(unsafe.Pointer(&b[0]))%uintptr(len(b)) != 0 {
				t.Errorf("%d pages: a block of %d bytes at %p", pages, len(b), b)
			}
			made++
			return true
		}
		h.Alloc(0, (pages-firstPage)<<pageShift, Records)
		for range 3 {
			h.Collapse(never)
		}
		if most := pages / blockPages; made > most || made < most-1 { // the first may be too small
			t.Errorf("%d pages: %d blocks", pages, made)
		}
	}
}

// A string of 512 MiB works, counts and goes.
func TestHuge(t *testing.T) {
	h := newHeap(t, Options{})
	base := resident(t)
	r := h.Alloc(3, 512<<20+100, Records)
	b := h.Bytes(r)
	b[0], b[len(b)-1] = 1, 1
	if h.Used() != 512<<20+pageSize {
		t.Errorf("used %d", h.Used())
	}
	clear(b[:20<<20])
	h.Discard(r, 0, 20<<20)
	if left := resident(t) - base; left > 10<<20 { // some huge pages, if the system makes them unasked
		t.Errorf("%d bytes resident after Discard", left)
	}
	h.Free(3, r, Records)
	mustCheck(t, h)
	if h.Used() != 0 {
		t.Errorf("used %d", h.Used())
	}
}
