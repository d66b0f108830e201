package engine

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// maxBatch is how many pipelined commands are planned and touched together.
const maxBatch = store.MaxTouch

// flushAt is how many bytes of replies are kept back during a batch.
const flushAt = 64 << 10

// Connection flags that commands set.
const (
	flagReadOnly = 1 << iota // READONLY
	flagAsking               // ASKING: for the next command
	flagNoEvict
	flagNoTouch
	flagReplyOff
	flagReplySkip
	flagReplySkipNext
	flagMonitor
	flagReplica // the peer is a replica: the feed owns the connection's output
)

// special bits take a command off the fast path.
const (
	specialAuth    = 1 << iota // not authenticated
	specialMulti               // inside MULTI
	specialSub                 // has subscriptions
	specialReply               // CLIENT REPLY OFF or SKIP
	specialPrimary             // the link from the primary
	specialAsking
	specialMonitor
	specialTracking
	specialImport // brings slots from another node; specialPrimary is set too
)

// Session is the command side of one connection. Unless a method says
// otherwise it belongs to the connection's goroutine.
type Session struct {
	e    *Engine
	conn Conn
	ID   int64

	parser  resp.Parser
	out     resp.Writer
	ctx     command.Ctx
	batch   [maxBatch]planned
	argv    [][]byte
	touches [maxBatch]store.Touch
	scratch []byte
	held    held // locks of the command that runs

	dbIndex    int
	flags      uint32
	special    uint32
	user       string
	closing    bool  // close after the replies are out
	wrote      bool  // the batch appended to the log
	asleep     bool  // the engine's lease has lapsed: no slot is served
	askingNext bool  // ASKING was the last command
	LogOffset  int64 // log position after this session's last write
	flushed    int64 // bytes of replies that left out
	tally      tally

	multi   multiState
	blocked blockState
	sub     subState
	track   trackState
	pushes  pushState

	// Shared with other goroutines.
	mu      sync.Mutex // guards name, libName, libVer and writes of user
	name    string
	libName string
	libVer  string
	lastCmd atomic.Pointer[command.Spec]
	active  atomic.Int64  // Unix ms of the last command
	state   atomic.Uint32 // bits for CLIENT LIST: stateXxx
	sdb     atomic.Int32
	kill    atomic.Bool
	proto3  atomic.Bool
	queued  atomic.Int32 // commands in the transaction, -1 outside of one
	queuedSize,
	replyBuffer, // bytes of their arguments; of out's buffer
	subSize atomic.Int64 // of names subscribed to

	// Ext belongs to the replication layer: non-nil once the peer spoke
	// REPLCONF or PSYNC, and on the link from the primary. Its Closed and Heard, if
	// it has them, are called at the end and when a replica has sent anything.
	Ext any
}

// planned is one command of a batch.
type planned struct {
	spec *command.Spec
	argv [][]byte
	key  command.Key // first key, when spec's keys are of the simple kind
	has  bool
}

// Open makes the session of a new connection.
func (e *Engine) Open(conn Conn) *Session {
	s := &Session{e: e, conn: conn}
	s.out.Proto = 2
	s.ctx.Writer = &s.out
	s.ctx.Env = e.Env
	s.ctx.Client = s
	s.user = "default"
	s.parser.MaxBulk = e.Env.Limits().MaxBulk
	if e.Auth != nil && e.Auth.Required() {
		s.special |= specialAuth
		s.parser.Unauthenticated = true
	}
	s.active.Store(e.Now())
	s.queued.Store(-1)
	s.blocked.idle.L = &s.blocked.mu
	e.clients.add(s)
	return s
}

// SessionOf returns the session that runs a command.
func SessionOf(c *command.Ctx) *Session { return c.Client.(*Session) }

// Engine returns the session's engine.
func (s *Session) Engine() *Engine { return s.e }

// Conn returns the session's connection.
func (s *Session) Conn() Conn { return s.conn }

// Closing reports whether the connection is to be closed now.
func (s *Session) Closing() bool { return s.closing || s.kill.Load() }

// CloseAfterReply makes the connection close once its replies are out.
func (s *Session) CloseAfterReply() { s.closing = true }

// Close ends the session; netio calls it when the connection is gone.
func (s *Session) Close() {
	s.unblock()
	s.discardMulti()
	s.e.dropSubscriptions(s)
	s.e.dropTracking(s)
	s.e.monitors.remove(s)
	s.foldTally()
	s.e.clients.remove(s)
	if c, ok := s.Ext.(interface{ Closed() }); ok {
		c.Closed()
	}
}

// Parked reports whether the session waits in a blocking command.
func (s *Session) Parked() bool { return s.blocked.parked.Load() }

// Deadline returns when the blocked command times out, zero for never.
func (s *Session) Deadline() time.Time {
	if !s.Parked() || s.blocked.deadlineMs == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(s.blocked.deadlineMs-s.e.Now()) * time.Millisecond)
}

