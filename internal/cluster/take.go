package cluster

import "fmt"

// TakeSlots makes this node the owner of slots whose data it has received from
// From, which has stopped writes to them and granted the hand-over: a claim with
// a new configEpoch, saved before anyone hears of it, then told to all. Nothing
// is taken unless From, by what is known here, owns every one of them, nor after
// the time until which From waits, if there is one.
type TakeSlots struct {
	Slots *SlotSet
	From  NodeID
	Until Millis // Mono; 0: any time
}

func (TakeSlots) command() {}

// String is for traces, which pointers would make differ.
func (c TakeSlots) String() string { return fmt.Sprintf("{%d slots from %v}", c.Slots.Len(), c.From) }

func (m *Machine) takeSlots(c TakeSlots) error {
	from := m.byID[c.From]
	switch {
	case !m.self.isPrimary():
		return errf("Slot migration can only be used on primary nodes.")
	case from == nil || from == m.self:
		return errf("Unknown node name: %s", c.From)
	case c.Slots.Empty():
		return errf("No slot ranges specified")
	case c.Until != 0 && m.now.Mono > c.Until: // this process stood still since
		return errf("The time to take the slots is over")
	case !m.reachesMajority(): // a replica may have won this node's own slots, with the epoch that it would take
		return errf("A majority of the primaries is not reachable")
	}
	for slot := range c.Slots.All() {
		if m.owner(slot) != from {
			return errf("Slot %d is no longer owned by the source node", slot)
		}
	}
	for slot := range c.Slots.All() {
		delete(m.importing, uint16(slot))
		m.unbind(slot)
		m.bindSlot(slot, m.self)
	}
	m.setOwnEpoch(m.topEpoch() + 1) // saves and syncs
	m.todo |= todoPong | todoState
	m.eventX(Event{Level: LevelInfo, What: "slots taken over with their data", Slot: -1, Epoch: m.self.configEpoch}, from)
	return nil
}
