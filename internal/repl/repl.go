package repl

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
)

// Settings are the directives that replication obeys; they may change at any
// time. Names are those of the directives.
type Settings struct {
	BacklogSize   int64
	BacklogTTL    time.Duration // without replicas; 0: kept for ever
	PingPeriod    time.Duration // repl-ping-replica-period
	Timeout       time.Duration // repl-timeout
	Diskless      bool          // repl-diskless-sync; without it a snapshot is a file before it is sent
	DisklessDelay time.Duration // repl-diskless-sync-delay
	TCPDelay      bool          // repl-disable-tcp-nodelay
	DisklessMax   int           // repl-diskless-sync-max-replicas, 0: not looked at

	OutputHard, OutputSoft int64 // client-output-buffer-limit replica
	OutputSoftTime         time.Duration
	WriteFloor             int64 // repl-write-floor: writers are slowed to so many bytes a second at most, 0: never

	MinReplicas       int // min-replicas-to-write
	MinReplicasMaxLag time.Duration

	User, Password string // masteruser, masterauth
	AnnounceIP     string // replica-announce-ip
	AnnouncePort   int    // replica-announce-port, or else the port served

	ReadOnly    bool // replica-read-only
	ServeStale  bool // replica-serve-stale-data
	LazyFlush   bool // replica-lazy-flush
	SkipModules bool // rdb-module-data skip
	AnyVersion  bool // rdb-version-check relaxed
	// A snapshot is received whole, and the old data served meanwhile, unless
	// one of these says to load it while it arrives, the old data being dropped
	// first (repl-diskless-load), or there is no Spool to receive it in.
	LoadFromSocket, SocketWhenEmpty bool

	Announced bool // replica-announced
	Priority  int  // replica-priority
	Compress  bool // rdbcompression
	Checksum  bool // rdbchecksum
}

// DefaultSettings are the documented defaults, but for a backlog of 10 MB and no
// waiting before a snapshot: replicas that come while one is made get the next.
func DefaultSettings() Settings {
	return Settings{Diskless: true, BacklogSize: 10 << 20, BacklogTTL: time.Hour, PingPeriod: 10 * time.Second, Timeout: time.Minute,
		OutputHard: 256 << 20, OutputSoft: 64 << 20, OutputSoftTime: time.Minute, WriteFloor: 1 << 20, MinReplicasMaxLag: 10 * time.Second,
		ReadOnly: true, ServeStale: true, Announced: true, Priority: 100, Compress: true, Checksum: true}
}

// Spool holds a snapshot for replicas that want its size first. Writes come
// before reads; several goroutines read at once. Close deletes it.
type Spool interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// Options are what New needs. Functions may be nil where it says so.
type Options struct {
	Engine   *engine.Engine
	Slog     *slog.Logger // nil: silent
	Settings func() Settings
	Cluster  bool // REPLICAOF and FAILOVER are refused

	// Dial connects to a primary. It obeys ctx. If the connection has deadlines
	// they are not used: closing it must end a blocked Read or Write.
	Dial func(ctx context.Context, host string, port int) (io.ReadWriteCloser, error)

	// OnRole publishes the role: it replaces the engine's View. It is called
	// without locks, before a replica takes its first byte and after a promoted
	// node takes effects into its log. nil: only View.Replica is changed.
	OnRole func(replica bool)

	// NewSpool makes a place for a snapshot that must be counted before it is
	// sent. nil: replicas without "capa eof" are refused.
	NewSpool func() (Spool, error)

	// BeforeLoad and AfterLoad surround the replacement of the data set by a full
	// sync, for whoever writes it to disk. May be nil.
	BeforeLoad func()
	AfterLoad  func(ok bool)

	// Loading begins to load a snapshot of so many bytes, 0 if that is not known.
	// May be nil.
	Loading func(total int64) rdb.Progress

	// Functions returns the sources of all function libraries; ClearFunctions
	// and LoadFunction replace them in a full sync. May be nil.
	Functions      func() [][]byte
	ClearFunctions func()
	LoadFunction   func(source []byte) error
	KeyDelay       func() time.Duration // slows loading down (rdb.Delay.PerKey); may be nil
	SaveDelay      func() time.Duration // likewise the making of a snapshot

	// SlotStates returns the open slots of a primary as a full sync carries them;
	// LoadSlotStates takes those of the primary, "" if it named none. May be nil.
	SlotStates     func() string
	LoadSlotStates func(states string)

	// Durable returns the offset up to which the append-only file is on disk,
	// and whether there is one. May be nil.
	Durable func() (off int64, on bool)

	// Applied is called without locks after a piece of the primary's stream was
	// applied; it may wait, to bound what the append-only file holds back. May be
	// nil.
	Applied func()

	UsedMemory func() int64 // for the facts in a snapshot; may be nil
}

