package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// exchangeData fills a server with every type in every encoding that a file may
// hold, by the same commands wherever it runs; times lie far ahead.
func exchangeData(n *proc.Node) {
	long := strings.Repeat("compressible ", 40)
	many := func(args []any, count int, elem func(i int) []any) []any {
		for i := range count {
			args = append(args, elem(i)...)
		}
		return args
	}
	one := func(i int) []any { return []any{fmt.Sprint("member", i)} }
	two := func(i int) []any { return []any{fmt.Sprint("field", i), i} }
	// Fractions whose shortest text is that of 17 digits: digests differ in how they
	// print scores, from Redis 7.2 on.
	scored := func(i int) []any { return []any{float64(i) / 4, fmt.Sprint("member", i)} }
	for _, c := range [][]any{
		{"SET", "int", "-12345"}, {"SET", "bigint", "9223372036854775807"}, {"SET", "short", "text"}, {"SET", "long", long},
		{"SET", "binary", "\x00\xff\r\n"}, {"SET", "empty", ""}, {"SET", "expires", "v", "PXAT", "5000000000123"},
		{"SETBIT", "bits", 1000, 1}, {"PFADD", "hll", "a", "b", "c"}, {"GEOADD", "geo", 13.361389, 38.115556, "Palermo"},
		{"RPUSH", "list", "a", 1, -1, 300, 70000, long}, many([]any{"RPUSH", "longlist"}, 3000, one),
		{"RPUSH", "plainlist", "a", strings.Repeat("x", 20000), "b"},
		{"SADD", "intset", 1, 2, -3}, {"SADD", "wideset", 1, "9000000000"}, {"SADD", "set", "a", "b", 3}, many([]any{"SADD", "bigset"}, 700, one),
		{"ZADD", "zset", 1, "a", 2.5, "b", "-inf", "low", "+inf", "high", 1e100, "huge"}, many([]any{"ZADD", "bigzset"}, 700, scored),
		{"HSET", "hash", "f", "v", "n", 42}, many([]any{"HSET", "bighash"}, 900, two), {"HSET", "wide", "f", long},
		{"XGROUP", "CREATE", "nostream", "g", "$", "MKSTREAM"},
		{"XADD", "emptystream", "1-1", "a", "b"}, {"XDEL", "emptystream", "1-1"},
	} {
		n.Must(c...)
	}
	for _, l := range []string{"one", "two"} {
		n.Must("FUNCTION", "LOAD", library(l, "of_"+l))
	}
	for i := range 250 {
		n.Must("XADD", "stream", fmt.Sprintf("%d-%d", 1000+i/3, i%3+1), "f", i, "g", strings.Repeat("v", i%50))
	}
	for _, c := range [][]any{
		{"XADD", "stream", "2000-1", "other", "fields"}, {"XDEL", "stream", "1010-1", "1020-2"}, {"XTRIM", "stream", "MAXLEN", 180},
		{"XGROUP", "CREATE", "stream", "g1", "0"}, {"XGROUP", "CREATE", "stream", "g2", "1060-1"},
		{"XREADGROUP", "GROUP", "g1", "alice", "COUNT", 20, "STREAMS", "stream", ">"},
		{"XREADGROUP", "GROUP", "g1", "bob", "COUNT", 5, "STREAMS", "stream", ">"},
		{"XREADGROUP", "GROUP", "g2", "carol", "COUNT", 5, "STREAMS", "stream", ">"},
		{"XGROUP", "CREATECONSUMER", "stream", "g2", "idle"},
	} {
		n.Must(c...)
	}
}

// exchangeTimed adds hashes of which fields expire.
func exchangeTimed(n *proc.Node) {
	n.Must("HSET", "timed", "a", 1, "b", 2, "c", "text")
	n.Must("HPEXPIREAT", "timed", "5000000000001", "FIELDS", 1, "b")
	n.Must("HPEXPIREAT", "timed", "5000000000000", "FIELDS", 1, "c")
	args := []any{"HSET", "bigtimed"}
	for i := range 900 {
		args = append(args, fmt.Sprint("field", i), i)
	}
	n.Must(args...)
	n.Must("HPEXPIREAT", "bigtimed", "5000000000000", "FIELDS", 2, "field1", "field2")
	n.Must("HPEXPIREAT", "bigtimed", "5000000000009", "FIELDS", 1, "field3")
}

// functionsView is no key's name.
const functionsView = "function libraries"

