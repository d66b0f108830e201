package testport

import (
	"net"
	"testing"
)

// A port is given once, and none that something listens on, on the bus's port too.
func TestFree(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		p := Free(t)
		if seen[p] {
			t.Fatalf("port %d given twice", p)
		}
		seen[p] = true
	}
	p := Free(t)
	for _, taken := range []int{p + 1, p + 2 + busOffset} {
		if l, err := net.Listen("tcp", addr(taken)); err == nil {
			defer l.Close()
		}
	}
	if next := Free(t); next == p+1 || next == p+2 {
		t.Errorf("port %d given while something listens", next)
	}
	if take(p) {
		t.Error("a port that is held was taken, as by another process")
	}
}

func TestFreeRange(t *testing.T) {
	a := FreeRange(t, 5)
	if b := FreeRange(t, 5); b < a+5 && a < b+5 {
		t.Errorf("%d and %d overlap", a, b)
	}
}
