package datatypes

import (
	"bytes"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// Random BITFIELD operations give what arithmetic on numbers of any size gives.
func TestBitfieldModel(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	const size = 256 // bits
	model := new(big.Int)
	w.do("SETRANGE", "b", strconv.Itoa(size/8-1), "\x00")
	for range 5000 {
		width := 1 + rnd.IntN(64)
		signed := rnd.IntN(2) == 0 || width == 64
		off := rnd.IntN(size - width + 1)
		mod := new(big.Int).Lsh(big.NewInt(1), uint(width))
		lo, hi := new(big.Int), new(big.Int).Sub(mod, big.NewInt(1))
		typ := "u"
		if signed {
			typ = "i"
			hi.Rsh(hi, 1)
			lo.Not(hi)
		}
		// The model is the bitmap as one big-endian number.
		shift := uint(size - off - width)
		old := new(big.Int).Rsh(model, shift)
		old.Mod(old, mod)
		value := func(bits *big.Int) *big.Int {
			if bits.Cmp(hi) > 0 {
				return new(big.Int).Sub(bits, mod)
			}
			return bits
		}
		arg := int64(rnd.Uint64()) >> rnd.IntN(64)
		over := []string{"WRAP", "SAT", "FAIL"}[rnd.IntN(3)]
		op := []string{"SET", "INCRBY"}[rnd.IntN(2)]
		next := big.NewInt(arg)
		if op == "INCRBY" {
			next.Add(next, value(old))
		} else if !signed && arg < 0 {
			next.SetUint64(uint64(arg))
		}
		want := ":" + value(old).String()
		store := true
		if next.Cmp(lo) < 0 || next.Cmp(hi) > 0 {
			switch over {
			case "FAIL":
				want, store = "$-1", false
			case "SAT":
				if next.Cmp(hi) > 0 {
					next.Set(hi)
				} else {
					next.Set(lo)
				}
			}
		}
		if store {
			bits := new(big.Int).Mod(next, mod)
			if op == "INCRBY" {
				want = ":" + value(bits).String()
			}
			model.Sub(model, new(big.Int).Lsh(old, shift))
			model.Add(model, new(big.Int).Lsh(bits, shift))
		}
		typ += strconv.Itoa(width)
		args := []string{"BITFIELD", "b", "OVERFLOW", over, op, typ, strconv.Itoa(off), strconv.FormatInt(arg, 10)}
		if got := w.do(args...); got != "["+want+"]" {
			t.Fatalf("%v on %v = %s, want [%s]", args, value(old), got, want)
		}
		if got := decode(t, w.run([]byte("GET"), []byte("b"))).Str; new(big.Int).SetBytes(got).Cmp(model) != 0 {
			t.Fatalf("after %v: %x, want %x", args, got, model)
		}
	}
}

// BITCOUNT and BITPOS agree with looking at one bit after the other, for any
// range in bits and bytes.
func TestBitRangesModel(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		b := make([]byte, rnd.IntN(80))
		fill := []byte{0, 0xff}[rnd.IntN(2)]
		for i := range b {
			if b[i] = fill; rnd.IntN(20) == 0 {
				b[i] = byte(rnd.Uint32())
			}
		}
		w.do("DEL", "b")
		w.do("SETRANGE", "b", "0", string(b)) // an empty one makes no key
		unit, n := "BYTE", len(b)
		if rnd.IntN(2) == 0 {
			unit, n = "BIT", len(b)*8
		}
		start, end := rnd.IntN(2*n+3)-n-1, rnd.IntN(2*n+3)-n-1
		from, to := start, end
		if from < 0 {
			from = max(from+n, 0)
		}
		if to < 0 {
			to = max(to+n, 0)
		}
		to = min(to, n-1)
		if unit == "BYTE" {
			from, to = from*8, to*8+7
		}
		ones, pos := 0, [2]int{-1, -1}
		for i := from; i <= to && i < len(b)*8; i++ {
			bit := int(b[i/8] >> (7 - i%8) & 1)
			ones += bit
			if pos[bit] < 0 {
				pos[bit] = i
			}
		}
		if len(b) == 0 {
			pos[0] = 0 // no key: zeros without end
		} else if start < 0 && end < 0 && start > end {
			ones = 0 // BITCOUNT says so, whatever they resolve to
		}
		s, e := strconv.Itoa(start), strconv.Itoa(end)
		if got, want := w.do("BITCOUNT", "b", s, e, unit), fmt.Sprint(":", ones); got != want {
			t.Fatalf("BITCOUNT %x %s %s %s = %s, want %s", b, s, e, unit, got, want)
		}
		for bit, p := range pos {
			if got, want := w.do("BITPOS", "b", strconv.Itoa(bit), s, e, unit), fmt.Sprint(":", p); got != want {
				t.Fatalf("BITPOS %x %d %s %s %s = %s, want %s", b, bit, s, e, unit, got, want)
			}
		}
	}
}

