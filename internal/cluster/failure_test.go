package cluster

import "testing"

// The observer a, with b, c, d, f as fellow voting primaries, replica r of c
// and e without slots: size 5, quorum 3.
func observerLab(t *testing.T, tune ...func(*Settings)) *lab {
	q := SlotCount / 5
	return newLab(t, []labNode{
		{name: "a", flags: FlagPrimary, epoch: 1, slots: slotRange(0, q-1)},
		{name: "b", flags: FlagPrimary, epoch: 2, slots: slotRange(q, 2*q-1)},
		{name: "c", flags: FlagPrimary, epoch: 3, slots: slotRange(2*q, 3*q-1)},
		{name: "d", flags: FlagPrimary, epoch: 4, slots: slotRange(3*q, 4*q-1)},
		{name: "f", flags: FlagPrimary, epoch: 5, slots: slotRange(4*q, SlotCount-1)},
		{name: "r", flags: FlagReplica, primary: "c"},
		{name: "e", flags: FlagPrimary},
	}, tune...)
}

var observerPeers = []string{"b", "d", "f", "r", "e"}

// Row 22: PFAIL comes T after the unanswered ping, not before.
func TestSuspectAfterTimeout(t *testing.T) {
	l := observerLab(t)
	c := l.node("c")
	for c.pingSent == 0 {
		l.run(TickPeriod)
	}
	at := c.pingSent
	for !c.isPFail() {
		l.run(TickPeriod)
		if l.now > at+2*testTimeout {
			t.Fatalf("never suspected")
		}
	}
	if d := l.now - at; d <= testTimeout || d > testTimeout+TickPeriod {
		t.Errorf("suspected %d ms after the ping, want T + at most a tick", d)
	}
}

// Row 21: any byte counts as life; row 20: but a link that brings neither pong
// nor data for T/2 is replaced, and the ping time survives that.
func TestDataCountsAsLife(t *testing.T) {
	l := observerLab(t)
	for range 3 * testTimeout / TickPeriod {
		l.run(TickPeriod)
		l.recv("c", l.msg("c", TypeMFStart)) // any message
	}
	if l.node("c").isPFail() {
		t.Errorf("a node that sends data is suspected for missing pongs")
	}
	if !l.node("b").isPFail() {
		t.Errorf("a silent node is not suspected")
	}
}

func TestLinkRecycled(t *testing.T) {
	l := observerLab(t)
	c := l.node("c")
	for c.pingSent == 0 {
		l.run(TickPeriod)
	}
	old, ping := l.out[nid("c")], c.pingSent
	for l.now < ping+testTimeout/2+3*TickPeriod {
		l.run(TickPeriod)
	}
	if !l.closed[old] {
		t.Fatalf("link not closed after T/2 without an answer")
	}
	if c.out == nil || l.out[nid("c")] == old {
		t.Fatalf("link not dialled again")
	}
	l.step(LinkUp{l.out[nid("c")]})
	if c.pingSent != ping {
		t.Errorf("ping time %d after reconnect, want the old %d", c.pingSent, ping)
	}
	l.pong("c")
	if c.pingSent != 0 || c.isPFail() {
		t.Errorf("pong on the new link does not count")
	}
}

// Row 33: FAIL takes the own suspicion and a majority of voting primaries; the
// quorum of 5 is 3. Rows 26, 34: replicas and primaries without slots do not
// count; FAIL is told to all.
func TestFailByQuorum(t *testing.T) {
	l := observerLab(t)
	l.gossip("b", "c", FlagPrimary|FlagPFail)
	l.gossip("d", "c", FlagPrimary|FlagFail)
	l.gossip("f", "c", FlagPrimary|FlagPFail)
	if l.node("c").isFail() {
		t.Fatalf("failed without own suspicion")
	}
	l.now += 2*testTimeout + 1 // the reports expire
	l.suspect("c", observerPeers...)
	l.gossip("r", "c", FlagPrimary|FlagPFail)
	l.gossip("e", "c", FlagPrimary|FlagPFail)
	l.gossip("b", "c", FlagPrimary|FlagPFail)
	l.gossip("b", "c", FlagPrimary|FlagPFail) // once per reporter
	if got := l.admin(CountFailureReports{string(l.node("c").id[:])}); got != "" {
		t.Fatal(got)
	}
	if l.node("c").isFail() || len(l.node("c").reports) != 1 {
		t.Fatalf("failed by 2 of 5, reports %d", len(l.node("c").reports))
	}
	l.gossip("d", "c", FlagPrimary)
	l.gossip("b", "c", FlagPrimary) // taken back
	if len(l.node("c").reports) != 0 {
		t.Errorf("report not withdrawn")
	}
	l.gossip("d", "c", FlagPrimary|FlagPFail)
	l.clear()
	l.gossip("b", "c", FlagPrimary|FlagPFail)
	c := l.node("c")
	if !c.isFail() || c.isPFail() {
		t.Fatalf("not failed by 3 of 5")
	}
	fails := l.sentOf(TypeFail)
	if len(fails) != 6 || fails[0].Msg.Fail != c.id {
		t.Errorf("%d FAIL messages, want 6", len(fails))
	}
	if l.saves == 0 {
		t.Errorf("FAIL not saved")
	}
}

