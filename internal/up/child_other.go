//go:build !linux

package up

import "syscall"

// childAttr keeps Ctrl-C in the terminal from the children, who are told by
// signal. Only Linux can end them with a parent that was killed.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
