// Package uring moves bytes through many sockets with one system call, by Linux's
// io_uring. It knows nothing of connections: package netio gathers what its
// connections want to send and receive, and goes back to one call for each where
// New fails.
//
// A Ring is used as a list of calls and for nothing else: each transfer is told
// not to wait (MSG_DONTWAIT), so the kernel finishes it within Do, as it would
// finish a read or write of a socket that does not block. Nothing is ever under way
// between two calls of Do. So buffers and descriptors belong to the caller again
// when Do returns, nothing has to be cancelled, and it does not matter which
// thread calls. Who waits for a socket asks the runtime's poller.
//
// Read op.go, then ring_linux.go.
package uring
