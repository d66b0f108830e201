package bus

import (
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/resp"
)

const (
	errSetSlotForm = "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"
	errSetSlotRole = "ERR Please use SETSLOT only with masters."
	errNoReplicas  = "NOREPLICAS Not enough good replicas to write."
	errTimeoutInt  = "ERR timeout is not an integer or out of range"

	// setSlotTimeout is how long replicas may take to acknowledge a SETSLOT, in
	// milliseconds.
	setSlotTimeout = 2000
)

// setSlot is CLUSTER SETSLOT. A primary whose replicas can execute it lets them
// do so first: should it fail afterwards, its successor knows which slots are
// open, or that one has changed hands. Source: cluster specification, 11.5.
func setSlot(b *Bus, c *command.Ctx) {
	s := engine.SessionOf(c)
	if s.IsPrimary() {
		b.followSetSlot(c)
		return
	}
	v := b.View()
	me := v.Myself()
	cmd, rest, errText := parseSetSlot(c.Argv)
	given := func() bool {
		o := v.Owner(cmd.Slot)
		return cmd.Action == cluster.SlotNode && o != nil && o.ID.String() == cmd.Node
	}
	switch replica := me.Flags.Has(cluster.FlagReplica); {
	case replica && errText == "" && given():
		c.OK() // the slot was this node's last one, and its new owner's claim came first
		return
	case replica:
		c.Error(errSetSlotRole)
		return
	case errText != "":
		c.Error(errText)
		return
	}
	var err error = ErrStopping
	b.ask(func(m *cluster.Machine, _ cluster.Times) { err = m.CheckSetSlot(cmd) })
	if err != nil {
		c.Error(err.Error())
		return
	}
	timeout, errText := setSlotWait(rest)
	if errText != "" {
		c.Error(errText)
		return
	}
	r := b.opt.Repl
	n := r.SlotReplicas()
	// Who gives its last slot away becomes a replica when the new owner's claim
	// comes, which ends the wait for its replicas; that claim tells them, too.
	last := cmd.Action == cluster.SlotNode && cmd.Node != me.ID.String() && me.Slots != nil && me.Slots.Len() == 1 && me.Slots.Has(cmd.Slot)
	if n == 0 || last {
		b.admin(c, cmd)
		return
	}
	if b.opt.Engine.Gate(engine.GatePauseWrite | engine.GatePauseAll) {
		c.Error(errNoReplicas) // the offset must stand still: one of them is taking over
		return
	}
	stream := resp.AppendCommand(nil, c.Argv...)
	if !c.MayBlock { // a transaction goes on; that the replicas know is not awaited
		r.Append(stream)
		b.admin(c, cmd)
		return
	}
	r.Confirm(s, stream, n, timeout, func(ok bool, late func() bool) {
		if !ok {
			c.Error(errNoReplicas)
			return
		}
		b.admin(c, cmd)
		if late() {
			r.Append(stream)
		}
	})
}

// followSetSlot executes the primary's SETSLOT. The acknowledgement of the stream
// says that it is in nodes.conf; there is nobody to tell an error.
func (b *Bus) followSetSlot(c *command.Ctx) {
	cmd, _, errText := parseSetSlot(c.Argv)
	if errText != "" {
		return
	}
	cmd.Propagated = true
	b.settle(func(m *cluster.Machine, now cluster.Times) { m.Admin(now, cmd) })
}

// parseSetSlot reads CLUSTER SETSLOT slot action [node] and leaves the rest,
// TIMEOUT ms or nothing; errText is the reply to a wrong form.
func parseSetSlot(argv [][]byte) (cmd cluster.SetSlot, rest [][]byte, errText string) {
	slot, ok := command.ParseSlot(argv[2])
	if !ok {
		return cmd, nil, command.ErrBadSlot
	}
	cmd.Slot = slot
	rest = argv[4:]
	switch action := argv[3]; {
	case command.Word(action, "stable"):
		cmd.Action = cluster.SlotStable
	case len(rest) == 0:
		return cmd, nil, errSetSlotForm
	case command.Word(action, "migrating"):
		cmd.Action = cluster.SlotMigrating
	case command.Word(action, "importing"):
		cmd.Action = cluster.SlotImporting
	case command.Word(action, "node"):
		cmd.Action = cluster.SlotNode
	default:
		return cmd, nil, errSetSlotForm
	}
	if cmd.Action != cluster.SlotStable {
		cmd.Node, rest = string(rest[0]), rest[1:]
	}
	if len(rest) > 2 || len(rest) > 0 && !command.Word(rest[0], "timeout") {
		return cmd, nil, errSetSlotForm
	}
	return cmd, rest, ""
}

