package cluster

// Slot ownership and the epochs that order claims to it (spec 7).
//
// owners, the nodes' slot sets and their counts always agree: bindSlot, bindFree
// and unbind are the only writers. Which of equal sets a node holds is another
// matter: see sameSlots.

// bindSlot makes n the owner of an unowned slot.
func (m *Machine) bindSlot(slot int, n *node) {
	if m.owners[slot] != NoSlotOwner {
		panic("cluster: slot already has an owner")
	}
	m.owners[slot] = n.idx
	m.assigned++
	m.setUnclaimed(slot, false)
	if n == m.self {
		delete(m.draining, uint16(slot))
	}
	if len(m.deleted) > 0 {
		delete(m.deleted, uint16(slot))
	}
	n.ownSlots().Add(slot)
	n.slotCount++
	if n.slotCount == 1 {
		m.gotSeat(n)
	}
	m.slotsChanged(n)
}

// bindFree makes n the owner of those slots of a set, which is immutable, that have
// none.
func (m *Machine) bindFree(set *SlotSet, n *node) {
	if set.Empty() {
		return
	}
	before, all := n.slotCount, n.slotCount == 0
	for slot := range set.All() {
		all = all && m.owners[slot] == NoSlotOwner
	}
	if all { // as when they are loaded
		n.slots, n.shared = set, true
	}
	for first, last := range set.Ranges() {
		for slot := first; slot <= last; slot++ {
			if m.owners[slot] == NoSlotOwner {
				m.owners[slot] = n.idx
				if !all {
					n.ownSlots().Add(slot)
				}
				n.slotCount++
			}
		}
	}
	m.assigned += n.slotCount - before
	if before == 0 && n.slotCount > 0 {
		m.gotSeat(n)
	}
	m.slotsChanged(n)
}

// gotSeat notes that n owns its first slot.
func (m *Machine) gotSeat(n *node) {
	m.seats++
	if m.anyReplica() {
		n.flags |= FlagMigrateTo // 4.1.4
	}
}

// unbind leaves a slot without owner.
func (m *Machine) unbind(slot int) {
	i := m.owners[slot]
	if i == NoSlotOwner {
		return
	}
	n := m.byIdx[i]
	m.owners[slot] = NoSlotOwner
	m.assigned--
	m.setUnclaimed(slot, false)
	if n == m.self {
		m.noted(slot)
		delete(m.divided, uint16(slot))
		delete(m.withheld, uint16(slot))
	}
	n.ownSlots().Remove(slot)
	n.slotCount--
	if n.slotCount == 0 {
		n.slots, n.shared = nil, false
		m.seats--
	}
	m.slotsChanged(n)
}

func (m *Machine) slotsChanged(n *node) {
	m.dirtyOwners = true
	m.slotsChecked = false
	m.outdate(n)
	m.viewChanged = true
}

func (m *Machine) owner(slot int) *node {
	if i := m.owners[slot]; i != NoSlotOwner {
		return m.byIdx[i]
	}
	return nil
}

// unclaimed tells whether a slot is free for any claim.
func (m *Machine) unclaimed(slot int) bool {
	return m.owners[slot] == NoSlotOwner || m.notClaimed.Has(slot)
}

// setUnclaimed notes whether the owner of a slot no longer claims it.
func (m *Machine) setUnclaimed(slot int, yes bool) {
	if m.notClaimed.Has(slot) == yes {
		return
	}
	if yes {
		m.notClaimed.Add(slot)
		m.unclaimedSlots++
	} else {
		m.notClaimed.Remove(slot)
		m.unclaimedSlots--
	}
}

func (m *Machine) anyReplica() bool {
	for _, n := range m.nodes {
		if len(n.replicas) > 0 {
			return true
		}
	}
	return false
}

// myPrimary is the primary of the local shard as far as known: self if it is one.
func (m *Machine) myPrimary() *node {
	if m.self.isPrimary() {
		return m.self
	}
	return m.self.primary
}

// epochs

// raiseEpoch adopts a higher currentEpoch. It is written with the next save.
func (m *Machine) raiseEpoch(e uint64) {
	if e > m.currentEpoch {
		m.currentEpoch = e
		m.viewChanged = true
	}
}

// learnEpoch stores a newer configEpoch of another node.
func (m *Machine) learnEpoch(n *node, e uint64) {
	n.configEpoch = e
	m.raiseEpoch(e)
	m.changed(n)
	m.save(true)
}

