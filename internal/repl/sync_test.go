package repl

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// writer keeps changing data in several databases until stop; every change
// matters twice (INCR, APPEND, RPUSH), so a lost or repeated one shows.
func writeLoad(t testing.TB, port int, seconds func() bool) (wait func()) {
	var wg sync.WaitGroup
	for w := range 3 {
		c := dialPort(t, port)
		wg.Go(func() {
			c.do("SELECT " + strconv.Itoa(w))
			for i := 0; seconds(); i++ {
				k := (i * 7919) % 500
				switch i % 6 {
				case 0:
					c.do(fmt.Sprintf("INCR n%d", k))
				case 1:
					c.do(fmt.Sprintf("APPEND s%d v%d", k, i%10))
				case 2:
					c.do(fmt.Sprintf("SET x%d %d EX 1000", k, i))
				case 3:
					c.do(fmt.Sprintf("DEL n%d", (k+13)%500))
				case 4:
					c.do("MULTI")
					c.do(fmt.Sprintf("INCR a%d", k))
					c.do(fmt.Sprintf("INCR b%d", k))
					c.do("EXEC")
				case 5:
					c.do(fmt.Sprintf("GETDEL s%d", (k+1)%500))
				}
			}
		})
	}
	return wg.Wait
}

func fill(c *client, n int) {
	c.t.Helper()
	for i := range n {
		c.do(fmt.Sprintf("SET key:%d %s", i, strings.Repeat(strconv.Itoa(i), 20)))
	}
}

// The data set of a replica that came while writes went on is the primary's,
// and replicas that ask together share one snapshot.
func TestFullSyncDuringWrites(t *testing.T) {
	t.Parallel()
	p, a, b := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	fill(p.client(), 3000)
	var on atomic.Bool
	on.Store(true)
	wait := writeLoad(t, p.port, on.Load)
	a.client().want("REPLICAOF 127.0.0.1 "+strconv.Itoa(p.port), "+OK")
	b.client().want("REPLICAOF 127.0.0.1 "+strconv.Itoa(p.port), "+OK")
	eventually(t, "links up", func() bool { return a.repl.Status().LinkUp && b.repl.Status().LinkUp }, func() string { return a.logs.String() })
	at := p.repl.Offset()
	eventually(t, "more writes", func() bool { return p.repl.Offset() > at+20000 }, func() string { return p.repl.Info() })
	on.Store(false)
	wait()
	inStep(t, p, a, b)
	if got := p.info("connected_slaves"); got != "2" {
		t.Errorf("connected_slaves = %s, want 2", got)
	}
	a.client().want("SET x y", "-READONLY You can't write against a read only replica.")
	a.client().want("REPLICAOF 127.0.0.1 "+strconv.Itoa(p.port), "+OK Already connected to specified master")
}

// follow makes replicas of p and waits until they are in step.
func follow(t testing.TB, p *node, replicas ...*node) {
	t.Helper()
	for _, r := range replicas {
		r.repl.Follow("127.0.0.1", p.port, FollowOptions{})
	}
	inStep(t, p, replicas...)
}

// A link that breaks, in the middle of transactions too, costs no full sync, no
// change and no repetition.
func TestPartialSyncAfterCut(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, nil), newNode(t, nil)
	follow(t, p, a)
	var on atomic.Bool
	on.Store(true)
	wait := writeLoad(t, p.port, on.Load)
	for range 5 {
		at := a.repl.Offset()
		eventually(t, "stream flows", func() bool { return a.repl.Offset() > at+3000 }, func() string { return a.logs.String() })
		a.links.cut(false)
	}
	on.Store(false)
	wait()
	inStep(t, p, a)
	if n := p.repl.Stats.Full.Load(); n != 1 {
		t.Errorf("%d full syncs, want 1\n%s", n, p.logs)
	}
	if n := p.repl.Stats.PartialOK.Load(); n < 5 {
		t.Errorf("%d partial syncs, want 5", n)
	}
}

