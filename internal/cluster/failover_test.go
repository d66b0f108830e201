package cluster

import "testing"

// A dead primary is suspected after T, failed by a majority, and replaced by
// its replica; when it returns it follows the winner (appendix C.6).
func TestFailover(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	epoch := w.peers[0].m.currentEpoch
	w.crash(0)
	took := w.until(10*testTimeout, "replica 3 is a primary everywhere and the state ok", func() bool {
		return w.peers[3].m.self.isPrimary() && w.all(func(p *peer) bool {
			n := p.m.byID[w.id(3)]
			return p.m.state == StateOK && n.isPrimary() && n.slotCount > 5000
		})
	})
	if limit := testTimeout*3/2 + 2000; took > limit {
		t.Errorf("failover took %d ms, want at most %d", took, limit)
	}
	if e := w.peers[3].m.self.configEpoch; e <= epoch {
		t.Errorf("winner's configEpoch %d, want above %d", e, epoch)
	}
	w.restart(0)
	w.until(10*testTimeout, "old primary follows the winner", func() bool {
		s := w.peers[0].m.self
		return s.isReplica() && s.primary != nil && s.primary.id == w.id(3) && w.settled()
	})
	if n := w.sees(1, 0); n.is(FlagFail | FlagPFail) {
		t.Errorf("returned node is still failed: %04x", n.flags)
	}
}

// Rows 67, 68: of three replicas the one with the most data wins, its siblings
// follow it without a full resync, and so does the old primary.
func TestSiblingsFollowTheWinner(t *testing.T) {
	w := newCluster(t, []int{3, 0, 0})
	w.peers[3].offset, w.peers[4].offset, w.peers[5].offset = 10, 30, 20
	w.run(2 * testTimeout)
	w.crash(0)
	w.until(10*testTimeout, "replica 4 leads its siblings", func() bool {
		return w.peers[4].m.self.isPrimary() && w.peers[3].m.self.primary == w.sees(3, 4) && w.peers[5].m.self.primary == w.sees(5, 4)
	})
	for _, i := range []int{3, 5} {
		f, ok := lastFollow(w.peers[i])
		if !ok || f.Primary != w.id(4) || f.FullResync {
			t.Errorf("node %d: last follow %+v, want node 4 without full resync", i, f)
		}
	}
	w.restart(0)
	w.until(10*testTimeout, "old primary follows", func() bool { return w.peers[0].m.self.primary == w.sees(0, 4) && w.settled() })
	if f, _ := lastFollow(w.peers[0]); f.FullResync {
		t.Errorf("old primary is told to resync in full")
	}
}

func lastFollow(p *peer) (Follow, bool) {
	for i := len(p.effects) - 1; i >= 0; i-- {
		if f, ok := p.effects[i].(Follow); ok {
			return f, true
		}
	}
	return Follow{}, false
}

// Row 23, 14: a primary cut off alone stops, is replaced, and comes back as a
// replica after the partition heals.
func TestPartitionedPrimaryIsReplaced(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	w.run(testTimeout)
	w.partition([]int{0}, []int{1, 2, 3, 4, 5})
	cutAt := w.now
	w.until(5*testTimeout, "the cut off primary stops", func() bool { return w.peers[0].m.state == StateFail })
	if d := w.now - cutAt; d > testTimeout*3/2+3*TickPeriod {
		t.Errorf("stopped after %d ms", d)
	}
	w.until(5*testTimeout, "its replica took over", func() bool { return w.peers[3].m.self.isPrimary() })
	if w.peers[0].m.self.isReplica() {
		t.Errorf("demoted without contact")
	}
	w.heal()
	w.until(10*testTimeout, "healed", func() bool { return w.settled() })
	if s := w.peers[0].m.self; !s.isReplica() || s.primary.id != w.id(3) {
		t.Errorf("old primary is %04x", s.flags)
	}
}

