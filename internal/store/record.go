package store

import (
	"encoding/binary"
	"math/bits"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/mem"
)

// A record is one key with its value, little endian:
//
//	| typeEnc u8 | flags u8 | epoch u16 | access u24 | keyLen u8 | valLen u32 | expireAt i64? | keyLen u32? | key | value |
//	0            1          2           4            7           8            12
//
// typeEnc holds the type in its low, the encoding in its high half. expireAt
// is present with flagExpire. keyLen 255 means that a u32 with the length
// follows. epoch is the snapshot that has last written the record out
// (snapshot.go). access is when, or how often, it was used (access.go). The value is the
// string itself, a listpack or an intset, or the fixed-size header of an
// encoding that owns further memory (ds).
const (
	offFlags  = 1
	offEpoch  = 2
	offAccess = 4
	offKeyLen = 7
	offValLen = 8
	headSize  = 12

	flagExpire  = 1 << 0
	flagReading = 1 << 1 // a snapshot may be reading the value in pieces (reading.go)
	longKey     = 255

	// MaxValue bounds the inline value of a record.
	MaxValue = 1<<32 - 1
)

// Type is the type of a value as the TYPE command names it.
type Type uint8

// The types, in the order of the record's type field. None is no key at all.
const (
	None Type = iota
	String
	List
	Set
	ZSet
	Hash_
	Stream
)

var typeNames = [...]string{"none", "string", "list", "set", "zset", "hash", "stream"}

func (t Type) String() string { return typeNames[t] }

// Encoding is how a value lies in memory, as OBJECT ENCODING names it.
type Encoding uint8

// The encodings. Int, Embstr and Raw hold the same bytes, the text of the
// string; they differ in name only.
const (
	Raw Encoding = iota
	Embstr
	Int
	Listpack
	Intset
	Hashtable
	Quicklist
	Skiplist
	StreamTree
	ListpackTTL  // a hash of which at least one field expires (ds/lpttl.go)
	HashtableTTL // likewise (ds.TTLTable)
)

var encodingNames = [...]string{"raw", "embstr", "int", "listpack", "intset", "hashtable", "quicklist", "skiplist", "stream",
	"listpackex", "hashtable"}

// FieldsExpire reports whether fields of a hash in this encoding expire.
func (e Encoding) FieldsExpire() bool { return e >= ListpackTTL }

func (e Encoding) String() string { return encodingNames[e] }

// Obj is a cursor on one record, valid while its slot's lock is held and until
// another method on the same key through another Obj. Its zero value is no
// key. Obj implements ds.Buf over the inline value. A caller keeps Obj values
// in memory of its own, so finding a key allocates nothing.
type Obj struct {
	db     *DB
	rec    []byte // the record, without spare bytes behind the value
	ref    mem.Ref
	hash   uint64
	valOff uint32
	keyOff uint32
	slot   uint16
}

var _ ds.Buf = (*Obj)(nil)

// Exists reports whether o is on a record.
func (o *Obj) Exists() bool { return o.rec != nil }

// Type returns the value's type.
func (o *Obj) Type() Type { return Type(o.rec[0] & 15) }

// Encoding returns the value's encoding.
func (o *Obj) Encoding() Encoding { return Encoding(o.rec[0] >> 4) }

// SetEncoding changes the encoding's name without touching the value.
func (o *Obj) SetEncoding(e Encoding) { o.retype(o.Type(), e) }

// retype changes type and encoding, and keeps the index in step.
func (o *Obj) retype(t Type, e Encoding) {
	was := o.Encoding().FieldsExpire()
	o.rec[0] = byte(t) | byte(e)<<4
	if is := e.FieldsExpire(); was != is {
		if is {
			o.db.fielded.Add(1)
		} else {
			o.db.fielded.Add(-1)
		}
		o.db.slot(o.slot).dict.SetFlag(o.Arena(), o.hash, o.ref, o.sweepable())
	}
}

