package aof

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/store"
)

// A rewrite replaces the log by a base that shows the data set at one instant, and
// an increment that begins at that instant. In mode on:
//
//	create the increment | cut | write and sync the rest of the old increment
//	| manifest: old files, new increment | from here effects go to the new one
//	| base to a temporary file, fsync, rename | manifest: new base, new increment;
//	the others are history | delete those | manifest without them
//
// The old increment is whole and synced before a manifest names a later one, so
// only the last of the files can ever be torn. Where it fails the log goes on with
// one increment more.
//
// In mode waiting the log on disk is of other data, or not to be trusted: the
// manifest does not change before base and increment are there, and the increment
// has a temporary name until then. In mode off there is no increment.

// control is what the controller does and has done; guarded by mu.
type control struct {
	wanted    bool // a rewrite
	scheduled bool // one once no save is being made
	closing   bool // the log was switched off: finish its file
	running   bool // a rewrite
	cancel    func()
	began     time.Time
	next      time.Time // no rewrite before
	gen       int       // counts changes of the mode
	spoiled   int64     // numbers of files that a failed rewrite may have used

	rewrites   int64
	failures   int // in succession
	lastFailed bool
	lastTook   time.Duration
}

// due reports whether a rewrite is wanted now.
func (c *control) due() bool { return c.wanted && !time.Now().Before(c.next) }

// switchover is the step of the log from one increment to the next: the flusher
// takes it once all of out is in the old one.
type switchover struct {
	f    disk.File
	info FileInfo
}

// control switches on and off and rewrites, as long as something is due.
func (a *AOF) control() {
	for a.controlOnce() && a.ctx.Err() == nil {
	}
}

// controlOnce does what is due and reports whether something was.
func (a *AOF) controlOnce() bool {
	saving := a.o.Saving()
	a.mu.Lock()
	c := &a.ctl
	if c.closing {
		c.closing = false
		a.mu.Unlock()
		a.shut()
		a.mu.Lock()
		gone := a.is(off)
		a.mu.Unlock()
		if gone {
			a.o.Attach(false)
		}
		a.holdReplies()
		return true
	}
	if a.o.Engine.Gate(engine.GateLoading) || !(c.due() || c.scheduled && !saving) {
		a.mu.Unlock()
		return false
	}
	ctx, cancel := context.WithCancel(a.ctx)
	c.wanted, c.scheduled, c.running, c.cancel, c.began = false, false, true, cancel, time.Now()
	r := &rewriting{a: a, ctx: ctx, gen: c.gen, mode: mode(a.mode.Load()), settings: a.o.Settings(), spoiled: c.spoiled}
	a.mu.Unlock()
	a.o.Log.Info("Background append only file rewriting started")
	err := r.run()
	cancel()
	a.rewriteDone(r, err)
	return true
}

// rewriteDone notes how a rewrite ended and when another one is due.
func (a *AOF) rewriteDone(r *rewriting, err error) {
	a.mu.Lock()
	c := &a.ctl
	c.running, c.cancel = false, nil
	c.lastTook = time.Since(c.began)
	c.rewrites++
	cancelled := errors.Is(err, context.Canceled) || errors.Is(err, errStale)
	c.lastFailed = err != nil && !cancelled
	again := err != nil && a.is(waiting)
	switch {
	case err == nil:
		c.failures = 0
	case errors.Is(err, store.ErrSnapshotAborted):
		again = true // nothing is wrong with the disk
	case !cancelled:
		c.failures++
		c.next = time.Now().Add(a.pauseAfter(c.failures))
	}
	c.wanted = c.wanted || again
	a.free.Broadcast()
	a.mu.Unlock()
	switch {
	case err == nil:
		a.o.Log.Info("Background AOF rewrite finished successfully")
	case cancelled:
		a.o.Log.Info("Background AOF rewrite ended early", "err", err)
	default:
		a.o.Log.Warn("Background AOF rewrite failed", "err", err)
	}
}

// pauseAfter is how long no rewrite begins by itself after so many failures in
// succession: longer and longer, unless writes are refused meanwhile; mu is held.
func (a *AOF) pauseAfter(failures int) time.Duration {
	if a.err != nil || failures < 3 {
		return time.Second
	}
	return min(time.Minute<<min(failures-3, 6), time.Hour) // persistence, 13.7
}

// growthCheck wants a rewrite when the log has grown enough.
func (a *AOF) growthCheck() {
	s := a.o.Settings()
	if s.GrowthPercent == 0 || !a.is(on) || a.o.Saving() {
		return
	}
	a.mu.Lock()
	c := &a.ctl
	total := a.sizes.others + a.sizes.incr
	growth := total*100/max(a.sizes.atBase, 1) - 100
	start := total > s.MinSize && growth >= s.GrowthPercent && !c.wanted && !c.running && !time.Now().Before(c.next) && a.err == nil
	if start {
		c.wanted = true
		a.kick(a.kickCtl)
	}
	a.mu.Unlock()
	if start {
		a.o.Log.Info(fmt.Sprintf("Starting automatic rewriting of AOF on %d%% growth", growth))
	}
}

