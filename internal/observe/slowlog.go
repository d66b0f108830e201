package observe

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
)

// Of a slow command are kept at most so many arguments, of each so many bytes.
const (
	slowArgs  = 32
	slowBytes = 128
)

// slowEntry is one command of the slow log.
type slowEntry struct {
	id, at, micros int64 // at: Unix seconds
	args           []string
	addr, name     string
}

// SlowLog keeps the last commands that took long.
type SlowLog struct {
	mu      sync.Mutex
	nextID  int64
	entries []slowEntry // oldest first
}

// NewSlowLog returns an empty log.
func NewSlowLog() *SlowLog { return &SlowLog{} }

// Add notes a command; argv is borrowed. The log keeps at most keep entries.
func (l *SlowLog) Add(nowMs, micros int64, argv [][]byte, addr, name string, keep int) {
	e := slowEntry{at: nowMs / 1000, micros: micros, args: shorten(argv), addr: addr, name: name}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.id = l.nextID
	l.nextID++
	l.entries = append(l.entries, e)
	l.trim(keep)
}

func (l *SlowLog) trim(keep int) {
	if over := len(l.entries) - max(keep, 0); over > 0 {
		l.entries = append(l.entries[:0], l.entries[over:]...)
	}
}

// Trim drops the oldest entries beyond keep (slowlog-max-len).
func (l *SlowLog) Trim(keep int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trim(keep)
}

// Reset drops all entries; ids go on.
func (l *SlowLog) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
}

// Len returns the number of entries.
func (l *SlowLog) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// last returns up to n entries, newest first.
func (l *SlowLog) last(n int) []slowEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = min(n, len(l.entries))
	out := make([]slowEntry, n)
	for i := range out {
		out[i] = l.entries[len(l.entries)-1-i]
	}
	return out
}

// shorten copies the arguments worth keeping. Secrets are left out.
func shorten(argv [][]byte) []string {
	n := min(len(argv), slowArgs)
	out := make([]string, n)
	for i := range out {
		switch a := argv[i]; {
		case i == slowArgs-1 && len(argv) > slowArgs:
			out[i] = fmt.Sprintf("... (%d more arguments)", len(argv)-slowArgs+1)
		case secret(argv, i):
			out[i] = "(redacted)"
		case len(a) > slowBytes:
			out[i] = fmt.Sprintf("%s... (%d more bytes)", a[:slowBytes], len(a)-slowBytes)
		default:
			out[i] = string(a)
		}
	}
	return out
}

// secret reports whether argument i may be a password.
func secret(argv [][]byte, i int) bool {
	if i == 0 {
		return false
	}
	switch name := argv[0]; {
	case command.Word(name, "auth"):
		return true
	case command.Word(name, "hello"):
		for j := 2; j < i; j++ {
			if command.Word(argv[j], "auth") && i <= j+2 {
				return true
			}
		}
	case command.Word(name, "config") && i > 2 && command.Word(argv[1], "set"):
		return i%2 == 1 && sensitiveDirective(string(argv[i-1]))
	case command.Word(name, "acl") && i > 1:
		return command.Word(argv[1], "setuser")
	case command.Word(name, "migrate"):
		return command.Word(argv[i-1], "auth") || i > 2 && command.Word(argv[i-2], "auth2") || command.Word(argv[i-1], "auth2")
	}
	return false
}

// sensitiveDirective reports whether a directive is a secret.
func sensitiveDirective(name string) bool {
	switch strings.ToLower(name) {
	case "requirepass", "masterauth", "primaryauth", "masteruser", "primaryuser", "tls-key-file-pass", "tls-client-key-file-pass":
		return true
	}
	return false
}

// Recorder takes the commands that were slow: for the slow log, for LATENCY, or
// both. It implements engine.SlowLog.
type Recorder struct {
	Config  *config.Config
	Slow    *SlowLog
	Latency *Latency
	Table   func() *command.Table
}

// ThresholdMicros is the lower of the two thresholds, negative if both are off.
func (r *Recorder) ThresholdMicros() int64 {
	slow, event := r.Config.SlowlogLogSlowerThan.Get(), r.Config.LatencyMonitorThreshold.Get()
	if event <= 0 {
		return slow
	}
	if event = min(event, math.MaxInt64/1000) * 1000; slow < 0 || event < slow {
		return event
	}
	return slow
}

// Add takes a command that reached the threshold; argv is borrowed.
func (r *Recorder) Add(nowMs, micros int64, argv [][]byte, addr, name string) {
	if limit := r.Config.SlowlogLogSlowerThan.Get(); limit >= 0 && micros >= limit {
		if keep := int(r.Config.SlowlogMaxLen.Get()); keep > 0 {
			r.Slow.Add(nowMs, micros, argv, addr, name, keep)
		}
	}
	event := "command"
	if s := r.Table().Lookup(argv); s != nil && s.Flags&command.Fast != 0 {
		event = "fast-command"
	}
	r.Event(event, time.Duration(micros)*time.Microsecond)
}

// Event notes that something of the server took long, if it did
// (latency-monitor-threshold).
func (r *Recorder) Event(event string, took time.Duration) {
	if limit := r.Config.LatencyMonitorThreshold.Get(); limit > 0 && took.Milliseconds() >= limit {
		r.Latency.Add(event, time.Now().Unix(), took.Milliseconds())
	}
}

// Recorder returns the receiver of slow commands, for engine.Options.
func (ob *Observer) Recorder() *Recorder {
	return &Recorder{ob.o.Config, ob.Slow, ob.Latency, func() *command.Table { return ob.o.Engine.Table }}
}

func (ob *Observer) slowlogGet(c *command.Ctx) {
	n := int64(10)
	if len(c.Argv) > 3 {
		c.SubSyntax()
		return
	}
	if len(c.Argv) > 2 {
		var ok bool
		if n, ok = command.ParseInt(c.Arg(2)); !ok || n < -1 {
			c.Error("ERR count should be greater than or equal to -1")
			return
		}
		if n == -1 {
			n = math.MaxInt32
		}
	}
	entries := ob.Slow.last(int(min(n, math.MaxInt32)))
	c.Array(len(entries))
	for i := range entries {
		e := &entries[i]
		c.Array(6)
		c.Int(e.id)
		c.Int(e.at)
		c.Int(e.micros)
		c.Array(len(e.args))
		for _, a := range e.args {
			c.BulkString(a)
		}
		c.BulkString(e.addr)
		c.BulkString(e.name)
	}
}

func slowlogHelp(c *command.Ctx) {
	c.Help("GET [<count>]",
		"    The last slow commands, newest first (default: 10, -1: all). Of each: id, time,",
		"    microseconds, arguments, address and name of the client.",
		"LEN",
		"    The number of commands in the slow log.",
		"RESET",
		"    Empty the slow log.")
}
