package ds

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// A HyperLogLog estimates how many different elements it was given, from 16384
// registers of 6 bits. Each element picks a register by the low 14 bits of its
// hash and raises it to the number of trailing zeros in the rest, plus one. It
// is a string, whose bytes are the same in every server of the protocol:
//
//	| "HYLL" | encoding u8 | 0 0 0 | count u64 | registers ... |
//	0        4             5       8           16
//
// count is the last estimate, little endian; its top bit says that registers
// changed since. Encoding 0 is dense: 12288 bytes, register i in the bits from
// 6*i on, counted from the low bit of the first byte. Encoding 1 is sparse: runs
// of equal registers in ascending order,
//
//	00llllll            l+1 registers are 0
//	01llllll llllllll   l+1 registers are 0, high bits first
//	1vvvvvll            l+1 registers are v+1
//
// Sparse becomes dense when a register passes 32, or when the string would pass
// hll-sparse-max-bytes. Source: the format as documented for PFADD.
const (
	// HLLRegisters is the number of registers.
	HLLRegisters = 1 << hllIndexBits

	hllIndexBits = 14
	hllRankMax   = 64 - hllIndexBits + 1
	hllHeader    = 16
	hllDenseSize = hllHeader + HLLRegisters*6/8
	hllSeed      = 0xadc83b19

	hllDense  = 0
	hllSparse = 1

	hllRunZero    = 1 << 6  // longest run in one byte
	hllRunXZero   = 1 << 14 // in two
	hllRunVal     = 4
	hllValMax     = 32
	hllMergeSteps = 5 // runs looked at for neighbours to join after a change
)

// HLL reads a HyperLogLog; it is exactly its bytes.
type HLL []byte

// Valid reports whether the header is one of a HyperLogLog. Only then may other
// methods be called.
func (h HLL) Valid() bool {
	return len(h) >= hllHeader && string(h[:4]) == "HYLL" && h[4] <= hllSparse && (h[4] != hllDense || len(h) == hllDenseSize)
}

// Sound reports whether the registers are complete. Only then may they be
// counted, merged or changed. O(bytes) if sparse.
func (h HLL) Sound() bool {
	if h.Dense() {
		return true
	}
	i := 0
	for p := hllHeader; p < len(h); {
		n, _, size := hllRun(h[p:])
		if size > len(h)-p {
			return false
		}
		i += n
		p += size
	}
	return i == HLLRegisters
}

// Dense reports whether the encoding is dense.
func (h HLL) Dense() bool { return h[4] == hllDense }

// Cached returns the last estimate, if it still holds.
func (h HLL) Cached() (n uint64, ok bool) {
	n = binary.LittleEndian.Uint64(h[8:])
	return n, n>>63 == 0
}

// SetCached notes the estimate.
func (h HLL) SetCached(n uint64) { binary.LittleEndian.PutUint64(h[8:], n) }

// Invalidate says that the noted estimate no longer holds.
func (h HLL) Invalidate() { h[15] |= 0x80 }

// hllRun decodes the run at the start of b: its registers, their value, its
// bytes, which may be more than b has.
func hllRun(b []byte) (n int, value uint8, size int) {
	c := b[0]
	switch {
	case c&0x80 != 0:
		return int(c&3) + 1, c>>2&31 + 1, 1
	case c&0x40 == 0:
		return int(c&0x3f) + 1, 0, 1
	case len(b) < 2:
		return 0, 0, 2
	}
	return int(c&0x3f)<<8 + int(b[1]) + 1, 0, 2
}

// hllAppendRun appends a run of n registers of the given value.
func hllAppendRun(dst []byte, n int, value uint8) []byte {
	switch {
	case n == 0:
		return dst
	case value != 0:
		return append(dst, 0x80|(value-1)<<2|byte(n-1))
	case n > hllRunZero:
		return append(dst, 0x40|byte((n-1)>>8), byte(n-1))
	}
	return append(dst, byte(n-1))
}

