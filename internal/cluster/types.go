package cluster

import (
	"encoding/binary"
	"math/bits"
)

// SlotCount is the number of hash slots. Source: cluster specification, "Key
// distribution model".
const SlotCount = 16384

// IDLen is the length of a node id and of a shard id.
const IDLen = 40

// NoSlotOwner stands for "no node" in slot tables of node indexes.
const NoSlotOwner = ^uint16(0)

// Millis is a number of milliseconds: a duration, or a point on the clock its
// field names (monotonic or Unix).
type Millis int64

// Times is one reading of both clocks. Timeouts use Mono, which starts anywhere
// above zero and never goes back; times that travel or are shown use Wall
// (Unix milliseconds).
type Times struct {
	Mono Millis
	Wall Millis
}

// Rand is the machine's source of chance: n uniform bits a call. Simulated
// worlds pass a seeded generator.
type Rand interface {
	Uint64() uint64
}

// NodeID is a node id, or a shard id, which has the same form: 40 characters.
// The zero value means none.
type NodeID [IDLen]byte

// ParseID reads an id as the bus, nodes.conf and commands accept it: exactly 40
// characters, each a-z or 0-9.
func ParseID[T string | []byte](s T) (id NodeID, ok bool) {
	if len(s) != IDLen {
		return NodeID{}, false
	}
	copy(id[:], s)
	return id, id.Valid()
}

// Valid tells whether id has the form of an id; zero has not.
func (id NodeID) Valid() bool {
	for _, c := range id {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// IsZero tells whether id means no node.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// Same is *id == *o in a few instructions: the compiler calls a function for it.
func (id *NodeID) Same(o *NodeID) bool {
	le := binary.LittleEndian
	return le.Uint64(id[:])^le.Uint64(o[:])|le.Uint64(id[8:])^le.Uint64(o[8:])|le.Uint64(id[16:])^le.Uint64(o[16:])|
		le.Uint64(id[24:])^le.Uint64(o[24:])|le.Uint64(id[32:])^le.Uint64(o[32:]) == 0
}

// String returns the 40 characters, or "-" for the zero id.
func (id NodeID) String() string {
	if id.IsZero() {
		return "-"
	}
	return string(id[:])
}

// Less orders ids bytewise.
func (id NodeID) Less(o NodeID) bool {
	for i := range id {
		if id[i] != o[i] {
			return id[i] < o[i]
		}
	}
	return false
}

// Flags is the flag word of a node as it travels in headers and gossip.
type Flags uint16

// The bits of Flags, spec 3.2.
const (
	FlagPrimary     Flags = 1 << iota // serves or may serve slots
	FlagReplica                       // follows a primary
	FlagPFail                         // suspected by the local node
	FlagFail                          // failed, by agreement
	FlagMyself                        // the local node
	FlagHandshake                     // name not yet learnt
	FlagNoAddr                        // address unknown
	FlagMeet                          // greet with MEET on connect
	FlagMigrateTo                     // valid target of replica migration
	FlagNoFailover                    // starts no automatic election
	FlagExtensions                    // accepts ping extensions
	FlagLightPubSub                   // accepts light PUBLISH and PUBLISHSHARD
	FlagLightModule                   // accepts light MODULE; copes with repeated MEET
	FlagPrimaryFail                   // its own primary is FAIL to it (Valkey 9.1)
)

// Has tells whether all bits of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// Any tells whether at least one bit of want is set.
func (f Flags) Any(want Flags) bool { return f&want != 0 }

// Addr is where a node is reached. A port that a node does not serve is 0. IP
// is text in canonical form, empty while unknown.
type Addr struct {
	IP      string
	Port    uint16 // TCP port for clients
	TLSPort uint16 // TLS port for clients
	BusPort uint16
}

// SlotSet is a set of slots in the order of the wire: slot s is bit s%8, least
// significant first, of byte s/8. A nil *SlotSet is the empty set for all
// methods that only read. Sets inside a Message, a View or a NodesConf are
// immutable, so that they can be shared.
type SlotSet [SlotCount / 8]byte

// Has tells whether slot is in the set.
func (s *SlotSet) Has(slot int) bool {
	return s != nil && s[slot>>3]&(1<<(slot&7)) != 0
}

// byte is the i-th byte of the set.
func (s *SlotSet) byte(i int) byte {
	if s == nil {
		return 0
	}
	return s[i]
}

// word is the 64 slots from the i-th byte on.
func (s *SlotSet) word(i int) uint64 { return binary.LittleEndian.Uint64(s[i:]) }

// Add puts slot into the set.
func (s *SlotSet) Add(slot int) { s[slot>>3] |= 1 << (slot & 7) }

// Remove takes slot out of the set.
func (s *SlotSet) Remove(slot int) { s[slot>>3] &^= 1 << (slot & 7) }

// Len counts the slots of the set.
func (s *SlotSet) Len() int {
	if s == nil {
		return 0
	}
	n := 0
	for i := 0; i < len(s); i += 8 {
		n += bits.OnesCount64(s.word(i))
	}
	return n
}

// Empty tells whether the set has no slot.
func (s *SlotSet) Empty() bool { return s == nil || *s == noSlots }

// Equal compares two sets; nil equals an empty set.
func (s *SlotSet) Equal(o *SlotSet) bool {
	switch {
	case s == o:
		return true
	case s == nil:
		return o.Empty()
	case o == nil:
		return s.Empty()
	}
	return *s == *o
}

// contains tells whether all slots of o are in s.
func (s *SlotSet) contains(o *SlotSet) bool {
	if o == nil {
		return true
	}
	for i := range o {
		if o[i]&^s.byte(i) != 0 {
			return false
		}
	}
	return true
}

// Overlaps tells whether a slot is in both sets.
func (s *SlotSet) Overlaps(o *SlotSet) bool {
	if s == nil || o == nil {
		return false
	}
	for i := 0; i < len(s); i += 8 {
		if s.word(i)&o.word(i) != 0 {
			return true
		}
	}
	return false
}

// Next returns the first slot >= from in the set, or -1.
func (s *SlotSet) Next(from int) int {
	if s == nil || from >= SlotCount {
		return -1
	}
	i := from >> 3
	if b := s[i] >> (from & 7); b != 0 {
		return from + bits.TrailingZeros8(b)
	}
	for i++; i < len(s); i++ {
		if i&7 == 0 && s.word(i) == 0 {
			i += 7
			continue
		}
		if s[i] != 0 {
			return i<<3 + bits.TrailingZeros8(s[i])
		}
	}
	return -1
}

// nextGap returns the first slot >= from that is not in the set, SlotCount if
// there is none.
func (s *SlotSet) nextGap(from int) int {
	for from < SlotCount && s.Has(from) {
		if from&63 == 0 && s.word(from>>3) == ^uint64(0) {
			from += 64
		} else {
			from++
		}
	}
	return from
}

// All ranges over the slots in ascending order.
func (s *SlotSet) All() func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for slot := s.Next(0); slot >= 0; slot = s.Next(slot + 1) {
			if !yield(slot) {
				return
			}
		}
	}
}

