package engine

import (
	"slices"
	"unsafe"
)

// MemUsed returns the bytes that a connection takes: its session, buffers, queued
// transaction, and what it is subscribed to. Any goroutine.
func (s *Session) MemUsed() int64 {
	_, in := s.conn.QueryBuffer()
	return int64(unsafe.Sizeof(*s)) + int64(in) + int64(s.conn.OutputPending()) + s.queuedSize.Load() + s.replyBuffer.Load() + s.subSize.Load()
}

// EvictClients closes connections of clients, those that take most first, until all
// of them together take no more than limit bytes. Replicas, the link from the
// primary, and clients under CLIENT NO-EVICT are left alone; the latter count. It
// returns the number closed. No locks are held; O(connections).
func (e *Engine) EvictClients(limit int64) int {
	type client struct {
		s    *Session
		size int64
	}
	var sum int64
	var all []client
	e.clients.mu.Lock()
	for _, s := range e.clients.byID {
		if s.kill.Load() || s.IsReplica() || s.IsPrimary() {
			continue
		}
		n := s.MemUsed()
		sum += n
		if s.state.Load()&flagNoEvict == 0 {
			all = append(all, client{s, n})
		}
	}
	e.clients.mu.Unlock()
	if sum <= limit {
		return 0
	}
	slices.SortFunc(all, func(a, b client) int { return int(b.size - a.size) })
	n := 0
	for _, c := range all {
		if sum <= limit {
			break
		}
		e.Slog.Info("Evicting client", "client", c.s.conn.RemoteAddr(), "name", c.s.Name(), "bytes", c.size)
		c.s.Kill()
		e.Stats.EvictedClients.Add(1)
		sum -= c.size
		n++
	}
	return n
}
