package netio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/resp"
)

// echo is a Handler of a few commands:
//
//	PING, ECHO x, QUIT
//	BIG n        a reply of n bytes
//	BLOCK ms     waits for serve or for ms (0: for ever), then null
//	SUBSCRIBE    pushes, output class pubsub
type echo struct {
	c      *Conn
	parser resp.Parser
	argv   [][]byte
	w      resp.Writer
	done   bool
	closed chan struct{}
	linger time.Duration
	feeds  atomic.Int64

	mu       sync.Mutex
	parked   bool
	deadline time.Time
}

func (h *echo) Feed(in []byte) (used int) {
	h.feeds.Add(1)
	for !h.done && !h.Parked() {
		args, n, err := h.parser.Next(in[used:], h.argv[:0])
		used += n
		if err == resp.ErrMore {
			break
		}
		if err != nil {
			h.w.Error("ERR " + err.Error())
			h.done = true
			break
		}
		h.argv = args
		h.run(args)
		if len(h.w.Buf) > 64<<10 {
			h.flush()
		}
	}
	h.flush()
	return used
}

func (h *echo) flush() {
	if len(h.w.Buf) > 0 {
		if h.c.Write(h.w.Buf) != nil {
			h.done = true
		}
		h.w.Buf = h.w.Buf[:0]
	}
}

func (h *echo) run(args [][]byte) {
	switch string(args[0]) {
	case "PING":
		h.w.Simple("PONG")
	case "ECHO":
		h.w.Bulk(args[1])
	case "QUIT":
		h.w.OK()
		h.done = true
	case "BIG":
		n, _ := strconv.Atoi(string(args[1]))
		h.w.Bulk(make([]byte, n))
	case "SUBSCRIBE":
		h.c.SetClass(engine.ClassPubSub)
		h.w.OK()
	case "BLOCK":
		ms, _ := strconv.Atoi(string(args[1]))
		h.flush()
		h.mu.Lock()
		h.parked = true
		if ms > 0 {
			h.deadline = time.Now().Add(time.Duration(ms) * time.Millisecond)
		}
		h.mu.Unlock()
	}
}

func (h *echo) Parked() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.parked
}

func (h *echo) Deadline() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deadline
}

func (h *echo) TimedOut() { h.serve("$-1\r\n") }

// serve ends a BLOCK, from any goroutine.
func (h *echo) serve(reply string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.parked {
		return false
	}
	h.parked, h.deadline = false, time.Time{}
	h.c.Push([]byte(reply))
	h.c.Kick()
	return true
}

func (h *echo) Need() int     { return h.parser.Need() }
func (h *echo) Closing() bool { return h.done }
func (h *echo) Close()        { close(h.closed) }

func (h *echo) Linger() time.Duration { return h.linger }

// world is a server of echo handlers.
type world struct {
	t  *testing.T
	s  *Server
	g  *Group
	mu sync.Mutex
	hs []*echo
}

func start(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{t: t}
	o.Open = func(c *Conn) Handler {
		h := &echo{c: c, closed: make(chan struct{})}
		w.mu.Lock()
		w.hs = append(w.hs, h)
		w.mu.Unlock()
		return h
	}
	if onRing {
		o.Ring, o.alwaysRing = true, true
	}
	w.s = New(o)
	g, err := w.s.ListenTCP([]string{"127.0.0.1"}, 0, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.g = g
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if n := w.s.Connections(); n != 0 {
			t.Errorf("%d connections after shutdown", n)
		}
	})
	return w
}

// client is a test's end of a connection; the handler of the other end is h.
type client struct {
	net.Conn
	*resp.Reader
	t *testing.T
	h *echo
}

func (c *client) Read(b []byte) (int, error) { return c.Reader.Read(b) }

