package rdb

import (
	"math"
	"strconv"

	"github.com/skeindb/skein/internal/ds"
)

// Value is one value body, read on demand. Depending on its Kind a caller uses
//
//	string                 Str, once
//	list set zset hash     Next until it says false, then Err; the elements come
//	                       one after another however they are packed
//	stream                 Stream, once
//	module                 nothing: the Reader passes over it
//
// A caller that can use the packed forms as they are asks Listpack, Intset or
// Node first. A collection without elements is not an error here: files may
// contain it and its key is then left out, a DUMP payload may not.
//
// That members are different and that packed sorted sets are sorted is left to
// whoever builds the value.
type Value struct {
	s    *source
	typ  Type
	info typeInfo

	begun   bool
	done    bool
	left    uint64 // plain items, or nodes, not yet begun
	baseTTL int64  // type 24: what the periods of its fields count from
	lastTTL int64  // type 25: fields are ordered by their time

	blob   []byte // what is being walked: a view of the source's window
	inBlob bool
	module uint64 // id of a module's type, once it is passed over
	idAt   int64  // where in the input that id is
	single bool   // blob is one element of a list, not a packed node
	at     int    // position in blob, but for a listpack
	lp     ds.LPIter

	first []byte   // copy of the first half of a pair
	textA [20]byte // integers as text
	textB [20]byte
}

// Elem is one element of a collection. Its slices are views, valid until the
// next method of the value.
type Elem struct {
	Str        []byte  // element, member or field
	Value      []byte  // of a hash
	Score      float64 // of a sorted set; not NaN
	ExpireAtMs int64   // of a hash field; 0 means never
}

func (v *Value) open(s *source, t Type) {
	*v = Value{s: s, typ: t, info: t.info(), first: v.first[:0]}
}

// Type returns the type byte.
func (v *Value) Type() Type { return v.typ }

// Kind returns what the value is.
func (v *Value) Kind() Kind { return v.info.kind }

// Err returns the error that reading has met, of type *FormatError.
func (v *Value) Err() error { return v.s.err }

// Str returns the value of a string, a view.
func (v *Value) Str() ([]byte, error) {
	v.begun, v.done = true, true
	v.s.what = "string"
	p := v.s.str()
	return p, v.s.err
}

// begin reads what stands before the elements: a count, or the blob.
func (v *Value) begin() {
	if v.begun {
		return
	}
	v.begun = true
	s := v.s
	s.what = v.info.name
	if v.typ == TypeHashTTL || v.typ == TypeHashListpackEx {
		v.baseTTL = int64(s.u64())
		if s.err == nil && (v.baseTTL < 0 || v.baseTTL > maxFieldTTLMs) {
			s.corrupt("field expiry %d", v.baseTTL)
		}
	}
	switch v.info.form {
	case formPlain, formNodes:
		v.left = s.length()
	case formBlob:
		v.enter(s.str())
	}
}

// enter checks a blob and starts to walk it. Only one that is valid is walked.
func (v *Value) enter(blob []byte) {
	s := v.s
	if s.err != nil {
		return
	}
	v.blob, v.inBlob, v.single = blob, false, false
	var n int
	var err error
	switch v.info.pack {
	case packListpack:
		if err = ds.ValidateLP(blob); err == nil {
			n = ds.LP(blob).Count()
			v.lp = ds.LP(blob).Iter()
		}
	case packZiplist:
		n, err = ziplist(blob).validate()
		v.at = zlHeader
	case packZipmap:
		_, err = zipmap(blob).validate()
		v.at = zmHeader
	case packIntset:
		err = ds.ValidateIntset(blob)
		v.at = 0
	}
	if err != nil {
		s.corrupt("%v", err)
		return
	}
	if group := v.group(); n%group != 0 {
		s.corrupt("%d packed elements are not groups of %d", n, group)
		return
	}
	v.inBlob = true
}

// group returns how many packed elements make one element of the value.
func (v *Value) group() int {
	switch {
	case v.typ == TypeHashListpackTTL || v.typ == TypeHashListpackEx:
		return 3
	case v.info.kind == KindHash || v.info.kind == KindZSet:
		return 2
	}
	return 1
}

