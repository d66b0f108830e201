package datatypes

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

func zsetOpSpecs() []*command.Spec {
	const (
		union = "O(N+M*log(M)), N being the number of members of all sets, M that of the result."
		inter = "O(N*K+M*log(M)), N being the number of members of the smallest set, K the number of sets, M that of members of the result."
		diff  = "O(N*K+M*log(M)), N being the number of members of the first set, K the number of sets, M that of members of the result."

		weights = " [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]"
		keys    = "numkeys key [key ...]"
		stored  = command.Write | command.DenyOOM
	)
	read := func() []command.KeySpec { return []command.KeySpec{command.KeyCount(1, command.RO|command.Access)} }
	write := func() []command.KeySpec {
		return []command.KeySpec{command.KeyAt(1, command.OW|command.Update), command.KeyCount(2, command.RO|command.Access)}
	}
	run := func(op zop, store bool) func(*command.Ctx) {
		return func(c *command.Ctx) { zsetOp(c, op, store) }
	}
	return []*command.Spec{
		{Name: "zunion", Group: command.SortedSet, Since: "6.2.0", Arity: -3, Complexity: union,
			Summary: "Returns the members that any of the sorted sets has.", Syntax: keys + weights + " [WITHSCORES]",
			Flags: command.ReadOnly, Keys: read(), Run: run(zunion, false)},
		{Name: "zunionstore", Group: command.SortedSet, Since: "2.0.0", Arity: -4, Complexity: union,
			Summary: "Stores the members that any of the sorted sets has.", Syntax: "destination " + keys + weights,
			Flags: stored, Keys: write(), Run: run(zunion, true)},
		{Name: "zinter", Group: command.SortedSet, Since: "6.2.0", Arity: -3, Complexity: inter,
			Summary: "Returns the members that all of the sorted sets have.", Syntax: keys + weights + " [WITHSCORES]",
			Flags: command.ReadOnly, Keys: read(), Run: run(zinter, false)},
		{Name: "zinterstore", Group: command.SortedSet, Since: "2.0.0", Arity: -4, Complexity: inter,
			Summary: "Stores the members that all of the sorted sets have.", Syntax: "destination " + keys + weights,
			Flags: stored, Keys: write(), Run: run(zinter, true)},
		{Name: "zintercard", Group: command.SortedSet, Since: "7.0.0", Arity: -3,
			Complexity: "O(N*K), N being the number of members of the smallest set, K the number of sets.",
			Summary:    "Returns the number of members that all of the sorted sets have.", Syntax: keys + " [LIMIT limit]",
			Flags: command.ReadOnly, Keys: read(), Run: run(zintercard, false)},
		{Name: "zdiff", Group: command.SortedSet, Since: "6.2.0", Arity: -3, Complexity: diff,
			Summary: "Returns the members of the first sorted set that none of the others has.", Syntax: keys + " [WITHSCORES]",
			Flags: command.ReadOnly, Keys: read(), Run: run(zdiff, false)},
		{Name: "zdiffstore", Group: command.SortedSet, Since: "6.2.0", Arity: -4, Complexity: diff,
			Summary: "Stores the members of the first sorted set that none of the others has.", Syntax: "destination " + keys,
			Flags: stored, Keys: write(), Run: run(zdiff, true)},
	}
}

// zop is an operation on several sets.
type zop uint8

const (
	zunion zop = iota
	zinter
	zintercard
	zdiff
)

// zsource is a set that an operation reads: a sorted set, or a plain set, whose
// members then have the score 1. Without a key it is empty.
type zsource struct {
	o      store.Obj
	weight float64
}

func (s *zsource) len() int {
	switch {
	case !s.o.Exists():
		return 0
	case s.o.Type() == store.ZSet:
		return zsetLen(&s.o)
	}
	return setLen(&s.o)
}

// each visits the members, until visit returns false.
func (s *zsource) each(visit func(member ds.Elem, score float64) bool) {
	switch {
	case !s.o.Exists():
	case s.o.Type() == store.ZSet:
		zsetElems(&s.o, visit)
	default:
		setEach(&s.o, func(e ds.Elem) bool { return visit(e, 1) })
	}
}

func (s *zsource) score(member []byte) (float64, bool) {
	switch {
	case !s.o.Exists():
		return 0, false
	case s.o.Type() == store.ZSet:
		return zsetScore(&s.o, member)
	}
	return 1, setHas(&s.o, member)
}

// weighted returns score times the weight; infinity times 0 is 0.
func (s *zsource) weighted(score float64) float64 { return notNaN(s.weight * score) }

func notNaN(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return f
}

// zaggregate makes one score of two; sums of opposite infinities are 0.
type zaggregate func(a, b float64) float64

func zsum(a, b float64) float64 { return notNaN(a + b) }
func zmin(a, b float64) float64 { return min(a, b) }
func zmax(a, b float64) float64 { return max(a, b) }

