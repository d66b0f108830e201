package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/test/proc"
)

// aofWork writes values of all types, in two databases, with transactions and
// commands whose effect is logged in another form.
func aofWork(t *testing.T, n *proc.Node, round int) {
	t.Helper()
	ctx := context.Background()
	p := n.Client().TxPipeline()
	do := func(line string, args ...any) {
		words := []any{}
		for _, w := range strings.Fields(fmt.Sprintf(line, args...)) {
			words = append(words, w)
		}
		p.Do(ctx, words...)
	}
	for i := range 150 {
		do("SET s%d:%d value%d", round, i, i)
		do("RPUSH l%d a %d b%d", i%9, i, i)
		do("SADD ints%d %d", i%4, i*7)
		do("SADD set%d m%d %d", i%3, i, i)
		do("HSET h%d f%d v%d g%d %d", i%5, i, i, i, i)
		do("ZADD z%d %d.25 m%d -inf low inf high", i%5, i, i)
		do("XADD x%d %d-%d f v%d", i%2, round+1, i+1, i)
		do("INCR counter")
		do("APPEND text%d x", i%6)
	}
	do("SET volatile%d v EX 100000", round)
	do("GETEX s%d:1 PX 100000000", round)
	do("SPOP set1 2")
	do("INCRBYFLOAT float 1.5")
	do("LPOP l1")
	do("XGROUP CREATE x0 g%d 0 ENTRIESREAD 0", round)
	do("XREADGROUP GROUP g%d c COUNT 3 STREAMS x0 >", round)
	do("XGROUP CREATECONSUMER x0 g%d idle", round)
	do("XDEL x1 %d-2", round+1)
	do("PFADD hll%d a b c", round)
	do("SELECT 3")
	do("SET other%d x", round)
	do("RPUSH otherlist %d", round)
	do("SELECT 0")
	if _, err := p.Exec(ctx); err != nil {
		t.Fatalf("%s: %v", n, err)
	}
}

// rewriteAOF makes one and waits for it.
func rewriteAOF(t *testing.T, n *proc.Node) {
	t.Helper()
	n.Must("BGREWRITEAOF")
	waitBase(t, n)
}

// waitBase waits until the node's log is on and has its base, with no rewrite to come.
func waitBase(t *testing.T, n *proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, n.String()+" has a base", func() string {
		i := n.Info("persistence")
		if i["aof_enabled"] != "1" || i["aof_rewrite_in_progress"] != "0" || i["aof_rewrite_scheduled"] != "0" || i["aof_last_bgrewrite_status"] != "ok" {
			return fmt.Sprint(i)
		}
		return ""
	})
}

// The files go from Skein to a real server and back, with a base as an RDB and as
// commands, with annotations; the tools of both find them in order.
func TestAOFExchange(t *testing.T) {
	for _, kind := range proc.Reals {
		for _, preamble := range []string{"yes", "no"} {
			t.Run(kind.Name+", preamble "+preamble, func(t *testing.T) {
				args := []string{"--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--aof-timestamp-enabled", "yes"}
				other := proc.NewNode(t, kind.Program(t), args...)
				n := proc.NewNode(t, proc.Skein(t), args...)
				other.Dir = n.Dir // one at a time
				check := func(digest string, now *proc.Node) {
					t.Helper()
					manifest := filepath.Join(n.Dir, "appendonlydir", "appendonly.aof.manifest")
					if kind == proc.Redis7 {
						if out, err := proc.Run(t, proc.Patience, "", "redis-check-aof", manifest); err != nil || !strings.Contains(out, "All AOF files and manifest are valid") {
							t.Errorf("redis-check-aof: %v\n%s", err, out)
						}
					}
					if out, err := proc.Run(t, proc.Patience, "", proc.Binary(t), "check-aof", manifest); err != nil || !strings.Contains(out, "All AOF files and manifest are valid") {
						t.Errorf("skein check-aof: %v\n%s", err, out)
					}
					now.Start()
					if got := now.Digest(); got != digest {
						t.Errorf("%s has another data set: %s, want %s", now, got, digest)
					}
				}
				n.Start()
				aofWork(t, n, 0)
				rewriteAOF(t, n)
				aofWork(t, n, 1)
				digest := n.Digest()
				n.Stop()
				check(digest, other)
				aofWork(t, other, 2)
				digest = other.Digest()
				other.Stop()
				check(digest, n) // increments only
				n.Stop()
				other.Start()
				rewriteAOF(t, other)
				aofWork(t, other, 3)
				digest = other.Digest()
				other.Stop()
				check(digest, n) // their base
			})
		}
	}
}

