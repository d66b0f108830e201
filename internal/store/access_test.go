package store

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/hashslot"
)

// One key, touched n times in a second.
func touched(t *testing.T, st *Store, n int, second uint32) *Obj {
	t.Helper()
	db := st.DB(0)
	slot := uint16(7)
	var o Obj
	if !db.Find(slot, Hash([]byte("k")), []byte("k"), &o) {
		db.Create(slot, Hash([]byte("k")), []byte("k"), String, Raw, 3, 0, second, &o)
	}
	for range n {
		o.Touch(second)
	}
	return &o
}

// The counter of uses: where it begins, that it grows by every use with factor 0
// and by about the logarithm otherwise, that it does not overflow, falls by one a
// decay period, also across the wrap of the minutes, and stays without decay.
func TestUses(t *testing.T) {
	st := newTest(t, 1)
	const now = 1_800_000_000 / 60 * 60
	st.SetAccess(AccessUses, 0, 1)
	o := touched(t, st, 0, now)
	want := func(what string, second uint32, n uint8) {
		t.Helper()
		if got := o.Uses(second); got != n {
			t.Errorf("%s: %d uses, want %d", what, got, n)
		}
	}
	want("new", now, 5)
	touched(t, st, 10, now)
	want("factor 0", now, 15)
	touched(t, st, 300, now)
	want("full", now, 255)
	want("a minute later", now+60, 254)
	want("59 seconds later", now+59, 255)
	want("100 minutes later", now+6000, 155)
	want("a day later", now+86400, 0)
	o.SetAccessFacts(now, 100, 77)
	want("told", now, 77)
	o.SetAccessFacts(now, 100, -1)
	want("told how long it was idle", now, 77)
	st.SetAccess(AccessUses, 10, 10)
	want("99 minutes later, decay 10", now+99*60, 77-9)
	st.SetAccess(AccessUses, 10, 0)
	want("no decay", now+86400, 77)
	const wrap = 65536 * 60 * 400 // a minute whose 16 bits are 0
	o.SetAccessFacts(wrap-60, -1, 9)
	st.SetAccess(AccessUses, 10, 1)
	want("two minutes on, over the wrap", wrap+60, 7)

	// The documentation of Redis has 142 for a hundred thousand hits with factor 10;
	// the deviation is about 8.
	o.SetAccessFacts(now, -1, firstUses)
	touched(t, st, 100_000, now)
	if n := o.Uses(now); n < 80 || n > 200 {
		t.Errorf("%d after 100000 uses, want about 142", n)
	}
	if n := testing.AllocsPerRun(100, func() { o.Touch(now) }); n != 0 {
		t.Errorf("a use allocates %v times", n)
	}
}

// What a file says of a key's use depends on what is kept, and what a file tells is
// taken only if it is kept.
func TestAccessFacts(t *testing.T) {
	st := newTest(t, 1)
	const now = 1_800_000_000
	o := touched(t, st, 1, now)
	facts := func(kind AccessKind, idle int64, freq int) {
		t.Helper()
		st.SetAccess(kind, 10, 1)
		if i, f := o.AccessFacts(now + 50); i != idle || f != freq {
			t.Errorf("kind %d: idle %d, freq %d, want %d, %d", kind, i, f, idle, freq)
		}
	}
	facts(AccessClock, -1, -1)
	facts(AccessIdle, 50, -1)
	o.SetAccessFacts(now, 1000, 9)
	facts(AccessIdle, 1050, -1)
	o.SetAccessFacts(now, 1<<40, -1)
	facts(AccessIdle, (maxIdleSec+50)&maxIdleSec, -1)
	st.SetAccess(AccessUses, 10, 1)
	o.SetAccessFacts(now, 1000, 9)
	facts(AccessUses, -1, 9)
	var to Obj
	st.DB(0).MoveTo(o, st.DB(0), 8, Hash([]byte("l")), []byte("l"), &to)
	if n := to.Uses(now); n != 9 {
		t.Errorf("%d uses after a move, want 9", n)
	}
}

// Where the memory of big values is freed is as the caller or the setting says.
func TestDeleteIn(t *testing.T) {
	st := newTest(t, 1)
	for _, tt := range []struct {
		name     string
		lazy     bool
		del      func(db *DB, o *Obj)
		want     int64
		elements int
	}{
		{"in place", false, func(db *DB, o *Obj) { db.Delete(o) }, 0, 100},
		{"in the background", true, func(db *DB, o *Obj) { db.Delete(o) }, 1, 100},
		{"in place by choice", true, func(db *DB, o *Obj) { db.DeleteIn(o, false) }, 0, 100},
		{"in the background by choice", false, func(db *DB, o *Obj) { db.DeleteIn(o, true) }, 1, 100},
		{"overwritten", true, func(db *DB, o *Obj) { o.Reset(String, Raw, 1) }, 1, 100},
		{"overwritten in place", false, func(db *DB, o *Obj) { o.Reset(String, Raw, 1) }, 0, 100},
		{"in place, but too big for it", false, func(db *DB, o *Obj) { db.Delete(o) }, 1, inPlaceElements + 1},
		{"small", true, func(db *DB, o *Obj) { db.Delete(o) }, 0, 64},
	} {
		st.SetLazyDelete(tt.lazy)
		st.ResetLazyfreed()
		db := st.DB(0)
		o := bigSet(db, tt.name, tt.elements)
		st.Lock(o.Slot())
		tt.del(db, o)
		st.Unlock(o.Slot())
		// Another goroutine is about to; it counts after it has freed.
		for end := time.Now().Add(10 * time.Second); (st.LazyfreePending() > 0 || st.Lazyfreed() < tt.want) && time.Now().Before(end); {
			runtime.Gosched()
		}
		if got := st.Lazyfreed(); got != tt.want {
			t.Errorf("%s: %d objects were freed in the background, want %d", tt.name, got, tt.want)
		}
	}
}

// bigSet makes a hash table of n members.
func bigSet(db *DB, key string, n int) *Obj {
	k := []byte(key)
	slot := hashslot.Slot(k)
	db.st.Lock(slot)
	defer db.st.Unlock(slot)
	o := &Obj{}
	table := ds.InitTable(db.st.arena(slot), db.Create(slot, Hash(k), k, Set, Hashtable, ds.TableHeader, 0, 0, o))
	for i := range n {
		table.Add(fmt.Append(nil, i))
	}
	return o
}
