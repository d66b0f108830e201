package slotmove

import (
	"errors"
	"strconv"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
)

// importer drives an Import. The source's commands run in the session's
// goroutine; events come from there and from elsewhere.
type importer struct {
	m       *Mover
	s       *engine.Session
	conn    engine.Conn
	name    string // of the job, for those who do not hold m.mu
	source  string
	slots   Slots
	flushes int64

	// Guarded by m.mu.
	i         *Import
	hungUp    bool
	announced int64 // Mono of the last word to replicas; the ticker only
}

var _ engine.Importer = (*importer)(nil)

// ImportFailed implements engine.Importer.
func (i *importer) ImportFailed(errText string) {
	i.step(Event{Kind: EvFail, Text: "Failed to apply a command: " + errText})
}

// Closed implements what engine asks of Session.Ext: the session is over.
func (i *importer) Closed() { i.step(Event{Kind: EvClosed}) }

// step puts an event into the machine and does what follows. Any goroutine, no
// locks.
func (i *importer) step(ev Event) {
	m := i.m
	limit := m.o.Settings().LogLen
	m.mu.Lock()
	acts := i.i.Step(m.now(), ev)
	wait, short := i.i.ReplicaWait()
	var over *Job
	if len(acts) > 0 && i.i.State.Final() {
		j := i.i.Job
		over = &j
		m.keepLocked(over, limit)
		for n := range m.imports {
			if m.imports[n] == i {
				m.imports = append(m.imports[:n], m.imports[n+1:]...)
				break
			}
		}
	}
	m.mu.Unlock()
	for _, a := range acts {
		switch a.Kind {
		case ActSend:
			i.conn.Push(a.Msg.Append(nil))
		case ActHangUp:
			i.s.EndImport()
		case ActReplicas:
			m.spawn(func() {
				have := m.o.AwaitReplicas(m.ctx, time.Duration(wait)*time.Millisecond)
				if !have && !short && m.ctx.Err() == nil {
					m.o.Slog.Warn("Replicas have not acknowledged in time what a slot migration brought", "name", i.name, "millis", wait)
				}
				i.step(Event{Kind: EvReplicated, Flag: have})
			})
		case ActTake:
			m.spawn(i.take)
		case ActShow:
			m.o.Engine.HideSlots(i.slots.set(), false)
		case ActAnnounce:
			m.o.Announce(a.Msg.Append(nil))
		case ActClean:
			m.spawn(i.clean)
		}
	}
	if over != nil {
		m.told(over)
	}
}

func (i *importer) take() {
	i.m.mu.Lock()
	until := i.i.TakeUntil()
	i.m.mu.Unlock()
	i.m.take(&i.slots, i.source, i.flushes, until, i.step)
}

// take claims slots that from owned, unless until, Mono, has come, and tells the
// outcome, if it is known: else neither the source nor replicas are told anything. What was received must not have been flushed, nor be from here on until
// then, so whoever wants to flush everything waits.
func (m *Mover) take(slots *Slots, from string, flushes, until int64, tell func(Event)) {
	e := m.o.Engine
	flushed := false
	e.FreezeSlots(slots.set(), func() { flushed = e.Flushes() != flushes })
	defer e.ThawSlots(slots.set())
	if flushed {
		tell(Event{Kind: EvRefused, Text: "The data set was flushed"})
		return
	}
	switch err := m.o.Cluster.Take(slots, from, m.start.Add(time.Duration(until)*time.Millisecond)); {
	case err == nil:
		tell(Event{Kind: EvTaken})
	case !errors.Is(err, ErrUnsure):
		tell(Event{Kind: EvRefused, Text: err.Error()})
	}
}

// clean deletes what was received. The session is over. On a node that is not a
// primary any more its new primary does that, and the slots stay hidden until it
// has.
func (i *importer) clean() {
	e := i.m.o.Engine
	if e.View().Replica {
		i.m.track(Job{Name: i.name, Import: true, Slots: i.slots}, i.source)
	} else {
		i.m.drop(&i.slots)
		e.HideSlots(i.slots.set(), false)
	}
	i.step(Event{Kind: EvCleaned})
}

