package slotmove

import (
	"maps"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/store"
)

// tracked is a migration to this node's primary, known from the stream: the keys
// come as ordinary commands and must stay hidden here too. A replica that becomes
// a primary meanwhile settles it (heir.go).
type tracked struct {
	Job
	heard  int64 // Mono
	source string
	taking bool // inherit runs

	// Everything has come and the primary may take the slots (TAKING): what that
	// was true of, and until when, Mono, it is worth to be remembered.
	whole   bool
	until   int64
	flushes int64
	links   int64
}

// fromPrimary is a message in the stream from the primary.
func (m *Mover) fromPrimary(msg *Msg) {
	switch msg.Kind {
	case MsgEstablish:
		m.track(Job{Name: msg.Name, Import: true, Slots: msg.Slots}, msg.Source)
	case MsgTaking:
		m.mu.Lock()
		if t := m.tracked[msg.Name]; t != nil {
			t.whole, t.until = msg.Left > 0, m.now().Mono+msg.Left
			t.flushes, t.links = m.o.Engine.Flushes(), m.o.Engine.PrimaryLinks()
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
		case !replica:
			m.succeed(&t)
		case t.whole && now < t.until: // the primary may be dead, and the election take longer than the rest here
		case now-t.heard > forgetAfter:
			m.untrack(t.Name, Failed, "Nothing was heard of it from the primary")
		case now-t.heard > 2*announceEvery && t.Slots.All(func(slot int) bool { return empty(e.Store, slot) }):
			m.untrack(t.Name, Failed, "Nothing was heard of it from the primary")
		}
	}
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
		var over bool
		switch {
		case !replica && m.dropTaken(&l.slots):
			over = true
		case replica && !m.keptByPrimary(&l.slots): // who has them, or lost them and died, may have left keys
			over = l.slots.All(func(slot int) bool { return empty(m.o.Engine.Store, slot) })
		default: // it was given up, and nobody lived to say so
			over = now-l.heard > forgetAfter+m.limits().Hold
		}
		if over {
			m.mu.Lock()
			delete(m.leaving, name)
			m.mu.Unlock()
		}
	}
}

// keptByPrimary reports whether a primary of this node's shard, which is not known to
// have failed, owns one of the slots.
func (m *Mover) keptByPrimary(slots *Slots) (any bool) {
	cl := m.o.Cluster
	shard := m.shard(cl.MyID())
	slots.Each(func(slot int) {
		n, ok := cl.Node(cl.Owner(slot))
		any = any || ok && n.Primary && n.Shard == shard
	})
	return any
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
	case msg.Kind == MsgInherit:
		c.Simple(m.answerHeir(&msg))
	default:
		c.Error("ERR CLUSTER SYNCSLOTS " + msg.Kind.String() + " only goes with a migration's connection")
	}
}
