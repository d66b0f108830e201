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
// It never goes back. While fields of it expire it has the variant of either
// encoding that has times (hashexpire.go has the commands).
//
// A field whose time has come is not there for reads. A primary deletes it at the
// next command on the hash, or in the sweep; a replica leaves it.

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
	if !c.Typed(o, store.Hash_) {
		return false
	}
	c.ReapFields(o, nil)
	return true
}

// writeHash is FindWrite for a hash; false, having replied, for another type. A
// field that is an argument and whose time has come is gone then.
func writeHash(c *command.Ctx, o *store.Obj) bool {
	c.FindWrite(1, o)
	if !c.Typed(o, store.Hash_) {
		return false
	}
	c.ReapFields(o, c.Argv[2:]) // more than the fields, which does no harm
	return true
}

// hidden reports whether a field that expires at the given time is not there for
// this command any more.
func hidden(c *command.Ctx, at int64) bool {
	return at != 0 && at <= c.Now && c.Expire != command.ExpireIgnore
}

// createHash makes the key in argument 1 an empty hash, to be filled now.
func createHash(c *command.Ctx, o *store.Obj) {
	c.Create(1, o, store.Hash_, store.Listpack, ds.LPEmptySize)
	ds.LPInit(o)
}

func hashTable(o *store.Obj) ds.Table { return ds.OpenTable(o.Arena(), o.Bytes()) }

func ttlTable(o *store.Obj) ds.TTLTable { return ds.OpenTTLTable(o.Arena(), o.Bytes()) }

// hashLen returns the number of fields, those included whose time has come and
// that are not deleted yet.
func hashLen(o *store.Obj) int {
	switch o.Encoding() {
	case store.Listpack:
		return ds.LP(o.Bytes()).Count() / 2
	case store.ListpackTTL:
		return ds.LP(o.Bytes()).Count() / 3
	}
	return hashTable(o).Len()
}

// hashGet returns a field's value.
func hashGet(c *command.Ctx, o *store.Obj, field []byte) (ds.Elem, bool) {
	v, _, ok := hashGetTimed(c, o, field)
	return v, ok
}

// hashGetTimed returns a field's value and when it expires, 0 for never.
func hashGetTimed(c *command.Ctx, o *store.Obj, field []byte) (v ds.Elem, at int64, ok bool) {
	switch o.Encoding() {
	case store.Listpack:
		p := ds.LP(o.Bytes())
		if _, off := p.FindPair(field); off >= 0 {
			return p.Get(off), 0, true
		}
		return v, 0, false
	case store.Hashtable:
		b, ok := hashTable(o).Get(field)
		return ds.Elem{Str: b}, 0, ok
	case store.ListpackTTL:
		p := ds.LP(o.Bytes())
		_, off, time := p.FindTriplet(field)
		if ok = off >= 0; ok {
			v, at = p.Get(off), p.Get(time).Int
		}
	default:
		v.Str, at, ok = ttlTable(o).Get(field)
	}
	if hidden(c, at) {
		return ds.Elem{}, 0, false
	}
	return v, at, ok
}

