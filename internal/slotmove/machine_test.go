package slotmove

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const (
	nodeA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	nodeB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	jobN  = "0123456789012345678901234567890123456789"
)

func someSlots(slots ...int) (s Slots) {
	for _, n := range slots {
		s.Add(n)
	}
	return s
}

func at(ms int64) Times { return Times{Mono: ms, Wall: 1_700_000_000_000 + ms} }

var testLimits = limits(5000, 1000)

func job() Job { return Job{Name: jobN, Slots: someSlots(1, 2), Source: nodeA, Target: nodeB} }

// say writes actions on one line.
func say(acts []Action) string {
	names := [...]string{"send", "freeze", "thaw", "hangup", "probe", "take", "show", "clean", "announce", "replicas"}
	var out []string
	for _, a := range acts {
		s := names[a.Kind]
		if a.Msg != nil {
			s += " " + a.Msg.Kind.String()
			if a.Msg.Kind == MsgFinish {
				s += " " + a.Msg.State.String()
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func msg(k Kind) Event { return Event{Kind: EvMsg, Msg: &Msg{Kind: k}} }

// The way of a migration that goes well, on both sides.
func TestGoodWay(t *testing.T) {
	x := NewExport(job(), testLimits, at(0))
	for n, s := range []struct {
		ev    Event
		want  string
		state string
	}{
		{Event{Kind: EvConnected, Flag: true}, "", "sending-auth-command"},
		{Event{Kind: EvSent}, "", "reading-auth-response"},
		{Event{Kind: EvReply, Text: "+OK"}, "", "sending-establish-command"},
		{Event{Kind: EvSent}, "", "reading-establish-response"},
		{Event{Kind: EvReply, Text: "+OK"}, "send ACK", "waiting-to-snapshot"},
		{Event{Kind: EvBegun}, "", "snapshotting"},
		{msg(MsgAck), "", "snapshotting"},
		{Event{Kind: EvLag, Lag: 0}, "", "snapshotting"},
		{Event{Kind: EvWalked}, "send SNAPSHOT-EOF", "replicating"},
		{msg(MsgPause), "", "waiting-to-pause"},
		{Event{Kind: EvLag, Lag: testLimits.PauseLag + 1}, "", "waiting-to-pause"},
		{Event{Kind: EvLag, Lag: testLimits.PauseLag}, "freeze", "waiting-to-pause"},
		{Event{Kind: EvLag, Lag: 0}, "", "waiting-to-pause"},
		{Event{Kind: EvFrozen}, "", "failover-paused"},
		{Event{Kind: EvDrained}, "send PAUSED", "failover-paused"},
		{msg(MsgResume), "thaw", "replicating"}, // and again
		{Event{Kind: EvLag, Lag: 0}, "", "replicating"},
		{msg(MsgPause), "", "waiting-to-pause"},
		{Event{Kind: EvLag, Lag: 0}, "freeze", "waiting-to-pause"},
		{Event{Kind: EvFrozen}, "", "failover-paused"},
		{Event{Kind: EvDrained}, "send PAUSED", "failover-paused"},
		{msg(MsgFailover), "send FAILOVER-GRANTED", "failover-granted"},
		{Event{Kind: EvOwner, Owner: OwnedBySource}, "", "failover-granted"},
		{Event{Kind: EvCancel}, "", "failover-granted"},
		{Event{Kind: EvFail, Text: "no"}, "", "failover-granted"},
		{Event{Kind: EvOwner, Owner: OwnedByTarget}, "thaw, hangup", "success"},
		{Event{Kind: EvLost}, "", "success"},
	} {
		if got := say(x.Step(at(int64(n)), s.ev)); got != s.want || x.State.String() != s.state {
			t.Fatalf("source, step %d: %q in %s, want %q in %s", n, got, x.State, s.want, s.state)
		}
	}
	i := NewImport(job(), testLimits, at(0))
	if i.State != WaitingForAck || !i.Import {
		t.Errorf("target begins in %s", i.State)
	}
	for n, s := range []struct {
		ev    Event
		want  string
		state string
	}{
		{msg(MsgAck), "send ACK", "receiving-snapshot"},
		{Event{Kind: EvOwner, Owner: OwnedBySource}, "", "receiving-snapshot"},
		{msg(MsgEOF), "replicas", "waiting-for-paused"},
		{msg(MsgAck), "send ACK", "waiting-for-paused"},
		{Event{Kind: EvReplicated, Flag: true}, "send REQUEST-PAUSE", "waiting-for-paused"},
		{msg(MsgAck), "send ACK", "waiting-for-paused"},
		{msg(MsgPaused), "replicas", "waiting-for-paused"},
		{Event{Kind: EvReplicated}, "send REQUEST-RESUME, replicas", "waiting-for-paused"}, // and again
		{Event{Kind: EvReplicated, Flag: true}, "send REQUEST-PAUSE", "waiting-for-paused"},
		{msg(MsgPaused), "replicas", "waiting-for-paused"},
		{Event{Kind: EvReplicated, Flag: true}, "send REQUEST-FAILOVER", "failover-requested"},
		{Event{Kind: EvReplicated, Flag: true}, "", "failover-requested"},
		{msg(MsgGranted), "announce TAKING, replicas", "failover-granted"},
		{Event{Kind: EvReplicated, Flag: true}, "take", "failover-granted"},
		{Event{Kind: EvCancel}, "", "failover-granted"},
		{Event{Kind: EvClosed}, "", "failover-granted"},
		{Event{Kind: EvTaken}, "show, announce FINISH success, send FINISH success", "success"},
		{Event{Kind: EvCancel}, "", "success"},
	} {
		if got := say(i.Step(at(int64(n)), s.ev)); got != s.want || i.State.String() != s.state {
			t.Fatalf("target, step %d: %q in %s, want %q in %s", n, got, i.State, s.want, s.state)
		}
	}
}

// toState leads a source's machine to a state.
func toState(t *testing.T, s State) *Export {
	x := NewExport(job(), testLimits, at(0))
	for _, ev := range []Event{{Kind: EvConnected, Flag: true}, {Kind: EvSent}, {Kind: EvReply, Text: "+OK"}, {Kind: EvSent}, {Kind: EvReply, Text: "+OK"},
		{Kind: EvBegun}, {Kind: EvWalked}, msg(MsgPause), {Kind: EvLag}, {Kind: EvFrozen}, {Kind: EvDrained}, msg(MsgFailover)} {
		if x.State == s {
			return x
		}
		x.Step(at(1), ev)
	}
	if x.State != s {
		t.Fatalf("no way to %s", s)
	}
	return x
}

// In each state of the source before the grant, each fault ends the job at once,
// writes go on, and nothing is granted afterwards; the same in each state of the
// target, which then deletes what it has before the job is over.
func TestFaultsInEachState(t *testing.T) {
	faults := map[string]struct {
		ev    Event
		state State
	}{
		"cancel": {Event{Kind: EvCancel}, Cancelled}, "fail": {Event{Kind: EvFail, Text: "why"}, Failed}, "lost": {Event{Kind: EvLost, Text: "why"}, Failed},
		"owner":               {Event{Kind: EvOwner, Owner: OwnedByOther}, Failed},
		"target failed":       {Event{Kind: EvMsg, Msg: &Msg{Kind: MsgFinish, State: Failed, Text: "why"}}, Failed},
		"target cancelled":    {Event{Kind: EvMsg, Msg: &Msg{Kind: MsgFinish, State: Cancelled}}, Cancelled},
		"success out of turn": {Event{Kind: EvMsg, Msg: &Msg{Kind: MsgFinish, State: Success}}, Failed},
		"message of a target": {msg(MsgGranted), Failed},
	}
	for s := Connecting; s <= FailoverPaused; s++ {
		for name, f := range faults {
			x := toState(t, s)
			frozen := x.Frozen()
			acts := say(x.Step(at(2), f.ev))
			if x.State != f.state || x.Frozen() || frozen != strings.Contains(acts, "thaw") || !strings.HasSuffix(acts, "hangup") {
				t.Errorf("%s in %s: %s, %q, frozen before %v", name, s, x.State, acts, frozen)
			}
			if told := strings.Contains(acts, "FINISH "+f.state.String()); told == (name == "lost") {
				t.Errorf("%s in %s: the target is told: %v", name, s, told)
			}
			if got := x.Step(at(3), msg(MsgFailover)); len(got) > 0 {
				t.Errorf("%s in %s: %q after the end", name, s, say(got))
			}
		}
		if s == WaitingToSnapshot {
			continue // others have their turn
		}
		x := toState(t, s)
		x.Step(at(testLimits.Silence+2), Event{Kind: EvTick})
		if x.State != Failed {
			t.Errorf("silence in %s: %s", s, x.State)
		}
	}
	for s := WaitingForAck; s <= FailoverGranted; s++ {
		revoke := ""
		if s == FailoverGranted { // the replicas know that, and hear first that it is over
			revoke = "announce TAKING, "
		}
		for name, f := range faults {
			i := NewImport(job(), testLimits, at(0))
			for _, k := range []Kind{MsgAck, MsgEOF, MsgPaused, MsgGranted} {
				if i.State != s {
					i.Step(at(1), msg(k))
				}
				if i.State < FailoverGranted {
					i.Step(at(1), Event{Kind: EvReplicated, Flag: true}) // nothing waits after MsgAck
				}
			}
			if name == "message of a target" {
				f.ev = msg(MsgPause)
			}
			acts := say(i.Step(at(2), f.ev))
			if i.State != CleaningUp {
				t.Fatalf("%s in %s: %s", name, s, i.State)
			}
			if name != "lost" && acts != revoke+"send FINISH "+f.state.String()+", hangup" {
				t.Errorf("%s in %s: %q", name, s, acts)
			}
			if got := i.Step(at(3), msg(MsgGranted)); len(got) > 0 {
				t.Errorf("%s in %s: %q on a grant after the end", name, s, say(got))
			}
			if got := say(i.Step(at(4), Event{Kind: EvClosed})); got != "clean" {
				t.Errorf("%s in %s: %q when the connection is over", name, s, got)
			}
			if got := say(i.Step(at(5), Event{Kind: EvCleaned})); got != "announce FINISH "+f.state.String() || i.State != f.state {
				t.Errorf("%s in %s: %q, %s after cleaning", name, s, got, i.State)
			}
		}
	}
}

// Once the target's heir has asked for the slots the source waits for that one, as long
// as it would have waited for the target, but not for ever; what the target says does not
// count any more.
func TestHeirAsks(t *testing.T) {
	if toState(t, FailoverPaused).Inherit(at(2), heirID) {
		t.Error("the slots were not granted yet")
	}
	asked := testLimits.Hold - 10
	gone := func(ev Event) *Export {
		x := toState(t, FailoverGranted)
		if !x.Inherit(at(asked), heirID) {
			t.Fatal("granted, and the heir is refused")
		}
		if acts := say(x.Step(at(asked+5), ev)); x.State != FailoverGranted && acts != "thaw, hangup" || x.Target != heirID {
			t.Errorf("%q in %s of %s", acts, x.State, x.Target)
		}
		return x
	}
	for _, tt := range []struct {
		name string
		ev   Event
		over bool
	}{
		{"the target gives up", Event{Kind: EvMsg, Msg: &Msg{Kind: MsgFinish, State: Failed}}, false},
		{"the target, started again, knows nothing", Event{Kind: EvProbed, Node: nodeB, Text: probeNever}, false},
		{"the heir has the answer", Event{Kind: EvProbed, Node: heirID, Text: probeWait}, false},
		{"the heir gives up", Event{Kind: EvProbed, Node: heirID, Text: probeNever}, true},
		{"the claim has come", Event{Kind: EvOwner, Owner: OwnedByTarget}, true},
	} {
		x := gone(tt.ev)
		if x.State.Final() != tt.over {
			t.Errorf("%s: %s", tt.name, x.State)
		}
		if tt.over {
			continue
		}
		if x.Step(at(asked+testLimits.Hold), Event{Kind: EvTick}); x.State != FailoverGranted {
			t.Errorf("%s: %s before the heir's time is over", tt.name, x.State)
		}
		if !x.Inherit(at(testLimits.HoldAll), heirID) || x.Inherit(at(testLimits.HoldAll+2), heirID) {
			t.Errorf("%s: not until HoldAll, or after it", tt.name)
		}
		if x.Step(at(testLimits.HoldAll+testLimits.Hold+1), Event{Kind: EvTick}); x.State != Failed || x.Frozen() {
			t.Errorf("%s: %s after all", tt.name, x.State)
		}
	}
}

// Goal: whatever happens between the two sides, whenever: writes never go on at
// the source if the target takes the slots, and one of the two ends up with them.
// Method: both machines in a world with delays, broken connections, dead nodes,
// commands and time, run from seeds.
func TestWorlds(t *testing.T) {
	seeds := 20_000
	if testing.Short() {
		seeds = 3_000
	}
	outcomes := map[string]int{}
	for seed := range seeds {
		w := newWorld(uint64(seed))
		if err := w.run(); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(w.trace, "\n"))
		}
		outcomes[w.x.State.String()+"/"+w.i.State.String()]++
		if w.heir.over {
			outcomes["heir "+w.heir.outcome+" "+w.heir.told]++
		}
	}
	t.Log(outcomes)
	for _, want := range []string{"success/success", "failed/failed", "cancelled/cancelled", "heir taken GRANTED", "heir dropped NEVER", "heir dropped "} {
		if outcomes[want] == 0 {
			t.Errorf("no world ended %s", want)
		}
	}
}

type packet struct {
	due int64
	m   *Msg
	end bool // of the connection
}

type world struct {
	rnd              *rand.Rand
	now              int64
	x                *Export
	i                *Import
	toX, toI         []packet
	up               bool
	dead             bool // the target's process
	owner            Owner
	claimAt          int64 // the source hears of the claim; 0: there is none
	takeAt           int64
	replicasAt       int64 // ActReplicas is over
	replicasHave     bool  // ... in time
	frozen           bool
	resumed          bool // writes went on after a freeze, the source being the owner by its own view
	probeAt          int64
	walkAt, drainAt  int64
	closeAt, cleanAt int64
	probed           string // node that is asked
	back             bool   // the target's process was started again, and knows nothing
	heir             heir
	shown, cleaned   bool
	trace            []string
}

func newWorld(seed uint64) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 1)), up: true}
	w.x = NewExport(job(), testLimits, at(0))
	w.i = NewImport(job(), testLimits, at(0))
	for _, ev := range []Event{{Kind: EvConnected}, {Kind: EvSent}, {Kind: EvReply, Text: "+OK"}} {
		w.stepX(ev)
	}
	return w
}

