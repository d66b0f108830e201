package engine_test

import (
	"regexp"
	"testing"
)

// MONITOR shows what ran, in order, as redis-server 7.0.15 does; commands that
// were refused, operators' commands and secrets are not shown.
func TestMonitor(t *testing.T) {
	l := newLab(t)
	m, c := l.dial(), l.dial()
	m.is("MONITOR", "+OK")
	c.send("MULTI", "GET a", "SELECT 3", "SET b 1", "EXEC", "AUTH foo bar", "HELLO 3 AUTH x y SETNAME q", "AUTH z", "FOO", "GET",
		"PING a\x01\"b", "CLIENT LIST", "MULTI", "FOO", "EXEC", "MULTI", "DISCARD")
	for range 17 {
		c.reply()
	}
	for _, want := range []string{
		`[0 ADDR] "MULTI"`, `[0 ADDR] "GET" "a"`, `[3 ADDR] "SELECT" "3"`, `[3 ADDR] "SET" "b" "1"`, `[3 ADDR] "EXEC"`,
		`[3 ADDR] "AUTH" "(redacted)" "(redacted)"`, `[3 ADDR] "HELLO" "3" "AUTH" "(redacted)" "(redacted)" "SETNAME" "q"`,
		`[3 ADDR] "AUTH" "(redacted)"`, `[3 ADDR] "PING" "a\x01\"b"`, `[3 ADDR] "MULTI"`, `[3 ADDR] "EXEC"`, `[3 ADDR] "MULTI"`, `[3 ADDR] "DISCARD"`,
	} {
		line := m.reply()
		re := regexp.MustCompile(`^\+\d{10}\.\d{6} ` + regexp.QuoteMeta(regexp.MustCompile("ADDR").ReplaceAllString(want, c.conn.addr)) + "\r\n$")
		if !re.MatchString(line) {
			t.Errorf("got %q, want %s", line, want)
		}
	}
	m.is("RESET", "+RESET")
	c.do("PING")
	m.quiet()
}
