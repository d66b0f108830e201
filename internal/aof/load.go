package aof

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
)

// Open fills the empty data set from the log, or begins a log if there is none,
// and goes on with it from there. While it loads clients are told so. Called once,
// before Start, in place of SwitchOn. Source: persistence, 13.5.
func (a *AOF) Open() error {
	// No client may write before the log takes it.
	e := a.o.Engine
	e.SetGate(engine.GateLoading, true)
	defer e.SetGate(engine.GateLoading, false)
	a.dir = a.path("")
	if err := a.o.FS.MkdirAll(a.dir, 0o755); err != nil {
		return fmt.Errorf("aof: %w", err)
	}
	if err := a.upgrade(); err != nil {
		return err
	}
	m, err := a.readManifest()
	if err != nil {
		return err
	}
	if m == nil || len(m.live()) == 0 {
		if m, err = a.begin(m); err != nil {
			return err
		}
	} else {
		done, err := a.load(m)
		defer done()
		if err != nil {
			return err
		}
	}
	fresh := len(m.Incr) == 0
	if fresh {
		_, seq := m.nextSeq()
		m = m.withIncr(FileInfo{Name: incrName(a.o.Name, seq), Seq: seq, Type: Incr})
	}
	last := m.Incr[len(m.Incr)-1]
	f, err := a.openIncr(last.Name, fresh)
	if err != nil {
		return err
	}
	size, err := a.o.FS.Stat(a.at(last.Name))
	if err == nil {
		err = f.Sync() // a process that died may have left it written but not synced
	}
	if err == nil && fresh {
		a.o.Log.Info("Creating AOF incr file " + last.Name + " on server start")
		err = a.writeManifest(m)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("aof: %w", err)
	}
	a.manifest = m
	total, err := a.liveSize(m)
	if err != nil {
		f.Close()
		return err
	}
	base := int64(0)
	if m.Base != nil {
		base, _ = a.o.FS.Stat(a.at(m.Base.Name))
	}
	a.use(f, size)
	a.mu.Lock()
	a.sizes = sizes{others: total - size, incr: size, atBase: base}
	a.collect, a.db = true, -1
	a.setMode(on)
	a.promised.Store(true)
	a.mu.Unlock()
	a.holdReplies()
	a.o.Attach(true)
	a.dropHistory()
	return nil
}

// Exists reports whether there is a log on disk, of any kind.
func (a *AOF) Exists() bool {
	for _, path := range []string{a.path(manifestName(a.o.Name)), filepath.Join(a.o.Dir(), a.o.Name)} {
		if _, err := a.o.FS.Stat(path); err == nil {
			return true
		}
	}
	return false
}

// begin makes a base of no data. The manifest that it returns is not on disk yet.
func (a *AOF) begin(old *Manifest) (*Manifest, error) {
	if old == nil {
		old = &Manifest{}
	}
	s := a.o.Settings()
	seq, _ := old.nextSeq()
	base := FileInfo{Name: baseName(a.o.Name, seq, s.RDBPreamble), Seq: seq, Type: Base}
	err := disk.AtomicReplace(a.o.FS, a.at(base.Name), func(w io.Writer) error {
		if !s.RDBPreamble {
			return nil
		}
		rw := rdb.NewWriter(w, rdb.WriterOptions{Checksum: true})
		rw.Info(&rdb.Info{ServerVersion: engine.Version, CreatedSec: time.Now().Unix(), AOFBase: true})
		return rw.Close()
	}, true)
	if err != nil {
		return nil, fmt.Errorf("aof: begin a log: %w", err)
	}
	a.o.Log.Info("Creating AOF base file " + base.Name + " on server start")
	return old.rebased(base, 0), nil
}

