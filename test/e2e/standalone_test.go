package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// One node without a cluster, used by hand and by redis-benchmark.
func TestStandalone(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t))
	t.Run("redis-cli", func(t *testing.T) {
		out := n.CLIInput(`PING
SET k "a value"
GET k
SELECT 1
EXISTS k
SELECT 0
EXPIRE k 100
TTL k
LPUSH l a b c
LRANGE l 0 -1
INCR l
NOSUCH 1
MULTI
INCR n
INCR n
EXEC
`)
		want := `PONG
OK
a value
OK
0
OK
1
100
3
c
b
a
WRONGTYPE Operation against a key holding the wrong kind of value

ERR unknown command 'NOSUCH', with args beginning with: '1' 

OK
QUEUED
QUEUED
1
2
`
		if out != want {
			t.Errorf("redis-cli session:\n%s\nwant:\n%s", out, want)
		}
		if out := n.CLI("-3", "HELLO"); !strings.Contains(out, "server redis") || !strings.Contains(out, "proto 3") || !strings.Contains(out, "mode standalone") {
			t.Errorf("HELLO by redis-cli -3: %q", out)
		}
		for _, args := range [][]string{{"--bigkeys"}, {"--memkeys"}, {"--scan"}, {"--latency", "-i", "0", "--raw"}} {
			if args[0] == "--latency" {
				continue // runs until it is stopped
			}
			if out := n.CLI(args...); strings.Contains(strings.ToLower(out), "err") {
				t.Errorf("redis-cli %v:\n%s", args, out)
			}
		}
		if out := n.CLI("--rdb", n.Path("copy.rdb")); !strings.Contains(out, "Transfer finished with success") {
			t.Errorf("redis-cli --rdb:\n%s", out)
		}
		if out, err := proc.Run(t, proc.Patience, "", "redis-check-rdb", n.Path("copy.rdb")); err != nil {
			t.Errorf("redis-check-rdb of what redis-cli --rdb fetched: %v\n%s", err, out)
		}
	})
	t.Run("redis-benchmark", func(t *testing.T) {
		requests := "5000"
		if testing.Short() {
			requests = "500"
		}
		out := n.Benchmark("-q", "-n", requests, "-r", "1000", "-P", "8")
		out = strings.ReplaceAll(out, "\r", "\n")
		for _, name := range []string{"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "RPOP", "SADD", "HSET", "SPOP",
			"ZADD", "ZPOPMIN", "LRANGE_100 (first 100 elements)", "MSET (10 keys)"} {
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `: [0-9.]+ requests per second`).MatchString(out) {
				t.Errorf("redis-benchmark has no rate for %s", name)
			}
		}
		if strings.Contains(out, "Error") || strings.Contains(out, "WARNING") {
			t.Errorf("redis-benchmark:\n%s", out)
		}
	})
}

