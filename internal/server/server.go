// Package server puts a node together: memory, store, engine, connections,
// replication, cluster bus and persistence, in the order in which they start
// and stop. It has no logic of its own. main.go is the program around it:
// command line, configuration file, signals.
package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/acl"
	"github.com/skeindb/skein/internal/aof"
	"github.com/skeindb/skein/internal/bus"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/function"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/migrate"
	"github.com/skeindb/skein/internal/netio"
	"github.com/skeindb/skein/internal/observe"
	"github.com/skeindb/skein/internal/persist"
	"github.com/skeindb/skein/internal/repl"
	"github.com/skeindb/skein/internal/slotmove"
	"github.com/skeindb/skein/internal/store"
)

// Server is one node.
type Server struct {
	Config *config.Config
	Log    *slog.Logger
	RunID  string // 40 hexadecimal digits, new at every start

	heap   *mem.Heap
	store  *store.Store
	env    *command.Env
	engine *engine.Engine
	evict  *engine.Evictor
	net    *netio.Server
	bus    *bus.Bus // nil in standalone mode
	saver  *persist.Saver
	aof    *aof.AOF
	repl   *repl.Repl

	functions function.Libraries
	migrator  *migrate.Migrator
	mover     *slotmove.Mover // nil in standalone mode
	observer  *observe.Observer
	listeners listeners
	tls       atomic.Pointer[tlsConfigs] // nil: nothing speaks TLS

	ctx    context.Context // ends when the node is to stop
	stop   context.CancelCauseFunc
	ending ending
	wg     sync.WaitGroup
}

// New builds a node from its configuration. Nothing is opened yet but memory.
func New(cfg *config.Config, log *slog.Logger) (*Server, error) {
	heap, err := mem.New(mem.Options{Reserve: cfg.MemoryReserve.Get(), HugePages: true})
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s := &Server{Config: cfg, Log: log, RunID: randomID(), heap: heap}
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	dbs := int(cfg.Databases.Get())
	if cfg.ClusterEnabled.Get() {
		dbs = 1
	}
	s.store = store.New(heap, dbs)
	s.env = &command.Env{}
	s.env.SetLimits(limits(cfg))
	s.observer = s.newObserver()
	s.engine = engine.New(engine.Options{Store: s.store, Env: s.env, Slog: log, Auth: acl.New(cfg), Slow: s.observer.Recorder()})
	s.engine.SetGate(engine.GateLoading, true) // until Run has looked what there is
	s.observer.Attach(s.engine)
	s.net = netio.New(s.netOptions())
	s.newRepl()
	s.saver = persist.New(persist.Options{Engine: s.engine, Config: cfg, Log: log, FS: disk.OS{}, Used: heap.Used, Cut: s.repl.Cut,
		Busy: func() bool { return s.aof.Rewriting() }, Ending: func() error { return context.Cause(s.ctx) },
		Functions: s.functions.Sources, LoadFunction: s.functions.LoadFile, ClearFunctions: s.functions.Clear})
	s.newAOF()
	if cfg.ClusterEnabled.Get() {
		if err := s.newBus(); err != nil {
			return nil, err
		}
		s.newMover()
	}
	s.migrator = migrate.New(migrate.Options{Dial: s.dialTarget, Cluster: cfg.ClusterEnabled.Get(), Replicas: moveReplicas{s}})
	s.engine.SetTable(s.table())
	s.evict = s.newEvictor()
	s.engine.Evict = s.evict.Run
	s.followConfig()
	return s, nil
}

// table are the commands of this node.
func (s *Server) table() *command.Table {
	return command.NewTable(engine.Specs(), datatypes.Specs(), s.clusterSpecs(), s.saver.Specs(), s.aof.Specs(), s.functions.Specs(), s.repl.Specs(), s.migrator.Specs(), s.operatorSpecs())
}

