package cluster

import "testing"

// Two nodes become full members of each other's tables; no handshake entry
// stays behind and both links of each pair stand (4.3, 2.2.1).
func TestHandshakeOfTwo(t *testing.T) {
	w := newWorld(t, 2)
	w.peers[0].must(Meet{IP: "10.0.0.2", Port: 7000})
	w.until(3000, "both links of both nodes", func() bool {
		a, b := w.sees(0, 1), w.sees(1, 0)
		return a != nil && b != nil && a.in != nil && a.out != nil && b.in != nil && b.out != nil
	})
	w.run(3 * testTimeout)
	for i, p := range w.peers {
		if len(p.m.nodes) != 2 {
			t.Errorf("node %d knows %d nodes, want 2", i, len(p.m.nodes))
		}
		if n := w.sees(i, 1-i); n.is(FlagMeet) || !n.isPrimary() || !n.is(FlagExtensions) {
			t.Errorf("node %d sees flags %04x, want primary with extensions, no meet", i, n.flags)
		}
		if got, want := p.m.self.addr.IP, p.ip; got != want {
			t.Errorf("node %d learnt own ip %q, want %q", i, got, want)
		}
	}
}

// One node meets five; the rest learn of each other from gossip.
func TestHandshakeOfSix(t *testing.T) {
	w := newWorld(t, 6)
	w.meetAll()
	w.run(testTimeout)
	for i := range 6 {
		for j := range 6 {
			if n := w.sees(i, j); i != j && (n.out == nil || n.in == nil) {
				t.Errorf("node %d lacks a link with %d", i, j)
			}
		}
	}
}

// A chain of meetings is enough for all to know all (mechanism 31).
func TestHandshakeByChain(t *testing.T) {
	w := newWorld(t, 3)
	w.peers[0].must(Meet{IP: "10.0.0.2", Port: 7000})
	w.peers[1].must(Meet{IP: "10.0.0.3", Port: 7000})
	w.until(10*testTimeout, "0 and 2 know each other", func() bool { return w.sees(0, 2) != nil && w.sees(2, 0) != nil })
}

// Nobody at the address: the handshake node goes after max(T, 1000) ms plus a
// tick, and never enters nodes.conf (invariant 21).
func TestHandshakeTimeout(t *testing.T) {
	w := newWorld(t, 1)
	p := w.peers[0]
	p.must(Meet{IP: "10.0.0.99", Port: 7000})
	if len(p.m.nodes) != 2 {
		t.Fatalf("no handshake node")
	}
	p.must(Meet{IP: "10.0.0.99", Port: 7000})
	if len(p.m.nodes) != 2 {
		t.Fatalf("a second handshake node for the same address")
	}
	if got := len(p.m.Conf().Nodes); got != 1 {
		t.Errorf("nodes.conf has %d nodes, want 1", got)
	}
	w.run(testTimeout - 100)
	if len(p.m.nodes) != 2 {
		t.Errorf("handshake node went too early")
	}
	w.run(400)
	if len(p.m.nodes) != 1 {
		t.Errorf("handshake node still there")
	}
}

// A node that meets itself gains no member.
func TestMeetSelf(t *testing.T) {
	w := newWorld(t, 1)
	w.peers[0].must(Meet{IP: "10.0.0.1", Port: 7000})
	w.run(2 * testTimeout)
	if n := len(w.peers[0].m.nodes); n != 1 {
		t.Errorf("%d nodes, want 1", n)
	}
}

func TestMeetErrors(t *testing.T) {
	w := newWorld(t, 1)
	for _, tt := range []struct {
		cmd  Meet
		want string
	}{
		{Meet{IP: "10.0.0.1", Port: 0}, "ERR Port number is out of range"},
		{Meet{IP: "10.0.0.1", Port: 65536}, "ERR Port number is out of range"},
		{Meet{IP: "10.0.0.1", Port: 60000}, "ERR Cluster bus port number is out of range"},
		{Meet{IP: "10.0.0.1", Port: 7000, BusPort: 70000}, "ERR Cluster bus port number is out of range"},
		{Meet{IP: "localhost", Port: 7000}, "ERR Invalid node address specified: localhost:7000"},
		{Meet{IP: "::1", Port: 7000}, ""},
	} {
		if got := w.peers[0].admin(tt.cmd); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.cmd, got, tt.want)
		}
	}
}