// setOwnEpoch gives self a configEpoch.
func (m *Machine) setOwnEpoch(e uint64) {
	m.proven() // by an election or a command
	m.self.configEpoch = e
	m.raiseEpoch(e)
	m.changed(m.self)
	m.save(true)
}

// topEpoch is the greatest epoch that is known.
func (m *Machine) topEpoch() uint64 {
	top := m.currentEpoch
	for _, n := range m.nodes {
		top = max(top, n.configEpoch)
	}
	return top
}

// bumpEpoch takes a new epoch without agreement (7.1.4). It returns false if
// self already has the greatest one.
func (m *Machine) bumpEpoch() bool {
	if m.self.configEpoch != 0 && m.self.configEpoch == m.topEpoch() {
		return false
	}
	m.currentEpoch++
	m.setOwnEpoch(m.currentEpoch)
	m.todo |= todoPong
	m.eventX(Event{Level: LevelInfo, What: "new configEpoch taken without agreement", Epoch: m.self.configEpoch, Slot: -1}, nil)
	return true
}

// resolveCollision makes the node with the smaller id move on when two primaries
// have one configEpoch (7.2).
func (m *Machine) resolveCollision(sender *node) {
	if m.unproven || !m.self.id.Less(sender.id) {
		return
	}
	m.currentEpoch++
	m.setOwnEpoch(m.currentEpoch)
	m.todo |= todoPong
	m.eventX(Event{Level: LevelInfo, What: "configEpoch collision resolved", Epoch: m.self.configEpoch, Slot: -1}, sender)
}

// takeRole follows a role change seen in the header of a known sender (7.5). It
// returns true when the message is stale and nothing else of it may count.
func (m *Machine) takeRole(sender *node, msg *Message) (stale bool) {
	if msg.ReplicaOf.IsZero() {
		if !sender.isPrimary() {
			m.event(LevelInfo, "node is a primary now", sender)
			m.makePrimary(sender)
			m.save(false)
			m.todo |= todoState
		}
		return false
	}
	x := m.find(&msg.ReplicaOf)
	if x == sender || x != nil && x.inHandshake() {
		x = nil
	}
	if x == m.self && m.self.primary == sender && !m.takeBack(sender, msg) {
		return true // it has not heard yet that self left its slots to it
	}
	if !sender.isReplica() {
		if x != nil && x.shard == sender.shard {
			// Also when x is the one it has just succeeded, and this is from before
			// that, late on its other link: none loses slots to a smaller epoch.
			late := sender.slotCount > 0 && sender.configEpoch > msg.ConfigEpoch && m.since(sender.primaryAt) <= m.cfg.NodeTimeout
			// Just started, self claims with epoch 0: nobody need know that of its file.
			if m.epochOf(x) > msg.ConfigEpoch && !(x == m.self && m.unproven) || late {
				m.event(LevelInfo, "stale demotion ignored", sender)
				return true
			}
			if x.isReplica() && x != m.self {
				m.makePrimary(x)
				if x.configEpoch != msg.ConfigEpoch {
					m.learnEpoch(x, max(x.configEpoch, msg.ConfigEpoch))
				}
			}
		} else {
			for slot := range sender.slots.All() {
				m.unbind(slot)
			}
		}
		sender.flags = sender.flags&^(FlagPrimary|FlagMigrateTo) | FlagReplica
		m.eventX(Event{Level: LevelInfo, What: "node is a replica now", Other: msg.ReplicaOf, Slot: -1}, sender)
		m.changed(sender)
		m.save(false)
		m.todo |= todoState
	}
	if x == nil || sender.primary == x {
		return false
	}
	m.setPrimary(sender, x)
	m.flatten()
	if sender.shard != x.shard {
		sender.shard = x.shard
		m.changed(sender)
	}
	m.save(false)
	return false
}

// flatten makes self follow the top of its shard when its primary is a replica
// of another node (7.5 rule 2.2). The tick looks again, for news of a long chain
// may come in any order.
func (m *Machine) flatten() {
	p := m.self.primary
	if p == nil || p.primary == nil || p.primary == m.self {
		return
	}
	top := p.top()
	if top == p || top == m.self || top.inHandshake() {
		return
	}
	m.event(LevelInfo, "own primary is a replica, following the top of its chain", top)
	m.becomeReplica(top, true, top.shard != m.self.shard)
	m.save(true)
}

