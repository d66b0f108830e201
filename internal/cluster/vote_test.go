package cluster

import "testing"

// The voter is primary a with b, c as fellow primaries; r is a replica of c.
func voterLab(t *testing.T, tune ...func(*Settings)) *lab {
	return newLab(t, []labNode{
		{name: "a", flags: FlagPrimary, epoch: 1, slots: third(0)},
		{name: "b", flags: FlagPrimary, epoch: 2, slots: third(1)},
		{name: "c", flags: FlagPrimary, epoch: 3, slots: third(2)},
		{name: "r", flags: FlagReplica, primary: "c"},
		{name: "s", flags: FlagReplica, primary: "c"},
		{name: "e", flags: FlagPrimary}, // no slots
	}, tune...)
}

func (l *lab) fail(name string) {
	m := l.msg("b", TypeFail)
	m.Fail = nid(name)
	l.recv("b", m)
}

// request is r's request for epoch 11, as it should be.
func (l *lab) request(from string) *Message {
	m := l.msg(from, TypeAuthRequest)
	m.CurrentEpoch = l.m.currentEpoch + 1
	return m
}

// Rows 55 to 60: each reason to refuse, alone, refuses; without it the vote is
// given, saved with sync, and names the epoch.
func TestVote(t *testing.T) {
	tests := []struct {
		name  string
		setup func(l *lab) (from string, msg *Message)
		deny  string // event, "" = granted, "silent" = no event, no vote
	}{
		{"granted for a failed primary", func(l *lab) (string, *Message) {
			l.fail("c")
			return "r", l.request("r")
		}, ""},
		{"old epoch", func(l *lab) (string, *Message) {
			l.fail("c")
			m := l.request("r")
			m.CurrentEpoch = l.m.currentEpoch - 1
			return "r", m
		}, "older than ours"},
		{"already voted in this epoch", func(l *lab) (string, *Message) {
			l.fail("c")
			l.recv("s", l.request("s"))
			if len(l.sentOf(TypeAuthAck)) != 1 {
				l.t.Fatalf("the first request got no vote")
			}
			l.sent = nil
			m := l.request("r")
			m.CurrentEpoch = l.m.currentEpoch
			return "r", m
		}, "already voted"},
		{"requester is a primary", func(l *lab) (string, *Message) {
			l.fail("c")
			return "e", l.request("e")
		}, "it is a primary"},
		{"primary of requester unknown", func(l *lab) (string, *Message) {
			l.m.removeReplica(l.node("r").primary, l.node("r"))
			l.node("r").primary = nil
			return "r", l.request("r")
		}, "primary is unknown"},
		{"primary of requester up", func(l *lab) (string, *Message) {
			return "r", l.request("r")
		}, "primary is up"},
		{"primary up, but vote forced", func(l *lab) (string, *Message) {
			m := l.request("r")
			m.MFlags |= MFlagForceAck
			return "r", m
		}, ""},
		{"claims a slot with a newer owner", func(l *lab) (string, *Message) {
			l.fail("c")
			m := l.request("r")
			s := *m.Slots
			s.Add(SlotCount / 2) // b's, epoch 2
			m.Slots, m.ConfigEpoch = &s, 1
			return "r", m
		}, "newer owner"},
		{"claims an unclaimed slot of a newer owner", func(l *lab) (string, *Message) {
			l.fail("c")
			m := l.request("r")
			s := *m.Slots
			s.Add(SlotCount / 2)
			l.m.setUnclaimed(SlotCount/2, true)
			m.Slots, m.ConfigEpoch = &s, 1
			for i := range SlotCount {
				if l.m.owner(i) == l.node("c") {
					l.node("c").configEpoch = 1
				}
			}
			return "r", m
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := voterLab(t)
			from, msg := tt.setup(l)
			l.syncs = 0
			l.effects = nil
			l.recv(from, msg)
			acks := l.sentOf(TypeAuthAck)
			if tt.deny == "" {
				if len(acks) != 1 || acks[0].Link != l.out[nid(from)] {
					t.Fatalf("%d votes, want one on the requester's link; effects %v", len(acks), l.effects)
				}
				if l.syncs == 0 {
					t.Errorf("vote not saved with sync")
				}
				if l.m.lastVoteEpoch != msg.CurrentEpoch || acks[0].Msg.CurrentEpoch != msg.CurrentEpoch {
					t.Errorf("lastVoteEpoch %d, ack epoch %d, want %d", l.m.lastVoteEpoch, acks[0].Msg.CurrentEpoch, msg.CurrentEpoch)
				}
				return
			}
			if len(acks) != 0 {
				t.Errorf("vote given, want refusal %q", tt.deny)
			}
			if !l.said("vote refused: ") || !l.said(tt.deny) {
				t.Errorf("no event %q in %v", tt.deny, l.effects)
			}
		})
	}
}

