package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/internal/testport"
	"github.com/skeindb/skein/test/proc"
)

// output collects what a program prints while it runs.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// upRun is a running "skein up".
type upRun struct {
	cmd *exec.Cmd
	out *output
}

func startUp(t *testing.T, args ...string) *upRun {
	t.Helper()
	u := &upRun{out: &output{}}
	u.cmd = exec.Command(proc.Binary(t), append([]string{"up"}, args...)...)
	u.cmd.Stdout, u.cmd.Stderr = u.out, u.out
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if u.cmd.ProcessState == nil { // it kills its nodes as it ends
			u.cmd.Process.Signal(syscall.SIGTERM)
			u.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("skein up %v:\n%s", args, u.out)
		}
	})
	return u
}

// waitLine waits for output that matches and returns the match.
func (u *upRun) waitLine(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var m []string
	proc.Wait(t, proc.Patience, fmt.Sprintf("skein up prints %q", pattern), func() string {
		if m = re.FindStringSubmatch(u.out.String()); m == nil {
			return "it has printed:\n" + u.out.String()
		}
		return ""
	})
	return m
}

// ready waits until the cluster serves and returns how many seconds "skein up"
// says that took, and the command that it advises.
func (u *upRun) ready(t *testing.T) (seconds float64, advice string) {
	t.Helper()
	m := u.waitLine(t, `cluster is ready after ([0-9.]+) s; connect with: (redis-cli -c -p \d+)`)
	seconds, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return seconds, m[2]
}

// stop is Ctrl-C.
func (u *upRun) stop(t *testing.T) {
	t.Helper()
	u.cmd.Process.Signal(syscall.SIGINT)
	u.waitLine(t, `all nodes have stopped`)
	if err := u.cmd.Wait(); err != nil {
		t.Errorf("skein up after Ctrl-C: %v", err)
	}
}

// inTime checks that a start is ready within three seconds. A machine busy with
// something else gets three more chances with the same arguments.
func inTime(t *testing.T, what string, took float64, args ...string) {
	t.Helper()
	const limit = 3.0
	t.Logf("%s: ready after %v s", what, took)
	for try := 0; took >= limit && !testing.Short(); try++ { // the race detector makes it slower
		if try == 3 {
			t.Errorf("%s: ready after %v s, want less than %v", what, took, limit)
			return
		}
		u := startUp(t, args...)
		took, _ = u.ready(t)
		t.Logf("%s, once more: ready after %v s", what, took)
		u.stop(t)
	}
}

// "skein up" has a cluster ready in three seconds, the first time and after
// Ctrl-C, the second time with the same node ids and data.
func TestUp(t *testing.T) {
	dir, port := t.TempDir(), testport.FreeRange(t, 6)
	args := []string{"--port", strconv.Itoa(port), "--dir", dir}
	ctx := context.Background()
	ids := func() string {
		c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(port)})
		defer c.Close()
		text, err := c.ClusterNodes(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			found[f[1]+" "+f[0]] = true
		}
		return fmt.Sprint(found) // maps print in order
	}
	var before string
	var took [2]float64
	for start := range took {
		u := startUp(t, args...)
		var advice string
		took[start], advice = u.ready(t)
		if want := "redis-cli -c -p " + strconv.Itoa(port); advice != want {
			t.Errorf("advice %q, want %q", advice, want)
		}
		for i := range 6 {
			if !strings.Contains(u.out.String(), strconv.Itoa(port+i)) {
				t.Errorf("no line about node %d", port+i)
			}
		}
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + strconv.Itoa(port)}})
		for i := range 300 {
			key := fmt.Sprintf("key:%d", i)
			if start == 0 {
				if err := client.Set(ctx, key, i, 0).Err(); err != nil {
					t.Fatalf("SET %s: %v", key, err)
				}
			} else if v, err := client.Get(ctx, key).Int(); err != nil || v != i {
				t.Fatalf("GET %s after the second start = %d, %v", key, v, err)
			}
		}
		client.Close()
		if start == 0 {
			before = ids()
		} else if after := ids(); after != before {
			t.Errorf("nodes at the second start:\n%s\nat the first:\n%s", after, before)
		}
		u.stop(t)
		for i := range 6 {
			if _, err := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port+i), MaxRetries: -1, DialerRetries: 1}).Ping(ctx).Result(); err == nil {
				t.Errorf("node %d still answers after Ctrl-C", port+i)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, strconv.Itoa(port), "nodes.conf")); err != nil {
		t.Error(err)
	}
	inTime(t, "with data", took[1], args...)
	inTime(t, "new", took[0], append(args, "--fresh")...)
}

// A node of "skein up" that dies comes back, and so does the cluster.
func TestUpRestartsNodes(t *testing.T) {
	port := testport.FreeRange(t, 3)
	u := startUp(t, "--port", strconv.Itoa(port), "--dir", t.TempDir(), "--replicas", "0", "--", "--cluster-node-timeout", "2000")
	u.waitLine(t, `cluster is ready after`)
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(port), Protocol: 2, MaxRetries: -1, DialTimeout: time.Second})
	defer c.Close()
	ctx := context.Background()
	info, err := c.Info(ctx, "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`process_id:(\d+)`).FindStringSubmatch(info)
	if m == nil {
		t.Fatalf("no process_id in INFO:\n%s", info)
	}
	pid, _ := strconv.Atoi(m[1])
	syscall.Kill(pid, syscall.SIGKILL)
	proc.Wait(t, proc.Patience, "the node is back in a cluster in order", func() string {
		text, err := c.Info(ctx, "server").Result()
		if err != nil {
			return err.Error()
		}
		if strings.Contains(text, "process_id:"+m[1]+"\r\n") {
			return "the old process lives"
		}
		state, err := c.ClusterInfo(ctx).Result()
		if err != nil || !strings.Contains(state, "cluster_state:ok") {
			return fmt.Sprintf("%v %s", err, state)
		}
		return ""
	})
}
