package engine_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/skeindb/skein/internal/hashslot"
)

func TestPubSub(t *testing.T) {
	l := newLab(t)
	s, p := l.dial(), l.dial()
	s.send("SUBSCRIBE a b", "PSUBSCRIBE a* *")
	s.want("*3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2 *3 $10 psubscribe $2 a* :3 *3 $10 psubscribe $1 * :4")
	p.is("PUBLISH b hi", ":2")
	got := s.reply() + s.reply()
	if want := "*3 $7 message $1 b $2 hi *4 $8 pmessage $1 * $1 b $2 hi "; strings.ReplaceAll(got, "\r\n", " ") != want {
		t.Errorf("got %q", got)
	}
	p.is("PUBSUB CHANNELS", "*2 $1 a $1 b")
	p.is("PUBSUB NUMSUB a c", "*4 $1 a :1 $1 c :0")
	p.is("PUBSUB NUMPAT", ":2")
	s.is("GET k", "-ERR^Can't^execute^'get':^only^(P|S)SUBSCRIBE^/^(P|S)UNSUBSCRIBE^/^PING^/^QUIT^/^RESET^are^allowed^in^this^context")
	s.is("PING", "*2 $4 pong $0 ")
	s.is("PING x", "*2 $4 pong $1 x")
	s.send("UNSUBSCRIBE a", "UNSUBSCRIBE", "PUNSUBSCRIBE a*", "PUNSUBSCRIBE *", "UNSUBSCRIBE")
	s.want("*3 $11 unsubscribe $1 a :3 *3 $11 unsubscribe $1 b :2 *3 $12 punsubscribe $2 a* :1 *3 $12 punsubscribe $1 * :0 *3 $11 unsubscribe $-1 :0")
	s.is("PING", "+PONG")
	p.is("PUBLISH b hi", ":0")

	// RESP3: pushes, and ordinary commands go on.
	s.do("HELLO 3")
	s.send("SUBSCRIBE a", "GET k")
	s.want(">3 $9 subscribe $1 a :1 _")
	p.is("PUBLISH a hi", ":1")
	s.want(">3 $7 message $1 a $2 hi")
	s.is("RESET", "+RESET")
	p.is("PUBLISH a hi", ":0")
	s.hangUp()
	p.is("PUBSUB CHANNELS", "*0")
}

func TestShardPubSub(t *testing.T) {
	l := newLab(t)
	l.SetView(clusterView("", func(int) bool { return true }))
	s, p := l.dial(), l.dial()
	s.send("SSUBSCRIBE foo", "SSUBSCRIBE bar")
	s.want("*3 $10 ssubscribe $3 foo :1 *3 $10 ssubscribe $3 bar :2")
	p.is("SPUBLISH foo hi", ":1")
	s.want("*3 $8 smessage $3 foo $2 hi")
	p.is("PUBLISH foo hi", ":0")
	p.is("PUBSUB SHARDNUMSUB foo", "*2 $3 foo :1")
	s.is("SSUBSCRIBE foo bar", "-CROSSSLOT^Keys^in^request^don't^hash^to^the^same^slot")

	// The slot goes to another node.
	lost := hashslot.Slot([]byte("foo"))
	l.SetView(clusterView("MOVED 12182 1.2.3.4:5", func(slot int) bool { return slot != int(lost) }))
	l.DropShardSubscriptions(func(slot uint16) bool { return slot == lost })
	s.want("*3 $12 sunsubscribe $3 foo :1")
	p.is("SPUBLISH foo hi", "-MOVED^12182^1.2.3.4:5")
	s.is("SUNSUBSCRIBE", "*3 $12 sunsubscribe $3 bar :0")
	s.is("PING", "+PONG")
}

// A subscriber sees its confirmation before any message, and the messages of
// one publisher in order, however the batches fall.
func TestMessagesComeInOrder(t *testing.T) {
	l := newLab(t)
	p := l.dial()
	const n = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			p.do(fmt.Sprintf("PUBLISH ch %d", i))
		}
	})
	for range 20 {
		s := l.dial()
		s.send("PING", "SUBSCRIBE ch", "SUBSCRIBE ch")
		s.want("+PONG *3 $9 subscribe $2 ch :1 *3 $9 subscribe $2 ch :1")
		s.hangUp()
	}
	wg.Wait()
	s := l.dial()
	s.do("SUBSCRIBE ch")
	wg.Go(func() {
		for i := range n {
			p.do(fmt.Sprintf("PUBLISH ch %d", i))
		}
	})
	for i := range n {
		if got, want := s.reply(), fmt.Sprintf("\r\n%d\r\n", i); !strings.HasSuffix(got, want) {
			t.Fatalf("message %d: %q", i, got)
		}
	}
	wg.Wait()
}
