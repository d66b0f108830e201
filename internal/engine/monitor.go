package engine

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

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

// feed shows a command to the monitors, before it runs.
func (m *monitors) feed(s *Session, spec *command.Spec, argv [][]byte, nowMs int64) {
	if spec == nil || spec.Flags&(command.SkipMonitor|command.Admin) != 0 {
		return
	}
	line := fmt.Appendf(nil, "+%d.%06d [%d %s]", nowMs/1000, nowMs%1000*1000, s.dbIndex, s.conn.RemoteAddr())
	for _, a := range argv {
		line = append(line, ' ')
		line = appendQuoted(line, a)
	}
	line = append(line, '\r', '\n')
	m.mu.Lock()
	defer m.mu.Unlock()
	for mon := range m.ss {
		if mon != s {
			mon.conn.Push(line)
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
	s.special |= specialMonitor
	s.flags |= flagMonitor
	s.e.monitors.add(s)
	s.publishState()
	c.OK()
}

// parseUint reads a decimal number, for the commands of this package.
func parseUint(b []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(b), 10, 64)
	return n, err == nil
}
