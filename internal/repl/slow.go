package repl

import (
	"fmt"
	"time"
)

// A replica that is cut off at its output limit connects again and, being too far
// behind, asks for everything: with the same link and the same load it would be cut
// off again, for ever, and each round costs the primary a walk and the limit's
// memory. So who was cut off gets one more full sync at once; when that fails too,
// its requests are refused for a time that doubles with each further failure.
const (
	refuseFirst = time.Minute
	refuseMost  = time.Hour
	slowMost    = 1000 // replicas remembered
)

// slowReplicas remembers who was cut off since it was last in step, by ip and
// port. Guarded by Repl.mu.
type slowReplicas map[string]*slowReplica

type slowReplica struct {
	cuts  int
	until time.Time // full syncs are refused; zero: they are not
	told  bool      // the refusal is in the log
}

// cut notes that name was cut off and returns how long it is refused.
func (m *slowReplicas) cut(name string, now time.Time) time.Duration {
	if *m == nil {
		*m = slowReplicas{}
	}
	for k, x := range *m {
		if len(*m) >= slowMost && now.After(x.until) {
			delete(*m, k)
		}
	}
	x := (*m)[name]
	if x == nil {
		if len(*m) >= slowMost {
			return 0
		}
		x = &slowReplica{}
		(*m)[name] = x
	}
	x.cuts++
	if x.cuts < 2 {
		return 0
	}
	d := min(refuseFirst<<min(x.cuts-2, 10), refuseMost)
	x.until, x.told = now.Add(d), false
	return d
}

// left returns for how long name is refused a full sync.
func (m slowReplicas) left(name string, now time.Time) (d time.Duration, first bool) {
	x := m[name]
	if x == nil || !now.Before(x.until) {
		return 0, false
	}
	first, x.told = !x.told, true
	return x.until.Sub(now), first
}

// cutOff says that a replica is ended for a limit on its output; r.mu is held.
func (r *Repl) cutOffLocked(p *peer, lag int64, now time.Time) {
	name := p.nameLocked()
	text := fmt.Sprintf("Client %s scheduled to be closed ASAP for overcoming of output buffer limits. It lags %d bytes behind the stream.", name, lag)
	if refused := r.slow.cut(name, now); refused > 0 {
		text += fmt.Sprintf(" It was cut off before without having been in step: its full syncs are refused for %d seconds.", int(refused.Seconds()))
	}
	r.slog.Warn(text)
}

// refusedFull reports whether a replica has to wait for a full sync, and the text
// that tells it so.
func (r *Repl) refusedFull(p *peer) (text string, refused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := p.nameLocked()
	left, first := r.slow.left(name, time.Now())
	if left <= 0 {
		return "", false
	}
	if first {
		r.slog.Warn(fmt.Sprintf("Replica %s could not keep up with the stream twice: its full sync is refused for %d seconds. "+
			"Give it a faster link, raise client-output-buffer-limit replica, or write less.", name, int(left.Seconds())))
	}
	// Servers of every version try again after NOMASTERLINK.
	return fmt.Sprintf("NOMASTERLINK this replica could not keep up with the stream twice, the next full sync is in %d seconds", int(left.Seconds())+1), true
}

// ForgetSlow lets every replica try again, as after a change of the limits.
func (r *Repl) ForgetSlow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slow = nil
}