// Stats counts synchronisations since the start.
type Stats struct {
	Full, PartialOK, PartialErr atomic.Int64
}

// Repl is the replication of one node. Its methods may be called from any
// goroutine, but not under slot locks where that is said.
type Repl struct {
	hold  atomic.Pointer[chan struct{}] // closed once the stream may go on; nil: it may
	o     Options
	e     *engine.Engine
	log   *Log
	cuts  atomic.Int64 // snapshots for replicas that have begun
	slog  *slog.Logger
	retry time.Duration // retryEvery; tests are less patient
	Stats Stats
	pace  pacer

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	role  sync.Mutex // held during Follow, Promote, SetTap
	apply sync.Mutex // held while stream bytes are applied and appended

	follower atomic.Pointer[follower] // nil: primary

	mu          sync.Mutex
	closed      bool
	peers       []*peer // from PSYNC on, in order of arrival
	npeers      atomic.Int32
	waits       map[*wait]struct{}
	syncing     bool          // the goroutine that makes snapshots runs
	syncKick    chan struct{} // bound 1: something changed for it
	lastPing    time.Time
	noPeers     time.Time // since when there are none
	getackEnd   int64     // the last GETACK in the stream ends here
	failover    failoverState
	goodReplica int
	sending     *transfer // the snapshot that is being made; nil: none
	made        flow      // of the stream
	pacing      bool      // a replica is far behind; the ticking goroutine's
	slow        slowReplicas
}

// New returns the replication of a node that is a primary with an empty
// history, and makes its Log that of the engine. Start sets it going.
func New(o Options) *Repl {
	if o.Slog == nil {
		o.Slog = slog.New(slog.DiscardHandler)
	}
	r := &Repl{o: o, e: o.Engine, slog: o.Slog, log: newLog(), waits: map[*wait]struct{}{},
		syncKick: make(chan struct{}, 1), noPeers: time.Now(), retry: retryEvery}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.e.SetLog(r.log)
	r.Refresh()
	return r
}

// Start runs the periodic work until Close.
func (r *Repl) Start() {
	r.wg.Go(func() {
		t := time.NewTicker(tickEvery)
		defer t.Stop()
		fast := time.NewTicker(paceEvery)
		defer fast.Stop()
		fast.Stop()
		quick := false
		for {
			select {
			case <-r.ctx.Done():
				return
			case now := <-t.C:
				r.tick(now)
			case now := <-fast.C:
				s := r.o.Settings()
				r.tickPace(&s, now)
			}
			if r.pacing != quick {
				if quick = r.pacing; quick {
					fast.Reset(paceEvery)
				} else {
					fast.Stop()
				}
			}
		}
	})
}

// tickEvery is the grain of time limits and periods, paceEvery that of the
// writers' rate while a replica is behind: fast writers fill its limit in a second.
const (
	tickEvery = 100 * time.Millisecond
	paceEvery = 10 * time.Millisecond
)