// sweepable reports whether the sweep for what has expired looks at the key.
func (o *Obj) sweepable() bool { return o.rec[offFlags]&flagExpire != 0 || o.Encoding().FieldsExpire() }

// FieldTime returns when the next field of a hash expires, 0 for never.
func (o *Obj) FieldTime() int64 {
	switch o.Encoding() {
	case ListpackTTL:
		return ds.LP(o.Bytes()).FirstTime()
	case HashtableTTL:
		return ds.OpenTTLTable(o.Arena(), o.Bytes()).FirstTime()
	}
	return 0
}

// NoteFieldTime lets the sweep know when the next field expires; it is called
// when that may have become earlier.
func (o *Obj) NoteFieldTime() { o.db.slot(o.slot).noteExpire(o.FieldTime()) }

// Key returns the key, a view.
func (o *Obj) Key() []byte { return o.rec[o.keyOff:o.valOff:o.valOff] }

// Slot returns the key's slot.
func (o *Obj) Slot() uint16 { return o.slot }

// DB returns the database of the key.
func (o *Obj) DB() *DB { return o.db }

// Arena returns the memory of the key's slot, for the encodings in ds.
func (o *Obj) Arena() ds.Arena {
	a := o.db.st.arena(o.slot)
	if o.rec[offFlags]&flagReading != 0 {
		a.Reading = o.reading()
	}
	return a
}

func (o *Obj) valLen() int { return int(binary.LittleEndian.Uint32(o.rec[offValLen:])) }

// Bytes returns the inline value, a view.
func (o *Obj) Bytes() []byte {
	end := int(o.valOff) + o.valLen()
	return o.rec[o.valOff:end:end]
}

// ExpireAt returns when the key expires, 0 for never.
func (o *Obj) ExpireAt() int64 {
	if o.rec[offFlags]&flagExpire == 0 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(o.rec[headSize:]))
}

// Expired reports whether the key's time has come.
func (o *Obj) Expired(now int64) bool {
	return o.rec[offFlags]&flagExpire != 0 && int64(binary.LittleEndian.Uint64(o.rec[headSize:])) <= now
}

// MemUsed returns the bytes that the key takes: record, index entry, and the
// memory its encoding owns.
func (o *Obj) MemUsed() int {
	return o.capacity() + 8 + o.owned()
}

// owned returns the bytes that the value's encoding owns outside the record.
func (o *Obj) owned() int {
	a, hdr := o.Arena(), o.Bytes()
	switch o.Encoding() {
	case Hashtable:
		return ds.OpenTable(a, hdr).MemUsed()
	case Quicklist:
		return ds.OpenQuicklist(a, hdr).MemUsed()
	case Skiplist:
		return ds.OpenZSet(a, hdr).MemUsed()
	case StreamTree:
		return ds.OpenStream(a, hdr).MemUsed()
	case HashtableTTL:
		return ds.OpenTTLTable(a, hdr).MemUsed()
	}
	return 0
}

// headerLen returns the bytes before the key.
func headerLen(keyLen int, expire bool) int {
	n := headSize
	if expire {
		n += 8
	}
	if keyLen >= longKey {
		n += 4
	}
	return n
}

// open points o at the record ref, whose bytes it decodes.
func (o *Obj) open(db *DB, slot uint16, hash uint64, ref mem.Ref) {
	rec := db.st.Heap.Region()[ref:]
	keyOff := uint32(headSize)
	if rec[offFlags]&flagExpire != 0 {
		keyOff += 8
	}
	keyLen := uint32(rec[offKeyLen])
	if keyLen == longKey {
		keyLen = binary.LittleEndian.Uint32(rec[keyOff:])
		keyOff += 4
	}
	end := keyOff + keyLen + binary.LittleEndian.Uint32(rec[offValLen:])
	o.db, o.rec, o.ref, o.hash, o.slot = db, rec[:end:end], ref, hash, slot
	o.keyOff, o.valOff = keyOff, keyOff+keyLen
}

