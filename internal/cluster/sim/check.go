package sim

import (
	"fmt"

	"github.com/skeindb/skein/internal/cluster"
)

// checker holds the world to the invariants of the protocol specification,
// section 15, whose numbers it reports. It sees only what leaves the machines:
// messages, saves and views.
type checker struct {
	w       *World
	votes   map[vote]cluster.NodeID   // who got it
	tally   map[vote]int              // votes sent to a candidate, by candidate and epoch
	sound   map[vote]int              // those of them from seats that are not held twice
	shards  int                       // shards with slots; nothing in a world changes it
	winners map[uint64]cluster.NodeID // by election epoch
	byID    map[cluster.NodeID]*node  // who runs under an id
}

type vote struct {
	voter cluster.NodeID
	epoch uint64
}

// checkState is what the checker remembers about one process.
type checkState struct {
	lastClaim  claims           // what each primary last said it owns
	superseded int64            // when another was elected in its place, 0 = not
	lost       *cluster.SlotSet // the slots of its that the other won
	successor  uint64           // with this epoch
	divided    bool             // the other won by votes of seats held twice
	untold     int64            // when it last heard nobody who knew of that
	seizedFrom *node            // whose seat it has without a majority's consent
	okSince    int64            // when its cluster state became ok
	running    int64            // since when it runs without long pause
	fresh      *numbers         // who sent something since then; nil once a majority did
	ownEpoch   uint64           // of its last time as a primary
	moved      bool             // slots moved since whole
	known      evidence
}

func (c *checker) init(w *World) {
	c.w = w
	c.votes = map[vote]cluster.NodeID{}
	c.tally = map[vote]int{}
	c.sound = map[vote]int{}
	c.winners = map[uint64]cluster.NodeID{}
	c.byID = map[cluster.NodeID]*node{}
}

func (s *checkState) restart(now int64) {
	s.lastClaim = nil
	s.known = newEvidence()
	s.awake(now)
}

// awake begins a stretch without pause: what was sent before it proves nothing
// about the cluster of now.
func (s *checkState) awake(now int64) {
	s.running = now
	s.fresh = new(numbers)
}

// heard notes claims before the machine sees them.
func (s *checkState) heard(known *ids, m *cluster.Message) {
	switch m.Type {
	case cluster.TypePing, cluster.TypePong, cluster.TypeMeet:
		if m.ReplicaOf.IsZero() {
			s.lastClaim.set(known.of(&m.Sender), m.Slots)
		}
	case cluster.TypeUpdate:
		s.lastClaim.set(known.of(&m.Update.Node), m.Update.Slots)
	}
}

// started checks that a process has what its predecessor saved (3, 2).
func (c *checker) started(n *node, conf *cluster.NodesConf) {
	c.byID[n.id] = n
	if conf == nil {
		return
	}
	if n.view.CurrentEpoch < conf.CurrentEpoch || n.view.LastVoteEpoch < conf.LastVoteEpoch {
		c.w.fail(n, "3", "restarted with epochs %d/%d, saved were %d/%d",
			n.view.CurrentEpoch, n.view.LastVoteEpoch, conf.CurrentEpoch, conf.LastVoteEpoch)
	}
	c.loaded(n, conf)
	for _, nv := range n.view.Nodes {
		if nv.Flags.Has(cluster.FlagFail) {
			n.state.known.failedAt[nv.ID] = n.times().Mono
		}
	}
}

// sending checks a message before it is on the wire, to a node named for votes only: one vote an epoch (1), and
// nothing that would not survive losing power (2, 10).
func (c *checker) sending(n, to *node, m *cluster.Message) {
	w, disk := c.w, n.disk.synced
	if m.Light {
		return
	}
	switch m.Type {
	case cluster.TypePing, cluster.TypePong, cluster.TypeMeet:
		c.gossiping(n, m)
	case cluster.TypeAuthAck:
		k := vote{n.view.Myself().ID, m.CurrentEpoch}
		if first, ok := c.votes[k]; ok {
			w.fail(n, "1", "second vote in epoch %d, the first went to %v", k.epoch, first)
		}
		if to != nil {
			c.votes[k] = to.id
			c.tally[vote{to.id, k.epoch}]++
			if !n.seatHeldTwice() {
				c.sound[vote{to.id, k.epoch}]++
			}
		}
		if disk == nil || disk.LastVoteEpoch < m.CurrentEpoch {
			w.fail(n, "2", "vote in epoch %d sent before it was synced", m.CurrentEpoch)
		}
	case cluster.TypeAuthRequest:
		if disk == nil || disk.CurrentEpoch < m.CurrentEpoch {
			w.fail(n, "10", "election of epoch %d announced before it was synced", m.CurrentEpoch)
		}
	}
	if m.Sender != n.view.Myself().ID || m.CurrentEpoch > n.view.CurrentEpoch && m.Type != cluster.TypeAuthRequest {
		w.fail(n, "3", "header of %v says epoch %d, the view %d", m.Type, m.CurrentEpoch, n.view.CurrentEpoch)
	}
	if m.ReplicaOf.IsZero() && m.ConfigEpoch > 0 && (disk == nil || m.ConfigEpoch > disk.CurrentEpoch) {
		w.fail(n, "10", "configEpoch %d sent before it was synced", m.ConfigEpoch)
	}
}

