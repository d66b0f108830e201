package cluster

import "testing"

// setSlot does SETSLOT on the lab's machine, which has to take it.
func (l *lab) setSlot(slot int, action SlotAction, node string) {
	l.t.Helper()
	c := SetSlot{Slot: slot, Action: action}
	if node != "" {
		c.Node = nid(node).String()
	}
	if e := l.admin(c); e != "" {
		l.t.Fatalf("SETSLOT %d %v %s: %s", slot, action, node, e)
	}
}

// claim lets a node claim its slots and more, with an epoch above all.
func (l *lab) claim(from string, more ...int) {
	l.t.Helper()
	b := new(SlotSet)
	if s := l.node(from).slots; s != nil {
		*b = *s
	}
	for _, slot := range more {
		b.Add(slot)
	}
	l.recv(from, l.claimMsg(from, l.m.topEpoch()+1, b))
}

// moves is what a view says of a slot.
type moves struct {
	divided  string // with which node, by name
	draining bool
}

func (l *lab) moves(slot int) (m moves) {
	v := l.m.View()
	if n := v.DividedWith(slot); n != nil {
		m.divided = n.ID.String()[:1]
	}
	m.draining = v.Draining(slot)
	return m
}

// The commands by which redis-cli's fix repairs an interrupted move, as far as a
// view shows them: the owner knows who may have keys of a slot, the other drains.
// Self, which is a, owns slot 5 and not slot 4000, which is b's.
func TestDividedByCommands(t *testing.T) {
	const own, other = 5, 4000
	for _, tt := range []struct {
		name string
		do   func(l *lab)
		slot int
		want moves
	}{
		{"SETSLOT STABLE of a slot that was migrating leaves it divided", func(l *lab) {
			l.setSlot(own, SlotMigrating, "b")
			l.setSlot(own, SlotStable, "")
		}, own, moves{divided: "b"}},
		{"SETSLOT STABLE of a slot that was not moving does nothing", func(l *lab) {
			l.setSlot(own, SlotStable, "")
		}, own, moves{}},
		{"SETSLOT STABLE of a slot that was importing drains it", func(l *lab) {
			l.setSlot(other, SlotImporting, "b")
			l.setSlot(other, SlotStable, "")
		}, other, moves{draining: true}},
		{"the drained slot can be imported again, as a drain while keys are left", func(l *lab) {
			l.keys[other] = 2
			l.setSlot(other, SlotImporting, "b")
			l.setSlot(other, SlotStable, "")
			l.setSlot(other, SlotImporting, "b")
		}, other, moves{draining: true}},
		{"SETSLOT IMPORTING without a key is an ordinary import", func(l *lab) {
			l.setSlot(other, SlotImporting, "b")
		}, other, moves{}},
		{"SETSLOT IMPORTING with keys there already is a drain", func(l *lab) {
			l.keys[other] = 1
			l.setSlot(other, SlotImporting, "b")
		}, other, moves{draining: true}},
		{"DELSLOTS and ADDSLOTS of another's slot divide it with that node", func(l *lab) {
			l.admin(DelSlots{Slots: []int{other}})
			l.admin(AddSlots{Slots: []int{other}})
		}, other, moves{divided: "b"}},
		{"DELSLOTS of one's own slot drains it", func(l *lab) {
			l.admin(DelSlots{Slots: []int{own}})
		}, own, moves{draining: true}},
		{"ADDSLOTS ends the drain", func(l *lab) {
			l.admin(DelSlots{Slots: []int{own}})
			l.admin(AddSlots{Slots: []int{own}})
		}, own, moves{}},
		{"DELSLOTS and ADDSLOTS of a divided slot keep with whom", func(l *lab) {
			l.setSlot(own, SlotMigrating, "b")
			l.setSlot(own, SlotStable, "")
			l.admin(DelSlots{Slots: []int{own}})
			l.admin(AddSlots{Slots: []int{own}})
		}, own, moves{divided: "b"}},
		{"the other node has no keys any more", func(l *lab) {
			l.setSlot(own, SlotMigrating, "b")
			l.setSlot(own, SlotStable, "")
			l.admin(Undivide{Slot: own, Node: nid("b")})
		}, own, moves{}},
		{"a third node has no keys, which says nothing", func(l *lab) {
			l.setSlot(own, SlotMigrating, "b")
			l.setSlot(own, SlotStable, "")
			l.admin(Undivide{Slot: own, Node: nid("d")})
		}, own, moves{divided: "b"}},
		{"the other node is forgotten", func(l *lab) {
			l.setSlot(own, SlotMigrating, "b")
			l.setSlot(own, SlotStable, "")
			l.admin(Forget{Node: nid("b").String()})
		}, own, moves{}},
		{"the slot is given away", func(l *lab) {
			l.setSlot(own, SlotMigrating, "b")
			l.setSlot(own, SlotStable, "")
			l.setSlot(own, SlotNode, "d")
		}, own, moves{}},
		{"a reset forgets all", func(l *lab) {
			l.setSlot(other, SlotImporting, "b")
			l.setSlot(other, SlotStable, "")
			l.admin(Reset{})
		}, other, moves{}},
	} {
		for _, guard := range []bool{true, false} {
			l := observerLab(t, func(s *Settings) { s.MoveGuard = guard })
			tt.do(l)
			want := tt.want
			if !guard {
				want = moves{}
			}
			if got := l.moves(tt.slot); got != want {
				t.Errorf("%s (guard %v): slot %d is %+v, want %+v", tt.name, guard, tt.slot, got, want)
			}
		}
	}
}

