package repl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
)

// linkState is how far the link to the primary has come.
type linkState int32

const (
	linkNone linkState = iota
	linkConnect
	linkConnecting
	linkHandshake
	linkSync
	linkConnected
)

// String is the state as ROLE shows it.
func (s linkState) String() string {
	return [...]string{"none", "connect", "connecting", "handshake", "sync", "connected"}[s]
}

// follower keeps this node a replica of one primary: one goroutine that makes
// one link after the other until end.
type follower struct {
	r    *Repl
	host string
	port int
	born time.Time

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	full   bool          // ask for the whole data set; the follower's goroutine
	handed bool          // the next PSYNC is a FAILOVER one; the follower's goroutine
	wait   time.Duration // after the next refused snapshot; the follower's goroutine
	until  time.Time     // no link before; the follower's goroutine

	state     atomic.Int32
	lastIO    atomic.Int64 // Unix ns of the last byte from the primary; 0: none yet
	downSince atomic.Int64 // Unix ns; 0: never was up, or is up

	syncRead, syncTotal, loadedKeys atomic.Int64
	syncIO                          atomic.Int64 // Unix ns of the last byte of a snapshot
	loadAt                          atomic.Int64 // Unix ns of the last progress in loading one
}

func newFollower(r *Repl, host string, port int, o FollowOptions) *follower {
	f := &follower{r: r, host: host, port: port, full: o.Full, handed: o.failover, wait: refuseFirst, born: time.Now()}
	f.ctx, f.cancel = context.WithCancel(r.ctx)
	f.state.Store(int32(linkConnect))
	return f
}

func (f *follower) linkState() linkState { return linkState(f.state.Load()) }

func (f *follower) setState(s linkState) {
	f.state.Store(int32(s))
	set := f.r.o.Settings()
	f.r.e.SetGate(engine.GateStale, s != linkConnected && !set.ServeStale)
}

func (f *follower) start() { f.wg.Go(f.run) }

// end cuts the link and waits until nothing of the primary's is applied.
func (f *follower) end() {
	f.cancel()
	f.wg.Wait()
}

// retryEvery is how often a connection is tried (replication protocol,
// REPLICAOF).
const retryEvery = time.Second

func (f *follower) run() {
	for f.ctx.Err() == nil {
		began := time.Now()
		wasUp := f.once()
		f.setState(linkConnect)
		if wasUp {
			f.downSince.Store(time.Now().UnixNano())
			continue // at once, then once a second
		}
		f.pause(began)
	}
}

// pause waits for the time of the next link: soon, or after a refused snapshot when
// its wait is over, or once the setting that refuses it has changed.
func (f *follower) pause(began time.Time) {
	t := time.NewTimer(time.Until(began.Add(f.r.retry)))
	defer t.Stop()
	for ; ; t.Reset(f.r.retry) {
		select {
		case <-t.C:
		case <-f.ctx.Done():
			return
		}
		if !time.Now().Before(f.until) || f.r.o.Settings().SkipModules {
			return
		}
	}
}

// refused makes the next link wait, longer each time, since the primary's next
// snapshot will very likely hold the same module data: each costs it a walk, and
// servers that ask again every second never stop.
func (f *follower) refused(err error) {
	if !errors.Is(err, rdb.ErrModuleData) {
		f.wait = refuseFirst
		return
	}
	f.r.slog.Warn(fmt.Sprintf("The snapshot of the primary holds module data: the next is asked for in %d seconds, or when rdb-module-data is set to skip", int(f.wait.Seconds())))
	f.until = time.Now().Add(f.wait)
	f.wait = min(2*f.wait, refuseMost)
}

// link is one connection to the primary. Its goroutine is the follower's; a
// second one (pulse) watches the time and acknowledges.
type link struct {
	f    *follower
	r    *Repl
	conn io.ReadWriteCloser
	br   *bufio.Reader

	wmu  sync.Mutex // held while writing
	once sync.Once
	down chan struct{} // closed by hangUp

	session   *engine.Session // during the stream
	ackWanted bool            // the stream holds GETACK
}

