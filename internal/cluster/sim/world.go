// Package sim runs a whole cluster of real cluster.Machines in one virtual world
// and watches it misbehave. Time is an event queue, the network moves the bytes
// of the real bus codec, disks hold the real nodes.conf text, and everything
// that happens follows from one seed: the same seed is the same history, event
// by event, which the trace hash proves.
//
// A run has three parts: a cluster is set up, faults strike for a while, then
// everything is healed. Safety invariants are checked after every step of every
// machine, agreement of all nodes within a bounded time after healing.
//
// Read world.go (queue and run), node.go (the driver of one machine: clock,
// disk, replication), net.go (connections), faults.go, check.go (invariants),
// main.go (the command). No sockets, no real time, no goroutine but main.go's
// workers; each World belongs to one goroutine.
package sim

import (
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/skeindb/skein/internal/cluster"
)

// Options describe the worlds of a campaign. A seed fills in the rest.
type Options struct {
	Nodes  int
	Faults []string // names of faults that may strike; nil = DefaultFaults
	// FaultTime is how long faults strike, 0 = chosen by the seed.
	FaultTime cluster.Millis
	// Refused sets cluster-crash-detection refused in all worlds, not in a third.
	Refused  bool
	Trace    io.Writer // what happened, a line an event; nil = none
	Messages bool      // trace every message too
	Bytes    bool      // every message goes through its bytes, not one in some: slower, else the same

	newMemory bool // for a test: nothing that machines hand out is written over
}

// Result is what one world came to.
type Result struct {
	Seed      uint64
	Err       error          // nil: no invariant violated, the cluster healed
	Hash      uint64         // of the whole history
	Virtual   cluster.Millis // time passed in the world
	HealTime  cluster.Millis // from the end of the faults to agreement
	Steps     int
	Messages  int
	Elections int // won
	Crashes   int
}

// Virtual times are microseconds since the world began.
const (
	us     = int64(1)
	ms     = 1000 * us
	second = 1000 * ms
)

// World is one simulated cluster.
type World struct {
	opt   Options
	seed  uint64
	rnd   *rand.Rand
	cfg   cluster.Settings
	now   int64
	seq   uint64
	queue []event // a heap, see push
	nodes []*node
	byIP  map[string]*node
	ids   ids
	sets  claims // what was last read from a nodes.conf

	net     network
	faults  faults
	checker checker
	decoder cluster.Decoder
	message cluster.Message // the one being received
	frames  []*frame        // free list
	pool    cluster.Pool

	err  error
	hash uint64
	res  Result
}

// event is one entry of the queue. What the fields mean depends on kind.
type event struct {
	at     int64
	seq    uint64 // events of one time happen in the order of their making
	kind   eventKind
	side   uint8
	boot   uint32
	number uint32 // evFrame, evFin: place in the stream
	sent   int64
	node   *node
	conn   *conn
	frame  *frame
	fn     func()
}

type eventKind uint8

const (
	evTick    eventKind = iota // node, boot
	evFrame                    // frame arrives from conn's side
	evFin                      // conn's side was closed
	evConnect                  // conn tries to connect
	evAccept                   // node, conn: an accepted connection
	evUp                       // node, conn: a dialled connection stands
	evNode                     // fn runs in the process of node, unless it ended
	evWorld                    // fn
)

// Run builds the world of a seed and lives it to its end.
func Run(seed uint64, opt Options) Result { return new(runner).run(seed, opt) }

// A runner lives worlds one after the other, each in memory of the one before.
type runner struct {
	pool   cluster.Pool
	frames []*frame
	queue  []event
}

func (r *runner) run(seed uint64, opt Options) Result {
	w := newWorld(seed, opt)
	w.pool, w.frames, w.queue = r.pool, r.frames, r.queue
	w.live()
	for i := range w.queue {
		w.release(w.queue[i].frame)
	}
	clear(w.queue)
	for _, n := range w.nodes {
		n.disk.empty()
	}
	r.pool, r.frames, r.queue = w.pool, w.frames, w.queue[:0]
	w.res.Err, w.res.Hash, w.res.Virtual = w.err, w.hash, cluster.Millis(w.now/ms)
	return w.res
}

// defaultSettings makes the settings those of a new server, but for the node timeout.
func (w *World) defaultSettings(timeout cluster.Millis) {
	w.cfg = cluster.DefaultSettings()
	if !w.opt.newMemory {
		w.cfg.Pool = &w.pool
	}
	w.cfg.NoEvents = w.opt.Trace == nil
	w.cfg.NodeTimeout = timeout
	w.cfg.Ports = cluster.Addr{Port: clientPort, BusPort: busPort}
}

func newWorld(seed uint64, opt Options) *World {
	w := &World{
		opt: opt, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0x736b65696e)),
		byIP: map[string]*node{}, hash: 14695981039346656037,
	}
	w.res.Seed = seed
	w.defaultSettings(cluster.Millis(1500 + w.rnd.IntN(3500)))
	w.cfg.RequireFullCoverage = !w.chance(6)
	w.cfg.AllowReplicaMigration = !w.chance(6)
	w.cfg.SlotlessFailover = !w.chance(6)
	w.cfg.VoteSpacing = w.chance(6)
	w.cfg.LightMessages = !w.chance(6)
	w.cfg.BlacklistTTL = 2 * w.cfg.NodeTimeout
	if w.chance(6) {
		w.cfg.ReplicaValidityFactor = int64(w.rnd.IntN(2))
	}
	if w.chance(3) || opt.Refused {
		w.cfg.CrashDetection = true
		w.cfg.RefusedPeriod = cluster.Millis(w.rnd.IntN(600))
	}
	switch w.rnd.IntN(4) {
	case 0:
		w.cfg.SetElectionDelay(cluster.ScaledElectionDelay(w.cfg.NodeTimeout))
	case 1:
		w.cfg.SetElectionDelay(100)
	}
	for i := range opt.Nodes {
		n := &node{w: w, i: i, ip: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), hostUp: true}
		n.disk.pool = &w.pool
		if opt.Nodes <= 300 {
			n.disk.many = 3
		}
		w.nodes = append(w.nodes, n)
		w.byIP[n.ip] = n
	}
	w.net.init(w)
	w.checker.init(w)
	return w
}

