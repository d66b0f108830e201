package ds

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newLP(elems ...string) *SliceBuf {
	b := new(SliceBuf)
	LPInit(b)
	for _, e := range elems {
		LPAppend(b, []byte(e))
	}
	return b
}

func lpTexts(p LP) []string {
	var out []string
	for it := p.Iter(); it.Next(); {
		out = append(out, string(it.Elem().Append(nil)))
	}
	return out
}

// The bytes of each element form, from the specification's table and its
// worked boundaries.
func TestListpackGoldenElements(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	xh := func(n int) string { return strings.Repeat("78", n) }
	for _, tt := range []struct{ in, want string }{
		{"0", "00 01"}, {"127", "7f 01"},
		{"128", "c0 80 02"}, {"4095", "cf ff 02"}, {"-1", "df ff 02"}, {"-4096", "d0 00 02"},
		{"4096", "f1 00 10 03"}, {"-32768", "f1 00 80 03"},
		{"32768", "f2 00 80 00 04"}, {"-8388608", "f2 00 00 80 04"},
		{"-8388609", "f3 ff ff 7f ff 05"},
		{"2147483648", "f4 00 00 00 80 00 00 00 00 09"},
		{"-9223372036854775808", "f4 00 00 00 00 00 00 00 80 09"},
		{"a", "81 61 02"}, {"", "80 01"},
		{"01", "82 30 31 03"}, {"-0", "82 2d 30 03"}, {"+1", "82 2b 31 03"},
		{x(64), "e0 40" + xh(64) + "42"},
		{x(126), "e0 7e" + xh(126) + "01 80"},
		{x(4096), "f0 00 10 00 00" + xh(4096) + "20 85"},
		// 16382 is the last size with two bytes of backlen.
		{x(16377), "f0 f9 3f 00 00" + xh(16377) + "7f fe"},
		{x(16378), "f0 fa 3f 00 00" + xh(16378) + "00 ff ff"},
	} {
		b := newLP(tt.in)
		want := unhex(t, tt.want)
		got := b.B[lpHeader : len(b.B)-1]
		if !bytes.Equal(got, want) {
			t.Errorf("element of %.20q (%d) = %x, want %x", tt.in, len(tt.in), trim(got), trim(want))
		}
		if n := LPElemSize([]byte(tt.in)); n != len(want) {
			t.Errorf("LPElemSize(%.20q) = %d, want %d", tt.in, n, len(want))
		}
		if err := ValidateLP(b.B); err != nil {
			t.Errorf("%.20q: %v", tt.in, err)
		}
		if p := LP(b.B); p.Last() != lpHeader {
			t.Errorf("%.20q: Last = %d", tt.in, p.Last())
		}
	}
	if got := newLP().B; !bytes.Equal(got, unhex(t, "07 00 00 00 00 00 ff")) {
		t.Errorf("empty listpack = %x", got)
	}
}

func trim(b []byte) []byte { return b[max(0, len(b)-20):] }

// randElem draws elements of all forms, with repetitions.
func randElem(r *rand.Rand) string {
	switch r.IntN(6) {
	case 0:
		return strconv.Itoa(r.IntN(40))
	case 1:
		return strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10)
	case 2:
		return fmt.Sprintf("m%d", r.IntN(30))
	case 3:
		return strings.Repeat("y", r.IntN(200))
	case 4:
		if r.IntN(20) == 0 {
			return strings.Repeat("z", r.IntN(20000))
		}
		return "zz"
	}
	return fmt.Sprintf("0%d", r.IntN(10))
}

// Every writer and reader against a slice of strings, validated at each step.
func TestListpackModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		b, model := newLP(), []string{}
		for step := range 150 {
			p, e := LP(b.B), randElem(r)
			i := r.IntN(len(model) + 1)
			off := p.End()
			if i < len(model) {
				off = p.Seek(i)
			}
			switch op := r.IntN(10); {
			case op < 2:
				LPAppend(b, []byte(e))
				model = append(model, e)
			case op < 3:
				LPPrepend(b, []byte(e))
				model = slices.Insert(model, 0, e)
			case op < 6:
				LPInsert(b, off, []byte(e))
				model = slices.Insert(model, i, e)
			case op < 7 && i < len(model):
				if got := LPInsertAfter(b, off, []byte(e)); !LP(b.B).Get(got).Equal([]byte(e)) {
					t.Fatalf("InsertAfter: %q is not at %d", e, got)
				}
				model = slices.Insert(model, i+1, e)
			case op < 8 && i < len(model):
				LPReplace(b, off, []byte(e))
				model[i] = e
			case op < 10:
				n := r.IntN(4)
				want := min(n, len(model)-i)
				if got := LPDelete(b, off, n); got != want {
					t.Fatalf("Delete(%d) at %d of %d removed %d", n, i, len(model), got)
				}
				model = slices.Delete(model, i, i+want)
			}
			if err := ValidateLP(b.B); err != nil {
				t.Fatalf("round %d step %d: %v", round, step, err)
			}
			if got := lpTexts(b.B); !slices.Equal(got, model) {
				t.Fatalf("round %d step %d:\n got %q\nwant %q", round, step, got, model)
			}
		}
		checkLPReads(t, b.B, model)
	}
}

