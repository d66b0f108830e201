package resp

import "strconv"

// Kind is the byte that opens a value on the wire.
type Kind byte

// The kinds of RESP2, then those RESP3 adds.
const (
	SimpleString Kind = '+'
	Error        Kind = '-'
	Integer      Kind = ':'
	Bulk         Kind = '$'
	Array        Kind = '*'

	Null      Kind = '_'
	Double    Kind = ','
	Bool      Kind = '#'
	BigNumber Kind = '('
	BulkError Kind = '!'
	Verbatim  Kind = '='
	Map       Kind = '%'
	Set       Kind = '~'
	Attribute Kind = '|'
	Push      Kind = '>'
)

// AppendHeader appends the opening line of a value: its kind and a number,
// which is a count, a length or, for Integer, the value itself.
func AppendHeader(dst []byte, k Kind, n int64) []byte {
	if uint64(n) < 10 {
		return append(dst, byte(k), byte('0'+n), '\r', '\n')
	}
	if uint64(n) < 100 {
		return append(dst, byte(k), byte('0'+n/10), byte('0'+n%10), '\r', '\n')
	}
	dst = strconv.AppendInt(append(dst, byte(k)), n, 10)
	return append(dst, '\r', '\n')
}

// AppendSimple appends a simple string; s must hold no line end.
func AppendSimple(dst []byte, s string) []byte {
	dst = append(append(dst, '+'), s...)
	return append(dst, '\r', '\n')
}

// AppendError appends an error reply. text starts with the code ("ERR ...") and
// has no leading dash; bytes that would end the line become spaces.
func AppendError(dst []byte, text string) []byte {
	dst = append(dst, '-')
	from := len(dst)
	dst = append(dst, text...)
	for i, c := range dst[from:] {
		if c == '\r' || c == '\n' {
			dst[from+i] = ' '
		}
	}
	return append(dst, '\r', '\n')
}

// AppendBulk appends a bulk string.
func AppendBulk(dst, b []byte) []byte {
	dst = AppendHeader(dst, Bulk, int64(len(b)))
	dst = append(dst, b...)
	return append(dst, '\r', '\n')
}

// AppendBulkString appends a bulk string.
func AppendBulkString(dst []byte, s string) []byte {
	dst = AppendHeader(dst, Bulk, int64(len(s)))
	dst = append(dst, s...)
	return append(dst, '\r', '\n')
}

// AppendBulkInt appends n as a bulk string of its decimal digits.
func AppendBulkInt(dst []byte, n int64) []byte {
	var tmp [20]byte
	return AppendBulk(dst, strconv.AppendInt(tmp[:0], n, 10))
}

// AppendCommand appends a request: an array of bulk strings.
func AppendCommand(dst []byte, args ...[]byte) []byte {
	dst = AppendHeader(dst, Array, int64(len(args)))
	for _, a := range args {
		dst = AppendBulk(dst, a)
	}
	return dst
}

// AuthArgs is the command by which a node introduces itself to another, nil if
// there is no password.
func AuthArgs(user, password string) []string {
	switch {
	case password == "":
		return nil
	case user != "":
		return []string{"AUTH", user, password}
	}
	return []string{"AUTH", password}
}

// AppendCommandStrings appends a request given as strings.
func AppendCommandStrings(dst []byte, args ...string) []byte {
	dst = AppendHeader(dst, Array, int64(len(args)))
	for _, a := range args {
		dst = AppendBulkString(dst, a)
	}
	return dst
}
