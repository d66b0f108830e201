package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// Row 44. A replica cut off from its primary for longer than the limit of
// cluster-replica-validity-factor does not stand for election when the primary
// dies, however long that takes; with factor 0 any age will do.
func TestOldDataIsNotPromoted(t *testing.T) {
	c := proc.FormShards(t, []int{1, 0, 0}, "--cluster-node-timeout", "1000",
		"--cluster-replica-validity-factor", "1", "--repl-ping-replica-period", "1")
	primary, replica := c.Nodes[0], c.Nodes[3]
	primary.WaitSet("b", "v")
	proc.WaitInStep(t, primary, replica)
	// It may not come back: its password is none.
	primary.Must("CONFIG", "SET", "requirepass", "secret")
	primary.Must("CLIENT", "KILL", "TYPE", "replica")
	proc.Wait(t, proc.Patience, "the replica to be behind by 4 s", func() string { // the limit is 2 s
		i := replica.Info("replication")
		if n, err := strconv.Atoi(i["master_link_down_since_seconds"]); err != nil || n < 4 {
			return fmt.Sprint(i)
		}
		return ""
	})
	primary.Kill()
	id := replica.Myself().Primary
	proc.Wait(t, proc.Patience, "the replica to see its primary fail, and why it may not follow", func() string {
		peers, err := replica.Peers()
		for _, p := range peers {
			if p.ID == id && p.Is("fail") && strings.Contains(replica.Log(), "failover not possible yet: data too old") {
				return ""
			}
		}
		return fmt.Sprint(peers, err)
	})
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if replica.IsPrimary() {
			t.Fatal("a replica with old data became a primary")
		}
	}
	if strings.Contains(replica.Log(), "election started") {
		t.Error("it stood for election")
	}
	replica.Must("CONFIG", "SET", "cluster-replica-validity-factor", "0")
	replica.WaitSet("b", "after")
}

// Row 41. A replica that is started without the address of its primary follows it
// as soon as that one is heard of.
func TestReplicationStartsWithTheAddress(t *testing.T) {
	c := proc.FormShards(t, []int{1}) // nobody else could tell the address
	primary, replica := c.Nodes[0], c.Nodes[1]
	primary.WaitSet("b", "v")
	proc.WaitInStep(t, primary, replica)
	id := primary.Myself().ID
	replica.Stop()
	text, err := os.ReadFile(replica.Path("nodes.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, id) {
			f := strings.Fields(line)
			_, aux, _ := strings.Cut(f[1], ",")
			f[1], f[2] = ":0@0,"+aux, "master,noaddr"
			line = strings.Join(f, " ") + "\n"
		}
		lines = append(lines, line)
	}
	if err := os.WriteFile(replica.Path("nodes.conf"), []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	primary.Freeze()
	defer primary.Signal(syscall.SIGCONT)
	replica.Start()
	peers, err := replica.Peers()
	for _, p := range peers {
		if p.ID == id && !p.Is("noaddr") {
			t.Errorf("it knows the address: %+v", p)
		}
	}
	if me, i := replica.Myself(), replica.Info("replication"); err != nil || !me.Is("slave") || me.Primary != id || i["master_host"] != "" {
		t.Errorf("%v, %+v, %v before the primary was heard of", err, me, i)
	}
	primary.Signal(syscall.SIGCONT)
	proc.WaitInStep(t, primary, replica)
}