// A minority elects nobody.
func TestNoElectionInMinority(t *testing.T) {
	w := newCluster(t, []int{2, 1, 1})
	w.run(testTimeout)
	w.partition([]int{3, 4}, []int{0, 1, 2, 5, 6})
	w.run(20 * testTimeout)
	for _, i := range []int{3, 4} {
		if w.peers[i].m.self.isPrimary() {
			t.Errorf("replica %d became a primary in the minority", i)
		}
	}
	w.heal()
	w.until(10*testTimeout, "healed", func() bool { return w.settled() })
}

// Invariant 24 in practice: every node is stopped at once and started from its
// nodes.conf; the cluster stands again without help.
func TestRestartOfAll(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	epochs := make([]uint64, len(w.peers))
	for i := range w.peers {
		w.peers[i].must(SaveConfig{})
		epochs[i] = w.peers[i].m.currentEpoch
		w.crash(i)
	}
	w.run(5 * testTimeout)
	for i := range w.peers {
		id := w.id(i)
		w.restart(i)
		if w.id(i) != id || w.peers[i].m.currentEpoch != epochs[i] {
			t.Errorf("node %d: id or epoch changed", i)
		}
	}
	w.until(10*testTimeout, "all ok", w.settled)
	for i := 3; i < 6; i++ {
		if f, ok := lastFollow(w.peers[i]); !ok || f.Primary != w.id(i-3) {
			t.Errorf("replica %d follows %v", i, f.Primary)
		}
	}
}

// Row 71: CLUSTER FAILOVER waits for the paused primary's offset, then wins
// within milliseconds, without a tick.
func TestManualFailover(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	w.run(testTimeout)
	old, next := w.peers[0], w.peers[3]
	old.offset, next.offset = 500, 400 // the replica lags
	w.run(200)
	epoch := next.m.currentEpoch
	next.must(Failover{})
	w.run(1000)
	if next.m.self.isPrimary() {
		t.Fatalf("promoted without the last 100 bytes")
	}
	if old.view == nil || !old.view.Paused || !old.view.ManualFailover {
		t.Errorf("primary does not show the pause")
	}
	next.offset = 500
	next.step(next.localFacts())
	start := w.now
	w.until(50, "promotion", func() bool { return next.m.self.isPrimary() })
	w.until(50, "old primary follows", func() bool { return old.m.self.isReplica() })
	if d := w.now - start; d > 20 {
		t.Errorf("took %d ms, want a few round trips", d)
	}
	if next.m.self.configEpoch <= epoch {
		t.Errorf("won without a new epoch")
	}
	if f, _ := lastFollow(old); f.FullResync || f.Primary != w.id(3) {
		t.Errorf("old primary: %+v, want a partial resync", f)
	}
	resumed := false
	for _, e := range old.effects {
		if _, ok := e.(ResumeWrites); ok {
			resumed = true
		}
	}
	if !resumed || old.m.mfEnd != 0 || next.m.mfEnd != 0 {
		t.Errorf("the pause was not ended")
	}
	w.until(5*testTimeout, "settled", w.settled)
	// And back at once, although an election was held just before.
	old.offset = 500
	old.must(Failover{})
	w.until(200, "failed back", func() bool { return old.m.self.isPrimary() && next.m.self.isReplica() })
}

// PAUSED never leaves before the writes really stand still.
func TestPausedOnlyAfterDone(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	w.peers[0].noPause = true
	w.peers[3].must(Failover{})
	w.run(1000)
	for _, s := range w.peers[0].sent {
		if s.msg.MFlags&MFlagPaused != 0 {
			t.Fatalf("PAUSED sent although the writes were never paused")
		}
	}
	if w.peers[3].m.self.isPrimary() {
		t.Errorf("promoted")
	}
}

// Row 72: a manual failover that gets nowhere ends after 5 s on both sides.
func TestManualFailoverTimeout(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	old, next := w.peers[0], w.peers[3]
	old.offset = 500
	next.must(Failover{})
	w.run(4900)
	if old.m.mfEnd == 0 || next.m.mfEnd == 0 {
		t.Fatalf("ended too early")
	}
	w.run(300)
	if old.m.mfEnd != 0 || next.m.mfEnd != 0 || old.m.mfPaused {
		t.Errorf("not ended after 5 s")
	}
	if _, ok := old.effects[len(old.effects)-1].(ResumeWrites); !ok && !hasResume(old) {
		t.Errorf("writes not resumed")
	}
	next.offset = 500
	w.run(2 * testTimeout)
	if next.m.self.isPrimary() {
		t.Errorf("promoted after the end")
	}
}