// upgrade moves a log of the old kind, one file in the data directory, into the
// log's own directory. It may be interrupted anywhere and done again.
func (a *AOF) upgrade() error {
	from := filepath.Join(a.o.Dir(), a.o.Name)
	if _, err := a.o.FS.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("aof: %w", err)
	}
	m, err := a.readManifest()
	if err != nil {
		return err
	}
	if m != nil && !(m.Base != nil && m.Base.Name == a.o.Name && len(m.Incr) == 0) {
		return nil // there is a log of the new kind
	}
	if _, err := a.o.FS.Stat(a.at(a.o.Name)); err == nil {
		return nil // the log of the new kind has such a base already
	}
	if m == nil {
		if err := a.writeManifest(&Manifest{Base: &FileInfo{Name: a.o.Name, Seq: 1, Type: Base}}); err != nil {
			return fmt.Errorf("aof: upgrade: %w", err)
		}
	}
	if err := a.o.FS.Rename(from, a.at(a.o.Name)); err != nil {
		return fmt.Errorf("aof: upgrade: %w", err)
	}
	for _, dir := range []string{a.dir, a.o.Dir()} {
		if err := a.o.FS.SyncDir(dir); err != nil {
			return fmt.Errorf("aof: upgrade: %w", err)
		}
	}
	a.o.Log.Info("Successfully migrated an old-style AOF configuration (" + a.o.Name + ") to the append-only directory (" + a.o.DirName + ").")
	return nil
}

// liveSize is the size of all files of the log; one that is missing is an error.
func (a *AOF) liveSize(m *Manifest) (total int64, err error) {
	for _, f := range m.live() {
		n, err := a.o.FS.Stat(a.at(f.Name))
		if err != nil {
			return 0, fmt.Errorf("aof: a file of the manifest: %w", err)
		}
		total += n
	}
	return total, nil
}

// load reads all files of m into the data set. Clients are told so until done is
// called.
func (a *AOF) load(m *Manifest) (done func(), err error) {
	files := m.live()
	total, err := a.liveSize(m)
	if err != nil {
		return func() {}, err
	}
	progress := a.o.Loading(total)
	began := time.Now()
	dirty := a.o.Engine.Dirty()
	defer func() { a.o.Engine.AddDirty(dirty - a.o.Engine.Dirty()) }() // loading changes nothing
	l := &loader{a: a, settings: a.o.Settings(), progress: progress.At, delay: rdb.Delay{PerKey: a.o.KeyDelay}}
	done = func() { progress.Done(l.rdb) }
	for i, f := range files {
		l.last = true
		for _, later := range files[i+1:] {
			if n, err := a.o.FS.Stat(a.at(later.Name)); err != nil || n > 0 {
				l.last = false
			}
		}
		start := time.Now()
		if err := l.file(f); err != nil {
			return done, err
		}
		a.o.Log.Info(fmt.Sprintf("DB loaded from %s file %s: %.3f seconds", map[FileType]string{Base: "base", Incr: "incr"}[f.Type], f.Name, time.Since(start).Seconds()))
	}
	a.o.Log.Info(fmt.Sprintf("DB loaded from append only file: %.3f seconds", time.Since(began).Seconds()))
	return done, nil
}

// loader reads the files of a log one after another.
type loader struct {
	a        *AOF
	settings Settings
	progress func(int64, *rdb.LoadStats) error
	rdb      *rdb.LoadStats // of the base, if it was one
	done     int64          // bytes of the files before
	delay    rdb.Delay      // of commands
	last     bool           // nothing follows this file
}

const readSize = 1 << 20

// file loads one file: an RDB, commands, or commands behind an RDB.
func (l *loader) file(info FileInfo) error {
	a := l.a
	f, err := a.o.FS.OpenFile(a.at(info.Name), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("aof: %w", err)
	}
	defer f.Close()
	size, err := a.o.FS.Stat(a.at(info.Name))
	if err != nil {
		return fmt.Errorf("aof: %w", err)
	}
	c := &commands{l: l, f: f, info: info}
	if info.Type == Base && isRDB(f) {
		r := rdb.NewReader(f)
		if err := l.base(r, info.Name); err != nil {
			return err
		}
		c.off = r.Offset()
		c.buf = append(make([]byte, 0, readSize), r.Buffered()...)
	}
	if err := c.run(); err != nil {
		return err
	}
	l.done += size
	return l.progress(l.done, nil)
}

// isRDB reports whether a file begins as an RDB.
func isRDB(f io.ReaderAt) bool {
	var magic [5]byte
	n, _ := f.ReadAt(magic[:], 0)
	return string(magic[:n]) == "REDIS"
}

