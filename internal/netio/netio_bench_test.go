package netio

import (
	"context"
	"net"
	"runtime"
	"testing"

	"github.com/skeindb/skein/internal/resp"
)

func benchServer(b *testing.B) *Server {
	s := New(Options{Open: func(c *Conn) Handler { return &echo{c: c, closed: make(chan struct{})} }})
	b.Cleanup(func() { s.Shutdown(context.Background()) })
	return s
}

// One op is a round trip of a pipeline of n PINGs.
func benchPing(b *testing.B, n int) {
	s := benchServer(b)
	g, err := s.ListenTCP([]string{"127.0.0.1"}, 0, 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	c, err := net.Dial("tcp", g.Addrs()[0].String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var req []byte
	for range n {
		req = resp.AppendCommandStrings(req, "PING")
	}
	in := make([]byte, 7*n)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(req)
		for got := 0; got < len(in); {
			k, err := c.Read(in[got:])
			if err != nil {
				b.Fatal(err)
			}
			got += k
		}
	}
}

func BenchmarkPing(b *testing.B)    { benchPing(b, 1) }
func BenchmarkPingP64(b *testing.B) { benchPing(b, 64) }

// BenchmarkPush is the cost of queueing a message of 100 bytes to a client that
// keeps up.
func BenchmarkPush(b *testing.B) {
	w := make(chan *Conn, 1)
	s := New(Options{Open: func(c *Conn) Handler {
		w <- c
		return &echo{c: c, closed: make(chan struct{})}
	}})
	defer s.Shutdown(context.Background())
	g, err := s.ListenTCP([]string{"127.0.0.1"}, 0, 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	nc, err := net.Dial("tcp", g.Addrs()[0].String())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := nc.Read(buf); err != nil {
				return
			}
		}
	}()
	c := <-w
	msg := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		c.Push(msg)
		for c.OutputPending() > 1<<20 {
			runtime.Gosched()
		}
	}
}

// BenchmarkIdleConnection reports the memory of one idle connection: heap and
// stacks of both ends' goroutines, of which the client has none.
func BenchmarkIdleConnection(b *testing.B) {
	s := benchServer(b)
	g, err := s.ListenTCP([]string{"127.0.0.1"}, 0, 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	const n = 400
	in := make([]byte, 64)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var conns []net.Conn
		for range n {
			c, err := net.Dial("tcp", g.Addrs()[0].String())
			if err != nil {
				b.Fatal(err)
			}
			c.Write([]byte("PING\r\n"))
			c.Read(in)
			conns = append(conns, c)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/n, "bytes/conn")
		for _, c := range conns {
			c.Close()
		}
	}
}
