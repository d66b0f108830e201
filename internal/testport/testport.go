// Package testport finds free ports of loopback for tests, also for tests of other
// processes that look at the same time.
package testport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are above the numbers of slots, so that none is read as one, and below the
// range that systems use for outgoing connections, as are the bus's: none of those
// sits on a port between its choice and its use, or while a server restarts.
const (
	first     = 16400
	last      = 22700
	busOffset = 10000
)

var ports struct {
	sync.Mutex
	next int
	held []net.PacketConn
}

// Free returns a port whose TCP side is free on loopback, as is that of the one
// 10000 above it. It is not returned again, neither here nor in another process
// while this one lives: the port's UDP side, which no server of ours uses, stays
// bound as the sign of that.
func Free(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = first + rand.IntN(last-first)
	}
	for range last - first {
		if ports.next++; ports.next >= last {
			ports.next = first
		}
		if take(ports.next) {
			return ports.next
		}
	}
	t.Fatalf("no free port of %d to %d", first, last)
	return 0
}

// FreeRange returns the first of n ports in a row that are free as Free says.
func FreeRange(t testing.TB, n int) int {
	t.Helper()
	port, row := Free(t), 1
	for row < n {
		next := Free(t)
		if next != port+row {
			port, row = next, 0
		}
		row++
	}
	return port
}

// take holds a port if it is free.
func take(port int) bool {
	sign, err := net.ListenPacket("udp", addr(port))
	if err != nil {
		return false
	}
	if !silent(port) || !silent(port+busOffset) {
		sign.Close()
		return false
	}
	ports.held = append(ports.held, sign)
	return true
}

func silent(port int) bool {
	l, err := net.Listen("tcp", addr(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
