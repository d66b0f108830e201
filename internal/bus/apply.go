package bus

import (
	"sync"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/store"
)

// applier carries views and effects into the data side, in two goroutines that may
// wait as the driver may not.
//
// One shows views: commands that begin from then on go by them. It takes no slot lock,
// so what the cluster has decided counts at once whatever runs, and the lease on the
// slots can be renewed. The other (carry.go) follows with all that waits for commands
// that run: it sees to it that none goes by an older view any more, carries out effects,
// and lets those go on who wait for either. Its work keeps the order in which it came,
// but later views may be shown before it. Where they must not be, the first one waits:
// a promotion for the Follow before it, a view that brings slots, or lets their keys in
// one by one, for the end of the deletion of what was in them.
type applier struct {
	b       *Bus
	mu      sync.Mutex
	closed  bool
	toShow  applyQueue
	toCarry applyQueue
	carried sync.Cond // an effect was carried out, or closed
	recheck chan struct{}

	// Of what is not yet carried out.
	follows  int             // Follow
	drops    int             // DropSlotKeys, FlushAll
	dropping cluster.SlotSet // their slots, empty when there is none of them

	newest *cluster.View   // shown last
	stale  store.StripeSet // locks of commands that may go by an older one

	// The first goroutine's.
	replica bool             // role shown last
	slots   *cluster.SlotSet // of the shard, shown last
}

// applyItem is one of: a view, an effect, someone who waits until those before are
// shown, or carried out.
type applyItem struct {
	view   *cluster.View
	became bool // with view, which is shown: the role was lost
	effect cluster.Effect
	shown  chan struct{}
	done   chan struct{}
}

// applyQueue is the work of one goroutine; the applier's mu guards it.
type applyQueue struct {
	items []applyItem
	wake  chan struct{}
}

// put queues an item. Of two views in a row only the last counts; so the queue is
// bounded by the effects in flight.
func (q *applyQueue) put(it applyItem) {
	if n := len(q.items); it.view != nil && n > 0 && q.items[n-1].view != nil {
		it.became = it.became || q.items[n-1].became
		q.items[n-1] = it
	} else {
		q.items = append(q.items, it)
	}
	poke(q.wake)
}

func (a *applier) init(b *Bus) {
	a.b = b
	a.toShow.wake = make(chan struct{}, 1)
	a.toCarry.wake = make(chan struct{}, 1)
	a.recheck = make(chan struct{}, 1)
	a.carried.L = &a.mu
}

// put queues an item that is to be shown.
func (a *applier) put(it applyItem) {
	a.mu.Lock()
	a.toShow.put(it)
	a.mu.Unlock()
}

// poke wakes the reader of a channel of one place.
func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

func (a *applier) stop() {
	a.mu.Lock()
	a.closed = true
	a.carried.Broadcast()
	a.mu.Unlock()
	poke(a.toShow.wake)
	poke(a.toCarry.wake)
	poke(a.recheck)
}

// run does what is queued until stop.
func (a *applier) run(q *applyQueue, do func(applyItem)) {
	defer a.b.wg.Done()
	for range q.wake {
		if a.drain(q, do) {
			return
		}
	}
}

// drain does everything queued; it reports whether stop was called.
func (a *applier) drain(q *applyQueue, do func(applyItem)) (stopped bool) {
	for {
		a.mu.Lock()
		if len(q.items) == 0 || a.closed {
			stopped = a.closed
			a.mu.Unlock()
			return stopped
		}
		it := q.items[0]
		q.items = q.items[1:]
		a.mu.Unlock()
		do(it)
	}
}

// showItem does what an item asks for beside the commands that run, and leaves the
// rest to carryItem.
func (a *applier) showItem(it applyItem) {
	_, promote := it.effect.(cluster.Promote)
	switch {
	case it.view != nil:
		if a.wait(func() bool { return !a.dropping.Overlaps(it.view.Mine) && !a.dropping.Overlaps(it.view.Open) }) {
			a.show(it.view)
		}
	case it.shown != nil:
		close(it.shown)
	case promote:
		if a.wait(func() bool { return a.follows == 0 }) {
			a.b.opt.Repl.Promote()
		}
	default:
		a.later(it)
	}
}

// wait returns when ok, called with mu held, holds; false: stop was called.
func (a *applier) wait(ok func() bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.closed && !ok() {
		a.carried.Wait()
	}
	return !a.closed
}

// show makes a view the one that commands see.
func (a *applier) show(v *cluster.View) {
	b, eng := a.b, a.b.opt.Engine
	ev := &engine.View{Cluster: true, Replica: v.Myself().Flags.Has(cluster.FlagReplica), Own: new([256]uint64),
		Router: &router{b: b, v: v}, NodeID: v.Myself().ID.String()}
	if v.State == cluster.StateOK && !ev.Replica {
		ev.Held = new([256]uint64)
		for slot := range v.Mine.All() {
			ev.Held[slot>>6] |= 1 << (slot & 63)
			if !v.Open.Has(slot) {
				ev.Own[slot>>6] |= 1 << (slot & 63)
			}
		}
	}
	if slots := shardSlots(v); slots != a.slots && !slots.Equal(a.slots) {
		old := a.slots
		eng.ResetSlotUsage(func(slot int) bool { return slots.Has(slot) != old.Has(slot) })
		a.slots = slots
	}
	became := ev.Replica && !a.replica
	a.replica = ev.Replica
	b.applied.Store(v)
	eng.SetView(ev)
	b.shown.Store(v)
	b.renewLease()
	a.mu.Lock()
	if a.newest != nil {
		addStale(&a.stale, a.newest, v)
	}
	a.newest = v
	a.mu.Unlock()
	a.later(applyItem{view: v, became: became})
	if became {
		eng.RecheckBlocked(true) // takes no slot locks
	}
	poke(a.recheck)
}

// addStale adds to set the locks of all slots on which commands by the view old may
// do what they may not by the next one, v.
func addStale(set *store.StripeSet, old, v *cluster.View) {
	replica := v.Myself().Flags.Has(cluster.FlagReplica)
	if old.Myself().Flags.Has(cluster.FlagReplica) != replica || old.State != v.State || old.NoRedirect != v.NoRedirect ||
		replica && !shardSlots(old).Equal(shardSlots(v)) {
		set.AddAll()
		return
	}
	if old.Mine != v.Mine { // successive views share it
		for slot := range old.Mine.All() {
			if !v.Mine.Has(slot) {
				set.Add(uint16(slot))
			}
		}
	}
	for slot := range old.Open.All() {
		if !v.Open.Has(slot) || !sameMove(old, v, slot) {
			set.Add(uint16(slot))
		}
	}
	for slot := range v.Open.All() {
		if !old.Open.Has(slot) {
			set.Add(uint16(slot))
		}
	}
}

// sameMove reports whether an open slot is so in the same way in both views.
func sameMove(a, b *cluster.View, slot int) bool {
	same := func(n, o *cluster.NodeView) bool { return n == o || n != nil && o != nil && n.ID == o.ID }
	return same(a.MigratingTo(slot), b.MigratingTo(slot)) && same(a.ImportingFrom(slot), b.ImportingFrom(slot)) &&
		same(a.DividedWith(slot), b.DividedWith(slot)) && a.Draining(slot) == b.Draining(slot)
}
