package cluster

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// node is one entry of the node table. All times are monotonic, 0 = never. What every
// tick and every gossip entry looks at is here, each group a line of cache, and close
// to that of other nodes: with many of them each line, and each page, is from memory.
type node struct {
	id       NodeID
	flags    Flags
	accusers uint16 // len(reports)
	mark     uint32 // scratch of gossip filling
	pingSent Millis
	pongRecv Millis

	out       *link
	in        *link
	addr      Addr
	slotCount int
	dataRecv  Millis
	*nodeRest
}

// nodeRest is what is asked for when a node says something itself, or less often.
type nodeRest struct {
	reports      []report
	created      Millis
	meetSent     Millis
	inboundFreed Millis
	primary      *node
	slots        *SlotSet  // nil = none; may be shared with messages, see ownSlots
	view         *NodeView // cached, nil after a change: see Machine.outdate

	gone        bool   // deleted from the table
	hearsay     bool   // known from gossip only (clusterid.go)
	shared      bool   // slots came from outside or went there: to be copied before a change
	idx         uint16 // names the node in Machine.owners; reused after deletion
	configEpoch uint64 // own, also for a replica: see Machine.epochOf
	clusterID   uint64 // as it told last
	offset      uint64
	replicas    []*node // by id
	failTime    Millis

	shard         NodeID
	orphanedSince Millis
	voted         Millis // last vote for a replica of this primary
	refusedSince  Millis // connecting is refused since then, 0 = it is not

	refusedLast Millis // the last refusal of that run
	primaryAt   Millis // when it was heard to have become a primary
	hostname    string
	nodename    string
	clientIPv4  string
	clientIPv6  string

	_ [40]byte // makes the size one that the allocator aligns to lines
}

// report is one node's word that another fails.
type report struct {
	from *node
	at   Millis
}

// link is one connection. An accepted link has no node until it is bound.
type link struct {
	id      LinkID
	node    *node
	created Millis
	up      bool
	ponged  bool // a PONG came since it was created
	closed  bool
}

func (n *node) is(f Flags) bool     { return n.flags&f != 0 }
func (n *node) isPrimary() bool     { return n.flags&FlagPrimary != 0 }
func (n *node) isReplica() bool     { return n.flags&FlagReplica != 0 }
func (n *node) isFail() bool        { return n.flags&FlagFail != 0 }
func (n *node) isPFail() bool       { return n.flags&FlagPFail != 0 }
func (n *node) inHandshake() bool   { return n.flags&FlagHandshake != 0 }
func (n *node) votingPrimary() bool { return n.isPrimary() && n.slotCount > 0 }

// top is the primary at the head of n's chain of primaries; n itself when its
// primary is unknown. Chains are short, and the bound stops at cycles that
// contradictory headers could draw.
func (n *node) top() *node {
	for range 16 {
		if n.primary == nil {
			return n
		}
		n = n.primary
	}
	return n
}

// healthyReplicas counts replicas that are not FAIL.
func (n *node) healthyReplicas() int {
	c := 0
	for _, r := range n.replicas {
		if !r.isFail() {
			c++
		}
	}
	return c
}

// ownSlots returns n's slot set for writing.
func (n *node) ownSlots() *SlotSet {
	switch {
	case n.slots == nil:
		n.slots = new(SlotSet)
	case n.shared:
		c := *n.slots
		n.slots = &c
	}
	n.shared = false
	return n.slots
}

// sameSlots tells whether b is what n owns. If it is, n keeps b from now on:
// messages mostly bring the very same set again, and then a look at the pointer is
// enough. b must be immutable.
func (n *node) sameSlots(b *SlotSet) bool {
	if n.slots == b {
		return true
	}
	if !n.slots.Equal(b) {
		return false
	}
	if b != nil && n.slots != nil {
		n.slots, n.shared = b, true
	}
	return true
}

// shareSlots returns n's slot set for something immutable.
func (n *node) shareSlots() *SlotSet {
	if n.slotCount == 0 {
		return nil
	}
	n.shared = true
	return n.slots
}

