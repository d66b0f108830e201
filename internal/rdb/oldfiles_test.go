package rdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Files that old servers really wrote are the test data of Go modules about them.
// They belong to others, so they are fetched, as those modules, and not kept here.
var oldFiles = []struct {
	module, sum string
	files, keys int            // of which are compared
	versions    map[string]int // files by the version of their format
	refused     map[string]int // files with data of modules, with the keys that are left without those
}{
	{"github.com/cupcake/rdb@v0.0.0-20161107195141-43ba34106c76", "h1:Lgdd/Qp96Qj8jqLpq2cI1I1X7BJnu06efS+XkhRoLUQ=",
		24, 39, map[string]int{"0003": 17, "0004": 2, "0005": 1, "0006": 3, "0007": 1}, nil},
	{"github.com/tommy351/rdb-go@v0.6.1", "h1:LES5VZk6XEHosJllwnPTkCWuyMKpAq2Aj8nV9R7s5xw=",
		34, 107, map[string]int{"0002": 1, "0003": 17, "0004": 2, "0005": 1, "0006": 2, "0007": 1, "0008": 1, "0009": 4},
		map[string]int{"bloom_filter.rdb": 0, "bloom_parser_filters.rdb": 0, "cuckoo_filter.rdb": 0, "redis_40_with_module.rdb": 1, "redis_60_with_module_aux.rdb": 0}},
}

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

// Every file of an old server is to us what it is to redis-server 7.0. Those with
// data of modules are refused, and hold the rest if those are left out.
func TestFilesOfOldServers(t *testing.T) {
	o := newOracle(t, "redis-server")
	for _, tt := range oldFiles {
		t.Run(path.Base(tt.module), func(t *testing.T) {
			var files []string
			filepath.WalkDir(fetchModule(t, tt.module, tt.sum), func(path string, d fs.DirEntry, err error) error {
				if err == nil && strings.HasSuffix(path, ".rdb") {
					files = append(files, path)
				}
				return err
			})
			versions, refused := map[string]int{}, map[string]int{}
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
					if _, has := tt.refused[filepath.Base(path)]; has {
						refused[filepath.Base(path)] = withoutModules(t, file)
						return
					}
					versions[string(file[5:9])]++
					keys += len(o.compare(t, file))
				})
			}
			if len(files) != tt.files || keys != tt.keys || !maps.Equal(versions, tt.versions) || !maps.Equal(refused, tt.refused) {
				t.Errorf("%d files with %d keys, by version %v, refused %v: not what the module has", len(files), keys, versions, refused)
			}
			t.Logf("%d files with %d keys, by version %v", len(files), keys, versions)
		})
	}
}

// withoutModules loads a file that must be refused for what only a module can read,
// and returns how many keys it has beside that.
func withoutModules(t *testing.T, file []byte) int {
	t.Helper()
	options := LoadOptions{Limits: DefaultLimits()}
	if _, err := Load(NewReader(bytes.NewReader(file)), newStore(t), &options); !errors.Is(err, ErrModuleData) {
		t.Errorf("loading it: %v, want %v", err, ErrModuleData)
	}
	options.SkipModules = true
	s, err := Load(NewReader(bytes.NewReader(file)), newStore(t), &options)
	if err != nil {
		t.Fatal(err)
	}
	return s.Keys
}

// The files of redis-server 6.0 here, the last kind that wrote version 9, have
// every type and encoding that it had, scripts, the replication fields, and when or
// how often each key was used.
func TestFilesOfRedis6(t *testing.T) {
	o := newOracle(t, "redis-server")
	for _, name := range []string{"lru.rdb", "lfu.rdb"} {
		t.Run(name, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join("testdata", "redis-6.0.16", name))
			if err != nil {
				t.Fatal(err)
			}
			if keys := o.compare(t, file); len(keys) != 37 {
				t.Errorf("%d keys, want 37", len(keys))
			}
			types, aux := map[Type]int{}, map[string]int{}
			idle, used := 0, 0
			r := NewReader(bytes.NewReader(file))
			for {
				event, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				switch event {
				case EventAux:
					name, _ := r.Aux()
					aux[string(name)]++
				case EventKey:
					types[r.Value().Type()]++
					if r.Key().IdleSec != NoIdle {
						idle++
					}
					if r.Key().Freq != NoFreq {
						used++
					}
				}
				if event == EventEnd {
					break
				}
			}
			if r.Version() != 9 || aux["lua"] != 2 || aux["repl-id"] != 1 || (name == "lru.rdb") != (idle == 37) || (name == "lfu.rdb") != (used == 37) {
				t.Errorf("version %d, aux fields %v, %d keys with an idle time, %d with a frequency", r.Version(), aux, idle, used)
			}
			for _, typ := range []Type{TypeString, TypeSet, TypeHash, TypeZSet, TypeListQuicklist, TypeSetIntset, TypeZSetZiplist, TypeHashZiplist, TypeStream1} {
				if types[typ] == 0 {
					t.Errorf("no key of type %d", typ)
				}
			}
		})
	}
}
