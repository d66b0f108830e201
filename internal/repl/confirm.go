package repl

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/engine"
)

// A command that changes no data but must be known to the replicas before it
// takes effect here (CLUSTER SETSLOT) goes into the stream first and waits for
// their acknowledgements. Replicas that can execute it say so by a version in
// the handshake. Source: cluster specification, 11.5.
const (
	slotVersion    = "8.1.1" // what a replica of ours says
	slotVersionMin = 0x0702ff
)

// takesSlots reports whether a server of that version, x.y.z, executes CLUSTER
// SETSLOT from its primary's stream.
func takesSlots(version string) bool {
	n := 0
	parts := strings.Split(version, ".")
	if len(parts) != 3 {
		return false
	}
	for _, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil || v < 0 || v > 255 {
			return false
		}
		n = n<<8 | v
	}
	return n > slotVersionMin
}

// SlotReplicas returns how many of the online replicas execute CLUSTER SETSLOT
// from the stream.
func (r *Repl) SlotReplicas() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if p.state == peerOnline && p.takesSlots {
			n++
		}
	}
	return n
}

// Confirm appends cmd, a complete command that belongs to no database, to the
// stream and parks the session that runs until n replicas have acknowledged it
// or the time is over (0: never). Then done is called, from any goroutine, to
// reply; ok says that they have. late reports whether a snapshot that does not
// tell of the command's effect may have been made for a replica since: what
// carries the effect out must then append the command again (Append).
func (r *Repl) Confirm(s *engine.Session, cmd []byte, n int, timeoutMs int64, done func(ok bool, late func() bool)) {
	cuts := r.cuts.Load()
	w := &wait{s: s, target: r.log.AppendControl(cmd), want: n}
	late := func() bool { return r.cuts.Load() != cuts }
	deadline := int64(0)
	if timeoutMs > 0 {
		deadline = r.e.Now() + timeoutMs
	}
	r.parkUntil(w, deadline, func() { done(r.enough(w), late) })
}

// Append adds a command that belongs to no database to the stream; not that of a
// primary which has been replaced, whose history ends where the new one's begins.
func (r *Repl) Append(cmd []byte) {
	if !r.e.View().Replica {
		r.log.AppendControl(cmd)
	}
}

// Await returns once need replicas have acknowledged the stream up to off, which
// it asks them for, or when the time is over or ctx done: then it returns false. need is
// asked again meanwhile. Not under slot locks.
func (r *Repl) Await(ctx context.Context, off int64, limit time.Duration, need func() int) bool {
	w := &wait{await: make(chan struct{}, 1), target: off, want: need()}
	if r.enough(w) {
		return true
	}
	r.mu.Lock()
	r.waits[w] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.waits, w)
		r.mu.Unlock()
	}()
	r.askAcks(off)
	end := time.NewTimer(limit)
	defer end.Stop()
	again := time.NewTicker(tickEvery)
	defer again.Stop()
	for {
		if r.count(w) >= need() {
			return true
		}
		select {
		case <-w.await:
		case <-again.C:
		case <-end.C:
			return false
		case <-ctx.Done():
			return false
		case <-r.ctx.Done():
			return false
		}
	}
}

// Online returns how many replicas get the stream.
func (r *Repl) Online() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if p.state == peerOnline && p.psync {
			n++
		}
	}
	return n
}