// Close ends every link and waits for what was started. The role stays.
func (r *Repl) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.role.Lock()
	if f := r.follower.Load(); f != nil {
		f.end()
	}
	r.role.Unlock()
	for _, p := range r.allPeers() {
		p.close()
	}
	r.wg.Wait()
}

// Log returns the stream of effects.
func (r *Repl) Log() *Log { return r.log }

// SetTap gives the stream of effects to another consumer too, nil to none. Not
// under slot locks.
func (r *Repl) SetTap(t Tap) {
	r.e.Store.LockWorld()
	defer r.e.Store.UnlockWorld()
	r.log.mu.Lock()
	r.log.tap = t
	r.log.mu.Unlock()
	r.updateLogOn()
}

// updateLogOn tells the engine whether effects are taken. World lock, where commands
// that have effects may run.
func (r *Repl) updateLogOn() {
	l := r.log
	l.mu.Lock()
	r.e.SetLogOn(l.tap != nil || !l.following && l.back.Active())
	l.mu.Unlock()
}

// Refresh makes changed settings count. It is also done ten times a second.
func (r *Repl) Refresh() {
	s := r.o.Settings()
	l := r.log
	l.mu.Lock()
	l.hardLimit = s.OutputHard
	if l.back.Active() && l.back.size != s.BacklogSize {
		l.back.Resize(s.BacklogSize)
		l.trim()
	}
	l.mu.Unlock()
	r.e.SetGate(engine.GateReadOnly, s.ReadOnly)
	f := r.follower.Load()
	r.e.SetGate(engine.GateStale, f != nil && !s.ServeStale && f.linkState() != linkConnected)
	r.countGood(&s, time.Now())
}

// Cut runs fn while no data changes, with the place in the stream that the
// data stands for. It is how every snapshot begins. Not under slot locks; fn
// must be quick.
func (r *Repl) Cut(fn func(at *rdb.ReplInfo)) {
	r.apply.Lock()
	defer r.apply.Unlock()
	r.e.Store.LockWorld()
	defer r.e.Store.UnlockWorld()
	fn(r.SaveInfo())
}

// HoldStream makes a replica take nothing more of its primary's stream, or go on. A
// node that is going down stops so, and its own replicas can get what they lack.
func (r *Repl) HoldStream(on bool) {
	var gate *chan struct{}
	if on {
		c := make(chan struct{})
		gate = &c
	}
	if old := r.hold.Swap(gate); old != nil {
		close(*old)
	}
}

// SaveInfo returns what a snapshot says about its place in the stream, nil if
// it has none. Meaningful only within Cut.
func (r *Repl) SaveInfo() *rdb.ReplInfo {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.back.Active() || !l.whole {
		return nil
	}
	return &rdb.ReplInfo{ID: l.id, Offset: l.off, DB: max(l.db, 0)}
}

// Restore takes the place in the stream of the snapshot that a node has started
// from, before it serves anyone. A node that will be a replica may then
// continue with its primary; replicas of a primary may continue with it.
// dropped says that keys of the file were left out since they had expired: then
// those replicas need a full sync. Source: replication, restart.
func (r *Repl) Restore(at *rdb.ReplInfo, dropped bool) {
	r.e.Store.LockWorld()
	defer r.e.Store.UnlockWorld()
	l := r.log
	l.mu.Lock()
	l.id, l.off, l.db, l.whole = at.ID, at.Offset, at.DB, true
	l.back.Start(l.off, r.o.Settings().BacklogSize)
	l.mu.Unlock()
	l.fork(0)
	if dropped {
		l.mu.Lock()
		l.id2, l.second = noID, -1
		l.mu.Unlock()
	}
	r.updateLogOn()
}

// RestoreReplica is Restore for a node that is going to Follow: it keeps the
// name of the history, so that its primary can continue it.
func (r *Repl) RestoreReplica(at *rdb.ReplInfo) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.id, l.off, l.db, l.whole = at.ID, at.Offset, at.DB, true
	l.back.Start(l.off, r.o.Settings().BacklogSize)
	l.following = true
}

