package cluster

// Settings are the directives the machine obeys and the switches between the
// behaviours of the families. DefaultSettings gives the documented defaults;
// Machine.Configure changes them at run time.
type Settings struct {
	// NodeTimeout is T of the specification.
	NodeTimeout Millis
	// PingInterval is the age of the last pong that asks for a ping; 0 = T/2.
	PingInterval Millis

	// Ports are what this node announces, each already resolved from the
	// announce directive or the listening port; 0 where it does not serve. Its
	// IP is AnnounceIP, which is empty if peers shall find the address out.
	Ports      Addr
	AnnounceIP string
	Hostname   string
	Nodename   string
	ClientIPv4 string
	ClientIPv6 string

	// TLSCluster: the bus speaks TLS, so the "bus's own kind" of client port
	// is the TLS port. TLSReplication: replicas connect to the TLS port.
	TLSCluster     bool
	TLSReplication bool

	ReplicaValidityFactor int64  // 0 = any data age may be promoted
	ReplPingPeriod        Millis // repl-ping-replica-period
	ReplicaNoFailover     bool
	MigrationBarrier      int
	AllowReplicaMigration bool
	RequireFullCoverage   bool
	BlacklistTTL          Millis
	ManualFailoverTimeout Millis

	// ModuleNoFailover and ModuleNoRedirect are set by modules: no automatic
	// failover and replica migration; no slot ownership.
	ModuleNoFailover bool
	ModuleNoRedirect bool

	// LightMessages announces that this node takes light PUBLISH, PUBLISHSHARD
	// and MODULE (flag bits 11 and 12).
	LightMessages bool

	// VoteSpacing refuses a second vote for replicas of the same primary within
	// 2T, as Redis does and Valkey 8 does not (8.4 rule 5).
	VoteSpacing bool
	// SlotlessFailover lets a replica stand for election although its primary
	// owns no slot, as Valkey 8 does and Redis does not.
	SlotlessFailover bool

	// ElectionDelay is the fixed part and ElectionJitter the bound of the
	// random part of the delay before an election; RankDelay and
	// FailedPrimaryRankDelay are added once per rank (8.1 rule 4).
	// SetElectionDelay sets all four.
	ElectionDelay          Millis
	ElectionJitter         Millis
	RankDelay              Millis
	FailedPrimaryRankDelay Millis

	// RetryWithinTimeout holds the next election a quarter of a node timeout after
	// one that nobody won, at most two seconds. Redis and Valkey wait four node
	// timeouts (8.1 rule 1).
	RetryWithinTimeout bool
	// WakeGuard makes a primary that was not run for longer than the node
	// timeout refuse clients until it has heard from a majority again. Redis
	// goes on serving, and loses what it accepts if it was replaced meanwhile.
	WakeGuard bool
	// MoveGuard keeps keys that an interrupted move left at two nodes within reach
	// while it is repaired (divided.go).
	MoveGuard bool
	// SyncGuard keeps a replica without complete data of its shard from standing
	// for election (Local.Unsynced). A real server promotes what it has, be it
	// nothing or another shard's.
	SyncGuard bool
	// StalePrimaryGuard makes a primary that was started from its nodes.conf keep
	// its epoch to itself until a majority was heard, and yield to the node of its
	// shard that a majority names meanwhile, whatever the epochs (stale.go).
	// Otherwise a file with a high epoch takes slots back
	// from the successor, whose writes are lost.
	StalePrimaryGuard bool
	// VoteOnceGuard counts each voter once in an election, however many ACKs it
	// sends.
	VoteOnceGuard bool
	// ClusterIDGuard gives clusters an id and keeps two of them from becoming one
	// (clusterid.go).
	ClusterIDGuard bool
	// FreshElection treats each failure of a primary as a case of its own. A real
	// server that scheduled an election less than four node timeouts ago sits the
	// next one out, and a replica with less data may win.
	FreshElection bool
	// CrashDetection takes refused connections as the sign of a crash: a node
	// whose host refused for RefusedPeriod is suspected without waiting for the
	// node timeout, and the other primaries are told at once.
	CrashDetection bool
	RefusedPeriod  Millis

	// StartDelay is how long a primary stays in state fail after its first tick,
	// so that it may hear that it was replaced. New clusters may do with less.
	StartDelay Millis

	// DisableRandomPing skips 5.2 step 3 (DEBUG DISABLE-CLUSTER-RANDOM-PING).
	DisableRandomPing bool

	// Pool is where what a Ready holds has its memory from; nil: it is new.
	Pool *Pool
	// NoEvents leaves Events out of Ready, for worlds whose log nobody reads.
	NoEvents bool
	// NoViews saves the cost of views in worlds that do not read them:
	// Ready.View stays nil; Machine.View still builds one on demand.
	NoViews bool

	// Keys tells about the node's keys; nil means that there are none.
	Keys Keyspace
}

