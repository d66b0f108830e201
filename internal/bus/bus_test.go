package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/store"
	"github.com/skeindb/skein/internal/testport"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

// until polls for a condition; it returns "" when it holds, else what is missing.
func until(t *testing.T, what string, missing func() string) {
	t.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if last = missing(); last == "" {
			return
		}
	}
	t.Fatalf("%s: %s", what, last)
}

// fakeRepl is replication without data: it notes what it was told.
type fakeRepl struct {
	mu      sync.Mutex
	follows string // host:port, "" as a primary
	offset  atomic.Int64
	foreign atomic.Bool // Distrust was called
	age     atomic.Int64

	ticked atomic.Pointer[func()] // called in each tick

	replicas   atomic.Int64 // that take SETSLOT
	acks, late atomic.Bool  // what Confirm finds
	stream     []string     // what was appended
	asked      []string     // of Confirm
}

func (f *fakeRepl) Follow(host string, port int, full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.follows = net.JoinHostPort(host, strconv.Itoa(port))
}
func (f *fakeRepl) Promote()        { f.mu.Lock(); defer f.mu.Unlock(); f.follows = "" }
func (f *fakeRepl) primary() string { f.mu.Lock(); defer f.mu.Unlock(); return f.follows }
func (f *fakeRepl) Offset() int64   { return f.offset.Load() }
func (f *fakeRepl) Link() (bool, time.Duration) {
	if call := f.ticked.Load(); call != nil {
		(*call)()
	}
	return true, time.Duration(f.age.Load())
}
func (f *fakeRepl) Complete() bool    { return !f.foreign.Load() }
func (f *fakeRepl) Distrust()         { f.foreign.Store(true) }
func (f *fakeRepl) SlotReplicas() int { return int(f.replicas.Load()) }
func (f *fakeRepl) Append(cmd []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stream = append(f.stream, string(cmd))
}

// Confirm has the replicas answer as the test says.
func (f *fakeRepl) Confirm(_ *engine.Session, cmd []byte, n int, timeoutMs int64, done func(bool, func() bool)) {
	f.Append(cmd)
	f.mu.Lock()
	f.asked = append(f.asked, fmt.Sprintf("%d replicas, %d ms", n, timeoutMs))
	f.mu.Unlock()
	done(f.acks.Load(), func() bool { return f.late.Load() })
}

// node is a bus with an engine in this process, on real sockets.
type node struct {
	*Bus
	t    *testing.T
	e    *engine.Engine
	repl *fakeRepl
	dir  string
	port int // of the bus; the client port is 10000 less and not served
	edit func(*Options)
}

// testTimeout is the node timeout: long enough for a busy machine.
const testTimeout = 1000

func newNode(t *testing.T) *node { return newNodeWith(t, nil) }

// newNodeWith starts a node whose options edit has changed.
func newNodeWith(t *testing.T, edit func(*Options)) *node {
	n := &node{t: t, dir: t.TempDir(), port: testport.Free(t), repl: &fakeRepl{}, edit: edit}
	n.open()
	t.Cleanup(func() { n.Close() })
	return n
}

func (n *node) options() Options {
	o := Options{
		Engine: n.e, Repl: n.repl, Log: slog.New(slog.DiscardHandler), FS: disk.OS{}, Path: filepath.Join(n.dir, "nodes.conf"),
		Settings: func() cluster.Settings {
			s := cluster.DefaultSettings()
			s.NodeTimeout, s.StartDelay = testTimeout, 0
			s.Ports = cluster.Addr{Port: uint16(n.port - 10000), BusPort: uint16(n.port)}
			return s
		},
		Bind: []string{"127.0.0.1"}, Port: n.port,
		SourceAddr: func() string { return "" }, SendLimit: func() int64 { return 0 },
		Router: func() RouterSettings { return RouterSettings{PubsubShardWhenDown: true} },
		Fatal:  func(err error) { n.t.Error(err) },
	}
	if n.edit != nil {
		n.edit(&o)
	}
	return o
}

