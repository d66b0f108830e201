package resp

import "bytes"

// splitInline appends the words of an inline command to argv. Words are parted
// by white space; "..." understands \n \r \t \b \a \xHH and backslash before any
// other byte, '...' only \'. A quote may open inside a word, but after it closes
// white space or the end must follow; otherwise, or when it never closes, ok is
// false. A NUL byte ends the line. Words are slices of line, but a word with
// quotes is a copy, as line must stay as it is: it may be parsed again.
func splitInline(line []byte, argv [][]byte) (words [][]byte, ok bool) {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	for r := 0; ; {
		for r < len(line) && isSpace(line[r]) {
			r++
		}
		if r == len(line) {
			return argv, true
		}
		start := r
		for r < len(line) && !endsWord(line[r]) {
			r++
		}
		word := line[start:r:r]
		if r < len(line) && (line[r] == '"' || line[r] == '\'') {
			if word, r, ok = unquote(line, r+1, word, line[r]); !ok {
				return argv, false
			}
		}
		argv = append(argv, word)
	}
}

func endsWord(c byte) bool {
	switch c {
	case ' ', '\n', '\r', '\t', '"', '\'':
		return true
	}
	return false
}

// unquote appends the quoted part that starts at r to word, of which it makes a
// copy, and returns the position after its closing quote.
func unquote(line []byte, r int, word []byte, quote byte) ([]byte, int, bool) {
	word = append(make([]byte, 0, len(word)+len(line)-r), word...)
	for r < len(line) {
		c := line[r]
		r++
		switch {
		case c == quote:
			return word, r, r == len(line) || isSpace(line[r])
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
		word = append(word, c)
	}
	return word, r, false
}

// SplitWords splits a line into words by the rules of inline commands, which
// are also those of a configuration file. Words without quotes are slices of
// line. ok is false when quotes are unbalanced.
func SplitWords(line []byte) (words [][]byte, ok bool) { return splitInline(line, nil) }

func isSpace(c byte) bool { return c == ' ' || c-'\t' < 5 }

func isHex(c byte) bool { return c-'0' < 10 || c|0x20-'a' < 6 }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
