package e2e

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// The long form is scripts/bench-sync.sh: 2048 MB with the default limits.
var (
	syncMB   = flag.Int("sync-mb", 0, "measure a full sync of that many MB under writes, with default settings")
	syncLink = flag.Float64("sync-link", 0, "MB a second that the link to the replica carries; 0: no limit")
	syncPeer = flag.String("sync-primary", "skein", "the primary: skein, or redis for redis-server")
)

const syncValue = 1000 // bytes of a value

// A loader writes random values, that do not compress, to random keys of a range
// as fast as the server takes them: pipelines of SET on one connection.
type loader struct {
	addr string
	keys int
	data []byte // values are pieces of it

	acked atomic.Int64
	worst atomic.Int64 // ns, the longest time that a pipeline took
}

const loaderPipeline = 16

func newLoader(addr string, keys int) *loader {
	l := &loader{addr: addr, keys: keys, data: make([]byte, 4<<20)}
	rng := rand.New(rand.NewChaCha8([32]byte{1}))
	for i := range l.data {
		l.data[i] = byte(rng.Uint32())
	}
	return l
}

func appendSet(dst []byte, key int, value []byte) []byte {
	name := "key:" + strconv.Itoa(key)
	dst = fmt.Appendf(dst, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n", len(name), name, len(value))
	return append(append(dst, value...), "\r\n"...)
}

func (l *loader) value(rng *rand.Rand) []byte {
	at := rng.IntN(len(l.data) - syncValue)
	return l.data[at : at+syncValue]
}

// run sends pipelines of the keys that next names until stop, or until next has
// no more.
func (l *loader) run(stop <-chan struct{}, seed uint64, next func(rng *rand.Rand) (key int, more bool)) error {
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	rng := rand.New(rand.NewPCG(seed, 2))
	var out []byte
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		out = out[:0]
		n := 0
		for ; n < loaderPipeline; n++ {
			key, more := next(rng)
			if !more {
				break
			}
			out = appendSet(out, key, l.value(rng))
		}
		if n == 0 {
			return nil
		}
		start := time.Now()
		conn.SetDeadline(start.Add(proc.Patience))
		if _, err := conn.Write(out); err != nil {
			return err
		}
		for range n {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return err
			}
			if string(line) != "+OK\r\n" {
				return fmt.Errorf("SET: %q", line)
			}
		}
		if took := int64(time.Since(start)); took > l.worst.Load() {
			l.worst.Store(took)
		}
		l.acked.Add(int64(n))
	}
}

// fill sets every key once.
func (l *loader) fill(t *testing.T) {
	t.Helper()
	var at atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if err := l.run(nil, uint64(i), func(*rand.Rand) (int, bool) {
				k := int(at.Add(1)) - 1
				return k, k < l.keys
			}); err != nil {
				t.Errorf("filling: %v", err)
			}
		})
	}
	wg.Wait()
}

// start begins to write through some connections.
func (l *loader) start(t *testing.T, conns int) (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			if err := l.run(end, uint64(100+i), func(rng *rand.Rand) (int, bool) { return rng.IntN(l.keys), true }); err != nil {
				t.Errorf("a writer ended: %v", err)
			}
		})
	}
	return sync.OnceFunc(func() { close(end); wg.Wait() })
}

// inStepBytes is how far a replica may be behind writers at full speed. On a link
// slower than they are, it settles at half the soft output limit, 64 MB by default,
// where writers are held to what the link carries.
const inStepBytes = 40 << 20

// syncFigures are what a full sync under writes did to the primary.
type syncFigures struct {
	took               time.Duration // from REPLICAOF until the replicas keep up
	full               int64
	before, during     float64 // writes a second
	rss, peak          int64   // of the primary: at the start, and the most
	buffers, collected int64   // the most of mem_total_replication_buffers, repl_sync_buffer_bytes
	limit              int64   // the least of repl_write_limit_bytes_per_sec that was not 0
	worst              time.Duration
}

