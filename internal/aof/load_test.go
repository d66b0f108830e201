package aof_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/aof"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/labtest"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
)

const logDir = "data/appendonlydir/"

// put writes a file of the log.
func put(t testing.TB, f disk.FS, name string, content []byte) {
	t.Helper()
	f.MkdirAll(logDir, 0o755)
	if err := disk.AtomicWrite(f, logDir+name, content, true); err != nil {
		t.Fatal(err)
	}
}

// cmds are commands, a line each.
func cmds(lines ...string) (b []byte) {
	for _, line := range lines {
		b = resp.AppendCommandStrings(b, strings.Fields(line)...)
	}
	return b
}

const oneIncr = "file appendonly.aof.1.incr.aof seq 1 type i\n"

// What a client has written comes back, through increments and bases of both
// kinds, several databases and transactions.
func TestReopen(t *testing.T) {
	for _, asRDB := range []bool{true, false} {
		f := labtest.NewDisk()
		settings := func(s *aof.Settings) { s.RDBPreamble, s.Timestamps = asRDB, !asRDB }
		l := newLab(t, f, "data", settings).open()
		l.Fill(300)
		l.rewrite()
		l.Fill(100)
		want := l.Data()
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
		l = newLab(t, f, "data", settings).open()
		if got := l.Data(); got != want {
			t.Errorf("RDB %v: the data set is another one", asRDB)
		}
		l.rewrite()
		l.stop()
		l = newLab(t, f, "data", settings).open()
		if got := l.Data(); got != want {
			t.Errorf("RDB %v: the data set is another one after a rewrite", asRDB)
		}
		names, _ := f.ReadDir("data/appendonlydir")
		if len(names) != 3 {
			t.Errorf("files %q", names)
		}
		l.stop()
	}
}

// The last file is cut at every byte: what was whole is loaded, a transaction whole
// or not at all, and what is appended then is found by the next start. The same
// with zeros in place of what is missing.
func TestTornTail(t *testing.T) {
	units := [][]byte{cmds("SELECT 0"), cmds("RPUSH l 1"), []byte("#TS:1795332451\r\n"), cmds("RPUSH l 2"), cmds("MULTI", "RPUSH l 3", "RPUSH l 4", "EXEC"), cmds("RPUSH l 5")}
	whole := []string{"", "", "1", "1", "1 2", "1 2 3 4", "1 2 3 4 5"}
	content := bytes.Join(units, nil)
	for cut := 0; cut <= len(content); cut++ {
		n, at := 0, 0
		for n < len(units) && at+len(units[n]) <= cut {
			at += len(units[n])
			n++
		}
		for _, zeros := range []int{0, 1, 4000} {
			if testing.Short() && (zeros > 0) != (cut%2 > 0) || zeros == 1 && testing.Short() {
				continue
			}
			f := labtest.NewDisk()
			put(t, f, "appendonly.aof.1.incr.aof", append(bytes.Clone(content[:cut]), make([]byte, zeros)...))
			put(t, f, "appendonly.aof.manifest", []byte(oneIncr))
			l := newLab(t, f, "data", nil).open()
			list := func() string {
				var out []string
				for _, e := range l.Client().Reply("LRANGE l 0 -1").Elems {
					out = append(out, e.Text())
				}
				return strings.Join(out, " ")
			}
			if got := list(); got != whole[n] {
				t.Fatalf("cut at %d, %d zeros: %q, want %q", cut, zeros, got, whole[n])
			}
			l.Client().Do("RPUSH l end")
			l.stop()
			l = newLab(t, f, "data", nil).open()
			if got, want := list(), strings.TrimSpace(whole[n]+" end"); got != want {
				t.Fatalf("cut at %d, %d zeros, next start: %q, want %q", cut, zeros, got, want)
			}
			l.stop()
		}
	}
}

