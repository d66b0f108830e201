//go:build race || !(linux || darwin)

package mem

import "unsafe"

// The race detector watches the Go heap only, so under it the region is there: a
// record touched without its slot's lock is found. Nothing goes back to the system.
const (
	defaultReserve = 512 << 20
	discardZeroes  = false
)

func reserveBytes(n int64) (b []byte, free func() error, err error) {
	words := make([]uint64, (n+7)/8) // aligned for every cast
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n), func() error { return nil }, nil
}

func discard([]byte) {}

func adviseHuge([]byte) {}

func makeHuge([]byte) bool { return true }
