package migrate

import (
	"net"
	"sync"
	"time"

	"github.com/skeindb/skein/internal/resp"
)

// conns are connections to targets that are open and not in use. A slot moves
// by many MIGRATEs one after the other, and each would pay for a connection.
type conns struct {
	mu     sync.Mutex
	idle   []*conn // the longest unused first
	closed bool
}

// conn is a connection to a target. Whoever took it owns it.
type conn struct {
	net.Conn
	rd    *resp.Reader
	addr  string // what it was dialled by
	db    int64  // selected database
	timer *time.Timer
}

// unknownDB is the database of a connection on which SELECT is due.
const unknownDB = -1 << 63

// How many connections are kept, and for how long (cluster specification, 11.12).
const (
	maxIdle  = 64
	idleTime = 10 * time.Second
)

// take removes and returns a connection to addr, nil if none is kept.
func (p *conns) take(addr string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		if c := p.idle[i]; c.addr == addr {
			p.removeLocked(i)
			return c
		}
	}
	return nil
}

// put keeps a connection on which nothing is outstanding.
func (p *conns) put(c *conn) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.Close()
		return
	}
	var oldest *conn
	if len(p.idle) == maxIdle {
		oldest = p.idle[0]
		p.removeLocked(0)
	}
	p.idle = append(p.idle, c)
	c.timer = time.AfterFunc(idleTime, func() { p.expire(c) })
	p.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
}

// expire closes c if it is still unused.
func (p *conns) expire(c *conn) {
	p.mu.Lock()
	for i := range p.idle {
		if p.idle[i] == c {
			p.removeLocked(i)
			p.mu.Unlock()
			c.Close()
			return
		}
	}
	p.mu.Unlock()
}

func (p *conns) removeLocked(i int) {
	p.idle[i].timer.Stop()
	p.idle = append(p.idle[:i], p.idle[i+1:]...)
}

func (p *conns) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.timer.Stop()
		c.Close()
	}
}
