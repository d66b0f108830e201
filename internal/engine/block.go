package engine

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/skeindb/skein/internal/command"
)

// A blocked command is parked: its arguments are copied, its session joins the
// waiting lists of its keys, and the connection's goroutine goes back to
// reading (to notice a client that leaves). A command that changes one of the
// keys marks it ready, and once its own locks are released its goroutine runs
// the parked commands again, in the order in which they came, on behalf of
// their sessions.
//
// The state of a session says who owns its Ctx:
//
//	idle     its own goroutine
//	arming   its own goroutine, parked already but still finishing its batch
//	parked   nobody; whoever moves it on owns it
//	serving  the goroutine that runs the command again
//
// A waker that meets an arming session leaves missed set, and the session looks
// at it once it is parked.
const (
	blockIdle = iota
	blockArming
	blockParked
	blockServing
)

type blockState struct {
	parked     atomic.Bool // state is not idle
	state      atomic.Int32
	missed     atomic.Bool
	deadlineMs int64
	nullArray  bool
	planned    planned
	keys       []dbKey
	sinceMs    int64
	custom     func(timedOut bool) // WAIT and the like: no keys; gives the reply
}

// park is called under the slot locks of the blocking command.
func (s *Session) park(b *command.Block) {
	bs, c := &s.blocked, &s.ctx
	if bs.state.Load() == blockServing {
		return // run again and still nothing
	}
	argv := copyArgs(c.Argv)
	bs.planned = planned{spec: c.Spec, argv: argv}
	bs.deadlineMs, bs.nullArray, bs.sinceMs = b.DeadlineMs, b.NullArray, c.Now
	bs.keys = bs.keys[:0]
	for _, a := range b.Args {
		id := dbKey{s.dbIndex, string(argv[a])}
		if !slices.Contains(bs.keys, id) {
			bs.keys = append(bs.keys, id)
		}
	}
	s.startPark()
	s.e.waiters.add(s)
}

func (s *Session) startPark() {
	// Earlier replies go first: the reply to this command will be pushed.
	if len(s.out.Buf) > 0 {
		s.conn.Push(s.out.Buf)
		s.out.Buf = s.out.Buf[:0]
	}
	s.blocked.missed.Store(false)
	s.blocked.state.Store(blockArming)
	s.blocked.parked.Store(true)
	s.e.Stats.blocked.Add(1)
}

// ParkUntil parks the session without keys, for commands such as WAIT: until
// the deadline passes (0: never), or Wake is called. reply then writes the
// answer, from whichever goroutine it is.
func (s *Session) ParkUntil(deadlineMs int64, reply func(timedOut bool)) {
	s.blocked.custom = reply
	s.blocked.deadlineMs = deadlineMs
	s.blocked.keys = s.blocked.keys[:0]
	s.blocked.planned = planned{spec: s.ctx.Spec}
	s.blocked.sinceMs = s.ctx.Now
	s.startPark()
	s.e.waiters.addCustom(s)
}

// Wake ends ParkUntil; any goroutine. It does nothing for a session that is not
// parked so.
func (s *Session) Wake() {
	s.blocked.missed.Store(true)
	if s.blocked.state.CompareAndSwap(blockParked, blockServing) {
		s.finishCustom(false)
	}
}

func (s *Session) finishCustom(timedOut bool) {
	reply := s.blocked.custom
	if reply == nil { // woken by mistake: parked on keys
		s.blocked.state.Store(blockParked)
		return
	}
	reply(timedOut)
	s.unpark()
}

// arm ends the arming state; the batch is over.
func (s *Session) arm() {
	bs := &s.blocked
	if bs.state.Load() != blockArming {
		return
	}
	bs.state.Store(blockParked)
	if bs.missed.Swap(false) {
		if bs.custom != nil {
			s.Wake()
		} else {
			s.e.retry(s)
		}
	}
}

