package engine

import "time"

// Conn is a client connection as a session sees it; netio implements it. The
// life of a connection:
//
//	s := e.Open(conn)                       // accepted
//	for {                                   // one goroutine
//		n, err := conn.Read(buf[len:])      // deadline: s.Deadline()
//		used := s.Feed(buf)                 // runs what is complete, replies via conn.Write
//		buf = buf[used:]
//		if s.Closing() { break }
//	}
//	s.Close()
//
// While s.Parked() is true (a blocked command) netio keeps reading, to notice
// that the client has gone, but Feed runs nothing; when the session is served
// by another goroutine that goroutine calls Kick, the read returns, and netio
// calls Feed again, even with no new bytes. When the deadline of s.Deadline()
// passes, netio calls s.TimedOut().
type Conn interface {
	// Write sends replies, from the connection's goroutine, after whatever has
	// been pushed before. b is borrowed. Once the peer is a replica its feed
	// writes instead, from one goroutine of its own.
	Write(b []byte) error
	// Push queues bytes from any goroutine and sees that they are sent soon. It
	// never blocks; over the output limit the connection is closed.
	Push(b []byte)
	// Kick makes a blocked read return; any goroutine.
	Kick()
	// Close closes the connection, from any goroutine; the session's goroutine
	// notices by its read failing.
	Close()

	RemoteAddr() string // "ip:port", or "path:0" of a unix socket
	LocalAddr() string
	LocalIP() string // without the port
	Unix() bool
	TLS() bool
	FD() int
	// QueryBuffer returns the bytes received and not yet run, and the capacity.
	QueryBuffer() (used, capacity int)
	// OutputPending returns the bytes not yet taken by the peer.
	OutputPending() int
	// SetClass chooses the output limit: normal, replica, pubsub.
	SetClass(c Class)
	Created() time.Time
}

// Class is a connection's class of output limits.
type Class uint8

const (
	ClassNormal Class = iota
	ClassReplica
	ClassPubSub
)

func (c Class) String() string { return [...]string{"normal", "replica", "pubsub"}[c] }
