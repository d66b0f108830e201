package datatypes

import (
	"fmt"
	"testing"

	"github.com/skeindb/skein/internal/command"
)

// A command that meets a field whose time has come, of more such fields than are
// deleted at once, does the same to those who take the log, which delete none of
// themselves.
func TestFieldsDueManyAtOnce(t *testing.T) {
	const n = 600
	var pairs, fields []string
	for i := range n {
		fields = append(fields, fmt.Sprint("f", i))
		pairs = append(pairs, fields[i], fmt.Sprint(i))
	}
	const last = "f599" // deleted in the order of the times: not in the first batch
	for _, limit := range []int{128, 1000} {
		for _, cmd := range [][]any{
			{"HSET", "h", last, 1},
			{"HSETNX", "h", last, 1},
			{"HDEL", "h", last, "f598"},
			{"HINCRBY", "h", last, 1},
			{"HINCRBYFLOAT", "h", last, 1},
			{"HSETEX", "h", "FNX", "FIELDS", 1, last, 1},
			{"HSETEX", "h", "FXX", "FIELDS", 1, last, 1},
			{"HSETEX", "h", "KEEPTTL", "FIELDS", 1, last, 1},
			{"HGETEX", "h", "PERSIST", "FIELDS", 1, last},
			{"HGETDEL", "h", "FIELDS", 1, last},
			{"HPERSIST", "h", "FIELDS", 1, last},
			{"HEXPIRE", "h", 10, "NX", "FIELDS", 2, last, "stays"},
			{"HSET", "h", fields[0], 1},
			{"HDEL", "h", "stays"},
			{"HDEL", "h", "stays", fields},
		} {
			w, replica := newWorld(t), newWorld(t)
			replica.c.Expire = command.ExpireIgnore
			for _, x := range []*world{w, replica} {
				x.limits.HashEntries = limit
				x.c.Env.SetLimits(&x.limits)
			}
			do := func(args ...any) string {
				w.c.Changes, w.c.Effects, w.c.Dirty, w.c.NoVerbatim = nil, nil, 0, false
				got := show(w.ask(args...), false)
				for _, argv := range w.propagated() {
					if err := decode(t, replica.run(argv...)).Err(); err != nil {
						t.Fatalf("the replica refuses %q: %v", argv, err)
					}
				}
				return got
			}
			do("HSET", "h", "stays", 1, pairs)
			do("HPEXPIRE", "h", 5, "FIELDS", n, fields)
			w.c.Now += 10
			replica.c.Now = w.c.Now
			got := do(cmd...)
			for range 3 {
				do("HLEN", "h") // deletes the rest by and by
			}
			if have, want := replica.dump(w.c.Now), w.dump(w.c.Now); have != want {
				t.Errorf("limit %d: after %.60q, which replied %s, the replica has\n%s\nand not\n%s", limit, cmd, got, have, want)
			}
		}
	}
}
