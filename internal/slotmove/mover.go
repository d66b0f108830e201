package slotmove

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/skeindb/skein/internal/engine"
)

// Node is a member of the cluster as a migration needs it.
type Node struct {
	Host, Port string // for clients of the kind that nodes are
	Primary    bool
	Shard      string
}

// Cluster is what a Mover asks of the cluster. Answers are by the view that
// commands see from now on, but for Owners.
type Cluster interface {
	MyID() string
	Node(id string) (n Node, ok bool)
	// Owner returns the id of the owner of a slot, "" for none.
	Owner(slot int) string
	// Owners returns the different owners of slots, "" among them if one has none, by
	// a view that no command that runs is behind.
	Owners(slots *Slots) []string
	// Open tells whether a slot is being moved key by key, or keys that such a move
	// has left are kept here (importing) or may be elsewhere (migrating).
	Open(slot int) (importing, migrating bool)
	// Leave tells that slots of this node are about to be taken with their data.
	Leave(slots *Slots)
	// Take makes this node the owner of slots that from owned so far, durably;
	// when it returns the slots are served, which Owners may show later. After until
	// it fails. No slot locks are held. ErrUnsure: the node ends, and only its next start
	// will show whether the slots are its own.
	Take(slots *Slots, from string, until time.Time) error
}

// ErrUnsure is an error of Cluster.Take.
var ErrUnsure = errors.New("slotmove: the node ends while it takes slots")

// Tail reads the log of effects from a cut on (repl.Tail).
type Tail interface {
	Next(max int64) (p []byte, ok bool)
	Wake() <-chan struct{}
	Pos() int64 // offset behind what Next returned
	End() int64 // of the stream
	Lag() int64
	Close()
}

// Settings are asked for whenever they are needed.
type Settings struct {
	User, Password string        // by which nodes of the cluster let each other in
	Silence        time.Duration // repl-timeout
	NodeTimeout    time.Duration
	LogLen         int // cluster-slot-migration-log-max-len
}

// Options are what New needs.
type Options struct {
	Engine   *engine.Engine
	Slog     *slog.Logger
	Settings func() Settings
	Cluster  Cluster

	// Dial connects to the client port of another node.
	Dial func(ctx context.Context, host, port string) (net.Conn, error)
	// OpenTail makes a cut of the data, calls begin there, and returns a reader of
	// the effects that come after it.
	OpenTail func(begin func() error) (Tail, error)
	// AwaitReplicas returns when this node's replicas have all that is in the stream
	// now, or false when the time is over or ctx done.
	AwaitReplicas func(ctx context.Context, limit time.Duration) bool
	// Announce puts a command that belongs to no key into the stream to replicas.
	Announce func(cmd []byte)
}

// Mover is a node's part in slot migrations. Its methods may be called from any
// goroutine, without slot locks.
type Mover struct {
	o     Options
	start time.Time
	stats Stats

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex // a leaf
	closed  bool       // nothing is started any more
	exports []*exporter
	imports []*importer
	tracked map[string]*tracked
	leaving map[string]leaving
	past    []Job // over, the latest first
}

// tickEvery is the grain of time limits.
const tickEvery = 100 * time.Millisecond

// New returns a Mover without jobs; Start sets it going.
func New(o Options) *Mover {
	m := &Mover{o: o, start: time.Now(), tracked: map[string]*tracked{}, leaving: map[string]leaving{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// Start looks after the jobs until Close.
func (m *Mover) Start() {
	m.wg.Go(func() {
		t := time.NewTicker(tickEvery)
		defer t.Stop()
		for {
			select {
			case <-m.ctx.Done():
				return
			case <-t.C:
				m.tick()
			}
		}
	})
}

// Close gives up all jobs and waits for what was started.
func (m *Mover) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.stop()
	for _, x := range m.allExports() {
		x.step(Event{Kind: EvFail, Text: "Shutting down"})
	}
	for _, i := range m.allImports() {
		i.step(Event{Kind: EvFail, Text: "Shutting down"})
	}
	m.wg.Wait()
}

// spawn starts f in a goroutine that Close waits for, unless the node is stopping:
// what a migration has left is then found at the next start.
func (m *Mover) spawn(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.wg.Go(f)
	}
}

func (m *Mover) now() Times {
	t := time.Now()
	return Times{Mono: int64(t.Sub(m.start) / time.Millisecond), Wall: t.UnixMilli()}
}

func (m *Mover) limits() Limits {
	s := m.o.Settings()
	return limits(s.Silence.Milliseconds(), s.NodeTimeout.Milliseconds())
}

func (m *Mover) allExports() []*exporter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*exporter(nil), m.exports...)
}

