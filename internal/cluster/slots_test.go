package cluster

import "testing"

// claimMsg is a header of the node that claims slots with an epoch.
func (l *lab) claimMsg(from string, epoch uint64, slots *SlotSet) *Message {
	m := l.msg(from, TypePing)
	m.ReplicaOf = NodeID{}
	m.Flags = m.Flags&^FlagReplica | FlagPrimary
	m.ConfigEpoch, m.Slots = epoch, slots
	m.CurrentEpoch = max(m.CurrentEpoch, epoch)
	return m
}

// Row 66: only a greater epoch rebinds; the loser's data goes; the claim is
// saved with sync.
func TestClaims(t *testing.T) {
	l := observerLab(t)
	q := SlotCount / 5
	l.keys[5], l.keys[6] = 3, 1
	mine := *l.m.self.slots
	b := *l.node("b").slots
	b.Add(5)
	l.recv("b", l.claimMsg("b", 1, &b))
	if l.m.owner(5) != l.m.self {
		t.Fatalf("a claim with an equal epoch took a slot")
	}
	if up := l.sentOf(TypeUpdate); len(up) != 0 {
		t.Errorf("UPDATE sent although the epochs are equal")
	}
	l.clear()
	l.recv("b", l.claimMsg("b", 2, &b))
	if l.m.owner(5) != l.node("b") || l.m.self.slotCount != q-1 {
		t.Fatalf("a claim with a greater epoch did not take the slot")
	}
	if l.syncs == 0 {
		t.Errorf("not synced")
	}
	if d, ok := effectOf[DropSlotKeys](l); !ok || d.Slots.Len() != 1 || !d.Slots.Has(5) {
		t.Errorf("dropped %v, want slot 5", d.Slots)
	}
	if s, ok := effectOf[SlotsLost](l); !ok || !s.Slots.Has(5) || s.Slots.Len() != 1 {
		t.Errorf("no SlotsLost of slot 5")
	}
	if !l.m.self.isPrimary() {
		t.Errorf("demoted by the loss of one slot")
	}

	// The last slot goes: self follows the new owner.
	l.clear()
	for s := range mine.All() {
		b.Add(s)
	}
	l.recv("b", l.claimMsg("b", 12, &b))
	s := l.m.self
	if !s.isReplica() || s.primary != l.node("b") {
		t.Fatalf("not a replica after losing all slots")
	}
	if f, ok := effectOf[Follow](l); !ok || f.Primary != nid("b") || !f.FullResync || f.Port != 7000 || f.IP != "10.0.0.2" {
		t.Errorf("follow %+v, want a full resync with b", f)
	}
	if _, ok := effectOf[DropSlotKeys](l); ok {
		t.Errorf("keys dropped although a full resync comes")
	}
}

// A primary that is back after its replica won its slots, but for some that a third
// took, follows the replica, whoever it hears last.
func TestLastClaimDoesNotChooseThePrimary(t *testing.T) {
	for _, order := range [][]string{{"b", "c"}, {"c", "b"}} {
		l := observerLab(t)
		heir := l.node("c")
		heir.shard = l.m.self.shard
		claims := map[string]*SlotSet{"b": new(SlotSet), "c": new(SlotSet)}
		for name, set := range claims {
			*set = *l.node(name).slots
		}
		for slot := range l.m.self.slots.All() {
			who := "c"
			if slot < 10 {
				who = "b"
			}
			claims[who].Add(slot)
		}
		for _, name := range order {
			l.recv(name, l.claimMsg(name, 12, claims[name]))
		}
		if s := l.m.self; !s.isReplica() || s.primary != heir {
			t.Errorf("%v: replica %v of %v, want of c", order, s.isReplica(), s.primary)
		}
		if f, ok := effectOf[Follow](l); !ok || f.Primary != nid("c") || f.FullResync {
			t.Errorf("%v: follow %+v", order, f)
		}
	}
}

// A header that a replica sent before its election, and that comes after the news of
// it on the other link, takes nothing back.
func TestLateHeaderOfWinner(t *testing.T) {
	l := observerLab(t)
	heir := l.node("r") // of c
	old := l.msg("r", TypePing)
	old.ReplicaOf, old.Flags, old.ConfigEpoch, old.Slots = nid("c"), FlagReplica|FlagMyself, l.node("c").configEpoch, l.node("c").slots
	won := new(SlotSet)
	for slot := range l.node("c").slots.All() {
		if slot != l.node("c").slots.Next(0) { // one was taken by another
			won.Add(slot)
		}
	}
	l.recv("r", l.claimMsg("r", 20, won))
	if !heir.isPrimary() || heir.slotCount != won.Len() {
		t.Fatalf("r has not won: %+v", heir)
	}
	l.recv("r", old)
	if !heir.isPrimary() {
		t.Error("r is a replica again by an old message")
	}
	l.run(testTimeout + TickPeriod)
	l.recv("r", old)
	if heir.isPrimary() {
		t.Error("r is never heeded again")
	}
}

