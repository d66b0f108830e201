package ds

import (
	"encoding/binary"
	"fmt"

	"github.com/skeindb/skein/internal/mem"
)

// A stream is nodes of entries (streamnode.go), found by their base in an idTree,
// and the groups that read it (streamgroup.go). Its header lies in the key's
// record, little endian:
//
//	| tree | length u64 | last id | first id | max deleted id | added u64 | groups u64 |
//	0      16           24        40         56               72          80           88
//
// length counts the live entries; last is the greatest id ever given out, first
// that of the first live entry, 0-0 if there is none; max deleted is the greatest
// id that XDEL removed; added counts all entries ever added; groups is the ref of
// a nameList, 0 if there was never a group.
//
// A node is one allocation that holds its listpack and slack behind it. Only the
// last node grows; it gives its slack back when the next one is begun.

// StreamHeader is the size of a stream's header.
const StreamHeader = idTreeHeader + 72

const (
	strLength     = idTreeHeader
	strLast       = strLength + 8
	strFirst      = strLast + 16
	strMaxDeleted = strFirst + 16
	strAdded      = strMaxDeleted + 16
	strGroups     = strAdded + 8
)

// Stream is a handle on a stream: valid, as the views it gives, until the record
// that hdr lies in changes.
type Stream struct {
	a   Arena
	hdr []byte
}

// InitStream makes hdr the header of an empty stream.
func InitStream(a Arena, hdr []byte) Stream {
	clear(hdr[:StreamHeader])
	return OpenStream(a, hdr)
}

// OpenStream returns a handle on the stream with that header.
func OpenStream(a Arena, hdr []byte) Stream { return Stream{a, hdr[:StreamHeader:StreamHeader]} }

func (s Stream) tree() idTree { return openIDTree(s.a, s.hdr) }

func (s Stream) u64(off int) uint64       { return binary.LittleEndian.Uint64(s.hdr[off:]) }
func (s Stream) setU64(off int, v uint64) { binary.LittleEndian.PutUint64(s.hdr[off:], v) }
func (s Stream) id(off int) StreamID      { return StreamID{s.u64(off), s.u64(off + 8)} }
func (s Stream) setID(off int, id StreamID) {
	s.setU64(off, id.Ms)
	s.setU64(off+8, id.Seq)
}

// Len returns the number of live entries.
func (s Stream) Len() int { return int(s.u64(strLength)) }

// NodeCount returns the number of nodes.
func (s Stream) NodeCount() int { return s.tree().Len() }

// Last returns the greatest id ever given out.
func (s Stream) Last() StreamID { return s.id(strLast) }

// First returns the id of the first live entry, 0-0 if there is none.
func (s Stream) First() StreamID { return s.id(strFirst) }

// MaxDeleted returns the greatest id that was deleted.
func (s Stream) MaxDeleted() StreamID { return s.id(strMaxDeleted) }

// Added returns how many entries were ever added.
func (s Stream) Added() uint64 { return s.u64(strAdded) }

// SetLast, SetMaxDeleted and SetAdded change what XSETID sets.
func (s Stream) SetLast(id StreamID)       { s.setID(strLast, id) }
func (s Stream) SetMaxDeleted(id StreamID) { s.setID(strMaxDeleted, id) }
func (s Stream) SetAdded(n uint64)         { s.setU64(strAdded, n) }

func (s Stream) node(r mem.Ref) LP {
	b := s.a.Region()[r:]
	return LP(b[:binary.LittleEndian.Uint32(b)])
}

// StreamLimits bound a node: a new one is begun when the entry to be added would
// make the last one as large as Bytes, or it holds Entries already. 0 is no
// limit. Source: stream-node-max-bytes, stream-node-max-entries.
type StreamLimits struct{ Bytes, Entries int }

// streamNodeMax bounds a node whatever the limits say.
const streamNodeMax = LPMaxSize

