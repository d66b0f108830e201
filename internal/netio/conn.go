package netio

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/skeindb/skein/internal/engine"
)

// Sizes of the input buffer. It starts small, since most connections of a
// large pool are idle, grows while reads fill it, and shrinks when all of it
// has been used and it was too big for a while, or the connection is idle.
const (
	firstBuffer = 4 << 10
	keepBuffer  = 16 << 10 // an idle connection keeps no more
	readAhead   = 64 << 10 // a full buffer grows freely to this
	smallReads  = 64       // reads of less than a quarter until a big buffer shrinks
)

// Conn is one client connection. Its methods may be called from any goroutine
// unless they say otherwise.
type Conn struct {
	s       *Server
	raw     net.Conn // the socket
	nc      net.Conn // raw, or TLS over it
	tlsConf *tls.Config
	path    string    // of a unix socket, else ""
	g       *gatherer // nil: no ring
	created time.Time

	// The connection's goroutine only.
	in    []byte // in[r:w] is received and not used
	r, w  int
	small int // successive reads that a quarter of the buffer could have held
	wake  time.Time

	// The read deadline, which Kick and the goroutine both set.
	dl struct {
		sync.Mutex
		kicked bool
	}

	out output

	parked         atomic.Bool
	class          atomic.Uint32
	inUsed, inCap  atomic.Int64
	reads, bytesIn atomic.Int64 // written by one goroutine
	sends          atomic.Int64 // written under out.wr
	bytesOut       atomic.Int64 // written under out.wr
	closed         atomic.Bool

	// The sweep only.
	sweepReads int64
	sweepKick  int64 // reads at the last kick
	sweepAt    time.Time
}

var _ engine.Conn = (*Conn)(nil)

func newConn(s *Server, raw net.Conn, conf *tls.Config) *Conn {
	c := &Conn{s: s, raw: raw, nc: raw, tlsConf: conf, created: time.Now()}
	c.out.fd = -1
	if n := len(s.gatherers); n > 0 {
		c.g = s.gatherers[int(s.next.Add(1)%uint64(n))]
	}
	if u, ok := raw.LocalAddr().(*net.UnixAddr); ok {
		c.path = u.Name
	}
	return c
}

// serve is the connection's life.
func (c *Conn) serve() {
	defer c.s.forget(c)
	defer c.out.end()
	defer c.Close()
	if c.tlsConf != nil && !c.handshake() {
		return
	}
	h := c.s.opt.Open(c)
	var last time.Duration
	defer func() { c.linger(last) }()
	defer h.Close()
	need, _ := h.(needer)
	if rc := rawConn(c.nc); rc != nil {
		if !c.serveRaw(h, need, rc) {
			return
		}
	} else {
		for !h.Closing() {
			n, err := c.fill(need)
			if err != nil || !c.turn(h, n) {
				return
			}
		}
	}
	c.drain()
	if l, ok := h.(lingerer); ok {
		last = l.Linger()
	}
	switch {
	case c.nc == c.raw:
	case last > 0:
		c.nc.(*tls.Conn).CloseWrite()
	default:
		c.nc.Close() // says goodbye
	}
}

// linger lets the peer read what was sent last, until it closes or the time is
// over. Where a socket is closed with input unread the system resets the
// connection, and what is still under way to the peer may be lost; a peer that
// sends finds its write fail before it reads.
func (c *Conn) linger(limit time.Duration) {
	half, ok := c.raw.(interface{ CloseWrite() error })
	if limit <= 0 || !ok || half.CloseWrite() != nil {
		return
	}
	end := time.Now().Add(limit)
	var waste [4 << 10]byte
	for {
		c.raw.SetReadDeadline(end)
		_, err := c.raw.Read(waste[:])
		kicked := errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(end)
		if err != nil && !kicked {
			return
		}
	}
}

// turn is one round of a connection: n new bytes have come, or the read was
// kicked or its wake time has passed.
func (c *Conn) turn(h Handler, n int) bool {
	if c.parked.Load() && h.Parked() {
		// A deadline may have passed; or the client talks ahead.
		if d := h.Deadline(); !d.IsZero() && !time.Now().Before(d) {
			h.TimedOut()
		}
	}
	return c.step(h, n)
}