// SCAN meets every key that is there all along, each pass, while others come and
// go; KEYS, DBSIZE and RANDOMKEY agree on what there is.
func TestScanModel(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	const stay = 1500
	for i := range stay {
		tag := ""
		if i%3 == 0 {
			tag = "{one}" // a slot that holds many
		}
		w.do("SET", fmt.Sprint("stay", tag, i), "v")
	}
	for _, match := range []string{"stay*", "*", "stay{one}*", "s[t]ay*"} {
		seen := map[string]bool{}
		cursor := "0"
		for calls := 0; ; calls++ {
			r := decode(t, w.run([]byte("SCAN"), []byte(cursor), []byte("MATCH"), []byte(match), []byte("COUNT"), []byte("50")))
			for _, k := range r.Elems[1].Elems {
				seen[string(k.Str)] = true
			}
			cursor = string(r.Elems[0].Str)
			if cursor == "0" {
				break
			}
			if calls > 10000 {
				t.Fatalf("SCAN MATCH %s does not end", match)
			}
			for range 20 {
				w.do("SET", fmt.Sprint("come", rnd.IntN(5000)), "v")
				w.do("DEL", fmt.Sprint("come{one}", rnd.IntN(5000)), fmt.Sprint("come", rnd.IntN(5000)))
				w.do("SET", fmt.Sprint("come{one}", rnd.IntN(5000)), "v")
			}
		}
		for i := range stay {
			key := fmt.Sprint("stay", i)
			if i%3 == 0 {
				key = fmt.Sprint("stay{one}", i)
			}
			if match != "stay{one}*" && !seen[key] || match == "stay{one}*" && seen[key] != (i%3 == 0) {
				t.Fatalf("SCAN MATCH %s: %s seen: %v", match, key, seen[key])
			}
		}
	}
	all := len(decode(t, w.run([]byte("KEYS"), []byte("*"))).Elems)
	if got, want := w.do("DBSIZE"), fmt.Sprint(":", all); got != want {
		t.Errorf("DBSIZE = %s, KEYS * has %s", got, want)
	}
}

// RANDOMKEY gives every key a similar chance, be its slot full or not.
func TestRandomkeySpread(t *testing.T) {
	w := newWorld(t)
	const keys, draws = 40, 4000
	for i := range keys {
		if i < keys/2 {
			w.do("SET", fmt.Sprint("{same}", i), "v")
		} else {
			w.do("SET", fmt.Sprint("k", i), "v")
		}
	}
	got := map[string]int{}
	for range draws {
		got[w.do("RANDOMKEY")]++
	}
	for k, n := range got {
		if n < draws/keys/4 || n > draws/keys*4 {
			t.Errorf("%s drawn %d times of %d, want about %d", k, n, draws, draws/keys)
		}
	}
	if len(got) != keys {
		t.Errorf("%d keys drawn, want %d", len(got), keys)
	}
}

// RANDOMKEY finds the one key that has not expired among many that have.
func TestRandomkeyExpired(t *testing.T) {
	w := newWorld(t)
	for i := range 500 {
		w.do("SET", fmt.Sprint("k", i), "v", "PX", "10")
	}
	w.c.Now += 10
	if got := w.do("RANDOMKEY"); got != "$-1" {
		t.Errorf("RANDOMKEY with expired keys only = %s", got)
	}
	w.do("SET", "live", "v")
	if got := w.do("RANDOMKEY"); got != `"live"` {
		t.Errorf("RANDOMKEY = %s, want the live key", got)
	}
}

// collections are commands that make a key of n elements in every encoding.
var collections = []struct {
	name string
	big  bool
	enc  store.Encoding
	make func(key string, n int) []string
}{
	{"small list", false, store.Listpack, listOf}, {"big list", true, store.Quicklist, listOf},
	{"set of integers", false, store.Intset, func(key string, n int) []string {
		args := []string{"SADD", key}
		for i := range n {
			args = append(args, strconv.Itoa(i*7919))
		}
		return args
	}},
	{"small set", false, store.Listpack, setOf}, {"big set", true, store.Hashtable, setOf},
	{"small sorted set", false, store.Listpack, zsetOf}, {"big sorted set", true, store.Skiplist, zsetOf},
	{"small hash", false, store.Listpack, hashOf}, {"big hash", true, store.Hashtable, hashOf},
}

