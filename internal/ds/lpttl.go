package ds

// A hash some of whose fields expire is, while it is small, a listpack of field,
// value, time, field, value, time ... ordered by time, fields without one (time 0)
// last. It is what RDB type 25 holds, and its first time is when the next field
// expires. Times are Unix milliseconds.

// FindTriplet returns the positions of a field, its value and its time, -1 if it
// is absent.
func (p LP) FindTriplet(field []byte) (fieldOff, valueOff, timeOff int) {
	fieldOff = p.Find(p.First(), field, 2)
	if fieldOff < 0 {
		return -1, -1, -1
	}
	valueOff = p.After(fieldOff)
	return fieldOff, valueOff, p.After(valueOff)
}

// FirstTime returns when the next field expires, 0 for never.
func (p LP) FirstTime() int64 {
	off := p.First()
	if off < 0 {
		return 0
	}
	return p.Get(p.After(p.After(off))).Int
}

// LPSetTriplet gives a field its value and its time, which orders it. field and
// value are no views of b.
func LPSetTriplet(b Buf, field, value []byte, at int64) (added bool) {
	off, _, _ := LP(b.Bytes()).FindTriplet(field)
	if off >= 0 {
		LPDelete(b, off, 3)
	}
	p := LP(b.Bytes())
	to := p.End()
	if at != 0 {
		for i := p.First(); i >= 0 && i < p.End(); {
			t := p.After(p.After(i))
			if x := p.Get(t).Int; x == 0 || x > at {
				to = i
				break
			}
			i = p.After(t)
		}
	}
	f, v, t := lpEncode(field), lpEncode(value), lpEncodeInt(at)
	nf, nv := f.size(), v.size()
	p = b.Splice(to, 0, nf+nv+t.size())
	f.put(p[to:])
	v.put(p[to+nf:])
	t.put(p[to+nf+nv:])
	lpFix(p, 3)
	return off < 0
}

// LPDeleteTriplet removes a field with its value and time.
func LPDeleteTriplet(b Buf, field []byte) bool {
	off, _, _ := LP(b.Bytes()).FindTriplet(field)
	if off >= 0 {
		LPDelete(b, off, 3)
	}
	return off >= 0
}
