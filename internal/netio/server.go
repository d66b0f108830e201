package netio

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/uring"
)

// Handler is the command side of one connection. All methods but Parked are
// called by the connection's goroutine.
type Handler interface {
	// Feed runs the complete commands at the start of in, sends their replies
	// with Conn.Write, and returns how many bytes it is done with. in holds
	// everything received and not yet used; it is borrowed.
	Feed(in []byte) (used int)
	// Parked reports that Feed runs nothing at present, as a command waits.
	// Whoever ends the wait calls Conn.Kick. Any goroutine may ask.
	Parked() bool
	// Deadline is when TimedOut wants to be called while parked; zero is never.
	Deadline() time.Time
	TimedOut()
	// Closing reports that the connection is to end once its output is sent.
	Closing() bool
	// Close is called once, last, when the connection is gone.
	Close()
}

var _ Handler = (*engine.Session)(nil)

// A Handler may say how many bytes its unfinished command lacks at least, so
// that a large argument is read into a buffer of the right size.
type needer interface{ Need() int }

// A Handler that is closing may say how long the connection shall wait for its
// peer to have read the last words and to close too; see Conn.linger.
type lingerer interface{ Linger() time.Duration }

// Options are the settings of a Server. The functions are asked each time the
// setting matters and may be called from any goroutine; nil means the default.
type Options struct {
	Open func(*Conn) Handler // called by the connection's goroutine
	Log  *slog.Logger

	MaxClients  func() int           // connections at once; nil or 0: no limit
	Protected   func() bool          // refuse peers from other machines
	IdleTimeout func() time.Duration // close idle normal clients; 0: never
	KeepAlive   func() time.Duration // TCP keepalive of new connections; 0: off
	QueryLimit  func() int64         // bytes a client may have sent and not had run; nil: 1 GiB

	// Ring says to use io_uring where there is one, for all but TLS connections.
	Ring bool

	// For tests.
	manualSweep bool // sweep is called by the test, with times of its own
	alwaysRing  bool // no transfer is too lonely for the ring
	newRing     func(entries int) (*uring.Ring, error)
}

// Limit is an output limit: a connection that owes its client more than Hard
// bytes, or more than Soft for SoftTime, is closed. 0 means no limit.
type Limit struct {
	Hard, Soft int64
	SoftTime   time.Duration
}

// Limits are the output limits by class.
type Limits [3]Limit

// DefaultLimits are those of client-output-buffer-limit's default.
func DefaultLimits() Limits {
	return Limits{
		engine.ClassReplica: {256 << 20, 64 << 20, time.Minute},
		engine.ClassPubSub:  {32 << 20, 8 << 20, time.Minute},
	}
}

const (
	defaultQueryLimit = 1 << 30          // client-query-buffer-limit
	handshakeTime     = 10 * time.Second // for TLS, before a Handler exists
	sweepEvery        = time.Second
)

// Server accepts connections and keeps the set of them.
type Server struct {
	opt    Options
	limits atomic.Pointer[Limits]
	chunks chunkPools

	gatherers []*gatherer // one a processor; none: each transfer is a system call
	next      atomic.Uint64

	ctx  context.Context // ends with the server
	stop context.CancelFunc
	wg   sync.WaitGroup // every goroutine of the package

	live  atomic.Int64
	mu    sync.Mutex // guards what follows; nothing is acquired under it
	conns map[*Conn]struct{}
	gone  Stats // what closed connections have counted

	accepted, rejected             atomic.Int64
	queryLimitCuts, outputCuts     atomic.Int64
	idleCuts, acceptErrs, tlsFails atomic.Int64
}

// Stats are totals since the start.
type Stats struct {
	Connections          int64 // now
	Accepted             int64
	Rejected             int64 // over MaxClients, or by protected mode
	AcceptErrors         int64
	HandshakeErrors      int64 // TLS
	QueryLimitCloses     int64
	OutputLimitCloses    int64
	IdleCloses           int64
	BytesIn, BytesOut    int64
	ReadCalls, SendCalls int64 // transfers, however they were made

	Rings                int   // in use
	RingCalls, RingMoves int64 // system calls for several transfers, and their transfers
}

// New returns a server that listens nowhere yet; Listen functions start it,
// Shutdown ends it.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opt: o, conns: map[*Conn]struct{}{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.chunks.init()
	l := DefaultLimits()
	s.limits.Store(&l)
	if o.Ring {
		s.openRings(runtime.GOMAXPROCS(0))
	}
	if !o.manualSweep {
		s.wg.Go(s.sweepLoop)
	}
	return s
}

// openRings makes n rings, or none and says why.
func (s *Server) openRings(n int) {
	for range n {
		g, err := newGatherer(&s.opt, n)
		if err != nil {
			s.opt.Log.Info("client connections do without io_uring", "err", err)
			for _, g := range s.gatherers {
				g.close()
			}
			s.gatherers = nil
			return
		}
		s.gatherers = append(s.gatherers, g)
	}
}

