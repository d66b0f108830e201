package datatypes

import (
	"cmp"
	"slices"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

func setOpSpecs() []*command.Spec {
	const (
		inter = "O(N*M), N being the number of members of the smallest set, M the number of sets."
		all   = "O(N), N being the number of members of all sets."
		diff  = "O(N*M), N being the number of members of the first set, M the number of sets."
	)
	anyOrder := []string{"nondeterministic_output_order"}
	read := func() []command.KeySpec { return command.KeyRange(1, -1, 1, command.RO|command.Access) }
	stored := func(dst command.KeyFlags) []command.KeySpec {
		return slices.Concat([]command.KeySpec{command.KeyAt(1, dst)}, command.KeyRange(2, -1, 1, command.RO|command.Access))
	}
	return []*command.Spec{
		{Name: "sinter", Group: command.Set, Since: "1.0.0", Arity: -2, Complexity: inter,
			Summary: "Returns the members that all of the sets have.", Syntax: "key [key ...]",
			Flags: command.ReadOnly, Keys: read(), Tips: anyOrder, Run: func(c *command.Ctx) { setOp(c, interOp, false) }},
		{Name: "sintercard", Group: command.Set, Since: "7.0.0", Arity: -3, Complexity: inter,
			Summary: "Returns the number of members that all of the sets have.", Syntax: "numkeys key [key ...] [LIMIT limit]",
			Flags: command.ReadOnly, Keys: []command.KeySpec{command.KeyCount(1, command.RO|command.Access)}, Run: sintercard},
		{Name: "sinterstore", Group: command.Set, Since: "1.0.0", Arity: -3, Complexity: inter,
			Summary: "Stores the members that all of the sets have.", Syntax: "destination key [key ...]",
			Flags: command.Write | command.DenyOOM, Keys: stored(command.RW | command.Update),
			Run: func(c *command.Ctx) { setOp(c, interOp, true) }},
		{Name: "sunion", Group: command.Set, Since: "1.0.0", Arity: -2, Complexity: all,
			Summary: "Returns the members that any of the sets has.", Syntax: "key [key ...]",
			Flags: command.ReadOnly, Keys: read(), Tips: anyOrder, Run: func(c *command.Ctx) { setOp(c, unionOp, false) }},
		{Name: "sunionstore", Group: command.Set, Since: "1.0.0", Arity: -3, Complexity: all,
			Summary: "Stores the members that any of the sets has.", Syntax: "destination key [key ...]",
			Flags: command.Write | command.DenyOOM, Keys: stored(command.OW | command.Update),
			Run: func(c *command.Ctx) { setOp(c, unionOp, true) }},
		{Name: "sdiff", Group: command.Set, Since: "1.0.0", Arity: -2, Complexity: diff,
			Summary: "Returns the members of the first set that none of the others has.", Syntax: "key [key ...]",
			Flags: command.ReadOnly, Keys: read(), Tips: anyOrder, Run: func(c *command.Ctx) { setOp(c, diffOp, false) }},
		{Name: "sdiffstore", Group: command.Set, Since: "1.0.0", Arity: -3, Complexity: diff,
			Summary: "Stores the members of the first set that none of the others has.", Syntax: "destination key [key ...]",
			Flags: command.Write | command.DenyOOM, Keys: stored(command.OW | command.Update),
			Run: func(c *command.Ctx) { setOp(c, diffOp, true) }},
	}
}

// An operation visits its members once each, until visit returns false.
type setOperation func(sets []store.Obj, visit func(e ds.Elem) bool)

// findSets finds the sets in arguments from on; one without a key does not
// exist. It returns false, having replied, if one is of another type.
func findSets(c *command.Ctx, from, n int) ([]store.Obj, bool) {
	sets := make([]store.Obj, n)
	for i := range sets {
		if !findSet(c, from+i, &sets[i]) {
			return nil, false
		}
	}
	return sets, true
}

// setOp serves the commands of an operation: with a destination the event is
// the command's name.
func setOp(c *command.Ctx, op setOperation, stores bool) {
	from := 1
	if stores {
		from = 2
	}
	sets, ok := findSets(c, from, len(c.Argv)-from)
	if !ok {
		return
	}
	if stores {
		var r setResult
		op(sets, r.gather(sets))
		r.store(c, 1)
		return
	}
	start, n := c.Defer(), 0
	op(sets, func(e ds.Elem) bool {
		replyElem(c, e)
		n++
		return true
	})
	c.EndSet(start, n)
}

func interOp(sets []store.Obj, visit func(e ds.Elem) bool) {
	slices.SortFunc(sets, func(a, b store.Obj) int { return cmp.Compare(setLen(&a), setLen(&b)) })
	if !sets[0].Exists() {
		return
	}
	var tmp [20]byte
	setEach(&sets[0], func(e ds.Elem) bool {
		for i := range sets[1:] {
			if !setHasElem(&sets[1+i], e, tmp[:]) {
				return true
			}
		}
		return visit(e)
	})
}

func diffOp(sets []store.Obj, visit func(e ds.Elem) bool) {
	first, others := &sets[0], sets[1:]
	if !first.Exists() {
		return
	}
	// The largest first: they are the likeliest to have a member.
	slices.SortFunc(others, func(a, b store.Obj) int { return cmp.Compare(setLen(&b), setLen(&a)) })
	for len(others) > 0 && !others[len(others)-1].Exists() {
		others = others[:len(others)-1]
	}
	var tmp [20]byte
	setEach(first, func(e ds.Elem) bool {
		for i := range others {
			if setHasElem(&others[i], e, tmp[:]) {
				return true
			}
		}
		return visit(e)
	})
}

func unionOp(sets []store.Obj, visit func(e ds.Elem) bool) {
	sets = slices.DeleteFunc(sets, func(o store.Obj) bool { return !o.Exists() })
	if len(sets) == 0 {
		return
	}
	if len(sets) == 1 {
		setEach(&sets[0], visit)
		return
	}
	// What was seen is kept off the Go heap, as the sets are.
	var header [ds.TableHeader]byte
	seen := ds.InitTable(sets[0].Arena(), header[:])
	defer seen.Free()
	var tmp [20]byte
	more := true
	for i := range sets {
		setEach(&sets[i], func(e ds.Elem) bool {
			if seen.Add(elemText(e, tmp[:])) {
				more = visit(e)
			}
			return more
		})
		if !more {
			return
		}
	}
}

func sintercard(c *command.Ctx) {
	keys, ok := command.ParseInt(c.Argv[1])
	if !ok || keys < 1 {
		c.Error("ERR numkeys should be greater than 0")
		return
	}
	if keys > int64(len(c.Argv)-2) {
		c.Error("ERR Number of keys can't be greater than number of args")
		return
	}
	limit := int64(0)
	a := c.ArgsFrom(2 + int(keys))
	for a.More() {
		if a.Left() < 2 || !a.Is("limit") {
			a.Syntax()
			break
		}
		if limit = a.IntOr("ERR LIMIT can't be negative"); limit < 0 {
			a.Fail("ERR LIMIT can't be negative")
		}
	}
	if !a.Done() {
		return
	}
	sets, ok := findSets(c, 2, int(keys))
	if !ok {
		return
	}
	n := int64(0)
	interOp(sets, func(ds.Elem) bool {
		n++
		return n != limit
	})
	c.Int(n)
}

// setResult collects the members of an operation before the destination, which
// may be one of the sets, is replaced. The zero value is an empty result.
//
// It begins as a listpack in Go memory and becomes a table off the heap, as soon
// as a listpack is too small a form for most limits; so a large result costs no
// more than the set that it becomes.
type setResult struct {
	small   ds.SliceBuf
	n       int // members
	longest int // bytes of the longest
	notInts int // members that are no integers
	header  []byte
	table   ds.Table // if header is there
}

// smallResult is the number of members up to which a result is a listpack.
const smallResult = 128

// gather returns the function that takes the members, each once, from sets.
func (r *setResult) gather(sets []store.Obj) func(e ds.Elem) bool {
	ds.LPInit(&r.small)
	var arena ds.Arena
	for i := range sets {
		if sets[i].Exists() {
			arena = sets[i].Arena()
		}
	}
	var tmp [20]byte
	return func(e ds.Elem) bool {
		text := elemText(e, tmp[:])
		r.n++
		r.longest = max(r.longest, len(text))
		if _, ok := e.AsInt(); !ok {
			r.notInts++
		}
		if r.header == nil && (r.n > smallResult || r.longest > 1<<10) {
			r.header = make([]byte, ds.TableHeader)
			r.table = ds.InitTable(arena, r.header)
			var tmp [20]byte
			for it := ds.LP(r.small.B).Iter(); it.Next(); {
				r.table.Add(elemText(it.Elem(), tmp[:]))
			}
		}
		if r.header != nil {
			r.table.Add(text)
		} else {
			ds.LPAppend(&r.small, text)
		}
		return true
	}
}

// each visits the members.
func (r *setResult) each(visit func(e ds.Elem)) {
	if r.header == nil {
		for it := ds.LP(r.small.B).Iter(); it.Next(); {
			visit(it.Elem())
		}
		return
	}
	r.table.Each(func(m, _ []byte) bool {
		visit(ds.Elem{Str: m})
		return true
	})
}

// store makes the result the value of the key in argument i, deletes the key if
// it is empty, and replies with the number of members. It ends r.
func (r *setResult) store(c *command.Ctx, i int) {
	o := c.Obj(0)
	exists := c.FindWrite(i, o)
	if r.n == 0 {
		if exists {
			c.Delete(o)
			c.Changed(i, "del")
		}
		c.Int(0)
		return
	}
	put := func(e store.Encoding, v []byte) {
		if exists {
			copy(o.ResetExpire(store.Set, e, len(v), 0), v)
		} else {
			copy(c.Create(i, o, store.Set, e, len(v)), v)
		}
	}
	var tmp [20]byte
	l := c.Env.Limits()
	var b ds.SliceBuf
	switch {
	case r.notInts == 0 && r.n <= l.SetIntset:
		ints := make([]int64, 0, r.n)
		r.each(func(e ds.Elem) {
			n, _ := e.AsInt()
			ints = append(ints, n)
		})
		slices.Sort(ints) // each is added at the end
		ds.IntsetInit(&b)
		for _, n := range ints {
			ds.IntsetAdd(&b, n)
		}
		put(store.Intset, b.B)
	case r.n <= l.SetEntries && r.longest <= l.SetValue:
		ds.LPInit(&b)
		r.each(func(e ds.Elem) { ds.LPAppend(&b, elemText(e, tmp[:])) })
		put(store.Listpack, b.B)
	case r.header != nil:
		put(store.Hashtable, r.header) // and all that it owns
		r.header = nil
	default:
		var header [ds.TableHeader]byte
		put(store.Hashtable, header[:])
		t := ds.InitTable(o.Arena(), o.Bytes())
		t.Reserve(r.n)
		r.each(func(e ds.Elem) { t.Add(elemText(e, tmp[:])) })
	}
	if r.header != nil {
		r.table.Free()
	}
	c.Changed(i, c.Spec.Name)
	c.Int(int64(r.n))
}
