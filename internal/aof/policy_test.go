package aof_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/aof"
	"github.com/skeindb/skein/internal/labtest"
)

// With appendfsync always, writes of connections that come while one waits for the
// disk are made durable together: the first sync is held up until all were run.
func TestGroupCommit(t *testing.T) {
	const clients = 12
	f := labtest.NewDisk()
	l := newLab(t, f, "data", always).open()
	var syncs atomic.Int32
	late := make(chan string, 1)
	f.Fail(func(op, path string) error {
		if op == "sync" && strings.Contains(path, ".incr.") && syncs.Add(1) == 1 {
			end := time.Now().Add(20 * time.Second)
			for l.E.Store.DB(0).Keys() < clients {
				if time.Now().After(end) {
					late <- fmt.Sprintf("only %d writes were run while the first waited for the disk", l.E.Store.DB(0).Keys())
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	})
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			if got := l.Client().Do(fmt.Sprintf("SET key:%d v", i)); got != "+OK" {
				t.Errorf("SET: %q", got)
			}
		})
	}
	wg.Wait()
	f.Fail(nil)
	select {
	case what := <-late:
		t.Error(what)
	default:
	}
	// The first, and those who waited; one more where a client was between its
	// command and the wait when they began.
	if n := syncs.Load(); n < 2 || n > 4 {
		t.Errorf("%d syncs for %d writes", n, clients)
	}
	want := l.Data()
	l.stop()
	f.Crash(rand.New(rand.NewPCG(1, 2)))
	l = newLab(t, f, "data", always).open()
	if got := l.Data(); got != want {
		t.Errorf("after the crash:\n%s\nwant\n%s", got, want)
	}
}

// A log is rewritten when it is as large as auto-aof-rewrite-min-size and has grown
// by auto-aof-rewrite-percentage since its base, and not before.
func TestRewriteByGrowth(t *testing.T) {
	l := newLab(t, labtest.NewDisk(), "data", func(s *aof.Settings) { s.GrowthPercent, s.MinSize = 100, 20000 }).open()
	c := l.Client()
	write := func(n int) {
		for i := range n {
			c.Do(fmt.Sprintf("SET key:%d %s", i%10, strings.Repeat("v", 200)))
		}
	}
	rewrites := func(n string) {
		t.Helper()
		labtest.Eventually(t, func() string {
			if info := l.aof.Info(); !resting(info) || !strings.Contains(info, "aof_rewrites:"+n+"\r\n") {
				return info
			}
			return ""
		})
	}
	write(50) // half of the least size, and 100 times the base
	rewrites("0")
	write(60)
	rewrites("1") // base: about 2300 bytes
	write(60)     // less than the least size again
	rewrites("1")
	write(50)
	rewrites("2")

	l.change(func(s *aof.Settings) { s.GrowthPercent = 2000 })
	write(150) // beyond the least size, not yet 21 times the base
	rewrites("2")
	write(150)
	rewrites("3")

	l.change(func(s *aof.Settings) { s.GrowthPercent = 0 }) // off
	write(500)
	rewrites("3")
}

// With no-appendfsync-on-rewrite nobody waits for a sync while a base is being made,
// and replies wait again when it is done.
func TestNoSyncDuringRewrite(t *testing.T) {
	for _, skip := range []bool{false, true} {
		f := labtest.NewDisk()
		l := newLab(t, f, "data", func(s *aof.Settings) { s.Fsync, s.NoFsyncOnRewrite = aof.Always, skip }).open()
		c := l.Client()
		c.Do("SET before 1")
		var syncs atomic.Int32
		f.Fail(func(op, path string) error {
			if op == "sync" && strings.Contains(path, ".incr.") {
				syncs.Add(1)
			}
			return nil
		})
		turn := l.E.Store.SnapshotTurn()
		turn.Lock() // the rewrite waits
		c.Do("BGREWRITEAOF")
		labtest.Eventually(t, func() string {
			if info := l.aof.Info(); strings.Contains(info, "aof_current_rewrite_time_sec:-1\r\n") { // asked for, not begun
				return info
			}
			return ""
		})
		for i := range 10 {
			if got := c.Do(fmt.Sprintf("SET key:%d v", i)); got != "+OK" {
				t.Errorf("SET: %q", got)
			}
		}
		if n := syncs.Load(); skip && n > 1 || !skip && n < 10 { // the rewrite may sync once itself
			t.Errorf("no-appendfsync-on-rewrite %v: %d syncs of the increment for 10 writes", skip, n)
		}
		turn.Unlock()
		l.settled()
		before := syncs.Load()
		c.Do("SET after 1")
		if n := syncs.Load() - before; n < 1 {
			t.Errorf("no-appendfsync-on-rewrite %v: no sync for a write after the rewrite", skip)
		}
		want := l.Data()
		f.Fail(nil)
		l.stop()
		f.Crash(rand.New(rand.NewPCG(1, 2)))
		l = newLab(t, f, "data", nil).open()
		if got := l.Data(); got != want {
			t.Errorf("after the crash:\n%s\nwant\n%s", got, want)
		}
		l.stop()
	}
}
