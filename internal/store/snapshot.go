package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/skeindb/skein/internal/mem"
)

// A snapshot is the content of all databases at one instant, the cut, taken
// while writers go on. Under the world lock the epoch is raised; then a walk
// visits slot after slot and writes out each record that carries an older
// epoch, stamping it. A writer about to change or delete such a record writes
// it out first (DB.Write, DB.Delete). Records made after the cut are born with
// the present epoch. So each record is written once, as it was at the cut.
//
// The order of records is that of the walk with the writers' records strewn
// in; a Sink must not depend on it.
//
// A big value is not written out at once, which would hold up its slot for long, if
// the sink is a PartSink: reading.go.

// Sink takes the records of a snapshot. Record runs under the lock of the
// record's slot, from several goroutines at once; o is valid for the call. db
// is the database's number at the cut.
type Sink interface {
	Record(db int, o *Obj)
}

// ErrSnapshotRunning refuses a second snapshot while one is being walked.
var ErrSnapshotRunning = errors.New("store: a snapshot is already running")

// ErrSnapshotAborted ends the walk of a snapshot by Store.AbortSnapshot.
var ErrSnapshotAborted = errors.New("store: snapshot aborted")

type snapshotState struct {
	turn    sync.Mutex
	epoch   uint16
	partial int // snapshots of some slots since the last walk over all; world lock or turn
	cur     atomic.Pointer[Snapshot]
	reads   readings
}

// Snapshot is one walk. Its methods belong to the goroutine that walks.
type Snapshot struct {
	st       *Store
	sink     Sink
	parts    PartSink             // sink, if it is one
	dbs      []atomic.Pointer[DB] // by number at the cut; changed under the world lock
	slots    *[Slots / 64]uint64  // only these; nil: all
	aborted  atomic.Pointer[string]
	stampAll bool // walk and stamp all records; see maxPartial
	done     atomic.Int64
	total    int

	mu    sync.Mutex // a leaf
	kept  []*[Slots]slot
	ended bool // there is nobody to keep for
}

// SnapshotTurn is held by whoever makes a snapshot, from before the world lock
// is taken for the cut until the walk has ended: there is one at a time, and the
// others queue here, holding nothing.
func (st *Store) SnapshotTurn() *sync.Mutex { return &st.snap.turn }

// BeginSnapshot makes the cut. World lock. The caller then runs Walk, or Drop, once.
func (st *Store) BeginSnapshot(sink Sink) (*Snapshot, error) {
	if st.snap.cur.Load() != nil {
		return nil, ErrSnapshotRunning
	}
	s := &Snapshot{st: st, sink: sink}
	s.parts, _ = sink.(PartSink)
	s.take(len(st.dbs))
	for i := range s.dbs {
		n, _ := s.dbs[i].Load().Len(true)
		s.total += n
	}
	st.snap.begin(s)
	return s, nil
}

// BeginSlotSnapshot is BeginSnapshot for the keys of some slots of database 0.
// slots is kept.
func (st *Store) BeginSlotSnapshot(sink Sink, slots *[Slots / 64]uint64) (*Snapshot, error) {
	if st.snap.cur.Load() != nil {
		return nil, ErrSnapshotRunning
	}
	s := &Snapshot{st: st, sink: sink, slots: slots}
	db := st.dbs[0].Load()
	for slot := db.NextOccupied(0); slot < Slots; slot = db.NextOccupied(slot + 1) {
		if s.wants(uint16(slot)) {
			s.total += db.slot(uint16(slot)).dict.Len()
		}
	}
	n := 1
	if st.snap.partial++; st.snap.partial > maxPartial {
		n = len(st.dbs)
		s.stampAll = true
	}
	s.take(n)
	st.snap.begin(s)
	return s, nil
}

// take notes the first n databases. World lock.
func (s *Snapshot) take(n int) {
	s.dbs = make([]atomic.Pointer[DB], n)
	for i := range s.dbs {
		s.dbs[i].Store(s.st.dbs[i].Load())
	}
}

// maxPartial is after how many snapshots of some slots the next one stamps every
// record. A record that no walk has met keeps its epoch, and must not be taken for
// one of the present when the counter comes round.
const maxPartial = 1 << 14

func (ss *snapshotState) begin(s *Snapshot) {
	ss.epoch++
	ss.reads.mu.Lock()
	ss.reads.open, ss.reads.byRef = true, map[mem.Ref]*reading{}
	ss.reads.mu.Unlock()
	ss.cur.Store(s)
}

// wants reports whether the keys of a slot belong to the snapshot.
func (s *Snapshot) wants(slot uint16) bool {
	return s.slots == nil || s.slots[slot>>6]&(1<<(slot&63)) != 0
}

// walkChunk is how many records are written under one taking of a slot lock.
const walkChunk = 64

