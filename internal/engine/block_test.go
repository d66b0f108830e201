package engine_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/engine"
)

// Clients of a key are served in the order in which they came, one element each.
func TestBlockedClientsAreServedInOrder(t *testing.T) {
	l := newLab(t)
	p := l.dial()
	var waiting []*client
	for i := range 20 {
		c := l.dial()
		c.send("BLPOP other q 0")
		l.blocked(int64(i + 1))
		waiting = append(waiting, c)
	}
	p.is("RPUSH q 0 1 2 3 4", ":5")
	p.is("LLEN q", ":0") // served before the next command
	for i := 5; i < 20; i++ {
		p.is("RPUSH q "+strconv.Itoa(i), ":1")
	}
	for i, c := range waiting {
		n := strconv.Itoa(i)
		c.want("*2 $1 q $" + strconv.Itoa(len(n)) + " " + n)
	}
	l.blocked(0)
	p.is("EXISTS q", ":0")
}

// A command that ends a block may itself make a key ready for the next client,
// in a chain.
func TestBlockedChain(t *testing.T) {
	l := newLab(t)
	p := l.dial()
	const n = 50
	var chain []*client
	for i := range n {
		c := l.dial()
		c.send(fmt.Sprintf("BLMOVE q%d q%d LEFT RIGHT 0", i, i+1))
		chain = append(chain, c)
	}
	l.blocked(n)
	p.is("RPUSH q0 x", ":1")
	p.is("LRANGE q"+strconv.Itoa(n)+" 0 -1", "*1 $1 x")
	for _, c := range chain {
		c.want("$1 x")
	}
}

