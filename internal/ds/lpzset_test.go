package ds

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

type zpair struct {
	member string
	score  float64
}

func zcmp(a, b zpair) int {
	return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.member, b.member))
}

// randScore draws from a few values, so that ties are common, and from all.
func randScore(r *rand.Rand) float64 {
	switch r.IntN(8) {
	case 0:
		return []float64{math.Inf(1), math.Inf(-1), 1e300, -1e-300, 0.1, 1 << 53, -(1 << 60), 3.5}[r.IntN(8)]
	case 1:
		return r.NormFloat64()
	case 2:
		return 0
	}
	return float64(r.IntN(10) - 5)
}

func TestListpackZSetModel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		b, model := newLP(), []zpair{}
		for range 200 {
			e := zpair{randElem(r), randScore(r)}
			i := slices.IndexFunc(model, func(p zpair) bool { return p.member == e.member })
			if r.IntN(4) == 0 {
				if LPDeletePair(b, []byte(e.member)) != (i >= 0) {
					t.Fatalf("delete %q", e.member)
				}
				if i >= 0 {
					model = slices.Delete(model, i, i+1)
				}
			} else {
				added, changed := LPZSet(b, []byte(e.member), e.score)
				if added != (i < 0) || changed != (i >= 0 && model[i].score != e.score) {
					t.Fatalf("LPZSet(%v) = %v, %v", e, added, changed)
				}
				if i >= 0 {
					model[i].score = e.score
				} else {
					model = append(model, e)
				}
				slices.SortFunc(model, zcmp)
			}
			if err := ValidateLPZ(b.B, true); err != nil {
				t.Fatal(err)
			}
			p := LP(b.B)
			var got []zpair
			for off := p.First(); off >= 0; off = p.Next(p.After(off)) {
				got = append(got, zpair{string(p.AppendElem(nil, off)), p.ZScore(p.After(off))})
			}
			if !slices.Equal(got, model) {
				t.Fatalf("\n got %v\nwant %v", got, model)
			}
			off, rank, score := p.ZFind([]byte(e.member))
			i = slices.IndexFunc(model, func(p zpair) bool { return p.member == e.member })
			if (off >= 0) != (i >= 0) || off >= 0 && (rank != i || score != model[i].score) {
				t.Fatalf("ZFind(%q) = %d, %d, %v; want rank %d", e.member, off, rank, score, i)
			}
		}
	}
}

func TestAppendScore(t *testing.T) {
	for _, tt := range []struct {
		f    float64
		want string
	}{
		{0, "0"}, {math.Copysign(0, -1), "0"}, {3, "3"}, {-17, "-17"}, {0.1, "0.1"}, {1.5e-7, "1.5e-07"},
		{1e17, "100000000000000000"}, {1e21, "1e+21"}, {math.Inf(1), "inf"}, {math.Inf(-1), "-inf"}, {4503599627370496, "4503599627370496"},
	} {
		if got := string(AppendScore(nil, tt.f)); got != tt.want {
			t.Errorf("AppendScore(%v) = %s, want %s", tt.f, got, tt.want)
		}
		e := newLP(string(AppendScore(nil, tt.f)))
		if f, ok := LP(e.B).Get(lpHeader).Float(); !ok || f != tt.f {
			t.Errorf("Float of %s = %v, %v", tt.want, f, ok)
		}
	}
	for _, s := range []string{"", "nan", "x", "1x"} {
		if f, ok := (Elem{Str: []byte(s)}).Float(); ok {
			t.Errorf("Float(%q) = %v", s, f)
		}
	}
}
