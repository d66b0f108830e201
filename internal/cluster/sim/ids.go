package sim

import (
	"encoding/binary"
	"slices"

	"github.com/skeindb/skein/internal/cluster"
)

// ids numbers the node ids of a world in the order in which they are first
// seen, so that what is remembered about nodes message by message can be kept in
// slices rather than in maps with keys of 40 bytes.
type ids struct {
	number map[cluster.NodeID]int
	recent [1 << recentBits]struct { // answers most of of
		id     cluster.NodeID
		number int
	}
}

const recentBits = 10

// of is the number of an id.
func (t *ids) of(id *cluster.NodeID) int {
	r := &t.recent[binary.LittleEndian.Uint64(id[:])*0x9E3779B97F4A7C15>>(64-recentBits)]
	if r.id == *id && !id.IsZero() {
		return r.number
	}
	k, known := t.number[*id]
	if !known {
		if t.number == nil {
			t.number = map[cluster.NodeID]int{}
		}
		k = len(t.number)
		t.number[*id] = k
	}
	r.id, r.number = *id, k
	return k
}

// accusations are who called whom failing and when, by numbers of nodes: a row
// for each who does, ordered by whom, since even in large worlds those are few.
type accusations [][]accusation

type accusation struct {
	about int
	at    cluster.Millis
}

func (a accusations) find(by, about int) (i int, found bool) {
	return slices.BinarySearchFunc(a[by], about, func(x accusation, about int) int { return x.about - about })
}

// set notes that one node calls another failing.
func (a *accusations) set(by, about int, at cluster.Millis) {
	for by >= len(*a) {
		*a = append(*a, nil)
	}
	i, found := a.find(by, about)
	if !found {
		(*a)[by] = slices.Insert((*a)[by], i, accusation{about: about})
	}
	(*a)[by][i].at = at
}

// withdraw notes that it does no longer. It must have called some.
func (a accusations) withdraw(by, about int) {
	if i, found := a.find(by, about); found {
		a[by] = slices.Delete(a[by], i, i+1)
	}
}

// some tells whether a node calls any other failing.
func (a accusations) some(by int) bool { return by < len(a) && len(a[by]) > 0 }

// at is when one node last called the other failing, 0 if it does not.
func (a accusations) at(by, about int) cluster.Millis {
	if !a.some(by) {
		return 0
	}
	if i, found := a.find(by, about); found {
		return a[by][i].at
	}
	return 0
}

// claims are the slots that each primary last said it owns, by its number.
type claims []claim

type claim struct {
	slots *cluster.SlotSet
	heard bool
}

func (c *claims) set(of int, slots *cluster.SlotSet) {
	for of >= len(*c) {
		*c = append(*c, claim{})
	}
	(*c)[of] = claim{slots, true}
}

func (c claims) of(node int) claim {
	if node >= len(c) {
		return claim{}
	}
	return c[node]
}
