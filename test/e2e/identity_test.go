package e2e

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/testport"
	"github.com/skeindb/skein/test/proc"
)

// Rows 3, 4, 5, 7: what a fresh node is, what it writes, where it listens, and
// that kill -9 changes nothing of it.
func TestNodeIdentity(t *testing.T) {
	t.Parallel()
	bus := testport.Free(t)
	a := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs()...)
	b := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs("--cluster-port", strconv.Itoa(bus))...)
	for _, n := range []*proc.Node{a, b} {
		info, err := n.ClusterInfo()
		if err != nil || info["cluster_state"] != "fail" || info["cluster_known_nodes"] != "1" || info["cluster_size"] != "0" {
			t.Errorf("%s: %v, %v", n, info, err)
		}
		st, err := os.Stat(n.Path("nodes.conf"))
		if err != nil || st.Mode().Perm() != 0o644 {
			t.Errorf("nodes.conf: %v, %v", st, err)
		}
		text, _ := os.ReadFile(n.Path("nodes.conf"))
		if want := regexp.MustCompile(`^` + n.Text("CLUSTER", "MYID") + ` \S+ myself,master - 0 \d+ 0 connected\nvars currentEpoch 0 lastVoteEpoch 0\n$`); !want.Match(text) {
			t.Errorf("nodes.conf:\n%s", text)
		}
	}
	if id := a.Text("CLUSTER", "MYID"); id == b.Text("CLUSTER", "MYID") || !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(id) {
		t.Errorf("id %s", id)
	}
	for _, port := range []int{a.Port + busOffset, bus} {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
	}
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port+busOffset)); err == nil {
		c.Close()
		t.Errorf("with cluster-port the bus listens on port + 10000 too")
	}
	port := 55536 // the lowest from which the bus port is above 65535
	for ; ; port++ {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			break
		}
	}
	high := proc.NewNode(t, proc.Skein(t), proc.ClusterArgs("--port", strconv.Itoa(port))...)
	high.Launch()
	if code := high.Exit(); code != 1 || !strings.Contains(high.Log(), "port number too high") {
		t.Errorf("port %d: exit code %d\n%s", port, code, high.Log())
	}

	a.Must("CLUSTER", "ADDSLOTSRANGE", 0, 100, 200, 300)
	a.Must("CLUSTER", "BUMPEPOCH")
	a.Must("CLUSTER", "SETSLOT", 5, "MIGRATING", meetID(t, a, b))
	lines := func() []string {
		l := strings.Split(strings.TrimSpace(a.Text("CLUSTER", "NODES")), "\n")
		for i := range l { // without the times of pings
			f := strings.Fields(l[i])
			f[4], f[5], f[7] = "", "", ""
			l[i] = strings.Join(f, " ")
		}
		slices.Sort(l)
		return l
	}
	proc.Wait(t, proc.Patience, "the two have settled their epochs", func() string {
		l := lines()
		x, errX := a.ClusterInfo()
		y, errY := b.ClusterInfo()
		if errX != nil || errY != nil || x["cluster_current_epoch"] != y["cluster_current_epoch"] {
			return fmt.Sprint(x["cluster_current_epoch"], errX, y["cluster_current_epoch"], errY)
		}
		if strings.Fields(l[0])[4] == strings.Fields(l[1])[4] {
			return fmt.Sprint(l)
		}
		return ""
	})
	before := lines()
	epoch, voted := vars(t, a)
	a.Kill()
	a.Start()
	if got := lines(); !slices.Equal(got, before) {
		t.Errorf("after kill -9: %q, before %q", got, before)
	}
	if e, v := vars(t, a); e != epoch || v != voted || e == 0 {
		t.Errorf("epochs after kill -9: %d, %d, before %d, %d", e, v, epoch, voted)
	}
}

