package datatypes

import (
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

func zsetPopSpecs() []*command.Spec {
	const (
		pop   = command.RW | command.Access | command.Delete
		many  = "O(M*log(N)), N being the number of members, M the number of those returned."
		multi = "O(K)+O(M*log(N)), K being the number of keys, N that of members, M that of those returned."
	)
	return []*command.Spec{
		{Name: "zpopmin", Group: command.SortedSet, Since: "5.0.0", Arity: -2, Complexity: many,
			Summary: "Removes and returns the members of a sorted set with the lowest scores.", Syntax: "key [count]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(pop), Run: func(c *command.Ctx) { zpop(c, true) }},
		{Name: "zpopmax", Group: command.SortedSet, Since: "5.0.0", Arity: -2, Complexity: many,
			Summary: "Removes and returns the members of a sorted set with the highest scores.", Syntax: "key [count]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(pop), Run: func(c *command.Ctx) { zpop(c, false) }},
		{Name: "bzpopmin", Group: command.SortedSet, Since: "5.0.0", Arity: -3, Complexity: "O(log(N)), N being the number of members.",
			Summary: "Removes and returns the lowest member of the first sorted set that is not empty; waits for one.",
			Syntax:  "key [key ...] timeout", Flags: command.Write | command.NoScript | command.Blocking | command.Fast,
			Keys: command.KeyRange(1, -2, 1, pop), Run: func(c *command.Ctx) { zsetBlockingPop(c, true) }},
		{Name: "bzpopmax", Group: command.SortedSet, Since: "5.0.0", Arity: -3, Complexity: "O(log(N)), N being the number of members.",
			Summary: "Removes and returns the highest member of the first sorted set that is not empty; waits for one.",
			Syntax:  "key [key ...] timeout", Flags: command.Write | command.NoScript | command.Blocking | command.Fast,
			Keys: command.KeyRange(1, -2, 1, pop), Run: func(c *command.Ctx) { zsetBlockingPop(c, false) }},
		{Name: "zmpop", Group: command.SortedSet, Since: "7.0.0", Arity: -4, Complexity: multi,
			Summary: "Removes and returns the lowest or highest members of the first sorted set that is not empty.",
			Syntax:  "numkeys key [key ...] <MIN | MAX> [COUNT count]",
			Flags:   command.Write, Keys: []command.KeySpec{command.KeyCount(1, pop)}, Run: zmpop},
		{Name: "bzmpop", Group: command.SortedSet, Since: "7.0.0", Arity: -5, Complexity: multi,
			Summary: "Removes and returns the lowest or highest members of the first sorted set that is not empty; waits for one.",
			Syntax:  "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
			Flags:   command.Write | command.Blocking, Keys: []command.KeySpec{command.KeyCount(2, pop)}, Run: bzmpop},
	}
}

// zsetTake removes the n lowest or highest members of the set of the key in
// argument i.
func zsetTake(c *command.Ctx, i int, o *store.Obj, low bool, n int) {
	first, event := 0, "zpopmin"
	if !low {
		first, event = zsetLen(o)-n, "zpopmax"
	}
	zsetCut(o, first, n)
	zsetRemoved(c, i, o, event, n)
}

// zsetReplyTaken replies with what zsetTake would remove.
func zsetReplyTaken(c *command.Ctx, o *store.Obj, low bool, n int, pairs bool) {
	first := 0
	if !low {
		first = zsetLen(o) - n
	}
	zsetReply(c, o, first, n, !low, true, pairs)
}

func zpop(c *command.Ctx, low bool) {
	if len(c.Argv) > 3 {
		c.Error(command.ErrSyntax)
		return
	}
	count, given := int64(1), len(c.Argv) == 3
	if given {
		var ok bool
		if count, ok = command.ParseInt(c.Argv[2]); !ok || count < 0 {
			c.Error(command.ErrMustPositive)
			return
		}
	}
	o := c.Obj(0)
	if !writeZSet(c, 1, o) {
		return
	}
	if !o.Exists() || count == 0 {
		c.Array(0)
		return
	}
	n := int(min(count, int64(zsetLen(o))))
	zsetReplyTaken(c, o, low, n, given && c.RESP3())
	zsetTake(c, 1, o, low, n)
}

func zpopCommand(low bool) []byte {
	if low {
		return []byte("ZPOPMIN")
	}
	return []byte("ZPOPMAX")
}

// zsetMultiPop replies with the key in argument i and members of its set.
func zsetMultiPop(c *command.Ctx, i int, o *store.Obj, p *popArgs) {
	n := int(min(p.count, int64(zsetLen(o))))
	c.Array(2)
	c.Bulk(c.Argv[i])
	zsetReplyTaken(c, o, p.low, n, true)
	zsetTake(c, i, o, p.low, n)
	c.Propagate(zpopCommand(p.low), c.Argv[i], strconv.AppendInt(nil, int64(n), 10))
}

func zmpop(c *command.Ctx)  { multiPop(c, store.ZSet, false, "min", "max", zsetMultiPop) }
func bzmpop(c *command.Ctx) { multiPop(c, store.ZSet, true, "min", "max", zsetMultiPop) }

func zsetBlockingPop(c *command.Ctx, low bool) {
	last := len(c.Argv) - 1
	ms, ok := blockTimeout(c, last)
	if !ok {
		return
	}
	o := c.Obj(0)
	i, ok := popKey(c, o, store.ZSet, 1, last-1)
	if !ok {
		return
	}
	if i == 0 {
		if !c.Block(ms, true, positions(1, last-1)...) {
			c.NullArray()
		}
		return
	}
	c.Array(3)
	c.Bulk(c.Argv[i])
	rank := 0
	if !low {
		rank = zsetLen(o) - 1
	}
	z := zsetAt(o, rank, false)
	zsetReplyMember(c, z.member(), z.score(), true, false)
	zsetTake(c, i, o, low, 1)
	c.Propagate(zpopCommand(low), c.Argv[i])
}