// makePrimary turns another node into a primary.
func (m *Machine) makePrimary(n *node) {
	if n.primary != nil {
		m.setPrimary(n, nil)
		n.flags |= FlagMigrateTo
	}
	n.flags = n.flags&^FlagReplica | FlagPrimary
	n.primaryAt = m.now.Mono
	m.changed(n)
}

// claim applies that s owns the slots of b with epoch e (7.4).
func (m *Machine) claim(s *node, e uint64, b *SlotSet) {
	if s == m.self {
		return
	}
	self, cur := m.self, m.myPrimary()
	sameShard := s.shard == self.shard
	var dirty, lost *SlotSet
	var newPrimary *node
	held := false // there are keys that are nowhere else
	// A header from before s took its present epoch came late, past an UPDATE or on
	// the other link: what it does not claim was not given up.
	old := e < s.configEpoch
	markers := len(m.migrating)+len(m.importing) > 0
	for slot := 0; slot < SlotCount; slot++ {
		if slot&7 == 0 && !markers {
			// Eight slots at once that s neither has nor wants, or has for
			// certain: by far the most of them.
			want, has := b.byte(slot>>3), s.slots.byte(slot>>3)
			if want == has && m.notClaimed[slot>>3]&has == 0 {
				slot += 7
				continue
			}
		}
		owner := m.owner(slot)
		claimed := b.Has(slot)
		switch {
		case claimed && owner == s:
			m.setUnclaimed(slot, false)
		case claimed && (m.unclaimed(slot) || owner.configEpoch < e || owner.primary == s && owner.configEpoch == e || s == m.yieldTo && owner == self):
			// An owner that follows s has left its slots to it. If both took the same
			// epoch apart from each other, and it yielded, no newer claim will come.
			if owner == self && m.cfg.keysInSlot(slot) > 0 {
				if m.drainTaken(slot, s) {
					held = true
				} else {
					addTo(&dirty, slot)
				}
			}
			if owner != nil && owner == cur {
				newPrimary = s
				addTo(&lost, slot)
			}
			if m.migrating[uint16(slot)] != nil && !sameShard {
				delete(m.migrating, uint16(slot))
			}
			if p := m.importing[uint16(slot)]; p != nil && p != s {
				if p.shard == s.shard {
					m.importing[uint16(slot)] = s
				} else {
					delete(m.importing, uint16(slot))
				}
			}
			m.unbind(slot)
			m.bindSlot(slot, s)
			m.save(true)
			m.todo |= todoState
		case !claimed && owner == s && !old:
			m.setUnclaimed(slot, true)
			m.slotsChecked = false
		}
		if !claimed && !old {
			m.closeMarkers(slot, s, e)
		}
	}
	if lost != nil {
		m.effect(SlotsLost{lost})
	}
	if m.cfg.ModuleNoRedirect {
		return
	}
	if newPrimary == nil && self.primary != s && b.Empty() && self.slotCount == 0 &&
		m.epochOf(self) < e && sameShard {
		newPrimary = s
	}
	if newPrimary != nil && !sameShard {
		// The shard lost some slots to s and the others to a failover: whose claim
		// comes last says nothing.
		if heir := m.heir(cur); heir != nil {
			newPrimary, sameShard = heir, true
		}
	}
	switch {
	case newPrimary != nil && !held && (cur == nil || cur.slotCount == 0) && (m.cfg.AllowReplicaMigration || sameShard):
		m.event(LevelInfo, "own slots were claimed, becoming a replica", newPrimary)
		m.becomeReplica(newPrimary, !sameShard, !sameShard)
		m.todo |= todoState
		m.save(true)
	case dirty != nil:
		m.effect(DropSlotKeys{dirty})
	}
}

// heir is the primary with slots of self's shard that is not old, nil if there is
// none: the one who won an election against old.
func (m *Machine) heir(old *node) *node {
	for _, n := range m.nodes {
		if n != m.self && n != old && n.shard == m.self.shard && n.isPrimary() && n.slotCount > 0 && !n.isFail() {
			return n
		}
	}
	return nil
}

func addTo(s **SlotSet, slot int) {
	if *s == nil {
		*s = new(SlotSet)
	}
	(*s).Add(slot)
}

