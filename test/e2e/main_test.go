// Package e2e tests what a user does, through processes, sockets and files:
// the clients and tools are the real ones, and redis-server is a peer.
// Every test starts the nodes it needs; they listen on loopback only.
package e2e

import (
	"context"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/test/proc"
)

// quiet drops the log lines of go-redis: that a killed server does not answer
// is no news here.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	code := m.Run()
	proc.RemoveBinary()
	os.Exit(code)
}
