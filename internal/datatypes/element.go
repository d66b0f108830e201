package datatypes

import (
	"math"
	"math/rand/v2"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/glob"
	"github.com/skeindb/skein/internal/store"
)

// What the families of collections share: replies of elements, the options of
// HSCAN, SSCAN and ZSCAN, and the choice of random elements.

// replyElem replies with an element's text.
func replyElem(c *command.Ctx, e ds.Elem) {
	if e.IsInt {
		c.BulkInt(e.Int)
		return
	}
	c.Bulk(e.Str)
}

// elemText returns an element's text: a view of it, or digits in tmp.
func elemText(e ds.Elem, tmp []byte) []byte {
	if e.IsInt {
		return e.Append(tmp[:0])
	}
	return e.Str
}

// elementScan is a call of HSCAN, SSCAN or ZSCAN.
type elementScan struct {
	cursor  uint64
	count   int
	pattern []byte // nil: any element
}

// parseElementScan points o at the key in argument 1, which must hold a value
// of type t, and reads the options. Where that ends the command (a fault, no
// such key) it has replied and returns false.
func parseElementScan(c *command.Ctx, t store.Type, o *store.Obj) (s elementScan, ok bool) {
	if s.cursor, ok = parseCursor(c.Argv[2]); !ok {
		c.Error("ERR invalid cursor")
		return s, false
	}
	if !c.Find(1, o) { // the options are not even looked at
		c.Array(2)
		c.BulkString("0")
		c.Array(0)
		return s, false
	}
	if !c.Typed(o, t) {
		return s, false
	}
	count := int64(10)
	a := c.ArgsFrom(3)
	for a.More() {
		switch {
		case a.Left() > 1 && a.Is("count"):
			if count = a.Int(); count < 1 {
				a.Syntax()
			}
		case a.Left() > 1 && a.Is("match"):
			if s.pattern = a.Next(); len(s.pattern) == 1 && s.pattern[0] == '*' {
				s.pattern = nil
			}
		default:
			a.Syntax()
		}
	}
	s.count = int(count)
	return s, a.Done()
}

// takes reports whether the pattern lets an element through.
func (s *elementScan) takes(text []byte) bool {
	return s.pattern == nil || glob.Match(s.pattern, text, false)
}

// scanCursorEnd is the least cursor that no dictionary gives.
const scanCursorEnd = 1 << 26

// walk calls step, which visits some elements from cursor on and returns the
// next cursor, until about count elements were seen, as seen tells. It bounds
// the work on a sparse dictionary. It returns the cursor to go on from.
func (s *elementScan) walk(step func(cursor uint64) uint64, seen *int) uint64 {
	cursor := s.cursor
	if cursor >= scanCursorEnd {
		return 0
	}
	steps := int64(math.MaxInt64)
	if int64(s.count) < steps/10 {
		steps = int64(s.count) * 10
	}
	for ; steps > 0; steps-- {
		if cursor = step(cursor); cursor == 0 || *seen >= s.count {
			break
		}
	}
	return cursor
}

// randomCount reads the count of HRANDFIELD, SRANDMEMBER and ZRANDMEMBER; a
// negative one allows repetition. Where it is no such number it has replied.
func randomCount(c *command.Ctx, arg []byte) (n int64, ok bool) {
	n, ok = command.ParseInt(arg)
	switch {
	case !ok:
		c.Error(command.ErrNotInteger)
	case n == math.MinInt64:
		c.Error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
		ok = false
	}
	return n, ok
}

// sampler chooses want of n elements, each subset with the same chance, while
// they are passed by in order.
type sampler struct{ want, n int }

// take reports whether the next element is one of the chosen.
func (s *sampler) take() bool {
	chosen := rand.IntN(s.n) < s.want
	s.n--
	if chosen {
		s.want--
	}
	return chosen
}

// sparse reports whether so few of the elements are wanted that drawing them one
// by one, until they are different, is less work than passing all by.
func (s *sampler) sparse() bool { return s.want*8 < s.n }
