package datatypes

import (
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// A HyperLogLog is a string; its bytes are ds.HLL's.

const (
	errNotHLL     = "WRONGTYPE Key is not a valid HyperLogLog string value."
	errBrokenHLL  = "INVALIDOBJ Corrupted HLL object detected"
	errNoDebugKey = "ERR The specified key does not exist"
)

func hyperLogLogSpecs() []*command.Spec {
	return []*command.Spec{
		{Name: "pfadd", Group: command.HyperLogLog, Since: "2.8.9", Arity: -2, Complexity: "O(1) for each element.",
			Summary: "Adds elements to a HyperLogLog; creates the key if there is none.", Syntax: "key [element [element ...]]",
			Flags: command.Write | command.DenyOOM | command.Fast, Keys: command.OneKey(command.RW | command.Insert), Run: pfadd},
		{Name: "pfcount", Group: command.HyperLogLog, Since: "2.8.9", Arity: -2,
			Complexity: "O(1) for one key whose estimate is known, else O(N), N being the number of keys, with a large constant.",
			Summary:    "Estimates how many different elements one or several HyperLogLogs were given.", Syntax: "key [key ...]",
			Flags: command.ReadOnly, Keys: command.KeyRange(1, -1, 1, command.RW|command.Access), Run: pfcount},
		{Name: "pfmerge", Group: command.HyperLogLog, Since: "2.8.9", Arity: -2,
			Complexity: "O(N), N being the number of keys, with a large constant.",
			Summary:    "Merges HyperLogLogs into one.", Syntax: "destkey [sourcekey [sourcekey ...]]",
			Flags: command.Write | command.DenyOOM,
			Keys: append([]command.KeySpec{command.KeyAt(1, command.RW|command.Access|command.Insert)},
				command.KeyRange(2, -1, 1, command.RO|command.Access)...), Run: pfmerge},
		{Name: "pfdebug", Group: command.HyperLogLog, Since: "2.8.9", Arity: 3, Complexity: "O(1), with a large constant.",
			Summary: "Shows the inside of a HyperLogLog.", Syntax: "subcommand key",
			Flags: command.Write | command.DenyOOM | command.Admin,
			Keys:  []command.KeySpec{command.KeyAt(2, command.RW|command.Access)}, Run: pfdebug},
		{Name: "pfselftest", Group: command.HyperLogLog, Since: "2.8.9", Arity: 1, Complexity: "O(1), with a large constant.",
			Summary: "Tests registers and estimates of HyperLogLogs.", Flags: command.Admin, Run: pfselftest},
	}
}

// checkHLL checks that o, which exists, is a HyperLogLog that commands can rely
// on; if not, it replies and returns false.
func checkHLL(c *command.Ctx, o *store.Obj) bool {
	if !c.Typed(o, store.String) {
		return false
	}
	h := ds.HLL(o.Bytes())
	switch {
	case !h.Valid():
		c.Error(errNotHLL)
	case !h.Sound():
		c.Error(errBrokenHLL)
	default:
		return true
	}
	return false
}

// hllToWrite points o at the HyperLogLog in argument 1 to be changed, made if
// there is none, which created tells. It returns false, having replied, where
// the key holds something else.
func hllToWrite(c *command.Ctx, o *store.Obj) (created, ok bool) {
	if !c.FindWrite(1, o) {
		c.Create(1, o, store.String, store.Raw, 0)
		ds.HLLInit(o)
		return true, true
	}
	if !checkHLL(c, o) {
		return false, false
	}
	o.SetEncoding(store.Raw)
	return false, true
}

func pfadd(c *command.Ctx) {
	o := c.Obj(0)
	changed, ok := hllToWrite(c, o)
	if !ok {
		return
	}
	limit := c.Env.Limits().HLLSparse
	n := boolInt(changed)
	for _, elem := range c.Argv[2:] {
		n += boolInt(ds.HLLAdd(o, elem, limit))
	}
	if n == 0 {
		c.Int(0)
		return
	}
	ds.HLL(o.Bytes()).Invalidate()
	c.Changed(1, "pfadd")
	c.Dirty += n - 1
	c.Int(1)
}

func pfcount(c *command.Ctx) {
	o := c.Obj(0)
	if len(c.Argv) > 2 {
		var max [ds.HLLRegisters]uint8
		for i := 1; i < len(c.Argv); i++ {
			if !c.Find(i, o) {
				continue
			}
			if !checkHLL(c, o) {
				return
			}
			ds.HLL(o.Bytes()).MergeInto(&max)
		}
		c.Int(int64(ds.HLLCount(&max)))
		return
	}
	if !c.Find(1, o) {
		c.Int(0)
		return
	}
	if !checkHLL(c, o) {
		return
	}
	h := ds.HLL(o.Bytes())
	n, ok := h.Cached()
	if !ok {
		n = h.Count()
		// The estimate is kept in the value, which is a change that replicas
		// make as well. They make none on their own: their bytes stay those of
		// the primary.
		if c.Expire != command.ExpireHide {
			c.DB.Write(o)
			ds.HLL(o.Bytes()).SetCached(n)
			c.Changed(1, "")
			c.Propagate(c.Argv...)
		}
	}
	c.Int(int64(n))
}

func pfmerge(c *command.Ctx) {
	o := c.Obj(0)
	var max [ds.HLLRegisters]uint8
	dense := false
	for i := 1; i < len(c.Argv); i++ {
		if !c.Find(i, o) {
			continue
		}
		if !checkHLL(c, o) {
			return
		}
		h := ds.HLL(o.Bytes())
		dense = dense || h.Dense()
		h.MergeInto(&max)
	}
	if _, ok := hllToWrite(c, o); !ok {
		return
	}
	if dense {
		ds.HLLToDense(o)
	}
	limit := c.Env.Limits().HLLSparse
	for i, v := range max {
		if v != 0 {
			ds.HLLRaise(o, i, v, limit)
		}
	}
	ds.HLL(o.Bytes()).Invalidate()
	c.Changed(1, "pfadd")
	c.OK()
}

func pfdebug(c *command.Ctx) {
	o := c.Obj(0)
	if !c.FindWrite(2, o) {
		c.Error(errNoDebugKey)
		return
	}
	if !checkHLL(c, o) {
		return
	}
	h, what := ds.HLL(o.Bytes()), c.Argv[1]
	sparse := !h.Dense()
	toDense := func() {
		if sparse {
			ds.HLLToDense(o)
			o.SetEncoding(store.Raw)
			c.Changed(2, "")
		}
	}
	switch {
	case command.Word(what, "getreg"):
		toDense()
		c.Array(ds.HLLRegisters)
		ds.HLL(o.Bytes()).Each(func(_, _ int, value uint8) { c.Int(int64(value)) })
	case command.Word(what, "decode"):
		if !sparse {
			c.Error("ERR HLL encoding is not sparse")
			return
		}
		c.Bulk(h.AppendRuns(nil))
	case command.Word(what, "encoding"):
		if sparse {
			c.Simple("sparse")
		} else {
			c.Simple("dense")
		}
	case command.Word(what, "todense"):
		toDense()
		c.Int(boolInt(sparse))
	default:
		c.Error("ERR Unknown PFDEBUG subcommand '" + string(what) + "'")
	}
}

// pfselftest checks that dense registers do not disturb each other and that
// estimates keep within six times their standard error, in both encodings.
func pfselftest(c *command.Ctx) {
	var b ds.SliceBuf
	ds.HLLInit(&b)
	var want, got [ds.HLLRegisters]uint8
	for i := range want {
		want[i] = uint8(i*7919%51 + 1)
		ds.HLLRaise(&b, i, want[i], 0)
	}
	if ds.HLL(b.B).MergeInto(&got); got != want {
		c.Error("TESTFAILED HyperLogLog registers do not hold their values")
		return
	}
	ds.HLLInit(&b)
	limit := c.Env.Limits().HLLSparse
	var elem [8]byte
	for n, next := 1, 10; n <= 100000; n++ {
		for i := range elem {
			elem[i] = byte(n >> (8 * i))
		}
		ds.HLLAdd(&b, elem[:], limit)
		if n == next {
			next *= 10
			const bound = 6 * 104 // of 12800: standard error 1.04/sqrt(registers)
			off := int(ds.HLL(b.B).Count()) - n
			if max(off, -off) > n*bound/12800+1 {
				c.Error("TESTFAILED HyperLogLog estimate is too far off")
				return
			}
		}
	}
	c.OK()
}
