package engine

import (
	"math/rand/v2"
	"runtime"
	"sync"

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
	Unlink   bool // replicas are told UNLINK rather than DEL
}

// EvictionOrder is what makes one sampled key a better victim than another.
type EvictionOrder uint8

const (
	EvictNothing EvictionOrder = iota
	EvictIdle                  // the longest not used
	EvictRandom
	EvictSoonest // the first to expire
)

// Evictor keeps memory under a limit by deleting sampled keys. The settings are
// asked for at each run.
type Evictor struct {
	Engine   *Engine
	Used     func() int64
	Settings func() Eviction

	mu sync.Mutex // one at a time; the others then find it done
}

// Run deletes keys until memory is under the limit, and closes GateOOM if it
// cannot. No locks are held.
func (v *Evictor) Run() {
	set := v.Settings()
	if set.Limit == 0 || v.Used() <= set.Limit {
		if v.Engine.Gate(GateOOM) {
			v.Engine.SetGate(GateOOM, false)
		}
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for v.Used() > set.Limit {
		if v.Engine.Store.LazyfreePending() > 0 {
			runtime.Gosched() // memory is on its way back
			if v.Used() <= set.Limit {
				break
			}
		}
		if set.Order == EvictNothing || v.Engine.Gate(GatePauseWrite|GatePauseAll) || !v.evictOne(&set) {
			v.Engine.SetGate(GateOOM, true)
			return
		}
	}
	v.Engine.SetGate(GateOOM, false)
}

// victim is a sampled key.
type victim struct {
	db    *store.DB
	slot  uint16
	key   []byte
	score int64 // the greater the better
}

// evictOne deletes the best of some sampled keys; false when there is none.
func (v *Evictor) evictOne(set *Eviction) bool {
	e := v.Engine
	second := uint32(e.Now() / 1000)
	best := victim{score: -1}
	for range max(set.Samples, 1) {
		db := v.pickDB(set)
		if db == nil {
			return false
		}
		if c, ok := sample(db, set, second); ok && c.score > best.score {
			best = c
		}
		if set.Order == EvictRandom && best.key != nil {
			break
		}
	}
	if best.key == nil {
		return false
	}
	k := command.MakeKey(0, best.key)
	e.Store.Lock(k.Slot)
	defer e.Store.Unlock(k.Slot)
	var o store.Obj
	if !best.db.Find(k.Slot, k.Hash, best.key, &o) {
		return true // gone meanwhile: that made room too
	}
	best.db.Delete(&o)
	name := "DEL"
	if set.Unlink {
		name = "UNLINK"
	}
	e.Propagate(best.db.Index(), resp.AppendCommand(nil, []byte(name), best.key))
	e.Carry(command.Change{DB: best.db.Index(), Slot: k.Slot, Key: best.key, Event: "evicted"})
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

// sample draws a key that the settings allow. For keys with an expiry it looks
// on from a random slot until it finds one.
func sample(db *store.DB, set *Eviction, second uint32) (c victim, ok bool) {
	st := db.Store()
	slot := db.RandomSlot(rand.Uint64())
	for tries := 0; tries <= store.Slots && !ok; tries++ {
		if slot = db.NextOccupied(slot); slot >= store.Slots {
			if slot = db.NextOccupied(0); slot >= store.Slots {
				return c, false
			}
		}
		s := uint16(slot)
		if st.SlotHidden(s) {
			slot++
			continue
		}
		st.Lock(s)
		var o store.Obj
		switch {
		case !set.Volatile:
			if db.Random(s, rand.Uint64(), &o) {
				c, ok = judge(&o, set, second), true
			}
		case db.Volatile(s) > 0:
			db.ScanSlot(s, rand.Uint64N(1<<25), 32, func(o *store.Obj) {
				if o.ExpireAt() != 0 && !ok {
					c, ok = judge(o, set, second), true
				}
			})
			if !ok {
				db.ScanSlot(s, 0, db.SlotLen(s), func(o *store.Obj) {
					if o.ExpireAt() != 0 && !ok {
						c, ok = judge(o, set, second), true
					}
				})
			}
		}
		st.Unlock(s)
		slot++
	}
	return c, ok
}

func judge(o *store.Obj, set *Eviction, second uint32) victim {
	c := victim{db: o.DB(), slot: o.Slot(), key: append([]byte(nil), o.Key()...)}
	switch set.Order {
	case EvictIdle:
		c.score = int64(o.IdleSeconds(second))
	case EvictSoonest:
		c.score = 1<<62 - o.ExpireAt()
	}
	return c
}
