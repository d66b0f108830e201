package mem

import "math/bits"

// Size classes: every 8 bytes up to 256, then 16 to each doubling, so that an
// allocation is at most 1/16 larger than asked (beyond the first few sizes).
// Every multiple of 64 up to 1024 is a class, and every class above 1024 is a
// multiple of 64, so a request that is a multiple of 64 gets a class that is.
const (
	maxSmall   = 32 << 10
	fineMax    = 256
	fineCount  = fineMax / 8
	perDouble  = 16
	numClasses = fineCount + perDouble*7 // 256..32768 is seven doublings
)

// A span has the fewest pages, from minSpanPages on, that leave at most 1/64 of
// it unused at its end. At least 16 pages also makes (first page)/16 unique.
const (
	minSpanPages = 16
	maxSpanPages = 64
)

var (
	classSize  = makeClassSizes()
	classShape = makeClassShapes()
)

// shape is how a span of a class looks. An offset's object number is
// offset*magic>>32, exact for offsets below maxSpanPages pages (a test tries all).
type shape struct {
	magic uint32
	pages uint16
	cap   uint16 // objects in a span
}

// classOf returns the smallest class of at least n bytes, 0 <= n <= maxSmall.
func classOf(n int) uint8 {
	if n <= fineMax {
		return uint8((uint(n)+7)>>3) - b2u(n != 0)
	}
	// 256 << d < n <= 512 << d; the step there is 16 << d.
	d := uint(bits.Len(uint(n-1))) - 9
	return uint8(fineCount + d*perDouble + (uint(n-1)>>(4+d) - 16))
}

func b2u(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func makeClassSizes() (s [numClasses]uint32) {
	for i := range fineCount {
		s[i] = uint32(i+1) * 8
	}
	for i := fineCount; i < numClasses; i++ {
		d, k := (i-fineCount)/perDouble, (i-fineCount)%perDouble
		s[i] = uint32(fineMax)<<d + uint32(k+1)<<(4+d)
	}
	return s
}

func makeClassShapes() (s [numClasses]shape) {
	for i, size := range makeClassSizes() {
		best, bestWaste := minSpanPages, 1.0
		for p := minSpanPages; p <= maxSpanPages; p++ {
			b := p * pageSize
			waste := float64(b%int(size)) / float64(b)
			if waste < bestWaste {
				best, bestWaste = p, waste
			}
			if waste <= 1.0/64 {
				break
			}
		}
		s[i] = shape{
			magic: uint32((1<<32 + uint64(size) - 1) / uint64(size)),
			pages: uint16(best),
			cap:   uint16(best * pageSize / int(size)),
		}
	}
	return s
}
