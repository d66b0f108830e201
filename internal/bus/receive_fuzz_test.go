package bus

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/store"
)

// FuzzReceive sends bytes through everything that a peer's bytes pass: the
// reader of a link, framer, codec, the driver's queue and handler, the machine.
//
// Goal: no panic; a malformed message changes nothing and ends the link only if
// the framing is broken; the state stays consistent, epochs never fall, and what
// the node would save it can load (invariants 3, 8, 22, 23, 24, 30). Which
// messages are well formed is judged by wellFormed below, written from the
// specification and knowing nothing of the codec.
//
// An input is a program (see receiveStream) that makes the stream of templates
// and edits, so that mutations fall on fields rather than on bitmaps.
func FuzzReceive(f *testing.F) {
	env := newReceiveEnv(f)
	for i := range env.templates {
		f.Add([]byte{byte(i)%(outboundMeet+1) | byte(i&1)*linkKinds, byte(i), 0, 0, byte(i + 1), 1, 0, 12, 9, 9})
	}
	f.Add(append([]byte{1, rawStream}, env.templates[0]...))
	f.Fuzz(func(t *testing.T, program []byte) { env.run(t, program) })
}

// The ends at which a stream can arrive.
const (
	inboundNew = iota
	inboundMember
	outboundPrimary
	outboundReplica
	outboundHandshake
	outboundMeet
	linkKinds = 8 // as a bit: the node is a replica
	rawStream = 0xff
)

func member(c byte) cluster.NodeID { return cluster.NodeID(bytes.Repeat([]byte{c}, cluster.IDLen)) }

type receiveEnv struct {
	engine    *engine.Engine
	templates [][]byte
	confs     [2]*cluster.NodesConf // as a primary, as a replica
}

