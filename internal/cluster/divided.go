package cluster

// Divided slots. When a move was interrupted, redis-cli's fix gives the slot to
// the primary with the most keys of it, by DELSLOTS and ADDSLOTS, and only then
// moves the others' keys there. Redis's new owner meanwhile takes keys that are
// still elsewhere for absent, and a source that learns of the new owner deletes
// what it holds. With MoveGuard
//
//   - the owner knows that keys may be at another node (divided): for one that it
//     does not have it sends the client there with ASK, unless the client comes
//     with ASKING, for then it has been there;
//   - the other node drains: it serves the keys that it has to clients with ASKING
//     and sends them back for all others, so it makes no new ones; and it keeps
//     its keys whoever claims the slot.
//
// A Redis node does not tell its replicas which slots move. One of ours that
// succeeds it has keys of such a slot without knowing (blind), and takes every
// claim of another shard to the slots that it got so for one in the middle of a
// move.
//
// A Redis or Valkey node deletes its keys as soon as it hears that the slot is
// another's, and fix moves them only after that. So a slot that was added and is
// divided with a node that may be of such a kind is not claimed on the bus as long
// as that one has keys, for a minute at most (withheld).
//
// The driver asks the other node how many keys it has left, and steps Undivide.
// All of this is the node's alone: neither on the bus nor in nodes.conf.

// drain is a slot of another primary of which this one may have keys.
type drain struct {
	armed bool // it has just been taken away: IMPORTING means to drain, even without keys
	until Millis
}

// drainTime is how long a slot without keys drains, for clients under way.
const drainTime Millis = 60000

// Undivide says that Node has no keys of Slot any more.
type Undivide struct {
	Slot int
	Node NodeID
}

func (Undivide) command() {}

// undivide ends that a slot is divided, if it is so with that node.
func (m *Machine) undivide(c Undivide) {
	if n := m.divided[uint16(c.Slot)]; n != nil && n.top().id == c.Node {
		delete(m.divided, uint16(c.Slot))
		m.viewChanged = true
		if _, held := m.withheld[uint16(c.Slot)]; held {
			delete(m.withheld, uint16(c.Slot))
			m.todo |= todoPong
		}
	}
}

// withholdTime is how long a claim waits for another node's keys at most.
const withholdTime Millis = 60000

// withhold keeps the claim of a divided slot back if the other node may delete its
// keys on it. Nodes that drain instead tell a cluster id.
func (m *Machine) withhold(slot int) {
	if n := m.divided[uint16(slot)]; n != nil && n.top().clusterID == 0 {
		m.withheld[uint16(slot)] = m.now.Mono + withholdTime
	}
}

// withholds tells whether a slot of self is not claimed on the bus.
func (m *Machine) withholds(slot int) bool {
	until, held := m.withheld[uint16(slot)]
	n := m.divided[uint16(slot)]
	return held && m.now.Mono <= until && n != nil && !n.isFail()
}

// claims are the slots that messages say n owns.
func (m *Machine) claims(n *node) *SlotSet {
	slots := n.shareSlots()
	if n != m.self || len(m.withheld) == 0 || slots == nil {
		return slots
	}
	c := *slots
	for slot := range m.withheld {
		if m.withholds(int(slot)) {
			c.Remove(int(slot))
		}
	}
	return &c
}

// divide notes that keys of a slot of self's shard may be at n.
func (m *Machine) divide(slot int, n *node) {
	if m.cfg.MoveGuard && n != nil && n != m.self && n.shard != m.self.shard && !n.gone {
		m.divided[uint16(slot)] = n
		m.viewChanged = true
		m.eventX(Event{Level: LevelInfo, What: "keys of a slot may still be at another node", Slot: slot}, n)
	}
}

// startDrain keeps the keys of a slot that is not, or no longer, self's.
func (m *Machine) startDrain(slot int, armed bool) {
	if m.cfg.MoveGuard {
		m.draining[uint16(slot)] = drain{armed, m.now.Mono + drainTime}
		m.viewChanged = true
	}
}

