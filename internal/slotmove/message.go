package slotmove

import (
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/resp"
)

// Kind is what a message says.
type Kind uint8

// The messages, arguments of CLUSTER SYNCSLOTS.
const (
	MsgNone      Kind = iota
	MsgEstablish      // SOURCE id NAME n CAPA c SLOTSRANGE a b ...: a migration begins
	MsgAck            // n: everything up to this mark of the source was run
	MsgEOF            // the snapshot is complete
	MsgPause          // the target wants writes to stop
	MsgPaused         // they have, and this is behind the last effect
	MsgResume         // the target's replicas are not in step: writes go on, it will ask again
	MsgFailover       // the target wants to take the slots
	MsgGranted        // it may
	MsgFinish         // STATE s NAME n [MESSAGE m]: it is over
	MsgProbe          // NAME n SLOTSRANGE a b ...: has the target taken the slots?
	MsgTaking         // NAME n LEFT ms: to replicas of a target: everything has come, and for so long its heir may still get the slots; 0: it is over
	MsgLeave          // NAME n SLOTSRANGE a b ...: to replicas of a source: the slots may be taken from here on
	MsgInherit        // SOURCE id NAME n SLOTSRANGE a b ...: may the target's heir, id, take the slots?
)

var kindWords = [...]string{"", "establish", "ack", "snapshot-eof", "request-pause", "paused", "request-resume", "request-failover", "failover-granted", "finish", "probe", "taking", "leave", "inherit"}

func (k Kind) String() string { return strings.ToUpper(kindWords[k]) }

// Msg is one message between the two sides, or from one of them to its replicas.
type Msg struct {
	Kind   Kind
	Source string // node id; of MsgInherit that of the heir
	Name   string // of the job, 40 hexadecimal digits
	Slots  Slots
	Mark   int64  // of MsgAck
	State  State  // of MsgFinish, a final one
	Text   string // of MsgFinish
	Left   int64  // of MsgTaking, ms
}

// capability names the form of what follows ESTABLISH. Another server that knows
// the command sends other things, and must not be taken for one of ours.
const capability = "skein1"

// idLen is the length of node ids and job names.
const idLen = 40

func isID(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(b) == idLen
}

// Errors of arguments (cluster specification, appendix A 2 and 11.2).
const (
	errNoRanges    = "ERR No slot ranges specified"
	errOverlap     = "ERR Slot ranges in migrations overlap"
	errNodeName    = "ERR Invalid node name: "
	errUnknownNode = "ERR Unknown node name: "
	errCapability  = "ERR the source does not speak this node's form of slot migration"
)

// parseRanges reads "a b [a b ...]" up to the first argument that is no number
// and returns what is behind them.
func parseRanges(args [][]byte, s *Slots) (rest [][]byte, errText string) {
	n := 0
	for ; len(args) > 0; args = args[2:] {
		if _, ok := command.ParseInt(args[0]); !ok && n > 0 {
			break
		}
		if len(args) < 2 {
			return nil, command.ErrSyntax
		}
		first, ok1 := command.ParseSlot(args[0])
		last, ok2 := command.ParseSlot(args[1])
		switch {
		case !ok1 || !ok2:
			return nil, command.ErrBadSlot
		case first > last:
			return nil, command.SlotOrder(first, last)
		}
		for slot := first; slot <= last; slot++ {
			if s.Has(slot) {
				return nil, errOverlap
			}
			s.Add(slot)
		}
		n++
	}
	if n == 0 {
		return nil, errNoRanges
	}
	return args, ""
}