// Elements are neither lost nor doubled while pushers and blocked poppers of
// several keys run at once, some giving up by timeout, some killed.
func TestBlockedUnderLoad(t *testing.T) {
	l := newLab(t)
	const pushers, each, poppers = 3, 150, 6
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range poppers {
		c := l.dial()
		keys := []string{"k1 k2", "k2 k1", "k1", "k2", "k3 k1", "k2 k3"}[i%6]
		wg.Go(func() {
			for {
				got := c.do("BLPOP " + keys + " 0.005")
				if got != "*-1\r\n" {
					mu.Lock()
					seen[got[len("*2\r\n$2\r\nk1\r\n"):]]++
					mu.Unlock()
					continue
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var push sync.WaitGroup
	for i := range pushers {
		c := l.dial()
		push.Go(func() {
			for j := range each {
				switch v := fmt.Sprintf("v%d-%d", i, j); j % 4 {
				case 0:
					c.send("MULTI", "RPUSH k1 "+v+"a", "RPUSH k2 "+v+"b", "EXEC")
					for range 4 {
						c.reply()
					}
				default:
					c.do(fmt.Sprintf("RPUSH k%d %s", j%4, v))
				}
			}
		})
	}
	push.Wait()
	c := l.dial()
	l.until("all taken", func() bool { return c.do("EXISTS k1 k2 k3") == ":0\r\n" })
	close(stop)
	wg.Wait()
	l.blocked(0)
	if want := pushers * (each + (each+3)/4); len(seen) != want {
		t.Errorf("%d different elements were popped, want %d", len(seen), want)
	}
	for v, n := range seen {
		if n != 1 {
			t.Errorf("%q was popped %d times", v, n)
		}
	}
}

func TestBlockEnds(t *testing.T) {
	l := newLab(t)
	a, c := l.dial(), l.dial()
	id := strconv.FormatInt(c.s.ID, 10)

	c.is("BLPOP q 0.01", "*-1")
	c.is("BLMOVE q r LEFT LEFT 0.01", "*-1")

	c.send("BLPOP q 0")
	l.blocked(1)
	a.is("CLIENT UNBLOCK "+id, ":1")
	c.want("*-1")
	a.is("CLIENT UNBLOCK "+id, ":0")

	c.send("BLPOP q 0")
	l.blocked(1)
	a.is("CLIENT UNBLOCK "+id+" ERROR", ":1")
	c.wantRaw("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")

	// Commands sent ahead run after the block, earlier replies come before.
	c.send("SET a 1", "BLPOP q 0", "GET a")
	c.want("+OK")
	l.blocked(1)
	a.is("RPUSH q x", ":1")
	c.want("*2 $1 q $1 x $1 1")

	// In a transaction nobody waits; a push in one is served at its end.
	c.send("MULTI", "BLPOP q 0", "EXEC")
	c.want("+OK +QUEUED *1 *-1")
	c.send("BLPOP q 0")
	l.blocked(1)
	a.send("MULTI", "RPUSH q x", "DEL q", "RPUSH q y", "EXEC")
	a.want("+OK +QUEUED +QUEUED +QUEUED *3 :1 :1 :1")
	c.want("*2 $1 q $1 y")

	// A key of the wrong type does not wake anyone; SWAPDB and RENAME do.
	c.send("BLPOP q 0")
	l.blocked(1)
	a.is("SADD q m", ":1")
	a.is("DEL q", ":1")
	l.blocked(1)
	a.is("RPUSH r z", ":1")
	a.is("RENAME r q", "+OK")
	c.want("*2 $1 q $1 z")
	c.send("BLPOP q 0")
	l.blocked(1)
	a.is("SELECT 1", "+OK")
	a.is("RPUSH q w", ":1")
	l.blocked(1)
	a.is("SWAPDB 0 1", "+OK")
	c.want("*2 $1 q $1 w")

	// A client that goes leaves its place.
	d := l.dial()
	d.send("BLPOP q 0")
	l.blocked(1)
	d.hangUp()
	l.blocked(0)
	a.is("SELECT 0", "+OK")
	a.is("RPUSH q v", ":1")
	a.is("LPOP q", "$1 v")
}

// When this node becomes a replica blocked clients are told and disconnected.
func TestRoleLostEndsBlocks(t *testing.T) {
	l := newLab(t)
	c := l.dial()
	c.send("BLPOP q 0")
	l.blocked(1)
	l.SetView(&engine.View{Replica: true})
	l.RecheckBlocked(true)
	c.wantRaw("-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n")
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatal("the connection stays open")
	}
}

// router refuses every slot that View.Own does not have.
type router struct{ answer string }

func (r router) Route(q *engine.Query) string { return r.answer }

func clusterView(answer string, own func(slot int) bool) *engine.View {
	v := &engine.View{Cluster: true, Own: new([256]uint64), Router: router{answer}}
	for i := range 16384 {
		if own(i) {
			v.Own[i>>6] |= 1 << (i & 63)
		}
	}
	return v
}

// A client blocked on a slot that moves away is redirected; one on another slot
// stays.
func TestSlotLostEndsBlocks(t *testing.T) {
	l := newLab(t)
	l.SetView(clusterView("", func(int) bool { return true }))
	a, b := l.dial(), l.dial()
	a.send("BLPOP foo 0") // slot 12182
	b.send("BLPOP bar 0") // slot 5061
	l.blocked(2)
	l.SetView(clusterView("MOVED 12182 127.0.0.1:7001", func(slot int) bool { return slot != 12182 }))
	l.RecheckBlocked(false)
	a.wantRaw("-MOVED 12182 127.0.0.1:7001\r\n")
	l.blocked(1)
	l.dial().is("RPUSH bar x", ":1")
	b.want("*2 $3 bar $1 x")
}

// CLIENT PAUSE WRITE holds writes and clients whose turn it is, reads go on.
func TestPause(t *testing.T) {
	l := newLab(t)
	a, w, b := l.dial(), l.dial(), l.dial()
	b.send("BLPOP q 0")
	l.blocked(1)
	a.is("CLIENT PAUSE 100000 WRITE", "+OK")
	w.send("RPUSH q x")
	a.is("GET k", "$-1")
	a.is("EXISTS q", ":0")
	a.send("MULTI", "GET k", "EXEC")
	a.want("+OK +QUEUED *1 $-1")
	a.is("CLIENT UNPAUSE", "+OK")
	w.want(":1")
	b.want("*2 $1 q $1 x")

	a.is("CLIENT PAUSE 20 ALL", "+OK")
	began := time.Now()
	w.send("GET k")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // the server's cron
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				l.PauseTick(l.Now())
			}
		}
	})
	w.want("$-1")
	close(stop)
	wg.Wait()
	if d := time.Since(began); d < 15*time.Millisecond {
		t.Errorf("GET waited %v during a pause of 20 ms", d)
	}
	a.is("MULTI", "+OK")
	a.send("CLIENT PAUSE 100000 ALL", "CLIENT UNPAUSE", "EXEC")
	a.want("+QUEUED +QUEUED *2 +OK +OK")
}

// Those who wait for a stream are all told of a new entry; those who wait for a
// group take it in turn, and learn that the group is gone, with its key too.
func TestBlockedStreamReaders(t *testing.T) {
	l := newLab(t)
	p := l.dial()
	p.is("XGROUP CREATE s g 0 MKSTREAM", "+OK")
	var readers, members []*client
	for i := range 3 {
		r, m := l.dial(), l.dial()
		r.send("XREAD BLOCK 0 STREAMS other s $ $")
		l.blocked(int64(2*i + 1))
		m.send("XREADGROUP GROUP g m" + strconv.Itoa(i) + " BLOCK 0 STREAMS s >")
		l.blocked(int64(2*i + 2))
		readers, members = append(readers, r), append(members, m)
	}
	p.is("XADD s 1-1 f v", "$3 1-1")
	const entry = "*1 *2 $1 s *1 *2 $3 1-1 *2 $1 f $1 v"
	for _, r := range readers {
		r.want(entry)
	}
	members[0].want(entry)
	l.blocked(2)
	p.is("DEL s", ":1")
	for _, m := range members[1:] {
		m.wantRaw("-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option\r\n")
	}
	l.blocked(0)
}
