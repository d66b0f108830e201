package config

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// pairs reads a file of "key<TAB>value" lines.
func pairs(t *testing.T, path string) [][2]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out [][2]string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		k, v, ok := strings.Cut(sc.Text(), "\t")
		if !ok {
			t.Fatalf("%s: no tab in %q", path, sc.Text())
		}
		out = append(out, [2]string{k, v})
	}
	return out
}

// load reads text as a configuration file would be, without a file.
func load(text string) (*Config, error) {
	c := New()
	err := Loader{}.Load(c, CommandLine{Stdin: true}, strings.NewReader(text))
	return c, err
}

// Every directive of redis-server 7.0.15 exists and has the default it has
// there, except for the differences that are meant.
func TestDefaultsAsRedis(t *testing.T) {
	meant := map[string]string{
		"repl-backlog-size":        "10485760", // as Valkey 8
		"repl-diskless-sync-delay": "0",        // a snapshot costs no fork; latecomers get the next
	}
	c := New()
	golden := pairs(t, "testdata/defaults-7.0.15.txt")
	if len(golden) < 190 {
		t.Fatalf("golden file has %d directives, want at least 190", len(golden))
	}
	for _, g := range golden {
		got := c.Get(g[0])
		if len(got) != 1 {
			t.Errorf("CONFIG GET %s returns %v", g[0], got)
			continue
		}
		want := g[1]
		if m, ok := meant[g[0]]; ok {
			if m == want {
				t.Errorf("%s: no difference, remove it from the list", g[0])
			}
			want = m
		}
		if g[0] == "dir" {
			want, _ = os.Getwd()
		}
		if got[0].Value != want {
			t.Errorf("CONFIG GET %s = %q, want %q", g[0], got[0].Value, want)
		}
	}
}

// Lines that redis-server 7.0.15 was given are accepted or refused alike, with
// the same reason.
func TestLinesAsRedis(t *testing.T) {
	skip := map[string]string{
		"loglevel foo":                "7.2 knows one level more",
		"logfile /nonexist/x":         "the file is opened by the server",
		"rename-command foo bar":      "judged by Loader.Rename",
		"rename-command get set":      "judged by Loader.Rename",
		"user a on extra":             "judged by Loader.User",
		"user default on >x bogus":    "judged by Loader.User",
		"bind":                        "redis-server exits without a word",
		"oom-score-adj-values 3 2 1":  "only a warning",
		"lua-enable-deprecated-api x": "",
	}
	n := 0
	for _, g := range pairs(t, "testdata/lines-7.0.15.txt") {
		if _, ok := skip[g[0]]; ok {
			continue
		}
		n++
		_, err := load(g[0])
		got := "ok"
		if err != nil {
			var le *LoadError
			if !errors.As(err, &le) {
				t.Errorf("%q: %v is no LoadError", g[0], err)
				continue
			}
			got = le.Reason.Error()
			if le.Line != 2 || le.Text != strings.TrimSpace(g[0]) { // a line break comes before standard input
				t.Errorf("%q: at line %d %q", g[0], le.Line, le.Text)
			}
		}
		if got != g[1] {
			t.Errorf("%q: %s, want %s", g[0], got, g[1])
		}
	}
	if n < 130 {
		t.Errorf("compared %d lines, want at least 130", n)
	}
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		args string
		want CommandLine
	}{
		{"", CommandLine{}},
		{"a.conf", CommandLine{File: "a.conf"}},
		{"-", CommandLine{Stdin: true}},
		{"a.conf --port 1 -", CommandLine{File: "a.conf", Stdin: true, Options: `port "1"`}},
		{"- --port 1", CommandLine{Stdin: true, Options: `port "1"`}},
		{"--port 1 --bind a b", CommandLine{Options: "port \"1\"\nbind \"a\" \"b\""}},
		{"--save --port 1", CommandLine{Options: "save \"\"\nport \"1\""}},
		{"--port 1 --save", CommandLine{Options: "port \"1\"\nsave \"\""}},
		{"--requirepass --foo --port 1", CommandLine{Options: "requirepass \"--foo\"\nport \"1\""}},
		{"--port=1", CommandLine{Options: "port=1"}},
		{"-p 1", CommandLine{Options: `"-p" "1"`}},
		{"--client-output-buffer-limit normal 0 0 0 --x", CommandLine{Options: "client-output-buffer-limit \"normal\" \"0\" \"0\" \"0\"\nx"}},
	}
	for _, tt := range tests {
		if got := ParseCommandLine(strings.Fields(tt.args)); got != tt.want {
			t.Errorf("ParseCommandLine(%q) = %+v, want %+v", tt.args, got, tt.want)
		}
	}
}

