package persist_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/labtest"
	"github.com/skeindb/skein/internal/persist"
)

const dump = "dump.rdb"

// files are the names in the directory of the data set.
func files(n *labtest.Node, f disk.FS) []string {
	names, err := f.ReadDir(filepath.Dir(n.Saver.Path()))
	if err != nil {
		n.T.Fatal(err)
	}
	return names
}

// start makes a node on a disk and loads what is there.
func start(t *testing.T, f disk.FS) *labtest.Node {
	t.Helper()
	n := labtest.New(t, f, 16<<20)
	n.Set("rdbcompression", "no") // so that there is something to write
	n.Serve()
	if err := n.Saver.Load(false, nil); err != nil {
		t.Fatalf("the data directory cannot be loaded: %v", err)
	}
	t.Cleanup(n.Close)
	return n
}

// write changes the data set: values of all types, some in the place of others, and
// enough bytes for several writes to the file.
func write(n *labtest.Node, round int) {
	n.Fill(10 + round)
	c := n.Client()
	rnd := rand.New(rand.NewPCG(uint64(round), 3))
	for i := range 6 {
		c.Do(fmt.Sprintf("SET big%d %s%d", i, strings.Repeat(fmt.Sprint(rnd.Uint64()), 1000), round))
	}
	c.Do(fmt.Sprintf("XADD stream %d-1 f v", round+1))
	c.Do(fmt.Sprintf("DEL s%d", round))
}

// background makes a save by BGSAVE and returns how it ended.
func background(n *labtest.Node) error {
	if got := n.Client().Do("BGSAVE"); got != "+Background saving started" {
		return errors.New(got)
	}
	labtest.Eventually(n.T, func() string {
		if n.Saver.Running() {
			return "the save does not end"
		}
		return ""
	})
	if info(n, "rdb_last_bgsave_status") != "ok" {
		return errors.New("BGSAVE failed")
	}
	return nil
}

func info(n *labtest.Node, field string) string {
	for line := range strings.SplitSeq(n.Saver.Info(), "\r\n") {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return v
		}
	}
	return ""
}

// The ways to save. Shutdown is what a node does that is told to end while a save
// is under way.
var saves = []struct {
	name string
	run  func(n *labtest.Node) error
}{
	{"SAVE", func(n *labtest.Node) error { return n.Saver.Save() }},
	{"BGSAVE", background},
	{"shutdown during BGSAVE", func(n *labtest.Node) error {
		n.Client().Do("BGSAVE")
		n.Saver.Stop()
		return n.Saver.Save()
	}},
}

// The machine stops before every operation of each way to save, with and without an
// older file, and whatever subset of the unsynced survives: the directory can be
// loaded and holds exactly the old or the new data set, the new one if the save had
// ended; the next save works and leaves nothing but its file.
func TestCrashAnywhere(t *testing.T) {
	for _, way := range saves {
		for _, older := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, older file %v", way.name, older), func(t *testing.T) {
				t.Parallel()
				seeds := uint64(6)
				if testing.Short() {
					seeds = 2
				}
				for at := 1; ; at++ {
					through := true
					for seed := range seeds {
						f := labtest.NewDisk()
						n := start(t, f)
						before := ""
						if older {
							write(n, 0)
							before = n.Data()
							if err := n.Saver.Save(); err != nil {
								t.Fatal(err)
							}
						}
						write(n, 1)
						after := n.Data()
						f.StopAt(at)
						err := way.run(n)
						through = through && err == nil
						f.StopAt(1)
						n.Close()
						f.Crash(rand.New(rand.NewPCG(seed, uint64(at))))

						n = start(t, f)
						switch got := n.Data(); {
						case got == after:
						case err != nil && got == before:
						default:
							t.Fatalf("stopped at %d, seed %d: the save: %v; loaded is neither the old nor the new data set", at, seed, err)
						}
						write(n, 2)
						after = n.Data()
						if err := n.Saver.Save(); err != nil {
							t.Fatalf("stopped at %d, seed %d: the next save: %v", at, seed, err)
						}
						if names := files(n, f); !slices.Equal(names, []string{dump}) {
							t.Fatalf("stopped at %d, seed %d: files %q are left", at, seed, names)
						}
						n.Close()
						f.Crash(rand.New(rand.NewPCG(seed, uint64(at)+1)))
						if n = start(t, f); n.Data() != after {
							t.Fatalf("stopped at %d, seed %d: the next save did not last", at, seed)
						}
						n.Close()
					}
					if through {
						if at < 9 {
							t.Errorf("a save took only %d operations", at-1)
						}
						return
					}
				}
			})
		}
	}
}

