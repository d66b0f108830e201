package bus

import (
	"context"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/resp"
)

// What the bus has no message for, nodes ask each other as clients.

// askTimeout is how long connecting and all of the talk may take.
const askTimeout = time.Second

// talk lets f speak to a node as a client that may do what replication may.
func (b *Bus) talk(ctx context.Context, n *cluster.NodeView, f func(do func(args ...string) (string, error)) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := b.opt.DialNode(ctx, n.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	r := resp.NewReader(conn)
	do := func(args ...string) (string, error) {
		reply, err := r.Do(conn, args...)
		if err == nil {
			err = reply.Err()
		}
		return reply.Text(), err
	}
	if auth := resp.AuthArgs(b.opt.NodeAuth()); auth != nil {
		if _, err := do(auth...); err != nil {
			return err
		}
	}
	return f(do)
}

// ownLine is the line of a reply of CLUSTER NODES that tells of the node that
// sent it, cut into its fields; nil if there is none.
func ownLine(table string) []string {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 2 && strings.Contains(f[2], "myself") {
			return f
		}
	}
	return nil
}
