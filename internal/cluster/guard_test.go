package cluster

import "testing"

// A primary that was stopped for longer than T refuses clients when it wakes,
// until a majority was heard and the rejoin delay has passed; without the guard
// it serves on, as Redis does.
func TestWakeGuard(t *testing.T) {
	for _, guard := range []bool{true, false} {
		l := observerLab(t, func(s *Settings) { s.WakeGuard = guard })
		if l.m.state != StateOK {
			t.Fatal("lab is not ok")
		}
		l.now += testTimeout
		l.step(Local{ReplOffset: 1})
		if l.m.state != StateOK {
			t.Errorf("guard %v: refuses after a pause of T", guard)
		}
		l.run(TickPeriod)
		for _, n := range append([]string{"c"}, observerPeers...) {
			l.pong(n)
		}
		l.now += testTimeout + 2*TickPeriod
		l.step(Local{ReplOffset: 1}) // the first thing it does
		if got := l.m.state == StateFail; got != guard {
			t.Fatalf("guard %v: refuses after a long pause: %v", guard, got)
		}
		if !guard {
			continue
		}
		l.run(3 * testTimeout / 2)
		if l.m.state == StateOK {
			t.Fatalf("serves without having heard of anybody")
		}
		// PINGs that lay in the sockets meanwhile prove nothing.
		for _, n := range []string{"b", "c", "d", "f"} {
			l.recv(n, l.msg(n, TypePing))
		}
		l.run(3 * testTimeout / 2)
		if l.m.state == StateOK {
			t.Fatalf("serves on the word of old messages")
		}
		start := l.now
		for _, d := range l.dials {
			l.step(LinkUp{d.Link})
		}
		for l.m.state == StateFail && l.now < start+3*testTimeout {
			l.run(TickPeriod)
			for _, n := range append([]string{"c"}, observerPeers...) {
				l.pong(n)
			}
		}
		if d := l.now - start; d < testTimeout || d > testTimeout+5*TickPeriod {
			t.Errorf("serves %d ms after contact, want about %d", d, testTimeout)
		}
	}
}

// The same after a restart: the nodes of nodes.conf count as reachable only once
// they were heard; when they are, nothing is later than without the guard.
func TestWakeGuardAfterRestart(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	w.peers[0].must(SaveConfig{})
	w.crash(0)
	w.partition([]int{0}, []int{1, 2, 3, 4, 5})
	w.restart(0)
	for range 5 * testTimeout / 10 {
		w.run(10)
		if w.peers[0].m.state == StateOK {
			t.Fatalf("serves %d ms after a start without contact", w.now-w.peers[0].m.firstEval)
		}
	}
	w.heal()
	w.until(10*testTimeout, "settled", w.settled)

	w = newCluster(t, []int{0, 0, 0}, func(_ int, s *Settings) { s.NodeTimeout = 15000 })
	for i := range 3 {
		w.crash(i)
	}
	for i := range 3 {
		w.restart(i)
	}
	if d := w.until(20000, "ok after a restart of all", w.settled); d > DefaultSettings().StartDelay+2*TickPeriod {
		t.Errorf("ok %d ms after the restart of all, want %d", d, DefaultSettings().StartDelay)
	}
}

// A single primary is its own majority: a pause changes nothing.
func TestWakeGuardOfSingle(t *testing.T) {
	l := newLab(t, []labNode{{name: "a", flags: FlagPrimary, epoch: 1, slots: slotRange(0, SlotCount-1)}}, func(s *Settings) { s.WakeGuard = true })
	l.now += 10 * testTimeout
	l.step(Tick{})
	if l.m.state != StateOK {
		t.Errorf("refuses")
	}
}