// denseReg returns register i of the dense form's registers.
func denseReg(r []byte, i int) uint8 {
	bit := i * 6
	v := uint(r[bit>>3]) >> (bit & 7)
	if bit&7 > 2 {
		v |= uint(r[bit>>3+1]) << (8 - bit&7)
	}
	return uint8(v & 63)
}

func setDenseReg(r []byte, i int, value uint8) {
	bit := i * 6
	at, shift := bit>>3, bit&7
	r[at] = r[at]&^byte(63<<shift) | value<<shift
	if shift > 2 {
		r[at+1] = r[at+1]&^byte(63>>(8-shift)) | value>>(8-shift)
	}
}

// Each calls visit for the runs of equal registers, in order.
func (h HLL) Each(visit func(first, n int, value uint8)) {
	if h.Dense() {
		for i := range HLLRegisters {
			visit(i, 1, denseReg(h[hllHeader:], i))
		}
		return
	}
	i := 0
	for p := hllHeader; p < len(h); {
		n, value, size := hllRun(h[p:])
		visit(i, n, value)
		i += n
		p += size
	}
}

// MergeInto raises the registers in max to those of h.
func (h HLL) MergeInto(max *[HLLRegisters]uint8) {
	h.Each(func(first, n int, value uint8) {
		if value == 0 {
			return
		}
		for i := first; i < first+n; i++ {
			if max[i] < value {
				max[i] = value
			}
		}
	})
}

// Count estimates the number of elements from the registers.
func (h HLL) Count() uint64 {
	var histogram [64]int
	h.Each(func(_, n int, value uint8) { histogram[value] += n })
	return hllEstimate(&histogram)
}

// HLLCount is Count for plain registers.
func HLLCount(registers *[HLLRegisters]uint8) uint64 {
	var histogram [64]int
	for _, v := range registers {
		histogram[v&63]++
	}
	return hllEstimate(&histogram)
}

// hllEstimate is the estimator of O. Ertl, "New cardinality estimation
// algorithms for HyperLogLog sketches", arXiv:1702.01284, algorithm 6. The
// conversions keep compilers from fusing operations, so that every machine
// gives the same number.
func hllEstimate(histogram *[64]int) uint64 {
	const (
		m     = float64(HLLRegisters)
		alpha = 0.721347520444481703680 // 1/(2 ln 2)
		q     = hllRankMax - 1
	)
	z := m * hllTau((m-float64(histogram[q+1]))/m)
	for k := q; k >= 1; k-- {
		z = float64(z+float64(histogram[k])) * 0.5
	}
	z += float64(m * hllSigma(float64(histogram[0])/m))
	return uint64(math.Round(alpha * m * m / z))
}

func hllSigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		last := z
		z += float64(x * y)
		y += y
		if z == last {
			return z
		}
	}
}

func hllTau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		last := z
		y *= 0.5
		z -= float64(float64((1-x)*(1-x)) * y)
		if z == last {
			return z / 3
		}
	}
}

// HLLInit makes b an empty HyperLogLog, sparse.
func HLLInit(b Buf) {
	h := b.Splice(0, len(b.Bytes()), hllHeader+2)
	clear(h)
	copy(h, "HYLL")
	h[4] = hllSparse
	hllAppendRun(h[:hllHeader], HLLRegisters, 0)
}

// HLLAdd adds an element and reports whether a register changed; the noted
// estimate then no longer holds. The HyperLogLog stays sparse up to maxSparse
// bytes.
func HLLAdd(b Buf, elem []byte, maxSparse int) bool {
	hash := murmur64a(elem, hllSeed)
	rank := bits.TrailingZeros64(hash>>hllIndexBits|1<<(hllRankMax-1)) + 1
	return HLLRaise(b, int(hash&(HLLRegisters-1)), uint8(rank), maxSparse)
}

