package sim

import (
	"slices"

	"github.com/skeindb/skein/internal/cluster"
)

// Invariants about failures, membership and gossip (11 to 13, 17, 20 to 22, 24,
// 30). Like check.go this sees only messages, saves and views; what a machine
// counts is counted here again.

// evidence is what one process has been told.
type evidence struct {
	reports    accusations
	failMsg    cluster.NodeID // named by the FAIL message being received
	failedAt   map[cluster.NodeID]cluster.Millis
	forgotten  map[cluster.NodeID]cluster.Millis // until when
	handshakes map[cluster.NodeID]int64          // since when in the view
}

func newEvidence() evidence {
	return evidence{failedAt: map[cluster.NodeID]cluster.Millis{},
		forgotten: map[cluster.NodeID]cluster.Millis{}, handshakes: map[cluster.NodeID]int64{}}
}

func (s *checkState) forgot(id cluster.NodeID, until cluster.Millis) { s.known.forgotten[id] = until }

// told notes what a message says about others, before the machine sees it.
func (e *evidence) told(known *ids, v *cluster.View, m *cluster.Message, now cluster.Millis) {
	e.failMsg = cluster.NodeID{}
	if m.Type == cluster.TypeFail {
		e.failMsg = m.Fail
	}
	by := known.of(&m.Sender)
	for i := range m.Gossip {
		if g := &m.Gossip[i]; g.Flags.Any(cluster.FlagFail | cluster.FlagPFail) {
			e.reports.set(by, known.of(&g.Node), now)
		}
	}
	for _, f := range m.Ext.Forgotten { // a peer's word is as good, about others than oneself and one's primary
		nv := v.Node(f.Node)
		if nv == nil || nv.Flags.Has(cluster.FlagMyself) || nv.ID == v.Myself().Primary || v.Node(m.Sender) == nil {
			continue
		}
		e.forgotten[f.Node] = now + cluster.Millis(min(f.TTLSec, 1<<30))*1000 - 1000
	}
}

// withdrew notes after the machine's step whom a message does not call failing any
// more. One that says that its sender is a replica, while the view still has it as a
// primary, is from before it became one, held back on its way: the machine drops it,
// and what it says is older than the reports.
func (e *evidence) withdrew(known *ids, v *cluster.View, m *cluster.Message) {
	by := known.of(&m.Sender)
	if !e.reports.some(by) {
		return
	}
	old := !m.ReplicaOf.IsZero() // perhaps, to be looked up if it matters
	for i := range m.Gossip {
		g := &m.Gossip[i]
		if g.Flags.Any(cluster.FlagFail | cluster.FlagPFail) {
			continue
		}
		about := known.of(&g.Node)
		if e.reports.at(by, about) == 0 {
			continue
		}
		if old {
			if nv := v.Node(m.Sender); nv != nil && nv.Flags.Has(cluster.FlagPrimary) {
				return
			}
			old = false
		}
		e.reports.withdraw(by, about)
	}
}

// members checks what changed in the list of nodes: 11, 12, 13, 20.
func (c *checker) members(n *node, old, v *cluster.View) {
	e := &n.state.known
	now := n.times().Mono
	for i, nv := range v.Nodes {
		if i < len(old.Nodes) && old.Nodes[i] == nv {
			continue
		}
		was := counterpart(old, i, nv)
		if was == nil {
			c.entered(n, old, nv, now)
			continue
		}
		switch failed, before := nv.Flags.Has(cluster.FlagFail), was.Flags.Has(cluster.FlagFail); {
		case failed && !before:
			e.failedAt[nv.ID] = now
			if !c.mayFail(n, old, v, nv, now) {
				c.w.fail(n, "11", "%v is FAIL without a quorum, a FAIL message or another node at its address", nv.ID)
			}
		case before && !failed && !n.adminThisStep:
			T := c.w.cfg.NodeTimeout
			at, timed := e.failedAt[nv.ID]
			kept := was.Flags.Has(cluster.FlagPrimary) && nv.Flags.Has(cluster.FlagPrimary) && !was.Slots.Empty() && !nv.Slots.Empty()
			if timed && kept && now-at <= 2*T {
				c.w.fail(n, "13", "%v is no longer FAIL after %d ms, with its slots", nv.ID, now-at)
			}
			delete(e.failedAt, nv.ID)
		}
	}
	if len(v.Nodes) != len(old.Nodes) || len(e.handshakes) > 0 {
		c.handshakes(n, v)
	}
}

// mayFail looks for a cause of FAIL (11), counting only what voting primaries
// said in the last 2T (12). Who votes may have changed in this very step.
func (c *checker) mayFail(n *node, old, v *cluster.View, nv *cluster.NodeView, now cluster.Millis) bool {
	e := &n.state.known
	if e.failMsg == nv.ID || nv.Flags.Has(cluster.FlagNoAddr) {
		return true
	}
	votes, about := 0, c.w.ids.of(&nv.ID)
	both := v.Nodes
	for _, o := range old.Nodes {
		if v.Node(o.ID) == nil {
			both = append(slices.Clip(both), o)
		}
	}
	for _, o := range both {
		if was := old.Node(o.ID); was != nil && was.Flags.Has(cluster.FlagPrimary) && !was.Slots.Empty() {
			o = was
		}
		if !o.Flags.Has(cluster.FlagPrimary) || o.Slots.Empty() {
			continue
		}
		if o.Flags.Has(cluster.FlagMyself) {
			votes++
		} else if at := e.reports.at(c.w.ids.of(&o.ID), about); at != 0 && now-at <= 2*c.w.cfg.NodeTimeout {
			votes++
		}
	}
	return votes >= min(v.Size, old.Size)/2+1
}

