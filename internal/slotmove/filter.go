package slotmove

import (
	"errors"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/resp"
)

// filter picks from the log of effects those that concern some slots. In a
// cluster the keys of a command are all in one slot, so the first key decides.
// MULTI and EXEC around effects are left out: nobody sees the target's copy
// before it is complete, and hand-over never cuts a transaction. SELECT is too:
// a cluster has one database.
type filter struct {
	table *command.Table
	slots *Slots

	parser resp.Parser
	argv   [][]byte
	carry  []byte // of a command whose end has not come yet
}

func newFilter(t *command.Table, slots *Slots) *filter {
	f := &filter{table: t, slots: slots}
	f.parser.MaxBulk = -1
	return f
}

// errLog says that the log holds something that is no command.
var errLog = errors.New("slotmove: the log of effects cannot be read")

// feed takes the next bytes of the log, which it copies where it must keep them,
// and appends to dst the commands that go to the target.
func (f *filter) feed(dst, p []byte) ([]byte, error) {
	in := p
	if len(f.carry) > 0 {
		f.carry = append(f.carry, p...)
		in = f.carry
	}
	for {
		f.argv = f.argv[:0]
		argv, n, err := f.parser.Next(in, f.argv)
		if errors.Is(err, resp.ErrMore) {
			in = in[n:]
			break
		}
		if err != nil {
			return dst, errLog
		}
		f.argv = argv
		if f.wants(argv) {
			dst = append(dst, in[:n]...)
		}
		in = in[n:]
	}
	f.carry = append(f.carry[:0], in...) // moves within carry itself
	if cap(f.carry) > 1<<20 && len(f.carry) == 0 {
		f.carry = nil
	}
	return dst, nil
}

// wants reports whether a command changes keys of the slots.
func (f *filter) wants(argv [][]byte) bool {
	spec := f.table.Lookup(argv)
	if spec == nil || spec.Flags&command.Write == 0 {
		return false
	}
	slot := -1
	if first, _, _, simple := spec.KeyRange(len(argv)); simple {
		if first > 0 && first < len(argv) {
			slot = int(command.MakeKey(first, argv[first]).Slot)
		}
	} else {
		spec.EachKey(argv, func(arg int, _ command.KeyFlags) {
			if slot < 0 {
				slot = int(command.MakeKey(arg, argv[arg]).Slot)
			}
		})
	}
	return slot >= 0 && f.slots.Has(slot)
}
