package rdb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// Event is what Reader.Next has found.
type Event uint8

const (
	EventEnd       Event = iota // the file ended and its checksum is right
	EventAux                    // Reader.Aux
	EventDB                     // Reader.DB: the following keys are of this database
	EventSizes                  // Reader.Sizes: how many keys to expect
	EventSlot                   // a hint about a slot's size; nothing to do
	EventFunction               // Reader.Function: source of a library
	EventModuleAux              // Reader.Module: data of a module, passed over
	EventKey                    // Reader.Key and Reader.Value

	eventPassed // in a pipeline: a key that its workers will read
)

// Reader reads one RDB from an io.Reader. What its methods return is valid until
// the next call of Next or, for a Value, of its own methods.
type Reader struct {
	// AnyVersion lets a file be of a version that is not known (rdb-version-check
	// relaxed): then the first unknown thing in it ends reading.
	AnyVersion bool

	s       source
	version int
	started bool
	ended   bool

	key        Key
	keyName    []byte
	value      Value
	open       bool // value may be partly unread
	auxName    []byte
	auxValue   []byte
	function   []byte
	module     uint64 // id
	moduleAt   int64
	keys       uint64
	expiring   uint64
	trailerCRC uint64 // as stored, 0 if it was not computed
}

// Errors of a file as a whole.
var (
	ErrVersion  = errors.New("RDB version not supported")
	ErrChecksum = errors.New("wrong checksum")
)

// NewReader returns a reader of the RDB that starts at the next byte of src. It
// reads ahead: see Buffered.
func NewReader(src io.Reader) *Reader {
	r := &Reader{}
	r.s.reset(src)
	return r
}

// Next moves to the next event. At the end it returns EventEnd, again and again.
// Of a value that was not read to its end the rest is passed over. Errors are of
// type *FormatError and final.
func (r *Reader) Next() (Event, error) {
	s := &r.s
	if !r.started {
		r.header()
	}
	if r.open {
		r.value.skip()
		r.open = false
	}
	if r.ended && s.err == nil {
		return EventEnd, nil
	}
	r.key = Key{DB: r.key.DB, IdleSec: NoIdle, Freq: NoFreq}
	for s.err == nil {
		s.what = "opcode"
		op := s.u8()
		if s.err != nil {
			break
		}
		if op < firstOpcode {
			if s.pipe != nil && r.pass(Type(op)) {
				return eventPassed, s.err
			}
			r.record(Type(op))
			if s.err != nil {
				break
			}
			return EventKey, nil
		}
		if e, ok := r.opcode(op); ok && s.err == nil {
			return e, nil
		}
	}
	return EventEnd, s.err
}

// opcode reads what follows op. It returns false for one that belongs to the
// next key.
func (r *Reader) opcode(op byte) (Event, bool) {
	s := &r.s
	switch op {
	case opExpireMs:
		s.what = "expiry"
		r.key.ExpireAtMs = expiry(int64(s.u64()))
	case opExpireSec:
		s.what = "expiry"
		if p := s.take(4); p != nil {
			sec := int32(uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24)
			r.key.ExpireAtMs = expiry(int64(sec) * 1000)
		}
	case opIdle:
		s.what = "idle time"
		r.key.IdleSec = int64(min(s.length(), math.MaxInt64/1000))
	case opFreq:
		s.what = "access frequency"
		r.key.Freq = int(s.u8())
	case opAux:
		s.what = "aux name"
		r.auxName = append(r.auxName[:0], s.str()...)
		s.what = "aux value"
		r.auxValue = s.str()
		return EventAux, true
	case opSelectDB:
		s.what = "database number"
		n := s.length()
		if n > math.MaxInt32 {
			s.corrupt("database %d", n)
		}
		r.key.DB = int(n)
		return EventDB, true
	case opResizeDB:
		s.what = "database sizes"
		r.keys, r.expiring = s.length(), s.length()
		return EventSizes, true
	case opSlotInfo:
		s.what = "slot sizes"
		s.length()
		s.length()
		s.length()
		return EventSlot, true
	case opFunction2:
		s.what = "function library"
		r.function = s.str()
		return EventFunction, true
	case opModuleAux:
		s.what = "module data"
		r.moduleAt = s.offset()
		r.module = s.length()
		if c := s.length(); c != moduleUnsigned && s.err == nil {
			s.corrupt("opcode %d", c)
		}
		s.length() // before or after the keys
		s.skipModule()
		return EventModuleAux, true
	case opFunctionOld:
		s.corrupt("function library in the form of a 7.0 release candidate, which no release reads")
	case opEOF:
		r.trailer()
		return EventEnd, true
	}
	return 0, false
}

