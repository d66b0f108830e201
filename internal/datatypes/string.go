package datatypes

import (
	"math"
	"math/big"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

func stringSpecs() []*command.Spec {
	return []*command.Spec{
		{Name: "get", Group: command.String, Since: "1.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the string value of a key.", Syntax: "key",
			Flags: command.ReadOnly | command.Fast, Keys: command.OneKey(command.RO | command.Access), Run: get},
		{Name: "set", Group: command.String, Since: "1.0.0", Arity: -3, Complexity: "O(1)",
			Summary: "Sets the string value of a key, whatever it held before, and optionally its expiry.",
			Syntax:  "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
			Flags:   command.Write | command.DenyOOM,
			Keys:    command.OneKey(command.RW | command.Access | command.Update | command.VariableFlags), Run: set},
		{Name: "getset", Group: command.String, Since: "1.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Sets the string value of a key and returns the previous one.", Syntax: "key value",
			Flags: command.Write | command.DenyOOM | command.Fast,
			Keys:  command.OneKey(command.RW | command.Access | command.Update), Run: getset},
		{Name: "getdel", Group: command.String, Since: "6.2.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the string value of a key and deletes the key.", Syntax: "key",
			Flags: command.Write | command.Fast,
			Keys:  command.OneKey(command.RW | command.Access | command.Delete), Run: getdel},
		{Name: "getex", Group: command.String, Since: "6.2.0", Arity: -2, Complexity: "O(1)",
			Summary: "Returns the string value of a key and sets or removes its expiry.",
			Syntax:  "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
			Flags:   command.Write | command.Fast,
			Keys:    command.OneKey(command.RW | command.Access | command.Update), Run: getex},
		{Name: "setnx", Group: command.String, Since: "1.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Sets the string value of a key that does not exist yet.", Syntax: "key value",
			Flags: command.Write | command.DenyOOM | command.Fast,
			Keys:  command.OneKey(command.OW | command.Insert), Run: setnx},
		{Name: "setex", Group: command.String, Since: "2.0.0", Arity: 4, Complexity: "O(1)",
			Summary: "Sets the string value of a key with an expiry in seconds.", Syntax: "key seconds value",
			Flags: command.Write | command.DenyOOM, Keys: command.OneKey(command.OW | command.Update),
			Run: func(c *command.Ctx) { setWithExpiry(c, 1000) }},
		{Name: "psetex", Group: command.String, Since: "2.6.0", Arity: 4, Complexity: "O(1)",
			Summary: "Sets the string value of a key with an expiry in milliseconds.", Syntax: "key milliseconds value",
			Flags: command.Write | command.DenyOOM, Keys: command.OneKey(command.OW | command.Update),
			Run: func(c *command.Ctx) { setWithExpiry(c, 1) }},
		{Name: "mget", Group: command.String, Since: "1.0.0", Arity: -2, Complexity: "O(N), N being the number of keys.",
			Summary: "Returns the string values of several keys.", Syntax: "key [key ...]",
			Flags: command.ReadOnly | command.Fast, Keys: command.KeyRange(1, -1, 1, command.RO|command.Access),
			Tips: []string{"request_policy:multi_shard"}, Run: mget},
		{Name: "mset", Group: command.String, Since: "1.0.1", Arity: -3, Complexity: "O(N), N being the number of keys.",
			Summary: "Sets the string values of several keys, atomically.", Syntax: "key value [key value ...]",
			Flags: command.Write | command.DenyOOM, Keys: command.KeyRange(1, -1, 2, command.OW|command.Update),
			Tips: []string{"request_policy:multi_shard", "response_policy:all_succeeded"}, Run: mset},
		{Name: "msetnx", Group: command.String, Since: "1.0.1", Arity: -3, Complexity: "O(N), N being the number of keys.",
			Summary: "Sets the string values of several keys, if none of them exists.", Syntax: "key value [key value ...]",
			Flags: command.Write | command.DenyOOM, Keys: command.KeyRange(1, -1, 2, command.OW|command.Insert),
			Tips: []string{"request_policy:multi_shard", "response_policy:agg_min"}, Run: msetnx},
		{Name: "append", Group: command.String, Since: "2.0.0", Arity: 3,
			Complexity: "O(M), M being the length of what is appended: growing strings are given spare room.",
			Summary:    "Appends to the string value of a key; creates the key if there is none.", Syntax: "key value",
			Flags: command.Write | command.DenyOOM | command.Fast,
			Keys:  command.OneKey(command.RW | command.Insert), Run: appendString},
		{Name: "strlen", Group: command.String, Since: "2.2.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the length of a string value.", Syntax: "key",
			Flags: command.ReadOnly | command.Fast, Keys: command.OneKey(command.RO), Run: strlen},
		{Name: "setrange", Group: command.String, Since: "2.2.0", Arity: 4,
			Complexity: "O(M), M being the length of the new part; also that of the string when it grows.",
			Summary:    "Overwrites a part of a string value, padding it with zero bytes where it is too short.",
			Syntax:     "key offset value",
			Flags:      command.Write | command.DenyOOM, Keys: command.OneKey(command.RW | command.Update), Run: setrange},
		{Name: "getrange", Group: command.String, Since: "2.4.0", Arity: 4,
			Complexity: "O(N), N being the length of the result.",
			Summary:    "Returns a part of a string value.", Syntax: "key start end",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Run: getrange},
		{Name: "substr", Group: command.String, Since: "1.0.0", Arity: 4,
			Complexity: "O(N), N being the length of the result.",
			Summary:    "Returns a part of a string value. Older name of GETRANGE.", Syntax: "key start end",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Run: getrange},
		{Name: "incr", Group: command.String, Since: "1.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Adds one to the integer value of a key; a missing key counts as 0.", Syntax: "key",
			Flags: command.Write | command.DenyOOM | command.Fast,
			Keys:  command.OneKey(command.RW | command.Access | command.Update),
			Run:   func(c *command.Ctx) { incrBy(c, 1) }},
		{Name: "decr", Group: command.String, Since: "1.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Subtracts one from the integer value of a key; a missing key counts as 0.", Syntax: "key",
			Flags: command.Write | command.DenyOOM | command.Fast,
			Keys:  command.OneKey(command.RW | command.Access | command.Update),
			Run:   func(c *command.Ctx) { incrBy(c, -1) }},
		{Name: "incrby", Group: command.String, Since: "1.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Adds a number to the integer value of a key; a missing key counts as 0.", Syntax: "key increment",
			Flags: command.Write | command.DenyOOM | command.Fast,
			Keys:  command.OneKey(command.RW | command.Access | command.Update), Run: incrby},
		{Name: "decrby", Group: command.String, Since: "1.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Subtracts a number from the integer value of a key; a missing key counts as 0.", Syntax: "key decrement",
			Flags: command.Write | command.DenyOOM | command.Fast,
			Keys:  command.OneKey(command.RW | command.Access | command.Update), Run: decrby},
		{Name: "incrbyfloat", Group: command.String, Since: "2.6.0", Arity: 3, Complexity: "O(1)",
			Summary: "Adds a number with a fraction to the value of a key; a missing key counts as 0.", Syntax: "key increment",
			Flags: command.Write | command.DenyOOM | command.Fast,
			Keys:  command.OneKey(command.RW | command.Access | command.Update), Run: incrbyfloat},
		{Name: "lcs", Group: command.String, Since: "7.0.0", Arity: -3,
			Complexity: "O(N*M), N and M being the lengths of the strings.",
			Summary:    "Finds the longest common subsequence of two string values.",
			Syntax:     "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
			Flags:      command.ReadOnly, Keys: command.KeyRange(1, 2, 1, command.RO|command.Access), Run: lcs},
	}
}

// embstrMax is the longest string that OBJECT ENCODING calls embstr.
const embstrMax = 44

// stringEncoding names the encoding of a string that is stored as it came: int
// if it is the canonical text of a 64-bit integer.
func stringEncoding(v []byte) store.Encoding {
	if len(v) <= 20 {
		if _, ok := command.ParseInt(v); ok {
			return store.Int
		}
	}
	return textEncoding(v)
}

// textEncoding names the encoding of a string that is not tried as an integer.
func textEncoding(v []byte) store.Encoding {
	if len(v) <= embstrMax {
		return store.Embstr
	}
	return store.Raw
}

// findString is Find for a string; ok is false if the key holds something
// else, which it has replied. Without a key o does not exist.
func findString(c *command.Ctx, i int, o *store.Obj) (ok bool) {
	c.Find(i, o)
	return c.Typed(o, store.String)
}

// putString makes v the value of the key in argument i, which o is on if it
// exists, replacing a value of any type.
func putString(c *command.Ctx, i int, o *store.Obj, v []byte, e store.Encoding, expireAt int64) {
	if o.Exists() {
		copy(o.ResetExpire(store.String, e, len(v), expireAt), v)
		return
	}
	copy(c.CreateExpiring(i, o, store.String, e, len(v), expireAt), v)
}

func get(c *command.Ctx) {
	o := c.Obj(0)
	if !c.Find(1, o) {
		c.Null()
		return
	}
	if c.Typed(o, store.String) {
		c.Bulk(o.Bytes())
	}
}

// expiry is an expiry option: EX, PX, EXAT or PXAT with its number.
type expiry struct {
	given    bool
	absolute bool
	unit     int64 // milliseconds that the number counts
	arg      []byte
}

// read consumes an expiry option if there is one. A kind differing from the one
// given before is a syntax error; the same again replaces it.
func (x *expiry) read(a *command.Args) bool {
	y := expiry{given: true}
	switch {
	case a.Is("ex"):
		y.unit = 1000
	case a.Is("px"):
		y.unit = 1
	case a.Is("exat"):
		y.unit, y.absolute = 1000, true
	case a.Is("pxat"):
		y.unit, y.absolute = 1, true
	default:
		return false
	}
	if x.given && (x.unit != y.unit || x.absolute != y.absolute) {
		a.Syntax()
	}
	y.arg = a.Next()
	*x = y
	return true
}

// at returns the expiry as Unix milliseconds; where it is out of range it
// replies and returns false. Expiries of these options must be positive.
func (x *expiry) at(c *command.Ctx) (int64, bool) {
	n, ok := command.ParseInt(x.arg)
	if !ok {
		c.Error(command.ErrNotInteger)
		return 0, false
	}
	if n <= 0 || x.unit == 1000 && n > math.MaxInt64/1000 {
		c.Error(command.InvalidExpire(c.Spec.Full))
		return 0, false
	}
	n *= x.unit
	if !x.absolute {
		if n > math.MaxInt64-c.Now {
			c.Error(command.InvalidExpire(c.Spec.Full))
			return 0, false
		}
		n += c.Now
	}
	return n, true
}

func set(c *command.Ctx) {
	v := c.Argv[2]
	if len(c.Argv) == 3 { // the hot path
		o := c.Obj(0)
		c.FindWrite(1, o)
		putString(c, 1, o, v, stringEncoding(v), 0)
		c.Changed(1, "set")
		c.OK()
		return
	}
	var x expiry
	var nx, xx, wantOld, keepTTL bool
	a := c.ArgsFrom(3)
	for a.More() {
		switch {
		case a.Is("nx"):
			nx = true
		case a.Is("xx"):
			xx = true
		case a.Is("get"):
			wantOld = true
		case a.Is("keepttl"):
			keepTTL = true
		case x.read(a):
		default:
			a.Syntax()
		}
		if nx && xx || keepTTL && x.given {
			a.Syntax()
		}
	}
	if !a.Done() {
		return
	}
	var expireAt int64
	if x.given {
		var ok bool
		if expireAt, ok = x.at(c); !ok {
			return
		}
	}

	o := c.Obj(0)
	if wantOld {
		if !findString(c, 1, o) {
			return
		}
		if o.Exists() {
			c.Bulk(o.Bytes())
		} else {
			c.Null()
		}
	}
	exists := c.FindWrite(1, o)
	if nx && exists || xx && !exists {
		if !wantOld {
			c.Null()
		}
		return
	}
	if keepTTL && exists {
		expireAt = o.ExpireAt()
	}
	putString(c, 1, o, v, stringEncoding(v), expireAt)
	c.Changed(1, "set")
	if x.given {
		c.Notify(1, "expire")
		propagateSetAt(c, v, expireAt)
	} else if wantOld {
		propagateWithoutGet(c)
	}
	if !wantOld {
		c.OK()
	}
}

// propagateSetAt propagates SET key v PXAT at.
func propagateSetAt(c *command.Ctx, v []byte, at int64) {
	var tmp [20]byte
	c.Propagate([]byte("SET"), c.Argv[1], v, []byte("PXAT"), strconv.AppendInt(tmp[:0], at, 10))
}

// propagateWithoutGet propagates the SET as it came but for GET: nobody wants
// the old value there. No option in use here takes an argument.
func propagateWithoutGet(c *command.Ctx) {
	args := make([][]byte, 0, len(c.Argv))
	for i, arg := range c.Argv {
		if i < 3 || !command.Word(arg, "get") {
			args = append(args, arg)
		}
	}
	c.Propagate(args...)
}

func setnx(c *command.Ctx) {
	o := c.Obj(0)
	if c.FindWrite(1, o) {
		c.Int(0)
		return
	}
	putString(c, 1, o, c.Argv[2], stringEncoding(c.Argv[2]), 0)
	c.Changed(1, "set")
	c.Int(1)
}

func setWithExpiry(c *command.Ctx, unit int64) {
	x := expiry{unit: unit, arg: c.Argv[2]}
	at, ok := x.at(c)
	if !ok {
		return
	}
	o, v := c.Obj(0), c.Argv[3]
	c.FindWrite(1, o)
	putString(c, 1, o, v, stringEncoding(v), at)
	c.Changed(1, "set")
	c.Notify(1, "expire")
	propagateSetAt(c, v, at)
	c.OK()
}

func getset(c *command.Ctx) {
	o := c.Obj(0)
	if !findString(c, 1, o) {
		return
	}
	if o.Exists() {
		c.Bulk(o.Bytes())
		c.DB.Write(o)
	} else {
		c.Null()
	}
	putString(c, 1, o, c.Argv[2], stringEncoding(c.Argv[2]), 0)
	c.Changed(1, "set")
	c.Propagate([]byte("SET"), c.Argv[1], c.Argv[2])
}

func getdel(c *command.Ctx) {
	o := c.Obj(0)
	if !findString(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Null()
		return
	}
	c.Bulk(o.Bytes())
	c.Delete(o)
	c.Changed(1, "del")
	c.Propagate([]byte("DEL"), c.Argv[1])
}

func getex(c *command.Ctx) {
	var x expiry
	persist := false
	a := c.ArgsFrom(2)
	for a.More() {
		switch {
		case a.Is("persist"):
			persist = true
		case x.read(a):
		default:
			a.Syntax()
		}
		if persist && x.given {
			a.Syntax()
		}
	}
	if !a.Done() {
		return
	}
	o := c.Obj(0)
	if !findString(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Null()
		return
	}
	var at int64
	if x.given {
		var ok bool
		if at, ok = x.at(c); !ok {
			return
		}
	}
	c.Bulk(o.Bytes())
	switch {
	case x.given && x.absolute && alreadyExpired(c, at):
		deleteExpired(c, 1, o)
	case x.given:
		c.DB.Write(o)
		o.SetExpire(at)
		c.Changed(1, "expire")
		var tmp [20]byte
		c.Propagate([]byte("PEXPIREAT"), c.Argv[1], strconv.AppendInt(tmp[:0], at, 10))
	case persist && o.ExpireAt() != 0:
		c.DB.Write(o)
		o.SetExpire(0)
		c.Changed(1, "persist")
		c.Propagate([]byte("PERSIST"), c.Argv[1])
	}
}

func mget(c *command.Ctx) {
	o := c.Obj(0)
	c.Array(len(c.Argv) - 1)
	for i := 1; i < len(c.Argv); i++ {
		if c.Find(i, o) && o.Type() == store.String {
			c.Bulk(o.Bytes())
		} else {
			c.Null()
		}
	}
}

func mset(c *command.Ctx) {
	if len(c.Argv)%2 == 0 {
		c.Error(command.WrongArity("mset"))
		return
	}
	msetAll(c)
	c.OK()
}

func msetnx(c *command.Ctx) {
	if len(c.Argv)%2 == 0 {
		c.Error(command.WrongArity("msetnx"))
		return
	}
	for i := 1; i < len(c.Argv); i += 2 {
		if c.Peek(i, c.Obj(0)) {
			c.Int(0)
			return
		}
	}
	msetAll(c)
	c.Int(1)
}

func msetAll(c *command.Ctx) {
	o := c.Obj(0)
	for i := 1; i < len(c.Argv); i += 2 {
		c.FindWrite(i, o)
		putString(c, i, o, c.Argv[i+1], stringEncoding(c.Argv[i+1]), 0)
		c.Changed(i, "set")
	}
}

// stringTooLong reports, having replied, that a string of n bytes would pass
// proto-max-bulk-len. What comes from the primary is taken as it is.
func stringTooLong(c *command.Ctx, n int64) bool {
	if n <= c.Env.Limits().MaxBulk || c.Expire == command.ExpireIgnore {
		return false
	}
	c.Error(command.ErrTooLong)
	return true
}

func appendString(c *command.Ctx) {
	o, v := c.Obj(0), c.Argv[2]
	if !c.FindWrite(1, o) {
		putString(c, 1, o, v, stringEncoding(v), 0)
	} else {
		if !c.Typed(o, store.String) {
			return
		}
		old := len(o.Bytes())
		if stringTooLong(c, int64(old)+int64(len(v))) {
			return
		}
		o.SetEncoding(store.Raw)
		copy(o.Grow(old + len(v))[old:], v)
	}
	c.Changed(1, "append")
	c.Int(int64(len(o.Bytes())))
}

func strlen(c *command.Ctx) {
	o := c.Obj(0)
	if !findString(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Int(0)
		return
	}
	c.Int(int64(len(o.Bytes())))
}

func setrange(c *command.Ctx) {
	a := c.ArgsFrom(2)
	off := a.Int()
	if !a.Done() {
		return
	}
	if off < 0 {
		c.Error(command.ErrOffset)
		return
	}
	o, v := c.Obj(0), c.Argv[3]
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.String) {
		return
	}
	if len(v) == 0 {
		if exists {
			c.Int(int64(len(o.Bytes())))
		} else {
			c.Int(0)
		}
		return
	}
	if off > math.MaxInt64-int64(len(v)) {
		c.Error(command.ErrTooLong)
		return
	}
	if stringTooLong(c, off+int64(len(v))) {
		return
	}
	copy(growString(c, 1, o, int(off)+len(v))[off:], v)
	c.Changed(1, "setrange")
	c.Int(int64(len(o.Bytes())))
}

