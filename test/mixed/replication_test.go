package mixed

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
	"github.com/skeindb/skein/test/workload"
)

// syncWay is a way for a snapshot, and for a replica to be let in.
type syncWay struct {
	name    string
	short   bool // tried without -long
	args    []string
	peers   []string // directives of real servers alone, by which others may differ
	of      string   // ... of this kind only
	empty   bool     // the replica must have no data of its own
	says    string   // what the replica's log says of the snapshot
	wrong   []any    // a command that makes the replica be refused, and
	right   []any    // ... one that makes it be let in
	users   bool     // the primary must know users: Skein has the default one alone
	restart bool     // the replica is stopped and started again under way
	behind  bool     // the replica misses more than the backlog holds under way
}

var syncWays = []syncWay{
	{name: "as a file", args: []string{"--repl-diskless-sync", "no", "--repl-diskless-load", "disabled"}, says: `receiving \d+ bytes from (master|primary) to disk`, restart: true, short: true},
	{name: "as it is made, to a file", args: []string{"--repl-diskless-sync", "yes", "--repl-diskless-load", "disabled"}, says: "receiving streamed RDB from (master|primary) with EOF to disk", behind: true},
	{name: "as it is made, to memory", args: []string{"--repl-diskless-sync", "yes", "--repl-diskless-load", "on-empty-db"}, empty: true, says: "receiving streamed RDB from (master|primary) with EOF to parser", short: true},
	{name: "beside the old data", args: []string{"--repl-diskless-sync", "yes", "--repl-diskless-load", "swapdb"}, behind: true},
	{name: "by password", args: []string{"--requirepass", "open sesame", "--masterauth", "open sesame"},
		wrong: []any{"CONFIG", "SET", "masterauth", "sesame"}, right: []any{"CONFIG", "SET", "masterauth", "open sesame"}},
	{name: "as a user", peers: []string{"--user", "copier", "on", ">open", "+psync", "+replconf", "+ping"}, users: true,
		args: []string{"--masteruser", "copier", "--masterauth", "open"}, wrong: []any{"CONFIG", "SET", "masteruser", "nobody"}, right: []any{"CONFIG", "SET", "masteruser", "copier"}},
	{name: "on two connections, if both can", peers: []string{"--dual-channel-replication-enabled", "yes", "--repl-diskless-sync", "yes"}, of: proc.Valkey8.Name},
	{name: "on two connections, if both can", peers: []string{"--repl-rdb-channel", "yes", "--repl-diskless-sync", "yes"}, of: proc.Redis8.Name},
}

// A primary, a replica of another make, and behind that one of the primary's make,
// while commands of all families write: full syncs in every way, links cut, a
// replica stopped and started; in the end the data of all three are the same, and
// the replica has succeeded the primary and been succeeded by it, without a full sync.
func TestReplication(t *testing.T) {
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := proc.Skein(t), r.Program(t)
		for _, pair := range [][2]proc.Program{{skein, real}, {real, skein}} {
			for _, way := range syncWays {
				if way.of != "" && way.of != r.Name || way.users && pair[0].Skein || !way.short && !*long {
					continue
				}
				t.Run(pair[0].Name+" to "+pair[1].Name+" "+way.name, func(t *testing.T) { replicate(t, pair[0], pair[1], &way) })
			}
		}
	})
}

// chain is the three of them. The replica's link to the primary can be cut.
type chain struct {
	t                      *testing.T
	primary, replica, last *proc.Node
	line                   *proc.Link
	mix                    *workload.Mix
	calls                  int64 // between two events
}