func (w *world) delay() int64 {
	if w.rnd.IntN(100) == 0 {
		return w.rnd.Int64N(3000) // a stall
	}
	return w.rnd.Int64N(5)
}

func (w *world) put(q *[]packet, p packet) {
	if !w.up {
		return
	}
	p.due = w.now + w.delay()
	if n := len(*q); n > 0 {
		p.due = max(p.due, (*q)[n-1].due)
	}
	*q = append(*q, p)
}

func (w *world) stepX(ev Event) {
	before := w.x.State
	acts := w.x.Step(at(w.now), ev)
	if w.x.State != before || len(acts) > 0 {
		w.trace = append(w.trace, fmt.Sprintf("%6d source %d: %s -> %s %s", w.now, ev.Kind, before, w.x.State, say(acts)))
	}
	for _, a := range acts {
		switch a.Kind {
		case ActSend:
			w.put(&w.toI, packet{m: a.Msg})
		case ActFreeze:
			w.frozen, w.resumed = true, false
			w.stepX(Event{Kind: EvFrozen})
			w.drainAt = w.now + w.delay()
		case ActThaw:
			w.frozen = false
			w.resumed = w.resumed || w.owner == OwnedBySource
		case ActHangUp:
			w.put(&w.toI, packet{end: true})
			w.up = false
		case ActProbe:
			w.probed, w.probeAt = w.x.Target, w.now+w.delay()
		}
	}
}

