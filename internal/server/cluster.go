package server

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/bus"
	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/disk"
)

// busPortOffset is what the bus port adds to the client port (cluster
// specification, 2.1).
const busPortOffset = 10000

// newBus makes the node's part in the cluster.
func (s *Server) newBus() error {
	c := s.Config
	b, err := bus.New(bus.Options{
		Engine:     s.engine,
		Repl:       clusterRepl{s.repl},
		Log:        s.Log,
		FS:         disk.OS{},
		Path:       c.Path(c.ClusterConfigFile.Get()),
		Settings:   s.clusterSettings,
		Bind:       c.Bind.Get(),
		Port:       int(s.busPort()),
		SourceAddr: c.BindSourceAddr.Get,
		SendLimit:  c.ClusterLinkSendbufLimit.Get,
		Router: func() bus.RouterSettings {
			return bus.RouterSettings{Endpoint: c.ClusterPreferredEndpointType.Get(),
				ReadsWhenDown: c.ClusterAllowReadsWhenDown.Get(), PubsubShardWhenDown: c.ClusterAllowPubsubshardWhenDown.Get()}
		},
		Fatal: s.fail,
		TLS:   s.busTLS,
		DialNode: func(ctx context.Context, a cluster.Addr) (net.Conn, error) {
			port := a.Port
			if c.TLSReplication.Get() {
				port = a.TLSPort
			}
			return s.dial(ctx, a.IP, strconv.Itoa(int(port)), c.TLSReplication.Get())
		},
		NodeAuth: func() (user, password string) { return c.MasterUser.Get(), c.MasterAuth.Get() },
	})
	if err != nil {
		return err
	}
	s.bus = b
	s.engine.Publish = b.Publish
	return nil
}

// moveReplicas are the replicas on both sides of a MIGRATE, and of a node that
// takes over slots.
type moveReplicas struct{ s *Server }

func (m moveReplicas) on() bool {
	return m.s.bus != nil && m.s.Config.ClusterMigrateWaitsReplicas.Get()
}

func (m moveReplicas) Of(host, port string) int {
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || !m.on() {
		return 0
	}
	return m.s.bus.LiveReplicas(host, uint16(p))
}

func (m moveReplicas) Await(off int64, limit time.Duration) {
	if !m.await(context.Background(), off, limit) {
		m.s.Log.Warn("Replicas have not acknowledged in time that keys were moved", "offset", off, "online", m.s.repl.Online())
	}
}

// await waits for the replicas of this node, if that is set.
func (m moveReplicas) await(ctx context.Context, off int64, limit time.Duration) bool {
	need := func() int { return min(m.s.repl.Online(), m.s.bus.OwnLiveReplicas()) }
	return !m.on() || m.s.repl.Await(ctx, off, limit, need)
}

// basePort is the client port of the bus's own kind.
func (s *Server) basePort() int64 {
	if s.Config.TLSCluster.Get() {
		return s.Config.TLSPort.Get()
	}
	return s.Config.Port.Get()
}

func (s *Server) busPort() int64 {
	if p := s.Config.ClusterPort.Get(); p != 0 {
		return p
	}
	return s.basePort() + busPortOffset
}

// clusterSettings are the machine's settings as configured now.
func (s *Server) clusterSettings() cluster.Settings {
	c := s.Config
	or := func(announced, own int64) uint16 {
		if announced != 0 {
			return uint16(announced)
		}
		return uint16(own)
	}
	set := cluster.DefaultSettings()
	set.NodeTimeout = cluster.Millis(c.ClusterNodeTimeout.Get())
	set.PingInterval = cluster.Millis(c.ClusterPingInterval.Get())
	set.Ports = cluster.Addr{
		Port:    or(c.ClusterAnnouncePort.Get(), c.Port.Get()),
		TLSPort: or(c.ClusterAnnounceTLSPort.Get(), c.TLSPort.Get()),
		BusPort: or(c.ClusterAnnounceBusPort.Get(), s.busPort()),
	}
	set.AnnounceIP = c.ClusterAnnounceIP.Get()
	set.Hostname = c.ClusterAnnounceHostname.Get()
	set.Nodename = c.ClusterAnnounceHumanNodename.Get()
	set.ClientIPv4, set.ClientIPv6 = c.ClusterAnnounceClientIPv4.Get(), c.ClusterAnnounceClientIPv6.Get()
	set.TLSCluster, set.TLSReplication = c.TLSCluster.Get(), c.TLSReplication.Get()
	set.ReplicaValidityFactor = c.ClusterReplicaValidityFactor.Get()
	set.ReplPingPeriod = cluster.Millis(c.ReplPingReplicaPeriod.Get() * 1000)
	set.ReplicaNoFailover = c.ClusterReplicaNoFailover.Get()
	set.MigrationBarrier = int(c.ClusterMigrationBarrier.Get())
	set.AllowReplicaMigration = c.ClusterAllowReplicaMigration.Get()
	set.RequireFullCoverage = c.ClusterRequireFullCoverage.Get()
	set.BlacklistTTL = cluster.Millis(c.ClusterBlacklistTTL.Get() * 1000)
	set.ManualFailoverTimeout = cluster.Millis(c.ClusterManualFailoverTimeout.Get())
	set.VoteSpacing = c.ClusterVoteSpacing.Get()
	set.SlotlessFailover = c.ClusterSlotlessFailover.Get()
	set.ModuleNoFailover = c.ClusterModuleNoFailover.Get()
	set.CrashDetection = c.ClusterCrashDetection.Get() == config.CrashRefused
	set.RefusedPeriod = cluster.Millis(c.ClusterRefusedPeriod.Get())
	set.SetElectionDelay(electionDelay(c.ClusterElectionDelay.Get(), &set))
	set.WakeGuard, set.SyncGuard = c.ClusterWakeGuard.Get(), c.ClusterSyncGuard.Get()
	set.ClusterIDGuard = c.ClusterIDGuard.Get()
	set.StalePrimaryGuard, set.VoteOnceGuard = c.ClusterStalePrimaryGuard.Get(), c.ClusterVoteOnceGuard.Get()
	set.MoveGuard = c.ClusterMoveGuard.Get()
	set.FreshElection, set.RetryWithinTimeout = c.ClusterFreshElection.Get(), c.ClusterElectionFastRetry.Get()
	return set
}

// fastElectionDelay is the automatic delay where crashes are detected by refused
// connections: FAIL is then known everywhere within a message's time, for it is
// sent to all by the first who has a majority.
const fastElectionDelay cluster.Millis = 100

// electionDelay reads cluster-election-delay, which was checked when it was set.
func electionDelay(text string, set *cluster.Settings) cluster.Millis {
	switch {
	case text == config.ElectionScaled:
		return cluster.ScaledElectionDelay(set.NodeTimeout)
	case text == config.ElectionAuto && set.CrashDetection:
		return fastElectionDelay
	case text == config.ElectionAuto:
		return set.ElectionDelay
	}
	ms, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		panic(fmt.Sprintf("server: cluster-election-delay %q", text))
	}
	return cluster.Millis(ms)
}

// clusterDirectives are those that may change the machine's settings at run time.
func clusterDirectives(c *config.Config) []string {
	names := []string{"repl-ping-replica-period", "tls-replication", "tls-cluster"}
	for _, d := range c.Directives() {
		if strings.HasPrefix(d.Name, "cluster-") {
			names = append(names, d.Name)
		}
	}
	return names
}