func checkLPReads(t *testing.T, p LP, model []string) {
	t.Helper()
	if p.Count() != len(model) {
		t.Errorf("Count = %d, want %d", p.Count(), len(model))
	}
	i := len(model)
	for off := p.Last(); off >= 0; off = p.Prev(off) {
		i--
		if got := string(p.AppendElem(nil, off)); got != model[i] {
			t.Errorf("backwards, element %d = %q, want %q", i, got, model[i])
		}
		if n := p.Get(off).Len(); n != len(model[i]) {
			t.Errorf("element %d: Len = %d, want %d", i, n, len(model[i]))
		}
		if p.Seek(i) != off || p.Seek(i-len(model)) != off {
			t.Errorf("Seek(%d) = %d, Seek(%d) = %d, want %d", i, p.Seek(i), i-len(model), p.Seek(i-len(model)), off)
		}
	}
	if i != 0 {
		t.Errorf("walking back stopped at %d", i)
	}
	if p.Seek(len(model)) != -1 || p.Seek(-len(model)-1) != -1 {
		t.Error("Seek finds elements outside")
	}
	for _, e := range append(model, "absent") {
		for skip := range 3 {
			want := -1
			for i := 0; i < len(model); i += 1 + skip {
				if model[i] == e {
					want = p.Seek(i)
					break
				}
			}
			if got := p.Find(p.First(), []byte(e), skip); got != want {
				t.Errorf("Find(%.20q, skip %d) = %d, want %d", e, skip, got, want)
			}
		}
	}
}

// From 65535 elements on the header does not tell the count.
func TestListpackCountUnknown(t *testing.T) {
	b := newLP()
	for i := range 65534 {
		LPAppendInt(b, int64(i%100))
	}
	if b.B[4] != 0xfe || b.B[5] != 0xff {
		t.Fatalf("count bytes %x at 65534", b.B[4:6])
	}
	for range 10 {
		LPAppendInt(b, 7)
	}
	p := LP(b.B)
	if p.Count() != 65544 || ValidateLP(p) != nil {
		t.Fatalf("Count = %d, Validate = %v", p.Count(), ValidateLP(p))
	}
	if off := p.Seek(65543); off != p.Last() || p.Seek(-1) != off || p.Seek(65544) != -1 || p.Seek(-65545) != -1 {
		t.Error("Seek without a count")
	}
	LPDelete(b, lpHeader, 20000)
	if n := LP(b.B).Count(); n != 45544 {
		t.Errorf("Count after deletion = %d", n)
	}
}

func TestListpackPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	b, model := newLP(), map[string]string{}
	for range 2000 {
		f, v := randElem(r), randElem(r)
		_, had := model[f]
		if r.IntN(3) == 0 {
			if got := LPDeletePair(b, []byte(f)); got != had {
				t.Fatalf("DeletePair(%q) = %v", f, got)
			}
			delete(model, f)
		} else {
			if got := LPSetPair(b, []byte(f), []byte(v)); got == had {
				t.Fatalf("SetPair(%q) = %v", f, got)
			}
			model[f] = v
		}
		if err := ValidateLPPairs(b.B); err != nil {
			t.Fatal(err)
		}
		p := LP(b.B)
		if p.Count() != 2*len(model) {
			t.Fatalf("Count = %d, want %d", p.Count(), 2*len(model))
		}
		if _, off := p.FindPair([]byte(f)); (off >= 0) != (model[f] != "" || off >= 0 && p.Get(off).Len() == 0) {
			t.Fatalf("FindPair(%q) = %d", f, off)
		}
	}
	for f, v := range model {
		if _, off := LP(b.B).FindPair([]byte(f)); off < 0 || !LP(b.B).Get(off).Equal([]byte(v)) {
			t.Errorf("FindPair(%q): want %q", f, v)
		}
	}
	LPAppend(b, []byte("odd"))
	if ValidateLPPairs(b.B) == nil {
		t.Error("an odd count passes")
	}
}