func (w *world) stepI(ev Event) {
	if w.dead {
		return
	}
	before := w.i.State
	acts := w.i.Step(at(w.now), ev)
	if w.i.State != before || len(acts) > 0 {
		w.trace = append(w.trace, fmt.Sprintf("%6d target %d: %s -> %s %s", w.now, ev.Kind, before, w.i.State, say(acts)))
	}
	for _, a := range acts {
		switch a.Kind {
		case ActSend:
			w.put(&w.toX, packet{m: a.Msg})
		case ActHangUp:
			w.put(&w.toX, packet{end: true})
			w.closeAt = w.now + w.delay()
		case ActReplicas:
			limit, _ := w.i.ReplicaWait()
			d := w.delay()
			w.replicasAt, w.replicasHave = w.now+1+min(d, limit), d <= limit
		case ActTake:
			w.takeAt = w.now + w.delay()
		case ActShow:
			w.shown = true
		case ActClean:
			w.cleanAt = w.now + w.delay()
		case ActAnnounce:
			if a.Msg.Kind == MsgTaking {
				w.heir.whole = a.Msg.Left > 0 && w.rnd.IntN(5) > 0
			}
		}
	}
}

// cut breaks the connection; what is under way may still come.
func (w *world) cut() {
	w.put(&w.toX, packet{end: true})
	w.put(&w.toI, packet{end: true})
	w.up = false
}

