package ds

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func newIntset(vs ...int64) *SliceBuf {
	b := new(SliceBuf)
	IntsetInit(b)
	for _, v := range vs {
		IntsetAdd(b, v)
	}
	return b
}

func TestIntsetGolden(t *testing.T) {
	if got, want := newIntset(70000, 1, -3).B, unhex(t, "04 00 00 00 03 00 00 00 fd ff ff ff 01 00 00 00 70 11 01 00"); !bytes.Equal(got, want) {
		t.Errorf("{-3, 1, 70000} = %x, want %x", got, want)
	}
	if got, want := newIntset().B, unhex(t, "02 00 00 00 00 00 00 00"); !bytes.Equal(got, want) {
		t.Errorf("{} = %x, want %x", got, want)
	}
}

// Random additions and removals over all widths against a sorted slice.
func TestIntsetModel(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 60 {
		b, model := newIntset(), []int64{}
		for range 100 {
			v := int64(r.IntN(40) - 20)
			switch r.IntN(40) {
			case 0:
				v = int64(int32(r.Uint32()))
			case 1:
				v = int64(r.Uint64())
			case 2:
				v = []int64{math.MinInt16, math.MaxInt16, math.MaxInt16 + 1, math.MinInt32, math.MaxInt32 + 1, math.MinInt64, math.MaxInt64}[r.IntN(7)]
			}
			i, had := slices.BinarySearch(model, v)
			if r.IntN(3) == 0 {
				if IntsetRemove(b, v) != had {
					t.Fatalf("Remove(%d) with %d", v, model)
				}
				if had {
					model = slices.Delete(model, i, i+1)
				}
			} else {
				if IntsetAdd(b, v) == had {
					t.Fatalf("Add(%d) with %d", v, model)
				}
				if !had {
					model = slices.Insert(model, i, v)
				}
			}
			s := Intset(b.B)
			if err := ValidateIntset(b.B); err != nil || s.Len() != len(model) {
				t.Fatalf("round %d: %v, Len %d, want %d", round, err, s.Len(), len(model))
			}
			for i, v := range model {
				if s.At(i) != v || !s.Contains(v) {
					t.Fatalf("At(%d) = %d, want %d", i, s.At(i), v)
				}
			}
			if at, ok := s.Find(v); ok != slices.Contains(model, v) || at > len(model) {
				t.Fatalf("Find(%d) = %d, %v", v, at, ok)
			}
			if len(model) > 0 && s.Random(r.Uint64()) < model[0] {
				t.Fatal("Random is outside")
			}
		}
	}
}

func TestIntsetValidateRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"nothing", ""},
		{"half a header", "02 00 00 00"},
		{"width 3", "03 00 00 00 00 00 00 00"},
		{"a count too high", "02 00 00 00 02 00 00 00 01 00"},
		{"a count too low", "02 00 00 00 00 00 00 00 01 00"},
		{"a count that overflows", "08 00 00 00 00 00 00 20"},
		{"equal members", "02 00 00 00 02 00 00 00 01 00 01 00"},
		{"falling members", "02 00 00 00 02 00 00 00 01 00 ff ff"},
	} {
		if ValidateIntset(unhex(t, tt.in)) == nil {
			t.Errorf("%s passes", tt.name)
		}
	}
	// Wider than needed, as after removals.
	if err := ValidateIntset(unhex(t, "04 00 00 00 01 00 00 00 01 00 00 00")); err != nil {
		t.Error(err)
	}
}

func FuzzIntset(f *testing.F) {
	f.Add(newIntset().B, int64(1))
	f.Add(newIntset(1, 2, 70000).B, int64(-70001))
	f.Add(newIntset(math.MinInt64, 0).B, int64(math.MaxInt64))
	f.Add(unhex(f, "04 00 00 00 ff ff ff ff 01 00 00 00"), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, v int64) {
		if ValidateIntset(b) != nil {
			return
		}
		w := &SliceBuf{B: slices.Clone(b)}
		had := Intset(b).Contains(v)
		if IntsetAdd(w, v) == had || ValidateIntset(w.B) != nil || !Intset(w.B).Contains(v) {
			t.Fatalf("Add(%d) to %x: %x", v, b, w.B)
		}
		if !IntsetRemove(w, v) || ValidateIntset(w.B) != nil || Intset(w.B).Contains(v) {
			t.Fatalf("Remove(%d) from %x: %x", v, b, w.B)
		}
	})
}
