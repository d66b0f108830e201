package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/skeindb/skein/internal/config"
)

// tlsConfigs are what the tls directives say, for each kind of connection. They
// are immutable: a change makes new ones, which new connections use.
type tlsConfigs struct {
	clients *tls.Config // that connect to tls-port
	peers   *tls.Config // that connect to the cluster bus: always with a certificate
	dial    *tls.Config // connections to a primary and to the bus of others
}

// errTLS ends the start of a node; the log says more.
var errTLS = errors.New("Failed to configure TLS. Check logs for more info.")

// tlsDirectives are those that reloadTLS reads.
var tlsDirectives = []string{"tls-port", "tls-cert-file", "tls-key-file", "tls-key-file-pass", "tls-client-cert-file", "tls-client-key-file",
	"tls-client-key-file-pass", "tls-ca-cert-file", "tls-ca-cert-dir", "tls-protocols", "tls-ciphers", "tls-auth-clients", "tls-replication",
	"tls-cluster", "tls-session-caching"}

// tlsWanted reports whether anything speaks TLS.
func (s *Server) tlsWanted() bool {
	c := s.Config
	return c.TLSPort.Get() != 0 || c.TLSReplication.Get() || c.TLSCluster.Get()
}

// reloadTLS reads the certificates anew.
func (s *Server) reloadTLS() error {
	if !s.tlsWanted() {
		return nil
	}
	t, err := newTLS(s.Config)
	if err != nil {
		s.Log.Warn("Failed to configure TLS", "err", err)
		return err
	}
	s.tls.Store(t)
	return nil
}

// clientTLS is the configuration of the next connection to tls-port.
func (s *Server) clientTLS() *tls.Config { return s.tls.Load().clients }

// busTLS are the configurations of the next bus connection, accepted or dialled;
// nil without tls-cluster.
func (s *Server) busTLS() (accept, dial *tls.Config) {
	t := s.tls.Load()
	if t == nil || !s.Config.TLSCluster.Get() {
		return nil, nil
	}
	return t.peers, t.dial
}

// dialTLS shakes hands on a new connection to another server; it closes it on an
// error.
func (s *Server) dialTLS(ctx context.Context, conn net.Conn) (net.Conn, error) {
	t := s.tls.Load()
	if t == nil {
		conn.Close()
		return nil, errTLS
	}
	tc := tls.Client(conn, t.dial)
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("server: TLS with %s: %w", conn.RemoteAddr(), err)
	}
	return tc, nil
}

func newTLS(c *config.Config) (*tlsConfigs, error) {
	switch {
	case c.TLSCertFile.Get() == "":
		return nil, errors.New("No tls-cert-file configured!")
	case c.TLSKeyFile.Get() == "":
		return nil, errors.New("No tls-key-file configured!")
	}
	noCA := c.TLSCACertFile.Get() == "" && c.TLSCACertDir.Get() == ""
	if noCA && (c.TLSCluster.Get() || c.TLSReplication.Get() || c.TLSAuthClients.Get() != config.AuthClientsNo) {
		return nil, errors.New("Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or tls-auth-clients are enabled!")
	}
	cert, err := keyPair(c, c.TLSCertFile.Get(), c.TLSKeyFile.Get(), c.TLSKeyFilePass.Get())
	if err != nil {
		return nil, err
	}
	own := cert // what we show to those we connect to
	if c.TLSClientCertFile.Get() != "" {
		if own, err = keyPair(c, c.TLSClientCertFile.Get(), c.TLSClientKeyFile.Get(), c.TLSClientKeyFilePass.Get()); err != nil {
			return nil, err
		}
	}
	cas, err := caPool(c)
	if err != nil {
		return nil, err
	}
	base := &tls.Config{ClientCAs: cas, RootCAs: cas, CipherSuites: cipherSuites(c.TLSCiphers.Get()), SessionTicketsDisabled: !c.TLSSessionCaching.Get()}
	if base.MinVersion, base.MaxVersion, err = tlsVersions(c.TLSProtocols.Get()); err != nil {
		return nil, err
	}
	t := &tlsConfigs{clients: base.Clone(), peers: base.Clone(), dial: base.Clone()}
	t.clients.Certificates = []tls.Certificate{cert}
	switch c.TLSAuthClients.Get() {
	case config.AuthClientsYes:
		t.clients.ClientAuth = tls.RequireAndVerifyClientCert
	case config.AuthClientsOptional:
		t.clients.ClientAuth = tls.VerifyClientCertIfGiven
	}
	t.peers.Certificates = t.clients.Certificates
	t.peers.ClientAuth = tls.RequireAndVerifyClientCert
	t.dial.Certificates = []tls.Certificate{own}
	// Nodes know each other by addresses that change: the chain is verified, the
	// name is not, as Redis does.
	t.dial.InsecureSkipVerify = true
	t.dial.VerifyConnection = func(st tls.ConnectionState) error {
		o := x509.VerifyOptions{Roots: cas, Intermediates: x509.NewCertPool()}
		for _, c := range st.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		_, err := st.PeerCertificates[0].Verify(o)
		return err
	}
	return t, nil
}

