package engine

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// Eviction chooses the keys that make room when memory is over its limit.
type Eviction struct {
	Limit    int64 // bytes, 0: none
	Volatile bool  // only keys with an expiry
	Order    EvictionOrder
	Samples  int
	Lazy     bool          // freed in the background, and told as UNLINK rather than DEL
	Budget   time.Duration // of one Run; what is then still over the limit is left to Tick. 0: none
}

// EvictionOrder is what makes one sampled key a better victim than another.
type EvictionOrder uint8

const (
	EvictNothing EvictionOrder = iota
	EvictIdle                  // the longest not used
	EvictUnused                // the least often used
	EvictRandom
	EvictSoonest // the first to expire
)

// Evictor keeps memory under a limit by deleting sampled keys. The settings are
// asked for at each run. The best of what was sampled and not deleted is kept for
// the next time, so that few samples a key come near to the true order.
type Evictor struct {
	Engine   *Engine
	Used     func() int64
	Settings func() Eviction

	mu    sync.Mutex // one at a time; the others then find it done
	pool  [evictPool]victim
	n     int           // of pool that are in use, the best at the end
	by    EvictionOrder // that their scores are of
	spare victim        // its buffer is reused
	obj   store.Obj
	buf   []byte
}

// evictPool is how many candidates are kept (16 in Redis).
const evictPool = 16

// tickBudget is what eviction takes of a tick at most.
const tickBudget = 25 * time.Millisecond

// Run deletes keys until memory is under the limit or the budget is spent, and
// closes GateOOM if there is nothing to delete. No locks are held.
func (v *Evictor) Run() {
	set := v.Settings()
	v.run(&set)
}

// Tick goes on where the budget of Run was too small, and makes room when the
// limit was lowered. It is called several times a second.
func (v *Evictor) Tick() {
	set := v.Settings()
	set.Budget = max(set.Budget, tickBudget)
	if !v.Engine.Gate(GateLoading) {
		v.run(&set)
	}
}

