package datatypes

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// Words that random commands are made of, besides keys and the options that the
// command's own syntax names: numbers at and beyond limits, values of different
// lengths, arguments that some family gives a meaning.
var (
	numbers = strings.Fields("0 0 1 1 2 2 3 5 10 100 100 -1 -3 1.5 -2.25 1700000900 1700000900000 9223372036854775807 -9223372036854775808")
	values  = strings.Fields(`x abc f1 f1 f2 f3 m1 m1 m2 m3 a* nosort # u8 i16 i64 u63 string ( [a - + -inf +inf * 1-1 5-* $ > ~ = LEFT SUM ` +
		`012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789`)
)

// randomCommand makes up a command: keys where its key specifications put them,
// and else options of its syntax, often with a number behind, numbers, values.
func randomCommand(rnd *rand.Rand, specs []*command.Spec) [][]byte {
	s := specs[rnd.IntN(len(specs))]
	pick := func(from []string) string { return from[rnd.IntN(len(from))] }
	options := strings.FieldsFunc(s.Syntax, func(r rune) bool { return r < 'A' || r > 'Z' })
	words := strings.Split(s.Full, "|")
	argc := s.Arity
	if argc < 0 {
		argc = -argc + rnd.IntN(5)
	}
	for len(words) < argc {
		switch rnd.IntN(5) {
		case 0, 1:
			if len(options) == 0 {
				words = append(words, pick(values))
				continue
			}
			words = append(words, pick(options))
			if rnd.IntN(2) == 0 {
				words = append(words, pick(numbers))
			}
		case 2, 3:
			words = append(words, pick(numbers))
		default:
			words = append(words, pick(values))
		}
	}
	if s.Arity > 0 {
		words = words[:argc]
	}
	argc = len(words)
	argv := make([][]byte, len(words))
	for i, w := range words {
		argv[i] = []byte(w)
	}
	first, last, step := s.InfoRange()
	if last < 0 {
		last += argc
	}
	for i := first; i > 0 && i <= last && i < argc; i += max(step, 1) {
		argv[i] = fmt.Appendf(nil, "k%d", rnd.IntN(8))
	}
	return argv
}

// dump describes the whole data set but for the encodings.
func (w *world) dump(now int64) string {
	var all []string
	for i := range w.st.DBs() {
		db := w.st.DB(i)
		db.EachKey(func(o *store.Obj) bool {
			if o.Expired(now) {
				return true // one side may not have looked at it yet
			}
			var lines []string
			switch {
			case o.Type() == store.String:
				lines = append(lines, string(o.Bytes()))
			case o.Type() == store.Hash_ && o.Encoding() == store.Hashtable:
				ds.OpenTable(o.Arena(), o.Bytes()).Each(func(f, v []byte) bool {
					lines = append(lines, fmt.Sprintf("%s %s", f, v))
					return true
				})
			case o.Encoding() == store.HashtableTTL:
				ttlTable(o).Each(func(f, v []byte, at int64) bool {
					lines = append(lines, fmt.Sprintf("%s %s until %d", f, v, at))
					return true
				})
			case o.Encoding() == store.ListpackTTL:
				for it := ds.LP(o.Bytes()).Iter(); it.Next(); {
					line := append(it.Elem().Append(nil), ' ')
					it.Next()
					line = append(it.Elem().Append(line), " until "...)
					it.Next()
					lines = append(lines, string(it.Elem().Append(line)))
				}
			case o.Type() == store.Hash_ || o.Type() == store.ZSet && o.Encoding() == store.Listpack:
				p := ds.LP(o.Bytes())
				for off := p.First(); off >= 0; off = p.Next(p.Next(off)) {
					lines = append(lines, string(p.AppendElem(append(p.AppendElem(nil, off), ' '), p.Next(off))))
					if p.Next(p.Next(off)) < 0 {
						break
					}
				}
			case o.Encoding() == store.Skiplist:
				ds.OpenZSet(o.Arena(), o.Bytes()).Each(func(m []byte, s float64) bool {
					lines = append(lines, string(ds.AppendScore(append(bytes.Clone(m), ' '), s)))
					return true
				})
			default:
				eachElement(o, false, func(e []byte) { lines = append(lines, string(e)) })
			}
			if o.Type() == store.Hash_ || o.Type() == store.Set {
				slices.Sort(lines)
			}
			all = append(all, fmt.Sprintf("%d %s %v expire %d %q", i, o.Key(), o.Type(), o.ExpireAt(), lines))
			return true
		})
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// Whatever the commands of all families are given, they reply exactly one value,
// leave the memory sound, change nothing when they fail, and what they propagate
// makes the same data of another keyspace.
func TestEffectsRebuildTheData(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	w, replica := newWorld(t), newWorld(t)
	replica.c.Expire = command.ExpireIgnore
	const skew = 3_600_000 // the replica's clock is not the primary's
	replica.c.Now += skew
	var specs []*command.Spec
	for _, s := range command.NewTable(Specs()).All() {
		if s.Run != nil && (s.Flags&(command.Write|command.ReadOnly) != 0) {
			specs = append(specs, s)
		}
	}
	w.limits.HashEntries, w.limits.ZSetEntries, w.limits.SetEntries, w.limits.SetIntset = 4, 4, 4, 4
	w.limits.ListSize, w.limits.MaxBulk = 4, 1<<16
	w.c.Env.SetLimits(&w.limits)
	replica.limits = w.limits
	replica.c.Env.SetLimits(&replica.limits)

	var argv [][]byte
	defer func() {
		if r := recover(); r != nil {
			t.Logf("at %q", argv)
			panic(r)
		}
	}()
	before := ""
	rounds := 30000
	if raceEnabled {
		rounds = 5000
	}
	for i := range rounds {
		if rnd.IntN(50) == 0 {
			w.c.Now += int64(rnd.IntN(200))
			replica.c.Now = w.c.Now + skew
			before = w.dump(w.c.Now)
		}
		argv = randomCommand(rnd, specs)
		c := &w.c
		c.Changes, c.Effects, c.Dirty, c.NoVerbatim, c.Failed = nil, nil, 0, false, false
		reply := decode(t, w.run(argv...))
		spec := c.Spec
		if n := spec.Full; c.Failed != (reply.Err() != nil) {
			t.Fatalf("%s: Failed is %v at reply %s of %q", n, c.Failed, show(reply, false), argv)
		}
		log := w.propagated()
		if !c.NoVerbatim && c.Dirty != 0 && spec.Flags&command.Write == 0 {
			t.Fatalf("%q changes data, but is no write command", argv)
		}
		for _, args := range log {
			if err := decode(t, replica.run(args...)).Err(); err != nil {
				t.Fatalf("the replica refuses %q, the effect of %q: %v", args, argv, err)
			}
		}
		if len(log) > 0 || reply.Err() != nil || i%100 == 0 {
			now := w.dump(w.c.Now)
			if got := replica.dump(w.c.Now); got != now {
				t.Fatalf("after %q with the effects %q the replica has\n%s\nand not\n%s", argv, log, got, now)
			}
			if len(log) == 0 && now != before {
				t.Fatalf("%q was not propagated but changed\n%s\nto\n%s", argv, before, now)
			}
			before = now
		}
	}
	for _, h := range []*world{w, replica} {
		if err := h.heap.Check(); err != nil {
			t.Error(err)
		}
	}
}