func listOf(key string, n int) []string {
	args := []string{"RPUSH", key}
	for i := range n {
		args = append(args, strings.Repeat("x", i%100)+strconv.Itoa(n-i))
	}
	return args
}

func setOf(key string, n int) []string {
	args := []string{"SADD", key}
	for i := range n {
		args = append(args, fmt.Sprint("member", i))
	}
	return args
}

func zsetOf(key string, n int) []string {
	args := []string{"ZADD", key}
	for i := range n {
		args = append(args, strconv.FormatFloat(float64(i*31%n)/4, 'g', -1, 64), fmt.Sprint("member", i))
	}
	return args
}

func hashOf(key string, n int) []string {
	args := []string{"HSET", key}
	for i := range n {
		args = append(args, fmt.Sprint("field", i), fmt.Sprint("value", i*i))
	}
	return args
}

// content describes a value: its elements with scores or fields, in order.
func (w *world) content(key string) string {
	var o store.Obj
	if !w.c.FindKey([]byte(key), &o) {
		return "none"
	}
	var lines []string
	a, v := o.Arena(), o.Bytes()
	switch {
	case o.Type() == store.Hash_ && o.Encoding() == store.Hashtable:
		t := ds.OpenTable(a, v)
		if err := t.Check(); err != nil {
			w.t.Fatal(err)
		}
		t.Each(func(f, v []byte) bool {
			lines = append(lines, fmt.Sprintf("%s=%s", f, v))
			return true
		})
	case o.Encoding() == store.Skiplist:
		z := ds.OpenZSet(a, v)
		if err := z.Check(); err != nil {
			w.t.Fatal(err)
		}
		z.Each(func(m []byte, s float64) bool {
			lines = append(lines, fmt.Sprintf("%s=%v", m, s))
			return true
		})
	case o.Encoding() == store.Listpack:
		for it := ds.LP(v).Iter(); it.Next(); {
			e := it.Elem()
			lines = append(lines, string(e.Append(nil)))
		}
	default:
		eachElement(&o, false, func(e []byte) { lines = append(lines, string(e)) })
	}
	if o.Type() != store.List && o.Encoding() == store.Hashtable {
		slices.Sort(lines)
	}
	return fmt.Sprintf("%v %v expire %d: %q", o.Type(), o.Encoding(), o.ExpireAt(), lines)
}

// COPY, RENAME and MOVE keep value, encoding and expiry, whatever the encoding;
// a copy has memory of its own; deleting everything gives all memory back.
func TestMoveAndCopyKeepTheValue(t *testing.T) {
	for _, tt := range collections {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			used := w.heap.Used()
			n := 100
			if tt.big {
				n = 1500
			}
			w.do(tt.make("src", n)...)
			w.do("EXPIRE", "src", "1000")
			want := w.content("src")
			if enc := w.do("OBJECT", "ENCODING", "src"); enc != strconv.Quote(tt.enc.String()) {
				t.Fatalf("encoding %s, want %v", enc, tt.enc)
			}
			check := func(key, cmd string) {
				t.Helper()
				if got := w.content(key); got != want {
					t.Fatalf("after %s:\n%s\nwant\n%s", cmd, got, want)
				}
			}
			w.do("COPY", "src", "copy")
			check("copy", "COPY")
			check("src", "COPY")
			w.do("DEL", "src")
			check("copy", "DEL of the original")
			w.do("RENAME", "copy", "src")
			check("src", "RENAME")
			w.do("SET", "target", "x", "EX", "5")
			w.do("RENAME", "src", "target")
			check("target", "RENAME over a key")
			w.do("MOVE", "target", "3")
			if got := w.do("EXISTS", "target"); got != ":0" {
				t.Fatalf("after MOVE, EXISTS = %s", got)
			}
			w.c.DB = w.st.DB(3)
			check("target", "MOVE")
			w.do("COPY", "target", "target", "DB", "0")
			w.do("UNLINK", "target")
			w.c.DB = w.st.DB(0)
			check("target", "COPY between databases")
			w.do("SET", "target", "replaced")
			w.do("DEL", "target")
			w.st.Close() // waits for what is freed in the background
			w.st = store.New(w.heap, 1)
			if now := w.heap.Used(); now != used {
				t.Errorf("%d bytes in use after everything was deleted, %d before", now, used)
			}
		})
	}
}

