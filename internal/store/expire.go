package store

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

// ExpireStep goes on with a sweep of the slot for keys that have expired,
// calling expire (which deletes the key) for at most about max of them, and
// reports whether the sweep of the slot is complete. The lock may be released
// between steps.
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
			if o.Expired(now) {
				if more = k == len(due); !more {
					due[k] = o
					k++
				}
				return
			}
			if at := o.ExpireAt(); c.next == 0 || at < c.next {
				c.next = at
			}
		})
		for i := range due[:k] {
			// An earlier deletion may have moved table memory, never records.
			expire(&due[i])
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

// Volatile returns the number of keys of a slot that have an expiry.
func (db *DB) Volatile(slot uint16) int { return int(db.slot(slot).volatile) }
