package datatypes

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// listGrammar and zsetGrammar describe commands: words in capitals stand for
// themselves, the others for one of the choices that choose makes up; "a|b" is
// one of several, "[a]" may be missing.
var (
	listGrammar = strings.Split(`RPUSH k e|RPUSH k e e e|LPUSH k e|LPUSH k e e|LPUSHX k e|RPUSHX k e e|LPOP k|RPOP k|LPOP k c|RPOP k c|
LLEN k|LRANGE k i i|LRANGE k 0 -1|LINDEX k i|LSET k i e|LINSERT k BEFORE e e|LINSERT k AFTER e e|LREM k n e|LTRIM k i i|LTRIM k -6 -1|
LPOS k e RANK r COUNT c|LPOS k e COUNT c MAXLEN c|LPOS k e RANK r|LPOS k e|RPOPLPUSH k k|LMOVE k k LEFT RIGHT|LMOVE k k RIGHT RIGHT|
LMOVE k k LEFT LEFT|LMPOP 2 k k LEFT COUNT p|LMPOP 1 k RIGHT|BLPOP k k k k 0|BRPOP k k k k 0|BLMOVE k k LEFT RIGHT 0|
BLMPOP 0 2 k k RIGHT COUNT p|SORT k ALPHA LIMIT 0 5|DEL k|COPY k k REPLACE|EXISTS k k`, "|")

	zsetGrammar = strings.Split(`ZADD z s m|ZADD z s m s m s m|ZADD z s m|ZADD z NX s m|ZADD z XX CH s m|ZADD z GT CH s m s m|ZADD z LT s m|
ZADD z INCR s m|ZADD z GT INCR s m|ZADD z NX INCR s m|ZINCRBY z s m|ZREM z m|ZREM z m m|ZSCORE z m|ZMSCORE z m m|ZCARD z|ZRANK z m|ZREVRANK z m|
ZRANGE z i i|ZRANGE z 0 -1 WITHSCORES|ZRANGE z i i REV WITHSCORES|ZRANGE z a a BYSCORE|ZRANGE z a a BYSCORE REV LIMIT i i|ZREVRANGE z i i|
ZRANGEBYSCORE z a a LIMIT c i|ZREVRANGEBYSCORE z a a WITHSCORES|ZCOUNT z a a|ZREMRANGEBYRANK z i i|ZREMRANGEBYSCORE z a a|
ZPOPMIN z|ZPOPMAX z c|ZMPOP 2 z z MIN COUNT p|BZPOPMIN z z 0|BZPOPMAX z z z z 0|BZMPOP 0 1 z MAX COUNT p|
ZRANGESTORE z z i i|ZRANGESTORE z z a a BYSCORE LIMIT 0 c|ZUNIONSTORE z 2 z z|ZUNIONSTORE z 2 z z AGGREGATE MAX WEIGHTS 1 2|
ZINTERSTORE z 2 z z|ZDIFFSTORE z 2 z z|ZUNION 3 z z t WITHSCORES|ZINTER 2 z z WITHSCORES|ZINTER 2 t z|ZDIFF 2 z z WITHSCORES|ZINTERCARD 2 z z LIMIT c|
SADD t m|SREM t m|DEL z|COPY z z REPLACE|ZADD x 0 m 0 m|ZREM x m m|ZRANGEBYLEX x l l|ZRANGEBYLEX x l l LIMIT c i|ZREVRANGEBYLEX x l l|ZLEXCOUNT x l l|
ZRANGE x l l BYLEX REV|ZREMRANGEBYLEX x l l|ZRANGE x 0 -1`, "|")

	hashGrammar = strings.Split(`HSET h m m|HSET h m m m m m m|HSET h m s m s|HMSET h m s|HSETNX h m s|HGET h m|HMGET h m m m|HDEL h m|HDEL h m m m m m|
HLEN h|HEXISTS h m|HSTRLEN h m|HGETALL h|HKEYS h|HVALS h|HINCRBY h m i|HINCRBY h m i|HINCRBY h m 9223372036854775807|HINCRBYFLOAT h m s|
HINCRBYFLOAT h m f|HINCRBYFLOAT h m f|HSCAN h 0 COUNT 1000|HSCAN h 0 MATCH 1* COUNT 1000|HRANDFIELD h 1000|HRANDFIELD h 1000 WITHVALUES|HRANDFIELD h 0|
COPY h h REPLACE|DEL h|EXISTS h h|TYPE h`, "|")

	setGrammar = strings.Split(`SADD y m|SADD y m m m|SADD y i i i i|SREM y m|SREM y m m m m|SMOVE y y m|SMOVE y y m|SISMEMBER y m|SMISMEMBER y m i m|SCARD y|
SMEMBERS y|SINTER y y|SINTER y y y|SUNION y y y|SDIFF y y|SDIFF y y y|SINTERSTORE y y y|SUNIONSTORE y y y|SDIFFSTORE y y y|SINTERCARD 2 y y LIMIT c|
SINTERCARD 3 y y y|SRANDMEMBER y 1000|SRANDMEMBER y 0|SPOP y 1000|SPOP y 0|SSCAN y 0 COUNT 1000|SSCAN y 0 MATCH 1* COUNT 1000|COPY y y REPLACE|DEL y`, "|")

	hllGrammar = strings.Split(`PFADD v w w w w w w w w|PFADD v w|PFADD v|PFCOUNT v|PFCOUNT v v|PFCOUNT v v v|PFMERGE v v|PFMERGE v v v|GET v|STRLEN v|
PFDEBUG ENCODING v|PFDEBUG TODENSE u|PFADD u w w w w|PFCOUNT u v|PFMERGE u v|PFMERGE u u v|GET u|DEL u`, "|")
)

