package repl

import (
	"strconv"
	"sync"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/resp"
)

// Tap takes the effects of commands for another consumer than replicas, the
// append-only file: the first of cmds wants database db, the last leaves last
// selected, end is the replication offset past them. It runs under Log's lock
// and usually slot locks, must not block, and borrows cmds.
type Tap func(db, last int, cmds []byte, end int64)

// Log is the one ordered stream of effects, with the name and the length of
// the history it is part of. A primary makes the stream (Append); a replica
// receives it (AppendRaw), and then what its own clients change stays out.
//
// Offsets never fall while ID lives. Every method locks mu, a leaf.
type Log struct {
	mu        sync.Mutex
	id        string
	id2       string
	second    int64 // -1: id2 is none
	off       int64 // bytes of the history so far
	db        int   // selected at the end of the stream, -1: none, a SELECT must come
	back      Backlog
	following bool
	whole     bool // the data set is what id and off say
	synced    bool // Repl.Complete
	tap       Tap
	readers   []*reader
	tails     int // of them without a replica
	asleep    []*reader
	hardLimit int64 // bytes a reader may lag, 0: any
	scratch   []byte
}

var _ engine.Log = (*Log)(nil)

// reader is one feed's place in the stream.
type reader struct {
	cur  Cursor
	lost bool          // what it needs is gone, or not ours any more
	over bool          // ... because it lagged beyond the limit
	wake chan struct{} // bound 1: a wake-up that nobody waits for yet is kept
}

func newLog() *Log {
	return &Log{id: newID(), id2: noID, second: -1, db: -1, whole: true, synced: true}
}

// Append implements engine.Log. It copies cmds and returns the offset just past
// them. On a replica, or when nobody takes the effects, the offset stays.
func (l *Log) Append(db, last int, cmds []byte) (end int64) {
	l.mu.Lock()
	if !l.following && l.back.Active() {
		if db != l.db {
			l.scratch = appendSelect(l.scratch[:0], db)
			l.append(l.scratch)
		}
		l.db = last
		l.append(cmds)
	}
	if l.tap != nil {
		if !l.following && !l.back.Active() {
			l.off++ // only to order what is on disk (replication, 14.1)
		}
		l.tap(db, last, cmds, l.off)
	}
	end = l.off
	l.mu.Unlock()
	return end
}

// AppendControl adds a command that belongs to no database (PING, REPLCONF
// GETACK) to a primary's stream and returns the offset past it.
func (l *Log) AppendControl(cmd []byte) (end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.following && l.back.Active() {
		l.append(cmd)
	}
	return l.off
}

// AppendRaw adds bytes received from the primary, which end between commands
// and leave db selected.
func (l *Log) AppendRaw(db int, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.db = db
	l.append(p)
}

// append adds stream bytes and wakes the feeds that wait for some; mu is held.
func (l *Log) append(p []byte) {
	l.off += int64(len(p))
	if l.back.Append(p) {
		l.trim()
	}
	if len(l.asleep) != 0 {
		for i, r := range l.asleep {
			select {
			case r.wake <- struct{}{}:
			default:
			}
			l.asleep[i] = nil
		}
		l.asleep = l.asleep[:0]
	}
}

// trim drops what neither the backlog's size nor a reader within the limit
// needs; mu is held.
func (l *Log) trim() {
	keep := l.off
	for _, r := range l.readers {
		if r.lost {
			continue
		}
		if l.hardLimit > 0 && l.off-r.cur.pos > max(l.hardLimit, l.back.size) {
			r.lost, r.over = true, true
			continue
		}
		keep = min(keep, r.cur.pos)
	}
	l.back.Trim(keep)
}

// attach makes a reader of the bytes after pos, which must be in the backlog.
// Whoever calls holds what keeps them there: see Repl.Cut, or mu via attachAt.
func (l *Log) attach(pos int64) *reader {
	r := &reader{wake: make(chan struct{}, 1)}
	l.back.Seek(&r.cur, pos)
	l.readers = append(l.readers, r)
	return r
}

// detach ends a reader.
func (l *Log) detach(r *reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back.Drop(&r.cur)
	r.lost = true
	for i := range l.readers {
		if l.readers[i] == r {
			l.readers = append(l.readers[:i], l.readers[i+1:]...)
			break
		}
	}
}