// viewChanged compares a node's new view with the one before: 3, 4, 6, 7, and 8
// and 9 by the machine's own walk when slots moved.
func (c *checker) viewChanged(n *node, old *cluster.View) {
	w, v := c.w, n.view
	me := v.Myself()
	w.mix(uint64(n.i), v.CurrentEpoch, v.LastVoteEpoch, uint64(v.State), uint64(me.Flags), me.ConfigEpoch)
	for i, nv := range v.Nodes {
		if old != nil && i < len(old.Nodes) && old.Nodes[i] == nv {
			continue
		}
		if nv.ConfigEpoch > v.CurrentEpoch {
			w.fail(n, "3", "currentEpoch %d, but %v has configEpoch %d", v.CurrentEpoch, nv.ID, nv.ConfigEpoch)
		}
		if old == nil {
			continue
		}
		was := counterpart(old, i, nv)
		if was != nil && old.Myself().ID == me.ID && was.Flags.Has(cluster.FlagPrimary) && nv.Flags.Has(cluster.FlagPrimary) && nv.ConfigEpoch < was.ConfigEpoch {
			w.fail(n, "7", "configEpoch of %v fell from %d to %d", nv.ID, was.ConfigEpoch, nv.ConfigEpoch)
		}
	}
	if old == nil {
		c.whole(n)
		return
	}
	if old.Myself().ID != me.ID { // RESET HARD: another node
		n.id = me.ID
		c.byID[me.ID] = n
		n.state.known = newEvidence()
		c.whole(n)
		return
	}
	c.members(n, old, v)
	if v.CurrentEpoch < old.CurrentEpoch {
		w.fail(n, "3", "currentEpoch fell from %d to %d", old.CurrentEpoch, v.CurrentEpoch)
	}
	if v.LastVoteEpoch < old.LastVoteEpoch {
		w.fail(n, "2", "lastVoteEpoch fell from %d to %d", old.LastVoteEpoch, v.LastVoteEpoch)
	}
	if v.State != old.State {
		w.tracef(n, "state %d, size %d", v.State, v.Size)
		n.state.okSince = w.now
	}
	was := old.Myself()
	took := was.Flags.Has(cluster.FlagReplica) && me.Flags.Has(cluster.FlagPrimary)
	if took && n.adminThisStep {
		n.state.fresh = nil // who commands TAKEOVER answers for it
		n.state.seizedFrom = c.byID[was.Primary]
	}
	if took && me.ConfigEpoch == n.state.ownEpoch && v.CurrentEpoch == old.CurrentEpoch {
		took = false // it has yielded to a node that follows it, and is the primary again
	}
	if me.Flags.Has(cluster.FlagPrimary) {
		n.state.ownEpoch = me.ConfigEpoch
	} else {
		n.state.seizedFrom = nil
	}
	if took && !n.adminThisStep {
		w.res.Elections++
		if id, taken := c.winners[me.ConfigEpoch]; taken && id != me.ID && !c.bothElected(id, me.ID, me.ConfigEpoch) {
			w.fail(n, "4", "won the election of epoch %d, which %v had won", me.ConfigEpoch, id)
		}
		c.winners[me.ConfigEpoch] = me.ID
		c.promoted(n, old)
	}
	if v.Owners != old.Owners {
		c.rebound(n, old, v)
		n.state.moved = true
	}
}