// Offset returns the length of the history: of what was logged by a primary,
// applied by a replica.
func (r *Repl) Offset() int64 { return r.log.Offset() }

// FollowOptions change how a primary is followed.
type FollowOptions struct {
	// Full asks for the whole data set, even where the stream could be continued.
	Full bool

	failover bool // PSYNC tells the target to take over
}

// Follow makes this node a replica of the primary at host and port, and returns
// when its clients have been told; the data follows. It does nothing when that
// is so already. Not under slot locks.
func (r *Repl) Follow(host string, port int, o FollowOptions) {
	r.role.Lock()
	defer r.role.Unlock()
	r.followLocked(host, port, o)
}

func (r *Repl) followLocked(host string, port int, o FollowOptions) {
	old := r.follower.Load()
	if old != nil {
		if old.host == host && old.port == port && !o.Full {
			return
		}
		old.end()
	}
	if o.Full {
		r.Distrust()
	}
	f := newFollower(r, host, port, o)
	r.follower.Store(f)
	if old == nil {
		r.publishRole(true)
		// No client's write will start; those that run end with the old log.
		r.e.Store.LockWorld()
		r.log.follow(r.o.Settings().BacklogSize)
		r.updateLogOn()
		r.e.Store.UnlockWorld()
		r.e.RecheckBlocked(true)
	}
	r.Refresh()
	r.slog.Info("Connecting to MASTER " + net.JoinHostPort(host, strconv.Itoa(port)))
	f.start()
}

// Complete reports whether the data set is a complete state, if an old one, of the
// data that this node replicates: that of the primary followed or of one that it
// succeeded. It is not from a Follow with Full, and whenever a full sync has
// dropped the data, until the primary has sent all of its own or has agreed to
// continue the stream. A primary's data is always complete.
func (r *Repl) Complete() bool {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.log.synced
}

// Distrust says that the data set is not of the primary that is going to be
// followed.
func (r *Repl) Distrust() { r.log.setSynced(false) }

// Promote makes a replica a primary that continues its history under a new
// name. Data and backlog stay; replicas of this node are disconnected, since
// they must hear the new name, and can continue. Not under slot locks.
func (r *Repl) Promote() {
	r.role.Lock()
	defer r.role.Unlock()
	r.promoteLocked()
}

func (r *Repl) promoteLocked() {
	f := r.follower.Load()
	if f == nil {
		return
	}
	f.end()
	r.follower.Store(nil)
	s := r.o.Settings()
	// Clients of a replica write nothing, in a cluster: then nobody need stand still,
	// and a read that takes its time holds up no promotion.
	still := !r.o.Cluster || !s.ReadOnly
	if still {
		r.e.Store.LockWorld()
	}
	r.log.fork(s.BacklogSize)
	r.updateLogOn()
	if still {
		r.e.Store.UnlockWorld()
	}
	r.mu.Lock()
	r.noPeers = time.Now()
	r.mu.Unlock()
	r.dropPeers()
	r.publishRole(false)
	r.Refresh()
	h := r.log.History()
	r.slog.Info("Setting secondary replication ID to " + h.ID2 + ", valid up to offset: " + strconv.FormatInt(h.Second, 10) + ". New replication ID is " + h.ID)
}

func (r *Repl) publishRole(replica bool) {
	if r.o.OnRole != nil {
		r.o.OnRole(replica)
		return
	}
	v := *r.e.View()
	v.Replica = replica
	r.e.SetView(&v)
}

// Status is where a node stands.
type Status struct {
	Replica    bool
	Host       string // of the primary
	Port       int
	Link       string // as ROLE says: connect, connecting, handshake, sync, connected
	LinkUp     bool
	Sync       bool // a full sync is under way
	Offset     int64
	SinceIO    time.Duration // since the primary was last heard; negative: never
	DownFor    time.Duration // since the link went down; 0 while it is up
	NeverUp    bool          // the link has not been up since Follow
	SyncRead   int64         // bytes of the snapshot received
	SyncTotal  int64         // its size, 0 when it is not told
	LoadedKeys int
}

