package rdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// These files are made byte by byte, with every form that a value had in each
// version of the format: those of real servers (oldfiles_test.go) do not hold all,
// and end at version 7.

// zlRaw makes a ziplist of entries that are | encoding | data |. wide says which of
// them give the size of the one before in five bytes though one would do, as
// deletions leave it.
func zlRaw(entries [][]byte, wide ...int) []byte {
	z := make([]byte, zlHeader)
	prev, last := 0, zlHeader
	for i, e := range entries {
		last = len(z)
		if prev >= 254 || slices.Contains(wide, i) {
			z = binary.LittleEndian.AppendUint32(append(z, 0xfe), uint32(prev))
		} else {
			z = append(z, byte(prev))
		}
		z = append(z, e...)
		prev = len(z) - last
	}
	z = append(z, zlEnd)
	binary.LittleEndian.PutUint32(z, uint32(len(z)))
	binary.LittleEndian.PutUint32(z[4:], uint32(last))
	binary.LittleEndian.PutUint16(z[8:], uint16(len(entries)))
	return z
}

// zlText is an entry of a string, in the form for its length.
func zlText(s string) []byte {
	switch n := len(s); {
	case n < 64:
		return append([]byte{byte(n)}, s...)
	case n < 1<<14:
		return append([]byte{0x40 | byte(n>>8), byte(n)}, s...)
	default:
		return append(binary.BigEndian.AppendUint32([]byte{0x80}, uint32(n)), s...)
	}
}

// zlInt is an entry of an integer, in the smallest form.
func zlInt(v int64) []byte {
	le := func(code byte, n int) []byte {
		return append([]byte{code}, binary.LittleEndian.AppendUint64(nil, uint64(v))[:n]...)
	}
	switch {
	case v >= 0 && v <= 12:
		return []byte{0xf1 + byte(v)}
	case v == int64(int8(v)):
		return le(0xfe, 1)
	case v == int64(int16(v)):
		return le(0xc0, 2)
	case v >= -1<<23 && v < 1<<23:
		return le(0xf0, 3)
	case v == int64(int32(v)):
		return le(0xd0, 4)
	}
	return le(0xe0, 8)
}

// zmLength is a length of a zipmap.
func zmLength(n int) []byte {
	if n < 254 {
		return []byte{byte(n)}
	}
	return binary.LittleEndian.AppendUint32([]byte{0xfe}, uint32(n))
}

// zipmapOf makes a zipmap of pairs, with some unused bytes behind each value.
func zipmapOf(free int, pairs ...string) []byte {
	z := []byte{byte(min(len(pairs)/2, 254))}
	for i := 0; i < len(pairs); i += 2 {
		k, v := pairs[i], pairs[i+1]
		z = append(append(z, zmLength(len(k))...), k...)
		z = append(append(z, zmLength(len(v))...), byte(free))
		z = append(append(z, v...), bytes.Repeat([]byte{0xaa}, free)...)
	}
	return append(z, 0xff)
}

// intsetOf makes an intset with elements of width bytes, sorted already.
func intsetOf(width int, elems ...int64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(width))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(elems)))
	for _, e := range elems {
		b = append(b, binary.LittleEndian.AppendUint64(nil, uint64(e))[:width]...)
	}
	return b
}

// raw is a string as it is, with the shortest length.
func raw(s string) []byte { return AppendString(nil, []byte(s), false) }

// lzf is a string in compressed form.
func lzf(s []byte) []byte {
	p, ok := appendLZFString(nil, s)
	if !ok {
		panic(fmt.Sprintf("%q does not compress", s))
	}
	return p
}

// scoreText is a score of type 3.
func scoreText(s string) []byte {
	switch s {
	case "inf":
		return []byte{254}
	case "-inf":
		return []byte{255}
	}
	return append([]byte{byte(len(s))}, s...)
}

