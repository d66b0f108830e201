package slotmove

// Import is the target's side of a job. Invariants:
//
//   - The slots are taken only after FAILOVER-GRANTED, which came within GrantTTL
//     of the request, and after nothing else had ended the job.
//   - They are taken when the target's replicas have the data, within limits: else a
//     target that died just then would take along what the source's replicas had.
//   - A job that ends otherwise deletes what it received, once nothing of its
//     connection runs any more, and only then is over.
type Import struct {
	Job
	lim Limits

	closed  bool  // nothing of the connection runs any more
	taking  bool  // the claim is being made
	asks    *Msg  // what the source is asked once the replicas have everything
	askedAt int64 // Mono of REQUEST-FAILOVER
	heard   int64 // Mono of the last message
	outcome State // after cleaning up
}

// NewImport begins a job whose fields up to Created are set. The caller has
// hidden the slots.
func NewImport(j Job, lim Limits, t Times) *Import {
	j.Import, j.State, j.Created, j.Updated, j.AckAt = true, WaitingForAck, t.Wall, t.Wall, t.Wall
	return &Import{Job: j, lim: lim, heard: t.Mono}
}

func (i *Import) become(t Times, s State) { i.State, i.Updated = s, t.Wall }

// Taking reports whether the slots are about to be taken, which nothing stops.
func (i *Import) Taking() bool { return i.taking }

// TakeUntil is the time, Mono, after which the slots may not be taken: the source
// may serve writes again, long after, and this node may have stood still since.
func (i *Import) TakeUntil() int64 { return i.askedAt + i.lim.GrantTTL }

// ReplicaWait is how long ActReplicas waits. It is short when the source's writers
// wait too; the replicas were given their time before.
func (i *Import) ReplicaWait() (millis int64, short bool) {
	if i.asks != nil && i.asks.Kind == MsgPause {
		return i.lim.Replicas, false
	}
	return i.lim.PausedReplicas, true
}

// await asks the source for m once the replicas have everything.
func (i *Import) await(m Kind) []Action {
	i.asks = &Msg{Kind: m}
	return []Action{{Kind: ActReplicas}}
}

// giveUp ends a job without the slots.
func (i *Import) giveUp(t Times, s State, why string) (acts []Action) {
	i.become(t, CleaningUp)
	i.outcome, i.Message = s, why
	if i.closed {
		return []Action{{Kind: ActClean}}
	}
	return []Action{{ActSend, &Msg{Kind: MsgFinish, Name: i.Name, State: s, Text: why}}, {Kind: ActHangUp}}
}

// Step takes an event and returns what is to be done, in order.
func (i *Import) Step(t Times, ev Event) []Action {
	if i.State.Final() {
		return nil
	}
	if ev.Kind == EvMsg {
		i.heard, i.AckAt = t.Mono, t.Wall
	}
	if ev.Kind == EvClosed {
		i.closed = true
	}
	switch {
	case i.State == CleaningUp:
		switch ev.Kind {
		case EvClosed:
			return []Action{{Kind: ActClean}}
		case EvCleaned:
			i.become(t, i.outcome)
			return []Action{{ActAnnounce, &Msg{Kind: MsgFinish, Name: i.Name, State: i.State, Text: i.Message}}}
		}
		return nil
	case i.taking:
		switch ev.Kind {
		case EvTaken:
			i.taking = false
			i.become(t, Success)
			done := &Msg{Kind: MsgFinish, Name: i.Name, State: Success}
			return []Action{{Kind: ActShow}, {ActAnnounce, done}, {ActSend, done}}
		case EvRefused:
			i.taking = false
			return i.giveUp(t, Failed, ev.Text)
		}
		return nil
	}
	switch ev.Kind {
	case EvFail:
		return i.giveUp(t, Failed, ev.Text)
	case EvCancel:
		return i.giveUp(t, Cancelled, "")
	case EvClosed, EvLost:
		return i.giveUp(t, Failed, "Connection lost to source node")
	case EvOwner:
		if ev.Owner != OwnedBySource {
			return i.giveUp(t, Failed, "Slots are no longer owned by the source node")
		}
	case EvTick:
		switch {
		case t.Mono-i.heard > i.lim.Silence:
			return i.giveUp(t, Failed, "Timed out after too long with no interaction")
		case i.State == FailoverRequested && t.Mono-i.askedAt > i.lim.GrantTTL:
			return i.giveUp(t, Failed, "Source node did not grant the failover in time")
		}
	case EvReplicated:
		m := i.asks
		if i.asks = nil; m == nil {
			break
		}
		if m.Kind == MsgFailover {
			i.become(t, FailoverRequested)
			i.askedAt = t.Mono
		}
		return []Action{{ActSend, m}}
	case EvMsg:
		return i.message(t, ev.Msg)
	}
	return nil
}

func (i *Import) message(t Times, m *Msg) []Action {
	out := "Source node sent a message out of turn"
	switch m.Kind {
	case MsgAck:
		if i.State == WaitingForAck {
			i.become(t, ReceivingSnapshot)
		}
		return []Action{{ActSend, &Msg{Kind: MsgAck, Mark: m.Mark}}}
	case MsgEOF:
		if i.State == ReceivingSnapshot {
			i.become(t, WaitingForPaused)
			return i.await(MsgPause)
		}
	case MsgPaused:
		if i.State == WaitingForPaused && i.asks == nil {
			return i.await(MsgFailover)
		}
	case MsgGranted:
		if i.State == FailoverRequested {
			if t.Mono-i.askedAt > i.lim.GrantTTL {
				return i.giveUp(t, Failed, "Source node did not grant the failover in time")
			}
			i.become(t, FailoverGranted)
			i.taking = true
			return []Action{{Kind: ActTake}}
		}
	case MsgFinish:
		if m.State != Success {
			return i.giveUp(t, m.State, said("Source node", m.Text))
		}
	}
	return i.giveUp(t, Failed, out)
}
