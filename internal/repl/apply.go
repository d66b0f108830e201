package repl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
)

// fullSync replaces the data set by the snapshot that the primary sends. On an
// error the data set is empty, and the next link asks for everything again (see refused).
func (l *link) fullSync(next *snapshot, s *Settings) error {
	f, r := l.f, l.r
	f.setState(linkSync)
	f.syncRead.Store(0)
	f.syncTotal.Store(0)
	f.loadedKeys.Store(0)
	f.syncIO.Store(time.Now().UnixNano())
	text, err := l.line()
	if err != nil {
		return fmt.Errorf("repl: waiting for the snapshot: %w", err)
	}
	var body io.Reader
	var limited *io.LimitedReader // of a snapshot whose size is told
	mark, isEOF := strings.CutPrefix(text, "$EOF:")
	kind := "streamed RDB from master with EOF"
	switch {
	case text[0] == '-':
		return fmt.Errorf("%w: MASTER aborted replication with an error: %s", errRefused, printable(text[1:]))
	case isEOF && len(mark) == 40:
		body = l.br
	case text[0] == '$':
		n, err := strconv.ParseInt(text[1:], 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%w: a snapshot of size %q", errRefused, printable(text))
		}
		f.syncTotal.Store(n)
		limited = &io.LimitedReader{R: l.br, N: n}
		body, mark = limited, ""
		kind = strconv.FormatInt(n, 10) + " bytes from master"
	default:
		return fmt.Errorf("%w: Bad protocol from MASTER, the first byte is not '$' (we received '%s'), are you sure the host and port are right?", errRefused, printable(text))
	}
	body = counted{body, f}
	if s.LoadFromSocket || s.SocketWhenEmpty && r.empty() || r.o.NewSpool == nil {
		r.slog.Info("MASTER <-> REPLICA sync: receiving " + kind + " to parser")
	} else {
		r.slog.Info("MASTER <-> REPLICA sync: receiving " + kind + " to disk")
		spool, err := r.o.NewSpool()
		if err != nil {
			return fmt.Errorf("repl: place for a snapshot: %w", err)
		}
		defer spool.Close()
		size, err := receive(spool, body, mark)
		if err != nil {
			return fmt.Errorf("repl: receiving a snapshot: %w", err)
		}
		// From here on it is as if the primary had told the size.
		isEOF = false
		limited = &io.LimitedReader{R: io.NewSectionReader(spool, 0, size), N: size}
		body = limited
	}

	r.slog.Info("MASTER <-> REPLICA sync: Flushing old data")
	if r.o.BeforeLoad != nil {
		r.o.BeforeLoad()
	}
	r.dropData(s)
	r.slog.Info("MASTER <-> REPLICA sync: Loading DB in memory")
	stats, rest, err := l.load(body)
	if err == nil && isEOF {
		var got [40]byte
		body = io.MultiReader(bytes.NewReader(rest), l.br)
		if _, err = io.ReadFull(body, got[:]); err == nil && string(got[:]) != mark {
			err = errors.New("repl: Replication stream EOF marker is broken")
		}
		rest = rest[min(len(rest), 40):]
	}
	if err == nil && limited != nil && limited.N+int64(len(rest)) > 0 {
		err = fmt.Errorf("repl: the snapshot ends %d bytes before its size", limited.N+int64(len(rest)))
	}
	ok := err == nil
	if ok {
		id, off, db := next.id, next.off, 0
		if id == "" { // SYNC: a history that nobody else can continue
			id = newID()
		}
		if at := stats.Info.Repl; at != nil && at.DB >= 0 {
			db = at.DB
		}
		if r.o.LoadSlotStates != nil {
			r.o.LoadSlotStates(stats.Info.SlotStates)
		}
		r.log.adopt(id, off, min(db, r.e.Store.DBs()-1), s.BacklogSize)
		f.full = false
		if len(rest) > 0 { // a primary that does not wait for the acknowledgement
			l.br = newStreamReader(rest, heard{l})
		}
	} else {
		r.slog.Warn("Failed trying to load the MASTER synchronization DB from socket, check server logs.", "err", err)
		r.dropData(s)
	}
	r.e.Store.LockWorld()
	r.e.SetGate(engine.GateLoading, false)
	r.e.Store.UnlockWorld()
	if r.o.AfterLoad != nil {
		r.o.AfterLoad(ok)
	}
	if ok {
		r.slog.Info("Done loading RDB", "keys", stats.Keys, "bytes", stats.Bytes)
		if what := stats.LeftOut(); what != "" {
			r.slog.Warn("The snapshot held what this server cannot keep, it was left out", "what", what)
		}
		r.slog.Info("MASTER <-> REPLICA sync: Finished with success")
	}
	return err
}

