package hashslot

// CRC16 of the key distribution model: width 16, polynomial 0x1021, initial
// value 0, nothing reflected, no final XOR (known as XMODEM).
const poly = 0x1021

// tables[k][b] is the CRC of byte b followed by k zero bytes. With all eight,
// eight bytes of input are eight independent loads and XORs: the CRC is linear,
// so the CRC of a block is the XOR of what each of its bytes contributes, and
// the value so far is folded into the first two bytes.
var tables = makeTables()

func makeTables() (t [8][256]uint16) {
	for b := range t[0] {
		crc := uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ poly
			} else {
				crc <<= 1
			}
		}
		t[0][b] = crc
	}
	for k := 1; k < len(t); k++ {
		for b := range t[k] {
			prev := t[k-1][b]
			t[k][b] = prev<<8 ^ t[0][prev>>8]
		}
	}
	return t
}

func crc16(p []byte) uint16 {
	t := &tables
	var crc uint16
	for len(p) >= 8 {
		crc = t[7][p[0]^byte(crc>>8)] ^ t[6][p[1]^byte(crc)] ^
			t[5][p[2]] ^ t[4][p[3]] ^ t[3][p[4]] ^ t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]]
		p = p[8:]
	}
	if len(p) >= 4 {
		crc = t[3][p[0]^byte(crc>>8)] ^ t[2][p[1]^byte(crc)] ^ t[1][p[2]] ^ t[0][p[3]]
		p = p[4:]
	}
	for _, b := range p {
		crc = crc<<8 ^ t[0][byte(crc>>8)^b]
	}
	return crc
}
