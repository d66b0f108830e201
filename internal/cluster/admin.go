package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Command is a CLUSTER subcommand that changes something, for Machine.Admin.
// Arguments that are ids are raw text, for the error replies name them.
type Command interface{ command() }

// The commands; spec 11.2 to 11.5 and 9.5.
type (
	// Meet starts a handshake. BusPort 0 means Port + 10000.
	Meet struct {
		IP            string
		Port, BusPort int64
	}
	// Forget deletes a node and blacklists its id.
	Forget struct{ Node string }
	// Replicate makes this node a replica of Node.
	Replicate struct{ Node string }
	// Failover starts a manual failover of a replica.
	Failover struct{ Mode FailoverMode }
	// AddSlots binds slots to this node, DelSlots unbinds slots here. The
	// numbers are in range; repeated ones are refused. Bad is the answer when
	// nothing is wrong with Slots: what the command says behind them is not in order.
	AddSlots struct {
		Slots []int
		Bad   error
	}
	DelSlots struct {
		Slots []int
		Bad   error
	}
	// FlushSlots unbinds all slots of this node.
	FlushSlots struct{}
	// SetSlot opens, closes or assigns a slot. Propagated says that it came
	// over the replication link.
	SetSlot struct {
		Slot       int
		Action     SlotAction
		Node       string
		Propagated bool
	}
	// LoadMarkers replaces all open slots, as a full sync of a replica brings
	// them (9.6). Markers that name unknown nodes are left out.
	LoadMarkers struct{ Migrating, Importing []SlotMark }
	// Reset empties the node table.
	Reset struct{ Hard bool }
	// BumpEpoch takes a new configEpoch without agreement.
	BumpEpoch struct{}
	// SetConfigEpoch gives a fresh node its first configEpoch.
	SetConfigEpoch struct{ Epoch int64 }
	// SaveConfig makes the next Ready save and sync.
	SaveConfig struct{}
	// CountFailureReports counts the valid failure reports about Node.
	CountFailureReports struct{ Node string }
	// KillLinks closes the links to and from a node (DEBUG CLUSTERLINK KILL).
	KillLinks struct {
		Node     string
		To, From bool
	}
)

// FailoverMode is the option of CLUSTER FAILOVER.
type FailoverMode uint8

// The modes: in agreement with the primary, without it, without votes.
const (
	FailoverDefault FailoverMode = iota
	FailoverForce
	FailoverTakeover
)

// SlotAction is the action of CLUSTER SETSLOT.
type SlotAction uint8

// The actions.
const (
	SlotMigrating SlotAction = iota
	SlotImporting
	SlotNode
	SlotStable
)

func (Meet) command()                {}
func (Forget) command()              {}
func (Replicate) command()           {}
func (Failover) command()            {}
func (AddSlots) command()            {}
func (DelSlots) command()            {}
func (FlushSlots) command()          {}
func (SetSlot) command()             {}
func (LoadMarkers) command()         {}
func (Reset) command()               {}
func (BumpEpoch) command()           {}
func (SetConfigEpoch) command()      {}
func (SaveConfig) command()          {}
func (CountFailureReports) command() {}
func (KillLinks) command()           {}

// AdminReply is the reply of a command that succeeded: OK unless a field says
// more.
type AdminReply struct {
	Bumped bool   // BumpEpoch: a new epoch was taken
	Epoch  uint64 // BumpEpoch: own configEpoch
	Count  int    // CountFailureReports
}

// AdminError is the error reply of a command, without the leading dash.
type AdminError string

func (e AdminError) Error() string { return string(e) }

func errf(format string, args ...any) error {
	return AdminError("ERR " + fmt.Sprintf(format, args...))
}

