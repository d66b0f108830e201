package engine

import (
	"bytes"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// runBatch runs the planned commands in order and returns how many it ran: all,
// unless one blocked or closed the connection.
func (s *Session) runBatch(cmds int) int {
	if cmds > 1 {
		s.touch(cmds)
	}
	t, lease := s.e.nanos(), s.e.lease.Load()
	began := t
	s.asleep = t > lease
	s.ctx.Now = s.e.nowAt(t)
	s.holdPushes()
	slots, mark := s.e.slotStats.on.Load(), int64(0)
	for i := range s.batch[:cmds] {
		p := &s.batch[i]
		quiet := s.special&specialReply != 0
		if quiet && len(s.out.Buf) > 0 { // afterSpecial wants to find the one reply
			s.endBatch()
			s.holdPushes()
			if s.closing {
				return i
			}
		}
		if slots != nil {
			mark = s.replied()
		}
		s.runOne(p)
		if s.e.monitors.n.Load() != 0 && !s.tally.idle {
			s.e.monitors.feed(s, p.spec, p.argv)
		}
		end := s.e.nanos()
		if slots != nil && p.spec != nil && !s.Parked() {
			s.countSlot(slots, p.spec, p.argv, mark, end-t)
		}
		s.measure(p, time.Duration(end-t))
		t = end
		if t > lease && s.napped(began, t, &lease, s.batch[:i+1]) && s.wrote {
			// Nobody knows whether what was written before the nap has survived it.
			s.out.Buf = s.out.Buf[:0]
			s.closing = true
			return i + 1
		}
		if s.special&(specialReply|specialTracking|specialImport) != 0 && !s.Parked() {
			s.afterSpecial(p, quiet)
		}
		if s.closing || s.Parked() || s.kill.Load() {
			return i + 1
		}
		if len(s.out.Buf) >= flushAt {
			s.endBatch()
			s.holdPushes()
			if s.closing {
				return i + 1
			}
		}
		if i&15 == 15 {
			s.ctx.Now = s.e.nowAt(t)
		}
	}
	return cmds
}

// runOne takes one command from its arguments to its reply.
func (s *Session) runOne(p *planned) {
	spec, c := p.spec, &s.ctx
	if spec == nil {
		s.refuse(nil, unknownCommand(p.argv))
		return
	}
	if spec.Run == nil || !spec.ArityOK(len(p.argv)) || len(spec.Subs) > 0 && len(p.argv) > 1 {
		s.refuse(spec, badCall(spec, p.argv))
		return
	}
	if s.special != 0 {
		if done := s.runSpecial(p); done {
			return
		}
	}
	c.Reset(spec, p.argv)
	c.DB = s.e.Store.DB(s.dbIndex)
	c.MayBlock = s.special&specialPrimary == 0
	c.Keys = c.Keys[:0]
	if p.has {
		first, last, step, _ := spec.KeyRange(len(p.argv))
		c.Keys = append(c.Keys, p.key)
		for i := first + step; i <= last && i < len(p.argv); i += step {
			c.Keys = append(c.Keys, command.MakeKey(i, p.argv[i]))
		}
	} else if spec.HasKeys() && !c.PlanKeys() && !s.badKeys(spec) {
		return
	}
	s.execute(spec)
}

// badKeys is called when the key specifications could not be followed, for
// example for a number of keys that is none. The handler finds the fault and
// replies, so it may run; it reports whether it should.
func (s *Session) badKeys(*command.Spec) bool { return true }

// execute runs the planned command of s.ctx under its locks.
func (s *Session) execute(spec *command.Spec) {
	c := &s.ctx
	for evicted := false; ; {
		l := &s.held
		s.lockFor(l, spec, c.Keys)
		v := s.e.view.Load()
		c.World = l.world
		if v.Cluster && len(c.Keys) > 0 && s.special&specialPrimary == 0 {
			if text := s.route(v, spec, c.Keys); text != "" {
				l.unlock(s.e.Store)
				s.refuse(spec, text)
				return
			}
		}
		// GateReadOnly alone means nothing: it is a setting of replicas.
		g := s.e.gates.Load()
		if g&^GateReadOnly != 0 || s.special != 0 {
			g = gatesFor(v, g)
			if g&GateStall != 0 {
				l.unlock(s.e.Store)
				s.e.waitStall()
				s.asleep = s.e.lapsed(s.e.nanos())
				evicted = false
				continue
			}
			if g&GateCheckOOM != 0 && spec.Flags&command.DenyOOM != 0 && g&GateReplica == 0 && !evicted {
				// The check may evict, which takes other slots' locks.
				l.unlock(s.e.Store)
				s.e.evict()
				evicted = true
				continue // the slot may be another's by now
			}
			text, wait := s.gate(g, spec)
			if wait {
				l.unlock(s.e.Store)
				if c.Retry { // blocked: another goroutine's turn must not wait
					c.Blocked = &s.blocked.again
					return
				}
				s.endBatch()
				s.e.waitPause(s)
				s.asleep = s.e.lapsed(s.e.nanos())
				s.holdPushes()
				c.Now = s.e.Now()
				if s.kill.Load() {
					return
				}
				evicted = false
				continue
			}
			if text == errReadOnly && v.Cluster && spec == s.e.exec {
				text = "" // it looks again, with its keys, and where they are comes first
			}
			if text != "" {
				l.unlock(s.e.Store)
				s.refuse(spec, text)
				return
			}
		}
		c.Expire = expireMode(v, s, g)
		c.LogOn = s.e.logOn.Load() && s.special&(specialPrimary|specialImport) != specialPrimary
		spec.Run(c)
		if c.Dirty != 0 || len(c.Changes) != 0 || len(c.Effects) != 0 {
			s.after()
		}
		if s.special&specialTracking != 0 {
			s.rememberKeys()
		}
		if c.Blocked != nil {
			s.park(c.Blocked)
		}
		l.unlock(s.e.Store)
		break
	}
	s.endAsking()
	if s.e.waiters.ready.Load() != 0 && !c.Retry {
		s.e.serveReady()
	}
}

// expireMode says what becomes of keys whose time has come. While writes are
// paused nothing enters the log, not even by a read.
func expireMode(v *View, s *Session, gates uint32) command.ExpireMode {
	switch {
	case s.special&specialPrimary != 0:
		return command.ExpireIgnore
	case v.Replica, gates&(GatePauseAll|GatePauseWrite) != 0:
		return command.ExpireHide
	}
	return command.ExpireDelete
}

// held is what a command has locked.
type held struct {
	kind  uint8
	world bool
	slot  uint16
	set   store.StripeSet
}

const (
	heldNone = iota
	heldSlot
	heldSet
	heldWorld
)

// lockFor takes the locks that a command needs and notes them in l.
func (s *Session) lockFor(l *held, spec *command.Spec, keys []command.Key) {
	st := s.e.Store
	l.kind, l.world = heldNone, false
	switch {
	case spec.Flags&command.World != 0 || spec.WorldIf != nil && spec.WorldIf(s.ctx.Argv):
		l.kind, l.world = heldWorld, true
		st.LockWorld()
	case len(keys) == 0:
	case len(keys) == 1:
		l.kind, l.slot = heldSlot, keys[0].Slot
		st.Lock(l.slot)
	default:
		l.kind, l.set = heldSet, store.StripeSet{}
		for _, k := range keys {
			l.set.Add(k.Slot)
		}
		st.LockSet(&l.set)
	}
}

func (l *held) unlock(st *store.Store) {
	switch l.kind {
	case heldSlot:
		st.Unlock(l.slot)
	case heldSet:
		st.UnlockSet(&l.set)
	case heldWorld:
		st.UnlockWorld()
	}
}

// endAsking ends ASKING after the one command it is for; inside MULTI it stays
// until the transaction ends.
func (s *Session) endAsking() {
	switch {
	case s.askingNext:
		s.askingNext = false
		s.flags |= flagAsking
	case s.flags&flagAsking != 0 && s.special&specialMulti == 0:
		s.flags &^= flagAsking
	}
}

// refuse replies with an error before the command ran.
func (s *Session) refuse(spec *command.Spec, text string) {
	s.endAsking()
	s.tally.idle = true
	s.ctx.Failed = true
	if spec == s.e.exec && spec != nil { // whatever it was, the transaction is over
		s.discardMulti()
		text = "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(text, "ERR ")
	}
	s.out.Error(text)
	s.e.Stats.reject(spec, text)
	if s.special&specialMulti != 0 {
		s.multi.dirty = true
	}
}

func unknownCommand(argv [][]byte) string {
	var args strings.Builder
	for _, a := range argv[1:] {
		if args.Len() >= 128 {
			break
		}
		args.WriteString("'" + clean(a, 128-args.Len()) + "' ")
	}
	return "ERR unknown command '" + clean(argv[0], 128) + "', with args beginning with: " + args.String()
}

// badCall explains a container called without a known subcommand, or a wrong
// number of arguments.
func badCall(spec *command.Spec, argv [][]byte) string {
	if len(spec.Subs) > 0 && len(argv) > 1 {
		return "ERR unknown subcommand '" + clean(argv[1], 128) + "'. Try " + strings.ToUpper(spec.Name) + " HELP."
	}
	return command.WrongArity(spec.Full)
}

// clean cuts an argument to n bytes and keeps it on one line.
func clean(b []byte, n int) string {
	if len(b) > n {
		b = b[:n]
	}
	b = bytes.Clone(b)
	for i, x := range b {
		if x == '\r' || x == '\n' {
			b[i] = ' '
		}
	}
	return string(b)
}
