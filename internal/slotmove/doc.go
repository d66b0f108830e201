// Package slotmove moves whole slots with their data from one primary to another
// while clients work, without ASK and TRYAGAIN (atomic slot migration, the
// commands of Valkey 9; cluster specification, appendix A).
//
// The source opens a connection to the target's client port, as a replica does
// in the other direction, and sends commands: the keys of the slots as they were
// at a cut (RESTORE), and what happened to them since, filtered out of the log of
// effects. Both travel together: a writer that meets a key which the walk has
// not reached puts the key's record out before its own effect enters the log, so
// whoever first reads the log's end, then takes the records that have
// accumulated, and sends these before the log up to that end, has every record
// before the effects on it. So nothing has to be kept until the walk is over,
// however long it takes.
//
// The target keeps the keys in slots that are hidden (store.HideSlot): clients
// are redirected by name and do not see them in listings and counts; replicas and
// files have them like any others. When the target has caught up it asks the
// source to stop writes to the slots; the source does, sends the rest, and the
// target asks for the slots; the source grants them, and from then on serves no
// write to them until it knows how it ended. The target takes the slots by a claim
// with a new configEpoch. The source learns of it as of any claim and deletes
// its copies.
//
//	source                                     target
//	  | CLUSTER SYNCSLOTS ESTABLISH ...  ------>  | hides the slots; replicas are told
//	  |  <-------------------------------- +OK    |
//	  | RESTORE, effects, ACK n ...      ------>  | runs them, logs them
//	  |  <------------------------------ ACK n    | how far it is
//	  | SNAPSHOT-EOF                     ------>  |
//	  |  <---------------------- REQUEST-PAUSE    | once its replicas have everything
//	  | (writes wait) rest, PAUSED       ------>  |
//	  |  <------------------- REQUEST-FAILOVER    | likewise; if that takes too long REQUEST-RESUME:
//	  |                                           | writes go on, and then REQUEST-PAUSE again
//	  | FAILOVER-GRANTED                 ------>  | tells its replicas (TAKING), likewise
//	  |                                           | takes the slots: claim on the bus
//
// Whatever fails before the grant leaves the source the owner, and the target
// deletes what it got. After the grant only the target can tell: a source that
// loses the connection then asks (PROBE) until it is told, or the claim comes, or
// the time is over after which a target without grant does not take slots. If the
// target dies just then, nobody may have heard its claim: the replica that succeeds it
// knows that the slots were granted and asks the source for them (INHERIT, heir.go),
// rather than delete what may be the only copy. Before all that the source
// tells its replicas which slots may go (LEAVE), so that one which succeeds a source
// that died before it could delete the keys does that.
//
// Read state.go, export.go and import.go (the two state machines, which touch
// nothing), message.go (their messages), then the drivers: mover.go,
// exporter.go with records.go, filter.go and throttle.go, importer.go, track.go
// (replicas of either side), heir.go, ask.go; commands.go, info.go.
//
// # Goroutines and locks
//
// A goroutine for each export, with one beside it that reads; an import runs in
// its session's goroutine; one ticks. Mover.mu guards all jobs and is a leaf:
// what the machines want done is done after it is released.
package slotmove
