package bus

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/store"
)

var idleNodes = flag.Int("idle-nodes", 0, "nodes of TestIdle, which measures; 0 leaves it out")

// TestIdle measures what the bus of an idle cluster costs: nodes with real
// sockets in this process, default settings, first each alone, then as one
// cluster of primaries.
func TestIdle(t *testing.T) {
	if *idleNodes == 0 {
		t.Skip("no measurement without -idle-nodes 100")
	}
	nodes := make([]*node, *idleNodes)
	for i := range nodes {
		nodes[i] = newNodeWith(t, func(o *Options) {
			own := o.Settings
			o.Settings = func() cluster.Settings {
				s := own()
				s.NodeTimeout = cluster.DefaultSettings().NodeTimeout
				return s
			}
		})
	}
	const window = 30 * time.Second // four rounds of pings
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	sent := func() (total int) {
		for _, n := range nodes {
			_, rest, _ := strings.Cut(n.client().do("CLUSTER INFO"), "cluster_stats_messages_sent:")
			k, err := strconv.Atoi(rest[:strings.IndexByte(rest, '\r')])
			if err != nil {
				t.Fatal(err)
			}
			total += k
		}
		return total
	}
	measure := func(what string) {
		c, s, began := cpu(), sent(), time.Now()
		time.Sleep(window) // it is this time that is measured
		took := time.Since(began)
		per := float64(len(nodes)) * took.Seconds()
		t.Logf("%d nodes, %s: %.3f%% of a core and %.1f messages sent a second each",
			len(nodes), what, 100*(cpu()-c).Seconds()/per, float64(sent()-s)/per)
	}
	measure("each alone")
	for i, n := range nodes {
		if i > 0 {
			nodes[0].is(fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", n.port-10000, n.port), "+OK\r\n")
		}
		n.is(fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*store.Slots/len(nodes), (i+1)*store.Slots/len(nodes)-1), "+OK\r\n")
	}
	apart := func() int {
		for i, n := range nodes {
			if v := n.View(); v.State != cluster.StateOK || len(v.Nodes) != len(nodes) {
				return i
			}
		}
		return -1
	}
	for end := time.Now().Add(5 * time.Minute); apart() >= 0; time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatalf("node %d does not see the cluster:\n%s", apart(), nodes[apart()].NodesText(false))
		}
	}
	time.Sleep(time.Duration(cluster.DefaultSettings().NodeTimeout) * time.Millisecond) // until the pings are spread out
	agree(t, nodes...)
	measure("one cluster")
}