// open starts the node, with what nodes.conf holds.
func (n *node) open() {
	n.t.Helper()
	h, err := mem.New(mem.Options{Shards: 2, Reserve: 16 << 20})
	if err != nil {
		n.t.Fatal(err)
	}
	st := store.New(h, 1)
	n.t.Cleanup(func() { st.Close(); h.Close() })
	env := &command.Env{}
	env.SetLimits(command.DefaultLimits())
	n.e = engine.New(engine.Options{Store: st, Env: env, Slog: slog.New(slog.DiscardHandler)})
	if n.Bus, err = New(n.options()); err != nil {
		n.t.Fatal(err)
	}
	n.e.Publish = n.Bus.Publish
	n.e.SetTable(command.NewTable(engine.Specs(), datatypes.Specs(), Specs(n.Bus)))
	if err := n.Listen(); err != nil {
		n.t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) id() string { return n.View().Myself().ID.String() }

// conn is a client's connection to a node; what it is sent is kept.
type conn struct {
	mu  sync.Mutex
	out string
}

func (c *conn) Write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out += string(b)
	return nil
}
func (c *conn) Push(b []byte)           { c.Write(b) }
func (c *conn) Kick()                   {}
func (c *conn) Close()                  {}
func (c *conn) RemoteAddr() string      { return "127.0.0.1:1" }
func (c *conn) LocalAddr() string       { return "127.0.0.1:2" }
func (c *conn) LocalIP() string         { return "127.0.0.1" }
func (c *conn) Unix() bool              { return false }
func (c *conn) TLS() bool               { return false }
func (c *conn) FD() int                 { return 3 }
func (c *conn) QueryBuffer() (int, int) { return 0, 0 }
func (c *conn) OutputPending() int      { return 0 }
func (c *conn) SetClass(engine.Class)   {}
func (c *conn) Created() time.Time      { return time.Time{} }
func (c *conn) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.out
	c.out = ""
	return s
}

type client struct {
	*conn
	s *engine.Session
}

func (n *node) client() *client {
	c := &conn{}
	s := n.e.Open(c)
	n.t.Cleanup(s.Close)
	return &client{c, s}
}

// do runs one command, given as words.
func (c *client) do(line string) string {
	c.s.Feed([]byte(line + "\r\n"))
	return c.take()
}

func (n *node) is(line, want string) {
	n.t.Helper()
	if got := n.client().do(line); got != want {
		n.t.Fatalf("%s: got %q, want %q", line, got, want)
	}
}

// form makes the nodes one cluster by commands, slots shared out evenly.
func form(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes[1:] {
		nodes[0].is(fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", n.port-10000, n.port), "+OK\r\n")
	}
	for i, n := range nodes {
		n.is(fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*store.Slots/len(nodes), (i+1)*store.Slots/len(nodes)-1), "+OK\r\n")
	}
	agree(t, nodes...)
}

// agree waits until every node knows all the others, with links, and the
// cluster is up for all.
func agree(t *testing.T, nodes ...*node) {
	t.Helper()
	until(t, "the cluster forms", func() string {
		for i, n := range nodes {
			v := n.View()
			if v.State != cluster.StateOK {
				return fmt.Sprintf("node %d is down:\n%s", i, n.NodesText(false))
			}
			for _, other := range nodes {
				id, _ := cluster.ParseID(other.id())
				o := v.Node(id)
				if o == nil || o != v.Myself() && o.Link == 0 || o.Flags.Any(cluster.FlagHandshake|cluster.FlagPFail|cluster.FlagFail) {
					return fmt.Sprintf("node %d does not know %s:\n%s", i, id, n.NodesText(false))
				}
			}
		}
		return ""
	})
}

