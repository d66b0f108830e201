// Package admin holds the commands with which an operator runs one node: CONFIG,
// DEBUG, SHUTDOWN, TIME, MODULE, LOLWUT. What they report about the node's
// health is in observe; what they do to replication, disk and the bus is done by
// the functions in Options, which the composition root sets.
//
// Read specs.go, config.go, debug.go, populate.go, digest.go, protocol.go,
// shutdown.go. Handlers run in the goroutine of the session that sent the
// command and keep nothing of the call.
package admin

import (
	"log/slog"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
)

// Options are what the commands act on. A nil function means that the node has
// no such part; the command then says so or has nothing to do.
type Options struct {
	Config *config.Config
	Engine *engine.Engine
	Log    *slog.Logger

	// ResetStat zeroes the counters that the engine does not keep itself.
	ResetStat func()

	// Shutdown begins to stop the node and returns at once. If it fails, failed
	// is called, once, from any goroutine. Abort cancels a shutdown in progress
	// and reports whether there was one.
	Shutdown func(how Shutdown, failed func())
	Abort    func() bool

	// Freeze and Thaw stop and start again what runs beside commands: the bus,
	// replication. They are called under the world lock.
	Freeze, Thaw func()

	// Reload saves the data set to disk and loads it again (DEBUG RELOAD); it
	// holds the world lock by itself. Its error's text is the reply.
	Reload func(o Reload) error
	// LoadAOF flushes the append-only file and loads it again (DEBUG LOADAOF).
	LoadAOF func() error
	// ChangeReplID gives the node a new replication id.
	ChangeReplID func()
	// KillLink closes links of the bus to or from a node (DEBUG CLUSTERLINK KILL).
	KillLink func(to, from bool, node string) error
	// PacketFilter drops received messages of the bus by type, -1 none, -2 all;
	// CloseOnDrop also closes their links; RandomPing turns the random pings of
	// the bus on or off (DEBUG DROP-CLUSTER-PACKET-FILTER and its kin).
	PacketFilter func(messageType int)
	CloseOnDrop  func(on bool)
	RandomPing   func(on bool)
	// Crash ends the process as a fault of its own would; nil panics.
	Crash func(why string)

	Now func() time.Time // nil: time.Now
}

// Reload says what DEBUG RELOAD was asked to do.
type Reload struct {
	NoSave  bool // load the file that exists
	NoFlush bool // keep the present keys
	Merge   bool // keys of the file win over present ones
}

// Shutdown says how SHUTDOWN was called; zero values leave the choice to the
// configuration.
type Shutdown struct {
	Save   bool // save even without save points
	NoSave bool // do not save
	Now    bool // do not wait for replicas
	Force  bool // exit even if saving fails
}

type admin struct{ Options }

// Specs returns the literals of the package's commands.
func Specs(o Options) []*command.Spec {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &admin{o}
	return a.specs()
}
