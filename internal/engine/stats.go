package engine

import (
	"math"
	"math/bits"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/command"
)

// Stats are the counters of one server. Sessions count on their own (tally)
// and add up once per batch.
type Stats struct {
	Commands, Hits, Misses, Expired, Evicted atomic.Int64
	ErrorReplies                             atomic.Int64
	Connections, Rejected                    atomic.Int64
	ExpiredFields, ExpireCapped              atomic.Int64 // fields of hashes; cycles that ran out of time
	ExpireNanos                              atomic.Int64 // in the expiry cycle
	EvictedClients                           atomic.Int64
	stale                                    atomic.Uint64 // float64 bits: percent of keys with an expiry that a cycle finds expired
	overSince, overNanos                     atomic.Int64  // memory over its limit: since (Unix ns, 0: is not), and before that
	blocked                                  atomic.Int64
	PubSubMessages                           atomic.Int64

	specs  []*command.Spec
	perCmd []CommandStats

	mu     sync.Mutex
	errors map[string]int64 // by the first word of the reply
}

// overLimit notes that memory is over its limit, or no longer.
func (st *Stats) overLimit(now time.Time, over bool) {
	if over {
		st.overSince.CompareAndSwap(0, now.UnixNano())
	} else if since := st.overSince.Swap(0); since != 0 {
		st.overNanos.Add(now.UnixNano() - since)
	}
}

// OverLimit returns how long memory was over its limit, and how long it is now.
func (st *Stats) OverLimit() (total, current time.Duration) {
	if since := st.overSince.Load(); since != 0 {
		current = time.Duration(time.Now().UnixNano() - since)
	}
	return time.Duration(st.overNanos.Load()) + current, current
}

// noteStale takes the share of keys with an expiry that one cycle found expired
// into the running mean.
func (st *Stats) noteStale(percent float64) {
	st.stale.Store(math.Float64bits(st.StalePercent()*0.95 + percent*0.05))
}

// StalePercent is the estimate of how many of the keys with an expiry have expired
// and are still there, in percent.
func (st *Stats) StalePercent() float64 { return math.Float64frombits(st.stale.Load()) }

// CommandStats are the counters of one command.
type CommandStats struct {
	Calls, Micros, Nanos, Rejected, Failed atomic.Int64
	// Hist counts calls by duration: bucket i holds those under 2^i
	// microseconds (LATENCY HISTOGRAM, INFO latencystats).
	Hist [32]atomic.Int64
}

func newStats(t *command.Table) *Stats {
	return &Stats{specs: t.All(), perCmd: make([]CommandStats, len(t.All())), errors: map[string]int64{}}
}

// Command returns the counters of a command.
func (st *Stats) Command(s *command.Spec) *CommandStats { return &st.perCmd[s.ID] }

// Blocked returns the number of clients in blocking commands.
func (st *Stats) Blocked() int64 { return st.blocked.Load() }

// maxErrorKinds bounds the table of error counters, which clients can fill by
// scripts that raise errors of their own (Redis bounds it alike).
const maxErrorKinds = 128

func (st *Stats) reject(spec *command.Spec, text string) {
	if spec != nil {
		st.perCmd[spec.ID].Rejected.Add(1)
	}
	st.CountError(text)
}

// CountError counts an error reply by its first word; one of a single word has
// no code and counts as ERR.
func (st *Stats) CountError(text string) {
	st.ErrorReplies.Add(1)
	kind, _, code := strings.Cut(text, " ")
	if !code {
		kind = "ERR"
	}
	st.mu.Lock()
	if _, ok := st.errors[kind]; ok || len(st.errors) < maxErrorKinds {
		st.errors[kind]++
	}
	st.mu.Unlock()
}

