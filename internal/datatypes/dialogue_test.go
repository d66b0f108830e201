package datatypes

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// A dialogue is a file testdata/*.txt of requests and the replies to them:
//
//	# A comment. Each file starts with empty databases.
//	> SET k "two words\x00" EX 100
//	+OK
//	> MGET k nokey
//	["two words\x00", $-1]
//
// A request is split as redis-cli splits a line. Its reply follows on one line:
// strings quoted, integers as :1, errors as -ERR ..., nulls as $-1, *-1 or _,
// aggregates as [..], ~[..] (set), %{k: v} (map), >[..] (push). What stands
// between '>' and the request changes its treatment:
//
//	>~ SMEMBERS s    the order of the elements (pairs) is not fixed: they are sorted
//	>! BITCOUNT k x  redis-server 7.0 answers otherwise: 7.2 differs
//	>+ GETDEL k      the next lines are what is propagated ("=>" lines) and the
//	                 keyspace events ("=!" lines), which no reference server tells
//
// Directives: "! time +1500" moves the clock, in milliseconds; files with it are
// not compared with a reference server. "! proto 3" changes the protocol,
// "! db 1" the database, "! replica" lets expired keys be hidden rather than
// deleted, "! block" lets commands block: the reply is then "(blocks)", and
// "! retry" runs the blocked command again. "! set HashEntries 4" changes a field
// of command.Limits.
//
// Run with -update to rewrite the replies from what the code does; the diff is
// to be read.
var update = flag.Bool("update", false, "rewrite the dialogues from the replies of this code")

// world is a keyspace with a context to run commands in.
type world struct {
	t      testing.TB
	heap   *mem.Heap
	st     *store.Store
	table  *command.Table
	c      command.Ctx
	limits command.Limits
	parked [][]byte // the command that blocked
}

func newWorld(t testing.TB) *world {
	_, isBench := t.(*testing.B)
	reserve := int64(64 << 20) // small: the race detector has half as much of its own for each world
	if isBench {
		reserve = 0
	}
	heap, err := mem.New(mem.Options{Poison: !isBench, Reserve: reserve})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, heap: heap, st: store.New(heap, 16), table: command.NewTable(Specs(), standIns())}
	w.limits = *command.DefaultLimits()
	w.c = command.Ctx{Writer: &resp.Writer{}, Env: &command.Env{Table: w.table}, LogOn: true, Now: 1_700_000_000_000}
	w.c.Env.SetLimits(&w.limits)
	w.c.DB = w.st.DB(0)
	t.Cleanup(func() {
		w.st.Close()
		if err := heap.Check(); err != nil {
			t.Error(err)
		}
		heap.Close()
	})
	return w
}

// run runs one command and returns its reply in protocol bytes, valid until the
// next.
func (w *world) run(args ...[]byte) []byte {
	c := &w.c
	c.Buf = c.Buf[:0]
	spec := w.table.Lookup(args)
	switch {
	case spec == nil:
		c.Error("ERR unknown command '" + string(args[0]) + "'")
	case spec.Run == nil && len(args) > 1:
		c.Error("ERR unknown subcommand '" + string(args[1]) + "'. Try " + strings.ToUpper(spec.Name) + " HELP.")
	case spec.Run == nil || !spec.ArityOK(len(args)):
		c.Error(command.WrongArity(spec.Full))
	default:
		c.Reset(spec, args)
		c.PlanKeys()
		c.World = spec.NeedsWorld(args)
		spec.Run(c)
	}
	return c.Buf
}

// do runs a command given as strings.
func (w *world) do(args ...string) string {
	argv := make([][]byte, len(args))
	for i, a := range args {
		argv[i] = []byte(a)
	}
	return show(decode(w.t, w.run(argv...)), false)
}

func decode(t testing.TB, b []byte) resp.Reply {
	rd := resp.NewReader(bytes.NewReader(b))
	r, err := rd.Next()
	if err != nil {
		t.Fatalf("bad reply %q: %v", b, err)
	}
	if rest, err := rd.Next(); err == nil {
		t.Fatalf("reply %q goes on with %v", b, rest)
	}
	return r
}

// show prints a reply on one line.
func show(r resp.Reply, sorted bool) string {
	switch {
	case r.Null && r.Kind == resp.Null:
		return "_"
	case r.Null:
		return string(rune(r.Kind)) + "-1"
	}
	switch r.Kind {
	case resp.Bulk:
		return strconv.Quote(string(r.Str))
	case resp.Verbatim:
		return "=" + r.Ext + strconv.Quote(string(r.Str))
	case resp.Bool:
		return "#" + strconv.FormatBool(r.Int != 0)[:1]
	case resp.Array, resp.Set, resp.Push:
		var s []string
		for _, e := range r.Elems {
			s = append(s, show(e, sorted))
		}
		if sorted {
			slices.Sort(s)
		}
		return strings.TrimPrefix(string(rune(r.Kind)), "*") + "[" + strings.Join(s, ", ") + "]"
	case resp.Map:
		var s []string
		for i := 0; i+1 < len(r.Elems); i += 2 {
			s = append(s, show(r.Elems[i], false)+": "+show(r.Elems[i+1], sorted))
		}
		if sorted {
			slices.Sort(s)
		}
		return "%{" + strings.Join(s, ", ") + "}"
	}
	return string(rune(r.Kind)) + r.Text()
}

