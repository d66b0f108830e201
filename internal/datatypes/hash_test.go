package datatypes

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/resp"
)

// ask runs a command given as values of any kind and returns its reply.
func (w *world) ask(args ...any) resp.Reply {
	var argv [][]byte
	for _, a := range args {
		if many, ok := a.([]string); ok {
			for _, s := range many {
				argv = append(argv, []byte(s))
			}
			continue
		}
		argv = append(argv, fmt.Append(nil, a))
	}
	return decode(w.t, w.run(argv...))
}

// texts returns the strings of an array.
func texts(r resp.Reply) []string {
	s := make([]string, len(r.Elems))
	for i, e := range r.Elems {
		s[i] = e.Text()
	}
	return s
}

// Random commands on hashes of any size do what they do to a Go map, and the
// encoding changes exactly at the limits.
func TestHashModel(t *testing.T) {
	w := newWorld(t)
	w.limits.HashEntries, w.limits.HashValue = 20, 30
	w.c.Env.SetLimits(&w.limits)
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		model, big := map[string]string{}, false
		fields := 1 + rnd.IntN(60)
		word := func(n int) string {
			if rnd.IntN(3) == 0 {
				return strconv.Itoa(rnd.IntN(n) - n/2)
			}
			return strings.Repeat("x", rnd.IntN(30)/(1+rnd.IntN(8))) + strconv.Itoa(rnd.IntN(n))
		}
		set := func(f, v string) {
			model[f] = v
			big = big || len(f) > 30 || len(v) > 30 || len(model) > 20
		}
		for step := range 300 {
			f := word(fields)
			old, had := model[f]
			var got, want string
			switch op := rnd.IntN(7); op {
			case 0, 1:
				v := word(1000)
				got, want = w.do("HSET", "h", f, v), ":1"
				if had {
					want = ":0"
				}
				set(f, v)
			case 2:
				got, want = w.do("HGET", "h", f), "$-1"
				if had {
					want = strconv.Quote(old)
				}
			case 3, 4:
				got, want = w.do("HDEL", "h", f), ":0"
				if had {
					want = ":1"
				}
				if delete(model, f); len(model) == 0 {
					big = false
				}
			case 5:
				got, want = w.do("HSTRLEN", "h", f), ":"+strconv.Itoa(len(old))
			case 6:
				n, err := strconv.Atoi(old)
				got = w.do("HINCRBY", "h", f, "7")
				switch {
				case !had || err == nil:
					set(f, strconv.Itoa(n+7))
					want = ":" + model[f]
				default:
					want = "-ERR hash value is not an integer"
				}
			}
			if got != want {
				t.Fatalf("round %d step %d field %q: got %s, want %s", round, step, f, got, want)
			}
			if n := w.ask("HLEN", "h").Int; n != int64(len(model)) {
				t.Fatalf("HLEN = %d, want %d", n, len(model))
			}
			if len(model) > 0 {
				enc := map[bool]string{false: "listpack", true: "hashtable"}[big]
				if got := w.ask("OBJECT", "ENCODING", "h").Text(); got != enc {
					t.Fatalf("round %d step %d: %s with %d fields, want %s", round, step, got, len(model), enc)
				}
			}
		}
		all := texts(w.ask("HGETALL", "h"))
		if len(all) != 2*len(model) {
			t.Fatalf("HGETALL has %d strings, want %d", len(all), 2*len(model))
		}
		for i := 0; i < len(all); i += 2 {
			if v, ok := model[all[i]]; !ok || v != all[i+1] {
				t.Fatalf("HGETALL has %q: %q, want %q", all[i], all[i+1], v)
			}
		}
		w.do("DEL", "h")
	}
}

