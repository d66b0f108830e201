package engine_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/store"
)

// slotOf is the slot of a key.
func slotOf(key string) uint16 { return command.MakeKey(0, []byte(key)).Slot }

// without is the view of a primary that serves every slot but those of the keys.
func without(keys ...string) *engine.View {
	v := ownAll()
	for _, k := range keys {
		slot := slotOf(k)
		v.Own[slot>>6] &^= 1 << (slot & 63)
	}
	v.Held = v.Own
	v.Router = elsewhere{}
	return v
}

// elsewhere routes all that is asked of it to another node.
type elsewhere struct{}

func (elsewhere) Route(*engine.Query) string { return "MOVED 1 127.0.0.1:1" }

// A view counts for the next command on every slot while one is held.
func TestViewWaitsForNoCommand(t *testing.T) {
	l := newLab(t)
	l.SetView(without())
	c := l.dial()
	l.Store.Lock(slotOf("a"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.SetView(without("b"))
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("SetView waits for a slot lock")
		l.Store.Unlock(slotOf("a"))
		<-done
		return
	}
	c.is("GET b", "-MOVED^1^127.0.0.1:1")
	c.is("GET c", "$-1")
	l.Store.Unlock(slotOf("a"))
	c.is("GET a", "$-1")
}

// Once a view is shown and the lock of the slot was passed, no command goes by an
// older view: several clients write to a slot that is lost and had again. EXEC and
// roles as well.
func TestNobodyGoesByAnOlderView(t *testing.T) {
	l := newLab(t)
	replica := &engine.View{Cluster: true, Own: new([256]uint64), Replica: true, Router: elsewhere{}}
	l.SetGate(engine.GateReadOnly, true)
	l.SetView(without())
	var stop atomic.Bool
	var served atomic.Int64
	var clients sync.WaitGroup
	for i := range 4 {
		conn := &takingConn{}
		s := l.Open(conn)
		in := "INCR k\r\n"
		if i%2 == 1 {
			in = "MULTI\r\nINCR k\r\nINCR k\r\nEXEC\r\n"
		}
		clients.Go(func() {
			for !stop.Load() {
				conn.out = ""
				s.Feed([]byte(in))
				switch {
				case !strings.Contains(conn.out, "-"):
					served.Add(1)
				case !strings.Contains(conn.out, "MOVED"):
					t.Errorf("%q: %q", in, conn.out)
					return
				}
			}
		})
	}
	slot := slotOf("k")
	value := func() string {
		l.Store.Lock(slot)
		defer l.Store.Unlock(slot)
		o, key := store.Obj{}, command.MakeKey(0, []byte("k"))
		if !l.Store.DB(0).Find(slot, key.Hash, []byte("k"), &o) {
			return ""
		}
		return string(o.Bytes())
	}
	var one store.StripeSet
	one.Add(slot)
	rounds := 300
	if testing.Short() {
		rounds = 100
	}
	for i := range rounds {
		for before := served.Load(); served.Load() == before && !t.Failed(); {
			time.Sleep(10 * time.Microsecond)
		}
		if i%2 == 0 {
			l.SetView(without("k"))
		} else {
			l.SetView(replica)
		}
		l.Store.Pass(&one)
		was := value()
		time.Sleep(50 * time.Microsecond)
		if now := value(); now != was {
			t.Errorf("round %d: %s became %s on a slot that is lost", i, was, now)
			break
		}
		l.SetView(without())
	}
	stop.Store(true)
	clients.Wait()
}

// A command that has to make room lets go of its lock meanwhile. If its slot goes to
// another node then, it is sent there.
func TestSlotLostWhileEvicting(t *testing.T) {
	l := newLab(t)
	l.SetView(without())
	l.SetGate(engine.GateCheckOOM, true)
	l.Evict = func() { l.SetView(without("k")) }
	l.dial().is("SET k v", "-MOVED^1^127.0.0.1:1")
}

// What a command has written for longer than the lease, while its slot was lost, is
// not acknowledged: the new owner may have taken the slot without it. On other slots
// it is.
func TestLongWriteToLostSlotIsNotAcknowledged(t *testing.T) {
	const lease = 200 // milliseconds
	for _, lost := range []string{"k", "other"} {
		for _, multi := range []bool{false, true} {
			l := longLab(t, without(), func(l *lab) {
				l.RenewLease(l.Until(60_000)) // the node did not sleep
				l.pass(lease)
				l.SetView(without(lost))
			})
			conn := &takingConn{}
			s := l.Open(conn)
			l.RenewLease(l.Until(60_000))
			in := "SET k 1\r\nLONG\r\n"
			if multi {
				s.Feed([]byte("MULTI\r\nSET k 1\r\nLONG\r\n"))
				conn.out, in = "", "EXEC\r\n"
			}
			l.EndLease()
			l.RenewLease(l.Until(lease))
			s.Feed([]byte(in))
			if gone := lost == "k"; s.Closing() != gone || strings.Contains(conn.out, "OK") == gone {
				t.Errorf("slot of %s lost, multi %v: closing %v, got %q", lost, multi, s.Closing(), conn.out)
			}
		}
	}
}
