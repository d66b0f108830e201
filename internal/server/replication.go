package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/skeindb/skein/internal/bus"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/logfmt"
	"github.com/skeindb/skein/internal/observe"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/repl"
)

// newRepl makes the node's replication.
func (s *Server) newRepl() {
	c := s.Config
	s.repl = repl.New(repl.Options{
		Engine: s.engine, Slog: s.Log, Settings: s.replSettings, Cluster: c.ClusterEnabled.Get(),
		Functions: s.functions.Sources, LoadFunction: s.functions.LoadFile, KeyDelay: s.Config.LoadDelay, SaveDelay: s.Config.SaveDelay, ClearFunctions: s.functions.Clear,
		Dial: s.dialPrimary, UsedMemory: s.heap.Used,
		OnRole: func(replica bool) {
			if s.bus == nil { // else it shows the role, with the slots
				v := *s.engine.View()
				v.Replica = replica
				s.engine.SetView(&v)
			}
			role := logfmt.Primary
			if replica {
				role = logfmt.Replica
			}
			logfmt.SinkOf(s.Log).SetRole(role)
			if !replica {
				s.resumeAOF() // a full sync that failed has left it off
			}
		},
		SlotStates: func() string {
			if s.bus == nil {
				return ""
			}
			return s.bus.SlotStates()
		},
		LoadSlotStates: func(states string) {
			if s.bus != nil {
				s.bus.LoadSlotStates(states)
			}
		},
		Loading:    func(total int64) rdb.Progress { return s.saver.Follow(total) },
		BeforeLoad: func() { s.aof.SwitchOff() },
		AfterLoad: func(ok bool) {
			debug.FreeOSMemory() // the buffers of the load, some megabytes
			if ok {
				s.resumeAOF()
			}
		},
		Durable: func() (int64, bool) { return s.aof.Durable() },
		Applied: func() { s.aof.Applied() },
		NewSpool: func() (repl.Spool, error) {
			f, err := os.CreateTemp(c.Path("."), "temp-repl-*.rdb")
			if err != nil {
				return nil, fmt.Errorf("server: spool of a full sync: %w", err)
			}
			os.Remove(f.Name()) // lives as long as it is open
			return f, nil
		},
	})
	s.engine.Replicas = s.repl.Replicas
	c.OnChanges(func([]config.Change) error { s.repl.ForgetSlow(); return nil }, "client-output-buffer-limit", "repl-write-floor")
	c.OnChanges(func([]config.Change) error { s.repl.Refresh(); return nil },
		"min-replicas-to-write", "min-replicas-max-lag", "replica-read-only", "replica-serve-stale-data", "repl-backlog-size", "client-output-buffer-limit")
}

func (s *Server) replSettings() repl.Settings {
	c := s.Config
	seconds := func(n int64) time.Duration { return time.Duration(n) * time.Second }
	out := c.ClientOutputBufferLimit.Get()[config.ClassReplica]
	port := c.ReplicaAnnouncePort.Get()
	if port == 0 {
		port = c.Port.Get()
		if p := c.TLSPort.Get(); p != 0 && c.TLSReplication.Get() {
			port = p
		}
	}
	return repl.Settings{
		BacklogSize: c.ReplBacklogSize.Get(), BacklogTTL: seconds(c.ReplBacklogTTL.Get()),
		PingPeriod: seconds(c.ReplPingReplicaPeriod.Get()), Timeout: seconds(c.ReplTimeout.Get()),
		Diskless: c.ReplDisklessSync.Get(), TCPDelay: c.ReplDisableTCPNodelay.Get(),
		DisklessDelay: seconds(c.ReplDisklessSyncDelay.Get()), DisklessMax: int(c.ReplDisklessSyncMaxReplicas.Get()),
		OutputHard: out.Hard, OutputSoft: out.Soft, OutputSoftTime: seconds(out.SoftSeconds), WriteFloor: c.ReplWriteFloor.Get(),
		MinReplicas: int(c.MinReplicasToWrite.Get()), MinReplicasMaxLag: seconds(c.MinReplicasMaxLag.Get()),
		User: c.MasterUser.Get(), Password: c.MasterAuth.Get(),
		AnnounceIP: c.ReplicaAnnounceIP.Get(), AnnouncePort: int(port),
		ReadOnly: c.ReplicaReadOnly.Get(), ServeStale: c.ReplicaServeStaleData.Get(), LazyFlush: c.ReplicaLazyFlush.Get(),
		SkipModules: c.SkipModules(), AnyVersion: c.AnyRDBVersion(),
		// swapdb means to serve the old data meanwhile, as receiving it first does.
		SocketWhenEmpty: c.ReplDisklessLoad.Get() == config.DisklessOnEmptyDB,
		Announced:       c.ReplicaAnnounced.Get(), Priority: int(c.ReplicaPriority.Get()),
		Compress: c.RDBCompression.Get(), Checksum: c.RDBChecksum.Get(),
	}
}

