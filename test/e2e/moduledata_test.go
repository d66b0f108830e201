package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/test/proc"
)

// A file with values that only a module can read is refused as by a server without
// the module, in words that help; with rdb-module-data skip they are left out, and
// the log and INFO say how many.
func TestModuleData(t *testing.T) {
	file := rdb.AppendSelectDB(rdb.AppendHeader(nil, 10), 0)
	for _, k := range []string{"doc:1", "doc:2"} {
		file = rdb.AppendKey(file, &rdb.Key{Name: []byte(k), IdleSec: rdb.NoIdle, Freq: rdb.NoFreq}, rdb.TypeModule, false)
		file = append(rdb.AppendLen(file, 0x45e25238df912c03), 5, 2, '{', '}', 0)
	}
	file = rdb.AppendKey(file, &rdb.Key{Name: []byte("k"), IdleSec: rdb.NoIdle, Freq: rdb.NoFreq}, rdb.TypeString, false)
	file = append(file, 1, 'v', 0xff, 0, 0, 0, 0, 0, 0, 0, 0)
	place := map[string]func(n *proc.Node) string{
		"dump.rdb": func(n *proc.Node) string { return n.Path("dump.rdb") },
		"the base of a log": func(n *proc.Node) string {
			n.Args = append(n.Args, "--appendonly", "yes")
			dir := n.Path("appendonlydir")
			err := os.Mkdir(dir, 0o755)
			if err == nil {
				err = os.WriteFile(dir+"/appendonly.aof.manifest", []byte("file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"), 0o644)
			}
			if err == nil {
				err = os.WriteFile(dir+"/appendonly.aof.1.incr.aof", nil, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			return dir + "/appendonly.aof.1.base.rdb"
		},
	}
	for name, path := range place {
		t.Run(name, func(t *testing.T) {
			n := proc.NewNode(t, proc.Skein(t))
			at := path(n)
			if err := os.WriteFile(at, file, 0o644); err != nil {
				t.Fatal(err)
			}
			n.Launch()
			if code := n.Exit(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if log := n.Log(); !strings.Contains(log, `doc:1`) || !strings.Contains(log, "ReJSON-RL version 3") || !strings.Contains(log, "rdb-module-data") {
				t.Errorf("the log does not say what is wrong:\n%s", log)
			}
			if left, err := os.ReadFile(at); err != nil || string(left) != string(file) {
				t.Errorf("the file was changed: %v", err)
			}
			n.Args = append(n.Args, "--rdb-module-data", "skip")
			n.Start()
			if got := n.Must("DBSIZE"); got != int64(1) {
				t.Errorf("%v keys, want 1", got)
			}
			if got := n.Info("persistence")["rdb_last_load_module_data_skipped"]; got != "2" {
				t.Errorf("rdb_last_load_module_data_skipped:%s, want 2", got)
			}
			logged(t, n, "2 keys with values of modules (such as ReJSON-RL version 3)")
		})
	}
	path := t.TempDir() + "/dump.rdb"
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out := checkRDB(t, path); code != 0 || !strings.Contains(out, "2 values of module type ReJSON-RL version 3") {
		t.Errorf("check-rdb: %d\n%s", code, out)
	}
}