// What Validate must refuse, each row one fault of otherwise sound bytes.
func TestListpackValidateRefuses(t *testing.T) {
	long := func(head string, n int) string { return head + strings.Repeat("78", n) }
	for _, tt := range []struct{ name, in string }{
		{"nothing", ""},
		{"a header alone", "06 00 00 00 00 00"},
		{"a total above the size", "08 00 00 00 00 00 ff"},
		{"a total below the size", "06 00 00 00 00 00 ff"},
		{"no end byte", "07 00 00 00 00 00 00"},
		{"an end byte before the end", "08 00 00 00 00 00 ff ff"},
		{"a count too high", "09 00 00 00 02 00 05 01 ff"},
		{"a count too low", "0b 00 00 00 01 00 05 01 06 01 ff"},
		{"a wrong backlen", "09 00 00 00 01 00 05 02 ff"},
		{"a missing backlen", "08 00 00 00 01 00 05 ff"},
		{"an undefined encoding", "09 00 00 00 01 00 f5 01 ff"},
		{"a string past the end", "0a 00 00 00 01 00 83 61 62 ff"},
		{"a 13-bit integer cut", "08 00 00 00 01 00 c0 ff"},
		{"a 12-bit length cut", "08 00 00 00 01 00 e0 ff"},
		{"a 32-bit length cut", "0a 00 00 00 01 00 f0 01 00 ff"},
		{"a 32-bit length of 4 GiB", "0c 00 00 00 01 00 f0 ff ff ff ff ff"},
		{"a 64-bit integer cut", "0a 00 00 00 01 00 f4 01 00 ff"},
		{"a two-byte backlen in the wrong order", long("89 00 00 00 01 00 e0 7e", 126) + "80 01 ff"},
		{"a two-byte backlen cut", long("88 00 00 00 01 00 e0 7e", 126) + "01 ff"},
	} {
		if ValidateLP(unhex(t, tt.in)) == nil {
			t.Errorf("%s passes: %.60s", tt.name, tt.in)
		}
	}
	for _, in := range []string{"07 00 00 00 ff ff ff", "09 00 00 00 ff ff 05 01 ff", long("89 00 00 00 01 00 e0 7e", 126) + "01 80 ff"} {
		if err := ValidateLP(unhex(t, in)); err != nil {
			t.Errorf("%.60s: %v", in, err)
		}
	}
}

// Backlens at their boundaries, which are one below 7-bit groups from two
// bytes on; the sizes of all are those the table of the specification has.
func TestListpackBacklen(t *testing.T) {
	for _, tt := range []struct{ e, size int }{
		{1, 1}, {127, 1}, {128, 2}, {16382, 2}, {16383, 3}, {2097150, 3}, {2097151, 4},
		{268435454, 4}, {268435455, 5}, {LPMaxSize, 5},
	} {
		var b [6]byte
		b[0] = 0x80 // must not be read
		n := lpPutBacklen(b[1:], tt.e)
		if n != tt.size || lpBacklenSize(tt.e) != n {
			t.Errorf("backlen of %d takes %d bytes, want %d", tt.e, n, tt.size)
		}
		if e, k := lpReadBacklen(b[:], 1+n); e != tt.e || k != n {
			t.Errorf("backlen of %d reads as %d in %d bytes", tt.e, e, k)
		}
	}
}

