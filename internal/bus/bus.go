// Package bus drives the cluster protocol (package cluster) on real sockets, a
// real file and the real clock, and carries out what it decides: views for the
// engine, replication, pauses, deleted keys. The CLUSTER commands and the
// redirects of clients are here too.
//
// Every rule of the protocol is in cluster; none is here.
//
// Read bus.go, driver.go (the loop), link.go (connections), apply.go (views), carry.go (effects), pause.go,
// route.go (redirects), standback.go (a primary that lost data), divided.go (slots
// at two nodes), talk.go (asking nodes as a client), then the CLUSTER commands:
// commands.go, nodes.go, setslot.go, slotstats.go, take.go.
//
// # Goroutines
//
// One goroutine, the driver, owns the Machine and nodes.conf; everything reaches
// it through one channel. It never waits for a slot lock or for a peer: views
// and effects go to the applier, whose goroutines show them to commands, carry them
// out in order and report back; each link has a reader and a writer of its own.
package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
)

// Replication is what the bus asks of the replication layer.
type Replication interface {
	// Follow makes this node replicate from host and port. With full the own
	// history must not be continued.
	Follow(host string, port int, full bool)
	// Promote ends replication and keeps the data.
	Promote()
	// Offset is the node's replication offset: as a primary that of its log, as
	// a replica that of the last byte applied.
	Offset() int64
	// Link tells whether the link to the primary stands and its first sync is
	// done, and the time since the last byte came, or since the link went down;
	// negative if it never stood.
	Link() (up bool, age time.Duration)
	// Complete reports whether the data is a complete state of what is replicated;
	// Distrust says that it is not, until the primary has been heard.
	Complete() bool
	Distrust()
	// SlotReplicas counts the online replicas that execute CLUSTER SETSLOT from
	// the stream. Confirm appends cmd to the stream and parks the session that
	// runs until n of them have it or the time is over (0: never), then calls
	// done; late reports whether a snapshot may have missed what cmd does. Append
	// appends it once more.
	SlotReplicas() int
	Confirm(s *engine.Session, cmd []byte, n int, timeoutMs int64, done func(ok bool, late func() bool))
	Append(cmd []byte)
}

// Options are what a Bus needs.
type Options struct {
	Engine *engine.Engine
	Repl   Replication
	Log    *slog.Logger
	FS     disk.FS
	Path   string // of nodes.conf

	// Settings returns the machine's settings as configured now; the bus fills
	// in Keys.
	Settings func() cluster.Settings
	Bind     []string // addresses to listen on, as the bind directive
	Port     int      // bus port to listen on
	// TLS returns what the next connection of the bus is encrypted with, accepted
	// or dialled; nil means not at all. TLS itself may be nil.
	TLS        func() (accept, dial *tls.Config)
	SourceAddr func() string // bind-source-addr
	SendLimit  func() int64  // cluster-link-sendbuf-limit, 0: none
	Router     func() RouterSettings
	Fatal      func(error) // nodes.conf cannot be written: the process must end

	// DialNode connects to the client port of a node, NodeAuth returns user and
	// password for it, as replication does (StandBack).
	DialNode func(ctx context.Context, a cluster.Addr) (net.Conn, error)
	NodeAuth func() (user, password string)
}

// Bus is one node's part in the cluster.
type Bus struct {
	opt   Options
	m     *cluster.Machine // the driver only
	lock  *disk.Lock
	start time.Time
	fresh bool // the node began with this process

	events  chan event
	quit    chan struct{}
	dead    chan struct{} // closed when the driver has ended, of itself if nodes.conf cannot be written
	wg      sync.WaitGroup
	pause   writePause
	view    atomic.Pointer[cluster.View]
	applied atomic.Pointer[cluster.View] // what commands see
	links   linkTable
	apply   applier
	lns     []net.Listener

	inbound      atomic.Uint64
	followed     atomic.Uint64                // ID of the last cluster.Follow carried out
	shown        atomic.Pointer[cluster.View] // what the engine routes by
	inForce      atomic.Pointer[cluster.View] // ... and every command that runs
	lastTick     atomic.Int64                 // lease of the last tick, in the engine's time
	running      atomic.Bool                  // the driver takes events
	limitHits    atomic.Int64                 // links closed over the send limit
	pubSent      [cluster.TypeCount]atomic.Uint64
	pubReceived  [cluster.TypeCount]atomic.Uint64
	dropFilter   atomic.Int32 // DEBUG DROP-CLUSTER-PACKET-FILTER
	dropClose    atomic.Bool
	noRandomPing atomic.Bool  // DEBUG DISABLE-CLUSTER-RANDOM-PING
	stalled      sync.RWMutex // held for writing while DEBUG SLEEP stalls the node
}

