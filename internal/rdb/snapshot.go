package rdb

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/store"
	"github.com/skeindb/skein/internal/turns"
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
// the walk itself pauses for the output. A big value comes in pieces (part.go) and
// goes out at once, behind what was collected before; what writers touch meanwhile
// is collected behind it.
type Collector struct {
	// Functions are the sources of the function libraries at the cut.
	Functions [][]byte
	// KeyDelay is Delay.PerKey, of Write.
	KeyDelay func() time.Duration

	opts    RecordOptions
	sizes   []dbSize // at the cut
	version int
	w       *Writer      // of the walk
	turns   *turns.Turns // likewise
	spare   []byte       // likewise

	mu        sync.Mutex
	buf       []byte
	db        int    // that the end of buf is in, -1 for none
	announced []bool // databases whose sizes are written
	keys      int
	taken     int64        // bytes that have left buf
	inParts   atomic.Int64 // bytes that came in parts
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
	c.enter(db)
	c.buf = AppendRecord(c.buf, o, &c.opts)
	c.mu.Unlock()
}

// enter begins a key of a database.
func (c *Collector) enter(db int) {
	c.keys++
	if c.db == db {
		return
	}
	c.buf = AppendSelectDB(c.buf, db)
	c.db = db
	if !c.announced[db] {
		c.announced[db] = true
		c.buf = AppendSizes(c.buf, uint64(c.sizes[db].keys), uint64(c.sizes[db].expiring))
	}
}

// Version returns the version that the file must have: DefaultVersion, which every
// server since Redis 7.0 reads, unless a value needs more.
func (c *Collector) Version() int { return c.version }

// exchange takes what was collected and leaves an empty buffer. c.mu.
func (c *Collector) exchange() []byte {
	full := c.buf
	c.taken += int64(len(full))
	c.buf, c.spare = c.spare[:0], nil
	return full
}

// put puts out what exchange returned.
func (c *Collector) put(full []byte) {
	c.w.Write(full)
	if cap(full) <= keepWindow { // else a big value made it big
		c.spare = full
	}
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
	return c.taken + int64(len(c.buf)) + c.inParts.Load()
}

// Write walks the snapshot and puts it on w: facts, libraries, then keys. The
// caller closes w. An error of the output ends the walk.
func (c *Collector) Write(s *store.Snapshot, w *Writer, info *Info) error {
	w.Info(info) // an error stays
	for _, f := range c.Functions {
		w.Function(f)
	}
	c.w, c.spare = w, make([]byte, 0, 2*writerBuffer)
	c.turns = turns.New()
	defer c.turns.End()
	delay, delayed := Delay{PerKey: c.KeyDelay}, 0
	drain := func() error { return c.drain(writerBuffer) }
	err := s.Walk(func() error {
		c.turns.Pass()
		keys := c.Keys() - delayed
		delayed += keys
		if err := delay.Keys(keys, drain); err != nil {
			return err
		}
		return drain()
	})
	if err != nil {
		return err
	}
	return c.drain(1)
}

// drain puts out what was collected, if it is at least enough.
func (c *Collector) drain(enough int) error {
	c.mu.Lock()
	var full []byte
	if len(c.buf) >= enough {
		full = c.exchange()
	}
	c.mu.Unlock()
	if full != nil {
		c.put(full)
	}
	return c.w.err
}
