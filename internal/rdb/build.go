package rdb

import (
	"errors"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/store"
)

// Limits are the settings that decide when a collection is packed. A value that
// is read gets the encoding that it would have if it had been made here.
type Limits struct {
	HashEntries, HashValue int // hash-max-listpack-entries, -value
	SetIntset              int // set-max-intset-entries
	SetEntries, SetValue   int // set-max-listpack-entries, -value
	ZSetEntries, ZSetValue int // zset-max-listpack-entries, -value
	ListSize               int // list-max-listpack-size: > 0 entries, -1..-5 a size class
}

// DefaultLimits returns the documented defaults (persistence-replication.md 10.6).
func DefaultLimits() Limits {
	return Limits{HashEntries: 512, HashValue: 64, SetIntset: 512, SetEntries: 128, SetValue: 64,
		ZSetEntries: 128, ZSetValue: 64, ListSize: -2}
}

// Why a value that was read is not built.
var (
	ErrEmpty  = errors.New("rdb: collection without elements") // a file's key is left out, a payload refused
	ErrModule = errors.New("rdb: value of a module")           // refused, or left out where that is allowed
)

// Builder turns a Value into what a record holds, outside of the keyspace: no
// slot is locked while input is waited for, and a value that turns out damaged
// leaves no trace. It may be used again and again and keeps its buffers.
type Builder struct {
	Limits Limits

	arena  ds.Arena
	typ    store.Type
	enc    store.Encoding
	inline []byte // what goes into the record: a view, or of packed or header
	packed ds.SliceBuf
	header [max(ds.TableHeader, ds.QuicklistHeader, ds.ZSetHeader, ds.StreamHeader, ds.TTLTableHeader)]byte
	owns   bool // header leads to memory of arena
	places []uint32
	text   [20]byte
}

// Build makes the value, with memory of shard if it is big. On success the
// caller calls Create, or Drop if it has no use for the value; both before v or
// its Reader is touched again. After an error nothing is held. Errors: those of
// v; ErrEmpty, ErrModule.
func (b *Builder) Build(v *Value, heap *mem.Heap, shard int) (err error) {
	b.arena, b.owns, b.inline = ds.Arena{Heap: heap, Shard: shard}, false, nil
	switch v.Kind() {
	case KindString:
		b.string(v)
	case KindList:
		err = b.list(v)
	case KindSet:
		err = b.set(v)
	case KindZSet:
		err = b.zset(v)
	case KindHash:
		err = b.hash(v)
	case KindStream:
		err = b.stream(v)
	case KindModule:
		v.skip()
		err = ErrModule
	default: // no type is without a kind here
		v.s.corrupt("value type %d is not known", uint8(v.Type()))
	}
	if v.Err() != nil {
		err = v.Err()
	}
	if err != nil {
		b.Drop()
	}
	return err
}

// Create puts the built value into db under a key that must not exist there, and
// points o at it. The key's slot is locked, and is of the shard given to Build.
func (b *Builder) Create(db *store.DB, slot uint16, hash uint64, key []byte, expireAtMs int64, second uint32, o *store.Obj) {
	copy(db.Create(slot, hash, key, b.typ, b.enc, len(b.inline), expireAtMs, second, o), b.inline)
	o.NoteFieldTime()
	b.owns = false
}

// Drop frees what was built and not used. It may be called at any time.
func (b *Builder) Drop() {
	if !b.owns {
		return
	}
	b.owns = false
	switch b.enc {
	case store.Quicklist:
		ds.OpenQuicklist(b.arena, b.header[:]).Free()
	case store.Hashtable:
		ds.OpenTable(b.arena, b.header[:]).Free()
	case store.Skiplist:
		ds.OpenZSet(b.arena, b.header[:]).Free()
	case store.HashtableTTL:
		ds.OpenTTLTable(b.arena, b.header[:]).Free()
	case store.StreamTree:
		ds.OpenStream(b.arena, b.header[:]).Free()
	}
}

func (b *Builder) is(t store.Type, e store.Encoding, inline []byte) {
	b.typ, b.enc, b.inline = t, e, inline
}

// embstrMax is the longest string that OBJECT ENCODING calls embstr.
const embstrMax = 44

