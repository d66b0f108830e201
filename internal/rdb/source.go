package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// ErrCorrupt is what errors.Is finds in the error of input that is not RDB. Input
// that ends too early has io.ErrUnexpectedEOF instead, and a source that fails
// its own error.
var ErrCorrupt = errors.New("corrupt data")

// FormatError says where reading stopped and what was being read.
type FormatError struct {
	Offset int64  // in the input, of the first byte not understood
	What   string // such as "key" or "zset score"
	Err    error
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("rdb: offset %d: %s: %v", e.Offset, e.What, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }

// Sizes of the window over the input. It grows past minWindow only as bytes
// arrive, at most doubling each time, and shrinks again after a large value.
const (
	minWindow  = 64 << 10
	keepWindow = 1 << 20
)

// source reads primitives from a sliding window over the input:
//
//	buf  | counted in crc | consumed | not consumed | free |
//	     0               crcAt       r              w      len(buf)
//	base is the input offset of buf[0].
//
// In a load that uses all cores the window is a block of a pipeline (parallel.go):
// what is consumed is handed over to it with the block instead of being counted in
// crc, and what lies from held on stays in the window though it is consumed.
//
// The first error sticks: every later read returns zero values, so that callers
// may check once after several reads. Slices that reads return are views of the
// window or of a scratch buffer, valid until the next read.
type source struct {
	src      io.Reader // nil: buf is the whole input and is never written to
	buf      []byte
	r, w     int
	crcAt    int
	base     int64
	crc      uint64
	checksum bool // keep crc
	pipe     *pipeline
	held     int // -1: nothing
	what     string
	err      error
	text     [20]byte // integer strings
	expanded []byte   // LZF strings
}

// reset makes the source read from src.
func (s *source) reset(src io.Reader) {
	buf := s.buf
	if s.src == nil || len(buf) == 0 {
		buf = make([]byte, minWindow)
	}
	*s = source{src: src, buf: buf, checksum: true, held: -1, expanded: s.expanded}
}

// resetBytes makes the source read p, which it keeps and does not modify.
func (s *source) resetBytes(p []byte) {
	*s = source{buf: p, w: len(p), held: -1, expanded: s.expanded}
}

func (s *source) offset() int64 { return s.base + int64(s.r) }

// fail records the first error.
func (s *source) fail(err error) {
	if s.err == nil {
		s.err = &FormatError{Offset: s.offset(), What: s.what, Err: err}
	}
}

// corrupt records damage: the reason in words.
func (s *source) corrupt(format string, args ...any) {
	if s.err == nil {
		s.fail(fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...)))
	}
}

// take consumes n bytes. It returns nil after an error.
func (s *source) take(n int) []byte {
	if s.err != nil || !s.fill(n) {
		return nil
	}
	p := s.buf[s.r : s.r+n : s.r+n]
	s.r += n
	return p
}

// fill makes at least n bytes available from r on.
func (s *source) fill(n int) bool {
	if s.w-s.r >= n {
		return true
	}
	if s.src == nil {
		s.fail(io.ErrUnexpectedEOF)
		return false
	}
	if s.pipe == nil || s.r+n > len(s.buf) {
		s.slide(n)
	}
	for empty := 0; s.w-s.r < n; {
		if s.w == len(s.buf) {
			if s.held >= 0 && len(s.buf) >= s.pipe.maxHeld {
				s.fail(errHeld)
				return false
			}
			size := 2 * len(s.buf)
			if s.held < 0 {
				size = min(size, max(n, minWindow))
			}
			grown := make([]byte, size)
			copy(grown, s.buf)
			s.buf = grown
		}
		end := len(s.buf)
		if s.pipe != nil { // a big buffer is for one record, not for what is behind it
			end = min(end, max(s.w+blockSize, s.r+n))
		}
		got, err := s.src.Read(s.buf[s.w:end])
		s.w += got
		if s.w-s.r >= n {
			return true
		}
		if got > 0 {
			empty = 0
		} else if empty++; empty == 100 && err == nil {
			err = io.ErrNoProgress
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			s.fail(err)
			return false
		}
	}
	return true
}

// slide drops what is consumed from the window, or takes another one, for n bytes
// to come.
func (s *source) slide(n int) {
	from := s.r
	if s.held >= 0 {
		from = s.held
	}
	old := s.buf
	if s.pipe != nil {
		if from == 0 {
			return
		}
		s.buf = s.pipe.exchange(from)
	} else {
		s.sum()
		if from == 0 {
			return
		}
		if len(old) > keepWindow && s.w-s.r <= minWindow && n <= minWindow {
			s.buf = make([]byte, minWindow)
		}
	}
	s.w = copy(s.buf, old[from:s.w])
	s.base += int64(from)
	s.r -= from
	if s.held >= 0 {
		s.held = 0
	}
	s.crcAt = 0
}