// capacity returns the bytes that the record may take where it is. It looks at
// the allocator's books, which paths that only read spare themselves.
func (o *Obj) capacity() int { return o.db.st.Heap.Size(o.ref) }

// setLen changes the value's length within the capacity.
func (o *Obj) setLen(n int) {
	binary.LittleEndian.PutUint32(o.rec[offValLen:], uint32(n))
	o.rec = o.db.st.Heap.At(o.ref, int(o.valOff)+n)
}

// write fills the head of a new record and points o at it.
func (o *Obj) write(db *DB, slot uint16, hash uint64, ref mem.Ref, key []byte, t Type, e Encoding, valLen int, expireAt int64, access uint32) {
	rec := db.st.Heap.At(ref, headerLen(len(key), expireAt != 0)+len(key)+valLen)
	rec[0] = byte(t) | byte(e)<<4
	rec[offFlags] = 0
	binary.LittleEndian.PutUint16(rec[offEpoch:], db.st.snap.epoch)
	n := headSize
	if expireAt != 0 {
		rec[offFlags] = flagExpire
		binary.LittleEndian.PutUint64(rec[n:], uint64(expireAt))
		n += 8
	}
	if len(key) >= longKey {
		rec[offKeyLen] = longKey
		binary.LittleEndian.PutUint32(rec[n:], uint32(len(key)))
		n += 4
	} else {
		rec[offKeyLen] = byte(len(key))
	}
	binary.LittleEndian.PutUint32(rec[offValLen:], uint32(valLen))
	o.db, o.rec, o.ref, o.hash, o.slot = db, rec, ref, hash, slot
	o.keyOff = uint32(n)
	o.valOff = uint32(n + copy(rec[n:], key))
	o.setAccess(access)
}

// reshape gives the record another expiry and another inline value length,
// keeping the first min(old, new) bytes of the value when keep is set. slack
// asks for spare room behind the value. The record may move.
func (o *Obj) reshape(expireAt int64, valLen int, keep bool, slack int) {
	if valLen > MaxValue {
		panic("store: value over 4 GiB")
	}
	h := o.db.st.Heap
	keyLen := int(o.valOff - o.keyOff)
	hasExpire := o.rec[offFlags]&flagExpire != 0
	if hasExpire == (expireAt != 0) {
		total, fits := int(o.valOff)+valLen, false
		if total == len(o.rec) {
			fits = true
		} else if have := o.capacity(); total <= have {
			fits = slack > 0 || !wasteful(have, total)
		}
		if fits {
			if hasExpire {
				binary.LittleEndian.PutUint64(o.rec[headSize:], uint64(expireAt))
			}
			o.setLen(valLen)
			return
		}
	}
	old, oldRec := o.ref, o.rec
	key, val := oldRec[o.keyOff:o.valOff], o.Bytes()
	shard := StripeOf(o.slot)
	ref := h.Alloc(shard, headerLen(keyLen, expireAt != 0)+keyLen+valLen+slack, mem.Records)
	epoch, read := binary.LittleEndian.Uint16(oldRec[offEpoch:]), oldRec[offFlags]&flagReading
	o.write(o.db, o.slot, o.hash, ref, key, Type(oldRec[0]&15), Encoding(oldRec[0]>>4), valLen, expireAt, o.Access())
	binary.LittleEndian.PutUint16(o.rec[offEpoch:], epoch)
	if read != 0 {
		o.rec[offFlags] |= read
		o.db.st.snap.moved(old, o)
	}
	if keep {
		copy(o.rec[o.valOff:int(o.valOff)+valLen], val)
	}
	o.db.slot(o.slot).dict.Replace(o.Arena(), o.hash, old, ref)
	h.Free(shard, old, mem.Records)
}

// wasteful reports whether a block of have bytes is too big to hold need.
func wasteful(have, need int) bool { return have > 64 && have-need > have>>2 }

