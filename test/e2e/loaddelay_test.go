package e2e

import (
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// key-load-delay makes a load of each kind of file last, with clients told that it
// is, until it is set to 0.
func TestKeyLoadDelay(t *testing.T) {
	for name, args := range map[string][]string{
		"dump.rdb": nil, "base of a log": {"--appendonly", "yes"}, "commands of a log": {"--appendonly", "yes", "--aof-use-rdb-preamble", "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := proc.StartNode(t, proc.Skein(t), args...)
			n.Must("DEBUG", "POPULATE", 1000)
			if args == nil {
				n.Must("SAVE")
			} else {
				n.Must("BGREWRITEAOF")
				proc.Wait(t, proc.Patience, "the rewrite", func() string {
					if i := n.Info("persistence"); i["aof_rewrite_in_progress"] != "0" || i["aof_rewrite_scheduled"] != "0" {
						return "running"
					}
					return ""
				})
			}
			n.Kill()
			n.Args = append(n.Args, "--key-load-delay", "1000000") // would take a quarter of an hour
			n.Launch()
			proc.Wait(t, proc.Patience, "clients are told LOADING", func() string {
				if _, err := n.Do("GET", "key:0"); err == nil || !strings.HasPrefix(err.Error(), "LOADING ") {
					if err == nil {
						return "an answer"
					}
					return err.Error()
				}
				return ""
			})
			if got := n.Info("persistence")["loading"]; got != "1" {
				t.Errorf("loading:%s, want 1", got)
			}
			n.Must("CONFIG", "SET", "key-load-delay", 0)
			n.WaitReady()
			if got := n.Must("DBSIZE"); got != int64(1000) {
				t.Errorf("%v keys, want 1000", got)
			}
		})
	}
}

// rdb-key-save-delay makes a background save last, with clients served, until it is
// set to 0, and likewise the snapshot of a full sync.
func TestKeySaveDelay(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t))
	n.Must("DEBUG", "POPULATE", 1000)
	n.Must("CONFIG", "SET", "rdb-key-save-delay", 1_000_000) // a quarter of an hour
	n.Must("BGSAVE")
	if got := n.Info("persistence")["rdb_bgsave_in_progress"]; got != "1" {
		t.Errorf("rdb_bgsave_in_progress:%s, want 1", got)
	}
	n.Must("SET", "served", "meanwhile")
	n.Must("CONFIG", "SET", "rdb-key-save-delay", 0)
	proc.Wait(t, proc.Patience, "the save ends", func() string {
		if i := n.Info("persistence"); i["rdb_bgsave_in_progress"] != "0" || i["rdb_last_bgsave_status"] != "ok" {
			return "running"
		}
		return ""
	})
	n.Must("CONFIG", "SET", "rdb-key-save-delay", 1_000_000)
	r := proc.StartNode(t, proc.Skein(t), "--replicaof", "127.0.0.1 "+strconv.Itoa(n.Port))
	proc.Wait(t, proc.Patience, "the replica waits for the snapshot", func() string {
		if state := n.Info("replication")["slave0"]; !strings.Contains(state, "state=wait_bgsave") {
			return "slave0:" + state
		}
		return ""
	})
	n.Must("CONFIG", "SET", "rdb-key-save-delay", 0)
	proc.WaitInStep(t, n, r)
}
