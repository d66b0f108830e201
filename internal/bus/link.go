package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/skeindb/skein/internal/cluster"
)

// link is one connection of the bus, or one being made. Messages queue up until
// the writer has sent them.
type link struct {
	id     cluster.LinkID
	bus    *Bus
	mu     sync.Mutex
	conn   net.Conn // nil while connecting
	queue  [][]byte
	size   int // bytes of the queue
	wake   chan struct{}
	closed bool
	cancel context.CancelFunc // of the dial
}

// linkTable are the links by id.
type linkTable struct {
	mu sync.Mutex
	m  map[cluster.LinkID]*link
}

func (t *linkTable) init() { t.m = map[cluster.LinkID]*link{} }

func (t *linkTable) get(id cluster.LinkID) *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[id]
}

func (t *linkTable) add(l *link) {
	t.mu.Lock()
	t.m[l.id] = l
	t.mu.Unlock()
}

// close closes a link and forgets it. The machine knows already, or is told by
// the caller.
func (t *linkTable) close(id cluster.LinkID) {
	t.mu.Lock()
	l := t.m[id]
	delete(t.m, id)
	t.mu.Unlock()
	if l != nil {
		l.close()
	}
}

func (t *linkTable) closeAll() {
	t.mu.Lock()
	all := t.m
	t.m = map[cluster.LinkID]*link{}
	t.mu.Unlock()
	for _, l := range all {
		l.close()
	}
}

// over returns the links with more than limit bytes waiting.
func (t *linkTable) over(limit int64) (ids []cluster.LinkID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, l := range t.m {
		if _, size := l.pending(); int64(size) > limit {
			ids = append(ids, id)
		}
	}
	return ids
}

// send queues a message; without a link it is lost, as it is on a link that
// breaks.
func (t *linkTable) send(id cluster.LinkID, msg *cluster.Message) {
	if l := t.get(id); l != nil {
		l.write(cluster.Encode(nil, msg))
	}
}

func (l *link) write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed { // and so is wake
		return
	}
	l.queue = append(l.queue, b)
	l.size += len(b)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// pending returns the messages and bytes that wait to be sent.
func (l *link) pending() (n, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue), l.size
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	if l.cancel != nil {
		l.cancel()
	}
	if l.conn != nil {
		l.conn.Close()
	}
	close(l.wake)
}

// down closes the link because of an error and tells the driver.
func (l *link) down(refused bool) {
	l.bus.links.close(l.id)
	l.bus.post(cluster.LinkDown{Link: l.id, Refused: refused})
}

// dial connects a link in the background.
func (b *Bus) dial(d cluster.Dial) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	l := &link{id: d.Link, bus: b, wake: make(chan struct{}, 1), cancel: cancel}
	b.links.add(l)
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		nd := net.Dialer{KeepAlive: -1}
		if src := b.opt.SourceAddr(); src != "" {
			if ip, err := netip.ParseAddr(src); err == nil {
				nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
			}
		}
		conn, err := nd.DialContext(ctx, "tcp", net.JoinHostPort(d.IP, strconv.Itoa(int(d.Port))))
		if _, conf := b.tls(); err == nil && conf != nil {
			t := tls.Client(conn, conf)
			if err = t.HandshakeContext(ctx); err != nil {
				conn.Close()
			} else {
				conn = t
			}
		}
		if err != nil {
			b.opt.Log.Debug("Connection with cluster node failed", "node", d.Node, "err", err)
			l.down(errors.Is(err, syscall.ECONNREFUSED))
			return
		}
		l.mu.Lock()
		l.conn = conn
		closed := l.closed
		l.mu.Unlock()
		if closed {
			conn.Close()
			return
		}
		b.post(cluster.LinkUp{Link: l.id})
		l.serve()
	}()
}

func (b *Bus) tls() (accept, dial *tls.Config) {
	if b.opt.TLS == nil {
		return nil, nil
	}
	return b.opt.TLS()
}

// dialTimeout bounds a connection attempt. The machine closes a link that
// takes longer than half the node timeout itself.
const dialTimeout = 15 * time.Second

// serve runs reader and writer until the link is closed.
func (l *link) serve() {
	l.bus.wg.Add(1)
	go l.writeLoop()
	l.readLoop()
}

func (l *link) writeLoop() {
	defer l.bus.wg.Done()
	for range l.wake {
		for {
			l.mu.Lock()
			batch := l.queue
			l.queue = nil
			conn, closed := l.conn, l.closed
			l.mu.Unlock()
			if closed {
				return
			}
			if len(batch) == 0 {
				break
			}
			n := 0
			for _, b := range batch {
				n += len(b)
			}
			bufs := net.Buffers(batch)
			_, err := bufs.WriteTo(conn)
			l.mu.Lock()
			l.size -= n
			l.mu.Unlock()
			if err != nil {
				l.down(false)
				return
			}
		}
	}
}

func (l *link) readLoop() {
	var f cluster.Framer
	var dec cluster.Decoder
	peer, local := addrIP(l.conn.RemoteAddr()), addrIP(l.conn.LocalAddr())
	for {
		n, err := l.conn.Read(f.Space())
		f.Filled(n)
		for {
			frame, ferr := f.Next()
			if ferr != nil {
				l.bus.opt.Log.Warn("Bad message length or signature received from the cluster bus", "peer", peer, "err", ferr)
				l.down(false)
				return
			}
			if frame == nil {
				break
			}
			if !l.receive(&dec, frame, peer, local) {
				l.down(false)
				return
			}
		}
		if err != nil {
			l.mu.Lock()
			closed := l.closed
			l.mu.Unlock()
			if !closed {
				l.down(false)
			}
			return
		}
	}
}

