package engine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// TestEvictionKeepsTheLimit writes far more than the limit allows under each
// order and looks at what is left; without a key to take, writes are refused.
func TestEvictionKeepsTheLimit(t *testing.T) {
	const limit = 1 << 20
	for _, tt := range []struct {
		name string
		set  engine.Eviction
		ttl  bool
		oom  bool
	}{
		{"idle keys", engine.Eviction{Limit: limit, Order: engine.EvictIdle, Samples: 5}, false, false},
		{"keys not used much", engine.Eviction{Limit: limit, Order: engine.EvictUnused, Samples: 5, Lazy: true}, false, false},
		{"random keys", engine.Eviction{Limit: limit, Order: engine.EvictRandom, Samples: 5}, false, false},
		{"soonest to expire", engine.Eviction{Limit: limit, Order: engine.EvictSoonest, Volatile: true, Samples: 5}, true, false},
		{"volatile, none expires", engine.Eviction{Limit: limit, Order: engine.EvictIdle, Volatile: true, Samples: 5}, false, true},
		{"nothing", engine.Eviction{Limit: limit, Samples: 5}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, s := benchEngine(t, 0)
			v := &engine.Evictor{Engine: e, Used: e.Store.Heap.Used, Settings: func() engine.Eviction { return tt.set }}
			e.Evict = v.Run
			e.SetGate(engine.GateCheckOOM, true)
			val := make([]byte, 1000)
			for i := range 5000 {
				args := [][]byte{[]byte("SET"), fmt.Appendf(nil, "k%d", i), val}
				if tt.ttl {
					args = append(args, []byte("EX"), fmt.Appendf(nil, "%d", 10000+i))
				}
				s.Feed(resp.AppendCommand(nil, args...))
			}
			if used := e.Store.Heap.Used(); used > limit+64<<10 {
				t.Errorf("%d bytes are used, the limit is %d", used, limit)
			}
			if got := e.Gate(engine.GateOOM); got != tt.oom {
				t.Errorf("writes are refused: %v, want %v", got, tt.oom)
			}
			if n := e.Stats.Evicted.Load(); (n == 0) != tt.oom {
				t.Errorf("%d keys were evicted", n)
			}
			if keys, _ := e.Store.DB(0).Len(false); keys < 500 {
				t.Errorf("only %d keys are left", keys)
			}
		})
	}
}

// A budget ends a run before memory is under the limit; nobody is refused, ticks do
// the rest, and the time that it took is counted.
func TestEvictionBudget(t *testing.T) {
	e, s := benchEngine(t, 0)
	for i := range 5000 {
		s.Feed(resp.AppendCommand(nil, []byte("SET"), fmt.Appendf(nil, "k%d", i), make([]byte, 1000)))
	}
	limit := e.Store.Heap.Used() / 4
	v := &engine.Evictor{Engine: e, Used: e.Store.Heap.Used, Settings: func() engine.Eviction {
		return engine.Eviction{Limit: limit, Order: engine.EvictRandom, Samples: 5, Budget: time.Nanosecond}
	}}
	v.Run()
	if n := e.Stats.Evicted.Load(); n < 1 || n > 16 {
		t.Errorf("%d keys were evicted", n)
	}
	if _, now := e.Stats.OverLimit(); now <= 0 || e.Gate(engine.GateOOM) {
		t.Errorf("over the limit for %v, writes refused: %v", now, e.Gate(engine.GateOOM))
	}
	for end := time.Now().Add(patience); e.Store.Heap.Used() > limit; v.Tick() {
		if time.Now().After(end) {
			t.Fatalf("%d bytes are used, the limit is %d", e.Store.Heap.Used(), limit)
		}
	}
	v.Tick()
	if total, now := e.Stats.OverLimit(); now != 0 || total <= 0 {
		t.Errorf("over the limit for %v, %v in all", now, total)
	}
}

// sink takes records and keeps nothing.
type sink struct{}

func (sink) Record(int, *store.Obj) {}

// Memory that a snapshot keeps of a flushed database goes before any key does, and
// before a write is refused.
func TestEvictionEndsSnapshot(t *testing.T) {
	e, s := benchEngine(t, 0)
	for i := range 5000 {
		s.Feed(resp.AppendCommand(nil, []byte("SET"), fmt.Appendf(nil, "k%d", i), make([]byte, 1000)))
	}
	limit := e.Store.Heap.Used() / 4
	e.Store.LockWorld()
	snap, err := e.Store.BeginSnapshot(sink{})
	if err != nil {
		t.Fatal(err)
	}
	e.FlushLocked(0, false)
	e.Store.UnlockWorld()
	if used := e.Store.Heap.Used(); used <= limit {
		t.Fatalf("%d bytes are used: nothing is kept for the snapshot", used)
	}
	s.Feed(resp.AppendCommand(nil, []byte("SET"), []byte("k"), []byte("v")))
	v := &engine.Evictor{Engine: e, Used: e.Store.Heap.Used, Settings: func() engine.Eviction { return engine.Eviction{Limit: limit} }}
	v.Run()
	if used := e.Store.Heap.Used(); used > limit || e.Gate(engine.GateOOM) {
		t.Errorf("%d bytes are used, the limit is %d; writes refused: %v", used, limit, e.Gate(engine.GateOOM))
	}
	if err := snap.Walk(func() error { return nil }); !errors.Is(err, store.ErrSnapshotAborted) {
		t.Errorf("the walk ended with %v, want %v", err, store.ErrSnapshotAborted)
	}
	if keys, _ := e.Store.DB(0).Len(false); keys != 1 {
		t.Errorf("%d keys, want 1", keys)
	}
}

// The pool of candidates makes few samples come near to the order: with 5 of 2000
// keys sampled at a time, what goes are the keys used least.
func TestEvictionPool(t *testing.T) {
	e, s := benchEngine(t, 0)
	e.Store.SetAccess(store.AccessIdle, 10, 1)
	now := e.Now() / 1000
	const keys = 2000
	for i := range keys {
		s.Feed(resp.AppendCommand(nil, []byte("SET"), fmt.Appendf(nil, "k%d", i), make([]byte, 1000)))
	}
	for slot := range store.Slots {
		e.Store.DB(0).ScanSlot(uint16(slot), 0, 1<<20, func(o *store.Obj) {
			var i int
			fmt.Sscanf(string(o.Key()), "k%d", &i)
			o.SetAccessFacts(uint32(now), int64(1+100*i), -1)
		})
	}
	limit := e.Store.Heap.Used() * 3 / 4
	v := &engine.Evictor{Engine: e, Used: e.Store.Heap.Used, Settings: func() engine.Eviction {
		return engine.Eviction{Limit: limit, Order: engine.EvictIdle, Samples: 5}
	}}
	v.Run()
	old, left := 0, 0
	for slot := range store.Slots {
		e.Store.DB(0).ScanSlot(uint16(slot), 0, 1<<20, func(o *store.Obj) {
			var i int
			fmt.Sscanf(string(o.Key()), "k%d", &i)
			left++
			if i >= keys/2 {
				old++
			}
		})
	}
	// A quarter goes; of the older half half is left at best, and nearly that.
	gone := keys - left
	if fresh := gone - (keys/2 - old); fresh > gone/10 {
		t.Errorf("%d of %d evicted keys are of the younger half", fresh, gone)
	}
}
