// Package ds holds the encodings of values in mem's off-heap memory: how a
// list, hash, set or sorted set looks as bytes, small and big. It knows nothing
// of keys, commands or clients; store keeps the records that the encodings lie
// in, and the callers choose when to convert from one to another (the limits are
// settings; the size predictions here serve to check them).
//
// Small encodings are one byte string, read as a slice (LP, Intset) and written
// through a Buf, which the record implements; they are byte for byte what RDB
// files hold. Big ones are a header of fixed size in the record, and memory of
// their own in the heap: Quicklist, Table, ZSet, Stream. A handle is opened on the
// header for each use and dropped before the record changes.
//
// Read buf.go, listpack.go, lpwrite.go, lpzset.go, lpttl.go, intset.go, dict.go, table.go, ttltable.go,
// quicklist.go, zset.go, ztree.go, idtree.go, stream.go, streamgroup.go.
//
// Nothing here locks. Whoever calls holds the lock of the slot; handles and the
// views they return are valid until the next change or until that lock is
// released. No operation leaves garbage on the Go heap.
package ds
