package sim

import (
	"fmt"
	"slices"

	"github.com/skeindb/skein/internal/cluster"
)

// Every fault is started by a draw of the seed, and undone after a while or
// when the world heals.
type faults struct {
	w      *World
	names  []string
	until  int64
	active []*undo

	membership bool // nodes were forgotten or reset: an operator must repair
}

// undo ends one fault, once.
type undo struct {
	done bool
	fn   func()
}

type faultKind struct {
	name string
	doc  string
	hit  func(f *faults)
}

// kinds are the faults by name, in the order they are documented.
var kinds = []faultKind{
	{"kill", "a process dies and is restarted; its connections close, nodes.conf is as last written", (*faults).kill},
	{"power", "a host loses power, at any time or just before or after a save; unsynced saves may be lost", (*faults).power},
	{"pause", "a process is stopped and continued", (*faults).pause},
	{"partition", "two groups of hosts cannot reach each other", (*faults).partition},
	{"oneway", "one group cannot reach another, but hears it", (*faults).oneway},
	{"isolate", "one host is alone", (*faults).isolate},
	{"reset", "connections break", (*faults).breakLinks},
	{"slow", "a host's messages take longer", (*faults).slow},
	{"clock", "a clock runs fast or slow, the wall clock jumps", (*faults).clock},
	{"failover", "CLUSTER FAILOVER on a replica, now and then with FORCE", (*faults).failover},
	{"bump", "CLUSTER BUMPEPOCH on several primaries at once, so that epochs collide", (*faults).bump},
	{"disk", "a disk refuses writes: the node ends when it must save", (*faults).refuse},
	{"meet", "CLUSTER MEET with a member, or an address where nobody is", (*faults).meet},
	{"setslot", "slots are opened, closed and moved by CLUSTER SETSLOT, or half so", (*faults).setslot},
	{"replicate", "CLUSTER REPLICATE sends a replica to another primary", (*faults).replicate},
	{"forget", "CLUSTER FORGET of a node, by some or by all", (*faults).forget},
	{"nodereset", "CLUSTER RESET of a replica, soft or hard", (*faults).reset},
	{"takeover", "CLUSTER FAILOVER TAKEOVER on a replica", (*faults).takeover},
	{"takeslots", "a primary takes slots of another one, as at the end of their migration", (*faults).takeSlots},
}

// DefaultFaults are all that need no operator who forces things or takes nodes
// out of the cluster.
func DefaultFaults() []string {
	var names []string
	for _, k := range kinds {
		switch k.name {
		case "takeover", "takeslots", "forget", "nodereset", "setslot", "replicate":
		default:
			names = append(names, k.name)
		}
	}
	return names
}

// AllFaults are all there are.
func AllFaults() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// CheckFaults tells whether names are names of faults.
func CheckFaults(names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(kinds, func(k faultKind) bool { return k.name == name }) {
			return fmt.Errorf("sim: no fault %q", name)
		}
	}
	return nil
}

// begin lets faults strike until a time, T apart at most.
func (f *faults) begin(w *World, until int64) {
	f.w, f.until = w, until
	if f.names = w.opt.Faults; f.names == nil {
		f.names = DefaultFaults()
	}
	if len(f.names) > 0 {
		w.after(w.between(0, second), f.strike)
	}
}

func (f *faults) strike() {
	w := f.w
	if w.now >= f.until {
		return
	}
	name := f.names[w.rnd.IntN(len(f.names))]
	for _, k := range kinds {
		if k.name == name {
			k.hit(f)
		}
	}
	w.after(w.between(50*ms, f.timeouts(1)), f.strike)
}

// timeouts is n node timeouts.
func (f *faults) timeouts(n int64) int64 { return n * int64(f.w.cfg.NodeTimeout) * ms }

// lasting registers what ends a fault, after a time of a tenth of T to 5T.
func (f *faults) lasting(fn func()) {
	u := &undo{fn: fn}
	f.active = append(f.active, u)
	f.w.after(f.w.between(f.timeouts(1)/10, f.timeouts(5)), u.run)
}

func (u *undo) run() {
	if !u.done {
		u.done = true
		u.fn()
	}
}

// heal ends all faults at once.
func (f *faults) heal(w *World) {
	f.until = w.now
	for _, u := range f.active {
		u.run()
	}
	f.active = nil
	for _, n := range w.nodes {
		n.dieAtSave, n.diskRefuses = dieNot, false
		n.resume()
		n.restart()
	}
	w.net.retransmit()
}

func (f *faults) any() *node { return f.w.nodes[f.w.rnd.IntN(len(f.w.nodes))] }