// counterpart is what another view says of the i-th node of a view, nil if it does
// not know it.
func counterpart(old *cluster.View, i int, nv *cluster.NodeView) *cluster.NodeView {
	if i < len(old.Nodes) && old.Nodes[i].ID == nv.ID {
		return old.Nodes[i] // mostly they have the same places
	}
	return old.Node(nv.ID)
}

// bothElected tells whether two winners of one epoch had the votes of a majority
// of the shards each. The protocol cannot prevent that: who votes is not agreed
// on, so the old primary of a shard, which has not heard of its successor, and
// the successor can each give their vote. The collision of epochs that follows
// is resolved like any other. With fewer votes than that an election was not
// won by the rules.
func (c *checker) bothElected(a, b cluster.NodeID, epoch uint64) bool {
	most := c.shards/2 + 1
	return c.tally[vote{a, epoch}] >= most && c.tally[vote{b, epoch}] >= most
}

// seatHeldTwice tells whether two nodes vote for this primary's shard: it took
// the slots of another by TAKEOVER, or by votes of those who had, and that one
// has not heard of it. From then on two majorities need have no node in common.
func (n *node) seatHeldTwice() bool {
	p := n.state.seizedFrom
	return p != nil && p.view != nil && p.view.Myself().Flags.Has(cluster.FlagPrimary) && !common(p.view.Mine, n.view.Mine).Empty()
}

// promoted checks what an election may put in charge: data that is not too old
// (15), and after a manual failover in agreement all that the old primary has
// acknowledged (16).
func (c *checker) promoted(n *node, old *cluster.View) {
	w, me := c.w, n.view.Myself()
	p := c.byID[old.Myself().Primary]
	election, most := vote{me.ID, me.ConfigEpoch}, c.shards/2+1
	divided := c.tally[election] >= most && c.sound[election] < most
	n.state.seizedFrom = nil
	if divided {
		n.state.seizedFrom = p
	}
	if p != nil && p.view != nil && p.state.superseded == 0 {
		if lost := common(p.view.Mine, n.view.Mine); !lost.Empty() {
			p.state.superseded, p.state.lost, p.state.successor, p.state.divided = w.now, lost, me.ConfigEpoch, divided
		}
	}
	if n.repl.partial {
		w.fail(n, "15", "won without a complete copy of the data")
	}
	if !old.ManualFailover {
		if f := w.cfg.ReplicaValidityFactor; f > 0 {
			// The age is taken in whole seconds, less one T, at each tick.
			most := w.cfg.ReplPingPeriod + w.cfg.NodeTimeout*cluster.Millis(f+1) + 1200
			if age := n.local().PrimaryLinkAge; age < 0 || age > most {
				w.fail(n, "15", "won with data %d ms old, at most %d may win", age, most)
			}
		}
		return
	}
	// With the primary failed it was the automatic failover that went ahead.
	primary := old.Node(old.Myself().Primary)
	if primary == nil || p == nil {
		return
	}
	if n.failover == cluster.FailoverDefault && !primary.Flags.Has(cluster.FlagFail) && p.up && p.repl.offset > n.repl.offset {
		w.fail(n, "16", "manual failover at offset %d, node %d is at %d", n.repl.offset, p.i, p.repl.offset)
	}
}

// common is what two sets share. A replica that knew of none of its primary's
// slots takes none over.
func common(a, b *cluster.SlotSet) *cluster.SlotSet {
	c := new(cluster.SlotSet)
	for i := range a {
		c[i] = a[i] & b[i]
	}
	return c
}