func newReceiveEnv(tb testing.TB) *receiveEnv {
	h, err := mem.New(mem.Options{Shards: 2, Reserve: 16 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	st := store.New(h, 1)
	tb.Cleanup(func() { st.Close(); h.Close() })
	e := &receiveEnv{}
	cmd := &command.Env{}
	cmd.SetLimits(command.DefaultLimits())
	e.engine = engine.New(engine.Options{Store: st, Env: cmd, Slog: slog.New(slog.DiscardHandler)})

	names, _ := filepath.Glob("../cluster/testdata/bus/*.bin")
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		e.templates = append(e.templates, b)
	}
	if len(e.templates) < 10 {
		tb.Fatalf("%d messages of real servers, want at least 10", len(e.templates))
	}
	// Of members, so that they get further than the captured ones of strangers.
	// Few slots each: a table walked quickly is a table walked often.
	third := func(k int) *cluster.SlotSet {
		s := new(cluster.SlotSet)
		for i := range 40 {
			s.Add(k*cluster.SlotCount/3 + i)
		}
		return s
	}
	for _, typ := range []cluster.Type{cluster.TypePing, cluster.TypePong, cluster.TypeMeet, cluster.TypeFail, cluster.TypePublish,
		cluster.TypeAuthRequest, cluster.TypeAuthAck, cluster.TypeUpdate, cluster.TypeMFStart, cluster.TypeModule, cluster.TypePublishShard} {
		for k, sender := range []byte{'b', 'r', 's', 'z', 'a'} {
			m := &cluster.Message{Type: typ, Port: 7001, BusPort: 17001, CurrentEpoch: 7, ConfigEpoch: 2, Sender: member(sender),
				Slots: third(1), Flags: cluster.FlagPrimary | cluster.FlagMyself | cluster.FlagLightPubSub, IP: []string{"", "10.0.0.2"}[k&1]}
			switch sender {
			case 'r':
				m.ReplicaOf, m.Flags, m.ConfigEpoch, m.Slots = member('b'), cluster.FlagReplica, 2, third(1)
			case 's':
				m.ReplicaOf, m.Flags, m.ConfigEpoch, m.Slots = member('a'), cluster.FlagReplica, 1, third(0)
			case 'z':
				m.Slots = nil
			}
			switch typ {
			case cluster.TypePing, cluster.TypePong, cluster.TypeMeet:
				m.MFlags = cluster.MFlagExtData
				m.Gossip = []cluster.GossipEntry{
					{Node: member('c'), IP: "10.0.0.3", Port: 7000, BusPort: 17000, Flags: cluster.FlagPrimary | cluster.FlagFail},
					{Node: member('y'), IP: "10.0.0.9", Port: 7000, BusPort: 17000, Flags: cluster.FlagReplica}}
				m.Ext = cluster.Extensions{Hostname: "h", Nodename: "n", ShardID: member('2'), ClientIPv4: "1.2.3.4",
					Forgotten: []cluster.Forgotten{{Node: member('s'), TTLSec: 60}}}
			case cluster.TypeFail:
				m.Fail = member('c')
			case cluster.TypePublish, cluster.TypePublishShard:
				m.Pub = &cluster.Publish{Channel: []byte("ch"), Payload: []byte("hello")}
				light := &cluster.Message{Type: typ, Light: true, Pub: m.Pub}
				e.templates = append(e.templates, cluster.Encode(nil, light))
			case cluster.TypeModule:
				m.Module = &cluster.Module{ID: 1, Payload: []byte("x")}
			case cluster.TypeUpdate:
				m.Update = &cluster.Update{ConfigEpoch: 9, Node: member("acr"[k%3]), Slots: third(k % 3)}
			}
			e.templates = append(e.templates, cluster.Encode(nil, m))
		}
	}
	for i := range e.confs {
		conf := &cluster.NodesConf{CurrentEpoch: 7, LastVoteEpoch: 5}
		for k, c := range []byte{'a', 'b', 'c', 'r', 's', 'q'} {
			n := cluster.ConfNode{ID: member(c), Addr: cluster.Addr{IP: "10.0.0." + string('1'+rune(k)), Port: 7000, BusPort: 17000},
				Flags: cluster.FlagPrimary, ConfigEpoch: uint64(k + 1), ShardID: member('1' + byte(k%3))}
			if k < 3 {
				n.Slots = third(k)
			} else {
				p := map[byte]byte{'r': 'b', 's': 'a', 'q': 'b'}[c]
				n.Flags, n.Primary, n.ShardID = cluster.FlagReplica, member(p), member(map[byte]byte{'a': '1', 'b': '2'}[p])
			}
			conf.Nodes = append(conf.Nodes, n)
		}
		me := &conf.Nodes[0]
		if i == 1 {
			me = &conf.Nodes[5]
		} else {
			me.Migrating = []cluster.SlotMark{{Slot: 5, Node: member('b')}}
			me.Importing = []cluster.SlotMark{{Slot: 10930, Node: member('c')}}
		}
		me.Flags |= cluster.FlagMyself
		e.confs[i] = conf
	}
	return e
}

// receiveStream makes the bytes of a program: one byte that chooses the link,
// then, per message, a template, a number of edits, a number of bytes to cut off
// (or, with the high bit, to add), and per edit an offset of two bytes and a
// value. Offsets from 0x8000 on count from the end, those from 0x4000 on leave
// the slot bitmap out.
func (e *receiveEnv) receiveStream(program []byte) []byte {
	if len(program) > 0 && program[0] == rawStream {
		return program[1:]
	}
	var out []byte
	for len(program) >= 3 && len(out) < 20<<10 {
		msg := bytes.Clone(e.templates[int(program[0])%len(e.templates)])
		edits, cut := int(program[1]), int(program[2])
		program = program[3:]
		for ; edits > 0 && len(program) >= 3; edits-- {
			off := int(binary.BigEndian.Uint16(program))
			switch {
			case off&0x8000 != 0:
				off = len(msg) - 1 - off&0x7fff%len(msg)
			case off&0x4000 != 0:
				off &= 0x3fff
				if off >= 80 {
					off += 2048
				}
			}
			msg[off%len(msg)] = program[2]
			program = program[3:]
		}
		if cut&0x80 != 0 {
			msg = append(msg, make([]byte, cut&0x7f)...)
		} else {
			msg = msg[:max(len(msg)-cut, 0)]
		}
		if cut != 0 && cut&3 != 0 && len(msg) >= 8 { // mostly with a length that agrees
			binary.BigEndian.PutUint32(msg[4:], uint32(len(msg)))
		}
		out = append(out, msg...)
	}
	return out
}

// wellFormed judges one message by the specification, sections 2.3 and 3.
func wellFormed(b []byte) bool {
	be := binary.BigEndian
	if be.Uint16(b[8:]) != 1 {
		return false
	}
	typ := be.Uint16(b[12:])
	body := b[16:]
	if typ < 0x8000 {
		body = b[2256:]
	}
	switch typ {
	case 0, 1, 2:
		n := int(be.Uint16(b[14:])) * 104
		if n > len(body) {
			return false
		}
		body = body[n:]
		if b[2253]&4 == 0 {
			return len(body) == 0
		}
		light := be.Uint16(b[2250:])&0x800 != 0
		for range be.Uint16(b[2214:]) {
			if len(body) < 8 {
				return false
			}
			n := int(be.Uint32(body))
			if n < 8 || n%8 != 0 || n > len(body) || n >= 1<<16 {
				return false
			}
			data := body[8:n]
			text := func() bool { return len(data) > 0 && data[len(data)-1] == 0 }
			switch kind := be.Uint16(body[4:]); {
			case kind == 0 || kind == 1 || kind == 5 || kind == 8 || kind == 4 && light:
				if !text() {
					return false
				}
			case kind == 2 && len(data) < 48, kind == 3 && len(data) < 40, (kind == 6 || kind == 7) && len(data) < 2:
				return false
			}
			body = body[n:]
		}
		return len(body) == 0
	case 3:
		return len(body) == 40
	case 4, 10, 0x8004, 0x800a:
		return len(body) >= 8 && uint64(be.Uint32(body))+uint64(be.Uint32(body[4:])) == uint64(len(body)-8)
	case 5, 6, 8:
		return len(body) == 0
	case 7:
		return len(body) == 2096
	case 9, 0x8009:
		return len(body) >= 13 && uint64(be.Uint32(body[8:])) == uint64(len(body)-13)
	}
	return typ < 0x8000
}

// judge counts the well-formed messages of a stream; broken says that the
// framing fails.
func judge(b []byte) (messages int, broken bool) {
	for len(b) > 0 {
		if n := min(len(b), 4); string(b[:n]) != "RCmb"[:n] {
			return messages, true
		}
		if len(b) < 14 {
			return messages, false
		}
		total, least := binary.BigEndian.Uint32(b[4:]), uint32(2256)
		if b[12]&0x80 != 0 {
			least = 16
		}
		if total < least || total > cluster.MaxFrame {
			return messages, true
		}
		if uint64(total) > uint64(len(b)) {
			return messages, false
		}
		if wellFormed(b[:total]) {
			messages++
		}
		b = b[total:]
	}
	return messages, false
}

// streamConn is the socket: what was sent, then the end.
type streamConn struct {
	r io.Reader
}

func (c *streamConn) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c *streamConn) Write(p []byte) (int, error) { return len(p), nil }
func (c *streamConn) Close() error                { return nil }
func (c *streamConn) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 17000}
}
func (c *streamConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 5000}
}
func (c *streamConn) SetDeadline(time.Time) error      { return nil }
func (c *streamConn) SetReadDeadline(time.Time) error  { return nil }
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }

