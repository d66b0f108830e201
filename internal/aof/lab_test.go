package aof_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/aof"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/persist"
	"github.com/skeindb/skein/internal/repl"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// patience bounds every wait for something that must happen.
const patience = 15 * time.Second

// eventually polls until what returns "", and fails with what it says otherwise.
func eventually(t testing.TB, what func() string) {
	t.Helper()
	last := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if last = what(); last == "" {
			return
		}
	}
	t.Fatalf("not within %v: %s", patience, last)
}

// lab is a node without connections: engine, log of effects, snapshots and an
// append-only file, in the directory "data" of some file system.
type lab struct {
	t     testing.TB
	e     *engine.Engine
	repl  *repl.Repl
	saver *persist.Saver
	aof   *aof.AOF
	log   *book
	conf  *config.Config

	mu  sync.Mutex
	set aof.Settings

	running bool
}

// book keeps log messages.
type book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var defaults = aof.Settings{Fsync: aof.EverySec, LoadTruncated: true, RDBPreamble: true, IncrementalFsync: true, GrowthPercent: 100, MinSize: 64 << 20}

// newLab makes a node whose log is off.
func newLab(t testing.TB, fsys disk.FS, dir string, change func(*aof.Settings)) *lab {
	t.Helper()
	heap, err := mem.New(mem.Options{Shards: 4, Reserve: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, log: &book{}, set: defaults, conf: config.New()}
	if change != nil {
		change(&l.set)
	}
	logger := slog.New(slog.NewTextHandler(l.log, nil))
	env := &command.Env{}
	env.SetLimits(command.DefaultLimits())
	l.e = engine.New(engine.Options{Store: store.New(heap, 4), Env: env, Slog: logger})
	l.repl = repl.New(repl.Options{Engine: l.e, Slog: logger, Settings: repl.DefaultSettings})
	if err := l.conf.Assign("dbfilename", "dump.rdb"); err != nil {
		t.Fatal(err)
	}
	l.saver = persist.New(persist.Options{Engine: l.e, Config: l.conf, Log: logger, FS: fsys, Used: heap.Used, Cut: l.repl.Cut})
	l.aof = aof.New(aof.Options{
		Engine: l.e, Log: logger, FS: fsys, Name: "appendonly.aof", DirName: "appendonlydir", Dir: func() string { return dir },
		Settings: func() aof.Settings { l.mu.Lock(); defer l.mu.Unlock(); return l.set },
		Attach: func(on bool) {
			if on {
				l.repl.SetTap(l.aof.Append)
			} else {
				l.repl.SetTap(nil)
			}
		},
		Snapshot: func(ctx context.Context, w io.Writer, compress bool, cut aof.Cut) error {
			return l.saver.Snapshot(ctx, w, persist.SnapshotOptions{Compress: compress, Checksum: true, AOFBase: true, BeforeCut: cut.Before, AtCut: cut.At, AfterCut: cut.After})
		},
		Pending: 1 << 20, Loading: l.saver.Loading, Saving: l.saver.Running, Offset: l.repl.Offset, Synced: l.repl.Synced,
	})
	l.e.SetTable(command.NewTable(engine.Specs(), datatypes.Specs(), l.repl.Specs(), l.aof.Specs()))
	l.e.EndTurn = l.aof.EndTurn
	t.Cleanup(func() {
		if t.Failed() && l.running {
			t.Logf("the node said:\n%s", l.log)
		}
		l.stop()
	})
	l.running = true
	return l
}

// open loads the log and starts.
func (l *lab) open() *lab {
	l.t.Helper()
	if err := l.aof.Open(); err != nil {
		l.t.Fatalf("Open: %v\n%s", err, l.log)
	}
	l.aof.Start()
	return l
}

// stop ends the node as well as it can.
func (l *lab) stop() (err error) {
	if !l.running {
		return nil
	}
	l.running = false
	err = l.aof.Close()
	l.saver.Stop()
	l.repl.Close()
	l.e.Store.Close()
	l.e.Store.Heap.Close()
	// The test keeps the lab to its end, and there may be hundreds of them.
	l.e, l.repl, l.saver, l.aof, l.conf = nil, nil, nil, nil, nil
	return err
}

func (l *lab) change(f func(*aof.Settings)) {
	l.mu.Lock()
	f(&l.set)
	l.mu.Unlock()
	l.aof.Refresh()
}

// info is a field of the log's INFO.
func (l *lab) info(field string) string {
	for line := range strings.SplitSeq(l.aof.Info(), "\r\n") {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return v
		}
	}
	return ""
}

