package datatypes

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/resp"
)

// modelSet is a set with the encoding that Redis 7.2 would give it.
type modelSet struct {
	m   map[string]bool
	enc string
}

const (
	modelIntset, modelListpack, modelValue = 12, 8, 20
)

func isInt(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == s
}

// add follows the documented limits, member by member.
func (s *modelSet) add(m string) {
	if len(s.m) == 0 {
		s.enc = "listpack"
		if isInt(m) {
			s.enc = "intset"
		}
	}
	if s.m[m] {
		return
	}
	longest := len(m)
	for o := range s.m {
		longest = max(longest, len(o))
	}
	s.m[m] = true
	n := len(s.m)
	switch {
	case s.enc == "hashtable":
	case s.enc == "intset" && isInt(m):
		if n > modelIntset {
			s.enc = "hashtable"
		}
	case n > modelListpack || longest > modelValue:
		s.enc = "hashtable"
	default:
		s.enc = "listpack"
	}
}

// best is the encoding of a result that is stored.
func (s *modelSet) best() string {
	ints, longest := true, 0
	for m := range s.m {
		ints = ints && isInt(m)
		longest = max(longest, len(m))
	}
	switch {
	case ints && len(s.m) <= modelIntset:
		return "intset"
	case len(s.m) <= modelListpack && longest <= modelValue:
		return "listpack"
	}
	return "hashtable"
}

// Random commands on sets, alone and together, do what they do to Go maps, and
// the encodings are those of the limits.
func TestSetModel(t *testing.T) {
	w := newWorld(t)
	w.limits.SetIntset, w.limits.SetEntries, w.limits.SetValue = modelIntset, modelListpack, modelValue
	w.c.Env.SetLimits(&w.limits)
	rnd := rand.New(rand.NewPCG(3, 4))
	keys := []string{"a", "b", "c", "d"}
	sets := map[string]*modelSet{}
	word := func() string {
		switch rnd.IntN(8) {
		case 0, 1:
			return "w" + strconv.Itoa(rnd.IntN(12))
		case 2:
			if rnd.IntN(10) == 0 {
				return strings.Repeat("y", modelValue+rnd.IntN(2))
			}
		}
		return strconv.Itoa(rnd.IntN(20) - 5 + rnd.IntN(2)*rnd.IntN(2)*1e6)
	}
	for step := range 20000 {
		k := keys[rnd.IntN(len(keys))]
		if sets[k] == nil || rnd.IntN(60) == 0 {
			w.do("DEL", k)
			sets[k] = &modelSet{m: map[string]bool{}}
		}
		s := sets[k]
		var got, want string
		what := k
		switch rnd.IntN(8) {
		case 0, 1, 2:
			m := word()
			what = "SADD " + k + " " + m
			got, want = w.do("SADD", k, m), ":"+strconv.Itoa(int(boolInt(!s.m[m])))
			s.add(m)
		case 3:
			m := word()
			got, want = w.do("SREM", k, m), ":"+strconv.Itoa(int(boolInt(s.m[m])))
			delete(s.m, m)
		case 4:
			m := word()
			got, want = w.do("SISMEMBER", k, m), ":"+strconv.Itoa(int(boolInt(s.m[m])))
		case 5:
			other, m := keys[rnd.IntN(len(keys))], word()
			if sets[other] == nil {
				continue
			}
			got, want = w.do("SMOVE", k, other, m), ":"+strconv.Itoa(int(boolInt(s.m[m])))
			if s.m[m] && other != k {
				delete(s.m, m)
				sets[other].add(m)
			}
		default:
			dst, from := keys[rnd.IntN(len(keys))], []string{k}
			for range rnd.IntN(3) {
				from = append(from, keys[rnd.IntN(len(keys))])
			}
			op := []string{"SINTER", "SUNION", "SDIFF"}[rnd.IntN(3)]
			what = op + " " + strings.Join(from, " ")
			res := &modelSet{m: maps.Clone(s.m)}
			for _, f := range from[1:] {
				var o map[string]bool
				if sets[f] != nil {
					o = sets[f].m
				}
				switch op {
				case "SUNION":
					maps.Copy(res.m, o)
				case "SINTER":
					maps.DeleteFunc(res.m, func(m string, _ bool) bool { return !o[m] })
				default:
					maps.DeleteFunc(res.m, func(m string, _ bool) bool { return o[m] })
				}
			}
			if members := texts(w.ask(op, from)); !sameMembers(members, res.m) {
				t.Fatalf("step %d: %s = %q, want %v", step, what, members, res.m)
			}
			if op == "SINTER" {
				if n := w.ask("SINTERCARD", len(from), from).Int; n != int64(len(res.m)) {
					t.Fatalf("step %d: cardinality of %s = %d, want %d", step, what, n, len(res.m))
				}
			}
			if rnd.IntN(2) == 0 {
				continue
			}
			got, want = show(w.ask(op+"STORE", dst, from), false), ":"+strconv.Itoa(len(res.m))
			res.enc = res.best()
			sets[dst], s, k = res, res, dst
		}
		if got != want {
			t.Fatalf("step %d: %s: got %s, want %s", step, what, got, want)
		}
		if members := texts(w.ask("SMEMBERS", k)); !sameMembers(members, s.m) || w.ask("SCARD", k).Int != int64(len(s.m)) {
			t.Fatalf("step %d: after %s %s has %q, want %v", step, what, k, members, s.m)
		}
		if w.ask("EXISTS", k).Int != boolInt(len(s.m) > 0) {
			t.Fatalf("step %d: after %s: EXISTS %s with %d members", step, what, k, len(s.m))
		}
		if len(s.m) > 0 {
			if enc := w.ask("OBJECT", "ENCODING", k).Text(); enc != s.enc {
				t.Fatalf("step %d: after %s %s is a %s, want %s: %v", step, what, k, enc, s.enc, s.m)
			}
		}
	}
}

