package datatypes

import (
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

func genericSpecs() []*command.Spec {
	sum := []string{"request_policy:multi_shard", "response_policy:agg_sum"}
	varies := []string{"nondeterministic_output"}
	return []*command.Spec{
		{Name: "del", Group: command.Generic, Since: "1.0.0", Arity: -2,
			Complexity: "O(N), N being the number of keys; the memory of big values is freed in the background.",
			Summary:    "Deletes keys.", Syntax: "key [key ...]",
			Flags: command.Write, Keys: command.KeyRange(1, -1, 1, command.RM|command.Delete), Tips: sum, Run: del},
		{Name: "unlink", Group: command.Generic, Since: "4.0.0", Arity: -2,
			Complexity: "O(N), N being the number of keys; the memory of big values is freed in the background.",
			Summary:    "Deletes keys without waiting for their memory to be freed.", Syntax: "key [key ...]",
			Flags: command.Write | command.Fast, Keys: command.KeyRange(1, -1, 1, command.RM|command.Delete), Tips: sum, Run: del},
		{Name: "exists", Group: command.Generic, Since: "1.0.0", Arity: -2, Complexity: "O(N), N being the number of keys.",
			Summary: "Counts which of the keys exist; a key named twice counts twice.", Syntax: "key [key ...]",
			Flags: command.ReadOnly | command.Fast, Keys: command.KeyRange(1, -1, 1, command.RO), Tips: sum, Run: exists},
		{Name: "touch", Group: command.Generic, Since: "3.2.1", Arity: -2, Complexity: "O(N), N being the number of keys.",
			Summary: "Notes an access to keys and counts those that exist.", Syntax: "key [key ...]",
			Flags: command.ReadOnly | command.Fast, Keys: command.KeyRange(1, -1, 1, command.RO), Tips: sum, Run: touch},
		{Name: "type", Group: command.Generic, Since: "1.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the type of a key's value.", Syntax: "key",
			Flags: command.ReadOnly | command.Fast, Keys: command.OneKey(command.RO), Run: typeOf},
		{Name: "rename", Group: command.Generic, Since: "1.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Renames a key, replacing the new one.", Syntax: "key newkey", Flags: command.Write,
			Keys: []command.KeySpec{{Flags: command.RW | command.Access | command.Delete, Index: 1, Step: 1},
				{Flags: command.OW | command.Update, Index: 2, Step: 1}},
			Run: func(c *command.Ctx) { rename(c, false) }},
		{Name: "renamenx", Group: command.Generic, Since: "1.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Renames a key if the new one does not exist.", Syntax: "key newkey", Flags: command.Write | command.Fast,
			Keys: []command.KeySpec{{Flags: command.RW | command.Access | command.Delete, Index: 1, Step: 1},
				{Flags: command.OW | command.Insert, Index: 2, Step: 1}},
			Run: func(c *command.Ctx) { rename(c, true) }},
		{Name: "copy", Group: command.Generic, Since: "6.2.0", Arity: -3,
			Complexity: "O(N), N being the number of elements of the value; O(1) for strings.",
			Summary:    "Copies a key's value and expiry to a new key.",
			Syntax:     "source destination [DB destination-db] [REPLACE]", Flags: command.Write | command.DenyOOM,
			Keys: []command.KeySpec{{Flags: command.RO | command.Access, Index: 1, Step: 1},
				{Flags: command.OW | command.Update, Index: 2, Step: 1}}, Run: copyKey},
		{Name: "move", Group: command.Generic, Since: "1.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Moves a key to another database.", Syntax: "key db", Flags: command.Write | command.Fast,
			Keys: command.OneKey(command.RW | command.Access | command.Update), Run: move},
		{Name: "object", Group: command.Generic, Since: "2.2.3", Arity: -2, Complexity: "Depends on the subcommand.",
			Summary: "Commands that look into how values are held.", Categories: []string{"-keyspace"},
			Subs: []*command.Spec{
				{Name: "encoding", Group: command.Generic, Since: "2.2.3", Arity: 3, Complexity: "O(1)",
					Summary: "Returns the name of the encoding of a key's value.", Syntax: "key",
					Flags: command.ReadOnly, Keys: []command.KeySpec{command.KeyAt(2, command.RO)}, Tips: varies, Run: objectEncoding},
				{Name: "freq", Group: command.Generic, Since: "4.0.0", Arity: 3, Complexity: "O(1)",
					Summary: "Returns the logarithmic counter of accesses to a key.", Syntax: "key",
					Flags: command.ReadOnly, Keys: []command.KeySpec{command.KeyAt(2, command.RO)}, Tips: varies, Run: objectFreq},
				{Name: "idletime", Group: command.Generic, Since: "2.2.3", Arity: 3, Complexity: "O(1)",
					Summary: "Returns the seconds since the last access to a key.", Syntax: "key",
					Flags: command.ReadOnly, Keys: []command.KeySpec{command.KeyAt(2, command.RO)}, Tips: varies, Run: objectIdletime},
				{Name: "refcount", Group: command.Generic, Since: "2.2.3", Arity: 3, Complexity: "O(1)",
					Summary: "Returns the number of references to a key's value.", Syntax: "key",
					Flags: command.ReadOnly, Keys: []command.KeySpec{command.KeyAt(2, command.RO)}, Tips: varies, Run: objectRefcount},
				{Name: "help", Group: command.Generic, Since: "6.2.0", Arity: 2, Complexity: "O(1)",
					Summary: "Explains the subcommands.", Flags: command.Loading | command.Stale,
					Categories: []string{"keyspace"}, Run: objectHelp},
			}},
	}
}

func del(c *command.Ctx) {
	o := c.Obj(0)
	n := int64(0)
	lazy := c.Spec.Name == "unlink" || c.Env.Limits().LazyUserDel
	for i := 1; i < len(c.Argv); i++ {
		if c.Peek(i, o) {
			o.DB().DeleteIn(o, lazy)
			c.Changed(i, "del")
			n++
		}
	}
	c.Int(n)
}

func exists(c *command.Ctx) {
	n := int64(0)
	for i := 1; i < len(c.Argv); i++ {
		n += boolInt(c.Look(i, c.Obj(0)))
	}
	c.Int(n)
}

func touch(c *command.Ctx) {
	n := int64(0)
	for i := 1; i < len(c.Argv); i++ {
		if o := c.Obj(0); c.Find(i, o) {
			if c.NoTouch { // it is for this
				o.Touch(c.Second())
			}
			n++
		}
	}
	c.Int(n)
}

func typeOf(c *command.Ctx) {
	o := c.Obj(0)
	t := store.None
	if c.Look(1, o) {
		t = o.Type()
	}
	c.Simple(t.String())
}

func rename(c *command.Ctx, nx bool) {
	src, dst := c.Obj(0), c.Obj(1)
	if !c.FindWrite(1, src) {
		c.Error(command.ErrNoSuchKey)
		return
	}
	if string(c.Argv[1]) != string(c.Argv[2]) {
		if c.Peek(2, dst) {
			if nx {
				c.Int(0)
				return
			}
			c.Delete(dst)
		}
		k := command.MakeKey(2, c.Argv[2])
		c.DB.MoveTo(src, c.DB, k.Slot, k.Hash, c.Argv[2], dst)
		c.Changed(1, "rename_from")
		c.Notify(2, "rename_to")
	} else if nx {
		c.Int(0)
		return
	}
	if nx {
		c.Int(1)
	} else {
		c.OK()
	}
}

// dbArg reads a database number; where there is no such database it replies and
// returns nil.
func dbArg(c *command.Ctx, arg []byte) *store.DB {
	n, ok := command.ParseInt(arg)
	st := c.DB.Store()
	switch {
	case !ok || n != int64(int32(n)):
		c.Error(command.ErrNotInteger)
	case n < 0 || n >= int64(st.DBs()):
		c.Error(command.ErrDBIndex)
	default:
		return st.DB(int(n))
	}
	return nil
}

// findIn points o at a key of another database and reports whether it exists.
// The slot of a key, and so its lock, is the same in all of them. A key whose
// time has come is deleted; gone then says that the log must be told.
func findIn(c *command.Ctx, db *store.DB, key []byte, o *store.Obj) (ok, gone bool) {
	k := command.MakeKey(0, key)
	if !db.Find(k.Slot, k.Hash, key, o) {
		return false, false
	}
	if c.Expire == command.ExpireIgnore || !o.Expired(c.Now) {
		return true, false
	}
	if c.Expire == command.ExpireDelete {
		db.Delete(o)
		c.ExpiredKeys++
		gone = true
	}
	*o = store.Obj{}
	return false, gone
}

// oneDB reports whether this is a cluster node without numbered databases.
func oneDB(c *command.Ctx) bool { return c.Env.Limits().ClusterMode && c.DB.Store().DBs() == 1 }

func copyKey(c *command.Ctx) {
	db, replace := c.DB, false
	a := c.ArgsFrom(3)
	for a.More() {
		switch {
		case a.Is("replace"):
			replace = true
		case a.Left() > 1 && a.Is("db"):
			n := a.Next()
			if v, ok := command.ParseInt(n); ok && v > 0 && v < 16 && oneDB(c) {
				c.Error("ERR Copying to another database is not allowed in cluster mode")
				return
			}
			if db = dbArg(c, n); db == nil {
				return
			}
		default:
			a.Syntax()
		}
	}
	if !a.Done() {
		return
	}
	if db == c.DB && string(c.Argv[1]) == string(c.Argv[2]) {
		c.Error(command.ErrSameObject)
		return
	}
	src, dst := c.Obj(0), c.Obj(1)
	if !c.Find(1, src) {
		c.Int(0)
		return
	}
	exists, gone := findIn(c, db, c.Argv[2], dst)
	if exists && !replace {
		c.Int(0)
		return
	}
	if exists {
		db.Delete(dst)
	}
	copyValue(c, src, db, c.Argv[2], dst)
	c.ChangedKey(db, c.Argv[2], "copy_to")
	if gone && !replace {
		// A replica still has the expired key: REPLACE stands for its deletion.
		c.Propagate(append(append([][]byte(nil), c.Argv...), []byte("REPLACE"))...)
	}
	c.Int(1)
}

func move(c *command.Ctx) {
	if oneDB(c) {
		c.Error("ERR MOVE is not allowed in cluster mode")
		return
	}
	db := dbArg(c, c.Argv[2])
	if db == nil {
		return
	}
	if db == c.DB {
		c.Error(command.ErrSameObject)
		return
	}
	src, dst := c.Obj(0), c.Obj(1)
	if !c.FindWrite(1, src) {
		c.Int(0)
		return
	}
	exists, gone := findIn(c, db, c.Argv[1], dst)
	if exists {
		c.Int(0)
		return
	}
	k := command.MakeKey(1, c.Argv[1])
	c.DB.MoveTo(src, db, k.Slot, k.Hash, c.Argv[1], dst)
	c.Changed(1, "move_from")
	c.Changes = append(c.Changes, command.Change{DB: db.Index(), Slot: k.Slot, Key: c.Argv[1], Event: "move_to"})
	if gone {
		// A replica still has the expired key there, which MOVE would respect.
		c.Propagate([]byte("COPY"), c.Argv[1], c.Argv[1], []byte("DB"), c.Argv[2], []byte("REPLACE"))
		c.Propagate([]byte("DEL"), c.Argv[1])
	}
	c.Int(1)
}

// look points at the key of an OBJECT subcommand, or replies null.
func look(c *command.Ctx, o *store.Obj) bool {
	if !c.Look(2, o) {
		c.Null()
		return false
	}
	return true
}

func objectEncoding(c *command.Ctx) {
	if o := c.Obj(0); look(c, o) {
		c.BulkString(o.Encoding().String())
	}
}

func objectFreq(c *command.Ctx) {
	o := c.Obj(0)
	if !look(c, o) {
		return
	}
	if c.DB.Store().AccessKind() != store.AccessUses {
		c.Error("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
		return
	}
	c.Int(int64(o.Uses(c.Second())))
}

func objectIdletime(c *command.Ctx) {
	o := c.Obj(0)
	if !look(c, o) {
		return
	}
	if c.DB.Store().AccessKind() == store.AccessUses {
		c.Error("ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
		return
	}
	c.Int(int64(o.IdleSeconds(c.Second())))
}

func objectRefcount(c *command.Ctx) {
	o := c.Obj(0)
	if !look(c, o) {
		return
	}
	if o.Encoding() == store.Int {
		// Redis shares the integers below 10000 among keys and reports the
		// largest count for them.
		if n, _ := command.ParseInt(o.Bytes()); n >= 0 && n < 10000 {
			c.Int(1<<31 - 1)
			return
		}
	}
	c.Int(1)
}

func objectHelp(c *command.Ctx) {
	lines := []string{
		"OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"ENCODING <key>",
		"    Name of the encoding in which the value of <key> is held.",
		"FREQ <key>",
		"    Logarithmic counter of recent accesses to <key>, with an LFU policy.",
		"IDLETIME <key>",
		"    Seconds since the last access to <key>.",
		"REFCOUNT <key>",
		"    Number of references to the value of <key>.",
		"HELP",
		"    Print this help.",
	}
	c.Array(len(lines))
	for _, l := range lines {
		c.Simple(l)
	}
}
