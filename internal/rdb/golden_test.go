package rdb

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// describe renders a value as one line, in the order of its elements.
func describe(v *Value) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%v", v.Kind())
	switch v.Kind() {
	case KindString:
		p, err := v.Str()
		return fmt.Sprintf("string %q", p), err
	case KindStream:
		st, err := v.Stream()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " %d nodes, length %d last %v first %v maxdel %v added %d", len(st.Nodes), st.Length, st.Last, st.First, st.MaxDeleted, st.Added)
		for _, g := range st.Groups {
			fmt.Fprintf(&b, " group %s %v read %d", g.Name, g.Last, g.EntriesRead)
			for _, p := range g.Pending {
				fmt.Fprintf(&b, " pending %v x%d owner %s", p.ID, p.Deliveries, g.Consumers[p.Consumer].Name)
			}
		}
		return b.String(), nil
	case KindModule:
		v.skip()
		return "module", v.Err()
	}
	var e Elem
	for v.Next(&e) {
		fmt.Fprintf(&b, " %q", e.Str)
		switch v.Kind() {
		case KindZSet:
			fmt.Fprintf(&b, "=%v", e.Score)
		case KindHash:
			fmt.Fprintf(&b, "=%q", e.Value)
			if e.ExpireAtMs != 0 {
				fmt.Fprintf(&b, "@%d", e.ExpireAtMs)
			}
		}
	}
	return b.String(), v.Err()
}

const streamTwoHex = `13 01
	10 00 00 00 00 00 00 03 e8 00 00 00 00 00 00 00 00
	38 38 00 00 00 16 00 02 01  01 01  01 01  81 66 02  00 01
	02 01  00 01  00 01  81 76 02  04 01
	03 01  05 01  01 01  81 77 02  04 01
	00 01  06 01  00 01  01 01 81 67 02 81 78 02  06 01 ff
	02  43 ee 00  43 e8 00  43 ed 01  03
	01  03 67 72 70  43 e8 00
	81 ff ff ff ff ff ff ff ff
	01  00 00 00 00 00 00 03 e8 00 00 00 00 00 00 00 00  00 68 e5 cf 8b 01 00 00  01
	01  02 63 31  00 68 e5 cf 8b 01 00 00  01  00 00 00 00 00 00 03 e8 00 00 00 00 00 00 00 00`

const streamThreeHex = `15 01 10 00 00 00 00 00 00 03 e8 00 00 00 00 00 00 00 00 1d 1d 00 00 00 0a 00 01 01 00 01
	01 01 81 66 02 00 01 02 01 00 01 00 01 81 76 02 04 01 ff 01 43 e8 00 43 e8 00 00 00 01 01 01 67 43 e8 00 01 01 00 00 00
	00 00 00 03 e8 00 00 00 00 00 00 00 00 00 68 e5 cf 8b 01 00 00 01 01 02 63 31 00 68 e5 cf 8b 01 00 00 00 68 e5 cf 8b
	01 00 00 01 00 00 00 00 00 00 03 e8 00 00 00 00 00 00 00 00 0b 00 3d be 8e 42 68 17 e1 ae`

