package rdb

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/store"
	"github.com/skeindb/skein/internal/testport"
)

// startRedis runs a real redis-server with its data in dir until the test ends.
func startRedis(t *testing.T, dir string, args ...string) *redis.Client {
	t.Helper()
	return startServer(t, "redis-server", dir, args...)
}

// peer is the path of a newer server; the test is skipped where there is none.
func peer(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("PEERS")
	if dir == "" {
		t.Skipf("$PEERS, a directory with %s 8, is not set: not compared with it", name)
	}
	return filepath.Join(dir, name)
}

// startServer is startRedis for any kind of server.
func startServer(t *testing.T, name, dir string, args ...string) *redis.Client {
	t.Helper()
	bin, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: not compared with it", name)
	}
	port := strconv.Itoa(testport.Free(t))
	addr := "127.0.0.1:" + port
	var log bytes.Buffer
	cmd := exec.Command(bin, append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--enable-debug-command", "yes", "--daemonize", "no"}, args...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, MaxRetries: -1, ReadTimeout: time.Minute})
	t.Cleanup(func() {
		c.Close()
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("redis-server said:\n%s", &log)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = c.Ping(context.Background()).Err(); err == nil {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("redis-server does not answer: %v", err)
		}
	}
}

func do(t *testing.T, c *redis.Client, args ...any) string {
	t.Helper()
	v, err := c.Do(context.Background(), args...).Result()
	if err != nil {
		t.Fatalf("%.80v: %v", args, err)
	}
	return fmt.Sprint(v)
}

// fillRedis makes values of every type and encoding in two databases.
func fillRedis(t *testing.T, c *redis.Client) {
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(11, 12))
	do(t, c, "debug", "populate", 3000, "pop", 64)
	pipe := c.Pipeline()
	text := func(n int) string {
		p := make([]byte, n)
		for i := range p {
			p[i] = "abcdefgh  "[rnd.IntN(10)]
		}
		return string(p)
	}
	for i, s := range []string{"", "0", "-1", "127", "128", "-32769", "2147483647", "2147483648", "-9223372036854775808", "012", "+1", " 1",
		text(20), text(21), text(5000), strings.Repeat("a", 1<<20), text(1 << 17)} {
		pipe.Set(ctx, fmt.Sprint("str", i), s, 0)
	}
	for _, n := range []int{1, 5, 127, 128, 129, 511, 512, 513, 3000} {
		for i := range n {
			s := strconv.Itoa(i)
			pipe.RPush(ctx, fmt.Sprint("list", n), s, text(rnd.IntN(30)), rnd.Int64()>>rnd.IntN(64))
			pipe.SAdd(ctx, fmt.Sprint("ints", n), rnd.Int64()>>rnd.IntN(64))
			pipe.SAdd(ctx, fmt.Sprint("set", n), s, "m"+s)
			pipe.HSet(ctx, fmt.Sprint("hash", n), "f"+s, text(rnd.IntN(60)), s, i)
			pipe.ZAdd(ctx, fmt.Sprint("zset", n), redis.Z{Score: float64(rnd.IntN(50)) / 8, Member: "m" + s}, redis.Z{Score: float64(i), Member: s})
		}
	}
	pipe.RPush(ctx, "huge elements", text(9000), "x", text(20000), strings.Repeat("z", 70000))
	pipe.RPush(ctx, "63 64", text(63), text(64), text(4095), text(4096), text(126), text(127), text(125))
	pipe.HSet(ctx, "long value", "f", text(65))
	pipe.Do(ctx, "zadd", "inf", "inf", "a", "-inf", "b", "0.1", "c", "3.0e20", "d", "-0", "e", "1e-300", "f")
	pipe.Expire(ctx, "hash5", 100*time.Hour)
	pipe.Expire(ctx, "str0", 100*time.Hour)
	pipe.Do(ctx, "copy", "zset129", "zset129", "db", 5)
	pipe.Do(ctx, "copy", "list5", "list5", "db", 5)
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
}