// A replica that was away for longer than the backlog reaches needs everything.
func TestFullSyncForLackOfBacklog(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, func(s *Settings) { s.BacklogSize = 16 << 10 }), newNode(t, nil)
	follow(t, p, a)
	a.links.cut(true)
	eventually(t, "replica gone", func() bool { return p.info("connected_slaves") == "0" }, p.repl.Info)
	fill(p.client(), 500)
	a.links.cut(false)
	inStep(t, p, a)
	if n := p.repl.Stats.Full.Load(); n != 2 {
		t.Errorf("%d full syncs, want 2", n)
	}
	if !strings.Contains(p.logs.String(), "for lack of backlog") {
		t.Errorf("the log does not say why:\n%s", p.logs)
	}
}

// After a failover the sibling continues with the promoted replica, and so does
// the old primary if nothing was written to it.
func TestPromotionContinues(t *testing.T) {
	t.Parallel()
	p, a, b := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	follow(t, p, a, b)
	fill(p.client(), 300)
	inStep(t, p, a, b)
	id := p.info("master_replid")
	a.client().want("REPLICAOF NO ONE", "+OK")
	if got := a.info("master_replid2"); got != id {
		t.Errorf("replid2 after promotion = %s, want %s", got, id)
	}
	if got, want := a.info("second_repl_offset"), strconv.FormatInt(p.repl.Offset()+1, 10); got != want {
		t.Errorf("second_repl_offset = %s, want %s", got, want)
	}
	a.client().want("SET after promotion", "+OK")
	b.repl.Follow("127.0.0.1", a.port, FollowOptions{})
	p.repl.Follow("127.0.0.1", a.port, FollowOptions{})
	inStep(t, a, b, p)
	if f, ok := a.repl.Stats.Full.Load(), a.repl.Stats.PartialOK.Load(); f != 0 || ok != 2 {
		t.Errorf("%d full and %d partial syncs, want 0 and 2\n%s", f, ok, a.logs)
	}
	if got, want := b.info("master_replid"), a.info("master_replid"); got != want {
		t.Errorf("replid of the sibling = %s, want %s", got, want)
	}
	p.client().want("GET after", `"promotion"`)
}

// An old primary that went on writing alone has a history that the new one does
// not share: it must take the new one's data.
func TestDivergedPrimaryGetsFullSync(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, nil), newNode(t, nil)
	follow(t, p, a)
	fill(p.client(), 10)
	inStep(t, p, a)
	a.repl.Promote()
	p.client().want("SET lost write", "+OK")
	a.client().want("SET kept write", "+OK")
	p.repl.Follow("127.0.0.1", a.port, FollowOptions{})
	inStep(t, a, p)
	if n := a.repl.Stats.Full.Load(); n != 1 {
		t.Errorf("%d full syncs, want 1\n%s", n, a.logs)
	}
	p.client().want("GET lost", "(nil)")
}

// A chain P <- A <- B shares id and offset; when A is promoted B continues.
func TestChain(t *testing.T) {
	t.Parallel()
	p, a, b := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	follow(t, p, a)
	follow(t, a, b)
	var on atomic.Bool
	on.Store(true)
	wait := writeLoad(t, p.port, on.Load)
	at := p.repl.Offset()
	eventually(t, "writes", func() bool { return p.repl.Offset() > at+20000 }, p.repl.Info)
	on.Store(false)
	wait()
	inStep(t, p, a, b)
	if got, want := b.info("master_replid"), p.info("master_replid"); got != want {
		t.Errorf("replid at the end of the chain = %s, want %s", got, want)
	}
	a.repl.Promote()
	a.client().want("SET x 1", "+OK")
	inStep(t, a, b)
	if n := a.repl.Stats.Full.Load(); n != 1 {
		t.Errorf("%d full syncs by the middle, want 1\n%s", n, a.logs)
	}
}

