package e2e

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// besideRedis runs a test of what a server does on Skein and on redis-server 7, which
// shows that the test asks for the right thing.
func besideRedis(t *testing.T, run func(t *testing.T, start func(args ...string) *proc.Node)) {
	for _, name := range []string{"skein", "redis7"} {
		t.Run(name, func(t *testing.T) {
			program := proc.Redis7.Program
			if name == "skein" {
				program = proc.Skein
			}
			run(t, func(args ...string) *proc.Node { return proc.StartNode(t, program(t), args...) })
		})
	}
}

const oom = "OOM command not allowed when used memory > 'maxmemory'."

// shrink lowers maxmemory so that about n values of 2 KB must go, and waits until
// memory is under it or writes are refused.
func shrink(t *testing.T, n *proc.Node, values int) {
	t.Helper()
	limit := n.InfoInt("memory", "used_memory") - int64(values*2200)
	n.Must("CONFIG", "SET", "maxmemory", limit)
	proc.Wait(t, proc.Patience, "memory falls", func() string {
		if _, err := n.Do("SET", "p:tick", "x"); err != nil {
			return err.Error()
		}
		if used := n.InfoInt("memory", "used_memory"); used > limit+16<<10 {
			return fmt.Sprintf("used_memory %d, limit %d", used, limit)
		}
		return ""
	})
}

// Which keys go, under every policy: 300 keys without expiry (p) and 300 with (v);
// of each kind the ones with high numbers were used least, or expire first. Of those
// that were evicted nearly all must be from the worse half, and with volatile
// policies none without an expiry.
func TestEvictionPolicies(t *testing.T) {
	const keys = 300
	value := strings.Repeat("x", 2000)
	policies := []string{"allkeys-lru", "volatile-lfu", "volatile-ttl", "volatile-lru", "allkeys-lfu", "allkeys-random", "volatile-random"}
	if testing.Short() {
		policies = policies[:3]
	}
	for _, policy := range policies {
		t.Run(policy, func(t *testing.T) {
			besideRedis(t, func(t *testing.T, start func(...string) *proc.Node) {
				n := start("--maxmemory-policy", policy, "--maxmemory-samples", "10", "--lfu-decay-time", "0")
				n.Must("SET", "model", value)
				payload := n.Text("DUMP", "model")
				n.Must("DEL", "model")
				for i := range keys {
					use := []any{"IDLETIME", 1000 + 1000*i}
					if strings.HasSuffix(policy, "lfu") {
						use = []any{"FREQ", 255 - i*255/keys}
					}
					n.Must(append([]any{"RESTORE", fmt.Sprintf("p:%d", i), 0, payload}, use...)...)
					n.Must(append([]any{"RESTORE", fmt.Sprintf("v:%d", i), int64(10_000_000 - 10_000*i), payload}, use...)...)
				}
				victims := 200
				if strings.HasPrefix(policy, "volatile") {
					victims = 100
				}
				shrink(t, n, victims)
				gone, worse := map[byte]int{}, 0
				for i := range keys {
					for _, kind := range []byte("pv") {
						if n.Text("EXISTS", fmt.Sprintf("%c:%d", kind, i)) == "0" {
							gone[kind]++
							if i >= keys/2 {
								worse++
							}
						}
					}
				}
				all := gone['p'] + gone['v']
				if evicted := n.InfoInt("stats", "evicted_keys"); all < victims/2 || int64(all) > evicted || int64(all) < evicted-20 { // p:tick may have been among them
					t.Fatalf("%d keys are gone, evicted_keys %d, want about %d", all, evicted, victims)
				}
				if strings.HasPrefix(policy, "volatile") && gone['p'] > 0 {
					t.Errorf("%d keys without expiry were evicted", gone['p'])
				}
				if !strings.HasPrefix(policy, "volatile") && (gone['p'] < all/4 || gone['v'] < all/4) {
					t.Errorf("of %d keys %d had no expiry", all, gone['p'])
				}
				share := float64(worse) / float64(all)
				t.Logf("%d evicted, %.0f%% of them from the worse half", all, 100*share)
				if random := strings.HasSuffix(policy, "random"); !random && share < 0.95 || random && (share < 0.2 || share > 0.8) {
					t.Errorf("%.0f%% of the evicted are from the worse half", 100*share)
				}
			})
		})
	}
}

