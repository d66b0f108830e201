package engine_test

import (
	"testing"

	"github.com/skeindb/skein/internal/engine"
)

// Each gate refuses what it is for, with the documented text, in MULTI too, and
// lets the rest pass.
func TestGates(t *testing.T) {
	l := newLab(t)
	c := l.dial()
	c.is("SET k v", "+OK")
	set := func(gate uint32, closed bool) { // that of the role follows the view
		if gate&engine.GateReplica != 0 {
			l.SetView(&engine.View{Replica: closed})
		}
		l.SetGate(gate&^engine.GateReplica, closed)
	}
	for _, tt := range []struct {
		name          string
		gate          uint32
		write, refuse string
		reads         bool
	}{
		{"memory is used up", engine.GateOOM, "SET k w", "OOM command not allowed when used memory > 'maxmemory'.", true},
		{"too few replicas", engine.GateMinReplicas, "SET k w", "NOREPLICAS Not enough good replicas to write.", true},
		{"a replica is read-only", engine.GateReplica | engine.GateReadOnly, "DEL k", "READONLY You can't write against a read only replica.", true},
		{"the link is down", engine.GateReplica | engine.GateStale, "DEL k", "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", false},
		{"data is being loaded", engine.GateLoading, "DEL k", "LOADING Redis is loading the dataset in memory", false},
	} {
		set(tt.gate, true)
		if got := c.do(tt.write); got != "-"+tt.refuse+"\r\n" {
			t.Errorf("%s: %s: %q", tt.name, tt.write, got)
		}
		if got := c.do("GET k"); (got == "$1\r\nv\r\n") != tt.reads {
			t.Errorf("%s: GET: %q", tt.name, got)
		}
		c.is("MULTI", "+OK")
		if got := c.do(tt.write); got != "-"+tt.refuse+"\r\n" {
			t.Errorf("%s: queued %s: %q", tt.name, tt.write, got)
		}
		c.is("EXEC", "-EXECABORT^Transaction^discarded^because^of^previous^errors.")
		set(tt.gate, false)

		// The gate closes between the command and EXEC.
		c.is("MULTI", "+OK")
		c.is(tt.write, "+QUEUED")
		set(tt.gate, true)
		if got, want := c.do("EXEC"), "-EXECABORT Transaction discarded because of: "+tt.refuse+"\r\n"; got != want {
			t.Errorf("%s: EXEC: %q, want %q", tt.name, got, want)
		}
		set(tt.gate, false)
		c.is("RESET", "+RESET")
		c.is("GET k", "$1 v")
	}
	l.SetMisconf(engine.MisconfRDB, engine.ErrMisconfBGSave)
	if got := c.do("SET k w"); got != "-"+engine.ErrMisconfBGSave+"\r\n" {
		t.Errorf("SET: %q", got)
	}
	if got := c.do("PING"); got != "-"+engine.ErrMisconfBGSave+"\r\n" {
		t.Errorf("PING: %q", got)
	}
	l.SetMisconf(engine.MisconfRDB, "")
	c.is("PING", "+PONG")
}

// A client that must log in may say little else before it has.
func TestAuthGate(t *testing.T) {
	l := newLab(t, func(o *engine.Options) { o.Auth = password("secret") })
	c := l.dial()
	c.is("GET k", "-NOAUTH^Authentication^required.")
	c.is("MULTI", "-NOAUTH^Authentication^required.")
	c.is("HELLO 3", "-NOAUTH^HELLO^must^be^called^with^the^client^already^authenticated,^otherwise^the^HELLO^<proto>^AUTH^<user>^<pass>^option^can^be^used^to^authenticate^the^client^and^select^the^RESP^protocol^version^at^the^same^time")
	c.is("AUTH wrong", "-WRONGPASS^invalid^username-password^pair^or^user^is^disabled.")
	c.is("AUTH secret", "+OK")
	c.is("GET k", "$-1")
	c.is("RESET", "+RESET")
	c.is("GET k", "-NOAUTH^Authentication^required.")
	c.is("AUTH default secret", "+OK")
	c.is("GET k", "$-1")
}

type password string

func (p password) Required() bool { return true }
func (p password) Authenticate(user string, pass []byte) bool {
	return user == "default" && string(pass) == string(p)
}