// unpark returns the Ctx to the session's own goroutine, with the reply
// written. The caller is in the serving state.
func (s *Session) unpark() {
	bs := &s.blocked
	s.e.waiters.remove(s)
	bs.custom = nil
	bs.planned = planned{}
	s.e.Stats.blocked.Add(-1)
	if len(s.out.Buf) > 0 {
		if s.flags&(flagReplyOff|flagReplySkip) == 0 {
			s.conn.Push(s.out.Buf)
		}
		s.out.Buf = s.out.Buf[:0]
	}
	bs.parked.Store(false)
	bs.state.Store(blockIdle)
	s.conn.Kick()
}

// own moves a parked session to serving and reports whether it was parked; it
// waits for another goroutine that is just serving it.
func (s *Session) own() bool {
	for {
		switch s.blocked.state.Load() {
		case blockIdle:
			return false
		case blockParked:
			if s.blocked.state.CompareAndSwap(blockParked, blockServing) {
				return true
			}
		default:
			runtime.Gosched()
		}
	}
}

// TimedOut ends a blocked command whose deadline has passed, with null.
func (s *Session) TimedOut() {
	if s.blocked.deadlineMs == 0 || s.e.Now() < s.blocked.deadlineMs || !s.own() {
		return
	}
	s.answerNull()
}

func (s *Session) answerNull() {
	switch {
	case s.blocked.custom != nil:
		s.finishCustom(true)
		return
	case s.blocked.nullArray:
		s.out.NullArray()
	default:
		s.out.Null()
	}
	s.unpark()
}

// Unblock ends a blocked command from another goroutine: like a timeout, or
// with an error reply; then, if closing is set, the connection is closed. It
// reports whether the session was blocked.
func (s *Session) Unblock(errText string, closing bool) bool {
	if s.blocked.state.Load() == blockIdle || !s.own() {
		return false
	}
	if errText == "" {
		s.answerNull()
		return true
	}
	s.out.Error(errText)
	if closing {
		s.kill.Store(true)
	}
	s.unpark()
	return true
}

// unblock drops the blocked command of a connection that is gone.
func (s *Session) unblock() {
	if s.own() {
		s.e.waiters.remove(s)
		s.e.Stats.blocked.Add(-1)
		s.blocked.custom = nil
		s.blocked.parked.Store(false)
		s.blocked.state.Store(blockIdle)
	}
}

// waiters knows which sessions wait for which keys, in order. Its lock is a
// leaf.
type waiters struct {
	mu       sync.Mutex
	keys     map[dbKey][]*Session
	custom   map[*Session]struct{}
	queue    []dbKey // keys that became ready
	ready    atomic.Int32
	interest *atomic.Uint32
}

func (w *waiters) init(interest *atomic.Uint32) {
	w.keys = map[dbKey][]*Session{}
	w.custom = map[*Session]struct{}{}
	w.interest = interest
}

func (w *waiters) add(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range s.blocked.keys {
		w.keys[k] = append(w.keys[k], s)
	}
	w.interest.Or(interestBlock)
}

func (w *waiters) addCustom(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.custom[s] = struct{}{}
}

func (w *waiters) remove(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.custom, s)
	for _, k := range s.blocked.keys {
		if i := slices.Index(w.keys[k], s); i >= 0 {
			if len(w.keys[k]) == 1 {
				delete(w.keys, k)
			} else {
				w.keys[k] = slices.Delete(slices.Clone(w.keys[k]), i, i+1)
			}
		}
	}
	if len(w.keys) == 0 {
		w.interest.And(^uint32(interestBlock))
	}
}

// signal marks a key ready if someone waits for it; under its slot's lock.
func (w *waiters) signal(db int, key []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.keys[dbKey{db, string(key)}]) > 0 {
		w.queue = append(w.queue, dbKey{db, string(key)})
		w.ready.Store(1)
	}
}

// signalDB marks all waited-for keys of a database ready (SWAPDB).
func (w *waiters) signalDB(db int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.keys {
		if k.db == db {
			w.queue = append(w.queue, k)
			w.ready.Store(1)
		}
	}
}