// unordered are the commands whose replies may come in any order.
var unordered = map[string]bool{"HGETALL": true, "HKEYS": true, "HVALS": true, "HSCAN": true, "HRANDFIELD": true, "SMEMBERS": true,
	"SINTER": true, "SUNION": true, "SDIFF": true, "SRANDMEMBER": true, "SPOP": true, "SSCAN": true}

// choose makes up what a word of a grammar stands for.
func choose(rnd *rand.Rand, word string) string {
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	member := func() string {
		if rnd.IntN(8) == 0 {
			return pick("", "a", "abc", "007", "-1", strings.Repeat("long", 20), "9223372036854775807", "1.5")
		}
		return strconv.Itoa(rnd.IntN(12))
	}
	switch word {
	case "k", "z", "x", "t", "h", "y", "v", "u":
		return fmt.Sprintf("{%s}%d", word, rnd.IntN(3))
	case "e", "m":
		return member()
	case "c":
		return strconv.Itoa(rnd.IntN(4))
	case "p":
		return strconv.Itoa(1 + rnd.IntN(4))
	case "i":
		return strconv.Itoa(rnd.IntN(13) - 6)
	case "n":
		return strconv.Itoa(rnd.IntN(7) - 3)
	case "r":
		return pick("1", "2", "-1", "-2")
	case "s":
		return pick("0", "1", "1", "2", "-3", "0.5", "-1.25", "1e6", "inf", "-inf", strconv.Itoa(rnd.IntN(10)))
	case "a":
		return pick("", "(") + pick("-inf", "+inf", "0", "1", "2", "5", "0.5", "-3")
	case "f":
		return pick("0.1", "0.2", "-0.3", "3.0e3", "-1e-5", "1.000000000000000005", "inf", "x", strconv.FormatFloat(rnd.NormFloat64()*100, 'g', 2+rnd.IntN(12), 64))
	case "w":
		return strconv.Itoa(rnd.IntN(20000))
	case "l":
		return pick("-", "+", "["+member(), "("+member(), "["+member())
	}
	return word
}

