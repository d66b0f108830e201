package cluster

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/testport"
)

var update = flag.Bool("update", false, "record the messages and files of the real server as golden ones")

// TestRealBus joins a cluster of real servers as one more node that does
// nothing but answer, and makes them send every type of message: each must be
// understood, and written again byte for byte. The servers' nodes.conf must
// load too. With -update one message of each shape goes to testdata.
func TestRealBus(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed: the codec is not compared with a real server")
	}
	version := realVersion(t, path)
	peer := newRealPeer(t)
	dir := t.TempDir()
	a, b, c := startReal(t, path, dir, "a"), startReal(t, path, dir, "b"), startReal(t, path, dir, "c")
	a.cli(t, "CLUSTER", "ADDSLOTSRANGE", "0", "5460")
	b.cli(t, "CLUSTER", "ADDSLOTSRANGE", "5461", "16382")
	a.cli(t, "CLUSTER", "MEET", "127.0.0.1", b.port)
	a.cli(t, "CLUSTER", "MEET", "127.0.0.1", c.port)
	peer.meet(t, a)
	for _, s := range []*realServer{a, b, c} {
		eventually(t, "four nodes at "+s.name, func() (bool, string) {
			nodes := s.cli(t, "CLUSTER", "NODES")
			return strings.Count(nodes, " connected") == 4 && !strings.Contains(nodes, "handshake"), nodes
		})
	}
	peer.await(t, "a ping with gossip", func(m *Message) bool { return m.Type == TypePing && len(m.Gossip) > 0 })

	a.cli(t, "PUBLISH", "channel", "text")
	peer.await(t, "PUBLISH", func(m *Message) bool { return m.Type == TypePublish && string(m.Pub.Channel) == "channel" })

	// A claim of slots that b owns at a higher epoch is answered with UPDATE.
	b.cli(t, "CLUSTER", "BUMPEPOCH")
	peer.await(t, "the bumped epoch", func(m *Message) bool { return m.ConfigEpoch > 0 && m.Slots.Has(5461) })
	peer.claim(ranges(5461, 5470))
	peer.await(t, "UPDATE", func(m *Message) bool { return m.Type == TypeUpdate && m.Update.Slots.Has(5461) })

	// As a primary of one slot the peer gets a replica, and with a vote to give
	// sees the election after its death.
	peer.claim(ranges(16383, 16383))
	eventually(t, "slot 16383 to be the peer's", func() (bool, string) {
		nodes := c.cli(t, "CLUSTER", "NODES")
		return strings.Contains(nodes, " 16383\n"), nodes
	})
	c.cli(t, "CLUSTER", "REPLICATE", peer.id.String())
	c.cli(t, "CLUSTER", "FAILOVER")
	peer.await(t, "MFSTART", func(m *Message) bool { return m.Type == TypeMFStart })
	bID := strings.TrimSpace(b.cli(t, "CLUSTER", "MYID"))
	c.cli(t, "CLUSTER", "REPLICATE", bID)
	peer.await(t, "the replica's new primary", func(m *Message) bool { return m.ReplicaOf.String() == bID })
	eventually(t, "the replica to be in sync", func() (bool, string) {
		info := c.cli(t, "INFO", "replication")
		return strings.Contains(info, "master_link_status:up"), info
	})
	b.kill()
	peer.accuse(bID)
	peer.await(t, "FAIL", func(m *Message) bool { return m.Type == TypeFail && m.Fail.String() == bID })
	peer.await(t, "AUTH_REQUEST", func(m *Message) bool { return m.Type == TypeAuthRequest })

	for _, s := range []*realServer{a, c} {
		text, err := os.ReadFile(s.conf)
		if err != nil {
			t.Fatal(err)
		}
		if conf, skipped, err := ParseNodesConf(text, false); err != nil || len(skipped) > 0 || len(conf.Nodes) < 4 {
			t.Errorf("nodes.conf of %s: %v, skipped %q\n%s", s.name, err, skipped, text)
		}
		if *update {
			writeGolden(t, "testdata/nodesconf/"+version+"-"+s.name+".conf", text)
		}
	}
	peer.stop()
	for shape, frame := range peer.shapes {
		if *update {
			writeGolden(t, "testdata/bus/"+version+"-"+shape+".bin", frame)
		}
	}
}

