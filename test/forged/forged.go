// Package forged plays nodes of the cluster bus for tests: a Peer speaks the real
// codec on real sockets and says exactly what the test wants it to say, so that
// one node under test stands among peers whose views, claims, votes and silence
// are known to the message. A Peer holds no data and decides nothing: it answers
// PING and MEET with PONG and remembers what it was sent.
//
// A Peer belongs to the goroutine of its test; its sockets have their own.
package forged

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

// Received is a message that came, with when and over which connection: 0 is the
// one that the Peer dialled, others count those that it accepted, from 1.
type Received struct {
	At   time.Time
	Conn int
	Msg  *cluster.Message
}

// Peer is one forged node.
type Peer struct {
	ID   cluster.NodeID
	Port int // for clients; nothing listens there
	Bus  int // listening

	t    testing.TB
	ln   net.Listener
	wg   sync.WaitGroup
	gate sync.RWMutex // held for writing: nobody reads

	mu     sync.Mutex
	head   cluster.Message // what its headers say
	epoch  uint64          // greatest currentEpoch seen
	silent bool            // answers nothing
	deaf   map[int]bool    // connections that are read no more
	log    []Received
	news   chan struct{} // closed and replaced at every message
	conns  []net.Conn    // [0] dialled, nil before Meet
	remote []string      // address of the far end of each
	closed bool
}

// ID makes a node id that sorts like its name.
func ID(name string) cluster.NodeID {
	id, ok := cluster.ParseID(name + strings.Repeat("0", cluster.IDLen-len(name)))
	if !ok {
		panic("forged: bad name " + name)
	}
	return id
}

// Slots is the set of the slots from first to last.
func Slots(first, last int) *cluster.SlotSet {
	s := new(cluster.SlotSet)
	for i := first; i <= last; i++ {
		s.Add(i)
	}
	return s
}

// New makes a peer that listens: a primary without slots, in a shard of its own,
// that knows ping extensions. Its name is the begin of its id: a-z, 0-9.
func New(t testing.TB, name string) *Peer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Peer{ID: ID(name), t: t, ln: ln, Bus: ln.Addr().(*net.TCPAddr).Port, Port: 1024 + rand.IntN(9000),
		deaf: map[int]bool{}, news: make(chan struct{}), conns: []net.Conn{nil}, remote: []string{""}}
	p.head = cluster.Message{Sender: p.ID, Port: uint16(p.Port), BusPort: uint16(p.Bus),
		Flags: cluster.FlagPrimary | cluster.FlagMyself, MFlags: cluster.MFlagExtData}
	p.head.Ext.ShardID = ID("5" + name)
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(p.Close)
	return p
}

// Primary makes a peer that owns slots with an epoch.
func Primary(t testing.TB, name string, epoch uint64, slots *cluster.SlotSet) *Peer {
	t.Helper()
	p := New(t, name)
	p.Set(func(h *cluster.Message) { h.ConfigEpoch, h.Slots, h.CurrentEpoch = epoch, slots, epoch })
	return p
}

// Replica makes a peer that replicates another, as that is now.
func Replica(t testing.TB, name string, of *Peer) *Peer {
	t.Helper()
	p := New(t, name)
	of.mu.Lock()
	epoch, slots, shard := of.head.ConfigEpoch, of.head.Slots, of.head.Ext.ShardID
	of.mu.Unlock()
	p.Follow(of.ID, shard, epoch, slots)
	return p
}

// Follow makes its headers those of a replica of a node.
func (p *Peer) Follow(primary, shard cluster.NodeID, epoch uint64, slots *cluster.SlotSet) {
	p.Set(func(h *cluster.Message) {
		h.Flags = h.Flags&^cluster.FlagPrimary | cluster.FlagReplica
		h.ReplicaOf, h.Ext.ShardID, h.ConfigEpoch, h.Slots = primary, shard, epoch, slots
	})
}

// Close ends the peer: its port refuses, its connections are gone.
func (p *Peer) Close() {
	p.mu.Lock()
	p.closed = true
	for _, c := range p.conns {
		if c != nil {
			c.Close()
		}
	}
	p.mu.Unlock()
	p.ln.Close()
	p.wg.Wait()
}

