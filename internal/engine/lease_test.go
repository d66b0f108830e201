package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/engine"
)

// ownAll is the view of a primary that serves every slot.
func ownAll() *engine.View {
	own := new([256]uint64)
	for i := range own {
		own[i] = ^uint64(0)
	}
	return &engine.View{Cluster: true, Own: own}
}

// A primary whose lease has run out serves no slot, whether a command comes
// alone, is queued or is executed; what concerns no slot works on, and so does
// everything once the lease is renewed.
func TestLapsedLeaseServesNoSlot(t *testing.T) {
	l := newLab(t)
	l.SetView(ownAll())
	conn := &takingConn{}
	s := l.Open(conn)
	do := func(in, want string) {
		t.Helper()
		conn.out = ""
		s.Feed([]byte(in))
		if conn.out != want {
			t.Errorf("%q: got %q, want %q", in, conn.out, want)
		}
	}
	const down = "-CLUSTERDOWN The cluster is down\r\n"
	do("SET k 1\r\n", "+OK\r\n")
	do("MULTI\r\nGET k\r\n", "+OK\r\n+QUEUED\r\n")
	l.RenewLease(l.Until(-1)) // over at once
	do("EXEC\r\n", down)
	do("SET k 2\r\nGET k\r\nPING\r\n", down+down+"+PONG\r\n")
	do("MULTI\r\nSET k 3\r\nEXEC\r\n", "+OK\r\n"+down+"-EXECABORT Transaction discarded because of previous errors.\r\n")
	l.RenewLease(l.Until(60_000))
	l.RenewLease(l.Until(-1)) // an older tick changes nothing
	do("GET k\r\n", "$1\r\n1\r\n")
}

// A replica that slept may serve its old data, as any replica may.
func TestLapsedLeaseDoesNotConcernReplicas(t *testing.T) {
	l := newLab(t)
	v := ownAll()
	v.Replica = true
	l.SetView(v)
	conn := &takingConn{}
	s := l.Open(conn)
	l.RenewLease(l.Until(-1))
	if s.Feed([]byte("GET k\r\n")); conn.out != "$-1\r\n" {
		t.Errorf("got %q", conn.out)
	}
}

// longLab is a primary with a log and the command LONG, during which f runs.
func longLab(t *testing.T, v *engine.View, f func(l *lab)) *lab {
	l := newLab(t)
	l.SetLog(nullLog{})
	l.SetTable(command.NewTable(engine.Specs(), datatypes.Specs(), []*command.Spec{{Name: "long", Group: command.Generic, Since: "7.0.0", Arity: 1,
		Complexity: "O(1)", Summary: "Takes long.", Run: func(c *command.Ctx) {
			f(l)
			c.OK()
		}}}))
	l.SetView(v)
	l.SetLogOn(true)
	return l
}

// pass returns when a lease of so many milliseconds from now is over.
func (l *lab) pass(millis int64) {
	for end := l.Until(millis); l.Until(0) <= end; time.Sleep(time.Millisecond) {
	}
}

// Replies to writes that ran before the node slept do not leave after it: the
// connection is closed instead. The lease runs out, and in the second case is
// renewed, while the last command of the batch runs.
func TestBatchAcrossNapIsNotAcknowledged(t *testing.T) {
	for _, renewed := range []bool{false, true} {
		l := longLab(t, ownAll(), func(l *lab) {
			l.pass(5)
			if renewed {
				l.RenewLease(l.Until(60_000))
			}
		})
		conn := &takingConn{}
		s := l.Open(conn)
		l.RenewLease(l.Until(3))
		s.Feed([]byte("SET k 1\r\nLONG\r\nSET k 2\r\n"))
		if !s.Closing() || strings.Contains(conn.out, "OK") {
			t.Errorf("renewed %v: closing %v, got %q", renewed, s.Closing(), conn.out)
		}
	}
}

type nullLog struct{}

func (nullLog) Append(db, last int, cmds []byte) int64 { return 0 }

// takingConn keeps what was written.
type takingConn struct {
	nullConn
	out string
}

func (c *takingConn) Write(b []byte) error { c.out += string(b); return nil }