// Admin executes a command. An error is an AdminError; nothing has changed then.
func (m *Machine) Admin(now Times, cmd Command) (AdminReply, error) {
	m.begin(now)
	defer m.endStep()
	switch c := cmd.(type) {
	case Meet:
		return AdminReply{}, m.meet(c)
	case Forget:
		return AdminReply{}, m.forgetCommand(c)
	case Replicate:
		return AdminReply{}, m.replicate(c)
	case Failover:
		return AdminReply{}, m.failover(c)
	case AddSlots:
		return AdminReply{}, m.addSlots(c)
	case DelSlots:
		return AdminReply{}, m.delSlots(c)
	case FlushSlots:
		return AdminReply{}, m.flushSlots()
	case SetSlot:
		return AdminReply{}, m.setSlot(c)
	case LoadMarkers:
		m.loadMarkers(c)
		return AdminReply{}, nil
	case Undivide:
		m.undivide(c)
		return AdminReply{}, nil
	case Whole:
		for slot := range c.Slots.All() {
			m.noted(slot)
		}
		return AdminReply{}, nil
	case Reset:
		return AdminReply{}, m.reset(c)
	case BumpEpoch:
		bumped := m.bumpEpoch()
		return AdminReply{Bumped: bumped, Epoch: m.self.configEpoch}, nil
	case SetConfigEpoch:
		return AdminReply{}, m.setConfigEpoch(c)
	case TakeSlots:
		return AdminReply{}, m.takeSlots(c)
	case SaveConfig:
		m.save(true)
		return AdminReply{}, nil
	case CountFailureReports:
		n := m.lookup(c.Node)
		if n == nil {
			return AdminReply{}, errf("Unknown node %s", c.Node)
		}
		m.expireReports(n)
		return AdminReply{Count: len(n.reports)}, nil
	case KillLinks:
		n := m.lookup(c.Node)
		if n == nil {
			return AdminReply{}, errf("Unknown node %s", c.Node)
		}
		if c.To {
			m.closeLink(n.out)
		}
		if c.From {
			m.closeLink(n.in)
		}
		return AdminReply{}, nil
	}
	panic("cluster: unknown command")
}

func (m *Machine) lookup(text string) *node {
	id, ok := ParseID(text)
	if !ok {
		return nil
	}
	return m.byID[id]
}

func (m *Machine) meet(c Meet) error {
	if c.Port < 1 || c.Port > 65535 {
		return errf("Port number is out of range")
	}
	bus := c.BusPort
	if bus == 0 {
		bus = c.Port + 10000
	}
	if bus < 1 || bus > 65535 {
		return errf("Cluster bus port number is out of range")
	}
	ip, err := netip.ParseAddr(c.IP)
	if err != nil || ip.Zone() != "" {
		return errf("Invalid node address specified: %s:%d", c.IP, c.Port)
	}
	a := m.cfg.addrFromWire(ip.String(), uint16(c.Port), 0, uint16(bus))
	for _, n := range m.nodes {
		if n.inHandshake() && n.addr.IP == a.IP && n.addr.BusPort == a.BusPort &&
			(n.addr.Port == a.Port && a.Port != 0 || n.addr.TLSPort == a.TLSPort && a.TLSPort != 0) {
			return nil
		}
	}
	n := m.addNode(m.randomID(), FlagHandshake|FlagMeet)
	n.addr = a
	return nil
}

func (m *Machine) forgetCommand(c Forget) error {
	n := m.lookup(c.Node)
	if n == nil {
		if id, ok := ParseID(c.Node); ok && m.isBlacklisted(id) {
			return nil
		}
		return errf("Unknown node %s", c.Node)
	}
	if n == m.self {
		return errf("I tried hard but I can't forget myself...")
	}
	if m.self.isReplica() && m.self.primary == n {
		return errf("Can't forget my master!")
	}
	m.event(LevelInfo, "forgotten by command", n)
	m.forget(n, m.cfg.BlacklistTTL)
	return nil
}

func (m *Machine) replicate(c Replicate) error {
	n, s := m.lookup(c.Node), m.self
	switch {
	case n == nil:
		return errf("Unknown node %s", c.Node)
	case n == s:
		return errf("Can't replicate myself")
	case n.isReplica():
		return errf("I can only replicate a master, not a replica.")
	case s.isPrimary() && (s.slotCount > 0 || m.cfg.keys() > 0):
		return errf("To set a master the node must be empty and without assigned slots.")
	case s.primary == n:
		return nil
	}
	m.becomeReplica(n, true, n.shard != s.shard)
	m.save(true)
	m.todo |= todoState
	return nil
}

func (m *Machine) failover(c Failover) error {
	p := m.self.primary
	switch {
	case !m.self.isReplica():
		return errf("You should send CLUSTER FAILOVER to a replica")
	case p == nil:
		return errf("I'm a replica but my master is unknown to me")
	case c.Mode == FailoverDefault && (p.isFail() || p.out == nil):
		return errf("Master is down or failed, please use CLUSTER FAILOVER FORCE")
	}
	m.startManual(c.Mode)
	return nil
}

