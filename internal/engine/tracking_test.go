package engine_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

const hello3 = "HELLO 3"

func TestTrackingDefault(t *testing.T) {
	l := newLab(t)
	c, o := l.dial(), l.dial()
	c.do(hello3)
	c.is("CLIENT TRACKING ON", "+OK")
	c.is("GET k", "_")
	o.is("SET k 1", "+OK")
	c.want(">2 $10 invalidate *1 $1 k")
	o.is("SET k 2", "+OK") // told once
	c.quiet()
	c.is("MGET k k2", "*2 $1 2 _")
	c.is("SET k2 mine", "+OK") // its own change, behind the reply
	c.want(">2 $10 invalidate *1 $2 k2")
	o.is("DEL k", ":1")
	c.want(">2 $10 invalidate *1 $1 k")
	c.send("MULTI", "GET x", "EXEC")
	c.want("+OK +QUEUED *1 _")
	o.is("SET x 1", "+OK")
	c.want(">2 $10 invalidate *1 $1 x")
	o.is("FLUSHALL", "+OK")
	c.want(">2 $10 invalidate _")
	if clients, keys, items, _ := l.TrackingCounts(); clients != 1 || keys != 0 || items != 0 {
		t.Errorf("counts %d %d %d", clients, keys, items)
	}
	c.is("CLIENT GETREDIR", ":0")
	c.is("CLIENT TRACKINGINFO", "%3 $5 flags ~1 $2 on $8 redirect :0 $8 prefixes *0")
	c.is("GET k", "_")
	c.is("CLIENT TRACKING OFF", "+OK")
	o.is("SET k 1", "+OK")
	c.quiet()
}

func TestTrackingOptions(t *testing.T) {
	l := newLab(t)
	c, o := l.dial(), l.dial()
	c.do(hello3)
	c.is("CLIENT TRACKING ON OPTIN NOLOOP", "+OK")
	c.is("CLIENT CACHING NO", "-ERR^CLIENT^CACHING^NO^is^only^valid^when^tracking^is^enabled^in^OPTOUT^mode.")
	c.is("CLIENT TRACKING ON OPTOUT", "-ERR^You^can't^switch^OPTIN/OPTOUT^mode^before^disabling^tracking^for^this^client,^and^then^re-enabling^it^with^a^different^mode.")
	c.is("CLIENT TRACKING ON BCAST", "-ERR^You^can't^switch^BCAST^mode^on/off^before^disabling^tracking^for^this^client,^and^then^re-enabling^it^with^a^different^mode.")
	c.is("GET a", "_")
	c.send("CLIENT CACHING YES", "GET b", "GET c")
	c.want("+OK _ _")
	o.is("MSET a 1 b 1 c 1", "+OK")
	c.want(">2 $10 invalidate *1 $1 b")
	c.quiet()
	// As client libraries do it: the whole transaction is cached.
	c.send("CLIENT CACHING YES", "MULTI", "PTTL b", "GET b", "EXEC", "GET c")
	c.want("+OK +OK +QUEUED +QUEUED *2 :-1 $1 1 $1 1")
	o.is("MSET b 2 c 2", "+OK")
	c.want(">2 $10 invalidate *1 $1 b")
	c.quiet()
	c.send("CLIENT CACHING YES", "GET b", "SET b 3")
	c.want("+OK $1 2 +OK")
	c.quiet() // NOLOOP
	c.is("CLIENT TRACKING OFF", "+OK")
	c.is("CLIENT TRACKING ON OPTOUT", "+OK")
	c.is("CLIENT CACHING YES", "-ERR^CLIENT^CACHING^YES^is^only^valid^when^tracking^is^enabled^in^OPTIN^mode.")
	c.send("CLIENT CACHING NO", "GET a", "GET b")
	c.want("+OK $1 1 $1 3")
	o.is("MSET a 4 b 4", "+OK")
	c.want(">2 $10 invalidate *1 $1 b")
	c.quiet()
}

func TestTrackingBroadcast(t *testing.T) {
	l := newLab(t)
	c, o := l.dial(), l.dial()
	c.do(hello3)
	c.is("CLIENT TRACKING ON BCAST PREFIX user: PREFIX item:", "+OK")
	c.is("CLIENT TRACKING ON BCAST PREFIX user:1", "-ERR^Prefix^'user:1'^overlaps^with^an^existing^prefix^'user:'.^Prefixes^for^a^single^client^must^not^overlap.")
	c.is("CLIENT TRACKING ON BCAST PREFIX x", "+OK")
	c.is("CLIENT TRACKINGINFO", "%3 $5 flags ~2 $2 on $5 bcast $8 redirect :0 $8 prefixes *3 $5 item: $5 user: $1 x")
	o.is("MSET user:1 a other b item: c xyz d", "+OK")
	for _, k := range []string{"user:1", "item:", "xyz"} {
		c.want(">2 $10 invalidate *1 $" + strconv.Itoa(len(k)) + " " + k)
	}
	c.quiet()
	c.is("CLIENT TRACKING OFF", "+OK")
	c.is("CLIENT TRACKING ON BCAST NOLOOP", "+OK")
	c.is("SET mine 1", "+OK")
	o.is("SET any 1", "+OK")
	c.want(">2 $10 invalidate *1 $3 any")
	c.hangUp()
	if clients, _, _, prefixes := l.TrackingCounts(); clients != 0 || prefixes != 0 {
		t.Errorf("%d clients, %d prefixes left", clients, prefixes)
	}
}