// Errors calls visit for each kind of error reply, in alphabetical order.
func (st *Stats) Errors(visit func(kind string, n int64)) {
	st.mu.Lock()
	kinds := make([]string, 0, len(st.errors))
	for k := range st.errors {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	counts := make([]int64, len(kinds))
	for i, k := range kinds {
		counts[i] = st.errors[k]
	}
	st.mu.Unlock()
	for i, k := range kinds {
		visit(k, counts[i])
	}
}

// ResetStats zeroes the counters (CONFIG RESETSTAT).
func (e *Engine) ResetStats() {
	e.Stats.Reset()
	e.Store.ResetLazyfreed()
	e.ResetSlotUsage(func(int) bool { return true })
}

// Reset zeroes the counters of the server.
func (st *Stats) Reset() {
	for _, c := range []*atomic.Int64{&st.Commands, &st.Hits, &st.Misses, &st.Expired, &st.Evicted, &st.ErrorReplies,
		&st.Connections, &st.Rejected, &st.PubSubMessages, &st.ExpiredFields, &st.ExpireCapped, &st.ExpireNanos, &st.EvictedClients,
		&st.overSince, &st.overNanos} {
		c.Store(0)
	}
	for i := range st.perCmd {
		p := &st.perCmd[i]
		for _, c := range []*atomic.Int64{&p.Calls, &p.Micros, &p.Nanos, &p.Rejected, &p.Failed} {
			c.Store(0)
		}
		for j := range p.Hist {
			p.Hist[j].Store(0)
		}
	}
	st.stale.Store(0)
	st.mu.Lock()
	clear(st.errors)
	st.mu.Unlock()
}

// tally counts what a session did since it last added up.
type tally struct {
	spec                     *command.Spec // of the calls below
	calls, failed            int64
	nanos                    int64
	hist                     [32]int32
	commands, dirty, expired int64
	hits, misses             int64
	idle                     bool // the command was refused, or queued: it did not run
}

// measure notes a call of a command and how long it took, unless it did not run.
func (s *Session) measure(p *planned, d time.Duration) {
	if s.tally.idle {
		s.tally.idle = false
		return
	}
	s.measureCall(p.spec, p.argv, d)
}

// measureCall is measure for a command that has run, in a transaction too.
func (s *Session) measureCall(spec *command.Spec, argv [][]byte, d time.Duration) {
	t := &s.tally
	t.commands++
	if t.spec != spec {
		s.foldCommand()
		t.spec = spec
	}
	t.calls++
	if s.ctx.Failed {
		t.failed++
		s.e.Stats.CountError(s.ctx.ErrorText)
	}
	t.nanos += int64(d)
	b := bits.Len64(uint64(d) / 1000)
	t.hist[min(b, len(t.hist)-1)]++
	if thr := s.e.slowMicros(); thr >= 0 && int64(d) >= thr*1000 && spec.Flags&command.SkipSlowlog == 0 {
		s.e.slowlog.Add(s.ctx.Now, int64(d)/1000, redact(spec, argv), s.conn.RemoteAddr(), s.Name())
	}
}

func (e *Engine) slowMicros() int64 {
	if e.slowlog == nil {
		return -1
	}
	return e.slowlog.ThresholdMicros()
}

func (s *Session) foldCommand() {
	t := &s.tally
	if t.spec == nil {
		return
	}
	c := &s.e.Stats.perCmd[t.spec.ID]
	c.Calls.Add(t.calls)
	c.Nanos.Add(t.nanos)
	if t.failed != 0 {
		c.Failed.Add(t.failed)
	}
	for i, n := range t.hist {
		if n != 0 {
			c.Hist[i].Add(int64(n))
			t.hist[i] = 0
		}
	}
	t.spec, t.calls, t.failed, t.nanos = nil, 0, 0, 0
}

// foldTally adds the session's counts to the server's.
func (s *Session) foldTally() {
	if spec := s.tally.spec; spec != nil {
		s.lastCmd.Store(spec)
	}
	s.foldCommand()
	t, st, c := &s.tally, s.e.Stats, &s.ctx
	if t.commands != 0 {
		st.Commands.Add(t.commands)
	}
	if t.dirty != 0 {
		s.e.dirty.Add(t.dirty)
	}
	if t.expired != 0 {
		st.Expired.Add(t.expired)
	}
	if c.Hits != 0 {
		st.Hits.Add(c.Hits)
	}
	if c.Misses != 0 {
		st.Misses.Add(c.Misses)
	}
	t.commands, t.dirty, t.expired, c.Hits, c.Misses = 0, 0, 0, 0, 0
}