// Row 55: replicas and primaries without slots never vote.
func TestVoteOnlyOfVotingPrimaries(t *testing.T) {
	for _, self := range []labNode{
		{name: "a", flags: FlagPrimary},
		{name: "a", flags: FlagReplica, primary: "b"},
	} {
		l := newLab(t, []labNode{
			self,
			{name: "b", flags: FlagPrimary, epoch: 2, slots: third(1)},
			{name: "c", flags: FlagPrimary, epoch: 3, slots: third(2)},
			{name: "r", flags: FlagReplica, primary: "c"},
		})
		l.fail("c")
		l.recv("r", l.request("r"))
		if n := len(l.sentOf(TypeAuthAck)); n != 0 {
			t.Errorf("%04x gave %d votes", uint16(self.flags), n)
		}
	}
}

// Row 59: with VoteSpacing a second vote about one primary waits 2T; without
// it the next epoch is enough.
func TestVoteSpacing(t *testing.T) {
	for _, spacing := range []bool{false, true} {
		l := voterLab(t, func(s *Settings) { s.VoteSpacing = spacing })
		l.fail("c")
		l.recv("r", l.request("r"))
		l.now += 2*testTimeout - 1
		l.recv("s", l.request("s"))
		want := 2
		if spacing {
			want = 1
		}
		if n := len(l.sentOf(TypeAuthAck)); n != want {
			t.Errorf("VoteSpacing %v: %d votes within 2T, want %d", spacing, n, want)
		}
		l.now++
		l.recv("s", l.request("s"))
		if n := len(l.sentOf(TypeAuthAck)); n != want+1 {
			t.Errorf("VoteSpacing %v: %d votes after 2T, want %d", spacing, n, want+1)
		}
	}
}

// A refusal for stale slots teaches the requester (7.6 rule 2).
func TestRefusedVoteSendsUpdate(t *testing.T) {
	l := voterLab(t)
	l.fail("c")
	m := l.request("r")
	s := *m.Slots
	s.Add(SlotCount / 2)
	m.Slots, m.ConfigEpoch = &s, 1
	l.recv("r", m)
	up := l.sentOf(TypeUpdate)
	if len(up) != 1 || up[0].Link != l.out[nid("r")] {
		t.Fatalf("updates: %v, want one to r", up)
	}
	if u := up[0].Msg.Update; u.ConfigEpoch < 2 || u.Slots.Empty() {
		t.Errorf("update %+v", u)
	}
}

// The candidate is replica a of failed primary c, with voters b, d, f and its
// sibling s.
func candidateLab(t *testing.T, tune ...func(*Settings)) *lab {
	q := SlotCount / 4
	return newLab(t, []labNode{
		{name: "a", flags: FlagReplica, primary: "c"},
		{name: "b", flags: FlagPrimary, epoch: 2, slots: slotRange(0, q-1)},
		{name: "c", flags: FlagPrimary, epoch: 3, slots: slotRange(q, 2*q-1)},
		{name: "d", flags: FlagPrimary, epoch: 4, slots: slotRange(2*q, 3*q-1)},
		{name: "f", flags: FlagPrimary, epoch: 5, slots: slotRange(3*q, SlotCount-1)},
		{name: "s", flags: FlagReplica, primary: "c"},
		{name: "e", flags: FlagPrimary},
	}, tune...)
}

