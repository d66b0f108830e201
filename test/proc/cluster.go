package proc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// NodeTimeout of the clusters made here.
const NodeTimeout = 2 * time.Second

// Cluster is a set of nodes that redis-cli made one cluster.
type Cluster struct {
	Nodes []*Node
	t     testing.TB
}

// ClusterArgs are the directives of a cluster node.
func ClusterArgs(more ...string) []string {
	return append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", strconv.FormatInt(NodeTimeout.Milliseconds(), 10),
		"--repl-diskless-sync-delay", "0"}, more...)
}

// StartCluster starts primaries x (1 + replicas) nodes and makes a cluster of
// them by the unmodified "redis-cli --cluster create".
func StartCluster(t testing.TB, primaries, replicas int, args ...string) *Cluster {
	t.Helper()
	programs := slices.Repeat([]Program{Skein(t)}, primaries*(1+replicas))
	return StartClusterOf(t, programs, replicas, args...)
}

// StartClusterOf is StartCluster with a program for every node.
func StartClusterOf(t testing.TB, programs []Program, replicas int, args ...string) *Cluster {
	t.Helper()
	Tool(t, "redis-cli")
	c := &Cluster{t: t}
	for _, p := range programs {
		c.Nodes = append(c.Nodes, NewNode(t, p, ClusterArgs(args...)...))
	}
	for _, n := range c.Nodes {
		n.Launch()
	}
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	create := []string{"--cluster", "create"}
	for _, n := range c.Nodes {
		create = append(create, n.Addr())
	}
	create = append(create, "--cluster-replicas", strconv.Itoa(replicas), "--cluster-yes")
	out := c.Nodes[0].CLI(create...)
	if want := "[OK] All 16384 slots covered."; !strings.Contains(out, want) {
		t.Fatalf("redis-cli --cluster create does not say %q:\n%s", want, out)
	}
	// Its check at the end may come while the last replica is still being heard of.
	Wait(t, Patience, "agreement", func() string {
		want := "[OK] All nodes agree about slots configuration."
		if out := c.Nodes[0].CLI("--cluster", "check", c.Nodes[0].Addr()); !strings.Contains(out, want) {
			return out
		}
		return ""
	})
	c.WaitHealthy(Patience)
	return c
}

// A Peer is a line of CLUSTER NODES.
type Peer struct {
	ID      string
	Port    int
	Flags   []string
	Primary string // id, "-" for a primary
	Epoch   uint64 // configEpoch, of a replica that of its primary
	Link    bool
	Slots   []string
}

func (p Peer) Is(flag string) bool { return slices.Contains(p.Flags, flag) }

// Serves reports whether slot is among the node's.
func (p Peer) Serves(slot int) bool {
	for _, s := range p.Slots {
		first, last, isRange := strings.Cut(s, "-")
		lo, err := strconv.Atoi(first)
		hi := lo
		if isRange {
			hi, _ = strconv.Atoi(last)
		}
		if err == nil && slot >= lo && slot <= hi {
			return true
		}
	}
	return false
}

// SlotCount is how many slots the node serves.
func (p Peer) SlotCount() (n int) {
	for slot := range 16384 {
		if p.Serves(slot) {
			n++
		}
	}
	return n
}

// Peers is CLUSTER NODES as the node sees it.
func (n *Node) Peers() ([]Peer, error) {
	v, err := n.Do("CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	var peers []Peer
	for line := range strings.Lines(fmt.Sprint(v)) {
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("CLUSTER NODES: line %q", line)
		}
		host, _, _ := strings.Cut(f[1], "@")
		port, err := strconv.Atoi(host[strings.LastIndexByte(host, ':')+1:])
		if err != nil {
			return nil, fmt.Errorf("CLUSTER NODES: line %q: %w", line, err)
		}
		epoch, _ := strconv.ParseUint(f[6], 10, 64)
		peers = append(peers, Peer{ID: f[0], Port: port, Flags: strings.Split(f[2], ","), Primary: f[3], Epoch: epoch, Link: f[7] == "connected", Slots: f[8:]})
	}
	return peers, nil
}

// Myself is the node's own line of CLUSTER NODES.
func (n *Node) Myself() Peer {
	n.t.Helper()
	peers, err := n.Peers()
	for _, p := range peers {
		if p.Is("myself") {
			return p
		}
	}
	n.t.Fatalf("%s: no line of its own in CLUSTER NODES: %v, %v", n, peers, err)
	return Peer{}
}

// IsPrimary reports the node's own opinion.
func (n *Node) IsPrimary() bool {
	n.t.Helper()
	return n.Myself().Is("master")
}

