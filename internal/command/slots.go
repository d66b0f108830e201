package command

import (
	"fmt"

	"github.com/skeindb/skein/internal/store"
)

// ParseSlot reads a slot's number; false: ErrBadSlot is the reply.
func ParseSlot(arg []byte) (slot int, ok bool) {
	n, ok := ParseInt(arg)
	return int(n), ok && n >= 0 && n < store.Slots
}

// SlotOrder is the reply to a range of slots whose first is behind its last.
func SlotOrder(first, last int) string {
	return fmt.Sprintf("ERR start slot number %d is greater than end slot number %d", first, last)
}
