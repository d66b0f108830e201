package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// The names by which the binary is called, and runs that end at once: exit codes
// and texts are those that scripts around redis-server test for.
func TestNamesAndExitCodes(t *testing.T) {
	dir := t.TempDir()
	link := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.Symlink(proc.Binary(t), path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	server, redis := link("skein-server"), link("redis-server")
	conf := filepath.Join(dir, "bad.conf")
	if err := os.WriteFile(conf, []byte("# fine\nbogus \"1\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	busy := proc.StartNode(t, proc.Skein(t))
	for _, tt := range []struct {
		name   string
		path   string
		args   []string
		code   int
		output string // regular expression over both outputs
	}{
		{"skein alone explains itself", proc.Binary(t), nil, 1, `skein up`},
		{"skein with a wrong word", proc.Binary(t), []string{"nope"}, 1, `no command "nope"`},
		{"skein version", proc.Binary(t), []string{"version"}, 0, `^Redis server v=7\.2\.4 `},
		{"skein server", proc.Binary(t), []string{"server", "-v"}, 0, `^Redis server v=7\.2\.4 `},
		{"version by the name of redis-server", redis, []string{"--version"}, 0, `^Redis server v=7\.2\.4 sha=[0-9a-f]{8}:\d malloc=\S+ bits=64 build=\S+\n$`},
		{"help", server, []string{"--help"}, 0, `Usage: `},
		{"a bad directive in the file", server, []string{conf}, 1, `FATAL CONFIG FILE ERROR[^\n]*\nReading the configuration file, at line 2\n>>> 'bogus "1"'\nBad directive or wrong number of arguments\n$`},
		{"a file that is not there", server, []string{dir + "/none.conf"}, 1, `can't open config file`},
		{"a port in use", server, []string{"--port", strconv.Itoa(busy.Port), "--bind", "127.0.0.1"}, 1, `(?i)address already in use`},
		{"sentinel mode", link("redis-sentinel"), []string{conf}, 1, `sentinel mode is not built in`},
		{"check of a file that is not there", link("redis-check-rdb"), []string{dir + "/none.rdb"}, 1, `Cannot open file|no such file`},
		{"up with a wrong argument", proc.Binary(t), []string{"up", "nope"}, 1, `unexpected argument "nope"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(tt.path, tt.args...)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d: %v\n%s", code, tt.code, err, out)
			}
			if !regexp.MustCompile(tt.output).Match(out) {
				t.Errorf("output %q, want %q", out, tt.output)
			}
		})
	}
}

// Signals as redis-server takes them.
func TestSignals(t *testing.T) {
	for _, tt := range []struct {
		signal syscall.Signal
		code   int // -1: it lives on
	}{
		{syscall.SIGTERM, 0},
		{syscall.SIGINT, 0},
		{syscall.SIGHUP, -1},
		{syscall.SIGPIPE, -1},
		{syscall.SIGUSR1, -1},
		{syscall.SIGQUIT, 2}, // with a dump of all goroutines, as Go programs do
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			n := proc.StartNode(t, proc.Skein(t), "--pidfile", "pid", "--unixsocket", "sock")
			if text, err := os.ReadFile(n.Path("pid")); err != nil || string(text) != strconv.Itoa(n.PID())+"\n" {
				t.Errorf("pid file %q, %v; want %d", text, err, n.PID())
			}
			n.Signal(tt.signal)
			if tt.code < 0 {
				for range 3 {
					n.Must("PING")
				}
				n.Stop()
			} else if code := n.Exit(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if tt.code > 0 {
				return // killed: nothing was tidied up
			}
			if !strings.Contains(n.Log(), "bye bye...") {
				t.Errorf("no last words in the log")
			}
			for _, name := range []string{"pid", "sock"} {
				if _, err := os.Stat(n.Path(name)); !os.IsNotExist(err) {
					t.Errorf("%s is there after the end: %v", name, err)
				}
			}
		})
	}
}

// A configuration file as distributions ship them, changed at run time and
// rewritten, does the same after a restart.
func TestConfigFile(t *testing.T) {
	n := proc.NewNode(t, proc.Skein(t))
	conf := n.Path("redis.conf")
	text := `# A comment that stays.
port 1
maxmemory 100mb
maxmemory-policy allkeys-lru
save 3600 1 300 100
client-output-buffer-limit pubsub 32mb 8mb 60
`
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	n.Program.Args = append(n.Program.Args, conf) // options come after the file and win
	n.Start()
	get := func(name string) string {
		return fmt.Sprint(n.Must("CONFIG", "GET", name).([]any)[1])
	}
	for name, want := range map[string]string{"maxmemory": "104857600", "maxmemory-policy": "allkeys-lru", "port": strconv.Itoa(n.Port), "save": ""} {
		if got := get(name); got != want {
			t.Errorf("CONFIG GET %s = %q, want %q", name, got, want)
		}
	}
	n.Must("CONFIG", "SET", "maxmemory", "200mb", "hash-max-listpack-entries", "64")
	n.Must("CONFIG", "REWRITE")
	rewritten, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# A comment that stays.\n", "maxmemory 200mb\n", "hash-max-listpack-entries 64\n", "maxmemory-policy allkeys-lru\n"} {
		if !bytes.Contains(rewritten, []byte(want)) {
			t.Errorf("the rewritten file lacks %q:\n%s", want, rewritten)
		}
	}
	n.Stop()
	n.Start()
	for name, want := range map[string]string{"maxmemory": "209715200", "hash-max-listpack-entries": "64"} {
		if got := get(name); got != want {
			t.Errorf("after a restart CONFIG GET %s = %q, want %q", name, got, want)
		}
	}
	if _, err := n.Do("CONFIG", "SET", "maxmemory-policy", "lru"); err == nil || !strings.Contains(err.Error(), "argument(s) must be one of the following") {
		t.Errorf("CONFIG SET of a wrong word: %v", err)
	}
	if _, err := n.Do("CONFIG", "SET", "databases", "4"); err == nil || err.Error() != "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config" {
		t.Errorf("CONFIG SET of what is fixed: %v", err)
	}
}

// SHUTDOWN saves where save points say so, and the data are there again; with
// NOSAVE they are those of the last save.
func TestShutdown(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t), "--save", "3600", "1")
	n.Must("SET", "a", "1")
	n.Do("SHUTDOWN")
	if code := n.Exit(); code != 0 {
		t.Errorf("exit code %d after SHUTDOWN", code)
	}
	n.Start()
	n.Must("SET", "b", "2")
	n.Do("SHUTDOWN", "NOSAVE")
	if code := n.Exit(); code != 0 {
		t.Errorf("exit code %d after SHUTDOWN NOSAVE", code)
	}
	n.Start()
	if a, b := n.Text("EXISTS", "a"), n.Text("EXISTS", "b"); a != "1" || b != "0" {
		t.Errorf("after SHUTDOWN, then SHUTDOWN NOSAVE: a exists: %s, b: %s; want 1, 0", a, b)
	}
}

// Two servers never share a nodes.conf.
func TestNodesConfIsLocked(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs()...)
	second := proc.NewNode(t, proc.Skein(t), append(proc.ClusterArgs(), "--dir", n.Dir)...)
	second.Launch()
	if code := second.Exit(); code != 1 {
		t.Errorf("the second server ends with code %d, want 1", code)
	}
	if !strings.Contains(second.Log(), "already used by a different Redis Cluster node") {
		t.Errorf("the second server does not say why it ends:\n%s", second.Log())
	}
}

// A reader that does not read is bounded and cut off; nobody else notices.
func TestSlowReader(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t), "--client-output-buffer-limit", "pubsub", "1mb", "0", "0")
	sub := exec.Command(proc.Tool(t, "redis-cli"), "-p", strconv.Itoa(n.Port), "SUBSCRIBE", "ch")
	pipe, err := sub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		sub.Process.Kill()
		sub.Wait()
	}()
	proc.Wait(t, proc.Patience, "subscription", func() string {
		if got := fmt.Sprint(n.Must("PUBSUB", "NUMSUB", "ch")); got != "[ch 1]" {
			return got
		}
		return ""
	})
	sub.Process.Signal(syscall.SIGSTOP)
	message := strings.Repeat("m", 100_000)
	start := time.Now()
	proc.Wait(t, proc.Patience, "the subscriber is cut off", func() string {
		if got := n.Text("PUBLISH", "ch", message); got == "1" {
			return "it still counts as a receiver"
		}
		return ""
	})
	t.Logf("cut off after %v", time.Since(start).Round(time.Millisecond))
	if got := fmt.Sprint(n.Must("PUBSUB", "NUMSUB", "ch")); got != "[ch 0]" {
		t.Errorf("PUBSUB NUMSUB: %s", got)
	}
}