// next moves r past the sent bytes and returns the following ones. Without any
// it returns nil, and r.wake tells when there are some; ok is false once r is
// lost.
func (l *Log) next(r *reader, sent int) (p []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.lost {
		return nil, false
	}
	l.back.Advance(&r.cur, sent)
	if p = l.back.Read(&r.cur); p == nil {
		l.asleep = append(l.asleep, r)
	}
	return p, true
}

// where returns the position of r and how many bytes it has still to send.
func (l *Log) where(r *reader) (pos, lag int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.cur.pos, l.off - r.cur.pos
}

// History returns what Decide looks at.
func (l *Log) History() History {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.historyLocked()
}

func (l *Log) historyLocked() History {
	h := History{ID: l.id, ID2: l.id2, Second: l.second, Backlog: l.back.Active(), Next: l.off + 1}
	if h.Backlog {
		h.First = l.back.From() + 1
	}
	return h
}

// tryContinue answers PSYNC: a reader when the stream can be continued.
func (l *Log) tryContinue(id string, offset int64) (d Decision, r *reader, h History) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h = l.historyLocked()
	if d = h.Decide(id, offset); d == Continue {
		r = l.attach(offset - 1)
	}
	return d, r, h
}

// Offset returns the length of the history.
func (l *Log) Offset() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.off
}

// begin makes sure that there is a backlog. A new one starts a new history: what
// was changed before had no place in it. World lock.
func (l *Log) begin(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.back.Active() {
		l.id, l.id2, l.second, l.db = newID(), noID, -1, -1
		l.off++ // no offset names two states
		l.back.Start(l.off, size)
	}
}

// end gives up a backlog that nobody has needed for long. World lock.
func (l *Log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back.Stop()
	l.id, l.id2, l.second, l.db = newID(), noID, -1, -1
}

// fork begins a history of its own that continues the present one: promotion.
// A data set that is not whole continues nothing. Who read the old history hears
// nothing of the new one, not so much as a PING: a replica would count it as part
// of the old, and be ahead of it.
func (l *Log) fork(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose()
	if l.whole && l.back.Active() {
		l.id2, l.second = l.id, l.off+1
	} else {
		l.id2, l.second = noID, -1
	}
	l.id = newID()
	l.db = -1
	if !l.back.Active() {
		l.back.Start(l.off, size)
	}
	l.following, l.whole, l.synced = false, true, true
}

// follow stops taking effects of own commands: this is a replica now. A history
// that was forked and has not gone on since is still the old one, which the new
// primary may know: that of a primary that starts again after it was replaced.
func (l *Log) follow(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id2 != noID && l.second == l.off+1 && l.whole && len(l.readers) == 0 {
		l.id, l.id2, l.second = l.id2, noID, -1
	}
	if !l.back.Active() {
		l.back.Start(l.off, size)
	}
	l.following = true
}

// rename is +CONTINUE with another id: the primary's history has forked from
// ours at this offset. It reports whether anything changed.
func (l *Log) rename(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id == l.id {
		return false
	}
	l.id2, l.second = l.id, l.off+1
	l.id = id
	return true
}

// clear says that the data set is being replaced: it belongs to no history.
func (l *Log) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back.Stop()
	l.lose()
	l.id, l.id2, l.second, l.off, l.db, l.whole, l.synced = newID(), noID, -1, 0, -1, false, false
}

// lose ends what all readers have; mu is held.
func (l *Log) lose() {
	for _, r := range l.readers {
		r.lost = true
	}
}

// adopt takes the history of a snapshot that was loaded.
func (l *Log) adopt(id string, off int64, db int, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.id, l.id2, l.second, l.off, l.db, l.whole, l.synced = id, noID, -1, off, db, true, true
	l.back.Start(off, size)
}

// setSynced sets what Repl.Complete tells.
func (l *Log) setSynced(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced = is
}

// spoil says that data set and history may disagree, so that no one tries to
// continue it.
func (l *Log) spoil() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whole = false
}

// place returns what PSYNC asks for, and the selected database.
func (l *Log) place() (id string, off int64, db int, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id, l.off, l.db, l.whole
}

// reselect makes the next command carry a SELECT, and returns the database
// selected so far, 0 for none.
func (l *Log) reselect() (db int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if db = max(l.db, 0); !l.following {
		l.db = -1
	}
	return db
}

func appendSelect(dst []byte, db int) []byte {
	if db < 10 {
		dst = append(dst, "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"...)
		dst[len(dst)-3] = byte('0' + db)
		return dst
	}
	return resp.AppendCommandStrings(dst, "SELECT", strconv.Itoa(db))
}