// TestRandomCollectionsAgainstRedis sends the same random commands to this code
// and to redis-server, both with small limits, so that encodings change all the
// time, and compares the replies and, where 7.0 has the same, the encodings. The
// structures are checked as they go.
func TestRandomCollectionsAgainstRedis(t *testing.T) {
	conn := referenceServer(t, "--list-max-listpack-size", "4", "--zset-max-listpack-entries", "4", "--zset-max-listpack-value", "16",
		"--hash-max-listpack-entries", "4", "--hash-max-listpack-value", "16", "--set-max-intset-entries", "6")
	ask := resp.NewReader(conn)
	for _, tt := range []struct {
		name    string
		grammar []string
		proto   int
	}{{"lists", listGrammar, 2}, {"lists in RESP3", listGrammar, 3},
		{"sorted sets", zsetGrammar, 2}, {"sorted sets in RESP3", zsetGrammar, 3},
		{"hashes", hashGrammar, 2}, {"hashes in RESP3", hashGrammar, 3}, {"sets", setGrammar, 2}, {"sets in RESP3", setGrammar, 3},
		{"HyperLogLogs", hllGrammar, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			for _, cmd := range []string{"FLUSHALL", "HELLO " + strconv.Itoa(tt.proto)} {
				r, err := ask.Do(conn, strings.Fields(cmd)...)
				if err != nil || r.Err() != nil {
					t.Fatal(cmd, r, err)
				}
			}
			w.c.Proto = tt.proto
			w.limits.ListSize, w.limits.ZSetEntries, w.limits.ZSetValue = 4, 4, 16
			w.limits.HashEntries, w.limits.HashValue, w.limits.SetEntries, w.limits.SetIntset = 4, 16, 4, 6
			w.c.Env.SetLimits(&w.limits)
			rnd := rand.New(rand.NewPCG(7, uint64(len(tt.grammar)+tt.proto)))
			var history []string
			rounds := 4000
			if tt.name == "HyperLogLogs" {
				rounds = 1000 // replies of 12 KB
			}
			for n := range rounds {
				var argv [][]byte
				for _, word := range strings.Fields(tt.grammar[rnd.IntN(len(tt.grammar))]) {
					argv = append(argv, []byte(choose(rnd, word)))
				}
				history = append(history, fmt.Sprintf("%q", argv))
				send, replies := resp.AppendCommand(nil, argv...), 1
				if argv[0][0] == 'B' { // so that it does not wait
					send = append(append([]byte("MULTI\r\n"), send...), "EXEC\r\n"...)
					replies = 3
				}
				if _, err := conn.Write(send); err != nil {
					t.Fatal(err)
				}
				var r resp.Reply
				for range replies {
					var err error
					if r, err = ask.Next(); err != nil {
						t.Fatal(err)
					}
				}
				if replies > 1 {
					r = r.Elems[0]
				}
				anyOrder := unordered[string(argv[0])]
				want, got := show(r, anyOrder), show(decode(t, w.run(argv...)), anyOrder)
				if got != want {
					t.Fatalf("command %d: %q\n got %s\nwant %s\nafter\n%s", n, argv, got, want, strings.Join(history[max(0, len(history)-15):], "\n"))
				}
				if n%16 == 0 {
					w.check()
				}
			}
			for _, z := range []string{"{z}0", "{z}1", "{z}2", "{x}0", "{h}0", "{h}1", "{h}2", "{v}0"} {
				r, err := ask.Do(conn, "OBJECT", "ENCODING", z)
				if err != nil {
					t.Fatal(err)
				}
				if want, got := show(r, false), w.do("OBJECT", "ENCODING", z); got != want {
					t.Errorf("encoding of %s: %s, want %s", z, got, want)
				}
			}
		})
	}
}