func (b *Builder) string(v *Value) {
	p, _ := v.Str()
	if len(p) > store.MaxValue {
		v.s.corrupt("string of %d bytes", len(p))
	}
	e := store.Raw
	if _, ok := ds.ParseInt(p); ok {
		e = store.Int
	} else if len(p) <= embstrMax {
		e = store.Embstr
	}
	b.is(store.String, e, p)
}

// list takes packed nodes over as they are where they are within the limit.
func (b *Builder) list(v *Value) error {
	fill := b.Limits.ListSize
	if lp, ok := v.Listpack(); ok {
		switch n := lp.Count(); {
		case n == 0:
			return ErrEmpty
		case ds.ListNodeFits(fill, len(lp), n):
			b.is(store.List, store.Listpack, lp)
			return nil
		}
		q := b.quicklist()
		pushAll(q, lp, fill)
		return nil
	}
	q := b.quicklist()
	if v.Type() == TypeListQuicklist2 {
		for {
			data, single, ok := v.Node()
			switch {
			case !ok:
				return b.packList(v, q)
			case single:
				q.PushTail(data, fill)
			case ds.ListNodeFits(fill, len(data), ds.LP(data).Count()):
				q.AppendPacked(data, fill)
			default:
				pushAll(q, data, fill)
			}
		}
	}
	var e Elem
	for v.Next(&e) {
		q.PushTail(e.Str, fill)
	}
	return b.packList(v, q)
}

func (b *Builder) quicklist() ds.Quicklist {
	b.owns = true
	b.is(store.List, store.Quicklist, b.header[:ds.QuicklistHeader])
	return ds.InitQuicklist(b.arena, b.inline)
}

func pushAll(q ds.Quicklist, lp ds.LP, fill int) {
	var text [20]byte
	for it := lp.Iter(); it.Next(); {
		e := it.Elem()
		q.PushTail(elemText(&e, text[:0]), fill)
	}
}

// packList makes a list of one small node a listpack.
func (b *Builder) packList(v *Value, q ds.Quicklist) error {
	if v.Err() != nil {
		return v.Err()
	}
	if q.Len() == 0 {
		return ErrEmpty
	}
	lp, ok := q.Single()
	if !ok || !ds.ListNodeFits(b.Limits.ListSize, len(lp), ds.LP(lp).Count()) {
		return nil
	}
	b.packed.B = append(b.packed.B[:0], lp...)
	b.Drop()
	b.is(store.List, store.Listpack, b.packed.B)
	return nil
}

// set goes from an intset by way of a listpack to a table, as far as it must.
func (b *Builder) set(v *Value) error {
	l := &b.Limits
	if s, ok := v.Intset(); ok && s.Len() > 0 && s.Len() <= l.SetIntset {
		b.is(store.Set, store.Intset, s)
		return nil
	} else if ok {
		return b.setOf(v, func(yield func(member []byte) bool) {
			for i := 0; i < s.Len() && yield((&ds.Elem{Int: s.At(i), IsInt: true}).Append(b.text[:0])); i++ {
			}
		})
	}
	return b.setOf(v, func(yield func(member []byte) bool) {
		var e Elem
		for v.Next(&e) && yield(e.Str) {
		}
	})
}

func (b *Builder) setOf(v *Value, members func(yield func(member []byte) bool)) error {
	l := &b.Limits
	b.is(store.Set, store.Intset, nil)
	ds.IntsetInit(&b.packed)
	n := 0
	members(func(m []byte) bool {
		b.setRoom(m, n, l)
		added := true
		switch b.enc {
		case store.Intset:
			i, _ := ds.ParseInt(m)
			added = ds.IntsetAdd(&b.packed, i)
		case store.Listpack:
			ds.LPAppend(&b.packed, m) // duplicates are looked for at the end
		default:
			added = ds.OpenTable(b.arena, b.header[:]).Add(m)
		}
		if !added {
			v.s.corrupt("member %q twice", m)
		}
		n++
		return added
	})
	if b.enc != store.Hashtable {
		b.inline = b.packed.B
	}
	if b.enc == store.Listpack && !b.distinct(b.inline, n, 1) {
		v.s.corrupt("a member twice")
	}
	if n == 0 {
		return ErrEmpty
	}
	return nil
}

