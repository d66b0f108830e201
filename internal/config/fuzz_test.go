package config

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzSplitArgs: what Quote writes SplitArgs reads, and splitting never panics.
func FuzzSplitArgs(f *testing.F) {
	f.Add(`port 6379`)
	f.Add(`a"b\x4"c 'd\'e' "f`)
	f.Add("\"\\x00\\n\" ''")
	f.Fuzz(func(t *testing.T, s string) {
		args, ok := SplitArgs(s)
		if !ok {
			args = []string{s}
		}
		quoted := make([]string, len(args))
		for i, a := range args {
			quoted[i] = Quote(a)
		}
		again, ok := SplitArgs(strings.Join(quoted, " "))
		if !ok || !reflect.DeepEqual(args, again) {
			t.Fatalf("SplitArgs(%q) = %q, written and read again %q, %v", s, args, again, ok)
		}
	})
}

// FuzzLoad: a text that loads can be rewritten into one that loads and means
// the same.
func FuzzLoad(f *testing.F) {
	f.Add("port 1\nsave 1 2\nsave \"\"\nclient-output-buffer-limit normal 1gb 0 0\n")
	f.Add("maxmemory-clients 5%\nnotify-keyspace-events KEA\nbind a -b\nreplicaof h 1\n")
	f.Add("latency-tracking-info-percentiles 1 2\nshutdown-on-sigint now force\noom-score-adj-values 1 2 3\nrequirepass \"\\\"\"")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(strings.ToLower(s), "include") {
			return
		}
		c, err := load(s)
		if err != nil {
			return
		}
		text := string(c.rewritten([]byte(s)))
		again, err := load(text)
		if err != nil {
			t.Fatalf("rewritten from %q:\n%s\n%v", s, text, err)
		}
		want, got := c.Get("*"), again.Get("*")
		for i := range want {
			if want[i] != got[i] {
				t.Fatalf("rewritten from %q:\n%s\n%v, want %v", s, text, got[i], want[i])
			}
		}
	})
}
