// Package config holds the directives of a node: what may be written in
// redis.conf, on the command line and in CONFIG SET, what it means, and what it
// is now. One table (table.go) states each directive once; files, command
// lines, CONFIG GET, SET and REWRITE derive from it.
//
// It acts on nothing. Whoever must follow a change at run time (listeners,
// limits, the log) registers a hook with OnChange; whoever may refuse a
// directive it cannot judge alone (a command to rename, an ACL user) sets
// Loader's functions. Error texts are Redis's, byte for byte, because tools and
// tests match them.
//
// Read config.go, kinds.go, words.go, table.go, then load.go, set.go,
// rewrite.go. Fields of Config are read with Get from any goroutine at the cost
// of an atomic load, on the hot path too; they change through Assign, Set and
// Loader only, which take a lock.
package config

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bool is the current value of a yes/no directive.
type Bool struct{ v atomic.Bool }

// Get returns the value now.
func (b *Bool) Get() bool { return b.v.Load() }

func (b *Bool) set(v bool) { b.v.Store(v) }

// Int is the current value of a number or of a size in bytes.
type Int struct{ v atomic.Int64 }

// Get returns the value now.
func (i *Int) Get() int64 { return i.v.Load() }

func (i *Int) set(v int64) { i.v.Store(v) }

// Value is the current value of a directive that is no number. T is replaced
// whole, so a caller may keep what Get returned but must not write to it.
type Value[T any] struct{ p atomic.Pointer[T] }

// Get returns the value now.
func (v *Value[T]) Get() T { return *v.p.Load() }

func (v *Value[T]) set(x T) { v.p.Store(&x) }

// Text is the current value of a directive of one word.
type Text = Value[string]

// Enum is the current value of a directive with named choices; T's constants
// are the indexes of the choices in the table.
type Enum[T ~int] struct{ v atomic.Int64 }

// Get returns the value now.
func (e *Enum[T]) Get() T { return T(e.v.Load()) }

func (e *Enum[T]) set(v T) { e.v.Store(int64(v)) }

