package bus

import (
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
)

// Writes are paused for a manual failover beside a slow command: the pause does not
// outlast its patience, effects behind it are carried out, and it is in force for good
// once the command is over. One that was ended meanwhile does not come back.
func TestPauseWritesBesideSlowCommand(t *testing.T) {
	const slot = 7
	for _, resumed := range []bool{false, true} {
		n := servingNode(t)
		n.e.Store.Lock(slot)
		paused := func() bool { w, _ := n.e.Paused(); return w }
		n.apply.put(applyItem{effect: cluster.PauseWrites{ID: 1, Until: n.now().Mono + 100_000}})
		done := make(chan struct{})
		n.apply.put(applyItem{done: done})
		<-done
		until(t, "the pause", func() string {
			if !paused() {
				return "has not begun"
			}
			return ""
		})
		until(t, "the pause", func() string {
			if paused() {
				return "lasts as long as the slow command"
			}
			return ""
		})
		if resumed {
			n.apply.put(applyItem{effect: cluster.ResumeWrites{}})
			done := make(chan struct{})
			n.apply.put(applyItem{done: done})
			<-done
		}
		n.e.Store.Unlock(slot)
		if resumed {
			n.Close() // which waits for who may begin it again
			if paused() {
				t.Error("a pause that was ended has begun again")
			}
			continue
		}
		until(t, "the pause", func() string {
			if !paused() {
				return "has not begun again after the slow command"
			}
			return ""
		})
		for end := time.Now().Add(3 * pausePatience); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if !paused() {
				t.Fatal("the pause did not hold")
			}
		}
	}
}
