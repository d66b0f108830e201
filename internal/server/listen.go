package server

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"sync"

	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/netio"
)

// listeners are where the node takes connections. CONFIG SET may move the ports.
type listeners struct {
	mu      sync.Mutex
	open    bool         // Run has come that far
	tcp     *netio.Group // nil: no plain port
	tls     *netio.Group // nil: no TLS port
	port    int64        // of tcp
	tlsPort int64        // of tls
	bind    []string
}

func (s *Server) listen() error {
	if s.reloadTLS() != nil {
		return errTLS
	}
	l := &s.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	c := s.Config
	if err := s.listenTCP(c.Port.Get(), c.TLSPort.Get(), c.Bind.Get()); err != nil {
		return err
	}
	l.open = true
	if path := c.UnixSocket.Get(); path != "" {
		if _, err := s.net.ListenUnix(path, fs.FileMode(c.UnixSocketPerm.Get())); err != nil {
			return err
		}
	}
	return nil
}

// listenTCP opens the plain port and the TLS port, neither if it is 0; l.mu is
// held. After an error none is open.
func (s *Server) listenTCP(port, tlsPort int64, bind []string) error {
	open := func(port int64, conf func() *tls.Config) (*netio.Group, error) {
		if port == 0 {
			return nil, nil
		}
		return s.net.ListenTCP(bind, int(port), int(s.Config.TCPBacklog.Get()), conf)
	}
	plain, err := open(port, nil)
	if err != nil {
		return err
	}
	secure, err := open(tlsPort, s.clientTLS)
	if err != nil {
		if plain != nil {
			plain.Close()
		}
		return err
	}
	l := &s.listeners
	l.tcp, l.tls, l.port, l.tlsPort, l.bind = plain, secure, port, tlsPort, bind
	return nil
}

// relisten follows changes of ports and bind; connections stay. The old
// listeners close first, since the new ones may be for the same addresses, and
// open again if the new ones fail.
func (s *Server) relisten(changes []config.Change) error {
	l := &s.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return nil
	}
	for _, g := range []*netio.Group{l.tcp, l.tls} {
		if g != nil {
			g.Close()
		}
	}
	err := s.listenTCP(s.Config.Port.Get(), s.Config.TLSPort.Get(), s.Config.Bind.Get())
	if err == nil {
		return nil
	}
	s.Log.Warn("Cannot listen on the new addresses", "err", err)
	if err := s.listenTCP(l.port, l.tlsPort, l.bind); err != nil {
		s.Log.Warn("Cannot listen on the old addresses any more", "err", err)
	}
	for _, ch := range changes {
		if ch.Name == "port" || ch.Name == "tls-port" {
			return errors.New("Unable to listen on this port. Check server logs.")
		}
	}
	return errors.New("Failed to bind to specified addresses.")
}
