package netio

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/resp"
)

func TestListenAddresses(t *testing.T) {
	w := start(t, Options{})
	for _, tt := range []struct {
		name string
		bind []string
		ok   bool
		n    int // addresses listened on, -1: any positive number
	}{
		{"all of IPv4, IPv6 if there is any", []string{"*", "-::*"}, true, -1},
		{"a foreign address is an error", []string{"127.0.0.1", "192.0.2.1"}, false, 0},
		{"unless it is optional", []string{"127.0.0.1", "-192.0.2.1"}, true, 1},
		{"but one must do", []string{"-192.0.2.1"}, false, 0},
		{"no address", nil, false, 0},
		{"a name", []string{"localhost"}, true, 1},
		{"nonsense", []string{"no such host"}, false, 0},
	} {
		g, err := w.s.ListenTCP(tt.bind, 0, 128, nil)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil {
			continue
		}
		if n := len(g.Addrs()); n != tt.n && tt.n >= 0 {
			t.Errorf("%s: %d addresses, want %d", tt.name, n, tt.n)
		}
		for _, a := range g.Addrs() {
			if a.(*net.TCPAddr).Port != g.Port() {
				t.Errorf("%s: %v not on port %d", tt.name, a, g.Port())
			}
		}
		g.Close()
		if c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(g.Port()))); err == nil {
			c.Close()
			t.Errorf("%s: port %d still answers after Close", tt.name, g.Port())
		}
	}
	// A taken port is an error, and names the address.
	if _, err := w.s.ListenTCP([]string{"127.0.0.1"}, w.g.Port(), 0, nil); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a taken port: %v", err)
	}
	w.dial().want("+PONG", "PING") // closing other groups has not touched this one
}

// failing is a listener that runs out of descriptors for a while.
type failing struct {
	net.Listener
	errs int
	conn net.Conn
}

func (f *failing) Accept() (net.Conn, error) {
	switch c := f.conn; {
	case f.errs > 0:
		f.errs--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	case c != nil:
		f.conn = nil
		return c, nil
	}
	return nil, net.ErrClosed
}

// Accepting goes on after errors that pass, not at full speed.
func TestAcceptBacksOff(t *testing.T) {
	w := start(t, Options{})
	near, far := net.Pipe()
	defer near.Close()
	began := time.Now()
	w.s.acceptLoop(w.g, &failing{Listener: w.g.lns[0], errs: 4, conn: far})
	if d := time.Since(began); d < (5+10+20+40)*time.Millisecond {
		t.Errorf("4 errors were retried within %v", d)
	}
	if n := w.s.Stats().AcceptErrors; n != 4 {
		t.Errorf("AcceptErrors = %d, want 4", n)
	}
	c := &client{Conn: near, Reader: resp.NewReader(near), t: t}
	c.want("+PONG", "PING")
}

func TestUnixSocket(t *testing.T) {
	w := start(t, Options{Protected: func() bool { return true }})
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	g, err := w.s.ListenUnix(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := &client{Conn: nc, Reader: resp.NewReader(nc), t: t}
	c.want("+PONG", "PING")
	h := w.hs[0].c
	if h.RemoteAddr() != path+":0" || h.LocalAddr() != path+":0" || !h.Unix() || h.TLS() || h.LocalIP() != "" || h.FD() < 0 {
		t.Errorf("%q %q %v %v %q %d", h.RemoteAddr(), h.LocalAddr(), h.Unix(), h.TLS(), h.LocalIP(), h.FD())
	}
	g.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket file is left after Close")
	}
	c.want("+PONG", "PING")
	// What is no socket is not removed.
	file := filepath.Join(t.TempDir(), "precious")
	os.WriteFile(file, []byte("x"), 0o600)
	if _, err := w.s.ListenUnix(file, 0); err == nil {
		t.Error("listening on a file succeeded")
	}
	if b, _ := os.ReadFile(file); string(b) != "x" {
		t.Error("the file was removed")
	}
}

// Peers of another machine are refused with Redis's text, recorded from it;
// here one of our own addresses that is no loopback plays the other machine.
func TestProtectedMode(t *testing.T) {
	var on atomic.Bool
	on.Store(true)
	w := start(t, Options{Protected: on.Load})
	w.dial().want("+PONG", "PING") // loopback
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.To4() == nil {
			continue
		}
		g, err := w.s.ListenTCP([]string{ip.IP.String()}, 0, 0, nil)
		if err != nil {
			continue
		}
		nc, err := net.Dial("tcp", g.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(nc)
		want, _ := os.ReadFile("testdata/protected.txt")
		if err != nil || string(b) != string(want) {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
		on.Store(false)
		nc, err = net.Dial("tcp", g.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		c := &client{Conn: nc, Reader: resp.NewReader(nc), t: t}
		c.want("+PONG", "PING")
		nc.Close()
		return
	}
	t.Skip("this machine has only loopback addresses")
}

func certificate(t *testing.T, name string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// TLS carries replies, big ones, pushes, kicks in the middle of records, and a
// new certificate is used for new connections.
func TestTLS(t *testing.T) {
	w := start(t, Options{})
	var conf atomic.Pointer[tls.Config]
	conf.Store(certificate(t, "one"))
	g, err := w.s.ListenTCP([]string{"127.0.0.1"}, 0, 0, conf.Load)
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (*client, *tls.Conn) {
		nc, err := tls.Dial("tcp", g.Addrs()[0].String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		c := &client{Conn: nc, Reader: resp.NewReader(nc), t: t}
		c.want("+PONG", "PING")
		w.mu.Lock()
		defer w.mu.Unlock()
		c.h = w.hs[len(w.hs)-1]
		return c, nc
	}
	c, nc := dial()
	if name := nc.ConnectionState().PeerCertificates[0].DNSNames[0]; name != "one" {
		t.Errorf("certificate %q", name)
	}
	if !c.h.c.TLS() || c.h.c.TLSState() == nil || !c.h.c.TLSState().HandshakeComplete {
		t.Error("the connection does not say that it is TLS")
	}
	big := strings.Repeat("x", 3<<20)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // read deadlines strike anywhere and must lose nothing
		for tick := time.NewTicker(200 * time.Microsecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				c.h.c.Kick()
			}
		}
	}()
	for range 10 {
		go c.Write(resp.AppendCommandStrings(nil, "ECHO", big))
		if v, err := c.Next(); err != nil || string(v.Str) != big {
			t.Fatalf("%d bytes, %v", len(v.Str), err)
		}
	}
	c.send("BLOCK", "0")
	poll(t, "served", func() bool { return c.h.serve("+served\r\n") })
	c.want("+served")

	conf.Store(certificate(t, "two"))
	d, nc := dial()
	if name := nc.ConnectionState().PeerCertificates[0].DNSNames[0]; name != "two" {
		t.Errorf("certificate %q after the change", name)
	}
	d.want("+OK", "QUIT")
	d.wantEnd()

	// Plain text to the TLS port ends that connection only.
	plain, err := net.Dial("tcp", g.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	plain.Write([]byte("PING\r\nPING\r\n"))
	io.Copy(io.Discard, plain)
	poll(t, "the failure is counted", func() bool { return w.s.Stats().HandshakeErrors == 1 })
	c.want("+PONG", "PING")
}