// elect runs until the request for votes left and returns the time it took.
func (l *lab) elect() Millis {
	l.t.Helper()
	start := l.now
	for range 200 {
		if len(l.sentOf(TypeAuthRequest)) > 0 {
			return l.now - start
		}
		l.step(Local{ReplOffset: 100, PrimaryLinkAge: 0})
		l.run(TickPeriod)
	}
	l.t.Fatalf("no request for votes: auth=%d now=%d sent=%v stalled=%q flags=%04x %v", l.m.authTime, l.now, l.m.authSent, l.m.stalled, l.m.self.primary.flags, l.effects)
	return 0
}

// Rows 53, 62 to 64: what counts as a vote, and that exactly the quorum wins.
func TestCountVotes(t *testing.T) {
	l := candidateLab(t)
	l.fail("c")
	l.elect()
	epoch := l.m.authEpoch
	reqs := l.sentOf(TypeAuthRequest)
	if len(reqs) != 6 {
		t.Errorf("%d requests, want one to each of 6 nodes", len(reqs))
	}
	if r := reqs[0].Msg; r.CurrentEpoch != 11 || r.ConfigEpoch != 3 || !r.Slots.Equal(l.node("c").slots) || r.MFlags&MFlagForceAck != 0 {
		t.Errorf("request has epochs %d, %d", r.CurrentEpoch, r.ConfigEpoch)
	}
	if l.syncs == 0 {
		t.Errorf("the new epoch was not synced")
	}
	ack := func(from string, e uint64) {
		m := l.msg(from, TypeAuthAck)
		m.CurrentEpoch = e
		l.recv(from, m)
	}
	ack("s", epoch)   // a replica
	ack("e", epoch)   // no slots
	ack("b", epoch-1) // an older election
	ack("b", epoch)
	ack("b", epoch) // twice the same voter
	ack("d", epoch)
	if !l.m.self.isReplica() {
		t.Fatalf("promoted with 2 of 4 votes")
	}
	l.clear()
	ack("f", epoch) // quorum of 4 is 3: no tick in between (mechanism 9)
	s := l.m.self
	if !s.isPrimary() || s.configEpoch != epoch || s.slotCount != SlotCount/4 || l.node("c").slotCount != 0 {
		t.Fatalf("not promoted with 3 of 4 votes")
	}
	if _, ok := effectOf[Promote](l); !ok {
		t.Errorf("no Promote effect")
	}
	if l.syncs == 0 {
		t.Errorf("promotion not synced")
	}
	pongs := 0
	for _, e := range l.sentOf(TypePong) {
		if e.Msg.ConfigEpoch == epoch && e.Msg.Slots.Len() == SlotCount/4 && e.Msg.ReplicaOf.IsZero() {
			pongs++
		}
	}
	if pongs != 6 {
		t.Errorf("%d PONGs announce the promotion, want 6", pongs)
	}
}

// Row 46, 47: the delay is 500 ms, a random part below 500, 1000 ms a rank; equal
// offsets are ordered by id; row 49: the rank follows news.
func TestElectionDelay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		offset uint64 // of sibling s; self has 100
		sib    Flags
		min    Millis
	}{
		{"best offset", 99, 0, 500},
		{"equal offset, smaller id", 100, 0, 500},
		{"sibling ahead", 101, 0, 1500},
		{"sibling ahead but never elected", 101, FlagNoFailover, 500},
	} {
		l := candidateLab(t)
		l.node("s").offset = tt.offset
		l.node("s").flags |= tt.sib
		l.fail("c")
		got := l.elect()
		if max := tt.min + 500 + 2*TickPeriod; got < tt.min || got > max {
			t.Errorf("%s: asked after %d ms, want %d to %d", tt.name, got, tt.min, max)
		}
	}
	l := candidateLab(t)
	l.node("s").offset = 99
	l.fail("c")
	l.run(200)
	at := l.m.authTime
	l.node("s").offset = 200
	l.run(TickPeriod)
	if l.m.authTime != at+1000 {
		t.Errorf("news of a better sibling moved the election by %d ms, want 1000", l.m.authTime-at)
	}
	l.node("s").offset = 10
	l.run(TickPeriod)
	if l.m.authTime != at {
		t.Errorf("the delay was not taken back")
	}
}

