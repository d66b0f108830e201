package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/test/proc"
	"github.com/skeindb/skein/test/workload"
)

// One slot of a node is held for much longer than the node timeout by a
// transaction of slow commands. The node answers pings and is never suspected,
// and its other slots are served as ever, also when its view of the cluster changes
// meanwhile. DEBUG SLEEP stalls all of it.
func TestBusyNode(t *testing.T) {
	c := proc.FormShards(t, []int{0, 0, 0}, "--cluster-node-timeout", "1000")
	busy := owner(t, c, "foo")
	length := 10 * time.Second
	if testing.Short() {
		length = 4 * time.Second
	}
	fillSlow(busy)
	held := holdSlot(t, busy, length)
	// A command on the held slot waits, which shows that it is held.
	blocked := make(chan time.Duration, 1)
	go func() {
		time.Sleep(500 * time.Millisecond) // the transaction is on its way
		start := time.Now()
		busy.Do("GET", "{foo}other")
		blocked <- time.Since(start)
	}()
	id := busy.Myself().ID
	var others []string // keys of other slots of the node
	for i := 0; len(others) < 2; i++ {
		k := fmt.Sprint("k", i)
		if _, err := busy.Do("SET", k, "0"); err == nil {
			others = append(others, k)
		}
	}
	other, slot := others[0], busy.Text("CLUSTER", "KEYSLOT", others[1])
	changes := [][]any{{"CLUSTER", "BUMPEPOCH"}, {"CLUSTER", "SETSLOT", slot, "MIGRATING", c.Nodes[0].Myself().ID},
		{"CLUSTER", "SETSLOT", slot, "STABLE"}}
	if c.Nodes[0] == busy {
		changes[1][4] = c.Nodes[1].Myself().ID
	}
	served, worst := 0, time.Duration(0)
	var m machine
	defer m.watch()()
	for start := time.Now(); !held.over.Load(); {
		if len(changes) > 0 && time.Since(start) > time.Second {
			busy.Must(changes[0]...)
			if changes = changes[1:]; held.over.Load() {
				t.Error("a change of the view waited for the slot that is held")
			}
		}
		start := time.Now()
		busy.Must("INCR", other)
		worst = max(worst, time.Since(start))
		served++
		for _, n := range c.Nodes {
			if n == busy {
				continue
			}
			peers, err := n.Peers()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range peers {
				if p.ID == id && (p.Is("fail?") || p.Is("fail") || !p.Is("master")) && !m.stood(300*time.Millisecond) {
					t.Fatalf("%s sees the busy node as %v", n, p.Flags)
				}
			}
			if info, err := n.ClusterInfo(); err != nil || info["cluster_state"] != "ok" && !m.stood(300*time.Millisecond) {
				t.Fatalf("%s: state %s, %v", n, info["cluster_state"], err)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	took, waited := <-held.took, <-blocked
	if held.err != nil {
		t.Fatal(held.err)
	}
	t.Logf("slot held %v, a command on it waited %v; %d commands on another slot, the slowest %v", took.Round(time.Millisecond),
		waited.Round(time.Millisecond), served, worst.Round(time.Millisecond))
	if m.stood(300 * time.Millisecond) {
		t.Logf("the machine stood still for %v: that other slots were served in time is not proven", time.Duration(m.longest.Load()))
	}
	if took < length*8/10 || waited < took/2 {
		t.Errorf("the slot was held for %v, and a command on it waited %v: nothing proven", took, waited)
	}
	if served < 20 || worst > time.Second && !m.stood(300*time.Millisecond) || len(changes) > 0 {
		t.Errorf("%d commands on another slot, the slowest %v; %d changes of the view not made", served, worst, len(changes))
	}

	go busy.Do("DEBUG", "SLEEP", "3")
	proc.Wait(t, proc.Patience, "the others suspect the sleeping node", func() string {
		for _, n := range c.Nodes {
			if n != busy && !strings.Contains(n.Text("CLUSTER", "NODES"), "fail") {
				return "not yet"
			}
		}
		return ""
	})
	c.WaitHealthy(proc.Patience)
}

// A machine tells whether it gave this process no time for a while: then what a node
// did late says nothing about the node.
type machine struct{ longest atomic.Int64 }

// watch looks until the function that it returns is called.
func (m *machine) watch() (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			m.longest.Store(max(m.longest.Load(), int64(time.Since(last))))
			last = time.Now()
		}
	}()
	return func() { close(stop); <-ended }
}

// stood tells whether there was such a while since watch, of so long at least.
func (m *machine) stood(least time.Duration) bool { return time.Duration(m.longest.Load()) >= least }

// fillSlow gives a primary of slot "foo" a list on which slowRead takes its time.
func fillSlow(n *proc.Node) {
	const members = 50_000
	for i := 0; i < members; i += 1000 {
		args := []any{"RPUSH", "{foo}list"}
		for k := range 1000 {
			args = append(args, fmt.Sprintf("element-%d", (i+k)*7919%members))
		}
		n.Must(args...)
	}
}

var slowRead = []any{"SORT_RO", "{foo}list", "ALPHA", "LIMIT", "0", "1"}

// holding is a transaction of slow commands that holds a slot.
type holding struct {
	over atomic.Bool
	took chan time.Duration
	err  error // after took
}

// holdSlot holds the slot of fillSlow at a node of its shard for about so long, with
// other commands before the slow ones.
func holdSlot(t *testing.T, n *proc.Node, length time.Duration, before ...[]any) *holding {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: n.Addr(), Protocol: 2, MaxRetries: -1, ReadTimeout: 5 * time.Minute, DisableIdentity: true,
		OnConnect: func(ctx context.Context, c *redis.Conn) error { return c.ReadOnly(ctx).Err() }})
	t.Cleanup(func() { client.Close() })
	one := time.Hour // of what one takes at its fastest
	for range 5 {
		start := time.Now()
		if err := client.Do(ctx, slowRead...).Err(); err != nil {
			t.Fatal(err)
		}
		one = min(one, time.Since(start))
	}
	h := &holding{took: make(chan time.Duration, 1)}
	go func() {
		p := client.TxPipeline()
		for _, args := range before {
			p.Do(ctx, args...)
		}
		for range int(length/one) + 1 {
			p.Do(ctx, slowRead...)
		}
		start := time.Now()
		cmds, err := p.Exec(ctx)
		if h.err = err; err != nil && len(cmds) > 0 {
			h.err = fmt.Errorf("%w (%v: %v)", err, cmds[0].Args()[0], cmds[0].Err())
		}
		h.over.Store(true)
		h.took <- time.Since(start)
	}()
	return h
}

