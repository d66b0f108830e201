package datatypes

import (
	"bytes"
	"math/rand/v2"
	"slices"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// A set is an intset while all members are integers, up to
// set-max-intset-entries; else a listpack while it has few and short members
// (set-max-listpack-entries, set-max-listpack-value); else a table whose fields
// are the members. It never goes back, but a result that is stored starts at the
// smallest of them. Operations on several sets are in setop.go.

func setSpecs() []*command.Spec {
	const (
		members    = "O(N), N being the number of members."
		memberArgs = "O(N), N being the number of members given."
		readFast   = command.ReadOnly | command.Fast
	)
	anyOrder := []string{"nondeterministic_output_order"}
	chance := []string{"nondeterministic_output"}
	return slices.Concat([]*command.Spec{
		{Name: "sadd", Group: command.Set, Since: "1.0.0", Arity: -3, Complexity: memberArgs,
			Summary: "Adds members to a set; creates the set if there is none.", Syntax: "key member [member ...]",
			Flags: command.Write | command.DenyOOM | command.Fast, Keys: command.OneKey(command.RW | command.Insert), Run: sadd},
		{Name: "srem", Group: command.Set, Since: "1.0.0", Arity: -3, Complexity: memberArgs,
			Summary: "Removes members from a set, and the set with its last member.", Syntax: "key member [member ...]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(command.RW | command.Delete), Run: srem},
		{Name: "smove", Group: command.Set, Since: "1.0.0", Arity: 4, Complexity: "O(1)",
			Summary: "Moves a member from one set to another.", Syntax: "source destination member",
			Flags: command.Write | command.Fast,
			Keys: []command.KeySpec{command.KeyAt(1, command.RW|command.Access|command.Delete),
				command.KeyAt(2, command.RW|command.Insert)}, Run: smove},
		{Name: "sismember", Group: command.Set, Since: "1.0.0", Arity: 3, Complexity: "O(1)",
			Summary: "Tells whether something is a member of a set.", Syntax: "key member",
			Flags: readFast, Keys: command.OneKey(command.RO), Run: sismember},
		{Name: "smismember", Group: command.Set, Since: "6.2.0", Arity: -3, Complexity: memberArgs,
			Summary: "Tells of several things whether they are members of a set.", Syntax: "key member [member ...]",
			Flags: readFast, Keys: command.OneKey(command.RO | command.Access), Run: smismember},
		{Name: "scard", Group: command.Set, Since: "1.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the number of members of a set.", Syntax: "key",
			Flags: readFast, Keys: command.OneKey(command.RO), Run: scard},
		{Name: "smembers", Group: command.Set, Since: "1.0.0", Arity: 2, Complexity: members,
			Summary: "Returns all members of a set.", Syntax: "key",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Tips: anyOrder, Run: smembers},
		{Name: "spop", Group: command.Set, Since: "1.0.0", Arity: -2, Complexity: "O(N), N being the number of members removed.",
			Summary: "Removes random members from a set and returns them.", Syntax: "key [count]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(command.RW | command.Access | command.Delete),
			Tips: chance, Run: spop},
		{Name: "srandmember", Group: command.Set, Since: "1.0.0", Arity: -2, Complexity: "O(N), N being the number of members returned.",
			Summary: "Returns random members of a set.", Syntax: "key [count]",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Tips: chance, Run: srandmember},
		{Name: "sscan", Group: command.Set, Since: "2.8.0", Arity: -3,
			Complexity: "O(1) for each call, O(N) for a whole iteration, N being the number of members.",
			Summary:    "Iterates over the members of a set, some at each call.",
			Syntax:     "key cursor [MATCH pattern] [COUNT count]",
			Flags:      command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Tips: chance, Run: sscan},
	}, setOpSpecs())
}

// findSet is Find for a set in argument i; false, having replied, for another
// type. Without a key o does not exist.
func findSet(c *command.Ctx, i int, o *store.Obj) bool {
	c.Find(i, o)
	return c.Typed(o, store.Set)
}

// createSet makes the key in argument i an empty set, in the encoding that suits
// n members of which member is the first.
func createSet(c *command.Ctx, i int, o *store.Obj, member []byte, n int) {
	l := c.Env.Limits()
	_, isInt := ds.ParseInt(member)
	switch {
	case isInt && n <= l.SetIntset:
		c.Create(i, o, store.Set, store.Intset, ds.IntsetEmptySize)
		ds.IntsetInit(o)
	case n <= l.SetEntries:
		c.Create(i, o, store.Set, store.Listpack, ds.LPEmptySize)
		ds.LPInit(o)
	default:
		v := c.Create(i, o, store.Set, store.Hashtable, ds.TableHeader)
		ds.InitTable(o.Arena(), v).Reserve(n)
	}
}

func setTable(o *store.Obj) ds.Table { return ds.OpenTable(o.Arena(), o.Bytes()) }

// setLen returns the number of members; 0 without a key.
func setLen(o *store.Obj) int {
	if !o.Exists() {
		return 0
	}
	switch o.Encoding() {
	case store.Intset:
		return ds.Intset(o.Bytes()).Len()
	case store.Listpack:
		return ds.LP(o.Bytes()).Count()
	}
	return setTable(o).Len()
}

// setHas reports whether m is a member; false without a key.
func setHas(o *store.Obj, m []byte) bool {
	if !o.Exists() {
		return false
	}
	switch o.Encoding() {
	case store.Intset:
		n, ok := ds.ParseInt(m)
		return ok && ds.Intset(o.Bytes()).Contains(n)
	case store.Listpack:
		p := ds.LP(o.Bytes())
		return p.Find(p.First(), m, 0) >= 0
	}
	return setTable(o).Has(m)
}

// setHasElem is setHas for an element of another set; tmp is room for digits.
func setHasElem(o *store.Obj, e ds.Elem, tmp []byte) bool {
	if e.IsInt && o.Exists() && o.Encoding() == store.Intset {
		return ds.Intset(o.Bytes()).Contains(e.Int)
	}
	return setHas(o, elemText(e, tmp))
}

// setAdd adds m, converting the set where a limit asks for it, and reports
// whether it was absent. m is no view of the set.
func setAdd(c *command.Ctx, o *store.Obj, m []byte) bool {
	l := c.Env.Limits()
	switch o.Encoding() {
	case store.Intset:
		if n, ok := ds.ParseInt(m); ok {
			if !ds.IntsetAdd(o, n) {
				return false
			}
			if n := setLen(o); n > l.SetIntset {
				setToTable(o, n)
			}
			return true
		}
		s := ds.Intset(o.Bytes())
		if s.Len() >= l.SetEntries || len(m) > l.SetValue || longestInt(s) > l.SetValue {
			setToTable(o, s.Len()+1)
			return setTable(o).Add(m)
		}
		intsetToListpack(o)
		ds.LPAppend(o, m)
		return true
	case store.Listpack:
		p := ds.LP(o.Bytes())
		if p.Find(p.First(), m, 0) >= 0 {
			return false
		}
		if n := p.Count(); n >= l.SetEntries || len(m) > l.SetValue || !ds.LPSafeToAdd(p, ds.LPElemSize(m)) {
			setToTable(o, n+1)
			break
		}
		ds.LPAppend(o, m)
		return true
	}
	return setTable(o).Add(m)
}

// longestInt returns the length of the longest member's text.
func longestInt(s ds.Intset) int {
	n := s.Len()
	if n == 0 {
		return 0
	}
	return max(ds.Elem{Int: s.At(0), IsInt: true}.Len(), ds.Elem{Int: s.At(n - 1), IsInt: true}.Len())
}

// setToTable makes an intset or listpack a table with room for n members.
func setToTable(o *store.Obj, n int) {
	e := o.Encoding()
	old := bytes.Clone(o.Bytes()) // the record's bytes are about to go
	t := ds.InitTable(o.Arena(), o.Recode(store.Hashtable, ds.TableHeader))
	t.Reserve(n)
	var tmp [20]byte
	eachSmall(e, old, func(e ds.Elem) bool {
		t.Add(elemText(e, tmp[:]))
		return true
	})
}

func intsetToListpack(o *store.Obj) {
	s := ds.Intset(o.Bytes())
	var b ds.SliceBuf
	ds.LPInit(&b)
	for i := range s.Len() {
		ds.LPAppendInt(&b, s.At(i))
	}
	copy(o.Recode(store.Listpack, len(b.B)), b.B)
}

// setRemove removes m and reports whether it was a member. m is no view of the
// set.
func setRemove(o *store.Obj, m []byte) bool {
	switch o.Encoding() {
	case store.Intset:
		n, ok := ds.ParseInt(m)
		return ok && ds.IntsetRemove(o, n)
	case store.Listpack:
		p := ds.LP(o.Bytes())
		off := p.Find(p.First(), m, 0)
		return off >= 0 && ds.LPDelete(o, off, 1) == 1
	}
	return setTable(o).Delete(m)
}

// setEach visits every member until visit returns false.
func setEach(o *store.Obj, visit func(e ds.Elem) bool) {
	if o.Encoding() == store.Hashtable {
		setTable(o).Each(func(m, _ []byte) bool { return visit(ds.Elem{Str: m}) })
		return
	}
	eachSmall(o.Encoding(), o.Bytes(), visit)
}

// eachSmall is setEach of an intset or listpack.
func eachSmall(e store.Encoding, v []byte, visit func(e ds.Elem) bool) {
	if e == store.Intset {
		s := ds.Intset(v)
		for i := range s.Len() {
			if !visit(ds.Elem{Int: s.At(i), IsInt: true}) {
				return
			}
		}
		return
	}
	for it := ds.LP(v).Iter(); it.Next(); {
		if !visit(it.Elem()) {
			return
		}
	}
}

// setRandom returns a member, each with the same chance.
func setRandom(o *store.Obj) ds.Elem {
	switch o.Encoding() {
	case store.Intset:
		return ds.Elem{Int: ds.Intset(o.Bytes()).Random(rand.Uint64()), IsInt: true}
	case store.Listpack:
		p := ds.LP(o.Bytes())
		return p.Get(p.Seek(rand.IntN(p.Count())))
	}
	m, _ := setTable(o).Random(rand.Uint64())
	return ds.Elem{Str: m}
}

func sadd(c *command.Ctx) {
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.Set) {
		return
	}
	n := len(c.Argv) - 2
	if !exists {
		createSet(c, 1, o, c.Argv[2], n)
	} else if l := c.Env.Limits(); o.Encoding() == store.Intset && n > l.SetIntset || o.Encoding() == store.Listpack && n > l.SetEntries {
		setToTable(o, n)
	}
	added := int64(0)
	for _, m := range c.Argv[2:] {
		added += boolInt(setAdd(c, o, m))
	}
	if added != 0 {
		c.Changed(1, "sadd")
		c.Dirty += added - 1
	}
	c.Int(added)
}

func srem(c *command.Ctx) {
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.Set) {
		return
	}
	removed := int64(0)
	if exists {
		left := setLen(o)
		for _, m := range c.Argv[2:] {
			if setRemove(o, m) {
				removed++
				if left--; left == 0 {
					break
				}
			}
		}
		if removed != 0 {
			c.Changed(1, "srem")
			c.Dirty += removed - 1
		}
		if left == 0 {
			c.Delete(o)
			c.Notify(1, "del")
		}
	}
	c.Int(removed)
}