// Payloads of the format's description (most made by Redis 7.0), with what they
// must read as. Those without a footer get one.
var dumps = []struct{ name, hex, want string }{
	{"string", "00 05 68 65 6c 6c 6f 0a 00 63 72 df 76 65 34 20 0a", `string "hello"`},
	{"int8 string", "00 c0 fb 0a 00 49 c4 c6 f4 d7 26 3f 68", `string "-5"`},
	{"int16 string", "00 c1 e8 03 0a 00 89 d1 47 8e ba c4 b7 64", `string "1000"`},
	{"int32 string", "00 c2 a0 86 01 00 0a 00 f1 24 03 50 6f 2f a6 74", `string "100000"`},
	{"compressed string", "00 c3 09 28 01 61 61 e0 1b 00 01 61 61 0a 00 cf 09 2f aa ae 25 83 1d",
		`string "` + strings.Repeat("a", 40) + `"`},
	{"list", "12 01 02 12 12 00 00 00 04 00 81 61 02 01 01 df ff 02 c1 2c 02 ff 0a 00 c8 d7 2c a1 16 c9 34 e0",
		`list "a" "1" "-1" "300"`},
	{"intset", "0b 0e 02 00 00 00 03 00 00 00 fd ff 01 00 02 00 0a 00 d1 b7 8e d9 bc 07 c2 7f", `set "-3" "1" "2"`},
	{"set", "02 01 01 78 0a 00 ff e8 80 ba 76 0c 2f 09", `set "x"`},
	{"packed hash", "10 12 12 00 00 00 04 00 81 66 02 81 76 02 81 6e 02 2a 01 ff 0a 00 ff 30 e8 7f 72 62 d9 91",
		`hash "f"="v" "n"="42"`},
	{"hash", "04 01 01 66 01 76 0a 00 ad f2 43 56 b1 86 0e fc", `hash "f"="v"`},
	{"packed zset", "11 14 14 00 00 00 04 00 81 61 02 01 01 81 62 02 83 32 2e 35 04 ff 0a 00 d4 4c 6e a4 f6 44 d9 d7",
		`zset "a"=1 "b"=2.5`},
	{"zset", "05 02 01 62 00 00 00 00 00 00 04 40 01 61 00 00 00 00 00 00 f0 3f 0a 00 f4 6e b7 39 19 76 72 91",
		`zset "b"=2.5 "a"=1`},
	{"packed set", "14 0c 0c 00 00 00 02 00 81 61 02 05 01 ff 0b 00 98 34 7b 5d 79 8d ab 9c", `set "a" "5"`},
	{"packed hash with times", `19 00 68 e5 cf 8b 01 00 00 23 23 00 00 00 06 00 82 66 31 03 82 76 31 03 f4 00 68 e5 cf 8b 01 00 00 09
		82 66 32 03 82 76 32 03 00 01 ff 0c 00 65 18 ca d3 92 22 17 99`, `hash "f1"="v1"@1700000000000 "f2"="v2"`},
	{"hash with times", `18 00 68 e5 cf 8b 01 00 00 02 01 02 66 31 02 76 31 00 02 66 32 02 76 32 0c 00 52 83 a4 21 7f 48 e4 12`,
		`hash "f1"="v1"@1700000000000 "f2"="v2"`},
	{"stream 2", streamTwoHex, `stream 1 nodes, length 2 last {1006 0} first {1000 0} maxdel {1005 1} added 3` +
		` group grp {1000 0} read -1 pending {1000 0} x1 owner c1`},
	{"stream 3", streamThreeHex, `stream 1 nodes, length 1 last {1000 0} first {1000 0} maxdel {0 0} added 1` +
		` group g {1000 0} read 1 pending {1000 0} x1 owner c1`},
	// Stream 1: as stream 3's data, without first, max deleted, added, entries read.
	{"stream 1", `0f 01 10 00 00 00 00 00 00 03 e8 00 00 00 00 00 00 00 00 1d 1d 00 00 00 0a 00 01 01 00 01
		01 01 81 66 02 00 01 02 01 00 01 00 01 81 76 02 04 01 ff 01 43 e8 00 01 01 67 43 e8 00 00 00`,
		`stream 1 nodes, length 1 last {1000 0} first {1000 0} maxdel {0 0} added 1 group g {1000 0} read 1`},
	{"old list", "01 02 01 61 c0 07", `list "a" "7"`},
	{"text zset", "03 03 01 61 03 31 2e 35 01 62 fe 01 63 ff", `zset "a"=1.5 "b"=+Inf "c"=-Inf`},
	{"zipmap", "09 0f 02 01 6b 01 00 76 02 69 64 02 01 34 32 00 ff", `hash "k"="v" "id"="42"`},
	{"ziplist list", "0a 15 15 00 00 00 10 00 00 00 03 00 00 f8 02 02 61 62 04 c0 e8 03 ff", `list "7" "ab" "1000"`},
	{"ziplist quicklist", "0e 01 15 15 00 00 00 10 00 00 00 03 00 00 f8 02 02 61 62 04 c0 e8 03 ff", `list "7" "ab" "1000"`},
	{"ziplist hash", "0d 12 12 00 00 00 0d 00 00 00 02 00 00 01 66 03 fe fb 00 ff", ""}, // odd: made right below
	{"plain and packed nodes", "12 02 01 03 61 62 63 02 0a 0a 00 00 00 01 00 81 7a 02 ff", `list "abc" "z"`},
	{"no elements", "12 00", `list`},
	{"module", "07 81 45 e2 52 38 df 91 2c 03 05 02 7b 7d 02 07 03 00 00 80 3f 04 00 00 00 00 00 00 f0 3f 00", "module"},
	{"absolute field times", "16 01 05 01 66 01 76", `hash "f"="v"@5`},
}

