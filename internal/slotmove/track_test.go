package slotmove

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/labtest"
)

// oneOwner is a cluster in which one node owns all slots, until this one takes some.
type oneOwner struct {
	Cluster
	taken  Slots
	refuse error
	asked  int
}

func (*oneOwner) MyID() string { return nodeB }
func (c *oneOwner) Owner(slot int) string {
	if c.taken.Has(slot) {
		return nodeB
	}
	return nodeA
}

func (c *oneOwner) Take(slots *Slots, from string, until time.Time) error {
	c.asked++
	switch {
	case from != nodeA:
		return errors.New("from " + from)
	case c.refuse != nil:
		return c.refuse
	case time.Now().After(until):
		return errors.New("too late")
	}
	c.taken = *slots
	return nil
}

// A replica that succeeds a target takes the slots in its place, if they were granted
// and the source still waits. Otherwise it deletes what came.
func TestHeirOfTarget(t *testing.T) {
	for _, tt := range []struct {
		name   string
		left   int64 // of TAKING, 0: it does not come
		flush  bool
		refuse error
		asked  int
		want   State
		why    string
	}{
		{"granted", 10_000, false, nil, 1, Success, ""},
		{"not granted", 0, false, nil, 0, Failed, "The target node failed over"},
		{"granted long ago", heirMargin, false, nil, 0, Failed, "The target node failed over"},
		{"flushed", 10_000, true, nil, 0, Failed, "The data set was flushed"},
		{"refused", 10_000, false, errors.New("ERR no"), 1, Failed, "ERR no"},
	} {
		n := labtest.New(t, labtest.NewDisk(), 64<<20)
		n.Serve()
		cl := &oneOwner{refuse: tt.refuse}
		var told []string
		m := New(Options{
			Engine: n.E, Slog: n.Slog, Cluster: cl, Settings: func() Settings { return Settings{Silence: time.Minute, NodeTimeout: time.Second, LogLen: 5} },
			Announce: func(cmd []byte) { told = append(told, string(cmd)) },
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
		m.tickTracked(true) // a replica waits
		m.wg.Wait()
		if jobs := m.jobs(); len(jobs) != 1 || jobs[0].State != OnPrimary || cl.asked != 0 {
			t.Errorf("%s: %+v as a replica", tt.name, jobs)
		}
		m.tickTracked(false)
		m.wg.Wait()
		m.tickTracked(false) // it is over
		m.wg.Wait()
		jobs := m.jobs()
		if len(jobs) != 1 || jobs[0].State != tt.want || jobs[0].Message != tt.why || cl.asked != tt.asked {
			t.Errorf("%s: asked %d times, %+v", tt.name, cl.asked, jobs)
		}
		if len(told) != 1 || !strings.Contains(told[0], tt.want.String()) {
			t.Errorf("%s: its replicas are told %q", tt.name, told)
		}
		want := "$-1"
		if tt.want == Success {
			want = "$5\r\nvalue"
		}
		if got := n.Client().Do("GET key"); got != want || n.E.Store.SlotHidden(uint16(slot)) {
			t.Errorf("%s: GET replies %q, hidden %v", tt.name, got, n.E.Store.SlotHidden(uint16(slot)))
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
