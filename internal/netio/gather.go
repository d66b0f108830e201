package netio

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/skeindb/skein/internal/uring"
)

// maxGather is the most transfers in one system call. The gain of a second is large,
// that of a twentieth is not, and meanwhile the goroutine keeps its processor: a
// round trip over loopback takes the kernel 2 to 4 us of work.
const maxGather = 32

// maxGatherBytes is the largest transfer that is gathered. What a system call costs
// besides does not matter for a larger one, and it would hold up the others.
const maxGatherBytes = 64 << 10

// maxAlone bounds how many transfers go alone before another is tried in company.
const maxAlone = 31

// gatherer carries out the reads and writes of many connections with few system
// calls. Those of the goroutines that are runnable at one time are gathered: the
// first opens a batch and steps behind all others that are runnable on its
// processor; they run, come to their own transfer, join and sleep; then the first has
// its turn again and does what has gathered with one call. Nobody waits for
// something that is not runnable already, so where a connection is alone nothing is
// delayed; and a transfer never waits for its socket.
//
// A full batch is carried out at once by who filled it. While nobody joins, most
// transfers go by themselves, without the step. It is cheap on the only processor, where
// that has to be so for long; elsewhere it wakes another one if that is idle.
type gatherer struct {
	mu     sync.Mutex // guards what follows; nothing is acquired under it
	open   *batch     // nil: the next transfer opens one, or goes alone
	opened uint64     // batches so far
	misses int        // batches of one since the last of more
	alone  int        // transfers to pass by
	spare  *batch     // empty, to be used again
	free   *transfer

	run  sync.Mutex // held while the ring is in use
	ring *uring.Ring
	dead atomic.Bool // the ring has failed, or is closed

	patience int  // misses before transfers go alone
	always   bool // tests: the ring runs batches of one too

	calls, moved atomic.Int64 // system calls for several, transfers by them
}

// transfer is one read or write.
type transfer struct {
	uring.Op
	done chan struct{} // a token when another goroutine has run the Op
	next *transfer
}

// batch is what is carried out together.
type batch struct {
	n    int
	of   [maxGather]*transfer
	ops  [maxGather]*uring.Op
	next *batch
}

// newGatherer fails where there is no io_uring.
func newGatherer(o *Options, processors int) (*gatherer, error) {
	open := uring.New
	if o.newRing != nil {
		open = o.newRing
	}
	r, err := open(maxGather)
	if err != nil {
		return nil, err
	}
	g := &gatherer{ring: r, always: o.alwaysRing}
	if processors == 1 {
		g.patience = 32
	}
	return g, nil
}

// close gives the ring up; no transfer is under way or follows.
func (g *gatherer) close() {
	g.run.Lock()
	defer g.run.Unlock()
	if !g.dead.Swap(true) {
		g.ring.Close()
	}
}

// count adds what the gatherer has done.
func (g *gatherer) count(t *Stats) {
	if !g.dead.Load() {
		t.Rings++
	}
	t.RingCalls += g.calls.Load()
	t.RingMoves += g.moved.Load()
}

// do is moveFD in company.
func (g *gatherer) do(fd int, p []byte, send bool) (int, error) {
	if len(p) > maxGatherBytes || len(p) == 0 {
		return moveFD(fd, p, send)
	}
	g.mu.Lock()
	if g.open == nil && g.alone > 0 {
		g.alone--
		g.mu.Unlock()
		return moveFD(fd, p, send)
	}
	t := g.take()
	t.FD, t.Buf, t.Send = fd, p, send
	b := g.open
	mine := b == nil
	if mine {
		b = g.openBatch()
		turn := g.opened
		b.add(t)
		g.mu.Unlock()
		runtime.Gosched()
		g.mu.Lock()
		if mine = g.opened == turn && g.open == b; mine && b.n == 1 && !g.always {
			g.missed()
			g.end(b)
			g.put(t)
			g.mu.Unlock()
			return moveFD(fd, p, send)
		} // if not mine, it became full
	} else {
		b.add(t)
		mine = b.n == maxGather
	}
	if mine {
		g.open = nil
		g.misses, g.alone = 0, 0
	}
	g.mu.Unlock()
	if mine {
		g.carry(b, t)
	} else {
		<-t.done
	}
	n, errno := t.N, t.Err
	g.mu.Lock()
	if mine {
		g.end(b)
	}
	g.put(t)
	g.mu.Unlock()
	if errno != 0 {
		return -1, errno
	}
	return n, nil
}

// missed notes that nobody has joined; mu is held.
func (g *gatherer) missed() {
	if g.misses++; g.misses > g.patience {
		g.alone = min(1<<min(g.misses-g.patience, 8)-1, maxAlone)
	}
}

// take returns a transfer; mu is held.
func (g *gatherer) take() *transfer {
	t := g.free
	if t == nil {
		return &transfer{done: make(chan struct{}, 1)}
	}
	g.free, t.next = t.next, nil
	return t
}

// put takes a transfer back, which is over; mu is held.
func (g *gatherer) put(t *transfer) {
	t.Buf = nil
	t.next, g.free = g.free, t
}

// openBatch begins a batch; mu is held.
func (g *gatherer) openBatch() *batch {
	b := g.spare
	if b == nil {
		b = new(batch)
	} else {
		g.spare, b.next = b.next, nil
	}
	g.open = b
	g.opened++
	return b
}

func (b *batch) add(t *transfer) {
	b.of[b.n], b.ops[b.n] = t, &t.Op
	b.n++
}

// end empties a batch to be used again; mu is held.
func (g *gatherer) end(b *batch) {
	if g.open == b {
		g.open = nil
	}
	clear(b.of[:b.n])
	clear(b.ops[:b.n])
	b.n = 0
	b.next, g.spare = g.spare, b
}

// carry runs a batch that is no longer open, and wakes those who wait for it, all
// but the caller, whose transfer is own.
func (g *gatherer) carry(b *batch, own *transfer) {
	n := 0
	if !g.dead.Load() {
		n = g.together(b.ops[:b.n])
	}
	for _, o := range b.ops[n:b.n] {
		var err error
		o.N, err = moveFD(o.FD, o.Buf, o.Send)
		o.Err, _ = err.(syscall.Errno)
	}
	for _, t := range b.of[:b.n] {
		if t != own {
			t.done <- struct{}{}
		}
	}
}

// together returns how many of ops the ring has run.
func (g *gatherer) together(ops []*uring.Op) int {
	g.run.Lock()
	defer g.run.Unlock()
	if g.dead.Load() {
		return 0
	}
	n, err := g.ring.Do(ops)
	g.calls.Add(1)
	g.moved.Add(int64(n))
	if err != nil { // as good as never: it has worked before
		g.dead.Store(true)
		g.ring.Close()
	}
	return n
}

// moveFD is one transfer by itself.
func moveFD(fd int, p []byte, send bool) (int, error) {
	if send {
		return writeFD(fd, p)
	}
	return readFD(fd, p)
}
