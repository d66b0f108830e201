package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/hashslot"
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
	workload.Work(t, c, workload.TagsIn(tags, 0, slots), false, func(progress func(string)) {
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

// Goal: the unmodified redis-cli --cluster manages a cluster in all its ways.
// Method: the subcommands one after the other, each judged by its effect.
func TestClusterTool(t *testing.T) {
	c := proc.StartCluster(t, 3, 0)
	n := c.Nodes[0]
	client := c.Client()
	ctx := context.Background()
	const keys = 60
	for i := range keys {
		if err := client.Set(ctx, fmt.Sprintf("key:%d", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	total := func() (sum int) {
		for _, p := range c.Primaries() {
			size, _ := strconv.Atoi(p.Text("DBSIZE"))
			sum += size
		}
		return sum
	}

	// A fourth primary with a configuration file, and a replica of it.
	program := proc.Skein(t)
	conf := filepath.Join(t.TempDir(), "node.conf")
	if err := os.WriteFile(conf, []byte("appendonly no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	program.Args = append(slices.Clone(program.Args), conf)
	fourth := proc.StartNode(t, program, proc.ClusterArgs()...)
	out := n.CLI("--cluster", "add-node", fourth.Addr(), n.Addr())
	if !strings.Contains(out, "[OK] New node added correctly.") {
		t.Fatalf("add-node: %s", out)
	}
	c.Nodes = append(c.Nodes, fourth)
	c.WaitHealthy(proc.Patience)
	id := fourth.Myself().ID
	replica := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs()...)
	out = n.CLI("--cluster", "add-node", replica.Addr(), n.Addr(), "--cluster-slave", "--cluster-master-id", id)
	if !strings.Contains(out, "[OK] New node added correctly.") {
		t.Fatalf("add-node --cluster-slave: %s", out)
	}
	c.Nodes = append(c.Nodes, replica)
	c.WaitHealthy(proc.Patience)
	if got := replica.Myself().Primary; got != id {
		t.Errorf("the added replica follows %s, want %s", got, id)
	}

	// Slots from all of the others, with the keys.
	out = n.CLI("--cluster", "reshard", n.Addr(), "--cluster-from", "all", "--cluster-to", id, "--cluster-slots", "60", "--cluster-yes")
	if got := fourth.Myself().SlotCount(); got < 58 || got > 62 {
		t.Errorf("after reshard from all the new node serves %d slots, want 60\n%s", got, out)
	}
	workload.WantInOrder(t, n)

	// call, backup, set-timeout.
	if out := n.CLI("--cluster", "call", n.Addr(), "DBSIZE", "--cluster-only-masters"); strings.Count(out, "127.0.0.1:") < 4 {
		t.Errorf("call: %s", out)
	}
	dir := t.TempDir()
	out = n.CLI("--cluster", "backup", n.Addr(), dir)
	files, _ := filepath.Glob(filepath.Join(dir, "*.rdb"))
	if _, err := os.Stat(filepath.Join(dir, "nodes.json")); err != nil || len(files) != 4 {
		t.Errorf("backup made %v, nodes.json: %v\n%s", files, err, out)
	}
	for _, f := range files {
		if out, err := proc.Run(t, time.Minute, "", "redis-check-rdb", f); err != nil || !strings.Contains(out, "RDB looks OK!") {
			t.Errorf("redis-check-rdb on a backup: %v\n%s", err, out)
		}
	}
	out, _ = proc.Run(t, time.Minute, "", "redis-cli", "--cluster", "set-timeout", n.Addr(), "2500")
	if got := fourth.Must("CONFIG", "GET", "cluster-node-timeout").([]any)[1]; got != "2500" {
		t.Errorf("after set-timeout cluster-node-timeout is %v\n%s", got, out)
	}
	if text, _ := os.ReadFile(conf); !strings.Contains(string(text), "cluster-node-timeout 2500") {
		t.Errorf("set-timeout did not rewrite the configuration file:\n%s\n%s", text, out)
	}

	// The slots go back, the nodes leave. Losing its last slot makes a primary a
	// replica, with a full synchronisation, so its id is asked for before.
	ids := []string{replica.Myself().ID, id}
	n.CLI("--cluster", "reshard", n.Addr(), "--cluster-from", id, "--cluster-to", n.Myself().ID,
		"--cluster-slots", strconv.Itoa(fourth.Myself().SlotCount()), "--cluster-yes")
	for _, leaving := range ids {
		proc.Wait(t, proc.Patience, "del-node", func() string {
			out, err := proc.Run(t, time.Minute, "", "redis-cli", "--cluster", "del-node", n.Addr(), leaving)
			if err != nil {
				return out
			}
			c.Nodes = c.Nodes[:len(c.Nodes)-1]
			return ""
		})
	}
	c.WaitHealthy(proc.Patience)
	if got := total(); got != keys {
		t.Errorf("%d keys after all moves, want %d", got, keys)
	}

	// import from a server that is no cluster.
	source := proc.StartNode(t, proc.Skein(t))
	for i := range 30 {
		source.Must("HSET", fmt.Sprintf("imported:%d", i), "f", i)
	}
	n.CLI("--cluster", "import", n.Addr(), "--cluster-from", source.Addr(), "--cluster-copy")
	if got := total(); got != keys+30 || source.Text("DBSIZE") != "30" {
		t.Errorf("after import --cluster-copy %d keys, want %d; %s at the source", got, keys+30, source.Text("DBSIZE"))
	}
	n.CLI("--cluster", "import", n.Addr(), "--cluster-from", source.Addr(), "--cluster-replace")
	if got := total(); got != keys+30 || source.Text("DBSIZE") != "0" {
		t.Errorf("after import --cluster-replace %d keys, want %d; %s at the source", got, keys+30, source.Text("DBSIZE"))
	}
	if got, err := client.HGet(ctx, "imported:7", "f").Result(); got != "7" {
		t.Errorf("HGET of an imported key = %q, %v", got, err)
	}

	// A slot that nobody serves any more, though a node has its key.
	slot := int(hashslot.Slot([]byte("key:0")))
	for _, n := range c.Nodes {
		n.Must("CLUSTER", "DELSLOTS", slot)
	}
	n.CLIInput("yes\n", "--cluster", "fix", n.Addr())
	workload.WantInOrder(t, n)
	if got, err := client.Get(ctx, "key:0").Result(); got != "0" {
		t.Errorf("GET of a key in a slot that fix covered = %q, %v", got, err)
	}
}
