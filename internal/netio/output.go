package netio

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The queue of pushes is made of chunks: a small one for the usual case, a
// message or two to a client that keeps up, then larger ones. A push larger than
// those is a chunk by itself, outside the pools.
const (
	smallChunk = 1 << 10
	largeChunk = 16 << 10
)

// batchChunks is the most chunks handed to the kernel at once.
const batchChunks = 64

// chunk is a piece of the queue.
type chunk struct {
	buf  []byte
	next *chunk
}

// chunkPools recycle chunks among the connections of a server.
type chunkPools struct{ small, large sync.Pool }

func (p *chunkPools) init() {
	p.small.New = func() any { return &chunk{buf: make([]byte, 0, smallChunk)} }
	p.large.New = func() any { return &chunk{buf: make([]byte, 0, largeChunk)} }
}

// get returns an empty chunk, for n bytes at least if they fit in any.
func (p *chunkPools) get(n int, first bool) *chunk {
	switch {
	case n > largeChunk:
		return &chunk{buf: make([]byte, 0, n)}
	case first && n <= smallChunk:
		return p.small.Get().(*chunk)
	}
	return p.large.Get().(*chunk)
}

// put takes back a chunk and returns the one behind it.
func (p *chunkPools) put(k *chunk) (next *chunk) {
	next = k.next
	k.buf, k.next = k.buf[:0], nil
	switch cap(k.buf) {
	case smallChunk:
		p.small.Put(k)
	case largeChunk:
		p.large.Put(k)
	}
	return next
}

// output is what a connection owes its client.
type output struct {
	wr sync.Mutex // held while writing to the socket

	// fd is the socket while serveRaw holds on to it, else -1. Under wr; own is
	// the copy of the connection's goroutine.
	fd, own int

	mu       sync.Mutex // guards the queue
	first    *chunk     // oldest; nil when nothing is queued
	last     *chunk
	flushing bool // a goroutine runs flush
	refused  bool // over the limit, or ended: nothing is queued any more
	flusher  sync.WaitGroup

	queued  atomic.Bool  // first != nil, for a look without mu
	pending atomic.Int64 // bytes queued or being written

	softSince atomic.Int64 // Unix ns since when pending is over the soft limit; 0: it is not
}

var errOutputLimit = errors.New("netio: output limit reached")

// Write sends b after everything pushed before, and blocks while the client does
// not read. Replies are written by the connection's goroutine; another may write
// what the client waits for besides, such as a snapshot to a replica. b is
// borrowed. After an error the connection is closed.
func (c *Conn) Write(b []byte) error {
	o := &c.out
	if !c.allow(o.pending.Add(int64(len(b)))) {
		return errOutputLimit
	}
	o.wr.Lock()
	defer o.wr.Unlock()
	if c.closed.Load() { // the socket may take it yet: see Close
		o.pending.Add(-int64(len(b)))
		return net.ErrClosed
	}
	if o.queued.Load() {
		if err := c.sendQueue(); err != nil {
			return err
		}
	}
	return c.send(b)
}

// Push queues a copy of b and sees that it is sent soon. It never blocks; when
// the connection would owe more than its limit it is closed instead.
func (c *Conn) Push(b []byte) {
	if len(b) == 0 || c.closed.Load() {
		return
	}
	o := &c.out
	if !c.allow(o.pending.Add(int64(len(b)))) {
		return
	}
	o.mu.Lock()
	if o.refused {
		o.mu.Unlock()
		return
	}
	for len(b) > 0 {
		k := o.last
		if k == nil || len(k.buf) == cap(k.buf) {
			k = c.s.chunks.get(len(b), o.first == nil)
			if o.first == nil {
				o.first = k
			} else {
				o.last.next = k
			}
			o.last = k
		}
		n := min(len(b), cap(k.buf)-len(k.buf))
		k.buf = append(k.buf, b[:n]...)
		b = b[n:]
	}
	o.queued.Store(true)
	if !o.flushing {
		o.flushing = true
		o.flusher.Go(c.flush)
	}
	o.mu.Unlock()
}

