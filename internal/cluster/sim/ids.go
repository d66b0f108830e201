package sim

import (
	"encoding/binary"

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

// accusations are who called whom failing and when, by numbers of nodes.
type accusations struct {
	about []accused
	some  int // how many nodes are accused
}

type accused struct {
	by    []cluster.Millis // when this one said so, 0 = it does not
	count int
}

// set notes that one node calls another failing.
func (a *accusations) set(about, by int, at cluster.Millis) {
	for about >= len(a.about) {
		a.about = append(a.about, accused{})
	}
	n := &a.about[about]
	for by >= len(n.by) {
		n.by = append(n.by, 0)
	}
	if n.by[by] == 0 {
		if n.count++; n.count == 1 {
			a.some++
		}
	}
	n.by[by] = at
}

// withdraw notes that it does no longer.
func (a *accusations) withdraw(about, by int) {
	if about >= len(a.about) {
		return
	}
	n := &a.about[about]
	if n.count == 0 || by >= len(n.by) || n.by[by] == 0 {
		return
	}
	n.by[by] = 0
	if n.count--; n.count == 0 {
		a.some--
	}
}

// at is when one last called the other failing, 0 if it does not.
func (a *accusations) at(about, by int) cluster.Millis {
	if about >= len(a.about) || by >= len(a.about[about].by) {
		return 0
	}
	return a.about[about].by[by]
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
