package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// peer is a connection to a server of either make.
type peer struct {
	c net.Conn
	r *bufio.Reader
}

// start runs a server with a port of its own until the test ends, and connects.
func start(t *testing.T, make func(args ...string) *exec.Cmd, args ...string) *peer {
	t.Helper()
	port := freePort(t)
	cmd := make(append([]string{"--port", port, "--save", "", "--dir", t.TempDir(), "--enable-debug-command", "yes"}, args...)...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("log of %s:\n%s", cmd.Path, log.Bytes())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if ping(port) == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer:\n%s", cmd.Path, log.Bytes())
		}
	}
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &peer{c, bufio.NewReader(c)}
}

// both starts a Skein and a redis-server; without the latter the test is
// skipped.
func both(t *testing.T) (skein, redis *peer) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	return start(t, serverCommand), start(t, func(args ...string) *exec.Cmd { return exec.Command(path, args...) })
}

// raw sends a command and returns the bytes of one reply, attributes included.
func (p *peer) raw(t *testing.T, args ...string) string {
	t.Helper()
	p.c.SetDeadline(time.Now().Add(20 * time.Second))
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := p.c.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := p.value(&out); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return out.String()
}

func (p *peer) value(out *strings.Builder) error {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return err
	}
	out.WriteString(line)
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$', '=':
		if n < 0 {
			return nil
		}
		b := make([]byte, n+2)
		_, err := io.ReadFull(p.r, b)
		out.Write(b)
		return err
	case '%', '|':
		n *= 2
	case '*', '~', '>':
	default:
		return nil
	}
	for range n {
		if err := p.value(out); err != nil {
			return err
		}
	}
	if line[0] == '|' { // belongs to the value that follows
		return p.value(out)
	}
	return nil
}

// Goal: an operator's tools cannot tell the node from redis-server. Method: the
// same commands to both, in both protocols; replies are compared byte by byte.
func TestOperatorRepliesAgainstRedis(t *testing.T) {
	skein, redis := both(t)
	for _, proto := range []string{"2", "3"} {
		skein.raw(t, "HELLO", proto)
		redis.raw(t, "HELLO", proto)
		for _, line := range strings.Split(strings.TrimSpace(operatorDialogue), "\n") {
			args := strings.Fields(line)
			for i, a := range args {
				if a == `""` {
					args[i] = ""
				}
			}
			if got, want := skein.raw(t, args...), redis.raw(t, args...); got != want {
				t.Errorf("RESP%s %s:\n  got %.600q\n want %.600q", proto, line, got, want)
			}
		}
	}
}