// closeMarkers looks at the open slots when s does not claim a slot (7.4 rules 4
// and 5).
func (m *Machine) closeMarkers(slot int, s *node, e uint64) {
	if len(m.migrating)+len(m.importing) == 0 {
		return
	}
	if t := m.migrating[uint16(slot)]; t != nil && t != s && t.shard == s.shard &&
		(t.configEpoch < e || t.isReplica()) {
		m.migrating[uint16(slot)] = s
		m.save(true)
		m.viewChanged = true
	}
	if m.importing[uint16(slot)] == s && m.self.isPrimary() {
		delete(m.importing, uint16(slot))
		m.viewChanged = true
		// Valkey takes it from whoever has it. But if that is a third node the
		// marker was wrong, and its slot is not to be had for a SETSLOT.
		if o := m.owner(slot); o == nil || o == s {
			m.event(LevelInfo, "source gave the importing slot up, taking it", s)
			m.unbind(slot)
			m.bindSlot(slot, m.self)
			m.bumpEpoch()
			m.todo |= todoState
		}
		m.save(true)
	}
}

// correctStale sends UPDATE to a sender whose header claims a slot that someone
// else holds with a greater epoch (7.6).
func (m *Machine) correctStale(sender *node, msg *Message) {
	if owner := m.staleSlot(sender, msg); owner != nil {
		m.sendUpdate(sender.out, owner)
	}
}

// correctStranger tells a node that is no member what it has lost. It may have
// been forgotten while it was down, and be back from its nodes.conf with all
// members and its slots: the PONGs of a majority would let it serve them, and no
// member pings it. Its successor is known to it, or the UPDATE says nothing to it.
func (m *Machine) correctStranger(l *link, msg *Message) {
	if !msg.ReplicaOf.IsZero() || msg.Slots.Empty() {
		return
	}
	if owner := m.staleSlot(nil, msg); owner != nil && !m.foreign(msg) {
		m.sendUpdate(l, owner)
	}
}

// staleSlot finds the owner of the first slot of msg that the sender, nil if it
// is no member, has lost.
func (m *Machine) staleSlot(sender *node, msg *Message) *node {
	for slot := msg.Slots.Next(0); slot >= 0; slot = msg.Slots.Next(slot + 1) {
		if sender != nil && slot&7 == 0 && msg.Slots.byte(slot>>3) == sender.slots.byte(slot>>3) {
			slot += 7 // eight slots that are the sender's
			continue
		}
		owner := m.owner(slot)
		if owner != nil && owner != sender && !m.notClaimed.Has(slot) && owner.configEpoch > msg.ConfigEpoch && !(owner == m.self && m.withholds(slot)) {
			return owner
		}
	}
	return nil
}

func (m *Machine) sendUpdate(to *link, about *node) {
	if to == nil || about == m.self && m.unproven {
		return
	}
	slots := m.claims(about)
	if m.unclaimedSlots > 0 && slots.Overlaps(&m.notClaimed) {
		c := *slots
		for i := range c {
			c[i] &^= m.notClaimed[i]
		}
		slots = &c
	}
	msg := m.header(TypeUpdate)
	msg.Update = &Update{ConfigEpoch: about.configEpoch, Node: about.id, Slots: slots}
	m.send(to, msg)
}

// recvUpdate takes what a member knows better (7.6 rule 4).
func (m *Machine) recvUpdate(sender *node, msg *Message) {
	u := msg.Update
	if sender == nil || u == nil {
		return
	}
	n := m.byID[u.Node]
	if n == nil || n.inHandshake() {
		return
	}
	if n == m.self {
		m.event(LevelDebug, "UPDATE about this node ignored", sender)
		return
	}
	if m.overruled(sender, n, u) {
		return
	}
	switch {
	case n.configEpoch > u.ConfigEpoch:
	case n.configEpoch < u.ConfigEpoch:
		if !n.isPrimary() {
			m.makePrimary(n)
		}
		m.learnEpoch(n, u.ConfigEpoch)
		m.claim(n, u.ConfigEpoch, u.Slots)
	case n.isPrimary() && !n.slots.contains(u.Slots):
		// The epoch came without the slots, in the header of a replica of n; if
		// n is dead this is the only word about what it won. What the message
		// leaves out says nothing: it may be older than what we know.
		known := *u.Slots
		for slot := range n.slots.All() {
			known.Add(slot)
		}
		m.claim(n, u.ConfigEpoch, &known)
	}
}
