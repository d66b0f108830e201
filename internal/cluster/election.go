package cluster

import "fmt"

// voteTimeout is how long an election may wait for votes, retry the time from one
// election to the next (8.1 rule 1).
func (m *Machine) voteTimeout() (timeout, retry Millis) {
	if m.cfg.RetryWithinTimeout {
		timeout = min(max(m.cfg.NodeTimeout/4, minFastRetry), maxFastRetry)
		return timeout, timeout
	}
	timeout = max(2*m.cfg.NodeTimeout, minVoteTimeout)
	return timeout, 2 * timeout
}

// manualReady tells whether a manual failover may go ahead. One that counts on
// the primary's pause must be over before the primary goes on, whose clock may
// run faster.
func (m *Machine) manualReady() bool {
	return m.mfEnd != 0 && m.mfCanStart &&
		(!m.mfHasOffs || m.now.Mono <= m.mfEnd-m.cfg.ManualFailoverTimeout/manualMarginPart)
}

// dataAge is how old the data of this replica is (8.1 rule 3).
func (m *Machine) dataAge() Millis {
	if m.local.PrimaryLinkAge < 0 {
		return 1 << 60
	}
	age := (m.local.PrimaryLinkAge + m.now.Mono - m.localAt) / 1000 * 1000
	if age > m.cfg.NodeTimeout {
		age -= m.cfg.NodeTimeout
	}
	return age
}

// failoverStep runs a replica's election (8.1). Every return before a new
// state is waiting for the next tick, a vote, or news.
func (m *Machine) failoverStep() {
	s, now, manual := m.self, m.now.Mono, m.manualReady()
	p := s.primary
	if !s.isReplica() || p == nil || (!p.isFail() && !manual) ||
		(m.cfg.ReplicaNoFailover && !manual) || (!m.cfg.SlotlessFailover && p.slotCount == 0) {
		m.stalled = ""
		return
	}
	timeout, retry := m.voteTimeout()
	age := m.since(m.authTime)
	if m.local.Unsynced && m.cfg.SyncGuard {
		m.stall("no complete data of this shard")
		return
	}
	if f := m.cfg.ReplicaValidityFactor; f > 0 && !manual {
		if m.dataAge() > m.cfg.ReplPingPeriod+m.cfg.NodeTimeout*Millis(f) {
			m.stall("data too old")
			return
		}
	}
	if age > retry {
		if m.authSent && m.authTime != 0 {
			m.stall("election expired")
		}
		m.schedule(manual)
		if manual {
			age = 0
		}
		if m.authTime > now {
			return
		}
	}
	if !m.authSent && !manual {
		m.adjustRanks()
	}
	if now < m.authTime {
		m.stall("waiting before the election")
		return
	}
	if age > timeout {
		m.stall("election expired")
		return
	}
	if !m.authSent {
		m.askForVotes()
		return
	}
	if m.votes < max(m.quorum(), m.authQuorum) {
		m.stall("waiting for votes")
		return
	}
	m.eventX(Event{Level: LevelInfo, What: "election won", Epoch: m.authEpoch, Slot: -1}, p)
	if s.configEpoch < m.authEpoch {
		m.setOwnEpoch(m.authEpoch)
	}
	m.promote()
}

// schedule sets the time of a new election (8.1 rule 4).
func (m *Machine) schedule(manual bool) {
	now := m.now.Mono
	clear(m.voters)
	m.votes = 0
	m.authSent, m.authQuorum = false, 0
	if manual {
		m.authTime, m.authRank, m.authPRank = now, 0, 0
	} else {
		m.authTime = now + m.cfg.ElectionDelay
		if m.cfg.ElectionJitter > 0 {
			m.authTime += Millis(m.intn(int(m.cfg.ElectionJitter)))
		}
		m.authRank, m.authPRank = m.rank(), m.failedPrimaryRank()
		m.authTime += Millis(m.authRank)*m.cfg.RankDelay + Millis(m.authPRank)*m.cfg.FailedPrimaryRankDelay
	}
	m.eventX(Event{Level: LevelInfo, What: "election scheduled", Slot: -1,
		Info: fmt.Sprintf("delayMs=%d rank=%d failedPrimaryRank=%d offset=%d", m.authTime-now, m.authRank, m.authPRank, m.local.ReplOffset)}, m.self.primary)
	for _, r := range m.self.primary.replicas {
		if r != m.self {
			m.sendGossip(r.out, TypePong)
		}
	}
}

// adjustRanks follows the ranks while the election has not begun (8.1 rule 5).
func (m *Machine) adjustRanks() {
	if r := m.rank(); r != m.authRank {
		m.authTime += Millis(r-m.authRank) * m.cfg.RankDelay
		m.authRank = r
	}
	if r := m.failedPrimaryRank(); r != m.authPRank {
		m.authTime += Millis(r-m.authPRank) * m.cfg.FailedPrimaryRankDelay
		m.authPRank = r
	}
}