// With nothing to evict writes that may use memory are refused, in so many words,
// alone and in a transaction; reads and deletions are not. INFO tells how long.
func TestNoEviction(t *testing.T) {
	for _, policy := range []string{"noeviction", "volatile-lru", "volatile-ttl"} {
		besideRedis(t, func(t *testing.T, start func(...string) *proc.Node) {
			n := start("--maxmemory-policy", policy)
			for i := range 50 {
				n.Must("SET", fmt.Sprintf("k%d", i), strings.Repeat("x", 10_000))
			}
			n.Must("RPUSH", "l", "a", "b", "c")
			n.Must("CONFIG", "SET", "maxmemory", n.InfoInt("memory", "used_memory")-100_000)
			c := n.Raw(2)
			for _, step := range [][2]string{
				{"SET a 1", "-" + oom}, {"GET nokey", "$-1"}, {"LPUSH l d", "-" + oom}, {"LPOP l", `$"a"`}, {"EXPIRE l 1000", ":1"}, {"INCR n", "-" + oom},
				{"MULTI", "+OK"}, {"GET a", "-" + oom}, {"EXEC", "-EXECABORT Transaction discarded because of previous errors."},
				{"MULTI", "+OK"}, {"SET a 1", "-" + oom}, {"DISCARD", "+OK"},
			} {
				if policy != "noeviction" && strings.HasPrefix(step[0], "EXPIRE") {
					continue // would be the one to evict
				}
				if got := c.Do(strings.Fields(step[0])...); got != step[1] {
					t.Errorf("%s: %s, want %s", step[0], got, step[1])
				}
			}
			if now := n.InfoInt("stats", "current_eviction_exceeded_time"); now < 0 {
				t.Errorf("current_eviction_exceeded_time %d", now)
			}
			proc.Wait(t, proc.Patience, "current_eviction_exceeded_time grows", func() string {
				c.Do("SET", "a", "1")
				now, total := n.InfoInt("stats", "current_eviction_exceeded_time"), n.InfoInt("stats", "total_eviction_exceeded_time")
				if now < 20 || total < now {
					return fmt.Sprintf("current %d, total %d", now, total)
				}
				return ""
			})
			for i := range 40 {
				n.Must("DEL", fmt.Sprintf("k%d", i))
			}
			proc.Wait(t, proc.Patience, "SET after DEL", func() string {
				if got := c.Do("SET", "a", "1"); got != "+OK" {
					return fmt.Sprintf("%s, used_memory %d, maxmemory %d", got, n.InfoInt("memory", "used_memory"), n.InfoInt("memory", "maxmemory"))
				}
				return ""
			})
			if now, total := n.InfoInt("stats", "current_eviction_exceeded_time"), n.InfoInt("stats", "total_eviction_exceeded_time"); now != 0 || total < 20 {
				t.Errorf("current_eviction_exceeded_time %d, total %d after there is room", now, total)
			}
			n.Must("CONFIG", "RESETSTAT")
			if total := n.InfoInt("stats", "total_eviction_exceeded_time"); total != 0 {
				t.Errorf("total_eviction_exceeded_time %d after a reset", total)
			}
		})
	}
}