// aofLedger is a client that appends numbers to a list of its own, in pipelines, and
// knows what was acknowledged and when.
type aofLedger struct {
	key         string
	sent, acked int
	times       []time.Time // of acknowledgements, by number
}

func (g *aofLedger) run(ctx context.Context, addr string, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 5))
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, MaxRetries: -1, PoolSize: 1, DisableIdentity: true, DialerRetries: 1})
	defer c.Close()
	for ctx.Err() == nil {
		p := c.Pipeline()
		n := 1 + rnd.IntN(8)
		for i := range n {
			p.RPush(context.Background(), g.key, g.sent+i)
		}
		g.sent += n
		replies, err := p.Exec(context.Background())
		now := time.Now()
		for _, r := range replies {
			if r.Err() != nil {
				return
			}
			g.acked++
			g.times = append(g.times, now)
		}
		if err != nil {
			return
		}
	}
}

// check wants the list to be numbers from 0, at least those acknowledged before.
func (g *aofLedger) check(t *testing.T, n *proc.Node, before time.Time) {
	t.Helper()
	list := n.Client().LRange(context.Background(), g.key, 0, -1).Val()
	for i, v := range list {
		if v != strconv.Itoa(i) {
			t.Fatalf("%s: element %d is %s", g.key, i, v)
		}
	}
	must := g.acked
	for must > 0 && !g.times[must-1].Before(before) {
		must--
	}
	if len(list) < must || len(list) > g.sent {
		t.Fatalf("%s: %d elements on disk, %d sent, %d acknowledged, %d of them early enough", g.key, len(list), g.sent, g.acked, must)
	}
	g.times = append(g.times[:min(g.acked, len(list))], make([]time.Time, max(0, len(list)-g.acked))...)
	g.sent, g.acked = len(list), len(list)
}

// kill -9 at random under load, rewrites in between. With always nothing
// acknowledged is lost; with everysec at most what was so in the last 2.5 seconds.
// A kill leaves what the kernel was given: what a sync is worth, the tests of the
// package aof show on a disk that forgets. ROUNDS sets how often; `make aof-kill` does 200.
func TestAOFKill(t *testing.T) {
	rounds := 4
	if s := os.Getenv("ROUNDS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for policy, slack := range map[string]time.Duration{"always": 0, "everysec": 2500 * time.Millisecond} {
		t.Run(policy, func(t *testing.T) {
			n := proc.NewNode(t, proc.Skein(t), "--appendonly", "yes", "--appendfsync", policy, "--auto-aof-rewrite-min-size", "200kb")
			rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
			ledgers := make([]*aofLedger, 12)
			for i := range ledgers {
				ledgers[i] = &aofLedger{key: fmt.Sprint("ledger", i)}
			}
			total := 0
			for round := range rounds {
				n.Start()
				ctx, cancel := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				for i, g := range ledgers {
					wg.Add(1)
					go func() { defer wg.Done(); g.run(ctx, n.Addr(), uint64(round*100+i)) }()
				}
				if round%3 == 1 {
					n.Do("BGREWRITEAOF")
				}
				time.Sleep(time.Duration(20+rnd.IntN(400)) * time.Millisecond) // the moment is what is random
				killed := time.Now()
				n.Kill()
				cancel()
				wg.Wait()
				n.Start()
				before := killed.Add(time.Hour)
				if slack > 0 {
					before = killed.Add(-slack)
				}
				for _, g := range ledgers {
					g.check(t, n, before)
				}
				if round%10 == 9 { // or loading takes over
					for _, g := range ledgers {
						total += g.acked
						*g = aofLedger{key: g.key}
					}
					n.Must("FLUSHALL")
				}
				n.Kill()
			}
			for _, g := range ledgers {
				total += g.acked
			}
			if total == 0 {
				t.Error("nothing was ever acknowledged")
			}
			t.Logf("%d rounds, %d writes on disk", rounds, total)
		})
	}
}

