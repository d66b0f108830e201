// Package engine is one command's life: a Session takes what its connection
// has read, plans and touches a batch of commands, and runs each under the
// locks of its slots and behind the gates; what a command did (its changes and
// effects) is carried to the log, to WATCH, blocked clients, subscribers and
// client-side caches before the locks are released. MULTI, blocking, pub/sub
// and the commands about connections live here too.
//
// engine opens no sockets (netio does, behind Conn), writes no files and knows
// no replication: it appends effects to a Log and asks a Router where slots
// are. Commands on values are in datatypes.
//
// Read engine.go, view.go, session.go, run.go, gates.go, after.go, multi.go,
// block.go, pubsub.go, push.go, tracking.go, client.go, clients.go.
//
// # Goroutines and locks
//
// A Session belongs to the goroutine of its connection; what others may call
// says so; while it is blocked, to the goroutine that serves it (block.go). The
// order of locks: the turn of a key whose blocked clients are served, slot
// locks (ascending), then at most one leaf lock (log, waiters, watches,
// clients, tracking, a session's block state). While holding a leaf lock
// nothing else is acquired, with one exception: those of pub/sub and monitors
// are held while sessions are pushed to, which takes a session's push lock,
// then its connection's.
package engine

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// Log takes the effects of commands in the order in which they happened. Append
// runs under the slot locks of the keys concerned, so that its order agrees
// with every slot's; cmds is one or more complete RESP arrays, borrowed. The
// first of them wants db selected, the last leaves last selected (a transaction
// may contain SELECT). It returns the replication offset just past them.
type Log interface {
	Append(db, last int, cmds []byte) (end int64)
}

// Clock tells Unix milliseconds. Monotonic durations come from time itself.
type Clock func() int64

// Engine is what the sessions of one server share.
type Engine struct {
	Store *store.Store
	Table *command.Table
	Env   *command.Env
	Slog  *slog.Logger
	Now   Clock
	Stats *Stats

	view     atomic.Pointer[View]
	gates    atomic.Uint32
	interest atomic.Uint32 // who wants to hear of changes (after.go)
	notify   atomic.Uint32 // which keyspace events are published (notify.go)

	log       Log
	logOn     atomic.Bool
	dirty     atomic.Int64 // changes since the last save
	misconf   [MisconfSources]atomic.Pointer[string]
	flushes   atomic.Int64 // calls of FlushLocked
	flushAlls atomic.Int64 // of FLUSHALL

	primaryLinks atomic.Int64

	expireAt expirePlace

	// EndTurn, when set, runs after each batch of a session that wrote, before
	// the replies leave: what must be durable or acknowledged first is waited
	// for here (wrote). If it returns false that cannot be had: nobody knows what
	// will become of what the batch did, so its replies are dropped and the
	// connection is closed. Set before the first session.
	EndTurn func(s *Session, wrote bool) bool
	holdAll atomic.Bool // HoldReplies

	Auth     Authenticator
	clients  clients
	waiters  waiters
	watches  watches
	pubsub   pubsub
	tracking tracking
	monitors monitors
	pause    pauseState
	freezes  freezes
	stall    sync.Mutex   // held while GateStall is closed
	lease    atomic.Int64 // nanos until which slots may be served (lease.go)
	wokeAt   atomic.Int64 // nanos when a lapsed lease was renewed last
	lost     atomic.Pointer[lostSlots]
	slowlog  SlowLog

	slotStats slotStats
	// Replicas, when set, counts the replicas that are sent the log.
	Replicas func() int

	exec      *command.Spec // EXEC
	start     time.Time
	fastClock bool         // Now is the system's
	wallBase  atomic.Int64 // Unix milliseconds at start, as the clock is set now
	lastID    atomic.Int64

	// Evict, when set, frees memory down to maxmemory, holding no locks, and
	// opens or closes GateOOM.
	Evict func()
	// Publish, when set, carries a message to the other nodes.
	Publish func(shard bool, channel, message []byte)
}

