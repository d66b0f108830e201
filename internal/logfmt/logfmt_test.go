package logfmt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 2, 12, 0, 1, 38e6, time.FixedZone("", 3600))

// at makes records of one time, which slog.Logger itself cannot.
func at(l *slog.Logger, level slog.Level, msg string, args ...any) {
	r := slog.NewRecord(noon, level, msg, 0)
	r.Add(args...)
	if l.Enabled(context.Background(), level) {
		l.Handler().Handle(context.Background(), r)
	}
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	s := New(&out)
	l := s.Logger()
	if SinkOf(l.With("a", 1)) != s || SinkOf(slog.Default()) != nil {
		t.Error("SinkOf does not find the sink")
	}
	p := fmt.Sprint(os.Getpid())
	expect := func(claim, want string) {
		t.Helper()
		if got := out.String(); got != want {
			t.Errorf("%s: %q, want %q", claim, got, want)
		}
		out.Reset()
	}
	at(l, Notice, "Configuration loaded")
	expect("starting up", p+":C 02 Nov 2026 12:00:01.038 * Configuration loaded\n")
	s.SetRole(Primary)
	at(l, Warning, "Server initialized", "node", "a b", "n", 3, "empty", "", "err", errors.New(`x="y"`))
	expect("attributes", p+`:M 02 Nov 2026 12:00:01.038 # Server initialized node="a b" n=3 empty="" err="x=\"y\""`+"\n")
	s.SetRole(Replica)
	at(l, slog.LevelError, "bad")
	expect("error", p+":S 02 Nov 2026 12:00:01.038 # bad\n")
	at(l, Verbose, "hidden")
	expect("below the level", "")
	s.SetLevel(Debug)
	at(l, Verbose, "v")
	at(l, Debug, "d")
	expect("all levels", p+":S 02 Nov 2026 12:00:01.038 - v\n"+p+":S 02 Nov 2026 12:00:01.038 . d\n")
	s.SetLevel(Nothing)
	at(l, slog.LevelError, "bad")
	expect("nothing", "")
	s.SetLevel(Notice)
	at(l.With("id", 7).WithGroup("g").With("x", 1), Notice, "m", "y", 2, slog.Group("h", "z", 3))
	expect("groups", p+":S 02 Nov 2026 12:00:01.038 * m id=7 g.x=1 g.y=2 g.h.z=3\n")
	s.SetTimestamp(ISO8601)
	at(l, Notice, "m")
	expect("iso8601", p+":S 2026-11-02T12:00:01.038+01:00 * m\n")
	s.SetTimestamp(Milliseconds)
	s.SetFormat(Logfmt)
	at(l, Notice, "a \"b\"\n", "k", "v")
	expect("logfmt", "pid="+p+" role=replica timestamp=1793617201038 level=notice message=\"a \\\"b\\\"\\n\" k=v\n")
	s.SetTimestamp(LegacyTime)
	at(l, Warning, "m")
	expect("logfmt, legacy time", "pid="+p+" role=replica timestamp=\"02 Nov 2026 12:00:01.038\" level=warning message=\"m\"\n")
}

// The log file may be moved away between two lines, as logrotate does.
func TestFile(t *testing.T) {
	var out bytes.Buffer
	s := New(&out)
	l := s.Logger()
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	if err := s.SetFile(filepath.Join(dir, "none", "log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("SetFile in a missing directory: %v", err)
	}
	at(l, Notice, "to the writer")
	if err := s.SetFile(path); err != nil {
		t.Fatal(err)
	}
	at(l, Notice, "one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	at(l, Notice, "two")
	for file, want := range map[string]string{path + ".1": "* one\n", path: "* two\n"} {
		if b, err := os.ReadFile(file); err != nil || !bytes.HasSuffix(b, []byte(want)) || bytes.Count(b, []byte("\n")) != 1 {
			t.Errorf("%s has %q, %v, want one line ending in %q", file, b, err, want)
		}
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("the writer got %d lines, want 1", n)
	}
}
