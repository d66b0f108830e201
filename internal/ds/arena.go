package ds

import "github.com/skeindb/skein/internal/mem"

// Arena is the memory an encoding lives in: the heap, and the allocation hint
// of the slot whose lock the caller holds. It is passed by value.
type Arena struct {
	*mem.Heap
	Shard   int
	Reading *Reading // who reads the value in pieces and is told of changes; nil: nobody
}
