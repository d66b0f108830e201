package workload

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// The steps of a slot's move as redis-cli makes it; a scenario ends after one.
var MoveSteps = []string{
	"importing", // SETSLOT IMPORTING at the target
	"migrating", // SETSLOT MIGRATING at the source
	"half",      // half of the keys have moved
	"sending",   // a MIGRATE of all the others is begun
	"moved",     // all keys have moved
	"target",    // SETSLOT NODE at the target
	"source",    // SETSLOT NODE at the source
}

// MoveUntil makes the steps of a move up to last. In the step "sending" it calls
// kill itself.
func MoveUntil(t *testing.T, src, dst *proc.Node, slot int, last string, kill func()) {
	t.Helper()
	srcID, dstID := src.Myself().ID, dst.Myself().ID
	migrate := func(keys []string) []any {
		cmd := []any{"MIGRATE", "127.0.0.1", dst.Port, "", 0, 5000, "KEYS"}
		for _, k := range keys {
			cmd = append(cmd, k)
		}
		return cmd
	}
	inSlot := func(n int) (keys []string) {
		for _, k := range src.Must("CLUSTER", "GETKEYSINSLOT", slot, n).([]any) {
			keys = append(keys, fmt.Sprint(k))
		}
		return keys
	}
	for _, step := range MoveSteps {
		switch step {
		case "importing":
			dst.Must("CLUSTER", "SETSLOT", slot, "IMPORTING", srcID)
		case "migrating":
			src.Must("CLUSTER", "SETSLOT", slot, "MIGRATING", dstID)
		case "half":
			n, _ := strconv.Atoi(src.Text("CLUSTER", "COUNTKEYSINSLOT", slot))
			if keys := inSlot(n / 2); len(keys) > 0 {
				src.Must(migrate(keys)...)
			}
		case "sending":
			if last != step {
				continue
			}
			var wg sync.WaitGroup
			if keys := inSlot(10000); len(keys) > 0 {
				wg.Go(func() { src.Do(migrate(keys)...) }) // how far it gets is chance
			}
			kill()
			wg.Wait()
		case "moved":
			proc.Wait(t, proc.Patience, "the rest of the keys moves", func() string {
				keys := inSlot(10)
				if len(keys) == 0 {
					return ""
				}
				if _, err := src.Do(migrate(keys)...); err != nil {
					return err.Error()
				}
				return fmt.Sprintf("%d keys or more left", len(keys))
			})
		case "target":
			dst.Must("CLUSTER", "SETSLOT", slot, "NODE", dstID)
		case "source":
			src.Must("CLUSTER", "SETSLOT", slot, "NODE", dstID)
		}
		if step == last {
			return
		}
	}
}

// Fix runs redis-cli --cluster fix until it and a check find nothing to do.
func Fix(t *testing.T, n *proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, "redis-cli --cluster fix", func() string {
		out, err := proc.Run(t, proc.ToolPatience, "yes\n", "redis-cli", "--cluster", "fix", n.Addr())
		t.Log(out)
		if err != nil {
			return out
		}
		out, err = proc.Run(t, proc.ToolPatience, "", "redis-cli", "--cluster", "check", n.Addr())
		if err != nil || strings.Contains(out, "[ERR]") || strings.Contains(out, "[WARNING]") {
			return out
		}
		return ""
	})
}

// WantInOrder lets redis-cli check the cluster.
func WantInOrder(t *testing.T, n *proc.Node) {
	t.Helper()
	var out string
	proc.Wait(t, proc.Patience, "redis-cli --cluster check", func() string {
		var err error
		if out, err = proc.Run(t, proc.ToolPatience, "", "redis-cli", "--cluster", "check", n.Addr()); err != nil {
			return out
		}
		return ""
	})
	for _, bad := range []string{"[ERR]", "[WARNING]"} {
		if strings.Contains(out, bad) {
			t.Errorf("--cluster check says %s:\n%s", bad, out)
		}
	}
}