func due(t *int64, now int64) bool {
	if *t != 0 && now >= *t {
		*t = 0
		return true
	}
	return false
}

func (w *world) run() error {
	w.walkAt = w.now + 1 + w.rnd.Int64N(300)
	fault, faultAt := w.rnd.IntN(12), w.rnd.Int64N(340)
	if fault == 7 {
		faultAt = -1
	}
	w.stepX(Event{Kind: EvBegun})
	for ; w.now < 20_000; w.now++ {
		if fault == 7 && !w.dead && w.i.State == FailoverGranted {
			faultAt = w.now + w.rnd.Int64N(2)
		}
		if w.now == faultAt {
			switch fault {
			case 0:
				w.stepX(Event{Kind: EvCancel})
			case 1:
				w.stepI(Event{Kind: EvCancel})
			case 2:
				w.cut()
			case 3:
				w.stepX(Event{Kind: EvFail, Text: "flushed"})
			case 4:
				w.stepI(Event{Kind: EvFail, Text: "out of memory"})
			case 5, 6, 7: // kill -9, or one just when it takes the slots
				w.dead, w.toI, w.closeAt, w.cleanAt = true, nil, 0, 0
				if w.takeAt != 0 && w.now <= w.i.TakeUntil() && w.rnd.IntN(2) == 0 {
					w.take() // saved, and then it died
				}
				w.takeAt = 0
				w.cut()
				if w.claimAt == 0 && w.owner == OwnedBySource {
					w.heir.nextAt = w.now + 1 + w.rnd.Int64N(6000)
				}
			}
		}
		if due(&w.walkAt, w.now) {
			w.stepX(Event{Kind: EvWalked})
		}
		if due(&w.drainAt, w.now) {
			w.stepX(Event{Kind: EvDrained})
		}
		for len(w.toX) > 0 && w.toX[0].due <= w.now {
			p := w.toX[0]
			w.toX = w.toX[1:]
			if p.end {
				w.stepX(Event{Kind: EvLost, Text: "lost"})
			} else {
				w.stepX(Event{Kind: EvMsg, Msg: p.m})
			}
		}
		for len(w.toI) > 0 && w.toI[0].due <= w.now {
			p := w.toI[0]
			w.toI = w.toI[1:]
			if p.end {
				w.stepI(Event{Kind: EvClosed})
			} else if w.closeAt == 0 {
				w.stepI(Event{Kind: EvMsg, Msg: p.m})
			}
		}
		if due(&w.closeAt, w.now) {
			w.stepI(Event{Kind: EvClosed})
		}
		if due(&w.replicasAt, w.now) {
			w.stepI(Event{Kind: EvReplicated, Flag: w.replicasHave})
		}
		if due(&w.takeAt, w.now) {
			if w.now > w.i.TakeUntil() {
				w.stepI(Event{Kind: EvRefused, Text: "late"})
			} else {
				w.take()
				w.stepI(Event{Kind: EvTaken})
			}
		}
		if due(&w.cleanAt, w.now) {
			w.cleaned = true
			w.stepI(Event{Kind: EvCleaned})
		}
		if due(&w.claimAt, w.now) {
			w.owner = OwnedByTarget
		}
		if w.owner == OwnedByTarget {
			w.stepX(Event{Kind: EvOwner, Owner: OwnedByTarget})
		}
		if due(&w.probeAt, w.now) {
			w.stepX(Event{Kind: EvProbed, Node: w.probed, Text: w.probe()})
		}
		w.back = w.back || w.dead && w.rnd.IntN(2000) == 0
		w.stepHeir()
		if w.x.State == WaitingToPause && w.now%3 == 0 {
			w.stepX(Event{Kind: EvLag, Lag: w.rnd.Int64N(1 << 20)})
		}
		if w.now%100 == 0 {
			w.stepX(Event{Kind: EvTick})
			w.stepI(Event{Kind: EvTick})
		}
		if w.frozen != w.x.Frozen() {
			return fmt.Errorf("frozen %v, and the machine says %v", w.frozen, w.x.Frozen())
		}
		if w.resumed && (w.claimAt != 0 || w.owner == OwnedByTarget) {
			return fmt.Errorf("writes went on at the source although the target has claimed the slots")
		}
		if w.shown && w.cleaned {
			return fmt.Errorf("the target deleted slots that it has taken")
		}
	}
	switch {
	case !w.x.State.Final():
		return fmt.Errorf("the source is still in %s", w.x.State)
	case !w.dead && !w.i.State.Final():
		return fmt.Errorf("the target is still in %s", w.i.State)
	case (w.x.State == Success) != (w.owner == OwnedByTarget):
		return fmt.Errorf("%s, and the owner is %d", w.x.State, w.owner)
	case !w.dead && (w.i.State == Success) != (w.owner == OwnedByTarget), !w.dead && w.shown != (w.i.State == Success), !w.dead && w.cleaned == w.shown:
		return fmt.Errorf("target %s, shown %v, cleaned %v, owner %d", w.i.State, w.shown, w.cleaned, w.owner)
	}
	return nil
}

