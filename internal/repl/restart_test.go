package repl

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// save makes a snapshot of a node as a file would hold it.
func (n *node) save() []byte {
	n.t.Helper()
	var c *rdb.Collector
	var snap *store.Snapshot
	var info rdb.Info
	var err error
	n.repl.Cut(func(at *rdb.ReplInfo) {
		c = rdb.NewCollector(n.st, rdb.RecordOptions{})
		info.Repl = at
		snap, err = n.st.BeginSnapshot(c)
	})
	var b bytes.Buffer
	w := rdb.NewWriter(&b, rdb.WriterOptions{Checksum: true})
	if err == nil {
		err = c.Write(snap, w, &info)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return b.Bytes()
}

// load fills an empty node.
func (n *node) load(file []byte) *rdb.ReplInfo {
	n.t.Helper()
	stats, err := rdb.Load(rdb.NewReader(bytes.NewReader(file)), n.st, &rdb.LoadOptions{NowMs: n.e.Now()})
	if err != nil {
		n.t.Fatal(err)
	}
	return stats.Info.Repl
}

// A replica that starts again from its snapshot continues, in the database
// that was selected; the snapshot is taken while the stream flows.
func TestReplicaRestart(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, nil), newNode(t, nil)
	follow(t, p, a)
	var on atomic.Bool
	on.Store(true)
	wait := writeLoad(t, p.port, on.Load)
	at := p.repl.Offset()
	eventually(t, "writes", func() bool { return a.repl.Offset() > at+20000 }, a.logs.String)
	file := a.save()
	a.repl.Promote()
	b := newNode(t, nil)
	info := b.load(file)
	if info == nil {
		t.Fatal("the snapshot does not say its place in the stream")
	}
	b.repl.RestoreReplica(info)
	b.repl.Follow("127.0.0.1", p.port, FollowOptions{})
	eventually(t, "link up", func() bool { return b.repl.Status().LinkUp }, b.logs.String)
	on.Store(false)
	wait()
	inStep(t, p, b)
	if n := p.repl.Stats.Full.Load(); n != 1 {
		t.Errorf("%d full syncs, want 1\n%s", n, p.logs)
	}
}

// Replicas that had everything continue with a primary that starts again, and
// those that had more than its snapshot do not.
func TestPrimaryRestart(t *testing.T) {
	t.Parallel()
	for _, dropped := range []bool{false, true} {
		p, a := newNode(t, nil), newNode(t, nil)
		at := p.repl.Offset()
		follow(t, p, a)
		// The first PING belongs before the snapshot: with a later one the replica has more.
		eventually(t, "first PING", func() bool { return p.repl.Offset() > at+1 }, p.logs.String) // the backlog takes 1
		fill(p.client(), 100)
		inStep(t, p, a)
		file := p.save()
		p2 := newNode(t, nil)
		p2.repl.Restore(p2.load(file), dropped)
		p2.client().want("SET after restart", "+OK")
		a.repl.Follow("127.0.0.1", p2.port, FollowOptions{})
		inStep(t, p2, a)
		if full, ok := p2.repl.Stats.Full.Load(), p2.repl.Stats.PartialOK.Load(); dropped && (full != 1 || ok != 0) || !dropped && (full != 0 || ok != 1) {
			t.Errorf("keys dropped %v: %d full and %d partial syncs\n%s", dropped, full, ok, p2.logs)
		}
		// The first primary went on: its replica must not be taken for ours.
		b := newNode(t, nil)
		p.client().want("SET more writes", "+OK")
		follow(t, p, b)
		b.repl.Follow("127.0.0.1", p2.port, FollowOptions{})
		inStep(t, p2, b)
		b.client().want("GET more", "(nil)")
	}
}

// tapLog collects what an append-only file would hold.
type tapLog struct {
	cmds []string
	db   int
	end  int64
}

func (l *tapLog) take(db, last int, cmds []byte, end int64) {
	if db != l.db {
		l.cmds = append(l.cmds, fmt.Sprint("SELECT ", db))
	}
	l.db, l.end = last, end
	var p resp.Parser
	for len(cmds) > 0 {
		argv, n, err := p.Next(cmds, nil)
		if err != nil {
			panic(err)
		}
		l.cmds = append(l.cmds, string(bytes.Join(argv, []byte(" "))))
		cmds = cmds[n:]
	}
}

