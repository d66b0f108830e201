package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/test/proc"
)

// tagsIn returns n different hash tags whose slots are in first <= slot < first+slots.
func tagsIn(n, first, slots int) (tags []string) {
	for i := 0; len(tags) < n; i++ {
		tag := strconv.Itoa(i)
		if s := int(hashslot.Slot([]byte(tag))); s >= first && s < first+slots {
			tags = append(tags, tag)
		}
	}
	return tags
}

// A keeper is a client that has keys of its own, so it knows at any time what
// each must hold, and checks every reply against that. Two keepers never share a
// key, but share slots.
type keeper struct {
	client *redis.ClusterClient
	rnd    *rand.Rand
	tags   []string
	values map[string]string // strings, counters included
	lists  map[string][]string
	single bool // only commands on one key
	done   atomic.Int64
	ended  chan struct{} // closed after the run
	err    error         // why it stopped; after the run
}

func newKeeper(c *proc.Cluster, id int, tags []string) *keeper {
	o := &keeper{rnd: rand.New(rand.NewPCG(uint64(id), 7)), ended: make(chan struct{}),
		values: map[string]string{}, lists: map[string][]string{}}
	for i := id; i < len(tags); i += keepers {
		o.tags = append(o.tags, tags[i])
	}
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	// While half of a slot's keys have moved, commands on two keys are told
	// TRYAGAIN, so there must be many tries.
	o.client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 200,
		MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 20 * time.Millisecond,
		DialTimeout: proc.Patience, ReadTimeout: proc.Patience, WriteTimeout: proc.Patience})
	return o
}

const keepers = 3

// run works until ctx ends or a reply is not what it must be.
func (o *keeper) run(ctx context.Context) {
	defer close(o.ended)
	for ctx.Err() == nil {
		if o.err = o.step(context.Background()); o.err != nil {
			return
		}
		o.done.Add(1)
	}
}

// step is one command and the check of its reply.
func (o *keeper) step(ctx context.Context) error {
	tag := o.tags[o.rnd.IntN(len(o.tags))]
	key := fmt.Sprintf("{%s}:s%d", tag, o.rnd.IntN(6))
	other := fmt.Sprintf("{%s}:s%d", tag, o.rnd.IntN(6))
	counter, list := fmt.Sprintf("{%s}:n", tag), fmt.Sprintf("{%s}:l", tag)
	value := strconv.FormatUint(o.rnd.Uint64(), 36) + strings.Repeat("v", o.rnd.IntN(50))
	differs := func(what string, got, want any) error {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s: got %v, want %v", what, got, want)
		}
		return nil
	}
	kinds := 8
	if o.single {
		kinds = 6
	}
	switch o.rnd.IntN(kinds) {
	case 0, 1:
		if err := o.client.Set(ctx, key, value, time.Duration(o.rnd.IntN(2))*time.Hour).Err(); err != nil {
			return fmt.Errorf("SET %s: %w", key, err)
		}
		o.values[key] = value
	case 2:
		got, err := o.client.Get(ctx, key).Result()
		want, has := o.values[key]
		if has != (err == nil) || err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("GET %s: %v, want %q (there: %t)", key, err, want, has)
		}
		return differs("GET "+key, got, want)
	case 3:
		got, err := o.client.Incr(ctx, counter).Result()
		if err != nil {
			return fmt.Errorf("INCR %s: %w", counter, err)
		}
		was, _ := strconv.ParseInt(o.values[counter], 10, 64)
		o.values[counter] = strconv.FormatInt(was+1, 10)
		return differs("INCR "+counter, got, was+1)
	case 4:
		got, err := o.client.RPush(ctx, list, value).Result()
		if err != nil {
			return fmt.Errorf("RPUSH %s: %w", list, err)
		}
		o.lists[list] = append(o.lists[list], value)
		return differs("RPUSH "+list, got, len(o.lists[list]))
	case 5:
		got, err := o.client.Del(ctx, key).Result()
		if err != nil {
			return fmt.Errorf("DEL %s: %w", key, err)
		}
		want := 0
		if _, has := o.values[key]; has {
			want = 1
		}
		delete(o.values, key)
		return differs("DEL "+key, got, want)
	case 6:
		if err := o.client.MSet(ctx, key, value, other, value+"2").Err(); err != nil {
			return fmt.Errorf("MSET %s %s: %w", key, other, err)
		}
		o.values[key] = value
		o.values[other] = value + "2"
	case 7:
		got, err := o.client.MGet(ctx, key, other).Result()
		if err != nil {
			return fmt.Errorf("MGET %s %s: %w", key, other, err)
		}
		want := []any{nil, nil}
		for i, k := range []string{key, other} {
			if v, has := o.values[k]; has {
				want[i] = v
			}
		}
		return differs("MGET "+key+" "+other, got, want)
	}
	return nil
}

