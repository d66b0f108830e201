package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/internal/testport"
)

// Longest time a server may need to start or to stop on a busy machine.
const Patience = 30 * time.Second

// ToolPatience is the longest that a tool which moves data may take there.
const ToolPatience = 4 * time.Minute

// Node is a server that can be stopped and started again, with its directory
// and port. What it is called with stays the same.
type Node struct {
	Program Program
	Port    int
	Dir     string
	Args    []string // directives after --port and --dir

	t      testing.TB
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process was waited for
	err    error         // of Wait; after ended
	client *redis.Client
}

// quiet drops the log lines of go-redis: that a killed server does not answer
// is no news in tests.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// QuietClients silences the log of go-redis. For TestMain, at the start.
func QuietClients() { redis.SetLogger(quiet{}) }

// NewNode makes a node that is not running yet. It has loopback only, takes
// DEBUG, saves by command and at its end only if the arguments say so.
func NewNode(t testing.TB, p Program, args ...string) *Node {
	t.Helper()
	n := &Node{Program: p, Port: testport.Free(t), t: t, Args: args}
	var err error
	if n.Dir, err = os.MkdirTemp("", fmt.Sprintf("%s-%d-", p.Name, n.Port)); err != nil {
		t.Fatal(err)
	}
	n.client = n.NewClient(0)
	t.Cleanup(func() {
		n.Kill()
		n.report()
		os.RemoveAll(n.Dir)
	})
	return n
}

// StartNode makes a node and starts it.
func StartNode(t testing.TB, p Program, args ...string) *Node {
	t.Helper()
	n := NewNode(t, p, args...)
	n.Start()
	return n
}