func (m *Mover) allImports() []*importer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*importer(nil), m.imports...)
}

// tick looks at what no event tells: time, role, owners, flushed data.
func (m *Mover) tick() {
	replica := m.o.Engine.View().Replica
	for _, x := range m.allExports() {
		if replica {
			x.step(Event{Kind: EvFail, Text: "This node is no longer a primary"})
		}
		if n, ok := m.o.Cluster.Node(x.target()); !ok || !n.Primary {
			x.step(Event{Kind: EvFail, Text: "Target node is no longer a primary"})
		}
		x.lookAtOwner()
		x.step(Event{Kind: EvTick})
		x.announce()
	}
	for _, i := range m.allImports() {
		if replica {
			i.step(Event{Kind: EvFail, Text: "This node is no longer a primary"})
		}
		if i.flushes != m.o.Engine.Flushes() {
			i.step(Event{Kind: EvFail, Text: "The data set was flushed"})
		}
		i.step(Event{Kind: EvOwner, Owner: m.owner(&i.slots, i.source, m.o.Cluster.MyID())})
		i.step(Event{Kind: EvTick})
		i.announce()
	}
	m.tickTracked(replica)
	m.tickLeaving(replica)
}

// How often replicas are told again what is true; the second while writes are paused.
const (
	announceEvery       = 1000 // ms
	announceEveryPaused = forgetAfter / 2
)

// announceDue tells whether it is time to repeat what was said last at announced, and
// if so notes the time. A manual failover pauses the writes so that the log stands
// still until the replica has all of it: what is added then the new primary may never
// get, and the old one would need a full sync. So it is not, unless the pause is so
// long (CLIENT PAUSE) that the replicas would forget.
func (m *Mover) announceDue(announced *int64) bool {
	every := int64(announceEvery)
	if writes, _ := m.o.Engine.Paused(); writes {
		every = announceEveryPaused
	}
	now := m.now().Mono
	if now-*announced < every {
		return false
	}
	*announced = now
	return true
}

// owner tells who owns slots; they change hands together.
func (m *Mover) owner(slots *Slots, source, target string) Owner {
	c := m.o.Cluster
	shard := ""
	if n, ok := c.Node(target); ok {
		shard = n.Shard
	}
	owners := c.Owners(slots)
	if len(owners) != 1 {
		return OwnedByOther
	}
	switch id := owners[0]; {
	case id == source:
		return OwnedBySource
	case id == target:
		return OwnedByTarget
	default:
		if o, ok := c.Node(id); ok && shard != "" && o.Shard == shard { // it has failed over
			return OwnedByTarget
		}
	}
	return OwnedByOther
}

// keepLocked puts a job that is over into the log of at most limit; m.mu is held
// since it was taken from those that go on, so that it is always in one of the
// two. The caller then calls told, without m.mu.
func (m *Mover) keepLocked(j *Job, limit int) {
	m.past = append([]Job{*j}, m.past...)
	m.past = m.past[:min(len(m.past), limit)]
}

func (m *Mover) told(j *Job) {
	m.stats.ended(j.State)
	log := m.o.Slog.Info
	if j.State == Failed {
		log = m.o.Slog.Warn
	}
	log("Slot migration is over", "name", j.Name, "operation", j.operation(), "slots", j.Slots.String(), "state", j.State.String(), "message", j.Message)
}

func (j *Job) operation() string {
	if j.Import {
		return "IMPORT"
	}
	return "EXPORT"
}

// jobs are all jobs, those that go on first, of both the latest first.
func (m *Mover) jobs() (jobs []Job) {
	limit := m.o.Settings().LogLen
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := len(m.exports) - 1; n >= 0; n-- {
		jobs = append(jobs, m.exports[n].x.Job)
	}
	for n := len(m.imports) - 1; n >= 0; n-- {
		jobs = append(jobs, m.imports[n].i.Job)
	}
	for _, t := range m.tracked {
		jobs = append(jobs, t.Job)
	}
	return append(jobs, m.past[:min(len(m.past), limit)]...)
}

func newName() string {
	var b [idLen / 2]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