// What is evicted goes from the replica and from the append-only file too, as DEL or
// UNLINK. The replica itself evicts only if it is told to, and then for itself.
func TestEvictionPropagates(t *testing.T) {
	for _, lazy := range []string{"no", "yes"} {
		t.Run("lazyfree-lazy-eviction "+lazy, func(t *testing.T) {
			n := proc.StartNode(t, proc.Skein(t), "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes", "--lazyfree-lazy-eviction", lazy)
			r := proc.StartNode(t, proc.Skein(t), "--replicaof", "127.0.0.1 "+strconv.Itoa(n.Port), "--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru")
			linkUp(t, r)
			for i := range 1000 {
				n.Must("SET", fmt.Sprintf("p:%d", i), strings.Repeat("x", 2000))
			}
			shrink(t, n, 300)
			sameData(t, n, r)
			if got := r.InfoInt("stats", "evicted_keys"); got != 0 {
				t.Errorf("the replica evicted %d keys", got)
			}
			if size := r.Text("DBSIZE"); size != n.Text("DBSIZE") {
				t.Errorf("DBSIZE %s at the replica", size)
			}
			evicted := n.InfoInt("stats", "evicted_keys")
			logged := func() map[string]int64 {
				count := map[string]int64{"DEL": 0, "UNLINK": 0}
				files, _ := filepath.Glob(n.Path("appendonlydir/*.incr.aof"))
				for _, f := range files {
					text, err := os.ReadFile(f)
					if err != nil {
						t.Fatal(err)
					}
					for name := range count {
						count[name] += int64(strings.Count(string(text), "\r\n"+name+"\r\n"))
					}
				}
				return count
			}
			want := map[string]int64{"DEL": evicted, "UNLINK": 0}
			if lazy == "yes" {
				want = map[string]int64{"DEL": 0, "UNLINK": evicted}
			}
			if evicted < 200 {
				t.Errorf("%d keys evicted, want at least 200", evicted)
			}
			proc.Wait(t, proc.Patience, "all evictions are in the log", func() string { // it is written behind an fsync
				if got := logged(); !maps.Equal(got, want) {
					return fmt.Sprintf("evicted_keys %d, in the log %v", evicted, got)
				}
				return ""
			})
			if lazy == "yes" {
				return
			}
			r.Must("CONFIG", "SET", "replica-ignore-maxmemory", "no")
			proc.Wait(t, proc.Patience, "the replica evicts", func() string {
				if used := r.InfoInt("memory", "used_memory"); used > 1<<20 {
					return fmt.Sprintf("used_memory %d", used)
				}
				return ""
			})
			if got := r.InfoInt("stats", "evicted_keys"); got < 100 || n.InfoInt("stats", "evicted_keys") != evicted {
				t.Errorf("the replica evicted %d keys, the primary %d more", got, n.InfoInt("stats", "evicted_keys")-evicted)
			}
			n.Must("SET", "after", "1") // the offset is still that of the primary
			proc.Wait(t, proc.Patience, "the replica follows", func() string {
				if a, b := n.InfoInt("replication", "master_repl_offset"), r.InfoInt("replication", "slave_repl_offset"); a != b {
					return fmt.Sprintf("offsets %d and %d", a, b)
				}
				return ""
			})
			if r.Info("replication")["master_link_status"] != "up" || r.InfoInt("stats", "sync_full") != 0 {
				t.Error("the link was lost")
			}
		})
	}
}

// linkUp waits until a replica has its data.
func linkUp(t *testing.T, r *proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, "the replica is connected", func() string {
		if s := r.Info("replication")["master_link_status"]; s != "up" {
			return "master_link_status " + s
		}
		return ""
	})
}

// sameData waits until a replica holds what its primary does.
func sameData(t *testing.T, n, r *proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, "the same data", func() string {
		if a, b := n.Digest(), r.Digest(); a != b {
			return "digests " + a + " and " + b
		}
		return ""
	})
}

// A key whose time has come is absent for the clients of a replica, and stays there
// until its primary says that it is gone.
func TestReplicaDoesNotExpire(t *testing.T) {
	besideRedis(t, func(t *testing.T, start func(...string) *proc.Node) {
		n := start("--appendonly", "yes")
		r := proc.StartNode(t, proc.Skein(t), "--replicaof", "127.0.0.1 "+strconv.Itoa(n.Port))
		linkUp(t, r)
		n.Must("DEBUG", "SET-ACTIVE-EXPIRE", "0")
		n.Must("SET", "kept", "1")
		n.Must("SET", "k", "1", "PX", "100")
		n.Must("HSET", "h", "f", "v")
		n.Must("PEXPIRE", "h", "100")
		proc.Wait(t, proc.Patience, "time comes", func() string {
			if got := r.Text("EXISTS", "kept", "k", "h"); got != "1" {
				return "EXISTS " + got
			}
			return ""
		})
		time.Sleep(300 * time.Millisecond) // it must do nothing: there is no condition to wait for
		if got, err := r.Do("GET", "k"); got != nil {
			t.Errorf("GET k at the replica: %v, %v", got, err)
		}
		if size := r.Text("DBSIZE"); size != "3" {
			t.Errorf("DBSIZE %s at the replica, want 3", size)
		}
		if got := r.InfoInt("stats", "expired_keys"); got != 0 {
			t.Errorf("expired_keys %d at the replica", got)
		}
		n.Must("CONFIG", "SET", "lazyfree-lazy-expire", "yes")
		if got, _ := n.Do("GET", "k"); got != nil {
			t.Errorf("GET k: %v", got)
		}
		n.Must("CONFIG", "SET", "lazyfree-lazy-expire", "no")
		if got := n.Text("HLEN", "h"); got != "0" {
			t.Errorf("HLEN h: %v", got)
		}
		proc.Wait(t, proc.Patience, "the replica is told", func() string {
			if size := r.Text("DBSIZE"); size != "1" {
				return "DBSIZE " + size
			}
			return ""
		})
		if got := n.InfoInt("stats", "expired_keys"); got != 2 {
			t.Errorf("expired_keys %d, want 2", got)
		}
		files, _ := filepath.Glob(n.Path("appendonlydir/*.incr.aof"))
		text, _ := os.ReadFile(files[0])
		for _, want := range []string{"*2\r\n$6\r\nUNLINK\r\n$1\r\nk\r\n", "*2\r\n$3\r\nDEL\r\n$1\r\nh\r\n"} {
			if strings.Count(string(text), want) != 1 {
				t.Errorf("the log lacks %q", want)
			}
		}
	})
}

