// Package aof keeps the data set in an append-only file: a base, which is the data
// set at one instant, and the commands since, in files that a manifest lists. It
// is a consumer of the log of effects (package repl), as replicas are, and of the
// one snapshot mechanism, so a rewrite forks nothing.
//
// Read manifest.go and scan.go (what is in the files), aof.go (the states), log.go
// (how effects reach the disk, and what replies wait for), rewrite.go, load.go,
// ascommands.go, check.go (the tool), commands.go.
//
// # How bytes move
//
//	effects --Append--> buf --take--> out --write--> increment --fsync
//	        appended^                      written^           synced^
//
// The three positions count bytes since the start. Append runs under the lock of
// the log of effects and only copies. Everything to the right of buf belongs to
// whoever holds the flusher's role (flushing); there is one at a time: a client's
// goroutine at the end of its batch, which thereby writes, and with appendfsync
// always syncs, for all that are waiting (group commit); the periodic goroutine;
// or a rewrite that switches to the next increment.
//
// # When the disk fails
//
// A write that fails leaves what it could not write in memory, writes are refused
// with MISCONF, and it is tried again until it succeeds. After a failed fsync
// nobody knows what the file holds, and asking again tells nothing: the log is
// begun anew from the data in memory, a new base and a new increment, and until
// that is done writes are refused. With appendfsync always a client whose write
// could not be made durable is not answered: its connection is closed.
//
// # Goroutines and locks
//
// One goroutine flushes and syncs periodically, one rewrites, switches on and off.
// mu is a leaf, taken under the locks of slots and of the log. The flusher's role
// is never waited for under slot locks; its holder may wait for them (a rewrite's
// cut does).
package aof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
)

// Fsync is the directive appendfsync.
type Fsync int32

const (
	EverySec Fsync = iota
	Always
	Never
)

// Settings are the directives that are obeyed; they may change at any time, and
// Refresh makes them count.
type Settings struct {
	Fsync            Fsync
	NoFsyncOnRewrite bool
	LoadTruncated    bool
	SkipModules      bool // rdb-module-data skip
	AnyVersion       bool // rdb-version-check relaxed
	Timestamps       bool
	RDBPreamble      bool // aof-use-rdb-preamble
	IncrementalFsync bool // aof-rewrite-incremental-fsync
	KeepHistory      bool // aof-disable-auto-gc
	GrowthPercent    int64
	MinSize          int64
	Compress         bool // rdbcompression
}

// Cut is what a rewrite does around the instant of its snapshot: At while no data
// changes, Before and After without locks.
type Cut struct {
	Before, After func() error
	At            func()
}

// Options are what New needs. All must be set unless it says otherwise.
type Options struct {
	Engine   *engine.Engine
	Log      *slog.Logger
	FS       disk.FS
	Settings func() Settings
	Dir      func() string // that the log's own directory is in
	Name     string        // appendfilename
	DirName  string        // appenddirname

	// Attach makes Append take the log of effects, or no longer. It takes the world
	// lock.
	Attach func(on bool)
	// Snapshot writes the data set as a base to w.
	Snapshot func(ctx context.Context, w io.Writer, compress bool, c Cut) error
	// Loading begins to load so many bytes: clients are told until done.
	Loading func(total int64) rdb.Progress
	// Saving reports whether a save to an RDB file is being made.
	Saving func() bool
	// Offset is the length of the replication history.
	Offset func() int64
	// Synced is called without locks whenever more is on disk. May be nil.
	Synced func()
	// KeyDelay slows loading down (rdb.Delay.PerKey). May be nil.
	KeyDelay func() time.Duration
	// LoadFunction takes a function library of a base. May be nil.
	LoadFunction func(source []byte) error
	// ClearFunctions removes all of them. May be nil.
	ClearFunctions func()
	// Pending is how many bytes may be kept in memory, beside one batch of each
	// client: beyond it clients wait for the disk, and while that fails the log is
	// given up and begun anew. 0: 64 MB.
	Pending int
}

