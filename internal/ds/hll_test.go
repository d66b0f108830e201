package ds

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// Raising random registers gives those of an array, in both encodings, and
// sparse turns dense exactly when a value or the size asks for it.
func TestHLLModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		var b SliceBuf
		HLLInit(&b)
		var model [HLLRegisters]uint8
		limit := []int{0, 100, 3000, 16000}[round%4]
		near := 1 + rnd.IntN(HLLRegisters)
		top := 0
		for range 2000 {
			i, v := rnd.IntN(near), 1+rnd.IntN(4)
			if rnd.IntN(500) == 0 {
				v = 1 + rnd.IntN(hllRankMax)
			}
			top = max(top, v)
			wasSparse, before := !HLL(b.B).Dense(), len(b.B)
			if got := HLLRaise(&b, i, uint8(v), limit); got != (model[i] < uint8(v)) {
				t.Fatalf("raise %d from %d to %d: changed = %v", i, model[i], v, got)
			}
			model[i] = max(model[i], uint8(v))
			h := HLL(b.B)
			if !h.Valid() || !h.Sound() {
				t.Fatalf("no longer sound: % x", b.B[:min(len(b.B), 200)])
			}
			if h.Dense() && wasSparse && v <= hllValMax && before+3 < limit {
				t.Fatalf("dense at %d bytes, limit %d", before, limit)
			}
			if !h.Dense() && (top > hllValMax || len(b.B) > max(limit, hllHeader+2)) {
				t.Fatalf("sparse with a register of %d, %d bytes, limit %d", top, len(b.B), limit)
			}
		}
		check := func() {
			var got [HLLRegisters]uint8
			h := HLL(b.B)
			h.MergeInto(&got)
			if got != model {
				t.Fatalf("round %d: registers differ", round)
			}
			if h.Count() != HLLCount(&model) {
				t.Fatalf("round %d: Count = %d, of the registers %d", round, h.Count(), HLLCount(&model))
			}
		}
		check()
		HLLToDense(&b)
		check()
	}
}

// Estimates stay within five standard errors of 0.81 % from 1 to a million
// elements.
func TestHLLEstimate(t *testing.T) {
	var b SliceBuf
	HLLInit(&b)
	var elem [8]byte
	for n, next := 1, 1; n <= 1_000_000; n++ {
		binary.LittleEndian.PutUint64(elem[:], uint64(n))
		HLLAdd(&b, elem[:], 3000)
		if n == next {
			next *= 10
			got := float64(HLL(b.B).Count())
			if off := math.Abs(got-float64(n)) / float64(n); off > 5*1.04/128 {
				t.Errorf("%d elements count as %v", n, got)
			}
		}
	}
	h := HLL(b.B)
	if _, ok := h.Cached(); ok {
		t.Error("the estimate of an empty HyperLogLog still holds after a million elements")
	}
	h.SetCached(7)
	if n, ok := h.Cached(); n != 7 || !ok {
		t.Errorf("Cached = %d, %v, want 7", n, ok)
	}
	if h.Invalidate(); h.Count() < 900_000 {
		t.Error("the header's count leaks into the registers")
	}
}

// Bytes that pass Valid and Sound, however they came about, cannot make anything
// panic, and stay sound.
func FuzzHLL(f *testing.F) {
	var b SliceBuf
	HLLInit(&b)
	f.Add(append([]byte(nil), b.B...), uint16(1), uint8(1))
	for i := range 40 {
		HLLRaise(&b, i*400, uint8(i%5+1), 3000)
	}
	f.Add(append([]byte(nil), b.B...), uint16(401), uint8(9))
	f.Add(append(append([]byte(nil), b.B[:hllHeader]...), 0x7f), uint16(0), uint8(1))
	f.Add(append(append([]byte(nil), b.B[:hllHeader]...), 0x7f, 0xff, 0x00), uint16(0), uint8(40))
	HLLToDense(&b)
	f.Add(append([]byte(nil), b.B...), uint16(16383), uint8(50))
	f.Fuzz(func(t *testing.T, data []byte, reg uint16, value uint8) {
		h := HLL(data)
		if !h.Valid() || !h.Sound() {
			return
		}
		i, v := int(reg)%HLLRegisters, value%hllRankMax+1
		var regs, after [HLLRegisters]uint8
		h.MergeInto(&regs)
		if h.Count() != HLLCount(&regs) {
			t.Fatalf("Count = %d, of the registers %d", h.Count(), HLLCount(&regs))
		}
		if !h.Dense() {
			h.AppendRuns(nil)
		}
		s := SliceBuf{append([]byte(nil), data...)}
		changed := HLLRaise(&s, i, v, 3000)
		h = s.B
		if !h.Valid() || !h.Sound() {
			t.Fatalf("raise %d to %d leaves % x", i, v, s.B)
		}
		h.MergeInto(&after)
		if changed != (regs[i] < v) {
			t.Fatalf("raise %d from %d to %d: changed = %v", i, regs[i], v, changed)
		}
		if regs[i] = max(regs[i], v); regs != after {
			t.Fatalf("raise %d to %d changes other registers", i, v)
		}
	})
}
