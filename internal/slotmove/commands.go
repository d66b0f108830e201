package slotmove

import (
	"strconv"

	"github.com/skeindb/skein/internal/command"
)

const errOnlyPrimary = "ERR Slot migration can only be used on primary nodes."

// Specs are the subcommands of CLUSTER. m is nil in standalone mode: the commands
// then say that cluster support is disabled.
func Specs(m *Mover) []*command.Spec {
	const f = command.Session | command.Admin | command.NoAsyncLoading | command.NoScript | command.NoMulti
	sub := func(name string, arity int, flags command.Flags, syntax, summary string, run func(*Mover, *command.Ctx)) *command.Spec {
		return &command.Spec{Name: name, Group: command.Cluster, Since: "9.0.0", Arity: arity, Flags: flags, Syntax: syntax, Summary: summary,
			Complexity: "O(N) with what it names", Run: func(c *command.Ctx) {
				if m == nil {
					c.Error(command.ErrNoCluster)
					return
				}
				run(m, c)
			}}
	}
	return []*command.Spec{
		sub("migrateslots", -7, f, "SLOTSRANGE start-slot end-slot [start-slot end-slot ...] NODE node-id [SLOTSRANGE ... NODE node-id ...]",
			"Moves slots with their data to another primary.", (*Mover).migrateSlots),
		sub("getslotmigrations", 2, command.Session|command.Admin|command.Stale, "", "Migrations of slots that go on, and the last ones that are over.", (*Mover).getSlotMigrations),
		sub("cancelslotmigrations", 2, f, "", "Gives up all migrations of slots that go on.", (*Mover).cancelSlotMigrations),
		sub("syncslots", -3, f|command.Stale, "argument [argument ...]", "Used between nodes that move slots.", (*Mover).syncSlots),
		sub("flushslot", -3, command.Session|command.Write|command.NoScript|command.NoMulti, "slot [ASYNC | SYNC]", "Deletes the keys of a slot.", (*Mover).flushSlot),
	}
}

// migrateSlots is CLUSTER MIGRATESLOTS. Everything is checked before anything
// begins.
func (m *Mover) migrateSlots(c *command.Ctx) {
	cl := m.o.Cluster
	if m.o.Engine.View().Replica {
		c.Error(errOnlyPrimary)
		return
	}
	me := cl.MyID()
	var jobs []Job
	var all Slots
	for args := c.Argv[2:]; len(args) > 0; {
		if !command.Word(args[0], "slotsrange") {
			c.Error(command.ErrSyntax)
			return
		}
		j := Job{Source: me}
		var errText string
		if args, errText = parseRanges(args[1:], &j.Slots); errText != "" {
			c.Error(errText)
			return
		}
		if len(args) < 2 || !command.Word(args[0], "node") {
			c.Error(command.ErrSyntax)
			return
		}
		id := args[1]
		args = args[2:]
		if errText = m.target(&j, id); errText == "" {
			errText = m.mayExport(&j.Slots, me)
		}
		if errText == "" && all.Common(&j.Slots) >= 0 {
			errText = errOverlap
		}
		if errText != "" {
			c.Error(errText)
			return
		}
		j.Slots.Each(all.Add)
		jobs = append(jobs, j)
	}
	m.mu.Lock()
	if m.closed {
		jobs = nil
	}
	for _, x := range m.exports {
		if slot := all.Common(x.slots); slot >= 0 {
			m.mu.Unlock()
			c.Error("ERR I am already migrating slot " + strconv.Itoa(slot) + ".")
			return
		}
	}
	for _, j := range jobs {
		j.Name = newName()
		x := m.newExporter(j)
		m.exports = append(m.exports, x)
		m.wg.Go(x.run)
	}
	m.mu.Unlock()
	for _, j := range jobs {
		m.o.Slog.Info("Slot migration was asked for", "slots", j.Slots.String(), "node", j.Target)
	}
	c.OK()
}

// target notes the node that a job goes to.
func (m *Mover) target(j *Job, id []byte) (errText string) {
	if len(id) != idLen {
		return errNodeName + printable(id)
	}
	n, ok := m.o.Cluster.Node(string(id))
	switch {
	case !ok:
		return errUnknownNode + printable(id)
	case string(id) == j.Source:
		return "ERR Target node can not be this node."
	case !n.Primary:
		return "ERR Target node must be a primary"
	}
	j.Target = string(id)
	return ""
}

// mayExport returns why slots cannot leave, or "".
func (m *Mover) mayExport(slots *Slots, me string) (errText string) {
	cl := m.o.Cluster
	owner := ""
	slots.Each(func(slot int) {
		o := cl.Owner(slot)
		switch {
		case errText != "":
		case o == "":
			errText = "ERR Slot " + strconv.Itoa(slot) + " has no node served."
		case owner != "" && o != owner:
			errText = "ERR Requested slots span multiple shards"
		}
		owner = o
	})
	if errText == "" && owner != me {
		errText = "ERR Slots are not served by this node."
	}
	if errText == "" {
		errText = m.openError(slots)
	}
	return errText
}

// getSlotMigrations is CLUSTER GETSLOTMIGRATIONS.
func (m *Mover) getSlotMigrations(c *command.Ctx) {
	jobs := m.jobs()
	c.Array(len(jobs))
	for i := range jobs {
		j := &jobs[i]
		n := 11
		if j.OnlySeen {
			n -= 2
		}
		c.Map(n)
		text := func(name, value string) {
			c.BulkString(name)
			c.BulkString(value)
		}
		seconds := func(name string, ms int64) {
			c.BulkString(name)
			c.Int(ms / 1000)
		}
		text("name", j.Name)
		text("operation", j.operation())
		text("slot_ranges", j.Slots.String())
		if !j.OnlySeen {
			text("target_node", j.Target)
			text("source_node", j.Source)
		}
		seconds("create_time", j.Created)
		seconds("last_update_time", j.Updated)
		seconds("last_ack_time", j.AckAt)
		text("state", j.State.String())
		text("message", j.Message)
		seconds("cow_size", 0)
	}
}

// cancelSlotMigrations is CLUSTER CANCELSLOTMIGRATIONS. A migration whose slots
// are granted already goes on: it may have happened.
func (m *Mover) cancelSlotMigrations(c *command.Ctx) {
	if m.o.Engine.View().Replica {
		c.Error(errOnlyPrimary)
		return
	}
	exports, imports := m.allExports(), m.allImports()
	if len(exports)+len(imports) == 0 {
		c.Error("ERR No migrations ongoing")
		return
	}
	for _, x := range exports {
		x.step(Event{Kind: EvCancel})
	}
	for _, i := range imports {
		i.step(Event{Kind: EvCancel})
	}
	c.OK()
}

// flushSlot is CLUSTER FLUSHSLOT. Memory is freed at once in either form.
func (m *Mover) flushSlot(c *command.Ctx) {
	slot, ok := command.ParseSlot(c.Arg(2))
	switch {
	case !ok:
		c.Error(command.ErrBadSlot)
		return
	case len(c.Argv) > 4 || len(c.Argv) == 4 && !command.Word(c.Arg(3), "async") && !command.Word(c.Arg(3), "sync"):
		c.Error(command.ErrSyntax)
		return
	}
	e := m.o.Engine
	if e.Store.SlotHidden(uint16(slot)) {
		c.Error("ERR Slot " + strconv.Itoa(int(slot)) + " is being imported.")
		return
	}
	for {
		if _, ok := e.FlushSlot(uint16(slot), c.World); ok {
			break
		}
		e.WaitThaw()
	}
	c.OK()
}
