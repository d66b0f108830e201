package engine

import (
	"strings"
	"time"

	"github.com/skeindb/skein/internal/command"
)

func clientSpecs() []*command.Spec {
	const f = command.Session | command.NoScript | command.Loading | command.Stale
	sub := func(name, since string, arity int, syntax, complexity, summary string, flags command.Flags, run func(*command.Ctx), tips ...string) *command.Spec {
		return &command.Spec{Name: name, Group: command.Connection, Since: since, Arity: arity, Syntax: syntax, Complexity: complexity,
			Summary: summary, Flags: f | flags, Tips: tips, Run: run}
	}
	help := sub("help", "5.0.0", 2, "", "O(1)", "Explains the subcommands.", 0, clientHelp)
	help.Flags &^= command.NoScript
	const admin = command.Admin
	return []*command.Spec{{Name: "client", Group: command.Connection, Since: "2.4.0", Arity: -2, Complexity: "Depends on the subcommand",
		Summary: "Container of commands about client connections.", Flags: command.Session, Categories: []string{"-connection"},
		Subs: []*command.Spec{
			sub("caching", "6.0.0", 3, "<YES | NO>", "O(1)", "Says whether the next command's keys are tracked.", 0, clientCaching),
			sub("getname", "2.6.9", 2, "", "O(1)", "Returns the connection's name.", 0, clientGetName),
			sub("getredir", "6.0.0", 2, "", "O(1)", "Returns the client that gets this connection's invalidations.", 0, clientGetRedir),
			help,
			sub("id", "5.0.0", 2, "", "O(1)", "Returns the connection's id.", 0, func(c *command.Ctx) { c.Int(SessionOf(c).ID) }),
			sub("info", "6.2.0", 2, "", "O(1)", "Describes this connection.", 0, clientInfo, "nondeterministic_output"),
			sub("kill", "2.4.0", -3, "<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] | [MAXAGE maxage] [...]>>",
				"O(N) with the connections", "Closes connections.", admin, clientKill),
			sub("list", "2.4.0", -2, "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
				"O(N) with the connections", "Describes the connections.", admin, clientList, "nondeterministic_output"),
			sub("no-evict", "7.0.0", 3, "<ON | OFF>", "O(1)", "Spares the connection when memory of clients is short.", admin, clientNoEvict),
			sub("no-touch", "7.2.0", 3, "<ON | OFF>", "O(1)", "Makes the connection's commands leave the access times of keys alone.", 0, clientNoTouch),
			sub("pause", "2.9.50", -3, "timeout [WRITE | ALL]", "O(1)", "Holds back commands for a while.", admin|command.OwnLocks, clientPause),
			sub("reply", "3.2.0", 3, "<ON | OFF | SKIP>", "O(1)", "Says whether the server replies.", 0, clientReply),
			sub("setinfo", "7.2.0", 4, "<LIB-NAME libname | LIB-VER libver>", "O(1)", "Notes facts about the client's library.", 0, clientSetInfo,
				"request_policy:all_nodes", "response_policy:all_succeeded"),
			sub("setname", "2.6.9", 3, "connection-name", "O(1)", "Names the connection.", 0, clientSetName),
			sub("tracking", "6.0.0", -3, "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
				"O(1). Some options may introduce additional complexity.", "Controls invalidation messages for client-side caching.", 0, clientTracking),
			sub("trackinginfo", "6.2.0", 2, "", "O(1)", "Describes the connection's client-side caching.", 0, clientTrackingInfo),
			sub("unblock", "5.0.0", -3, "client-id [TIMEOUT | ERROR]", "O(1)", "Ends another client's blocking command.", admin, clientUnblock),
			sub("unpause", "6.2.0", 2, "", "O(N) with the commands held back", "Ends CLIENT PAUSE.", admin, clientUnpause),
		}}}
}

// badSubcommand is the reply to a subcommand with too many arguments.
func badSubcommand(c *command.Ctx) string {
	return "ERR unknown subcommand or wrong number of arguments for '" + clean(c.Arg(1), 128) + "'. Try " +
		strings.ToUpper(c.Spec.Parent.Name) + " HELP."
}

