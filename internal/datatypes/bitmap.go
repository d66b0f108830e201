package datatypes

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/store"
)

// A bitmap is a string; bit 0 is the highest bit of byte 0.

func bitmapSpecs() []*command.Spec {
	return []*command.Spec{
		{Name: "setbit", Group: command.Bitmap, Since: "2.2.0", Arity: 4, Complexity: "O(1)",
			Summary: "Sets or clears a bit of a string value; the string grows as needed.", Syntax: "key offset value",
			Flags: command.Write | command.DenyOOM,
			Keys:  command.OneKey(command.RW | command.Access | command.Update), Run: setbit},
		{Name: "getbit", Group: command.Bitmap, Since: "2.2.0", Arity: 3, Complexity: "O(1)",
			Summary: "Returns a bit of a string value.", Syntax: "key offset",
			Flags: command.ReadOnly | command.Fast, Keys: command.OneKey(command.RO | command.Access), Run: getbit},
		{Name: "bitcount", Group: command.Bitmap, Since: "2.6.0", Arity: -2, Complexity: "O(N), N being the length looked at.",
			Summary: "Counts the bits that are set in a string value.", Syntax: "key [start end [BYTE | BIT]]",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Run: bitcount},
		{Name: "bitpos", Group: command.Bitmap, Since: "2.8.7", Arity: -3, Complexity: "O(N), N being the length looked at.",
			Summary: "Finds the first bit that is set, or clear, in a string value.", Syntax: "key bit [start [end [BYTE | BIT]]]",
			Flags: command.ReadOnly, Keys: command.OneKey(command.RO | command.Access), Run: bitpos},
		{Name: "bitop", Group: command.Bitmap, Since: "2.6.0", Arity: -4, Complexity: "O(N), N being the length of all sources.",
			Summary: "Combines string values bit by bit and stores the result.", Syntax: "<AND | OR | XOR | NOT> destkey key [key ...]",
			Flags: command.Write | command.DenyOOM,
			Keys: []command.KeySpec{{Flags: command.OW | command.Update, Index: 2, Step: 1},
				{Flags: command.RO | command.Access, Index: 3, Last: -1, Step: 1}}, Run: bitop},
		{Name: "bitfield", Group: command.Bitmap, Since: "3.2.0", Arity: -2, Complexity: "O(1) for each operation.",
			Summary: "Reads and changes integers of any width within a string value.",
			Syntax:  "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> ...]]",
			Flags:   command.Write | command.DenyOOM,
			Keys:    command.OneKey(command.RW | command.Access | command.Update | command.VariableFlags), Run: bitfield},
		{Name: "bitfield_ro", Group: command.Bitmap, Since: "6.0.0", Arity: -2, Complexity: "O(1) for each operation.",
			Summary: "Reads integers of any width within a string value.", Syntax: "key [GET encoding offset [GET encoding offset ...]]",
			Flags: command.ReadOnly | command.Fast, Keys: command.OneKey(command.RO | command.Access), Run: bitfield},
	}
}

const errBitOffset = "ERR bit offset is not an integer or out of range"

// bitOffset reads a bit's offset. With a width, "#n" is the offset of the n-th
// integer of that width.
func bitOffset(c *command.Ctx, arg []byte, width int) (int64, bool) {
	scale := int64(1)
	if width > 0 && len(arg) > 0 && arg[0] == '#' {
		scale, arg = int64(width), arg[1:]
	}
	n, ok := command.ParseInt(arg)
	if !ok || n < 0 || n > math.MaxInt64/scale {
		c.Error(errBitOffset)
		return 0, false
	}
	n *= scale
	if c.Expire != command.ExpireIgnore && n>>3 >= c.Env.Limits().MaxBulk {
		c.Error(errBitOffset)
		return 0, false
	}
	return n, true
}

func setbit(c *command.Ctx) {
	off, ok := bitOffset(c, c.Argv[2], 0)
	if !ok {
		return
	}
	bit, ok := command.ParseInt(c.Argv[3])
	if !ok || bit&^1 != 0 {
		c.Error("ERR bit is not an integer or out of range")
		return
	}
	o := c.Obj(0)
	exists := c.FindWrite(1, o)
	if !c.Typed(o, store.String) {
		return
	}
	had := -1
	if exists {
		had = len(o.Bytes())
	}
	b := growString(c, 1, o, int(off>>3)+1)
	mask := byte(0x80) >> (off & 7)
	old := b[off>>3]&mask != 0
	if old != (bit == 1) || had != len(b) {
		b[off>>3] &^= mask
		if bit == 1 {
			b[off>>3] |= mask
		}
		c.Changed(1, "setbit")
	}
	c.Int(boolInt(old))
}

