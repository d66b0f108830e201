package up

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// node is one server process and what is known of it.
type node struct {
	place
	dir string

	mu     sync.Mutex
	proc   *os.Process // nil while it does not run
	starts int         // how often it was started

	conn *client // of Run's goroutine
}

// A node that dies is started again after a pause that doubles from min to max
// and begins anew once it ran for steady.
const (
	minPause = 200 * time.Millisecond
	maxPause = 10 * time.Second
	steady   = 30 * time.Second
)

// launcher starts processes on one thread that lives as long as they may: the
// death signal of a child goes off when the thread that started it ends, not
// only when the process does.
type launcher chan func()

func newLauncher() launcher {
	l := make(launcher)
	go func() {
		runtime.LockOSThread()
		for f := range l {
			f()
		}
	}()
	return l
}

func (l launcher) start(cmd *exec.Cmd) (err error) {
	done := make(chan struct{})
	l <- func() {
		err = cmd.Start()
		close(done)
	}
	<-done
	return err
}

// command is the process of n. The options of the user may override the first
// ones, not the last.
func (c *Cluster) command(n *node) *exec.Cmd {
	args := append([]string{}, c.opts.Server[1:]...)
	args = append(args,
		"--bind", "127.0.0.1",
		"--logfile", filepath.Join(n.dir, "node.log"),
		"--cluster-node-timeout", "5000",
		"--repl-diskless-sync-delay", "0")
	args = append(args, c.opts.Args...)
	args = append(args,
		"--port", strconv.Itoa(n.port),
		"--dir", n.dir,
		"--cluster-enabled", "yes",
		"--cluster-config-file", "nodes.conf",
		"--daemonize", "no")
	cmd := exec.Command(c.opts.Server[0], args...)
	cmd.SysProcAttr = childAttr()
	return cmd
}

// keep runs n's process until ctx ends, again and again if it dies; then it
// asks the process to stop and waits for it.
func (c *Cluster) keep(ctx context.Context, n *node) {
	pause := minPause
	for ctx.Err() == nil {
		began := time.Now()
		err := c.runOnce(ctx, n)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steady {
			pause = minPause
		}
		c.out.println("node %d ended (%v), next start in %v; its log is %s", n.port, err, pause, filepath.Join(n.dir, "node.log"))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// runOnce starts n's process and waits for its end, which it asks for when ctx
// ends. What the process prints before its log is open goes to a file too.
func (c *Cluster) runOnce(ctx context.Context, n *node) error {
	cmd := c.command(n)
	output, err := os.OpenFile(filepath.Join(n.dir, "output.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	if err := c.launch.start(cmd); err != nil {
		return err
	}
	n.mu.Lock()
	n.proc = cmd.Process
	n.starts++
	n.mu.Unlock()
	defer context.AfterFunc(ctx, func() { n.signal(syscall.SIGTERM) })()
	err = cmd.Wait()
	n.mu.Lock()
	n.proc = nil
	n.mu.Unlock()
	if err == nil {
		return fmt.Errorf("exit status 0")
	}
	return err
}

// signal sends sig to n's process if it runs.
func (n *node) signal(sig syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		n.proc.Signal(sig) // an error means that it has just ended
	}
}

// process returns the id of n's process, 0 if there is none, and the number of
// starts so far.
func (n *node) process() (pid, starts int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		pid = n.proc.Pid
	}
	return pid, n.starts
}

// A node saves its data before it ends, so it is given time; then it is killed.
const stopTimeout = 60 * time.Second

// waitStopped waits for all keepers, whose context has ended.
func (c *Cluster) waitStopped(wg *sync.WaitGroup) {
	stopped := make(chan struct{})
	go func() {
		wg.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(stopTimeout):
		c.out.println("some nodes do not stop within %v and are killed", stopTimeout)
		for _, n := range c.nodes {
			n.signal(syscall.SIGKILL)
		}
		<-stopped
	}
}

// portFree fails if something listens on the port.
func portFree(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return l.Close()
}
