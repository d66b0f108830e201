package cluster

// recv handles one message in the order of 4.5.
func (m *Machine) recv(in Recv) {
	l, msg := m.link(in.Link), in.Msg
	if l == nil {
		return
	}
	if msg.Type < TypeCount {
		m.received[msg.Type]++
	}
	if msg.Light {
		m.heard(in.Link)
		return
	}
	ping := msg.Type == TypePing || msg.Type == TypeMeet
	if msg.Sender == m.self.id {
		m.recvFromSelf(l, msg, ping)
		return
	}
	sender := m.find(&msg.Sender)
	if sender != nil && sender.inHandshake() {
		sender = nil
	}
	if sender != nil && sender.hearsay && !m.hearsay(sender, msg) {
		if ping {
			m.sendGossip(l, TypePong)
		}
		return
	}
	if sender != nil {
		if l.id.Inbound() && l.node != sender {
			m.bind(l, sender)
		}
		m.takeHeader(sender, msg)
	}

	if ping {
		m.learnOwnIP(msg, in.LocalIP)
	}
	if msg.Type == TypeMeet && !m.recvMeet(l, sender, msg, in.PeerIP) {
		return
	}
	if ping {
		m.sendGossip(l, TypePong)
		if sender == nil {
			m.correctStranger(l, msg)
		}
	}
	switch msg.Type {
	case TypePing, TypePong, TypeMeet:
		m.recvGossiping(l, sender, msg, in.PeerIP)
	case TypeFail:
		m.recvFail(sender, msg)
	case TypeAuthRequest:
		if sender != nil {
			m.vote(sender, msg)
		}
	case TypeAuthAck:
		if sender != nil {
			m.countVote(sender, msg)
		}
	case TypeMFStart:
		if sender != nil {
			m.recvMFStart(l, sender, msg)
		}
	case TypeUpdate:
		m.recvUpdate(sender, msg)
	}
}

// heard notes a light message (3.8 rule 2).
func (m *Machine) heard(id LinkID) {
	l := m.link(id)
	if l == nil {
		return
	}
	if l.node == nil || l.node.inHandshake() {
		m.closeLink(l)
		return
	}
	l.node.dataRecv = m.now.Mono
}

// LinkNode returns the member a link is bound to: the sender of the light
// messages that arrive on it. ok is false while it is unknown.
func (m *Machine) LinkNode(id LinkID) (node NodeID, ok bool) {
	l := m.link(id)
	if l == nil || l.node == nil || l.node.inHandshake() {
		return NodeID{}, false
	}
	return l.node.id, true
}

// recvFromSelf handles a node that met itself, and an address that turned out
// to be our own.
func (m *Machine) recvFromSelf(l *link, msg *Message, ping bool) {
	if ping {
		m.sendGossip(l, TypePong)
	}
	if msg.Type > TypeMeet || l.id.Inbound() {
		return
	}
	if l.node.inHandshake() {
		m.deleteNode(l.node)
		return
	}
	m.wrongNode(l)
}

// takeHeader copies what every message of a known sender tells (4.5 rules 3-5).
func (m *Machine) takeHeader(sender *node, msg *Message) {
	f := sender.flags
	if msg.MFlags&MFlagExtData != 0 {
		f |= FlagExtensions
	}
	const light = FlagLightPubSub | FlagLightModule
	f = f&^light | msg.Flags&light
	if f != sender.flags {
		sender.flags = f
		m.changed(sender)
	}
	sender.dataRecv = m.now.Mono
	m.takeClusterID(sender, msg.ClusterID)
	m.raiseEpoch(msg.CurrentEpoch)
	if msg.ReplicaOf.IsZero() && msg.ConfigEpoch > sender.configEpoch {
		m.learnEpoch(sender, msg.ConfigEpoch)
		if m.authSent && m.authTime != 0 && sender.configEpoch >= m.authEpoch {
			m.event(LevelInfo, "election cancelled: a newer epoch was claimed", sender)
			m.authTime = 0
			m.todo |= todoFailover
		}
	}
	if (msg.Offset > 0) != (sender.offset > 0) {
		m.changed(sender)
	}
	sender.offset = msg.Offset
	if m.self.primary == sender && m.mfEnd != 0 && !m.mfHasOffs && msg.MFlags&MFlagPaused != 0 {
		m.mfOffset, m.mfHasOffs = msg.Offset, true
		m.eventX(Event{Level: LevelDebug, What: "manual failover: primary paused", Slot: -1}, sender)
		m.todo |= todoManual
	}
}