func (f syncFigures) String() string {
	const mb = 1 << 20
	return fmt.Sprintf("in step after %.1f s, full syncs %d; writes/s %.0f before, %.0f during; slowest pipeline %v; lowest write limit %d KB/s; "+
		"primary RSS %d MB, peak +%d MB; peak of replication buffers %d MB, of these the snapshot's %d MB",
		f.took.Seconds(), f.full, f.before, f.during, f.worst.Round(time.Millisecond), f.limit>>10, f.rss/mb, (f.peak-f.rss)/mb, f.buffers/mb, f.collected/mb)
}

// measureSync lets replicas follow a primary that is written to, and returns when
// all are in step with a stream that goes on.
func measureSync(t *testing.T, primary *proc.Node, l *loader, follow []any, limit time.Duration, replicas ...*proc.Node) syncFigures {
	t.Helper()
	number := func(info map[string]string, field string) int64 {
		n, _ := strconv.ParseInt(info[field], 10, 64)
		return n
	}
	stop := l.start(t, 8)
	defer stop()
	l.acked.Store(0)
	start := time.Now()
	proc.Wait(t, proc.Patience, "writers at work", func() string {
		if n := l.acked.Load(); n < 20000 {
			return fmt.Sprintf("%d writes", n)
		}
		return ""
	})
	f := syncFigures{rss: primary.Resident()}
	f.before = float64(l.acked.Load()) / time.Since(start).Seconds()
	l.worst.Store(0)
	count := l.acked.Load()
	full := primary.InfoInt("stats", "sync_full")
	start = time.Now()
	for _, r := range replicas {
		r.Must(follow...)
	}
	proc.Wait(t, limit, "replicas in step under writes", func() string {
		f.peak = max(f.peak, primary.Resident())
		info := primary.Info()
		f.buffers = max(f.buffers, number(info, "mem_total_replication_buffers"))
		f.collected = max(f.collected, number(info, "repl_sync_buffer_bytes"))
		if n := number(info, "repl_write_limit_bytes_per_sec"); n > 0 && (f.limit == 0 || n < f.limit) {
			f.limit = n
		}
		end := number(info, "master_repl_offset")
		missing := ""
		for _, r := range replicas {
			own := r.Info("replication")
			if at := number(own, "slave_repl_offset"); own["master_link_status"] != "up" || end-at > inStepBytes {
				missing += fmt.Sprintf("%s: link %s, offset %d of %d; sync_full %s\n", r, own["master_link_status"], at, end, info["sync_full"])
			}
		}
		return missing
	})
	f.took = time.Since(start)
	f.during = float64(l.acked.Load()-count) / f.took.Seconds()
	f.worst = time.Duration(l.worst.Load())
	f.full = primary.InfoInt("stats", "sync_full") - full
	stop()
	for _, r := range replicas {
		proc.WaitInStep(t, primary, r)
	}
	return f
}

// Goal: a full sync under full write load ends in one try, and what it needs of
// the primary's memory has a bound. The form of the suite has a link as slow, and limits
// as small, beside a small data set as the defaults beside 2 GB on a link of 400 MB/s.
func TestFullSyncUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("a replica ten times slower, as under the race detector, cannot keep up with limits this small")
	}
	mb, link, args := *syncMB, int64(*syncLink*(1<<20)), []string{}
	wait := 20 * time.Minute
	program := proc.Skein(t)
	if *syncPeer == "redis" {
		program = proc.Redis(t)
	}
	if mb == 0 {
		mb, link, wait = 100, 20<<20, proc.Patience
		args = []string{"--client-output-buffer-limit", "replica 12mb 3mb 3", "--repl-backlog-size", "1mb", "--repl-write-floor", "64kb"}
	}
	primary := proc.StartNode(t, program, args...)
	replica := proc.StartNode(t, proc.Skein(t))
	l := newLoader(primary.Addr(), mb*1000)
	l.fill(t)
	follow := []any{"REPLICAOF", "127.0.0.1", primary.Port}
	if link > 0 {
		follow = proc.NewLink(t, primary, link).Args()
	}
	f := measureSync(t, primary, l, follow, wait, replica)
	t.Logf("%d MB over %d MB/s: %v", mb, link>>20, f)
	if *syncMB > 0 {
		t.Logf("%s%s", primary.Log(), replica.Log())
	}
	if *syncPeer == "redis" {
		return
	}
	if f.full != 1 {
		t.Errorf("%d full syncs, want 1", f.full)
	}
}

