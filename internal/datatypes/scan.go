package datatypes

import (
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/glob"
	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// The commands here look at the whole keyspace. They run without slot locks
// (command.OwnLocks) and take one after the other, so a KEYS or DBSIZE is no
// view of one instant, except where the caller holds the world lock, as EXEC
// does for them.

func scanSpecs() []*command.Spec {
	return []*command.Spec{
		{Name: "keys", Group: command.Generic, Since: "1.0.0", Arity: 2, Complexity: "O(N), N being the number of keys.",
			Summary: "Returns all keys that match a pattern.", Syntax: "pattern",
			Flags: command.ReadOnly | command.OwnLocks, Categories: []string{"dangerous"},
			Tips: []string{"request_policy:all_shards", "nondeterministic_output_order"}, Run: keys},
		{Name: "scan", Group: command.Generic, Since: "2.8.0", Arity: -2,
			Complexity: "O(1) for each call, O(N) for a whole iteration, N being the number of keys.",
			Summary:    "Iterates over the keys, some at each call.",
			Syntax:     "cursor [MATCH pattern] [COUNT count] [TYPE type]",
			Flags:      command.ReadOnly | command.OwnLocks,
			Tips:       []string{"nondeterministic_output", "request_policy:special"}, Run: scan},
		{Name: "randomkey", Group: command.Generic, Since: "1.0.0", Arity: 1, Complexity: "O(1)",
			Summary: "Returns a random key.", Flags: command.ReadOnly | command.OwnLocks,
			Tips: []string{"request_policy:all_shards", "nondeterministic_output"}, Run: randomkey},
		{Name: "dbsize", Group: command.Server, Since: "1.0.0", Arity: 1, Complexity: "O(1)",
			Summary: "Returns the number of keys in the database.", Flags: command.ReadOnly | command.Fast | command.OwnLocks,
			Categories: []string{"keyspace"},
			Tips:       []string{"request_policy:all_shards", "response_policy:agg_sum"}, Run: dbsize},
	}
}

// visible reports whether o counts as existing.
func visible(c *command.Ctx, o *store.Obj) bool {
	return c.Expire == command.ExpireIgnore || !o.Expired(c.Now)
}

// filter is what KEYS and SCAN let through.
type filter struct {
	pattern []byte // nil: any key
	typ     string // "": any type
	slot    int    // only keys of this slot can match, or hashslot.AnySlot
}

func (f *filter) match(pattern []byte) {
	f.slot = hashslot.AnySlot
	if len(pattern) == 1 && pattern[0] == '*' {
		return
	}
	f.pattern = pattern
	f.slot = hashslot.PatternSlot(pattern)
}

func (f *filter) takes(c *command.Ctx, o *store.Obj) bool {
	return (f.pattern == nil || glob.Match(f.pattern, o.Key(), false)) &&
		(f.typ == "" || f.typ == o.Type().String()) && visible(c, o)
}

// walk visits keys from cursor on, about count of them, and returns the next
// cursor. Where only one slot can match, only that is walked.
func (f *filter) walk(c *command.Ctx, cursor uint64, count int, visit func(o *store.Obj)) uint64 {
	if f.slot == hashslot.AnySlot {
		return c.DB.Scan(cursor, count, c.World, visit)
	}
	slot, pos := store.SplitCursor(cursor)
	switch {
	case int(slot) > f.slot || pos >= 1<<26:
		return 0
	case int(slot) < f.slot:
		pos = 0
	}
	st := c.DB.Store()
	if st.SlotHidden(uint16(f.slot)) {
		return 0
	}
	if !c.World {
		st.Lock(uint16(f.slot))
		defer st.Unlock(uint16(f.slot))
	}
	if pos = c.DB.ScanSlot(uint16(f.slot), pos, count, visit); pos == 0 {
		return 0
	}
	return store.CursorOf(uint16(f.slot), pos)
}

func keys(c *command.Ctx) {
	var f filter
	f.match(c.Argv[1])
	n := 0
	m := c.Defer()
	for cursor := uint64(0); ; {
		cursor = f.walk(c, cursor, math.MaxInt, func(o *store.Obj) {
			if f.takes(c, o) {
				c.Bulk(o.Key())
				n++
			}
		})
		if cursor == 0 {
			break
		}
	}
	c.EndArray(m, n)
}

// parseCursor reads a cursor as strtoul does: an unsigned number, which may
// have a sign.
func parseCursor(b []byte) (uint64, bool) {
	neg := false
	if len(b) > 1 && (b[0] == '+' || b[0] == '-') {
		neg, b = b[0] == '-', b[1:]
	}
	if len(b) == 0 {
		return 0, true // strtoul's answer to no digits at all
	}
	if len(b) > 32 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, false
	}
	if neg {
		n = -n
	}
	return n, true
}

