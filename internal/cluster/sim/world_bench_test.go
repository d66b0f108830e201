package sim

import "testing"

// BenchmarkWorld100 lives a world of 100 nodes with faults: what a campaign pays
// for a seed.
func BenchmarkWorld100(b *testing.B) {
	b.ReportAllocs()
	seed := uint64(0)
	for b.Loop() {
		seed++
		if r := Run(seed, Options{Nodes: 100}); r.Err != nil {
			b.Fatal(r.Err)
		}
	}
}
