package migrate_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/migrate"
	"github.com/skeindb/skein/internal/netio"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

const patience = 20 * time.Second

// node is an engine with the commands on values and MIGRATE, on a port. Its
// clock stands still.
type node struct {
	*redis.Client
	e *engine.Engine

	mu  sync.Mutex
	log []byte // effects
}

func (n *node) Append(_, _ int, cmds []byte) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, cmds...)
	return int64(len(n.log))
}

// effects returns what was propagated since the last call, a line a command.
func (n *node) effects(t *testing.T) (lines []string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	lines = commands(t, n.log)
	n.log = nil
	return lines
}

// commands splits a stream of commands; what is no text is left out.
func commands(t *testing.T, b []byte) (lines []string) {
	t.Helper()
	rd := resp.NewReader(bytes.NewReader(b))
	for {
		r, err := rd.Next()
		if err != nil {
			return lines
		}
		var words []string
		for _, e := range r.Elems {
			if w := e.Text(); len(w) > 0 && w[0] != 0 {
				words = append(words, w)
			} else {
				words = append(words, "*")
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
}

func newNode(t *testing.T, cluster bool) *node {
	h, err := mem.New(mem.Options{Shards: 8, Reserve: 64 << 20, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	st := store.New(h, 16)
	env := &command.Env{}
	env.SetLimits(command.DefaultLimits())
	n := &node{e: engine.New(engine.Options{Store: st, Env: env, Now: func() int64 { return 1_700_000_000_000 }})}
	m := migrate.New(migrate.Options{Cluster: cluster, Dial: func(ctx context.Context, host, port string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	}})
	n.e.SetTable(command.NewTable(engine.Specs(), datatypes.Specs(), m.Specs(), command.IntrospectSpecs()))
	n.e.SetLog(n)
	n.e.SetLogOn(true)
	srv := netio.New(netio.Options{Open: func(nc *netio.Conn) netio.Handler { return n.e.Open(nc) }})
	g, err := srv.ListenTCP([]string{"127.0.0.1"}, 0, 64, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.Client = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(g.Port()), Protocol: 2, MaxRetries: -1,
		DisableIdentity: true, ReadTimeout: patience, WriteTimeout: patience})
	t.Cleanup(func() {
		n.Client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		g.Close()
		srv.Shutdown(ctx)
		m.Close()
		st.Close()
		if err := h.Check(); err != nil {
			t.Error(err)
		}
		h.Close()
	})
	return n
}

// do runs a command given as one line and returns its reply, or the error's text.
func (n *node) do(line string) string {
	var args []any
	for _, a := range strings.Fields(line) {
		args = append(args, strings.Trim(a, `"`))
	}
	v, err := n.Do(context.Background(), args...).Result()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(v)
}

func (n *node) want(t *testing.T, line, want string) {
	t.Helper()
	if got := n.do(line); got != want {
		t.Errorf("%s: %q, want %q", line, got, want)
	}
}

// target is a server made of a script: a function for each connection, in
// order, told when a command has arrived whole. It returns the reply; "" closes.
type target struct {
	port  string
	mu    sync.Mutex
	conns int
	heard []byte
}

func newTarget(t *testing.T, reply func(conn int, command string) string) *target {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &target{port: strconv.Itoa(l.Addr().(*net.TCPAddr).Port)}
	var wg sync.WaitGroup
	wg.Add(1)
	var open []net.Conn
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.conns++
			i := g.conns
			open = append(open, c)
			g.mu.Unlock()
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				var p resp.Parser
				var buf []byte
				chunk := make([]byte, 4096)
				for {
					n, err := c.Read(chunk)
					if err != nil {
						return
					}
					buf = append(buf, chunk[:n]...)
					for {
						argv, used, err := p.Next(buf, nil)
						if err == resp.ErrMore {
							break
						}
						g.mu.Lock()
						g.heard = resp.AppendCommand(g.heard, argv...)
						g.mu.Unlock()
						words := make([]string, len(argv))
						for i, a := range argv {
							words[i] = string(a)
						}
						buf = buf[used:]
						r := reply(i, strings.Join(words, " "))
						if r == "" {
							return
						}
						c.Write([]byte(r + "\r\n"))
					}
				}
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		g.mu.Lock()
		for _, c := range open {
			c.Close()
		}
		g.mu.Unlock()
		wg.Wait()
	})
	return g
}

// took returns the commands heard since the last call and the number of
// connections so far.
func (g *target) took(t *testing.T) ([]string, int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	lines := commands(t, g.heard)
	g.heard = nil
	return lines, g.conns
}

func ok(int, string) string { return "+OK" }

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got  %q\n want %q", what, got, want)
	}
}

