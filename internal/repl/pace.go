package repl

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/engine"
)

// Writers work on all cores; a replica that receives a snapshot takes none of
// the stream meanwhile, and then applies it on one. Left alone, writers at full
// speed fill its output limit before it is in step, it is cut off, and the next
// full sync ends in the same way. So writers are slowed instead, while a replica
// comes near its limit and only as long as it goes on taking bytes:
//
//	kept for it:  0 ......... free ......... slowed ......... limit: cut off
//
// The room that is left is divided by the time that the replica will probably
// need, a hundred times a second (rateFor); the result is a rate of stream bytes for all
// writers together, and each batch of a connection waits, before its replies
// leave and without locks, until the stream may be as long as it is (pacer). Two
// bounds: nobody waits longer than paceMost for a batch, and the rate never goes
// below Settings.WriteFloor. A replica that cannot live with that is cut off.

// pacer holds back what was written until the stream may be that long.
type pacer struct {
	on     atomic.Bool
	waits  atomic.Int64 // batches that waited
	waited atomic.Int64 // ns in all

	mu      sync.Mutex
	rate    float64 // bytes a second
	allowed float64 // offset that the stream may have at at
	at      time.Time
}

const (
	paceMost  = time.Second
	paceBurst = 64 << 10 // bytes that the stream may be early
	paceFrom  = 1 << 20  // bytes behind from which on a replica is watched
)

// set makes rate count from now on, when the stream has length off; 0: no limit.
func (p *pacer) set(rate float64, off int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rate <= 0 {
		p.rate = 0
		p.on.Store(false)
		return
	}
	if p.rate <= 0 {
		p.allowed, p.at = float64(off), now
	}
	p.allowed += p.rate * now.Sub(p.at).Seconds()
	// What is owed from before does not add up, either way.
	p.allowed = min(max(p.allowed, float64(off)-rate*paceMost.Seconds()), float64(off)+paceBurst)
	p.rate, p.at = rate, now
	p.on.Store(true)
}

// delay returns how long a writer has to wait whose last effect ends at off.
func (p *pacer) delay(off int64, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate <= 0 {
		return 0
	}
	ahead := float64(off) - p.allowed - p.rate*now.Sub(p.at).Seconds() - paceBurst
	return time.Duration(min(max(ahead/p.rate, 0), paceMost.Seconds()) * float64(time.Second))
}

// limit returns the rate, 0 for none.
func (p *pacer) limit() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(p.rate)
}

// Pace is called at the end of a session's batch that wrote, before its replies
// leave; the session's goroutine, without locks.
func (r *Repl) Pace(s *engine.Session) {
	if !r.pace.on.Load() {
		return
	}
	began := time.Now()
	waited := false
	for now := began; ; now = time.Now() {
		d := min(r.pace.delay(s.LogOffset, now), paceMost-now.Sub(began), tickEvery)
		if d <= 0 || s.Closing() || r.ctx.Err() != nil {
			break
		}
		waited = true
		time.Sleep(d)
	}
	if waited {
		r.pace.waits.Add(1)
		r.pace.waited.Add(int64(time.Since(began)))
	}
}

// flow measures how fast a counter grows.
type flow struct {
	at    time.Time
	last  int64
	rate  float64   // a second, over about the last half second
	moved time.Time // when it last grew
}

func (f *flow) note(n int64, now time.Time) {
	if f.at.IsZero() || n < f.last {
		f.at, f.last, f.moved = now, n, now
		return
	}
	dt := now.Sub(f.at).Seconds()
	if dt <= 0 {
		return
	}
	if n > f.last {
		f.moved = now
	}
	k := min(dt/0.5, 1)
	f.rate += k * (float64(n-f.last)/dt - f.rate)
	f.at, f.last = now, n
}

// A replica is waited for while it moved within paceAlive: one that hangs must
// not take the writers along.
const (
	paceAlive = 3 * time.Second
	leastTime = 2 * time.Second // the shortest time that is foreseen for anything
)

// unpaced is the rate of writers who need not wait.
var unpaced = math.Inf(1)

// syncRate returns the rate for writers while a replica takes nothing of the
// stream, which lags already, for a time foreseen, and has a limit.
func syncRate(lag, limit int64, left time.Duration) float64 {
	if limit <= 0 || lag < limit/8 {
		return unpaced
	}
	return max(0.8*float64(limit)-float64(lag), 0) / max(left, leastTime).Seconds()
}

// drainRate returns the rate for writers while a replica takes drain bytes a
// second. Beyond soft, 0 for none, it has left before it is cut off.
func drainRate(lag, hard, soft int64, left time.Duration, drain float64) float64 {
	rate := unpaced
	timed := soft > 0 && (hard <= 0 || soft < hard)
	if !timed {
		soft = hard / 2
	}
	behind := float64(lag)
	if free := float64(soft) / 4; behind > free && soft > 0 {
		rate = drain * free / (behind - free) // as fast as it takes at half the limit
		if timed && lag > soft {
			rate = max(drain-(behind-2*free)/(max(left, leastTime)/2).Seconds(), 0)
		}
	}
	if hard > 0 && lag > soft {
		rate = min(rate, max(drain+(0.9*float64(hard)-behind)/5, 0))
	}
	return rate
}

