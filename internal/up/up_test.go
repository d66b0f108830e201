package up

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/testport"
)

func TestPlan(t *testing.T) {
	got, err := newPlan(3, 1, 7000)
	want := []place{
		{7000, 0, 0, 5460}, {7001, 1, 5461, 10921}, {7002, 2, 10922, 16383},
		{7003, 0, 0, 0}, {7004, 1, 0, 0}, {7005, 2, 0, 0},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("newPlan(3, 1, 7000) = %v, %v, want %v", got, err, want)
	}
	for _, n := range []int{1, 7, 100, 1000} { // all slots, each once
		plan, err := newPlan(n, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		next := 0
		for _, p := range plan {
			if p.lo != next || p.hi < p.lo {
				t.Fatalf("%d primaries: %d-%d after slot %d", n, p.lo, p.hi, next)
			}
			next = p.hi + 1
		}
		if next != slots {
			t.Errorf("%d primaries cover %d slots", n, next)
		}
	}
	for _, bad := range [][3]int{{0, 1, 7000}, {3, -1, 7000}, {3, 1, 0}, {3, 1, 55531}, {20000, 0, 1}, {16384, 1 << 40, 1}} {
		if _, err := newPlan(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("newPlan(%v) accepts", bad)
		}
	}
}

func TestParse(t *testing.T) {
	var out, errOut bytes.Buffer
	o, _, done := parse(strings.Fields("--primaries 5 --replicas 0 --port 9000 --dir d --fresh --server x -- --maxmemory 1gb"), &out, &errOut)
	want := Options{5, 0, 9000, "d", true, []string{"x"}, []string{"--maxmemory", "1gb"}}
	if done || !reflect.DeepEqual(o, want) {
		t.Errorf("parse = %+v, %v, want %+v", o, done, want)
	}
	if _, code, done := parse([]string{"--bogus"}, &out, &errOut); !done || code != 1 || errOut.Len() == 0 {
		t.Errorf("a bad flag: code %d, done %v", code, done)
	}
	if _, code, done := parse([]string{"--help"}, &out, &errOut); !done || code != 0 || !strings.Contains(out.String(), "-primaries") {
		t.Errorf("--help: code %d, done %v, prints %q", code, done, out.String())
	}
	for args, want := range map[string]string{
		"--bogus 1":   "Bad directive",
		"--hz x":      "couldn't be parsed",
		"maxmemory 1": "unexpected argument",
	} {
		o.Args = strings.Fields(args)
		if _, err := New(o, &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New with %q: %v, want %s", args, err, want)
		}
	}
}

// --fresh deletes what nodes left, not what else lies in the directory.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"7000", "7001", "mine", "70000000"} {
		if err := os.MkdirAll(filepath.Join(dir, d, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"8000", formedFile, "notes"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("6\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := &Cluster{opts: Options{Dir: dir}}
	if n, err := c.formed(); n != 6 || err != nil {
		t.Errorf("formed = %d, %v", n, err)
	}
	if err := c.forget(); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"70000000", "8000", "mine", "notes"}; !reflect.DeepEqual(left, want) {
		t.Errorf("left: %v, want %v", left, want)
	}
}

// output is a console's writer that can be waited on.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) await(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if re.MatchString(o.String()) {
			return
		}
	}
	t.Fatalf("never printed %q:\n%s", pattern, o)
}

// session is a Cluster under way.
type session struct {
	c    *Cluster
	out  *output
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, o Options) *session {
	t.Helper()
	s := &session{out: new(output), done: make(chan error, 1)}
	var err error
	if s.c, err = New(o, s.out); err != nil {
		t.Fatal(err)
	}
	s.c.every = 100 * time.Millisecond
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	go func() { s.done <- s.c.Run(ctx) }()
	return s
}

// end stops the session and checks that it leaves in peace and no process behind.
func (s *session) end(t *testing.T) {
	t.Helper()
	s.stop()
	select {
	case err := <-s.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("Run does not end:\n%s", s.out)
	}
	for _, n := range s.c.nodes {
		if pid, _ := n.process(); pid != 0 {
			t.Errorf("node %d still runs as %d", n.port, pid)
		}
		if err := portFree(n.port); err != nil {
			t.Error(err)
		}
	}
}

