package engine_test

import (
	"testing"
	"time"
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
