package engine

import "github.com/skeindb/skein/internal/command"

// View is where this node stands in the world, as commands see it: role, and
// in cluster mode which slots it serves. It is immutable; SetView replaces it
// under the world lock, so a command that holds a slot lock sees a stable one.
type View struct {
	Replica bool // read-only role: writes are refused, keys do not expire by themselves
	Cluster bool

	// Own has a bit for each slot that this node serves without any condition:
	// owned, no migration, state ok. Other slots go to Router.
	Own    *[256]uint64
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

// SetView replaces the view; gates follow the role.
func (e *Engine) SetView(v *View) {
	e.Store.LockWorld()
	e.SetViewLocked(v)
	e.Store.UnlockWorld()
}

// SetViewLocked is SetView for a caller that holds the world lock. Clients
// blocked on keys must be looked at afterwards: RecheckBlocked.
func (e *Engine) SetViewLocked(v *View) {
	e.view.Store(v)
	if v.Replica {
		e.gates.Or(GateReplica)
	} else {
		e.gates.And(^uint32(GateReplica))
	}
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
