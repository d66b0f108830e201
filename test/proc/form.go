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
	Wait(t, Patience, "all nodes know each other", func() string {
		for _, node := range c.Nodes {
			peers, err := node.Peers()
			if err != nil || len(peers) != total {
				return fmt.Sprintf("%s knows %d of %d, %v", node, len(peers), total, err)
			}
			for _, p := range peers {
				if p.Is("handshake") || !p.Link {
					return fmt.Sprintf("%s: %v", node, p.Flags)
				}
			}
		}
		return ""
	})
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