// entered checks a new member: one that was forgotten may come back by a
// handshake, but not from gossip (20).
func (c *checker) entered(n *node, old *cluster.View, nv *cluster.NodeView, now cluster.Millis) {
	e := &n.state.known
	if nv.Flags.Has(cluster.FlagFail) {
		e.failedAt[nv.ID] = now
	}
	until, forgotten := e.forgotten[nv.ID]
	if !forgotten || nv.Flags.Has(cluster.FlagHandshake) {
		return
	}
	delete(e.forgotten, nv.ID)
	for _, o := range old.Nodes {
		if o.Flags.Has(cluster.FlagHandshake) {
			return // that is how it came back, or might be
		}
	}
	if now < until {
		c.w.fail(n, "20", "%v was forgotten and is back %d ms before its time", nv.ID, until-now)
	}
}

// handshakes keeps the list of unfinished handshakes (21).
func (c *checker) handshakes(n *node, v *cluster.View) {
	e := &n.state.known
	since := map[cluster.NodeID]int64{}
	for _, nv := range v.Nodes {
		if nv.Flags.Has(cluster.FlagHandshake) {
			if since[nv.ID] = c.w.now; e.handshakes[nv.ID] != 0 {
				since[nv.ID] = e.handshakes[nv.ID]
			}
		}
	}
	e.handshakes = since
}

// ticked checks after the cron that no handshake outlives its time (21). The
// clock may be two percent slow and the cron late.
func (c *checker) ticked(n *node) {
	for id, at := range n.state.known.handshakes {
		limit := max(int64(c.w.cfg.NodeTimeout), 1000)*ms*103/100 + 300*ms
		if since := max(at, n.state.running); c.w.now-since > limit && c.w.now-n.resumedAt > limit {
			c.w.fail(n, "21", "handshake %v lives since %d ms", id, (c.w.now-since)/ms)
		}
	}
}

// gossiping checks the gossip section of a message about to be sent: never self
// or a handshake (21), no more than N-2 but for suspects (30).
func (c *checker) gossiping(n *node, m *cluster.Message) {
	healthy := 0
	for i := range m.Gossip {
		g := &m.Gossip[i]
		if g.Flags.Any(cluster.FlagMyself) {
			c.w.fail(n, "30", "gossips about itself")
		}
		if g.Flags.Has(cluster.FlagHandshake) {
			c.w.fail(n, "21", "gossips handshake %v", g.Node)
		}
		if !g.Flags.Has(cluster.FlagPFail) {
			healthy++
		}
	}
	if most := max(len(n.view.Nodes), n.members) - 2; healthy > max(most, 0) {
		c.w.fail(n, "30", "%d gossip entries without suspicion, at most %d", healthy, most)
	}
}

// saved checks a nodes.conf about to be written: no handshake in it (21).
func (c *checker) saved(n *node, conf *cluster.NodesConf) {
	for i := range conf.Nodes {
		if conf.Nodes[i].Flags.Has(cluster.FlagHandshake) {
			c.w.fail(n, "21", "nodes.conf holds handshake %v", conf.Nodes[i].ID)
		}
	}
}

// answered checks after a PING or MEET that it got its PONG, one on a link that
// the peer dialled (22).
func (c *checker) answered(n *node, l cluster.LinkID, t cluster.Type, pongs int, open bool) {
	if open && n.up && (pongs == 0 || l.Inbound() && pongs > 1) {
		c.w.fail(n, "22", "%v got %d PONGs", t, pongs)
	}
}

// paused checks that no write is taken while headers promise that none is (17).
func (c *checker) paused(n *node) {
	if n.view.Paused && !n.writesPaused && n.view.Myself().Flags.Has(cluster.FlagPrimary) {
		c.w.fail(n, "17", "takes writes while its headers say PAUSED")
	}
}

// loaded compares what a process starts with and what its predecessor saved (24).
func (c *checker) loaded(n *node, conf *cluster.NodesConf) {
	v := n.view
	for i := range conf.Nodes {
		cn := &conf.Nodes[i]
		nv := v.Node(cn.ID)
		const role = cluster.FlagPrimary | cluster.FlagReplica | cluster.FlagMyself
		switch {
		case nv == nil:
			c.w.fail(n, "24", "%v of nodes.conf is unknown after the start", cn.ID)
		case nv.Flags&role != cn.Flags&role || nv.Primary != cn.Primary || nv.Addr != cn.Addr && !cn.Flags.Has(cluster.FlagMyself):
			c.w.fail(n, "24", "%v was saved as %x of %v at %v, loaded as %x of %v at %v", cn.ID, cn.Flags, cn.Primary, cn.Addr, nv.Flags, nv.Primary, nv.Addr)
		case cn.Primary.IsZero() && nv.ConfigEpoch != cn.ConfigEpoch:
			c.w.fail(n, "24", "%v was saved with configEpoch %d, loaded with %d", cn.ID, cn.ConfigEpoch, nv.ConfigEpoch)
		case !nv.Slots.Equal(cn.Slots) && !cn.Flags.Has(cluster.FlagReplica|cluster.FlagMyself):
			c.w.fail(n, "24", "%v was saved with %d slots, loaded with %d", cn.ID, cn.Slots.Len(), nv.Slots.Len())
		}
	}
}
