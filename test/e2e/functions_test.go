package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

func library(name, function string) string {
	return fmt.Sprintf("#!lua name=%s\nredis.register_function('%s', function(keys) return '%s' end) -- %s\n", name, function, function, strings.Repeat("comment ", 20))
}

// libraries is FUNCTION LIST WITHCODE, each library on its own.
func libraries(n *proc.Node) string {
	var all []string
	list, _ := n.Must("FUNCTION", "LIST", "WITHCODE").([]any)
	for _, lib := range list {
		all = append(all, fmt.Sprint(lib))
	}
	for i := range all { // servers list them in any order
		for j := range i {
			if all[i] < all[j] {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return strings.Join(all, "\n")
}

// No function library is lost on the way through Skein: neither in the stream nor in
// the full sync of a primary and to a replica, nor in any file, in both directions
// with redis-server.
func TestFunctionsAreKept(t *testing.T) {
	real := proc.StartNode(t, proc.Redis(t))
	real.Must("FUNCTION", "LOAD", library("one", "f1"))
	real.Must("SET", "k", "v")
	dump := real.Text("FUNCTION", "DUMP")

	n := proc.StartNode(t, proc.Skein(t))
	n.Must("FUNCTION", "LOAD", library("own", "mine")) // goes with the full sync
	n.Must("REPLICAOF", "127.0.0.1", real.Port)
	proc.WaitInStep(t, real, n)
	same := func(what string, a, b *proc.Node) {
		t.Helper()
		if want, got := libraries(a), libraries(b); got != want || want == "" {
			t.Fatalf("%s: libraries\n%s\nwant\n%s", what, got, want)
		}
	}
	same("full sync from redis-server", real, n)
	if _, err := n.Do("FUNCTION", "LOAD", library("two", "f2")); err == nil || !strings.HasPrefix(err.Error(), "READONLY ") {
		t.Errorf("FUNCTION LOAD on a replica: %v", err)
	}

	steps := [][]any{
		{"FUNCTION", "LOAD", library("two", "f2")},
		{"FUNCTION", "LOAD", "REPLACE", library("two", "f3")},
		{"FUNCTION", "LOAD", library("three", "f4")},
		{"FUNCTION", "DELETE", "one"},
		{"FUNCTION", "RESTORE", dump},
		{"FUNCTION", "RESTORE", dump, "REPLACE"},
		{"FUNCTION", "LOAD", "#!LUA name=flagged\nredis.register_function{function_name='ro', callback=function() return 1 end, description='reads', flags={'no-writes'}}"},
	}
	for _, s := range steps {
		real.Must(s...)
		proc.WaitInStep(t, real, n)
		same(fmt.Sprint("stream: ", s[1]), real, n)
	}

	// Skein's own stream and full sync, to redis-server.
	n.Must("REPLICAOF", "NO", "ONE")
	real.Must("REPLICAOF", "127.0.0.1", n.Port)
	proc.WaitInStep(t, n, real)
	n.Must("FUNCTION", "FLUSH", "ASYNC")
	for _, s := range steps {
		if s[1] == "DELETE" {
			s = []any{"FUNCTION", "LOAD", library("one", "other")}
		} else if len(s) == 3 && s[1] == "RESTORE" {
			continue
		}
		n.Must(s...)
		proc.WaitInStep(t, n, real)
		same(fmt.Sprint("stream to redis-server: ", s[1]), n, real)
	}
	fresh := proc.StartNode(t, proc.Redis(t))
	fresh.Must("REPLICAOF", "127.0.0.1", n.Port)
	proc.WaitInStep(t, n, fresh)
	same("full sync to redis-server", n, fresh)
	if _, err := n.Do("FUNCTION", "RESTORE", real.Text("FUNCTION", "DUMP"), "FLUSH"); err != nil {
		t.Error(err)
	}
	if got := n.Info("memory")["number_of_libraries"]; got != "4" {
		t.Errorf("number_of_libraries:%s, want 4", got)
	}

	// Files: its own again, and by redis-server.
	want := libraries(n)
	kept := func(what string, node *proc.Node) {
		t.Helper()
		if got := libraries(node); got != want {
			t.Fatalf("%s: libraries\n%s\nwant\n%s", what, got, want)
		}
	}
	n.Must("SAVE")
	n.Must("DEBUG", "RELOAD")
	kept("DEBUG RELOAD", n)
	n.Stop()
	n.Start()
	kept("a start with the file", n)
	if code, out := checkRDB(t, n.Path("dump.rdb")); code != 0 || !strings.Contains(out, "[info] 4 function libraries") {
		t.Errorf("check-rdb: %d\n%s", code, out)
	}
	other := proc.NewNode(t, proc.Redis(t))
	copyFile(t, n.Path("dump.rdb"), other.Path("dump.rdb"))
	other.Start()
	kept("redis-server with the file", other)
	for _, preamble := range []string{"yes", "no"} {
		n.Must("CONFIG", "SET", "aof-use-rdb-preamble", preamble)
		n.Must("CONFIG", "SET", "appendonly", "yes")
		proc.Wait(t, proc.Patience, "the base of the log", func() string {
			info := n.Info("persistence")
			if info["aof_enabled"] != "1" || info["aof_rewrite_in_progress"] != "0" || info["aof_last_bgrewrite_status"] != "ok" {
				return fmt.Sprint(info)
			}
			return ""
		})
		n.Must("FUNCTION", "LOAD", library("logged", "f9"))
		want = libraries(n)
		n.Must("DEBUG", "LOADAOF")
		kept("DEBUG LOADAOF, aof-use-rdb-preamble "+preamble, n)
		n.Must("FUNCTION", "DELETE", "logged")
		n.Must("CONFIG", "SET", "appendonly", "no")
	}
}

func checkRDB(t *testing.T, file string) (code int, out string) {
	t.Helper()
	out, err := proc.Run(t, proc.Patience, "", proc.Skein(t).Path, "check-rdb", file)
	if err != nil {
		return 1, out
	}
	return 0, out
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What can be known of a library is told; running it is refused in clear words.
func TestFunctionsAreNotRun(t *testing.T) {
	n := proc.StartNode(t, proc.Skein(t))
	r := n.Raw(2)
	for _, tt := range []struct{ cmd, want string }{
		{"FCALL f 0", "-ERR Function not found"},
		{"FUNCTION LOAD " + "return", "-ERR Missing library metadata"},
		{"FUNCTION FLUSH x", "-ERR FUNCTION FLUSH only supports SYNC|ASYNC option"},
		{"FUNCTION FLUSH SYNC ASYNC", "-ERR unknown subcommand or wrong number of arguments for 'FLUSH'. Try FUNCTION HELP."},
		{"FUNCTION LOAD x y", "-ERR Unknown option given: x"},
		{"FUNCTION RESTORE x", "-ERR DUMP payload version or checksum are wrong"},
		{"FUNCTION RESTORE x y", "-ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE."},
		{"FUNCTION DELETE x", "-ERR Library not found"},
		{"FUNCTION KILL", "-NOTBUSY No scripts in execution right now."},
		{"FUNCTION LIST x", "-ERR Unknown argument x"},
		{"FUNCTION LIST LIBRARYNAME", "-ERR library name argument was not given"},
	} {
		if got := r.Do(strings.Fields(tt.cmd)...); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.cmd, got, tt.want)
		}
	}
	if got, want := r.Do("FUNCTION", "LOAD", "#!js name=a\n"), "-ERR Engine 'js' not found"; got != want {
		t.Errorf("another engine: %s, want %s", got, want)
	}
	n.Must("FUNCTION", "LOAD", library("lib", "f"))
	if got, want := r.Do("FUNCTION", "LOAD", library("lib", "f")), "-ERR Library 'lib' already exists"; got != want {
		t.Errorf("twice: %s, want %s", got, want)
	}
	for _, cmd := range []string{"FCALL f 0", "FCALL_RO f 1 k", "FCALL nobody_knows 0"} {
		if got := r.Do(strings.Fields(cmd)...); !strings.Contains(got, "has no script engine") {
			t.Errorf("%s: %s", cmd, got)
		}
	}
}
