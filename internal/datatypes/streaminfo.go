package datatypes

import (
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// XINFO. The fields are those of 7.2, which added what is known of a consumer's
// activity.

func streamInfoSpecs() []*command.Spec {
	keys := []command.KeySpec{command.KeyAt(2, command.RO|command.Access)}
	clock := []string{"nondeterministic_output"}
	return []*command.Spec{
		{Name: "xinfo", Group: command.Stream, Since: "5.0.0", Arity: -2, Categories: []string{"-stream"}, Complexity: "Depends on the subcommand.",
			Summary: "Tells about a stream.",
			Subs: []*command.Spec{
				{Name: "stream", Group: command.Stream, Since: "5.0.0", Arity: -3, Complexity: "O(1), or O(N) for N entries and groups with FULL.",
					Summary: "Tells about a stream, with FULL also about its entries, groups and consumers.", Syntax: "key [FULL [COUNT count]]",
					Flags: command.ReadOnly, Keys: keys, Run: xinfoStream},
				{Name: "groups", Group: command.Stream, Since: "5.0.0", Arity: 3, Complexity: "O(1)",
					Summary: "Lists the groups of a stream.", Syntax: "key", Flags: command.ReadOnly, Keys: keys, Run: xinfoGroups},
				{Name: "consumers", Group: command.Stream, Since: "5.0.0", Arity: 4, Complexity: "O(1)",
					Summary: "Lists the consumers of a group.", Syntax: "key group",
					Flags: command.ReadOnly, Keys: keys, Tips: clock, Run: xinfoConsumers},
				{Name: "help", Group: command.Stream, Since: "5.0.0", Arity: 2, Complexity: "O(1)",
					Summary: "Explains the subcommands.", Flags: command.Loading | command.Stale, Run: xinfoHelp},
			}},
	}
}

// infoKey points o at the stream in argument 2; false, having replied, where
// there is none.
func infoKey(c *command.Ctx, o *store.Obj) bool {
	if !c.Find(2, o) {
		c.Error(command.ErrNoSuchKey)
		return false
	}
	return c.Typed(o, store.Stream)
}

func xinfoStream(c *command.Ctx) {
	full, count := false, int64(10)
	a := c.ArgsFrom(3)
	switch n := a.Left(); {
	case n == 0:
	case n == 1 && a.Is("full"):
		full = true
	case n == 3 && command.Word(c.Argv[4], "count") && a.Is("full"):
		full = true
		a.Skip(1)
		if count = a.Int(); count < 0 {
			count = 10
		}
	default:
		c.SubSyntax()
		return
	}
	o := c.Obj(0)
	if !a.Done() || !infoKey(c, o) {
		return
	}
	s := streamAt(o)
	t := s.Totals()
	fields := 10
	if full {
		fields = 9
	}
	c.Map(fields)
	c.BulkString("length")
	c.Int(int64(t.Length))
	c.BulkString("radix-tree-keys")
	c.Int(int64(s.NodeCount()))
	c.BulkString("radix-tree-nodes")
	c.Int(int64(s.NodeCount() + 1))
	infoID(c, "last-generated-id", t.Last)
	infoID(c, "max-deleted-entry-id", t.MaxDeleted)
	c.BulkString("entries-added")
	c.Int(int64(t.Added))
	infoID(c, "recorded-first-entry-id", t.First)
	if full {
		c.BulkString("entries")
		replyRange(c, s, ds.StreamID{}, ds.MaxStreamID, count, false)
		c.BulkString("groups")
		c.Array(s.Groups())
		for i := range s.Groups() {
			infoGroupFull(c, s, s.GroupAt(i), count)
		}
		return
	}
	c.BulkString("groups")
	c.Int(int64(s.Groups()))
	for _, back := range []bool{false, true} {
		name := "first-entry"
		if back {
			name = "last-entry"
		}
		c.BulkString(name)
		if it := s.Range(ds.StreamID{}, ds.MaxStreamID, back); it.Next() {
			replyEntry(c, &it)
		} else {
			c.Null()
		}
	}
}

func infoID(c *command.Ctx, name string, id ds.StreamID) {
	c.BulkString(name)
	replyStreamID(c, id)
}

// infoProgress tells how many entries a group has read and how many it has not.
func infoProgress(c *command.Ctx, s ds.Stream, g ds.StreamGroup) {
	t := s.Totals()
	read := g.EntriesRead()
	c.BulkString("entries-read")
	if read == ds.EntriesReadUnknown {
		c.Null()
	} else {
		c.Int(read)
	}
	if read == ds.EntriesReadUnknown || t.Tombstones(g.Last()) {
		read = t.EntriesReadAt(g.Last())
	}
	c.BulkString("lag")
	switch {
	case t.Added == 0:
		c.Int(0)
	case read == ds.EntriesReadUnknown:
		c.Null()
	default:
		c.Int(int64(t.Added) - read)
	}
}

func infoGroupFull(c *command.Ctx, s ds.Stream, g ds.StreamGroup, count int64) {
	c.Map(7)
	c.BulkString("name")
	c.Bulk(g.Name())
	infoID(c, "last-delivered-id", g.Last())
	infoProgress(c, s, g)
	c.BulkString("pel-count")
	c.Int(int64(g.Pending()))
	c.BulkString("pending")
	infoPending(c, g.PendingFrom(ds.StreamID{}), count, true)
	c.BulkString("consumers")
	c.Array(g.Consumers())
	for i := range g.Consumers() {
		user := g.ConsumerAt(i)
		c.Map(5)
		c.BulkString("name")
		c.Bulk(user.Name())
		c.BulkString("seen-time")
		c.Int(user.Seen())
		c.BulkString("active-time")
		c.Int(user.Active())
		c.BulkString("pel-count")
		c.Int(int64(user.Pending()))
		c.BulkString("pending")
		infoPending(c, user.PendingFrom(ds.StreamID{}), count, false)
	}
}

func infoPending(c *command.Ctx, it ds.PendingIter, count int64, owner bool) {
	mark := c.Defer()
	n := int64(0)
	for ; it.Valid() && (count == 0 || n < count); it.Next() {
		p := it.Pending()
		c.Array(3 + int(boolInt(owner)))
		replyStreamID(c, p.ID)
		if owner {
			c.Bulk(p.Consumer().Name())
		}
		c.Int(p.Delivered())
		c.Int(int64(p.Deliveries()))
		n++
	}
	c.EndArray(mark, int(n))
}

func xinfoGroups(c *command.Ctx) {
	o := c.Obj(0)
	if !infoKey(c, o) {
		return
	}
	s := streamAt(o)
	c.Array(s.Groups())
	for i := range s.Groups() {
		g := s.GroupAt(i)
		c.Map(6)
		c.BulkString("name")
		c.Bulk(g.Name())
		c.BulkString("consumers")
		c.Int(int64(g.Consumers()))
		c.BulkString("pending")
		c.Int(int64(g.Pending()))
		infoID(c, "last-delivered-id", g.Last())
		infoProgress(c, s, g)
	}
}

func xinfoConsumers(c *command.Ctx) {
	o := c.Obj(0)
	if !infoKey(c, o) {
		return
	}
	g, ok := streamAt(o).Group(c.Argv[3])
	if !ok {
		c.Error(errNoGroup(c.Argv[2], c.Argv[3]))
		return
	}
	c.Array(g.Consumers())
	for i := range g.Consumers() {
		user := g.ConsumerAt(i)
		c.Map(4)
		c.BulkString("name")
		c.Bulk(user.Name())
		c.BulkString("pending")
		c.Int(int64(user.Pending()))
		c.BulkString("idle")
		c.Int(max(c.Now-user.Seen(), 0))
		c.BulkString("inactive")
		if user.Active() < 0 {
			c.Int(-1)
		} else {
			c.Int(max(c.Now-user.Active(), 0))
		}
	}
}

func xinfoHelp(c *command.Ctx) {
	c.Help(
		"CONSUMERS <key> <groupname>",
		"    List the consumers of a group.",
		"GROUPS <key>",
		"    List the groups of a stream.",
		"STREAM <key> [FULL [COUNT <count>]",
		"    Tell about a stream.")
}
