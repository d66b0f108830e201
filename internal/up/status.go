package up

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

// Time between two status lines, on a terminal and elsewhere.
const (
	liveEvery = time.Second
	lineEvery = 5 * time.Second
)

// watch shows the state of the cluster until ctx ends.
func (c *Cluster) watch(ctx context.Context) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	seen := make([]sample, len(c.nodes))
	for i, n := range c.nodes {
		seen[i].take(c, n)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.out.status(c.status(seen))
		}
	}
}

// sample is what one node said of itself.
type sample struct {
	at       time.Time
	starts   int
	up       bool
	ok       bool // cluster_state
	slots    int  // covered, as this node sees it
	primary  bool
	commands int64 // processed since it started
	rate     float64
}

// Commands that one sample costs; they are not the user's.
const sampleCommands = 2

// take replaces s by what n says now.
func (s *sample) take(c *Cluster, n *node) {
	old := *s
	_, starts := n.process()
	*s = sample{at: time.Now(), starts: starts}
	cluster, err := c.do(n, "CLUSTER", "INFO")
	if err != nil {
		return
	}
	info, err := c.do(n, "INFO")
	if err != nil {
		return
	}
	s.up = true
	f := fields(cluster)
	s.ok = f["cluster_state"] == "ok"
	s.slots, _ = strconv.Atoi(f["cluster_slots_ok"])
	f = fields(info)
	s.primary = f["role"] == "master"
	s.commands, _ = strconv.ParseInt(f["total_commands_processed"], 10, 64)
	if dt := s.at.Sub(old.at).Seconds(); old.up && old.starts == s.starts && dt > 0 {
		s.rate = max(0, float64(s.commands-old.commands-sampleCommands)/dt)
	}
}

// status is the line: the cluster is fine if all nodes that answer say so.
func (c *Cluster) status(seen []sample) string {
	ok, up, primaries, covered, rate := true, 0, 0, slots, 0.0
	for i, n := range c.nodes {
		s := &seen[i]
		s.take(c, n)
		if !s.up {
			continue
		}
		up++
		ok = ok && s.ok
		covered = min(covered, s.slots)
		rate += s.rate
		if s.primary {
			primaries++
		}
	}
	state := "ok"
	if !ok {
		state = "fail"
	}
	if up == 0 {
		state, covered = "down", 0
	}
	return fmt.Sprintf("state %s | slots %d/%d | %d/%d nodes up, %d primaries | %.0f ops/s", state, covered, slots, up, len(c.nodes), primaries, rate)
}

// console prints lines, and on a terminal keeps one line below them that is
// written over and over. Any goroutine may use it.
type console struct {
	mu   sync.Mutex
	w    io.Writer
	tty  bool
	live string
}

func newConsole(w io.Writer) *console {
	c := &console{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		c.tty = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return c
}

// println prints one line above the live one.
func (c *console) println(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf(format, args...) + "\n"
	if c.live != "" {
		text = "\r\x1b[K" + text + c.live
	}
	io.WriteString(c.w, text)
}

// still ends the live line, if there is one.
func (c *console) still() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != "" {
		io.WriteString(c.w, "\n")
		c.live = ""
	}
}

// status replaces the live line; where there is none, it is a line like others.
func (c *console) status(line string) {
	if !c.tty {
		c.println("%s", line)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = line
	io.WriteString(c.w, "\r\x1b[K"+line)
}