func boolInt(v bool) int64 {
	if v {
		return 1
	}
	return 0
}

func getbit(c *command.Ctx) {
	off, ok := bitOffset(c, c.Argv[2], 0)
	if !ok {
		return
	}
	o := c.Obj(0)
	if !findString(c, 1, o) {
		return
	}
	set := false
	if o.Exists() {
		b := o.Bytes()
		set = off>>3 < int64(len(b)) && b[off>>3]&(0x80>>(off&7)) != 0
	}
	c.Int(boolInt(set))
}

// countOnes returns the number of bits set in b.
func countOnes(b []byte) (n int64) {
	for ; len(b) >= 32; b = b[32:] {
		n += int64(bits.OnesCount64(binary.LittleEndian.Uint64(b)) + bits.OnesCount64(binary.LittleEndian.Uint64(b[8:])) +
			bits.OnesCount64(binary.LittleEndian.Uint64(b[16:])) + bits.OnesCount64(binary.LittleEndian.Uint64(b[24:])))
	}
	for ; len(b) >= 8; b = b[8:] {
		n += int64(bits.OnesCount64(binary.LittleEndian.Uint64(b)))
	}
	for _, x := range b {
		n += int64(bits.OnesCount8(x))
	}
	return n
}

// bitUnit reads the optional BYTE or BIT.
func bitUnit(a *command.Args) (inBits bool) {
	if a.More() && !a.Is("byte") {
		if inBits = a.Is("bit"); !inBits {
			a.Syntax()
		}
	}
	return inBits
}

func bitcount(c *command.Ctx) {
	start, end, inBits := int64(0), int64(-1), false
	a := c.ArgsFrom(2)
	if a.More() {
		if a.Left() < 2 || a.Left() > 3 {
			a.Syntax()
		}
		start, end = a.Int(), a.Int()
		inBits = bitUnit(a)
	}
	if !a.Done() {
		return
	}
	o := c.Obj(0)
	if !findString(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Int(0)
		return
	}
	b := o.Bytes()
	if !inBits {
		first, last, ok := span(start, end, int64(len(b)))
		if !ok {
			c.Int(0)
			return
		}
		c.Int(countOnes(b[first : last+1]))
		return
	}
	first, last, ok := span(start, end, int64(len(b))*8)
	if !ok {
		c.Int(0)
		return
	}
	n := countOnes(b[first>>3 : last>>3+1])
	n -= int64(bits.OnesCount8(b[first>>3] & ^(0xff >> (first & 7))))
	n -= int64(bits.OnesCount8(b[last>>3] & (0x7f >> (last & 7))))
	c.Int(n)
}

func bitpos(c *command.Ctx) {
	a := c.ArgsFrom(2)
	bit := a.Int()
	if a.Done(); c.Failed {
		return
	}
	if bit&^1 != 0 {
		c.Error("ERR The bit argument must be 1 or 0.")
		return
	}
	start, end, inBits, endGiven := int64(0), int64(-1), false, false
	if a.Left() > 3 {
		a.Syntax()
	}
	if a.More() {
		start = a.Int()
		if a.More() {
			end, endGiven = a.Int(), true
			inBits = bitUnit(a)
		}
	}
	if !a.Done() {
		return
	}
	o := c.Obj(0)
	if !findString(c, 1, o) {
		return
	}
	if !o.Exists() {
		c.Int(-bit) // an endless row of zeros
		return
	}
	b := o.Bytes()
	n := int64(len(b)) * 8
	first, last, ok := int64(0), int64(0), false
	if inBits {
		first, last, ok = clip(start, end, n)
	} else {
		first, last, ok = clip(start, end, int64(len(b)))
		first, last = first*8, last*8+7
	}
	if !ok {
		c.Int(-1)
		return
	}
	pos := findBit(b, bit == 1, first, last)
	if pos < 0 && bit == 0 && !endGiven {
		pos = n // the zeros behind the string
	}
	c.Int(pos)
}

// clip is span without its first rule: both ends negative and crossed are
// resolved like any others.
func clip(start, end, n int64) (first, last int64, ok bool) {
	if start < 0 {
		start = max(start+n, 0)
	}
	if end < 0 {
		end = max(end+n, 0)
	}
	end = min(end, n-1)
	return start, end, start <= end
}

