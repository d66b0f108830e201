package slotmove

import "strings"

// Export is the source's side of a job. It does nothing itself: Step says what
// is to be done. Invariants:
//
//   - Writes are frozen exactly from ActFreeze to ActThaw.
//   - FAILOVER-GRANTED is sent at most once, while writes are frozen and after
//     everything before the freeze is sent.
//   - After the grant writes go on only when the outcome is known, or Hold is over
//     since the grant, or since an heir of the target asked: what was granted is that
//     one's from then on, and what the target says does not count any more.
type Export struct {
	Job
	lim Limits

	frozen    bool
	drained   bool  // PAUSED is sent
	lost      bool  // the connection, after the grant
	at        int64 // Mono of the last change of state
	heard     int64 // Mono of the last message
	grantedAt int64 // Mono from which Hold counts
	heir      bool  // Target is one who has succeeded it
	probedAt  int64
	probing   bool
}

// NewExport begins a job whose fields up to Created are set.
func NewExport(j Job, lim Limits, t Times) *Export {
	j.State, j.Created, j.Updated = Connecting, t.Wall, t.Wall
	return &Export{Job: j, lim: lim, at: t.Mono, heard: t.Mono}
}

// Frozen reports whether writes to the slots are to wait.
func (x *Export) Frozen() bool { return x.frozen }

func (x *Export) become(t Times, s State) {
	x.State, x.Updated, x.at = s, t.Wall, t.Mono
}

// finish ends the job.
func (x *Export) finish(t Times, s State, why string) (acts []Action) {
	x.become(t, s)
	x.Message = why
	if !x.lost && s != Success {
		acts = append(acts, Action{ActSend, &Msg{Kind: MsgFinish, Name: x.Name, State: s, Text: why}})
	}
	if x.frozen {
		x.frozen = false
		acts = append(acts, Action{Kind: ActThaw})
	}
	return append(acts, Action{Kind: ActHangUp})
}

// Step takes an event and returns what is to be done, in order.
func (x *Export) Step(t Times, ev Event) []Action {
	if x.State.Final() {
		return nil
	}
	if ev.Kind == EvMsg {
		x.heard, x.AckAt = t.Mono, t.Wall
	}
	if x.State == FailoverGranted {
		return x.granted(t, ev)
	}
	switch ev.Kind {
	case EvFail:
		return x.finish(t, Failed, ev.Text)
	case EvCancel:
		return x.finish(t, Cancelled, "")
	case EvLost:
		x.lost = true
		return x.finish(t, Failed, ev.Text)
	case EvOwner:
		if ev.Owner != OwnedBySource {
			return x.finish(t, Failed, "Slots are not served by this node.")
		}
	case EvConnected:
		if x.State == Connecting {
			x.heard = t.Mono
			if x.become(t, SendingEstablish); ev.Flag {
				x.become(t, SendingAuth)
			}
		}
	case EvSent:
		switch x.State {
		case SendingAuth:
			x.become(t, ReadingAuth)
		case SendingEstablish:
			x.become(t, ReadingEstablish)
		}
	case EvReply:
		refused := strings.HasPrefix(ev.Text, "-")
		switch {
		case x.State == ReadingAuth && refused:
			return x.finish(t, Failed, "Failed to AUTH to target node: "+ev.Text[1:])
		case x.State == ReadingAuth:
			x.become(t, SendingEstablish)
		case x.State == ReadingEstablish && refused:
			return x.finish(t, Failed, "Target node replied to SYNCSLOTS ESTABLISH with error: "+ev.Text[1:])
		case x.State == ReadingEstablish:
			x.become(t, WaitingToSnapshot)
			x.heard, x.AckAt = t.Mono, t.Wall
			return []Action{{ActSend, &Msg{Kind: MsgAck}}}
		}
	case EvBegun:
		if x.State == WaitingToSnapshot {
			x.become(t, Snapshotting)
		}
	case EvWalked:
		if x.State == Snapshotting {
			x.become(t, Replicating)
			return []Action{{ActSend, &Msg{Kind: MsgEOF}}}
		}
	case EvLag:
		if x.State == WaitingToPause && !x.frozen && ev.Lag <= x.lim.PauseLag {
			x.frozen = true
			return []Action{{Kind: ActFreeze}}
		}
	case EvFrozen:
		if x.State == WaitingToPause && x.frozen {
			x.become(t, FailoverPaused)
		}
	case EvDrained:
		if x.State == FailoverPaused && !x.drained {
			x.drained = true
			return []Action{{ActSend, &Msg{Kind: MsgPaused}}}
		}
	case EvMsg:
		return x.message(t, ev.Msg)
	case EvTick:
		switch {
		case x.State == FailoverPaused && t.Mono-x.at > x.lim.Pause:
			return x.finish(t, Failed, "Timed out while writes were paused")
		case x.State != WaitingToSnapshot && t.Mono-x.heard > x.lim.Silence:
			return x.finish(t, Failed, "Timed out after too long with no interaction")
		}
	}
	return nil
}