// SORT orders big collections as sorting their elements does, and STORE keeps
// all of them.
func TestSortBig(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(7, 8))
	args := []string{"RPUSH", "l"}
	var nums []int
	for range 5000 {
		n := rnd.IntN(1 << 30)
		nums = append(nums, n)
		args = append(args, strconv.Itoa(n))
	}
	w.do(args...)
	slices.Sort(nums)
	if got := w.do("SORT", "l", "STORE", "l"); got != ":5000" {
		t.Fatalf("SORT STORE = %s", got)
	}
	if got := w.do("OBJECT", "ENCODING", "l"); got != `"quicklist"` {
		t.Errorf("encoding %s", got)
	}
	for i, e := range decode(t, w.run([]byte("SORT"), []byte("l"), []byte("BY"), []byte("nosort"))).Elems {
		if string(e.Str) != strconv.Itoa(nums[i]) {
			t.Fatalf("element %d is %s, want %d", i, e.Str, nums[i])
		}
	}
	for _, back := range []bool{false, true} {
		args := [][]byte{[]byte("SORT"), []byte("z"), []byte("BY"), []byte("nosort")}
		if back {
			args = append(args, []byte("DESC"))
		}
		w.do("DEL", "z")
		w.do(zsetOf("z", 3000)...)
		var o store.Obj
		w.c.FindKey([]byte("z"), &o)
		var want [][]byte
		ds.OpenZSet(o.Arena(), o.Bytes()).Each(func(m []byte, _ float64) bool {
			want = append(want, bytes.Clone(m))
			return true
		})
		if back {
			slices.Reverse(want)
		}
		for i, e := range decode(t, w.run(args...)).Elems {
			if !bytes.Equal(e.Str, want[i]) {
				t.Fatalf("backward %v: element %d is %s, want %s", back, i, e.Str, want[i])
			}
		}
	}
}

// LCS returns a common subsequence of the greatest length, and its matches are
// equal stretches of both strings that add up to it.
func TestLCSModel(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(9, 10))
	random := func() []byte {
		b := make([]byte, rnd.IntN(12))
		for i := range b {
			b[i] = 'a' + byte(rnd.IntN(3))
		}
		return b
	}
	within := func(sub, s []byte) bool {
		for _, c := range s {
			if len(sub) > 0 && sub[0] == c {
				sub = sub[1:]
			}
		}
		return len(sub) == 0
	}
	for range 500 {
		a, b := random(), random()
		best := 0
		for set := range 1 << len(a) {
			var sub []byte
			for i := range a {
				if set>>i&1 == 1 {
					sub = append(sub, a[i])
				}
			}
			if len(sub) > best && within(sub, b) {
				best = len(sub)
			}
		}
		w.do("MSET", "a", string(a), "b", string(b))
		got := bytes.Clone(decode(t, w.run([]byte("LCS"), []byte("a"), []byte("b"))).Str)
		if len(got) != best || !within(got, a) || !within(got, b) {
			t.Fatalf("LCS %s %s = %s, want a common subsequence of %d", a, b, got, best)
		}
		r := decode(t, w.run([]byte("LCS"), []byte("a"), []byte("b"), []byte("IDX")))
		var joined []byte
		for _, m := range slices.Backward(r.Elems[1].Elems) {
			x, y := m.Elems[0].Elems, m.Elems[1].Elems
			part := a[x[0].Int : x[1].Int+1]
			if !bytes.Equal(part, b[y[0].Int:y[1].Int+1]) {
				t.Fatalf("LCS %s %s IDX: %v is no match", a, b, show(m, false))
			}
			joined = append(joined, part...)
		}
		if !bytes.Equal(joined, got) || r.Elems[3].Int != int64(best) {
			t.Fatalf("LCS %s %s IDX gives %s, want %s", a, b, joined, got)
		}
	}
}

