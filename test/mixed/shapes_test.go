package mixed

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// In a cluster of both makes a Skein node and a Redis node tell the same about
// it, in the same form: CLUSTER NODES, SLOTS, SHARDS and the lines of INFO.
// Counters and times, which are each node's own, are left out.
func TestDescriptionsAgreeWithRedis(t *testing.T) {
	s, r := proc.Skein(t), proc.Redis(t)
	c := proc.StartClusterOf(t, []proc.Program{s, r, s, r, s, r}, 1)
	skein, real := c.Nodes[0], c.Nodes[1]
	for _, d := range []struct {
		name string
		of   func(n *proc.Node) string
	}{{"CLUSTER NODES", nodesShape}, {"CLUSTER SLOTS", slotsShape}, {"CLUSTER SHARDS", shardsShape}, {"CLUSTER INFO", infoShape}} {
		var got, want string
		same := func() string {
			if got, want = d.of(skein), d.of(real); got == want {
				return ""
			}
			return fmt.Sprintf("Skein says\n%s\nRedis says\n%s", got, want)
		}
		proc.Wait(t, proc.Patience, d.name, same) // gossip may be on its way
		if strings.TrimSpace(want) == "" {
			t.Errorf("%s: nothing was compared", d.name)
		}
	}
}

// nodesShape is the table without myself, host names, and times.
func nodesShape(n *proc.Node) string {
	var lines []string
	for line := range strings.Lines(n.Text("CLUSTER", "NODES")) {
		f := strings.Fields(line)
		f[1], _, _ = strings.Cut(f[1], ",")
		f[2] = strings.TrimPrefix(f[2], "myself,")
		lines = append(lines, strings.Join(append(append(f[:4:4], f[6]), f[7:]...), " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func slotsShape(n *proc.Node) string {
	var lines []string
	for _, r := range n.Must("CLUSTER", "SLOTS").([]any) {
		row := r.([]any)
		replicas := row[3:]
		slices.SortFunc(replicas, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		lines = append(lines, fmt.Sprint(row))
	}
	return strings.Join(lines, "\n")
}

// shardsShape is each shard with its slots and what every node's entry says,
// fields in their order. Offsets move.
func shardsShape(n *proc.Node) string {
	var lines []string
	for _, e := range n.Must("CLUSTER", "SHARDS").([]any) {
		var nodes []string
		shard := pairs(e)
		for _, e := range shard[3].([]any) {
			fields := pairs(e)
			for i := 0; i < len(fields); i += 2 {
				if fields[i] == "replication-offset" {
					fields[i+1] = "any"
				}
			}
			nodes = append(nodes, fmt.Sprint(fields))
		}
		slices.Sort(nodes)
		lines = append(lines, fmt.Sprint(shard[:3], "\n  ", strings.Join(nodes, "\n  ")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// pairs is a map of RESP2 or RESP3 as a list; that of RESP3 is sorted by name,
// for the client has lost the order.
func pairs(e any) []any {
	m, ok := e.(map[any]any)
	if !ok {
		return e.([]any)
	}
	var names []string
	for k := range m {
		names = append(names, k.(string))
	}
	slices.Sort(names)
	var list []any
	for _, k := range slices.Backward(names) { // slots before nodes
		list = append(list, k, m[k])
	}
	return list
}

// infoShape is the lines of CLUSTER INFO; of what is each node's own, the name.
func infoShape(n *proc.Node) string {
	var lines []string
	for line := range strings.Lines(n.Text("CLUSTER", "INFO")) {
		name, _, _ := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(name, "cluster_stats_messages_") && name != "cluster_stats_messages_sent" && name != "cluster_stats_messages_received":
			continue // only kinds that occurred are listed
		case name == "cluster_id":
			continue // no other server has one
		case name == "cluster_my_epoch" || strings.HasPrefix(name, "cluster_stats"):
			lines = append(lines, name)
		default:
			lines = append(lines, strings.TrimRight(line, "\r\n"))
		}
	}
	return strings.Join(lines, "\n")
}
