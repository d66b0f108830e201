package cluster

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// lab is one machine whose peers are forged by the test: every peer has an
// outbound and an inbound link that stand.
type lab struct {
	t       *testing.T
	m       *Machine
	cfg     Settings
	now     Millis
	out, in map[NodeID]LinkID
	conns   uint64
	sent    []Envelope
	effects []Effect
	saves   int // saves
	syncs   int // saves that were synced
	closed  map[LinkID]bool
	dials   []Dial
	keys    map[int]int

	unsynced bool // for Local
}

func (l *lab) Keys() int {
	n := 0
	for _, k := range l.keys {
		n += k
	}
	return n
}
func (l *lab) KeysInSlot(slot int) int { return l.keys[slot] }

// nid makes an id that sorts like its name.
func nid(name string) NodeID {
	id, ok := ParseID(name + strings.Repeat("0", IDLen-len(name)))
	if !ok {
		panic("bad name " + name)
	}
	return id
}

func slotRange(first, last int) *SlotSet {
	s := new(SlotSet)
	for i := first; i <= last; i++ {
		s.Add(i)
	}
	return s
}

// thirds of the slots, for three primaries.
func third(k int) *SlotSet {
	return slotRange(k*SlotCount/3, (k+1)*SlotCount/3-1)
}

type labNode struct {
	name    string
	flags   Flags
	primary string
	epoch   uint64
	slots   *SlotSet
	shard   string // default: that of its primary, else its own name
}

// newLab starts a machine that is the first node of the list.
func newLab(t *testing.T, nodes []labNode, tune ...func(*Settings)) *lab {
	t.Helper()
	l := &lab{t: t, now: 10_000_000, out: map[NodeID]LinkID{}, in: map[NodeID]LinkID{}, closed: map[LinkID]bool{}, keys: map[int]int{}}
	l.cfg = DefaultSettings()
	l.cfg.NodeTimeout = testTimeout
	l.cfg.Ports = Addr{Port: 7000, BusPort: 17000}
	l.cfg.Keys = l
	l.cfg.WakeGuard = false // tests let time jump
	for _, f := range tune {
		f(&l.cfg)
	}
	c := &NodesConf{CurrentEpoch: 10}
	for i, n := range nodes {
		cn := ConfNode{ID: nid(n.name), Flags: n.flags, ConfigEpoch: n.epoch, Slots: n.slots,
			Addr: Addr{IP: "10.0.0." + string(rune('1'+i)), Port: 7000, BusPort: 17000}, PongReceived: 1}
		if i == 0 {
			cn.Flags |= FlagMyself
		}
		cn.ShardID = nid("5" + n.name)
		if n.primary != "" {
			cn.Primary = nid(n.primary)
			cn.ShardID = nid("5" + n.primary)
		}
		if n.shard != "" {
			cn.ShardID = nid(n.shard)
		}
		c.Nodes = append(c.Nodes, cn)
	}
	l.m = New(l.cfg, rand.NewPCG(1, 2), c, l.times())
	l.drain()
	l.step(Local{ReplOffset: 100, PrimaryLinkUp: true})
	l.step(Tick{})
	for _, n := range nodes[1:] {
		id := nid(n.name)
		if l.m.byID[id].out == nil {
			continue // no address
		}
		l.step(LinkUp{l.out[id]})
		l.accept(id)
	}
	for range 30 { // past the start-up delay of a primary
		l.run(TickPeriod)
		for _, n := range nodes[1:] {
			if l.m.byID[nid(n.name)].out != nil {
				l.pong(n.name)
			}
		}
	}
	l.clear()
	return l
}

func (l *lab) times() Times { return Times{Mono: l.now, Wall: l.now + 1_700_000_000_000} }

func (l *lab) accept(id NodeID) {
	l.conns++
	l.in[id] = InboundLink(l.conns)
	l.step(Accepted{l.in[id]})
}

func (l *lab) step(in Input) {
	l.m.Step(l.times(), in)
	l.drain()
}

func (l *lab) admin(c Command) string {
	_, err := l.m.Admin(l.times(), c)
	l.drain()
	if err != nil {
		return err.Error()
	}
	return ""
}

