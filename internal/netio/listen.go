package netio

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Group is the listeners of one setting, such as the port with all its bind
// addresses; they are opened and closed together.
type Group struct {
	s    *Server
	lns  []net.Listener
	tls  func() *tls.Config // nil: plain
	once sync.Once
}

// Addrs returns the addresses listened on.
func (g *Group) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(g.lns))
	for i, l := range g.lns {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Port returns the TCP port, 0 for a unix socket.
func (g *Group) Port() int {
	if a, ok := g.lns[0].Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// Close stops listening; connections stay. A unix socket's file is removed.
func (g *Group) Close() {
	g.once.Do(func() {
		for _, l := range g.lns {
			l.Close()
		}
	})
}

// ListenTCP listens on a port at each address of bind: a host or IP, "*" for
// all of IPv4, "::*" for all of IPv6; an address the machine does not have is an
// error unless a "-" is in front. An address family the machine does not know is
// passed over. At least one address must do, else nothing is left open. Port 0
// picks a free port, the same for all addresses.
//
// tlsConf, when not nil, makes it a TLS port, and is asked for the configuration
// of each new connection, so certificates can be replaced. backlog is the
// kernel's queue of connections not yet accepted; 0 leaves the system's default.
// Accepting begins at once.
func (s *Server) ListenTCP(bind []string, port, backlog int, tlsConf func() *tls.Config) (*Group, error) {
	g := &Group{s: s, tls: tlsConf}
	var skipped error
	for _, addr := range bind {
		host, optional := strings.CutPrefix(addr, "-")
		network := "tcp"
		switch ip := net.ParseIP(host); {
		case host == "*":
			network, host = "tcp4", "0.0.0.0"
		case host == "::*":
			network, host = "tcp6", "::"
		case ip != nil && ip.To4() != nil:
			network = "tcp4"
		case ip != nil:
			network = "tcp6" // IPv6 only, so that * and ::* do not collide
		}
		lc := net.ListenConfig{KeepAlive: -1} // set per connection
		l, err := lc.Listen(s.ctx, network, net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			if unsupported(err) || optional && errors.Is(err, syscall.EADDRNOTAVAIL) {
				skipped = err
				continue
			}
			g.Close()
			return nil, fmt.Errorf("netio: listen on %s port %d: %w", addr, port, err)
		}
		if backlog > 0 {
			setBacklog(l.(*net.TCPListener), backlog)
		}
		g.lns = append(g.lns, l)
		port = l.Addr().(*net.TCPAddr).Port
	}
	if len(g.lns) == 0 {
		if skipped == nil {
			skipped = errors.New("no address given")
		}
		return nil, fmt.Errorf("netio: listen on port %d: %w", port, skipped)
	}
	s.start(g)
	return g, nil
}

// ListenUnix listens on a unix socket. A file left at path is replaced. perm 0
// leaves the permissions to the umask.
func (s *Server) ListenUnix(path string, perm fs.FileMode) (*Group, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSocket != 0 {
		os.Remove(path)
	}
	l, err := (&net.ListenConfig{}).Listen(s.ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("netio: listen on %s: %w", path, err)
	}
	if perm != 0 {
		if err := os.Chmod(path, perm); err != nil {
			l.Close()
			return nil, fmt.Errorf("netio: %w", err)
		}
	}
	g := &Group{s: s, lns: []net.Listener{l}}
	s.start(g)
	return g, nil
}

func (s *Server) start(g *Group) {
	stop := context.AfterFunc(s.ctx, g.Close)
	var open sync.WaitGroup
	for _, l := range g.lns {
		open.Add(1)
		s.wg.Go(func() {
			defer open.Done()
			s.acceptLoop(g, l)
		})
	}
	s.wg.Go(func() {
		open.Wait()
		stop()
	})
}

func (s *Server) acceptLoop(g *Group, l net.Listener) {
	var wait time.Duration
	for {
		raw, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors or memory, most likely: others must close first.
			s.acceptErrs.Add(1)
			if wait == 0 {
				s.opt.Log.Warn("accept failed", "addr", l.Addr().String(), "err", err)
			}
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(wait):
			case <-s.ctx.Done():
			}
			continue
		}
		wait = 0
		var conf *tls.Config
		if g.tls != nil {
			if conf = g.tls(); conf == nil {
				raw.Close()
				continue
			}
		}
		s.admit(raw, conf)
	}
}

func unsupported(err error) bool {
	for _, e := range []error{syscall.EAFNOSUPPORT, syscall.EPFNOSUPPORT, syscall.EPROTONOSUPPORT, syscall.ESOCKTNOSUPPORT, syscall.ENOPROTOOPT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// setBacklog listens once more on the socket, which the kernel takes as a
// change of the queue's length: Go always asks for the longest.
func setBacklog(l *net.TCPListener, n int) {
	if rc, err := l.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { syscall.Listen(int(fd), n) })
	}
}

// setKeepAlive probes a silent peer after d, thrice at a third of it.
func setKeepAlive(t *net.TCPConn, d time.Duration) {
	if d <= 0 {
		t.SetKeepAlive(false)
		return
	}
	t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: d, Interval: max(d/3, time.Second), Count: 3})
}

// local tells whether the peer is on this machine, as protected mode sees it.
func local(c net.Conn) bool {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	return !ok || a.IP.IsLoopback()
}
