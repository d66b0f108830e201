package bus

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/resp"
)

// Goal: every form of CLUSTER SETSLOT that is wrong gets the reply of Valkey 8,
// or where that takes anything, of Redis 7. Method: a lone node that owns slots
// below 100.
func TestSetSlotForms(t *testing.T) {
	n := newNode(t)
	c := n.client()
	c.do("CLUSTER ADDSLOTSRANGE 0 99")
	me, other := n.id(), strings.Repeat("a", 40)
	for _, tt := range [][2]string{
		{"5", "-ERR wrong number of arguments for 'cluster|setslot' command"},
		{"x STABLE", "-ERR Invalid or out of range slot"},
		{"16384 STABLE", "-ERR Invalid or out of range slot"},
		{"-1 STABLE", "-ERR Invalid or out of range slot"},
		{"5 STABLE", "+OK"},
		{"5 stable timeout 100", "+OK"},
		{"5 STABLE extra", "-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"},
		{"5 STABLE TIMEOUT", "-ERR Missing timeout value"},
		{"5 STABLE TIMEOUT x", "-ERR timeout is not an integer or out of range"},
		{"5 STABLE TIMEOUT -1", "-ERR timeout is negative"},
		{"5 STABLE TIMEOUT 1 2", "-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"},
		{"5 NODE", "-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"},
		{"5 FOO", "-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"},
		{"5 FOO bar", "-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"},
		{"5 NODE abc", "-ERR Unknown node abc"},
		{"5 NODE abc TIMEOUT x", "-ERR Unknown node abc"},
		{"5 NODE " + me + " TIMEOUT", "-ERR Missing timeout value"},
		{"5 NODE " + me + " TIMEOUT 0", "+OK"},
		{"5 MIGRATING " + other, "-ERR I don't know about node " + other},
		{"100 MIGRATING " + me, "-ERR I'm not the owner of hash slot 100"},
		{"5 IMPORTING " + me, "-ERR I'm already the owner of hash slot 5"},
		{"100 IMPORTING " + other, "-ERR I don't know about node " + other},
		{"5 MIGRATING " + me, "+OK"},
		{"100 IMPORTING " + me, "+OK"},
		{"5 STABLE", "+OK"},
		{"100 STABLE", "+OK"},
	} {
		if got := strings.TrimSpace(c.do("CLUSTER SETSLOT " + tt[0])); got != tt[1] {
			t.Errorf("SETSLOT %s: %q, want %q", tt[0], got, tt[1])
		}
	}
}

// Goal: replicas hear of a SETSLOT before it is executed, and it is not executed
// unless all have acknowledged it. Method: replication that answers as told.
func TestSetSlotReplicated(t *testing.T) {
	n := newNode(t)
	c := n.client()
	c.do("CLUSTER ADDSLOTSRANGE 0 16383")
	until(t, "state ok", func() string {
		if n.View().State != cluster.StateOK {
			return "state fail"
		}
		return ""
	})
	open := func() bool { return n.View().Open.Has(5) }
	cmd := "CLUSTER SETSLOT 5 MIGRATING " + n.id()
	stream := string(resp.AppendCommandStrings(nil, strings.Fields(cmd)...))
	n.repl.replicas.Store(2)
	if got := c.do(cmd); !strings.HasPrefix(got, "-NOREPLICAS Not enough good replicas to write.") || open() {
		t.Errorf("without acknowledgements: %q, slot open: %v", got, open())
	}
	n.repl.acks.Store(true)
	if got := c.do(cmd); got != "+OK\r\n" || !open() {
		t.Errorf("with acknowledgements: %q, slot open: %v", got, open())
	}
	if got := n.repl.stream; !slices.Equal(got, []string{stream, stream}) {
		t.Errorf("the stream has %q", got)
	}
	n.repl.late.Store(true) // a snapshot was made in between
	c.do("CLUSTER SETSLOT 5 STABLE TIMEOUT 70")
	if got := len(n.repl.stream); got != 4 || open() {
		t.Errorf("a snapshot in between: %d commands in the stream, want 4; slot open: %v", got, open())
	}
	if want := []string{"2 replicas, 2000 ms", "2 replicas, 2000 ms", "2 replicas, 70 ms"}; !slices.Equal(n.repl.asked, want) {
		t.Errorf("asked %q, want %q", n.repl.asked, want)
	}
	// What is refused anyhow is not told.
	c.do("CLUSTER SETSLOT 100 IMPORTING " + n.id())
	if got := len(n.repl.stream); got != 4 {
		t.Errorf("a refused command is in the stream")
	}
	// A transaction does not wait, and may hold locks.
	for _, tt := range [][2]string{{"MULTI", "+OK"}, {"SET x 1", "+QUEUED"}, {cmd, "+QUEUED"}, {"CLUSTER BUMPEPOCH", "+QUEUED"}, {"EXEC", "*3"}} {
		if got := c.do(tt[0]); !strings.HasPrefix(got, tt[1]) {
			t.Errorf("%s: %q, want %s", tt[0], got, tt[1])
		}
	}
	if got := len(n.repl.stream); got != 5 {
		t.Errorf("after a transaction %d commands in the stream, want 5", got)
	}
}

func TestSlotStates(t *testing.T) {
	a, b := cluster.NodeID([]byte(strings.Repeat("a", 40))), cluster.NodeID([]byte(strings.Repeat("b", 40)))
	cmd, ok := parseSlotStates(fmt.Sprintf("7<%s,9<%s,16383>%s,", a, b, b))
	want := cluster.LoadMarkers{Importing: []cluster.SlotMark{{Slot: 7, Node: a}, {Slot: 9, Node: b}}, Migrating: []cluster.SlotMark{{Slot: 16383, Node: b}}}
	if !ok || fmt.Sprint(cmd) != fmt.Sprint(want) {
		t.Errorf("parsed %v %v, want %v", cmd, ok, want)
	}
	for _, bad := range []string{"7", "7<", "7<abc,", "16384<" + a.String(), "-1>" + a.String(), "<" + a.String(), ","} {
		if cmd, ok := parseSlotStates(bad); ok {
			t.Errorf("%q is taken as %v", bad, cmd)
		}
	}
}

// FuzzSlotStates: what is read can be written and is read as the same.
func FuzzSlotStates(f *testing.F) {
	id := strings.Repeat("0123456789", 4)
	for _, s := range []string{"", "1<" + id + ",", "1<" + id + ",2>" + id + ",", "1<" + id, ",,", "16384>" + id} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cmd, ok := parseSlotStates(text)
		if !ok {
			return
		}
		again, ok := parseSlotStates(appendSlotStates(cmd.Migrating, cmd.Importing))
		if !ok || fmt.Sprint(again) != fmt.Sprint(cmd) {
			t.Errorf("%q is read as %v, written and read as %v %v", text, cmd, again, ok)
		}
	})
}
