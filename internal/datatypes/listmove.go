package datatypes

import (
	"math"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// Here are the commands that move elements between lists, take them from the
// first of several keys, or wait for them. A blocked command is run again when
// one of its keys has changed; a key that then holds something else than a list
// is passed over, since the client still waits for a list.

// sideArg reads LEFT or RIGHT.
func sideArg(c *command.Ctx, i int) (head, ok bool) {
	head = command.Word(c.Argv[i], "left")
	if !head && !command.Word(c.Argv[i], "right") {
		c.Error(command.ErrSyntax)
		return false, false
	}
	return head, true
}

// blockTimeout reads the timeout of a blocking command in argument i: seconds
// with a fraction, 0 for ever. It returns milliseconds.
func blockTimeout(c *command.Ctx, i int) (ms int64, ok bool) {
	f, ok := command.ParseFloat(c.Argv[i])
	f = math.Ceil(f * 1000)
	switch {
	case !ok:
		c.Error(command.ErrTimeout)
	case f >= math.MaxInt64:
		c.Error("ERR timeout is out of range")
	case f < 0:
		c.Error(command.ErrTimeoutNeg)
	case int64(f) > math.MaxInt64-c.Now:
		c.Error("ERR timeout is out of range")
	default:
		return int64(f), true
	}
	return 0, false
}

func lmove(c *command.Ctx) {
	from, ok := sideArg(c, 3)
	if !ok {
		return
	}
	to, ok := sideArg(c, 4)
	if ok {
		listMove(c, from, to)
	}
}

func blmove(c *command.Ctx) {
	from, ok := sideArg(c, 3)
	if !ok {
		return
	}
	to, ok := sideArg(c, 4)
	if ok {
		listBlockingMove(c, from, to, 5)
	}
}

func brpoplpush(c *command.Ctx) { listBlockingMove(c, false, true, 3) }

// listMove takes an element from the end that from says (true: the head) of the
// list in argument 1 to that of the list in argument 2.
func listMove(c *command.Ctx, from, to bool) {
	src := c.Obj(0)
	if !writeList(c, 1, src) {
		return
	}
	if !src.Exists() {
		c.Null()
		return
	}
	listMoveFrom(c, src, from, to)
}

// listMoveFrom is listMove with a source that exists; it reports whether it did
// not fail.
func listMoveFrom(c *command.Ctx, src *store.Obj, from, to bool) bool {
	fill := c.Env.Limits().ListSize
	dst := src
	if string(c.Argv[1]) != string(c.Argv[2]) {
		dst = c.Obj(1)
		if !writeList(c, 2, dst) {
			return false
		}
	}
	l := listAt(src, endIndex(from), false)
	e := l.elem()
	n := e.Len()
	replyElem(c, e)
	elem := c.Buf[len(c.Buf)-n-2:][:n] // the reply is the copy that is pushed
	listDrop(src, from, 1)
	if !dst.Exists() {
		listCreate(c, 2, dst)
	}
	listReserve(dst, fill, n, 1)
	listPush(dst, to, elem, fill)
	c.Notify(2, pushEvent(to))
	listPopped(c, 1, src, from, 1)
	return true
}

// listBlockingMove is listMove that waits for the source.
func listBlockingMove(c *command.Ctx, from, to bool, timeoutArg int) {
	ms, ok := blockTimeout(c, timeoutArg)
	if !ok {
		return
	}
	src := c.Obj(0)
	c.FindWrite(1, src)
	if c.Retry && src.Exists() && src.Type() != store.List {
		*src = store.Obj{}
	}
	if !c.Typed(src, store.List) {
		return
	}
	if !src.Exists() {
		if !c.Block(ms, true, 1) {
			c.Null()
		}
		return
	}
	if !listMoveFrom(c, src, from, to) {
		return
	}
	if timeoutArg == 3 {
		c.Propagate([]byte("RPOPLPUSH"), c.Argv[1], c.Argv[2])
	} else {
		c.Propagate([]byte("LMOVE"), c.Argv[1], c.Argv[2], c.Argv[3], c.Argv[4])
	}
}

// popArgs are the arguments "numkeys key [key ...] <end> [COUNT count]" of the
// commands that pop from the first of several keys.
type popArgs struct {
	first, keys int // position of the first key, number of them
	low         bool
	count       int64
}

// readPopArgs reads them from position at on; low and high, in lower case, name
// the ends. It replies and returns false where they are wrong.
func readPopArgs(c *command.Ctx, at int, low, high string) (p popArgs, ok bool) {
	a := c.ArgsFrom(at)
	const atLeastOne = "ERR numkeys should be greater than 0"
	n := a.IntOr(atLeastOne)
	switch {
	case n < 1:
		a.Fail(atLeastOne)
	case n >= int64(a.Left()):
		a.Syntax()
	}
	p = popArgs{first: at + 1, keys: int(n), count: -1}
	a.Skip(int(max(min(n, int64(a.Left())), 0)))
	switch {
	case a.Is(low):
		p.low = true
	case a.Is(high):
	default:
		a.Syntax()
	}
	const countText = "ERR count should be greater than 0"
	for a.More() {
		if p.count >= 0 || a.Left() < 2 || !a.Is("count") {
			a.Syntax()
		} else if p.count = a.IntOr(countText); p.count < 1 {
			a.Fail(countText)
		}
	}
	if p.count < 0 {
		p.count = 1
	}
	return p, a.Done()
}

// positions lists the positions of n keys from first on, for Block.
func positions(first, n int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = first + i
	}
	return at
}

