package rdb

import (
	"bytes"
	"errors"
	"io"
	"runtime/metrics"
	"testing"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/store"
)

// formatError fails unless err is one that reading may give.
func formatError(t *testing.T, err error) {
	t.Helper()
	var fe *FormatError
	switch {
	case err == nil, err == ErrEmpty, err == ErrModule, errors.As(err, &fe):
	default:
		t.Fatalf("unexpected error %v", err)
	}
}

// bounded fails if the buffers are out of proportion to the input.
func bounded(t *testing.T, s *source, input int) {
	t.Helper()
	if s.src != nil && len(s.buf) > max(minWindow, 2*input) || cap(s.expanded) > lzfMaxRatio*(input+1) {
		t.Fatalf("%d bytes of input: window %d, expanded %d", input, len(s.buf), cap(s.expanded))
	}
}

// small fails if a value is out of proportion to the input it was made of, before
// and after being the memory in use and all that was ever allocated.
func small(t *testing.T, input int, used int64, before uint64) {
	t.Helper()
	room := int64(128<<10 + 2*lzfMaxRatio*input)
	if got := int64(allocated()-before) - 1<<20; used > room || got > room {
		t.Fatalf("%d bytes of input: %d bytes of memory, %d of Go's", input, used, got)
	}
}

// allocated returns the bytes of Go memory that were ever allocated, large
// objects exactly.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// sound verifies the structure of what was built.
func sound(a ds.Arena, e store.Encoding, inline []byte) error {
	switch e {
	case store.Quicklist:
		return ds.OpenQuicklist(a, inline).Check()
	case store.Hashtable:
		return ds.OpenTable(a, inline).Check()
	case store.Skiplist:
		return ds.OpenZSet(a, inline).Check()
	case store.HashtableTTL:
		return ds.OpenTTLTable(a, inline).Check()
	case store.StreamTree:
		return ds.OpenStream(a, inline).Check()
	case store.Intset:
		return ds.ValidateIntset(inline)
	case store.Listpack, store.ListpackTTL:
		return ds.ValidateLP(inline)
	}
	return nil
}

// FuzzReader: no file makes reading panic or allocate out of proportion, whether
// its values are read, built or passed over, and reading ends.
func FuzzReader(f *testing.F) {
	for _, d := range dumps {
		p := payload(f, d.name, d.hex)
		file := AppendSizes(AppendSelectDB(AppendAux(AppendHeader(nil, 10), "redis-ver", "7.2.4"), 0), 1, 0)
		file = AppendKey(file, &Key{Name: []byte("k"), ExpireAtMs: 5, IdleSec: 3, Freq: 9}, Type(p[0]), false)
		f.Add(append(append(file, p[1:len(p)-footerLen]...), opEOF, 0, 0, 0, 0, 0, 0, 0, 0))
	}
	h, err := mem.New(mem.Options{Reserve: 128 << 20, Poison: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		_, err := Check(bytes.NewReader(in), "fuzz", 0, io.Discard)
		formatError(t, err)

		before, goBefore := h.Used(), allocated()
		r, b := NewReader(bytes.NewReader(in)), Builder{Limits: DefaultLimits()}
		for {
			e, err := r.Next()
			formatError(t, err)
			if err != nil || e == EventEnd {
				break
			}
			if e == EventKey {
				err := b.Build(r.Value(), h, 0)
				formatError(t, err)
				if err == nil {
					err = sound(ds.Arena{Heap: h}, b.enc, b.inline)
				} else {
					err = nil
				}
				small(t, len(in), h.Used()-before, goBefore)
				if b.Drop(); err != nil {
					t.Fatal(err)
				}
			}
		}
		bounded(t, &r.s, len(in))
		if h.Used() != before {
			t.Fatalf("%d bytes leaked", h.Used()-before)
		}
		for r = NewReader(bytes.NewReader(in)); ; {
			if e, err := r.Next(); err != nil || e == EventEnd {
				formatError(t, err)
				break
			}
		}
	})
}

