package repl

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/resp"
)

// streamBuffer is what is read at once from a primary.
const streamBuffer = 64 << 10

// snapshot announces a full sync: what the primary said of it.
type snapshot struct {
	id  string // "" after SYNC: the stream has no name
	off int64
}

// errRefused is an answer that ends the handshake; the link is tried again.
var errRefused = errors.New("repl: the primary refused")

// line reads a line, passing over empty ones, which only say that the primary
// is alive. It is valid until the next read.
func (l *link) line() (string, error) {
	for {
		b, err := l.br.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if b = bytes.TrimRight(b, "\r\n"); len(b) > 0 {
			return string(b), nil
		}
	}
}

// handshake introduces us and asks for the stream. It returns nil when the
// stream continues, else the full sync that follows. Order and answers:
// replication protocol, "Handshake, replica side".
func (l *link) handshake(s *Settings) (*snapshot, error) {
	if l.send("PING") != nil {
		return nil, errClosed
	}
	l.r.slog.Info("MASTER <-> REPLICA sync started")
	text, err := l.line()
	if err != nil {
		return nil, fmt.Errorf("repl: answer to PING: %w", err)
	}
	if text[0] != '+' && !strings.HasPrefix(text, "-NOAUTH") && !strings.HasPrefix(text, "-NOPERM") && !strings.HasPrefix(text, "-ERR operation not permitted") {
		return nil, fmt.Errorf("%w: Error reply to PING from master: '%s'", errRefused, printable(text))
	}
	l.r.slog.Info("Master replied to PING, replication can continue...")

	// All of these are sent before the first answer is read.
	type step struct {
		what string
		must bool
	}
	var steps []step
	var out []byte
	add := func(what string, must bool, args ...string) {
		steps = append(steps, step{what, must})
		out = resp.AppendCommandStrings(out, args...)
	}
	if auth := resp.AuthArgs(s.User, s.Password); auth != nil {
		add("AUTH", true, auth...)
	}
	add("REPLCONF listening-port", false, "REPLCONF", "listening-port", strconv.Itoa(s.AnnouncePort))
	if s.AnnounceIP != "" {
		add("REPLCONF ip-address", false, "REPLCONF", "ip-address", s.AnnounceIP)
	}
	add("REPLCONF capa", false, "REPLCONF", "capa", "eof", "capa", "psync2")
	if l.r.o.Cluster {
		add("REPLCONF version", false, "REPLCONF", "version", slotVersion)
	}
	if err := l.write(out); err != nil {
		return nil, err
	}
	for _, st := range steps {
		text, err := l.line()
		if err != nil {
			return nil, fmt.Errorf("repl: answer to %s: %w", st.what, err)
		}
		if text[0] != '-' {
			continue
		}
		if st.must {
			l.r.slog.Warn("Unable to AUTH to MASTER: " + printable(text))
			return nil, errRefused
		}
		l.r.slog.Info("(Non critical) Master does not understand " + st.what + ": " + printable(text))
	}
	return l.psync()
}

func (l *link) send(args ...string) error {
	return l.write(resp.AppendCommandStrings(nil, args...))
}

// psync asks to go on where our history ends.
func (l *link) psync() (*snapshot, error) {
	f, log := l.f, l.r.log
	id, off, _, whole := log.place()
	args := []string{"PSYNC", "?", "-1"}
	if whole && !f.full {
		args = []string{"PSYNC", id, strconv.FormatInt(off+1, 10)}
		l.r.slog.Info(fmt.Sprintf("Trying a partial resynchronization (request %s:%d).", id, off+1))
	}
	if f.handed {
		args = append(args, "FAILOVER")
	}
	if err := l.send(args...); err != nil {
		return nil, err
	}
	text, err := l.line()
	if err != nil {
		return nil, fmt.Errorf("repl: answer to PSYNC: %w", err)
	}
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "+FULLRESYNC":
		next := &snapshot{}
		idText, offText, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseInt(offText, 10, 64)
		if len(idText) != 40 || err != nil || n < 0 {
			return nil, fmt.Errorf("%w: PSYNC answered %q", errRefused, printable(text))
		}
		next.id, next.off = strings.ToLower(idText), n
		l.r.slog.Info(fmt.Sprintf("Full resync from master: %s:%d", next.id, next.off))
		l.r.failoverDone(f)
		return next, nil
	case "+CONTINUE":
		if args[1] == "?" {
			return nil, fmt.Errorf("%w: PSYNC ? answered %q", errRefused, printable(text))
		}
		l.r.slog.Info("Successful partial resynchronization with master.")
		if newID := strings.ToLower(rest); len(newID) == 40 && log.rename(newID) {
			l.r.slog.Info("Master replication ID changed to " + newID)
			l.r.dropPeers()
		}
		log.setSynced(true)
		l.r.failoverDone(f)
		l.r.slog.Info("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.")
		return nil, nil
	}
	switch {
	case strings.HasPrefix(text, "-NOMASTERLINK"), strings.HasPrefix(text, "-LOADING"), strings.HasPrefix(text, "-MASTERDOWN"), strings.HasPrefix(text, "-BUSY"):
		return nil, fmt.Errorf("%w: Master is currently unable to PSYNC but should be in the future: %s", errRefused, printable(text))
	case f.handed:
		l.r.failoverRejected(f)
		return nil, fmt.Errorf("%w: PSYNC FAILOVER answered %s", errRefused, printable(text))
	case strings.HasPrefix(text, "-"):
		l.r.slog.Info("Master does not support PSYNC or is in error state (reply: " + printable(text) + ")")
		if err := l.write([]byte("SYNC\r\n")); err != nil {
			return nil, err
		}
		return &snapshot{}, nil
	}
	return nil, fmt.Errorf("%w: PSYNC answered %q", errRefused, printable(text))
}

// newStreamReader reads what was read too far, then the rest.
func newStreamReader(head []byte, rest io.Reader) *bufio.Reader {
	return bufio.NewReaderSize(io.MultiReader(bytes.NewReader(append([]byte(nil), head...)), rest), streamBuffer)
}
