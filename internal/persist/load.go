package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"sync"
	"time"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
)

// loadState is the progress of a load, for INFO.
type loadState struct {
	mu     sync.Mutex
	active bool
	start  time.Time
	total  int64 // bytes
	loaded int64
}

// Load fills the empty data set from the file, if there is one. While it runs
// clients are told -LOADING. keepExpired is set on a replica. done, if not nil,
// is told what the file said about the replication stream, nil if nothing, and
// how many expired keys were left out.
func (s *Saver) Load(keepExpired bool, done func(at *rdb.ReplInfo, expired int)) error {
	path := s.Path()
	f, err := disk.Open(s.opt.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("persist: open %s: %w", path, err)
	}
	defer f.Close()
	size, err := s.opt.FS.Stat(path)
	if err != nil {
		return fmt.Errorf("persist: %w", err)
	}
	e := s.opt.Engine
	progress, loaded := s.Loading(size)
	defer loaded()
	start := time.Now()
	st, err := rdb.Load(rdb.NewReader(f), e.Store, &rdb.LoadOptions{
		Limits: e.Env.Limits().Limits, NowMs: e.Now(), DropExpired: !keepExpired,
		Aux: func(name, value []byte) {
			if len(name) > 0 && name[0] == '%' {
				s.opt.Log.Info("RDB '" + string(name) + "': " + string(value))
			}
		},
		Between: func(st *rdb.LoadStats) error {
			progress(st.Bytes)
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("persist: load %s: %w", path, err)
	}
	s.opt.Log.Info(fmt.Sprintf("Done loading RDB, keys loaded: %d, keys expired: %d, empty keys skipped: %d.", st.Keys, st.Expired, st.Empty))
	if what := st.LeftOut(); what != "" {
		s.opt.Log.Warn("The file held what this server cannot keep, it was left out", "what", what)
	}
	s.opt.Log.Info(fmt.Sprintf("DB loaded from disk: %.3f seconds", time.Since(start).Seconds()))
	if done != nil {
		done(st.Info.Repl, st.Expired)
	}
	return nil
}

// Loading begins to load a data set of so many bytes: until done, clients are told
// -LOADING, and INFO shows the progress.
func (s *Saver) Loading(total int64) (progress func(loaded int64), done func()) {
	l := &s.loading
	s.opt.Engine.SetGate(engine.GateLoading, true)
	l.mu.Lock()
	l.active, l.start, l.total, l.loaded = true, time.Now(), total, 0
	l.mu.Unlock()
	progress = func(loaded int64) {
		l.mu.Lock()
		l.loaded = loaded
		l.mu.Unlock()
	}
	return progress, func() {
		l.mu.Lock()
		l.active = false
		l.mu.Unlock()
		debug.FreeOSMemory() // the buffers of the load, some megabytes
		s.opt.Engine.SetGate(engine.GateLoading, false)
	}
}

// Reload saves, empties the data set and loads it again (DEBUG RELOAD). With
// save unset the file is loaded as it is; with flush unset the keys stay, and
// a key that the file has too is an error.
func (s *Saver) Reload(save, flush bool) error {
	if save {
		if err := s.Save(); err != nil {
			return err
		}
	}
	e := s.opt.Engine
	if flush {
		e.Store.LockWorld()
		e.FlushLocked(-1, false)
		e.Store.UnlockWorld()
	}
	return s.Load(e.View().Replica, nil)
}
