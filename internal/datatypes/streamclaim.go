package datatypes

import (
	"math"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// XPENDING tells what a group's consumers have not acknowledged, XCLAIM and
// XAUTOCLAIM give it to another one. What is claimed enters the log entry by
// entry, as XCLAIM with all facts (propagateClaim).

func streamClaimSpecs() []*command.Spec {
	clock := []string{"nondeterministic_output"}
	return []*command.Spec{
		{Name: "xpending", Group: command.Stream, Since: "5.0.0", Arity: -3,
			Complexity: "O(N), N being the number of entries returned, or of consumers in the short form.",
			Summary:    "Tells about the entries that a group has pending.", Syntax: "key group [[IDLE min-idle-time] start end count [consumer]]",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Tips: clock, Run: xpending},
		{Name: "xclaim", Group: command.Stream, Since: "5.0.0", Arity: -6, Complexity: "O(log N) for each id, N being the entries pending.",
			Summary: "Gives pending entries to a consumer, as if they had been delivered to it.",
			Syntax:  "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
			Flags:   command.Write | command.Fast, Keys: command.OneKey(command.RW | command.Update), Tips: clock, Run: xclaim},
		{Name: "xautoclaim", Group: command.Stream, Since: "6.2.0", Arity: -6, Complexity: "O(1) if COUNT is small.",
			Summary: "Gives entries that were pending for long to a consumer.", Syntax: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
			Flags: command.Write | command.Fast, Keys: command.OneKey(command.RW | command.Delete), Tips: clock, Run: xautoclaim},
	}
}

// groupToClaim finds the group in arguments 1 and 2; false, having replied, if
// there is none.
func groupToClaim(c *command.Ctx, o *store.Obj) (g ds.StreamGroup, ok bool) {
	if !c.Typed(o, store.Stream) {
		return g, false
	}
	if o.Exists() {
		if g, ok = streamAt(o).Group(c.Argv[2]); ok {
			return g, true
		}
	}
	c.Error(errNoKeyOrGroup(c.Argv[1], c.Argv[2]))
	return g, false
}

func xpending(c *command.Ctx) {
	n := len(c.Argv)
	if n != 3 && (n < 6 || n > 9) {
		c.Error(command.ErrSyntax)
		return
	}
	first, minIdle := 3, int64(0)
	if n > 3 && command.Word(c.Argv[3], "idle") {
		a := c.ArgsFrom(4)
		minIdle = a.Int()
		if n < 8 {
			a.Syntax()
		}
		if !a.Done() {
			return
		}
		first = 5
	}
	var start, end ds.StreamID
	count := int64(0)
	var user []byte
	if n > 3 {
		a := c.ArgsFrom(first + 2)
		if count = max(a.Int(), 0); a.More() {
			user = a.Next() // what follows is not looked at
		}
		if !a.Done() {
			return
		}
		ok := false
		if start, end, ok = interval(c, first, first+1); !ok {
			return
		}
	}
	o := c.Obj(0)
	c.Find(1, o)
	g, ok := groupToClaim(c, o)
	switch {
	case !ok:
	case n == 3:
		pendingSummary(c, g)
	default:
		pendingRange(c, g, start, end, count, minIdle, user)
	}
}

func pendingSummary(c *command.Ctx, g ds.StreamGroup) {
	c.Array(4)
	c.Int(int64(g.Pending()))
	if g.Pending() == 0 {
		c.Null()
		c.Null()
		c.NullArray()
		return
	}
	first, last := g.PendingFrom(ds.StreamID{}), g.LastPending()
	replyStreamID(c, first.Pending().ID)
	replyStreamID(c, last.Pending().ID)
	mark := c.Defer()
	n := 0
	for i := range g.Consumers() {
		if user := g.ConsumerAt(i); user.Pending() > 0 {
			c.Array(2)
			c.Bulk(user.Name())
			c.BulkInt(int64(user.Pending()))
			n++
		}
	}
	c.EndArray(mark, n)
}

func pendingRange(c *command.Ctx, g ds.StreamGroup, start, end ds.StreamID, count, minIdle int64, user []byte) {
	it := g.PendingFrom(start)
	if user != nil {
		one, ok := g.Consumer(user)
		if !ok {
			c.Array(0)
			return
		}
		it = one.PendingFrom(start)
	}
	mark := c.Defer()
	n := int64(0)
	for ; it.Valid() && n < count; it.Next() {
		p := it.Pending()
		if end.Less(p.ID) {
			break
		}
		idle := c.Now - p.Delivered()
		if minIdle > 0 && idle < minIdle {
			continue
		}
		c.Array(4)
		replyStreamID(c, p.ID)
		c.Bulk(p.Consumer().Name())
		c.Int(max(idle, 0))
		c.Int(int64(p.Deliveries()))
		n++
	}
	c.EndArray(mark, int(n))
}

// claimArgs is what XCLAIM is asked to do.
type claimArgs struct {
	minIdle       int64
	ids           int // arguments 5 to 5+ids-1
	deliveredMs   int64
	retries       int64 // -1: count on
	force, justID bool
	last          ds.StreamID
}

func parseClaim(c *command.Ctx) (x claimArgs, ok bool) {
	x.retries = -1
	a := c.ArgsFrom(4)
	x.minIdle = max(a.IntOr("ERR Invalid min-idle-time argument for XCLAIM"), 0)
	for a.More() {
		if _, ok := parseID(c.Argv[a.Pos()], 0); !ok {
			break
		}
		x.ids++
		a.Skip(1)
	}
	x.deliveredMs = c.Now
	for a.More() {
		switch {
		case a.Is("force"):
			x.force = true
		case a.Is("justid"):
			x.justID = true
		case a.Left() > 1 && a.Is("idle"):
			x.deliveredMs = c.Now - a.IntOr("ERR Invalid IDLE option argument for XCLAIM")
		case a.Left() > 1 && a.Is("time"):
			x.deliveredMs = a.IntOr("ERR Invalid TIME option argument for XCLAIM")
		case a.Left() > 1 && a.Is("retrycount"):
			x.retries = a.IntOr("ERR Invalid RETRYCOUNT option argument for XCLAIM")
		case a.Left() > 1 && a.Is("lastid"):
			x.last = strictID(a, 0)
		default:
			a.Fail("ERR Unrecognized XCLAIM option '" + string(c.Argv[a.Pos()]) + "'")
		}
	}
	if x.deliveredMs < 0 || x.deliveredMs > c.Now {
		// The clocks of those who take the log may differ, but only from the
		// primary's point of view is a time in the future a mistake.
		x.deliveredMs = c.Now
	}
	return x, a.Done()
}

func xclaim(c *command.Ctx) {
	o := c.Obj(0)
	c.FindWrite(1, o)
	g, ok := groupToClaim(c, o)
	if !ok {
		return
	}
	x, ok := parseClaim(c)
	if !ok {
		return
	}
	s := streamAt(o)
	c.NoPropagate()
	tellLast := g.Last().Less(x.last)
	if tellLast {
		g.SetLast(x.last)
	}
	user := consumerOf(c, 1, g, c.Argv[2], c.Argv[3])
	user.SetSeen(c.Now)
	mark := c.Defer()
	n := 0
	for _, arg := range c.Argv[5 : 5+x.ids] {
		id, _ := parseID(arg, 0)
		p, pending := g.FindPending(id)
		e := s.Range(id, id, false)
		if !e.Next() {
			if pending {
				dropPending(c, g, p)
				tellLast = false
			}
			continue
		}
		if !pending {
			if !x.force {
				continue
			}
			p = g.AddPending(id, user, c.Now, 0)
		} else if x.minIdle > 0 && c.Now-p.Delivered() < x.minIdle {
			continue
		}
		p.SetConsumer(user)
		p.SetDelivered(x.deliveredMs)
		if x.retries >= 0 {
			p.SetDeliveries(uint64(x.retries))
		} else if !x.justID {
			p.SetDeliveries(p.Deliveries() + 1)
		}
		replyClaimed(c, &e, x.justID)
		user.SetActive(c.Now)
		propagateClaim(c, 1, c.Argv[2], g, p)
		c.Dirty++
		tellLast = false
		n++
	}
	c.EndArray(mark, n)
	if tellLast {
		propagateGroupID(c, 1, c.Argv[2], g)
		c.Dirty++
	}
}

// dropPending removes a pending entry whose stream entry is gone.
func dropPending(c *command.Ctx, g ds.StreamGroup, p ds.StreamPending) {
	propagateClaim(c, 1, c.Argv[2], g, p)
	g.Ack(p.ID)
	c.Dirty++
}

func replyClaimed(c *command.Ctx, e *ds.StreamIter, justID bool) {
	if justID {
		replyStreamID(c, e.ID())
	} else {
		replyEntry(c, e)
	}
}

// autoclaimLooks bounds the pending entries that XAUTOCLAIM looks at, for each it
// may claim.
const autoclaimLooks = 10

func xautoclaim(c *command.Ctx) {
	a := c.ArgsFrom(4)
	minIdle := max(a.IntOr("ERR Invalid min-idle-time argument for XAUTOCLAIM"), 0)
	if !a.Done() {
		return
	}
	start, ok := intervalEnd(c, 5, 0)
	if !ok {
		return
	}
	count, justID := int64(100), false
	a = c.ArgsFrom(6)
	for a.More() {
		switch {
		case a.Left() > 1 && a.Is("count"):
			if count = a.IntOr("ERR COUNT must be > 0"); count < 1 || count > math.MaxInt64/autoclaimLooks {
				a.Fail("ERR COUNT must be > 0")
			}
		case a.Is("justid"):
			justID = true
		default:
			a.Syntax()
		}
	}
	if !a.Done() {
		return
	}
	o := c.Obj(0)
	c.FindWrite(1, o)
	g, ok := groupToClaim(c, o)
	if !ok {
		return
	}
	s := streamAt(o)
	c.NoPropagate()
	user := consumerOf(c, 1, g, c.Argv[2], c.Argv[3])
	user.SetSeen(c.Now)
	mark := c.Defer()
	var gone []ds.StreamID
	n, looks := 0, count*autoclaimLooks
	it := g.PendingFrom(start)
	for ; looks > 0 && count > 0 && it.Valid(); looks-- {
		p := it.Pending()
		e := s.Range(p.ID, p.ID, false)
		if !e.Next() {
			gone = append(gone, p.ID)
			dropPending(c, g, p)
			count--
			it = g.PendingFrom(p.ID) // it was removed
			continue
		}
		it.Next()
		if minIdle > 0 && c.Now-p.Delivered() < minIdle {
			continue
		}
		p.SetConsumer(user)
		p.SetDelivered(c.Now)
		if !justID {
			p.SetDeliveries(p.Deliveries() + 1)
		}
		replyClaimed(c, &e, justID)
		user.SetActive(c.Now)
		propagateClaim(c, 1, c.Argv[2], g, p)
		c.Dirty++
		count--
		n++
	}
	c.EndArray(mark, n)
	var next ds.StreamID
	if it.Valid() {
		next = it.Pending().ID
	}
	old := len(c.Buf)
	c.Array(3)
	replyStreamID(c, next)
	head := append([]byte(nil), c.Buf[old:]...) // to go before the entries
	copy(c.Buf[int(mark)+len(head):], c.Buf[mark:old])
	copy(c.Buf[mark:], head)
	c.Array(len(gone))
	for _, id := range gone {
		replyStreamID(c, id)
	}
}
