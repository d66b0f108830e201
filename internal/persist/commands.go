package persist

import (
	"fmt"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/command"
)

// Specs are the commands about saving.
func (s *Saver) Specs() []*command.Spec {
	const f = command.Session | command.Admin | command.NoScript | command.NoAsyncLoading
	return []*command.Spec{
		{Name: "save", Group: command.Server, Since: "1.0.0", Arity: 1, Complexity: "O(N) with the keys", Summary: "Saves the data set and waits for it.",
			Flags: f | command.NoMulti, Run: s.saveRun},
		{Name: "bgsave", Group: command.Server, Since: "1.0.0", Arity: -1, Complexity: "O(1)", Summary: "Saves the data set in the background.",
			Syntax: "[SCHEDULE | CANCEL]", Flags: f, Run: s.bgsaveRun},
		{Name: "lastsave", Group: command.Server, Since: "1.0.0", Arity: 1, Complexity: "O(1)", Summary: "The time of the last good save.",
			Flags: command.Session | command.Loading | command.Stale | command.Fast, Categories: []string{"admin", "dangerous"},
			Tips: []string{"nondeterministic_output"}, Run: func(c *command.Ctx) { c.Int(s.lastSave.Load()) }},
	}
}

func (s *Saver) saveRun(c *command.Ctx) {
	if err := s.Save(); err == errBusy {
		c.Error("ERR " + err.Error())
	} else if err != nil {
		c.Error("ERR")
	} else {
		c.OK()
	}
}

func (s *Saver) bgsaveRun(c *command.Ctx) {
	schedule := false
	switch {
	case len(c.Argv) == 1:
	case len(c.Argv) == 2 && command.Word(c.Arg(1), "schedule"):
		schedule = true
	case len(c.Argv) == 2 && command.Word(c.Arg(1), "cancel"):
		s.mu.Lock()
		cancel, scheduled := s.cancel, s.scheduled
		s.scheduled = false
		s.mu.Unlock()
		switch {
		case cancel != nil:
			cancel()
			c.Simple("Background saving cancelled")
		case scheduled:
			c.Simple("Scheduled background saving cancelled")
		default:
			c.Error("ERR Background saving is currently not in progress or scheduled")
		}
		return
	default:
		c.Error(command.ErrSyntax)
		return
	}
	err := errRewriting
	if !s.busy() {
		err = s.background()
	}
	switch {
	case err == nil:
		c.Simple("Background saving started")
	case schedule && err == errRewriting:
		s.mu.Lock()
		s.scheduled = true
		s.mu.Unlock()
		c.Simple("Background saving scheduled")
	default:
		c.Error("ERR " + err.Error())
	}
}

// Info is the RDB part of INFO's section Persistence.
func (s *Saver) Info() string {
	var b strings.Builder
	line := func(name string, v any) { fmt.Fprintf(&b, "%s:%v\r\n", name, v) }
	flag := func(on bool) int {
		if on {
			return 1
		}
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loading.mu.Lock()
	defer s.loading.mu.Unlock()
	l := &s.loading
	line("loading", flag(l.active))
	line("async_loading", 0)
	line("current_cow_peak", 0)
	line("current_cow_size", 0)
	line("current_cow_size_age", 0)
	line("current_fork_perc", "0.00")
	done, total := int64(0), int64(0)
	if s.running {
		done, total = s.saved.Load(), s.toSave.Load()
	}
	line("current_save_keys_processed", done)
	line("current_save_keys_total", total)
	line("rdb_changes_since_last_save", s.opt.Engine.Dirty())
	line("rdb_bgsave_in_progress", flag(s.running))
	line("rdb_last_save_time", s.lastSave.Load())
	status := "ok"
	if s.failed {
		status = "err"
	}
	line("rdb_last_bgsave_status", status)
	took, current := int64(s.lastTook/time.Second), int64(-1)
	if s.running {
		current = int64(s.opt.Now().Sub(s.began) / time.Second)
	}
	line("rdb_last_bgsave_time_sec", took)
	line("rdb_current_bgsave_time_sec", current)
	line("rdb_saves", s.tries)
	line("rdb_last_cow_size", 0)
	line("rdb_last_load_keys_expired", l.expired)
	line("rdb_last_load_keys_loaded", l.keys)
	line("rdb_last_load_module_data_skipped", l.modules)
	if l.active {
		percent, eta := l.progress(time.Now())
		line("loading_start_time", l.start.Unix())
		line("loading_total_bytes", l.total)
		line("loading_rdb_used_mem", l.usedMem)
		line("loading_loaded_bytes", l.loaded)
		line("loading_loaded_perc", fmt.Sprintf("%.2f", percent))
		line("loading_eta_seconds", eta)
	}
	return b.String()
}