// exchangeView tells, for each key, its digest and what a digest leaves out, and the
// function libraries under functionsView.
func exchangeView(n *proc.Node) map[string]string {
	view := map[string]string{functionsView: libraries(n)}
	keys := n.Must("KEYS", "*").([]any)
	for _, k := range keys {
		key := k.(string)
		s := fmt.Sprint(n.Must("DEBUG", "DIGEST-VALUE", key), " ", n.Must("PEXPIRETIME", key))
		switch n.Must("TYPE", key) {
		case "stream":
			s += fmt.Sprint(" ", n.Must("XINFO", "GROUPS", key), n.Must("XRANGE", key, "-", "+", "COUNT", 3))
			for _, g := range []string{"g1", "g2"} {
				if key == "stream" {
					s += fmt.Sprint(" ", n.Must("XPENDING", key, g))
				}
			}
			full := fmt.Sprint(n.Must("XINFO", "STREAM", key))
			for _, f := range []string{"last-generated-id", "max-deleted-entry-id", "entries-added", "recorded-first-entry-id"} {
				s += " " + f + " " + strings.Fields(full[strings.Index(full, f)+len(f):])[0]
			}
		case "hash":
			if strings.Contains(key, "timed") {
				s += fmt.Sprint(" ", n.Must("HPEXPIRETIME", key, "FIELDS", 5, "a", "b", "c", "field1", "field3"))
			}
		}
		view[key] = s
	}
	return view
}

// Files of data in every type and encoding go from Skein to real servers and back,
// and every key is there the same.
func TestExchangeFiles(t *testing.T) {
	skein := proc.Skein(t)
	for _, real := range proc.Reals {
		t.Run(real.Name, func(t *testing.T) {
			other := real.Program(t)
			timed := real == proc.Redis8
			move := func(t *testing.T, from, to proc.Program) {
				a, b := proc.StartNode(t, from), proc.NewNode(t, to)
				exchangeData(a)
				if timed {
					exchangeTimed(a)
				}
				want := exchangeView(a)
				a.Must("SAVE")
				file, err := os.ReadFile(a.Path("dump.rdb"))
				if err != nil {
					t.Fatal(err)
				}
				if from.Name == skein.Name {
					version := "REDIS0010"
					if timed {
						version = "REDIS0012"
					}
					if got := string(file[:9]); got != version {
						t.Errorf("the file starts with %q, want %q", got, version)
					}
				}
				if out, err := proc.Run(t, proc.Patience, "", skein.Path, "check-rdb", a.Path("dump.rdb")); err != nil {
					t.Errorf("skein check-rdb: %v\n%s", err, out)
				}
				if !timed && from.Name == skein.Name {
					if out, err := proc.Run(t, proc.Patience, "", proc.Tool(t, "redis-check-rdb"), a.Path("dump.rdb")); err != nil {
						t.Errorf("redis-check-rdb: %v\n%s", err, out)
					}
				}
				if err := os.WriteFile(b.Path("dump.rdb"), file, 0o644); err != nil {
					t.Fatal(err)
				}
				b.Start()
				got := exchangeView(b)
				for key, w := range want {
					if got[key] != w {
						t.Errorf("%s from %s at %s:\n %s\nwant\n %s", key, from.Name, to.Name, got[key], w)
					}
				}
				if len(got) != len(want) || len(want) < 25 {
					t.Errorf("%d keys from %s, %d at %s", len(want), from.Name, len(got), to.Name)
				}
				// Each value by itself as well, in the payload of DUMP, and the functions.
				b.Must("FLUSHALL")
				b.Must("FUNCTION", "FLUSH")
				b.Must("FUNCTION", "RESTORE", a.Must("FUNCTION", "DUMP"))
				if got := libraries(b); got != want[functionsView] {
					t.Errorf("by FUNCTION DUMP from %s, at %s:\n%s\nwant\n%s", from.Name, to.Name, got, want[functionsView])
				}
				delete(want, functionsView)
				for key := range want {
					b.Must("RESTORE", key, 0, a.Must("DUMP", key))
				}
				got = exchangeView(b)
				var bad []string
				for key, w := range want {
					if strings.Fields(got[key])[0] != strings.Fields(w)[0] && key != "expires" {
						bad = append(bad, key)
					}
				}
				if slices.Sort(bad); len(bad) > 0 {
					t.Errorf("by DUMP from %s, at %s these differ: %v", from.Name, to.Name, bad)
				}
			}
			t.Run("to", func(t *testing.T) { move(t, skein, other) })
			t.Run("from", func(t *testing.T) { move(t, other, skein) })
		})
	}
}
