package rdb

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Files that old servers really wrote are the test data of a Go module about them.
// They belong to others, so they are fetched, as that module, and not kept here.
const (
	oldFiles    = "github.com/cupcake/rdb@v0.0.0-20161107195141-43ba34106c76"
	oldFilesSum = "h1:Lgdd/Qp96Qj8jqLpq2cI1I1X7BJnu06efS+XkhRoLUQ="
)

// fetchModule returns the directory of a module, at a version whose sum is known.
// The test is skipped where it cannot be had.
func fetchModule(t *testing.T, module, sum string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module fetch\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off"), time.Second
	out, err := cmd.Output()
	var m struct{ Dir, Sum, Error string }
	if jerr := json.Unmarshal(out, &m); jerr != nil || err != nil || m.Error != "" {
		t.Skipf("the files of old servers are not tried: module %s cannot be fetched: %v %s", module, err, m.Error)
	}
	if m.Sum != sum {
		t.Fatalf("module %s has the sum %s, want %s", module, m.Sum, sum)
	}
	return m.Dir
}

// Every file of an old server is to us what it is to redis-server 7.0.
func TestFilesOfOldServers(t *testing.T) {
	o := newOracle(t, "redis-server")
	var files []string
	filepath.WalkDir(fetchModule(t, oldFiles, oldFilesSum), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".rdb") {
			files = append(files, path)
		}
		return err
	})
	versions := map[string]int{}
	keys := 0
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(file, []byte("REDIS")) {
				t.Skip("not a file of a server")
			}
			versions[string(file[5:9])]++
			keys += len(o.compare(t, file))
		})
	}
	if len(files) != 24 || keys != 39 || versions["0003"] != 17 || versions["0006"] != 3 {
		t.Errorf("%d files with %d keys, by version %v: not what the module has", len(files), keys, versions)
	}
	t.Logf("%d files with %d keys, by version %v", len(files), keys, versions)
}