// check verifies the values of all keys.
func (w *world) check() {
	w.t.Helper()
	w.st.DB(0).EachKey(func(o *store.Obj) bool {
		var err error
		switch o.Encoding() {
		case store.Quicklist:
			err = ds.OpenQuicklist(o.Arena(), o.Bytes()).Check()
		case store.Skiplist:
			err = zsetTree(o).Check()
		case store.Hashtable:
			err = ds.OpenTable(o.Arena(), o.Bytes()).Check()
		case store.HashtableTTL:
			err = ds.OpenTTLTable(o.Arena(), o.Bytes()).Check()
		case store.StreamTree:
			err = ds.OpenStream(o.Arena(), o.Bytes()).Check()
		case store.ListpackTTL:
			if err = ds.ValidateLP(o.Bytes()); err == nil && ds.LP(o.Bytes()).Count()%3 != 0 {
				err = fmt.Errorf("listpack of triplets with %d elements", ds.LP(o.Bytes()).Count())
			}
		case store.Intset:
			if err = ds.ValidateIntset(o.Bytes()); err == nil && setLen(o) > w.limits.SetIntset {
				err = fmt.Errorf("intset of %d members", setLen(o))
			}
		case store.Listpack:
			err = ds.ValidateLP(o.Bytes())
			n := ds.LP(o.Bytes()).Count()
			switch {
			case err != nil:
			case o.Type() == store.ZSet:
				if err = ds.ValidateLPZ(o.Bytes(), true); err == nil && n/2 > w.limits.ZSetEntries {
					err = fmt.Errorf("listpack of %d members", n/2)
				}
			case o.Type() == store.Set && n > w.limits.SetEntries, o.Type() == store.Hash_ && n/2 > w.limits.HashEntries:
				err = fmt.Errorf("listpack of %d elements", n)
			case o.Type() == store.List && !ds.ListNodeFits(w.limits.ListSize, len(o.Bytes()), n):
				err = fmt.Errorf("listpack of %d elements", n)
			}
		}
		if err != nil {
			w.t.Fatalf("key %q: %v", o.Key(), err)
		}
		return true
	})
}

// The everyday commands of lists and sorted sets allocate nothing on a key that
// exists, in any encoding.
func TestNoAllocationsInListsAndSortedSets(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	w := newWorld(t)
	w.do("RPUSH", "ll", "a", "b", "5")
	w.do("ZADD", "zl", "1", "a", "2.5", "b", "3", "c")
	big := []string{"RPUSH", "lq"}
	for i := range 3000 {
		big = append(big, fmt.Sprintf("element %d", i))
	}
	w.do(big...)
	big = []string{"ZADD", "zs"}
	for i := range 1000 {
		big = append(big, strconv.Itoa(i), fmt.Sprintf("m%d", i))
	}
	w.do(big...)
	for key, want := range map[string]string{"ll": "listpack", "lq": "quicklist", "zl": "listpack", "zs": "skiplist"} {
		if got := w.do("OBJECT", "ENCODING", key); got != strconv.Quote(want) {
			t.Fatalf("%s is %s", key, got)
		}
	}
	for _, cmds := range []string{"LPUSH ll x; LPOP ll", "RPUSH ll x; RPOP ll", "LPUSH lq x; LPOP lq", "RPUSH lq x; RPOP lq", "LRANGE ll 0 -1",
		"LRANGE lq 100 200", "LINDEX lq 700", "LLEN lq", "LSET ll 0 b", "LSET lq 9 elem", "RPOPLPUSH lq lq", "LMOVE ll ll LEFT RIGHT", "LPOS ll b",
		"ZADD zl 3 a; ZADD zl 1 a", "ZADD zs 3 m9; ZADD zs 9 m9", "ZADD zl GT CH 1.5 a", "ZINCRBY zs 0.5 m100", "ZINCRBY zl 1 a", "ZSCORE zl b", "ZSCORE zs m5",
		"ZRANK zl b", "ZRANK zs m500", "ZRANGE zs 10 20 WITHSCORES", "ZRANGE zl 0 -1 WITHSCORES", "ZRANGEBYSCORE zs 10 20", "ZRANGEBYSCORE zl (1 3",
		"ZCOUNT zs (10 300", "ZCARD zs", "ZMSCORE zs m1 m2 x", "ZREM zs x; ZREM zl x"} {
		var argvs [][][]byte
		for cmd := range strings.SplitSeq(cmds, ";") {
			var argv [][]byte
			for _, f := range strings.Fields(cmd) {
				argv = append(argv, []byte(f))
			}
			argvs = append(argvs, argv)
		}
		run := func() {
			for _, argv := range argvs {
				w.c.Effects = w.c.Effects[:0]
				w.run(argv...)
			}
		}
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s allocates %v times", cmds, n)
		}
	}
}