func TestErrorBlock(t *testing.T) {
	err := Loader{}.Load(New(), ParseCommandLine([]string{"--bogus", "a b", `c"d`}), nil)
	var le *LoadError
	if !errors.As(err, &le) {
		t.Fatalf("Load: %v", err)
	}
	want := "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.4) ***\nReading the configuration file, at line 2\n" +
		`>>> 'bogus "a b" "c\"d"'` + "\nBad directive or wrong number of arguments\n"
	if got := le.Block("7.2.4"); got != want {
		t.Errorf("Block = %q, want %q", got, want)
	}
	_, err = load("replicaof a 1\ncluster-enabled yes\n")
	if want := "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.4) ***\nreplicaof directive not allowed in cluster mode\n"; !errors.As(err, &le) || le.Block("7.2.4") != want {
		t.Errorf("a replica in cluster mode: %v, want %q", err, want)
	}
	err = Loader{}.Load(New(), CommandLine{File: "/nonexistent/a.conf"}, nil)
	if want := "Fatal error, can't open config file '/nonexistent/a.conf': No such file or directory"; err == nil || err.Error() != want {
		t.Errorf("Load = %v, want %s", err, want)
	}
}

// File, standard input and options in this order, includes in place.
func TestLoadOrder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("inc1.conf", "timeout 5\nhz 20\n")
	write("inc2.conf", "hz 30\n")
	main := write("main.conf", "# c\nDIR "+dir+"\ntimeout 1\ninclude inc*.conf\ninclude none*.conf\nsave 1 2\nsave 3 4\nport 1\n"+
		"rename-command FLUSHALL \"\"\nuser a on\nmaxmemory-samples 3\nclient-output-buffer-limit slave 1kb 2 3\n")
	c := New()
	cl := ParseCommandLine([]string{main, "--port", "3", "--maxmemory", "1gb", "-"})
	if err := (Loader{}).Load(c, cl, strings.NewReader("port 2\nmaxmemory-samples 4\n")); err != nil {
		t.Fatal(err)
	}
	if got := c.Port.Get(); got != 3 {
		t.Errorf("port = %d, want 3 from the options", got)
	}
	if got := c.MaxMemorySamples.Get(); got != 4 {
		t.Errorf("maxmemory-samples = %d, want 4 from standard input", got)
	}
	if c.Timeout.Get() != 5 || c.Hz.Get() != 30 {
		t.Errorf("timeout, hz = %d, %d, want 5, 30 from the includes", c.Timeout.Get(), c.Hz.Get())
	}
	if got := c.MaxMemory.Get(); got != 1<<30 {
		t.Errorf("maxmemory = %d", got)
	}
	if got, want := c.Save.Get(), []SavePoint{{1, 2}, {3, 4}}; !reflect.DeepEqual(got, want) {
		t.Errorf("save = %v, want %v", got, want)
	}
	if got := c.ClientOutputBufferLimit.Get()[ClassReplica]; got != (OutputLimit{1024, 2, 3}) {
		t.Errorf("replica limit = %v", got)
	}
	if !reflect.DeepEqual(c.Renames, []Rename{{"FLUSHALL", ""}}) || !reflect.DeepEqual(c.Users, [][]string{{"a", "on"}}) {
		t.Errorf("renames %v, users %v", c.Renames, c.Users)
	}
	if c.File != main || c.Dir.Get() != dir || c.Path("x") != filepath.Join(dir, "x") {
		t.Errorf("file %s, dir %s", c.File, c.Dir.Get())
	}

	loop := write("loop.conf", "include "+filepath.Join(dir, "loop.conf")+"\n")
	if err := (Loader{}).Load(New(), CommandLine{File: loop}, nil); err == nil {
		t.Error("a file that includes itself loads")
	}
	missing := write("missing.conf", "include /nonexistent/x\n")
	if err := (Loader{}).Load(New(), CommandLine{File: missing}, nil); !errors.As(err, new(*OpenError)) {
		t.Errorf("a missing include: %v, want an OpenError", err)
	}
	refuse := Loader{Rename: func(string, string) error { return errors.New("No such command in rename-command") }}
	if err := refuse.Load(New(), CommandLine{File: main}, nil); err == nil || !strings.Contains(err.Error(), "No such command") {
		t.Errorf("refused rename-command: %v", err)
	}
}