// report shows what a failed test needs to be understood, and what no test may
// leave behind.
func (n *Node) report() {
	text, _ := os.ReadFile(n.LogPath())
	for _, bad := range []string{"DATA RACE", "panic: ", "fatal error: ", "SIGSEGV"} {
		if i := bytes.Index(text, []byte(bad)); i >= 0 {
			end := min(len(text), i+6000)
			n.t.Errorf("%s has %q in its log:\n%s", n, bad, text[max(0, i-200):end])
			break
		}
	}
	if !n.t.Failed() {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	n.t.Logf("---- %s, last lines of its log:\n%s", n, strings.Join(lines[max(0, len(lines)-40):], "\n"))
}

func (n *Node) String() string          { return fmt.Sprintf("%s:%d", n.Program.Name, n.Port) }
func (n *Node) Addr() string            { return "127.0.0.1:" + strconv.Itoa(n.Port) }
func (n *Node) LogPath() string         { return filepath.Join(n.Dir, "log") }
func (n *Node) PID() int                { return n.cmd.Process.Pid }
func (n *Node) Log() string             { b, _ := os.ReadFile(n.LogPath()); return string(b) }
func (n *Node) Path(name string) string { return filepath.Join(n.Dir, name) }

// Launch starts the process and does not wait for it to answer.
func (n *Node) Launch() {
	n.t.Helper()
	if n.Running() {
		n.t.Fatalf("%s runs already", n)
	}
	args := append([]string{}, n.Program.Args...)
	args = append(args, "--port", strconv.Itoa(n.Port), "--dir", n.Dir, "--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "yes")
	args = append(args, n.Args...)
	log, err := os.OpenFile(n.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(n.Program.Path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = n.Dir
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	if err := start(cmd); err != nil {
		n.t.Fatalf("start %s: %v", n, err)
	}
	ended := make(chan struct{})
	n.cmd, n.ended = cmd, ended
	go func() {
		n.err = cmd.Wait()
		close(ended)
	}()
}

// Start starts the process and waits until it answers PING, as far as it gets:
// an error reply such as LOADING is not an answer.
func (n *Node) Start() {
	n.t.Helper()
	n.Launch()
	n.WaitReady()
}

// WaitReady waits until the node answers PING with PONG.
func (n *Node) WaitReady() {
	n.t.Helper()
	Wait(n.t, Patience, "start of "+n.String(), func() string {
		if !n.Running() {
			n.t.Fatalf("%s ended at its start: %v", n, n.err)
		}
		if _, err := n.Do("PING"); err != nil {
			return err.Error()
		}
		return ""
	})
}

// Running reports whether the process lives.
func (n *Node) Running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// Kill ends the process as a crash does, and waits for its end.
func (n *Node) Kill() {
	if n.Running() {
		n.cmd.Process.Kill()
		<-n.ended
	}
}

// Signal sends a signal to the process.
func (n *Node) Signal(s os.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatalf("signal %v to %s: %v", s, n, err)
	}
}

// Freeze sends SIGSTOP and waits until it has its effect: until then, on a busy
// machine for a good while, the process goes on with its work. Signal ends it.
func (n *Node) Freeze() {
	n.t.Helper()
	n.Signal(syscall.SIGSTOP)
	Wait(n.t, Patience, n.String()+" stands still", func() string {
		if !stopped(n.PID()) {
			return "not yet"
		}
		return ""
	})
}

// Exit waits for the end of the process and returns its exit code, 128 + signal
// if one ended it.
func (n *Node) Exit() int {
	n.t.Helper()
	select {
	case <-n.ended:
	case <-time.After(Patience):
		n.t.Fatalf("%s does not end", n)
	}
	var e *exec.ExitError
	if errors.As(n.err, &e) {
		if ws := e.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return e.ExitCode()
	}
	if n.err != nil {
		n.t.Fatalf("%s: %v", n, n.err)
	}
	return 0
}

// Stop ends the process with SIGTERM and wants exit code 0.
func (n *Node) Stop() {
	n.t.Helper()
	n.Signal(syscall.SIGTERM)
	if code := n.Exit(); code != 0 {
		n.t.Errorf("%s: exit code %d after SIGTERM, want 0", n, code)
	}
}

// Client is a go-redis client of this node alone: no retries, RESP2.
func (n *Node) Client() *redis.Client { return n.client }

// NewClient is another one like it, on a database; it is closed at the test's end.
// It gives the password that --requirepass sets.
func (n *Node) NewClient(db int) *redis.Client {
	o := &redis.Options{
		Addr: n.Addr(), Protocol: 2, MaxRetries: -1, PoolSize: 8, DB: db,
		DialTimeout: time.Second, ReadTimeout: Patience, WriteTimeout: Patience,
		DisableIdentity: true, DialerRetries: 1,
	}
	if i := slices.Index(n.Args, "--requirepass"); i >= 0 && i+1 < len(n.Args) {
		o.Password = n.Args[i+1]
	}
	c := redis.NewClient(o)
	n.t.Cleanup(func() { c.Close() })
	return c
}

// Do runs a command. An error reply is an error.
func (n *Node) Do(args ...any) (any, error) {
	return n.client.Do(context.Background(), args...).Result()
}

// Must runs a command that has to succeed and returns the reply.
func (n *Node) Must(args ...any) any {
	n.t.Helper()
	v, err := n.Do(args...)
	if err != nil {
		n.t.Fatalf("%s: %v: %v", n, args, err)
	}
	return v
}

// WaitSet waits until the node takes SET key value: it serves the key as a primary.
// It returns the time that it took.
func (n *Node) WaitSet(key string, value any) time.Duration {
	n.t.Helper()
	return Wait(n.t, Patience, fmt.Sprintf("%s takes SET %s", n, key), func() string {
		if _, err := n.Do("SET", key, value); err != nil {
			return err.Error()
		}
		return ""
	})
}

// Text is Must for a reply that is a string or a number.
func (n *Node) Text(args ...any) string {
	n.t.Helper()
	return fmt.Sprint(n.Must(args...))
}

// Info returns the fields of INFO section, or of all of it if section is "".
func (n *Node) Info(section ...any) map[string]string {
	n.t.Helper()
	return fields(n.Text(append([]any{"INFO"}, section...)...))
}

// InfoInt is one number of INFO.
func (n *Node) InfoInt(section, field string) int64 {
	n.t.Helper()
	text, has := n.Info(section)[field]
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		n.t.Fatalf("%s: INFO %s: field %s (there: %v): %v", n, section, field, has, err)
	}
	return v
}

// fields reads "name:value" lines.
func fields(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[k] = v
		}
	}
	return m
}

// Digest is DEBUG DIGEST: equal for equal data, whatever the encodings.
func (n *Node) Digest() string {
	n.t.Helper()
	return n.Text("DEBUG", "DIGEST")
}

// Resident is the resident memory of the process in bytes. Linux only.
func (n *Node) Resident() int64 {
	n.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.PID()))
	if err != nil {
		n.t.Skip(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		n.t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}
