package cluster

import (
	"cmp"
	"slices"
)

// Machine is the cluster state of one node and the rules that change it. The
// package doc tells how to drive it.
//
// Invariants, checked by CheckInvariants: the slot table, the nodes' slot sets
// and their counts agree; a replica owns no slot; currentEpoch is at least every
// configEpoch known and never falls but by RESET HARD; lastVoteEpoch never
// exceeds currentEpoch; every replica is in its primary's list and in no other.
type Machine struct {
	cfg Settings
	rnd Rand
	now Times // of the step in progress

	self       *node
	nodes      []*node // the table, in order of arrival: everything that leaves follows it
	byID       map[NodeID]*node
	found      [][2]*node // answers most of find: 2 pairs or more a node, a power of two of them
	deletions  uint       // counts nodes deleted
	foundShift uint       // 64 less the bits of a place in it

	byIdx          []*node
	freeIdx        []uint16
	owners         *[SlotCount]uint16 // idx of the owner, or NoSlotOwner
	notClaimed     SlotSet            // the owner no longer claims the slot (7.4 rule 3)
	unclaimedSlots int                // how many those are
	assigned       int                // slots with an owner
	seats          int                // nodes with slots
	oddSlots       bool               // ADDSLOTS was used on a replica, which nothing forbids
	migrating      map[uint16]*node   // self's slot -> target
	divided        map[uint16]*node   // self's slot -> who may have keys of it (divided.go)
	withheld       map[uint16]Millis  // of these, what is not claimed before then (divided.go)
	draining       map[uint16]drain   // others' slots of which self may have keys
	blind          *SlotSet           // self's slots that may be moving unknown to it; nil: none
	deleted        map[uint16]*node   // slot without owner after DELSLOTS -> who had it
	importing      map[uint16]*node   // slot -> source

	links     map[LinkID]*link
	linkFound [][2]*link // answers most of link: as many places as found
	lastLink  LinkID

	currentEpoch  uint64
	lastVoteEpoch uint64
	clusterID     uint64 // 0: none yet (clusterid.go)
	idsDiffer     bool   // a member told another one
	foreignLog    Millis // when a foreign node was last logged
	okSince       Millis // when the state became ok

	// state of the cluster (state.go)
	state        uint8
	size         int
	minorityTime Millis
	firstEval    Millis

	// own election (election.go)
	authTime   Millis // when the request goes out; 0 = no election
	authSent   bool
	authEpoch  uint64
	authRank   int
	authPRank  int // failed-primary rank
	authQuorum int // at the request: a table that shrinks later makes no winner
	voters     map[*node]struct{}
	votes      int
	stalled    string // why no failover happens, for the log
	stalledLog Millis

	// manual failover (manual.go)
	mfEnd      Millis // deadline, 0 = none
	mfReplica  *node  // primary side: who asked
	mfPaused   bool   // primary side: writes are paused, headers say so
	mfPromised bool   // primary side: they have said so to someone since writes stand still
	mfPauseID  uint64 // primary side: the PauseWrites in flight
	mfLink     *link  // primary side: where MFSTART came in
	mfCanStart bool   // replica side: the offset is reached, or FORCE
	mfOffset   uint64 // replica side: the primary's offset while paused
	mfHasOffs  bool
	lastEffect uint64

	local    Local
	localAt  Millis
	follows  NodeID // zero: replication is not configured
	followID uint64 // of the last Follow
	lastTick Millis
	wokeAt   Millis           // woke or started then and heard no majority since; 0 = no
	silentAt Millis           // when the next silent node is suspected, if before the next tick; 0 = none
	redialAt Millis           // when a run of refusals is long enough, if the next one comes; 0 = none
	gossiped []*node          // scratch of takeGossip
	suspects []*node          // suspected in this step
	unproven bool             // stale.go
	quorumAt Millis           // while unproven: since when a majority is heard; 0 = it is not
	yieldTo  *node            // set while a claim beats self's, whatever its epoch
	outvoted map[*node]NodeID // while unproven: who says that which node has self's slots

	blacklist []blacklisted

	ticks     uint64
	pfails    int // PFAIL nodes at the last tick
	gossipGen uint32
	sent      [TypeCount]uint64
	received  [TypeCount]uint64

	// work put off to the end of the step (2.4 rule 3)
	todo todo

	viewChanged  bool
	view         *View
	outdated     []*node  // whose part of view is not right any more
	tableChanged bool     // nodes came or went since the view was built
	viewPos      []uint16 // position in it of each idx
	published    *View    // the one Ready handed out last
	saveNow      bool
	syncNow      bool
	out, last    Ready  // being filled; handed out by the last Ready
	tableGen     uint64 // counts the times that tableChanged was seen
	dirtyOwners  bool   // owners changed since the view was built
	slotsChecked bool   // by CheckInvariants, since the last change
}

