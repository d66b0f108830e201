package workload

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/test/proc"
)

// ClusterTool tries the subcommands of the unmodified "redis-cli --cluster" one
// after the other, each judged by its effect, while keepers work. A node of
// primary joins, gets a replica of the other program, slots, and leaves again;
// keys are imported from servers of both. The cluster has no replicas at first.
func ClusterTool(t *testing.T, c *proc.Cluster, primary, replica proc.Program) {
	Work(t, c, TagsIn(60, 0, 16384), func(progress func(string)) {
		n := c.Nodes[0]
		conf := filepath.Join(t.TempDir(), "node.conf")
		if err := os.WriteFile(conf, []byte("appendonly no\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		added := primary
		added.Args = append(slices.Clone(added.Args), conf)
		first := addNode(t, c, added)
		progress("beside a new primary")
		id := first.Myself().ID
		second := addNode(t, c, replica, "--cluster-slave", "--cluster-master-id", id)
		if got := second.Myself().Primary; got != id {
			t.Errorf("the added replica follows %s, want %s", got, id)
		}

		// Slots from all of the others, with the keys.
		out := n.CLI("--cluster", "reshard", n.Addr(), "--cluster-from", "all", "--cluster-to", id, "--cluster-slots", "60", "--cluster-yes")
		if got := first.Myself().SlotCount(); got < 57 || got > 63 {
			t.Errorf("after reshard from all the new node serves %d slots, want 60\n%s", got, out)
		}
		progress("after reshard")
		WantInOrder(t, n)

		if out := n.CLI("--cluster", "call", n.Addr(), "DBSIZE", "--cluster-only-masters"); strings.Count(out, "127.0.0.1:") < len(c.Primaries()) {
			t.Errorf("call: %s", out)
		}
		backup(t, c)
		out, _ = proc.Run(t, proc.ToolPatience, "", "redis-cli", "--cluster", "set-timeout", n.Addr(), "2500")
		for _, n := range c.Nodes {
			if got := n.Must("CONFIG", "GET", "cluster-node-timeout").([]any)[1]; got != "2500" {
				t.Errorf("after set-timeout cluster-node-timeout of %s is %v\n%s", n, got, out)
			}
		}
		if text, _ := os.ReadFile(conf); !strings.Contains(string(text), "cluster-node-timeout 2500") {
			t.Errorf("set-timeout did not rewrite the configuration file:\n%s\n%s", text, out)
		}

		// The slots go back, the nodes leave. Losing its last slot makes a primary a
		// replica, with a full synchronisation, so its id is asked for before.
		ids := []string{second.Myself().ID, id}
		out, err := proc.Run(t, proc.ToolPatience, "", "redis-cli", "--cluster", "reshard", n.Addr(), "--cluster-from", id, "--cluster-to", n.Myself().ID,
			"--cluster-slots", strconv.Itoa(first.Myself().SlotCount()), "--cluster-yes")
		// A Valkey node waits for its replicas in SETSLOT, and answers so when it has
		// become a replica meanwhile; valkey-cli knows.
		if err != nil && (primary.Skein || !strings.Contains(out, "UNBLOCKED force unblock from blocking operation")) {
			t.Errorf("reshard of all slots of %s: %v\n%s", first, err, out)
		}
		if got := first.Myself().SlotCount(); got != 0 {
			t.Errorf("%s has %d slots left\n%s", first, got, out)
		}
		progress("after the slots went back")
		for _, leaving := range ids {
			proc.Wait(t, proc.Patience, "del-node", func() string {
				out, err := proc.Run(t, proc.ToolPatience, "", "redis-cli", "--cluster", "del-node", n.Addr(), leaving)
				if err != nil {
					return out
				}
				c.Nodes = c.Nodes[:len(c.Nodes)-1]
				return ""
			})
		}
		c.WaitHealthy(proc.Patience)
		progress("after the nodes left")

		for _, p := range []proc.Program{primary, replica} {
			importFrom(t, c, proc.StartNode(t, p))
		}
		coverAgain(t, c)
		progress("after fix")
	})
}

// addNode starts a node and lets redis-cli add it to the cluster.
func addNode(t *testing.T, c *proc.Cluster, p proc.Program, options ...string) *proc.Node {
	t.Helper()
	added, n := proc.StartNode(t, p, proc.ClusterArgs()...), c.Nodes[0]
	out := n.CLI(append([]string{"--cluster", "add-node", added.Addr(), n.Addr()}, options...)...)
	if !strings.Contains(out, "[OK] New node added correctly.") {
		t.Fatalf("add-node %v: %s", options, out)
	}
	c.Nodes = append(c.Nodes, added)
	c.WaitHealthy(proc.Patience)
	return added
}

// backup lets redis-cli write the files of all primaries, and has them checked.
func backup(t *testing.T, c *proc.Cluster) {
	t.Helper()
	dir := t.TempDir()
	out := c.Nodes[0].CLI("--cluster", "backup", c.Nodes[0].Addr(), dir)
	files, _ := filepath.Glob(filepath.Join(dir, "*.rdb"))
	if _, err := os.Stat(filepath.Join(dir, "nodes.json")); err != nil || len(files) != len(c.Primaries()) {
		t.Errorf("backup made %v, nodes.json: %v\n%s", files, err, out)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || len(data) < 9 {
			t.Errorf("backup: %s: %d bytes, %v", f, len(data), err)
			continue
		}
		check := exec.Command(proc.Tool(t, "redis-check-rdb"), f)
		if string(data[5:9]) > "0010" { // of a later generation than the installed tool
			check = exec.Command(proc.Skein(t).Path, "check-rdb", f)
		}
		if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), "RDB looks OK!") {
			t.Errorf("%v on a backup: %v\n%s", check.Args, err, out)
		}
	}
}

