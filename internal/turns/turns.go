// Package turns makes a goroutine with much work take turns with the connections.
//
// One that only yields (runtime.Gosched) is runnable all the time, and a scheduler
// that has something to run does not ask the network: with one processor, clients
// would wait up to 10 ms, until the runtime's monitor asks. So it waits for the
// network itself, for a byte in a pipe that a second goroutine puts there: it goes on
// when all that the network had before that byte has run.
package turns

import (
	"os"
	"runtime"
	"time"
)

// Time is how long a turn lasts at least: a few dozen batches of a connection.
const Time = 400 * time.Microsecond

// Turns are those of one goroutine.
type Turns struct {
	r     *os.File
	kick  chan struct{}
	since time.Time // when the work of this turn began
}

// New begins the first turn. End frees what it takes: a pipe and a goroutine. Without
// a pipe, for want of files, turns are taken by yielding.
func New() *Turns {
	t := &Turns{since: time.Now()}
	r, w, err := os.Pipe()
	if err != nil {
		return t
	}
	kick := make(chan struct{}, 1)
	t.r, t.kick = r, kick
	go func() {
		defer w.Close()
		for range kick {
			if _, err := w.Write([]byte{0}); err != nil {
				return // the reader meets the end of the pipe
			}
		}
	}()
	return t
}

// Pass ends the turn if it was long enough, and returns when the next one begins. The
// caller holds no locks.
func (t *Turns) Pass() {
	if time.Since(t.since) < Time {
		return
	}
	if t.kick == nil {
		runtime.Gosched()
	} else {
		t.kick <- struct{}{}
		var b [1]byte
		if _, err := t.r.Read(b[:]); err != nil {
			t.End()
		}
	}
	t.since = time.Now()
}

// End gives up the pipe. Pass yields from now on.
func (t *Turns) End() {
	if t.kick != nil {
		close(t.kick)
		t.r.Close()
		t.kick = nil
	}
}
