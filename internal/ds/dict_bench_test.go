package ds

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skeindb/skein/internal/mem"
)

const benchKeys = 5_000_000

// benchDict holds keys 0.. with records of 88 bytes that start with the key.
func benchDict(b *testing.B, n int) (Arena, *Dict) {
	h, err := mem.New(mem.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	a, d := Arena{Heap: h}, &Dict{}
	for i := range uint64(n) {
		ref := h.Alloc(0, 88, mem.Records)
		region := h.Region()[ref:]
		region[0], region[1], region[2], region[3] = byte(i), byte(i>>8), byte(i>>16), byte(i>>24)
		d.Insert(a, mix(i), ref, false)
	}
	return a, d
}

func lookup(a Arena, d *Dict, key uint64) bool {
	for p := d.Probe(a.Heap, mix(key)); p.Next(); {
		r := a.Region()[p.Ref():]
		if uint64(r[0])|uint64(r[1])<<8|uint64(r[2])<<16|uint64(r[3])<<24 == key {
			return true
		}
	}
	return false
}

// One random key after the other: two dependent cache misses each.
func BenchmarkDictProbe(b *testing.B) {
	for _, n := range []int{1000, benchKeys} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a, d := benchDict(b, n)
			r := rand.New(rand.NewPCG(1, 1))
			b.ReportAllocs()
			for b.Loop() {
				if !lookup(a, d, r.Uint64N(uint64(n))) {
					b.Fatal("a key is missing")
				}
			}
		})
	}
}

// Batches of 64 whose bucket lines, then records, are touched ahead.
func BenchmarkDictProbeTouched(b *testing.B) {
	const batch = 64
	a, d := benchDict(b, benchKeys)
	r := rand.New(rand.NewPCG(1, 1))
	region := a.Region()
	var keys, refs [batch]uint64
	var sink byte
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%batch == 0 {
			for i := range keys {
				keys[i] = r.Uint64N(benchKeys)
			}
			for _, k := range keys {
				if off, ok := d.Bucket(region, mix(k)); ok {
					sink += region[off]
				}
			}
			for i, k := range keys {
				if p := d.Probe(a.Heap, mix(k)); p.Next() {
					refs[i] = uint64(p.Ref())
				}
			}
			for _, ref := range refs {
				sink += region[ref]
			}
		}
		if !lookup(a, d, keys[n%batch]) {
			b.Fatal("a key is missing")
		}
	}
	_ = sink
}

func BenchmarkDictInsertRemove(b *testing.B) {
	a, d := benchDict(b, 100)
	b.ReportAllocs()
	for b.Loop() {
		d.Insert(a, 12345<<40, 1<<30, false)
		d.Remove(a, 12345<<40, 1<<30)
	}
}

func BenchmarkTableGet(b *testing.B) {
	tab := newTable(b)
	var fields [4096][]byte
	for i := range fields {
		fields[i] = fmt.Appendf(nil, "field:%d", i)
		tab.Set(fields[i], []byte("value"))
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if _, ok := tab.Get(fields[n*7%4096]); !ok {
			b.Fatal("a field is missing")
		}
	}
}

func BenchmarkTableSet(b *testing.B) {
	tab := newTable(b)
	var fields [4096][]byte
	for i := range fields {
		fields[i] = fmt.Appendf(nil, "field:%d", i)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		tab.Set(fields[n*7%4096], fields[n%100])
	}
}
