package proc

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// launch starts processes on one thread that never ends: the death signal of a
// child goes off when the thread that started it ends, and it is what stops the
// servers when a test panics or is killed.
var launch = sync.OnceValue(func() chan func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range jobs {
			f()
		}
	}()
	return jobs
})

func start(cmd *exec.Cmd) (err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done := make(chan struct{})
	launch() <- func() {
		err = cmd.Start()
		close(done)
	}
	<-done
	return err
}