// drop deletes the keys of slots that this node does not own.
func (m *Mover) drop(slots *Slots) {
	me := m.o.Cluster.MyID()
	slots.Each(func(slot int) {
		if m.o.Cluster.Owner(slot) != me {
			m.o.Engine.DropSlot(uint16(slot))
		}
	})
}

// announce tells replicas of the migration, again and again: one that has come
// late learns of it too. The ticker's goroutine.
func (i *importer) announce() {
	i.m.mu.Lock()
	going := i.i.State < CleaningUp
	i.m.mu.Unlock()
	if going && i.m.announceDue(&i.announced) {
		i.m.o.Announce(i.hello())
	}
}

func (i *importer) hello() []byte {
	return (&Msg{Kind: MsgEstablish, Source: i.source, Name: i.name, Slots: i.slots}).Append(nil)
}

// establish is CLUSTER SYNCSLOTS ESTABLISH from a source.
func (m *Mover) establish(c *command.Ctx, msg *Msg) {
	s := engine.SessionOf(c)
	e, cl := m.o.Engine, m.o.Cluster
	if errText := m.mayImport(msg); errText != "" {
		c.Error(errText)
		return
	}
	i := &importer{m: m, s: s, conn: s.Conn(), name: msg.Name, source: msg.Source, slots: msg.Slots, flushes: e.Flushes()}
	j := Job{Name: msg.Name, Slots: msg.Slots, Source: msg.Source, Target: cl.MyID()}
	m.mu.Lock()
	if slot := m.importingLocked(&msg.Slots); slot >= 0 {
		m.mu.Unlock()
		c.Error("ERR I am already importing slot " + strconv.Itoa(slot) + ".")
		return
	}
	i.i = NewImport(j, m.limits(), m.now())
	m.imports = append(m.imports, i)
	m.mu.Unlock()

	e.HideSlots(i.slots.set(), true)
	m.drop(&i.slots) // what an earlier migration may have left
	m.o.Announce(i.hello())
	m.o.Slog.Info("Slot import begins", "name", i.name, "slots", i.slots.String(), "node", i.source)
	s.Ext = i
	s.BecomeImport([]byte("+OK\r\n"))
}

// mayImport returns why slots cannot be imported, or "".
func (m *Mover) mayImport(msg *Msg) string {
	cl := m.o.Cluster
	src, ok := cl.Node(msg.Source)
	switch {
	case m.o.Engine.View().Replica:
		return errOnlyPrimary
	case !ok:
		return errUnknownNode + msg.Source
	case !src.Primary || !m.ownedBy(&msg.Slots, msg.Source):
		return "ERR Target node does not agree about current slot ownership"
	}
	return m.openError(&msg.Slots)
}

// openError is the reply when one of the slots is moved key by key.
func (m *Mover) openError(slots *Slots) (errText string) {
	slots.Each(func(slot int) {
		switch importing, migrating := m.o.Cluster.Open(slot); {
		case errText != "":
		case importing:
			errText = "ERR Slots are being manually imported"
		case migrating:
			errText = "ERR Slots are being manually migrated"
		}
	})
	return errText
}

// importingLocked returns a slot of the set that is being imported, -1 if none
// is; m.mu is held.
func (m *Mover) importingLocked(slots *Slots) int {
	for _, i := range m.imports {
		if slot := slots.Common(&i.slots); slot >= 0 {
			return slot
		}
	}
	for _, t := range m.tracked {
		if slot := slots.Common(&t.Slots); slot >= 0 {
			return slot
		}
	}
	return -1
}

// ownedBy reports whether a node owns all of the slots.
func (m *Mover) ownedBy(slots *Slots, id string) bool {
	owners := m.o.Cluster.Owners(slots)
	return len(owners) == 1 && owners[0] == id
}

// owns reports whether this node owns all of the slots, by the newest view: a claim
// that is made is made, whatever runs beside it.
func (m *Mover) owns(slots *Slots) bool {
	me := m.o.Cluster.MyID()
	return slots.All(func(slot int) bool { return m.o.Cluster.Owner(slot) == me })
}

// receive is a message from the source in an import session.
func (i *importer) receive(m *Msg) {
	switch m.Kind {
	case MsgEstablish, MsgProbe, MsgInherit:
		i.step(Event{Kind: EvFail, Text: "Source node sent a message out of turn"})
	default:
		i.step(Event{Kind: EvMsg, Msg: m})
	}
}
