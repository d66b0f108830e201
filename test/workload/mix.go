package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/test/proc"
)

// A Mix writes to one server by commands of all families at once, until Stop:
// conversations with every write command, each in a database of its own that it
// empties before the next round, and writers whose values in database 0 grow
// through all encodings and shrink again.
type Mix struct {
	t     testing.TB
	node  *proc.Node
	sent  atomic.Int64
	quit  chan struct{}
	wg    sync.WaitGroup
	stop  func()
	talks []*Conversation
}

const (
	mixTalks   = 2  // conversations, in databases 1, 2, ...
	mixWriters = 2  // in database 0
	mixBatch   = 16 // calls that a writer sends at once
	mixKeys    = 20 // of each kind
)

// StartMix begins to write to the first of the nodes, by commands that all know.
func StartMix(t testing.TB, nodes ...*proc.Node) *Mix {
	t.Helper()
	m := &Mix{t: t, node: nodes[0], quit: make(chan struct{})}
	m.stop = sync.OnceFunc(func() { close(m.quit); m.wg.Wait() })
	for i := range mixTalks {
		m.talks = append(m.talks, Converse(t, 1+i, nodes...))
	}
	for i := range mixKeys {
		m.node.Must("XGROUP", "CREATE", fmt.Sprint("grow:stream:", i), "group", "0", "MKSTREAM")
	}
	t.Cleanup(m.stop) // before the conversations are closed
	for i, c := range m.talks {
		m.wg.Go(func() {
			for round := 0; !m.ended(); round++ {
				// Without ASYNC, a replica of Redis 8.0 blocks the link to its primary until the
				// memory is free, and a link that is cut at that moment is not continued.
				c.Send("FLUSHDB ASYNC")
				lib := fmt.Sprintf("mix%d_%d", i, round%5)
				c.do("FUNCTION", "LOAD", "REPLACE", fmt.Sprintf("#!lua name=%s\nredis.register_function('%s', function() return %d end)", lib, lib, round))
				c.SendAll()
			}
		})
	}
	for i := range mixWriters {
		m.wg.Go(func() { m.grow(rand.New(rand.NewPCG(uint64(i), 4))) })
	}
	return m
}

func (m *Mix) ended() bool {
	select {
	case <-m.quit:
		return true
	default:
		return m.t.Failed()
	}
}

// Await waits until so many more calls were answered.
func (m *Mix) Await(calls int64) {
	m.t.Helper()
	count := func() int64 {
		n := m.sent.Load()
		for _, c := range m.talks {
			n += c.sent.Load()
		}
		return n
	}
	first := count()
	proc.Wait(m.t, proc.Patience, fmt.Sprintf("%d calls to %s", calls, m.node), func() string {
		if m.t.Failed() {
			m.t.FailNow()
		}
		if n := count() - first; n < calls {
			return fmt.Sprint(n)
		}
		return ""
	})
}

// Stop ends the writing, and waits until what it left to expire has done so; a key
// that is asked for when its time is over is deleted then, in all servers. What
// servers compute differently in the last bit, distances, is deleted.
func (m *Mix) Stop() {
	m.t.Helper()
	m.stop()
	for _, c := range m.talks {
		c.Send("DEL gr3 gs2")
		c.Send("EXISTS st5")
	}
	args := []any{"EXISTS"}
	for i := range mixKeys {
		args = append(args, fmt.Sprint("grow:soon:", i))
	}
	proc.Wait(m.t, proc.Patience, "the last keys to expire", func() string {
		if n := m.node.Text(args...); n != "0" {
			return n
		}
		return ""
	})
}