// 7.4, last part: without replica migration an empty primary stays one if the
// winner is of another shard, and follows if it is of the same.
func TestLosingAllSlotsWithoutMigration(t *testing.T) {
	for _, same := range []bool{false, true} {
		l := observerLab(t, func(s *Settings) { s.AllowReplicaMigration = false })
		if same {
			l.node("b").shard = l.m.self.shard
		}
		l.keys[5] = 1
		all := *l.node("b").slots
		for s := range l.m.self.slots.All() {
			all.Add(s)
		}
		l.recv("b", l.claimMsg("b", 12, &all))
		if l.m.self.isReplica() != same {
			t.Errorf("same shard %v: replica %v", same, l.m.self.isReplica())
		}
		f, follows := effectOf[Follow](l)
		if follows != same || same && f.FullResync {
			t.Errorf("same shard %v: follow %v %+v", same, follows, f)
		}
		if _, ok := effectOf[DropSlotKeys](l); ok == same {
			t.Errorf("same shard %v: keys dropped %v", same, ok)
		}
	}
}

// 7.4 rule 3: a slot its owner stops claiming stays bound, but any claim gets it.
func TestUnclaimedSlot(t *testing.T) {
	l := observerLab(t)
	q := SlotCount / 5
	f := *l.node("f").slots
	slot := 4*q + 1
	f.Remove(slot)
	l.recv("f", l.claimMsg("f", 5, &f))
	if l.m.owner(slot) != l.node("f") || !l.m.unclaimed(slot) {
		t.Fatalf("slot not bound any more, or not marked")
	}
	b := *l.node("b").slots
	b.Add(slot)
	l.recv("b", l.claimMsg("b", 2, &b)) // 2 < 5
	if l.m.owner(slot) != l.node("b") || l.m.unclaimed(slot) {
		t.Errorf("unclaimed slot not given to a lower epoch")
	}
}

// Row 70: stale claims are answered with UPDATE, one per message, and UPDATE is
// obeyed unless it is old or about self.
func TestUpdate(t *testing.T) {
	l := observerLab(t)
	b := *l.node("b").slots
	b.Add(SlotCount - 1) // f's, epoch 5
	b.Add(SlotCount/2 + 100)
	l.recv("b", l.claimMsg("b", 2, &b))
	up := l.sentOf(TypeUpdate)
	if len(up) != 1 || up[0].Link != l.out[nid("b")] {
		t.Fatalf("%d UPDATEs, want one to b", len(up))
	}
	if u := up[0].Msg.Update; u.Node != nid("c") && u.Node != nid("d") {
		t.Errorf("update about %v", u.Node)
	}

	send := func(about string, epoch uint64, slots *SlotSet) {
		m := l.msg("b", TypeUpdate)
		m.Update = &Update{ConfigEpoch: epoch, Node: nid(about), Slots: slots}
		l.recv("b", m)
	}
	l.clear()
	before := l.m.self.slotCount
	send("a", 99, slotRange(0, 0))
	if l.m.self.slotCount != before || l.m.self.configEpoch != 1 {
		t.Errorf("UPDATE about self obeyed")
	}
	send("f", 4, slotRange(0, SlotCount-1))
	if l.m.self.slotCount != before {
		t.Errorf("old UPDATE obeyed")
	}
	send("r", 30, l.node("c").shareSlots()) // c's replica has won
	r := l.node("r")
	if !r.isPrimary() || r.configEpoch != 30 || r.slotCount == 0 || l.node("c").slotCount != 0 || l.m.currentEpoch < 30 {
		t.Errorf("UPDATE about a promoted replica: %04x epoch %d slots %d", r.flags, r.configEpoch, r.slotCount)
	}
	if l.syncs == 0 {
		t.Errorf("not synced")
	}
}

