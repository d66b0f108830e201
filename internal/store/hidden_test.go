package store

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skeindb/skein/internal/hashslot"
)

// Keys of hidden slots can be found by name and by nothing else.
func TestHiddenSlots(t *testing.T) {
	st := newTest(t, 1)
	db := st.DB(0)
	const shown, hidden = 50, 30
	slot := hashslot.Slot([]byte("{h}"))
	for i := range shown {
		put(db, fmt.Sprint("{s}", i), "v", 1)
	}
	for i := range hidden {
		put(db, fmt.Sprint("{h}", i), "v", 1)
	}
	look := func() (scanned int, drawn bool) {
		for cursor := uint64(0); ; {
			cursor = db.Scan(cursor, 7, false, func(o *Obj) { scanned++ })
			if cursor == 0 {
				break
			}
		}
		for r := range uint64(64) {
			drawn = drawn || db.RandomSlot(r) == int(slot)
		}
		return scanned, drawn
	}
	st.Lock(slot)
	st.HideSlot(slot, true)
	st.HideSlot(slot, true)
	st.Unlock(slot)
	if n, drawn := look(); n != shown || drawn {
		t.Errorf("hidden: %d scanned, drawn %v; want %d, false", n, drawn, shown)
	}
	if n, v := db.Visible(false); n != shown || v != shown {
		t.Errorf("Visible = %d, %d, want %d twice", n, v, shown)
	}
	if n := db.Keys(); n != shown+hidden {
		t.Errorf("Keys = %d, want all %d", n, shown+hidden)
	}
	if _, _, ok := get(db, "{h}3"); !ok {
		t.Error("a hidden key is not found by its name")
	}
	for i := range shown {
		del(db, fmt.Sprint("{s}", i))
	}
	if s := db.RandomSlot(3); s != Slots {
		t.Errorf("RandomSlot = %d with only hidden keys, want none", s)
	}
	st.Lock(slot)
	st.HideSlot(slot, false)
	st.Unlock(slot)
	if n, drawn := look(); n != hidden || !drawn {
		t.Errorf("shown again: %d scanned, drawn %v; want %d, true", n, drawn, hidden)
	}
	if st.SlotHidden(slot) || st.hidden.n.Load() != 0 {
		t.Error("a slot is still hidden")
	}
}

// A snapshot of some slots holds exactly their keys as they were at the cut,
// whatever is written meanwhile, there and elsewhere; full snapshots before and
// after it are as complete as ever, also where the epoch comes round.
func TestSlotSnapshot(t *testing.T) {
	st := newTest(t, 2)
	db := st.DB(0)
	const keys = 400
	var in [Slots / 64]uint64
	slot := hashslot.Slot([]byte("{in}"))
	in[slot>>6] |= 1 << (slot & 63)
	for i := range keys {
		put(db, fmt.Sprint("{in}", i), "old", 0)
		put(db, fmt.Sprint("out", i), "old", 0)
		put(st.DB(1), fmt.Sprint("{in}", i), "other", 0)
	}
	cut := func(part bool) *recorder {
		t.Helper()
		r := &recorder{keys: map[string]string{}}
		var s *Snapshot
		var err error
		st.LockWorld()
		if part {
			s, err = st.BeginSlotSnapshot(r, &in)
		} else {
			s, err = st.BeginSnapshot(r)
		}
		st.UnlockWorld()
		if err != nil {
			t.Fatal(err)
		}
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				put(db, fmt.Sprint("{in}", i%keys), "new", 0)
				put(db, fmt.Sprint("out", i%keys), "new", 0)
				put(db, fmt.Sprint("{in}born", i%100), "new", 0)
			}
		})
		err = s.Walk(func() error { return nil })
		stop.Store(true)
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			put(db, fmt.Sprint("{in}", i), "old", 0)
		}
		for i := range 100 {
			del(db, fmt.Sprint("{in}born", i))
		}
		return r
	}
	check := func(r *recorder) {
		t.Helper()
		if len(r.keys) != keys || r.dups != 0 {
			t.Fatalf("%d keys, %d twice; want %d, 0", len(r.keys), r.dups, keys)
		}
		for k, v := range r.keys {
			if v != "old" || hashslot.Slot([]byte(k)) != slot {
				t.Fatalf("key %s = %s is not of the cut", k, v)
			}
		}
	}
	for range 5 {
		check(cut(true))
	}
	// As if as many partial ones had gone before as make the next stamp all.
	st.snap.partial = maxPartial
	check(cut(true))
	if st.snap.partial != 0 {
		t.Error("the walk that stamps all records was not taken for one")
	}
	full := cut(false)
	if want := 2 * keys; len(full.keys) != want || full.dups != keys { // two databases share the names
		t.Errorf("full snapshot: %d names, %d twice; want %d, %d", len(full.keys), full.dups, want, keys)
	}
}
