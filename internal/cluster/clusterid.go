package cluster

import "fmt"

// Two clusters that meet, by an address that changed hands or a mistaken MEET,
// become one in Redis and fight over each slot. With ClusterIDGuard a cluster
// has an id, which its nodes tell in bytes of the header that are zero and
// ignored elsewhere, and a node does not shake hands with a node of another id.
// A ping extension would not do: it may be sent only to those who have announced
// that they take extensions, after the handshake that it is to prevent, and
// Redis 7 logs each one that it does not know.
//
// A cluster gets its id once all slots have owners and it serves: before that,
// groups of nodes may be met into one in any order. The owner of slot 0 draws one
// a node timeout later, any other primary after three, in case that owner is of
// another kind. Who has none takes that of the first member it hears. Where
// members differ (two drew at a time, or one lost a save) the id that most
// primaries tell remains, of several the smallest. The word of nodes without
// slots does not count beside theirs, or a node met by two clusters would make
// them one.
//
// An id ends with RESET, or when FORGET leaves a node without slots alone. Nodes
// without an id, new or of another kind, meet and are met as in Redis.

// Node timeouts until a serving cluster without an id draws one.
const (
	nameTimeouts     = 1
	lateNameTimeouts = 3
)

// tickClusterID draws the id when it is time, and settles which one remains.
func (m *Machine) tickClusterID() {
	if m.idsDiffer {
		m.idsDiffer = false
		if id := m.commonID(); id != m.clusterID {
			m.setClusterID(id, nil)
		}
	}
	if m.clusterID != 0 || !m.cfg.ClusterIDGuard || m.state != StateOK || m.assigned < SlotCount || !m.self.votingPrimary() {
		return
	}
	wait := Millis(lateNameTimeouts)
	if m.owner(0) == m.self {
		wait = nameTimeouts
	}
	if m.since(m.okSince) >= wait*m.cfg.NodeTimeout {
		m.setClusterID(max(m.rnd.Uint64(), 1), nil)
	}
}

// commonID is the id that most of the voting primaries tell, the smallest of
// several. A node that has just joined may know none of them; then the other
// members count.
func (m *Machine) commonID() uint64 {
	m.self.clusterID = m.clusterID
	voters, others := map[uint64]int{}, map[uint64]int{}
	for _, n := range m.nodes {
		switch {
		case n.isFail() || n.clusterID == 0:
		case n.votingPrimary():
			voters[n.clusterID]++
		case n != m.self:
			others[n.clusterID]++
		}
	}
	if len(voters) == 0 {
		voters = others
	}
	best, most := m.clusterID, 0
	for id, n := range voters {
		if n > most || n == most && id < best {
			best, most = id, n
		}
	}
	return best
}

// takeClusterID notes the id that a member tells.
func (m *Machine) takeClusterID(sender *node, id uint64) {
	sender.clusterID = id
	switch {
	case id == 0 || id == m.clusterID:
	case m.clusterID == 0:
		m.setClusterID(id, sender)
	default:
		m.idsDiffer = true
	}
}

func (m *Machine) setClusterID(id uint64, from *node) {
	m.clusterID = id
	m.viewChanged = true
	m.eventX(Event{Level: LevelInfo, What: "cluster id", Info: fmt.Sprintf("id=%016x", id), Slot: -1}, from)
	m.save(false)
}

// loseClusterID makes this node one without cluster.
func (m *Machine) loseClusterID() {
	m.clusterID, m.idsDiffer, m.viewChanged = 0, false, true
}

// foreign tells whether the sender of a message belongs to another cluster, and
// says so in the log. It is asked about those who are no proven members.
func (m *Machine) foreign(msg *Message) bool {
	if !m.cfg.ClusterIDGuard || m.clusterID == 0 || msg.ClusterID == 0 || msg.ClusterID == m.clusterID {
		return false
	}
	if m.foreignLog == 0 || m.since(m.foreignLog) >= foreignLogPeriod {
		m.foreignLog = m.now.Mono
		m.eventX(Event{Level: LevelWarn, What: "a node of another cluster was refused", Node: msg.Sender, Slot: -1,
			Info: fmt.Sprintf("id=%016x", msg.ClusterID)}, nil)
	}
	return true
}

// foreignLogPeriod is the time between two such lines: who is refused may try
// again at each tick.
const foreignLogPeriod Millis = 10_000

// hearsay checks the first message of a node that is a member by gossip only, also
// across restarts. A node without id may be of two clusters and tell each about
// the other. It returns false if the node is foreign, and then keeps it out for a
// while. The primary that self follows is there by the operator's will.
func (m *Machine) hearsay(n *node, msg *Message) bool {
	n.hearsay = false
	if !m.foreign(msg) || n == m.self.primary {
		m.save(false)
		return true
	}
	m.blacklist = append(m.blacklist, blacklisted{id: n.id, until: m.now.Mono + m.cfg.NodeTimeout, quiet: true})
	m.deleteNode(n)
	m.todo |= todoState
	m.save(false)
	return false
}