// learnOwnIP takes the address peers reach this node at from the socket (4.5
// rule 6).
func (m *Machine) learnOwnIP(msg *Message, local string) {
	s := m.self
	if m.cfg.AnnounceIP != "" || local == "" || s.addr.IP == local {
		return
	}
	if msg.Type == TypeMeet || s.addr.IP == "" {
		s.addr.IP = local
		m.changed(s)
		m.save(false)
	}
}

// recvMeet does what is special about MEET (4.5 rule 7). It returns false if
// the link was closed.
func (m *Machine) recvMeet(l *link, sender *node, msg *Message, peerIP string) bool {
	if sender != nil {
		if sender.out != nil && m.since(sender.created) > m.cfg.handshakeTimeout() {
			m.closeLink(sender.out)
		}
		return !l.closed
	}
	if !l.id.Inbound() {
		return true
	}
	if l.node == nil {
		if m.foreign(msg) { // the id in the answer tells it why
			m.sendGossip(l, TypePong)
			return false
		}
		ip := msg.IP
		if ip == "" {
			ip = peerIP
		}
		if ip == "" {
			m.closeLink(l)
			return false
		}
		n := m.addNode(m.randomID(), FlagHandshake)
		n.addr = m.cfg.addrFromWire(ip, msg.Port, msg.PPort, msg.BusPort)
		if msg.MFlags&MFlagExtData != 0 {
			n.flags |= FlagExtensions
		}
		m.bind(l, n)
	}
	if l.node.inHandshake() {
		m.takeGossip(l.node, msg)
	}
	return true
}

// recvGossiping handles PING, PONG and MEET (4.5 rule 9). sender may be nil.
func (m *Machine) recvGossiping(l *link, sender *node, msg *Message, peerIP string) {
	if sender != nil && sender.is(FlagMeet) {
		sender.flags &^= FlagMeet
		m.changed(sender)
	}
	met := false
	if !l.id.Inbound() {
		n := l.node
		switch {
		case n.inHandshake() && sender != nil:
			m.updateAddr(l, sender, msg, peerIP)
			m.deleteNode(n)
			return
		case n.inHandshake():
			if !msg.Sender.Valid() || m.foreign(msg) {
				m.deleteNode(n)
				return
			}
			m.completeHandshake(n, msg)
			met = true
		case n != sender:
			m.wrongNode(l)
			return
		}
	}
	if sender != nil && (sender.flags^msg.Flags)&FlagNoFailover != 0 {
		sender.flags ^= FlagNoFailover
		m.changed(sender)
	}
	if sender != nil && msg.Type == TypePing {
		m.updateAddr(l, sender, msg, peerIP)
	}
	if msg.Type == TypePong && !l.closed && !l.id.Inbound() {
		m.ponged(l)
	}
	if met {
		m.sendPing(l.node) // what it owns comes with the answer; else with the first ping that it is chosen for
	}
	if sender == nil {
		return
	}
	wasReplica := sender.isReplica()
	if m.takeRole(sender, msg) {
		return
	}
	if msg.ReplicaOf.IsZero() && (wasReplica || !sender.sameSlots(msg.Slots) || m.unclaimedSlots > 0 && sender.slots.Overlaps(&m.notClaimed)) {
		m.claim(sender, msg.ConfigEpoch, msg.Slots)
		m.correctStale(sender, msg)
	}
	if m.self.isPrimary() && sender.isPrimary() && msg.ConfigEpoch == m.self.configEpoch &&
		sender.configEpoch == msg.ConfigEpoch {
		m.resolveCollision(sender)
	}
	m.takeGossip(sender, msg)
	m.takeExtensions(sender, msg)
}

// completeHandshake gives a handshake node the name and role it answered with.
// The rest of the message counts as from a stranger.
func (m *Machine) completeHandshake(n *node, msg *Message) {
	m.renameNode(n, msg.Sender)
	n.flags = consistent(n.flags&^FlagHandshake | msg.Flags&(FlagPrimary|FlagReplica))
	m.event(LevelInfo, "handshake completed", n)
	m.save(false)
}

// wrongNode handles an outbound link whose far end is not the node it was
// dialled for: that node's address is unknown now.
func (m *Machine) wrongNode(l *link) {
	n := l.node
	m.event(LevelInfo, "another node answers at this address", n)
	n.flags |= FlagNoAddr
	n.addr = Addr{}
	m.closeLink(l)
	m.changed(n)
	m.save(false)
	if !n.isFail() {
		m.markFail(n)
		m.broadcastFail(n)
	}
}

