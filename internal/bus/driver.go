package bus

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/disk"
)

// eventQueue bounds what waits for the driver. Link readers block when it is
// full, and TCP holds back the peers.
const eventQueue = 1024

// turnEvents is how many events are stepped before Ready is obeyed: one save
// then serves them all.
const turnEvents = 128

// event is one thing for the driver: an input of the machine, or a call.
type event struct {
	in    cluster.Input
	call  func(m *cluster.Machine, now cluster.Times)
	done  chan struct{} // closed when the call's consequences are applied
	shown chan struct{} // closed when commands that begin go by them
	view  chan struct{} // closed when they are in the driver's view
}

// post hands an input to the driver; it waits while the queue is full.
func (b *Bus) post(in cluster.Input) {
	select {
	case b.events <- event{in: in}:
	case <-b.quit:
	case <-b.dead:
	}
}

// do runs f in the driver's goroutine and returns when everything that follows
// from it has been saved and applied, and no command that runs goes by what was
// before. It must not be called with slot locks held, for the applier takes them.
// false: the node ends, and nobody can tell what has come of it; f may still run.
func (b *Bus) do(f func(m *cluster.Machine, now cluster.Times)) bool {
	done := make(chan struct{})
	return b.hand(event{call: f, done: done}, done)
}

// show is do for who does not care for the commands that run: it returns when what
// follows from f has been saved and commands that begin go by it.
func (b *Bus) show(f func(m *cluster.Machine, now cluster.Times)) bool {
	shown := make(chan struct{})
	return b.hand(event{call: f, shown: shown}, shown)
}

// hand gives an event to the driver and waits until the channel is closed; false: the
// node ends before.
func (b *Bus) hand(ev event, closed <-chan struct{}) bool {
	select {
	case b.events <- ev:
	case <-b.quit:
		return false
	case <-b.dead:
		return false
	}
	select {
	case <-closed:
		return true
	case <-b.quit:
	case <-b.dead:
	}
	return false
}

// ask runs f in the driver's goroutine and returns at once when it is done. It
// does nothing while there is no driver: before the data is loaded, and at the
// end.
func (b *Bus) ask(f func(m *cluster.Machine, now cluster.Times)) {
	if !b.running.Load() {
		return
	}
	answered := make(chan struct{})
	b.hand(event{call: func(m *cluster.Machine, now cluster.Times) {
		f(m, now)
		close(answered)
	}}, answered)
}

// settle runs f in the driver's goroutine and returns when everything that
// follows from it is saved and in the driver's view, which is what questions are
// answered from; commands may still run by an older one. Locks may be held.
// Before Start it waits.
func (b *Bus) settle(f func(m *cluster.Machine, now cluster.Times)) bool {
	view := make(chan struct{})
	return b.hand(event{call: f, view: view}, view)
}

