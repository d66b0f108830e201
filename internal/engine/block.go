package engine

import (
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
// their sessions. The reply stays in the session's buffer: the connection's
// goroutine, kicked, sends it as it sends every reply, after what must be
// durable first.
//
// The state of a session says who owns it (its Ctx, its replies):
//
//	idle     its own goroutine
//	arming   its own goroutine, parked already but still finishing its batch
//	parked   nobody; whoever moves it on owns it
//	serving  the goroutine that moves it on
//
// Whoever wants something of a blocked session (look again, time out, end with
// an error) leaves the wish in want. If the session is parked he then serves
// it; else the owner finds the wish before it lets go. Nobody ever waits for an
// owner, but for Close.
const (
	blockIdle = iota
	blockArming
	blockParked
	blockServing
)

// Wishes.
const (
	wantRetry   = 1 << iota // a key has changed
	wantCustom              // Wake
	wantRecheck             // role or slots have changed
	wantTimeout             // end as after the timeout
	wantError               // end with an error
	wantGone                // the connection is gone
)

type blockState struct {
	parked atomic.Bool // state is not idle

	mu        sync.Mutex // guards state, want, errText and thenClose; a leaf
	idle      sync.Cond  // state became idle
	state     int
	want      uint8
	errText   string
	thenClose bool

	// The owner's.
	deadlineMs int64
	nullArray  bool
	gone       bool // run again also when its key is gone
	asking     bool // the command came with ASKING
	planned    planned
	keys       []dbKey
	custom     func(timedOut bool) // WAIT and the like: no keys; gives the reply
	again      command.Block       // what execute says when a retry must wait for the end of a pause
}

// park is called under the slot locks of the blocking command.
func (s *Session) park(b *command.Block) {
	bs, c := &s.blocked, &s.ctx
	if c.Retry {
		return // run again and still nothing
	}
	argv := copyArgs(c.Argv)
	bs.planned = planned{spec: c.Spec, argv: argv}
	bs.deadlineMs, bs.nullArray, bs.gone = b.DeadlineMs, b.NullArray, b.Gone
	bs.asking = s.flags&flagAsking != 0
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
	bs := &s.blocked
	bs.mu.Lock()
	bs.state, bs.want, bs.thenClose = blockArming, 0, false
	bs.parked.Store(true)
	bs.mu.Unlock()
	s.e.Stats.blocked.Add(1)
}

// ParkUntil parks the session without keys, for commands such as WAIT: until
// the deadline passes (0: never), or Wake is called. reply then writes the
// answer, from whichever goroutine it is; it is called once in any case, even
// if the answer is an error instead or nobody is left to hear it.
func (s *Session) ParkUntil(deadlineMs int64, reply func(timedOut bool)) {
	s.blocked.custom = reply
	s.blocked.deadlineMs = deadlineMs
	s.blocked.keys = s.blocked.keys[:0]
	s.blocked.planned = planned{spec: s.ctx.Spec}
	s.startPark()
	s.e.waiters.addCustom(s)
}

// Wake ends ParkUntil; any goroutine. It does nothing for a session that is not
// parked so.
func (s *Session) Wake() { s.ask(wantCustom, "", false) }

// Unblock ends a blocked command from another goroutine: like a timeout, or
// with an error reply; then, if closing is set, the connection is closed. It
// reports whether the session was blocked. It takes no slot locks.
func (s *Session) Unblock(errText string, closing bool) bool {
	if errText == "" {
		return s.ask(wantTimeout, "", closing)
	}
	return s.ask(wantError, errText, closing)
}

// TimedOut ends a blocked command whose deadline has passed, with null.
func (s *Session) TimedOut() {
	if s.Parked() && s.blocked.deadlineMs != 0 && s.e.Now() >= s.blocked.deadlineMs {
		s.ask(wantTimeout, "", false)
	}
}

// ask leaves a wish with a blocked session and, if the session is parked,
// fulfils it. It returns false if the session is not blocked.
func (s *Session) ask(want uint8, errText string, thenClose bool) bool {
	bs := &s.blocked
	if !bs.parked.Load() {
		return false
	}
	bs.mu.Lock()
	if bs.state == blockIdle {
		bs.mu.Unlock()
		return false
	}
	bs.want |= want
	if errText != "" {
		bs.errText = errText
	}
	bs.thenClose = bs.thenClose || thenClose
	mine := bs.state == blockParked
	if mine {
		bs.state = blockServing
	}
	bs.mu.Unlock()
	if mine {
		s.serve()
	}
	return true
}

// arm ends the arming state; the batch is over. Wishes that came in the
// meantime are fulfilled, those of keys in the order of the keys' lists.
func (s *Session) arm() {
	bs := &s.blocked
	bs.mu.Lock()
	if bs.state != blockArming {
		bs.mu.Unlock()
		return
	}
	retry := bs.want&wantRetry != 0
	bs.want &^= wantRetry
	if bs.want == 0 {
		bs.state = blockParked
		bs.mu.Unlock()
	} else {
		bs.state = blockServing
		bs.mu.Unlock()
		s.serve()
	}
	if retry {
		s.e.waiters.signalFor(s)
	}
	if s.e.waiters.ready.Load() != 0 {
		s.e.serveReady()
	}
}

// serve fulfils the wishes left with a session in the serving state, until it
// is answered or nothing is left to do.
func (s *Session) serve() {
	bs := &s.blocked
	for {
		bs.mu.Lock()
		want := bs.want
		bs.want = 0
		text := bs.errText
		if want == 0 {
			bs.state = blockParked
			bs.mu.Unlock()
			return
		}
		bs.mu.Unlock()
		if s.fulfil(want, text) {
			s.unpark()
			return
		}
	}
}

// fulfil does what is wanted and reports whether the command is answered.
func (s *Session) fulfil(want uint8, errText string) (answered bool) {
	bs := &s.blocked
	if want&wantGone != 0 {
		if bs.custom != nil {
			bs.custom(true)
		}
		return true
	}
	s.holdPushes()
	if want&wantRetry != 0 && bs.custom == nil && s.retry() {
		return true
	}
	if want&wantCustom != 0 && bs.custom != nil {
		bs.custom(false)
		return true
	}
	if want&wantRecheck != 0 && bs.custom == nil && s.recheck() {
		return true
	}
	switch {
	case want&wantError != 0:
		if bs.custom != nil { // it has its own to end; what it says is not wanted
			mark := len(s.out.Buf)
			bs.custom(true)
			s.out.Buf = s.out.Buf[:mark]
		}
		s.out.Error(errText)
		s.e.Stats.CountError(errText)
	case want&wantTimeout == 0:
		s.releasePushes()
		return false
	case bs.custom != nil:
		bs.custom(true)
	case bs.nullArray:
		s.out.NullArray()
	default:
		s.out.Null()
	}
	return true
}

// retry runs the parked command again and reports whether it has replied.
func (s *Session) retry() bool {
	c, e, p := &s.ctx, s.e, &s.blocked.planned
	c.Reset(p.spec, p.argv)
	c.Retry = true
	c.Now = e.Now()
	c.DB = e.Store.DB(s.dbIndex)
	c.MayBlock = true
	c.PlanKeys()
	if s.blocked.asking {
		s.flags |= flagAsking
	}
	if st := e.slotStats.on.Load(); st != nil {
		mark, began := s.replied(), e.nanos()
		s.execute(p.spec)
		if c.Blocked == nil {
			s.countSlot(st, p.spec, p.argv, mark, e.nanos()-began)
		}
	} else {
		s.execute(p.spec)
	}
	s.flags &^= flagAsking
	s.tally.idle = false
	s.foldTally()
	return c.Blocked == nil
}

// recheck refuses a parked command whose slot is no longer served here, and
// reports whether it did.
func (s *Session) recheck() bool {
	v, p := s.e.View(), &s.blocked.planned
	if !v.Cluster {
		return false
	}
	c := &s.ctx
	c.Reset(p.spec, p.argv)
	c.DB = s.db()
	if c.PlanKeys(); len(c.Keys) == 0 {
		return false
	}
	if !s.asleep && v.Owns(c.Keys[0].Slot) {
		return false // without waiting for a command that may hold the slot for long
	}
	l := &s.held
	s.lockFor(l, p.spec, c.Keys[:1])
	s.flags |= flagAsking // an importing slot keeps its waiters
	text := s.route(s.e.View(), p.spec, c.Keys[:1])
	s.flags &^= flagAsking
	l.unlock(s.e.Store)
	if text == "" {
		return false
	}
	s.out.Error(text)
	s.e.Stats.CountError(text)
	return true
}

// unpark returns the session to its own goroutine, with the reply in its
// buffer. The caller is in the serving state.
func (s *Session) unpark() {
	bs := &s.blocked
	s.e.waiters.remove(s)
	s.afterSpecial(&bs.planned, true)
	bs.custom = nil
	bs.planned = planned{}
	s.e.Stats.blocked.Add(-1)
	bs.mu.Lock()
	bs.state, bs.want = blockIdle, 0
	bs.parked.Store(false)
	bs.idle.Broadcast()
	bs.mu.Unlock()
	s.conn.Kick()
}

// unblock drops the blocked command of a connection that is gone.
func (s *Session) unblock() {
	bs := &s.blocked
	if !s.ask(wantGone, "", false) {
		return
	}
	bs.mu.Lock()
	for bs.state != blockIdle {
		bs.idle.Wait() // another goroutine is serving it
	}
	bs.mu.Unlock()
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

	// turn orders those who serve the same key, so that its clients are served
	// in the order in which they came; held while a client's command runs, so
	// it comes before slot locks. No one holds two, nor one and a slot lock
	// before it.
	turn [64]sync.Mutex
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
				w.keys[k] = slices.Delete(w.keys[k], i, i+1)
			}
		}
	}
	if len(w.keys) == 0 {
		w.interest.And(^uint32(interestBlock))
	}
}

