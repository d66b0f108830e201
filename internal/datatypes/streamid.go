package datatypes

import (
	"bytes"
	"math"
	"strconv"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
)

const errStreamID = "ERR Invalid stream ID specified as stream command argument"

// appendUint appends decimal digits.
func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }

// replyStreamID replies with an id as a bulk string.
func replyStreamID(c *command.Ctx, id ds.StreamID) {
	var text [41]byte
	c.Bulk(id.Append(text[:0]))
}

func streamIDLen(id ds.StreamID) int {
	var text [41]byte
	return len(id.Append(text[:0]))
}

// parseID reads "ms-seq" or "ms", which means seq.
func parseID(b []byte, seq uint64) (id ds.StreamID, ok bool) {
	id.Seq = seq
	if i := bytes.IndexByte(b, '-'); i >= 0 {
		if id.Seq, ok = parseUint(b[i+1:]); !ok {
			return id, false
		}
		b = b[:i]
	}
	id.Ms, ok = parseUint(b)
	return id, ok
}

// parseUint reads a half of an id: digits, leading zeros allowed.
func parseUint(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 64 {
		return 0, false
	}
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > math.MaxUint64/10 || n*10 > math.MaxUint64-d {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// strictID reads the next argument as an id; "-" and "+" are none.
func strictID(a *command.Args, seq uint64) ds.StreamID {
	b := a.Next()
	id, ok := parseID(b, seq)
	if !ok {
		a.Fail(errStreamID)
	}
	return id
}

// strictIDs checks that the arguments from i on are ids; else it has replied.
func strictIDs(c *command.Ctx, i int) bool {
	for _, arg := range c.Argv[i:] {
		if _, ok := parseID(arg, 0); !ok {
			c.Error(errStreamID)
			return false
		}
	}
	return true
}

// interval reads the ends of a range: ids, "-", "+", or "(id", which excludes the
// id. It has replied where they are none.
func interval(c *command.Ctx, from, to int) (start, end ds.StreamID, ok bool) {
	if start, ok = intervalEnd(c, from, 0); !ok {
		return start, end, false
	}
	end, ok = intervalEnd(c, to, math.MaxUint64)
	return start, end, ok
}

// intervalEnd reads the start of a range (seq is 0), or its end.
func intervalEnd(c *command.Ctx, arg int, seq uint64) (id ds.StreamID, ok bool) {
	b := c.Argv[arg]
	switch {
	case string(b) == "-":
		return ds.StreamID{}, true
	case string(b) == "+":
		return ds.MaxStreamID, true
	case len(b) > 1 && b[0] == '(':
		if id, ok = parseID(b[1:], seq); ok {
			if seq == 0 {
				if id, ok = id.Next(); !ok {
					c.Error("ERR invalid start ID for the interval")
				}
			} else if id, ok = id.Prev(); !ok {
				c.Error("ERR invalid end ID for the interval")
			}
			return id, ok
		}
	default:
		id, ok = parseID(b, seq)
	}
	if !ok {
		c.Error(errStreamID)
	}
	return id, ok
}

// idSpec is how XADD says which id an entry gets.
type idSpec struct {
	kind int
	id   ds.StreamID // Seq counts with idExact only
}

const (
	idExact = iota
	idAuto  // "*"
	idSeq   // "ms-*"
)

// addID reads the id of XADD but for "*".
func addID(c *command.Ctx, a *command.Args) idSpec {
	if b := c.Argv[a.Pos()]; bytes.HasSuffix(b, []byte("-*")) {
		if ms, ok := parseUint(b[:len(b)-2]); ok {
			a.Skip(1)
			return idSpec{idSeq, ds.StreamID{Ms: ms}}
		}
	}
	return idSpec{idExact, strictID(a, 0)}
}

// choose returns the id of the entry after last; false if there is none.
func (s *idSpec) choose(last ds.StreamID, now int64) (id ds.StreamID, ok bool) {
	switch {
	case s.kind == idAuto && uint64(now) > last.Ms:
		return ds.StreamID{Ms: uint64(now)}, true
	case s.kind == idAuto:
		return last.Next()
	case s.kind == idSeq && s.id.Ms == last.Ms:
		return ds.StreamID{Ms: last.Ms, Seq: last.Seq + 1}, last.Seq != math.MaxUint64
	}
	return s.id, last.Less(s.id) // "ms-*" with a new ms starts at 0
}
