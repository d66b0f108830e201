package ds

import (
	"encoding/binary"
	"fmt"
	"math"
)

// An intset is a sorted array of integers, the form of small sets of them.
// Little endian, n = width bytes each, strictly ascending:
//
//	| width u32 (2, 4, 8) | count u32 | integer ... |
//	0                     4           8
//
// The width grows when a wider integer comes and never shrinks. Source:
// persistence-replication.md 10.2.
const (
	intsetHeader = 8
	// IntsetEmptySize is the size of an intset without members.
	IntsetEmptySize = intsetHeader
)

// Intset reads an intset; it is exactly the intset's bytes.
type Intset []byte

// Len returns the number of members.
func (s Intset) Len() int { return int(binary.LittleEndian.Uint32(s[4:])) }

// Width returns the bytes per member: 2, 4 or 8.
func (s Intset) Width() int { return int(binary.LittleEndian.Uint32(s)) }

// At returns member i in ascending order.
func (s Intset) At(i int) int64 {
	switch s.Width() {
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(s[intsetHeader+2*i:])))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(s[intsetHeader+4*i:])))
	}
	return int64(binary.LittleEndian.Uint64(s[intsetHeader+8*i:]))
}

// Find returns v's index, or the index where it would be inserted. O(log n).
func (s Intset) Find(v int64) (i int, ok bool) {
	lo, hi := 0, s.Len()
	if hi == 0 || v > s.At(hi-1) {
		return hi, false
	}
	for lo < hi {
		mid := (lo + hi) / 2
		if s.At(mid) < v {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, s.At(lo) == v
}

// Contains reports whether v is a member.
func (s Intset) Contains(v int64) bool {
	_, ok := s.Find(v)
	return ok
}

// Random returns the member that rnd, a random number, picks. The set must not
// be empty.
func (s Intset) Random(rnd uint64) int64 { return s.At(int(rnd % uint64(s.Len()))) }

// put writes member i with the set's width.
func (s Intset) put(i int, v int64) {
	switch s.Width() {
	case 2:
		binary.LittleEndian.PutUint16(s[intsetHeader+2*i:], uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(s[intsetHeader+4*i:], uint32(v))
	default:
		binary.LittleEndian.PutUint64(s[intsetHeader+8*i:], uint64(v))
	}
}

func intsetWidth(v int64) int {
	switch {
	case v == int64(int16(v)):
		return 2
	case v == int64(int32(v)):
		return 4
	}
	return 8
}

// IntsetInit makes b an empty intset.
func IntsetInit(b Buf) {
	s := b.Splice(0, len(b.Bytes()), IntsetEmptySize)
	clear(s)
	s[0] = 2
}

// IntsetAdd adds v and reports whether it was absent. O(n).
func IntsetAdd(b Buf, v int64) bool {
	s := Intset(b.Bytes())
	n, old, width := s.Len(), s.Width(), intsetWidth(v)
	if width <= old {
		i, ok := s.Find(v)
		if ok {
			return false
		}
		s = b.Splice(intsetHeader+i*old, 0, old)
		s.put(i, v)
		binary.LittleEndian.PutUint32(s[4:], uint32(n+1))
		return true
	}
	// v is outside what the old width holds, so it goes to one of the ends.
	// Widen from the back, each member before its old bytes are overwritten.
	s = b.Splice(len(s), 0, (n+1)*width-n*old)
	shift := 0
	if v < 0 {
		shift = 1
	}
	for i := n - 1; i >= 0; i-- {
		binary.LittleEndian.PutUint32(s, uint32(old))
		m := s.At(i)
		binary.LittleEndian.PutUint32(s, uint32(width))
		s.put(i+shift, m)
	}
	binary.LittleEndian.PutUint32(s, uint32(width))
	binary.LittleEndian.PutUint32(s[4:], uint32(n+1))
	if v < 0 {
		s.put(0, v)
	} else {
		s.put(n, v)
	}
	return true
}

// IntsetRemove removes v and reports whether it was there. O(n).
func IntsetRemove(b Buf, v int64) bool {
	s := Intset(b.Bytes())
	i, ok := s.Find(v)
	if !ok {
		return false
	}
	n, width := s.Len(), s.Width()
	s = b.Splice(intsetHeader+i*width, width, 0)
	binary.LittleEndian.PutUint32(s[4:], uint32(n-1))
	return true
}

// ValidateIntset checks untrusted bytes: width, size and order.
func ValidateIntset(b []byte) error {
	if len(b) < intsetHeader {
		return fmt.Errorf("ds: intset of %d bytes", len(b))
	}
	s := Intset(b)
	width := s.Width()
	if width != 2 && width != 4 && width != 8 {
		return fmt.Errorf("ds: intset of width %d", width)
	}
	n := s.Len()
	if intsetHeader+n*width != len(b) {
		return fmt.Errorf("ds: intset of %d bytes says %d members of %d bytes", len(b), n, width)
	}
	prev := int64(math.MinInt64)
	for i := range n {
		v := s.At(i)
		if i > 0 && v <= prev {
			return fmt.Errorf("ds: intset member %d is not above the one before", i)
		}
		prev = v
	}
	return nil
}