// growth is what a writer sends: of each command a way to make one, for a key of
// its kind. Scores have few digits: digests of servers of different kinds are of
// different texts of the others.
var growth = []struct {
	kind string
	call func(r *rand.Rand, key string) []any
}{
	{"string", func(r *rand.Rand, k string) []any { return []any{"APPEND", k, word(r)} }},
	{"string", func(r *rand.Rand, k string) []any { return []any{"SETRANGE", k, r.IntN(5000), word(r)} }},
	{"string", func(r *rand.Rand, k string) []any { return []any{"SETBIT", k, r.IntN(20000), r.IntN(2)} }},
	{"string", func(r *rand.Rand, k string) []any { return []any{"GETEX", k, "EX", 1000 + r.IntN(1000)} }},
	{"soon", func(r *rand.Rand, k string) []any { return []any{"SET", k, word(r), "PX", 1 + r.IntN(200)} }},
	{"soon", func(r *rand.Rand, k string) []any { return []any{"SET", k, word(r), "GET", "PX", 1 + r.IntN(20)} }},
	{"number", func(r *rand.Rand, k string) []any { return []any{"INCRBY", k, r.IntN(1000) - 300} }},
	{"float", func(r *rand.Rand, k string) []any { return []any{"INCRBYFLOAT", k, r.Float64()} }},
	{"list", func(r *rand.Rand, k string) []any {
		return []any{"RPUSH", k, r.Int64() >> r.IntN(64), word(r), word(r)}
	}},
	{"list", func(r *rand.Rand, k string) []any { return []any{"LPUSH", k, word(r), r.IntN(100), word(r)} }},
	{"list", func(r *rand.Rand, k string) []any { return []any{"LINSERT", k, "BEFORE", r.IntN(100), word(r)} }},
	{"list", func(r *rand.Rand, k string) []any { return []any{"LREM", k, r.IntN(3) - 1, r.IntN(100)} }},
	{"list", func(r *rand.Rand, k string) []any { return []any{"LPOP", k, r.IntN(3)} }},
	{"list", func(r *rand.Rand, k string) []any { return []any{"LMOVE", k, "grow:list:0", "LEFT", "RIGHT"} }},
	{"set", func(r *rand.Rand, k string) []any { return []any{"SADD", k, r.IntN(1000), r.Int64() >> r.IntN(64)} }},
	{"set", func(r *rand.Rand, k string) []any { return []any{"SADD", k, word(r), word(r)} }},
	{"set", func(r *rand.Rand, k string) []any { return []any{"SPOP", k, r.IntN(4)} }},
	{"set", func(r *rand.Rand, k string) []any { return []any{"SPOP", k} }},
	{"set", func(r *rand.Rand, k string) []any { return []any{"SUNIONSTORE", "grow:set:0", k, "grow:set:1"} }},
	{"hash", func(r *rand.Rand, k string) []any { return []any{"HSET", k, r.IntN(900), word(r), word(r), r.IntN(99)} }},
	{"hash", func(r *rand.Rand, k string) []any { return []any{"HINCRBYFLOAT", k, "float", r.Float64()} }},
	{"hash", func(r *rand.Rand, k string) []any { return []any{"HDEL", k, r.IntN(900), r.IntN(900)} }},
	{"zset", func(r *rand.Rand, k string) []any {
		return []any{"ZADD", k, float64(r.IntN(2000))/8 - 100, r.IntN(900), r.IntN(9), word(r)}
	}},
	{"zset", func(r *rand.Rand, k string) []any { return []any{"ZINCRBY", k, float64(r.IntN(99)) / 4, r.IntN(900)} }},
	{"zset", func(r *rand.Rand, k string) []any { return []any{"ZPOPMAX", k, r.IntN(3)} }},
	{"zset", func(r *rand.Rand, k string) []any { return []any{"ZREMRANGEBYSCORE", k, "-0.01", "0.01"} }},
	{"stream", func(r *rand.Rand, k string) []any { return []any{"XADD", k, "*", "field", word(r), "n", r.IntN(99)} }},
	{"stream", func(r *rand.Rand, k string) []any { return []any{"XADD", k, "MAXLEN", "~", 300, "*", word(r), ""} }},
	{"stream", func(r *rand.Rand, k string) []any {
		return []any{"XREADGROUP", "GROUP", "group", fmt.Sprint("reader", r.IntN(3)), "COUNT", 3, "STREAMS", k, ">"}
	}},
	{"stream", func(r *rand.Rand, k string) []any {
		return []any{"XAUTOCLAIM", k, "group", "reader0", 0, 0, "COUNT", 2}
	}},
	{"hll", func(r *rand.Rand, k string) []any { return []any{"PFADD", k, r.Uint64(), r.Uint64()} }},
	{"hll", func(r *rand.Rand, k string) []any { return []any{"PFMERGE", "grow:hll:0", k} }},
	{"hll", func(r *rand.Rand, k string) []any { return []any{"PFCOUNT", k} }},
	{"geo", func(r *rand.Rand, k string) []any {
		return []any{"GEOADD", k, r.Float64()*360 - 180, r.Float64()*170 - 85, r.IntN(900)}
	}},
}

// emptied are the kinds whose keys are deleted from time to time, to grow anew.
var emptied = map[string]bool{"string": true, "list": true, "set": true, "hash": true, "zset": true, "hll": true, "geo": true}

func word(r *rand.Rand) string { return strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(90)) }

// grow sends batches of growth until the end.
func (m *Mix) grow(r *rand.Rand) {
	ctx := context.Background()
	for !m.ended() {
		pipe := m.node.Client().Pipeline()
		for range mixBatch {
			g := growth[r.IntN(len(growth))]
			key := fmt.Sprintf("grow:%s:%d", g.kind, r.IntN(mixKeys))
			if emptied[g.kind] && r.IntN(1000) == 0 {
				pipe.Do(ctx, "UNLINK", key)
				continue
			}
			pipe.Do(ctx, g.call(r, key)...)
		}
		replies, _ := pipe.Exec(ctx)
		for _, c := range replies {
			if err := c.Err(); err != nil && err != redis.Nil {
				m.t.Errorf("%s: %v: %v", m.node, c.Args(), err)
				return
			}
		}
		m.sent.Add(mixBatch)
	}
}