func (w *waiters) enqueue(k dbKey) {
	if n := len(w.queue); n == 0 || w.queue[n-1] != k {
		w.queue = append(w.queue, k)
	}
	w.ready.Store(1)
}

// signal marks a key ready if someone waits for it; under its slot's lock.
func (w *waiters) signal(db int, key []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.keys[dbKey{db, string(key)}]) > 0 {
		w.enqueue(dbKey{db, string(key)})
	}
}

// signalFor marks the keys ready that s waits for.
func (w *waiters) signalFor(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range s.blocked.keys {
		if len(w.keys[k]) > 0 {
			w.enqueue(k)
		}
	}
}

// signalDB marks all waited-for keys of a database ready (SWAPDB), of all when
// db is negative.
func (w *waiters) signalDB(db int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.keys {
		if db < 0 || k.db == db {
			w.enqueue(k)
		}
	}
}

// next takes a key from the queue.
func (w *waiters) next() (k dbKey, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.queue = nil
		w.ready.Store(0)
		return k, false
	}
	k = w.queue[0]
	w.queue = w.queue[1:]
	return k, true
}

// waiting returns the sessions that wait for a key.
func (w *waiters) waiting(k dbKey) []*Session {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.keys[k])
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

// BlockingKeys returns how many keys blocked clients wait for.
func (e *Engine) BlockingKeys() int {
	e.waiters.mu.Lock()
	defer e.waiters.mu.Unlock()
	return len(e.waiters.keys)
}

