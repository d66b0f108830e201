package rdb

import (
	"encoding/binary"
	"fmt"

	"github.com/skeindb/skein/internal/ds"
)

// A ziplist is what the listpack replaced; it is only read. Little endian but
// for string lengths:
//
//	| total u32 | offset of last entry u32 | count u16 | entry ... | ff |
//	0           4                          8           10
//
// count 0xffff means unknown. An entry is | prevLen | encoding | data |: prevLen
// is the size of the entry before, one byte up to 253, else fe and a u32; the
// first encoding byte is
//
//	00xxxxxx        string, 6-bit length
//	01xxxxxx b      string, 14-bit length, high bits first
//	80 u32 BE       string
//	c0 d0 e0        i16, i32, i64
//	f0              24-bit signed integer
//	f1..fd          the integer 0..12
//	fe              i8
//
// Source: persistence-replication.md 10.3.
type ziplist []byte

const (
	zlHeader       = 10
	zlEnd          = 0xff
	zlCountUnknown = 0xffff
)

// validate checks that every entry lies inside and that header, entries and back
// references agree. A ziplist that passes cannot make next go out of bounds.
// It returns the number of entries.
func (z ziplist) validate() (n int, err error) {
	if len(z) <= zlHeader {
		return 0, fmt.Errorf("ziplist of %d bytes", len(z))
	}
	if total := binary.LittleEndian.Uint32(z); int(total) != len(z) {
		return 0, fmt.Errorf("ziplist of %d bytes says %d", len(z), total)
	}
	end := len(z) - 1
	if z[end] != zlEnd {
		return 0, fmt.Errorf("ziplist ends with %#x", z[end])
	}
	last, before := zlHeader, 0
	for off := zlHeader; off < end; n++ {
		size, prev, ok := z.entry(off, end)
		if !ok {
			return 0, fmt.Errorf("ziplist entry %d at %d is cut or bad", n, off)
		}
		if prev != before {
			return 0, fmt.Errorf("ziplist entry %d says the one before has %d bytes, it has %d", n, prev, before)
		}
		last, before = off, size
		off += size
	}
	if tail := binary.LittleEndian.Uint32(z[4:]); int(tail) != last {
		return 0, fmt.Errorf("ziplist whose last entry is at %d says %d", last, tail)
	}
	if c := int(binary.LittleEndian.Uint16(z[8:])); c != zlCountUnknown && c != n {
		return 0, fmt.Errorf("ziplist of %d entries says %d", n, c)
	}
	return n, nil
}

// entry measures the entry at off, which must end at or before end.
func (z ziplist) entry(off, end int) (size, prev int, ok bool) {
	p := z[off:end]
	head := 1
	switch {
	case len(p) < 1 || p[0] == zlEnd:
		return 0, 0, false
	case p[0] < 0xfe:
		prev = int(p[0])
	default:
		if len(p) < 5 {
			return 0, 0, false
		}
		prev, head = int(binary.LittleEndian.Uint32(p[1:])), 5
	}
	start, n, ok := zlData(p[head:])
	if !ok || n > len(p)-head-start {
		return 0, 0, false
	}
	return head + start + n, prev, true
}

// zlData reads the encoding at the start of p: the data are n bytes from start.
func zlData(p []byte) (start, n int, ok bool) {
	if len(p) == 0 {
		return 0, 0, false
	}
	switch b := p[0]; b >> 6 {
	case 0:
		return 1, int(b), true
	case 1:
		if len(p) < 2 {
			return 0, 0, false
		}
		return 2, int(b&0x3f)<<8 | int(p[1]), true
	case 2:
		if b != 0x80 || len(p) < 5 {
			return 0, 0, false
		}
		return 5, int(binary.BigEndian.Uint32(p[1:])), true
	default:
		switch {
		case b == 0xc0:
			return 1, 2, true
		case b == 0xd0:
			return 1, 4, true
		case b == 0xe0:
			return 1, 8, true
		case b == 0xf0:
			return 1, 3, true
		case b == 0xfe:
			return 1, 1, true
		case b > 0xf0 && b <= 0xfd:
			return 1, 0, true
		}
		return 0, 0, false
	}
}

// next returns the element at off, which is zlHeader or a previous next, and the
// offset of the one after it; false at the end. The ziplist must be valid.
func (z ziplist) next(off int) (e ds.Elem, after int, ok bool) {
	if off >= len(z)-1 {
		return e, off, false
	}
	p := z[off:]
	head := 1
	if p[0] == 0xfe {
		head = 5
	}
	p = p[head:]
	start, n, _ := zlData(p)
	data := p[start : start+n : start+n]
	switch b := p[0]; {
	case b < 0xc0:
		e.Str = data
	case b > 0xf0 && b <= 0xfd:
		e = ds.Elem{Int: int64(b&0x0f) - 1, IsInt: true}
	default:
		var v uint64
		for i := n - 1; i >= 0; i-- {
			v = v<<8 | uint64(data[i])
		}
		shift := 64 - 8*uint(n)
		e = ds.Elem{Int: int64(v<<shift) >> shift, IsInt: true}
	}
	return e, off + head + start + n, true
}
