package proc

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Raw is a connection that shows replies as they are on the wire: every value
// with its type, maps in their order. It belongs to one goroutine.
type Raw struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// Raw connects to the node and chooses a protocol, 2 or 3. The connection is
// closed at the test's end.
func (n *Node) Raw(proto int) *Raw {
	n.t.Helper()
	conn, err := net.DialTimeout("tcp", n.Addr(), Patience)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	r := &Raw{t: n.t, conn: conn, r: bufio.NewReader(conn)}
	if proto == 3 {
		r.Do("HELLO", "3")
	}
	return r
}

// Do runs a command and returns its reply: simple values as on the wire, of
// strings the type and the text in quotes, of aggregates the type and the
// elements in brackets, pairs joined by "=".
func (r *Raw) Do(args ...string) string {
	r.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	r.conn.SetDeadline(time.Now().Add(Patience))
	if _, err := io.WriteString(r.conn, b.String()); err != nil {
		r.t.Fatalf("%q: %v", args, err)
	}
	return r.Reply()
}

// Reply reads one reply.
func (r *Raw) Reply() string {
	r.t.Helper()
	reply, err := r.reply()
	if err != nil {
		r.t.Fatalf("reply: %v", err)
	}
	return reply
}

func (r *Raw) reply() (string, error) {
	line, err := r.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	kind := line[:1]
	switch kind {
	case "+", "-", ":", ",", "#", "(", "_":
		return line, nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil {
		return "", fmt.Errorf("header %q", line)
	}
	if n < 0 {
		return line, nil
	}
	if kind == "$" || kind == "=" {
		text := make([]byte, n+2)
		if _, err := io.ReadFull(r.r, text); err != nil {
			return "", err
		}
		return kind + strconv.Quote(string(text[:n])), nil
	}
	var parts []string
	for range n {
		part, err := r.reply()
		if err != nil {
			return "", err
		}
		if kind == "%" {
			value, err := r.reply()
			if err != nil {
				return "", err
			}
			part += "=" + value
		}
		parts = append(parts, part)
	}
	return kind + "[" + strings.Join(parts, ", ") + "]", nil
}
