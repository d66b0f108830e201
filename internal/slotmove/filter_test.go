package slotmove

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/resp"
)

// Of the log of effects go exactly the writes to the slots, whatever pieces the
// log comes in.
func TestFilter(t *testing.T) {
	table := command.NewTable(engine.Specs(), datatypes.Specs())
	slots := someSlots(int(hashslot.Slot([]byte("in"))))
	var log []byte
	for _, line := range []string{"SELECT 0", "SET {in}a 1", "SET out 1", "PING", "MULTI", "INCR {in}n", "INCR out", "EXEC", "DEL {in}a {in}b",
		"MSET {in}a 1 {in}b 2", "MSET out 1", "FLUSHALL", "PUBLISH in x", "SORT {in}l STORE {in}d", "ZUNIONSTORE {in}z 2 {in}x {in}y",
		"RESTORE {in}r 0 " + strings.Repeat("v", 300), "NOSUCH in", "REPLCONF GETACK *", "XGROUP CREATE {in}s g 0", "BITOP AND {in}x {in}y", "GET {in}a"} {
		log = resp.AppendCommand(log, words(line)...)
	}
	want := "SET INCR DEL MSET SORT ZUNIONSTORE RESTORE"
	if table.ByName("xgroup") != nil {
		want += " XGROUP"
	}
	want += " BITOP"
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		f := newFilter(table, &slots)
		var out []byte
		for in := log; len(in) > 0; {
			n := min(len(in), 1+rnd.IntN(40))
			var err error
			if out, err = f.feed(out, in[:n]); err != nil {
				t.Fatal(err)
			}
			in = in[n:]
		}
		var got []string
		var p resp.Parser
		for len(out) > 0 {
			argv, n, err := p.Next(out, nil)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(argv[0]))
			out = out[n:]
		}
		if s := strings.Join(got, " "); s != want {
			t.Fatalf("seed %d: %s, want %s", seed, s, want)
		}
	}
	if _, err := newFilter(table, &slots).feed(nil, []byte("*1\r\n!x\r\n")); err == nil {
		t.Error("damage is not noticed")
	}
}