// streamBody is what follows the type byte of a stream: two nodes, a group with two
// consumers and what they have not acknowledged. Versions differ in what they add.
func streamBody(t Type) []byte {
	id := func(b []byte, ms, seq uint64) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, ms), seq)
	}
	at := func(b []byte, ms int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(ms)) }
	node := func(base uint64, vals ...string) []byte {
		e := []string{strconv.Itoa(len(vals)), "0", "1", "f", "0"} // entries, deleted, the fields of the first
		for i, v := range vals {
			e = append(e, "2", "0", strconv.Itoa(i), v, "4") // same fields, the id minus the node's
		}
		return append(AppendString(nil, id(nil, base, 0), false), AppendString(nil, lpOf(e...), false)...)
	}
	b := AppendLen(nil, 2)
	b = append(b, node(1000, "a", "b", "c")...)
	b = append(b, node(2000, "d", strings.Repeat("e", 300))...)
	b = AppendLen(b, 5)
	b = AppendLen(AppendLen(b, 2000), 7) // last id
	if t >= TypeStream2 {
		b = AppendLen(AppendLen(b, 1000), 0) // first
		b = AppendLen(AppendLen(b, 1500), 3) // last deleted
		b = AppendLen(b, 9)                  // ever added
	}
	b = AppendLen(b, 2)
	b = append(b, raw("empty")...)
	b = AppendLen(AppendLen(b, 0), 0)
	if t >= TypeStream2 {
		b = AppendLen(b, 0)
	}
	b = AppendLen(AppendLen(b, 0), 0) // nothing pending, no consumers
	b = append(b, raw("group")...)
	b = AppendLen(AppendLen(b, 2000), 0)
	if t >= TypeStream2 {
		b = AppendLen(b, 7)
	}
	b = AppendLen(b, 3)
	for i, ms := range []uint64{1000, 1000, 2000} {
		b = AppendLen(at(id(b, ms, uint64(i%2)), 1700000000000), uint64(i+1))
	}
	b = AppendLen(b, 2)
	b = at(append(b, raw("alice")...), 1700000001000)
	if t >= TypeStream3 {
		b = at(b, 1700000000500)
	}
	b = id(id(AppendLen(b, 2), 1000, 0), 2000, 0)
	b = at(append(b, raw("bob")...), 1700000002000)
	if t >= TypeStream3 {
		b = at(b, 1700000000600)
	}
	return id(AppendLen(b, 1), 1000, 1)
}

// oldForm is a key of a file: what stands before its type byte, the type, the value.
type oldForm struct {
	name   string
	since  int // version of the format
	before []byte
	typ    Type
	value  []byte
}

