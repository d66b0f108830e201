package repl

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// A real server as our replica and as our primary: the data must be equal after
// writes during the full sync, and a cut link must cost no second one.

// equalTo compares the node's strings with those of another server.
func (n *node) equalTo(t *testing.T, c *client) {
	t.Helper()
	mine := n.content()
	n.st.LockWorld()
	total := 0
	for i := range n.st.DBs() {
		k, _ := n.st.DB(i).Len(true)
		total += k
	}
	n.st.UnlockWorld()
	theirs := 0
	for i := range n.st.DBs() {
		c.want("SELECT "+strconv.Itoa(i), "+OK")
		k, _ := strconv.Atoi(strings.TrimPrefix(c.do("DBSIZE"), ":"))
		theirs += k
	}
	if theirs != total {
		t.Errorf("redis-server has %d keys, we have %d", theirs, total)
	}
	own := n.client()
	for name := range mine {
		db, key, _ := strings.Cut(name, "/")
		own.want("SELECT "+db, "+OK")
		c.want("SELECT "+db, "+OK")
		read := "GET " + key
		if got, want := c.do(read), own.do(read); got != want {
			t.Fatalf("db %s, %s: redis-server has %s, we have %s", db, read, got, want)
		}
		if got, want := c.do("PEXPIRETIME "+key), own.do("PEXPIRETIME "+key); got != want {
			t.Fatalf("db %s, PEXPIRETIME %s: redis-server has %s, we have %s", db, key, got, want)
		}
	}
}

// inStepWith waits until offsets agree.
func inStepWith(t *testing.T, n *node, c *client) {
	t.Helper()
	field := func(f string) string {
		return infoField(strings.ReplaceAll(unquote(c.do("INFO replication")), "\\r\\n", "\r\n"), f)
	}
	eventually(t, "in step with redis-server", func() bool {
		up := field("master_link_status") == "up" || n.repl.Status().LinkUp
		return up && field("master_repl_offset") == strconv.FormatInt(n.repl.Offset(), 10)
	}, func() string { return c.do("INFO replication") + "\n" + n.repl.Info() + n.logs.String() })
}

func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}

func TestRedisFollowsUs(t *testing.T) {
	t.Parallel()
	p := newNode(t, nil)
	redis := redisServer(t)
	fill(p.client(), 2000)
	var on atomic.Bool
	on.Store(true)
	wait := writeLoad(t, p.port, on.Load)
	c := dialPort(t, redis.port)
	c.want(fmt.Sprintf("REPLICAOF 127.0.0.1 %d", p.port), "+OK")
	eventually(t, "redis-server online", func() bool { return strings.Contains(p.repl.Info(), "state=online") }, p.logs.String)
	at := p.repl.Offset()
	eventually(t, "writes", func() bool { return p.repl.Offset() > at+50000 }, p.repl.Info)
	// Cut the link from our side: redis-server must continue.
	p.repl.dropPeers()
	at = p.repl.Offset()
	eventually(t, "back", func() bool { return p.repl.Stats.PartialOK.Load() == 1 }, p.logs.String)
	eventually(t, "writes", func() bool { return p.repl.Offset() > at+20000 }, p.repl.Info)
	on.Store(false)
	wait()
	w := p.client()
	w.want("SET last write", "+OK")
	w.want("WAIT 1 5000", ":1")
	inStepWith(t, p, c)
	p.equalTo(t, c)
	if n := p.repl.Stats.Full.Load(); n != 1 {
		t.Errorf("%d full syncs, want 1\n%s", n, p.logs)
	}
}

func TestWeFollowRedis(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"yes", "no"} {
		t.Run("diskless "+mode, func(t *testing.T) {
			redis := redisServer(t, "--repl-diskless-sync", mode)
			a := newNode(t, nil)
			c := dialPort(t, redis.port)
			fill(c, 2000)
			var on atomic.Bool
			on.Store(true)
			wait := writeLoad(t, redis.port, on.Load)
			a.client().want(fmt.Sprintf("REPLICAOF 127.0.0.1 %d", redis.port), "+OK")
			up := func() bool { return a.repl.Status().LinkUp }
			eventually(t, "link up", up, a.logs.String)
			for range 3 {
				at := a.repl.Offset()
				eventually(t, "writes", func() bool { return a.repl.Offset() > at+20000 }, a.logs.String)
				a.links.cut(false)
				eventually(t, "link up", up, a.logs.String)
			}
			on.Store(false)
			wait()
			c.want("WAIT 1 5000", ":1")
			inStepWith(t, a, c)
			a.equalTo(t, c)
			if n := strings.Count(a.logs.String(), "Full resync"); n != 1 {
				t.Errorf("%d full syncs, want 1\n%s", n, a.logs)
			}
		})
	}
}

// Redis P, replicas: us and a second Redis. We are promoted: the second Redis
// continues with us by our second id; then it is promoted, and we continue.
func TestRedisSiblingContinuesAfterOurPromotion(t *testing.T) {
	t.Parallel()
	p, sibling, a := redisServer(t), redisServer(t), newNode(t, nil)
	pc, sc := dialPort(t, p.port), dialPort(t, sibling.port)
	fill(pc, 100)
	a.repl.Follow("127.0.0.1", p.port, FollowOptions{})
	sc.want(fmt.Sprintf("REPLICAOF 127.0.0.1 %d", p.port), "+OK")
	eventually(t, "two replicas", func() bool { return strings.Count(pc.do("INFO replication"), "state=online") == 2 }, func() string { return pc.do("INFO replication") })
	pc.want("SET k v", "+OK")
	inStepWith(t, a, pc)
	inStepWith(t, a, sc)
	a.repl.Promote()
	a.client().want("SET k w", "+OK")
	sc.want(fmt.Sprintf("REPLICAOF 127.0.0.1 %d", a.port), "+OK")
	w := a.client()
	w.want("SET k x", "+OK")
	eventually(t, "sibling follows us", func() bool { return w.do("WAIT 1 100") == ":1" }, a.repl.Info)
	if f, ok := a.repl.Stats.Full.Load(), a.repl.Stats.PartialOK.Load(); f != 0 || ok != 1 {
		t.Errorf("%d full and %d partial syncs, want 0 and 1\n%s", f, ok, a.logs)
	}
	inStepWith(t, a, sc)
	a.equalTo(t, sc)
	// The other direction: the sibling is promoted, we continue with it.
	at := a.repl.Offset()
	sc.want("REPLICAOF NO ONE", "+OK")
	a.repl.Follow("127.0.0.1", sibling.port, FollowOptions{})
	eventually(t, "link up", func() bool { return a.repl.Status().LinkUp }, a.logs.String)
	sc.want("SET k y", "+OK")
	inStepWith(t, a, sc)
	a.equalTo(t, sc)
	if !strings.Contains(a.logs.String(), "Successful partial resynchronization") || a.repl.Offset() <= at {
		t.Errorf("we did not continue with the promoted sibling:\n%s", a.logs)
	}
}
