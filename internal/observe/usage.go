package observe

import "github.com/skeindb/skein/internal/mem"

// usage is where the memory of the node is. used is exactly what mem has handed
// out; Go's own memory and the connections' buffers are beside it.
type usage struct {
	used, peak, startup int64
	rss                 int64
	held, retained      int64 // of the off-heap region
	index               int64 // part of used
	overhead, dataset   int64
	goHeap, goTotal     int64
	buffers             Buffers
	clients             clientMemory
}

func (ob *Observer) usage() (u usage) {
	s := ob.o.Heap.Stats()
	u.used, u.held, u.retained = s.Used, s.Held, s.Retained
	u.peak = max(ob.peak.Load(), u.used)
	u.startup = min(ob.baseline, u.used)
	u.rss = residentBytes()
	u.index = s.ByPurpose[mem.Index]
	u.overhead = min(u.startup+u.index, u.used)
	u.dataset = u.used - u.overhead
	u.goHeap, u.goTotal = goMemory()
	u.buffers = ob.buffers()
	u.clients = ob.clientMemory()
	return u
}