// dialPrimary connects to a primary.
func (s *Server) dialPrimary(ctx context.Context, host string, port int) (io.ReadWriteCloser, error) {
	return s.dial(ctx, host, strconv.Itoa(port), s.Config.TLSReplication.Get())
}

// dialTarget connects to where MIGRATE sends keys.
func (s *Server) dialTarget(ctx context.Context, host, port string) (net.Conn, error) {
	return s.dial(ctx, host, port, s.Config.TLSCluster.Get())
}

// dial connects to another server from the address that the settings say.
func (s *Server) dial(ctx context.Context, host, port string, secure bool) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	if src := s.Config.BindSourceAddr.Get(); src != "" {
		if ip, err := netip.ParseAddr(src); err == nil {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
		}
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil || !secure {
		return conn, err
	}
	return s.dialTLS(ctx, conn)
}

// clusterRepl is replication as the cluster bus asks for it.
type clusterRepl struct{ *repl.Repl }

func (c clusterRepl) Follow(host string, port int, full bool) {
	c.Repl.Follow(host, port, repl.FollowOptions{Full: full})
}
func (c clusterRepl) Link() (up bool, age time.Duration) {
	switch st := c.Status(); {
	case st.LinkUp:
		return true, max(st.SinceIO, 0)
	case st.NeverUp:
		return false, -1
	default:
		return false, st.DownFor
	}
}

// replCounters are the totals of replication for INFO.
func (s *Server) replCounters() observe.Repl {
	st := &s.repl.Stats
	return observe.Repl{Full: st.Full.Load(), PartialOK: st.PartialOK.Load(), PartialErr: st.PartialErr.Load()}
}

// load fills the node from its disk and takes up its place in the replication
// stream. It returns what there was.
func (s *Server) load() (bus.Loaded, error) {
	primary := s.Config.ReplicaOf.Get()
	replica := s.engine.View().Replica || primary.Host != ""
	var at *rdb.ReplInfo
	dropped := false
	var err error
	if s.Config.AppendOnly.Get() {
		err = s.openAOF()
	} else {
		err = s.saver.Load(replica, func(info *rdb.ReplInfo, expired int) { at, dropped = info, expired > 0 })
	}
	if err != nil {
		return bus.Loaded{}, errors.Join(errors.New("Fatal error loading the DB, check server logs. Exiting."), err)
	}
	var found bus.Loaded
	for i := range s.store.DBs() {
		found.Keys += s.store.DB(i).Keys()
	}
	if at != nil {
		found.ID, found.Offset = at.ID, at.Offset
	}
	switch {
	case at == nil:
		if replica {
			s.repl.Distrust() // an empty node, or a file that says nothing of its place
		}
	case replica:
		s.repl.RestoreReplica(at)
	default:
		s.repl.Restore(at, dropped)
	}
	s.engine.SetGate(engine.GateLoading, false) // closed by Run; a full sync closes it again
	if primary.Host != "" {
		s.repl.Follow(primary.Host, primary.Port, repl.FollowOptions{})
	}
	return found, nil
}
