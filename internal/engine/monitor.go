package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeindb/skein/internal/command"
)

// monitors are the sessions in MONITOR. The lock is a leaf.
type monitors struct {
	n  atomic.Int32
	mu sync.Mutex
	ss map[*Session]struct{}
}

func (m *monitors) add(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ss == nil {
		m.ss = map[*Session]struct{}{}
	}
	m.ss[s] = struct{}{}
	m.n.Store(int32(len(m.ss)))
}

func (m *monitors) remove(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ss, s)
	m.n.Store(int32(len(m.ss)))
}

// feed shows a command that has run to the monitors. Commands of operators stay
// hidden, and so do secrets.
func (m *monitors) feed(s *Session, spec *command.Spec, argv [][]byte) {
	if spec != nil && spec.Flags&(command.SkipMonitor|command.Admin) == 0 {
		m.show(s, spec, argv, false)
	}
}

// MonitorScript shows the command that calls a script to MONITOR, before the
// calls of the script, and MonitorCall one of those. The session's goroutine.
func (s *Session) MonitorScript(c *command.Ctx) {
	if s.e.monitors.n.Load() != 0 {
		s.e.monitors.show(s, c.Spec, c.Argv, false)
	}
}
func (s *Session) MonitorCall(spec *command.Spec, argv [][]byte) {
	if s.e.monitors.n.Load() != 0 && spec.Flags&(command.SkipMonitor|command.Admin) == 0 {
		s.e.monitors.show(s, spec, argv, true)
	}
}

func (m *monitors) show(s *Session, spec *command.Spec, argv [][]byte, fromScript bool) {
	now := time.Now().UnixMicro()
	addr := s.conn.RemoteAddr()
	if fromScript {
		addr = "lua"
	} else if s.conn.Unix() {
		addr = "unix:" + strings.TrimSuffix(addr, ":0")
	}
	line := fmt.Appendf(nil, "+%d.%06d [%d %s]", now/1e6, now%1e6, s.dbIndex, addr)
	for _, a := range redact(spec, argv) {
		line = append(line, ' ')
		line = appendQuoted(line, a)
	}
	line = append(line, '\r', '\n')
	m.mu.Lock()
	defer m.mu.Unlock()
	for mon := range m.ss {
		if mon != s {
			mon.push(line)
		}
	}
}

// appendQuoted appends an argument in double quotes, with C escapes.
func appendQuoted(dst, b []byte) []byte {
	dst = append(dst, '"')
	for _, c := range b {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\a':
			dst = append(dst, '\\', 'a')
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c < ' ' || c > '~':
			dst = append(dst, '\\', 'x')
			const hex = "0123456789abcdef"
			dst = append(dst, hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func monitorRun(c *command.Ctx) {
	s := SessionOf(c)
	if s.multi.running {
		c.Error("ERR MONITOR isn't allowed for DENY BLOCKING client")
		return
	}
	s.holdPushesNow()
	s.special |= specialMonitor
	s.flags |= flagMonitor
	s.e.monitors.add(s)
	s.publishState()
	c.OK()
}

var redacted = []byte("(redacted)")

// redact returns argv as it may be shown in MONITOR and SLOWLOG: without
// passwords.
func redact(spec *command.Spec, argv [][]byte) [][]byte {
	hide := func(from, to int) [][]byte {
		out := slices.Clone(argv)
		for i := from; i < min(to, len(out)); i++ {
			out[i] = redacted
		}
		return out
	}
	switch spec.Full {
	case "auth":
		return hide(1, len(argv))
	case "hello":
		for i := 2; i < len(argv); i++ {
			switch {
			case command.Word(argv[i], "auth"):
				return hide(i+1, i+3)
			case command.Word(argv[i], "setname"):
				i++
			}
		}
	case "migrate":
		for i := 6; i < len(argv); i++ {
			switch {
			case command.Word(argv[i], "auth"):
				return hide(i+1, i+2)
			case command.Word(argv[i], "auth2"):
				return hide(i+1, i+3)
			case command.Word(argv[i], "keys"):
				return argv
			}
		}
	case "config|set":
		for i := 2; i+1 < len(argv); i += 2 {
			switch strings.ToLower(string(argv[i])) {
			case "requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass":
				argv = hide(i+1, i+2)
			}
		}
	case "acl|setuser":
		return hide(2, len(argv))
	}
	return argv
}
