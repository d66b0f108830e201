package cluster

import (
	"math/rand/v2"
	"testing"
)

// Whatever arrives, in whatever order, on whatever link: the machine does not
// panic and its state stays consistent; epochs never fall (invariants 3, 8, 23).
// Senders are members, strangers and the node itself; every field is drawn, with
// a liking for values that mean something.
func TestHostileMessages(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 8
	}
	for seed := range seeds {
		hostile(t, seed, 600)
	}
}

func FuzzHostileMessages(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { hostile(t, seed, 200) })
}

func hostile(t *testing.T, seed uint64, steps int) {
	r := rand.New(rand.NewPCG(seed, 5))
	var l *lab
	switch r.IntN(3) {
	case 0:
		l = observerLab(t)
	case 1:
		l = candidateLab(t)
	case 2:
		l = newLab(t, []labNode{{name: "a", flags: FlagPrimary}})
	}
	names := []string{"a", "b", "c", "d", "e", "f", "r", "s", "x", "y", "z"}
	id := func() NodeID {
		switch r.IntN(12) {
		case 0:
			return NodeID{}
		case 1:
			return l.m.self.id
		}
		return nid(names[r.IntN(len(names))])
	}
	epoch := func() uint64 { return l.m.currentEpoch + uint64(r.IntN(5)) - min(l.m.currentEpoch, 2) }
	slots := func() *SlotSet {
		switch r.IntN(6) {
		case 0:
			return nil
		case 1:
			if n := l.m.nodes[r.IntN(len(l.m.nodes))]; n.slotCount > 0 {
				return n.shareSlots()
			}
			return new(SlotSet)
		}
		a := r.IntN(SlotCount)
		return slotRange(a, min(a+r.IntN(4000), SlotCount-1))
	}
	ip := func() string { return []string{"", "10.0.0.3", "10.0.0.9", "::1"}[r.IntN(4)] }
	for range steps {
		l.now += Millis(r.IntN(300))
		before := l.m.currentEpoch
		reset := false
		switch k := r.IntN(20); {
		case k < 13:
			m := &Message{Type: Type(r.IntN(int(TypeCount) + 1)), Port: uint16(r.IntN(3)), BusPort: uint16(r.IntN(3)),
				CurrentEpoch: epoch(), ConfigEpoch: epoch(), Offset: uint64(r.IntN(200)), Sender: id(), Slots: slots(),
				IP: ip(), Flags: Flags(r.Uint32()), MFlags: uint8(r.IntN(8)), Fail: id()}
			if r.IntN(3) == 0 {
				m.ReplicaOf = id()
			}
			for range r.IntN(4) {
				m.Gossip = append(m.Gossip, GossipEntry{Node: id(), PongRecvSec: uint32(l.times().Wall / 1000), IP: ip(), BusPort: 7, Flags: Flags(r.Uint32())})
			}
			if r.IntN(2) == 0 {
				m.Ext.ShardID = nid("5" + names[r.IntN(len(names))])
			}
			if r.IntN(10) == 0 {
				m.Ext.Forgotten = []Forgotten{{id(), r.Uint64()}}
			}
			m.Update = &Update{ConfigEpoch: epoch(), Node: id(), Slots: slots()}
			var link LinkID
			if len(l.m.links) > 0 && r.IntN(4) > 0 {
				n := l.m.nodes[r.IntN(len(l.m.nodes))]
				if n.out != nil && r.IntN(2) == 0 {
					link = n.out.id
				} else if n.in != nil {
					link = n.in.id
				}
			}
			if link == 0 {
				l.conns++
				link = InboundLink(l.conns)
				l.step(Accepted{link})
			}
			if r.IntN(20) == 0 {
				l.step(Heard{link})
			}
			l.step(Recv{Link: link, Msg: m, PeerIP: ip(), LocalIP: ip()})
		case k < 16:
			l.step(Local{ReplOffset: uint64(r.IntN(200)), PrimaryLinkUp: r.IntN(2) == 0, PrimaryLinkAge: Millis(r.IntN(3)*1000 - 1000)})
			l.step(Tick{})
		case k == 16:
			for _, n := range l.m.nodes {
				if n.out != nil {
					if r.IntN(2) == 0 {
						l.step(LinkUp{n.out.id})
					} else {
						l.step(LinkDown{Link: n.out.id, Refused: r.IntN(2) == 0})
					}
					break
				}
			}
		case k == 17:
			l.step(Done{uint64(r.IntN(5))})
		default:
			slot := r.IntN(SlotCount)
			cmds := []Command{
				Meet{IP: "10.0.0.8", Port: 7000}, Forget{text(id())}, Replicate{text(id())}, Failover{FailoverMode(r.IntN(3))},
				AddSlots{Slots: []int{slot}}, DelSlots{Slots: []int{slot}}, FlushSlots{}, BumpEpoch{},
				SetSlot{Slot: slot, Action: SlotAction(r.IntN(4)), Node: text(id()), Propagated: r.IntN(2) == 0},
				SetConfigEpoch{int64(r.IntN(9))}, Reset{Hard: r.IntN(2) == 0}, KillLinks{Node: text(id()), To: true, From: true},
			}
			c := cmds[r.IntN(len(cmds))]
			rs, ok := c.(Reset)
			reset = ok && rs.Hard
			l.admin(c)
		}
		if l.m.currentEpoch < before && !reset {
			t.Fatalf("seed %d: currentEpoch fell from %d to %d", seed, before, l.m.currentEpoch)
		}
		l.m.View()
		l.sent, l.effects, l.dials = nil, nil, nil
	}
}