// ziplistOf packs strings the way ziplists are written, for tests.
func ziplistOf(elems ...string) []byte {
	z := make([]byte, zlHeader)
	prev, last := 0, zlHeader
	for _, e := range elems {
		last = len(z)
		z = append(z, byte(prev), byte(len(e)))
		z = append(z, e...)
		prev = len(z) - last
	}
	z = append(z, zlEnd)
	z[0], z[1] = byte(len(z)), byte(len(z)>>8)
	z[4], z[5] = byte(last), byte(last>>8)
	z[8] = byte(len(elems))
	return z
}

func payload(t testing.TB, name, h string) []byte {
	p := unhex(h)
	if name == "ziplist hash" {
		z := ziplistOf("f", "v", "n", "4")
		p = AppendString([]byte{byte(TypeHashZiplist)}, z, false)
	}
	if _, err := CheckDump(p); err != nil {
		p = AppendDumpFooter(p, 0)
	}
	return p
}

// Every payload reads as described, both from memory and from a stream that
// gives one byte at a time, and passing over it consumes exactly its bytes.
func TestDumpsRead(t *testing.T) {
	for _, tt := range dumps {
		want := tt.want
		if tt.name == "ziplist hash" {
			want = `hash "f"="v" "n"="4"`
		}
		p := payload(t, tt.name, tt.hex)
		r := &Reader{}
		v, err := OpenDump(r, p)
		if err != nil {
			t.Errorf("%s: OpenDump: %v", tt.name, err)
			continue
		}
		if got, err := describe(v); err != nil || got != want {
			t.Errorf("%s: reads as\n%s (%v), want\n%s", tt.name, got, err, want)
		}
		if left := len(r.Buffered()); left != 0 {
			t.Errorf("%s: %d bytes left", tt.name, left)
		}

		file := AppendKey(AppendHeader(nil, 10), &Key{Name: []byte("k"), IdleSec: NoIdle, Freq: NoFreq}, Type(p[0]), false)
		file = append(file, p[1:len(p)-footerLen]...)
		file = append(file, opEOF, 0, 0, 0, 0, 0, 0, 0, 0, 'x')
		for _, read := range []bool{true, false} {
			r := NewReader(iotest.OneByteReader(bytes.NewReader(file)))
			if e, err := r.Next(); e != EventKey || err != nil {
				t.Fatalf("%s: Next = %v, %v", tt.name, e, err)
			}
			if read {
				if got, err := describe(r.Value()); err != nil || got != want {
					t.Errorf("%s: reads from a file as\n%s (%v), want\n%s", tt.name, got, err, want)
				}
			}
			if e, err := r.Next(); e != EventEnd || err != nil {
				t.Errorf("%s: after the key (read: %v) Next = %v, %v, want the end", tt.name, read, e, err)
			}
			if r.Offset() != int64(len(file)-1) {
				t.Errorf("%s: %d bytes consumed, want %d", tt.name, r.Offset(), len(file)-1)
			}
		}
	}
}

// A cut anywhere is an error, not a panic nor a shorter value.
func TestDumpsCut(t *testing.T) {
	for _, tt := range dumps {
		p := payload(t, tt.name, tt.hex)
		for n := 1; n < len(p)-footerLen; n++ {
			r := &Reader{}
			v, err := OpenDump(r, AppendDumpFooter(bytes.Clone(p[:n]), 0))
			if err == nil {
				_, err = describe(v)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d bytes: %v", tt.name, n, err)
			}
		}
	}
}