type todo uint8

const (
	todoManual todo = 1 << iota
	todoFailover
	todoState
	todoPong
)

// blacklisted is an id that may not come back from gossip before until. Others
// are told unless it is quiet.
type blacklisted struct {
	id    NodeID
	until Millis
	quiet bool
}

// New makes a machine. boot is what nodes.conf held, nil at the first start: the
// node then draws its id, and the first Ready saves. boot must have exactly one
// node with FlagMyself. The first Ready also holds the first View.
func New(cfg Settings, rnd Rand, boot *NodesConf, now Times) *Machine {
	m := &Machine{
		cfg: cfg, rnd: rnd, now: Times{Mono: max(now.Mono, 1), Wall: now.Wall},
		byID:      map[NodeID]*node{},
		owners:    new([SlotCount]uint16),
		migrating: map[uint16]*node{},
		divided:   map[uint16]*node{},
		withheld:  map[uint16]Millis{},
		draining:  map[uint16]drain{},
		deleted:   map[uint16]*node{},
		importing: map[uint16]*node{},
		links:     map[LinkID]*link{},
		voters:    map[*node]struct{}{},
		outvoted:  map[*node]NodeID{},
		state:     StateFail,
	}
	for i := range m.owners {
		m.owners[i] = NoSlotOwner
	}
	m.local.PrimaryLinkAge = -1
	m.localAt = now.Mono
	if boot == nil {
		m.self = m.addNode(m.randomID(), FlagMyself|FlagPrimary)
		m.event(LevelInfo, "no cluster configuration found, created a new node", m.self)
		m.save(true)
	} else {
		m.load(boot)
		if cfg.WakeGuard && m.self.votingPrimary() {
			m.wokeAt = m.now.Mono // the others of the file may be out of reach
		}
		m.unproven = cfg.StalePrimaryGuard && m.self.votingPrimary()
	}
	m.countVoters() // messages may come before the first tick
	m.applySettings()
	m.todo |= todoState
	m.viewChanged = true
	m.endStep()
	return m
}

