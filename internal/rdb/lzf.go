package rdb

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// LZF is a sequence of items, told apart by the top three bits of the first byte:
//
//	000nnnnn                     n+1 literal bytes follow
//	lllddddd dddddddd            copy l+2 bytes, l in 1..6
//	111ddddd llllllll dddddddd   copy l+9 bytes
//
// A copy starts d+1 bytes back in the output and may overlap what it writes.
const (
	lzfMaxLiteral  = 32
	lzfMaxDistance = 8192
	lzfMinCopy     = 3
	lzfMaxCopy     = 264
	lzfMaxRatio    = lzfMaxCopy/3 + 1 // a copy of 264 bytes costs three
)

var errLZF = errors.New("LZF data is damaged")

// appendLZF appends src in LZF form to dst if that takes at most limit bytes;
// otherwise it returns dst as it was and false. Allocates only to grow dst.
func appendLZF(dst, src []byte, limit int) ([]byte, bool) {
	if len(src) <= 1024 {
		return lzfSmall(dst, src, limit)
	}
	return lzfLarge(dst, src, limit)
}

// The two differ in the size of the position table, because clearing a large
// one costs more than compressing a short string.
func lzfSmall(dst, src []byte, limit int) ([]byte, bool) {
	var table [1 << 8]uint32
	return lzfCompress(dst, src, table[:], 32-8, limit)
}

func lzfLarge(dst, src []byte, limit int) ([]byte, bool) {
	var table [1 << 13]uint32
	return lzfCompress(dst, src, table[:], 32-13, limit)
}

// lzfCompress is greedy: table maps a hash of three bytes to one past the last
// position where they were seen, 0 for never. After misses it looks at fewer
// positions, so that data without repetitions is given up on cheaply.
func lzfCompress(dst, src []byte, table []uint32, shift uint8, limit int) ([]byte, bool) {
	if len(src) >= 1<<32-1 {
		return dst, false
	}
	start := len(dst)
	literal := 0 // first byte not yet written
	misses := 0
	for i := 0; i+4 <= len(src); {
		word := binary.LittleEndian.Uint32(src[i:]) << 8 // the three bytes, in the upper part
		slot := &table[word*2654435761>>shift]
		seen := int(*slot) - 1
		*slot = uint32(i + 1)
		if seen < 0 || i-seen > lzfMaxDistance || binary.LittleEndian.Uint32(src[seen:])<<8 != word {
			misses++
			i += 1 + misses>>6
			continue
		}
		misses = 0
		n := lzfMinCopy + lzfMatch(src[seen+lzfMinCopy:], src[i+lzfMinCopy:min(len(src), i+lzfMaxCopy)])
		dst = lzfLiterals(dst, src[literal:i])
		d := i - seen - 1
		if n < 9 {
			dst = append(dst, byte((n-2)<<5|d>>8), byte(d))
		} else {
			dst = append(dst, byte(7<<5|d>>8), byte(n-9), byte(d))
		}
		if len(dst)-start > limit {
			return dst[:start], false
		}
		i += n
		literal = i
	}
	if rest := len(src) - literal; len(dst)-start+rest+(rest+lzfMaxLiteral-1)/lzfMaxLiteral > limit {
		return dst[:start], false
	}
	return lzfLiterals(dst, src[literal:]), true
}

// lzfMatch counts the bytes that a, which is the longer, has in common with b.
func lzfMatch(a, b []byte) int {
	n := 0
	for len(b)-n >= 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func lzfLiterals(dst, p []byte) []byte {
	for len(p) > 0 {
		n := min(len(p), lzfMaxLiteral)
		dst = append(dst, byte(n-1))
		dst = append(dst, p[:n]...)
		p = p[n:]
	}
	return dst
}

// expandLZF appends to dst what src stands for, which must be exactly size
// bytes. It never makes dst longer than that; a size that src cannot reach is
// refused before anything is allocated.
func expandLZF(dst, src []byte, size uint64) ([]byte, error) {
	if size > uint64(len(src))*lzfMaxRatio {
		return dst, errLZF
	}
	start := len(dst)
	end := start + int(size)
	if cap(dst) < end {
		dst = append(make([]byte, 0, end), dst...)
	}
	out := dst[:end]
	o := start
	for i := 0; i < len(src); {
		c := int(src[i])
		i++
		if c < lzfMaxLiteral {
			n := c + 1
			if n > len(src)-i || n > end-o {
				return dst, errLZF
			}
			copy(out[o:], src[i:i+n])
			o, i = o+n, i+n
			continue
		}
		n := c >> 5
		if n == 7 {
			if i == len(src) {
				return dst, errLZF
			}
			n += int(src[i])
			i++
		}
		if i == len(src) {
			return dst, errLZF
		}
		n += 2
		from := o - (c&0x1f<<8 | int(src[i])) - 1
		i++
		if from < start || n > end-o {
			return dst, errLZF
		}
		if o-from >= n {
			copy(out[o:o+n], out[from:])
		} else {
			for k := range n {
				out[o+k] = out[from+k]
			}
		}
		o += n
	}
	if o != end {
		return dst, errLZF
	}
	return out, nil
}
