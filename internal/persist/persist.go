// Package persist keeps the data set in an RDB file: SAVE, BGSAVE, save points,
// the save at shutdown, and loading at start. It never forks: a save is a
// snapshot of the store (package store), encoded by rdb, written through disk
// to a temporary file that replaces the old one when it is complete and synced.
//
// Read persist.go, save.go, load.go, commands.go.
package persist

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
)

// Options are what a Saver needs.
type Options struct {
	Engine *engine.Engine
	Config *config.Config
	Log    *slog.Logger
	FS     disk.FS
	Used   func() int64 // used_memory, for the file's facts
	// Cut runs fn while no data changes, with the place in the replication
	// stream that the data stands for, nil if none.
	Cut func(fn func(at *rdb.ReplInfo))
	// Busy reports whether something else writes the data set to disk, the rewrite
	// of the append-only file: a save then has to wait. May be nil.
	Busy func() bool
	Now  func() time.Time // time.Now if nil
	// Functions returns the sources of all function libraries, LoadFunction takes one
	// of a file, ClearFunctions removes all.
	Functions      func() [][]byte
	LoadFunction   func(source []byte) error
	ClearFunctions func()
	// Ending says that the node ends, and a load need not be finished. May be nil.
	Ending func() error
}

// Saver saves and loads the data set of one node. Safe for concurrent use.
type Saver struct {
	opt Options

	mu        sync.Mutex
	running   bool          // a save is being written
	cancel    func()        // of the running one
	scheduled bool          // BGSAVE SCHEDULE, or one asked for while another ran
	began     time.Time     // of the running one
	lastTook  time.Duration // of the last one in the background, negative if there was none
	lastTry   time.Time
	failed    bool  // the last save in the background failed, and none succeeded since
	tries     int64 // saves begun
	flushes   int64 // calls of FLUSHALL that were seen
	wg        sync.WaitGroup

	lastSave atomic.Int64 // Unix seconds of the last good save, or start
	saved    atomic.Int64 // keys written by the running save
	toSave   atomic.Int64

	loading loadState
}

// New returns a Saver. The time of the last save is now.
func New(o Options) *Saver {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Saver{opt: o, lastTook: -time.Second}
	s.lastSave.Store(o.Now().Unix())
	return s
}

// Path is the file of the data set.
func (s *Saver) Path() string { return s.opt.Config.Path(s.opt.Config.DBFilename.Get()) }

// Tick starts a save when a save point is due, or one is scheduled. The cron
// calls it.
func (s *Saver) Tick() {
	if s.opt.Engine.Gate(engine.GateLoading) || s.busy() {
		return
	}
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return
	}
	due, points := false, s.opt.Config.Save.Get()
	if n := s.opt.Engine.FlushAlls(); n != s.flushes {
		s.flushes = n
		s.scheduled = s.scheduled || len(points) > 0 // or the next start brings the old data set back
	}
	since := s.opt.Now().Unix() - s.lastSave.Load()
	changes := s.opt.Engine.Dirty()
	if !s.failed || s.opt.Now().Sub(s.lastTry) > retryAfter {
		due = s.scheduled
		for _, p := range points {
			if !due && changes >= p.Changes && since > p.Seconds {
				due = true
				s.opt.Log.Info(formatChanges(p.Changes, p.Seconds))
				break
			}
		}
	}
	s.mu.Unlock()
	if due {
		s.background()
	}
}

func (s *Saver) busy() bool { return s.opt.Busy != nil && s.opt.Busy() }

// Running reports whether a save is being written.
func (s *Saver) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// retryAfter spaces the attempts after a failed save (persistence, 7.3).
const retryAfter = 5 * time.Second

// Stop cancels a running save and waits until it has ended.
func (s *Saver) Stop() {
	s.mu.Lock()
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
