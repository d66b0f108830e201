package sim

import (
	"bytes"
	"fmt"

	"github.com/skeindb/skein/internal/cluster"
)

const (
	clientPort = 7000
	busPort    = 17000
)

// The network behaves like TCP between hosts: the bytes of a connection arrive
// in order or not at all, a direction that is cut holds them back and delivers
// them late, a connection attempt is repeated until it gets through or gives
// up. Losing a connection is the only way to lose a message.
type network struct {
	w     *World
	cuts  []uint8 // [from * nodes + to]: partitions that block this direction
	base  []int32 // [from * nodes + to]: least delay, µs
	slow  []int64 // extra delay of a host, µs
	held  []*pipe // pipes with something held back
	conns []*conn // every connection with an open end; compacted now and then
	gone  int

	frames, bytes int64 // sent
}

// conn is a connection. Side 0 dialled, side 1 accepted.
type conn struct {
	ends  [2]end
	pipes [2]pipe // bytes from that side to the other
	// Until it stands:
	target  string
	tries   int
	stands  bool
	pending []*frame
}

type end struct {
	node *node // nil at side 1 until accepted
	boot uint32
	link cluster.LinkID
	open bool
}

// pipe is one direction.
type pipe struct {
	conn   *conn
	side   uint8
	lastAt int64   // nothing may arrive before what was sent earlier
	sent   uint32  // messages sent and
	got    uint32  // arrived, to prove that
	held   []event // while the direction is cut
}

// frame is a message on its way, maybe to several nodes: as its bytes or, mostly,
// as they are known to be read again. See encode.
type frame struct {
	buf  []byte // empty unless it goes as bytes
	msg  cluster.Message
	size int // of the bytes
	refs int
}

// One message in bytesShare is sent as bytes.
const bytesShare = 16

func (nw *network) init(w *World) {
	n := len(w.nodes)
	nw.w = w
	nw.cuts = make([]uint8, n*n)
	nw.base = make([]int32, n*n)
	nw.slow = make([]int64, n)
	spread := w.between(200, 4000)
	for i := range nw.base {
		nw.base[i] = int32(w.between(50, spread))
	}
}

func (nw *network) blocked(from, to *node) bool {
	return nw.cuts[from.i*len(nw.w.nodes)+to.i] != 0
}

// delay draws the time of one message: mostly the base, rarely much more.
func (nw *network) delay(from, to *node) int64 {
	w := nw.w
	d := int64(nw.base[from.i*len(w.nodes)+to.i])
	r := w.rnd.Uint32()
	d += int64(r>>16) % (d/2 + 20)
	if r&0x3FF == 0 {
		d += w.between(0, 120*ms)
	}
	return d + nw.slow[from.i] + nw.slow[to.i]
}

// dial starts a connection from n to an address.
func (nw *network) dial(n *node, d cluster.Dial) {
	c := &conn{target: d.IP}
	c.pipes[0] = pipe{conn: c, side: 0}
	c.pipes[1] = pipe{conn: c, side: 1}
	c.ends[0] = end{node: n, boot: n.boot, link: d.Link, open: true}
	n.addLink(d.Link, c)
	nw.track(c)
	at := nw.w.now + 2*ms
	if to := nw.w.byIP[d.IP]; to != nil {
		at = nw.w.now + nw.delay(n, to) + nw.delay(to, n)
	}
	nw.w.push(event{at: at, kind: evConnect, conn: c})
}

// peer is the node at the other end of a side; before the connection stands the
// one at its address, nil if there is none.
func (c *conn) peer(side uint8) *node {
	if c.stands {
		return c.ends[1-side].node
	}
	return c.ends[0].node.w.byIP[c.target]
}

