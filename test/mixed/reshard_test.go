package mixed

import (
	"slices"
	"strconv"
	"testing"

	"github.com/skeindb/skein/test/proc"
	"github.com/skeindb/skein/test/workload"
)

// Slots with their keys move from a Skein node to a real one and back, by
// redis-cli, while clients work on their keys and check every reply.
func TestMixedReshard(t *testing.T) {
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := proc.Skein(t), r.Program(t)
		c := proc.FormShardsOf(t, []proc.Shard{
			{Primary: skein, Replicas: []proc.Program{real}}, {Primary: real, Replicas: []proc.Program{skein}},
		})
		slots := 16
		if *long {
			slots = 200
		}
		nodes := c.Nodes[:2]
		workload.Work(t, c, slices.Concat(workload.TagsIn(slots*3/4, 0, slots), workload.TagsIn(slots*3/4, 8192, slots)), func(progress func(string)) {
			for i, from := range nodes { // the first slots of each to the other
				to := nodes[1-i]
				out := from.CLI("--cluster", "reshard", from.Addr(), "--cluster-from", from.Myself().ID, "--cluster-to", to.Myself().ID,
					"--cluster-slots", strconv.Itoa(slots), "--cluster-yes", "--cluster-pipeline", "3")
				progress("after reshard from " + from.String())
				for slot := range slots {
					if me := to.Myself(); i == 0 && !me.Serves(slot) {
						t.Errorf("after reshard slot %d is not served by %s: %v\n%s", slot, to, me.Slots, out)
						break
					}
				}
			}
			from, to := nodes[0], nodes[1]
			from.CLI("--cluster", "reshard", from.Addr(), "--cluster-from", from.Myself().ID, "--cluster-to", to.Myself().ID,
				"--cluster-slots", strconv.Itoa(slots), "--cluster-yes")
			out := from.CLI("--cluster", "rebalance", from.Addr(), "--cluster-threshold", "0.1")
			for _, n := range nodes {
				if me := n.Myself(); me.SlotCount() < 8190 || me.SlotCount() > 8194 {
					t.Errorf("after rebalance %s serves %d slots: %v\n%s", n, me.SlotCount(), me.Slots, out)
				}
			}
		})
		workload.WantInOrder(t, nodes[0])
	})
}

// All subcommands of redis-cli --cluster in a cluster of both kinds, to which nodes
// of both are added.
func TestMixedClusterTool(t *testing.T) {
	if !*long {
		t.Skip("with -long (make mixed); test/e2e has it with Skein alone")
	}
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := proc.Skein(t), r.Program(t)
		for _, added := range [][2]proc.Program{{skein, real}, {real, skein}} {
			t.Run("a "+added[0].Name+" primary is added", func(t *testing.T) {
				c := proc.FormShardsOf(t, []proc.Shard{{Primary: skein}, {Primary: real}, {Primary: real}})
				workload.ClusterTool(t, c, added[0], added[1])
			})
		}
	})
}
