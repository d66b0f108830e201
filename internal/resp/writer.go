package resp

// Writer builds replies for one client in the protocol the client chose. The
// bytes pile up in Buf, which the owner takes and empties. Where RESP2 has no
// such type, a method writes what Redis sends a RESP2 client instead.
//
//	method      RESP3          RESP2
//	Null        _              $-1
//	NullArray   _              *-1
//	Map         %n             *2n
//	Set         ~n             *n
//	Push        >n             *n
//	Double      ,1.5           bulk string
//	Bool        #t             :1
//	BigNumber   (123           bulk string
//	Verbatim    =7 txt:abc     bulk string, without the "txt:"
//
// A header method announces how many values follow; the caller writes exactly
// that many (twice as many for Map and Attribute). The zero value speaks RESP2.
type Writer struct {
	Buf   []byte
	Proto int // 2 (or 0) and 3
}

// RESP3 tells whether the client speaks RESP3.
func (w *Writer) RESP3() bool { return w.Proto == 3 }

// Len is the number of bytes waiting in Buf.
func (w *Writer) Len() int { return len(w.Buf) }

// Raw appends complete protocol bytes.
func (w *Writer) Raw(b []byte) { w.Buf = append(w.Buf, b...) }

// RawString appends complete protocol bytes.
func (w *Writer) RawString(s string) { w.Buf = append(w.Buf, s...) }

// OK appends +OK.
func (w *Writer) OK() { w.Buf = append(w.Buf, "+OK\r\n"...) }

// Simple appends a simple string without line ends.
func (w *Writer) Simple(s string) { w.Buf = AppendSimple(w.Buf, s) }

// Error appends an error; text begins with its code, not with a dash.
func (w *Writer) Error(text string) { w.Buf = AppendError(w.Buf, text) }

func (w *Writer) Int(n int64)         { w.Buf = AppendHeader(w.Buf, Integer, n) }
func (w *Writer) Bulk(b []byte)       { w.Buf = AppendBulk(w.Buf, b) }
func (w *Writer) BulkString(s string) { w.Buf = AppendBulkString(w.Buf, s) }

// BulkInt appends n as a bulk string of digits.
func (w *Writer) BulkInt(n int64) { w.Buf = AppendBulkInt(w.Buf, n) }

// Null appends the null of a single value.
func (w *Writer) Null() { w.null("$-1\r\n") }

// NullArray appends the null that stands for an aggregate.
func (w *Writer) NullArray() { w.null("*-1\r\n") }

func (w *Writer) null(two string) {
	if w.Proto == 3 {
		two = "_\r\n"
	}
	w.Buf = append(w.Buf, two...)
}

// Array announces n values.
func (w *Writer) Array(n int) { w.Buf = AppendHeader(w.Buf, Array, int64(n)) }

// Map announces n pairs.
func (w *Writer) Map(n int) {
	if w.Proto == 3 {
		w.Buf = AppendHeader(w.Buf, Map, int64(n))
		return
	}
	w.Buf = AppendHeader(w.Buf, Array, 2*int64(n))
}

// Set announces n distinct values.
func (w *Writer) Set(n int) { w.aggregate(Set, n) }

// Push announces an out-of-band value of n elements.
func (w *Writer) Push(n int) { w.aggregate(Push, n) }

// Attribute announces n pairs of metadata in front of the value that follows.
// RESP2 has no such thing: the caller writes the attribute only if RESP3.
func (w *Writer) Attribute(n int) { w.Buf = AppendHeader(w.Buf, Attribute, int64(n)) }

func (w *Writer) aggregate(k Kind, n int) {
	if w.Proto != 3 {
		k = Array
	}
	w.Buf = AppendHeader(w.Buf, k, int64(n))
}

// Double appends f, see AppendDouble.
func (w *Writer) Double(f float64) {
	if w.Proto == 3 {
		w.Buf = append(AppendDouble(append(w.Buf, ','), f), '\r', '\n')
		return
	}
	var tmp [40]byte
	w.Bulk(AppendDouble(tmp[:0], f))
}

// Bool appends a truth value.
func (w *Writer) Bool(v bool) {
	s := ":0\r\n"
	switch {
	case w.Proto == 3 && v:
		s = "#t\r\n"
	case w.Proto == 3:
		s = "#f\r\n"
	case v:
		s = ":1\r\n"
	}
	w.Buf = append(w.Buf, s...)
}

// BigNumber appends an integer of any size given as decimal digits.
func (w *Writer) BigNumber(digits string) {
	if w.Proto == 3 {
		w.Buf = append(append(w.Buf, '('), digits...)
		w.Buf = append(w.Buf, '\r', '\n')
		return
	}
	w.BulkString(digits)
}

// Verbatim appends text for people; ext is its format in three letters, "txt"
// or "mkd".
func (w *Writer) Verbatim(ext, text string) {
	if w.Proto != 3 {
		w.BulkString(text)
		return
	}
	w.Buf = AppendHeader(w.Buf, Verbatim, int64(len(text)+4))
	w.Buf = append(w.Buf, ext[:3]...)
	w.Buf = append(w.Buf, ':')
	w.Buf = append(w.Buf, text...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// VerbatimBytes is Verbatim for bytes.
func (w *Writer) VerbatimBytes(ext string, text []byte) {
	if w.Proto != 3 {
		w.Bulk(text)
		return
	}
	w.Buf = AppendHeader(w.Buf, Verbatim, int64(len(text)+4))
	w.Buf = append(w.Buf, ext[:3]...)
	w.Buf = append(w.Buf, ':')
	w.Buf = append(w.Buf, text...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// A Mark is a place in Buf left for a header whose count is not known yet. It
// goes stale when Buf is emptied.
type Mark int

// Defer marks the place of a header to come; write the values, then call
// EndArray, EndMap, EndSet or EndPush. Marks nest: inner ones end first.
func (w *Writer) Defer() Mark { return Mark(len(w.Buf)) }

// EndArray puts the header of an array of n values at m. It moves what was
// written since, so it costs O(bytes since m).
func (w *Writer) EndArray(m Mark, n int) { w.insert(m, Array, int64(n)) }

// EndMap is EndArray for a map of n pairs.
func (w *Writer) EndMap(m Mark, n int) {
	if w.Proto == 3 {
		w.insert(m, Map, int64(n))
		return
	}
	w.insert(m, Array, 2*int64(n))
}

// EndSet is EndArray for a set.
func (w *Writer) EndSet(m Mark, n int) {
	if w.Proto == 3 {
		w.insert(m, Set, int64(n))
		return
	}
	w.insert(m, Array, int64(n))
}

// EndPush is EndArray for a push.
func (w *Writer) EndPush(m Mark, n int) {
	if w.Proto == 3 {
		w.insert(m, Push, int64(n))
		return
	}
	w.insert(m, Array, int64(n))
}

// Rewind drops everything written since m.
func (w *Writer) Rewind(m Mark) { w.Buf = w.Buf[:m] }

func (w *Writer) insert(m Mark, k Kind, n int64) {
	var tmp [24]byte
	head := AppendHeader(tmp[:0], k, n)
	old := len(w.Buf)
	w.Buf = append(w.Buf, head...)
	copy(w.Buf[int(m)+len(head):], w.Buf[m:old])
	copy(w.Buf[m:], head)
}