// Row 28: reports live 2T.
func TestReportsExpire(t *testing.T) {
	l := observerLab(t)
	l.gossip("b", "c", FlagPrimary|FlagPFail)
	count := func() int {
		r, err := l.m.Admin(l.times(), CountFailureReports{string(l.node("c").id[:])})
		if err != nil {
			t.Fatal(err)
		}
		return r.Count
	}
	l.now += 2 * testTimeout
	if got := count(); got != 1 {
		t.Errorf("after 2T: %d reports, want 1", got)
	}
	l.now++
	if got := count(); got != 0 {
		t.Errorf("after 2T + 1 ms: %d reports, want 0", got)
	}
	l.gossip("b", "c", FlagPrimary|FlagPFail)
	l.m.unbindAll(l.node("b"))
	if got := count(); got != 0 {
		t.Errorf("%d reports of a primary that lost its slots, want 0", got)
	}
}

// 4.5 rule 10: FAIL of a member is obeyed at once, of a stranger never.
func TestFailMessage(t *testing.T) {
	l := observerLab(t)
	m := l.msg("x", TypeFail)
	m.Fail = nid("c")
	l.recv("x", m)
	if l.node("c").isFail() {
		t.Fatalf("obeyed a stranger")
	}
	m = l.msg("r", TypeFail)
	m.Fail = nid("a")
	l.recv("r", m)
	if l.m.self.isFail() {
		t.Fatalf("self failed by message")
	}
	m.Fail = nid("c")
	l.recv("r", m)
	if !l.node("c").isFail() {
		t.Errorf("FAIL not obeyed")
	}
}

// Row 35: a pong clears FAIL of replicas and slotless primaries at once, of a
// primary with slots only after 2T.
func TestFailCleared(t *testing.T) {
	l := observerLab(t)
	for _, n := range []string{"c", "r", "e"} {
		m := l.msg("b", TypeFail)
		m.Fail = nid(n)
		l.recv("b", m)
	}
	for _, n := range []string{"c", "r", "e"} {
		l.pong(n)
	}
	if l.node("r").isFail() || l.node("e").isFail() || !l.node("c").isFail() {
		t.Fatalf("after a pong: r %v e %v c %v, want only c failed", l.node("r").isFail(), l.node("e").isFail(), l.node("c").isFail())
	}
	l.now += 2 * testTimeout
	l.pong("c")
	if !l.node("c").isFail() {
		t.Errorf("cleared at 2T")
	}
	l.now++
	l.pong("c")
	if l.node("c").isFail() {
		t.Errorf("not cleared after 2T")
	}
}

