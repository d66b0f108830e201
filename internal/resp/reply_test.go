package resp

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

func TestAppendDouble(t *testing.T) {
	tests := []struct {
		f    float64
		want string
	}{
		{0, "0"}, {math.Copysign(0, -1), "-0"}, {3, "3"}, {-3, "-3"}, {0.1, "0.1"}, {-0.1, "-0.1"}, {1.5, "1.5"}, {3.14159, "3.14159"},
		{math.Inf(1), "inf"}, {math.Inf(-1), "-inf"}, {math.NaN(), "nan"},
		{1e17, "100000000000000000"}, {1 << 53, "9007199254740992"}, {1 << 62, "4611686018427387904"}, {-1 << 62, "-4611686018427387904"},
		{1e19, "1e+19"}, {1e21, "1e+21"}, {1.5e300, "1.5e+300"}, {1.2345678901234567e19, "12345678901234567000"}, {math.MaxFloat64, "1.7976931348623157e+308"},
		{0.00001, "0.00001"}, {0.000001, "0.000001"}, {1e-7, "1e-7"}, {1.5e-7, "1.5e-7"}, {5e-324, "5e-324"}, {0.000123456789, "1.23456789e-4"},
		{0.001234567891, "0.001234567891"}, {1234.56789012, "1234.56789012"}, {1690000000.123456, "1690000000.123456"}, {12345.12345678, "1.234512345678e+4"},
		{0.30000000000000004, "0.30000000000000004"}, {-1234.5, "-1234.5"},
	}
	for _, tt := range tests {
		if got := string(AppendDouble(nil, tt.f)); got != tt.want {
			t.Errorf("AppendDouble(%v) = %s, want %s", tt.f, got, tt.want)
		}
	}
}

// Every text AppendDouble produces reads back as the same double.
func FuzzAppendDouble(f *testing.F) {
	f.Add(uint64(0x3fb999999999999a))
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, bits uint64) {
		v := math.Float64frombits(bits)
		s := AppendDouble([]byte("x"), v)[1:]
		back, err := strconv.ParseFloat(string(s), 64)
		if err != nil || math.Float64bits(back) != bits && !(v != v && back != back) {
			t.Errorf("%x: %s reads back as %v, %v", bits, s, back, err)
		}
		if got, err := parseDouble(s); err != nil || got != back && back == back {
			t.Errorf("parseDouble(%s) = %v, %v", s, got, err)
		}
	})
}