// What cannot be loaded is refused with the file, the offset and the reason, and
// nothing on disk is changed.
func TestRefused(t *testing.T) {
	base := func(lines ...string) []byte { return cmds(lines...) }
	two := oneIncr + "file appendonly.aof.2.incr.aof seq 2 type i\n"
	tests := []struct {
		name     string
		manifest string
		incr     []byte
		second   []byte
		strict   bool // aof-load-truncated no
		want     string
	}{
		{"unknown command", oneIncr, base("SET a 1", "NOSUCH x"), nil, false, `appendonly.aof.1.incr.aof: offset 27: unknown command "NOSUCH"`},
		{"no command", oneIncr, append(base("SET a 1"), "SET b 2\r\n"...), nil, false, `offset 27: 'S' where a command should begin`},
		{"empty line", oneIncr, append(base("SET a 1"), "\r\n"...), nil, false, `offset 27: '\r' where a command should begin`},
		{"no arguments", oneIncr, []byte("*0\r\n"), nil, false, "offset 0: a command without arguments"},
		{"bad count", oneIncr, []byte("*x\r\n"), nil, false, "offset 1: 'x' in a number"},
		{"huge count", oneIncr, []byte("*999999999\r\n"), nil, false, "offset 0: a number that is too large"},
		{"bad argument", oneIncr, []byte("*1\r\n+PING\r\n"), nil, false, "offset 4: '+' where an argument should begin"},
		{"wrong length", oneIncr, []byte("*1\r\n$3\r\nPING\r\n"), nil, false, "offset 11: no line end after an argument"},
		{"long annotation", oneIncr, []byte("#" + strings.Repeat("x", 2000) + "\r\n"), nil, false, "offset 0: an annotation without end"},
		{"zeros inside", oneIncr, append(append(base("SET a 1"), 0, 0, 0), base("SET b 1")...), nil, false, `offset 27: '\x00' where a command should begin`},
		{"no such database", oneIncr, base("SELECT 99"), nil, false, `database "99", and only 4 are configured`},
		{"cut, not the last", two, base("SET a 1")[:20], base("SET a 1"), false, "offset 0: the file ends in the middle of a command, and it is not the last file of the log"},
		{"transaction open, not the last", two, base("SET a 1", "MULTI"), base("SET a 1"), false, "offset 27: the file ends inside a transaction, and it is not"},
		{"cut, and it may not be", oneIncr, base("SET a 1")[:20], nil, true, "offset 0: the file ends in the middle of a command, and aof-load-truncated is off"},
		{"missing file", two, base("SET a 1"), nil, false, "appendonly.aof.2.incr.aof"},
		{"bad manifest", "file x\n", nil, nil, false, "manifest: line 1"},
	}
	for _, tt := range tests {
		f := labtest.NewDisk()
		put(t, f, "appendonly.aof.manifest", []byte(tt.manifest))
		put(t, f, "appendonly.aof.1.incr.aof", tt.incr)
		if tt.second != nil {
			put(t, f, "appendonly.aof.2.incr.aof", tt.second)
		}
		l := newLab(t, f, "data", func(s *aof.Settings) { s.LoadTruncated = !tt.strict })
		if err := l.aof.Open(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if got, _ := disk.ReadFile(f, logDir+"appendonly.aof.1.incr.aof"); !bytes.Equal(got, tt.incr) {
			t.Errorf("%s: the file was changed", tt.name)
		}
		l.aof.Start()
		l.stop()
	}
}

// A file of the old kind, commands or an RDB with commands behind it, is taken
// over, wherever that is interrupted.
func TestUpgrade(t *testing.T) {
	var preamble bytes.Buffer
	w := rdb.NewWriter(&preamble, rdb.WriterOptions{Checksum: true})
	w.Info(&rdb.Info{ServerVersion: "5.0.0"})
	w.Close()
	for name, content := range map[string][]byte{"commands": cmds("SELECT 0", "SET a 1", "INCR n"), "RDB and commands": append(preamble.Bytes(), cmds("SELECT 0", "SET a 1", "INCR n")...)} {
		for at := 1; ; at++ {
			f := labtest.NewDisk()
			if err := disk.AtomicWrite(f, "data/appendonly.aof", content, true); err != nil {
				t.Fatal(err)
			}
			f.StopAt(at)
			l := newLab(t, f, "data", nil)
			err := l.aof.Open()
			f.StopAt(1)
			l.aof.Start()
			l.stop()
			f.Crash(rand.New(rand.NewPCG(uint64(at), 3)))
			l = newLab(t, f, "data", nil).open()
			if got := l.Client().Do("GET n"); got != "$1\r\n1" {
				t.Fatalf("%s, stopped at %d: n is %q", name, at, got)
			}
			l.rewrite()
			l.stop()
			names, _ := f.ReadDir("data/appendonlydir")
			if _, err := f.Stat("data/appendonly.aof"); err == nil || len(names) < 3 {
				t.Fatalf("%s, stopped at %d: files %q", name, at, names)
			}
			if err == nil {
				break
			}
		}
	}
}

// What is superseded and what a crash has left does not count, and the former is
// deleted.
func TestHistory(t *testing.T) {
	f := labtest.NewDisk()
	put(t, f, "appendonly.aof.1.base.aof", cmds("SET old 1"))
	put(t, f, "appendonly.aof.2.base.aof", cmds("SET new 1"))
	put(t, f, "appendonly.aof.7.incr.aof", cmds("SET stray 1"))
	put(t, f, "appendonly.aof.3.incr.aof", nil)
	put(t, f, "temp-rewriteaof-bg.aof", cmds("SET temp 1"))
	put(t, f, "appendonly.aof.manifest", []byte("file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.1.base.aof seq 1 type h\nfile gone seq 1 type h\nfile appendonly.aof.3.incr.aof seq 3 type i\n"))
	l := newLab(t, f, "data", nil).open()
	c := l.Client()
	for key, want := range map[string]string{"new": "$1\r\n1", "old": "$-1", "stray": "$-1", "temp": "$-1"} {
		if got := c.Do("GET " + key); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
	text, _ := disk.ReadFile(f, logDir+"appendonly.aof.manifest")
	if want := "file appendonly.aof.2.base.aof seq 2 type b\nfile appendonly.aof.3.incr.aof seq 3 type i\n"; string(text) != want {
		t.Errorf("manifest %q", text)
	}
	if _, err := f.Stat(logDir + "appendonly.aof.1.base.aof"); err == nil {
		t.Error("the history is still there")
	}
}

// Reload brings back what is there.
func TestReload(t *testing.T) {
	f := labtest.NewDisk()
	l := newLab(t, f, "data", nil).open()
	l.Fill(50)
	want := l.Data()
	if err := l.aof.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := l.Data(); got != want {
		t.Error("another data set after a reload")
	}
	l.Client().Do("SET after 1")
	l.stop()
	if got := newLab(t, f, "data", nil).open().Client().Do("GET after"); got != "$1\r\n1" {
		t.Errorf("written after a reload: %q", got)
	}
}

// Any bytes as the last file: they are loaded, or refused with an error that says
// where; what was loaded can be gone on with. Whatever redis-check-aof's rules call
// whole is loaded in full.
func FuzzLoad(f *testing.F) {
	f.Add(cmds("SELECT 0", "SET a 1", "MULTI", "INCR n", "EXEC"))
	f.Add(cmds("RPUSH l 1 2 3", "EXPIRE l 10", "MULTI", "SET a 2"))
	f.Add(append([]byte("#TS:1795332451\r\n"), cmds("XADD s 1-1 a b", "SADD s 1")...))
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\na\r"))
	f.Add([]byte("*1\r\n$4\r\nEXEC\r\n\x00\x00"))
	f.Add([]byte("*2\r\n$6\r\nSELECT\r\n$2\r\n-1\r\n*1048577\r\n"))
	f.Add([]byte("*3\r\n$3\r\nSET\r\n$1099511627776\r\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		fs := labtest.NewDisk()
		put(t, fs, "appendonly.aof.1.incr.aof", content)
		put(t, fs, "appendonly.aof.manifest", []byte(oneIncr))
		l := newLab(t, fs, "data", nil)
		err := l.aof.Open()
		l.aof.Start()
		if err != nil {
			if !strings.Contains(err.Error(), "appendonly.aof.1.incr.aof: offset ") {
				t.Errorf("error %q", err)
			}
			l.stop()
			return
		}
		want := l.Data()
		if got := l.Client().Do("SET end 1"); got != "+OK" {
			t.Fatalf("SET: %q", got)
		}
		l.stop()
		l = newLab(t, fs, "data", nil).open()
		l.Client().Do("DEL end")
		if got := l.Data(); got != want && !strings.Contains(want, " end ") && !bytes.Contains(bytes.ToUpper(content), []byte("EXPIRE")) {
			t.Errorf("%q, then %q", want, got)
		}
		l.stop()
	})
}

// allocated returns the bytes of Go memory that were ever allocated, large objects
// exactly.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// Any bytes as a base: RDB, RDB and commands behind it, or commands. They are
// loaded or refused with the name of the file and the place, and memory is in
// proportion.
//
// One node serves all inputs and gets a log for each: a third of the time went to
// making nodes, and more to the collector behind them.
func FuzzBase(f *testing.F) {
	var file bytes.Buffer
	w := rdb.NewWriter(&file, rdb.WriterOptions{Checksum: true})
	w.Info(&rdb.Info{ServerVersion: "7.0.15", AOFBase: true})
	w.SelectDB(0, 2, 0)
	w.Key(&rdb.Key{Name: []byte("a"), IdleSec: rdb.NoIdle, Freq: rdb.NoFreq}, rdb.TypeString, rdb.AppendString(nil, []byte("1"), false))
	w.Key(&rdb.Key{Name: []byte("n"), ExpireAtMs: 1, IdleSec: 7, Freq: 9}, rdb.TypeString, rdb.AppendString(nil, bytes.Repeat([]byte("x"), 60), true))
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	for _, name := range []bool{true, false} {
		f.Add(file.Bytes(), name)
		f.Add(append(bytes.Clone(file.Bytes()), cmds("SELECT 1", "SET b 2", "MULTI", "INCR n", "EXEC")...), name)
		f.Add(cmds("SET b 2", "MULTI", "INCR n"), name)
		f.Add([]byte("REDIS0010\xfe\x00\x02\x01k\x81\x00\x00\x01\x00\x00\x00\x00\x00"), name)
	}
	disk := labtest.NewDisk()
	node := labtest.New(f, disk, 64<<20)
	f.Cleanup(node.Close)
	f.Fuzz(func(t *testing.T, content []byte, byRDB bool) {
		name := "appendonly.aof.1.base.aof"
		if byRDB {
			name = "appendonly.aof.1.base.rdb"
		}
		fs := labtest.NewDisk()
		put(t, fs, name, content)
		put(t, fs, "appendonly.aof.manifest", []byte("file "+name+" seq 1 type b\n"))
		l := onNode(node, fs, "data", nil)
		before := allocated()
		err := l.aof.Open()
		got := allocated() - before
		l.aof.Start()
		defer func() {
			l.aof.Close()
			node.Reset()
		}()
		if got > 8<<20+600*uint64(len(content)) && !bytes.Contains(content, []byte{'*'}) {
			t.Fatalf("%d bytes of file: %d bytes of memory", len(content), got)
		}
		if err != nil {
			if text := err.Error(); !strings.Contains(text, name) || !strings.Contains(text, "offset ") {
				t.Fatalf("error %q", err)
			}
			return
		}
		if got := l.Client().Do("SET end 1"); got != "+OK" {
			t.Fatalf("SET: %q", got)
		}
		if err := l.E.Store.Heap.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// The check and the loader are of one mind about what is whole.
func TestCheckAgreesWithLoader(t *testing.T) {
	content := cmds("SELECT 0", "SET a 1", "MULTI", "RPUSH l 3", "RPUSH l 4", "EXEC", "INCR n")
	dir := t.TempDir()
	for cut := 0; cut <= len(content); cut += 3 {
		path := filepath.Join(dir, "f.aof")
		if err := os.WriteFile(path, content[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		code := aof.CheckMain([]string{"--fix", path}, strings.NewReader("y\n"), &out, disk.OS{})
		fixed, _ := os.ReadFile(path)
		f := labtest.NewDisk()
		put(t, f, "appendonly.aof.1.incr.aof", content[:cut])
		put(t, f, "appendonly.aof.manifest", []byte(oneIncr))
		l := newLab(t, f, "data", nil).open()
		l.stop()
		loaded, _ := disk.ReadFile(f, logDir+"appendonly.aof.1.incr.aof")
		if code != 0 || !bytes.Equal(fixed, loaded) {
			t.Errorf("cut at %d: check leaves %d bytes (exit code %d), the loader %d\n%s", cut, len(fixed), code, len(loaded), &out)
		}
	}
}