func (w *world) dial() *client {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.g.Addrs()[0].String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	c := &client{Conn: nc, Reader: resp.NewReader(nc), t: w.t}
	c.want("+PONG", "PING")
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.hs {
		if h.c.raw.RemoteAddr().String() == nc.LocalAddr().String() {
			c.h = h
		}
	}
	return c
}

// send writes a command; want also reads the reply.
func (c *client) send(args ...string) {
	c.t.Helper()
	if _, err := c.Write(resp.AppendCommandStrings(nil, args...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) want(reply string, args ...string) {
	c.t.Helper()
	if len(args) > 0 {
		c.send(args...)
	}
	v, err := c.Next()
	if err != nil || v.String() != reply {
		c.t.Fatalf("%q: %.100s, %v; want %s", args, v, err, reply)
	}
}

func (c *client) wantEnd() {
	c.t.Helper()
	v, err := c.Next()
	if err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		c.t.Fatalf("%.100s, %v; want the end of the connection", v, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// poll waits until f says it is so.
func poll(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestPipeline(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	const n = 10000
	go func() {
		var b []byte
		for i := range n {
			b = resp.AppendCommandStrings(b, "ECHO", strconv.Itoa(i))
		}
		c.Write(b)
	}()
	for i := range n {
		c.want(strconv.Quote(strconv.Itoa(i)))
	}
	if writes := w.s.Stats().SendCalls; writes > n/10 {
		t.Errorf("%d replies took %d writes", n, writes)
	}
	c.want("+OK", "QUIT")
	c.wantEnd()
	<-c.h.closed
	poll(t, "the closed connection is counted", func() bool { return w.s.Connections() == 0 })
	st := w.s.Stats()
	if st.Accepted != 1 || st.BytesIn < n*20 || st.BytesOut < n*7 || st.ReadCalls == 0 {
		t.Errorf("stats %+v", st)
	}
}

// The path of a request allocates nothing: neither reading, nor writing, nor
// a push once its buffers exist.
func TestRoundTripDoesNotAllocate(t *testing.T) {
	w := start(t, Options{manualSweep: true})
	c := w.dial()
	req := bytes.Repeat([]byte("*1\r\n$4\r\nPING\r\n"), 64)
	in := make([]byte, 64*7)
	trip := func() {
		c.Write(req)
		if _, err := io.ReadFull(c.Conn, in); err != nil {
			t.Fatal(err)
		}
	}
	trip()
	if n := testing.AllocsPerRun(200, trip); n > 0.5 {
		t.Errorf("%v allocations per round trip", n)
	}
	msg, got := []byte("+pushed\r\n"), make([]byte, 9)
	push := func() {
		c.h.c.Push(msg)
		if _, err := io.ReadFull(c.Conn, got); err != nil {
			t.Fatal(err)
		}
	}
	push()
	// A goroutine for a push to an idle connection: the runtime reuses its
	// stack, but the closure is new.
	if n := testing.AllocsPerRun(200, push); n > 3 {
		t.Errorf("%v allocations per push", n)
	}
}

// An idle connection, with what its last command needed, is cheap.
func TestIdleConnectionMemory(t *testing.T) {
	w := start(t, Options{manualSweep: true})
	const n, bound = 300, 16 << 10
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var conns []net.Conn // without the test's readers and their buffers
	pong := make([]byte, 7)
	for range n {
		nc, err := net.Dial("tcp", w.g.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.Write([]byte("PING\r\n"))
		if _, err := io.ReadFull(nc, pong); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, nc)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)) / int64(len(conns))
	if each > bound {
		t.Errorf("an idle connection takes %d bytes, more than %d", each, bound)
	}
}

// A big argument arrives whole, in a buffer of about its size, which is given
// up afterwards.
func TestBigArgument(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	const size = 48 << 20
	big := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	go c.Write(resp.AppendCommand(nil, []byte("ECHO"), big))
	most := 0
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		for {
			used, capacity := c.h.c.QueryBuffer()
			most = max(most, capacity)
			if used == 0 && most > size {
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
	}()
	v, err := c.Next()
	if err != nil || !bytes.Equal(v.Str, big) {
		t.Fatalf("reply of %d bytes, %v", len(v.Str), err)
	}
	<-seen
	if most > size+size/4 {
		t.Errorf("the buffer grew to %d bytes for %d", most, size)
	}
	c.want("+PONG", "PING")
	poll(t, "the buffer is small again", func() bool {
		_, capacity := c.h.c.QueryBuffer()
		return capacity <= keepBuffer
	})
}

// An idle connection gives back the buffer that its last pipeline left.
func TestIdleBufferShrinks(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	const n = 20000
	go c.Write(bytes.Repeat([]byte("*1\r\n$4\r\nPING\r\n"), n))
	for range n {
		c.want("+PONG")
	}
	if _, capacity := c.h.c.QueryBuffer(); capacity <= keepBuffer {
		t.Errorf("capacity %d behind a long pipeline: nothing to shrink", capacity)
	}
	poll(t, "the buffer is small again", func() bool {
		_, capacity := c.h.c.QueryBuffer()
		return capacity <= keepBuffer
	})
	c.want("+PONG", "PING")
}

func TestQueryLimit(t *testing.T) {
	w := start(t, Options{QueryLimit: func() int64 { return 1 << 20 }})
	c := w.dial()
	go c.Write(resp.AppendCommand(nil, []byte("ECHO"), make([]byte, 8<<20)))
	c.wantEnd()
	if n := w.s.Stats().QueryLimitCloses; n != 1 {
		t.Errorf("QueryLimitCloses = %d", n)
	}
}

// While a client does not read, its commands are not run; nothing piles up.
func TestSlowReaderIsHeldBack(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	const n, size = 60, 1 << 20
	go func() {
		for range n {
			c.send("BIG", strconv.Itoa(size))
		}
	}()
	poll(t, "the server is stuck in a write", func() bool { return c.h.c.OutputPending() > 0 })
	for range 20 {
		if p := c.h.c.OutputPending(); p > 2*size {
			t.Fatalf("%d bytes pending for a client that does not read", p)
		}
		time.Sleep(time.Millisecond)
	}
	for range n {
		v, err := c.Next()
		if err != nil || len(v.Str) != size {
			t.Fatalf("%d bytes, %v", len(v.Str), err)
		}
	}
}

// Pushes from many goroutines, mixed with replies: everything arrives whole,
// each pusher's in its order, and replies in theirs.
func TestPushOrder(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	const pushers, each, replies = 8, 1000, 1000
	var wg sync.WaitGroup
	for p := range pushers {
		wg.Go(func() {
			for i := range each {
				pad := ""
				if i%100 == 0 {
					pad = strings.Repeat("x", 40<<10)
				}
				c.h.c.Push(resp.AppendBulkString(nil, fmt.Sprintf("%d %d %s", p, i, pad)))
			}
		})
	}
	go func() {
		for i := range replies {
			c.send("ECHO", "r "+strconv.Itoa(i)+" ")
		}
	}()
	next := map[string]int{}
	for range pushers*each + replies {
		v, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		f := strings.SplitN(v.Text(), " ", 3)
		if f[1] != strconv.Itoa(next[f[0]]) {
			t.Fatalf("from %s: %s, want %d", f[0], f[1], next[f[0]])
		}
		next[f[0]]++
	}
	wg.Wait()
	poll(t, "nothing is pending", func() bool { return c.h.c.OutputPending() == 0 })
}

// What was pushed before a reply is written comes before it.
func TestPushBeforeReply(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	for range 200 {
		c.h.c.Push([]byte("+pushed\r\n"))
		c.send("PING")
		c.want("+pushed")
		c.want("+PONG")
	}
	// Also when the connection ends with that reply.
	c.h.c.Push([]byte("+pushed\r\n"))
	c.send("QUIT")
	c.want("+pushed")
	c.want("+OK")
	c.wantEnd()
}

func TestHardLimit(t *testing.T) {
	w := start(t, Options{})
	w.s.SetLimits(Limits{engine.ClassPubSub: {Hard: 4 << 20}})
	c := w.dial()
	c.want("+OK", "SUBSCRIBE")
	other := w.dial()
	msg := make([]byte, 64<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 4000 { // 250 MB, far more than kernel buffers and limit
			c.h.c.Push(msg)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Push blocked")
	}
	<-c.h.closed
	if n := w.s.Stats().OutputLimitCloses; n != 1 {
		t.Errorf("OutputLimitCloses = %d, want 1", n)
	}
	other.want("+PONG", "PING")
}

func TestHardLimitOfReplies(t *testing.T) {
	w := start(t, Options{})
	w.s.SetLimits(Limits{engine.ClassNormal: {Hard: 1 << 20}})
	c := w.dial()
	c.send("BIG", "1000000")
	if v, err := c.Next(); err != nil || len(v.Str) != 1000000 {
		t.Fatalf("a reply below the limit: %d bytes, %v", len(v.Str), err)
	}
	c.send("BIG", "2000000")
	c.wantEnd()
	if n := w.s.Stats().OutputLimitCloses; n != 1 {
		t.Errorf("OutputLimitCloses = %d, want 1", n)
	}
}

// Over the soft limit a connection lives for the soft time, not longer, even if
// nobody pushes any more; one that recovers in time lives on.
func TestSoftLimit(t *testing.T) {
	w := start(t, Options{manualSweep: true})
	w.s.SetLimits(Limits{engine.ClassPubSub: {Soft: 1 << 20, SoftTime: time.Hour}})
	stuck, well := w.dial(), w.dial()
	for _, c := range []*client{stuck, well} {
		c.want("+OK", "SUBSCRIBE")
		c.h.c.Push(resp.AppendBulk(nil, make([]byte, 20<<20)))
	}
	now := time.Now()
	w.s.sweep(now.Add(50 * time.Minute))
	for i := range 2 { // a second time over the limit begins a new hour
		if v, err := well.Next(); err != nil || len(v.Str) != 20<<20 {
			t.Fatalf("%d bytes, %v", len(v.Str), err)
		}
		if i == 0 {
			poll(t, "nothing is pending", func() bool { return well.h.c.OutputPending() == 0 })
			w.s.sweep(now.Add(55 * time.Minute))
			well.h.c.Push(resp.AppendBulk(nil, make([]byte, 20<<20)))
		}
	}
	poll(t, "nothing is pending", func() bool { return well.h.c.OutputPending() == 0 })
	if n := w.s.Stats().OutputLimitCloses; n != 0 {
		t.Fatalf("OutputLimitCloses = %d within the soft time", n)
	}
	w.s.sweep(now.Add(2 * time.Hour))
	<-stuck.h.closed
	well.want("+PONG", "PING")
	if n := w.s.Stats().OutputLimitCloses; n != 1 {
		t.Errorf("OutputLimitCloses = %d, want 1", n)
	}
}

func TestKick(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	for i := range 200 {
		// Served while the client waits; what it sent behind then runs.
		c.send("BLOCK", "0")
		if i%2 == 0 {
			c.send("PING")
		}
		poll(t, "served", func() bool { return c.h.serve("+served\r\n") })
		c.want("+served")
		if i%2 == 1 {
			c.send("PING")
		}
		c.want("+PONG")
	}
	// A kick without cause is harmless, alone or in a storm.
	before := c.h.feeds.Load()
	c.h.c.Kick()
	poll(t, "Feed was called", func() bool { return c.h.feeds.Load() > before })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.h.c.Kick()
			}
		}
	})
	for range 300 {
		c.want("+PONG", "PING")
	}
	close(stop)
	wg.Wait()
	c.want("+PONG", "PING")
}

func TestBlockTimesOut(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	began := time.Now()
	c.send("BLOCK", "30")
	c.send("PING") // arrives meanwhile and must wait
	c.want("(nil)")
	if d := time.Since(began); d < 30*time.Millisecond {
		t.Errorf("timed out after %v", d)
	}
	c.want("+PONG")
	c.want("+PONG", "PING") // the deadline is gone
}

func TestBlockedClientGoesAway(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	c.send("BLOCK", "0")
	poll(t, "parked", func() bool { return c.h.Parked() })
	c.Close()
	<-c.h.closed
}

// The last words reach a peer that goes on sending, and the connection does not
// wait for ever for one that never closes.
func TestLinger(t *testing.T) {
	w := start(t, Options{})
	c := w.dial()
	c.h.linger = 10 * time.Second
	more := make([]byte, 1<<20)
	for i := range more {
		more[i] = 'x'
	}
	if _, err := c.Write(append([]byte("QUIT\r\n"), more...)); err != nil {
		t.Fatal(err)
	}
	<-c.h.closed
	for range 20 { // far more than buffers hold: without lingering it meets a reset
		if _, err := c.Write(more); err != nil {
			t.Fatalf("sending on: %v", err)
		}
	}
	c.want("+OK")
	c.wantEnd()
	c.Close()
	poll(t, "the connection is gone", func() bool { return w.s.Connections() == 0 })

	c = w.dial()
	c.h.linger = 50 * time.Millisecond
	c.want("+OK", "QUIT")
	poll(t, "the connection is gone", func() bool { return w.s.Connections() == 0 })
}

func TestCloseFromElsewhere(t *testing.T) {
	w := start(t, Options{})
	idle, stuck := w.dial(), w.dial()
	stuck.send("BIG", strconv.Itoa(64<<20))
	poll(t, "the server is stuck in a write", func() bool { return stuck.h.c.OutputPending() > 0 })
	for _, c := range []*client{idle, stuck} {
		c.h.c.Close()
		c.h.c.Close()
		<-c.h.closed
	}
	idle.wantEnd()
	idle.h.c.Push([]byte("+late\r\n")) // harmless
}

func TestMaxClients(t *testing.T) {
	w := start(t, Options{MaxClients: func() int { return 2 }})
	a := w.dial()
	w.dial()
	third, err := net.Dial("tcp", w.g.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if b, err := io.ReadAll(third); err != nil || string(b) != "-ERR max number of clients reached\r\n" {
		t.Errorf("%q, %v", b, err)
	}
	a.want("+OK", "QUIT")
	poll(t, "a place is free", func() bool { return w.s.Connections() == 1 })
	w.dial()
	if n := w.s.Stats().Rejected; n != 1 {
		t.Errorf("Rejected = %d, want 1", n)
	}
}

// Only normal clients that wait for nothing are idle.
func TestIdleTimeout(t *testing.T) {
	w := start(t, Options{manualSweep: true, IdleTimeout: func() time.Duration { return time.Minute }})
	idle, blocked, subscribed, busy := w.dial(), w.dial(), w.dial(), w.dial()
	blocked.send("BLOCK", "0")
	subscribed.want("+OK", "SUBSCRIBE")
	poll(t, "parked", func() bool { return blocked.h.c.parked.Load() })
	now := time.Now()
	w.s.sweep(now)
	w.s.sweep(now.Add(time.Minute))
	if n := w.s.Stats().IdleCloses; n != 0 {
		t.Errorf("IdleCloses = %d after just a minute", n)
	}
	busy.want("+PONG", "PING")
	w.s.sweep(now.Add(time.Minute + time.Second))
	<-idle.h.closed
	idle.wantEnd()
	busy.want("+PONG", "PING")
	blocked.h.serve("+served\r\n")
	blocked.want("+served")
	subscribed.want("+PONG", "PING")
	if n := w.s.Stats().IdleCloses; n != 1 {
		t.Errorf("IdleCloses = %d, want 1", n)
	}
}
