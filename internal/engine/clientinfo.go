package engine

import (
	"strconv"
	"time"
)

// What CLIENT LIST shows of other sessions is read from where they publish it:
// atomics, fields under their mutex, the connection, and the subscriptions,
// which change under the lock of pubsub only.

// typeName is the client's type as CLIENT LIST TYPE and KILL TYPE take it; any
// goroutine.
func (s *Session) typeName() string {
	st := s.state.Load()
	switch {
	case st>>16&specialPrimary != 0:
		return "master"
	case st&flagReplica != 0:
		return "replica"
	case st>>16&specialSub != 0:
		return "pubsub"
	}
	return "normal"
}

// userName is User for any goroutine.
func (s *Session) userName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.user
}

// appendFlags appends the letters of the flags field.
func (s *Session) appendFlags(dst []byte) []byte {
	n := len(dst)
	st := s.state.Load()
	special := st >> 16
	track := s.track.options.Load()
	for _, f := range []struct {
		on     bool
		letter byte
	}{
		{st&flagReplica != 0, 'S'},
		{st&flagMonitor != 0, 'O'},
		{special&specialPrimary != 0, 'M'},
		{special&specialSub != 0, 'P'},
		{s.queued.Load() >= 0, 'x'},
		{s.Parked(), 'b'},
		{track != nil, 't'},
		{track != nil && s.track.broken.Load(), 'R'},
		{track != nil && track.bcast, 'B'},
		{s.multi.casDirty.Load(), 'd'},
		{s.kill.Load(), 'A'},
		{s.conn.Unix(), 'U'},
		{st&flagReadOnly != 0, 'r'},
		{st&flagNoEvict != 0, 'e'},
		{st&flagNoTouch != 0, 'T'},
	} {
		if f.on {
			dst = append(dst, f.letter)
		}
	}
	if len(dst) == n {
		dst = append(dst, 'N')
	}
	return dst
}

// appendInfo appends the line of CLIENT LIST about s, without the line end. me
// is the session that asks, whose goroutine this is.
func (s *Session) appendInfo(dst []byte, me *Session) []byte {
	num := func(name string, n int64) {
		dst = append(dst, ' ')
		dst = append(dst, name...)
		dst = append(dst, '=')
		dst = strconv.AppendInt(dst, n, 10)
	}
	text := func(name, v string) {
		dst = append(dst, ' ')
		dst = append(dst, name...)
		dst = append(dst, '=')
		dst = append(dst, v...)
	}
	now := s.e.Now()
	used, capacity := s.conn.QueryBuffer()
	out := int64(s.conn.OutputPending())
	queuedSize := s.queuedSize.Load()
	idle := max(0, now-s.active.Load())
	cmd, argv := "NULL", int64(0)
	if spec := s.lastCmd.Load(); spec != nil {
		cmd = spec.Full
	}
	if s == me {
		cmd, idle = s.ctx.Spec.Full, 0
		for _, a := range s.ctx.Argv {
			argv += int64(len(a))
		}
	}
	s.e.pubsub.mu.RLock()
	sub, psub, ssub := len(s.sub.channels), len(s.sub.patterns), len(s.sub.shard)
	s.e.pubsub.mu.RUnlock()
	s.mu.Lock()
	name, libName, libVer, user := s.name, s.libName, s.libVer, s.user
	s.mu.Unlock()
	if s.IsPrimary() {
		user = "(superuser)"
	}
	redir := int64(-1)
	if t := s.track.options.Load(); t != nil {
		redir = t.redirect
	}
	resp := int64(2)
	if s.proto3.Load() {
		resp = 3
	}
	events := "r"
	if out > 0 {
		events = "rw"
	}
	chunks := int64(0)
	if out > 0 {
		chunks = 1
	}

	dst = append(dst, "id="...)
	dst = strconv.AppendInt(dst, s.ID, 10)
	text("addr", s.conn.RemoteAddr())
	text("laddr", s.conn.LocalAddr())
	num("fd", int64(s.conn.FD()))
	text("name", name)
	num("age", max(0, int64(time.Since(s.conn.Created())/time.Second)))
	num("idle", idle/1000)
	dst = append(dst, " flags="...)
	dst = s.appendFlags(dst)
	num("db", int64(s.sdb.Load()))
	num("sub", int64(sub))
	num("psub", int64(psub))
	num("ssub", int64(ssub))
	num("multi", int64(s.queued.Load()))
	num("qbuf", int64(used))
	num("qbuf-free", int64(capacity-used))
	num("argv-mem", argv)
	num("multi-mem", queuedSize)
	num("rbs", s.replyBuffer.Load())
	num("rbp", s.replyBuffer.Load())
	num("obl", 0)
	num("oll", chunks)
	num("omem", out)
	num("tot-mem", s.MemUsed()+argv)
	text("events", events)
	text("cmd", cmd)
	text("user", user)
	num("redir", redir)
	num("resp", resp)
	text("lib-name", libName)
	text("lib-ver", libVer)
	return dst
}