// setSlotWait reads TIMEOUT ms, or nothing.
func setSlotWait(args [][]byte) (ms int64, errText string) {
	switch len(args) {
	case 0:
		return setSlotTimeout, ""
	case 1:
		return 0, "ERR Missing timeout value"
	}
	ms, ok := command.ParseInt(args[1])
	switch {
	case !ok:
		return 0, errTimeoutInt
	case ms < 0:
		return 0, command.ErrTimeoutNeg
	}
	return ms, ""
}

// SlotStates are the open slots of this node as a full sync tells them to its
// replicas: slot<id, for each that is imported, slot>id, for each that migrates.
// Source: cluster specification, 9.6.
func (b *Bus) SlotStates() string {
	return appendSlotStates(b.view.Load().Markers())
}

func appendSlotStates(migrating, importing []cluster.SlotMark) string {
	var out strings.Builder
	write := func(marks []cluster.SlotMark, arrow byte) {
		for _, m := range marks {
			out.WriteString(strconv.Itoa(int(m.Slot)))
			out.WriteByte(arrow)
			out.WriteString(m.Node.String())
			out.WriteByte(',')
		}
	}
	write(importing, '<')
	write(migrating, '>')
	return out.String()
}

// LoadSlotStates takes the open slots of the primary from a full sync, in place of
// what this replica knew. It leaves everything as it is if the text is damaged.
func (b *Bus) LoadSlotStates(text string) {
	cmd, ok := parseSlotStates(text)
	if !ok {
		b.opt.Log.Warn("The slot states of the full sync cannot be read")
		return
	}
	b.settle(func(m *cluster.Machine, now cluster.Times) {
		if m.View().Myself().Flags.Has(cluster.FlagReplica) {
			m.Admin(now, cmd)
		}
	})
}

func parseSlotStates(text string) (cmd cluster.LoadMarkers, ok bool) {
	for text != "" {
		item, rest, _ := strings.Cut(text, ",")
		text = rest
		i := strings.IndexAny(item, "<>")
		if i < 0 {
			return cmd, false
		}
		slot, err := strconv.ParseUint(item[:i], 10, 16)
		id, ok := cluster.ParseID(item[i+1:])
		if err != nil || slot >= cluster.SlotCount || !ok {
			return cmd, false
		}
		mark := cluster.SlotMark{Slot: uint16(slot), Node: id}
		if item[i] == '<' {
			cmd.Importing = append(cmd.Importing, mark)
		} else {
			cmd.Migrating = append(cmd.Migrating, mark)
		}
	}
	return cmd, true
}

// LiveReplicas returns how many replicas of the primary with the client address
// host:port are not suspected to be down; 0 if there is no such node.
func (b *Bus) LiveReplicas(host string, port uint16) int {
	v := b.view.Load()
	for _, n := range v.Nodes {
		if (n.Addr.Port == port || n.Addr.TLSPort == port) && n.Flags.Has(cluster.FlagPrimary) &&
			(n.Addr.IP == host || n.Hostname == host || n.ClientIPv4 == host || n.ClientIPv6 == host) {
			return liveReplicas(v, n.ID)
		}
	}
	return 0
}

// OwnLiveReplicas is LiveReplicas of this node.
func (b *Bus) OwnLiveReplicas() int {
	v := b.view.Load()
	return liveReplicas(v, v.Myself().ID)
}

func liveReplicas(v *cluster.View, id cluster.NodeID) (count int) {
	for _, n := range v.Nodes {
		if n.Primary == id && n.Flags&(cluster.FlagFail|cluster.FlagPFail) == 0 {
			count++
		}
	}
	return count
}
