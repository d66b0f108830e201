package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// multiState is a session's transaction: the queue between MULTI and EXEC, and
// the keys it watches.
type multiState struct {
	queue   []queued
	bytes   int
	flags   command.Flags // of all queued commands
	lacking command.Flags // flags that one of them does not have
	writes  bool
	dirty   bool // a command was refused while queueing
	running bool // EXEC is running the queue

	watched  []watchedKey
	casDirty atomic.Bool // a watched key was changed; set by any goroutine

	effects  []byte
	neffects int
	firstDB  int
	lastDB   int
	slot     int // of the queued commands' keys, -1 if none has one
}

type queued struct {
	spec *command.Spec
	argv [][]byte
}

type watchedKey struct {
	id      dbKey
	expired bool // its time had come already when it was watched
}

// dbKey names a key of a database.
type dbKey struct {
	db  int
	key string
}

// runSpecial handles a command of a session that is off the fast path and
// reports whether it is done with.
func (s *Session) runSpecial(p *planned) (done bool) {
	if text := s.gateSession(p.spec); text != "" {
		s.refuse(p.spec, text)
		return true
	}
	if s.special&specialMulti == 0 {
		return false
	}
	switch p.spec.Full {
	case "exec", "discard", "multi", "watch", "quit", "reset":
		return false
	}
	s.queueCommand(p)
	return true
}

// queueCommand checks a command and puts it into the transaction.
func (s *Session) queueCommand(p *planned) {
	c, spec := &s.ctx, p.spec
	if spec.Flags&command.NoMulti != 0 {
		s.refuse(spec, errNoMultiCmd)
		return
	}
	argv := copyArgs(p.argv)
	c.Reset(spec, argv)
	c.DB = s.db()
	c.PlanKeys()
	v := s.e.view.Load()
	if v.Cluster && len(c.Keys) > 0 && s.special&specialPrimary == 0 {
		l := &s.held
		s.lockFor(l, spec, c.Keys)
		v = s.e.view.Load()
		text := s.route(v, spec, c.Keys)
		l.unlock(s.e.Store)
		if text != "" {
			s.refuse(spec, text)
			return
		}
	}
	if g := gatesFor(v, s.e.gates.Load()); g != 0 {
		if g&GateCheckOOM != 0 && spec.Flags&command.DenyOOM != 0 && g&GateReplica == 0 {
			s.e.evict()
			g = gatesFor(v, s.e.gates.Load())
		}
		text, wait := s.gate(g, spec)
		if g&GateOOM != 0 && s.special&specialPrimary == 0 && text == "" {
			text = errOOM // whatever the command: the transaction would not get through
		}
		if text != "" && !wait {
			s.refuse(spec, text)
			return
		}
	}
	m := &s.multi
	m.queue = append(m.queue, queued{spec, argv})
	for _, a := range argv {
		m.bytes += len(a)
	}
	m.flags |= spec.Flags
	m.lacking |= ^spec.Flags
	if spec.NeedsWorld(argv) {
		m.flags |= command.World
	}
	m.writes = m.writes || spec.Flags&(command.Write|command.MayReplicate) != 0
	s.tally.idle = true
	s.queued.Store(int32(len(m.queue)))
	s.queuedSize.Store(int64(m.bytes))
	s.countQueued(argv, c.Keys)
	s.out.Simple("QUEUED")
}

func copyArgs(argv [][]byte) [][]byte {
	n := 0
	for _, a := range argv {
		n += len(a)
	}
	buf := make([]byte, 0, n)
	out := make([][]byte, len(argv))
	for i, a := range argv {
		buf = append(buf, a...)
		out[i] = buf[len(buf)-len(a) : len(buf) : len(buf)]
	}
	return out
}

// discardMulti drops the transaction and the watches.
func (s *Session) discardMulti() {
	s.special &^= specialMulti
	m := &s.multi
	m.queue, m.bytes, m.flags, m.lacking, m.writes, m.dirty = nil, 0, 0, 0, false, false
	s.queued.Store(-1)
	s.queuedSize.Store(0)
	s.unwatch()
}