func replicate(t *testing.T, of, by proc.Program, way *syncWay) {
	c := &chain{t: t, calls: 1000}
	if *long {
		c.calls = 10000
	}
	node := func(p proc.Program) *proc.Node {
		// A PING that the primary sends after the promotion of the replica would be a
		// history of its own.
		args := append([]string{"--repl-backlog-size", "64mb", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "3600"}, way.args...)
		if !p.Skein {
			args = append(args, way.peers...)
		}
		return proc.StartNode(t, p, args...)
	}
	c.primary, c.replica, c.last = node(of), node(by), node(of)
	fillNode(t, c.primary, "")
	c.mix = workload.StartMix(t, c.primary, c.replica)
	c.mix.Await(c.calls)
	for _, n := range []*proc.Node{c.replica, c.last} {
		if !way.empty {
			n.Must("SET", "of its own", "must go")
		}
	}

	c.line = proc.NewLink(t, c.primary, 0)
	if way.wrong != nil {
		c.replica.Must(way.wrong...)
		c.replica.Must(c.line.Args()...)
		proc.Wait(t, proc.Patience, "the replica to be refused", func() string {
			if !strings.Contains(c.replica.Log(), "Unable to AUTH to ") {
				return "not in its log"
			}
			return ""
		})
		if up := c.replica.Info("replication")["master_link_status"]; up != "down" {
			t.Errorf("refused, the replica has master_link_status %s", up)
		}
		c.replica.Must(way.right...)
	} else {
		c.replica.Must(c.line.Args()...)
	}
	c.up(c.replica)
	if !regexp.MustCompile(way.says).MatchString(c.replica.Log()) {
		t.Errorf("the log of %s does not say %q", c.replica, way.says)
	}
	if way.users {
		for _, n := range []*proc.Node{c.primary, c.last} { // they follow the replica, which has no such user
			n.Must("CONFIG", "SET", "masteruser", "", "masterauth", "")
		}
	}
	c.last.Must("REPLICAOF", "127.0.0.1", strconv.Itoa(c.replica.Port))
	c.up(c.last)
	c.syncs(c.primary, 1)
	c.syncs(c.replica, 1)

	for range 3 {
		c.cut()
	}
	c.syncs(c.primary, 1)
	c.syncs(c.replica, 1)
	full := int64(1)
	if way.restart {
		c.restart()
		c.syncs(c.primary, full)
	}
	if way.behind {
		c.behind()
		full++
		c.syncs(c.primary, full)
	}
	c.same("after the writes")
	if _, err := c.replica.Do("SET", "k", "v"); err == nil || err.Error() != "READONLY You can't write against a read only replica." {
		t.Errorf("SET on a replica: %v", err)
	}
	c.exchange()
}

// up waits until a replica has a link and more of the stream on it.
func (c *chain) up(n *proc.Node) {
	c.t.Helper()
	proc.Wait(c.t, proc.Patience, "the link of "+n.String(), func() string {
		if i := n.Info("replication"); i["master_link_status"] != "up" {
			return i["master_link_status"]
		}
		return ""
	})
	c.mix.Await(c.calls / 4)
}

// syncs wants a number of full syncs that a node has given.
func (c *chain) syncs(n *proc.Node, want int64) {
	c.t.Helper()
	if got := n.InfoInt("stats", "sync_full"); got != want {
		c.t.Errorf("%s has given %d full syncs, want %d", n, got, want)
	}
}

// cut ends the replica's connection; it must come back and go on.
func (c *chain) cut() {
	c.t.Helper()
	c.mix.Await(c.calls)
	partial := c.primary.InfoInt("stats", "sync_partial_ok")
	c.line.Cut()
	proc.Wait(c.t, proc.Patience, "the stream to continue", func() string {
		if n := c.primary.InfoInt("stats", "sync_partial_ok"); n == partial {
			return "not yet"
		}
		return ""
	})
	c.up(c.replica)
}

// restart stops the replica, which saves, and starts it again. It waits for its own
// replica, and takes nothing more of the stream meanwhile: else it would wait for
// all of shutdown-timeout, 10 s.
func (c *chain) restart() {
	c.t.Helper()
	start := time.Now()
	c.replica.Do("SHUTDOWN", "SAVE")
	if code := c.replica.Exit(); code != 0 {
		c.t.Errorf("%s: exit code %d after SHUTDOWN SAVE", c.replica, code)
	}
	if took := time.Since(start); took > 8*time.Second {
		c.t.Errorf("%s needed %v to shut down", c.replica, took)
	}
	c.mix.Await(c.calls / 4)
	c.replica.Args = append(c.replica.Args, "--replicaof", "127.0.0.1", strconv.Itoa(c.line.Port))
	c.replica.Start()
	c.up(c.replica)
	c.up(c.last)
}

