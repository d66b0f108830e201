package server

import (
	"errors"
	"time"

	"github.com/skeindb/skein/internal/acl"
	"github.com/skeindb/skein/internal/admin"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/netio"
	"github.com/skeindb/skein/internal/observe"
)

// newObserver makes what INFO and its kin look through.
func (s *Server) newObserver() *observe.Observer {
	o := observe.Options{
		Config: s.Config, Heap: s.heap, RunID: s.RunID, Build: Version, Commit: commit(),
		Net: func() observe.Net {
			n := s.net.Stats()
			return observe.Net{Connections: n.Connections, Accepted: n.Accepted, Rejected: n.Rejected,
				BytesIn: n.BytesIn, BytesOut: n.BytesOut, Reads: n.ReadCalls, Sends: n.SendCalls,
				Rings: n.Rings, RingCalls: n.RingCalls, RingMoves: n.RingMoves}
		},
		Persistence: func() string { return s.saver.Info() + s.aof.Info() },
		Replication: func() string { return s.repl.Info() },
		Functions:   s.functions.Totals,
		Repl:        s.replCounters,
		Buffers: func() observe.Buffers {
			total, forReplicas, snapshot := s.repl.Buffered()
			b := observe.Buffers{Backlog: total - forReplicas, Replicas: forReplicas + snapshot, AOF: s.aof.Buffered()}
			if s.bus != nil {
				_, b.Links = s.bus.LinkMemory()
			}
			return b
		},
	}
	if s.Config.ClusterEnabled.Get() {
		o.Links = func() int { n, _ := s.bus.LinkMemory(); return n }
		o.Slots = func() string { return s.mover.Info() }
		o.ClusterInfo = func() string { return s.bus.InfoText() }
	}
	return observe.New(o)
}

// operatorSpecs are the commands about the node itself.
func (s *Server) operatorSpecs() []*command.Spec {
	var thaw func() // set and used under the world lock
	o := admin.Options{
		Config: s.Config, Engine: s.engine, Log: s.Log,
		ResetStat: s.observer.ResetStat,
		Shutdown:  func(how admin.Shutdown, failed func()) { s.shutdown(how, failed) },
		Abort:     s.abortShutdown,
		Freeze: func() {
			if s.bus != nil {
				thaw = s.bus.Stall()
			}
		},
		Thaw: func() {
			if thaw != nil {
				thaw()
			}
		},
		Reload: func(o admin.Reload) error {
			return s.loaded(func() error { return s.saver.Reload(!o.NoSave, !o.NoFlush) })
		},
		LoadAOF: func() error { return s.loaded(s.aof.Reload) },
	}
	if s.bus != nil {
		o.KillLink, o.PacketFilter, o.CloseOnDrop, o.RandomPing = s.bus.KillLinks, s.bus.DropPackets, s.bus.CloseOnDrop, s.bus.SetRandomPing
	}
	specs := admin.Specs(o)
	specs = append(specs, s.observer.Specs()...)
	specs = append(specs, acl.New(s.Config).Specs()...)
	return append(specs, command.IntrospectSpecs()...)
}

// loaded runs fn, but not while data is loaded: what is there so far must not be
// saved, nor loaded over.
func (s *Server) loaded(fn func() error) error {
	if s.engine.Gate(engine.GateLoading) {
		return errors.New("server: a data set is being loaded")
	}
	return fn()
}

// followConfig lets changes of the configuration take effect, the initial
// values first.
func (s *Server) followConfig() {
	c := s.Config
	follow := func(apply func() error, names ...string) {
		if err := apply(); err != nil {
			s.Log.Warn("Configuration has no effect", "directive", names[0], "err", err)
		}
		c.OnChanges(func([]config.Change) error { return apply() }, names...)
	}
	follow(func() error {
		l := limits(c)
		l.ActiveExpire = s.env.Limits().ActiveExpire // DEBUG SET-ACTIVE-EXPIRE
		s.env.SetLimits(l)
		s.store.SetLazyDelete(l.LazyServerDel)
		return nil
	}, "hash-max-listpack-entries", "hash-max-listpack-value", "set-max-intset-entries", "set-max-listpack-entries", "set-max-listpack-value",
		"zset-max-listpack-entries", "zset-max-listpack-value", "list-max-listpack-size", "list-compress-depth", "hll-sparse-max-bytes", "proto-max-bulk-len",
		"lazyfree-lazy-user-del", "lazyfree-lazy-expire", "lazyfree-lazy-server-del", "lazyfree-lazy-user-flush")
	follow(func() error {
		f, err := engine.ParseNotify(c.NotifyKeyspaceEvents.Get().String())
		if err != nil {
			return err
		}
		s.engine.SetNotify(f)
		return nil
	}, "notify-keyspace-events")
	follow(func() error {
		s.engine.SetTrackingMaxKeys(c.TrackingTableMaxKeys.Get())
		return nil
	}, "tracking-table-max-keys")
	follow(func() error {
		var l netio.Limits
		for class, of := range map[engine.Class]int{engine.ClassNormal: config.ClassNormal, engine.ClassReplica: config.ClassReplica, engine.ClassPubSub: config.ClassPubsub} {
			from := c.ClientOutputBufferLimit.Get()[of]
			l[class] = netio.Limit{Hard: from.Hard, Soft: from.Soft, SoftTime: time.Duration(from.SoftSeconds) * time.Second}
		}
		s.net.SetLimits(l)
		return nil
	}, "client-output-buffer-limit")
	c.OnChanges(func([]config.Change) error { // before relisten, which needs it
		if s.reloadTLS() != nil {
			return errors.New("Unable to update TLS configuration. Check server logs.")
		}
		return nil
	}, tlsDirectives...)
	c.OnChanges(s.relisten, "port", "tls-port", "bind")
	if s.bus != nil {
		c.OnChanges(func([]config.Change) error {
			s.bus.Reconfigure()
			return nil
		}, clusterDirectives(c)...)
		follow(func() error {
			s.engine.CountSlots(c.ClusterSlotStatsEnabled.Get())
			return nil
		}, "cluster-slot-stats-enabled")
	}
	follow(s.limitMemory, "maxmemory")
	follow(s.countAccesses, "maxmemory-policy", "lfu-log-factor", "lfu-decay-time")
	c.OnChanges(func([]config.Change) error { s.saver.Guard(); return nil }, "save", "stop-writes-on-bgsave-error")
	follow(func() error {
		s.observer.Slow.Trim(int(c.SlowlogMaxLen.Get()))
		return nil
	}, "slowlog-max-len")
}