// meetID lets a meet b and returns b's id when a knows it.
func meetID(t *testing.T, a, b *proc.Node) string {
	t.Helper()
	id := b.Text("CLUSTER", "MYID")
	_, bus, _ := strings.Cut(b.Text("CLUSTER", "NODES"), "@")
	bus = strings.Fields(strings.ReplaceAll(bus, ",", " "))[0]
	a.Must("CLUSTER", "MEET", "127.0.0.1", b.Port, bus)
	proc.Wait(t, proc.Patience, "a and b know each other", func() string {
		for _, n := range []*proc.Node{a, b} {
			text := n.Text("CLUSTER", "NODES")
			if !strings.Contains(text, id) || !strings.Contains(text, a.Text("CLUSTER", "MYID")) || strings.Contains(text, "handshake") {
				return text
			}
		}
		return ""
	})
	return id
}

// Row 31: A meets B, B meets C, and A finds C.
func TestMeetByChain(t *testing.T) {
	t.Parallel()
	var nodes []*proc.Node
	for range 3 {
		nodes = append(nodes, proc.StartNode(t, proc.Skein(t), proc.ClusterArgs()...))
	}
	meetID(t, nodes[0], nodes[1])
	meetID(t, nodes[1], nodes[2])
	id := nodes[2].Text("CLUSTER", "MYID")
	proc.Wait(t, proc.Patience, "A sees C", func() string {
		if text := nodes[0].Text("CLUSTER", "NODES"); !strings.Contains(text, id) {
			return text
		}
		return ""
	})
}

// Row 8: keys found at start against what nodes.conf says.
func TestDataAgainstSlots(t *testing.T) {
	t.Parallel()
	const slot = "12182" // of foo
	n := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs()...)
	n.Must("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	n.WaitSet("foo", "1")
	n.Must("SAVE")
	n.Stop()
	conf, err := os.ReadFile(n.Path("nodes.conf"))
	if err != nil || strings.Count(string(conf), " 0-16383\n") != 1 {
		t.Fatalf("%v\n%s", err, conf)
	}
	other := strings.Repeat("b", 40)
	otherLine := func(flags, slots string) string {
		return fmt.Sprintf("%s 127.0.0.1:1@10001,,tls-port=0,shard-id=%s %s - 0 0 7 disconnected %s\n", other, strings.Repeat("c", 40), flags, slots)
	}
	without := strings.Replace(string(conf), " 0-16383\n", " 0-12181 12183-16383\n", 1)
	start := func(text string) {
		t.Helper()
		if err := os.WriteFile(n.Path("nodes.conf"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		n.Start()
	}
	me := func() string { return strings.Join(n.Myself().Slots, " ") }

	start(without) // nobody's: taken
	if got, keys := me(), n.Text("DBSIZE"); got != "0-16383" || keys != "1" {
		t.Errorf("a slot of nobody: slots %s, %s keys, want all and 1", got, keys)
	}
	if text, _ := os.ReadFile(n.Path("nodes.conf")); !strings.Contains(string(text), " 0-16383\n") {
		t.Errorf("a slot of nobody: not saved\n%s", text)
	}
	n.Kill()
	start(otherLine("master", slot) + without) // another's: deleted
	if got, keys := me(), n.Text("DBSIZE"); got != "0-12181 12183-16383" || keys != "0" {
		t.Errorf("a slot of another: slots %s, %s keys, want 0-12181 12183-16383 and 0", got, keys)
	}
	n.Kill()
	replica := regexp.MustCompile(`(\S+shard-id=)\S+ myself,master - (\S+ \S+) \d+ connected [^\n]*`).
		ReplaceAllString(without, "${1}"+strings.Repeat("c", 40)+" myself,slave "+other+" $2 7 connected")
	start(otherLine("master", "0-12181 12183-16383") + replica) // a replica does not judge
	if keys := n.Text("DBSIZE"); !n.Myself().Is("slave") || keys != "1" {
		t.Errorf("a replica: %v, %s keys, want 1", n.Myself().Flags, keys)
	}
	n.Kill()

	single := proc.StartNode(t, proc.Skein(t))
	single.CLI("-n", "3", "SET", "k", "v")
	single.Must("SAVE")
	dump, err := os.ReadFile(single.Path("dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.Path("dump.rdb"), dump, 0o644); err != nil {
		t.Fatal(err)
	}
	n.Launch() // another database: refused
	if code := n.Exit(); code != 1 {
		t.Errorf("keys of database 3: exit code %d", code)
	}
}
