package cluster

import "slices"

// View is what readers know about the cluster: an immutable snapshot, replaced
// whenever something in it changed. Times and replication offsets change with
// every message and are not in it: Machine.NodeStatus gives them.
type View struct {
	Me    int         // index of the local node in Nodes
	Nodes []*NodeView // any order; nodes still in handshake included

	// Owners maps a slot to the index in Nodes of its owner, or NoSlotOwner.
	Owners *[SlotCount]uint16
	// Mine are the slots the local node owns itself, Open those with a
	// migrating or importing marker.
	Mine *SlotSet
	Open *SlotSet

	migrating map[uint16]uint16 // slot -> index in Nodes; few
	importing map[uint16]uint16
	divided   map[uint16]uint16 // see divided.go
	draining  *SlotSet          // nil: none

	State          uint8 // StateOK or StateFail
	Size           int   // nodes with slots at the last evaluation: the seats of the quorum
	CurrentEpoch   uint64
	LastVoteEpoch  uint64
	ClusterID      uint64 // 0: none
	ManualFailover bool   // one is in progress here, as either side
	Paused         bool   // headers carry PAUSED
	NoRedirect     bool   // a module disabled redirection

	table  uint64  // Machine.tableGen: views of one table have each node in the same place
	header Message // of a message without payload; Offset and MFlags to fill in
}

// NodeView is one node of a View. It is shared by successive views.
type NodeView struct {
	ID          NodeID
	Addr        Addr
	Hostname    string
	Nodename    string
	ClientIPv4  string
	ClientIPv6  string
	ShardID     NodeID
	Flags       Flags
	Primary     NodeID // zero when none or unknown
	ConfigEpoch uint64 // as CLUSTER NODES shows it: a replica's is its primary's
	Slots       *SlotSet
	Link        LinkID // outbound link, 0 if none
	Light       bool   // light PUBLISH may be sent on Link
	HasOffset   bool   // a replication offset above 0 is known
}

// Myself returns the local node.
func (v *View) Myself() *NodeView { return v.Nodes[v.Me] }

// Node finds a node by id, nil if unknown. O(nodes).
func (v *View) Node(id NodeID) *NodeView {
	for _, n := range v.Nodes {
		if n.ID.Same(&id) {
			return n
		}
	}
	return nil
}

// Owner returns the owner of a slot, or nil.
func (v *View) Owner(slot int) *NodeView {
	if i := v.Owners[slot]; i != NoSlotOwner {
		return v.Nodes[i]
	}
	return nil
}

// MigratingTo returns the node a slot migrates to, or nil.
func (v *View) MigratingTo(slot int) *NodeView { return v.marker(v.migrating, slot) }

// ImportingFrom returns the node a slot is imported from, or nil.
func (v *View) ImportingFrom(slot int) *NodeView { return v.marker(v.importing, slot) }

// Markers lists the open slots in ascending order, as nodes.conf and a full sync
// hold them.
func (v *View) Markers() (migrating, importing []SlotMark) {
	for slot := range v.Open.All() {
		if n := v.MigratingTo(slot); n != nil {
			migrating = append(migrating, SlotMark{uint16(slot), n.ID})
		}
		if n := v.ImportingFrom(slot); n != nil {
			importing = append(importing, SlotMark{uint16(slot), n.ID})
		}
	}
	return migrating, importing
}

func (v *View) marker(marks map[uint16]uint16, slot int) *NodeView {
	if i, ok := marks[uint16(slot)]; ok {
		return v.Nodes[i]
	}
	return nil
}

// Header starts a message of type t without gossip, as PUBLISH needs it. offset
// is the node's replication offset. The caller owns the result.
func (v *View) Header(t Type, offset uint64) *Message {
	h := v.header
	h.Type = t
	h.Offset = offset
	if v.Paused {
		h.MFlags |= MFlagPaused
	}
	return &h
}

// NodeStatus is the part of a node that changes with every message. Times are
// Unix milliseconds, 0 if never.
type NodeStatus struct {
	ID           NodeID
	PingSent     Millis
	PongReceived Millis
	Offset       uint64
	Reports      int // valid failure reports
}

