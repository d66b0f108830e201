package proc

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are taken below the range that systems use for outgoing connections,
// so that none of those sits on a port between its choice and its use.
const (
	firstPort = 16384
	lastPort  = 22700
	busOffset = 10000
)

var ports struct {
	sync.Mutex
	next int
}

// Port returns a port that is free on loopback, as is the one 10000 above it. No
// port is returned twice.
func Port(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = firstPort + rand.IntN(lastPort-firstPort-1000)
	}
	for ports.next++; ports.next < lastPort; ports.next++ {
		if free(ports.next) && free(ports.next+busOffset) {
			return ports.next
		}
	}
	t.Fatalf("no free port below %d", lastPort)
	return 0
}

// Ports returns the first of n ports in a row that are free as Port says.
func Ports(t testing.TB, n int) int {
	t.Helper()
	for first := Port(t); ; first = Port(t) {
		last := first
		for last < first+n-1 && last+1 == Port(t) {
			last++
		}
		if last == first+n-1 {
			return first
		}
	}
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
