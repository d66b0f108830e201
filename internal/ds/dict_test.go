package ds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/mem"
)

func dictArena(t testing.TB) Arena {
	t.Helper()
	h, err := mem.New(mem.Options{Reserve: 64 << 20, Shards: 1, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return Arena{Heap: h}
}

// dictModel is a Dict beside the Go map that says what is in it. The refs point
// nowhere: Dict does not look.
type dictModel struct {
	t    testing.TB
	a    Arena
	d    Dict
	hash func(mem.Ref) uint64
	in   map[mem.Ref]bool // value: the flag
	refs []mem.Ref
	last mem.Ref
}

func newDictModel(t testing.TB, hash func(mem.Ref) uint64) *dictModel {
	return &dictModel{t: t, a: dictArena(t), hash: hash, in: map[mem.Ref]bool{}}
}

func spread(r mem.Ref) uint64 { return mix(uint64(r)) }

func (m *dictModel) insert(flag bool) mem.Ref {
	m.last += 8
	m.d.Insert(m.a, m.hash(m.last), m.last, flag)
	m.in[m.last] = flag
	m.refs = append(m.refs, m.last)
	return m.last
}

func (m *dictModel) remove(i int) {
	r := m.refs[i]
	m.d.Remove(m.a, m.hash(r), r)
	delete(m.in, r)
	m.refs[i] = m.refs[len(m.refs)-1]
	m.refs = m.refs[:len(m.refs)-1]
}

// replace moves the entry at i to another ref of the same hash, which a spread
// model cannot name; so it goes there and back.
func (m *dictModel) replace(i int) {
	r := m.refs[i]
	away := r | 1<<40
	m.d.Replace(m.a, m.hash(r), r, away)
	if has, flag := m.has(m.hash(r), away); !has || flag != m.in[r] {
		m.t.Fatalf("replaced %#x: %v %v", r, has, flag)
	}
	m.d.Replace(m.a, m.hash(r), away, r)
}

func (m *dictModel) has(hash uint64, ref mem.Ref) (has, flag bool) {
	n := 0
	for p := m.d.Probe(m.a.Heap, hash); p.Next(); {
		if p.Ref() == ref {
			n++
			flag = p.Flag()
		}
	}
	if n > 1 {
		m.t.Fatalf("probe meets %#x %d times", ref, n)
	}
	return n == 1, flag
}

func (m *dictModel) check() {
	m.t.Helper()
	if err := m.d.Check(m.a.Heap); err != nil {
		m.t.Fatal(err)
	}
	if m.d.Len() != len(m.in) || int64(m.d.MemUsed(m.a.Heap)) != m.a.Used() {
		m.t.Fatalf("Len %d MemUsed %d, want %d %d", m.d.Len(), m.d.MemUsed(m.a.Heap), len(m.in), m.a.Used())
	}
	for r, flag := range m.in {
		if has, f := m.has(m.hash(r), r); !has || f != flag {
			m.t.Fatalf("%#x: there %v flag %v, want true %v", r, has, f, flag)
		}
	}
}

// A Dict that grows and shrinks through all ways of resizing holds what the map
// holds, survives being stored and loaded, and keeps its invariants.
func TestDictModel(t *testing.T) {
	for name, tt := range map[string]struct {
		hash func(mem.Ref) uint64
		size int
	}{
		"small":              {spread, 60},
		"rehashed at once":   {spread, 5000},
		"moved in steps":     {spread, 90000},
		"few hashes":         {func(r mem.Ref) uint64 { return uint64(r>>3%5) << 62 }, 300},
		"one hash":           {func(r mem.Ref) uint64 { return 1<<64 - 1 }, 200},
		"crowded at the end": {func(r mem.Ref) uint64 { return spread(r) | 0xffc<<52 }, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			m := newDictModel(t, tt.hash)
			r := rand.New(rand.NewPCG(1, 2))
			sawMove := false
			for round := range 3 {
				target := tt.size
				for phase := range 2 {
					for op := 0; len(m.refs) != target; op++ {
						switch k := r.IntN(10); {
						case k < 7 && phase == 0, k < 2 && phase == 1, len(m.refs) == 0:
							m.insert(r.IntN(2) == 0)
						case k < 9:
							m.remove(r.IntN(len(m.refs)))
						default:
							i := r.IntN(len(m.refs))
							ref, on := m.refs[i], r.IntN(2) == 0
							m.d.SetFlag(m.a, m.hash(ref), ref, on)
							m.in[ref] = on
							m.replace(i)
							if got, ok := m.d.Random(m.a.Heap, r.Uint64()); !ok || !mapHas(m.in, got) {
								t.Fatalf("Random = %#x %v", got, ok)
							}
							if has, _ := m.has(m.hash(m.last+8), m.last+8); has {
								t.Fatal("found what was never inserted")
							}
						}
						if moving := m.d.table&dictMoving != 0; moving && !sawMove || op%(tt.size*2/3) == 0 {
							sawMove = sawMove || moving
							m.check()
						}
						var b [DictSize]byte
						m.d.Store(b[:])
						m.d = LoadDict(b[:])
					}
					m.check()
					target = [...]int{tt.size / 50, tt.size / 2, 0}[round]
				}
			}
			if want := tt.size > smallTable*8; sawMove != want {
				t.Errorf("saw an incremental resize: %v, want %v", sawMove, want)
			}
			if m.a.Used() != 0 {
				t.Errorf("%d bytes used by an empty dict", m.a.Used())
			}
		})
	}
}

func mapHas(m map[mem.Ref]bool, r mem.Ref) bool { _, ok := m[r]; return ok }

// scanAll runs a scan from start to end with between called after each step.
func (m *dictModel) scanAll(between func()) map[mem.Ref]int {
	seen := map[mem.Ref]int{}
	for cursor := uint64(0); ; {
		next := m.d.Scan(m.a.Heap, cursor, func(r mem.Ref, flag bool) {
			if f, ok := m.in[r]; !ok || f != flag {
				m.t.Fatalf("scan meets %#x flag %v: there %v flag %v", r, flag, ok, f)
			}
			seen[r]++
		})
		if next == 0 {
			return seen
		}
		if next <= cursor || next >= 1<<26 {
			m.t.Fatalf("cursor %#x after %#x", next, cursor)
		}
		cursor = next
		between()
	}
}

// SCAN's guarantee: what is there from start to end is met, here exactly once,
// while the table grows 20-fold, and while it shrinks as much.
func TestDictScan(t *testing.T) {
	for _, size := range []int{1, 10, 300, 1500} {
		for _, grow := range []int{1, 20} {
			m := newDictModel(t, spread)
			r := rand.New(rand.NewPCG(3, uint64(size)))
			for range size {
				m.insert(true)
			}
			stay := maps.Clone(m.in)
			keep := len(m.refs) // refs[:keep] stay
			for pass := range 4 {
				target := size * grow
				if pass%2 == 1 {
					target = size
				}
				per := 1 + size*grow*2/max(1, int(m.d.n))
				seen := m.scanAll(func() {
					for range per {
						if target > len(m.refs) {
							m.insert(false)
						} else if len(m.refs) > keep {
							m.remove(keep + r.IntN(len(m.refs)-keep))
						}
					}
				})
				for r := range stay {
					if seen[r] != 1 {
						t.Fatalf("size %d x %d pass %d: %#x met %d times", size, grow, pass, r, seen[r])
					}
				}
				m.check()
			}
		}
	}
}

// The same while entries move between two tables, a few at a time.
func TestDictScanWhileMoving(t *testing.T) {
	m := newDictModel(t, spread)
	for range 40000 {
		m.insert(true)
	}
	stay := maps.Clone(m.in)
	moving := 0
	for pass, op := range []func(){
		func() { m.insert(false); m.insert(false); m.insert(false) },
		func() {
			for range 9 {
				if len(m.refs) > 40000 {
					m.remove(len(m.refs) - 1)
				}
			}
		},
	} {
		seen := m.scanAll(func() {
			if m.d.table&dictMoving != 0 {
				moving++
			}
			op()
		})
		for r := range stay {
			if seen[r] != 1 {
				t.Fatalf("pass %d: %#x met %d times", pass, r, seen[r])
			}
		}
	}
	for m.d.table&dictMoving == 0 {
		m.insert(false)
	}
	for m.d.move(m.a.Region()).boundary < m.d.n/4 {
		m.insert(false)
	}
	// The scan crosses from the new table to the old one.
	stay = maps.Clone(m.in)
	step := 0
	seen := m.scanAll(func() {
		if step++; step%50 == 0 {
			m.insert(false)
		}
	})
	for r := range stay {
		if seen[r] != 1 {
			t.Fatalf("%#x met %d times", r, seen[r])
		}
	}
	if m.d.table&dictMoving == 0 {
		t.Error("the resize was over before the scan")
	}
	if moving < 1000 {
		t.Errorf("only %d steps of the scan met a resize", moving)
	}
	m.check()
}

// Random gives every entry its share.
func TestDictRandomIsFair(t *testing.T) {
	m := newDictModel(t, spread)
	for range 40 {
		m.insert(false)
	}
	const draws = 40000
	got := map[mem.Ref]int{}
	for i := range uint64(draws) {
		r, _ := m.d.Random(m.a.Heap, mix(i))
		got[r]++
	}
	// 1000 each; a deviation of 200 is beyond six sigma.
	for _, r := range m.refs {
		if got[r] < 800 || got[r] > 1200 {
			t.Errorf("%#x drawn %d times of %d among 40", r, got[r], draws)
		}
	}
}

// No operation may take long: entries moved per call are bounded.
func TestDictStepsAreBounded(t *testing.T) {
	m := newDictModel(t, spread)
	m.d.Reserve(m.a, 3*smallTable)
	for m.d.table&dictMoving == 0 {
		m.insert(false)
	}
	n := 0
	for m.d.table&dictMoving != 0 {
		before := m.d.move(m.a.Region()).used
		m.insert(false)
		if m.d.table&dictMoving != 0 {
			if after := m.d.move(m.a.Region()).used; before-after > 64 && before > after {
				t.Fatalf("one insert moved %d entries", before-after)
			}
		}
		n++
	}
	if n < smallTable/4 {
		t.Errorf("the resize took only %d inserts", n)
	}
	m.check()
}

// The worst for a resize: every insert goes to the part that moves last, all to
// one bucket, and the next resize comes as early as it can.
func TestDictMoveEndsInTime(t *testing.T) {
	m := newDictModel(t, spread)
	for m.d.table&dictMoving == 0 {
		m.insert(false)
	}
	m.hash = func(mem.Ref) uint64 { return 1<<64 - 1 }
	grown := m.refs
	for i := 0; m.d.table&dictMoving != 0; i++ {
		m.insert(false)
		if i%500 == 0 {
			if err := m.d.Check(m.a.Heap); err != nil {
				t.Fatal(err)
			}
		}
	}
	for len(m.refs) > len(grown) { // dense parts do not let a table shrink
		m.remove(len(m.refs) - 1)
	}
	m.hash = spread
	for m.d.table&dictMoving == 0 {
		m.remove(0)
	}
	for m.d.table&dictMoving != 0 {
		m.insert(false)
	}
	if err := m.d.Check(m.a.Heap); err != nil {
		t.Fatal(err)
	}
}

// Room that was reserved and not used goes in halves, so that inserts in between
// always find some.
func TestDictReserveInVain(t *testing.T) {
	m := newDictModel(t, spread)
	m.d.Reserve(m.a, 200000)
	for range 1000 {
		m.insert(false)
	}
	for m.d.table&dictMoving == 0 {
		if len(m.refs) < 500 {
			t.Fatal("no resize begins")
		}
		m.remove(0)
	}
	for len(m.refs) < 60000 {
		m.insert(false)
	}
	m.check()
	for len(m.refs) > 0 {
		m.remove(len(m.refs) - 1)
	}
	m.check()
}

// Bucket is safe on any header, and right on a quiet one.
func TestDictBucketHint(t *testing.T) {
	m := newDictModel(t, spread)
	r := rand.New(rand.NewPCG(5, 5))
	region := m.a.Region()
	if _, ok := m.d.Bucket(region, 1); ok {
		t.Error("an empty dict has a bucket")
	}
	for len(m.refs) < 50000 {
		ref := m.insert(false)
		off, ok := m.d.Bucket(region, spread(ref))
		want, _ := m.d.of(region, spread(ref))
		if w := want.base + bucketSize*uint64(homeOf(spread(ref), want.n)); !ok || off != w {
			t.Fatalf("Bucket = %#x %v, want %#x", off, ok, w)
		}
	}
	for range 100000 {
		d := Dict{table: r.Uint64() >> r.IntN(64), n: uint32(r.Uint64() >> (32 + r.IntN(32)))}
		if off, ok := d.Bucket(region, r.Uint64()); ok && (off > uint64(len(region))-64 || off%64 != 0) {
			t.Fatalf("Bucket of %+v = %#x", d, off)
		}
	}
}

// FuzzDict plays a byte string as operations on few, badly spread hashes.
func FuzzDict(f *testing.F) {
	f.Add([]byte("insert and remove, remove and insert"))
	f.Add(slices.Repeat([]byte{1, 129, 3, 250}, 80))
	f.Fuzz(func(t *testing.T, ops []byte) {
		m := newDictModel(t, func(r mem.Ref) uint64 { return mix(uint64(r>>3%23)) | uint64(r>>3%3)<<62 })
		for _, op := range ops {
			if op < 150 || len(m.refs) == 0 {
				for range op%16 + 1 {
					m.insert(op&1 != 0)
				}
			} else {
				for range min(int(op%16)+1, len(m.refs)) {
					m.remove(int(op) % len(m.refs))
				}
			}
			if err := m.d.Check(m.a.Heap); err != nil {
				t.Fatal(err)
			}
		}
		m.check()
		if seen := m.scanAll(func() {}); len(seen) != len(m.in) {
			t.Fatalf("scan meets %d of %d", len(seen), len(m.in))
		}
		m.d.Free(m.a)
		if m.a.Used() != 0 {
			t.Fatalf("%d bytes left", m.a.Used())
		}
	})
}

func TestDictNoGarbage(t *testing.T) {
	m := newDictModel(t, spread)
	for range 1000 {
		m.insert(false)
	}
	h := spread(m.refs[500])
	sum := mem.Ref(0)
	if n := testing.AllocsPerRun(100, func() {
		for p := m.d.Probe(m.a.Heap, h); p.Next(); {
			sum += p.Ref()
		}
		m.d.Insert(m.a, h, 1<<30, true)
		m.d.Scan(m.a.Heap, h>>hashShift, func(r mem.Ref, _ bool) { sum += r })
		m.d.Remove(m.a, h, 1<<30)
		r, _ := m.d.Random(m.a.Heap, 77)
		sum += r
	}); n != 0 {
		t.Errorf("%v Go allocations", n)
	}
	_ = sum
}

// TestDeletingInScanOrderStaysCheap scans a big table and deletes what it meets,
// as HSCAN with HDEL does. The entries left are the last in hash order; the
// table must not shrink so that they pile up. The work is counted by the
// longest way from an entry's home to its place.
func TestDeletingInScanOrderStaysCheap(t *testing.T) {
	a := dictArena(t)
	var hdr [TableHeader]byte
	InitTable(a, hdr[:])
	tab := OpenTable(a, hdr[:])
	const n = 100_000
	for i := range n {
		tab.Add(fmt.Appendf(nil, "member:%d", i))
	}
	start := time.Now()
	for cur := uint64(0); ; {
		var met [][]byte
		cur = tab.Scan(cur, func(f, _ []byte) { met = append(met, append([]byte(nil), f...)) })
		for _, f := range met {
			if !tab.Delete(f) {
				t.Fatalf("%q was met but is not there", f)
			}
		}
		if cur == 0 {
			break
		}
	}
	if tab.Len() != 0 {
		t.Errorf("%d of %d are left after deleting all that a scan met", tab.Len(), n)
	}
	if d := time.Since(start); d > 3*time.Second { // 0.05 s; the quadratic way took 2 s alone on an idle machine
		t.Errorf("deleting %d in scan order took %v", n, d)
	}
}