// Append adds an entry with the fields and values of pairs, field, value, field,
// value ..., none of which is a view of the stream. id is after Last. O(size of
// the entry), amortised.
func (s Stream) Append(id StreamID, pairs [][]byte, lim StreamLimits) {
	t := s.tree()
	at := t.last()
	if at.valid() {
		p := s.node(at.ref())
		h := readStreamHead(p)
		size := len(p)
		for _, e := range pairs {
			size += len(e)
		}
		if max := lim.Bytes; size >= streamNodeMax || max > 0 && size >= max ||
			lim.Entries > 0 && h.live+h.deleted >= lim.Entries {
			s.tighten(&at)
		} else {
			s.appendTo(&at, &h, id, pairs)
			s.added(id)
			return
		}
	}
	t.insert(id, s.newNode(pairs))
	s.added(id)
}

func (s Stream) added(id StreamID) {
	s.setU64(strAdded, s.Added()+1)
	if s.Len() == 0 {
		s.setID(strFirst, id)
	}
	s.setU64(strLength, uint64(s.Len()+1))
	s.setID(strLast, id)
}

// newNode makes a node whose first entry has pairs.
func (s Stream) newNode(pairs [][]byte) mem.Ref {
	n := len(pairs) / 2
	w := lpWriter{off: LPEmptySize}
	streamNewNode(&w, pairs, n)
	room := w.off
	if room < 256 {
		room += room // a small entry is likely to get company
	}
	r := s.a.Alloc(s.a.Shard, room, mem.Nodes)
	b := s.a.Region()[r:]
	binary.LittleEndian.PutUint32(b, uint32(w.off))
	binary.LittleEndian.PutUint16(b[4:], uint16(min(w.n, lpCountUnknown)))
	b[w.off-1] = lpEnd
	p := lpWriter{p: b[:w.off], off: lpHeader}
	streamNewNode(&p, pairs, n)
	return r
}

// lpWriter takes elements in order and counts them: without p it adds up their
// sizes in off, with p it writes them there.
type lpWriter struct {
	p   []byte
	off int
	n   int
}

func (w *lpWriter) put(e *lpEnc) {
	if w.p != nil {
		e.put(w.p[w.off:])
	}
	w.off += e.size()
	w.n++
}

func (w *lpWriter) int(v int) {
	e := lpEncodeInt(int64(v))
	w.put(&e)
}

func (w *lpWriter) elem(b []byte) {
	e := lpEncode(b)
	w.put(&e)
}

func streamNewNode(w *lpWriter, pairs [][]byte, n int) {
	w.int(1)
	w.int(0)
	w.int(n)
	for i := range n {
		w.elem(pairs[2*i])
	}
	w.int(0)
	w.int(streamSameFields)
	w.int(0)
	w.int(0)
	for i := range n {
		w.elem(pairs[2*i+1])
	}
	w.int(n + entryHead)
}

func streamAddEntry(w *lpWriter, ms, seq int, pairs [][]byte, same bool) {
	n := len(pairs) / 2
	if same {
		w.int(streamSameFields)
	} else {
		w.int(0)
	}
	w.int(ms)
	w.int(seq)
	if same {
		for i := range n {
			w.elem(pairs[2*i+1])
		}
		w.int(n + entryHead)
		return
	}
	w.int(n)
	for _, e := range pairs {
		w.elem(e)
	}
	w.int(2*n + entryHead + 1)
}

// appendTo adds an entry to the node that at is on.
func (s Stream) appendTo(at *idIter, h *streamHead, id StreamID, pairs [][]byte) {
	p, base := s.node(at.ref()), at.key()
	same := h.nf == len(pairs)/2
	for i, off := 0, h.fields; same && i < h.nf; i, off = i+1, p.After(off) {
		same = p.Get(off).Equal(pairs[2*i])
	}
	ms, seq := int(id.Ms-base.Ms), int(id.Seq-base.Seq)
	var w lpWriter
	streamAddEntry(&w, ms, seq, pairs, same)
	p = s.setCount(at, lpHeader, h.live+1)
	end := len(p) - 1
	p = s.splice(at, end, 0, w.off)
	put := lpWriter{p: p, off: end}
	streamAddEntry(&put, ms, seq, pairs, same)
	lpFix(p, put.n)
}