// load fills the table from nodes.conf (9.2).
func (m *Machine) load(c *NodesConf) {
	m.currentEpoch = c.CurrentEpoch
	m.lastVoteEpoch = c.LastVoteEpoch
	m.clusterID = c.ClusterID
	get := func(id NodeID) *node {
		if n := m.byID[id]; n != nil {
			return n
		}
		return m.addNode(id, 0)
	}
	for i := range c.Nodes { // in the order of the lines, whoever names whom
		get(c.Nodes[i].ID)
	}
	for i := range c.Nodes {
		cn := &c.Nodes[i]
		n := get(cn.ID)
		n.flags |= roleOf(cn) | cn.Flags&^(FlagHandshake|FlagMeet|FlagMigrateTo|FlagPrimary|FlagReplica)
		n.addr = cn.Addr
		n.hostname, n.nodename, n.hearsay = cn.Hostname, cn.Nodename, cn.Hearsay
		n.clientIPv4, n.clientIPv6 = cn.ClientIPv4, cn.ClientIPv6
		if !cn.ShardID.IsZero() {
			n.shard = cn.ShardID
		}
		if n.is(FlagMyself) {
			if m.self != nil {
				panic("cluster: two nodes of nodes.conf are myself")
			}
			m.self = n
		}
		if n.is(FlagNoAddr) {
			n.flags |= FlagFail
		}
		if n.isFail() {
			n.flags &^= FlagPFail
			n.failTime = m.now.Mono
		}
		if cn.PingSent != 0 {
			n.pingSent = m.now.Mono
		}
		if cn.PongReceived != 0 {
			n.pongRecv = m.now.Mono
		}
		if !cn.Primary.IsZero() && cn.Primary != cn.ID {
			m.setPrimary(n, get(cn.Primary))
		} else {
			n.configEpoch = cn.ConfigEpoch
		}
		m.bindFree(cn.Slots, n)
	}
	if m.self == nil {
		panic("cluster: no node of nodes.conf is myself")
	}
	for i := range c.Nodes {
		cn := &c.Nodes[i]
		n := m.byID[cn.ID]
		if n.is(FlagMyself) {
			for _, s := range cn.Migrating {
				m.migrating[s.Slot] = get(s.Node)
			}
			for _, s := range cn.Importing {
				m.importing[s.Slot] = get(s.Node)
			}
		}
		if n.primary != nil {
			n.shard = n.primary.shard // 9.2.7
		}
		m.currentEpoch = max(m.currentEpoch, n.configEpoch)
	}
	m.currentEpoch = max(m.currentEpoch, m.lastVoteEpoch) // or the vote could be given again
	if m.self.isReplica() && m.self.slotCount > 0 {
		for slot := range m.self.slots.All() {
			m.unbind(slot)
		}
	}
}

// roleOf settles what a line of nodes.conf says about a node's role: one that
// follows another is a replica, and the local node must have a role.
func roleOf(cn *ConfNode) Flags {
	switch {
	case !cn.Primary.IsZero() && cn.Primary != cn.ID:
		return FlagReplica
	case cn.Flags.Has(FlagPrimary) || cn.Flags.Has(FlagMyself) && !cn.Flags.Has(FlagReplica):
		return FlagPrimary
	}
	return cn.Flags & FlagReplica
}

// Configure replaces the settings at run time.
func (m *Machine) Configure(now Times, cfg Settings) {
	m.begin(now)
	if m.cfg.AnnounceIP != "" && cfg.AnnounceIP == "" {
		m.self.addr.IP = "" // until the next PING or MEET tells it (4.7 rule 3)
	}
	m.cfg = cfg
	m.applySettings()
	m.todo |= todoState // cluster-require-full-coverage
	m.endStep()
}

// Settings returns the settings in force.
func (m *Machine) Settings() Settings { return m.cfg }

// applySettings refreshes what self announces.
func (m *Machine) applySettings() {
	s, c := m.self, &m.cfg
	a := c.Ports
	a.IP = s.addr.IP
	if c.AnnounceIP != "" {
		a.IP = c.AnnounceIP
	}
	f := s.flags &^ (FlagNoFailover | FlagLightPubSub | FlagLightModule | FlagPFail | FlagFail | FlagNoAddr)
	if c.ReplicaNoFailover {
		f |= FlagNoFailover
	}
	if c.LightMessages {
		f |= FlagLightPubSub | FlagLightModule
	}
	if s.addr == a && s.flags == f && s.hostname == c.Hostname && s.nodename == c.Nodename &&
		s.clientIPv4 == c.ClientIPv4 && s.clientIPv6 == c.ClientIPv6 {
		return
	}
	s.addr, s.flags = a, f
	s.hostname, s.nodename = c.Hostname, c.Nodename
	s.clientIPv4, s.clientIPv6 = c.ClientIPv4, c.ClientIPv6
	m.changed(s)
	m.save(false)
}

