// Package datatypes holds the commands on values, a file a family: string.go,
// bitmap.go, list.go, hash.go, set.go, zset.go ..., and generic.go, expire.go,
// scan.go, sort.go for those on keys of any type. Each family is a slice of
// command literals (command.Spec) with their handlers.
//
// A handler reads arguments, works on records through command.Ctx, replies and
// says what it changed; it knows nothing of connections, replication or disk.
// It runs in the goroutine of the session that sent the command, holding the
// slot locks of the command's keys (all of them with Spec.World, none with
// Spec.OwnLocks), and keeps nothing beyond the call.
package datatypes

import (
	"slices"

	"github.com/skeindb/skein/internal/command"
)

// Specs returns the literals of every command in this package, fresh ones at
// each call, for command.NewTable.
func Specs() []*command.Spec {
	return slices.Concat(
		stringSpecs(),
		bitmapSpecs(),
		genericSpecs(),
		expireSpecs(),
		scanSpecs(),
		sortSpecs(),
		listSpecs(),
		zsetSpecs(),
		hashSpecs(),
		hashExpireSpecs(),
		setSpecs(),
		hyperLogLogSpecs(),
		geoSpecs(),
		dumpSpecs(),
		streamSpecs(),
		streamReadSpecs(),
		streamGroupSpecs(),
		streamClaimSpecs(),
		streamInfoSpecs(),
	)
}
