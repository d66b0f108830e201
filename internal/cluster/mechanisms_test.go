package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Rules of which docs/mechanisms.md names the test, by exact times and counts.

// Row 16: a node of which only gossip has told, and that takes no connection, is
// suspected T after the first attempt.
func TestUnreachableAfterT(t *testing.T) {
	l := observerLab(t)
	l.gossip("b", "n", FlagPrimary)
	first := Millis(0)
	for !l.node("n").isPFail() {
		for _, d := range l.dials {
			if d.Node == nid("n") {
				if first == 0 {
					first = l.now
				}
				l.step(LinkDown{Link: d.Link, Refused: true})
			}
		}
		l.dials = nil
		l.run(TickPeriod)
		for _, o := range append([]string{"c"}, observerPeers...) {
			l.pong(o)
		}
		if first != 0 && l.now > first+2*testTimeout {
			t.Fatal("never suspected")
		}
	}
	if d := l.now - first; d <= testTimeout || d > testTimeout+2*TickPeriod {
		t.Errorf("suspected %d ms after the first attempt, want T = %d", d, testTimeout)
	}
}

// recorder notes what chance gave.
type recorder struct {
	Rand
	drawn []uint64
}

func (r *recorder) Uint64() uint64 {
	x := r.Rand.Uint64()
	r.drawn = append(r.drawn, x)
	return x
}

// Row 18: one ping in ten ticks, to the node of the sample that was heard longest
// ago.
func TestRandomPing(t *testing.T) {
	l := observerLab(t, func(s *Settings) { s.PingInterval, s.NodeTimeout = 1<<30, 1<<31 })
	rec := &recorder{Rand: rand.NewPCG(3, 4)}
	l.m.rnd = rec
	all := append([]string{"c"}, observerPeers...)
	pings := 0
	for i := range 2000 {
		rec.drawn = nil
		l.sent = nil
		heard := map[*node]Millis{}
		for _, n := range l.m.nodes {
			heard[n] = n.pongRecv
		}
		l.run(TickPeriod)
		sent := l.sentOf(TypePing)
		if len(sent) == 0 {
			continue
		}
		pings++
		if len(sent) > 1 || l.m.ticks%randomPingTicks != 0 {
			t.Fatalf("%d pings in tick %d", len(sent), l.m.ticks)
		}
		to := l.m.links[sent[0].Link].node
		for _, x := range rec.drawn[:randomPingDraws] {
			n := l.m.nodes[int((x>>1)%uint64(len(l.m.nodes)))]
			if n != l.m.self && heard[n] < heard[to] {
				t.Fatalf("round %d: pinged a node heard at %d, drew one heard at %d", i, heard[to], heard[n])
			}
		}
		for _, name := range all {
			if l.node(name) == to {
				l.pong(name)
			}
		}
	}
	if pings != 200 {
		t.Errorf("%d pings in 2000 ticks, want 200", pings)
	}
}

// Row 19: in a table of 1000 nodes no pong is older than T/2 and a tick without
// a ping on its way.
func TestPingAgeOfThousand(t *testing.T) {
	nodes := []labNode{{name: "a", flags: FlagPrimary, epoch: 1, slots: slotRange(0, 1)}}
	for i := 1; i < 1000; i++ {
		nodes = append(nodes, labNode{name: fmt.Sprintf("b%03d", i), flags: FlagPrimary})
	}
	l := newLab(t, nodes[:1], func(s *Settings) { s.NodeTimeout = 15000 })
	for i := 1; i < len(nodes); i++ {
		n := l.m.addNode(nid(nodes[i].name), FlagPrimary)
		n.addr = Addr{IP: "10.1.0.1", Port: uint16(i), BusPort: uint16(10000 + i)}
	}
	l.run(TickPeriod)
	for _, d := range l.dials {
		l.m.Step(l.times(), LinkUp{d.Link})
	}
	oldest := Millis(0)
	for tick := range 600 {
		l.drainQuietly()
		for _, e := range l.sent {
			if e.Msg.Type != TypePing {
				continue
			}
			k := l.m.links[e.Link]
			l.m.Step(l.times(), Recv{Link: e.Link, Msg: &Message{Type: TypePong, Sender: k.node.id, Flags: FlagPrimary, Port: k.node.addr.Port, BusPort: k.node.addr.BusPort, CurrentEpoch: 10}})
		}
		l.sent = nil
		l.now += TickPeriod
		l.m.Step(l.times(), Tick{})
		if tick < 10 {
			continue
		}
		for _, n := range l.m.nodes[1:] {
			if n.pingSent == 0 {
				oldest = max(oldest, l.now-n.pongRecv)
			}
		}
	}
	if limit := l.cfg.NodeTimeout/2 + TickPeriod; oldest > limit || oldest < limit/2 {
		t.Errorf("the oldest pong was %d ms old, want at most %d", oldest, limit)
	}
}

