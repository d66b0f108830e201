package ds

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/mem"
)

// newArena gives a test its own heap, which must be whole and, if the test
// frees all, empty at the end.
func newArena(tb testing.TB) Arena {
	tb.Helper()
	_, bench := tb.(*testing.B)
	h, err := mem.New(mem.Options{Reserve: 256 << 20, Shards: 4, Poison: !bench})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Check(); err != nil && !tb.Failed() {
			tb.Error(err)
		}
		h.Close()
	})
	return Arena{Heap: h, Shard: 1}
}

func mustBeFree(t *testing.T, a Arena) {
	t.Helper()
	if n := a.Used(); n != 0 {
		t.Errorf("%d bytes are still in use", n)
	}
}

func listTexts(q Quicklist, back bool) []string {
	out := []string{}
	i := 0
	if back {
		i = -1
	}
	for it := q.Iter(i, back); it.Valid(); it.Next() {
		out = append(out, string(it.Elem().Append(nil)))
	}
	return out
}

func checkList(t *testing.T, q Quicklist, model []string, what string) {
	t.Helper()
	if err := q.Check(); err != nil {
		t.Fatalf("after %s: %v", what, err)
	}
	if got := listTexts(q, false); !slices.Equal(got, model) {
		t.Fatalf("after %s:\n got %.2000q\nwant %.2000q", what, got, model)
	}
}

// listElem draws elements some of which are larger than a node.
func listElem(r *rand.Rand) string {
	switch r.IntN(60) {
	case 0:
		return strings.Repeat("L", 8193+r.IntN(9000))
	case 1, 2:
		return strings.Repeat("k", 3000+r.IntN(5190))
	case 3, 4, 5, 6, 7:
		return strings.Repeat("h", r.IntN(1500))
	}
	return randElem(r)
}

// Random operations of every kind against a slice, at several node limits,
// with Check after each.
func TestQuicklistModel(t *testing.T) {
	for _, fill := range []int{-2, -1, -5, 1, 3, 128} {
		t.Run(fmt.Sprint(fill), func(t *testing.T) {
			a := newArena(t)
			r := rand.New(rand.NewPCG(9, uint64(fill+10)))
			hdr := make([]byte, QuicklistHeader+3)[3:] // headers need no alignment
			q := InitQuicklist(a, hdr)
			var model []string
			longest := 0
			for step := range 400 {
				what := modelStep(t, r, q, &model, fill)
				longest = max(longest, q.NodeCount())
				checkList(t, q, model, fmt.Sprintf("step %d, %s", step, what))
				if step%16 == 0 {
					back := listTexts(q, true)
					slices.Reverse(back)
					if !slices.Equal(back, model) {
						t.Fatalf("backward walk differs after step %d, %s", step, what)
					}
					for i := range model {
						if it := q.Iter(i, false); !it.Elem().Equal([]byte(model[i])) || it.Index() != i {
							t.Fatalf("Iter(%d)", i)
						}
					}
				}
			}
			if longest < 8 {
				t.Errorf("the list never had more than %d nodes", longest)
			}
			q.Free()
			checkList(t, q, nil, "Free")
			mustBeFree(t, a)
		})
	}
}

