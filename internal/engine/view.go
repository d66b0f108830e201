package engine

import (
	"math/bits"
	"sync/atomic"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/store"
)

// View is where this node stands in the world, as commands see it: role, and
// in cluster mode which slots it serves. It is immutable and SetView replaces it
// without locks, so that no command holds up what the cluster has decided. A command
// loads it once, after it has taken its slot locks, and goes by it to its end. Who must
// know that none goes by an older one passes over the locks afterwards (store.Pass).
type View struct {
	Replica bool // read-only role: writes are refused, keys do not expire by themselves
	Cluster bool

	// Own has a bit for each slot that this node serves without any condition:
	// owned, no migration, state ok. Other slots go to Router.
	Own *[256]uint64
	// Held has those that it serves at all, also while they move; nil: none.
	Held   *[256]uint64
	Router Router
	// State is the cluster's, for commands without keys: "" when ok.
	NodeID string
}

// Owns reports whether slot is served without conditions.
func (v *View) Owns(slot uint16) bool { return v.Own[slot>>6]&(1<<(slot&63)) != 0 }

// Query is what a Router must know of a command.
type Query struct {
	Slot     uint16
	Multi    bool // more than one different key
	Write    bool
	Shard    bool // SSUBSCRIBE, SUNSUBSCRIBE, SPUBLISH
	Migrate  bool // MIGRATE
	ReadOnly bool // the client sent READONLY
	Asking   bool // the client sent ASKING, or the command carries it
	TLS      bool
	LocalIP  string // address that the client connected to
	// Present counts existing and missing keys; only asked while a slot moves.
	Present func() (existing, missing int)
}

// Router decides on slots that View.Own does not settle: it returns the error
// reply (MOVED, ASK, TRYAGAIN, CLUSTERDOWN) or "" to serve. It runs under the
// slot's lock and must not block.
type Router interface {
	Route(q *Query) string
}

// View returns the present view.
func (e *Engine) View() *View { return e.view.Load() }

// SetView replaces the view for commands that have not loaded it yet; gates follow the
// role. Clients blocked on keys must be looked at afterwards: RecheckBlocked. One
// goroutine at a time; locks may be held.
func (e *Engine) SetView(v *View) {
	old := e.view.Load()
	if v.Replica {
		e.gates.Or(GateReplica) // before the view: see gatesFor
	}
	e.view.Store(v)
	if !v.Replica {
		e.gates.And(^uint32(GateReplica))
	}
	e.noteLost(old, v)
}

// gatesFor are the gates for a command that has loaded v, and then the gates g: it goes
// by one role to its end. Who has a replica's view and finds the gate open already has
// come to a node that is a primary now.
func gatesFor(v *View, g uint32) uint32 {
	if !v.Replica {
		g &^= GateReplica
	}
	return g
}

// lostSlots has for each slot when this node ceased to serve it (nanos), 0 for never.
type lostSlots [store.Slots]atomic.Int64

// noteLost is called when v has replaced old.
func (e *Engine) noteLost(old, v *View) {
	if old.Held == nil {
		return
	}
	now := e.nanos()
	for i, word := range old.Held {
		if v.Held != nil {
			word &^= v.Held[i]
		}
		if word == 0 {
			continue
		}
		lost := e.lost.Load()
		if lost == nil {
			lost = new(lostSlots)
			e.lost.Store(lost)
		}
		for ; word != 0; word &= word - 1 {
			lost[i<<6+bits.TrailingZeros64(word)].Store(now)
		}
	}
}

// lostSince reports whether one of the commands may have written to a slot that this
// node has lost since.
func (s *Session) lostSince(began int64, ran []planned) bool {
	lost := s.e.lost.Load()
	if lost == nil {
		return false
	}
	for i := range ran {
		switch p := &ran[i]; {
		case p.spec == nil:
		case p.spec == s.e.exec:
			if m := &s.multi; m.slot >= 0 && lost[m.slot].Load() > began {
				return true
			}
		case p.spec.Flags&command.Write != 0:
			hit := false
			p.spec.EachKey(p.argv, func(arg int, _ command.KeyFlags) {
				hit = hit || lost[hashslot.Slot(p.argv[arg])].Load() > began
			})
			if hit {
				return true
			}
		}
	}
	return false
}

// errClusterDown is the reply to commands on slots when the cluster is down for
// this node.
const errClusterDown = "CLUSTERDOWN The cluster is down"

// route returns the error reply for a command whose keys are planned, or "".
func (s *Session) route(v *View, spec *command.Spec, keys []command.Key) string {
	if len(keys) == 0 {
		return ""
	}
	slot := keys[0].Slot
	for i := 1; i < len(keys); i++ {
		if keys[i].Slot != slot {
			// An unowned first slot is reported before the crossing.
			return command.ErrCrossSlot
		}
	}
	if s.asleep && !v.Replica {
		return errClusterDown
	}
	if v.Owns(slot) {
		return ""
	}
	q := Query{
		Slot: slot, Write: spec.Flags&(command.Write|command.MayReplicate) != 0 && spec.Flags&command.PubSubFlag == 0,
		Shard: spec.Flags&command.PubSubFlag != 0, Migrate: spec.Full == "migrate",
		ReadOnly: s.flags&flagReadOnly != 0, Asking: s.flags&flagAsking != 0 || spec.Flags&command.Asking != 0,
		TLS: s.conn.TLS(), LocalIP: s.conn.LocalIP(),
	}
	first := s.ctx.Argv[keys[0].Arg]
	for _, k := range keys[1:] {
		if string(s.ctx.Argv[k.Arg]) != string(first) {
			q.Multi = true
			break
		}
	}
	q.Present = func() (existing, missing int) {
		o := s.ctx.Obj(0)
		for _, k := range keys {
			if s.ctx.DB.Find(k.Slot, k.Hash, s.ctx.Argv[k.Arg], o) {
				existing++
			} else {
				missing++
			}
		}
		return existing, missing
	}
	return v.Router.Route(&q)
}