// directive applies a line "! name args" and reports whether a reference server
// cannot follow it.
func (w *world) directive(line string) (err error) {
	f := strings.Fields(line)
	arg := strings.Join(f[1:], " ")
	switch f[0] {
	case "time":
		ms, err := strconv.ParseInt(strings.TrimPrefix(arg, "+"), 10, 64)
		if err != nil {
			return err
		}
		w.c.Now += ms
	case "proto":
		w.c.Proto, err = strconv.Atoi(arg)
	case "db":
		n, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		w.c.DB = w.st.DB(n)
	case "replica":
		w.c.Expire = command.ExpireHide
	case "primary":
		w.c.Expire = command.ExpireDelete
	case "block":
		w.c.MayBlock = true
	case "retry":
	case "set":
		n, err := strconv.Atoi(f[2])
		if err != nil {
			return err
		}
		switch f[1] {
		case "HashEntries":
			w.limits.HashEntries = n
		case "SetEntries":
			w.limits.SetEntries = n
		case "SetIntset":
			w.limits.SetIntset = n
		case "ZSetEntries":
			w.limits.ZSetEntries = n
		case "ListSize":
			w.limits.ListSize = n
		case "MaxBulk":
			w.limits.MaxBulk = int64(n)
		case "ClusterMode":
			w.limits.ClusterMode = n != 0
		case "LazyExpire":
			w.limits.LazyExpire = n != 0
		default:
			return fmt.Errorf("unknown limit %q", f[1])
		}
		w.c.Env.SetLimits(&w.limits)
	default:
		return fmt.Errorf("unknown directive %q", f[0])
	}
	return err
}

// step is a request of a dialogue.
type step struct {
	line   int
	mode   byte // ' ', '~', '!', '+'
	argv   [][]byte
	direct string   // a directive instead
	want   []string // the lines up to the next request
}

// parse splits a dialogue into steps; text holds, for each, the lines before its
// replies, so that text and replies together are the file.
func parse(t *testing.T, path string) (steps []step, text []string) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var before strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, ">"):
			s := step{line: i + 1, mode: ' '}
			cmd := line[1:]
			if cmd != "" && cmd[0] != ' ' {
				s.mode, cmd = cmd[0], cmd[1:]
			}
			words, ok := resp.SplitWords([]byte(cmd))
			if !ok || len(words) == 0 || !strings.ContainsRune(" ~!+", rune(s.mode)) {
				t.Fatalf("%s:%d: bad request %q", path, i+1, line)
			}
			for _, w := range words {
				s.argv = append(s.argv, bytes.Clone(w))
			}
			steps = append(steps, s)
		case strings.HasPrefix(line, "! "):
			steps = append(steps, step{line: i + 1, direct: line[2:]})
		case line == "" || line[0] == '#':
			before.WriteString(line + "\n")
			continue
		default:
			if len(steps) == 0 {
				t.Fatalf("%s:%d: reply without request", path, i+1)
			}
			s := &steps[len(steps)-1]
			s.want = append(s.want, line)
			continue
		}
		text = append(text, before.String()+line+"\n")
		before.Reset()
	}
	return steps, append(text, before.String())
}

// answer runs a step and returns the lines of its reply.
func (w *world) answer(s *step) []string {
	if s.direct != "" {
		if s.direct == "retry" {
			w.c.Buf = w.c.Buf[:0]
			w.c.Reset(w.table.Lookup(w.parked), w.parked)
			w.c.PlanKeys()
			w.c.Retry = true
			w.c.Spec.Run(&w.c)
			return []string{w.outcome(false)}
		}
		if err := w.directive(s.direct); err != nil {
			w.t.Fatalf("line %d: %v", s.line, err)
		}
		return nil
	}
	w.c.Changes, w.c.Effects, w.c.Dirty, w.c.NoVerbatim = nil, nil, 0, false
	w.run(s.argv...)
	lines := []string{w.outcome(s.mode == '~')}
	if s.mode == '+' {
		lines = append(lines, w.effects()...)
	}
	return lines
}

func (w *world) outcome(sorted bool) string {
	if w.c.Blocked != nil {
		w.parked = w.c.Argv
		return "(blocks)"
	}
	return show(decode(w.t, w.c.Buf), sorted)
}

// propagated returns the commands that the engine would propagate.
func (w *world) propagated() (cmds [][][]byte) {
	c := &w.c
	log := bytes.Clone(c.Effects)
	if !c.NoVerbatim && c.Dirty != 0 {
		log = resp.AppendCommand(log, c.Argv...)
	}
	for rd := resp.NewReader(bytes.NewReader(log)); ; {
		r, err := rd.Next()
		if err != nil {
			return cmds
		}
		var argv [][]byte
		for _, e := range r.Elems {
			argv = append(argv, e.Str)
		}
		cmds = append(cmds, argv)
	}
}