func (m *Machine) addReplica(n, r *node) {
	i, found := slices.BinarySearchFunc(n.replicas, r, compareID)
	if found {
		return
	}
	n.replicas = slices.Insert(n.replicas, i, r)
	n.flags |= FlagMigrateTo // 4.1.4
	m.outdate(n)
}

func (m *Machine) removeReplica(n, r *node) {
	i, found := slices.BinarySearchFunc(n.replicas, r, compareID)
	if !found {
		return
	}
	n.replicas = slices.Delete(n.replicas, i, i+1)
	if len(n.replicas) == 0 {
		n.flags &^= FlagMigrateTo
	}
	m.outdate(n)
}

func compareID(a, b *node) int {
	switch {
	case a == b || a.id == b.id:
		return 0
	case a.id.Less(b.id):
		return -1
	}
	return 1
}

// node table of the machine

// find is byID[*id], mostly without the cost of hashing 40 bytes.
func (m *Machine) find(id *NodeID) *node {
	places := m.foundPlaces(id)
	for _, n := range places {
		if n != nil && n.id.Same(id) {
			return n
		}
	}
	n := m.byID[*id]
	if n != nil {
		places[1], places[0] = places[0], n
	}
	return n
}

// foundPlaces is where find looks for an id. No node that was deleted is there.
func (m *Machine) foundPlaces(id *NodeID) *[2]*node {
	return &m.found[binary.LittleEndian.Uint64(id[:])*0x9E3779B97F4A7C15>>m.foundShift]
}

// addNode puts a new node into the table.
func (m *Machine) addNode(id NodeID, flags Flags) *node {
	n := &node{id: id, flags: flags, nodeRest: &nodeRest{created: m.now.Mono, shard: m.randomID()}}
	if k := len(m.freeIdx); k > 0 {
		n.idx = m.freeIdx[k-1]
		m.freeIdx = m.freeIdx[:k-1]
		m.byIdx[n.idx] = n
	} else {
		if len(m.byIdx) >= int(NoSlotOwner) {
			panic("cluster: more than 65534 nodes")
		}
		n.idx = uint16(len(m.byIdx))
		m.byIdx = append(m.byIdx, n)
	}
	m.nodes = append(m.nodes, n)
	m.byID[id] = n
	if 2*len(m.nodes) > len(m.found) {
		m.found = make([][2]*node, max(2*len(m.found), 32))
		m.foundShift = 64 - uint(bits.TrailingZeros(uint(len(m.found))))
		m.linkFound = make([][2]*link, len(m.found))
	}
	m.tableChanged, m.viewChanged = true, true
	return n
}

// renameNode gives a handshake node its real id.
func (m *Machine) renameNode(n *node, id NodeID) {
	delete(m.byID, n.id)
	n.id = id
	m.byID[id] = n
	m.changed(n)
}

// deleteNode takes n out of the table and of everything that points at it
// (4.1.5).
func (m *Machine) deleteNode(n *node) {
	for slot := range n.slots.All() {
		m.unbind(slot)
	}
	for slot, to := range m.migrating {
		if to == n {
			delete(m.migrating, slot)
		}
	}
	for slot, from := range m.importing {
		if from == n {
			delete(m.importing, slot)
		}
	}
	m.forgetMoves(n)
	for _, o := range m.nodes {
		o.dropReport(n)
	}
	m.setPrimary(n, nil)
	for _, r := range slices.Clone(n.replicas) {
		m.removeReplica(n, r)
		r.primary = nil
		m.changed(r)
	}
	m.closeLink(n.out)
	m.closeLink(n.in)
	if m.mfReplica == n && !m.mfPromised {
		m.resetManualFailover()
	}
	if _, counted := m.voters[n]; counted {
		delete(m.voters, n)
		m.votes--
	}
	delete(m.outvoted, n)
	m.suspects = slices.DeleteFunc(m.suspects, func(s *node) bool { return s == n })
	i := slices.Index(m.nodes, n)
	m.nodes = slices.Delete(m.nodes, i, i+1)
	delete(m.byID, n.id)
	m.byIdx[n.idx] = nil
	m.freeIdx = append(m.freeIdx, n.idx)
	n.gone = true
	m.deletions++
	for places, i := m.foundPlaces(&n.id), 0; i < len(places); i++ {
		if places[i] == n {
			places[i] = nil
		}
	}
	m.tableChanged, m.viewChanged = true, true
}

