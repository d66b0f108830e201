package datatypes

import (
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// A stream has one encoding (ds/stream.go). It may be empty and is then still a
// key. Here are the commands on its entries; streamread.go reads with and without
// groups, streamgroup.go manages groups, streamclaim.go moves pending entries,
// streaminfo.go tells about all of it.

func streamSpecs() []*command.Spec {
	const (
		writeFast = command.Write | command.Fast
		adds      = command.Write | command.DenyOOM | command.Fast
		ranges    = "O(log(N)+M), N being the number of entries, M the number returned; O(1) with a fixed COUNT at either end."
	)
	clock := []string{"nondeterministic_output"}
	return []*command.Spec{
		{Name: "xadd", Group: command.Stream, Since: "5.0.0", Arity: -5, Complexity: "O(1) to add an entry, O(N) to trim N of them.",
			Summary: "Adds an entry to a stream; creates the stream if there is none.",
			Syntax:  "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
			Flags:   adds, Keys: command.OneKey(command.RW | command.Update), Tips: clock, Run: xadd},
		{Name: "xtrim", Group: command.Stream, Since: "5.0.0", Arity: -4, Complexity: "O(N), N being the number of entries removed.",
			Summary: "Removes entries from the front of a stream.", Syntax: "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]",
			Flags: command.Write, Keys: command.OneKey(command.RW | command.Delete), Tips: clock, Run: xtrim},
		{Name: "xdel", Group: command.Stream, Since: "5.0.0", Arity: -3, Complexity: "O(1) for each entry.",
			Summary: "Removes entries from a stream by their ids.", Syntax: "key id [id ...]",
			Flags: writeFast, Keys: command.OneKey(command.RW | command.Delete), Run: xdel},
		{Name: "xlen", Group: command.Stream, Since: "5.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Returns the number of entries of a stream.", Syntax: "key",
			Flags: command.ReadOnly | command.Fast, Keys: command.OneKey(command.RO), Run: xlen},
		{Name: "xrange", Group: command.Stream, Since: "5.0.0", Arity: -4, Complexity: ranges,
			Summary: "Returns entries within a range of ids.", Syntax: "key start end [COUNT count]",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Run: func(c *command.Ctx) { xrange(c, false) }},
		{Name: "xrevrange", Group: command.Stream, Since: "5.0.0", Arity: -4, Complexity: ranges,
			Summary: "Returns entries within a range of ids, the last one first.", Syntax: "key end start [COUNT count]",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Run: func(c *command.Ctx) { xrange(c, true) }},
		{Name: "xsetid", Group: command.Stream, Since: "5.0.0", Arity: -3, Complexity: "O(1)",
			Summary: "Sets the last id of a stream; for internal use.", Syntax: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
			Flags: adds, Keys: command.OneKey(command.RW | command.Update), Run: xsetid},
	}
}

// streamAt returns the stream that o is on.
func streamAt(o *store.Obj) ds.Stream { return ds.OpenStream(o.Arena(), o.Bytes()) }

// findStream is Find for a stream; false, having replied, for another type.
func findStream(c *command.Ctx, arg int, o *store.Obj) bool {
	c.Find(arg, o)
	return c.Typed(o, store.Stream)
}

// writeStream is FindWrite for a stream; false, having replied, for another type.
func writeStream(c *command.Ctx, arg int, o *store.Obj) bool {
	c.FindWrite(arg, o)
	return c.Typed(o, store.Stream)
}

// createStream makes the key at arg, which does not exist, an empty stream.
func createStream(c *command.Ctx, arg int, o *store.Obj) {
	hdr := c.Create(arg, o, store.Stream, store.StreamTree, ds.StreamHeader)
	ds.InitStream(o.Arena(), hdr)
}

// replyEntry replies with an entry: its id and an array of fields and values.
func replyEntry(c *command.Ctx, it *ds.StreamIter) {
	c.Array(2)
	replyStreamID(c, it.ID())
	c.Array(2 * it.Len())
	for pairs := it.Pairs(); ; {
		field, value, ok := pairs.Next()
		if !ok {
			return
		}
		replyElem(c, field)
		replyElem(c, value)
	}
}

// replyRange replies with the entries from start to end, at most count of them
// unless count is 0.
func replyRange(c *command.Ctx, s ds.Stream, start, end ds.StreamID, count int64, back bool) {
	mark := c.Defer()
	n := 0
	for it := s.Range(start, end, back); (count == 0 || int64(n) < count) && it.Next(); n++ {
		replyEntry(c, &it)
	}
	c.EndArray(mark, n)
}

// Errors of XADD, XTRIM and XSETID.
const (
	errXaddZero    = "ERR The ID specified in XADD must be greater than 0-0"
	errXaddSmaller = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
	errXaddFull    = "ERR The stream has exhausted the last possible ID, unable to add more items"
	errXaddLarge   = "ERR Elements are too large to be stored"
	errTwoTrims    = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
	errMaxlen      = "ERR The MAXLEN argument must be >= 0."
	errLimit       = "ERR The LIMIT argument must be >= 0."
	errLimitAlone  = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
	errLimitExact  = "ERR syntax error, LIMIT cannot be used without the special ~ option"
	errXtrimBare   = "ERR syntax error, XTRIM must be called with MAXLEN or MINID options"
)

// trimArgs are the options that XADD and XTRIM share.
type trimArgs struct {
	ds.StreamTrim
	on    bool
	sign  int // position of "~" or "=", 0 for none
	bound int // position of the threshold

	noMake bool // XADD: no stream is made
	id     idSpec
}

// parseTrim reads the options from argument 2 on, for XADD up to and including
// the id.
func parseTrim(c *command.Ctx, a *command.Args, xadd bool) (t trimArgs) {
	limited := false
	for done := false; a.More() && !done; {
		switch {
		case xadd && string(c.Argv[a.Pos()]) == "*":
			t.id = idSpec{kind: idAuto}
			done = true
		case a.Left() > 1 && a.Is("maxlen"):
			t.strategy(c, a)
			n := a.Int()
			if n < 0 {
				a.Fail(errMaxlen)
			}
			t.MaxLen = int(n)
		case a.Left() > 1 && a.Is("minid"):
			t.strategy(c, a)
			t.ByID = true
			t.MinID = strictID(a, 0)
		case a.Left() > 1 && a.Is("limit"):
			n := a.Int()
			if n < 0 {
				a.Fail(errLimit)
			}
			t.Limit, limited = int(n), true
		case xadd && a.Is("nomkstream"):
			t.noMake = true
		case xadd:
			t.id = addID(c, a)
			done = true
		default:
			a.Syntax()
		}
	}
	switch {
	case limited && !t.on:
		a.Fail(errLimitAlone)
	case !xadd && !t.on:
		a.Fail(errXtrimBare)
	case c.Expire == command.ExpireIgnore: // the primary says what it removed
		t.Limit = 0
	case limited && !t.Approx:
		a.Fail(errLimitExact)
	case !limited && t.Approx:
		t.Limit = trimLimit(c)
	}
	return t
}

// strategy reads what may stand between MAXLEN or MINID and the threshold.
func (t *trimArgs) strategy(c *command.Ctx, a *command.Args) {
	if t.on {
		a.Fail(errTwoTrims)
		return
	}
	t.on = true
	if a.Left() >= 2 && len(c.Argv[a.Pos()]) == 1 {
		switch c.Argv[a.Pos()][0] {
		case '~':
			t.Approx = true
			fallthrough
		case '=':
			t.sign = a.Pos()
			a.Skip(1)
		}
	}
	t.bound = a.Pos()
}

// trimLimit is the most entries that one approximate trimming removes when the
// client does not say: a hundred nodes, between bounds.
func trimLimit(c *command.Ctx) int {
	n := 100 * c.Env.Limits().StreamEntries
	if n <= 0 {
		return 10000
	}
	return min(n, 1000000)
}

// settle makes the arguments of an approximate trimming exact, so that those who
// take the log remove the same entries.
func (t *trimArgs) settle(c *command.Ctx, s ds.Stream) {
	if !t.Approx {
		return
	}
	c.Argv[t.sign] = []byte("=")
	if !t.ByID {
		c.Argv[t.bound] = appendUint(nil, uint64(s.Len()))
		return
	}
	first := ds.MaxStreamID
	if s.Len() > 0 {
		first = s.First()
	}
	c.Argv[t.bound] = first.Append(nil)
}

// maxStreamEntry bounds the bytes of an entry's fields and values.
const maxStreamEntry = ds.LPMaxSize

func xadd(c *command.Ctx) {
	a := c.ArgsFrom(2)
	t := parseTrim(c, a, true)
	if !a.Done() {
		return
	}
	idArg := a.Pos()
	if t.id.kind == idAuto {
		idArg++
	}
	pairs := c.Argv[min(idArg, len(c.Argv)):]
	idArg--
	switch {
	case len(pairs) < 2 || len(pairs)%2 != 0:
		c.Error(command.WrongArity(c.Spec.Full))
		return
	case t.id.kind == idExact && t.id.id == ds.StreamID{}:
		c.Error(errXaddZero)
		return
	}
	o := c.Obj(0)
	if !writeStream(c, 1, o) {
		return
	}
	if !o.Exists() && t.noMake {
		c.Null()
		return
	}
	last := ds.StreamID{}
	if o.Exists() {
		last = streamAt(o).Last()
	}
	if last == ds.MaxStreamID {
		c.Error(errXaddFull)
		return
	}
	id, ok := t.id.choose(last, c.Now)
	if !ok {
		c.Error(errXaddSmaller)
		return
	}
	size := 0
	for _, e := range pairs {
		if size += len(e); size > maxStreamEntry {
			c.Error(errXaddLarge)
			return
		}
	}
	if !o.Exists() {
		createStream(c, 1, o)
	}
	s := streamAt(o)
	l := c.Env.Limits()
	s.Append(id, pairs, ds.StreamLimits{Bytes: l.StreamBytes, Entries: l.StreamEntries})
	replyStreamID(c, id)
	c.Changed(1, "xadd")
	if t.id.kind != idExact {
		text := c.Buf[:len(c.Buf)-2]
		c.Argv[idArg] = text[len(text)-streamIDLen(id):] // the reply's text is the log's
	}
	if t.on {
		if s.Trim(t.StreamTrim) > 0 {
			c.Notify(1, "xtrim")
		}
		t.settle(c, s)
	}
}

func xtrim(c *command.Ctx) {
	a := c.ArgsFrom(2)
	t := parseTrim(c, a, false)
	o := c.Obj(0)
	if !a.Done() || !writeStream(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Int(0)
		return
	}
	s := streamAt(o)
	n := s.Trim(t.StreamTrim)
	if n > 0 {
		c.Changed(1, "xtrim")
		c.Dirty += int64(n - 1)
		t.settle(c, s)
	}
	c.Int(int64(n))
}

func xdel(c *command.Ctx) {
	o := c.Obj(0)
	if !writeStream(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Int(0)
		return
	}
	if !strictIDs(c, 2) {
		return
	}
	s := streamAt(o)
	n := int64(0)
	for _, arg := range c.Argv[2:] {
		id, _ := parseID(arg, 0)
		n += boolInt(s.Delete(id))
	}
	if n > 0 {
		c.Changed(1, "xdel")
		c.Dirty += n - 1
	}
	c.Int(n)
}

func xlen(c *command.Ctx) {
	o := c.Obj(0)
	if !findStream(c, 1, o) {
		return
	}
	n := 0
	if o.Exists() {
		n = streamAt(o).Len()
	}
	c.Int(int64(n))
}

// xrange serves XREVRANGE as well, whose end comes first.
func xrange(c *command.Ctx, back bool) {
	from, to := 2, 3
	if back {
		from, to = 3, 2
	}
	start, end, ok := interval(c, from, to)
	if !ok {
		return
	}
	count := int64(-1)
	a := c.ArgsFrom(4)
	for a.More() {
		if a.Left() > 1 && a.Is("count") {
			count = max(a.Int(), 0)
		} else {
			a.Syntax()
		}
	}
	o := c.Obj(0)
	if !a.Done() || !findStream(c, 1, o) {
		return
	}
	switch {
	case !o.Exists():
		c.Array(0)
	case count == 0:
		c.NullArray()
	default:
		replyRange(c, streamAt(o), start, end, max(count, 0), back)
	}
}

func xsetid(c *command.Ctx) {
	a := c.ArgsFrom(2)
	id := strictID(a, 0)
	added := int64(-1)
	var deleted ds.StreamID
	for a.More() {
		switch {
		case a.Left() > 1 && a.Is("entriesadded"):
			if added = a.Int(); added < 0 {
				a.Fail("ERR entries_added must be positive")
			}
		case a.Left() > 1 && a.Is("maxdeletedid"):
			if deleted = strictID(a, 0); id.Less(deleted) {
				a.Fail("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
			}
		default:
			a.Syntax()
		}
	}
	o := c.Obj(0)
	if !a.Done() {
		return
	}
	if !c.FindWrite(1, o) {
		c.Error(command.ErrNoSuchKey)
		return
	}
	if !c.Typed(o, store.Stream) {
		return
	}
	s := streamAt(o)
	switch {
	case s.Len() > 0 && id.Less(s.LastLive()):
		c.Error("ERR The ID specified in XSETID is smaller than the target stream top item")
		return
	case s.Len() > 0 && added >= 0 && added < int64(s.Len()):
		c.Error("ERR The entries_added specified in XSETID is smaller than the target stream length")
		return
	}
	s.SetLast(id)
	if added >= 0 {
		s.SetAdded(uint64(added))
	}
	if deleted != (ds.StreamID{}) {
		s.SetMaxDeleted(deleted)
	}
	c.Changed(1, "xsetid")
	c.OK()
}