// effects tells what the engine would propagate and notify.
func (w *world) effects() (lines []string) {
	for _, argv := range w.propagated() {
		var words []string
		for _, a := range argv {
			words = append(words, quoteWord(string(a)))
		}
		lines = append(lines, "=> "+strings.Join(words, " "))
	}
	for _, ch := range w.c.Changes {
		lines = append(lines, "=! "+ch.Event+" "+quoteWord(string(ch.Key)))
	}
	return lines
}

func quoteWord(s string) string {
	if q := strconv.Quote(s); len(q) != len(s)+2 || s == "" || strings.Contains(s, " ") {
		return q
	}
	return s
}

// TestDialogues runs every dialogue in process and compares the replies.
func TestDialogues(t *testing.T) {
	paths, _ := filepath.Glob("testdata/*.txt")
	if len(paths) == 0 {
		t.Fatal("no dialogues")
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			steps, text := parse(t, path)
			w := newWorld(t)
			var out strings.Builder
			for i := range steps {
				s := &steps[i]
				got := w.answer(s)
				out.WriteString(text[i])
				for _, l := range got {
					out.WriteString(l + "\n")
				}
				if !*update && !slices.Equal(got, s.want) {
					t.Errorf("%s:%d: %q\n got %s\nwant %s", path, s.line, s.argv,
						strings.Join(got, "\n     "), strings.Join(s.want, "\n     "))
				}
			}
			out.WriteString(text[len(steps)])
			if *update {
				if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestDialoguesAgainstRedis sends the dialogues to redis-server 7.0, where it is
// installed, and compares the replies written in the files with its. It is what
// keeps -update honest.
func TestDialoguesAgainstRedis(t *testing.T) {
	paths, _ := filepath.Glob("testdata/*.txt")
	paths = slices.DeleteFunc(paths, isV8)
	compareDialogues(t, referenceServer(t), paths)
}

// TestDialoguesAgainstRedis8 does so with redis-server 8.0, for the dialogues of
// what is newer.
func TestDialoguesAgainstRedis8(t *testing.T) {
	peers := os.Getenv("PEERS")
	if peers == "" {
		t.Skip("PEERS names no directory with redis-server 8.0")
	}
	paths, _ := filepath.Glob("testdata/*.v8.txt")
	compareDialogues(t, startReference(t, filepath.Join(peers, "redis-server")), paths)
}

func isV8(path string) bool { return strings.HasSuffix(path, ".v8.txt") }

func compareDialogues(t *testing.T, conn net.Conn, paths []string) {
	for _, path := range paths {
		steps, _ := parse(t, path)
		if slices.ContainsFunc(steps, func(s step) bool { return ownWorld(s.direct) }) {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			ask := func(argv ...[]byte) resp.Reply {
				if _, err := conn.Write(resp.AppendCommand(nil, argv...)); err != nil {
					t.Fatal(err)
				}
				r, err := resp.NewReader(conn).Next()
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			words := func(s ...string) {
				var argv [][]byte
				for _, w := range s {
					argv = append(argv, []byte(w))
				}
				if err := ask(argv...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			words("FLUSHALL")
			words("RESET")
			for i := range steps {
				s := &steps[i]
				switch f := strings.Fields(s.direct); {
				case len(f) == 2 && f[0] == "proto":
					words("HELLO", f[1])
				case len(f) == 2 && f[0] == "db":
					words("SELECT", f[1])
				case s.direct == "":
					got := show(ask(s.argv...), s.mode == '~')
					if s.mode != '!' && len(s.want) > 0 && got != s.want[0] {
						t.Errorf("%s:%d: %q\nredis %s\n file %s", path, s.line, s.argv, got, s.want[0])
					}
				}
			}
		})
	}
}

// referenceServer starts redis-server 7.0 with the given arguments, where it is
// installed, and returns a connection to it; the test is skipped where it is not.
func referenceServer(t *testing.T, args ...string) net.Conn {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	if v, _ := exec.Command(server, "--version").Output(); !bytes.Contains(v, []byte("v=7.0.")) {
		t.Skipf("the dialogues are written for redis-server 7.0, not %s", v)
	}
	return startReference(t, server, args...)
}

// startReference starts a server and returns a connection to it.
func startReference(t *testing.T, server string, args ...string) net.Conn {
	sock := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(server, "--port", "0", "--unixsocket", sock, "--save", "", "--dir", t.TempDir())
	cmd.Args = append(cmd.Args, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var conn net.Conn
	var err error
	for deadline := time.Now().Add(10 * time.Second); ; {
		if conn, err = net.Dial("unix", sock); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("redis-server does not listen: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	return conn
}

// ownWorld reports whether a directive is one that only this code can follow.
func ownWorld(direct string) bool {
	f := strings.Fields(direct)
	return len(f) > 0 && f[0] != "proto" && f[0] != "db"
}