// Run starts the node, calls ready when it accepts connections, and serves
// until ctx ends; then it stops in order.
func (s *Server) Run(ctx context.Context, ready func()) error {
	defer context.AfterFunc(ctx, func() { s.stop(context.Cause(ctx)) })()
	ctx = s.ctx
	defer s.stop(nil)
	// Who connects early must not write below what is loaded.
	s.engine.SetGate(engine.GateStandBack, s.bus != nil)
	if err := s.listen(); err != nil {
		return err
	}
	if s.bus != nil {
		if err := s.bus.Listen(); err != nil {
			return err
		}
	}
	loaded, err := s.load()
	if err != nil && ctx.Err() != nil {
		// What is on disk is whole, what is in memory is not: nothing is saved.
		s.Log.Warn("Received shutdown signal during loading, exiting now.")
		stopCtx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.net.Shutdown(stopCtx)
		return nil
	}
	if err != nil {
		return err
	}
	s.aof.Start()
	s.repl.Start()
	if s.bus != nil {
		if err := s.bus.Start(); err != nil {
			return err
		}
		s.bus.StandBack(ctx, loaded, s.Config.ClusterLostDataGuard.Get)
		s.engine.SetGate(engine.GateStandBack, false)
		s.mover.Start()
	}
	if err := s.serveMetrics(ctx); err != nil {
		return err
	}
	s.wg.Add(1)
	go s.cron(ctx)
	ready()
	debug.FreeOSMemory() // the buffers of loading, some megabytes
	<-ctx.Done()
	s.wg.Wait()
	stopCtx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.saver.Stop()
	s.engine.Pause("shutdown", math.MaxInt64, false) // what is acknowledged from here would be on no disk
	var unsaved error
	if s.saveAtExit(context.Cause(ctx)) {
		if unsaved = s.saver.Save(); unsaved != nil {
			s.Log.Warn("Error trying to save the DB at exit", "err", unsaved)
		}
	}
	if s.bus != nil {
		s.mover.Close()
		s.bus.Close()
	}
	s.repl.Close()
	s.migrator.Close()
	if err := s.aof.Close(); err != nil {
		s.Log.Warn("Error making the append-only file durable at exit", "err", err)
	}
	s.net.Shutdown(stopCtx)
	s.store.Close()
	err = errors.Join(unsaved, s.heap.Close())
	if f := (*fatalError)(nil); errors.As(context.Cause(ctx), &f) {
		return f.err
	}
	return err
}

// Stop makes Run return.
func (s *Server) Stop() { s.stop(nil) }

// fatalError ends the node because it cannot go on.
type fatalError struct{ err error }

func (f *fatalError) Error() string { return f.err.Error() }

// fail makes Run stop the node and return err.
func (s *Server) fail(err error) { s.stop(&fatalError{err}) }

func (s *Server) netOptions() netio.Options {
	c := s.Config
	return netio.Options{
		Open:        func(nc *netio.Conn) netio.Handler { return s.engine.Open(nc) },
		Log:         s.Log,
		MaxClients:  func() int { return int(c.MaxClients.Get()) },
		Protected:   func() bool { return c.ProtectedMode.Get() && c.RequirePass.Get() == "" },
		IdleTimeout: func() time.Duration { return time.Duration(c.Timeout.Get()) * time.Second },
		KeepAlive:   func() time.Duration { return time.Duration(c.TCPKeepalive.Get()) * time.Second },
		QueryLimit:  c.ClientQueryBufferLimit.Get,
		Ring:        c.IOUring.Get(),
	}
}

const cronEvery = 100 * time.Millisecond

// collapseTime is about what is spent each second on making memory in small pages huge.
const collapseTime = 4 * time.Millisecond

// cron does the periodic work of a node.
func (s *Server) cron(ctx context.Context) {
	defer s.wg.Done()
	t := time.NewTicker(cronEvery)
	defer t.Stop()
	events := s.observer.Recorder()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s.engine.SyncClock()
		s.engine.PauseTick(s.engine.Now())
		s.saver.Tick()
		s.observer.Tick()
		s.evict.Tick()
		s.limitClients()
		if n%int(time.Second/cronEvery) == 0 {
			s.heap.Tick()
			until := time.Now().Add(collapseTime)
			s.heap.Collapse(func() bool { return time.Now().After(until) })
		}
		if s.env.Limits().ActiveExpire {
			began := time.Now()
			// A quarter of the time, and a fiftieth more for each step of effort.
			until := began.Add(cronEvery * time.Duration(23+2*s.Config.ActiveExpireEffort.Get()) / 100)
			s.engine.ExpireCycle(func() bool { return time.Now().After(until) })
			events.Event("expire-cycle", time.Since(began))
		}
	}
}

// limits are the settings of the data types.
func limits(c *config.Config) *command.Limits {
	l := command.DefaultLimits()
	l.HashEntries, l.HashValue = int(c.HashMaxListpackEntries.Get()), int(c.HashMaxListpackValue.Get())
	l.SetIntset = int(c.SetMaxIntsetEntries.Get())
	l.SetEntries, l.SetValue = int(c.SetMaxListpackEntries.Get()), int(c.SetMaxListpackValue.Get())
	l.ZSetEntries, l.ZSetValue = int(c.ZsetMaxListpackEntries.Get()), int(c.ZsetMaxListpackValue.Get())
	l.ListSize, l.ListCompress = int(c.ListMaxListpackSize.Get()), int(c.ListCompressDepth.Get())
	l.HLLSparse, l.MaxBulk = int(c.HLLSparseMaxBytes.Get()), c.ProtoMaxBulkLen.Get()
	l.StreamBytes, l.StreamEntries = int(c.StreamNodeMaxBytes.Get()), int(c.StreamNodeMaxEntries.Get())
	l.LazyUserDel, l.LazyExpire = c.LazyfreeLazyUserDel.Get(), c.LazyfreeLazyExpire.Get()
	l.LazyServerDel, l.LazyFlush = c.LazyfreeLazyServerDel.Get(), c.LazyfreeLazyUserFlush.Get()
	l.ClusterMode = c.ClusterEnabled.Get()
	return l
}

func randomID() string {
	var b [20]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
