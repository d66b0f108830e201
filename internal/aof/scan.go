package aof

import (
	"bytes"
	"errors"
	"fmt"
)

// A log is a sequence of records:
//
//	*<n>\r\n  n times $<size>\r\n<bytes>\r\n     a command
//	#<text>\r\n                                  an annotation, such as #TS:1795332451
//
// Nothing else may stand in it, not even an empty line.

// errMore says that the bytes end inside a record.
var errMore = errors.New("aof: the file ends inside a record")

// A FormatError says where a file is not a log and why.
type FormatError struct {
	File   string
	Offset int64
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("aof: %s: offset %d: %s", e.File, e.Offset, e.Reason)
}

// badRecord is a fault at an offset of the bytes that were looked at: that of the
// first byte that is wrong.
type badRecord struct {
	at     int
	reason string
}

func (e *badRecord) Error() string { return e.reason }

// Bounds of what a record may announce. Arguments are as large as
// proto-max-bulk-len, at most, was when they were written.
const (
	maxArgs = 1 << 20
	maxBulk = 1 << 40
)

// nextRecord returns the length of the record at the start of p: errMore if p ends
// before it does, *badRecord if there is none. It allocates nothing for a good one.
func nextRecord(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, errMore
	}
	switch p[0] {
	case '#':
		line := p[:min(len(p), maxLine+1)]
		i := bytes.IndexByte(line, '\n')
		zero := bytes.IndexByte(line, 0)
		switch {
		case i >= 0 && (zero < 0 || zero > i):
			return i + 1, nil
		case zero >= 0:
			return 0, &badRecord{zero, "a zero byte in an annotation"}
		case len(p) > maxLine:
			return 0, &badRecord{0, "an annotation without end"}
		}
		return 0, errMore
	case '*':
	default:
		return 0, &badRecord{0, fmt.Sprintf("%q where a command should begin", p[0])}
	}
	args, at, err := number(p, 0, maxArgs)
	if err != nil {
		return 0, err
	}
	if args < 1 {
		return 0, &badRecord{0, "a command without arguments"}
	}
	for ; args > 0; args-- {
		if at == len(p) {
			return 0, errMore
		}
		if p[at] != '$' {
			return 0, &badRecord{at, fmt.Sprintf("%q where an argument should begin", p[at])}
		}
		size, body, err := number(p, at, maxBulk)
		if err != nil {
			return 0, err
		}
		end := int64(body) + size
		if end+2 > int64(len(p)) {
			if end < int64(len(p)) && p[end] != '\r' {
				return 0, &badRecord{int(end), "no line end after an argument"}
			}
			return 0, errMore
		}
		if p[end] != '\r' {
			return 0, &badRecord{int(end), "no line end after an argument"}
		}
		if p[end+1] != '\n' {
			return 0, &badRecord{int(end) + 1, "no line end after an argument"}
		}
		at = int(end) + 2
	}
	return at, nil
}

// number reads the number after the byte at offset at and returns where the next
// line begins.
func number(p []byte, at int, limit int64) (v int64, next int, err error) {
	for i := at + 1; ; i++ {
		switch {
		case i == len(p):
			return 0, 0, errMore
		case p[i] == '\r' && i > at+1:
			if i+1 == len(p) {
				return 0, 0, errMore
			}
			if p[i+1] != '\n' {
				return 0, 0, &badRecord{i + 1, "no line end after a number"}
			}
			return v, i + 2, nil
		case p[i] < '0' || p[i] > '9':
			return 0, 0, &badRecord{i, fmt.Sprintf("%q in a number", p[i])}
		}
		if v = v*10 + int64(p[i]-'0'); v > limit {
			return 0, 0, &badRecord{at, "a number that is too large"}
		}
	}
}
