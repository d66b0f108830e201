package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// world is a small network of machines in virtual time: messages take one
// millisecond, ticks come every 100, nothing is random but the seeded draws.
// It is the driver of this package's tests; package sim has the real one.
type world struct {
	t     *testing.T
	now   Millis
	peers []*peer
	queue []delivery // in order of time
	conns uint64
	rnd   *rand.Rand
	cut   map[[2]int]bool // no bytes pass, in either direction
	trace bool
}

type peer struct {
	w       *world
	i       int
	m       *Machine
	cfg     Settings
	ip      string
	down    bool
	conns   map[LinkID]*conn
	saved   *NodesConf
	view    *View
	events  []Event
	effects []Effect
	sent    []sentMsg
	offset  uint64
	linkAge Millis // reported data age; -1 = never up
	noPause bool   // PauseWrites is never confirmed
	mute    bool   // its gossip sections are empty
	keys    map[int]int
	drains  int
	views   int
}

type sentMsg struct {
	at  Millis
	to  int // peer index, -1 if unknown
	msg *Message
}

// conn is one end of a connection.
type conn struct {
	id     LinkID
	owner  *peer
	far    *conn
	broken bool
}

type delivery struct {
	at Millis
	do func()
}

func (p *peer) Keys() int {
	n := 0
	for _, k := range p.keys {
		n += k
	}
	return n
}
func (p *peer) KeysInSlot(slot int) int { return p.keys[slot] }

// testTimeout is T in most tests.
const testTimeout Millis = 2000

func newWorld(t *testing.T, n int, tune ...func(i int, s *Settings)) *world {
	t.Helper()
	w := &world{t: t, now: 1_000_000, rnd: rand.New(rand.NewPCG(7, 11)), cut: map[[2]int]bool{}}
	for i := range n {
		p := &peer{w: w, i: i, ip: fmt.Sprintf("10.0.0.%d", i+1), conns: map[LinkID]*conn{}, keys: map[int]int{}}
		p.cfg = DefaultSettings()
		p.cfg.NodeTimeout = testTimeout
		p.cfg.Ports = Addr{Port: 7000, BusPort: 17000}
		p.cfg.Keys = p
		for _, f := range tune {
			f(i, &p.cfg)
		}
		w.peers = append(w.peers, p)
		p.start(nil)
	}
	return w
}

func (w *world) times() Times { return Times{Mono: w.now, Wall: w.now + 1_700_000_000_000} }

func (p *peer) start(boot *NodesConf) {
	p.down = false
	p.m = New(p.cfg, rand.NewPCG(uint64(p.i+1), uint64(p.w.now)), boot, p.w.times())
	p.drain()
}

// crash stops a node at once: its connections break.
func (w *world) crash(i int) {
	p := w.peers[i]
	p.down = true
	for _, c := range p.conns {
		w.breakConn(c)
	}
}

func (w *world) restart(i int) { w.peers[i].start(w.peers[i].saved) }

func (w *world) after(d Millis, do func()) {
	at := w.now + d
	k := len(w.queue)
	for k > 0 && w.queue[k-1].at > at {
		k--
	}
	w.queue = append(w.queue, delivery{})
	copy(w.queue[k+1:], w.queue[k:])
	w.queue[k] = delivery{at, do}
}

// breakConn closes both ends; the far machine hears of it a millisecond later.
func (w *world) breakConn(c *conn) {
	if c.broken {
		return
	}
	c.broken = true
	delete(c.owner.conns, c.id)
	if f := c.far; f != nil {
		w.after(1, func() {
			if !f.broken {
				f.broken = true
				delete(f.owner.conns, f.id)
				f.owner.step(LinkDown{Link: f.id})
			}
		})
	}
}

func (w *world) isCut(a, b int) bool { return w.cut[[2]int{min(a, b), max(a, b)}] }

// partition cuts every pair of nodes that are not in the same group.
func (w *world) partition(groups ...[]int) {
	in := map[int]int{}
	for g, list := range groups {
		for _, i := range list {
			in[i] = g
		}
	}
	for a := range w.peers {
		for b := a + 1; b < len(w.peers); b++ {
			w.cut[[2]int{a, b}] = in[a] != in[b]
		}
	}
}

func (w *world) heal() { clear(w.cut) }

func (p *peer) step(in Input) {
	if p.down {
		return
	}
	p.m.Step(p.w.times(), in)
	p.drain()
}

