package ds

import "math"

// A stream node is a listpack of consecutive entries:
//
//	| live | deleted | nf | field 1..nf | 0 |      head; the fields are those of the first entry
//	| flags | ms delta | seq delta | data | k |    an entry
//
// data is the values alone if flags say that the fields are those of the head,
// else their number and field, value, field, value ... Deltas are from the node's
// base, the id of the first entry ever put into it; that of seq may be negative.
// k counts the elements of the entry before k, so that a walk from the right
// finds where it starts. A deletion sets a flag and moves one from live to
// deleted; a node without live entries does not exist.
// Source: persistence-replication.md 11.2.
const (
	streamDeleted    = 1
	streamSameFields = 2

	entryHead = 3 // elements before data
)

// streamHead is what a node's head says.
type streamHead struct {
	live, deleted int
	nf            int // fields
	fields        int // position of the first one, or of the 0
	entries       int // position of the first entry, or of the end byte
}

func readStreamHead(p LP) (h streamHead) {
	off := p.First()
	h.live, off = p.intAt(off)
	h.deleted, off = p.intAt(off)
	h.nf, off = p.intAt(off)
	h.fields = off
	for range h.nf + 1 {
		off = p.After(off)
	}
	h.entries = off
	return h
}

// intAt returns the integer at off and where the next element is.
func (p LP) intAt(off int) (v, next int) {
	n, _ := p.Get(off).AsInt()
	return int(n), p.After(off)
}

// streamEntry is one entry of a node.
type streamEntry struct {
	off   int // of flags
	flags int
	id    StreamID
	n     int // pairs
	data  int // position of the first value, or of the first field
}

func (e *streamEntry) live() bool { return e.flags&streamDeleted == 0 }

// streamEntryAt reads the entry at off of a node.
func streamEntryAt(p LP, h *streamHead, base StreamID, off int) (e streamEntry) {
	e.off = off
	e.flags, off = p.intAt(off)
	ms, off := p.intAt(off)
	seq, off := p.intAt(off)
	e.id = StreamID{base.Ms + uint64(ms), base.Seq + uint64(seq)}
	e.n = h.nf
	if e.flags&streamSameFields == 0 {
		e.n, off = p.intAt(off)
	}
	e.data = off
	return e
}

// after returns where the next entry starts, or the end byte is.
func (e *streamEntry) after(p LP) int {
	n, off := e.n+1, e.data
	if e.flags&streamSameFields == 0 {
		n += e.n
	}
	for range n {
		off = p.After(off)
	}
	return off
}

// streamEntryBefore returns the position of the entry that ends before off, -1 if
// off is that of the first one.
func streamEntryBefore(p LP, off int) int {
	off = p.Prev(off)
	k, _ := p.intAt(off)
	if k == 0 { // the end of the head
		return -1
	}
	for range k {
		off = p.Prev(off)
	}
	return off
}

// ValidateStreamNode checks an untrusted node and calls fn for each of its
// entries in order. What it returns is what is wrong, empty if nothing is; fn
// ends the walk with an answer that is not empty. A node that passes can be read
// and changed by Stream's methods.
func ValidateStreamNode(node []byte, base StreamID, fn func(id StreamID, deleted bool) string) string {
	if ValidateLP(node) != nil {
		return "bad listpack"
	}
	it := LP(node).Iter()
	bad := false
	number := func() int64 {
		if !it.Next() {
			bad = true
			return 0
		}
		e := it.Elem()
		v, ok := e.AsInt()
		bad = bad || !ok
		return v
	}
	pass := func(n int64) {
		for ; n > 0 && !bad; n-- {
			bad = !it.Next()
		}
	}
	live, deleted, fields := number(), number(), number()
	if live < 0 || deleted < 0 || fields < 0 || fields > math.MaxInt32 {
		return "bad head"
	}
	pass(fields)
	if end := number(); bad || end != 0 {
		return "bad head"
	}
	var sawLive, sawDeleted int64
	for it.Next() {
		flags := node[it.Offset()] // an integer of one byte, as Stream.mark wants it
		if flags > streamDeleted|streamSameFields {
			return "bad flags"
		}
		id := StreamID{Ms: base.Ms + uint64(number()), Seq: base.Seq + uint64(number())}
		if id.Less(base) {
			return "entry before its node"
		}
		want := fields + entryHead
		if flags&streamSameFields != 0 {
			pass(fields)
		} else {
			pairs := number()
			if pairs < 0 || pairs > math.MaxInt32 {
				return "bad entry"
			}
			pass(2 * pairs)
			want = 2*pairs + entryHead + 1
		}
		if k := number(); bad || k != want {
			return "bad entry"
		}
		if flags&streamDeleted != 0 {
			sawDeleted++
		} else {
			sawLive++
		}
		if wrong := fn(id, flags&streamDeleted != 0); wrong != "" {
			return wrong
		}
	}
	if sawLive != live || sawDeleted != deleted || sawLive+sawDeleted == 0 {
		return "wrong count"
	}
	return ""
}
