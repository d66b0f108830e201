package slotmove

import "slices"

// Who owns the slots when the target dies in the hand-over. Its heir knows from the
// stream that everything has come (TAKING), but not what the source does: it may hold
// its writers still, or have let them go on because the time was over, and the heir may
// have been stopped for any time since it heard that. So it asks (INHERIT), and takes the
// slots within GrantTTL of its question; the source holds its writers for Hold from when
// the question came, does not heed the old target any more, and waits for the heir
// instead. Hence a late answer, a late wake, or an old target that is back and knows
// nothing do no harm. Where the source cannot be asked nothing is taken, and nothing is
// deleted either, until it can be or another owns the slots.

// succeed settles, on a primary, a migration that was known from the stream.
func (m *Mover) succeed(t *tracked) {
	e := m.o.Engine
	whole := t.whole && t.links == e.PrimaryLinks() && t.flushes == e.Flushes()
	switch from, certain := m.holder(t); {
	case m.owns(&t.Slots), !whole, certain && from == "":
		m.settle(t.Name, &t.Slots, "The target node failed over")
	case certain:
		m.inherit(*t, from)
	}
}

// holder returns the node from which the heir of a target may get the slots: the source,
// or who has them in the heir's own shard; "" if another has them, or several do.
// certain is false while some have no owner at all.
func (m *Mover) holder(t *tracked) (from string, certain bool) {
	cl := m.o.Cluster
	var owners []string
	t.Slots.Each(func(slot int) {
		if o := cl.Owner(slot); !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
	})
	switch {
	case slices.Contains(owners, ""):
		return "", false
	case len(owners) > 1:
		return "", true
	case owners[0] == t.source:
		return t.source, true
	}
	if shard := m.shard(cl.MyID()); shard != "" && m.shard(owners[0]) == shard {
		return owners[0], true
	}
	return "", true
}

// shard is the shard of a node, "" if that is not known.
func (m *Mover) shard(id string) string {
	n, _ := m.o.Cluster.Node(id)
	return n.Shard
}

// inherit takes the slots in the place of the primary that this node has succeeded, if
// the one who has them lets it; the next tick tries again what has failed.
func (m *Mover) inherit(t tracked, from string) {
	taking := func(on bool) {
		m.mu.Lock()
		if t := m.tracked[t.Name]; t != nil {
			t.taking = on
		}
		m.mu.Unlock()
	}
	taking(true)
	m.spawn(func() {
		defer taking(false)
		asked := m.now().Mono
		if from == t.source {
			switch m.ask(m.ctx, from, &Msg{Kind: MsgInherit, Source: m.o.Cluster.MyID(), Name: t.Name, Slots: t.Slots}) {
			case inheritGranted, inheritTaken:
			case inheritNever:
				if !m.o.Engine.View().Replica {
					m.settle(t.Name, &t.Slots, "The target node failed over, and the source keeps the slots")
				}
				return
			default:
				return
			}
		}
		m.take(&t.Slots, from, t.flushes, asked+m.limits().GrantTTL, func(ev Event) {
			if ev.Kind == EvTaken {
				m.settle(t.Name, &t.Slots, "")
			}
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

// answerProbe is CLUSTER SYNCSLOTS PROBE, from a source to the target or its heir. A job
// that has not come to its claim is ended by it, so that "never" stays true. A node that
// was killed and is a primary still may say so too, though its heir is being elected: that
// one asks the source before it takes anything.
func (m *Mover) answerProbe(msg *Msg) string {
	for _, i := range m.allImports() {
		if i.name != msg.Name {
			continue
		}
		i.step(Event{Kind: EvFail, Text: "Connection lost to source node"})
		m.mu.Lock()
		taking := i.i.Taking()
		m.mu.Unlock()
		if taking {
			return probeWait
		}
	}
	m.mu.Lock()
	t := m.tracked[msg.Name]
	heir := t != nil && t.whole
	m.mu.Unlock()
	switch {
	case m.owns(&msg.Slots):
		return probeTaken
	case heir, m.o.Engine.View().Replica: // who has succeeded this node may be taking them
		return probeWait
	}
	return probeNever
}

// answerHeir is CLUSTER SYNCSLOTS INHERIT, from the heir of a target to the source.
func (m *Mover) answerHeir(msg *Msg) string {
	shard := m.shard(msg.Source)
	if shard == "" {
		return probeWait // not known yet
	}
	for _, x := range m.allExports() {
		switch {
		case x.name != msg.Name:
		case m.shard(x.target()) != shard:
			return probeWait
		case x.inherit(msg.Source):
			return inheritGranted
		}
	}
	answer := inheritTaken
	msg.Slots.Each(func(slot int) {
		switch o := m.o.Cluster.Owner(slot); {
		case answer == inheritNever:
		case o == "":
			answer = probeWait
		case m.shard(o) != shard:
			answer = inheritNever
		}
	})
	return answer
}
