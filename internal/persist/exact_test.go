package persist_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/labtest"
	"github.com/skeindb/skein/internal/persist"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/store"
)

// describe tells a value so that equal values have equal descriptions, in whatever
// encoding they are: every element, the times of fields, a stream's groups.
func describe(o *store.Obj) string {
	a, v := ds.Arena{Heap: o.DB().Store().Heap}, o.Bytes()
	parts := []string{}
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	texts := func() (out []string) {
		for it := ds.LP(v).Iter(); it.Next(); {
			out = append(out, string(it.Elem().Append(nil)))
		}
		return out
	}
	switch o.Encoding() {
	case store.Intset:
		for i := range ds.Intset(v).Len() {
			add("%d", ds.Intset(v).At(i))
		}
	case store.Listpack:
		p := ds.LP(v)
		e := texts()
		switch o.Type() {
		case store.ZSet:
			for off, i := p.First(), 0; off >= 0; off, i = p.Next(p.Next(off)), i+2 {
				add("%s=%v", e[i], p.ZScore(p.Next(off)))
			}
		case store.Hash_:
			for i := 0; i < len(e); i += 2 {
				add("%s=%s@0", e[i], e[i+1])
			}
		default:
			parts = e
		}
	case store.ListpackTTL:
		for e := texts(); len(e) > 0; e = e[3:] {
			add("%s=%s@%s", e[0], e[1], e[2])
		}
	case store.Hashtable:
		ds.OpenTable(a, v).Each(func(field, value []byte) bool {
			if o.Type() == store.Set {
				add("%s", field)
			} else {
				add("%s=%s@0", field, value)
			}
			return true
		})
	case store.HashtableTTL:
		ds.OpenTTLTable(a, v).Each(func(field, value []byte, at int64) bool {
			add("%s=%s@%d", field, value, at)
			return true
		})
	case store.Skiplist:
		ds.OpenZSet(a, v).Each(func(member []byte, score float64) bool {
			add("%s=%v", member, score)
			return true
		})
	case store.Quicklist:
		for it := ds.OpenQuicklist(a, v).Iter(0, false); it.Valid(); it.Next() {
			add("%s", it.Elem().Append(nil))
		}
	case store.StreamTree:
		add("%s", hex.EncodeToString(rdb.AppendStream(nil, ds.OpenStream(a, v), rdb.TypeStream2, false)))
	default:
		add("%s", v)
	}
	switch o.Type() {
	case store.Set, store.ZSet, store.Hash_:
		slices.Sort(parts)
	}
	return fmt.Sprintf("%v expires %d: %s", o.Type(), o.ExpireAt(), strings.Join(parts, " "))
}

// content describes all keys. World lock, or nobody else there.
func content(st *store.Store) map[string]string {
	all := map[string]string{}
	for i := range st.DBs() {
		st.DB(i).EachKey(func(o *store.Obj) bool {
			all[fmt.Sprintf("%d:%s", i, o.Key())] = describe(o)
			return true
		})
	}
	return all
}

// The keys of the test: values far above the sizes from which a snapshot reads them
// in pieces, in several slots and, by a tag, some in one.
var bigKeys = []string{"zset", "hash", "timed", "set", "list", "stream", "text"}

// grow makes big values where there are none.
func grow(c *labtest.Client, rnd *rand.Rand) {
	for copyNo := range 2 {
		name := func(kind string) string { return fmt.Sprintf("%s{%d}", kind, copyNo) }
		for range 40 {
			var z, h, s, l strings.Builder
			for range 40 {
				i := rnd.IntN(5000)
				fmt.Fprintf(&z, " %d m%d", rnd.IntN(300), i)
				fmt.Fprintf(&h, " f%d %x", i, rnd.Uint64())
				fmt.Fprintf(&s, " m%d", i)
				fmt.Fprintf(&l, " %x%0*d", rnd.Uint64(), rnd.IntN(80), i)
			}
			c.Send("ZADD "+name("zset")+z.String(), "HSET "+name("hash")+h.String(), "HSET "+name("timed")+h.String(),
				"SADD "+name("set")+s.String(), "RPUSH "+name("list")+l.String())
			for range 40 {
				c.Send(fmt.Sprintf("XADD %s * f %x g %d", name("stream"), rnd.Uint64(), rnd.IntN(99)))
			}
		}
		c.Send(fmt.Sprintf("HPEXPIRE %s 100000000 FIELDS 3 f1 f2 f3", name("timed")), "XGROUP CREATE "+name("stream")+" g 0",
			"XREADGROUP GROUP g c COUNT 50 STREAMS "+name("stream")+" >", fmt.Sprintf("SETRANGE %s 60000 end", name("text")))
	}
	c.Take()
}

