package slotmove

import (
	"bytes"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/resp"
)

func words(line string) (args [][]byte) {
	for _, w := range strings.Fields(line) {
		args = append(args, []byte(w))
	}
	return args
}

// What is written is read as the same; what is wrong is refused with a reason.
func TestMessages(t *testing.T) {
	for _, m := range []Msg{
		{Kind: MsgEstablish, Source: nodeA, Name: jobN, Slots: someSlots(0, 1, 2, 7, 16383)},
		{Kind: MsgAck, Mark: 1 << 40}, {Kind: MsgEOF}, {Kind: MsgPause}, {Kind: MsgPaused}, {Kind: MsgResume}, {Kind: MsgFailover}, {Kind: MsgGranted},
		{Kind: MsgFinish, Name: jobN, State: Success},
		{Kind: MsgFinish, Name: jobN, State: Failed, Text: "a reason\r\nof two lines"},
		{Kind: MsgProbe, Name: jobN, Slots: someSlots(5)},
		{Kind: MsgTaking, Name: jobN, Left: 3999},
		{Kind: MsgLeave, Name: jobN, Slots: someSlots(5, 6)},
		{Kind: MsgInherit, Source: nodeB, Name: jobN, Slots: someSlots(5, 6)},
	} {
		var p resp.Parser
		argv, _, err := p.Next(m.Append(nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, errText := ParseMsg(argv[2:])
		if errText != "" || got != m {
			t.Errorf("%s: %+v, %q, want %+v", argv[2], got, errText, m)
		}
	}
	est := "ESTABLISH SOURCE " + nodeA + " NAME " + jobN + " CAPA skein1 SLOTSRANGE "
	for line, want := range map[string]string{
		"":                 "ERR syntax error",
		"WHAT":             "ERR syntax error",
		"PAUSED now":       "ERR syntax error",
		"PAUSED now then":  "ERR syntax error",
		"ACK":              "ERR syntax error",
		"ACK x":            "ERR syntax error",
		"ACK -1":           "ERR syntax error",
		"ACK 1 2":          "ERR syntax error",
		est + "0 10 20 30": "",
		est + "0":          "ERR syntax error",
		est + "0 10 x 30":  "ERR syntax error",
		est + "0 16384":    "ERR Invalid or out of range slot",
		est + "x 1":        "ERR Invalid or out of range slot",
		est + "10 0":       "ERR start slot number 10 is greater than end slot number 0",
		est + "0 10 10 11": "ERR Slot ranges in migrations overlap",
		"establish source " + nodeA + " name " + jobN + " capa skein1 slotsrange 1 1": "",
		"ESTABLISH SOURCE " + nodeA + " NAME " + jobN + " SLOTSRANGE 0 1":             errCapability,
		"ESTABLISH SOURCE " + nodeA + " NAME " + jobN + " CAPA other SLOTSRANGE 0 1":  errCapability,
		"ESTABLISH SOURCE abc NAME " + jobN + " CAPA skein1 SLOTSRANGE 0 1":           "ERR Invalid node name: abc",
		"ESTABLISH SOURCE " + nodeA + " NAME abc CAPA skein1 SLOTSRANGE 0 1":          "ERR syntax error",
		"ESTABLISH NAME " + jobN + " CAPA skein1 SLOTSRANGE 0 1":                      "ERR syntax error",
		"ESTABLISH SOURCE " + nodeA + " NAME " + jobN + " CAPA skein1":                "ERR No slot ranges specified",
		"FINISH STATE success":                      "ERR syntax error",
		"FINISH STATE connecting NAME " + jobN:      "ERR syntax error",
		"FINISH NAME " + jobN:                       "ERR syntax error",
		"PROBE NAME " + jobN:                        "ERR syntax error",
		"TAKING LEFT 5":                             "ERR syntax error",
		"TAKING LEFT -5 NAME " + jobN:               "ERR syntax error",
		"TAKING NAME " + jobN + " SLOTSRANGE":       "ERR syntax error",
		"LEAVE SLOTSRANGE 1 1":                      "ERR syntax error",
		"INHERIT NAME " + jobN + " SLOTSRANGE 1 1":  "ERR syntax error",
		"INHERIT SOURCE " + nodeB + " NAME " + jobN: "ERR syntax error",
	} {
		if _, got := ParseMsg(words(line)); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestRanges(t *testing.T) {
	s := someSlots(0, 1, 2, 9, 63, 64, 16383)
	if got, want := s.String(), "0-2 9-9 63-64 16383-16383"; got != want || s.Len() != 7 {
		t.Errorf("%q, %d, want %q, 7", got, s.Len(), want)
	}
	o := someSlots(8, 64)
	if s.Common(&o) != 64 {
		t.Errorf("common slot %d, want 64", s.Common(&o))
	}
	if o = someSlots(8); s.Common(&o) != -1 {
		t.Error("a common slot of sets without one")
	}
}

// FuzzMessage: no bytes on the transport make the reader of messages panic, and
// what it takes is written and read as the same again.
func FuzzMessage(f *testing.F) {
	for _, m := range []Msg{{Kind: MsgEstablish, Source: nodeA, Name: jobN, Slots: someSlots(0, 1, 2, 7)}, {Kind: MsgAck, Mark: 7},
		{Kind: MsgFinish, Name: jobN, State: Failed, Text: "why"}, {Kind: MsgProbe, Name: jobN, Slots: someSlots(5)}, {Kind: MsgPaused},
		{Kind: MsgInherit, Source: nodeB, Name: jobN, Slots: someSlots(5)}} {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var p resp.Parser
		for {
			argv, n, err := p.Next(in, nil)
			if err != nil {
				return
			}
			in = in[n:]
			if len(argv) < 3 {
				continue
			}
			m, errText := ParseMsg(argv[2:])
			if errText != "" {
				if !strings.HasPrefix(errText, "ERR ") {
					t.Errorf("error %q", errText)
				}
				continue
			}
			var q resp.Parser
			again, _, err := q.Next(m.Append(nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			if o, errText := ParseMsg(again[2:]); errText != "" || o != m {
				t.Errorf("%q read as %+v, written and read %+v, %q", bytes.Join(argv, []byte(" ")), m, o, errText)
			}
		}
	})
}
