package config

import (
	"fmt"
	"strings"
)

// SplitArgs splits a line of a configuration file into words. Quotes may begin
// at any place in a word but must end it:
//
//	"a\x00\n\"b"   \xNN, \n \r \t \b \a, and \ before any other byte means that byte
//	'a\'b'         only \' is special
//
// ok is false for an open quote or for a closing one without space behind it.
func SplitArgs(s string) (args []string, ok bool) {
	args = []string{}
	for i := 0; ; {
		for i < len(s) && isSpace(s[i]) {
			i++
		}
		if i == len(s) {
			return args, true
		}
		var word []byte
		for quote := byte(0); ; i++ {
			if i == len(s) {
				if quote != 0 {
					return nil, false
				}
				break
			}
			c := s[i]
			switch {
			case quote == 0 && (isSpace(c) || c == 0):
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
				continue
			case quote != 0 && c == quote:
				if i++; i < len(s) && !isSpace(s[i]) {
					return nil, false
				}
			case quote == '\'' && c == '\\' && i+1 < len(s) && s[i+1] == '\'':
				i++
				word = append(word, '\'')
				continue
			case quote == '"' && c == '\\' && i+1 < len(s):
				var n int
				c, n = unescape(s[i+1:])
				i += n
				word = append(word, c)
				continue
			default:
				word = append(word, c)
				continue
			}
			break
		}
		args = append(args, string(word))
		if i < len(s) && s[i] == 0 {
			i++ // a zero byte ends a word
		}
	}
}

// unescape reads what follows a backslash in double quotes: the byte it stands
// for and how many bytes of s it took.
func unescape(s string) (c byte, n int) {
	if len(s) >= 3 && s[0] == 'x' {
		if hi, lo := hexDigit(s[1]), hexDigit(s[2]); hi >= 0 && lo >= 0 {
			return byte(hi<<4 | lo), 3
		}
	}
	switch s[0] {
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'b':
		return '\b', 1
	case 'a':
		return '\a', 1
	}
	return s[0], 1
}

func hexDigit(c byte) int {
	if 'A' <= c && c <= 'F' {
		c += 'a' - 'A'
	}
	return strings.IndexByte("0123456789abcdef", c)
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// Quote returns s in double quotes, so that SplitArgs reads it back.
func Quote(s string) string {
	b := []byte{'"'}
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\a':
			b = append(b, `\a`...)
		case '\b':
			b = append(b, `\b`...)
		default:
			if c < ' ' || c > '~' {
				b = fmt.Appendf(b, `\x%02x`, c)
			} else {
				b = append(b, c)
			}
		}
	}
	return string(append(b, '"'))
}
