package datatypes

import (
	"math"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

func listSpecs() []*command.Spec {
	const (
		push      = command.RW | command.Insert
		pop       = command.RW | command.Access | command.Delete
		pushFlags = command.Write | command.DenyOOM | command.Fast
		perElem   = "O(N), N being the number of elements."
	)
	moveKeys := []command.KeySpec{command.KeyAt(1, pop), command.KeyAt(2, push)}
	return []*command.Spec{
		{Name: "lpush", Group: command.List, Since: "1.0.0", Arity: -3, Complexity: perElem,
			Summary: "Adds elements at the front of a list; creates the list if there is none.", Syntax: "key element [element ...]",
			Flags: pushFlags, Keys: command.OneKey(push), Run: func(c *command.Ctx) { listPushAll(c, true, false) }},
		{Name: "rpush", Group: command.List, Since: "1.0.0", Arity: -3, Complexity: perElem,
			Summary: "Adds elements at the end of a list; creates the list if there is none.", Syntax: "key element [element ...]",
			Flags: pushFlags, Keys: command.OneKey(push), Run: func(c *command.Ctx) { listPushAll(c, false, false) }},
		{Name: "lpushx", Group: command.List, Since: "2.2.0", Arity: -3, Complexity: perElem,
			Summary: "Adds elements at the front of a list that exists.", Syntax: "key element [element ...]",
			Flags: pushFlags, Keys: command.OneKey(push), Run: func(c *command.Ctx) { listPushAll(c, true, true) }},
		{Name: "rpushx", Group: command.List, Since: "2.2.0", Arity: -3, Complexity: perElem,
			Summary: "Adds elements at the end of a list that exists.", Syntax: "key element [element ...]",
			Flags: pushFlags, Keys: command.OneKey(push), Run: func(c *command.Ctx) { listPushAll(c, false, true) }},
		{Name: "lpop", Group: command.List, Since: "1.0.0", Arity: -2, Complexity: "O(N), N being the number of elements returned.",
			Summary: "Removes and returns elements at the front of a list.", Syntax: "key [count]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(pop), Run: func(c *command.Ctx) { listPop(c, true) }},
		{Name: "rpop", Group: command.List, Since: "1.0.0", Arity: -2, Complexity: "O(N), N being the number of elements returned.",
			Summary: "Removes and returns elements at the end of a list, the last one first.", Syntax: "key [count]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(pop), Run: func(c *command.Ctx) { listPop(c, false) }},
		{Name: "llen", Group: command.List, Since: "1.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the length of a list.", Syntax: "key",
			Flags: command.ReadOnly | command.Fast, Keys: command.OneKey(command.RO), Run: llen},
		{Name: "lrange", Group: command.List, Since: "1.0.0", Arity: 4,
			Complexity: "O(S+N), S being the distance of start from the nearer end in nodes, N the number of elements returned.",
			Summary:    "Returns a range of the elements of a list.", Syntax: "key start stop",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Run: lrange},
		{Name: "lindex", Group: command.List, Since: "1.0.0", Arity: 3,
			Complexity: "O(N), N being the number of nodes to pass to get to the element.",
			Summary:    "Returns the element at an index of a list.", Syntax: "key index",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Run: lindex},
		{Name: "lset", Group: command.List, Since: "1.0.0", Arity: 4,
			Complexity: "O(N), N being the number of nodes to pass to get to the element.",
			Summary:    "Replaces the element at an index of a list.", Syntax: "key index element",
			Flags: command.Write | command.DenyOOM, Keys: command.OneKey(command.RW | command.Update), Run: lset},
		{Name: "linsert", Group: command.List, Since: "2.2.0", Arity: 5,
			Complexity: "O(N), N being the number of elements before the pivot.",
			Summary:    "Adds an element before or after another one of a list.", Syntax: "key <BEFORE | AFTER> pivot element",
			Flags: command.Write | command.DenyOOM, Keys: command.OneKey(push), Run: linsert},
		{Name: "lrem", Group: command.List, Since: "1.0.0", Arity: 4,
			Complexity: "O(N), N being the length of the list.",
			Summary:    "Removes elements of a list that equal a given one.", Syntax: "key count element",
			Flags: command.Write, Keys: command.OneKey(command.RW | command.Delete), Run: lrem},
		{Name: "ltrim", Group: command.List, Since: "1.0.0", Arity: 4,
			Complexity: "O(N), N being the number of elements removed.",
			Summary:    "Removes the elements outside of a range of a list.", Syntax: "key start stop",
			Flags: command.Write, Keys: command.OneKey(command.RW | command.Delete), Run: ltrim},
		{Name: "lpos", Group: command.List, Since: "6.0.6", Arity: -3,
			Complexity: "O(N), N being the number of elements compared.",
			Summary:    "Returns the indexes of the elements of a list that equal a given one.",
			Syntax:     "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
			Flags:      command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Run: lpos},
		{Name: "rpoplpush", Group: command.List, Since: "1.2.0", Arity: 3, Complexity: "O(1)",
			Summary: "Moves the last element of a list to the front of a list and returns it.", Syntax: "source destination",
			Flags: command.Write | command.DenyOOM, Keys: moveKeys,
			Run: func(c *command.Ctx) { listMove(c, false, true) }},
		{Name: "lmove", Group: command.List, Since: "6.2.0", Arity: 5, Complexity: "O(1)",
			Summary: "Moves an element from an end of a list to an end of a list and returns it.",
			Syntax:  "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
			Flags:   command.Write | command.DenyOOM, Keys: moveKeys, Run: lmove},
		{Name: "lmpop", Group: command.List, Since: "7.0.0", Arity: -4, Complexity: "O(N+M), N being the number of keys, M of elements returned.",
			Summary: "Removes and returns elements from an end of the first list that is not empty.",
			Syntax:  "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
			Flags:   command.Write, Keys: []command.KeySpec{command.KeyCount(1, pop)}, Run: lmpop},
		{Name: "blpop", Group: command.List, Since: "2.0.0", Arity: -3, Complexity: "O(N), N being the number of keys.",
			Summary: "Removes and returns the first element of the first list that is not empty; waits for one.",
			Syntax:  "key [key ...] timeout", Flags: command.Write | command.NoScript | command.Blocking,
			Keys: command.KeyRange(1, -2, 1, pop), Run: func(c *command.Ctx) { listBlockingPop(c, true) }},
		{Name: "brpop", Group: command.List, Since: "2.0.0", Arity: -3, Complexity: "O(N), N being the number of keys.",
			Summary: "Removes and returns the last element of the first list that is not empty; waits for one.",
			Syntax:  "key [key ...] timeout", Flags: command.Write | command.NoScript | command.Blocking,
			Keys: command.KeyRange(1, -2, 1, pop), Run: func(c *command.Ctx) { listBlockingPop(c, false) }},
		{Name: "brpoplpush", Group: command.List, Since: "2.2.0", Arity: 4, Complexity: "O(1)",
			Summary: "Moves the last element of a list to the front of a list and returns it; waits for one.",
			Syntax:  "source destination timeout",
			Flags:   command.Write | command.DenyOOM | command.NoScript | command.Blocking, Keys: moveKeys, Run: brpoplpush},
		{Name: "blmove", Group: command.List, Since: "6.2.0", Arity: 6, Complexity: "O(1)",
			Summary: "Moves an element from an end of a list to an end of a list and returns it; waits for one.",
			Syntax:  "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
			Flags:   command.Write | command.DenyOOM | command.NoScript | command.Blocking, Keys: moveKeys, Run: blmove},
		{Name: "blmpop", Group: command.List, Since: "7.0.0", Arity: -5, Complexity: "O(N+M), N being the number of keys, M of elements returned.",
			Summary: "Removes and returns elements from an end of the first list that is not empty; waits for one.",
			Syntax:  "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
			Flags:   command.Write | command.Blocking, Keys: []command.KeySpec{command.KeyCount(2, pop)}, Run: blmpop},
	}
}

// findList is Find for a list. It returns false, having replied, if the key
// holds something else; without a key o does not exist.
func findList(c *command.Ctx, i int, o *store.Obj) bool {
	c.Find(i, o)
	return c.Typed(o, store.List)
}

// writeList is findList for a list that will be changed.
func writeList(c *command.Ctx, i int, o *store.Obj) bool {
	c.FindWrite(i, o)
	return c.Typed(o, store.List)
}

func listPushAll(c *command.Ctx, head, onlyOld bool) {
	o := c.Obj(0)
	if !writeList(c, 1, o) {
		return
	}
	if !o.Exists() {
		if onlyOld {
			c.Int(0)
			return
		}
		listCreate(c, 1, o)
	}
	fill := c.Env.Limits().ListSize
	bytes := 0
	for _, e := range c.Argv[2:] {
		bytes += len(e)
	}
	listReserve(o, fill, bytes, len(c.Argv)-2)
	for _, e := range c.Argv[2:] {
		listPush(o, head, e, fill)
	}
	c.Changed(1, pushEvent(head))
	c.Dirty += int64(len(c.Argv) - 3)
	c.Int(int64(listLen(o)))
}

func pushEvent(head bool) string {
	if head {
		return "lpush"
	}
	return "rpush"
}

func popEvent(head bool) string {
	if head {
		return "lpop"
	}
	return "rpop"
}

// listPopped does what follows the removal of n elements from the list of the
// key in argument i: the event, and the end of an empty list.
func listPopped(c *command.Ctx, i int, o *store.Obj, head bool, n int) {
	c.Changed(i, popEvent(head))
	c.Dirty += int64(n) - 1
	listSettle(c, i, o)
}

// listSettle deletes the list of the key in argument i if it is empty, and looks
// whether it may be held as a listpack if not.
func listSettle(c *command.Ctx, i int, o *store.Obj) {
	if listLen(o) == 0 {
		c.Delete(o)
		c.Notify(i, "del")
		return
	}
	listShrink(o, c.Env.Limits().ListSize)
}

// listReplyPopped replies with n elements from an end, in the order in which
// pops would give them.
func listReplyPopped(c *command.Ctx, o *store.Obj, head bool, n int) {
	c.Array(n)
	if head {
		listReplyRange(c, o, 0, n)
		return
	}
	for l := listAt(o, -1, true); n > 0; n-- {
		replyElem(c, l.elem())
		l.next()
	}
}

func listPop(c *command.Ctx, head bool) {
	if len(c.Argv) > 3 {
		c.Error(command.WrongArity(c.Spec.Full))
		return
	}
	count := int64(-1)
	if len(c.Argv) == 3 {
		var ok bool
		if count, ok = command.ParseInt(c.Argv[2]); !ok || count < 0 {
			c.Error(command.ErrMustPositive)
			return
		}
	}
	o := c.Obj(0)
	if !writeList(c, 1, o) {
		return
	}
	switch {
	case !o.Exists() && count < 0:
		c.Null()
		return
	case !o.Exists():
		c.NullArray()
		return
	case count == 0:
		c.Array(0)
		return
	}
	n := 1
	if count < 0 {
		l := listAt(o, endIndex(head), false)
		replyElem(c, l.elem())
	} else {
		n = int(min(count, int64(listLen(o))))
		listReplyPopped(c, o, head, n)
	}
	listDrop(o, head, n)
	listPopped(c, 1, o, head, n)
}

// endIndex is the index of the element at an end.
func endIndex(head bool) int {
	if head {
		return 0
	}
	return -1
}

func llen(c *command.Ctx) {
	o := c.Obj(0)
	if !findList(c, 1, o) {
		return
	}
	n := 0
	if o.Exists() {
		n = listLen(o)
	}
	c.Int(int64(n))
}

// clampRange turns a range as commands give it, inclusive, negative numbers
// counting from the end, into the first index and the count of what is there of
// it among n.
func clampRange(start, stop int64, n int) (first, count int) {
	l := int64(n)
	if start < 0 {
		start = max(start+l, 0)
	}
	if stop < 0 {
		stop += l
	}
	stop = min(stop, l-1)
	if start > stop || start >= l {
		return 0, 0
	}
	return int(start), int(stop - start + 1)
}

func lrange(c *command.Ctx) {
	a := c.ArgsFrom(2)
	start, stop := a.Int(), a.Int()
	o := c.Obj(0)
	if !a.Done() || !findList(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Array(0)
		return
	}
	first, n := clampRange(start, stop, listLen(o))
	c.Array(n)
	listReplyRange(c, o, first, n)
}

// listReplyRange replies with n elements from index first on, a node at a time:
// much of LRANGE is this loop.
func listReplyRange(c *command.Ctx, o *store.Obj, first, n int) {
	if n == 0 {
		return
	}
	if o.Encoding() == store.Listpack {
		p := ds.LP(o.Bytes())
		listReplyRun(c, p, p.Seek(first), n)
		return
	}
	for it := ds.OpenQuicklist(o.Arena(), o.Bytes()).Iter(first, false); n > 0; {
		if p, off, ok := it.Run(); ok {
			k := listReplyRun(c, p, off, n)
			it.SkipRun(k)
			n -= k
		} else {
			replyElem(c, it.Elem())
			it.Next()
			n--
		}
	}
}

// listReplyRun replies with up to n elements of a listpack from off on and
// returns how many there were.
func listReplyRun(c *command.Ctx, p ds.LP, off, n int) int {
	buf := c.Buf
	i := 0
	for end := p.End(); i < n && off < end; i++ {
		if e := p.Get(off); e.IsInt {
			buf = resp.AppendBulkInt(buf, e.Int)
		} else {
			buf = resp.AppendBulk(buf, e.Str)
		}
		off = p.After(off)
	}
	c.Buf = buf
	return i
}

// listIndex reads the index in argument 2 of a list that exists; it replies
// where there is no number. An index no list can have is returned as one beyond
// any list's end.
func listIndex(c *command.Ctx) (int, bool) {
	n, ok := command.ParseInt(c.Argv[2])
	if !ok {
		c.Error(command.ErrNotInteger)
		return 0, false
	}
	return int(max(n, math.MinInt64+1)), true
}

func lindex(c *command.Ctx) {
	o := c.Obj(0)
	if !findList(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Null()
		return
	}
	i, ok := listIndex(c)
	if !ok {
		return
	}
	if l := listAt(o, i, false); l.valid() {
		replyElem(c, l.elem())
	} else {
		c.Null()
	}
}

func lset(c *command.Ctx) {
	o := c.Obj(0)
	if !writeList(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Error(command.ErrNoSuchKey)
		return
	}
	i, ok := listIndex(c)
	if !ok {
		return
	}
	if l := listAt(o, i, false); !l.valid() {
		c.Error(command.ErrIndexRange)
		return
	}
	fill := c.Env.Limits().ListSize
	listReserve(o, fill, len(c.Argv[3]), 1)
	l := listAt(o, i, false)
	l.replace(c.Argv[3], fill)
	listShrink(o, fill)
	c.Changed(1, "lset")
	c.OK()
}

func linsert(c *command.Ctx) {
	after := command.Word(c.Argv[2], "after")
	if !after && !command.Word(c.Argv[2], "before") {
		c.Error(command.ErrSyntax)
		return
	}
	o := c.Obj(0)
	if !writeList(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Int(0)
		return
	}
	pivot := want(c.Argv[3])
	i, l := 0, listAt(o, 0, false)
	for l.valid() && !pivot.is(l.elem()) {
		l.next()
		i++
	}
	if !l.valid() {
		c.Int(-1)
		return
	}
	fill := c.Env.Limits().ListSize
	if was := o.Encoding(); was == store.Listpack {
		if listReserve(o, fill, len(c.Argv[4]), 1); o.Encoding() != was {
			l = listAt(o, i, false)
		}
	}
	l.insert(after, c.Argv[4], fill)
	c.Changed(1, "linsert")
	c.Int(int64(listLen(o)))
}

func lrem(c *command.Ctx) {
	a := c.ArgsFrom(2)
	count := a.Int()
	o := c.Obj(0)
	if !a.Done() || !writeList(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Int(0)
		return
	}
	left := int64(math.MaxInt64) // 0 means all
	switch {
	case count > 0:
		left = count
	case count < 0:
		left = -max(count, math.MinInt64+1)
	}
	back := count < 0
	elem := want(c.Argv[3])
	n := 0
	for l := listAt(o, endIndex(!back), back); l.valid() && left > 0; {
		if elem.is(l.elem()) {
			l.remove()
			n++
			left--
		} else {
			l.next()
		}
	}
	if n > 0 {
		c.Changed(1, "lrem")
		c.Dirty += int64(n) - 1
		listSettle(c, 1, o)
	}
	c.Int(int64(n))
}

func ltrim(c *command.Ctx) {
	a := c.ArgsFrom(2)
	start, stop := a.Int(), a.Int()
	o := c.Obj(0)
	if !a.Done() || !writeList(c, 1, o) {
		return
	}
	if o.Exists() {
		was := listLen(o)
		first, n := clampRange(start, stop, was)
		if cut := was - first - n; cut > 0 {
			listDrop(o, false, cut)
		}
		if first > 0 {
			listDrop(o, true, first)
		}
		c.Changed(1, "ltrim")
		c.Dirty += int64(was-n) - 1
		listSettle(c, 1, o)
	}
	c.OK()
}

func lpos(c *command.Ctx) {
	rank, count, maxLen := int64(1), int64(-1), int64(0)
	a := c.ArgsFrom(3)
	notNegative := func(text string) int64 {
		n := a.IntOr(text)
		if n < 0 {
			a.Fail(text)
		}
		return n
	}
	for a.More() {
		switch {
		case a.Left() > 1 && a.Is("rank"):
			if rank = a.Int(); rank == math.MinInt64 {
				a.Fail("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
			} else if rank == 0 {
				a.Fail("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list")
			}
		case a.Left() > 1 && a.Is("count"):
			count = notNegative("ERR COUNT can't be negative")
		case a.Left() > 1 && a.Is("maxlen"):
			maxLen = notNegative("ERR MAXLEN can't be negative")
		default:
			a.Syntax()
		}
	}
	o := c.Obj(0)
	if !a.Done() || !findList(c, 1, o) {
		return
	}
	m, found := c.Defer(), 0
	if o.Exists() {
		back := rank < 0
		skip := rank - 1
		if back {
			skip = -rank - 1
		}
		elem := want(c.Argv[2])
		n := listLen(o)
		l := listAt(o, endIndex(!back), back)
		for seen := 0; l.valid() && (maxLen == 0 || int64(seen) < maxLen); seen++ {
			if elem.is(l.elem()) {
				if skip > 0 {
					skip--
				} else {
					i := seen
					if back {
						i = n - 1 - seen
					}
					c.Int(int64(i))
					found++
					if count < 0 || int64(found) == count {
						break
					}
				}
			}
			l.next()
		}
	}
	switch {
	case count >= 0:
		c.EndArray(m, found)
	case found == 0:
		c.Null()
	}
}
