package turns

import (
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// With one processor and one goroutine that works without end, a connection is
// served after each of its turns, not every 10 ms.
func TestNetworkBetweenTurns(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	a, b := pair(t)
	go io.Copy(b, b)
	var stop atomic.Bool
	ended := make(chan int)
	go func() {
		turns := New()
		defer turns.End()
		n := 0
		for ; !stop.Load(); n++ {
			for start := time.Now(); time.Since(start) < 50*time.Microsecond; {
			}
			turns.Pass()
		}
		ended <- n
	}()
	best := time.Hour // of ten: the machine may have other work
	for range 10 {
		start := time.Now()
		for range 10 {
			if _, err := a.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(a, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		best = min(best, time.Since(start)/10)
	}
	stop.Store(true)
	if n := <-ended; n == 0 {
		t.Error("the worker had no turn")
	}
	// There and back are two turns of the worker.
	if limit := 5 * time.Millisecond; best > limit {
		t.Errorf("a round trip takes %v beside a worker, want less than %v", best, limit)
	}
}

// Without its pipe it goes on.
func TestPassAfterEnd(t *testing.T) {
	turns := New()
	turns.End()
	turns.End()
	turns.since = time.Time{}
	turns.Pass()
	if time.Since(turns.since) > time.Minute {
		t.Error("no turn began")
	}
}

func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}