const refused = "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. " +
	"Commands that may modify the data set are disabled, because this instance is configured to report errors during " +
	"writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error."

// One operation after the other fails, in the background and in the foreground. A
// failed BGSAVE refuses writes, and nothing else, until a save succeeds; a failed SAVE
// says so and changes nothing. What a crash leaves is the old data set, or the new one
// where only the sync of the directory failed.
func TestFailAnywhere(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		for _, inBackground := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, background %v", errno, inBackground), func(t *testing.T) {
				t.Parallel()
				for at := 1; ; at++ {
					f := labtest.NewDisk()
					n := start(t, f)
					c := n.Client()
					n.Set("save", "3600 1")
					write(n, 0)
					before := n.Data()
					if err := n.Saver.Save(); err != nil {
						t.Fatal(err)
					}
					write(n, 1)
					after := n.Data()
					want := map[string]string{"rdb_changes_since_last_save": info(n, "rdb_changes_since_last_save"), "rdb_last_bgsave_status": "ok",
						"rdb_last_save_time": info(n, "rdb_last_save_time"), "rdb_bgsave_in_progress": "0", "rdb_saves": "2"}
					f.FailAt(at, errno)
					ops := f.Ops()
					err := errors.New("?")
					if inBackground {
						err = background(n)
					} else if got := c.Do("SAVE"); got == "+OK" {
						err = nil
					} else if got != "-ERR" {
						t.Fatalf("failed at %d: SAVE: %q", at, got)
					}
					if err == nil {
						if f.Ops() >= ops+at {
							t.Fatalf("operation %d failed and the save did not", at)
						}
						return
					}
					if inBackground {
						want["rdb_last_bgsave_status"] = "err"
					}
					for field, v := range want {
						if got := info(n, field); got != v {
							t.Errorf("failed at %d: %s:%s, want %s", at, field, got, v)
						}
					}
					for line, reply := range map[string]string{"SET x 1": "+OK", "PING": "+PONG", "GET n": "$1\r\n3"} {
						if inBackground && line[0] != 'G' {
							reply = refused
						}
						if got := c.Do(line); got != reply {
							t.Errorf("failed at %d: %s: %q, want %q", at, line, got, reply)
						}
					}
					if names := files(n, f); !slices.Equal(names, []string{dump}) {
						t.Errorf("failed at %d: files %q are left", at, names)
					}
					m := start(t, f)
					if got := m.Data(); got != before && (got != after || !strings.Contains(n.Log.String(), "fsync directory")) {
						t.Errorf("failed at %d: what is on disk is not the old data set", at)
					}
					m.Close()
					if err := background(n); err != nil {
						t.Fatalf("failed at %d: the next save: %v", at, err)
					}
					for _, line := range []string{"SET y 1", "SAVE"} {
						if got := c.Do(line); got != "+OK" {
							t.Errorf("failed at %d: %s after a good save: %q", at, line, got)
						}
					}
					if got := info(n, "rdb_changes_since_last_save"); got != "0" {
						t.Errorf("failed at %d: rdb_changes_since_last_save:%s after all was saved", at, got)
					}
					n.Close()
				}
			})
		}
	}
}

// Writes are refused only while stop-writes-on-bgsave-error and save points say so.
func TestRefusalFollowsSettings(t *testing.T) {
	f := labtest.NewDisk()
	n := start(t, f)
	n.Set("save", "3600 1")
	f.Fail(func(op, path string) error { return syscall.ENOSPC })
	background(n)
	for _, tt := range []struct {
		directive string
		words     []string
		reply     string
	}{
		{"stop-writes-on-bgsave-error", []string{"no"}, "+OK"},
		{"stop-writes-on-bgsave-error", []string{"yes"}, refused},
		{"save", []string{""}, "+OK"},
		{"save", []string{"100 10"}, refused},
	} {
		n.Set(tt.directive, tt.words...)
		n.Saver.Guard()
		if got := n.Client().Do("SET a 1"); got != tt.reply {
			t.Errorf("%s %q: %q, want %q", tt.directive, tt.words, got, tt.reply)
		}
	}
	if n.E.Gate(engine.GateMisconf) != true {
		t.Error("the gate is open")
	}
}

