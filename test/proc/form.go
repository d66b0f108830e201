package proc

import (
	"fmt"
	"testing"
)

// FormShards starts a cluster of given shards by commands alone, which is faster
// than redis-cli and takes any layout: replicas[k] replicas for the k-th
// primary. Nodes holds the primaries in order, then the replicas in order.
func FormShards(t testing.TB, replicas []int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	n := len(replicas)
	total := n
	for _, r := range replicas {
		total += r
	}
	for range total {
		c.Nodes = append(c.Nodes, NewNode(t, Skein(t), ClusterArgs(args...)...))
	}
	for _, node := range c.Nodes {
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
	i := n
	for k, r := range replicas {
		for range r {
			c.Nodes[i].Must("CLUSTER", "REPLICATE", c.Nodes[k].Myself().ID)
			i++
		}
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
