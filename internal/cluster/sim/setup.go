package sim

import (
	"fmt"

	"github.com/skeindb/skein/internal/cluster"
)

// shape decides who is what: primaries first, then replicas, usually one or two
// a primary. It returns the number of primaries, at least three where there are
// that many nodes.
func (w *World) shape() int {
	perShard := []int{2, 2, 2, 3, 3, 3, 5, 1}[w.rnd.IntN(8)]
	w.checker.shards = min(max(len(w.nodes)/perShard, 3), len(w.nodes))
	return w.checker.shards
}

// slotsOf are the first and last slot of the i-th of n primaries.
func slotsOf(i, n int) (first, last int) {
	return i * cluster.SlotCount / n, (i+1)*cluster.SlotCount/n - 1
}

// createFromFiles starts all nodes with nodes.conf of a finished cluster.
func (w *World) createFromFiles() { w.createShards(w.shape()) }

func (w *World) createShards(primaries int) {
	w.checker.shards = primaries
	all := make([]cluster.ConfNode, len(w.nodes))
	for i := range all {
		n := &all[i]
		n.ID = w.randomID()
		n.Addr = cluster.Addr{IP: w.nodes[i].ip, Port: clientPort, BusPort: busPort}
		n.Connected = true
		if i < primaries {
			n.Flags, n.ConfigEpoch, n.ShardID = cluster.FlagPrimary, uint64(i+1), w.randomID()
			n.Slots = new(cluster.SlotSet)
			first, last := slotsOf(i, primaries)
			for slot := first; slot <= last; slot++ {
				n.Slots.Add(slot)
			}
		} else {
			p := &all[i%primaries]
			n.Flags, n.Primary, n.ShardID, n.ConfigEpoch = cluster.FlagReplica, p.ID, p.ShardID, p.ConfigEpoch
		}
	}
	for i, n := range w.nodes {
		conf := &cluster.NodesConf{CurrentEpoch: uint64(primaries), Nodes: append([]cluster.ConfNode(nil), all...)}
		conf.Nodes[i].Flags |= cluster.FlagMyself
		n.disk.synced, n.disk.newest = conf, conf
	}
	for _, n := range w.nodes {
		n.start()
	}
}

// createByCommands does what redis-cli --cluster create does: slots and epochs,
// MEET through the first node, and once all know all, the replicas.
func (w *World) createByCommands() {
	primaries := w.shape()
	epochs := !w.chance(4) // without, all primaries start with the same
	must := func(n *node, cmd cluster.Command) {
		if err := n.admin(cmd); err != nil {
			w.fail(n, "setup", "%T: %v", cmd, err)
		}
	}
	for i, n := range w.nodes {
		n.start()
		if i < primaries {
			var slots []int
			for slot, last := slotsOf(i, primaries); slot <= last; slot++ {
				slots = append(slots, slot)
			}
			must(n, cluster.AddSlots{Slots: slots})
		}
		if epochs {
			must(n, cluster.SetConfigEpoch{Epoch: int64(i + 1)})
		}
	}
	for _, n := range w.nodes[1:] {
		must(n, cluster.Meet{IP: w.nodes[0].ip, Port: clientPort})
	}
	w.runUntil(w.now+60*second+int64(w.cfg.NodeTimeout)*20*ms, w.checker.agreed)
	if err := w.checker.agreed(); err != nil {
		w.fail(nil, "setup", "the nodes did not meet: %v", err)
		return
	}
	for i := primaries; i < len(w.nodes); i++ {
		must(w.nodes[i], cluster.Replicate{Node: w.nodes[i%primaries].id.String()})
	}
	w.runUntil(w.now+second, nil) // the news must have left before agreement counts
}

func (w *World) randomID() (id cluster.NodeID) {
	copy(id[:], fmt.Sprintf("%016x%016x%08x", w.rnd.Uint64(), w.rnd.Uint64(), w.rnd.Uint32()))
	return id
}
