package disk

import (
	"os"
	"runtime"
	"sync"
	"time"
)

// A goroutine in a system call keeps its processor until the runtime's monitor
// notices, after up to 20 ms. With one processor nobody is served meanwhile. So a
// process that has only one lends itself a second while it waits for a disk. The
// number of processors is the process's own, and so is this.
var second struct {
	sync.Mutex
	allowed bool
	waiting int  // calls under way
	lent    bool // there are two processors for their time
	last    time.Duration
}

// What takes less than this is not worth the two stops of the world, some 20
// microseconds each, that a second processor costs.
const worthSecond = 500 * time.Microsecond

// UseSecondProcessor allows waits for the disk to change GOMAXPROCS from 1 to 2 for
// their time. It is for a process that is nothing but a server, and has not set
// GOMAXPROCS itself.
func UseSecondProcessor() {
	second.Lock()
	second.allowed, second.last = os.Getenv("GOMAXPROCS") == "", worthSecond
	second.Unlock()
}

// wait runs call, which waits for a disk.
func wait(call func() error) error {
	s := &second
	s.Lock()
	s.waiting++
	if s.allowed && !s.lent && s.last >= worthSecond && runtime.GOMAXPROCS(0) == 1 {
		runtime.GOMAXPROCS(2)
		s.lent = true
	}
	s.Unlock()
	start := time.Now()
	defer func() {
		s.Lock()
		defer s.Unlock()
		s.last = time.Since(start)
		if s.waiting--; s.waiting == 0 && s.lent {
			s.lent = false
			runtime.SetDefaultGOMAXPROCS() // not 1: the system's limit may have grown
		}
	}()
	return call()
}

// osFile is a file of the system whose Sync waits for the disk.
type osFile struct{ *os.File }

func (f osFile) Sync() error { return wait(f.File.Sync) }
