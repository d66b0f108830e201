package cluster

import (
	"strings"
	"testing"
)

func text(id NodeID) string { return string(id[:]) }

// Row 32 and invariant 20: FORGET at one node removes the id everywhere; it does
// not come back from gossip before its time, and does so after.
func TestForget(t *testing.T) {
	w := newCluster(t, []int{0, 0, 0, 0}, func(_ int, s *Settings) { s.BlacklistTTL = 10000 })
	w.peers[3].must(DelSlots{Slots: func() (l []int) {
		for s := range w.peers[3].m.self.slots.All() {
			l = append(l, s)
		}
		return l
	}()})
	w.run(testTimeout)
	id := w.id(3)
	w.crash(3)
	w.partition([]int{2}, []int{0, 1, 3})
	w.peers[0].must(Forget{text(id)})
	w.until(3*testTimeout, "forgotten by 0 and 1", func() bool {
		return w.peers[0].m.byID[id] == nil && w.peers[1].m.byID[id] == nil
	})
	if got := w.peers[0].admin(Forget{text(id)}); got != "" {
		t.Errorf("second FORGET: %q, want OK", got)
	}
	w.heal() // node 2 gossips about it and is then told to forget it too
	at := w.now
	for w.now < at+5000 {
		w.run(100)
		if w.peers[0].m.byID[id] != nil || w.peers[1].m.byID[id] != nil {
			t.Fatalf("came back %d ms after", w.now-at)
		}
	}
	if w.peers[2].m.byID[id] != nil {
		t.Errorf("node 2 did not forget it")
	}
	w.restart(3)
	// A MEET ignores the blacklist.
	w.peers[0].must(Meet{IP: w.peers[3].ip, Port: 7000})
	w.until(5*testTimeout, "met again", func() bool { return w.peers[0].m.byID[id] != nil })
}

func TestForgetErrors(t *testing.T) {
	w := newCluster(t, []int{1, 0, 0})
	unknown := strings.Repeat("f", 40)
	for _, tt := range []struct {
		node int
		id   string
		want string
	}{
		{0, unknown, "ERR Unknown node " + unknown},
		{0, "short", "ERR Unknown node short"},
		{0, text(w.id(0)), "ERR I tried hard but I can't forget myself..."},
		{3, text(w.id(0)), "ERR Can't forget my master!"},
		{0, text(w.id(3)), ""},
	} {
		if got := w.peers[tt.node].admin(Forget{tt.id}); got != tt.want {
			t.Errorf("node %d FORGET %.6s: %q, want %q", tt.node, tt.id, got, tt.want)
		}
	}
}

// Row 37, 38.
func TestReplicate(t *testing.T) {
	w := newCluster(t, []int{1, 0, 0})
	unknown := strings.Repeat("f", 40)
	for _, tt := range []struct {
		node int
		id   string
		want string
	}{
		{3, unknown, "ERR Unknown node " + unknown},
		{3, text(w.id(3)), "ERR Can't replicate myself"},
		{1, text(w.id(3)), "ERR I can only replicate a master, not a replica."},
		{1, text(w.id(0)), "ERR To set a master the node must be empty and without assigned slots."},
		{3, text(w.id(0)), ""},
	} {
		if got := w.peers[tt.node].admin(Replicate{tt.id}); got != tt.want {
			t.Errorf("node %d: %q, want %q", tt.node, got, tt.want)
		}
	}
	// A replica may change sides although it holds data.
	w.peers[3].keys[1] = 5
	w.peers[3].must(Replicate{text(w.id(1))})
	if f, _ := lastFollow(w.peers[3]); f.Primary != w.id(1) || !f.FullResync {
		t.Errorf("follow %+v", f)
	}
	w.until(5*testTimeout, "settled", w.settled)
	if got, want := w.sees(0, 3).shard, w.peers[1].m.self.shard; got != want {
		t.Errorf("shard id of the moved replica is %v, want %v", got, want)
	}
	l := newLab(t, []labNode{{name: "a", flags: FlagPrimary}, {name: "b", flags: FlagPrimary}})
	l.keys[7] = 1
	if got, want := l.admin(Replicate{text(nid("b"))}), "ERR To set a master the node must be empty and without assigned slots."; got != want {
		t.Errorf("with keys: %q", got)
	}
	l.keys[7] = 0
	if got := l.admin(Replicate{text(nid("b"))}); got != "" || l.syncs == 0 {
		t.Errorf("%q, %d syncs", got, l.syncs)
	}
}

