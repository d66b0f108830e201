package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// Where a primary and its only replica are gone, the cluster says so in the
// documented words, and serves again when they return.
func TestShardGone(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	primary := owner(t, c, "foo")
	replica := c.Replicas(primary)[0]
	rest := owner(t, c, "bar")
	primary.Must("SET", "{foo}k", "kept")
	rest.Must("SET", "{bar}k", "kept")
	proc.WaitInStep(t, primary, replica)
	if got := primary.Text("SAVE"); got != "OK" {
		t.Fatalf("SAVE: %s", got)
	}
	foo, bar := "{foo}k", "{bar}k"

	replica.Kill() // first, so that nobody is elected
	primary.Kill()
	const down = "CLUSTERDOWN The cluster is down"
	start := time.Now()
	proc.Wait(t, proc.Patience, "the cluster is down", func() string {
		for _, n := range c.Nodes {
			if !n.Running() {
				continue
			}
			if info, err := n.ClusterInfo(); err != nil || info["cluster_state"] != "fail" {
				return fmt.Sprintf("%s: state %s, %v", n, info["cluster_state"], err)
			}
		}
		return ""
	})
	t.Logf("state fail everywhere after %v", time.Since(start).Round(time.Millisecond))
	for _, args := range [][]any{{"GET", foo}, {"SET", foo, "1"}, {"GET", bar}, {"SET", bar, "1"}, {"DEL", bar}} {
		if v, err := rest.Do(args...); err == nil || err.Error() != down {
			t.Errorf("%v with a shard gone: %v, %v, want %s", args, v, err, down)
		}
	}
	for _, args := range [][]any{{"PING"}, {"DBSIZE"}, {"CLUSTER", "NODES"}, {"INFO"}} {
		if _, err := rest.Do(args...); err != nil {
			t.Errorf("%v with a shard gone: %v, want an answer", args, err)
		}
	}

	// Those who allow it are served what is there.
	rest.Must("CONFIG", "SET", "cluster-require-full-coverage", "no")
	proc.Wait(t, proc.Patience, "partial service", func() string {
		if v, err := rest.Do("GET", bar); err != nil || v != "kept" {
			return fmt.Sprintf("GET %s: %v, %v", bar, v, err)
		}
		return ""
	})
	rest.Must("CONFIG", "SET", "cluster-require-full-coverage", "yes")

	primary.Start()
	replica.Start()
	took := c.WaitHealthy(proc.Patience)
	t.Logf("whole again after %v", took.Round(time.Millisecond))
	if got := primary.Text("GET", foo); got != "kept" {
		t.Errorf("GET %s = %q after the shard returned, want kept", foo, got)
	}
	primary.Must("SET", foo, "2")
	rest.Must("SET", bar, "2")
	proc.WaitInStep(t, primary, replica)
}

// Slots that nobody has are answered with the other text.
func TestUnassignedSlot(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs()...)
	const down = "CLUSTERDOWN Hash slot not served"
	for _, args := range [][]any{{"GET", "foo"}, {"SET", "foo", "1"}} {
		if _, err := n.Do(args...); err == nil || err.Error() != down {
			t.Errorf("%v: %v, want %s", args, err, down)
		}
	}
	n.Must("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	n.WaitSet("foo", "1")
}