// PUBLISH reaches subscribers of every node, in both forms of the message;
// SPUBLISH those of the shard only.
func TestPublish(t *testing.T) {
	a, b, c := newNode(t), newNode(t), newNode(t)
	form(t, a, b, c)
	sub := b.client()
	sub.do("SUBSCRIBE news")
	until(t, "links that take light messages", func() string {
		for _, n := range a.View().Nodes {
			if n != a.View().Myself() && !n.Light {
				return a.NodesText(false)
			}
		}
		return ""
	})
	a.is("PUBLISH news light", ":0\r\n")
	const light, full = "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nlight\r\n", "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$4\r\nfull\r\n"
	arrives := func(want string) {
		t.Helper()
		var got string
		until(t, "a message", func() string {
			if got += sub.take(); got == "" {
				return "nothing came"
			}
			return ""
		})
		if got != want {
			t.Errorf("the subscriber got %q, want %q", got, want)
		}
	}
	arrives(light)
	if n := b.pubReceived[cluster.TypePublish].Load(); n != 1 {
		t.Errorf("%d light messages received, want 1", n)
	}
	if info := a.InfoText(); !strings.Contains(info, "cluster_stats_messages_publish_sent:2\r\n") {
		t.Errorf("CLUSTER INFO does not count two messages sent:\n%s", info)
	}

	// A node that does not take the light form gets the full one.
	v := *a.View()
	v.Nodes = append([]*cluster.NodeView(nil), v.Nodes...)
	for i, n := range v.Nodes {
		heavy := *n
		heavy.Light = false
		v.Nodes[i] = &heavy
	}
	a.view.Store(&v)
	a.is("PUBLISH news full", ":0\r\n")
	arrives(full)
	if n := b.pubReceived[cluster.TypePublish].Load(); n != 1 && a.view.Load() == &v {
		t.Errorf("%d light messages received, want 1: the second one was to be full", n)
	}

	// c is of another shard.
	c.is("SPUBLISH {"+keyOf(c)+"}ch x", ":0\r\n")
	if n := c.pubSent[cluster.TypePublishShard].Load(); n != 0 {
		t.Errorf("SPUBLISH went to %d nodes of other shards", n)
	}
}

// keyOf returns a hash tag of one of n's slots.
func keyOf(n *node) string {
	for i := 0; ; i++ {
		if key := strconv.Itoa(i); n.View().Mine.Has(int(command.MakeKey(0, []byte(key)).Slot)) {
			return key
		}
	}
}

// Who subscribes to a shard channel hears when the node loses its slot, and a
// command on the slot is sent on.
func TestSlotLoss(t *testing.T) {
	a, b := newNode(t), newNode(t)
	form(t, a, b)
	key := keyOf(a)
	slot := command.MakeKey(0, []byte(key)).Slot
	a.is("SET "+key+" v", "+OK\r\n")
	sub := a.client()
	sub.do("SSUBSCRIBE " + key)
	b.is(fmt.Sprintf("CLUSTER SETSLOT %d IMPORTING %s", slot, a.id()), "+OK\r\n")
	a.is(fmt.Sprintf("CLUSTER SETSLOT %d MIGRATING %s", slot, b.id()), "+OK\r\n")
	a.is("GET "+key, "$1\r\nv\r\n")
	a.is("DEL "+key, ":1\r\n")
	a.is("GET "+key, fmt.Sprintf("-ASK %d 127.0.0.1:%d\r\n", slot, b.port-10000))
	to := b.client()
	if got := to.do("ASKING\r\nGET " + key); got != "+OK\r\n$-1\r\n" {
		t.Errorf("ASKING, GET on the importing node: %q", got)
	}
	b.is(fmt.Sprintf("CLUSTER SETSLOT %d NODE %s", slot, b.id()), "+OK\r\n")
	a.is(fmt.Sprintf("CLUSTER SETSLOT %d NODE %s", slot, b.id()), "+OK\r\n")
	var got string
	want := fmt.Sprintf("*3\r\n$12\r\nsunsubscribe\r\n$%d\r\n%s\r\n:0\r\n", len(key), key)
	until(t, "the subscriber is told", func() string {
		if got += sub.take(); !strings.Contains(got, want) {
			return fmt.Sprintf("got %q, want %q", got, want)
		}
		return ""
	})
	a.is("GET "+key, fmt.Sprintf("-MOVED %d 127.0.0.1:%d\r\n", slot, b.port-10000))
	b.is("SET "+key+" w", "+OK\r\n")
}

// A node that hears nothing is suspected; links that DEBUG closes come back.
func TestDebugAids(t *testing.T) {
	a, b, c := newNode(t), newNode(t), newNode(t)
	form(t, a, b, c)
	if n, _ := a.LinkMemory(); n != 4 {
		until(t, "two links with each of two nodes", func() string {
			if n, _ := a.LinkMemory(); n != 4 {
				return strconv.Itoa(n)
			}
			return ""
		})
	}
	id, _ := cluster.ParseID(b.id())
	old := a.View().Node(id).Link
	if err := a.KillLinks(true, true, b.id()); err != nil {
		t.Fatal(err)
	}
	until(t, "a new link", func() string {
		if l := a.View().Node(id).Link; l == 0 || l == old {
			return fmt.Sprint(l)
		}
		return ""
	})
	const nobody = "ffffffffffffffffffffffffffffffffffffffff"
	if err := a.KillLinks(true, true, nobody); err == nil || err.Error() != "Unknown node "+nobody {
		t.Errorf("KillLinks of an unknown node: %v", err)
	}
	c.DropPackets(-2)
	until(t, "the deaf node is cut off", func() string {
		if c.View().State == cluster.StateOK {
			return c.NodesText(false)
		}
		return ""
	})
	c.is("SET "+keyOf(c)+" 1", "-CLUSTERDOWN The cluster is down\r\n")
	c.DropPackets(-1)
	agree(t, a, b, c)
}