// 7.2: of two primaries with one configEpoch the smaller id moves on.
func TestEpochCollision(t *testing.T) {
	l := observerLab(t)
	m := l.msg("b", TypePing)
	m.ConfigEpoch = 1
	l.node("b").configEpoch = 1
	l.recv("b", m)
	if got := l.m.self.configEpoch; got != 11 {
		t.Errorf("smaller id: configEpoch %d, want 11", got)
	}
	if l.syncs == 0 || len(l.sentOf(TypePong)) < 6 {
		t.Errorf("not synced or not told")
	}
	l = newLab(t, []labNode{
		{name: "b", flags: FlagPrimary, epoch: 1, slots: third(0)},
		{name: "a", flags: FlagPrimary, epoch: 1, slots: third(1)},
	})
	l.recv("a", l.msg("a", TypePing))
	if got := l.m.self.configEpoch; got != 1 {
		t.Errorf("larger id: configEpoch %d, want 1", got)
	}
}

// Nodes that start with equal epochs end with distinct ones (invariant 5).
func TestEpochCollisionsSettle(t *testing.T) {
	w := newWorld(t, 5)
	for i, p := range w.peers {
		p.must(AddSlots{Slots: []int{i}})
	}
	w.meetAll()
	w.until(20*testTimeout, "distinct epochs", func() bool {
		seen := map[uint64]bool{}
		for _, p := range w.peers {
			if e := p.m.self.configEpoch; seen[e] {
				return false
			} else {
				seen[e] = true
			}
		}
		return true
	})
}

// 4.5 rule 5.2: a replica's header does not teach an epoch; epochs never fall.
func TestEpochFromHeaders(t *testing.T) {
	l := observerLab(t)
	m := l.msg("r", TypePing)
	m.ConfigEpoch, m.CurrentEpoch = 25, 30
	l.recv("r", m)
	if l.node("r").configEpoch != 0 || l.m.currentEpoch != 30 {
		t.Errorf("epochs %d, %d, want 0, 30", l.node("r").configEpoch, l.m.currentEpoch)
	}
	m = l.msg("b", TypePing)
	m.ConfigEpoch, m.CurrentEpoch = 1, 2
	l.recv("b", m)
	if l.node("b").configEpoch != 2 || l.m.currentEpoch != 30 {
		t.Errorf("an epoch fell")
	}
}

// 7.5: roles seen in headers.
func TestRoleChanges(t *testing.T) {
	l := observerLab(t)
	// A replica that shows no primary is a primary; it takes c's slots by its
	// own claim.
	l.recv("r", l.claimMsg("r", 20, l.node("c").shareSlots()))
	r, c := l.node("r"), l.node("c")
	if !r.isPrimary() || r.primary != nil || r.slotCount == 0 || c.slotCount != 0 {
		t.Fatalf("promotion of r not taken")
	}
	// c turns its replica; a header from before that is stale.
	m := l.msg("c", TypePing)
	m.ReplicaOf, m.ConfigEpoch, m.Slots = r.id, 20, r.shareSlots()
	l.recv("c", m)
	if !c.isReplica() || c.primary != r {
		t.Fatalf("demotion of c not taken")
	}
	stale := l.msg("r", TypePing)
	stale.ReplicaOf, stale.ConfigEpoch, stale.Slots = c.id, 3, nil
	l.node("c").shard = r.shard
	l.recv("r", stale)
	if !r.isPrimary() || r.slotCount == 0 {
		t.Errorf("stale demotion taken: %04x", r.flags)
	}
	// A primary that joins another shard loses its slots at once.
	m = l.msg("b", TypePing)
	m.ReplicaOf, m.ConfigEpoch, m.Slots = nid("d"), 4, l.node("d").shareSlots()
	m.Ext.ShardID = l.node("d").shard
	l.recv("b", m)
	b := l.node("b")
	if !b.isReplica() || b.primary != l.node("d") || b.slotCount != 0 || b.shard != l.node("d").shard {
		t.Errorf("b: %04x, %d slots", b.flags, b.slotCount)
	}
}

// Row 36: when the primary of self becomes a replica, self follows the top.
func TestChainFlattened(t *testing.T) {
	l := newLab(t, []labNode{
		{name: "a", flags: FlagReplica, primary: "b"},
		{name: "b", flags: FlagPrimary, epoch: 2},
		{name: "c", flags: FlagPrimary, epoch: 3, slots: third(2)},
	})
	m := l.msg("b", TypePing)
	m.ReplicaOf, m.ConfigEpoch, m.Slots = nid("c"), 3, l.node("c").shareSlots()
	l.recv("b", m)
	if l.m.self.primary != l.node("c") {
		t.Fatalf("still follows a replica")
	}
	if f, ok := effectOf[Follow](l); !ok || f.Primary != nid("c") || !f.FullResync {
		t.Errorf("follow %+v, want full resync with c", f)
	}
}

