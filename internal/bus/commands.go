package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/store"
)

// Specs are CLUSTER and its relatives. b is nil in standalone mode: the
// commands then say that cluster support is disabled.
func Specs(b *Bus) []*command.Spec {
	const f = command.Session | command.Stale
	const admin = f | command.Admin | command.NoAsyncLoading
	sub := func(name string, arity int, flags command.Flags, since, syntax, summary string, run func(*Bus, *command.Ctx)) *command.Spec {
		return &command.Spec{Name: name, Group: command.Cluster, Since: since, Arity: arity, Flags: flags, Syntax: syntax, Summary: summary,
			Complexity: "O(N) with what it names", Tips: subTips(name), Run: func(c *command.Ctx) {
				if b == nil {
					c.Error(command.ErrNoCluster)
					return
				}
				run(b, c)
			}}
	}
	session := func(name, since, summary string, flags command.Flags, run func(*command.Ctx)) *command.Spec {
		return &command.Spec{Name: name, Group: command.Cluster, Since: since, Arity: 1, Complexity: "O(1)", Summary: summary,
			Flags: command.Session | command.Fast | flags, Categories: []string{"connection"}, Run: run}
	}
	return []*command.Spec{
		{Name: "cluster", Group: command.Cluster, Since: "3.0.0", Arity: -2, Complexity: "Depends on the subcommand", Summary: "Container of the commands about the cluster.",
			Subs: []*command.Spec{
				sub("addslots", -3, admin, "3.0.0", "slot [slot ...]", "Assigns slots to this node.", addSlots),
				sub("addslotsrange", -4, admin, "7.0.0", "start-slot end-slot [start-slot end-slot ...]", "Assigns ranges of slots to this node.", addSlots),
				sub("delslots", -3, admin, "3.0.0", "slot [slot ...]", "Unassigns slots in this node's view.", addSlots),
				sub("delslotsrange", -4, admin, "7.0.0", "start-slot end-slot [start-slot end-slot ...]", "Unassigns ranges of slots in this node's view.", addSlots),
				sub("flushslots", 2, admin, "3.0.0", "", "Unassigns all slots of this node.", flushSlots),
				sub("bumpepoch", 2, admin, "3.0.0", "", "Takes a new configEpoch.", bumpEpoch),
				sub("set-config-epoch", 3, admin, "3.0.0", "config-epoch", "Gives a fresh node its configEpoch.", setConfigEpoch),
				sub("saveconfig", 2, admin, "3.0.0", "", "Writes nodes.conf.", func(b *Bus, c *command.Ctx) { b.admin(c, cluster.SaveConfig{}) }),
				sub("meet", -4, admin, "3.0.0", "ip port [cluster-bus-port]", "Introduces this node to another.", meet),
				sub("forget", 3, admin, "3.0.0", "node-id", "Removes a node from the table.", func(b *Bus, c *command.Ctx) { b.admin(c, cluster.Forget{Node: string(c.Arg(2))}) }),
				sub("replicate", 3, admin, "3.0.0", "node-id", "Makes this node a replica of another.", func(b *Bus, c *command.Ctx) { b.admin(c, cluster.Replicate{Node: string(c.Arg(2))}) }),
				sub("failover", -2, admin, "3.0.0", "[FORCE | TAKEOVER]", "Makes this replica the primary of its shard.", failover),
				sub("reset", -2, f|command.Admin|command.NoScript, "3.0.0", "[HARD | SOFT]", "Takes this node out of the cluster.", reset),
				sub("setslot", -4, admin, "3.0.0", "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE> [TIMEOUT milliseconds]", "Opens, closes or assigns a slot.", setSlot),
				sub("count-failure-reports", 3, f|command.Admin, "3.0.0", "node-id", "Counts the nodes that report another as failing.", countFailureReports),
				sub("info", 2, f|command.Loading, "3.0.0", "", "State and counters of the cluster.", infoCommand),
				sub("nodes", 2, f|command.Loading, "3.0.0", "", "The node table.", nodesCommand),
				sub("slots", 2, f|command.Loading, "3.0.0", "", "Which nodes serve which slots.", slotsCommand),
				sub("shards", 2, f|command.Loading, "7.0.0", "", "Shards with their slots and nodes.", shardsCommand),
				sub("links", 2, f, "7.0.0", "", "The links of the cluster bus.", linksCommand),
				sub("myid", 2, f|command.Loading, "3.0.0", "", "This node's id.", func(b *Bus, c *command.Ctx) { c.BulkString(b.View().Myself().ID.String()) }),
				sub("myshardid", 2, f|command.Loading, "7.2.0", "", "The id of this node's shard.", func(b *Bus, c *command.Ctx) { c.BulkString(b.View().Myself().ShardID.String()) }),
				sub("keyslot", 3, f, "3.0.0", "key", "The slot of a key.", func(_ *Bus, c *command.Ctx) { c.Int(int64(hashslot.Slot(c.Arg(2)))) }),
				sub("countkeysinslot", 3, f, "3.0.0", "slot", "Counts the keys of a slot.", countKeysInSlot),
				sub("getkeysinslot", 4, f, "3.0.0", "slot count", "Keys of a slot.", getKeysInSlot),
				sub("replicas", 3, f|command.Admin, "5.0.0", "node-id", "The replicas of a primary.", replicasCommand),
				sub("slaves", 3, f|command.Admin, "3.0.0", "node-id", "The replicas of a primary (old name).", replicasCommand),
				sub("slot-stats", -4, f|command.Loading, "8.0.0", "<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>", "Statistics of slots.", slotStats),
				sub("help", 2, f|command.Loading, "5.0.0", "", "Lists the subcommands.", help),
			}},
		session("readonly", "3.0.0", "Lets a replica serve reads of this connection.", command.Loading|command.Stale, func(c *command.Ctx) { engine.SessionOf(c).SetReadOnly(true); c.OK() }),
		session("readwrite", "3.0.0", "Ends READONLY.", command.Loading|command.Stale, func(c *command.Ctx) { engine.SessionOf(c).SetReadOnly(false); c.OK() }),
		session("asking", "3.0.0", "Lets the next command use a slot that is being imported.", 0, func(c *command.Ctx) {
			if b == nil {
				c.Error(command.ErrNoCluster)
				return
			}
			engine.SessionOf(c).SetAsking()
			c.OK()
		}),
	}
}

