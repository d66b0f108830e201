package slotmove

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/labtest"
	"github.com/skeindb/skein/internal/resp"
)

// oneOwner is a cluster in which one node owns all slots, until this one takes some.
type oneOwner struct {
	Cluster
	owner  string // "": nodeA
	taken  Slots
	refuse []error // what the next calls of Take say
	asked  int
}

func (*oneOwner) MyID() string { return nodeB }
func (c *oneOwner) Owner(slot int) string {
	switch {
	case c.taken.Has(slot):
		return nodeB
	case c.owner != "":
		return strings.TrimSpace(c.owner)
	}
	return nodeA
}

// Node gives each node a shard of its own, but one shard to all whose names begin as
// this one's does.
func (*oneOwner) Node(id string) (n Node, ok bool) {
	if id == "" {
		return n, false
	}
	return Node{Host: id, Primary: true, Shard: id[:1]}, true
}

func (*oneOwner) Open(int) (importing, migrating bool) { return false, false }

func (c *oneOwner) Take(slots *Slots, from string, until time.Time) error {
	c.asked++
	if len(c.refuse) > 0 {
		err := c.refuse[0]
		c.refuse = c.refuse[1:]
		return err
	}
	switch {
	case from != c.Owner(0):
		return errors.New("from " + from)
	case time.Now().After(until):
		return errors.New("too late")
	}
	c.taken = *slots
	return nil
}

// answering is a Dial to nodes that answer the next questions, and do not when there is
// no answer left. It notes what they were asked.
func answering(answers []string, asked *[]string) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, host, _ string) (net.Conn, error) {
		if len(answers) == 0 {
			return nil, errors.New("refused")
		}
		answer := answers[0]
		answers = answers[1:]
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			r, err := resp.NewReader(there).Next()
			if err != nil {
				return
			}
			words := []string{host[:1]}
			for _, e := range r.Elems {
				words = append(words, e.Text())
			}
			*asked = append(*asked, strings.Join(words, " "))
			there.Write([]byte("+" + answer + "\r\n"))
		}()
		return here, nil
	}
}

// A replica that succeeds a target, and has everything, takes the slots in its place if
// the source lets it. It asks until it is answered, and again if it could not take them; it
// deletes what came only when it is certain that it will not get them.
func TestHeirOfTarget(t *testing.T) {
	const granted, taken, wait, never = inheritGranted, inheritTaken, probeWait, inheritNever
	const keeps = "The target node failed over, and the source keeps the slots"
	for _, tt := range []struct {
		name     string
		left     int64 // of TAKING, 0: it does not come
		answers  []string
		flush    bool
		relinked bool
		owner    string
		refuse   []error
		asked    int // calls of Take
		want     State
		why      string
	}{
		{name: "granted", left: 10_000, answers: []string{granted}, asked: 1, want: Success},
		{name: "granted long ago", left: 1, answers: []string{granted}, asked: 1, want: Success},
		{name: "the source goes on", left: 10_000, answers: []string{never}, want: Failed, why: keeps},
		{name: "the source has heard of a claim", left: 10_000, answers: []string{taken}, asked: 1, want: Success},
		{name: "the source does not know yet", left: 10_000, answers: []string{wait, "", granted}, asked: 1, want: Success},
		{name: "the source is not reached", left: 10_000, want: OnPrimary},
		{name: "not granted", want: Failed, why: "The target node failed over"},
		{name: "flushed", left: 10_000, flush: true, want: Failed, why: "The target node failed over"},
		{name: "the primary has been away since", left: 10_000, relinked: true, want: Failed, why: "The target node failed over"},
		{name: "refused once", left: 10_000, answers: []string{granted, granted}, refuse: []error{errors.New("ERR no")}, asked: 2, want: Success},
		{name: "refused, and then too late", left: 10_000, answers: []string{granted, never}, refuse: []error{errors.New("ERR no")},
			asked: 1, want: Failed, why: keeps},
		{name: "another owns them", left: 10_000, owner: "c", want: Failed, why: "The target node failed over"},
		{name: "the old target owns them", left: 10_000, owner: "b2", asked: 1, want: Success},
		{name: "nobody owns them", left: 10_000, owner: " ", want: OnPrimary},
	} {
		n := labtest.New(t, labtest.NewDisk(), 64<<20)
		n.Serve()
		cl := &oneOwner{refuse: tt.refuse, owner: tt.owner}
		var told, questions []string
		m := New(Options{
			Engine: n.E, Slog: n.Slog, Cluster: cl, Settings: func() Settings { return Settings{Silence: time.Minute, NodeTimeout: time.Second, LogLen: 5} },
			Announce: func(cmd []byte) { told = append(told, string(cmd)) }, Dial: answering(tt.answers, &questions),
		})
		slot := int(hashslot.Slot([]byte("key")))
		n.Client().Do("SET key value")
		m.fromPrimary(&Msg{Kind: MsgEstablish, Source: nodeA, Name: jobN, Slots: someSlots(slot)})
		if tt.left > 0 {
			m.fromPrimary(&Msg{Kind: MsgTaking, Name: jobN, Left: tt.left})
		}
		if tt.flush {
			n.Client().Do("FLUSHALL")
		}
		if tt.relinked {
			n.E.OpenPrimary("other", nil).Close()
		}
		m.tickTracked(true) // a replica waits
		m.wg.Wait()
		if jobs := m.jobs(); len(jobs) != 1 || jobs[0].State != OnPrimary || cl.asked != 0 {
			t.Errorf("%s: %+v as a replica", tt.name, jobs)
		}
		for range len(tt.answers) + 2 {
			m.tickTracked(false)
			m.wg.Wait()
		}
		jobs := m.jobs()
		if len(jobs) != 1 || jobs[0].State != tt.want || jobs[0].Message != tt.why || cl.asked != tt.asked {
			t.Errorf("%s: asked %d times, %+v", tt.name, cl.asked, jobs)
		}
		for _, q := range questions {
			if want := fmt.Sprintf("a CLUSTER SYNCSLOTS INHERIT SOURCE %s NAME %s SLOTSRANGE %d %d", nodeB, jobN, slot, slot); q != want {
				t.Errorf("%s: %q is asked, want %q", tt.name, q, want)
			}
		}
		over := tt.want != OnPrimary
		if over && (len(told) != 1 || !strings.Contains(told[0], tt.want.String())) || !over && len(told) > 0 {
			t.Errorf("%s: its replicas are told %q", tt.name, told)
		}
		want := "$-1"
		if tt.want == Success || !over {
			want = "$5\r\nvalue"
		}
		if got := n.Client().Do("GET key"); got != want || n.E.Store.SlotHidden(uint16(slot)) == over {
			t.Errorf("%s: GET replies %q, hidden %v", tt.name, got, n.E.Store.SlotHidden(uint16(slot)))
		}
		n.Close()
	}
}

