package bus

import (
	"sync"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/engine"
)

// applier carries views and effects into the data side, in order, in a
// goroutine that may wait for slot locks as the driver may not.
type applier struct {
	b      *Bus
	mu     sync.Mutex
	items  []applyItem
	wake   chan struct{}
	closed bool

	replica bool             // role applied last
	slots   *cluster.SlotSet // of the shard, applied last
}

// applyItem is one of: a view, an effect, someone who waits for those before.
type applyItem struct {
	view   *cluster.View
	effect cluster.Effect
	done   chan struct{}
}

func (a *applier) init(b *Bus) {
	a.b = b
	a.wake = make(chan struct{}, 1)
}

// put queues an item. A view that nobody has seen yet is replaced by the next,
// unless something between them must see it; so the queue is bounded by the
// effects in flight.
func (a *applier) put(it applyItem) {
	a.mu.Lock()
	if n := len(a.items); it.view != nil && n > 0 && a.items[n-1].view != nil {
		a.items[n-1] = it
	} else {
		a.items = append(a.items, it)
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *applier) stop() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *applier) run() {
	defer a.b.wg.Done()
	recheck := time.NewTicker(time.Second)
	defer recheck.Stop()
	for {
		select {
		case <-a.wake:
		case <-recheck.C:
			a.b.opt.Engine.RecheckBlocked(false)
		}
		if a.drain() {
			return
		}
	}
}

// drain carries out everything queued; it reports whether stop was called.
func (a *applier) drain() (stopped bool) {
	for {
		a.mu.Lock()
		if len(a.items) == 0 || a.closed {
			stopped = a.closed
			a.mu.Unlock()
			return stopped
		}
		it := a.items[0]
		a.items = a.items[1:]
		a.mu.Unlock()
		switch {
		case it.view != nil:
			a.publish(it.view)
		case it.effect != nil:
			a.carryOut(it.effect)
		case it.done != nil:
			close(it.done)
		}
	}
}

// publish makes a view the one that commands see.
func (a *applier) publish(v *cluster.View) {
	b := a.b
	own := new([256]uint64)
	replica := v.Myself().Flags.Has(cluster.FlagReplica)
	if v.State == cluster.StateOK && !replica {
		for slot := range v.Mine.All() {
			if !v.Open.Has(slot) {
				own[slot>>6] |= 1 << (slot & 63)
			}
		}
	}
	if slots := shardSlots(v); slots != a.slots && !slots.Equal(a.slots) {
		old := a.slots
		b.opt.Engine.ResetSlotUsage(func(slot int) bool { return slots.Has(slot) != old.Has(slot) })
		a.slots = slots
	}
	b.applied.Store(v)
	became := replica && !a.replica
	a.replica = replica
	b.opt.Engine.SetView(&engine.View{
		Replica: replica, Cluster: true, Own: own, Router: &router{b: b, v: v}, NodeID: v.Myself().ID.String(),
	})
	b.shown.Store(v)
	b.renewLease()
	b.opt.Engine.RecheckBlocked(became)
}

func (a *applier) carryOut(e cluster.Effect) {
	b := a.b
	eng := b.opt.Engine
	switch e := e.(type) {
	case cluster.Follow:
		b.opt.Repl.Follow(e.IP, int(e.Port), e.FullResync)
		b.followed.Store(e.ID)
	case cluster.Promote:
		b.opt.Repl.Promote()
	case cluster.PauseWrites:
		left := int64(e.Until - b.now().Mono)
		eng.Pause("failover", eng.Now()+left, false)
		b.post(cluster.Done{ID: e.ID})
	case cluster.ResumeWrites:
		eng.Unpause("failover")
	case cluster.DropSlotKeys:
		for slot := range e.Slots.All() {
			eng.DropSlot(uint16(slot))
		}
	case cluster.FlushAll:
		eng.Store.LockWorld()
		eng.FlushLocked(-1, true)
		eng.Store.UnlockWorld()
	case cluster.SlotsLost:
		eng.DropShardSubscriptions(func(slot uint16) bool { return e.Slots.Has(int(slot)) })
	}
}
