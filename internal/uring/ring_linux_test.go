//go:build linux && (amd64 || arm64)

package uring

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

func newRing(t testing.TB, entries int) *Ring {
	t.Helper()
	r, err := New(entries)
	if err != nil {
		t.Skip("no io_uring here: ", err)
	}
	t.Cleanup(r.Close)
	return r
}

// socket returns both ends of a stream.
func socket(t testing.TB) (a, b int) {
	t.Helper()
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(p[0]); syscall.Close(p[1]) })
	return p[0], p[1]
}

// Rounds of every size, also larger than the queue, go many times around both
// queues; each transfer meets its own socket and result.
func TestRoundsOfEverySize(t *testing.T) {
	const entries, most = 8, 19
	r := newRing(t, entries)
	var send, recv []*Op
	for range most {
		a, b := socket(t)
		send = append(send, &Op{FD: a, Send: true})
		recv = append(recv, &Op{FD: b, Buf: make([]byte, 32)})
	}
	for round := range 500 {
		n := 1 + round%most
		ops := make([]*Op, 0, 2*n)
		for i := range n {
			send[i].Buf = fmt.Appendf(nil, "%d to %d", round, i)
			ops = append(ops, send[i])
		}
		ops = append(ops, recv[:n]...)
		if k, err := r.Do(ops); k != 2*n || err != nil {
			t.Fatalf("round %d: Do = %d, %v, want %d", round, k, err, 2*n)
		}
		for i := range n {
			got := recv[i]
			if got.Err != 0 || !bytes.Equal(got.Buf[:max(got.N, 0)], send[i].Buf) {
				t.Fatalf("round %d, socket %d: received %d, %v, %q", round, i, got.N, got.Err, got.Buf)
			}
		}
		if *r.cqHead != *r.cqTail || *r.sqHead != *r.sqTail {
			t.Fatalf("round %d leaves something in the queues", round)
		}
	}
}

// What cannot be done, or only in part, says so and holds up nobody.
func TestResults(t *testing.T) {
	r := newRing(t, 8)
	a, b := socket(t)
	gone, peer := socket(t)
	syscall.Close(peer)
	full, _ := socket(t)
	empty, _ := socket(t)
	ops := []*Op{
		{FD: empty, Buf: make([]byte, 8)},
		{FD: gone, Buf: make([]byte, 8)},
		{FD: gone, Send: true, Buf: []byte("x")}, // and no SIGPIPE
		{FD: 1 << 20, Buf: make([]byte, 8)},
		{FD: full, Send: true, Buf: make([]byte, 16<<20)},
		{FD: full, Send: true, Buf: make([]byte, 1<<20)},
		{FD: a, Send: true, Buf: []byte("through")},
		{FD: b, Buf: make([]byte, 4)},
		{FD: b, Buf: make([]byte, 4)},
	}
	if n, err := r.Do(ops); n != len(ops) || err != nil {
		t.Fatalf("Do = %d, %v", n, err)
	}
	for i, want := range []struct {
		n   int
		err syscall.Errno
	}{{-1, syscall.EAGAIN}, {0, 0}, {-1, syscall.EPIPE}, {-1, syscall.EBADF}, {ops[4].N, 0}, {-1, syscall.EAGAIN}, {7, 0}, {4, 0}, {3, 0}} {
		if ops[i].N != want.n || ops[i].Err != want.err {
			t.Errorf("transfer %d: %d, %v, want %d, %v", i, ops[i].N, ops[i].Err, want.n, want.err)
		}
	}
	if n := ops[4].N; n <= 0 || n >= 16<<20 {
		t.Errorf("a socket took %d bytes of %d", n, 16<<20)
	}
}

func TestNewFails(t *testing.T) {
	newRing(t, 1)
	for _, entries := range []int{0, 1 << 30} {
		if r, err := New(entries); err == nil {
			t.Errorf("a ring of %d entries", entries)
			r.Close()
		} else if !errors.Is(err, syscall.EINVAL) {
			t.Errorf("New(%d): %v", entries, err)
		}
	}
}

// A kernel that takes no more transfers leaves them to the caller, and does not run
// them when it is asked for later ones.
func TestEnterFails(t *testing.T) {
	r := newRing(t, 8)
	a, b := socket(t)
	lost := &Op{FD: a, Send: true, Buf: []byte("lost")}
	fd := r.fd
	r.fd = a // not a ring
	if n, err := r.Do([]*Op{lost, lost}); n != 0 || !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("Do = %d, %v", n, err)
	}
	r.fd = fd
	in := &Op{FD: b, Buf: make([]byte, 16)}
	if n, err := r.Do([]*Op{{FD: a, Send: true, Buf: []byte("next")}, in}); n != 2 || err != nil || string(in.Buf[:in.N]) != "next" {
		t.Errorf("then Do = %d, %v, %q", n, err, in.Buf[:max(in.N, 0)])
	}
	r.Close()
	if n, err := r.Do([]*Op{lost}); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Do after Close = %d, %v", n, err)
	}
}

func TestDoDoesNotAllocate(t *testing.T) {
	r := newRing(t, 8)
	a, b := socket(t)
	ops := []*Op{{FD: a, Send: true, Buf: []byte("x")}, {FD: b, Buf: make([]byte, 1)}}
	if n := testing.AllocsPerRun(100, func() { r.Do(ops) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A round trip of n connections: their requests read and their replies sent.
func BenchmarkRoundTrip(b *testing.B) {
	for _, n := range []int{1, 4, 16} {
		var in, out []*Op
		var peers []int
		for range n {
			s, p := socket(b)
			in = append(in, &Op{FD: s, Buf: make([]byte, 4096)})
			out = append(out, &Op{FD: s, Send: true, Buf: make([]byte, 80)})
			peers = append(peers, p)
		}
		buf := make([]byte, 80)
		trip := func(b *testing.B, do func([]*Op)) {
			for b.Loop() {
				for _, p := range peers {
					syscall.Write(p, buf[:40])
				}
				do(in)
				do(out)
				for i, p := range peers {
					if k, _ := syscall.Read(p, buf); k != 80 || in[i].N != 40 {
						b.Fatal("lost")
					}
				}
			}
		}
		b.Run(fmt.Sprintf("calls/%d", n), func(b *testing.B) {
			trip(b, func(ops []*Op) {
				for _, o := range ops {
					if o.Send {
						o.N, _ = syscall.Write(o.FD, o.Buf)
					} else {
						o.N, _ = syscall.Read(o.FD, o.Buf)
					}
				}
			})
		})
		b.Run(fmt.Sprintf("ring/%d", n), func(b *testing.B) {
			r := newRing(b, 16)
			trip(b, func(ops []*Op) { r.Do(ops) })
		})
	}
}