// behind makes the replica miss more than the backlog holds.
func (c *chain) behind() {
	c.t.Helper()
	full := c.primary.InfoInt("stats", "sync_full")
	c.primary.Must("CONFIG", "SET", "repl-backlog-size", "16kb")
	c.replica.Freeze()
	c.line.Cut()
	proc.Wait(c.t, proc.Patience, "the primary to notice", func() string {
		if n := c.primary.Info("replication")["connected_slaves"]; n != "0" {
			return n
		}
		return ""
	})
	c.mix.Await(c.calls)
	c.primary.Must("CONFIG", "SET", "repl-backlog-size", "64mb")
	c.replica.Signal(syscall.SIGCONT)
	proc.Wait(c.t, proc.Patience, "a full sync", func() string {
		if n := c.primary.InfoInt("stats", "sync_full"); n == full {
			return "none"
		}
		return ""
	})
	c.up(c.replica)
	c.up(c.last)
}

// same stops the writing and compares all that the three have.
func (c *chain) same(when string) {
	c.t.Helper()
	c.mix.Stop()
	for _, n := range []*proc.Node{c.replica, c.last} {
		proc.WaitInStep(c.t, c.primary, n)
		counts := c.primary.Program.Skein
		if got, want := groups(n, counts), groups(c.primary, counts); !slices.Equal(got, want) {
			c.t.Errorf("%s: consumer groups of %s are\n%s\nwant those of %s\n%s", when, n, strings.Join(got, "\n"), c.primary, strings.Join(want, "\n"))
		}
		if got, want := libraries(n), libraries(c.primary); !slices.Equal(got, want) {
			c.t.Errorf("%s: functions of %s are %q, want %q", when, n, got, want)
		}
	}
}

// groups describes the consumer groups of all streams of database 0, which are in
// no digest. counts includes how many entries were read: a real primary does not
// tell its replicas, of whatever make.
func groups(n *proc.Node, counts bool) (all []string) {
	for _, k := range n.Must("KEYS", "grow:stream:*").([]any) {
		g := n.Must("XINFO", "GROUPS", k).([]any)[0].([]any)
		if !counts {
			g = g[:8] // name, consumers, pending, last-delivered-id
		}
		all = append(all, fmt.Sprint(k, g, n.Must("XPENDING", k, "group")))
	}
	slices.Sort(all)
	return all
}

// libraries returns the code of all functions.
func libraries(n *proc.Node) (all []string) {
	for _, l := range n.Must("FUNCTION", "LIST", "WITHCODE").([]any) {
		f := l.([]any)
		all = append(all, fmt.Sprint(f[len(f)-1]))
	}
	slices.Sort(all)
	return all
}

// exchange lets the replica succeed the primary, and the primary the replica.
func (c *chain) exchange() {
	c.t.Helper()
	for range 2 {
		old, heir := c.primary, c.replica
		oldFull, heirFull := old.InfoInt("stats", "sync_full"), heir.InfoInt("stats", "sync_full")
		heir.Must("REPLICAOF", "NO", "ONE")
		heir.Must("INCR", "promotions")
		old.Must("REPLICAOF", "127.0.0.1", strconv.Itoa(heir.Port))
		proc.WaitInStep(c.t, heir, old)
		proc.WaitInStep(c.t, heir, c.last)
		if got := heir.Text("WAIT", "1", "5000"); got == "0" {
			c.t.Errorf("WAIT 1 at %s = 0", heir)
		}
		c.syncs(old, oldFull)
		c.syncs(heir, heirFull)
		c.primary, c.replica = heir, old
	}
}
