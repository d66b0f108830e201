package datatypes

import (
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// XGROUP and XACK.

func streamGroupSpecs() []*command.Spec {
	at := func(f command.KeyFlags) []command.KeySpec { return []command.KeySpec{command.KeyAt(2, f)} }
	return []*command.Spec{
		{Name: "xgroup", Group: command.Stream, Since: "5.0.0", Arity: -2, Categories: []string{"-stream"}, Complexity: "Depends on the subcommand.",
			Summary: "Manages the consumer groups of a stream.",
			Subs: []*command.Spec{
				{Name: "create", Group: command.Stream, Since: "5.0.0", Arity: -5, Complexity: "O(1)",
					Summary: "Makes a consumer group.", Syntax: "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
					Flags: command.Write | command.DenyOOM, Keys: at(command.RW | command.Insert), Run: xgroupCreate},
				{Name: "setid", Group: command.Stream, Since: "5.0.0", Arity: -5, Complexity: "O(1)",
					Summary: "Sets the last delivered id of a group.", Syntax: "key group <id | $> [ENTRIESREAD entries-read]",
					Flags: command.Write, Keys: at(command.RW | command.Update), Run: xgroupSetID},
				{Name: "destroy", Group: command.Stream, Since: "5.0.0", Arity: 4,
					Complexity: "O(N), N being the number of pending entries of the group.",
					Summary:    "Removes a consumer group.", Syntax: "key group",
					Flags: command.Write, Keys: at(command.RW | command.Delete), Run: xgroupDestroy},
				{Name: "createconsumer", Group: command.Stream, Since: "6.2.0", Arity: 5, Complexity: "O(1)",
					Summary: "Makes a consumer in a group.", Syntax: "key group consumer",
					Flags: command.Write | command.DenyOOM, Keys: at(command.RW | command.Insert), Run: xgroupCreateConsumer},
				{Name: "delconsumer", Group: command.Stream, Since: "5.0.0", Arity: 5, Complexity: "O(1)",
					Summary: "Removes a consumer from a group, with what it has pending.", Syntax: "key group consumer",
					Flags: command.Write, Keys: at(command.RW | command.Delete), Run: xgroupDelConsumer},
				{Name: "help", Group: command.Stream, Since: "5.0.0", Arity: 2, Complexity: "O(1)",
					Summary: "Explains the subcommands.", Flags: command.Loading | command.Stale, Run: xgroupHelp},
			}},
		{Name: "xack", Group: command.Stream, Since: "5.0.0", Arity: -4, Complexity: "O(1) for each id.",
			Summary: "Removes entries from those a group has pending; returns how many were.", Syntax: "key group id [id ...]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(command.RW | command.Update), Run: xack},
	}
}

const errXgroupKey = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM " +
	"option to create an empty stream automatically."

func errNoGroup(key, group []byte) string {
	return "NOGROUP No such consumer group '" + string(group) + "' for key name '" + string(key) + "'"
}

func errNoKeyOrGroup(key, group []byte) string {
	return "NOGROUP No such key '" + string(key) + "' or consumer group '" + string(group) + "'"
}

// groupOptions reads what follows the id of CREATE and SETID.
func groupOptions(c *command.Ctx, create bool) (mkstream bool, entriesRead int64, ok bool) {
	entriesRead = ds.EntriesReadUnknown
	a := c.ArgsFrom(5)
	for a.More() {
		switch {
		case create && a.Is("mkstream"):
			mkstream = true
		case a.Left() > 1 && a.Is("entriesread"):
			if entriesRead = a.Int(); entriesRead < ds.EntriesReadUnknown {
				a.Fail("ERR value for ENTRIESREAD must be positive or -1")
			}
		default:
			c.SubSyntax()
			return false, 0, false
		}
	}
	return mkstream, entriesRead, a.Done()
}

// groupID reads the id of CREATE and SETID; s may be that of no stream.
func groupID(c *command.Ctx, o *store.Obj) (id ds.StreamID, ok bool) {
	if string(c.Argv[4]) == "$" {
		if o.Exists() {
			id = streamAt(o).Last()
		}
		return id, true
	}
	if id, ok = parseID(c.Argv[4], 0); !ok {
		c.Error(errStreamID)
	}
	return id, ok
}

// groupKey points o at the stream in argument 2; false, having replied, where
// there is none, or another type.
func groupKey(c *command.Ctx, o *store.Obj) bool {
	if !c.FindWrite(2, o) {
		c.Error(errXgroupKey)
		return false
	}
	return c.Typed(o, store.Stream)
}

// groupNamed is groupKey and the group in argument 3.
func groupNamed(c *command.Ctx, o *store.Obj) (g ds.StreamGroup, ok bool) {
	if !groupKey(c, o) {
		return g, false
	}
	if g, ok = streamAt(o).Group(c.Argv[3]); !ok {
		c.Error(errNoGroup(c.Argv[2], c.Argv[3]))
	}
	return g, ok
}

func xgroupCreate(c *command.Ctx) {
	mkstream, read, ok := groupOptions(c, true)
	if !ok {
		return
	}
	o := c.Obj(0)
	c.FindWrite(2, o)
	if !c.Typed(o, store.Stream) {
		return
	}
	if !o.Exists() && !mkstream {
		c.Error(errXgroupKey)
		return
	}
	id, ok := groupID(c, o)
	if !ok {
		return
	}
	made := !o.Exists()
	if made {
		createStream(c, 2, o)
	}
	if _, ok := streamAt(o).CreateGroup(c.Argv[3], id, read); !ok {
		c.Error("BUSYGROUP Consumer Group name already exists")
		return
	}
	c.Changed(2, "xgroup-create")
	c.OK()
}

func xgroupSetID(c *command.Ctx) {
	_, read, ok := groupOptions(c, false)
	if !ok {
		return
	}
	o := c.Obj(0)
	g, ok := groupNamed(c, o)
	if !ok {
		return
	}
	id, ok := groupID(c, o)
	if !ok {
		return
	}
	g.SetLast(id)
	g.SetEntriesRead(read)
	c.Changed(2, "xgroup-setid")
	c.OK()
}

func xgroupDestroy(c *command.Ctx) {
	o := c.Obj(0)
	if !groupKey(c, o) {
		return
	}
	ok := streamAt(o).DestroyGroup(c.Argv[3])
	if ok {
		c.Changed(2, "xgroup-destroy")
	}
	c.Int(boolInt(ok))
}

func xgroupCreateConsumer(c *command.Ctx) {
	g, ok := groupNamed(c, c.Obj(0))
	if !ok {
		return
	}
	if _, ok = g.CreateConsumer(c.Argv[4], c.Now); ok {
		c.Changed(2, "xgroup-createconsumer")
	}
	c.Int(boolInt(ok))
}

func xgroupDelConsumer(c *command.Ctx) {
	g, ok := groupNamed(c, c.Obj(0))
	if !ok {
		return
	}
	pending, ok := g.DeleteConsumer(c.Argv[4])
	if ok {
		c.Changed(2, "xgroup-delconsumer")
	}
	c.Int(int64(pending))
}

func xgroupHelp(c *command.Ctx) {
	c.Help(
		"CREATE <key> <groupname> <id|$> [option]",
		"    Make a group that starts after the given id. Options are:",
		"    * MKSTREAM",
		"      Make the stream if it does not exist.",
		"    * ENTRIESREAD entries_read",
		"      Say how many entries the group has read (internal use).",
		"CREATECONSUMER <key> <groupname> <consumer>",
		"    Make a consumer in the group.",
		"DELCONSUMER <key> <groupname> <consumer>",
		"    Remove a consumer from the group.",
		"DESTROY <key> <groupname>",
		"    Remove the group.",
		"SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
		"    Set the last id that the group was delivered.")
}

func xack(c *command.Ctx) {
	o := c.Obj(0)
	if !writeStream(c, 1, o) {
		return
	}
	var g ds.StreamGroup
	ok := false
	if o.Exists() {
		g, ok = streamAt(o).Group(c.Argv[2])
	}
	if !ok {
		c.Int(0)
		return
	}
	if !strictIDs(c, 3) {
		return
	}
	n := int64(0)
	for _, arg := range c.Argv[3:] {
		id, _ := parseID(arg, 0)
		n += boolInt(g.Ack(id))
	}
	if n > 0 {
		c.Changed(1, "")
		c.Dirty += n - 1
	}
	c.Int(n)
}