// victims are one node, or a few, or a whole shard: a primary and all that
// follow it, to the first node's knowledge.
func (f *faults) victims() []*node {
	w, first := f.w, f.any()
	if first.view == nil || w.rnd.IntN(4) > 0 {
		return []*node{first}
	}
	if w.chance(2) {
		list := []*node{first}
		for range w.rnd.IntN(1 + len(w.nodes)/3) {
			if n := f.any(); !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
		return list
	}
	me := first.view.Myself()
	primary := me.ID
	if !me.Primary.IsZero() {
		primary = me.Primary
	}
	var list []*node
	for _, n := range w.nodes {
		if n.view != nil && (n.id == primary || n.view.Myself().Primary == primary) {
			list = append(list, n)
		}
	}
	return list
}

func (f *faults) kill() {
	for _, n := range f.victims() {
		n.kill()
		f.lasting(n.restart)
	}
}

func (f *faults) power() {
	for _, n := range f.victims() {
		switch f.w.rnd.IntN(3) {
		case 0:
			n.losePower()
			f.lasting(n.restart)
		case 1:
			n.dieAtSave = dieBeforeSave
			f.lasting(func() { n.dieAtSave = dieNot; n.restart() })
		case 2:
			n.dieAtSave = dieAfterSave
			f.lasting(func() { n.dieAtSave = dieNot; n.restart() })
		}
	}
}

func (f *faults) pause() {
	for _, n := range f.victims() {
		n.pause()
		boot := n.boot
		f.lasting(func() {
			if n.boot == boot {
				n.resume()
			}
		})
	}
}

// split draws a group, of a few hosts up to half of them.
func (f *faults) split() (inside []*node, outside []*node) {
	w := f.w
	in := make([]bool, len(w.nodes))
	for range 1 + w.rnd.IntN(max(len(w.nodes)/2, 1)) {
		in[w.rnd.IntN(len(in))] = true
	}
	for i, n := range w.nodes {
		if in[i] {
			inside = append(inside, n)
		} else {
			outside = append(outside, n)
		}
	}
	return inside, outside
}

func (f *faults) partition() {
	a, b := f.split()
	f.cut(a, b, true)
}

func (f *faults) oneway() {
	a, b := f.split()
	if f.w.chance(2) {
		a, b = b, a
	}
	f.cut(a, b, false)
}

func (f *faults) isolate() {
	n := f.any()
	var rest []*node
	for _, o := range f.w.nodes {
		if o != n {
			rest = append(rest, o)
		}
	}
	f.cut([]*node{n}, rest, true)
}

func (f *faults) cut(from, to []*node, both bool) {
	w := f.w
	w.tracef(nil, "cut %v from %v, both=%v", from, to, both)
	set := func(by int) {
		for _, a := range from {
			for _, b := range to {
				w.net.cut(a, b, by)
				if both {
					w.net.cut(b, a, by)
				}
			}
		}
	}
	set(1)
	f.lasting(func() {
		w.tracef(nil, "cut of %v mended", from)
		set(-1)
		w.net.retransmit()
	})
}

func (f *faults) breakLinks() {
	w := f.w
	n := f.any()
	w.tracef(n, "connections reset")
	all := w.chance(2)
	for _, c := range slices.Clone(w.net.conns) {
		if c.stands && (c.ends[0].node == n || c.ends[1].node == n) && (all || w.chance(4)) {
			w.net.lose(c, 0, false)
			w.net.lose(c, 1, false)
		}
	}
}

func (f *faults) slow() {
	n := f.any()
	d := f.w.between(10*ms, 800*ms)
	f.w.tracef(n, "slowed by %d ms", d/ms)
	f.w.net.slow[n.i] += d
	f.lasting(func() { f.w.net.slow[n.i] -= d })
}

func (f *faults) clock() {
	n := f.any()
	if f.w.chance(2) {
		n.skew += cluster.Millis(f.w.between(-7_200_000, 7_200_000))
	} else {
		n.skew += cluster.Millis(f.w.between(-2000, 2000))
	}
	n.drift(f.w.between(-20_000, 20_000))
	f.w.tracef(n, "clock off by %d ms, %d ppm", n.skew, n.driftPPM)
}

// replica draws a running replica, nil if none is found.
func (f *faults) replica() *node {
	for range 20 {
		n := f.any()
		if n.up && !n.paused && n.view.Myself().Flags.Has(cluster.FlagReplica) {
			return n
		}
	}
	return nil
}

func (f *faults) failover() {
	if n := f.replica(); n != nil {
		mode := cluster.FailoverDefault
		if f.w.chance(4) {
			mode = cluster.FailoverForce
		}
		was := n.failover
		n.failover = mode
		if n.admin(cluster.Failover{Mode: mode}) != nil {
			n.failover = was // that one goes on
		}
	}
}

func (f *faults) bump() {
	for range 2 + f.w.rnd.IntN(3) {
		if n := f.any(); n.up && !n.paused && n.view.Myself().Flags.Has(cluster.FlagPrimary) {
			n.admin(cluster.BumpEpoch{})
		}
	}
}

func (f *faults) takeover() {
	if n := f.replica(); n != nil {
		n.admin(cluster.Failover{Mode: cluster.FailoverTakeover})
	}
}