// A sub-replica that comes during the stream gets a snapshot whose offset
// agrees with its data.
func TestChainFullSyncDuringStream(t *testing.T) {
	t.Parallel()
	p, a, b := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	fill(p.client(), 1000)
	follow(t, p, a)
	var on atomic.Bool
	on.Store(true)
	wait := writeLoad(t, p.port, on.Load)
	for range 3 {
		b.repl.Follow("127.0.0.1", a.port, FollowOptions{Full: true})
		eventually(t, "sub-replica up", func() bool { return b.repl.Status().LinkUp }, b.logs.String)
	}
	on.Store(false)
	wait()
	inStep(t, p, a)
	inStep(t, a, b)
}

func TestWait(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, nil), newNode(t, nil)
	c := p.client()
	c.want("WAIT 0 1000", ":0")
	c.want("WAIT 1 20", ":0")
	follow(t, p, a)
	began := time.Now()
	for i := range 20 {
		c.want(fmt.Sprintf("SET k%d v", i), "+OK")
		c.want("WAIT 1 0", ":1")
	}
	// Unasked a replica acknowledges once a second, which would make it 20 s. A busy
	// machine may hold up some of them.
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("20 times WAIT took %v: GETACK was not answered at once", d)
	}
	c.want("SET k v", "+OK")
	c.want("WAIT 2 100", ":1")
	c.want("WAIT x 0", "-ERR value is not an integer or out of range")
	c.want("WAIT 1 x", "-ERR timeout is not an integer or out of range")
	c.want("WAIT 1 -1", "-ERR timeout is negative")
	c.want("WAITAOF 1 0 0", "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
	c.want("WAITAOF 0 0 0", "[:0 :0]")
	a.client().want("WAIT 1 0", "-"+errWaitReplica)
	// A client that waits for ever is let go when the role changes.
	c.want("SET k w", "+OK")
	if _, err := c.c.Write([]byte("WAIT 5 0\r\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "WAIT blocks", func() bool { return p.e.Stats.Blocked() == 1 }, func() string { return "" })
	p.repl.Follow("127.0.0.1", a.port, FollowOptions{})
	v, err := c.r.Next()
	if want := "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"; err != nil || v.String() != want {
		t.Errorf("WAIT ended with %v %v, want %s", v, err, want)
	}
}

func TestMinReplicas(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, nil), newNode(t, nil)
	c := p.client()
	p.change(func(s *Settings) { s.MinReplicas = 1 })
	c.want("SET k v", "-NOREPLICAS Not enough good replicas to write.")
	a.repl.Follow("127.0.0.1", p.port, FollowOptions{})
	eventually(t, "writes allowed", func() bool { return c.do("SET k v") == "+OK" }, p.repl.Info)
	a.repl.Promote()
	eventually(t, "writes refused", func() bool { return strings.HasPrefix(c.do("SET k v"), "-NOREPLICAS") }, p.repl.Info)
}

// repl-disable-tcp-nodelay is an option of the sockets that replicas are fed by.
func TestReplicaSocketDelay(t *testing.T) {
	t.Parallel()
	for _, delay := range []bool{false, true} {
		p, a := newNode(t, func(s *Settings) { s.TCPDelay = delay }), newNode(t, nil)
		follow(t, p, a)
		fd := p.repl.allPeers()[0].conn.FD()
		on, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
		if err != nil || (on == 0) != delay {
			t.Errorf("repl-disable-tcp-nodelay %v: TCP_NODELAY is %d, %v", delay, on, err)
		}
	}
}

// ROLE as both roles answer it.
func TestRole(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, nil), newNode(t, nil)
	p.client().want("ROLE", `["master" :0 []]`)
	follow(t, p, a)
	off := p.repl.Offset()
	eventually(t, "ack", func() bool {
		return p.client().do("ROLE") == fmt.Sprintf(`["master" :%d [["127.0.0.1" "%d" "%d"]]]`, off, a.port, off)
	}, func() string { return p.client().do("ROLE") })
	a.client().want("ROLE", fmt.Sprintf(`["slave" "127.0.0.1" :%d "connected" :%d]`, p.port, off))
}