// The everyday commands allocate nothing on a key that exists.
func TestNoAllocations(t *testing.T) {
	w := newWorld(t)
	for _, cmd := range []string{"GET k", "SET k value2", "SET k 1234567890", "SET n 5 EX 100", "SET n 5 XX", "INCR n", "DECRBY n 3",
		"STRLEN k", "GETRANGE k 0 2", "EXISTS k", "TTL n", "EXPIRE n 100", "PERSIST n", "TYPE k", "MGET k n k", "MSET k v n 5",
		"SETBIT b 7 1", "GETBIT b 7", "BITCOUNT b", "SETRANGE r 0 abc", "GETSET k v", "SETEX n 100 5", "DEL nokey"} {
		var argv [][]byte
		for _, f := range strings.Fields(cmd) {
			argv = append(argv, []byte(f))
		}
		w.do("MSET", "k", "value1", "n", "5", "b", "\x00", "r", "abcdef")
		w.run(argv...)
		if n := testing.AllocsPerRun(100, func() { w.run(argv...) }); n != 0 && !raceEnabled {
			t.Errorf("%s allocates %v times", cmd, n)
		}
	}
}

// A stream made here is, byte for byte in its DUMP, what redis-server 7.0 makes
// of the same commands: where nodes end, how entries are packed, what deletions
// and trimming leave behind.
func TestStreamBytesAgainstRedis(t *testing.T) {
	conn := referenceServer(t, "--rdbcompression", "no", "--stream-node-max-bytes", "300", "--stream-node-max-entries", "9")
	replies := resp.NewReader(conn)
	w := newWorld(t)
	w.limits.StreamBytes, w.limits.StreamEntries = 300, 9
	w.c.Env.SetLimits(&w.limits)
	rnd := rand.New(rand.NewPCG(21, 22))
	both := func(args ...string) string {
		t.Helper()
		argv := make([][]byte, len(args))
		for i, a := range args {
			argv[i] = []byte(a)
		}
		if _, err := conn.Write(resp.AppendCommand(nil, argv...)); err != nil {
			t.Fatal(err)
		}
		r, err := replies.Next()
		if err != nil {
			t.Fatal(err)
		}
		want, got := show(r, false), show(decode(t, w.run(argv...)), false)
		if args[0] == "DUMP" && !r.Null {
			p, _ := rdb.CheckDump([]byte(r.Str))
			q, _ := rdb.CheckDump(decode(t, w.c.Buf).Str)
			if unpacked(t, p) != unpacked(t, q) {
				t.Fatalf("%q\n got %x\nwant %x", args, q, p)
			}
			return want
		}
		if got != want {
			t.Fatalf("%q\n got %s\nwant %s", args, got, want)
		}
		return want
	}
	ms := 1000
	for step := range 3000 {
		id := fmt.Sprintf("%d-%d", 1000+rnd.IntN(ms-999), rnd.IntN(3))
		switch op := rnd.IntN(12); {
		case op < 6:
			ms += rnd.IntN(200)
			args := []string{"XADD", "s", fmt.Sprintf("%d-%d", ms, step), "f", strings.Repeat("v", rnd.IntN(70)), "g", strconv.Itoa(rnd.IntN(1 << 17))}
			switch rnd.IntN(8) {
			case 0:
				args = append(args, "h", strconv.FormatInt(rnd.Int64(), 10))
			case 1:
				args[3] = "F"
			case 2:
				args = slices.Insert(args, 2, "MAXLEN", "~", strconv.Itoa(rnd.IntN(200)))
			}
			both(args...)
		case op < 9:
			got := both("XRANGE", "s", id, "+", "COUNT", "1")
			if i := strings.Index(got, "\""); i >= 0 {
				id = got[i+1 : i+1+strings.Index(got[i+1:], "\"")]
			}
			both("XDEL", "s", id)
		case op == 9 && rnd.IntN(10) == 0:
			both("XTRIM", "s", "MAXLEN", strconv.Itoa(20+rnd.IntN(200)))
		case op == 10 && rnd.IntN(20) == 0:
			both("XTRIM", "s", "MINID", fmt.Sprintf("%d", 1000+(ms-1000)*3/4))
		case op == 11:
			both("XREVRANGE", "s", "+", id, "COUNT", "20")
			both("XTRIM", "s", "MAXLEN", "~", strconv.Itoa(100+rnd.IntN(200)), "LIMIT", strconv.Itoa(rnd.IntN(30)))
		}
		if step%20 == 0 {
			both("DUMP", "s")
		}
	}
	both("XRANGE", "s", "-", "+")
	both("XINFO", "GROUPS", "s")
}

// unpacked renders a stream's payload with its strings expanded.
func unpacked(t *testing.T, body []byte) string {
	t.Helper()
	v, err := rdb.OpenDump(new(rdb.Reader), rdb.AppendDumpFooter(body[:len(body):len(body)], 0))
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.Stream()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", *s)
}
