package e2e

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// What the directives and commands of replication do, seen from outside. What the
// tests of package repl show already (repl-timeout, repl-backlog-ttl, masterauth,
// output limits, the texts of errors) is not repeated.

// pairOf is a primary and a replica in step.
func pairOf(t *testing.T, args ...string) (primary, replica *proc.Node) {
	t.Helper()
	primary = proc.StartNode(t, proc.Skein(t), args...)
	replica = proc.StartNode(t, proc.Skein(t), args...)
	primary.Must("SET", "k", "v")
	replica.Must("REPLICAOF", "127.0.0.1", primary.Port)
	proc.WaitInStep(t, primary, replica)
	return primary, replica
}

// waitField waits until a field of INFO replication has a value.
func waitField(t *testing.T, n *proc.Node, field, want string) {
	t.Helper()
	proc.Wait(t, proc.Patience, n.String()+": "+field, func() string {
		if got := n.Info("replication")[field]; got != want {
			return fmt.Sprintf("%q, want %q", got, want)
		}
		return ""
	})
}

// fieldsOf are the names of INFO's fields in their order, those of Skein alone left out.
func fieldsOf(n *proc.Node, section string) (names []string) {
	for line := range strings.Lines(n.Text("INFO", section)) {
		name, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && !slices.Contains(skeinFields, name) {
			names = append(names, name)
		}
	}
	return names
}

// skeinFields are fields that redis-server 7.0 does not have.
var skeinFields = []string{"repl_sync_buffer_bytes", "repl_write_limit_bytes_per_sec", "repl_write_limit_waits", "repl_write_limit_wait_msec"}

// Goal: a monitor finds the fields of redis-server 7.0.15 in INFO replication and
// persistence, in the same order, for a primary, a replica, a replica without its
// primary; and those values that do not depend on the moment agree. Method: a chain
// of each make in the same state.
func TestReplicationInfoAsRedis(t *testing.T) {
	type chain struct{ primary, replica *proc.Node }
	var both []chain
	for _, p := range []proc.Program{proc.Skein(t), proc.Redis(t)} {
		args := []string{"--repl-diskless-sync-delay", "0", "--repl-backlog-size", "1mb", "--min-replicas-to-write", "1", "--min-replicas-max-lag", "10"}
		c := chain{proc.StartNode(t, p, args...), proc.StartNode(t, p, args...)}
		c.replica.Must("REPLICAOF", "127.0.0.1", c.primary.Port)
		proc.WaitInStep(t, c.primary, c.replica)
		waitField(t, c.primary, "min_slaves_good_slaves", "1")
		both = append(both, c)
	}
	skein, redis := both[0], both[1]
	compare := func(state string, a, b *proc.Node) {
		t.Helper()
		for _, section := range []string{"replication", "persistence"} {
			got, want := fieldsOf(a, section), fieldsOf(b, section)
			missing := slices.DeleteFunc(slices.Clone(want), func(f string) bool { return slices.Contains(got, f) })
			extra := slices.DeleteFunc(slices.Clone(got), func(f string) bool { return slices.Contains(want, f) })
			if len(missing) > 0 {
				t.Errorf("%s: INFO %s lacks %v", state, section, missing)
			}
			if section == "replication" && !slices.Equal(got, want) {
				t.Errorf("%s: fields of INFO replication\n  %v, want\n  %v", state, got, want)
			} else if len(extra) > 0 {
				t.Logf("%s: INFO %s has besides %v", state, section, extra)
			}
		}
		x, y := a.Info("replication"), b.Info("replication")
		changing := regexp.MustCompile(`^(master_port|slave0|master_replid2?|.*offset|.*histlen|master_last_io.*|master_link_down.*)$`)
		for f, v := range x {
			if w, has := y[f]; has && v != w && !changing.MatchString(f) {
				t.Errorf("%s: %s is %q, redis-server has %q", state, f, v, w)
			}
		}
	}
	compare("primary", skein.primary, redis.primary)
	compare("replica", skein.replica, redis.replica)
	for _, c := range both {
		c.primary.Kill()
		waitField(t, c.replica, "master_link_status", "down")
	}
	compare("replica without its primary", skein.replica, redis.replica)
	for _, c := range both {
		c.replica.Must("REPLICAOF", "NO", "ONE")
	}
	compare("promoted", skein.replica, redis.replica)
}