// The other consumer of the stream gets the effects, at a primary without
// replicas too, and at a replica without what only keeps the link alive.
func TestTap(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, nil), newNode(t, nil)
	own, copied := &tapLog{}, &tapLog{}
	p.repl.SetTap(own.take)
	c := p.client()
	c.want("SET before 1", "+OK")
	if own.end == 0 {
		t.Errorf("without replicas the tap's offset stays 0")
	}
	follow(t, p, a)
	a.repl.SetTap(copied.take)
	for _, line := range []string{"SELECT 3", "SET a 1 EX 100", "MULTI", "INCR n", "SELECT 4", "INCR n", "GET n", "EXEC", "GET a", "SELECT 0", "DEL none", "INCR last"} {
		c.do(line)
	}
	c.want("WAIT 1 0", ":1")
	inStep(t, p, a)
	want := []string{"SELECT 3", "SET a 1 PXAT", "MULTI", "INCR n", "SELECT 4", "INCR n", "EXEC", "SELECT 0", "INCR last"}
	for name, l := range map[string]*tapLog{"primary": own, "replica": copied} {
		n := p
		if name == "replica" {
			n = a
		}
		n.repl.SetTap(nil)
		for i, cmd := range l.cmds { // the time is not known
			if strings.HasPrefix(cmd, "SET a") {
				l.cmds[i] = cmd[:strings.LastIndexByte(cmd, ' ')]
			}
		}
		if got := l.cmds[len(l.cmds)-len(want):]; !slices.Equal(got, want) {
			t.Errorf("%s: the tap ends with %q, want %q", name, got, want)
		}
	}
}

// A backlog that nobody needs is given up, and with it the name of the history.
func TestBacklogTTL(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, func(s *Settings) { s.BacklogTTL = 200 * time.Millisecond }), newNode(t, nil)
	follow(t, p, a)
	id := p.info("master_replid")
	a.links.cut(true)
	eventually(t, "backlog freed", func() bool { return p.info("repl_backlog_active") == "0" }, p.repl.Info)
	if got := p.info("master_replid"); got == id {
		t.Errorf("the history without a backlog keeps its name: what comes now is in no stream")
	}
	p.client().want("SET x y", "+OK")
	a.links.cut(false)
	inStep(t, p, a)
	if n := p.repl.Stats.Full.Load(); n != 2 {
		t.Errorf("%d full syncs, want 2", n)
	}
}

// A replica without its primary serves its replicas no data set, and clients
// only if it may.
func TestLinkDown(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, nil), newNode(t, nil)
	p.client().want("SET k v", "+OK")
	follow(t, p, a)
	a.links.cut(true)
	eventually(t, "link down", func() bool { return !a.repl.Status().LinkUp }, a.repl.Info)
	c := a.client()
	c.want("PSYNC ? -1", "-NOMASTERLINK Can't SYNC while not connected with my master")
	c.want("GET k", `"v"`)
	a.change(func(s *Settings) { s.ServeStale = false })
	c.want("GET k", "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")
	if got := a.info("master_link_status"); got != "down" {
		t.Errorf("master_link_status:%s", got)
	}
	if got := a.info("master_link_down_since_seconds"); got == "" || got == "-1" {
		t.Errorf("master_link_down_since_seconds:%s", got)
	}
	a.links.cut(false)
	eventually(t, "serves again", func() bool { return c.do("GET k") == `"v"` }, a.repl.Info)
}

// A replica that does not acknowledge is dropped after repl-timeout.
func TestSilentReplica(t *testing.T) {
	t.Parallel()
	p := newNode(t, func(s *Settings) { s.Timeout = 300 * time.Millisecond })
	a := newNode(t, nil)
	follow(t, p, a)
	id, off := p.info("master_replid"), p.repl.Offset()
	w := asReplica(p)
	w.send(fmt.Sprintf("PSYNC %s %d\r\n", id, off+1))
	if got := w.line(); got != "+CONTINUE" { // no psync2: no id
		t.Fatalf("PSYNC answered %q, want +CONTINUE", got)
	}
	w.c.SetReadDeadline(time.Now().Add(patience))
	for buf := make([]byte, 1000); ; {
		if _, err := w.r.Read(buf); err != nil {
			break
		}
	}
	if !strings.Contains(p.logs.String(), "Disconnecting timedout replica (streaming sync)") {
		t.Errorf("the log does not say why the replica was dropped:\n%s", p.logs)
	}
}

// In a cluster roles come from the bus.
func TestClusterRefusesRoleCommands(t *testing.T) {
	t.Parallel()
	p := newNode(t, nil)
	p.repl.o.Cluster = true
	c := p.client()
	c.want("REPLICAOF NO ONE", "-ERR REPLICAOF not allowed in cluster mode.")
	c.want("SLAVEOF 127.0.0.1 1", "-ERR REPLICAOF not allowed in cluster mode.")
	c.want("FAILOVER", "-ERR FAILOVER not allowed in cluster mode.")
}

// The stream applies at the speed of a batch, without the Go heap.
func BenchmarkApply(b *testing.B) {
	n := newNode(b, nil)
	n.repl.log.follow(10 << 20)
	s := n.e.OpenPrimary("test:1", func() {})
	defer s.Close()
	a := applier{l: &link{r: n.repl, session: s}}
	var stream []byte
	const cmds = 100
	for i := range cmds {
		stream = resp.AppendCommandStrings(stream, "SET", fmt.Sprintf("key:%d", i*7919%100000), strings.Repeat("v", 64))
	}
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if used, err := a.batch(stream); used != len(stream) || err != nil {
			b.Fatalf("applied %d of %d bytes: %v", used, len(stream), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/cmds, "ns/cmd")
}
