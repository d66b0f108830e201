package mem

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
)

func newHeap(t testing.TB, o Options) *Heap {
	t.Helper()
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func mustCheck(t testing.TB, h *Heap) {
	t.Helper()
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
}

// Every size gets the smallest class that holds it, and every offset in a span
// finds its object by the reciprocal.
func TestClasses(t *testing.T) {
	for n := 0; n <= maxSmall; n++ {
		c := int(classOf(n))
		if c >= numClasses || int(classSize[c]) < n || c > 0 && int(classSize[c-1]) >= n {
			t.Fatalf("classOf(%d) = %d", n, c)
		}
	}
	for i, size := range classSize {
		if i > 0 && size <= classSize[i-1] || size%8 != 0 || size > 1024 && size%64 != 0 {
			t.Errorf("class %d has %d bytes after %d", i, size, classSize[i-1])
		}
		sh := classShape[i]
		span := uint32(sh.pages) * pageSize
		if waste := span - uint32(sh.cap)*size; waste > span/32 {
			t.Errorf("class of %d bytes: span of %d pages wastes %d", size, sh.pages, waste)
		}
		for off := range span {
			if got := uint32(uint64(off) * uint64(sh.magic) >> 32); got != off/size {
				t.Fatalf("class of %d bytes: offset %d is object %d, want %d", size, off, got, off/size)
			}
		}
	}
	for n := 64; n <= maxSmall; n += 64 {
		if s := classSize[classOf(n)]; s%64 != 0 {
			t.Errorf("%d bytes, a multiple of 64, get %d", n, s)
		}
	}
}

// stamp marks an allocation of at least 8 bytes at its start, middle and end with
// its own number.
func stamp(b []byte, v uint64) {
	b[len(b)/2] = byte(v)
	binary.LittleEndian.PutUint64(b, v)
	binary.LittleEndian.PutUint64(b[len(b)-8:], v^uint64(len(b)))
}

func stamped(b []byte, v uint64) bool {
	want := make([]byte, len(b))
	copy(want, b)
	stamp(want, v)
	return string(want) == string(b)
}

func randSize(r *rand.Rand) int {
	switch k := r.IntN(100); {
	case k < 70:
		return r.IntN(300)
	case k < 90:
		return r.IntN(8 << 10)
	case k < 98:
		return r.IntN(100 << 10)
	default:
		return r.IntN(4 << 20)
	}
}

// Model: a list of live allocations with stamped contents. After random calls
// no stamp is hurt, the sums agree and the books are whole.
func TestModel(t *testing.T) {
	ops := 60000
	if !discardZeroes { // most likely under the race detector, which is slow
		ops = 15000
	}
	h := newHeap(t, Options{Reserve: 256 << 20, Shards: 4, Poison: true})
	r := rand.New(rand.NewPCG(1, 2))
	type obj struct {
		ref Ref
		v   uint64
		p   Purpose
	}
	var objs []obj
	var used int64
	var by [NumPurposes]int64
	drop := func(i int) {
		o := objs[i]
		if !stamped(h.Bytes(o.ref), o.v) {
			t.Fatalf("%#x of %d bytes: stamp is hurt", o.ref, h.Size(o.ref))
		}
		used -= int64(h.Size(o.ref))
		by[o.p] -= int64(h.Size(o.ref))
		h.Free(r.IntN(9), o.ref, o.p)
		objs[i] = objs[len(objs)-1]
		objs = objs[:len(objs)-1]
	}
	for i := range ops {
		if grow := i/3000%2 == 0; len(objs) < 2000 && (r.IntN(10) < 6) == grow || len(objs) == 0 {
			n := randSize(r)
			if used > 100<<20 {
				n %= 1000
			}
			p := Purpose(r.IntN(NumPurposes))
			want := h.SizeFor(n)
			ref := h.Alloc(r.IntN(9), n, p)
			if ref == 0 || ref%8 != 0 || h.Size(ref) != want || want < n || n > 64 && n%64 == 0 && ref%64 != 0 {
				t.Fatalf("Alloc(%d) = %#x of %d bytes, want %d", n, ref, h.Size(ref), want)
			}
			stamp(h.Bytes(ref), uint64(i))
			objs = append(objs, obj{ref, uint64(i), p})
			used += int64(want)
			by[p] += int64(want)
		} else {
			drop(r.IntN(len(objs)))
		}
		if s := h.Stats(); s.Used != used || s.ByPurpose != by || h.Used() != used {
			t.Fatalf("op %d: used %+v, want %d %v", i, s, used, by)
		}
		if i%1499 == 0 {
			mustCheck(t, h)
		}
		if i%7001 == 0 {
			h.Trim()
			mustCheck(t, h)
		}
	}
	for len(objs) > 0 {
		drop(len(objs) - 1)
	}
	mustCheck(t, h)
	h.Trim()
	mustCheck(t, h)
	if s := h.Stats(); s.Used != 0 || s.Held != 0 || s.Retained != 0 || s.Top != firstPage*pageSize {
		t.Errorf("all freed and trimmed: %+v", s)
	}
}

// AllocZero gives zeros also where dirty memory is reused.
func TestAllocZero(t *testing.T) {
	h := newHeap(t, Options{Reserve: 64 << 20, Shards: 1})
	for _, n := range []int{1, 8, 100, 3000, 40 << 10, 300 << 10, 3 << 20} {
		for range 4 {
			r := h.AllocZero(0, n, Other)
			for i, v := range h.Bytes(r) {
				if v != 0 {
					t.Fatalf("%d bytes: byte %d is %#x", n, i, v)
				}
			}
			fill(h.Bytes(r), 0xff)
			h.Free(0, r, Other)
		}
	}
}

// Goroutines allocate, pass some allocations to others to free, and check their
// stamps; the race detector watches the contents.
func TestConcurrent(t *testing.T) {
	const workers, ops = 4, 6000
	h := newHeap(t, Options{Reserve: 256 << 20, Shards: 4, Poison: true})
	type obj struct {
		ref Ref
		v   uint64
	}
	gifts := make(chan obj, 256)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 7))
			var own []obj
			drop := func(o obj) {
				if !stamped(h.Bytes(o.ref), o.v) {
					t.Errorf("%#x: stamp is hurt", o.ref)
				}
				h.Free(w, o.ref, Records)
			}
			for i := range ops {
				if r.IntN(2) == 0 || len(own) == 0 {
					o := obj{h.Alloc(w+r.IntN(2), randSize(r)%(50<<10), Records), uint64(w)<<32 | uint64(i)}
					stamp(h.Bytes(o.ref), o.v)
					select {
					case gifts <- o:
					default:
						own = append(own, o)
					}
					continue
				}
				select {
				case o := <-gifts:
					drop(o)
				default:
					drop(own[len(own)-1])
					own = own[:len(own)-1]
				}
			}
			for _, o := range own {
				drop(o)
			}
		})
	}
	wg.Wait()
	close(gifts)
	for o := range gifts {
		h.Free(0, o.ref, Records)
	}
	mustCheck(t, h)
	if h.Used() != 0 {
		t.Errorf("used %d after all was freed", h.Used())
	}
}

