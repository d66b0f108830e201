//go:build amd64 || arm64

package store

// prefetchLines asks for the cache lines at the given addresses. Unlike a load
// a prefetch does not hold up the instructions behind it, so all of them are
// under way at once; an address that is not mapped does no harm.
//
//go:noescape
func prefetchLines(addrs []uintptr)
