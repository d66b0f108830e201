package datatypes

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

func zsetRangeSpecs() []*command.Spec {
	const (
		span    = "O(log(N)+M), N being the number of members, M the number of those returned."
		count   = "O(log(N)), N being the number of members."
		removal = "O(M*log(N)), N being the number of members, M the number of those removed."
	)
	read := func() []command.KeySpec { return command.OneKey(command.RO | command.Access) }
	remove := func() []command.KeySpec { return command.OneKey(command.RW | command.Delete) }
	ranging := func(form zform, back bool) func(*command.Ctx) {
		return func(c *command.Ctx) { zrangeFrom(c, 1, zrangeOptions{form: form, back: back}) }
	}
	return []*command.Spec{
		{Name: "zrange", Group: command.SortedSet, Since: "1.2.0", Arity: -4, Complexity: span,
			Summary: "Returns the members of a sorted set in a range of ranks, scores or names.",
			Syntax:  "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
			Flags:   command.ReadOnly, Keys: read(), Run: func(c *command.Ctx) { zrangeFrom(c, 1, zrangeOptions{free: true}) }},
		{Name: "zrangestore", Group: command.SortedSet, Since: "6.2.0", Arity: -5,
			Complexity: "O(log(N)+M*log(M)), N being the number of members, M the number of those stored.",
			Summary:    "Stores the members of a sorted set in a range of ranks, scores or names.",
			Syntax:     "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
			Flags:      command.Write | command.DenyOOM,
			Keys: []command.KeySpec{command.KeyAt(1, command.OW|command.Update),
				command.KeyAt(2, command.RO|command.Access)},
			Run: func(c *command.Ctx) { zrangeFrom(c, 2, zrangeOptions{free: true, store: true}) }},
		{Name: "zrangebyscore", Group: command.SortedSet, Since: "1.0.5", Arity: -4, Complexity: span,
			Summary: "Returns the members of a sorted set in a range of scores.",
			Syntax:  "key min max [WITHSCORES] [LIMIT offset count]",
			Flags:   command.ReadOnly, Keys: read(), Run: ranging(zbyScore, false)},
		{Name: "zrevrangebyscore", Group: command.SortedSet, Since: "2.2.0", Arity: -4, Complexity: span,
			Summary: "Returns the members of a sorted set in a range of scores, highest first.",
			Syntax:  "key max min [WITHSCORES] [LIMIT offset count]",
			Flags:   command.ReadOnly, Keys: read(), Run: ranging(zbyScore, true)},
		{Name: "zrangebylex", Group: command.SortedSet, Since: "2.8.9", Arity: -4, Complexity: span,
			Summary: "Returns the members of a sorted set of equal scores in a range of names.",
			Syntax:  "key min max [LIMIT offset count]",
			Flags:   command.ReadOnly, Keys: read(), Run: ranging(zbyLex, false)},
		{Name: "zrevrangebylex", Group: command.SortedSet, Since: "2.8.9", Arity: -4, Complexity: span,
			Summary: "Returns the members of a sorted set of equal scores in a range of names, highest first.",
			Syntax:  "key max min [LIMIT offset count]",
			Flags:   command.ReadOnly, Keys: read(), Run: ranging(zbyLex, true)},
		{Name: "zrevrange", Group: command.SortedSet, Since: "1.2.0", Arity: -4, Complexity: span,
			Summary: "Returns the members of a sorted set in a range of ranks, highest score first.",
			Syntax:  "key start stop [WITHSCORES]",
			Flags:   command.ReadOnly, Keys: read(), Run: ranging(zbyRank, true)},
		{Name: "zcount", Group: command.SortedSet, Since: "2.0.0", Arity: 4, Complexity: count,
			Summary: "Counts the members of a sorted set in a range of scores.", Syntax: "key min max",
			Flags: command.ReadOnly | command.Fast, Keys: read(), Run: func(c *command.Ctx) { zcount(c, zbyScore) }},
		{Name: "zlexcount", Group: command.SortedSet, Since: "2.8.9", Arity: 4, Complexity: count,
			Summary: "Counts the members of a sorted set of equal scores in a range of names.", Syntax: "key min max",
			Flags: command.ReadOnly | command.Fast, Keys: read(), Run: func(c *command.Ctx) { zcount(c, zbyLex) }},
		{Name: "zremrangebyrank", Group: command.SortedSet, Since: "2.0.0", Arity: 4, Complexity: removal,
			Summary: "Removes the members of a sorted set in a range of ranks.", Syntax: "key start stop",
			Flags: command.Write, Keys: remove(), Run: func(c *command.Ctx) { zremrange(c, zbyRank) }},
		{Name: "zremrangebyscore", Group: command.SortedSet, Since: "1.2.0", Arity: 4, Complexity: removal,
			Summary: "Removes the members of a sorted set in a range of scores.", Syntax: "key min max",
			Flags: command.Write, Keys: remove(), Run: func(c *command.Ctx) { zremrange(c, zbyScore) }},
		{Name: "zremrangebylex", Group: command.SortedSet, Since: "2.8.9", Arity: 4, Complexity: removal,
			Summary: "Removes the members of a sorted set of equal scores in a range of names.", Syntax: "key min max",
			Flags: command.Write, Keys: remove(), Run: func(c *command.Ctx) { zremrange(c, zbyLex) }},
	}
}

