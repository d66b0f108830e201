package cluster

import (
	"fmt"
	"slices"
)

// CheckInvariants walks the whole state and reports the first thing that
// contradicts itself: the local part of the protocol's invariants 3 and 6 to 9,
// and the consistency of table, lists and links. O(nodes), and O(slots) after a
// slot changed; for tests and simulated worlds.
func (m *Machine) CheckInvariants() error {
	if len(m.nodes) != len(m.byID) {
		return fmt.Errorf("cluster: %d nodes in the table, %d by id", len(m.nodes), len(m.byID))
	}
	if m.byID[m.self.id] != m.self || !m.self.is(FlagMyself) {
		return fmt.Errorf("cluster: self is not in the table")
	}
	if m.lastVoteEpoch > m.currentEpoch {
		return fmt.Errorf("cluster: lastVoteEpoch %d above currentEpoch %d", m.lastVoteEpoch, m.currentEpoch)
	}
	if !m.slotsChecked {
		if err := m.checkSlotTable(); err != nil {
			return err
		}
		m.slotsChecked = true
	}
	for id, n := range m.byID {
		if n.id != id || n.gone || m.byIdx[n.idx] != n {
			return fmt.Errorf("cluster: node %v is misfiled", id)
		}
	}
	// As many as there are ids, all of them filed, none twice: they are the same.
	ends := 0
	listed := make([]bool, len(m.byIdx))
	for _, n := range m.nodes {
		if listed[n.idx] || m.byIdx[n.idx] != n || n.gone {
			return fmt.Errorf("cluster: node %v is misfiled", n.id)
		}
		listed[n.idx] = true
		if err := m.checkNode(n); err != nil {
			return err
		}
		if n.out != nil {
			ends++
		}
		if n.in != nil {
			ends++
		}
	}
	for _, places := range m.found {
		for _, n := range places {
			if n != nil && n.gone {
				return fmt.Errorf("cluster: %v is found, but deleted", n.id)
			}
		}
	}
	for id, l := range m.links {
		if l.id != id || l.closed {
			return fmt.Errorf("cluster: link %d is closed or misfiled", id)
		}
		if n := l.node; n != nil {
			if n.gone || n.out != l && n.in != l {
				return fmt.Errorf("cluster: link %d points at a node that does not know it", id)
			}
			ends--
		}
	}
	if ends != 0 { // each link is one end: checkNode sees that none is both
		return fmt.Errorf("cluster: %d links of nodes are not filed", ends)
	}
	return nil
}

// checkSlotTable compares the table of owners with the nodes' sets and counts.
// CheckInvariants runs it only after a slot changed.
func (m *Machine) checkSlotTable() error {
	counts := make([]int, len(m.byIdx))
	assigned := 0
	for slot := 0; slot < SlotCount; {
		first, idx := slot, m.owners[slot]
		for slot++; slot < SlotCount && m.owners[slot] == idx; slot++ {
		}
		if idx == NoSlotOwner {
			if s := m.notClaimed.Next(first); s >= 0 && s < slot {
				return fmt.Errorf("cluster: slot %d has no owner but is marked as not claimed by it", s)
			}
			continue
		}
		assigned += slot - first
		n := m.byIdx[idx]
		if n == nil || n.gone {
			return fmt.Errorf("cluster: slot %d belongs to a deleted node", first)
		}
		if s := n.slots.nextGap(first); s < slot {
			return fmt.Errorf("cluster: slot %d is of %v but not in its set", s, n.id)
		}
		counts[idx] += slot - first
	}
	if n := m.notClaimed.Len(); n != m.unclaimedSlots {
		return fmt.Errorf("cluster: %d slots are not claimed by their owners, counted %d", n, m.unclaimedSlots)
	}
	if assigned != m.assigned {
		return fmt.Errorf("cluster: %d slots assigned, counted %d", assigned, m.assigned)
	}
	seats := 0
	for _, n := range m.nodes {
		if n.slotCount > 0 {
			seats++
		}
		if slots := counts[n.idx]; n.slotCount != slots || n.slots.Len() != slots {
			return fmt.Errorf("cluster: node %v has count %d, set %d, table %d slots", n.id, n.slotCount, n.slots.Len(), slots)
		}
	}
	if seats != m.seats {
		return fmt.Errorf("cluster: %d nodes have slots, counted %d", seats, m.seats)
	}
	return nil
}

func (m *Machine) checkNode(n *node) error {
	switch {
	case n.is(FlagMyself) != (n == m.self):
		return fmt.Errorf("cluster: node %v: flag myself is wrong", n.id)
	case n.configEpoch > m.currentEpoch:
		return fmt.Errorf("cluster: node %v has configEpoch %d above currentEpoch %d", n.id, n.configEpoch, m.currentEpoch)
	case n.flags.Has(FlagPFail | FlagFail):
		return fmt.Errorf("cluster: node %v is both suspected and failed", n.id)
	case n.flags.Has(FlagPrimary | FlagReplica):
		return fmt.Errorf("cluster: node %v is both primary and replica", n.id)
	case n == m.self && n.isReplica() && n.slotCount > 0 && !m.oddSlots:
		return fmt.Errorf("cluster: self is a replica and owns %d slots", n.slotCount)
	case n == m.self && !n.is(FlagPrimary|FlagReplica):
		return fmt.Errorf("cluster: self has no role")
	case n.primary == n:
		return fmt.Errorf("cluster: node %v is its own primary", n.id)
	case n.primary != nil && (n.primary.gone || !slices.Contains(n.primary.replicas, n)):
		return fmt.Errorf("cluster: node %v is not in the list of its primary", n.id)
	case n.isPrimary() && n.primary != nil:
		return fmt.Errorf("cluster: primary %v has a primary", n.id)
	}
	if n.view != nil && m.view != nil && !m.tableChanged && m.view.Nodes[m.viewPos[n.idx]] != n.view {
		return fmt.Errorf("cluster: the view shows an outdated %v", n.id)
	}
	for i, r := range n.replicas {
		if r.primary != n || r.gone {
			return fmt.Errorf("cluster: %v lists replica %v, which follows another", n.id, r.id)
		}
		if i > 0 && !n.replicas[i-1].id.Less(r.id) {
			return fmt.Errorf("cluster: replicas of %v are out of order", n.id)
		}
	}
	if len(n.reports) != int(n.accusers) {
		return fmt.Errorf("cluster: %v has %d reports, counted %d", n.id, len(n.reports), n.accusers)
	}
	for _, r := range n.reports {
		if r.from.gone {
			return fmt.Errorf("cluster: %v has a report of a deleted node", n.id)
		}
	}
	for _, l := range [2]*link{n.out, n.in} {
		if l != nil && (l.node != n || l.closed) {
			return fmt.Errorf("cluster: %v has a dead link %d", n.id, l.id)
		}
	}
	if n.out != nil && n.out == n.in {
		return fmt.Errorf("cluster: %v has link %d for both directions", n.id, n.out.id)
	}
	return nil
}