func smove(c *command.Ctx) {
	src, dst, m := c.Obj(0), c.Obj(1), c.Argv[3]
	if !c.FindWrite(1, src) {
		c.Int(0)
		return
	}
	same := string(c.Argv[1]) == string(c.Argv[2])
	exists := !same && c.FindWrite(2, dst)
	if !c.Typed(src, store.Set) || exists && !c.Typed(dst, store.Set) {
		return
	}
	if same {
		c.Int(boolInt(setHas(src, m)))
		return
	}
	if !setRemove(src, m) {
		c.Int(0)
		return
	}
	c.Changed(1, "srem")
	if setLen(src) == 0 {
		c.Delete(src)
		c.Notify(1, "del")
	}
	if !exists {
		createSet(c, 2, dst, m, 1)
	}
	if setAdd(c, dst, m) {
		c.Changed(2, "sadd")
	}
	c.Int(1)
}

func sismember(c *command.Ctx) {
	if o := c.Obj(0); findSet(c, 1, o) {
		c.Int(boolInt(setHas(o, c.Argv[2])))
	}
}

func smismember(c *command.Ctx) {
	o := c.Obj(0)
	if !findSet(c, 1, o) {
		return
	}
	c.Array(len(c.Argv) - 2)
	for _, m := range c.Argv[2:] {
		c.Int(boolInt(setHas(o, m)))
	}
}

