package slotmove

import (
	"math/bits"
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/store"
)

// Slots is a set of slots.
type Slots engine.SlotSet

// Add puts a slot into the set; Has looks for it.
func (s *Slots) Add(slot int)      { s[slot>>6] |= 1 << (slot & 63) }
func (s *Slots) Has(slot int) bool { return s[slot>>6]&(1<<(slot&63)) != 0 }

// Len counts the slots.
func (s *Slots) Len() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Each visits the slots in ascending order.
func (s *Slots) Each(visit func(slot int)) {
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			visit(i<<6 + bits.TrailingZeros64(w))
		}
	}
}

// All reports whether ok holds for every slot.
func (s *Slots) All(ok func(slot int) bool) bool {
	all := true
	s.Each(func(slot int) { all = all && ok(slot) })
	return all
}

// Common returns a slot that is in both sets, -1 if there is none.
func (s *Slots) Common(o *Slots) int {
	for i, w := range s {
		if both := w & o[i]; both != 0 {
			return i<<6 + bits.TrailingZeros64(both)
		}
	}
	return -1
}

// Ranges visits the maximal ranges of the set in ascending order.
func (s *Slots) Ranges(visit func(first, last int)) {
	for slot := 0; slot < store.Slots; slot++ {
		if !s.Has(slot) {
			continue
		}
		first := slot
		for slot+1 < store.Slots && s.Has(slot+1) {
			slot++
		}
		visit(first, slot)
	}
}

// String is the ranges as "a-b a-b".
func (s *Slots) String() string {
	var b strings.Builder
	s.Ranges(func(first, last int) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(first) + "-" + strconv.Itoa(last))
	})
	return b.String()
}

// set is s as the engine takes it.
func (s *Slots) set() *engine.SlotSet { return (*engine.SlotSet)(s) }