func oldForms() []oldForm {
	cat := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	counted := func(n int, elem func(i int) []byte) []byte {
		b := AppendLen(nil, uint64(n))
		for i := range n {
			b = append(b, elem(i)...)
		}
		return b
	}
	long := strings.Repeat("value ", 60)
	var zl, zlPairs, zlScores [][]byte
	for _, v := range []int64{0, 12, 13, -1, 127, -128, 128, -32768, 32767, 32768, -1 << 23, 1<<23 - 1, 1 << 23, math.MinInt32, math.MaxInt32, math.MaxInt32 + 1, math.MinInt64, math.MaxInt64} {
		zl = append(zl, zlInt(v))
		zlPairs = append(zlPairs, zlText(fmt.Sprint("field", v)), zlInt(v))
		zlScores = append(zlScores, zlText(fmt.Sprint("member", v)))
		if v == int64(float64(v)) && v != math.MaxInt64 {
			zlScores = append(zlScores, zlInt(v))
		} else {
			zlScores = append(zlScores, zlText("1.5"))
		}
	}
	slices.SortFunc(zl, bytes.Compare) // any order
	for _, s := range []string{"", "text", strings.Repeat("x", 63), strings.Repeat("y", 64), strings.Repeat("z", 252), strings.Repeat("w", 253), "after a long one", strings.Repeat("v", 16384), "end"} {
		zl = append(zl, zlText(s))
		if s != "end" {
			zlPairs = append(zlPairs, zlText("f"+strconv.Itoa(len(s))), zlText(s))
		}
	}
	// By score, as they must stand.
	sorted := [][]byte{zlText("low"), zlText("-inf"), zlText("m1"), zlInt(-70000), zlText("m2"), zlInt(-1), zlInt(5), zlInt(0), zlText("m3"), zlText("0.10000000000000001"), zlText("m4"), zlInt(3), zlText("high"), zlText("inf")}
	forms := []oldForm{
		{"raw", 1, nil, TypeString, raw("text")},
		{"empty", 1, nil, TypeString, []byte{0}},
		{"int8", 1, nil, TypeString, []byte{strInt8, 0x85}},
		{"int16", 1, nil, TypeString, []byte{strInt16, 0x00, 0x80}},
		{"int32", 1, nil, TypeString, []byte{strInt32, 0xff, 0xff, 0xff, 0x7f}},
		{"lzf", 1, nil, TypeString, lzf([]byte(long))},
		{"wide length", 1, nil, TypeString, []byte{len32, 0, 0, 0, 3, 'a', 'b', 'c'}},
		{"length of 14 bits for a short one", 1, nil, TypeString, []byte{len14, 3, 'a', 'b', 'c'}},
		{strings.Repeat("long key ", 20), 1, nil, TypeString, raw("v")},
		{"list", 1, nil, TypeList, counted(700, func(i int) []byte { return raw(fmt.Sprint("elem", i)) })},
		{"list of all string forms", 1, nil, TypeList, cat([]byte{4}, raw("a"), []byte{strInt8, 0xff}, []byte{strInt32, 0, 0, 1, 0}, lzf([]byte(long)))},
		{"set", 1, nil, TypeSet, counted(700, func(i int) []byte { return raw(fmt.Sprint("elem", i)) })},
		{"set of integers", 1, nil, TypeSet, counted(40, func(i int) []byte { return AppendInt(nil, int64(i)*1000-7) })},
		{"small set", 1, nil, TypeSet, cat([]byte{2}, raw("a"), raw("b"))},
		{"zset of texts", 1, nil, TypeZSetText, cat([]byte{7}, raw("a"), scoreText("1.5"), raw("b"), scoreText("inf"), raw("c"), scoreText("-inf"), raw("d"), scoreText("-0"),
			raw("e"), scoreText("3.0000000000000001e+100"), raw("f"), scoreText("0.10000000000000001"), raw("g"), scoreText("-17"))},
		{"big zset of texts", 1, nil, TypeZSetText, counted(500, func(i int) []byte {
			return cat(raw(fmt.Sprint("m", i)), scoreText(strconv.FormatFloat(float64(i)/3, 'g', 17, 64)))
		})},
		{"hash", 1, nil, TypeHash, counted(700, func(i int) []byte { return cat(raw(fmt.Sprint("f", i)), AppendInt(nil, int64(i))) })},
		{"small hash", 1, nil, TypeHash, cat([]byte{1}, raw("f"), lzf([]byte(long)))},
		{"zipmap", 1, nil, TypeHashZipmap, raw(string(zipmapOf(0, "k", "v", "id", "42", "", "")))},
		{"zipmap with unused bytes", 1, nil, TypeHashZipmap, raw(string(zipmapOf(3, "k", "v", "k2", "v2")))},
		{"zipmap of long ones", 1, nil, TypeHashZipmap, lzf(zipmapOf(0, strings.Repeat("k", 253), strings.Repeat("v", 254), strings.Repeat("K", 300), strings.Repeat("V", 70000)))},
		{"in the past", 1, []byte{opExpireSec, 0, 0xe4, 0x0b, 0x54}, TypeString, raw("v")},
		{"until 2038", 1, []byte{opExpireSec, 0xff, 0xff, 0xff, 0x7f}, TypeString, raw("v")},
		{"before the epoch", 1, []byte{opExpireSec, 0xfe, 0xff, 0xff, 0xff}, TypeString, raw("v")},
		{"ziplist", 2, nil, TypeListZiplist, AppendString(nil, zlRaw(zl), false)},
		{"ziplist in compressed form", 2, nil, TypeListZiplist, lzf(zlRaw(zl, 3, 4, 20))},
		{"zset in a ziplist", 2, nil, TypeZSetZiplist, AppendString(nil, zlRaw(sorted), false)},
		{"hash in a ziplist", 2, nil, TypeHashZiplist, AppendString(nil, zlRaw(zlPairs), false)},
		{"intset of 2 bytes", 2, nil, TypeSetIntset, AppendString(nil, intsetOf(2, -32768, -1, 0, 32767), false)},
		{"intset of 4 bytes", 2, nil, TypeSetIntset, AppendString(nil, intsetOf(4, math.MinInt32, 5, math.MaxInt32), false)},
		{"intset of 8 bytes", 2, nil, TypeSetIntset, AppendString(nil, intsetOf(8, math.MinInt64, 5, math.MaxInt64), false)},
		{"milliseconds", 3, AppendMs([]byte{opExpireMs}, 5000000000123), TypeString, raw("v")},
		{"milliseconds in the past", 3, AppendMs([]byte{opExpireMs}, 1000000000123), TypeHashZiplist, AppendString(nil, zlRaw(zlPairs), false)},
		{"quicklist", 7, nil, TypeListQuicklist, cat([]byte{4}, AppendString(nil, zlRaw(zl), false), lzf(zlRaw(zl, 1)), AppendString(nil, zlRaw([][]byte{zlText("one")}), false), AppendString(nil, zlRaw([][]byte{zlInt(7), zlInt(8)}), false))},
		{"zset of doubles", 8, nil, TypeZSet, cat([]byte{5}, AppendDouble(raw("a"), 0.1), AppendDouble(raw("b"), math.Inf(1)), AppendDouble(raw("c"), math.Inf(-1)), AppendDouble(raw("d"), 5e-324), AppendDouble(raw("e"), -math.MaxFloat64))},
		{"big zset of doubles", 8, nil, TypeZSet, counted(500, func(i int) []byte { return AppendDouble(raw(fmt.Sprint("m", i)), float64(i)/3) })},
		{"stream", 9, nil, TypeStream1, streamBody(TypeStream1)},
		{"stream without entries", 9, nil, TypeStream1, cat([]byte{0}, AppendLen(nil, 0), AppendLen(AppendLen(nil, 1234), 5), []byte{0})},
		{"idle", 9, AppendLen([]byte{opIdle}, 100000), TypeString, raw("v")},
		{"idle and in time", 9, append(AppendMs([]byte{opExpireMs}, 5000000000000), opIdle, 9), TypeListZiplist, AppendString(nil, zlRaw(zl), false)},
		{"often", 9, []byte{opFreq, 200}, TypeString, raw("v")},
		{"listpack hash", 10, nil, TypeHashListpack, AppendString(nil, lpOf("f", "1", "g", "text"), false)},
		{"listpack zset", 10, nil, TypeZSetListpack, AppendString(nil, lpOf("a", "-1", "b", "2.5"), false)},
		{"quicklist of listpacks", 10, nil, TypeListQuicklist2, cat([]byte{3, nodePacked}, lzf(lpOf("a", "1", long)), []byte{nodeSingle}, raw(strings.Repeat("plain", 5000)), []byte{nodePacked}, AppendString(nil, lpOf("z"), false))},
		{"stream of 7.0", 10, nil, TypeStream2, streamBody(TypeStream2)},
		{"listpack set", 11, nil, TypeSetListpack, AppendString(nil, lpOf("a", "5", "text"), false)},
		{"stream of 7.2", 11, nil, TypeStream3, streamBody(TypeStream3)},
		{"hash of 7.4 before its release", 12, nil, TypeHashTTLAbs, cat([]byte{2}, AppendLen(nil, 5000000000000), raw("f"), raw("v"), []byte{0}, raw("g"), raw("w"))},
		{"listpack hash of 7.4 before its release", 12, nil, TypeHashListpackTTL, AppendString(nil, lpOf("f", "v", "5000000000000", "g", "w", "0"), false)},
		{"hash with times", 12, nil, TypeHashTTL, append(AppendMs(nil, 5000000000000), counted(600, func(i int) []byte {
			return cat(AppendLen(nil, uint64(i%3)), raw(fmt.Sprint("f", i)), raw("v"))
		})...)},
		{"listpack hash with times", 12, nil, TypeHashListpackEx, append(AppendMs(nil, 5000000000000), AppendString(nil, lpOf("f", "v", "5000000000000", "h", "x", "5000000000001", "g", "w", "0"), false)...)},
	}
	return forms
}

