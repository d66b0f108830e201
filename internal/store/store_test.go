package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/mem"
)

func newTest(t testing.TB, dbs int) *Store {
	t.Helper()
	h, err := mem.New(mem.Options{Reserve: 256 << 20, Shards: 4, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	st := New(h, dbs)
	t.Cleanup(func() {
		st.Close()
		if err := h.Check(); err != nil {
			t.Error(err)
		}
		h.Close()
	})
	return st
}

// put sets key to a raw string as the SET command does.
func put(db *DB, key, val string, expireAt int64) {
	k := []byte(key)
	slot, hash := hashslot.Slot(k), Hash(k)
	db.st.Lock(slot)
	defer db.st.Unlock(slot)
	var o Obj
	if db.Find(slot, hash, k, &o) {
		db.Write(&o)
		copy(o.Reset(String, Raw, len(val)), val)
		o.SetExpire(expireAt)
		return
	}
	copy(db.Create(slot, hash, k, String, Raw, len(val), expireAt, 0, &o), val)
}

func get(db *DB, key string) (val string, expireAt int64, ok bool) {
	k := []byte(key)
	slot := hashslot.Slot(k)
	db.st.Lock(slot)
	defer db.st.Unlock(slot)
	var o Obj
	if !db.Find(slot, Hash(k), k, &o) {
		return "", 0, false
	}
	return string(o.Bytes()), o.ExpireAt(), true
}

func del(db *DB, key string) bool {
	k := []byte(key)
	slot := hashslot.Slot(k)
	db.st.Lock(slot)
	defer db.st.Unlock(slot)
	var o Obj
	if !db.Find(slot, Hash(k), k, &o) {
		return false
	}
	db.Delete(&o)
	return true
}

// TestModel runs random operations on a database and on a Go map and compares
// them; keys share few slots, so indexes grow, shrink and collide.
func TestModel(t *testing.T) {
	st := newTest(t, 1)
	db := st.DB(0)
	rnd := rand.New(rand.NewSource(1))
	type val struct {
		s  string
		at int64
	}
	model := map[string]val{}
	for i := 0; i < 60000; i++ {
		key := fmt.Sprintf("{t%d}%0*d", rnd.Intn(3), 1+rnd.Intn(4), rnd.Intn(2000))
		if rnd.Intn(50) == 0 {
			key += string(bytes.Repeat([]byte{'k'}, 250+rnd.Intn(300))) // around the long-key limit
		}
		switch rnd.Intn(6) {
		case 0, 1, 2:
			v := val{s: string(bytes.Repeat([]byte{byte('a' + rnd.Intn(26))}, rnd.Intn(300)))}
			if rnd.Intn(3) == 0 {
				v.at = int64(1 + rnd.Intn(1000))
			}
			put(db, key, v.s, v.at)
			model[key] = v
		case 3:
			_, want := model[key]
			if got := del(db, key); got != want {
				t.Fatalf("delete %q = %v, want %v", key, got, want)
			}
			delete(model, key)
		case 4:
			s, at, ok := get(db, key)
			w, want := model[key]
			if ok != want || s != w.s || at != w.at {
				t.Fatalf("get %q = %q %d %v, want %q %d %v", key, s, at, ok, w.s, w.at, want)
			}
		case 5: // append through Splice and Grow, toggle the expiry
			w, ok := model[key]
			if !ok {
				continue
			}
			k := []byte(key)
			slot := hashslot.Slot(k)
			st.Lock(slot)
			var o Obj
			db.Find(slot, Hash(k), k, &o)
			off := rnd.Intn(len(w.s) + 1)
			copy(o.Splice(off, 0, 3)[off:], "xyz")
			w.s = w.s[:off] + "xyz" + w.s[off:]
			cut := rnd.Intn(4)
			o.Splice(0, cut, 0)
			w.s = w.s[min(cut, len(w.s)):]
			n := len(w.s)
			copy(o.Grow(n + 5)[n:], "growf")
			w.s += "growf"
			w.at = int64(rnd.Intn(2) * 77)
			o.SetExpire(w.at)
			st.Unlock(slot)
			model[key] = w
		}
	}
	volatile := 0
	for key, w := range model {
		if s, at, ok := get(db, key); !ok || s != w.s || at != w.at {
			t.Fatalf("in the end %q = %q %d %v, want %q %d", key, s, at, ok, w.s, w.at)
		}
		if w.at != 0 {
			volatile++
		}
	}
	if k, v := db.Len(false); k != len(model) || v != volatile || db.Expiring() != volatile || db.Keys() != len(model) {
		t.Fatalf("Len = %d %d, Expiring = %d, Keys = %d; want %d keys, %d with an expiry", k, v, db.Expiring(), db.Keys(), len(model), volatile)
	}
	seen := map[string]bool{}
	for cur := uint64(0); ; {
		if cur = db.Scan(cur, 7, false, func(o *Obj) { seen[string(o.Key())] = true }); cur == 0 {
			break
		}
	}
	if len(seen) != len(model) {
		t.Fatalf("scan met %d keys of %d", len(seen), len(model))
	}
	st.LockWorld()
	if n := db.Clear(false); n != len(model) {
		t.Fatalf("Clear = %d, want %d", n, len(model))
	}
	st.UnlockWorld()
	if used := st.Heap.Used(); used != 0 {
		t.Fatalf("%d bytes are still in use after Clear", used)
	}
}

// TestExpireSweep checks that a sweep deletes just what is due, and that a slot
// without due keys is passed over.
func TestExpireSweep(t *testing.T) {
	st := newTest(t, 1)
	db := st.DB(0)
	for i := 0; i < 3000; i++ {
		put(db, fmt.Sprintf("{x}%d", i), "v", int64(100+i%300))
	}
	slot := hashslot.Slot([]byte("{x}"))
	sweep := func(now int64) (n int) {
		var c ExpireCursor
		for done := false; !done; {
			done = db.ExpireStep(slot, now, &c, 10, func(o *Obj) { db.Delete(o); n++ })
		}
		return n
	}
	if db.DueSlot(slot, 99) {
		t.Error("due before any key is")
	}
	if n := sweep(199); n != 1000 {
		t.Errorf("sweep at 199 deleted %d, want 1000", n)
	}
	if db.DueSlot(slot, 199) || !db.DueSlot(slot, 200) {
		t.Error("the next expiry was not found by the sweep")
	}
	put(db, "{x}early", "v", 150)
	if !db.DueSlot(slot, 150) {
		t.Error("a new earlier expiry did not make the slot due")
	}
	if n := sweep(1000); n != 2001 {
		t.Errorf("last sweep deleted %d, want 2001", n)
	}
	if db.Volatile(slot) != 0 || !db.Empty() {
		t.Error("keys are left")
	}
}

// recorder is a snapshot sink.
type recorder struct {
	mu   sync.Mutex
	keys map[string]string
	dups int
}

func (r *recorder) Record(db int, o *Obj) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := string(o.Key())
	if _, dup := r.keys[k]; dup {
		r.dups++
	}
	r.keys[k] = string(o.Bytes())
}

// cut begins a snapshot.
func cut(t *testing.T, st *Store, sink Sink) *Snapshot {
	t.Helper()
	st.LockWorld()
	defer st.UnlockWorld()
	s, err := st.BeginSnapshot(sink)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSnapshotIsExactAtTheCut lets writers move amounts between accounts, two
// keys under their slots' locks at a time, while snapshots are walked: in each
// the sum must be that of the cut.
func TestSnapshotIsExactAtTheCut(t *testing.T) {
	st := newTest(t, 1)
	db := st.DB(0)
	const accounts, sum = 500, 500 * 1000
	for i := 0; i < accounts; i++ {
		put(db, fmt.Sprint("acct", i), "1000", 0)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := 0; w < 3; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewSource(int64(w)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, b := fmt.Sprint("acct", rnd.Intn(accounts)), fmt.Sprint("acct", rnd.Intn(accounts))
				if a == b {
					continue
				}
				var set StripeSet
				ka, kb := []byte(a), []byte(b)
				sa, sb := hashslot.Slot(ka), hashslot.Slot(kb)
				set.Add(sa)
				set.Add(sb)
				st.LockSet(&set)
				var oa, ob Obj
				db.Find(sa, Hash(ka), ka, &oa)
				db.Find(sb, Hash(kb), kb, &ob)
				var va, vb int
				fmt.Sscan(string(oa.Bytes()), &va)
				fmt.Sscan(string(ob.Bytes()), &vb)
				d := rnd.Intn(100)
				set1 := func(o *Obj, slot uint16, key []byte, v int) {
					if rnd.Intn(4) == 0 { // delete and make anew
						db.Delete(o)
						s := fmt.Sprint(v)
						copy(db.Create(slot, Hash(key), key, String, Raw, len(s), 0, 0, o), s)
						return
					}
					db.Write(o)
					s := fmt.Sprint(v)
					copy(o.Reset(String, Raw, len(s)), s)
				}
				set1(&oa, sa, ka, va-d)
				db.Find(sb, Hash(kb), kb, &ob)
				set1(&ob, sb, kb, vb+d)
				st.UnlockSet(&set)
			}
		}()
	}
	for i := 0; i < 20; i++ {
		r := &recorder{keys: map[string]string{}}
		s := cut(t, st, r)
		if err := s.Walk(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, v := range r.keys {
			var n int
			fmt.Sscan(v, &n)
			total += n
		}
		if r.dups != 0 || len(r.keys) != accounts || total != sum {
			t.Fatalf("snapshot %d: %d keys, %d twice, sum %d; want %d, 0, %d", i, len(r.keys), r.dups, total, accounts, sum)
		}
	}
	close(stop)
	wg.Wait()
}

// A snapshot has what databases held at the cut, also of one that was cleared and
// filled anew under way, twice; the memory goes when it ends.
func TestSnapshotOfClearedDatabase(t *testing.T) {
	st := newTest(t, 2)
	const keys = 3000
	fill := func(db int, value string) {
		for i := range keys {
			put(st.DB(db), fmt.Sprint(db, "/", i), value, 0)
		}
	}
	clear := func(db int, async bool) {
		st.LockWorld()
		defer st.UnlockWorld()
		if got := st.DB(db).Clear(async); got != keys {
			t.Errorf("%d keys cleared, want %d", got, keys)
		}
	}
	fill(0, "round 0")
	fill(1, "round 0")
	used := st.Heap.Used()
	for round, at := range []int{1, 3, 2000, 4000} { // pieces after which it happens
		r := &recorder{keys: map[string]string{}}
		s := cut(t, st, r)
		next := fmt.Sprint("round ", round+1)
		n := 0
		if err := s.Walk(func() error {
			if n++; n == at {
				for db := range 2 {
					clear(db, db == 0)
					fill(db, next)
				}
				clear(1, false)
				fill(1, next)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if n < at {
			t.Fatalf("only %d pieces", n)
		}
		if len(r.keys) != 2*keys || r.dups != 0 {
			t.Errorf("cleared after %d pieces: %d keys in the snapshot, %d twice, want %d", at, len(r.keys), r.dups, 2*keys)
		}
		for k, v := range r.keys {
			if v != fmt.Sprint("round ", round) {
				t.Errorf("cleared after %d pieces: %s is %q", at, k, v)
			}
		}
	}
	for end := time.Now().Add(10 * time.Second); st.LazyfreePending() > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if now := st.Heap.Used(); now > used+used/10 {
		t.Errorf("%d bytes used at the end, %d at first", now, used)
	}
}

// A walk does not go on when it is told so.
func TestAbortSnapshot(t *testing.T) {
	st := newTest(t, 1)
	for i := 0; i < 2000; i++ {
		put(st.DB(0), fmt.Sprint(i), "v", 0)
	}
	s := cut(t, st, &recorder{keys: map[string]string{}})
	n := 0
	err := s.Walk(func() error {
		if n++; n == 3 {
			st.LockWorld()
			st.AbortSnapshot("test")
			st.DB(0).Clear(false)
			st.UnlockWorld()
		}
		return nil
	})
	if !errors.Is(err, ErrSnapshotAborted) {
		t.Fatalf("the walk ended with %v, want %v", err, ErrSnapshotAborted)
	}
	cut(t, st, &recorder{keys: map[string]string{}}) // another one can begin
}

// While one lock is held for long, who wants all of them leaves the others free, and
// gets all in the end.
func TestLockWorldLeavesOthersFree(t *testing.T) {
	st := newTest(t, 1)
	const slow, other = Stripes / 2, Stripes / 4
	st.LockStripe(slow)
	have := make(chan struct{})
	go func() {
		st.LockWorld()
		close(have)
	}()
	free := make(chan struct{})
	go func() {
		defer close(free)
		for start := time.Now(); time.Since(start) < 50*worldPatience; time.Sleep(worldPatience / 4) {
			st.LockStripe(other)
			st.UnlockStripe(other)
		}
	}()
	select {
	case <-free:
	case <-have:
		t.Fatal("all locks were taken while one was held")
	case <-time.After(30 * time.Second):
		t.Fatal("another lock is not to be had while one is held")
	}
	st.UnlockStripe(slow)
	select {
	case <-have:
	case <-time.After(30 * time.Second):
		t.Fatal("all locks were never taken")
	}
	if st.stripes[other].mu.TryLock() || st.stripes[slow].mu.TryLock() {
		t.Error("not all locks are held")
	}
	st.UnlockWorld()
}

// Pass waits for each holder of a lock of its set, for no one else, and holds up nobody.
func TestPass(t *testing.T) {
	st := newTest(t, 1)
	var set StripeSet
	set.AddAll()
	const first, second, outside = 3, 700, 900
	set.remove(outside)
	for _, i := range []int{first, second, outside} {
		st.LockStripe(i)
	}
	passed := make(chan struct{})
	go func() {
		st.Pass(&set)
		close(passed)
	}()
	for range 20 {
		for i := range Stripes {
			if i != first && i != second && i != outside {
				st.LockStripe(i)
				st.UnlockStripe(i)
			}
		}
	}
	st.UnlockStripe(first)
	select {
	case <-passed:
		t.Fatal("passed a lock that is held")
	case <-time.After(20 * time.Millisecond):
	}
	st.UnlockStripe(second)
	select {
	case <-passed:
	case <-time.After(30 * time.Second):
		t.Fatal("waits although no lock of the set is held")
	}
	st.UnlockStripe(outside)
}

// Locks that are taken again and again by others do not keep it from an end.
func TestLockWorldUnderContention(t *testing.T) {
	st := newTest(t, 1)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for !stop.Load() {
				st.LockStripe(i % 4)
				for start := time.Now(); time.Since(start) < 3*worldPatience/2; {
				}
				st.UnlockStripe(i % 4)
			}
		})
	}
	began := time.Now()
	for range 3 {
		st.LockWorld()
		st.UnlockWorld()
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("three times took %v", took)
	}
	stop.Store(true)
	wg.Wait()
}