func (x *Export) message(t Times, m *Msg) []Action {
	switch m.Kind {
	case MsgAck:
	case MsgPause:
		if x.State != Replicating {
			return x.finish(t, Failed, "Target node asked for a pause out of turn")
		}
		x.become(t, WaitingToPause)
	case MsgResume:
		if x.State != FailoverPaused || !x.drained {
			return x.finish(t, Failed, "Target node ended the pause out of turn")
		}
		x.become(t, Replicating)
		x.frozen, x.drained = false, false
		return []Action{{Kind: ActThaw}}
	case MsgFailover:
		if x.State != FailoverPaused || !x.drained {
			return x.finish(t, Failed, "Target node asked for a failover out of turn")
		}
		x.become(t, FailoverGranted)
		x.grantedAt, x.probedAt = t.Mono, t.Mono
		return []Action{{ActSend, &Msg{Kind: MsgGranted}}}
	case MsgFinish:
		if m.State == Success { // it cannot have taken what was not granted
			return x.finish(t, Failed, "Target node finished out of turn")
		}
		return x.finish(t, m.State, said("Target node", m.Text))
	default:
		return x.finish(t, Failed, "Target node sent an unexpected message")
	}
	return nil
}

// Inherit is the question of a node that has succeeded the target and has everything
// that was sent. If it reports true, that node may take the slots for GrantTTL from when
// it asked.
func (x *Export) Inherit(t Times, heir string) bool {
	if x.State != FailoverGranted || t.Mono-x.at > x.lim.HoldAll {
		return false
	}
	x.Target, x.heir, x.lost = heir, true, true
	x.grantedAt = t.Mono
	return true
}

// granted is Step once the target may take the slots: a command or a fault here
// cannot call that back.
func (x *Export) granted(t Times, ev Event) []Action {
	switch ev.Kind {
	case EvOwner:
		switch ev.Owner {
		case OwnedByTarget:
			return x.finish(t, Success, "")
		case OwnedByOther:
			return x.finish(t, Failed, "Slots are not served by this node.")
		}
	case EvMsg:
		if ev.Msg.Kind == MsgFinish && ev.Msg.State != Success && !x.heir {
			return x.finish(t, ev.Msg.State, said("Target node", ev.Msg.Text))
		}
	case EvLost:
		x.lost = true
	case EvProbed:
		x.probing, x.probedAt = false, t.Mono
		if ev.Text == probeNever && ev.Node == x.Target {
			return x.finish(t, Failed, "Connection lost to target node")
		}
	case EvTick:
		switch {
		case t.Mono-x.grantedAt > x.lim.Hold:
			return x.finish(t, Failed, "Target node did not take the slots in time")
		case !x.lost && t.Mono-x.grantedAt > x.lim.GrantTTL:
			x.lost = true // silent: ask on another connection
			fallthrough
		case x.lost && !x.probing && t.Mono-x.probedAt >= x.lim.ProbeEach:
			x.probing = true
			return []Action{{Kind: ActProbe}}
		}
	}
	return nil
}