// Row 48: scheduling tells the siblings the offset, and only them.
func TestElectionTellsSiblings(t *testing.T) {
	l := candidateLab(t)
	l.clear()
	l.step(Local{ReplOffset: 100, PrimaryLinkAge: 0})
	l.fail("c")
	l.run(TickPeriod)
	n := 0
	for _, e := range l.sentOf(TypePong) {
		if e.Link != l.out[nid("s")] || e.Msg.Offset != 100 {
			t.Errorf("PONG to link %d with offset %d", e.Link, e.Msg.Offset)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d PONGs, want 1", n)
	}
}

// 8.3: a failed shard with a smaller id delays by 500 ms.
func TestFailedPrimaryRank(t *testing.T) {
	l := candidateLab(t)
	l.m.setPrimary(l.node("s"), l.node("b"))
	l.node("b").shard, l.m.self.shard = nid("1"), nid("2")
	l.node("c").shard = nid("2")
	l.fail("c")
	m := l.msg("d", TypeFail)
	m.Fail = nid("b")
	l.recv("d", m)
	if got := l.m.failedPrimaryRank(); got != 1 {
		t.Errorf("failed primary rank %d, want 1", got)
	}
	if got := l.elect(); got < 1000 || got > 1700 {
		t.Errorf("asked after %d ms, want 1000 to 1700", got)
	}
}

// Rows 42, 44, 45, 52: when a replica stands at all, when it gives up, when it
// tries again.
func TestElectionConditions(t *testing.T) {
	for _, tt := range []struct {
		name string
		tune func(*Settings)
		prep func(l *lab)
		age  Millis
		want bool
	}{
		{"failed primary", nil, nil, 0, true},
		{"primary only suspected", nil, func(l *lab) { l.node("c").flags = l.node("c").flags&^FlagFail | FlagPFail }, 0, false},
		{"failover switched off", func(s *Settings) { s.ReplicaNoFailover = true }, nil, 0, false},
		{"module forbids it", func(s *Settings) { s.ModuleNoFailover = true }, nil, 0, false},
		{"primary without slots", nil, func(l *lab) { l.m.unbindAll(l.node("c")) }, 0, true},
		{"primary without slots, Redis", func(s *Settings) { s.SlotlessFailover = false }, func(l *lab) { l.m.unbindAll(l.node("c")) }, 0, false},
		{"data age at the limit", nil, nil, 10*testTimeout + 10000 + testTimeout, true},
		{"data age above the limit", nil, nil, 10*testTimeout + 10000 + testTimeout + 1000, false},
		{"data age without limit", func(s *Settings) { s.ReplicaValidityFactor = 0 }, nil, 1 << 40, true},
		{"never had data", nil, nil, -1, false},
		{"data of another shard", func(s *Settings) { s.ReplicaValidityFactor = 0 }, func(l *lab) { l.unsynced = true }, 0, false},
		{"never had data, no limit", func(s *Settings) { s.ReplicaValidityFactor = 0 }, nil, -1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tune []func(*Settings)
			if tt.tune != nil {
				tune = append(tune, tt.tune)
			}
			l := candidateLab(t, tune...)
			l.fail("c")
			if tt.prep != nil {
				tt.prep(l)
			}
			l.clear()
			for range 30 {
				l.step(Local{ReplOffset: 100, PrimaryLinkAge: tt.age, Unsynced: l.unsynced})
				l.run(TickPeriod)
			}
			if got := len(l.sentOf(TypeAuthRequest)) > 0; got != tt.want {
				t.Errorf("asked for votes: %v, want %v; %v", got, tt.want, l.effects)
			}
		})
	}
}

