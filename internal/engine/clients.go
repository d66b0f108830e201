package engine

import (
	"net"
	"slices"
	"sync"
)

// clients are the open sessions.
type clients struct {
	mu   sync.Mutex
	byID map[int64]*Session
}

func (c *clients) init() { c.byID = map[int64]*Session{} }

func (c *clients) add(s *Session) {
	s.ID = s.e.lastID.Add(1)
	c.mu.Lock()
	c.byID[s.ID] = s
	c.mu.Unlock()
}

func (c *clients) remove(s *Session) {
	c.mu.Lock()
	delete(c.byID, s.ID)
	c.mu.Unlock()
}

// Clients returns the open sessions by id.
func (e *Engine) Clients() []*Session {
	e.clients.mu.Lock()
	out := make([]*Session, 0, len(e.clients.byID))
	for _, s := range e.clients.byID {
		out = append(out, s)
	}
	e.clients.mu.Unlock()
	slices.SortFunc(out, func(a, b *Session) int { return int(a.ID - b.ID) })
	return out
}

// Client returns the session with the given id, nil if there is none.
func (e *Engine) Client(id int64) *Session {
	e.clients.mu.Lock()
	defer e.clients.mu.Unlock()
	return e.clients.byID[id]
}

// ClientCount returns the number of open sessions.
func (e *Engine) ClientCount() int {
	e.clients.mu.Lock()
	defer e.clients.mu.Unlock()
	return len(e.clients.byID)
}

// Name returns the name set with CLIENT SETNAME; any goroutine.
func (s *Session) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name
}

// User returns the name under which the client has logged in; its own goroutine
// only.
func (s *Session) User() string { return s.user }

// Local reports whether the client is on this machine: on a unix socket or on
// the loopback interface.
func (s *Session) Local() bool {
	if s.conn.Unix() {
		return true
	}
	host, _, err := net.SplitHostPort(s.conn.RemoteAddr())
	return err == nil && (host == "127.0.0.1" || host == "::1")
}

// Kill closes the connection from any goroutine, at once.
func (s *Session) Kill() {
	s.kill.Store(true)
	s.conn.Close()
}

// publishState copies what CLIENT LIST shows of the session's own state to
// where other goroutines may read it.
func (s *Session) publishState() {
	s.sdb.Store(int32(s.dbIndex))
	s.proto3.Store(s.out.Proto == 3)
	s.state.Store(s.flags | s.special<<16)
}

// Library returns the client library's name as CLIENT SETINFO has told it; any
// goroutine.
func (s *Session) Library() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.libName
}
