package e2e

import (
	"fmt"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// A million keys of 64 bytes in cluster mode: what a key costs, by our own
// count and by the system's, and that the memory goes back to the system when
// the keys go.
func TestMemoryPerKey(t *testing.T) {
	const (
		keys        = 1_000_000
		perKey      = 105.0 // bytes of used_memory
		overCounted = 1.15  // resident memory / used_memory, growth of both
		mayRemain   = 0.10  // of the growth of resident memory
	)
	if proc.Race {
		t.Skip("under the race detector the records lie in Go's memory")
	}
	n := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs()...)
	n.Must("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	n.WaitSet("foo", "1")
	n.Must("FLUSHALL")
	for _, empty := range []string{"FLUSHALL", "UNLINK"} {
		n.Must("MEMORY", "PURGE")
		used, resident := n.InfoInt("memory", "used_memory"), n.Resident()
		n.Must("DEBUG", "POPULATE", keys, "key", 64)
		if got := n.Text("DBSIZE"); got != fmt.Sprint(keys) {
			t.Fatalf("DBSIZE %s after DEBUG POPULATE %d", got, keys)
		}
		usedMore, residentMore := float64(n.InfoInt("memory", "used_memory")-used), float64(n.Resident()-resident)
		t.Logf("a key costs %.1f bytes of used_memory, %.1f resident", usedMore/keys, residentMore/keys)
		if usedMore/keys > perKey {
			t.Errorf("used_memory grew by %.1f bytes a key, want at most %.0f", usedMore/keys, perKey)
		}
		if residentMore > overCounted*usedMore {
			t.Errorf("resident memory grew by %.0f, used_memory by %.0f: %.2f times, want at most %.2f", residentMore, usedMore, residentMore/usedMore, overCounted)
		}
		if empty == "FLUSHALL" {
			n.Must("FLUSHALL")
		} else {
			unlinkAll(t, n)
		}
		if got := n.Text("DBSIZE"); got != "0" {
			t.Fatalf("DBSIZE %s after %s", got, empty)
		}
		proc.Wait(t, proc.Patience, "memory returned after "+empty, func() string {
			left := float64(n.Resident() - resident)
			if left > mayRemain*residentMore {
				return fmt.Sprintf("resident memory still %.0f above the start, it had grown by %.0f; used_memory %.0f above", left, residentMore, float64(n.InfoInt("memory", "used_memory")-used))
			}
			return ""
		})
		if left := n.InfoInt("memory", "used_memory") - used; float64(left) > 0.02*usedMore {
			t.Errorf("after %s used_memory is %d above what it was before the keys", empty, left)
		}
	}
}

// unlinkAll deletes what DEBUG POPULATE made, key by key.
func unlinkAll(t *testing.T, n *proc.Node) {
	t.Helper()
	cursor := "0"
	for {
		reply := n.Must("SCAN", cursor, "COUNT", 5000).([]any)
		pipe := n.Client().Pipeline()
		for _, key := range reply[1].([]any) {
			pipe.Unlink(t.Context(), key.(string))
		}
		if pipe.Len() > 0 {
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatalf("UNLINK: %v", err)
			}
		}
		if cursor = reply[0].(string); cursor == "0" {
			return
		}
	}
}
