package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// both runs a test with Skein and with redis-server: what it wants is what that does.
func both(t *testing.T, test func(t *testing.T, p proc.Program)) {
	t.Run("skein", func(t *testing.T) { test(t, proc.Skein(t)) })
	t.Run("redis", func(t *testing.T) { test(t, proc.Redis7.Program(t)) })
}

const misconf = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. " +
	"Commands that may modify the data set are disabled, because this instance is configured to report errors during " +
	"writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error."

// saveInfo is what INFO and LASTSAVE say about saving.
func saveInfo(n *proc.Node) string {
	i := n.Info("persistence")
	return fmt.Sprintf("changes %s, status %s, tries %s, in progress %s", i["rdb_changes_since_last_save"], i["rdb_last_bgsave_status"], i["rdb_saves"], i["rdb_bgsave_in_progress"])
}

// errorOf is the error that a command gets, "" if none.
func errorOf(n *proc.Node, args ...any) string {
	if _, err := n.Do(args...); err != nil {
		return err.Error()
	}
	return ""
}

// saved waits until no save is under way.
func saved(t *testing.T, n *proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, "end of a save", func() string { return want(n.Info("persistence")["rdb_bgsave_in_progress"], "0") })
}

// A save that cannot be put in place: SAVE says so and nothing else changes; a failed
// BGSAVE refuses writes; SHUTDOWN and SIGTERM do not end the server; all is well after
// the next good save. The same with redis-server.
func TestSaveFails(t *testing.T) {
	both(t, func(t *testing.T, p proc.Program) {
		n := proc.StartNode(t, p, "--save", "3600 1")
		expect := func(when, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		n.Must("SET", "a", "1")
		if err := os.Mkdir(n.Path("dump.rdb"), 0o755); err != nil { // nothing can be renamed to it
			t.Fatal(err)
		}
		last := n.Text("LASTSAVE")
		expect("SAVE", errorOf(n, "SAVE"), "ERR")
		expect("INFO after SAVE", saveInfo(n), "changes 1, status ok, tries 1, in progress 0")
		expect("SET after SAVE", errorOf(n, "SET", "b", "1"), "")
		n.Must("BGSAVE")
		saved(t, n)
		expect("INFO after BGSAVE", saveInfo(n), "changes 2, status err, tries 2, in progress 0")
		expect("SET after BGSAVE", errorOf(n, "SET", "c", "1"), misconf)
		expect("PING after BGSAVE", errorOf(n, "PING"), misconf)
		expect("GET after BGSAVE", n.Text("GET", "b"), "1")
		expect("LASTSAVE", n.Text("LASTSAVE"), last)
		expect("SHUTDOWN", errorOf(n, "SHUTDOWN"), "ERR Errors trying to SHUTDOWN. Check logs.")
		n.Signal(syscall.SIGTERM)
		proc.Wait(t, proc.Patience, "refusal of SIGTERM", func() string {
			if strings.Count(n.Log(), "Errors trying to shut down the server. Check the logs for more information.") < 2 {
				return n.Log()
			}
			return ""
		})
		expect("GET after SIGTERM", n.Text("GET", "b"), "1")
		if err := os.Remove(n.Path("dump.rdb")); err != nil {
			t.Fatal(err)
		}
		expect("SAVE", errorOf(n, "SAVE"), "")
		expect("SET after SAVE", errorOf(n, "SET", "c", "1"), "")
		if left, _ := filepath.Glob(n.Path("*tmp*")); left != nil {
			t.Errorf("files %q are left", left)
		}
		n.Stop()
		n.Start()
		expect("DBSIZE after SIGTERM and a start", n.Text("DBSIZE"), "3")
	})
}

// What the ways to end a server leave on disk, with and without save points, with a
// save that fails, and with what shutdown-on-sigterm says.
func TestShutdownSaves(t *testing.T) {
	both(t, func(t *testing.T, p proc.Program) {
		for _, tt := range []struct {
			name   string
			points string
			fail   bool // saves fail
			how    []any
			config string // shutdown-on-sigterm, for a signal
			saved  bool
		}{
			{name: "SHUTDOWN, save points", points: "3600 1", how: []any{"SHUTDOWN"}, saved: true},
			{name: "SHUTDOWN, none", how: []any{"SHUTDOWN"}},
			{name: "SHUTDOWN SAVE, none", how: []any{"SHUTDOWN", "SAVE"}, saved: true},
			{name: "SHUTDOWN NOSAVE, save points", points: "3600 1", how: []any{"SHUTDOWN", "NOSAVE"}},
			{name: "SHUTDOWN NOW SAVE", how: []any{"SHUTDOWN", "NOW", "SAVE"}, saved: true},
			{name: "SHUTDOWN FORCE that cannot save", points: "3600 1", fail: true, how: []any{"SHUTDOWN", "FORCE"}},
			{name: "SIGTERM, save points", points: "3600 1", config: "default", saved: true},
			{name: "SIGTERM, none", config: "default"},
			{name: "SIGTERM save", config: "save now", saved: true},
			{name: "SIGTERM nosave", points: "3600 1", config: "nosave"},
			{name: "SIGTERM force that cannot save", points: "3600 1", fail: true, config: "force"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel() // most of it is waiting
				n := proc.StartNode(t, p, "--save", tt.points)
				n.Must("SET", "a", "1")
				if tt.fail {
					os.Mkdir(n.Path("dump.rdb"), 0o755)
				}
				if tt.config != "" {
					n.Must("CONFIG", "SET", "shutdown-on-sigterm", tt.config)
					n.Signal(syscall.SIGTERM)
				} else if _, err := n.Do(tt.how...); err != nil && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
					t.Errorf("%v: %v", tt.how, err)
				}
				if code := n.Exit(); code != 0 {
					t.Errorf("exit code %d", code)
				}
				syscall.Rmdir(n.Path("dump.rdb")) // where it is the directory
				n.Start()
				if got := n.Text("EXISTS", "a"); got != map[bool]string{true: "1", false: "0"}[tt.saved] {
					t.Errorf("EXISTS after a start: %s, saved is to be %v", got, tt.saved)
				}
			})
		}
		n := proc.StartNode(t, p)
		for _, args := range [][]any{{"SHUTDOWN", "x"}, {"SHUTDOWN", "SAVE", "NOSAVE"}, {"SHUTDOWN", "NOW", "ABORT"}} {
			if got := errorOf(n, args...); got != "ERR syntax error" {
				t.Errorf("%v: %q", args, got)
			}
		}
		if got := errorOf(n, "SHUTDOWN", "ABORT"); got != "ERR No shutdown in progress." {
			t.Errorf("SHUTDOWN ABORT: %q", got)
		}
	})
}