// setRoom gives the set of n members an encoding that can take member m.
func (b *Builder) setRoom(m []byte, n int, l *Limits) {
	packs := len(m) <= l.SetValue && n < l.SetEntries && fits(b.packed.B, &Elem{Str: m})
	switch b.enc {
	case store.Hashtable:
		return
	case store.Listpack:
		if packs {
			return
		}
		b.tableOfPacked(store.Set)
	case store.Intset:
		_, isInt := ds.ParseInt(m)
		if isInt && n < l.SetIntset {
			return
		}
		ints := ds.Intset(append([]byte(nil), b.packed.B...))
		ds.LPInit(&b.packed)
		for i := range ints.Len() {
			ds.LPAppendInt(&b.packed, ints.At(i))
		}
		b.enc = store.Listpack
		if isInt && n >= l.SetIntset || !packs {
			b.tableOfPacked(store.Set)
		}
	}
}

// table starts an empty table.
func (b *Builder) table(t store.Type) ds.Table {
	b.owns = true
	b.is(t, store.Hashtable, b.header[:ds.TableHeader])
	return ds.InitTable(b.arena, b.inline)
}

// tableOfPacked moves the elements of the listpack in b.packed to a table. It
// returns false if one is there twice.
func (b *Builder) tableOfPacked(t store.Type) bool {
	return fillTable(b.table(t), b.packed.B, t)
}

func fillTable(table ds.Table, lp ds.LP, t store.Type) bool {
	var field, value [20]byte
	for it := lp.Iter(); it.Next(); {
		f := it.Elem()
		added := false
		if t == store.Set {
			added = table.Add(elemText(&f, field[:0]))
		} else {
			it.Next()
			x := it.Elem()
			added = table.Set(elemText(&f, field[:0]), elemText(&x, value[:0]))
		}
		if !added {
			return false
		}
	}
	return true
}

func (b *Builder) hash(v *Value) error {
	switch v.Type() {
	case TypeHashTTLAbs, TypeHashListpackTTL, TypeHashTTL, TypeHashListpackEx:
		return b.timedHash(v)
	}
	l := &b.Limits
	if lp, ok := v.Listpack(); ok {
		n := lp.Count() / 2
		distinct := true
		switch {
		case n == 0:
			return ErrEmpty
		case n <= l.HashEntries && longest(lp, 1) <= l.HashValue:
			b.is(store.Hash_, store.Listpack, lp)
			distinct = b.distinct(lp, n, 2)
		default:
			distinct = fillTable(b.table(store.Hash_), lp, store.Hash_)
		}
		if !distinct {
			v.s.corrupt("a field twice")
		}
		return nil
	}
	b.is(store.Hash_, store.Listpack, nil)
	ds.LPInit(&b.packed)
	n := 0
	distinct := true
	for e := (Elem{}); distinct && v.Next(&e); n++ {
		if b.enc == store.Listpack && (n >= l.HashEntries || max(len(e.Str), len(e.Value)) > l.HashValue || !fits(b.packed.B, &e)) {
			distinct = b.tableOfPacked(store.Hash_)
		}
		if b.enc == store.Listpack {
			ds.LPAppendPair(&b.packed, e.Str, e.Value)
		} else if distinct {
			distinct = ds.OpenTable(b.arena, b.header[:]).Set(e.Str, e.Value)
		}
	}
	if b.enc == store.Listpack {
		b.inline = b.packed.B
		distinct = b.distinct(b.inline, n, 2)
	}
	switch {
	case !distinct:
		v.s.corrupt("a field twice")
	case n == 0:
		return ErrEmpty
	}
	return nil
}

// timedHash is hash for the types whose fields may expire. It builds a big one,
// and packs it at the end if it turns out small.
func (b *Builder) timedHash(v *Value) error {
	l := &b.Limits
	b.owns = true
	b.is(store.Hash_, store.HashtableTTL, b.header[:ds.TTLTableHeader])
	t := ds.InitTTLTable(b.arena, b.inline)
	long := 0
	for e := (Elem{}); v.Next(&e); {
		if !t.Set(e.Str, e.Value, e.ExpireAtMs) {
			v.s.corrupt("field %q twice", e.Str)
			return nil
		}
		long = max(long, len(e.Str), len(e.Value))
	}
	switch n := t.Len(); {
	case n == 0:
		return ErrEmpty
	case n > l.HashEntries || long > l.HashValue:
		if t.Expiring() == 0 {
			b.is(store.Hash_, store.Hashtable, b.header[:ds.TableHeader])
		}
		return nil
	}
	ds.LPInit(&b.packed)
	timed := t.Expiring() > 0
	t.Each(func(field, value []byte, at int64) bool {
		if timed {
			ds.LPSetTriplet(&b.packed, field, value, at)
		} else {
			ds.LPAppendPair(&b.packed, field, value)
		}
		return true
	})
	b.Drop()
	b.is(store.Hash_, store.Listpack, b.packed.B)
	if timed {
		b.enc = store.ListpackTTL
	}
	return nil
}