// zform says what the ends of a range are.
type zform uint8

const (
	zbyRank zform = iota
	zbyScore
	zbyLex
)

// zspan is a range of a sorted set. Whatever its form, the members in it have
// neighbouring ranks, so every command on a range begins with in.
type zspan struct {
	form             zform
	start, stop      int64 // by rank
	min, max         float64
	minLex, maxLex   []byte
	minEnd, maxEnd   int8 // by lex: -1 for "-", 1 for "+", then the text is not used
	minOpen, maxOpen bool // the end itself is not in the range
}

// parseSpan reads the ends of a range; where they are wrong it replies and
// returns false.
func parseSpan(c *command.Ctx, form zform, low, high []byte) (s zspan, ok bool) {
	s.form = form
	ok1, ok2 := false, false
	switch form {
	case zbyRank:
		s.start, ok1 = command.ParseInt(low)
		s.stop, ok2 = command.ParseInt(high)
		if !ok1 || !ok2 {
			c.Error(command.ErrNotInteger)
		}
	case zbyScore:
		s.min, s.minOpen, ok1 = scoreEnd(low)
		s.max, s.maxOpen, ok2 = scoreEnd(high)
		if !ok1 || !ok2 {
			c.Error("ERR min or max is not a float")
		}
	case zbyLex:
		s.minLex, s.minEnd, s.minOpen, ok1 = lexEnd(low)
		s.maxLex, s.maxEnd, s.maxOpen, ok2 = lexEnd(high)
		if !ok1 || !ok2 {
			c.Error("ERR min or max not valid string range item")
		}
	}
	return s, ok1 && ok2
}

