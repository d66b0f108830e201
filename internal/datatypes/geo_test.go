package datatypes

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/skeindb/skein/internal/command"
)

// A search finds exactly the members that lie in its shape, as looking at each of
// them tells, in both encodings, on both sides of the antimeridian.
func TestGeoSearchModel(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{60, 1500} {
		w.do("DEL", "g")
		var points []geoPoint
		for i := range n {
			p := geoPoint{rnd.Float64()*360 - 180, rnd.Float64()*120 - 60}
			if i%3 == 0 { // a crowd around the antimeridian
				p = geoPoint{math.Remainder(180+rnd.NormFloat64()*3, 360), rnd.NormFloat64() * 3}
			}
			w.ask("GEOADD", "g", p.lon, p.lat, i)
			points = append(points, geoPosition(float64(geoScore(p))))
		}
		for range 400 {
			s := geoShape{middle: points[rnd.IntN(n)], radius: math.Exp(rnd.Float64()*14 + 1)}
			args := []any{"GEOSEARCH", "g", "FROMLONLAT", s.middle.lon, s.middle.lat, "BYRADIUS", s.radius, "m"}
			if rnd.IntN(2) == 0 {
				s.box, s.width, s.height = true, s.radius, s.radius*(0.2+rnd.Float64())
				args = append(args[:5], "BYBOX", s.width, s.height, "m")
			}
			want := map[string]bool{}
			for i, p := range points {
				if _, ok := s.contains(p); ok {
					want[fmt.Sprint(i)] = true
				}
			}
			if got := texts(w.ask(args...)); !sameMembers(got, want) {
				t.Fatalf("%v gives %d members, want %d", args, len(got), len(want))
			}
			// COUNT takes the nearest.
			last := -1.0
			for i, h := range w.ask(append(args, "COUNT", 7, "WITHDIST")...).Elems {
				var d float64
				fmt.Sscan(h.Elems[1].Text(), &d)
				if d < last || i >= 7 {
					t.Fatalf("%v COUNT 7: member %d at %v after %v", args, i, d, last)
				}
				last = d
			}
		}
	}
}

// A position comes back from its score within half a cell, everywhere.
func TestGeoScore(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 100000 {
		p := geoPoint{rnd.Float64()*2*geoLonMax - geoLonMax, rnd.Float64()*2*geoLatMax - geoLatMax}
		q := geoPosition(float64(geoScore(p)))
		if math.Abs(p.lon-q.lon) > 1.0001*geoLonMax/(1<<geoSteps) || math.Abs(p.lat-q.lat) > 1.0001*geoLatMax/(1<<geoSteps) {
			t.Fatalf("%v comes back as %v", p, q)
		}
		if v := rnd.Uint32(); gather(spread(v)) != v || gather(spread(v)<<1) != 0 {
			t.Fatalf("bits of %#x do not come back", v)
		}
	}
}

// Whatever the options, the keys that a GEORADIUS is planned with hold the one
// that it stores to.
func TestGeoRadiusKeys(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		line string
		keys []string
	}{
		{"GEORADIUS g 1 1 1 m STORE a", []string{"g", "a"}},
		{"GEORADIUS g 1 1 1 m storedist a ASC", []string{"g", "a"}},
		{"GEORADIUS g 1 1 1 m STORE a STORE b", []string{"g", "a", "b"}},
		{"GEORADIUS g 1 1 1 m STORE store STORE b", []string{"g", "store", "b"}},
		{"GEORADIUS g 1 1 1 m STORE", []string{"g"}},
		{"GEORADIUSBYMEMBER g m 1 m COUNT 1 STORE a STOREDIST b", []string{"g", "a", "b"}},
		{"GEOSEARCHSTORE a g FROMMEMBER m BYRADIUS 1 m", []string{"a", "g"}},
	} {
		argv := bytes.Fields([]byte(tt.line))
		s := w.table.Lookup(argv)
		var got []string
		s.EachKey(argv, func(arg int, _ command.KeyFlags) { got = append(got, string(argv[arg])) })
		if fmt.Sprint(got) != fmt.Sprint(tt.keys) {
			t.Errorf("keys of %s are %v, want %v", tt.line, got, tt.keys)
		}
	}
}
