package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// peersVar names a directory with more servers to compare with: valkey-server
// and redis-server of the generation after the installed one.
const peersVar = "PEERS"

// Real is a kind of server that Skein lives beside.
type Real struct {
	Name string // redis7, valkey8, redis8
	file string
	peer bool // in the directory of peers
}

// The kinds. A cluster never holds both of the newer ones: they give extension
// 4 of pings two meanings (cluster specification, 0.3).
var (
	Redis7  = Real{"redis7", "redis-server", false}
	Valkey8 = Real{"valkey8", "valkey-server", true}
	Redis8  = Real{"redis8", "redis-server", true}
)

// Reals are all of them.
var Reals = []Real{Redis7, Valkey8, Redis8}

// Program is a node of that kind; the test is skipped where there is none.
func (r Real) Program(t testing.TB) Program {
	t.Helper()
	if !r.peer {
		return Program{Name: r.Name, Path: Tool(t, r.file)}
	}
	dir := os.Getenv(peersVar)
	if dir == "" {
		t.Skipf("%s is not tried: $%s, a directory with %s, is not set", r.Name, peersVar, r.file)
	}
	path, err := exec.LookPath(filepath.Join(dir, r.file))
	if err != nil {
		t.Skipf("%s is not tried: %v", r.Name, err)
	}
	return Program{Name: r.Name, Path: path}
}