// Listpack returns the value as one valid listpack, laid out as types 16, 17 and
// 20 are, or as a list with a single packed node, and false if it is not in that
// form. The value then counts as read. Call it before Next and Node.
func (v *Value) Listpack() (ds.LP, bool) {
	if v.begun || v.info.pack != packListpack || v.group() == 3 {
		return nil, false
	}
	v.begin()
	if v.info.form == formNodes {
		if v.left != 1 || !v.nextNode() || v.single {
			return nil, false
		}
	}
	if v.s.err != nil {
		return nil, false
	}
	v.inBlob, v.done = false, true
	return v.blob, true
}

// Intset returns the value as one valid intset, and false if it is not in that
// form. The value then counts as read. Call it before Next.
func (v *Value) Intset() (ds.Intset, bool) {
	if v.begun || v.info.pack != packIntset {
		return nil, false
	}
	v.begin()
	if v.s.err != nil {
		return nil, false
	}
	v.inBlob, v.done = false, true
	return v.blob, true
}

// Node returns the next node of a list of type 18: either a valid listpack of
// elements or, if single, one element. False for other types, at the end, and
// after an error. A node that made Listpack refuse is still to come.
func (v *Value) Node() (data []byte, single, ok bool) {
	if v.typ != TypeListQuicklist2 {
		return nil, false, false
	}
	v.begin()
	if !v.inBlob && !v.nextNode() {
		return nil, false, false
	}
	v.inBlob = false
	return v.blob, v.single, true
}

// nextNode reads the node after the current one.
func (v *Value) nextNode() bool {
	s := v.s
	if v.left == 0 || s.err != nil {
		v.done = true
		return false
	}
	v.left--
	s.what = "list node"
	if v.typ == TypeListQuicklist2 {
		switch c := s.length(); {
		case s.err != nil:
			return false
		case c == nodeSingle:
			v.blob, v.inBlob, v.single, v.at = s.str(), true, true, 0
			return s.err == nil
		case c != nodePacked:
			s.corrupt("node container %d", c)
			return false
		}
	}
	v.enter(s.str())
	return s.err == nil
}

// Containers of a list node in type 18.
const (
	nodeSingle = 1
	nodePacked = 2
)

// Next reads the next element into e. It returns false at the end and after an
// error, which Err tells apart.
func (v *Value) Next(e *Elem) bool {
	v.begin()
	for v.s.err == nil && !v.done {
		if v.inBlob {
			if v.unpack(e) {
				return v.s.err == nil
			}
			v.inBlob = false
			v.done = v.info.form == formBlob
			continue
		}
		switch v.info.form {
		case formNodes:
			v.nextNode()
		case formPlain:
			if v.left == 0 || v.info.kind == KindString {
				v.done = true
				break
			}
			v.left--
			v.plain(e)
			return v.s.err == nil
		default:
			v.done = true
		}
	}
	return false
}

// plain reads an element of a type that is not packed.
func (v *Value) plain(e *Elem) {
	s := v.s
	*e = Elem{}
	switch v.typ {
	case TypeList, TypeSet:
		e.Str = s.str()
	case TypeZSet, TypeZSetText:
		e.Str = v.keep(s.str())
		if v.typ == TypeZSet {
			e.Score = s.double()
		} else {
			e.Score = s.textDouble()
		}
	case TypeHashTTL, TypeHashTTLAbs:
		t := s.length()
		switch {
		case t == 0:
		case t > maxFieldTTLMs+1:
			s.corrupt("field expiry %d", t)
		case v.typ == TypeHashTTL:
			e.ExpireAtMs = v.baseTTL + int64(t) - 1
		default:
			e.ExpireAtMs = int64(t)
		}
		if e.ExpireAtMs > maxFieldTTLMs {
			s.corrupt("field expiry %d", e.ExpireAtMs)
		}
		fallthrough
	case TypeHash:
		e.Str = v.keep(s.str())
		e.Value = s.str()
	}
}

// keep copies the first half of a pair, which reading the second may overwrite.
func (v *Value) keep(p []byte) []byte {
	v.first = append(v.first[:0], p...)
	return v.first
}

