// Package store is the keyspace: databases of 16384 slots, each slot a hash
// index of records in off-heap memory. It finds, creates, changes and deletes
// records, keeps the expiry of keys, scans, and takes point-in-time snapshots.
//
// What commands mean, what is replicated and when to expire is decided above
// (command, engine); how values are encoded inside a record, below (ds). store
// reads no clock: times are arguments, Unix milliseconds. Only LockWorld waits by one.
//
// Read store.go (locks), record.go (one key), db.go (slots), expire.go,
// scan.go, ttl.go, hidden.go, snapshot.go, reading.go, lazyfree.go, touch.go.
//
// # Locks
//
// Slots share striped locks. Everything that takes a slot number needs that
// slot's stripe locked, unless its comment says otherwise. A caller that needs
// several stripes takes them in ascending order (LockSlots does). LockWorld
// takes them all, in the same order, so the two cannot deadlock. No other lock
// is taken while acquiring one.
package store

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/mem"
)

// Slots is the number of hash slots of a database (cluster specification, 1).
const Slots = 16384

// Stripes is the number of slot locks: enough that two of a few hundred busy
// connections rarely meet, few enough that LockWorld takes microseconds.
const Stripes = 1024

type stripe struct {
	mu sync.Mutex
	_  [56]byte // one cache line each
}

// Store is a set of databases that share memory and slot locks.
type Store struct {
	Heap *mem.Heap

	dbs     []atomic.Pointer[DB] // replaced only under the world lock
	stripes [Stripes]stripe
	snap    snapshotState
	hidden  hiddenSlots
	lazy    lazyFreer
	access  accessSettings

	lazyDelete atomic.Bool
}

// New returns a store of n empty databases in heap.
func New(heap *mem.Heap, n int) *Store {
	st := &Store{Heap: heap, dbs: make([]atomic.Pointer[DB], n)}
	for i := range st.dbs {
		st.dbs[i].Store(newDB(st, i))
	}
	st.lazy.start(st)
	return st
}

// Close stops the background freeing. The heap stays the caller's.
func (st *Store) Close() { st.lazy.stop() }

// DBs returns the number of databases.
func (st *Store) DBs() int { return len(st.dbs) }

// DB returns database i. The pointer changes with SwapDB, so it is not kept
// across commands.
func (st *Store) DB(i int) *DB { return st.dbs[i].Load() }

// SwapDB exchanges two databases. World lock.
func (st *Store) SwapDB(i, j int) {
	a, b := st.dbs[i].Load(), st.dbs[j].Load()
	a.index, b.index = j, i
	st.dbs[i].Store(b)
	st.dbs[j].Store(a)
}

// StripeOf returns the lock, and the allocation shard, of a slot.
func StripeOf(slot uint16) int { return int(slot) & (Stripes - 1) }

// Lock takes the lock of one slot.
func (st *Store) Lock(slot uint16) { st.stripes[StripeOf(slot)].mu.Lock() }

// Unlock releases the lock of one slot.
func (st *Store) Unlock(slot uint16) { st.stripes[StripeOf(slot)].mu.Unlock() }

// LockStripe and UnlockStripe take and release one lock by its number.
func (st *Store) LockStripe(i int)   { st.stripes[i].mu.Lock() }
func (st *Store) UnlockStripe(i int) { st.stripes[i].mu.Unlock() }

// LockWorld takes every slot lock: nothing else reads or changes data. While one of
// them is held for long, by a slow command, the others do not wait for it too.
func (st *Store) LockWorld() {
	for patience := worldPatience; ; patience = min(2*patience, time.Minute) {
		if st.tryWorld(patience) {
			return
		}
	}
}

// worldPatience is how long, at first, LockWorld waits for a lock while it has others.
// It grows from try to try, so that a server that always has a slow command somewhere
// comes to an end too.
const worldPatience = 2 * time.Millisecond

// tryWorld takes all locks, or none if one is held for longer than patience; then it
// returns when that one is free.
func (st *Store) tryWorld(patience time.Duration) bool {
	for i := range st.stripes {
		mu := &st.stripes[i].mu
		if mu.TryLock() {
			continue
		}
		// In a goroutine, since a wait for a mutex cannot be given up, and in the
		// mutex's queue, since a lock that is wanted all the time is never found free.
		got := make(chan struct{})
		go func() {
			mu.Lock()
			close(got)
		}()
		timer := time.NewTimer(patience)
		select {
		case <-got:
			timer.Stop()
		case <-timer.C:
			for j := range i {
				st.stripes[j].mu.Unlock()
			}
			<-got
			mu.Unlock()
			return false
		}
	}
	return true
}

// UnlockWorld releases every slot lock.
func (st *Store) UnlockWorld() {
	for i := range st.stripes {
		st.stripes[i].mu.Unlock()
	}
}

// Pass returns when everyone who held a lock of the set when it began has let go of
// it. It holds one lock at a time, and each for no time, so who needs another waits for
// nobody. Not under slot locks.
func (st *Store) Pass(set *StripeSet) {
	for left := *set; ; {
		busy := -1
		for w := range left {
			for word := left[w]; word != 0; word &= word - 1 {
				i := w<<6 + trailingZeros(word)
				switch mu := &st.stripes[i].mu; {
				case mu.TryLock():
					mu.Unlock()
					left.remove(i)
				case busy < 0:
					busy = i
				}
			}
		}
		if busy < 0 {
			return
		}
		// The others go on meanwhile, and are mostly found free afterwards.
		st.LockStripe(busy)
		st.UnlockStripe(busy)
		left.remove(busy)
	}
}

// StripeSet is a set of slot locks, taken in ascending order.
type StripeSet [Stripes / 64]uint64

// AddAll puts every lock into the set.
func (s *StripeSet) AddAll() {
	for w := range s {
		s[w] = ^uint64(0)
	}
}

func (s *StripeSet) remove(i int) { s[i>>6] &^= 1 << (i & 63) }

// Add puts the lock of slot into the set.
func (s *StripeSet) Add(slot uint16) {
	i := StripeOf(slot)
	s[i>>6] |= 1 << (i & 63)
}

// LockSet takes all locks of the set in ascending order.
func (st *Store) LockSet(s *StripeSet) {
	for w, word := range s {
		for word != 0 {
			i := w<<6 + trailingZeros(word)
			st.stripes[i].mu.Lock()
			word &= word - 1
		}
	}
}

// UnlockSet releases all locks of the set.
func (st *Store) UnlockSet(s *StripeSet) {
	for w, word := range s {
		for word != 0 {
			i := w<<6 + trailingZeros(word)
			st.stripes[i].mu.Unlock()
			word &= word - 1
		}
	}
}

func (st *Store) arena(slot uint16) ds.Arena {
	return ds.Arena{Heap: st.Heap, Shard: StripeOf(slot)}
}

// Hash is the hash of a key by which its slot's index finds it.
func Hash(key []byte) uint64 { return ds.Hash(key) }
