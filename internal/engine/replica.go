package engine

import (
	"errors"
	"time"

	"github.com/skeindb/skein/internal/resp"
)

// Two kinds of session have replication at their other end. A replica's: from
// PSYNC on its feed writes to the connection, and what the peer sends
// (REPLCONF ACK) has no reply. And the link from the primary: it has no
// connection that is ours to write to; the follower cuts the stream and hands
// it to Replay, which runs it without gates, redirects, ACL and propagation.

// BecomeReplica hands the connection's output to the caller: replies made so
// far are sent, later ones dropped. Only commands of this session call it.
func (s *Session) BecomeReplica() {
	s.flush()
	s.flags |= flagReplica
	s.conn.SetClass(ClassReplica)
	s.publishState()
}

// IsReplica reports whether the peer is a replica; any goroutine.
func (s *Session) IsReplica() bool { return s.state.Load()&flagReplica != 0 }

// leave ends the feed of a replica whose connection was closed by another one's
// command, not only when its own goroutine notices: who reads the reply finds it
// gone. Any goroutine. Ext stays what it is from BecomeReplica on.
func (s *Session) leave() {
	if s.IsReplica() {
		if c, ok := s.Ext.(interface{ Closed() }); ok {
			c.Closed()
		}
	}
}

// IsPrimary reports whether this is the link from the primary; any goroutine.
func (s *Session) IsPrimary() bool { return s.state.Load()>>16&specialPrimary != 0 }

// OpenPrimary makes the session of a link from the primary at addr. It is shown
// among the clients; closing it there calls hangUp. The caller ends it with
// Close. All other methods belong to one goroutine.
func (e *Engine) OpenPrimary(addr string, hangUp func()) *Session {
	e.primaryLinks.Add(1)
	s := e.Open(&primaryConn{addr: addr, hangUp: hangUp, created: time.Now()})
	s.special = specialPrimary
	s.parser.Unauthenticated = false
	s.parser.MaxBulk = -1
	s.publishState()
	return s
}

// PrimaryLinks counts the calls of OpenPrimary: between two equal readings nothing has
// come but what one link brought.
func (e *Engine) PrimaryLinks() int64 { return e.primaryLinks.Load() }

// DBIndex returns the selected database and SelectDB chooses one; the
// session's goroutine.
func (s *Session) DBIndex() int { return s.dbIndex }
func (s *Session) SelectDB(n int) {
	s.dbIndex = n
	s.publishState()
}

// InMulti reports whether a transaction is being queued; the session's
// goroutine.
func (s *Session) InMulti() bool { return s.special&specialMulti != 0 }

// ErrStream says that a replication stream holds something that is no command.
var ErrStream = errors.New("engine: the stream from the primary is damaged")

// Replay runs the complete commands at the start of in, at most a batch, and
// returns how many bytes they took; ErrMore when there is none, ErrStream when
// there can be none. done is called after each with its arguments and size,
// empty lines before it included. Replies are dropped.
func (s *Session) Replay(in []byte, done func(argv [][]byte, size int)) (used int, err error) {
	var sizes [maxBatch]int
	s.argv = s.argv[:0]
	cmds := 0
	for cmds < maxBatch {
		if !commandAhead(in[used:]) {
			err = ErrStream
			break
		}
		start := len(s.argv)
		args, n, e := s.parser.Next(in[used:], s.argv)
		if e != nil {
			// Skipped empty lines are counted with the command behind them.
			if err = e; !errors.Is(e, resp.ErrMore) {
				err = ErrStream
			}
			if n > 0 || err == ErrStream { // the same bytes are looked at again
				s.parser.Reset()
			}
			break
		}
		s.argv = args
		p := &s.batch[cmds]
		p.argv = args[start:len(args):len(args)]
		p.plan(s.e.Table)
		sizes[cmds] = n
		used += n
		cmds++
	}
	if cmds == 0 {
		return 0, err
	}
	if cmds > 1 {
		s.touch(cmds)
	}
	if s.e.gates.Load()&GateCheckOOM != 0 { // replica-ignore-maxmemory may be off
		s.e.evict()
	}
	t := time.Now()
	s.ctx.Now = s.e.Now()
	slots := s.e.slotStats.on.Load()
	for i := range s.batch[:cmds] {
		p := &s.batch[i]
		s.runOne(p)
		if s.e.monitors.n.Load() != 0 && !s.tally.idle {
			s.e.monitors.feed(s, p.spec, p.argv)
		}
		end := time.Now()
		if slots != nil && p.spec != nil {
			s.countSlot(slots, p.spec, p.argv, 0, int64(end.Sub(t)))
		}
		s.measure(p, end.Sub(t))
		t = end
		s.out.Buf = s.out.Buf[:0]
		done(p.argv, sizes[i])
	}
	s.foldTally()
	s.active.Store(s.ctx.Now)
	if cap(s.out.Buf) > 4*flushAt {
		s.out.Buf = nil
	}
	return used, nil
}

// commandAhead reports whether the next command can be an array: inline
// commands do not occur in a stream.
func commandAhead(in []byte) bool {
	for _, b := range in {
		if b != '\r' && b != '\n' {
			return b == '*'
		}
	}
	return true
}

// primaryConn stands for the connection of the link from the primary, which the
// follower owns.
type primaryConn struct {
	addr    string
	hangUp  func()
	created time.Time
}

func (c *primaryConn) Write([]byte) error      { return nil }
func (c *primaryConn) Push([]byte)             {}
func (c *primaryConn) Kick()                   {}
func (c *primaryConn) Close()                  { c.hangUp() }
func (c *primaryConn) RemoteAddr() string      { return c.addr }
func (c *primaryConn) LocalAddr() string       { return "" }
func (c *primaryConn) LocalIP() string         { return "" }
func (c *primaryConn) Unix() bool              { return false }
func (c *primaryConn) TLS() bool               { return false }
func (c *primaryConn) FD() int                 { return -1 }
func (c *primaryConn) QueryBuffer() (int, int) { return 0, 0 }
func (c *primaryConn) OutputPending() int      { return 0 }
func (c *primaryConn) SetClass(Class)          {}
func (c *primaryConn) Created() time.Time      { return c.created }