// ErrInUse says that another process uses the same nodes.conf.
var ErrInUse = errors.New("already used by a different Redis Cluster node. Please make sure that different nodes use different cluster configuration files.")

// ErrCorrupt says that nodes.conf cannot be read; the log says why.
var ErrCorrupt = errors.New("Unrecoverable error: corrupted cluster config file.")

// ErrPort says that the bus port would be too high.
var ErrPort = errors.New("Redis port number too high. Cluster communication port is 10,000 port numbers higher than your Redis port. Your Redis port number must be 55535 or less.")

// New loads nodes.conf, or makes a new identity, and publishes the first view.
// Nothing is listening yet.
func New(o Options) (*Bus, error) {
	b := &Bus{opt: o, start: time.Now(), events: make(chan event, eventQueue), quit: make(chan struct{}), dead: make(chan struct{})}
	b.links.init()
	b.dropFilter.Store(-1)
	b.apply.init(b)
	lock, err := disk.LockFile(o.Path)
	if errors.Is(err, disk.ErrLocked) {
		return nil, fmt.Errorf("Sorry, the cluster configuration file %s is %w", filepath.Base(o.Path), ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	b.lock = lock
	text, err := disk.ReadFile(o.FS, o.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		lock.Unlock()
		return nil, fmt.Errorf("bus: %w", err)
	}
	b.fresh = len(text) == 0
	set := b.settings()
	boot, skipped, err := cluster.ParseNodesConf(text, set.TLSCluster)
	if err != nil {
		lock.Unlock()
		o.Log.Warn("The cluster configuration cannot be read", "file", o.Path, "err", err)
		return nil, ErrCorrupt
	}
	for _, name := range skipped {
		o.Log.Warn("Skipping unknown cluster config variable", "name", name)
	}
	b.m = cluster.New(set, chance{}, boot, b.now())
	if err := b.obey(); err != nil {
		lock.Unlock()
		return nil, err
	}
	b.apply.drain(&b.apply.toShow, b.apply.showItem) // the first view, before anyone asks
	b.apply.drain(&b.apply.toCarry, b.apply.carryItem)
	if boot != nil {
		o.Log.Info("Node configuration loaded, I'm " + b.View().Myself().ID.String())
	}
	return b, nil
}

// chance is the machine's source of randomness.
type chance struct{}

func (chance) Uint64() uint64 { return rand.Uint64() }

// now reads both clocks.
func (b *Bus) now() cluster.Times {
	t := time.Now()
	return cluster.Times{Mono: cluster.Millis(t.Sub(b.start)/time.Millisecond) + 1, Wall: cluster.Millis(t.UnixMilli())}
}

func (b *Bus) settings() cluster.Settings {
	s := b.opt.Settings()
	s.Keys = keyspace{b.opt.Engine}
	s.DisableRandomPing = b.noRandomPing.Load()
	if b.fresh {
		s.StartDelay = 0 // there is no old state that could mislead it
	}
	return s
}

// keyspace answers the machine's questions about keys without taking locks.
type keyspace struct{ e *engine.Engine }

func (k keyspace) Keys() (n int) {
	for i := range k.e.Store.DBs() {
		n += k.e.Store.DB(i).Keys()
	}
	return n
}

func (k keyspace) KeysInSlot(slot int) int { return k.e.Store.DB(0).SlotLen(uint16(slot)) }

// Listen opens the bus port.
func (b *Bus) Listen() error {
	if b.opt.Port > 65535 {
		return ErrPort
	}
	for _, addr := range b.opt.Bind {
		l, skip, err := listen(addr, b.opt.Port)
		if skip {
			continue
		}
		if err != nil {
			for _, l := range b.lns {
				l.Close()
			}
			b.opt.Log.Warn("Could not create the cluster bus socket", "addr", addr, "port", b.opt.Port, "err", err)
			return fmt.Errorf("Failed listening on port %d (cluster), aborting.", b.opt.Port)
		}
		b.lns = append(b.lns, l)
	}
	if len(b.lns) == 0 {
		return fmt.Errorf("bus: no address to listen on for the cluster bus, port %d", b.opt.Port)
	}
	return nil
}

// Start checks the loaded data against the slots and joins the cluster.
func (b *Bus) Start() error {
	if me := b.view.Load().Myself(); me.Flags.Has(cluster.FlagReplica) {
		b.judgeData()
	} else {
		if drop := b.m.AdoptKeys(b.now()); !drop.Empty() {
			for slot := range drop.All() {
				n := b.opt.Engine.DropSlot(uint16(slot))
				b.opt.Log.Warn("Deleted keys of a slot that another node owns", "slot", slot, "keys", n)
			}
		}
		if err := b.obey(); err != nil {
			return err
		}
	}
	b.wg.Add(4)
	go b.apply.run(&b.apply.toShow, b.apply.showItem)
	go b.apply.run(&b.apply.toCarry, b.apply.carryItem)
	go b.apply.runRecheck()
	go b.watchDivided()
	b.wg.Add(1)
	b.running.Store(true)
	go b.drive()
	for _, l := range b.lns {
		b.wg.Add(1)
		go b.accept(l)
	}
	return nil
}

// judgeData decides whether what a replica has loaded at its start counts as its
// shard's. A file with its place in the stream does, though it may be old: the
// rule of the data's age is for that. But if the node was moved to another
// primary and ended before it had that one's data, the file is the old shard's,
// and then it holds keys outside the primary's slots.
func (b *Bus) judgeData() {
	v := b.view.Load()
	p := v.Node(v.Myself().Primary)
	for slot := range cluster.SlotCount {
		if b.opt.Engine.Store.DB(0).SlotLen(uint16(slot)) == 0 || p != nil && p.Slots != nil && p.Slots.Has(slot) {
			continue
		}
		b.opt.Log.Warn("The loaded data is not of this replica's shard", "slot", slot)
		b.opt.Repl.Distrust()
		return
	}
}

// Close leaves the bus in order: nodes.conf is saved and synced, links are
// closed, goroutines have ended.
func (b *Bus) Close() {
	select {
	case <-b.quit:
		return
	default:
	}
	b.do(func(m *cluster.Machine, now cluster.Times) { m.Admin(now, cluster.SaveConfig{}) })
	close(b.quit)
	for _, l := range b.lns {
		l.Close()
	}
	b.links.closeAll()
	b.apply.stop()
	b.wg.Wait()
	b.lock.Unlock()
}

// Reconfigure makes changed directives take effect. Locks may be held. Before
// Start it returns at once, and they take effect then.
func (b *Bus) Reconfigure() {
	configure := func(m *cluster.Machine, now cluster.Times) { m.Configure(now, b.settings()) }
	if b.running.Load() {
		b.settle(configure)
	} else {
		go b.settle(configure)
	}
}

// View is the cluster as commands see it now.
func (b *Bus) View() *cluster.View { return b.applied.Load() }

// InForce is the newest view by which every command goes: none is running, or will run,
// that may do by an older one what it may not by this one. View may be ahead of it while
// commands hold slots.
func (b *Bus) InForce() *cluster.View { return b.inForce.Load() }

// Stall freezes the bus until the returned function is called, as a process
// that is stopped (DEBUG SLEEP).
func (b *Bus) Stall() (resume func()) {
	b.stalled.Lock()
	return b.stalled.Unlock
}