// Row 29: a healthy pong time is adopted, a future one or one about a node with
// a pending ping or reports is not; nor one about a node that is FAIL here, for it
// would never be pinged, and so stay FAIL.
func TestPongTimeFromGossip(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ahead int64 // of now, ms
		prep  func(l *lab)
		adopt bool
	}{
		{"recent", 0, nil, true},
		{"a second ahead", 1500, nil, false},
		{"reported failing", 0, func(l *lab) { l.gossip("b", "c", FlagPrimary|FlagPFail) }, false},
		{"ping pending", 0, func(l *lab) { l.node("c").pingSent = l.now }, false},
		{"failing here", 0, func(l *lab) { l.node("c").flags |= FlagFail }, false},
	} {
		l := observerLab(t)
		l.now += 700
		l.now += (1000 - (l.times().Wall)%1000) % 1000
		if tt.prep != nil {
			tt.prep(l)
		}
		m := l.msg("d", TypePing)
		m.Gossip = []GossipEntry{{Node: nid("c"), PongRecvSec: uint32((int64(l.times().Wall) + tt.ahead) / 1000), IP: "10.0.0.3", Port: 7000, BusPort: 17000, Flags: FlagPrimary}}
		old := l.node("c").pongRecv
		l.recv("d", m)
		if got := l.node("c").pongRecv != old; got != tt.adopt {
			t.Errorf("%s: adopted %v, want %v", tt.name, got, tt.adopt)
		}
	}
}

// Row 16: a node that can never be connected to becomes suspect.
func TestUnreachableBecomesSuspect(t *testing.T) {
	l := observerLab(t)
	l.gossip("b", "n", FlagPrimary)
	for range 40 {
		for _, d := range l.dials {
			if d.Node == nid("n") {
				l.step(LinkDown{Link: d.Link, Refused: true})
			}
		}
		l.dials = nil
		l.run(TickPeriod)
		for _, o := range append([]string{"c"}, observerPeers...) {
			l.pong(o)
		}
	}
	if n := l.node("n"); n == nil || !n.isPFail() {
		t.Errorf("not suspected: %+v", n)
	}
}

// 4.5 rule 9.2: another node at the address: NOADDR, FAIL told to all.
func TestWrongNodeAtAddress(t *testing.T) {
	l := observerLab(t)
	m := l.msg("x", TypePong)
	l.step(Recv{Link: l.out[nid("c")], Msg: m, PeerIP: "10.0.0.3"})
	c := l.node("c")
	if !c.is(FlagNoAddr) || !c.isFail() || c.addr != (Addr{}) || !l.closed[l.out[nid("c")]] {
		t.Errorf("flags %04x addr %v", c.flags, c.addr)
	}
	if len(l.sentOf(TypeFail)) == 0 {
		t.Errorf("no FAIL broadcast")
	}
	l.clear()
	l.run(500)
	for _, d := range l.dials {
		if d.Node == nid("c") {
			t.Errorf("dialled a node without address")
		}
	}
	// A PING from it on its own link brings the address back (4.7 rule 1).
	m = l.msg("c", TypePing)
	m.Port, m.BusPort = 7001, 17001
	l.step(Recv{Link: l.in[nid("c")], Msg: m, PeerIP: "10.0.0.9"})
	if c.is(FlagNoAddr) || c.addr != (Addr{IP: "10.0.0.9", Port: 7001, BusPort: 17001}) {
		t.Errorf("address not relearnt: %04x %v", c.flags, c.addr)
	}
}

// Row 30: the new address of a failing node is taken from gossip, of a healthy
// one not.
func TestAddressFromGossip(t *testing.T) {
	l := observerLab(t)
	move := func() {
		m := l.msg("b", TypePing)
		m.Gossip = []GossipEntry{{Node: nid("c"), IP: "10.9.9.9", Port: 7009, BusPort: 17009, Flags: FlagPrimary}}
		l.recv("b", m)
	}
	move()
	if l.node("c").addr.IP == "10.9.9.9" {
		t.Fatalf("address of a healthy node taken from gossip")
	}
	l.suspect("c", observerPeers...)
	old := l.out[nid("c")]
	l.clear()
	move()
	if l.node("c").addr != (Addr{IP: "10.9.9.9", Port: 7009, BusPort: 17009}) || !l.closed[old] && l.node("c").out != nil {
		t.Errorf("address %v", l.node("c").addr)
	}
}