// expiry maps a time of the file to Key.ExpireAtMs, where 0 means never: a time
// that is not after the epoch is simply long past.
func expiry(ms int64) int64 { return max(ms, 1) }

// record reads the name of a key and opens its value.
func (r *Reader) record(t Type) {
	s := &r.s
	if info := t.info(); info.name == "" || info.form == formRejected {
		s.r--
		if t == TypeModuleOld {
			s.corrupt("value type %d, of a module in the form of a 4.0 release candidate, which no release reads", uint8(t))
		} else {
			s.corrupt("value type %d is not known", uint8(t))
		}
		return
	}
	s.what = "key"
	r.keyName = append(r.keyName[:0], s.str()...)
	r.key.Name = r.keyName
	r.value.open(s, t)
	r.open = true
}

// pass goes over a record and leaves it to the pipeline's workers. It returns false,
// and nothing is consumed, if the record is too big to be held, or damaged: record
// then finds the same.
func (r *Reader) pass(t Type) bool {
	s := &r.s
	info := t.info()
	if info.kind == KindNone {
		return false
	}
	s.held = s.r - 1 // with the type
	s.skipString()
	if info.kind == KindString || info.form == formBlob && t != TypeHashListpackEx { // most records
		s.skipString()
	} else {
		r.value.open(s, t)
		r.value.skip()
	}
	at := s.held
	s.held = -1
	if s.err == nil {
		s.pipe.add(at, s.r, &r.key)
		if s.r-at > blockSize {
			s.slide(0) // to a worker at once, with a block to itself
		}
		return true
	}
	if errors.Is(s.err, errHeld) || errors.Is(s.err, ErrCorrupt) || errors.Is(s.err, io.ErrUnexpectedEOF) {
		s.err, s.r = nil, at+1
		return false
	}
	return true // the source has failed: Next tells
}

// header reads "REDIS" and four digits.
func (r *Reader) header() {
	s := &r.s
	r.started = true
	s.what = "header"
	p := s.take(9)
	if p == nil {
		return
	}
	if !bytes.HasPrefix(p, []byte("REDIS")) {
		s.r -= len(p)
		s.corrupt("no RDB signature")
		return
	}
	for _, c := range p[5:] {
		if c < '0' || c > '9' {
			s.corrupt("version %q", p[5:])
			return
		}
		r.version = r.version*10 + int(c-'0')
	}
	if r.version < 1 || r.version > MaxVersion && !r.AnyVersion {
		s.fail(fmt.Errorf("%w: %d, want 1 to %d", ErrVersion, r.version, MaxVersion))
	}
}

// trailer verifies the checksum. One of all zeros was not computed.
func (r *Reader) trailer() {
	s := &r.s
	r.ended = true
	if r.version < trailerVersion {
		return
	}
	want := s.total()
	s.what = "checksum"
	s.checksum = false
	got := s.u64()
	if got != 0 && got != want && s.err == nil {
		s.fail(fmt.Errorf("%w: have %016x, computed %016x", ErrChecksum, got, want))
	}
	r.trailerCRC = got
}

// Version returns the version of the file, once Next was called.
func (r *Reader) Version() int { return r.version }

// Offset returns how many bytes of the input have been consumed.
func (r *Reader) Offset() int64 { return r.s.offset() }

// What names the thing that was read last, for reports of an error.
func (r *Reader) What() string { return r.s.what }

// Buffered returns what was read from the source past the end of the file: a log
// tail or the mark that ends a transfer. It goes before what is left in there.
func (r *Reader) Buffered() []byte { return r.s.buf[r.s.r:r.s.w] }

// Checked tells, after EventEnd, whether the file had a checksum.
func (r *Reader) Checked() bool { return r.trailerCRC != 0 }

// Aux returns the fact of EventAux.
func (r *Reader) Aux() (name, value []byte) { return r.auxName, r.auxValue }

// DB returns the database that keys belong to.
func (r *Reader) DB() int { return r.key.DB }

// Module names the module type whose data EventModuleAux passed over.
func (r *Reader) Module() string { return moduleName(r.module) }

// Function returns the source of EventFunction.
func (r *Reader) Function() []byte { return r.function }

// Key returns the key of EventKey.
func (r *Reader) Key() *Key { return &r.key }

// Value returns the value of EventKey.
func (r *Reader) Value() *Value { return &r.value }