// rewrite makes one and waits for its end.
func (l *lab) rewrite() {
	l.t.Helper()
	c := l.client()
	if got := c.do("BGREWRITEAOF"); got != "+Background append only file rewriting started" {
		l.t.Fatalf("BGREWRITEAOF: %q", got)
	}
	l.settled()
}

// settled waits until no rewrite is under way.
func (l *lab) settled() {
	l.t.Helper()
	eventually(l.t, func() string {
		info := l.aof.Info()
		if resting(info) {
			return ""
		}
		return info
	})
}

// resting reports whether INFO, read once, shows no rewrite under way or to come.
func resting(info string) bool {
	return strings.Contains(info, "aof_rewrite_in_progress:0\r\n") && strings.Contains(info, "aof_rewrite_scheduled:0\r\n")
}

// data is the whole data set as text.
func (l *lab) data() string {
	var b strings.Builder
	c := l.client()
	for db := range 3 {
		c.do("SELECT " + fmt.Sprint(db))
		cursor := "0"
		for {
			r := c.reply("SCAN " + cursor + " COUNT 1000")
			for _, k := range r.Elems[1].Elems {
				key := k.Text()
				fmt.Fprintf(&b, "%d %s %s\n", db, key, c.do("DUMP "+key))
			}
			if cursor = r.Elems[0].Text(); cursor == "0" {
				break
			}
		}
	}
	return b.String() // SCAN's order is that of the hash, the same everywhere
}

// client runs commands of a session; it belongs to one goroutine.
type client struct {
	s    *engine.Session
	conn *memConn
}

type memConn struct {
	mu     sync.Mutex
	out    []byte
	kicked chan struct{}
	closed bool
}

func (l *lab) client() *client {
	conn := &memConn{kicked: make(chan struct{}, 1)}
	return &client{s: l.e.Open(conn), conn: conn}
}

func (c *memConn) Write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, b...)
	return nil
}
func (c *memConn) Push(b []byte) { c.Write(b) }
func (c *memConn) Kick() {
	select {
	case c.kicked <- struct{}{}:
	default:
	}
}
func (c *memConn) Close()                { c.closed = true }
func (*memConn) RemoteAddr() string      { return "test" }
func (*memConn) LocalAddr() string       { return "" }
func (*memConn) LocalIP() string         { return "" }
func (*memConn) Unix() bool              { return false }
func (*memConn) TLS() bool               { return false }
func (*memConn) FD() int                 { return -1 }
func (*memConn) QueryBuffer() (int, int) { return 0, 0 }
func (*memConn) OutputPending() int      { return 0 }
func (*memConn) SetClass(engine.Class)   {}
func (*memConn) Created() time.Time      { return time.Time{} }
func (c *memConn) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.out
	c.out = nil
	return out
}

// send runs commands, a line each, as one batch.
func (c *client) send(lines ...string) {
	var in []byte
	for _, line := range lines {
		in = resp.AppendCommandStrings(in, strings.Fields(line)...)
	}
	c.s.Feed(in)
}

// do runs one command and returns its reply as it is on the wire, without the last
// line end; "" if the connection was closed instead. A blocked command is waited
// for.
func (c *client) do(line string) string {
	c.send(line)
	for c.s.Parked() {
		select {
		case <-c.conn.kicked:
			c.s.Feed(nil)
		case <-time.After(time.Millisecond):
			c.s.TimedOut()
		}
	}
	c.s.Feed(nil)
	return strings.TrimSuffix(string(c.conn.take()), "\r\n")
}

func (c *client) reply(line string) resp.Reply {
	v, err := resp.NewReader(strings.NewReader(c.do(line) + "\r\n")).Next()
	if err != nil {
		panic(fmt.Sprint(line, ": ", err))
	}
	return v
}

// fill writes values of all types in two databases.
func (l *lab) fill(n int) {
	c := l.client()
	for i := range n {
		c.send(fmt.Sprintf("SET s%d value-%d", i, i), fmt.Sprintf("RPUSH l%d a b %d", i%7, i), fmt.Sprintf("SADD set%d %d m%d", i%5, i, i),
			fmt.Sprintf("ZADD z%d %d.5 m%d", i%3, i, i), fmt.Sprintf("HSET h%d f%d v%d", i%4, i, i), "INCR counter")
		if i%10 == 0 {
			c.send("SELECT 2", fmt.Sprintf("SET other%d x PX 100000000", i), "MULTI", "INCR n", "SELECT 0", "INCR n", "EXEC")
		}
	}
	c.conn.take()
}