// A disk that is really full: writes are refused, reads are served; with space again
// all goes on, and nothing acknowledged is missing.
func TestAOFDiskFull(t *testing.T) {
	n := proc.NewNode(t, proc.Skein(t), "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	if err := os.Mkdir(n.Path("appendonlydir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mountSmall(n.Path("appendonlydir")); err != nil {
		t.Skipf("a full disk is not tried: no small file system can be mounted: %v", err)
	}
	t.Cleanup(func() {
		n.Kill()
		syscall.Unmount(n.Path("appendonlydir"), 0)
	})
	ballast := n.Path("appendonlydir/ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	n.Start()
	ctx := context.Background()
	c := n.Client()
	value := strings.Repeat("x", 20000)
	var acked []string
	refused := ""
	for i := 0; refused == "" && i < 1000; i++ {
		key := fmt.Sprint("k", i)
		switch err := c.Set(ctx, key, value, 0).Err(); {
		case err == nil:
			acked = append(acked, key)
		case strings.HasPrefix(err.Error(), "MISCONF"):
			refused = err.Error()
		}
	}
	if want := "MISCONF Errors writing to the AOF file: No space left on device"; refused != want || len(acked) == 0 {
		t.Fatalf("after %d writes: %q, want %q", len(acked), refused, want)
	}
	if got := c.Get(ctx, acked[0]).Val(); got != value {
		t.Errorf("a read is not served on a full disk")
	}
	// A rewrite fails for want of space, and does no harm.
	n.Must("BGREWRITEAOF")
	proc.Wait(t, proc.Patience, "rewrite that fails", func() string {
		if i := n.Info("persistence"); i["aof_last_bgrewrite_status"] != "err" {
			return fmt.Sprint(i)
		}
		return ""
	})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, proc.Patience, "recovery", func() string {
		if err := c.Set(ctx, "after", "1", 0).Err(); err != nil {
			return err.Error()
		}
		return ""
	})
	n.Kill()
	n.Start()
	for _, key := range append(acked, "after") {
		if c.Exists(ctx, key).Val() != 1 {
			t.Errorf("%s is lost", key)
		}
	}
}

// WAITAOF counts the own disk and those of replicas; a replica's file is begun anew
// by a full sync and holds what its primary sent.
func TestAOFReplicaAndWait(t *testing.T) {
	primary := proc.StartNode(t, proc.Skein(t), "--appendonly", "yes")
	replica := proc.StartNode(t, proc.Skein(t), "--appendonly", "yes", "--appendfsync", "always")
	replica.Must("SET", "old", "data")
	aofWork(t, primary, 0)
	replica.Must("REPLICAOF", "127.0.0.1", strconv.Itoa(primary.Port))
	proc.Wait(t, proc.Patience, "the link", func() string { return want(replica.Info("replication")["master_link_status"], "up") })
	waitBase(t, replica)
	ctx := context.Background()
	conn := primary.Client().Conn() // WAITAOF is about the connection's own writes
	defer conn.Close()
	conn.Set(ctx, "waited", "1", 0)
	if got := fmt.Sprint(conn.Do(ctx, "WAITAOF", 1, 1, 15000).Val()); got != "[1 1]" {
		t.Errorf("WAITAOF 1 1: %s", got)
	}
	primary.Must("CONFIG", "SET", "appendfsync", "no")
	conn.Set(ctx, "waited", "2", 0)
	if got := fmt.Sprint(conn.Do(ctx, "WAITAOF", 1, 0, 300).Val()); got != "[0 1]" && got != "[0 0]" {
		t.Errorf("WAITAOF 1 0 with appendfsync no: %s", got)
	}
	primary.Must("CONFIG", "SET", "appendfsync", "always")
	conn.Set(ctx, "waited", "3", 0)
	if got := fmt.Sprint(conn.Do(ctx, "WAITAOF", 1, 1, 15000).Val()); got != "[1 1]" {
		t.Errorf("WAITAOF 1 1 with appendfsync always: %s", got)
	}
	aofWork(t, primary, 1)
	proc.WaitInStep(t, primary, replica)
	conn.Set(ctx, "waited", "4", 0)
	if got := fmt.Sprint(conn.Do(ctx, "WAITAOF", 1, 1, 15000).Val()); got != "[1 1]" {
		t.Errorf("WAITAOF 1 1: %s", got)
	}
	digest := primary.Digest()
	for _, n := range []*proc.Node{primary, replica} {
		n.Kill()
		n.Start()
		if got := n.Digest(); got != digest {
			t.Errorf("%s after kill -9: another data set", n)
		}
		n.Kill()
	}
}

// Switching at run time: a log is begun with the data that is there, survives a
// kill, and is not written to any more once it is off. DEBUG LOADAOF reads it.
func TestAOFSwitch(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t))
	aofWork(t, n, 0)
	n.Must("CONFIG", "SET", "appendonly", "yes")
	waitBase(t, n)
	aofWork(t, n, 1)
	digest := n.Digest()
	n.Must("DEBUG", "LOADAOF")
	if got := n.Digest(); got != digest {
		t.Error("DEBUG LOADAOF: another data set")
	}
	n.Must("CONFIG", "SET", "appendonly", "no")
	n.Must("SET", "unlogged", "1")
	n.Args = append(n.Args, "--appendonly", "yes")
	n.Kill()
	n.Start()
	if got := n.Digest(); got != digest {
		t.Error("after switching off: another data set")
	}
	n.Must("CONFIG", "SET", "appendonly", "no")
	n.Must("SET", "more", "1")
	n.Must("CONFIG", "SET", "appendonly", "yes")
	digest = n.Digest()
	// While the first base is under way a node does not end, as redis-server does not.
	waitBase(t, n)
	n.Stop()
	n.Start()
	if got := n.Digest(); got != digest {
		t.Error("stopped after switching on: another data set")
	}
}

