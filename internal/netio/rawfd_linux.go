//go:build !race

package netio

import (
	"syscall"
	"unsafe"
)

// readFD and writeFD move bytes through a socket that does not block. They do
// not tell the scheduler of the system call: it cannot last, and the scheduler
// would take the processor away from a call that works longer than 20 us for the
// kernel, as a write over loopback does, and give it to another thread, again
// and again.

func readFD(fd int, p []byte) (int, error) {
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if e != 0 {
		return -1, e
	}
	return int(n), nil
}

func writeFD(fd int, p []byte) (int, error) {
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if e != 0 {
		return -1, e
	}
	return int(n), nil
}
