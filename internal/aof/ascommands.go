package aof

import (
	"fmt"
	"io"
	"strconv"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
)

// AsCommands writes the content of an RDB as the commands that make it: a base
// with aof-use-rdb-preamble no. Source: persistence, 13.4.
func AsCommands(w io.Writer, r *rdb.Reader) error {
	c := &converter{w: w, db: -1}
	for {
		event, err := r.Next()
		if err != nil {
			return err
		}
		switch event {
		case rdb.EventEnd:
			return c.flush(1)
		case rdb.EventFunction:
			c.put([]byte("FUNCTION"), []byte("LOAD"), r.Function())
		case rdb.EventKey:
			if r.Value().Kind() == rdb.KindModule {
				return fmt.Errorf("aof: %q is a value of a module, which no command makes", clip(r.Key().Name))
			}
			if err := c.key(r.Key(), r.Value()); err != nil {
				return err
			}
		}
		if err := c.flush(convertBuffer); err != nil {
			return err
		}
	}
}

// itemsPerCommand bounds the elements of one command.
const itemsPerCommand = 64

const convertBuffer = 64 << 10

// converter writes keys as commands.
type converter struct {
	w     io.Writer
	db    int // selected, -1: none
	buf   []byte
	args  [][]byte // of the command being collected
	items []byte   // what they are slices of
	ends  []int    // of the items
}

func (c *converter) put(args ...[]byte) { c.buf = resp.AppendCommand(c.buf, args...) }

func (c *converter) flush(enough int) error {
	if len(c.buf) < enough {
		return nil
	}
	_, err := c.w.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

func (c *converter) key(k *rdb.Key, v *rdb.Value) error {
	if k.DB != c.db {
		c.db = k.DB
		c.buf = appendSelect(c.buf, k.DB)
	}
	var err error
	some := true // the key exists
	switch v.Kind() {
	case rdb.KindString:
		var s []byte
		if s, err = v.Str(); err == nil {
			c.put([]byte("SET"), k.Name, s)
		}
	case rdb.KindStream:
		var st *rdb.Stream
		if st, err = v.Stream(); err == nil {
			err = c.stream(k.Name, st)
		}
	default:
		some, err = c.collection(k.Name, v)
	}
	if err != nil {
		return err
	}
	if k.ExpireAtMs != 0 && some {
		c.put([]byte("PEXPIREAT"), k.Name, strconv.AppendInt(nil, k.ExpireAtMs, 10))
	}
	return nil
}

func (c *converter) collection(key []byte, v *rdb.Value) (some bool, err error) {
	name := map[rdb.Kind]string{rdb.KindList: "RPUSH", rdb.KindSet: "SADD", rdb.KindZSet: "ZADD", rdb.KindHash: "HMSET"}[v.Kind()]
	if name == "" {
		return false, fmt.Errorf("aof: a value of type %v", v.Type())
	}
	n := 0
	end := func() error {
		if n == 0 {
			return nil
		}
		c.args = append(c.args[:0], []byte(name), key)
		from := 0
		for _, to := range c.ends {
			c.args = append(c.args, c.items[from:to])
			from = to
		}
		c.put(c.args...)
		n, c.items, c.ends = 0, c.items[:0], c.ends[:0]
		return c.flush(convertBuffer)
	}
	item := func(b []byte) {
		c.items = append(c.items, b...)
		c.ends = append(c.ends, len(c.items))
	}
	var e rdb.Elem
	for v.Next(&e) {
		some = true
		switch v.Kind() {
		case rdb.KindZSet:
			item(resp.AppendDouble(nil, e.Score))
			item(e.Str)
		case rdb.KindHash:
			if e.ExpireAtMs != 0 {
				c.put([]byte(name), key, e.Str, e.Value)
				c.put([]byte("HPEXPIREAT"), key, strconv.AppendInt(nil, e.ExpireAtMs, 10), []byte("FIELDS"), []byte("1"), e.Str)
				if err := c.flush(convertBuffer); err != nil {
					return some, err
				}
				continue
			}
			item(e.Str)
			item(e.Value)
		default:
			item(e.Str)
		}
		if n++; n == itemsPerCommand || len(c.items) > 1<<20 {
			if err := end(); err != nil {
				return some, err
			}
		}
	}
	if err := v.Err(); err != nil {
		return some, err
	}
	return some, end()
}

func idText(id rdb.StreamID) []byte { return fmt.Appendf(nil, "%d-%d", id.Ms, id.Seq) }

// stream writes a stream, checked by whoever read it.
func (c *converter) stream(key []byte, st *rdb.Stream) error {
	for i := range st.Nodes {
		err := entries(&st.Nodes[i], func(id rdb.StreamID, fields [][]byte) error {
			c.args = append(c.args[:0], []byte("XADD"), key, idText(id))
			c.put(append(c.args, fields...)...)
			return c.flush(convertBuffer)
		})
		if err != nil {
			return err
		}
	}
	if st.Length == 0 { // make it, and take the entry away again
		c.put([]byte("XADD"), key, []byte("MAXLEN"), []byte("0"), []byte("0-1"), []byte("x"), []byte("y"))
	}
	c.put([]byte("XSETID"), key, idText(st.Last), []byte("ENTRIESADDED"), strconv.AppendUint(nil, st.Added, 10), []byte("MAXDELETEDID"), idText(st.MaxDeleted))
	for i := range st.Groups {
		g := &st.Groups[i]
		c.put([]byte("XGROUP"), []byte("CREATE"), key, g.Name, idText(g.Last), []byte("ENTRIESREAD"), strconv.AppendInt(nil, g.EntriesRead, 10))
		owns := make([]bool, len(g.Consumers))
		for _, p := range g.Pending {
			owns[p.Consumer] = true
			c.put([]byte("XCLAIM"), key, g.Name, g.Consumers[p.Consumer].Name, []byte("0"), idText(p.ID), []byte("TIME"), strconv.AppendInt(nil, p.DeliveredMs, 10),
				[]byte("RETRYCOUNT"), strconv.AppendUint(nil, p.Deliveries, 10), []byte("JUSTID"), []byte("FORCE"))
			if err := c.flush(convertBuffer); err != nil {
				return err
			}
		}
		for j := range g.Consumers {
			if !owns[j] {
				c.put([]byte("XGROUP"), []byte("CREATECONSUMER"), key, g.Name, g.Consumers[j].Name)
			}
		}
	}
	return nil
}

// entries calls fn with the live entries of a node, fields and values in turn.
func entries(n *rdb.StreamNode, fn func(id rdb.StreamID, fields [][]byte) error) error {
	it := n.Listpack.Iter()
	next := func() ds.Elem {
		it.Next()
		return it.Elem()
	}
	number := func() int64 {
		v, _ := next().AsInt()
		return v
	}
	text := func() []byte { return next().Append(nil) }
	number() // live
	number() // deleted
	master := make([][]byte, number())
	for i := range master {
		master[i] = text()
	}
	number() // the end of the head
	const deleted, sameFields = 1, 2
	for it.Next() {
		flags, _ := it.Elem().AsInt()
		id := rdb.StreamID{Ms: n.Key.Ms + uint64(number()), Seq: n.Key.Seq + uint64(number())}
		var fields [][]byte
		if flags&sameFields != 0 {
			for _, f := range master {
				fields = append(fields, f, text())
			}
		} else {
			for range 2 * number() {
				fields = append(fields, text())
			}
		}
		number() // elements, to walk back
		if flags&deleted != 0 {
			continue
		}
		if err := fn(id, fields); err != nil {
			return err
		}
	}
	return nil
}