// shut finishes the file of a log that was switched off.
func (a *AOF) shut() {
	a.acquire()
	if a.f != nil {
		if err := a.flush(true); err != nil {
			a.o.Log.Warn("The end of the append-only file could not be written", "err", err)
		}
	}
	a.closeFile()
	a.mu.Lock()
	a.err, a.overflow, a.buf = nil, false, nil
	a.sizes = sizes{}
	a.written.Store(a.appended.Load())
	a.synced.Store(a.appended.Load())
	a.mu.Unlock()
	a.release()
	a.o.Engine.SetMisconf(engine.MisconfAOF, "")
}

// errStale ends a rewrite whose log was switched off, or given up, meanwhile.
var errStale = errors.New("aof: the log was switched meanwhile")

// rewriting is one rewrite.
type rewriting struct {
	a        *AOF
	ctx      context.Context
	gen      int
	mode     mode
	settings Settings
	spoiled  int64

	f    disk.File // the increment that begins at the cut; nil in mode off
	incr FileInfo
	cut  bool
	held bool // the flusher's role
}

func (r *rewriting) stale() bool {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	return r.a.ctl.gen != r.gen
}

func (r *rewriting) run() (err error) {
	a := r.a
	if r.mode != on {
		a.dir = a.path("")
		if err := a.o.FS.MkdirAll(a.dir, 0o755); err != nil {
			return fmt.Errorf("aof: %w", err)
		}
		m, err := a.readManifest()
		if err != nil {
			return err
		}
		if a.manifest = m; m == nil {
			a.manifest = &Manifest{}
		}
	}
	if r.mode == waiting {
		a.o.Attach(true)
	}
	a.acquire() // it may be in the middle of a switch that failed before
	seq, _ := a.manifest.nextSeq()
	a.release()
	base := FileInfo{Name: baseName(a.o.Name, seq+r.spoiled, r.settings.RDBPreamble), Seq: seq + r.spoiled, Type: Base}
	file, err := disk.Create(a.o.FS, a.at(base.Name), a.at(tempBase), true)
	if err != nil {
		return err
	}
	if err := r.writeBase(file); err != nil {
		file.Abort()
		r.giveUp()
		return err
	}
	if err := file.Commit(); err != nil {
		r.giveUp()
		return err
	}
	if err := r.finish(base); err != nil {
		r.giveUp()
		return err
	}
	a.tellSynced()
	a.dropHistory()
	return nil
}

// giveUp ends what a failed rewrite has begun and the log cannot use.
func (r *rewriting) giveUp() {
	a := r.a
	if r.mode != waiting {
		return
	}
	a.acquire()
	a.mu.Lock()
	mine := a.ctl.gen == r.gen && r.cut
	if mine {
		a.collect, a.overflow, a.buf = false, false, nil
		if a.err == nil { // nothing was promised yet
			a.written.Store(a.appended.Load())
			a.synced.Store(a.appended.Load())
		}
	}
	a.mu.Unlock()
	if mine {
		a.closeFile()
	}
	a.release()
}

// writeBase writes the base.
func (r *rewriting) writeBase(file *disk.Replacement) error {
	var w io.Writer = file
	if r.settings.IncrementalFsync {
		w = file.Syncing()
	}
	cut := Cut{Before: r.beforeCut, At: r.atCut, After: r.afterCut}
	if r.settings.RDBPreamble {
		return r.a.o.Snapshot(r.ctx, w, r.settings.Compress, cut)
	}
	buf := bufio.NewWriterSize(w, 256<<10)
	if r.settings.Timestamps {
		buf.Write(appendStamp(nil, r.a.o.Engine.Now()/1000))
	}
	pr, pw := io.Pipe()
	made := make(chan error, 1)
	go func() {
		err := r.a.o.Snapshot(r.ctx, pw, false, cut)
		pw.CloseWithError(err)
		made <- err
	}()
	err := AsCommands(buf, rdb.NewReader(pr))
	pr.CloseWithError(err)
	if e := <-made; e != nil && (err == nil || r.ctx.Err() != nil || errors.Is(e, store.ErrSnapshotAborted)) {
		err = e
	}
	if err != nil {
		return err
	}
	return buf.Flush()
}

// beforeCut prepares the increment and takes the flusher's role, so that little is
// left to write at the cut.
func (r *rewriting) beforeCut() (err error) {
	a := r.a
	if r.mode == off {
		return nil
	}
	a.acquire()
	defer func() {
		if r.held = err == nil; err != nil {
			a.release()
		}
	}()
	if r.stale() {
		return errStale
	}
	if r.mode == waiting {
		a.closeFile() // of an attempt that failed
		r.f, err = a.openIncr(tempIncr(a.o.Name), true)
		return err
	}
	if err := a.flush(true); err != nil {
		return err
	}
	_, seq := a.manifest.nextSeq()
	r.incr = FileInfo{Name: incrName(a.o.Name, seq+r.spoiled), Seq: seq + r.spoiled, Type: Incr}
	r.f, err = a.openIncr(r.incr.Name, true)
	return err
}