// connect is an attempt reaching the other host, or not.
func (nw *network) connect(c *conn) {
	w, a := nw.w, &c.ends[0]
	if !a.open {
		return
	}
	to := w.byIP[c.target]
	if to == nil || !to.hostUp || nw.blocked(a.node, to) || nw.blocked(to, a.node) {
		if c.tries++; c.tries > 5 { // as SYN does: after 1, 3, 7, 15, 31 s
			nw.lose(c, 0, false)
			return
		}
		w.push(event{at: w.now + second<<(c.tries-1), kind: evConnect, conn: c})
		return
	}
	if !to.up {
		nw.lose(c, 0, true)
		return
	}
	c.stands = true
	to.accepts++
	b := &c.ends[1]
	*b = end{node: to, boot: to.boot, link: cluster.InboundLink(to.accepts), open: true}
	to.addLink(b.link, c)
	w.mix(uint64(evConnect), uint64(w.now), uint64(a.node.i), uint64(to.i))
	w.push(event{at: w.now, kind: evAccept, node: to, boot: to.boot, conn: c})
	w.push(event{at: w.now, kind: evUp, node: a.node, boot: a.boot, conn: c})
	for _, f := range c.pending {
		nw.transmit(c, 0, f)
	}
	c.pending = nil
}

// lose tells the owner of an end that its connection is gone.
func (nw *network) lose(c *conn, side uint8, refused bool) {
	e := &c.ends[side]
	if !e.open {
		return
	}
	n := e.node
	nw.drop(c, side)
	nw.w.push(event{at: nw.w.now, kind: evNode, node: n, boot: e.boot, fn: func() {
		n.step(cluster.LinkDown{Link: e.link, Refused: refused})
	}})
}

// drop closes an end without telling either side.
func (nw *network) drop(c *conn, side uint8) {
	e := &c.ends[side]
	e.open = false
	e.node.dropLink(e.link)
	for _, f := range c.pending {
		nw.w.release(f)
	}
	c.pending = nil
	if !c.ends[1-side].open {
		nw.gone++
	}
}

// close closes an end as its owner does; the other side hears of it after all
// that was sent.
func (nw *network) close(c *conn, side uint8) {
	if !c.ends[side].open {
		return
	}
	nw.drop(c, side)
	if c.stands {
		nw.transmit(c, side, nil)
	}
}

// send queues a frame, or keeps it until the connection stands. It takes over
// one reference.
func (nw *network) send(c *conn, side uint8, f *frame) {
	if !c.stands {
		c.pending = append(c.pending, f)
		return
	}
	nw.transmit(c, side, f)
}

// transmit puts a frame, or the end of the stream when f is nil, on its way.
func (nw *network) transmit(c *conn, side uint8, f *frame) {
	p := &c.pipes[side]
	at := nw.w.now + nw.delay(c.ends[side].node, c.ends[1-side].node)
	at = max(at, p.lastAt+1)
	p.lastAt = at
	kind := evFrame
	if f == nil {
		kind = evFin
	} else {
		nw.frames++
		nw.bytes += int64(f.size)
	}
	p.sent++
	nw.w.push(event{at: at, kind: kind, conn: c, side: side, number: p.sent, sent: nw.w.now, frame: f})
}

// arrive delivers a frame or the end of a stream, unless the direction is cut.
func (nw *network) arrive(e event) {
	c, w := e.conn, nw.w
	p, to := &c.pipes[e.side], &c.ends[1-e.side]
	if !to.open {
		w.release(e.frame)
		return
	}
	if len(p.held) > 0 || nw.blocked(c.ends[e.side].node, to.node) {
		if len(p.held) == 0 {
			nw.held = append(nw.held, p)
		}
		p.held = append(p.held, e)
		return
	}
	if p.got++; p.got != e.number {
		panic(fmt.Sprintf("sim: message %d of a connection arrives in place %d", e.number, p.got))
	}
	n := to.node
	e.node, e.boot = n, to.boot
	n.take(e)
}

// cut blocks or unblocks (by -1) the direction from one host to another.
func (nw *network) cut(from, to *node, by int) {
	i := from.i*len(nw.w.nodes) + to.i
	nw.cuts[i] = uint8(int(nw.cuts[i]) + by)
}

