package rdb

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/store"
)

// A load uses all cores. The goroutine that reads (Load) passes over the records of
// a block of input, noting where they are; workers then sum the block, decode its
// records and put them in, groups of them with touch-ahead. Blocks follow each
// other in the file but are worked on at the same time:
//
//	reader  | block 1 | block 2 | block 3 | ...     finds the records, about a tenth of the work
//	worker A  sum, decode, put in: block 1, then 3
//	worker B                       block 2, then 4
//
// The checksum is joined from those of the blocks. A big collection has a block to
// itself, and of such blocks the workers have at most bigRoom bytes at a time. A
// record that does not fit maxHeld is read by the reader itself, so that no value of
// any size is held whole; so is one that the reader finds damaged, for the error to
// be that of reading it. Any error of a worker belongs to a record before the place
// where the reader is, and of several the first in the file counts.
//
// The design before this decoded in one goroutine: half of its time went to cache
// misses of the index, a quarter to the kernel's clearing of new pages, and both
// overlap here. Making the index ahead for the announced number of keys was tried
// by measure: growing it step by step is 1.6 % of a load, and a table for the mean
// is too small for half of the slots.
const (
	blockSize  = 128 << 10 // of input: with its records it fits a core's cache
	maxHeld    = 32 << 20  // longest record for a worker: a collection of about a million
	bigRoom    = 64 << 20  // of blocks longer than blockSize that wait or are worked on
	maxWorkers = 8         // about as many as one reader keeps busy
	groupSize  = 64        // records touched ahead together, at most store.MaxTouch
)

// errHeld says that a record is too long for a worker.
var errHeld = errors.New("rdb: record too long to be held")

// extent is a record of a block: from its type on.
type extent struct {
	at, end    uint32
	expireAtMs int64
	idleSec    int64
	db         uint32
	freq       int16
}

// block is a piece of input with the records in it.
type block struct {
	buf     []byte // not written to any more
	base    int64  // offset of buf in the input
	records []extent
	sum     []byte // part of buf for crc
	crc     *blockSum
	kept    bool // the reader goes on with what is behind sum in buf
}

// blockSum is the checksum of one block.
type blockSum struct {
	crc  uint64
	n    int64
	done atomic.Bool
}

// pipeline is what reader and workers of one load share. Its fields are the
// reader's unless they say otherwise.
type pipeline struct {
	st      *store.Store
	o       *LoadOptions
	src     *source
	maxHeld int
	bigRoom int64
	records []extent // of the block that is being read

	crc  uint64 // of the input before sums
	sums []*blockSum

	work    chan *block    // holds one: in flight are that, the workers' and the reader's
	free    chan *block    // blocks to use again
	big     atomic.Int64   // bytes of blocks longer than blockSize that are handed over
	room    chan struct{}  // told when big has fallen
	pending sync.WaitGroup // blocks handed over
	workers sync.WaitGroup
	loaders []*worker // each its goroutine's until workers is waited for

	keys   atomic.Int64 // put in by workers
	failed atomic.Bool
	mu     sync.Mutex
	err    error // of the record at errAt, the first with one
	errAt  int64
}

// newPipeline starts the workers and makes s feed them. close ends them.
func newPipeline(s *source, st *store.Store, o *LoadOptions) *pipeline {
	p := &pipeline{st: st, o: o, src: s, maxHeld: maxHeld, bigRoom: bigRoom, work: make(chan *block, 1), room: make(chan struct{}, 1)}
	if o.held > 0 {
		p.maxHeld = o.held
	}
	if o.room > 0 {
		p.bigRoom = o.room
	}
	n := min(runtime.GOMAXPROCS(0), maxWorkers)
	p.free = make(chan *block, n+2)
	for range n {
		w := &worker{p: p}
		w.recordLoader = recordLoader{st: st, o: o, b: Builder{Limits: o.Limits}, stats: &w.mine}
		p.loaders = append(p.loaders, w)
		p.workers.Go(w.run)
	}
	buf := make([]byte, max(blockSize, len(s.buf)))
	s.w = copy(buf, s.buf[s.r:s.w])
	s.base += int64(s.r)
	s.buf, s.r, s.crcAt, s.pipe = buf, 0, 0, p
	return p
}

// close waits for the workers and adds what they did to s. It returns their error.
func (p *pipeline) close(s *LoadStats) error {
	if len(p.records) > 0 {
		p.hand(p.src.r, true) // of a file that ends without a trailer, or with an error
	}
	close(p.work)
	p.workers.Wait()
	p.src.pipe = nil
	for _, w := range p.loaders {
		s.Keys += w.mine.Keys
		s.Expired += w.mine.Expired
		s.Empty += w.mine.Empty
		s.Modules += w.mine.Modules
		if w.mine.Module != "" {
			s.Module = w.mine.Module
		}
	}
	return p.err
}

// add notes a record of the present block.
func (p *pipeline) add(at, end int, k *Key) {
	p.records = append(p.records, extent{at: uint32(at), end: uint32(end), db: uint32(k.DB), expireAtMs: k.ExpireAtMs, idleSec: k.IdleSec, freq: int16(k.Freq)})
}

// exchange hands over the present block up to from and returns a buffer for the
// next, with room for what is behind.
func (p *pipeline) exchange(from int) []byte {
	rest := p.src.w - from
	b := p.hand(from, false)
	if b != nil && len(b.buf) >= rest {
		p.records = b.records[:0]
		return b.buf
	}
	size := blockSize
	for size < rest {
		size *= 2
	}
	p.records = nil
	return make([]byte, size)
}

