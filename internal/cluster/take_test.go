package cluster

import "testing"

// A node takes slots whose data it has: with an epoch above all others, saved and
// synced before the claim leaves, told to every member; and nothing if the source
// does not own all of them any more.
func TestTakeSlots(t *testing.T) {
	l := observerLab(t)
	from := l.node("b")
	var want SlotSet
	n := 0
	for s := range from.slots.All() {
		if n++; n <= 3 {
			want.Add(s)
		}
	}
	take := func(set *SlotSet, id NodeID) error {
		_, err := l.m.Admin(l.times(), TakeSlots{Slots: set, From: id})
		return err
	}
	bad := want
	bad.Add(5) // its own
	for name, err := range map[string]error{
		"a slot of another owner": take(&bad, nid("b")),
		"an unknown node":         take(&want, nid("9")),
		"itself":                  take(&want, l.m.self.id),
		"no slots":                take(new(SlotSet), nid("b")),
		"too late":                takeBy(l, &want, l.m.now.Mono-1),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	l.drain()
	if l.m.owner(want.Next(0)) != from {
		t.Fatal("a refused take changed the owner")
	}
	l.clear()
	from.configEpoch = l.m.currentEpoch + 5 // the greatest known, not yet current
	if err := take(&want, nid("b")); err != nil {
		t.Fatal(err)
	}
	l.drain()
	for s := range want.All() {
		if l.m.owner(s) != l.m.self {
			t.Errorf("slot %d is not taken", s)
		}
	}
	if e := l.m.self.configEpoch; e <= from.configEpoch || e != l.m.currentEpoch {
		t.Errorf("epoch %d, want above %d and current", e, from.configEpoch)
	}
	if l.syncs == 0 {
		t.Error("not synced")
	}
	told := map[LinkID]bool{}
	for _, e := range l.sentOf(TypePong) {
		told[e.Link] = e.Msg.Slots.Has(want.Next(0)) && e.Msg.ConfigEpoch == l.m.self.configEpoch
	}
	if len(told) < 3 || !told[l.out[nid("b")]] {
		t.Errorf("the claim went to %d links, source %v", len(told), told[l.out[nid("b")]])
	}
}

func takeBy(l *lab, set *SlotSet, until Millis) error {
	_, err := l.m.Admin(l.times(), TakeSlots{Slots: set, From: nid("b"), Until: until})
	return err
}

// A node that stood still takes nothing until it has heard from a majority again: a
// replica may have won its own slots, with the epoch that it would take.
func TestWokenNodeTakesNoSlots(t *testing.T) {
	l := observerLab(t, func(s *Settings) { s.WakeGuard = true })
	var want SlotSet
	want.Add(l.node("b").slots.Next(0))
	l.now += 2 * testTimeout
	if _, err := l.m.Admin(l.times(), TakeSlots{Slots: &want, From: nid("b")}); err == nil {
		t.Error("taken")
	}
}