// Each method in both protocols, and the reader's view of it.
func TestWriter(t *testing.T) {
	tests := []struct {
		name       string
		write      func(w *Writer)
		two, three string
		seen       string // Reply.String of the RESP3 form
	}{
		{"simple", func(w *Writer) { w.Simple("PONG") }, "+PONG\r\n", "+PONG\r\n", "+PONG"},
		{"ok", func(w *Writer) { w.OK() }, "+OK\r\n", "+OK\r\n", "+OK"},
		{"an error stays on its line", func(w *Writer) { w.Error("ERR a\r\nb") }, "-ERR a  b\r\n", "-ERR a  b\r\n", "-ERR a  b"},
		{"int", func(w *Writer) { w.Int(-7) }, ":-7\r\n", ":-7\r\n", ":-7"},
		{"int of two digits", func(w *Writer) { w.Int(42) }, ":42\r\n", ":42\r\n", ":42"},
		{"largest int", func(w *Writer) { w.Int(math.MaxInt64) }, ":9223372036854775807\r\n", ":9223372036854775807\r\n", ":9223372036854775807"},
		{"smallest int", func(w *Writer) { w.Int(math.MinInt64) }, ":-9223372036854775808\r\n", ":-9223372036854775808\r\n", ":-9223372036854775808"},
		{"bulk", func(w *Writer) { w.Bulk([]byte("a\r\nb")) }, "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n", `"a\r\nb"`},
		{"empty bulk", func(w *Writer) { w.BulkString("") }, "$0\r\n\r\n", "$0\r\n\r\n", `""`},
		{"bulk of 123 bytes", func(w *Writer) { w.Bulk(bytes.Repeat([]byte("x"), 123)) }, "$123\r\n" + strings.Repeat("x", 123) + "\r\n", "$123\r\n" + strings.Repeat("x", 123) + "\r\n", `"` + strings.Repeat("x", 123) + `"`},
		{"bulk int", func(w *Writer) { w.BulkInt(-12) }, "$3\r\n-12\r\n", "$3\r\n-12\r\n", `"-12"`},
		{"null", func(w *Writer) { w.Null() }, "$-1\r\n", "_\r\n", "(nil)"},
		{"null array", func(w *Writer) { w.NullArray() }, "*-1\r\n", "_\r\n", "(nil)"},
		{"array", func(w *Writer) { w.Array(2); w.Int(1); w.Null() }, "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n", "[:1 (nil)]"},
		{"map", func(w *Writer) { w.Map(1); w.BulkString("k"); w.Int(1) }, "*2\r\n$1\r\nk\r\n:1\r\n", "%1\r\n$1\r\nk\r\n:1\r\n", `%["k" :1]`},
		{"set", func(w *Writer) { w.Set(1); w.Int(1) }, "*1\r\n:1\r\n", "~1\r\n:1\r\n", "~[:1]"},
		{"push", func(w *Writer) { w.Push(1); w.Int(1) }, "*1\r\n:1\r\n", ">1\r\n:1\r\n", ">[:1]"},
		{"double", func(w *Writer) { w.Double(1.5) }, "$3\r\n1.5\r\n", ",1.5\r\n", ",1.5"},
		{"infinity", func(w *Writer) { w.Double(math.Inf(-1)) }, "$4\r\n-inf\r\n", ",-inf\r\n", ",-inf"},
		{"true", func(w *Writer) { w.Bool(true) }, ":1\r\n", "#t\r\n", "#true"},
		{"false", func(w *Writer) { w.Bool(false) }, ":0\r\n", "#f\r\n", "#false"},
		{"big number", func(w *Writer) { w.BigNumber("123") }, "$3\r\n123\r\n", "(123\r\n", "(123"},
		{"verbatim", func(w *Writer) { w.Verbatim("txt", "ab") }, "$2\r\nab\r\n", "=6\r\ntxt:ab\r\n", `"ab"`},
		{"deferred array", func(w *Writer) {
			w.OK()
			m := w.Defer()
			w.Int(1)
			w.Int(2)
			w.EndArray(m, 2)
			w.Rewind(w.Defer())
		}, "+OK\r\n*2\r\n:1\r\n:2\r\n", "+OK\r\n*2\r\n:1\r\n:2\r\n", "+OK"},
		{"deferred map within a set", func(w *Writer) {
			a := w.Defer()
			b := w.Defer()
			w.Int(1)
			w.Int(2)
			w.EndMap(b, 1)
			w.EndSet(a, 1)
		}, "*1\r\n*2\r\n:1\r\n:2\r\n", "~1\r\n%1\r\n:1\r\n:2\r\n", "~[%[:1 :2]]"},
		{"deferred push", func(w *Writer) { m := w.Defer(); w.Int(1); w.EndPush(m, 1) }, "*1\r\n:1\r\n", ">1\r\n:1\r\n", ">[:1]"},
	}
	for _, tt := range tests {
		w2, w3 := Writer{Proto: 2}, Writer{Proto: 3}
		tt.write(&w2)
		tt.write(&w3)
		if string(w2.Buf) != tt.two || string(w3.Buf) != tt.three {
			t.Errorf("%s: %q and %q, want %q and %q", tt.name, w2.Buf, w3.Buf, tt.two, tt.three)
		}
		v, err := NewReader(iotest.OneByteReader(bytes.NewReader(w3.Buf))).Next()
		if err != nil || v.String() != tt.seen {
			t.Errorf("%s: read as %v, %v; want %s", tt.name, v, err, tt.seen)
		}
	}
}

func TestWriterDoesNotAllocate(t *testing.T) {
	for _, proto := range []int{2, 3} {
		w := Writer{Buf: make([]byte, 0, 4096), Proto: proto}
		v := []byte("value")
		if n := testing.AllocsPerRun(100, func() {
			w.Buf = w.Buf[:0]
			m := w.Defer()
			w.Map(1)
			w.Bulk(v)
			w.Double(1.25)
			w.Int(123456)
			w.BulkInt(123456)
			w.Bool(true)
			w.Null()
			w.Verbatim("txt", "text")
			w.Error("ERR no")
			w.EndArray(m, 8)
		}); n != 0 {
			t.Errorf("protocol %d: %v allocations", proto, n)
		}
	}
}