// check reads everything once more.
func (o *keeper) check(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	for k, want := range o.values {
		if got, err := o.client.Get(ctx, k).Result(); err != nil || got != want {
			t.Errorf("GET %s = %q, %v, want %q", k, got, err, want)
		}
	}
	for k, want := range o.lists {
		if got, err := o.client.LRange(ctx, k, 0, -1).Result(); err != nil || !slices.Equal(got, want) {
			t.Errorf("LRANGE %s = %d elements, %v, want %d as they were pushed", k, len(got), err, len(want))
		}
	}
}

// work runs keepers on tags while during runs, and a while before and after, then
// compares the data with what they know: no key lost, none changed, none doubled,
// every key where its slot is served, replicas equal to their primaries.
func work(t *testing.T, c *proc.Cluster, tags []string, single bool, during func(progress func(what string))) {
	t.Helper()
	var all []*keeper
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	defer wg.Wait()
	defer stop()
	for i := range keepers {
		o := newKeeper(c, i, tags)
		o.single = single
		defer o.client.Close()
		all = append(all, o)
		wg.Add(1)
		go func() {
			defer wg.Done()
			o.run(ctx)
		}()
	}
	progress := func(what string) {
		t.Helper()
		for i, o := range all {
			from := o.done.Load()
			proc.Wait(t, proc.Patience, fmt.Sprintf("keeper %d at work %s", i, what), func() string {
				select {
				case <-o.ended:
					t.Fatalf("keeper %d gave up: %v", i, o.err)
				default:
				}
				if o.done.Load() < from+100 {
					return fmt.Sprintf("%d commands done", o.done.Load()-from)
				}
				return ""
			})
		}
	}
	progress("at first")
	during(progress)
	progress("in the end")
	stop()
	wg.Wait()
	keys := 0
	for i, o := range all {
		if o.err != nil {
			t.Errorf("keeper %d: %v", i, o.err)
		}
		t.Logf("keeper %d: %d commands, %d keys", i, o.done.Load(), len(o.values)+len(o.lists))
		o.check(t)
		keys += len(o.values) + len(o.lists)
	}
	stored := 0
	for _, p := range c.Primaries() {
		me := p.Myself()
		for _, key := range strings.Fields(p.CLI("--scan")) {
			if slot := int(hashslot.Slot([]byte(key))); !serves(me, slot) {
				t.Errorf("%s holds %s of slot %d, which it does not serve", p, key, slot)
			}
			stored++
		}
		for _, r := range c.Replicas(p) {
			proc.WaitInStep(t, p, r)
		}
	}
	if stored != keys {
		t.Errorf("%d keys are stored in all, the keepers know of %d", stored, keys)
	}
}

// serves reports whether slot is among a node's in its line of CLUSTER NODES.
func serves(p proc.Peer, slot int) bool {
	for _, s := range p.Slots {
		first, last, isRange := strings.Cut(s, "-")
		lo, err := strconv.Atoi(first)
		hi := lo
		if isRange {
			hi, _ = strconv.Atoi(last)
		}
		if err == nil && slot >= lo && slot <= hi {
			return true
		}
	}
	return false
}