// serveRaw reads from the socket itself, to spare a system call per request: a
// read that did not fill its buffer has drained the socket, and the poller, which
// reports edges, will report what comes next. A Read of net would ask the kernel
// once more before it waits. One edge can be missed so: an end of the stream that
// came together with data. The sweep therefore kicks each connection once after
// it went quiet, and a kicked connection reads first.
//
// All reads are within one RawConn.Read as long as nothing interrupts it, since
// each call of that forgets edges. It returns false when the connection is gone.
func (c *Conn) serveRaw(h Handler, need needer, rc syscall.RawConn) bool {
	gone := false
	read := func(fd uintptr) (done bool) {
		c.out.useFD(int(fd))
		for {
			if c.w == len(c.in) {
				c.grow(need)
			}
			n, err := c.readFD(int(fd), c.in[c.w:])
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
				return false
			case err != nil || n <= 0:
				gone = true
				return true
			}
			drained := n < len(c.in)-c.w
			c.took(n)
			if gone = !c.turn(h, n); gone || h.Closing() {
				return true
			}
			if drained {
				return false
			}
		}
	}
	for !gone && !h.Closing() {
		err := rc.Read(read)
		c.out.useFD(-1)
		if err != nil {
			if !c.awake(err) || !c.turn(h, 0) {
				return false
			}
		}
	}
	return !gone
}

// readFD and writeFD move bytes without waiting for the socket, by the ring if there
// is one.

func (c *Conn) readFD(fd int, p []byte) (int, error) {
	if c.g != nil {
		return c.g.do(fd, p, false)
	}
	return readFD(fd, p)
}

func (c *Conn) writeFD(fd int, p []byte) (int, error) {
	if c.g != nil {
		return c.g.do(fd, p, true)
	}
	return writeFD(fd, p)
}

// rawConn returns the system's side of a connection that is a bare socket.
func rawConn(c net.Conn) syscall.RawConn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return rc
}

// took notes that n bytes were read behind w.
func (c *Conn) took(n int) {
	c.w += n
	c.reads.Store(c.reads.Load() + 1)
	c.bytesIn.Store(c.bytesIn.Load() + int64(n))
}

// awake reports whether a read failed because of a Kick or the wake time, and
// if so makes reads possible again.
func (c *Conn) awake(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.dl.Lock()
	c.dl.kicked = false
	c.wake = time.Time{}
	c.raw.SetReadDeadline(c.wake)
	c.dl.Unlock()
	return true
}

func (c *Conn) handshake() bool {
	c.raw.SetDeadline(time.Now().Add(handshakeTime))
	t := tls.Server(c.raw, c.tlsConf)
	if err := t.HandshakeContext(c.s.ctx); err != nil {
		c.s.tlsFails.Add(1)
		c.s.opt.Log.Debug("tls handshake failed", "client", c.RemoteAddr(), "err", err)
		return false
	}
	c.raw.SetDeadline(time.Time{})
	c.nc = t
	return true
}

// step lets the handler run what has come, n bytes of it new, and prepares the
// next read. It returns false when the client has sent more than it may.
func (c *Conn) step(h Handler, n int) bool {
	c.r += h.Feed(c.in[c.r:c.w])
	if parked := h.Parked(); parked || c.parked.Load() {
		c.parked.Store(parked)
		var d time.Time
		if parked {
			d = h.Deadline()
		}
		c.setWake(d)
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
		c.shrink(n)
	}
	used := c.w - c.r
	if int64(used) != c.inUsed.Load() {
		c.inUsed.Store(int64(used))
	}
	return used <= readAhead || c.mayHold(used)
}

// mayHold tells whether a client may have sent that much more than has run.
func (c *Conn) mayHold(used int) bool {
	limit := int64(defaultQueryLimit)
	if c.s.opt.QueryLimit != nil {
		limit = c.s.opt.QueryLimit()
	}
	if int64(used) <= limit {
		return true
	}
	c.s.queryLimitCuts.Add(1)
	c.s.opt.Log.Warn("closing client that reached max query buffer length", "client", c.RemoteAddr(), "bytes", used)
	return false
}

// fill reads once. It returns without bytes and without error after a Kick or
// when the wake time has passed.
func (c *Conn) fill(need needer) (n int, err error) {
	if c.w == len(c.in) {
		c.grow(need)
	}
	n, err = c.nc.Read(c.in[c.w:])
	if n > 0 {
		c.took(n)
		return n, nil
	}
	if c.awake(err) {
		return 0, nil
	}
	return 0, err
}