// ClusterInfo is CLUSTER INFO.
func (n *Node) ClusterInfo() (map[string]string, error) {
	v, err := n.Do("CLUSTER", "INFO")
	if err != nil {
		return nil, err
	}
	return fields(fmt.Sprint(v)), nil
}

// Healthy returns "" if every running node sees state ok, all running nodes
// without failure flags and with links, all replicas in step with primaries.
func (c *Cluster) Healthy() string {
	running := make(map[int]bool)
	for _, n := range c.Nodes {
		running[n.Port] = n.Running()
	}
	for _, n := range c.Nodes {
		if !n.Running() {
			continue
		}
		info, err := n.ClusterInfo()
		if err != nil {
			return fmt.Sprintf("%s: CLUSTER INFO: %v", n, err)
		}
		if info["cluster_state"] != "ok" || info["cluster_slots_ok"] != "16384" {
			return fmt.Sprintf("%s: state %s, slots ok %s", n, info["cluster_state"], info["cluster_slots_ok"])
		}
		peers, err := n.Peers()
		if err != nil {
			return fmt.Sprintf("%s: %v", n, err)
		}
		if len(peers) != len(c.Nodes) {
			return fmt.Sprintf("%s knows %d nodes of %d", n, len(peers), len(c.Nodes))
		}
		for _, p := range peers {
			if running[p.Port] && (p.Is("fail") || p.Is("fail?") || p.Is("handshake") || !p.Link && !p.Is("myself")) {
				return fmt.Sprintf("%s sees port %d as %v, link %v", n, p.Port, p.Flags, p.Link)
			}
			if p.Is("myself") && p.Is("slave") {
				text, err := n.Do("INFO", "replication")
				if err != nil {
					return fmt.Sprintf("%s: INFO: %v", n, err)
				}
				if info := fields(fmt.Sprint(text)); info["master_link_status"] != "up" {
					return fmt.Sprintf("%s: replica with master_link_status %q", n, info["master_link_status"])
				}
			}
		}
	}
	return ""
}

// WaitHealthy waits for Healthy.
func (c *Cluster) WaitHealthy(limit time.Duration) time.Duration {
	c.t.Helper()
	return Wait(c.t, limit, "cluster in order", c.Healthy)
}

// Primaries are the running nodes that are primaries by their own opinion.
func (c *Cluster) Primaries() (nodes []*Node) {
	c.t.Helper()
	for _, n := range c.Nodes {
		if n.Running() && n.IsPrimary() {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Replicas are the running replicas of a primary, by their own opinion.
func (c *Cluster) Replicas(primary *Node) (nodes []*Node) {
	c.t.Helper()
	id := primary.Myself().ID
	for _, n := range c.Nodes {
		if n != primary && n.Running() && n.Myself().Primary == id {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Client is a go-redis cluster client, closed at the test's end. It looks for a
// changed topology twice a second: by default it would keep calling a dead
// primary for a minute, since a refused connection does not make it look.
func (c *Cluster) Client() *redis.ClusterClient {
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addrs, DialTimeout: 500 * time.Millisecond, ReadTimeout: time.Second, WriteTimeout: time.Second,
		DialerRetries: 1, ClusterStateReloadInterval: 500 * time.Millisecond,
	})
	c.t.Cleanup(func() { client.Close() })
	return client
}

// WaitInStep waits until the replica has all of the primary's stream, however long
// as it comes nearer, and compares the data of the two. Nothing may write meanwhile.
func WaitInStep(t testing.TB, primary, replica *Node) {
	t.Helper()
	for far := true; far; {
		var at string
		start := time.Now()
		Wait(t, Patience, fmt.Sprintf("%s in step with %s", replica, primary), func() string {
			p, r := primary.Info("replication"), replica.Info("replication")
			off := r["slave_repl_offset"]
			far = r["master_link_status"] != "up" || off != p["master_repl_offset"]
			if at == "" {
				at = off
			}
			if !far || off != at && time.Since(start) > Patience/2 {
				return ""
			}
			return fmt.Sprintf("link %s, offset %s of %s", r["master_link_status"], off, p["master_repl_offset"])
		})
	}
	if p, r := primary.Digest(), replica.Digest(); p != r {
		t.Errorf("data differ: %s has digest %s, %s has %s; DBSIZE %s, %s", primary, p, replica, r, primary.Text("DBSIZE"), replica.Text("DBSIZE"))
		t.Logf("digests a moment later: %s, %s", primary.Digest(), replica.Digest())
		dbs := 16
		if primary.Info("cluster")["cluster_enabled"] == "1" {
			dbs = 1
		}
		CompareKeys(t, dbs, primary, replica)
	}
}