// ZSCAN meets every member that stays, while others come and go, and
// ZRANDMEMBER gives what it promises: different members for a positive count,
// each of them with about the same chance.
func TestLargeSortedSet(t *testing.T) {
	w := newWorld(t)
	add := []string{"ZADD", "z"}
	for i := range 2000 {
		add = append(add, strconv.Itoa(i%100), fmt.Sprintf("stay%d", i))
	}
	w.do(add...)
	ask := func(words ...string) resp.Reply {
		var argv [][]byte
		for _, s := range words {
			argv = append(argv, []byte(s))
		}
		return decode(t, w.run(argv...))
	}

	seen := map[string]string{}
	rnd := rand.New(rand.NewPCG(1, 2))
	calls := 0
	for cursor := "0"; ; calls++ {
		r := ask("ZSCAN", "z", cursor, "COUNT", "20", "MATCH", "stay*")
		if cursor = r.Elems[0].Text(); len(r.Elems[1].Elems) > 200 {
			t.Errorf("ZSCAN COUNT 20 gives %d members", len(r.Elems[1].Elems)/2)
		}
		for e := r.Elems[1].Elems; len(e) > 0; e = e[2:] {
			seen[e[0].Text()] = e[1].Text()
		}
		for range 50 { // enough to resize the table on the way
			if i := rnd.IntN(4000); calls < 60 {
				w.do("ZADD", "z", "7", fmt.Sprintf("other%d", i))
			} else {
				w.do("ZREM", "z", fmt.Sprintf("other%d", i))
			}
		}
		if cursor == "0" {
			break
		}
	}
	for i := range 2000 {
		if got, want := seen[fmt.Sprintf("stay%d", i)], strconv.Itoa(i%100); got != want {
			t.Errorf("ZSCAN: member stay%d has %q, want %q", i, got, want)
		}
	}
	w.check()

	w.do("ZREMRANGEBYSCORE", "z", "10", "inf") // 200 stay, and others of score 7
	w.do("ZREMRANGEBYSCORE", "z", "7", "7")
	n := 180
	if got := w.do("ZCARD", "z"); got != fmt.Sprintf(":%d", n) {
		t.Fatalf("ZCARD %s, want %d", got, n)
	}
	for _, count := range []int{1, 5, 100, 179, 180, 500} {
		r := ask("ZRANDMEMBER", "z", strconv.Itoa(count))
		different := map[string]bool{}
		for _, e := range r.Elems {
			different[e.Text()] = true
		}
		if want := min(count, n); len(r.Elems) != want || len(different) != want {
			t.Errorf("ZRANDMEMBER %d gives %d members, %d different", count, len(r.Elems), len(different))
		}
	}
	for _, count := range []string{"5", "120", "-40"} {
		drawn, total := map[string]int{}, 0
		for range 400 {
			for _, e := range ask("ZRANDMEMBER", "z", count).Elems {
				drawn[e.Text()]++
				total++
			}
		}
		// The chance that a fair draw leaves this band is below 1e-9.
		for m, k := range drawn {
			if mean := float64(total) / float64(n); float64(k) > 3*mean+25 {
				t.Errorf("ZRANDMEMBER %s: %s drawn %d times, the mean is %.0f", count, m, k, mean)
			}
		}
		if len(drawn) < n-3 {
			t.Errorf("ZRANDMEMBER %s: only %d of %d ever drawn of %d", count, len(drawn), n, total)
		}
	}
}
