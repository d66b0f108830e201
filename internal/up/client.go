package up

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Longest time to connect to a node on this machine, and for one reply.
const replyTimeout = 2 * time.Second

// client is a connection to one node. One goroutine uses it; after an error of
// the connection, as against one in a reply, it is done for.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

// replyError is an error reply.
type replyError string

func (e replyError) Error() string { return string(e) }

func dial(port int, auth string) (*client, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), replyTimeout)
	if err != nil {
		return nil, err
	}
	c := &client{conn, bufio.NewReader(conn)}
	if auth != "" {
		if _, err := c.do("AUTH", auth); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *client) close() { c.conn.Close() }

// do sends one command and returns its reply, which is text in all that is used
// here; an integer is its digits.
func (c *client) do(args ...string) (string, error) {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	c.conn.SetDeadline(time.Now().Add(replyTimeout))
	if _, err := c.conn.Write(b); err != nil {
		return "", err
	}
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 3 {
		return "", fmt.Errorf("up: bad reply %q", line)
	}
	body := line[1 : len(line)-2]
	switch line[0] {
	case '+', ':':
		return body, nil
	case '-':
		return "", replyError(body)
	case '$':
		n, err := strconv.Atoi(body)
		if err != nil || n < 0 || n > 64<<20 {
			return "", fmt.Errorf("up: bad reply %q", line)
		}
		text := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, text); err != nil {
			return "", err
		}
		return string(text[:n]), nil
	}
	return "", errors.New("up: reply is no text")
}
