// Package e2e tests what a user does, through processes, sockets and files:
// the clients and tools are the real ones, and redis-server is a peer.
// Every test starts the nodes it needs; they listen on loopback only.
package e2e

import (
	"os"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

func TestMain(m *testing.M) {
	proc.QuietClients()
	code := m.Run()
	proc.RemoveBinary()
	os.Exit(code)
}