func panics(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

func TestMisuse(t *testing.T) {
	h := newHeap(t, Options{Reserve: 16 << 20, Shards: 1, Poison: true})
	keep := h.Alloc(0, 24, Other)
	small, other := h.Alloc(0, 24, Other), h.Alloc(0, 24, Other)
	large := h.Alloc(0, 100<<10, Other)
	h.Free(0, small, Other)
	h.Free(0, other, Other)
	for name, f := range map[string]func(){
		"nil":                          func() { h.Free(0, 0, Other) },
		"beyond the region":            func() { h.Free(0, 1<<50, Other) },
		"freed twice":                  func() { h.Free(0, small, Other) },
		"freed twice, last":            func() { h.Free(0, other, Other) },
		"inside a small object":        func() { h.Free(0, keep+8, Other) },
		"inside a large object's page": func() { h.Free(0, large+8, Other) },
		"inside a large object":        func() { h.Free(0, large+pageSize, Other) },
		"size of nothing":              func() { h.Size(1 << 23) },
		"more than the region":         func() { h.Alloc(0, 17<<20, Other) },
		"more than is left":            func() { h.Alloc(0, 16<<20-1<<16, Other) },
		"negative size":                func() { h.Alloc(0, -1, Other) },
	} {
		if panics(f) == nil {
			t.Errorf("%s: no panic", name)
		}
	}
	mustCheck(t, h)
	h.At(small, 24)[10] = 1
	if h.Check() == nil {
		t.Error("Check overlooks a write to freed memory")
	}
	if panics(func() { h.Alloc(0, 24, Other); h.Alloc(0, 24, Other) }) == nil {
		t.Error("reuse overlooks a write to freed memory")
	}
}

// A region can be filled to the end, and what was freed can be used as one run.
func TestFull(t *testing.T) {
	h := newHeap(t, Options{Reserve: 16 << 20, Shards: 2})
	var refs []Ref
	if panics(func() {
		for {
			refs = append(refs, h.Alloc(0, 64<<10, Other))
		}
	}) == nil || len(refs) != 255 {
		t.Fatalf("filled with %d runs", len(refs))
	}
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(refs)) {
		h.Free(0, refs[i], Other)
	}
	mustCheck(t, h)
	h.Free(0, h.Alloc(0, 255<<16, Other), Other)
	mustCheck(t, h)
}

func TestNoGarbage(t *testing.T) {
	h := newHeap(t, Options{Reserve: 64 << 20, Shards: 2})
	if n := testing.AllocsPerRun(100, func() {
		a, b := h.Alloc(0, 88, Records), h.AllocZero(1, 50<<10, Index)
		h.Free(0, a, Records)
		h.Free(1, b, Index)
	}); n != 0 {
		t.Errorf("%v Go allocations", n)
	}
}
