package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// A primary that comes back within the node timeout, without its data or with an
// old snapshot of it, does not make its replica drop what it has: the replica
// takes over and every write is there. That goes for a redis-server replica too.
// With the guard off the same crash empties the shard, which shows that nothing
// else saves it.
func TestPrimaryThatLostItsData(t *testing.T) {
	programs := make([]proc.Program, 6)
	for i := range programs {
		programs[i] = proc.Skein(t)
	}
	programs[5] = proc.Redis(t)
	c := proc.StartClusterOf(t, programs, 1)
	client := c.Client()
	ctx := context.Background()

	shards := map[string]string{} // what is tried -> hash tag of the shard
	for _, tag := range shardTags {
		if r := c.Replicas(owner(t, c, tag)); len(r) == 1 && !r[0].Program.Skein {
			shards["a replica of another kind"] = tag
		} else if shards["emptied directory"] == "" {
			shards["emptied directory"] = tag
		} else {
			shards["old snapshot"] = tag
		}
	}
	fill := func(t *testing.T, tag string, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if err := client.Set(ctx, fmt.Sprintf("{%s}%d", tag, i), i, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// crash kills the shard's primary, does to its files what lose says, and starts it.
	crash := func(t *testing.T, tag string, lose func(dir string)) (primary, replica *proc.Node) {
		t.Helper()
		primary = owner(t, c, tag)
		replica = c.Replicas(primary)[0]
		proc.WaitInStep(t, primary, replica)
		// It must know its replica, in its file too.
		proc.Wait(t, proc.Patience, "the primary knows its replica", func() string {
			peers, err := primary.Peers()
			for _, p := range peers {
				if p.Port == replica.Port && p.Is("slave") {
					return ""
				}
			}
			return fmt.Sprint(peers, err)
		})
		primary.Must("CLUSTER", "SAVECONFIG")
		primary.Kill()
		lose(primary.Dir)
		primary.Start()
		return primary, replica
	}
	empty := func(dir string) {
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if base := filepath.Base(name); base != "nodes.conf" && base != "log" {
				if err := os.RemoveAll(name); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	const n = 300
	for _, tt := range []struct {
		name string
		lose func(dir string)
	}{
		{"emptied directory", empty},
		{"old snapshot", func(string) {}},
		{"a replica of another kind", empty},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tag := shards[tt.name]
			fill(t, tag, 0, n/2)
			if tt.name == "old snapshot" {
				owner(t, c, tag).Must("SAVE")
			}
			fill(t, tag, n/2, n)
			old, heir := crash(t, tag, tt.lose)
			proc.Wait(t, proc.Patience, "the replica has taken over", func() string {
				if !heir.IsPrimary() || old.IsPrimary() {
					return fmt.Sprintf("%s primary: %v, %s primary: %v", heir, heir.IsPrimary(), old, old.IsPrimary())
				}
				return ""
			})
			c.WaitHealthy(proc.Patience)
			proc.WaitInStep(t, heir, old)
			if got := heir.Text("DBSIZE"); got != fmt.Sprint(n) {
				t.Errorf("%s keys are left, want %d", got, n)
			}
			if !strings.Contains(old.Log(), "standing back until it has taken over") {
				t.Errorf("the log of %s does not say why it stood back", old)
			}
		})
	}
	t.Run("guard off", func(t *testing.T) {
		tag := shards["emptied directory"]
		p := owner(t, c, tag)
		p.Args = append(p.Args, "--cluster-lost-data-guard", "no")
		old, heir := crash(t, tag, empty)
		c.WaitHealthy(proc.Patience)
		if !old.IsPrimary() {
			t.Skipf("%s was replaced before it was back: nothing to compare", old)
		}
		proc.WaitInStep(t, old, heir)
		if got := heir.Text("DBSIZE"); got != "0" {
			t.Errorf("the replica has %s keys, want 0: something else than the guard keeps the data", got)
		}
	})
}