func zsetOp(c *command.Ctx, op zop, stored bool) {
	at := 1
	if stored {
		at = 2
	}
	n, ok := command.ParseInt(c.Argv[at])
	switch {
	case !ok:
		c.Error(command.ErrNotInteger)
		return
	case n < 1:
		c.Error("ERR at least 1 input key is needed for '" + c.Spec.Full + "' command")
		return
	case n > int64(len(c.Argv)-at-1):
		c.Error(command.ErrSyntax)
		return
	}
	sources := make([]zsource, n)
	for i := range sources {
		s := &sources[i]
		s.weight = 1
		if c.Find(at+1+i, &s.o) && s.o.Type() != store.ZSet && s.o.Type() != store.Set {
			c.Error(command.ErrWrongType)
			return
		}
	}

	aggregate, scores, limit := zaggregate(zsum), false, int64(0)
	combines := op == zunion || op == zinter
	a := c.ArgsFrom(at + 1 + int(n))
	for a.More() {
		switch {
		case combines && a.Left() > int(n) && a.Is("weights"):
			for i := range sources {
				w, ok := command.ParseFloat(a.Next())
				if !ok {
					a.Fail("ERR weight value is not a float")
				}
				sources[i].weight = w
			}
		case combines && a.Left() > 1 && a.Is("aggregate"):
			switch {
			case a.Is("sum"):
				aggregate = zsum
			case a.Is("min"):
				aggregate = zmin
			case a.Is("max"):
				aggregate = zmax
			default:
				a.Syntax()
			}
		case !stored && op != zintercard && a.Is("withscores"):
			scores = true
		case op == zintercard && a.Left() > 1 && a.Is("limit"):
			if limit = a.IntOr("ERR LIMIT can't be negative"); limit < 0 {
				a.Fail("ERR LIMIT can't be negative")
			}
		default:
			a.Syntax()
		}
	}
	if !a.Done() {
		return
	}

	var r zsetResult
	switch op {
	case zunion:
		zsetUnion(&r, sources, aggregate)
	case zdiff:
		zsetDiff(&r, sources)
	case zinter:
		zsetInter(sources, aggregate, func(e ds.Elem, score float64) bool {
			r.add(e, score)
			return true
		})
	case zintercard:
		common := int64(0)
		zsetInter(sources, aggregate, func(ds.Elem, float64) bool {
			common++
			return common != limit
		})
		c.Int(common)
		return
	}
	slices.SortFunc(r.entries, func(a, b zentry) int {
		if by := cmp.Compare(a.score, b.score); by != 0 {
			return by
		}
		return bytes.Compare(a.member, b.member)
	})
	if stored {
		r.store(c, 1, c.Spec.Name)
		return
	}
	zsetReplyHeader(c, len(r.entries), scores, c.RESP3())
	for _, e := range r.entries {
		zsetReplyMember(c, ds.Elem{Str: e.member}, e.score, scores, c.RESP3())
	}
}

// bySize orders sources by their number of members: sums of scores depend on the
// order in which they are added.
func bySize(sources []zsource) {
	slices.SortStableFunc(sources, func(a, b zsource) int { return cmp.Compare(a.len(), b.len()) })
}

func zsetUnion(r *zsetResult, sources []zsource, aggregate zaggregate) {
	bySize(sources)
	total := 0
	for i := range sources {
		total = max(total, sources[i].len())
	}
	r.entries = make([]zentry, 0, total)
	place := make(map[string]int, total)
	var tmp [20]byte
	for i := range sources {
		s := &sources[i]
		s.each(func(e ds.Elem, score float64) bool {
			score = s.weighted(score)
			text := elemText(e, tmp[:])
			if at, ok := place[string(text)]; ok {
				r.entries[at].score = aggregate(r.entries[at].score, score)
				return true
			}
			place[string(text)] = len(r.entries)
			r.add(e, score)
			return true
		})
	}
}

func zsetInter(sources []zsource, aggregate zaggregate, visit func(e ds.Elem, score float64) bool) {
	bySize(sources)
	var tmp [20]byte
	sources[0].each(func(e ds.Elem, score float64) bool {
		score = sources[0].weighted(score)
		text := elemText(e, tmp[:])
		for i := range sources[1:] {
			s := &sources[1+i]
			other, ok := s.score(text)
			if !ok {
				return true
			}
			score = aggregate(score, s.weighted(other))
		}
		return visit(e, score)
	})
}

func zsetDiff(r *zsetResult, sources []zsource) {
	var tmp [20]byte
	sources[0].each(func(e ds.Elem, score float64) bool {
		text := elemText(e, tmp[:])
		for i := range sources[1:] {
			if _, ok := sources[1+i].score(text); ok {
				return true
			}
		}
		r.add(e, score)
		return true
	})
}
