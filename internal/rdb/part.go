package rdb

import (
	"bytes"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// part is a value that comes to a Collector in pieces:
//
//	head                 key, type, number of elements
//	elements             in buf as they come, in out as they go
//	rest                 of a stream: totals and groups; or the text of a string
//
// All is as it was when the part was begun.
type part struct {
	c        *Collector
	db       int
	typ      Type
	base     int64 // of a hash whose fields expire
	head     []byte
	buf, out []byte
	rest     []byte
	begun    bool // the head is out
}

// pieceSize is how many bytes are encoded under one taking of a lock.
const pieceSize = writerBuffer

var _ store.PartSink = (*Collector)(nil)

// Begin implements store.PartSink.
func (c *Collector) Begin(db int, o *store.Obj) store.Part {
	p := &part{c: c, db: db, typ: TypeOf(o), head: appendKeyOf(nil, o, &c.opts)}
	a, v := o.Arena(), o.Bytes()
	n := 0
	switch p.typ {
	case TypeString:
		p.rest = bytes.Clone(v) // compressed later
		c.inParts.Add(int64(len(p.head) + len(v)))
		return p
	case TypeSet, TypeHash:
		n = ds.OpenTable(a, v).Len()
	case TypeHashTTL:
		t := ds.OpenTTLTable(a, v)
		p.base, n = t.FirstTime(), t.Len()
		p.head = AppendMs(p.head, p.base)
	case TypeZSet:
		n = ds.OpenZSet(a, v).Len()
	case TypeListQuicklist2:
		n = ds.OpenQuicklist(a, v).NodeCount()
	case TypeStream2:
		s := ds.OpenStream(a, v)
		n = s.NodeCount()
		p.rest = appendStreamRest(nil, s, p.typ, c.opts.Compress)
	default:
		return nil
	}
	p.head = AppendLen(p.head, uint64(n))
	c.inParts.Add(int64(len(p.head) + len(p.rest)))
	return p
}

// Pair implements ds.Taker, as the following do.
func (p *part) Pair(field, value []byte, at int64) {
	switch compress := p.c.opts.Compress; p.typ {
	case TypeHashTTL:
		p.came(appendTimedPair(p.buf, field, value, at, p.base, compress))
	case TypeHash:
		p.came(AppendString(AppendString(p.buf, field, compress), value, compress))
	default:
		p.came(AppendString(p.buf, field, compress))
	}
}

func (p *part) Member(member []byte, score float64) {
	p.came(AppendDouble(AppendString(p.buf, member, p.c.opts.Compress), score))
}

func (p *part) ListNode(data []byte, plain bool) {
	p.came(appendListNode(p.buf, data, plain, p.c.opts.Compress))
}

func (p *part) StreamNode(base StreamID, node []byte) {
	p.came(appendStreamNode(p.buf, base, node, p.c.opts.Compress))
}

// came makes buf what it has grown to.
func (p *part) came(grown []byte) {
	p.c.inParts.Add(int64(len(grown) - len(p.buf)))
	p.buf = grown
}

// Full implements store.Part.
func (p *part) Full() bool { return len(p.buf) >= pieceSize }

// Cut implements store.Part.
func (p *part) Cut() {
	p.out, p.buf = p.buf, p.out[:0]
	if cap(p.buf) > keepWindow {
		p.buf = nil
	}
}

// Put implements store.Part.
func (p *part) Put(last bool) error {
	c := p.c
	if !p.begun {
		p.begun = true
		c.mu.Lock()
		c.enter(p.db) // the key stands between what is collected until here and from here on
		before := c.exchange()
		c.mu.Unlock()
		c.put(before)
		c.w.Write(p.head)
	}
	c.w.Write(p.out)
	if last && p.typ == TypeString {
		p.out = AppendString(p.out[:0], p.rest, c.opts.Compress)
		c.inParts.Add(int64(len(p.out) - len(p.rest)))
		c.w.Write(p.out)
	} else if last {
		c.w.Write(p.rest)
	}
	c.turns.Pass()
	return c.w.err
}
