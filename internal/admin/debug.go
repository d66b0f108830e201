package admin

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/glob"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/store"
)

const errDebug = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, " +
	"otherwise you need to set this option in the configuration file, and then restart the server."

// allowed applies enable-debug-command and its like.
func (a *admin) allowed(c *command.Ctx, setting int) bool {
	switch config.Protection(setting) {
	case config.ProtectYes:
		return true
	case config.ProtectLocal:
		return engine.SessionOf(c).Local()
	}
	return false
}

// debug is one command with subcommands of its own: COMMAND INFO knows just
// DEBUG, and what does not fit is answered in DEBUG's words.
func (a *admin) debug(c *command.Ctx) {
	if !a.allowed(c, int(a.Config.EnableDebugCommand.Get())) {
		c.Error(errDebug)
		return
	}
	n := len(c.Argv)
	is := func(word string, atLeast, atMost int) bool {
		return command.Word(c.Arg(1), word) && n >= atLeast && n <= atMost
	}
	const many = 1 << 30
	switch {
	case is("help", 2, 2):
		debugHelp(c)
	case is("sleep", 3, 3):
		// Like strtod: what is no number is 0.
		seconds, _ := command.ParseFloat(c.Arg(2))
		a.Engine.Stall(time.Duration(max(seconds, 0)*float64(time.Second)), c.World, a.Freeze, a.Thaw)
		c.OK()
	case is("digest", 2, 2):
		a.digest(c)
	case is("digest-value", 2, many):
		a.digestValue(c)
	case is("populate", 3, 5):
		a.populate(c)
	case is("protocol", 3, 3):
		protocol(c)
	case is("set-active-expire", 3, 3):
		l := *c.Env.Limits()
		l.ActiveExpire = atoi(c.Arg(2)) != 0
		c.Env.SetLimits(&l)
		c.OK()
	case is("error", 3, 3):
		c.Writer.Error(string(c.Arg(2))) // no failure of the command: not counted
	case is("log", 3, 3):
		a.Log.Warn("DEBUG LOG: " + string(c.Arg(2)))
		c.OK()
	case is("object", 3, 4):
		a.object(c)
	case is("sdslen", 3, 3):
		a.sdslen(c)
	case is("listpack", 3, 3), is("ziplist", 3, 3):
		a.listpack(c)
	case is("quicklist", 3, 4):
		a.quicklist(c)
	case is("htstats-key", 3, 4):
		a.htstatsKey(c)
	case is("htstats", 3, 4):
		a.htstats(c)
	case is("reload", 2, many):
		a.reload(c)
	case is("loadaof", 2, 2):
		if a.LoadAOF == nil {
			c.Error("ERR the append only file is not in use")
			return
		}
		if c.World {
			c.Error("ERR DEBUG LOADAOF is not allowed in a transaction")
			return
		}
		if err := a.LoadAOF(); err != nil {
			a.Log.Warn("DEBUG LOADAOF failed", "err", err)
			c.Error("ERR Error trying to load the AOF files, check server logs.")
			return
		}
		a.Log.Warn("Append Only File loaded by DEBUG LOADAOF")
		c.OK()
	case is("change-repl-id", 2, 2):
		if a.ChangeReplID != nil {
			a.ChangeReplID()
		}
		a.Log.Info("Changing replication IDs after receiving change-repl-id")
		c.OK()
	case is("clusterlink", 5, 5) && command.Word(c.Arg(2), "kill"):
		a.killLink(c)
	case is("drop-cluster-packet-filter", 3, 3) && a.PacketFilter != nil:
		n, ok := command.ParseInt(c.Arg(2))
		if !ok {
			c.Error(command.ErrNotInteger)
			return
		}
		a.PacketFilter(int(n))
		c.OK()
	case is("close-cluster-link-on-packet-drop", 3, 3) && a.CloseOnDrop != nil:
		a.CloseOnDrop(atoi(c.Arg(2)) != 0)
		c.OK()
	case is("disable-cluster-random-ping", 3, 3) && a.RandomPing != nil:
		a.RandomPing(atoi(c.Arg(2)) == 0)
		c.OK()
	case is("config-rewrite-force-all", 2, 2):
		a.configRewrite(c)
	case is("panic", 2, 2):
		a.crash("DEBUG PANIC called at Unix time " + fmt.Sprint(a.Now().Unix()))
	case is("segfault", 2, 2), is("assert", 2, 2), is("oom", 2, 2):
		a.crash("DEBUG " + strings.ToUpper(string(c.Arg(1))) + " called")
	case is("stringmatch-len", 4, 4):
		a.stringMatch(c)
	case is("quicklist-packed-threshold", 3, 3):
		// Large list elements have nodes of their own at a fixed size here; the
		// threshold is checked and then without effect.
		if n, ok := config.ParseMemory(string(c.Arg(2))); !ok || n < 0 || n > 1<<32 {
			c.Error("ERR argument must be a memory value bigger than 1 and smaller than 4gb")
			return
		}
		c.OK()
	case is("replybuffer", 4, 4) && (command.Word(c.Arg(2), "peak-reset-time") || command.Word(c.Arg(2), "resizing")),
		is("pause-cron", 3, 3), is("set-skip-checksum-validation", 3, 3), is("set-disable-deny-scripts", 3, 3),
		is("aof-flush-sleep", 3, 3), is("drop-cluster-packet-filter", 3, 3), is("close-cluster-link-on-packet-drop", 3, 3), is("disable-cluster-random-ping", 3, 3), is("jmap", 2, many), is("leak", 3, 3):
		c.OK() // about things that Skein does not have
	default:
		c.Error("ERR unknown subcommand or wrong number of arguments for '" + clip(c.Arg(1)) + "'. Try DEBUG HELP.")
	}
}

