package engine

import (
	"bytes"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// An import session brings the keys of slots that this node does not own yet
// (package slotmove). Its commands are effects of another primary, so they are
// run as those of the link from a primary are: without redirects, ACL and
// replies, and no key expires under them. But this node is a primary, and the
// keys will be its own: effects enter the log, and memory has its limit. The
// slots are hidden, which nobody else can write to; a command on any other slot,
// or an error reply, means that source and target have come apart.

// Importer is what an import session has as Ext.
type Importer interface {
	// ImportFailed is told of the first error; it is called without locks, and
	// the session closes.
	ImportFailed(errText string)
}

const (
	errNotImporting = "ERR the slot is not being imported"
	errImportWhat   = "ERR not a command that a slot import may bring"
)

// BecomeImport makes the session that runs the present command an import
// session: replies made so far are sent, after them reply; then nothing is. Ext
// must be an Importer. Only a command of this session calls it.
func (s *Session) BecomeImport(reply []byte) {
	s.flush()
	s.conn.Write(reply)
	s.special |= specialPrimary | specialImport
	s.parser.MaxBulk = -1
	s.publishState()
}

// EndImport makes an import session stop before its next command and close when
// what was sent to the peer is out. Any goroutine.
func (s *Session) EndImport() {
	s.kill.Store(true)
	s.conn.Kick()
}

// Linger is how long the connection of a session that closes by itself waits
// for the peer to close. The source of an import is sending and has to hear why
// it ended; other clients ask first.
func (s *Session) Linger() time.Duration {
	if s.special&specialImport != 0 {
		return importLinger
	}
	return 0
}

const importLinger = time.Second

// IsImport reports whether this is an import session; any goroutine.
func (s *Session) IsImport() bool { return s.state.Load()>>16&specialImport != 0 }

// gateImport is gate for an import session.
func (s *Session) gateImport(g uint32, spec *command.Spec) (refuse string, wait bool) {
	f := spec.Flags
	switch {
	case spec.Full == "cluster|syncslots":
		return "", false
	case f&command.Write == 0 || len(s.ctx.Keys) == 0:
		return errImportWhat, false
	case g&GateReplica != 0:
		return errReadOnly, false
	case g&GateLoading != 0:
		return errLoading, false
	case g&GateOOM != 0 && f&command.DenyOOM != 0:
		return errOOM, false
	}
	if g&GateMisconf != 0 {
		if text := s.e.misconfText(); text != "" {
			return text, false
		}
	}
	for _, k := range s.ctx.Keys {
		if !s.e.Store.SlotHidden(k.Slot) {
			return errNotImporting, false
		}
	}
	return "", g&(GatePauseAll|GatePauseWrite) != 0
}

// afterImport drops the reply of a command of an import session and ends the
// session if it was an error.
func (s *Session) afterImport() {
	reply := s.out.Buf
	s.out.Buf = s.out.Buf[:0]
	if s.ctx.Failed && !s.closing {
		s.closing = true
		text, _, _ := bytes.Cut(bytes.TrimPrefix(reply, []byte("-")), []byte("\r\n"))
		if i, ok := s.Ext.(Importer); ok {
			i.ImportFailed(string(text))
		}
	}
}

// Flushes counts how often a database was emptied; whoever compares two readings
// knows whether his keys can have been among those. It changes under the world
// lock.
func (e *Engine) Flushes() int64 { return e.flushes.Load() }

// SlotSet is a bit for each slot.
type SlotSet = [store.Slots / 64]uint64

// HideSlots hides slots (store.Store.HideSlot) or shows them.
func (e *Engine) HideSlots(slots *SlotSet, hide bool) {
	eachSlot(slots, func(slot uint16) {
		e.Store.Lock(slot)
		e.Store.HideSlot(slot, hide)
		e.Store.Unlock(slot)
	})
}

func eachSlot(slots *SlotSet, f func(slot uint16)) {
	for i, word := range slots {
		for b := 0; word != 0; b, word = b+1, word>>1 {
			if word&1 != 0 {
				f(uint16(i<<6 + b))
			}
		}
	}
}