// What a real server saves is loaded; what is written from that is accepted by
// redis-check-rdb and, loaded by a real server again, is the same data.
func TestRealServerThereAndBack(t *testing.T) {
	for _, compress := range []string{"yes", "no"} {
		t.Run("compression "+compress, func(t *testing.T) {
			dir := t.TempDir()
			c := startRedis(t, dir, "--rdbcompression", compress)
			fillRedis(t, c)
			do(t, c, "save")
			want := do(t, c, "debug", "digest")
			keys := c.DBSize(context.Background()).Val() + 2

			f, err := os.Open(filepath.Join(dir, "dump.rdb"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			st := newStore(t)
			s, err := Load(NewReader(f), st, &LoadOptions{Limits: DefaultLimits(), NowMs: time.Now().UnixMilli(), DropExpired: true})
			if err != nil {
				t.Fatal(err)
			}
			if s.Keys != int(keys) || s.Version != 10 || !strings.HasPrefix(s.Info.ServerVersion, "7.") {
				t.Errorf("Load: %+v, want %d keys", s, keys)
			}
			for _, k := range []string{"ints513", "zset129", "hash512", "hash513", "list5", "list3000", "set128", "str7"} {
				var o store.Obj
				if !st.DB(0).Find(hashslot.Slot([]byte(k)), store.Hash([]byte(k)), []byte(k), &o) {
					t.Errorf("key %s is not there", k)
					continue
				}
				enc := do(t, c, "object", "encoding", k)
				if got := o.Encoding().String(); got != enc && !(k == "list5" && got == "listpack") {
					t.Errorf("%s is %s here, %s there", k, got, enc)
				}
				theirs, err := c.Dump(context.Background(), k).Bytes()
				if err != nil {
					t.Fatal(err)
				}
				if got, want := elements(t, open(t, AppendDump(nil, &o, true))), elements(t, open(t, theirs)); got != want {
					t.Errorf("%s is\n%.500s here, there\n%.500s", k, got, want)
				}
			}

			dir2 := t.TempDir()
			path := filepath.Join(dir2, "dump.rdb")
			out, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			st.LockWorld()
			col := NewCollector(st, RecordOptions{Compress: compress == "yes"})
			snap, err := st.BeginSnapshot(col)
			st.UnlockWorld()
			if err != nil {
				t.Fatal(err)
			}
			w := NewWriter(out, WriterOptions{Compress: compress == "yes", Checksum: true})
			if err := col.Write(snap, w, &Info{ServerVersion: "7.2.4", CreatedSec: time.Now().Unix()}); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			out.Close()
			if check, err := exec.LookPath("redis-check-rdb"); err == nil {
				if said, err := exec.Command(check, path).CombinedOutput(); err != nil || !strings.Contains(string(said), "Checksum OK") {
					t.Errorf("redis-check-rdb: %v\n%s", err, said)
				}
			}
			if got := do(t, startRedis(t, dir2), "debug", "digest"); got != want {
				t.Errorf("digest %s after the way back, want %s", got, want)
			}
		})
	}
}

// A payload means to us what it means to a real server, legacy ones included:
// ours, made from it, has the same digest there.
func TestRealServerReadsDumps(t *testing.T) {
	c := startRedis(t, t.TempDir())
	st := newStore(t)
	for i, tt := range dumps {
		p := payload(t, tt.name, tt.hex)
		if Type(p[0]).MinVersion() > 10 || strings.HasPrefix(tt.name, "stream") || tt.name == "no elements" || tt.name == "module" {
			continue
		}
		var o store.Obj
		if err := put(st, fmt.Sprint(i), open(t, p), DefaultLimits(), &o); err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		if err := c.Restore(ctx, "theirs", 0, string(p)).Err(); err != nil {
			t.Errorf("%s: the real server refuses the payload: %v", tt.name, err)
			continue
		}
		if err := c.Restore(ctx, "ours", 0, string(AppendDump(nil, &o, true))).Err(); err != nil {
			t.Errorf("%s: the real server refuses ours: %v", tt.name, err)
			continue
		}
		if a, b := do(t, c, "debug", "digest-value", "theirs"), do(t, c, "debug", "digest-value", "ours"); a != b {
			t.Errorf("%s: digest %s, ours %s", tt.name, a, b)
		}
		do(t, c, "del", "theirs", "ours")
	}
}

// Streams of a real server are understood to the last byte.
func TestRealServerStreams(t *testing.T) {
	c := startRedis(t, t.TempDir(), "--rdbcompression", "no")
	for i := range 350 {
		do(t, c, "xadd", "s", fmt.Sprintf("%d-%d", 1000+i/3, 10+i%3), "f", strings.Repeat("v", i), "g", i)
		if i%51 == 50 {
			do(t, c, "xadd", "s", fmt.Sprintf("%d-20", 1000+i/3), "other", "fields", "here", "too")
		}
	}
	do(t, c, "xdel", "s", "1005-10", "1005-11", "1100-10")
	do(t, c, "xgroup", "create", "s", "g1", "0")
	do(t, c, "xgroup", "create", "s", "g2", "$")
	do(t, c, "xreadgroup", "group", "g1", "alice", "count", 20, "streams", "s", ">")
	do(t, c, "xreadgroup", "group", "g1", "bob", "count", 7, "streams", "s", ">")
	do(t, c, "xgroup", "createconsumer", "s", "g1", "idle")
	do(t, c, "xack", "s", "g1", "1000-10")
	do(t, c, "xadd", "empty", "5-5", "a", "b")
	do(t, c, "xdel", "empty", "5-5")
	do(t, c, "xadd", "trimmed", "*", "a", "b")
	for range 150 {
		do(t, c, "xadd", "trimmed", "maxlen", 40, "*", "a", "b")
	}
	for _, k := range []string{"s", "empty", "trimmed"} {
		p, err := c.Dump(context.Background(), k).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		st, err := buildStream(t, newStore(t), open(t, p))
		if err != nil {
			t.Fatalf("%s: %v", k, err)
		}
		if got := AppendDumpFooter(AppendStream(p[:1:1], st, Type(p[0]), false), 0); !bytes.Equal(got, p) {
			t.Errorf("%s: written again as\n%x, want\n%x", k, got, p)
		}
		if n, _ := strconv.ParseUint(do(t, c, "xlen", k), 10, 64); uint64(st.Len()) != n {
			t.Errorf("%s: length %d, want %d", k, st.Len(), n)
		}
	}
}
