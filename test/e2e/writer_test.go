package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/test/proc"
)

// A shardWriter writes to one slot at full speed, through one connection at a
// time, and knows afterwards exactly what a failover may have lost.
//
// Each connection is a leg with keys of its own: a ring of ringKeys keys, where
// write number i (0, 1, ...) sets key i mod ringKeys to i. The replication stream
// keeps the order of a connection, so whatever a replica had received, its
// ring is the ring after exactly m writes for some m; any other content is an
// error. Now and then the leg asks WAIT 1: what was acknowledged before a
// successful one was received by a replica, and m may not be less. On a primary
// that did not fail m may not be less than what was acknowledged.
type shardWriter struct {
	tag   string // hash tag of the keys, decides the slot
	nodes []*proc.Node
	acked atomic.Int64 // of all legs, for those who wait for progress
	safe  atomic.Int64

	mu   sync.Mutex
	legs []*leg
}

type leg struct {
	prefix            string
	addr              string
	sent, acked, safe int64 // counts of writes from 0
	ended             error
}

const (
	ringKeys  = 500
	batchSize = 32
	waitEvery = 8 // batches
)

// run writes until ctx ends.
func (w *shardWriter) run(ctx context.Context) {
	addr := w.nodes[0].Addr()
	for i := 0; ctx.Err() == nil; i++ {
		l := &leg{prefix: fmt.Sprintf("{%s}:%d:", w.tag, i), addr: addr}
		w.mu.Lock()
		w.legs = append(w.legs, l)
		w.mu.Unlock()
		err := w.runLeg(ctx, l)
		w.mu.Lock()
		l.ended = err
		if l.sent == 0 {
			w.legs = w.legs[:len(w.legs)-1]
		}
		w.mu.Unlock()
		if text := err.Error(); strings.HasPrefix(text, "MOVED ") {
			addr = strings.Fields(text)[2]
			continue
		}
		addr = w.nodes[i%len(w.nodes)].Addr()
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// runLeg writes through a connection to addr until it fails; the error is never
// nil.
func (w *shardWriter) runLeg(ctx context.Context, l *leg) error {
	client := redis.NewClient(&redis.Options{Addr: l.addr, Protocol: 2, MaxRetries: -1, DisableIdentity: true, DialerRetries: 1,
		DialTimeout: 500 * time.Millisecond, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second})
	defer client.Close()
	conn := client.Conn()
	defer conn.Close()
	// A probe that changes nothing finds out who serves the slot before the leg begins.
	if err := conn.Del(ctx, l.prefix+"probe").Err(); err != nil {
		return err
	}
	pad := strings.Repeat("x", 64)
	for batch := 0; ; batch++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := conn.Pipeline()
		for i := range int64(batchSize) {
			n := l.sent + i
			p.Set(ctx, l.prefix+strconv.FormatInt(n%ringKeys, 10), strconv.FormatInt(n, 10)+":"+pad, 0)
		}
		l.sent += batchSize
		cmds, err := p.Exec(context.WithoutCancel(ctx))
		for _, c := range cmds {
			if c.Err() != nil {
				break
			}
			l.acked++
			w.acked.Add(1)
		}
		if err != nil {
			return err
		}
		if batch%waitEvery == 0 {
			n, err := conn.Wait(context.WithoutCancel(ctx), 1, 500*time.Millisecond).Result()
			if err != nil {
				return err
			}
			if n >= 1 {
				w.safe.Add(l.acked - l.safe)
				l.safe = l.acked
			}
		}
	}
}

// check compares the rings with what the writer knows. lost are the addresses of
// nodes that failed while they were primaries: on these only what a replica had
// confirmed is owed. It returns how many acknowledged writes a failover lost.
func (w *shardWriter) check(t *testing.T, client *redis.ClusterClient, lost map[string]bool) (dropped int64) {
	t.Helper()
	ctx := context.Background()
	for _, l := range w.legs {
		values := make([]*redis.StringCmd, ringKeys)
		if _, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := range values {
				values[i] = p.Get(ctx, l.prefix+strconv.Itoa(i))
			}
			return nil
		}); err != nil && !errors.Is(err, redis.Nil) {
			t.Fatalf("read the ring of %s: %v", l.prefix, err)
		}
		ring := make([]int64, ringKeys) // write whose value is there, -1 = none
		m := int64(0)
		for i, v := range values {
			ring[i] = -1
			if text, err := v.Result(); err == nil {
				number, _, _ := strings.Cut(text, ":")
				if ring[i], err = strconv.ParseInt(number, 10, 64); err != nil {
					t.Fatalf("%s%d holds %q", l.prefix, i, text)
				}
			} else if !errors.Is(err, redis.Nil) {
				t.Fatalf("GET %s%d: %v", l.prefix, i, err)
			}
			m = max(m, ring[i]+1)
		}
		for i := range int64(ringKeys) {
			want := int64(-1)
			if i < m {
				want = i + (m-1-i)/ringKeys*ringKeys
			}
			if ring[i] != want {
				t.Errorf("%s%d has write %d, want %d: the data are not those after %d writes (sent %d, acknowledged %d, confirmed by WAIT %d, on %s, ended: %v)",
					l.prefix, i, ring[i], want, m, l.sent, l.acked, l.safe, l.addr, l.ended)
				break
			}
		}
		least, promise := l.acked, "acknowledged"
		if lost[l.addr] {
			least, promise = l.safe, "confirmed by a replica"
		}
		if m < least || m > l.sent {
			t.Errorf("%s: the data are those after %d writes, but %d were %s on %s, %d sent", l.prefix, m, least, promise, l.addr, l.sent)
		}
		dropped += max(0, l.acked-m)
	}
	return dropped
}

// A clientLoop is a program that keeps one client and goes on by itself: it
// writes a key of one shard for ever, and counts.
type clientLoop struct {
	name string
	set  func(ctx context.Context, key, value string) error
	key  string
	done atomic.Int64
	err  atomic.Value // string: the last error
}

func (c *clientLoop) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := c.set(attempt, c.key, strconv.Itoa(i))
		cancel()
		if err == nil {
			c.done.Add(1)
			continue
		}
		c.err.Store(err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}