// take is the claim. Some member tells the source before Hold is over.
func (w *world) take() { w.claimAt = w.now + 1 + w.rnd.Int64N(1000) }

// heir is who has succeeded a target that died, as heir.go does it; 0: not waited for.
type heir struct {
	whole   bool // TAKING was heard
	over    bool // it has deleted what came, or taken it
	nextAt  int64
	asked   int64
	askAt   int64 // the question arrives
	toldAt  int64 // the answer does
	told    string
	takeAt  int64
	outcome string
}

const heirID = "cccccccccccccccccccccccccccccccccccccccc"

// late is a delay beside which the others are short: a node is stopped.
func (w *world) late() int64 {
	if w.rnd.IntN(4) == 0 {
		return w.rnd.Int64N(6000)
	}
	return w.delay()
}

func (w *world) stepHeir() {
	h := &w.heir
	end := func(outcome string) {
		h.over, h.outcome = true, outcome
		w.trace = append(w.trace, fmt.Sprintf("%6d heir: %s, answered %q", w.now, outcome, h.told))
	}
	if due(&h.nextAt, w.now) {
		if !h.whole {
			end("dropped")
			return
		}
		h.asked, h.askAt = w.now, w.now+1+w.late()
	}
	if due(&h.askAt, w.now) {
		switch {
		case w.x.Inherit(at(w.now), heirID):
			h.told = inheritGranted
		case w.owner == OwnedByTarget:
			h.told = inheritTaken
		default:
			h.told = inheritNever
		}
		h.toldAt = w.now + 1 + w.late()
	}
	if due(&h.toldAt, w.now) {
		if h.told == inheritNever {
			end("dropped")
			return
		}
		h.takeAt = w.now + 1 + w.late()
	}
	if due(&h.takeAt, w.now) {
		if w.now > h.asked+testLimits.GrantTTL || w.rnd.IntN(4) == 0 { // refused
			h.nextAt = w.now + 100
			return
		}
		w.take()
		end("taken")
	}
}

// probe is what the driver answers.
func (w *world) probe() string {
	switch {
	case w.probed == heirID && w.heir.outcome == "taken":
		return probeTaken
	case w.probed == heirID && !w.heir.over:
		return probeWait
	case w.probed == heirID, w.back && w.claimAt == 0 && w.owner == OwnedBySource:
		return probeNever
	case w.dead:
		return ""
	}
	w.stepI(Event{Kind: EvFail, Text: "lost"})
	switch {
	case w.i.Taking():
		return probeWait
	case w.claimAt != 0 || w.owner == OwnedByTarget:
		return probeTaken
	}
	return probeNever
}

// Limits must leave the source more time than the target has.
func TestLimits(t *testing.T) {
	if l := limits(60_000, 15_000); l.Hold <= l.GrantTTL || l.Pause >= l.GrantTTL {
		t.Errorf("%+v", l)
	}
	if !slices.IsSorted([]State{Success, Cancelled, Failed}) || FailoverPaused.Final() {
		t.Error("order of states")
	}
}