// With redis-server as the node: a cluster is formed, a node that dies comes
// back, and the next run finds the same nodes and the data.
func TestCluster(t *testing.T) {
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server")
	}
	o := Options{Primaries: 3, Replicas: 1, Port: testport.FreeRange(t, 6), Dir: t.TempDir(), Server: []string{redis}, Args: []string{"--requirepass", "secret"}}
	s := start(t, o)
	s.out.await(t, `cluster is ready after .*redis-cli -c -p `+strconv.Itoa(o.Port)+` -a <password>\n`)
	ids := readyNodes(s.out.String())
	if len(ids) != 6 {
		t.Fatalf("%d nodes are said to be ready:\n%s", len(ids), s.out)
	}
	for i := range 3 {
		if want := fmt.Sprintf("node %d ready: primary of slots %d-%d ", o.Port+i, s.c.nodes[i].lo, s.c.nodes[i].hi); !strings.Contains(s.out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, s.out)
		}
		if want := fmt.Sprintf("node %d ready: replica of %s ", o.Port+3+i, ids[strconv.Itoa(o.Port+i)][:8]); !strings.Contains(s.out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, s.out)
		}
	}
	user := dialNode(t, o.Port)
	if _, err := user.do("SET", "foo{bar}", "v"); err != nil { // slot 5061, the first primary's
		t.Fatal(err)
	}

	victim := s.c.nodes[5]
	pid, _ := victim.process()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.out.await(t, fmt.Sprintf(`node %d ended \(signal: killed\), next start in 200ms`, victim.port))
	s.out.await(t, `state ok \| slots 16384/16384 \| 6/6 nodes up, 3 primaries \| \d+ ops/s`)
	if again, _ := victim.process(); again == pid || again == 0 {
		t.Errorf("process of the killed node: %d, was %d", again, pid)
	}
	s.end(t)

	wrong := o
	wrong.Replicas = 0
	if c, err := New(wrong, new(output)); err != nil {
		t.Error(err)
	} else if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "has a cluster of 6 nodes, not 3") {
		t.Errorf("another number of nodes: %v", err)
	}

	s = start(t, o)
	s.out.await(t, `cluster is ready`)
	if again := readyNodes(s.out.String()); !reflect.DeepEqual(again, ids) {
		t.Errorf("the second time the ids are %v, were %v", again, ids)
	}
	if v, err := dialNode(t, o.Port).do("GET", "foo{bar}"); v != "v" || err != nil {
		t.Errorf("the second time GET = %q, %v", v, err)
	}
	if c, err := New(o, new(output)); err != nil {
		t.Error(err)
	} else if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another cluster may be running") {
		t.Errorf("a second cluster on the same ports: %v", err)
	}
	s.end(t)
}

func dialNode(t *testing.T, port int) *client {
	t.Helper()
	c, err := dial(port, "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// readyNodes returns port -> id of the "ready" lines.
func readyNodes(text string) map[string]string {
	ids := make(map[string]string)
	for _, m := range regexp.MustCompile(`node (\d+) ready: .*  id ([0-9a-f]{40})\n`).FindAllStringSubmatch(text, -1) {
		ids[m[1]] = m[2]
	}
	return ids
}

// A node that cannot start ends the run with a word on where to look.
func TestHopeless(t *testing.T) {
	s := start(t, Options{Primaries: 1, Port: testport.FreeRange(t, 1), Dir: t.TempDir(), Server: []string{"/bin/false"}})
	select {
	case err := <-s.done:
		if err == nil || !strings.Contains(err.Error(), "does not start; see the logs in ") {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("Run does not give up:\n%s", s.out)
	}
	s.stop()
}

// On a terminal lines appear above the live one.
func TestConsole(t *testing.T) {
	var b bytes.Buffer
	c := newConsole(&b)
	c.tty = true
	c.status("one")
	c.println("line %d", 1)
	c.status("two")
	c.still()
	c.println("end")
	if want := "\r\x1b[Kone\r\x1b[Kline 1\none\r\x1b[Ktwo\nend\n"; b.String() != want {
		t.Errorf("printed %q, want %q", b.String(), want)
	}
}