// flush sends the queue until it is empty. At most one runs per connection.
func (c *Conn) flush() {
	o := &c.out
	for {
		o.wr.Lock()
		err := c.sendQueue()
		o.wr.Unlock()
		o.mu.Lock()
		if err != nil {
			o.drop()
		}
		if o.first == nil {
			o.flushing = false
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
	}
}

// drop empties the queue and keeps it empty; mu is held.
func (o *output) drop() {
	o.refused = true
	o.first, o.last = nil, nil
	o.queued.Store(false)
}

// end waits for flush to be over; the socket is closed.
func (o *output) end() {
	o.mu.Lock()
	o.drop()
	o.mu.Unlock()
	o.flusher.Wait()
}

// drain sends what is queued, at the end of the connection.
func (c *Conn) drain() {
	c.out.wr.Lock()
	defer c.out.wr.Unlock()
	c.sendQueue()
}

// sendQueue writes everything queued; wr is held.
func (c *Conn) sendQueue() error {
	o := &c.out
	var space [batchChunks][]byte
	for {
		o.mu.Lock()
		from := o.first
		list := net.Buffers(space[:0])
		size := 0
		k := from
		for ; k != nil && len(list) < batchChunks; k = k.next {
			list = append(list, k.buf)
			size += len(k.buf)
		}
		o.first = k
		if k == nil {
			o.last = nil
			o.queued.Store(false)
		}
		o.mu.Unlock()
		if size == 0 {
			return nil
		}
		var err error
		if len(list) == 1 {
			err = c.send(list[0])
		} else {
			err = c.sendv(list, size)
		}
		for from != k {
			from = c.s.chunks.put(from)
		}
		if err != nil {
			return err
		}
	}
}

// useFD says that writes may go to fd until the next call; -1: no longer.
func (o *output) useFD(fd int) {
	if o.own == fd+1 {
		return
	}
	o.own = fd + 1
	o.wr.Lock()
	o.fd = fd
	o.wr.Unlock()
}

// send writes b, whose bytes pending has counted; wr is held.
func (c *Conn) send(b []byte) error {
	n := 0
	if c.out.fd >= 0 && len(b) > 0 {
		if k, err := c.writeFD(c.out.fd, b); k > 0 && err == nil {
			n = k
		}
	}
	var err error
	if n < len(b) { // the rest must wait, or fails with its reason
		var k int
		k, err = c.nc.Write(b[n:])
		n += k
	}
	c.sent(n, len(b), err)
	return err
}

func (c *Conn) sendv(list net.Buffers, size int) error {
	n, err := list.WriteTo(c.nc)
	c.sent(int(n), size, err)
	return err
}

func (c *Conn) sent(n, counted int, err error) {
	c.out.pending.Add(-int64(counted))
	c.sends.Store(c.sends.Load() + 1)
	c.bytesOut.Store(c.bytesOut.Load() + int64(n))
	if err != nil {
		c.Close() // half a reply may be out: the stream is of no use
	}
}

// OutputPending returns the bytes queued or in a write that has not returned.
func (c *Conn) OutputPending() int { return int(c.out.pending.Load()) }

// allow applies the limits to the bytes owed; over them it closes the
// connection and returns false.
func (c *Conn) allow(pending int64) bool {
	l := &c.s.limits.Load()[c.class.Load()]
	if l.Hard|l.Soft == 0 {
		return true
	}
	if l.Hard > 0 && pending > l.Hard {
		c.cut(pending)
		return false
	}
	if l.Soft > 0 && (pending > l.Soft || c.out.softSince.Load() != 0) {
		return c.allowSoft(pending, time.Now(), l)
	}
	return true
}

func (c *Conn) allowSoft(pending int64, now time.Time, l *Limit) bool {
	since := &c.out.softSince
	if pending <= l.Soft {
		since.Store(0)
		return true
	}
	if since.CompareAndSwap(0, now.UnixNano()) {
		return true
	}
	if now.UnixNano()-since.Load() <= int64(l.SoftTime) {
		return true
	}
	c.cut(pending)
	return false
}

// checkLimit is the sweep's look at a connection that may be stuck.
func (c *Conn) checkLimit(now time.Time) {
	pending := c.out.pending.Load()
	if pending == 0 && c.out.softSince.Load() == 0 {
		return
	}
	if l := &c.s.limits.Load()[c.class.Load()]; l.Soft > 0 {
		c.allowSoft(pending, now, l)
	}
}

// cut closes a connection over its output limit.
func (c *Conn) cut(pending int64) {
	c.out.mu.Lock()
	first := !c.out.refused
	c.out.refused = true
	c.out.mu.Unlock()
	if !first || c.closed.Load() {
		return
	}
	c.s.outputCuts.Add(1)
	c.Close()
	c.s.opt.Log.Warn("closing client that reached its output limit", "client", c.RemoteAddr(), "class", c.Class().String(), "bytes", pending)
}
