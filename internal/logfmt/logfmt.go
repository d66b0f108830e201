// Package logfmt writes slog records in the line formats of Redis and Valkey,
// which log shippers parse and operators know:
//
//	7979:M 22 Nov 2026 20:42:25.763 * Ready to accept connections addr=127.0.0.1:7000
//	|    | |                        | message                      attributes
//	pid  | local time               level: . debug, - verbose, * notice, # warning
//	     role: M primary, S replica, C starting up, X sentinel
//
// A Sink is where the lines of one process go and how they look; all of it may
// be changed while loggers are in use. What is worth a line is for the callers
// to know. Everything may be called from any goroutine.
package logfmt

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Levels of slog as Redis names them; slog.LevelError is a warning too.
const (
	Debug   = slog.LevelDebug
	Verbose = slog.Level(-2)
	Notice  = slog.LevelInfo
	Warning = slog.LevelWarn
	Nothing = slog.Level(100) // above every record
)

// Format is the setting log-format.
type Format int32

const (
	Legacy Format = iota // as drawn above
	Logfmt               // pid=1 role=primary timestamp="..." level=notice message="..." key=value
)

// Timestamp is the setting log-timestamp-format.
type Timestamp int32

const (
	LegacyTime   Timestamp = iota // 22 Nov 2026 20:42:25.763
	ISO8601                       // 2026-11-22T20:42:25.763+01:00
	Milliseconds                  // 1795380145763
)

// Role is the letter of what the process is.
type Role byte

const (
	Primary  Role = 'M'
	Replica  Role = 'S'
	Starting Role = 'C'
	Sentinel Role = 'X'
)

// Sink receives the lines of all loggers made from it.
type Sink struct {
	role      atomic.Uint32
	level     atomic.Int64
	format    atomic.Int32
	timestamp atomic.Int32
	pid       int
	now       func() time.Time

	mu   sync.Mutex
	file string    // opened anew for every line, so that the file may be renamed or deleted at any time
	out  io.Writer // used while file is ""
	buf  []byte
}

// New returns a sink of level notice that writes to out.
func New(out io.Writer) *Sink {
	s := &Sink{pid: os.Getpid(), now: time.Now, out: out}
	s.SetRole(Starting)
	return s
}

// Logger returns a logger that writes to s.
func (s *Sink) Logger() *slog.Logger { return slog.New(&handler{sink: s}) }

// SinkOf returns the sink behind a logger, nil if the logger is none of ours:
// for whoever holds the logger and learns that the role has changed.
func SinkOf(l *slog.Logger) *Sink {
	if h, ok := l.Handler().(*handler); ok {
		return h.sink
	}
	return nil
}

// SetRole changes the letter of following lines.
func (s *Sink) SetRole(r Role) { s.role.Store(uint32(r)) }

// SetLevel drops following records below l.
func (s *Sink) SetLevel(l slog.Level) { s.level.Store(int64(l)) }

// SetFormat changes the look of following lines.
func (s *Sink) SetFormat(f Format) { s.format.Store(int32(f)) }

// SetTimestamp changes the times of following lines.
func (s *Sink) SetTimestamp(t Timestamp) { s.timestamp.Store(int32(t)) }

// SetFile sends following lines to the end of a file, "" to the sink's writer.
// It tries to open the file; if that fails nothing changes. A file that later
// cannot be opened loses the lines: there is nowhere to complain.
func (s *Sink) SetFile(path string) error {
	if path != "" {
		f, err := openLog(path)
		if err != nil {
			return err
		}
		f.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file = path
	return nil
}

func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
}

// handler is a sink with what With and WithGroup added.
type handler struct {
	sink  *Sink
	attrs []byte // written already, each with a space in front
	group string // "a.b." before following keys
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return int64(l) >= h.sink.level.Load()
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	to := *h
	to.attrs = append([]byte(nil), h.attrs...)
	for _, a := range attrs {
		to.attrs = appendAttr(to.attrs, h.group, a)
	}
	return &to
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	to := *h
	to.group += name + "."
	return &to
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	s := h.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buf[:0]
	now := r.Time
	if now.IsZero() {
		now = s.now()
	}
	role, stamp := Role(s.role.Load()), Timestamp(s.timestamp.Load())
	if Format(s.format.Load()) == Logfmt {
		b = fmt.Appendf(b, "pid=%d role=%s timestamp=", s.pid, roleName(role))
		b = appendValue(b, string(appendTime(nil, now, stamp)))
		b = append(b, " level="...)
		_, name := levelNames(r.Level)
		b = append(b, name...)
		b = append(b, " message="...)
		b = strconv.AppendQuote(b, r.Message)
	} else {
		b = fmt.Appendf(b, "%d:%c ", s.pid, role)
		b = appendTime(b, now, stamp)
		letter, _ := levelNames(r.Level)
		b = append(b, ' ', letter, ' ')
		b = append(b, r.Message...)
	}
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.group, a)
		return true
	})
	b = append(b, '\n')
	s.buf = b
	if s.file == "" {
		_, err := s.out.Write(b)
		return err
	}
	f, err := openLog(s.file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(b)
	return err
}

func levelNames(l slog.Level) (letter byte, name string) {
	switch {
	case l < Verbose:
		return '.', "debug"
	case l < Notice:
		return '-', "info"
	case l < Warning:
		return '*', "notice"
	}
	return '#', "warning"
}

func roleName(r Role) string {
	switch r {
	case Primary:
		return "primary"
	case Replica:
		return "replica"
	case Sentinel:
		return "sentinel"
	}
	return "starting"
}

func appendTime(b []byte, t time.Time, f Timestamp) []byte {
	switch f {
	case ISO8601:
		return t.AppendFormat(b, "2006-01-02T15:04:05.000-07:00")
	case Milliseconds:
		return strconv.AppendInt(b, t.UnixMilli(), 10)
	}
	return t.AppendFormat(b, "02 Jan 2006 15:04:05.000")
}

// appendAttr writes " key=value", a group as its members.
func appendAttr(b []byte, group string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, m := range v.Group() {
			b = appendAttr(b, group, m)
		}
		return b
	}
	if a.Key == "" {
		return b
	}
	b = append(append(append(b, ' '), group...), a.Key...)
	b = append(b, '=')
	if v.Kind() == slog.KindTime {
		return v.Time().AppendFormat(b, time.RFC3339Nano)
	}
	return appendValue(b, v.String())
}

// appendValue quotes what would not read back as one word.
func appendValue(b []byte, s string) []byte {
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '=' || r == 0x7f || r == '\uFFFD'
	}) < 0
	if plain {
		return append(b, s...)
	}
	return strconv.AppendQuote(b, s)
}
