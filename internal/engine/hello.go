package engine

import (
	"github.com/skeindb/skein/internal/command"
)

const (
	errWrongPass   = "WRONGPASS invalid username-password pair or user is disabled."
	errNoPassword  = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
	errNoProto     = "NOPROTO unsupported protocol version"
	errProtoNumber = "ERR Protocol version is not an integer or out of range"
	errHelloAuth   = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
	errClientName  = "ERR Client names cannot contain spaces, newlines or special characters."
)

// Version is the Redis version whose behaviour Skein reports.
const Version = "7.2.4"

func helloSpecs() []*command.Spec {
	const f = command.Session | command.NoScript | command.Loading | command.Stale | command.Fast | command.NoAuth | command.AllowBusy
	return []*command.Spec{
		{Name: "hello", Group: command.Connection, Since: "6.0.0", Arity: -1, Complexity: "O(1)", Summary: "Greets the server and chooses the protocol.",
			Syntax: "[protover [AUTH username password] [SETNAME clientname]]", Flags: f, Run: helloRun},
		{Name: "auth", Group: command.Connection, Since: "1.0.0", Arity: -2, Complexity: "O(N) with the passwords of the user", Summary: "Logs in.",
			Syntax: "[username] password", Flags: f, Run: authRun},
		{Name: "reset", Group: command.Connection, Since: "6.2.0", Arity: 1, Complexity: "O(1)", Summary: "Brings the connection back to how it began.",
			Flags: f, Run: resetRun},
	}
}

// login checks a name and password and lets the session in.
func (s *Session) login(user string, pass []byte) bool {
	if s.e.Auth == nil || !s.e.Auth.Authenticate(user, pass) {
		return false
	}
	s.mu.Lock()
	s.user = user
	s.mu.Unlock()
	s.special &^= specialAuth
	s.parser.Unauthenticated = false
	s.publishState()
	return true
}

func authRun(c *command.Ctx) {
	s := SessionOf(c)
	user, pass := "default", c.Arg(1)
	switch {
	case len(c.Argv) > 3:
		c.Error(command.ErrSyntax)
		return
	case len(c.Argv) == 3:
		user, pass = string(c.Arg(1)), c.Arg(2)
	case s.e.Auth == nil || !s.e.Auth.Required():
		c.Error(errNoPassword)
		return
	}
	if s.login(user, pass) {
		c.OK()
	} else {
		c.Error(errWrongPass)
	}
}

func helloRun(c *command.Ctx) {
	s := SessionOf(c)
	proto := s.out.Proto
	a := c.ArgsFrom(1)
	if a.More() {
		n := a.IntOr(errProtoNumber)
		if !a.Done() {
			return
		}
		if n != 2 && n != 3 {
			c.Error(errNoProto)
			return
		}
		proto = int(n)
	}
	var name []byte
	var user, pass []byte
	for a.More() {
		switch {
		case a.Left() >= 3 && a.Is("auth"):
			user, pass = a.Next(), a.Next()
		case a.Left() >= 2 && a.Is("setname"):
			name = a.Next()
			if !validName(name) {
				c.Error(errClientName)
				return
			}
		default:
			c.Error("ERR Syntax error in HELLO option '" + clean(a.Next(), 128) + "'")
			return
		}
	}
	if pass != nil && !s.login(string(user), pass) {
		c.Error(errWrongPass)
		return
	}
	if s.special&specialAuth != 0 {
		c.Error(errHelloAuth)
		return
	}
	if name != nil {
		s.setName(name)
	}
	s.out.Proto = proto
	s.publishState()
	v := s.e.View()
	c.Map(7)
	c.BulkString("server")
	c.BulkString("redis")
	c.BulkString("version")
	c.BulkString(Version)
	c.BulkString("proto")
	c.Int(int64(proto))
	c.BulkString("id")
	c.Int(s.ID)
	c.BulkString("mode")
	if v.Cluster {
		c.BulkString("cluster")
	} else {
		c.BulkString("standalone")
	}
	c.BulkString("role")
	if v.Replica {
		c.BulkString("replica")
	} else {
		c.BulkString("master")
	}
	c.BulkString("modules")
	c.Array(0)
}

func resetRun(c *command.Ctx) {
	s := SessionOf(c)
	s.discardMulti()
	s.e.dropSubscriptions(s)
	s.e.dropTracking(s)
	s.e.monitors.remove(s)
	s.flags = 0
	s.special = 0
	s.ctx.NoTouch = false
	s.dbIndex = 0
	s.out.Proto = 2
	s.mu.Lock()
	s.user, s.name = "default", ""
	s.mu.Unlock()
	s.conn.SetClass(ClassNormal)
	if s.e.Auth != nil && s.e.Auth.Required() {
		s.special |= specialAuth
		s.parser.Unauthenticated = true
	}
	s.publishState()
	c.Simple("RESET")
}

// validName reports whether a client name has only printable characters other
// than the space.
func validName(name []byte) bool {
	for _, b := range name {
		if b < '!' || b > '~' {
			return false
		}
	}
	return true
}

func (s *Session) setName(name []byte) {
	s.mu.Lock()
	s.name = string(name)
	s.mu.Unlock()
}
