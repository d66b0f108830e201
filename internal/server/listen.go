package server

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/netio"
)

// listeners are where the node takes connections. CONFIG SET may move the port.
type listeners struct {
	mu   sync.Mutex
	open bool         // Run has come that far
	tcp  *netio.Group // nil: no plain port
	port int64        // of tcp
	bind []string
}

func (s *Server) listen() error {
	l := &s.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	c := s.Config
	if err := s.listenTCP(c.Port.Get(), c.Bind.Get()); err != nil {
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

// listenTCP opens a plain port, none if port is 0; l.mu is held.
func (s *Server) listenTCP(port int64, bind []string) error {
	var g *netio.Group
	if port != 0 {
		var err error
		if g, err = s.net.ListenTCP(bind, int(port), int(s.Config.TCPBacklog.Get()), nil); err != nil {
			return err
		}
	}
	l := &s.listeners
	l.tcp, l.port, l.bind = g, port, bind
	return nil
}

// relisten follows changes of port and bind; connections stay. The old listeners
// close first, since the new ones may be for the same addresses, and open again
// if the new ones fail.
func (s *Server) relisten(changes []config.Change) error {
	l := &s.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return nil
	}
	if l.tcp != nil {
		l.tcp.Close()
	}
	err := s.listenTCP(s.Config.Port.Get(), s.Config.Bind.Get())
	if err == nil {
		return nil
	}
	s.Log.Warn("Cannot listen on the new addresses", "err", err)
	if err := s.listenTCP(l.port, l.bind); err != nil {
		s.Log.Warn("Cannot listen on the old addresses any more", "err", err)
	}
	for _, ch := range changes {
		if ch.Name == "port" {
			return errors.New("Unable to listen on this port. Check server logs.")
		}
	}
	return errors.New("Failed to bind to specified addresses.")
}
