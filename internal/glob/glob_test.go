package glob

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, s string
		nocase     bool
		want       bool
	}{
		{"h?llo", "hello", false, true},
		{"h?llo", "hllo", false, false},
		{"h*llo", "heeeello", false, true},
		{"h*llo", "hllo", false, true},
		{"h[ae]llo", "hillo", false, false},
		{"h[^e]llo", "hallo", false, true},
		{"h[^e]llo", "hello", false, false},
		{"h[a-b]llo", "hbllo", false, true},
		{"h[b-a]llo", "hallo", false, true}, // a range in either order
		{`h\?llo`, "h?llo", false, true},
		{`h\?llo`, "hello", false, false},
		{"HELLO", "hello", true, true},
		{"HELLO", "hello", false, false},
		{"[A-C]x", "bX", true, true},
		{"", "", false, true},
		{"*", "", false, true}, // measured: SSCAN MATCH * finds an empty member, ** does not
		{"**", "", false, false},
		{"a*", "a", false, true},
		{"a**", "a", false, true},
		{"*a*b*", "xxaxxbxx", false, true},
		{"*ab", "aab", false, true},
		{"[", "[", false, false},
		{"[^", "[", false, true}, // an unclosed bracket ends with the pattern
		{"[a", "a", false, true},
		{`a\`, `a\`, false, true},
		{"[]", "]", false, false},
		{"[\\]]", "]", false, true},
		{"\xff*\x00", "\xff\xfe\x00", false, true},
	}
	for _, tt := range tests {
		if got := Match([]byte(tt.pattern), []byte(tt.s), tt.nocase); got != tt.want {
			t.Errorf("Match(%q, %q, %v) = %v, want %v", tt.pattern, tt.s, tt.nocase, got, tt.want)
		}
	}
}

// A thousand answers of redis-server to random patterns.
func TestMatchAsRedis(t *testing.T) {
	f, err := os.Open("testdata/redis-7.0.15.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		var pattern, s string
		var want int
		if _, err := fmt.Sscanf(sc.Text(), "%q %q %d", &pattern, &s, &want); err != nil {
			t.Fatalf("%s: %v", sc.Text(), err)
		}
		n++
		if got := Match([]byte(pattern), []byte(s), false); got != (want == 1) {
			t.Errorf("Match(%q, %q) = %v, want %d", pattern, s, got, want)
		}
	}
	if n < 500 {
		t.Errorf("read %d cases, want at least 500", n)
	}
}

// Patterns that make a recursive matcher take exponential time end at once.
func TestMatchIsPolynomial(t *testing.T) {
	pattern := []byte(strings.Repeat("a*", 200) + "b")
	s := []byte(strings.Repeat("a", 5000))
	start := time.Now()
	if Match(pattern, s, false) {
		t.Error("matched, want no match")
	}
	if d := time.Since(start); d > 20*time.Second { // milliseconds; the other kind has no end
		t.Errorf("took %v", d)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	pattern, s := []byte("user:*:[a-z]?"), []byte("user:1000:ab")
	if n := testing.AllocsPerRun(100, func() { Match(pattern, s, true) }); n != 0 {
		t.Errorf("allocates %v times, want 0", n)
	}
}

// reference is the obvious recursion over the same grammar; it may take
// exponential time, so the fuzzer keeps its patterns short.
func reference(p, s []byte) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	if p[0] == '*' {
		for i := 0; i <= len(s); i++ {
			if reference(p[1:], s[i:]) {
				return true
			}
		}
		return false
	}
	if len(s) == 0 {
		return false
	}
	next, ok := matchOne(p, 0, s[0], false)
	return ok && reference(p[next:], s[1:])
}

// FuzzMatch holds Match against the recursion and literal patterns against equality.
func FuzzMatch(f *testing.F) {
	f.Add([]byte("a*b?[^c]"), []byte("axbyd"))
	f.Add([]byte("[a-"), []byte("-"))
	f.Add([]byte("*\\"), []byte("\\"))
	f.Fuzz(func(t *testing.T, p, s []byte) {
		got := Match(p, s, false)
		Match(p, s, true)
		if IsLiteral(p) && got != (string(p) == string(s)) {
			t.Fatalf("Match(%q, %q) = %v, a literal", p, s, got)
		}
		if len(p) > 10 || len(s) > 10 || len(s) == 0 {
			return
		}
		if want := reference(p, s); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", p, s, got, want)
		}
	})
}
