package server

import (
	"time"

	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/store"
)

// newEvictor keeps the data under maxmemory.
func (s *Server) newEvictor() *engine.Evictor {
	c := s.Config
	return &engine.Evictor{Engine: s.engine, Used: s.heap.Used, Settings: func() engine.Eviction {
		p := c.MaxMemoryPolicy.Get()
		set := engine.Eviction{Limit: c.MaxMemory.Get(), Volatile: p.Volatile(), Samples: int(c.MaxMemorySamples.Get()),
			Lazy: c.LazyfreeLazyEviction.Get(), Budget: evictionBudget(c.MaxMemoryEvictionTenacity.Get())}
		if s.engine.View().Replica && c.ReplicaIgnoreMaxMemory.Get() {
			set.Limit = 0 // the primary will delete what must go
		}
		switch p {
		case config.NoEviction:
			set.Order, set.Volatile = engine.EvictNothing, false
		case config.VolatileRandom, config.AllKeysRandom:
			set.Order = engine.EvictRandom
		case config.VolatileTTL:
			set.Order = engine.EvictSoonest
		case config.VolatileLFU, config.AllKeysLFU:
			set.Order = engine.EvictUnused
		default:
			set.Order = engine.EvictIdle
		}
		return set
	}}
}

// evictionBudget is how long a command may be held up by evictions: 50 us for each
// point of maxmemory-eviction-tenacity up to 10, 15 % more for each point beyond, no
// limit (0) at 100. Source: the description of the directive.
func evictionBudget(tenacity int64) time.Duration {
	if tenacity >= 100 {
		return 0
	}
	d := float64(50*min(tenacity, 10)) * float64(time.Microsecond)
	for ; tenacity > 10; tenacity-- {
		d *= 1.15
	}
	return max(time.Duration(d), 1)
}

// limitMemory makes maxmemory count.
func (s *Server) limitMemory() error {
	on := s.Config.MaxMemory.Get() > 0
	s.engine.SetGate(engine.GateCheckOOM, on)
	if !on {
		s.engine.SetGate(engine.GateOOM, false)
	}
	return nil
}

// countAccesses makes records keep what the policy goes by.
func (s *Server) countAccesses() error {
	c := s.Config
	kind := store.AccessClock
	switch p := c.MaxMemoryPolicy.Get(); {
	case p.LFU():
		kind = store.AccessUses
	case p == config.VolatileLRU || p == config.AllKeysLRU:
		kind = store.AccessIdle
	}
	s.store.SetAccess(kind, c.LFULogFactor.Get(), c.LFUDecayTime.Get())
	return nil
}

// leastClientLimit is the least that maxmemory-clients means: with less nobody
// could set it right again.
const leastClientLimit = 128 << 10

// limitClients closes connections while those of clients take more than
// maxmemory-clients.
func (s *Server) limitClients() {
	limit := s.Config.MaxMemoryClients.Get()
	if limit < 0 { // percent of maxmemory
		limit = int64(float64(s.Config.MaxMemory.Get()) / 100 * float64(-limit))
	}
	if limit > 0 {
		s.engine.EvictClients(max(limit, leastClientLimit))
	}
}