// base loads an RDB. Keys whose time has come stay: the commands behind it count on
// them.
func (l *loader) base(r *rdb.Reader, name string) error {
	e := l.a.o.Engine
	st, err := rdb.Load(r, e.Store, &rdb.LoadOptions{
		Limits: e.Env.Limits().Limits, NowMs: e.Now(),
		SkipModules: l.settings.SkipModules, AnyVersion: l.settings.AnyVersion, KeyDelay: l.a.o.KeyDelay, Function: l.a.o.LoadFunction,
		Between: func(st *rdb.LoadStats) error { return l.progress(l.done+st.Bytes, st) },
	})
	if err != nil {
		return fmt.Errorf("aof: %s: %w", name, err)
	}
	l.rdb = &st
	if what := st.LeftOut(); what != "" {
		l.a.o.Log.Warn("The file held what this server cannot keep, it was left out", "what", what)
	}
	return nil
}

// commands runs the commands of a file.
//
//	| ... run | buf: not yet run, perhaps the start of a record ... | not read
//	          ^ off
type commands struct {
	l     *loader
	f     disk.File
	info  FileInfo
	s     *engine.Session
	buf   []byte
	off   int64 // of buf in the file
	valid int64 // what stands before is whole: it ends behind a command, outside of MULTI
	err   error // of a command
}

func (c *commands) run() error {
	a := c.l.a
	c.s = a.o.Engine.OpenPrimary("append-only file", func() {})
	defer c.s.Close()
	c.valid = c.off
	if c.buf == nil {
		c.buf = make([]byte, 0, readSize)
	}
	at := c.off + int64(len(c.buf)) // where to read on
	for eof := false; ; {
		bad, err := c.consume()
		switch {
		case err != nil:
			return err
		case bad != nil:
			return c.malformed(bad, at)
		case eof && len(c.buf) > 0:
			return c.truncated("in the middle of a command")
		case eof && c.s.InMulti():
			return c.truncated("inside a transaction")
		case eof:
			return nil
		}
		if len(c.buf) == cap(c.buf) {
			c.buf = append(make([]byte, 0, 2*cap(c.buf)), c.buf...)
		}
		n, err := c.f.ReadAt(c.buf[len(c.buf):cap(c.buf)], at)
		c.buf = c.buf[:len(c.buf)+n]
		at += int64(n)
		if eof = errors.Is(err, io.EOF); err != nil && !eof {
			return fmt.Errorf("aof: %w", err)
		}
		if err := c.l.progress(c.l.done+c.off, nil); err != nil {
			return err
		}
	}
}

// consume runs what is complete in buf and moves the rest to the front. bad says
// that what follows, at the front now, is no record.
func (c *commands) consume() (bad *badRecord, err error) {
	from, to := 0, 0 // commands that stand together
	for {
		n, err := nextRecord(c.buf[to:])
		if err == nil && c.buf[to] == '*' {
			to += n
			continue
		}
		if e := c.replay(c.buf[from:to]); e != nil {
			return nil, e
		}
		if err != nil {
			errors.As(err, &bad)
			c.off += int64(to)
			c.buf = c.buf[:copy(c.buf, c.buf[to:])]
			return bad, nil
		}
		to += n // an annotation
		if from = to; !c.s.InMulti() {
			c.valid = c.off + int64(to)
		}
	}
}

// replay runs whole commands, which begin at offset off of the file plus their
// place in buf.
func (c *commands) replay(p []byte) error {
	e := c.l.a.o.Engine
	at := c.off + int64(cap(c.buf)-cap(p)) // p is a part of buf
	for len(p) > 0 && c.err == nil {
		used, err := c.s.Replay(p, func(argv [][]byte, size int) {
			if c.err != nil {
				return
			}
			if why := c.refused(e, argv); why != "" {
				c.err = &FormatError{c.info.Name, at, why}
			}
			at += int64(size)
			if !c.s.InMulti() {
				c.valid = at
			}
			if err := c.l.delay.Keys(1, func() error { return c.l.progress(c.l.done+at, nil) }); err != nil && c.err == nil {
				c.err = err
			}
		})
		if used == 0 {
			return &FormatError{c.info.Name, at, fmt.Sprint(err)}
		}
		p = p[used:]
	}
	return c.err
}