// unpack takes the next element out of the blob, false at its end.
func (v *Value) unpack(e *Elem) bool {
	*e = Elem{}
	if v.single {
		e.Str = v.blob
		v.at++
		return v.at == 1
	}
	if v.info.pack == packZipmap {
		var ok bool
		e.Str, e.Value, v.at, ok = zipmap(v.blob).next(v.at)
		return ok
	}
	x, ok := v.packed()
	if !ok {
		return false
	}
	e.Str = elemText(&x, v.textA[:0])
	switch v.info.kind {
	case KindZSet:
		x, _ = v.packed()
		if e.Score, ok = x.Float(); !ok {
			v.s.corrupt("score %q", x.Str)
		}
	case KindHash:
		x, _ = v.packed()
		e.Value = elemText(&x, v.textB[:0])
		if v.group() == 3 {
			x, _ = v.packed()
			v.fieldTTL(&x, e)
		}
	}
	return true
}

// fieldTTL reads the third of a triplet. Fields with a time come first, in the
// order of their times.
func (v *Value) fieldTTL(x *ds.Elem, e *Elem) {
	t, ok := x.AsInt()
	if !ok || t < 0 || t > maxFieldTTLMs {
		v.s.corrupt("field expiry %q", elemText(x, nil))
		return
	}
	e.ExpireAtMs = t
	if t == 0 {
		t = math.MaxInt64
	}
	if t < v.lastTTL {
		v.s.corrupt("field expiries out of order")
	}
	v.lastTTL = t
}

// packed returns the next element of a listpack, ziplist or intset.
func (v *Value) packed() (x ds.Elem, ok bool) {
	switch v.info.pack {
	case packListpack:
		if ok = v.lp.Next(); ok {
			x = v.lp.Elem()
		}
	case packZiplist:
		x, v.at, ok = ziplist(v.blob).next(v.at)
	case packIntset:
		if ok = v.at < ds.Intset(v.blob).Len(); ok {
			x = ds.Elem{Int: ds.Intset(v.blob).At(v.at), IsInt: true}
			v.at++
		}
	}
	return x, ok
}

// elemText returns an element's text, putting an integer's into text.
func elemText(x *ds.Elem, text []byte) []byte {
	if x.IsInt {
		return x.Append(text)
	}
	return x.Str
}

// skip passes over what was not read. Where nothing was read yet the value is not
// looked into either.
func (v *Value) skip() {
	s := v.s
	if v.done || s.err != nil {
		return
	}
	v.done = true
	if !v.begun && v.info.form == formBlob {
		if v.typ == TypeHashListpackEx {
			s.u64()
		}
		s.skipString()
		return
	}
	switch v.info.form {
	case formStream:
		readStream(s, v.typ, nil, nil)
	case formModule:
		s.what = "module value"
		v.idAt = s.offset()
		v.module = s.length()
		s.skipModule()
	case formNodes:
		v.begin()
		for ; v.left > 0 && s.err == nil; v.left-- {
			if v.typ == TypeListQuicklist2 {
				s.length()
			}
			s.skipString()
		}
	case formPlain:
		if v.info.kind == KindString {
			s.what = "string"
			s.skipString()
			return
		}
		v.begin()
		for ; v.left > 0 && s.err == nil; v.left-- {
			v.skipPlain()
		}
	}
}

func (v *Value) skipPlain() {
	s := v.s
	switch v.typ {
	case TypeList, TypeSet:
		s.skipString()
	case TypeZSet:
		s.skipString()
		s.take(8)
	case TypeZSetText:
		s.skipString()
		s.textDouble()
	case TypeHashTTL, TypeHashTTLAbs:
		s.length()
		fallthrough
	case TypeHash:
		s.skipString()
		s.skipString()
	}
}

// Items of a module's data; each starts with one of these as a length.
const (
	moduleEnd      = 0
	moduleSigned   = 1
	moduleUnsigned = 2
	moduleFloat    = 3
	moduleDouble   = 4
	moduleString   = 5
)

// moduleName is the name of the type that a module's id stands for, with its
// version: | nine characters of 6 bits each | version 10 bits |
func moduleName(id uint64) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var name [9]byte
	for i := range name {
		name[i] = letters[id>>(58-6*i)&63]
	}
	return string(name[:]) + " version " + strconv.FormatUint(id&1023, 10)
}

// skipModule passes over a module's items up to the end mark.
func (s *source) skipModule() {
	for s.err == nil {
		switch c := s.length(); c {
		case moduleEnd:
			return
		case moduleSigned, moduleUnsigned:
			s.length()
		case moduleFloat:
			s.take(4)
		case moduleDouble:
			s.take(8)
		case moduleString:
			s.skipString()
		default:
			s.corrupt("module item %d", c)
		}
	}
}