// What goes over the wire, in which order, and what is left behind.
func TestConversation(t *testing.T) {
	n := newNode(t, false)
	g := newTarget(t, ok)
	n.do("SET k v PX 100000")
	n.do("RPUSH k2 a")
	n.effects(t)
	n.want(t, `MIGRATE 127.0.0.1 `+g.port+` "" 3 1000 REPLACE AUTH2 u p KEYS k nokey k2`, "OK")
	heard, _ := g.took(t)
	wantLines(t, "first request", heard, "AUTH u p", "SELECT 3", "RESTORE k 100000 * REPLACE", "RESTORE k2 0 \x12"+heard[3][len("RESTORE k2 0 ")+1:])
	wantLines(t, "effects", n.effects(t), "DEL k k2")
	n.want(t, "EXISTS k k2", "0")

	// The connection is kept, and with it the selected database.
	n.do("SET k v")
	n.effects(t)
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+" k 3 1000 COPY AUTH p", "OK")
	heard, conns := g.took(t)
	wantLines(t, "second request", heard, "AUTH p", "RESTORE k 0 *")
	wantLines(t, "effects of COPY", n.effects(t))
	n.want(t, "GET k", "v")
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+" k 4 1000", "OK")
	heard, conns = g.took(t)
	wantLines(t, "third request", heard, "SELECT 4", "RESTORE k 0 *")
	if conns != 1 {
		t.Errorf("%d connections, want 1", conns)
	}
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+" k 4 1000", "NOKEY")
}

// In a cluster the target is asked to take keys of slots that it imports.
func TestClusterSendsRestoreAsking(t *testing.T) {
	n := newNode(t, true)
	g := newTarget(t, ok)
	n.do("SET k v")
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+" k 0 1000", "OK")
	heard, _ := g.took(t)
	wantLines(t, "request", heard, "SELECT 0", "RESTORE-ASKING k 0 *")
}

// What the target refuses stays, what it took goes; the first error is told, and
// the database of the connection counts as unknown.
func TestRefusals(t *testing.T) {
	n := newNode(t, false)
	g := newTarget(t, func(_ int, cmd string) string {
		switch {
		case strings.HasPrefix(cmd, "RESTORE busy"):
			return "-BUSYKEY Target key name already exists."
		case strings.HasPrefix(cmd, "RESTORE full"):
			return "-OOM no"
		case cmd == "AUTH wrong":
			return "-WRONGPASS no"
		case cmd == "SELECT 99":
			return "-ERR DB index is out of range"
		}
		return "+OK"
	})
	n.do("MSET busy 1 free 2 full 3 free2 4")
	n.effects(t)
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+` "" 0 1000 KEYS busy free full free2`,
		"ERR Target instance replied with error: BUSYKEY Target key name already exists.")
	wantLines(t, "effects", n.effects(t), "DEL free free2")
	n.want(t, "EXISTS busy free full free2", "2")
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+` busy 0 1000 AUTH wrong`, "ERR Target instance replied with error: WRONGPASS no")
	n.do("SET free 1")
	n.effects(t)
	g.took(t)
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+` free 99 1000`, "ERR Target instance replied with error: ERR DB index is out of range")
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+` free 99 1000`, "ERR Target instance replied with error: ERR DB index is out of range")
	heard, conns := g.took(t)
	wantLines(t, "requests", heard, "SELECT 99", "RESTORE free 0 *", "SELECT 99", "RESTORE free 0 *")
	if conns != 1 {
		t.Errorf("%d connections, want 1", conns)
	}
	wantLines(t, "effects", n.effects(t))
	n.want(t, "EXISTS free", "1")
}