// Once a replica was told PAUSED, writes stand still until it is the primary or
// its time is over, even if this node forgets it or another one asks.
func TestPauseOutlivesItsReplica(t *testing.T) {
	for name, do := range map[string]func(w *world){
		"forgotten":    func(w *world) { w.peers[0].must(Forget{Node: w.idText(3)}) },
		"another asks": func(w *world) { w.peers[4].must(Failover{}) },
	} {
		w := newCluster(t, []int{2, 1, 1})
		old := w.peers[0]
		old.offset = 500 // which nobody reaches
		w.peers[3].must(Failover{})
		w.until(100, "pause", func() bool { return old.m.mfPaused })
		old.effects = nil
		start := w.now
		do(w)
		w.until(2*w.peers[0].cfg.ManualFailoverTimeout, name+": writes go on", func() bool { return hasResume(old) })
		if d := w.now - start; d < old.cfg.ManualFailoverTimeout-200 {
			t.Errorf("%s: writes go on after %d ms", name, d)
		}
	}
}

// Nor do writes go on when a second one that asked is forgotten before it was told
// PAUSED: the first may have the votes.
func TestPauseOutlivesTheSecondToAsk(t *testing.T) {
	for _, told := range []bool{false, true} {
		l := newLab(t, []labNode{
			{name: "a", flags: FlagPrimary, epoch: 1, slots: third(0)},
			{name: "r", flags: FlagReplica, primary: "a"},
			{name: "s", flags: FlagReplica, primary: "a"},
		})
		ask := func(from string) uint64 {
			l.clear()
			l.recv(from, l.msg(from, TypeMFStart))
			p, ok := effectOf[PauseWrites](l)
			if !ok {
				t.Fatalf("%s asks: writes are not paused", from)
			}
			return p.ID
		}
		if id := ask("r"); told {
			l.step(Done{ID: id})
		}
		id := ask("s")
		l.admin(Forget{Node: nid("s").String()})
		if _, resumed := effectOf[ResumeWrites](l); resumed == told {
			t.Errorf("the first was told %v: writes go on %v", told, resumed)
		}
		l.step(Done{ID: id})
		if l.m.mfPaused != told {
			t.Errorf("the first was told %v: PAUSED %v", told, l.m.mfPaused)
		}
		l.run(l.cfg.ManualFailoverTimeout + TickPeriod)
		if _, resumed := effectOf[ResumeWrites](l); !resumed || l.m.mfEnd != 0 {
			t.Errorf("the first was told %v: writes never go on", told)
		}
	}
}

// Votes that come when the primary's pause may be over make no primary.
func TestManualFailoverWinsInTime(t *testing.T) {
	for _, late := range []bool{false, true} {
		l := newLab(t, []labNode{
			{name: "r", flags: FlagReplica, primary: "a"},
			{name: "a", flags: FlagPrimary, epoch: 1, slots: third(0)},
			{name: "b", flags: FlagPrimary, epoch: 2, slots: third(1)},
			{name: "c", flags: FlagPrimary, epoch: 3, slots: third(2)},
		}, func(s *Settings) { s.NodeTimeout, s.RetryWithinTimeout = 5000, false }) // votes may take 10 s
		l.admin(Failover{})
		m := l.msg("a", TypePing)
		m.MFlags |= MFlagPaused
		m.Offset = 100
		l.recv("a", m)
		if len(l.sentOf(TypeAuthRequest)) == 0 {
			t.Fatal("no election")
		}
		if late { // between two ticks
			l.now = l.m.mfEnd - l.cfg.ManualFailoverTimeout/manualMarginPart + 1
		}
		for _, from := range []string{"b", "c"} {
			l.recv(from, l.msg(from, TypeAuthAck))
		}
		if won := l.m.self.isPrimary(); won == late {
			t.Errorf("late %v: won %v", late, won)
		}
	}
}