func sameMembers(got []string, want map[string]bool) bool {
	slices.Sort(got)
	return slices.Equal(got, slices.Sorted(maps.Keys(want)))
}

// Large operands and results, which leave Go memory, are right as well, whether
// they are stored or not; nothing leaks (newWorld's check).
func TestLargeSetOperations(t *testing.T) {
	w := newWorld(t)
	var twos, threes []string
	for i := range 3000 {
		if i%2 == 0 {
			twos = append(twos, fmt.Sprintf("m%d", i))
		}
		if i%3 == 0 {
			threes = append(threes, fmt.Sprintf("m%d", i))
		}
	}
	w.ask("SADD", "2", twos)
	w.ask("SADD", "3", threes)
	for cmd, want := range map[string]int64{"SINTERSTORE d 2 3": 500, "SUNIONSTORE d 2 3": 2000, "SDIFFSTORE d 2 3": 1000,
		"SUNIONSTORE 2 2 3": 2000, "SINTERSTORE 2 2 3": 500, "SINTERCARD 2 2 3 LIMIT 7": 7} {
		w.ask("DEL", "2")
		w.ask("SADD", "2", twos)
		if got := w.ask(strings.Fields(cmd)).Int; got != want {
			t.Errorf("%s = %d, want %d", cmd, got, want)
		}
	}
	w.ask("DEL", "2")
	w.ask("SADD", "2", twos)
	if n := len(texts(w.ask("SUNION", "2", "3"))); n != 2000 {
		t.Errorf("SUNION gives %d members, want 2000", n)
	}
	// SPOP of many reaches the log in pieces.
	w.c.Effects = w.c.Effects[:0]
	w.ask("SPOP", "2", 1400)
	var sizes []int
	for rd := resp.NewReader(bytes.NewReader(w.c.Effects)); ; {
		r, err := rd.Next()
		if err != nil {
			break
		}
		sizes = append(sizes, len(r.Elems))
	}
	if !slices.Equal(sizes, []int{2 + 1024, 2 + 376}) {
		t.Errorf("SPOP 1400 propagates commands of %v arguments", sizes)
	}
}

// The everyday commands of hashes and sets allocate nothing on a key that
// exists, in any encoding.
func TestNoAllocationsInHashesAndSets(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("l", 70)
	w.do("HSET", "hl", "f", "value1", "n", "5", "g", "x")
	w.do("HSET", "hh", "f", "value1", "n", "5", "g", long)
	w.do("SADD", "si", "1", "2", "3")
	w.do("SADD", "sl", "a", "b", "c")
	w.do("SADD", "sh", "a", "b", long)
	for _, cmd := range []string{"HSET hl f value2", "HSET hh f value2", "HGET hl f", "HGET hh f", "HGET hl n", "HMGET hh f n x", "HINCRBY hl n 1",
		"HINCRBY hh n 1", "HLEN hl", "HEXISTS hh f", "HDEL hl x", "HDEL hh x", "HSETNX hh f 1", "SADD si 2", "SADD sl a", "SADD sh a",
		"SISMEMBER si 2", "SISMEMBER sl b", "SISMEMBER sh b", "SCARD sh", "SREM si 9", "SREM sl x", "SREM sh x", "SMISMEMBER sh a x"} {
		argv := make([][]byte, 0, 5)
		for _, f := range strings.Fields(cmd) {
			argv = append(argv, []byte(f))
		}
		w.run(argv...)
		if n := testing.AllocsPerRun(100, func() { w.run(argv...) }); n != 0 && !raceEnabled {
			t.Errorf("%s allocates %v times", cmd, n)
		}
	}
}