// mode says whether there is a log.
type mode int32

const (
	off     mode = iota
	waiting      // for the first base, or for another one after a failure
	on
)

// AOF is the append-only file of one node. Its methods may be called from any
// goroutine.
type AOF struct {
	o   Options
	ctx context.Context
	end context.CancelFunc
	wg  sync.WaitGroup

	mode     atomic.Int32 // written under mu
	fsync    atomic.Int32
	noFsync  atomic.Bool // no-appendfsync-on-rewrite
	stamps   atomic.Bool
	promised atomic.Bool  // there has been a whole log since it was switched on
	appended atomic.Int64 // under mu
	written  atomic.Int64 // by the flusher
	synced   atomic.Int64 // stands still in mode waiting
	syncFrom atomic.Int64 // nanoseconds since start: the flusher has been slow since then; 0: it is not
	start    time.Time

	mu       sync.Mutex
	free     sync.Cond // the flusher's role is free
	flushing bool
	collect  bool // Append keeps what it is given
	overflow bool // it no longer can
	buf      []byte
	bufOff   int64 // replication offset past buf
	outLen   int   // len(out), for others
	db       int   // selected at the end of the increment, -1: none
	second   int64 // of the last annotation
	err      error // why the log cannot be written; nil: it can
	diskOff  int64 // replication offset up to which all is on disk
	sizes    sizes
	ctl      control

	// The flusher's.
	f          disk.File // the increment written to; nil: none
	size       int64     // of f, whole records
	syncedSize int64
	out        []byte
	outEnd     int64 // of appended
	outOff     int64
	writtenOff int64
	lastSync   time.Time
	sw         *switchover
	lastLog    time.Time // of a failure

	// The controller's, and that of who opens or closes.
	dir      string
	manifest *Manifest

	kickFlush chan struct{} // bound 1: a wake-up that nobody waits for yet is kept
	kickCtl   chan struct{}
}

// sizes are what INFO shows; guarded by mu.
type sizes struct {
	others  int64 // live files but the increment written to
	incr    int64 // that one
	atBase  int64 // all of them after the last rewrite, or at the start
	delayed int64 // writes that waited for a slow fsync
}

// New returns a log that is off. Start sets it going.
func New(o Options) *AOF {
	a := &AOF{o: o, start: time.Now(), db: -1, manifest: &Manifest{}, kickFlush: make(chan struct{}, 1), kickCtl: make(chan struct{}, 1)}
	a.free.L = &a.mu
	if a.o.Pending == 0 {
		a.o.Pending = defaultPending
	}
	a.ctl.lastTook = -1
	a.ctx, a.end = context.WithCancel(context.Background())
	a.Refresh()
	return a
}

// Start runs the goroutines until Close.
func (a *AOF) Start() {
	a.wg.Add(2)
	go a.every(a.kickFlush, a.tick)
	go a.every(a.kickCtl, a.control)
}

// Refresh makes changed settings count.
func (a *AOF) Refresh() {
	s := a.o.Settings()
	a.fsync.Store(int32(s.Fsync))
	a.noFsync.Store(s.NoFsyncOnRewrite)
	a.stamps.Store(s.Timestamps)
	a.holdReplies()
}

// holdReplies tells the engine whether what a client has read may not be durable:
// then its reply waits as that of the writer does.
func (a *AOF) holdReplies() {
	a.o.Engine.HoldReplies(a.is(on) && Fsync(a.fsync.Load()) == Always)
}

func (a *AOF) is(m mode) bool { return mode(a.mode.Load()) == m }

// setMode changes the mode; mu is held. What ran for the old one finds gen changed.
func (a *AOF) setMode(m mode) {
	a.mode.Store(int32(m))
	a.ctl.gen++
	a.free.Broadcast()
}

// nanos is the time since the start; never 0.
func (a *AOF) nanos() int64 { return int64(time.Since(a.start)) + 1 }

