package acl

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/skeindb/skein/internal/command"
)

const (
	operator = command.Session | command.Admin | command.NoScript | command.Loading | command.Stale
	anyone   = command.Session | command.NoScript | command.Loading | command.Stale

	errGenPass = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
)

// Specs returns the literals of the ACL commands.
func (a *ACL) Specs() []*command.Spec {
	sub := func(name, since string, arity int, flags command.Flags, syntax, complexity, summary string, run func(*command.Ctx)) *command.Spec {
		return &command.Spec{Name: name, Group: command.Server, Since: since, Arity: arity, Flags: flags, Syntax: syntax,
			Complexity: complexity, Summary: summary, Run: run}
	}
	return []*command.Spec{{Name: "acl", Group: command.Server, Since: "6.0.0", Arity: -2, Complexity: "Depends on the subcommand.",
		Summary: "Commands about users and what they may do.", Flags: command.Session,
		Subs: []*command.Spec{
			sub("cat", "6.0.0", -2, anyone, "[category]", "O(1)", "Lists the categories, or the commands of one.", a.cat),
			sub("whoami", "6.0.0", 2, anyone, "", "O(1)", "Returns the name under which the client is logged in.", whoami),
			sub("users", "6.0.0", 2, operator, "", "O(N), N being the number of users.", "Lists the names of the users.", a.users),
			sub("list", "6.0.0", 2, operator, "", "O(N), N being the number of users.", "Lists the users with their rules.", a.list),
			sub("getuser", "6.0.0", 3, operator, "username", "O(N), N being the number of rules.", "Returns the rules of a user.", a.getUser),
			sub("genpass", "6.0.0", -2, anyone, "[bits]", "O(1)", "Makes a random password.", genPass),
			sub("log", "6.0.0", -2, operator, "[count | RESET]", "O(N), N being the number of entries.", "Lists what was refused for lack of rights.", log),
			sub("dryrun", "7.0.0", -4, operator, "username command [arg [arg ...]]", "O(1)", "Tells whether a user may run a command.", dryRun),
			sub("help", "6.0.0", 2, command.Session|command.Loading|command.Stale, "", "O(1)", "Explains the subcommands.", help),
		}}}
}

// client is what the ACL commands want of the engine's session.
type client interface{ User() string }

func whoami(c *command.Ctx) { c.BulkString(c.Client.(client).User()) }

func (a *ACL) users(c *command.Ctx) {
	c.Array(1)
	c.BulkString(defaultUser)
}

// hash is how a password is shown: its SHA-256 in hexadecimal.
func (a *ACL) hash() (hexed string, ok bool) {
	pass := a.cfg.RequirePass.Get()
	sum := sha256.Sum256([]byte(pass))
	return hex.EncodeToString(sum[:]), pass != ""
}

func (a *ACL) list(c *command.Ctx) {
	pass := "nopass"
	if h, ok := a.hash(); ok {
		pass = "#" + h
	}
	c.Array(1)
	c.BulkString("user default on " + pass + " ~* &* +@all")
}

func (a *ACL) getUser(c *command.Ctx) {
	if string(c.Arg(2)) != defaultUser {
		c.Null()
		return
	}
	h, protected := a.hash()
	c.Map(6)
	c.BulkString("flags")
	if protected {
		c.Set(1)
		c.BulkString("on")
	} else {
		c.Set(2)
		c.BulkString("on")
		c.BulkString("nopass")
	}
	c.BulkString("passwords")
	if protected {
		c.Array(1)
		c.BulkString(h)
	} else {
		c.Array(0)
	}
	c.BulkString("commands")
	c.BulkString("+@all")
	c.BulkString("keys")
	c.BulkString("~*")
	c.BulkString("channels")
	c.BulkString("&*")
	c.BulkString("selectors")
	c.Array(0)
}

func (a *ACL) cat(c *command.Ctx) {
	switch {
	case len(c.Argv) > 3:
		c.SubSyntax()
	case len(c.Argv) == 2:
		c.Array(len(command.Categories))
		for _, name := range command.Categories {
			c.BulkString(name)
		}
	default:
		name := string(c.Arg(2))
		if !slices.ContainsFunc(command.Categories, func(known string) bool { return command.Word(c.Arg(2), known) }) {
			c.Error("ERR Unknown category '" + name[:min(len(name), 128)] + "'")
			return
		}
		m, n := c.Defer(), 0
		for _, s := range c.Env.Table.All() {
			if slices.ContainsFunc(s.ACLCategories(), func(cat string) bool { return command.Word(c.Arg(2), cat) }) {
				c.BulkString(s.Full)
				n++
			}
		}
		c.EndArray(m, n)
	}
}

// log is ACL LOG: who may do everything is never refused.
func log(c *command.Ctx) {
	switch {
	case len(c.Argv) > 3:
		c.SubSyntax()
	case len(c.Argv) == 3 && command.Word(c.Arg(2), "reset"):
		c.OK()
	case len(c.Argv) == 3:
		if _, ok := command.ParseInt(c.Arg(2)); !ok {
			c.Error(command.ErrNotInteger)
			return
		}
		c.Array(0)
	default:
		c.Array(0)
	}
}

func dryRun(c *command.Ctx) {
	argv := c.Argv[3:]
	spec := c.Env.Table.Lookup(argv)
	switch user := c.Arg(2); {
	case string(user) != defaultUser:
		c.Error("ERR User '" + string(user[:min(len(user), 128)]) + "' not found")
	case spec == nil:
		c.Error("ERR Command '" + string(argv[0][:min(len(argv[0]), 128)]) + "' not found")
	case !spec.ArityOK(len(argv)):
		c.Error(command.WrongArity(spec.Full))
	default:
		c.OK()
	}
}

func genPass(c *command.Ctx) {
	bits := int64(256)
	if len(c.Argv) > 3 {
		c.SubSyntax()
		return
	}
	if len(c.Argv) == 3 {
		n, ok := command.ParseInt(c.Arg(2))
		if !ok {
			c.Error(command.ErrNotInteger)
			return
		}
		if n <= 0 || n > 4096 {
			c.Error(errGenPass)
			return
		}
		bits = n
	}
	chars := int(bits+3) / 4
	b := make([]byte, (chars+1)/2)
	rand.Read(b)
	c.BulkString(hex.EncodeToString(b)[:chars])
}

func help(c *command.Ctx) {
	c.Help("CAT [<category>]",
		"    The commands of a category; without one, the categories.",
		"GENPASS [<bits>]",
		"    A random password in hexadecimal, of 256 bits unless <bits> says otherwise.",
		"DRYRUN <username> <command> [<arg> ...]",
		"    Whether a user may run a command; nothing is run.",
		"GETUSER <username>",
		"    What a user may do.",
		"LIST",
		"    The users with their rules, as in a configuration file.",
		"LOG [<count> | RESET]",
		"    What was refused; RESET empties the list.",
		"USERS",
		"    The names of the users.",
		"WHOAMI",
		"    The name under which this connection is logged in.")
}
