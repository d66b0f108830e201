package datatypes

import (
	"math"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// Fields of a hash that expire, as Redis 7.4 and 8.0 have them. What is
// propagated has absolute times and names only the fields that were changed; a
// time that is past deletes the field.

func hashExpireSpecs() []*command.Spec {
	const (
		fields = "O(N), N being the number of fields given."
		fast   = command.Write | command.Fast
		read   = command.ReadOnly | command.Fast
	)
	update := command.OneKey(command.RW | command.Update)
	access := command.OneKey(command.RO | command.Access)
	varies := []string{"nondeterministic_output"}
	sets := func(name, what, syntax string, unit int64, absolute bool) *command.Spec {
		return &command.Spec{Name: name, Group: command.Hash, Since: "7.4.0", Arity: -6, Complexity: fields,
			Summary: "Sets when fields of a hash expire, " + what + ".", Syntax: "key " + syntax + " [NX | XX | GT | LT] FIELDS numfields field [field ...]",
			Flags: fast, Keys: update, Run: func(c *command.Ctx) { hexpire(c, unit, absolute) }}
	}
	tells := func(name, what string, tips []string, unit int64, absolute bool) *command.Spec {
		return &command.Spec{Name: name, Group: command.Hash, Since: "7.4.0", Arity: -5, Complexity: fields,
			Summary: "Returns " + what + ".", Syntax: "key FIELDS numfields field [field ...]", Tips: tips,
			Flags: read, Keys: access, Run: func(c *command.Ctx) { httl(c, unit, absolute) }}
	}
	return []*command.Spec{
		sets("hexpire", "in seconds from now", "seconds", 1000, false),
		sets("hpexpire", "in milliseconds from now", "milliseconds", 1, false),
		sets("hexpireat", "as Unix time in seconds", "unix-time-seconds", 1000, true),
		sets("hpexpireat", "as Unix time in milliseconds", "unix-time-milliseconds", 1, true),
		tells("httl", "the seconds until fields of a hash expire", varies, 1000, false),
		tells("hpttl", "the milliseconds until fields of a hash expire", varies, 1, false),
		tells("hexpiretime", "when fields of a hash expire, as Unix time in seconds", nil, 1000, true),
		tells("hpexpiretime", "when fields of a hash expire, as Unix time in milliseconds", nil, 1, true),
		{Name: "hpersist", Group: command.Hash, Since: "7.4.0", Arity: -5, Complexity: fields,
			Summary: "Lets fields of a hash expire no more.", Syntax: "key FIELDS numfields field [field ...]",
			Flags: fast, Keys: update, Run: hpersist},
		{Name: "hgetex", Group: command.Hash, Since: "8.0.0", Arity: -5, Complexity: fields,
			Summary: "Returns the values of fields and sets when they expire.",
			Syntax:  "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
			Flags:   fast, Keys: command.OneKey(command.RW | command.Access | command.Update), Run: hgetex},
		{Name: "hsetex", Group: command.Hash, Since: "8.0.0", Arity: -6, Complexity: fields,
			Summary: "Sets fields of a hash to values, and when they expire.",
			Syntax:  "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
			Flags:   fast | command.DenyOOM, Keys: update, Run: hsetex},
		{Name: "hgetdel", Group: command.Hash, Since: "8.0.0", Arity: -5, Complexity: fields,
			Summary: "Returns the values of fields and removes them.", Syntax: "key FIELDS numfields field [field ...]",
			Flags: fast, Keys: command.OneKey(command.RW | command.Access | command.Delete), Run: hgetdel},
	}
}

// maxFieldTime is the latest time a client may set, Unix milliseconds; files may
// have later ones. Source: Redis 8.0.
const maxFieldTime = 1<<46 - 1

// Errors of these commands.
const (
	errFieldsWord    = "ERR Mandatory argument FIELDS is missing or not at the right position"
	errFieldsCount   = "ERR The `numfields` parameter must match the number of arguments"
	errFieldsInt     = "ERR Number of fields must be a positive integer"
	errFieldsZero    = "ERR Parameter `numFields` should be greater than 0"
	errFieldTimeNeg  = "ERR invalid expire time, must be >= 0"
	errFieldTimeTwo  = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"
	errFieldCondsTwo = "ERR Only one of FXX or FNX arguments can be specified"
)

// What the commands reply for a field.
const (
	fieldAbsent  = -2
	fieldForever = -1
	fieldRefused = 0
	fieldSet     = 1
	fieldDeleted = 2
)

// fieldList reads FIELDS numfields field ... from argument i to the end.
func fieldList(c *command.Ctx, i int, errCount string) (fields [][]byte, ok bool) {
	switch {
	case i >= len(c.Argv) || !command.Word(c.Argv[i], "fields"):
		c.Error(errFieldsWord)
		return nil, false
	case i+2 > len(c.Argv):
		c.Error(errFieldsCount)
		return nil, false
	}
	n, ok := command.ParseInt(c.Argv[i+1])
	switch {
	case !ok || n < 1 || n > math.MaxInt32:
		c.Error(errCount)
		return nil, false
	case int(n) != len(c.Argv)-i-2:
		c.Error(errFieldsCount)
		return nil, false
	}
	return c.Argv[i+2:], true
}

// fieldTime makes argument i, in units of so many milliseconds from now or, if
// absolute, from the epoch, a time that fields may have.
func fieldTime(c *command.Ctx, i int, unit int64, absolute bool) (at int64, ok bool) {
	n, ok := command.ParseInt(c.Argv[i])
	switch {
	case !ok:
		c.Error(command.ErrNotInteger)
		return 0, false
	case n < 0:
		c.Error(errFieldTimeNeg)
		return 0, false
	case n > maxFieldTime/unit:
		c.Error(command.InvalidExpire(c.Spec.Full))
		return 0, false
	}
	n *= unit
	if !absolute {
		if n > maxFieldTime-c.Now {
			c.Error(command.InvalidExpire(c.Spec.Full))
			return 0, false
		}
		n += c.Now
	}
	return n, true
}

// pastField reports whether a field given the time at goes at once.
func pastField(c *command.Ctx, at int64) bool { return alreadyExpired(c, at) }

// settleHash ends a change of the hash that o is on, from which so many fields
// may have been removed: without fields it is deleted.
func settleHash(c *command.Ctx, o *store.Obj) {
	if hashLen(o) == 0 {
		c.Delete(o)
		c.Notify(1, "del")
		return
	}
	o.SettleFields()
}

// setFieldTime changes when a field expires, which is there; 0 for never.
func setFieldTime(c *command.Ctx, o *store.Obj, field []byte, at int64) {
	v, _, _ := hashGetTimed(c, o, field)
	value := v.Append(nil) // the record is about to change
	hashSetTimed(c, o, field, value, at)
}

// propagateHdel tells the log of one deletion for each field.
func propagateHdel(c *command.Ctx, fields [][]byte) {
	for _, f := range fields {
		c.Propagate([]byte("HDEL"), c.Argv[1], f)
	}
}

// propagateFields tells the log of a command on several fields.
func propagateFields(c *command.Ctx, head [][]byte, fields [][]byte) {
	if len(fields) == 0 {
		return
	}
	head = append(head, []byte("FIELDS"), strconv.AppendInt(nil, int64(len(fields)), 10))
	c.Propagate(append(head, fields...)...)
}

func replyEach(c *command.Ctx, n int, code int64) {
	c.Array(n)
	for range n {
		c.Int(code)
	}
}

// hexpire is HEXPIRE and its relatives.
func hexpire(c *command.Ctx, unit int64, absolute bool) {
	o := c.Obj(0)
	if !writeHash(c, o) {
		return
	}
	nx, xx, gt, lt := false, false, false, false
	from := 3
	switch w := c.Argv[3]; {
	case command.Word(w, "nx"):
		nx = true
	case command.Word(w, "xx"):
		xx = true
	case command.Word(w, "gt"):
		gt = true
	case command.Word(w, "lt"):
		lt = true
	default:
		from = 2
	}
	from++
	at, ok := fieldTime(c, 2, unit, absolute)
	if !ok {
		return
	}
	fields, ok := fieldList(c, from, errFieldsZero)
	if !ok {
		return
	}
	if !o.Exists() {
		replyEach(c, len(fields), fieldAbsent)
		return
	}
	var changed, deleted [][]byte
	c.Array(len(fields))
	for _, f := range fields {
		_, was, ok := hashGetTimed(c, o, f)
		switch {
		case !ok:
			c.Int(fieldAbsent)
		case nx && was != 0, xx && was == 0, gt && (was == 0 || at <= was), lt && was != 0 && at >= was:
			c.Int(fieldRefused)
		case pastField(c, at):
			hashDelete(o, f)
			deleted = append(deleted, f)
			c.Int(fieldDeleted)
		default:
			setFieldTime(c, o, f, max(at, 1))
			changed = append(changed, f)
			c.Int(fieldSet)
		}
	}
	if len(changed) > 0 {
		c.Changed(1, "hexpire")
		head := [][]byte{[]byte("HPEXPIREAT"), c.Argv[1], strconv.AppendInt(nil, max(at, 1), 10)}
		if from == 4 {
			head = append(head, c.Argv[3])
		}
		propagateFields(c, head, changed)
	}
	if len(deleted) > 0 {
		c.Changed(1, "hdel")
		propagateHdel(c, deleted)
	}
	settleHash(c, o)
}

// httl is HTTL, HPTTL, HEXPIRETIME and HPEXPIRETIME.
func httl(c *command.Ctx, unit int64, absolute bool) {
	o := c.Obj(0)
	if !findHash(c, o) {
		return
	}
	fields, ok := fieldList(c, 2, errFieldsInt)
	if !ok {
		return
	}
	c.Array(len(fields))
	for _, f := range fields {
		at, ok := int64(0), false
		if o.Exists() {
			_, at, ok = hashGetTimed(c, o, f)
		}
		switch {
		case !ok:
			c.Int(fieldAbsent)
		case at == 0:
			c.Int(fieldForever)
		default:
			if !absolute {
				at = max(at-c.Now, 0)
			}
			c.Int((at + unit - 1) / unit)
		}
	}
}

func hpersist(c *command.Ctx) {
	o := c.Obj(0)
	if !writeHash(c, o) {
		return
	}
	fields, ok := fieldList(c, 2, errFieldsInt)
	if !ok {
		return
	}
	if !o.Exists() {
		replyEach(c, len(fields), fieldAbsent)
		return
	}
	c.Array(len(fields))
	changed := false
	for _, f := range fields {
		switch _, at, ok := hashGetTimed(c, o, f); {
		case !ok:
			c.Int(fieldAbsent)
		case at == 0:
			c.Int(fieldForever)
		default:
			setFieldTime(c, o, f, 0)
			c.Int(fieldSet)
			changed = true
		}
	}
	if changed {
		o.SettleFields()
		c.Changed(1, "hpersist")
	}
}

// fieldExpiry is how HGETEX and HSETEX say when fields expire.
type fieldExpiry struct {
	set  bool
	at   int64
	arg  int  // position of the option's name
	keep bool // KEEPTTL, or PERSIST
}

// parse reads the option at argument i and returns the position after it, i if
// there is none, 0 if it has replied. last is the option without a time.
func (e *fieldExpiry) parse(c *command.Ctx, i int, last string) int {
	unit, absolute := int64(1), false
	switch w := c.Argv[i]; {
	case command.Word(w, "ex"):
		unit = 1000
	case command.Word(w, "px"):
	case command.Word(w, "exat"):
		unit, absolute = 1000, true
	case command.Word(w, "pxat"):
		absolute = true
	case command.Word(w, last):
		e.keep, e.arg = true, i
		return i + 1
	default:
		return i
	}
	ok := false
	if i+1 >= len(c.Argv) {
		c.Error(command.WrongArity(c.Spec.Full))
		return 0
	}
	if e.at, ok = fieldTime(c, i+1, unit, absolute); !ok {
		return 0
	}
	e.set, e.arg = true, i
	return i + 2
}

func hgetex(c *command.Ctx) {
	o := c.Obj(0)
	if !writeHash(c, o) {
		return
	}
	var e fieldExpiry
	i := e.parse(c, 2, "persist")
	if i == 0 {
		return
	}
	fields, ok := fieldList(c, i, errFieldsInt)
	if !ok {
		return
	}
	c.NoPropagate()
	c.Array(len(fields))
	if !o.Exists() {
		for range fields {
			c.Null()
		}
		return
	}
	var changed [][]byte
	past := e.set && pastField(c, e.at)
	for _, f := range fields {
		v, at, ok := hashGetTimed(c, o, f)
		if !ok {
			c.Null()
			continue
		}
		replyElem(c, v)
		switch {
		case past:
			hashDelete(o, f)
		case e.set:
			setFieldTime(c, o, f, max(e.at, 1))
		case e.keep && at != 0:
			setFieldTime(c, o, f, 0)
		default:
			continue
		}
		changed = append(changed, f)
	}
	if len(changed) == 0 {
		return
	}
	switch {
	case past:
		c.Changed(1, "hdel")
		propagateHdel(c, changed)
	case e.set:
		c.Changed(1, "hexpire")
		propagateFields(c, [][]byte{[]byte("HPEXPIREAT"), c.Argv[1], strconv.AppendInt(nil, max(e.at, 1), 10)}, changed)
	default:
		c.Changed(1, "hpersist")
		propagateFields(c, [][]byte{[]byte("HPERSIST"), c.Argv[1]}, changed)
	}
	settleHash(c, o)
}

func hsetex(c *command.Ctx) {
	o := c.Obj(0)
	if !writeHash(c, o) {
		return
	}
	var e fieldExpiry
	fnx, fxx := false, false
	i := 2
	for i < len(c.Argv) && !command.Word(c.Argv[i], "fields") {
		switch w := c.Argv[i]; {
		case command.Word(w, "fnx"), command.Word(w, "fxx"):
			if fnx || fxx {
				c.Error(errFieldCondsTwo)
				return
			}
			fnx = command.Word(w, "fnx")
			fxx = !fnx
			i++
		default:
			had := e.set || e.keep
			next := e.parse(c, i, "keepttl")
			switch {
			case next == 0:
				return
			case next == i:
				c.Error("ERR unknown argument: " + string(w))
				return
			case had:
				c.Error(errFieldTimeTwo)
				return
			}
			i = next
		}
	}
	if i+2 > len(c.Argv) {
		c.Error(errFieldsWord)
		return
	}
	n, ok := command.ParseInt(c.Argv[i+1])
	pairs := c.Argv[i+2:]
	switch {
	case !ok || n < 1 || n > math.MaxInt32:
		c.Error("ERR invalid number of fields")
		return
	case int(n)*2 != len(pairs):
		c.Error(command.WrongArity(c.Spec.Full))
		return
	}
	for k := 0; (fnx || fxx) && k < len(pairs); k += 2 {
		there := false
		if o.Exists() {
			_, there = hashGet(c, o, pairs[k])
		}
		if there == fnx {
			c.NoPropagate()
			c.Int(0)
			return
		}
	}
	if e.set && pastField(c, e.at) {
		hsetPast(c, o, pairs)
		return
	}
	if !o.Exists() {
		createHash(c, o)
	}
	for k := 0; k < len(pairs); k += 2 {
		at := int64(0)
		if e.set {
			at = max(e.at, 1)
		} else if e.keep {
			_, at, _ = hashGetTimed(c, o, pairs[k])
		}
		hashSetTimed(c, o, pairs[k], pairs[k+1], at)
	}
	o.SettleFields()
	c.Changed(1, "hset")
	c.Dirty += n - 1
	if e.set {
		c.Notify(1, "hexpire")
		c.Argv[e.arg] = []byte("PXAT") // the log has the absolute time
		c.Argv[e.arg+1] = strconv.AppendInt(nil, max(e.at, 1), 10)
	}
	c.Int(1)
}

// hsetPast ends an HSETEX with a time that is past: the fields are set and gone
// at once, so that what had been there is removed.
func hsetPast(c *command.Ctx, o *store.Obj, pairs [][]byte) {
	c.NoPropagate()
	var deleted [][]byte
	for k := 0; o.Exists() && k < len(pairs); k += 2 {
		if hashDelete(o, pairs[k]) {
			deleted = append(deleted, pairs[k])
		}
	}
	if len(deleted) > 0 {
		c.Changed(1, "hdel")
		propagateHdel(c, deleted)
		settleHash(c, o)
	}
	c.Int(1)
}

func hgetdel(c *command.Ctx) {
	o := c.Obj(0)
	if !writeHash(c, o) {
		return
	}
	fields, ok := fieldList(c, 2, errFieldsInt)
	if !ok {
		return
	}
	c.NoPropagate()
	c.Array(len(fields))
	var deleted [][]byte
	for _, f := range fields {
		var v ds.Elem
		ok := false
		if o.Exists() {
			v, ok = hashGet(c, o, f)
		}
		if !ok {
			c.Null()
			continue
		}
		replyElem(c, v)
		hashDelete(o, f)
		deleted = append(deleted, f)
	}
	if len(deleted) > 0 {
		c.Changed(1, "hdel")
		c.Dirty += int64(len(deleted) - 1)
		c.Propagate(append([][]byte{[]byte("HDEL"), c.Argv[1]}, deleted...)...)
		settleHash(c, o)
	}
}