// A primary ends; its replica takes over without anyone's help; the primary
// comes back with the same name from nodes.conf and follows it. Two nodes never
// use one nodes.conf.
func TestFailover(t *testing.T) {
	a, b, c, r := newNode(t), newNode(t), newNode(t), newNode(t)
	form(t, a, b, c)
	a.is(fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", r.port-10000, r.port), "+OK\r\n")
	agree(t, a, b, c, r)
	r.is("CLUSTER REPLICATE "+a.id(), "+OK\r\n")
	if got, want := r.repl.primary(), fmt.Sprintf("127.0.0.1:%d", a.port-10000); got != want {
		t.Fatalf("the replica follows %q, want %q", got, want)
	}
	slots := a.View().Mine
	if _, err := New(a.options()); !errors.Is(err, ErrInUse) {
		t.Errorf("a second node with the same nodes.conf: %v, want ErrInUse", err)
	}
	// A replica that has not its shard's data does not stand for election.
	r.repl.foreign.Store(true)
	id, key := a.id(), keyOf(a)
	until(t, "the others know the replica", func() string {
		for _, n := range []*node{b, c} {
			rid, _ := cluster.ParseID(r.id())
			if n.View().Node(rid).Primary.IsZero() {
				return n.NodesText(false)
			}
		}
		return ""
	})
	a.Close()
	until(t, "the primary has failed", func() string {
		aid, _ := cluster.ParseID(id)
		if !r.View().Node(aid).Flags.Has(cluster.FlagFail) {
			return r.NodesText(false)
		}
		return ""
	})
	for end := time.Now().Add(3 * testTimeout / 2 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if r.View().Myself().Flags.Has(cluster.FlagPrimary) {
			t.Fatal("a replica with foreign data was elected")
		}
	}
	r.repl.foreign.Store(false)
	agree(t, b, c, r)
	if v := r.View(); !v.Myself().Flags.Has(cluster.FlagPrimary) || *v.Mine != *slots || r.repl.primary() != "" {
		t.Errorf("after the failover the replica is %v and follows %q", v.Myself(), r.repl.primary())
	}
	until(t, "the replica serves", func() string {
		if got := r.client().do("SET " + key + " v"); got != "+OK\r\n" {
			return got
		}
		return ""
	})
	a.open()
	if a.id() != id {
		t.Errorf("the restarted node is %s, was %s", a.id(), id)
	}
	agree(t, a, b, c, r)
	until(t, "the old primary follows the new one", func() string {
		if got, want := a.repl.primary(), fmt.Sprintf("127.0.0.1:%d", r.port-10000); got != want {
			return fmt.Sprintf("it follows %q, want %q", got, want)
		}
		return ""
	})
	a.is("SET "+key+" v", fmt.Sprintf("-MOVED %d 127.0.0.1:%d\r\n", command.MakeKey(0, []byte(key)).Slot, r.port-10000))
}

// A nodes.conf that makes no sense keeps the node from starting and is left
// alone.
func TestCorruptConfig(t *testing.T) {
	n := &node{t: t, dir: t.TempDir(), repl: &fakeRepl{}}
	path := filepath.Join(n.dir, "nodes.conf")
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(n.options()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("New: %v, want ErrCorrupt", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "nonsense\n" {
		t.Errorf("the file holds %q now", b)
	}
}

// What could not be saved is not reported as done.
func TestUnsavedIsUnsure(t *testing.T) {
	failed := make(chan error, 1)
	n := newNodeWith(t, func(o *Options) { o.Fatal = func(err error) { failed <- err } })
	path := filepath.Join(n.dir, "nodes.conf")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Admin(cluster.BumpEpoch{}); !errors.Is(err, ErrStopping) {
		t.Errorf("Admin: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("no fault was told")
	}
}