func modelStep(t *testing.T, r *rand.Rand, q Quicklist, model *[]string, fill int) string {
	m, e, n := *model, listElem(r), len(*model)
	i := 0
	if n > 0 {
		i = r.IntN(n)
	}
	defer func() { *model = m }()
	switch op := r.IntN(20); {
	case op < 4:
		for range 1 + r.IntN(40) { // keep the list at some hundreds
			q.PushTail([]byte(e), fill)
			m = append(m, e)
			e = listElem(r)
		}
		return "PushTail"
	case op < 7:
		q.PushHead([]byte(e), fill)
		m = slices.Insert(m, 0, e)
		return "PushHead"
	case op < 8 || n == 0:
		got, ok := q.PopHead(nil)
		if ok != (n > 0) || ok && string(got) != m[0] {
			t.Fatalf("PopHead = %q, %v", got, ok)
		}
		m = slices.Delete(m, 0, min(n, 1))
		return "PopHead"
	case op < 9:
		got, ok := q.PopTail(nil)
		if !ok || string(got) != m[n-1] {
			t.Fatalf("PopTail = %q, %v", got, ok)
		}
		m = m[:n-1]
		return "PopTail"
	case op < 11:
		it := q.Iter(i, r.IntN(2) == 0)
		it.InsertBefore([]byte(e), fill)
		m = slices.Insert(m, i, e)
		return fmt.Sprintf("InsertBefore %d", i)
	case op < 13:
		it := q.Iter(i-n, false)
		it.InsertAfter([]byte(e), fill)
		m = slices.Insert(m, i+1, e)
		return fmt.Sprintf("InsertAfter %d", i)
	case op < 15:
		it := q.Iter(i, r.IntN(2) == 0)
		it.Replace([]byte(e), fill)
		m[i] = e
		if !it.Elem().Equal([]byte(e)) || it.Index() != i {
			t.Fatalf("after Replace(%d) the iterator is at %d", i, it.Index())
		}
		return fmt.Sprintf("Replace %d", i)
	case op < 17: // delete a run through an iterator in either direction
		back := r.IntN(2) == 0
		it := q.Iter(i, back)
		for range 1 + r.IntN(3) {
			if !it.Valid() {
				break
			}
			at := it.Index()
			it.Delete()
			m = slices.Delete(m, at, at+1)
			want := at
			if back {
				want = at - 1
			}
			if it.Valid() != (want >= 0 && want < len(m)) || it.Valid() && (it.Index() != want || !it.Elem().Equal([]byte(m[want]))) {
				t.Fatalf("after Delete of %d (back %v): valid %v at %d", at, back, it.Valid(), it.Index())
			}
		}
		return "Delete"
	case op < 18: // as LREM does: some elements of the whole list
		it := q.Iter(0, false)
		var kept []string
		for k := 0; it.Valid(); k++ {
			if k%11 == i%11 {
				it.Delete()
			} else {
				kept = append(kept, string(it.Elem().Append(nil)))
				it.Next()
			}
		}
		m = kept
		return "Delete some"
	case op < 19:
		k := r.IntN(20)
		q.DeleteRange(i, k)
		m = slices.Delete(m, i, min(i+k, n))
		return fmt.Sprintf("DeleteRange %d %d", i, k)
	default:
		if r.IntN(8) != 0 {
			return "nothing"
		}
		stop := i + r.IntN(n-i)
		q.Trim(i, stop)
		m = slices.Clone(m[i : stop+1])
		return fmt.Sprintf("Trim %d %d", i, stop)
	}
}

// Loading nodes and giving them out are inverses; small lists convert.
func TestQuicklistNodes(t *testing.T) {
	a := newArena(t)
	q := InitQuicklist(a, make([]byte, QuicklistHeader))
	q.AppendPacked(newLP().B, -2)
	if q.NodeCount() != 0 {
		t.Error("an empty listpack made a node")
	}
	q.AppendPacked(newLP("a", "1").B, -2)
	if lp, ok := q.Single(); !ok || !slices.Equal(lpTexts(lp), []string{"a", "1"}) {
		t.Errorf("Single = %q, %v", lp, ok)
	}
	q.AppendPlain([]byte("12"), -2)
	q.AppendPacked(newLP("b").B, -2)
	checkList(t, q, []string{"a", "1", "12", "b"}, "appending nodes")
	if _, ok := q.Single(); ok {
		t.Error("three nodes are a single one")
	}
	q2 := InitQuicklist(a, make([]byte, QuicklistHeader))
	for data, plain := range q.Nodes {
		if plain {
			q2.AppendPlain(data, -2)
		} else {
			q2.AppendPacked(data, -2)
		}
	}
	checkList(t, q2, []string{"a", "1", "12", "b"}, "copying")
	q.Free()
	q2.Free()
	mustBeFree(t, a)
}

