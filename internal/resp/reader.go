package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Reply is one decoded value of either protocol. It owns its bytes.
type Reply struct {
	Kind  Kind    // as on the wire; a null of RESP2 keeps Bulk or Array
	Null  bool    // $-1, *-1 and _
	Str   []byte  // SimpleString, Error, BulkError, Bulk, BigNumber, Verbatim (without "txt:")
	Int   int64   // Integer; Bool as 0 and 1
	Float float64 // Double
	Ext   string  // Verbatim: "txt" or "mkd"
	Elems []Reply // Array, Set, Push; Map as key, value, key, value …
	Attrs []Reply // attributes that came before, flat like a Map; usually nil
}

// Err returns the reply as an error when it is one, else nil.
func (r Reply) Err() error {
	if r.Kind == Error || r.Kind == BulkError {
		return ReplyError(r.Str)
	}
	return nil
}

// Text returns the reply's bytes as a string, a number in decimal.
func (r Reply) Text() string {
	switch r.Kind {
	case Integer:
		return strconv.FormatInt(r.Int, 10)
	case Double:
		return string(AppendDouble(nil, r.Float))
	case Bool:
		return strconv.FormatBool(r.Int != 0)
	}
	return string(r.Str)
}

// String prints the reply on one line, for tests and logs: +OK, -ERR x, :1,
// "bulk", (nil), [a b], {k: v}.
func (r Reply) String() string {
	var b strings.Builder
	r.print(&b)
	return b.String()
}

func (r Reply) print(b *strings.Builder) {
	if r.Null {
		b.WriteString("(nil)")
		return
	}
	switch r.Kind {
	case Bulk, Verbatim:
		b.WriteString(strconv.Quote(string(r.Str)))
	case Array, Set, Push, Map:
		open, shut := "[", "]"
		if r.Kind != Array {
			open = string(rune(r.Kind)) + open
		}
		b.WriteString(open)
		for i := range r.Elems {
			if i > 0 {
				b.WriteByte(' ')
			}
			r.Elems[i].print(b)
		}
		b.WriteString(shut)
	default:
		b.WriteByte(byte(r.Kind))
		b.WriteString(r.Text())
	}
}

// ReplyError is an error reply, without its dash: "ERR unknown command".
type ReplyError string

func (e ReplyError) Error() string { return string(e) }

// Code returns the first word: ERR, MOVED, WRONGTYPE …
func (e ReplyError) Code() string {
	code, _, _ := strings.Cut(string(e), " ")
	return code
}

// ErrReply wraps every complaint of a Reader about malformed or oversized
// replies; after one the stream cannot be read further.
var ErrReply = errors.New("resp: malformed reply")

// Reader decodes replies from a stream. It reads ahead, so once a connection
// has a Reader everything must be read through it: Line and Read give the raw
// bytes, for the parts of the replication protocol that are no RESP. One
// goroutine at a time.
type Reader struct {
	// MaxBytes bounds the memory one reply may take (its bytes, plus elemCost
	// for every element). 0 means 1 GiB.
	MaxBytes int64

	br   *bufio.Reader
	left int64
}

const (
	maxDepth     = 64       // nesting of aggregates
	maxReplyLine = 64 << 10 // bytes of a simple string, an error, a number
	elemCost     = 64       // bytes an element is counted with besides its text
)

// NewReader returns a Reader of r with a buffer of 16 KiB.
func NewReader(r io.Reader) *Reader { return &Reader{br: bufio.NewReaderSize(r, 16<<10)} }

// Reset makes the Reader read from r, forgetting what was buffered.
func (r *Reader) Reset(src io.Reader) { r.br.Reset(src) }

// Buffered is the number of bytes read ahead.
func (r *Reader) Buffered() int { return r.br.Buffered() }

// Read gives raw bytes of the stream; it makes Reader an io.Reader.
func (r *Reader) Read(b []byte) (int, error) { return r.br.Read(b) }

// Peek gives the next n raw bytes without consuming them, n at most 16 KiB.
func (r *Reader) Peek(n int) ([]byte, error) { return r.br.Peek(n) }

