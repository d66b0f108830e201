package function

import (
	"errors"
	"slices"
	"strings"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/glob"
	"github.com/skeindb/skein/internal/rdb"
)

const (
	errNotFound = "ERR Function not found"
	errNoEngine = "ERR Functions cannot be run: this server keeps libraries but has no script engine"
)

// Specs are the commands.
func (l *Libraries) Specs() []*command.Spec {
	const (
		change = command.Write | command.NoScript | command.World
		look   = command.NoScript | command.Session
		call   = command.NoScript | command.Stale | command.SkipMonitor | command.NoMandatoryKeys | command.Session
	)
	all := []string{"request_policy:all_shards", "response_policy:all_succeeded"}
	scripting := []string{"scripting"}
	keys := func(f command.KeyFlags) []command.KeySpec {
		return []command.KeySpec{{Flags: f, Index: 2, KeyNum: true, First: 1, Step: 1}}
	}
	return []*command.Spec{
		{Name: "function", Group: command.Scripting, Since: "7.0.0", Arity: -2, Complexity: "Depends on the subcommand.",
			Summary: "A container for commands about libraries of functions.", Subs: []*command.Spec{
				{Name: "load", Group: command.Scripting, Since: "7.0.0", Arity: -3, Complexity: "O(N) with the length of the code",
					Summary: "Keeps a library.", Syntax: "[REPLACE] function-code", Flags: change | command.DenyOOM, Categories: scripting, Tips: all, Run: l.load},
				{Name: "delete", Group: command.Scripting, Since: "7.0.0", Arity: 3, Complexity: "O(1)",
					Summary: "Deletes a library.", Syntax: "library-name", Flags: change, Categories: scripting, Tips: all, Run: l.delete},
				{Name: "flush", Group: command.Scripting, Since: "7.0.0", Arity: -2, Complexity: "O(1)",
					Summary: "Deletes all libraries.", Syntax: "[ASYNC | SYNC]", Flags: change, Categories: scripting, Tips: all, Run: l.flush},
				{Name: "restore", Group: command.Scripting, Since: "7.0.0", Arity: -3, Complexity: "O(N) with the length of the payload",
					Summary: "Keeps the libraries of a payload of FUNCTION DUMP.", Syntax: "serialized-value [FLUSH | APPEND | REPLACE]",
					Flags: change | command.DenyOOM, Categories: scripting, Tips: all, Run: l.restore},
				{Name: "dump", Group: command.Scripting, Since: "7.0.0", Arity: 2, Complexity: "O(N) with the length of the code",
					Summary: "Returns all libraries in one payload.", Flags: look, Categories: scripting, Run: l.dump},
				{Name: "list", Group: command.Scripting, Since: "7.0.0", Arity: -2, Complexity: "O(N) with the libraries",
					Summary: "Lists libraries with what is known of their functions.", Syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
					Flags: look, Categories: scripting, Tips: []string{"nondeterministic_output_order"}, Run: l.list},
				{Name: "stats", Group: command.Scripting, Since: "7.0.0", Arity: 2, Complexity: "O(1)",
					Summary: "Returns how many libraries and functions there are.", Flags: look | command.AllowBusy, Categories: scripting,
					Tips: []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}, Run: l.stats},
				{Name: "kill", Group: command.Scripting, Since: "7.0.0", Arity: 2, Complexity: "O(1)",
					Summary: "Ends the function that runs.", Flags: look | command.AllowBusy, Categories: scripting,
					Tips: []string{"request_policy:all_shards", "response_policy:one_succeeded"},
					Run:  func(c *command.Ctx) { c.Error("NOTBUSY No scripts in execution right now.") }},
				{Name: "help", Group: command.Scripting, Since: "7.0.0", Arity: 2, Complexity: "O(1)",
					Summary: "Describes the subcommands.", Flags: command.Session | command.Loading | command.Stale, Categories: scripting, Run: help},
			}},
		{Name: "fcall", Group: command.Scripting, Since: "7.0.0", Arity: -3, Complexity: "Depends on the function.",
			Summary: "Runs a function. Refused: there is no script engine.", Syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
			Flags: call, Categories: scripting, Keys: keys(command.RW | command.Access | command.Update), Run: l.call},
		{Name: "fcall_ro", Group: command.Scripting, Since: "7.0.0", Arity: -3, Complexity: "Depends on the function.",
			Summary: "Runs a function that changes nothing. Refused: there is no script engine.", Syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
			Flags: call | command.ReadOnly, Categories: scripting, Keys: keys(command.RO | command.Access), Run: l.call},
	}
}

func (l *Libraries) load(c *command.Ctx) {
	args := c.ArgsFrom(2)
	replace := args.Left() > 1 && args.Is("replace")
	if args.Left() > 1 {
		c.Error("ERR Unknown option given: " + string(clip(args.Next())))
		return
	}
	lib, err := parse(args.Next())
	if err == nil && !strings.EqualFold(lib.Engine, "lua") {
		err = errors.New("Engine '" + lib.Engine + "' not found")
	}
	if err == nil {
		err = l.add([]*Library{lib}, replace)
	}
	if err != nil {
		c.Error("ERR " + err.Error())
		return
	}
	c.Dirty++
	c.BulkString(lib.Name)
}

func clip(b []byte) []byte { return b[:min(len(b), 128)] }