// live sets up a cluster, lets faults strike, heals, waits for agreement.
func (w *World) live() {
	T := int64(w.cfg.NodeTimeout) * ms
	if w.seed%8 == 0 {
		w.createByCommands()
	} else {
		w.createFromFiles()
	}
	w.runUntil(w.now+30*second+20*T, w.checker.agreed)
	if w.err == nil && w.checker.agreed() != nil {
		w.fail(nil, "setup", "no agreement before any fault: %v", w.checker.agreed())
	}
	if w.err != nil {
		return
	}
	struck := 10 * T
	if w.opt.FaultTime > 0 {
		struck = int64(w.opt.FaultTime) * ms
	}
	w.tracef(nil, "cluster agrees, faults begin, T=%d ms", w.cfg.NodeTimeout)
	w.faults.begin(w, w.now+struck)
	w.runUntil(w.now+struck, nil)
	if w.err != nil {
		return
	}
	w.tracef(nil, "healing")
	healed := w.now
	w.faults.heal(w)
	// FAIL is undone 2T after it was set, elections are tried again after 4T,
	// several shards may queue up for them; what is over this is stuck.
	w.runUntil(w.now+60*second+40*T, w.agreedOrRepaired)
	w.res.HealTime = cluster.Millis((w.now - healed) / ms)
	if w.err == nil {
		if err := w.checker.agreed(); err != nil {
			w.fail(nil, "18", "no agreement %d ms after healing: %v", w.res.HealTime, err)
		}
	}
	for _, n := range w.nodes {
		if w.err == nil {
			w.checker.whole(n)
		}
	}
}

// runUntil lets time pass to end, less if until, asked once a second, returns
// nil earlier.
func (w *World) runUntil(end int64, until func() error) {
	ask := w.now + second
	for w.err == nil && len(w.queue) > 0 {
		at := w.queue[0].at
		if until != nil && at >= ask {
			ask += second
			if until() == nil {
				return
			}
		}
		if at > end {
			w.now = end
			return
		}
		w.handle(w.pop())
	}
}

func (w *World) handle(e event) {
	w.now = e.at
	switch e.kind {
	case evWorld:
		e.fn()
	case evConnect:
		w.net.connect(e.conn)
	case evFrame, evFin:
		w.net.arrive(e)
	default:
		if e.node.boot == e.boot && e.node.up {
			e.node.take(e)
		}
	}
}

// after queues fn.
func (w *World) after(d int64, fn func()) { w.push(event{at: w.now + d, kind: evWorld, fn: fn}) }

// The queue is a heap of four children a node, by value: half the depth of a
// binary one and no allocation.
func (w *World) push(e event) {
	w.seq++
	e.seq = w.seq
	q := append(w.queue, e)
	i := len(q) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !before(&e, &q[up]) {
			break
		}
		q[i] = q[up]
		i = up
	}
	q[i] = e
	w.queue = q
}

func (w *World) pop() event {
	q := w.queue
	top := q[0]
	last := q[len(q)-1]
	q[len(q)-1] = event{}
	q = q[:len(q)-1]
	i := 0
	for n := len(q); ; {
		least, first := -1, 4*i+1
		for c := first; c < min(first+4, n); c++ {
			if least < 0 || before(&q[c], &q[least]) {
				least = c
			}
		}
		if least < 0 || !before(&q[least], &last) {
			break
		}
		q[i] = q[least]
		i = least
	}
	if len(q) > 0 {
		q[i] = last
	}
	w.queue = q
	return top
}

func before(a, b *event) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// fail ends the world: an invariant does not hold. n may be nil.
func (w *World) fail(n *node, rule, format string, args ...any) {
	if w.err != nil {
		return
	}
	who := ""
	if n != nil {
		who = fmt.Sprintf(" at node %d", n.i)
	}
	w.err = fmt.Errorf("invariant %s broken%s, %d.%03d s: %s", rule, who, w.now/second, w.now/ms%1000, fmt.Sprintf(format, args...))
	w.tracef(n, "%v", w.err)
}

func (w *World) tracef(n *node, format string, args ...any) {
	if w.opt.Trace == nil {
		return
	}
	who := "world"
	if n != nil {
		who = fmt.Sprintf("n%d", n.i)
	}
	fmt.Fprintf(w.opt.Trace, "%9.3f %-5s %s\n", float64(w.now)/float64(second), who, fmt.Sprintf(format, args...))
}

// mix adds facts to the trace hash (FNV-1a, a word at a time).
func (w *World) mix(facts ...uint64) {
	for _, f := range facts {
		w.hash = (w.hash ^ f) * 1099511628211
		w.hash ^= w.hash >> 29
	}
}

// between draws from [lo, hi).
func (w *World) between(lo, hi int64) int64 { return lo + w.rnd.Int64N(max(hi-lo, 1)) }

// chance is true once in n times.
func (w *World) chance(n int) bool { return w.rnd.IntN(n) == 0 }
