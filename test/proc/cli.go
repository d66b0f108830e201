package proc

import (
	"bytes"
	"context"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Run runs an installed program to its end, at most limit, and returns what it
// printed on both outputs, without colours.
func Run(t testing.TB, limit time.Duration, stdin, name string, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, Tool(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err = start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return colours.ReplaceAllString(buf.String(), ""), err
}

// CLI runs redis-cli against the node and wants exit code 0.
func (n *Node) CLI(args ...string) string {
	n.t.Helper()
	return n.CLIInput("", args...)
}

// CLIInput is CLI with text on the standard input.
func (n *Node) CLIInput(stdin string, args ...string) string {
	n.t.Helper()
	out, err := Run(n.t, ToolPatience, stdin, "redis-cli", append([]string{"-p", strconv.Itoa(n.Port)}, args...)...)
	if err != nil {
		n.t.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Benchmark runs redis-benchmark against the node and wants exit code 0.
func (n *Node) Benchmark(args ...string) string {
	n.t.Helper()
	out, err := Run(n.t, 2*time.Minute, "", "redis-benchmark", append([]string{"-p", strconv.Itoa(n.Port)}, args...)...)
	if err != nil {
		n.t.Fatalf("redis-benchmark %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}
