package rdb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/store"
)

// crcJoin agrees with summing the whole.
func TestCRCJoin(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		p := make([]byte, rnd.IntN(1<<rnd.IntN(17)))
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		cut := rnd.IntN(len(p) + 1)
		if got, want := crcJoin(CRC64(0, p[:cut]), CRC64(0, p[cut:]), int64(len(p)-cut)), CRC64(0, p); got != want {
			t.Fatalf("crcJoin of %d and %d bytes = %x, want %x", cut, len(p)-cut, got, want)
		}
	}
}

// testHeld is the longest record for a worker, in tests.
const testHeld = 2 << 20

// manyBlocks is a file of n keys of all kinds; if big, a few of them are too big for
// a block, and two for a worker.
func manyBlocks(t testing.TB, n int, big bool) []byte {
	third, quarter, half := n/3, n/4, n/2
	if !big {
		third, quarter, half = n, n, n
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	f := AppendSizes(AppendSelectDB(AppendHeader(nil, 10), 0), uint64(n), 0)
	for i := range n {
		if i%1000 == 999 {
			f = AppendSelectDB(f, i/1000%16)
		}
		k := Key{Name: fmt.Appendf(nil, "key:%d", i), IdleSec: NoIdle, Freq: NoFreq}
		if i%7 == 0 {
			k.Name = fmt.Appendf(nil, "%d", i) // an integer, packed
		}
		if i%11 == 0 {
			k.ExpireAtMs = int64(i + 1)
		}
		size := rnd.IntN(20)
		switch i {
		case third:
			size = blockSize / 10
		case half:
			size = testHeld / 18 // 20 bytes each
		}
		str := func(dst []byte, _ int) []byte {
			return AppendString(dst, bytes.Repeat([]byte{byte('a' + i%26)}, rnd.IntN(50)), i%2 == 0)
		}
		member := func(dst []byte, j int) []byte { return AppendString(dst, fmt.Appendf(nil, "member %d", j), false) }
		var p []byte
		switch {
		case i == quarter:
			p = AppendString([]byte{byte(TypeString)}, bytes.Repeat([]byte("long "), testHeld/4), false)
		case i%5 == 0:
			p = plainBody(TypeList, 1+size, str)
		case i%5 == 1:
			p = plainBody(TypeHash, 1+size, func(dst []byte, j int) []byte { return str(member(dst, j), j) })
		case i == half, i%5 == 2:
			p = plainBody(TypeZSet, 1+size, func(dst []byte, j int) []byte { return AppendDouble(member(dst, j), float64(j)) })
		default:
			p = AppendDumpFooter(str([]byte{byte(TypeString)}, 0), 0)
		}
		if i == quarter {
			p = AppendDumpFooter(p, 0)
		}
		f = append(AppendKey(f, &k, Type(p[0]), false), p[1:len(p)-footerLen]...)
	}
	return f
}

// ended closes a file with its checksum.
func ended(f []byte) []byte {
	f = append(f, opEOF)
	sum := CRC64(0, f)
	for range 8 {
		f = append(f, byte(sum))
		sum >>= 8
	}
	return f
}

// trickle gives a few bytes at a time, and other numbers of them every time.
type trickle struct {
	r   io.Reader
	rnd *rand.Rand
}

func (t trickle) Read(p []byte) (int, error) { return t.r.Read(p[:min(len(p), 1+t.rnd.IntN(9000))]) }

// A file of many blocks is loaded as reading it in one goroutine says, however the
// input arrives, and what is behind it is left.
func TestLoadBlocks(t *testing.T) {
	n, calls := 20000, 30
	if testing.Short() {
		n, calls = 3000, 4
	}
	file := ended(manyBlocks(t, n, !testing.Short()))
	want := map[string]string{}
	for r := NewReader(bytes.NewReader(file)); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == EventEnd {
			break
		}
		if e == EventKey {
			want[fmt.Sprintf("%d/%q", r.DB(), r.Key().Name)] = fmt.Sprintf("%d %s", r.Key().ExpireAtMs, elements(t, r.Value()))
		}
	}
	for name, in := range map[string]io.Reader{
		"whole":   bytes.NewReader(append(bytes.Clone(file), "tail"...)),
		"trickle": trickle{bytes.NewReader(append(bytes.Clone(file), "tail"...)), rand.New(rand.NewPCG(5, 6))},
	} {
		st := newStore(t)
		empty := st.Heap.Used()
		called, last := 0, LoadStats{}
		r := NewReader(in)
		s, err := Load(r, st, &LoadOptions{Limits: DefaultLimits(), held: testHeld, Between: func(s *LoadStats) error {
			if called++; s.Keys < last.Keys || s.Bytes <= last.Bytes {
				t.Errorf("%s: progress went from %d keys, %d bytes to %d, %d", name, last.Keys, last.Bytes, s.Keys, s.Bytes)
			}
			last = *s
			return nil
		}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.Keys != len(want) || s.Bytes != int64(len(file)) || called < calls {
			t.Errorf("%s: %d keys of %d, %d bytes of %d, %d calls of Between", name, s.Keys, len(want), s.Bytes, len(file), called)
		}
		rest, _ := io.ReadAll(in)
		if got := string(r.Buffered()) + string(rest); got != "tail" {
			t.Errorf("%s: behind the file: %q", name, got)
		}
		n := 0
		for i := range st.DBs() {
			st.DB(i).EachKey(func(o *store.Obj) bool {
				n++
				got := fmt.Sprintf("%d %s", o.ExpireAt(), elements(t, open(t, AppendDump(nil, o, true))))
				if w := want[fmt.Sprintf("%d/%q", i, o.Key())]; got != w {
					t.Errorf("%s: key %d/%q\n%.300s, want\n%.300s", name, i, o.Key(), got, w)
				}
				return !t.Failed()
			})
		}
		if n != len(want) {
			t.Errorf("%s: %d keys in the store, want %d", name, n, len(want))
		}
		clearAll(st)
		if used := st.Heap.Used(); used > empty {
			t.Errorf("%s: %d bytes left", name, used-empty)
		}
	}
}

// Big values go on one by one where there is no room for more.
func TestLoadBigInTurn(t *testing.T) {
	f := AppendHeader(nil, 10)
	const n = 60
	for i := range n {
		f = AppendKey(f, &Key{Name: fmt.Appendf(nil, "big:%d", i), IdleSec: NoIdle, Freq: NoFreq}, TypeList, false)
		p := plainBody(TypeList, blockSize/20*(1+i%3), func(dst []byte, j int) []byte {
			return AppendString(dst, fmt.Appendf(nil, "element %020d", i*j), false)
		})
		f = append(f, p[1:len(p)-footerLen]...)
		f = AppendKey(f, &Key{Name: fmt.Appendf(nil, "small:%d", i), IdleSec: NoIdle, Freq: NoFreq}, TypeString, false)
		f = append(f, 1, 'v')
	}
	f = ended(f)
	for _, room := range []int64{1, 600 << 10, bigRoom} {
		st := newStore(t)
		s, err := Load(NewReader(trickle{bytes.NewReader(f), rand.New(rand.NewPCG(7, uint64(room)))}), st, &LoadOptions{Limits: DefaultLimits(), room: room})
		if err != nil || s.Keys != 2*n {
			t.Errorf("room %d: %d keys, %v", room, s.Keys, err)
		}
	}
}

// Of a damaged file the first error counts, with its offset, whoever meets it and
// whatever stands behind it; a load can be given up at any time.
func TestLoadBlocksDamaged(t *testing.T) {
	good := manyBlocks(t, 2500, false)
	bad := func(f []byte, name string) ([]byte, int64) {
		// An intset whose length is no multiple of its width.
		f = AppendKey(f, &Key{Name: []byte(name), IdleSec: NoIdle, Freq: NoFreq}, TypeSetIntset, false)
		f = AppendString(f, []byte("\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00"), false)
		return f, int64(len(f))
	}
	more := func(f []byte, from int) []byte {
		for i := range 4000 {
			f = AppendKey(f, &Key{Name: fmt.Appendf(nil, "more:%d", from+i), IdleSec: NoIdle, Freq: NoFreq}, TypeString, false)
			f = AppendString(f, []byte("some value"), false)
		}
		return f
	}
	one, at := bad(bytes.Clone(good), "first")
	two, _ := bad(more(bytes.Clone(one), 0), "second")
	garbage := append(more(bytes.Clone(one), 0), 99, 99, 99)
	twice := append(bytes.Clone(good), good[len(AppendHeader(nil, 10)):]...)
	zeros := append(bytes.Clone(good), opEOF, 1, 2, 3, 4, 5, 6, 7, 8)
	st := newStore(t)
	for _, tt := range []struct {
		name string
		file []byte
		at   int64 // 0: somewhere
		is   error
	}{
		{"one bad value", ended(bytes.Clone(one)), at, ErrCorrupt},
		{"much follows it", ended(more(bytes.Clone(one), 0)), at, ErrCorrupt},
		{"another follows it", ended(bytes.Clone(two)), at, ErrCorrupt},
		{"no type follows it", garbage, at, ErrCorrupt},
		{"the file ends behind it", more(bytes.Clone(one), 0), at, ErrCorrupt},
		{"no type", append(bytes.Clone(good), 99), int64(len(good)), ErrCorrupt},
		{"the file ends", good, int64(len(good)), io.ErrUnexpectedEOF},
		{"the file ends in a record", good[:len(good)-3], 0, io.ErrUnexpectedEOF},
		{"all is there twice", ended(twice), 0, ErrCorrupt},
		{"the checksum is wrong", zeros, int64(len(zeros)), ErrChecksum},
	} {
		for range 2 {
			_, err := Load(NewReader(bytes.NewReader(tt.file)), st, &LoadOptions{Limits: DefaultLimits()})
			var fe *FormatError
			if !errors.Is(err, tt.is) || !errors.As(err, &fe) || tt.at != 0 && fe.Offset != tt.at {
				t.Fatalf("%s: %v, want %v at %d", tt.name, err, tt.is, tt.at)
			}
			clearAll(st)
		}
	}
	enough := errors.New("enough")
	if _, err := Load(NewReader(bytes.NewReader(good)), st, &LoadOptions{Limits: DefaultLimits(), Between: func(*LoadStats) error { return enough }}); err != enough {
		t.Errorf("given up: %v", err)
	}
}

// FuzzLoad: any file is loaded or refused just as the same file read key by key in
// one goroutine.
func FuzzLoad(f *testing.F) {
	f.Add([]byte{})
	for _, d := range dumps {
		p := payload(f, d.name, d.hex)
		f.Add(append(append([]byte{p[0], 1, 'k'}, p[1:len(p)-footerLen]...), 0, 1, 'k', 1, 'v'))
	}
	limits := DefaultLimits()
	h, err := mem.New(mem.Options{Reserve: 128 << 20, Poison: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, records []byte) {
		in := append(AppendHeader(nil, 12), records...)
		st := store.New(h, 2)
		defer st.Close()
		one := func() (keys int, err error) {
			st := store.New(h, 2)
			defer st.Close()
			var s LoadStats
			l := recordLoader{st: st, o: &LoadOptions{Limits: limits}, b: Builder{Limits: limits}, stats: &s}
			defer clearAll(st)
			for r := NewReader(bytes.NewReader(in)); ; {
				e, err := r.Next()
				if err != nil || e == EventEnd {
					return s.Keys, err
				}
				if e == EventModuleAux {
					return s.Keys, moduleRefused(r.moduleAt, "", 0)
				}
				if e == EventDB && r.DB() >= 2 {
					return s.Keys, ErrCorrupt
				}
				if e == EventKey {
					k := r.Key()
					if err := l.load(&r.s, r.Value(), k, hashslot.Slot(k.Name), store.Hash(k.Name)); err != nil {
						return s.Keys, err
					}
				}
			}
		}
		keys, want := one()
		s, got := Load(NewReader(bytes.NewReader(in)), st, &LoadOptions{Limits: limits})
		var a, b *FormatError
		if (got == nil) != (want == nil) || got == nil && s.Keys != keys {
			t.Fatalf("Load: %d keys, %v, want %d, %v", s.Keys, got, keys, want)
		}
		if errors.As(got, &a) && errors.As(want, &b) && a.Offset != b.Offset {
			t.Fatalf("Load: %v, want %v", got, want)
		}
		clearAll(st)
		if used := h.Used(); used != 0 {
			t.Fatalf("%d bytes leaked", used)
		}
	})
}

func clearAll(st *store.Store) {
	st.LockWorld()
	defer st.UnlockWorld()
	for i := range st.DBs() {
		st.DB(i).Clear(false)
	}
}
