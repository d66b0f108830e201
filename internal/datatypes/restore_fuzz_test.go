package datatypes

import (
	"fmt"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/rdb"
)

// usersOf are commands on key k, those that read and those that change, by type.
var usersOf = map[string]string{
	"string": "GET k|STRLEN k|GETRANGE k 1 -2|BITCOUNT k|BITPOS k 1|PFCOUNT k|PFADD k x|PFMERGE k2 k|INCR k|SETBIT k 9 1|APPEND k x|SETRANGE k 3 yy|LCS k k|GETEX k EX 9",
	"list": "LLEN k|LRANGE k 0 -1|LINDEX k -1|LPOS k a|SORT k ALPHA|LINSERT k BEFORE a 7|LSET k 0 z|LPUSH k x 1|RPUSH k y 2|LREM k 0 a|" +
		"LMOVE k k LEFT RIGHT|LPOP k|RPOP k 2|LTRIM k 1 -2",
	"set": "SCARD k|SMEMBERS k|SISMEMBER k a|SMISMEMBER k 1 x|SRANDMEMBER k 3|SSCAN k 0|SINTER k k|SUNIONSTORE k2 k|SADD k 5|SADD k x y|SREM k a 1|SMOVE k k2 5|SPOP k|SPOP k 2",
	"zset": "ZCARD k|ZRANGE k 0 -1 WITHSCORES|ZRANGE k -inf +inf BYSCORE|ZRANGE k - + BYLEX|ZREVRANGE k 0 2|ZRANK k a|ZCOUNT k 0 9|ZRANDMEMBER k 2|ZSCAN k 0|ZMSCORE k a b|" +
		"ZUNIONSTORE k2 2 k k|ZADD k 1 x 2 y|ZINCRBY k 3 a|ZREM k b|ZPOPMIN k|ZPOPMAX k|ZREMRANGEBYRANK k 0 0|GEOADD k 1 1 g|GEOSEARCH k FROMMEMBER g BYRADIUS 9 km",
	"hash": "HLEN k|HGETALL k|HGET k f|HSTRLEN k f|HRANDFIELD k 2 WITHVALUES|HSCAN k 0|HPTTL k FIELDS 1 f|HSET k f 1 x y|HINCRBY k n 2|HEXPIRE k 50 FIELDS 1 x|HPERSIST k FIELDS 1 f|" +
		"HPEXPIRE k 5000 FIELDS 2 f y|HDEL k f|HDEL k x",
	"stream": "XLEN k|XRANGE k - +|XREVRANGE k + - COUNT 3|XINFO STREAM k FULL|XINFO GROUPS k|XINFO CONSUMERS k g|XPENDING k g|XPENDING k g - + 9|XADD k * f v|XADD k 18446744073709551615-* f v|" +
		"XGROUP CREATE k n 0|XREADGROUP GROUP g c1 COUNT 2 STREAMS k >|XREADGROUP GROUP g c2 STREAMS k 0|XCLAIM k g c3 0 1000-0 FORCE|XAUTOCLAIM k g c3 0 0|XACK k g 1000-0|XDEL k 1000-0|" +
		"XGROUP SETID k g 0|XGROUP DELCONSUMER k g c1|XTRIM k MAXLEN 1|XSETID k 18446744073709551615-18446744073709551615|XGROUP DESTROY k g",
}