func (e *receiveEnv) run(t *testing.T, program []byte) {
	if len(program) < 1 || len(program) > 32<<10 {
		return
	}
	kind := program[0]
	stream := e.receiveStream(program[1:])
	set := cluster.DefaultSettings()
	set.StartDelay, set.RequireFullCoverage = 0, false
	set.Ports = cluster.Addr{Port: 7000, BusPort: 17000}
	b := &Bus{start: time.Now(), quit: make(chan struct{}),
		events: make(chan event, len(stream)/16+2)} // room for all: the shortest message has 16 bytes
	b.opt.Log, b.opt.Engine = slog.New(slog.DiscardHandler), e.engine
	b.links.init()
	b.dropFilter.Store(-1)
	seeded := rand.New(rand.NewPCG(uint64(kind), 1))
	m := cluster.New(set, seeded, e.confs[kind/linkKinds&1], b.now())
	b.m = m
	b.view.Store(m.View())
	step := func(in cluster.Input) cluster.Ready { m.Step(b.now(), in); return m.Ready() }
	m.Admin(b.now(), cluster.Meet{IP: "10.0.0.77", Port: 7000})
	m.Ready()
	var lid cluster.LinkID
	for _, d := range step(cluster.Tick{}).Dial {
		step(cluster.LinkUp{Link: d.Link})
		ofKind := map[string]byte{"10.0.0.2": outboundPrimary, "10.0.0.4": outboundReplica, "10.0.0.77": outboundMeet}
		if k, ok := ofKind[d.IP]; ok && (k == kind%linkKinds || k == outboundMeet && kind%linkKinds == outboundHandshake) {
			lid = d.Link
		}
	}
	if lid == 0 {
		lid = cluster.InboundLink(b.inbound.Add(1))
		step(cluster.Accepted{Link: lid})
		if kind%linkKinds == inboundMember {
			step(cluster.Recv{Link: lid, PeerIP: "10.0.0.2", LocalIP: "10.0.0.1",
				Msg: &cluster.Message{Type: cluster.TypePing, Sender: member('b'), CurrentEpoch: 7, ConfigEpoch: 2, Flags: cluster.FlagPrimary, Slots: e.confs[0].Nodes[1].Slots}})
		}
	}

	l := &link{id: lid, bus: b, conn: &streamConn{bytes.NewReader(stream)}, wake: make(chan struct{}, 1)}
	b.links.add(l)
	before := timeless(m.Conf())
	counted := m.Counters()
	l.readLoop()
	if !bytes.Equal(timeless(m.Conf()), before) || m.Counters() != counted {
		t.Fatal("reading alone changed the machine")
	}
	want, _ := judge(stream)
	if got := len(b.events) - 1; got != want { // the last is the end of the link
		t.Fatalf("%d messages were let through, %d are well formed", got, want)
	}
	for open := true; len(b.events) > 0; {
		open = e.handle(t, b, <-b.events, lid, open)
	}
	// What it would save makes the same node again (24).
	conf := m.Conf()
	text := conf.Encode()
	back, skipped, err := cluster.ParseNodesConf(text, false)
	if err != nil || len(skipped) > 0 {
		t.Fatalf("own nodes.conf: %v, skipped %q\n%s", err, skipped, text)
	}
	if again := back.Encode(); !bytes.Equal(again, text) {
		t.Fatalf("nodes.conf\n%s\nis read and written as\n%s", text, again)
	}
	if len(stream)%8 != 0 { // the dearest check, on some
		return
	}
	reborn := cluster.New(set, seeded, back, b.now())
	if err := reborn.CheckInvariants(); err != nil {
		t.Fatalf("started from its own nodes.conf: %v\n%s", err, text)
	}
	if c := reborn.Conf(); c.CurrentEpoch < conf.CurrentEpoch || c.LastVoteEpoch < conf.LastVoteEpoch {
		t.Fatalf("started with epochs %d/%d from a file of %d/%d", c.CurrentEpoch, c.LastVoteEpoch, conf.CurrentEpoch, conf.LastVoteEpoch)
	}
}

