package resp

import "bytes"

// splitInline appends the words of an inline command to argv. Words are parted
// by white space; "..." understands \n \r \t \b \a \xHH and backslash before any
// other byte, '...' only \'. A quote may open inside a word, but after it closes
// white space or the end must follow; otherwise, or when it never closes, ok is
// false. A NUL byte ends the line. Unquoting is done in place: a word is never
// longer than its source.
func splitInline(line []byte, argv [][]byte) (words [][]byte, ok bool) {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	r, w := 0, 0 // next byte to read, next place to write
	for {
		for r < len(line) && isSpace(line[r]) {
			r++
		}
		if r == len(line) {
			return argv, true
		}
		w = r
		start := w
	word:
		for r < len(line) {
			c := line[r]
			r++
			switch c {
			case ' ', '\n', '\r', '\t':
				break word
			case '"', '\'':
				if r, w, ok = unquote(line, r, w, c); !ok {
					return argv, false
				}
				break word // white space or the end follows
			default:
				line[w] = c
				w++
			}
		}
		argv = append(argv, line[start:w:w])
	}
}

// unquote copies a quoted part whose opening quote is just before r to w, and
// returns the positions after its closing quote.
func unquote(line []byte, r, w int, quote byte) (int, int, bool) {
	for r < len(line) {
		c := line[r]
		r++
		switch {
		case c == quote:
			return r, w, r == len(line) || isSpace(line[r])
		case c == '\\' && quote == '\'' && r < len(line) && line[r] == '\'':
			c = '\''
			r++
		case c == '\\' && quote == '"' && r+2 < len(line) && line[r] == 'x' && isHex(line[r+1]) && isHex(line[r+2]):
			c = unhex(line[r+1])<<4 | unhex(line[r+2])
			r += 3
		case c == '\\' && quote == '"' && r < len(line):
			c = line[r]
			r++
			switch c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'b':
				c = '\b'
			case 'a':
				c = '\a'
			}
		}
		line[w] = c
		w++
	}
	return r, w, false
}

// SplitWords splits a line into words by the rules of inline commands, which
// are also those of a configuration file. line is changed, the words are slices
// of it. ok is false when quotes are unbalanced.
func SplitWords(line []byte) (words [][]byte, ok bool) { return splitInline(line, nil) }

func isSpace(c byte) bool { return c == ' ' || c-'\t' < 5 }

func isHex(c byte) bool { return c-'0' < 10 || c|0x20-'a' < 6 }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
