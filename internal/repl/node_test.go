package repl

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/netio"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
	"github.com/skeindb/skein/internal/testport"
)

// patience bounds every wait for something that must happen.
const patience = 15 * time.Second

// eventually polls until ok, and fails with what state says otherwise.
func eventually(t testing.TB, what string, ok func() bool, state func() string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: not within %v; last state:\n%s", what, patience, state())
}

// node is a server in this process, on a port of its own.
type node struct {
	t     testing.TB
	st    *store.Store
	e     *engine.Engine
	net   *netio.Server
	repl  *Repl
	port  int
	logs  *logBook
	links *links

	mu    sync.Mutex
	set   Settings
	asked atomic.Int64 // how often for them
}

// links are the connections that a follower made, so that tests can cut them.
type links struct {
	mu    sync.Mutex
	conns []net.Conn
	deny  bool
}

func (l *links) dial(ctx context.Context, host string, port int) (io.ReadWriteCloser, error) {
	l.mu.Lock()
	deny := l.deny
	l.mu.Unlock()
	if deny {
		return nil, fmt.Errorf("test: no route")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.conns = append(l.conns, c)
	l.mu.Unlock()
	return c, nil
}

// cut closes all links, and refuses new ones while deny is set.
func (l *links) cut(deny bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns, l.deny = nil, deny
}

// logBook keeps log messages.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(p))
	return len(p), nil
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "")
}

func newNode(t testing.TB, change func(*Settings)) *node {
	t.Helper()
	heap, err := mem.New(mem.Options{Reserve: 160 << 20})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, st: store.New(heap, 16), logs: &logBook{}, links: &links{}, set: DefaultSettings()}
	n.set.Timeout = 10 * time.Second
	if change != nil {
		change(&n.set)
	}
	n.e = engine.New(engine.Options{Store: n.st, Env: &command.Env{}})
	log := slog.New(slog.NewTextHandler(n.logs, nil))
	n.net = netio.New(netio.Options{Open: func(c *netio.Conn) netio.Handler { return n.e.Open(c) }})
	n.port = testport.Free(t)
	n.set.AnnouncePort = n.port
	dir := t.TempDir()
	n.repl = New(Options{Engine: n.e, Slog: log, Dial: n.links.dial, Settings: func() Settings {
		n.asked.Add(1)
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.set
	}, NewSpool: func() (Spool, error) { return os.Create(filepath.Join(dir, "spool")) }})
	n.repl.retry = 20 * time.Millisecond
	n.e.SetTable(command.NewTable(engine.Specs(), datatypes.Specs(), n.repl.Specs()))
	if _, err := n.net.ListenTCP([]string{"127.0.0.1"}, n.port, 128, nil); err != nil { // last: sessions need all of it
		t.Fatal(err)
	}
	n.repl.Start()
	t.Cleanup(n.close)
	return n
}

func (n *node) close() {
	n.repl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n.net.Shutdown(ctx)
	n.st.Close()
	n.st.Heap.Close()
}

func (n *node) change(f func(*Settings)) {
	n.mu.Lock()
	f(&n.set)
	n.mu.Unlock()
	n.repl.Refresh()
}

// client is a connection of a test to any server.
type client struct {
	t testing.TB
	c net.Conn
	r *resp.Reader
}

func dialPort(t testing.TB, port int) *client {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t, c, resp.NewReader(c)}
}

func (n *node) client() *client { return dialPort(n.t, n.port) }

// do sends a command, words split at blanks, and returns the reply as text.
func (c *client) do(line string) string {
	c.t.Helper()
	c.c.SetDeadline(time.Now().Add(patience))
	v, err := c.r.Do(c.c, strings.Fields(line)...)
	if err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
	return v.String()
}

// want does a command and checks the reply.
func (c *client) want(line, reply string) {
	c.t.Helper()
	if got := c.do(line); got != reply {
		c.t.Fatalf("%s = %s, want %s", line, got, reply)
	}
}

// info returns a field of INFO replication.
func (n *node) info(field string) string { return infoField(n.repl.Info(), field) }

func infoField(text, field string) string {
	for _, line := range strings.Split(text, "\r\n") {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return v
		}
	}
	return ""
}

// content is every key of a node with its value as DUMP would show it.
func (n *node) content() map[string]string {
	m := map[string]string{}
	n.st.LockWorld()
	defer n.st.UnlockWorld()
	for i := range n.st.DBs() {
		db := n.st.DB(i)
		for slot := db.NextOccupied(0); slot < store.Slots; slot = db.NextOccupied(slot + 1) {
			for pos := uint64(0); ; {
				pos = db.ScanSlot(uint16(slot), pos, 100, func(o *store.Obj) {
					m[fmt.Sprintf("%d/%s", i, o.Key())] = string(rdb.AppendRecord(nil, o, &rdb.RecordOptions{}))
				})
				if pos == 0 {
					break
				}
			}
		}
	}
	return m
}

// inStep waits until replica has all that primary logged, and compares the data.
func inStep(t testing.TB, primary *node, replicas ...*node) {
	t.Helper()
	for _, r := range replicas {
		eventually(t, "replica in step", func() bool {
			s := r.repl.Status()
			return s.LinkUp && s.Offset == primary.repl.Offset()
		}, func() string {
			return fmt.Sprintf("primary offset %d\n%s\nreplica:\n%s\n%s\nprimary log:\n%s", primary.repl.Offset(), primary.repl.Info(), r.repl.Info(), r.logs, primary.logs)
		})
		want, got := primary.content(), r.content()
		if !maps.Equal(want, got) {
			t.Fatalf("%d keys at the primary, %d at the replica: %s", len(want), len(got), difference(want, got))
		}
	}
}

func difference(want, got map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			out = append(out, fmt.Sprintf("%s: %q, want %q", k, got[k], want[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			out = append(out, k+": should not be there")
		}
	}
	return strings.Join(out[:min(len(out), 10)], "\n")
}
