package store

import (
	"sync"
	"sync/atomic"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/mem"
)

// A big value is written out in pieces: when a writer or the walk meets it, it is
// begun, in a time that does not depend on its size, and queued; the walk then takes
// piece after piece, holding the slot's lock for one at a time. What writers change
// meanwhile they give out first (ds.Reading), wherever they get the value's memory
// from, Obj.Arena; the flag in the record says that there is somebody to tell.
//
// A reading goes with its value: into another record, to another key or database.
// Who deletes the value leaves its memory to the reading, which frees it at its end.

// PartSink is a Sink that takes big values in pieces.
type PartSink interface {
	Sink
	// Begin begins a value under the lock of its slot. nil: it is to go to Record.
	Begin(db int, o *Obj) Part
}

// Part takes one value. Its elements come under the lock of the value's slot.
type Part interface {
	ds.Taker
	// Full says that what has come is enough for one piece. Under the lock.
	Full() bool
	// Cut makes what has come the piece that Put puts out. Under the lock.
	Cut()
	// Put runs without locks, in the goroutine of the walk.
	Put(last bool) error
}

// From these sizes on a value is read in pieces: elements, bytes, nodes of a list
// and of a stream. A piece is about a tenth of a millisecond; so is what lies below.
const (
	bigElements  = 512
	bigBytes     = 64 << 10
	bigString    = 16 << 10
	bigListNodes = 4
	bigNodes     = 16
)

// big reports whether the value is read in pieces.
func (o *Obj) big() bool {
	a, v := ds.Arena{Heap: o.db.st.Heap}, o.Bytes()
	switch o.Encoding() {
	case Raw:
		return len(v) > bigString
	case Hashtable, HashtableTTL:
		t := ds.OpenTable(a, v)
		return t.Len() > bigElements || t.MemUsed() > bigBytes
	case Skiplist:
		return ds.OpenZSet(a, v).Len() > bigElements
	case Quicklist:
		return ds.OpenQuicklist(a, v).NodeCount() > bigListNodes
	case StreamTree:
		return ds.OpenStream(a, v).NodeCount() > bigNodes
	}
	return false
}

// reading is one value on its way out. Where it is changes under the lock of its
// slot, of both slots where it moves.
type reading struct {
	*ds.Reading // nil: the part has all already
	part        Part
	db          *DB
	slot        atomic.Uint32
	ref         mem.Ref
	own         []byte // the header of a value that was deleted, else nil
	enc         Encoding
}

// readings are those under way. Its lock is a leaf.
type readings struct {
	mu    sync.Mutex
	open  bool                 // a walk is under way, or is to come
	byRef map[mem.Ref]*reading // those whose value is in a record
	queue []*reading           // not finished, in the order of their beginning
}

// read begins to read the value of o and reports whether the sink wants that.
func (s *Snapshot) read(db int, o *Obj) bool {
	part := s.parts.Begin(db, o)
	if part == nil {
		return false
	}
	rd := &reading{part: part, db: o.db, ref: o.ref}
	rd.slot.Store(uint32(o.slot))
	a, v := s.st.arena(o.slot), o.Bytes()
	switch o.Encoding() {
	case Hashtable, HashtableTTL:
		rd.Reading = ds.OpenTable(a, v).Read(part)
	case Skiplist:
		rd.Reading = ds.OpenZSet(a, v).Read(part)
	case Quicklist:
		rd.Reading = ds.OpenQuicklist(a, v).Read(part)
	case StreamTree:
		rd.Reading = ds.OpenStream(a, v).Read(part)
	}
	r := &s.st.snap.reads
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return true // the walk has just ended, with an error
	}
	r.queue = append(r.queue, rd)
	if rd.Reading != nil {
		r.byRef[o.ref] = rd
		o.rec[offFlags] |= flagReading
	}
	return true
}

