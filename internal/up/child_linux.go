package up

import "syscall"

// childAttr keeps Ctrl-C in the terminal from the children, who are told by
// signal, and has them stop by themselves if this process is killed.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
