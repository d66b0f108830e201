package rdb

import (
	"fmt"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// TypeOf returns the type that the value of o is written as, chosen so that
// every server since Redis 7.0 reads it, unless fields of a hash expire, which no
// server before 7.4 can hold: the packed form it has in memory where
// version 10 of the format knows it, else the plain one.
func TypeOf(o *store.Obj) Type {
	switch o.Type() {
	case store.String:
		return TypeString
	case store.List:
		return TypeListQuicklist2
	case store.Set:
		if o.Encoding() == store.Intset {
			return TypeSetIntset
		}
		return TypeSet // a listpack would need version 11
	case store.ZSet:
		if o.Encoding() == store.Listpack {
			return TypeZSetListpack
		}
		return TypeZSet
	case store.Hash_:
		switch o.Encoding() {
		case store.Listpack:
			return TypeHashListpack
		case store.ListpackTTL: // needs version 12, as the next one
			return TypeHashListpackEx
		case store.HashtableTTL:
			return TypeHashTTL
		}
		return TypeHash
	case store.Stream:
		return TypeStream2
	}
	panic(fmt.Sprintf("rdb: cannot write a value of type %v", o.Type()))
}

// AppendValue appends type byte and body of the value of o, as a DUMP payload
// starts. The slot of o is locked.
func AppendValue(dst []byte, o *store.Obj, compress bool) []byte {
	return AppendBody(append(dst, byte(TypeOf(o))), o, compress)
}

// AppendDump appends the DUMP payload of the value of o.
func AppendDump(dst []byte, o *store.Obj, compress bool) []byte {
	start := len(dst)
	return AppendDumpFooter(AppendValue(dst, o, compress), start)
}

// AppendBody appends the body that goes with TypeOf(o). Nothing is allocated but
// to grow dst.
func AppendBody(dst []byte, o *store.Obj, compress bool) []byte {
	inline := o.Bytes()
	switch o.Encoding() {
	case store.Intset:
		return AppendString(dst, inline, compress)
	case store.Listpack:
		return appendListpack(dst, inline, o.Type(), compress)
	case store.Quicklist:
		q := ds.OpenQuicklist(o.Arena(), inline)
		dst = AppendLen(dst, uint64(q.NodeCount()))
		q.Nodes(func(data []byte, plain bool) bool {
			dst = appendListNode(dst, data, plain, compress)
			return true
		})
		return dst
	case store.Hashtable:
		t := ds.OpenTable(o.Arena(), inline)
		pairs := o.Type() == store.Hash_
		dst = AppendLen(dst, uint64(t.Len()))
		t.Each(func(field, value []byte) bool {
			dst = AppendString(dst, field, compress)
			if pairs {
				dst = AppendString(dst, value, compress)
			}
			return true
		})
		return dst
	case store.Skiplist:
		// From the highest score down, as servers do: a reader that inserts at
		// the front of its order is then fastest.
		z := ds.OpenZSet(o.Arena(), inline)
		dst = AppendLen(dst, uint64(z.Len()))
		for it := z.ByRank(z.Len() - 1); it.Valid(); it.Prev() {
			dst = AppendString(dst, it.Member(), compress)
			dst = AppendDouble(dst, it.Score())
		}
		return dst
	case store.ListpackTTL:
		return AppendString(AppendMs(dst, o.FieldTime()), inline, compress)
	case store.HashtableTTL:
		t := ds.OpenTTLTable(o.Arena(), inline)
		base := t.FirstTime()
		dst = AppendLen(AppendMs(dst, base), uint64(t.Len()))
		t.Each(func(field, value []byte, at int64) bool {
			dst = appendTimedPair(dst, field, value, at, base, compress)
			return true
		})
		return dst
	case store.StreamTree:
		return AppendStream(dst, ds.OpenStream(o.Arena(), inline), TypeStream2, compress)
	}
	return AppendString(dst, inline, compress) // raw, embstr, int: all hold the text
}

func appendListNode(dst, data []byte, plain, compress bool) []byte {
	container := byte(nodePacked)
	if plain {
		container = nodeSingle
	}
	return AppendString(append(dst, container), data, compress)
}

// appendTimedPair appends a field of a hash of which the next to expire does so at
// base.
func appendTimedPair(dst, field, value []byte, at, base int64, compress bool) []byte {
	if at != 0 {
		at += 1 - base
	}
	dst = AppendString(AppendLen(dst, uint64(at)), field, compress)
	return AppendString(dst, value, compress)
}

// appendListpack appends a small collection.
func appendListpack(dst []byte, lp ds.LP, t store.Type, compress bool) []byte {
	switch t {
	case store.List:
		return AppendString(append(dst, 1, nodePacked), lp, compress)
	case store.Set:
		dst = AppendLen(dst, uint64(lp.Count()))
		for it := lp.Iter(); it.Next(); {
			if e := it.Elem(); e.IsInt {
				dst = AppendInt(dst, e.Int)
			} else {
				dst = AppendString(dst, e.Str, compress)
			}
		}
		return dst
	}
	return AppendString(dst, lp, compress)
}

// RecordOptions says how keys are written.
type RecordOptions struct {
	Compress bool   // LZF where it pays
	Second   uint32 // the present one, for how long or often keys were used (store.AccessKind)
}

// AppendRecord appends the key that o is on with its value. The slot of o is
// locked.
func AppendRecord(dst []byte, o *store.Obj, opts *RecordOptions) []byte {
	return AppendBody(appendKeyOf(dst, o, opts), o, opts.Compress)
}

// appendKeyOf appends what stands before the body.
func appendKeyOf(dst []byte, o *store.Obj, opts *RecordOptions) []byte {
	k := Key{Name: o.Key(), ExpireAtMs: o.ExpireAt()}
	k.IdleSec, k.Freq = o.AccessFacts(opts.Second)
	return AppendKey(dst, &k, TypeOf(o), opts.Compress)
}
