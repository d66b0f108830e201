package engine

import (
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/resp"
)

// Who is interested in changes of keys; bits of Engine.interest.
const (
	interestWatch = 1 << iota
	interestBlock
	interestNotify
	interestTracking
)

// after carries what the command in s.ctx did to everyone concerned. It runs
// under the command's slot locks.
func (s *Session) after() {
	c, e := &s.ctx, s.e
	s.tally.dirty += c.Dirty
	if c.ExpiredKeys|c.ExpiredFields != 0 {
		s.tally.dirty += c.ExpiredFields
		s.tally.expired += c.ExpiredKeys
		e.Stats.ExpiredFields.Add(c.ExpiredFields)
		c.ExpiredKeys, c.ExpiredFields = 0, 0
	}
	if c.LogOn {
		s.logEffects()
	}
	if len(c.Changes) != 0 && s.special&specialImport == 0 { // nobody knows those keys yet
		if in := e.interest.Load(); in != 0 {
			e.carry(in, s, c.Changes)
		}
	}
}

// Commit carries what the running command did so far to everyone concerned, as
// happens otherwise when it ends, and returns the place in the log behind it. Its
// slot locks are held; not inside of a transaction.
func (s *Session) Commit() (end int64) {
	s.after()
	c := &s.ctx
	c.Dirty, c.Changes, c.Effects, c.NEffects = 0, c.Changes[:0], c.Effects[:0], 0
	return s.LogOffset
}

// logEffects appends the command's effects to the log, or, inside EXEC, to the
// transaction's.
func (s *Session) logEffects() {
	c := &s.ctx
	if !c.NoVerbatim && c.Dirty != 0 && (c.Spec.Flags&command.Write != 0 || c.Spec.Flags&command.MayReplicate != 0) {
		c.Effects = resp.AppendCommand(c.Effects, c.Argv...)
		c.NEffects++
	}
	if c.NEffects == 0 {
		return
	}
	if s.multi.running {
		s.multi.addEffects(c.DB.Index(), c.Effects, c.NEffects)
		return
	}
	cmds := c.Effects
	if c.NEffects > 1 {
		s.scratch = append(s.scratch[:0], multiCommand...)
		s.scratch = append(s.scratch, cmds...)
		s.scratch = append(s.scratch, execCommand...)
		cmds = s.scratch
	}
	db := c.DB.Index()
	s.appendLog(db, db, cmds)
}

func (s *Session) appendLog(db, last int, cmds []byte) {
	s.LogOffset = s.e.log.Append(db, last, cmds)
	s.wrote = true
}

const (
	multiCommand = "*1\r\n$5\r\nMULTI\r\n"
	execCommand  = "*1\r\n$4\r\nEXEC\r\n"
)

// carry tells WATCH, blocked clients, subscribers to keyspace events and
// client-side caches about changes. by is the session that made them, or nil.
func (e *Engine) carry(in uint32, by *Session, changes []command.Change) {
	for i := range changes {
		ch := &changes[i]
		if in&interestWatch != 0 {
			e.watches.touch(ch.DB, ch.Key)
		}
		if in&interestBlock != 0 {
			e.waiters.signal(ch.DB, ch.Key)
		}
		if in&interestTracking != 0 {
			e.invalidate(by, ch.Key)
		}
		if in&interestNotify != 0 && ch.Event != "" {
			e.notifyEvent(by, ch)
		}
	}
}

// Carry is carry for changes that no session made, such as an eviction.
func (e *Engine) Carry(changes ...command.Change) {
	if in := e.interest.Load(); in != 0 {
		e.carry(in, nil, changes)
	}
}

// appendSelect appends SELECT db.
func appendSelect(dst []byte, db int) []byte {
	return resp.AppendCommandStrings(dst, "SELECT", strconv.Itoa(db))
}