// setCount replaces the integer at off, which is not negative, in the node that
// at is on.
func (s Stream) setCount(at *idIter, off, v int) LP {
	s.changing(at.ref())
	p := s.node(at.ref())
	e := lpEncodeInt(int64(v))
	if del := p.After(off) - off; del != e.size() {
		p = s.splice(at, off, del, e.size())
	}
	e.put(p[off:])
	lpFix(p, 0)
	return p
}

// splice cuts del bytes of the node that at is on at off and opens a gap of ins
// bytes. The node may move.
func (s Stream) splice(at *idIter, off, del, ins int) LP {
	r := at.ref()
	s.changing(r)
	p := s.node(r)
	used, now := len(p), len(p)-del+ins
	if now <= s.a.Size(r) {
		b := s.a.Region()[r:]
		copy(b[off+ins:now], b[off+del:used])
		binary.LittleEndian.PutUint32(b, uint32(now))
		return LP(b[:now])
	}
	nr := s.a.Alloc(s.a.Shard, now+now/2, mem.Nodes)
	b := s.a.Region()[nr:]
	copy(b, p[:off])
	copy(b[off+ins:], p[off+del:])
	binary.LittleEndian.PutUint32(b, uint32(now))
	s.a.Free(s.a.Shard, r, mem.Nodes)
	at.set(nr)
	return LP(b[:now])
}

// tighten takes away the slack of the node that at is on.
func (s Stream) tighten(at *idIter) {
	r := at.ref()
	p := s.node(r)
	if s.a.SizeFor(len(p)) >= s.a.Size(r) {
		return
	}
	s.changing(r)
	nr := s.a.Alloc(s.a.Shard, len(p), mem.Nodes)
	copy(s.a.Region()[nr:], p)
	s.a.Free(s.a.Shard, r, mem.Nodes)
	at.set(nr)
}

// AppendNode adds a whole node as the last one, as a file has it: node passed
// ValidateStreamNode and all of its entries are after those before. The caller
// then calls SetTotals.
func (s Stream) AppendNode(base StreamID, node []byte) {
	r := s.a.Alloc(s.a.Shard, len(node), mem.Nodes)
	copy(s.a.Region()[r:], node)
	s.tree().insert(base, r)
}

// Nodes calls yield for each node in order.
func (s Stream) Nodes(yield func(base StreamID, node []byte) bool) {
	for it := s.tree().first(); it.valid(); it.next() {
		if !yield(it.key(), s.node(it.ref())) {
			return
		}
	}
}

// StreamIter walks the live entries of a range:
//
//	for it := s.Range(start, end, false); it.Next(); { use(it.ID(), it.Pairs()) }
//
// Any change of the stream makes it invalid.
type StreamIter struct {
	s          Stream
	start, end StreamID
	back       bool
	at         idIter
	p          LP
	h          streamHead
	off        int // where the next entry starts (ends if back), -1: another node is due
	e          streamEntry
}

// Range returns an iterator over the entries from start to end, both included,
// or from end to start if back.
func (s Stream) Range(start, end StreamID, back bool) StreamIter {
	it := StreamIter{s: s, start: start, end: end, back: back}
	t := s.tree()
	if back {
		it.at = t.floor(end)
	} else if it.at = t.floor(start); !it.at.valid() {
		it.at = t.first()
	}
	it.enter()
	return it
}

// enter starts on the node that at is on.
func (it *StreamIter) enter() {
	if !it.at.valid() {
		return
	}
	it.p = it.s.node(it.at.ref())
	it.h = readStreamHead(it.p)
	it.off = it.h.entries
	if it.back {
		it.off = it.p.End()
	}
}