// empty reports whether there is no key at all.
func (r *Repl) empty() bool {
	r.e.Store.LockWorld()
	defer r.e.Store.UnlockWorld()
	for i := range r.e.Store.DBs() {
		if n, _ := r.e.Store.DB(i).Len(true); n > 0 {
			return false
		}
	}
	return true
}

// receive copies a snapshot into spool up to the end of src, or up to and
// without mark, behind which the primary sends nothing for now. It returns the
// size of the snapshot.
func receive(spool Spool, src io.Reader, mark string) (size int64, err error) {
	buf := make([]byte, 40+streamBuffer) // the first 40: the last ones before
	for {
		n, err := src.Read(buf[40:])
		if n > 0 {
			if _, err := spool.Write(buf[40 : 40+n]); err != nil {
				return 0, err
			}
			size += int64(n)
			copy(buf, buf[n:n+40])
			if mark != "" && size >= 40 && string(buf[:40]) == mark {
				return size - 40, nil
			}
		}
		switch {
		case err == io.EOF && mark == "":
			return size, nil
		case err == io.EOF:
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		}
	}
}

// dropData empties the data set and forgets the history it belonged to. It
// leaves the loading gate closed.
func (r *Repl) dropData(s *Settings) {
	r.e.Store.LockWorld()
	r.e.SetGate(engine.GateLoading, true)
	r.log.clear()
	r.e.FlushLocked(-1, s.LazyFlush)
	r.e.Store.UnlockWorld()
	if r.o.ClearFunctions != nil {
		r.o.ClearFunctions()
	}
	r.dropPeers()
}

// load reads the snapshot into the keyspace and returns what was read past it.
func (l *link) load(body io.Reader) (rdb.LoadStats, []byte, error) {
	r := l.r
	var progress rdb.Progress
	if r.o.Loading != nil {
		progress = r.o.Loading(l.f.syncTotal.Load())
	}
	rd := rdb.NewReader(body)
	o := rdb.LoadOptions{
		Limits:      r.e.Env.Limits().Limits,
		NowMs:       r.e.Now(),
		SkipModules: r.o.Settings().SkipModules,
		AnyVersion:  r.o.Settings().AnyVersion,
		Function:    r.o.LoadFunction,
		KeyDelay:    r.o.KeyDelay,
		Between: func(s *rdb.LoadStats) error {
			l.f.loadedKeys.Store(int64(s.Keys))
			l.f.loadAt.Store(time.Now().UnixNano())
			if progress.At != nil {
				if err := progress.At(s.Bytes, s); err != nil {
					return err
				}
			}
			return l.f.ctx.Err()
		},
	}
	stats, err := rdb.Load(rd, r.e.Store, &o)
	l.f.loadedKeys.Store(int64(stats.Keys))
	l.f.loadAt.Store(time.Now().UnixNano())
	if progress.Done != nil {
		if err != nil {
			progress.Done(nil)
		} else {
			progress.Done(&stats)
		}
	}
	return stats, rd.Buffered(), err
}

// counted counts the bytes of a snapshot.
type counted struct {
	io.Reader
	f *follower
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.f.syncRead.Add(int64(n))
	c.f.syncIO.Store(time.Now().UnixNano())
	return n, err
}

// maxUnit bounds what is buffered of the stream: a transaction is appended to
// our own log as one. Beyond it a full sync is asked for, which passes it over.
const maxUnit = 4 << 30

