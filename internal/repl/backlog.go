package repl

// Backlog is the recent bytes of a stream, in a chain of blocks that history
// and the feeds of all replicas share:
//
//	first                                             last
//	[start 0 ....] -> [start 65536 ....] -> [start 131072 ..    ]
//	      ^ cursor of a slow replica              ^ cursor of a fast one
//
// Bytes are written once and never change while a block is in the chain, so a
// reader may use what Read gave it without a lock, as long as its cursor pins
// the block. A position counts the bytes before it: the byte at position p has
// the stream offset p+1.
//
// Backlog has no lock; Log's guards it.
type Backlog struct {
	size      int64 // bytes to keep at least
	blockSize int
	first     *block // nil: not active
	last      *block
	free      []*block // for reuse
}

type block struct {
	start int64  // position of buf[0]
	buf   []byte // written part; the capacity is the block's size
	next  *block
	pins  int // cursors in this block
}

func (k *block) end() int64 { return k.start + int64(len(k.buf)) }

// Blocks are a sixteenth of the backlog: fine enough to trim by, within limits
// that suit one write to a socket.
const (
	minBlock  = 4 << 10
	maxBlock  = 256 << 10
	keepSpare = 4 // blocks kept for reuse
)

// Start makes an empty backlog, at a position.
func (b *Backlog) Start(pos int64, size int64) {
	*b = Backlog{size: size, blockSize: blockSizeFor(size)}
	b.first = b.newBlock(pos)
	b.last = b.first
}

func blockSizeFor(size int64) int { return int(min(max(size/16, minBlock), maxBlock)) }

// Stop forgets everything.
func (b *Backlog) Stop() { *b = Backlog{} }

// Active reports whether there is a backlog.
func (b *Backlog) Active() bool { return b.first != nil }

// Resize changes how much is kept at least.
func (b *Backlog) Resize(size int64) { b.size, b.blockSize = size, blockSizeFor(size) }

// From and To bound the positions that can be read: From <= p <= To.
func (b *Backlog) From() int64 { return b.first.start }
func (b *Backlog) To() int64   { return b.last.end() }

// Append adds p, which it copies, and reports whether a block was filled, which
// is when Trim is due.
func (b *Backlog) Append(p []byte) (filled bool) {
	for {
		k := b.last
		n := copy(k.buf[len(k.buf):cap(k.buf)], p)
		k.buf = k.buf[:len(k.buf)+n]
		if p = p[n:]; len(p) == 0 {
			return filled
		}
		k.next = b.newBlock(k.end())
		b.last = k.next
		filled = true
	}
}

func (b *Backlog) newBlock(start int64) *block {
	if n := len(b.free); n > 0 && cap(b.free[n-1].buf) == b.blockSize {
		k := b.free[n-1]
		b.free = b.free[:n-1]
		*k = block{start: start, buf: k.buf[:0]}
		return k
	}
	return &block{start: start, buf: make([]byte, 0, b.blockSize)}
}

// Trim drops blocks that lie wholly before the kept size and before keep, the
// position of the slowest reader that is waited for.
func (b *Backlog) Trim(keep int64) {
	keep = min(keep, b.To()-b.size)
	for b.first != b.last && b.first.end() <= keep {
		k := b.first
		b.first = k.next
		if k.pins == 0 && len(b.free) < keepSpare {
			b.free = append(b.free, k)
		}
	}
}

// Cursor is a reader's place.
type Cursor struct {
	pos int64
	k   *block // pinned; nil before Seek and after Drop
}

// Pos returns the position of the next byte.
func (c *Cursor) Pos() int64 { return c.pos }

// Seek puts c at a position within the backlog.
func (b *Backlog) Seek(c *Cursor, pos int64) {
	b.Drop(c)
	k := b.first
	for k.next != nil && k.end() <= pos {
		k = k.next
	}
	c.pos, c.k = pos, k
	k.pins++
}

// Drop takes c off the backlog.
func (b *Backlog) Drop(c *Cursor) {
	if c.k != nil {
		c.k.pins--
		c.k = nil
	}
}

// Read returns the bytes at c up to the end of its block, nil when there are
// none yet. They are valid until c is moved. A cursor that the backlog has
// passed keeps its block but must not be read on: the caller sees to that.
func (b *Backlog) Read(c *Cursor) []byte {
	for c.pos == c.k.end() {
		next := c.k.next
		if next == nil {
			return nil
		}
		c.k.pins--
		c.k = next
		next.pins++
	}
	return c.k.buf[c.pos-c.k.start:]
}

// Advance moves c over n bytes that Read gave.
func (b *Backlog) Advance(c *Cursor, n int) { c.pos += int64(n) }