// allocated returns the bytes of Go memory that were ever allocated, large
// objects exactly.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// FuzzRestore takes any bytes as the body of a payload for RESTORE. It is refused
// and leaves nothing behind; or it is a value in good order, of a size in
// proportion, that the commands of its type use and change in any state, whose
// DUMP is a value again, and whose memory is all given back.
func FuzzRestore(f *testing.F) {
	w := newWorld(f)
	for _, line := range []string{"SET k hello", "SET k 12345", "SET k " + strings.Repeat("ab", 40), "RPUSH k a 1 b 70000", "SADD k 1 2 300", "SADD k a b 1", "ZADD k 1 a 2.5 b inf c",
		"HSET k f v n 4", "XADD k 1000-0 f v"} {
		f.Add([]byte(bodyOf(w, line)))
	}
	w.limits.ListSize, w.limits.SetEntries, w.limits.SetIntset, w.limits.ZSetEntries, w.limits.HashEntries = 2, 2, 2, 2, 2
	for _, line := range []string{"RPUSH k a 1 b 70000 c d e", "SADD k 1 2 300 4", "SADD k a b 1 c", "ZADD k 1 a 2.5 b inf c -1 d", "HSET k f v n 4 a b c d"} {
		f.Add([]byte(bodyOf(w, line)))
	}
	w.do("XADD", "k", "1000-0", "f", "v", "g", "70000")
	w.do("XADD", "k", "1000-1", "f", "w")
	w.do("XGROUP", "CREATE", "k", "g", "0")
	w.do("XREADGROUP", "GROUP", "g", "c1", "COUNT", "1", "STREAMS", "k", ">")
	f.Add([]byte(bodyOf(w, "XDEL k 1000-1")))
	f.Add([]byte("\x09\x0f\x02\x01k\x01\x00v\x02id\x02\x0142\x00\xff"))                                     // zipmap
	f.Add([]byte("\x0a\x15\x15\x00\x00\x00\x10\x00\x00\x00\x03\x00\x00\xf8\x02\x02ab\x04\xc0\xe8\x03\xff")) // ziplist
	f.Add([]byte("\x16\x01\x05\x01f\x01v"))                                                                 // hash with times
	f.Add([]byte("\x02\x81\x00\x00\x01\x00\x00\x00\x00\x00\x01a"))                                          // 2^40 members
	f.Add([]byte("\x00\xc3\x03\x81\x00\x00\x01\x00\x00\x00\x00\x00\x01aa"))                                 // 2^40 bytes, compressed
	w.limits = *command.DefaultLimits()
	w.do("SET", "k", "1") // the tables of the slots
	w.do("SET", "k2", "1")
	w.do("DEL", "k", "k2")

	f.Fuzz(func(t *testing.T, body []byte) {
		w.t = t
		used, before := w.heap.Used(), allocated()
		restored := w.do("RESTORE", "k", "0", string(rdb.AppendDumpFooter(append([]byte(nil), body...), 0)))
		room := int64(64<<10 + 600*len(body))
		if got := int64(allocated()-before) - 1<<20; got > room {
			t.Fatalf("%d bytes of payload: %d bytes of Go memory", len(body), got)
		}
		if got := w.heap.Used() - used; got > room || restored != "+OK" && got != 0 {
			t.Fatalf("%s: %d bytes of payload: %d bytes of memory", restored, len(body), got)
		}
		if restored != "+OK" {
			if restored != "-"+errDumpFormat {
				t.Fatalf("RESTORE: %s", restored)
			}
			return
		}
		w.check()
		if again := w.do("RESTORE", "k2", "0", dumpOf(w, "k")); again != "+OK" {
			t.Fatalf("its DUMP: %s", again)
		}
		w.check()
		kind := w.do("TYPE", "k")
		for _, line := range strings.Split(usersOf[kind[1:]], "|") {
			r := w.run(words(line)...)
			if len(r) == 0 {
				t.Fatalf("%s: no reply", line)
			}
			if !strings.HasPrefix(line, "XINFO STREAM") || len(r) < 1<<16 {
				decode(t, r)
			}
			w.check()
			if w.do("EXISTS", "k") == ":0" {
				break
			}
		}
		w.do("COPY", "k", "k2", "REPLACE")
		w.check()
		if d := dumpOf(w, "k"); d != "" {
			if again := w.do("RESTORE", "k2", "0", d, "REPLACE"); again != "+OK" {
				t.Fatalf("DUMP after use: %s", again)
			}
		}
		w.do("DEL", "k", "k2")
		for w.st.LazyfreePending() > 0 { // another goroutine is about to end it
		}
		if got := w.heap.Used(); got != used {
			t.Fatalf("%s of %d bytes: %d bytes are left", kind, len(body), got-used)
		}
	})
}

// bodyOf runs a command that makes k, and returns its DUMP without footer.
func bodyOf(w *world, line string) string {
	if r := string(w.run(words(line)...)); strings.HasPrefix(r, "-") {
		panic(fmt.Sprintf("%s: %s", line, r))
	}
	d := dumpOf(w, "k")
	w.do("DEL", "k")
	return d[:len(d)-10]
}

// dumpOf is the payload of a key, "" if there is none.
func dumpOf(w *world, key string) string {
	return string(decode(w.t, w.run(words("DUMP "+key)...)).Str)
}

func words(line string) (argv [][]byte) {
	for _, a := range strings.Split(line, " ") {
		argv = append(argv, []byte(a))
	}
	return argv
}
