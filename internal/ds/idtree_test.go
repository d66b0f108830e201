package ds

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/skeindb/skein/internal/mem"
)

// Random insertions and removals against a sorted slice, through several levels,
// in the three orders that matter: ascending, descending, any.
func TestIDTreeModel(t *testing.T) {
	for order, next := range map[string]func(r *rand.Rand, n uint64) StreamID{
		"ascending":  func(_ *rand.Rand, n uint64) StreamID { return StreamID{n / 3, n % 3} },
		"descending": func(_ *rand.Rand, n uint64) StreamID { return StreamID{1 << 40, 1<<40 - n} },
		"any":        func(r *rand.Rand, _ uint64) StreamID { return StreamID{r.Uint64N(300), r.Uint64N(100)} },
	} {
		t.Run(order, func(t *testing.T) {
			a := newArena(t)
			tree := openIDTree(a, make([]byte, idTreeHeader))
			r := rand.New(rand.NewPCG(1, 2))
			var m []StreamID
			at := func(id StreamID) (int, bool) { return slices.BinarySearchFunc(m, id, StreamID.Compare) }
			for step := range 20000 {
				if up := step%8000 < 5000; r.IntN(10) < 3 == up && len(m) > 0 {
					i := r.IntN(len(m))
					if r.IntN(3) == 0 {
						i = 0
					}
					if ref, ok := tree.remove(m[i]); !ok || ref != mem.Ref(m[i].Seq+1) {
						t.Fatalf("remove(%v) = %v, %v", m[i], ref, ok)
					}
					m = slices.Delete(m, i, i+1)
				} else if id := next(r, uint64(step)); true {
					if i, ok := at(id); !ok {
						tree.insert(id, mem.Ref(id.Seq+1))
						m = slices.Insert(m, i, id)
					}
				}
				id := StreamID{r.Uint64N(8000), r.Uint64N(100)}
				i, ok := at(id)
				if _, got := tree.get(id); got != ok {
					t.Fatalf("get(%v) = %v", id, got)
				}
				if it := tree.ceiling(id); it.valid() != (i < len(m)) || it.valid() && it.key() != m[i] {
					t.Fatalf("ceiling(%v) is wrong", id)
				}
				if !ok {
					i--
				}
				if it := tree.floor(id); it.valid() != (i >= 0) || it.valid() && it.key() != m[i] {
					t.Fatalf("floor(%v) is wrong", id)
				}
				if step%50 == 0 {
					if err := tree.check(); err != nil {
						t.Fatal(err)
					}
					var fwd, back []StreamID
					for it := tree.first(); it.valid(); it.next() {
						fwd = append(fwd, it.key())
					}
					for it := tree.last(); it.valid(); it.prev() {
						back = append(back, it.key())
					}
					slices.Reverse(back)
					if !slices.Equal(fwd, m) || !slices.Equal(back, m) {
						t.Fatalf("walks of %d entries give %d and %d", len(m), len(fwd), len(back))
					}
				}
			}
			if _, ok := tree.remove(StreamID{1 << 50, 0}); ok {
				t.Error("removed what is not there")
			}
			tree.free()
			if n := a.Used(); n != 0 {
				t.Errorf("%d bytes leaked", n)
			}
		})
	}
}