// Replication between two nodes of ours; package mixed has it with real servers: full
// synchronisation while writes go on, the stream, a link that is cut, promotion.
func TestReplicationPair(t *testing.T) {
	primary := proc.StartNode(t, proc.Skein(t), "--repl-diskless-sync-delay", "0")
	replica := proc.StartNode(t, proc.Skein(t), "--repl-diskless-sync-delay", "0")
	fillNode(t, primary, "{before}")
	primary.Must("SELECT", "0")
	replica.Must("SET", "only here", "must go")
	replica.Must("REPLICAOF", "127.0.0.1", strconv.Itoa(primary.Port))
	requests := "20000"
	if testing.Short() {
		requests = "3000"
	}
	primary.Benchmark("-q", "-n", requests, "-r", "5000", "-P", "16", "-t", "set,incr,lpush,hset,zadd,sadd,spop")
	proc.WaitInStep(t, primary, replica)
	if got := replica.Text("EXISTS", "only here"); got != "0" {
		t.Errorf("the replica kept data of its own")
	}
	if _, err := replica.Do("SET", "k", "v"); err == nil || err.Error() != "READONLY You can't write against a read only replica." {
		t.Errorf("SET on a replica: %v", err)
	}

	// Effects that must not be decided twice.
	for _, args := range [][]any{{"SET", "ex", "v", "EX", "1000"}, {"GETEX", "ex", "PX", "777777"}, {"SADD", "s", "a", "b", "c"}, {"SPOP", "s"},
		{"INCRBYFLOAT", "f", "0.1"}, {"RPUSH", "l", "3", "1", "2"}, {"SORT", "l", "STORE", "sorted"}, {"APPEND", "app", "x"},
		{"ZADD", "z", "INCR", "1.5", "m"}, {"HINCRBYFLOAT", "h", "f", "2.5"}, {"COPY", "l", "l2"}, {"RENAME", "l2", "l3"},
		{"SET", "gone", "v", "PX", "1"}} {
		if _, err := primary.Do(args...); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	primary.CLIInput("MULTI\nINCR in-multi\nLPUSH ml a b\nEXEC\nEVAL \"return 1\" 0\n")
	proc.Wait(t, proc.Patience, "expired key gone", func() string {
		if got := primary.Text("EXISTS", "gone"); got != "0" {
			return "EXISTS gone = " + got
		}
		return ""
	})
	proc.WaitInStep(t, primary, replica)

	// A cut link resumes where it was; the reply to who cut it means that it is gone.
	full := primary.InfoInt("stats", "sync_full")
	replica.Freeze()
	if got := primary.Text("CLIENT", "KILL", "TYPE", "replica"); got != "1" {
		t.Errorf("CLIENT KILL TYPE replica = %s, want 1", got)
	}
	if got := primary.Info("replication")["connected_slaves"]; got != "0" {
		t.Errorf("connected_slaves = %s after CLIENT KILL", got)
	}
	primary.Must("SET", "while cut", "1")
	replica.Signal(syscall.SIGCONT)
	proc.WaitInStep(t, primary, replica)
	if got := primary.InfoInt("stats", "sync_full"); got != full {
		t.Errorf("sync_full went from %d to %d over a cut link, want a partial resynchronisation", full, got)
	}
	if got := primary.InfoInt("stats", "sync_partial_ok"); got < 1 {
		t.Errorf("sync_partial_ok = %d, want at least 1", got)
	}
	if got := primary.Text("WAIT", "1", "5000"); got != "1" {
		t.Errorf("WAIT 1 = %s", got)
	}
	info := primary.Info("replication")
	if !regexp.MustCompile(`^ip=127\.0\.0\.1,port=` + strconv.Itoa(replica.Port) + `,state=online,offset=\d+,lag=[01]$`).MatchString(info["slave0"]) {
		t.Errorf("slave0 of INFO: %q", info["slave0"])
	}

	// The promoted replica becomes the primary of the old one, without a full copy.
	replica.Must("REPLICAOF", "NO", "ONE")
	replica.Must("SET", "after", "promotion")
	primary.Must("REPLICAOF", "127.0.0.1", strconv.Itoa(replica.Port))
	proc.WaitInStep(t, replica, primary)
	if got := primary.Text("GET", "after"); got != "promotion" {
		t.Errorf("GET after = %q on the old primary", got)
	}
}

// A chain: what the first node has reaches the last one through the middle.
func TestReplicationChain(t *testing.T) {
	p := proc.Skein(t)
	nodes := []*proc.Node{proc.StartNode(t, p), proc.StartNode(t, p), proc.StartNode(t, p)}
	fillNode(t, nodes[0], "")
	for i := 1; i < len(nodes); i++ {
		nodes[i].Must("REPLICAOF", "127.0.0.1", fmt.Sprint(nodes[i-1].Port))
	}
	nodes[0].Must("SET", "k", "v")
	proc.WaitInStep(t, nodes[0], nodes[1])
	proc.WaitInStep(t, nodes[0], nodes[2])
	nodes[0].Must("SET", "k", "w")
	proc.WaitInStep(t, nodes[0], nodes[2])
}
