package ds

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// streamModel is a stream as slices and maps of Go.
type streamModel struct {
	entries []modelEntry
	last    StreamID
	deleted StreamID
	added   int
	groups  map[string]*modelGroup
}

type modelEntry struct {
	id    StreamID
	pairs []string
}

type modelGroup struct {
	pending map[StreamID]string
	users   map[string]bool
}

func (m *streamModel) find(id StreamID) (int, bool) {
	return slices.BinarySearchFunc(m.entries, id, func(e modelEntry, id StreamID) int { return e.id.Compare(id) })
}

// text renders entries of a stream.
func streamText(it StreamIter) string {
	var b strings.Builder
	for it.Next() {
		fmt.Fprintf(&b, "%v", it.ID())
		for p := it.Pairs(); ; {
			f, v, ok := p.Next()
			if !ok {
				break
			}
			fmt.Fprintf(&b, " %q=%q", f.Append(nil), v.Append(nil))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (m *streamModel) text(start, end StreamID, back bool) string {
	var lines []string
	for _, e := range m.entries {
		if e.id.Less(start) || end.Less(e.id) {
			continue
		}
		s := fmt.Sprintf("%v", e.id)
		for i := 0; i < len(e.pairs); i += 2 {
			s += fmt.Sprintf(" %q=%q", e.pairs[i], e.pairs[i+1])
		}
		lines = append(lines, s+"\n")
	}
	if back {
		slices.Reverse(lines)
	}
	return strings.Join(lines, "")
}

func byteSlices(s []string) (b [][]byte) {
	for _, x := range s {
		b = append(b, []byte(x))
	}
	return b
}

// Random operations on entries and groups against the model, with Check after
// each; then a copy is equal, and everything is given back.
func TestStreamModel(t *testing.T) {
	a := newArena(t)
	r := rand.New(rand.NewPCG(5, 6))
	s := InitStream(a, make([]byte, StreamHeader+1)[1:])
	m := streamModel{groups: map[string]*modelGroup{}}
	name := func(n int) string { return fmt.Sprintf("name%d", r.IntN(n)) }
	someID := func() StreamID {
		if len(m.entries) > 0 && r.IntN(4) > 0 {
			return m.entries[r.IntN(len(m.entries))].id
		}
		return StreamID{r.Uint64N(m.last.Ms + 2), r.Uint64N(6)}
	}
	for step := range 6000 {
		lim := StreamLimits{Bytes: 1 + r.IntN(600), Entries: 1 + r.IntN(20)}
		switch op := r.IntN(20); {
		case op < 9:
			id := StreamID{m.last.Ms + r.Uint64N(3), r.Uint64N(200)}
			if id.Compare(m.last) <= 0 {
				id, _ = m.last.Next()
			}
			pairs := []string{"a", fmt.Sprint(r.IntN(1000)), "b", strings.Repeat("x", r.IntN(100))}
			switch r.IntN(6) {
			case 0:
				pairs = pairs[:2]
			case 1:
				pairs = append(pairs, fmt.Sprint(r.Int64()), fmt.Sprint(-r.Int64()), strings.Repeat("f", r.IntN(300)), "")
			case 2:
				pairs[0] = "12"
			}
			s.Append(id, byteSlices(pairs), lim)
			m.entries = append(m.entries, modelEntry{id, pairs})
			m.last = id
			m.added++
		case op < 12:
			id := someID()
			i, ok := m.find(id)
			if got := s.Delete(id); got != ok {
				t.Fatalf("step %d: Delete(%v) = %v", step, id, got)
			}
			if ok {
				m.entries = slices.Delete(m.entries, i, i+1)
				if m.deleted.Less(id) {
					m.deleted = id
				}
			}
		case op == 12:
			before := len(m.entries)
			trim := StreamTrim{MaxLen: r.IntN(200), Approx: r.IntN(2) == 0}
			drop := max(before-trim.MaxLen, 0)
			if r.IntN(2) == 0 {
				trim = StreamTrim{ByID: true, MinID: someID(), Approx: trim.Approx}
				drop, _ = m.find(trim.MinID)
			}
			got := s.Trim(trim)
			if got != drop && !trim.Approx || got > drop {
				t.Fatalf("step %d: Trim(%+v) = %d, want %d", step, trim, got, drop)
			}
			m.entries = slices.Delete(m.entries, 0, got)
		default:
			streamGroupStep(t, r, s, &m, name, someID)
		}
		if err := s.Check(); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if s.Len() != len(m.entries) || s.Last() != m.last || s.MaxDeleted() != m.deleted || s.Added() != uint64(m.added) {
			t.Fatalf("step %d: totals %+v, want %d entries, last %v deleted %v added %d", step, s.Totals(), len(m.entries), m.last, m.deleted, m.added)
		}
		start, end, back := someID(), someID(), r.IntN(2) == 0
		if step%20 == 0 {
			start, end = StreamID{}, MaxStreamID
		}
		if got, want := streamText(s.Range(start, end, back)), m.text(start, end, back); got != want {
			t.Fatalf("step %d: from %v to %v, back %v\n got %s\nwant %s", step, start, end, back, got, want)
		}
		if step%500 == 0 {
			to := InitStream(a, make([]byte, StreamHeader))
			s.CopyTo(to)
			if err := to.Check(); err != nil {
				t.Fatal(err)
			}
			if streamText(to.Range(StreamID{}, MaxStreamID, false)) != m.text(StreamID{}, MaxStreamID, false) || to.Totals() != s.Totals() {
				t.Fatalf("step %d: the copy differs", step)
			}
			to.Free()
			if used := a.Used(); used < int64(s.MemUsed()) || step > 0 && used != int64(s.MemUsed()) {
				t.Fatalf("step %d: MemUsed = %d, the heap says %d", step, s.MemUsed(), used)
			}
		}
	}
	s.Free()
	if n := a.Used(); n != 0 {
		t.Errorf("%d bytes leaked", n)
	}
}

// streamGroupStep does something to a group.
func streamGroupStep(t *testing.T, r *rand.Rand, s Stream, m *streamModel, name func(int) string, someID func() StreamID) {
	t.Helper()
	n := name(4)
	g, ok := s.Group([]byte(n))
	mg := m.groups[n]
	if ok != (mg != nil) {
		t.Fatalf("Group(%s) = %v", n, ok)
	}
	if !ok {
		if _, ok := s.CreateGroup([]byte(n), someID(), 3); !ok {
			t.Fatalf("CreateGroup(%s) failed", n)
		}
		m.groups[n] = &modelGroup{map[StreamID]string{}, map[string]bool{}}
		return
	}
	user := name(30)
	c, ok := g.Consumer([]byte(user))
	if ok != mg.users[user] {
		t.Fatalf("Consumer(%s) = %v", user, ok)
	}
	if !ok {
		c, _ = g.CreateConsumer([]byte(user), 7)
		mg.users[user] = true
	}
	switch op := r.IntN(40); {
	case op == 0:
		s.DestroyGroup([]byte(n))
		delete(m.groups, n)
	case op == 1:
		want := 0
		for _, u := range mg.pending {
			if u == user {
				want++
			}
		}
		if got, ok := g.DeleteConsumer([]byte(user)); got != want || !ok {
			t.Fatalf("DeleteConsumer(%s) = %d, want %d", user, got, want)
		}
		delete(mg.users, user)
		maps.DeleteFunc(mg.pending, func(_ StreamID, u string) bool { return u == user })
	case op < 10 && len(mg.pending) > 0:
		id := someID()
		for k := range mg.pending { // any
			id = k
			break
		}
		_, want := mg.pending[id]
		if got := g.Ack(id); got != want {
			t.Fatalf("Ack(%v) = %v", id, got)
		}
		delete(mg.pending, id)
	default:
		id := someID()
		p, ok := g.FindPending(id)
		if _, want := mg.pending[id]; ok != want {
			t.Fatalf("FindPending(%v) = %v", id, ok)
		}
		if ok {
			p.SetConsumer(c)
		} else {
			p = g.AddPending(id, c, 11, 1)
		}
		mg.pending[id] = user
		if got := p.Consumer().Name(); string(got) != user {
			t.Fatalf("%v belongs to %s, want %s", id, got, user)
		}
	}
	for n, mg := range m.groups {
		if g, _ := s.Group([]byte(n)); g.Pending() != len(mg.pending) || g.Consumers() != len(mg.users) {
			t.Fatalf("group %s: %d pending, %d consumers, want %d, %d", n, g.Pending(), g.Consumers(), len(mg.pending), len(mg.users))
		}
	}
}

// Adding entries in steady state leaves nothing to the garbage collector.
func TestStreamAppendAllocs(t *testing.T) {
	a := newArena(t)
	s := InitStream(a, make([]byte, StreamHeader))
	pairs := byteSlices([]string{"field", "value", "n", "1234"})
	id := StreamID{Ms: 1}
	if n := testing.AllocsPerRun(2000, func() {
		id.Ms++
		s.Append(id, pairs, StreamLimits{4096, 100})
		s.Trim(StreamTrim{MaxLen: 500, Approx: true})
	}); n != 0 {
		t.Errorf("%v allocations per entry", n)
	}
	s.Free()
}

// Whatever bytes pass ValidateStreamNode are read, changed and given back.
func FuzzStreamNode(f *testing.F) {
	a := newArena(f)
	s := InitStream(a, make([]byte, StreamHeader))
	for i, pairs := range [][]string{{"f", "v"}, {"f", "w"}, {"g", "x", "h", "70000"}, {"f", "-1"}} {
		s.Append(StreamID{1000 + uint64(i), uint64(i)}, byteSlices(pairs), StreamLimits{})
		s.Nodes(func(base StreamID, node []byte) bool {
			f.Add(bytes.Clone(node), base.Ms, base.Seq)
			return true
		})
	}
	s.Delete(StreamID{1001, 1})
	s.Nodes(func(base StreamID, node []byte) bool {
		f.Add(bytes.Clone(node), base.Ms, uint64(1<<63))
		return true
	})
	s.Free()
	f.Fuzz(func(t *testing.T, node []byte, ms, seq uint64) {
		var last StreamID
		live, n := 0, 0
		var ids []StreamID
		base := StreamID{ms, seq}
		if ValidateStreamNode(node, base, func(id StreamID, deleted bool) string {
			if n > 0 && !last.Less(id) {
				return "order"
			}
			n++
			last = id
			if !deleted {
				live++
				ids = append(ids, id)
			}
			return ""
		}) != "" || live == 0 {
			return
		}
		s := InitStream(a, make([]byte, StreamHeader))
		s.AppendNode(base, node)
		s.SetTotals(StreamTotals{Length: uint64(live), First: ids[0], Last: last, Added: uint64(live)})
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		var back []StreamID
		for it := s.Range(StreamID{}, MaxStreamID, true); it.Next(); {
			back = append(back, it.ID())
			for p := it.Pairs(); ; {
				if _, _, ok := p.Next(); !ok {
					break
				}
			}
		}
		slices.Reverse(back)
		if !slices.Equal(back, ids) {
			t.Fatalf("backwards %v, want %v", back, ids)
		}
		if next, ok := last.Next(); ok {
			s.Append(next, [][]byte{[]byte("f"), []byte("v")}, StreamLimits{1 << 20, 1000})
		}
		s.Trim(StreamTrim{MaxLen: live/2 + 1})
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids[live/2:] {
			if s.Delete(id); s.Delete(id) {
				t.Fatalf("%v is still there", id)
			}
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		s.Free()
		if used := a.Used(); used != 0 {
			t.Fatalf("%d bytes leaked", used)
		}
	})
}