// drive is the driver's goroutine.
func (b *Bus) drive() {
	defer b.wg.Done()
	defer close(b.dead)
	tick := time.NewTicker(time.Duration(cluster.TickPeriod) * time.Millisecond)
	defer tick.Stop()
	catchUp := time.NewTimer(0) // runs during a manual failover of this replica
	defer catchUp.Stop()
	armed, offset := true, int64(-1)
	wake := time.NewTimer(0) // runs to what the machine waits for between two ticks
	defer wake.Stop()
	wakeAt := cluster.Millis(0)
	for {
		var waiting []event
		good := int64(0) // until when a tick is good; read before it, for the process may be stopped anywhere in it
		select {
		case <-b.quit:
			return
		case <-tick.C:
			b.stalled.RLock()
			good = b.leaseEnd()
			b.checkLinks()
			b.m.Step(b.now(), b.local())
			b.m.Step(b.now(), cluster.Tick{})
		case <-wake.C:
			wakeAt = 0
			b.stalled.RLock()
			b.m.Step(b.now(), cluster.Wake{})
		case <-catchUp.C:
			if armed = b.catchingUp(); !armed {
				continue
			}
			catchUp.Reset(catchUpPeriod)
			off := b.opt.Repl.Offset()
			if off == offset {
				continue
			}
			offset = off
			b.stalled.RLock()
			b.m.Step(b.now(), b.local())
		case ev := <-b.events:
			b.stalled.RLock()
			waiting = b.handle(ev, waiting)
			for n := 1; n < turnEvents; n++ {
				select {
				case ev := <-b.events:
					waiting = b.handle(ev, waiting)
					continue
				default:
				}
				break
			}
		}
		err := b.obey()
		if good != 0 {
			b.lastTick.Store(good)
			b.renewLease()
		}
		b.stalled.RUnlock()
		if err != nil {
			b.opt.Log.Error("Fatal: can't update cluster config file", "err", err)
			b.opt.Fatal(err)
			return
		}
		for _, ev := range waiting {
			if ev.view != nil {
				close(ev.view)
			}
			if ev.shown != nil || ev.done != nil {
				b.apply.put(applyItem{shown: ev.shown, done: ev.done})
			}
		}
		if !armed && b.catchingUp() {
			armed, offset = true, -1
			catchUp.Reset(catchUpPeriod)
		}
		if at := b.m.WakeAt(); at != wakeAt && at != 0 {
			wakeAt = at
			wake.Reset(time.Duration(at-b.now().Mono) * time.Millisecond)
		}
	}
}

// catchingUp reports whether this is a replica in a manual failover.
func (b *Bus) catchingUp() bool {
	v := b.view.Load()
	return v.ManualFailover && v.Myself().Flags.Has(cluster.FlagReplica)
}

// catchUpPeriod is how often a replica looks, during a manual failover, whether
// it has reached its paused primary's offset. Clients wait meanwhile.
const catchUpPeriod = 2 * time.Millisecond

// leaseEnd is when the engine, by its own clock, must not serve slots any more
// unless there was another tick.
func (b *Bus) leaseEnd() int64 {
	set := b.m.Settings()
	if !set.WakeGuard {
		return math.MaxInt64
	}
	return b.opt.Engine.Until(int64(set.WakeGap()))
}

// renewLease lets the engine serve for the time that the last tick is good for,
// if it routes by what the machine thinks since then. The driver calls it after
// a tick and the applier after a view; the tick is read before the views, as the
// driver writes it after them.
func (b *Bus) renewLease() {
	until := b.lastTick.Load()
	if until != 0 && b.shown.Load() == b.view.Load() {
		b.opt.Engine.RenewLease(until)
	}
}

func (b *Bus) handle(ev event, waiting []event) []event {
	now := b.now()
	if ev.call != nil {
		ev.call(b.m, now)
		if ev.done != nil || ev.shown != nil || ev.view != nil {
			waiting = append(waiting, ev)
		}
		return waiting
	}
	switch in := ev.in.(type) {
	case cluster.Heard:
		b.m.Step(now, in)
	case cluster.Recv:
		b.m.Step(now, in)
		if in.Msg.Pub != nil {
			if v := b.view.Load(); v.Node(in.Msg.Sender) != nil {
				b.deliver(in.Msg)
			}
		}
	case cluster.Done:
		// The final offset goes before, so that headers carry it.
		b.m.Step(now, b.local())
		b.m.Step(now, in)
	default:
		b.m.Step(now, in)
	}
	return waiting
}

func (b *Bus) deliver(msg *cluster.Message) {
	b.opt.Engine.Deliver(msg.Type == cluster.TypePublishShard, msg.Pub.Channel, msg.Pub.Payload)
}

// local gathers the facts about the node's own data.
func (b *Bus) local() cluster.Local {
	followed := b.followed.Load() // before the facts, which may be newer
	up, age := b.opt.Repl.Link()
	l := cluster.Local{FollowID: followed, Unsynced: !b.opt.Repl.Complete(), ReplOffset: uint64(max(b.opt.Repl.Offset(), 0)), PrimaryLinkUp: up, PrimaryLinkAge: -1}
	if age >= 0 {
		l.PrimaryLinkAge = cluster.Millis(age / time.Millisecond)
	}
	return l
}