func (s *Session) unwatch() {
	if len(s.multi.watched) > 0 {
		s.e.watches.remove(s)
		s.multi.watched = nil
	}
	s.multi.casDirty.Store(false)
}

func (e *Engine) execSpec() *command.Spec { return e.exec }

func multiCommandRun(c *command.Ctx) {
	s := SessionOf(c)
	if s.special&specialMulti != 0 {
		c.Error("ERR MULTI calls can not be nested")
		return
	}
	s.special |= specialMulti
	s.multi.slot, s.multi.neffects = -1, 0
	s.queued.Store(0)
	c.OK()
}

func discardRun(c *command.Ctx) {
	s := SessionOf(c)
	if s.special&specialMulti == 0 {
		c.Error("ERR DISCARD without MULTI")
		return
	}
	s.discardMulti()
	c.OK()
}

func watchRun(c *command.Ctx) {
	s := SessionOf(c)
	if s.special&specialMulti != 0 {
		c.Error("ERR WATCH inside MULTI is not allowed")
		return
	}
	c.OK()
	if s.multi.casDirty.Load() {
		return // EXEC will fail anyhow
	}
	// The slots of the keys are locked, so no change can slip between.
	for _, k := range c.Keys {
		id := dbKey{s.dbIndex, string(c.Argv[k.Arg])}
		o := c.Obj(0)
		expired := c.DB.Find(k.Slot, k.Hash, c.Argv[k.Arg], o) && o.Expired(c.Now)
		s.multi.watched = append(s.multi.watched, watchedKey{id, expired})
		s.e.watches.add(id, s)
	}
}

func unwatchRun(c *command.Ctx) {
	SessionOf(c).unwatch()
	c.OK()
}

// execRun is EXEC. It takes the locks of all queued commands and watched keys
// at once, so nothing comes between the commands.
func execRun(c *command.Ctx) {
	s := SessionOf(c)
	m := &s.multi
	switch {
	case s.special&specialMulti == 0:
		c.Error("ERR EXEC without MULTI")
		return
	case m.dirty:
		s.discardMulti()
		c.Error("EXECABORT Transaction discarded because of previous errors.")
		return
	case len(m.queue) == 0 && len(m.watched) == 0:
		s.discardMulti()
		c.Array(0)
		return
	}
	e, st := s.e, s.e.Store
	exec, execArgv := c.Spec, c.Argv

	// All keys, in the order of the commands.
	var all []command.Key
	var allArgs [][]byte
	var set store.StripeSet
	world := m.flags&(command.World|command.OwnLocks) != 0
	for _, q := range m.queue {
		c.Spec, c.Argv = q.spec, q.argv
		c.PlanKeys()
		for _, k := range c.Keys {
			k.Arg += len(allArgs)
			all = append(all, k)
			set.Add(k.Slot)
		}
		allArgs = append(allArgs, q.argv...)
	}
	for _, w := range m.watched {
		set.Add(command.MakeKey(0, []byte(w.id.key)).Slot)
	}
	lock := func() {
		if world {
			st.LockWorld()
		} else {
			st.LockSet(&set)
		}
	}
	unlock := func() {
		if world {
			st.UnlockWorld()
		} else {
			st.UnlockSet(&set)
		}
	}
	refuse := func(text string) {
		unlock()
		c.Reset(exec, execArgv)
		s.discardMulti()
		c.Error(text)
	}
	var v *View
	for {
		lock()
		v = e.view.Load()
		if v.Cluster && len(all) > 0 && s.special&specialPrimary == 0 {
			c.Argv = allArgs
			spec := *exec
			spec.Flags |= m.flags & (command.Write | command.MayReplicate)
			if text := s.route(v, &spec, all); text != "" {
				refuse(text)
				return
			}
		}
		if g := gatesFor(v, e.gates.Load()); g != 0 {
			text, wait := s.gate(g, exec)
			if wait {
				unlock()
				s.endBatch() // replies to what came before
				e.waitPause(s)
				s.holdPushes()
				if s.kill.Load() {
					return
				}
				s.asleep = e.lapsed(e.nanos())
				c.Now = e.Now()
				continue
			}
			if text != "" {
				refuse("EXECABORT Transaction discarded because of: " + text)
				return
			}
		}
		break
	}
	if m.casDirty.Load() || s.watchedExpired() {
		unlock()
		c.Reset(exec, execArgv)
		s.discardMulti()
		c.NullArray()
		return
	}
	queue := m.queue
	watched := len(m.watched) > 0
	if watched {
		e.watches.remove(s)
		m.watched = nil
	}
	s.special &^= specialMulti
	m.running, m.effects, m.neffects = true, m.effects[:0], 0
	c.Array(len(queue))
	began := time.Now()
	for _, q := range queue {
		c.Reset(q.spec, q.argv)
		c.DB = s.db()
		c.PlanKeys()
		c.MayBlock, c.World = false, world
		c.Expire, c.LogOn = expireMode(v, s, e.gates.Load()), e.logOn.Load() && s.special&specialPrimary == 0
		q.spec.Run(c)
		s.after()
		if s.special&specialTracking != 0 {
			s.rememberKeys()
		}
		if e.monitors.n.Load() != 0 {
			e.monitors.feed(s, q.spec, q.argv)
		}
		now := time.Now()
		s.measureCall(q.spec, q.argv, now.Sub(began))
		began = now
	}
	m.running = false
	if m.neffects > 0 {
		s.logTransaction()
	}
	unlock()
	c.Reset(exec, execArgv)
	c.NoVerbatim = true
	s.discardMulti()
}

