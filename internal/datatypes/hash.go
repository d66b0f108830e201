package datatypes

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// A hash is a listpack of field, value, field, value ... while it has few and
// short ones (hash-max-listpack-entries, hash-max-listpack-value), else a table.
// It never goes back.

func hashSpecs() []*command.Spec {
	const (
		fields    = "O(N), N being the number of fields in the hash."
		fieldArgs = "O(N), N being the number of fields given."
		writeFast = command.Write | command.DenyOOM | command.Fast
		readFast  = command.ReadOnly | command.Fast
	)
	anyOrder := []string{"nondeterministic_output_order"}
	return []*command.Spec{
		{Name: "hset", Group: command.Hash, Since: "2.0.0", Arity: -4, Complexity: fieldArgs,
			Summary: "Sets fields of a hash to values; creates the hash if there is none.", Syntax: "key field value [field value ...]",
			Flags: writeFast, Keys: command.OneKey(command.RW | command.Update), Run: hset},
		{Name: "hsetnx", Group: command.Hash, Since: "2.0.0", Arity: 4, Complexity: "O(1)",
			Summary: "Sets a field of a hash that is not there yet.", Syntax: "key field value",
			Flags: writeFast, Keys: command.OneKey(command.RW | command.Insert), Run: hsetnx},
		{Name: "hmset", Group: command.Hash, Since: "2.0.0", Arity: -4, Complexity: fieldArgs,
			Summary: "Sets fields of a hash to values. Older form of HSET.", Syntax: "key field value [field value ...]",
			Flags: writeFast, Keys: command.OneKey(command.RW | command.Update), Run: hset},
		{Name: "hget", Group: command.Hash, Since: "2.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Returns the value of a field.", Syntax: "key field",
			Flags: readFast, Keys: command.OneKey(command.RO | command.Access), Run: hget},
		{Name: "hmget", Group: command.Hash, Since: "2.0.0", Arity: -3, Complexity: fieldArgs,
			Summary: "Returns the values of several fields.", Syntax: "key field [field ...]",
			Flags: readFast, Keys: command.OneKey(command.RO | command.Access), Run: hmget},
		{Name: "hgetall", Group: command.Hash, Since: "2.0.0", Arity: 2, Complexity: fields,
			Summary: "Returns all fields and values of a hash.", Syntax: "key",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Tips: anyOrder,
			Run: func(c *command.Ctx) { hgetall(c, true, true) }},
		{Name: "hkeys", Group: command.Hash, Since: "2.0.0", Arity: 2, Complexity: fields,
			Summary: "Returns all fields of a hash.", Syntax: "key",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Tips: anyOrder,
			Run: func(c *command.Ctx) { hgetall(c, true, false) }},
		{Name: "hvals", Group: command.Hash, Since: "2.0.0", Arity: 2, Complexity: fields,
			Summary: "Returns all values of a hash.", Syntax: "key",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Tips: anyOrder,
			Run: func(c *command.Ctx) { hgetall(c, false, true) }},
		{Name: "hdel", Group: command.Hash, Since: "2.0.0", Arity: -3, Complexity: fieldArgs,
			Summary: "Removes fields of a hash, and the hash with its last field.", Syntax: "key field [field ...]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(command.RW | command.Delete), Run: hdel},
		{Name: "hexists", Group: command.Hash, Since: "2.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Tells whether a hash has a field.", Syntax: "key field",
			Flags: readFast, Keys: command.OneKey(command.RO), Run: hexists},
		{Name: "hlen", Group: command.Hash, Since: "2.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the number of fields of a hash.", Syntax: "key",
			Flags: readFast, Keys: command.OneKey(command.RO), Run: hlen},
		{Name: "hstrlen", Group: command.Hash, Since: "3.2.0", Arity: 3, Complexity: "O(1)",
			Summary: "Returns the length of a field's value.", Syntax: "key field",
			Flags: readFast, Keys: command.OneKey(command.RO), Run: hstrlen},
		{Name: "hincrby", Group: command.Hash, Since: "2.0.0", Arity: 4, Complexity: "O(1)",
			Summary: "Adds a number to the integer value of a field; a missing one counts as 0.", Syntax: "key field increment",
			Flags: writeFast, Keys: command.OneKey(command.RW | command.Access | command.Update), Run: hincrby},
		{Name: "hincrbyfloat", Group: command.Hash, Since: "2.6.0", Arity: 4, Complexity: "O(1)",
			Summary: "Adds a number with a fraction to the value of a field; a missing one counts as 0.", Syntax: "key field increment",
			Flags: writeFast, Keys: command.OneKey(command.RW | command.Access | command.Update), Run: hincrbyfloat},
		{Name: "hscan", Group: command.Hash, Since: "2.8.0", Arity: -3,
			Complexity: "O(1) for each call, O(N) for a whole iteration, N being the number of fields in the hash.",
			Summary:    "Iterates over the fields and values of a hash, some at each call.",
			Syntax:     "key cursor [MATCH pattern] [COUNT count]",
			Flags:      command.ReadOnly, Keys: command.OneKey(command.RO | command.Access),
			Tips: []string{"nondeterministic_output"}, Run: hscan},
		{Name: "hrandfield", Group: command.Hash, Since: "6.2.0", Arity: -2, Complexity: "O(N), N being the number of fields returned.",
			Summary: "Returns random fields of a hash.", Syntax: "key [count [WITHVALUES]]",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access),
			Tips: []string{"nondeterministic_output"}, Run: hrandfield},
	}
}

