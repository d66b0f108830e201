package mixed

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/test/proc"
)

// writer increments a counter through a cluster client until it is stopped.
type writer struct {
	t            *testing.T
	client       *redis.ClusterClient
	acked, tried atomic.Int64
	quit         chan struct{}
	done         sync.WaitGroup
}

func startWriter(l *layout) *writer {
	w := &writer{t: l.t, client: l.Client(), quit: make(chan struct{})}
	w.done.Go(func() {
		for {
			select {
			case <-w.quit:
				return
			default:
			}
			// Retries of the client could count one increment twice.
			w.tried.Add(int64(1 + w.client.Options().MaxRedirects))
			if w.client.Incr(context.Background(), l.tag+"counter").Err() == nil {
				w.acked.Add(1)
			}
		}
	})
	return w
}

// awaitSome waits for a hundred more acknowledged writes.
func (w *writer) awaitSome() {
	w.t.Helper()
	want := w.acked.Load() + 100
	proc.Wait(w.t, proc.Patience, "writes to be acknowledged", func() string {
		if w.acked.Load() < want {
			return "not yet"
		}
		return ""
	})
}

// stop ends the writer; it returns how many increments were acknowledged, and
// how many there can be at most.
func (w *writer) stop() (acked, tried int) {
	close(w.quit)
	w.done.Wait()
	return int(w.acked.Load()), int(w.tried.Load())
}
