// Package workload has clients that work on a cluster while slots move and nodes
// die, know what every key must hold, and check the data in the end: Work with
// keepers, for a cluster whose nodes live; SureWriter for one whose nodes are
// killed. MoveUntil makes part of a slot's move as redis-cli does, Fix repairs
// what is left of it.
//
// Read keeper.go, sure.go, move.go.
package workload
