package bus

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// slotMetrics are the statistics of a slot by name, in the order of the reply.
// Those after the first need cluster-slot-stats-enabled.
var slotMetrics = [...]string{"key-count", "cpu-usec", "network-bytes-in", "network-bytes-out"}

// slotStat is one slot of the reply, its values in the order of slotMetrics.
type slotStat struct {
	slot   int
	values [len(slotMetrics)]int64
}

// slotStats is CLUSTER SLOT-STATS. Source: cluster specification, 11.11.
func slotStats(b *Bus, c *command.Ctx) {
	a := c.ArgsFrom(2)
	switch {
	case a.Is("slotsrange") && len(c.Argv) == 5:
		b.slotStatsRange(c)
	case a.Is("orderby"):
		b.slotStatsOrder(c)
	default:
		c.SubSyntax()
	}
}

// slotStatsRange is SLOTSRANGE: the slots from first to last.
func (b *Bus) slotStatsRange(c *command.Ctx) {
	first, ok := parseSlot(c, c.Arg(3))
	if !ok {
		return
	}
	last, ok := parseSlot(c, c.Arg(4))
	if !ok {
		return
	}
	if first > last {
		c.Error(fmt.Sprintf("ERR Start slot number %d is greater than end slot number %d", first, last))
		return
	}
	b.replySlotStats(c, b.statsOf(first, last))
}

// slotStatsOrder is ORDERBY: slots by a metric, ties by number.
func (b *Bus) slotStatsOrder(c *command.Ctx) {
	metric := slices.IndexFunc(slotMetrics[:], func(name string) bool { return command.Word(c.Arg(3), name) })
	if metric < 0 || metric > 0 && b.opt.Engine.SlotUsage(0) == nil {
		c.Error("ERR Unrecognized sort metric for ORDERBY.")
		return
	}
	limit, desc := int64(store.Slots), true
	seenLimit, seenOrder := false, false
	again := func(seen *bool) bool {
		if *seen {
			c.Error("ERR Multiple filters of the same type are disallowed.")
		}
		defer func() { *seen = true }()
		return *seen
	}
	for args := c.Argv[4:]; len(args) > 0; {
		n := 1
		switch {
		case command.Word(args[0], "limit") && len(args) > 1:
			v, ok := command.ParseInt(args[1])
			if !ok || v < 1 || v > store.Slots {
				c.Error("ERR Limit has to lie in between 1 and 16384 (maximum number of slots).")
				return
			}
			if again(&seenLimit) {
				return
			}
			limit, n = v, 2
		case command.Word(args[0], "asc"), command.Word(args[0], "desc"):
			if again(&seenOrder) {
				return
			}
			desc = command.Word(args[0], "desc")
		default:
			c.Error(command.ErrSyntax)
			return
		}
		args = args[n:]
	}
	stats := b.statsOf(0, store.Slots-1)
	slices.SortStableFunc(stats, func(x, y slotStat) int {
		if desc {
			x, y = y, x
		}
		return cmp.Compare(x.values[metric], y.values[metric])
	})
	b.replySlotStats(c, stats[:min(int(limit), len(stats))])
}

// statsOf gathers the statistics of those slots from first to last that belong
// to the node's shard.
func (b *Bus) statsOf(first, last int) (stats []slotStat) {
	own := shardSlots(b.View())
	db := b.opt.Engine.Store.DB(0)
	for slot := own.Next(first); slot >= 0 && slot <= last; slot = own.Next(slot + 1) {
		s := slotStat{slot: slot}
		s.values[0] = int64(db.SlotLen(uint16(slot)))
		if u := b.opt.Engine.SlotUsage(slot); u != nil {
			s.values[1] = u.Nanos.Load() / 1000
			s.values[2] = u.In.Load()
			s.values[3] = u.Out.Load()
		}
		stats = append(stats, s)
	}
	return stats
}

func (b *Bus) replySlotStats(c *command.Ctx, stats []slotStat) {
	n := len(slotMetrics)
	if b.opt.Engine.SlotUsage(0) == nil {
		n = 1
	}
	c.Array(len(stats))
	for _, s := range stats {
		c.Array(2)
		c.Int(int64(s.slot))
		c.Map(n)
		for i, name := range slotMetrics[:n] {
			c.BulkString(name)
			c.Int(s.values[i])
		}
	}
}

// shardSlots are the slots of the node's own shard: its primary's, if it is a
// replica of a known one.
func shardSlots(v *cluster.View) *cluster.SlotSet {
	me := v.Myself()
	if p := v.Node(me.Primary); p != nil {
		return p.Slots
	}
	return me.Slots
}
