//go:build race

package uring

import "syscall"

// The race detector takes what one goroutine writes to a socket to happen before
// what another reads, since package syscall tells it of each Read and Write. It is
// told the same of a ring: of all that was done before a round by a Write that fails, of
// all that follows by a Read of nothing.

func released() { syscall.Write(-1, nil) }

func acquired() { syscall.Read(nowhere, nil) }

// nowhere can be read: nothing is read from it.
var nowhere, _ = syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
