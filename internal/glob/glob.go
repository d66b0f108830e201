// Package glob matches byte strings against the patterns of KEYS, SCAN,
// PSUBSCRIBE, CONFIG GET and ACL rules. It knows nothing of keys or channels.
//
// Grammar, every other byte stands for itself:
//
//   - any run of bytes, also none
//     ?       any one byte
//     [ab]    one of the listed bytes; [a-z] a range, in either order; [^a] none of them
//     \x      x itself, inside and outside of brackets
//
// A bracket that is never closed ends with the pattern. All functions are pure
// and may be called from any goroutine.
package glob

// Match reports whether all of s matches pattern; nocase compares ASCII letters
// without regard to case. It does not allocate and costs at most
// O(len(pattern) * len(s)): every element but a star eats exactly one byte, so
// when a later element fails only the last star can make good for it, and
// earlier stars need never be reconsidered.
//
// An empty s is matched by the empty pattern and by a single "*", which every
// scan takes for all there is; "**" does not match it, as in Redis.
func Match(pattern, s []byte, nocase bool) bool {
	if len(s) == 0 {
		return len(pattern) == 0 || len(pattern) == 1 && pattern[0] == '*'
	}
	p, i := 0, 0
	star, retry := -1, 0 // pattern index just past the last star; where in s it was last tried
	for i < len(s) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				for p < len(pattern) && pattern[p] == '*' {
					p++
				}
				if p == len(pattern) {
					return true
				}
				star, retry = p, i
				continue
			}
			if next, ok := matchOne(pattern, p, s[i], nocase); ok {
				p = next
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		retry++
		p, i = star, retry
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// IsLiteral reports whether pattern has no special byte, so that it matches
// exactly itself and a lookup can take the place of a walk.
func IsLiteral(pattern []byte) bool {
	for _, c := range pattern {
		if c == '*' || c == '?' || c == '[' || c == '\\' {
			return false
		}
	}
	return true
}

// matchOne matches the element at pattern[p], which is not a star, against c
// and returns the index just past the element. next is meaningless without ok.
func matchOne(pattern []byte, p int, c byte, nocase bool) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return matchClass(pattern, p+1, c, nocase)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, same(pattern[p], c, nocase)
}

// matchClass matches the bracket whose inside begins at pattern[p]. The byte
// after a backslash is compared exactly, even with nocase, as the original does.
func matchClass(pattern []byte, p int, c byte, nocase bool) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	for ; p < len(pattern); p++ {
		switch rest := len(pattern) - p; {
		case pattern[p] == '\\' && rest >= 2:
			p++
			ok = ok || pattern[p] == c
		case pattern[p] == ']':
			return p + 1, ok != not
		case rest >= 3 && pattern[p+1] == '-':
			ok = ok || inRange(pattern[p], pattern[p+2], c, nocase)
			p += 2
		default:
			ok = ok || same(pattern[p], c, nocase)
		}
	}
	return p, ok != not
}

func inRange(from, to, c byte, nocase bool) bool {
	if from > to {
		from, to = to, from
	}
	if nocase {
		from, to, c = lower(from), lower(to), lower(c)
	}
	return from <= c && c <= to
}

func same(a, b byte, nocase bool) bool {
	return a == b || nocase && lower(a) == lower(b)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