// Line reads a line up to LF and returns it without its line end (LF or CR LF).
// It is valid until the next call. At most 64 KiB.
func (r *Reader) Line() ([]byte, error) {
	line, err := r.br.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		long := append([]byte(nil), line...)
		for err == bufio.ErrBufferFull {
			line, err = r.br.ReadSlice('\n')
			if long = append(long, line...); len(long) > maxReplyLine {
				return nil, fmt.Errorf("%w: line longer than %d bytes", ErrReply, maxReplyLine)
			}
		}
		line = long
	}
	if err != nil {
		if err == io.EOF && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// Next reads one reply, pushes included. io.EOF means the stream ended between
// replies, io.ErrUnexpectedEOF inside one; ErrReply that it is no RESP.
// An error reply is a Reply, not an error.
func (r *Reader) Next() (Reply, error) {
	if r.left = r.MaxBytes; r.left == 0 {
		r.left = 1 << 30
	}
	var v Reply
	err := r.value(&v, 0)
	return v, err
}

// Do writes one command to w and reads one reply, skipping pushes.
func (r *Reader) Do(w io.Writer, args ...string) (Reply, error) {
	if _, err := w.Write(AppendCommandStrings(nil, args...)); err != nil {
		return Reply{}, err
	}
	for {
		v, err := r.Next()
		if err != nil || v.Kind != Push {
			return v, err
		}
	}
}

func (r *Reader) value(v *Reply, depth int) error {
	for {
		line, err := r.Line()
		if err != nil {
			if err == io.EOF && depth > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if len(line) == 0 {
			return fmt.Errorf("%w: empty line", ErrReply)
		}
		kind, rest := Kind(line[0]), line[1:]
		if err := r.charge(int64(len(rest)) + elemCost); err != nil {
			return err
		}
		if kind == Attribute {
			// Attributes come in front of a value and belong to it.
			n, err := count(rest)
			if err != nil {
				return err
			}
			if v.Attrs, err = r.elems(v.Attrs, 2*n, depth); err != nil {
				return err
			}
			depth++ // also bounds a chain of attributes; their end is inside a reply
			continue
		}
		v.Kind = kind
		return r.body(v, rest, depth)
	}
}

func (r *Reader) body(v *Reply, rest []byte, depth int) (err error) {
	switch v.Kind {
	case SimpleString, Error, BigNumber:
		v.Str = append([]byte{}, rest...)
	case Integer:
		var ok bool
		if v.Int, ok = parseInt(rest); !ok {
			return fmt.Errorf("%w: integer %q", ErrReply, rest)
		}
	case Null:
		v.Null = true
	case Bool:
		if len(rest) != 1 || rest[0] != 't' && rest[0] != 'f' {
			return fmt.Errorf("%w: boolean %q", ErrReply, rest)
		}
		if rest[0] == 't' {
			v.Int = 1
		}
	case Double:
		if v.Float, err = parseDouble(rest); err != nil {
			return err
		}
	case Bulk, BulkError, Verbatim, Array, Map, Set, Push:
		if len(rest) == 2 && rest[0] == '-' && rest[1] == '1' && (v.Kind == Bulk || v.Kind == Array) {
			v.Null = true
			return nil
		}
		n, err := count(rest)
		if err != nil {
			return err
		}
		switch v.Kind {
		case Array, Set, Push:
			v.Elems, err = r.elems(nil, n, depth)
		case Map:
			v.Elems, err = r.elems(nil, 2*n, depth)
		default:
			v.Str, err = r.bulk(n)
		}
		if err != nil {
			return err
		}
		if v.Kind == Verbatim {
			if len(v.Str) < 4 || v.Str[3] != ':' {
				return fmt.Errorf("%w: verbatim string without a format", ErrReply)
			}
			v.Ext, v.Str = string(v.Str[:3]), v.Str[4:]
		}
	default:
		return fmt.Errorf("%w: type %q", ErrReply, byte(v.Kind))
	}
	return nil
}

func (r *Reader) elems(into []Reply, n int64, depth int) ([]Reply, error) {
	if depth >= maxDepth {
		return nil, fmt.Errorf("%w: nested deeper than %d", ErrReply, maxDepth)
	}
	if n > r.left/elemCost {
		return nil, fmt.Errorf("%w: %d elements exceed the limit of bytes", ErrReply, n)
	}
	if into == nil {
		into = make([]Reply, 0, min(n, 1024)) // the count is only a claim
	}
	for ; n > 0; n-- {
		into = append(into, Reply{})
		if err := r.value(&into[len(into)-1], depth+1); err != nil {
			return nil, err
		}
	}
	return into, nil
}

// bulk reads n bytes and the line end. Large ones grow as they arrive.
func (r *Reader) bulk(n int64) ([]byte, error) {
	if err := r.charge(n); err != nil {
		return nil, err
	}
	const step = 1 << 20
	b := make([]byte, 0, min(n+2, step))
	for want := int(n) + 2; len(b) < want; {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(want, 2*cap(b)))
			copy(grown, b)
			b = grown
		}
		m := min(cap(b), want)
		got, err := io.ReadFull(r.br, b[len(b):m])
		b = b[:len(b)+got]
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	if b[n] != '\r' || b[n+1] != '\n' {
		return nil, fmt.Errorf("%w: bulk string of %d bytes does not end there", ErrReply, n)
	}
	return b[:n:n], nil
}

func (r *Reader) charge(n int64) error {
	if r.left -= n; r.left < 0 {
		return fmt.Errorf("%w: exceeds the limit of bytes", ErrReply)
	}
	return nil
}

func count(b []byte) (int64, error) {
	n, ok := parseInt(b)
	if !ok || n < 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("%w: count %q", ErrReply, b)
	}
	return n, nil
}

func parseDouble(b []byte) (float64, error) {
	switch string(b) {
	case "inf", "+inf":
		return math.Inf(1), nil
	case "-inf":
		return math.Inf(-1), nil
	case "nan", "-nan":
		return math.NaN(), nil
	}
	// ParseFloat knows more spellings than the protocol: hexadecimal, inf, _.
	for _, c := range b {
		if c-'0' > 9 && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, fmt.Errorf("%w: double %q", ErrReply, b)
		}
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%w: double %q", ErrReply, b)
	}
	return f, nil
}
