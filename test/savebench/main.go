// Command savebench measures what a save costs who writes meanwhile: it fills a
// server, writes to it as fast as it can over some connections, without and then
// during BGSAVE, and prints one line: rate and latency of both, the memory that was
// resident before and at most, and how long the save took. scripts/bench-save.sh runs
// it against one server after the other.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	addr  = flag.String("addr", "127.0.0.1:6379", "the server")
	pid   = flag.Int("pid", 0, "its process")
	name  = flag.String("name", "server", "what the line begins with")
	keys  = flag.Int("keys", 1_000_000, "number of keys")
	size  = flag.Int("size", 400, "bytes of a value")
	conns = flag.Int("conns", 50, "connections that write")
	quiet = flag.Duration("quiet", 10*time.Second, "how long to measure without a save")
	saves = flag.Int("saves", 1, "saves to measure")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "savebench:", err)
		os.Exit(1)
	}
}

func run() error {
	control, err := dial()
	if err != nil {
		return err
	}
	if err := fill(); err != nil {
		return err
	}
	load := &load{}
	for i := range *conns {
		c, err := dial()
		if err != nil {
			return err
		}
		load.wg.Add(1)
		go load.writer(c, uint64(i))
	}
	time.Sleep(2 * time.Second) // until buffers and caches have their sizes
	before := load.measure(*quiet, nil)
	for range *saves {
		resident, err := control.resident()
		if err != nil {
			return err
		}
		peak := int64(0)
		if _, err := control.do("BGSAVE"); err != nil {
			return err
		}
		start, ended := time.Now(), false
		during := load.measure(0, func() bool {
			r, e := control.resident()
			info, e2 := control.info()
			if e != nil || e2 != nil {
				err, ended = fmt.Errorf("%v, %v", e, e2), true
				return true
			}
			// What a forked child made the system copy is not in the parent's pages.
			peak = max(peak, r+max(info["current_cow_size"], info["rdb_last_cow_size"]))
			return info["rdb_bgsave_in_progress"] == 0
		})
		took := time.Since(start)
		if err != nil && ended {
			return err
		}
		fmt.Printf("%-14s | %7.0f | %7.0f | %6.2f | %6.2f | %5.2f | %6.2f | %6.1f | %5d | %5d | %5.3f | %5.1f\n", *name, before.rate(), during.rate(),
			ms(before.at(0.999)), ms(during.at(0.999)), during.at(0.999).Seconds()/before.at(0.999).Seconds(), ms(during.at(0.99)), ms(during.worst),
			resident>>20, peak>>20, float64(peak)/float64(resident), took.Seconds())
	}
	load.stop.Store(true)
	load.wg.Wait()
	return load.err
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// conn is a connection to the server.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial() (*conn, error) {
	c, err := net.Dial("tcp", *addr)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReaderSize(c, 64<<10)}, nil
}

// do sends a command of one word or several and returns a simple or bulk reply.
func (c *conn) do(line string) (string, error) {
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		return "", err
	}
	head, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	head = strings.TrimSpace(head)
	switch head[0] {
	case '-':
		return "", fmt.Errorf("%s: %s", line, head)
	case '$':
		n, err := strconv.Atoi(head[1:])
		if err != nil {
			return "", err
		}
		b := make([]byte, n+2)
		_, err = io.ReadFull(c.r, b)
		return string(b[:n]), err
	}
	return head[1:], nil
}

// info returns the numbers of INFO persistence.
func (c *conn) info() (map[string]int64, error) {
	text, err := c.do("INFO persistence")
	m := map[string]int64{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				m[k] = n
			}
		}
	}
	return m, err
}

// resident returns the bytes of the server's process that are resident.
func (c *conn) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", *pid))
	if err != nil {
		return 0, err
	}
	var all, resident int64
	_, err = fmt.Sscan(string(text), &all, &resident)
	return resident * int64(os.Getpagesize()), err
}

// command appends SET of key i. The value is text that does not compress well.
func command(dst []byte, i int, value []byte) []byte {
	return fmt.Appendf(dst, "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n", i, len(value), value)
}

func value(rnd *rand.Rand) []byte {
	v := make([]byte, *size)
	for i := range v {
		v[i] = "0123456789abcdef"[rnd.IntN(16)]
	}
	return v
}

// fill writes every key, in pipelines.
func fill() error {
	const batch = 1000
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	v := value(rnd)
	done := make(chan error, 1)
	go func() {
		for range *keys {
			if _, err := c.r.ReadSlice('\n'); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var b []byte
	for i := 0; i < *keys; i += batch {
		b = b[:0]
		for k := i; k < min(i+batch, *keys); k++ {
			v[rnd.IntN(len(v))] = byte('a' + k%26)
			b = command(b, k, v)
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
	}
	return <-done
}

// load is the writers and what they have seen since the last measurement began.
type load struct {
	wg   sync.WaitGroup
	stop atomic.Bool

	mu  sync.Mutex
	cur *stats
	err error
}

// stats are latencies: counts by microsecond up to a bound, and the rest.
type stats struct {
	by    [100_000]uint32
	over  uint32
	n     int
	worst time.Duration
	took  time.Duration
}

func (s *stats) rate() float64 { return float64(s.n) / s.took.Seconds() }

// at returns a percentile; beyond the bound the worst stands for all.
func (s *stats) at(p float64) time.Duration {
	want, n := int(p*float64(s.n)), 0
	for us, k := range s.by {
		if n += int(k); n > want {
			return time.Duration(us) * time.Microsecond
		}
	}
	return s.worst
}

// measure collects for a time, or until done says so.
func (l *load) measure(d time.Duration, done func() bool) *stats {
	s := &stats{}
	l.mu.Lock()
	l.cur = s
	l.mu.Unlock()
	start := time.Now()
	if done == nil {
		time.Sleep(d)
	} else {
		for !done() {
			time.Sleep(50 * time.Millisecond)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cur, s.took = nil, time.Since(start)
	return s
}

// writer sends one command after the other.
func (l *load) writer(c *conn, seed uint64) {
	defer l.wg.Done()
	defer c.Close()
	rnd := rand.New(rand.NewPCG(seed, 3))
	b := command(nil, 0, value(rnd))
	key := b[bytes.Index(b, []byte("key:"))+4:][:12]
	for !l.stop.Load() {
		k := rnd.IntN(*keys)
		for i := len(key) - 1; i >= 0; i-- {
			key[i] = byte('0' + k%10)
			k /= 10
		}
		start := time.Now()
		_, err := c.Write(b)
		if err == nil {
			_, err = c.r.ReadSlice('\n')
		}
		took := time.Since(start)
		l.mu.Lock()
		if err != nil {
			l.err = err
			l.mu.Unlock()
			return
		}
		if s := l.cur; s != nil {
			s.n++
			if us := int(took / time.Microsecond); us < len(s.by) {
				s.by[us]++
			} else {
				s.over++
			}
			s.worst = max(s.worst, took)
		}
		l.mu.Unlock()
	}
}
