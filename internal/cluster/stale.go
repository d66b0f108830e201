package cluster

// A primary started from its nodes.conf may be long replaced, and the file be
// any file: restored from a backup, with an epoch of any height. By the rule of
// epochs a high one takes the slots back from the successor, whose writes are
// lost then. So with StalePrimaryGuard such a primary is unproven at first. It
// claims its slots with epoch 0: that changes nothing where they are known to be
// its own, wins nothing from anyone else, and makes whoever knows a newer owner
// say so by UPDATE, which all implementations send. If a majority of the voters
// names the same node of its shard it yields to that, whatever the epochs. Else
// it is proven once a majority was heard for provingTime, and goes on with the
// epoch of its file.
//
// One word is not enough, for who says it may be just as stale. Slots that
// another shard claims are left to the epochs: a slot imported just before a
// crash is known to nobody else yet.

const (
	provingTime      Millis = 1500
	provingPingTicks        = 10 // ticks between two PINGs to all voters
)

// overruled handles an UPDATE about node n while self is unproven. It returns
// true if self has yielded.
func (m *Machine) overruled(sender, n *node, u *Update) bool {
	if !m.unproven || !n.sharesShard(m.self) || !m.self.slots.Overlaps(u.Slots) ||
		sender == n || !sender.votingPrimary() {
		return false
	}
	if n.primary == m.self && n.dataRecv != 0 {
		return false // n says itself that it follows self: the word of others is older
	}
	m.outvoted[sender] = n.id
	votes := 0
	for v, id := range m.outvoted {
		if id == n.id && v.votingPrimary() {
			votes++
		}
	}
	m.countVoters() // news of this step may have brought some
	if votes < m.quorum() {
		return false
	}
	m.eventX(Event{Level: LevelWarn, What: "a majority knows a successor, yielding", Epoch: u.ConfigEpoch, Slot: -1}, n)
	if !n.isPrimary() {
		m.makePrimary(n)
	}
	if n.configEpoch < u.ConfigEpoch {
		m.learnEpoch(n, u.ConfigEpoch)
	}
	m.yieldTo = n
	m.claim(n, u.ConfigEpoch, u.Slots)
	m.yieldTo = nil
	return true
}

// takeBack undoes a yielding to the wrong node: the majority's word was older than
// that of the node itself, which follows self and knows the epoch by which self was
// the newer owner. Else both would follow each other for ever. By the rule of
// epochs nobody else has taken self for a replica meanwhile.
func (m *Machine) takeBack(n *node, msg *Message) bool {
	if msg.ConfigEpoch != m.self.configEpoch || msg.ConfigEpoch <= n.configEpoch {
		return false
	}
	m.eventX(Event{Level: LevelWarn, What: "the successor follows this node, being the primary again", Epoch: m.self.configEpoch, Slot: -1}, n)
	m.promote()
	return true
}

// sharesShard tells whether two nodes are of one shard as far as known.
func (n *node) sharesShard(o *node) bool { return n.shard == o.shard || n.primary == o }

// prove ends the time without an epoch. heard is how many voters have answered
// since the start, self included.
func (m *Machine) prove(heard int) {
	switch {
	case !m.unproven:
	case m.size <= 1: // nobody could know better
		m.proven()
	case heard < m.quorum():
		m.quorumAt = 0
	case m.quorumAt == 0:
		m.quorumAt = m.now.Mono
	case m.now.Mono-m.quorumAt >= provingTime:
		m.proven()
	}
}

// proven lets self claim with its epoch.
func (m *Machine) proven() {
	if m.unproven {
		m.unproven = false
		m.viewChanged = true
		m.todo |= todoPong
	}
	clear(m.outvoted)
}

// pingVoters asks every voter for its word.
func (m *Machine) pingVoters() {
	for _, n := range m.nodes {
		if n != m.self && n.votingPrimary() && n.out != nil && n.out.up && n.pingSent == 0 {
			m.sendPing(n)
		}
	}
}