// Walk visits every record of the snapshot. between runs without locks after
// each few dozen records: it may wait for an output to drain, and it should let
// others run (package turns), as Part.Put should. Its error ends the walk. Walk
// returns an error when the snapshot was aborted.
func (s *Snapshot) Walk(between func() error) error {
	defer s.Drop()
	for i := range s.dbs {
		for slot := s.nextOccupied(i, 0); slot < Slots; slot = s.nextOccupied(i, slot+1) {
			if !s.stampAll && !s.wants(uint16(slot)) {
				continue
			}
			for pos := uint64(0); ; {
				s.st.Lock(uint16(slot))
				if err := s.abortion(); err != nil {
					s.st.Unlock(uint16(slot))
					return err
				}
				pos = s.dbs[i].Load().ScanSlot(uint16(slot), pos, walkChunk, func(o *Obj) { s.record(i, o) })
				s.st.Unlock(uint16(slot))
				if err := s.finishReadings(); err != nil {
					return err
				}
				if err := between(); err != nil {
					return err
				}
				if pos == 0 {
					break
				}
			}
		}
	}
	// Writers may have begun to write out others since the walk met their slots.
	if err := s.finishReadings(); err != nil {
		return err
	}
	if err := s.abortion(); err != nil {
		return err
	}
	if s.slots == nil || s.stampAll {
		s.st.snap.partial = 0 // the next cut comes after this walk: the turn is held
	}
	return nil
}

// nextOccupied is DB.NextOccupied of a database as it was at the cut. Who clears
// one first puts what it held in its place here.
func (s *Snapshot) nextOccupied(i, slot int) int {
	for {
		db := s.dbs[i].Load()
		if next := db.NextOccupied(slot); s.dbs[i].Load() == db {
			return next
		}
	}
}

// Drop ends a snapshot: nobody wants what is not written out yet.
func (s *Snapshot) Drop() {
	s.st.snap.cur.CompareAndSwap(s, nil)
	s.st.dropReadings()
	s.freeKept()
}

// freeKept frees what is kept: the walk is over, or will look at nothing any more.
func (s *Snapshot) freeKept() {
	s.mu.Lock()
	kept := s.kept
	s.kept, s.ended = nil, true
	s.mu.Unlock()
	for _, table := range kept {
		s.st.lazy.freeSlots(table[:], true)
	}
}

// keep takes over what a database held that is about to be cleared, until the
// snapshot ends; false: it does not need that. World lock.
func (s *Snapshot) keep(db *DB) bool {
	i := s.number(db)
	if i < 0 && !s.st.snap.reads.any(db) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if i >= 0 {
		old := &DB{st: db.st, index: db.index}
		old.table.Store(db.table.Load())
		for w := range old.occupied {
			old.occupied[w].Store(db.occupied[w].Load())
		}
		s.dbs[i].Store(old)
	}
	s.kept = append(s.kept, db.table.Load())
	return true
}

// number returns which database db was at the cut; -1: it has none of what was there
// but for values that are being read.
func (s *Snapshot) number(db *DB) int {
	for i := range s.dbs {
		if s.dbs[i].Load() == db {
			return i
		}
	}
	return -1
}

// abortion returns why the walk cannot go on, if it cannot.
func (s *Snapshot) abortion() error {
	if why := s.aborted.Load(); why != nil {
		return fmt.Errorf("%w: %s", ErrSnapshotAborted, *why)
	}
	return nil
}

// Progress returns the records written out and the number at the cut.
func (s *Snapshot) Progress() (done, total int) { return int(s.done.Load()), s.total }

func (s *Snapshot) record(db int, o *Obj) {
	e := o.rec[offEpoch:]
	if binary.LittleEndian.Uint16(e) == s.st.snap.epoch {
		return
	}
	in := s.wants(o.slot) && (s.slots == nil || db == 0)
	if !in && !s.stampAll {
		return
	}
	binary.LittleEndian.PutUint16(e, s.st.snap.epoch)
	if !in {
		return
	}
	s.done.Add(1)
	if s.parts == nil || !o.big() || !s.read(db, o) {
		s.sink.Record(db, o)
	}
}

// beforeWrite writes o out if a snapshot still needs it.
func (db *DB) beforeWrite(o *Obj) {
	s := db.st.snap.cur.Load()
	if s == nil || binary.LittleEndian.Uint16(o.rec[offEpoch:]) == db.st.snap.epoch {
		return
	}
	if i := s.number(db); i >= 0 {
		s.record(i, o)
	}
}

// AbortSnapshot ends the running snapshot, if any. World lock.
func (st *Store) AbortSnapshot(why string) {
	if s := st.snap.cur.Load(); s != nil {
		s.aborted.Store(&why)
		st.snap.cur.Store(nil)
		s.freeKept()
	}
}

// ReclaimKept ends the running snapshot if it keeps what cleared databases held, and
// has that freed in the background; false: there is no such memory. Not under slot locks.
func (st *Store) ReclaimKept() bool {
	keeps := func() bool {
		s := st.snap.cur.Load()
		if s == nil {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.kept) > 0
	}
	if !keeps() {
		return false
	}
	st.LockWorld()
	defer st.UnlockWorld()
	if !keeps() {
		return false
	}
	st.AbortSnapshot("memory is short, and it keeps what a database held that was flushed")
	return true
}
