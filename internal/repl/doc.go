// Package repl keeps replicas in step with their primary, in both roles.
//
// As a primary it gives every change a place in one stream (Log), keeps the
// recent part of it (Backlog), decides what a replica that asks must be sent
// (History.Decide), and feeds each replica: the rest of the stream, or a
// snapshot first (transfer). As a replica it dials, shakes hands, loads a
// snapshot or continues, and applies the stream (follower). A replica of a
// replica is served from the same Log: the bytes, their offsets and the id of
// the history are those of the top primary.
//
// repl opens no sockets and writes no files: connections come from
// Options.Dial and from sessions that speak PSYNC, the bytes of a snapshot go
// from rdb to a connection and back. Who is primary is decided elsewhere
// (REPLICAOF, package bus), and comes in by Follow and Promote.
//
// Read psync.go, backlog.go, log.go, repl.go, peer.go, transfer.go, follower.go,
// handshake.go, apply.go, then the commands: commands.go, wait.go, failover.go,
// info.go.
//
// # Goroutines and locks
//
// One goroutine ticks; one feeds each replica; one makes snapshots while
// replicas wait for one; one follows the primary, with one beside it that
// acknowledges. Commands run on the goroutines of their sessions. The order of
// locks:
//
//	Repl.role    role changes, one at a time
//	Repl.apply   held while a piece of the primary's stream is applied and
//	             appended: whoever cuts a snapshot takes it, so that data and
//	             offset agree
//	slot locks   of store
//	Repl.mu      replicas and what they wait for
//	Log.mu       a leaf
package repl