// popKey finds the first of n keys, from position first on, that exists, to
// change it. It returns 0 without one; false, having replied, if that key is of
// another type.
func popKey(c *command.Ctx, o *store.Obj, t store.Type, first, n int) (i int, ok bool) {
	for i := first; i < first+n; i++ {
		if !c.FindWrite(i, o) || c.Retry && o.Type() != t {
			continue
		}
		return i, c.Typed(o, t)
	}
	return 0, true
}

// listMultiPop replies with the key in argument i and elements of its list.
func listMultiPop(c *command.Ctx, i int, o *store.Obj, p *popArgs) {
	n := int(min(p.count, int64(listLen(o))))
	c.Array(2)
	c.Bulk(c.Argv[i])
	listReplyPopped(c, o, p.low, n)
	listDrop(o, p.low, n)
	listPopped(c, i, o, p.low, n)
	c.Propagate(popCommand(p.low), c.Argv[i], strconv.AppendInt(nil, int64(n), 10))
}

func popCommand(head bool) []byte {
	if head {
		return []byte("LPOP")
	}
	return []byte("RPOP")
}

func lmpop(c *command.Ctx)  { multiPop(c, store.List, false, "left", "right", listMultiPop) }
func blmpop(c *command.Ctx) { multiPop(c, store.List, true, "left", "right", listMultiPop) }

// multiPop is LMPOP, ZMPOP and, with block, their blocking forms, whose timeout
// comes first: pop takes elements from the first key that has any.
func multiPop(c *command.Ctx, t store.Type, block bool, low, high string, pop func(c *command.Ctx, i int, o *store.Obj, p *popArgs)) {
	at, ms := 1, int64(0)
	if block {
		at = 2
	}
	p, ok := readPopArgs(c, at, low, high)
	if !ok {
		return
	}
	if block {
		if ms, ok = blockTimeout(c, 1); !ok {
			return
		}
	}
	o := c.Obj(0)
	switch i, ok := popKey(c, o, t, p.first, p.keys); {
	case !ok:
	case i == 0:
		if !block || !c.Block(ms, true, positions(p.first, p.keys)...) {
			c.NullArray()
		}
	default:
		pop(c, i, o, &p)
	}
}

func listBlockingPop(c *command.Ctx, head bool) {
	last := len(c.Argv) - 1
	ms, ok := blockTimeout(c, last)
	if !ok {
		return
	}
	o := c.Obj(0)
	i, ok := popKey(c, o, store.List, 1, last-1)
	if !ok {
		return
	}
	if i == 0 {
		if !c.Block(ms, true, positions(1, last-1)...) {
			c.NullArray()
		}
		return
	}
	c.Array(2)
	c.Bulk(c.Argv[i])
	l := listAt(o, endIndex(head), false)
	replyElem(c, l.elem())
	listDrop(o, head, 1)
	listPopped(c, i, o, head, 1)
	c.Propagate(popCommand(head), c.Argv[i])
}
