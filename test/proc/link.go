package proc

import (
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Link is a line between two nodes with a limited rate: what connects to Port
// talks to the target, and receives from it at most so many bytes a second. What
// waits in it is a few hundred KB, so the sender feels the limit.
type Link struct {
	Port int

	target string
	ln     net.Listener
	wg     sync.WaitGroup

	mu    sync.Mutex
	rate  int64 // bytes a second; 0: no limit
	until time.Time
	conns map[net.Conn]struct{}
	ended bool
}

// linkPiece is what a link forwards at once; a link that was late, since the
// machine is busy, makes up for so much time.
const (
	linkPiece   = 16 << 10
	linkCatchUp = 100 * time.Millisecond
)

// NewLink opens a link to a node; it ends with the test.
func NewLink(t testing.TB, to *Node, rate int64) *Link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{Port: ln.Addr().(*net.TCPAddr).Port, target: to.Addr(), ln: ln, rate: rate, conns: map[net.Conn]struct{}{}}
	l.wg.Go(l.serve)
	t.Cleanup(func() {
		l.mu.Lock()
		l.ended = true
		l.mu.Unlock()
		ln.Close()
		l.Cut()
		l.wg.Wait()
	})
	return l
}

// SetRate changes the limit, for open connections too.
func (l *Link) SetRate(rate int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.until = rate, time.Time{}
}

// Cut closes all connections; new ones are taken.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Close()
	}
}

// Args are the arguments of REPLICAOF that lead through the link.
func (l *Link) Args() []any { return []any{"REPLICAOF", "127.0.0.1", strconv.Itoa(l.Port)} }

func (l *Link) serve() {
	for {
		in, err := l.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.DialTimeout("tcp", l.target, time.Second)
		if err != nil {
			in.Close()
			continue
		}
		for _, c := range []net.Conn{in, out} {
			c.(*net.TCPConn).SetReadBuffer(4 * linkPiece)
			c.(*net.TCPConn).SetWriteBuffer(4 * linkPiece)
		}
		if !l.add(in, out) {
			return
		}
		l.wg.Go(func() {
			defer l.drop(in, out)
			io.Copy(out, in)
		})
		l.wg.Go(func() {
			defer l.drop(in, out)
			buf := make([]byte, linkPiece)
			for {
				n, err := out.Read(buf)
				if n > 0 {
					time.Sleep(l.book(n))
					if _, err := in.Write(buf[:n]); err != nil {
						return
					}
				}
				if err != nil {
					return
				}
			}
		})
	}
}

func (l *Link) add(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		if l.ended {
			c.Close()
			continue
		}
		l.conns[c] = struct{}{}
	}
	return !l.ended
}

func (l *Link) drop(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(l.conns, c)
	}
}

// book reserves the line for n bytes and returns how long they are on their way.
func (l *Link) book(n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate <= 0 {
		return 0
	}
	now := time.Now()
	if late := now.Add(-linkCatchUp); l.until.Before(late) {
		l.until = late
	}
	l.until = l.until.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
	return l.until.Sub(now)
}
