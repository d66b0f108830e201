package up

import "fmt"

// The bus listens this far above the clients' port, in every server's default.
const busOffset = 10000

const slots = 16384

// place is one node's part in the plan.
type place struct {
	port    int
	primary int // index of the primary it replicates; its own for a primary
	lo, hi  int // slots of a primary, both ends included
}

// newPlan gives the primaries the lower ports and even shares of the slots, and
// deals the replicas out in rounds: node n+j replicates primary j mod n.
func newPlan(primaries, replicas, port int) ([]place, error) {
	if primaries < 1 || primaries > slots || replicas < 0 {
		return nil, fmt.Errorf("up: %d primaries with %d replicas each: want at least 1 and 0", primaries, replicas)
	}
	n := primaries * (replicas + 1)
	if last := 65535 - busOffset; port < 1 || n > last || port+n-1 > last {
		return nil, fmt.Errorf("up: %d nodes from port %d: want ports in 1..%d, the bus needs those %d above", n, port, last, busOffset)
	}
	plan := make([]place, n)
	for i := range plan {
		p := i % primaries
		plan[i] = place{port: port + i, primary: p}
		if i == p {
			plan[i].lo, plan[i].hi = i*slots/primaries, (i+1)*slots/primaries-1
		}
	}
	return plan, nil
}
