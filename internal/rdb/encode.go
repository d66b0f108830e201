package rdb

import (
	"encoding/binary"
	"math"
	"strconv"
)

// AppendLen appends a length in its shortest form.
func AppendLen(dst []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, len14|byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, len32), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, len64), n)
}

// Strings longer than this are worth a try at compression, which must then save
// at least four bytes. Shorter ones than the second may be an integer.
const (
	lzfMinString = 20
	lzfMinGain   = 4
	maxIntString = 11
)

// AppendString appends s in the form a Redis server chooses: as an integer if it
// reads as a canonical 32-bit one, LZF if compress is set and it pays, else raw.
func AppendString(dst, s []byte, compress bool) []byte {
	if len(s) <= maxIntString {
		if n, ok := canonicalInt32(s); ok {
			return appendIntString(dst, n)
		}
	}
	if compress && len(s) > lzfMinString {
		if out, ok := appendLZFString(dst, s); ok {
			return out
		}
	}
	dst = AppendLen(dst, uint64(len(s)))
	return append(dst, s...)
}

// AppendInt appends the decimal text of n as a string.
func AppendInt(dst []byte, n int64) []byte {
	if int64(int32(n)) == n {
		return appendIntString(dst, int32(n))
	}
	var text [20]byte
	s := strconv.AppendInt(text[:0], n, 10)
	dst = AppendLen(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendIntString(dst []byte, n int32) []byte {
	switch {
	case n == int32(int8(n)):
		return append(dst, strInt8, byte(n))
	case n == int32(int16(n)):
		return append(dst, strInt16, byte(n), byte(n>>8))
	}
	return binary.LittleEndian.AppendUint32(append(dst, strInt32), uint32(n))
}

// appendLZFString appends | c3 | len(clen) | len(ulen) | clen bytes |.
// The size of clen is known only afterwards, so the data are first put where
// they would end up with the longest length, then moved down.
func appendLZFString(dst, s []byte) ([]byte, bool) {
	const room = 1 + 9 + 9
	start := len(dst)
	var hole [room]byte
	dst = append(dst, hole[:]...)
	dst, ok := appendLZF(dst, s, len(s)-lzfMinGain)
	if !ok {
		return dst[:start], false
	}
	data := dst[start+room:]
	head := append(dst[:start], strLZF)
	head = AppendLen(head, uint64(len(data)))
	head = AppendLen(head, uint64(len(s)))
	return append(head, data...), true
}

// canonicalInt32 reads s as the text that strconv would print for an int32.
func canonicalInt32(s []byte) (int32, bool) {
	digits := s
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 10 || digits[0] == '0' && len(s) > 1 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) != len(s) {
		n = -n
	}
	return int32(n), int64(int32(n)) == n
}

// AppendDouble appends a binary double, as the scores of type 5 are stored.
func AppendDouble(dst []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
}

// AppendMs appends a time or a period in milliseconds.
func AppendMs(dst []byte, ms int64) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(ms))
}

// AppendHeader appends the nine bytes that start a file.
func AppendHeader(dst []byte, version int) []byte {
	return append(dst, 'R', 'E', 'D', 'I', 'S',
		byte('0'+version/1000%10), byte('0'+version/100%10), byte('0'+version/10%10), byte('0'+version%10))
}

// AppendAux appends a named fact about the file.
func AppendAux(dst []byte, name, value string) []byte {
	dst = append(dst, opAux)
	dst = AppendString(dst, []byte(name), false)
	return AppendString(dst, []byte(value), false)
}

// AppendSelectDB says that the following keys belong to database db.
func AppendSelectDB(dst []byte, db int) []byte {
	return AppendLen(append(dst, opSelectDB), uint64(db))
}

// AppendSizes announces how many keys follow in this database, and how many of
// them expire. Readers use it to size their tables, so it need not be exact.
func AppendSizes(dst []byte, keys, expiring uint64) []byte {
	return AppendLen(AppendLen(append(dst, opResizeDB), keys), expiring)
}

// AppendFunction appends the source of one function library.
func AppendFunction(dst, source []byte, compress bool) []byte {
	return AppendString(append(dst, opFunction2), source, compress)
}

// Key is what a file says about a key besides its value. Name is borrowed.
type Key struct {
	Name       []byte
	DB         int
	ExpireAtMs int64 // Unix time; 0 means never
	IdleSec    int64 // since the last use; NoIdle if the file does not say
	Freq       int   // LFU counter 0..255; NoFreq if the file does not say
}

// Values of Key fields that were not given.
const (
	NoIdle = -1
	NoFreq = -1
)

// AppendKey appends what stands before the body of a value:
//
//	[fc expireAtMs i64] [f8 len(idle)] [f9 freq u8] | type u8 | str(name)
//
// The database is not part of it (AppendSelectDB).
func AppendKey(dst []byte, k *Key, t Type, compress bool) []byte {
	if k.ExpireAtMs != 0 {
		dst = AppendMs(append(dst, opExpireMs), k.ExpireAtMs)
	}
	if k.IdleSec >= 0 {
		dst = AppendLen(append(dst, opIdle), uint64(k.IdleSec))
	}
	if k.Freq >= 0 {
		dst = append(dst, opFreq, byte(k.Freq))
	}
	return AppendString(append(dst, byte(t)), k.Name, compress)
}