// A server that is to end waits for a replica that lags, with writes held up, until it
// has caught up, the time is over, or the shutdown is aborted; NOW does not wait.
// Skein alone: redis-server 7.0.15 does the same by hand, and crashes in this test when
// a shutdown is aborted that clients wait for.
func TestShutdownWaitsForReplicas(t *testing.T) {
	p := proc.Skein(t)
	n := proc.NewNode(t, p, "--shutdown-timeout", "60", "--repl-diskless-sync-delay", "0")
	replica := proc.NewNode(t, p)
	n.Start()
	replica.Start()
	replica.Must("REPLICAOF", "127.0.0.1", strconv.Itoa(n.Port))
	lag := func() {
		t.Helper()
		proc.WaitInStep(t, n, replica)
		proc.Wait(t, proc.Patience, "acknowledgement", func() string {
			i := n.Info("replication")
			if !strings.Contains(i["slave0"], "offset="+i["master_repl_offset"]) || !strings.Contains(i["slave0"], "state=online") {
				return fmt.Sprint(i)
			}
			return ""
		})
		replica.Freeze()
		n.Must("INCR", "n")
	}
	waits := func(times int) {
		t.Helper()
		proc.Wait(t, proc.Patience, "wait for the replica", func() string {
			if strings.Count(n.Log(), "Waiting for replicas before shutting down.") < times {
				return n.Log()
			}
			return ""
		})
	}
	lag()
	const clients = 2 // the second waits with the first
	reply := make(chan string, clients)
	for range clients {
		go func() { reply <- errorOf(n, "SHUTDOWN") }()
	}
	waits(1)
	held := make(chan error, 1)
	go func() { held <- n.Client().Set(context.Background(), "held", "1", 0).Err() }()
	if got := n.Text("GET", "n"); got != "1" {
		t.Errorf("GET during the wait: %s", got)
	}
	select {
	case err := <-held:
		t.Errorf("a write during the wait is answered: %v", err)
	case <-time.After(200 * time.Millisecond): // that nothing comes takes a while to see
	}
	n.Must("SHUTDOWN", "ABORT")
	for range clients {
		if got := <-reply; got != "ERR Errors trying to SHUTDOWN. Check logs." {
			t.Errorf("SHUTDOWN that was aborted: %q", got)
		}
	}
	if err := <-held; err != nil {
		t.Errorf("the write that was held up: %v", err)
	}
	n.Signal(syscall.SIGTERM)
	waits(2)
	n.Must("SHUTDOWN", "ABORT")
	proc.Wait(t, proc.Patience, "SET", func() string { return errorOf(n, "SET", "x", "1") })
	n.Signal(syscall.SIGTERM)
	waits(3)
	replica.Signal(syscall.SIGCONT) // catches up, which ends the wait long before its time
	if code := n.Exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := replica.Text("GET", "held"); got != "1" {
		t.Errorf("the replica has held=%s", got)
	}
	n.Start()
	lag()
	start := time.Now()
	n.Do("SHUTDOWN", "NOW")
	n.Exit()
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("SHUTDOWN NOW took %v", took)
	}
	replica.Signal(syscall.SIGCONT)
}