// disturb runs one random command on a big value.
func disturb(c *labtest.Client, rnd *rand.Rand) {
	key := func(kind string) string { return fmt.Sprintf("%s{%d}", kind, rnd.IntN(2)) }
	i := func() int { return rnd.IntN(5000) }
	lines := []func() string{
		func() string { return fmt.Sprintf("ZADD %s %d m%d %d m%d", key("zset"), rnd.IntN(300), i(), i(), i()) },
		func() string { return fmt.Sprintf("ZINCRBY %s %d m%d", key("zset"), rnd.IntN(100)-50, i()) },
		func() string { return fmt.Sprintf("ZREM %s m%d m%d", key("zset"), i(), i()) },
		func() string { return "ZPOPMAX " + key("zset") + " 3" },
		func() string { r := i(); return fmt.Sprintf("ZREMRANGEBYRANK %s %d %d", key("zset"), r, r+5) },
		func() string { return fmt.Sprintf("HSET %s f%d %x f%d new", key("hash"), i(), rnd.Uint64(), i()) },
		func() string { return fmt.Sprintf("HSET %s f%d %0*d", key("hash"), i(), rnd.IntN(90), 1) },
		func() string { return fmt.Sprintf("HDEL %s f%d f%d", key("hash"), i(), i()) },
		func() string { return fmt.Sprintf("HINCRBY %s n%d 1", key("hash"), rnd.IntN(30)) },
		func() string { return fmt.Sprintf("HSET %s f%d %x", key("timed"), i(), rnd.Uint64()) },
		func() string {
			return fmt.Sprintf("HPEXPIRE %s %d FIELDS 2 f%d f%d", key("timed"), 50_000_000+i(), i(), i())
		},
		func() string { return fmt.Sprintf("HPERSIST %s FIELDS 1 f%d", key("timed"), i()) },
		func() string { return fmt.Sprintf("HDEL %s f%d", key("timed"), i()) },
		func() string { return fmt.Sprintf("HPEXPIRE %s 50000000 FIELDS 1 f%d", key("hash"), i()) },
		func() string { return fmt.Sprintf("SADD %s m%d x%d", key("set"), i(), i()) },
		func() string { return fmt.Sprintf("SREM %s m%d m%d", key("set"), i(), i()) },
		func() string { return "SPOP " + key("set") + " 4" },
		func() string { return fmt.Sprintf("LPUSH %s %x", key("list"), rnd.Uint64()) },
		func() string { return "LPOP " + key("list") + " 30" },
		func() string { return "RPOP " + key("list") + " 30" },
		func() string { return fmt.Sprintf("LSET %s %d %0*d", key("list"), rnd.IntN(1000), rnd.IntN(200), 7) },
		func() string { return fmt.Sprintf("LINSERT %s BEFORE 1 x", key("list")) },
		func() string { return fmt.Sprintf("LTRIM %s 1 -2", key("list")) },
		func() string { return fmt.Sprintf("LREM %s 1 x", key("list")) },
		func() string { return fmt.Sprintf("RPUSH %s %s", key("list"), strings.Repeat("y", rnd.IntN(20000))) },
		func() string { return fmt.Sprintf("XADD %s * f %x", key("stream"), rnd.Uint64()) },
		func() string { return fmt.Sprintf("XTRIM %s MAXLEN %d", key("stream"), 1400+rnd.IntN(200)) },
		func() string {
			return fmt.Sprintf("XREADGROUP GROUP g c%d COUNT 3 STREAMS %s >", rnd.IntN(3), key("stream"))
		},
		func() string { return fmt.Sprintf("SETRANGE %s %d abc", key("text"), rnd.IntN(60000)) },
		func() string { return fmt.Sprintf("APPEND %s %d", key("text"), i()) },
		func() string { return fmt.Sprintf("PEXPIRE %s 90000000", key(bigKeys[rnd.IntN(len(bigKeys))])) },
		func() string { return "PERSIST " + key(bigKeys[rnd.IntN(len(bigKeys))]) },
	}
	seldom := []func() string{
		func() string {
			k := bigKeys[rnd.IntN(len(bigKeys))]
			return fmt.Sprintf("RENAME %s %s", key(k), key(k))
		},
		func() string { return fmt.Sprintf("MOVE %s 1", key(bigKeys[rnd.IntN(len(bigKeys))])) },
		func() string { return fmt.Sprintf("DEL %s", key(bigKeys[rnd.IntN(len(bigKeys))])) },
		func() string { return fmt.Sprintf("SET %s small", key(bigKeys[rnd.IntN(len(bigKeys))])) },
		func() string {
			k := bigKeys[rnd.IntN(len(bigKeys))]
			return fmt.Sprintf("COPY %s{0} %s{1} REPLACE", k, k)
		},
		func() string { return fmt.Sprintf("LTRIM %s 0 10", key("list")) },
		func() string { return fmt.Sprintf("ZREMRANGEBYSCORE %s 0 250", key("zset")) },
		func() string { return "SORT " + key("list") + " ALPHA LIMIT 0 5 STORE " + key("text") },
		func() string { return "SWAPDB 0 1" },
	}
	if rnd.IntN(60) == 0 {
		c.Send(seldom[rnd.IntN(len(seldom))]())
	} else {
		c.Send(lines[rnd.IntN(len(lines))]())
	}
	if rnd.IntN(20) == 0 {
		c.Take()
	}
}