// Set changes what its headers say from now on.
func (p *Peer) Set(f func(h *cluster.Message)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.head)
}

// Silence makes it answer nothing any more, or answer again. It goes on
// reading.
func (p *Peer) Silence(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = on
}

// Deafen makes all present connections black holes: what comes on them is
// neither answered nor noted. New ones are as ever.
func (p *Peer) Deafen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.conns {
		p.deaf[i] = true
	}
}

// Stall makes it read nothing from its sockets until resume is called, at the
// test's end at the latest, so that what it is sent piles up at the sender.
func (p *Peer) Stall() (resume func()) {
	p.gate.Lock()
	resume = sync.OnceFunc(p.gate.Unlock)
	p.t.Cleanup(resume) // before that of New, whose Close waits for the readers
	return resume
}

// Cut closes all connections that it has accepted.
func (p *Peer) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns[1:] {
		c.Close()
	}
}

func (p *Peer) accept() {
	defer p.wg.Done()
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			c.Close()
			return
		}
		i := len(p.conns)
		p.conns = append(p.conns, c)
		p.remote = append(p.remote, c.RemoteAddr().String())
		p.wg.Add(1)
		p.mu.Unlock()
		go p.read(i, c)
	}
}

// read takes messages from a connection until it ends.
func (p *Peer) read(i int, c net.Conn) {
	defer p.wg.Done()
	defer c.Close()
	var f cluster.Framer
	var dec cluster.Decoder
	for {
		p.gate.RLock()
		p.gate.RUnlock()
		n, err := c.Read(f.Space())
		f.Filled(n)
		for {
			frame, ferr := f.Next()
			if ferr != nil {
				p.t.Errorf("forged %s: bad frame: %v", p, ferr)
				return
			}
			if frame == nil {
				break
			}
			if got := binary.BigEndian.Uint32(frame[4:]); int(got) != len(frame) {
				p.t.Errorf("forged %s: length %d of %d", p, got, len(frame))
			}
			msg, derr := dec.Decode(append([]byte(nil), frame...))
			if derr != nil {
				p.t.Errorf("forged %s: bad message: %v", p, derr)
				continue
			}
			p.take(i, c, msg)
		}
		if err != nil {
			return
		}
	}
}

func (p *Peer) take(i int, c net.Conn, msg *cluster.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf[i] {
		return
	}
	p.epoch = max(p.epoch, msg.CurrentEpoch)
	p.log = append(p.log, Received{time.Now(), i, msg})
	close(p.news)
	p.news = make(chan struct{})
	if !p.silent && (msg.Type == cluster.TypePing || msg.Type == cluster.TypeMeet) {
		p.write(c, p.message(cluster.TypePong))
	}
}

func (p *Peer) String() string { return p.ID.String()[:4] }

// message starts a message of its own; p.mu is held.
func (p *Peer) message(t cluster.Type) *cluster.Message {
	m := p.head
	m.Type = t
	m.CurrentEpoch = max(m.CurrentEpoch, p.epoch)
	if t > cluster.TypeMeet {
		m.Ext, m.MFlags = cluster.Extensions{}, m.MFlags&^cluster.MFlagExtData
	}
	return &m
}

// Message starts a message of type t with its header as it is now.
func (p *Peer) Message(t cluster.Type) *cluster.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.message(t)
}

// write sends; a connection that is gone shows when somebody waits for an answer.
func (p *Peer) write(c net.Conn, m *cluster.Message) {
	c.SetWriteDeadline(time.Now().Add(patience))
	c.Write(cluster.Encode(nil, m))
}

// Send sends a message on the connection that it dialled.
func (p *Peer) Send(m *cluster.Message) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[0] == nil {
		p.t.Fatalf("forged %s: not connected", p)
	}
	p.write(p.conns[0], m)
}

// SendBack sends a message on the last connection that it accepted: the node's
// own outbound link.
func (p *Peer) SendBack(m *cluster.Message) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(p.conns[len(p.conns)-1], m)
}

