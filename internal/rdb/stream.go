package rdb

import (
	"bytes"
	"encoding/binary"

	"github.com/skeindb/skein/internal/ds"
)

// StreamID is the id of an entry.
type StreamID = ds.StreamID

// Stream is the body of a stream value, fields of older types filled in. All of
// its memory is its own.
type Stream struct {
	Nodes []StreamNode // ascending, each with at least one live entry
	ds.StreamTotals
	Groups []StreamGroup
}

// StreamNode holds consecutive entries in one listpack (ds.ValidateStreamNode).
type StreamNode struct {
	Key      StreamID
	Listpack ds.LP
}

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
	var st Stream
	err := v.stream(&st, func(key StreamID, lp []byte) {
		st.Nodes = append(st.Nodes, StreamNode{key, bytes.Clone(lp)})
	})
	if err != nil {
		return nil, err
	}
	return &st, nil
}

// stream reads a stream into st but for its nodes, which are checked and given to
// node one after another; the listpack is a view.
func (v *Value) stream(st *Stream, node func(key StreamID, lp []byte)) error {
	v.begun, v.done = true, true
	readStream(v.s, v.typ, st, node)
	return v.s.err
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
func readStream(s *source, t Type, st *Stream, node func(key StreamID, lp []byte)) {
	keep := st != nil
	if !keep {
		st = &Stream{}
	}
	var walk nodeWalk
	for n := s.length(); n > 0 && s.err == nil; n-- {
		readStreamNode(s, &walk, node)
	}
	s.what = "stream"
	st.Length = s.length()
	st.Last = s.id()
	if t != TypeStream1 {
		st.First, st.MaxDeleted = s.id(), s.id()
		st.Added = s.length()
	} else {
		st.Added = st.Length
	}
	if keep && s.err == nil {
		st.First = walk.first
		switch {
		case walk.live != st.Length:
			s.corrupt("%d live entries, %d announced", walk.live, st.Length)
		case st.Last.Less(walk.last):
			s.corrupt("entry %d-%d is after the last id", walk.last.Ms, walk.last.Seq)
		}
	}
	seen := map[string]bool{}
	for n := s.length(); n > 0 && s.err == nil; n-- {
		s.what = "stream group"
		g := StreamGroup{Name: bytes.Clone(s.str()), Last: s.id()}
		if t != TypeStream1 {
			g.EntriesRead = int64(s.length())
			if g.EntriesRead < ds.EntriesReadUnknown {
				s.corrupt("%d entries read", uint64(g.EntriesRead))
			}
		} else {
			g.EntriesRead = st.EntriesReadAt(g.Last)
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

// nodeWalk is what was met in the nodes so far.
type nodeWalk struct {
	any         bool
	key         StreamID // of the last node
	live        uint64
	first, last StreamID // first is that of a live entry
}

// readStreamNode reads one node, and checks it unless node is nil.
func readStreamNode(s *source, w *nodeWalk, node func(key StreamID, lp []byte)) {
	s.what = "stream node"
	k := s.str()
	if s.err == nil && len(k) != 16 {
		s.corrupt("node key of %d bytes", len(k))
	}
	if s.err != nil {
		return
	}
	key := StreamID{Ms: binary.BigEndian.Uint64(k), Seq: binary.BigEndian.Uint64(k[8:])}
	if node == nil {
		s.skipString()
		return
	}
	lp := s.str()
	if s.err != nil {
		return
	}
	if w.any && !(w.key.Less(key) && w.last.Less(key)) {
		s.corrupt("node keys out of order")
		return
	}
	live := w.live
	if wrong := ds.ValidateStreamNode(lp, key, func(id StreamID, deleted bool) string {
		if w.any && !w.last.Less(id) {
			return "entries out of order"
		}
		w.any, w.last = true, id
		if !deleted {
			if w.live == 0 {
				w.first = id
			}
			w.live++
		}
		return ""
	}); wrong != "" {
		s.corrupt("node %d-%d: %s", key.Ms, key.Seq, wrong)
		return
	}
	w.key = key
	if w.live > live { // servers keep no others
		node(key, lp)
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

// fill gives the groups to to.
func (st *Stream) fill(to ds.Stream) {
	for i := range st.Groups {
		from := &st.Groups[i]
		g, _ := to.CreateGroup(from.Name, from.Last, from.EntriesRead)
		consumers := make([]ds.StreamConsumer, len(from.Consumers))
		for k := range from.Consumers {
			c := &from.Consumers[k]
			consumers[k], _ = g.CreateConsumer(c.Name, c.SeenMs)
			consumers[k].SetActive(c.ActiveMs)
		}
		for k := range from.Pending {
			p := &from.Pending[k]
			g.AddPending(p.ID, consumers[p.Consumer], p.DeliveredMs, p.Deliveries)
		}
	}
}

// AppendStream appends the body of s in the layout of type t, which is
// TypeStream2 or TypeStream3.
func AppendStream(dst []byte, s ds.Stream, t Type, compress bool) []byte {
	dst = AppendLen(dst, uint64(s.NodeCount()))
	s.Nodes(func(base StreamID, node []byte) bool {
		dst = appendStreamNode(dst, base, node, compress)
		return true
	})
	return appendStreamRest(dst, s, t, compress)
}

func appendStreamNode(dst []byte, base StreamID, node []byte, compress bool) []byte {
	dst = appendRawID(AppendLen(dst, 16), base)
	return AppendString(dst, node, compress)
}

// appendStreamRest appends what follows the nodes.
func appendStreamRest(dst []byte, s ds.Stream, t Type, compress bool) []byte {
	dst = AppendLen(dst, uint64(s.Len()))
	dst = appendID(dst, s.Last())
	dst = appendID(dst, s.First())
	dst = appendID(dst, s.MaxDeleted())
	dst = AppendLen(dst, s.Added())
	dst = AppendLen(dst, uint64(s.Groups()))
	for i := range s.Groups() {
		dst = appendGroup(dst, s.GroupAt(i), t, compress)
	}
	return dst
}

func appendGroup(dst []byte, g ds.StreamGroup, t Type, compress bool) []byte {
	dst = AppendString(dst, g.Name(), compress)
	dst = appendID(dst, g.Last())
	dst = AppendLen(dst, uint64(g.EntriesRead()))
	dst = AppendLen(dst, uint64(g.Pending()))
	for it := g.PendingFrom(StreamID{}); it.Valid(); it.Next() {
		p := it.Pending()
		dst = AppendMs(appendRawID(dst, p.ID), p.Delivered())
		dst = AppendLen(dst, p.Deliveries())
	}
	dst = AppendLen(dst, uint64(g.Consumers()))
	for i := range g.Consumers() {
		c := g.ConsumerAt(i)
		dst = AppendMs(AppendString(dst, c.Name(), compress), c.Seen())
		if t == TypeStream3 {
			dst = AppendMs(dst, c.Active())
		}
		dst = AppendLen(dst, uint64(c.Pending()))
		for it := c.PendingFrom(StreamID{}); it.Valid(); it.Next() {
			dst = appendRawID(dst, it.Pending().ID)
		}
	}
	return dst
}

func appendID(dst []byte, id StreamID) []byte { return AppendLen(AppendLen(dst, id.Ms), id.Seq) }

func appendRawID(dst []byte, id StreamID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, id.Ms), id.Seq)
}