// nanos reads the monotonic clock, which is half the price of time.Now.
func (e *Engine) nanos() int64 { return int64(time.Since(e.start)) }

// nowAt is Now for a reading of nanos just made: Unix milliseconds.
func (e *Engine) nowAt(nanos int64) int64 {
	if !e.fastClock {
		return e.Now()
	}
	return e.wallBase.Load() + nanos/1e6
}

// SyncClock follows the system's clock, which may have been set; the cron calls
// it. In between the wall clock is the monotonic one, moved.
func (e *Engine) SyncClock() {
	now := time.Now()
	e.wallBase.Store(now.UnixMilli() - int64(now.Sub(e.start))/1e6)
}

// evict makes room; a pause of writes is one of evictions too. No locks are held.
func (e *Engine) evict() {
	if e.Evict != nil && e.gates.Load()&(GatePauseAll|GatePauseWrite) == 0 {
		e.Evict()
	}
}

// exists reports whether a key exists; its slot is locked.
func (e *Engine) exists(db int, k command.Key, key []byte) bool {
	var o store.Obj
	return e.Store.DB(db).Find(k.Slot, k.Hash, key, &o)
}

// Options are what New needs.
type Options struct {
	Store *store.Store
	Env   *command.Env
	Slog  *slog.Logger
	Now   Clock // nil: the system's
	Auth  Authenticator
	Slow  SlowLog
}

// Authenticator decides who a client is. The ACL implements it.
type Authenticator interface {
	// Required reports whether a new connection must authenticate first.
	Required() bool
	// Authenticate checks a user name and password.
	Authenticate(user string, password []byte) bool
}

// SlowLog keeps commands that took long. Add is called without locks; argv is
// borrowed.
type SlowLog interface {
	ThresholdMicros() int64 // negative: off
	Add(nowMs, micros int64, argv [][]byte, addr, name string)
}

// New returns an engine without commands; SetTable completes it.
func New(o Options) *Engine {
	e := &Engine{Store: o.Store, Env: o.Env, Slog: o.Slog, Now: o.Now, Auth: o.Auth, slowlog: o.Slow, start: time.Now()}
	if e.Now == nil {
		e.fastClock = true
		e.Now = func() int64 { return e.nowAt(e.nanos()) }
		e.SyncClock()
	}
	e.view.Store(&View{})
	e.lease.Store(noLease)
	e.clients.init()
	e.waiters.init(&e.interest)
	e.watches.init(&e.interest)
	e.pubsub.init()
	e.tracking.init(&e.interest)
	e.pause.init()
	return e
}

// SetTable installs the commands. Called once, before the first session.
func (e *Engine) SetTable(t *command.Table) {
	e.Table = t
	e.Env.Table = t
	e.Stats = newStats(t)
	e.exec = t.ByName("exec")
}

// SetLog installs the log of effects. Called once, before the first session.
func (e *Engine) SetLog(l Log) { e.log = l }

// SetLogOn says whether anyone takes the log. World lock, so that no command that
// has effects is halfway. One goroutine at a time.
func (e *Engine) SetLogOn(on bool) { e.logOn.Store(on) }

// Propagate appends an effect that no client's command had, such as an
// eviction. The caller holds the lock of the slot concerned.
func (e *Engine) Propagate(db int, cmds []byte) {
	if e.logOn.Load() {
		e.log.Append(db, db, cmds)
	}
}

// HoldReplies makes EndTurn run after batches that wrote nothing too: what they
// have read may not be durable yet.
func (e *Engine) HoldReplies(on bool) { e.holdAll.Store(on) }

// Dirty returns the number of changes since the last save; AddDirty adjusts it.
func (e *Engine) Dirty() int64 { return e.dirty.Load() }

// FlushAlls counts the calls of FLUSHALL.
func (e *Engine) FlushAlls() int64 { return e.flushAlls.Load() }

func (e *Engine) AddDirty(n int64)   { e.dirty.Add(n) }
func (e *Engine) Started() time.Time { return e.start }

