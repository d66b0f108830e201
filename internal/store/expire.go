package store

import "github.com/skeindb/skein/internal/ds"

// noteExpire keeps the slot's lower bound true after a key got the expiry at.
func (s *slot) noteExpire(at int64) {
	if next := s.nextExpire.Load(); at != 0 && (next == 0 || at < next) {
		s.nextExpire.Store(at)
	}
}

// DueSlot reports whether a key of the slot may have expired by now. Without the
// slot's lock it is a hint.
func (db *DB) DueSlot(slot uint16, now int64) bool {
	n := db.slot(slot).nextExpire.Load()
	return n != 0 && n <= now
}

// ExpireCursor is a position within a slot's sweep for expired keys.
type ExpireCursor struct {
	pos  uint64
	next int64 // least expiry seen in this sweep of the slot, 0: none
}

// ExpireStep goes on with a sweep of the slot for keys that have expired, and
// hashes of which fields have, calling expire (which deletes them, of many fields
// perhaps some) for at most about max of them, and reports whether the sweep of
// the slot is complete. The lock may be released between steps.
func (db *DB) ExpireStep(slot uint16, now int64, c *ExpireCursor, max int, expire func(o *Obj)) (done bool) {
	s := db.slot(slot)
	h := db.st.Heap
	var due [64]Obj
	for n := 0; n < max; {
		k, more := 0, false
		next := s.dict.Scan(h, c.pos, func(ref memRef, volatile bool) {
			if !volatile {
				return
			}
			var o Obj
			db.openRef(slot, ref, &o)
			at := o.nextTime()
			if at != 0 && at <= now {
				if more = k == len(due); !more {
					due[k] = o
					k++
				}
				return
			}
			c.saw(at)
		})
		for i := range due[:k] {
			// An earlier deletion may have moved table memory, never records.
			if expire(&due[i]); due[i].Exists() {
				c.saw(due[i].nextTime())
			}
		}
		n += k + 1
		if more { // than due holds: the same place again
			continue
		}
		c.pos = next
		if next == 0 {
			// Keys that got an expiry during the sweep lowered nextExpire
			// themselves; those before the cursor are in c.next or lower.
			if was := s.nextExpire.Load(); was > now && (c.next == 0 || was < c.next) {
				c.next = was
			}
			s.nextExpire.Store(c.next)
			*c = ExpireCursor{}
			return true
		}
	}
	return false
}

// nextTime returns when the key or the next of its fields expires, 0 for never.
func (o *Obj) nextTime() int64 {
	at := o.ExpireAt()
	if f := o.FieldTime(); f != 0 && (at == 0 || f < at) {
		return f
	}
	return at
}

func (c *ExpireCursor) saw(at int64) {
	if at != 0 && (c.next == 0 || at < c.next) {
		c.next = at
	}
}

// ReapFields deletes up to max fields of a hash whose time has come, in the order
// of their times, and those in named whose time has. It calls fn with each.
// The key stays, even if no field does; empty says so. DB.Write is the caller's.
func (o *Obj) ReapFields(now int64, max int, named [][]byte, fn func(field []byte)) (n int, empty bool) {
	due := func() bool {
		at := o.FieldTime()
		return at != 0 && at <= now
	}
	var text [20]byte
	for ; n < max && due(); n++ {
		if o.Encoding() == ListpackTTL {
			p := ds.LP(o.Bytes())
			if e := p.Get(p.First()); e.IsInt {
				fn(e.Append(text[:0]))
			} else {
				fn(e.Str)
			}
			ds.LPDelete(o, p.First(), 3)
			continue
		}
		t := ds.OpenTTLTable(o.Arena(), o.Bytes())
		field := append([]byte(nil), t.First()...)
		fn(field)
		t.Delete(field)
	}
	for i := 0; i < len(named) && due(); i++ {
		if field := named[i]; o.reapField(now, field) {
			fn(field)
			n++
		}
	}
	if n == 0 {
		return 0, false
	}
	if o.Encoding() == ListpackTTL {
		empty = ds.LP(o.Bytes()).First() < 0
	} else {
		empty = ds.OpenTTLTable(o.Arena(), o.Bytes()).Len() == 0
	}
	if !empty {
		o.SettleFields()
	}
	return n, empty
}

// reapField deletes a field if its time has come; field is no view of the hash.
func (o *Obj) reapField(now int64, field []byte) bool {
	if o.Encoding() == ListpackTTL {
		p := ds.LP(o.Bytes())
		_, _, time := p.FindTriplet(field)
		return time >= 0 && p.Get(time).Int != 0 && p.Get(time).Int <= now && ds.LPDeleteTriplet(o, field)
	}
	t := ds.OpenTTLTable(o.Arena(), o.Bytes())
	_, at, _ := t.Get(field)
	return at != 0 && at <= now && t.Delete(field)
}

// SettleFields gives a hash of which no field expires any more the encoding it
// would have had without.
func (o *Obj) SettleFields() {
	if !o.Encoding().FieldsExpire() || o.FieldTime() != 0 {
		return
	}
	if o.Encoding() == HashtableTTL {
		o.retype(o.Type(), Hashtable)
		o.Resize(ds.TableHeader) // the tree is empty and has no memory
		return
	}
	for off := ds.LP(o.Bytes()).First(); off >= 0; {
		p := ds.LP(o.Bytes())
		off = p.After(p.After(off))
		ds.LPDelete(o, off, 1)
		if off == ds.LP(o.Bytes()).End() {
			break
		}
	}
	o.retype(o.Type(), Listpack)
}

// Volatile returns the number of keys of a slot that have an expiry.
func (db *DB) Volatile(slot uint16) int { return int(db.slot(slot).volatile) }