// Goal: ROLE names every state of a replica's link as redis-server does. Method: a
// primary of the test that stands still at each step.
func TestRoleStates(t *testing.T) {
	for name, program := range map[string]func(testing.TB) proc.Program{"skein": proc.Skein, "redis": proc.Redis} {
		t.Run(name, func(t *testing.T) {
			n := proc.StartNode(t, program(t), "--repl-timeout", "60")
			state := func(want string) {
				t.Helper()
				proc.Wait(t, proc.Patience, "ROLE tells "+want, func() string {
					r, _ := n.Must("ROLE").([]any)
					if len(r) != 5 || r[0] != "slave" || r[3] != want || want != "connected" && fmt.Sprint(r[4]) != "-1" {
						return fmt.Sprint(r)
					}
					return ""
				})
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			n.Must("REPLICAOF", "127.0.0.1", ln.Addr().(*net.TCPAddr).Port)
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			state("handshake") // PING is not answered
			fmt.Fprint(conn, "+PONG\r\n+OK\r\n+OK\r\n+FULLRESYNC "+strings.Repeat("a", 40)+" 100\r\n")
			state("sync")
			waitField(t, n, "master_sync_in_progress", "1")
			ln.Close()
			conn.Close()
			proc.Wait(t, proc.Patience, "ROLE tells that it connects", func() string {
				if r, _ := n.Must("ROLE").([]any); len(r) != 5 || r[3] != "connect" && r[3] != "connecting" {
					return fmt.Sprint(r)
				}
				return ""
			})
			primary := proc.StartNode(t, proc.Skein(t))
			n.Must("REPLICAOF", "127.0.0.1", primary.Port)
			state("connected")
		})
	}
}

// What the replica says of itself reaches the primary and those who look for
// replicas: replica-announce-ip and -port, replica-priority, replica-announced.
func TestReplicaAnnounces(t *testing.T) {
	primary := proc.StartNode(t, proc.Skein(t))
	replica := proc.StartNode(t, proc.Skein(t), "--replica-announce-ip", "10.1.2.3", "--replica-announce-port", "7777",
		"--replica-priority", "42", "--replica-announced", "no", "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.Port))
	proc.WaitInStep(t, primary, replica)
	if got := primary.Info("replication")["slave0"]; !strings.HasPrefix(got, "ip=10.1.2.3,port=7777,state=online,") {
		t.Errorf("slave0:%s", got)
	}
	if got := fmt.Sprint(primary.Must("ROLE")); !strings.Contains(got, "[10.1.2.3 7777 ") {
		t.Errorf("ROLE: %s", got)
	}
	for field, want := range map[string]string{"slave_priority": "42", "replica_announced": "0"} {
		if got := replica.Info("replication")[field]; got != want {
			t.Errorf("%s:%s, want %s", field, got, want)
		}
	}
	replica.Must("CONFIG", "SET", "replica-priority", "0", "replica-announced", "yes")
	for field, want := range map[string]string{"slave_priority": "0", "replica_announced": "1"} {
		if got := replica.Info("replication")[field]; got != want {
			t.Errorf("after CONFIG SET %s:%s, want %s", field, got, want)
		}
	}
}

// A replica that does not acknowledge for longer than min-replicas-max-lag is no
// good replica, though it is attached.
func TestMinReplicasMaxLag(t *testing.T) {
	primary, replica := pairOf(t, "--min-replicas-max-lag", "1")
	primary.Must("CONFIG", "SET", "min-replicas-to-write", "1")
	primary.WaitSet("k", "1")
	replica.Freeze()
	proc.Wait(t, proc.Patience, "writes are refused", func() string {
		if _, err := primary.Do("SET", "k", "2"); err == nil || err.Error() != "NOREPLICAS Not enough good replicas to write." {
			return fmt.Sprint(err)
		}
		return ""
	})
	info := primary.Info("replication")
	if info["connected_slaves"] != "1" || info["min_slaves_good_slaves"] != "0" {
		t.Errorf("connected_slaves:%s, min_slaves_good_slaves:%s; want 1, 0", info["connected_slaves"], info["min_slaves_good_slaves"])
	}
	if got := primary.Text("GET", "k"); got == "" {
		t.Errorf("reads are refused too")
	}
	replica.Signal(syscall.SIGCONT)
	primary.WaitSet("k", "3")
	replica.Freeze()
	primary.Must("CONFIG", "SET", "min-replicas-max-lag", "0") // switched off
	primary.WaitSet("k", "4")
	replica.Signal(syscall.SIGCONT)
}

// repl-ping-replica-period: an idle primary's stream grows by a PING a second.
func TestPingPeriod(t *testing.T) {
	primary, _ := pairOf(t, "--repl-ping-replica-period", "1")
	const ping = 14
	at := primary.InfoInt("replication", "master_repl_offset")
	start := time.Now()
	proc.Wait(t, proc.Patience, "three pings", func() string {
		if now := primary.InfoInt("replication", "master_repl_offset"); now < at+3*ping {
			return fmt.Sprint(now-at, " bytes")
		}
		return ""
	})
	if took := time.Since(start); took < 1500*time.Millisecond {
		t.Errorf("three pings in %v, want one a second", took)
	}
	if now := primary.InfoInt("replication", "master_repl_offset"); (now-at)%ping != 0 {
		t.Errorf("the stream grew by %d bytes, want multiples of %d", now-at, ping)
	}
}

// How a snapshot travels: as it is made, or as a file whose size is told first
// (repl-diskless-sync); and whether the replica loads it as it comes
// (repl-diskless-load). Seen in the replica's log; the data are right each time.
func TestDisklessSettings(t *testing.T) {
	for _, tt := range []struct {
		name, diskless, load string
		empty                bool
		want                 string
	}{
		{"the default", "yes", "disabled", true, "receiving streamed RDB from master with EOF to disk"},
		{"to an empty replica's parser", "yes", "on-empty-db", true, "receiving streamed RDB from master with EOF to parser"},
		{"not over data", "yes", "on-empty-db", false, "receiving streamed RDB from master with EOF to disk"},
		{"old data are kept until the new are there", "yes", "swapdb", false, "receiving streamed RDB from master with EOF to disk"},
		{"a file", "no", "disabled", true, `receiving \d+ bytes from master to disk`},
		{"a file to the parser", "no", "on-empty-db", true, `receiving \d+ bytes from master to parser`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			primary := proc.StartNode(t, proc.Skein(t), "--repl-diskless-sync", tt.diskless)
			replica := proc.StartNode(t, proc.Skein(t), "--repl-diskless-load", tt.load)
			fillNode(t, primary, "")
			if !tt.empty {
				replica.Must("SET", "mine", "1")
			}
			replica.Must("REPLICAOF", "127.0.0.1", primary.Port)
			proc.WaitInStep(t, primary, replica)
			if !regexp.MustCompile(tt.want).MatchString(replica.Log()) {
				t.Errorf("the replica's log does not say %q", tt.want)
			}
			primary.Must("SET", "after", "1")
			proc.WaitInStep(t, primary, replica)
		})
	}
}

// repl-diskless-sync-delay: the snapshot begins so long after the request.
func TestDisklessDelay(t *testing.T) {
	primary := proc.StartNode(t, proc.Skein(t), "--repl-diskless-sync-delay", "1")
	replica := proc.StartNode(t, proc.Skein(t))
	replica.Must("REPLICAOF", "127.0.0.1", primary.Port)
	waitField(t, primary, "connected_slaves", "1")
	asked := time.Now()
	proc.Wait(t, proc.Patience, "a snapshot", func() string {
		if !strings.Contains(primary.Log(), "Background RDB transfer started") {
			return "none"
		}
		return ""
	})
	if took := time.Since(asked); took < 800*time.Millisecond {
		t.Errorf("the snapshot began after %v, want a second", took)
	}
	proc.WaitInStep(t, primary, replica)
}

// repl-backlog-size counts at once: what a replica missed while it was away is kept,
// or is not.
func TestBacklogSize(t *testing.T) {
	primary, replica := pairOf(t, "--repl-backlog-size", "64kb")
	line := proc.NewLink(t, primary, 0)
	replica.Must(line.Args()...)
	proc.WaitInStep(t, primary, replica)
	for _, tt := range []struct {
		size string
		full int64
	}{{"64kb", 1}, {"4mb", 0}, {"16kb", 1}} {
		primary.Must("CONFIG", "SET", "repl-backlog-size", tt.size)
		before := primary.InfoInt("stats", "sync_full")
		replica.Freeze()
		line.Cut()
		waitField(t, primary, "connected_slaves", "0")
		for i := range 100 {
			primary.Must("SET", "big"+strconv.Itoa(i), strings.Repeat("x", 10000))
		}
		replica.Signal(syscall.SIGCONT)
		proc.WaitInStep(t, primary, replica)
		if got := primary.InfoInt("stats", "sync_full") - before; got != tt.full {
			t.Errorf("a backlog of %s and 1 MB missed: %d full syncs, want %d", tt.size, got, tt.full)
		}
	}
}

// FAILOVER in all its ways, with a target that is stopped: the states of INFO, writes
// that wait, TIMEOUT, ABORT, FORCE. Both makes must do the same.
func TestFailoverStates(t *testing.T) {
	for name, program := range map[string]func(testing.TB) proc.Program{"skein": proc.Skein, "redis": proc.Redis} {
		t.Run(name, func(t *testing.T) {
			primary, replica := proc.StartNode(t, program(t), "--repl-diskless-sync-delay", "0"), proc.StartNode(t, program(t), "--repl-diskless-sync-delay", "0")
			replica.Must("REPLICAOF", "127.0.0.1", primary.Port)
			proc.WaitInStep(t, primary, replica)
			waitField(t, primary, "master_failover_state", "no-failover")
			refused := func(want string, args ...any) {
				t.Helper()
				if _, err := primary.Do(args...); err == nil || err.Error() != want {
					t.Errorf("%v: %v, want %s", args, err, want)
				}
			}
			target := []any{"FAILOVER", "TO", "127.0.0.1", replica.Port}
			with := func(more ...any) []any { return append(slices.Clone(target), more...) }
			proc.Wait(t, proc.Patience, "the replica is online", func() string {
				if text := primary.Info("replication")["slave0"]; !strings.Contains(text, "state=online") {
					return text
				}
				return ""
			})
			refused("ERR FAILOVER with force option requires both a timeout and target HOST and IP.", with("FORCE")...)

			replica.Freeze()
			primary.Must("SET", "not yet", "there")
			// A timeout ends it, and the primary stays one.
			primary.Must(with("TIMEOUT", "300")...)
			waitField(t, primary, "master_failover_state", "waiting-for-sync")
			refused("ERR FAILOVER already in progress.", "FAILOVER")
			refused("ERR REPLICAOF not allowed while failing over.", "REPLICAOF", "NO", "ONE")
			waitField(t, primary, "master_failover_state", "no-failover")
			primary.Must("SET", "after", "the timeout")
			// So does ABORT; a write waits as long as it goes on.
			primary.Must(target...)
			waitField(t, primary, "master_failover_state", "waiting-for-sync")
			written := make(chan error, 1)
			go func() { _, err := primary.Do("SET", "waits", "1"); written <- err }()
			proc.Wait(t, proc.Patience, "the write waits", func() string {
				if got := primary.Info("clients")["blocked_clients"]; got != "1" {
					return got + " blocked clients"
				}
				return ""
			})
			primary.Must("FAILOVER", "ABORT")
			if err := <-written; err != nil {
				t.Errorf("the write that waited: %v", err)
			}
			waitField(t, primary, "master_failover_state", "no-failover")
			refused("ERR No failover in progress.", "FAILOVER", "ABORT")
			// FORCE goes on without the target having everything.
			primary.Must(with("FORCE", "TIMEOUT", "100")...)
			waitField(t, primary, "master_failover_state", "failover-in-progress")
			waitField(t, primary, "role", "slave")
			replica.Signal(syscall.SIGCONT)
			waitField(t, replica, "role", "master")
			waitField(t, primary, "master_failover_state", "no-failover")
			replica.WaitSet("new", "primary")
			proc.WaitInStep(t, replica, primary)
			// And back, in order, to any replica.
			full := primary.InfoInt("stats", "sync_full")
			waitField(t, replica, "connected_slaves", "1")
			replica.Must("FAILOVER")
			waitField(t, primary, "role", "master")
			proc.WaitInStep(t, primary, replica)
			if got := primary.InfoInt("stats", "sync_full"); got != full {
				t.Errorf("an ordered failover cost %d full syncs", got-full)
			}
		})
	}
}
