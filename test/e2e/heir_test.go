package e2e

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
	"github.com/skeindb/skein/test/workload"
)

// Goal: when the target of a hand-over dies after it was granted the slots and before
// anyone hears of a claim, its heir takes them while the source holds its writers for
// that; one that comes to it too late does not, though it has only just heard that it
// may, and nothing is lost that the source has acknowledged since.
// Method: the target cannot write nodes.conf, so it dies of its own claim. The late heir
// stands still from before the grant until the source has gone on.
func TestHeirOfTarget(t *testing.T) {
	const first, slots = 100, 20
	for _, late := range []bool{false, true} {
		t.Run(map[bool]string{false: "in time", true: "late"}[late], func(t *testing.T) {
			if late && testing.Short() {
				t.Skip("not with -short")
			}
			h := &handover{first: first, last: first + slots - 1}
			h.c, h.relays = proc.FormRelayed(t, []int{1, 1, 0}, "--cluster-node-timeout", fmt.Sprint(handoverTimeout.Milliseconds()),
				"--cluster-require-full-coverage", "no")
			h.shards = [][]*proc.Node{{h.c.Nodes[0], h.c.Nodes[3]}, {h.c.Nodes[1], h.c.Nodes[4]}}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			for id, tag := range workload.TagsIn(2, first, slots) {
				w := workload.NewSureWriter(h.c, id, []string{"{" + tag + "}a", "{" + tag + "}b"})
				h.writers = append(h.writers, w)
				go w.Run(ctx)
			}
			from, to := h.sides(t)
			heir := h.other(to)
			h.writers.Progress(t, 50, "before the move")

			reached := h.relays.HoldAt("FAILOVER-GRANTED")
			defer h.relays.Release()
			migrate(from, to, h.first, h.last)
			name := lastJob(t, from)["name"]
			select {
			case <-reached:
			case <-time.After(proc.Patience):
				t.Fatalf("no grant: %v", lastJob(t, from))
			}
			heal := breakConf(t, to)
			if late {
				heir.Freeze()
			}
			h.relays.Release()
			if code := to.Exit(); code == 0 {
				t.Error("the target that cannot save its claim has ended in order")
			}
			if late {
				waitJob(t, from, "failed")
				h.writers.Progress(t, 50, "at the source that has gone on")
				heir.Signal(syscall.SIGCONT)
			}
			proc.Wait(t, proc.Patience, heir.String()+" succeeds", func() string { return want(roleOf(heir), "master") })
			if !late {
				waitJob(t, from, "success")
			}
			heal()
			to.Start()
			h.settle(t)
			owner, wanted := h.owner(t), h.shardOf(from)
			if !late {
				wanted = h.shardOf(to)
			}
			if owner != wanted {
				t.Errorf("shard %d owns the slots, want %d", owner, wanted)
			}
			for _, n := range h.c.Nodes {
				h.wantTruth(t, n, name, !late)
			}
			h.writers.Progress(t, 50, "afterwards")
			h.check(t, owner)
			stop()
			t.Log(h.writers.Check(t, h.c))
		})
	}
}

// breakConf lets no save of a node's nodes.conf succeed any more. heal brings back what
// was there; the node has ended then.
func breakConf(t *testing.T, n *proc.Node) (heal func()) {
	t.Helper()
	path := n.Path("nodes.conf")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = os.MkdirAll(path+"/in the way", 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(path); err == nil {
			err = os.WriteFile(path, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