// subTips are the tips of a CLUSTER subcommand.
func subTips(name string) []string {
	switch name {
	case "bumpepoch", "count-failure-reports", "getkeysinslot", "info", "links", "myshardid", "nodes", "replicas", "shards", "slaves", "slots":
		return []string{"nondeterministic_output"}
	case "slot-stats":
		return []string{"nondeterministic_output", "request_policy:all_shards"}
	}
	return nil
}

// admin carries out a command of the machine and replies OK or its error, once
// all that follows from it has taken effect.
func (b *Bus) admin(c *command.Ctx, cmd cluster.Command) {
	if _, err := b.adminFor(c, cmd); err != nil {
		c.Error(err.Error())
		return
	}
	c.OK()
}

// adminFor is Admin for a command of a client. A transaction holds the locks of
// its keys, so it does not wait until all has taken effect.
func (b *Bus) adminFor(c *command.Ctx, cmd cluster.Command) (reply cluster.AdminReply, err error) {
	if c.MayBlock {
		return b.Admin(cmd)
	}
	if !b.settle(func(m *cluster.Machine, now cluster.Times) { reply, err = m.Admin(now, cmd) }) {
		return cluster.AdminReply{}, ErrStopping
	}
	return reply, err
}

// ErrStopping says that the node ends, perhaps since nodes.conf cannot be written: what
// was to be done may have happened or not.
var ErrStopping = errors.New("ERR the node is shutting down")

// Admin carries out a command of the machine and waits until it has taken
// effect. No slot locks may be held.
func (b *Bus) Admin(cmd cluster.Command) (reply cluster.AdminReply, err error) {
	if !b.do(func(m *cluster.Machine, now cluster.Times) { reply, err = m.Admin(now, cmd) }) {
		return cluster.AdminReply{}, ErrStopping
	}
	return reply, err
}

// parseSlot reads a slot number; it replies with the error itself.
func parseSlot(c *command.Ctx, arg []byte) (int, bool) {
	n, ok := command.ParseSlot(arg)
	if !ok {
		c.Error(command.ErrBadSlot)
	}
	return n, ok
}

func addSlots(b *Bus, c *command.Ctx) {
	var slots []int
	var bad error // behind slots, which are looked at first
	args := c.Argv[2:]
	if strings.HasSuffix(c.Spec.Name, "range") {
		if len(args)%2 != 0 {
			c.Error(command.WrongArity(c.Spec.Full))
			return
		}
		slots, bad = parseSlotRanges(args)
	} else {
		for _, a := range args {
			s, ok := parseSlot(c, a)
			if !ok {
				return
			}
			slots = append(slots, s)
		}
	}
	if strings.HasPrefix(c.Spec.Name, "add") {
		b.admin(c, cluster.AddSlots{Slots: slots, Bad: bad})
	} else {
		b.admin(c, cluster.DelSlots{Slots: slots, Bad: bad})
	}
}

// parseSlotRanges returns the slots of the ranges before the first wrong one, and
// what is wrong with that.
func parseSlotRanges(args [][]byte) (slots []int, bad error) {
	for i := 0; i < len(args); i += 2 {
		first, ok1 := command.ParseSlot(args[i])
		last, ok2 := command.ParseSlot(args[i+1])
		switch {
		case !ok1 || !ok2:
			return slots, cluster.AdminError(command.ErrBadSlot)
		case first > last:
			return slots, cluster.AdminError(command.SlotOrder(first, last))
		}
		for s := first; s <= last; s++ {
			slots = append(slots, s)
		}
	}
	return slots, nil
}