// findHash is Find for a hash; false, having replied, for another type. Without
// a key o does not exist.
func findHash(c *command.Ctx, o *store.Obj) bool {
	c.Find(1, o)
	return c.Typed(o, store.Hash_)
}

// createHash makes the key in argument 1 an empty hash, to be filled now.
func createHash(c *command.Ctx, o *store.Obj) {
	c.Create(1, o, store.Hash_, store.Listpack, ds.LPEmptySize)
	ds.LPInit(o)
}

func hashTable(o *store.Obj) ds.Table { return ds.OpenTable(o.Arena(), o.Bytes()) }

func hashLen(o *store.Obj) int {
	if o.Encoding() == store.Listpack {
		return ds.LP(o.Bytes()).Count() / 2
	}
	return hashTable(o).Len()
}

// hashGet returns a field's value.
func hashGet(o *store.Obj, field []byte) (ds.Elem, bool) {
	if o.Encoding() == store.Listpack {
		p := ds.LP(o.Bytes())
		if _, off := p.FindPair(field); off >= 0 {
			return p.Get(off), true
		}
		return ds.Elem{}, false
	}
	v, ok := hashTable(o).Get(field)
	return ds.Elem{Str: v}, ok
}

// hashSet gives a field its value, converting the hash first or afterwards where
// a limit asks for it. It reports whether the field is new. field and value are
// no views of the hash.
func hashSet(c *command.Ctx, o *store.Obj, field, value []byte) (added bool) {
	if o.Encoding() == store.Listpack {
		l := c.Env.Limits()
		if len(field) <= l.HashValue && len(value) <= l.HashValue &&
			ds.LPSafeToAdd(ds.LP(o.Bytes()), ds.LPElemSize(field)+ds.LPElemSize(value)) {
			added = ds.LPSetPair(o, field, value)
			if n := hashLen(o); n > l.HashEntries {
				hashConvert(o, n)
			}
			return added
		}
		hashConvert(o, hashLen(o)+1)
	}
	return hashTable(o).Set(field, value)
}

// hashConvert makes a listpack a table with room for n fields.
func hashConvert(o *store.Obj, n int) {
	old := ds.LP(bytes.Clone(o.Bytes())) // the record's bytes are about to go
	t := ds.InitTable(o.Arena(), o.Recode(store.Hashtable, ds.TableHeader))
	t.Reserve(n)
	var tmp [2][20]byte
	for it := old.Iter(); it.Next(); {
		field := elemText(it.Elem(), tmp[0][:])
		it.Next()
		t.Set(field, elemText(it.Elem(), tmp[1][:]))
	}
}

// hashDelete removes a field.
func hashDelete(o *store.Obj, field []byte) bool {
	if o.Encoding() == store.Listpack {
		return ds.LPDeletePair(o, field)
	}
	return hashTable(o).Delete(field)
}

// hashEach visits every field with its value until visit returns false.
func hashEach(o *store.Obj, visit func(field, value ds.Elem) bool) {
	if o.Encoding() == store.Listpack {
		for it := ds.LP(o.Bytes()).Iter(); it.Next(); {
			field := it.Elem()
			it.Next()
			if !visit(field, it.Elem()) {
				return
			}
		}
		return
	}
	hashTable(o).Each(func(field, value []byte) bool { return visit(ds.Elem{Str: field}, ds.Elem{Str: value}) })
}