func clientHelp(c *command.Ctx) {
	c.Help(
		"CACHING (YES|NO)", "    Track the keys of the next command, or do not (OPTIN, OPTOUT).",
		"GETREDIR", "    Tell which client gets the invalidation messages of this one.",
		"GETNAME", "    Tell the name of this connection.",
		"ID", "    Tell the id of this connection.",
		"INFO", "    Describe this connection.",
		"KILL <ip:port>", "    Close the connection from an address.",
		"KILL <option> <value> [<option> <value> [...]]", "    Close the connections that all options fit:",
		"    * ADDR (<ip:port>|<unixsocket>:0)", "      by the client's address",
		"    * LADDR (<ip:port>|<unixsocket>:0)", "      by the server's address",
		"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      by type",
		"    * USER <username>", "      by the user who has logged in",
		"    * ID <client-id>", "      by id",
		"    * MAXAGE <seconds>", "      open for at least so long",
		"    * SKIPME (YES|NO)", "      whether this connection is spared (default: yes)",
		"LIST [options ...]", "    Describe connections:",
		"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      those of a type",
		"    * ID <client-id> [<client-id> ...]", "      those with the given ids",
		"UNPAUSE", "    End the pause.",
		"PAUSE <timeout> [WRITE|ALL]", "    Hold back writes, or all commands, for so many milliseconds.",
		"REPLY (ON|OFF|SKIP)", "    Reply to this connection or not.",
		"SETINFO (LIB-NAME|LIB-VER) <value>", "    Note the client library's name or version.",
		"SETNAME <name>", "    Name this connection.",
		"UNBLOCK <clientid> [TIMEOUT|ERROR]", "    End the blocking command of a client.",
		"TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]", "         [OPTIN] [OPTOUT] [NOLOOP]", "    Send invalidation messages for client-side caching.",
		"TRACKINGINFO", "    Describe the tracking of this connection.",
		"NO-EVICT (ON|OFF)", "    Spare this connection when memory of clients is short.",
		"NO-TOUCH (ON|OFF)", "    Let this connection's commands not count as accesses.",
	)
}

func clientGetName(c *command.Ctx) {
	if n := SessionOf(c).Name(); n != "" {
		c.BulkString(n)
	} else {
		c.Null()
	}
}

func clientSetName(c *command.Ctx) {
	if !validName(c.Arg(2)) {
		c.Error(errClientName)
		return
	}
	SessionOf(c).setName(c.Arg(2))
	c.OK()
}

func clientSetInfo(c *command.Ctx) {
	s := SessionOf(c)
	dst, word := &s.libName, "lib-name"
	switch {
	case command.Word(c.Arg(2), "lib-name"):
	case command.Word(c.Arg(2), "lib-ver"):
		dst, word = &s.libVer, "lib-ver"
	default:
		c.Error("ERR Unrecognized option '" + clean(c.Arg(2), 128) + "'")
		return
	}
	if !validName(c.Arg(3)) {
		c.Error("ERR " + word + " cannot contain spaces, newlines or special characters.")
		return
	}
	s.mu.Lock()
	*dst = string(c.Arg(3))
	s.mu.Unlock()
	c.OK()
}

func clientInfo(c *command.Ctx) {
	s := SessionOf(c)
	c.VerbatimBytes("txt", append(s.appendInfo(nil, s), '\n'))
}

// clientType reads the name of a type of clients: typeNormal ...
func clientType(arg []byte) (t string, ok bool) {
	switch t = strings.ToLower(string(arg)); t {
	case "normal", "master", "replica", "pubsub":
		return t, true
	case "slave":
		return "replica", true
	}
	return "", false
}

