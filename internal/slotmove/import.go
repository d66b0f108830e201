package slotmove

// Import is the target's side of a job. Invariants:
//
//   - The slots are taken only after FAILOVER-GRANTED, which came within GrantTTL
//     of the request, and after nothing else had ended the job.
//   - They are taken when the target's replicas have the data, and know that the slots
//     are being taken, within limits: else a target that died just then would take
//     along what the source's replicas had, or its heir delete it. The source's writers
//     do not wait for a slow replica: they go on, and the hand-over begins again.
//   - A job that ends otherwise deletes what it received, once nothing of its
//     connection runs any more, and only then is over.
type Import struct {
	Job
	lim Limits

	closed  bool  // nothing of the connection runs any more
	taking  bool  // the claim is being made
	next    Kind  // what comes once the replicas have everything, MsgNone: nothing does
	waitAt  int64 // Mono of the begin of that wait
	wait    int64 // ... and how long it may be
	waited  int64 // how long the last one was, 0 if it was in vain
	begunAt int64 // Mono of the first
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
func (i *Import) ReplicaWait() (millis int64, short bool) { return i.wait, i.next != MsgPause }

// await goes on with next once the replicas have everything. Both waits while writers
// wait share one limit.
func (i *Import) await(t Times, next Kind) []Action {
	switch i.next = next; next {
	case MsgPause:
		i.wait = i.begunAt + i.lim.Replicas - t.Mono
	case MsgFailover:
		i.wait = min(max(2*i.waited, i.lim.PausedReplicas), i.lim.PausedReplicasMax)
	default:
		i.wait = max(i.wait-i.waited, i.lim.PausedReplicas/4)
	}
	i.waitAt = t.Mono
	return []Action{{Kind: ActReplicas}}
}

// replicated is the end of that wait, in time or not.
func (i *Import) replicated(t Times, inTime bool) []Action {
	next := i.next
	i.next, i.waited = MsgNone, 0
	if inTime {
		i.waited = t.Mono - i.waitAt
	}
	switch next {
	case MsgNone:
		return nil
	case MsgTaking:
		if i.late(t) {
			return i.giveUp(t, Failed, errLateGrant)
		}
		i.taking = true
		return []Action{{Kind: ActTake}}
	case MsgFailover:
		if !inTime && t.Mono-i.begunAt < i.lim.Replicas {
			return append([]Action{{ActSend, &Msg{Kind: MsgResume}}}, i.await(t, MsgPause)...)
		}
		i.become(t, FailoverRequested)
		i.askedAt = t.Mono
	}
	return []Action{{ActSend, &Msg{Kind: next}}}
}

const errLateGrant = "Source node did not grant the failover in time"

// late reports whether a grant is not to be used any more.
func (i *Import) late(t Times) bool { return t.Mono-i.askedAt > i.lim.GrantTTL }

// giveUp ends a job without the slots.
func (i *Import) giveUp(t Times, s State, why string) (acts []Action) {
	if i.State == FailoverGranted { // before the source hears that its writers may go on
		acts = append(acts, Action{ActAnnounce, &Msg{Kind: MsgTaking, Name: i.Name}})
	}
	i.become(t, CleaningUp)
	i.outcome, i.Message = s, why
	if i.closed {
		return append(acts, Action{Kind: ActClean})
	}
	return append(acts, Action{ActSend, &Msg{Kind: MsgFinish, Name: i.Name, State: s, Text: why}}, Action{Kind: ActHangUp})
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
		case i.State == FailoverRequested && i.late(t):
			return i.giveUp(t, Failed, errLateGrant)
		}
	case EvReplicated:
		return i.replicated(t, ev.Flag)
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
			i.begunAt = t.Mono
			return i.await(t, MsgPause)
		}
	case MsgPaused:
		if i.State == WaitingForPaused && i.next == MsgNone {
			return i.await(t, MsgFailover)
		}
	case MsgGranted:
		if i.State == FailoverRequested {
			if i.late(t) {
				return i.giveUp(t, Failed, errLateGrant)
			}
			i.become(t, FailoverGranted)
			left := i.askedAt + i.lim.Hold - t.Mono // the source granted it after it was asked
			return append([]Action{{ActAnnounce, &Msg{Kind: MsgTaking, Name: i.Name, Left: left}}}, i.await(t, MsgTaking)...)
		}
	case MsgFinish:
		if m.State != Success {
			return i.giveUp(t, m.State, said("Source node", m.Text))
		}
	}
	return i.giveUp(t, Failed, out)
}
