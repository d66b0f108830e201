package cluster

import (
	"fmt"
	"reflect"
	"testing"
)

// checkView compares the view published last with the machine: whatever a
// reader can see must have been published.
func (p *peer) checkView() {
	w, m, v := p.w, p.m, p.view
	w.t.Helper()
	fail := func(format string, args ...any) {
		w.t.Helper()
		w.t.Fatalf("t=%d node %d: view: %s", w.now, p.i, fmt.Sprintf(format, args...))
	}
	if len(v.Nodes) != len(m.nodes) {
		fail("%d nodes, want %d", len(v.Nodes), len(m.nodes))
	}
	if v.State != m.state || v.Size != m.size || v.ClusterID != m.clusterID || v.CurrentEpoch != m.currentEpoch || v.LastVoteEpoch != m.lastVoteEpoch ||
		v.ManualFailover != (m.mfEnd != 0) || v.Paused != m.mfPaused {
		fail("state %d size %d epochs %d %d, machine has %d %d %d %d", v.State, v.Size, v.CurrentEpoch, v.LastVoteEpoch, m.state, m.size, m.currentEpoch, m.lastVoteEpoch)
	}
	status := m.NodeStatus(w.times(), nil)
	for i, nv := range v.Nodes {
		n := m.byID[nv.ID]
		if n == nil || status[i].ID != n.id {
			fail("node %v is unknown or its status elsewhere", nv.ID)
		}
		if got, want := *nv, *m.nodeView(n); !reflect.DeepEqual(got, want) {
			fail("node %v is %+v, want %+v", n.id, got, want)
		}
	}
	if v.Myself().ID != m.self.id || !v.Mine.Equal(m.self.slots) {
		fail("myself is %v", v.Myself().ID)
	}
	for slot := range SlotCount {
		o, want := v.Owner(slot), m.owner(slot)
		if (o == nil) != (want == nil) || o != nil && o.ID != want.id {
			fail("wrong owner of slot %d", slot)
		}
	}
	mig, imp := v.Markers()
	if !reflect.DeepEqual(mig, markers(m.migrating)) || !reflect.DeepEqual(imp, markers(m.importing)) {
		fail("markers %v %v", mig, imp)
	}
	h, want := v.Header(TypePublish, 7), m.header(TypePublish)
	want.Offset = 7
	if !reflect.DeepEqual(h, want) {
		fail("header %+v, want %+v", h, want)
	}
}

// A machine started from what another saved is the same machine (invariant 24).
func TestRestartIsIdentity(t *testing.T) {
	w := newCluster(t, []int{2, 1, 1}, func(i int, s *Settings) {
		s.Hostname = fmt.Sprintf("host-%d", i)
		s.Nodename = fmt.Sprintf("name-%d", i)
		s.ClientIPv4 = fmt.Sprintf("192.0.2.%d", i+1)
	})
	w.peers[0].must(SetSlot{Slot: 1, Action: SlotMigrating, Node: text(w.id(1))})
	w.peers[0].must(SetSlot{Slot: 9000, Action: SlotImporting, Node: text(w.id(1))})
	w.run(2 * testTimeout)
	w.crash(4)
	w.run(3 * testTimeout)
	for i, p := range w.peers {
		c, skipped, err := ParseNodesConf(p.m.Conf().Encode(), false)
		if err != nil || len(skipped) > 0 {
			t.Fatalf("node %d: %v, skipped %q", i, err, skipped)
		}
		q := New(p.cfg, w.rnd, c, w.times())
		if err := q.CheckInvariants(); err != nil {
			t.Fatal(err)
		}
		got, want := q.Conf(), p.m.Conf()
		// Links and times are new, an old suspicion is not kept as such.
		for _, c := range []*NodesConf{got, want} {
			for j := range c.Nodes {
				n := &c.Nodes[j]
				n.PingSent, n.PongReceived, n.Connected = 0, 0, false
				n.Flags &= FlagPrimary | FlagReplica | FlagMyself | FlagFail | FlagNoFailover
				if n.Slots == nil {
					n.Slots = new(SlotSet)
				}
			}
		}
		if got.CurrentEpoch != want.CurrentEpoch || got.LastVoteEpoch != want.LastVoteEpoch || len(got.Nodes) != len(want.Nodes) {
			t.Fatalf("node %d: %d %d %d nodes, want %d %d %d", i, got.CurrentEpoch, got.LastVoteEpoch, len(got.Nodes), want.CurrentEpoch, want.LastVoteEpoch, len(want.Nodes))
		}
		for j := range got.Nodes {
			if !reflect.DeepEqual(got.Nodes[j], want.Nodes[j]) {
				t.Errorf("node %d line %d:\n%+v, want\n%+v", i, j, got.Nodes[j], want.Nodes[j])
			}
		}
	}
}

// 9.6: a replica takes the open slots that a full sync brings.
func TestLoadMarkers(t *testing.T) {
	l := candidateLab(t)
	if got := l.admin(LoadMarkers{Migrating: []SlotMark{{4097, nid("d")}, {5, nid("x")}}, Importing: []SlotMark{{1, nid("b")}}}); got != "" {
		t.Fatal(got)
	}
	v := l.m.View()
	mig, imp := v.Markers()
	if len(mig) != 1 || mig[0] != (SlotMark{4097, nid("d")}) || len(imp) != 1 || imp[0] != (SlotMark{1, nid("b")}) {
		t.Errorf("markers %v %v", mig, imp)
	}
}

// A tick in which nothing happens publishes and saves nothing.
func TestQuietTick(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	w.run(5 * testTimeout)
	p := w.peers[0]
	p.saved, p.views = nil, 0
	w.run(2 * testTimeout)
	if p.saved != nil {
		t.Errorf("a quiet cluster saves nodes.conf")
	}
	if p.views != 0 {
		t.Errorf("a quiet cluster publishes views")
	}
}