func hasResume(p *peer) bool {
	for _, e := range p.effects {
		if _, ok := e.(ResumeWrites); ok {
			return true
		}
	}
	return false
}

// FORCE needs no word with the primary but the votes of the others; TAKEOVER
// needs nobody.
func TestForcedFailovers(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	w.run(testTimeout)
	w.crash(0)
	if got := w.peers[3].admin(Failover{}); got != "" {
		w.run(10)
	}
	w.run(10)
	if got, want := w.peers[3].admin(Failover{}), "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE"; got != want {
		t.Errorf("FAILOVER with a dead primary: %q, want %q", got, want)
	}
	w.peers[3].must(Failover{Mode: FailoverForce})
	w.until(100, "forced promotion", func() bool { return w.peers[3].m.self.isPrimary() })
	w.until(100, "others follow", func() bool { return w.sees(1, 3).slotCount > 0 && w.sees(2, 3).slotCount > 0 })

	w.partition([]int{4}, []int{0, 1, 2, 3, 5})
	w.peers[4].must(Failover{Mode: FailoverTakeover})
	if s := w.peers[4].m.self; !s.isPrimary() || s.slotCount == 0 || s.configEpoch != w.peers[4].m.currentEpoch {
		t.Errorf("takeover: %04x, %d slots", s.flags, s.slotCount)
	}
	w.heal()
	w.until(10*testTimeout, "node 1 follows node 4", func() bool {
		return w.peers[1].m.self.isReplica() && w.peers[1].m.self.primary.id == w.id(4)
	})
	for _, tt := range []struct {
		node int
		want string
	}{
		{2, "ERR You should send CLUSTER FAILOVER to a replica"},
	} {
		if got := w.peers[tt.node].admin(Failover{}); got != tt.want {
			t.Errorf("node %d: %q, want %q", tt.node, got, tt.want)
		}
	}
}

// Row 75: shards of 1+2, 1+1, 1+1. When a lone replica dies the smaller id of the
// two spares moves to the orphan after 5 s, once.
func TestReplicaMigration(t *testing.T) {
	w := newCluster(t, []int{2, 1, 1})
	w.run(2 * testTimeout)
	w.crash(5)
	spare := 3
	if w.id(4).Less(w.id(3)) {
		spare = 4
	}
	took := w.until(20*testTimeout, "a spare moved to primary 1", func() bool {
		p := w.peers[spare].m.self.primary
		return p != nil && p.id == w.id(1)
	})
	if took < migrationDelay {
		t.Errorf("moved after %d ms, want more than %d", took, migrationDelay)
	}
	if f, _ := lastFollow(w.peers[spare]); !f.FullResync {
		t.Errorf("migration without full resync")
	}
	w.run(10 * testTimeout)
	if p := w.peers[7-spare].m.self.primary; p == nil || p.id != w.id(0) {
		t.Errorf("the other spare left too")
	}
	w.restart(5)
	w.until(10*testTimeout, "settled", w.settled)
	w.run(10 * testTimeout)
	if p := w.peers[spare].m.self.primary; p.id != w.id(1) {
		t.Errorf("the spare moved back")
	}
}

func TestReplicaMigrationOff(t *testing.T) {
	for name, tune := range map[string]func(i int, s *Settings){
		"switched off": func(_ int, s *Settings) { s.AllowReplicaMigration = false },
		"barrier 2":    func(_ int, s *Settings) { s.MigrationBarrier = 2 },
		"module":       func(_ int, s *Settings) { s.ModuleNoFailover = true },
	} {
		w := newCluster(t, []int{2, 1, 1}, tune)
		w.crash(5)
		w.run(20 * testTimeout)
		for _, i := range []int{3, 4} {
			if p := w.peers[i].m.self.primary; p == nil || p.id != w.id(0) {
				t.Errorf("%s: replica %d moved", name, i)
			}
		}
	}
}

