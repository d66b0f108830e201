package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/test/proc"
	"github.com/skeindb/skein/test/workload"
)

// slotJob is a line of CLUSTER GETSLOTMIGRATIONS.
type slotJob map[string]string

func slotJobs(t *testing.T, n *proc.Node) (jobs []slotJob) {
	t.Helper()
	for _, e := range n.Must("CLUSTER", "GETSLOTMIGRATIONS").([]any) {
		j := slotJob{}
		fields := e.([]any)
		for i := 0; i+1 < len(fields); i += 2 {
			j[fmt.Sprint(fields[i])] = fmt.Sprint(fields[i+1])
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// lastJob is the migration that began last.
func lastJob(t *testing.T, n *proc.Node) slotJob {
	t.Helper()
	jobs := slotJobs(t, n)
	if len(jobs) == 0 {
		return slotJob{"state": "none"}
	}
	return jobs[0]
}

func finalState(s string) bool { return s == "success" || s == "failed" || s == "cancelled" }

// migrate asks for a migration of first-last.
func migrate(from, to *proc.Node, first, last int) {
	from.Must("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", to.Myself().ID)
}

// waitJob waits for the end of the last migration at a node and wants a state.
func waitJob(t *testing.T, n *proc.Node, want string) slotJob {
	t.Helper()
	j := endOfJob(t, n)
	if j["state"] != want {
		t.Fatalf("%s: the migration ended %v, want %s", n, j, want)
	}
	return j
}

// endOfJob waits for the end of the last migration at a node.
func endOfJob(t *testing.T, n *proc.Node) (j slotJob) {
	t.Helper()
	proc.Wait(t, proc.ToolPatience, "end of the migration at "+n.String(), func() string {
		if j = lastJob(t, n); !finalState(j["state"]) {
			return fmt.Sprint(j)
		}
		return ""
	})
	return j
}

// errorStat is a counter of INFO errorstats.
func errorStat(n *proc.Node, code string) string {
	return n.Info("errorstats")["errorstat_"+code]
}

// Goal: slots move as a whole while clients work on them, and nobody notices but
// by MOVED: no ASK, no TRYAGAIN, no key lost, changed or doubled, replicas of both
// sides in step. Writes to the slots pause for less than 50 ms.
// Method: keepers that check each reply, slots that go to and fro.
func TestSlotMigration(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	from, to := c.Primaries()[0], c.Primaries()[1]
	first := 0
	for ; !from.Myself().Serves(first); first++ {
	}
	const slots = 100
	rounds := 6
	if !testing.Short() {
		rounds = 20
	}
	var pauses []int64
	workload.Work(t, c, workload.TagsIn(60, first, slots), func(progress func(string)) {
		for round := range rounds {
			migrate(from, to, first, first+slots-1)
			waitJob(t, from, "success")
			waitJob(t, to, "success")
			if !to.Myself().Serves(first) || !to.Myself().Serves(first+slots-1) {
				t.Fatalf("round %d: %s serves %v", round, to, to.Myself().Slots)
			}
			pauses = append(pauses, from.InfoInt("cluster", "slot_migration_last_pause_usec"))
			from, to = to, from
			progress("after a migration")
		}
	})
	slices.Sort(pauses)
	t.Logf("pauses of writes at hand-over, microseconds: %v", pauses)
	if median := pauses[len(pauses)/2]; median > 50_000 && !proc.Race {
		t.Errorf("writes paused for %d us (median), want under 50 ms", median)
	}
	for _, n := range c.Nodes {
		for _, code := range []string{"ASK", "TRYAGAIN"} {
			if s := errorStat(n, code); s != "" {
				t.Errorf("%s replied %s: %s", n, code, s)
			}
		}
	}
	workload.WantInOrder(t, from)
}

// saturate writes to one slot through several connections without a pause, while
// during runs, then compares every acknowledged write with what is there.
func saturate(t *testing.T, c *proc.Cluster, tag string, owner *proc.Node, writers int, during func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	var all []*shardWriter
	for i := range writers {
		nodes := append([]*proc.Node{owner}, slices.DeleteFunc(slices.Clone(c.Nodes), func(n *proc.Node) bool { return n == owner })...)
		w := &shardWriter{tag: tag + "}{" + strconv.Itoa(i), nodes: nodes}
		all = append(all, w)
		wg.Go(func() { w.run(ctx) })
	}
	progress := func() {
		for _, w := range all {
			from := w.acked.Load()
			proc.Wait(t, proc.Patience, "a writer at work", func() string {
				if w.acked.Load() < from+500 {
					return fmt.Sprint(w.acked.Load()-from, " acknowledged")
				}
				return ""
			})
		}
	}
	progress()
	during()
	progress()
	stop()
	wg.Wait()
	client := c.Client()
	acked := int64(0)
	for _, w := range all {
		acked += w.acked.Load()
		w.check(t, client, nil)
	}
	t.Logf("%d acknowledged writes", acked)
}

// Goal: a migration completes under writers that saturate its slots: they are
// slowed down, which INFO shows, and every acknowledged write arrives.
func TestSlotMigrationUnderSaturation(t *testing.T) {
	c := proc.StartCluster(t, 3, 0)
	from, to := c.Nodes[0], c.Nodes[1]
	tag := workload.TagsIn(1, 0, 5000)[0]
	slot := int(hashslot.Slot([]byte(tag)))
	from.Must("DEBUG", "POPULATE", 20000, "{"+tag+"}bulk", 1000)
	saturate(t, c, tag, from, 4, func() {
		for range 4 {
			began := time.Now()
			migrate(from, to, slot, slot)
			waitJob(t, from, "success")
			t.Logf("took %v, %d bytes, pause %d us, %d pulses of together %d us", time.Since(began).Round(time.Millisecond),
				from.InfoInt("cluster", "slot_migration_bytes_sent"), from.InfoInt("cluster", "slot_migration_last_pause_usec"),
				from.InfoInt("cluster", "slot_migration_throttle_pulses"), from.InfoInt("cluster", "slot_migration_throttle_usec"))
			waitSlotEmpty(t, slot, from)
			if n := to.Text("EXISTS", "{"+tag+"}bulk:0", "{"+tag+"}bulk:19999"); n != "2" {
				t.Errorf("%s of two keys of the bulk are at the target", n)
			}
			from, to = to, from
		}
	})
}

// Goal: keys on their way are at the target and its replica, and no client sees
// them. Method: stop the source in the middle and look.
func TestSlotMigrationHidesKeys(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	from, to := c.Primaries()[0], c.Primaries()[1]
	replica := c.Replicas(to)[0]
	tag := tagsOf(t, from, 1)[0]
	slot := int(hashslot.Slot([]byte(tag)))
	const keys = 60000
	from.Must("DEBUG", "POPULATE", keys, "{"+tag+"}bulk", 1000)
	mine := tagsOf(t, to, 1)[0]
	to.Must("SET", "{"+mine+"}own", 1)
	migrate(from, to, slot, slot)
	waitSlotKeys(t, to, slot, 100)
	from.Freeze()
	defer from.Signal(syscall.SIGCONT)
	waitSlotKeys(t, replica, slot, 100)
	if n := slotKeys(to, slot); n >= keys {
		t.Fatalf("%d keys: the migration is over already", n)
	}
	key := "{" + tag + "}bulk:0"
	for _, n := range []*proc.Node{to, replica} {
		if got := n.Text("DBSIZE"); got != "1" {
			t.Errorf("%s: DBSIZE %s, want 1", n, got)
		}
		if got := n.Text("KEYS", "*"); got != "[{"+mine+"}own]" {
			t.Errorf("%s: KEYS %s", n, got)
		}
		if got := n.Text("KEYS", "{"+tag+"}*"); got != "[]" {
			t.Errorf("%s: KEYS of the slot: %s", n, got)
		}
		if got := n.CLI("--scan"); strings.TrimSpace(got) != "{"+mine+"}own" {
			t.Errorf("%s: SCAN %s", n, got)
		}
		for range 20 {
			if got := n.Text("RANDOMKEY"); got != "{"+mine+"}own" {
				t.Errorf("%s: RANDOMKEY %s", n, got)
			}
		}
		if got := n.Info("keyspace")["db0"]; !strings.HasPrefix(got, "keys=1,") {
			t.Errorf("%s: INFO keyspace %s", n, got)
		}
		if _, err := n.Do("GET", key); err == nil || !strings.HasPrefix(err.Error(), "MOVED ") {
			t.Errorf("%s: GET of a key under way: %v", n, err)
		}
	}
	if j := lastJob(t, replica); j["state"] != "occurring-on-primary" || j["operation"] != "IMPORT" || j["source_node"] != "" {
		t.Errorf("the replica knows %v", j)
	}
	if _, err := to.Do("CLUSTER", "FLUSHSLOT", slot); err == nil {
		t.Error("FLUSHSLOT of a slot that is being imported")
	}
	from.Signal(syscall.SIGCONT)
	waitJob(t, from, "success")
	waitJob(t, replica, "success")
	for _, n := range []*proc.Node{to, replica} {
		proc.Wait(t, proc.Patience, "all keys", func() string {
			if got := n.Text("DBSIZE"); got != strconv.Itoa(keys+1) {
				return got
			}
			return ""
		})
	}
	c.WaitHealthy(proc.Patience)
}

// slotKeys is how many keys of a slot a node has, under way or its own.
func slotKeys(n *proc.Node, slot int) int {
	k, _ := strconv.Atoi(n.Text("CLUSTER", "COUNTKEYSINSLOT", slot))
	return k
}

// waitSlotKeys waits until a node has some keys of a slot.
func waitSlotKeys(t *testing.T, n *proc.Node, slot, least int) {
	t.Helper()
	proc.Wait(t, proc.Patience, fmt.Sprintf("%d keys at %s", least, n), func() string {
		if k := slotKeys(n, slot); k < least {
			return fmt.Sprint(k, " keys, ", lastJob(t, n))
		}
		return ""
	})
}

// waitSlotEmpty waits until none of the nodes has a key of a slot.
func waitSlotEmpty(t *testing.T, slot int, nodes ...*proc.Node) {
	t.Helper()
	for _, n := range nodes {
		proc.Wait(t, proc.Patience, fmt.Sprintf("slot %d empty at %s", slot, n), func() string {
			k, err := n.Do("CLUSTER", "COUNTKEYSINSLOT", slot)
			if err != nil { // a replica may be in a full sync
				return err.Error()
			}
			return want(fmt.Sprint(k), "0")
		})
	}
}

// roleOf is a node's role by its own opinion, or why it does not tell.
func roleOf(n *proc.Node) string {
	peers, err := n.Peers()
	for _, p := range peers {
		switch {
		case p.Is("myself") && p.Is("master"):
			return "master"
		case p.Is("myself"):
			return "slave"
		}
	}
	return fmt.Sprint(err)
}

// tagsOf returns hash tags of slots that a node serves.
func tagsOf(t *testing.T, n *proc.Node, count int) (tags []string) {
	t.Helper()
	me := n.Myself()
	for i := 0; len(tags) < count; i++ {
		tag := strconv.Itoa(i)
		if me.Serves(int(hashslot.Slot([]byte(tag)))) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// Goal: whatever ends a migration, the source still owns the slots and has every
// acknowledged write, and the target, and its replica, are clean. Method: one
// fault after the other in the middle of a migration with a writer at work, then
// one migration that is left in peace.
func TestSlotMigrationFaults(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	from, to := c.Primaries()[0], c.Primaries()[1]
	tag := tagsOf(t, from, 1)[0]
	slot := int(hashslot.Slot([]byte(tag)))
	const bulk = 100000
	from.Must("DEBUG", "POPULATE", bulk, "{"+tag+"}bulk", 1000)
	clean := func(what string) {
		t.Helper()
		nodes := append(c.Replicas(to), to)
		waitSlotEmpty(t, slot, nodes...)
		for _, n := range nodes {
			proc.Wait(t, proc.Patience, what+": no migration at "+n.String(), func() string {
				if j := lastJob(t, n); !finalState(j["state"]) {
					return fmt.Sprint(j)
				}
				return ""
			})
		}
		if !from.Myself().Serves(slot) {
			t.Fatalf("%s: %s serves %v", what, from, from.Myself().Slots)
		}
	}
	middle := func() {
		t.Helper()
		migrate(from, to, slot, slot)
		waitSlotKeys(t, to, slot, 1000)
	}
	saturate(t, c, tag, from, 2, func() {
		middle()
		from.Must("CLUSTER", "CANCELSLOTMIGRATIONS")
		waitJob(t, from, "cancelled")
		clean("cancel at the source")

		middle()
		to.Must("CLUSTER", "CANCELSLOTMIGRATIONS")
		waitJob(t, from, "cancelled")
		waitJob(t, to, "cancelled")
		clean("cancel at the target")
		if _, err := from.Do("CLUSTER", "CANCELSLOTMIGRATIONS"); err == nil || err.Error() != "ERR No migrations ongoing" {
			t.Errorf("CANCELSLOTMIGRATIONS without one: %v", err)
		}

		middle()
		for line := range strings.Lines(to.Text("CLIENT", "LIST", "TYPE", "MASTER")) {
			id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
			to.Must("CLIENT", "KILL", "ID", id)
		}
		waitJob(t, from, "failed")
		clean("link cut")

		middle()
		to.Must("FLUSHALL")
		if j := waitJob(t, from, "failed"); !strings.Contains(j["message"], "flushed") {
			t.Fatalf("a flushed target: %v", j)
		}
		clean("flush of the target")

		to.Must("CONFIG", "SET", "maxmemory", to.InfoInt("memory", "used_memory")+10<<20)
		migrate(from, to, slot, slot)
		if j := waitJob(t, from, "failed"); !strings.Contains(j["message"], "OOM") {
			t.Fatalf("a target out of memory: %v", j)
		}
		clean("target out of memory")
		to.Must("CONFIG", "SET", "maxmemory", 0)

		middle()
		heir := c.Replicas(to)[0]
		heir.Must("CLUSTER", "FAILOVER")
		waitJob(t, from, "failed")
		proc.Wait(t, proc.Patience, "failover", func() string {
			if roleOf(heir) != "master" || roleOf(to) != "slave" {
				return roleOf(heir) + ", " + roleOf(to)
			}
			return ""
		})
		to = heir
		clean("failover of the target")
		c.WaitHealthy(proc.Patience)

		migrate(from, to, slot, slot)
		waitJob(t, from, "success")
	})
	if n := to.Text("EXISTS", "{"+tag+"}bulk:0", "{"+tag+"}bulk:39999"); n != "2" {
		t.Errorf("%s of two keys of the bulk arrived", n)
	}
}

// Goal: a side that dies in the middle leaves the source's shard the owner and
// the target clean, and a flushed source too. Method: kill -9 of each.
func TestSlotMigrationKills(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	from, to := c.Primaries()[0], c.Primaries()[1]
	heirFrom, heirTo := c.Replicas(from)[0], c.Replicas(to)[0]
	tag := tagsOf(t, from, 1)[0]
	slot := int(hashslot.Slot([]byte(tag)))
	value := strings.Repeat("v", 1000)
	fill := func(n *proc.Node) { // DEBUG POPULATE would not reach the replica
		t.Helper()
		ctx := context.Background()
		for i := 0; i < 40000; i += 1000 {
			if _, err := n.Client().Pipelined(ctx, func(p redis.Pipeliner) error {
				for k := range 1000 {
					p.Set(ctx, fmt.Sprintf("{%s}bulk:%d", tag, i+k), value, 0)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	start := func() {
		t.Helper()
		migrate(from, to, slot, slot)
		waitSlotKeys(t, to, slot, 1000)
	}
	clean := func(nodes ...*proc.Node) {
		t.Helper()
		waitSlotEmpty(t, slot, nodes...)
	}
	promoted := func(n *proc.Node) {
		t.Helper()
		proc.Wait(t, proc.Patience, n.String()+" a primary", func() string {
			if roleOf(n) != "master" {
				return roleOf(n)
			}
			return ""
		})
	}
	fill(from)
	start()
	from.Must("FLUSHALL")
	waitJob(t, from, "failed")
	clean(to, heirTo)

	fill(from)
	from.Must("WAIT", 1, 5000)
	start()
	to.Kill()
	waitJob(t, from, "failed")
	if n := from.Text("EXISTS", "{"+tag+"}bulk:1"); n != "1" || !from.Myself().Serves(slot) {
		t.Errorf("the source has lost its slot")
	}
	promoted(heirTo)
	clean(heirTo)
	to.Start()
	c.WaitHealthy(proc.Patience)
	clean(to)

	to, heirTo = heirTo, to
	start()
	from.Kill()
	waitJob(t, to, "failed")
	clean(to, heirTo)
	promoted(heirFrom)
	if n := heirFrom.Text("EXISTS", "{"+tag+"}bulk:1", "{"+tag+"}bulk:39999"); n != "2" {
		t.Errorf("the source's heir has %s of two keys", n)
	}
	from.Start()
	c.WaitHealthy(proc.Patience)

	from, heirFrom = heirFrom, from
	start()
	heirFrom.Must("CLUSTER", "FAILOVER")
	waitJob(t, from, "failed")
	promoted(heirFrom)
	clean(to, heirTo)
	c.WaitHealthy(proc.Patience)
	migrate(heirFrom, to, slot, slot)
	waitJob(t, heirFrom, "success")
	if n := to.Text("EXISTS", "{"+tag+"}bulk:1", "{"+tag+"}bulk:39999"); n != "2" {
		t.Errorf("%s of two keys arrived in the end", n)
	}
}

// Clients that block on keys of a slot, or are in the middle of a transaction,
// are told where it went; errors of the commands are those documented; a node that
// does not know the command makes the migration fail.
func TestSlotMigrationCommands(t *testing.T) {
	skein := proc.Skein(t)
	c := proc.StartClusterOf(t, []proc.Program{skein, skein, proc.Redis(t)}, 0)
	from, to, other := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	tag := tagsOf(t, from, 1)[0]
	slot := int(hashslot.Slot([]byte(tag)))
	me, target := from.Myself().ID, to.Myself().ID
	theirs, _ := strconv.Atoi(strings.Split(to.Myself().Slots[0], "-")[0])
	for line, want := range map[string]string{
		"CLUSTER MIGRATESLOTS":                                                                  "ERR wrong number of arguments for 'cluster|migrateslots' command",
		"CLUSTER MIGRATESLOTS SLOTS 1 2 NODE " + target:                                         "ERR syntax error",
		"CLUSTER MIGRATESLOTS SLOTSRANGE 1 2 TO " + target:                                      "ERR syntax error",
		"CLUSTER MIGRATESLOTS SLOTSRANGE 1 20000 NODE " + target:                                "ERR Invalid or out of range slot",
		"CLUSTER MIGRATESLOTS SLOTSRANGE 2 1 NODE " + target:                                    "ERR start slot number 2 is greater than end slot number 1",
		"CLUSTER MIGRATESLOTS SLOTSRANGE 1 2 NODE abc":                                          "ERR Invalid node name: abc",
		"CLUSTER MIGRATESLOTS SLOTSRANGE 1 2 NODE " + strings.Repeat("a", 40):                   "ERR Unknown node name: " + strings.Repeat("a", 40),
		"CLUSTER MIGRATESLOTS SLOTSRANGE 1 2 NODE " + me:                                        "ERR Target node can not be this node.",
		fmt.Sprintf("CLUSTER MIGRATESLOTS SLOTSRANGE %d %d NODE %s", theirs, theirs, target):    "ERR Slots are not served by this node.",
		"CLUSTER MIGRATESLOTS SLOTSRANGE 1 16383 NODE " + target:                                "ERR Requested slots span multiple shards",
		"CLUSTER MIGRATESLOTS SLOTSRANGE 1 2 2 3 NODE " + target:                                "ERR Slot ranges in migrations overlap",
		"CLUSTER MIGRATESLOTS SLOTSRANGE 1 2 NODE " + target + " SLOTSRANGE 2 2 NODE " + target: "ERR Slot ranges in migrations overlap",
		"CLUSTER CANCELSLOTMIGRATIONS":                                                          "ERR No migrations ongoing",
		"CLUSTER FLUSHSLOT x":                                                                   "ERR Invalid or out of range slot",
		"CLUSTER FLUSHSLOT 1 NOW":                                                               "ERR syntax error",
	} {
		var args []any
		for _, w := range strings.Fields(line) {
			args = append(args, w)
		}
		if _, err := from.Do(args...); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	from.Must("CLUSTER", "SETSLOT", slot, "MIGRATING", target)
	if _, err := from.Do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target); err == nil || err.Error() != "ERR Slots are being manually migrated" {
		t.Errorf("a slot that is being migrated: %v", err)
	}
	from.Must("CLUSTER", "SETSLOT", slot, "STABLE")
	from.WaitSet("{"+tag+"}x", 1)

	migrate(from, other, slot, slot)
	if j := waitJob(t, from, "failed"); !strings.Contains(j["message"], "unknown subcommand") {
		t.Errorf("a node that does not know the command: %v", j)
	}
	if !from.Myself().Serves(slot) {
		t.Error("the slot is gone")
	}

	from.Must("SET", "{"+tag+"}x", 1)
	from.Must("SET", "{"+tag+"}y", 1, "PX", 3_600_000)
	from.Must("CLUSTER", "FLUSHSLOT", slot, "SYNC")
	if n := from.Text("EXISTS", "{"+tag+"}x", "{"+tag+"}y"); n != "0" {
		t.Errorf("%s keys after FLUSHSLOT", n)
	}
	from.Must("SET", "{"+tag+"}x", 1)
	from.Must("SET", "{"+tag+"}y", 1, "PX", 3_600_000)

	ctx := context.Background()
	solo := func() *redis.Conn {
		cl := redis.NewClient(&redis.Options{Addr: from.Addr(), Protocol: 3, MaxRetries: -1, DisableIdentity: true, ReadTimeout: proc.Patience})
		t.Cleanup(func() { cl.Close() })
		conn := cl.Conn()
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	blocked := make(chan error, 1)
	pop := solo()
	go func() { blocked <- pop.Do(ctx, "BLPOP", "{"+tag+"}list", 0).Err() }()
	proc.Wait(t, proc.Patience, "a blocked client", func() string {
		if from.InfoInt("clients", "blocked_clients") != 1 {
			return "none"
		}
		return ""
	})
	tx := solo()
	for _, cmd := range [][]any{{"MULTI"}, {"SET", "{" + tag + "}x", 2}, {"INCR", "{" + tag + "}x"}} {
		if err := tx.Do(ctx, cmd...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	migrate(from, to, slot, slot)
	j := waitJob(t, from, "success")
	if j["slot_ranges"] != fmt.Sprintf("%d-%d", slot, slot) || j["operation"] != "EXPORT" || j["source_node"] != me || j["target_node"] != target || len(j["name"]) != 40 || j["cow_size"] != "0" || j["message"] != "" {
		t.Errorf("GETSLOTMIGRATIONS: %v", j)
	}
	moved := fmt.Sprintf("MOVED %d %s", slot, to.Addr())
	if err := <-blocked; err == nil || err.Error() != moved {
		t.Errorf("BLPOP ended with %v, want %s", err, moved)
	}
	if err := tx.Do(ctx, "EXEC").Err(); err == nil || !strings.Contains(err.Error(), moved) {
		t.Errorf("EXEC: %v, want %s in it", err, moved)
	}
	if ttl, err := strconv.Atoi(to.Text("PTTL", "{"+tag+"}y")); err != nil || ttl < 3_500_000 || ttl > 3_600_000 {
		t.Errorf("PTTL at the target: %d, %v", ttl, err)
	}
	if got := to.Text("GET", "{"+tag+"}x"); got != "1" {
		t.Errorf("GET at the target: %s", got)
	}
	// RESP3: maps.
	v, err := solo().Do(ctx, "CLUSTER", "GETSLOTMIGRATIONS").Slice()
	if err != nil || len(v) != 2 {
		t.Fatalf("GETSLOTMIGRATIONS: %v, %v", v, err)
	}
	if m, ok := v[0].(map[any]any); !ok || m["state"] != "success" || fmt.Sprintf("%T", m["create_time"]) != "int64" {
		t.Errorf("GETSLOTMIGRATIONS in RESP3: %v", v[0])
	}
	from.Must("CONFIG", "SET", "cluster-slot-migration-log-max-len", 1)
	if n := len(slotJobs(t, from)); n != 1 {
		t.Errorf("%d migrations in a log of at most 1", n)
	}
}

// Goal: a target that dies as soon as it owns the slots takes no data along.
// Method: its replica sleeps while the slots arrive; the migration waits for it,
// and when it is over the target is killed and the replica has every key.
func TestSlotMigrationWaitsForReplicas(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	from, to := c.Primaries()[0], c.Primaries()[1]
	heir := c.Replicas(to)[0]
	tag := tagsOf(t, from, 1)[0]
	slot := int(hashslot.Slot([]byte(tag)))
	const keys = 3000
	from.Must("DEBUG", "POPULATE", keys, "{"+tag+"}k", 1000)
	asleep := make(chan error, 1)
	go func() {
		_, err := heir.Do("DEBUG", "SLEEP", "1")
		asleep <- err
	}()
	migrate(from, to, slot, slot)
	waitJob(t, to, "success")
	to.Kill()
	if err := <-asleep; err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, proc.Patience, "failover", func() string { return want(roleOf(heir), "master") })
	if n := slotKeys(heir, slot); n != keys {
		t.Errorf("the target's heir has %d keys of %d", n, keys)
	}
}

// A replica of the target that falls behind in the hand-over itself does not keep the
// source's writers waiting, and the slots do not change hands without it: writers go on,
// and the hand-over begins again when it is in step.
func TestHandoverWaitsForReplica(t *testing.T) {
	c, relays := proc.FormRelayed(t, []int{1, 1, 0})
	from, to, heir := c.Nodes[0], c.Nodes[1], c.Nodes[4]
	const first, last = 100, 119
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writers := workload.StartSure(ctx, c, 2, 10, workload.TagsIn(1, first, last-first+1)[0])
	writers.Progress(t, 50, "before the move")
	reached := relays.HoldAt("PAUSED")
	defer relays.Release()
	migrate(from, to, first, last)
	select {
	case <-reached:
	case <-time.After(proc.Patience):
		t.Fatalf("no PAUSED: %v", lastJob(t, from))
	}
	heir.Freeze()
	relays.Release()
	writers.Progress(t, 50, "while a replica of the target stands still")
	if me := to.Myself(); me.Serves(first) {
		t.Error("the slots have changed hands without the target's replica")
	}
	heir.Signal(syscall.SIGCONT)
	waitJob(t, from, "success")
	t.Logf("the longest pause took %s us", from.Info()["slot_migration_max_pause_usec"])
	stop()
	t.Log(writers.Check(t, c))
	proc.WaitInStep(t, to, heir)
}
