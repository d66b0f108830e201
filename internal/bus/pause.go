package bus

import (
	"sync"
	"time"

	"github.com/skeindb/skein/internal/cluster"
)

// writePause is the pause of writes for a manual failover. Done is reported when no
// write runs that began before it, which may take as long as the slowest command.
// Writers need not stand still so long: a pause that does not find the node quiet
// within pausePatience is lifted until the slow commands are over, and then begun
// again.
type writePause struct {
	mu sync.Mutex
	id uint64 // of the PauseWrites that holds, 0: none does
}

// pausePatience is how long writers stand still, at first, beside a slow command. It
// grows from try to try, so that a node that always has one comes to an end too.
const pausePatience = 100 * time.Millisecond

// pauseWrites carries out PauseWrites and waits for nothing.
func (b *Bus) pauseWrites(e cluster.PauseWrites) {
	eng := b.opt.Engine
	p := &b.pause
	p.mu.Lock()
	p.id = e.ID
	p.mu.Unlock()
	b.wg.Go(func() {
		for patience := pausePatience; ; patience *= 2 {
			if !p.during(e.ID, func() { eng.BeginPause(failoverPause, eng.Now()+int64(e.Until-b.now().Mono), false) }) {
				return
			}
			quiet := eng.Running()
			timer := time.NewTimer(patience)
			select {
			case <-quiet:
				timer.Stop()
				b.post(cluster.Done{ID: e.ID})
				return
			case <-timer.C:
				p.during(e.ID, func() { eng.Unpause(failoverPause) })
			case <-b.quit:
				return
			}
			select {
			case <-quiet:
			case <-b.quit:
				return
			}
		}
	})
}

// resumeWrites carries out ResumeWrites.
func (b *Bus) resumeWrites() {
	b.pause.mu.Lock()
	b.pause.id = 0
	b.opt.Engine.Unpause(failoverPause)
	b.pause.mu.Unlock()
}

// failoverPause is the purpose of the engine's pause.
const failoverPause = "failover"

// during calls f if that pause still holds, which it does until f returns.
func (p *writePause) during(id uint64, f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id != id {
		return false
	}
	f()
	return true
}
