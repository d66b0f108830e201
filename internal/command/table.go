package command

import (
	"fmt"
	"slices"
	"strings"
)

// Table finds commands by name. It never changes after NewTable.
type Table struct {
	list  []*Spec // top level, by name
	all   []*Spec // by ID, subcommands included
	hash  []tableEntry
	mask  uint32
	names map[string]*Spec // full lower-case names, for tools
}

type tableEntry struct {
	name string
	spec *Spec
}

// NewTable checks the specs, completes them and builds the table. A fault in a
// literal panics: it is ours.
func NewTable(groups ...[]*Spec) *Table {
	t := &Table{names: map[string]*Spec{}}
	for _, g := range groups {
		t.list = append(t.list, g...)
	}
	slices.SortFunc(t.list, func(a, b *Spec) int { return strings.Compare(a.Name, b.Name) })
	for _, s := range t.list {
		t.add(s, nil)
		for _, sub := range s.Subs {
			t.add(sub, s)
		}
	}
	size := uint32(1)
	for int(size) < 4*len(t.list) {
		size *= 2
	}
	t.hash, t.mask = make([]tableEntry, size), size-1
	for _, s := range t.list {
		i := nameHash([]byte(s.Name)) & t.mask
		for t.hash[i].spec != nil {
			i = (i + 1) & t.mask
		}
		t.hash[i] = tableEntry{s.Name, s}
	}
	return t
}

func (t *Table) add(s, parent *Spec) {
	s.Parent, s.Full = parent, s.Name
	if parent != nil {
		s.Full = parent.Name + "|" + s.Name
	}
	if s.Name != strings.ToLower(s.Name) || s.Arity == 0 || s.Run == nil && len(s.Subs) == 0 || t.names[s.Full] != nil {
		panic(fmt.Sprintf("command: bad or doubled literal %q", s.Full))
	}
	s.derive()
	s.ID = len(t.all)
	t.all = append(t.all, s)
	t.names[s.Full] = s
}

// All returns every spec by ID, subcommands included.
func (t *Table) All() []*Spec { return t.all }

// Commands returns the top-level specs by name.
func (t *Table) Commands() []*Spec { return t.list }

// ByName returns a spec by its full name in any case, such as "config|get".
func (t *Table) ByName(full string) *Spec { return t.names[strings.ToLower(full)] }

// Lookup finds the command of argv, or its subcommand. For a container with an
// unknown subcommand it returns the container. It allocates nothing.
func (t *Table) Lookup(argv [][]byte) *Spec {
	name := argv[0]
	i := nameHash(name) & t.mask
	for {
		e := &t.hash[i]
		if e.spec == nil {
			return nil
		}
		if equalFold(name, e.name) {
			if len(e.spec.Subs) != 0 && len(argv) > 1 {
				return e.spec.sub(argv[1])
			}
			return e.spec
		}
		i = (i + 1) & t.mask
	}
}

func (s *Spec) sub(name []byte) *Spec {
	for _, sub := range s.Subs {
		if equalFold(name, sub.Name) {
			return sub
		}
	}
	return s
}

// nameHash is case-insensitive for letters.
func nameHash(name []byte) uint32 {
	h := uint32(len(name)) * 0x9e3779b1
	for _, c := range name {
		h = (h ^ uint32(c|0x20)) * 0x01000193
	}
	return h ^ h>>15
}

// equalFold compares name with a lower-case word, ASCII letters in any case.
func equalFold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
