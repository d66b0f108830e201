package datatypes

import (
	"bytes"
	"math"
	"slices"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

func sortSpecs() []*command.Spec {
	cats := []string{"-keyspace", "set", "sortedset", "list", "dangerous"}
	const complexity = "O(N+M*log(M)), N being the number of elements, M the number of elements returned; O(N) without sorting."
	return []*command.Spec{
		{Name: "sort", Group: command.Generic, Since: "1.0.0", Arity: -2, Complexity: complexity,
			Summary: "Sorts the elements of a list, set or sorted set, and optionally stores the result.",
			Syntax:  "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]",
			Flags:   command.Write | command.DenyOOM, Categories: cats,
			Keys: []command.KeySpec{{Flags: command.RO | command.Access, Index: 1, Step: 1},
				{Flags: command.RO | command.Access, Unknown: true}, {Flags: command.OW | command.Update, Unknown: true}},
			ExtraKeys: sortStoreKey, WorldIf: sortNeedsWorld, Run: sort},
		{Name: "sort_ro", Group: command.Generic, Since: "7.0.0", Arity: -2, Complexity: complexity,
			Summary: "Sorts the elements of a list, set or sorted set.",
			Syntax:  "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
			Flags:   command.ReadOnly, Categories: cats,
			Keys: []command.KeySpec{{Flags: command.RO | command.Access, Index: 1, Step: 1},
				{Flags: command.RO | command.Access, Unknown: true}},
			WorldIf: sortNeedsWorld, Run: sort},
	}
}

// sortOptions are the arguments of SORT after the key.
type sortOptions struct {
	by       []byte // pattern, nil without BY
	noSort   bool   // the pattern has no star: every element weighs the same
	gets     [][]byte
	desc     bool
	alpha    bool
	offset   int64
	count    int64
	storeArg int // position of the destination, 0: none
}

// sortArgs walks over the options of SORT and tells each to visit, whose args
// are those after the word; it returns false at a syntax error.
func sortArgs(argv [][]byte, visit func(word string, at int)) bool {
	for i := 2; i < len(argv); {
		left := len(argv) - i - 1
		word, n := "", 0
		switch arg := argv[i]; {
		case command.Word(arg, "asc"):
			word = "asc"
		case command.Word(arg, "desc"):
			word = "desc"
		case command.Word(arg, "alpha"):
			word = "alpha"
		case command.Word(arg, "limit"):
			word, n = "limit", 2
		case command.Word(arg, "store"):
			word, n = "store", 1
		case command.Word(arg, "by"):
			word, n = "by", 1
		case command.Word(arg, "get"):
			word, n = "get", 1
		}
		if word == "" || left < n {
			return false
		}
		visit(word, i+1)
		i += 1 + n
	}
	return true
}

// sortStoreKey finds the destination of SORT; the last one counts.
func sortStoreKey(argv [][]byte, visit func(arg int, f command.KeyFlags)) {
	at := 0
	sortArgs(argv, func(word string, i int) {
		if word == "store" {
			at = i
		}
	})
	if at != 0 {
		visit(at, command.OW|command.Update)
	}
}

// sortNeedsWorld reports whether the arguments make SORT read keys that are
// named by the elements.
func sortNeedsWorld(argv [][]byte) bool {
	needs := false
	sortArgs(argv, func(word string, i int) {
		if word == "by" || word == "get" {
			needs = needs || bytes.IndexByte(argv[i], '*') >= 0
		}
	})
	return needs
}

func sort(c *command.Ctx) {
	opt := sortOptions{count: -1}
	fault := ""
	fail := func(text string) {
		if fault == "" {
			fault = text
		}
	}
	ok := sortArgs(c.Argv, func(word string, i int) {
		switch word {
		case "asc":
			opt.desc = false
		case "desc":
			opt.desc = true
		case "alpha":
			opt.alpha = true
		case "limit":
			var ok1, ok2 bool
			opt.offset, ok1 = command.ParseInt(c.Argv[i])
			opt.count, ok2 = command.ParseInt(c.Argv[i+1])
			if !ok1 || !ok2 {
				fail(command.ErrNotInteger)
			}
		case "store":
			if c.Spec.Name == "sort_ro" {
				fail(command.ErrSyntax)
			}
			opt.storeArg = i
		case "by":
			opt.by = c.Argv[i]
			opt.noSort = bytes.IndexByte(opt.by, '*') < 0
			if !opt.noSort && c.Env.Limits().ClusterMode {
				fail("ERR BY option of SORT denied in cluster mode.")
			}
		case "get":
			opt.gets = append(opt.gets, c.Argv[i])
			if c.Env.Limits().ClusterMode {
				fail("ERR GET option of SORT denied in cluster mode.")
			}
		}
	})
	if !ok {
		fail(command.ErrSyntax)
	}
	if fault != "" {
		c.Error(fault)
		return
	}

	o := c.Obj(0)
	if c.Find(1, o) && o.Type() != store.List && o.Type() != store.Set && o.Type() != store.ZSet {
		c.Error(command.ErrWrongType)
		return
	}
	if o.Exists() && o.Type() == store.Set && opt.noSort && opt.storeArg != 0 {
		// The order of a set is nobody's business to replicate.
		opt.noSort, opt.alpha, opt.by = false, true, nil
	}
	var items []sortItem
	if o.Exists() {
		// What is not sorted comes in its own order, or backward.
		backward := opt.noSort && opt.desc && o.Type() != store.Set
		eachElement(o, backward, func(e []byte) { items = append(items, sortItem{elem: e}) })
	}
	if !opt.noSort {
		if !weigh(c, items, &opt) {
			c.Error("ERR One or more scores can't be converted into double")
			return
		}
		slices.SortStableFunc(items, func(a, b sortItem) int { return a.compare(&b, &opt) })
	}

	n := int64(len(items))
	first := max(opt.offset, 0)
	last := n - 1
	if opt.count >= 0 && first < n && opt.count < n-first {
		last = first + opt.count - 1
	}
	if first >= n || last < first {
		items = nil
	} else {
		items = items[first : last+1]
	}
	if opt.storeArg != 0 {
		sortStore(c, items, &opt)
		return
	}
	sortReply(c, items, &opt)
}

// sortItem is an element with what it is ordered by. Slices are views of
// records, or Go memory.
type sortItem struct {
	elem   []byte
	score  float64
	weight []byte // with ALPHA and BY; nil: there is no such key
}

func (a *sortItem) compare(b *sortItem, opt *sortOptions) int {
	cmp := 0
	switch {
	case !opt.alpha:
		switch {
		case a.score < b.score:
			cmp = -1
		case a.score > b.score:
			cmp = 1
		default:
			cmp = bytes.Compare(a.elem, b.elem)
		}
	case opt.by == nil:
		cmp = bytes.Compare(a.elem, b.elem)
	case a.weight == nil || b.weight == nil:
		cmp = int(boolInt(a.weight != nil) - boolInt(b.weight != nil))
	default:
		cmp = bytes.Compare(a.weight, b.weight)
	}
	if opt.desc {
		return -cmp
	}
	return cmp
}

// weigh finds what the items are ordered by; it returns false if a number is
// needed and something else was found.
func weigh(c *command.Ctx, items []sortItem, opt *sortOptions) bool {
	for i := range items {
		it := &items[i]
		w := it.elem
		if opt.by != nil {
			if w = lookupPattern(c, opt.by, it.elem); w == nil {
				continue
			}
		}
		if opt.alpha {
			if opt.by != nil {
				it.weight = w
			}
			continue
		}
		var ok bool
		if it.score, ok = sortNumber(w); !ok {
			return false
		}
	}
	return true
}

// sortNumber reads a number as strtod does; nothing at all is 0.
func sortNumber(b []byte) (float64, bool) {
	if len(b) == 0 {
		return 0, true
	}
	b = bytes.TrimLeft(b, " \t\n\v\f\r")
	f, ok := command.ParseFloat(b)
	return f, ok && !math.IsNaN(f)
}

// eachElement calls visit for the elements of a list, set or sorted set. The
// slices are views, or Go memory, that live until the key is changed. Sets have
// no order that could be followed backward.
func eachElement(o *store.Obj, backward bool, visit func(e []byte)) {
	a, v := o.Arena(), o.Bytes()
	elem := func(e ds.Elem) {
		if e.IsInt {
			visit(strconv.AppendInt(nil, e.Int, 10))
		} else {
			visit(e.Str)
		}
	}
	switch o.Encoding() {
	case store.Listpack:
		p := ds.LP(v)
		step := 1 // sorted sets: member, score, member, score
		if o.Type() == store.ZSet {
			step = 2
		}
		if backward {
			for off := p.Seek(-step); off >= 0; {
				elem(p.Get(off))
				for range step {
					if off >= 0 {
						off = p.Prev(off)
					}
				}
			}
			return
		}
		i := 0
		for it := p.Iter(); it.Next(); i++ {
			if i%step == 0 {
				elem(it.Elem())
			}
		}
	case store.Intset:
		s := ds.Intset(v)
		for i := range s.Len() {
			visit(strconv.AppendInt(nil, s.At(i), 10))
		}
	case store.Hashtable:
		ds.OpenTable(a, v).Each(func(field, _ []byte) bool {
			visit(field)
			return true
		})
	case store.Quicklist:
		from := 0
		if backward {
			from = -1
		}
		for it := ds.OpenQuicklist(a, v).Iter(from, backward); it.Valid(); it.Next() {
			elem(it.Elem())
		}
	case store.Skiplist:
		z := ds.OpenZSet(a, v)
		if backward {
			for it := z.ByRank(z.Len() - 1); it.Valid(); it.Prev() {
				visit(it.Member())
			}
			return
		}
		z.Each(func(member []byte, _ float64) bool {
			visit(member)
			return true
		})
	}
}

// lookupPattern returns the value that a pattern of BY or GET names for an
// element: the string at the key that the pattern becomes when its first star
// is replaced by elem, or, behind "->", a field of the hash there. "#" is elem
// itself; nil means that there is no such value.
func lookupPattern(c *command.Ctx, pattern, elem []byte) []byte {
	if len(pattern) == 1 && pattern[0] == '#' {
		return elem
	}
	star := bytes.IndexByte(pattern, '*')
	if star < 0 {
		return nil
	}
	tail := pattern[star+1:]
	var field []byte
	if arrow := bytes.Index(tail, []byte("->")); arrow >= 0 && arrow+2 < len(tail) {
		tail, field = tail[:arrow], tail[arrow+2:]
	}
	key := slices.Concat(pattern[:star], elem, tail)
	o := c.Obj(2)
	if !c.FindKey(key, o) {
		return nil
	}
	if field == nil {
		if o.Type() != store.String {
			return nil
		}
		return notNil(o.Bytes())
	}
	if o.Type() != store.Hash_ {
		return nil
	}
	v, ok := hashGet(c, o, field)
	if !ok {
		return nil
	}
	return notNil(elemText(v, make([]byte, 20)))
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func sortReply(c *command.Ctx, items []sortItem, opt *sortOptions) {
	c.Array(len(items) * max(len(opt.gets), 1))
	for i := range items {
		if len(opt.gets) == 0 {
			c.Bulk(items[i].elem)
		}
		for _, g := range opt.gets {
			if v := lookupPattern(c, g, items[i].elem); v != nil {
				c.Bulk(v)
			} else {
				c.Null()
			}
		}
	}
}

// sortStore makes the result a list at the destination; what GET does not find
// becomes an empty element.
func sortStore(c *command.Ctx, items []sortItem, opt *sortOptions) {
	fill := c.Env.Limits().ListSize
	var lp ds.SliceBuf
	ds.LPInit(&lp)
	// The list is built aside, as the destination may be the source.
	arena := ds.Arena{Heap: c.DB.Store().Heap, Shard: 0}
	var hdr [ds.QuicklistHeader]byte
	var q ds.Quicklist
	big := false
	n := 0
	push := func(e []byte) {
		n++
		if !big {
			if ds.ListNodeFits(fill, len(lp.B)+ds.LPElemSize(e), n) {
				ds.LPAppend(&lp, e)
				return
			}
			big = true
			q = ds.InitQuicklist(arena, hdr[:])
			q.AppendPacked(lp.B, fill)
		}
		q.PushTail(e, fill)
	}
	for i := range items {
		if len(opt.gets) == 0 {
			push(items[i].elem)
		}
		for _, g := range opt.gets {
			push(lookupPattern(c, g, items[i].elem))
		}
	}

	o := c.Obj(1)
	exists := c.FindWrite(opt.storeArg, o)
	if n == 0 {
		if exists {
			c.Delete(o)
			c.Changed(opt.storeArg, "del")
		}
		c.Int(0)
		return
	}
	enc, v := store.Listpack, lp.B
	if big {
		enc, v = store.Quicklist, hdr[:]
	}
	if exists {
		copy(o.ResetExpire(store.List, enc, len(v), 0), v)
	} else {
		copy(c.Create(opt.storeArg, o, store.List, enc, len(v)), v)
	}
	c.Changed(opt.storeArg, "sortstore")
	c.Dirty += int64(n) - 1
	c.Int(int64(n))
}