// drainQuietly takes what the machine wants, without the checks of drain: they
// cost too much in a table of thousands.
func (l *lab) drainQuietly() {
	rd := l.m.Ready()
	l.sent = append(l.sent, rd.Send...)
}

// Rows 25, 40: whatever changes at one node is known to all within T/2 and a few
// ticks, by gossip alone.
func TestChangesSpread(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1, 1, 1, 1, 1, 1})
	w.run(testTimeout)
	p := w.peers[5]
	for _, tt := range []struct {
		name   string
		change func()
		known  func(n *node) bool
	}{
		{"a hostname", func() {
			p.cfg.Hostname = "host"
			p.m.Configure(w.times(), p.cfg)
			p.drain()
		}, func(n *node) bool { return n.hostname == "host" }},
		{"the no-failover flag", func() {
			p.cfg.ReplicaNoFailover = true
			p.m.Configure(w.times(), p.cfg)
			p.drain()
		}, func(n *node) bool { return n.is(FlagNoFailover) }},
		{"an epoch", func() { p.must(BumpEpoch{}) }, func(n *node) bool { return n.configEpoch == p.m.self.configEpoch }},
		{"a slot given up", func() { p.must(DelSlots{Slots: []int{p.m.self.slots.Next(0)}}) }, nil},
	} {
		tt.change()
		first := p.m.self.slots.Next(0) - 1
		took := w.until(2*testTimeout, tt.name, func() bool {
			return w.all(func(q *peer) bool {
				if q == p {
					return true
				}
				if tt.known == nil {
					return q.m.unclaimed(first)
				}
				return tt.known(q.m.byID[p.m.self.id])
			})
		})
		if limit := testTimeout/2 + 3*TickPeriod; took > limit {
			t.Errorf("%s was known to all after %d ms, want %d", tt.name, took, limit)
		}
	}
	// A failure seen by some is FAIL to all a tick after it is to the first.
	w.crash(2)
	w.until(3*testTimeout, "FAIL at one", func() bool {
		return slices.ContainsFunc(w.peers, func(q *peer) bool { return !q.down && q.m.byID[w.id(2)].isFail() })
	})
	if took := w.until(testTimeout, "FAIL at all", func() bool {
		return w.all(func(q *peer) bool { return q.m.byID[w.id(2)].isFail() })
	}); took > TickPeriod {
		t.Errorf("FAIL reached all %d ms after the first", took)
	}
}

// Row 29: the word of others about a healthy node saves pings.
func TestGossipSavesPings(t *testing.T) {
	pings := func(gossip bool) (n int) {
		w := newCluster(t, make([]int, 12))
		w.run(testTimeout)
		if !gossip {
			for _, p := range w.peers {
				p.mute = true
			}
		}
		for _, p := range w.peers {
			p.sent = nil
		}
		w.run(20 * testTimeout)
		for _, p := range w.peers {
			for _, s := range p.sent {
				if s.msg.Type == TypePing {
					n++
				}
			}
		}
		return n
	}
	with, without := pings(true), pings(false)
	if with*10 > without*9 {
		t.Errorf("%d pings with gossip, %d without: nothing saved", with, without)
	}
	t.Logf("%d pings with gossip, %d without", with, without)
}

// Row 43: the age of a replica's data, in whole seconds, less T if above it.
func TestDataAge(t *testing.T) {
	l := candidateLab(t)
	for _, tt := range []struct{ age, later, want Millis }{
		{0, 0, 0},
		{999, 0, 0},
		{1999, 0, 1000},
		{testTimeout, 0, testTimeout},
		{testTimeout + 1000, 0, 1000},
		{12 * testTimeout, 0, 11 * testTimeout},
		{500, 700, 1000}, // grows between two looks
		{-1, 0, 1 << 60}, // never
	} {
		l.step(Local{ReplOffset: 100, PrimaryLinkAge: tt.age})
		l.m.now.Mono += tt.later
		if got := l.m.dataAge(); got != tt.want {
			t.Errorf("link age %d, %d ms ago: data age %d, want %d", tt.age, tt.later, got, tt.want)
		}
		l.now += tt.later
	}
}

