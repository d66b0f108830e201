package labtest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/resp"
)

// Client runs commands of a session; it belongs to one goroutine.
type Client struct {
	S    *engine.Session
	conn *memConn
}

// memConn keeps what a client is sent.
type memConn struct {
	mu     sync.Mutex
	out    []byte
	kicked chan struct{}
	closed bool
}

// Client opens a session.
func (n *Node) Client() *Client {
	conn := &memConn{kicked: make(chan struct{}, 1)}
	return &Client{S: n.E.Open(conn), conn: conn}
}

func (c *memConn) Write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, b...)
	return nil
}
func (c *memConn) Push(b []byte) { c.Write(b) }
func (c *memConn) Kick() {
	select {
	case c.kicked <- struct{}{}:
	default:
	}
}
func (c *memConn) Close()                { c.closed = true }
func (*memConn) RemoteAddr() string      { return "test" }
func (*memConn) LocalAddr() string       { return "" }
func (*memConn) LocalIP() string         { return "" }
func (*memConn) Unix() bool              { return false }
func (*memConn) TLS() bool               { return false }
func (*memConn) FD() int                 { return -1 }
func (*memConn) QueryBuffer() (int, int) { return 0, 0 }
func (*memConn) OutputPending() int      { return 0 }
func (*memConn) SetClass(engine.Class)   {}
func (*memConn) Created() time.Time      { return time.Time{} }

// Take returns what was answered since the last time.
func (c *Client) Take() []byte {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	out := c.conn.out
	c.conn.out = nil
	return out
}

// Kicked is told when a blocked client has to look again.
func (c *Client) Kicked() <-chan struct{} { return c.conn.kicked }

// Send runs commands, a line each, as one batch.
func (c *Client) Send(lines ...string) {
	var in []byte
	for _, line := range lines {
		in = resp.AppendCommandStrings(in, strings.Fields(line)...)
	}
	c.S.Feed(in)
}

// Do runs one command and returns its reply as it is on the wire, without the last
// line end; "" if the connection was closed instead. A blocked command is waited
// for.
func (c *Client) Do(line string) string {
	c.Send(line)
	for c.S.Parked() {
		select {
		case <-c.conn.kicked:
			c.S.Feed(nil)
		case <-time.After(time.Millisecond):
			c.S.TimedOut()
		}
	}
	c.S.Feed(nil)
	return strings.TrimSuffix(string(c.Take()), "\r\n")
}

// Reply is Do for a reply that is to be read.
func (c *Client) Reply(line string) resp.Reply {
	v, err := resp.NewReader(strings.NewReader(c.Do(line) + "\r\n")).Next()
	if err != nil {
		panic(fmt.Sprint(line, ": ", err))
	}
	return v
}
