package cluster

// tick is the periodic work of 5.2.
func (m *Machine) tick() {
	m.ticks++
	m.lastTick = m.now.Mono
	m.silentAt, m.redialAt = 0, 0
	m.applySettings()
	m.tickLinks()
	if m.ticks%randomPingTicks == 0 && !m.cfg.DisableRandomPing {
		m.randomPing()
	}
	orphans, maxReplicas, ownReplicas := m.tickPings()

	s := m.self
	if m.unproven && m.ticks%provingPingTicks == 0 {
		m.pingVoters()
	}
	m.tickClusterID()
	m.flatten()
	m.tickDrains()
	if s.isReplica() && s.primary != nil && m.follows.IsZero() && s.primary.addr.IP != "" && !s.primary.is(FlagNoAddr) {
		m.follow(false)
	}
	if m.mfEnd != 0 && m.now.Mono > m.mfEnd {
		m.event(LevelWarn, "manual failover timed out", nil)
		m.resetManualFailover()
	}
	if s.isReplica() {
		m.manualStep()
		if !m.cfg.ModuleNoFailover || m.mfCanStart {
			m.failoverStep()
		}
		if orphans > 0 && maxReplicas >= 2 && ownReplicas == maxReplicas && m.cfg.AllowReplicaMigration &&
			s.isReplica() {
			m.migrateReplica(maxReplicas)
		}
	}
	if m.state == StateFail {
		m.todo |= todoState
	}
}

// tickLinks counts suspects, ends old handshakes and connects where there is no
// link (5.2 step 2).
func (m *Machine) tickLinks() {
	m.pfails = 0
	handshake := m.cfg.handshakeTimeout()
	for i := 0; i < len(m.nodes); i++ {
		n := m.nodes[i]
		if n == m.self || n.is(FlagNoAddr) {
			continue
		}
		if n.isPFail() {
			m.pfails++
		}
		if n.inHandshake() && m.since(n.created) > handshake {
			m.event(LevelDebug, "handshake timed out", nil)
			m.deleteNode(n)
			i--
			continue
		}
		if n.out != nil && n.in == nil && n.flags&(FlagHandshake|FlagMeet|FlagPFail|FlagFail) == 0 &&
			n.is(FlagLightModule) &&
			m.since(max(n.inboundFreed, n.created)) > handshake && m.since(n.meetSent) > handshake {
			n.flags |= FlagMeet
			m.changed(n)
			m.event(LevelDebug, "node does not connect back, meeting it again", n)
			m.sendMeet(n)
		}
		if n.out == nil && n.addr.IP != "" && n.addr.BusPort != 0 {
			m.dial(n)
		}
	}
}

// randomPing pings, of a few random nodes, the one not heard for longest.
func (m *Machine) randomPing() {
	var oldest *node
	for range randomPingDraws {
		n := m.nodes[m.intn(len(m.nodes))]
		if n.out == nil || n.pingSent != 0 || n == m.self || n.inHandshake() {
			continue
		}
		if oldest == nil || n.pongRecv < oldest.pongRecv {
			oldest = n
		}
	}
	if oldest != nil {
		m.sendPing(oldest)
	}
}

// tickPings pings who is due, drops dead links and suspects the silent (5.2
// step 4). It returns what replica migration asks for: the number of orphaned
// primaries, the largest number of healthy replicas of a primary, and that of
// self's primary.
func (m *Machine) tickPings() (orphans, maxReplicas, ownReplicas int) {
	T := m.cfg.NodeTimeout
	now := m.now.Mono
	interval := m.cfg.pingInterval()
	for _, n := range m.nodes {
		if n == m.self || n.flags&(FlagNoAddr|FlagHandshake) != 0 {
			continue
		}
		if m.self.isReplica() && n.isPrimary() && !n.isFail() {
			ok := n.healthyReplicas()
			if ok == 0 && n.slotCount > 0 && n.is(FlagMigrateTo) {
				orphans++
			}
			maxReplicas = max(maxReplicas, ok)
			if m.self.primary == n {
				ownReplicas = ok
			}
		}
		if n.out != nil && n.pingSent != 0 && now-n.pingSent > T/2 &&
			m.since(n.dataRecv) > T/2 && now-n.out.created > T {
			m.closeLink(n.out)
		}
		if n.out != nil && n.pingSent == 0 && m.since(n.pongRecv) > interval {
			m.sendPing(n)
			continue
		}
		if n.out != nil && n == m.mfReplica && m.mfEnd != 0 && m.self.isPrimary() {
			m.sendPing(n)
			continue
		}
		m.judgeSilence(n)
	}
	return orphans, maxReplicas, ownReplicas
}

// judgeSilence suspects n if it was silent for longer than T. If that will be so
// before the next tick it notes when.
func (m *Machine) judgeSilence(n *node) {
	if n.pingSent == 0 || n.flags&(FlagPFail|FlagFail) != 0 {
		return
	}
	due := max(n.pingSent, n.dataRecv) + m.cfg.NodeTimeout + 1
	switch {
	case m.now.Mono >= due:
		m.suspect(n)
	case due < m.now.Mono+TickPeriod && (m.silentAt == 0 || due < m.silentAt):
		m.silentAt = due
	}
}

// WakeAt is the monotonic time at which the machine wants to see a Wake, 0 if
// the next Tick is soon enough.
func (m *Machine) WakeAt() Millis {
	at := m.silentAt
	if m.redialAt != 0 && (at == 0 || m.redialAt < at) {
		at = m.redialAt
	}
	if m.self.isReplica() && !m.authSent && m.authTime > m.now.Mono && (at == 0 || m.authTime < at) {
		at = m.authTime
	}
	return at
}

// wake does what became due between two ticks.
func (m *Machine) wake() {
	if m.silentAt != 0 && m.now.Mono >= m.silentAt {
		m.silentAt = 0
		for _, n := range m.nodes {
			if n != m.self && n.flags&(FlagNoAddr|FlagHandshake) == 0 {
				m.judgeSilence(n)
			}
		}
	}
	if m.redialAt != 0 && m.now.Mono >= m.redialAt {
		m.redial()
	}
	if m.self.isReplica() && m.authTime != 0 && m.now.Mono >= m.authTime {
		m.todo |= todoFailover
	}
}