// serveReady runs the parked commands of ready keys again. No locks are held.
func (e *Engine) serveReady() {
	for {
		k, ok := e.waiters.next()
		if !ok {
			return
		}
		key := []byte(k.key)
		id := command.MakeKey(0, key)
		turn := &e.waiters.turn[id.Hash%uint64(len(e.waiters.turn))]
		turn.Lock()
		for i, s := range e.waiters.waiting(k) {
			if i > 0 && !s.blocked.gone { // does anything of the key remain?
				e.Store.Lock(id.Slot)
				left := e.exists(k.db, id, key)
				e.Store.Unlock(id.Slot)
				if !left {
					continue
				}
			}
			if s.ask(wantRetry, "", false) && s.isArming() {
				break // it is first, and serves the key when it is armed
			}
		}
		turn.Unlock()
	}
}

// isArming reports whether the session is about to be parked and will then
// look at what is wanted of it.
func (s *Session) isArming() bool {
	s.blocked.mu.Lock()
	defer s.blocked.mu.Unlock()
	return s.blocked.state == blockArming && s.blocked.want&wantRetry != 0
}

// RecheckBlocked ends blocked commands that can no longer be answered here,
// because of the cluster's state or of the role. roleLost ends them all. No
// locks are held. Source: cluster specification, 10.5.
func (e *Engine) RecheckBlocked(roleLost bool) {
	for _, s := range e.waiters.all() {
		if roleLost {
			s.Unblock(command.ErrUnblockedRole, true)
		} else {
			s.ask(wantRecheck, "", false)
		}
	}
}