// DefaultSettings are the documented defaults, Valkey 8's where families
// differ. The caller fills in ports and keys.
func DefaultSettings() Settings {
	return Settings{
		NodeTimeout:            15000,
		ReplicaValidityFactor:  10,
		ReplPingPeriod:         10000,
		MigrationBarrier:       1,
		AllowReplicaMigration:  true,
		RequireFullCoverage:    true,
		BlacklistTTL:           60000,
		ManualFailoverTimeout:  5000,
		LightMessages:          true,
		SlotlessFailover:       true,
		ElectionDelay:          500,
		ElectionJitter:         500,
		RankDelay:              1000,
		FailedPrimaryRankDelay: 500,
		RetryWithinTimeout:     true,
		WakeGuard:              true,
		MoveGuard:              true,
		SyncGuard:              true,
		StalePrimaryGuard:      true,
		VoteOnceGuard:          true,
		ClusterIDGuard:         true,
		FreshElection:          true,
		RefusedPeriod:          300,
		StartDelay:             2000,
	}
}

// SetElectionDelay makes elections wait for d to 2d, 2d more for every sibling
// that should stand first, d more for every shard.
func (s *Settings) SetElectionDelay(d Millis) {
	s.ElectionDelay, s.ElectionJitter, s.RankDelay, s.FailedPrimaryRankDelay = d, d, 2*d, d
}

// ScaledElectionDelay is the delay of Valkey 9: a thirtieth of the node timeout,
// at most that of the others.
func ScaledElectionDelay(nodeTimeout Millis) Millis {
	return max(min(nodeTimeout/30, 500), 1)
}

// Constants of the protocol, spec 5.1.
const (
	minHandshakeTimeout Millis = 1000 // handshakes live max(T, this)
	randomPingTicks            = 10   // ticks between two random pings
	randomPingDraws            = 5
	minRejoinDelay      Millis = 500
	maxRejoinDelay      Millis = 5000
	migrationDelay      Millis = 5000 // of continuous orphanhood
	minVoteTimeout      Millis = 2000
	gossipFutureSlack   Millis = 500 // a gossiped pong may lie this far ahead
	reportTimeouts             = 2   // a failure report lives this many T
	failUndoTimeouts           = 2
	minFastRetry        Millis = 500  // shortest wait for votes with RetryWithinTimeout
	maxFastRetry        Millis = 2000 // the longest: votes take a round trip and a save
	minWakeGap          Millis = 1000 // a shorter gap between ticks is no pause
	voteSpacingTimeouts        = 2
	manualMarginPart           = 16 // of its time a manual failover keeps in reserve: ticks, drifting clocks
)

// WakeGap is the time without a Tick that counts as a pause (WakeGuard). A
// driver whose clients run beside it refuses their commands, too, once its last
// Tick is older than this: on waking they may come before the machine's step.
func (s *Settings) WakeGap() Millis { return max(s.NodeTimeout, minWakeGap) + TickPeriod }

func (s *Settings) handshakeTimeout() Millis { return max(s.NodeTimeout, minHandshakeTimeout) }

func (s *Settings) pingInterval() Millis {
	if s.PingInterval > 0 {
		return s.PingInterval
	}
	return s.NodeTimeout / 2
}

func (s *Settings) rejoinDelay() Millis {
	return min(max(s.NodeTimeout, minRejoinDelay), maxRejoinDelay)
}

// addrFromWire sorts the two client ports of a header or gossip entry by kind.
func (s *Settings) addrFromWire(ip string, port, pport, bus uint16) Addr {
	if s.TLSCluster {
		return Addr{IP: ip, Port: pport, TLSPort: port, BusPort: bus}
	}
	return Addr{IP: ip, Port: port, TLSPort: pport, BusPort: bus}
}

// wirePorts is the inverse of addrFromWire.
func (s *Settings) wirePorts(a Addr) (port, pport uint16) {
	if s.TLSCluster {
		return a.TLSPort, a.Port
	}
	return a.Port, a.TLSPort
}

// replPort is the port a replica connects to at address a.
func (s *Settings) replPort(a Addr) uint16 {
	if s.TLSReplication {
		return a.TLSPort
	}
	return a.Port
}

func (s *Settings) keys() int {
	if s.Keys == nil {
		return 0
	}
	return s.Keys.Keys()
}

func (s *Settings) keysInSlot(slot int) int {
	if s.Keys == nil {
		return 0
	}
	return s.Keys.KeysInSlot(slot)
}