// once makes one link and lives with it. It reports whether the stream was up.
func (f *follower) once() (wasUp bool) {
	r := f.r
	s := r.o.Settings()
	f.setState(linkConnecting)
	addr := net.JoinHostPort(f.host, strconv.Itoa(f.port))
	ctx, cancel := context.WithTimeout(f.ctx, s.Timeout)
	conn, err := r.o.Dial(ctx, f.host, f.port)
	cancel()
	if err != nil {
		if f.ctx.Err() == nil {
			r.slog.Warn("Error condition on socket for SYNC: "+cause(err), "primary", addr)
		}
		return false
	}
	l := &link{f: f, r: r, conn: conn, down: make(chan struct{})}
	l.br = bufio.NewReaderSize(heard{l}, streamBuffer)
	f.lastIO.Store(time.Now().UnixNano())
	f.setState(linkHandshake)
	unhook := context.AfterFunc(f.ctx, l.hangUp)
	defer unhook()
	var pulse sync.WaitGroup
	pulse.Go(l.pulse)
	defer pulse.Wait()
	defer l.hangUp()

	next, err := l.handshake(&s)
	if err == nil && next != nil {
		err = l.fullSync(next, &s)
		f.refused(err)
	}
	if err == nil {
		wasUp = true
		f.downSince.Store(0)
		f.setState(linkConnected)
		l.ack(r.log.Offset())
		err = l.stream()
	}
	if f.ctx.Err() != nil {
		return wasUp
	}
	switch {
	case wasUp && errors.Is(err, io.EOF):
		r.slog.Info("Connection with master lost.")
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		r.slog.Warn("The primary closed the connection during synchronization", "primary", addr)
	default:
		r.slog.Warn("Link with the primary failed", "primary", addr, "err", err)
	}
	return wasUp
}

// cause is the innermost text of a failed dial.
func cause(err error) string {
	for u := errors.Unwrap(err); u != nil; u = errors.Unwrap(err) {
		err = u
	}
	return err.Error()
}

// hangUp closes the connection; any goroutine.
func (l *link) hangUp() {
	l.once.Do(func() {
		close(l.down)
		l.conn.Close()
	})
}

// heard notes when the primary was last heard.
type heard struct{ l *link }

func (h heard) Read(b []byte) (int, error) {
	n, err := h.l.conn.Read(b)
	if n > 0 {
		h.l.f.lastIO.Store(time.Now().UnixNano())
	}
	return n, err
}

// pulse ends a silent link, and tells the primary every second where we are, or
// that we are still loading.
func (l *link) pulse() {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	last := time.Now()
	for {
		var now time.Time
		select {
		case <-l.down:
			return
		case now = <-t.C:
		}
		f := l.f
		// Who loads a snapshot that has arrived does not listen meanwhile.
		alive := max(f.lastIO.Load(), f.loadAt.Load())
		silent := now.Sub(time.Unix(0, alive)) > l.r.o.Settings().Timeout
		st := f.linkState()
		if silent {
			switch st {
			case linkConnected:
				l.r.slog.Warn("MASTER timeout: no data nor PING received...")
			case linkSync:
				l.r.slog.Warn("Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in redis.conf to a larger value.")
			default:
				l.r.slog.Warn("Timeout connecting to the MASTER...")
			}
			l.hangUp()
			return
		}
		if now.Sub(last) < time.Second {
			continue
		}
		last = now
		switch {
		case st == linkConnected:
			l.ack(l.r.log.Offset())
		case st == linkSync && l.r.e.Gate(engine.GateLoading):
			l.write([]byte("\n"))
		}
	}
}

// ack tells the primary how far we are.
func (l *link) ack(off int64) {
	args := []string{"REPLCONF", "ACK", strconv.FormatInt(off, 10)}
	if durable, on := l.r.durable(); on {
		args = append(args, "FACK", strconv.FormatInt(min(durable, off), 10))
	}
	l.write(resp.AppendCommandStrings(nil, args...))
}

// write sends b; any goroutine. A failure ends the link.
func (l *link) write(b []byte) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	_, err := l.conn.Write(b)
	if err != nil {
		l.hangUp()
	}
	return err
}