// A kept connection that the target has closed is replaced without a word; one
// that is silent, or breaks after a reply, is not tried again.
func TestBrokenConnections(t *testing.T) {
	n := newNode(t, false)
	n.do("MSET a 1 b 2 c 3")
	var g *target
	mute := make(chan struct{})
	g = newTarget(t, func(conn int, cmd string) string {
		switch {
		case conn == 1 && strings.Contains(cmd, "RESTORE b"), conn == 2 && strings.Contains(cmd, "RESTORE d"), strings.Contains(cmd, "RESTORE never"):
			return ""
		case strings.Contains(cmd, "RESTORE mute"):
			<-mute
		}
		return "+OK"
	})
	defer close(mute)
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+" a 0 1000", "OK")
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+" b 0 1000", "OK") // closed, then taken by connection 2
	n.do("MSET c 1 d 2 e 3")
	n.effects(t)
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+` "" 0 1000 KEYS c d e`, "IOERR error or timeout reading to target instance")
	wantLines(t, "effects", n.effects(t), "DEL c")
	if _, conns := g.took(t); conns != 2 {
		t.Errorf("%d connections after a break behind a reply, want 2", conns)
	}
	n.do("MSET never 1 mute 1")
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+" never 5 1000", "IOERR error or timeout reading to target instance")
	n.want(t, "MIGRATE 127.0.0.1 "+g.port+" mute 0 50", "IOERR error or timeout reading to target instance")
	n.want(t, "EXISTS never mute d e", "4")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	n.want(t, "MIGRATE 127.0.0.1 "+port+" d 0 1000", "IOERR error or timeout writing to target instance")
	n.want(t, "MIGRATE no-such-host.invalid 1 d 0 1000", "IOERR error or timeout connecting to the client")
}

// The texts that redis-server 7.0.15 replies to the same arguments.
func TestArgumentErrors(t *testing.T) {
	n := newNode(t, false)
	n.do("SET a 1")
	for line, want := range map[string]string{
		"MIGRATE h 1 k x y":                                 "ERR value is not an integer or out of range",
		"MIGRATE h 1 k x 10":                                "ERR value is not an integer or out of range",
		"MIGRATE h 1 k 0 10 COPY FOO":                       "ERR syntax error",
		"MIGRATE h 1 k 0 10 AUTH":                           "ERR syntax error",
		"MIGRATE h 1 k 0 10 AUTH2 a":                        "ERR syntax error",
		"MIGRATE h 1 a bad 10 KEYS a":                       "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
		`MIGRATE h 1 "" 0 10 KEYS`:                          "NOKEY",
		`MIGRATE h 1 "" 0 10`:                               "NOKEY",
		"MIGRATE h 1 nokey 0 10":                            "NOKEY",
		"MIGRATE h 1 k 0":                                   "ERR wrong number of arguments for 'migrate' command",
		"COMMAND GETKEYS MIGRATE h 1 k 0 10":                "[k]",
		`COMMAND GETKEYS MIGRATE h 1 "" 0 10 COPY KEYS a b`: "[a b]",
		"COMMAND GETKEYS MIGRATE h 1 k 0 10 AUTH KEYS":      "[k]",
		"COMMAND GETKEYS MIGRATE h 1 k 0 10 KEYS a":         "ERR Invalid arguments specified for command",
	} {
		n.want(t, line, want)
	}
}