// checkSlots tests the arguments of ADDSLOTS and DELSLOTS.
func (m *Machine) checkSlots(slots []int, add bool) error {
	var seen SlotSet
	for _, slot := range slots {
		switch owned := m.owner(slot) != nil; {
		case add && owned:
			return errf("Slot %d is already busy", slot)
		case !add && !owned:
			return errf("Slot %d is already unassigned", slot)
		case seen.Has(slot):
			return errf("Slot %d specified multiple times", slot)
		}
		seen.Add(slot)
	}
	return nil
}

func (m *Machine) addSlots(c AddSlots) error {
	if err := cmp.Or(m.checkSlots(c.Slots, true), c.Bad); err != nil {
		return err
	}
	for _, slot := range c.Slots {
		before := m.deleted[uint16(slot)]
		delete(m.importing, uint16(slot))
		m.bindSlot(slot, m.self)
		m.divide(slot, before)
		m.withhold(slot)
	}
	m.oddSlots = m.oddSlots || m.self.isReplica()
	m.save(true)
	m.todo |= todoState
	return nil
}

func (m *Machine) delSlots(c DelSlots) error {
	if err := cmp.Or(m.checkSlots(c.Slots, false), c.Bad); err != nil {
		return err
	}
	var lost *SlotSet
	cur := m.myPrimary()
	for _, slot := range c.Slots {
		owner := m.owner(slot)
		if owner == cur {
			addTo(&lost, slot)
		}
		before := owner
		if owner == m.self {
			before = m.divided[uint16(slot)]
		}
		if m.self.isPrimary() && (owner == m.self || m.importing[uint16(slot)] != nil) {
			m.startDrain(slot, true)
		}
		m.unbind(slot)
		if before != nil {
			m.deleted[uint16(slot)] = before
		}
	}
	if lost != nil {
		m.effect(SlotsLost{lost})
	}
	m.save(true)
	m.todo |= todoState
	return nil
}

func (m *Machine) flushSlots() error {
	if m.cfg.keys() > 0 {
		return errf("DB must be empty to perform CLUSTER FLUSHSLOTS.")
	}
	m.unbindAll(m.self)
	m.save(true)
	m.todo |= todoState
	return nil
}

// unbindAll takes all slots from n.
func (m *Machine) unbindAll(n *node) {
	if n.slotCount == 0 {
		return
	}
	lost := *n.slots
	for slot := range lost.All() {
		m.unbind(slot)
	}
	if n == m.self {
		m.effect(SlotsLost{&lost})
	}
}

func (m *Machine) setConfigEpoch(c SetConfigEpoch) error {
	switch {
	case c.Epoch < 0:
		return errf("Invalid config epoch specified: %d", c.Epoch)
	case len(m.nodes) > 1:
		return errf("The user can assign a config epoch only when the node does not know any other node.")
	case m.self.configEpoch != 0:
		return errf("Node config epoch is already non-zero")
	}
	m.setOwnEpoch(uint64(c.Epoch))
	m.todo |= todoState
	return nil
}

// reset makes the node a fresh one (11.4).
func (m *Machine) reset(c Reset) error {
	s := m.self
	if s.isPrimary() && m.cfg.keys() > 0 {
		return errf("CLUSTER RESET can't be called with master nodes containing keys")
	}
	if s.isReplica() {
		m.setPrimary(s, nil)
		s.flags = s.flags&^FlagReplica | FlagPrimary
		m.follows = NodeID{}
		m.effect(Promote{})
		m.effect(FlushAll{})
	}
	clear(m.migrating)
	clear(m.importing)
	m.loseClusterID()
	m.forgetMoves(nil)
	m.resetManualFailover()
	m.authTime, m.authSent = 0, false
	m.unbindAll(s)
	for _, n := range slices.Clone(m.nodes) {
		if n != s {
			m.deleteNode(n)
		}
	}
	// Accepted links of strangers know the node by its old name too.
	m.blacklist = nil
	s.flags &^= FlagMigrateTo
	if c.Hard {
		m.currentEpoch, m.lastVoteEpoch, s.configEpoch = 0, 0, 0
		m.renameNode(s, m.randomID())
		s.shard = m.randomID()
		m.event(LevelInfo, "reset hard: new node id", s)
	}
	m.changed(s)
	m.save(true)
	m.todo |= todoState
	return nil
}

