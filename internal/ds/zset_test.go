package ds

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// zmodel is a sorted set as a sorted slice.
type zmodel []zpair

func (m zmodel) index(member string) int {
	return slices.IndexFunc(m, func(p zpair) bool { return p.member == member })
}

func (m *zmodel) set(member string, score float64) {
	if i := m.index(member); i >= 0 {
		*m = slices.Delete(*m, i, i+1)
	}
	i, _ := slices.BinarySearchFunc(*m, zpair{member, score}, zcmp)
	*m = slices.Insert(*m, i, zpair{member, score})
}

func zpairs(z ZSet) zmodel {
	var out zmodel
	for m, s := range z.Each {
		out = append(out, zpair{string(m), s})
	}
	return out
}

func checkZSet(t *testing.T, z ZSet, m zmodel, what string) {
	t.Helper()
	if err := z.Check(); err != nil {
		t.Fatalf("after %s: %v", what, err)
	}
	if got := zpairs(z); z.Len() != len(m) || !slices.Equal(got, m) {
		t.Fatalf("after %s: Len %d, want %d\n got %.1000v\nwant %.1000v", what, z.Len(), len(m), got, m)
	}
}

// Random operations against a sorted slice, with Check after each, in sizes
// that go up and down through several levels of the tree.
func TestZSetModel(t *testing.T) {
	a := newArena(t)
	r := rand.New(rand.NewPCG(11, 12))
	z := InitZSet(a, make([]byte, ZSetHeader+1)[1:])
	var m zmodel
	grow := true
	for step := range 2500 {
		member, score := fmt.Sprintf("m%d", r.IntN(3000)), randScore(r)
		if len(m) > 0 && r.IntN(3) == 0 {
			member = m[r.IntN(len(m))].member
		}
		what := ""
		switch op := r.IntN(20); {
		case op < 12:
			if !grow && op > 5 {
				what = "nothing"
				break
			}
			what = fmt.Sprintf("Set %q %v", member, score)
			i := m.index(member)
			added, changed := z.Set([]byte(member), score)
			if added != (i < 0) || changed != (i >= 0 && m[i].score != score) {
				t.Fatalf("%s = %v, %v; had %d", what, added, changed, i)
			}
			m.set(member, score)
		case op < 14: // a small change, which mostly keeps the place
			if len(m) == 0 {
				break
			}
			p := m[r.IntN(len(m))]
			score = p.score + 1e-9
			what = fmt.Sprintf("nudge %q to %v", p.member, score)
			z.Set([]byte(p.member), score)
			m.set(p.member, score)
		case op < 19:
			what = fmt.Sprintf("Delete %q", member)
			i := m.index(member)
			if z.Delete([]byte(member)) != (i >= 0) {
				t.Fatalf("%s: had %d", what, i)
			}
			if i >= 0 {
				m = slices.Delete(m, i, i+1)
			}
		default:
			start, n := r.IntN(len(m)+1), r.IntN(12)
			if !grow {
				n *= 10
			}
			what = fmt.Sprintf("DeleteRange %d %d", start, n)
			z.DeleteRange(start, n)
			m = slices.Delete(m, start, min(start+n, len(m)))
		}
		if len(m) == 0 {
			grow = true
		} else if len(m) > 250 {
			grow = false
		}
		if step%400 == 0 { // add many at once, in order or against it
			for i := range 1500 {
				p := zpair{fmt.Sprintf("b%05d", i), 1000 + float64(i)}
				if step%800 == 0 {
					p.score = 1000 - float64(i)
				}
				z.Set([]byte(p.member), p.score)
				m = append(m, p)
			}
			for i := len(m) - 1; i >= 0; i-- { // the model keeps the last of equal members
				if j := m.index(m[i].member); j < i {
					m = slices.Delete(m, j, j+1)
					i--
				}
			}
			slices.SortFunc(m, zcmp)
			grow = false
			checkZSet(t, z, m, "adding many")
			z.DeleteRange(100, 1400)
			m = slices.Delete(m, 100, min(1500, len(m)))
		}
		checkZSet(t, z, m, fmt.Sprintf("step %d, %s", step, what))
		if step%50 == 0 {
			checkZSetReads(t, r, z, m)
		}
	}
	z.Free()
	checkZSet(t, z, nil, "Free")
	mustBeFree(t, a)
}

