package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A DUMP payload is one value without its key:
//
//	| type u8 | body | version u16 LE | CRC64 of all before, u64 LE |
//
// A dump of functions has records | f5 | str(source) | in place of type and body.

// ErrDumpFooter is why a payload is refused before it is looked into: too short,
// from a newer version, or with a wrong checksum (of which zero is one).
var ErrDumpFooter = errors.New("DUMP payload version or checksum are wrong")

// AppendDumpFooter ends the payload that starts at dst[start], with the lowest
// version that the type allows, but at least DefaultVersion.
func AppendDumpFooter(dst []byte, start int) []byte {
	version := uint16(DefaultVersion)
	if len(dst) > start {
		version = uint16(Type(dst[start]).MinVersion())
	}
	dst = binary.LittleEndian.AppendUint16(dst, version)
	return binary.LittleEndian.AppendUint64(dst, CRC64(0, dst[start:]))
}

// MinVersion returns the version that a file with such a value must at least
// have, for peers of that version to expect it.
func (t Type) MinVersion() int {
	switch {
	case t >= firstOpcode || t <= TypeStream2:
		return DefaultVersion
	case t <= TypeStream3:
		return 11
	}
	return 12
}

// CheckDump verifies a payload's footer and returns what is before it.
func CheckDump(payload []byte) (body []byte, err error) {
	n := len(payload) - footerLen
	if n < 0 {
		return nil, fmt.Errorf("%w: %d bytes", ErrDumpFooter, len(payload))
	}
	if v := binary.LittleEndian.Uint16(payload[n:]); v > MaxVersion {
		return nil, fmt.Errorf("%w: version %d", ErrDumpFooter, v)
	}
	if CRC64(0, payload[:n+2]) != binary.LittleEndian.Uint64(payload[n+2:]) {
		return nil, fmt.Errorf("%w: checksum", ErrDumpFooter)
	}
	return payload[:n], nil
}

// OpenDump verifies a payload's footer and returns its value, which uses r for
// its buffers. The payload is kept as long as the value is used. Bytes between
// the value and the footer are not looked at, as servers do not either.
func OpenDump(r *Reader, payload []byte) (*Value, error) {
	body, err := CheckDump(payload)
	if err != nil {
		return nil, err
	}
	r.s.resetBytes(body)
	r.s.what = "value type"
	t := Type(r.s.u8())
	if r.s.err == nil && t.Kind() == KindNone {
		r.s.corrupt("value type %d is not known", uint8(t))
	}
	if r.s.err != nil {
		return nil, r.s.err
	}
	r.value.open(&r.s, t)
	return &r.value, nil
}

// EachFunction calls fn for the library sources in a dump of functions.
func EachFunction(payload []byte, fn func(source []byte) error) error {
	body, err := CheckDump(payload)
	if err != nil {
		return err
	}
	var s source
	s.resetBytes(body)
	for s.r < s.w && s.err == nil {
		s.what = "function dump"
		if op := s.u8(); op != opFunction2 {
			s.corrupt("record %d is not a function", op)
			break
		}
		source := s.str()
		if s.err != nil {
			break
		}
		if err := fn(source); err != nil {
			return err
		}
	}
	return s.err
}
