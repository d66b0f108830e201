package repl

import "testing"

// Each row is a sentence of the protocol: which PSYNC a primary whose backlog
// holds bytes 101..200 continues.
func TestDecide(t *testing.T) {
	const a, b, c = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "cccccccccccccccccccccccccccccccccccccccc"
	h := History{ID: a, ID2: b, Second: 151, Backlog: true, First: 101, Next: 201}
	none := h
	none.Backlog = false
	single := History{ID: a, ID2: noID, Second: -1, Backlog: true, First: 101, Next: 201}
	for _, tt := range []struct {
		name string
		h    History
		id   string
		off  int64
		want Decision
	}{
		{"oldest byte kept", h, a, 101, Continue},
		{"one byte too old", h, a, 100, FullOffset},
		{"newest byte", h, a, 200, Continue},
		{"nothing missing", h, a, 201, Continue},
		{"from the future", h, a, 202, FullOffset},
		{"id in capitals", h, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 150, Continue},
		{"old history exactly at the fork", h, b, 151, Continue},
		{"old history before the fork", h, b, 120, Continue},
		{"old history past the fork", h, b, 152, FullID},
		{"old history, too old", h, b, 100, FullOffset},
		{"other history", h, c, 150, FullID},
		{"asked for", h, "?", -1, FullAsked},
		{"asked for with an offset", h, "?", 150, FullAsked},
		{"no backlog", none, a, 201, FullOffset},
		{"there is no second history", single, noID, -1, FullOffset},
		{"there is no second history, offset 0", single, noID, 0, FullID},
	} {
		if got := tt.h.Decide(tt.id, tt.off); got != tt.want {
			t.Errorf("%s: Decide(%.4s, %d) = %v, want %v", tt.name, tt.id, tt.off, got, tt.want)
		}
	}
}