// Step takes one input.
func (m *Machine) Step(now Times, in Input) {
	m.begin(now)
	switch in := in.(type) {
	case Tick:
		m.tick()
	case Wake:
		m.wake()
	case Recv:
		m.recv(in)
	case Heard:
		m.heard(in.Link)
	case Accepted:
		m.links[in.Link] = &link{id: in.Link, created: now.Mono, up: true}
	case LinkUp:
		m.linkUp(in.Link)
	case LinkDown:
		m.linkDown(in)
	case Local:
		m.takeLocal(in)
		if m.mfEnd != 0 && m.self.isReplica() {
			m.todo |= todoManual
		}
	case Done:
		m.paused(in.ID)
	default:
		panic("cluster: unknown input")
	}
	m.endStep()
}

// takeLocal stores facts about the node's data. Those that were true before the
// last Follow took effect say nothing about the present primary.
func (m *Machine) takeLocal(in Local) {
	if (in.ReplOffset > 0) != (m.local.ReplOffset > 0) {
		m.changed(m.self)
	}
	if in.FollowID != 0 && in.FollowID != m.followID && m.self.isReplica() {
		m.local.ReplOffset = in.ReplOffset
		return
	}
	m.local, m.localAt = in, m.now.Mono
}

// begin starts a step at a time. The monotonic clock must not go back.
func (m *Machine) begin(now Times) {
	now.Mono = max(now.Mono, m.now.Mono, 1)
	m.now = now
	if m.cfg.WakeGuard && m.lastTick != 0 && now.Mono-m.lastTick > m.cfg.WakeGap() {
		m.woke()
	}
}

// endStep does what was put off: failover steps first, then the state, then
// the broadcast. Saving comes with Ready.
func (m *Machine) endStep() {
	for m.todo != 0 {
		t := m.todo
		m.todo = 0
		switch {
		case t&todoManual != 0 && m.self.isReplica():
			m.manualStep()
			if !m.cfg.ModuleNoFailover || m.mfCanStart {
				m.failoverStep()
			}
		case t&todoFailover != 0:
			m.failoverStep()
		}
		if (t|m.todo)&todoState != 0 {
			m.todo &^= todoState
			m.evaluate()
		}
		if len(m.suspects) > 0 {
			m.tellSuspects()
		}
		if t&todoPong != 0 {
			m.broadcastPong()
		}
	}
}

// Ready drains what the machine wants done since the last call.
func (m *Machine) Ready() Ready {
	rd := m.out
	m.out, m.last = Ready{
		Effects: m.last.Effects[:0], Close: m.last.Close[:0], Dial: m.last.Dial[:0], Send: m.last.Send[:0],
	}, rd
	if m.saveNow {
		rd.Save, rd.Sync = m.Conf(), m.syncNow
		m.saveNow, m.syncNow = false, false
	}
	if !m.cfg.NoViews && (m.viewChanged || m.view != m.published) {
		rd.View = m.View()
		m.published = rd.View
	}
	return rd
}

// Conf returns the state as nodes.conf shall hold it.
func (m *Machine) Conf() *NodesConf {
	c := m.cfg.Pool.conf()
	if cap(c.Nodes) < len(m.nodes) {
		c.Nodes = make([]ConfNode, 0, len(m.nodes)+len(m.nodes)/8)
	}
	c.CurrentEpoch, c.LastVoteEpoch, c.ClusterID, c.Nodes = m.currentEpoch, m.lastVoteEpoch, m.clusterID, c.Nodes[:0]
	for _, n := range m.nodes {
		if n.inHandshake() {
			continue
		}
		cn := ConfNode{
			ID: n.id, Addr: n.addr, Hostname: n.hostname, Nodename: n.nodename, Hearsay: n.hearsay,
			ClientIPv4: n.clientIPv4, ClientIPv6: n.clientIPv6, ShardID: n.shard,
			Flags: n.flags, ConfigEpoch: m.epochOf(n), Connected: n.out != nil || n == m.self,
			PingSent: m.wall(n.pingSent), PongReceived: m.wall(n.pongRecv),
			Slots: n.shareSlots(),
		}
		if n.primary != nil && !n.primary.inHandshake() {
			cn.Primary = n.primary.id
		}
		if n == m.self {
			cn.Migrating = markers(m.migrating)
			cn.Importing = markers(m.importing)
		}
		c.Nodes = append(c.Nodes, cn)
	}
	return c
}

