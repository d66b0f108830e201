package slotmove

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/resp"
)

// dial connects to a node.
func (m *Mover) dial(ctx context.Context, node string, limit time.Duration) (net.Conn, error) {
	n, ok := m.o.Cluster.Node(node)
	if !ok {
		return nil, errors.New("the node is not known any more")
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return m.o.Dial(ctx, n.Host, n.Port)
}

// auth is the command by which nodes introduce themselves, nil if none is needed.
func (m *Mover) auth() []byte {
	s := m.o.Settings()
	args := resp.AuthArgs(s.User, s.Password)
	if args == nil {
		return nil
	}
	return resp.AppendCommandStrings(nil, args...)
}

// ask puts a question to a node over a connection of its own and returns the word that
// it answers; anything but one that is expected means to ask again.
func (m *Mover) ask(ctx context.Context, node string, question *Msg) string {
	nc, err := m.dial(ctx, node, askTime)
	if err != nil {
		return ""
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(askTime))
	cmd := m.auth()
	lines := 1
	if cmd != nil {
		lines = 2
	}
	if _, err := nc.Write(question.Append(cmd)); err != nil {
		return ""
	}
	rd := bufio.NewReader(nc)
	line := ""
	for range lines {
		if line, err = rd.ReadString('\n'); err != nil {
			return ""
		}
	}
	return strings.TrimSuffix(strings.TrimPrefix(line, "+"), "\r\n")
}

const askTime = 500 * time.Millisecond
