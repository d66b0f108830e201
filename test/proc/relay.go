package proc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/testport"
)

// Relays stand before the ports of all nodes of a cluster, for clients and for the
// bus. What clients say passes at once. What a node says to another, on the bus, as
// its replica, or to move slots to it, can be held up at a message between the two
// sides of a move, or swallowed in one direction or both until the line is whole
// again: connections stay open meanwhile, as if a cable were out.
type Relays struct {
	mu     sync.Mutex
	change *sync.Cond
	nodes  []*Node
	ids    map[string]*Node
	jobs   map[string]*Node // name of a move -> its source
	lines  map[*line]struct{}
	deaf   map[*Node]bool // nothing from other nodes gets to it
	mute   map[*Node]bool // nothing that it says gets to other nodes
	stop   *stop
	ended  bool
}

// line is one connection through a relay.
type line struct {
	in, out net.Conn
	to      *Node

	// Guarded by Relays.mu.
	id   string // by which the one on the bus introduces itself
	from *Node  // nil: a client, or not known yet
	move bool   // a connection by which slots are moved
	dead bool
}

type stop struct {
	word    string // lower case
	reached chan struct{}
	held    bool
}

// FormRelayed is FormShards with a relay before every node.
func FormRelayed(t testing.TB, replicas []int, args ...string) (*Cluster, *Relays) {
	t.Helper()
	r := &Relays{ids: map[string]*Node{}, jobs: map[string]*Node{}, lines: map[*line]struct{}{}, deaf: map[*Node]bool{}, mute: map[*Node]bool{}}
	r.change = sync.NewCond(&r.mu)
	c := formShards(t, skeinShards(t, replicas), func(n *Node) { r.add(t, n) }, args...)
	for _, n := range c.Nodes {
		id := n.Myself().ID // through the relay, which takes r.mu
		r.mu.Lock()
		r.ids[id] = n
		r.mu.Unlock()
	}
	return c, r
}

// add puts a relay on a node's ports and the node, which has not started, on others.
func (r *Relays) add(t testing.TB, n *Node) {
	t.Helper()
	real := testport.Free(t)
	n.Args = append(n.Args, "--port", strconv.Itoa(real), "--cluster-announce-port", strconv.Itoa(n.Port),
		"--cluster-announce-bus-port", strconv.Itoa(n.Port+busOffset), "--replica-announce-port", strconv.Itoa(n.Port))
	r.nodes = append(r.nodes, n)
	for _, offset := range []int{0, busOffset} {
		ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(n.Port+offset))
		if err != nil {
			t.Fatal(err)
		}
		target := "127.0.0.1:" + strconv.Itoa(real+offset)
		go r.serve(ln, n, target, offset != 0)
		t.Cleanup(func() { // before the nodes' own
			ln.Close()
			r.mu.Lock()
			r.ended = true
			for l := range r.lines {
				l.in.Close()
				l.out.Close()
			}
			r.change.Broadcast()
			r.mu.Unlock()
		})
	}
}

const busOffset = 10000

func (r *Relays) serve(ln net.Listener, n *Node, target string, bus bool) {
	for {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		out, err := net.DialTimeout("tcp", target, time.Second)
		if err != nil {
			in.Close()
			continue
		}
		l := &line{in: in, out: out, to: n}
		r.mu.Lock()
		r.lines[l] = struct{}{}
		if r.ended {
			in.Close()
			out.Close()
		}
		r.mu.Unlock()
		go func() {
			defer r.drop(l)
			if bus {
				r.busUp(l)
			} else {
				r.commands(l, l.in, l.out, true)
			}
		}()
		go func() {
			defer r.drop(l)
			r.commands(l, l.out, l.in, false)
		}()
	}
}

func (r *Relays) drop(l *line) {
	l.in.Close()
	l.out.Close()
	r.mu.Lock()
	delete(r.lines, l)
	r.mu.Unlock()
}

// busUp finds the sender in the first header, then copies.
func (r *Relays) busUp(l *line) {
	const sender, senderEnd = 40, 80 // offsets of its id
	head := make([]byte, senderEnd)
	if _, err := io.ReadFull(l.in, head); err != nil {
		return
	}
	r.mu.Lock()
	l.id = string(head[sender:])
	r.mu.Unlock()
	if r.pass(l, true, head) == nil {
		r.copy(l, l.in, l.out, true, nil)
	}
}