// growString makes the string that o is on, or a new one for the key in
// argument i, at least n bytes long, padding it with zero bytes, and returns its
// content. Strings written in part are raw.
func growString(c *command.Ctx, i int, o *store.Obj, n int) []byte {
	if !o.Exists() {
		b := c.Create(i, o, store.String, store.Raw, n)
		clear(b)
		return b
	}
	o.SetEncoding(store.Raw)
	b := o.Bytes()
	if old := len(b); old < n {
		b = o.Grow(n)
		clear(b[old:])
	}
	return b
}

func getrange(c *command.Ctx) {
	a := c.ArgsFrom(2)
	start, end := a.Int(), a.Int()
	if !a.Done() {
		return
	}
	o := c.Obj(0)
	if !findString(c, 1, o) {
		return
	}
	var b []byte
	if o.Exists() {
		b = o.Bytes()
	}
	from, to, ok := span(start, end, int64(len(b)))
	if !ok {
		from, to = 0, -1
	}
	c.Bulk(b[from : to+1])
}

// span resolves a range whose ends count from the back when negative against a
// length, clipping it: n elements, first and last of them; ok is false if the
// range is empty.
func span(start, end, n int64) (first, last int64, ok bool) {
	if start < 0 && end < 0 && start > end {
		return 0, 0, false
	}
	if start < 0 {
		start = max(start+n, 0)
	}
	if end < 0 {
		end = max(end+n, 0)
	}
	end = min(end, n-1)
	return start, end, start <= end
}

