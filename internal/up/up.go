// Package up is the command "skein up": a whole cluster on one machine, every
// node a process of its own, for trying things out and for tests of clients. It
// starts the nodes, makes a cluster of them the first time, restarts the ones
// that die, and shows how the cluster is until it is told to stop.
//
// It knows the nodes only from outside: command line, signals, and the client
// protocol, so it drives redis-server as well. Directories and node ids
// are the nodes' own; the only thing kept here is the file that says the
// cluster has been formed.
//
// Read up.go, plan.go, process.go, form.go, status.go. Run's goroutine forms
// the cluster and shows the status; one goroutine per node keeps its process.
package up

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/skeindb/skein/internal/config"
)

// Options say which cluster to run.
type Options struct {
	Primaries int
	Replicas  int      // of each primary
	Port      int      // of the first node; the others follow it
	Dir       string   // node data lies in Dir/<port>
	Fresh     bool     // delete what an earlier cluster left in Dir
	Server    []string // program of a node and its first arguments
	Args      []string // directives for every node, "--name value ..."
}

// Main runs the command line after "up" until Ctrl-C and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	o, code, done := parse(args, stdout, stderr)
	if done {
		return code
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	c, err := New(o, stdout)
	if err == nil {
		err = c.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(stderr, "skein "+err.Error())
		return 1
	}
	return 0
}

// parse reads the command line; done says that there is nothing to run.
func parse(args []string, stdout, stderr io.Writer) (o Options, code int, done bool) {
	fs := flag.NewFlagSet("skein up", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&o.Primaries, "primaries", 3, "number of primaries")
	fs.IntVar(&o.Replicas, "replicas", 1, "replicas of each primary")
	fs.IntVar(&o.Port, "port", 7000, "port of the first node; the others follow")
	fs.StringVar(&o.Dir, "dir", "skein-data", "directory of the nodes' data")
	fs.BoolVar(&o.Fresh, "fresh", false, "forget the cluster and the data of the last time")
	server := fs.String("server", "", "program to run as a node (default: this one)")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), "Usage: skein up [flags] [-- --directive value ...]\n\nRuns a cluster on this machine until Ctrl-C. What follows -- goes to every node.\n\n")
		fs.PrintDefaults()
	}
	for _, a := range args { // help that was asked for is no error
		if a == "--" {
			break
		}
		if a == "-h" || a == "-help" || a == "--help" {
			fs.SetOutput(stdout)
			fs.Usage()
			return o, 0, true
		}
	}
	if fs.Parse(args) != nil {
		return o, 1, true
	}
	o.Args = fs.Args()
	o.Server = []string{*server}
	if *server == "" {
		exe, err := os.Executable()
		if err != nil {
			fmt.Fprintln(stderr, "skein up: find own program:", err)
			return o, 1, true
		}
		o.Server = []string{exe, "server"}
	}
	return o, 0, false
}

// Cluster is the nodes of one Run.
type Cluster struct {
	opts   Options
	auth   string // password of the nodes, "" = none
	nodes  []*node
	out    *console
	launch launcher
	start  time.Time
	every  time.Duration // between two status lines
}

// The file in Options.Dir that says the cluster was formed, and of how many nodes.
const formedFile = "formed"

// New checks the options and the directory. Nothing is started yet.
func New(o Options, stdout io.Writer) (*Cluster, error) {
	plan, err := newPlan(o.Primaries, o.Replicas, o.Port)
	if err != nil {
		return nil, err
	}
	if len(o.Args) > 0 && !strings.HasPrefix(o.Args[0], "--") {
		return nil, fmt.Errorf("up: unexpected argument %q: want flags, then --, then --directive value ...", o.Args[0])
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("up: %w", err)
	}
	cfg := config.New()
	if err := (config.Loader{}).Load(cfg, config.CommandLine{Options: config.ParseCommandLine(o.Args).Options}, nil); err != nil {
		return nil, fmt.Errorf("up: options of the nodes: %w", err)
	}
	c := &Cluster{opts: o, auth: cfg.RequirePass.Get(), out: newConsole(stdout), every: lineEvery}
	if c.out.tty {
		c.every = liveEvery
	}
	if c.auth != "" && cfg.MasterAuth.Get() == "" {
		c.opts.Args = append(c.opts.Args[:len(c.opts.Args):len(c.opts.Args)], "--masterauth", c.auth)
	}
	for _, p := range plan {
		c.nodes = append(c.nodes, &node{place: p, dir: filepath.Join(o.Dir, strconv.Itoa(p.port))})
	}
	return c, nil
}