// hashRandom returns a field, each with the same chance, with its value.
func hashRandom(o *store.Obj) (field, value ds.Elem) {
	if o.Encoding() == store.Listpack {
		p := ds.LP(o.Bytes())
		off := p.Seek(2 * rand.IntN(p.Count()/2))
		return p.Get(off), p.Get(p.Next(off))
	}
	f, v := hashTable(o).Random(rand.Uint64())
	return ds.Elem{Str: f}, ds.Elem{Str: v}
}

// hset serves HMSET as well.
func hset(c *command.Ctx) {
	if len(c.Argv)%2 != 0 {
		c.Error(command.WrongArity(c.Spec.Full))
		return
	}
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.Hash_) {
		return
	}
	if !exists {
		createHash(c, o)
	}
	pairs := (len(c.Argv) - 2) / 2
	if o.Encoding() == store.Listpack && (pairs > c.Env.Limits().HashEntries || anyLonger(c.Argv[2:], c.Env.Limits().HashValue)) {
		hashConvert(o, pairs)
	}
	added := int64(0)
	for i := 2; i < len(c.Argv); i += 2 {
		added += boolInt(hashSet(c, o, c.Argv[i], c.Argv[i+1]))
	}
	c.Changed(1, "hset")
	c.Dirty += int64(pairs - 1)
	if c.Spec.Name == "hmset" {
		c.OK()
		return
	}
	c.Int(added)
}

// anyLonger reports whether one of the strings is longer than limit bytes.
func anyLonger(args [][]byte, limit int) bool {
	for _, a := range args {
		if len(a) > limit {
			return true
		}
	}
	return false
}

func hsetnx(c *command.Ctx) {
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.Hash_) {
		return
	}
	if !exists {
		createHash(c, o)
	} else if _, ok := hashGet(o, c.Argv[2]); ok {
		c.Int(0)
		return
	}
	hashSet(c, o, c.Argv[2], c.Argv[3])
	c.Changed(1, "hset")
	c.Int(1)
}

// replyField replies with a field's value; o need not exist.
func replyField(c *command.Ctx, o *store.Obj, field []byte) {
	if o.Exists() {
		if v, ok := hashGet(o, field); ok {
			replyElem(c, v)
			return
		}
	}
	c.Null()
}

func hget(c *command.Ctx) {
	if o := c.Obj(0); findHash(c, o) {
		replyField(c, o, c.Argv[2])
	}
}

func hmget(c *command.Ctx) {
	o := c.Obj(0)
	if !findHash(c, o) {
		return
	}
	c.Array(len(c.Argv) - 2)
	for _, field := range c.Argv[2:] {
		replyField(c, o, field)
	}
}

// hgetall serves HKEYS and HVALS as well.
func hgetall(c *command.Ctx, fields, values bool) {
	o := c.Obj(0)
	if !findHash(c, o) {
		return
	}
	n := 0
	if o.Exists() {
		n = hashLen(o)
	}
	if fields && values {
		c.Map(n)
	} else {
		c.Array(n)
	}
	if n == 0 {
		return
	}
	hashEach(o, func(field, value ds.Elem) bool {
		if fields {
			replyElem(c, field)
		}
		if values {
			replyElem(c, value)
		}
		return true
	})
}

func hdel(c *command.Ctx) {
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.Hash_) {
		return
	}
	deleted := int64(0)
	if exists {
		left := hashLen(o)
		for _, field := range c.Argv[2:] {
			if hashDelete(o, field) {
				deleted++
				if left--; left == 0 {
					break
				}
			}
		}
		if deleted != 0 {
			c.Changed(1, "hdel")
			c.Dirty += deleted - 1
		}
		if left == 0 {
			c.Delete(o)
			c.Notify(1, "del")
		}
	}
	c.Int(deleted)
}

func hexists(c *command.Ctx) {
	o := c.Obj(0)
	if !findHash(c, o) {
		return
	}
	ok := false
	if o.Exists() {
		_, ok = hashGet(o, c.Argv[2])
	}
	c.Int(boolInt(ok))
}

func hlen(c *command.Ctx) {
	o := c.Obj(0)
	if !findHash(c, o) {
		return
	}
	n := 0
	if o.Exists() {
		n = hashLen(o)
	}
	c.Int(int64(n))
}

func hstrlen(c *command.Ctx) {
	o := c.Obj(0)
	if !findHash(c, o) {
		return
	}
	n := 0
	if o.Exists() {
		if v, ok := hashGet(o, c.Argv[2]); ok {
			n = v.Len()
		}
	}
	c.Int(int64(n))
}