// The integer writers and size predictions agree with the text ones.
func TestListpackInts(t *testing.T) {
	for shift := range 64 {
		for _, v := range []int64{1<<shift - 1, 1 << shift, -1 << shift, -1<<shift - 1} {
			text := strconv.AppendInt(nil, v, 10)
			want, got := newLP("x", string(text), "y"), newLP("x", "y")
			LPInsertInt(got, LP(got.B).Last(), v)
			if !bytes.Equal(want.B, got.B) || LPIntSize(v) != LPElemSize(text) {
				t.Errorf("LPInsertInt(%d) = %x, want %x", v, got.B, want.B)
			}
			got = newLP("x", "old text", "y")
			LPReplaceInt(got, LP(got.B).Seek(1), v)
			if !bytes.Equal(want.B, got.B) {
				t.Errorf("LPReplaceInt(%d) = %x, want %x", v, got.B, want.B)
			}
			if i, ok := LP(got.B).Get(LP(got.B).Seek(1)).AsInt(); !ok || i != v {
				t.Errorf("AsInt of %d = %d, %v", v, i, ok)
			}
			if len(newLP().B)+LPZElemSize(text, float64(int32(v))) != len(newLP(string(text), strconv.Itoa(int(int32(v)))).B) {
				t.Errorf("LPZElemSize(%d) is wrong", v)
			}
		}
	}
	if i, ok := (Elem{Str: []byte("12")}).AsInt(); !ok || i != 12 {
		t.Error("AsInt of the string 12")
	}
	if p := LP(newLP("a").B); !LPSafeToAdd(p, LPMaxSize-len(p)) || LPSafeToAdd(p, LPMaxSize-len(p)+1) {
		t.Error("LPSafeToAdd is off")
	}
}

func TestListpackAllocs(t *testing.T) {
	b := newLP("field", "value", "n", "10")
	f, v, w := []byte("field"), []byte("a value longer than others"), []byte("7")
	b.B = append(make([]byte, 0, 256), b.B...)
	if n := testing.AllocsPerRun(1000, func() {
		LPSetPair(b, f, v)
		LPSetPair(b, f, w)
		LPAppend(b, f)
		LPDelete(b, LP(b.B).Last(), 1)
		for it := LP(b.B).Iter(); it.Next(); {
			if it.Offset() < lpHeader || it.Elem().Len() == 0 {
				t.Fatal("iterator")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations per round", n)
	}
}

func TestParseInt(t *testing.T) {
	for _, s := range []string{"0", "7", "-1", "10", "9223372036854775807", "-9223372036854775808", "1000000000000000000"} {
		want, _ := strconv.ParseInt(s, 10, 64)
		if v, ok := ParseInt([]byte(s)); !ok || v != want {
			t.Errorf("ParseInt(%q) = %d, %v", s, v, ok)
		}
		if decimalLen(want) != len(s) {
			t.Errorf("decimalLen(%s) = %d", s, decimalLen(want))
		}
	}
	for _, s := range []string{"", "-", "-0", "00", "01", "-01", "+1", " 1", "1 ", "1a", "9223372036854775808",
		"-9223372036854775809", "18446744073709551616", "99999999999999999999", "999999999999999999999", "1.0"} {
		if v, ok := ParseInt([]byte(s)); ok {
			t.Errorf("ParseInt(%q) = %d", s, v)
		}
	}
}

// Arbitrary bytes: Validate and, when it passes, every reader, without panic;
// re-encoding the elements gives a valid listpack of the same texts.
func FuzzListpack(f *testing.F) {
	f.Add(newLP().B)
	f.Add(newLP("a", "1", "-5000", "x", "123456789012").B)
	f.Add(newLP("m", "1.5", "n", "2", strings.Repeat("q", 300), "inf").B)
	f.Add(newLP(strings.Repeat("s", 5000), "-8388609", "32768").B)
	f.Add(unhex(f, "0c 00 00 00 01 00 f0 ff ff ff ff ff"))
	f.Add(unhex(f, "09 00 00 00 01 00 bf 01 ff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ValidateLPPairs(b)
		ValidateLPZ(b, true)
		if ValidateLP(b) != nil {
			return
		}
		p, model := LP(b), lpTexts(b)
		if p.Count() != len(model) {
			t.Fatalf("Count = %d, want %d", p.Count(), len(model))
		}
		i := len(model)
		for off := p.Last(); off >= 0; off = p.Prev(off) {
			i--
			if string(p.AppendElem(nil, off)) != model[i] || p.Seek(i) != off {
				t.Fatalf("element %d", i)
			}
			p.Get(off).Float()
			if got := p.Find(p.First(), []byte(model[i]), 0); got < 0 || got > off {
				t.Fatalf("Find(%q) = %d, it is at %d", model[i], got, off)
			}
		}
		c := newLP(model...)
		if err := ValidateLP(c.B); err != nil || !slices.Equal(lpTexts(c.B), model) {
			t.Fatalf("re-encoded: %v", err)
		}
		w := &SliceBuf{B: slices.Clone(b)}
		LPPrepend(w, []byte("front"))
		LPDelete(w, LP(w.B).Last(), 1)
		if err := ValidateLP(w.B); err != nil {
			t.Fatal(err)
		}
	})
}
