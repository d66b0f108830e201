package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A Program is something that can be a node.
type Program struct {
	Name  string
	Path  string
	Args  []string // before the directives
	Skein bool
}

// The variable that names a binary to test; without it one is built.
const binaryVar = "SKEIN_BIN"

var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryVar); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "skein-bin-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "skein")
	args := []string{"build", "-o", path}
	if Race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/skeindb/skein/cmd/skein")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return path, nil
})

// Binary is the path of the skein binary: $SKEIN_BIN, or one built for this
// test program, with the race detector if the tests have it.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// RemoveBinary deletes what Binary built. For TestMain, at the end.
func RemoveBinary() {
	if os.Getenv(binaryVar) != "" {
		return
	}
	if path, err := built(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
}

// Skein is a node of ours.
func Skein(t testing.TB) Program {
	return Program{Name: "skein", Path: Binary(t), Args: []string{"server"}, Skein: true}
}

// Redis is redis-server as installed, version 7.x; the test is skipped where
// there is none.
func Redis(t testing.TB) Program {
	return Program{Name: "redis", Path: Tool(t, "redis-server")}
}

// Tool is the path of an installed program; the test is skipped without it.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: install redis-server and redis-tools to run this test", name)
	}
	return path
}