func checkZSetReads(t *testing.T, r *rand.Rand, z ZSet, m zmodel) {
	t.Helper()
	for i, p := range m {
		if s, ok := z.Score([]byte(p.member)); !ok || s != p.score {
			t.Fatalf("Score(%q) = %v, %v; want %v", p.member, s, ok, p.score)
		}
		if k, ok := z.Rank([]byte(p.member)); !ok || k != i {
			t.Fatalf("Rank(%q) = %d, %v; want %d", p.member, k, ok, i)
		}
		it := z.ByRank(i)
		if !it.Valid() || it.Rank() != i || string(it.Member()) != p.member || it.Score() != p.score {
			t.Fatalf("ByRank(%d)", i)
		}
	}
	if _, ok := z.Rank([]byte("absent")); ok {
		t.Error("Rank of an absent member")
	}
	i := len(m)
	for it := z.ByRank(len(m) - 1); it.Valid(); it.Prev() {
		i--
		if it.Rank() != i || string(it.Member()) != m[i].member {
			t.Fatalf("backwards at %d: rank %d, %q", i, it.Rank(), it.Member())
		}
	}
	if i != 0 {
		t.Fatalf("walking back ended at %d", i)
	}
	scores := []float64{math.Inf(-1), math.Inf(1), 0.5}
	for range 10 {
		if len(m) > 0 {
			scores = append(scores, m[r.IntN(len(m))].score)
		}
	}
	at := func(it ZIter) int { // rank, or -1
		if !it.Valid() {
			return -1
		}
		return it.Rank()
	}
	for _, s := range scores {
		ge := slices.IndexFunc(m, func(p zpair) bool { return p.score >= s })
		gt := slices.IndexFunc(m, func(p zpair) bool { return p.score > s })
		le, lt := gt-1, ge-1
		if gt < 0 {
			le = len(m) - 1
		}
		if ge < 0 {
			lt = len(m) - 1
		}
		for _, tt := range []struct {
			name      string
			got, want int
		}{
			{"SeekScore >=", at(z.SeekScore(s, false)), ge}, {"SeekScore >", at(z.SeekScore(s, true)), gt},
			{"SeekScoreBack <=", at(z.SeekScoreBack(s, false)), le}, {"SeekScoreBack <", at(z.SeekScoreBack(s, true)), lt},
			{"CountBelow <", z.CountBelow(s, false), lt + 1}, {"CountBelow <=", z.CountBelow(s, true), le + 1},
		} {
			if tt.got != tt.want {
				t.Fatalf("%s %v = %d, want %d", tt.name, s, tt.got, tt.want)
			}
		}
	}
	seen := map[string]bool{}
	for c := uint64(0); ; {
		c = z.Scan(c, func(member []byte, score float64) {
			if i := m.index(string(member)); i < 0 || m[i].score != score {
				t.Fatalf("Scan gives %q %v", member, score)
			}
			seen[string(member)] = true
		})
		if c == 0 {
			break
		}
	}
	if len(seen) != len(m) {
		t.Fatalf("Scan saw %d of %d members", len(seen), len(m))
	}
	if len(m) > 0 {
		if mem, s := z.Random(r.Uint64()); m[m.index(string(mem))].score != s {
			t.Fatalf("Random = %q, %v", mem, s)
		}
	}
}