// Status returns where this node stands now.
func (r *Repl) Status() Status {
	s := Status{Offset: r.log.Offset(), SinceIO: -1}
	f := r.follower.Load()
	if f == nil {
		return s
	}
	now := time.Now()
	st := f.linkState()
	s.Replica, s.Host, s.Port, s.Link = true, f.host, f.port, st.String()
	s.LinkUp, s.Sync = st == linkConnected, st == linkSync
	if at := f.lastIO.Load(); at != 0 && st >= linkSync {
		s.SinceIO = now.Sub(time.Unix(0, at))
	}
	if !s.LinkUp {
		at := f.downSince.Load()
		s.NeverUp = at == 0
		if at == 0 {
			at = f.born.UnixNano()
		}
		s.DownFor = now.Sub(time.Unix(0, at))
	}
	s.SyncRead, s.SyncTotal, s.LoadedKeys = f.syncRead.Load(), f.syncTotal.Load(), int(f.loadedKeys.Load())
	return s
}

// Lag is how far a replica is behind.
type Lag struct {
	Name  string
	Bytes int64
	ACK   time.Duration // since it was last heard
}

// InSync returns how many of the online replicas have everything, how many
// there are, and the others.
func (r *Repl) InSync() (n, of int, lagging []Lag) {
	end := r.log.Offset()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if p.state != peerOnline {
			continue
		}
		of++
		if at := p.ackOff.Load(); at >= end {
			n++
		} else {
			lagging = append(lagging, Lag{p.nameLocked(), end - at, time.Since(time.Unix(0, p.ackAt.Load()))})
		}
	}
	return n, of, lagging
}

// AskAcks makes the replicas tell how far they are at once, not within the
// second.
func (r *Repl) AskAcks() { r.askAcks(r.log.Offset()) }

// ChangeID gives the history a new name that continues nothing (DEBUG
// CHANGE-REPL-ID): every replica that reconnects needs a full sync.
func (r *Repl) ChangeID() {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.id, l.id2, l.second = newID(), noID, -1
}

// Buffered returns the bytes of the stream that are kept, how many of them only
// because a replica has not got them yet, and the bytes of a snapshot that wait
// to be sent.
func (r *Repl) Buffered() (total, forReplicas, snapshot int64) {
	snapshot = r.snapshotHeld()
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.back.Active() {
		return 0, 0, snapshot
	}
	total = l.back.To() - l.back.From()
	return total, max(total-l.back.size, 0), snapshot
}

// IsReplica reports the role.
func (r *Repl) IsReplica() bool { return r.follower.Load() != nil }

// tick does what is due at times.
func (r *Repl) tick(now time.Time) {
	s := r.o.Settings()
	r.Refresh()
	r.tickPeers(&s, now)
	r.tickPace(&s, now)
	r.tickBacklog(&s, now)
	r.tickWaits()
	r.tickFailover(now)
}

// tickBacklog gives up a backlog that no replica has needed for long.
func (r *Repl) tickBacklog(s *Settings, now time.Time) {
	if s.BacklogTTL <= 0 || r.IsReplica() || !r.log.History().Backlog {
		return
	}
	idle := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.peers) == 0 && now.Sub(r.noPeers) >= s.BacklogTTL && !r.log.tailed()
	}
	if !idle() {
		return
	}
	r.role.Lock()
	defer r.role.Unlock()
	if r.IsReplica() {
		return
	}
	r.e.Store.LockWorld()
	defer r.e.Store.UnlockWorld()
	if !idle() {
		return
	}
	r.log.end()
	r.updateLogOn()
	r.slog.Info("Replication backlog freed after " + strconv.Itoa(int(s.BacklogTTL/time.Second)) + " seconds without connected replicas.")
}

// errClosed ends what runs when the node stops or changes its role.
var errClosed = errors.New("repl: closed")