// admin runs a command and returns its error text, "" if none.
func (p *peer) admin(c Command) string {
	_, err := p.m.Admin(p.w.times(), c)
	p.drain()
	if err != nil {
		return err.Error()
	}
	return ""
}

func (p *peer) must(c Command) {
	p.w.t.Helper()
	if e := p.admin(c); e != "" {
		p.w.t.Fatalf("node %d: %T%+v: %s", p.i, c, c, e)
	}
}

func (p *peer) drain() {
	w := p.w
	if err := p.m.CheckInvariants(); err != nil {
		w.t.Fatalf("t=%d node %d: %v", w.now, p.i, err)
	}
	rd := p.m.Ready()
	if rd.Save != nil {
		p.saved = rd.Save
	}
	if rd.View != nil {
		p.view = rd.View
		p.views++
	}
	if p.drains++; p.drains%32 == 0 {
		p.checkView()
	}
	for _, e := range rd.Effects {
		p.effects = append(p.effects, e)
		switch e := e.(type) {
		case Event:
			p.events = append(p.events, e)
			if w.trace {
				w.t.Logf("t=%d node %d: %s", w.now, p.i, e)
			}
		case PauseWrites:
			if !p.noPause {
				w.after(1, func() {
					p.step(p.localFacts())
					p.step(Done{e.ID})
				})
			}
		case DropSlotKeys:
			for slot := range e.Slots.All() {
				delete(p.keys, slot)
			}
		case FlushAll:
			clear(p.keys)
		}
	}
	for _, id := range rd.Close {
		if c := p.conns[id]; c != nil {
			w.breakConn(c)
		}
	}
	for _, d := range rd.Dial {
		c := &conn{id: d.Link, owner: p}
		p.conns[d.Link] = c
		w.after(1, func() { w.connect(c, d) })
	}
	for _, e := range rd.Send {
		if p.mute && e.Msg.Gossip != nil {
			quiet := *e.Msg
			quiet.Gossip = nil
			e.Msg = &quiet
		}
		c := p.conns[e.Link]
		to := -1
		if c != nil && c.far != nil {
			to = c.far.owner.i
		}
		p.sent = append(p.sent, sentMsg{w.now, to, e.Msg})
		if c == nil {
			continue
		}
		if c.far == nil { // connecting: the message waits
			w.after(2, func() { w.deliver(c, e.Msg) })
			continue
		}
		w.after(1, func() { w.deliver(c, e.Msg) })
	}
}

func (w *world) connect(c *conn, d Dial) {
	if c.broken || c.owner.down {
		return
	}
	var to *peer
	for _, p := range w.peers {
		if p.ip == d.IP && p.cfg.Ports.BusPort == d.Port {
			to = p
		}
	}
	if to != nil && w.isCut(c.owner.i, to.i) {
		return // a black hole: no answer at all
	}
	if to == nil || to.down {
		c.broken = true
		delete(c.owner.conns, c.id)
		c.owner.step(LinkDown{Link: c.id, Refused: true})
		return
	}
	w.conns++
	f := &conn{id: InboundLink(w.conns), owner: to, far: c}
	c.far = f
	to.conns[f.id] = f
	to.step(Accepted{f.id})
	c.owner.step(LinkUp{c.id})
}

func (w *world) deliver(c *conn, msg *Message) {
	f := c.far
	if c.broken && f == nil || f == nil || f.broken || w.isCut(c.owner.i, f.owner.i) {
		return
	}
	f.owner.step(Recv{Link: f.id, Msg: msg, PeerIP: c.owner.ip, LocalIP: f.owner.ip})
}

func (p *peer) localFacts() Local {
	l := Local{ReplOffset: p.offset, PrimaryLinkAge: p.linkAge}
	s := p.m.self
	if s.isReplica() && s.primary != nil {
		if q := p.w.byID(s.primary.id); q != nil && !q.down && !p.w.isCut(p.i, q.i) {
			l.PrimaryLinkUp = true
			p.linkAge = 0
		} else if p.linkAge >= 0 {
			p.linkAge += TickPeriod
		}
		l.PrimaryLinkAge = p.linkAge
	}
	return l
}

func (w *world) byID(id NodeID) *peer {
	for _, p := range w.peers {
		if p.m.self.id == id {
			return p
		}
	}
	return nil
}

