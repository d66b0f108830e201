package slotmove

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
	"github.com/skeindb/skein/internal/turns"
)

// exporter drives an Export: one goroutine connects, sends and waits; another
// reads what the target says.
type exporter struct {
	m       *Mover
	name    string // of the job, for those who do not hold m.mu
	slots   *Slots
	ctx     context.Context
	cancel  context.CancelFunc
	kick    chan struct{} // bound 1: there is something in todo, or the job is over
	brake   brake
	recs    records
	filter  *filter
	flushes int64

	// Guarded by m.mu.
	x         *Export
	todo      []Action
	conn      net.Conn
	announced int64 // Mono of the last word to replicas; the ticker only

	// The exporter's goroutine only.
	rd       *bufio.Reader
	tail     Tail
	drainTo  int64 // send everything before, then say so; -1: nothing to drain
	out      []byte
	spare    []byte
	sent     int64
	marked   int64 // sent when the last mark was
	markedAt time.Time
	broken   bool          // a write was cut: nothing more can be sent
	left     bool          // the replicas were told that the slots may go
	deaf     chan struct{} // closed when read is over; nil before it began

	acked   atomic.Int64 // the target's last answer to a mark
	lagging atomic.Int64 // for INFO
}

// How much is sent between two marks at most, and taken from the log at once.
const (
	markEvery = 64 << 10
	pieceMax  = 256 << 10
)

// newExporter makes the driver of a job; m.mu is held.
func (m *Mover) newExporter(j Job) *exporter {
	e := m.o.Engine
	x := &exporter{m: m, name: j.Name, kick: make(chan struct{}, 1), drainTo: -1}
	x.x = NewExport(j, m.limits(), m.now())
	x.slots = &x.x.Slots
	x.brake = brake{e: e, slots: x.slots.set(), stats: &m.stats}
	x.recs.second = func() uint32 { return uint32(e.Now() / 1000) }
	x.filter = newFilter(e.Table, x.slots)
	x.ctx, x.cancel = context.WithCancel(m.ctx)
	return x
}

// step puts an event into the machine and does, or queues for the exporter's
// goroutine, what follows. Any goroutine, no locks.
func (x *exporter) step(ev Event) {
	x.m.mu.Lock()
	acts := x.x.Step(x.m.now(), ev)
	over := x.x.State.Final()
	conn := x.conn
	thaw := false
	for _, a := range acts {
		if a.Kind == ActThaw {
			thaw = true
		} else {
			x.todo = append(x.todo, a)
		}
	}
	x.m.mu.Unlock()
	switch {
	case thaw && over:
		x.brake.release()
	case thaw:
		x.brake.resume()
	}
	if len(acts) == 0 {
		return
	}
	if over {
		x.cancel()
		if conn != nil { // a write that hangs must not keep the others waiting
			conn.SetWriteDeadline(time.Now().Add(lastWords))
		}
	}
	select {
	case x.kick <- struct{}{}:
	default:
	}
}

// lastWords is how long a connection that is given up may take what is being
// written.
const lastWords = 100 * time.Millisecond

func (x *exporter) fail(format string, args ...any) {
	x.step(Event{Kind: EvFail, Text: fmt.Sprintf(format, args...)})
}

func (x *exporter) state() State {
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	return x.x.State
}

// target is the node that gets the slots: who has succeeded the one of the beginning,
// if it has asked for them.
func (x *exporter) target() string {
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	return x.x.Target
}

// inherit is Inherit of the machine for an heir that is of the target's shard.
func (x *exporter) inherit(heir string) bool {
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	return x.x.Inherit(x.m.now(), heir)
}

// run is the life of a job.
func (x *exporter) run() {
	defer x.end()
	if x.connect() {
		x.deaf = make(chan struct{})
		x.m.spawn(func() {
			defer close(x.deaf)
			x.read()
		})
		x.stream()
	}
	x.obey() // what is left to say
}