func scan(c *command.Ctx) {
	cursor, ok := parseCursor(c.Argv[1])
	if !ok {
		c.Error("ERR invalid cursor")
		return
	}
	f := filter{slot: hashslot.AnySlot}
	count := int64(10)
	a := c.ArgsFrom(2)
	for a.More() {
		switch {
		case a.Left() > 1 && a.Is("count"):
			if count = a.Int(); count < 1 {
				a.Syntax()
			}
		case a.Left() > 1 && a.Is("match"):
			f.match(a.Next())
		case a.Left() > 1 && a.Is("type"):
			f.typ = lowerString(a.Next())
		default:
			a.Syntax()
		}
	}
	if !a.Done() {
		return
	}
	start := c.Defer()
	n := 0
	next := f.walk(c, cursor, int(count), func(o *store.Obj) {
		if f.takes(c, o) {
			c.Bulk(o.Key())
			n++
		}
	})
	c.EndArray(start, n)
	endCursor(c, start, next)
}

// endCursor turns the reply written since m into the second element of a pair
// whose first is the cursor, as all commands of the SCAN family reply.
func endCursor(c *command.Ctx, m resp.Mark, cursor uint64) {
	old := len(c.Buf)
	c.Array(2)
	var tmp [20]byte
	c.Bulk(strconv.AppendUint(tmp[:0], cursor, 10))
	var head [48]byte
	n := copy(head[:], c.Buf[old:])
	copy(c.Buf[int(m)+n:], c.Buf[m:old])
	copy(c.Buf[m:], head[:n])
}

func lowerString(b []byte) string {
	s := make([]byte, len(b))
	for i, ch := range b {
		if 'A' <= ch && ch <= 'Z' {
			ch |= 0x20
		}
		s[i] = ch
	}
	return string(s)
}

// randomTries bounds the search for a key that has not expired before it turns
// into a walk.
const randomTries = 100

// randomDraws is the number of slots of which one is chosen by how many keys
// they hold: slots differ, and each key should have the same chance.
const randomDraws = 8

func randomkey(c *command.Ctx) {
	for range randomTries {
		slot, most := store.Slots, 0
		for range randomDraws {
			s := c.DB.RandomSlot(rand.Uint64())
			if s == store.Slots {
				c.Null()
				return
			}
			n := withSlot(c, s, func() int { return c.DB.SlotLen(uint16(s)) })
			// Keep each of the slots with a chance that goes by its keys.
			if most += n; n > 0 && rand.IntN(most) < n {
				slot = s
			}
		}
		if slot == store.Slots {
			continue
		}
		found := withSlot(c, slot, func() int {
			o := c.Obj(0)
			if !c.DB.Random(uint16(slot), rand.Uint64(), o) || !visible(c, o) {
				return 0
			}
			c.Bulk(o.Key())
			return 1
		})
		if found == 1 {
			return
		}
	}
	// Almost every key has expired and waits for its deletion: take any other.
	found := false
	for cursor := uint64(0); ; {
		cursor = c.DB.Scan(cursor, 1000, c.World, func(o *store.Obj) {
			if !found && visible(c, o) {
				c.Bulk(o.Key())
				found = true
			}
		})
		if found {
			return
		}
		if cursor == 0 {
			c.Null()
			return
		}
	}
}

// withSlot calls f with the slot locked.
func withSlot(c *command.Ctx, slot int, f func() int) int {
	if !c.World {
		st := c.DB.Store()
		st.Lock(uint16(slot))
		defer st.Unlock(uint16(slot))
	}
	return f()
}

func dbsize(c *command.Ctx) {
	n, _ := c.DB.Visible(c.World)
	c.Int(int64(n))
}
