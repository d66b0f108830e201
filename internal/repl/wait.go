package repl

import (
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
)

const (
	errWaitReplica    = "ERR WAIT cannot be used with replica instances. Please also note that if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated."
	errWaitAOFReplica = "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated."
	errWaitAOFLocal   = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
	errTimeoutInt     = "ERR timeout is not an integer or out of range"
)

// wait is a client in WAIT or WAITAOF. It is woken when enough replicas have
// acknowledged; what it then answers is counted at that moment.
type wait struct {
	s      *engine.Session
	await  chan struct{} // Await: no session waits, but who listens here; bound 1
	target int64         // offset after the client's last write
	local  int           // WAITAOF: own disk too
	want   int           // replicas
	disk   bool          // what replicas have on disk, not in memory
}

// wait is WAIT numreplicas timeout.
func (r *Repl) wait(c *command.Ctx) {
	if r.IsReplica() {
		c.Error(errWaitReplica)
		return
	}
	s := engine.SessionOf(c)
	n, ok := command.ParseInt(c.Arg(1))
	if !ok {
		c.Error(command.ErrNotInteger)
		return
	}
	timeout, ok := waitTimeout(c, c.Arg(2))
	if !ok {
		return
	}
	w := &wait{s: s, target: s.LogOffset, want: int(n)}
	if got := r.count(w); got >= w.want || !c.MayBlock {
		c.Int(int64(got))
		return
	}
	r.park(c, w, timeout, func() { c.Int(int64(r.count(w))) })
}

// waitaof is WAITAOF numlocal numreplicas timeout.
func (r *Repl) waitaof(c *command.Ctx) {
	s := engine.SessionOf(c)
	local, ok := command.ParseInt(c.Arg(1))
	if !ok || local < 0 || local > 1 {
		c.Error(command.ErrOutOfRange + ", value must between 0 and 1")
		return
	}
	n, ok := command.ParseInt(c.Arg(2))
	if !ok || n < 0 {
		c.Error(command.ErrMustPositive)
		return
	}
	timeout, ok := waitTimeout(c, c.Arg(3))
	if !ok {
		return
	}
	if r.IsReplica() {
		c.Error(errWaitAOFReplica)
		return
	}
	if _, on := r.durable(); local > 0 && !on {
		c.Error(errWaitAOFLocal)
		return
	}
	w := &wait{s: s, target: s.LogOffset, local: int(local), want: int(n), disk: true}
	reply := func() {
		c.Array(2)
		c.Int(int64(r.localCount(w)))
		c.Int(int64(r.count(w)))
	}
	if r.enough(w) || !c.MayBlock {
		reply()
		return
	}
	r.park(c, w, timeout, reply)
}

func waitTimeout(c *command.Ctx, arg []byte) (ms int64, ok bool) {
	ms, ok = command.ParseInt(arg)
	switch {
	case !ok:
		c.Error(errTimeoutInt)
		return 0, false
	case ms < 0:
		c.Error(command.ErrTimeoutNeg)
		return 0, false
	case ms > 0 && ms > (1<<63-1)-c.Now:
		c.Error(command.ErrTimeout[:len("ERR timeout is ")] + "out of range")
		return 0, false
	}
	return ms, true
}

// park blocks the client until enough replicas have answered, or the timeout.
func (r *Repl) park(c *command.Ctx, w *wait, timeoutMs int64, reply func()) {
	deadline := int64(0)
	if timeoutMs > 0 {
		deadline = c.Now + timeoutMs
	}
	r.parkUntil(w, deadline, reply)
}

func (r *Repl) parkUntil(w *wait, deadlineMs int64, reply func()) {
	w.s.ParkUntil(deadlineMs, func(bool) {
		r.mu.Lock()
		delete(r.waits, w)
		r.mu.Unlock()
		reply()
	})
	// The session is not answered before this command has returned.
	r.mu.Lock()
	for old := range r.waits {
		if old.s == w.s { // left over from one that was ended from outside
			delete(r.waits, old)
		}
	}
	r.waits[w] = struct{}{}
	r.mu.Unlock()
	r.askAcks(w.target)
	if r.enough(w) { // an ACK came in between
		w.s.Wake()
	}
}

// askAcks puts a GETACK into the stream unless one behind target is there.
func (r *Repl) askAcks(target int64) {
	if paused, _ := r.e.Paused(); paused && r.o.Cluster {
		return // the offset must stand still (cluster specification, 8.7); ACKs come each second
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.getackEnd > target && r.getackEnd <= r.log.Offset() {
		return
	}
	r.getackEnd = r.log.AppendControl(getackCommand)
}

func (r *Repl) enough(w *wait) bool { return r.count(w) >= w.want && r.localCount(w) >= w.local }

// count returns how many replicas have what w waits for.
func (r *Repl) count(w *wait) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.countLocked(w)
}

func (r *Repl) countLocked(w *wait) (n int) {
	for _, p := range r.peers {
		if p.state != peerOnline {
			continue
		}
		at := p.ackOff.Load()
		if w.disk {
			at = p.fackOff.Load()
		}
		if at >= w.target {
			n++
		}
	}
	return n
}

func (r *Repl) durable() (int64, bool) {
	if r.o.Durable == nil {
		return 0, false
	}
	return r.o.Durable()
}

// localCount is 1 if the own disk has what w waits for.
func (r *Repl) localCount(w *wait) int {
	if off, on := r.durable(); on && off >= w.target {
		return 1
	}
	return 0
}

// checkWaits wakes the clients that have waited long enough. The AOF calls it
// after an fsync; any goroutine, no locks.
func (r *Repl) checkWaits() {
	r.mu.Lock()
	var wake []*wait
	for w := range r.waits {
		if r.countLocked(w) >= w.want {
			wake = append(wake, w)
		}
	}
	r.mu.Unlock()
	for _, w := range wake {
		switch {
		case r.localCount(w) < w.local:
		case w.await != nil:
			select {
			case w.await <- struct{}{}:
			default:
			}
		default:
			w.s.Wake()
		}
	}
}

// Synced tells that the append-only file has reached the disk.
func (r *Repl) Synced() { r.checkWaits() }

// tickWaits forgets clients that left while they waited, and looks again for
// those that wait for the disk.
func (r *Repl) tickWaits() {
	r.mu.Lock()
	n := len(r.waits)
	for w := range r.waits {
		if w.s != nil && !w.s.Parked() {
			delete(r.waits, w)
		}
	}
	r.mu.Unlock()
	if n > 0 {
		r.checkWaits()
	}
}