// hand gives the present block up to from to the workers. It returns one that they
// have done with, if there is any.
func (p *pipeline) hand(from int, kept bool) (used *block) {
	s := p.src
	sum := s.buf[min(s.crcAt, from):from]
	if !s.checksum {
		sum = nil
	}
	if len(s.buf) > p.maxHeld { // part of a big value: not another one beside it
		p.sums = append(p.sums, &blockSum{crc: CRC64(0, sum), n: int64(len(sum))})
		p.sums[len(p.sums)-1].done.Store(true)
		sum = nil
	}
	s.crcAt = from
	if len(sum) > 0 || len(p.records) > 0 {
		b := &block{buf: s.buf, base: s.base, records: p.records, sum: sum, crc: &blockSum{n: int64(len(sum))}, kept: kept}
		p.records = nil
		p.join()
		p.sums = append(p.sums, b.crc)
		p.pending.Add(1)
		if n := b.bigBytes(); n > 0 {
			for p.big.Load() > 0 && p.big.Load()+n > p.bigRoom {
				<-p.room
			}
			p.big.Add(n)
		}
		p.work <- b
	}
	select {
	case used = <-p.free:
	default:
	}
	return used
}

// bigBytes is what a block counts in pipeline.big.
func (b *block) bigBytes() int64 {
	if len(b.buf) > blockSize {
		return int64(len(b.buf))
	}
	return 0
}

// join takes the checksums of the first blocks into crc, as far as they are done.
func (p *pipeline) join() {
	n := 0
	for n < len(p.sums) && p.sums[n].done.Load() {
		p.crc = crcJoin(p.crc, p.sums[n].crc, p.sums[n].n)
		n++
	}
	p.sums = p.sums[:copy(p.sums, p.sums[n:])]
}

// total hands over what was read and returns the checksum of all of it.
func (p *pipeline) total() uint64 {
	p.hand(p.src.r, true)
	p.pending.Wait()
	p.join()
	return p.crc
}

// fail notes the error of the record at an offset.
func (p *pipeline) fail(at int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || at < p.errAt {
		p.err, p.errAt = err, at
	}
	p.failed.Store(true)
}

// behind reports whether what is at an offset comes after an error.
func (p *pipeline) behind(at int64) bool {
	if !p.failed.Load() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return at > p.errAt
}

// worker decodes blocks and puts their records in.
type worker struct {
	recordLoader
	p     *pipeline
	mine  LoadStats
	src   source
	value Value
	names []byte // of keys that are packed
	group [groupSize]struct {
		name  []byte
		value int // where in the block
	}
	touch [groupSize]store.Touch
}

func (w *worker) run() {
	p := w.p
	for b := range p.work {
		b.crc.crc = CRC64(0, b.sum)
		b.crc.done.Store(true)
		keys := w.mine.Keys
		if !p.behind(b.base) {
			w.block(b)
		}
		p.keys.Add(int64(w.mine.Keys - keys))
		p.pending.Done()
		if n := b.bigBytes(); n > 0 {
			w.forget()
			p.big.Add(-n)
			select {
			case p.room <- struct{}{}:
			default:
			}
		}
		if !b.kept && len(b.buf) == blockSize {
			select {
			case p.free <- b:
			default:
			}
		}
	}
}

// forget lets go of a block, which a worker's views of it would keep until the next.
func (w *worker) forget() {
	w.src.resetBytes(nil)
	w.value.open(&w.src, 0)
	clear(w.group[:])
}

// block puts the records of b in, up to the first with an error.
func (w *worker) block(b *block) {
	s := &w.src
	s.resetBytes(b.buf)
	s.base = b.base
	for records := b.records; len(records) > 0; {
		n := w.lookAhead(b, records[:min(len(records), groupSize)])
		for i := range n {
			if err := w.record(b, &records[i], i); err != nil {
				w.p.fail(b.base+int64(records[i].at), err)
				return
			}
		}
		records = records[n:]
	}
}

// lookAhead finds the names of some records, all of one database, and brings what
// putting them in will read into the cache. It returns their number, at least 1.
func (w *worker) lookAhead(b *block, records []extent) int {
	s := &w.src
	s.w = len(b.buf)
	w.names = w.names[:0]
	n := 0
	for ; n < len(records) && records[n].db == records[0].db; n++ {
		s.r = int(records[n].at) + 1
		packed := b.buf[s.r]&special == special
		name := s.str()
		if s.err != nil { // damaged: told when it is the first of a group
			if n > 0 {
				s.err = nil
			}
			break
		}
		if packed {
			w.names = append(w.names, name...)
			name = w.names[len(w.names)-len(name):]
		}
		w.group[n].name, w.group[n].value = name, s.r
		w.touch[n] = store.Touch{Hash: store.Hash(name), Slot: hashslot.Slot(name)}
	}
	if n > 0 {
		w.st.DB(int(records[0].db)).TouchAhead(w.touch[:n])
	}
	return max(n, 1)
}

// record puts one record in, the i'th of the group.
func (w *worker) record(b *block, x *extent, i int) error {
	s := &w.src
	if s.err != nil {
		return s.err // of the name: the first of a group
	}
	g := &w.group[i]
	s.r, s.w = g.value, int(x.end)
	w.value.open(s, Type(b.buf[x.at]))
	k := Key{Name: g.name, DB: int(x.db), ExpireAtMs: x.expireAtMs, IdleSec: x.idleSec, Freq: int(x.freq)}
	if err := w.load(s, &w.value, &k, w.touch[i].Slot, w.touch[i].Hash); err != nil {
		return err
	}
	if s.r != int(x.end) {
		s.corrupt("the value ends %d bytes early", int(x.end)-s.r)
	}
	return s.err
}