// HLLRaise raises register i to value, unless it is as high, as HLLAdd does.
func HLLRaise(b Buf, i int, value uint8, maxSparse int) bool {
	h := HLL(b.Bytes())
	if h.Dense() {
		if denseReg(h[hllHeader:], i) >= value {
			return false
		}
		setDenseReg(h[hllHeader:], i, value)
		h.Invalidate()
		return true
	}

	// Find the run that has register i, and the one before it.
	prev, p, first := hllHeader, hllHeader, 0
	n, old, size := hllRun(h[p:])
	for first+n <= i {
		prev = p
		first += n
		p += size
		n, old, size = hllRun(h[p:])
	}
	if old >= value {
		return false
	}
	// It becomes up to three: what is before i, i, what is behind.
	var tmp [5]byte
	runs := hllAppendRun(tmp[:0], i-first, old)
	if value <= hllValMax {
		runs = hllAppendRun(runs, 1, value)
	}
	runs = hllAppendRun(runs, first+n-1-i, old)
	if grow := len(runs) - size; value > hllValMax || grow > 0 && len(h)+grow > maxSparse {
		HLLToDense(b)
		return HLLRaise(b, i, value, maxSparse)
	}
	h = b.Splice(p, size, len(runs))
	copy(h[p:], runs)
	hllJoin(b, prev)
	HLL(b.Bytes()).Invalidate()
	return true
}

// hllJoin joins neighbouring runs of equal value, in a few runs from p on.
func hllJoin(b Buf, p int) {
	h := b.Bytes()
	for steps := 0; steps < hllMergeSteps && p < len(h); steps++ {
		n, value, size := hllRun(h[p:])
		if value != 0 && p+1 < len(h) {
			if n2, value2, _ := hllRun(h[p+1:]); value2 == value && n+n2 <= hllRunVal {
				h = b.Splice(p, 1, 0)
				hllAppendRun(h[:p], n+n2, value)
				continue // the joined run may join with the next
			}
		}
		p += size
	}
}

// HLLToDense makes a sparse HyperLogLog, which is sound, dense.
func HLLToDense(b Buf) {
	h := HLL(b.Bytes())
	if h.Dense() {
		return
	}
	var r [hllDenseSize - hllHeader]byte
	h.Each(func(first, n int, value uint8) {
		if value == 0 {
			return
		}
		for i := first; i < first+n; i++ {
			setDenseReg(r[:], i, value)
		}
	})
	h = b.Splice(hllHeader, len(h)-hllHeader, len(r))
	h[4] = hllDense
	copy(h[hllHeader:], r[:])
}

// AppendRuns appends the runs of a sparse HyperLogLog for people: z:n and Z:n
// for zeros in one and in two bytes, v:value,n for others.
func (h HLL) AppendRuns(dst []byte) []byte {
	for p := hllHeader; p < len(h); {
		n, value, size := hllRun(h[p:])
		if p > hllHeader {
			dst = append(dst, ' ')
		}
		switch {
		case value != 0:
			dst = fmt.Appendf(dst, "v:%d,%d", value, n)
		case size == 2:
			dst = fmt.Appendf(dst, "Z:%d", n)
		default:
			dst = fmt.Appendf(dst, "z:%d", n)
		}
		p += size
	}
	return dst
}

// murmur64a is A. Appleby's MurmurHash2 for 64-bit machines, little endian.
func murmur64a(b []byte, seed uint64) uint64 {
	const m, r = 0xc6a4a7935bd1e995, 47
	h := seed ^ uint64(len(b))*m
	for ; len(b) >= 8; b = b[8:] {
		k := binary.LittleEndian.Uint64(b) * m
		k ^= k >> r
		h ^= k * m
		h *= m
	}
	if len(b) > 0 {
		for i, c := range b {
			h ^= uint64(c) << (8 * i)
		}
		h *= m
	}
	h ^= h >> r
	h *= m
	return h ^ h>>r
}
