package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/skeindb/skein/test/proc"
)

// Clients and tools that people use work against one cluster, and follow its
// redirections: each of them reaches keys of all three primaries.
func TestClusterClients(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	n := c.Nodes[0]

	t.Run("redis-cli -c follows MOVED", func(t *testing.T) {
		for _, key := range []string{"foo", "bar", "c"} { // slots 12182, 5061, 7365: three primaries
			if out := n.CLI("-c", "SET", key, "v-"+key); out != "OK\n" {
				t.Errorf("SET %s: %q", key, out)
			}
			if out := c.Nodes[2].CLI("-c", "GET", key); out != "v-"+key+"\n" {
				t.Errorf("GET %s: %q", key, out)
			}
		}
		out := n.CLIInput("SET foo 1\nSET bar 2\nSET c 3\nGET foo\n", "-c")
		if !strings.HasSuffix(strings.TrimSpace(out), "1") {
			t.Errorf("a redis-cli -c session: %q", out)
		}
	})
	t.Run("redirections without -c", func(t *testing.T) {
		owner := map[string]string{}
		for _, p := range c.Primaries() {
			owner[p.Myself().Slots[0]] = p.Addr()
		}
		addr := owner["10923-16383"]
		want := "MOVED 12182 " + addr
		for _, n := range c.Nodes {
			if n.Addr() == addr {
				continue
			}
			if _, err := n.Do("GET", "foo"); err == nil || err.Error() != want {
				t.Errorf("%s: GET foo: %v, want %s", n, err, want)
			}
		}
		if _, err := n.Do("MSET", "foo", "1", "bar", "2"); err == nil || err.Error() != "CROSSSLOT Keys in request don't hash to the same slot" {
			t.Errorf("MSET over two slots: %v", err)
		}
	})
	t.Run("redis-benchmark --cluster", func(t *testing.T) {
		runs := []string{"-t set,get,incr -n 20000 -r 10000 -P 16 -c 30", "-t set,get -n 5000 -r 10000 -c 10 --threads 2"}
		if testing.Short() {
			runs = []string{"-t set,get -n 10000 -r 10000 -P 16 -c 10"}
		}
		for _, args := range runs {
			out := n.Benchmark(append([]string{"--cluster", "-q"}, strings.Fields(args)...)...)
			if !strings.Contains(out, "Cluster has 3 master nodes") && !strings.Contains(out, "GET:") {
				t.Errorf("redis-benchmark --cluster %s:\n%s", args, out)
			}
			if rates := regexp.MustCompile(`(?m)^(SET|GET|INCR).*: [0-9.]+ requests per second`).FindAllString(strings.ReplaceAll(out, "\r", "\n"), -1); len(rates) < 2 {
				t.Errorf("redis-benchmark --cluster %s gives no rates:\n%s", args, out)
			}
			if strings.Contains(out, "Error") {
				t.Errorf("redis-benchmark --cluster %s:\n%s", args, out)
			}
		}
		for _, p := range c.Primaries() {
			if got, _ := strconv.Atoi(p.Text("DBSIZE")); got < 1000 {
				t.Errorf("%s has %d keys after the benchmark, want thousands", p, got)
			}
		}
	})
	t.Run("go-redis", func(t *testing.T) {
		for _, proto := range []int{2, 3} {
			client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{n.Addr()}, Protocol: proto})
			defer client.Close()
			goRedis(t, client, fmt.Sprintf("go%d", proto))
		}
	})
	t.Run("rueidis", func(t *testing.T) {
		useRueidis(t, rueidis.ClientOption{InitAddress: []string{n.Addr()}})
	})
	t.Run("reads from replicas", func(t *testing.T) {
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{n.Addr()}, ReadOnly: true})
		defer client.Close()
		ctx := context.Background()
		for i := range 50 {
			key := fmt.Sprintf("ro:%d", i)
			if err := client.Set(ctx, key, i, 0).Err(); err != nil {
				t.Fatal(err)
			}
			proc.Wait(t, proc.Patience, "replica has "+key, func() string {
				if v, err := client.Get(ctx, key).Int(); err != nil || v != i {
					return fmt.Sprintf("GET %s = %d, %v", key, v, err)
				}
				return ""
			})
		}
	})
}