// watchedExpired reports whether the time of a watched key came after WATCH.
func (s *Session) watchedExpired() bool {
	o := s.ctx.Obj(0)
	for _, w := range s.multi.watched {
		key := []byte(w.id.key)
		k := command.MakeKey(0, key)
		if !w.expired && s.e.Store.DB(w.id.db).Find(k.Slot, k.Hash, key, o) && o.Expired(s.ctx.Now) {
			return true
		}
	}
	return false
}

func (m *multiState) addEffects(db int, cmds []byte, n int) {
	if m.neffects == 0 {
		m.firstDB = db
	} else if db != m.lastDB {
		m.effects = appendSelect(m.effects, db)
	}
	m.lastDB = db
	m.effects = append(m.effects, cmds...)
	m.neffects += n
}

func (s *Session) logTransaction() {
	m := &s.multi
	cmds := m.effects
	if m.neffects > 1 {
		s.scratch = append(s.scratch[:0], multiCommand...)
		s.scratch = append(s.scratch, cmds...)
		s.scratch = append(s.scratch, execCommand...)
		cmds = s.scratch
	}
	s.appendLog(m.firstDB, m.lastDB, cmds)
}

// watches knows which sessions watch which keys. Its lock is a leaf.
type watches struct {
	mu       sync.Mutex
	keys     map[dbKey]map[*Session]struct{}
	interest *atomic.Uint32
}

func (w *watches) init(interest *atomic.Uint32) {
	w.keys = map[dbKey]map[*Session]struct{}{}
	w.interest = interest
}

func (w *watches) add(id dbKey, s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keys[id] == nil {
		w.keys[id] = map[*Session]struct{}{}
	}
	w.keys[id][s] = struct{}{}
	w.interest.Or(interestWatch)
}

func (w *watches) remove(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range s.multi.watched {
		delete(w.keys[k.id], s)
		if len(w.keys[k.id]) == 0 {
			delete(w.keys, k.id)
		}
	}
	if len(w.keys) == 0 {
		w.interest.And(^uint32(interestWatch))
	}
}

func (w *watches) touch(db int, key []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.keys[dbKey{db, string(key)}] {
		s.multi.casDirty.Store(true)
	}
}

// touchDB marks everyone who watches a key of the database, or of all when db
// is negative, for which hit returns true.
func (w *watches) touchDB(db int, hit func(db int, key string) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, ss := range w.keys {
		if db >= 0 && id.db != db || !hit(id.db, id.key) {
			continue
		}
		for s := range ss {
			s.multi.casDirty.Store(true)
		}
	}
}
