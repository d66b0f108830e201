package datatypes

import (
	"fmt"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// copyValue makes key in db, which does not exist, with a copy of src's value,
// encoding and expiry, and points dst at it. Elements are copied one by one only
// where the encoding holds them outside of the record.
func copyValue(c *command.Ctx, src *store.Obj, db *store.DB, key []byte, dst *store.Obj) {
	v := src.Bytes()
	to := c.CreateIn(db, key, dst, src.Type(), src.Encoding(), len(v), src.ExpireAt())
	from, arena := src.Arena(), dst.Arena()
	switch src.Encoding() {
	case store.Raw, store.Embstr, store.Int, store.Listpack, store.Intset:
		copy(to, v)
	case store.ListpackTTL:
		copy(to, v)
		dst.NoteFieldTime()
	case store.HashtableTTL:
		old, t := ds.OpenTTLTable(from, v), ds.InitTTLTable(arena, to)
		t.Reserve(old.Len())
		old.Each(func(field, value []byte, at int64) bool {
			t.Set(field, value, at)
			return true
		})
		dst.NoteFieldTime()
	case store.Hashtable:
		old, t := ds.OpenTable(from, v), ds.InitTable(arena, to)
		t.Reserve(old.Len())
		old.Each(func(field, value []byte) bool {
			t.Set(field, value)
			return true
		})
	case store.Quicklist:
		fill := c.Env.Limits().ListSize
		q := ds.InitQuicklist(arena, to)
		ds.OpenQuicklist(from, v).Nodes(func(data []byte, plain bool) bool {
			if plain {
				q.AppendPlain(data, fill)
			} else {
				q.AppendPacked(data, fill)
			}
			return true
		})
	case store.Skiplist:
		z := ds.InitZSet(arena, to)
		ds.OpenZSet(from, v).Each(func(member []byte, score float64) bool {
			z.Set(member, score)
			return true
		})
	case store.StreamTree:
		ds.OpenStream(from, v).CopyTo(ds.InitStream(arena, to))
	default:
		panic(fmt.Sprintf("datatypes: no copy of encoding %v", src.Encoding()))
	}
}
