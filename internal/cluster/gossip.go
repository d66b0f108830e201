package cluster

import "slices"

// sendPing sends PING on n's outbound link and starts waiting for the pong.
func (m *Machine) sendPing(n *node) {
	m.sendGossip(n.out, TypePing)
	n.pingSent = m.now.Mono
}

// sendMeet sends MEET on n's outbound link.
func (m *Machine) sendMeet(n *node) {
	m.sendGossip(n.out, TypeMeet)
	n.meetSent = m.now.Mono
}

// sendGossip sends PING, PONG or MEET with a gossip section on l.
func (m *Machine) sendGossip(l *link, t Type) {
	if l == nil || l.closed {
		return
	}
	msg := m.header(t)
	msg.MFlags |= MFlagExtData
	msg.Gossip = m.gossipFor(l.node, msg.Gossip)
	if n := l.node; n != nil && n.is(FlagExtensions) {
		m.extend(&msg.Ext, n)
	}
	m.send(l, msg)
}

// broadcastPong tells every node with a link the newest state of this one.
func (m *Machine) broadcastPong() {
	for _, n := range m.nodes {
		if n != m.self && !n.inHandshake() {
			m.sendGossip(n.out, TypePong)
		}
	}
}

// gossipFor fills a gossip section for node to, nil if it is a stranger (6.1),
// in the memory of list.
func (m *Machine) gossipFor(to *node, list []GossipEntry) []GossipEntry {
	n := len(m.nodes)
	fresh := n - 2
	wanted := min(max(3, n/10), fresh)
	if wanted <= 0 && m.pfails == 0 {
		return list
	}
	m.gossipGen++
	gen := m.gossipGen
	list = slices.Grow(list, max(wanted, 0)+m.pfails)
	for draws := 3 * wanted; draws > 0 && fresh > 0 && wanted > 0; draws-- {
		c := m.nodes[m.intn(n)]
		if c == m.self || c == to || c.isPFail() || c.mark == gen {
			continue
		}
		if c.is(FlagHandshake|FlagNoAddr) || (c.out == nil && c.slotCount == 0) {
			fresh--
			continue
		}
		list = append(list, m.gossipEntry(c))
		c.mark = gen
		fresh--
		wanted--
	}
	if m.pfails > 0 {
		left := m.pfails
		for _, c := range m.nodes {
			if left == 0 {
				break
			}
			if c != to && c.isPFail() && !c.is(FlagHandshake|FlagNoAddr) {
				list = append(list, m.gossipEntry(c))
				left--
			}
		}
	}
	return list
}

func (m *Machine) gossipEntry(n *node) GossipEntry {
	port, pport := m.cfg.wirePorts(n.addr)
	return GossipEntry{
		Node: n.id, PingSentSec: uint32(m.wall(n.pingSent) / 1000), PongRecvSec: uint32(m.wall(n.pongRecv) / 1000),
		IP: n.addr.IP, Port: port, PPort: pport, BusPort: n.addr.BusPort, Flags: n.flags,
	}
}

// extend adds this node's ping extensions for node to.
func (m *Machine) extend(e *Extensions, to *node) {
	s := m.self
	e.Hostname, e.Nodename, e.ShardID = s.hostname, s.nodename, s.shard
	if to.is(FlagLightPubSub) { // others take type 4 for a secret (3.7.6)
		e.ClientIPv4, e.ClientIPv6 = s.clientIPv4, s.clientIPv6
	}
	m.expireBlacklist()
	for _, b := range m.blacklist {
		if !b.quiet {
			e.Forgotten = append(e.Forgotten, Forgotten{b.id, uint64(max(b.until-m.now.Mono, 0) / 1000)})
		}
	}
}

