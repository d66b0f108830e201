package bus

import (
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/store"
)

// later queues an item that may have to wait for commands that run.
func (a *applier) later(it applyItem) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.toCarry.put(it)
	switch e := it.effect.(type) {
	case cluster.Follow:
		a.follows++
	case cluster.DropSlotKeys:
		a.drops++
		for slot := range e.Slots.All() {
			a.dropping.Add(slot)
		}
	case cluster.FlushAll:
		a.drops++
		for slot := range cluster.SlotCount {
			a.dropping.Add(slot)
		}
	}
}

// carryItem carries out one item.
func (a *applier) carryItem(it applyItem) {
	switch {
	case it.view != nil:
		a.enforce(it.became)
	case it.done != nil:
		close(it.done)
	case it.effect != nil:
		a.carryOut(it.effect)
		a.mu.Lock()
		switch it.effect.(type) {
		case cluster.Follow:
			a.follows--
		case cluster.DropSlotKeys, cluster.FlushAll:
			if a.drops--; a.drops == 0 {
				a.dropping = cluster.SlotSet{}
			}
		}
		a.carried.Broadcast()
		a.mu.Unlock()
	}
}

// enforce returns when no command goes by an older view than the newest that is shown
// at the beginning.
func (a *applier) enforce(became bool) {
	a.mu.Lock()
	v, stale := a.newest, a.stale
	a.stale = store.StripeSet{}
	a.mu.Unlock()
	a.b.opt.Engine.Store.Pass(&stale)
	a.b.inForce.Store(v)
	if became {
		a.b.opt.Engine.RecheckBlocked(true) // who was about to block
	}
	if stale != (store.StripeSet{}) {
		poke(a.recheck)
	}
}

// runRecheck looks after blocked clients when slots may have gone, which waits for the
// locks of theirs, and once a second.
func (a *applier) runRecheck() {
	defer a.b.wg.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-a.recheck:
		case <-tick.C:
		}
		a.mu.Lock()
		closed := a.closed
		a.mu.Unlock()
		if closed {
			return
		}
		a.b.opt.Engine.RecheckBlocked(false)
	}
}

func (a *applier) carryOut(e cluster.Effect) {
	b := a.b
	eng := b.opt.Engine
	switch e := e.(type) {
	case cluster.Follow:
		b.opt.Repl.Follow(e.IP, int(e.Port), e.FullResync)
		b.followed.Store(e.ID)
	case cluster.PauseWrites:
		b.pauseWrites(e)
	case cluster.ResumeWrites:
		b.resumeWrites()
	case cluster.DropSlotKeys:
		for slot := range e.Slots.All() {
			eng.DropShown(uint16(slot))
		}
	case cluster.FlushAll:
		eng.Store.LockWorld()
		eng.FlushLocked(-1, true)
		eng.Store.UnlockWorld()
	case cluster.SlotsLost:
		back := shardSlots(b.shown.Load()) // by now
		eng.DropShardSubscriptions(func(slot uint16) bool { return e.Slots.Has(int(slot)) && !back.Has(int(slot)) })
	}
}