// What is freed in the background, step by step, as the settings say.
func TestLazyfree(t *testing.T) {
	besideRedis(t, func(t *testing.T, start func(...string) *proc.Node) {
		n := start()
		var members []any
		for i := range 500 {
			members = append(members, fmt.Sprintf("member %d", i))
		}
		big := func(key string) { n.Must(append([]any{"SADD", key}, members...)...) }
		want := int64(0)
		step := func(more int64, args ...any) {
			t.Helper()
			n.Must(args...)
			want += more
			proc.Wait(t, proc.Patience, fmt.Sprintf("memory is freed after %v", args), func() string {
				if left := n.InfoInt("memory", "lazyfree_pending_objects"); left != 0 {
					return fmt.Sprintf("lazyfree_pending_objects %d", left)
				}
				return ""
			})
			if got := n.InfoInt("memory", "lazyfreed_objects"); got != want {
				t.Fatalf("lazyfreed_objects %d after %v, want %d", got, args, want)
			}
		}
		big("s")
		step(0, "DEL", "s")
		big("s")
		step(1, "UNLINK", "s")
		n.Must("SADD", "small", "a")
		step(0, "UNLINK", "small")
		big("s")
		n.Must("SET", "k", "1")
		step(0, "RENAME", "k", "s")
		for _, d := range []string{"user-del", "server-del", "expire", "user-flush"} {
			n.Must("CONFIG", "SET", "lazyfree-lazy-"+d, "yes")
		}
		big("t")
		step(1, "DEL", "t")
		big("t")
		n.Must("SET", "k", "1")
		step(1, "RENAME", "k", "t")
		big("u")
		step(1, "SET", "u", "1")
		big("v")
		step(1, "PEXPIRE", "v", "-1")
		big("w")
		n.Must("PEXPIRE", "w", "10")
		proc.Wait(t, proc.Patience, "w expires", func() string {
			if n.Text("EXISTS", "w") != "0" {
				return "it is there"
			}
			return ""
		})
		step(1, "PING")
		n.Must("CONFIG", "RESETSTAT")
		want = 0
		n.Must("DEBUG", "POPULATE", 1000)
		keys, _ := strconv.ParseInt(n.Text("DBSIZE"), 10, 64)
		step(keys, "FLUSHALL")
		n.Must("DEBUG", "POPULATE", 1000)
		step(0, "FLUSHALL", "SYNC")
		n.Must("CONFIG", "SET", "lazyfree-lazy-user-flush", "no")
		n.Must("DEBUG", "POPULATE", 1000)
		step(0, "FLUSHALL")
		n.Must("DEBUG", "POPULATE", 1000)
		step(1000, "FLUSHDB", "ASYNC")

		// The old data of a node that becomes a replica.
		for lazy, want := range map[string]int64{"no": 0, "yes": 1000} {
			primary := proc.StartNode(t, proc.Skein(t))
			n.Must("CONFIG", "SET", "replica-lazy-flush", lazy)
			n.Must("CONFIG", "RESETSTAT")
			n.Must("DEBUG", "POPULATE", 1000)
			n.Must("REPLICAOF", "127.0.0.1", primary.Port)
			linkUp(t, n)
			proc.Wait(t, proc.Patience, "replica-lazy-flush "+lazy, func() string {
				if got := n.InfoInt("memory", "lazyfreed_objects"); got != want {
					return fmt.Sprintf("lazyfreed_objects %d, want %d", got, want)
				}
				return ""
			})
			if size := n.Text("DBSIZE"); size != "0" {
				t.Errorf("DBSIZE %s after the full sync", size)
			}
			n.Must("REPLICAOF", "NO", "ONE")
		}
	})
}