// scoreEnd reads an end of a range of scores: a number as strtod takes it, which
// means that no digits are 0 and 1e999 is infinite, with "(" ahead if the number
// itself is not in the range.
func scoreEnd(b []byte) (f float64, open, ok bool) {
	if open = len(b) > 0 && b[0] == '('; open {
		b = b[1:]
	}
	if n, isInt := command.ParseInt(b); isInt {
		return float64(n), open, true
	}
	text := strings.TrimLeft(string(b), " \t\n\v\f\r")
	if len(b) == 0 {
		return 0, open, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(f) || strings.Contains(text, "_") {
		return 0, false, false
	}
	return f, open, true
}

// lexEnd reads an end of a range of names: "-", "+", "[name" or "(name".
func lexEnd(b []byte) (name []byte, end int8, open, ok bool) {
	switch {
	case len(b) == 1 && b[0] == '-':
		return nil, -1, false, true
	case len(b) == 1 && b[0] == '+':
		return nil, 1, false, true
	case len(b) > 0 && (b[0] == '[' || b[0] == '('):
		return b[1:], 0, b[0] == '(', true
	}
	return nil, 0, false, false
}

// in returns the first rank of the range in a sorted set and the number of
// members in it.
func (s *zspan) in(o *store.Obj) (first, n int) {
	if s.form == zbyRank {
		return clampRange(s.start, s.stop, zsetLen(o))
	}
	var end int
	if o.Encoding() == store.Listpack {
		p, rank := ds.LP(o.Bytes()), 0
		first = -1
		for off := p.First(); off >= 0; rank++ {
			scoreOff := p.After(off)
			if first < 0 && s.aboveMin(p, off, scoreOff) {
				first = rank
			}
			if first >= 0 && !s.belowMax(p, off, scoreOff) {
				break
			}
			off = p.Next(scoreOff)
		}
		end = rank
		if first < 0 {
			first = end
		}
	} else {
		z := zsetTree(o)
		switch {
		case s.form == zbyScore:
			first, end = z.CountBelow(s.min, s.minOpen), z.CountBelow(s.max, !s.maxOpen)
		default:
			first, end = lexRank(z, s.minLex, s.minEnd, s.minOpen), lexRank(z, s.maxLex, s.maxEnd, !s.maxOpen)
		}
	}
	return first, max(end-first, 0)
}

// lexRank returns the number of members below an end of a range of names.
func lexRank(z ds.ZSet, name []byte, end int8, orEqual bool) int {
	switch end {
	case -1:
		return 0
	case 1:
		return z.Len()
	}
	return z.CountBelowLex(name, orEqual)
}

// aboveMin reports whether the member of a listpack at off is not below the
// range.
func (s *zspan) aboveMin(p ds.LP, off, scoreOff int) bool {
	if s.form == zbyScore {
		f := p.ZScore(scoreOff)
		return f > s.min || f == s.min && !s.minOpen
	}
	if s.minEnd != 0 {
		return s.minEnd < 0
	}
	cmp := ds.CompareElem(p.Get(off), s.minLex)
	return cmp > 0 || cmp == 0 && !s.minOpen
}

// belowMax reports whether the member of a listpack at off is not above the
// range.
func (s *zspan) belowMax(p ds.LP, off, scoreOff int) bool {
	if s.form == zbyScore {
		f := p.ZScore(scoreOff)
		return f < s.max || f == s.max && !s.maxOpen
	}
	if s.maxEnd != 0 {
		return s.maxEnd > 0
	}
	cmp := ds.CompareElem(p.Get(off), s.maxLex)
	return cmp < 0 || cmp == 0 && !s.maxOpen
}

// zrangeOptions are what a command of the ZRANGE family sets, or, with free,
// leaves to its arguments.
type zrangeOptions struct {
	form  zform
	back  bool
	free  bool // BYSCORE, BYLEX and REV are options
	store bool // into the key in argument 1
}

// zrangeFrom runs a command of the ZRANGE family whose source is in argument at.
func zrangeFrom(c *command.Ctx, at int, opt zrangeOptions) {
	scores, offset, limit := false, int64(0), int64(-1)
	formGiven, backGiven := !opt.free, !opt.free
	a := c.ArgsFrom(at + 3)
	for a.More() {
		switch {
		case !opt.store && a.Is("withscores"):
			scores = true
		case a.Left() > 2 && a.Is("limit"):
			offset, limit = a.Int(), a.Int()
		case !backGiven && a.Is("rev"):
			opt.back, backGiven = true, true
		case !formGiven && a.Is("bylex"):
			opt.form, formGiven = zbyLex, true
		case !formGiven && a.Is("byscore"):
			opt.form, formGiven = zbyScore, true
		default:
			a.Syntax()
		}
	}
	if limit != -1 && opt.form == zbyRank {
		a.Fail("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
	}
	if scores && opt.form == zbyLex {
		a.Fail("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
	}
	if !a.Done() {
		return
	}
	low, high := c.Argv[at+1], c.Argv[at+2]
	if opt.back && opt.form != zbyRank {
		low, high = high, low
	}
	s, ok := parseSpan(c, opt.form, low, high)
	if !ok {
		return
	}
	o := c.Obj(0)
	if !findZSet(c, at, o) {
		return
	}
	first, n := 0, 0
	if o.Exists() {
		first, n = s.in(o)
		if opt.back && opt.form == zbyRank {
			first = zsetLen(o) - first - n
		}
	}
	if opt.form != zbyRank {
		switch l := int64(n); {
		case offset < 0 || offset >= l:
			n = 0
		default:
			n -= int(offset)
			if !opt.back {
				first += int(offset)
			}
			if limit >= 0 && limit < int64(n) {
				if opt.back {
					first += n - int(limit)
				}
				n = int(limit)
			}
		}
	}
	if !opt.store {
		zsetReply(c, o, first, n, opt.back, scores, c.RESP3())
		return
	}
	var r zsetResult
	if n > 0 {
		for z := zsetAt(o, first, false); n > 0; n-- {
			r.add(z.member(), z.score())
			z.next()
		}
	}
	r.store(c, 1, "zrangestore")
}

func zcount(c *command.Ctx, form zform) {
	s, ok := parseSpan(c, form, c.Argv[2], c.Argv[3])
	o := c.Obj(0)
	if !ok || !findZSet(c, 1, o) {
		return
	}
	n := 0
	if o.Exists() {
		_, n = s.in(o)
	}
	c.Int(int64(n))
}

func zremrange(c *command.Ctx, form zform) {
	s, ok := parseSpan(c, form, c.Argv[2], c.Argv[3])
	o := c.Obj(0)
	if !ok || !writeZSet(c, 1, o) {
		return
	}
	n := 0
	if o.Exists() {
		var first int
		if first, n = s.in(o); n > 0 {
			zsetCut(o, first, n)
			zsetRemoved(c, 1, o, c.Spec.Name, n)
		}
	}
	c.Int(int64(n))
}
