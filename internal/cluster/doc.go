// Package cluster is the cluster protocol: handshake, gossip, failure
// detection, epochs and slot claims, elections, manual failover, replica
// migration, and what the CLUSTER commands change. It decides and does nothing
// itself: no socket, file, clock, goroutine or chance of its own. Two drivers
// run the same Machine: package bus on real sockets, package cluster/sim in a
// virtual world.
//
// A driver calls Step with one input after another, then Ready, and obeys what
// Ready returns in this order:
//
//	Save    write nodes.conf; when Sync is set it is durable before going on
//	View    publish it for readers
//	Effects start them in order (replication, pausing, deleting keys, log)
//	Close   close these links
//	Dial    start connecting these links
//	Send    queue these messages, each on its link
//
// The order is a safety property: a vote, an epoch or a slot claim never
// reaches the wire before it would survive a crash.
//
// Read types.go, message.go, input.go, ready.go, settings.go, then machine.go
// (the life of one Step), node.go (the table), recv.go (a message), cron.go (a
// tick), gossip.go, failure.go, slots.go, election.go, manual.go, replica.go,
// state.go, admin.go, view.go, check.go. codec.go and nodesconf.go turn messages and state into bytes.
//
// Rules are numbered as in the protocol specification this package was written
// from; a comment such as "8.4 rule 6" names one. Where Redis 7, Redis 8 and
// Valkey 8 differ the machine follows Valkey 8 unless a Setting says otherwise.
//
// One goroutine at a time may use a Machine. Views, Messages and NodesConfs
// that left it are immutable and may be read by any goroutine.
package cluster