// Next moves to the next live entry and reports whether there is one.
func (it *StreamIter) Next() bool {
	for it.step() {
		if !it.e.live() {
			continue
		}
		if it.e.id.Less(it.start) {
			if it.back {
				break
			}
			continue
		}
		if it.end.Less(it.e.id) {
			if !it.back {
				break
			}
			continue
		}
		return true
	}
	it.at.leaf = 0
	return false
}

// step moves to the next entry, live or not.
func (it *StreamIter) step() bool {
	for it.at.valid() {
		if it.back {
			if it.off = streamEntryBefore(it.p, it.off); it.off >= 0 {
				it.e = streamEntryAt(it.p, &it.h, it.at.key(), it.off)
				return true
			}
			it.at.prev()
		} else {
			if it.off < it.p.End() {
				it.e = streamEntryAt(it.p, &it.h, it.at.key(), it.off)
				it.off = it.e.after(it.p)
				return true
			}
			it.at.next()
		}
		it.enter()
	}
	return false
}

// ID returns the entry's id.
func (it *StreamIter) ID() StreamID { return it.e.id }

// Len returns how many pairs the entry has.
func (it *StreamIter) Len() int { return it.e.n }

// Pairs returns an iterator over the entry's fields and values.
func (it *StreamIter) Pairs() StreamPairs {
	x := StreamPairs{p: it.p, left: it.e.n, value: it.e.data}
	if it.e.flags&streamSameFields != 0 {
		x.field, x.same = it.h.fields, true
	} else {
		x.field = -1
	}
	return x
}

// StreamPairs walks the pairs of one entry.
type StreamPairs struct {
	p            LP
	left         int
	field, value int // positions of the next ones; field is -1 if it is at value
	same         bool
}

// Next returns the next pair; false when there is none.
func (x *StreamPairs) Next() (field, value Elem, ok bool) {
	if x.left == 0 {
		return field, value, false
	}
	x.left--
	if x.same {
		field = x.p.Get(x.field)
		x.field = x.p.After(x.field)
	} else {
		field = x.p.Get(x.value)
		x.value = x.p.After(x.value)
	}
	value = x.p.Get(x.value)
	x.value = x.p.After(x.value)
	return field, value, true
}

// edge returns the first or last live id, 0-0 if there is none.
func (s Stream) edge(back bool) StreamID {
	it := s.Range(StreamID{}, MaxStreamID, back)
	if it.Next() {
		return it.ID()
	}
	return StreamID{}
}

// LastLive returns the id of the last live entry, 0-0 if there is none.
func (s Stream) LastLive() StreamID { return s.edge(true) }

// Delete removes the entry with that id and reports whether there was one.
func (s Stream) Delete(id StreamID) bool {
	it := s.Range(id, id, false)
	if !it.Next() {
		return false
	}
	if it.h.live == 1 {
		s.dropNode(&it.at)
	} else {
		s.changing(it.at.ref())
		s.mark(it.p, &it.e)
		s.setCounts(&it.at, it.h.live-1, it.h.deleted+1)
	}
	s.setU64(strLength, uint64(s.Len()-1))
	if s.MaxDeleted().Less(id) {
		s.setID(strMaxDeleted, id)
	}
	if id == s.First() {
		s.setID(strFirst, s.edge(false))
	}
	return true
}

// mark sets an entry's deleted flag: flags are a one-byte integer before and after.
func (s Stream) mark(p LP, e *streamEntry) { p[e.off] |= streamDeleted }

func (s Stream) setCounts(at *idIter, live, deleted int) {
	p := s.setCount(at, lpHeader, live)
	s.setCount(at, p.After(lpHeader), deleted)
}

// dropNode frees the node that at is on.
func (s Stream) dropNode(at *idIter) {
	s.changing(at.ref())
	s.a.Free(s.a.Shard, at.ref(), mem.Nodes)
	s.tree().remove(at.key())
}

// StreamTrim says how far Trim goes: until no more than MaxLen entries are left,
// or none before MinID if ByID.
type StreamTrim struct {
	MaxLen int
	MinID  StreamID
	ByID   bool
	// Approx removes whole nodes only, and at most Limit entries unless Limit is 0.
	Approx bool
	Limit  int
}