// Whole says that the keys of slots leave with their data, so that what is left
// when they are claimed is of no more use.
type Whole struct{ Slots *SlotSet }

func (Whole) command() {}

// succeedBlind notes that self has got its slots from a primary that may have been
// moving some of them.
func (m *Machine) succeedBlind(old *node) {
	m.blind = nil
	if m.cfg.MoveGuard && m.self.slots != nil && !old.is(FlagLightPubSub) {
		m.blind = new(SlotSet)
		*m.blind = *m.self.slots
	}
}

// noted ends that a slot may be moving unknown to self.
func (m *Machine) noted(slot int) {
	if m.blind != nil {
		m.blind.Remove(slot)
	}
}

// drainTaken is startDrain for a slot that s has just claimed from self, with
// keys left: it reports whether that was in the middle of a move.
func (m *Machine) drainTaken(slot int, s *node) bool {
	moving := m.migrating[uint16(slot)] != nil || m.divided[uint16(slot)] != nil || m.blind != nil && m.blind.Has(slot)
	if !moving || !m.cfg.MoveGuard || s.shard == m.self.shard {
		return false
	}
	m.eventX(Event{Level: LevelWarn, What: "slot claimed in the middle of a move, keeping the keys that are left", Slot: slot}, s)
	m.startDrain(slot, true)
	return true
}

// openImport decides what SETSLOT IMPORTING means for a slot of which this node
// may have keys already. The marker is set afterwards.
func (m *Machine) openImport(slot int) {
	d, draining := m.draining[uint16(slot)]
	switch {
	case m.importing[uint16(slot)] != nil && !draining:
	case m.cfg.keysInSlot(slot) > 0 || d.armed:
		m.startDrain(slot, false)
	default:
		delete(m.draining, uint16(slot))
	}
}

// tickDrains forgets the slots of which there is nothing left.
func (m *Machine) tickDrains() {
	for slot, d := range m.draining {
		if m.now.Mono > d.until && m.importing[slot] == nil && m.cfg.keysInSlot(int(slot)) == 0 {
			delete(m.draining, slot)
			m.viewChanged = true
		}
	}
}

// forgetMoves ends all of it; n nil: with whatever node.
func (m *Machine) forgetMoves(n *node) {
	if n == nil {
		clear(m.draining)
		clear(m.withheld)
		m.blind = nil
	}
	for _, t := range []map[uint16]*node{m.divided, m.deleted} {
		for slot, o := range t {
			if n == nil || o == n {
				delete(t, slot)
			}
		}
	}
}

// DividedWith returns the node that may have keys of a slot that the local node
// owns, nil if there is none.
func (v *View) DividedWith(slot int) *NodeView { return v.marker(v.divided, slot) }

// Draining tells whether the local node may have keys of a slot of another.
func (v *View) Draining(slot int) bool { return v.draining != nil && v.draining.Has(slot) }

// Divided lists the slots that are divided, with the other nodes.
func (v *View) Divided() (marks []SlotMark) {
	for slot, i := range v.divided {
		marks = append(marks, SlotMark{slot, v.Nodes[i].ID})
	}
	return marks
}

// viewMoves fills in a view's divided and draining slots; pos gives positions of
// nodes.
func (m *Machine) viewMoves(v *View, pos []uint16) {
	if len(m.divided)+len(m.draining) == 0 {
		return
	}
	if v.Open == &noSlots {
		v.Open = new(SlotSet)
	}
	if len(m.divided) > 0 {
		v.divided = make(map[uint16]uint16, len(m.divided))
		for slot, n := range m.divided {
			v.divided[slot] = pos[n.top().idx]
			v.Open.Add(int(slot))
		}
	}
	if len(m.draining) > 0 {
		v.draining = new(SlotSet)
		for slot := range m.draining {
			v.draining.Add(int(slot))
			v.Open.Add(int(slot))
		}
	}
}