// Facts from before the last Follow do not make a replica electable.
func TestFactsOfEarlierPrimary(t *testing.T) {
	l := candidateLab(t)
	l.m.setPrimary(l.node("s"), l.node("b"))
	if got := l.admin(Replicate{text(nid("d"))}); got != "" {
		t.Fatal(got)
	}
	f, ok := effectOf[Follow](l)
	if !ok || f.ID == 0 || !f.FullResync {
		t.Fatalf("follow %+v", f)
	}
	m := l.msg("b", TypeFail)
	m.Fail = nid("d")
	l.recv("b", m)
	stand := func(facts Local) bool {
		l.sent = nil
		for range 30 {
			l.step(facts)
			l.run(TickPeriod)
		}
		return len(l.sentOf(TypeAuthRequest)) > 0
	}
	if stand(Local{ReplOffset: 100, PrimaryLinkUp: true, FollowID: f.ID - 1}) {
		t.Errorf("stands for election with the data of its former primary")
	}
	if stand(Local{ReplOffset: 100, FollowID: f.ID, Unsynced: true}) {
		t.Errorf("stands for election in the middle of its first sync")
	}
	if !stand(Local{ReplOffset: 100, FollowID: f.ID}) {
		t.Errorf("does not stand although it is in sync")
	}
}

// A primary that failed, came back and fails again is a new case: the election
// for its first failure does not delay the second.
func TestElectionIsFresh(t *testing.T) {
	l := candidateLab(t, func(s *Settings) { s.RetryWithinTimeout, s.AllowReplicaMigration = false, false })
	l.fail("c")
	l.run(300)
	if l.m.authTime == 0 {
		t.Fatal("no election scheduled")
	}
	l.now += 2*testTimeout + 1
	l.pong("c")
	if l.node("c").isFail() {
		t.Fatal("still failed")
	}
	l.run(300)
	l.clear()
	l.fail("c")
	if d := l.elect(); d > 1200 {
		t.Errorf("asked %d ms after the second failure", d)
	}
}

// With CrashDetection a host that refuses for 300 ms makes its node suspect at
// once, and the other voters are told; a node that is back sooner is not.
func TestCrashDetection(t *testing.T) {
	for _, on := range []bool{true, false} {
		l := observerLab(t, func(s *Settings) { s.CrashDetection = on })
		refuse := func(d Millis) {
			for end := l.now + d; l.now < end; {
				for _, x := range l.dials {
					if x.Node == nid("c") {
						l.step(LinkDown{Link: x.Link, Refused: true})
					}
				}
				l.dials = nil
				l.run(TickPeriod)
				for _, o := range observerPeers {
					l.pong(o)
				}
			}
		}
		l.step(LinkDown{Link: l.out[nid("c")]})
		refuse(300)
		if l.node("c").isPFail() {
			t.Errorf("suspected too early")
		}
		l.step(LinkUp{l.out[nid("c")]})
		l.pong("c")
		l.step(LinkDown{Link: l.out[nid("c")]})
		l.clear()
		refuse(600)
		if got := l.node("c").isPFail(); got != on {
			t.Fatalf("CrashDetection %v: suspected %v", on, got)
		}
		told := map[LinkID]bool{}
		for _, e := range l.sentOf(TypePong) {
			for _, g := range e.Msg.Gossip {
				if g.Node == nid("c") && g.Flags.Has(FlagPFail) {
					told[e.Link] = true
				}
			}
		}
		// The three other voters and the suspect's replica.
		if want := map[bool]int{true: 4, false: 0}[on]; len(told) != want {
			t.Errorf("CrashDetection %v: %d nodes told, want %d", on, len(told), want)
		}
	}
}