// Enabled reports whether there is a log, or the first base of one is being made.
func (a *AOF) Enabled() bool { return !a.is(off) }

// Buffered returns the bytes that are held in memory.
func (a *AOF) Buffered() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(len(a.buf) + a.outLen)
}

// Durable returns the replication offset up to which everything is on disk, and
// whether there is a log.
func (a *AOF) Durable() (int64, bool) {
	if !a.Enabled() {
		return 0, false
	}
	// What is appended was so before the offset moved: if nothing of it is missing
	// from the disk now, nothing up to here is.
	end := a.o.Offset()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.is(on) && a.err == nil && a.synced.Load() == a.appended.Load() {
		return end, true
	}
	return a.diskOff, true
}

// SwitchOn begins a log, as CONFIG SET appendonly yes does: it returns once it is
// clear that there can be one, and the first base is written in the background.
// Until that is done the disk holds what it held before.
func (a *AOF) SwitchOn() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.is(off) {
		return nil
	}
	if err := a.o.FS.MkdirAll(a.path(""), 0o755); err != nil {
		return fmt.Errorf("aof: %w", err)
	}
	a.setMode(waiting)
	a.promised.Store(false)
	a.diskOff = 0
	a.ctl.wanted = true
	a.kick(a.kickCtl)
	return nil
}

// SwitchOff ends the log. What was given to it is still written, soon after. It
// takes no locks but its own.
func (a *AOF) SwitchOff() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.is(off) {
		return
	}
	a.collect = false
	a.setMode(off)
	a.ctl.wanted, a.ctl.scheduled, a.ctl.closing = false, false, true
	if a.ctl.cancel != nil {
		a.ctl.cancel()
	}
	a.kick(a.kickCtl)
}

// path is a name in the log's directory as the configuration says it is now.
func (a *AOF) path(name string) string { return filepath.Join(a.o.Dir(), a.o.DirName, name) }

// at is a name in the directory that the log is in.
func (a *AOF) at(name string) string { return filepath.Join(a.dir, name) }

func (a *AOF) kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Flush makes everything durable that was logged so far.
func (a *AOF) Flush() error {
	if a.is(off) {
		return nil
	}
	a.acquire()
	err := a.flush(true)
	a.release()
	a.tellSynced()
	if err == nil && a.is(waiting) {
		err = errors.New("aof: the first base is not written yet")
	}
	return err
}

// Close ends the log of a node that stops; nothing changes the data any more. A
// first base that is being written is completed.
func (a *AOF) Close() error {
	a.finishFirst()
	a.end()
	a.wg.Wait()
	var err error
	if !a.is(off) {
		err = a.Flush()
		a.mu.Lock()
		a.collect = false
		a.setMode(off)
		a.mu.Unlock()
	}
	a.shut()
	return err
}

// finishFirst waits for a first base that is being written, as long as that goes
// well.
func (a *AOF) finishFirst() {
	a.mu.Lock()
	failures := a.ctl.failures
	a.ctl.next = time.Time{} // if an attempt failed before, the next one is now
	a.kick(a.kickCtl)
	for a.is(waiting) && a.err == nil && a.ctl.failures == failures && a.ctx.Err() == nil {
		a.free.Wait()
	}
	a.mu.Unlock()
}

// readManifest returns the manifest on disk, nil if there is none.
func (a *AOF) readManifest() (*Manifest, error) {
	text, err := disk.ReadFile(a.o.FS, a.at(manifestName(a.o.Name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("aof: %w", err)
	}
	return ParseManifest(text)
}

// writeManifest makes m the manifest, durably. After an error the old one may be on
// disk or the new one.
func (a *AOF) writeManifest(m *Manifest) error {
	name := manifestName(a.o.Name)
	r, err := disk.Create(a.o.FS, a.at(name), a.at(tempManifest(a.o.Name)), true)
	if err != nil {
		return err
	}
	if _, err := r.Write(m.Text()); err != nil {
		r.Abort()
		return err
	}
	return r.Commit()
}