func scard(c *command.Ctx) {
	if o := c.Obj(0); findSet(c, 1, o) {
		c.Int(int64(setLen(o)))
	}
}

func smembers(c *command.Ctx) {
	o := c.Obj(0)
	if !findSet(c, 1, o) {
		return
	}
	c.Set(setLen(o))
	if o.Exists() {
		setEach(o, func(e ds.Elem) bool {
			replyElem(c, e)
			return true
		})
	}
}

func spop(c *command.Ctx) {
	switch {
	case len(c.Argv) == 3:
		spopCount(c)
		return
	case len(c.Argv) > 3:
		c.Error(command.ErrSyntax)
		return
	}
	o := c.Obj(0)
	if !c.FindWrite(1, o) {
		c.Null()
		return
	}
	if !c.Typed(o, store.Set) {
		return
	}
	m := setRandom(o).Append(nil)
	setRemove(o, m)
	c.Bulk(m)
	c.Changed(1, "spop")
	c.Propagate([]byte("SREM"), c.Argv[1], m)
	if setLen(o) == 0 {
		c.Delete(o)
		c.Notify(1, "del")
	}
}

// popBatch is the number of members that one SREM takes to the replicas: a
// command of bounded size whatever the count.
const popBatch = 1024 // as Redis 7.2

