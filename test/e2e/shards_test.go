package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/testport"
	"github.com/skeindb/skein/test/proc"
)

// Row 1: every directive of the cluster by file, by command line and by CONFIG
// SET; a bad value ends the start with its line.
func TestClusterDirectives(t *testing.T) {
	t.Parallel()
	values := [][3]string{ // name, a value that is not the default, a bad one
		{"cluster-config-file", "other.conf", ""}, {"cluster-node-timeout", "3000", "x"}, {"cluster-announce-ip", "127.0.0.9", ""},
		{"cluster-announce-port", "7001", "70000"}, {"cluster-announce-tls-port", "7002", "70000"}, {"cluster-announce-bus-port", "17001", "-1"},
		{"cluster-announce-hostname", "a.example", "a b"}, {"cluster-announce-human-nodename", "one", "a!b"},
		{"cluster-preferred-endpoint-type", "hostname", "name"}, {"cluster-replica-validity-factor", "3", "-1"}, {"cluster-replica-no-failover", "yes", "maybe"},
		{"cluster-migration-barrier", "2", "-1"}, {"cluster-allow-replica-migration", "no", "maybe"}, {"cluster-require-full-coverage", "no", "maybe"},
		{"cluster-allow-reads-when-down", "yes", "maybe"}, {"cluster-allow-pubsubshard-when-down", "no", "maybe"}, {"cluster-link-sendbuf-limit", "1048576", "x"},
		{"cluster-ping-interval", "500", "-1"}, {"cluster-announce-client-ipv4", "192.0.2.1", "x"}, {"cluster-announce-client-ipv6", "2001:db8::1", "x"},
		{"cluster-blacklist-ttl", "7", "-1"}, {"cluster-manual-failover-timeout", "900", "0"}, {"cluster-slot-stats-enabled", "yes", "maybe"},
		{"cluster-slot-migration-log-max-len", "9", "-1"}, {"cluster-compatibility-sample-ratio", "50", "101"},
		{"cluster-move-guard", "no", "maybe"}, {"cluster-migrate-waits-replicas", "no", "maybe"},
		{"cluster-vote-spacing", "yes", "maybe"}, {"cluster-slotless-failover", "no", "maybe"}, {"cluster-module-no-failover", "yes", "maybe"},
		{"cluster-crash-detection", "refused", "maybe"}, {"cluster-refused-period", "900", "-1"}, {"cluster-election-delay", "800", "x"},
		{"cluster-wake-guard", "no", "maybe"}, {"cluster-sync-guard", "no", "maybe"}, {"cluster-stale-primary-guard", "no", "maybe"},
		{"cluster-vote-once-guard", "no", "maybe"}, {"cluster-id-guard", "no", "maybe"}, {"cluster-fresh-election", "no", "maybe"}, {"cluster-election-fast-retry", "no", "maybe"},
		{"cluster-lost-data-guard", "no", "maybe"},
		{"cluster-port", strconv.Itoa(testport.Free(t)), "70000"},
	}
	get := func(n *proc.Node, name string) string { return fmt.Sprint(n.Must("CONFIG", "GET", name).([]any)[1]) }
	var text strings.Builder
	var args []string
	for _, v := range values {
		fmt.Fprintf(&text, "%s %s\n", v[0], v[1])
		args = append(args, "--"+v[0], v[1])
	}
	byFile := proc.NewNode(t, proc.Skein(t), "--cluster-enabled", "yes")
	conf := byFile.Path("redis.conf")
	if err := os.WriteFile(conf, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	byFile.Program.Args = append(byFile.Program.Args, conf)
	byFile.Start()
	fromFile := map[string]string{}
	for _, v := range values {
		fromFile[v[0]] = get(byFile, v[0])
	}
	byFile.Stop() // its bus port is that of the next
	byLine := proc.StartNode(t, proc.Skein(t), append([]string{"--cluster-enabled", "yes"}, args...)...)
	bySet := proc.StartNode(t, proc.Skein(t), "--cluster-enabled", "yes")
	all := bySet.Must("CONFIG", "GET", "cluster-*").([]any)
	for i := 0; i < len(all); i += 2 {
		name := all[i].(string)
		if !slices.ContainsFunc(values, func(v [3]string) bool { return v[0] == name }) && name != "cluster-enabled" && !strings.HasPrefix(name, "cluster-slave-") {
			t.Errorf("%s is not tried", name)
		}
	}
	immutable := []string{"cluster-config-file", "cluster-port"}
	for _, v := range values {
		if f, l := fromFile[v[0]], get(byLine, v[0]); f != v[1] || l != v[1] {
			t.Errorf("%s: %q by file, %q by command line, want %q", v[0], f, l, v[1])
		}
		if get(bySet, v[0]) == v[1] {
			t.Errorf("%s: %q is the default", v[0], v[1])
		}
		_, err := bySet.Do("CONFIG", "SET", v[0], v[1])
		if slices.Contains(immutable, v[0]) {
			if err == nil {
				t.Errorf("%s can be set", v[0])
			}
			continue
		}
		if err != nil || get(bySet, v[0]) != v[1] {
			t.Errorf("CONFIG SET %s %s: %v, then %q", v[0], v[1], err, get(bySet, v[0]))
		}
		if v[2] == "" {
			continue
		}
		if _, err := bySet.Do("CONFIG", "SET", v[0], v[2]); err == nil {
			t.Errorf("CONFIG SET %s takes %q", v[0], v[2])
		}
	}
	for _, v := range [][3]string{values[1], values[6], values[8], values[10]} {
		if err := os.WriteFile(conf, []byte("# one\n"+v[0]+" \""+v[2]+"\"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		before := len(byFile.Log())
		byFile.Launch()
		code := byFile.Exit()
		if got := byFile.Log()[before:]; code != 1 || !strings.Contains(got, "at line 2") || !strings.Contains(got, v[0]) {
			t.Errorf("%s %q: exit code %d\n%s", v[0], v[2], code, got)
		}
	}
}

// Rows 13, 36 to 39, 50, 64, 69 in one cluster: what commands at one node change
// and what all see of it.
func TestShardsByCommand(t *testing.T) {
	t.Parallel()
	c := proc.FormShards(t, []int{1, 0, 0})
	a, b, r := c.Nodes[0], c.Nodes[1], c.Nodes[3]
	idA, idB, idR := a.Myself().ID, b.Myself().ID, r.Myself().ID
	seen := func(n *proc.Node, id string) proc.Peer {
		peers, err := n.Peers()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range peers {
			if p.ID == id {
				return p
			}
		}
		t.Fatalf("%s does not know %s", n, id)
		return proc.Peer{}
	}

	r.Must("CONFIG", "SET", "cluster-replica-no-failover", "yes")
	took := proc.Wait(t, proc.Patience, "nofailover is known", func() string {
		for _, n := range c.Nodes {
			if p := seen(n, idR); !p.Is("nofailover") {
				return fmt.Sprint(p.Flags)
			}
		}
		return ""
	})
	if took > proc.NodeTimeout/2+700*time.Millisecond {
		t.Errorf("the no-failover flag was known after %v, want T/2", took)
	}
	r.Must("CONFIG", "SET", "cluster-replica-no-failover", "no")

	for _, tt := range []struct {
		n        *proc.Node
		id, want string
	}{
		{r, strings.Repeat("f", 40), "ERR Unknown node " + strings.Repeat("f", 40)},
		{r, idR, "ERR Can't replicate myself"},
		{b, idR, "ERR I can only replicate a master, not a replica."},
		{b, idA, "ERR To set a master the node must be empty and without assigned slots."},
	} {
		if _, err := tt.n.Do("CLUSTER", "REPLICATE", tt.id); err == nil || err.Error() != tt.want {
			t.Errorf("REPLICATE %.6s: %v, want %s", tt.id, err, tt.want)
		}
	}

	// A manual failover: a blocked client is told, the old primary continues the
	// stream, everybody's CLUSTER SLOTS names the new one, all data is there.
	a.Must("SET", "bar", "1") // slot 5061
	proc.WaitInStep(t, a, r)
	told := make(chan error, 1)
	go func() {
		_, err := a.Do("BLPOP", "{bar}list", "20")
		told <- err
	}()
	proc.Wait(t, proc.Patience, "a blocked client", func() string {
		if a.InfoInt("clients", "blocked_clients") != 1 {
			return "none"
		}
		return ""
	})
	partial := r.InfoInt("stats", "sync_partial_ok")
	start := time.Now()
	r.Must("CLUSTER", "FAILOVER")
	proc.Wait(t, proc.Patience, "promotion", func() string {
		if !r.IsPrimary() {
			return "not yet"
		}
		return ""
	})
	if took := time.Since(start); took > 5*time.Second { // TestManualFailoverPause measures it
		t.Errorf("CLUSTER FAILOVER took %v", took)
	}
	if err := <-told; err == nil || !strings.HasPrefix(err.Error(), "UNBLOCKED ") && !strings.HasPrefix(err.Error(), "MOVED ") {
		t.Errorf("the blocked client was told %v", err)
	}
	c.WaitHealthy(proc.Patience)
	for _, n := range c.Nodes {
		if text := fmt.Sprint(n.Must("CLUSTER", "SLOTS")); !strings.Contains(text, fmt.Sprintf("[0 5460 [127.0.0.1 %d %s", r.Port, idR)) {
			t.Errorf("%s: CLUSTER SLOTS %s", n, text)
		}
	}
	if got := r.Text("GET", "bar"); got != "1" {
		t.Errorf("GET bar: %s", got)
	}
	if got := r.InfoInt("stats", "sync_partial_ok"); got != partial+1 {
		t.Errorf("sync_partial_ok %d, was %d", got, partial)
	}

	// A slot is taken with a newer epoch and without its keys: they go.
	r.Must("SET", "{bar}x", "1")
	keys := r.Text("DBSIZE")
	b.Must("CLUSTER", "SETSLOT", 5061, "IMPORTING", idR)
	b.Must("CLUSTER", "SETSLOT", 5061, "NODE", idB)
	proc.Wait(t, proc.Patience, "keys of the lost slot are gone", func() string {
		if got := r.Text("DBSIZE"); got != "0" {
			return got + " of " + keys
		}
		return ""
	})
	if _, err := r.Do("GET", "bar"); err == nil || err.Error() != fmt.Sprintf("MOVED 5061 127.0.0.1:%d", b.Port) {
		t.Errorf("GET of a lost slot: %v", err)
	}

	// A primary that becomes a replica closes its open slots; its replica follows
	// the top: a has no slots and a replica of its own when it turns to b.
	a.Must("CLUSTER", "RESET", "SOFT")
	meetID(t, b, a)
	for _, n := range []*proc.Node{a, r} {
		proc.Wait(t, proc.Patience, "all know a and r", func() string {
			if text := n.Text("CLUSTER", "NODES"); !strings.Contains(text, idA) || !strings.Contains(text, idR) || strings.Contains(text, "handshake") {
				return text
			}
			return ""
		})
	}
	spare := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs()...)
	idSpare := meetID(t, a, spare)
	proc.Wait(t, proc.Patience, "b knows the spare, the spare knows b", func() string {
		if !strings.Contains(b.Text("CLUSTER", "NODES"), idSpare) || !strings.Contains(spare.Text("CLUSTER", "NODES"), idB) {
			return "not yet"
		}
		return ""
	})
	spare.Must("CLUSTER", "REPLICATE", idA)
	a.Must("CLUSTER", "SETSLOT", 6000, "IMPORTING", idB)
	if text := a.Text("CLUSTER", "NODES"); !strings.Contains(text, "[6000-<-"+idB+"]") {
		t.Errorf("no open slot in\n%s", text)
	}
	a.Must("CLUSTER", "REPLICATE", idB)
	if me := a.Myself(); !me.Is("slave") || me.Primary != idB || len(me.Slots) != 0 {
		t.Errorf("after REPLICATE: %+v", me)
	}
	proc.Wait(t, proc.Patience, "the spare follows the top", func() string {
		if me := spare.Myself(); me.Primary != idB {
			return me.Primary
		}
		return ""
	})
}

// Rows 73, 75: of shards with two and with one replica the lone replica dies. The
// spare with the smaller id moves, once; with the no-failover flag nothing
// happens, nor is a dead primary replaced.
func TestReplicaMigration(t *testing.T) {
	for _, flag := range []string{"no", "yes"} {
		t.Run("cluster-module-no-failover "+flag, func(t *testing.T) {
			t.Parallel()
			c := proc.FormShards(t, []int{2, 1, 0}, "--cluster-node-timeout", "1000", "--cluster-module-no-failover", flag)
			one, orphan, lone := c.Nodes[0], c.Nodes[1], c.Nodes[5]
			spare, stays := c.Nodes[3], c.Nodes[4]
			if stays.Myself().ID < spare.Myself().ID {
				spare, stays = stays, spare
			}
			idOne, idOrphan := one.Myself().ID, orphan.Myself().ID
			lone.Kill()
			start := time.Now()
			if flag == "yes" {
				waitFlagsText(t, one, fmt.Sprintf(":%d@", lone.Port), "slave,fail")
				failed := time.Now()
				one.Kill()
				waitFlagsText(t, orphan, idOne, "master,fail")
				for time.Since(failed) < 7*time.Second {
					for _, n := range []*proc.Node{spare, stays} {
						if me := n.Myself(); me.Primary != idOne {
							t.Fatalf("%s moved or was promoted: %+v", n, me)
						}
					}
					time.Sleep(100 * time.Millisecond)
				}
				return
			}
			proc.Wait(t, proc.Patience, "the spare moves", func() string {
				if me := spare.Myself(); me.Primary != idOrphan {
					return me.Primary
				}
				return ""
			})
			if took := time.Since(start); took < 5*time.Second {
				t.Errorf("moved after %v, want 5 s of orphanhood", took)
			}
			lone.Start()
			c.WaitHealthy(proc.Patience)
			if me := stays.Myself(); me.Primary != idOne {
				t.Errorf("the other one moved too: %+v", me)
			}
			if me := spare.Myself(); me.Primary != idOrphan {
				t.Errorf("moved back: %+v", me)
			}
		})
	}
}

// waitFlagsText waits until the line of CLUSTER NODES that contains a text has
// these flags.
func waitFlagsText(t *testing.T, n *proc.Node, text, want string) {
	t.Helper()
	proc.Wait(t, proc.Patience, text+" is "+want, func() string {
		for l := range strings.Lines(n.Text("CLUSTER", "NODES")) {
			if f := strings.Fields(l); strings.Contains(l, text) && len(f) > 2 && f[2] == want {
				return ""
			}
		}
		return n.Text("CLUSTER", "NODES")
	})
}

// Rows 35, 76: what is served while a primary without replica hangs, by each
// setting, and when it is back; then the same with the majority gone.
func TestServiceWhenDown(t *testing.T) {
	t.Parallel()
	const T = time.Second
	c := proc.FormShards(t, []int{0, 0, 0}, "--cluster-node-timeout", "1000")
	frozen, n, third := owner(t, c, "foo"), owner(t, c, "bar"), owner(t, c, "c")
	n.Must("SET", "bar", "1")
	frozen.Freeze()
	down := func(n *proc.Node) func() string {
		return func() string {
			if _, err := n.Do("GET", "bar"); err == nil || err.Error() != "CLUSTERDOWN The cluster is down" {
				return fmt.Sprint(err)
			}
			return ""
		}
	}
	proc.Wait(t, proc.Patience, "the cluster is down", down(n))
	failed := time.Now()
	waitFlagsText(t, n, fmt.Sprintf(":%d@", frozen.Port), "master,fail")
	want := func(text string, args ...any) { // soon: CONFIG SET does not wait for the cluster
		t.Helper()
		proc.Wait(t, proc.Patience, fmt.Sprint(args, " is answered ", text), func() string {
			v, err := n.Do(args...)
			got := fmt.Sprint(v)
			if err != nil {
				got = err.Error()
			}
			if got != text {
				return got
			}
			return ""
		})
	}
	want("0", "SPUBLISH", "bar", "m")
	n.Must("CONFIG", "SET", "cluster-allow-pubsubshard-when-down", "no")
	want("CLUSTERDOWN The cluster is down", "SPUBLISH", "bar", "m")
	n.Must("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
	want("1", "GET", "bar")
	want("CLUSTERDOWN The cluster is down and only accepts read commands", "SET", "bar", "2")
	n.Must("CONFIG", "SET", "cluster-allow-reads-when-down", "no", "cluster-require-full-coverage", "no")
	n.WaitSet("bar", "2") // a primary just started holds back for two seconds
	n.Must("CONFIG", "SET", "cluster-require-full-coverage", "yes")
	want("CLUSTERDOWN The cluster is down", "GET", "bar")

	frozen.Signal(syscall.SIGCONT)
	waitFlagsText(t, n, fmt.Sprintf(":%d@", frozen.Port), "master")
	if back := time.Since(failed); back < 2*T-200*time.Millisecond {
		t.Errorf("FAIL of a primary with slots was cleared %v after it, want 2T", back)
	}
	c.WaitHealthy(proc.Patience)

	frozen.Freeze()
	third.Freeze()
	n.Must("CONFIG", "SET", "cluster-require-full-coverage", "no")
	proc.Wait(t, proc.Patience, "the minority stops", down(n))
	frozen.Signal(syscall.SIGCONT)
	third.Signal(syscall.SIGCONT)
	if back := n.WaitSet("bar", "3"); back < T-200*time.Millisecond {
		t.Errorf("serves %v after the majority returned, want the delay of T", back)
	}
	n.Must("CONFIG", "SET", "cluster-require-full-coverage", "yes")
	c.WaitHealthy(proc.Patience)
}

// What a node announces is what others tell clients: an address behind NAT,
// hostnames, TLS ports, and the preferred endpoint.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	c := proc.FormShards(t, []int{0, 0, 0}, "--cluster-node-timeout", "1000")
	a, b := owner(t, c, "foo"), owner(t, c, "bar")
	idA := a.Myself().ID
	moved := func(want string) {
		t.Helper()
		proc.Wait(t, proc.Patience, "MOVED to "+want, func() string {
			if _, err := b.Do("GET", "foo"); err == nil || err.Error() != "MOVED 12182 "+want {
				return fmt.Sprint(err)
			}
			return ""
		})
	}
	own := fmt.Sprintf("127.0.0.1:%d", a.Port)
	moved(own)
	b.Must("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
	moved(fmt.Sprintf("?:%d", a.Port))
	a.Must("CONFIG", "SET", "cluster-announce-hostname", "a.example")
	moved(fmt.Sprintf("a.example:%d", a.Port))
	if text := fmt.Sprint(b.Must("CLUSTER", "SLOTS")); !strings.Contains(text, fmt.Sprintf("[a.example %d %s [ip 127.0.0.1]]", a.Port, idA)) {
		t.Errorf("CLUSTER SLOTS: %s", text)
	}
	b.Must("CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint")
	moved(fmt.Sprintf(":%d", a.Port))
	b.Must("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")

	// Behind NAT: another loopback address and ports that are forwarded.
	port, bus := forward(t, a.Port), forward(t, a.Port+busOffset)
	a.Must("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1", "cluster-announce-port", port.port, "cluster-announce-bus-port", bus.port, "cluster-announce-tls-port", "7777")
	moved(fmt.Sprintf("127.0.0.1:%d", port.port))
	proc.Wait(t, proc.Patience, "both others come through the forwarded bus port", func() string {
		if got := bus.conns.Load(); got < 2 {
			return fmt.Sprintf("%d connections", got)
		}
		return ""
	})
	c.WaitHealthy(proc.Patience)
	for _, n := range c.Nodes {
		if text := n.Text("CLUSTER", "NODES"); !strings.Contains(text, fmt.Sprintf("%s 127.0.0.1:%d@%d,a.example ", idA, port.port, bus.port)) {
			t.Errorf("%s:\n%s", n, text)
		}
		if text := fmt.Sprint(n.Must("CLUSTER", "SHARDS")); !strings.Contains(text, fmt.Sprintf("[id %s port %d tls-port 7777 ip 127.0.0.1 endpoint 127.0.0.1 hostname a.example role master", idA, port.port)) {
			t.Errorf("%s: CLUSTER SHARDS %s", n, text)
		}
	}
	if err := c.Client().Set(t.Context(), "foo", "1", 0).Err(); err != nil || port.conns.Load() == 0 {
		t.Errorf("a client through the forwarded port: %v, %d connections", err, port.conns.Load())
	}
}
