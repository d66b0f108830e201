package ds

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unsafe"
)

// A listpack is a list of strings and integers in one byte string, the form in
// which small lists, hashes, sets and sorted sets, list nodes and stream nodes
// are held and saved. Little endian:
//
//	| total u32 | count u16 | element ... | ff |
//	0           4           6             total-1
//
// total counts every byte; count 0xffff means "walk to know". An element is
//
//	| encoding + data, e bytes | backlen |
//
// and its first byte tells the encoding:
//
//	0xxxxxxx            integer 0..127                      e = 1
//	10xxxxxx            string, 6-bit length                e = 1+n
//	110xxxxx b          integer of 13 bits, high bits first e = 2
//	1110xxxx b          string, 12-bit length, high first   e = 2+n
//	f0 u32              string, 32-bit length               e = 5+n
//	f1 f2 f3 f4         integer of 16, 24, 32, 64 bits      e = 3, 4, 5, 9
//	ff                  end
//
// backlen is e in groups of 7 bits, high group first, every byte but the first
// with bit 7 set, so that it reads from the right: it leads to the element
// before. Source: persistence-replication.md 10.1.
const (
	lpHeader       = 6
	lpCountUnknown = 0xffff
	lpEnd          = 0xff

	// LPEmptySize is the size of a listpack without elements.
	LPEmptySize = lpHeader + 1
	// LPMaxSize is the size no listpack may pass; callers convert before.
	LPMaxSize = 1 << 30
)

// LP reads a listpack; it is exactly the listpack's bytes. Positions are byte
// offsets of elements; -1 is "none". The methods trust the bytes (Validate is
// for untrusted ones) but can do no worse than panic on bad ones.
type LP []byte

// Elem is one element: a string, or an integer when IsInt. Str is a view into
// the listpack.
type Elem struct {
	Str   []byte
	Int   int64
	IsInt bool
}

// Append appends the element's text.
func (e Elem) Append(dst []byte) []byte {
	if e.IsInt {
		return strconv.AppendInt(dst, e.Int, 10)
	}
	return append(dst, e.Str...)
}

// Len returns the length of the element's text.
func (e Elem) Len() int {
	if e.IsInt {
		return decimalLen(e.Int)
	}
	return len(e.Str)
}

// Equal reports whether the element's text is b.
func (e Elem) Equal(b []byte) bool {
	if e.IsInt {
		v, ok := ParseInt(b)
		return ok && v == e.Int
	}
	return bytes.Equal(e.Str, b)
}

// AsInt returns the element as an integer if its text is a canonical one.
func (e Elem) AsInt() (int64, bool) {
	if e.IsInt {
		return e.Int, true
	}
	return ParseInt(e.Str)
}

// Float returns the element as a sorted set's score.
func (e Elem) Float() (float64, bool) {
	if e.IsInt {
		return float64(e.Int), true
	}
	if len(e.Str) == 0 {
		return 0, false
	}
	f, err := strconv.ParseFloat(unsafe.String(&e.Str[0], len(e.Str)), 64)
	if (err != nil && !errors.Is(err, strconv.ErrRange)) || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}

// First returns the first element's position, -1 if there is none.
func (p LP) First() int {
	if p[lpHeader] == lpEnd {
		return -1
	}
	return lpHeader
}

// Last returns the last element's position, -1 if there is none.
func (p LP) Last() int { return p.Prev(len(p) - 1) }

// Next returns the position after off's element, -1 at the end.
func (p LP) Next(off int) int {
	off = p.After(off)
	if p[off] == lpEnd {
		return -1
	}
	return off
}

// Prev returns the position before off, which may be the end byte's; -1 when
// off is the first element's.
func (p LP) Prev(off int) int {
	if off <= lpHeader {
		return -1
	}
	e, n := lpReadBacklen(p, off)
	return off - n - e
}

// After returns where off's element ends: the next element's position or the
// end byte's.
func (p LP) After(off int) int {
	e := p.entryLen(off)
	return off + e + lpBacklenSize(e)
}

// End returns the position of the end byte, where an insertion appends.
func (p LP) End() int { return len(p) - 1 }

// Count returns the number of elements. O(1) below 65535 elements, else O(n).
func (p LP) Count() int {
	if n := int(binary.LittleEndian.Uint16(p[4:])); n != lpCountUnknown {
		return n
	}
	n := 0
	for off := lpHeader; p[off] != lpEnd; off = p.After(off) {
		n++
	}
	return n
}

// entryLen returns the size of off's encoding and data.
func (p LP) entryLen(off int) int {
	switch b := p[off]; {
	case b < 0x80:
		return 1
	case b < 0xc0:
		return 1 + int(b&0x3f)
	case b < 0xe0:
		return 2
	case b < 0xf0:
		return 2 + int(b&0x0f)<<8 + int(p[off+1])
	case b == 0xf0:
		return 5 + int(binary.LittleEndian.Uint32(p[off+1:]))
	case b == 0xf1:
		return 3
	case b == 0xf2:
		return 4
	case b == 0xf3:
		return 5
	case b == 0xf4:
		return 9
	}
	panic(fmt.Sprintf("ds: listpack of %d bytes: no element at %d (byte %#x)", len(p), off, p[off]))
}