func TestAddDelSlots(t *testing.T) {
	l := newLab(t, []labNode{{name: "a", flags: FlagPrimary}, {name: "b", flags: FlagPrimary, epoch: 1, slots: slotRange(100, 110)}})
	for _, tt := range []struct {
		cmd  Command
		want string
	}{
		{AddSlots{Slots: []int{1, 2, 100}}, "ERR Slot 100 is already busy"},
		{AddSlots{Slots: []int{1, 2, 1}}, "ERR Slot 1 specified multiple times"},
		{DelSlots{Slots: []int{1}}, "ERR Slot 1 is already unassigned"},
		{AddSlots{Slots: []int{1, 2, 3}}, ""},
		{DelSlots{Slots: []int{1, 3, 1}}, "ERR Slot 1 specified multiple times"},
		{DelSlots{Slots: []int{1, 100}}, ""},
	} {
		if got := l.admin(tt.cmd); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.cmd, got, tt.want)
		}
	}
	if s := l.m.self; s.slotCount != 2 || !s.slots.Has(2) || !s.slots.Has(3) || l.node("b").slotCount != 10 {
		t.Errorf("slots %d, b %d", s.slotCount, l.node("b").slotCount)
	}
	if s, ok := effectOf[SlotsLost](l); !ok || s.Slots.Len() != 1 || !s.Slots.Has(1) {
		t.Errorf("SlotsLost %v", s.Slots)
	}
	l.keys[2] = 1
	if got, want := l.admin(FlushSlots{}), "ERR DB must be empty to perform CLUSTER FLUSHSLOTS."; got != want {
		t.Errorf("FLUSHSLOTS: %q", got)
	}
	l.keys[2] = 0
	if got := l.admin(FlushSlots{}); got != "" || l.m.self.slotCount != 0 || l.node("b").slotCount != 10 {
		t.Errorf("FLUSHSLOTS: %q, %d slots", got, l.m.self.slotCount)
	}
}

// 7.1.4 and SET-CONFIG-EPOCH.
func TestEpochCommands(t *testing.T) {
	l := newLab(t, []labNode{{name: "a", flags: FlagPrimary}})
	l.m.currentEpoch = 0
	l.m.lastVoteEpoch = 0
	if got, want := l.admin(SetConfigEpoch{-1}), "ERR Invalid config epoch specified: -1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := l.admin(SetConfigEpoch{7}); got != "" || l.m.self.configEpoch != 7 || l.m.currentEpoch != 7 {
		t.Errorf("%q: %d", got, l.m.self.configEpoch)
	}
	if got, want := l.admin(SetConfigEpoch{8}), "ERR Node config epoch is already non-zero"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	bump := func() AdminReply {
		r, err := l.m.Admin(l.times(), BumpEpoch{})
		if err != nil {
			t.Fatal(err)
		}
		l.drain()
		return r
	}
	if r := bump(); r.Bumped || r.Epoch != 7 {
		t.Errorf("already the greatest: %+v", r)
	}
	l.m.currentEpoch = 9
	if r := bump(); !r.Bumped || r.Epoch != 10 || l.m.currentEpoch != 10 {
		t.Errorf("bump: %+v", r)
	}
	l = observerLab(t)
	if got, want := l.admin(SetConfigEpoch{3}), "ERR The user can assign a config epoch only when the node does not know any other node."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if r := bump(); !r.Bumped || r.Epoch != 11 || l.syncs == 0 || len(l.sentOf(TypePong)) != 6 {
		t.Errorf("bump: %+v, %d syncs, %d PONGs", r, l.syncs, len(l.sentOf(TypePong)))
	}
}