// clip makes an argument fit to be quoted in an error.
func clip(b []byte) string { return string(b[:min(len(b), 128)]) }

// atoi reads the number at the start of b as C does: 0 if there is none.
func atoi(b []byte) int64 {
	n, _ := command.ParseInt(b)
	return n
}

func (a *admin) crash(why string) {
	a.Log.Warn(why)
	if a.Crash != nil {
		a.Crash(why)
	}
	panic("admin: " + why)
}

// withKey calls f with the key in argument i, its slot locked, or replies that
// there is none. It is no access to the key.
func (a *admin) withKey(c *command.Ctx, i int, f func(o *store.Obj)) {
	k := command.MakeKey(i, c.Arg(i))
	if !c.World {
		c.DB.Store().Lock(k.Slot)
		defer c.DB.Store().Unlock(k.Slot)
	}
	o := c.Obj(0)
	if !c.DB.Find(k.Slot, k.Hash, c.Arg(i), o) || o.Expired(c.Now) {
		c.Error(command.ErrNoSuchKey)
		return
	}
	f(o)
}

func (a *admin) object(c *command.Ctx) {
	a.withKey(c, 2, func(o *store.Obj) {
		text := fmt.Sprintf("Value at:0x%x refcount:1 encoding:%s serializedlength:%d lru:%d lru_seconds_idle:%d",
			o.Slot(), o.Encoding(), len(rdb.AppendBody(nil, o, a.Config.RDBCompression.Get())), o.Access(), o.IdleSeconds(c.Second()))
		if o.Encoding() == store.Quicklist {
			q := ds.OpenQuicklist(o.Arena(), o.Bytes())
			text += fmt.Sprintf(" ql_nodes:%d ql_avg_node:%.2f ql_listpack_max:%d ql_compressed:0 ql_uncompressed_size:%d",
				q.NodeCount(), float64(q.Len())/float64(q.NodeCount()), c.Env.Limits().ListSize, q.MemUsed())
		}
		c.Simple(text)
	})
}

func (a *admin) sdslen(c *command.Ctx) {
	a.withKey(c, 2, func(o *store.Obj) {
		if o.Type() != store.String || o.Encoding() == store.Int {
			c.Error("ERR Not an sds encoded string.")
			return
		}
		key, val := len(o.Key()), len(o.Bytes())
		c.Simple(fmt.Sprintf("key_sds_len:%d, key_sds_avail:0, key_zmalloc: %d, val_sds_len:%d, val_sds_avail:0, val_zmalloc: %d", key, key, val, o.MemUsed()-key))
	})
}

func (a *admin) listpack(c *command.Ctx) {
	a.withKey(c, 2, func(o *store.Obj) {
		if o.Encoding() != store.Listpack {
			c.Error("ERR Not a listpack encoded object.")
			return
		}
		lp := ds.LP(o.Bytes())
		a.Log.Info(fmt.Sprintf("{total bytes %d} {num entries %d}", len(lp), lp.Count()))
		c.Simple("Listpack structure printed on stdout")
	})
}

func (a *admin) quicklist(c *command.Ctx) {
	a.withKey(c, 2, func(o *store.Obj) {
		if o.Encoding() != store.Quicklist {
			c.Error("ERR Not a quicklist encoded object.")
			return
		}
		q := ds.OpenQuicklist(o.Arena(), o.Bytes())
		a.Log.Info(fmt.Sprintf("{count : %d} {nodes : %d} {bytes : %d}", q.Len(), q.NodeCount(), q.MemUsed()))
		c.Simple("Quicklist structure printed on stdout")
	})
}

// htstatsKey tells the size of a collection's hash table.
func (a *admin) htstatsKey(c *command.Ctx) {
	a.withKey(c, 2, func(o *store.Obj) {
		var n, used int
		switch o.Encoding() {
		case store.Hashtable, store.HashtableTTL:
			t := ds.OpenTable(o.Arena(), o.Bytes())
			n, used = t.Len(), t.MemUsed()
		case store.Skiplist:
			z := ds.OpenZSet(o.Arena(), o.Bytes())
			n, used = z.Len(), z.MemUsed()
		default:
			c.Error("ERR The value stored at the specified key is not represented using an hash table")
			return
		}
		c.Verbatim("txt", fmt.Sprintf("Hash table 0 stats (main hash table):\n table size: %d\n number of elements: %d\n bytes: %d\n", tableSize(n), n, used))
	})
}