func flushSlots(b *Bus, c *command.Ctx) {
	if (keyspace{b.opt.Engine}).Keys() > 0 {
		c.Error("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.")
		return
	}
	b.admin(c, cluster.FlushSlots{})
}

func bumpEpoch(b *Bus, c *command.Ctx) {
	r, err := b.adminFor(c, cluster.BumpEpoch{})
	switch {
	case err != nil:
		c.Error(err.Error())
	case r.Bumped:
		c.Simple(fmt.Sprintf("BUMPED %d", r.Epoch))
	default:
		c.Simple(fmt.Sprintf("STILL %d", r.Epoch))
	}
}

func setConfigEpoch(b *Bus, c *command.Ctx) {
	n, ok := command.ParseInt(c.Arg(2))
	if !ok {
		c.Error(command.ErrNotInteger)
		return
	}
	b.admin(c, cluster.SetConfigEpoch{Epoch: n})
}

func meet(b *Bus, c *command.Ctx) {
	if len(c.Argv) > 5 {
		unknownForm(c)
		return
	}
	port, ok := command.ParseInt(c.Arg(3))
	if !ok {
		c.Error("ERR Invalid base port specified: " + string(c.Arg(3)))
		return
	}
	bus := int64(0)
	if len(c.Argv) == 5 {
		if bus, ok = command.ParseInt(c.Arg(4)); !ok {
			c.Error("ERR Invalid bus port specified: " + string(c.Arg(4)))
			return
		}
		if bus == 0 { // for the machine that means none was given
			bus = -1
		}
	}
	b.admin(c, cluster.Meet{IP: string(c.Arg(2)), Port: port, BusPort: bus})
}

func unknownForm(c *command.Ctx) {
	c.Error("ERR unknown subcommand or wrong number of arguments for '" + string(c.Arg(1)) + "'. Try CLUSTER HELP.")
}

func failover(b *Bus, c *command.Ctx) {
	mode := cluster.FailoverDefault
	switch {
	case len(c.Argv) > 3:
		unknownForm(c)
		return
	case len(c.Argv) == 3 && command.Word(c.Arg(2), "force"):
		mode = cluster.FailoverForce
	case len(c.Argv) == 3 && command.Word(c.Arg(2), "takeover"):
		mode = cluster.FailoverTakeover
	case len(c.Argv) == 3:
		c.Error(command.ErrSyntax)
		return
	}
	b.admin(c, cluster.Failover{Mode: mode})
}

func reset(b *Bus, c *command.Ctx) {
	hard := false
	switch {
	case len(c.Argv) > 3:
		unknownForm(c)
		return
	case len(c.Argv) == 3 && command.Word(c.Arg(2), "hard"):
		hard = true
	case len(c.Argv) == 3 && !command.Word(c.Arg(2), "soft"):
		c.Error(command.ErrSyntax)
		return
	}
	b.admin(c, cluster.Reset{Hard: hard})
}

func countFailureReports(b *Bus, c *command.Ctx) {
	r, err := b.adminFor(c, cluster.CountFailureReports{Node: string(c.Arg(2))})
	if err != nil {
		c.Error(err.Error())
		return
	}
	c.Int(int64(r.Count))
}

func countKeysInSlot(b *Bus, c *command.Ctx) {
	n, ok := command.ParseInt(c.Arg(2))
	if !ok {
		c.Error(command.ErrNotInteger)
		return
	}
	if n < 0 || n >= store.Slots {
		c.Error("ERR Invalid slot")
		return
	}
	c.Int(int64(b.opt.Engine.Store.DB(0).SlotLen(uint16(n))))
}

func getKeysInSlot(b *Bus, c *command.Ctx) {
	n, ok := command.ParseInt(c.Arg(2))
	count, ok2 := command.ParseInt(c.Arg(3))
	if !ok || !ok2 {
		c.Error(command.ErrNotInteger)
		return
	}
	if n < 0 || n >= store.Slots || count < 0 {
		c.Error("ERR Invalid slot or number of keys")
		return
	}
	st := b.opt.Engine.Store
	slot := uint16(n)
	mark, got := c.Defer(), 0
	if !c.World {
		st.Lock(slot)
		defer st.Unlock(slot)
	}
	for pos := uint64(0); got < int(count); {
		pos = st.DB(0).ScanSlot(slot, pos, 1, func(o *store.Obj) {
			if got < int(count) {
				c.Bulk(o.Key())
				got++
			}
		})
		if pos == 0 {
			break
		}
	}
	c.EndArray(mark, got)
}

func help(_ *Bus, c *command.Ctx) {
	lines := []string{"CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
	for _, s := range c.Spec.Parent.Subs {
		if s.Name == "help" || s.Name == "slaves" {
			continue
		}
		lines = append(lines, strings.TrimSpace(strings.ToUpper(s.Name)+" "+s.Syntax), "    "+s.Summary)
	}
	lines = append(lines, "HELP", "    Print this help.")
	c.Array(len(lines))
	for _, l := range lines {
		c.Simple(l)
	}
}