// The failover of the node with which a slot is divided does not lose the track:
// it is divided with the heir.
func TestDividedAfterFailoverOfTheOther(t *testing.T) {
	l := observerLab(t)
	l.setSlot(5, SlotMigrating, "c")
	l.setSlot(5, SlotStable, "")
	all := *l.node("c").slots
	l.recv("r", l.claimMsg("r", 20, &all))
	m := l.msg("c", TypePing) // the old primary is the heir's replica
	m.Flags, m.ReplicaOf, m.ConfigEpoch, m.Slots = FlagReplica|FlagMyself, nid("r"), 20, l.node("r").slots
	l.recv("c", m)
	if got := l.moves(5); got.divided != "r" {
		t.Errorf("divided with %q, want the heir r", got.divided)
	}
	l.admin(Undivide{Slot: 5, Node: nid("r")})
	if got := l.moves(5); got != (moves{}) {
		t.Errorf("%+v after the heir has no keys", got)
	}
}

// A slot claimed from self in the middle of a move keeps its keys, and self stays
// a primary for their sake even without slots. All other keys of lost slots go.
func TestClaimDuringMove(t *testing.T) {
	for _, tt := range []struct {
		name  string
		tune  func(*Settings)
		begin func(l *lab)
		from  string
		keep  bool
	}{
		{"not moving", nil, func(l *lab) {}, "b", false},
		{"migrating", nil, func(l *lab) { l.setSlot(5, SlotMigrating, "b") }, "b", true},
		{"migrating to another than the claimer", nil, func(l *lab) { l.setSlot(5, SlotMigrating, "d") }, "b", true},
		{"divided", nil, func(l *lab) { l.setSlot(5, SlotMigrating, "d"); l.setSlot(5, SlotStable, "") }, "b", true},
		{"no longer divided", nil, func(l *lab) {
			l.setSlot(5, SlotMigrating, "d")
			l.setSlot(5, SlotStable, "")
			l.admin(Undivide{Slot: 5, Node: nid("d")})
		}, "b", false},
		{"migrating, claimed by the own shard", nil, func(l *lab) {
			l.setSlot(5, SlotMigrating, "d")
			l.node("b").shard = l.m.self.shard
		}, "b", false},
		{"migrating without the guard", func(s *Settings) { s.MoveGuard = false }, func(l *lab) { l.setSlot(5, SlotMigrating, "b") }, "b", false},
		{"migrating, and no key is left", nil, func(l *lab) { l.setSlot(5, SlotMigrating, "b"); delete(l.keys, 5) }, "b", false},
	} {
		var tune []func(*Settings)
		if tt.tune != nil {
			tune = append(tune, tt.tune)
		}
		l := observerLab(t, tune...)
		l.keys[5] = 3
		tt.begin(l)
		had := l.keys[5] > 0
		l.clear()
		l.claim(tt.from, 5)
		if l.m.owner(5) != l.node(tt.from) {
			t.Fatalf("%s: not taken", tt.name)
		}
		d, dropped := effectOf[DropSlotKeys](l)
		if dropped = dropped && d.Slots.Has(5); dropped != (had && !tt.keep) {
			t.Errorf("%s: keys dropped: %v", tt.name, dropped)
		}
		if got := l.moves(5); got != (moves{draining: tt.keep}) {
			t.Errorf("%s: %+v, want draining %v", tt.name, got, tt.keep)
		}
		if !tt.keep {
			continue
		}
		// Draining lasts as long as there are keys, then a while for clients.
		l.run(2 * drainTime)
		if !l.moves(5).draining {
			t.Errorf("%s: the drain ended with keys left", tt.name)
		}
		delete(l.keys, 5)
		l.run(drainTime)
		if l.moves(5).draining {
			t.Errorf("%s: the drain did not end", tt.name)
		}
	}

	l := observerLab(t)
	l.keys[5] = 3
	l.setSlot(5, SlotMigrating, "b")
	var rest []int
	for s := range l.m.self.slots.All() {
		rest = append(rest, s)
	}
	l.claim("b", rest...)
	if l.m.self.slotCount != 0 || !l.m.self.isPrimary() {
		t.Errorf("%d slots, primary %v: a node that holds keys which are nowhere else must not flush them", l.m.self.slotCount, l.m.self.isPrimary())
	}
}