func hincrby(c *command.Ctx) {
	incr, ok := command.ParseInt(c.Argv[3])
	if !ok {
		c.Error(command.ErrNotInteger)
		return
	}
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.Hash_) {
		return
	}
	n := int64(0)
	if exists {
		if v, ok := hashGet(o, c.Argv[2]); ok {
			if n, ok = v.AsInt(); !ok {
				c.Error("ERR hash value is not an integer")
				return
			}
		}
	}
	if incr < 0 && n < 0 && incr < math.MinInt64-n || incr > 0 && n > 0 && incr > math.MaxInt64-n {
		c.Error(command.ErrOverflow)
		return
	}
	n += incr
	if !exists {
		createHash(c, o)
	}
	var tmp [20]byte
	hashSet(c, o, c.Argv[2], strconv.AppendInt(tmp[:0], n, 10))
	c.Changed(1, "hincrby")
	c.Int(n)
}

func hincrbyfloat(c *command.Ctx) {
	switch incr, ok := parseLongDouble(c.Argv[3]); {
	case !ok:
		c.Error(command.ErrNotFloat)
		return
	case incr.IsInf():
		c.Error("ERR value is NaN or Infinity")
		return
	}
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.Hash_) {
		return
	}
	cur := []byte("0")
	if exists {
		if v, ok := hashGet(o, c.Argv[2]); ok {
			cur = v.Append(nil)
		}
	}
	sum, fault := addFloat(cur, c.Argv[3], "ERR hash value is not a float")
	if fault != "" {
		c.Error(fault)
		return
	}
	if !exists {
		createHash(c, o)
	}
	hashSet(c, o, c.Argv[2], sum)
	c.Changed(1, "hincrbyfloat")
	c.Propagate([]byte("HSET"), c.Argv[1], c.Argv[2], sum)
	c.Bulk(sum)
}

func hscan(c *command.Ctx) {
	o := c.Obj(0)
	s, ok := parseElementScan(c, store.Hash_, o)
	if !ok {
		return
	}
	start := c.Defer()
	n, seen, next := 0, 0, uint64(0)
	var tmp [20]byte
	visit := func(field, value ds.Elem) bool {
		seen++
		if s.takes(elemText(field, tmp[:])) {
			replyElem(c, field)
			replyElem(c, value)
			n += 2
		}
		return true
	}
	if o.Encoding() == store.Listpack { // small: all at once
		hashEach(o, visit)
	} else {
		t := hashTable(o)
		next = s.walk(func(cursor uint64) uint64 {
			return t.Scan(cursor, func(field, value []byte) { visit(ds.Elem{Str: field}, ds.Elem{Str: value}) })
		}, &seen)
	}
	c.EndArray(start, n)
	endCursor(c, start, next)
}

func hrandfield(c *command.Ctx) {
	o := c.Obj(0)
	if len(c.Argv) == 2 {
		if !findHash(c, o) {
			return
		}
		if !o.Exists() {
			c.Null()
			return
		}
		field, _ := hashRandom(o)
		replyElem(c, field)
		return
	}
	count, ok := randomCount(c, c.Argv[2])
	if !ok {
		return
	}
	withValues := len(c.Argv) == 4 && command.Word(c.Argv[3], "withvalues")
	if len(c.Argv) > 3 && !withValues {
		c.Error(command.ErrSyntax)
		return
	}
	if withValues && (count < -math.MaxInt64/2 || count > math.MaxInt64/2) {
		c.Error(command.ErrOutOfRange)
		return
	}
	if !findHash(c, o) {
		return
	}
	if !o.Exists() || count == 0 {
		c.Array(0)
		return
	}

	header := func(n int) {
		if withValues && !c.RESP3() {
			n *= 2
		}
		c.Array(n)
	}
	reply := func(field, value ds.Elem) bool {
		if withValues && c.RESP3() {
			c.Array(2)
		}
		replyElem(c, field)
		if withValues {
			replyElem(c, value)
		}
		return true
	}
	if count < 0 { // with repetition
		header(int(-count))
		for range -count {
			reply(hashRandom(o))
		}
		return
	}
	n := hashLen(o)
	s := sampler{want: int(min(count, int64(n))), n: n}
	header(s.want)
	switch {
	case s.want == n:
		hashEach(o, reply)
	case o.Encoding() == store.Hashtable && s.sparse():
		drawn := make(map[string]struct{}, s.want)
		for len(drawn) < s.want {
			field, value := hashRandom(o)
			if _, dup := drawn[string(field.Str)]; !dup {
				drawn[string(field.Str)] = struct{}{}
				reply(field, value)
			}
		}
	default:
		hashEach(o, func(field, value ds.Elem) bool {
			if s.take() {
				reply(field, value)
			}
			return s.want > 0
		})
	}
}