// retransmit delivers what was held back in directions that are open again, as
// the kernels' next retransmissions would. What arrives meanwhile queues up
// behind it.
func (nw *network) retransmit() {
	w := nw.w
	still := nw.held[:0]
	for _, p := range nw.held {
		if nw.blocked(p.conn.ends[p.side].node, p.conn.ends[1-p.side].node) {
			still = append(still, p)
			continue
		}
		w.after(w.between(ms, 400*ms), func() {
			held := p.held
			p.held = nil
			for _, e := range held {
				nw.arrive(e) // holds it again if the direction was cut again
			}
		})
	}
	clear(nw.held[len(still):])
	nw.held = still
}

// resetHalfOpen breaks the connections that a host which lost power still
// seemed to have: now that it is back it answers them with a reset.
func (nw *network) resetHalfOpen(host *node) {
	for _, c := range nw.conns {
		for side := range uint8(2) {
			far := &c.ends[1-side]
			if c.stands && c.ends[side].node == host && !c.ends[side].open && far.open {
				nw.w.after(nw.w.between(ms, second), func() {
					if far.open {
						nw.lose(c, 1-side, false)
					}
				})
			}
		}
	}
}

// track remembers a connection, and forgets the closed ones when they are many.
func (nw *network) track(c *conn) {
	if nw.gone > 64 && nw.gone > len(nw.conns)/2 {
		live := nw.conns[:0]
		for _, c := range nw.conns {
			if c.ends[0].open || c.ends[1].open {
				live = append(live, c)
			}
		}
		clear(nw.conns[len(live):])
		nw.conns, nw.gone = live, 0
	}
	nw.conns = append(nw.conns, c)
}

// encode makes the frame of a message, with one reference, and takes the message
// over. What the codec does to a message costs more than what the machines do with
// it, and nothing that they send is changed by it: so one in bytesShare goes through
// the bytes, and is compared there, and worlds are the same if all do, as
// TestBytesOfEveryMessage proves.
func (w *World) encode(m *cluster.Message) *frame {
	var f *frame
	if n := len(w.frames); n > 0 {
		f, w.frames = w.frames[n-1], w.frames[:n-1]
	} else {
		f = new(frame)
	}
	if m.Type == taken {
		panic("sim: a message is sent again after another")
	}
	f.refs, f.size, f.buf = 1, cluster.EncodedLen(m), f.buf[:0]
	if w.opt.Bytes || w.net.frames%bytesShare == 0 {
		f.buf = cluster.Encode(f.buf, m)
		if len(f.buf) != f.size {
			panic(fmt.Sprintf("sim: %v has %d bytes, not %d", m.Type, len(f.buf), f.size))
		}
	}
	spare := f.msg.Gossip[:0]
	f.msg = *m
	*m = cluster.Message{Type: taken, Gossip: spare}
	return f
}

// taken is the type of a message whose content is in a frame.
const taken = ^cluster.Type(0)

func (w *World) release(f *frame) {
	if f == nil {
		return
	}
	if f.refs--; f.refs == 0 && len(w.frames) < 4096 {
		w.frames = append(w.frames, f)
	}
}

// decode reads a frame, which it needs until the message is done with. What a machine
// sent must be well formed, and mean what was meant: the bytes are made again.
func (w *World) decode(n *node, f *frame) *cluster.Message {
	if len(f.buf) == 0 {
		return &f.msg
	}
	m := &w.message // machines keep nothing of it but the sets
	if err := w.decoder.DecodeInto(m, f.buf); err != nil {
		w.fail(n, "23", "received %v", err)
		return nil
	}
	if w.res.Messages%64 == 0 && (!bytes.Equal(cluster.Encode(nil, m), f.buf) || !bytes.Equal(cluster.Encode(nil, &f.msg), f.buf)) {
		w.fail(n, "23", "%v of %d bytes is encoded differently again", m.Type, len(f.buf))
	}
	return m
}