// 11.5: moving one slot between two live nodes in the order the cluster tool
// uses.
func TestSetSlot(t *testing.T) {
	w := newCluster(t, []int{1, 0, 0})
	src, dst := w.peers[0], w.peers[1]
	w.run(testTimeout)
	src.keys[7] = 2
	unknown := strings.Repeat("f", 40)
	for _, tt := range []struct {
		node int
		cmd  SetSlot
		want string
	}{
		{3, SetSlot{Slot: 7, Action: SlotStable}, "ERR Please use SETSLOT only with masters."},
		{0, SetSlot{Slot: 16384, Action: SlotStable}, "ERR Invalid or out of range slot"},
		{1, SetSlot{Slot: 7, Action: SlotMigrating, Node: text(w.id(0))}, "ERR I'm not the owner of hash slot 7"},
		{0, SetSlot{Slot: 7, Action: SlotImporting, Node: text(w.id(1))}, "ERR I'm already the owner of hash slot 7"},
		{0, SetSlot{Slot: 7, Action: SlotMigrating, Node: unknown}, "ERR I don't know about node " + unknown},
		{1, SetSlot{Slot: 7, Action: SlotImporting, Node: text(w.id(3))}, "ERR Target node is not a master"},
		{0, SetSlot{Slot: 7, Action: SlotNode, Node: unknown}, "ERR Unknown node " + unknown},
		{0, SetSlot{Slot: 7, Action: SlotNode, Node: text(w.id(3))}, "ERR Target node is not a master"},
		{0, SetSlot{Slot: 7, Action: SlotNode, Node: text(w.id(1))}, "ERR Can't assign hashslot 7 to a different node while I still hold keys for this hash slot."},
		{1, SetSlot{Slot: 7, Action: SlotImporting, Node: text(w.id(0))}, ""},
		{0, SetSlot{Slot: 7, Action: SlotMigrating, Node: text(w.id(1))}, ""},
	} {
		if got := w.peers[tt.node].admin(tt.cmd); got != tt.want {
			t.Errorf("node %d %+v: %q, want %q", tt.node, tt.cmd, got, tt.want)
		}
	}
	if src.view.MigratingTo(7) == nil || src.view.MigratingTo(7).ID != w.id(1) || !src.view.Open.Has(7) {
		t.Errorf("the view does not show the migrating slot")
	}
	if dst.view.ImportingFrom(7) == nil || dst.view.ImportingFrom(7).ID != w.id(0) {
		t.Errorf("the view does not show the importing slot")
	}
	w.run(2 * testTimeout) // gossip alone closes nothing
	if src.m.migrating[7] == nil || dst.m.importing[7] == nil {
		t.Fatalf("markers vanished")
	}
	src.keys[7] = 0
	epoch := dst.m.self.configEpoch
	dst.must(SetSlot{Slot: 7, Action: SlotNode, Node: text(w.id(1))})
	if dst.m.self.configEpoch <= epoch || dst.m.importing[7] != nil || !dst.m.self.slots.Has(7) {
		t.Errorf("target did not close the import with a new epoch")
	}
	w.until(50, "the claim is known everywhere at once", func() bool {
		return w.all(func(p *peer) bool { return p.m.owner(7) == p.m.byID[w.id(1)] })
	})
	src.must(SetSlot{Slot: 7, Action: SlotNode, Node: text(w.id(1))})
	if src.m.migrating[7] != nil || !src.m.self.isPrimary() {
		t.Errorf("source kept the marker, or was demoted")
	}
	w.until(5*testTimeout, "settled", w.settled)

	dst.must(SetSlot{Slot: 9, Action: SlotImporting, Node: text(w.id(0))})
	dst.must(SetSlot{Slot: 9, Action: SlotStable})
	if dst.m.importing[9] != nil {
		t.Errorf("STABLE left the marker")
	}
}