// Row 46: over many elections the delay is spread evenly over its random part,
// and two ranks are two seconds.
func TestElectionDelayHistogram(t *testing.T) {
	const rounds = 5000
	l := candidateLab(t, func(s *Settings) { s.ElectionDelay, s.ElectionJitter = 500, 500 })
	l.node("s").offset = 99
	var bins [10]int
	for range rounds {
		l.m.schedule(false)
		d := l.m.authTime - l.m.now.Mono - 500
		if d < 0 || d >= 500 {
			t.Fatalf("delay 500%+d ms", d)
		}
		bins[d/50]++
	}
	for i, n := range bins {
		if n < rounds/10*8/10 || n > rounds/10*12/10 {
			t.Errorf("%d of %d delays in [%d, %d), want about %d: %v", n, rounds, 500+50*i, 550+50*i, rounds/10, bins)
		}
	}
	for _, n := range []string{"s", "e"} { // two siblings ahead
		if n == "e" {
			l.node(n).flags ^= FlagPrimary | FlagReplica
			l.m.setPrimary(l.node(n), l.node("c"))
		}
		l.node(n).offset = 1000
	}
	for range 100 {
		l.m.schedule(false)
		if d := l.m.authTime - l.m.now.Mono; d < 2500 || d >= 3000 || l.m.authRank != 2 {
			t.Fatalf("rank %d waits %d ms, want 2500 to 3000", l.m.authRank, d)
		}
	}
	l.m.out = Ready{}
}

// Row 66: an older claim never takes a slot, be it imported or not; a newer one
// takes it and settles the marker.
func TestClaimOfImportingSlot(t *testing.T) {
	l := observerLab(t)
	slot := 2*SlotCount/5 + 50 // c's, epoch 3
	if got := l.admin(SetSlot{Slot: slot, Action: SlotImporting, Node: text(nid("c"))}); got != "" {
		t.Fatal(got)
	}
	for _, tt := range []struct {
		from  string
		epoch uint64
		taken bool
	}{{"b", 2, false}, {"b", 3, false}, {"d", 4, true}} {
		s := *l.node(tt.from).slots
		s.Add(slot)
		l.recv(tt.from, l.claimMsg(tt.from, tt.epoch, &s))
		if got := l.m.owner(slot) == l.node(tt.from); got != tt.taken {
			t.Errorf("claim of %s with epoch %d: taken %v, want %v", tt.from, tt.epoch, got, tt.taken)
		}
	}
	if l.m.importing[uint16(slot)] != nil {
		t.Errorf("still importing from who does not own it")
	}
}

// Row 74: orphaned is a primary with slots that once had replicas and has no
// working one; only replicas count them.
func TestOrphans(t *testing.T) {
	for _, replica := range []bool{true, false} {
		self := labNode{name: "a", flags: FlagPrimary, epoch: 9}
		if replica {
			self = labNode{name: "a", flags: FlagReplica, primary: "b"}
		}
		l := newLab(t, []labNode{self,
			{name: "b", flags: FlagPrimary, epoch: 2, slots: third(0)},
			{name: "c", flags: FlagPrimary, epoch: 3, slots: third(1)}, // loses its replica
			{name: "d", flags: FlagPrimary, epoch: 4, slots: third(2)}, // loses its replica and fails
			{name: "f", flags: FlagPrimary, epoch: 5},                  // no slots
			{name: "r", flags: FlagReplica, primary: "c"},
			{name: "s", flags: FlagReplica, primary: "b"},
			{name: "u", flags: FlagReplica, primary: "d"},
			{name: "v", flags: FlagReplica, primary: "f"},
		})
		counts := func() [3]int {
			o, most, own := l.m.tickPings()
			l.m.out = Ready{}
			return [3]int{o, most, own}
		}
		want := [3]int{0, 2, 2}
		if !replica {
			want = [3]int{}
		}
		if got := counts(); got != want {
			t.Errorf("replica %v: orphans, most replicas, own %v, want %v", replica, got, want)
		}
		for _, n := range []string{"r", "u", "v", "d"} {
			l.fail(n)
		}
		if replica {
			want[0] = 1
		}
		if got := counts(); got != want {
			t.Errorf("replica %v, one orphan: %v, want %v", replica, got, want)
		}
	}
}
