package repl

import (
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/resp"
)

// peerState is how far a replica has come.
type peerState uint8

const (
	peerNone      peerState = iota // spoke REPLCONF, not yet PSYNC
	peerWaitStart                  // waits for a snapshot to begin
	peerWaitEnd                    // the snapshot that it will get is being made
	peerSendBulk                   // a finished snapshot is sent to it
	peerOnline
)

// String is the state as INFO shows it.
func (s peerState) String() string {
	switch s {
	case peerWaitStart, peerWaitEnd:
		return "wait_bgsave"
	case peerSendBulk:
		return "send_bulk"
	}
	return "online"
}

// peer is a replica of ours, from the first REPLCONF on. Its feed, one
// goroutine from the moment it is given anything, owns the output.
type peer struct {
	r    *Repl
	s    *engine.Session
	conn engine.Conn

	gone    chan struct{} // closed when the link is to end
	endOnce sync.Once
	acked   chan struct{} // bound 1: an ACK has come, for a feed that waits for the first

	ackOff  atomic.Int64 // stream bytes that the replica has applied
	fackOff atomic.Int64 // ... and has on disk; -1: it does not say
	ackAt   atomic.Int64 // Unix ns when that was heard, or any sign of life
	sentAt  atomic.Int64 // Unix ns of the last write that went through

	// Guarded by r.mu.
	port          int    // that it listens on
	ip            string // announced; "" for the connection's
	eof           bool   // takes a snapshot of unknown length
	psync2        bool
	rdbOnly       bool
	filter        bool // only parts of the data set
	wantFunctions bool // ... the function libraries
	psync         bool // it spoke PSYNC, not SYNC
	takesSlots    bool // it executes CLUSTER SETSLOT from the stream
	state         peerState
	asked         time.Time // for a full sync
	reader        *reader   // its place in the stream; nil before
	fed           bool      // the feed owns reader
	soft          time.Time // since when it lags beyond the soft limit
	nudged        time.Time // the last newline
	chunks        chan *piece
	cutAt         time.Time // of its snapshot
	onlineAt      time.Time
	loading       bool  // it has its snapshot and has not acknowledged it
	bulk          int64 // size of its snapshot, once that is known
	drain         flow  // of the stream

	bulkSent atomic.Int64
}

// Heard implements what engine asks of Session.Ext: the replica has sent something.
// An empty line is a sign of life while it loads.
func (p *peer) Heard() { p.ackAt.Store(time.Now().UnixNano()) }

// peerOf returns the peer of a session, made at first need.
func (r *Repl) peerOf(s *engine.Session) *peer {
	if p, ok := s.Ext.(*peer); ok {
		return p
	}
	p := &peer{r: r, s: s, conn: s.Conn(), gone: make(chan struct{}), acked: make(chan struct{}, 1)}
	p.fackOff.Store(-1)
	s.Ext = p
	return p
}

// Closed implements what engine asks of Session.Ext: the connection is gone.
func (p *peer) Closed() { p.close() }

// close ends the link; any goroutine.
func (p *peer) close() {
	p.endOnce.Do(func() {
		close(p.gone)
		p.conn.Close()
		p.r.remove(p)
	})
}

func (r *Repl) remove(p *peer) {
	r.mu.Lock()
	i := slices.Index(r.peers, p)
	if i >= 0 {
		r.peers = slices.Delete(r.peers, i, i+1)
		r.npeers.Add(-1)
		if len(r.peers) == 0 {
			r.noPeers = time.Now()
		}
	}
	rd := p.reader
	if p.fed {
		rd = nil
	}
	p.reader = nil
	r.mu.Unlock()
	if rd != nil {
		r.log.detach(rd)
	}
	if i >= 0 {
		r.slog.Info("Connection with replica " + p.name() + " lost.")
	}
}

// Replicas counts the attached replicas. It takes no lock.
func (r *Repl) Replicas() int { return int(r.npeers.Load()) }

func (r *Repl) allPeers() []*peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.peers)
}

// dropPeers disconnects every replica.
func (r *Repl) dropPeers() {
	for _, p := range r.allPeers() {
		p.close()
	}
}

// addr returns ip and port of a replica as clients should know it. r.mu is held.
func (p *peer) addrLocked() (ip string, port int) {
	if ip = p.ip; ip == "" {
		ip = p.conn.RemoteAddr()
		if host, _, err := net.SplitHostPort(ip); err == nil {
			ip = host
		}
	}
	return ip, p.port
}

// name is how log lines call a replica.
func (p *peer) name() string {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	return p.nameLocked()
}

func (p *peer) nameLocked() string {
	ip, port := p.addrLocked()
	if port == 0 {
		return p.conn.RemoteAddr()
	}
	return ip + ":" + strconv.Itoa(port)
}

// become makes the session a replica's, with the socket as the settings say.
func (p *peer) become() {
	p.s.BecomeReplica()
	if c, ok := p.conn.(interface{ SetNoDelay(on bool) }); ok {
		c.SetNoDelay(!p.r.o.Settings().TCPDelay)
	}
}

// serveContinue begins to feed a replica whose stream goes on.
func (p *peer) serveContinue(rd *reader, h *History) {
	r := p.r
	p.become()
	now := time.Now()
	r.mu.Lock()
	p.state, p.psync, p.reader, p.fed = peerOnline, true, rd, true
	hello := "+CONTINUE\r\n"
	if p.psync2 {
		hello = "+CONTINUE " + h.ID + "\r\n"
	}
	p.ackAt.Store(now.UnixNano())
	p.ackOff.Store(rd.cur.Pos())
	ok := r.addLocked(p)
	if ok {
		r.wg.Go(func() {
			defer p.close()
			if p.conn.Write([]byte(hello)) == nil {
				p.feed(rd)
			}
		})
	}
	r.mu.Unlock()
	if !ok {
		r.log.detach(rd)
		p.close()
	}
}

