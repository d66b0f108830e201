package datatypes

import (
	"errors"
	"math"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/store"
)

// DUMP and RESTORE carry one value, without its key and expiry, from server to
// server. The payload is rdb's (rdb/dump.go); it is written so that every server
// since Redis 7.0 reads it, and read from all versions that rdb knows.

func dumpSpecs() []*command.Spec {
	const syntax = "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]"
	const cost = "O(1) to make the key and O(N) with the size of the value."
	return []*command.Spec{
		{Name: "dump", Group: command.Generic, Since: "2.6.0", Arity: 2, Complexity: "O(1) to find the key and O(N) with the size of its value.",
			Summary: "Returns a key's value as RESTORE takes it.", Syntax: "key",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Tips: []string{"nondeterministic_output"}, Run: dump},
		{Name: "restore", Group: command.Generic, Since: "2.6.0", Arity: -4, Complexity: cost,
			Summary: "Makes a key from a value that DUMP returned.", Syntax: syntax, Flags: command.Write | command.DenyOOM,
			Categories: []string{"dangerous"}, Keys: command.OneKey(command.OW | command.Update), Run: restore},
		{Name: "restore-asking", Group: command.Server, Since: "3.0.0", Arity: -4, Complexity: cost,
			Summary: "RESTORE into a slot that is being imported; MIGRATE sends it.", Syntax: syntax,
			Flags: command.Write | command.DenyOOM | command.Asking, Categories: []string{"keyspace", "dangerous"},
			Keys: command.OneKey(command.OW | command.Update), Run: restore},
	}
}

func dump(c *command.Ctx) {
	o := c.Obj(0)
	if !c.Find(1, o) {
		c.Null()
		return
	}
	c.Bulk(rdb.AppendDump(nil, o, true))
}

// Errors of RESTORE. Source: persistence and replication, 17.
const (
	errBusyKey     = "BUSYKEY Target key name already exists."
	errInvalidTTL  = "ERR Invalid TTL value, must be >= 0"
	errInvalidIdle = "ERR Invalid IDLETIME value, must be >= 0"
	errInvalidFreq = "ERR Invalid FREQ value, must be >= 0 and <= 255"
	errDumpFooter  = "ERR DUMP payload version or checksum are wrong"
	errDumpFormat  = "ERR Bad data format"
)

// restoreOptions are what follows the payload.
type restoreOptions struct {
	replace, absolute bool
	idleSec, freq     int64 // -1: not given
}

func readRestoreOptions(a *command.Args) (opt restoreOptions) {
	idle, freq := false, false
	opt.idleSec, opt.freq = -1, -1
	for a.More() {
		switch {
		case a.Is("replace"):
			opt.replace = true
		case a.Is("absttl"):
			opt.absolute = true
		case a.Left() > 1 && !freq && a.Is("idletime"):
			if opt.idleSec = a.Int(); opt.idleSec < 0 {
				a.Fail(errInvalidIdle)
			}
			idle = true
		case a.Left() > 1 && !idle && a.Is("freq"):
			if opt.freq = a.Int(); opt.freq < 0 || opt.freq > 255 {
				a.Fail(errInvalidFreq)
			}
			freq = true
		default:
			a.Syntax()
		}
	}
	return opt
}

// restore is RESTORE and RESTORE-ASKING. The value is built outside of the
// keyspace first, so a payload that turns out damaged leaves the old key alone.
func restore(c *command.Ctx) {
	a := c.ArgsFrom(4)
	opt := readRestoreOptions(a)
	if !a.Done() {
		return
	}
	o := c.Obj(0)
	if c.Peek(1, o) && !opt.replace {
		c.Error(errBusyKey)
		return
	}
	ttl, ok := command.ParseInt(c.Arg(2))
	switch {
	case !ok:
		c.Error(command.ErrNotInteger)
		return
	case ttl < 0:
		c.Error(errInvalidTTL)
		return
	}
	value, err := rdb.OpenDump(new(rdb.Reader), c.Arg(3))
	switch {
	case errors.Is(err, rdb.ErrDumpFooter):
		c.Error(errDumpFooter)
		return
	case err != nil:
		c.Error(errDumpFormat)
		return
	}
	key := command.MakeKey(1, c.Arg(1))
	build := rdb.Builder{Limits: c.Env.Limits().Limits}
	if build.Build(value, c.DB.Store().Heap, store.StripeOf(key.Slot)) != nil {
		c.Error(errDumpFormat)
		return
	}

	at := ttl
	if ttl != 0 && !opt.absolute {
		at = c.Now + min(ttl, math.MaxInt64-c.Now)
	}
	// The lookup above removed a key whose time had come, so what o is on now
	// really is replaced.
	replaced := o.Exists()
	if replaced {
		c.Delete(o)
	}
	if at != 0 && at <= c.Now && c.Expire == command.ExpireDelete {
		build.Drop()
		if replaced {
			c.Changed(1, "del")
			c.Propagate(delName(c), c.Arg(1))
		}
		c.OK()
		return
	}
	build.Create(c.DB, key.Slot, key.Hash, c.Arg(1), at, c.Second(), o)
	o.SetAccessFacts(c.Second(), opt.idleSec, int(opt.freq))
	c.Changed(1, "restore")
	if at != ttl {
		argv := append(make([][]byte, 0, len(c.Argv)+1), c.Argv...)
		argv[2] = strconv.AppendInt(nil, at, 10)
		c.Propagate(append(argv, []byte("ABSTTL"))...)
	}
	c.OK()
}

// delName is the command by which a deletion that a command brings with it
// is propagated.
func delName(c *command.Ctx) []byte {
	if c.Env.Limits().LazyServerDel {
		return []byte("UNLINK")
	}
	return []byte("DEL")
}
