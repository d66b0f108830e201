package cluster

import (
	"math/rand/v2"
	"testing"
)

// commonClusterID is the id that all nodes have, 0 if they differ.
func (w *world) commonClusterID() uint64 {
	id := w.peers[0].m.clusterID
	for _, p := range w.peers {
		if p.m.clusterID != id {
			return 0
		}
	}
	return id
}

// A cluster that serves gets one id, which survives restarts and reaches new
// nodes. It does not get one before: nodes with some slots each may still be met
// into one.
func TestClusterID(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	w.until(10*testTimeout, "an id", func() bool { return w.commonClusterID() != 0 })
	w.run(4 * testTimeout)
	id := w.commonClusterID()
	w.crash(1)
	w.run(testTimeout / 2)
	w.restart(1)
	if got := w.peers[1].m.clusterID; got != id || id == 0 {
		t.Errorf("after a restart the id is %x, was %x", got, id)
	}
	w.until(20*testTimeout, "settled", w.settled)
	if got := w.commonClusterID(); got != id {
		t.Errorf("the id became %x, was %x", got, id)
	}

	w = newWorld(t, 2, func(_ int, s *Settings) { s.RequireFullCoverage = false })
	for i, p := range w.peers {
		var slots []int
		for slot := i; slot < SlotCount; slot += 2 {
			slots = append(slots, slot)
		}
		p.must(AddSlots{Slots: slots})
	}
	w.run(10 * testTimeout)
	for _, p := range w.peers {
		if p.m.state != StateOK || p.m.clusterID != 0 {
			t.Fatalf("half a cluster has state %d, id %x", p.m.state, p.m.clusterID)
		}
	}
	w.meetAll()
	w.until(20*testTimeout, "an id", func() bool { return w.commonClusterID() != 0 })
}

// If the owner of slot 0 draws no id another primary does. Where nodes were given
// different ones, one remains.
func TestClusterIDsConverge(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1}, func(i int, s *Settings) { s.ClusterIDGuard = i != 0 })
	w.until(10*testTimeout, "an id", func() bool { return w.commonClusterID() != 0 })
	for i, id := range []uint64{5, 9, 7} {
		w.peers[i].m.setClusterID(id, nil)
	}
	w.until(10*testTimeout, "the smallest of three", func() bool { return w.commonClusterID() == 5 })
	for i, id := range []uint64{8, 8, 3} {
		w.peers[i].m.setClusterID(id, nil)
	}
	w.until(10*testTimeout, "that of most primaries", func() bool { return w.commonClusterID() == 8 })
	for i := 3; i < 6; i++ { // replicas have no say
		w.peers[i].m.setClusterID(2, nil)
	}
	w.until(10*testTimeout, "that of the primaries", func() bool { return w.commonClusterID() == 8 })
}

// A node that took the wrong one of two ids and knows no primary follows the
// members that it knows. Seed 313 of 20 nodes shut one out for good.
func TestClusterIDOfNewcomer(t *testing.T) {
	l := newLab(t, []labNode{{name: "a", flags: FlagPrimary}, {name: "b", flags: FlagPrimary}, {name: "c", flags: FlagPrimary}})
	tell := func(name string, id, want uint64) {
		t.Helper()
		m := l.msg(name, TypePing)
		m.ClusterID = id
		l.recv(name, m)
		l.run(TickPeriod)
		if l.m.clusterID != want {
			t.Errorf("%s told %d: the id is %d, want %d", name, id, l.m.clusterID, want)
		}
	}
	l.m.clusterID = 9
	tell("b", 5, 5)
	m := l.msg("c", TypePing)
	m.Slots, m.ConfigEpoch = third(0), 3
	l.recv("c", m)
	tell("c", 8, 8)
	tell("b", 5, 8)
}

