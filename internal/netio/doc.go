// Package netio is the client connections of a server: it listens on TCP, TLS
// and unix sockets, reads what clients send, and sends what they are owed. What
// the bytes mean is the business of a Handler, one per connection, which is
// engine.Session in the server.
//
// Where Linux has io_uring, plain connections share system calls: the reads and
// writes of goroutines that are runnable together are carried out together, see
// gather.go. Nothing else changes by that.
//
// Read server.go (Server: settings, the set of connections, the sweep that
// enforces time limits), listen.go (addresses), conn.go (a connection's life and
// its input), output.go (replies, pushes and output limits), gather.go.
//
// # Goroutines
//
// Each connection has one goroutine, which reads, runs the Handler and writes
// its replies. Bytes from elsewhere (a published message, the reply to a client
// that was blocked) are queued with Conn.Push and sent by a second goroutine
// that lives while there is something to send. Two locks per connection: wr is
// held while writing to the socket and orders the two goroutines, mu guards
// what is queued and is held for memory operations only. wr before mu.
//
// # A slow reader
//
// Replies are written by the goroutine that made them, so a client that does not
// read stops being served, and costs one batch of replies. Pushes cannot wait:
// they pile up to the output limit of the connection's class, then it is closed.
package netio
