// Package observe tells how a node is doing: INFO, SLOWLOG, LATENCY, MEMORY, and
// for machines and people /metrics and a status page. It changes nothing but its
// own records. What other parts know about themselves (replication, persistence,
// the bus, connections) it asks through the functions in Options.
//
// Read observe.go, info.go, sections.go, sampler.go, slowlog.go, latency.go,
// memory.go, usage.go, metrics.go, page.go, system.go. Methods may be called from any goroutine.
package observe

import (
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
)

// Options are the parts to look at. A nil function means that the part is not
// there; INFO then shows what redis-server shows for its absence.
type Options struct {
	Config *config.Config
	Engine *engine.Engine
	Heap   *mem.Heap
	RunID  string
	Build  string // of Skein, for mem_allocator and redis_build_id
	Commit string

	Net func() Net // connections

	// Sections written by their owners: lines "name:value\r\n".
	Persistence func() string
	Replication func() string
	Slots       func() string // of section Cluster

	// ClusterInfo is the text of CLUSTER INFO, for the metrics; nil in
	// standalone mode.
	ClusterInfo func() string

	Repl    func() Repl    // counters of replication for section Stats
	Buffers func() Buffers // memory outside the data
	Links   func() int     // bus connections

	Functions func() (libraries, functions int, bytes int64)
}

// Net are totals of client connections.
type Net struct {
	Connections                     int64 // now
	Accepted, Rejected              int64
	BytesIn, BytesOut, Reads, Sends int64
	Rings                           int   // io_uring instances in use
	RingCalls, RingMoves            int64 // their system calls, and the reads and sends in those
}

// Repl are totals of replication.
type Repl struct {
	Full, PartialOK, PartialErr int64
	BytesIn, BytesOut           int64
}

// Buffers is memory that holds no data of the keyspace.
type Buffers struct {
	Backlog, Replicas, AOF, Links int64
}

// Observer looks at one node.
type Observer struct {
	o        Options
	Slow     *SlowLog
	Latency  *Latency
	start    time.Time
	baseline int64 // used memory at the start
	peak     atomic.Int64
	sample   sampler
	netBase  atomic.Pointer[Net] // totals at the last CONFIG RESETSTAT
}

// New returns an observer. The engine may be set later, with Attach, since it
// wants Recorder at its birth.
func New(o Options) *Observer {
	ob := &Observer{o: o, start: time.Now(), Slow: NewSlowLog(), Latency: NewLatency()}
	ob.baseline = o.Heap.Used()
	ob.peak.Store(ob.baseline)
	ob.netBase.Store(&Net{})
	return ob
}

// Attach sets the engine; before the first command.
func (ob *Observer) Attach(e *engine.Engine) { ob.o.Engine = e }

// ResetStat zeroes what CONFIG RESETSTAT zeroes beside the engine's counters.
func (ob *Observer) ResetStat() {
	n := ob.rawNet()
	ob.netBase.Store(&n)
	ob.peak.Store(ob.o.Heap.Used())
	ob.sample.reset()
}

func (ob *Observer) rawNet() Net {
	if ob.o.Net == nil {
		return Net{}
	}
	return ob.o.Net()
}

// net returns the totals since the last CONFIG RESETSTAT.
func (ob *Observer) net() Net {
	n, base := ob.rawNet(), ob.netBase.Load()
	n.Accepted -= base.Accepted
	n.Rejected -= base.Rejected
	n.BytesIn -= base.BytesIn
	n.BytesOut -= base.BytesOut
	n.Reads -= base.Reads
	n.Sends -= base.Sends
	n.RingCalls -= base.RingCalls
	n.RingMoves -= base.RingMoves
	return n
}

func (ob *Observer) buffers() Buffers {
	if ob.o.Buffers == nil {
		return Buffers{}
	}
	return ob.o.Buffers()
}

func (ob *Observer) repl() Repl {
	if ob.o.Repl == nil {
		return Repl{}
	}
	return ob.o.Repl()
}