// Get returns the element at off.
func (p LP) Get(off int) Elem {
	b := p[off]
	switch {
	case b < 0x80:
		return Elem{Int: int64(b), IsInt: true}
	case b < 0xc0:
		n := int(b & 0x3f)
		return Elem{Str: p[off+1 : off+1+n : off+1+n]}
	case b < 0xe0:
		v := int64(b&0x1f)<<8 | int64(p[off+1])
		return Elem{Int: v << 51 >> 51, IsInt: true}
	case b < 0xf0:
		n := int(b&0x0f)<<8 + int(p[off+1])
		return Elem{Str: p[off+2 : off+2+n : off+2+n]}
	}
	switch b {
	case 0xf0:
		n := int(binary.LittleEndian.Uint32(p[off+1:]))
		return Elem{Str: p[off+5 : off+5+n : off+5+n]}
	case 0xf1:
		return Elem{Int: int64(int16(binary.LittleEndian.Uint16(p[off+1:]))), IsInt: true}
	case 0xf2:
		v := int64(p[off+1]) | int64(p[off+2])<<8 | int64(int8(p[off+3]))<<16
		return Elem{Int: v, IsInt: true}
	case 0xf3:
		return Elem{Int: int64(int32(binary.LittleEndian.Uint32(p[off+1:]))), IsInt: true}
	case 0xf4:
		return Elem{Int: int64(binary.LittleEndian.Uint64(p[off+1:])), IsInt: true}
	}
	panic(fmt.Sprintf("ds: listpack of %d bytes: no element at %d (byte %#x)", len(p), off, b))
}

// AppendElem appends the text of off's element.
func (p LP) AppendElem(dst []byte, off int) []byte { return p.Get(off).Append(dst) }

// Seek returns the position of element i, counted from the end when negative
// (-1 is the last); -1 when there is no such element. It walks from the nearer
// end.
func (p LP) Seek(i int) int {
	n := int(binary.LittleEndian.Uint16(p[4:]))
	if n != lpCountUnknown {
		if i >= n || i < -n {
			return -1
		}
		if i < 0 {
			i += n
		}
		if i > n/2 {
			i -= n
		}
	}
	if i >= 0 {
		off := lpHeader
		for ; p[off] != lpEnd; off = p.After(off) {
			if i == 0 {
				return off
			}
			i--
		}
		return -1
	}
	off := p.Last()
	for ; off >= 0 && i < -1; i++ {
		off = p.Prev(off)
	}
	return off
}

// Find returns the position of the first element at or after off whose text is
// elem, comparing one element, then passing over skip without comparing them
// (1 finds the keys among key-value pairs); -1 if there is none. off may be -1.
func (p LP) Find(off int, elem []byte, skip int) int {
	if off < 0 {
		return -1
	}
	want, wantInt := ParseInt(elem)
	pass := 0
	for off < len(p)-1 {
		b := p[off]
		if pass == 0 {
			head, n := 0, 0
			switch {
			case b >= 0x80 && b < 0xc0:
				head, n = 1, int(b&0x3f)
			case b >= 0xe0 && b < 0xf0:
				head, n = 2, int(b&0x0f)<<8+int(p[off+1])
			case b == 0xf0:
				head, n = 5, int(binary.LittleEndian.Uint32(p[off+1:]))
			default:
				if wantInt && p.Get(off).Int == want {
					return off
				}
			}
			if head != 0 && n == len(elem) && string(p[off+head:off+head+n]) == string(elem) {
				return off
			}
			pass = skip
		} else {
			pass--
		}
		off = p.After(off)
	}
	return -1
}

// LPIter walks a listpack: for it := p.Iter(); it.Next(); { use(it.Elem()) }.
type LPIter struct {
	p   LP
	off int // current element
	nxt int
}

// Iter returns an iterator before the first element.
func (p LP) Iter() LPIter { return LPIter{p: p, nxt: lpHeader} }

// Next moves to the next element and reports whether there is one.
func (it *LPIter) Next() bool {
	if it.nxt >= len(it.p)-1 {
		return false
	}
	it.off = it.nxt
	it.nxt = it.p.After(it.off)
	return true
}

// Elem returns the current element.
func (it *LPIter) Elem() Elem { return it.p.Get(it.off) }

// Offset returns the current element's position.
func (it *LPIter) Offset() int { return it.off }

// ValidateLP checks untrusted bytes: sizes, the end byte, every element and its
// backlen, the count. A listpack that passes cannot make a method of LP panic.
func ValidateLP(b []byte) error {
	_, err := lpWalkUntrusted(b)
	return err
}

