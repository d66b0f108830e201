package ds

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

type timedValue struct {
	value string
	at    int64
}

// Random operations on both encodings of a hash with times, against a map, with
// Check after each.
func TestTimedHashModel(t *testing.T) {
	a := newArena(t)
	r := rand.New(rand.NewPCG(8, 9))
	hdr := make([]byte, TTLTableHeader)
	table := InitTTLTable(a, hdr)
	var lp SliceBuf
	LPInit(&lp)
	m := map[string]timedValue{}
	for step := range 8000 {
		table = OpenTTLTable(a, hdr)
		field := fmt.Sprint("f", r.IntN(60))
		if r.IntN(4) == 0 {
			field = fmt.Sprint(r.IntN(5))
		}
		was, there := m[field]
		switch op := r.IntN(10); {
		case op < 6:
			v := timedValue{value: strings.Repeat("v", r.IntN(60))}
			if r.IntN(3) > 0 {
				v.at = 1 + r.Int64N(1000)
			}
			if r.IntN(8) == 0 {
				v.value = was.value
			}
			if added := table.Set([]byte(field), []byte(v.value), v.at); added == there {
				t.Fatalf("step %d: Set(%s) = %v", step, field, added)
			}
			if added := LPSetTriplet(&lp, []byte(field), []byte(v.value), v.at); added == there {
				t.Fatalf("step %d: LPSetTriplet(%s) = %v", step, field, added)
			}
			m[field] = v
		case op < 9:
			if ok := table.Delete([]byte(field)); ok != there {
				t.Fatalf("step %d: Delete(%s) = %v", step, field, ok)
			}
			if ok := LPDeleteTriplet(&lp, []byte(field)); ok != there {
				t.Fatalf("step %d: LPDeleteTriplet(%s) = %v", step, field, ok)
			}
			delete(m, field)
		case r.IntN(100) == 0:
			table.Free()
			LPInit(&lp)
			clear(m)
			if n := a.Used(); n != 0 {
				t.Fatalf("step %d: %d bytes leaked", step, n)
			}
			table = InitTTLTable(a, hdr)
		}
		if err := table.Check(); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if err := ValidateLP(lp.B); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		first, timed := int64(0), 0
		for _, v := range m {
			if v.at != 0 {
				timed++
				if first == 0 || v.at < first {
					first = v.at
				}
			}
		}
		if table.Len() != len(m) || table.Expiring() != timed || table.FirstTime() != first || LP(lp.B).FirstTime() != first {
			t.Fatalf("step %d: %d fields, %d expire, next at %d, %d; want %d, %d, %d", step, table.Len(), table.Expiring(),
				table.FirstTime(), LP(lp.B).FirstTime(), len(m), timed, first)
		}
		if used := a.Used(); used != int64(table.MemUsed()) {
			t.Fatalf("step %d: MemUsed %d, the heap says %d", step, table.MemUsed(), used)
		}
		got := map[string]timedValue{}
		table.Each(func(field, value []byte, at int64) bool {
			got[string(field)] = timedValue{string(value), at}
			return true
		})
		packed := map[string]timedValue{}
		var times []int64
		for it := LP(lp.B).Iter(); it.Next(); {
			f := it.Elem().Append(nil)
			it.Next()
			v := it.Elem().Append(nil)
			it.Next()
			packed[string(f)] = timedValue{string(v), it.Elem().Int}
			times = append(times, it.Elem().Int-1) // 0 becomes the greatest
		}
		if !maps.Equal(got, m) || !maps.Equal(packed, m) {
			t.Fatalf("step %d:\n table %v\npacked %v\n  want %v", step, got, packed, m)
		}
		if !slices.IsSortedFunc(times, func(x, y int64) int { return cmp.Compare(uint64(x), uint64(y)) }) {
			t.Fatalf("step %d: times out of order: %v", step, times)
		}
	}
	table.Free()
}
