package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// The unmodified redis-cli makes a cluster of six nodes, and its check and info
// find nothing to say about it.
func TestCreateByRedisCLI(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	n := c.Nodes[0]
	for i := range 300 {
		if out := n.CLI("-c", "SET", fmt.Sprintf("key:%d", i), strconv.Itoa(i)); out != "OK\n" {
			t.Fatalf("redis-cli -c SET: %q, want OK", out)
		}
	}

	check := n.CLI("--cluster", "check", n.Addr())
	for _, want := range []string{"[OK] 300 keys in 3 masters.", "[OK] All nodes agree about slots configuration.", "[OK] All 16384 slots covered."} {
		if !strings.Contains(check, want) {
			t.Errorf("--cluster check does not say %q:\n%s", want, check)
		}
	}
	for _, bad := range []string{"[ERR]", "[WARNING]", "***"} {
		if strings.Contains(check, bad) {
			t.Errorf("--cluster check says %q:\n%s", bad, check)
		}
	}
	info := n.CLI("--cluster", "info", n.Addr())
	if !strings.Contains(info, "[OK] 300 keys in 3 masters.") || strings.Count(info, "1 slaves.") != 3 {
		t.Errorf("--cluster info: want 300 keys, 3 primaries with a replica each:\n%s", info)
	}

	for _, n := range c.Nodes {
		info, err := n.ClusterInfo()
		if err != nil {
			t.Fatal(err)
		}
		for field, want := range map[string]string{"cluster_state": "ok", "cluster_slots_assigned": "16384", "cluster_slots_ok": "16384",
			"cluster_slots_pfail": "0", "cluster_slots_fail": "0", "cluster_known_nodes": "6", "cluster_size": "3"} {
			if info[field] != want {
				t.Errorf("%s: %s is %q, want %s", n, field, info[field], want)
			}
		}
	}
	for _, p := range c.Primaries() {
		replicas := c.Replicas(p)
		if len(replicas) != 1 {
			t.Errorf("%s has %d replicas, want 1", p, len(replicas))
			continue
		}
		proc.WaitInStep(t, p, replicas[0])
	}

	// redis-cli --cluster call reaches all of them.
	if out := n.CLI("--cluster", "call", n.Addr(), "PING"); strings.Count(out, ": PONG") != 6 {
		t.Errorf("--cluster call PING: want six answers:\n%s", out)
	}
}
