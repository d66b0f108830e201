//go:build linux && !race

package mem

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
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
	for range blocks * blockPages << pageShift / size {
		refs = append(refs, h.Alloc(0, size, Records))
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
	if grown := resident(t) - base; grown < blocks<<20/16 {
		t.Fatalf("resident grew by %d only", grown)
	}
	for _, r := range last {
		h.Free(0, r, Records)
	}
	h.Trim()
	mustCheck(t, h)
	if left := resident(t) - base; left > 1<<20 {
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
	if left := resident(t) - base; left > 4<<20 {
		t.Errorf("%d bytes resident after Discard", left)
	}
	h.Free(3, r, Records)
	mustCheck(t, h)
	if h.Used() != 0 {
		t.Errorf("used %d", h.Used())
	}
}