// obey does what the machine wants done, in the order in which it must be.
func (b *Bus) obey() error {
	for {
		rd := b.m.Ready()
		if rd.Save != nil {
			if err := b.save(rd.Save, rd.Sync); err != nil {
				return err
			}
		}
		// A promoted node takes writes into its log before clients may write;
		// everything else comes after the view.
		for _, e := range rd.Effects {
			if _, ok := e.(cluster.Promote); ok {
				b.apply.put(applyItem{effect: e})
			}
		}
		if rd.View != nil {
			b.view.Store(rd.View)
			b.apply.put(applyItem{view: rd.View})
		}
		for _, e := range rd.Effects {
			switch e := e.(type) {
			case cluster.Promote:
			case cluster.Event:
				b.logEvent(e)
			default:
				b.apply.put(applyItem{effect: e})
			}
		}
		for _, id := range rd.Close {
			b.links.close(id)
		}
		for _, d := range rd.Dial {
			b.dial(d)
		}
		for _, e := range rd.Send {
			b.links.send(e.Link, e.Msg)
		}
		if rd.Save == nil && rd.View == nil && len(rd.Effects)+len(rd.Close)+len(rd.Dial)+len(rd.Send) == 0 {
			return nil
		}
	}
}

// save replaces nodes.conf. Its content is on disk before it gets the name even
// if sync is not asked for: a crash of the machine then leaves the old file or the
// new one, either whole, and with every vote that ever left. sync adds that it is
// the new one.
func (b *Bus) save(c *cluster.NodesConf, sync bool) error {
	if err := b.replace(c.Encode(), sync); err != nil {
		return fmt.Errorf("bus: save %s: %w", b.opt.Path, err)
	}
	if err := b.lock.Relock(); err != nil {
		return fmt.Errorf("bus: lock %s again: %w", b.opt.Path, err)
	}
	return nil
}

func (b *Bus) replace(text []byte, sync bool) error {
	r, err := disk.Create(b.opt.FS, b.opt.Path, "", sync)
	if err != nil {
		return err
	}
	if _, err = r.Write(text); err == nil && !sync {
		err = r.Sync()
	}
	if err != nil {
		r.Abort()
		return err
	}
	return r.Commit()
}

// checkLinks closes links whose peers do not take what is sent to them.
func (b *Bus) checkLinks() {
	limit := b.opt.SendLimit()
	if limit <= 0 {
		limit = hardSendLimit
	}
	for _, l := range b.links.over(limit) {
		b.limitHits.Add(1)
		b.opt.Log.Warn("Freeing outbound cluster link due to exceeding send buffer memory limit", "link", uint64(l))
		b.links.close(l)
		b.m.Step(b.now(), cluster.LinkDown{Link: l})
	}
}

// hardSendLimit bounds a link's queue when cluster-link-sendbuf-limit does not:
// a peer that far behind has long been suspected.
const hardSendLimit = 256 << 20

// verbose is the level "verbose" of the log, between slog's debug and info. What
// the machine has to say is never more frequent than that.
const verbose = slog.Level(-2)

func (b *Bus) logEvent(e cluster.Event) {
	level := slog.LevelInfo
	switch e.Level {
	case cluster.LevelDebug:
		level = verbose
	case cluster.LevelWarn:
		level = slog.LevelWarn
	}
	var attrs []any
	if !e.Node.IsZero() {
		attrs = append(attrs, "node", e.Node)
	}
	if !e.Other.IsZero() {
		attrs = append(attrs, "other", e.Other)
	}
	if e.Slot >= 0 {
		attrs = append(attrs, "slot", e.Slot)
	}
	if e.Epoch != 0 {
		attrs = append(attrs, "epoch", e.Epoch)
	}
	if e.Info != "" {
		attrs = append(attrs, "info", e.Info)
	}
	b.opt.Log.Log(context.Background(), level, e.What, attrs...)
}