// An iteration meets every element that stays, in each encoding, while others
// come and go between its calls; HSCAN and SSCAN alike.
func TestScanElementsMeetsAll(t *testing.T) {
	w := newWorld(t)
	for _, n := range []int{10, 100, 3000} {
		for i := range n {
			w.ask("HSET", "h", "stay"+strconv.Itoa(i), i)
			w.ask("SADD", "s", "stay"+strconv.Itoa(i))
		}
		for _, name := range []string{"HSCAN h", "SSCAN s"} {
			f := strings.Fields(name)
			seen := map[string]bool{}
			cursor := "0"
			for call := 0; ; call++ {
				r := w.ask(f[0], f[1], cursor, "MATCH", "stay*", "COUNT", 50)
				got := texts(r.Elems[1])
				for i := 0; i < len(got); i++ {
					seen[got[i]] = true
					if f[0] == "HSCAN" {
						if i++; "stay"+got[i] != got[i-1] {
							t.Fatalf("HSCAN gives %q: %q", got[i-1], got[i])
						}
					}
				}
				if cursor = r.Elems[0].Text(); cursor == "0" {
					break
				}
				if call > n {
					t.Fatalf("%s does not end", name)
				}
				for i := range 40 {
					w.ask("HSET", "h", fmt.Sprintf("go%d.%d", call, i), 1)
					w.ask("SADD", "s", fmt.Sprintf("go%d.%d", call, i))
					if call > 3 {
						w.ask("HDEL", "h", fmt.Sprintf("go%d.%d", call-4, i))
						w.ask("SREM", "s", fmt.Sprintf("go%d.%d", call-4, i))
					}
				}
			}
			if len(seen) != n {
				t.Errorf("%s met %d of %d elements", name, len(seen), n)
			}
		}
	}
}

// Samples without repetition have distinct members of the collection, as many as
// wanted, and every member has its chance; in each encoding, for small and for
// large samples.
func TestRandomSamples(t *testing.T) {
	w := newWorld(t)
	for _, enc := range []string{"intset", "listpack", "hashtable"} {
		const n = 60
		w.do("DEL", "s", "h")
		for i := range n {
			m := strconv.Itoa(i)
			if enc == "hashtable" {
				m += strings.Repeat("x", 65)
			} else if enc == "listpack" {
				m = "m" + m
			}
			w.ask("SADD", "s", m)
			w.ask("HSET", "h", m, "v"+m)
		}
		if got := w.ask("OBJECT", "ENCODING", "s").Text(); got != enc {
			t.Fatalf("encoding %s, want %s", got, enc)
		}
		for _, want := range []int{1, 5, 30, 59, 60, 100} {
			counts := map[string]int{}
			drawn := 0
			for drawn < 60*n {
				for _, cmd := range []string{"SRANDMEMBER s", "HRANDFIELD h"} {
					got := texts(w.ask(strings.Fields(cmd), want))
					one := map[string]bool{}
					for _, m := range got {
						if w.ask("SISMEMBER", "s", m).Int != 1 || one[m] {
							t.Fatalf("%s %d: %q is no member or there twice", cmd, want, m)
						}
						one[m] = true
						counts[m]++
					}
					if len(got) != min(want, n) {
						t.Fatalf("%s %d gives %d", cmd, want, len(got))
					}
					drawn += len(got)
				}
			}
			// A fair count is Poisson with mean 60 at most: 15 and 150 are 5 and
			// more deviations off.
			for m, k := range counts {
				if k < 15 || k > 150 {
					t.Errorf("%s, %d at a time: %q came %d times of %d", enc, want, m, k, drawn)
				}
			}
			if len(counts) != n {
				t.Errorf("%s, %d at a time: %d of %d members were drawn", enc, want, len(counts), n)
			}
		}
		if got := texts(w.ask("HRANDFIELD", "h", -500, "WITHVALUES")); len(got) != 1000 || got[1] != "v"+got[0] {
			t.Errorf("HRANDFIELD -500 WITHVALUES gives %d, first %q", len(got), got[:2])
		}
		// SPOP takes out what it returns, and tells replicas so.
		w.c.Effects = nil
		popped := texts(w.ask("SPOP", "s", 20))
		for _, m := range popped {
			if w.ask("SISMEMBER", "s", m).Int != 0 {
				t.Errorf("SPOP left %q", m)
			}
		}
		if w.ask("SCARD", "s").Int != n-20 || len(popped) != 20 {
			t.Errorf("SPOP 20 gave %d and left %v", len(popped), w.ask("SCARD", "s").Int)
		}
	}
}