// slowly writes to a buffer and lets others go first now and then.
type slowly struct {
	bytes.Buffer
	pause time.Duration
	fail  int // bytes after which it fails, 0 for never
}

func (w *slowly) Write(p []byte) (int, error) {
	time.Sleep(w.pause)
	if w.fail > 0 && w.Len() > w.fail {
		return 0, errors.New("full")
	}
	return w.Buffer.Write(p)
}

// A snapshot holds exactly what was there at its cut: all databases are described at
// that instant, and described again after the file was loaded into another node.
// Meanwhile writers change big values in every way, and move what is between keys of
// several slots by EXEC; some outputs fail half way, which leaves no trace.
func TestExactAtCut(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 8
	}
	f := labtest.NewDisk()
	n := labtest.New(t, f, 256<<20)
	t.Cleanup(n.Close)
	n.Serve()
	setup := n.Client()
	grow(setup, rand.New(rand.NewPCG(1, 1)))
	for i := range 8 {
		setup.Do(fmt.Sprintf("SET account%d 1000", i))
		setup.Do(fmt.Sprintf("RPUSH goods%d a b c d", i))
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			c := n.Client()
			rnd := rand.New(rand.NewPCG(uint64(w), 7))
			for i := 0; !stop.Load(); i++ {
				switch {
				case w == 0:
					a, b, k := rnd.IntN(8), rnd.IntN(8), rnd.IntN(50)
					c.Send("MULTI", fmt.Sprintf("DECRBY account%d %d", a, k), fmt.Sprintf("INCRBY account%d %d", b, k), "EXEC",
						fmt.Sprintf("LMOVE goods%d goods%d LEFT RIGHT", a, b), "MULTI", "INCR left", "INCR right{1}", "EXEC")
					c.Take()
				case w == 1 && i%400 == 399:
					grow(c, rnd)
				default:
					disturb(c, rnd)
				}
				if i%64 == 0 {
					time.Sleep(50 * time.Microsecond) // else they starve the walk under the race detector
				}
			}
		})
	}
	t.Cleanup(func() { // before the node is closed
		stop.Store(true)
		wg.Wait()
	})
	pieces, failed := 0, 0
	for round := range rounds {
		out := &slowly{pause: time.Duration(round%4) * 100 * time.Microsecond}
		if round%5 == 4 {
			out.fail = 50_000
		}
		var want map[string]string
		err := n.Saver.Snapshot(context.Background(), out, persist.SnapshotOptions{Compress: round%2 == 0, Checksum: true,
			AtCut: func() { want = content(n.E.Store) }})
		if err != nil && out.fail == 0 {
			t.Fatalf("round %d: %v", round, err)
		}
		if err != nil {
			failed++
			continue
		}
		m := labtest.New(t, f, 256<<20)
		m.Serve()
		if _, err := rdb.Load(rdb.NewReader(&out.Buffer), m.E.Store, &rdb.LoadOptions{Limits: rdb.DefaultLimits()}); err != nil {
			t.Fatalf("round %d: load: %v", round, err)
		}
		got := content(m.E.Store)
		for key, w := range want {
			if g := got[key]; g != w {
				t.Fatalf("round %d: %s is not what it was at the cut:\n%s", round, key, difference(g, w))
			}
		}
		if len(got) != len(want) {
			t.Fatalf("round %d: %d keys, %d at the cut", round, len(got), len(want))
		}
		sum, goods := 0, 0
		c := m.Client()
		for i := range 8 {
			v := 0
			for db := range 2 {
				c.Do(fmt.Sprint("SELECT ", db))
				fmt.Sscan(strings.TrimPrefix(c.Do(fmt.Sprintf("INCRBY account%d 0", i)), ":"), &v)
				sum += v
				fmt.Sscan(strings.TrimPrefix(c.Do(fmt.Sprintf("LLEN goods%d", i)), ":"), &v)
				goods += v
			}
		}
		if goods != 32 || sum != 8000 {
			t.Errorf("round %d: the accounts sum up to %d, want 8000; %d goods, want 32", round, sum, goods)
		}
		m.Close()
		for _, w := range want {
			if len(w) > 30_000 {
				pieces++
			}
		}
	}
	stop.Store(true)
	wg.Wait()
	if pieces < 3*rounds || failed == 0 {
		t.Errorf("%d big values were written in %d rounds, %d outputs failed", pieces, rounds, failed)
	}
	t.Logf("%d big values in %d rounds", pieces, rounds)
	for db := range 2 {
		n.E.Store.DB(db).EachKey(func(o *store.Obj) bool {
			if err := check(o); err != nil {
				t.Errorf("%s: %v", o.Key(), err)
			}
			return true
		})
	}
}