// serving checks at a tick that a primary that takes writes may (14, 25). It has
// heard from a majority of primaries since it was started, or woke from a pause
// longer than T. And when a successor was elected in its place it stops: cut off
// from a majority it notices by itself, else it is told. Pings are T/2 apart and
// given up after T; slow hosts, drifting clocks and long-broken connections take
// the rest. That it is told rests on the two majorities, its own and the one that
// elected the other, having a node in common. After a TAKEOVER across a cut they
// need not, for both nodes of that shard vote (13 nodes, all faults, seed 798):
// one replaced by such votes is not late while nobody it hears knows of it.
func (c *checker) serving(n *node) {
	v, s := n.view, &n.state
	if s.fresh != nil && v.State == cluster.StateOK && !v.Mine.Empty() {
		votes := 1
		for _, nv := range v.Nodes {
			if nv.Flags.Has(cluster.FlagPrimary) && !nv.Slots.Empty() && s.fresh.has(c.w.ids.of(&nv.ID)) {
				votes++
			}
		}
		if votes < v.Size/2+1 {
			c.w.fail(n, "14", "serves %d ms after its start or pause, having heard from %d of %d primaries",
				(c.w.now-s.running)/ms, votes, v.Size)
		}
		s.fresh = nil
	}
	if s.superseded == 0 {
		return
	}
	// It may rightly keep slots that its successor had not heard of, and a command
	// or a collision may have given it an epoch to win the others back with.
	if me := v.Myself(); common(s.lost, v.Mine).Empty() || me.Flags.Has(cluster.FlagReplica) || me.ConfigEpoch >= s.successor {
		s.superseded = 0
		return
	}
	if s.divided && !c.hearsOfSuccessor(n) {
		s.untold = c.w.now
	}
	since := max(s.superseded, s.running, s.okSince, s.untold)
	if limit := 2*int64(c.w.cfg.NodeTimeout)*ms + 3*second; v.State == cluster.StateOK && c.w.now-since > limit {
		c.w.fail(n, "14", "still serves %d ms after its successor was elected", (c.w.now-since)/ms)
	}
}

// hearsOfSuccessor tells whether a node that answers n knows a newer owner of
// slots that n lost: it would say so.
func (c *checker) hearsOfSuccessor(n *node) bool {
	v, me := n.view, n.view.Myself()
	lost := common(n.state.lost, v.Mine)
	for _, nv := range v.Nodes {
		o := c.byID[nv.ID]
		if nv == me || nv.Flags.Any(cluster.FlagPFail|cluster.FlagFail|cluster.FlagHandshake) || o == nil || o.view == nil {
			continue
		}
		for slot := range lost.All() {
			if i := o.view.Owners[slot]; i != cluster.NoSlotOwner && o.view.Nodes[i].ID != me.ID && o.view.Nodes[i].ConfigEpoch > me.ConfigEpoch {
				return true
			}
		}
	}
	return false
}

// rebound checks that each slot that changed owner in n's view may have (6).
func (c *checker) rebound(n *node, old, v *cluster.View) {
	if n.adminThisStep {
		return
	}
	// Runs of slots between the same two owners are judged once.
	var from, to *cluster.NodeView
	var lastFrom, lastTo uint16 = cluster.NoSlotOwner, cluster.NoSlotOwner
	sameTable := len(old.Nodes) == len(v.Nodes)
	for i := 0; sameTable && i < len(v.Nodes); i++ {
		sameTable = v.Nodes[i].ID == old.Nodes[i].ID
	}
	const run = 64 // slots compared at once
	for slot := 0; slot < cluster.SlotCount; slot++ {
		if sameTable && slot%run == 0 && [run]uint16(old.Owners[slot:]) == [run]uint16(v.Owners[slot:]) {
			slot += run - 1
			continue
		}
		a, b := old.Owners[slot], v.Owners[slot]
		if a == cluster.NoSlotOwner || a == b && sameTable {
			continue
		}
		if a != lastFrom || b != lastTo || from == nil {
			from, to = old.Nodes[a], nil
			if b != cluster.NoSlotOwner {
				to = v.Nodes[b]
			}
			lastFrom, lastTo = a, b
		}
		if to != nil && to.ID == from.ID {
			continue
		}
		if why := c.illegal(n, slot, old, v, from, to); why != "" {
			c.w.fail(n, "6", "slot %d of %v went to %v: %s", slot, from.ID, idOf(to), why)
			return
		}
	}
}

func idOf(n *cluster.NodeView) cluster.NodeID {
	if n == nil {
		return cluster.NodeID{}
	}
	return n.ID
}

// illegal tells why a slot may not go from one node to another, "" if it may.
func (c *checker) illegal(n *node, slot int, old, v *cluster.View, from, to *cluster.NodeView) string {
	now := counterpart(v, int(old.Owners[slot]), from)
	if now == nil || from.Flags.Has(cluster.FlagReplica) || now.Flags.Has(cluster.FlagReplica) {
		return "" // the owner was deleted or demoted
	}
	if to == nil {
		return "its owner is still a primary"
	}
	me := v.Myself()
	if to.ID == me.ID {
		was := old.Myself()
		if was.Flags.Has(cluster.FlagReplica) && was.Primary == from.ID {
			return "" // promotion
		}
		return "taken by this node without promotion"
	}
	if to.ConfigEpoch > from.ConfigEpoch {
		return ""
	}
	if from.ID == me.ID && to.ConfigEpoch > old.Header(cluster.TypePong, 0).ConfigEpoch {
		return "" // just started from its file, it claims its slots with epoch 0
	}
	if c := n.state.lastClaim.of(c.w.ids.of(&from.ID)); c.heard && !c.slots.Has(slot) {
		return "" // its owner gave it up
	}
	return fmt.Sprintf("epoch %d against %d", to.ConfigEpoch, from.ConfigEpoch)
}

