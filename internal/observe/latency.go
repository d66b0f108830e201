package observe

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/skeindb/skein/internal/command"
)

// Samples kept of an event, as in redis-server.
const latencySamples = 160

type latencySample struct{ at, ms int64 } // at: Unix seconds

// latencyEvent is the history of one kind of event.
type latencyEvent struct {
	samples []latencySample // oldest first; at most latencySamples
	worst   int64
}

// Latency remembers when parts of the server took longer than
// latency-monitor-threshold.
type Latency struct {
	mu     sync.Mutex
	events map[string]*latencyEvent
}

// NewLatency returns an empty memory.
func NewLatency() *Latency { return &Latency{events: map[string]*latencyEvent{}} }

// Add notes that an event took ms milliseconds. Of one second only the worst
// sample is kept.
func (l *Latency) Add(event string, at, ms int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.events[event]
	if e == nil {
		e = &latencyEvent{}
		l.events[event] = e
	}
	e.worst = max(e.worst, ms)
	if n := len(e.samples); n > 0 && e.samples[n-1].at == at {
		e.samples[n-1].ms = max(e.samples[n-1].ms, ms)
		return
	}
	e.samples = append(e.samples, latencySample{at, ms})
	if len(e.samples) > latencySamples {
		e.samples = e.samples[1:]
	}
}

// Reset forgets the named events, or all, and returns how many.
func (l *Latency) Reset(events ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(events) == 0 {
		n = len(l.events)
		clear(l.events)
	}
	for _, name := range events {
		if l.events[name] != nil {
			delete(l.events, name)
			n++
		}
	}
	return n
}

