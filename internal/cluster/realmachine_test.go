package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/testport"
)

// live runs one machine on real sockets, in one goroutine, with no data: the
// least driver that lets it live among real servers.
type live struct {
	t     *testing.T
	m     *Machine
	port  uint16
	start time.Time
	do    chan func()
	quit  chan struct{}
	conns map[LinkID]net.Conn
	wait  map[LinkID][]byte // for links that are still connecting
	n     uint64
	facts Local
	said  []string
}

func startLive(t *testing.T) *live {
	l := &live{t: t, port: uint16(testport.Free(t)), start: time.Now(), do: make(chan func(), 1000), quit: make(chan struct{}),
		conns: map[LinkID]net.Conn{}, wait: map[LinkID][]byte{}}
	cfg := DefaultSettings()
	cfg.NodeTimeout = 1000
	cfg.Ports = Addr{Port: l.port, BusPort: l.port + 10000}
	cfg.Hostname = "skein.example"
	l.facts = Local{ReplOffset: 1}
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", l.port+10000))
	if err != nil {
		t.Fatal(err)
	}
	l.m = New(cfg, rand.NewPCG(1, uint64(l.port)), nil, l.now())
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.post(func() {
				l.n++
				id := InboundLink(l.n)
				l.conns[id] = c
				l.step(Accepted{id})
				go l.read(id, c)
			})
		}
	}()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		tick := time.NewTicker(time.Duration(TickPeriod) * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case f := <-l.do:
				f()
			case <-tick.C:
				l.step(l.facts)
				l.step(Tick{})
			case <-l.quit:
				for _, c := range l.conns {
					c.Close()
				}
				return
			}
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		close(l.quit)
		<-finished
	})
	return l
}

func (l *live) now() Times {
	return Times{Mono: 1 + Millis(time.Since(l.start).Milliseconds()), Wall: Millis(time.Now().UnixMilli())}
}

func (l *live) post(f func()) {
	select {
	case l.do <- f:
	case <-l.quit:
	}
}

// ask runs f in the machine's goroutine and waits for it.
func (l *live) ask(f func()) {
	done := make(chan struct{})
	l.post(func() { f(); close(done) })
	<-done
}

func (l *live) must(c Command) {
	l.t.Helper()
	var err error
	l.ask(func() {
		_, err = l.m.Admin(l.now(), c)
		l.obey()
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *live) step(in Input) {
	l.m.Step(l.now(), in)
	l.obey()
}

func (l *live) obey() {
	if err := l.m.CheckInvariants(); err != nil {
		l.t.Error(err)
	}
	rd := l.m.Ready()
	for _, e := range rd.Effects {
		l.said = append(l.said, fmt.Sprintf("%d %v", l.now().Mono, e))
		if p, ok := e.(PauseWrites); ok {
			l.post(func() { l.step(l.facts); l.step(Done{p.ID}) })
		}
	}
	for _, id := range rd.Close {
		if c := l.conns[id]; c != nil {
			c.Close()
			delete(l.conns, id)
		}
		delete(l.wait, id)
	}
	for _, d := range rd.Dial {
		l.wait[d.Link] = []byte{}
		go func() {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(d.IP, fmt.Sprint(d.Port)), time.Second)
			l.post(func() {
				queued, wanted := l.wait[d.Link]
				delete(l.wait, d.Link)
				if err != nil {
					l.step(LinkDown{Link: d.Link, Refused: errors.Is(err, syscall.ECONNREFUSED)})
					return
				}
				if !wanted {
					c.Close()
					return
				}
				l.conns[d.Link] = c
				c.Write(queued)
				l.step(LinkUp{d.Link})
				go l.read(d.Link, c)
			})
		}()
	}
	for _, e := range rd.Send {
		if c := l.conns[e.Link]; c != nil {
			c.SetWriteDeadline(time.Now().Add(time.Second))
			c.Write(Encode(nil, e.Msg))
		} else if q, ok := l.wait[e.Link]; ok {
			l.wait[e.Link] = Encode(q, e.Msg)
		}
	}
}

func (l *live) read(id LinkID, c net.Conn) {
	host := func(a net.Addr) string { return a.(*net.TCPAddr).IP.String() }
	var fr Framer
	for {
		n, err := c.Read(fr.Space())
		fr.Filled(n)
		for err == nil {
			var frame []byte
			if frame, err = fr.Next(); frame == nil {
				break
			}
			msg, bad := Decode(frame)
			if bad != nil {
				l.t.Errorf("a real server sent what does not decode: %v", bad)
				continue
			}
			l.post(func() { l.step(Recv{Link: id, Msg: msg, PeerIP: host(c.RemoteAddr()), LocalIP: host(c.LocalAddr())}) })
		}
		if err != nil {
			c.Close()
			l.post(func() {
				if l.conns[id] == c {
					delete(l.conns, id)
					l.step(LinkDown{Link: id})
				}
			})
			return
		}
	}
}

// A machine among real servers of each kind at hand: it joins, follows a real
// primary, is elected by real voters when that dies, keeps its slots against the
// returning server, its vote lets a real replica win, and manual failovers go
// both ways. PEERS names a folder with more servers, as valkey-server.
func TestMachineAmongRealServers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes several node timeouts of real time")
	}
	peers := os.Getenv("PEERS")
	for name, path := range map[string]string{
		"redis-server":       "redis-server",
		"peers redis-server": filepath.Join(peers, "redis-server"),
		"peers valkey":       filepath.Join(peers, "valkey-server"),
	} {
		t.Run(name, func(t *testing.T) {
			path, err := exec.LookPath(path)
			if err != nil || name != "redis-server" && peers == "" {
				t.Skipf("no %s: the machine is not tried among such servers", name)
			}
			machineAmong(t, path)
		})
	}
}

