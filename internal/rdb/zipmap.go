package rdb

import (
	"encoding/binary"
	"fmt"
)

// A zipmap is the oldest small hash, written up to Redis 2.4; it is only read:
//
//	| count u8 | pair ... | ff |     pair: | keyLen | key | valueLen | free u8 | value | free unused bytes |
//
// count 254 and above means unknown. A length is one byte up to 253, or fe and a
// u32 LE. Source: persistence-replication.md 10.4.
type zipmap []byte

const (
	zmHeader       = 1
	zmEnd          = 0xff
	zmCountUnknown = 254
)

// validate checks that all pairs lie inside and returns their number. A zipmap
// that passes cannot make next go out of bounds.
func (z zipmap) validate() (n int, err error) {
	if len(z) < 2 {
		return 0, fmt.Errorf("zipmap of %d bytes", len(z))
	}
	end := len(z) - 1
	if z[end] != zmEnd {
		return 0, fmt.Errorf("zipmap ends with %#x", z[end])
	}
	for off := zmHeader; off < end; n++ {
		_, _, after, ok := z.pair(off)
		if !ok {
			return 0, fmt.Errorf("zipmap pair %d at %d is cut or bad", n, off)
		}
		off = after
	}
	if c := int(z[0]); c < zmCountUnknown && c != n {
		return 0, fmt.Errorf("zipmap of %d pairs says %d", n, c)
	}
	return n, nil
}

// next returns the pair at off, which is zmHeader or a previous next, and the
// offset of the one after it; false at the end.
func (z zipmap) next(off int) (key, value []byte, after int, ok bool) {
	if off >= len(z)-1 {
		return nil, nil, off, false
	}
	return z.pair(off)
}

// pair reads the pair at off without leaving the part before the end byte.
func (z zipmap) pair(off int) (key, value []byte, after int, ok bool) {
	p := z[:len(z)-1]
	n, off, ok := zmLen(p, off)
	if !ok || n > len(p)-off {
		return nil, nil, off, false
	}
	key = p[off : off+n : off+n]
	n, off, ok = zmLen(p, off+n)
	if !ok || off >= len(p) {
		return nil, nil, off, false
	}
	free := int(p[off])
	off++
	if n > len(p)-off || free > len(p)-off-n {
		return nil, nil, off, false
	}
	return key, p[off : off+n : off+n], off + n + free, true
}

// zmLen reads a length at off and returns the offset after it.
func zmLen(p []byte, off int) (n, after int, ok bool) {
	if off >= len(p) {
		return 0, off, false
	}
	switch b := p[off]; {
	case b < 0xfe:
		return int(b), off + 1, true
	case b == 0xfe && len(p)-off >= 5:
		return int(binary.LittleEndian.Uint32(p[off+1:])), off + 5, true
	}
	return 0, off, false
}