// refused says why a command could not be run. Commands that ran and failed have
// failed before too.
func (c *commands) refused(e *engine.Engine, argv [][]byte) string {
	spec := e.Table.Lookup(argv)
	switch {
	case spec == nil || spec.Run == nil:
		return fmt.Sprintf("unknown command %q", clip(argv[0]))
	case spec.Name == "select" && len(argv) == 2 && !c.s.InMulti():
		if n, ok := command.ParseInt(argv[1]); !ok || int(n) != c.s.DBIndex() {
			return fmt.Sprintf("database %q, and only %d are configured", clip(argv[1]), e.Store.DBs())
		}
	}
	return ""
}

func clip(b []byte) []byte { return b[:min(len(b), 128)] }

// malformed is called when what stands at off is no record. Zeros up to the end of
// the last file are what a crash leaves of blocks that were never written.
func (c *commands) malformed(bad *badRecord, at int64) error {
	fault := &FormatError{c.info.Name, c.off + int64(bad.at), bad.reason}
	if bad.at >= len(c.buf) || c.buf[bad.at] != 0 {
		return fault
	}
	for p := c.buf[bad.at:]; ; {
		for _, b := range p {
			if b != 0 {
				return fault
			}
		}
		p = c.buf[:cap(c.buf)]
		n, err := c.f.ReadAt(p, at)
		if n == 0 && errors.Is(err, io.EOF) {
			return c.truncated("in a block of zeros")
		}
		if n == 0 || err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("aof: %w", err)
		}
		p, at = p[:n], at+int64(n)
	}
}

// truncated is called when the file ends too early. If it may, it is cut to what is
// whole: also to before an open transaction, since what would be appended behind
// it would not be run.
func (c *commands) truncated(where string) error {
	a := c.l.a
	if !c.l.last || !c.l.settings.LoadTruncated {
		hint := "aof-load-truncated is off"
		if !c.l.last {
			hint = "it is not the last file of the log"
		}
		return &FormatError{c.info.Name, c.valid, "the file ends " + where + ", and " + hint + "; skein check-aof --fix cuts it"}
	}
	a.o.Log.Warn("!!! Warning: short read while loading the AOF file "+c.info.Name+"!!!", "ends", where)
	err := c.f.Truncate(c.valid)
	if err == nil {
		err = c.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("aof: truncate %s to %d: %w", c.info.Name, c.valid, err)
	}
	a.o.Log.Warn(fmt.Sprintf("AOF %s loaded anyway because aof-load-truncated is enabled; cut at offset %d", c.info.Name, c.valid))
	return nil
}

// Reload makes everything durable, empties the data set and loads the log again
// (DEBUG LOADAOF).
func (a *AOF) Reload() error {
	e := a.o.Engine
	lock := func(f func()) {
		e.Store.LockWorld()
		f()
		e.Store.UnlockWorld()
	}
	was := e.Gate(engine.GateLoading)
	lock(func() { e.SetGate(engine.GateLoading, true) }) // no client's command runs from here
	defer e.SetGate(engine.GateLoading, was)
	a.acquire()
	defer a.release()
	var m *Manifest
	if a.is(on) {
		if err := a.flush(true); err != nil {
			return err
		}
		m = a.manifest
	} else {
		// No rewrite begins while the gate is closed. One that is being made says
		// which directory the log is in.
		a.mu.Lock()
		running := a.ctl.running
		a.mu.Unlock()
		if running {
			return errors.New("aof: the log is being rewritten")
		}
		a.dir = a.path("")
		var err error
		if m, err = a.readManifest(); err != nil {
			return err
		}
		if m == nil {
			return errors.New("aof: there is no log to load")
		}
	}
	lock(func() { e.FlushLocked(-1, false) })
	if a.o.ClearFunctions != nil {
		a.o.ClearFunctions()
	}
	done, err := a.load(m)
	done()
	return err
}
