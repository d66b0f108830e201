package cluster

import "slices"

// Suspicion: how a node comes to think that another fails, and how that is told.
//
// Silence for T is the rule of all implementations. With CrashDetection a host
// that answers and refuses is heard, too: its process is gone. Either way those
// who need to know are told at once. Redis and Valkey let reports travel with
// the next pings, which takes up to T/2 more.

// suspect sets PFAIL.
func (m *Machine) suspect(n *node) {
	n.flags |= FlagPFail
	m.pfails++ // gossip holds as many suspects as were counted
	m.event(LevelDebug, "node suspected", n)
	m.changed(n)
	m.todo |= todoState
	if m.self.votingPrimary() {
		m.suspects = append(m.suspects, n)
		m.markFailIfAgreed(n)
	}
}

// refusal notes that n's host refused a connection. It is evidence of a crash
// only as a run without anything to the contrary: one that lasts for
// RefusedPeriod, while nothing comes from n on other links.
func (m *Machine) refusal(n *node) {
	now := m.now.Mono
	if n.refusedSince == 0 || n.dataRecv > n.refusedSince {
		n.refusedSince = now
	}
	n.refusedLast = now
	if !m.cfg.CrashDetection || n.is(FlagPFail|FlagFail|FlagHandshake|FlagNoAddr) ||
		n.refusedLast-n.refusedSince < m.cfg.RefusedPeriod {
		if due := n.refusedSince + m.cfg.RefusedPeriod; m.cfg.CrashDetection && due > now && (m.redialAt == 0 || due < m.redialAt) {
			m.redialAt = due
		}
		return
	}
	m.event(LevelInfo, "connections refused, the process is gone", n)
	m.suspect(n)
}

// redial tries the hosts again whose run of refusals would be long enough now.
func (m *Machine) redial() {
	m.redialAt = 0
	for _, n := range m.nodes {
		if n.refusedSince != 0 && n.out == nil && m.now.Mono-n.refusedSince >= m.cfg.RefusedPeriod &&
			!n.is(FlagPFail|FlagFail|FlagNoAddr) && n.addr.IP != "" {
			m.dial(n)
		}
	}
}

const (
	// maxCollectors bounds to how many voters a suspicion is told at once. They are
	// the same for all who tell, so the reports meet there; the first to count a
	// majority tells everyone by FAIL.
	maxCollectors = 16
	// Of many suspects in one step, as when half of a large cluster is cut off,
	// fewer are told, as the messages are long then.
	manySuspects  = 8
	fewCollectors = 4
)

// tellSuspects sends the suspicions of this step to those who can make FAIL of
// them: other voters, and the suspects' replicas, which wait for it.
func (m *Machine) tellSuspects() {
	list := m.suspects
	m.suspects = nil
	list = slices.DeleteFunc(list, func(n *node) bool { return !n.isPFail() })
	if len(list) == 0 || !m.self.votingPrimary() {
		return
	}
	limit := maxCollectors
	to := make([]*node, 0, maxCollectors)
	reachable := func(n *node) bool {
		return n != m.self && n.out != nil && n.out.up && !n.is(FlagPFail|FlagFail|FlagHandshake)
	}
	if len(list) > manySuspects {
		limit = fewCollectors
	} else {
		for _, n := range list {
			for _, r := range n.replicas {
				if reachable(r) {
					to = append(to, r)
				}
			}
		}
	}
	to = append(to, m.collectors(list[0].id, limit, reachable)...)
	gossip := make([]GossipEntry, len(list))
	for i, n := range list {
		gossip[i] = m.gossipEntry(n)
	}
	for _, n := range to {
		msg := m.header(TypePong)
		msg.MFlags |= MFlagExtData
		msg.Gossip = append(msg.Gossip, gossip...) // its memory may be used again
		if n.is(FlagExtensions) {
			m.extend(&msg.Ext, n)
		}
		m.send(n.out, msg)
	}
}

// collectors are the voters whose ids follow id, in a ring.
func (m *Machine) collectors(id NodeID, limit int, usable func(*node) bool) []*node {
	var list []*node
	for _, n := range m.nodes {
		if n.votingPrimary() && usable(n) {
			list = append(list, n)
		}
	}
	if len(list) <= limit {
		return list
	}
	slices.SortFunc(list, func(a, b *node) int {
		behind := id.Less(a.id)
		switch {
		case behind == id.Less(b.id):
			return compareID(a, b)
		case behind:
			return -1
		}
		return 1
	})
	return list[:limit]
}
