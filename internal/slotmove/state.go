package slotmove

// State is how far a job is. Source: cluster specification, appendix A 3.
type State uint8

// The states.
const (
	// Of the source, in order.
	Connecting State = iota
	SendingAuth
	ReadingAuth
	SendingEstablish
	ReadingEstablish
	WaitingToSnapshot
	Snapshotting
	Replicating
	WaitingToPause
	FailoverPaused
	FailoverGranted // of both
	// Of the target, in order.
	WaitingForAck
	ReceivingSnapshot
	WaitingForPaused
	FailoverRequested
	CleaningUp
	// Of a replica of the target.
	OnPrimary
	// Final.
	Success
	Cancelled
	Failed
)

var stateNames = [...]string{"connecting", "sending-auth-command", "reading-auth-response", "sending-establish-command", "reading-establish-response",
	"waiting-to-snapshot", "snapshotting", "replicating", "waiting-to-pause", "failover-paused", "failover-granted",
	"waiting-for-ack", "receiving-snapshot", "waiting-for-paused", "failover-requested", "cleaning-up", "occurring-on-primary",
	"success", "cancelled", "failed"}

func (s State) String() string { return stateNames[s] }

// Final reports whether the job is over.
func (s State) Final() bool { return s >= Success }

// stateByName returns a final state, or another one for anything else.
func stateByName(name string) State {
	for s := Success; s <= Failed; s++ {
		if s.String() == name {
			return s
		}
	}
	return Connecting
}

// Times are readings of a clock that only goes forward, for limits, and of the
// wall clock, for people; milliseconds.
type Times struct{ Mono, Wall int64 }

// Job is what both sides and GETSLOTMIGRATIONS know of a migration.
type Job struct {
	Name     string
	Import   bool
	Slots    Slots
	Source   string // node ids
	Target   string
	Created  int64 // Unix ms, as the following
	Updated  int64 // state changed
	AckAt    int64 // the other side was heard
	State    State
	Message  string // why it failed
	OnlySeen bool   // as a replica of the target
}

// Limits are times in milliseconds and sizes in bytes that the machines obey.
type Limits struct {
	Silence   int64 // without a word from the other side, a migration fails
	Pause     int64 // writes wait at most so long for the target to ask for the slots
	GrantTTL  int64 // for so long after asking for the slots they may be taken
	Hold      int64 // after granting, the source waits at most so long to learn the outcome
	HoldAll   int64 // ... and so long in all, if heirs of the target ask meanwhile
	PauseLag  int64 // writes are stopped when no more than this is outstanding
	ProbeEach int64 // time between two probes

	// The target waits at most so long for its replicas to have what it received before
	// it lets the source stop writes. Once they have stopped it waits between the two
	// limits, twice as long as the replicas needed before; if that is not enough it lets
	// writes go on and begins again, Replicas in all.
	Replicas, PausedReplicas, PausedReplicasMax int64
}

// limits for a silence and a node timeout.
func limits(silence, nodeTimeout int64) Limits {
	hold := 2000 + 2*nodeTimeout
	return Limits{Silence: silence, Pause: 1000, GrantTTL: 2000, Hold: hold, HoldAll: 2 * hold, PauseLag: 128 << 10, ProbeEach: 100,
		Replicas: min(silence/4, 5000), PausedReplicas: 25, PausedReplicasMax: 100}
}

// Owner is who owns the slots of a job, as this node knows.
type Owner uint8

// The owners, as seen by the source and by the target alike.
const (
	OwnedBySource Owner = iota
	OwnedByTarget
	OwnedByOther
)

// EventKind is what happened to a job.
type EventKind uint8

// The events. What they carry stands in Event.
const (
	EvConnected  EventKind = iota // Flag: there is a password to send
	EvSent                        // the command of a sending state is written
	EvReply                       // Text: a line from the target
	EvBegun                       // the cut is made
	EvWalked                      // every record is sent
	EvLag                         // Lag: bytes that the target has not run yet
	EvFrozen                      // writes have stopped
	EvDrained                     // ... and everything before that is sent
	EvMsg                         // Msg: from the other side
	EvOwner                       // Owner: by the present view
	EvLost                        // the connection is gone. Text: why
	EvClosed                      // target: nothing of the connection runs any more
	EvCancel                      // by command
	EvFail                        // Text: why
	EvProbed                      // Text: the answer of Node
	EvTaken                       // target: the slots are its own
	EvRefused                     // target: they could not be taken. Text: why
	EvCleaned                     // target: what it had received is gone
	EvReplicated                  // target: its replicas have what was received (Flag), or the wait is over
	EvTick
)

// Event is an input of a machine.
type Event struct {
	Kind  EventKind
	Text  string
	Node  string
	Msg   *Msg
	Lag   int64
	Owner Owner
	Flag  bool
}

// ActionKind is what a machine wants done.
type ActionKind uint8

// The actions.
const (
	ActSend     ActionKind = iota // Msg, to the other side
	ActFreeze                     // source: stop writes; then EvFrozen, EvDrained
	ActThaw                       // source: let them go on
	ActHangUp                     // close the connection
	ActProbe                      // source: ask over a new connection; then EvProbed
	ActTake                       // target: claim the slots; then EvTaken or EvRefused
	ActShow                       // target: the slots are no longer hidden
	ActClean                      // target: delete what was received; then EvCleaned
	ActAnnounce                   // target: Msg, to its replicas
	ActReplicas                   // target: wait for its replicas, ReplicaWait at most; then EvReplicated
)

// Action is an output of a machine.
type Action struct {
	Kind ActionKind
	Msg  *Msg
}

// Answers to a probe, and to the question of an heir.
const (
	probeTaken = "TAKEN" // the slots are the target's
	probeNever = "NEVER" // they are not, and by this job will not be
	probeWait  = "WAIT"  // it is taking them now, or its heir may; ask again

	inheritGranted = "GRANTED" // take them within GrantTTL of the question
	inheritTaken   = "TAKEN"   // they are the shard's already
	inheritNever   = "NEVER"   // they stay where they are
)

// said is the reason that the other side gave.
func said(who, text string) string {
	if text == "" {
		return ""
	}
	return who + ": " + text
}