// Who shakes hands with whom: a node with an id with those of the same and with
// those of none, as the one that is met and as the one that meets.
func TestForeignNodes(t *testing.T) {
	for _, tt := range []struct {
		own, theirs uint64
		guard, met  bool
	}{
		{0, 0, true, true}, {0, 7, true, true}, {7, 0, true, true}, {7, 7, true, true}, {7, 8, true, false}, {7, 8, false, true},
	} {
		l := newLab(t, []labNode{{name: "a", flags: FlagPrimary}})
		l.m.cfg.ClusterIDGuard, l.m.clusterID = tt.guard, tt.own
		e := nid("e")
		l.accept(e)
		l.step(Recv{Link: l.in[e], PeerIP: "10.0.0.9", LocalIP: "10.0.0.1",
			Msg: &Message{Type: TypeMeet, Sender: e, Flags: FlagPrimary, Port: 7000, BusPort: 17000, ClusterID: tt.theirs}})
		if met := len(l.m.nodes) > 1; met != tt.met {
			t.Errorf("%+v: its MEET adds a node: %v", tt, met)
		}
		// Refused or not, the answer tells who we are, and nothing about others.
		if p := l.sentOf(TypePong); len(p) != 1 || p[0].Msg.ClusterID != tt.own || len(p[0].Msg.Gossip) > 0 {
			t.Errorf("%+v: the answer to MEET is %+v", tt, p)
		}

		l = newLab(t, []labNode{{name: "a", flags: FlagPrimary}})
		l.m.cfg.ClusterIDGuard, l.m.clusterID = tt.guard, tt.own
		l.admin(Meet{IP: "10.0.0.9", Port: 7000})
		l.run(TickPeriod)
		link := l.m.nodes[1].out.id
		l.step(LinkUp{link})
		l.step(Recv{Link: link, PeerIP: "10.0.0.9", LocalIP: "10.0.0.1",
			Msg: &Message{Type: TypePong, Sender: e, Flags: FlagPrimary, Port: 7000, BusPort: 17000, ClusterID: tt.theirs}})
		if met := l.node("e") != nil; met != tt.met || !met && len(l.m.nodes) > 1 {
			t.Errorf("%+v: its answer to MEET makes it a member: %v, of %d nodes", tt, met, len(l.m.nodes))
		}
	}
}

// A member without id, as other kinds have none, may belong to two clusters and
// tell each about the other. What it tells is looked at when the node speaks; a
// foreign one is kept out for a while, of which peers hear nothing.
func TestForeignNodeByGossip(t *testing.T) {
	for _, id := range []uint64{0, 7, 8} {
		l := newLab(t, []labNode{{name: "a", flags: FlagPrimary, slots: third(0), epoch: 1}, {name: "b", flags: FlagPrimary}})
		l.m.clusterID = 7
		tell := func() *node {
			m := l.msg("b", TypePing)
			m.Gossip = []GossipEntry{{Node: nid("e"), Flags: FlagPrimary, IP: "10.0.0.9", Port: 7000, BusPort: 17000}}
			l.recv("b", m)
			l.run(TickPeriod)
			return l.node("e")
		}
		n := tell()
		if n == nil || n.out == nil {
			t.Fatalf("id %d: a node told by gossip is not dialled", id)
		}
		epoch := l.m.currentEpoch
		l.step(LinkUp{n.out.id})
		l.step(Recv{Link: n.out.id, PeerIP: "10.0.0.9", LocalIP: "10.0.0.1", Msg: &Message{Type: TypePong, Sender: nid("e"),
			Flags: FlagPrimary, Port: 7000, BusPort: 17000, ClusterID: id, ConfigEpoch: 50, CurrentEpoch: 50, Slots: third(0)}})
		if id != 8 {
			if l.node("e") == nil {
				t.Errorf("id %d: not a member", id)
			}
			continue
		}
		if l.node("e") != nil || l.m.self.slotCount == 0 || l.m.currentEpoch != epoch {
			t.Errorf("a foreign node is a member: %v, own slots %d, epoch %d, was %d", l.node("e") != nil, l.m.self.slotCount, l.m.currentEpoch, epoch)
		}
		if tell() != nil {
			t.Errorf("the foreign node is back at once")
		}
		l.clear()
		l.m.byID[nid("b")].flags |= FlagExtensions
		l.m.sendPing(l.node("b"))
		l.drain()
		if p := l.sentOf(TypePing); len(p) != 1 || len(p[0].Msg.Ext.Forgotten) > 0 {
			t.Errorf("peers hear of it: %+v", p)
		}
		l.run(2 * testTimeout)
		if tell() == nil {
			t.Errorf("the foreign node is kept out for ever")
		}
	}
}