const operatorDialogue = `
CONFIG
CONFIG FOO
CONFIG GET
CONFIG GET save
CONFIG GET nosuch
CONFIG GET maxmemory maxmemory
CONFIG GET MAXMEMORY
CONFIG GET max[c]lients
CONFIG SET port
CONFIG SET hz 20 hz 30
CONFIG SET nosuch 1
CONFIG SET maxmemory 1x
CONFIG SET daemonize yes
CONFIG SET dir /tmp
CONFIG SET maxmemory-policy bad
CONFIG SET maxmemory 100mb slowlog-max-len 50
CONFIG GET maxmemory
CONFIG SET maxmemory 0 slowlog-max-len -1
CONFIG GET maxmemory
CONFIG SET maxmemory 0
CONFIG REWRITE
CONFIG RESETSTAT
CONFIG RESETSTAT x
SLOWLOG
SLOWLOG FOO
SLOWLOG GET -2
SLOWLOG GET x
SLOWLOG GET 1 2
SLOWLOG RESET
SLOWLOG LEN
SLOWLOG GET
CONFIG SET slowlog-log-slower-than 1000000
LATENCY
LATENCY LATEST
LATENCY HISTORY nosuch
LATENCY GRAPH nosuch
LATENCY RESET
LATENCY RESET a b
LATENCY HISTOGRAM nosuch
MEMORY
MEMORY FOO
MEMORY USAGE
MEMORY USAGE nosuch
MEMORY USAGE nosuch FOO
MEMORY USAGE nosuch SAMPLES
MEMORY USAGE nosuch SAMPLES x
MEMORY USAGE nosuch SAMPLES -1
MEMORY PURGE
COMMAND FOO
COMMAND INFO nosuch
COMMAND INFO config|get config|set config|rewrite config|resetstat config|help debug time shutdown lolwut info
COMMAND INFO slowlog|get slowlog|len slowlog|reset slowlog|help latency|doctor latency|graph latency|histogram latency|history
COMMAND INFO latency|latest latency|reset latency|help memory|doctor memory|malloc-stats memory|purge memory|stats memory|usage memory|help
COMMAND INFO command|count command|docs command|getkeys command|getkeysandflags command|info command|list command|help
COMMAND INFO module|list module|load module|loadex module|unload module|help
COMMAND INFO acl|cat acl|whoami acl|users acl|list acl|getuser acl|genpass acl|log acl|dryrun acl|help
COMMAND DOCS nosuch
COMMAND COUNT x
COMMAND LIST FILTERBY foo bar
COMMAND LIST FILTERBY
COMMAND LIST FILTERBY MODULE x
COMMAND LIST FILTERBY ACLCAT nosuch
COMMAND LIST FILTERBY PATTERN conf?g
COMMAND GETKEYS
COMMAND GETKEYS get
COMMAND GETKEYS nosuch a b
COMMAND GETKEYS ping x
COMMAND GETKEYS config get x
COMMAND GETKEYS set a
COMMAND GETKEYS mset a 1 b 2
COMMAND GETKEYSANDFLAGS mset a 1 b 2
COMMAND GETKEYSANDFLAGS set a b
COMMAND GETKEYSANDFLAGS set a b GET
DEBUG
DEBUG FOO
DEBUG SLEEP 0
DEBUG POPULATE 100 pop 20
DEBUG POPULATE 3 long 100
DEBUG POPULATE 5
GET pop:99
GET key:4
DBSIZE
DEBUG DIGEST
DEBUG RELOAD
DEBUG DIGEST
DEBUG RELOAD NOSAVE
DBSIZE
DEBUG RELOAD FOO
DEBUG DIGEST-VALUE pop:1 long:2 nosuch
DEBUG SDSLEN nosuch
DEBUG OBJECT nosuch
DEBUG ERROR hello
DEBUG SET-ACTIVE-EXPIRE 1
DEBUG PROTOCOL attrib
DEBUG PROTOCOL push
DEBUG PROTOCOL map
DEBUG PROTOCOL foo
DEBUG CHANGE-REPL-ID
FLUSHALL
SHUTDOWN foo
SHUTDOWN SAVE NOSAVE
SHUTDOWN ABORT
TIME x
MODULE LIST
MODULE LOAD x
MODULE FOO
ACL WHOAMI
ACL LIST
ACL USERS
ACL GETUSER default
ACL GETUSER nosuch
ACL CAT
ACL CAT nosuch
ACL CAT a b
ACL GENPASS x
ACL GENPASS 0
ACL LOG
ACL LOG x
ACL LOG RESET
ACL DRYRUN default get x
ACL DRYRUN nosuch get x
ACL DRYRUN default nosuch x
ACL DRYRUN default get
INFO nosuch
INFO errorstats
`

