package cluster

// Type is the kind of a bus message, without the light bit.
type Type uint16

// The message types, spec 3.3. A Message of a type >= TypeCount is well formed
// but carries only its header.
const (
	TypePing Type = iota
	TypePong
	TypeMeet
	TypeFail
	TypePublish
	TypeAuthRequest
	TypeAuthAck
	TypeUpdate
	TypeMFStart
	TypeModule
	TypePublishShard
	TypeCount
)

var typeNames = [TypeCount]string{
	"ping", "pong", "meet", "fail", "publish", "auth-req", "auth-ack",
	"update", "mfstart", "module", "publishshard",
}

// String returns the name used by the counters of CLUSTER INFO.
func (t Type) String() string {
	if t < TypeCount {
		return typeNames[t]
	}
	return "unknown"
}

// The bits of Message.MFlags, spec 3.6.
const (
	MFlagPaused   uint8 = 1 << iota // sender is a primary in a manual failover
	MFlagForceAck                   // vote even though the primary is up
	MFlagExtData                    // sender supports ping extensions
)

// Message is a bus message in Go's terms; codec.go turns it into bytes and
// back. It is immutable once sent or received: one Message may be queued to
// many links, and the machine keeps the sets inside it.
//
// Ports are as on the wire, of the bus's own kind: with tls-cluster Port is the
// TLS port and PPort the TCP port, else the other way round.
type Message struct {
	Type  Type
	Light bool // header of 16 bytes: every header field below is zero

	Port         uint16
	PPort        uint16
	BusPort      uint16
	CurrentEpoch uint64
	ConfigEpoch  uint64 // of the sender, or of its primary
	Offset       uint64 // replication offset
	Sender       NodeID
	Slots        *SlotSet // of the sender, or of its primary; nil = none
	ReplicaOf    NodeID   // zero when the sender has no primary
	IP           string   // announced address, usually empty
	ClusterID    uint64   // 0: none (clusterid.go)
	Flags        Flags
	State        uint8 // the sender's cluster state: StateOK or StateFail
	MFlags       uint8

	Gossip []GossipEntry // PING, PONG, MEET
	Ext    Extensions    // PING, PONG, MEET
	Fail   NodeID        // FAIL: the failed node
	Pub    *Publish      // PUBLISH, PUBLISHSHARD
	Update *Update       // UPDATE
	Module *Module       // MODULE
}

// Values of Message.State and View.State.
const (
	StateOK   uint8 = 0
	StateFail uint8 = 1
)

// GossipEntry is what the sender thinks of one node.
type GossipEntry struct {
	Node        NodeID
	PingSentSec uint32 // Unix seconds, 0 if no ping is pending
	PongRecvSec uint32 // Unix seconds
	IP          string
	Port        uint16 // bus kind, as Message.Port
	PPort       uint16
	BusPort     uint16
	Flags       Flags
}

// Extensions are the ping extensions. Empty or zero fields are absent. The
// codec tells extension 4's two meanings apart by bit LightPubSub of the
// header's flags (spec 3.7.6). Order on the wire: 0, 1, 4 (IPv4), 5, every 2,
// 3, 6, 7, 8, 4 (secret).
type Extensions struct {
	Hostname      string      // 0
	Nodename      string      // 1
	Forgotten     []Forgotten // 2
	ShardID       NodeID      // 3
	ClientIPv4    string      // 4, Valkey
	Secret        []byte      // 4, Redis 8: 40 bytes
	ClientIPv6    string      // 5
	ClientPort    uint16      // 6
	ClientTLSPort uint16      // 7
	Zone          string      // 8
}

// Forgotten says that Node was forgotten and stays so for TTLSec more seconds.
type Forgotten struct {
	Node   NodeID
	TTLSec uint64
}

// Publish is the payload of PUBLISH and PUBLISHSHARD.
type Publish struct {
	Channel []byte
	Payload []byte
}

// Update tells a node with stale data what Node owns.
type Update struct {
	ConfigEpoch uint64
	Node        NodeID
	Slots       *SlotSet
}

// Module is the payload of a module's own message. ID is the 8 bytes as read
// little endian.
type Module struct {
	ID      uint64
	Kind    uint8
	Payload []byte
}
