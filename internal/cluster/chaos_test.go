package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Crashes, restarts and partitions at random, then peace: no voter votes twice
// in an epoch, no epoch has two winners, every step keeps the local invariants,
// and in the end all agree and serve (invariants 1, 3, 4, 18). Package sim does
// this at length, with loss, clock skew and lost saves.
func TestChaos(t *testing.T) {
	seeds := 8
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(seed), 99))
			w := newCluster(t, []int{2, 1, 2, 1})
			for _, p := range w.peers {
				p.offset = 100
			}
			for range 12 {
				switch rnd.IntN(4) {
				case 0:
					if i := rnd.IntN(len(w.peers)); !w.peers[i].down {
						w.crash(i)
					}
				case 1:
					for i, p := range w.peers {
						if p.down {
							w.restart(i)
							break
						}
					}
				case 2:
					var groups [3][]int
					for i := range w.peers {
						g := rnd.IntN(4) % 3
						groups[g] = append(groups[g], i)
					}
					w.partition(groups[:]...)
				case 3:
					w.heal()
					if i := rnd.IntN(len(w.peers)); !w.peers[i].down {
						w.peers[i].admin(Failover{Mode: FailoverMode(rnd.IntN(2))})
					}
				}
				w.run(Millis(rnd.IntN(int(4 * testTimeout))))
			}
			w.heal()
			for i, p := range w.peers {
				if p.down {
					w.restart(i)
				}
				p.linkAge = 0 // data is never too old here
			}
			w.until(40*testTimeout, "agreement after peace", w.settled)
			w.checkVotes()
		})
	}
}

// checkVotes looks at every message ever sent for double votes and at every
// event for double wins.
func (w *world) checkVotes() {
	w.t.Helper()
	winner := map[uint64]int{}
	for i, p := range w.peers {
		voted := map[uint64]bool{}
		for _, s := range p.sent {
			if s.msg.Type != TypeAuthAck {
				continue
			}
			if voted[s.msg.CurrentEpoch] {
				w.t.Errorf("node %d voted twice in epoch %d", i, s.msg.CurrentEpoch)
			}
			voted[s.msg.CurrentEpoch] = true
		}
		for _, e := range p.events {
			if e.What != "election won" {
				continue
			}
			if j, ok := winner[e.Epoch]; ok && j != i {
				w.t.Errorf("nodes %d and %d both won epoch %d", i, j, e.Epoch)
			}
			winner[e.Epoch] = i
		}
	}
}
