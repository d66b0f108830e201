package ds

import "encoding/binary"

// Writers of listpacks over a Buf. The bytes an argument refers to must lie
// outside the Buf, which may move. Every writer takes time in the bytes behind
// the place of change; appending is O(size of the element).

// lpEnc is an element ready to be written: head, then body, then backlen.
type lpEnc struct {
	head [9]byte
	n    int // bytes of head
	body []byte
}

// lpEncode chooses the shortest form, an integer where the text is one.
func lpEncode(elem []byte) lpEnc {
	if v, ok := ParseInt(elem); ok {
		return lpEncodeInt(v)
	}
	e := lpEnc{body: elem}
	switch n := len(elem); {
	case n < 64:
		e.head[0], e.n = 0x80|byte(n), 1
	case n < 4096:
		e.head[0], e.head[1], e.n = 0xe0|byte(n>>8), byte(n), 2
	default:
		e.head[0], e.n = 0xf0, 5
		binary.LittleEndian.PutUint32(e.head[1:], uint32(n))
	}
	return e
}

func lpEncodeInt(v int64) (e lpEnc) {
	switch {
	case v >= 0 && v <= 127:
		e.head[0], e.n = byte(v), 1
	case v >= -4096 && v <= 4095:
		e.head[0], e.head[1], e.n = 0xc0|byte(v>>8)&0x1f, byte(v), 2
	case v >= -1<<15 && v < 1<<15:
		e.head[0], e.n = 0xf1, 3
	case v >= -1<<23 && v < 1<<23:
		e.head[0], e.n = 0xf2, 4
	case v >= -1<<31 && v < 1<<31:
		e.head[0], e.n = 0xf3, 5
	default:
		e.head[0], e.n = 0xf4, 9
	}
	if e.n >= 3 { // little endian, as many bytes as the form has
		binary.LittleEndian.PutUint64(e.head[1:], uint64(v))
	}
	return e
}

func (e *lpEnc) size() int {
	n := e.n + len(e.body)
	return n + lpBacklenSize(n)
}

func (e *lpEnc) put(dst []byte) {
	copy(dst, e.head[:e.n])
	n := e.n + copy(dst[e.n:], e.body)
	lpPutBacklen(dst[n:], n)
}

// lpFix sets the header after a change: total, and count by delta elements.
func lpFix(p []byte, delta int) {
	binary.LittleEndian.PutUint32(p, uint32(len(p)))
	if n := int(binary.LittleEndian.Uint16(p[4:])); n != lpCountUnknown {
		binary.LittleEndian.PutUint16(p[4:], uint16(min(n+delta, lpCountUnknown)))
	}
}

// LPElemSize returns the bytes that elem takes in a listpack, so that a caller
// can check limits before it writes.
func LPElemSize(elem []byte) int {
	e := lpEncode(elem)
	return e.size()
}

// LPIntSize is LPElemSize of an integer's text.
func LPIntSize(v int64) int {
	e := lpEncodeInt(v)
	return e.size()
}

// LPSafeToAdd reports whether n more bytes keep a listpack within its limit.
func LPSafeToAdd(p LP, n int) bool { return len(p)+n <= LPMaxSize }

// LPInit makes b an empty listpack.
func LPInit(b Buf) {
	p := b.Splice(0, len(b.Bytes()), LPEmptySize)
	clear(p)
	p[0], p[lpHeader] = LPEmptySize, lpEnd
}

// LPAppend adds elem at the end.
func LPAppend(b Buf, elem []byte) {
	e := lpEncode(elem)
	lpInsert(b, len(b.Bytes())-1, &e)
}

// LPAppendInt adds an integer at the end.
func LPAppendInt(b Buf, v int64) {
	e := lpEncodeInt(v)
	lpInsert(b, len(b.Bytes())-1, &e)
}

// LPPrepend adds elem at the front.
func LPPrepend(b Buf, elem []byte) {
	e := lpEncode(elem)
	lpInsert(b, lpHeader, &e)
}

// LPInsert adds elem before the element at off, or at the end if off is
// LP.End. The new element is at off afterwards.
func LPInsert(b Buf, off int, elem []byte) {
	e := lpEncode(elem)
	lpInsert(b, off, &e)
}

// LPInsertInt is LPInsert of an integer.
func LPInsertInt(b Buf, off int, v int64) {
	e := lpEncodeInt(v)
	lpInsert(b, off, &e)
}

// LPInsertAfter adds elem after the element at off and returns its position.
func LPInsertAfter(b Buf, off int, elem []byte) int {
	off = LP(b.Bytes()).After(off)
	LPInsert(b, off, elem)
	return off
}

func lpInsert(b Buf, off int, e *lpEnc) {
	p := b.Splice(off, 0, e.size())
	e.put(p[off:])
	lpFix(p, 1)
}

// LPReplace puts elem in the place of the element at off.
func LPReplace(b Buf, off int, elem []byte) {
	e := lpEncode(elem)
	lpReplace(b, off, &e)
}

// LPReplaceInt is LPReplace with an integer.
func LPReplaceInt(b Buf, off int, v int64) {
	e := lpEncodeInt(v)
	lpReplace(b, off, &e)
}

func lpReplace(b Buf, off int, e *lpEnc) {
	p, size := LP(b.Bytes()), e.size()
	if del := p.After(off) - off; del != size {
		p = b.Splice(off, del, size)
	}
	e.put(p[off:])
	lpFix(p, 0)
}

// LPDelete removes up to n elements from off on. What followed them is at off
// afterwards (LP.End if nothing did). It returns how many were removed.
func LPDelete(b Buf, off, n int) int {
	p := LP(b.Bytes())
	end, k := off, 0
	for ; k < n && p[end] != lpEnd; k++ {
		end = p.After(end)
	}
	if k > 0 {
		lpFix(b.Splice(off, end-off, 0), -k)
	}
	return k
}

// A hash is a listpack of field, value, field, value ...

// FindPair returns the positions of a field and its value, -1 if absent.
func (p LP) FindPair(field []byte) (fieldOff, valueOff int) {
	fieldOff = p.Find(p.First(), field, 1)
	if fieldOff < 0 {
		return -1, -1
	}
	return fieldOff, p.After(fieldOff)
}

// LPSetPair sets a field's value, adding the pair at the end if it is new.
func LPSetPair(b Buf, field, value []byte) (added bool) {
	if _, off := LP(b.Bytes()).FindPair(field); off >= 0 {
		LPReplace(b, off, value)
		return false
	}
	LPAppendPair(b, field, value)
	return true
}

// LPAppendPair adds a pair whose field is known to be absent.
func LPAppendPair(b Buf, field, value []byte) {
	f, v := lpEncode(field), lpEncode(value)
	lpInsertPair(b, len(b.Bytes())-1, &f, &v)
}

// LPDeletePair removes a field and its value.
func LPDeletePair(b Buf, field []byte) bool {
	off, _ := LP(b.Bytes()).FindPair(field)
	if off < 0 {
		return false
	}
	LPDelete(b, off, 2)
	return true
}

func lpInsertPair(b Buf, off int, x, y *lpEnc) {
	nx := x.size()
	p := b.Splice(off, 0, nx+y.size())
	x.put(p[off:])
	y.put(p[off+nx:])
	lpFix(p, 2)
}