// Config is every directive of one node. Build it with New; do not copy it.
// A field has the name of its directive, in Redis's present spelling.
type Config struct {
	// Network.
	Port, TLSPort, TCPBacklog, TCPKeepalive, Timeout, MaxClients Int
	Bind                                                         Value[[]string] // "-" before an address: may be missing
	BindSourceAddr, UnixSocket                                   Text
	UnixSocketPerm                                               Int // file mode bits; 0 leaves the umask's
	ProtectedMode, IOUring                                       Bool
	SocketMarkID                                                 Int
	ProtoMaxBulkLen, ClientQueryBufferLimit                      Int
	ClientOutputBufferLimit                                      Value[OutputLimits]
	MaxMemoryClients                                             Int // bytes, or -percent of MaxMemory
	MaxNewConnectionsPerCycle, MaxNewTLSConnectionsPerCycle      Int

	// TLS.
	TLSCertFile, TLSKeyFile, TLSKeyFilePass                   Text
	TLSClientCertFile, TLSClientKeyFile, TLSClientKeyFilePass Text
	TLSCACertFile, TLSCACertDir, TLSDHParamsFile              Text
	TLSProtocols, TLSCiphers, TLSCipherSuites                 Text
	TLSAuthClients                                            Enum[AuthClients]
	TLSReplication, TLSCluster                                Bool
	TLSPreferServerCiphers, TLSSessionCaching                 Bool
	TLSSessionCacheSize, TLSSessionCacheTimeout               Int

	// Process.
	Daemonize, AlwaysShowLogo, CrashLogEnabled, CrashMemcheckEnabled Bool
	UseExitOnPanic, DisableTHP, SetProcTitle                         Bool
	Supervised                                                       Enum[Supervision]
	PidFile, ProcTitleTemplate, LocaleCollate                        Text
	LogFile                                                          Text
	LogLevel                                                         Enum[Level]
	LogFormat                                                        Enum[LogFormatKind]
	LogTimestampFormat                                               Enum[TimestampKind]
	HideUserDataFromLog                                              Bool
	SyslogEnabled                                                    Bool
	SyslogIdent                                                      Text
	SyslogFacility                                                   Enum[int]
	IgnoreWarnings                                                   Text
	ServerCPUList, BioCPUList, AOFRewriteCPUList, BgsaveCPUList      Text
	OOMScoreAdj                                                      Enum[int]
	OOMScoreAdjValues                                                Value[[3]int]
	ShutdownTimeout                                                  Int // seconds
	ShutdownOnSIGINT, ShutdownOnSIGTERM                              Value[ShutdownFlags]
	Databases, Hz                                                    Int
	DynamicHz                                                        Bool
	Dir                                                              Text // absolute; see Path
	IOThreads, PrefetchBatchMaxSize                                  Int
	IOThreadsDoReads, IOThreadsAlwaysActive, JemallocBgThread        Bool
	AvailabilityZone                                                 Text
	ExtendedRedisCompatibility, ImportMode                           Bool
	MemoryReserve                                                    Int // bytes of address space for data; 0 = chosen by the server
	MetricsPort                                                      Int // HTTP: /metrics and the dashboard; 0 = off

	// Security.
	RequirePass, ACLFile                                     Text
	ACLLogMaxLen                                             Int
	ACLPubsubDefault                                         Enum[PubsubDefault]
	EnableDebugCommand, EnableModuleCommand                  Enum[Protection]
	EnableProtectedConfigs                                   Enum[Protection]
	LuaEnableDeprecatedAPI                                   Bool
	BusyReplyThreshold                                       Int // milliseconds
	TrackingTableMaxKeys                                     Int
	NotifyKeyspaceEvents                                     Value[NotifyFlags]
	LatencyTracking                                          Bool
	LatencyTrackingInfoPercentiles                           Value[[]float64]
	LatencyMonitorThreshold                                  Int // milliseconds; 0 = off
	SlowlogLogSlowerThan                                     Int // microseconds; -1 = off
	SlowlogMaxLen                                            Int
	CommandlogRequestLargerThan, CommandlogReplyLargerThan   Int // bytes; -1 = off
	CommandlogLargeRequestMaxLen, CommandlogLargeReplyMaxLen Int

	// Memory and keyspace.
	MaxMemory, MaxMemorySamples, MaxMemoryEvictionTenacity      Int
	MaxMemoryPolicy                                             Enum[EvictionPolicy]
	LFULogFactor, LFUDecayTime, ActiveExpireEffort              Int
	LazyfreeLazyEviction, LazyfreeLazyExpire                    Bool
	LazyfreeLazyServerDel, LazyfreeLazyUserDel                  Bool
	LazyfreeLazyUserFlush, ReplicaLazyFlush                     Bool
	ActiveRehashing, ActiveDefrag                               Bool
	ActiveDefragCycleMin, ActiveDefragCycleMax                  Int
	ActiveDefragIgnoreBytes, ActiveDefragMaxScanFields          Int
	ActiveDefragThresholdLower, ActiveDefragThresholdUpper      Int
	HashMaxListpackEntries, HashMaxListpackValue                Int
	ListMaxListpackSize, ListCompressDepth                      Int
	SetMaxIntsetEntries                                         Int
	SetMaxListpackEntries, SetMaxListpackValue                  Int
	ZsetMaxListpackEntries, ZsetMaxListpackValue                Int
	HLLSparseMaxBytes, StreamNodeMaxBytes, StreamNodeMaxEntries Int

	// Disk.
	Save                                             Value[[]SavePoint]
	DBFilename                                       Text
	RDBCompression, RDBChecksum, RDBDelSyncFiles     Bool
	RDBVersion                                       Int // of the file at least; values may need a higher one
	RDBSaveIncrementalFsync, StopWritesOnBgsaveError Bool
	RDBVersionCheck                                  Enum[VersionCheck]
	RDBModuleData                                    Enum[ModuleData]
	SanitizeDumpPayload                              Enum[Sanitize]
	RDBKeySaveDelay, KeyLoadDelay                    Int // microseconds per key, negative = keys per microsecond; tests only
	LoadingProcessEventsIntervalBytes                Int
	AppendOnly, NoAppendfsyncOnRewrite               Bool
	AppendFilename, AppendDirname                    Text
	AppendFsync                                      Enum[FsyncPolicy]
	AOFLoadTruncated, AOFUseRDBPreamble              Bool
	AOFTimestampEnabled, AOFRewriteIncrementalFsync  Bool
	AOFDisableAutoGC                                 Bool
	AutoAOFRewritePercentage, AutoAOFRewriteMinSize  Int

	// Replication.
	ReplicaOf                                                Value[ReplicaOf]
	MasterAuth, MasterUser, ReplicaAnnounceIP                Text
	ReplicaAnnouncePort, ReplicaPriority                     Int
	ReplicaAnnounced, ReplicaReadOnly, ReplicaServeStaleData Bool
	ReplicaIgnoreMaxMemory, ReplicaIgnoreDiskWriteErrors     Bool
	ReplPingReplicaPeriod, ReplTimeout                       Int // seconds
	ReplBacklogSize, ReplBacklogTTL                          Int // bytes, seconds
	ReplWriteFloor                                           Int // bytes a second
	ReplDisklessSync, ReplDisableTCPNodelay                  Bool
	ReplDisklessSyncDelay, ReplDisklessSyncMaxReplicas       Int
	ReplDisklessLoad                                         Enum[DisklessLoad]
	DualChannelReplicationEnabled                            Bool
	MinReplicasToWrite, MinReplicasMaxLag                    Int
	PropagationErrorBehavior                                 Enum[int]

	// Cluster.
	ClusterEnabled                                           Bool
	ClusterConfigFile                                        Text
	ClusterNodeTimeout                                       Int // milliseconds
	ClusterPort                                              Int // 0 = Port + 10000
	ClusterAnnounceIP, ClusterAnnounceHostname               Text
	ClusterAnnounceHumanNodename                             Text
	ClusterAnnounceClientIPv4, ClusterAnnounceClientIPv6     Text
	ClusterAnnouncePort, ClusterAnnounceTLSPort              Int
	ClusterAnnounceBusPort                                   Int
	ClusterPreferredEndpointType                             Enum[EndpointType]
	ClusterReplicaValidityFactor, ClusterMigrationBarrier    Int
	ClusterReplicaNoFailover, ClusterAllowReplicaMigration   Bool
	ClusterRequireFullCoverage, ClusterAllowReadsWhenDown    Bool
	ClusterAllowPubsubshardWhenDown, ClusterSlotStatsEnabled Bool
	ClusterVoteSpacing, ClusterSlotlessFailover              Bool
	ClusterModuleNoFailover, ClusterMigrateWaitsReplicas     Bool
	ClusterMoveGuard                                         Bool
	ClusterSlotMigrationLogMaxLen                            Int
	ClusterLinkSendbufLimit                                  Int // bytes; 0 = none
	ClusterPingInterval                                      Int // milliseconds; 0 = derived
	ClusterBlacklistTTL                                      Int // seconds
	ClusterManualFailoverTimeout                             Int // milliseconds
	ClusterCompatibilitySampleRatio                          Int // percent
	ClusterCrashDetection                                    Enum[CrashEvidence]
	ClusterRefusedPeriod                                     Int  // milliseconds
	ClusterElectionDelay                                     Text // milliseconds, ElectionScaled or ElectionAuto
	ClusterWakeGuard, ClusterSyncGuard                       Bool
	ClusterStalePrimaryGuard, ClusterVoteOnceGuard           Bool
	ClusterIDGuard                                           Bool
	ClusterFreshElection, ClusterElectionFastRetry           Bool
	ClusterLostDataGuard                                     Bool

	// Filled by Loader; constant once the server runs.
	File    string     // absolute path of the file given at start; "" = none, so no REWRITE
	Renames []Rename   // rename-command lines, in order
	Users   [][]string // user lines: name, rules...
	Modules [][]string // loadmodule lines: path, arguments...

	// UserLines, if set, returns the present ACL users for CONFIG REWRITE, each
	// "user <name> <rules>". Without it the file's own lines stay. Set it
	// before the server runs.
	UserLines func() []string

	mu     sync.Mutex // serialises Assign, Set, Rewrite and guards hooks
	table  []*Directive
	byName map[string]*Directive // lower case, aliases too
	hooks  []hook
}

