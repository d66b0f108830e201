package persist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/store"
)

var (
	errBusy      = errors.New("Background save already in progress")
	errRewriting = errors.New("Another child process is active (AOF?): can't BGSAVE right now. " +
		"Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.")
)

func formatChanges(changes, seconds int64) string {
	return fmt.Sprintf("%d changes in %d seconds. Saving...", changes, seconds)
}

// begin claims the right to save.
func (s *Saver) begin() (context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return nil, errBusy
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.running, s.cancel, s.scheduled = true, cancel, false
	s.began = s.opt.Now()
	s.tries++
	return ctx, nil
}

// end notes how a save went. One in the background that failed is what refuses
// writes; who asked for one in the foreground was told.
func (s *Saver) end(err error, background bool) {
	s.mu.Lock()
	s.cancel()
	if background {
		s.lastTook = s.opt.Now().Sub(s.began)
		s.lastTry = s.began
	}
	switch {
	case err == nil:
		s.failed = false
		s.lastSave.Store(s.opt.Now().Unix())
	case background && !errors.Is(err, context.Canceled):
		s.failed = true
	}
	s.mu.Unlock()
	s.Guard()
	s.mu.Lock()
	s.running, s.cancel = false, nil // who sees the end finds the gate as the end left it
	s.mu.Unlock()
	switch {
	case err == nil && background:
		s.opt.Log.Info("Background saving terminated with success")
	case err == nil:
		s.opt.Log.Info("DB saved on disk")
	case background:
		s.opt.Log.Warn("Background saving error", "err", err)
	default:
		s.opt.Log.Warn("Error saving DB on disk", "err", err)
	}
}

// Guard closes or opens the gate for writes after a failed save, as the settings
// say now.
func (s *Saver) Guard() {
	c := s.opt.Config
	s.mu.Lock()
	bad := s.failed && c.StopWritesOnBgsaveError.Get() && len(c.Save.Get()) > 0
	s.mu.Unlock()
	if bad {
		s.opt.Engine.SetMisconf(engine.MisconfRDB, engine.ErrMisconfBGSave)
	} else {
		s.opt.Engine.SetMisconf(engine.MisconfRDB, "")
	}
}

// Save writes the data set and returns when the file is in place.
func (s *Saver) Save() error {
	ctx, err := s.begin()
	if err != nil {
		return err
	}
	err = s.write(ctx)
	s.end(err, false)
	return err
}

// background starts a save in a goroutine of its own.
func (s *Saver) background() error {
	ctx, err := s.begin()
	if err != nil {
		return err
	}
	s.opt.Log.Info("Background saving started")
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		s.end(s.write(ctx), true)
	}()
	return nil
}

// write makes a snapshot and puts it in place of the old file. One whose data are
// flushed meanwhile is begun anew.
func (s *Saver) write(ctx context.Context) error {
	for {
		if err := s.writeOnce(ctx); !errors.Is(err, store.ErrSnapshotAborted) {
			return err
		}
	}
}

func (s *Saver) writeOnce(ctx context.Context) error {
	file, err := disk.Create(s.opt.FS, s.Path(), "", true)
	if err != nil {
		return err
	}
	var out io.Writer = file
	if s.opt.Config.RDBSaveIncrementalFsync.Get() {
		out = file.Syncing()
	}
	var dirty int64
	err = s.Snapshot(ctx, out, SnapshotOptions{
		Compress: s.opt.Config.RDBCompression.Get(), Checksum: s.opt.Config.RDBChecksum.Get(),
		Version: int(s.opt.Config.RDBVersion.Get()),
		AtCut:   func() { dirty = s.opt.Engine.Dirty() },
	})
	if err != nil {
		file.Abort()
		return err
	}
	if err := file.Commit(); err != nil {
		return err
	}
	s.opt.Engine.AddDirty(-dirty)
	return nil
}

// SnapshotOptions say how Snapshot writes.
type SnapshotOptions struct {
	Compress, Checksum bool
	Version            int  // at least; 0: what the values need
	AOFBase            bool // it becomes the base of an append-only log: no place in the stream is told
	// AtCut, if set, runs at the instant that the snapshot shows, while no data
	// changes; it must be quick. BeforeCut runs just before, once no other snapshot
	// is in the way, and AfterCut just after, whatever has become of the cut, before
	// most is written; an error of theirs ends the snapshot.
	AtCut               func()
	BeforeCut, AfterCut func() error
}

// Snapshot writes the data set as it is at one instant to w, as an RDB. Snapshots
// are made one at a time: it waits for its turn. The end of ctx ends it.
func (s *Saver) Snapshot(ctx context.Context, w io.Writer, o SnapshotOptions) error {
	e := s.opt.Engine
	end, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer end()
	out := &output{ctx: ctx, w: w, s: s}
	info := &rdb.Info{ServerVersion: engine.Version, CreatedSec: time.Now().Unix(), UsedMemory: s.opt.Used(), AOFBase: o.AOFBase}
	var col *rdb.Collector
	var snap *store.Snapshot
	if o.BeforeCut != nil {
		if err := o.BeforeCut(); err != nil {
			return err
		}
	}
	s.opt.Cut(func(at *rdb.ReplInfo) {
		col = rdb.NewCollector(e.Store, rdb.RecordOptions{Compress: o.Compress, Second: uint32(e.Now() / 1000)})
		if snap, err = e.Store.BeginSnapshot(col); err != nil {
			return
		}
		out.snap.Store(snap)
		col.KeyDelay = func() time.Duration {
			if ctx.Err() != nil {
				return 0
			}
			return s.opt.Config.SaveDelay()
		}
		if s.opt.Functions != nil {
			col.Functions = s.opt.Functions()
		}
		if !o.AOFBase {
			info.Repl = at
		}
		if o.AtCut != nil {
			o.AtCut()
		}
	})
	if o.AfterCut != nil {
		if e := o.AfterCut(); err == nil {
			err = e
		}
	}
	if err != nil {
		if snap != nil {
			snap.Drop()
		}
		return err
	}
	rw := rdb.NewWriter(out, rdb.WriterOptions{Version: max(col.Version(), o.Version), Compress: o.Compress, Checksum: o.Checksum})
	if err := col.Write(snap, rw, info); err != nil {
		return err
	}
	return rw.Close()
}

// takeTurn waits until no other snapshot is being made; end gives the turn back.
func (s *Saver) takeTurn(ctx context.Context) (end func(), err error) {
	turn := s.opt.Engine.Store.SnapshotTurn()
	got := make(chan struct{})
	go func() {
		turn.Lock()
		select {
		case got <- struct{}{}:
		case <-ctx.Done():
			turn.Unlock()
		}
	}()
	select {
	case <-got:
		return turn.Unlock, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// output is where a snapshot goes: writing fails once it is cancelled, and shows
// the progress.
type output struct {
	ctx  context.Context
	w    io.Writer
	s    *Saver
	snap atomic.Pointer[store.Snapshot]
}

func (o *output) Write(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	if snap := o.snap.Load(); snap != nil {
		done, total := snap.Progress()
		o.s.saved.Store(int64(done))
		o.s.toSave.Store(int64(total))
	}
	return o.w.Write(p)
}
