package mem

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

func BenchmarkPair(b *testing.B) {
	h := newHeap(b, Options{Reserve: 1 << 30})
	b.ReportAllocs()
	for b.Loop() {
		h.Free(1, h.Alloc(1, 88, Records), Records)
	}
}

// Replace random records among a million: what an overwriting SET does.
func BenchmarkChurn(b *testing.B) {
	h := newHeap(b, Options{})
	refs := make([]Ref, 1<<20)
	for i := range refs {
		refs[i] = h.Alloc(i, 40+i%100, Records)
	}
	b.ReportAllocs()
	r := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		i := r.IntN(len(refs))
		h.Free(i, refs[i], Records)
		refs[i] = h.Alloc(i, 40+r.IntN(100), Records)
	}
}

func BenchmarkParallel(b *testing.B) {
	h := newHeap(b, Options{Reserve: 1 << 30})
	var id atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		me := int(id.Add(1))
		var refs [64]Ref
		for i := 0; pb.Next(); i++ {
			if r := refs[i%64]; r != 0 {
				h.Free(me, r, Records)
			}
			refs[i%64] = h.Alloc(me, 88, Records)
		}
	})
}

func BenchmarkLarge(b *testing.B) {
	h := newHeap(b, Options{Reserve: 1 << 30})
	b.ReportAllocs()
	for b.Loop() {
		h.Free(1, h.Alloc(1, 100<<10, Records), Records)
	}
}
