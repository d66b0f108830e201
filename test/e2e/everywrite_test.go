package e2e

import (
	"fmt"
	"testing"

	"github.com/skeindb/skein/test/proc"
	"github.com/skeindb/skein/test/workload"
)

// noExample says why a write command has none in workload.WriteExamples.
var noExample = map[string]string{
	"function|load": "TestFunctionsAreKept", "function|delete": "TestFunctionsAreKept", "function|flush": "TestFunctionsAreKept",
	"function|restore": "TestFunctionsAreKept",
	"flushall":         "TakeAll", "flushdb": "TakeAll",
	"cluster|flushslot": "in cluster mode only: the slot migration tests",
	"migrate":           "needs a second server: package migrate, and the resharding tests",
}

// Every write command has an example or a reason.
func TestEveryWriteCommandHasAnExample(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t))
	_, writes := workload.Commands(t, n)
	have := map[string]bool{}
	for _, ex := range workload.WriteExamples {
		have[ex.Command] = true
	}
	for name := range writes {
		if !have[name] && noExample[name] == "" {
			t.Errorf("the write command %s has no example in workload.WriteExamples", name)
		}
	}
}

// Over a workload in which every write command occurs a replica of another kind
// holds what its Skein primary holds, and the reverse, by the stream and by a
// full sync afterwards.
func TestEveryWriteReachesReplicas(t *testing.T) {
	for _, kind := range proc.Reals {
		for _, toUs := range []bool{false, true} {
			name := "skein to " + kind.Name
			if toUs {
				name = kind.Name + " to skein"
			}
			t.Run(name, func(t *testing.T) {
				tt := struct{ primary, replica proc.Program }{proc.Skein(t), kind.Program(t)}
				if toUs {
					tt.primary, tt.replica = tt.replica, tt.primary
				}
				primary := proc.StartNode(t, tt.primary, "--repl-diskless-sync-delay", "0")
				follow := func() *proc.Node {
					r := proc.StartNode(t, tt.replica)
					r.Must("REPLICAOF", "127.0.0.1", fmt.Sprint(primary.Port))
					return r
				}
				replica := follow()
				proc.Wait(t, proc.Patience, "the link", func() string { return want(replica.Info("replication")["master_link_status"], "up") })
				full := primary.InfoInt("stats", "sync_full")
				conv := workload.Converse(t, 0, primary, replica)
				conv.SendAll()
				// A client that really waits, and is served by another's write.
				done := make(chan error, 1)
				go func() {
					_, err := primary.Do("BLMOVE", "wait1", "wait2", "LEFT", "LEFT", "0")
					done <- err
				}()
				proc.Wait(t, proc.Patience, "a blocked client", func() string { return want(primary.Info("clients")["blocked_clients"], "1") })
				conv.Send("RPUSH wait1 a b")
				if err := <-done; err != nil {
					t.Errorf("%s: BLMOVE that waits: %v", primary, err)
				}
				compareReplica(t, primary, replica)
				if n := primary.InfoInt("stats", "sync_full"); n != full {
					t.Errorf("the replica needed %d full syncs, want none: the stream broke it", n-full)
				}
				compareReplica(t, primary, follow())
				for _, call := range workload.TakeAll {
					conv.Send(call)
				}
				compareReplica(t, primary, replica)
			})
		}
	}
}

func want(got, want string) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%q, want %q", got, want)
}

// compareReplica waits until the replica has all and compares each key: type,
// expiry and value.
func compareReplica(t *testing.T, primary, replica *proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, fmt.Sprintf("%s in step with %s", replica, primary), func() string {
		r := replica.Info("replication")
		if r["master_link_status"] != "up" {
			return "link " + r["master_link_status"]
		}
		return want(r["slave_repl_offset"], primary.Info("replication")["master_repl_offset"])
	})
	proc.CompareKeys(t, 6, primary, replica)
}