// collectRate returns the rate for writers, who now make stream bytes at rate
// stream, when held bytes of a snapshot that they and the walk have encoded wait
// to be sent: in is the rate at which such bytes come, out at which they go.
func collectRate(held int64, stream, in, out float64) float64 {
	const bound = float64(maxCollected)
	if float64(held) < bound/2 || in <= 0 {
		return unpaced
	}
	return stream * out * max(2*(bound-float64(held))/bound, 0) / in
}

// maxCollected is how much of a snapshot may wait to be sent, besides what is in
// the replicas' queues, before writers are slowed: they must write out what the
// walk has not met before they change it.
const maxCollected = 64 << 20

// limits returns what cuts a replica off: bytes, and bytes for a time. 0: nothing.
func (s *Settings) limits() (hard, soft int64) {
	if hard = s.OutputHard; hard > 0 {
		hard = max(hard, s.BacklogSize)
	}
	return hard, s.OutputSoft
}

// tickPace sets the writers' rate for the next tick.
func (r *Repl) tickPace(s *Settings, now time.Time) {
	off := r.log.Offset()
	rate := unpaced
	r.pacing = false
	if s.WriteFloor > 0 && !r.IsReplica() {
		r.mu.Lock()
		r.made.note(off, now)
		for _, p := range r.peers {
			rate = min(rate, p.rateFor(s, now))
			r.pacing = r.pacing || p.reader != nil && (p.state != peerOnline || p.loading || off-p.drain.last > paceFrom)
		}
		if t := r.sending; t != nil {
			rate = min(rate, t.rateFor(r.made.rate, now))
		}
		r.mu.Unlock()
	}
	was := r.pace.limit()
	if math.IsInf(rate, 1) {
		r.pace.set(0, off, now)
		if was > 0 {
			r.slog.Info("Writers are no longer slowed", "waits", r.pace.waits.Load())
		}
		return
	}
	r.pace.set(max(rate, float64(s.WriteFloor)), off, now)
	if was == 0 {
		r.slog.Info("Writers are slowed, so that replicas can keep up", "bytesPerSecond", r.pace.limit())
	}
}

// rateFor returns the rate that a replica can bear; r.mu is held.
func (p *peer) rateFor(s *Settings, now time.Time) float64 {
	if p.reader == nil {
		return unpaced
	}
	pos, lag := p.r.log.where(p.reader)
	hard, soft := s.limits()
	if p.state == peerOnline && !p.loading {
		p.drain.note(pos, now)
		if now.Sub(p.drain.moved) > paceAlive {
			return unpaced
		}
		left := s.OutputSoftTime
		if !p.soft.IsZero() {
			left -= now.Sub(p.soft)
		}
		return drainRate(lag, hard, soft, left, p.drain.rate)
	}
	if soft > 0 && (hard <= 0 || s.OutputSoftTime < leastTime) {
		hard = soft // no time to get below it afterwards
	}
	heard := time.Unix(0, p.sentAt.Load())
	elapsed := now.Sub(p.cutAt)
	var left time.Duration
	if p.loading { // it loads half as long as it received, probably
		heard = time.Unix(0, p.ackAt.Load())
		left = p.onlineAt.Sub(p.cutAt)*3/2 - elapsed
	} else {
		done := p.part()
		send := time.Duration(float64(elapsed) * (1 - done) / max(done, 0.01))
		left = send + (send+elapsed)/2
		if p.chunks == nil && p.state == peerWaitEnd {
			heard = now // its file is being made
		}
	}
	if now.Sub(heard) > paceAlive {
		return unpaced
	}
	return syncRate(lag, hard, left)
}

// part returns how much of the snapshot has been sent to a replica, from 0 to 1;
// r.mu is held.
func (p *peer) part() float64 {
	switch t := p.r.sending; {
	case p.state == peerSendBulk && p.bulk > 0:
		return float64(p.bulkSent.Load()) / float64(p.bulk)
	case p.state == peerWaitEnd && t != nil && t.snap != nil:
		done, total := t.snap.Progress()
		return float64(done) / float64(max(total, 1))
	}
	return 0
}

// rateFor returns the rate that keeps what is encoded and not sent within its
// bound; r.mu is held.
func (t *transfer) rateFor(stream float64, now time.Time) float64 {
	if t.c == nil {
		return unpaced
	}
	got, sent := t.c.Bytes(), t.size.Load()
	t.in.note(got, now)
	t.out.note(sent, now)
	if now.Sub(t.out.moved) > paceAlive {
		return unpaced
	}
	return collectRate(max(got-sent, 0), stream, t.in.rate, t.out.rate)
}