// A slow read on a replica does not hold up its promotion, and a slow write on a
// primary that is replaced neither its other slots' redirects nor, when it ends, is
// it acknowledged; the node follows its successor then.
func TestFailoverBesideSlowCommand(t *testing.T) {
	c := proc.FormShards(t, []int{0, 0, 1}, "--cluster-node-timeout", "1000")
	old, next := c.Nodes[2], c.Nodes[3]
	fillSlow(old)
	old.Must("SET", "{c1}x", "0")
	proc.WaitInStep(t, old, next)

	write := holdSlot(t, old, 3*time.Second, []any{"SET", "{foo}written", "1"})
	waitHeld(t, old, write)
	next.Must("CLUSTER", "FAILOVER", "TAKEOVER")
	proc.Wait(t, proc.Patience, "the old primary redirects", func() string {
		if _, err := old.Do("GET", "{c1}x"); err == nil || !strings.HasPrefix(err.Error(), "MOVED") {
			return fmt.Sprint("another slot: ", err)
		}
		return ""
	})
	role := old.Info("replication")["role"]
	if write.over.Load() {
		t.Error("the redirect waited for the slow command")
	} else if role != "master" {
		t.Errorf("role %s while a write of a primary runs", role)
	}
	<-write.took
	if write.err == nil {
		t.Error("what a replaced primary wrote was acknowledged")
	}
	proc.WaitInStep(t, next, old)
	if v, err := next.Do("GET", "{foo}written"); err != redis.Nil {
		t.Errorf("the new primary has %v, %v of what the old one wrote alone", v, err)
	}

	read := holdSlot(t, old, 5*time.Second)
	waitHeld(t, old, read)
	began := time.Now()
	next.Kill()
	old.WaitSet("{c1}x", "1")
	if took := time.Since(began); read.over.Load() {
		t.Errorf("the promotion waited for a read of %v", <-read.took)
	} else {
		t.Logf("served again after %v", took.Round(time.Millisecond))
	}
	<-read.took
	if read.err != nil {
		t.Error("the read: ", read.err)
	}
	if v := old.Text("GET", "{c1}x"); v != "1" {
		t.Errorf("{c1}x is %q", v)
	}
}