func clientList(c *command.Ctx) {
	me := SessionOf(c)
	list := me.e.Clients()
	switch {
	case len(c.Argv) == 2:
	case len(c.Argv) == 4 && command.Word(c.Arg(2), "type"):
		t, ok := clientType(c.Arg(3))
		if !ok {
			c.Error("ERR Unknown client type '" + clean(c.Arg(3), 128) + "'")
			return
		}
		n := 0
		for _, s := range list {
			if s.typeName() == t {
				list[n] = s
				n++
			}
		}
		list = list[:n]
	case len(c.Argv) > 3 && command.Word(c.Arg(2), "id"):
		list = nil
		for _, a := range c.Argv[3:] {
			id, ok := command.ParseInt(a)
			if !ok {
				c.Error("ERR Invalid client ID")
				return
			}
			if s := me.e.Client(id); s != nil {
				list = append(list, s)
			}
		}
	default:
		c.Error(command.ErrSyntax)
		return
	}
	var text []byte
	for _, s := range list {
		text = append(s.appendInfo(text, me), '\n')
	}
	c.VerbatimBytes("txt", text)
}

// killFilter says which connections CLIENT KILL closes.
type killFilter struct {
	id, maxAge        int64 // 0: any
	addr, laddr, user string
	kind              string
	skipMe            bool
}

func (f *killFilter) fits(s, me *Session, nowMs int64) bool {
	return !(f.skipMe && s == me) &&
		(f.id == 0 || s.ID == f.id) &&
		(f.addr == "" || s.conn.RemoteAddr() == f.addr) &&
		(f.laddr == "" || s.conn.LocalAddr() == f.laddr) &&
		(f.user == "" || s.userName() == f.user && !s.IsPrimary()) &&
		(f.kind == "" || s.typeName() == f.kind) &&
		(f.maxAge == 0 || nowMs-s.conn.Created().UnixMilli() >= f.maxAge*1000)
}

func clientKill(c *command.Ctx) {
	me := SessionOf(c)
	f := killFilter{skipMe: true}
	old := len(c.Argv) == 3
	if old {
		f = killFilter{addr: string(c.Arg(2))}
	} else if !f.parse(c, me.e) {
		return
	}
	killed := 0
	for _, s := range me.e.Clients() {
		if !f.fits(s, me, c.Now) {
			continue
		}
		killed++
		if s == me {
			me.closing = true // after the reply
		} else {
			s.Kill()
			s.leave()
		}
	}
	switch {
	case !old:
		c.Int(int64(killed))
	case killed == 0:
		c.Error("ERR No such client")
	default:
		c.OK()
	}
}

// parse reads pairs of option and value; on false it has replied.
func (f *killFilter) parse(c *command.Ctx, e *Engine) bool {
	refuse := func(text string) bool {
		c.Error(text)
		return false
	}
	for i := 2; i < len(c.Argv); i += 2 {
		if i+1 == len(c.Argv) {
			return refuse(command.ErrSyntax)
		}
		name, v := c.Arg(i), c.Arg(i+1)
		switch {
		case command.Word(name, "id"):
			n, ok := command.ParseInt(v)
			if !ok || n < 1 {
				return refuse("ERR client-id should be greater than 0")
			}
			f.id = n
		case command.Word(name, "maxage"):
			n, ok := command.ParseInt(v)
			if !ok {
				return refuse("ERR maxage is not an integer or out of range")
			}
			if n <= 0 {
				return refuse("ERR maxage should be greater than 0")
			}
			f.maxAge = n
		case command.Word(name, "type"):
			t, ok := clientType(v)
			if !ok {
				return refuse("ERR Unknown client type '" + clean(v, 128) + "'")
			}
			f.kind = t
		case command.Word(name, "addr"):
			f.addr = string(v)
		case command.Word(name, "laddr"):
			f.laddr = string(v)
		case command.Word(name, "user"):
			if !e.hasUser(string(v)) {
				return refuse("ERR No such user '" + clean(v, 128) + "'")
			}
			f.user = string(v)
		case command.Word(name, "skipme") && command.Word(v, "yes"):
			f.skipMe = true
		case command.Word(name, "skipme") && command.Word(v, "no"):
			f.skipMe = false
		default:
			return refuse(command.ErrSyntax)
		}
	}
	return true
}