// A real server takes over from our nodes.conf: same id, epochs and slots.
func TestRealServerLoadsOurConf(t *testing.T) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed: nodes.conf is not tried on a real server")
	}
	dir := t.TempDir()
	port := uint16(testport.Free(t))
	c := &NodesConf{CurrentEpoch: 12, LastVoteEpoch: 11, Nodes: []ConfNode{
		{ID: mustID(idA), Addr: Addr{"127.0.0.1", port, 0, port + 10000}, Flags: FlagMyself | FlagPrimary, ShardID: mustID(idC),
			ConfigEpoch: 9, Connected: true, Slots: ranges(0, 99, 200, 200), Migrating: []SlotMark{{7, mustID(idB)}}},
		{ID: mustID(idB), Addr: Addr{"127.0.0.1", 1, 0, 10001}, Flags: FlagPrimary | FlagFail, ConfigEpoch: 8, Slots: ranges(100, 199)},
		{ID: mustID(idC), Addr: Addr{"127.0.0.1", 2, 0, 10002}, Flags: FlagReplica, Primary: mustID(idA), ConfigEpoch: 9},
	}}
	if err := os.WriteFile(filepath.Join(dir, "ours-nodes.conf"), c.Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
	s := startRealOn(t, path, dir, "ours", port)
	if id := strings.TrimSpace(s.cli(t, "CLUSTER", "MYID")); id != idA {
		t.Errorf("id %q, want %s", id, idA)
	}
	nodes := s.cli(t, "CLUSTER", "NODES")
	for _, want := range []string{"0-99 200 [7->-" + idB + "]", idB, " 100-199", "slave " + idA} {
		if !strings.Contains(nodes, want) {
			t.Errorf("no %q in\n%s", want, nodes)
		}
	}
	info := s.cli(t, "CLUSTER", "INFO")
	for _, want := range []string{"cluster_current_epoch:12\r\n", "cluster_my_epoch:9\r\n"} {
		if !strings.Contains(info, want) {
			t.Errorf("no %q in\n%s", want, info)
		}
	}
}

// realServer is a redis-server process in cluster mode.
type realServer struct {
	name, port, conf string
	bus              string // host:port
	cmd              *exec.Cmd
}

func realVersion(t *testing.T, path string) string {
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(out)) {
		if v, ok := strings.CutPrefix(f, "v="); ok {
			return strings.ToLower(strings.Fields(string(out))[0]) + "-" + v
		}
	}
	t.Fatalf("no version in %q", out)
	return ""
}

func startReal(t *testing.T, path, dir, name string) *realServer {
	return startRealOn(t, path, dir, name, uint16(testport.Free(t)))
}

func startRealOn(t *testing.T, path, dir, name string, port uint16) *realServer {
	s := &realServer{name: name, port: fmt.Sprint(port), bus: fmt.Sprintf("127.0.0.1:%d", port+10000),
		conf: filepath.Join(dir, name+"-nodes.conf")}
	logFile := filepath.Join(dir, name+".log")
	s.cmd = exec.Command(path, "--port", s.port, "--bind", "127.0.0.1", "--cluster-enabled", "yes",
		"--cluster-config-file", filepath.Base(s.conf), "--cluster-node-timeout", "1000", "--dir", dir,
		"--save", "", "--appendonly", "no", "--logfile", logFile, "--repl-diskless-sync-delay", "0")
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			log, _ := os.ReadFile(logFile)
			t.Logf("log of %s:\n%s", name, log)
		}
	})
	eventually(t, name+" to answer", func() (bool, string) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			conn.Close()
		}
		return err == nil, fmt.Sprint(err)
	})
	return s
}

func (s *realServer) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// cli runs one command and returns the reply as redis-cli prints it.
func (s *realServer) cli(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "redis-cli", append([]string{"-p", s.port}, args...)...).CombinedOutput()
	if err != nil || strings.HasPrefix(string(out), "ERR") {
		t.Fatalf("%s: %q: %v: %s", s.name, args, err, out)
	}
	return string(out)
}

func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var done bool
		if done, last = ok(); done {
			return
		}
	}
	t.Fatalf("waited in vain for %s; last seen:\n%s", what, last)
}

func writeGolden(t *testing.T, name string, b []byte) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// realPeer speaks just enough of the bus to be a member: it answers PING and
// MEET, connects back to whoever connected to it, and pings once a while.
type realPeer struct {
	id     NodeID
	port   uint16
	listen net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	dialled  map[string]net.Conn // by bus address
	slots    *SlotSet
	accused  []GossipEntry
	epoch    uint64
	received []*Message
	shapes   map[string][]byte // one frame of each shape
	faults   []error
	stopped  bool
}

func newRealPeer(t *testing.T) *realPeer {
	p := &realPeer{id: mustID("feedfeedfeedfeedfeedfeedfeedfeedfeedfeed"), port: uint16(testport.Free(t)),
		conns: map[net.Conn]bool{}, dialled: map[string]net.Conn{}, shapes: map[string][]byte{}}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.port+10000))
	if err != nil {
		t.Fatal(err)
	}
	p.listen = l
	p.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(conn)
		}
	})
	t.Cleanup(func() {
		p.stop()
		for _, err := range p.faults {
			t.Error(err)
		}
	})
	return p
}

