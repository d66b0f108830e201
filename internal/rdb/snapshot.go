package rdb

import (
	"sync"

	"github.com/skeindb/skein/internal/store"
)

// Collector takes the records of a snapshot as writers and the walk hand them
// out, encodes each at once, under the lock of its slot, and holds the bytes for
// a Writer. It is how a keyspace becomes a file:
//
//	lock the world;  c := NewCollector(st, opts);  snap := st.BeginSnapshot(c);  unlock
//	c.Write(snap, w, &info)  // long, in a goroutine of its own
//	w.Close()
//
// What it holds is bounded by what writers touch while the output stands still:
// the walk itself pauses for the output.
type Collector struct {
	opts    RecordOptions
	sizes   []dbSize // at the cut
	version int

	mu        sync.Mutex
	buf       []byte
	db        int    // that the end of buf is in, -1 for none
	announced []bool // databases whose sizes are written
	keys      int
	taken     int64 // bytes that have left buf
}

type dbSize struct{ keys, expiring int }

// NewCollector notes the sizes of the databases of st. World lock.
func NewCollector(st *store.Store, opts RecordOptions) *Collector {
	c := &Collector{opts: opts, db: -1, announced: make([]bool, st.DBs()), sizes: make([]dbSize, st.DBs()), version: DefaultVersion}
	for i := range c.sizes {
		if st.DB(i).Fielded() > 0 {
			c.version = TypeHashTTL.MinVersion()
		}
		c.sizes[i].keys, c.sizes[i].expiring = st.DB(i).Len(true)
	}
	return c
}

var _ store.Sink = (*Collector)(nil)

// Record implements store.Sink.
func (c *Collector) Record(db int, o *store.Obj) {
	c.mu.Lock()
	if c.db != db {
		c.buf = AppendSelectDB(c.buf, db)
		c.db = db
		if !c.announced[db] {
			c.announced[db] = true
			c.buf = AppendSizes(c.buf, uint64(c.sizes[db].keys), uint64(c.sizes[db].expiring))
		}
	}
	c.buf = AppendRecord(c.buf, o, &c.opts)
	c.keys++
	c.mu.Unlock()
}

// Version returns the version that the file must have: DefaultVersion, which every
// server since Redis 7.0 reads, unless a value needs more.
func (c *Collector) Version() int { return c.version }

// take exchanges what was collected, if it is at least enough, for an empty
// buffer.
func (c *Collector) take(empty []byte, enough int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buf) < enough {
		return nil
	}
	full := c.buf
	c.taken += int64(len(full))
	c.buf = empty[:0]
	return full
}

// Keys returns how many keys were collected so far.
func (c *Collector) Keys() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys
}

// Bytes returns how many bytes were collected so far.
func (c *Collector) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken + int64(len(c.buf))
}

// Write walks the snapshot and puts it on w: facts, then keys. The caller closes
// w. An error of the output ends the walk.
func (c *Collector) Write(s *store.Snapshot, w *Writer, info *Info) error {
	werr := w.Info(info)
	spare := make([]byte, 0, 2*writerBuffer)
	drain := func(enough int) error {
		if werr != nil {
			return werr
		}
		full := c.take(spare, enough)
		if full == nil {
			return nil
		}
		_, err := w.Write(full)
		spare = nil // a big value made it big
		if cap(full) <= keepWindow {
			spare = full
		}
		return err
	}
	if err := s.Walk(func() error { return drain(writerBuffer) }); err != nil {
		return err
	}
	return drain(1)
}
