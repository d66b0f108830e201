// Package labtest makes nodes without connections for tests of what must survive:
// engine, data types, log of effects and RDB files on any file system, with
// clients that run commands by calls. What else a test needs, such as an
// append-only file, it adds before Serve.
//
// Read node.go, client.go.
package labtest

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/disk/disktest"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/persist"
	"github.com/skeindb/skein/internal/repl"
	"github.com/skeindb/skein/internal/store"
)

// Patience bounds every wait for something that must happen.
const Patience = 15 * time.Second

// Eventually polls until what returns "", and fails with what it says otherwise.
func Eventually(t testing.TB, what func() string) {
	t.Helper()
	last := ""
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if last = what(); last == "" {
			return
		}
	}
	t.Fatalf("not within %v: %s", Patience, last)
}

// NewDisk is an empty file system with the directory "data", and with the one in
// which nodes have their data set.
func NewDisk() *disktest.FS {
	f := disktest.New()
	f.MkdirAll("data", 0o755)
	f.MkdirAll(config.New().Dir.Get(), 0o755)
	return f
}

// Node is one node. The file of its data set is dump.rdb in the present directory.
type Node struct {
	T     testing.TB
	E     *engine.Engine
	Repl  *repl.Repl
	Saver *persist.Saver
	Conf  *config.Config
	Log   *Book
	Slog  *slog.Logger

	heap *mem.Heap
}

// Book keeps log messages.
type Book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// New makes a node that holds nothing and runs no command yet. reserve is the
// memory that its data may take, in bytes.
func New(t testing.TB, fsys disk.FS, reserve int64) *Node {
	t.Helper()
	heap, err := mem.New(mem.Options{Shards: 4, Reserve: reserve})
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{T: t, Log: &Book{}, Conf: config.New(), heap: heap}
	n.Slog = slog.New(slog.NewTextHandler(n.Log, nil))
	env := &command.Env{}
	env.SetLimits(command.DefaultLimits())
	n.E = engine.New(engine.Options{Store: store.New(heap, 4), Env: env, Slog: n.Slog})
	n.Repl = repl.New(repl.Options{Engine: n.E, Slog: n.Slog, Settings: repl.DefaultSettings})
	n.Set("dbfilename", "dump.rdb")
	n.NewSaver(fsys, nil, nil)
	return n
}

// NewSaver gives the node another saver, with a clock, and a judge of whether
// something else is writing; before Serve. Both may be nil.
func (n *Node) NewSaver(fsys disk.FS, now func() time.Time, busy func() bool) {
	n.Saver = persist.New(persist.Options{Engine: n.E, Config: n.Conf, Log: n.Slog, FS: fsys, Used: n.heap.Used, Cut: n.Repl.Cut, Now: now, Busy: busy})
}

// Serve lets the node run commands: those of the data types, of saving, and more.
func (n *Node) Serve(more ...[]*command.Spec) {
	n.E.SetTable(command.NewTable(append([][]*command.Spec{engine.Specs(), datatypes.Specs(), n.Repl.Specs(), n.Saver.Specs()}, more...)...))
}

// Set gives a directive a value, as a configuration file does.
func (n *Node) Set(directive string, words ...string) {
	n.T.Helper()
	if err := n.Conf.Assign(directive, words...); err != nil {
		n.T.Fatal(err)
	}
}

// Close ends the node as well as it can. It drops what it holds: a test keeps its
// nodes to its end, and there may be hundreds of them.
func (n *Node) Close() {
	if n.E == nil {
		return
	}
	n.Saver.Stop()
	n.Repl.Close()
	n.E.Store.Close()
	n.heap.Close()
	n.E, n.Repl, n.Saver, n.Conf, n.heap = nil, nil, nil, nil, nil
}

// Data is the whole data set as text.
func (n *Node) Data() string {
	var b strings.Builder
	c := n.Client()
	for db := range 3 {
		c.Do("SELECT " + fmt.Sprint(db))
		cursor := "0"
		for {
			r := c.Reply("SCAN " + cursor + " COUNT 1000")
			for _, k := range r.Elems[1].Elems {
				key := k.Text()
				fmt.Fprintf(&b, "%d %s %s %s\n", db, key, c.Do("PEXPIRETIME "+key), c.Do("DUMP "+key))
			}
			if cursor = r.Elems[0].Text(); cursor == "0" {
				break
			}
		}
	}
	return b.String() // SCAN's order is that of the hash, the same everywhere
}

// Fill writes values of all types in two databases.
func (n *Node) Fill(count int) {
	c := n.Client()
	for i := range count {
		c.Send(fmt.Sprintf("SET s%d value-%d", i, i), fmt.Sprintf("RPUSH l%d a b %d", i%7, i), fmt.Sprintf("SADD set%d %d m%d", i%5, i, i),
			fmt.Sprintf("ZADD z%d %d.5 m%d", i%3, i, i), fmt.Sprintf("HSET h%d f%d v%d", i%4, i, i), "INCR counter")
		if i%10 == 0 {
			c.Send("SELECT 2", fmt.Sprintf("SET other%d x PX 100000000", i), "MULTI", "INCR n", "SELECT 0", "INCR n", "EXEC")
		}
	}
	c.Take()
}

// Reset makes the node hold nothing again, for a fuzz target that takes the next
// input: no data, no log messages, no tap on the log of effects, no primary.
func (n *Node) Reset() {
	n.Repl.SetTap(nil)
	if n.Repl.IsReplica() {
		n.Repl.Promote()
	}
	n.E.Store.LockWorld()
	for i := range n.E.Store.DBs() {
		if n.E.Store.DB(i).Keys() > 0 {
			n.E.FlushLocked(i, false)
		}
	}
	n.E.Store.UnlockWorld()
	for n.E.Store.LazyfreePending() > 0 {
		runtime.Gosched()
	}
	n.Log.mu.Lock()
	n.Log.b.Reset()
	n.Log.mu.Unlock()
}