// Dial connects to a node's bus without introducing itself.
func (p *Peer) Dial(bus int) {
	p.t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", bus))
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	if old := p.conns[0]; old != nil {
		old.Close()
	}
	p.conns[0], p.remote[0] = c, c.RemoteAddr().String()
	delete(p.deaf, 0)
	p.wg.Add(1)
	p.mu.Unlock()
	go p.read(0, c)
}

// Meet introduces peers to the node whose bus has that port, all at once, and
// returns when that node knows them: has connected back, and has taken their headers.
func Meet(bus int, peers ...*Peer) {
	marks := make([]int, len(peers))
	for i, p := range peers {
		p.t.Helper()
		p.Dial(bus)
		marks[i] = p.Mark()
		p.Send(p.Message(cluster.TypeMeet))
	}
	for i, p := range peers {
		p.AwaitFrom(marks[i], "a connection back", func(r Received) bool { return r.Conn > 0 && r.Msg.Type == cluster.TypePing })
		// Its PONG to that gave the node its name. What follows on the same connection
		// comes after that, and what it asks then, anywhere, counts whole.
		mark := p.Mark()
		p.SendBack(p.Message(cluster.TypePing))
		p.AwaitFrom(mark, "PONG on its connection", func(r Received) bool { return r.Conn > 0 && r.Msg.Type == cluster.TypePong })
		p.Ping()
	}
}

// Entry is what a peer says in gossip about another.
func (p *Peer) Entry(flags cluster.Flags) cluster.GossipEntry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cluster.GossipEntry{Node: p.ID, IP: "127.0.0.1", Port: uint16(p.Port), BusPort: uint16(p.Bus), Flags: flags,
		PongRecvSec: uint32(time.Now().Unix())}
}

// Ping sends PING with a gossip section and returns the PONG; everything sent
// before on this connection has been processed then.
func (p *Peer) Ping(gossip ...cluster.GossipEntry) *cluster.Message {
	p.t.Helper()
	m := p.Message(cluster.TypePing)
	m.Gossip = gossip
	return p.Ask(m)
}

// Ask sends a PING or MEET made by the test and returns the PONG.
func (p *Peer) Ask(m *cluster.Message) *cluster.Message {
	p.t.Helper()
	mark := p.Mark()
	p.Send(m)
	return p.AwaitFrom(mark, "PONG", func(r Received) bool { return r.Conn == 0 && r.Msg.Type == cluster.TypePong }).Msg
}

// Mark is the present end of what was received.
func (p *Peer) Mark() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.log)
}

// Since are the messages received after a mark.
func (p *Peer) Since(mark int) []Received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Received(nil), p.log[mark:]...)
}

// Count counts the messages of a type after a mark.
func (p *Peer) Count(mark int, t cluster.Type) (n int) {
	for _, r := range p.Since(mark) {
		if r.Msg.Type == t {
			n++
		}
	}
	return n
}

// Conns is how many connections it has accepted so far.
func (p *Peer) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) - 1
}

// Remote is the far address of connection i.
func (p *Peer) Remote(i int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remote[i]
}

// AwaitType waits for a message of a type after a mark.
func (p *Peer) AwaitType(mark int, t cluster.Type) Received {
	p.t.Helper()
	return p.AwaitFrom(mark, t.String(), func(r Received) bool { return r.Msg.Type == t })
}

// AwaitFrom waits for a message after a mark that fits.
func (p *Peer) AwaitFrom(mark int, what string, fits func(r Received) bool) Received {
	p.t.Helper()
	limit := time.After(patience)
	for {
		p.mu.Lock()
		news := p.news
		for _, r := range p.log[mark:] {
			if fits(r) {
				p.mu.Unlock()
				return r
			}
		}
		mark = len(p.log)
		p.mu.Unlock()
		select {
		case <-news:
		case <-limit:
			p.t.Fatalf("forged %s: never received: %s", p, what)
		}
	}
}

// Request is its request for a vote, as it should be.
func (p *Peer) Request(epoch uint64) *cluster.Message {
	m := p.Message(cluster.TypeAuthRequest)
	m.CurrentEpoch = epoch
	return m
}

// Fail is its word that a node has failed.
func (p *Peer) Fail(id cluster.NodeID) *cluster.Message {
	m := p.Message(cluster.TypeFail)
	m.Fail = id
	return m
}
