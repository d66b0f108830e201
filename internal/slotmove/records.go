package slotmove

import (
	"sync"

	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// records takes the keys of a snapshot as the walk and writers hand them out and
// holds them as RESTORE commands until they are sent. What it holds is bounded
// by what writers touch while the connection stands still, and these are slowed
// down then (throttle).
type records struct {
	second func() uint32 // the access clock's present value

	mu      sync.Mutex
	buf     []byte
	payload []byte
	keys    int64
}

var _ store.Sink = (*records)(nil)

// Record implements store.Sink.
func (r *records) Record(_ int, o *store.Obj) {
	now := r.second()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.payload = rdb.AppendDump(r.payload[:0], o, false)
	// Idle times travel with every policy: the target may have another.
	freq := -1
	idle := int64(0)
	if o.DB().Store().AccessKind() == store.AccessUses {
		freq = int(o.Uses(now))
	} else {
		idle = int64(o.IdleSeconds(now))
	}
	n := int64(5)
	if idle > 0 || freq >= 0 {
		n += 2
	}
	r.buf = resp.AppendHeader(r.buf, resp.Array, n)
	r.buf = resp.AppendBulkString(r.buf, "RESTORE")
	r.buf = resp.AppendBulk(r.buf, o.Key())
	r.buf = resp.AppendBulkInt(r.buf, o.ExpireAt())
	r.buf = resp.AppendBulk(r.buf, r.payload)
	r.buf = resp.AppendBulkString(r.buf, "ABSTTL")
	if idle > 0 {
		r.buf = resp.AppendBulkString(r.buf, "IDLETIME")
		r.buf = resp.AppendBulkInt(r.buf, idle)
	}
	if freq >= 0 {
		r.buf = resp.AppendBulkString(r.buf, "FREQ")
		r.buf = resp.AppendBulkInt(r.buf, int64(freq))
	}
	if cap(r.payload) > keepBuffer {
		r.payload = nil
	}
	r.keys++
}

// take exchanges what has come for an empty buffer.
func (r *records) take(empty []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	full := r.buf
	if cap(empty) > keepBuffer {
		empty = nil
	}
	r.buf = empty[:0]
	return full
}

func (r *records) size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.buf))
}

// keepBuffer is the largest buffer kept for reuse.
const keepBuffer = 1 << 20