// The source answers an heir of the target by what it knows: it holds its writers for
// this hand-over, and then longer; the slots are the heir's shard's; they stay.
func TestAnswerToHeir(t *testing.T) {
	const heir, other = "b2", "c"
	for _, tt := range []struct {
		name, owner, asker string
		state              State
		want               string
	}{
		{name: "granted", asker: heir, state: FailoverGranted, want: inheritGranted},
		{name: "granted to another shard", asker: other, state: FailoverGranted, want: probeWait},
		{name: "it asks before the grant", asker: heir, state: FailoverPaused, want: inheritNever},
		{name: "over", asker: heir, state: Failed, want: inheritNever},
		{name: "over, and the slots have gone", owner: nodeB, asker: heir, state: Success, want: inheritTaken},
		{name: "over, and they have gone to the heir", owner: heir, asker: heir, state: Success, want: inheritTaken},
		{name: "over, and another has them", owner: other, asker: heir, state: Failed, want: inheritNever},
		{name: "nobody has them", owner: " ", asker: heir, state: Failed, want: probeWait},
		{name: "unknown", asker: "", state: FailoverGranted, want: probeWait},
	} {
		n := labtest.New(t, labtest.NewDisk(), 64<<20)
		m := New(Options{Engine: n.E, Slog: n.Slog, Cluster: &oneOwner{owner: tt.owner},
			Settings: func() Settings { return Settings{Silence: time.Minute, NodeTimeout: time.Second} }})
		x := m.newExporter(job())
		x.x.State = tt.state
		if !tt.state.Final() {
			m.exports = append(m.exports, x)
		}
		if got := m.answerHeir(&Msg{Kind: MsgInherit, Source: tt.asker, Name: jobN, Slots: someSlots(1, 2)}); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if heard := x.target() == heir; heard != (tt.want == inheritGranted) {
			t.Errorf("%s: the target is %s", tt.name, x.target())
		}
		n.Close()
	}
}