func (p *realPeer) stop() {
	p.mu.Lock()
	p.stopped = true
	p.listen.Close()
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// message makes one of the peer's own; p.mu is held.
func (p *realPeer) message(t Type) *Message {
	m := &Message{Type: t, Port: p.port, BusPort: p.port + 10000, CurrentEpoch: p.epoch, Sender: p.id, Slots: p.slots,
		Flags: FlagPrimary | FlagMyself, Offset: 1}
	if t <= TypeMeet {
		m.Gossip = p.accused
	}
	return m
}

func (p *realPeer) meet(t *testing.T, s *realServer) {
	conn := p.dial(s.bus)
	if conn == nil {
		t.Fatalf("cannot reach the bus of %s", s.name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	conn.Write(Encode(nil, p.message(TypeMeet)))
}

// dial opens the link to a bus address unless there is one.
func (p *realPeer) dial(addr string) net.Conn {
	p.mu.Lock()
	conn := p.dialled[addr]
	p.mu.Unlock()
	if conn != nil {
		return conn
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	p.dialled[addr] = conn
	p.mu.Unlock()
	p.serve(conn)
	return conn
}

// claim changes the slots the peer says it owns and pings everyone with them.
func (p *realPeer) claim(s *SlotSet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots = s
	p.pingAll()
}

// accuse gossips a node as failing from now on.
func (p *realPeer) accuse(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accused = []GossipEntry{{Node: mustID(id), IP: "127.0.0.1", Port: 1, BusPort: 1, Flags: FlagPrimary | FlagPFail}}
	p.pingAll()
}

func (p *realPeer) pingAll() {
	for _, conn := range p.dialled {
		conn.Write(Encode(nil, p.message(TypePing)))
	}
}

// serve reads a connection until it ends.
func (p *realPeer) serve(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		conn.Close()
		return
	}
	p.conns[conn] = true
	p.wg.Go(func() {
		var f Framer
		var d Decoder
		for {
			n, err := conn.Read(f.Space())
			if err != nil {
				break
			}
			f.Filled(n)
			for {
				frame, err := f.Next()
				if err != nil {
					p.fault(err)
				}
				if frame == nil {
					break
				}
				m, err := d.Decode(frame)
				if err != nil {
					p.fault(fmt.Errorf("%w: % x", err, frame[:min(64, len(frame))]))
					continue
				}
				p.take(conn, m, frame)
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		conn.Close()
		delete(p.conns, conn)
		for addr, c := range p.dialled {
			if c == conn {
				delete(p.dialled, addr)
			}
		}
	})
}

func (p *realPeer) fault(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, err)
}

func (p *realPeer) take(conn net.Conn, m *Message, frame []byte) {
	if again := Encode(nil, m); !bytes.Equal(again, frame) {
		i := firstDiff(again, frame)
		p.fault(fmt.Errorf("%v of %d bytes is written again as %d, differs at %d: % x, want % x", m.Type, len(frame),
			len(again), i, again[i:min(len(again), i+16)], frame[i:min(len(frame), i+16)]))
	}
	if m.Type == TypePing || m.Type == TypeMeet {
		p.mu.Lock()
		conn.Write(Encode(nil, p.message(TypePong)))
		p.mu.Unlock()
		p.dial(fmt.Sprintf("127.0.0.1:%d", m.BusPort))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch = max(p.epoch, m.CurrentEpoch)
	for addr, c := range p.dialled { // a first ping makes the other side know us
		if !p.conns[c] {
			delete(p.dialled, addr)
		}
	}
	p.received = append(p.received, bytes2message(frame))
	shape := []string{m.Type.String(), fmt.Sprint(len(m.Gossip))}
	if !m.ReplicaOf.IsZero() {
		shape = append(shape, "replica")
	}
	if m.Slots.Empty() {
		shape = append(shape, "noslots")
	}
	if m.MFlags != 0 {
		shape = append(shape, fmt.Sprintf("mflags%d", m.MFlags))
	}
	name := strings.Join(shape, "-")
	if p.shapes[name] == nil {
		p.shapes[name] = bytes.Clone(frame)
	}
}

// bytes2message decodes a copy, which outlives the frame.
func bytes2message(frame []byte) *Message {
	m, _ := Decode(bytes.Clone(frame))
	return m
}

// await waits for a message, pinging all the while so that links stay alive.
func (p *realPeer) await(t *testing.T, what string, is func(m *Message) bool) {
	t.Helper()
	eventually(t, what, func() (bool, string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		counts := map[string]int{}
		for _, m := range p.received {
			if is(m) {
				return true, ""
			}
			counts[m.Type.String()]++
		}
		p.pingAll()
		var seen []string
		for k, n := range counts {
			seen = append(seen, fmt.Sprintf("%s %d", k, n))
		}
		sort.Strings(seen)
		return false, fmt.Sprint(seen, errors.Join(p.faults...))
	})
}