func TestDumpFooter(t *testing.T) {
	good := unhex(dumps[0].hex)
	newer := bytes.Clone(good[:len(good)-footerLen])
	newer = append(newer, MaxVersion+1, 0)
	crc := CRC64(0, newer)
	for i := range 8 {
		newer = append(newer, byte(crc>>(8*i)))
	}
	noCRC := append(bytes.Clone(good[:len(good)-8]), 0, 0, 0, 0, 0, 0, 0, 0)
	flipped := bytes.Clone(good)
	flipped[2] ^= 1
	for name, p := range map[string][]byte{"short": good[:9], "newer": newer, "no checksum": noCRC, "flipped": flipped} {
		if _, err := OpenDump(&Reader{}, p); !errors.Is(err, ErrDumpFooter) {
			t.Errorf("%s: %v, want %v", name, err, ErrDumpFooter)
		}
	}
	for _, typ := range []byte{6, 8, 26, 100, 246, 255} {
		if _, err := OpenDump(&Reader{}, AppendDumpFooter([]byte{typ, 0}, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("type %d: %v, want %v", typ, err, ErrCorrupt)
		}
	}
}

// What the encoder makes of the same values is what a Redis server makes.
func TestEncodeGolden(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "00"}, {"0", "c0 00"}, {"-5", "c0 fb"}, {"127", "c0 7f"}, {"128", "c1 80 00"}, {"1000", "c1 e8 03"},
		{"-32768", "c1 00 80"}, {"32768", "c2 00 80 00 00"}, {"100000", "c2 a0 86 01 00"}, {"-2147483648", "c2 00 00 00 80"},
		{"2147483648", "0a 32 31 34 37 34 38 33 36 34 38"}, {"5000000000", "0a 35 30 30 30 30 30 30 30 30 30"},
		{"007", "03 30 30 37"}, {"-0", "02 2d 30"}, {"+1", "02 2b 31"}, {" 1", "02 20 31"}, {"-", "01 2d"}, {"hello", "05 68 65 6c 6c 6f"},
	} {
		if got := AppendString(nil, []byte(tt.in), true); !bytes.Equal(got, unhex(tt.want)) {
			t.Errorf("AppendString(%q) = % x, want %s", tt.in, got, tt.want)
		}
	}
	for _, tt := range []struct {
		n    uint64
		want string
	}{
		{0, "00"}, {63, "3f"}, {64, "40 40"}, {16383, "7f ff"}, {16384, "80 00 00 40 00"}, {1<<32 - 1, "80 ff ff ff ff"},
		{1 << 32, "81 00 00 00 01 00 00 00 00"},
	} {
		got := AppendLen(nil, tt.n)
		if !bytes.Equal(got, unhex(tt.want)) {
			t.Errorf("AppendLen(%d) = % x, want %s", tt.n, got, tt.want)
		}
		var s source
		s.resetBytes(got)
		if n := s.length(); n != tt.n || s.err != nil {
			t.Errorf("length(% x) = %d, %v, want %d", got, n, s.err, tt.n)
		}
	}
	for _, h := range []string{streamTwoHex, streamThreeHex} {
		p := payload(t, "", h)
		v, err := OpenDump(&Reader{}, p)
		if err != nil {
			t.Fatal(err)
		}
		st, err := buildStream(t, newStore(t), v)
		if err != nil {
			t.Fatal(err)
		}
		got := AppendDumpFooter(AppendStream([]byte{p[0]}, st, v.Type(), false), 0)
		if !bytes.Equal(got, p) {
			t.Errorf("stream of type %d written as\n%x, want\n%x", p[0], got, p)
		}
	}
}

func TestFileGolden(t *testing.T) {
	var b bytes.Buffer
	if err := NewWriter(&b, WriterOptions{Checksum: true}).Close(); err != nil {
		t.Fatal(err)
	}
	if want := "524544495330303130ffa9fd37fe89a77eeb"; hex.EncodeToString(b.Bytes()) != want {
		t.Errorf("empty file %x, want %s", b.Bytes(), want)
	}
	b.Reset()
	w := NewWriter(&b, WriterOptions{Checksum: true})
	w.Aux("redis-ver", "7.0.0")
	w.Aux("redis-bits", "64")
	w.SelectDB(0, 1, 1)
	w.Key(&Key{Name: []byte("k"), ExpireAtMs: 1700000000000, IdleSec: NoIdle, Freq: NoFreq}, TypeString, []byte("\x01v"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := unhex(`52 45 44 49 53 30 30 31 30 fa 09 72 65 64 69 73 2d 76 65 72 05 37 2e 30 2e 30
		fa 0a 72 65 64 69 73 2d 62 69 74 73 c0 40 fe 00  fb 01 01 fc 00 68 e5 cf 8b 01 00 00 00 01 6b 01 76
		ff  3b 1c 4a 8c 86 1d 26 a9`)
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("file\n%x, want\n%x", b.Bytes(), want)
	}
	if w.Written() != int64(len(want)) {
		t.Errorf("Written = %d, want %d", w.Written(), len(want))
	}
}
