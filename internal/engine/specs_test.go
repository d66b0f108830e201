package engine_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
)

// COMMAND INFO of this package's commands has the facts of redis-server 7.0.15,
// which the file holds.
func TestSpecsHaveTheFactsOfCommandInfo(t *testing.T) {
	text, err := os.ReadFile("../datatypes/testdata/commands-7.0.json")
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		ACL, Flags, Tips []string
		Arity            int
		Group, Since     string
	}
	var want map[string]facts
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	table := command.NewTable(engine.Specs())
	known := 0
	for _, s := range table.All() {
		w, ok := want[s.Full]
		if !ok {
			continue // newer than 7.0
		}
		known++
		acl, flags := s.ACLCategories(), s.Flags.Names()
		slices.Sort(acl)
		slices.Sort(flags)
		tips := slices.Clone(s.Tips)
		slices.Sort(tips)
		slices.Sort(w.Tips)
		if !slices.Equal(acl, w.ACL) {
			t.Errorf("%s: categories %v, want %v", s.Full, acl, w.ACL)
		}
		if !slices.Equal(flags, w.Flags) {
			t.Errorf("%s: flags %v, want %v", s.Full, flags, w.Flags)
		}
		if !slices.Equal(tips, w.Tips) {
			t.Errorf("%s: tips %v, want %v", s.Full, tips, w.Tips)
		}
		if s.Arity != w.Arity || s.Since != w.Since || s.Group.String() != w.Group {
			t.Errorf("%s: %d %s %s, want %d %s %s", s.Full, s.Arity, s.Since, s.Group, w.Arity, w.Since, w.Group)
		}
	}
	if known < 40 {
		t.Errorf("only %d commands are in the file", known)
	}
}