// ValidateLPPairs checks as ValidateLP does, and that the count is even.
func ValidateLPPairs(b []byte) error {
	n, err := lpWalkUntrusted(b)
	if err == nil && n%2 != 0 {
		err = fmt.Errorf("ds: listpack of pairs has %d elements", n)
	}
	return err
}

func lpWalkUntrusted(b []byte) (n int, err error) {
	if len(b) < LPEmptySize || int64(len(b)) > math.MaxUint32 {
		return 0, fmt.Errorf("ds: listpack of %d bytes", len(b))
	}
	if total := binary.LittleEndian.Uint32(b); int(total) != len(b) {
		return 0, fmt.Errorf("ds: listpack of %d bytes says %d", len(b), total)
	}
	end := len(b) - 1
	if b[end] != lpEnd {
		return 0, fmt.Errorf("ds: listpack ends with %#x", b[end])
	}
	for off := lpHeader; off < end; n++ {
		e, head := lpUntrustedEntryLen(b[off:end])
		if head == 0 || e > end-off {
			return 0, fmt.Errorf("ds: listpack element %d at %d is cut or bad", n, off)
		}
		bl := lpBacklenSize(e)
		if bl > end-off-e {
			return 0, fmt.Errorf("ds: listpack element %d at %d is cut", n, off)
		}
		var want [5]byte
		lpPutBacklen(want[:], e)
		if !bytes.Equal(want[:bl], b[off+e:off+e+bl]) {
			return 0, fmt.Errorf("ds: listpack element %d at %d has a wrong backlen", n, off)
		}
		off += e + bl
	}
	if c := int(binary.LittleEndian.Uint16(b[4:])); c != lpCountUnknown && c != n {
		return 0, fmt.Errorf("ds: listpack of %d elements says %d", n, c)
	}
	return n, nil
}

// lpUntrustedEntryLen returns the size of the element b begins with, and that
// of its encoding bytes; head 0 means that b is too short or not an element.
func lpUntrustedEntryLen(b []byte) (e, head int) {
	c := b[0]
	switch {
	case c < 0x80:
		return 1, 1
	case c < 0xc0:
		return 1 + int(c&0x3f), 1
	case c < 0xe0:
		return 2, 1
	case c < 0xf0:
		if len(b) < 2 {
			return 0, 0
		}
		return 2 + int(c&0x0f)<<8 + int(b[1]), 2
	}
	switch c {
	case 0xf0:
		if len(b) < 5 {
			return 0, 0
		}
		return 5 + int(binary.LittleEndian.Uint32(b[1:])), 5
	case 0xf1:
		return 3, 1
	case 0xf2:
		return 4, 1
	case 0xf3:
		return 5, 1
	case 0xf4:
		return 9, 1
	}
	return 0, 0
}

// lpBacklenSize returns how many bytes the backlen of an element of e bytes
// takes. The limits are one less than 7-bit groups would need: both ends of
// every file and link count so.
func lpBacklenSize(e int) int {
	switch {
	case e <= 127:
		return 1
	case e < 16383:
		return 2
	case e < 2097151:
		return 3
	case e < 268435455:
		return 4
	}
	return 5
}

// lpPutBacklen writes e's backlen at the start of dst and returns its size.
func lpPutBacklen(dst []byte, e int) int {
	n := lpBacklenSize(e)
	for i := n - 1; i > 0; i-- {
		dst[i] = byte(e&0x7f) | 0x80
		e >>= 7
	}
	dst[0] = byte(e)
	return n
}

// lpReadBacklen reads the backlen that ends before end: its value and size.
func lpReadBacklen(p []byte, end int) (e, n int) {
	for shift := 0; ; shift += 7 {
		n++
		b := p[end-n]
		e |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			return e, n
		}
		if n == 5 {
			panic(fmt.Sprintf("ds: listpack of %d bytes: bad backlen before %d", len(p), end))
		}
	}
}

// ParseInt reads b as a canonical decimal: no sign but '-', no leading zeros,
// no "-0", within int64. Such text is the only one that encodings keep as an
// integer.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	i, neg := 0, b[0] == '-'
	if neg {
		i = 1
	}
	if i == len(b) || b[i] < '0' || b[i] > '9' || (b[i] == '0' && len(b) > 1) {
		return 0, false
	}
	var v uint64
	for ; i < len(b); i++ {
		d := b[i] - '0'
		if d > 9 {
			return 0, false
		}
		if v > (math.MaxUint64-9)/10 {
			return 0, false
		}
		v = v*10 + uint64(d)
	}
	if neg {
		if v > 1<<63 {
			return 0, false
		}
		return -int64(v), true
	}
	if v > math.MaxInt64 {
		return 0, false
	}
	return int64(v), true
}

func decimalLen(v int64) int {
	n, u := 1, uint64(v)
	if v < 0 {
		n, u = 2, -u
	}
	for ; u >= 10; u /= 10 {
		n++
	}
	return n
}