func TestCommandErrors(t *testing.T) {
	t.Parallel()
	p := newNode(t, nil)
	c := p.client()
	for _, tt := range []struct{ command, reply string }{
		{"REPLICAOF 127.0.0.1 x", "-ERR Invalid master port"},
		{"REPLICAOF 127.0.0.1 65536", "-ERR Invalid master port"},
		{"REPLICAOF NO ONE", "+OK"},
		{"REPLCONF listening-port", "-ERR syntax error"},
		{"REPLCONF listening-port 1 capa eof capa unheard-of", "+OK"},
		{"REPLCONF nonsense 1", "-ERR Unrecognized REPLCONF option: nonsense"},
		{"REPLCONF rdb-filter-only keys", "-ERR Unsupported rdb-filter-only option: keys"},
		{"PSYNC ? x", "-ERR value is not an integer or out of range"},
		{"PSYNC ? -1 FAILOVER", "-ERR PSYNC FAILOVER can't be sent to a master."},
		{"FAILOVER", "-ERR FAILOVER requires connected replicas."},
		{"FAILOVER ABORT", "-ERR No failover in progress."},
		{"FAILOVER TIMEOUT 0", "-ERR FAILOVER timeout must be greater than 0"},
		{"FAILOVER nonsense", "-ERR syntax error"},
	} {
		c.want(tt.command, tt.reply)
	}
	c.want("MULTI", "+OK")
	c.want("REPLICAOF NO ONE", "-ERR Command not allowed inside a transaction")
}

// FAILOVER hands the role over without losing a write or a full sync.
func TestFailoverCommand(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, nil), newNode(t, nil)
	follow(t, p, a)
	fill(p.client(), 50)
	eventually(t, "replica online", func() bool { return strings.Contains(p.repl.Info(), "state=online") }, p.repl.Info)
	p.client().want("FAILOVER TO 127.0.0.1 1", "-ERR FAILOVER target HOST and PORT is not a replica.")
	p.client().want("FAILOVER TO 127.0.0.1 "+strconv.Itoa(a.port)+" TIMEOUT 5000", "+OK")
	eventually(t, "roles swapped", func() bool {
		return p.repl.IsReplica() && !a.repl.IsReplica() && p.repl.Status().LinkUp
	}, func() string { return p.logs.String() + a.logs.String() })
	a.client().want("SET new primary", "+OK")
	inStep(t, a, p)
	if n := a.repl.Stats.Full.Load(); n != 0 {
		t.Errorf("%d full syncs, want 0\n%s", n, a.logs)
	}
	if got := p.info("master_failover_state"); got != "no-failover" {
		t.Errorf("master_failover_state = %s", got)
	}
}

// A replica of a cluster is promoted while a read of a client holds a slot; one whose
// clients may write waits for them.
func TestPromotionBesideSlowRead(t *testing.T) {
	for _, readOnly := range []bool{true, false} {
		p, r := newNode(t, nil), newNode(t, func(s *Settings) { s.ReadOnly = readOnly })
		r.repl.o.Cluster = true
		p.client().want("SET k 1", "+OK")
		r.repl.Follow("127.0.0.1", p.port, FollowOptions{})
		inStep(t, p, r)
		const slot = 7
		r.st.Lock(slot)
		promoted := make(chan struct{})
		go func() {
			r.repl.Promote()
			close(promoted)
		}()
		if readOnly {
			select {
			case <-promoted:
			case <-time.After(patience):
				t.Error("the promotion waits for a read")
			}
			off := r.repl.Offset()
			if r.client().want("SET k 2", "+OK"); r.repl.Offset() == off {
				t.Error("what the new primary writes is not in its stream")
			}
		} else {
			select {
			case <-promoted:
				t.Error("the promotion does not wait for a write")
			case <-time.After(50 * time.Millisecond):
			}
		}
		r.st.Unlock(slot)
		<-promoted
	}
}
