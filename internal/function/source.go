package function

import (
	"bytes"
	"errors"
	"strings"
)

// parse reads what the source of a library tells without being run. Its first line
// is
//
//	#!engine name=library
//
// and its errors are those that servers reply.
func parse(source []byte) (*Library, error) {
	if !bytes.HasPrefix(source, []byte("#!")) {
		return nil, errors.New("Missing library metadata")
	}
	line, code, ok := bytes.Cut(source[2:], []byte("\n"))
	if !ok {
		return nil, errors.New("Invalid library metadata")
	}
	lib := &Library{Source: bytes.Clone(source)}
	words := strings.Fields(string(line))
	if len(words) > 0 && !bytes.HasPrefix(line, []byte(" ")) {
		lib.Engine, words = words[0], words[1:]
	}
	named := false
	for _, w := range words {
		value, ok := strings.CutPrefix(strings.ToLower(w), "name=")
		switch {
		case !ok:
			return nil, errors.New("Invalid metadata value given: " + w)
		case named:
			return nil, errors.New("Invalid metadata value, name argument was given multiple times")
		}
		named, value = true, w[len(w)-len(value):]
		if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		lib.Name = value
	}
	switch {
	case !named:
		return nil, errors.New("Library name was not given")
	case !validName(lib.Name):
		return nil, errors.New("Library names can only contain letters, numbers, or underscores(_) and must be at least one character long")
	}
	lib.Functions = registered(code)
	return lib, nil
}

func validName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// registered finds the calls
//
//	redis.register_function('name', ...)
//	redis.register_function{function_name='name', description='...', flags={'...'}, ...}
//
// in Lua, also with server in place of redis, where the name is spelled out. It
// passes over comments and texts, and does not run anything: a call that is never
// reached counts, one whose name is computed does not.
func registered(code []byte) (found []Function) {
	l := lexer{code: code}
	for t := l.next(); t.kind != end; {
		if t.kind != word || t.text != "redis" && t.text != "server" {
			t = l.next()
			continue
		}
		if t = l.next(); t.text != "." || t.kind != sign {
			continue
		}
		if t = l.next(); t.kind != word || t.text != "register_function" {
			continue
		}
		if t = l.next(); t.kind == sign && t.text == "(" {
			t = l.next()
		}
		var f Function
		switch {
		case t.kind == text:
			name := t.text
			if t = l.next(); t.kind == sign && t.text == "," {
				f.Name = name
			}
		case t.kind == sign && t.text == "{":
			f = l.fields()
			t = l.next()
		}
		if validName(f.Name) {
			found = append(found, f)
		}
	}
	return found
}

// fields reads a table up to its end, behind whose opening brace l is.
func (l *lexer) fields() (f Function) {
	depth := 1
	for t := l.next(); t.kind != end; {
		field := t.text
		isField := t.kind == word && depth == 1
		switch {
		case t.kind == sign && t.text == "{":
			depth++
		case t.kind == sign && t.text == "}":
			if depth--; depth == 0 {
				return f
			}
		}
		if t = l.next(); !isField || t.kind != sign || t.text != "=" {
			continue
		}
		t = l.next()
		switch {
		case field == "function_name" && t.kind == text:
			f.Name, t = l.whole(t)
		case field == "description" && t.kind == text:
			f.Description, t = l.whole(t)
		case field == "flags" && t.kind == sign && t.text == "{":
			for t = l.next(); t.kind != end && t.text != "}"; t = l.next() {
				if t.kind == text {
					f.Flags = append(f.Flags, t.text)
				}
			}
		}
	}
	return Function{} // it has no end
}

// whole returns a text and what follows it, but no text if it is only the first
// part of what is computed.
func (l *lexer) whole(t token) (string, token) {
	next := l.next()
	if next.kind == sign && (next.text == "," || next.text == ";" || next.text == "}") {
		return t.text, next
	}
	return "", next
}

type tokenKind uint8

const (
	end tokenKind = iota
	word
	text // without its quotes; one with a backslash has kind sign
	sign
)

type token struct {
	kind tokenKind
	text string
}

// lexer reads the tokens of Lua, as far as they matter here.
type lexer struct {
	code []byte
	i    int
}

func (l *lexer) next() token {
	for l.i < len(l.code) {
		c := l.code[l.i]
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			l.i++
		case bytes.HasPrefix(l.code[l.i:], []byte("--")):
			l.i += 2
			if _, ok := l.long(); !ok {
				l.i += len(l.until("\n"))
			}
		case c == '"' || c == '\'':
			l.i++
			from := l.i
			plain := true
			for l.i < len(l.code) && l.code[l.i] != c && l.code[l.i] != '\n' {
				if l.code[l.i] == '\\' {
					plain = false
					l.i++
				}
				l.i++
			}
			s := string(l.code[from:min(l.i, len(l.code))])
			l.i = min(l.i+1, len(l.code))
			if !plain {
				return token{sign, "\\"}
			}
			return token{text, s}
		case letter(c):
			from := l.i
			for l.i < len(l.code) && (letter(l.code[l.i]) || l.code[l.i] >= '0' && l.code[l.i] <= '9') {
				l.i++
			}
			return token{word, string(l.code[from:l.i])}
		default:
			if s, ok := l.long(); ok {
				return token{text, s}
			}
			l.i++
			return token{sign, string(c)}
		}
	}
	return token{}
}

func letter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }

// until returns what comes before stop, all if it does not come.
func (l *lexer) until(stop string) []byte {
	before, _, _ := bytes.Cut(l.code[l.i:], []byte(stop))
	return before
}

// long reads a text in long brackets: [[ ]], [=[ ]=] and so on.
func (l *lexer) long() (string, bool) {
	p := l.code[l.i:]
	n := 1
	for n < len(p) && p[n] == '=' {
		n++
	}
	if len(p) == 0 || p[0] != '[' || n == len(p) || p[n] != '[' {
		return "", false
	}
	l.i += n + 1
	body := l.until("]" + strings.Repeat("=", n-1) + "]")
	l.i = min(l.i+len(body)+n+1, len(l.code))
	return string(bytes.TrimPrefix(body, []byte("\n"))), true
}
