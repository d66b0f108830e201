// Package hashslot says which of the 16384 slots a key belongs to.
//
// It is a leaf: the keyspace, the engine and the cluster machine all need the
// same answer and none of them should import another for it. Read Slot, then
// PatternSlot. Every function is pure and may be called from any goroutine.
package hashslot

import "bytes"

// Count is the number of slots of a keyspace. Cluster specification,
// "Key distribution model"; the bus message format fixes it too (a bitmap of
// 2048 bytes).
const Count = 16384

const slotMask = Count - 1

// AnySlot is what PatternSlot returns for a pattern that can match keys of
// more than one slot.
const AnySlot = -1

// Slot returns the slot of key: the CRC16 of its hashed part, modulo Count.
// It reads key once for the braces and once for the CRC, and does not allocate.
//
// The hashed part is what stands between the first '{' and the first '}' after
// it, when both exist and enclose at least one byte; else the whole key.
// A key such as "{}{tag}" is hashed whole: only the first pair counts.
func Slot(key []byte) uint16 {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		tag := key[open+1:]
		if n := bytes.IndexByte(tag, '}'); n > 0 {
			key = tag[:n]
		}
	}
	return crc16(key) & slotMask
}

// PatternSlot returns the only slot whose keys the glob pattern can match, or
// AnySlot when it cannot tell. A special byte (* ? [ \) before a complete,
// non-empty first hash tag makes the slot unknown; what follows such a tag does
// not matter. An empty first tag disables tags, as it does for a key.
func PatternSlot(pattern []byte) int {
	open := -1 // index of the first '{', while its '}' is still awaited
	tags := true
	for i, c := range pattern {
		switch c {
		case '*', '?', '[', '\\':
			return AnySlot
		case '{':
			if tags && open < 0 {
				open = i
			}
		case '}':
			if !tags || open < 0 {
				continue
			}
			if i > open+1 {
				return int(crc16(pattern[open+1:i]) & slotMask)
			}
			tags = false
		}
	}
	return int(crc16(pattern) & slotMask)
}