func TestReader(t *testing.T) {
	ok := []struct{ name, in, want string }{
		{"null bulk", "$-1\r\n", "(nil)"},
		{"null array", "*-1\r\n", "(nil)"},
		{"attribute before a value", "|1\r\n+k\r\n:1\r\n$1\r\nv\r\n", `"v"`},
		{"attribute inside an array", "*1\r\n|1\r\n+k\r\n:1\r\n:5\r\n", "[:5]"},
		{"bulk error", "!5\r\nERR x\r\n", "!ERR x"},
		{"doubles", "*3\r\n,1e5\r\n,inf\r\n,-1.25\r\n", "[,100000 ,inf ,-1.25]"},
	}
	for _, tt := range ok {
		if v, err := NewReader(strings.NewReader(tt.in)).Next(); err != nil || v.String() != tt.want {
			t.Errorf("%s: %v, %v; want %s", tt.name, v, err, tt.want)
		}
	}
	bad := []struct {
		name, in string
		want     error
	}{
		{"the end between replies", "", io.EOF},
		{"the end in a line", "+OK", io.ErrUnexpectedEOF},
		{"the end in a bulk", "$5\r\nab", io.ErrUnexpectedEOF},
		{"the end in an array", "*2\r\n:1\r\n", io.ErrUnexpectedEOF},
		{"the end behind an attribute", "|1\r\n:1\r\n:1\r\n", io.ErrUnexpectedEOF},
		{"unknown type", "?1\r\n", ErrReply},
		{"empty line", "\r\n", ErrReply},
		{"integer with text", ":1x\r\n", ErrReply},
		{"negative count", "*-2\r\n", ErrReply},
		{"null map is not a thing", "%-1\r\n", ErrReply},
		{"bulk longer than said", "$1\r\nabc\r\n", ErrReply},
		{"bulk over the limit", "$2000000\r\n", ErrReply},
		{"array over the limit", "*2000000\r\n", ErrReply},
		{"nested too deep", strings.Repeat("*1\r\n", 100), ErrReply},
		{"chain of attributes", strings.Repeat("|0\r\n", 100), ErrReply},
		{"long line", "+" + strings.Repeat("a", 100<<10) + "\r\n", ErrReply},
		{"double in hexadecimal", ",0x1p4\r\n", ErrReply},
		{"boolean", "#x\r\n", ErrReply},
		{"verbatim without format", "=2\r\nab\r\n", ErrReply},
	}
	for _, tt := range bad {
		r := NewReader(strings.NewReader(tt.in))
		r.MaxBytes = 1 << 20
		if v, err := r.Next(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v; want %v", tt.name, v, err, tt.want)
		}
	}
}

// The raw parts of a stream can be read between replies.
func TestReaderRaw(t *testing.T) {
	r := NewReader(strings.NewReader("+FULLRESYNC\r\n\n\n$3\r\nabc:1\r\n"))
	if v, err := r.Next(); err != nil || v.Text() != "FULLRESYNC" {
		t.Fatal(v, err)
	}
	for _, want := range []string{"", "", "$3"} {
		if l, err := r.Line(); err != nil || string(l) != want {
			t.Fatalf("Line = %q, %v; want %q", l, err, want)
		}
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(r, b); err != nil || string(b) != "abc" {
		t.Fatalf("Read = %q, %v", b, err)
	}
	if v, err := r.Next(); err != nil || v.Int != 1 {
		t.Fatal(v, err)
	}
}

func TestReaderDo(t *testing.T) {
	var sent bytes.Buffer
	r := NewReader(strings.NewReader(">1\r\n+invalidate\r\n-MOVED 1 a:1\r\n"))
	v, err := r.Do(&sent, "GET", "k")
	if err != nil || sent.String() != "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" {
		t.Fatalf("%q, %v", sent.String(), err)
	}
	var e ReplyError
	if !errors.As(v.Err(), &e) || e.Code() != "MOVED" {
		t.Errorf("Err() = %v", v.Err())
	}
}

// Goal: no input makes the reader panic or take more memory than its limit.
func FuzzReader(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nabc\r\n%1\r\n+k\r\n,1.5\r\n"))
	f.Add([]byte("|1\r\n+a\r\n#t\r\n~2\r\n_\r\n(12\r\n=5\r\ntxt:a\r\n>0\r\n!1\r\nx\r\n$-1\r\n*-1\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := NewReader(bytes.NewReader(in)), NewReader(iotest.HalfReader(bytes.NewReader(in)))
		a.MaxBytes, b.MaxBytes = 1<<16, 1<<16
		for range 100 {
			v1, err1 := a.Next()
			v2, err2 := b.Next()
			if v1.String() != v2.String() || (err1 == nil) != (err2 == nil) {
				t.Fatalf("%q: %v %v, in pieces %v %v", in, v1, err1, v2, err2)
			}
			if err1 != nil {
				return
			}
		}
	})
}