func incrby(c *command.Ctx) {
	a := c.ArgsFrom(2)
	n := a.Int()
	if a.Done() {
		incrBy(c, n)
	}
}

func decrby(c *command.Ctx) {
	a := c.ArgsFrom(2)
	n := a.Int()
	if !a.Done() {
		return
	}
	if n == math.MinInt64 {
		c.Error("ERR decrement would overflow")
		return
	}
	incrBy(c, -n)
}

func incrBy(c *command.Ctx, delta int64) {
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.String) {
		return
	}
	var n int64
	if exists {
		var ok bool
		if n, ok = command.ParseInt(o.Bytes()); !ok {
			c.Error(command.ErrNotInteger)
			return
		}
	}
	if delta > 0 && n > math.MaxInt64-delta || delta < 0 && n < math.MinInt64-delta {
		c.Error(command.ErrOverflow)
		return
	}
	n += delta
	var tmp [20]byte
	text := strconv.AppendInt(tmp[:0], n, 10)
	if exists {
		copy(o.Reset(store.String, store.Int, len(text)), text)
	} else {
		copy(c.Create(1, o, store.String, store.Int, len(text)), text)
	}
	c.Changed(1, "incrby")
	c.Int(n)
}

func incrbyfloat(c *command.Ctx) {
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.String) {
		return
	}
	cur := []byte("0")
	if exists {
		cur = o.Bytes()
	}
	sum, fault := addFloat(cur, c.Argv[2], command.ErrNotFloat)
	if fault != "" {
		c.Error(fault)
		return
	}
	if exists {
		copy(o.Reset(store.String, textEncoding(sum), len(sum)), sum)
	} else {
		copy(c.Create(1, o, store.String, textEncoding(sum), len(sum)), sum)
	}
	c.Changed(1, "incrbyfloat")
	c.Propagate([]byte("SET"), c.Argv[1], sum, []byte("KEEPTTL"))
	c.Bulk(sum)
}