// An election that wins no votes expires after max(2T, 2000) ms and a new one,
// with a new epoch, comes after twice that; with RetryWithinTimeout both within T.
func TestElectionRetry(t *testing.T) {
	for _, fast := range []bool{false, true} {
		l := candidateLab(t, func(s *Settings) { s.RetryWithinTimeout = fast })
		wait, next := 2*testTimeout, 4*testTimeout
		if fast {
			wait, next = testTimeout/4, testTimeout/4
		}
		l.retry(wait, next)
	}
}

func (l *lab) retry(wait, next Millis) {
	t := l.t
	l.fail("c")
	l.elect()
	first, at := l.m.authEpoch, l.m.authTime
	l.clear()
	for l.now <= at+wait {
		l.step(Local{ReplOffset: 100, PrimaryLinkAge: 0})
		l.run(TickPeriod)
	}
	for _, from := range []string{"b", "d", "f"} { // too late
		m := l.msg(from, TypeAuthAck)
		m.CurrentEpoch = first
		l.recv(from, m)
	}
	if !l.m.self.isReplica() {
		t.Fatalf("votes counted after the election expired")
	}
	l.elect()
	if l.m.authEpoch <= first {
		t.Errorf("second election has epoch %d, the first had %d", l.m.authEpoch, first)
	}
	if d := l.m.authTime - at; d < next+500 || d > next+1000+4*TickPeriod {
		t.Errorf("second election %d ms after the first, want about %d", d, next+750)
	}
}

// 4.5 rule 5.2: a newer claim seen meanwhile cancels the election.
func TestElectionCancelledByNewerEpoch(t *testing.T) {
	l := candidateLab(t)
	l.fail("c")
	l.elect()
	m := l.msg("b", TypePing)
	m.CurrentEpoch, m.ConfigEpoch = 40, 40
	l.recv("b", m)
	if l.m.authSent && l.m.authTime != 0 && l.m.authEpoch <= 40 {
		t.Errorf("election still on")
	}
	for _, from := range []string{"b", "d", "f"} {
		l.recv(from, l.msg(from, TypeAuthAck))
	}
	if !l.m.self.isReplica() {
		t.Errorf("promoted by votes of a cancelled election")
	}
}

// Invariant 4: the quorum of an election does not fall while it runs, and a
// demoted primary keeps its seat until its successor claims the slots.
func TestQuorumDoesNotDip(t *testing.T) {
	l := candidateLab(t)
	l.fail("c")
	l.elect()
	epoch := l.m.authEpoch
	for _, n := range []string{"b", "d"} { // both say: replica of a node of our shard
		l.node(n).shard = l.node("e").shard
		m := l.msg(n, TypePing)
		m.ReplicaOf, m.Slots = nid("e"), nil
		l.recv(n, m)
		if !l.node(n).isReplica() || l.node(n).slotCount == 0 {
			t.Fatalf("%s is not a demoted node with slots", n)
		}
	}
	if l.m.size != 4 {
		t.Errorf("size %d while two seats wait for their successor, want 4", l.m.size)
	}
	l.admin(DelSlots{Slots: slotList(l.node("b").slots)}) // now two seats go for good
	l.admin(DelSlots{Slots: slotList(l.node("d").slots)})
	if l.m.size != 2 {
		t.Errorf("size %d, want 2", l.m.size)
	}
	m := l.msg("f", TypeAuthAck)
	m.CurrentEpoch = epoch
	l.recv("f", m)
	m = l.msg("c", TypeAuthAck)
	m.CurrentEpoch = epoch
	l.recv("c", m)
	if !l.m.self.isReplica() {
		t.Errorf("won with 2 votes an election that began with a quorum of 3")
	}
}

func slotList(s *SlotSet) (list []int) {
	for slot := range s.All() {
		list = append(list, slot)
	}
	return list
}
