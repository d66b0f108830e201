package cluster

import "fmt"

// Ready is what the machine wants done, in the order of the fields (see the
// package doc). Its slices belong to the caller until the next Ready, what they and
// Save and View point to until it is given back to Settings.Pool.
type Ready struct {
	Save *NodesConf // nil: nothing to save
	Sync bool       // Save must be durable before anything below happens
	View *View      // nil: the published view is still right

	Effects []Effect
	Close   []LinkID
	Dial    []Dial
	Send    []Envelope
}

// Dial asks for a connection to a node's bus port. The driver answers with
// LinkUp or LinkDown.
type Dial struct {
	Link LinkID
	Node NodeID // for the log: a handshake node has a made-up id
	IP   string
	Port uint16
}

// Envelope is a message to queue on a link. On a link that is still connecting
// it waits until the connection stands and then goes out in order; it is lost
// with the link. Msg may be shared by several envelopes.
type Envelope struct {
	Link LinkID
	Msg  *Message
}

// Effect is something to be done outside the cluster protocol. Effects are
// carried out in order.
type Effect interface{ effect() }

// Follow makes this node a replica: it replicates from the address, keeps its
// data if FullResync is clear and a partial resync can be tried, unblocks
// blocked clients with -UNBLOCKED. It also comes when the address of the
// primary changed.
type Follow struct {
	ID         uint64 // for Local.FollowID
	Primary    NodeID
	IP         string
	Port       uint16 // of the kind that tls-replication asks for
	FullResync bool
}

// Promote ends replication and keeps the data; the node is a primary now.
type Promote struct{}

// PauseWrites stops client writes, expiry, eviction and replication PINGs until
// the monotonic time Until or a ResumeWrites. When no more write can enter the
// log the driver steps Local with the final offset, then Done with ID.
type PauseWrites struct {
	ID    uint64
	Until Millis
}

// ResumeWrites ends PauseWrites.
type ResumeWrites struct{}

// DropSlotKeys deletes all keys of the slots, which this node lost to another
// primary. The deletions are propagated.
type DropSlotKeys struct{ Slots *SlotSet }

// FlushAll deletes the whole data set (CLUSTER RESET of a replica).
type FlushAll struct{}

// SlotsLost says that this node no longer serves the slots: subscribers of
// their shard channels are unsubscribed.
type SlotsLost struct{ Slots *SlotSet }

// Event is a line for the log: What is a fixed phrase, the other fields are set
// where they say something.
type Event struct {
	Level EventLevel
	What  string
	Node  NodeID
	Other NodeID
	Slot  int // -1 if none
	Epoch uint64
	Info  string
}

// EventLevel grades events.
type EventLevel uint8

// The levels: what one would debug with, tell a colleague, worry about.
const (
	LevelDebug EventLevel = iota
	LevelInfo
	LevelWarn
)

func (Follow) effect()       {}
func (Promote) effect()      {}
func (PauseWrites) effect()  {}
func (ResumeWrites) effect() {}
func (DropSlotKeys) effect() {}
func (FlushAll) effect()     {}
func (SlotsLost) effect()    {}
func (Event) effect()        {}

// String gives the event on one line.
func (e Event) String() string {
	s := e.What
	if !e.Node.IsZero() {
		s += " node=" + e.Node.String()
	}
	if !e.Other.IsZero() {
		s += " other=" + e.Other.String()
	}
	if e.Slot >= 0 {
		s += fmt.Sprintf(" slot=%d", e.Slot)
	}
	if e.Epoch != 0 {
		s += fmt.Sprintf(" epoch=%d", e.Epoch)
	}
	if e.Info != "" {
		s += " " + e.Info
	}
	return s
}
