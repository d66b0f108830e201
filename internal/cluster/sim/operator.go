package sim

import (
	"fmt"

	"github.com/skeindb/skein/internal/cluster"
)

// Faults that operators make: commands that are allowed at any time, given to
// the wrong node or at the wrong moment. What they break that no protocol can
// mend (a node forgotten, a new identity after RESET HARD) the operator mends
// after the faults, again by commands: see repair.

func (f *faults) refuse() {
	for _, n := range f.victims() {
		n.diskRefuses = true
		f.w.tracef(n, "disk refuses writes")
		f.lasting(func() { n.diskRefuses = false; n.restart() })
	}
}

// awake draws a running node, nil if none is found.
func (f *faults) awake() *node {
	for range 20 {
		if n := f.any(); n.up && !n.paused {
			return n
		}
	}
	return nil
}

func (f *faults) meet() {
	n := f.awake()
	if n == nil {
		return
	}
	ip := f.any().ip
	if f.w.chance(4) {
		ip = "10.255.255.1" // nobody's
	}
	n.admin(cluster.Meet{IP: ip, Port: clientPort})
}

// forget lets one node, or all that run, forget another.
func (f *faults) forget() {
	victim := f.any()
	f.membership = true
	all := f.w.chance(3)
	for _, n := range f.w.nodes {
		if n == victim || !n.up || n.paused || !all && !f.w.chance(len(f.w.nodes)) {
			continue
		}
		known := n.view.Node(victim.id) != nil // else it is forgotten already, and no longer for that
		if n.admin(cluster.Forget{Node: victim.id.String()}) == nil && known {
			n.state.forgot(victim.id, n.times().Mono+f.w.cfg.BlacklistTTL)
		}
	}
}

// reset takes a replica out of the cluster, with HARD under a new name.
func (f *faults) reset() {
	if n := f.replica(); n != nil {
		f.membership = true
		n.admin(cluster.Reset{Hard: f.w.chance(2)})
	}
}

// replicate sends a replica to another primary.
func (f *faults) replicate() {
	n, p := f.replica(), f.awake()
	if n != nil && p != nil && p != n {
		n.admin(cluster.Replicate{Node: p.id.String()})
	}
}

// setslot opens, closes or moves a slot: what redis-cli does, complete or broken
// off, and now and then nonsense. A slot is given away only by a node that sees
// the target own it, or by the target, so that it is never nobody's.
func (f *faults) setslot() {
	w := f.w
	slot := w.rnd.IntN(cluster.SlotCount)
	from, to := f.awake(), f.awake()
	for _, n := range w.nodes {
		if n.up && !n.paused && n.view.Mine.Has(slot) {
			from = n
		}
	}
	if from == nil || to == nil || from == to {
		return
	}
	set := func(n *node, a cluster.SlotAction, of *node) error {
		id := ""
		if of != nil {
			id = of.id.String()
		}
		return n.admin(cluster.SetSlot{Slot: slot, Action: a, Node: id})
	}
	switch w.rnd.IntN(6) {
	case 0:
		set(f.awake(), cluster.SlotStable, nil)
	case 1:
		set(to, cluster.SlotImporting, from)
	case 2:
		set(from, cluster.SlotMigrating, to)
	default:
		err := set(to, cluster.SlotImporting, from)
		if e := set(from, cluster.SlotMigrating, to); err == nil {
			err = e
		}
		if err == nil && from.up && to.up && set(to, cluster.SlotNode, to) == nil && from.up && w.chance(2) {
			set(from, cluster.SlotNode, to)
		}
	}
}

// takeSlots lets a primary claim up to half of the slots of another one, which
// has granted them a moment ago. Nobody else has heard of it: the claim may meet
// whatever happens to either side.
func (f *faults) takeSlots() {
	w := f.w
	from, to := f.awake(), f.awake()
	if from == nil || from == to || !to.view.Myself().Flags.Has(cluster.FlagPrimary) {
		return
	}
	n := from.view.Mine.Len() / 2
	if n < 50 { // shards do not end by this, the checker counts on them
		return
	}
	slots := new(cluster.SlotSet)
	slot := from.view.Mine.Next(0)
	for range 1 + w.rnd.IntN(n) {
		slots.Add(slot)
		slot = from.view.Mine.Next(slot + 1)
	}
	to.admin(cluster.TakeSlots{Slots: slots, From: from.id})
}

// repair is what an operator does after membership was changed: once a second
// everybody forgets the ids that nobody has, and nodes that do not know each
// other meet. It returns what was still to be done.
func (f *faults) repair() (todo int) {
	w := f.w
	alive := map[cluster.NodeID]*node{}
	for _, n := range w.nodes {
		if n.up && !n.paused {
			alive[n.view.Myself().ID] = n
		}
	}
	for _, n := range w.nodes {
		if !n.up || n.paused {
			continue
		}
		known := map[cluster.NodeID]bool{}
		for _, nv := range n.view.Nodes {
			known[nv.ID] = true
			if alive[nv.ID] == nil && !nv.Flags.Has(cluster.FlagHandshake) && nv.ID != n.view.Myself().Primary {
				todo++
				n.admin(cluster.Forget{Node: nv.ID.String()})
			}
		}
		if p := n.view.Myself().Primary; !p.IsZero() && alive[p] == nil {
			todo++
			n.admin(cluster.Reset{})
		}
		for _, o := range w.nodes {
			if alive[o.id] == o && !known[o.id] {
				todo++
				n.admin(cluster.Meet{IP: o.ip, Port: clientPort})
				break // gossip does the rest
			}
		}
	}
	return todo
}

// agreedOrRepaired is agreement, worked for.
func (w *World) agreedOrRepaired() error {
	if w.faults.membership {
		if n := w.faults.repair(); n > 0 {
			return fmt.Errorf("the operator had %d things to mend", n)
		}
	}
	return w.checker.agreed()
}
