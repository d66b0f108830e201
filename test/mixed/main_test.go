// Package mixed tries Skein beside real servers, as processes: the replies of
// CLUSTER compared with theirs, and clusters of both in which nodes of each kind
// vote for, follow, and succeed the other. redis-server 7 is the installed one;
// $PEERS names a directory with valkey-server 8 and redis-server 8, and tests
// that need one which is not there are skipped.
//
// By itself the package runs a short slice with redis-server 7; -long, as in
// `make mixed PEERS=dir`, runs everything.
package mixed

import (
	"flag"
	"os"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

var long = flag.Bool("long", false, "run every scenario with every kind of server at hand")

func TestMain(m *testing.M) {
	proc.QuietClients()
	code := m.Run()
	proc.RemoveBinary()
	os.Exit(code)
}

// forEach runs a test with every kind of real server; only with the first
// without -long.
func forEach(t *testing.T, run func(t *testing.T, r proc.Real)) {
	for _, r := range proc.Reals {
		t.Run(r.Name, func(t *testing.T) {
			if r != proc.Redis7 && !*long {
				t.Skipf("%s is tried with -long (make mixed)", r.Name)
			}
			run(t, r)
		})
	}
}

// forNewer runs a test with each of the newer kinds, with -long alone.
func forNewer(t *testing.T, run func(t *testing.T, r proc.Real)) {
	for _, r := range []proc.Real{proc.Valkey8, proc.Redis8} {
		t.Run(r.Name, func(t *testing.T) {
			if !*long {
				t.Skipf("%s is tried with -long (make mixed)", r.Name)
			}
			run(t, r)
		})
	}
}
