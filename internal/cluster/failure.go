package cluster

import "slices"

// addReport notes that from thinks n fails. It returns true for a new report.
func (n *node) addReport(from *node, now Millis) bool {
	for i := range n.reports {
		if n.reports[i].from == from {
			n.reports[i].at = now
			return false
		}
	}
	n.reports = append(n.reports, report{from, now})
	n.accusers++
	return true
}

// dropReport removes from's report about n, and tells whether there was one.
func (n *node) dropReport(from *node) bool {
	if n.accusers == 0 {
		return false
	}
	i := slices.IndexFunc(n.reports, func(r report) bool { return r.from == from })
	if i < 0 {
		return false
	}
	n.reports = slices.Delete(n.reports, i, i+1)
	n.accusers--
	return true
}

// expireReports drops reports that are too old or whose maker has no vote (6.4).
func (m *Machine) expireReports(n *node) {
	limit := reportTimeouts * m.cfg.NodeTimeout
	n.reports = slices.DeleteFunc(n.reports, func(r report) bool {
		return m.since(r.at) > limit || !r.from.votingPrimary()
	})
	n.accusers = uint16(len(n.reports))
}

// countVoters brings the size of the cluster up to date. A replica that still
// holds slots keeps its seat warm for the primary that will claim them. Were it
// not counted, the quorum would dip, and two candidates of one epoch could both
// find a majority.
func (m *Machine) countVoters() {
	if m.size != m.seats {
		m.size = m.seats
		m.viewChanged = true
	}
}

// quorum is the majority of the voting primaries.
func (m *Machine) quorum() int { return m.size/2 + 1 }

// markFailIfAgreed turns suspicion into FAIL when a majority shares it (6.5).
func (m *Machine) markFailIfAgreed(n *node) {
	if !n.isPFail() || n.isFail() {
		return
	}
	// Who has no vote and does not know the owners of all slots, having just
	// joined, would take a few for the majority. Its FAIL would bind all.
	if !m.self.votingPrimary() && m.assigned < SlotCount {
		return
	}
	m.countVoters() // news of this step may have brought some
	m.expireReports(n)
	votes := len(n.reports)
	if m.self.votingPrimary() {
		votes++
	}
	if votes < m.quorum() {
		return
	}
	m.event(LevelInfo, "node failed: quorum reached", n)
	m.markFail(n)
	m.broadcastFail(n)
}

// markFail sets FAIL.
func (m *Machine) markFail(n *node) {
	n.flags = n.flags&^FlagPFail | FlagFail
	n.failTime = m.now.Mono
	m.changed(n)
	m.save(false)
	m.todo |= todoState
	if n == m.self.primary && !m.cfg.ModuleNoFailover {
		m.todo |= todoFailover // schedules the election now
	}
}

func (m *Machine) broadcastFail(n *node) {
	msg := m.header(TypeFail)
	msg.Fail = n.id
	m.broadcast(msg)
}

// recvFail obeys a FAIL message (4.5 rule 10).
func (m *Machine) recvFail(sender *node, msg *Message) {
	if sender == nil {
		return
	}
	n := m.byID[msg.Fail]
	if n == nil || n == m.self || n.isFail() {
		return
	}
	m.eventX(Event{Level: LevelInfo, What: "node failed: told by a member", Other: sender.id, Slot: -1}, n)
	m.markFail(n)
}

// clearFail lets a node that answered return, unless its slots may yet go to a
// replica of it (6.6).
func (m *Machine) clearFail(n *node) {
	if n.votingPrimary() && m.since(n.failTime) <= failUndoTimeouts*m.cfg.NodeTimeout {
		return
	}
	n.flags &^= FlagFail
	m.event(LevelInfo, "node is back", n)
	if m.cfg.FreshElection && n == m.self.primary && !m.manualReady() {
		m.authTime, m.authSent = 0, false // its next failure is a new election
	}
	m.changed(n)
	m.save(false)
	m.todo |= todoState
}
