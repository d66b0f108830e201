package ds

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/skeindb/skein/internal/mem"
)

// Groups and consumers are records of their own, each found by name in a nameList
// of its owner, little endian:
//
//	group     | name length u64 | last id | entries read i64 | pending tree | consumers u64 | name |
//	          0                 8         24                 32             48              56
//	consumer  | name length u64 | seen i64 | active i64 | pending tree | name |
//	          0                 8          16           24             40
//	pending   | delivered i64 | deliveries u64 | consumer u64 |
//	          0               8                16             24
//
// A pending entry is in two trees under its id: the group's, and that of the
// consumer it names. None of the records ever moves.
const (
	grpLast      = 8
	grpRead      = 24
	grpPending   = 32
	grpConsumers = 48
	grpName      = 56

	conSeen    = 8
	conActive  = 16
	conPending = 24
	conName    = 40

	pendDelivered  = 0
	pendDeliveries = 8
	pendConsumer   = 16
	pendSize       = 24
)

// EntriesReadUnknown is StreamGroup.EntriesRead where it cannot be told.
const EntriesReadUnknown = -1

// nameList is refs of records in the order of their names:
//
//	| count u32 | room u32 | ref u64 ... |
//
// hdr is the eight bytes of the owner that hold its ref, 0 for an empty list that
// has no memory. A list is meant for some thousands of names: insertion moves the
// refs behind.
type nameList struct {
	a       Arena
	hdr     []byte
	nameOff int
}

func (l nameList) ref() mem.Ref { return mem.Ref(binary.LittleEndian.Uint64(l.hdr)) }

func (l nameList) len() int {
	if l.ref() == 0 {
		return 0
	}
	return int(binary.LittleEndian.Uint32(l.a.Region()[l.ref():]))
}

func (l nameList) slot(i int) []byte { return l.a.Region()[int(l.ref())+8+8*i:] }
func (l nameList) at(i int) mem.Ref  { return mem.Ref(binary.LittleEndian.Uint64(l.slot(i))) }

func (l nameList) name(r mem.Ref) []byte {
	b := l.a.Region()[r:]
	end := l.nameOff + int(binary.LittleEndian.Uint64(b))
	return b[l.nameOff:end:end]
}