// timeless is the state but for the times of pings and pongs, which the two
// clocks round apart.
func timeless(c *cluster.NodesConf) []byte {
	for i := range c.Nodes {
		c.Nodes[i].PingSent, c.Nodes[i].PongReceived = 0, 0
	}
	return c.Encode()
}

// handle passes one event on as the driver does and looks at what came of it.
// open tells whether the machine has the link still; what comes on a link that
// it closed is ignored.
func (e *receiveEnv) handle(t *testing.T, b *Bus, ev event, lid cluster.LinkID, open bool) bool {
	m := b.m
	before := m.Conf()
	in, isRecv := ev.in.(cluster.Recv)
	stranger := isRecv && m.View().Node(in.Msg.Sender) == nil
	b.handle(ev, nil)
	rd := m.Ready()
	if err := m.CheckInvariants(); err != nil {
		t.Fatal(err)
	}
	after := m.Conf()
	if after.CurrentEpoch < before.CurrentEpoch || after.LastVoteEpoch < before.LastVoteEpoch {
		t.Fatalf("epochs fell from %d/%d to %d/%d", before.CurrentEpoch, before.LastVoteEpoch, after.CurrentEpoch, after.LastVoteEpoch)
	}
	view := m.View()
	b.view.Store(view)
	pongs := 0
	wasOpen := open
	for _, l := range rd.Close {
		open = open && l != lid
	}
	for _, env := range rd.Send {
		raw := cluster.Encode(nil, env.Msg)
		if !wellFormed(raw) {
			t.Fatalf("sends a malformed %v", env.Msg.Type)
		}
		if env.Link == lid && env.Msg.Type == cluster.TypePong {
			pongs++
		}
		for i := range env.Msg.Gossip {
			if g := &env.Msg.Gossip[i]; g.Node == view.Myself().ID || g.Flags.Any(cluster.FlagHandshake|cluster.FlagNoAddr) {
				t.Fatalf("gossips %v with flags %x", g.Node, g.Flags)
			}
		}
	}
	if !isRecv || in.Msg.Light {
		return open
	}
	ping := in.Msg.Type == cluster.TypePing || in.Msg.Type == cluster.TypeMeet
	if ping && open && pongs == 0 {
		t.Fatalf("%v was not answered", in.Msg.Type)
	}
	if ping && lid.Inbound() && pongs > 1 {
		t.Fatalf("%v was answered %d times", in.Msg.Type, pongs)
	}
	if stranger && in.Msg.Type > cluster.TypeMeet || !wasOpen {
		if len(rd.Send)+len(rd.Close)+len(rd.Effects) > 0 || !bytes.Equal(timeless(after), timeless(before)) {
			t.Fatalf("%v of a stranger or on a closed link was not ignored", in.Msg.Type)
		}
	}
	return open
}

// The judge knows the captured messages of real servers to be well formed.
func TestJudge(t *testing.T) {
	e := newReceiveEnv(t)
	for i, b := range e.templates {
		if n, broken := judge(b); n != 1 || broken {
			t.Errorf("template %d: %d well-formed messages, broken=%v", i, n, broken)
		}
		if n, _ := judge(b[:len(b)-1]); n != 0 {
			t.Errorf("template %d without its last byte is still a message", i)
		}
	}
}

func BenchmarkReceive(b *testing.B) {
	e := newReceiveEnv(b)
	for b.Loop() {
		e.run(nil, []byte{1, 20, 0, 0})
	}
}