// copy forwards what comes, first what has been read already.
func (r *Relays) copy(l *line, from, to net.Conn, up bool, rest []byte) {
	buf := make([]byte, 64<<10)
	for n, err := copy(buf, rest), error(nil); ; n, err = from.Read(buf) {
		if n > 0 && r.pass(l, up, buf[:n]) != nil {
			return
		}
		if rest = rest[min(len(rest), n):]; err != nil {
			return
		}
	}
}

var errLineDead = errors.New("proc: the line is dead")

// pass forwards b when the line is open for it.
func (r *Relays) pass(l *line, up bool, b []byte) error {
	r.mu.Lock()
	if l.from == nil && l.id != "" {
		l.from = r.ids[l.id]
	}
	for !r.ended && !l.dead && l.from != nil && (up && (r.mute[l.from] || r.deaf[l.to]) || !up && (r.mute[l.to] || r.deaf[l.from])) {
		r.change.Wait()
	}
	dead := r.ended || l.dead
	r.mu.Unlock()
	if dead {
		return errLineDead
	}
	to := l.in
	if up {
		to = l.out
	}
	_, err := to.Write(b)
	return err
}

// commands forwards command by command as long as it is not clear that the line is a
// client's or a replica's, and on a line by which slots move.
func (r *Relays) commands(l *line, from, to net.Conn, up bool) {
	var p resp.Parser
	p.MaxBulk = -1
	var buf []byte
	piece := make([]byte, 64<<10)
	for {
		n, rerr := from.Read(piece)
		buf = append(buf, piece[:n]...)
		r.mu.Lock()
		parse := up || l.move
		r.mu.Unlock()
		if !parse {
			if len(buf) > 0 && r.pass(l, up, buf) != nil || rerr != nil {
				return
			}
			buf = buf[:0]
			continue
		}
		for len(buf) > 0 {
			args, used, err := p.Next(buf, nil)
			if errors.Is(err, resp.ErrMore) {
				break
			}
			if err != nil || !r.look(l, args, up) {
				r.copy(l, from, to, up, buf)
				return
			}
			if r.pass(l, up, buf[:used]) != nil {
				return
			}
			buf = buf[used:]
			p.Reset()
		}
		if rerr != nil {
			return
		}
	}
}

// look learns from a command who is on the line, holds it up if it is the one, and
// reports whether the commands behind it are of interest.
func (r *Relays) look(l *line, args [][]byte, up bool) bool {
	word := func(i int) string {
		if i >= len(args) {
			return ""
		}
		return string(bytes.ToLower(args[i]))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case up && word(0) == "replconf" && word(1) == "listening-port":
		for _, n := range r.nodes {
			if strconv.Itoa(n.Port) == word(2) {
				l.from = n
			}
		}
		return false
	case up && word(0) == "replconf", up && word(0) == "ping", up && word(0) == "auth":
		return true
	case word(0) == "cluster" && word(1) == "syncslots":
		var name string
		for i := 3; i+1 < len(args); i += 2 {
			switch word(i) {
			case "source":
				l.from, l.move = r.ids[word(i+1)], true
			case "name":
				name = word(i + 1)
			}
		}
		switch word(2) {
		case "establish":
			r.jobs[name] = l.from
		case "probe":
			l.from = r.jobs[name]
		}
		if s := r.stop; s != nil && !s.held && s.word == word(2) {
			s.held = true
			close(s.reached)
			for r.stop == s && !r.ended && !l.dead {
				r.change.Wait()
			}
		}
		return true
	}
	return l.move
}

// HoldAt makes the next message of a kind between the two sides of a move stop half
// way, e.g. "PAUSED". reached is closed when it is there; Release lets it go on.
func (r *Relays) HoldAt(kind string) (reached <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop = &stop{word: strings.ToLower(kind), reached: make(chan struct{})}
	return r.stop.reached
}

// Release lets the message that is held go on.
func (r *Relays) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop = nil
	r.change.Broadcast()
}

// Cut ends for a node the hearing of others, or that others hear it; false and
// false heals the line, and what has waited in it arrives.
func (r *Relays) Cut(n *Node, deaf, mute bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf[n], r.mute[n] = deaf, mute
	r.change.Broadcast()
}

// Break closes the connections by which slots move from or to a node, without what
// waits in them.
func (r *Relays) Break(n *Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.lines {
		if l.move && (l.from == n || l.to == n) {
			l.dead = true
			l.in.Close()
			l.out.Close()
		}
	}
	r.change.Broadcast()
}