// whole walks the machine's state (3, 6 to 9 locally): at the tick after slots
// moved, for what is wrong then does not right itself, and by chance.
func (c *checker) whole(n *node) {
	n.state.moved = false
	if !n.up {
		return
	}
	if err := n.m.CheckInvariants(); err != nil {
		c.w.fail(n, "8", "%v", err)
	}
}

// agreed returns nil if all nodes see one cluster, complete and serving: same
// members, roles, owners and epochs, nobody failed, no replica of a replica, no
// epoch twice (5, 9, 18, 19, 21). The error says what is different.
func (c *checker) agreed() error {
	nodes := c.w.nodes
	views := make([]*cluster.View, len(nodes))
	truth := map[cluster.NodeID]*cluster.NodeView{}
	for i, n := range nodes {
		if !n.up || n.paused {
			return fmt.Errorf("node %d does not run", i)
		}
		views[i] = n.view
		me := views[i].Myself()
		truth[me.ID] = me
	}
	epochs := map[uint64]cluster.NodeID{}
	covered := 0
	for i := range nodes {
		me := views[i].Myself()
		if me.Flags.Has(cluster.FlagReplica) {
			if p := truth[me.Primary]; p == nil || !p.Flags.Has(cluster.FlagPrimary) {
				return fmt.Errorf("node %d follows %v, which is no primary", i, me.Primary)
			}
			continue
		}
		if n := me.Slots.Len(); n > 0 {
			covered += n
			if other, taken := epochs[me.ConfigEpoch]; taken {
				return fmt.Errorf("node %d has configEpoch %d like %v", i, me.ConfigEpoch, other)
			}
			epochs[me.ConfigEpoch] = me.ID
		}
	}
	if covered != cluster.SlotCount {
		return fmt.Errorf("%d slots have an owner", covered)
	}
	for i, v := range views {
		if v.State != cluster.StateOK {
			return fmt.Errorf("node %d: cluster state fail", i)
		}
		if v.ClusterID != views[0].ClusterID {
			return fmt.Errorf("node %d has cluster id %x, node 0 %x", i, v.ClusterID, views[0].ClusterID)
		}
		if len(v.Nodes) != len(nodes) {
			return fmt.Errorf("node %d knows %d nodes", i, len(v.Nodes))
		}
		for _, nv := range v.Nodes {
			own := truth[nv.ID]
			switch role := cluster.FlagPrimary | cluster.FlagReplica; {
			case own == nil:
				return fmt.Errorf("node %d knows %v, which is nobody's id", i, nv.ID)
			case nv.Flags.Any(cluster.FlagPFail | cluster.FlagFail | cluster.FlagHandshake | cluster.FlagNoAddr):
				return fmt.Errorf("node %d sees %v with flags %s", i, nv.ID, cluster.AppendFlags(nil, nv.Flags))
			case nv.Flags&role != own.Flags&role || nv.Primary != own.Primary:
				return fmt.Errorf("node %d sees %v as %s of %v, it is %s of %v", i, nv.ID,
					cluster.AppendFlags(nil, nv.Flags), nv.Primary, cluster.AppendFlags(nil, own.Flags), own.Primary)
			case nv.Flags.Has(cluster.FlagPrimary) && nv.ConfigEpoch != own.ConfigEpoch && !own.Slots.Empty():
				return fmt.Errorf("node %d thinks %v has configEpoch %d, it has %d", i, nv.ID, nv.ConfigEpoch, own.ConfigEpoch)
			case !nv.Slots.Equal(own.Slots):
				return fmt.Errorf("node %d thinks %v has %d slots, it has %d", i, nv.ID, nv.Slots.Len(), own.Slots.Len())
			case nv.ShardID != own.ShardID:
				return fmt.Errorf("node %d thinks %v is of shard %v, it is of %v", i, nv.ID, nv.ShardID, own.ShardID)
			}
		}
	}
	return nil
}