// total returns the checksum of all that is consumed.
func (s *source) total() uint64 {
	if s.pipe != nil {
		return s.pipe.total()
	}
	s.sum()
	return s.crc
}

// sum brings the checksum up to what is consumed.
func (s *source) sum() {
	if s.checksum {
		s.crc = CRC64(s.crc, s.buf[s.crcAt:s.r])
	}
	s.crcAt = s.r
}

// u8 reads one byte.
func (s *source) u8() byte {
	if s.r < s.w && s.err == nil {
		b := s.buf[s.r]
		s.r++
		return b
	}
	if p := s.take(1); p != nil {
		return p[0]
	}
	return 0
}

// u64 reads eight bytes, little endian.
func (s *source) u64() uint64 {
	if p := s.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

// double reads a binary double, which must be a number.
func (s *source) double() float64 {
	f := math.Float64frombits(s.u64())
	if math.IsNaN(f) {
		s.corrupt("not a number")
		return 0
	}
	return f
}

// textDouble reads a score of type 3: n u8, then n characters; n may also be
// 253 for NaN, 254 for +inf, 255 for -inf.
func (s *source) textDouble() float64 {
	switch n := s.u8(); n {
	case 253:
		s.corrupt("not a number")
		return 0
	case 254:
		return math.Inf(1)
	case 255:
		return math.Inf(-1)
	default:
		p := s.take(int(n))
		if s.err != nil {
			return 0
		}
		f, err := strconv.ParseFloat(string(p), 64)
		if err != nil || math.IsNaN(f) {
			s.corrupt("score %q", p)
			return 0
		}
		return f
	}
}

// length reads a length.
func (s *source) length() uint64 {
	n, form := s.lengthOrForm()
	if form != 0 {
		s.corrupt("string form %#x where a length is due", form)
		return 0
	}
	return n
}

// lengthOrForm reads a length, or the first byte of a specially encoded string,
// which it returns as form.
func (s *source) lengthOrForm() (n uint64, form byte) {
	b := s.u8()
	switch b & special {
	case 0:
		return uint64(b), 0
	case len14:
		return uint64(b&0x3f)<<8 | uint64(s.u8()), 0
	case special:
		return 0, b
	}
	switch b {
	case len32:
		if p := s.take(4); p != nil {
			return uint64(binary.BigEndian.Uint32(p)), 0
		}
	case len64:
		if p := s.take(8); p != nil {
			return binary.BigEndian.Uint64(p), 0
		}
	default:
		s.corrupt("length byte %#x", b)
	}
	return 0, 0
}

// str reads a string in any form.
func (s *source) str() []byte {
	n, form := s.lengthOrForm()
	switch form {
	case 0:
		if n > math.MaxInt32<<10 { // no process holds such a string
			s.corrupt("string of %d bytes", n)
			return nil
		}
		return s.take(int(n))
	case strInt8:
		return strconv.AppendInt(s.text[:0], int64(int8(s.u8())), 10)
	case strInt16:
		if p := s.take(2); p != nil {
			return strconv.AppendInt(s.text[:0], int64(int16(binary.LittleEndian.Uint16(p))), 10)
		}
	case strInt32:
		if p := s.take(4); p != nil {
			return strconv.AppendInt(s.text[:0], int64(int32(binary.LittleEndian.Uint32(p))), 10)
		}
	case strLZF:
		return s.lzfString()
	default:
		s.corrupt("string form %#x", form)
	}
	return nil
}

func (s *source) lzfString() []byte {
	packed, size := s.length(), s.length()
	if s.err == nil && packed > math.MaxInt32<<10 {
		s.corrupt("compressed string of %d bytes", packed)
	}
	p := s.take(int(packed))
	if s.err != nil {
		return nil
	}
	if cap(s.expanded) > keepWindow && size <= minWindow {
		s.expanded = nil
	}
	out, err := expandLZF(s.expanded[:0], p, size)
	if err != nil {
		s.corrupt("%v", err)
		return nil
	}
	s.expanded = out
	return out
}

// skipString passes over a string without expanding or, if it is long, holding
// it; form errors are still found.
func (s *source) skipString() {
	n, form := s.lengthOrForm()
	switch form {
	case 0:
	case strInt8:
		n = 1
	case strInt16:
		n = 2
	case strInt32:
		n = 4
	case strLZF:
		n = s.length()
		s.length()
	default:
		s.corrupt("string form %#x", form)
	}
	s.skip(n)
}

// skip passes over n bytes.
func (s *source) skip(n uint64) {
	for n > 0 && s.err == nil {
		step := min(n, minWindow)
		s.take(int(step))
		n -= step
	}
}