// CheckSetSlot returns the error that the command would have now. The node may
// be asked this before the command is sent to its replicas.
func (m *Machine) CheckSetSlot(c SetSlot) error {
	if m.self.isReplica() && !c.Propagated {
		return errf("Please use SETSLOT only with masters.")
	}
	slot, cur := c.Slot, m.myPrimary()
	if slot < 0 || slot >= SlotCount {
		return errf("Invalid or out of range slot")
	}
	mine := cur != nil && m.owner(slot) == cur
	n := m.lookup(c.Node)
	switch c.Action {
	case SlotMigrating, SlotImporting:
		migrating := c.Action == SlotMigrating
		switch {
		case migrating && !mine:
			return errf("I'm not the owner of hash slot %d", slot)
		case !migrating && mine:
			return errf("I'm already the owner of hash slot %d", slot)
		case n == nil:
			return errf("I don't know about node %s", c.Node)
		case n.isReplica():
			return errf("Target node is not a master")
		}
	case SlotStable:
	case SlotNode:
		switch {
		case n == nil:
			return errf("Unknown node %s", c.Node)
		case n.isReplica():
			return errf("Target node is not a master")
		case m.owner(slot) == m.self && n != m.self && m.cfg.keysInSlot(slot) > 0:
			return errf("Can't assign hashslot %d to a different node while I still hold keys for this hash slot.", slot)
		}
	default:
		return errf("Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP")
	}
	return nil
}

// setSlot opens, closes and assigns a slot (11.5).
func (m *Machine) setSlot(c SetSlot) error {
	if err := m.CheckSetSlot(c); err != nil {
		return err
	}
	slot, cur := uint16(c.Slot), m.myPrimary()
	switch n := m.lookup(c.Node); c.Action {
	case SlotMigrating:
		m.migrating[slot] = n
	case SlotImporting:
		m.openImport(c.Slot)
		m.importing[slot] = n
	case SlotStable:
		switch mine := cur != nil && m.owner(c.Slot) == cur; {
		case mine && m.migrating[slot] != nil:
			m.divide(c.Slot, m.migrating[slot])
		case !mine && m.importing[slot] != nil:
			m.startDrain(c.Slot, false)
		}
		delete(m.migrating, slot)
		delete(m.importing, slot)
		m.noted(c.Slot)
	case SlotNode:
		m.assignSlot(c.Slot, n, cur != nil && m.owner(c.Slot) == cur)
	}
	m.viewChanged = true
	m.save(true)
	m.todo |= todoState
	return nil
}

// assignSlot does SETSLOT NODE; mine tells whether the slot was of this shard.
func (m *Machine) assignSlot(slot int, n *node, mine bool) {
	if m.cfg.keysInSlot(slot) == 0 {
		delete(m.migrating, uint16(slot))
	}
	cur := m.myPrimary()
	if m.owner(slot) != n {
		m.unbind(slot)
		m.bindSlot(slot, n)
		if mine {
			lost := new(SlotSet)
			lost.Add(slot)
			m.effect(SlotsLost{lost})
		}
	}
	if mine && n != cur && cur.slotCount == 0 && m.cfg.AllowReplicaMigration && n != m.self {
		m.becomeReplica(n, true, n.shard != m.self.shard)
	}
	if (n == m.self || n == m.self.primary) && m.importing[uint16(slot)] != nil {
		delete(m.importing, uint16(slot))
		if n == m.self {
			m.bumpEpoch()
			m.todo |= todoPong
		}
	}
}

func (m *Machine) loadMarkers(c LoadMarkers) {
	clear(m.migrating)
	clear(m.importing)
	for _, s := range c.Migrating {
		if n := m.byID[s.Node]; n != nil && s.Slot < SlotCount {
			m.migrating[s.Slot] = n
		}
	}
	for _, s := range c.Importing {
		if n := m.byID[s.Node]; n != nil && s.Slot < SlotCount {
			m.importing[s.Slot] = n
		}
	}
	m.viewChanged = true
	m.save(false)
}

// AdoptKeys checks the data loaded at start against the slots (9.5): a slot
// with keys and without owner becomes this node's, the keys of slots that others
// own are to be deleted. Call it once before the first Tick; a replica skips it.
func (m *Machine) AdoptKeys(now Times) (drop *SlotSet) {
	m.begin(now)
	defer m.endStep()
	if !m.self.isPrimary() || m.cfg.ModuleNoRedirect {
		return nil
	}
	for slot := range SlotCount {
		o := m.owner(slot)
		if o == m.self || m.importing[uint16(slot)] != nil || m.cfg.keysInSlot(slot) == 0 {
			continue
		}
		if o == nil {
			m.eventX(Event{Level: LevelWarn, What: "slot with keys had no owner, taking it", Slot: slot}, nil)
			m.bindSlot(slot, m.self)
		} else {
			addTo(&drop, slot)
		}
		m.save(true)
		m.todo |= todoState
	}
	return drop
}
