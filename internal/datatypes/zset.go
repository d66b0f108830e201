package datatypes

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// zsetSpecs are the commands on sorted sets: those on single members here, ranges
// in zsetrange.go, pops in zsetpop.go, operations on several in zsetop.go.
func zsetSpecs() []*command.Spec {
	const (
		logN   = "O(log(N)), N being the number of members."
		logNM  = "O(M*log(N)), N being the number of members, M the number of those named."
		fastRO = command.ReadOnly | command.Fast
	)
	read := func() []command.KeySpec { return command.OneKey(command.RO | command.Access) }
	return slices.Concat([]*command.Spec{
		{Name: "zadd", Group: command.SortedSet, Since: "1.2.0", Arity: -4, Complexity: logNM,
			Summary: "Adds members to a sorted set, or gives them new scores; creates the set if there is none.",
			Syntax:  "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
			Flags:   command.Write | command.DenyOOM | command.Fast, Keys: command.OneKey(command.RW | command.Update), Run: zadd},
		{Name: "zincrby", Group: command.SortedSet, Since: "1.2.0", Arity: 4, Complexity: logN,
			Summary: "Adds a number to the score of a member; a missing member has 0.", Syntax: "key increment member",
			Flags: command.Write | command.DenyOOM | command.Fast,
			Keys:  command.OneKey(command.RW | command.Access | command.Update),
			Run:   func(c *command.Ctx) { zaddFrom(c, 2, zaddIncr) }},
		{Name: "zrem", Group: command.SortedSet, Since: "1.2.0", Arity: -3, Complexity: logNM,
			Summary: "Removes members of a sorted set.", Syntax: "key member [member ...]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(command.RW | command.Delete), Run: zrem},
		{Name: "zscore", Group: command.SortedSet, Since: "1.2.0", Arity: 3, Complexity: "O(1)",
			Summary: "Returns the score of a member of a sorted set.", Syntax: "key member",
			Flags: fastRO, Keys: read(), Run: zscore},
		{Name: "zmscore", Group: command.SortedSet, Since: "6.2.0", Arity: -3, Complexity: "O(N), N being the number of members named.",
			Summary: "Returns the scores of members of a sorted set.", Syntax: "key member [member ...]",
			Flags: fastRO, Keys: read(), Run: zmscore},
		{Name: "zcard", Group: command.SortedSet, Since: "1.2.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the number of members of a sorted set.", Syntax: "key",
			Flags: fastRO, Keys: command.OneKey(command.RO), Run: zcard},
		{Name: "zrank", Group: command.SortedSet, Since: "2.0.0", Arity: -3, Complexity: logN,
			Summary: "Returns the rank of a member of a sorted set, by ascending score.", Syntax: "key member [WITHSCORE]",
			Flags: fastRO, Keys: read(), Run: func(c *command.Ctx) { zrank(c, false) }},
		{Name: "zrevrank", Group: command.SortedSet, Since: "2.0.0", Arity: -3, Complexity: logN,
			Summary: "Returns the rank of a member of a sorted set, by descending score.", Syntax: "key member [WITHSCORE]",
			Flags: fastRO, Keys: read(), Run: func(c *command.Ctx) { zrank(c, true) }},
		{Name: "zrandmember", Group: command.SortedSet, Since: "6.2.0", Arity: -2, Complexity: "O(N), N being the number of members returned.",
			Summary: "Returns random members of a sorted set.", Syntax: "key [count [WITHSCORES]]",
			Flags: command.ReadOnly, Keys: read(), Tips: []string{"nondeterministic_output"}, Run: zrandmember},
		{Name: "zscan", Group: command.SortedSet, Since: "2.8.0", Arity: -3,
			Complexity: "O(1) for each call, O(N) for a whole iteration, N being the number of members.",
			Summary:    "Iterates over the members of a sorted set with their scores, some at each call.",
			Syntax:     "key cursor [MATCH pattern] [COUNT count]",
			Flags:      command.ReadOnly, Keys: read(), Tips: []string{"nondeterministic_output"}, Run: zscan},
	}, zsetRangeSpecs(), zsetPopSpecs(), zsetOpSpecs())
}

// findZSet is Find for a sorted set. It returns false, having replied, if the
// key holds something else; without a key o does not exist.
func findZSet(c *command.Ctx, i int, o *store.Obj) bool {
	c.Find(i, o)
	return c.Typed(o, store.ZSet)
}

// writeZSet is findZSet for a set that will be changed.
func writeZSet(c *command.Ctx, i int, o *store.Obj) bool {
	c.FindWrite(i, o)
	return c.Typed(o, store.ZSet)
}

// The options of ZADD.
const (
	zaddNX = 1 << iota
	zaddXX
	zaddGT
	zaddLT
	zaddCH
	zaddIncr
)

func zadd(c *command.Ctx) {
	flags := 0
	a := c.ArgsFrom(2)
	for {
		switch {
		case a.Is("nx"):
			flags |= zaddNX
		case a.Is("xx"):
			flags |= zaddXX
		case a.Is("gt"):
			flags |= zaddGT
		case a.Is("lt"):
			flags |= zaddLT
		case a.Is("ch"):
			flags |= zaddCH
		case a.Is("incr"):
			flags |= zaddIncr
		default:
			zaddFrom(c, a.Pos(), flags)
			return
		}
	}
}

// zaddFrom is ZADD with the pairs of score and member from position at on.
func zaddFrom(c *command.Ctx, at, flags int) {
	pairs := c.Argv[at:]
	n := len(pairs) / 2
	switch has := func(f int) bool { return flags&f != 0 }; {
	case n == 0 || len(pairs)%2 != 0:
		c.Error(command.ErrSyntax)
		return
	case has(zaddNX) && has(zaddXX):
		c.Error("ERR XX and NX options at the same time are not compatible")
		return
	case has(zaddNX) && has(zaddGT|zaddLT) || has(zaddGT) && has(zaddLT):
		c.Error("ERR GT, LT, and/or NX options at the same time are not compatible")
		return
	case has(zaddIncr) && n > 1:
		c.Error("ERR INCR option supports a single increment-element pair")
		return
	}
	var few [16]float64
	scores, longest := few[:0], 0
	for i := 0; i < len(pairs); i += 2 {
		f, ok := command.ParseFloat(pairs[i])
		if !ok {
			c.Error(command.ErrNotFloat)
			return
		}
		scores = append(scores, f)
		longest = max(longest, len(pairs[i+1]))
	}

	o, l := c.Obj(0), c.Env.Limits()
	if !writeZSet(c, 1, o) {
		return
	}
	if !o.Exists() {
		if flags&zaddXX != 0 {
			if flags&zaddIncr != 0 {
				c.Null()
			} else {
				c.Int(0)
			}
			return
		}
		zsetCreate(c, 1, o, n, longest)
	} else if o.Encoding() == store.Listpack && n > l.ZSetEntries {
		zsetGrow(o)
	}

	added, updated := 0, 0
	for i, score := range scores {
		member := pairs[2*i+1]
		if flags&^zaddCH != 0 {
			old, exists := zsetScore(o, member)
			if exists && flags&zaddIncr != 0 {
				if score += old; math.IsNaN(score) && flags&zaddNX == 0 {
					c.Error("ERR resulting score is not a number (NaN)")
					return
				}
			}
			if exists && (flags&zaddNX != 0 || flags&zaddGT != 0 && score <= old || flags&zaddLT != 0 && score >= old) ||
				!exists && flags&zaddXX != 0 {
				if flags&zaddIncr != 0 {
					c.Null()
					return
				}
				continue
			}
		}
		isNew, changed := zsetPut(l, o, member, score)
		added += int(boolInt(isNew))
		updated += int(boolInt(changed))
		scores[i] = score
	}
	if added+updated > 0 {
		event := "zadd"
		if flags&zaddIncr != 0 {
			event = "zincr"
		}
		c.Changed(1, event)
		c.Dirty += int64(added+updated) - 1
	}
	switch {
	case flags&zaddIncr != 0:
		c.Double(scores[0])
	case flags&zaddCH != 0:
		c.Int(int64(added + updated))
	default:
		c.Int(int64(added))
	}
}

// zsetRemoved does what follows the removal of n members: the event, and the end
// of an empty set.
func zsetRemoved(c *command.Ctx, i int, o *store.Obj, event string, n int) {
	c.Changed(i, event)
	c.Dirty += int64(n) - 1
	if zsetLen(o) == 0 {
		c.Delete(o)
		c.Notify(i, "del")
	}
}

func zrem(c *command.Ctx) {
	o := c.Obj(0)
	if !writeZSet(c, 1, o) {
		return
	}
	n := 0
	if o.Exists() {
		for _, m := range c.Argv[2:] {
			n += int(boolInt(zsetRemove(o, m)))
		}
		if n > 0 {
			zsetRemoved(c, 1, o, "zrem", n)
		}
	}
	c.Int(int64(n))
}

func zscore(c *command.Ctx) {
	o := c.Obj(0)
	if findZSet(c, 1, o) {
		zsetReplyScore(c, o, c.Argv[2])
	}
}

// zsetReplyScore replies with a member's score, null without the member, or
// without the set.
func zsetReplyScore(c *command.Ctx, o *store.Obj, member []byte) {
	if o.Exists() {
		if f, ok := zsetScore(o, member); ok {
			c.Double(f)
			return
		}
	}
	c.Null()
}

func zmscore(c *command.Ctx) {
	o := c.Obj(0)
	if !findZSet(c, 1, o) {
		return
	}
	c.Array(len(c.Argv) - 2)
	for _, m := range c.Argv[2:] {
		zsetReplyScore(c, o, m)
	}
}

func zcard(c *command.Ctx) {
	o := c.Obj(0)
	if !findZSet(c, 1, o) {
		return
	}
	n := 0
	if o.Exists() {
		n = zsetLen(o)
	}
	c.Int(int64(n))
}

func zrank(c *command.Ctx, back bool) {
	if len(c.Argv) > 4 {
		c.Error(command.WrongArity(c.Spec.Full))
		return
	}
	withScore := len(c.Argv) == 4
	if withScore && !command.Word(c.Argv[3], "withscore") {
		c.Error(command.ErrSyntax)
		return
	}
	o := c.Obj(0)
	if !findZSet(c, 1, o) {
		return
	}
	rank, ok := 0, false
	if o.Exists() {
		rank, ok = zsetRank(o, c.Argv[2])
	}
	if !ok {
		if withScore {
			c.NullArray()
		} else {
			c.Null()
		}
		return
	}
	if back {
		rank = zsetLen(o) - 1 - rank
	}
	if withScore {
		c.Array(2)
	}
	c.Int(int64(rank))
	if withScore {
		zsetReplyScore(c, o, c.Argv[2])
	}
}

func zrandmember(c *command.Ctx) {
	o := c.Obj(0)
	if len(c.Argv) == 2 {
		if !findZSet(c, 1, o) {
			return
		}
		if !o.Exists() {
			c.Null()
			return
		}
		z := zsetAt(o, rand.IntN(zsetLen(o)), false)
		replyElem(c, z.member())
		return
	}
	count, ok := randomCount(c, c.Argv[2])
	if !ok {
		return
	}
	scores := len(c.Argv) == 4 && command.Word(c.Argv[3], "withscores")
	if len(c.Argv) > 3 && !scores {
		c.Error(command.ErrSyntax)
		return
	}
	if scores && (count < -math.MaxInt64/2 || count > math.MaxInt64/2) {
		c.Error(command.ErrOutOfRange)
		return
	}
	if !findZSet(c, 1, o) {
		return
	}
	if !o.Exists() || count == 0 {
		c.Array(0)
		return
	}
	n := zsetLen(o)
	at := func(rank int) {
		z := zsetAt(o, rank, false)
		zsetReplyMember(c, z.member(), z.score(), scores, c.RESP3())
	}
	if count < 0 { // with repetition
		zsetReplyHeader(c, int(-count), scores, c.RESP3())
		for range -count {
			at(rand.IntN(n))
		}
		return
	}
	s := sampler{want: int(min(count, int64(n))), n: n}
	zsetReplyHeader(c, s.want, scores, c.RESP3())
	if s.sparse() {
		drawn := make(map[int]struct{}, s.want)
		for len(drawn) < s.want {
			rank := rand.IntN(n)
			if _, dup := drawn[rank]; !dup {
				drawn[rank] = struct{}{}
				at(rank)
			}
		}
		return
	}
	for z := zsetAt(o, 0, false); s.want > 0; z.next() {
		if s.take() {
			zsetReplyMember(c, z.member(), z.score(), scores, c.RESP3())
		}
	}
}

func zscan(c *command.Ctx) {
	o := c.Obj(0)
	s, ok := parseElementScan(c, store.ZSet, o)
	if !ok {
		return
	}
	start := c.Defer()
	n, seen, next := 0, 0, uint64(0)
	var tmp [40]byte
	if o.Encoding() == store.Listpack { // small: all at once
		for z := zsetAt(o, 0, false); z.valid(); z.next() {
			if e := z.member(); s.takes(elemText(e, tmp[:])) {
				replyElem(c, e)
				c.Bulk(resp.AppendDouble(tmp[:0], z.score()))
				n += 2
			}
		}
	} else {
		t := zsetTree(o)
		next = s.walk(func(cursor uint64) uint64 {
			return t.Scan(cursor, func(member []byte, score float64) {
				seen++
				if s.takes(member) {
					c.Bulk(member)
					c.Bulk(appendLongDouble(tmp[:0], score))
					n += 2
				}
			})
		}, &seen)
	}
	c.EndArray(start, n)
	endCursor(c, start, next)
}

// appendLongDouble appends f as ZSCAN prints the scores of large sets: with 17
// digits, printf's "%.17Lg".
func appendLongDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	}
	return strconv.AppendFloat(dst, f, 'g', 17, 64)
}

// zsetElems visits the members of a sorted set upward.
func zsetElems(o *store.Obj, visit func(member ds.Elem, score float64) bool) {
	for z := zsetAt(o, 0, false); z.valid(); z.next() {
		if !visit(z.member(), z.score()) {
			return
		}
	}
}