func (l *Libraries) delete(c *command.Ctx) {
	if err := l.remove(string(c.Arg(2))); err != nil {
		c.Error("ERR " + err.Error())
		return
	}
	c.Dirty++
	c.OK()
}

func (l *Libraries) flush(c *command.Ctx) {
	args := c.ArgsFrom(2)
	switch {
	case args.Left() > 1:
		c.SubSyntax()
		return
	case args.Left() == 1 && !args.Is("sync") && !args.Is("async"):
		c.Error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
		return
	}
	l.Clear()
	c.Dirty++ // replicas may hold what we do not
	c.OK()
}

func (l *Libraries) restore(c *command.Ctx) {
	args := c.ArgsFrom(3)
	replace, flush := false, false
	switch {
	case args.Left() > 1:
		c.SubSyntax()
		return
	case args.Left() == 0, args.Is("append"):
	case args.Is("replace"):
		replace = true
	case args.Is("flush"):
		flush = true
	default:
		c.Error("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
		return
	}
	var libs []*Library
	err := rdb.EachFunction(c.Arg(2), func(source []byte) error {
		lib, err := parse(source)
		libs = append(libs, lib)
		return err
	})
	var bad *rdb.FormatError
	switch {
	case errors.Is(err, rdb.ErrDumpFooter):
		err = rdb.ErrDumpFooter
	case errors.As(err, &bad):
		err = errors.New("failed loading functions from the payload: " + err.Error())
	case err == nil && flush:
		if err = new(Libraries).add(libs, false); err == nil { // whole, before the others go
			l.Clear()
			err = l.add(libs, false)
		}
	case err == nil:
		err = l.add(libs, replace)
	}
	if err != nil {
		c.Error("ERR " + err.Error())
		return
	}
	c.Dirty++
	c.OK()
}

func (l *Libraries) dump(c *command.Ctx) {
	var p []byte
	for _, source := range l.Sources() {
		p = rdb.AppendFunction(p, source, true)
	}
	c.Bulk(rdb.AppendDumpFooter(p, 0))
}

func (l *Libraries) list(c *command.Ctx) {
	var pattern []byte
	code := false
	for args := c.ArgsFrom(2); args.More(); {
		switch {
		case !code && args.Is("withcode"):
			code = true
		case pattern == nil && args.Is("libraryname"):
			if !args.More() {
				c.Error("ERR library name argument was not given")
				return
			}
			pattern = args.Next()
		default:
			c.Error("ERR Unknown argument " + string(clip(args.Next())))
			return
		}
	}
	libs := l.All()
	if pattern != nil {
		libs = slices.DeleteFunc(libs, func(lib *Library) bool { return !glob.Match(pattern, []byte(lib.Name), true) })
	}
	c.Array(len(libs))
	for _, lib := range libs {
		n := 3
		if code {
			n++
		}
		c.Map(n)
		c.BulkString("library_name")
		c.BulkString(lib.Name)
		c.BulkString("engine")
		c.BulkString(strings.ToUpper(lib.Engine))
		c.BulkString("functions")
		c.Array(len(lib.Functions))
		for _, f := range lib.Functions {
			c.Map(3)
			c.BulkString("name")
			c.BulkString(f.Name)
			c.BulkString("description")
			if f.Description == "" {
				c.Null()
			} else {
				c.BulkString(f.Description)
			}
			c.BulkString("flags")
			c.Set(len(f.Flags))
			for _, flag := range f.Flags {
				c.Simple(flag)
			}
		}
		if code {
			c.BulkString("library_code")
			c.Bulk(lib.Source)
		}
	}
}

func (l *Libraries) stats(c *command.Ctx) {
	libraries, functions, _ := l.Totals()
	c.Map(2)
	c.BulkString("running_script")
	c.Null()
	c.BulkString("engines")
	c.Map(1)
	c.BulkString("LUA")
	c.Map(2)
	c.BulkString("libraries_count")
	c.Int(int64(libraries))
	c.BulkString("functions_count")
	c.Int(int64(functions))
}

// call refuses what cannot be run, and tells whether it could be anywhere.
func (l *Libraries) call(c *command.Ctx) {
	n, ok := command.ParseInt(c.Arg(2))
	switch libraries, _, _ := l.Totals(); {
	case libraries == 0:
		c.Error(errNotFound)
	case !ok:
		c.Error("ERR Bad number of keys provided")
	case n > int64(len(c.Argv)-3):
		c.Error("ERR Number of keys can't be greater than number of args")
	case n < 0:
		c.Error("ERR Number of keys can't be negative")
	default:
		c.Error(errNoEngine)
	}
}

func help(c *command.Ctx) {
	c.Help("LOAD [REPLACE] <code>",
		"    Keep a library. It is not run: this server has no script engine.",
		"DELETE <library>",
		"    Delete a library.",
		"LIST [LIBRARYNAME <pattern>] [WITHCODE]",
		"    The libraries, with the functions whose names the code spells out.",
		"STATS",
		"    How many there are.",
		"KILL",
		"    End the function that runs; none ever does.",
		"FLUSH [ASYNC|SYNC]",
		"    Delete all libraries.",
		"DUMP",
		"    All libraries in one payload.",
		"RESTORE <payload> [FLUSH|APPEND|REPLACE]",
		"    Keep the libraries of a payload: instead of those that are there, beside them (the default), or in place of those with the same names.")
}