func TestListNodeLimits(t *testing.T) {
	for _, tt := range []struct{ fill, bytes, count int }{
		{-1, 4096, qlMaxCount}, {-2, 8192, qlMaxCount}, {-5, 65536, qlMaxCount}, {-9, 65536, qlMaxCount},
		{1, 8192, 1}, {128, 8192, 128}, {0, 8192, 1},
	} {
		if b, c := ListNodeLimits(tt.fill); b != tt.bytes || c != tt.count {
			t.Errorf("ListNodeLimits(%d) = %d, %d", tt.fill, b, c)
		}
	}
	a := newArena(t)
	q := InitQuicklist(a, make([]byte, QuicklistHeader))
	for range 10 {
		q.PushTail([]byte("x"), 3)
	}
	if q.NodeCount() != 4 {
		t.Errorf("10 elements in %d nodes of 3", q.NodeCount())
	}
	q.Free()
}

// A long list must cost little more than its elements, however it was built.
func TestQuicklistMemory(t *testing.T) {
	for _, head := range []bool{false, true} {
		a := newArena(t)
		q := InitQuicklist(a, make([]byte, QuicklistHeader))
		raw := 0
		for i := range 100_000 {
			e := fmt.Appendf(nil, "element:%06d", i)
			raw += LPElemSize(e)
			if head {
				q.PushHead(e, -2)
			} else {
				q.PushTail(e, -2)
			}
		}
		if got := q.MemUsed(); got > raw*110/100 {
			t.Errorf("head %v: %d bytes for %d bytes of elements", head, got, raw)
		}
		// Deleting most of it must give the memory back and keep nodes full.
		i := 0
		for it := q.Iter(0, false); it.Valid(); i++ {
			if i%10 != 0 {
				it.Delete()
			} else {
				it.Next()
			}
		}
		if err := q.Check(); err != nil {
			t.Fatal(err)
		}
		if got := q.MemUsed(); q.Len() != 10_000 || got > raw/10*3/2 {
			t.Errorf("head %v: %d bytes for %d elements of %d bytes", head, got, q.Len(), raw/10)
		}
		q.Free()
		mustBeFree(t, a)
	}
}

func TestQuicklistAllocs(t *testing.T) {
	a := newArena(t)
	q := InitQuicklist(a, make([]byte, QuicklistHeader))
	elem, buf := []byte("an element of a list"), make([]byte, 0, 64)
	for range 5000 {
		q.PushTail(elem, -2)
	}
	if n := testing.AllocsPerRun(2000, func() {
		q.PushTail(elem, -2)
		q.PushHead(elem, -2)
		buf, _ = q.PopHead(buf[:0])
		buf, _ = q.PopTail(buf[:0])
		it := q.Iter(2500, false)
		it.Replace(elem, -2)
		it.InsertBefore(elem, -2)
		it = q.Iter(2500, true)
		it.Delete()
	}); n != 0 {
		t.Errorf("%v allocations per round", n)
	}
	q.Free()
}

// Reading a list by runs gives what reading it element by element does, from any
// start, and leaves the iterator where it is fit for changes.
func TestQuicklistRuns(t *testing.T) {
	a := newArena(t)
	q := InitQuicklist(a, make([]byte, QuicklistHeader))
	var want []string
	for i := range 300 {
		e := fmt.Sprintf("element %d", i)
		if i%37 == 5 {
			e += strings.Repeat(".", 9000) // a node of its own
		}
		q.PushTail([]byte(e), 4)
		want = append(want, e)
	}
	for _, start := range []int{0, 1, 4, 5, 6, 150, 298, 299} {
		var got []string
		for it := q.Iter(start, false); it.Valid(); {
			if it.Index() != start+len(got) {
				t.Fatalf("from %d: index %d after %d elements", start, it.Index(), len(got))
			}
			p, off, ok := it.Run()
			if !ok {
				got = append(got, string(it.Elem().Append(nil)))
				it.Next()
				continue
			}
			k := 0
			for ; off < p.End(); off = p.After(off) {
				got = append(got, string(p.AppendElem(nil, off)))
				k++
			}
			it.SkipRun(k)
		}
		if !slices.Equal(got, want[start:]) {
			t.Errorf("from %d: %d elements by runs, want %d", start, len(got), len(want)-start)
		}
	}
	q.Free()
}
