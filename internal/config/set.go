package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/skeindb/skein/internal/glob"
)

// Change is one directive whose value CONFIG SET replaced; Old and New are as
// CONFIG GET prints them.
type Change struct{ Name, Old, New string }

// hook follows some directives.
type hook struct {
	names map[string]bool
	fn    func([]Change) error
}

// OnChange registers fn to follow a directive at run time. It is called after
// the fields have their new values, in the goroutine of CONFIG SET, and must
// not call Set or Assign. If it fails, or another hook of the same CONFIG SET
// does, everything is put back and the hooks that had succeeded are called once
// more, with old and new exchanged. Register hooks before the server runs.
func (c *Config) OnChange(name string, fn func(old, new string) error) {
	c.OnChanges(func(changes []Change) error { return fn(changes[0].Old, changes[0].New) }, name)
}

// OnChanges registers fn for several directives that take effect together, such
// as bind and port: it is called once for all that one CONFIG SET changed.
func (c *Config) OnChanges(fn func([]Change) error, names ...string) {
	h := hook{names: make(map[string]bool), fn: fn}
	for _, name := range names {
		d := c.lookup(name)
		if d == nil {
			panic(fmt.Sprintf("config: hook for unknown directive %q", name))
		}
		h.names[d.Name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hooks = append(c.hooks, h)
}

// Pair is one line of CONFIG GET's reply.
type Pair struct{ Name, Value string }

// Get returns the directives whose names match one of the patterns, each once,
// an alias counting as a name of its own. A name given in full is returned as
// it was written.
func (c *Config) Get(patterns ...string) []Pair {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := make(map[string]string) // lower case -> as written
	var globs [][]byte
	for _, p := range patterns {
		if strings.ContainsAny(p, "[*?") {
			globs = append(globs, []byte(p))
		} else if _, dup := asked[strings.ToLower(p)]; !dup {
			asked[strings.ToLower(p)] = p
		}
	}
	var pairs []Pair
	add := func(d *Directive, name string) {
		shown, match := asked[name]
		if !match && !d.Has(Hidden) {
			shown = name
			for _, g := range globs {
				if match = glob.Match(g, []byte(name), true); match {
					break
				}
			}
		}
		if match {
			pairs = append(pairs, Pair{shown, d.kind.format(d.kind.load())})
		}
	}
	if len(globs) == 0 { // the usual case: no walk
		for _, p := range patterns {
			low := strings.ToLower(p)
			if d := c.byName[low]; d != nil && asked[low] == p {
				add(d, low)
				delete(asked, low)
			}
		}
		return pairs
	}
	for _, d := range c.table {
		add(d, d.Name)
		for _, alias := range d.Aliases {
			add(d, alias)
		}
	}
	return pairs
}

// IsSensitive reports whether the named directive is a secret.
func (c *Config) IsSensitive(name string) bool {
	d := c.lookup(name)
	return d != nil && d.Has(Sensitive)
}

// A SetError is a refused CONFIG SET; Error is the whole error reply after the
// dash.
type SetError struct {
	Name  string // as the client wrote it
	Cause error  // nil if there is no such directive
}

func (e *SetError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", e.Name)
	}
	return fmt.Sprintf("ERR CONFIG SET failed (possibly related to argument '%s') - %v", e.Name, e.Cause)
}

func (e *SetError) Unwrap() error { return e.Cause }

// change is one argument pair of a CONFIG SET.
type change struct {
	asked    string
	d        *Directive
	old, new any
}

// Set changes directives, given as name, value, name, value ...: all of them or,
// with an error, none. local says that the client is on this machine, which
// enable-protected-configs may ask for. The error's text is the reply.
func (c *Config) Set(args []string, local bool) error {
	if len(args) == 0 || len(args)%2 != 0 {
		return errors.New("ERR wrong number of arguments for 'config|set' command")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := make([]change, 0, len(args)/2)
	given := make(map[string]bool)
	for i := 0; i < len(args); i += 2 {
		d := c.lookup(args[i])
		if d == nil {
			return &SetError{Name: args[i]}
		}
		name := strings.ToLower(args[i])
		if err := c.maySet(d, given[name], local); err != nil {
			return &SetError{args[i], err}
		}
		given[name] = true
		changes = append(changes, change{asked: args[i], d: d})
	}
	undo := func(n int) {
		for i := n - 1; i >= 0; i-- {
			changes[i].d.kind.store(changes[i].old)
		}
	}
	for i := range changes {
		ch := &changes[i]
		ch.old = ch.d.kind.load()
		v, err := ch.d.parse(args[2*i+1 : 2*i+2])
		if err != nil {
			undo(i)
			return &SetError{ch.asked, err}
		}
		ch.new = v
		ch.d.kind.store(v)
	}
	if i, err := c.runHooks(changes); err != nil {
		undo(len(changes))
		return &SetError{changes[i].asked, err}
	}
	return nil
}

// maySet says why a directive cannot be set now. The same name twice is refused;
// a directive under two of its names is not, as in Redis: the last one wins.
func (c *Config) maySet(d *Directive, duplicate, local bool) error {
	switch allow := c.EnableProtectedConfigs.Get(); {
	case d.Has(Immutable):
		return errors.New("can't set immutable config")
	case d.Has(Protected) && (allow == ProtectNo || allow == ProtectLocal && !local):
		return errors.New("can't set protected config")
	case duplicate:
		return errors.New("duplicate parameter")
	}
	return nil
}

// runHooks tells everyone concerned. On failure it tells those who had agreed
// that the values are back, and returns the index of the change to blame; the
// caller restores the values before the hooks see them.
func (c *Config) runHooks(changes []change) (blame int, err error) {
	var ran []func()
	for _, h := range c.hooks {
		var list []Change
		first := -1
		for i, ch := range changes {
			old, now := ch.d.kind.format(ch.old), ch.d.kind.format(ch.new)
			if h.names[ch.d.Name] && old != now {
				list = append(list, Change{ch.d.Name, old, now})
				if first < 0 {
					first = i
				}
			}
		}
		if len(list) == 0 {
			continue
		}
		if err := h.fn(list); err != nil {
			for i := len(changes) - 1; i >= 0; i-- {
				changes[i].d.kind.store(changes[i].old)
			}
			for i := len(ran) - 1; i >= 0; i-- {
				ran[i]()
			}
			return first, err
		}
		ran = append(ran, func() {
			back := make([]Change, len(list))
			for i, ch := range list {
				back[i] = Change{ch.Name, ch.New, ch.Old}
			}
			h.fn(back) // the old value was accepted before; nothing can be done if it is not now
		})
	}
	return 0, nil
}
