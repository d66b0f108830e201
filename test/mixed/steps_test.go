package mixed

import (
	"fmt"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// follow makes n a replica of primary as soon as n knows it.
func follow(t *testing.T, n, primary *proc.Node) {
	t.Helper()
	id := primary.Text("CLUSTER", "MYID")
	proc.Wait(t, proc.Patience, fmt.Sprintf("%s a replica of %s", n, primary), func() string {
		if _, err := n.Do("CLUSTER", "REPLICATE", id); err != nil {
			return err.Error()
		}
		return ""
	})
}

// inStep waits until the replica has its primary's data, and both know it.
func inStep(t *testing.T, primary, replica *proc.Node) {
	t.Helper()
	id, pid := replica.Text("CLUSTER", "MYID"), primary.Text("CLUSTER", "MYID")
	proc.Wait(t, proc.Patience, fmt.Sprintf("%s known as replica of %s", replica, primary), func() string {
		if i := replica.Info("replication"); i["master_link_status"] != "up" {
			return "link " + i["master_link_status"]
		}
		peers, err := primary.Peers()
		for _, p := range peers {
			if p.ID == id && p.Primary == pid && p.Link {
				return ""
			}
		}
		return fmt.Sprint(peers, err)
	})
	proc.WaitInStep(t, primary, replica)
}

// failoverBy makes a replica take over from its primary in agreement with it. The
// voters, of whom the primary is one, have heard who replicates whom: one who has not
// refuses its vote.
func failoverBy(t *testing.T, replica, primary *proc.Node, others ...*proc.Node) {
	t.Helper()
	id, pid := replica.Text("CLUSTER", "MYID"), primary.Text("CLUSTER", "MYID")
	for _, n := range append(others, primary) {
		proc.Wait(t, proc.Patience, fmt.Sprintf("%s to know %s as replica of %s", n, replica, primary), func() string {
			peers, err := n.Peers()
			for _, p := range peers {
				if p.ID == id && p.Primary == pid {
					return ""
				}
			}
			return fmt.Sprint(peers, err)
		})
	}
	replica.Must("CLUSTER", "FAILOVER")
	exchanged(t, replica, primary)
}

// exchanged waits until heir is the primary of old, by the opinion of both.
func exchanged(t *testing.T, heir, old *proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, fmt.Sprintf("%s the primary of %s", heir, old), func() string {
		h, o := heir.Myself(), old.Myself()
		if !h.Is("master") || !o.Is("slave") || o.Primary != h.ID {
			return fmt.Sprintf("%+v, %+v", h, o)
		}
		return ""
	})
	inStep(t, heir, old)
}

// stateOK waits until the nodes see the cluster in order.
func stateOK(t *testing.T, nodes ...*proc.Node) {
	t.Helper()
	for _, n := range nodes {
		proc.Wait(t, proc.Patience, "state ok at "+n.String(), func() string {
			info, err := n.ClusterInfo()
			if info["cluster_state"] != "ok" {
				return fmt.Sprint(info, err)
			}
			return ""
		})
	}
}