// Trim removes the oldest entries and returns how many. O(entries removed).
func (s Stream) Trim(t StreamTrim) (removed int) {
	for {
		at := s.tree().first()
		if !at.valid() || !t.ByID && s.Len() <= t.MaxLen {
			break
		}
		p := s.node(at.ref())
		h := readStreamHead(p)
		if t.Limit > 0 && removed+h.live > t.Limit {
			break
		}
		whole := s.Len()-h.live >= t.MaxLen
		if t.ByID {
			last := streamEntryAt(p, &h, at.key(), streamEntryBefore(p, p.End()))
			whole = last.id.Less(t.MinID)
		}
		if whole {
			s.dropNode(&at)
			s.setU64(strLength, uint64(s.Len()-h.live))
			removed += h.live
			continue
		}
		if !t.Approx {
			removed += s.trimNode(&at, &h, &t)
		}
		break
	}
	if removed > 0 {
		s.setID(strFirst, s.edge(false))
	}
	return removed
}

// trimNode removes entries from the front of a node that keeps at least one.
func (s Stream) trimNode(at *idIter, h *streamHead, t *StreamTrim) (removed int) {
	s.changing(at.ref())
	p := s.node(at.ref())
	for off := h.entries; off < p.End(); {
		e := streamEntryAt(p, h, at.key(), off)
		if !t.ByID && s.Len()-removed <= t.MaxLen || t.ByID && !e.id.Less(t.MinID) {
			break
		}
		if e.live() {
			s.mark(p, &e)
			removed++
		}
		off = e.after(p)
	}
	s.setU64(strLength, uint64(s.Len()-removed))
	if removed == h.live { // by id: what remained was deleted before
		s.dropNode(at)
	} else if removed > 0 {
		s.setCounts(at, h.live-removed, h.deleted+removed)
	}
	return removed
}

// Free gives all memory back; the header is that of an empty stream afterwards.
func (s Stream) Free() {
	s.freeGroups()
	for it := s.tree().first(); it.valid(); it.next() {
		s.a.Free(s.a.Shard, it.ref(), mem.Nodes)
	}
	s.tree().free()
	clear(s.hdr)
}

// MemUsed returns the bytes the stream owns besides its header. O(nodes + pending
// entries).
func (s Stream) MemUsed() int {
	total := s.tree().memUsed()
	for it := s.tree().first(); it.valid(); it.next() {
		total += s.a.Size(it.ref())
	}
	return total + s.groupMem()
}

// Check verifies the tree, every node, the totals and the groups.
func (s Stream) Check() error {
	if err := s.tree().check(); err != nil {
		return err
	}
	live := 0
	var first, last StreamID
	any := false
	for it := s.tree().first(); it.valid(); it.next() {
		here := 0
		wrong := ValidateStreamNode(s.node(it.ref()), it.key(), func(id StreamID, deleted bool) string {
			if any && !last.Less(id) {
				return "entries out of order"
			}
			last, any = id, true
			if !deleted {
				if live == 0 {
					first = id
				}
				live++
				here++
			}
			return ""
		})
		if wrong == "" && here == 0 {
			wrong = "no live entry"
		}
		if wrong != "" {
			return fmt.Errorf("ds: stream node %v: %s", it.key(), wrong)
		}
	}
	if live != s.Len() || first != s.First() || s.Last().Less(last) {
		return fmt.Errorf("ds: stream: %d entries from %v to %v, says %d from %v to %v", live, first, last, s.Len(), s.First(), s.Last())
	}
	return s.checkGroups()
}

// CopyTo makes dst, an empty stream, equal to s.
func (s Stream) CopyTo(dst Stream) {
	s.Nodes(func(base StreamID, node []byte) bool {
		dst.AppendNode(base, node)
		return true
	})
	dst.SetTotals(s.Totals())
	s.copyGroups(dst)
}
