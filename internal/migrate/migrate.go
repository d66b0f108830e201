// Package migrate is MIGRATE: it sends keys to another server as RESTORE takes
// them and deletes here what was accepted there. Slots move this way, key by
// key, when redis-cli reshards a cluster.
//
// While keys are under way no command may change them: Session.Detach freezes
// their slots, so writes to these wait, reads and everything on other slots go
// on, and the command's own locks are free. How long that may last is bounded
// by MIGRATE's timeout, for each step of I/O. In a transaction the locks are
// held instead.
//
// Read migrate.go (the command), transfer.go (the conversation), conns.go
// (connections that are kept). The handler runs in its session's goroutine;
// connections are shared by all under one lock.
package migrate

import (
	"context"
	"net"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
)

// Options are what New needs.
type Options struct {
	// Dial connects to a server, or fails when ctx ends.
	Dial func(ctx context.Context, host, port string) (net.Conn, error)
	// Cluster reports whether the slots of keys that are sent may be in the
	// middle of a move: the target is then sent RESTORE-ASKING.
	Cluster bool
	// Replicas makes moved keys outlive the loss of a primary on either side; nil:
	// nobody waits for replicas.
	Replicas Replicas
}

// Replicas is what MIGRATE asks about those of the two nodes.
type Replicas interface {
	// Of returns how many replicas of the server at host and port are thought to be
	// alive, 0 if that is not known.
	Of(host, port string) int
	// Await returns when those of this node have the stream up to off, or the time
	// is over. It holds no locks.
	Await(off int64, limit time.Duration)
}

// Migrator carries out MIGRATE and owns the connections to targets. It is safe
// for concurrent use.
type Migrator struct {
	opt   Options
	conns conns
}

// New returns a Migrator without connections.
func New(o Options) *Migrator {
	return &Migrator{opt: o}
}

// Close closes the connections that are kept; those in use end with their
// command.
func (m *Migrator) Close() { m.conns.close() }

// Specs is MIGRATE.
func (m *Migrator) Specs() []*command.Spec {
	const f = command.RW | command.Access | command.Delete
	return []*command.Spec{
		{Name: "migrate", Group: command.Generic, Since: "2.6.0", Arity: -6,
			Complexity: "O(N) with the size of the values: DUMP and DEL here, RESTORE there.",
			Summary:    "Moves keys to another server.",
			Syntax:     `host port <key | ""> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] [KEYS key [key ...]]`,
			Flags:      command.Write, Categories: []string{"dangerous"}, Tips: []string{"nondeterministic_output"},
			Keys: []command.KeySpec{{Flags: f, Index: 3, Step: 1},
				{Flags: f | command.Incomplete, Keyword: "KEYS", StartFrom: -2, Last: -1, Step: 1}},
			FindKeys: findKeys, Run: m.run},
	}
}

// request is what MIGRATE asks for.
type request struct {
	host, port  string
	db          int64
	timeout     time.Duration
	copy        bool // leave the keys here
	replace     bool // overwrite them there
	user        []byte
	password    []byte
	auth        bool
	first, last int // the keys are arguments first <= i < last
}

// The key argument, or KEYS, which wants it to be empty.
const keyArg = 3

// Errors of MIGRATE. Source: cluster specification, 11.12.
const (
	errKeysKey     = "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
	errConnect     = "IOERR error or timeout connecting to the client"
	errWrite       = "IOERR error or timeout writing to target instance"
	errRead        = "IOERR error or timeout reading to target instance"
	errTarget      = "ERR Target instance replied with error: "
	defaultTimeout = time.Second
)

