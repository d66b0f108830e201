package server

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/config"
)

var update = flag.Bool("update", false, "write docs/commands.md and docs/directives.md")

// TestDocsAgree compares the tables in docs with those the program is made of;
// -update writes them.
func TestDocsAgree(t *testing.T) {
	cfg := config.New()
	if err := cfg.Assign("dir", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.store.Close()
	compareDoc(t, "../../docs/commands.md", commandsDoc(s))
	compareDoc(t, "../../docs/directives.md", directivesDoc(cfg))
}

func compareDoc(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the tables say: go test ./internal/server -run DocsAgree -update", path)
	}
}

func commandsDoc(s *Server) string {
	var b strings.Builder
	all := s.engine.Table.All()
	top := s.engine.Table.Commands()
	fmt.Fprintf(&b, "# Commands\n\nMade from the command table by `go test ./internal/server -run DocsAgree -update`. %d commands, %d with subcommands.\n"+
		"A command that is not listed is answered with `unknown command`.\n\n| command | since | arguments | group |\n|---|---|---|---|\n", len(top), len(all))
	for _, c := range all {
		if len(c.Subs) > 0 && c.Run == nil {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c, c.Since, strings.ReplaceAll(c.Syntax, "|", "\\|"), c.Group)
	}
	return b.String()
}

func directivesDoc(c *config.Config) string {
	var b strings.Builder
	b.WriteString("# Directives\n\nMade from the directive table by `go test ./internal/server -run DocsAgree -update`. \"set\" says whether CONFIG SET takes\n" +
		"it. \"accepted\" means that it loads, is checked and kept, and changes nothing in Skein.\n\n| directive | default | set | effect |\n|---|---|---|---|\n")
	for _, d := range c.Directives() {
		set, effect := "yes", "yes"
		if d.Has(config.Immutable) {
			set = "no"
		}
		if d.Has(config.NoEffect) {
			effect = "accepted"
		}
		def := d.Default()
		if d.Name == "dir" {
			def = "the working directory"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", strings.Join(append([]string{d.Name}, d.Aliases...), ", "), strings.ReplaceAll(def, "|", "\\|"), set, effect)
	}
	return b.String()
}