// receive decodes one message and hands it to the driver; false closes the
// link.
func (l *link) receive(dec *cluster.Decoder, frame []byte, peer, local string) bool {
	b := l.bus
	msg, err := dec.Decode(frame)
	if err != nil {
		b.opt.Log.Debug("cluster message dropped", "peer", peer, "err", err)
		return !errors.Is(err, cluster.ErrCloseLink)
	}
	if drop := b.dropFilter.Load(); drop == int32(msg.Type) || drop == -2 {
		return !b.dropClose.Load()
	}
	if msg.Pub != nil {
		// The payload is a view into the read buffer, and it is delivered later.
		p := *msg.Pub
		p.Channel = append([]byte(nil), p.Channel...)
		p.Payload = append([]byte(nil), p.Payload...)
		msg.Pub = &p
	}
	if msg.Light {
		b.pubReceived[msg.Type].Add(1)
		select {
		case b.events <- event{call: func(m *cluster.Machine, now cluster.Times) {
			m.Step(now, cluster.Heard{Link: l.id})
			if _, ok := m.LinkNode(l.id); ok && msg.Pub != nil {
				b.deliver(msg)
			}
		}}:
		case <-b.quit:
		case <-b.dead:
		}
		return true
	}
	b.post(cluster.Recv{Link: l.id, Msg: msg, PeerIP: peer, LocalIP: local})
	return true
}

func (b *Bus) accept(ln net.Listener) {
	defer b.wg.Done()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select {
			case <-b.quit:
				return
			case <-time.After(50 * time.Millisecond): // out of descriptors
			}
			continue
		}
		if t, ok := conn.(*net.TCPConn); ok {
			t.SetKeepAlive(true)
			t.SetKeepAlivePeriod(max(2*time.Duration(b.opt.Settings().NodeTimeout)*time.Millisecond, time.Second))
		}
		b.wg.Add(1)
		go func() {
			defer b.wg.Done()
			l := &link{id: cluster.InboundLink(b.inbound.Add(1)), bus: b, conn: conn, wake: make(chan struct{}, 1)}
			b.links.add(l) // before the handshake, so that Close ends it
			select {
			case <-b.quit:
				b.links.close(l.id)
				return
			default:
			}
			if conf, _ := b.tls(); conf != nil {
				t := tls.Server(conn, conf)
				ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
				err := t.HandshakeContext(ctx)
				cancel()
				if err != nil {
					b.opt.Log.Debug("TLS handshake on the cluster bus failed", "peer", addrIP(conn.RemoteAddr()), "err", err)
					b.links.close(l.id)
					return
				}
				l.mu.Lock()
				l.conn = t
				l.mu.Unlock()
			}
			b.post(cluster.Accepted{Link: l.id})
			l.serve()
		}()
	}
}

// listen opens one address of the bind directive; skip says that it was
// optional and is not there.
func listen(addr string, port int) (l net.Listener, skip bool, err error) {
	host, optional := strings.CutPrefix(addr, "-")
	network := "tcp"
	switch ip, err := netip.ParseAddr(host); {
	case host == "*":
		network, host = "tcp4", "0.0.0.0"
	case host == "::*":
		network, host = "tcp6", "::"
	case err == nil && ip.Is4():
		network = "tcp4"
	case err == nil:
		network = "tcp6"
	}
	l, err = net.Listen(network, net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EPROTONOSUPPORT) ||
		optional && errors.Is(err, syscall.EADDRNOTAVAIL)) {
		return nil, true, nil
	}
	return l, false, err
}

func addrIP(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	ip, _ := netip.AddrFromSlice(t.IP)
	return ip.Unmap().String()
}

// Publish carries a message of this node's clients to the other nodes: to all,
// or, on a shard channel, to those of its own shard.
func (b *Bus) Publish(shard bool, channel, message []byte) {
	v := b.view.Load()
	t := cluster.TypePublish
	if shard {
		t = cluster.TypePublishShard
	}
	pub := &cluster.Publish{Channel: channel, Payload: message}
	var full, light []byte
	me := v.Myself()
	for i, n := range v.Nodes {
		if i == v.Me || n.Link == 0 || n.Flags.Any(cluster.FlagHandshake) || shard && !sameShard(v, me, n) {
			continue
		}
		l := b.links.get(n.Link)
		if l == nil {
			continue
		}
		if n.Light {
			if light == nil {
				light = cluster.Encode(nil, &cluster.Message{Type: t, Light: true, Pub: pub})
			}
			l.write(light)
		} else {
			if full == nil {
				msg := v.Header(t, uint64(max(b.opt.Repl.Offset(), 0)))
				msg.Pub = pub
				full = cluster.Encode(nil, msg)
			}
			l.write(full)
		}
		b.pubSent[t].Add(1)
	}
}

// sameShard reports whether n is of the same primary and replicas as me.
func sameShard(v *cluster.View, me, n *cluster.NodeView) bool {
	top := func(n *cluster.NodeView) cluster.NodeID {
		if n.Primary.IsZero() {
			return n.ID
		}
		return n.Primary
	}
	return top(me) == top(n)
}
