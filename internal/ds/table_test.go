package ds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

func newTable(t testing.TB) Table {
	hdr := slices.Repeat([]byte{0xA5}, TableHeader+3)
	return InitTable(dictArena(t), hdr[3:]) // unaligned, as in a record
}

func mustCheckTable(t testing.TB, tab Table, want map[string]string) {
	t.Helper()
	if err := tab.Check(); err != nil {
		t.Fatal(err)
	}
	if tab.Len() != len(want) || int64(tab.MemUsed()) != tab.a.Used() {
		t.Fatalf("Len %d MemUsed %d, want %d %d", tab.Len(), tab.MemUsed(), len(want), tab.a.Used())
	}
	got := map[string]string{}
	tab.Each(func(f, v []byte) bool { got[string(f)] = string(v); return true })
	if !maps.Equal(got, want) {
		t.Fatalf("Each meets %d fields, want %d", len(got), len(want))
	}
	clear(got)
	for c := uint64(0); ; {
		if c = tab.Scan(c, func(f, v []byte) { got[string(f)] += string(v) }); c == 0 {
			break
		}
	}
	if !maps.Equal(got, want) {
		t.Fatalf("Scan meets %d fields, want %d", len(got), len(want))
	}
	for f, v := range want {
		if got, ok := tab.Get([]byte(f)); !ok || string(got) != v {
			t.Fatalf("Get(%q) = %.40q %v, want %.40q", f, got, ok, v)
		}
	}
}

// randText gives lengths around those where the length bytes grow, and others.
func randText(r *rand.Rand) []byte {
	n := [...]int{0, 1, 5, 9, 127, 128, 300, 16383, 16384, 40000}[min(r.IntN(40), r.IntN(40)/4, 9)]
	if r.IntN(3) > 0 {
		n = r.IntN(40)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// A Table holds what a Go map holds, through growth, overwriting with values of
// any length, deletion; its sum of bytes is what mem counts.
func TestTableModel(t *testing.T) {
	tab := newTable(t)
	want := map[string]string{}
	r := rand.New(rand.NewPCG(1, 9))
	var fields []string
	for i := range 30000 {
		switch k := r.IntN(10); {
		case k < 5 && i%10000 < 6000 || k < 2:
			f, v := randText(r), randText(r)
			if len(fields) > 0 && r.IntN(2) == 0 {
				f = []byte(fields[r.IntN(len(fields))])
			}
			_, had := want[string(f)]
			if added := tab.Set(f, v); added == had {
				t.Fatalf("Set(%.40q) = %v", f, added)
			}
			if !had {
				fields = append(fields, string(f))
			}
			want[string(f)] = string(v)
		case k < 6:
			f := randText(r)
			_, had := want[string(f)]
			if added := tab.Add(f); added == had {
				t.Fatalf("Add(%.40q) = %v", f, added)
			}
			if !had {
				fields = append(fields, string(f))
				want[string(f)] = ""
			}
		case k < 9 && len(fields) > 0:
			j := r.IntN(len(fields))
			if !tab.Delete([]byte(fields[j])) || tab.Delete([]byte(fields[j])) || tab.Has([]byte(fields[j])) {
				t.Fatalf("Delete(%.40q) failed", fields[j])
			}
			delete(want, fields[j])
			fields[j] = fields[len(fields)-1]
			fields = fields[:len(fields)-1]
		case len(fields) > 0:
			f, v := tab.Random(r.Uint64())
			if w, ok := want[string(f)]; !ok || w != string(v) {
				t.Fatalf("Random = %.40q %.40q", f, v)
			}
		}
		if i%3000 == 0 {
			mustCheckTable(t, tab, want)
		}
	}
	mustCheckTable(t, tab, want)
	tab.Free()
	mustCheckTable(t, tab, nil)
}

// A handle opened on a copy of the header is the same table: records move.
func TestTableHeaderMoves(t *testing.T) {
	a := dictArena(t)
	hdr := make([]byte, TableHeader)
	InitTable(a, hdr)
	want := map[string]string{}
	for i := range 500 {
		f := fmt.Sprintf("field:%d", i)
		OpenTable(a, hdr).Set([]byte(f), []byte("v"))
		want[f] = "v"
		moved := slices.Clone(hdr)
		clear(hdr)
		hdr = moved
	}
	mustCheckTable(t, OpenTable(a, hdr), want)
}

// What a member costs is promised: DESIGN section 1 has the figures of peers.
func TestTableMemory(t *testing.T) {
	const n = 100000
	hash, set := newTable(t), newTable(t)
	for i := range n {
		hash.Set(fmt.Appendf(nil, "field:%d", i), fmt.Appendf(nil, "value:%d", i))
		set.Add(fmt.Appendf(nil, "member:%d", i))
	}
	if got := hash.MemUsed(); got > 4_500_000 {
		t.Errorf("hash of %d fields takes %d bytes", n, got)
	}
	if got := set.MemUsed(); got > 3_000_000 {
		t.Errorf("set of %d members takes %d bytes", n, got)
	}
	t.Logf("hash %d, set %d bytes", hash.MemUsed(), set.MemUsed())
}

func TestTableNoGarbage(t *testing.T) {
	tab := newTable(t)
	for i := range 1000 {
		tab.Set(fmt.Appendf(nil, "field:%d", i), []byte("value"))
	}
	old, fresh, long := []byte("field:7"), []byte("another"), make([]byte, 100)
	seen := 0
	if n := testing.AllocsPerRun(100, func() {
		tab.Set(old, long)
		tab.Set(old, old)
		tab.Get(old)
		tab.Add(fresh)
		tab.Delete(fresh)
		tab.Random(5)
		tab.Scan(0, func(f, v []byte) { seen++ })
		tab.Each(func(f, v []byte) bool { seen++; return seen%50 != 0 })
	}); n != 0 {
		t.Errorf("%v Go allocations", n)
	}
}

// FuzzTable plays a byte string as Set, Add, Delete of short fields.
func FuzzTable(f *testing.F) {
	f.Add([]byte("set get set get delete\x90\xa0\xb0"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		tab := newTable(t)
		want := map[string]string{}
		for len(ops) >= 3 {
			op, field, v := ops[0], ops[1:2], slices.Repeat(ops[2:3], int(ops[2])*int(ops[0]&3))
			ops = ops[3:]
			_, had := want[string(field)]
			switch {
			case op < 128:
				if tab.Set(field, v) == had {
					t.Fatalf("Set(%q) with it there: %v", field, had)
				}
				want[string(field)] = string(v)
			case op < 160:
				if tab.Add(field) == had {
					t.Fatalf("Add(%q) with it there: %v", field, had)
				}
				if !had {
					want[string(field)] = ""
				}
			default:
				if tab.Delete(field) != had {
					t.Fatalf("Delete(%q) with it there: %v", field, had)
				}
				delete(want, string(field))
			}
		}
		mustCheckTable(t, tab, want)
	})
}
