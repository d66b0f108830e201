package datatypes

import (
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// A sorted set is a listpack of members and scores until it has more members, or
// longer ones, than zset-max-listpack-entries and -value allow, then a ds.ZSet,
// which users know as skiplist. It stays one, however small it becomes, until it
// is stored anew. Ranks count from 0, upward.
//
// The functions here take a cursor on a sorted set. None of them deletes an
// empty one.

func zsetTree(o *store.Obj) ds.ZSet { return ds.OpenZSet(o.Arena(), o.Bytes()) }

func zsetLen(o *store.Obj) int {
	if o.Encoding() == store.Listpack {
		return ds.LP(o.Bytes()).Count() / 2
	}
	return zsetTree(o).Len()
}

// zsetCreate makes an empty sorted set of the key in argument i, in the form for
// n members of at most longest bytes.
func zsetCreate(c *command.Ctx, i int, o *store.Obj, n, longest int) {
	if l := c.Env.Limits(); n > l.ZSetEntries || longest > l.ZSetValue {
		c.Create(i, o, store.ZSet, store.Skiplist, ds.ZSetHeader)
		ds.InitZSet(o.Arena(), o.Bytes())
		return
	}
	c.Create(i, o, store.ZSet, store.Listpack, ds.LPEmptySize)
	ds.LPInit(o)
}

// zsetGrow turns a listpack into a tree.
func zsetGrow(o *store.Obj) {
	var hdr [ds.ZSetHeader]byte
	var tmp [20]byte
	z := ds.InitZSet(o.Arena(), hdr[:])
	p := ds.LP(o.Bytes())
	for off := p.First(); off >= 0; {
		scoreOff := p.After(off)
		z.Set(elemText(p.Get(off), tmp[:]), p.ZScore(scoreOff))
		off = p.Next(scoreOff)
	}
	copy(o.Recode(store.Skiplist, len(hdr)), hdr[:])
}

func zsetScore(o *store.Obj, member []byte) (score float64, ok bool) {
	if o.Encoding() != store.Listpack {
		return zsetTree(o).Score(member)
	}
	p := ds.LP(o.Bytes())
	off := p.Find(p.First(), member, 1)
	if off < 0 {
		return 0, false
	}
	return p.ZScore(p.After(off)), true
}

func zsetRank(o *store.Obj, member []byte) (rank int, ok bool) {
	if o.Encoding() == store.Listpack {
		off, rank, _ := ds.LP(o.Bytes()).ZFind(member)
		return rank, off >= 0
	}
	return zsetTree(o).Rank(member)
}

// zsetPut gives member, old or new, a score, in a larger form if need be.
// changed is true if member was there with another score.
func zsetPut(l *command.Limits, o *store.Obj, member []byte, score float64) (added, changed bool) {
	if o.Encoding() == store.Listpack {
		p := ds.LP(o.Bytes())
		if p.Count()/2 < l.ZSetEntries && len(member) <= l.ZSetValue && ds.LPSafeToAdd(p, len(member)) ||
			p.Find(p.First(), member, 1) >= 0 {
			return ds.LPZSet(o, member, score)
		}
		zsetGrow(o)
	}
	return zsetTree(o).Set(member, score)
}

func zsetRemove(o *store.Obj, member []byte) bool {
	if o.Encoding() == store.Listpack {
		return ds.LPDeletePair(o, member)
	}
	return zsetTree(o).Delete(member)
}

// zsetCut removes n members from rank first on; they must exist.
func zsetCut(o *store.Obj, first, n int) {
	if o.Encoding() == store.Listpack {
		ds.LPDelete(o, ds.LP(o.Bytes()).Seek(2*first), 2*n)
		return
	}
	zsetTree(o).DeleteRange(first, n)
}

// zsetCursor is a place in a sorted set of either form, moving up or down. A
// change of the set makes it invalid.
type zsetCursor struct {
	p    ds.LP // nil: of a tree
	off  int
	back bool
	it   ds.ZIter
}

// zsetAt returns a cursor at a rank; not valid if there is none such.
func zsetAt(o *store.Obj, rank int, back bool) zsetCursor {
	if o.Encoding() != store.Listpack {
		return zsetCursor{it: zsetTree(o).ByRank(rank), back: back}
	}
	z := zsetCursor{p: o.Bytes(), off: -1, back: back}
	if rank >= 0 {
		z.off = z.p.Seek(2 * rank)
	}
	return z
}

func (z *zsetCursor) valid() bool {
	if z.p != nil {
		return z.off >= 0
	}
	return z.it.Valid()
}

func (z *zsetCursor) member() ds.Elem {
	if z.p != nil {
		return z.p.Get(z.off)
	}
	return ds.Elem{Str: z.it.Member()}
}

func (z *zsetCursor) score() float64 {
	if z.p != nil {
		return z.p.ZScore(z.p.After(z.off))
	}
	return z.it.Score()
}

func (z *zsetCursor) next() {
	switch {
	case z.p == nil && z.back:
		z.it.Prev()
	case z.p == nil:
		z.it.Next()
	case z.back:
		if z.off = z.p.Prev(z.off); z.off >= 0 {
			z.off = z.p.Prev(z.off)
		}
	default:
		z.off = z.p.Next(z.p.After(z.off))
	}
}

// zsetReply replies with n members from rank first on, upward or, if back, from
// the last of them downward.
func zsetReply(c *command.Ctx, o *store.Obj, first, n int, back, scores, pairs bool) {
	zsetReplyHeader(c, n, scores, pairs)
	if n == 0 {
		return
	}
	if back {
		first += n - 1
	}
	for z := zsetAt(o, first, back); n > 0; n-- {
		zsetReplyMember(c, z.member(), z.score(), scores, pairs)
		z.next()
	}
}

// zsetReplyHeader begins a reply of n members, which zsetReplyMember goes on
// with: each with its score, if scores, and that in an array of the two, if
// pairs.
func zsetReplyHeader(c *command.Ctx, n int, scores, pairs bool) {
	if scores && !pairs {
		n *= 2
	}
	c.Array(n)
}

func zsetReplyMember(c *command.Ctx, member ds.Elem, score float64, scores, pairs bool) {
	if scores && pairs {
		c.Array(2)
	}
	replyElem(c, member)
	if scores {
		c.Double(score)
	}
}

// zentry is a member of a result. The member is a view of a source or Go memory.
type zentry struct {
	member []byte
	score  float64
}

// zsetResult gathers members of a result.
type zsetResult struct {
	entries []zentry
	longest int
	digits  []byte // texts of members that are integers in their source
}

func (r *zsetResult) add(e ds.Elem, score float64) {
	text := e.Str
	if e.IsInt {
		at := len(r.digits)
		r.digits = strconv.AppendInt(r.digits, e.Int, 10)
		text = r.digits[at:len(r.digits):len(r.digits)] // stays where it is when digits grows
	}
	r.longest = max(r.longest, len(text))
	r.entries = append(r.entries, zentry{text, score})
}

// store makes the result the value of the key in argument i, or deletes that key
// if it is empty, and replies with the number of members. The result is built
// aside, as the key may be one of the sources.
func (r *zsetResult) store(c *command.Ctx, i int, event string) {
	l, o := c.Env.Limits(), c.Obj(0)
	var lp ds.SliceBuf
	var hdr [ds.ZSetHeader]byte
	enc, v := store.Listpack, []byte(nil)
	if n := len(r.entries); n == 0 {
		if c.FindWrite(i, o) {
			c.Delete(o)
			c.Changed(i, "del")
		}
		c.Int(0)
		return
	} else if n <= l.ZSetEntries && r.longest <= l.ZSetValue {
		ds.LPInit(&lp)
		for _, e := range r.entries {
			ds.LPZInsert(&lp, e.member, e.score)
		}
		v = lp.B
	} else {
		z := ds.InitZSet(ds.Arena{Heap: c.DB.Store().Heap}, hdr[:])
		for _, e := range r.entries {
			z.Set(e.member, e.score)
		}
		enc, v = store.Skiplist, hdr[:]
	}
	if c.FindWrite(i, o) {
		copy(o.ResetExpire(store.ZSet, enc, len(v), 0), v)
	} else {
		copy(c.Create(i, o, store.ZSet, enc, len(v)), v)
	}
	c.Changed(i, event)
	c.Int(int64(len(r.entries)))
}
