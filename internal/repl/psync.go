package repl

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// noID stands for a second history where there is none.
const noID = "0000000000000000000000000000000000000000"

// newID returns a fresh name for a history: 40 lower-case hexadecimal digits.
func newID() string {
	var b [20]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// History is which bytes of which streams a server can still send. Offsets
// number the bytes of a stream from 1.
type History struct {
	ID      string // of the present stream
	ID2     string // of the one it continues, valid for PSYNC offsets up to Second
	Second  int64  // -1: there is none
	Backlog bool   // any bytes are kept
	First   int64  // offset of the first byte kept
	Next    int64  // offset of the byte that will come next
}

// Decision is the answer to PSYNC.
type Decision uint8

const (
	Continue   Decision = iota // +CONTINUE and the bytes from the offset on
	FullAsked                  // the replica asks for a full sync
	FullID                     // another history
	FullOffset                 // the bytes are not kept, or do not exist yet
)

func (d Decision) String() string {
	return [...]string{"continue", "full: asked for", "full: other history", "full: offset not available"}[d]
}

// Decide answers PSYNC id offset, offset being that of the first byte that the
// replica lacks. Source: replication protocol, PSYNC.
func (h *History) Decide(id string, offset int64) Decision {
	switch {
	case id == "?":
		return FullAsked
	case strings.EqualFold(id, h.ID):
	case strings.EqualFold(id, h.ID2) && offset <= h.Second:
	default:
		return FullID
	}
	if !h.Backlog || offset < h.First || offset > h.Next {
		return FullOffset
	}
	return Continue
}
