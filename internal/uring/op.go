package uring

import "syscall"

// Op is one transfer: Buf, which must not be empty, is sent to or filled from the
// socket FD, in part if the socket takes or has no more. Do leaves in N the number
// of bytes, 0 for the end of the stream, or -1 with the reason in Err; that is
// EAGAIN where the transfer would have to wait.
type Op struct {
	FD   int
	Send bool
	Buf  []byte

	N   int
	Err syscall.Errno
}
