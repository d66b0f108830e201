package repl

import (
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/command"
)

// failoverState is FAILOVER: a primary waits with its writes paused until a
// replica has everything, then follows it, telling it in PSYNC to take over.
// Guarded by Repl.mu.
//
//	none -> waiting-for-sync -> failover-in-progress -> none
type failoverState struct {
	phase    failoverPhase
	host     string // of the target; "" for the first replica that is ready
	port     int
	force    bool
	need     int64     // offset of the last write, -1 until writes are paused
	deadline time.Time // zero: none
}

type failoverPhase uint8

const (
	noFailover failoverPhase = iota
	failoverWait
	failoverGo
)

func (p failoverPhase) String() string {
	return [...]string{"no-failover", "waiting-for-sync", "failover-in-progress"}[p]
}

func (f *failoverState) on() bool          { return f.phase != noFailover }
func (f *failoverState) pausesPings() bool { return f.phase == failoverWait }

// failoverPauseMs is "until told otherwise" for the pause of writes.
const failoverPauseMs = 1 << 52

// failoverCommand is FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT ms].
func (r *Repl) failoverCommand(c *command.Ctx) {
	if r.o.Cluster {
		c.Error("ERR FAILOVER not allowed in cluster mode.")
		return
	}
	var next failoverState
	var abort bool
	var timeoutMs int64
	hasTimeout := false
	for a := c.ArgsFrom(1); a.More(); {
		switch {
		case !hasTimeout && a.Left() >= 2 && a.Is("timeout"):
			timeoutMs, hasTimeout = a.Int(), true
			if !a.Done() && a.Left() == 0 {
				return
			}
			if timeoutMs <= 0 {
				c.Error("ERR FAILOVER timeout must be greater than 0")
				return
			}
		case !abort && a.Is("abort"):
			abort = true
		case next.host == "" && a.Left() >= 3 && a.Is("to"):
			next.host = string(a.Next())
			port := a.Int()
			if c.Failed {
				return
			}
			next.port = int(port)
		case next.host != "" && !next.force && a.Is("force"):
			next.force = true
		default:
			c.Error(command.ErrSyntax)
			return
		}
	}
	if c.Failed {
		return
	}
	r.mu.Lock()
	on := r.failover.on()
	r.mu.Unlock()
	if on {
		if !abort {
			c.Error("ERR FAILOVER already in progress.")
			return
		}
		r.abortFailover("FAILOVER ABORT")
		c.OK()
		return
	}
	switch {
	case abort:
		c.Error("ERR No failover in progress.")
		return
	case r.IsReplica():
		c.Error("ERR FAILOVER is not valid when server is a replica.")
		return
	}
	r.mu.Lock()
	n := len(r.peers)
	state := peerNone
	for _, p := range r.peers {
		if ip, port := p.addrLocked(); ip == next.host && port == next.port {
			state = p.state
		}
	}
	r.mu.Unlock()
	switch {
	case n == 0:
		c.Error("ERR FAILOVER requires connected replicas.")
		return
	case next.force && (!hasTimeout || next.host == ""):
		c.Error("ERR FAILOVER with force option requires both a timeout and target HOST and IP.")
		return
	case next.host != "" && state == peerNone:
		c.Error("ERR FAILOVER target HOST and PORT is not a replica.")
		return
	case next.host != "" && state != peerOnline:
		c.Error("ERR FAILOVER target replica is not online.")
		return
	}
	if hasTimeout {
		next.deadline = time.Now().Add(time.Duration(timeoutMs) * time.Millisecond)
	}
	next.phase, next.need = failoverWait, -1
	r.mu.Lock()
	r.failover = next
	r.mu.Unlock()
	r.slog.Info("FAILOVER requested", "target", next.target())
	r.e.Pause("failover", r.e.Now()+failoverPauseMs, false)
	// The answer to a GETACK does not count the GETACK, which a replica that
	// has answered is about to count too.
	r.mu.Lock()
	r.failover.need = r.log.Offset()
	r.mu.Unlock()
	r.askAcks(r.log.Offset())
	r.checkFailover()
	c.OK()
}

func (f *failoverState) target() string {
	if f.host == "" {
		return "any"
	}
	return net.JoinHostPort(f.host, strconv.Itoa(f.port))
}

// checkFailover goes on once a replica has everything.
func (r *Repl) checkFailover() { r.advanceFailover(false) }

func (r *Repl) advanceFailover(force bool) {
	r.mu.Lock()
	f := &r.failover
	if f.phase != failoverWait || f.need < 0 {
		r.mu.Unlock()
		return
	}
	var host string
	var port int
	for _, p := range r.peers {
		ip, n := p.addrLocked()
		if f.host != "" && (ip != f.host || n != f.port) {
			continue
		}
		if p.state == peerOnline && n != 0 && (force || p.ackOff.Load() >= f.need) {
			host, port = ip, n
			break
		}
	}
	if host == "" && force {
		host, port = f.host, f.port
	}
	if host == "" {
		r.mu.Unlock()
		return
	}
	f.phase = failoverGo
	r.mu.Unlock()
	r.slog.Info("Failover target is ready, failing over", "target", net.JoinHostPort(host, strconv.Itoa(port)))
	r.wg.Go(func() { r.Follow(host, port, FollowOptions{failover: true}) })
}

func (r *Repl) tickFailover(now time.Time) {
	r.mu.Lock()
	f := r.failover
	r.mu.Unlock()
	if f.phase != failoverWait || f.deadline.IsZero() || now.Before(f.deadline) {
		return
	}
	if f.force {
		r.advanceFailover(true)
		return
	}
	r.abortFailover("Replica never caught up before timeout")
}

// abortFailover ends it with this node as the primary.
func (r *Repl) abortFailover(why string) {
	r.mu.Lock()
	was := r.failover.phase
	r.failover = failoverState{}
	r.mu.Unlock()
	if was == noFailover {
		return
	}
	r.slog.Info("Aborting failover", "reason", why)
	if was == failoverGo {
		r.Promote()
	}
	r.e.Unpause("failover")
}

// failoverDone is told that the target has accepted us; the follower's
// goroutine.
func (r *Repl) failoverDone(f *follower) {
	if !f.handed {
		return
	}
	f.handed = false
	r.mu.Lock()
	r.failover = failoverState{}
	r.mu.Unlock()
	r.slog.Info("Failover succeeded, the target is the primary now")
	r.e.Unpause("failover")
}

// failoverRejected is told that the target refused; the follower's goroutine,
// which the promotion will wait for.
func (r *Repl) failoverRejected(f *follower) {
	f.handed = false
	r.wg.Go(func() { r.abortFailover("the target rejected the PSYNC FAILOVER request") })
}

// takeOver answers the PSYNC of a primary that hands its role to us, and
// reports whether we took it.
func (r *Repl) takeOver(c *command.Ctx) bool {
	f := r.follower.Load()
	if f == nil {
		c.Error("ERR PSYNC FAILOVER can't be sent to a master.")
		return false
	}
	if id, _, _, _ := r.log.place(); !strings.EqualFold(id, string(c.Arg(1))) {
		c.Error("ERR PSYNC FAILOVER replid must match my replid.")
		return false
	}
	r.slog.Info("Failover request received, taking over")
	r.Promote()
	return true
}
