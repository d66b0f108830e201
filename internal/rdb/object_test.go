package rdb

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/store"
)

func newStore(t testing.TB) *store.Store {
	t.Helper()
	h, err := mem.New(mem.Options{Reserve: 128 << 20, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	st := store.New(h, 16)
	t.Cleanup(func() { st.Close(); h.Close() })
	return st
}

// put builds v under key in database 0.
func put(st *store.Store, key string, v *Value, l Limits, o *store.Obj) error {
	b := Builder{Limits: l}
	slot := hashslot.Slot([]byte(key))
	if err := b.Build(v, st.Heap, store.StripeOf(slot)); err != nil {
		return err
	}
	b.Create(st.DB(0), slot, store.Hash([]byte(key)), []byte(key), 0, 0, o)
	return nil
}

// buildStream makes a stream of v in memory, to be checked and written again.
func buildStream(t testing.TB, st *store.Store, v *Value) (ds.Stream, error) {
	t.Helper()
	b := Builder{Limits: DefaultLimits()}
	if err := b.Build(v, st.Heap, 0); err != nil {
		return ds.Stream{}, err
	}
	t.Cleanup(b.Drop)
	s := ds.OpenStream(ds.Arena{Heap: st.Heap}, b.inline)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return s, nil
}

// elements renders a value read from a payload, its elements in byte order
// unless order means something.
func elements(t testing.TB, v *Value) string {
	t.Helper()
	if v.Kind() == KindString || v.Kind() == KindStream {
		s, err := describe(v)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var all []string
	var e Elem
	for v.Next(&e) {
		score := e.Score + 0 // a score of -0 is 0 in a small set, here as in redis-server
		all = append(all, fmt.Sprintf("%q=%q %v %v", e.Str, e.Value, score, e.ExpireAtMs))
	}
	if v.Err() != nil {
		t.Fatal(v.Err())
	}
	if v.Kind() != KindList {
		slices.Sort(all)
	}
	return v.Kind().String() + " " + strings.Join(all, ", ")
}

func open(t testing.TB, p []byte) *Value {
	t.Helper()
	v, err := OpenDump(&Reader{}, p)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Every payload that can be held is built, written again and reads the same.
func TestDumpsBuild(t *testing.T) {
	st := newStore(t)
	for i, tt := range dumps {
		p := payload(t, tt.name, tt.hex)
		var o store.Obj
		err := put(st, "k"+strconv.Itoa(i), open(t, p), DefaultLimits(), &o)
		switch {
		case tt.name == "no elements":
			if err != ErrEmpty {
				t.Errorf("%s: %v, want %v", tt.name, err, ErrEmpty)
			}
			continue
		case tt.name == "module":
			if err != ErrModule {
				t.Errorf("%s: %v, want %v", tt.name, err, ErrModule)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		again := AppendDump(nil, &o, true)
		if got, want := elements(t, open(t, again)), elements(t, open(t, p)); got != want {
			t.Errorf("%s: built as %v, written as\n%s, want\n%s", tt.name, o.Encoding(), got, want)
		}
		switch tt.name { // the forms that this server writes itself come back bit by bit
		case "string", "int8 string", "int16 string", "int32 string", "list", "intset", "packed hash", "packed zset", "stream 2", "packed hash with times":
			if !bytes.Equal(again, p) {
				t.Errorf("%s: written as % x, want % x", tt.name, again, p)
			}
		}
	}
}

// body appends n elements of a plain type.
func plainBody(t Type, n int, elem func(dst []byte, i int) []byte) []byte {
	dst := AppendLen([]byte{byte(t)}, uint64(n))
	for i := range n {
		dst = elem(dst, i)
	}
	return AppendDumpFooter(dst, 0)
}

func text(i int) []byte { return fmt.Appendf(nil, "elem:%d", i) }

// The encoding of what is loaded is that of the local settings, at and around
// every threshold, and the content is the same on both sides of it.
func TestBuildEncodings(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 65)
	list := func(dst []byte, i int) []byte { return AppendString(dst, text(i), false) }
	hash := func(dst []byte, i int) []byte { return AppendString(list(dst, i), text(i), false) }
	zset := func(dst []byte, i int) []byte { return AppendDouble(list(dst, i), float64(i)/4) }
	ints := func(dst []byte, i int) []byte { return AppendInt(dst, int64(i)*1000) }
	longAt := func(at int, f func([]byte, int) []byte) func([]byte, int) []byte {
		return func(dst []byte, i int) []byte {
			if i != at {
				return f(dst, i)
			}
			rest := f(nil, i)
			skip := AppendString(nil, text(i), false)
			if bytes.HasPrefix(rest, skip) {
				rest = rest[len(skip):]
			} else {
				rest = nil
			}
			return append(AppendString(dst, long, false), rest...)
		}
	}
	st := newStore(t)
	for i, tt := range []struct {
		name string
		p    []byte
		want store.Encoding
	}{
		{"short list", plainBody(TypeList, 100, list), store.Listpack},
		{"long list", plainBody(TypeList, 2000, list), store.Quicklist},
		{"list with a long element", plainBody(TypeList, 3, longAt(1, list)), store.Listpack},
		{"list with a huge element", plainBody(TypeList, 1, func(d []byte, i int) []byte {
			return AppendString(d, bytes.Repeat([]byte("y"), 10000), false)
		}), store.Quicklist},
		{"512 fields", plainBody(TypeHash, 512, hash), store.Listpack},
		{"513 fields", plainBody(TypeHash, 513, hash), store.Hashtable},
		{"long field", plainBody(TypeHash, 5, longAt(3, hash)), store.Hashtable},
		{"512 integers", plainBody(TypeSet, 512, ints), store.Intset},
		{"513 integers", plainBody(TypeSet, 513, ints), store.Hashtable},
		{"128 members", plainBody(TypeSet, 128, list), store.Listpack},
		{"129 members", plainBody(TypeSet, 129, list), store.Hashtable},
		{"long member", plainBody(TypeSet, 5, longAt(4, list)), store.Hashtable},
		{"integers and one text", plainBody(TypeSet, 100, func(d []byte, i int) []byte {
			if i == 60 {
				return list(d, i)
			}
			return ints(d, i)
		}), store.Listpack},
		{"200 integers and one text", plainBody(TypeSet, 200, func(d []byte, i int) []byte {
			if i == 199 {
				return list(d, i)
			}
			return ints(d, i)
		}), store.Hashtable},
		{"128 scores", plainBody(TypeZSet, 128, zset), store.Listpack},
		{"129 scores", plainBody(TypeZSet, 129, zset), store.Skiplist},
		{"long zset member", plainBody(TypeZSet, 5, longAt(2, zset)), store.Skiplist},
		{"int string", AppendDumpFooter(AppendString([]byte{0}, []byte("123456789012345678"), false), 0), store.Int},
		{"44 bytes", AppendDumpFooter(AppendString([]byte{0}, bytes.Repeat([]byte("z"), 44), false), 0), store.Embstr},
		{"45 bytes", AppendDumpFooter(AppendString([]byte{0}, bytes.Repeat([]byte("z"), 45), false), 0), store.Raw},
	} {
		var o store.Obj
		if err := put(st, "k"+strconv.Itoa(i), open(t, tt.p), DefaultLimits(), &o); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if o.Encoding() != tt.want {
			t.Errorf("%s: encoding %v, want %v", tt.name, o.Encoding(), tt.want)
		}
		want := elements(t, open(t, tt.p))
		for _, compress := range []bool{false, true} {
			again := AppendDump(nil, &o, compress)
			if got := elements(t, open(t, again)); got != want {
				t.Errorf("%s: written as\n%s, want\n%s", tt.name, got, want)
			}
			if compress {
				continue
			}
			// And the packed forms, under settings that forbid packing.
			var big store.Obj
			l := Limits{ListSize: 2}
			if err := put(st, fmt.Sprint("big", i), open(t, again), l, &big); err != nil {
				t.Errorf("%s, unpacked: %v", tt.name, err)
			} else if got := elements(t, open(t, AppendDump(nil, &big, false))); got != want {
				t.Errorf("%s, unpacked to %v: written as\n%s, want\n%s", tt.name, big.Encoding(), got, want)
			}
		}
	}
	if err := st.Heap.Check(); err != nil {
		t.Error(err)
	}
}

// lpOf packs strings.
func lpOf(elems ...string) []byte {
	var b ds.SliceBuf
	ds.LPInit(&b)
	for _, e := range elems {
		ds.LPAppend(&b, []byte(e))
	}
	return b.B
}

// Damage that only shows in the whole value is found, and leaves no memory behind.
func TestBuildRefuses(t *testing.T) {
	str := func(dst []byte, s ...string) []byte {
		for _, s := range s {
			dst = AppendString(dst, []byte(s), false)
		}
		return dst
	}
	blob := func(t Type, elems ...string) []byte { return AppendString([]byte{byte(t)}, lpOf(elems...), false) }
	many := make([]string, 0, 1300)
	for i := range 650 {
		many = append(many, strconv.Itoa(i), "v")
	}
	dupMany := append(slices.Clone(many), "7", "v")
	bigScores := []string{}
	for i := range 300 {
		bigScores = append(bigScores, "m"+strconv.Itoa(i), strconv.Itoa(i))
	}
	st := newStore(t)
	before := st.Heap.Used()
	for name, p := range map[string][]byte{
		"set member twice":          str([]byte{2, 2}, "a", "a"),
		"integer member twice":      str([]byte{2, 2}, "1", "1"),
		"packed set member twice":   blob(TypeSetListpack, "a", "5", "a"),
		"field twice":               str([]byte{4, 2}, "a", "1", "a", "2"),
		"packed field twice":        blob(TypeHashListpack, "a", "1", "b", "2", "a", "3"),
		"field twice in a big hash": blob(TypeHashListpack, dupMany...),
		"ziplist field twice":       AppendString([]byte{13}, ziplistOf("a", "1", "a", "2"), false),
		"zset member twice":         AppendDouble(str(AppendDouble(str([]byte{5, 2}, "a"), 1), "a"), 2),
		"packed zset twice":         blob(TypeZSetListpack, "a", "1", "a", "2"),
		"big zset member twice":     blob(TypeZSetListpack, append(bigScores, "m3", "1000")...),
		"packed zset out of order":  blob(TypeZSetListpack, "a", "2", "b", "1"),
		"zset members out of order": blob(TypeZSetListpack, "b", "1", "a", "1"),
		"score is no number":        blob(TypeZSetListpack, "a", "one"),
		"score is NaN":              blob(TypeZSetListpack, "a", "nan"),
		"binary score is NaN":       append(str([]byte{5, 1}, "a"), 0, 0, 0, 0, 0, 0, 0xf8, 0x7f),
		"odd hash":                  blob(TypeHashListpack, "a", "1", "b"),
		"odd triplets":              append([]byte{25, 0, 0, 0, 0, 0, 0, 0, 0}, AppendString(nil, lpOf("a", "1"), false)...),
		"times out of order":        append([]byte{25, 0, 0, 0, 0, 0, 0, 0, 0}, AppendString(nil, lpOf("a", "1", "0", "b", "2", "5"), false)...),
		"intset descending":         unhex("0b 0c 02 00 00 00 02 00 00 00 02 00 01 00"),
		"node container":            unhex("12 01 03 01 61"),
		"list count beyond data":    unhex("01 81 ff ff ff ff ff ff ff ff 01 61"),
		"string beyond data":        unhex("00 81 00 00 00 ff ff ff ff ff 61"),
		"empty listpack bytes":      unhex("10 00"),
	} {
		for _, l := range []Limits{DefaultLimits(), {ListSize: -2}} {
			v, err := OpenDump(&Reader{}, AppendDumpFooter(bytes.Clone(p), 0))
			if err == nil {
				var o store.Obj
				err = put(st, "k", v, l, &o)
			}
			var fe *FormatError
			if !errors.As(err, &fe) {
				t.Fatalf("%s: %v, want a format error", name, err)
			}
		}
		if used := st.Heap.Used(); used != before {
			t.Fatalf("%s: %d bytes stay allocated", name, used-before)
		}
	}
}

// A random keyspace goes to a file and comes back the same, with expiries and
// databases, and deleting all of it gives back all memory.
func TestSaveLoad(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	st := newStore(t)
	st.LockWorld()
	empty := st.Heap.Used()
	st.UnlockWorld()
	fillRandom(t, st, rnd, 400)
	want := contents(t, st)

	c, snap := cut(t, st, RecordOptions{Compress: true})
	var file bytes.Buffer
	w := NewWriter(&file, WriterOptions{Compress: true, Checksum: true})
	info := Info{ServerVersion: "7.2.4", CreatedSec: 1700000000, UsedMemory: 1 << 20,
		Repl: &ReplInfo{DB: 3, ID: strings.Repeat("a", 40), Offset: 12345}}
	if err := c.Write(snap, w, &info); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file.WriteString("tail")

	var report bytes.Buffer
	rep, err := Check(bytes.NewReader(file.Bytes()), "x.rdb", 0, &report)
	if err != nil || rep.Keys != len(want) || !strings.Contains(report.String(), "looks OK") {
		t.Errorf("Check: %d keys, %v, want %d\n%s", rep.Keys, err, len(want), &report)
	}

	st2 := newStore(t)
	r := NewReader(bytes.NewReader(file.Bytes()))
	s, err := Load(r, st2, &LoadOptions{Limits: DefaultLimits(), NowMs: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s.Keys != len(want) || s.Info.Repl == nil || *s.Info.Repl != *info.Repl || s.Info.ServerVersion != "7.2.4" {
		t.Errorf("Load: %+v, %+v", s, s.Info.Repl)
	}
	if string(r.Buffered()) != "tail" || s.Bytes != int64(file.Len()-4) {
		t.Errorf("after the file: %q at %d of %d", r.Buffered(), s.Bytes, file.Len())
	}
	got := contents(t, st2)
	for k, v := range want {
		if got[k] != v {
			t.Fatalf("key %s: loaded\n%.300s, want\n%.300s", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys, want %d", len(got), len(want))
	}

	// Twice into the same keyspace is a duplicate; a cut is an error.
	if _, err := Load(NewReader(bytes.NewReader(file.Bytes())), st2, &LoadOptions{Limits: DefaultLimits()}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("second load: %v, want %v", err, ErrCorrupt)
	}
	flipped := bytes.Clone(file.Bytes())
	flipped[len(flipped)-6] ^= 1
	st3 := newStore(t)
	if _, err := Load(NewReader(bytes.NewReader(flipped)), st3, &LoadOptions{Limits: DefaultLimits()}); !errors.Is(err, ErrChecksum) {
		t.Errorf("flipped checksum: %v, want %v", err, ErrChecksum)
	}

	st2.LockWorld()
	for i := range st2.DBs() {
		st2.DB(i).Clear(false)
	}
	st2.UnlockWorld()
	if used := st2.Heap.Used(); used > empty {
		t.Errorf("%d bytes in use after deleting everything, %d in an empty store", used, empty)
	}
	if err := st2.Heap.Check(); err != nil {
		t.Error(err)
	}
}

// fillRandom puts n keys of all kinds and sizes into st, by way of payloads.
func fillRandom(t *testing.T, st *store.Store, rnd *rand.Rand, n int) {
	for i := range n {
		size := 1 + rnd.IntN(1<<rnd.IntN(10))
		word := func() []byte {
			switch rnd.IntN(4) {
			case 0:
				return strconv.AppendInt(nil, rnd.Int64()>>rnd.IntN(64)-1000, 10)
			case 1:
				return bytes.Repeat([]byte("w"), rnd.IntN(100))
			}
			p := make([]byte, rnd.IntN(12))
			for i := range p {
				p[i] = byte(rnd.Uint32())
			}
			return p
		}
		seen := map[string]bool{}
		member := func(dst []byte) []byte {
			m := word()
			for seen[string(m)] {
				m = append(m, byte('a'+rnd.IntN(26)))
			}
			seen[string(m)] = true
			return AppendString(dst, m, true)
		}
		var p []byte
		switch rnd.IntN(5) {
		case 0:
			p = AppendDumpFooter(AppendString([]byte{0}, bytes.Repeat(word(), rnd.IntN(200)), true), 0)
		case 1:
			p = plainBody(TypeList, size, func(dst []byte, _ int) []byte { return AppendString(dst, word(), true) })
		case 2:
			p = plainBody(TypeSet, size, func(dst []byte, _ int) []byte { return member(dst) })
		case 3:
			p = plainBody(TypeZSet, size, func(dst []byte, _ int) []byte { return AppendDouble(member(dst), float64(rnd.IntN(99)-50)/3) })
		case 4:
			p = plainBody(TypeHash, size, func(dst []byte, _ int) []byte { return AppendString(member(dst), word(), true) })
		}
		key := fmt.Appendf(word(), "-%d", i)
		slot := hashslot.Slot(key)
		b := Builder{Limits: DefaultLimits()}
		if err := b.Build(open(t, p), st.Heap, store.StripeOf(slot)); err != nil {
			t.Fatal(err)
		}
		var o store.Obj
		expire := int64(0)
		if rnd.IntN(3) == 0 {
			expire = 1 + rnd.Int64N(1<<42)
		}
		st.Lock(slot)
		b.Create(st.DB(rnd.IntN(4)*5), slot, store.Hash(key), key, expire, 0, &o)
		st.Unlock(slot)
	}
}

// contents renders every key of st.
func contents(t *testing.T, st *store.Store) map[string]string {
	all := map[string]string{}
	for i := range st.DBs() {
		st.DB(i).EachKey(func(o *store.Obj) bool {
			all[fmt.Sprintf("%d/%q", i, o.Key())] = fmt.Sprintf("%v %d %s", o.Encoding(), o.ExpireAt(), elements(t, open(t, AppendDump(nil, o, true))))
			return true
		})
	}
	return all
}

// Load obeys its options, and hints and facts in any place do no harm.
func TestLoadOptions(t *testing.T) {
	var f []byte
	f = AppendHeader(f, 12)
	f = AppendAux(f, "valkey-ver", "8.1.1")
	f = AppendAux(f, "slot-info", "12,3,1")
	f = AppendAux(f, "repl-id", "too short")
	f = AppendAux(f, "repl-offset", "5")
	f = append(f, opModuleAux)
	f = AppendLen(f, 0x45e25238df912c03)
	f = append(f, 2, 1, 2, 7, 5, 2, 'h', 'i', 0)
	f = AppendFunction(f, []byte("#!lua name=lib\n"), true)
	f = AppendSizes(AppendSelectDB(f, 2), 1<<40, 7)
	f = append(f, opSlotInfo, 1, 2, 3)
	key := func(name string, expire int64, body ...byte) {
		f = AppendKey(f, &Key{Name: []byte(name), ExpireAtMs: expire, IdleSec: 30, Freq: 9}, Type(body[0]), false)
		f = append(f, body[1:]...)
	}
	key("past", 999, 0, 1, 'v')
	key("future", 1001, 0, 1, 'v')
	key("empty", 0, 2, 0)
	key("module", 0, append(append([]byte{7}, AppendLen(nil, 0x45e25238df912c03)...), 0)...)
	f = append(f, opExpireSec, 0xff, 0xff, 0xff, 0xff) // one second before the epoch
	key("long past", 0, 0, 1, 'v')
	f = append(f, opEOF, 0, 0, 0, 0, 0, 0, 0, 0)

	for _, drop := range []bool{true, false} {
		st := newStore(t)
		var libs, aux []string
		s, err := Load(NewReader(bytes.NewReader(f)), st, &LoadOptions{
			Limits: DefaultLimits(), NowMs: 1000, DropExpired: drop, SkipModules: true,
			Function: func(source []byte) error { libs = append(libs, string(source)); return nil },
			Aux:      func(name, value []byte) { aux = append(aux, string(name)) },
		})
		if err != nil {
			t.Fatal(err)
		}
		wantKeys, wantExpired := 3, 0
		if drop {
			wantKeys, wantExpired = 1, 2
		}
		if s.Keys != wantKeys || s.Expired != wantExpired || s.Empty != 1 || s.Modules != 1 || s.ModuleAux != 1 || s.Functions != 0 || s.Info.Repl != nil || s.Info.ServerVersion != "8.1.1" {
			t.Errorf("drop %v: %+v", drop, s)
		}
		if got, want := s.LeftOut(), "1 keys with values of modules (such as ReJSON-RL version 3), 1 pieces of data of modules beside the keys (such as of ReJSON-RL version 3)"; got != want {
			t.Errorf("LeftOut = %q, want %q", got, want)
		}
		plain, err := Load(NewReader(bytes.NewReader(f)), newStore(t), &LoadOptions{Limits: DefaultLimits(), NowMs: 1000, DropExpired: drop, SkipModules: true})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := plain.LeftOut(), s.LeftOut()+", 1 function libraries"; got != want {
			t.Errorf("LeftOut = %q, want %q", got, want)
		}
		if len(aux) != 4 || len(libs) != 1 {
			t.Errorf("aux %q, functions %q", aux, libs)
		}
		var o store.Obj
		k := []byte("future")
		if !st.DB(2).Find(hashslot.Slot(k), store.Hash(k), k, &o) || o.ExpireAt() != 1001 {
			t.Error("the key of the future is not there")
		}
	}
	for name, bad := range map[string][]byte{
		"database":       AppendSelectDB(AppendHeader(nil, 10), 16),
		"old function":   append(AppendHeader(nil, 10), 0xf6),
		"unknown type":   append(AppendHeader(nil, 10), 26),
		"newer version":  AppendHeader(nil, 13),
		"version zero":   AppendHeader(nil, 0),
		"signature":      []byte("VALKEY080"),
		"nothing at all": nil,
	} {
		if _, err := Load(NewReader(bytes.NewReader(bad)), newStore(t), &LoadOptions{Limits: DefaultLimits()}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Before version 5 there is no checksum to read.
	old := append(AppendHeader(nil, 4), opEOF)
	if _, err := Load(NewReader(bytes.NewReader(old)), newStore(t), &LoadOptions{}); err != nil {
		t.Errorf("version 4: %v", err)
	}
}

// What only a module can read ends a load, and the error says what and where, unless
// it is to be left out.
func TestModuleDataRefused(t *testing.T) {
	id := AppendLen(nil, 0x45e25238df912c03)
	good := AppendKey(AppendSelectDB(AppendHeader(nil, 10), 3), &Key{Name: []byte("good"), IdleSec: NoIdle, Freq: NoFreq}, TypeString, false)
	good = append(good, 1, 'v')
	aux := append(append(append(bytes.Clone(good), opModuleAux), id...), 2, 2, 2, 7, 0)
	value := AppendKey(bytes.Clone(good), &Key{Name: []byte("doc:1"), IdleSec: NoIdle, Freq: NoFreq}, TypeModule, false)
	idAt := len(value)
	value = append(append(value, id...), 5, 2, '{', '}', 0)
	big := AppendKey(bytes.Clone(good), &Key{Name: []byte("big"), IdleSec: NoIdle, Freq: NoFreq}, TypeModule, false)
	big = append(AppendString(append(big, append(bytes.Clone(id), 5)...), bytes.Repeat([]byte("x"), testHeld+1), false), 0)
	end := []byte{opEOF, 0, 0, 0, 0, 0, 0, 0, 0}
	for name, tt := range map[string]struct {
		file []byte
		want string
		left string
	}{
		"data beside the keys": {aux, fmt.Sprintf("offset %d: data beside the keys: of module type ReJSON-RL version 3: ", len(good)+1), "1 pieces of data"},
		"value":                {value, fmt.Sprintf(`offset %d: key "doc:1" of database 3: value: of module type ReJSON-RL version 3: `, idAt), "1 keys"},
		"big value":            {big, `key "big" of database 3: value: of module type ReJSON-RL version 3: `, "1 keys"},
	} {
		file := append(tt.file, end...)
		_, err := Load(NewReader(bytes.NewReader(file)), newStore(t), &LoadOptions{Limits: DefaultLimits(), held: testHeld})
		var fe *FormatError
		if !errors.Is(err, ErrModuleData) || !errors.As(err, &fe) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "rdb-module-data") {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
		s, err := Load(NewReader(bytes.NewReader(file)), newStore(t), &LoadOptions{Limits: DefaultLimits(), SkipModules: true})
		if err != nil || s.Keys != 1 || !strings.HasPrefix(s.LeftOut(), tt.left) {
			t.Errorf("%s, skipped: %+v, %v", name, s, err)
		}
	}
	// A value whose time has come is left out as such.
	past := AppendKey(AppendHeader(nil, 10), &Key{Name: []byte("past"), ExpireAtMs: 5, IdleSec: NoIdle, Freq: NoFreq}, TypeModule, false)
	past = append(append(append(past, id...), 0), end...)
	if s, err := Load(NewReader(bytes.NewReader(past)), newStore(t), &LoadOptions{Limits: DefaultLimits(), NowMs: 6, DropExpired: true}); err != nil || s.Expired != 1 {
		t.Errorf("expired: %+v, %v", s, err)
	}
}

// A file of a version to come is refused, or read as far as it is understood.
func TestNewerVersion(t *testing.T) {
	file := append(AppendKey(AppendHeader(nil, 13), &Key{Name: []byte("k"), IdleSec: NoIdle, Freq: NoFreq}, TypeString, false), 1, 'v')
	whole := append(bytes.Clone(file), opEOF, 0, 0, 0, 0, 0, 0, 0, 0)
	if _, err := Load(NewReader(bytes.NewReader(whole)), newStore(t), &LoadOptions{Limits: DefaultLimits()}); !errors.Is(err, ErrVersion) {
		t.Errorf("strict: %v, want %v", err, ErrVersion)
	}
	if s, err := Load(NewReader(bytes.NewReader(whole)), newStore(t), &LoadOptions{Limits: DefaultLimits(), AnyVersion: true}); err != nil || s.Keys != 1 || s.Version != 13 {
		t.Errorf("relaxed: %+v, %v", s, err)
	}
	if _, err := Load(NewReader(bytes.NewReader(append(file, 60, 1, 'n', 0))), newStore(t), &LoadOptions{Limits: DefaultLimits(), AnyVersion: true}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("relaxed, an unknown type: %v, want %v", err, ErrCorrupt)
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	st := newStore(t)
	for i, p := range [][]byte{
		plainBody(TypeHash, 1000, func(dst []byte, i int) []byte { return AppendString(AppendString(dst, text(i), true), text(i), true) }),
		plainBody(TypeZSet, 1000, func(dst []byte, i int) []byte { return AppendDouble(AppendString(dst, text(i), true), float64(i)) }),
		plainBody(TypeList, 3000, func(dst []byte, i int) []byte { return AppendString(dst, text(i), true) }),
		plainBody(TypeSet, 100, func(dst []byte, i int) []byte { return AppendString(dst, text(i), true) }),
	} {
		var o store.Obj
		if err := put(st, fmt.Sprint(i), open(t, p), DefaultLimits(), &o); err != nil {
			t.Fatal(err)
		}
		dst := AppendRecord(nil, &o, &RecordOptions{Compress: true})
		if n := testing.AllocsPerRun(20, func() { dst = AppendRecord(dst[:0], &o, &RecordOptions{Compress: true}) }); n != 0 {
			t.Errorf("writing a %v %v allocates %v times", o.Type(), o.Encoding(), n)
		}
	}
}