// atCut marks the instant: what is appended later belongs to the new increment.
func (r *rewriting) atCut() {
	a := r.a
	if r.mode == off {
		r.cut = true
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctl.gen != r.gen {
		return
	}
	r.cut = true
	a.db, a.second = -1, 0
	if r.mode == waiting {
		a.collect, a.overflow, a.buf = true, false, nil
		a.bufOff, a.writtenOff, a.diskOff = 0, 0, 0 // the history may be another one
		a.use(r.f, 0)
		return
	}
	a.out = append(a.out, a.buf...)
	a.outEnd, a.outOff, a.outLen = a.appended.Load(), a.bufOff, len(a.out)
	a.buf = a.buf[:0]
	a.sw = &switchover{f: r.f, info: r.incr}
}

// afterCut lets the log go on behind the cut.
func (r *rewriting) afterCut() error {
	a := r.a
	if !r.cut {
		if r.f != nil {
			r.f.Close()
		}
		if r.held {
			a.release()
		}
		return errStale
	}
	if !r.held {
		return nil
	}
	var err error
	if r.mode == on {
		err = a.flush(true)
	}
	a.release()
	a.tellSynced()
	return err
}

// finishSwitch completes the step to the next increment. The flusher's.
func (a *AOF) finishSwitch() error {
	if err := a.writeOut(true); err != nil {
		return err
	}
	m := a.manifest.withIncr(a.sw.info)
	if err := a.writeManifest(m); err != nil {
		return a.failed(err)
	}
	a.manifest = m
	if err := a.f.Close(); err != nil {
		a.o.Log.Warn("Closing an increment of the append-only file failed", "err", err) // it is synced
	}
	a.mu.Lock()
	a.sizes.others += a.size
	a.sizes.incr = 0
	a.mu.Unlock()
	a.use(a.sw.f, 0)
	a.sw = nil
	return nil
}

// finish makes the base, which is in place, the base of the log.
func (r *rewriting) finish(base FileInfo) error {
	a := r.a
	size, err := a.o.FS.Stat(a.at(base.Name))
	if err != nil {
		return fmt.Errorf("aof: %w", err)
	}
	a.acquire()
	defer a.release()
	if r.stale() {
		return errStale
	}
	first := int64(0)
	if r.mode == on {
		first = r.incr.Seq
	}
	m := a.manifest.rebased(base, first)
	if r.mode == waiting {
		if err := a.flush(true); err != nil {
			return err
		}
		_, seq := a.manifest.nextSeq()
		r.incr = FileInfo{Name: incrName(a.o.Name, seq+r.spoiled), Seq: seq + r.spoiled, Type: Incr}
		if err := a.o.FS.Rename(a.at(tempIncr(a.o.Name)), a.at(r.incr.Name)); err != nil {
			return fmt.Errorf("aof: %w", err)
		}
		m = m.withIncr(r.incr)
	}
	if err := a.writeManifest(m); err != nil {
		a.mu.Lock()
		a.ctl.spoiled++
		a.mu.Unlock()
		return err
	}
	a.manifest = m
	a.mu.Lock()
	a.ctl.spoiled = 0
	a.sizes.others = size
	if r.mode != off {
		a.sizes.incr = a.size
	}
	a.sizes.atBase = a.sizes.others + a.sizes.incr
	back := error(nil)
	if r.mode == waiting && a.ctl.gen == r.gen {
		a.setMode(on)
		back, a.err = a.err, nil
		a.promised.Store(true)
		done := a.appended.Load() - int64(len(a.buf)) // in the base, or in the increment
		a.written.Store(done)
		a.synced.Store(done)
		a.diskOff = a.writtenOff
	}
	a.mu.Unlock()
	if r.mode == waiting {
		a.holdReplies()
		a.o.Engine.SetMisconf(engine.MisconfAOF, "")
		if back != nil {
			a.o.Log.Warn("There is a whole append-only file again.")
		}
	}
	return nil
}

// dropHistory deletes the files that are no longer part of the log.
func (a *AOF) dropHistory() {
	if len(a.manifest.History) == 0 || a.o.Settings().KeepHistory {
		return
	}
	for _, f := range a.manifest.History {
		if err := a.o.FS.Remove(a.at(f.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.o.Log.Warn("Can't delete a file of the append-only file's history", "err", err)
			return
		}
	}
	m := a.manifest.withoutHistory()
	if err := a.writeManifest(m); err != nil {
		a.o.Log.Warn("Can't write the append-only file's manifest", "err", err)
		return
	}
	a.acquire()
	a.manifest = m
	a.release()
}
