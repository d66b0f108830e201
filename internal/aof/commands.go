package aof

import (
	"fmt"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/command"
)

// Specs are the commands about the log.
func (a *AOF) Specs() []*command.Spec {
	return []*command.Spec{{Name: "bgrewriteaof", Group: command.Server, Since: "1.0.0", Arity: 1, Complexity: "O(1)",
		Summary: "Rewrites the append-only file in the background.",
		Flags:   command.Session | command.Admin | command.NoScript | command.NoAsyncLoading, Run: a.bgrewrite}}
}

func (a *AOF) bgrewrite(c *command.Ctx) {
	saving := a.o.Saving()
	a.mu.Lock()
	defer a.mu.Unlock()
	ctl := &a.ctl
	switch {
	case ctl.running || ctl.due():
		c.Error("ERR Background append only file rewriting already in progress")
	case saving:
		ctl.scheduled = true
		c.Simple("Background append only file rewriting scheduled")
	default:
		ctl.wanted, ctl.next = true, time.Time{}
		a.kick(a.kickCtl)
		c.Simple("Background append only file rewriting started")
	}
}

// Rewriting reports whether a rewrite is being made or about to be.
func (a *AOF) Rewriting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ctl.running || a.ctl.due()
}

// Info is the part of INFO's section Persistence that is about the log.
func (a *AOF) Info() string {
	var b strings.Builder
	line := func(name string, v any) { fmt.Fprintf(&b, "%s:%v\r\n", name, v) }
	flag := func(on bool) int {
		if on {
			return 1
		}
		return 0
	}
	status := func(bad bool) string {
		if bad {
			return "err"
		}
		return "ok"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &a.ctl
	rewriting := c.running || c.due()
	took, current := int64(-1), int64(-1)
	if c.lastTook >= 0 {
		took = int64(c.lastTook / time.Second)
	}
	if c.running {
		current = int64(time.Since(c.began) / time.Second)
	}
	line("aof_enabled", flag(a.Enabled()))
	line("aof_rewrite_in_progress", flag(rewriting))
	line("aof_rewrite_scheduled", flag(c.scheduled || c.wanted && !rewriting))
	line("aof_last_rewrite_time_sec", took)
	line("aof_current_rewrite_time_sec", current)
	line("aof_last_bgrewrite_status", status(c.lastFailed))
	line("aof_rewrites", c.rewrites)
	line("aof_rewrites_consecutive_failures", c.failures)
	line("aof_last_write_status", status(a.err != nil))
	line("aof_last_cow_size", 0)
	line("module_fork_in_progress", 0)
	line("module_fork_last_cow_size", 0)
	if a.Enabled() {
		line("aof_current_size", a.sizes.others+a.sizes.incr)
		line("aof_base_size", a.sizes.atBase)
		line("aof_pending_rewrite", 0)
		line("aof_buffer_length", len(a.buf)+a.outLen)
		line("aof_pending_bio_fsync", flag(a.syncFrom.Load() != 0))
		line("aof_delayed_fsync", a.sizes.delayed)
	}
	return b.String()
}
