package cluster

import (
	"fmt"
	"testing"
)

// BenchmarkTick is the cron of a primary that knows n nodes, with the pings and
// pongs of a tick.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{6, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			nodes := []labNode{{name: "a", flags: FlagPrimary, epoch: 1, slots: slotRange(0, 9)}}
			for i := 1; i < n; i++ {
				nodes = append(nodes, labNode{name: fmt.Sprintf("n%04d", i), flags: FlagPrimary, epoch: uint64(i + 1), slots: slotRange(10*i, 10*i+9)})
			}
			l := newLab(&testing.T{}, nodes, func(s *Settings) { s.NodeTimeout = 15000; s.NoViews = true })
			name := make(map[LinkID]string, n)
			for _, x := range nodes[1:] {
				name[l.out[nid(x.name)]] = x.name
			}
			b.ReportAllocs()
			msgs := 0
			for b.Loop() {
				l.now += TickPeriod
				l.m.Step(l.times(), Tick{})
				rd := l.m.Ready()
				for _, e := range rd.Send {
					if from := name[e.Link]; from != "" {
						msgs++
						l.m.Step(l.times(), Recv{Link: e.Link, Msg: l.msg(from, TypePong)})
					}
				}
				l.m.Ready()
			}
			b.ReportMetric(float64(msgs)/float64(b.N), "pongs/op")
		})
	}
}

// BenchmarkGossip is a PING of a member with a full gossip section, and the
// PONG to it.
func BenchmarkGossip(b *testing.B) {
	for _, n := range []int{6, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			nodes := []labNode{{name: "a", flags: FlagPrimary, epoch: 1, slots: slotRange(0, 9)}}
			for i := 1; i < n; i++ {
				nodes = append(nodes, labNode{name: fmt.Sprintf("n%04d", i), flags: FlagPrimary, epoch: uint64(i + 1), slots: slotRange(10*i, 10*i+9)})
			}
			l := newLab(&testing.T{}, nodes, func(s *Settings) { s.NoViews = true })
			m := l.msg("n0001", TypePing)
			for i := 2; i < min(2+max(3, n/10), n); i++ {
				x := l.node(nodes[i].name)
				m.Gossip = append(m.Gossip, GossipEntry{Node: x.id, IP: x.addr.IP, Port: 7000, BusPort: 17000, Flags: FlagPrimary})
			}
			l.recv("n0001", m)
			in := Recv{Link: l.in[nid("n0001")], Msg: m, PeerIP: l.node("n0001").addr.IP}
			b.ReportAllocs()
			for b.Loop() {
				l.m.Step(l.times(), in)
				l.m.Ready()
			}
		})
	}
}