// ParseMsg reads the arguments behind CLUSTER SYNCSLOTS; errText is the reply to
// wrong ones.
func ParseMsg(args [][]byte) (m Msg, errText string) {
	if len(args) == 0 {
		return m, command.ErrSyntax
	}
	for k := MsgEstablish; k <= MsgInherit; k++ {
		if command.Word(args[0], kindWords[k]) {
			m.Kind = k
		}
	}
	args = args[1:]
	capa, named := "", false
	for len(args) > 0 && m.Kind != MsgAck {
		if len(args) < 2 {
			return m, command.ErrSyntax
		}
		word, value := args[0], args[1]
		args = args[2:]
		switch {
		case (m.Kind == MsgEstablish || m.Kind == MsgInherit) && command.Word(word, "source"):
			if !isID(value) {
				return m, errNodeName + printable(value)
			}
			m.Source = string(value)
		case m.Kind >= MsgFinish || m.Kind == MsgEstablish && command.Word(word, "name"):
			switch {
			case command.Word(word, "name"):
				if !isID(value) {
					return m, command.ErrSyntax
				}
				m.Name, named = string(value), true
			case m.Kind == MsgFinish && command.Word(word, "state"):
				if m.State = stateByName(string(value)); !m.State.Final() {
					return m, command.ErrSyntax
				}
			case m.Kind == MsgFinish && command.Word(word, "message"):
				m.Text = string(value)
			case m.Kind == MsgTaking && command.Word(word, "left"):
				var ok bool
				if m.Left, ok = command.ParseInt(value); !ok || m.Left < 0 {
					return m, command.ErrSyntax
				}
			case m.Kind >= MsgProbe && m.Kind != MsgTaking && command.Word(word, "slotsrange"):
				if args, errText = parseRanges(append([][]byte{value}, args...), &m.Slots); errText != "" {
					return m, errText
				}
			default:
				return m, command.ErrSyntax
			}
		case m.Kind == MsgEstablish && command.Word(word, "capa"):
			capa = string(value)
		case m.Kind == MsgEstablish && command.Word(word, "slotsrange"):
			if args, errText = parseRanges(append([][]byte{value}, args...), &m.Slots); errText != "" {
				return m, errText
			}
		default:
			return m, command.ErrSyntax
		}
	}
	switch m.Kind {
	case MsgNone:
		return m, command.ErrSyntax
	case MsgAck:
		n, ok := int64(0), len(args) == 1
		if ok {
			n, ok = command.ParseInt(args[0])
		}
		if !ok || n < 0 {
			return m, command.ErrSyntax
		}
		m.Mark = n
	case MsgEstablish:
		switch {
		case m.Source == "" || !named:
			return m, command.ErrSyntax
		case capa != capability:
			return m, errCapability
		case m.Slots.Len() == 0:
			return m, errNoRanges
		}
	case MsgFinish:
		if !named || !m.State.Final() {
			return m, command.ErrSyntax
		}
	case MsgTaking:
		if !named {
			return m, command.ErrSyntax
		}
	case MsgProbe, MsgLeave, MsgInherit:
		if !named || m.Slots.Len() == 0 || m.Kind == MsgInherit && m.Source == "" {
			return m, command.ErrSyntax
		}
	}
	return m, ""
}

// Append adds the message to dst as a command.
func (m *Msg) Append(dst []byte) []byte {
	args := []string{"CLUSTER", "SYNCSLOTS", m.Kind.String()}
	ranges := func() {
		args = append(args, "SLOTSRANGE")
		m.Slots.Ranges(func(first, last int) { args = append(args, strconv.Itoa(first), strconv.Itoa(last)) })
	}
	switch m.Kind {
	case MsgEstablish:
		args = append(args, "SOURCE", m.Source, "NAME", m.Name, "CAPA", capability)
		ranges()
	case MsgAck:
		args = append(args, strconv.FormatInt(m.Mark, 10))
	case MsgFinish:
		args = append(args, "STATE", m.State.String(), "NAME", m.Name)
		if m.Text != "" {
			args = append(args, "MESSAGE", m.Text)
		}
	case MsgTaking:
		args = append(args, "NAME", m.Name, "LEFT", strconv.FormatInt(m.Left, 10))
	case MsgProbe, MsgLeave:
		args = append(args, "NAME", m.Name)
		ranges()
	case MsgInherit:
		args = append(args, "SOURCE", m.Source, "NAME", m.Name)
		ranges()
	}
	return resp.AppendCommandStrings(dst, args...)
}

// printable makes a client's word fit for an error line.
func printable(b []byte) string {
	out := append([]byte(nil), b[:min(len(b), 128)]...)
	for i, c := range out {
		if c < ' ' || c > '~' {
			out[i] = '?'
		}
	}
	return string(out)
}