func spopCount(c *command.Ctx) {
	count, ok := command.ParseInt(c.Argv[2])
	if !ok || count < 0 {
		c.Error(command.ErrMustPositive)
		return
	}
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.Set) {
		return
	}
	if !exists || count == 0 {
		c.Set(0)
		return
	}
	size := setLen(o)
	if count >= int64(size) {
		c.Set(size)
		setEach(o, func(e ds.Elem) bool {
			replyElem(c, e)
			return true
		})
		c.Delete(o)
		c.Changed(1, "spop")
		c.Dirty += int64(size) - 1
		c.Notify(1, "del")
		name := "DEL"
		if c.Env.Limits().LazyServerDel {
			name = "UNLINK"
		}
		c.Propagate([]byte(name), c.Argv[1])
		return
	}
	c.Set(int(count))
	srem := [][]byte{[]byte("SREM"), c.Argv[1]}
	batch := srem
	for range count {
		m := setRandom(o).Append(nil)
		setRemove(o, m)
		c.Bulk(m)
		if batch = append(batch, m); len(batch) == len(srem)+popBatch {
			c.Propagate(batch...)
			batch = srem
		}
	}
	if len(batch) > len(srem) {
		c.Propagate(batch...)
	}
	c.Changed(1, "spop")
	c.Dirty += count - 1
}

func srandmember(c *command.Ctx) {
	o := c.Obj(0)
	if len(c.Argv) == 2 {
		if !findSet(c, 1, o) {
			return
		}
		if !o.Exists() {
			c.Null()
			return
		}
		replyElem(c, setRandom(o))
		return
	}
	if len(c.Argv) > 3 {
		c.Error(command.ErrSyntax)
		return
	}
	count, ok := randomCount(c, c.Argv[2])
	if !ok || !findSet(c, 1, o) {
		return
	}
	if !o.Exists() || count == 0 {
		c.Array(0)
		return
	}
	if count < 0 { // with repetition
		c.Array(int(-count))
		for range -count {
			replyElem(c, setRandom(o))
		}
		return
	}
	n := setLen(o)
	s := sampler{want: int(min(count, int64(n))), n: n}
	c.Array(s.want)
	if s.want < n && o.Encoding() == store.Hashtable && s.sparse() {
		drawn := make(map[string]struct{}, s.want)
		for len(drawn) < s.want {
			m := setRandom(o).Str
			if _, dup := drawn[string(m)]; !dup {
				drawn[string(m)] = struct{}{}
				c.Bulk(m)
			}
		}
		return
	}
	setEach(o, func(e ds.Elem) bool {
		if s.take() {
			replyElem(c, e)
		}
		return s.want > 0
	})
}

func sscan(c *command.Ctx) {
	o := c.Obj(0)
	s, ok := parseElementScan(c, store.Set, o)
	if !ok {
		return
	}
	start := c.Defer()
	n, seen, next := 0, 0, uint64(0)
	var tmp [20]byte
	visit := func(e ds.Elem) bool {
		seen++
		if s.takes(elemText(e, tmp[:])) {
			replyElem(c, e)
			n++
		}
		return true
	}
	if o.Encoding() != store.Hashtable { // small: all at once
		setEach(o, visit)
	} else {
		t := setTable(o)
		next = s.walk(func(cursor uint64) uint64 {
			return t.Scan(cursor, func(m, _ []byte) { visit(ds.Elem{Str: m}) })
		}, &seen)
	}
	c.EndArray(start, n)
	endCursor(c, start, next)
}
