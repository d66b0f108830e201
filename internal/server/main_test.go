package server

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/testport"
)

// The test binary is the server too: with this variable it runs Main.
const asServer = "SKEIN_TEST_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func serverCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asServer+"=1")
	return cmd
}

func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(testport.Free(t))
}

// waitFor polls a file until it matches.
func waitFor(t *testing.T, path, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var text []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if text, _ = os.ReadFile(path); re.Match(text) {
			return string(text)
		}
	}
	t.Fatalf("%s never matched %q; it has:\n%s", path, pattern, text)
	return ""
}

// Arguments that end the process at once: exit code and what is printed where.
func TestExits(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "bad.conf")
	if err := os.WriteFile(conf, []byte("port 1\nbogus 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, port, _ := net.SplitHostPort(busy.Addr().String())
	lock, err := disk.LockFile(filepath.Join(dir, "used.conf"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	const fatal = "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.4) ***\n"
	tests := []struct {
		name, args, stdin string
		code              int
		out, err          string // regular expressions
	}{
		{"version", "--version", "", 0, `^Redis server v=7\.2\.4 sha=[0-9a-f]{8}:0 malloc=\S+ bits=64 build=\S+\n$`, `^$`},
		{"short version", "-v", "", 0, `^Redis server v=`, `^$`},
		{"help", "--help", "", 0, `^Usage: `, `^$`},
		{"bad file", conf, "", 1, `^$`, "^" + regexp.QuoteMeta(fatal+"Reading the configuration file, at line 2\n>>> 'bogus 1'\nBad directive or wrong number of arguments\n") + "$"},
		{"missing file", "/nonexistent/x.conf", "", 1, `# Fatal error, can't open config file '/nonexistent/x\.conf': No such file or directory\n$`, `^$`},
		{"bad option", "--port abc", "", 1, `^$`, `>>> 'port "abc"'\nargument couldn't be parsed into an integer\n$`},
		{"bad standard input", "-", "port 1 2\n", 1, `Reading config from stdin`, `>>> 'port 1 2'\nwrong number of arguments\n$`},
		{"rename of nothing", "--rename-command nope x", "", 1, `^$`, `No such command in rename-command\n$`},
		{"rename to another", "--rename-command get set", "", 1, `^$`, `Target command name already exists\n$`},
		{"log in a missing directory", "--logfile /nonexistent/x", "", 1, `^$`, "^" + regexp.QuoteMeta(fatal+"Can't open the log file: No such file or directory\n") + "$"},
		{"sentinel", "--sentinel", "", 1, `^$`, `sentinel mode is not built in`},
		{"users in two places", "--aclfile /tmp/x --user a on", "", 1, `define users in one place`, `^$`},
		{"replica in a cluster", "--cluster-enabled yes --replicaof a 1", "", 1, `^$`, "^" + regexp.QuoteMeta(fatal+"replicaof directive not allowed in cluster mode\n") + "$"},
		{"bus port too high", "--bind 127.0.0.1 --cluster-enabled yes --cluster-config-file high.conf --port 60123", "", 1, `# Redis port number too high\. Cluster communication port is 10,000 port numbers higher than your Redis port\. Your Redis port number must be 55535 or less\.\n$`, `^$`},
		{"corrupt nodes.conf", "--bind 127.0.0.1 --cluster-enabled yes --cluster-config-file bad.conf --port 0", "", 1, `# Unrecoverable error: corrupted cluster config file\.\n$`, `^$`},
		{"nodes.conf in use", "--bind 127.0.0.1 --cluster-enabled yes --cluster-config-file used.conf --port 0", "", 1, `# Sorry, the cluster configuration file used\.conf is already used by a different Redis Cluster node\. Please make sure that different nodes use different cluster configuration files\.\n$`, `^$`},
		{"port in use", "--bind 127.0.0.1 --port " + port, "", 1, `address already in use`, `^$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := serverCommand(strings.Fields(tt.args)...)
			var out, errOut bytes.Buffer
			cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(tt.stdin), &out, &errOut
			err := cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d: %v", code, tt.code, err)
			}
			if !regexp.MustCompile(tt.out).Match(out.Bytes()) {
				t.Errorf("standard output %q, want %q", out.String(), tt.out)
			}
			if !regexp.MustCompile(tt.err).Match(errOut.Bytes()) {
				t.Errorf("standard error %q, want %q", errOut.String(), tt.err)
			}
		})
	}
}

// A server's life: file and options, log, pid file, systemd, signals that do
// nothing, SIGTERM.
func TestLife(t *testing.T) {
	dir := t.TempDir()
	conf, log := filepath.Join(dir, "redis.conf"), filepath.Join(dir, "log")
	text := "dir " + dir + "\nlogfile log\npidfile server.pid\nbind 127.0.0.1\nsave \"\"\nalways-show-logo yes\nsupervised auto\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	port := freePort(t)
	cmd := serverCommand(conf, "--port", port)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	pid := strconv.Itoa(cmd.Process.Pid)
	waitFor(t, log, `(?s) PID: `+pid+`\n.*Server initialized.*\n`+pid+`:M \d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3} \* Ready to accept connections\n`)
	waitFor(t, filepath.Join(dir, "server.pid"), "^"+pid+"\n$")
	buf := make([]byte, 1024)
	notify.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := notify.Read(buf); err != nil || !bytes.Contains(buf[:n], []byte("\nREADY=1\n")) {
		t.Errorf("systemd was told %q, %v", buf[:n], err)
	}
	if err := ping(port); err != nil {
		t.Error(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1} {
		cmd.Process.Signal(sig)
	}
	waitFor(t, log, "Received SIGUSR1")
	if err := ping(port); err != nil {
		t.Errorf("after signals that do nothing: %v", err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit code 0", err)
	}
	waitFor(t, log, `Received SIGTERM scheduling shutdown\.\.\.\n(?s:.*)bye bye\.\.\.\n$`)
	if _, err := os.Stat(filepath.Join(dir, "server.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pid file is still there: %v", err)
	}
}

// daemonize gives the terminal back at once, and a configuration from standard
// input reaches the daemon.
func TestDaemonize(t *testing.T) {
	dir := t.TempDir()
	port, pidFile := freePort(t), filepath.Join(dir, "pid")
	cmd := serverCommand("-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("daemonize yes\ndir %s\nlogfile log\nbind 127.0.0.1\nport %s\npidfile %s\nsave \"\"\n", dir, port, pidFile))
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	waitFor(t, filepath.Join(dir, "log"), "Ready to accept connections")
	pid, err := strconv.Atoi(strings.TrimSpace(waitFor(t, pidFile, `^\d+\n$`)))
	if err != nil || pid == cmd.Process.Pid {
		t.Fatalf("pid %d, %v; the process started was %d", pid, err, cmd.Process.Pid)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	if err := ping(port); err != nil {
		t.Error(err)
	}
	syscall.Kill(pid, syscall.SIGINT)
	waitFor(t, filepath.Join(dir, "log"), `bye bye\.\.\.\n$`)
}

func ping(port string) error {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "PING\r\n")
	buf := make([]byte, 7)
	if _, err := conn.Read(buf); err != nil || string(buf) != "+PONG\r\n" {
		return fmt.Errorf("PING: %q, %v", buf, err)
	}
	return nil
}