// A disk that is really full: the save fails, the old file stays, writes are refused;
// with space again a save succeeds and writes are accepted.
func TestSaveDiskFull(t *testing.T) {
	both(t, func(t *testing.T, p proc.Program) {
		n := proc.NewNode(t, p, "--save", "3600 1", "--rdbcompression", "no", "--logfile", "/dev/null")
		small := n.Path("small")
		if err := os.Mkdir(small, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := mountSmall(small); err != nil {
			t.Skipf("a full disk is not tried: no small file system can be mounted: %v", err)
		}
		t.Cleanup(func() {
			n.Kill()
			syscall.Unmount(small, 0)
		})
		n.Args = append(n.Args, "--dir", small)
		n.Start()
		n.Must("SET", "old", "1")
		n.Must("SAVE")
		for i := range 30 {
			n.Must("SET", fmt.Sprint("big", i), strings.Repeat("x", 100_000))
		}
		n.Must("BGSAVE")
		saved(t, n)
		if got := saveInfo(n); got != "changes 30, status err, tries 2, in progress 0" {
			t.Errorf("after BGSAVE: %s", got)
		}
		if got := errorOf(n, "SET", "x", "1"); got != misconf {
			t.Errorf("SET: %q", got)
		}
		if names, _ := os.ReadDir(small); len(names) != 1 {
			t.Errorf("%v are on the full disk", names)
		}
		n.Kill()
		n.Start()
		if got := n.Text("DBSIZE"); got != "1" {
			t.Errorf("after a kill there are %s keys, want the one of the old file", got)
		}
		n.Must("SET", "small", "1")
		n.Must("BGSAVE")
		saved(t, n)
		if got := saveInfo(n); got != "changes 0, status ok, tries 1, in progress 0" {
			t.Errorf("with space again: %s", got)
		}
	})
}
