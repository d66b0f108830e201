package datatypes

import (
	"math"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

func expireSpecs() []*command.Spec {
	update := command.OneKey(command.RW | command.Update)
	read := command.OneKey(command.RO | command.Access)
	varies := []string{"nondeterministic_output"}
	return []*command.Spec{
		{Name: "expire", Group: command.Generic, Since: "1.0.0", Arity: -3, Complexity: "O(1)",
			Summary: "Sets a key's expiry, in seconds from now.", Syntax: "key seconds [NX | XX | GT | LT]",
			Flags: command.Write | command.Fast, Keys: update, Run: func(c *command.Ctx) { expire(c, 1000, false) }},
		{Name: "pexpire", Group: command.Generic, Since: "2.6.0", Arity: -3, Complexity: "O(1)",
			Summary: "Sets a key's expiry, in milliseconds from now.", Syntax: "key milliseconds [NX | XX | GT | LT]",
			Flags: command.Write | command.Fast, Keys: update, Run: func(c *command.Ctx) { expire(c, 1, false) }},
		{Name: "expireat", Group: command.Generic, Since: "1.2.0", Arity: -3, Complexity: "O(1)",
			Summary: "Sets a key's expiry, as Unix time in seconds.", Syntax: "key unix-time-seconds [NX | XX | GT | LT]",
			Flags: command.Write | command.Fast, Keys: update, Run: func(c *command.Ctx) { expire(c, 1000, true) }},
		{Name: "pexpireat", Group: command.Generic, Since: "2.6.0", Arity: -3, Complexity: "O(1)",
			Summary: "Sets a key's expiry, as Unix time in milliseconds.", Syntax: "key unix-time-milliseconds [NX | XX | GT | LT]",
			Flags: command.Write | command.Fast, Keys: update, Run: func(c *command.Ctx) { expire(c, 1, true) }},
		{Name: "ttl", Group: command.Generic, Since: "1.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the seconds until a key expires.", Syntax: "key", Tips: varies,
			Flags: command.ReadOnly | command.Fast, Keys: read, Run: func(c *command.Ctx) { ttl(c, 1000, false) }},
		{Name: "pttl", Group: command.Generic, Since: "2.6.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the milliseconds until a key expires.", Syntax: "key", Tips: varies,
			Flags: command.ReadOnly | command.Fast, Keys: read, Run: func(c *command.Ctx) { ttl(c, 1, false) }},
		{Name: "expiretime", Group: command.Generic, Since: "7.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns when a key expires, as Unix time in seconds.", Syntax: "key",
			Flags: command.ReadOnly | command.Fast, Keys: read, Run: func(c *command.Ctx) { ttl(c, 1000, true) }},
		{Name: "pexpiretime", Group: command.Generic, Since: "7.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns when a key expires, as Unix time in milliseconds.", Syntax: "key",
			Flags: command.ReadOnly | command.Fast, Keys: read, Run: func(c *command.Ctx) { ttl(c, 1, true) }},
		{Name: "persist", Group: command.Generic, Since: "2.2.0", Arity: 2, Complexity: "O(1)",
			Summary: "Removes a key's expiry.", Syntax: "key",
			Flags: command.Write | command.Fast, Keys: update, Run: persist},
	}
}

// alreadyExpired reports whether a key given the expiry at should be deleted at
// once. A replica, and what comes from a primary, keeps it: its deletion comes
// from the primary as well.
func alreadyExpired(c *command.Ctx, at int64) bool {
	return at <= c.Now && c.Expire == command.ExpireDelete
}

// deleteExpired deletes the key in argument i, which o is on, instead of giving
// it an expiry in the past.
func deleteExpired(c *command.Ctx, i int, o *store.Obj) {
	lazy := c.Env.Limits().LazyExpire
	o.DB().DeleteIn(o, lazy)
	c.Changed(i, "del")
	if lazy {
		c.Propagate([]byte("UNLINK"), c.Argv[i])
	} else {
		c.Propagate([]byte("DEL"), c.Argv[i])
	}
}

// expire serves the EXPIRE family; the number counts units of so many
// milliseconds, from the epoch if absolute, else from now.
func expire(c *command.Ctx, unit int64, absolute bool) {
	var nx, xx, gt, lt bool
	a := c.ArgsFrom(3)
	for a.More() {
		switch {
		case a.Is("nx"):
			nx = true
		case a.Is("xx"):
			xx = true
		case a.Is("gt"):
			gt = true
		case a.Is("lt"):
			lt = true
		default:
			a.Fail("ERR Unsupported option " + string(a.Next()))
		}
	}
	switch {
	case nx && (xx || gt || lt):
		a.Fail("ERR NX and XX, GT or LT options at the same time are not compatible")
	case gt && lt:
		a.Fail("ERR GT and LT options at the same time are not compatible")
	}
	if !a.Done() {
		return
	}
	at, ok := command.ParseInt(c.Argv[2])
	if !ok {
		c.Error(command.ErrNotInteger)
		return
	}
	if at > math.MaxInt64/unit || at < math.MinInt64/unit {
		c.Error(command.InvalidExpire(c.Spec.Full))
		return
	}
	at *= unit
	if !absolute {
		if at > math.MaxInt64-c.Now {
			c.Error(command.InvalidExpire(c.Spec.Full))
			return
		}
		at += c.Now
	}

	o := c.Obj(0)
	if !c.FindWrite(1, o) {
		c.Int(0)
		return
	}
	if nx || xx || gt || lt {
		was := o.ExpireAt() // 0 is never, later than any other time
		if nx && was != 0 || xx && was == 0 || gt && (was == 0 || at <= was) || lt && was != 0 && at >= was {
			c.Int(0)
			return
		}
	}
	if alreadyExpired(c, at) {
		deleteExpired(c, 1, o)
		c.Int(1)
		return
	}
	if at == 0 {
		at = 1 // 0 would mean never; the one is as long past as the other
	}
	o.SetExpire(at)
	c.Changed(1, "expire")
	if len(c.Argv) == 3 {
		var tmp [20]byte
		c.Propagate([]byte("PEXPIREAT"), c.Argv[1], strconv.AppendInt(tmp[:0], at, 10))
	} else {
		args := [][]byte{[]byte("PEXPIREAT"), c.Argv[1], strconv.AppendInt(nil, at, 10)}
		c.Propagate(append(args, c.Argv[3:]...)...)
	}
	c.Int(1)
}

// ttl replies when a key expires in units of so many milliseconds, from now or,
// if absolute, from the epoch; -1 for never, -2 for no key.
func ttl(c *command.Ctx, unit int64, absolute bool) {
	o := c.Obj(0)
	if !c.Look(1, o) {
		c.Int(-2)
		return
	}
	at := o.ExpireAt()
	if at == 0 {
		c.Int(-1)
		return
	}
	if !absolute {
		at = max(at-c.Now, 0)
	}
	if unit > 1 { // to the nearest
		at = (at + unit/2) / unit
	}
	c.Int(at)
}

func persist(c *command.Ctx) {
	o := c.Obj(0)
	if !c.FindWrite(1, o) || o.ExpireAt() == 0 {
		c.Int(0)
		return
	}
	o.SetExpire(0)
	c.Changed(1, "persist")
	c.Int(1)
}
