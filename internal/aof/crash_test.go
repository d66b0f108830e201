package aof_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/aof"
	"github.com/skeindb/skein/internal/disk/disktest"
	"github.com/skeindb/skein/internal/labtest"
)

func always(s *aof.Settings) { s.Fsync = aof.Always }

// ledger is a list to which one client appends numbers. What comes back from disk
// must be the numbers up to one that is at least the last acknowledged, each once:
// that shows a write lost as well as one that was done twice.
type ledger struct {
	next  int // to append
	acked int // numbers below are acknowledged
}

// push appends some numbers and reports whether all were acknowledged.
func (g *ledger) push(c *labtest.Client, n int) bool {
	for range n {
		want := fmt.Sprintf(":%d", g.next+1)
		switch got := c.Do("RPUSH ledger " + strconv.Itoa(g.next)); {
		case got == want:
			g.next++
			g.acked = g.next
		case got == "": // closed: nobody knows
			g.next++
			return false
		case strings.HasPrefix(got, "-MISCONF"):
			return false
		default:
			panic(fmt.Sprintf("RPUSH: %q, want %q", got, want))
		}
	}
	return true
}

// check reads the list and wants the numbers; it returns how many there are.
func (g *ledger) check(t *testing.T, l *lab, when string) int {
	t.Helper()
	r := l.Client().Reply("LRANGE ledger 0 -1")
	for i, e := range r.Elems {
		if e.Text() != strconv.Itoa(i) {
			t.Fatalf("%s: element %d is %s", when, i, e.Text())
		}
	}
	if n := len(r.Elems); n < g.acked || n > g.next {
		t.Fatalf("%s: %d elements; %d were acknowledged, %d sent", when, n, g.acked, g.next)
	}
	return len(r.Elems)
}

// A life is what a node does until the machine stops; it ends early when nothing is
// acknowledged any more.
type life struct {
	name string
	run  func(l *lab, g *ledger) bool
}

var lives = []life{
	{"writes", func(l *lab, g *ledger) bool { return g.push(l.Client(), 6) }},
	{"rewrite", func(l *lab, g *ledger) bool {
		c := l.Client()
		if !g.push(c, 3) {
			return false
		}
		c.Do("BGREWRITEAOF")
		return g.push(c, 6) && waitRewrite(l) && g.push(c, 3)
	}},
	{"off and on", func(l *lab, g *ledger) bool {
		c := l.Client()
		if !g.push(c, 3) {
			return false
		}
		l.aof.SwitchOff()
		if l.aof.SwitchOn() != nil {
			return false
		}
		return waitRewrite(l) && g.push(c, 4)
	}},
}

// waitRewrite waits until no rewrite is under way, false if the disk is gone.
func waitRewrite(l *lab) bool {
	for end := time.Now().Add(labtest.Patience); time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
		switch {
		case resting(l.aof.Info()):
			return true
		case l.info("aof_rewrites_consecutive_failures") != "0":
			return false
		}
	}
	l.T.Fatalf("a rewrite does not end:\n%s", l.aof.Info())
	return false
}

