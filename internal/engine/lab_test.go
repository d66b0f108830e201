package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// patience is how long a test waits for something that must happen.
const patience = 10 * time.Second

// lab is an engine whose clients have connections of memory.
type lab struct {
	*engine.Engine
	t testing.TB
}

func newLab(t testing.TB, change ...func(*engine.Options)) *lab {
	h, err := mem.New(mem.Options{Shards: 8, Reserve: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	st := store.New(h, 16)
	env := &command.Env{}
	env.SetLimits(command.DefaultLimits())
	o := engine.Options{Store: st, Env: env}
	for _, f := range change {
		f(&o)
	}
	l := &lab{engine.New(o), t}
	l.SetTable(command.NewTable(engine.Specs(), datatypes.Specs()))
	t.Cleanup(func() {
		if err := h.Check(); err != nil {
			t.Error(err)
		}
		st.Close()
		h.Close()
	})
	return l
}

// client is a connection to the engine with its goroutine, as netio runs it.
// The test's goroutine sends and reads.
type client struct {
	t    testing.TB
	s    *engine.Session
	conn *memConn
	done chan struct{}
}

// memConn is the connection. All is guarded by mu.
type memConn struct {
	nullConn
	mu     sync.Mutex
	cond   sync.Cond
	in     []byte
	fresh  bool // in has grown, or the session was kicked
	out    []byte
	closed bool
	class  engine.Class
	addr   string
}

func (c *memConn) Write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.New("closed")
	}
	c.out = append(c.out, b...)
	c.cond.Broadcast()
	return nil
}

func (c *memConn) Push(b []byte) { c.Write(b) }

func (c *memConn) wake(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.cond.Broadcast()
}

func (c *memConn) Kick()                       { c.wake(func() { c.fresh = true }) }
func (c *memConn) Close()                      { c.wake(func() { c.closed = true }) }
func (c *memConn) RemoteAddr() string          { return c.addr }
func (c *memConn) SetClass(class engine.Class) { c.wake(func() { c.class = class }) }
func (c *memConn) Created() time.Time          { return time.Now() }

func (l *lab) dial() *client {
	conn := &memConn{}
	conn.cond.L = &conn.mu
	conn.addr = fmt.Sprintf("127.0.0.1:%d", 1000+l.ClientCount())
	c := &client{t: l.t, conn: conn, done: make(chan struct{})}
	c.s = l.Open(conn)
	go c.serve()
	l.t.Cleanup(c.hangUp)
	return c
}

func (c *client) serve() {
	defer close(c.done)
	defer c.s.Close()
	m := c.conn
	var buf []byte
	for !c.s.Closing() {
		var wake *time.Timer
		if d := c.s.Deadline(); !d.IsZero() {
			wake = time.AfterFunc(time.Until(d), m.Kick)
		}
		m.mu.Lock()
		for !m.fresh && !m.closed {
			m.cond.Wait()
		}
		m.fresh = false
		buf = append(buf, m.in...)
		m.in = nil
		closed := m.closed
		m.mu.Unlock()
		if wake != nil {
			wake.Stop()
		}
		if closed {
			return
		}
		c.s.TimedOut()
		buf = buf[c.s.Feed(buf):]
	}
	m.Close()
}

func (c *client) hangUp() {
	c.conn.Close()
	select {
	case <-c.done:
	case <-time.After(patience):
		panic("session does not end")
	}
}

// send sends commands, one a line, with words separated by blanks.
func (c *client) send(lines ...string) {
	var b []byte
	for _, l := range lines {
		var args [][]byte
		for _, w := range strings.Fields(l) {
			args = append(args, []byte(w))
		}
		b = resp.AppendCommand(b, args...)
	}
	c.conn.wake(func() {
		c.conn.in = append(c.conn.in, b...)
		c.conn.fresh = true
	})
}

// read takes n bytes of output.
func (c *client) take(n int) string {
	c.t.Helper()
	m := c.conn
	late := time.AfterFunc(patience, func() { m.wake(func() { n = -1 }) })
	defer late.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for n >= 0 && len(m.out) < n && !m.closed {
		m.cond.Wait()
	}
	if n < 0 || len(m.out) < n {
		got := string(m.out)
		m.out = nil
		return got
	}
	got := string(m.out[:n])
	m.out = m.out[n:]
	return got
}

// want waits for output and compares it; line ends are written as blanks,
// blanks as ^.
func (c *client) want(text string) {
	c.t.Helper()
	text = strings.ReplaceAll(text, " ", "\r\n") + "\r\n"
	c.wantRaw(strings.ReplaceAll(text, "^", " "))
}

func (c *client) wantRaw(text string) {
	c.t.Helper()
	if got := c.take(len(text)); got != text {
		c.t.Fatalf("got %q\nwant %q", got, text)
	}
}

// do sends a command and returns one reply's bytes.
func (c *client) do(line string) string {
	c.t.Helper()
	c.send(line)
	return c.reply()
}

// reply takes one complete reply.
func (c *client) reply() string {
	c.t.Helper()
	m := c.conn
	late := false
	timer := time.AfterFunc(patience, func() { m.wake(func() { late = true }) })
	defer timer.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if n := replySize(m.out); n > 0 {
			got := string(m.out[:n])
			m.out = m.out[n:]
			return got
		}
		if late || m.closed {
			c.t.Fatalf("no reply; have %q, closed %v", m.out, m.closed)
		}
		m.cond.Wait()
	}
}

// replySize is the size of the first reply in b, 0 if it is not complete.
func replySize(b []byte) int {
	i := bytes.Index(b, []byte("\r\n"))
	if i < 0 {
		return 0
	}
	end := i + 2
	n := 0
	fmt.Sscanf(string(b[1:i]), "%d", &n)
	switch b[0] {
	case '$', '=':
		if n < 0 {
			return end
		}
		if len(b) < end+n+2 {
			return 0
		}
		return end + n + 2
	case '*', '>', '~', '%':
		if b[0] == '%' {
			n *= 2
		}
		for ; n > 0; n-- {
			k := replySize(b[end:])
			if k == 0 {
				return 0
			}
			end += k
		}
	}
	return end
}

// is sends a command and checks its reply.
func (c *client) is(line, want string) {
	c.t.Helper()
	want = strings.ReplaceAll(strings.ReplaceAll(want, " ", "\r\n"), "^", " ") + "\r\n"
	if got := c.do(line); got != want {
		c.t.Fatalf("%s: got %q, want %q", line, got, want)
	}
}

// quiet checks that nothing has been sent, not even by commands before.
func (c *client) quiet() {
	c.t.Helper()
	c.send("ECHO marker")
	c.wantRaw("$6\r\nmarker\r\n")
}

// until polls for a condition.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			l.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// blocked waits until n clients are blocked.
func (l *lab) blocked(n int64) {
	l.t.Helper()
	l.until(fmt.Sprintf("%d blocked clients", n), func() bool { return l.Stats.Blocked() == n })
}