// Run starts the nodes and serves until ctx ends, then stops them; that is no
// error. It fails if the cluster cannot be started, the nodes being stopped again.
func (c *Cluster) Run(ctx context.Context) error {
	c.start = time.Now()
	if err := c.prepare(); err != nil {
		return err
	}
	c.launch = newLauncher()
	defer close(c.launch)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, n := range c.nodes {
		wg.Go(func() { c.keep(ctx, n) })
	}
	err := c.bringUp(ctx)
	if err == nil {
		c.watch(ctx)
	}
	c.out.still()
	stopped := ctx.Err() != nil
	if stopped {
		c.out.println("stopping all nodes")
	}
	cancel()
	c.waitStopped(&wg)
	if err != nil && !stopped {
		return err
	}
	if stopped {
		c.out.println("all nodes have stopped; their data is in %s", c.opts.Dir)
	}
	return nil
}

// prepare makes the directories, or refuses what would not work.
func (c *Cluster) prepare() error {
	if c.opts.Fresh {
		if err := c.forget(); err != nil {
			return err
		}
	}
	if was, err := c.formed(); err != nil {
		return err
	} else if was != 0 && was != len(c.nodes) {
		return fmt.Errorf("up: %s has a cluster of %d nodes, not %d: give the same numbers as before, another --dir, or --fresh to start anew", c.opts.Dir, was, len(c.nodes))
	}
	for _, n := range c.nodes {
		for _, port := range []int{n.port, n.port + busOffset} {
			if err := portFree(port); err != nil {
				return fmt.Errorf("up: %w; another cluster may be running, or choose another --port", err)
			}
		}
		if err := os.MkdirAll(n.dir, 0o755); err != nil {
			return fmt.Errorf("up: %w", err)
		}
	}
	return nil
}

// formed returns the number of nodes of the cluster in Dir, 0 if there is none.
func (c *Cluster) formed() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.opts.Dir, formedFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("up: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("up: %s: want a number of nodes, have %q", filepath.Join(c.opts.Dir, formedFile), text)
	}
	return n, nil
}

// forget deletes the nodes' directories, known by their numeric names, and
// nothing else.
func (c *Cluster) forget() error {
	entries, err := os.ReadDir(c.opts.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("up: %w", err)
	}
	for _, e := range entries {
		_, err := strconv.ParseUint(e.Name(), 10, 16)
		if e.Name() != formedFile && (err != nil || !e.IsDir()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(c.opts.Dir, e.Name())); err != nil {
			return fmt.Errorf("up: %w", err)
		}
	}
	return nil
}

// bringUp waits for the nodes, forms the cluster if need be, and says how to
// use it.
func (c *Cluster) bringUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	was, err := c.formed()
	if err != nil {
		return err
	}
	if err := c.answer(ctx); err != nil {
		return err
	}
	if was == 0 {
		if err := c.form(ctx); err != nil {
			return err
		}
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	if was == 0 {
		text := fmt.Appendf(nil, "%d\n", len(c.nodes))
		if err := os.WriteFile(filepath.Join(c.opts.Dir, formedFile), text, 0o644); err != nil {
			return fmt.Errorf("up: %w", err)
		}
	}
	auth := ""
	if c.auth != "" {
		auth = " -a <password>"
	}
	c.out.println("cluster is ready after %.1f s; connect with: redis-cli -c -p %d%s", time.Since(c.start).Seconds(), c.nodes[0].port, auth)
	c.out.println("data and logs are in %s; Ctrl-C stops all nodes", c.opts.Dir)
	return nil
}

// Longest wait for all nodes to load their data and find each other.
const startTimeout = 10 * time.Minute