// Resize sets the inline value's length, keeping min(old, new) bytes, and
// returns the new view.
func (o *Obj) Resize(n int) []byte {
	o.reshape(o.ExpireAt(), n, true, 0)
	return o.Bytes()
}

// Grow is Resize with spare room behind the value, so that a value that is
// appended to again and again is copied O(log n) times: as much again, up to
// 1 MiB.
func (o *Obj) Grow(n int) []byte {
	if int(o.valOff)+n > o.capacity() {
		o.reshape(o.ExpireAt(), n, true, min(n, 1<<20))
	} else {
		o.setLen(n)
	}
	return o.Bytes()
}

// Splice implements ds.Buf: it cuts del bytes of the inline value at off and
// opens a gap of ins bytes there. It returns the whole new view.
func (o *Obj) Splice(off, del, ins int) []byte {
	n := o.valLen()
	grow := ins - del
	switch {
	case grow > 0:
		if int(o.valOff)+n+grow > o.capacity() {
			// An eighth to spare: small collections change often.
			o.reshape(o.ExpireAt(), n+grow, true, (n+grow)/8)
		} else {
			o.setLen(n + grow)
		}
		v := o.Bytes()
		copy(v[off+ins:], v[off+del:n])
		return v
	case grow < 0:
		v := o.Bytes()
		copy(v[off+ins:], v[off+del:])
		o.reshape(o.ExpireAt(), n+grow, true, 0)
		return o.Bytes()
	}
	return o.Bytes()
}

// Reset replaces type, encoding and inline value: the memory that the old
// encoding owned is freed, n bytes of undefined content take the place of the
// value. The expiry stays.
func (o *Obj) Reset(t Type, e Encoding, n int) []byte {
	o.release(o.db.st.lazyDelete.Load())
	o.retype(t, e)
	o.reshape(o.ExpireAt(), n, false, 0)
	return o.Bytes()
}

// Recode replaces encoding and inline value like Reset, but leaves the memory
// of the old encoding to the caller, who has moved the elements and freed it.
func (o *Obj) Recode(e Encoding, n int) []byte {
	o.retype(o.Type(), e)
	o.reshape(o.ExpireAt(), n, false, 0)
	return o.Bytes()
}

// ResetExpire is Reset with another expiry, in one move of the record.
func (o *Obj) ResetExpire(t Type, e Encoding, n int, at int64) []byte {
	o.release(o.db.st.lazyDelete.Load())
	o.retype(t, e)
	was := o.ExpireAt()
	o.reshape(at, n, false, 0)
	o.expireChanged(was, at)
	return o.Bytes()
}

// SetExpire sets when the key expires; 0 removes the expiry.
func (o *Obj) SetExpire(at int64) {
	was := o.ExpireAt()
	if was == at {
		return
	}
	o.reshape(at, o.valLen(), true, 0)
	o.expireChanged(was, at)
}

// expireChanged keeps index and slot in step with the record's expiry.
func (o *Obj) expireChanged(was, at int64) {
	if was == at {
		return
	}
	s := o.db.slot(o.slot)
	if (was != 0) != (at != 0) {
		s.dict.SetFlag(o.Arena(), o.hash, o.ref, o.sweepable())
		if at != 0 {
			s.volatile++
			o.db.expiring.Add(1)
		} else {
			s.volatile--
			o.db.expiring.Add(-1)
		}
	}
	s.noteExpire(at)
}

// release frees what the value's encoding owns; big ones in the background if
// asked.
func (o *Obj) release(background bool) {
	if o.rec[offFlags]&flagReading != 0 && o.detach() {
		return
	}
	switch o.Encoding() {
	case Hashtable, Quicklist, Skiplist, StreamTree, HashtableTTL:
		o.db.st.lazy.free(o.Arena(), o.Encoding(), o.Bytes(), background)
	}
}

func trailingZeros(w uint64) int { return bits.TrailingZeros64(w) }