// hasUser reports whether a user exists. An Authenticator that knows more users
// than the default one says so.
func (e *Engine) hasUser(name string) bool {
	if a, ok := e.Auth.(interface{ HasUser(name string) bool }); ok {
		return a.HasUser(name)
	}
	return name == "default"
}

func clientPause(c *command.Ctx) {
	s := SessionOf(c)
	all := true
	if len(c.Argv) > 4 {
		c.Error(badSubcommand(c))
		return
	}
	if len(c.Argv) == 4 {
		switch {
		case command.Word(c.Arg(3), "write"):
			all = false
		case !command.Word(c.Arg(3), "all"):
			c.Error("ERR CLIENT PAUSE mode must be WRITE or ALL")
			return
		}
	}
	ms, ok := command.ParseInt(c.Arg(2))
	switch {
	case !ok:
		c.Error("ERR timeout is not an integer or out of range")
	case ms < 0:
		c.Error(command.ErrTimeoutNeg)
	case ms > (1<<63-1)-c.Now:
		c.Error("ERR timeout is out of range")
	default:
		s.e.BeginPause("client", c.Now+ms, all)
		if !c.World { // in a transaction nothing else runs
			select {
			case <-s.e.Running():
			case <-time.After(pausePatience):
			}
		}
		c.OK()
	}
}

// pausePatience is how long CLIENT PAUSE waits for commands under way before it
// answers. A slower one is as if it came at the same time: its client has no
// answer yet.
const pausePatience = 50 * time.Millisecond

func clientUnpause(c *command.Ctx) {
	SessionOf(c).e.Unpause("client")
	c.OK()
}

func clientReply(c *command.Ctx) {
	s := SessionOf(c)
	switch {
	case command.Word(c.Arg(2), "on"):
		s.flags &^= flagReplyOff | flagReplySkip | flagReplySkipNext
		s.special &^= specialReply
		c.OK()
	case command.Word(c.Arg(2), "off"):
		s.flags |= flagReplyOff
		s.special |= specialReply
	case command.Word(c.Arg(2), "skip"):
		if s.flags&flagReplyOff == 0 {
			s.flags |= flagReplySkipNext
			s.special |= specialReply
		}
	default:
		c.Error(command.ErrSyntax)
	}
}

// onOff reads ON or OFF; on false for ok it has replied.
func onOff(c *command.Ctx, arg []byte) (on, ok bool) {
	switch {
	case command.Word(arg, "on"):
		return true, true
	case command.Word(arg, "off"):
		return false, true
	}
	c.Error(command.ErrSyntax)
	return false, false
}

func (s *Session) setFlag(flag uint32, on bool) {
	if on {
		s.flags |= flag
	} else {
		s.flags &^= flag
	}
	s.publishState()
}

func clientNoEvict(c *command.Ctx) {
	if on, ok := onOff(c, c.Arg(2)); ok {
		SessionOf(c).setFlag(flagNoEvict, on)
		c.OK()
	}
}

func clientNoTouch(c *command.Ctx) {
	if on, ok := onOff(c, c.Arg(2)); ok {
		SessionOf(c).setFlag(flagNoTouch, on)
		c.NoTouch = on
		c.OK()
	}
}

func clientUnblock(c *command.Ctx) {
	text := ""
	switch {
	case len(c.Argv) > 4:
		c.Error(badSubcommand(c))
		return
	case len(c.Argv) == 4 && command.Word(c.Arg(3), "error"):
		text = command.ErrUnblocked
	case len(c.Argv) == 4 && !command.Word(c.Arg(3), "timeout"):
		c.Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
		return
	}
	id, ok := command.ParseInt(c.Arg(2))
	if !ok {
		c.Error(command.ErrNotInteger)
		return
	}
	if s := SessionOf(c).e.Client(id); s != nil && s.Unblock(text, false) {
		c.Int(1)
	} else {
		c.Int(0)
	}
}