// names returns the events in alphabetical order.
func (l *Latency) names() []string {
	var names []string
	for name := range l.events {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// history returns a copy of an event's samples.
func (l *Latency) history(event string) ([]latencySample, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.events[event]
	if e == nil {
		return nil, 0
	}
	return slices.Clone(e.samples), e.worst
}

func (ob *Observer) latencyLatest(c *command.Ctx) {
	l := ob.Latency
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Array(len(l.events))
	for _, name := range l.names() {
		e := l.events[name]
		last := e.samples[len(e.samples)-1]
		c.Array(4)
		c.BulkString(name)
		c.Int(last.at)
		c.Int(last.ms)
		c.Int(e.worst)
	}
}

func (ob *Observer) latencyHistory(c *command.Ctx) {
	samples, _ := ob.Latency.history(string(c.Arg(2)))
	c.Array(len(samples))
	for _, s := range samples {
		c.Array(2)
		c.Int(s.at)
		c.Int(s.ms)
	}
}

func (ob *Observer) latencyReset(c *command.Ctx) {
	var events []string
	for _, a := range c.Argv[2:] {
		events = append(events, string(a))
	}
	c.Int(int64(ob.Latency.Reset(events...)))
}

// latencyGraph draws the samples as columns, the newest on the right.
func (ob *Observer) latencyGraph(c *command.Ctx) {
	event := string(c.Arg(2))
	samples, worst := ob.Latency.history(event)
	if len(samples) == 0 {
		c.Error("ERR No samples available for event '" + event[:min(len(event), 128)] + "'")
		return
	}
	const rows = 4
	low, high := int64(math.MaxInt64), int64(0)
	for _, s := range samples {
		low, high = min(low, s.ms), max(high, s.ms)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s - high %d ms, low %d ms (all time high %d ms)\n", event, high, low, worst)
	b.WriteString(strings.Repeat("-", 80) + "\n")
	for row := rows - 1; row >= 0; row-- {
		for _, s := range samples {
			level := rows * 3 // in thirds of a row
			if high > 0 {
				level = int(s.ms * rows * 3 / high)
			}
			switch part := level - row*3; {
			case part >= 3:
				b.WriteByte('#')
			case part == 2:
				b.WriteByte('o')
			case part == 1 || row == 0:
				b.WriteByte('_')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	now := c.Now / 1000
	b.WriteByte('\n')
	first := samples[0].at
	fmt.Fprintf(&b, "from %s ago to %s ago\n", ago(now-first), ago(now-samples[len(samples)-1].at))
	c.Verbatim("txt", b.String())
}

func ago(seconds int64) string {
	switch {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%dm", seconds/60)
	case seconds < 86400:
		return fmt.Sprintf("%dh", seconds/3600)
	}
	return fmt.Sprintf("%dd", seconds/86400)
}

// latencyDoctor says in words what LATENCY LATEST says in numbers.
func (ob *Observer) latencyDoctor(c *command.Ctx) {
	limit := ob.o.Config.LatencyMonitorThreshold.Get()
	l := ob.Latency
	l.mu.Lock()
	names := l.names()
	l.mu.Unlock()
	var b strings.Builder
	switch {
	case limit == 0:
		b.WriteString("Latency monitoring is off. Switch it on with CONFIG SET latency-monitor-threshold <milliseconds>.\n")
	case len(names) == 0:
		fmt.Fprintf(&b, "Nothing took %d ms or longer since the monitor was last reset.\n", limit)
	}
	for i, name := range names {
		samples, worst := l.history(name)
		if len(samples) == 0 {
			continue
		}
		sum := int64(0)
		for _, s := range samples {
			sum += s.ms
		}
		avg := sum / int64(len(samples))
		dev := int64(0)
		for _, s := range samples {
			dev += max(s.ms-avg, avg-s.ms)
		}
		fmt.Fprintf(&b, "%d. %s: %d latency spikes (average %d ms, mean deviation %d ms, over %s). Worst all time event %d ms.\n",
			i+1, name, len(samples), avg, dev/int64(len(samples)), ago(c.Now/1000-samples[0].at), worst)
	}
	for _, name := range names {
		switch name {
		case "command", "fast-command":
			b.WriteString("- Look for slow commands with SLOWLOG GET; slots are locked while a command runs, so others of the same slots wait.\n")
		case "aof-fsync-always", "aof-write", "aof-fstat", "rdb-write":
			b.WriteString("- The disk is slow: look for other processes that write to it, or relax appendfsync.\n")
		case "expire-cycle":
			b.WriteString("- Many keys expire at the same moment: spread their times.\n")
		}
	}
	c.Verbatim("txt", b.String())
}

// latencyHistogram replies, per command, how many calls took at most so many
// microseconds.
func (ob *Observer) latencyHistogram(c *command.Ctx) {
	table, st := ob.o.Engine.Table, ob.o.Engine.Stats
	var specs []*command.Spec
	if len(c.Argv) == 2 {
		specs = table.All()
	}
	for _, name := range c.Argv[2:] {
		if s := table.ByName(string(name)); s != nil {
			specs = append(append(specs, s), s.Subs...)
		}
	}
	m, n := c.Defer(), 0
	for _, s := range specs {
		h := histogramOf(st.Command(s))
		if h.calls == 0 {
			continue
		}
		n++
		c.BulkString(s.Full)
		c.Map(2)
		c.BulkString("calls")
		c.Int(h.calls)
		c.BulkString("histogram_usec")
		inner, lines, sum := c.Defer(), 0, int64(0)
		for i, count := range h.counts {
			if count == 0 {
				continue
			}
			sum += count
			c.Int(bucketMicros(i))
			c.Int(sum)
			lines++
		}
		c.EndMap(inner, lines)
	}
	c.EndMap(m, n)
}

func latencyHelp(c *command.Ctx) {
	c.Help("DOCTOR",
		"    What the samples say, in words.",
		"GRAPH <event>",
		"    The samples of <event> as columns.",
		"HISTOGRAM [<command> ...]",
		"    How many calls of commands took at most so many microseconds.",
		"HISTORY <event>",
		"    The samples of <event>: time and milliseconds.",
		"LATEST",
		"    The last sample of each event: name, time, milliseconds, and the worst ever.",
		"RESET [<event> ...]",
		"    Forget the samples of some events, or of all.")
}
