package persist

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/store"
)

var errBusy = errors.New("Background save already in progress")

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
	s.began, s.lastTry = time.Now(), time.Now()
	return ctx, nil
}

func (s *Saver) end(err error, background bool) {
	s.mu.Lock()
	s.cancel()
	s.running, s.cancel = false, nil
	s.lastTook = time.Since(s.began)
	cancelled := errors.Is(err, context.Canceled)
	if !cancelled {
		s.failed = err != nil
	}
	if err == nil {
		s.savesDone++
		s.lastSave.Store(time.Now().Unix())
	}
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
	s.guard()
}

// guard closes or opens the gate for writes after a failed save.
func (s *Saver) guard() {
	c := s.opt.Config
	s.mu.Lock()
	bad := s.failed && c.StopWritesOnBgsaveError.Get() && len(c.Save.Get()) > 0
	s.mu.Unlock()
	if bad {
		s.opt.Engine.SetMisconf(engine.ErrMisconfBGSave)
	} else {
		s.opt.Engine.SetMisconf("")
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

// write makes a snapshot and puts it in place of the old file.
func (s *Saver) write(ctx context.Context) error {
	e, c := s.opt.Engine, s.opt.Config
	turn := e.Store.SnapshotTurn()
	turn.Lock()
	defer turn.Unlock()
	path := s.Path()
	file, err := disk.Create(s.opt.FS, path, "", true)
	if err != nil {
		return err
	}
	compress := c.RDBCompression.Get()
	out := &output{ctx: ctx, file: file, s: s}
	w := rdb.NewWriter(out, rdb.WriterOptions{Compress: compress, Checksum: c.RDBChecksum.Get()})
	info := &rdb.Info{ServerVersion: engine.Version, CreatedSec: time.Now().Unix(), UsedMemory: s.opt.Used()}

	var col *rdb.Collector
	var snap *store.Snapshot
	var dirty int64
	s.opt.Cut(func(at *rdb.ReplInfo) {
		col = rdb.NewCollector(e.Store, rdb.RecordOptions{Compress: compress})
		snap, err = e.Store.BeginSnapshot(col)
		dirty = e.Dirty()
		out.snap.Store(snap)
		info.Repl = at
	})
	if err == nil {
		err = col.Write(snap, w, info)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		file.Abort()
		return err
	}
	if err := file.Commit(); err != nil {
		return err
	}
	e.AddDirty(-dirty)
	return nil
}

// output is the file of a save: writing to it fails once the save is cancelled,
// and shows the progress.
type output struct {
	ctx  context.Context
	file *disk.Replacement
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
	return o.file.Write(p)
}