// findBit returns the position of the first bit of the given value from first
// to last, or -1.
func findBit(b []byte, set bool, first, last int64) int64 {
	var skip byte // what a byte without the bit looks like
	if !set {
		skip = 0xff
	}
	for i := first >> 3; i <= last>>3; i++ {
		x := b[i] ^ skip
		if i == first>>3 {
			x &= 0xff >> (first & 7)
		} else if x == 0 && i+8 <= last>>3 {
			words := b[i : last>>3]
			for len(words) >= 8 && binary.LittleEndian.Uint64(words) == uint64(skip)*0x0101010101010101 {
				words, i = words[8:], i+8
			}
			x = b[i] ^ skip
		}
		if x != 0 {
			if pos := i<<3 + int64(bits.LeadingZeros8(x)); pos <= last {
				return pos
			}
			return -1
		}
	}
	return -1
}

func bitop(c *command.Ctx) {
	op := c.Argv[1]
	var combine func(dst, src []byte)
	not := false
	switch {
	case command.Word(op, "and"):
		combine = func(dst, src []byte) {
			for i := range dst {
				if i < len(src) {
					dst[i] &= src[i]
				} else {
					dst[i] = 0
				}
			}
		}
	case command.Word(op, "or"):
		combine = func(dst, src []byte) {
			for i, x := range src {
				dst[i] |= x
			}
		}
	case command.Word(op, "xor"):
		combine = func(dst, src []byte) {
			for i, x := range src {
				dst[i] ^= x
			}
		}
	case command.Word(op, "not"):
		not = true
	default:
		c.Error(command.ErrSyntax)
		return
	}
	if not && len(c.Argv) != 4 {
		c.Error("ERR BITOP NOT must be called with a single source key.")
		return
	}
	o := c.Obj(0)
	n := 0
	for i := 3; i < len(c.Argv); i++ {
		if !findString(c, i, o) {
			return
		}
		if o.Exists() {
			n = max(n, len(o.Bytes()))
		}
	}
	// The result is built aside: the destination may be one of the sources.
	res := make([]byte, n)
	for i := 3; i < len(c.Argv); i++ {
		var src []byte
		if c.Peek(i, o) {
			src = o.Bytes()
		}
		switch {
		case not:
			for k, x := range src {
				res[k] = ^x
			}
		case i == 3:
			copy(res, src)
		default:
			combine(res, src)
		}
	}
	exists := c.FindWrite(2, o)
	switch {
	case n > 0:
		putString(c, 2, o, res, store.Raw, 0)
		c.Changed(2, "set")
	case exists:
		c.Delete(o)
		c.Changed(2, "del")
	}
	c.Int(int64(n))
}

// bitType is the type of an integer in BITFIELD: i1..i64, u1..u63.
type bitType struct {
	signed bool
	width  int
}

type overflow uint8

const (
	overflowWrap overflow = iota
	overflowSat
	overflowFail
)

type bitOpKind uint8

const (
	bitGet bitOpKind = iota
	bitSet
	bitIncr
)

// bitOp is one operation of BITFIELD.
type bitOp struct {
	kind  bitOpKind
	over  overflow
	t     bitType
	off   int64
	value int64
}

func parseBitType(arg []byte) (t bitType, ok bool) {
	if len(arg) < 2 {
		return t, false
	}
	n, ok := command.ParseInt(arg[1:])
	switch {
	case !ok || n < 1:
		return t, false
	case arg[0] == 'i' && n <= 64:
		return bitType{true, int(n)}, true
	case arg[0] == 'u' && n <= 63:
		return bitType{false, int(n)}, true
	}
	return t, false
}