// goRedis uses what a program with the Go client uses.
func goRedis(t *testing.T, client *redis.ClusterClient, prefix string) {
	t.Helper()
	ctx := context.Background()
	for i := range 200 {
		key := fmt.Sprintf("%s:%d", prefix, i)
		if err := client.Set(ctx, key, i, 0).Err(); err != nil {
			t.Fatalf("SET %s: %v", key, err)
		}
		if v, err := client.Get(ctx, key).Int(); err != nil || v != i {
			t.Fatalf("GET %s = %d, %v, want %d", key, v, err, i)
		}
	}
	cmds, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 200 {
			p.Incr(ctx, fmt.Sprintf("%s:%d", prefix, i))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("pipeline over all shards: %v", err)
	}
	for i, cmd := range cmds {
		if got := cmd.(*redis.IntCmd).Val(); got != int64(i+1) {
			t.Errorf("INCR number %d = %d, want %d", i, got, i+1)
		}
	}
	tag := "{" + prefix + "}"
	if _, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, tag+"a", "1", 0)
		p.IncrBy(ctx, tag+"a", 41)
		return nil
	}); err != nil {
		t.Errorf("MULTI/EXEC: %v", err)
	}
	if v := client.Get(ctx, tag+"a").Val(); v != "42" {
		t.Errorf("after MULTI/EXEC the value is %q, want 42", v)
	}
	sub := client.Subscribe(ctx, prefix+"-news")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatalf("SUBSCRIBE: %v", err)
	}
	if err := client.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
		return m.Publish(ctx, prefix+"-news", "from "+m.Options().Addr).Err()
	}); err != nil {
		t.Fatalf("PUBLISH: %v", err)
	}
	seen := map[string]bool{}
	for range 3 {
		ctx, cancel := context.WithTimeout(ctx, proc.Patience)
		msg, err := sub.ReceiveMessage(ctx)
		cancel()
		if err != nil {
			t.Fatalf("messages of three primaries: got %v, then %v", seen, err)
		}
		seen[msg.Payload] = true
	}
	if len(seen) != 3 {
		t.Errorf("messages %v, want one from each primary", seen)
	}
}

// useRueidis uses the client's own ways: automatic pipelining and client side
// caching with invalidation.
func useRueidis(t *testing.T, opt rueidis.ClientOption) {
	t.Helper()
	client, err := rueidis.NewClient(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	var batch rueidis.Commands
	for i := range 200 {
		batch = append(batch, client.B().Set().Key(fmt.Sprintf("ru:%d", i)).Value(strconv.Itoa(i)).Build())
	}
	for i, r := range client.DoMulti(ctx, batch...) {
		if err := r.Error(); err != nil {
			t.Fatalf("SET ru:%d: %v", i, err)
		}
	}
	for i := range 200 {
		key := fmt.Sprintf("ru:%d", i)
		if v, err := client.Do(ctx, client.B().Get().Key(key).Build()).AsInt64(); err != nil || v != int64(i) {
			t.Fatalf("GET %s = %d, %v", key, v, err)
		}
	}
	// Cached on the first reading, told to forget by the server on a change.
	const key = "ru:cached"
	get := func() (string, bool) {
		r := client.DoCache(ctx, client.B().Get().Key(key).Cache(), proc.Patience*10)
		v, err := r.ToString()
		if err != nil {
			t.Fatalf("cached GET: %v", err)
		}
		return v, r.IsCacheHit()
	}
	set := func(v string) {
		if err := client.Do(ctx, client.B().Set().Key(key).Value(v).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	set("one")
	get()
	if v, hit := get(); v != "one" || !hit {
		t.Errorf("second reading: %q, from the cache: %v; want one, true", v, hit)
	}
	set("two")
	proc.Wait(t, proc.Patience, "invalidation", func() string {
		if v, hit := get(); v != "two" {
			return fmt.Sprintf("value %q, from the cache: %v", v, hit)
		}
		return ""
	})
}
