package server

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// authority is a CA whose files lie in a directory: ca.crt, and what issue adds.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", 1)
	return a
}

// issue makes name.crt and name.key.
func (a *authority) issue(name string, serial int64) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	parent, signer := a.cert, a.key
	if parent == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{a.path(name + ".crt"): {Type: "CERTIFICATE", Bytes: der}, a.path(name + ".key"): {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// args are the directives of a server with the certificate name.
func (a *authority) args(name string) []string {
	return []string{"--tls-cert-file", a.path(name + ".crt"), "--tls-key-file", a.path(name + ".key"), "--tls-ca-cert-file", a.path("ca.crt")}
}

// dial connects to a TLS port, showing the certificate name unless it is "".
func (a *authority) dial(port, name string) (*peer, *tls.Conn, error) {
	conf := &tls.Config{InsecureSkipVerify: true} // the certificate that comes is compared by its serial number
	if name != "" {
		pair, err := tls.LoadX509KeyPair(a.path(name+".crt"), a.path(name+".key"))
		if err != nil {
			a.t.Fatal(err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	c, err := tls.Dial("tcp", "127.0.0.1:"+port, conf)
	if err != nil {
		return nil, nil, err
	}
	a.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	// With TLS 1.3 a refused certificate shows at the first read.
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return nil, nil, err
	}
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); line != "+PONG\r\n" {
		return nil, nil, err
	}
	return &peer{c, r}, c, nil
}

// A TLS port beside the plain one: who gets in, with which certificate, and what
// CONFIG SET changes for connections to come.
func TestTLSPort(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	ca.issue("server", 2)
	ca.issue("renewed", 3)
	ca.issue("client", 4)
	stranger.issue("client", 5)
	port := freePort(t)
	p := start(t, serverCommand, append(ca.args("server"), "--tls-port", port)...)

	serial := func(who *authority, name string) int64 {
		t.Helper()
		_, c, err := who.dial(port, name)
		if err != nil {
			t.Fatalf("dial as %q: %v", name, err)
		}
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(ca, "client"); got != 2 {
		t.Errorf("the server shows certificate %d, want 2", got)
	}
	for _, who := range []struct {
		a    *authority
		name string
	}{{ca, ""}, {stranger, "client"}} {
		if _, _, err := who.a.dial(port, who.name); err == nil {
			t.Errorf("a client with certificate %q of another authority or none got in", who.name)
		}
	}
	if got := p.raw(t, "CONFIG", "SET", "tls-auth-clients", "no", "tls-cert-file", ca.path("renewed.crt"), "tls-key-file", ca.path("renewed.key")); got != "+OK\r\n" {
		t.Fatalf("CONFIG SET: %q", got)
	}
	if got := serial(ca, ""); got != 3 {
		t.Errorf("after CONFIG SET the server shows certificate %d, want 3", got)
	}
	if got := p.raw(t, "CONFIG", "SET", "tls-cert-file", "/nonexistent"); !strings.Contains(got, "Unable to update TLS configuration. Check server logs.") {
		t.Errorf("CONFIG SET of a missing certificate: %q", got)
	}
	if got := serial(ca, ""); got != 3 {
		t.Errorf("after a refused CONFIG SET the server shows certificate %d, want 3", got)
	}
	moved := freePort(t)
	if got := p.raw(t, "CONFIG", "SET", "tls-port", moved); got != "+OK\r\n" {
		t.Fatalf("CONFIG SET tls-port: %q", got)
	}
	port = moved
	serial(ca, "")
}

// Two nodes that speak TLS everywhere meet, and one replicates the other; what
// is not TLS, or has no certificate, gets nowhere on the bus.
func TestTLSCluster(t *testing.T) {
	ca := newAuthority(t)
	var nodes [2]*peer
	var ports [2]string
	for i := range nodes {
		name := "node" + strconv.Itoa(i)
		ca.issue(name, int64(2+i))
		ports[i] = freePort(t)
		busPort := freePort(t)
		start(t, serverCommand, append(ca.args(name), "--tls-port", ports[i], "--cluster-enabled", "yes", "--cluster-port", busPort,
			"--cluster-node-timeout", "2000", "--tls-cluster", "yes", "--tls-replication", "yes", "--repl-diskless-sync-delay", "0")...)
		var err error
		if nodes[i], _, err = ca.dial(ports[i], name); err != nil {
			t.Fatal(err)
		}
		ports[i] += " " + busPort
	}
	a, b := nodes[0], nodes[1]
	is := func(p *peer, want string, args ...string) {
		t.Helper()
		if got := p.raw(t, args...); got != want {
			t.Fatalf("%q: got %q, want %q", args, got, want)
		}
	}
	until := func(p *peer, want string, args ...string) {
		t.Helper()
		var got string
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if got = p.raw(t, args...); strings.Contains(got, want) {
				return
			}
		}
		t.Fatalf("%q: never %q, but %q", args, want, got)
	}
	_, busPort, _ := strings.Cut(ports[0], " ")
	port, busB, _ := strings.Cut(ports[1], " ")
	for _, hello := range []string{"plain", "no certificate"} {
		c, err := net.Dial("tcp", "127.0.0.1:"+busPort)
		if err != nil {
			t.Fatal(err)
		}
		if hello != "plain" {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		}
		io.WriteString(c, "RCmb"+strings.Repeat("\x00", 2300))
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if rest, _ := io.ReadAll(c); strings.Contains(string(rest), "RCmb") {
			t.Errorf("%s: the bus answered %q", hello, rest)
		}
		c.Close()
	}
	is(a, "+OK\r\n", "CLUSTER", "MEET", "127.0.0.1", port, busB)
	until(a, "cluster_known_nodes:2", "CLUSTER", "INFO")
	until(b, "cluster_known_nodes:2", "CLUSTER", "INFO")
	is(a, "+OK\r\n", "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	until(a, "cluster_state:ok", "CLUSTER", "INFO")
	id := strings.Split(a.raw(t, "CLUSTER", "MYID"), "\r\n")[1]
	until(b, id, "CLUSTER", "NODES") // before, a handshake has a name of its own
	is(b, "+OK\r\n", "CLUSTER", "REPLICATE", id)
	is(a, "+OK\r\n", "SET", "k", "v")
	is(b, "+OK\r\n", "READONLY")
	until(b, "$1\r\nv\r\n", "GET", "k")
	tlsPortA := strings.Fields(ports[0])[0]
	is(b, "-MOVED 7629 127.0.0.1:"+tlsPortA+"\r\n", "SET", "k", "w")
}
