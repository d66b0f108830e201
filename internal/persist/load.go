package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
)

// loadState is the progress of a load, for INFO and the log.
type loadState struct {
	mu      sync.Mutex
	active  bool
	start   time.Time
	total   int64 // bytes, 0: not known
	loaded  int64
	usedMem int64 // of the server that wrote the file, 0: not known
	logged  time.Time
	// Of the last RDB that was loaded.
	keys, expired int
	modules       int // pieces left out because only a module could read them
}

// logEvery spaces the log lines of a load.
const logEvery = 5 * time.Second

// Load fills the empty data set from the file, if there is one. While it runs
// clients are told -LOADING. keepExpired is set on a replica. done, if not nil,
// is told what the file said about the replication stream, nil if nothing, and
// how many expired keys were left out.
func (s *Saver) Load(keepExpired bool, done func(at *rdb.ReplInfo, expired int)) (err error) {
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
	progress := s.Loading(size)
	var st rdb.LoadStats
	defer func() {
		if err != nil {
			progress.Done(nil)
		} else {
			progress.Done(&st)
		}
	}()
	start := time.Now()
	st, err = rdb.Load(rdb.NewReader(f), e.Store, &rdb.LoadOptions{
		Limits: e.Env.Limits().Limits, NowMs: e.Now(), DropExpired: !keepExpired,
		SkipModules: s.opt.Config.SkipModules(), AnyVersion: s.opt.Config.AnyRDBVersion(),
		KeyDelay: s.opt.Config.LoadDelay, Function: s.opt.LoadFunction,
		Aux: func(name, value []byte) {
			if len(name) > 0 && name[0] == '%' {
				s.opt.Log.Info("RDB '" + string(name) + "': " + string(value))
			}
		},
		Between: func(st *rdb.LoadStats) error { return progress.At(st.Bytes, st) },
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
// -LOADING, and INFO and the log show the progress.
func (s *Saver) Loading(total int64) rdb.Progress {
	s.opt.Engine.SetGate(engine.GateLoading, true)
	p := s.Follow(total)
	return rdb.Progress{At: p.At, Done: func(st *rdb.LoadStats) {
		p.Done(st)
		s.opt.Engine.SetGate(engine.GateLoading, false)
	}}
}

// Follow is Loading for a load that sees to the clients itself.
func (s *Saver) Follow(total int64) rdb.Progress {
	l := &s.loading
	now := time.Now()
	l.mu.Lock()
	l.active, l.start, l.total, l.loaded, l.usedMem, l.logged = true, now, total, 0, 0, now
	l.mu.Unlock()
	return rdb.Progress{At: func(loaded int64, st *rdb.LoadStats) error {
		if s.opt.Ending != nil {
			if err := s.opt.Ending(); err != nil {
				return err
			}
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.loaded = loaded
		if st != nil {
			l.usedMem = st.Info.UsedMemory
		}
		if now := time.Now(); now.Sub(l.logged) >= logEvery {
			l.logged = now
			percent, eta := l.progress(now)
			line := fmt.Sprintf("Loading: %.0f%% done, about %d seconds to go", percent, eta)
			if st != nil {
				line += fmt.Sprintf(", %d keys so far", st.Keys)
			}
			s.opt.Log.Info(line)
		}
		return nil
	}, Done: func(st *rdb.LoadStats) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.active = false
		if st != nil {
			l.keys, l.expired, l.modules = st.Keys, st.Expired, st.Modules+st.ModuleAux
		}
	}}
}

// progress returns how much is loaded, in percent, and how many seconds it will
// still take. Where the size is not known the memory of the server that wrote the
// file stands for it, a poor guess. l.mu is held.
func (l *loadState) progress(now time.Time) (percent float64, eta int64) {
	total, most := l.total, 100.0
	if total <= 0 {
		total, most = l.usedMem, 99.99
	}
	if total <= 0 {
		return 0, 1
	}
	percent = min(float64(l.loaded)*100/float64(total), most)
	elapsed := now.Sub(l.start).Seconds()
	if elapsed < 1 || l.loaded == 0 {
		return percent, 1
	}
	return percent, max(int64(elapsed*float64(total-l.loaded)/float64(l.loaded)), 0)
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
	if s.opt.ClearFunctions != nil && (flush || save) { // those of the file take their place
		s.opt.ClearFunctions()
	}
	return s.Load(e.View().Replica, nil)
}