// 11.5 NODE rule 3: giving the last slot away makes a replica of the giver.
func TestSetSlotLast(t *testing.T) {
	l := newLab(t, []labNode{
		{name: "a", flags: FlagPrimary, epoch: 1, slots: slotRange(0, 0)},
		{name: "b", flags: FlagPrimary, epoch: 2, slots: slotRange(1, SlotCount-1)},
	})
	if got := l.admin(SetSlot{Slot: 0, Action: SlotNode, Node: text(nid("b"))}); got != "" {
		t.Fatal(got)
	}
	if f, ok := effectOf[Follow](l); !ok || !f.FullResync || l.m.self.primary != l.node("b") {
		t.Errorf("follow %+v %v", f, ok)
	}
}

// 7.4 rule 5: the source gave the slot up but the final command to the target
// was lost: the target takes it.
func TestLostFinalisation(t *testing.T) {
	l := observerLab(t)
	slot := SlotCount/5 + 3 // b's
	if got := l.admin(SetSlot{Slot: slot, Action: SlotImporting, Node: text(nid("b"))}); got != "" {
		t.Fatal(got)
	}
	b := *l.node("b").slots
	b.Remove(slot)
	l.recv("b", l.claimMsg("b", 2, &b))
	if l.m.owner(slot) != l.m.self || l.m.importing[uint16(slot)] != nil || l.m.self.configEpoch != 11 {
		t.Errorf("owner %v, epoch %d", l.m.owner(slot).id, l.m.self.configEpoch)
	}
}

// A marker that names a node which never had the slot ends with that node's next
// word, and the slot stays with its owner.
func TestWrongImportMarker(t *testing.T) {
	l := observerLab(t)
	slot := 2*SlotCount/5 + 50 // c's
	if got := l.admin(SetSlot{Slot: slot, Action: SlotImporting, Node: text(nid("b"))}); got != "" {
		t.Fatal(got)
	}
	epoch := l.m.self.configEpoch
	b := *l.node("b").slots
	b.Remove(SlotCount/5 + 3) // or the header would tell nothing new
	l.recv("b", l.claimMsg("b", 2, &b))
	if l.m.owner(slot) != l.node("c") || l.m.importing[uint16(slot)] != nil || l.m.self.configEpoch != epoch {
		t.Errorf("owner %v, marker %v, epoch %d, was %d", l.m.owner(slot).id, l.m.importing[uint16(slot)], l.m.self.configEpoch, epoch)
	}
}

// 7.4 rules 2.3, 2.4, 4: markers follow a failover inside the other shard.
func TestMarkersFollowFailover(t *testing.T) {
	l := observerLab(t)
	slot := 2*SlotCount/5 + 50 // c's; r is c's replica
	mine := 3
	for _, c := range []SetSlot{
		{Slot: slot, Action: SlotImporting, Node: text(nid("c"))},
		{Slot: mine, Action: SlotMigrating, Node: text(nid("c"))},
	} {
		if got := l.admin(c); got != "" {
			t.Fatal(got)
		}
	}
	l.recv("r", l.claimMsg("r", 20, l.node("c").shareSlots()))
	if l.m.importing[uint16(slot)] != l.node("r") {
		t.Errorf("importing marker did not follow")
	}
	if l.m.migrating[uint16(mine)] != l.node("r") {
		t.Errorf("migrating marker did not follow")
	}
}

