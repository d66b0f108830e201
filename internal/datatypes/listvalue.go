package datatypes

import (
	"math"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// A list is held as one listpack while that is within the limit of a list node
// (list-max-listpack-size), else as a quicklist. It grows into a quicklist by
// the bytes and elements that a command is about to add, and goes back to a
// listpack when a quicklist has come down to one node of half the limit, so that
// a list at the limit does not change its form all the time. Source:
// persistence-replication.md 10.6, Redis 7.2.
//
// The functions here take a cursor on a list. None of them deletes an empty one.

func listLen(o *store.Obj) int {
	if o.Encoding() == store.Listpack {
		return ds.LP(o.Bytes()).Count()
	}
	return ds.OpenQuicklist(o.Arena(), o.Bytes()).Len()
}

// listCreate makes an empty list of the key in argument i.
func listCreate(c *command.Ctx, i int, o *store.Obj) {
	c.Create(i, o, store.List, store.Listpack, ds.LPEmptySize)
	ds.LPInit(o)
}

// listReserve turns a listpack into a quicklist if n more elements with bytes of
// text in all pass the limit.
func listReserve(o *store.Obj, fill, bytes, n int) {
	if o.Encoding() != store.Listpack {
		return
	}
	p := ds.LP(o.Bytes())
	if ds.ListNodeFits(fill, len(p)+bytes, p.Count()+n) {
		return
	}
	var hdr [ds.QuicklistHeader]byte
	q := ds.InitQuicklist(o.Arena(), hdr[:])
	q.AppendPacked(p, fill)
	copy(o.Recode(store.Quicklist, len(hdr)), hdr[:])
}

// listShrink turns a quicklist that has become small into a listpack.
func listShrink(o *store.Obj, fill int) {
	if o.Encoding() != store.Quicklist {
		return
	}
	lp, ok := ds.OpenQuicklist(o.Arena(), o.Bytes()).Single()
	if !ok {
		return // also if the only element is so large that it has no listpack
	}
	// A limit on elements has none on bytes here, and the other way round.
	maxBytes, maxCount := math.MaxInt, max(fill, 1)
	if fill < 0 {
		maxBytes, maxCount = ds.ListNodeLimits(fill)
	}
	if len(lp) > maxBytes/2 || ds.LP(lp).Count() > maxCount/2 {
		return
	}
	var hdr [ds.QuicklistHeader]byte // lp lives in a node of its own until freed
	copy(hdr[:], o.Bytes())
	copy(o.Recode(store.Listpack, len(lp)), lp)
	ds.OpenQuicklist(o.Arena(), hdr[:]).Free()
}

// listPush adds an element at an end; listReserve has made room.
func listPush(o *store.Obj, head bool, elem []byte, fill int) {
	switch {
	case o.Encoding() == store.Quicklist && head:
		ds.OpenQuicklist(o.Arena(), o.Bytes()).PushHead(elem, fill)
	case o.Encoding() == store.Quicklist:
		ds.OpenQuicklist(o.Arena(), o.Bytes()).PushTail(elem, fill)
	case head:
		ds.LPPrepend(o, elem)
	default:
		ds.LPAppend(o, elem)
	}
}

// listDrop removes n elements, no more than there are, from an end.
func listDrop(o *store.Obj, head bool, n int) {
	if o.Encoding() == store.Quicklist {
		q := ds.OpenQuicklist(o.Arena(), o.Bytes())
		switch {
		case n == 1 && head:
			q.DropFirst()
		case n == 1:
			q.DropLast()
		case head:
			q.DeleteRange(0, n)
		default:
			q.DeleteRange(q.Len()-n, n)
		}
		return
	}
	p := ds.LP(o.Bytes())
	if head {
		ds.LPDelete(o, p.First(), n)
	} else {
		ds.LPDelete(o, p.Seek(-n), n)
	}
}

// listCursor is a place in a list of either form that moves forward or
// backward. Its methods are those of ds.ListIter.
type listCursor struct {
	o    *store.Obj // of a listpack, nil of a quicklist
	off  int
	back bool
	it   ds.ListIter
}

// listAt returns a cursor at element i, counted from the end when negative; not
// valid if there is none such.
func listAt(o *store.Obj, i int, back bool) listCursor {
	if o.Encoding() == store.Quicklist {
		return listCursor{it: ds.OpenQuicklist(o.Arena(), o.Bytes()).Iter(i, back)}
	}
	return listCursor{o: o, off: ds.LP(o.Bytes()).Seek(i), back: back}
}

func (l *listCursor) valid() bool {
	if l.o != nil {
		return l.off >= 0
	}
	return l.it.Valid()
}

func (l *listCursor) elem() ds.Elem {
	if l.o != nil {
		return ds.LP(l.o.Bytes()).Get(l.off)
	}
	return l.it.Elem()
}

func (l *listCursor) next() {
	switch p := ds.LP(nil); {
	case l.o == nil:
		l.it.Next()
	case l.back:
		p = l.o.Bytes()
		l.off = p.Prev(l.off)
	default:
		p = l.o.Bytes()
		l.off = p.Next(l.off)
	}
}

// remove deletes the element and moves to the next one.
func (l *listCursor) remove() {
	if l.o == nil {
		l.it.Delete()
		return
	}
	ds.LPDelete(l.o, l.off, 1)
	p := ds.LP(l.o.Bytes())
	switch {
	case l.back:
		l.off = p.Prev(l.off)
	case l.off == p.End():
		l.off = -1
	}
}

// replace puts elem in the element's place; listReserve has made room.
func (l *listCursor) replace(elem []byte, fill int) {
	if l.o != nil {
		ds.LPReplace(l.o, l.off, elem)
	} else {
		l.it.Replace(elem, fill)
	}
}

// insert adds elem beside the element; listReserve has made room. The cursor is
// not valid afterwards.
func (l *listCursor) insert(after bool, elem []byte, fill int) {
	switch {
	case l.o != nil && after:
		ds.LPInsertAfter(l.o, l.off, elem)
	case l.o != nil:
		ds.LPInsert(l.o, l.off, elem)
	case after:
		l.it.InsertAfter(elem, fill)
	default:
		l.it.InsertBefore(elem, fill)
	}
}

// wanted is an element looked for, read as an integer once.
type wanted struct {
	text  []byte
	num   int64
	isNum bool
}

func want(text []byte) wanted {
	n, ok := ds.ParseInt(text)
	return wanted{text, n, ok}
}

func (w *wanted) is(e ds.Elem) bool {
	if e.IsInt {
		return w.isNum && e.Int == w.num
	}
	return string(e.Str) == string(w.text)
}