// addLocked puts p among the replicas; false: this node is stopping. r.mu is
// held.
func (r *Repl) addLocked(p *peer) bool {
	if r.closed {
		return false
	}
	r.peers = append(r.peers, p)
	r.npeers.Add(1)
	return true
}

// feed sends the stream until the link ends.
func (p *peer) feed(rd *reader) {
	l := p.r.log
	defer l.detach(rd)
	for sent := 0; ; {
		b, ok := l.next(rd, sent)
		if !ok && !rd.over {
			return
		}
		if !ok {
			_, lag := l.where(rd)
			p.r.mu.Lock()
			p.r.cutOffLocked(p, lag, time.Now())
			p.r.mu.Unlock()
			return
		}
		if sent = len(b); sent == 0 {
			select {
			case <-rd.wake:
				// Those who can run now will add to the stream first: one write
				// carries what a round of connections did.
				runtime.Gosched()
				continue
			case <-p.gone:
				return
			}
		}
		if p.conn.Write(b) != nil {
			return
		}
		p.sentAt.Store(time.Now().UnixNano())
		select {
		case <-p.gone:
			return
		default:
		}
	}
}

// ack notes REPLCONF ACK; the session's goroutine.
func (p *peer) ack(off, fack int64) {
	if off > p.ackOff.Load() {
		p.ackOff.Store(off)
	}
	if fack > p.fackOff.Load() {
		p.fackOff.Store(fack)
	}
	p.ackAt.Store(time.Now().UnixNano())
	if off > 0 {
		p.r.mu.Lock()
		p.loading = false
		p.r.mu.Unlock()
	}
	select {
	case p.acked <- struct{}{}:
	default:
	}
	p.r.checkWaits()
	p.r.checkFailover()
}

var (
	pingCommand   = resp.AppendCommandStrings(nil, "PING")
	getackCommand = resp.AppendCommandStrings(nil, "REPLCONF", "GETACK", "*")
)

// tickPeers pings replicas, keeps those that wait alive and drops those that
// are silent or too slow.
func (r *Repl) tickPeers(s *Settings, now time.Time) {
	primary := !r.IsReplica()
	var drop []*peer
	r.mu.Lock()
	if primary && len(r.peers) > 0 && now.Sub(r.lastPing) >= s.PingPeriod && !r.failover.pausesPings() {
		if paused, _ := r.e.Paused(); !paused {
			r.lastPing = now
			r.Append(pingCommand)
		}
	}
	for _, p := range r.peers {
		switch p.state {
		case peerWaitStart, peerWaitEnd:
			if (p.state == peerWaitStart || p.chunks == nil) && now.Sub(p.nudged) >= time.Second {
				p.nudged = now
				p.conn.Push([]byte("\n"))
			}
			if p.state == peerWaitEnd && p.chunks != nil && now.Sub(time.Unix(0, p.sentAt.Load())) > s.Timeout {
				drop = append(drop, p)
				r.slog.Warn("Disconnecting timedout replica (full sync): " + p.nameLocked())
				continue
			}
		case peerSendBulk:
			if now.Sub(time.Unix(0, p.sentAt.Load())) > s.Timeout {
				drop = append(drop, p)
				r.slog.Warn("Disconnecting timedout replica (full sync): " + p.nameLocked())
				continue
			}
		case peerOnline:
			if p.psync && now.Sub(time.Unix(0, p.ackAt.Load())) > s.Timeout {
				drop = append(drop, p)
				r.slog.Warn("Disconnecting timedout replica (streaming sync): " + p.nameLocked())
				continue
			}
		}
		if p.reader == nil || s.OutputHard|s.OutputSoft == 0 {
			continue
		}
		_, lag := r.log.where(p.reader)
		if p.chunks != nil && len(p.chunks) == cap(p.chunks) {
			lag += r.heldLocked() // the walk waits for this one
		}
		hardLimit, softLimit := s.limits()
		hard := lag > hardLimit && hardLimit > 0
		soft := lag > softLimit && softLimit > 0
		switch online := p.state == peerOnline && !p.loading; {
		case !soft, !online: // it takes none of the stream before
			p.soft = time.Time{}
			if online && lag < max(softLimit, s.BacklogSize)/8 {
				delete(r.slow, p.nameLocked())
			}
		case p.soft.IsZero():
			p.soft = now
		}
		if hard || soft && !p.soft.IsZero() && now.Sub(p.soft) >= s.OutputSoftTime {
			drop = append(drop, p)
			r.cutOffLocked(p, lag, now)
		}
	}
	r.mu.Unlock()
	for _, p := range drop {
		p.close()
	}
}

// countGood closes or opens the gate of min-replicas-to-write.
func (r *Repl) countGood(s *Settings, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.goodReplica = 0
	for _, p := range r.peers {
		if p.state == peerOnline && now.Sub(time.Unix(0, p.ackAt.Load())).Truncate(time.Second) <= s.MinReplicasMaxLag {
			r.goodReplica++
		}
	}
	r.e.SetGate(engine.GateMinReplicas, s.MinReplicas > 0 && s.MinReplicasMaxLag > 0 && r.goodReplica < s.MinReplicas)
}
