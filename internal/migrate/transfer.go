package migrate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/skeindb/skein/internal/resp"
)

// transfer is one conversation with a target:
//
//	-> AUTH [user] password           if asked for
//	-> SELECT db                      unless the connection is on it already
//	-> RESTORE key ttl payload [REPLACE]   for each key
//	<- a line for each
//
// All is sent at once, then the replies are read. It holds no locks.
type transfer struct {
	m       *Migrator
	r       *request
	name    []byte // RESTORE or RESTORE-ASKING
	args    []int  // positions of the keys in body, in order
	body    []byte // the RESTOREs
	scratch []byte

	accepted []int  // positions of the keys that were restored
	errText  string // what went wrong first
}

// chunk is how many bytes are written under one deadline.
const chunk = 64 << 10

// run sends the request and fills accepted and errText. A connection that fails
// before it has answered anything, as a kept one may because the target closed
// it long ago, is replaced once, unless time ran out.
func (t *transfer) run() {
	for retry := true; ; retry = false {
		c, errText := t.connect()
		if errText != "" {
			t.errText = errText
			return
		}
		answered, err, errText := t.talk(c)
		if err == nil {
			t.m.conns.put(c)
			return
		}
		c.Close()
		if retry && !answered && !timedOut(err) {
			continue
		}
		t.errText = errText
		return
	}
}

func timedOut(err error) bool {
	var e net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &e) && e.Timeout()
}

// connect takes a kept connection or opens one. A refusal is reported as Redis
// does, which finds out only when it writes.
func (t *transfer) connect() (c *conn, errText string) {
	addr := net.JoinHostPort(t.r.host, t.r.port)
	if c := t.m.conns.take(addr); c != nil {
		return c, ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.r.timeout)
	defer cancel()
	nc, err := t.m.opt.Dial(ctx, t.r.host, t.r.port)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, errWrite
	case err != nil:
		return nil, errConnect
	}
	return &conn{Conn: nc, rd: bufio.NewReaderSize(nc, 4<<10), addr: addr, db: unknownDB}, ""
}

// talk holds the conversation over c. An err means that the connection is of no
// further use, errText is then the reply; answered reports whether the target had
// replied anything before.
func (t *transfer) talk(c *conn) (answered bool, err error, errText string) {
	var head []byte
	prelude := 0
	if r := t.r; r.auth {
		if r.user != nil {
			head = resp.AppendCommand(head, []byte("AUTH"), r.user, r.password)
		} else {
			head = resp.AppendCommand(head, []byte("AUTH"), r.password)
		}
		prelude++
	}
	if c.db != t.r.db {
		head = resp.AppendCommandStrings(head, "SELECT", strconv.FormatInt(t.r.db, 10))
		prelude++
	}
	for _, b := range [][]byte{head, t.body} {
		for len(b) > 0 {
			n := min(len(b), chunk)
			c.SetWriteDeadline(time.Now().Add(t.r.timeout))
			if _, err := c.Write(b[:n]); err != nil {
				return false, err, errWrite
			}
			b = b[n:]
		}
	}
	refused := false // AUTH or SELECT was
	for i := range prelude + len(t.args) {
		line, err := t.readLine(c)
		if err != nil {
			return i > 0, err, errRead
		}
		bad := line[0] == '-'
		if bad && t.errText == "" {
			t.errText = errTarget + string(line[1:])
		}
		switch {
		case i < prelude:
			refused = refused || bad
		case !bad && !refused:
			t.accepted = append(t.accepted, t.args[i-prelude])
		}
	}
	if c.db = t.r.db; t.errText != "" {
		c.db = unknownDB
	}
	return true, nil, ""
}

var errLine = errors.New("migrate: the target's reply is no line of the protocol")

// readLine returns the next reply without its end; it is valid until the next.
func (t *transfer) readLine(c *conn) ([]byte, error) {
	c.SetReadDeadline(time.Now().Add(t.r.timeout))
	line, err := c.rd.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 || line[0] != '+' && line[0] != '-' {
		return nil, errLine
	}
	return line, nil
}