// scan reads the arguments; errText is the reply to wrong ones.
func scan(argv [][]byte) (r request, errText string) {
	r = request{host: string(argv[1]), port: string(argv[2]), first: keyArg, last: keyArg + 1}
	for i := 6; i < len(argv); i++ {
		left := len(argv) - 1 - i
		switch {
		case command.Word(argv[i], "copy"):
			r.copy = true
		case command.Word(argv[i], "replace"):
			r.replace = true
		case command.Word(argv[i], "auth") && left >= 1:
			r.auth, r.user, r.password = true, nil, argv[i+1]
			i++
		case command.Word(argv[i], "auth2") && left >= 2:
			r.auth, r.user, r.password = true, argv[i+1], argv[i+2]
			i += 2
		case command.Word(argv[i], "keys"):
			if len(argv[keyArg]) != 0 {
				return r, errKeysKey
			}
			r.first, r.last = i+1, len(argv)
			i = len(argv)
		default:
			return r, command.ErrSyntax
		}
	}
	ms, ok := command.ParseInt(argv[5])
	if !ok {
		return r, command.ErrNotInteger
	}
	if r.db, ok = command.ParseInt(argv[4]); !ok {
		return r, command.ErrNotInteger
	}
	if r.timeout = time.Duration(ms) * time.Millisecond; ms <= 0 {
		r.timeout = defaultTimeout
	} else if ms > int64(maxTimeout/time.Millisecond) {
		r.timeout = maxTimeout
	}
	return r, ""
}

// maxTimeout keeps a deadline within what time.Time can add.
const maxTimeout = 24 * 365 * time.Hour

// findKeys visits the keys of MIGRATE.
func findKeys(argv [][]byte, visit func(arg int, f command.KeyFlags)) bool {
	if len(argv) < 6 {
		return false
	}
	r, errText := scan(argv)
	if errText == errKeysKey || errText == command.ErrSyntax {
		return false
	}
	for i := r.first; i < r.last; i++ {
		visit(i, command.RW|command.Access|command.Delete)
	}
	return true
}

func (m *Migrator) run(c *command.Ctx) {
	r, errText := scan(c.Argv)
	if errText != "" {
		c.Error(errText)
		return
	}
	t := &transfer{m: m, r: &r, name: []byte("RESTORE")}
	if m.opt.Cluster {
		t.name = []byte("RESTORE-ASKING")
	}
	o := c.Obj(0)
	for i := r.first; i < r.last; i++ {
		if !c.Find(i, o) {
			continue
		}
		var ttl int64
		if at := o.ExpireAt(); at != 0 {
			ttl = max(at-c.Now, 1)
		}
		t.scratch = rdb.AppendDump(t.scratch[:0], o, true)
		t.add(i, c.Arg(i), ttl, t.scratch)
	}
	if len(t.args) == 0 {
		c.Simple("NOKEY")
		return
	}
	t.scratch = nil

	// c.DB is the database itself, whatever number SWAPDB gives it meanwhile.
	s := engine.SessionOf(c)
	primary := s.Detach(t.run)
	if !r.copy && primary && len(t.accepted) > 0 {
		t.deleteAccepted(c)
		if m.opt.Replicas != nil && m.opt.Cluster && c.MayBlock {
			// From the thaw on clients are sent to the target. A replica that took
			// over here and still had the keys would serve what they left behind.
			off := s.Commit()
			s.Detach(func() { m.opt.Replicas.Await(off, r.timeout) })
		}
	}
	switch {
	case t.errText != "":
		c.Error(t.errText)
	case !primary:
		c.Error(command.ErrUnblockedRole)
	default:
		c.OK()
	}
}

// deleteAccepted deletes the keys that the target has taken. Those that are gone
// already, because their time came meanwhile, it passes over.
func (t *transfer) deleteAccepted(c *command.Ctx) {
	del := [][]byte{[]byte("DEL")}
	o := c.Obj(0)
	for _, i := range t.accepted {
		if !c.Peek(i, o) {
			continue
		}
		c.Delete(o)
		c.Changed(i, "del")
		del = append(del, c.Arg(i))
	}
	if len(del) > 1 {
		c.Propagate(del...)
	}
}

// add puts one key into the request.
func (t *transfer) add(arg int, key []byte, ttl int64, payload []byte) {
	n := 4
	if t.r.replace {
		n++
	}
	t.args = append(t.args, arg)
	t.body = resp.AppendHeader(t.body, resp.Array, int64(n))
	t.body = resp.AppendBulk(t.body, t.name)
	t.body = resp.AppendBulk(t.body, key)
	t.body = resp.AppendBulkInt(t.body, ttl)
	t.body = resp.AppendBulk(t.body, payload)
	if t.r.replace {
		t.body = resp.AppendBulkString(t.body, "REPLACE")
	}
}