// A RESP2 client has its messages sent to another connection, which listens to
// a channel for them.
func TestTrackingRedirect(t *testing.T) {
	l := newLab(t)
	c, sub, o := l.dial(), l.dial(), l.dial()
	sub.do("SUBSCRIBE __redis__:invalidate")
	id := strconv.FormatInt(sub.s.ID, 10)
	c.is("CLIENT TRACKING ON REDIRECT "+id, "+OK")
	c.is("CLIENT GETREDIR", ":"+id)
	c.is("GET k", "$-1")
	o.is("SET k 1", "+OK")
	sub.want("*3 $7 message $20 __redis__:invalidate *1 $1 k")
	o.is("FLUSHALL", "+OK")
	sub.want("*3 $7 message $20 __redis__:invalidate $-1")
	sub.hangUp()
	c.is("GET k", "$-1")
	o.is("SET k 1", "+OK")
	c.quiet()
	if info := o.do("CLIENT LIST ID " + strconv.FormatInt(c.s.ID, 10)); !strings.Contains(info, " flags=tR ") || !strings.Contains(info, " redir="+id+" ") {
		t.Errorf("info %q", info)
	}
	c.do(hello3)
	c.is("GET k", "$1 1")
	o.is("SET k 2", "+OK")
	c.want(">2 $21 tracking-redir-broken :" + id)
}

// The table is bounded: a key too many throws out another one, whose readers
// are told.
func TestTrackingTableIsBounded(t *testing.T) {
	l := newLab(t)
	l.SetTrackingMaxKeys(10)
	c := l.dial()
	c.do(hello3)
	c.is("CLIENT TRACKING ON", "+OK")
	for i := range 11 {
		c.is(fmt.Sprintf("GET k%d", i), "_")
	}
	if got := c.reply(); !strings.HasPrefix(got, ">2\r\n$10\r\ninvalidate\r\n*1\r\n") || strings.HasSuffix(got, "\r\nk10\r\n") {
		t.Errorf("got %q", got)
	}
	if _, keys, items, _ := l.TrackingCounts(); keys != 10 || items != 10 {
		t.Errorf("%d keys, %d items", keys, items)
	}
	l.SetTrackingMaxKeys(4)
	for i := range 6 {
		c.is(fmt.Sprintf("GET more%d", i), "_")
		for range 2 {
			if got := c.reply(); !strings.HasPrefix(got, ">2\r\n$10\r\ninvalidate\r\n") {
				t.Errorf("got %q", got)
			}
		}
	}
	if _, keys, items, _ := l.TrackingCounts(); keys != 4 || items != 4 {
		t.Errorf("with a smaller bound %d keys, %d items", keys, items)
	}
}

// A cache that takes every reply and drops what is invalidated never keeps an
// old value: no invalidation overtakes the reply it is about.
func TestInvalidationComesAfterTheValue(t *testing.T) {
	l := newLab(t)
	c, w := l.dial(), l.dial()
	c.do(hello3)
	c.is("CLIENT TRACKING ON", "+OK")
	const writes = 2000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range writes {
			w.do(fmt.Sprintf("SET k %d", i))
		}
	}()
	cached, running := "", true
	read := func() { // a reply; invalidations on the way count
		for {
			r := c.reply()
			if strings.HasPrefix(r, ">") {
				cached = ""
				continue
			}
			if !strings.HasPrefix(r, "+") {
				cached = r
				return
			}
		}
	}
	for running {
		select {
		case <-done:
			running = false
		default:
		}
		if cached == "" {
			c.send("GET k", "GET k", "GET k")
			read()
			read()
			read()
		} else {
			c.send("PING")
			for c.reply() != "+PONG\r\n" {
				cached = ""
			}
		}
	}
	// Everything is quiet now: an invalidation that is owed has been pushed.
	for {
		c.send("PING")
		again := false
		for r := c.reply(); r != "+PONG\r\n"; r = c.reply() {
			cached, again = "", true
		}
		if !again {
			break
		}
	}
	if last := strconv.Itoa(writes - 1); cached != "" && cached != "$"+strconv.Itoa(len(last))+"\r\n"+last+"\r\n" {
		t.Errorf("the cache holds %q", cached)
	}
}
