package cluster

import "testing"

// A dead primary is suspected after T, failed by a majority, and replaced by
// its replica; when it returns it follows the winner (appendix C.6).
func TestFailover(t *testing.T) {
	w := newCluster(t, []int{1, 1, 1})
	epoch := w.peers[0].m.currentEpoch
	w.crash(0)
	took := w.until(10*testTimeout, "replica 3 is a primary everywhere and the state ok", func() bool {
		return w.peers[3].m.self.isPrimary() && w.all(func(p *peer) bool {
			n := p.m.byID[w.id(3)]
			return p.m.state == StateOK && n.isPrimary() && n.slotCount > 5000
		})
	})
	if limit := testTimeout*3/2 + 2000; took > limit {
		t.Errorf("failover took %d ms, want at most %d", took, limit)
	}
	if e := w.peers[3].m.self.configEpoch; e <= epoch {
		t.Errorf("winner's configEpoch %d, want above %d", e, epoch)
	}
	w.restart(0)
	w.until(10*testTimeout, "old primary follows the winner", func() bool {
		s := w.peers[0].m.self
		return s.isReplica() && s.primary != nil && s.primary.id == w.id(3) && w.settled()
	})
	if n := w.sees(1, 0); n.is(FlagFail | FlagPFail) {
		t.Errorf("returned node is still failed: %04x", n.flags)
	}
}