// takeGossip processes a gossip section (6.3). sender is a member, or the
// handshake node of a stranger's MEET, whose word adds nodes but reports none.
func (m *Machine) takeGossip(sender *node, msg *Message) {
	known := m.gossiped[:0]
	for i := range msg.Gossip {
		id := &msg.Gossip[i].Node
		n := m.find(id)
		if n == nil && !id.Valid() { // ids in the table are valid
			m.event(LevelWarn, "gossip ignored: invalid node id", sender)
			return
		}
		known = append(known, n)
	}
	m.gossiped = known
	deletions := m.deletions
	for i := range msg.Gossip {
		g := &msg.Gossip[i]
		n := known[i]
		if n == nil || deletions != m.deletions { // unless an entry before this one was about it, too
			n = m.find(&g.Node)
		}
		switch {
		case n == m.self:
		case n != nil:
			m.heardOf(n, sender, g)
		case g.Flags&(FlagNoAddr|FlagHandshake) == 0 && g.IP != "" && !m.isBlacklisted(g.Node):
			m.addFromGossip(g)
		}
	}
}

// heardOf takes a gossip entry about a known node.
func (m *Machine) heardOf(n, sender *node, g *GossipEntry) {
	failing := g.Flags.Any(FlagFail | FlagPFail)
	switch {
	case failing && sender.votingPrimary() && !sender.inHandshake():
		if n.addReport(sender, m.now.Mono) {
			m.eventX(Event{Level: LevelDebug, What: "failure reported", Other: sender.id, Slot: -1}, n)
		}
		m.markFailIfAgreed(n)
	case !failing && n.dropReport(sender):
		m.eventX(Event{Level: LevelDebug, What: "reported back online", Other: sender.id, Slot: -1}, n)
	}
	if !failing && n.pingSent == 0 && n.accusers > 0 {
		m.expireReports(n)
	}
	// Nor is the word of others enough for a node that fails in our eyes: only its own
	// answer to a ping brings it back, and it is pinged when nothing was heard of it.
	if !failing && n.pingSent == 0 && n.accusers == 0 && !n.is(FlagFail|FlagPFail) {
		p := Millis(g.PongRecvSec)*1000 - m.now.Wall + m.now.Mono // on our clock
		if p <= m.now.Mono+gossipFutureSlack && p > n.pongRecv {
			n.pongRecv = p
		}
	}
	if !failing && !g.Flags.Any(FlagNoAddr) && n.is(FlagFail|FlagPFail) && g.IP != "" && !n.inHandshake() {
		if a := m.cfg.addrFromWire(g.IP, g.Port, g.PPort, g.BusPort); a != n.addr {
			m.setAddr(n, a)
		}
	}
}

// addFromGossip adds a node a member told us about, under its real id.
func (m *Machine) addFromGossip(g *GossipEntry) {
	n := m.addNode(g.Node, consistent(g.Flags&^(FlagMyself|FlagMeet|FlagHandshake)))
	n.addr = m.cfg.addrFromWire(g.IP, g.Port, g.PPort, g.BusPort)
	n.hearsay = true
	if n.isFail() {
		n.failTime = m.now.Mono
	}
	m.event(LevelInfo, "learnt a node from gossip", n)
	m.save(false)
}

// consistent settles contradictions in a flag word from outside.
func consistent(f Flags) Flags {
	if f.Has(FlagPrimary | FlagReplica) {
		f &^= FlagReplica
	}
	if f.Has(FlagPFail | FlagFail) {
		f &^= FlagPFail
	}
	return f
}

// the blacklist of forgotten ids

func (m *Machine) expireBlacklist() {
	m.blacklist = slices.DeleteFunc(m.blacklist, func(b blacklisted) bool { return b.until <= m.now.Mono })
}

func (m *Machine) isBlacklisted(id NodeID) bool {
	if len(m.blacklist) == 0 {
		return false
	}
	m.expireBlacklist()
	return slices.ContainsFunc(m.blacklist, func(b blacklisted) bool { return b.id == id })
}

// forget deletes n and keeps its id out of the table for ttl.
func (m *Machine) forget(n *node, ttl Millis) {
	until := m.now.Mono + ttl
	i := slices.IndexFunc(m.blacklist, func(b blacklisted) bool { return b.id == n.id })
	if i >= 0 {
		m.blacklist[i].until, m.blacklist[i].quiet = until, false
	} else {
		m.blacklist = append(m.blacklist, blacklisted{id: n.id, until: until})
	}
	m.deleteNode(n)
	if len(m.nodes) == 1 && m.self.slotCount == 0 {
		m.loseClusterID()
	}
	m.todo |= todoState
	m.save(false)
}
