package server

import (
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
)

// newEvictor keeps the data under maxmemory. The policies by frequency of use
// take the longest idle keys: records count no uses yet.
func (s *Server) newEvictor() *engine.Evictor {
	c := s.Config
	return &engine.Evictor{Engine: s.engine, Used: s.heap.Used, Settings: func() engine.Eviction {
		p := c.MaxMemoryPolicy.Get()
		set := engine.Eviction{Limit: c.MaxMemory.Get(), Volatile: p.Volatile(), Samples: int(c.MaxMemorySamples.Get()), Unlink: c.LazyfreeLazyEviction.Get()}
		switch p {
		case config.NoEviction:
			set.Order, set.Volatile = engine.EvictNothing, false
		case config.VolatileRandom, config.AllKeysRandom:
			set.Order = engine.EvictRandom
		case config.VolatileTTL:
			set.Order = engine.EvictSoonest
		default:
			set.Order = engine.EvictIdle
		}
		return set
	}}
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