func markers(marks map[uint16]*node) []SlotMark {
	if len(marks) == 0 {
		return nil
	}
	list := make([]SlotMark, 0, len(marks))
	for slot, n := range marks {
		list = append(list, SlotMark{slot, n.id})
	}
	slices.SortFunc(list, func(a, b SlotMark) int { return cmp.Compare(a.Slot, b.Slot) })
	return list
}

// save asks for nodes.conf to be written by the next Ready, durably if sync.
func (m *Machine) save(sync bool) {
	m.saveNow = true
	m.syncNow = m.syncNow || sync
}

// wall turns a stored monotonic time into Unix time.
func (m *Machine) wall(t Millis) Millis {
	if t == 0 {
		return 0
	}
	return max(t+m.now.Wall-m.now.Mono, 1)
}

// effect queues an effect.
func (m *Machine) effect(e Effect) { m.out.Effects = append(m.out.Effects, e) }

// event queues a line for the log. n may be nil.
func (m *Machine) event(l EventLevel, what string, n *node) {
	if m.cfg.NoEvents {
		return
	}
	m.eventX(Event{Level: l, What: what, Slot: -1}, n)
}

func (m *Machine) eventX(e Event, n *node) {
	if m.cfg.NoEvents {
		return
	}
	if n != nil {
		e.Node = n.id
	}
	m.effect(e)
}

// send queues msg on l; a nil link drops it, as 2.2.4 says.
func (m *Machine) send(l *link, msg *Message) {
	if l == nil || l.closed {
		return
	}
	if msg.Type < TypeCount {
		m.sent[msg.Type]++
	}
	m.out.Send = append(m.out.Send, Envelope{Link: l.id, Msg: msg})
}

// header starts a message of type t.
func (m *Machine) header(t Type) *Message {
	msg := m.cfg.Pool.message()
	m.fillHeader(msg, t)
	return msg
}

func (m *Machine) fillHeader(msg *Message, t Type) {
	s := m.self
	owner := s
	if s.isReplica() && s.primary != nil {
		owner = s.primary
	}
	msg.Type = t
	msg.Port, msg.PPort = m.cfg.wirePorts(s.addr)
	msg.BusPort = s.addr.BusPort
	msg.CurrentEpoch, msg.ConfigEpoch = m.currentEpoch, owner.configEpoch
	if m.unproven {
		msg.ConfigEpoch = 0
	}
	msg.ClusterID = m.clusterID
	msg.Offset, msg.Sender, msg.Slots = m.local.ReplOffset, s.id, m.claims(owner)
	msg.IP, msg.Flags, msg.State = m.cfg.AnnounceIP, s.flags, m.state
	if s.primary != nil {
		msg.ReplicaOf = s.primary.id
	}
	if m.mfPaused {
		msg.MFlags |= MFlagPaused
	}
}

// broadcast queues one message to every node but self and handshakes.
func (m *Machine) broadcast(msg *Message) {
	for _, n := range m.nodes {
		if n != m.self && !n.inHandshake() {
			m.send(n.out, msg)
		}
	}
}

// since is how long ago t was; a time of 0 was very long ago.
func (m *Machine) since(t Millis) Millis {
	if t == 0 {
		return 1 << 60
	}
	return m.now.Mono - t
}
