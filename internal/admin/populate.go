package admin

import (
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// populate creates strings for tests: prefix:0, prefix:1, ... with the values
// value:0, value:1, ..., cut or filled with zeros to a size if one is given.
// Existing keys stay. Nothing is propagated, and keys go to the slots of their
// names whoever owns those.
func (a *admin) populate(c *command.Ctx) {
	count, ok := command.ParseInt(c.Arg(2))
	if !ok || count < 0 {
		c.Error(command.ErrMustPositive)
		return
	}
	prefix := "key"
	if len(c.Argv) > 3 {
		prefix = string(c.Arg(3))
	}
	size := int64(0)
	if len(c.Argv) > 4 {
		if size, ok = command.ParseInt(c.Arg(4)); !ok || size < 0 {
			c.Error(command.ErrMustPositive)
			return
		}
	}
	if size > c.Env.Limits().MaxBulk {
		c.Error(command.ErrTooLong)
		return
	}
	st, db := a.Engine.Store, c.DB
	o := c.Obj(0)
	key := append([]byte(prefix), ':')
	stem := len(key)
	value := []byte("value:")
	for i := range count {
		key = strconv.AppendInt(key[:stem], i, 10)
		value = strconv.AppendInt(value[:len("value:")], i, 10)
		n := int(size)
		if n == 0 {
			n = len(value)
		}
		e := store.Raw
		if n <= embstrMax {
			e = store.Embstr
		}
		k := command.MakeKey(0, key)
		if !c.World {
			st.Lock(k.Slot)
		}
		if !db.Find(k.Slot, k.Hash, key, o) {
			v := db.Create(k.Slot, k.Hash, key, store.String, e, n, 0, c.Second(), o)
			clear(v[copy(v, value):])
		}
		if !c.World {
			st.Unlock(k.Slot)
		}
	}
	c.OK()
}

// Longest string that OBJECT ENCODING calls embstr.
const embstrMax = 44