// wantInOrder lets redis-cli check the cluster.
func wantInOrder(t *testing.T, n *proc.Node) {
	t.Helper()
	var out string
	proc.Wait(t, proc.Patience, "redis-cli --cluster check", func() string {
		var err error
		if out, err = proc.Run(t, time.Minute, "", "redis-cli", "--cluster", "check", n.Addr()); err != nil {
			return out
		}
		return ""
	})
	for _, bad := range []string{"[ERR]", "[WARNING]"} {
		if strings.Contains(out, bad) {
			t.Errorf("--cluster check says %s:\n%s", bad, out)
		}
	}
}

// Goal: slots move under the hands of redis-cli while clients work on their
// keys, and nobody notices: no error but redirects, no key lost, none doubled.
// Method: reshard slots from one primary to another and let rebalance bring them
// back, with clients that check each reply against a model, and replicas.
func TestReshardUnderWorkload(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	slots, tags := 16, 18
	if !testing.Short() {
		slots, tags = 120, 90
	}
	from, to := c.Nodes[0], c.Nodes[1]
	work(t, c, tagsIn(tags, 0, slots), false, func(progress func(string)) {
		out := from.CLI("--cluster", "reshard", from.Addr(), "--cluster-from", from.Myself().ID, "--cluster-to", to.Myself().ID,
			"--cluster-slots", strconv.Itoa(slots), "--cluster-yes", "--cluster-pipeline", "3")
		for slot := range slots {
			if me := to.Myself(); !serves(me, slot) {
				t.Errorf("after reshard slot %d is not served by %s: %v\n%s", slot, to, me.Slots, out)
				break
			}
		}
		progress("after reshard")
		out = from.CLI("--cluster", "rebalance", from.Addr(), "--cluster-threshold", "0.1")
		for _, n := range []*proc.Node{from, to} {
			info := n.Myself()
			if got := countSlots(info); got < 5460 || got > 5463 {
				t.Errorf("after rebalance %s serves %d slots: %v\n%s", n, got, info.Slots, out)
			}
		}
	})
	wantInOrder(t, from)
}

func countSlots(p proc.Peer) (n int) {
	for slot := range 16384 {
		if serves(p, slot) {
			n++
		}
	}
	return n
}