// Goal: replicas that wait share one walk, which begins once as many wait as
// repl-diskless-sync-max-replicas says, before the delay is over. Seen in the log.
func TestReplicasShareOneSnapshot(t *testing.T) {
	primary := proc.StartNode(t, proc.Skein(t), "--repl-diskless-sync-delay", "300", "--repl-diskless-sync-max-replicas", "3")
	l := newLoader(primary.Addr(), 20000)
	l.fill(t)
	programs := []proc.Program{proc.Skein(t), proc.Skein(t), proc.Redis(t)}
	var replicas []*proc.Node
	for _, p := range programs {
		replicas = append(replicas, proc.StartNode(t, p))
	}
	stop := l.start(t, 2)
	defer stop()
	for i, r := range replicas {
		r.Must("REPLICAOF", "127.0.0.1", primary.Port)
		proc.Wait(t, proc.Patience, "the replica waits", func() string {
			if state := primary.Info("replication")["slave"+strconv.Itoa(i)]; !strings.Contains(state, "state=") || i < 2 && !strings.Contains(state, "state=wait_bgsave") {
				return state
			}
			return ""
		})
	}
	proc.Wait(t, proc.Patience, "all online", func() string {
		if text := primary.Text("INFO", "replication"); strings.Count(text, "state=online") != len(replicas) {
			return text
		}
		return ""
	})
	stop()
	for _, r := range replicas {
		proc.WaitInStep(t, primary, r)
	}
	if n := strings.Count(primary.Log(), "Background RDB transfer started"); n != 1 {
		t.Errorf("%d snapshots for %d replicas, want 1", n, len(replicas))
	}
	if full := primary.InfoInt("stats", "sync_full"); full != int64(len(replicas)) {
		t.Errorf("sync_full = %d, want %d", full, len(replicas))
	}
}

// Goal: a replica that cannot keep up, where writers are never slowed, is cut off
// with a clear line in the log, tried once more, and then refused, not sent one
// snapshot after the other; it gets its data once the limits are raised.
func TestReplicaThatCannotKeepUp(t *testing.T) {
	primary := proc.StartNode(t, proc.Skein(t), "--repl-write-floor", "0", "--repl-backlog-size", "1mb",
		"--client-output-buffer-limit", "replica 8mb 0 0")
	l := newLoader(primary.Addr(), 20000)
	l.fill(t)
	line := proc.NewLink(t, primary, 10<<20)
	replica := proc.StartNode(t, proc.Skein(t))
	stop := l.start(t, 4)
	defer stop()
	replica.Must(line.Args()...)
	const refused = "could not keep up with the stream twice"
	proc.Wait(t, proc.Patience, "the replica is refused several times", func() string {
		if n := strings.Count(replica.Log(), refused); n < 3 {
			return fmt.Sprintf("%d refusals; sync_full %d", n, primary.InfoInt("stats", "sync_full"))
		}
		return ""
	})
	if full := primary.InfoInt("stats", "sync_full"); full > 2 {
		t.Errorf("sync_full = %d, want one and at most one retry", full)
	}
	log := primary.Log()
	for _, want := range []string{"scheduled to be closed ASAP for overcoming of output buffer limits", "full syncs are refused for 60 seconds", refused} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	primary.Must("CONFIG", "SET", "client-output-buffer-limit", "replica 1gb 0 0")
	proc.Wait(t, proc.Patience, "the replica is let in again", func() string {
		if n := primary.InfoInt("stats", "sync_full"); n < 3 {
			return fmt.Sprintf("sync_full %d", n)
		}
		return ""
	})
	stop()
	line.SetRate(0)
	proc.WaitInStep(t, primary, replica)
}
