package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// waitClusterID waits until all running nodes tell one cluster id, and returns it.
func waitClusterID(t *testing.T, nodes ...*proc.Node) string {
	t.Helper()
	var id string
	proc.Wait(t, proc.Patience, "one cluster id", func() string {
		var ids []string
		for _, n := range nodes {
			if !n.Running() {
				continue
			}
			info, err := n.ClusterInfo()
			if err != nil {
				return err.Error()
			}
			ids = append(ids, info["cluster_id"])
		}
		if id = ids[0]; id == "" || slices.ContainsFunc(ids, func(s string) bool { return s != id }) {
			return fmt.Sprint(ids)
		}
		return ""
	})
	return id
}

// claims is what a node thinks about epochs and owners, a line a node.
func claims(t *testing.T, n *proc.Node) string {
	t.Helper()
	info, err := n.ClusterInfo()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for l := range strings.Lines(n.Text("CLUSTER", "NODES")) {
		f := strings.Fields(l)
		lines = append(lines, fmt.Sprint(f[0], f[6], f[8:]))
	}
	slices.Sort(lines)
	return fmt.Sprintln("epoch", info["cluster_current_epoch"], strings.Join(lines, "\n"))
}

// Two clusters stay two when an address of one passes to the other, and when a
// node of one is told to meet a node of the other; nothing of their slots and
// epochs changes. With the guard switched off the same MEET makes them one.
func TestReusedAddress(t *testing.T) {
	t.Parallel()
	const timeout = 1000
	args := []string{"--cluster-node-timeout", fmt.Sprint(timeout)}
	a := proc.FormShards(t, []int{0, 0, 0}, args...)
	b := proc.FormShards(t, []int{0, 0, 0}, args...)
	idA, idB := waitClusterID(t, a.Nodes...), waitClusterID(t, b.Nodes...)
	if idA == idB {
		t.Fatalf("two clusters have the id %s", idA)
	}
	wantA, wantB := claims(t, a.Nodes[0]), claims(t, b.Nodes[0])
	lost := a.Nodes[2].Myself().ID

	// The last node of A ends, the last of B comes back at its address.
	lastA, lastB := a.Nodes[2], b.Nodes[2]
	lastA.Kill()
	lastB.Kill()
	lastA.Dir, lastB.Dir = lastB.Dir, lastA.Dir
	b.Nodes[2] = lastA
	lastA.Start()
	b.WaitHealthy(proc.Patience)
	a.Nodes = a.Nodes[:2]
	failed := func() string {
		for _, n := range a.Nodes {
			peers, err := n.Peers()
			if err != nil || len(peers) != 3 || !slices.ContainsFunc(peers, func(p proc.Peer) bool { return p.ID == lost && p.Is("fail") }) {
				return fmt.Sprintf("%s sees %v, %v", n, peers, err)
			}
		}
		return ""
	}
	proc.Wait(t, proc.Patience, "the lost node of A shown as failed", failed)

	// By mistake they are told to meet, from both sides.
	a.Nodes[0].Must("CLUSTER", "MEET", "127.0.0.1", b.Nodes[0].Port)
	b.Nodes[1].Must("CLUSTER", "MEET", "127.0.0.1", a.Nodes[1].Port)
	logged(t, a.Nodes[0], "a node of another cluster was refused", "id="+idB)
	logged(t, b.Nodes[1], "a node of another cluster was refused", "id="+idA)
	for end := time.Now().Add(2 * timeout * time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, n := range a.Nodes {
			if got := claims(t, n); got != wantA {
				t.Fatalf("%s of cluster A: %s\nwas %s", n, got, wantA)
			}
		}
		for _, n := range b.Nodes {
			if got := claims(t, n); got != wantB {
				t.Fatalf("%s of cluster B: %s\nwas %s", n, got, wantB)
			}
		}
	}
	if missing := failed(); missing != "" {
		t.Error(missing)
	}

	// The node of A comes back, at yet another address.
	lastB.Start()
	a.Nodes = append(a.Nodes, lastB)
	a.WaitHealthy(proc.Patience)
	if got := claims(t, a.Nodes[0]); got != wantA || waitClusterID(t, a.Nodes...) != idA {
		t.Errorf("cluster A in order again: %s\nwas %s", got, wantA)
	}
	if testing.Short() {
		return
	}
	all := slices.Concat(a.Nodes, b.Nodes)
	for _, n := range all {
		n.Must("CONFIG", "SET", "cluster-id-guard", "no")
	}
	a.Nodes[0].Must("CLUSTER", "MEET", "127.0.0.1", b.Nodes[0].Port)
	proc.WaitKnown(t, 6, all...)
	waitClusterID(t, all...)
}

// A node that has left its cluster is taken by another one: emptied and reset.
func TestNodeChangesCluster(t *testing.T) {
	t.Parallel()
	a := proc.FormShards(t, []int{0}, "--cluster-node-timeout", "500")
	b := proc.FormShards(t, []int{0, 0}, "--cluster-node-timeout", "500")
	waitClusterID(t, a.Nodes...)
	idB := waitClusterID(t, b.Nodes...)
	n := a.Nodes[0]
	n.Must("CLUSTER", "RESET")
	if info, err := n.ClusterInfo(); err != nil || info["cluster_id"] != "" {
		t.Fatalf("after RESET: %v, %v", info, err)
	}
	n.CLI("--cluster", "add-node", n.Addr(), b.Nodes[0].Addr())
	all := append(slices.Clone(b.Nodes), n)
	proc.WaitKnown(t, 3, all...)
	if id := waitClusterID(t, all...); id != idB {
		t.Errorf("the id became %s, was %s", id, idB)
	}
}
