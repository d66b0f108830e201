package ds

import "hash/maphash"

// seed makes the positions of keys and fields unguessable. It never changes
// while the process lives, so hashes may be kept, but not written to disk.
var seed = maphash.MakeSeed()

// Hash is the hash of a key or field that Dict and Table are indexed by.
func Hash(b []byte) uint64 { return maphash.Bytes(seed, b) }