// keyPair reads a certificate with its chain, and its key.
func keyPair(c *config.Config, certFile, keyFile, pass string) (tls.Certificate, error) {
	fail := func(what string, err error) (tls.Certificate, error) {
		return tls.Certificate{}, fmt.Errorf("Failed to load %s: %w", what, err)
	}
	cert, err := os.ReadFile(c.Path(certFile))
	if err != nil {
		return fail("certificate: "+certFile, err)
	}
	key, err := os.ReadFile(c.Path(keyFile))
	if err != nil {
		return fail("private key: "+keyFile, err)
	}
	if pass != "" {
		if key, err = decryptKey(key, pass); err != nil {
			return fail("private key: "+keyFile, err)
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fail("certificate: "+certFile, err)
	}
	return pair, nil
}

// decryptKey opens a key in OpenSSL's traditional encrypted form; a plain key is
// returned as it is.
func decryptKey(key []byte, pass string) ([]byte, error) {
	block, _ := pem.Decode(key)
	switch {
	case block == nil:
		return nil, errors.New("no PEM data")
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("encrypted PKCS #8 keys are not supported: use openssl pkey -traditional, or a key without password")
	case !x509.IsEncryptedPEMBlock(block): //nolint:staticcheck // the form is weak, but files have it
		return key, nil
	}
	der, err := x509.DecryptPEMBlock(block, []byte(pass)) //nolint:staticcheck
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
}

// caPool are the authorities of tls-ca-cert-file and tls-ca-cert-dir, nil if
// neither is set.
func caPool(c *config.Config) (*x509.CertPool, error) {
	file, dir := c.TLSCACertFile.Get(), c.TLSCACertDir.Get()
	if file == "" && dir == "" {
		return nil, nil
	}
	pool, found := x509.NewCertPool(), false
	add := func(path string) error {
		b, err := os.ReadFile(path)
		if err == nil && pool.AppendCertsFromPEM(b) {
			found = true
		}
		return err
	}
	if file != "" {
		if err := add(c.Path(file)); err != nil {
			return nil, fmt.Errorf("Failed to configure CA certificate(s) file/directory: %w", err)
		}
	}
	if dir != "" {
		entries, err := os.ReadDir(c.Path(dir))
		if err != nil {
			return nil, fmt.Errorf("Failed to configure CA certificate(s) file/directory: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				add(filepath.Join(c.Path(dir), e.Name())) // what is no certificate is passed over
			}
		}
	}
	if !found {
		return nil, errors.New("Failed to configure CA certificate(s) file/directory: no certificate found")
	}
	return pool, nil
}

// tlsVersions reads tls-protocols; the default is 1.2 and 1.3.
func tlsVersions(text string) (lowest, highest uint16, err error) {
	if text == "" {
		return tls.VersionTLS12, tls.VersionTLS13, nil
	}
	for _, name := range strings.Fields(strings.ToLower(text)) {
		v, ok := map[string]uint16{"tlsv1": tls.VersionTLS10, "tlsv1.1": tls.VersionTLS11, "tlsv1.2": tls.VersionTLS12, "tlsv1.3": tls.VersionTLS13}[name]
		if !ok {
			return 0, 0, fmt.Errorf("Invalid tls-protocols specified: %q, want some of TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", name)
		}
		if lowest == 0 || v < lowest {
			lowest = v
		}
		highest = max(highest, v)
	}
	return lowest, highest, nil
}

// cipherSuites reads tls-ciphers, names of OpenSSL for TLS up to 1.2. Names that
// crypto/tls does not have are passed over; if none is left its choice stands.
func cipherSuites(text string) (ids []uint16) {
	known := map[string]uint16{
		"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
		"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	}
	for _, name := range strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ' ' || r == ',' }) {
		if id, ok := known[name]; ok {
			ids = append(ids, id)
		}
	}
	return ids
}