// Goal: while keys are under way nothing may change them, and nothing else
// waits. Method: a target that keeps MIGRATE waiting until told, and clients that
// meanwhile read, write and take all locks.
func TestKeysUnderWay(t *testing.T) {
	n := newNode(t, false)
	arrived, answer := make(chan struct{}), make(chan struct{})
	g := newTarget(t, func(_ int, cmd string) string {
		if strings.HasPrefix(cmd, "RESTORE") {
			close(arrived)
			<-answer
		}
		return "+OK"
	})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release) // before the target's end, which waits for its connections
	n.do("MSET {k}1 old {k}2 old else old")
	n.effects(t)
	var wg sync.WaitGroup
	spawn := func(f func()) { wg.Add(1); go func() { defer wg.Done(); f() }() }
	spawn(func() { n.want(t, "MIGRATE 127.0.0.1 "+g.port+" {k}1 0 20000", "OK") })
	<-arrived
	n.want(t, "GET {k}1", "old")
	n.want(t, "SET else new", "OK")
	n.want(t, "DBSIZE", "3")
	n.e.Store.LockWorld()
	n.e.Store.UnlockWorld()

	wrote := make(chan string, 3)
	spawn(func() { n.want(t, "SETNX {k}1 new", "1"); wrote <- "set" })
	spawn(func() { n.want(t, "APPEND {k}2 er", "5"); wrote <- "append" })
	spawn(func() {
		cmds, err := n.TxPipelined(context.Background(), func(p redis.Pipeliner) error {
			p.Incr(context.Background(), "{k}n")
			return nil
		})
		if err != nil || cmds[0].(*redis.IntCmd).Val() != 1 {
			t.Errorf("EXEC: %v, %v", cmds, err)
		}
		wrote <- "exec"
	})
	// All three are connected, beside MIGRATE, and none is through.
	for deadline := time.Now().Add(patience); n.e.ClientCount() < 4; {
		if time.Now().After(deadline) {
			t.Error("the writers do not connect")
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case who := <-wrote:
		t.Errorf("%s did not wait", who)
	case <-time.After(100 * time.Millisecond):
	}
	release()
	wg.Wait()
	n.want(t, "MGET {k}1 {k}2 {k}n", "[new older 1]")
	if got := n.effects(t); !slices.Contains(got, "DEL {k}1") || slices.Index(got, "DEL {k}1") > slices.Index(got, "SETNX {k}1 new") {
		t.Errorf("effects %q: want DEL {k}1 before SETNX {k}1", got)
	}
	if n.e.Gate(engine.GateFrozen) {
		t.Error("slots are still frozen")
	}
}

// In a transaction MIGRATE is as atomic as the rest of it.
func TestInTransaction(t *testing.T) {
	n := newNode(t, false)
	g := newTarget(t, ok)
	n.do("SET k v")
	ctx := context.Background()
	cmds, err := n.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Append(ctx, "k", "w")
		p.Do(ctx, "MIGRATE", "127.0.0.1", g.port, "k", 0, 1000)
		p.Exists(ctx, "k")
		return nil
	})
	if err != nil || cmds[1].(*redis.Cmd).Val() != "OK" || cmds[2].(*redis.IntCmd).Val() != 0 {
		t.Errorf("EXEC: %v, %v", cmds, err)
	}
}

// A node that lost its role while keys were under way must not delete them.
func TestRoleLost(t *testing.T) {
	n := newNode(t, false)
	arrived, answer := make(chan struct{}), make(chan struct{})
	g := newTarget(t, func(_ int, cmd string) string {
		if strings.HasPrefix(cmd, "RESTORE") {
			close(arrived)
			<-answer
		}
		return "+OK"
	})
	n.do("SET k v")
	n.effects(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.want(t, "MIGRATE 127.0.0.1 "+g.port+" k 0 20000", command.ErrUnblockedRole)
	}()
	<-arrived
	n.e.SetView(&engine.View{Replica: true})
	close(answer)
	<-done
	wantLines(t, "effects", n.effects(t))
	n.want(t, "EXISTS k", "1")
}
