package migrate

import (
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
//	-> WAIT n slice, ROLE             if the target has replicas, until they have
//	                                  what was restored
//
// The keys are sent at once, then the replies are read. It holds no locks.
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
	return &conn{Conn: nc, rd: resp.NewReader(nc), addr: addr, db: unknownDB}, ""
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
	if m := t.m; m.opt.Replicas != nil && m.opt.Cluster && !t.r.copy && len(t.accepted) > 0 {
		if err := t.confirm(c); err != nil {
			t.accepted = nil
			return true, err, errRead
		}
	}
	return true, nil, ""
}

// confirmSlice is how long the target waits before the number of its replicas is
// looked at again, in milliseconds.
const confirmSlice = 200

// confirm waits until the target's replicas have what it took: those of them that
// are alive by what this node knows, and connected by what the target says.
// Without them the keys stay here.
func (t *transfer) confirm(c *conn) error {
	for end := time.Now().Add(t.r.timeout); ; {
		need := t.m.opt.Replicas.Of(t.r.host, t.r.port)
		if need == 0 {
			return nil
		}
		have, err := t.ask(c, "WAIT", strconv.Itoa(need), strconv.Itoa(confirmSlice))
		if err != nil {
			return err
		}
		if have.Err() != nil || have.Int >= int64(need) {
			return nil // or the user may not ask
		}
		role, err := t.ask(c, "ROLE")
		if err != nil {
			return err
		}
		if e := role.Elems; len(e) == 3 && e[2].Kind == resp.Array && have.Int >= int64(len(e[2].Elems)) {
			return nil
		}
		if !time.Now().Before(end) {
			t.accepted = nil
			if t.errText == "" {
				t.errText = errTarget + "NOREPLICAS Not enough good replicas to write."
			}
			return nil
		}
	}
}

// ask sends a command and returns the reply.
func (t *transfer) ask(c *conn, args ...string) (resp.Reply, error) {
	c.SetDeadline(time.Now().Add(t.r.timeout + confirmSlice*time.Millisecond))
	return c.rd.Do(c, args...)
}

var errLine = errors.New("migrate: the target's reply is no line of the protocol")

// readLine returns the next reply without its end; it is valid until the next.
func (t *transfer) readLine(c *conn) ([]byte, error) {
	c.SetReadDeadline(time.Now().Add(t.r.timeout))
	line, err := c.rd.Line()
	if err != nil {
		return nil, err
	}
	if len(line) == 0 || line[0] != '+' && line[0] != '-' {
		return nil, errLine
	}
	return line, nil
}