// find returns the place of name, or where it would be.
func (l nameList) find(name []byte) (i int, ok bool) {
	lo, hi := 0, l.len()
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch c := bytes.Compare(l.name(l.at(mid)), name); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// get returns the record of name.
func (l nameList) get(name []byte) (r mem.Ref, ok bool) {
	i, ok := l.find(name)
	if ok {
		r = l.at(i)
	}
	return r, ok
}

// add makes a record for name; what is before the name is zero. false if there is
// one.
func (l nameList) add(name []byte) (rec mem.Ref, ok bool) {
	i, exists := l.find(name)
	if exists {
		return 0, false
	}
	n := l.len()
	old := l.ref()
	if old == 0 || n == int(binary.LittleEndian.Uint32(l.a.Region()[old+4:])) {
		room := max(2*n, 2)
		r := l.a.Alloc(l.a.Shard, 8+8*room, mem.Nodes)
		b := l.a.Region()[r:]
		if old != 0 {
			copy(b, l.a.Region()[old:int(old)+8+8*n])
			l.a.Free(l.a.Shard, old, mem.Nodes)
		}
		binary.LittleEndian.PutUint32(b[4:], uint32(room))
		binary.LittleEndian.PutUint64(l.hdr, uint64(r))
	}
	rec = l.a.AllocZero(l.a.Shard, l.nameOff+len(name), mem.Nodes)
	b := l.a.Region()[rec:]
	binary.LittleEndian.PutUint64(b, uint64(len(name)))
	copy(b[l.nameOff:], name)
	copy(l.slot(i + 1)[:8*(n-i)], l.slot(i)[:8*(n-i)])
	binary.LittleEndian.PutUint64(l.slot(i), uint64(rec))
	binary.LittleEndian.PutUint32(l.a.Region()[l.ref():], uint32(n+1))
	return rec, true
}

// drop frees the record at place i.
func (l nameList) drop(i int) {
	n := l.len()
	l.a.Free(l.a.Shard, l.at(i), mem.Nodes)
	copy(l.slot(i)[:8*(n-1-i)], l.slot(i + 1)[:8*(n-1-i)])
	binary.LittleEndian.PutUint32(l.a.Region()[l.ref():], uint32(n-1))
	if n == 1 {
		l.free()
	}
}

func (l nameList) free() {
	if l.ref() != 0 {
		l.a.Free(l.a.Shard, l.ref(), mem.Nodes)
		clear(l.hdr[:8])
	}
}

func (l nameList) memUsed() int {
	if l.ref() == 0 {
		return 0
	}
	total := l.a.Size(l.ref())
	for i := range l.len() {
		total += l.a.Size(l.at(i))
	}
	return total
}

func (l nameList) check() error {
	for i := 1; i < l.len(); i++ {
		if bytes.Compare(l.name(l.at(i-1)), l.name(l.at(i))) >= 0 {
			return fmt.Errorf("ds: stream: name %q is not before %q", l.name(l.at(i-1)), l.name(l.at(i)))
		}
	}
	return nil
}

func (s Stream) groups() nameList { return nameList{s.a, s.hdr[strGroups:], grpName} }

// StreamGroup is a handle on a consumer group, valid until it is destroyed.
type StreamGroup struct {
	s   Stream
	ref mem.Ref
}

// Groups returns the number of groups, GroupAt the one at a place in the order of
// names.
func (s Stream) Groups() int               { return s.groups().len() }
func (s Stream) GroupAt(i int) StreamGroup { return StreamGroup{s, s.groups().at(i)} }

// Group finds a group.
func (s Stream) Group(name []byte) (g StreamGroup, ok bool) {
	ref, ok := s.groups().get(name)
	return StreamGroup{s, ref}, ok
}

// CreateGroup makes a group; false if there is one of that name.
func (s Stream) CreateGroup(name []byte, last StreamID, entriesRead int64) (g StreamGroup, ok bool) {
	ref, ok := s.groups().add(name)
	g = StreamGroup{s, ref}
	if ok {
		g.SetLast(last)
		g.SetEntriesRead(entriesRead)
	}
	return g, ok
}

// DestroyGroup removes a group with its consumers and pending entries.
func (s Stream) DestroyGroup(name []byte) bool {
	l := s.groups()
	i, ok := l.find(name)
	if ok {
		s.GroupAt(i).free()
		l.drop(i)
	}
	return ok
}

func (g StreamGroup) bytes() []byte { return g.s.a.Region()[g.ref:] }
func (g StreamGroup) u64(off int) uint64 {
	return binary.LittleEndian.Uint64(g.bytes()[off:])
}
func (g StreamGroup) setU64(off int, v uint64) { binary.LittleEndian.PutUint64(g.bytes()[off:], v) }

func (g StreamGroup) pending() idTree     { return openIDTree(g.s.a, g.bytes()[grpPending:]) }
func (g StreamGroup) consumers() nameList { return nameList{g.s.a, g.bytes()[grpConsumers:], conName} }

// Name returns a view of the name.
func (g StreamGroup) Name() []byte { return g.s.groups().name(g.ref) }

// Last returns the id up to which entries were delivered.
func (g StreamGroup) Last() StreamID { return StreamID{g.u64(grpLast), g.u64(grpLast + 8)} }

// SetLast changes it.
func (g StreamGroup) SetLast(id StreamID) {
	g.setU64(grpLast, id.Ms)
	g.setU64(grpLast+8, id.Seq)
}

// EntriesRead returns how many entries were delivered, EntriesReadUnknown if that
// cannot be told.
func (g StreamGroup) EntriesRead() int64     { return int64(g.u64(grpRead)) }
func (g StreamGroup) SetEntriesRead(n int64) { g.setU64(grpRead, uint64(n)) }

// Pending returns the number of pending entries.
func (g StreamGroup) Pending() int { return g.pending().Len() }

// Consumers returns the number of consumers, ConsumerAt the one at a place in the
// order of names.
func (g StreamGroup) Consumers() int { return g.consumers().len() }
func (g StreamGroup) ConsumerAt(i int) StreamConsumer {
	return StreamConsumer{g, g.consumers().at(i)}
}

// Consumer finds a consumer.
func (g StreamGroup) Consumer(name []byte) (c StreamConsumer, ok bool) {
	ref, ok := g.consumers().get(name)
	return StreamConsumer{g, ref}, ok
}

// CreateConsumer makes a consumer that was seen at seenMs and never active; false
// if there is one of that name.
func (g StreamGroup) CreateConsumer(name []byte, seenMs int64) (c StreamConsumer, ok bool) {
	ref, ok := g.consumers().add(name)
	c = StreamConsumer{g, ref}
	if ok {
		c.SetSeen(seenMs)
		c.SetActive(-1)
	}
	return c, ok
}

// DeleteConsumer removes a consumer with its pending entries and returns how many
// those were; false if there is no such consumer.
func (g StreamGroup) DeleteConsumer(name []byte) (pending int, ok bool) {
	l := g.consumers()
	i, ok := l.find(name)
	if !ok {
		return 0, false
	}
	c := g.ConsumerAt(i)
	mine, all := c.pending(), g.pending()
	pending = mine.Len()
	for it := mine.first(); it.valid(); it.next() {
		all.remove(it.key())
		g.s.a.Free(g.s.a.Shard, it.ref(), mem.Nodes)
	}
	mine.free()
	l.drop(i)
	return pending, true
}

func (g StreamGroup) free() {
	for i := range g.Consumers() {
		g.ConsumerAt(i).pending().free()
		g.s.a.Free(g.s.a.Shard, g.consumers().at(i), mem.Nodes)
	}
	g.consumers().free()
	for it := g.pending().first(); it.valid(); it.next() {
		g.s.a.Free(g.s.a.Shard, it.ref(), mem.Nodes)
	}
	g.pending().free()
}

func (s Stream) freeGroups() {
	l := s.groups()
	for i := range l.len() {
		s.GroupAt(i).free()
		s.a.Free(s.a.Shard, l.at(i), mem.Nodes)
	}
	l.free()
}

// StreamConsumer is a handle on a consumer, valid until it is deleted.
type StreamConsumer struct {
	g   StreamGroup
	ref mem.Ref
}

func (c StreamConsumer) bytes() []byte   { return c.g.s.a.Region()[c.ref:] }
func (c StreamConsumer) pending() idTree { return openIDTree(c.g.s.a, c.bytes()[conPending:]) }

// Name returns a view of the name.
func (c StreamConsumer) Name() []byte { return c.g.consumers().name(c.ref) }

// Pending returns the number of pending entries of the consumer.
func (c StreamConsumer) Pending() int { return c.pending().Len() }

// Seen returns when the consumer last asked for something, Active when it last
// got something, -1 for never; Unix milliseconds.
func (c StreamConsumer) Seen() int64 { return int64(binary.LittleEndian.Uint64(c.bytes()[conSeen:])) }
func (c StreamConsumer) Active() int64 {
	return int64(binary.LittleEndian.Uint64(c.bytes()[conActive:]))
}
func (c StreamConsumer) SetSeen(ms int64) {
	binary.LittleEndian.PutUint64(c.bytes()[conSeen:], uint64(ms))
}
func (c StreamConsumer) SetActive(ms int64) {
	binary.LittleEndian.PutUint64(c.bytes()[conActive:], uint64(ms))
}

// StreamPending is a handle on an entry that was delivered and not acknowledged.
type StreamPending struct {
	g   StreamGroup
	ref mem.Ref
	ID  StreamID
}

func (p StreamPending) bytes() []byte { return p.g.s.a.Region()[p.ref:] }

// Delivered returns when the entry was last delivered, Unix milliseconds.
func (p StreamPending) Delivered() int64 {
	return int64(binary.LittleEndian.Uint64(p.bytes()[pendDelivered:]))
}
func (p StreamPending) SetDelivered(ms int64) {
	binary.LittleEndian.PutUint64(p.bytes()[pendDelivered:], uint64(ms))
}

// Deliveries returns how often it was delivered.
func (p StreamPending) Deliveries() uint64 {
	return binary.LittleEndian.Uint64(p.bytes()[pendDeliveries:])
}
func (p StreamPending) SetDeliveries(n uint64) {
	binary.LittleEndian.PutUint64(p.bytes()[pendDeliveries:], n)
}

// Consumer returns who has the entry.
func (p StreamPending) Consumer() StreamConsumer {
	return StreamConsumer{p.g, mem.Ref(binary.LittleEndian.Uint64(p.bytes()[pendConsumer:]))}
}

// SetConsumer gives the entry to c, of the same group.
func (p StreamPending) SetConsumer(c StreamConsumer) {
	old := p.Consumer()
	if old.ref == c.ref {
		return
	}
	old.pending().remove(p.ID)
	c.pending().insert(p.ID, p.ref)
	binary.LittleEndian.PutUint64(p.bytes()[pendConsumer:], uint64(c.ref))
}

// FindPending finds a pending entry.
func (g StreamGroup) FindPending(id StreamID) (p StreamPending, ok bool) {
	ref, ok := g.pending().get(id)
	return StreamPending{g, ref, id}, ok
}

// AddPending makes an entry pending that is not; all its facts are given.
func (g StreamGroup) AddPending(id StreamID, c StreamConsumer, deliveredMs int64, deliveries uint64) StreamPending {
	p := StreamPending{g, g.s.a.Alloc(g.s.a.Shard, pendSize, mem.Nodes), id}
	p.SetDelivered(deliveredMs)
	p.SetDeliveries(deliveries)
	binary.LittleEndian.PutUint64(p.bytes()[pendConsumer:], uint64(c.ref))
	g.pending().insert(id, p.ref)
	c.pending().insert(id, p.ref)
	return p
}

// Ack removes a pending entry; false if id is not pending.
func (g StreamGroup) Ack(id StreamID) bool {
	ref, ok := g.pending().remove(id)
	if ok {
		p := StreamPending{g, ref, id}
		p.Consumer().pending().remove(id)
		g.s.a.Free(g.s.a.Shard, ref, mem.Nodes)
	}
	return ok
}

// PendingIter walks pending entries in the order of their ids:
//
//	for it := g.PendingFrom(id); it.Valid(); it.Next() { use(it.Pending()) }
//
// An entry may be changed on the way, but none acknowledged or added.
type PendingIter struct {
	g  StreamGroup
	it idIter
}

func (it *PendingIter) Valid() bool { return it.it.valid() }
func (it *PendingIter) Next()       { it.it.next() }
func (it *PendingIter) Pending() StreamPending {
	return StreamPending{it.g, it.it.ref(), it.it.key()}
}

// PendingFrom returns an iterator at the first pending entry of the group that is
// not before id, LastPending one at the last.
func (g StreamGroup) PendingFrom(id StreamID) PendingIter {
	return PendingIter{g, g.pending().ceiling(id)}
}
func (g StreamGroup) LastPending() PendingIter { return PendingIter{g, g.pending().last()} }

// PendingFrom is that of the consumer's entries.
func (c StreamConsumer) PendingFrom(id StreamID) PendingIter {
	return PendingIter{c.g, c.pending().ceiling(id)}
}

func (s Stream) groupMem() int {
	l := s.groups()
	total := l.memUsed()
	for i := range l.len() {
		g := s.GroupAt(i)
		total += g.pending().memUsed() + g.consumers().memUsed()
		for it := g.pending().first(); it.valid(); it.next() {
			total += s.a.Size(it.ref())
		}
		for k := range g.Consumers() {
			total += g.ConsumerAt(k).pending().memUsed()
		}
	}
	return total
}

func (s Stream) copyGroups(dst Stream) {
	for i := range s.Groups() {
		g := s.GroupAt(i)
		to, _ := dst.CreateGroup(g.Name(), g.Last(), g.EntriesRead())
		for k := range g.Consumers() {
			c := g.ConsumerAt(k)
			nc, _ := to.CreateConsumer(c.Name(), c.Seen())
			nc.SetActive(c.Active())
			for it := c.PendingFrom(StreamID{}); it.Valid(); it.Next() {
				p := it.Pending()
				to.AddPending(p.ID, nc, p.Delivered(), p.Deliveries())
			}
		}
	}
}

func (s Stream) checkGroups() error {
	if err := s.groups().check(); err != nil {
		return err
	}
	for i := range s.Groups() {
		g := s.GroupAt(i)
		if err := g.consumers().check(); err != nil {
			return err
		}
		if err := g.pending().check(); err != nil {
			return err
		}
		owned := 0
		for k := range g.Consumers() {
			c := g.ConsumerAt(k)
			if err := c.pending().check(); err != nil {
				return err
			}
			owned += c.Pending()
			for it := c.PendingFrom(StreamID{}); it.Valid(); it.Next() {
				p := it.Pending()
				if q, ok := g.FindPending(p.ID); !ok || q.ref != p.ref || p.Consumer().ref != c.ref {
					return fmt.Errorf("ds: stream group %q: consumer %q has %v, which is not its own", g.Name(), c.Name(), p.ID)
				}
			}
		}
		if owned != g.Pending() {
			return fmt.Errorf("ds: stream group %q: %d pending entries, consumers have %d", g.Name(), g.Pending(), owned)
		}
	}
	return nil
}