// reading returns who reads the value of o. The flag may be older than the end of
// its snapshot, and goes then.
func (o *Obj) reading() *ds.Reading {
	r := &o.db.st.snap.reads
	r.mu.Lock()
	defer r.mu.Unlock()
	if rd := r.byRef[o.ref]; rd != nil {
		return rd.Reading
	}
	o.rec[offFlags] &^= flagReading
	return nil
}

// moved notes that the value of record old is now in the record that o is on.
func (ss *snapshotState) moved(old mem.Ref, o *Obj) {
	r := &ss.reads
	r.mu.Lock()
	defer r.mu.Unlock()
	if rd := r.byRef[old]; rd != nil {
		delete(r.byRef, old)
		r.byRef[o.ref] = rd
		rd.db, rd.ref = o.db, o.ref
		rd.slot.Store(uint32(o.slot))
	}
}

// any reports whether values are read that are in a database, or were when it was
// cleared. World lock.
func (r *readings) any(db *DB) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rd := range r.byRef {
		if rd.db == db {
			return true
		}
	}
	return false
}

// detach leaves the memory that the value of o owns to who reads it; false if nobody
// does.
func (o *Obj) detach() bool {
	r := &o.db.st.snap.reads
	r.mu.Lock()
	defer r.mu.Unlock()
	o.rec[offFlags] &^= flagReading
	rd := r.byRef[o.ref]
	if rd == nil {
		return false
	}
	delete(r.byRef, o.ref)
	rd.own, rd.enc = append([]byte(nil), o.Bytes()...), o.Encoding()
	return true
}

// finishReadings takes what was begun to its end.
func (s *Snapshot) finishReadings() error {
	for {
		rd := s.st.snap.reads.first()
		if rd == nil {
			return nil
		}
		for more := true; more; {
			var err error
			if more, err = s.step(rd); err == nil {
				err = rd.part.Put(!more)
			}
			if err != nil {
				return err
			}
		}
	}
}

func (r *readings) first() *reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return nil
	}
	return r.queue[0]
}

// step takes one piece.
func (s *Snapshot) step(rd *reading) (more bool, err error) {
	slot := s.lock(rd)
	defer s.st.Unlock(slot)
	if err := s.abortion(); err != nil {
		return false, err
	}
	switch {
	case rd.Reading == nil:
	case rd.own != nil:
		more = rd.Step(s.st.arena(slot), rd.own, rd.part.Full)
	default:
		var o Obj
		o.open(rd.db, slot, 0, rd.ref)
		more = rd.Step(s.st.arena(slot), o.Bytes(), rd.part.Full)
		if !more {
			o.rec[offFlags] &^= flagReading
		}
	}
	rd.part.Cut()
	if !more {
		s.st.endReading(rd, slot)
	}
	return more, nil
}

// lock locks the slot that the value is in.
func (s *Snapshot) lock(rd *reading) uint16 {
	for {
		slot := rd.slot.Load()
		s.st.Lock(uint16(slot))
		if rd.slot.Load() == slot {
			return uint16(slot)
		}
		s.st.Unlock(uint16(slot))
	}
}

// endReading forgets the first of the queue.
func (st *Store) endReading(rd *reading, slot uint16) {
	r := &st.snap.reads
	r.mu.Lock()
	r.queue = r.queue[1:]
	if r.byRef[rd.ref] == rd {
		delete(r.byRef, rd.ref)
	}
	r.mu.Unlock()
	if rd.own != nil {
		st.lazy.free(st.arena(slot), rd.enc, rd.own, true)
	}
}

// dropReadings forgets all; the walk has ended.
func (st *Store) dropReadings() {
	r := &st.snap.reads
	r.mu.Lock()
	left := r.queue
	r.queue, r.byRef, r.open = nil, nil, false
	r.mu.Unlock()
	for _, rd := range left {
		if rd.own != nil {
			st.lazy.free(st.arena(uint16(rd.slot.Load())), rd.enc, rd.own, true)
		}
	}
}