// end takes the job out of the list, into the log.
func (x *exporter) end() {
	x.cancel()
	x.brake.release()
	if x.tail != nil {
		x.tail.Close()
	}
	m := x.m
	limit := m.o.Settings().LogLen
	m.mu.Lock()
	if x.conn != nil {
		x.conn.Close()
	}
	for i := range m.exports {
		if m.exports[i] == x {
			m.exports = append(m.exports[:i], m.exports[i+1:]...)
			break
		}
	}
	j := x.x.Job
	m.keepLocked(&j, limit)
	m.mu.Unlock()
	if x.left {
		m.o.Announce((&Msg{Kind: MsgFinish, Name: j.Name, State: j.State}).Append(nil))
	}
	m.told(&j)
}

// connect takes the job up to waiting-to-snapshot and reports whether it is
// there.
func (x *exporter) connect() bool {
	silence := x.m.o.Settings().Silence
	nc, err := x.m.dial(x.ctx, x.target(), min(silence, connectTime))
	if err != nil {
		x.fail("Failed to connect to target node: %v", err)
		return false
	}
	x.rd = bufio.NewReaderSize(nc, 16<<10)
	x.m.mu.Lock()
	x.conn = nc
	x.m.mu.Unlock()
	stop := context.AfterFunc(x.ctx, func() { nc.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if stop() {
			nc.SetReadDeadline(time.Time{})
		}
	}()
	auth := x.m.auth()
	x.step(Event{Kind: EvConnected, Flag: auth != nil})
	for {
		switch s := x.state(); s {
		case SendingAuth, SendingEstablish:
			cmd := auth
			if s == SendingEstablish {
				cmd = (&Msg{Kind: MsgEstablish, Source: x.m.o.Cluster.MyID(), Name: x.name, Slots: *x.slots}).Append(nil)
			}
			if !x.write(cmd) {
				return false
			}
			x.step(Event{Kind: EvSent})
		case ReadingAuth, ReadingEstablish:
			nc.SetReadDeadline(time.Now().Add(silence))
			if x.ctx.Err() != nil {
				return false
			}
			line, err := x.rd.ReadSlice('\n')
			if err != nil || len(line) < 2 {
				x.step(Event{Kind: EvLost, Text: fmt.Sprintf("Connection lost to target node: %v", err)})
				return false
			}
			x.step(Event{Kind: EvReply, Text: printable(line[:len(line)-2])})
		case WaitingToSnapshot:
			return true
		default:
			return false
		}
	}
}

const connectTime = 5 * time.Second

// write sends b and reports whether it went out.
func (x *exporter) write(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if x.broken {
		return false
	}
	if x.ctx.Err() == nil {
		x.conn.SetWriteDeadline(time.Now().Add(x.m.o.Settings().Silence))
		if x.ctx.Err() != nil { // step may have set its own in between
			x.conn.SetWriteDeadline(time.Now().Add(lastWords))
		}
	}
	n, err := x.conn.Write(b)
	x.sent += int64(n)
	x.m.stats.BytesOut.Add(int64(n))
	if err != nil {
		x.broken = true
		x.lastWord()
		x.step(Event{Kind: EvLost, Text: fmt.Sprintf("Connection lost to target node: %v", err)})
		return false
	}
	return true
}

// lastWord lets the reader find, after a write has failed, what the target may have
// said before.
func (x *exporter) lastWord() {
	if x.deaf == nil {
		return
	}
	x.conn.SetReadDeadline(time.Now().Add(lastWords))
	select {
	case <-x.deaf:
	case <-time.After(2 * lastWords): // the node stops, and read did not begin
	}
}

// read hands the target's messages to the machine until the connection ends.
func (x *exporter) read() {
	var p resp.Parser
	p.MaxBulk, p.MaxArgs = 4<<10, 64
	buf := make([]byte, 0, 16<<10)
	var argv [][]byte
	for {
		if len(buf) == cap(buf) {
			x.step(Event{Kind: EvLost, Text: "Target node sent what is no message"})
			return
		}
		n, err := x.rd.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			args, used, perr := p.Next(rest, argv[:0])
			rest = rest[used:]
			if perr != nil {
				if !errors.Is(perr, resp.ErrMore) {
					x.step(Event{Kind: EvLost, Text: "Target node sent what is no message"})
					return
				}
				break
			}
			argv = args
			if len(args) < 3 || !command.Word(args[0], "cluster") || !command.Word(args[1], "syncslots") {
				x.step(Event{Kind: EvLost, Text: "Target node sent an unexpected command: " + printable(args[0])})
				return
			}
			m, errText := ParseMsg(args[2:])
			if errText != "" {
				x.step(Event{Kind: EvLost, Text: "Target node sent a bad message: " + errText})
				return
			}
			if m.Kind == MsgAck {
				x.acked.Store(max(x.acked.Load(), m.Mark))
			}
			x.step(Event{Kind: EvMsg, Msg: &m})
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
		p.Reset()
		if err != nil {
			x.step(Event{Kind: EvLost, Text: fmt.Sprintf("Connection lost to target node: %v", err)})
			return
		}
	}
}

// lookAtOwner tells the machine who owns the slots.
func (x *exporter) lookAtOwner() {
	c := x.m.o.Cluster
	x.step(Event{Kind: EvOwner, Owner: x.m.owner(x.slots, c.MyID(), x.target())})
}

// lag is what the target has not run yet.
func (x *exporter) lag() int64 {
	n := x.sent - x.acked.Load() + x.recs.size()
	if x.tail != nil {
		n += x.tail.Lag()
	}
	x.lagging.Store(n)
	return n
}

// stream sends the slots and does what the machine wants until the job is over.
func (x *exporter) stream() {
	if !x.snapshot() {
		return
	}
	wait := time.NewTimer(time.Hour)
	defer wait.Stop()
	for {
		if !x.obey() {
			return
		}
		if x.state() == FailoverGranted {
			if !x.outcome(wait) {
				return
			}
			continue
		}
		if !x.pump(-1) {
			return
		}
		idle := 20 * time.Millisecond
		switch s := x.state(); {
		case s.Final():
			continue // to say so
		case s == WaitingToPause:
			idle = time.Millisecond
			x.step(Event{Kind: EvLag, Lag: x.lag()})
		case s == FailoverPaused && x.drainTo >= 0 && x.tail.Pos() >= x.drainTo:
			x.drainTo = -1
			x.step(Event{Kind: EvDrained})
		}
		x.lag()
		if x.tail.Lag() > 0 {
			continue
		}
		wait.Reset(idle)
		select {
		case <-x.tail.Wake():
		case <-x.kick:
		case <-wait.C:
		case <-x.m.ctx.Done():
			x.fail("Shutting down")
		}
	}
}

// outcome waits a moment for news after the grant, when there is nothing left to
// send and the connection may break; false: the node stops.
func (x *exporter) outcome(wait *time.Timer) bool {
	if x.tail != nil {
		x.tail.Close()
		x.tail = nil
	}
	x.lookAtOwner()
	wait.Reset(time.Millisecond)
	select {
	case <-x.kick:
	case <-wait.C:
	case <-x.m.ctx.Done():
		return false
	}
	return true
}

// obey does what the machine has asked for; false: the connection is over.
func (x *exporter) obey() bool {
	for {
		x.m.mu.Lock()
		if len(x.todo) == 0 {
			x.m.mu.Unlock()
			return true
		}
		a := x.todo[0]
		x.todo = x.todo[1:]
		x.m.mu.Unlock()
		switch a.Kind {
		case ActSend:
			if a.Msg.Kind == MsgGranted {
				x.m.o.Cluster.Leave(x.slots)
			}
			if x.conn != nil {
				x.write(a.Msg.Append(nil))
			}
		case ActFreeze:
			x.left = true
			x.m.o.Announce(x.leave())
			x.freeze()
		case ActProbe:
			n := x.target()
			x.step(Event{Kind: EvProbed, Node: n, Text: x.m.ask(x.ctx, n, &Msg{Kind: MsgProbe, Name: x.name, Slots: *x.slots})})
		case ActHangUp:
			return false
		}
	}
}

// leave tells replicas that the slots may go.
func (x *exporter) leave() []byte {
	return (&Msg{Kind: MsgLeave, Name: x.name, Slots: *x.slots}).Append(nil)
}

// announce says it again and again while it is true, so that a replica knows how long
// ago it was. The ticker's goroutine.
func (x *exporter) announce() {
	if s := x.state(); (s == FailoverPaused || s == FailoverGranted) && x.m.announceDue(&x.announced) {
		x.m.o.Announce(x.leave())
	}
}

// freeze stops the writers of the slots and notes where the log ends then.
func (x *exporter) freeze() {
	flushed := false
	x.brake.stop(func() {
		x.drainTo = x.tail.End()
		flushed = x.m.o.Engine.Flushes() != x.flushes
	})
	if flushed {
		x.fail("The data set was flushed")
		return
	}
	x.step(Event{Kind: EvFrozen})
}

// snapshot sends the keys of the slots as they are at a cut, and meanwhile what
// happens to them after it; false: the job is over.
func (x *exporter) snapshot() bool {
	e := x.m.o.Engine
	turn := e.Store.SnapshotTurn()
	for !turn.TryLock() {
		select {
		case <-x.ctx.Done():
			return false
		case <-time.After(2 * time.Millisecond):
		}
		if !x.obey() {
			return false
		}
		x.mark() // the target hears that the source lives
	}
	defer turn.Unlock()
	var snap *store.Snapshot
	tail, err := x.m.o.OpenTail(func() (err error) {
		x.flushes = e.Flushes()
		snap, err = e.Store.BeginSlotSnapshot(&x.recs, x.slots.set())
		return err
	})
	if err != nil {
		x.fail("Failed to make a snapshot: %v", err)
		return false
	}
	x.tail = tail
	x.step(Event{Kind: EvBegun})
	t := turns.New()
	defer t.End()
	err = snap.Walk(func() error {
		t.Pass()
		if x.ctx.Err() != nil {
			return x.ctx.Err()
		}
		if x.recs.size() < markEvery && x.tail.Lag() < markEvery {
			return nil
		}
		if !x.obey() || !x.pump(x.tail.End()) {
			return errOver
		}
		return nil
	})
	if x.m.o.Engine.Flushes() != x.flushes {
		x.fail("The data set was flushed")
	}
	if err != nil {
		x.fail("Failed to make a snapshot: %v", err)
		return false
	}
	x.recs.mu.Lock()
	x.m.stats.KeysOut.Add(x.recs.keys)
	x.recs.mu.Unlock()
	if !x.pump(x.tail.End()) {
		return false
	}
	x.step(Event{Kind: EvWalked})
	return true
}

var errOver = errors.New("slotmove: the job is over")

// pump sends the records that have come and then the log up to end, or, when no
// more records can come and end is negative, what there is of the log. end must
// have been read before; see the package's doc for why in this order.
func (x *exporter) pump(end int64) bool {
	if recs := x.recs.take(x.spare); len(recs) > 0 {
		if !x.write(recs) {
			return false
		}
		x.spare = recs
	} else {
		x.spare = recs
	}
	for range 16 {
		most := int64(pieceMax)
		if end >= 0 {
			if most = min(most, end-x.tail.Pos()); most <= 0 {
				break
			}
		}
		p, ok := x.tail.Next(most)
		if !ok {
			x.fail("The log of effects was lost: the target node lags too far behind")
			return false
		}
		if p == nil {
			break
		}
		var err error
		if x.out, err = x.filter.feed(x.out[:0], p); err != nil {
			x.fail("%v", err)
			return false
		}
		if !x.write(x.out) {
			return false
		}
		if cap(x.out) > keepBuffer {
			x.out = nil
		}
		if x.sent-x.marked >= markEvery {
			x.mark()
			x.slow()
		}
	}
	x.mark()
	x.slow()
	return !x.broken
}

func (x *exporter) slow() {
	limit := int64(farLag)
	if x.state() == WaitingToPause {
		limit = 2 * x.x.lim.PauseLag
	}
	x.brake.slowDown(x.lag(), limit)
}

// mark asks the target to tell when it has run what was sent before; once a
// second also if nothing was.
func (x *exporter) mark() {
	if x.sent == x.marked && time.Since(x.markedAt) < time.Second {
		return
	}
	if x.sent-x.marked < markEvery && time.Since(x.markedAt) < time.Millisecond {
		return
	}
	x.write((&Msg{Kind: MsgAck, Mark: x.sent}).Append(nil))
	x.marked, x.markedAt = x.sent, time.Now()
}