func (v *Evictor) run(set *Eviction) {
	e := v.Engine
	if set.Limit == 0 || v.Used() <= set.Limit {
		v.done()
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by != set.Order {
		v.n, v.by = 0, set.Order
	}
	began := time.Now()
	late := func() bool { return set.Budget > 0 && time.Since(began) > set.Budget }
	for n := 1; v.Used() > set.Limit; n++ {
		for e.Store.LazyfreePending() > 0 && v.Used() > set.Limit && !late() {
			runtime.Gosched() // memory is on its way back
		}
		if v.Used() <= set.Limit {
			break
		}
		if e.Store.ReclaimKept() {
			continue
		}
		if set.Order == EvictNothing || e.Gate(GatePauseWrite|GatePauseAll) || !v.evictOne(set) {
			e.Stats.overLimit(began, true)
			e.SetGate(GateOOM, true)
			return
		}
		if n%16 == 0 && late() {
			// Memory will fall: nobody is refused.
			e.Stats.overLimit(began, true)
			e.SetGate(GateOOM, false)
			return
		}
	}
	v.done()
}

// done opens the gate: memory is under the limit.
func (v *Evictor) done() {
	if v.Engine.Gate(GateOOM) {
		v.Engine.SetGate(GateOOM, false)
	}
	if v.Engine.Stats.overSince.Load() != 0 {
		v.Engine.Stats.overLimit(time.Now(), false)
	}
}

// victim is a sampled key.
type victim struct {
	db    int
	slot  uint16
	key   []byte // its own memory, reused
	score int64  // the greater the better
}

// evictOne deletes the best of some sampled keys; false when there is none.
func (v *Evictor) evictOne(set *Eviction) bool {
	samples := max(set.Samples, 1)
	if set.Order == EvictRandom {
		samples, v.n = 1, 0
	}
	found := false
	for range samples {
		db := v.pickDB(set)
		if db == nil {
			break
		}
		found = v.sample(db, set) || found
	}
	for v.n > 0 {
		v.n--
		if v.take(&v.pool[v.n], set) {
			return true
		}
	}
	return found // those were deleted meanwhile, or used
}

// take deletes a candidate, if it still is one: in less need of room by now, it
// goes back to where it belongs.
func (v *Evictor) take(c *victim, set *Eviction) bool {
	e := v.Engine
	db := e.Store.DB(c.db)
	k := command.MakeKey(0, c.key)
	e.Store.Lock(k.Slot)
	defer e.Store.Unlock(k.Slot)
	var o store.Obj
	if !db.Find(k.Slot, k.Hash, c.key, &o) || set.Volatile && o.ExpireAt() == 0 || e.Store.SlotHidden(k.Slot) {
		return false
	}
	if now := score(&o, set.Order, uint32(e.Now()/1000)); now < c.score {
		if v.n > 0 && v.pool[v.n-1].score > now {
			v.spare.db, v.spare.slot, v.spare.score = c.db, c.slot, now
			v.spare.key = append(v.spare.key[:0], c.key...)
			v.put(&v.spare)
			return false
		}
	}
	db.DeleteIn(&o, set.Lazy)
	name := "DEL"
	if set.Lazy {
		name = "UNLINK"
	}
	v.buf = resp.AppendCommand(v.buf[:0], []byte(name), c.key)
	e.Propagate(db.Index(), v.buf)
	e.Carry(command.Change{DB: db.Index(), Slot: k.Slot, Key: c.key, Event: "evicted"})
	e.Stats.Evicted.Add(1)
	e.dirty.Add(1)
	return true
}

// pickDB returns a database with keys that may be taken, chosen by chance.
func (v *Evictor) pickDB(set *Eviction) *store.DB {
	n := v.Engine.Store.DBs()
	first := rand.IntN(n)
	for i := range n {
		if db := v.Engine.Store.DB((first + i) % n); set.Volatile && db.Expiring() > 0 || !set.Volatile && !db.Empty() {
			return db
		}
	}
	return nil
}

// sample draws a key that the settings allow and puts it into the pool. For keys
// with an expiry it looks on from a random slot until it finds one. It reports
// whether there was one.
func (v *Evictor) sample(db *store.DB, set *Eviction) bool {
	st := db.Store()
	second := uint32(v.Engine.Now() / 1000)
	slot := db.RandomSlot(rand.Uint64())
	for tries := 0; tries <= store.Slots; tries++ {
		if slot = db.NextOccupied(slot); slot >= store.Slots {
			if slot = db.NextOccupied(0); slot >= store.Slots {
				return false
			}
		}
		s := uint16(slot)
		slot++
		if st.SlotHidden(s) {
			continue
		}
		st.Lock(s)
		found := v.draw(db, s, set)
		if found {
			v.spare.score = score(&v.obj, set.Order, second)
			v.spare.db, v.spare.slot = db.Index(), s
			v.spare.key = append(v.spare.key[:0], v.obj.Key()...)
		}
		st.Unlock(s)
		if found {
			v.put(&v.spare)
			return true
		}
	}
	return false
}

// draw points v.obj at a key of the slot, whose lock is held.
func (v *Evictor) draw(db *store.DB, slot uint16, set *Eviction) (ok bool) {
	if !set.Volatile {
		return db.Random(slot, rand.Uint64(), &v.obj)
	}
	if db.Volatile(slot) == 0 {
		return false
	}
	visit := func(o *store.Obj) {
		if o.ExpireAt() != 0 && !ok {
			v.obj, ok = *o, true
		}
	}
	if db.ScanSlot(slot, rand.Uint64N(1<<25), 32, visit); !ok {
		db.ScanSlot(slot, 0, db.SlotLen(slot), visit)
	}
	return ok
}

// score tells how well a key is done without; its slot is locked.
func score(o *store.Obj, by EvictionOrder, second uint32) int64 {
	switch by {
	case EvictIdle:
		return int64(o.IdleSeconds(second))
	case EvictUnused:
		return 255 - int64(o.Uses(second))
	case EvictSoonest:
		return 1<<62 - o.ExpireAt()
	}
	return 0
}

// put inserts a copy of c into the pool, unless it is there already or all that
// are there are better.
func (v *Evictor) put(c *victim) {
	for i := range v.n {
		if p := &v.pool[i]; p.db == c.db && p.slot == c.slot && string(p.key) == string(c.key) {
			return
		}
	}
	i := v.n
	for i > 0 && v.pool[i-1].score > c.score {
		i--
	}
	var hole victim // whose buffer is taken over
	if v.n < evictPool {
		hole = v.pool[v.n]
		copy(v.pool[i+1:v.n+1], v.pool[i:v.n])
		v.n++
	} else {
		if i == 0 {
			return
		}
		hole = v.pool[0]
		i--
		copy(v.pool[:i], v.pool[1:i+1])
	}
	v.pool[i] = victim{c.db, c.slot, append(hole.key[:0], c.key...), c.score}
}