// A target that was killed after the grant and is a replica now cannot tell that nobody
// takes the slots: who has succeeded it may.
func TestProbeOfReplica(t *testing.T) {
	n := labtest.New(t, labtest.NewDisk(), 64<<20)
	defer n.Close()
	m := New(Options{Engine: n.E, Cluster: new(oneOwner)})
	probe := &Msg{Kind: MsgProbe, Name: jobN, Slots: someSlots(7)}
	for replica, want := range map[bool]string{true: probeWait, false: probeNever} {
		n.E.SetView(&engine.View{Replica: replica})
		if got := m.answerProbe(probe); got != want {
			t.Errorf("replica %v: %s, want %s", replica, got, want)
		}
	}
	// Who has succeeded it says so while it has not settled that.
	n.E.SetView(&engine.View{})
	m.fromPrimary(&Msg{Kind: MsgEstablish, Source: nodeA, Name: jobN, Slots: someSlots(7)})
	for _, left := range []int64{0, 1000} {
		m.fromPrimary(&Msg{Kind: MsgTaking, Name: jobN, Left: left})
		if got, want := m.answerProbe(probe), map[bool]string{true: probeWait, false: probeNever}[left > 0]; got != want {
			t.Errorf("heir, TAKING LEFT %d: %s, want %s", left, got, want)
		}
	}
}

// A replica of a source remembers that slots may go for as long as they may, counted from
// the last word of its primary; if that has died, or the slots have gone, until nothing of
// them is left. One that succeeds it deletes the keys then.
func TestLeavingIsRemembered(t *testing.T) {
	hold := limits(60_000, 15_000).Hold
	for _, tt := range []struct {
		name  string
		owner string
		ago   int64
		empty bool
		want  bool
	}{
		{"heard", "b1", 1000, false, true},
		{"while the source may still wait", "b1", forgetAfter + hold - 500, false, true},
		{"given up long ago", "b1", forgetAfter + hold + 1, false, false},
		{"the slots are another's, the keys not yet deleted", nodeA, forgetAfter + hold + 1, false, true},
		{"the keys are deleted", nodeA, 1000, true, false},
	} {
		n := labtest.New(t, labtest.NewDisk(), 64<<20)
		n.Serve()
		cl := &oneOwner{owner: tt.owner}
		m := New(Options{Engine: n.E, Slog: n.Slog, Cluster: cl,
			Settings: func() Settings { return Settings{Silence: time.Minute, NodeTimeout: 15 * time.Second} }})
		slot := int(hashslot.Slot([]byte("key")))
		if !tt.empty {
			n.Client().Do("SET key value")
		}
		m.fromPrimary(&Msg{Kind: MsgLeave, Name: jobN, Slots: someSlots(slot)})
		l := m.leaving[jobN]
		l.heard -= tt.ago
		m.leaving[jobN] = l
		m.tickLeaving(true)
		if _, got := m.leaving[jobN]; got != tt.want {
			t.Errorf("%s: remembered %v", tt.name, got)
		}
		if cl.owner = nodeA; tt.want { // the claim is heard after the failover
			m.tickLeaving(false)
			if got := n.Client().Do("GET key"); got != "$-1" || len(m.leaving) > 0 {
				t.Errorf("%s: %q is left, remembered %v", tt.name, got, len(m.leaving))
			}
		}
		n.Close()
	}
}

// A replica does not forget slots that it may have to take, however long the election
// takes and whether they hold keys or not.
func TestGrantIsRemembered(t *testing.T) {
	for _, granted := range []bool{false, true} {
		n := labtest.New(t, labtest.NewDisk(), 64<<20)
		m := New(Options{
			Engine: n.E, Slog: n.Slog, Cluster: new(oneOwner), Settings: func() Settings { return Settings{LogLen: 5} },
		})
		m.fromPrimary(&Msg{Kind: MsgEstablish, Source: nodeA, Name: jobN, Slots: someSlots(7)})
		if granted {
			m.fromPrimary(&Msg{Kind: MsgTaking, Name: jobN, Left: 2 * forgetAfter})
		}
		m.tracked[jobN].heard -= forgetAfter + 1
		m.tickTracked(true)
		if kept := m.tracked[jobN] != nil; kept != granted {
			t.Errorf("granted %v, remembered %v", granted, kept)
		}
		n.Close()
	}
}

// What is repeated to replicas waits while writes are paused, but not until they forget.
func TestAnnounceDue(t *testing.T) {
	n := labtest.New(t, labtest.NewDisk(), 64<<20)
	m := New(Options{Engine: n.E, Slog: n.Slog})
	for _, tt := range []struct {
		paused bool
		ago    int64
		due    bool
	}{
		{false, announceEvery / 2, false},
		{false, announceEvery, true},
		{true, announceEvery, false},
		{true, 10_000, false}, // a manual failover is over by then
		{true, announceEveryPaused, true},
	} {
		if tt.paused {
			n.E.Pause("failover", n.E.Now()+100_000, false)
		}
		last := m.now().Mono - tt.ago
		was := last
		if got := m.announceDue(&last); got != tt.due || got != (last != was) {
			t.Errorf("%+v: %v, then %d for %d", tt, got, last, was)
		}
	}
}