// Goal: the unmodified redis-cli --cluster manages a cluster in all its ways.
// Method: the subcommands one after the other, each judged by its effect.
func TestClusterTool(t *testing.T) {
	c := proc.StartCluster(t, 3, 0)
	n := c.Nodes[0]
	client := c.Client()
	ctx := context.Background()
	const keys = 60
	for i := range keys {
		if err := client.Set(ctx, fmt.Sprintf("key:%d", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	total := func() (sum int) {
		for _, p := range c.Primaries() {
			size, _ := strconv.Atoi(p.Text("DBSIZE"))
			sum += size
		}
		return sum
	}

	// A fourth primary with a configuration file, and a replica of it.
	program := proc.Skein(t)
	conf := filepath.Join(t.TempDir(), "node.conf")
	if err := os.WriteFile(conf, []byte("appendonly no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	program.Args = append(slices.Clone(program.Args), conf)
	fourth := proc.StartNode(t, program, proc.ClusterArgs()...)
	out := n.CLI("--cluster", "add-node", fourth.Addr(), n.Addr())
	if !strings.Contains(out, "[OK] New node added correctly.") {
		t.Fatalf("add-node: %s", out)
	}
	c.Nodes = append(c.Nodes, fourth)
	c.WaitHealthy(proc.Patience)
	id := fourth.Myself().ID
	replica := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs()...)
	out = n.CLI("--cluster", "add-node", replica.Addr(), n.Addr(), "--cluster-slave", "--cluster-master-id", id)
	if !strings.Contains(out, "[OK] New node added correctly.") {
		t.Fatalf("add-node --cluster-slave: %s", out)
	}
	c.Nodes = append(c.Nodes, replica)
	c.WaitHealthy(proc.Patience)
	if got := replica.Myself().Primary; got != id {
		t.Errorf("the added replica follows %s, want %s", got, id)
	}

	// Slots from all of the others, with the keys.
	out = n.CLI("--cluster", "reshard", n.Addr(), "--cluster-from", "all", "--cluster-to", id, "--cluster-slots", "60", "--cluster-yes")
	if got := countSlots(fourth.Myself()); got < 58 || got > 62 {
		t.Errorf("after reshard from all the new node serves %d slots, want 60\n%s", got, out)
	}
	wantInOrder(t, n)

	// call, backup, set-timeout.
	if out := n.CLI("--cluster", "call", n.Addr(), "DBSIZE", "--cluster-only-masters"); strings.Count(out, "127.0.0.1:") < 4 {
		t.Errorf("call: %s", out)
	}
	dir := t.TempDir()
	out = n.CLI("--cluster", "backup", n.Addr(), dir)
	files, _ := filepath.Glob(filepath.Join(dir, "*.rdb"))
	if _, err := os.Stat(filepath.Join(dir, "nodes.json")); err != nil || len(files) != 4 {
		t.Errorf("backup made %v, nodes.json: %v\n%s", files, err, out)
	}
	for _, f := range files {
		if out, err := proc.Run(t, time.Minute, "", "redis-check-rdb", f); err != nil || !strings.Contains(out, "RDB looks OK!") {
			t.Errorf("redis-check-rdb on a backup: %v\n%s", err, out)
		}
	}
	out, _ = proc.Run(t, time.Minute, "", "redis-cli", "--cluster", "set-timeout", n.Addr(), "2500")
	if got := fourth.Must("CONFIG", "GET", "cluster-node-timeout").([]any)[1]; got != "2500" {
		t.Errorf("after set-timeout cluster-node-timeout is %v\n%s", got, out)
	}
	if text, _ := os.ReadFile(conf); !strings.Contains(string(text), "cluster-node-timeout 2500") {
		t.Errorf("set-timeout did not rewrite the configuration file:\n%s\n%s", text, out)
	}

	// The slots go back, the nodes leave. Losing its last slot makes a primary a
	// replica, with a full synchronisation, so its id is asked for before.
	ids := []string{replica.Myself().ID, id}
	n.CLI("--cluster", "reshard", n.Addr(), "--cluster-from", id, "--cluster-to", n.Myself().ID,
		"--cluster-slots", strconv.Itoa(countSlots(fourth.Myself())), "--cluster-yes")
	for _, leaving := range ids {
		proc.Wait(t, proc.Patience, "del-node", func() string {
			out, err := proc.Run(t, time.Minute, "", "redis-cli", "--cluster", "del-node", n.Addr(), leaving)
			if err != nil {
				return out
			}
			c.Nodes = c.Nodes[:len(c.Nodes)-1]
			return ""
		})
	}
	c.WaitHealthy(proc.Patience)
	if got := total(); got != keys {
		t.Errorf("%d keys after all moves, want %d", got, keys)
	}

	// import from a server that is no cluster.
	source := proc.StartNode(t, proc.Skein(t))
	for i := range 30 {
		source.Must("HSET", fmt.Sprintf("imported:%d", i), "f", i)
	}
	n.CLI("--cluster", "import", n.Addr(), "--cluster-from", source.Addr(), "--cluster-copy")
	if got := total(); got != keys+30 || source.Text("DBSIZE") != "30" {
		t.Errorf("after import --cluster-copy %d keys, want %d; %s at the source", got, keys+30, source.Text("DBSIZE"))
	}
	n.CLI("--cluster", "import", n.Addr(), "--cluster-from", source.Addr(), "--cluster-replace")
	if got := total(); got != keys+30 || source.Text("DBSIZE") != "0" {
		t.Errorf("after import --cluster-replace %d keys, want %d; %s at the source", got, keys+30, source.Text("DBSIZE"))
	}
	if got, err := client.HGet(ctx, "imported:7", "f").Result(); got != "7" {
		t.Errorf("HGET of an imported key = %q, %v", got, err)
	}

	// A slot that nobody serves any more, though a node has its key.
	slot := int(hashslot.Slot([]byte("key:0")))
	for _, n := range c.Nodes {
		n.Must("CLUSTER", "DELSLOTS", slot)
	}
	n.CLIInput("yes\n", "--cluster", "fix", n.Addr())
	wantInOrder(t, n)
	if got, err := client.Get(ctx, "key:0").Result(); got != "0" {
		t.Errorf("GET of a key in a slot that fix covered = %q, %v", got, err)
	}
}