// Ranges ranges over the maximal runs of consecutive slots, both ends included.
func (s *SlotSet) Ranges() func(yield func(first, last int) bool) {
	return func(yield func(first, last int) bool) {
		for slot := s.Next(0); slot >= 0; {
			last := s.nextGap(slot) - 1
			if !yield(slot, last) {
				return
			}
			slot = s.Next(last + 1)
		}
	}
}

// SlotMark is an open slot of the local node: Slot is migrating to, or
// importing from, Node.
type SlotMark struct {
	Slot uint16
	Node NodeID
}

// NodesConf is everything that nodes.conf holds. The machine returns it to be
// saved and takes it back at start; it is immutable once it left its maker.
type NodesConf struct {
	CurrentEpoch  uint64
	LastVoteEpoch uint64
	ClusterID     uint64     // 0: none
	Nodes         []ConfNode // exactly one has FlagMyself
}

// ConfNode is one node line. Handshake nodes are never in it.
type ConfNode struct {
	ID           NodeID
	Addr         Addr
	Hostname     string
	Nodename     string
	ClientIPv4   string
	ClientIPv6   string
	ShardID      NodeID // zero when the file had none
	Flags        Flags
	Primary      NodeID // zero when none or unknown
	Hearsay      bool   // known from gossip only
	PingSent     Millis // Unix time, 0 if no ping is pending
	PongReceived Millis // Unix time
	ConfigEpoch  uint64
	Connected    bool // an outbound link exists; ignored on load
	Slots        *SlotSet
	Migrating    []SlotMark // myself line only, ascending
	Importing    []SlotMark // myself line only, ascending
}
