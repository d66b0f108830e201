package cluster

import "fmt"

// woke handles the first step after a pause longer than the node timeout: the
// others may have replaced this primary, and what it would accept now be lost.
func (m *Machine) woke() {
	gap := m.now.Mono - m.lastTick
	m.lastTick = m.now.Mono
	if !m.self.votingPrimary() {
		return
	}
	m.wokeAt = m.now.Mono
	m.minorityTime = m.now.Mono
	// What waits in the sockets is from before the pause and proves nothing. New
	// links do: a PONG on one answers a PING sent after it.
	for _, n := range m.nodes {
		m.closeLink(n.out)
	}
	m.eventX(Event{Level: LevelWarn, What: "woke from a pause longer than the node timeout", Slot: -1,
		Info: fmt.Sprintf("pauseMs=%d", gap)}, nil)
	m.todo |= todoState
}

// heardSinceWake tells whether n has answered since this primary woke or was
// started from its nodes.conf.
func (m *Machine) heardSinceWake(n *node) bool {
	return m.wokeAt == 0 || n.out != nil && n.out.ponged && n.out.created >= m.wokeAt
}

// reachesMajority tells whether a majority of the voters is up, as far as known, and
// was heard since self stood still.
func (m *Machine) reachesMajority() bool {
	m.countVoters()
	n := 0
	for _, o := range m.nodes {
		if o.votingPrimary() && (o == m.self || o.flags&(FlagFail|FlagPFail) == 0 && m.heardSinceWake(o)) {
			n++
		}
	}
	return n >= m.quorum()
}

// evaluate decides whether the cluster serves (7.8).
func (m *Machine) evaluate() {
	now := m.now.Mono
	if m.ticks == 0 {
		return // not running yet: the delay after start begins with the first tick
	}
	if m.firstEval == 0 {
		m.firstEval = now
	}
	state := StateOK
	reason := ""
	m.countVoters()
	reachable, heard := 0, 0
	for _, n := range m.nodes {
		if n.isFail() && n.slotCount > 0 && m.cfg.RequireFullCoverage {
			state, reason = StateFail, "an owner of slots failed"
		}
		if n.votingPrimary() {
			if !n.is(FlagFail|FlagPFail) && (n == m.self || m.heardSinceWake(n)) {
				reachable++
			}
			if n == m.self || n.out != nil && n.out.ponged {
				heard++
			}
		}
	}
	if m.cfg.RequireFullCoverage && m.assigned < SlotCount {
		state, reason = StateFail, "slots without owner"
	}
	m.prove(heard)
	// The size is kept even now, unlike elsewhere: with the size of a
	// node just started, one vote would pass for a quorum.
	if m.self.isPrimary() && m.state == StateFail && now-m.firstEval < m.cfg.StartDelay {
		return
	}
	if reachable < m.quorum() {
		state, reason = StateFail, "majority of primaries unreachable"
		if m.size > 0 { // else there is no majority that could have gone on alone
			m.minorityTime = now
		}
	}
	if state == m.state {
		if state == StateOK {
			m.wokeAt = 0
		}
		return
	}
	if state == StateOK && m.unproven {
		return
	}
	if state == StateOK && m.self.isPrimary() && m.minorityTime != 0 && now-m.minorityTime < m.cfg.rejoinDelay() {
		return
	}
	m.state = state
	m.viewChanged = true
	if state == StateOK {
		m.wokeAt = 0
		m.okSince = m.now.Mono
		m.event(LevelInfo, "cluster state: ok", nil)
	} else {
		m.eventX(Event{Level: LevelWarn, What: "cluster state: fail", Info: reason, Slot: -1}, nil)
	}
}