// The machine stops before every operation of each life, and whatever subset of
// the unsynced survives: the directory can be loaded, nothing acknowledged is
// missing, nothing is there twice, and the next life goes on from there.
func TestCrashAnywhere(t *testing.T) {
	for _, asRDB := range []bool{true, false} {
		for _, life := range lives {
			if testing.Short() && !asRDB && life.name != "rewrite" {
				continue
			}
			t.Run(fmt.Sprintf("%s, base as RDB %v", life.name, asRDB), func(t *testing.T) {
				t.Parallel()
				settings := func(s *aof.Settings) { s.Fsync, s.RDBPreamble = aof.Always, asRDB }
				seeds := uint64(6)
				if testing.Short() {
					seeds = 1
				}
				for at := 1; ; at++ {
					through := true
					for seed := range seeds {
						f := labtest.NewDisk()
						g := &ledger{}
						f.StopAt(at)
						l := newLab(t, f, "data", settings)
						done := false
						if err := l.aof.Open(); err == nil {
							l.aof.Start()
							done = life.run(l, g)
						} else if !errors.Is(err, disktest.ErrCrashed) {
							t.Fatalf("stopped at %d: Open: %v", at, err)
						}
						through = through && done
						f.StopAt(1) // also if it came through: nothing more is synced
						l.stop()
						f.Crash(rand.New(rand.NewPCG(seed, uint64(at))))

						when := fmt.Sprintf("stopped at %d, seed %d", at, seed)
						l = newLab(t, f, "data", settings).open()
						g.next = g.check(t, l, when)
						g.acked = g.next
						if !g.push(l.Client(), 2) {
							t.Fatalf("%s: the next life cannot write", when)
						}
						f.StopAt(1)
						l.stop()
						f.Crash(rand.New(rand.NewPCG(seed, uint64(at)+1)))
						l = newLab(t, f, "data", settings).open()
						g.check(t, l, when+", the third life")
						l.stop()
					}
					if through {
						if at < 10 {
							t.Errorf("the life took only %d operations", at-1)
						}
						return
					}
				}
			})
		}
	}
}

// One operation after the other fails once. The node refuses writes while it cannot
// make them durable, gets well by itself, and then a crash loses nothing.
func TestFailAnywhere(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		for _, life := range lives {
			t.Run(life.name+", "+errno.Error(), func(t *testing.T) {
				t.Parallel()
				for at := 1; ; at++ {
					f := labtest.NewDisk()
					g := &ledger{}
					l := newLab(t, f, "data", always).open()
					f.FailAt(at, errno)
					before := f.Ops()
					life.run(l, g)
					hit := f.Ops() >= before+at
					f.FailAt(1<<30, errno)
					// Before there is a first base nothing is promised.
					l.settled()
					labtest.Eventually(t, func() string {
						g.next = len(l.Client().Reply("LRANGE ledger 0 -1").Elems) // executed or not
						if g.push(l.Client(), 1) && l.info("aof_last_write_status") == "ok" {
							return ""
						}
						return l.aof.Info()
					})
					f.StopAt(1)
					l.stop()
					f.Crash(rand.New(rand.NewPCG(uint64(at), 1)))
					l = newLab(t, f, "data", always).open()
					g.check(t, l, fmt.Sprintf("failed at %d", at))
					l.stop()
					if !hit {
						return
					}
				}
			})
		}
	}
}

// A full disk: writes are refused in the documented words, reads are served, what
// was executed and not acknowledged was not answered, and all is well when there is
// space again.
func TestDiskFull(t *testing.T) {
	for _, policy := range []aof.Fsync{aof.Always, aof.EverySec} {
		f := labtest.NewDisk()
		l := newLab(t, f, "data", func(s *aof.Settings) { s.Fsync = policy }).open()
		c := l.Client()
		if got := c.Do("SET a 1"); got != "+OK" {
			t.Fatalf("SET: %q", got)
		}
		f.Fail(func(op, path string) error {
			if op == "write" || op == "open" {
				return syscall.ENOSPC
			}
			return nil
		})
		got := c.Do("SET b 2")
		if policy == aof.Always && (got != "" || !c.S.Closing()) {
			t.Errorf("always: a write that is not durable was answered %q, connection closed: %v", got, c.S.Closing())
		}
		if policy == aof.EverySec && got != "+OK" {
			t.Errorf("everysec: %q", got)
		}
		c = l.Client()
		const refused = "-MISCONF Errors writing to the AOF file: No space left on device"
		for _, line := range []string{"SET c 3", "PING"} {
			if got := c.Do(line); got != refused {
				t.Errorf("%s: %q, want %q", line, got, refused)
			}
		}
		if got := c.Do("GET a"); got != "$1\r\n1" {
			t.Errorf("GET: %q", got)
		}
		if got := l.info("aof_last_write_status"); got != "err" {
			t.Errorf("aof_last_write_status:%s", got)
		}
		f.Fail(nil)
		labtest.Eventually(t, func() string {
			if got := c.Do("SET c 3"); got != "+OK" {
				return got
			}
			return ""
		})
		l.stop()
		l = newLab(t, f, "data", nil).open()
		for _, key := range []string{"a", "b", "c"} {
			if got := l.Client().Do("GET " + key); got == "$-1" {
				t.Errorf("%s is lost", key)
			}
		}
	}
}