func (l *lab) drain() {
	l.t.Helper()
	if err := l.m.CheckInvariants(); err != nil {
		l.t.Fatal(err)
	}
	rd := l.m.Ready()
	if rd.Save != nil {
		l.saves++
		if rd.Sync {
			l.syncs++
		}
	}
	for _, d := range rd.Dial {
		l.out[d.Node] = d.Link
	}
	for _, c := range rd.Close {
		l.closed[c] = true
	}
	l.dials = append(l.dials, rd.Dial...)
	l.sent = append(l.sent, rd.Send...)
	l.effects = append(l.effects, rd.Effects...)
}

// clear forgets what was recorded.
func (l *lab) clear() {
	l.sent, l.effects, l.dials, l.saves, l.syncs = nil, nil, nil, 0, 0
	clear(l.closed)
}

// run lets time pass with ticks but without any message.
func (l *lab) run(d Millis) {
	for end := l.now + d; l.now < end; {
		l.now += TickPeriod
		l.step(Tick{})
	}
}

// node is what the machine holds about a node.
func (l *lab) node(name string) *node { return l.m.byID[nid(name)] }

// msg starts a message as the named node would send it: header as the machine
// sees that node.
func (l *lab) msg(from string, t Type) *Message {
	n := l.node(from)
	if n == nil {
		return &Message{Type: t, Sender: nid(from), Port: 7000, BusPort: 17000, Flags: FlagPrimary | FlagMyself,
			CurrentEpoch: l.m.currentEpoch, MFlags: MFlagExtData}
	}
	m := &Message{Type: t, Sender: n.id, Port: n.addr.Port, BusPort: n.addr.BusPort, CurrentEpoch: l.m.currentEpoch,
		ConfigEpoch: n.configEpoch, Slots: n.shareSlots(), Flags: n.flags&(FlagPrimary|FlagReplica) | FlagMyself | FlagLightModule | FlagLightPubSub,
		Offset: n.offset, MFlags: MFlagExtData}
	if n.primary != nil {
		m.ReplicaOf, m.ConfigEpoch, m.Slots = n.primary.id, n.primary.configEpoch, n.primary.shareSlots()
	}
	m.Ext.ShardID = n.shard
	return m
}

// recv delivers a message on the named node's inbound link.
func (l *lab) recv(from string, m *Message) {
	id := nid(from)
	if l.in[id] == 0 || l.m.links[l.in[id]] == nil {
		l.accept(id)
	}
	ip := ""
	if n := l.node(from); n != nil {
		ip = n.addr.IP
	}
	l.step(Recv{Link: l.in[id], Msg: m, PeerIP: ip, LocalIP: "10.0.0.1"})
}

// pong delivers a PONG on the machine's own link to the node.
func (l *lab) pong(from string) {
	l.step(Recv{Link: l.out[nid(from)], Msg: l.msg(from, TypePong), LocalIP: "10.0.0.1"})
}

// gossip delivers a PING of one node with one entry about another.
func (l *lab) gossip(from, about string, flags Flags) {
	m := l.msg(from, TypePing)
	e := GossipEntry{Node: nid(about), Flags: flags, IP: "10.0.0.77", Port: 7000, BusPort: 17000}
	if n := l.node(about); n != nil {
		e.IP, e.Port, e.BusPort = n.addr.IP, n.addr.Port, n.addr.BusPort
	}
	m.Gossip = []GossipEntry{e}
	l.recv(from, m)
}

// sentOf lists the recorded messages of a type.
func (l *lab) sentOf(t Type) []Envelope {
	var list []Envelope
	for _, e := range l.sent {
		if e.Msg.Type == t {
			list = append(list, e)
		}
	}
	return list
}

// said tells whether an event with this phrase was recorded.
func (l *lab) said(what string) bool {
	for _, e := range l.effects {
		if ev, ok := e.(Event); ok && strings.Contains(ev.What, what) {
			return true
		}
	}
	return false
}

func effectOf[T Effect](l *lab) (e T, ok bool) {
	for _, x := range l.effects {
		if v, is := x.(T); is {
			return v, true
		}
	}
	return e, false
}

// suspect makes the machine suspect a node: silence longer than T, while all
// others stay alive.
func (l *lab) suspect(name string, others ...string) {
	l.t.Helper()
	for range 60 {
		if l.node(name).is(FlagPFail | FlagFail) {
			return
		}
		l.run(TickPeriod)
		for _, o := range others {
			l.pong(o)
		}
	}
	l.t.Fatalf("%s never suspected", name)
}