// grow makes room behind w: by moving what is unused to the front, or by a
// larger buffer.
func (c *Conn) grow(need needer) {
	have := c.w - c.r
	size := len(c.in)
	switch {
	case size == 0:
		size = firstBuffer
	case size < readAhead:
		size *= 4 // the last read filled it, so there may be much more
	case have > size/2:
		// A large argument of known length gets a buffer of that length, but not
		// of more than 8 times what has been sent: the length is only a claim.
		if need != nil && have+need.Need() > size {
			size = min(have+need.Need(), 8*size)
		} else {
			size *= 2
		}
	}
	if size == len(c.in) {
		copy(c.in, c.in[c.r:c.w])
	} else {
		bigger := make([]byte, size)
		copy(bigger, c.in[c.r:c.w])
		c.in = bigger
		c.inCap.Store(int64(size))
	}
	c.r, c.w = 0, have
}

// shrink gives up a buffer that is empty and too big. n is the last read.
func (c *Conn) shrink(n int) {
	size := len(c.in)
	switch {
	case n == size && size < readAhead:
		// The client pipelines more than fits; nothing has to be copied now.
		size *= 4
	case size <= keepBuffer || n >= size/4:
		c.small = 0
		return
	case n == 0: // kicked; by the sweep if it is this big
		size = firstBuffer
	default:
		if c.small++; c.small < smallReads && size <= 4*readAhead {
			return
		}
		size = keepBuffer
	}
	c.small = 0
	c.in = make([]byte, min(size, readAhead))
	c.inCap.Store(int64(len(c.in)))
}

// setWake makes fill return at t even if nothing comes; zero: never.
func (c *Conn) setWake(t time.Time) {
	if t.Equal(c.wake) {
		return
	}
	c.dl.Lock()
	c.wake = t
	if !c.dl.kicked {
		c.raw.SetReadDeadline(t)
	}
	c.dl.Unlock()
}

var longAgo = time.Unix(1, 0)

// Kick makes the connection's goroutine return from a blocked read and call
// Feed, now or, when it is not reading, before it blocks again.
func (c *Conn) Kick() {
	c.dl.Lock()
	c.dl.kicked = true
	c.raw.SetReadDeadline(longAgo)
	c.dl.Unlock()
}

// Close closes the connection at once; what is queued is lost. Its goroutine
// notices by a failing read. It may be called more than once.
func (c *Conn) Close() {
	if c.closed.CompareAndSwap(false, true) {
		// Close of net waits until nobody uses the socket, and serveRaw, which may
		// be the caller, uses it all the time; it fails both sides at once.
		go c.raw.Close()
	}
}

// RemoteAddr is "ip:port" with IPv6 in brackets, or "path:0".
func (c *Conn) RemoteAddr() string {
	if c.path != "" {
		return c.path + ":0"
	}
	return c.raw.RemoteAddr().String()
}

// LocalAddr is RemoteAddr for this end.
func (c *Conn) LocalAddr() string {
	if c.path != "" {
		return c.path + ":0"
	}
	return c.raw.LocalAddr().String()
}

// LocalIP is the address the client reached us by, "" for a unix socket.
func (c *Conn) LocalIP() string {
	if a, ok := c.raw.LocalAddr().(*net.TCPAddr); ok {
		return a.IP.String()
	}
	return ""
}

// Unix and TLS tell what kind of connection it is.
func (c *Conn) Unix() bool { return c.path != "" }
func (c *Conn) TLS() bool  { return c.tlsConf != nil }

// TLSState returns the TLS state once a Handler exists; nil for a plain
// connection.
func (c *Conn) TLSState() *tls.ConnectionState {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	st := t.ConnectionState()
	return &st
}

// FD is the descriptor's number, for display; -1 once closed.
func (c *Conn) FD() int {
	fd := -1
	if sc, ok := c.raw.(syscall.Conn); ok {
		if rc, err := sc.SyscallConn(); err == nil {
			rc.Control(func(n uintptr) { fd = int(n) })
		}
	}
	return fd
}

// QueryBuffer returns the bytes received and not run after the last Feed, and
// the size of the buffer.
func (c *Conn) QueryBuffer() (used, capacity int) { return int(c.inUsed.Load()), int(c.inCap.Load()) }

// SetClass and Class: which output limit applies.
func (c *Conn) SetClass(k engine.Class) { c.class.Store(uint32(k)) }
func (c *Conn) Class() engine.Class     { return engine.Class(c.class.Load()) }

// SetNoDelay says whether small pieces are sent at once, as is usual, or gathered by
// the kernel. It has no effect on a unix socket.
func (c *Conn) SetNoDelay(on bool) {
	if t, ok := c.raw.(*net.TCPConn); ok {
		t.SetNoDelay(on)
	}
}

// Created is when the connection was accepted.
func (c *Conn) Created() time.Time { return c.created }