func machineAmong(t *testing.T, path string) {
	modern := !strings.Contains(realVersion(t, path), "redis-7.0") // shard ids, gossip of FORGET
	dir := t.TempDir()
	a, b, c, d := startReal(t, path, dir, "a"), startReal(t, path, dir, "b"), startReal(t, path, dir, "c"), startReal(t, path, dir, "d")
	for i, s := range []*realServer{a, b, c} {
		s.cli(t, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*SlotCount/3), fmt.Sprint((i+1)*SlotCount/3-1))
		s.cli(t, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
	}
	l := startLive(t)
	for _, s := range []*realServer{b, c, d} {
		a.cli(t, "CLUSTER", "MEET", "127.0.0.1", s.port)
	}
	port := func(s *realServer) (p int64) { fmt.Sscan(s.port, &p); return }
	l.must(Meet{IP: "127.0.0.1", Port: port(a)})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(strings.Join(l.said[max(0, len(l.said)-60):], "\n"))
		}
	})

	id := func(s *realServer) string { return strings.TrimSpace(s.cli(t, "CLUSTER", "MYID")) }
	my := text(l.m.self.id)
	// line is what a server says about a node, "" if nothing.
	line := func(s *realServer, id string) string {
		for _, x := range strings.Split(s.cli(t, "CLUSTER", "NODES"), "\n") {
			if strings.HasPrefix(x, id) {
				return x
			}
		}
		return ""
	}
	ask := func(f func() bool) (ok bool) { l.ask(func() { ok = f() }); return }
	everyone := []*realServer{a, b, c, d}
	eventually(t, "all to know all", func() (bool, string) {
		for _, s := range everyone {
			if n := s.cli(t, "CLUSTER", "NODES"); strings.Count(n, "connected") != 5 || strings.Contains(n, "handshake") || !strings.Contains(n, my) {
				return false, n
			}
		}
		return ask(func() bool { return len(l.m.nodes) == 5 && l.m.state == StateOK }), "the machine itself"
	})
	idA, idB, idC, idD := id(a), id(b), id(c), id(d)
	for i, s := range everyone {
		s.cli(t, "CONFIG", "SET", "cluster-announce-hostname", fmt.Sprintf("host-%d.example", i))
	}
	eventually(t, "hostnames", func() (bool, string) {
		s := line(b, my)
		return strings.Contains(s, ",skein.example ") &&
			ask(func() bool {
				return l.m.lookup(idA).hostname == "host-0.example" && l.m.lookup(idD).hostname == "host-3.example"
			}), s
	})
	shard := func(s *realServer) string { return strings.TrimSpace(s.cli(t, "CLUSTER", "MYSHARDID")) }
	d.cli(t, "CLUSTER", "REPLICATE", idC)
	l.must(Replicate{idA})
	l.ask(func() { l.facts.PrimaryLinkUp = true })
	eventually(t, "replicas known", func() (bool, string) {
		s := line(b, my) + "\n" + line(b, idD) + "\n" + line(c, my)
		return strings.Count(s, "slave "+idA) == 2 && strings.Contains(s, "slave "+idC) &&
			ask(func() bool { return l.m.lookup(idD).isReplica() }), s
	})
	eventually(t, "the real replica to be in sync", func() (bool, string) {
		s := d.cli(t, "INFO", "replication")
		return strings.Contains(s, "master_link_status:up"), s
	})

	a.kill()
	l.ask(func() { l.facts = Local{ReplOffset: 1} })
	eventually(t, "the machine elected", func() (bool, string) {
		s := line(b, my) + "\n" + line(c, my) + "\n" + line(d, my)
		return strings.Count(s, "connected 0-5460") == 3 && strings.Count(s, "master") == 3, s
	})
	startRealOn(t, path, dir, "a", uint16(port(a)))
	eventually(t, "the old primary to follow the machine", func() (bool, string) {
		s := line(a, idA)
		return strings.Contains(s, "myself,slave "+my), s
	})

	eventually(t, "state ok at b", func() (bool, string) {
		s := b.cli(t, "CLUSTER", "INFO")
		return strings.Contains(s, "cluster_state:ok"), s
	})
	c.kill()
	eventually(t, "the real replica elected by b and the machine", func() (bool, string) {
		s := line(d, idD)
		return strings.Contains(s, "myself,master") && strings.Contains(s, "10922-16383"), s
	})
	eventually(t, "the machine to see it", func() (bool, string) {
		return ask(func() bool { n := l.m.lookup(idD); return n.isPrimary() && n.slotCount > 5000 && l.m.state == StateOK }), "not yet"
	})
	if modern {
		eventually(t, "shard ids to agree", func() (bool, string) {
			for _, s := range []*realServer{a, b, d} {
				if !ask(func() bool { return text(l.m.lookup(id(s)).shard) == shard(s) }) {
					return false, s.name
				}
			}
			return ask(func() bool { return text(l.m.self.shard) == shard(a) }), "own shard"
		})
	}

	// A real replica takes over from the machine, in agreement with it: its
	// offset is the one that the paused machine announces.
	l.ask(func() { l.facts.ReplOffset = l.m.lookup(idA).offset })
	a.cli(t, "CLUSTER", "FAILOVER")
	eventually(t, "a to take over from the machine", func() (bool, string) {
		s := line(b, my) + "\n" + line(a, idA)
		return strings.Contains(s, "slave "+idA) && strings.Contains(s, "myself,master") &&
			ask(func() bool { return l.m.self.isReplica() && l.m.self.primary == l.m.lookup(idA) }), s
	})
	// And back: the machine waits for the real primary's pause and its offset,
	// which is 0, as nobody wrote.
	l.ask(func() { l.facts = Local{PrimaryLinkUp: true}; l.step(l.facts) })
	l.must(Failover{})
	eventually(t, "the machine to take over from a", func() (bool, string) {
		s := line(a, idA) + "\n" + line(b, my)
		return strings.Contains(s, "myself,slave "+my) && strings.Contains(s, "master"), s
	})
	if !ask(func() bool { return strings.Contains(strings.Join(l.said, "\n"), "manual failover: all data received") }) {
		t.Error("the machine took over without the real primary's paused offset")
	}

	// FORGET reaches everyone by gossip, if the servers know that.
	l.must(Forget{idC})
	if !modern {
		for _, s := range []*realServer{a, b, d} {
			s.cli(t, "CLUSTER", "FORGET", idC)
		}
	}
	eventually(t, "c forgotten", func() (bool, string) {
		s := line(a, idC) + line(b, idC) + line(d, idC)
		return s == "", s
	})
	if n := line(b, idB); !strings.Contains(n, "myself,master") {
		t.Errorf("b is %q", n)
	}
	voted := ask(func() bool { return strings.Contains(strings.Join(l.said, "\n"), "vote granted node="+idD) })
	if !voted {
		t.Errorf("the machine did not vote, yet with two voters of three left its vote was needed")
	}
}