// Clients that take much memory are closed, those that take most first, down to
// maxmemory-clients, also given in percent; NO-EVICT spares one.
func TestClientEviction(t *testing.T) {
	besideRedis(t, func(t *testing.T, start func(...string) *proc.Node) {
		n := start()
		// Each of the clients sends the beginning of a large argument, and waits.
		hog := func(name string, kb int, spared bool) {
			conn, err := net.Dial("tcp", n.Addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			text := "CLIENT SETNAME " + name + "\r\n"
			if spared {
				text += "CLIENT NO-EVICT on\r\n"
			}
			fmt.Fprintf(conn, "%s*2\r\n$4\r\nECHO\r\n$%d\r\n%s", text, kb<<10+100, strings.Repeat("x", kb<<10))
		}
		hogs := func() string {
			var names []string
			for line := range strings.Lines(n.Text("CLIENT", "LIST")) {
				if _, rest, _ := strings.Cut(line, " name="); strings.HasPrefix(rest, "hog") {
					name, _, _ := strings.Cut(rest, " ")
					names = append(names, name)
				}
			}
			return strings.Join(names, " ")
		}
		until := func(what, want string) {
			t.Helper()
			proc.Wait(t, proc.Patience, what, func() string {
				if got := hogs(); got != want {
					return got
				}
				return ""
			})
		}
		hog("hog1", 4000, false)
		until("first", "hog1")
		hog("hog2", 2000, false)
		until("second", "hog1 hog2")
		hog("hog3", 800, true)
		until("third", "hog1 hog2 hog3")
		proc.Wait(t, proc.Patience, "INFO counts what was received", func() string {
			if got := n.InfoInt("memory", "mem_clients_normal"); got < 6800<<10 {
				return fmt.Sprintf("mem_clients_normal %d", got)
			}
			return ""
		})
		n.Must("CONFIG", "SET", "maxmemory-clients", 18<<20)
		if got := hogs(); got != "hog1 hog2 hog3" {
			t.Errorf("under the limit: %s are left", got)
		}
		n.Must("CONFIG", "SET", "maxmemory", 100<<20, "maxmemory-policy", "allkeys-lru", "maxmemory-clients", "6%")
		proc.Wait(t, proc.Patience, "the greatest goes", func() string {
			if got := hogs(); strings.Contains(got, "hog1") {
				return got
			}
			return ""
		})
		n.Must("CONFIG", "SET", "maxmemory-clients", "1800kb")
		until("all but the spared one go", "hog3")
		if got := n.InfoInt("stats", "evicted_clients"); got < 2 {
			t.Errorf("evicted_clients %d, want at least 2", got)
		}
		n.Must("CONFIG", "SET", "maxmemory-clients", "0")
		n.Must("CONFIG", "RESETSTAT")
		if got := n.InfoInt("stats", "evicted_clients"); got != 0 {
			t.Errorf("evicted_clients %d after a reset", got)
		}
	})
}

// How often keys were used survives in files and goes between servers: a snapshot
// of each is loaded by the other.
func TestFrequencyInFiles(t *testing.T) {
	args := []string{"--maxmemory-policy", "allkeys-lfu", "--lfu-decay-time", "0"}
	fill := func(n *proc.Node) {
		n.Must("SET", "model", "x")
		for i := range 256 {
			n.Must("RESTORE", fmt.Sprint(i), 0, n.Text("DUMP", "model"), "FREQ", i)
		}
		if err, _ := n.Do("OBJECT", "IDLETIME", "1"); err != nil {
			t.Errorf("OBJECT IDLETIME with an LFU policy: %v", err)
		}
		n.Must("SAVE")
	}
	check := func(n *proc.Node) {
		t.Helper()
		for i := range 256 {
			if got := n.Text("OBJECT", "FREQ", fmt.Sprint(i)); got != fmt.Sprint(i) {
				t.Fatalf("%s: FREQ of %d is %s", n, i, got)
			}
		}
	}
	skein, redis := proc.StartNode(t, proc.Skein(t), args...), proc.StartNode(t, proc.Redis7.Program(t), args...)
	for _, pair := range [][2]*proc.Node{{skein, redis}, {redis, skein}, {skein, skein}} {
		from, to := pair[0], pair[1]
		from.Must("FLUSHALL")
		fill(from)
		file, err := os.ReadFile(from.Path("dump.rdb"))
		if err != nil {
			t.Fatal(err)
		}
		to.Kill()
		if err := os.WriteFile(to.Path("dump.rdb"), file, 0o644); err != nil {
			t.Fatal(err)
		}
		to.Start()
		check(to)
	}
	// A replica gets them with the snapshot; in an LRU policy they are idle times.
	r := proc.StartNode(t, proc.Skein(t), append(args, "--replicaof", "127.0.0.1 "+strconv.Itoa(skein.Port))...)
	linkUp(t, r)
	check(r)
	skein.Must("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	skein.Must("RESTORE", "idle", 0, skein.Text("DUMP", "model"), "IDLETIME", 5000)
	skein.Must("SAVE")
	skein.Kill()
	skein.Args = []string{"--maxmemory-policy", "allkeys-lru"}
	skein.Start()
	if got, _ := strconv.Atoi(skein.Text("OBJECT", "IDLETIME", "idle")); got < 5000 || got > 5100 {
		t.Errorf("IDLETIME %d after a restart, want 5000", got)
	}
	if _, err := skein.Do("OBJECT", "FREQ", "idle"); err == nil || !strings.Contains(err.Error(), "An LFU maxmemory policy is not selected") {
		t.Errorf("OBJECT FREQ with an LRU policy: %v", err)
	}
}

// Keys whose time comes go soon also under load, those of the last slots and
// databases too, and INFO counts them.
func TestActiveExpiryUnderLoad(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t))
	const keys = 20_000
	pipe := n.Client().Pipeline()
	for db := range 16 {
		pipe.Do(t.Context(), "SELECT", db)
		for i := range keys / 16 {
			pipe.Do(t.Context(), "SET", fmt.Sprintf("k%d", i), "x", "PX", 200+i%300)
		}
	}
	pipe.Do(t.Context(), "SELECT", 0)
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { // keys that expire all the time
		defer close(done)
		c := n.Client()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			p := c.Pipeline()
			for j := range 200 {
				p.Do(t.Context(), "SET", fmt.Sprintf("load%d", (i*200+j)%100_000), "x", "PX", "50")
			}
			p.Exec(t.Context())
		}
	}()
	// A round may take long: the cycle has a quarter of the time, and the writer is fast.
	took := proc.Wait(t, 4*proc.Patience, "all keys are gone", func() string {
		for db := 1; db < 16; db++ {
			if line := n.Info("keyspace")[fmt.Sprintf("db%d", db)]; line != "" {
				return fmt.Sprintf("db%d %s", db, line)
			}
		}
		return ""
	})
	close(stop)
	<-done
	t.Logf("gone after %v", took)
	if got := n.InfoInt("stats", "expired_keys"); got < keys*15/16 {
		t.Errorf("expired_keys %d", got)
	}
	n.Must("HSET", "h", "f", "v", "g", "v")
	n.Must("HPEXPIRE", "h", 1, "FIELDS", 1, "f")
	proc.Wait(t, proc.Patience, "expired_subkeys", func() string {
		if got := n.InfoInt("stats", "expired_subkeys"); got != 1 {
			return fmt.Sprint(got)
		}
		return ""
	})
	if _, err := strconv.ParseFloat(n.Info("stats")["expired_stale_perc"], 64); err != nil {
		t.Error(err)
	}
}

// Skein's INFO has every field of redis-server's, in the sections about memory and
// counters.
func TestInfoFields(t *testing.T) {
	skein, redis := proc.StartNode(t, proc.Skein(t)), proc.StartNode(t, proc.Redis7.Program(t))
	for _, section := range []string{"memory", "stats", "clients", "persistence"} {
		ours := skein.Info(section)
		for field := range redis.Info(section) {
			if _, ok := ours[field]; !ok {
				t.Errorf("INFO %s lacks %s", section, field)
			}
		}
	}
}