// Refusals are no evidence while the node is heard on another link, and the run
// that counts ends with a refusal: the one that proves it is not left to the tick.
func TestCrashDetectionEvidence(t *testing.T) {
	start := func() *lab {
		l := observerLab(t, func(s *Settings) { s.CrashDetection = true })
		l.now += 30 // out of step with the ticks
		l.step(LinkDown{Link: l.out[nid("c")]})
		return l
	}
	refuse := func(l *lab) {
		dials := l.dials
		l.dials = nil
		for _, x := range dials {
			if x.Node == nid("c") {
				l.step(LinkDown{Link: x.Link, Refused: true})
			}
		}
	}
	l := start()
	for range 20 {
		refuse(l)
		l.recv("c", l.msg("c", TypePing))
		l.run(TickPeriod)
	}
	if l.node("c").isPFail() {
		t.Errorf("suspected although it is heard")
	}

	l = start()
	first := l.now
	for !l.node("c").isPFail() && l.now < first+1000 {
		refuse(l)
		l.now++
		if at := l.m.WakeAt(); at != 0 && l.now >= at {
			l.step(Wake{})
		}
		if l.now%TickPeriod == 0 {
			l.step(Tick{})
		}
	}
	if d := l.now - first; d < 300 || d > 302 {
		t.Errorf("suspected after %d ms, want 300", d)
	}
}

// A node that is restarted within the run of refusals is not replaced.
func TestCrashDetectionSparesQuickRestart(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1}, func(_ int, s *Settings) { s.CrashDetection = true })
	w.run(3000)
	for range 5 {
		w.peers[0].must(SaveConfig{})
		w.crash(0)
		w.run(200)
		w.restart(0)
		w.until(10*testTimeout, "settled", w.settled)
		w.run(500)
	}
	if !w.peers[0].m.self.isPrimary() {
		t.Errorf("replaced")
	}
}

// A whole cluster with CrashDetection replaces a killed primary without waiting
// for T; one that is cut off still takes T.
func TestCrashDetectionFailover(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1}, func(_ int, s *Settings) { s.CrashDetection = true; s.NodeTimeout = 15000 })
	w.run(3000)
	w.crash(0)
	if d := w.until(15000, "replaced", func() bool { return w.peers[3].m.self.isPrimary() }); d > 2000 {
		t.Errorf("replaced after %d ms, want at most 2000", d)
	}
	w.partition([]int{1}, []int{2, 3, 4, 5})
	start := w.now
	w.until(60000, "replaced", func() bool { return w.peers[4].m.self.isPrimary() })
	if d := w.now - start; d < 15000 {
		t.Errorf("a cut off node was replaced after %d ms, want at least T", d)
	}
}

// A guarded primary that is replaced is a replica without guard, and nodes that
// became primaries after the pause count like the others.
func TestWakeGuardEnds(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1, 1, 1})
	w.run(testTimeout)
	w.crash(1) // its replica 6 is elected while node 0 sleeps
	p := w.peers[0]
	p.down = true
	w.run(3 * testTimeout)
	p.down = false
	if !w.peers[6].m.self.isPrimary() {
		t.Fatal("node 6 was not elected")
	}
	w.run(TickPeriod)
	w.until(10*testTimeout, "node 0 is ok, as what it is now", func() bool { return p.m.state == StateOK })
	if !p.m.self.isReplica() || p.m.wokeAt != 0 {
		t.Errorf("node 0 is %04x, guard since %d", p.m.self.flags, p.m.wokeAt)
	}
	w.restart(1)
	w.until(10*testTimeout, "settled", w.settled)
}

// The winner of a shard whose slots still stand with a demoted node takes them.
func TestPromotionTakesTheSlotsOfTheShard(t *testing.T) {
	l := candidateLab(t)
	c, s := l.node("c"), l.node("s")
	m := l.msg("c", TypePing) // c says that s is its primary; s never got to claim
	m.ReplicaOf, m.Slots = s.id, nil
	l.recv("c", m)
	if l.m.self.primary != s || c.slotCount == 0 || s.slotCount != 0 {
		t.Fatalf("self follows %v, c has %d slots, s %d", l.m.self.primary.id, c.slotCount, s.slotCount)
	}
	if got := l.admin(Failover{Mode: FailoverTakeover}); got != "" {
		t.Fatal(got)
	}
	if l.m.self.slotCount != SlotCount/4 || c.slotCount != 0 {
		t.Errorf("took %d slots", l.m.self.slotCount)
	}
}