func TestSave(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "3600 1 300 100 60 10000",
		"save 1 2":                      "1 2",
		"save 1 2 3 4\nsave 5 6":        "1 2 3 4 5 6",
		"save \"\"":                     "",
		"save 1 2\nsave \"\"\nsave 3 4": "3 4",
		"save":                          "",
	} {
		c, err := load(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := c.Get("save")[0].Value; got != want {
			t.Errorf("%q: save = %q, want %q", text, got, want)
		}
	}
}

func TestGet(t *testing.T) {
	c := New()
	names := func(ps []Pair) (s []string) {
		for _, p := range ps {
			s = append(s, p.Name)
		}
		return s
	}
	tests := []struct {
		args, want string
	}{
		{"MAXMEMORY", "MAXMEMORY"},
		{"MAXMEMORY maxmemory", "MAXMEMORY"},
		{"hz port", "hz port"},
		{"*time-limit busy-reply-threshold", "busy-reply-threshold lua-time-limit"},
		{"maxmemory* MaxMemory", "MaxMemory maxmemory-clients maxmemory-policy maxmemory-samples maxmemory-eviction-tenacity"},
		{"key-load-delay", "key-load-delay"},
		{"key-*", ""},
		{"nothing", ""},
		{"sla[v]e-priority", "slave-priority"},
	}
	for _, tt := range tests {
		got := names(c.Get(strings.Fields(tt.args)...))
		want := strings.Fields(tt.want)
		if len(got) != len(want) {
			t.Errorf("Get(%s) = %v, want %v", tt.args, got, want)
			continue
		}
		have := map[string]bool{}
		for _, n := range got {
			have[n] = true
		}
		for _, n := range want {
			if !have[n] {
				t.Errorf("Get(%s) = %v, want %v", tt.args, got, want)
			}
		}
	}
}