// run lets d milliseconds pass.
func (w *world) run(d Millis) {
	end := w.now + d
	for {
		next := (w.now/TickPeriod + 1) * TickPeriod
		for len(w.queue) > 0 && w.queue[0].at < min(next, end+1) {
			q := w.queue[0]
			w.queue = w.queue[1:]
			w.now = max(w.now, q.at)
			q.do()
		}
		if next > end {
			w.now = end
			return
		}
		w.now = next
		for _, p := range w.peers {
			p.step(p.localFacts())
			p.step(Tick{})
		}
	}
}

// until lets time pass until cond holds, at most limit milliseconds, and returns
// how long it took.
func (w *world) until(limit Millis, what string, cond func() bool) Millis {
	w.t.Helper()
	start := w.now
	for w.now-start < limit {
		if cond() {
			return w.now - start
		}
		w.run(10)
	}
	if cond() {
		return w.now - start
	}
	w.t.Fatalf("not within %d ms: %s\n%s", limit, what, w.dump())
	return 0
}

// dump prints every node's view, for failures.
func (w *world) dump() string {
	s := ""
	for _, p := range w.peers {
		s += fmt.Sprintf("node %d %v down=%v state=%d size=%d currentEpoch=%d\n", p.i, p.m.self.id, p.down, p.m.state, p.m.size, p.m.currentEpoch)
		for _, n := range p.m.nodes {
			pr := ""
			if n.primary != nil {
				pr = n.primary.id.String()[:6]
			}
			s += fmt.Sprintf("    %s flags=%04x epoch=%d slots=%d primary=%s reports=%d out=%v in=%v\n",
				n.id.String()[:6], uint16(n.flags), n.configEpoch, n.slotCount, pr, len(n.reports), n.out != nil, n.in != nil)
		}
		for _, e := range p.events[max(0, len(p.events)-8):] {
			s += fmt.Sprintf("      . %s\n", e)
		}
	}
	return s
}

func (w *world) id(i int) NodeID     { return w.peers[i].m.self.id }
func (w *world) idText(i int) string { return w.peers[i].m.self.id.String() }

// sees returns what node i thinks of node j, nil if unknown.
func (w *world) sees(i, j int) *node { return w.peers[i].m.byID[w.id(j)] }

// all tells whether f holds for every running node.
func (w *world) all(f func(p *peer) bool) bool {
	for _, p := range w.peers {
		if !p.down && !f(p) {
			return false
		}
	}
	return true
}

// meetAll lets node 0 meet all others and waits until everyone knows everyone.
func (w *world) meetAll() {
	w.t.Helper()
	for i := 1; i < len(w.peers); i++ {
		w.peers[0].must(Meet{IP: w.peers[i].ip, Port: 7000})
	}
	w.until(20*testTimeout, "all nodes know each other", func() bool {
		return w.all(func(p *peer) bool {
			for _, n := range p.m.nodes {
				if n.inHandshake() {
					return false
				}
			}
			return len(p.m.nodes) == len(w.peers)
		})
	})
}

// newCluster builds a running cluster: shards[k] replicas for the k-th primary.
// Nodes 0..len(shards)-1 are the primaries, the replicas follow in order.
func newCluster(t *testing.T, shards []int, tune ...func(i int, s *Settings)) *world {
	t.Helper()
	n := len(shards)
	total := n
	for _, r := range shards {
		total += r
	}
	w := newWorld(t, total, tune...)
	for k := range n {
		var slots []int
		for s := k * SlotCount / n; s < (k+1)*SlotCount/n; s++ {
			slots = append(slots, s)
		}
		w.peers[k].must(AddSlots{Slots: slots})
		w.peers[k].must(SetConfigEpoch{Epoch: int64(k + 1)})
	}
	w.meetAll()
	i := n
	for k, r := range shards {
		for range r {
			w.peers[i].must(Replicate{Node: w.idText(k)})
			i++
		}
	}
	w.until(10*testTimeout, "state ok and replicas known everywhere", func() bool { return w.settled() })
	return w
}

// settled tells whether all running nodes are ok and agree on roles and owners.
func (w *world) settled() bool {
	var first *peer
	return w.all(func(p *peer) bool {
		if p.m.state != StateOK {
			return false
		}
		if first == nil {
			first = p
		}
		if len(p.m.nodes) != len(first.m.nodes) {
			return false
		}
		for _, n := range p.m.nodes {
			o := first.m.byID[n.id]
			if o == nil || n.isPrimary() != o.isPrimary() || !n.slots.Equal(o.slots) ||
				(n.primary == nil) != (o.primary == nil) || n.primary != nil && n.primary.id != o.primary.id {
				return false
			}
		}
		return true
	})
}