// hashSet gives a field its value, converting the hash first or afterwards where
// a limit asks for it. It reports whether the field is new. The field expires no
// more. field and value are no views of the hash.
func hashSet(c *command.Ctx, o *store.Obj, field, value []byte) (added bool) {
	if o.Encoding().FieldsExpire() {
		added = hashSetTimed(c, o, field, value, 0)
		o.SettleFields()
		return added
	}
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

// hashSetTimed is hashSet with the time when the field expires. With time 0 the
// caller may have to call SettleFields.
func hashSetTimed(c *command.Ctx, o *store.Obj, field, value []byte, at int64) (added bool) {
	if !o.Encoding().FieldsExpire() {
		if at == 0 {
			return hashSet(c, o, field, value)
		}
		hashTimed(o)
	}
	if o.Encoding() == store.ListpackTTL {
		l := c.Env.Limits()
		if len(field) > l.HashValue || len(value) > l.HashValue ||
			!ds.LPSafeToAdd(ds.LP(o.Bytes()), ds.LPElemSize(field)+ds.LPElemSize(value)+ds.LPIntSize(at)) {
			hashConvertTimed(o, hashLen(o)+1)
		}
	}
	if o.Encoding() == store.ListpackTTL {
		added = ds.LPSetTriplet(o, field, value, at)
		if n := hashLen(o); n > c.Env.Limits().HashEntries {
			hashConvertTimed(o, n)
		}
	} else {
		added = ttlTable(o).Set(field, value, at)
	}
	if at != 0 {
		o.NoteFieldTime()
	}
	return added
}

// hashTimed gives a hash the encoding in which fields may expire. A field that
// does must follow at once.
func hashTimed(o *store.Obj) {
	if o.Encoding() == store.Hashtable {
		clear(o.Resize(ds.TTLTableHeader)[ds.TableHeader:])
		o.SetEncoding(store.HashtableTTL)
		return
	}
	for off := ds.LP(o.Bytes()).First(); off >= 0 && off < ds.LP(o.Bytes()).End(); {
		p := ds.LP(o.Bytes())
		off = p.After(p.After(off))
		ds.LPInsertInt(o, off, 0)
		off = ds.LP(o.Bytes()).After(off)
	}
	o.SetEncoding(store.ListpackTTL)
}

// hashConvertTimed makes a listpack with times a table with room for n fields.
func hashConvertTimed(o *store.Obj, n int) {
	old := ds.LP(bytes.Clone(o.Bytes()))
	t := ds.InitTTLTable(o.Arena(), o.Recode(store.HashtableTTL, ds.TTLTableHeader))
	t.Reserve(n)
	var tmp [2][20]byte
	for it := old.Iter(); it.Next(); {
		field := elemText(it.Elem(), tmp[0][:])
		it.Next()
		value := elemText(it.Elem(), tmp[1][:])
		it.Next()
		t.Set(field, value, it.Elem().Int)
	}
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

// hashDelete removes a field. The caller calls SettleFields, unless the hash is
// empty then.
func hashDelete(o *store.Obj, field []byte) bool {
	switch o.Encoding() {
	case store.Listpack:
		return ds.LPDeletePair(o, field)
	case store.ListpackTTL:
		return ds.LPDeleteTriplet(o, field)
	case store.HashtableTTL:
		return ttlTable(o).Delete(field)
	}
	return hashTable(o).Delete(field)
}

// hashEach visits every field that is there with its value until visit returns
// false.
func hashEach(c *command.Ctx, o *store.Obj, visit func(field, value ds.Elem) bool) {
	switch o.Encoding() {
	case store.Listpack:
		for it := ds.LP(o.Bytes()).Iter(); it.Next(); {
			field := it.Elem()
			it.Next()
			if !visit(field, it.Elem()) {
				return
			}
		}
	case store.ListpackTTL:
		for it := ds.LP(o.Bytes()).Iter(); it.Next(); {
			field := it.Elem()
			it.Next()
			value := it.Elem()
			if it.Next(); !hidden(c, it.Elem().Int) && !visit(field, value) {
				return
			}
		}
	case store.HashtableTTL:
		ttlTable(o).Each(func(field, value []byte, at int64) bool {
			return hidden(c, at) || visit(ds.Elem{Str: field}, ds.Elem{Str: value})
		})
	default:
		hashTable(o).Each(func(field, value []byte) bool { return visit(ds.Elem{Str: field}, ds.Elem{Str: value}) })
	}
}

// hashLive returns the number of fields that are there.
func hashLive(c *command.Ctx, o *store.Obj) int {
	if at := o.FieldTime(); !hidden(c, at) {
		return hashLen(o)
	}
	n := 0
	hashEach(c, o, func(_, _ ds.Elem) bool { n++; return true })
	return n
}

// hashRandom returns a field, each with the same chance, with its value; live is
// hashLive and not 0.
func hashRandom(c *command.Ctx, o *store.Obj, live int) (field, value ds.Elem) {
	switch {
	case o.Encoding() == store.Listpack:
		p := ds.LP(o.Bytes())
		off := p.Seek(2 * rand.IntN(p.Count()/2))
		return p.Get(off), p.Get(p.Next(off))
	case o.Encoding() == store.Hashtable || o.Encoding() == store.HashtableTTL && live == hashLen(o):
		f, v := hashTable(o).Random(rand.Uint64())
		return ds.Elem{Str: f}, ds.Elem{Str: v}
	}
	skip := rand.IntN(live)
	hashEach(c, o, func(f, v ds.Elem) bool {
		field, value = f, v
		skip--
		return skip >= 0
	})
	return field, value
}

// hset serves HMSET as well.
func hset(c *command.Ctx) {
	if len(c.Argv)%2 != 0 {
		c.Error(command.WrongArity(c.Spec.Full))
		return
	}
	o := c.Obj(0)
	if !writeHash(c, o) {
		return
	}
	exists := o.Exists()
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
	if !writeHash(c, o) {
		return
	}
	exists := o.Exists()
	if !exists {
		createHash(c, o)
	} else if _, ok := hashGet(c, o, c.Argv[2]); ok {
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
		if v, ok := hashGet(c, o, field); ok {
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
		n = hashLive(c, o)
	}
	if fields && values {
		c.Map(n)
	} else {
		c.Array(n)
	}
	if n == 0 {
		return
	}
	hashEach(c, o, func(field, value ds.Elem) bool {
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
	if !writeHash(c, o) {
		return
	}
	exists := o.Exists()
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
		} else {
			o.SettleFields()
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
		_, ok = hashGet(c, o, c.Argv[2])
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
		if v, ok := hashGet(c, o, c.Argv[2]); ok {
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
	if !writeHash(c, o) {
		return
	}
	exists := o.Exists()
	n, at := int64(0), int64(0)
	if exists {
		var v ds.Elem
		if v, at, ok = hashGetTimed(c, o, c.Argv[2]); ok {
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
	hashSetTimed(c, o, c.Argv[2], strconv.AppendInt(tmp[:0], n, 10), at)
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
	if !writeHash(c, o) {
		return
	}
	exists := o.Exists()
	cur, at := []byte("0"), int64(0)
	if exists {
		if v, t, ok := hashGetTimed(c, o, c.Argv[2]); ok {
			cur, at = v.Append(nil), t
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
	hashSetTimed(c, o, c.Argv[2], sum, at)
	c.Changed(1, "hincrbyfloat")
	if at == 0 {
		c.Propagate([]byte("HSET"), c.Argv[1], c.Argv[2], sum)
	} else { // HSET would take the time away
		c.Propagate([]byte("HSETEX"), c.Argv[1], []byte("KEEPTTL"), []byte("FIELDS"), []byte("1"), c.Argv[2], sum)
	}
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
	switch o.Encoding() {
	case store.Listpack, store.ListpackTTL: // small: all at once
		hashEach(c, o, visit)
	case store.HashtableTTL:
		t := ttlTable(o)
		next = s.walk(func(cursor uint64) uint64 {
			return t.Scan(cursor, func(field, value []byte, at int64) {
				if !hidden(c, at) {
					visit(ds.Elem{Str: field}, ds.Elem{Str: value})
				}
			})
		}, &seen)
	default:
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
		live := 0
		if o.Exists() {
			live = hashLive(c, o)
		}
		if live == 0 {
			c.Null()
			return
		}
		field, _ := hashRandom(c, o, live)
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
	n := 0
	if o.Exists() {
		n = hashLive(c, o)
	}
	if n == 0 || count == 0 {
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
			reply(hashRandom(c, o, n))
		}
		return
	}
	s := sampler{want: int(min(count, int64(n))), n: n}
	header(s.want)
	switch {
	case s.want == n:
		hashEach(c, o, reply)
	case o.Encoding() == store.Hashtable && s.sparse():
		drawn := make(map[string]struct{}, s.want)
		for len(drawn) < s.want {
			field, value := hashRandom(c, o, n)
			if _, dup := drawn[string(field.Str)]; !dup {
				drawn[string(field.Str)] = struct{}{}
				reply(field, value)
			}
		}
	default:
		hashEach(c, o, func(field, value ds.Elem) bool {
			if s.take() {
				reply(field, value)
			}
			return s.want > 0
		})
	}
}