// SetLimits replaces the output limits, for existing connections too.
func (s *Server) SetLimits(l Limits) { s.limits.Store(&l) }

// Limits returns the output limits.
func (s *Server) Limits() Limits { return *s.limits.Load() }

// Connections is the number of connections, as MaxClients counts them.
func (s *Server) Connections() int { return int(s.live.Load()) }

// Stats adds up the counters of all connections. O(connections).
func (s *Server) Stats() Stats {
	s.mu.Lock()
	t := s.gone
	for c := range s.conns {
		t.add(c)
	}
	s.mu.Unlock()
	t.Connections = s.live.Load()
	t.Accepted = s.accepted.Load()
	t.Rejected = s.rejected.Load()
	t.AcceptErrors = s.acceptErrs.Load()
	t.HandshakeErrors = s.tlsFails.Load()
	t.QueryLimitCloses = s.queryLimitCuts.Load()
	t.OutputLimitCloses = s.outputCuts.Load()
	t.IdleCloses = s.idleCuts.Load()
	for _, g := range s.gatherers {
		g.count(&t)
	}
	return t
}

func (t *Stats) add(c *Conn) {
	t.BytesIn += c.bytesIn.Load()
	t.BytesOut += c.bytesOut.Load()
	t.ReadCalls += c.reads.Load()
	t.SendCalls += c.sends.Load()
}

// Each calls f for every connection until f returns false; any order, a
// snapshot taken at the start.
func (s *Server) Each(f func(*Conn) bool) {
	for _, c := range s.snapshot() {
		if !f(c) {
			return
		}
	}
}

func (s *Server) snapshot() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// Shutdown closes the listeners that are still open and all connections, and
// waits until every goroutine of the package has ended or ctx is done. Replies
// already written are not lost, queued pushes are.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	for _, c := range s.snapshot() {
		c.Close()
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		for _, g := range s.gatherers {
			g.close()
		}
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The texts of refusals, as redis-server sends them.
const (
	refusedFull      = "-ERR max number of clients reached\r\n"
	refusedProtected = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. " +
		"In this mode connections are only accepted from the loopback interface. " +
		"If you want to connect from external computers to Redis you may adopt one of the following solutions: " +
		"1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, " +
		"however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. " +
		"2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. " +
		"3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. " +
		"4) Setup a an authentication password for the default user. " +
		"NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n"
)

// admit takes a new connection in or turns it away.
func (s *Server) admit(raw net.Conn, tlsConf *tls.Config) {
	if s.ctx.Err() != nil {
		raw.Close()
		return
	}
	n := s.live.Add(1)
	if s.opt.MaxClients != nil {
		if most := s.opt.MaxClients(); most > 0 && n > int64(most) {
			s.refuse(raw, refusedFull, tlsConf)
			return
		}
	}
	if s.opt.Protected != nil && !local(raw) && s.opt.Protected() {
		s.refuse(raw, refusedProtected, tlsConf)
		return
	}
	if t, ok := raw.(*net.TCPConn); ok && s.opt.KeepAlive != nil {
		setKeepAlive(t, s.opt.KeepAlive()) // Go has switched Nagle's delay off already
	}
	s.accepted.Add(1)
	c := newConn(s, raw, tlsConf)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	if s.ctx.Err() != nil {
		c.Close() // Shutdown may have missed it
	}
	s.wg.Go(c.serve)
}

// refuse says why and closes. A fresh socket takes the text without blocking; a
// TLS client could not read it before a handshake.
func (s *Server) refuse(raw net.Conn, text string, tlsConf *tls.Config) {
	s.rejected.Add(1)
	if tlsConf == nil {
		raw.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		raw.Write([]byte(text))
	}
	raw.Close()
	s.live.Add(-1)
}

// forget folds a finished connection's counters.
func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.gone.add(c)
	s.mu.Unlock()
	s.live.Add(-1)
}

// sweepLoop looks at every connection once a second for what has no event of
// its own: soft limits, idleness, buffers too big for an idle connection.
func (s *Server) sweepLoop() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			s.sweep(now)
		}
	}
}

func (s *Server) sweep(now time.Time) {
	var idle time.Duration
	if s.opt.IdleTimeout != nil {
		idle = s.opt.IdleTimeout()
	}
	for _, c := range s.snapshot() {
		c.checkLimit(now)
		reads := c.reads.Load()
		if reads != c.sweepReads || c.sweepAt.IsZero() {
			c.sweepReads, c.sweepAt = reads, now
			continue
		}
		quiet := now.Sub(c.sweepAt)
		if idle > 0 && quiet > idle && c.Class() == engine.ClassNormal && !c.parked.Load() {
			s.idleCuts.Add(1)
			c.Close()
			continue
		}
		if quiet >= sweepEvery && (c.inCap.Load() > keepBuffer || c.sweepKick != reads) {
			// It lets go of a big buffer, and sees an end of the stream that it
			// may have missed (serveRaw).
			c.sweepKick = reads
			c.Kick()
		}
	}
}
