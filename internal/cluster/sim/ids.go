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
		known  bool
	}
}

const recentBits = 10

// of is the number of an id.
func (t *ids) of(id *cluster.NodeID) int {
	r := &t.recent[binary.LittleEndian.Uint64(id[:])*0x9E3779B97F4A7C15>>(64-recentBits)]
	if r.known && r.id.Same(id) {
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
	r.id, r.number, r.known = *id, k, true
	return k
}

// numbers are a set of numbers of nodes.
type numbers []uint64

func (s *numbers) add(k int) {
	for k>>6 >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[k>>6] |= 1 << (k & 63)
}

func (s *numbers) has(k int) bool { return k>>6 < len(*s) && (*s)[k>>6]&(1<<(k&63)) != 0 }

// accusations are who called whom failing and when, by numbers of nodes: a row
// for each who does, since even in large worlds those are few.
type accusations []accuser

// accuser is what one node says. Most gossip is of others than those it accuses,
// which a glance at a few bits tells.
type accuser struct {
	maybe [4]uint64 // bit of number % 256: some of those may be accused
	list  []accusation
}

type accusation struct {
	about int32
	at    int32 // milliseconds: a world lives for minutes
}

func (a *accuser) find(about int) int {
	if a.maybe[about>>6&3]&(1<<(about&63)) != 0 {
		for i := range a.list {
			if a.list[i].about == int32(about) {
				return i
			}
		}
	}
	return -1
}

// set notes that one node calls another failing.
func (a *accusations) set(by, about int, at cluster.Millis) {
	for by >= len(*a) {
		*a = append(*a, accuser{})
	}
	row := &(*a)[by]
	if i := row.find(about); i >= 0 {
		row.list[i].at = int32(at)
		return
	}
	row.maybe[about>>6&3] |= 1 << (about & 63)
	row.list = append(row.list, accusation{int32(about), int32(at)})
}

// withdraw notes that it does no longer.
func (a accusations) withdraw(by, about int) {
	row := &a[by]
	i := row.find(about)
	if i < 0 {
		return
	}
	row.list = slices.Delete(row.list, i, i+1)
	row.maybe = [4]uint64{}
	for _, x := range row.list {
		row.maybe[x.about>>6&3] |= 1 << (x.about & 63)
	}
}

// some tells whether a node calls any other failing.
func (a accusations) some(by int) bool { return by < len(a) && len(a[by].list) > 0 }

// at is when one node last called the other failing, 0 if it does not.
func (a accusations) at(by, about int) cluster.Millis {
	if a.some(by) {
		if i := a[by].find(about); i >= 0 {
			return cluster.Millis(a[by].list[i].at)
		}
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
	if x := &(*c)[of]; x.slots != slots || !x.heard { // mostly it is the same again
		*x = claim{slots, true}
	}
}

func (c claims) of(node int) claim {
	if node >= len(c) {
		return claim{}
	}
	return c[node]
}