// A pause of writes begins at once beside a slow command, and other slots are read
// meanwhile. A manual failover waits for the command's end, but writers of other slots do
// not all that time; nobody is suspected, and everything that was acknowledged is at
// the new primary, what the slow transaction wrote too.
func TestPauseBesideSlowCommand(t *testing.T) {
	c := proc.FormShards(t, []int{0, 0, 1}, "--cluster-node-timeout", "1000", "--cluster-manual-failover-timeout", "60000")
	old, next := c.Nodes[2], c.Nodes[3]
	fillSlow(old)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writers := workload.StartSure(ctx, c, 2, 20, "c1")
	writers.Progress(t, 50, "at first")
	var m machine
	defer m.watch()()

	write := holdSlot(t, old, 2*time.Second, []any{"SET", "{foo}written", "1"})
	waitHeld(t, old, write)
	began := time.Now()
	old.Must("CLIENT", "PAUSE", "100000", "WRITE")
	took := time.Since(began)
	proc.Wait(t, proc.Patience, "writers wait", func() string { return want(old.Info("clients")["blocked_clients"], "2") })
	began = time.Now()
	old.Must("EXISTS", "{c1}nothing")
	read := time.Since(began)
	old.Must("CLIENT", "UNPAUSE")
	if (took > 500*time.Millisecond || read > 500*time.Millisecond) && !m.stood(300*time.Millisecond) || write.over.Load() {
		t.Errorf("CLIENT PAUSE took %v, a read after it %v, beside a command that is over: %v", took, read, write.over.Load())
	}

	next.Must("CLUSTER", "FAILOVER")
	proc.Wait(t, proc.Patience, "the primary was asked", func() string {
		if !strings.Contains(old.Log(), "manual failover: pausing writes") {
			return "no"
		}
		return ""
	})
	writers.Progress(t, 50, "while the failover waits for the slow command")
	if write.over.Load() {
		t.Error("writers of other slots waited for the slow command")
	}
	worst := time.Duration(0)
	for end := time.Now().Add(proc.Patience); !next.IsPrimary(); {
		began := time.Now()
		old.Do("GET", "{c1}nothing")
		worst = max(worst, time.Since(began))
		for _, n := range c.Nodes[:2] {
			if text := n.Text("CLUSTER", "NODES"); strings.Contains(text, "fail") && !m.stood(300*time.Millisecond) {
				t.Fatalf("%s suspects somebody:\n%s", n, text)
			}
		}
		if time.Now().After(end) {
			t.Fatal("no failover")
		}
	}
	if !write.over.Load() {
		t.Error("the failover did not wait for the slow command")
	}
	<-write.took
	if worst > time.Second && !m.stood(300*time.Millisecond) {
		t.Errorf("a read of another slot took %v", worst)
	}
	writers.Progress(t, 50, "after the failover")
	stop()
	t.Log(writers.Check(t, c))
	if v := next.Text("GET", "{foo}written"); write.err == nil && v != "1" {
		t.Errorf("the new primary has %q of what the slow transaction wrote", v)
	}
	t.Logf("CLIENT PAUSE took %v, a read after it %v, the slowest during the failover %v; the transaction: %v", took, read, worst, write.err)
}

// waitHeld returns when the slot is held: a command on it waits.
func waitHeld(t *testing.T, n *proc.Node, h *holding) {
	client := redis.NewClient(&redis.Options{Addr: n.Addr(), Protocol: 2, MaxRetries: -1, ReadTimeout: 50 * time.Millisecond, DisableIdentity: true})
	defer client.Close()
	proc.Wait(t, proc.Patience, "the slot is held", func() string {
		var e net.Error
		err := client.Get(context.Background(), "{foo}other").Err()
		if errors.As(err, &e) && e.Timeout() {
			return ""
		}
		if h.over.Load() {
			t.Fatal("the transaction is over: ", h.err)
		}
		return fmt.Sprint("GET: ", err)
	})
}

// Row 11: replies of a pipelining client stay in order and pings in time while
// the bus is under load.
func TestPipelineBesideBus(t *testing.T) {
	c := proc.FormShards(t, []int{0, 0, 0}, "--cluster-node-timeout", "1000")
	n := owner(t, c, "foo")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for _, p := range c.Nodes {
		if p == n {
			continue
		}
		wg.Go(func() { // every message crosses the bus
			message := strings.Repeat("m", 2000)
			for {
				select {
				case <-stop:
					return
				default:
					p.Do("PUBLISH", "channel", message)
				}
			}
		})
	}
	conn, err := net.Dial("tcp", n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(proc.Patience))
	const batch = 1000
	buf := make([]byte, 64<<10)
	var m machine
	defer m.watch()()
	for end, round := time.Now().Add(3*time.Second), 0; time.Now().Before(end); round++ {
		var req, want strings.Builder
		for i := range batch {
			x := fmt.Sprintf("%08d", round*batch+i)
			switch i % 3 {
			case 0:
				fmt.Fprintf(&req, "SET {foo}k %s\r\n", x)
				want.WriteString("+OK\r\n")
			case 1:
				fmt.Fprintf(&req, "GET {foo}k\r\n")
				fmt.Fprintf(&want, "$8\r\n%08d\r\n", round*batch+i-1)
			case 2:
				fmt.Fprintf(&req, "ECHO %s\r\n", x)
				fmt.Fprintf(&want, "$8\r\n%s\r\n", x)
			}
		}
		go conn.Write([]byte(req.String()))
		var got strings.Builder
		for got.Len() < want.Len() {
			k, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(buf[:k])
		}
		if got.String() != want.String() {
			t.Fatalf("round %d: replies out of order", round)
		}
		for _, p := range c.Nodes {
			if text := p.Text("CLUSTER", "NODES"); strings.Contains(text, "fail") && !m.stood(300*time.Millisecond) {
				t.Fatalf("%s suspects somebody:\n%s", p, text)
			}
		}
	}
}