// A big value comes to a database that was cleared while it is written out, and the
// database is cleared again: its memory is kept until it is out, and freed once.
func TestClearedUnderAReading(t *testing.T) {
	f := labtest.NewDisk()
	for _, kind := range bigKeys {
		n := labtest.New(t, f, 64<<20)
		t.Cleanup(n.Close)
		n.Serve()
		c := n.Client()
		rnd := rand.New(rand.NewPCG(2, 1))
		grow(c, rnd)
		for _, other := range bigKeys {
			if other != kind {
				c.Do(fmt.Sprintf("DEL %s{0} %s{1}", other, other))
			}
		}
		c.Do("SELECT 1")
		c.Do("SET small 1")
		var want map[string]string
		out := &hooked{at: 2, hook: func() {
			c.Do("FLUSHDB")
			for _, key := range []string{kind + "{0}", kind + "{1}"} {
				c.Do("SELECT 0")
				if got := c.Do("MOVE " + key + " 1"); got != ":1" {
					t.Errorf("MOVE %s: %s", key, got)
				}
			}
			c.Do("SELECT 1")
			c.Do("FLUSHDB")
			c.Do("SELECT 2")
			grow(c, rnd) // where the memory was
		}}
		if err := n.Saver.Snapshot(context.Background(), out, persist.SnapshotOptions{AtCut: func() { want = content(n.E.Store) }}); err != nil {
			t.Fatal(err)
		}
		if out.at > 0 {
			t.Fatalf("%s: nothing happened", kind)
		}
		m := labtest.New(t, f, 64<<20)
		t.Cleanup(m.Close)
		if _, err := rdb.Load(rdb.NewReader(&out.Buffer), m.E.Store, &rdb.LoadOptions{Limits: rdb.DefaultLimits()}); err != nil {
			t.Fatalf("%s: load: %v", kind, err)
		}
		got := content(m.E.Store)
		for key, w := range want {
			if g := got[key]; g != w {
				t.Errorf("%s is not what it was at the cut:\n%s", key, difference(g, w))
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d keys, %d at the cut", kind, len(got), len(want))
		}
		c.Do("FLUSHALL")
		labtest.Eventually(t, func() string {
			if used, pending := n.E.Store.Heap.Used(), n.E.Store.LazyfreePending(); used > 0 || pending > 0 {
				return fmt.Sprintf("%s: %d bytes used without a key, %d values to be freed", kind, used, pending)
			}
			return ""
		})
	}
}

// hooked is a buffer that runs something before its at-th write.
type hooked struct {
	bytes.Buffer
	at   int
	hook func()
}

func (w *hooked) Write(p []byte) (int, error) {
	if w.at--; w.at == 0 {
		w.hook()
	}
	return w.Buffer.Write(p)
}

// check verifies the encoding of a value.
func check(o *store.Obj) error {
	a, v := o.Arena(), o.Bytes()
	switch o.Encoding() {
	case store.Hashtable:
		return ds.OpenTable(a, v).Check()
	case store.HashtableTTL:
		return ds.OpenTTLTable(a, v).Check()
	case store.Skiplist:
		return ds.OpenZSet(a, v).Check()
	case store.Quicklist:
		return ds.OpenQuicklist(a, v).Check()
	case store.StreamTree:
		return ds.OpenStream(a, v).Check()
	}
	return nil
}

// difference shows the first words in which two descriptions differ.
func difference(got, want string) string {
	g, w := strings.Fields(got), strings.Fields(want)
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("word %d of %d: %.80s; want, of %d: %.80s", i, len(g), g[i], len(w), w[i])
		}
	}
	return fmt.Sprintf("%d words, want %d", len(g), len(w))
}