// stream applies what the primary sends until the link ends.
func (l *link) stream() error {
	r := l.r
	_, _, db, _ := r.log.place()
	s := r.e.OpenPrimary(l.f.host+":"+strconv.Itoa(l.f.port), l.hangUp)
	defer s.Close()
	s.Ext = l
	s.SelectDB(max(db, 0))
	l.session = s
	a := applier{l: l, base: r.log.Offset()}
	buf := make([]byte, 0, streamBuffer)
	for {
		if len(buf) == cap(buf) {
			if len(buf) > maxUnit {
				r.log.spoil()
				return fmt.Errorf("repl: a transaction of more than %d bytes from the primary", maxUnit)
			}
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := l.br.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if hold := r.hold.Load(); hold != nil {
			select {
			case <-*hold:
			case <-l.down:
				return errClosed
			}
		}
		for done := 0; ; {
			used, rerr := a.batch(buf[done:])
			done += used
			if r.o.Applied != nil {
				r.o.Applied()
			}
			if rerr != nil || s.Closing() {
				// What belongs to an open transaction stays, at the front.
				buf = buf[:copy(buf, buf[done:])]
			}
			if errors.Is(rerr, engine.ErrStream) {
				r.log.spoil()
				r.slog.Warn("The stream from the primary is damaged; asking for everything again", "offset", r.log.Offset())
				return rerr
			}
			if errors.Is(rerr, resp.ErrMore) || s.Closing() {
				break
			}
		}
		if s.Closing() {
			return errClosed
		}
		if err != nil {
			return err
		}
		if len(buf) == 0 && cap(buf) > 16*streamBuffer {
			buf = make([]byte, 0, streamBuffer)
		}
	}
}

// applier runs the stream and appends it to our own log, whole transactions at
// a time:
//
//	buf: | queued: run, not appended, inside MULTI | not yet run ...
//	     ^ base: offset of the log                 ^ base+queued
type applier struct {
	l      *link
	base   int64
	queued int // bytes at the front of buf that were run but end inside MULTI
	tapDB  int
	tapped []byte // write commands for the tap
}

// batch runs commands of buf and returns how many bytes at its front are done
// with.
func (a *applier) batch(buf []byte) (used int, err error) {
	l := a.l
	r, s := l.r, l.session
	r.apply.Lock()
	defer r.apply.Unlock()
	r.log.mu.Lock()
	tap := r.log.tap
	r.log.mu.Unlock()
	whole := 0 // bytes that end outside MULTI
	at := a.queued
	db := s.DBIndex()
	before := db
	_, err = s.Replay(buf[a.queued:], func(argv [][]byte, size int) {
		if l.ackWanted { // told without the GETACK itself
			l.ackWanted = false
			l.ack(a.base + int64(whole))
		}
		if tap != nil {
			a.keep(argv, buf[at:at+size], before)
		}
		at += size
		before = s.DBIndex()
		if !s.InMulti() {
			whole, db = at, before
			if tap != nil && len(a.tapped) > 0 {
				r.log.mu.Lock()
				tap(a.tapDB, db, a.tapped, a.base+int64(whole))
				r.log.mu.Unlock()
				a.tapped = a.tapped[:0]
			}
		}
	})
	if whole > 0 {
		r.log.AppendRaw(db, buf[:whole])
		a.base += int64(whole)
	}
	a.queued = at - whole
	return whole, err
}

// keep collects what the tap must be told of.
func (a *applier) keep(argv [][]byte, raw []byte, db int) {
	spec := a.l.r.e.Table.Lookup(argv)
	if spec == nil || spec.Group == command.Cluster {
		return // slots are in nodes.conf, not in the data
	}
	multi := spec.Name == "multi" || spec.Name == "exec"
	inside := spec.Name == "select" && len(a.tapped) > 0
	if !multi && !inside && spec.Flags&(command.Write|command.MayReplicate) == 0 {
		return
	}
	if len(a.tapped) == 0 {
		a.tapDB = db
	}
	a.tapped = append(a.tapped, raw...)
}
