package netio

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/uring"
)

// onRing makes start use a ring for every transfer.
var onRing bool

// needRing skips a test where there is no io_uring.
func needRing(t testing.TB) {
	t.Helper()
	r, err := uring.New(maxGather)
	if err != nil {
		t.Skip("no io_uring here: ", err)
	}
	r.Close()
}

// What holds of connections holds with a ring under them, where even a transfer
// that nobody joins goes by it.
func TestOnRing(t *testing.T) {
	needRing(t)
	onRing = true
	defer func() { onRing = false }()
	for _, tt := range []struct {
		name string
		f    func(*testing.T)
	}{
		{"Pipeline", TestPipeline},
		{"RoundTripDoesNotAllocate", TestRoundTripDoesNotAllocate},
		{"IdleConnectionMemory", TestIdleConnectionMemory},
		{"BigArgument", TestBigArgument},
		{"IdleBufferShrinks", TestIdleBufferShrinks},
		{"QueryLimit", TestQueryLimit},
		{"SlowReaderIsHeldBack", TestSlowReaderIsHeldBack},
		{"PushOrder", TestPushOrder},
		{"PushBeforeReply", TestPushBeforeReply},
		{"HardLimit", TestHardLimit},
		{"HardLimitOfReplies", TestHardLimitOfReplies},
		{"SoftLimit", TestSoftLimit},
		{"Kick", TestKick},
		{"BlockTimesOut", TestBlockTimesOut},
		{"BlockedClientGoesAway", TestBlockedClientGoesAway},
		{"Linger", TestLinger},
		{"CloseFromElsewhere", TestCloseFromElsewhere},
		{"MaxClients", TestMaxClients},
		{"IdleTimeout", TestIdleTimeout},
		{"UnixSocket", TestUnixSocket},
		{"ProtectedMode", TestProtectedMode},
		{"TLS", TestTLS},
	} {
		t.Run(tt.name, tt.f)
	}
}

// Many clients, each with a request under way all the time, get their own replies,
// and share system calls. Some are killed in the midst of it.
func TestConnectionsShareCalls(t *testing.T) {
	needRing(t)
	for _, procs := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d processors", procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			w := start(t, Options{Ring: true})
			if n := w.s.Stats().Rings; n != procs {
				t.Fatalf("%d rings for %d processors", n, procs)
			}
			var all sync.WaitGroup
			for i := range 50 {
				c := w.dial()
				doomed := i%5 == 4
				all.Go(func() {
					for round := range 300 {
						word := fmt.Sprintf("%d of %d", round, i)
						reply := fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
						if doomed && round == 150 {
							c.h.c.Close()
						}
						req := fmt.Sprintf("*2\r\n$4\r\nECHO\r\n%s", reply)
						c.Conn.Write([]byte(req))
						got := make([]byte, len(reply))
						c.Conn.SetReadDeadline(time.Now().Add(20 * time.Second))
						for n := 0; n < len(got); {
							k, err := c.Conn.Read(got[n:])
							if n += k; err != nil {
								if !doomed || isTimeout(err) {
									t.Errorf("client %d, round %d: %v", i, round, err)
								}
								return
							}
						}
						if string(got) != reply {
							t.Errorf("client %d: got %q, want %q", i, got, reply)
							return
						}
					}
					if doomed {
						t.Errorf("client %d outlives its connection", i)
					}
				})
			}
			all.Wait()
			st := w.s.Stats()
			if st.RingCalls == 0 || st.RingMoves < 2*st.RingCalls {
				t.Errorf("%d calls for %d of %d transfers", st.RingCalls, st.RingMoves, st.ReadCalls+st.SendCalls)
			}
		})
	}
}

// streams are n pairs of sockets that do not block.
func streams(t *testing.T, n int) (ours, theirs []int) {
	for range n {
		p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range p {
			syscall.SetNonblock(fd, true)
			t.Cleanup(func() { syscall.Close(fd) })
		}
		ours, theirs = append(ours, p[0]), append(theirs, p[1])
	}
	return ours, theirs
}

// trips lets a goroutine for each stream send and receive through g.
func trips(t *testing.T, g *gatherer, ours, theirs []int, rounds int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range ours {
		all.Go(func() {
			in := make([]byte, 32)
			for round := range rounds {
				word := fmt.Appendf(nil, "%d/%d", i, round)
				if n, err := g.do(ours[i], word, true); n != len(word) || err != nil {
					t.Errorf("write = %d, %v", n, err)
					return
				}
				if n, err := g.do(theirs[i], in, false); err != nil || !bytes.Equal(in[:n], word) {
					t.Errorf("read %q, %v, want %q", in[:max(n, 0)], err, word)
					return
				}
				if n, err := g.do(theirs[i], in, false); n != -1 || err != syscall.EAGAIN {
					t.Errorf("read of nothing = %d, %v", n, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// More transfers at a time than a batch holds, on one processor and several.
func TestFullBatches(t *testing.T) {
	needRing(t)
	for _, procs := range []int{1, 4} {
		old := runtime.GOMAXPROCS(procs)
		g, err := newGatherer(&Options{}, procs)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := streams(t, 3*maxGather+5)
		trips(t, g, ours, theirs, 100)
		var st Stats
		g.count(&st)
		if procs == 1 && st.RingMoves < st.RingCalls*maxGather/2 {
			t.Errorf("%d transfers in %d calls", st.RingMoves, st.RingCalls)
		}
		g.close()
		runtime.GOMAXPROCS(old)
	}
}

// A ring that fails while it is in use is given up, and nothing is lost.
func TestRingFails(t *testing.T) {
	needRing(t)
	g, err := newGatherer(&Options{alwaysRing: true}, 1)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := streams(t, 10)
	trips(t, g, ours, theirs, 5)
	g.run.Lock()
	g.ring.Close() // Do fails
	g.run.Unlock()
	trips(t, g, ours, theirs, 50)
	var st Stats
	if g.count(&st); st.Rings != 0 {
		t.Error("the ring counts as in use")
	}
	g.close()
}

// Without io_uring connections are served as ever, and the log says so once.
func TestNoRing(t *testing.T) {
	var log strings.Builder
	w := start(t, Options{Ring: true, Log: slog.New(slog.NewTextHandler(&log, nil)),
		newRing: func(int) (*uring.Ring, error) { return nil, errors.New("not here") }})
	if n := strings.Count(log.String(), "io_uring"); n != 1 || !strings.Contains(log.String(), "not here") {
		t.Errorf("log: %s", log.String())
	}
	w.dial().want("+PONG", "PING")
	if st := w.s.Stats(); st.Rings != 0 || st.RingCalls != 0 {
		t.Errorf("%+v", st)
	}
}

// After Shutdown no descriptor of a ring is left.
func TestRingsAreClosed(t *testing.T) {
	needRing(t)
	w := start(t, Options{Ring: true})
	w.dial().want("+PONG", "PING")
	w.s.Shutdown(t.Context())
	if n := w.s.Stats().Rings; n != 0 {
		t.Errorf("%d rings", n)
	}
	for _, g := range w.s.gatherers {
		if n, err := g.ring.Do([]*uring.Op{}); n != 0 || err == nil {
			t.Error("a ring is open")
		}
	}
}