// A log with annotations of time is cut to a moment by redis-check-aof and by skein
// check-aof alike, and then holds what there was at that moment.
func TestAOFTimestamps(t *testing.T) {
	n := proc.NewNode(t, proc.Skein(t), "--appendonly", "yes", "--aof-timestamp-enabled", "yes")
	n.Start()
	n.Must("SET", "before", "1")
	moment := time.Now().Unix()
	proc.Wait(t, proc.Patience, "the next but one second", func() string {
		if now := time.Now().Unix(); now < moment+2 {
			return fmt.Sprint(now)
		}
		return ""
	})
	n.Must("SET", "after", "1")
	n.Stop()
	whole, err := filepath.Glob(n.Path("appendonlydir/*.incr.aof"))
	if err != nil || len(whole) != 1 {
		t.Fatal(whole, err)
	}
	incr, err := os.ReadFile(whole[0])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(incr), "#TS:") {
		t.Fatalf("no annotation in %q", incr)
	}
	manifest := n.Path("appendonlydir/appendonly.aof.manifest")
	var cut []string
	for _, tool := range [][]string{{"redis-check-aof"}, {proc.Binary(t), "check-aof"}} {
		if err := os.WriteFile(whole[0], incr, 0o644); err != nil {
			t.Fatal(err)
		}
		args := append(tool[1:], "--truncate-to-timestamp", strconv.FormatInt(moment+1, 10), manifest)
		out, err := proc.Run(t, proc.Patience, "y\n", tool[0], args...)
		if err != nil {
			t.Errorf("%s: %v\n%s", tool, err, out)
		}
		left, err := os.ReadFile(whole[0])
		if err != nil {
			t.Fatal(err)
		}
		cut = append(cut, string(left))
	}
	if cut[0] != cut[1] || len(cut[0]) == 0 || len(cut[0]) >= len(incr) {
		t.Errorf("cut from\n%q\nby redis-check-aof to\n%q\nby skein check-aof to\n%q", incr, cut[0], cut[1])
	}
	n.Start()
	if before, after := n.Text("EXISTS", "before"), n.Text("EXISTS", "after"); before != "1" || after != "0" {
		t.Errorf("before %s, after %s, want 1, 0", before, after)
	}
}
