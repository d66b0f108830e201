package command

import (
	"math"
	"strconv"
)

// Args reads arguments from left to right and latches the first error, so that
// a handler checks once, with Done.
type Args struct {
	c   *Ctx
	i   int
	err string
}

// ArgsFrom returns the reader of the command's arguments from position i on.
// There is one per command.
func (c *Ctx) ArgsFrom(i int) *Args {
	c.args = Args{c: c, i: i}
	return &c.args
}

// More reports whether arguments are left and no error happened.
func (a *Args) More() bool { return a.err == "" && a.i < len(a.c.Argv) }

// Left returns the number of arguments left.
func (a *Args) Left() int { return len(a.c.Argv) - a.i }

// Pos returns the position of the next argument.
func (a *Args) Pos() int { return a.i }

// Is consumes the next argument if it is the given word in any case; word is
// in lower case.
func (a *Args) Is(word string) bool {
	if a.More() && equalFold(a.c.Argv[a.i], word) {
		a.i++
		return true
	}
	return false
}

// Next returns the next argument; none left is a syntax error.
func (a *Args) Next() []byte {
	if !a.More() {
		a.Fail(ErrSyntax)
		return nil
	}
	a.i++
	return a.c.Argv[a.i-1]
}

// Skip passes over n arguments.
func (a *Args) Skip(n int) { a.i += n }

// Int returns the next argument as an integer.
func (a *Args) Int() int64 { return a.IntOr(ErrNotInteger) }

// IntOr is Int with the error reply to use for text that is no integer.
func (a *Args) IntOr(text string) int64 {
	b := a.Next()
	if a.err != "" {
		return 0
	}
	n, ok := ParseInt(b)
	if !ok {
		a.Fail(text)
	}
	return n
}

// Float returns the next argument as a double; NaN is refused.
func (a *Args) Float() float64 {
	b := a.Next()
	if a.err != "" {
		return 0
	}
	f, ok := ParseFloat(b)
	if !ok {
		a.Fail(ErrNotFloat)
	}
	return f
}

// Fail latches an error reply, unless there is one.
func (a *Args) Fail(text string) {
	if a.err == "" {
		a.err = text
	}
}

// Syntax latches a syntax error.
func (a *Args) Syntax() { a.Fail(ErrSyntax) }

// Done replies with the latched error, if any, and reports whether there was
// none.
func (a *Args) Done() bool {
	if a.err != "" {
		a.c.Error(a.err)
		return false
	}
	return true
}

// Word reports whether an argument is the given lower-case word in any case.
func Word(arg []byte, lower string) bool { return equalFold(arg, lower) }

// ParseInt reads a canonical decimal integer: no plus sign, no blanks, no
// leading zeros, within 64 bits.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	neg := b[0] == '-'
	d := b
	if neg {
		d = b[1:]
	}
	if len(d) == 0 || len(d) > 19 || d[0] == '0' && (len(d) > 1 || neg) {
		return 0, false
	}
	var n uint64
	for _, c := range d {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	switch {
	case neg && n <= 1<<63:
		return -int64(n), true
	case !neg && n < 1<<63:
		return int64(n), true
	}
	return 0, false
}

// ParseFloat reads a double as strtod does, the whole of b; NaN, blanks and
// the empty string are refused.
func ParseFloat(b []byte) (float64, bool) {
	if len(b) == 0 || len(b) > 512 || b[0] <= ' ' {
		return 0, false
	}
	if n, ok := ParseInt(b); ok && n < 1<<53 && n > -1<<53 {
		return float64(n), true
	}
	for _, c := range b {
		if c == '_' {
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}