// pauseState is CLIENT PAUSE.
type pauseState struct {
	mu    sync.Mutex
	until map[string]pauseEntry // by purpose: "client", "failover"
	wake  chan struct{}         // closed and replaced whenever the state changes
}

type pauseEntry struct {
	untilMs int64
	all     bool // all commands rather than writes
}

func (p *pauseState) init() {
	p.until = map[string]pauseEntry{}
	p.wake = make(chan struct{})
}

// Pause holds back writes, or all commands, until the given time, for one
// purpose ("client" for CLIENT PAUSE, "failover"). A longer pause of the same
// purpose stays. It takes effect at once; when it returns no paused command is
// running any more that began before. Not under slot locks, and it takes all of
// them one by one: a slow command is waited for by nobody but the caller.
func (e *Engine) Pause(purpose string, untilMs int64, all bool) {
	e.BeginPause(purpose, untilMs, all)
	<-e.Running()
}

// Running returns a channel that is closed when every command that runs now and
// holds slot locks is over.
func (e *Engine) Running() <-chan struct{} {
	over := make(chan struct{})
	go func() {
		var every store.StripeSet
		every.AddAll()
		e.Store.Pass(&every)
		close(over)
	}()
	return over
}

// BeginPause is Pause that does not wait for commands under way: a command looks
// at the pause when it has its locks.
func (e *Engine) BeginPause(purpose string, untilMs int64, all bool) {
	p := &e.pause
	p.mu.Lock()
	if old, ok := p.until[purpose]; ok && old.untilMs > e.Now() {
		untilMs = max(untilMs, old.untilMs)
		all = all || old.all
	}
	p.until[purpose] = pauseEntry{untilMs, all}
	e.updatePauseLocked()
	p.mu.Unlock()
}

// Unpause ends the pause of one purpose. Blocked clients whose turn came during
// the pause are served by the next command, or by PauseTick.
func (e *Engine) Unpause(purpose string) {
	p := &e.pause
	p.mu.Lock()
	delete(p.until, purpose)
	e.updatePauseLocked()
	p.mu.Unlock()
	e.waiters.signalDB(-1)
}

// PauseTick ends pauses whose time is over; the cron calls it.
func (e *Engine) PauseTick(now int64) {
	if e.waiters.ready.Load() != 0 {
		e.serveReady()
	}
	if e.gates.Load()&(GatePauseAll|GatePauseWrite) == 0 {
		return
	}
	p := &e.pause
	p.mu.Lock()
	for k, v := range p.until {
		if v.untilMs <= now {
			delete(p.until, k)
		}
	}
	e.updatePauseLocked()
	p.mu.Unlock()
	e.waiters.signalDB(-1)
	e.serveReady()
}

func (e *Engine) updatePauseLocked() {
	var g uint32
	for _, v := range e.pause.until {
		if v.all {
			g |= GatePauseAll
		} else {
			g |= GatePauseWrite
		}
	}
	// Never open for a moment what stays closed.
	e.gates.Or(g)
	e.gates.And(^uint32((GatePauseAll | GatePauseWrite) &^ g))
	close(e.pause.wake)
	e.pause.wake = make(chan struct{})
}

// Paused returns the gate bits of the present pause.
func (e *Engine) Paused() (writes, all bool) {
	g := e.gates.Load()
	return g&(GatePauseWrite|GatePauseAll) != 0, g&GatePauseAll != 0
}

// waitPause waits, without locks, until the pause changes or ends; without a
// pause for the next thaw.
func (e *Engine) waitPause(s *Session) {
	if e.gates.Load()&(GatePauseAll|GatePauseWrite|GateFrozen) == GateFrozen {
		e.freezes.waitThaw()
		return
	}
	e.pause.mu.Lock()
	wake := e.pause.wake
	e.pause.mu.Unlock()
	if e.gates.Load()&(GatePauseAll|GatePauseWrite) == 0 {
		return
	}
	e.Stats.blocked.Add(1)
	defer e.Stats.blocked.Add(-1)
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	}
	e.PauseTick(e.Now())
}