// Lexicographic bounds, with one score for all.
func TestZSetLex(t *testing.T) {
	a := newArena(t)
	z := InitZSet(a, make([]byte, ZSetHeader))
	var m []string
	r := rand.New(rand.NewPCG(13, 14))
	for range 2000 {
		s := fmt.Sprint(r.IntN(5000))
		if added, _ := z.Set([]byte(s), 0); added {
			m = append(m, s)
		}
	}
	slices.Sort(m)
	for i := range 6000 {
		s := fmt.Sprint(i)
		ge, found := slices.BinarySearch(m, s)
		gt := ge
		if found {
			gt++
		}
		if n := z.CountBelowLex([]byte(s), false); n != ge {
			t.Fatalf("CountBelowLex(%q) = %d, want %d", s, n, ge)
		}
		if n := z.CountBelowLex([]byte(s), true); n != gt {
			t.Fatalf("CountBelowLex(%q, orEqual) = %d, want %d", s, n, gt)
		}
		for _, tt := range []struct {
			it   ZIter
			want int
		}{{z.SeekLex([]byte(s), false), ge}, {z.SeekLex([]byte(s), true), gt},
			{z.SeekLexBack([]byte(s), false), gt - 1}, {z.SeekLexBack([]byte(s), true), ge - 1}} {
			inside := tt.want >= 0 && tt.want < len(m)
			if tt.it.Valid() != inside || inside && string(tt.it.Member()) != m[tt.want] {
				t.Fatalf("seek %q: valid %v, rank %d, want %d", s, tt.it.Valid(), tt.it.Rank(), tt.want)
			}
		}
	}
	z.Free()
	mustBeFree(t, a)
}

// -0 and 0 are one score; infinities are the ends.
func TestZSetSpecialScores(t *testing.T) {
	a := newArena(t)
	z := InitZSet(a, make([]byte, ZSetHeader))
	z.Set([]byte("b"), 0)
	z.Set([]byte("a"), math.Copysign(0, -1))
	z.Set([]byte("c"), math.Copysign(0, -1))
	if _, changed := z.Set([]byte("b"), math.Copysign(0, -1)); changed {
		t.Error("0 to -0 is a change")
	}
	z.Set([]byte("z"), math.Inf(-1))
	z.Set([]byte("A"), math.Inf(1))
	z.Set(make([]byte, 70000), 5)
	var got []string
	for m := range z.Each {
		got = append(got, string(m[:1]))
	}
	if want := []string{"z", "a", "b", "c", "\x00", "A"}; !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
	if err := z.Check(); err != nil {
		t.Error(err)
	}
	z.Free()
	mustBeFree(t, a)
}

// 100 000 members within the budget, in order and at random; then thinned out.
func TestZSetMemory(t *testing.T) {
	for _, order := range []string{"ascending", "descending", "random"} {
		a := newArena(t)
		z := InitZSet(a, make([]byte, ZSetHeader))
		const n = 100_000
		r := rand.New(rand.NewPCG(15, 16))
		for i, k := range r.Perm(n) {
			s := float64(k)
			switch order {
			case "ascending":
				s = float64(i)
			case "descending":
				s = float64(-i)
			}
			z.Set(fmt.Appendf(nil, "member:%d", i), s)
		}
		used := z.MemUsed()
		t.Logf("%s: %.1f bytes a member", order, float64(used)/n)
		if used > 6_500_000 || a.Used() != int64(used) {
			t.Errorf("%s: %d bytes, the heap says %d", order, used, a.Used())
		}
		if err := z.Check(); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if i%10 != 0 && !z.Delete(fmt.Appendf(nil, "member:%d", i)) {
				t.Fatalf("%s: member:%d is not there", order, i)
			}
		}
		if err := z.Check(); err != nil || z.Len() != n/10 {
			t.Fatalf("%d members left, %v", z.Len(), err)
		}
		// 1.24 MB usually, but the seed of the process decides how full the
		// table's pages are: in 300 processes 1.38 MB at most.
		if used := z.MemUsed(); used > 1_700_000 {
			t.Errorf("%s: %d bytes for %d members after deletions", order, used, n/10)
		}
		z.Free()
		mustBeFree(t, a)
	}
}

func TestZSetAllocs(t *testing.T) {
	a := newArena(t)
	z := InitZSet(a, make([]byte, ZSetHeader))
	var members [1000][]byte
	for i := range members {
		members[i] = fmt.Appendf(nil, "member:%d", i)
		z.Set(members[i], float64(i))
	}
	i := 0
	if n := testing.AllocsPerRun(5000, func() {
		i++
		m := members[i*7%1000]
		z.Set(m, float64(i*31%1000))
		z.Set(m, float64(i*31%1000)+0.1)
		z.Rank(m)
		it := z.SeekScoreBack(500, true)
		it.Prev()
		z.CountBelow(it.Score(), true)
		z.Delete(m)
		z.Set(m, 5)
	}); n != 0 {
		t.Errorf("%v allocations per round", n)
	}
	z.Free()
}