// The heir of a primary that does not tell which slots move (Redis) takes a claim of
// another shard for one in the middle of a move; that of one that does (Valkey,
// ours) knows. What was said about a slot since, and a hand-over of whole slots,
// ends the doubt.
func TestBlindSuccessor(t *testing.T) {
	const slot = SlotCount/2 + 7 // of c
	for _, tt := range []struct {
		name  string
		tells bool
		tune  func(*Settings)
		do    func(l *lab)
		keep  bool
	}{
		{"heir of Redis", false, nil, func(l *lab) {}, true},
		{"heir of Valkey", true, nil, func(l *lab) {}, false},
		{"heir of Redis without the guard", false, func(s *Settings) { s.MoveGuard = false }, func(l *lab) {}, false},
		{"closed by the operator", false, nil, func(l *lab) { l.setSlot(slot, SlotStable, "") }, false},
		{"another slot was closed", false, nil, func(l *lab) { l.setSlot(slot+1, SlotStable, "") }, true},
		{"handed over whole", false, nil, func(l *lab) {
			s := new(SlotSet)
			s.Add(slot)
			l.admin(Whole{Slots: s})
		}, false},
		{"it came back after it had gone", false, nil, func(l *lab) {
			l.admin(DelSlots{Slots: []int{slot}})
			l.admin(AddSlots{Slots: []int{slot}})
		}, false},
	} {
		q := SlotCount / 4
		var tune []func(*Settings)
		if tt.tune != nil {
			tune = append(tune, tt.tune)
		}
		l := newLab(t, []labNode{
			{name: "r", flags: FlagReplica, primary: "c"},
			{name: "a", flags: FlagPrimary, epoch: 1, slots: slotRange(0, q-1)},
			{name: "b", flags: FlagPrimary, epoch: 2, slots: slotRange(q, 2*q-1)},
			{name: "c", flags: FlagPrimary, epoch: 3, slots: slotRange(2*q, 3*q-1)},
			{name: "d", flags: FlagPrimary, epoch: 4, slots: slotRange(3*q, SlotCount-1)},
		}, tune...)
		if m := l.msg("c", TypePing); !tt.tells {
			m.Flags &^= FlagLightPubSub | FlagLightModule
			l.recv("c", m)
		}
		if e := l.admin(Failover{Mode: FailoverTakeover}); e != "" || !l.m.self.isPrimary() {
			t.Fatalf("%s: not promoted: %s", tt.name, e)
		}
		l.keys[slot] = 3
		tt.do(l)
		l.clear()
		l.claim("b", slot)
		d, dropped := effectOf[DropSlotKeys](l)
		if dropped = dropped && d.Slots.Has(slot); dropped == tt.keep {
			t.Errorf("%s: keys dropped: %v", tt.name, dropped)
		}
		if got := l.moves(slot).draining; got != tt.keep {
			t.Errorf("%s: draining %v", tt.name, got)
		}
	}
}

// A slot that another node had is not claimed as long as that node may delete its
// keys on the claim: in headers, in UPDATEs and when it claims the slot itself.
func TestClaimWaitsForKeysElsewhere(t *testing.T) {
	for _, kind := range []string{"foreign", "own", "failed"} {
		l := observerLab(t)
		b := l.node("b")
		slot := b.slots.Next(0)
		if kind == "own" {
			b.clusterID = 9 // it drains
		}
		l.admin(DelSlots{Slots: []int{slot}})
		l.admin(AddSlots{Slots: []int{slot}})
		l.admin(BumpEpoch{})
		if kind == "failed" {
			b.flags |= FlagFail
		}
		claims := func() bool {
			l.clear()
			l.run(TickPeriod)
			l.m.sendPing(l.node("d"))
			l.drain()
			return l.sentOf(TypePing)[0].Msg.Slots.Has(slot)
		}
		wait := kind == "foreign"
		if got := claims(); got == wait {
			t.Errorf("%s: claimed %v at once", kind, got)
		}
		l.clear()
		l.recv("b", l.claimMsg("b", 1, slotRange(slot, slot)))
		if up := l.sentOf(TypeUpdate); len(up) > 0 == wait {
			t.Errorf("%s: %d UPDATEs to the one with the keys", kind, len(up))
		}
		l.admin(Undivide{Slot: slot, Node: nid("b")})
		if !claims() {
			t.Errorf("%s: not claimed when the other has no keys any more", kind)
		}
	}
	l := observerLab(t)
	slot := l.node("b").slots.Next(0)
	l.admin(DelSlots{Slots: []int{slot}})
	l.admin(AddSlots{Slots: []int{slot}})
	l.now += withholdTime + 1
	l.step(Tick{})
	l.m.sendPing(l.node("d"))
	l.drain()
	if p := l.sentOf(TypePing); !p[len(p)-1].Msg.Slots.Has(slot) {
		t.Error("never claimed")
	}
}
