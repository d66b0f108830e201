package ds

import (
	"math"
	"strconv"
)

// StreamID names an entry of a stream; it orders by Ms, then Seq.
type StreamID struct{ Ms, Seq uint64 }

// MaxStreamID is the greatest id; the least is the zero value, which no entry has.
var MaxStreamID = StreamID{math.MaxUint64, math.MaxUint64}

// Compare returns -1, 0 or 1 as a is before, at or after b.
func (a StreamID) Compare(b StreamID) int {
	switch {
	case a.Ms < b.Ms || a.Ms == b.Ms && a.Seq < b.Seq:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// Less reports whether a is before b.
func (a StreamID) Less(b StreamID) bool { return a.Ms < b.Ms || a.Ms == b.Ms && a.Seq < b.Seq }

// Next returns the id after a; false if a is the greatest.
func (a StreamID) Next() (StreamID, bool) {
	if a.Seq++; a.Seq == 0 {
		if a.Ms++; a.Ms == 0 {
			return MaxStreamID, false
		}
	}
	return a, true
}

// Prev returns the id before a; false if a is the least.
func (a StreamID) Prev() (StreamID, bool) {
	if a.Seq == 0 {
		if a.Ms == 0 {
			return a, false
		}
		a.Ms--
	}
	a.Seq--
	return a, true
}

// Append appends the id's text, "ms-seq".
func (a StreamID) Append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, a.Ms, 10)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, a.Seq, 10)
}