// zset takes a small packed one over if it is in order. Everything else is built
// as a big one, and packed at the end if it turns out small.
func (b *Builder) zset(v *Value) error {
	l := &b.Limits
	if lp, ok := v.Listpack(); ok {
		n := lp.Count() / 2
		if n == 0 {
			return ErrEmpty
		}
		if err := ds.ValidateLPZ(lp, true); err != nil {
			v.s.corrupt("%v", err)
			return nil
		}
		if n <= l.ZSetEntries && longest(lp, 2) <= l.ZSetValue {
			b.is(store.ZSet, store.Listpack, lp)
			if !b.distinct(lp, n, 2) {
				v.s.corrupt("a member twice")
			}
			return nil
		}
		z := b.skiplist()
		for it := lp.Iter(); it.Next(); {
			e := it.Elem()
			it.Next()
			x := it.Elem()
			score, _ := x.Float()
			if added, _ := z.Set(elemText(&e, b.text[:0]), score); !added {
				v.s.corrupt("a member twice")
				return nil
			}
		}
		return nil
	}
	z := b.skiplist()
	longest := 0
	for e := (Elem{}); v.Next(&e); {
		if added, _ := z.Set(e.Str, e.Score); !added {
			v.s.corrupt("member %q twice", e.Str)
			return nil
		}
		longest = max(longest, len(e.Str))
	}
	switch n := z.Len(); {
	case n == 0:
		return ErrEmpty
	case n > l.ZSetEntries || longest > l.ZSetValue:
		return nil
	}
	ds.LPInit(&b.packed)
	z.Each(func(member []byte, score float64) bool {
		var text [32]byte
		ds.LPAppendPair(&b.packed, member, ds.AppendScore(text[:0], score))
		return true
	})
	b.Drop()
	b.is(store.ZSet, store.Listpack, b.packed.B)
	return nil
}

func (b *Builder) skiplist() ds.ZSet {
	b.owns = true
	b.is(store.ZSet, store.Skiplist, b.header[:ds.ZSetHeader])
	return ds.InitZSet(b.arena, b.inline)
}

// stream takes the nodes over as they are. One without entries is a value too.
func (b *Builder) stream(v *Value) error {
	b.owns = true
	b.is(store.Stream, store.StreamTree, b.header[:ds.StreamHeader])
	s := ds.InitStream(b.arena, b.inline)
	var st Stream
	if err := v.stream(&st, s.AppendNode); err != nil {
		return err
	}
	s.SetTotals(st.StreamTotals)
	st.fill(s)
	return nil
}

// fits reports whether a listpack can take one more pair, whatever the settings.
func fits(lp ds.LP, e *Elem) bool {
	const overhead = 2 * 10 // of an element: encoding and backlen
	return ds.LPSafeToAdd(lp, len(e.Str)+len(e.Value)+overhead)
}

// longest returns the length of the longest of every step'th element.
func longest(lp ds.LP, step int) int {
	n, i := 0, 0
	for it := lp.Iter(); it.Next(); i++ {
		if i%step == 0 {
			e := it.Elem()
			n = max(n, e.Len())
		}
	}
	return n
}

// distinct reports whether the n elements at every step'th place of lp are
// different.
//
// places is an open table of positions in lp, by hash of the element there.
func (b *Builder) distinct(lp ds.LP, n, step int) bool {
	size := 8
	for size < 2*n {
		size *= 2
	}
	if cap(b.places) < size {
		b.places = make([]uint32, size)
	}
	places := b.places[:size]
	clear(places)
	i := 0
	for it := lp.Iter(); it.Next(); i++ {
		if i%step != 0 {
			continue
		}
		e := it.Elem()
		text := elemText(&e, b.text[:0])
		at := ds.Hash(text) & uint64(size-1)
		for ; places[at] != 0; at = (at + 1) & uint64(size-1) {
			if lp.Get(int(places[at])).Equal(text) {
				return false
			}
		}
		places[at] = uint32(it.Offset())
	}
	return true
}