// A node that leaves its cluster is free: by RESET, or when it has no slots and
// forgets everybody.
func TestClusterIDEnds(t *testing.T) {
	for _, hard := range []bool{false, true} {
		w := newCluster(t, []int{1, 1, 1})
		w.until(10*testTimeout, "an id", func() bool { return w.commonClusterID() != 0 })
		p := w.peers[5]
		p.must(Reset{Hard: hard})
		if p.m.clusterID != 0 || p.saved.ClusterID != 0 {
			t.Errorf("RESET hard=%v: the id is %x, saved %x", hard, p.m.clusterID, p.saved.ClusterID)
		}
	}
	for _, slots := range []*SlotSet{nil, third(0)} {
		l := newLab(t, []labNode{{name: "a", flags: FlagPrimary, slots: slots}, {name: "b", flags: FlagPrimary}, {name: "c", flags: FlagPrimary}})
		l.m.clusterID = 7
		for _, name := range []string{"b", "c"} {
			if l.m.clusterID != 7 {
				t.Errorf("no id left while there are others")
			}
			l.admin(Forget{Node: nid(name).String()})
		}
		if kept := l.m.clusterID != 0; kept != (slots != nil) {
			t.Errorf("alone with %d slots: id kept %v", slots.Len(), kept)
		}
	}
}

// A foreign node that asks first is answered like any stranger.
func TestForeignNodeByGossipAsks(t *testing.T) {
	l := newLab(t, []labNode{{name: "a", flags: FlagPrimary, slots: third(0), epoch: 1}, {name: "b", flags: FlagPrimary}})
	l.m.clusterID = 7
	l.gossip("b", "e", FlagPrimary)
	m := l.msg("e", TypePing)
	m.ClusterID = 8
	l.clear()
	l.recv("e", m)
	if p := l.sentOf(TypePong); len(p) != 1 || p[0].Msg.ClusterID != 7 || len(p[0].Msg.Gossip) > 0 || l.node("e") != nil {
		t.Errorf("answered %+v, a member: %v", p, l.node("e") != nil)
	}
}

// A node known from gossip only is looked at when it speaks after a restart too.
func TestHearsayOutlivesRestart(t *testing.T) {
	for _, spoke := range []bool{false, true} {
		l := newLab(t, []labNode{{name: "a", flags: FlagPrimary, slots: third(0), epoch: 1}, {name: "b", flags: FlagPrimary}})
		l.m.clusterID = 7
		l.gossip("b", "e", FlagPrimary)
		m := l.msg("e", TypePing)
		if m.ClusterID = 7; spoke {
			l.recv("e", m)
		}
		conf, _, err := ParseNodesConf(l.m.Conf().Encode(), false)
		if err != nil {
			t.Fatal(err)
		}
		l.m = New(l.cfg, rand.NewPCG(3, 4), conf, l.times())
		clear(l.in)
		l.drain()
		l.accept(nid("e"))
		m = l.msg("e", TypePing)
		m.ClusterID = 8
		l.recv("e", m)
		if member := l.node("e") != nil; member != spoke {
			t.Errorf("spoke before the restart: %v, a member after a word of another cluster: %v", spoke, member)
		}
	}
}

// Who was made a replica of a node that had not spoken keeps it.
func TestHearsayOfOwnPrimary(t *testing.T) {
	l := newLab(t, []labNode{{name: "a", flags: FlagPrimary}, {name: "b", flags: FlagPrimary}})
	l.m.clusterID = 7
	l.gossip("b", "e", FlagPrimary)
	l.admin(Replicate{Node: nid("e").String()})
	m := l.msg("e", TypePing)
	m.ClusterID = 8
	l.recv("e", m)
	if e := l.node("e"); e == nil || l.m.self.primary != e {
		t.Errorf("the primary is gone: %v", l.m.self.primary)
	}
}