func bitfield(c *command.Ctx) {
	var few [8]bitOp
	ops := few[:0]
	over := overflowWrap
	writes := false
	end := int64(0) // bits that the writes need
	a := c.ArgsFrom(2)
	for a.More() {
		op := bitOp{over: over}
		switch {
		case a.Left() > 2 && a.Is("get"):
		case a.Left() > 3 && a.Is("set"):
			op.kind = bitSet
		case a.Left() > 3 && a.Is("incrby"):
			op.kind = bitIncr
		case a.Left() > 1 && a.Is("overflow"):
			switch {
			case a.Is("wrap"):
				over = overflowWrap
			case a.Is("sat"):
				over = overflowSat
			case a.Is("fail"):
				over = overflowFail
			default:
				a.Fail("ERR Invalid OVERFLOW type specified")
			}
			continue
		default:
			a.Syntax()
			continue
		}
		var ok bool
		if op.t, ok = parseBitType(a.Next()); !ok {
			a.Fail("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.")
			continue
		}
		if op.off, ok = bitOffset(c, a.Next(), op.t.width); !ok {
			return
		}
		if op.kind != bitGet {
			writes = true
			end = max(end, op.off+int64(op.t.width))
			op.value = a.Int()
		}
		ops = append(ops, op)
	}
	if !a.Done() {
		return
	}
	if writes && c.Spec.Name == "bitfield_ro" {
		c.Error("ERR BITFIELD_RO only supports the GET subcommand")
		return
	}

	o := c.Obj(0)
	var b []byte
	changes := int64(0)
	if writes {
		exists := c.FindWrite(1, o)
		if !c.Typed(o, store.String) {
			return
		}
		had := -1
		if exists {
			had = len(o.Bytes())
		}
		if b = growString(c, 1, o, int((end+7)>>3)); len(b) != had {
			changes++
		}
	} else {
		if !findString(c, 1, o) {
			return
		}
		if o.Exists() {
			b = o.Bytes()
		}
	}
	c.Array(len(ops))
	for i := range ops {
		op := &ops[i]
		old := getBits(b, op.off, op.t.width)
		if op.kind == bitGet {
			c.Int(op.t.extend(old))
			continue
		}
		val, fits := op.t.apply(op, old)
		if !fits && op.over == overflowFail {
			c.Null()
			continue
		}
		if op.kind == bitSet {
			c.Int(op.t.extend(old))
		} else {
			c.Int(op.t.extend(val))
		}
		if val != old {
			putBits(b, op.off, op.t.width, val)
			changes++
		}
	}
	if changes > 0 {
		c.Changed(1, "setbit")
		c.Dirty += changes - 1
	}
}

func (t bitType) mask() uint64 { return ^uint64(0) >> (64 - t.width) }

// extend returns the value of the integer whose bits are v.
func (t bitType) extend(v uint64) int64 {
	if t.signed {
		s := 64 - t.width
		return int64(v<<s) >> s
	}
	return int64(v)
}

// apply works out the bits after a SET or INCRBY and reports whether the exact
// result fits; if it does not, they are wrapped or saturated as asked.
func (t bitType) apply(op *bitOp, old uint64) (val uint64, fits bool) {
	var low, high bool // the result is below, above what the type holds
	var exact uint64   // modulo 2^64
	switch {
	case t.signed:
		lo, hi := int64(-1)<<(t.width-1), int64(t.mask()>>1)
		sum := op.value
		if op.kind == bitIncr {
			cur := t.extend(old)
			sum = cur + op.value
			// Beyond 64 bits the sum has the wrong sign.
			high = cur > 0 && op.value > 0 && sum < 0
			low = cur < 0 && op.value < 0 && sum >= 0
		}
		high = high || !low && sum > hi
		low = low || !high && sum < lo
		exact = uint64(sum)
		if op.over == overflowSat && high {
			exact = uint64(hi)
		} else if op.over == overflowSat && low {
			exact = uint64(lo)
		}
	case op.kind == bitSet:
		// A negative value counts as a huge one.
		exact = uint64(op.value)
		high = exact > t.mask()
		if op.over == overflowSat && high {
			exact = t.mask()
		}
	default:
		exact = old + uint64(op.value)
		// -MinInt64 is 2^63 as an unsigned number, as it should be.
		low = op.value < 0 && old < uint64(-op.value)
		high = op.value > 0 && exact > t.mask()
		if op.over == overflowSat && high {
			exact = t.mask()
		} else if op.over == overflowSat && low {
			exact = 0
		}
	}
	return exact & t.mask(), !low && !high
}

// getBits returns n bits of b at bit offset off; bits behind b's end are 0.
func getBits(b []byte, off int64, n int) (v uint64) {
	for n > 0 {
		take := min(8-int(off&7), n)
		var x byte
		if i := off >> 3; i < int64(len(b)) {
			x = b[i]
		}
		x = x << (off & 7) >> (8 - take)
		v = v<<take | uint64(x)
		off += int64(take)
		n -= take
	}
	return v
}

// putBits sets n bits of b at bit offset off.
func putBits(b []byte, off int64, n int, v uint64) {
	for n > 0 {
		take := min(8-int(off&7), n)
		shift := 8 - int(off&7) - take
		mask := byte(0xff>>(8-take)) << shift
		x := byte(v>>(n-take)) << shift & mask
		b[off>>3] = b[off>>3]&^mask | x
		off += int64(take)
		n -= take
	}
}