// Binary exponents of the largest and the smallest x87 extended double.
const (
	maxLongDouble = 16384
	minLongDouble = -16444
)

// addFloat adds two numbers given as text with the precision that Redis gives
// them on x86, a mantissa of 64 bits, and returns the sum as text with up to 17
// decimals; or the error reply: badCur if cur is no number.
func addFloat(cur, incr []byte, badCur string) (sum []byte, fault string) {
	a, ok := parseLongDouble(cur)
	if !ok {
		return nil, badCur
	}
	b, ok := parseLongDouble(incr)
	if !ok {
		return nil, command.ErrNotFloat
	}
	if a.IsInf() || b.IsInf() {
		return nil, command.ErrNaN
	}
	a.Add(a, b)
	if a.MantExp(nil) > maxLongDouble {
		return nil, command.ErrNaN
	}
	sum = a.Append(nil, 'f', 17)
	for sum[len(sum)-1] == '0' { // there is a point
		sum = sum[:len(sum)-1]
	}
	if sum[len(sum)-1] == '.' {
		sum = sum[:len(sum)-1]
	}
	if string(sum) == "-0" {
		sum = sum[1:]
	}
	return sum, ""
}

// parseLongDouble reads a number as strtold does, the whole of b.
func parseLongDouble(b []byte) (*big.Float, bool) {
	if len(b) == 0 || len(b) >= 5<<10 {
		return nil, false
	}
	base := 10
	digits := b
	if digits[0] == '+' || digits[0] == '-' {
		digits = digits[1:]
	}
	switch {
	case len(digits) == 0:
		return nil, false
	case len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x':
		base = 0
	case command.Word(digits, "inf"), command.Word(digits, "infinity"):
		return new(big.Float).SetInf(b[0] == '-'), true
	case digits[0] != '.' && (digits[0] < '0' || digits[0] > '9'):
		return nil, false
	}
	for _, ch := range digits {
		if ch == '_' || base == 10 && ch|0x20 == 'p' {
			return nil, false
		}
	}
	f, _, err := big.ParseFloat(string(b), base, 64, big.ToNearestEven)
	if err != nil {
		return nil, false
	}
	if exp := f.MantExp(nil); f.Sign() != 0 && (exp > maxLongDouble || exp < minLongDouble) {
		return nil, false
	}
	return f, true
}
