package bus

import (
	"strconv"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/command"
)

// servingNode is a node that owns every slot and serves them.
func servingNode(t *testing.T) *node {
	n := newNodeWith(t, func(o *Options) {
		settings := o.Settings
		o.Settings = func() cluster.Settings {
			s := settings()
			s.RequireFullCoverage = false
			return s
		}
	})
	if _, err := n.Admin(cluster.AddSlots{Slots: allSlots()}); err != nil {
		t.Fatal(err)
	}
	until(t, "the state", func() string {
		if n.InForce().State != cluster.StateOK || n.InForce() != n.view.Load() {
			return "not ok, or not in force"
		}
		return ""
	})
	return n
}

func allSlots() (slots []int) {
	for slot := range cluster.SlotCount {
		slots = append(slots, slot)
	}
	return slots
}

// A command that holds a slot keeps no view from being shown, so the lease on the slots
// goes on; and who changes other slots waits for nobody. Who takes the slot away waits
// until the command is over.
func TestViewBesideSlowCommand(t *testing.T) {
	n := servingNode(t)
	const held, free = 7, 8
	n.e.Store.Lock(held)
	unlock := func() { n.e.Store.Unlock(held) }
	defer func() { unlock() }()

	admin := func(cmd cluster.Command) <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := n.Admin(cmd)
			ended <- err
		}()
		return ended
	}
	for _, cmd := range []cluster.Command{cluster.BumpEpoch{}, cluster.DelSlots{Slots: []int{free}}, cluster.AddSlots{Slots: []int{free}}} {
		select {
		case err := <-admin(cmd):
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatalf("%T waits for a command on another slot", cmd)
		}
		if n.shown.Load() != n.view.Load() {
			t.Errorf("after %T the view is not shown: the lease would end", cmd)
		}
		if cmd, ok := cmd.(cluster.DelSlots); ok && n.e.View().Owns(free) {
			t.Errorf("after %v the slot is served", cmd)
		}
	}

	lost := admin(cluster.DelSlots{Slots: []int{held}})
	until(t, "the slot is not served any more", func() string {
		if n.shown.Load() != n.view.Load() || n.e.View().Owns(held) {
			return "it is"
		}
		return ""
	})
	if n.InForce().Owner(held) == nil {
		t.Error("the view is in force while a command may go by the old one")
	}
	select {
	case err := <-lost:
		t.Errorf("the slot was taken away while a command runs on it: %v", err)
	default:
	}
	unlock()
	unlock = func() {}
	if err := <-lost; err != nil {
		t.Fatal(err)
	}
	if n.InForce().Owner(held) != nil {
		t.Error("the view is not in force")
	}
}

// Later views are shown before effects that wait, but not where that would do harm: one
// that brings a slot whose keys are still to be deleted, and a promotion while a
// Follow is to come.
func TestViewWaitsForEffect(t *testing.T) {
	n := servingNode(t)
	const slot = 7
	n.e.Store.Lock(slot)
	n.apply.put(applyItem{effect: cluster.DropSlotKeys{Slots: one(slot)}})
	n.apply.put(applyItem{effect: cluster.Follow{IP: "127.0.0.1", Port: 1}})
	until(t, "the effects", func() string {
		n.apply.mu.Lock()
		defer n.apply.mu.Unlock()
		if n.apply.drops == 0 || n.apply.follows == 0 {
			return "not under way"
		}
		return ""
	})
	v := *n.view.Load()
	without, opened, with := v, v, v
	without.Mine = one(slot + 1)
	opened.Mine, opened.Open = without.Mine, one(slot)
	n.apply.put(applyItem{view: &without})
	until(t, "a view without the slot", func() string {
		if n.shown.Load() != &without {
			return "not shown"
		}
		return ""
	})
	n.apply.put(applyItem{view: &opened})
	shownOpen, shown := make(chan struct{}), make(chan struct{})
	n.apply.put(applyItem{shown: shownOpen})
	n.apply.put(applyItem{view: &with})
	n.apply.put(applyItem{shown: shown})
	n.apply.put(applyItem{effect: cluster.Promote{}})
	select {
	case <-shownOpen:
		t.Error("keys of a slot are let in while those that were there are being deleted")
	case <-shown:
		t.Error("a slot is served while its keys are being deleted")
	case <-time.After(50 * time.Millisecond):
	}
	n.e.Store.Unlock(slot)
	<-shown
	if n.shown.Load() != &with {
		t.Error("the view was never shown")
	}
	// Follow, then Promote: as a replica that was promoted.
	done := make(chan struct{})
	n.apply.put(applyItem{done: done})
	<-done
	if p := n.repl.primary(); p != "" {
		t.Errorf("a promoted node follows %s", p)
	}
}

// A slot that comes back by a migration while its old keys wait to be deleted keeps
// those that the migration brings.
func TestLateDeletionSparesMigration(t *testing.T) {
	n := servingNode(t)
	const lost, back = 7, 8
	has := func(slot uint16) bool { return n.e.Store.DB(0).SlotLen(slot) > 0 }
	for i := 0; !has(lost) || !has(back); i++ {
		key := strconv.Itoa(i)
		if slot := command.MakeKey(0, []byte(key)).Slot; slot == lost || slot == back {
			n.is("SET "+key+" v", "+OK\r\n")
		}
	}
	n.e.Store.Lock(lost)
	both := one(lost)
	both.Add(back)
	n.apply.put(applyItem{effect: cluster.DropSlotKeys{Slots: both}})
	n.e.Store.Lock(back)
	n.e.Store.HideSlot(back, true)
	n.e.Store.Unlock(back)
	n.e.Store.Unlock(lost)
	done := make(chan struct{})
	n.apply.put(applyItem{done: done})
	<-done
	if has(lost) || !has(back) {
		t.Errorf("keys of the lost slot: %v, of the one that comes back: %v", has(lost), has(back))
	}
}

func one(slot int) *cluster.SlotSet {
	set := new(cluster.SlotSet)
	set.Add(slot)
	return set
}

// A tick is good for the time after it began: the process may have been stopped in the
// middle of it, and the next one, which would notice, come after the clients.
func TestLeaseCountsFromTheTicksBegin(t *testing.T) {
	n := servingNode(t)
	began, second, release := make(chan int64, 1), make(chan struct{}), make(chan struct{})
	calls := 0
	ticked := func() {
		switch calls++; calls {
		case 1:
			began <- n.e.Until(0)
			time.Sleep(50 * time.Millisecond) // stopped
		case 2:
			close(second)
			<-release
		}
	}
	n.repl.ticked.Store(&ticked)
	defer close(release)
	<-second
	set := n.options().Settings()
	if good, most := n.lastTick.Load(), <-began+int64(set.WakeGap())*1e6; good > most {
		t.Errorf("the lease goes on for %v after the time that the tick is good for", time.Duration(good-most))
	}
}