// Row 30 for self's primary: replication follows a changed address.
func TestAddressChange(t *testing.T) {
	w := newCluster(t, []int{1, 0, 0})
	w.run(testTimeout)
	p := w.peers[0]
	p.must(SaveConfig{})
	w.crash(0)
	w.run(300)
	p.ip, p.cfg.Ports = "10.0.7.7", Addr{Port: 7007, BusPort: 17007}
	w.restart(0)
	want := Addr{IP: "10.0.7.7", Port: 7007, BusPort: 17007}
	w.until(5*testTimeout, "everyone has the new address", func() bool {
		return w.all(func(q *peer) bool { return q == p || q.m.byID[w.id(0)].addr == want })
	})
	if f, _ := lastFollow(w.peers[3]); f.IP != want.IP || f.Port != want.Port || f.FullResync {
		t.Errorf("replica follows %+v", f)
	}
}

// A bump of the clocks or of the announced address reaches the peers.
func TestAnnounce(t *testing.T) {
	w := newCluster(t, []int{0, 0, 0})
	p := w.peers[0]
	p.cfg.AnnounceIP, p.cfg.Hostname, p.cfg.Nodename, p.cfg.ClientIPv4 = "10.8.8.8", "node-0.example", "zero", "192.0.2.1"
	p.cfg.ReplicaNoFailover = true
	p.m.Configure(w.times(), p.cfg)
	p.drain()
	w.until(5*testTimeout, "announced", func() bool {
		n := w.sees(1, 0)
		return n.addr.IP == "10.8.8.8" && n.hostname == "node-0.example" && n.nodename == "zero" && n.clientIPv4 == "192.0.2.1" && n.is(FlagNoFailover)
	})
	if got := p.m.self.addr.IP; got != "10.8.8.8" {
		t.Errorf("own ip %q", got)
	}
	p.cfg.Hostname, p.cfg.AnnounceIP = "", ""
	p.m.Configure(w.times(), p.cfg)
	if got := p.m.self.addr.IP; got != "" {
		t.Errorf("own ip %q although it is not announced any more", got)
	}
	p.drain()
	w.until(5*testTimeout, "own ip learnt from the socket", func() bool { return p.m.self.addr.IP == p.ip })
	w.until(5*testTimeout, "hostname cleared", func() bool { return w.sees(1, 0).hostname == "" })
}

// Row 41: a replica that does not know its primary's address starts replicating
// when it learns it.
func TestReplicationStartsWhenAddressIsKnown(t *testing.T) {
	l := newLab(t, []labNode{
		{name: "a", flags: FlagReplica, primary: "b"},
		{name: "b", flags: FlagPrimary | FlagNoAddr, epoch: 2, slots: third(1)},
		{name: "c", flags: FlagPrimary, epoch: 3, slots: third(2)},
	})
	l.run(500)
	if f, ok := effectOf[Follow](l); ok {
		t.Fatalf("follows %+v", f)
	}
	m := l.msg("b", TypePing)
	m.IP = "10.0.5.5"
	l.recv("b", m)
	l.run(TickPeriod)
	if f, ok := effectOf[Follow](l); !ok || f.Primary != nid("b") || f.IP != "10.0.5.5" || f.Port != 7000 {
		t.Errorf("follow %+v %v", f, ok)
	}
}

// With tls-cluster the ports of headers are the other way round, and
// tls-replication picks the TLS port.
func TestTLSPorts(t *testing.T) {
	w := newCluster(t, []int{1, 0, 0}, func(_ int, s *Settings) {
		s.TLSCluster, s.TLSReplication = true, true
		s.Ports = Addr{Port: 6000, TLSPort: 7000, BusPort: 17000}
	})
	w.run(2 * testTimeout)
	want := Addr{IP: "10.0.0.1", Port: 6000, TLSPort: 7000, BusPort: 17000}
	for i := 1; i < 4; i++ {
		if got := w.sees(i, 0).addr; got != want {
			t.Errorf("node %d sees %+v, want %+v", i, got, want)
		}
	}
	if f, _ := lastFollow(w.peers[3]); f.Port != 7000 {
		t.Errorf("replicates from port %d, want the TLS port", f.Port)
	}
}
