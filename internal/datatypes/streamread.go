package datatypes

import (
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// XREAD and XREADGROUP. A blocked one is run again when one of its streams has
// changed; "$" was by then replaced by the id that it stood for. XREADGROUP waits
// for its group, so that it is also run again, and fails, when the key is gone or
// holds something else; XREAD goes on waiting.

func streamReadSpecs() []*command.Spec {
	streams := func(start int) []command.KeySpec {
		return []command.KeySpec{{Flags: command.RO | command.Access, Keyword: "STREAMS", StartFrom: start, Last: -1, Step: 1, Limit: 2}}
	}
	return []*command.Spec{
		{Name: "xread", Group: command.Stream, Since: "5.0.0", Arity: -4,
			Complexity: "O(N) for each stream, N being the number of entries returned.",
			Summary:    "Returns the entries of streams after given ids; waits for them if asked to.",
			Syntax:     "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
			Flags:      command.ReadOnly | command.Blocking, Keys: streams(1), Run: xread},
		{Name: "xreadgroup", Group: command.Stream, Since: "5.0.0", Arity: -7,
			Complexity: "O(M) for each stream, M being the number of entries returned; O(N) if N clients wait for the same stream.",
			Summary:    "Returns entries for a consumer of a group, new ones or those it has pending.",
			Syntax:     "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]",
			Flags:      command.Write | command.Blocking, Keys: streams(4), Run: xread},
	}
}

// readArgs is a call of XREAD or XREADGROUP.
type readArgs struct {
	group   bool
	name    []byte // of the group
	user    []byte // the consumer
	noAck   bool
	count   int64
	block   int64 // milliseconds, -1: do not wait
	keys    int   // position of the first key
	streams int   // number of keys
}

func parseRead(c *command.Ctx) (r readArgs, ok bool) {
	r.group = c.Spec.Name == "xreadgroup"
	r.block = -1
	a := c.ArgsFrom(1)
	for a.More() && r.streams == 0 {
		switch {
		case a.Left() > 1 && a.Is("block"):
			if r.block = a.IntOr("ERR timeout is not an integer or out of range"); r.block < 0 {
				a.Fail(command.ErrTimeoutNeg)
			}
		case a.Left() > 1 && a.Is("count"):
			r.count = max(a.Int(), 0)
		case a.Left() > 1 && a.Is("streams"):
			if a.Left()%2 != 0 {
				a.Fail("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")
			}
			r.keys, r.streams = a.Pos(), a.Left()/2
		case a.Left() > 2 && a.Is("group"):
			if !r.group {
				a.Fail("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
			}
			r.name, r.user = a.Next(), a.Next()
		case a.Is("noack"):
			if !r.group {
				a.Fail("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
			}
			r.noAck = true
		default:
			a.Syntax()
		}
	}
	if r.streams == 0 {
		a.Syntax()
	}
	if r.group && r.name == nil {
		a.Fail("ERR Missing GROUP option for XREADGROUP")
	}
	return r, a.Done()
}

// source is one stream of a call.
type streamSource struct {
	key, id int // positions
	from    ds.StreamID
	fresh   bool // XREADGROUP: ">"
}

func (r *readArgs) source(i int) streamSource {
	return streamSource{key: r.keys + i, id: r.keys + r.streams + i}
}

// xread is XREAD and XREADGROUP. It checks all streams before it replies with
// any of them.
func xread(c *command.Ctx) {
	r, ok := parseRead(c)
	if !ok {
		return
	}
	o := c.Obj(0)
	for i := range r.streams {
		src := r.source(i)
		if !r.lookup(c, &src, o, c.Peek) || !r.start(c, &src, o) {
			return
		}
	}
	mark := c.Defer()
	n := 0
	for i := range r.streams {
		src := r.source(i)
		r.lookup(c, &src, o, c.Find)
		r.start(c, &src, o)
		if o.Exists() && o.Type() == store.Stream && r.serve(c, &src, o) {
			n++
		}
	}
	switch {
	case n > 0 && c.RESP3():
		c.EndMap(mark, n)
	case n > 0:
		c.EndArray(mark, n)
	case r.block < 0:
		c.NullArray()
	default:
		var keys [8]int
		at := keys[:0]
		for i := range r.streams {
			at = append(at, r.keys+i)
		}
		if !c.Block(r.block, true, at...) {
			c.NullArray()
		} else {
			c.Blocked.Gone = r.group
		}
	}
}

// lookup points o at the source's key; false, having replied, where that ends the
// command.
func (r *readArgs) lookup(c *command.Ctx, src *streamSource, o *store.Obj, find func(int, *store.Obj) bool) bool {
	if r.group {
		c.FindWrite(src.key, o)
	} else {
		find(src.key, o)
		if c.Retry && o.Exists() && o.Type() != store.Stream {
			*o = store.Obj{}
		}
	}
	if !c.Typed(o, store.Stream) {
		return false
	}
	if r.group {
		if o.Exists() {
			if _, ok := streamAt(o).Group(r.name); ok {
				return true
			}
		}
		c.Error("NOGROUP No such key '" + string(c.Argv[src.key]) + "' or consumer group '" + string(r.name) +
			"' in XREADGROUP with GROUP option")
		return false
	}
	return true
}

// start reads the source's id; false, having replied, where it is none.
func (r *readArgs) start(c *command.Ctx, src *streamSource, o *store.Obj) (ok bool) {
	switch id := string(c.Argv[src.id]); {
	case id == "$" && r.group:
		c.Error("ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by " +
			"specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.")
		return false
	case id == "$":
		if o.Exists() {
			src.from = streamAt(o).Last()
		}
		c.Argv[src.id] = src.from.Append(nil)
	case id == "+" && !r.group: // the last entry that is there
		if o.Exists() {
			if s := streamAt(o); s.Len() > 0 {
				src.from, _ = s.LastLive().Prev()
			} else {
				src.from = s.Last()
			}
		}
		c.Argv[src.id] = src.from.Append(nil)
	case id == ">" && !r.group:
		c.Error("ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.")
		return false
	case id == ">":
		src.fresh = true
	default:
		if src.from, ok = parseID(c.Argv[src.id], 0); !ok {
			c.Error(errStreamID)
			return false
		}
	}
	return true
}

// serve replies with the source's entries and reports whether there are any.
func (r *readArgs) serve(c *command.Ctx, src *streamSource, o *store.Obj) bool {
	s := streamAt(o)
	if r.group {
		g, _ := s.Group(r.name)
		return r.serveGroup(c, src, s, g)
	}
	start, ok := src.from.Next()
	if !ok || s.Len() == 0 || s.LastLive().Less(start) {
		return false
	}
	r.header(c, src)
	replyRange(c, s, start, ds.MaxStreamID, r.count, false)
	return true
}

func (r *readArgs) header(c *command.Ctx, src *streamSource) {
	if !c.RESP3() {
		c.Array(2)
	}
	c.Bulk(c.Argv[src.key])
}

// serveGroup is serve for a consumer, who comes into being with the first call.
func (r *readArgs) serveGroup(c *command.Ctx, src *streamSource, s ds.Stream, g ds.StreamGroup) bool {
	c.NoPropagate()
	user := consumerOf(c, src.key, g, r.name, r.user)
	user.SetSeen(c.Now)
	if !src.fresh {
		r.header(c, src)
		r.history(c, src, s, user)
		return true
	}
	start, ok := g.Last().Next()
	if !ok || s.Len() == 0 || s.LastLive().Less(start) {
		return false
	}
	r.header(c, src)
	r.deliver(c, src, s, g, user, start)
	user.SetActive(c.Now)
	return true
}

// history replies with what the consumer has pending after src.from. An entry
// that was deleted has null for its fields.
func (r *readArgs) history(c *command.Ctx, src *streamSource, s ds.Stream, user ds.StreamConsumer) {
	mark := c.Defer()
	n := int64(0)
	start, ok := src.from.Next()
	if ok {
		for it := user.PendingFrom(start); it.Valid() && (r.count == 0 || n < r.count); it.Next() {
			p := it.Pending()
			e := s.Range(p.ID, p.ID, false)
			if !e.Next() {
				c.Array(2)
				replyStreamID(c, p.ID)
				c.NullArray()
			} else {
				p.SetDelivered(c.Now)
				p.SetDeliveries(p.Deliveries() + 1)
				replyEntry(c, &e)
			}
			n++
		}
	}
	c.EndArray(mark, int(n))
}

// deliver replies with entries from start on that the group has not delivered
// yet, and makes them pending.
func (r *readArgs) deliver(c *command.Ctx, src *streamSource, s ds.Stream, g ds.StreamGroup, user ds.StreamConsumer, start ds.StreamID) {
	mark := c.Defer()
	n := int64(0)
	totals := s.Totals()
	for it := s.Range(start, ds.MaxStreamID, false); (r.count == 0 || n < r.count) && it.Next(); n++ {
		id := it.ID()
		if read := g.EntriesRead(); read != ds.EntriesReadUnknown && !totals.Tombstones(id) {
			g.SetEntriesRead(read + 1)
		} else if totals.Added > 0 {
			g.SetEntriesRead(totals.EntriesReadAt(id))
		}
		g.SetLast(id)
		replyEntry(c, &it)
		if r.noAck {
			continue
		}
		p, ok := g.FindPending(id)
		if ok { // the group's last id was set back
			p.SetConsumer(user)
			p.SetDelivered(c.Now)
			p.SetDeliveries(1)
		} else {
			p = g.AddPending(id, user, c.Now, 1)
		}
		propagateClaim(c, src.key, r.name, g, p)
	}
	c.EndArray(mark, int(n))
	propagateGroupID(c, src.key, r.name, g)
	c.Dirty++
}

// propagateClaim tells the log the state of a pending entry, or, if the entry is
// gone, makes it drop it.
func propagateClaim(c *command.Ctx, key int, group []byte, g ds.StreamGroup, p ds.StreamPending) {
	if !c.LogOn {
		c.NoPropagate()
		return
	}
	c.Propagate([]byte("XCLAIM"), c.Argv[key], group, p.Consumer().Name(), []byte("0"), p.ID.Append(nil),
		[]byte("TIME"), strconv.AppendInt(nil, p.Delivered(), 10), []byte("RETRYCOUNT"), appendUint(nil, p.Deliveries()),
		[]byte("FORCE"), []byte("JUSTID"), []byte("LASTID"), g.Last().Append(nil))
}

// propagateGroupID tells the log how far a group has read.
func propagateGroupID(c *command.Ctx, key int, group []byte, g ds.StreamGroup) {
	if !c.LogOn {
		c.NoPropagate()
		return
	}
	c.Propagate([]byte("XGROUP"), []byte("SETID"), c.Argv[key], group, g.Last().Append(nil),
		[]byte("ENTRIESREAD"), strconv.AppendInt(nil, g.EntriesRead(), 10))
}

// consumerOf returns a group's consumer of that name, made now if there is none.
func consumerOf(c *command.Ctx, key int, g ds.StreamGroup, group, name []byte) ds.StreamConsumer {
	if user, ok := g.Consumer(name); ok {
		return user
	}
	user, _ := g.CreateConsumer(name, c.Now)
	c.Changed(key, "xgroup-createconsumer")
	c.Propagate([]byte("XGROUP"), []byte("CREATECONSUMER"), c.Argv[key], group, name)
	return user
}
