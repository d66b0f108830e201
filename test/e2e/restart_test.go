package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/test/proc"
)

// All six nodes end at once and start again: nodes.conf and the saved data bring
// the cluster back, same ids, roles and data, without help. Once by kill -9
// after SAVE, once by SIGTERM with save points.
func TestRestartOfAll(t *testing.T) {
	for _, how := range []string{"kill after SAVE", "SIGTERM with save points"} {
		t.Run(how, func(t *testing.T) {
			kill := how == "kill after SAVE"
			var args []string
			if !kill {
				args = []string{"--save", "3600", "1"}
			}
			c := proc.StartCluster(t, 3, 1, args...)
			fill(t, c)
			type state struct {
				peer   proc.Peer
				digest string
			}
			before := map[*proc.Node]state{}
			for _, p := range c.Primaries() {
				for _, r := range c.Replicas(p) {
					proc.WaitInStep(t, p, r)
				}
			}
			for _, n := range c.Nodes {
				before[n] = state{n.Myself(), n.Digest()}
				if kill {
					n.Must("SAVE")
				}
			}
			for _, n := range c.Nodes {
				if kill {
					n.Kill()
				} else {
					n.Stop()
				}
			}
			for _, n := range c.Nodes {
				out, err := proc.Run(t, proc.Patience, "", "redis-check-rdb", n.Path("dump.rdb"))
				if err != nil || !strings.Contains(out, "RDB looks OK") {
					t.Errorf("redis-check-rdb of %s: %v\n%s", n, err, out)
				}
			}
			for _, n := range c.Nodes {
				n.Launch()
			}
			for _, n := range c.Nodes {
				n.WaitReady()
			}
			c.WaitHealthy(proc.Patience)
			for _, n := range c.Nodes {
				was, is := before[n], n.Myself()
				if is.ID != was.peer.ID || is.Primary != was.peer.Primary || strings.Join(is.Flags, ",") != strings.Join(was.peer.Flags, ",") || strings.Join(is.Slots, " ") != strings.Join(was.peer.Slots, " ") {
					t.Errorf("%s was %+v, is %+v", n, was.peer, is)
				}
				if got := n.Digest(); got != was.digest {
					t.Errorf("%s: digest %s before, %s after, DBSIZE %s", n, was.digest, got, n.Text("DBSIZE"))
				}
			}
			for _, p := range c.Primaries() {
				for _, r := range c.Replicas(p) {
					proc.WaitInStep(t, p, r)
				}
			}
		})
	}
}

// fill puts values of all types, small and large, some with expiry, into every
// shard.
func fill(t *testing.T, c *proc.Cluster) {
	t.Helper()
	for _, n := range c.Primaries() {
		var tag string
		for _, candidate := range shardTags {
			if _, err := n.Do("EXISTS", "{"+candidate+"}"); err == nil {
				tag = "{" + candidate + "}"
			}
		}
		fillNode(t, n, tag)
	}
}

func fillNode(t *testing.T, n *proc.Node, tag string) {
	t.Helper()
	n.Must("SET", tag+"int", "12345")
	n.Must("SET", tag+"embstr", "short")
	n.Must("SET", tag+"raw", strings.Repeat("0123456789", 2000))
	n.Must("SET", tag+"binary", "\x00\xff\r\n")
	n.Must("SET", tag+"ttl", "v", "EX", "10000")
	large := 2000
	if testing.Short() {
		large = 600 // above all limits of the small encodings
	}
	for _, size := range []int{3, large} {
		for _, kind := range []struct {
			command string
			args    func(i int) []any
		}{
			{"RPUSH", func(i int) []any { return []any{fmt.Sprintf("element-%d", i)} }},
			{"SADD", func(i int) []any { return []any{fmt.Sprintf("member-%d", i)} }},
			{"SADD", func(i int) []any { return []any{strconv.Itoa(i * 7)} }},
			{"HSET", func(i int) []any { return []any{fmt.Sprintf("field-%d", i), strings.Repeat("v", i%90)} }},
			{"ZADD", func(i int) []any { return []any{strconv.FormatFloat(float64(i)/8, 'g', -1, 64), fmt.Sprintf("m%d", i)} }},
		} {
			args := []any{kind.command, fmt.Sprintf("%s%s-%d-%v", tag, kind.command, size, kind.args(1)[0])}
			for i := range size {
				args = append(args, kind.args(i)...)
			}
			if _, err := n.Do(args...); err != nil {
				if strings.HasPrefix(err.Error(), "ERR unknown command") {
					t.Logf("%s is not built yet", kind.command)
					continue
				}
				t.Fatalf("%s: %v", kind.command, err)
			}
		}
	}
	if _, err := n.Client().Pipelined(context.Background(), func(p redis.Pipeliner) error {
		for i := range 2000 {
			p.Set(context.Background(), fmt.Sprintf("%smany:%d", tag, i), i, 0)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
