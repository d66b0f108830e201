package acl

import (
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/resp"
)

func TestAuthenticate(t *testing.T) {
	cfg := config.New()
	a := New(cfg)
	for _, tt := range []struct {
		name, pass, user, given string
		required, ok            bool
	}{
		{"no password: nobody has to log in, any password does", "", "default", "x", false, true},
		{"no password: other users do not exist", "", "alice", "x", false, false},
		{"the password", "secret", "default", "secret", true, true},
		{"a wrong password", "secret", "default", "secre", true, false},
		{"no password given", "secret", "default", "", true, false},
		{"an unknown user with the password", "secret", "alice", "secret", true, false},
		{"names are case-sensitive", "secret", "Default", "secret", true, false},
	} {
		if err := cfg.Assign("requirepass", tt.pass); err != nil {
			t.Fatal(err)
		}
		if got := a.Required(); got != tt.required {
			t.Errorf("%s: Required = %v", tt.name, got)
		}
		if got := a.Authenticate(tt.user, []byte(tt.given)); got != tt.ok {
			t.Errorf("%s: Authenticate = %v", tt.name, got)
		}
	}
}

type user string

func (u user) User() string { return string(u) }

// do runs an ACL command and returns the reply's bytes.
func do(a *ACL, line string) string {
	table := command.NewTable(a.Specs())
	var argv [][]byte
	for _, w := range strings.Fields(line) {
		argv = append(argv, []byte(w))
	}
	spec := table.Lookup(argv)
	c := command.Ctx{Writer: new(resp.Writer), Env: &command.Env{Table: table}, Client: user("default")}
	c.Reset(spec, argv)
	spec.Run(&c)
	return string(c.Buf)
}

func TestCommands(t *testing.T) {
	cfg := config.New()
	a := New(cfg)
	if err := cfg.Assign("requirepass", "secret"); err != nil {
		t.Fatal(err)
	}
	const hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b" // SHA-256 of "secret"
	for line, want := range map[string]string{
		"ACL WHOAMI":                "$7\r\ndefault\r\n",
		"ACL USERS":                 "*1\r\n$7\r\ndefault\r\n",
		"ACL LIST":                  "*1\r\n$93\r\nuser default on #" + hash + " ~* &* +@all\r\n",
		"ACL GETUSER alice":         "$-1\r\n",
		"ACL CAT nosuch":            "-ERR Unknown category 'nosuch'\r\n",
		"ACL CAT DANGEROUS":         "*5\r\n$9\r\nacl|users\r\n$8\r\nacl|list\r\n$11\r\nacl|getuser\r\n$7\r\nacl|log\r\n$10\r\nacl|dryrun\r\n",
		"ACL GENPASS 4097":          "-" + errGenPass + "\r\n",
		"ACL DRYRUN alice acl help": "-ERR User 'alice' not found\r\n",
		"ACL DRYRUN default acl":    "-ERR wrong number of arguments for 'acl' command\r\n",
		"ACL LOG":                   "*0\r\n",
	} {
		if got := do(a, line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for bits, chars := range map[string]int{"": 64, "1": 1, "4": 1, "5": 2, "4096": 1024} {
		one, two := do(a, "ACL GENPASS "+bits), do(a, "ACL GENPASS "+bits)
		_, text, _ := strings.Cut(strings.TrimSuffix(one, "\r\n"), "\r\n")
		if len(text) != chars || chars > 8 && one == two {
			t.Errorf("ACL GENPASS %s: %q, want %d random digits", bits, one, chars)
		}
	}
}