// rank counts the siblings that should stand for election first (8.2).
func (m *Machine) rank() int {
	rank := 0
	for _, r := range m.self.primary.replicas {
		if r == m.self || r.is(FlagNoFailover) {
			continue
		}
		if r.offset > m.local.ReplOffset || r.offset == m.local.ReplOffset && r.id.Less(m.self.id) {
			rank++
		}
	}
	return rank
}

// failedPrimaryRank counts the failed shards whose replicas should stand first
// (8.3).
func (m *Machine) failedPrimaryRank() int {
	limit := m.cfg.NodeTimeout * Millis(m.cfg.ReplicaValidityFactor)
	rank := 0
	for _, n := range m.nodes {
		if n.isFail() && n.votingPrimary() && len(n.replicas) > 0 && n.shard.Less(m.self.shard) &&
			(limit == 0 || m.since(n.failTime) <= limit) {
			rank++
		}
	}
	return rank
}

// askForVotes begins the election (8.1 rule 8).
func (m *Machine) askForVotes() {
	m.currentEpoch++
	m.authEpoch = m.currentEpoch
	m.viewChanged = true
	msg := m.header(TypeAuthRequest)
	if m.mfEnd != 0 {
		msg.MFlags |= MFlagForceAck
	}
	m.broadcast(msg)
	m.authSent = true
	m.authQuorum = m.quorum()
	m.save(true)
	m.todo |= todoState
	m.eventX(Event{Level: LevelInfo, What: "election started", Epoch: m.authEpoch, Slot: -1}, m.self.primary)
}

// stall notes why the failover does not go on, in the log when the reason
// changes and at most every ten seconds else.
func (m *Machine) stall(reason string) {
	if m.stalled == reason && m.since(m.stalledLog) < 10000 {
		return
	}
	m.stalled, m.stalledLog = reason, m.now.Mono
	m.eventX(Event{Level: LevelInfo, What: "failover not possible yet: " + reason, Slot: -1,
		Info: fmt.Sprintf("votes=%d quorum=%d", m.votes, max(m.quorum(), m.authQuorum))}, m.self.primary)
}

// vote answers a request for a vote (8.4).
func (m *Machine) vote(r *node, msg *Message) {
	deny := func(why string, e Event) {
		e.Level, e.What = LevelInfo, "vote refused: "+why
		if e.Epoch == 0 {
			e.Epoch, e.Slot = msg.CurrentEpoch, -1
		}
		m.eventX(e, r)
	}
	if !m.self.votingPrimary() {
		return
	}
	if !msg.ReplicaOf.IsZero() && (r.primary == nil || r.primary.id != msg.ReplicaOf) && m.takeRole(r, msg) {
		// A replica since so short a time that no PING of it has told: the header says
		// so too. Without this the replica with the most data may go unheard.
		deny("its view of its shard is stale", Event{})
		return
	}
	p := r.primary
	switch {
	case msg.CurrentEpoch < m.currentEpoch:
		deny("its epoch is older than ours", Event{})
		return
	case m.lastVoteEpoch == m.currentEpoch:
		deny("already voted in this epoch", Event{})
		return
	case r.isPrimary():
		deny("it is a primary", Event{})
		return
	case p == nil:
		deny("its primary is unknown", Event{})
		return
	case !p.isFail() && msg.MFlags&MFlagForceAck == 0:
		deny("its primary is up", Event{})
		return
	case m.cfg.VoteSpacing && m.since(p.voted) < voteSpacingTimeouts*m.cfg.NodeTimeout:
		deny("voted about this primary not long ago", Event{})
		return
	}
	for slot := range msg.Slots.All() {
		owner := m.owner(slot)
		if owner == nil || m.notClaimed.Has(slot) || owner.configEpoch <= msg.ConfigEpoch {
			continue
		}
		deny("it claims a slot that has a newer owner", Event{
			Slot: slot, Epoch: owner.configEpoch, Other: owner.id,
			Info: fmt.Sprintf("requestEpoch=%d", msg.ConfigEpoch)})
		m.sendUpdate(r.out, owner)
		return
	}
	m.lastVoteEpoch = m.currentEpoch
	m.viewChanged = true
	p.voted = m.now.Mono
	m.save(true)
	m.send(r.out, m.header(TypeAuthAck))
	m.eventX(Event{Level: LevelInfo, What: "vote granted", Epoch: m.currentEpoch, Slot: -1, Other: p.id}, r)
}

// countVote takes an ACK (8.5).
func (m *Machine) countVote(sender *node, msg *Message) {
	if !m.authSent || m.authTime == 0 || !sender.votingPrimary() || msg.CurrentEpoch < m.authEpoch {
		return
	}
	if _, counted := m.voters[sender]; counted && m.cfg.VoteOnceGuard {
		return
	}
	m.voters[sender] = struct{}{}
	m.votes++
	m.todo |= todoFailover
}