// 7.8: coverage, failed owners, majority; the delays of a primary at start and
// after a minority.
func TestState(t *testing.T) {
	w := newCluster(t, []int{0, 0, 0})
	start := w.now
	w.restart(0) // boot image has all slots and epochs
	if w.peers[0].m.state != StateFail {
		t.Fatalf("ok at once after start")
	}
	d := w.until(5000, "node 0 ok again", func() bool { return w.peers[0].m.state == StateOK })
	if d < DefaultSettings().StartDelay {
		t.Errorf("ok %d ms after start at %d, want at least %d", d, start, DefaultSettings().StartDelay)
	}
	w.run(2 * testTimeout)
	w.partition([]int{0}, []int{1, 2})
	d = w.until(5*testTimeout, "node 0 sees the minority", func() bool { return w.peers[0].m.state == StateFail })
	if max := testTimeout*3/2 + 3*TickPeriod; d > max {
		t.Errorf("minority noticed after %d ms, want at most %d", d, max)
	}
	w.heal()
	p := w.peers[0].m
	w.until(5*testTimeout, "contact", func() bool { return !p.nodes[1].is(FlagPFail|FlagFail) || !p.nodes[2].is(FlagPFail|FlagFail) })
	d = w.until(5*testTimeout, "node 0 ok", func() bool { return p.state == StateOK })
	if d < testTimeout-2*TickPeriod {
		t.Errorf("ok %d ms after contact, want the rejoin delay of %d", d, testTimeout)
	}

	for _, full := range []bool{true, false} {
		l := observerLab(t, func(s *Settings) { s.RequireFullCoverage = full })
		if l.m.state != StateOK {
			t.Fatalf("lab is not ok")
		}
		l.admin(DelSlots{Slots: []int{9}})
		if got := l.m.state == StateOK; got == full {
			t.Errorf("full coverage %v, a slot unassigned: ok %v", full, got)
		}
		l.admin(AddSlots{Slots: []int{9}})
		m := l.msg("b", TypeFail)
		m.Fail = nid("c")
		l.recv("b", m)
		if got := l.m.state == StateOK; got == full {
			t.Errorf("full coverage %v, an owner failed: ok %v", full, got)
		}
	}
}

// An epoch may be known before the slots won with it; an UPDATE with that very
// epoch brings them, and takes nothing away.
func TestUpdateWithKnownEpoch(t *testing.T) {
	l := observerLab(t)
	r := l.node("r")
	m := l.msg("c", TypePing) // c says that r is its primary, of epoch 20
	m.ReplicaOf, m.ConfigEpoch, m.Slots, m.CurrentEpoch = r.id, 20, nil, 20
	l.recv("c", m)
	if !r.isPrimary() || r.configEpoch != 20 || r.slotCount != 0 {
		t.Fatalf("r: %04x, epoch %d", r.flags, r.configEpoch)
	}
	update := func(slots *SlotSet) {
		m := l.msg("b", TypeUpdate)
		m.Update = &Update{ConfigEpoch: 20, Node: r.id, Slots: slots}
		l.recv("b", m)
	}
	first := l.node("c").slots.Next(0)
	update(slotRange(first, first+9))
	update(slotRange(first+5, first+19))
	if r.slotCount != 20 || l.m.unclaimed(first) {
		t.Errorf("r has %d slots, want 20, all claimed", r.slotCount)
	}
}

// A chain of replicas whose news come in the worst order ends at its top.
func TestLongChainFlattened(t *testing.T) {
	l := newLab(t, []labNode{
		{name: "a", flags: FlagReplica, primary: "b"},
		{name: "b", flags: FlagPrimary, epoch: 2},
		{name: "c", flags: FlagPrimary, epoch: 3},
		{name: "d", flags: FlagPrimary, epoch: 4, slots: third(0)},
	})
	l.m.setPrimary(l.node("c"), l.node("d"))
	l.node("c").flags ^= FlagPrimary | FlagReplica
	l.m.setPrimary(l.node("b"), l.node("c"))
	l.node("b").flags ^= FlagPrimary | FlagReplica
	l.run(TickPeriod)
	if l.m.self.primary != l.node("d") {
		t.Errorf("follows %v, want d", l.m.self.primary.id)
	}
}
