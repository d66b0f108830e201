package up

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Pause between two looks at a node one waits for.
const pollPause = 20 * time.Millisecond

// await asks until ok returns "", or ctx ends; then the error has what was
// missing at last.
func await(ctx context.Context, what string, ok func() string) error {
	for {
		missing := ok()
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("up: %s: %s: %w", what, missing, ctx.Err())
		case <-time.After(pollPause):
		}
	}
}

// do asks node n, over a connection that is made again after an error.
func (c *Cluster) do(n *node, args ...string) (string, error) {
	if n.conn == nil {
		conn, err := dial(n.port, c.auth)
		if err != nil {
			return "", err
		}
		n.conn = conn
	}
	reply, err := n.conn.do(args...)
	if err != nil && !errors.As(err, new(replyError)) {
		n.conn.close()
		n.conn = nil
	}
	return reply, err
}

// A node that died this often before it ever answered will not come up.
const hopeless = 4

// answer waits until every node serves commands.
func (c *Cluster) answer(ctx context.Context) error {
	for _, n := range c.nodes {
		var failed error
		err := await(ctx, "start", func() string {
			if pid, starts := n.process(); pid == 0 && starts >= hopeless {
				failed = fmt.Errorf("up: node %d does not start; see the logs in %s", n.port, n.dir)
				return ""
			}
			if _, err := c.do(n, "PING"); err != nil {
				return fmt.Sprintf("node %d: %v", n.port, err)
			}
			return ""
		})
		if err := errors.Join(err, failed); err != nil {
			return err
		}
	}
	return nil
}

// form makes one cluster of the nodes as planned. It may be repeated after it
// was interrupted: what a node already is, is left alone.
func (c *Cluster) form(ctx context.Context) error {
	ids := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		view, err := c.view(n)
		if err != nil {
			return err
		}
		me := view.myself()
		ids[i] = me.id
		if i != n.primary || len(me.slots) > 0 || me.primary != "-" {
			continue
		}
		if len(view) == 1 { // epochs can be set only on a node alone
			if _, err := c.do(n, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
				return fmt.Errorf("up: node %d: SET-CONFIG-EPOCH: %w", n.port, err)
			}
		}
		if _, err := c.do(n, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(n.lo), strconv.Itoa(n.hi)); err != nil {
			return fmt.Errorf("up: node %d: ADDSLOTSRANGE: %w", n.port, err)
		}
	}
	// Introduced to everyone directly, nodes need not wait for gossip; in a
	// large cluster a few introductions each are enough.
	const friends = 8
	for i, n := range c.nodes {
		for j := i + 1; j < min(i+1+friends, len(c.nodes)); j++ {
			if _, err := c.do(n, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.nodes[j].port)); err != nil {
				return fmt.Errorf("up: node %d: MEET: %w", n.port, err)
			}
		}
	}
	err := await(ctx, "introduce nodes", func() string {
		for _, n := range c.nodes {
			view, err := c.view(n)
			if err != nil {
				return err.Error()
			}
			for i, id := range ids {
				if !slices.ContainsFunc(view, func(p peer) bool { return p.id == id && p.link }) {
					return fmt.Sprintf("node %d does not know node %d", n.port, c.nodes[i].port)
				}
			}
		}
		return ""
	})
	if err != nil {
		return err
	}
	for i, n := range c.nodes {
		if i == n.primary {
			continue
		}
		// The node may not have heard yet that its primary is one with slots.
		err := await(ctx, "replicate", func() string {
			if _, err := c.do(n, "CLUSTER", "REPLICATE", ids[n.primary]); err != nil {
				return fmt.Sprintf("node %d: %v", n.port, err)
			}
			return ""
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settle waits until every node agrees that the cluster is fine and every
// replica follows its primary, and prints a line for each node that is so far.
func (c *Cluster) settle(ctx context.Context) error {
	ready := make([]bool, len(c.nodes))
	return await(ctx, "form cluster", func() string {
		missing := ""
		for i, n := range c.nodes {
			if ready[i] {
				continue
			}
			me, why := c.ready(n)
			if why != "" {
				missing = why
				continue
			}
			ready[i] = true
			c.out.println("node %d ready: %s  id %s", n.port, me, me.id)
		}
		return missing
	})
}

// ready returns n's own view of itself, or why it is not ready.
func (c *Cluster) ready(n *node) (me peer, why string) {
	not := func(format string, args ...any) (peer, string) {
		return me, fmt.Sprintf("node %d ", n.port) + fmt.Sprintf(format, args...)
	}
	info, err := c.do(n, "CLUSTER", "INFO")
	if err != nil {
		return not("does not answer: %v", err)
	}
	if f := fields(info); f["cluster_state"] != "ok" || f["cluster_known_nodes"] != strconv.Itoa(len(c.nodes)) {
		return not("has state %s and knows %s nodes", f["cluster_state"], f["cluster_known_nodes"])
	}
	view, err := c.view(n)
	if err != nil {
		return not("does not answer: %v", err)
	}
	me = view.myself()
	if me.primary == "-" {
		return me, ""
	}
	repl, err := c.do(n, "INFO", "replication")
	if err != nil {
		return not("does not answer: %v", err)
	}
	if f := fields(repl); f["master_link_status"] != "up" {
		return not("has its link to the primary %s", f["master_link_status"])
	}
	return me, ""
}

// peer is a line of CLUSTER NODES.
type peer struct {
	id, addr, flags string
	primary         string // id, "-" for a primary
	link            bool   // connected
	slots           []string
}

func (p peer) String() string {
	switch {
	case p.primary != "-":
		return "replica of " + p.primary[:8]
	case len(p.slots) == 0:
		return "primary without slots"
	}
	return "primary of slots " + strings.Join(p.slots, " ")
}

type peers []peer

func (ps peers) myself() peer {
	for _, p := range ps {
		if strings.Contains(p.flags, "myself") {
			return p
		}
	}
	return peer{primary: "-"}
}

// view asks n how it sees the cluster.
func (c *Cluster) view(n *node) (peers, error) {
	text, err := c.do(n, "CLUSTER", "NODES")
	if err != nil {
		return nil, fmt.Errorf("up: node %d: CLUSTER NODES: %w", n.port, err)
	}
	var list peers
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 || len(f[0]) != 40 {
			return nil, fmt.Errorf("up: node %d: CLUSTER NODES: bad line %q", n.port, line)
		}
		list = append(list, peer{id: f[0], addr: f[1], flags: f[2], primary: f[3], link: f[7] == "connected", slots: f[8:]})
	}
	return list, nil
}

// fields reads the "name:value" lines of INFO and CLUSTER INFO.
func fields(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			m[name] = value
		}
	}
	return m
}