// 11.4.
func TestReset(t *testing.T) {
	for _, hard := range []bool{false, true} {
		w := newCluster(t, []int{1, 0, 0})
		p := w.peers[3]
		p.keys[3] = 9
		id, shard, epoch := w.id(3), p.m.self.shard, p.m.currentEpoch
		p.must(Reset{Hard: hard})
		s := p.m.self
		if len(p.m.nodes) != 1 || !s.isPrimary() || s.primary != nil || p.m.assigned != 0 || p.Keys() != 0 {
			t.Errorf("hard %v: %d nodes, %04x, %d slots, %d keys", hard, len(p.m.nodes), s.flags, p.m.assigned, p.Keys())
		}
		if (s.id != id) != hard || (s.shard != shard) != hard || (p.m.currentEpoch != epoch) != hard {
			t.Errorf("hard %v: id, shard or epoch", hard)
		}
		w.peers[0].keys[1] = 1
		if got, want := w.peers[0].admin(Reset{}), "ERR CLUSTER RESET can't be called with master nodes containing keys"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// 9.5: keys found at start.
func TestAdoptKeys(t *testing.T) {
	l := newLab(t, []labNode{
		{name: "a", flags: FlagPrimary, epoch: 1, slots: slotRange(0, 10)},
		{name: "b", flags: FlagPrimary, epoch: 2, slots: slotRange(11, 20)},
	})
	l.keys[1], l.keys[12], l.keys[30] = 1, 1, 1
	drop := l.m.AdoptKeys(l.times())
	l.drain()
	if drop.Len() != 1 || !drop.Has(12) {
		t.Errorf("drop %v, want slot 12", drop)
	}
	if l.m.owner(30) != l.m.self || l.syncs == 0 {
		t.Errorf("slot 30 not taken, or not synced")
	}
}

// 4.6 and 3.7: extensions reach members, forgotten ids are spread with the time
// they have left, and a replica takes its primary's shard id.
func TestExtensions(t *testing.T) {
	l := observerLab(t, func(s *Settings) { s.Hostname = "a.example"; s.ClientIPv4 = "192.0.2.9" })
	l.admin(Forget{text(nid("e"))})
	l.now += 20000
	l.clear()
	l.recv("b", l.msg("b", TypePing))
	e := l.sentOf(TypePong)[0].Msg.Ext
	if e.Hostname != "a.example" || e.ShardID != l.m.self.shard || e.ClientIPv4 != "192.0.2.9" || len(e.Forgotten) != 1 || e.Forgotten[0] != (Forgotten{nid("e"), 40}) {
		t.Errorf("extensions %+v", e)
	}
	// Not a Valkey node: no client address.
	m := l.msg("d", TypePing)
	m.Flags &^= FlagLightPubSub
	l.clear()
	l.recv("d", m)
	if e := l.sentOf(TypePong)[0].Msg.Ext; e.ClientIPv4 != "" || e.ShardID.IsZero() {
		t.Errorf("extensions to a Redis node %+v", e)
	}
	// A replica with a shard id that is not its primary's is not believed.
	m = l.msg("r", TypePing)
	m.Ext.ShardID = nid("9")
	l.recv("r", m)
	if l.node("r").shard != l.node("c").shard {
		t.Errorf("replica has shard id %v", l.node("r").shard)
	}
	// D.9: the sender is forgotten by its own message.
	m = l.msg("f", TypePing)
	m.Ext.Forgotten = []Forgotten{{nid("f"), 5}}
	l.recv("f", m)
	if l.node("f") != nil {
		t.Errorf("forgotten sender still known")
	}
	// Self and the own primary are not forgotten on a peer's word.
	m = l.msg("b", TypePing)
	m.Ext.Forgotten = []Forgotten{{nid("a"), 5}}
	l.recv("b", m)
	if l.node("a") == nil {
		t.Errorf("self forgotten")
	}
}

// 5.2 rule 2.5 and 4.3 rule 3: a member that does not connect back is met again,
// until it answers.
func TestMeetAgain(t *testing.T) {
	w := newWorld(t, 2)
	w.peers[0].must(Meet{IP: w.peers[1].ip, Port: 7000})
	w.until(3000, "known", func() bool { return w.sees(0, 1) != nil && w.sees(1, 0) != nil })
	w.run(2 * testTimeout)
	// Node 1 loses its memory of node 0, but keeps its id.
	w.crash(1)
	c := *w.peers[1].saved
	c.Nodes = c.Nodes[:0:0]
	for _, n := range w.peers[1].saved.Nodes {
		if n.Flags.Has(FlagMyself) {
			c.Nodes = append(c.Nodes, n)
		}
	}
	w.peers[1].saved = &c
	w.restart(1)
	if w.sees(1, 0) != nil {
		t.Fatal("still known")
	}
	w.until(10*testTimeout, "known again by repeated MEET", func() bool { return w.sees(1, 0) != nil && w.sees(1, 0).out != nil })
	w.run(testTimeout)
	if w.sees(0, 1).is(FlagMeet) {
		t.Errorf("MEET goes on")
	}
}