// A file that lost its end, or has zeros there, as a disk without syncs leaves it, is
// refused by name and offset; nothing is loaded by halves.
func TestTornFileIsRefused(t *testing.T) {
	f := labtest.NewDisk()
	n := start(t, f)
	write(n, 0)
	if err := n.Saver.Save(); err != nil {
		t.Fatal(err)
	}
	whole, err := disk.ReadFile(f, n.Saver.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{1, 8, 9, 4096, len(whole) - 20} {
		for _, zeros := range []bool{false, true} {
			torn := slices.Clone(whole[:len(whole)-cut])
			if zeros {
				torn = append(torn, make([]byte, cut)...)
				if cut <= 8 { // the checksum alone: zero means that there is none
					continue
				}
			}
			if err := disk.AtomicWrite(f, n.Saver.Path(), torn, true); err != nil {
				t.Fatal(err)
			}
			m := labtest.New(t, f, 16<<20)
			m.Serve()
			err := m.Saver.Load(false, nil)
			if err == nil || !strings.Contains(err.Error(), dump) || !strings.Contains(err.Error(), "offset") {
				t.Errorf("%d bytes cut off, zeros %v: %v", cut, zeros, err)
			}
			m.Close()
		}
	}
}

// Save points, the spacing of attempts after a failure, BGSAVE SCHEDULE, and what
// LASTSAVE and INFO say, by a clock that the test holds.
func TestSavePoints(t *testing.T) {
	f := labtest.NewDisk()
	n := labtest.New(t, f, 16<<20)
	t.Cleanup(n.Close)
	n.Set("save", "100 3 10 50")
	now := time.Unix(1_800_000_000, 0)
	busy := false
	n.NewSaver(f, func() time.Time { return now }, func() bool { return busy })
	n.Serve()
	c := n.Client()
	saved := 0
	tick := func(when string, want bool) {
		t.Helper()
		n.Saver.Tick()
		labtest.Eventually(t, func() string {
			if n.Saver.Running() {
				return "the save does not end"
			}
			return ""
		})
		if want {
			saved++
		}
		if got := info(n, "rdb_saves"); got != fmt.Sprint(saved) {
			t.Fatalf("%s: %s saves were begun, want %d", when, got, saved)
		}
	}
	last := func(want time.Time) {
		t.Helper()
		if got := c.Do("LASTSAVE"); got != fmt.Sprintf(":%d", want.Unix()) {
			t.Errorf("LASTSAVE: %q, want %d", got, want.Unix())
		}
	}
	pass := func(d time.Duration) { now = now.Add(d) }
	change := func(times int) {
		for range times {
			c.Do("INCR n")
		}
	}
	last(now)
	change(2)
	pass(200 * time.Second)
	tick("two changes", false)
	change(1)
	tick("three changes in 200 seconds", true)
	last(now)
	change(49)
	pass(11 * time.Second)
	tick("49 changes in 11 seconds", false)
	change(1)
	busy = true
	tick("50 changes, and the log is being rewritten", false)
	busy = false
	tick("50 changes in 11 seconds", true)
	tick("nothing new", false)
	good := now

	f.Fail(func(op, path string) error { return syscall.EIO })
	change(50)
	pass(11 * time.Second)
	tick("a save that fails", true)
	last(good)
	tick("a second attempt at once", false)
	pass(5 * time.Second)
	tick("a second attempt after 5 seconds", false)
	pass(time.Second)
	tick("a second attempt after 6 seconds", true)
	f.Fail(nil)
	pass(6 * time.Second)
	tick("with a disk", true)
	last(now)

	busy = true
	for line, want := range map[string]string{
		"BGSAVE":   "-ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.",
		"BGSAVE x": "-ERR syntax error", "BGSAVE SCHEDULE x": "-ERR syntax error",
		"BGSAVE CANCEL": "-ERR Background saving is currently not in progress or scheduled",
	} {
		if got := c.Do(line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	schedule := func() {
		if got := c.Do("BGSAVE SCHEDULE"); got != "+Background saving scheduled" {
			t.Errorf("BGSAVE SCHEDULE: %q", got)
		}
	}
	schedule()
	tick("scheduled behind a rewrite", false)
	if got := c.Do("BGSAVE CANCEL"); got != "+Scheduled background saving cancelled" {
		t.Errorf("BGSAVE CANCEL: %q", got)
	}
	busy = false
	tick("cancelled", false)
	busy = true
	schedule()
	busy = false
	tick("scheduled, and the rewrite is over", true)
	tick("scheduled once", false)

	change(1)
	c.Do("FLUSHALL")
	tick("after FLUSHALL", true)
	if m := start(t, f); m.Data() != "" {
		t.Error("after FLUSHALL the old data set is still on disk")
	}
}

// A save whose data are flushed begins anew; it does not count as failed.
func TestFlushDuringSave(t *testing.T) {
	f := labtest.NewDisk()
	n := start(t, f)
	n.Set("save", "3600 1")
	write(n, 0)
	c := n.Client()
	flushed := false
	f.Fail(func(op, path string) error {
		if op == "open" && !flushed { // the cut is still to come
			return nil
		}
		if op == "write" && !flushed {
			flushed = true
			c.Do("FLUSHALL")
			c.Do("SET new 1")
		}
		return nil
	})
	if err := background(n); err != nil {
		t.Fatal(err)
	}
	if !flushed {
		t.Fatal("the test did not flush")
	}
	if m := start(t, f); m.Data() != n.Data() {
		t.Error("on disk is not what is in memory")
	}
}

// A snapshot given up just after its cut, with big values in the data set, leaves
// nothing behind, and the next one is whole.
func TestGivenUpAfterCut(t *testing.T) {
	n := start(t, labtest.NewDisk())
	c := n.Client()
	c.Do("SET big " + strings.Repeat("x", 100_000))
	enough := errors.New("enough")
	err := n.Saver.Snapshot(context.Background(), io.Discard, persist.SnapshotOptions{AfterCut: func() error {
		c.Do("APPEND big y") // begins to write it out
		return enough
	}})
	if err != enough {
		t.Errorf("Snapshot: %v, want %v", err, enough)
	}
	var file bytes.Buffer
	if err := n.Saver.Snapshot(context.Background(), &file, persist.SnapshotOptions{}); err != nil || file.Len() < 100_000 {
		t.Errorf("the next one has %d bytes, %v", file.Len(), err)
	}
}

// DEBUG RELOAD with a disk that fails keeps the data set.
func TestReloadKeepsData(t *testing.T) {
	f := labtest.NewDisk()
	n := start(t, f)
	write(n, 0)
	want := n.Data()
	f.Fail(func(op, path string) error { return syscall.ENOSPC })
	if err := n.Saver.Reload(true, true); err == nil {
		t.Error("Reload on a full disk succeeds")
	}
	if n.Data() != want {
		t.Error("the data set has changed")
	}
	f.Fail(nil)
	if err := n.Saver.Reload(true, true); err != nil || n.Data() != want {
		t.Errorf("Reload: %v", err)
	}
}

// A file has the version that its values need, or the one of rdb-version where that
// is higher.
func TestFileVersion(t *testing.T) {
	for _, tt := range []struct {
		directive, value, want string
	}{
		{"10", "SET k v", "REDIS0010"}, {"11", "SET k v", "REDIS0011"}, {"12", "SET k v", "REDIS0012"},
		{"10", "HSETEX h EX 1000 FIELDS 1 f v", "REDIS0012"}, {"11", "HSETEX h EX 1000 FIELDS 1 f v", "REDIS0012"},
	} {
		f := labtest.NewDisk()
		n := start(t, f)
		n.Set("rdb-version", tt.directive)
		n.Client().Do(tt.value)
		if err := n.Saver.Save(); err != nil {
			t.Fatal(err)
		}
		text, err := disk.ReadFile(f, n.Saver.Path())
		if err != nil {
			t.Fatal(err)
		}
		if got := string(text[:9]); got != tt.want {
			t.Errorf("rdb-version %s, %s: %s, want %s", tt.directive, tt.value, got, tt.want)
		}
		m := start(t, f)
		if m.Data() != n.Data() {
			t.Errorf("rdb-version %s, %s: loaded something else", tt.directive, tt.value)
		}
	}
}
