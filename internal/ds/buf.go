package ds

import "slices"

// Buf is a byte string that can change its length: the value inside a key's
// record (store.Obj), or a Go slice (SliceBuf). Listpack and intset writers
// work on it. A view is valid until the next Splice.
type Buf interface {
	// Bytes returns the whole content.
	Bytes() []byte
	// Splice cuts del bytes at off, opens a gap of ins bytes of undefined
	// content in their place and returns the whole new content.
	Splice(off, del, ins int) []byte
}

// SliceBuf is a Buf in Go memory: for values that are built before they have
// a record (loading, conversion) and for tests.
type SliceBuf struct{ B []byte }

// Bytes returns the content.
func (s *SliceBuf) Bytes() []byte { return s.B }

// Splice implements Buf.
func (s *SliceBuf) Splice(off, del, ins int) []byte {
	old := len(s.B)
	if ins > del {
		s.B = slices.Grow(s.B, ins-del)[:old+ins-del]
	}
	copy(s.B[off+ins:], s.B[off+del:old])
	s.B = s.B[:old+ins-del]
	return s.B
}