// FuzzValue: a payload that is built is written again as one that reads the same.
func FuzzValue(f *testing.F) {
	for _, d := range dumps {
		p := payload(f, d.name, d.hex)
		f.Add(p[:len(p)-footerLen])
	}
	st := newStore(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		p := AppendDumpFooter(bytes.Clone(body), 0)
		r := &Reader{}
		v, err := OpenDump(r, p)
		formatError(t, err)
		if err != nil {
			return
		}
		if v.Kind() == KindStream {
			stream, err := buildStream(t, st, v)
			formatError(t, err)
			if err != nil {
				return
			}
			again := AppendStream(nil, stream, TypeStream3, true)
			back, err := buildStream(t, st, open(t, AppendDumpFooter(append([]byte{byte(TypeStream3)}, again...), 0)))
			if err != nil {
				t.Fatalf("a stream written again: %v", err)
			}
			if twice := AppendStream(nil, back, TypeStream3, true); !bytes.Equal(twice, again) {
				t.Fatalf("written\n%x, then\n%x", again, twice)
			}
			return
		}
		used, before := st.Heap.Used(), allocated()
		var o store.Obj
		if err := put(st, "k", v, DefaultLimits(), &o); err != nil {
			formatError(t, err)
			return
		}
		small(t, len(body), st.Heap.Used()-used, before)
		if err := sound(o.Arena(), o.Encoding(), o.Bytes()); err != nil {
			t.Fatal(err)
		}
		bounded(t, &r.s, len(p))
		got, want := elements(t, open(t, AppendDump(nil, &o, true))), elements(t, open(t, p))
		st.DB(0).Delete(&o)
		if got != want {
			t.Fatalf("written as\n%s, want\n%s", got, want)
		}
	})
}

func FuzzZiplist(f *testing.F) {
	f.Add(ziplistOf("a", "bc", ""))
	f.Add(unhex("15 00 00 00 10 00 00 00 03 00 00 f8 02 02 61 62 04 c0 e8 03 ff"))
	f.Add(unhex("0b 00 00 00 0a 00 00 00 00 00 ff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		z := ziplist(in)
		want, err := z.validate()
		if err != nil {
			return
		}
		n := 0
		for off, ok := zlHeader, true; ok; {
			var e ds.Elem
			if e, off, ok = z.next(off); ok {
				n++
				elemText(&e, nil)
			}
		}
		if n != want {
			t.Fatalf("%d entries, validate counted %d", n, want)
		}
	})
}

func FuzzZipmap(f *testing.F) {
	f.Add(unhex("02 01 6b 01 00 76 02 69 64 02 01 34 32 00 ff"))
	f.Add(unhex("00 ff"))
	f.Add(unhex("ff fe 01 00 00 00 6b fe 01 00 00 00 00 76 ff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		z := zipmap(in)
		want, err := z.validate()
		if err != nil {
			return
		}
		n := 0
		for off, ok := zmHeader, true; ok; {
			if _, _, off, ok = z.next(off); ok {
				n++
			}
		}
		if n != want {
			t.Fatalf("%d pairs, validate counted %d", n, want)
		}
	})
}

// What every ziplist encoding stands for.
func TestZiplistEncodings(t *testing.T) {
	for _, tt := range []struct{ entry, want string }{
		{"00 f1", "0"}, {"00 fd", "12"}, {"00 fe 80", "-128"}, {"00 c0 00 80", "-32768"}, {"00 f0 00 00 80", "-8388608"},
		{"00 d0 ff ff ff 7f", "2147483647"}, {"00 e0 00 00 00 00 00 00 00 80", "-9223372036854775808"},
		{"00 40 02 61 62", "ab"}, {"00 80 00 00 00 01 61", "a"}, {"fe 00 00 00 00 01 61", "a"},
	} {
		z := append(make([]byte, zlHeader), unhex(tt.entry)...)
		z = append(z, zlEnd)
		z[0], z[4], z[8] = byte(len(z)), zlHeader, 1
		if n, err := ziplist(z).validate(); n != 1 || err != nil {
			t.Errorf("%s: validate = %d, %v", tt.entry, n, err)
			continue
		}
		if e, _, ok := ziplist(z).next(zlHeader); !ok || string(elemText(&e, nil)) != tt.want {
			t.Errorf("%s: %q, want %s", tt.entry, elemText(&e, nil), tt.want)
		}
		for i := range zlHeader {
			bad := bytes.Clone(z)
			bad[i]++
			if _, err := ziplist(bad).validate(); err == nil && (i < 8 || i > 9) {
				t.Errorf("%s: a wrong header byte %d is not noticed", tt.entry, i)
			}
		}
	}
}