// Rename is one rename-command line; an empty To removes the command.
type Rename struct{ From, To string }

// New returns a configuration with every directive at its default.
func New() *Config {
	c := &Config{byName: make(map[string]*Directive)}
	c.table = c.directives()
	for _, d := range c.table {
		d.kind.reset()
		for _, name := range append([]string{d.Name}, d.Aliases...) {
			if c.byName[name] != nil {
				panic(fmt.Sprintf("config: directive %s declared twice", name))
			}
			c.byName[name] = d
		}
	}
	if dir, err := os.Getwd(); err == nil {
		c.Dir.set(dir)
	}
	return c
}

// SkipModules reports whether a load leaves module data out (rdb-module-data).
func (c *Config) SkipModules() bool { return c.RDBModuleData.Get() == ModulesSkip }

// AnyRDBVersion reports whether a load takes files of later versions too
// (rdb-version-check).
func (c *Config) AnyRDBVersion() bool { return c.RDBVersionCheck.Get() == VersionRelaxed }

// LoadDelay is key-load-delay as a time for each key.
func (c *Config) LoadDelay() time.Duration { return keyDelay(c.KeyLoadDelay.Get()) }

// SaveDelay is rdb-key-save-delay as a time for each key.
func (c *Config) SaveDelay() time.Duration { return keyDelay(c.RDBKeySaveDelay.Get()) }

func keyDelay(n int64) time.Duration {
	if n < 0 {
		return time.Microsecond / time.Duration(-n)
	}
	return time.Duration(n) * time.Microsecond
}

// Directives returns the table, for documents and tests.
func (c *Config) Directives() []*Directive { return c.table }

// Default returns the directive's initial value as CONFIG GET prints it.
func (d *Directive) Default() string { return d.kind.initial() }

func (c *Config) lookup(name string) *Directive {
	if d := c.byName[name]; d != nil {
		return d
	}
	return c.byName[strings.ToLower(name)]
}

// Assign gives a directive a value as a configuration file would: constant ones
// too, no hooks. For start-up code, embedders, tests, and for values that
// follow the server's state, such as replicaof. The error is Redis's text.
func (c *Config) Assign(name string, args ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.lookup(name)
	if d == nil {
		return errBadDirective
	}
	return c.assign(d, args)
}
