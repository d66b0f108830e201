package proc

import (
	"fmt"
	"slices"
	"testing"
)

// A Shard is the programs of a primary and of its replicas.
type Shard struct {
	Primary  Program
	Replicas []Program
}

// FormShards starts a cluster of Skein nodes: replicas[k] replicas for the k-th
// primary. Nodes holds the primaries in order, then the replicas in order.
func FormShards(t testing.TB, replicas []int, args ...string) *Cluster {
	t.Helper()
	return FormShardsOf(t, skeinShards(t, replicas), args...)
}

func skeinShards(t testing.TB, replicas []int) (shards []Shard) {
	t.Helper()
	for _, n := range replicas {
		shards = append(shards, Shard{Skein(t), slices.Repeat([]Program{Skein(t)}, n)})
	}
	return shards
}

// FormShardsOf starts a cluster of given shards by commands alone, which is
// faster than redis-cli and takes any layout. Nodes holds the primaries in order,
// then the replicas in order.
func FormShardsOf(t testing.TB, shards []Shard, args ...string) *Cluster {
	t.Helper()
	return formShards(t, shards, func(*Node) {}, args...)
}

// formShards is FormShardsOf with something done to each node before it starts.
func formShards(t testing.TB, shards []Shard, prepare func(*Node), args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	n := len(shards)
	for _, s := range shards {
		c.Nodes = append(c.Nodes, NewNode(t, s.Primary, ClusterArgs(args...)...))
	}
	var of []*Node // the primary of each replica
	for k, s := range shards {
		for _, p := range s.Replicas {
			c.Nodes = append(c.Nodes, NewNode(t, p, ClusterArgs(args...)...))
			of = append(of, c.Nodes[k])
		}
	}
	total := len(c.Nodes)
	for _, node := range c.Nodes {
		prepare(node)
		node.Launch()
	}
	for i, node := range c.Nodes {
		node.WaitReady()
		if i < n {
			node.Must("CLUSTER", "ADDSLOTSRANGE", i*16384/n, (i+1)*16384/n-1)
		}
		node.Must("CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	for _, node := range c.Nodes[1:] {
		c.Nodes[0].Must("CLUSTER", "MEET", "127.0.0.1", node.Port)
	}
	WaitKnown(t, total, c.Nodes...)
	for i, primary := range of {
		c.Nodes[n+i].Must("CLUSTER", "REPLICATE", primary.Myself().ID)
	}
	Wait(t, Patience, "all nodes know who replicates whom", func() string {
		for _, node := range c.Nodes {
			peers, err := node.Peers()
			if err != nil {
				return err.Error()
			}
			known := 0
			for _, p := range peers {
				if p.Is("slave") && p.Primary != "-" {
					known++
				}
			}
			if known != total-n {
				return fmt.Sprintf("%s knows %d replicas of %d", node, known, total-n)
			}
		}
		return ""
	})
	c.WaitHealthy(Patience)
	return c
}

// WaitKnown waits until each of the nodes has count nodes in its table, none in
// handshake, with links to those that have not failed.
func WaitKnown(t testing.TB, count int, nodes ...*Node) {
	t.Helper()
	Wait(t, Patience, fmt.Sprintf("%d nodes known", count), func() string {
		for _, n := range nodes {
			peers, err := n.Peers()
			if err != nil || len(peers) != count {
				return fmt.Sprintf("%s knows %v, %v", n, peers, err)
			}
			for _, p := range peers {
				if p.Is("handshake") || !p.Link && !p.Is("fail") && !p.Is("myself") {
					return fmt.Sprintf("%s sees %+v", n, p)
				}
			}
		}
		return ""
	})
}
