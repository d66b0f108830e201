package e2e

import (
	"strconv"
	"testing"

	"github.com/skeindb/skein/test/proc"
	"github.com/skeindb/skein/test/workload"
)

// Goal: slots move under the hands of redis-cli while clients work on their
// keys, and nobody notices: no error but redirects, no key lost, none doubled.
// Method: reshard slots from one primary to another and let rebalance bring them
// back, with clients that check each reply against a model, and replicas.
func TestReshardUnderWorkload(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	slots, tags := 16, 18
	if !testing.Short() {
		slots, tags = 120, 90
	}
	from, to := c.Nodes[0], c.Nodes[1]
	workload.Work(t, c, workload.TagsIn(tags, 0, slots), func(progress func(string)) {
		out := from.CLI("--cluster", "reshard", from.Addr(), "--cluster-from", from.Myself().ID, "--cluster-to", to.Myself().ID,
			"--cluster-slots", strconv.Itoa(slots), "--cluster-yes", "--cluster-pipeline", "3")
		for slot := range slots {
			if me := to.Myself(); !me.Serves(slot) {
				t.Errorf("after reshard slot %d is not served by %s: %v\n%s", slot, to, me.Slots, out)
				break
			}
		}
		progress("after reshard")
		out = from.CLI("--cluster", "rebalance", from.Addr(), "--cluster-threshold", "0.1")
		for _, n := range []*proc.Node{from, to} {
			info := n.Myself()
			if got := info.SlotCount(); got < 5460 || got > 5463 {
				t.Errorf("after rebalance %s serves %d slots: %v\n%s", n, got, info.Slots, out)
			}
		}
	})
	workload.WantInOrder(t, from)
}

// Goal: the unmodified redis-cli --cluster manages a cluster in all its ways
// while clients work on it.
func TestClusterTool(t *testing.T) {
	workload.ClusterTool(t, proc.StartCluster(t, 3, 0), proc.Skein(t), proc.Skein(t))
}