// View builds the present view, or returns the last one if nothing in it
// changed since.
func (m *Machine) View() *View {
	if !m.viewChanged && m.view != nil {
		return m.view
	}
	m.viewChanged = false
	if m.tableChanged {
		m.tableGen++
	}
	v := m.cfg.Pool.view()
	*v = View{
		table: m.tableGen,
		Nodes: m.nodeViews(v.Nodes[:0]),
		Mine:  m.self.shareSlots(),
		State: m.state, Size: m.size,
		CurrentEpoch: m.currentEpoch, LastVoteEpoch: m.lastVoteEpoch, ClusterID: m.clusterID,
		ManualFailover: m.mfEnd != 0, Paused: m.mfPaused, NoRedirect: m.cfg.ModuleNoRedirect,
	}
	m.fillHeader(&v.header, TypePublish)
	v.header.MFlags = 0
	if v.Mine == nil {
		v.Mine = &noSlots
	}
	pos := m.viewPos
	v.Me = int(pos[m.self.idx])
	switch {
	case m.view != nil && !m.dirtyOwners && !m.tableChanged: // the old table may serve on
		v.Owners = m.view.Owners
	case len(m.byIdx) == len(m.nodes):
		v.Owners = m.cfg.Pool.table()
		*v.Owners = *m.owners
	default:
		v.Owners = m.cfg.Pool.table()
		for slot, idx := range m.owners {
			if idx == NoSlotOwner {
				v.Owners[slot] = NoSlotOwner
			} else {
				v.Owners[slot] = pos[idx]
			}
		}
	}
	v.Open = &noSlots
	if len(m.migrating)+len(m.importing) > 0 {
		v.Open = new(SlotSet)
	}
	v.migrating = markerView(m.migrating, pos, v.Open)
	v.importing = markerView(m.importing, pos, v.Open)
	m.viewMoves(v, pos)
	m.dirtyOwners, m.tableChanged = false, false
	m.view = v
	return v
}

// nodeViews are the nodes of the view being built: those of the last one but for
// what changed, or all anew, and then viewPos too. They are put into spare if it
// has room.
func (m *Machine) nodeViews(spare []*NodeView) []*NodeView {
	if m.view != nil && !m.tableChanged {
		nodes := append(slices.Grow(spare, len(m.view.Nodes)), m.view.Nodes...)
		for _, n := range m.outdated {
			n.view = m.nodeView(n)
			nodes[m.viewPos[n.idx]] = n.view
		}
		m.outdated = m.outdated[:0]
		return nodes
	}
	if len(m.viewPos) < len(m.byIdx) {
		m.viewPos = make([]uint16, len(m.byIdx)+len(m.byIdx)/2)
	}
	nodes := slices.Grow(spare, len(m.nodes))
	for _, n := range m.byIdx { // by index, so that mostly viewPos[idx] == idx
		if n == nil {
			continue
		}
		if n.view == nil {
			n.view = m.nodeView(n)
		}
		m.viewPos[n.idx] = uint16(len(nodes))
		nodes = append(nodes, n.view)
	}
	clear(m.outdated) // some may be deleted
	m.outdated = m.outdated[:0]
	return nodes
}

func markerView(marks map[uint16]*node, pos []uint16, open *SlotSet) map[uint16]uint16 {
	if len(marks) == 0 {
		return nil
	}
	t := make(map[uint16]uint16, len(marks))
	for slot, n := range marks {
		t[slot] = pos[n.idx]
		open.Add(int(slot))
	}
	return t
}

func (m *Machine) nodeView(n *node) *NodeView {
	v := m.cfg.Pool.nodeView()
	*v = NodeView{
		ID: n.id, Addr: n.addr, Hostname: n.hostname, Nodename: n.nodename,
		ClientIPv4: n.clientIPv4, ClientIPv6: n.clientIPv6, ShardID: n.shard,
		Flags: n.flags, ConfigEpoch: m.epochOf(n), Slots: n.shareSlots(), HasOffset: n.offset > 0,
	}
	if n == m.self {
		v.HasOffset = m.local.ReplOffset > 0
	}
	if n.primary != nil {
		v.Primary = n.primary.id
	}
	if n.out != nil {
		v.Link = n.out.id
		v.Light = n.out.ponged && n.is(FlagLightPubSub)
	}
	return v
}

// NodeStatus appends the status of every node, in the order of View.Nodes.
func (m *Machine) NodeStatus(now Times, dst []NodeStatus) []NodeStatus {
	m.begin(now)
	for _, n := range m.byIdx {
		if n == nil {
			continue
		}
		s := NodeStatus{ID: n.id, PingSent: m.wall(n.pingSent), PongReceived: m.wall(n.pongRecv), Offset: n.offset}
		if n == m.self {
			s.Offset = m.local.ReplOffset
		}
		s.Reports = len(n.reports)
		dst = append(dst, s)
	}
	return dst
}

// LinkStatus is one link that is bound to a node, as CLUSTER LINKS lists them.
type LinkStatus struct {
	Link    LinkID
	Node    NodeID
	Created Millis // Unix time
}

// LinkStatus appends every bound link, outbound before inbound of each node.
func (m *Machine) LinkStatus(now Times, dst []LinkStatus) []LinkStatus {
	m.begin(now)
	for _, n := range m.nodes {
		if n.out != nil {
			dst = append(dst, LinkStatus{n.out.id, n.id, m.wall(n.out.created)})
		}
		if n.in != nil {
			dst = append(dst, LinkStatus{n.in.id, n.id, m.wall(n.in.created)})
		}
	}
	return dst
}

// Counters counts messages by type. PUBLISH and MODULE messages that the driver
// sends and light ones are for the driver to add.
type Counters struct {
	Sent     [TypeCount]uint64
	Received [TypeCount]uint64
}

// Counters returns the message counters.
func (m *Machine) Counters() Counters { return Counters{m.sent, m.received} }