// Feed runs the complete commands at the start of in and returns how many
// bytes it has used. Replies are written to the connection, one write per
// batch as a rule.
func (s *Session) Feed(in []byte) (used int) {
	if s.Parked() {
		return 0
	}
	if s.flags&flagReplica != 0 {
		if x, ok := s.Ext.(interface{ Heard() }); ok {
			x.Heard()
		}
	}
	if len(s.out.Buf) > 0 || s.wrote || s.blocked.thenClose || s.pushes.holding {
		// The blocked command has been served by another goroutine.
		s.closing = s.closing || s.blocked.thenClose
		s.blocked.thenClose = false
		s.endBatch()
	}
	for !s.closing && !s.Parked() {
		n, cmds, err := s.parse(in[used:])
		used += n
		if cmds > 0 {
			ran := s.runBatch(cmds)
			if ran < cmds { // blocked, or closing: the rest waits in the buffer
				used -= n
				used += s.batchBytes(in[used:], ran)
			}
			s.endBatch()
			s.arm()
		}
		if err != nil {
			if !errors.Is(err, resp.ErrMore) {
				s.out.Error("ERR " + err.Error())
				s.closing = true
				s.flush()
			}
			return used
		}
	}
	return used
}

// parse cuts up to maxBatch commands and plans them.
func (s *Session) parse(in []byte) (used, cmds int, err error) {
	s.argv = s.argv[:0]
	for cmds < maxBatch {
		start := len(s.argv)
		args, n, e := s.parser.Next(in[used:], s.argv)
		used += n
		if e != nil {
			return used, cmds, e
		}
		s.argv = args
		p := &s.batch[cmds]
		p.argv = args[start:len(args):len(args)]
		p.plan(s.e.Table)
		cmds++
		if s.parser.Unauthenticated || s.flags&flagReplica != 0 {
			break
		}
	}
	return used, cmds, nil
}

// batchBytes returns how many bytes of in the first n commands took.
func (s *Session) batchBytes(in []byte, n int) (used int) {
	s.parser.Reset()
	var argv [][]byte
	for i := 0; i < n; i++ {
		args, k, err := s.parser.Next(in[used:], argv[:0])
		if err != nil {
			panic("engine: batch cannot be cut again: " + err.Error())
		}
		argv = args
		used += k
	}
	return used
}

func (p *planned) plan(t *command.Table) {
	p.spec = t.Lookup(p.argv)
	p.has = false
	if p.spec == nil {
		return
	}
	first, _, _, simple := p.spec.KeyRange(len(p.argv))
	if simple && first > 0 && first < len(p.argv) && p.spec.Run != nil {
		p.key = command.MakeKey(first, p.argv[first])
		p.has = true
	}
}

// Need returns how many bytes the unfinished command lacks at least.
func (s *Session) Need() int { return s.parser.Need() }

// touch reads ahead what the commands of a batch will need.
func (s *Session) touch(cmds int) {
	n := 0
	for i := range s.batch[:cmds] {
		if p := &s.batch[i]; p.has {
			s.touches[n].Hash, s.touches[n].Slot = p.key.Hash, p.key.Slot
			n++
		}
	}
	if n > 1 {
		s.e.Store.DB(s.dbIndex).TouchAhead(s.touches[:n])
	}
}

// db returns the selected database.
func (s *Session) db() *store.DB { return s.e.Store.DB(s.dbIndex) }

// flush sends the replies gathered so far.
func (s *Session) flush() {
	if len(s.out.Buf) == 0 {
		return
	}
	if s.flags&flagReplica != 0 {
		// The feed writes to the connection; a reply would be taken for stream.
	} else if s.Parked() {
		s.conn.Push(s.out.Buf) // must not block: those behind in the queue wait for it
	} else if s.conn.Write(s.out.Buf) != nil {
		s.closing = true
	}
	s.flushed += int64(len(s.out.Buf))
	if cap(s.out.Buf) > 4*flushAt {
		s.out.Buf = nil
	} else {
		s.out.Buf = s.out.Buf[:0]
	}
}

// endBatch does what is due once per batch.
func (s *Session) endBatch() {
	s.foldTally()
	s.active.Store(s.ctx.Now)
	if wrote := s.wrote; wrote || s.e.holdAll.Load() {
		s.wrote = false
		if s.e.EndTurn != nil && !s.e.EndTurn(s, wrote) {
			s.out.Buf = s.out.Buf[:0]
			s.closing = true
		}
	}
	s.flush()
	if n := int64(cap(s.out.Buf)); n != s.replyBuffer.Load() {
		s.replyBuffer.Store(n)
	}
	s.releasePushes()
}

// SetReadOnly is READONLY and READWRITE: whether a replica may serve this
// client's reads.
func (s *Session) SetReadOnly(on bool) {
	if on {
		s.flags |= flagReadOnly
	} else {
		s.flags &^= flagReadOnly
	}
	s.publishState()
}

// SetAsking is ASKING: the next command may use a slot that is being imported.
func (s *Session) SetAsking() { s.askingNext = true }
