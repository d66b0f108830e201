package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
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

// stopped tells whether all threads of a process are stopped.
func stopped(pid int) bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		_, state, ok := strings.Cut(string(text), ") ") // behind the name in brackets
		if err != nil || !ok || state[0] != 'T' {
			return false
		}
	}
	return true
}
