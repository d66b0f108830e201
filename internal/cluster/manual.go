package cluster

// Manual failover (8.7). A replica asks its primary with MFSTART; the primary
// has its writes paused, and only when the driver reports that none can slip
// through any more do its headers carry PAUSED with the final offset; the
// replica catches up with that offset and then stands for election at once. From
// then on only a role change or the end of the time lets writes go on: the
// replica may have all votes.

// startManual begins a manual failover on a replica.
func (m *Machine) startManual(mode FailoverMode) {
	m.resetManualFailover()
	if mode == FailoverTakeover {
		m.event(LevelInfo, "taking over without votes", m.self.primary)
		m.bumpEpoch()
		m.promote()
		return
	}
	m.mfEnd = m.now.Mono + m.cfg.ManualFailoverTimeout
	m.viewChanged = true
	if mode == FailoverForce {
		m.event(LevelInfo, "forced manual failover", m.self.primary)
		m.mfCanStart = true
		m.authTime, m.authSent = 0, false
		m.todo |= todoManual
		return
	}
	m.event(LevelInfo, "manual failover: asking the primary to pause", m.self.primary)
	m.send(m.self.primary.out, m.header(TypeMFStart))
}

// recvMFStart pauses writes for a replica that wants to take over.
func (m *Machine) recvMFStart(l *link, sender *node, msg *Message) {
	if msg.ReplicaOf == m.self.id && sender.primary != m.self {
		// Just become one, and no PING has told yet: the header says so too.
		m.takeRole(sender, msg)
	}
	if !sender.isReplica() || sender.primary != m.self {
		return
	}
	if m.mfReplica == nil { // else writes stay paused: who asked before may still win
		m.resetManualFailover()
	}
	m.lastEffect++
	m.mfPaused = false
	m.mfEnd = m.now.Mono + m.cfg.ManualFailoverTimeout
	m.mfReplica = sender
	m.mfPauseID = m.lastEffect
	m.mfLink = l
	m.viewChanged = true
	m.event(LevelInfo, "manual failover: pausing writes for a replica", sender)
	m.effect(PauseWrites{ID: m.mfPauseID, Until: m.now.Mono + 2*m.cfg.ManualFailoverTimeout})
}

// paused is told that PauseWrites took effect: the offset is final.
func (m *Machine) paused(id uint64) {
	if m.mfReplica == nil || id != m.mfPauseID || m.mfPaused {
		return
	}
	m.mfPaused, m.mfPromised = true, true
	m.viewChanged = true
	m.sendGossip(m.mfLink, TypePing)
}

// manualStep lets a replica go ahead once it has all of the paused primary's
// data. More than the announced offset is fine: what enters the stream after the
// pause is no client's write (a GETACK, a slot that was cleaned up).
func (m *Machine) manualStep() {
	if m.mfEnd == 0 || m.mfCanStart || !m.mfHasOffs || m.local.ReplOffset < m.mfOffset {
		return
	}
	m.mfCanStart = true
	m.authTime, m.authSent = 0, false
	m.event(LevelInfo, "manual failover: all data received", m.self.primary)
}

// resetManualFailover ends a manual failover on either side.
func (m *Machine) resetManualFailover() {
	if m.mfEnd == 0 {
		return
	}
	if m.mfReplica != nil {
		m.effect(ResumeWrites{})
	}
	m.mfEnd = 0
	m.mfReplica, m.mfLink = nil, nil
	m.mfPaused, m.mfPromised = false, false
	m.mfCanStart = false
	m.mfHasOffs, m.mfOffset = false, 0
	m.viewChanged = true
}
