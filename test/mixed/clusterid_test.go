package mixed

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// The cluster id is no hindrance beside real servers. They join a cluster that
// has one and let a node of it in, and they load a nodes.conf that holds it.
func TestClusterIDBesideRealNodes(t *testing.T) {
	forEach(t, func(t *testing.T, r proc.Real) {
		real := r.Program(t)
		c := proc.FormShards(t, []int{0, 0, 0}, "--cluster-node-timeout", "1000")
		one := c.Nodes[0]
		proc.Wait(t, proc.Patience, "a cluster id, saved", func() string {
			text, err := os.ReadFile(one.Path("nodes.conf"))
			if err != nil || !regexp.MustCompile(`(?m)^vars .* clusterId [1-9][0-9]*$`).Match(text) {
				return string(text)
			}
			return ""
		})
		// One joins by its own MEET, one is met.
		args := proc.ClusterArgs("--cluster-node-timeout", "1000")
		guest, host := proc.StartNode(t, real, args...), proc.StartNode(t, real, args...)
		guest.Must("CLUSTER", "MEET", "127.0.0.1", one.Port)
		one.Must("CLUSTER", "MEET", "127.0.0.1", host.Port)
		all := append(c.Nodes, guest, host)
		proc.WaitKnown(t, len(all), all...)
		proc.Wait(t, proc.Patience, "the real nodes to see the cluster serve", func() string {
			for _, n := range []*proc.Node{guest, host} {
				if info, err := n.ClusterInfo(); err != nil || info["cluster_state"] != "ok" || info["cluster_slots_ok"] != "16384" {
					return strings.Join([]string{n.String(), info["cluster_state"], info["cluster_slots_ok"]}, " ")
				}
			}
			return ""
		})
		for _, n := range []*proc.Node{guest, host} {
			if log := n.Log(); strings.Contains(strings.ToLower(log), "unknown extension") {
				t.Errorf("%s complains:\n%s", n, log)
			}
		}

		id := one.Text("CLUSTER", "MYID")
		one.Stop()
		text, err := os.ReadFile(one.Path("nodes.conf"))
		if err != nil || !strings.Contains(string(text), " clusterId ") {
			t.Fatalf("%v, %s", err, text)
		}
		heir := proc.NewNode(t, real, args...)
		if err := os.WriteFile(heir.Path("nodes.conf"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		heir.Start()
		if got := heir.Text("CLUSTER", "MYID"); got != id {
			t.Errorf("a real node started from the file has id %s, want %s", got, id)
		}
		all[0] = heir
		proc.WaitKnown(t, len(all), all...)
	})
}
