package admin

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// A digest sums up data so that nodes can be compared; it is the one that
// redis-server computes. Two operations build it:
//
//	add(x)  d ^= SHA1(x)            the order of the xs does not matter
//	mix(x)  d  = SHA1(d ^ SHA1(x))  it does
//
//	value   mix(type u32 BE), then
//	        string  mix(text)
//	        list    mix(element) ...
//	        set     add(member) ...
//	        zset    add(0 mix(member) mix(score "%.17g")) ...
//	        hash    add(0 mix(field) mix(value)) ..., with add("!!hexpire!!") behind
//	                the value if the field has an expiry
//	        and add("!!expire!!") if the key has an expiry
//	db      0 ^= SHA1(0 mix(key) value ...) for all keys, after mix(index u32 BE)
type digest [sha1.Size]byte

func (d *digest) add(x []byte) {
	for i, b := range sha1.Sum(x) {
		d[i] ^= b
	}
}

func (d *digest) mix(x []byte) {
	d.add(x)
	*d = sha1.Sum(d[:])
}

func (d *digest) mixUint32(n uint32) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	d.mix(b[:])
}

// The numbers of the types in a digest are those of redis-server's objects.
var digestTypes = [...]uint32{store.String: 0, store.List: 1, store.Set: 2, store.ZSet: 3, store.Hash_: 4, store.Stream: 6}

// value mixes in what the key of o holds.
func (d *digest) value(o *store.Obj) {
	d.mixUint32(digestTypes[o.Type()])
	v, a := o.Bytes(), o.Arena()
	var text [40]byte
	switch o.Encoding() {
	case store.Quicklist:
		q := ds.OpenQuicklist(a, v)
		for it := q.Iter(0, false); it.Valid(); it.Next() {
			d.mix(plain(it.Elem(), text[:0]))
		}
	case store.Intset:
		s := ds.Intset(v)
		for i := range s.Len() {
			d.add(strconv.AppendInt(text[:0], s.At(i), 10))
		}
	case store.Hashtable:
		ds.OpenTable(a, v).Each(func(field, value []byte) bool {
			if o.Type() == store.Set {
				d.add(field)
			} else {
				d.pair(field, value)
			}
			return true
		})
	case store.HashtableTTL:
		ds.OpenTTLTable(a, v).Each(func(field, value []byte, at int64) bool {
			d.timedPair(field, value, at)
			return true
		})
	case store.ListpackTTL:
		var text2 [40]byte
		for it := ds.LP(v).Iter(); it.Next(); {
			field := plain(it.Elem(), text[:0])
			it.Next()
			value := plain(it.Elem(), text2[:0])
			it.Next()
			d.timedPair(field, value, it.Elem().Int)
		}
	case store.Skiplist:
		ds.OpenZSet(a, v).Each(func(member []byte, score float64) bool {
			d.pair(member, appendScore(text[:0], score))
			return true
		})
	case store.Listpack:
		d.listpack(o.Type(), ds.LP(v))
	case store.StreamTree:
		d.stream(o)
	default:
		d.mix(v)
	}
	if o.ExpireAt() != 0 {
		d.add([]byte("!!expire!!"))
	}
}

func (d *digest) listpack(t store.Type, p ds.LP) {
	var text, text2 [40]byte
	for off := p.First(); off >= 0; off = p.Next(off) {
		e := plain(p.Get(off), text[:0])
		switch t {
		case store.List:
			d.mix(e)
		case store.Set:
			d.add(e)
		default:
			off = p.Next(off)
			if t == store.ZSet {
				d.pair(e, appendScore(text2[:0], p.ZScore(off)))
			} else {
				d.pair(e, plain(p.Get(off), text2[:0]))
			}
		}
	}
}

// pair adds two texts that belong together.
func (d *digest) pair(a, b []byte) {
	var e digest
	e.mix(a)
	e.mix(b)
	d.add(e[:])
}

// timedPair is pair for a field that may expire.
func (d *digest) timedPair(field, value []byte, at int64) {
	var e digest
	e.mix(field)
	e.mix(value)
	if at != 0 {
		e.add([]byte("!!hexpire!!"))
	}
	d.add(e[:])
}

// plain is the text of an element, written to dst if it is a number.
func plain(e ds.Elem, dst []byte) []byte {
	if e.IsInt {
		return e.Append(dst)
	}
	return e.Str
}

// appendScore appends a score as C's "%.17g".
func appendScore(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	return strconv.AppendFloat(dst, f, 'g', 17, 64)
}

// digest replies with the digest of the whole data set.
func (a *admin) digest(c *command.Ctx) {
	st := a.Engine.Store
	if !c.World {
		st.LockWorld()
		defer st.UnlockWorld()
	}
	var all digest
	for i := range st.DBs() {
		db := st.DB(i)
		if db.Empty() {
			continue
		}
		all.mixUint32(uint32(i))
		db.EachKey(func(o *store.Obj) bool {
			var d digest
			d.mix(o.Key())
			d.value(o)
			all.add(d[:])
			return true
		})
	}
	c.Simple(hex.EncodeToString(all[:]))
}

// digestValue replies with the digests of single values; those of keys that do
// not exist are zero.
func (a *admin) digestValue(c *command.Ctx) {
	st := a.Engine.Store
	o := c.Obj(0)
	c.Array(len(c.Argv) - 2)
	for i := 2; i < len(c.Argv); i++ {
		var d digest
		k := command.MakeKey(i, c.Arg(i))
		if !c.World {
			st.Lock(k.Slot)
		}
		if c.DB.Find(k.Slot, k.Hash, c.Arg(i), o) && !o.Expired(c.Now) {
			d.value(o)
		}
		if !c.World {
			st.Unlock(k.Slot)
		}
		c.Simple(hex.EncodeToString(d[:]))
	}
}

// stream mixes in the entries of a stream, in order: mix("ms.seq"), then
// mix(field) mix(value) ...
func (d *digest) stream(o *store.Obj) {
	var text [41]byte
	it := ds.OpenStream(o.Arena(), o.Bytes()).Range(ds.StreamID{}, ds.MaxStreamID, false)
	for it.Next() {
		id := strconv.AppendUint(text[:0], it.ID().Ms, 10)
		d.mix(strconv.AppendUint(append(id, '.'), it.ID().Seq, 10))
		for pairs := it.Pairs(); ; {
			field, value, ok := pairs.Next()
			if !ok {
				break
			}
			d.mix(plain(field, text[:0]))
			d.mix(plain(value, text[:0]))
		}
	}
}
