package slotmove

import (
	"maps"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/store"
)

// tracked is a migration to this node's primary, known from the stream: the keys
// come as ordinary commands and must stay hidden here too. A replica that becomes
// a primary meanwhile deletes them, but takes the slots if its primary was about to:
// nobody can tell whether it has, and the source waits for an answer.
type tracked struct {
	Job
	heard   int64 // Mono
	source  string
	until   int64 // Mono until which the slots may be taken; 0: they were not granted
	flushes int64
	taking  bool
}

// heirMargin is how much earlier than its primary said a replica stops to take slots:
// for the time that the word may have been under way, ms.
const heirMargin = 500

// fromPrimary is a message in the stream from the primary.
func (m *Mover) fromPrimary(msg *Msg) {
	switch msg.Kind {
	case MsgEstablish:
		m.track(Job{Name: msg.Name, Import: true, Slots: msg.Slots}, msg.Source)
	case MsgTaking:
		m.mu.Lock()
		if t := m.tracked[msg.Name]; t != nil {
			t.until, t.flushes = m.now().Mono+msg.Left-heirMargin, m.o.Engine.Flushes()
		}
		m.mu.Unlock()
	case MsgFinish:
		m.untrack(msg.Name, msg.State, msg.Text)
		if msg.State != Success {
			m.mu.Lock()
			delete(m.leaving, msg.Name)
			m.mu.Unlock()
		}
	case MsgLeave:
		m.mu.Lock()
		m.leaving[msg.Name] = leaving{msg.Slots, m.now().Mono}
		m.mu.Unlock()
	}
}

// track hides slots whose keys belong to a migration of the primary.
func (m *Mover) track(j Job, source string) {
	now := m.now()
	m.mu.Lock()
	t := m.tracked[j.Name]
	if t == nil {
		t = &tracked{Job: j}
		t.OnlySeen, t.State, t.Created, t.Updated = true, OnPrimary, now.Wall, now.Wall
		m.tracked[j.Name] = t
	}
	t.heard, t.AckAt, t.source = now.Mono, now.Wall, source
	m.mu.Unlock()
	m.o.Engine.HideSlots(j.Slots.set(), true)
}

// untrack ends that.
func (m *Mover) untrack(name string, s State, why string) {
	limit := m.o.Settings().LogLen
	m.mu.Lock()
	t := m.tracked[name]
	if t == nil {
		m.mu.Unlock()
		return
	}
	delete(m.tracked, name)
	j := t.Job
	j.State, j.Message, j.Updated = s, why, m.now().Wall
	m.keepLocked(&j, limit)
	m.mu.Unlock()
	m.o.Engine.HideSlots(j.Slots.set(), false)
	m.told(&j)
}

// forgetAfter is how long a migration of which nothing is heard any more, because
// the primary has restarted, keeps slots hidden; ms.
const forgetAfter = 30_000

func (m *Mover) tickTracked(replica bool) {
	m.mu.Lock()
	var all []tracked
	for _, t := range m.tracked {
		all = append(all, *t)
	}
	now := m.now().Mono
	m.mu.Unlock()
	e := m.o.Engine
	for _, t := range all {
		switch {
		case t.taking:
		case !replica && now < t.until && !m.owns(&t.Slots):
			m.inherit(t)
		case !replica:
			m.settle(t.Name, &t.Slots, "The target node failed over")
		case now < t.until: // the primary may be dead, and the election take longer than the rest here
		case now-t.heard > forgetAfter:
			m.untrack(t.Name, Failed, "Nothing was heard of it from the primary")
		case now-t.heard > 2*announceEvery && t.Slots.All(func(slot int) bool { return empty(e.Store, slot) }):
			m.untrack(t.Name, Failed, "Nothing was heard of it from the primary")
		}
	}
}

// inherit takes the slots in the place of the primary that this node has succeeded.
func (m *Mover) inherit(t tracked) {
	m.mu.Lock()
	if t := m.tracked[t.Name]; t != nil {
		t.taking = true
	}
	m.mu.Unlock()
	m.spawn(func() {
		m.take(&t.Slots, t.source, t.flushes, t.until, func(ev Event) {
			if !m.o.Engine.View().Replica {
				m.settle(t.Name, &t.Slots, ev.Text)
				return
			}
			m.mu.Lock() // a replica again: it is its new primary's
			if t := m.tracked[t.Name]; t != nil {
				t.taking, t.until = false, 0
			}
			m.mu.Unlock()
		})
	})
}

// settle ends, on a primary, a migration that was known from the stream: it deletes the
// keys, or shows them if the slots have come. why is the reason if they have not.
func (m *Mover) settle(name string, slots *Slots, why string) {
	m.drop(slots)
	s := Failed
	if m.owns(slots) {
		s, why = Success, ""
	}
	m.o.Announce((&Msg{Kind: MsgFinish, Name: name, State: s, Text: why}).Append(nil))
	m.untrack(name, s, why)
}

// leaving are slots that a migration may take from this node's shard, known from
// the stream. When they are another's, the primary deletes the keys; if it dies
// before, the replica that succeeds it has to.
type leaving struct {
	slots Slots
	heard int64 // Mono
}

func (m *Mover) tickLeaving(replica bool) {
	m.mu.Lock()
	all := maps.Clone(m.leaving)
	now := m.now().Mono
	m.mu.Unlock()
	for name, l := range all {
		over := now-l.heard > forgetAfter // it was given up, and nobody lived to say so
		if !replica && m.dropTaken(&l.slots) {
			over = true
		}
		if over {
			m.mu.Lock()
			delete(m.leaving, name)
			m.mu.Unlock()
		}
	}
}

// dropTaken deletes the keys of slots that are another's, but for those that come
// back by now. It reports whether there was one.
func (m *Mover) dropTaken(slots *Slots) (any bool) {
	cl, e := m.o.Cluster, m.o.Engine
	me := cl.MyID()
	slots.Each(func(slot int) {
		if o := cl.Owner(slot); o == "" || o == me {
			return
		}
		any = true
		if importing, _ := cl.Open(slot); !importing {
			e.DropShown(uint16(slot))
		}
	})
	return any
}

func empty(st *store.Store, slot int) bool { return st.DB(0).SlotLen(uint16(slot)) == 0 }

// syncSlots is CLUSTER SYNCSLOTS, which nodes send to each other.
func (m *Mover) syncSlots(c *command.Ctx) {
	s := engine.SessionOf(c)
	msg, errText := ParseMsg(c.Argv[2:])
	i, importing := s.Ext.(*importer)
	switch {
	case errText != "":
		c.Error(errText)
	case importing:
		i.receive(&msg)
	case s.IsPrimary():
		m.fromPrimary(&msg)
	case msg.Kind == MsgEstablish:
		m.establish(c, &msg)
	case msg.Kind == MsgProbe:
		c.Simple(m.answerProbe(&msg))
	default:
		c.Error("ERR CLUSTER SYNCSLOTS " + msg.Kind.String() + " only goes with a migration's connection")
	}
}