// setPrimary moves n from its present primary's list to that of p, which may be
// nil. It leaves flags alone but for MIGRATE_TO of the two primaries.
func (m *Machine) setPrimary(n, p *node) {
	if n.primary == p {
		return
	}
	if n.primary != nil {
		m.removeReplica(n.primary, n)
	}
	n.primary = p
	if p != nil {
		m.addReplica(p, n)
	}
	m.changed(n)
}

// epochOf is the configEpoch that n reports: its primary's if it has one.
func (m *Machine) epochOf(n *node) uint64 {
	if n.primary != nil {
		return n.primary.configEpoch
	}
	return n.configEpoch
}

// changed notes that something of n that a View shows has changed.
func (m *Machine) changed(n *node) {
	m.outdate(n)
	for _, r := range n.replicas { // they show its epoch and shard
		m.outdate(r)
	}
	m.viewChanged = true
}

// outdate drops what the last view shows of n.
func (m *Machine) outdate(n *node) {
	if n.view != nil {
		n.view = nil
		m.outdated = append(m.outdated, n)
	}
}

// links

// link is links[id], mostly without a search.
func (m *Machine) link(id LinkID) *link {
	places := &m.linkFound[uint64(id)*0x9E3779B97F4A7C15>>m.foundShift]
	for _, l := range places {
		if l != nil && l.id == id && !l.closed {
			return l
		}
	}
	l := m.links[id]
	if l != nil {
		places[1], places[0] = places[0], l
	}
	return l
}

// bind makes an accepted link n's inbound link.
func (m *Machine) bind(l *link, n *node) {
	if n.in == l {
		return
	}
	if o := l.node; o != nil && o.in == l {
		o.in, o.inboundFreed = nil, m.now.Mono
	}
	m.closeLink(n.in)
	l.node = n
	n.in = l
}

// closeLink asks the driver to close l and forgets it. l may be nil.
func (m *Machine) closeLink(l *link) {
	if l == nil || l.closed {
		return
	}
	m.out.Close = append(m.out.Close, l.id)
	m.dropLink(l)
}

// dropLink forgets a link that is closed or about to be.
func (m *Machine) dropLink(l *link) {
	l.closed = true
	delete(m.links, l.id)
	n := l.node
	if n == nil {
		return
	}
	if n.out == l {
		n.out = nil
		m.changed(n)
	}
	if n.in == l {
		n.in = nil
		n.inboundFreed = m.now.Mono
	}
}

// dial starts the outbound link of n.
func (m *Machine) dial(n *node) {
	m.lastLink++
	l := &link{id: m.lastLink, node: n, created: m.now.Mono}
	m.links[l.id] = l
	n.out = l
	m.changed(n)
	m.out.Dial = append(m.out.Dial, Dial{Link: l.id, Node: n.id, IP: n.addr.IP, Port: n.addr.BusPort})
}

// ids and chance

// randomID draws 40 characters of 0-9a-f.
func (m *Machine) randomID() (id NodeID) {
	const hex = "0123456789abcdef"
	for i := 0; i < IDLen; {
		for w, k := m.rnd.Uint64(), 0; k < 16 && i < IDLen; k, i = k+1, i+1 {
			id[i] = hex[w&15]
			w >>= 4
		}
	}
	return id
}

// intn draws 0..n-1.
func (m *Machine) intn(n int) int { return int((m.rnd.Uint64() >> 1) % uint64(n)) }
