package ds

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Elements of the size that queues and boards have: "element:012345".
func benchElems(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, "element:%06d", i)
	}
	return out
}

func BenchmarkListpackFind(b *testing.B) {
	for _, n := range []int{16, 128, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			lp, elems := newLP(), benchElems(n)
			for _, e := range elems {
				LPAppend(lp, e)
			}
			p := LP(lp.B)
			i := 0
			for b.Loop() {
				if p.Find(lpHeader, elems[i%n], 0) < 0 {
					b.Fatal("not found")
				}
				i += 7
			}
		})
	}
}

func BenchmarkQuicklistPush(b *testing.B) {
	elems := benchElems(1024)
	for _, side := range []string{"tail", "head"} {
		b.Run(side, func(b *testing.B) {
			b.ReportAllocs()
			q := InitQuicklist(newArena(b), make([]byte, QuicklistHeader))
			for i := 0; b.Loop(); i++ {
				if side == "tail" {
					q.PushTail(elems[i&1023], -2)
				} else {
					q.PushHead(elems[i&1023], -2)
				}
				if q.Len() == 1_000_000 {
					q.Free()
				}
			}
			q.Free()
		})
	}
}

// A queue: push at one end, pop at the other, 100 000 waiting.
func BenchmarkQuicklistQueue(b *testing.B) {
	b.ReportAllocs()
	q := InitQuicklist(newArena(b), make([]byte, QuicklistHeader))
	elems := benchElems(1024)
	for i := range 100_000 {
		q.PushTail(elems[i&1023], -2)
	}
	buf := make([]byte, 0, 64)
	for i := 0; b.Loop(); i++ {
		q.PushTail(elems[i&1023], -2)
		buf, _ = q.PopHead(buf[:0])
	}
	q.Free()
}

func BenchmarkQuicklistIndex(b *testing.B) {
	q := InitQuicklist(newArena(b), make([]byte, QuicklistHeader))
	for _, e := range benchElems(100_000) {
		q.PushTail(e, -2)
	}
	for i := 0; b.Loop(); i += 7919 {
		it := q.Iter(i%100_000, false)
		if it.Elem().Len() != 14 {
			b.Fatal("wrong element")
		}
	}
	q.Free()
}

func BenchmarkZSet(b *testing.B) {
	const n = 100_000
	elems, r := benchElems(n), rand.New(rand.NewPCG(1, 2))
	a := newArena(b)
	z := InitZSet(a, make([]byte, ZSetHeader))
	for _, e := range elems {
		z.Set(e, r.Float64())
	}
	b.ReportMetric(float64(z.MemUsed())/n, "bytes/member")
	b.Run("SetMoving", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			z.Set(elems[r.IntN(n)], r.Float64())
		}
	})
	b.Run("SetInPlace", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e := elems[r.IntN(n)]
			s, _ := z.Score(e)
			z.Set(e, s*(1+1e-13))
		}
	})
	b.Run("Score", func(b *testing.B) {
		for b.Loop() {
			z.Score(elems[r.IntN(n)])
		}
	})
	b.Run("Rank", func(b *testing.B) {
		for b.Loop() {
			z.Rank(elems[r.IntN(n)])
		}
	})
	b.Run("CountBelow", func(b *testing.B) {
		for b.Loop() {
			z.CountBelow(r.Float64(), false)
		}
	})
	b.Run("Range100", func(b *testing.B) {
		for b.Loop() {
			it := z.ByRank(r.IntN(n - 100))
			for range 100 {
				it.Member()
				it.Next()
			}
		}
	})
	z.Free()
}