// oldFile is a file of a version with all that it may hold.
func oldFile(version int) (file []byte, keys int) {
	file = AppendHeader(nil, version)
	if version >= 7 {
		file = AppendAux(AppendAux(AppendAux(file, "redis-ver", "3.2.0"), "redis-bits", "64"), "unheard of", "value")
	}
	for _, db := range []int{0, 9} {
		file = append(file, opSelectDB, byte(db))
		if version >= 7 {
			file = AppendSizes(file, 40, 3)
		}
		if version >= 12 {
			file = append(file, opSlotInfo, 5, 1, 0)
		}
		for _, f := range oldForms() {
			if f.since <= version {
				file = append(append(file, f.before...), byte(f.typ))
				file = append(AppendString(file, []byte(f.name), true), f.value...)
				keys++
			}
		}
		file = append(append(append(file, byte(TypeString)), strInt16, 0x39, 0x30), raw("key that is an integer")...)
		keys++
	}
	file = append(file, opEOF)
	if version >= trailerVersion && version%2 == 0 {
		file = append(file, make([]byte, 8)...) // not computed
	} else if version >= trailerVersion {
		file = binary.LittleEndian.AppendUint64(file, CRC64(0, file))
	}
	return file, keys
}

// Every form of every version is to us what it is to a server that reads it.
func TestFormsOfOldVersions(t *testing.T) {
	try := func(t *testing.T, o *oracle, from, to int) {
		for v := from; v <= to; v++ {
			t.Run(fmt.Sprint("version ", v), func(t *testing.T) {
				file, keys := oldFile(v)
				if got := o.compare(t, file); len(got) != keys {
					t.Errorf("%d keys, want %d", len(got), keys)
				}
			})
		}
	}
	t.Run("redis 7.0", func(t *testing.T) { try(t, newOracle(t, "redis-server"), 1, 10) })
	t.Run("valkey 8.1", func(t *testing.T) { try(t, newOracle(t, peer(t, "valkey-server")), 9, 11) })
	t.Run("redis 8.0", func(t *testing.T) { try(t, newOracle(t, peer(t, "redis-server")), 9, 12) })
}
