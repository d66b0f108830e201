package datatypes

import (
	"slices"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// bigStandIn is the number of arguments above which stand-ins make the big
// encoding.
const bigStandIn = 1000

// standIns are the few commands that the dialogues of SORT, COPY and the like
// need to make collections, for as long as Specs has none of that name. They
// know just what those dialogues do: make new keys and look at one element.
func standIns() []*command.Spec {
	big := func(c *command.Ctx) bool { return len(c.Argv) > bigStandIn }
	small := func(c *command.Ctx, t store.Type) *store.Obj {
		o := c.Obj(0)
		c.Create(1, o, t, store.Listpack, ds.LPEmptySize)
		ds.LPInit(o)
		return o
	}
	all := []*command.Spec{
		{Name: "rpush", Arity: -3, Flags: command.Write, Keys: command.OneKey(command.RW), Run: func(c *command.Ctx) {
			o := c.Obj(0)
			if big(c) {
				v := c.Create(1, o, store.List, store.Quicklist, ds.QuicklistHeader)
				q := ds.InitQuicklist(o.Arena(), v)
				for _, e := range c.Argv[2:] {
					q.PushTail(e, -2)
				}
			} else {
				o = small(c, store.List)
				for _, e := range c.Argv[2:] {
					ds.LPAppend(o, e)
				}
			}
			c.Int(int64(len(c.Argv) - 2))
		}},
		{Name: "sadd", Arity: -3, Flags: command.Write, Keys: command.OneKey(command.RW), Run: func(c *command.Ctx) {
			o := c.Obj(0)
			if big(c) {
				v := c.Create(1, o, store.Set, store.Hashtable, ds.TableHeader)
				t := ds.InitTable(o.Arena(), v)
				for _, e := range c.Argv[2:] {
					t.Add(e)
				}
			} else if n, ok := command.ParseInt(c.Argv[2]); ok {
				c.Create(1, o, store.Set, store.Intset, 8)
				ds.IntsetInit(o)
				ds.IntsetAdd(o, n)
				for _, e := range c.Argv[3:] {
					n, _ := command.ParseInt(e)
					ds.IntsetAdd(o, n)
				}
			} else {
				o = small(c, store.Set)
				for _, e := range c.Argv[2:] {
					ds.LPAppend(o, e)
				}
			}
			c.Int(int64(len(c.Argv) - 2))
		}},
		{Name: "scard", Arity: 2, Flags: command.ReadOnly, Keys: command.OneKey(command.RO), Run: func(c *command.Ctx) {
			n := 0
			if o := c.Obj(0); c.Find(1, o) {
				eachElement(o, false, func([]byte) { n++ })
			}
			c.Int(int64(n))
		}},
		{Name: "zadd", Arity: -4, Flags: command.Write, Keys: command.OneKey(command.RW), Run: func(c *command.Ctx) {
			o := c.Obj(0)
			if big(c) {
				v := c.Create(1, o, store.ZSet, store.Skiplist, ds.ZSetHeader)
				z := ds.InitZSet(o.Arena(), v)
				for i := 2; i < len(c.Argv); i += 2 {
					f, _ := command.ParseFloat(c.Argv[i])
					z.Set(c.Argv[i+1], f)
				}
			} else {
				o = small(c, store.ZSet)
				for i := 2; i < len(c.Argv); i += 2 {
					f, _ := command.ParseFloat(c.Argv[i])
					ds.LPZSet(o, c.Argv[i+1], f)
				}
			}
			c.Int(int64(len(c.Argv)-2) / 2)
		}},
		{Name: "zscore", Arity: 3, Flags: command.ReadOnly, Keys: command.OneKey(command.RO), Run: func(c *command.Ctx) {
			o := c.Obj(0)
			if !c.Find(1, o) {
				c.Null()
			} else if _, _, f := ds.LP(o.Bytes()).ZFind(c.Argv[2]); true {
				c.Double(f)
			}
		}},
		{Name: "hset", Arity: -4, Flags: command.Write, Keys: command.OneKey(command.RW), Run: func(c *command.Ctx) {
			o := c.Obj(0)
			if big(c) {
				v := c.Create(1, o, store.Hash_, store.Hashtable, ds.TableHeader)
				t := ds.InitTable(o.Arena(), v)
				for i := 2; i < len(c.Argv); i += 2 {
					t.Set(c.Argv[i], c.Argv[i+1])
				}
			} else {
				o = small(c, store.Hash_)
				for i := 2; i < len(c.Argv); i += 2 {
					ds.LPSetPair(o, c.Argv[i], c.Argv[i+1])
				}
			}
			c.Int(int64(len(c.Argv)-2) / 2)
		}},
		{Name: "hget", Arity: 3, Flags: command.ReadOnly, Keys: command.OneKey(command.RO), Run: func(c *command.Ctx) {
			o := c.Obj(0)
			if !c.Find(1, o) {
				c.Null()
				return
			}
			p := ds.LP(o.Bytes())
			_, off := p.FindPair(c.Argv[2])
			c.Bulk(p.AppendElem(nil, off))
		}},
	}
	have := Specs()
	return slices.DeleteFunc(all, func(s *command.Spec) bool {
		return slices.ContainsFunc(have, func(h *command.Spec) bool { return h.Name == s.Name })
	})
}
