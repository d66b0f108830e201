package cluster

// LinkID names one connection of the bus. The machine chooses the ids of the
// links it dials; the driver chooses those of accepted connections with
// InboundLink. No id is used twice in the life of a machine.
type LinkID uint64

const inboundBit LinkID = 1 << 63

// InboundLink makes the id of the n-th accepted connection.
func InboundLink(n uint64) LinkID { return LinkID(n) | inboundBit }

// Inbound tells whether the link was accepted rather than dialled.
func (l LinkID) Inbound() bool { return l&inboundBit != 0 }

// Input is one thing that happened, for Machine.Step.
type Input interface{ input() }

// Tick is the cron; the driver sends it every TickPeriod.
type Tick struct{}

// Wake is a look at the clock between two Ticks: the driver sends it at the time
// that Machine.WakeAt names. Without it all happens, at the next Tick.
type Wake struct{}

// TickPeriod is the time between two Ticks, spec 5.1.
const TickPeriod Millis = 100

// Recv is one message that arrived complete and valid on Link. PeerIP and
// LocalIP are the socket's addresses as canonical text, empty if unknown. Full
// PUBLISH and MODULE messages are passed in too: the machine takes what their
// header says and leaves the payload to the driver. Messages for a link that
// the machine closed are ignored.
type Recv struct {
	Link    LinkID
	Msg     *Message
	PeerIP  string
	LocalIP string
}

// Heard says that a light message arrived on Link; the driver delivers it
// itself if Machine.LinkNode knows the sender. The machine closes the link if
// it is bound to no member (3.8 rule 2).
type Heard struct{ Link LinkID }

// Accepted says that a peer connected to the bus port.
type Accepted struct{ Link LinkID }

// LinkUp says that the connection asked for by a Dial stands.
type LinkUp struct{ Link LinkID }

// LinkDown says that a link is gone: connecting failed, the peer closed it, an
// I/O or framing error, or its send buffer passed the limit. Refused says that
// the peer's host answered and refused the connection. Links that the machine
// closed itself need no LinkDown.
type LinkDown struct {
	Link    LinkID
	Refused bool
}

// Local tells facts about the node's own data. The driver sends it before each
// Tick, and at once when the offset changes while a manual failover runs on a
// replica (View.ManualFailover).
type Local struct {
	// ReplOffset is the node's replication offset: as a primary that of its
	// log, as a replica that of the last byte it applied.
	ReplOffset uint64
	// PrimaryLinkUp says that the replication link to the primary stands and
	// the first sync is done.
	PrimaryLinkUp bool
	// PrimaryLinkAge is the time since the last byte from the primary if the
	// link is up, else since it went down; negative if it never was up.
	PrimaryLinkAge Millis
	// Unsynced says that the data is not a complete state of this shard: the
	// first full sync with its primary is not done. Such a replica never
	// becomes a primary by election.
	Unsynced bool
	// FollowID is the ID of the last Follow carried out. Facts about the link
	// to the primary of an earlier Follow are ignored; 0 leaves that unchecked.
	FollowID uint64
}

// Done says that the effect with this id has been carried out. Only
// PauseWrites asks for it; a Local with the final offset must come before.
type Done struct{ ID uint64 }

func (Tick) input()     {}
func (Wake) input()     {}
func (Recv) input()     {}
func (Heard) input()    {}
func (Accepted) input() {}
func (LinkUp) input()   {}
func (LinkDown) input() {}
func (Local) input()    {}
func (Done) input()     {}

// Keyspace answers what the machine must know about the node's keys. It is
// called during Step and Admin and must not block.
type Keyspace interface {
	// Keys counts all keys of the node.
	Keys() int
	// KeysInSlot counts the keys of one slot.
	KeysInSlot(slot int) int
}
