package engine_test

import (
	"fmt"
	"testing"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/resp"
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
