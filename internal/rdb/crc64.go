package rdb

import "encoding/binary"

// The checksum is CRC-64 with the polynomial of David T. Jones, reflected, with
// initial value and final xor 0. hash/crc64 can compute it (inverted before and
// after), but for a polynomial it does not know it rebuilds its wide tables on
// every call, so the tables are held here.
const crcPoly = 0x95ac9329ac4bc9b5 // ad93d23594c935a9 with its bits reversed

// crcTables[0] advances the checksum by one byte; crcTables[k] by one byte that
// is followed by k zero bytes, which lets sixteen bytes be taken at a time: only
// the first eight depend on what went before.
var crcTables = makeCRCTables()

func makeCRCTables() *[16][256]uint64 {
	var t [16][256]uint64
	for i := range 256 {
		c := uint64(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ crcPoly
			} else {
				c >>= 1
			}
		}
		t[0][i] = c
	}
	for k := 1; k < 16; k++ {
		for i := range 256 {
			c := t[k-1][i]
			t[k][i] = t[0][c&0xff] ^ c>>8
		}
	}
	return &t
}

// CRC64 carries the checksum crc over p. A fresh checksum starts at 0, and
// CRC64(CRC64(0, a), b) is the checksum of a followed by b.
func CRC64(crc uint64, p []byte) uint64 {
	t := crcTables
	for len(p) >= 16 {
		a, b := crc^binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
		crc = t[15][a&0xff] ^ t[14][a>>8&0xff] ^ t[13][a>>16&0xff] ^ t[12][a>>24&0xff] ^
			t[11][a>>32&0xff] ^ t[10][a>>40&0xff] ^ t[9][a>>48&0xff] ^ t[8][a>>56] ^
			t[7][b&0xff] ^ t[6][b>>8&0xff] ^ t[5][b>>16&0xff] ^ t[4][b>>24&0xff] ^
			t[3][b>>32&0xff] ^ t[2][b>>40&0xff] ^ t[1][b>>48&0xff] ^ t[0][b>>56]
		p = p[16:]
	}
	if len(p) >= 8 {
		crc ^= binary.LittleEndian.Uint64(p)
		crc = t[7][crc&0xff] ^ t[6][crc>>8&0xff] ^ t[5][crc>>16&0xff] ^ t[4][crc>>24&0xff] ^
			t[3][crc>>32&0xff] ^ t[2][crc>>40&0xff] ^ t[1][crc>>48&0xff] ^ t[0][crc>>56]
		p = p[8:]
	}
	for _, b := range p {
		crc = t[0][byte(crc)^b] ^ crc>>8
	}
	return crc
}

// crcPowers[k] is x to the power of 8 * 2^k modulo the polynomial: what the checksum
// is multiplied by when 2^k zero bytes follow.
var crcPowers = makeCRCPowers()

func makeCRCPowers() *[63]uint64 {
	var p [63]uint64
	p[0] = 1 << (63 - 8) // bit 63 is x to the power of 0
	for k := 1; k < len(p); k++ {
		p[k] = crcMul(p[k-1], p[k-1])
	}
	return &p
}

// crcMul multiplies modulo the polynomial.
func crcMul(a, b uint64) (product uint64) {
	for ; a != 0; a <<= 1 {
		if a>>63 != 0 {
			product ^= b
		}
		b = b>>1 ^ crcPoly&-(b&1)
	}
	return product
}

// crcJoin returns the checksum of a text whose first part has checksum a, and whose
// second part, of n bytes, has checksum b. O(log n).
func crcJoin(a, b uint64, n int64) uint64 {
	for k := 0; n != 0 && a != 0; k, n = k+1, n>>1 {
		if n&1 != 0 {
			a = crcMul(a, crcPowers[k])
		}
	}
	return a ^ b
}
