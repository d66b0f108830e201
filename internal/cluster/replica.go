package cluster

// becomeReplica makes self a replica of p (7.7). Self owns no slots then: those
// it might still own are unbound, since their owner is whoever claims them.
// closeSlots clears the migrating and importing markers.
func (m *Machine) becomeReplica(p *node, closeSlots, fullResync bool) {
	s := m.self
	if p == s {
		panic("cluster: a node cannot replicate itself")
	}
	for slot := range s.slots.All() {
		m.unbind(slot)
	}
	s.flags = s.flags&^(FlagPrimary|FlagMigrateTo) | FlagReplica
	if closeSlots {
		clear(m.migrating)
		clear(m.importing)
	}
	m.forgetMoves(nil)
	otherShard := s.shard != p.shard
	m.setPrimary(s, p)
	s.shard = p.shard
	m.changed(s)
	m.resetManualFailover()
	if m.cfg.FreshElection {
		m.authTime = 0
		m.authSent = false
	}
	m.wokeAt = 0
	m.proven()
	m.todo |= todoPong
	if otherShard {
		if rest := m.notOf(p); rest != nil {
			m.effect(SlotsLost{rest})
		}
	}
	m.eventX(Event{Level: LevelInfo, What: "this node is a replica now", Slot: -1}, p)
	m.follow(fullResync)
}

// notOf are the slots that p does not own.
func (m *Machine) notOf(p *node) *SlotSet {
	s := new(SlotSet)
	for i := range s {
		s[i] = 0xff
		if p.slots != nil {
			s[i] = ^p.slots[i]
		}
	}
	return s
}

// follow points replication at self's primary, if its address is known; the
// cron does it otherwise.
func (m *Machine) follow(fullResync bool) {
	p := m.self.primary
	if p.addr.IP == "" || p.is(FlagNoAddr) {
		m.follows = NodeID{}
		return
	}
	m.follows = p.id
	m.lastEffect++
	m.followID = m.lastEffect
	m.local.PrimaryLinkUp = false
	m.local.Unsynced = m.local.Unsynced || fullResync
	m.effect(Follow{ID: m.followID, Primary: p.id, IP: p.addr.IP, Port: m.cfg.replPort(p.addr), FullResync: fullResync})
}

// promote makes self the primary of its shard with every slot the old one has
// (8.6). The caller has set its configEpoch.
func (m *Machine) promote() {
	s := m.self
	old := s.primary
	if old == nil || !s.isReplica() {
		return
	}
	m.setPrimary(s, nil)
	s.flags = s.flags&^FlagReplica | FlagPrimary
	for _, n := range m.nodes {
		// A demoted primary of the shard may still hold the slots: its successor,
		// our old primary, died before we heard its claim.
		if n != old && (n.shard != s.shard || !n.isReplica() || n == s) {
			continue
		}
		for slot := range n.slots.All() {
			m.unbind(slot)
			m.bindSlot(slot, s)
		}
	}
	m.succeedBlind(old)
	m.changed(s)
	m.follows = NodeID{}
	m.effect(Promote{})
	m.evaluate()
	m.save(true)
	m.todo |= todoPong
	m.resetManualFailover()
	m.authTime = 0
	m.authSent = false
	m.eventX(Event{Level: LevelInfo, What: "this node is a primary now", Epoch: s.configEpoch, Slot: -1, Other: old.id}, nil)
}

// migrateReplica moves self to a primary that has lost all its replicas (8.8).
// The caller has checked that self's primary has the most.
func (m *Machine) migrateReplica(maxReplicas int) {
	p := m.self.primary
	if m.state != StateOK || p == nil || m.cfg.ModuleNoFailover {
		return
	}
	spare := 0
	for _, r := range p.replicas {
		if r.flags&(FlagFail|FlagPFail) == 0 {
			spare++
		}
	}
	if spare <= m.cfg.MigrationBarrier {
		return
	}
	candidate := m.self
	var target *node
	for _, n := range m.nodes {
		orphaned := n.isPrimary() && !n.isFail() && n.is(FlagMigrateTo) && n.healthyReplicas() == 0
		if orphaned {
			if target == nil && n.slotCount > 0 {
				target = n
			}
			if n.orphanedSince == 0 {
				n.orphanedSince = m.now.Mono
			}
		} else {
			n.orphanedSince = 0
		}
		if n.isPrimary() && n.healthyReplicas() == maxReplicas {
			for _, r := range n.replicas {
				if r.flags&(FlagFail|FlagPFail) == 0 && r.id.Less(candidate.id) {
					candidate = r
				}
			}
		}
	}
	if target == nil || candidate != m.self || m.now.Mono-target.orphanedSince <= migrationDelay {
		return
	}
	m.event(LevelInfo, "migrating to an orphaned primary", target)
	m.becomeReplica(target, true, true)
	m.save(true)
	m.todo |= todoState
}