func (w *waiters) next() (k dbKey, waiting []*Session, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.ready.Store(0)
		return k, nil, false
	}
	k = w.queue[0]
	w.queue = w.queue[1:]
	return k, slices.Clone(w.keys[k]), true
}

// all returns every blocked session.
func (w *waiters) all() []*Session {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[*Session]struct{}{}
	var out []*Session
	for _, ss := range w.keys {
		for _, s := range ss {
			if _, dup := seen[s]; !dup {
				seen[s] = struct{}{}
				out = append(out, s)
			}
		}
	}
	for s := range w.custom {
		out = append(out, s)
	}
	return out
}

// serveReady runs the parked commands of ready keys again. No locks are held.
func (e *Engine) serveReady() {
	for {
		k, waiting, ok := e.waiters.next()
		if !ok {
			return
		}
		key := []byte(k.key)
		id := command.MakeKey(0, key)
		for i, s := range waiting {
			if i > 0 { // does anything of the key remain?
				e.Store.Lock(id.Slot)
				left := e.exists(k.db, id, key)
				e.Store.Unlock(id.Slot)
				if !left {
					break
				}
			}
			s.blocked.missed.Store(true)
			if s.blocked.state.CompareAndSwap(blockParked, blockServing) {
				s.blocked.missed.Store(false)
				e.serve(s)
			}
		}
	}
}

// retry serves a session that may have missed its wake-up.
func (e *Engine) retry(s *Session) {
	if s.blocked.state.CompareAndSwap(blockParked, blockServing) {
		e.serve(s)
	}
	if e.waiters.ready.Load() != 0 {
		e.serveReady()
	}
}

// serve runs the command of a session in the serving state again. If it can
// answer now the session is unparked, otherwise it stays.
func (e *Engine) serve(s *Session) {
	c, p := &s.ctx, &s.blocked.planned
	if s.blocked.custom != nil {
		s.blocked.state.Store(blockParked)
		return
	}
	c.Reset(p.spec, p.argv)
	c.Retry = true
	c.Now = e.Now()
	c.DB = e.Store.DB(s.dbIndex)
	c.MayBlock = true
	c.PlanKeys()
	for {
		s.execute(p.spec)
		if c.Blocked == nil {
			s.foldTally()
			s.unpark()
			return
		}
		s.blocked.state.Store(blockParked)
		// A wake-up while serving left missed set: look again.
		if !s.blocked.missed.Swap(false) || !s.blocked.state.CompareAndSwap(blockParked, blockServing) {
			return
		}
		c.Reset(p.spec, p.argv)
		c.Retry = true
		c.PlanKeys()
	}
}

// RecheckBlocked ends blocked commands that can no longer be answered here,
// because of the cluster's state or of the role. roleLost ends them all. No
// locks are held. Source: cluster specification, 10.5.
func (e *Engine) RecheckBlocked(roleLost bool) {
	for _, s := range e.waiters.all() {
		if roleLost {
			s.Unblock(command.ErrUnblockedRole, true)
			continue
		}
		v := e.View()
		if !v.Cluster || len(s.blocked.keys) == 0 {
			continue
		}
		if !s.own() {
			continue
		}
		p := &s.blocked.planned
		if p.spec == nil || s.blocked.custom != nil {
			s.blocked.state.Store(blockParked)
			continue
		}
		s.ctx.Reset(p.spec, p.argv)
		s.ctx.DB = s.db()
		s.ctx.PlanKeys()
		l := &s.held
		s.lockFor(l, p.spec, s.ctx.Keys[:1])
		s.flags |= flagAsking // an importing slot keeps its waiters
		text := s.route(v, p.spec, s.ctx.Keys[:1])
		s.flags &^= flagAsking
		l.unlock(e.Store)
		if text == "" {
			s.blocked.state.Store(blockParked)
			if s.blocked.missed.Swap(false) {
				e.retry(s)
			}
			continue
		}
		s.out.Error(text)
		s.unpark()
	}
}