// ponged notes a PONG on the node's own outbound link.
func (m *Machine) ponged(l *link) {
	n := l.node
	if !l.ponged {
		l.ponged = true
		m.changed(n)
	}
	n.pongRecv = m.now.Mono
	n.pingSent = 0
	switch {
	case n.isPFail():
		n.flags &^= FlagPFail
		m.event(LevelDebug, "suspicion withdrawn", n)
		m.changed(n)
		m.save(false)
		m.todo |= todoState
	case n.isFail():
		m.clearFail(n)
	}
}

// updateAddr takes the sender's address from its header and socket (4.7 rule 1).
func (m *Machine) updateAddr(l *link, n *node, msg *Message, peerIP string) {
	if l == n.out {
		return
	}
	ip := msg.IP
	if ip == "" {
		ip = peerIP
	}
	if ip == "" {
		return
	}
	m.setAddr(n, m.cfg.addrFromWire(ip, msg.Port, msg.PPort, msg.BusPort))
}

// setAddr stores a new address of n and starts over with it.
func (m *Machine) setAddr(n *node, a Addr) {
	if n.addr == a && !n.is(FlagNoAddr) {
		return
	}
	n.addr = a
	n.flags &^= FlagNoAddr
	n.refusedSince = 0
	m.closeLink(n.out)
	m.event(LevelInfo, "address changed", n)
	m.changed(n)
	m.save(false)
	m.todo |= todoState
	if m.self.primary == n {
		m.follow(false)
	}
}

// takeExtensions applies the ping extensions of a known sender (3.7.5).
func (m *Machine) takeExtensions(sender *node, msg *Message) {
	e := &msg.Ext
	if sender.hostname != e.Hostname || sender.nodename != e.Nodename ||
		sender.clientIPv4 != e.ClientIPv4 || sender.clientIPv6 != e.ClientIPv6 {
		sender.hostname, sender.nodename = e.Hostname, e.Nodename
		sender.clientIPv4, sender.clientIPv6 = e.ClientIPv4, e.ClientIPv6
		m.changed(sender)
		m.save(false)
	}
	for _, f := range e.Forgotten {
		n := m.byID[f.Node]
		if n == nil || n == m.self || n == m.self.primary || n.inHandshake() {
			continue
		}
		ttl := Millis(min(f.TTLSec, 1<<40)) * 1000
		m.event(LevelInfo, "forgotten on a peer's word", n)
		m.forget(n, ttl)
		if n == sender {
			return // rule D.9
		}
	}
	shard := e.ShardID
	if shard.IsZero() {
		shard = sender.top().shard
	}
	m.takeShard(sender, shard)
}

// takeShard applies a shard id heard for n (4.6 rule 4).
func (m *Machine) takeShard(n *node, shard NodeID) {
	if n.isReplica() && n.top().shard != shard {
		return
	}
	if n.shard != shard {
		n.shard = shard
		m.changed(n)
		m.save(false)
	}
	if m.self.primary == n && m.self.shard != shard {
		m.self.shard = shard
		m.changed(m.self)
		m.save(true)
	}
}

// linkUp greets the node at the far end of a new outbound link (2.2.7).
func (m *Machine) linkUp(id LinkID) {
	l := m.link(id)
	if l == nil || l.up {
		return
	}
	l.up = true
	n := l.node
	n.refusedSince = 0
	if n.is(FlagMeet) {
		m.sendMeet(n)
		return
	}
	pending := n.pingSent
	m.sendPing(n)
	if pending != 0 {
		n.pingSent = pending
	}
}

// linkDown forgets a link that broke.
func (m *Machine) linkDown(in LinkDown) {
	l := m.link(in.Link)
	if l == nil {
		return
	}
	n := l.node
	established := n != nil && n.out == l && l.ponged
	m.dropLink(l)
	switch {
	case n == nil:
	case established:
		// Connect again without waiting for the tick, so that the answer, or its
		// absence, counts from now on. Not so if the link was short-lived: a peer
		// that accepts and closes must not make us spin.
		if m.since(l.created) >= TickPeriod && !n.is(FlagNoAddr) && n.addr.IP != "" && n.addr.BusPort != 0 {
			m.dial(n)
		}
	case !l.up:
		// An address that cannot even be connected to must still become suspect.
		if n.pingSent == 0 {
			n.pingSent = m.now.Mono
		}
		if in.Refused {
			m.refusal(n)
		} else {
			n.refusedSince = 0
		}
	}
}