// An fsync that fails once loses what it was to make durable, whatever a second one
// says: the node must not trust the file any more.
func TestFsyncFails(t *testing.T) {
	f := labtest.NewDisk()
	l := newLab(t, f, "data", always).open()
	g := &ledger{}
	g.push(l.Client(), 5)
	failed := false
	f.Fail(func(op, path string) error {
		if op == "sync" && strings.HasSuffix(path, ".incr.aof") && !failed {
			failed = true
			return syscall.EIO
		}
		return nil
	})
	if g.push(l.Client(), 1) {
		t.Fatal("a write whose fsync failed was acknowledged")
	}
	labtest.Eventually(t, func() string {
		if got := l.Client().Do("SET well 1"); got != "+OK" {
			return got
		}
		return ""
	})
	g.next = len(l.Client().Reply("LRANGE ledger 0 -1").Elems)
	g.acked = g.next
	if !g.push(l.Client(), 3) {
		t.Fatal("no writes after the log was begun anew")
	}
	f.StopAt(1)
	l.stop()
	f.Crash(rand.New(rand.NewPCG(1, 1)))
	g.check(t, newLab(t, f, "data", always).open(), "after the crash")
}

// While the disk fails the memory that waits for it is bounded, though a replica
// goes on applying: the log is given up, and begun anew when that is possible.
func TestPendingBounded(t *testing.T) {
	f := labtest.NewDisk()
	l := newLab(t, f, "data", nil).open()
	l.Client().Do("SET a 1")
	f.Fail(func(op, path string) error { return syscall.ENOSPC })
	l.Client().Do("SET b 2") // finds out
	big := cmds("SET big " + strings.Repeat("x", 1<<16))
	for range 40 {
		l.aof.Append(0, 0, big, 1)
	}
	labtest.Eventually(t, func() string {
		if n := l.aof.Buffered(); n > 1<<18 {
			return fmt.Sprint(n, " bytes are held")
		}
		return ""
	})
	f.Fail(nil)
	labtest.Eventually(t, func() string {
		if got := l.Client().Do("SET c 3"); got != "+OK" {
			return got
		}
		return ""
	})
	l.stop()
	l = newLab(t, f, "data", nil).open()
	for _, key := range []string{"a", "b", "c"} {
		if got := l.Client().Do("GET " + key); got == "$-1" {
			t.Errorf("%s is lost", key)
		}
	}
}

// A client that is blocked is not answered before what answers it is durable.
func TestBlockedClientWaits(t *testing.T) {
	f := labtest.NewDisk()
	l := newLab(t, f, "data", always).open()
	blocked := l.Client()
	blocked.Send("BLPOP q 0")
	if !blocked.S.Parked() {
		t.Fatal("BLPOP does not block")
	}
	f.Fail(func(op, path string) error { return syscall.EIO })
	if got := l.Client().Do("RPUSH q x"); got != "" {
		t.Errorf("RPUSH: %q", got)
	}
	select {
	case <-blocked.Kicked():
	case <-time.After(labtest.Patience):
		t.Fatal("BLPOP is not served")
	}
	blocked.S.Feed(nil)
	if got := blocked.Take(); len(got) > 0 || !blocked.S.Closing() {
		t.Errorf("BLPOP was answered %q; closing %v", got, blocked.S.Closing())
	}
	f.Fail(nil)
}