// tableSize is the number of places that a table of n elements has at least.
func tableSize(n int) int {
	size := 8
	for size < n {
		size *= 2
	}
	return size
}

func (a *admin) htstats(c *command.Ctx) {
	i, ok := command.ParseInt(c.Arg(2))
	if !ok {
		c.Error(command.ErrNotInteger)
		return
	}
	if i < 0 || i >= int64(a.Engine.Store.DBs()) {
		c.Error("ERR Out of range database")
		return
	}
	keys, volatile := a.Engine.Store.DB(int(i)).Len(c.World)
	c.Verbatim("txt", fmt.Sprintf("[Dictionary HT]\nHash table 0 stats (main hash table):\n number of elements: %d\n[Expires HT]\n number of elements: %d\n", keys, volatile))
}

func (a *admin) reload(c *command.Ctx) {
	var o Reload
	for args := c.ArgsFrom(2); args.More(); {
		switch {
		case args.Is("nosave"):
			o.NoSave = true
		case args.Is("noflush"):
			o.NoFlush = true
		case args.Is("merge"):
			o.Merge = true
		default:
			c.Error("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
			return
		}
	}
	if a.Reload == nil {
		c.Error("ERR this node has no persistence")
		return
	}
	if c.World {
		c.Error("ERR DEBUG RELOAD is not allowed in a transaction")
		return
	}
	if err := a.Reload(o); err != nil {
		a.Log.Warn("DEBUG RELOAD failed", "err", err)
		c.Error("ERR Error trying to load the RDB dump, check server logs.")
		return
	}
	a.Log.Warn("DB reloaded by DEBUG RELOAD")
	c.OK()
}

func (a *admin) killLink(c *command.Ctx) {
	if a.KillLink == nil {
		c.Error("ERR Debug option only available for cluster mode enabled setup!")
		return
	}
	dir := c.Arg(3)
	all := command.Word(dir, "all")
	to, from := all || command.Word(dir, "to"), all || command.Word(dir, "from")
	if !to && !from {
		c.Error("ERR Unknown direction " + clip(dir))
		return
	}
	if err := a.KillLink(to, from, string(c.Arg(4))); err != nil {
		c.Error("ERR " + err.Error())
		return
	}
	c.OK()
}

func debugHelp(c *command.Ctx) {
	c.Help("CHANGE-REPL-ID",
		"    Take a new replication id: replicas then need a full synchronisation.",
		"CLUSTERLINK KILL <to|from|all> <node-id>",
		"    Close the bus links to or from a node.",
		"DIGEST",
		"    A signature of the whole data set, in hexadecimal.",
		"DIGEST-VALUE <key> [<key> ...]",
		"    A signature of the value of each key.",
		"ERROR <string>",
		"    Reply with an error of this text.",
		"HTSTATS <dbid>",
		"    Sizes of the tables of a database.",
		"HTSTATS-KEY <key>",
		"    Size of the table of a key's value.",
		"LISTPACK <key>",
		"    Write to the log how a listpack is made.",
		"LOADAOF",
		"    Flush the append only file and load it again.",
		"LOG <message>",
		"    Write a line to the log.",
		"OBJECT <key>",
		"    How the value of <key> is held.",
		"PANIC",
		"    Crash.",
		"POPULATE <count> [<prefix>] [<size>]",
		"    Create <count> strings named <prefix>:<number> (prefix: key), of <size> bytes",
		"    if given. They are not replicated, and may belong to slots of other nodes.",
		"PROTOCOL <type>",
		"    Reply with a value of a type: string, integer, double, bignum, null, array,",
		"    set, map, attrib, push, verbatim, true, false.",
		"QUICKLIST <key>",
		"    Write to the log how a quicklist is made.",
		"QUICKLIST-PACKED-THRESHOLD <size>",
		"    Accepted, without effect.",
		"RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
		"    Save the data set and load it again. NOSAVE: load the file that exists;",
		"    NOFLUSH: keep the present keys; MERGE: those of the file win.",
		"SDSLEN <key>",
		"    Lengths of a key and its string.",
		"SEGFAULT",
		"    Crash.",
		"SET-ACTIVE-EXPIRE <0|1>",
		"    With 0 keys expire only when someone asks for them.",
		"SLEEP <seconds>",
		"    Stall the whole node; decimals are allowed.",
		"STRINGMATCH-LEN <length> <pattern>",
		"    Match a text of <length> letters 'A' against a pattern.")
}

// stringMatch matches a text of so many letters 'A' against a pattern, to see
// how long bad patterns take.
func (a *admin) stringMatch(c *command.Ctx) {
	n, ok := command.ParseInt(c.Arg(2))
	if !ok || n < 0 || n > 1<<20 {
		c.Error(command.ErrMustPositive)
		return
	}
	matched := int64(0)
	if glob.Match(c.Arg(3), bytes.Repeat([]byte{'A'}, int(n)), false) {
		matched = 1
	}
	c.Int(matched)
}