func TestSet(t *testing.T) {
	tests := []struct {
		args []string
		want string // error, "" = none
		get  string // name=value afterwards
	}{
		{[]string{"foo", "1"}, "ERR Unknown option or number of arguments for CONFIG SET - 'foo'", ""},
		{[]string{"user", "foo"}, "ERR Unknown option or number of arguments for CONFIG SET - 'user'", ""},
		{[]string{"port"}, "ERR wrong number of arguments for 'config|set' command", ""},
		{nil, "ERR wrong number of arguments for 'config|set' command", ""},
		{[]string{"maxmemory", "10", "maxmemory", "20"}, "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - duplicate parameter", "maxmemory=0"},
		{[]string{"maxmemory", "1x"}, "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value", ""},
		{[]string{"maxmemory", "1mb", "hz", "abc"}, "ERR CONFIG SET failed (possibly related to argument 'hz') - argument couldn't be parsed into an integer", "maxmemory=0"},
		{[]string{"databases", "3"}, "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config", ""},
		{[]string{"dir", "/tmp"}, "ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config", ""},
		{[]string{"save", "10 1 20"}, "ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters", ""},
		{[]string{"oom-score-adj-values", "1 2"}, "ERR CONFIG SET failed (possibly related to argument 'oom-score-adj-values') - wrong number of arguments", ""},
		{[]string{"lua-time-limit", "5", "busy-reply-threshold", "6"}, "", "lua-time-limit=6"},
		{[]string{"MAXMEMORY", "5kb"}, "", "maxmemory=5120"},
		{[]string{"maxmemory", ""}, "", "maxmemory=0"},
		{[]string{"hz", "1000"}, "", "hz=500"},
		{[]string{"save", ""}, "", "save="},
		{[]string{"save", "10 1 20 2"}, "", "save=10 1 20 2"},
		{[]string{"save", "1 2"}, "", "save=1 2"}, // replaces, where a file's lines add up
		{[]string{"client-output-buffer-limit", "normal 1mb 0 0"}, "", "client-output-buffer-limit=normal 1048576 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"},
		{[]string{"client-output-buffer-limit", "normal 1 2 3 slave 1 2 3 replica 4 5 6"}, "", "client-output-buffer-limit=normal 1 2 3 slave 4 5 6 pubsub 33554432 8388608 60"},
		{[]string{"notify-keyspace-events", "AKE"}, "", "notify-keyspace-events=AKE"},
		{[]string{"notify-keyspace-events", "xgKE$m"}, "", "notify-keyspace-events=g$xKEm"},
		{[]string{"maxmemory-clients", "10%"}, "", "maxmemory-clients=10%"},
		{[]string{"loglevel", "DEBUG"}, "", "loglevel=debug"},
		{[]string{"shutdown-on-sigterm", "force nosave"}, "", "shutdown-on-sigterm=nosave force"},
		{[]string{"latency-tracking-info-percentiles", "50 99.90 1e1"}, "", "latency-tracking-info-percentiles=50 99.9 10"},
		{[]string{"latency-tracking-info-percentiles", ""}, "", "latency-tracking-info-percentiles="},
		{[]string{"list-max-listpack-size", "-3", "list-max-ziplist-size", "-2"}, "", "list-max-listpack-size=-2"},
		{[]string{"repl-timeout", "+5"}, "ERR CONFIG SET failed (possibly related to argument 'repl-timeout') - argument couldn't be parsed into an integer", ""},
		{[]string{"tracking-table-max-keys", "99999999999999999999"}, "ERR CONFIG SET failed (possibly related to argument 'tracking-table-max-keys') - argument couldn't be parsed into an integer", ""},
		{[]string{"masterauth", "a b\" "}, "", "masterauth=a b\" "},
		{[]string{"bind", ""}, "", "bind="},
	}
	c := New()
	for _, tt := range tests {
		err := c.Set(tt.args, false)
		if got := errText(err); got != tt.want {
			t.Errorf("Set(%q) = %q, want %q", tt.args, got, tt.want)
		}
		if name, want, ok := strings.Cut(tt.get, "="); ok {
			if got := c.Get(name)[0].Value; got != want {
				t.Errorf("after Set(%q) %s = %q, want %q", tt.args, name, got, want)
			}
		}
	}

	local, err := load("enable-protected-configs local")
	if err != nil {
		t.Fatal(err)
	}
	if err := local.Set([]string{"dbfilename", "x"}, false); err == nil {
		t.Error("a protected directive set from afar")
	}
	if err := local.Set([]string{"dbfilename", "x"}, true); err != nil {
		t.Errorf("a protected directive set locally: %v", err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A hook that refuses rolls the whole CONFIG SET back, and hooks that had
// agreed are told.
func TestHooks(t *testing.T) {
	c := New()
	var log []string
	c.OnChange("maxmemory", func(old, new string) error {
		log = append(log, "maxmemory "+old+"->"+new+" now "+c.maxmemory())
		return nil
	})
	c.OnChanges(func(changes []Change) error {
		for _, ch := range changes {
			log = append(log, ch.Name+" "+ch.Old+"->"+ch.New)
			if ch.New == "1" {
				return errors.New("Unable to listen on this port. Check server logs.")
			}
		}
		return nil
	}, "port", "bind")
	check := func(err error, wantErr string, want ...string) {
		t.Helper()
		if errText(err) != wantErr {
			t.Errorf("error %q, want %q", errText(err), wantErr)
		}
		if strings.Join(log, ", ") != strings.Join(want, ", ") {
			t.Errorf("hooks saw %q, want %q", log, want)
		}
		log = nil
	}
	check(c.Set([]string{"maxmemory", "1kb", "port", "7", "bind", "a"}, false), "",
		"maxmemory 0->1024 now 1024", "port 6379->7", "bind * -::*->a")
	check(c.Set([]string{"maxmemory", "1024"}, false), "") // no change, no call
	check(c.Set([]string{"maxmemory", "5", "hz", "20", "port", "1"}, false),
		"ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs.",
		"maxmemory 1024->5 now 5", "port 7->1", "maxmemory 5->1024 now 1024")
	if c.MaxMemory.Get() != 1024 || c.Hz.Get() != 10 || c.Port.Get() != 7 {
		t.Errorf("after a refusal maxmemory %d, hz %d, port %d", c.MaxMemory.Get(), c.Hz.Get(), c.Port.Get())
	}
	check(c.Assign("port", "9"), "")
}

func (c *Config) maxmemory() string { return formatInt(c.MaxMemory.Get()) }

func TestGetIsCheap(t *testing.T) {
	c := New()
	var sum int64
	if n := testing.AllocsPerRun(100, func() {
		sum += c.HashMaxListpackEntries.Get()
		if c.MaxMemoryPolicy.Get() == NoEviction && !c.AppendOnly.Get() {
			sum += int64(c.NotifyKeyspaceEvents.Get())
		}
	}); n != 0 {
		t.Errorf("reading directives allocates %v times", n)
	}
}
