package rdb

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/skeindb/skein/internal/ds"
)

// StreamID names an entry of a stream; it orders by Ms, then Seq.
type StreamID struct{ Ms, Seq uint64 }

// Compare returns -1, 0 or 1 as a is before, at or after b.
func (a StreamID) Compare(b StreamID) int {
	switch {
	case a.Ms < b.Ms || a.Ms == b.Ms && a.Seq < b.Seq:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// Stream is the body of a stream value, fields of older types filled in. All of
// its memory is its own.
type Stream struct {
	Nodes      []StreamNode // ascending, each with at least one entry
	Length     uint64       // live entries
	Last       StreamID     // greatest id ever given out
	First      StreamID     // of the first live entry, 0-0 if there is none
	MaxDeleted StreamID
	Added      uint64 // entries ever added
	Groups     []StreamGroup
}

// StreamNode holds consecutive entries in one listpack, whose elements are
//
//	| count | deleted | nf | field 1..nf | 0 | entry ... |        the head; fields are those of the first entry
//	| flags | ms delta | seq delta | values, or n and pairs | k |  an entry
//
// flags 1 means deleted, flags 2 that the fields are those of the head. k counts
// the elements of the entry before k. Deltas are from Key.
type StreamNode struct {
	Key      StreamID
	Listpack ds.LP
}

const (
	streamDeleted    = 1
	streamSameFields = 2
)

// EntriesReadUnknown is the value of StreamGroup.EntriesRead when it cannot be
// told.
const EntriesReadUnknown = -1

// StreamGroup is a consumer group.
type StreamGroup struct {
	Name        []byte
	Last        StreamID // delivered
	EntriesRead int64
	Pending     []StreamPending // ascending ids
	Consumers   []StreamConsumer
}

// StreamPending is an entry delivered and not acknowledged.
type StreamPending struct {
	ID          StreamID
	DeliveredMs int64
	Deliveries  uint64
	Consumer    int // index in Consumers
}

// StreamConsumer is a member of a group.
type StreamConsumer struct {
	Name     []byte
	SeenMs   int64
	ActiveMs int64 // -1 if never
}

// Stream returns the value of a stream, checked in full.
func (v *Value) Stream() (*Stream, error) {
	v.begun, v.done = true, true
	var st Stream
	readStream(v.s, v.typ, &st)
	if v.s.err != nil {
		return nil, v.s.err
	}
	return &st, nil
}

// id reads an id as two lengths, rawID as 16 bytes, big endian.
func (s *source) id() StreamID { return StreamID{Ms: s.length(), Seq: s.length()} }

func (s *source) rawID() StreamID {
	p := s.take(16)
	if p == nil {
		return StreamID{}
	}
	return StreamID{Ms: binary.BigEndian.Uint64(p), Seq: binary.BigEndian.Uint64(p[8:])}
}

// readStream reads a body of type t into st, or passes over it if st is nil.
func readStream(s *source, t Type, st *Stream) {
	keep := st != nil
	if !keep {
		st = &Stream{}
	}
	readStreamNodes(s, st, keep)
	st.Length = s.length()
	st.Last = s.id()
	if t != TypeStream1 {
		st.First, st.MaxDeleted = s.id(), s.id()
		st.Added = s.length()
	}
	if keep && s.err == nil {
		st.checkNodes(s, t)
	}
	s.what = "stream group"
	seen := map[string]bool{}
	for n := s.length(); n > 0 && s.err == nil; n-- {
		g := StreamGroup{Name: bytes.Clone(s.str()), Last: s.id()}
		if t != TypeStream1 {
			g.EntriesRead = int64(s.length())
			if g.EntriesRead < EntriesReadUnknown {
				s.corrupt("%d entries read", uint64(g.EntriesRead))
			}
		} else {
			g.EntriesRead = st.entriesRead(g.Last)
		}
		readPending(s, &g, keep)
		readConsumers(s, t, &g, keep)
		if !keep || s.err != nil {
			continue
		}
		if seen[string(g.Name)] {
			s.corrupt("group %q twice", g.Name)
		}
		seen[string(g.Name)] = true
		st.Groups = append(st.Groups, g)
	}
}

func readStreamNodes(s *source, st *Stream, keep bool) {
	for n := s.length(); n > 0 && s.err == nil; n-- {
		s.what = "stream node"
		key := s.str()
		if s.err == nil && len(key) != 16 {
			s.corrupt("node key of %d bytes", len(key))
		}
		if s.err != nil {
			return
		}
		node := StreamNode{Key: StreamID{Ms: binary.BigEndian.Uint64(key), Seq: binary.BigEndian.Uint64(key[8:])}}
		if !keep {
			s.skipString()
			continue
		}
		node.Listpack = bytes.Clone(s.str())
		if s.err != nil {
			return
		}
		if i := len(st.Nodes); i > 0 && st.Nodes[i-1].Key.Compare(node.Key) >= 0 {
			s.corrupt("node keys out of order")
			return
		}
		st.Nodes = append(st.Nodes, node)
	}
}

func readPending(s *source, g *StreamGroup, keep bool) {
	s.what = "stream pending entry"
	for n := s.length(); n > 0 && s.err == nil; n-- {
		p := StreamPending{ID: s.rawID(), DeliveredMs: int64(s.u64()), Deliveries: s.length(), Consumer: -1}
		if !keep || s.err != nil {
			continue
		}
		if i := len(g.Pending); i > 0 && g.Pending[i-1].ID.Compare(p.ID) >= 0 {
			s.corrupt("pending entries out of order")
		}
		g.Pending = append(g.Pending, p)
	}
}

func readConsumers(s *source, t Type, g *StreamGroup, keep bool) {
	seen := map[string]bool{}
	for n := s.length(); n > 0 && s.err == nil; n-- {
		s.what = "stream consumer"
		c := StreamConsumer{Name: bytes.Clone(s.str()), SeenMs: int64(s.u64())}
		c.ActiveMs = c.SeenMs
		if t == TypeStream3 {
			c.ActiveMs = int64(s.u64())
		}
		if keep && seen[string(c.Name)] {
			s.corrupt("consumer %q twice", c.Name)
		}
		seen[string(c.Name)] = keep
		for m := s.length(); m > 0 && s.err == nil; m-- {
			id := s.rawID()
			if !keep || s.err != nil {
				continue
			}
			i := g.findPending(id)
			if i < 0 || g.Pending[i].Consumer >= 0 {
				s.corrupt("consumer %q owns %d-%d, which is not pending or has an owner", c.Name, id.Ms, id.Seq)
				return
			}
			g.Pending[i].Consumer = len(g.Consumers)
		}
		if keep {
			g.Consumers = append(g.Consumers, c)
		}
	}
	for i := range g.Pending {
		if g.Pending[i].Consumer < 0 {
			s.corrupt("pending entry %d-%d without a consumer", g.Pending[i].ID.Ms, g.Pending[i].ID.Seq)
			return
		}
	}
}

func (g *StreamGroup) findPending(id StreamID) int {
	lo, hi := 0, len(g.Pending)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch c := g.Pending[mid].ID.Compare(id); {
		case c == 0:
			return mid
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return -1
}

// checkNodes walks all nodes, verifies them and Length, and sets the fields that
// type 15 does not have.
func (st *Stream) checkNodes(s *source, t Type) {
	s.what = "stream node"
	var live uint64
	var first, last StreamID
	for i := range st.Nodes {
		n := &st.Nodes[i]
		if err := n.walk(func(id StreamID, deleted bool) bool {
			if last.Compare(id) >= 0 && (live > 0 || i > 0) {
				return false
			}
			last = id
			if !deleted {
				if live == 0 {
					first = id
				}
				live++
			}
			return true
		}); err != "" {
			s.corrupt("node %d-%d: %s", n.Key.Ms, n.Key.Seq, err)
			return
		}
	}
	switch {
	case live != st.Length:
		s.corrupt("%d live entries, %d announced", live, st.Length)
	case last.Compare(st.Last) > 0:
		s.corrupt("entry %d-%d is after the last id", last.Ms, last.Seq)
	}
	if t == TypeStream1 {
		st.First, st.Added = first, st.Length
	}
}

// walk calls fn for the entries of a node in order, until it says false. The
// answer is what is wrong with the node, empty if nothing is.
func (n *StreamNode) walk(fn func(id StreamID, deleted bool) bool) string {
	if ds.ValidateLP(n.Listpack) != nil {
		return "bad listpack"
	}
	it := n.Listpack.Iter()
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
	pass(fields)
	if end := number(); bad || live < 0 || deleted < 0 || fields < 0 || end != 0 {
		return "bad head"
	}
	var sawLive, sawDeleted int64
	for it.Next() {
		e := it.Elem()
		flags, ok := e.AsInt()
		if !ok || flags < 0 || flags > streamDeleted|streamSameFields {
			return "bad flags"
		}
		id := StreamID{Ms: n.Key.Ms + uint64(number()), Seq: n.Key.Seq + uint64(number())}
		want := fields + 3
		if flags&streamSameFields != 0 {
			pass(fields)
		} else {
			pairs := number()
			if pairs < 0 || pairs > math.MaxInt32 {
				return "bad entry"
			}
			pass(2 * pairs)
			want = 2*pairs + 4
		}
		if k := number(); bad || k != want {
			return "bad entry"
		}
		if flags&streamDeleted != 0 {
			sawDeleted++
		} else {
			sawLive++
		}
		if !fn(id, flags&streamDeleted != 0) {
			return "entries out of order"
		}
	}
	if sawLive != live || sawDeleted != deleted || sawLive+sawDeleted == 0 {
		return "wrong count"
	}
	return ""
}

// entriesRead estimates how many entries a group that has delivered up to id has
// read, for files that do not say. Source: persistence-replication.md 11.3.
func (st *Stream) entriesRead(id StreamID) int64 {
	tombstones := st.MaxDeleted != StreamID{} && st.MaxDeleted.Compare(st.First) >= 0
	switch {
	case st.Added == 0:
		return 0
	case st.Length == 0 && id.Compare(st.Last) <= 0, id == st.Last:
		return int64(st.Added)
	case id.Compare(st.Last) > 0 || tombstones:
		return EntriesReadUnknown
	case id.Compare(st.First) < 0:
		return int64(st.Added - st.Length)
	case id == st.First:
		return int64(st.Added-st.Length) + 1
	}
	return EntriesReadUnknown
}

// AppendStream appends the body of st in the layout of type t, which is
// TypeStream2 or TypeStream3.
func AppendStream(dst []byte, st *Stream, t Type, compress bool) []byte {
	dst = AppendLen(dst, uint64(len(st.Nodes)))
	for i := range st.Nodes {
		dst = appendRawID(AppendLen(dst, 16), st.Nodes[i].Key)
		dst = AppendString(dst, st.Nodes[i].Listpack, compress)
	}
	dst = AppendLen(dst, st.Length)
	dst = appendID(dst, st.Last)
	dst = appendID(dst, st.First)
	dst = appendID(dst, st.MaxDeleted)
	dst = AppendLen(dst, st.Added)
	dst = AppendLen(dst, uint64(len(st.Groups)))
	for i := range st.Groups {
		dst = appendGroup(dst, &st.Groups[i], t, compress)
	}
	return dst
}

func appendGroup(dst []byte, g *StreamGroup, t Type, compress bool) []byte {
	dst = AppendString(dst, g.Name, compress)
	dst = appendID(dst, g.Last)
	dst = AppendLen(dst, uint64(g.EntriesRead))
	dst = AppendLen(dst, uint64(len(g.Pending)))
	owned := make([][]StreamID, len(g.Consumers))
	for _, p := range g.Pending {
		dst = AppendMs(appendRawID(dst, p.ID), p.DeliveredMs)
		dst = AppendLen(dst, p.Deliveries)
		owned[p.Consumer] = append(owned[p.Consumer], p.ID)
	}
	dst = AppendLen(dst, uint64(len(g.Consumers)))
	for i, c := range g.Consumers {
		dst = AppendMs(AppendString(dst, c.Name, compress), c.SeenMs)
		if t == TypeStream3 {
			dst = AppendMs(dst, c.ActiveMs)
		}
		dst = AppendLen(dst, uint64(len(owned[i])))
		for _, id := range owned[i] {
			dst = appendRawID(dst, id)
		}
	}
	return dst
}

func appendID(dst []byte, id StreamID) []byte { return AppendLen(AppendLen(dst, id.Ms), id.Seq) }

func appendRawID(dst []byte, id StreamID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, id.Ms), id.Seq)
}
