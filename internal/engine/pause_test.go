package engine_test

import (
	"testing"
	"time"

	"github.com/skeindb/skein/internal/hashslot"
)

// countingLog counts what enters it.
type countingLog struct{ n int }

func (l *countingLog) Append(db, last int, cmds []byte) int64 { l.n++; return 0 }

// While writes are paused nothing enters the log: neither a read of a key whose
// time has come nor the expiry cycle deletes it, though it is gone for readers.
// Afterwards both do.
func TestPauseKeepsTheLogStill(t *testing.T) {
	l := newLab(t)
	log := &countingLog{}
	l.SetLog(log)
	l.SetLogOn(true)
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
	do("SET a 1 PX 1\r\nSET b 1 PX 1\r\n", "+OK\r\n+OK\r\n")
	for end := l.Now() + 3; l.Now() < end; time.Sleep(time.Millisecond) {
	}
	log.n = 0
	never := func() bool { return false }
	l.Pause("failover", l.Now()+60_000, false)
	do("GET a\r\n", "$-1\r\n")
	do("MULTI\r\nGET a\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n")
	l.ExpireCycle(never)
	if log.n != 0 {
		t.Errorf("%d entries in the log during the pause", log.n)
	}
	l.Unpause("failover")
	do("GET a\r\n", "$-1\r\n")
	if log.n != 1 {
		t.Errorf("%d entries after a read of an expired key, want 1", log.n)
	}
	l.ExpireCycle(never)
	if log.n != 2 {
		t.Errorf("%d entries after the expiry cycle, want 2", log.n)
	}
}

// A slow command, that holds its slot, keeps no pause from beginning. Writes to other
// slots wait then, reads go on, and CLIENT PAUSE is answered. Pause itself returns when
// the command is over.
func TestPauseBesideSlowCommand(t *testing.T) {
	l := newLab(t)
	operator, reader, writer := l.dial(), l.dial(), l.dial()
	slot := hashslot.Slot([]byte("held"))
	l.Store.Lock(slot)
	unlock := func() { l.Store.Unlock(slot) }
	defer func() { unlock() }()
	if got := operator.do("CLIENT PAUSE 100000 WRITE"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	writer.send("SET other 1")
	for end := time.Now().Add(patience); l.Stats.Blocked() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the write does not wait")
		}
	}
	if got := reader.do("GET other"); got != "$-1\r\n" {
		t.Errorf("a write has run during the pause: %q", got)
	}
	ended := make(chan struct{})
	go func() {
		l.Pause("failover", l.Now()+100_000, false)
		close(ended)
	}()
	select {
	case <-ended:
		t.Error("the pause is in force while a command runs that began before")
	default:
	}
	unlock()
	unlock = func() {}
	<-ended
	l.Unpause("failover")
	l.Unpause("client")
	writer.want("+OK")
}