// Goal: requirepass guards the node from the first connection on, follows CONFIG
// SET, and is shown by ACL as redis-server shows it.
func TestPasswordAgainstRedis(t *testing.T) {
	skein, redis := both(t)
	for _, line := range []string{
		"AUTH x", "AUTH default x", "CONFIG SET requirepass secret", "PING", "ACL LIST", "ACL GETUSER default", "RESET", "PING", "CONFIG GET save",
		"AUTH wrong", "AUTH default wrong", "AUTH nosuch secret", "AUTH default secret", "ACL WHOAMI", "RESET", "AUTH secret", "PING",
		"CONFIG SET requirepass new", "PING", "RESET", "AUTH secret", "HELLO 2 AUTH default new SETNAME x", "ACL WHOAMI",
	} {
		args := strings.Fields(line)
		got, want := skein.raw(t, args...), redis.raw(t, args...)
		if args[0] == "HELLO" { // ids and versions differ
			got, want = got[:1], want[:1]
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

// Goal: settings take effect when they are changed, not at the next start.
func TestSettingsTakeEffect(t *testing.T) {
	p := start(t, serverCommand)
	for _, step := range []struct{ args, want string }{
		{"CONFIG SET hash-max-listpack-entries 2", "+OK\r\n"},
		{"HSET h a 1 b 2 c 3", ":3\r\n"},
		{"OBJECT ENCODING h", "$9\r\nhashtable\r\n"},
		{"DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n"},
		{"CONFIG SET hash-max-listpack-entries 3", "+OK\r\n"},
		{"HSET i a 1 b 2 c 3", ":3\r\n"},
		{"OBJECT ENCODING i", "$8\r\nlistpack\r\n"},
		{"PSETEX gone 1 x", "+OK\r\n"},
		{"DEBUG SLEEP 0.3", "+OK\r\n"}, // a cycle would have deleted the key
		{"DBSIZE", ":3\r\n"},           // still: CONFIG SET kept what DEBUG has set
		{"CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 2", "+OK\r\n"},
		{"PING", "+PONG\r\n"}, {"PING", "+PONG\r\n"}, {"PING", "+PONG\r\n"},
		{"SLOWLOG LEN", ":2\r\n"},
		{"CONFIG SET slowlog-max-len 1 slowlog-log-slower-than -1", "+OK\r\n"},
		{"SLOWLOG LEN", ":1\r\n"},
	} {
		if got := p.raw(t, strings.Fields(step.args)...); got != step.want {
			t.Errorf("%s: %q, want %q", step.args, got, step.want)
		}
	}
	// Keyspace events, to a subscriber of its own.
	p.raw(t, "CONFIG", "SET", "notify-keyspace-events", "KEA")
	c, err := net.Dial("tcp", p.c.RemoteAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sub := &peer{c, bufio.NewReader(c)}
	sub.raw(t, "SUBSCRIBE", "__keyevent@0__:set")
	p.raw(t, "SET", "noticed", "1")
	var event strings.Builder
	if err := sub.value(&event); err != nil || !strings.Contains(event.String(), "noticed") {
		t.Errorf("event %q, %v", event.String(), err)
	}
}

// Goal: metrics-port answers with the node's own figures.
func TestMetricsPort(t *testing.T) {
	port := freePort(t)
	p := start(t, serverCommand, "--metrics-port", port, "--bind", "127.0.0.1", "-::1")
	p.raw(t, "SET", "k", "v")
	for path, want := range map[string]string{"/metrics": "redis_db_keys{db=\"db0\"} 1\n", "/": "<title>Skein master on port"} {
		r, err := http.Get("http://127.0.0.1:" + port + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			t.Errorf("GET %s: %v %d, no %q in\n%s", path, err, r.StatusCode, want, text)
		}
	}
}

// Goal: CONFIG SET port moves the listener; connections stay, a port that is in
// use leaves all as it was.
func TestPortMoves(t *testing.T) {
	p := start(t, serverCommand)
	_, old, _ := net.SplitHostPort(p.c.RemoteAddr().String())
	next := freePort(t)
	if got := p.raw(t, "CONFIG", "SET", "port", next); got != "+OK\r\n" {
		t.Fatalf("CONFIG SET port: %q", got)
	}
	if err := ping(next); err != nil {
		t.Errorf("new port: %v", err)
	}
	if ping(old) == nil {
		t.Error("the old port still answers")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, busy, _ := net.SplitHostPort(taken.Addr().String())
	want := "-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs.\r\n"
	if got := p.raw(t, "CONFIG", "SET", "bind", "127.0.0.1", "port", busy); got != strings.Replace(want, "'port'", "'bind'", 1) && got != want {
		t.Errorf("CONFIG SET to a port in use: %q", got)
	}
	if got := p.raw(t, "CONFIG", "GET", "port"); !strings.Contains(got, next) {
		t.Errorf("port is %q, want %s again", got, next)
	}
	if err := ping(next); err != nil {
		t.Errorf("after the failure: %v", err)
	}
}

// Goal: SHUTDOWN NOSAVE ends the process with code 0 and the connection without
// a reply; the file of the data set is not written, with SAVE it is.
func TestShutdownCommand(t *testing.T) {
	for _, how := range []string{"NOSAVE", "SAVE"} {
		dir, port := t.TempDir(), freePort(t)
		cmd := serverCommand("--port", port, "--dir", dir, "--save", "3600 1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
		for deadline := time.Now().Add(20 * time.Second); ping(port) != nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the server does not answer")
			}
		}
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p := &peer{c, bufio.NewReader(c)}
		p.raw(t, "SET", "k", "v")
		c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(c, "SHUTDOWN %s\r\n", how)
		if rest, err := io.ReadAll(c); len(rest) != 0 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("SHUTDOWN %s replied %q, %v", how, rest, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("SHUTDOWN %s: %v", how, err)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		saved := slices.ContainsFunc(files, func(f os.DirEntry) bool { return f.Name() == "dump.rdb" })
		if saved != (how == "SAVE") {
			t.Errorf("SHUTDOWN %s: saved is %v", how, saved)
		}
	}
}