// 6.1: the section holds max(3, N/10) nodes but never self, the receiver, a
// handshake node, and always all suspects.
func TestGossipSection(t *testing.T) {
	for _, n := range []int{2, 3, 4, 30, 100} {
		nodes := []labNode{{name: "a", flags: FlagPrimary, slots: slotRange(0, 1), epoch: 1}}
		for i := 1; i < n; i++ {
			nodes = append(nodes, labNode{name: string([]byte{'b' + byte(i/26), 'a' + byte(i%26)}), flags: FlagPrimary})
		}
		l := newLab(t, nodes)
		l.admin(Meet{IP: "10.3.3.3", Port: 7000})
		l.clear()
		to := nodes[1].name
		for range 20 {
			l.recv(to, l.msg(to, TypePing))
		}
		total := len(l.m.nodes)
		want := min(max(3, total/10), total-2)
		most := 0
		for _, e := range l.sentOf(TypePong) {
			seen := map[NodeID]bool{}
			for _, g := range e.Msg.Gossip {
				if g.Node == l.m.self.id || g.Node == nid(to) || g.Flags&FlagHandshake != 0 || seen[g.Node] {
					t.Errorf("N=%d: entry %v flags %04x", n, g.Node, g.Flags)
				}
				seen[g.Node] = true
			}
			most = max(most, len(e.Msg.Gossip))
		}
		if possible := n - 2; most > want || most < min(want, possible) {
			t.Errorf("N=%d: at most %d entries, want %d", n, most, want)
		}
	}
	l := observerLab(t)
	l.suspect("c", observerPeers...)
	l.suspect("d", "b", "f", "r", "e")
	l.run(TickPeriod)
	l.clear()
	l.recv("b", l.msg("b", TypePing))
	found := 0
	for _, g := range l.sentOf(TypePong)[0].Msg.Gossip {
		if g.Flags.Has(FlagPFail) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d suspects in the section, want both", found)
	}
}

// Row 18, 19: no pong is older than the interval without a ping on its way.
func TestPingInterval(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	for range 50 {
		w.run(TickPeriod)
		for _, p := range w.peers {
			for _, n := range p.m.nodes {
				if n != p.m.self && n.pingSent == 0 && w.now-n.pongRecv > testTimeout/2+TickPeriod {
					t.Fatalf("pong of %v is %d ms old and no ping pending", n.id, w.now-n.pongRecv)
				}
			}
		}
	}
}

// 6.3 rule 1: one bad id spoils the section, not the message.
func TestGossipWithBadID(t *testing.T) {
	l := observerLab(t)
	m := l.msg("b", TypePing)
	bad := nid("z")
	bad[3] = 'X'
	m.Gossip = []GossipEntry{{Node: nid("n"), IP: "10.0.0.50", Port: 7000, BusPort: 17000, Flags: FlagPrimary}, {Node: bad, IP: "10.0.0.51", Port: 1, BusPort: 2}}
	l.recv("b", m)
	if l.node("n") != nil {
		t.Errorf("a section with an invalid id added nodes")
	}
	if len(l.sentOf(TypePong)) != 1 {
		t.Errorf("no PONG")
	}
}

// Invariant 22: one PONG on the same link, also to strangers; but their gossip
// adds nothing.
func TestPongToStranger(t *testing.T) {
	l := observerLab(t)
	m := l.msg("x", TypePing)
	m.Gossip = []GossipEntry{{Node: nid("n"), IP: "10.0.0.50", Port: 7000, BusPort: 17000, Flags: FlagPrimary}}
	l.recv("x", m)
	p := l.sentOf(TypePong)
	if len(p) != 1 || p[0].Link != l.in[nid("x")] {
		t.Errorf("%d PONGs", len(p))
	}
	if l.node("x") != nil || l.node("n") != nil {
		t.Errorf("a stranger's PING added nodes")
	}
	if !p[0].Msg.Ext.ShardID.IsZero() || p[0].Msg.MFlags&MFlagExtData == 0 {
		t.Errorf("extensions sent to a node not known to take them, or EXT_DATA missing")
	}
}

// 3.8 rule 2: a light message on an unbound link closes it.
func TestLightMessage(t *testing.T) {
	l := observerLab(t)
	l.accept(nid("y"))
	l.step(Heard{l.in[nid("y")]})
	if !l.closed[l.in[nid("y")]] {
		t.Errorf("link of a stranger not closed")
	}
	l.recv("c", l.msg("c", TypePing))
	l.now += 5
	l.step(Heard{l.in[nid("c")]})
	if l.node("c").dataRecv != l.now {
		t.Errorf("a light message is not a sign of life")
	}
	if id, ok := l.m.LinkNode(l.in[nid("c")]); !ok || id != nid("c") {
		t.Errorf("LinkNode = %v, %v", id, ok)
	}
}