// importFrom imports keys from a server that is no cluster, as copies and then for
// good, and deletes them.
func importFrom(t *testing.T, c *proc.Cluster, source *proc.Node) {
	t.Helper()
	const keys = 30
	n, client := c.Nodes[0], c.Client()
	name := func(i int) string { return fmt.Sprintf("imported:%d", i) }
	there := func() (sum int64) {
		for i := range keys {
			sum += client.Exists(t.Context(), name(i)).Val()
		}
		return sum
	}
	for i := range keys {
		source.Must("HSET", name(i), "f", i)
	}
	for _, mode := range []struct{ option, left string }{{"--cluster-copy", "30"}, {"--cluster-replace", "0"}} {
		n.CLI("--cluster", "import", n.Addr(), "--cluster-from", source.Addr(), mode.option)
		if got, left := there(), source.Text("DBSIZE"); got != keys || left != mode.left {
			t.Errorf("after import %s from %s %d keys, want %d; %s left, want %s", mode.option, source, got, keys, left, mode.left)
		}
	}
	for i := range keys {
		if got, err := client.HGet(t.Context(), name(i), "f").Result(); got != strconv.Itoa(i) {
			t.Errorf("HGET of an imported key = %q, %v, want %d", got, err, i)
		}
		client.Del(t.Context(), name(i))
	}
}

// coverAgain takes a slot from everybody, though a node has its key, and lets
// redis-cli give it to one. The slot is of no keeper.
func coverAgain(t *testing.T, c *proc.Cluster) {
	t.Helper()
	n, client, key := c.Nodes[0], c.Client(), "uncovered"
	for _, n := range c.Nodes {
		n.Must("CONFIG", "SET", "cluster-require-full-coverage", "no") // the keepers go on
	}
	if err := client.Set(t.Context(), key, "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		n.Must("CLUSTER", "DELSLOTS", int(hashslot.Slot([]byte(key))))
	}
	n.CLIInput("yes\n", "--cluster", "fix", n.Addr())
	WantInOrder(t, n)
	if got, err := client.GetDel(t.Context(), key).Result(); got != "v" {
		t.Errorf("GET of a key in a slot that fix covered = %q, %v", got, err)
	}
}
