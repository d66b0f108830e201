package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Texts of Redis that several places give.
var (
	errBadDirective = errors.New("Bad directive or wrong number of arguments")
	errArgCount     = errors.New("wrong number of arguments")
	errQuotes       = errors.New("Unbalanced quotes in configuration line")
)

// Deepest nesting of include; Redis recurses until its stack ends.
const maxIncludeDepth = 16

// Loader fills a Config at start: file, then standard input, then the options
// of the command line, later ones winning. The functions judge what this
// package cannot; nil accepts.
type Loader struct {
	Rename func(from, to string) error // a rename-command line; to "" removes
	User   func(args []string) error   // a user line: name, rules...
	Module func(args []string) error   // a loadmodule line: path, arguments...
}

// A LoadError is a line that cannot be obeyed, or with Line 0 a configuration
// that makes no sense as a whole. Line counts from 1 in its file; the options of
// the command line follow the file's last line.
type LoadError struct {
	Line   int
	Text   string // the line, without white space around
	Reason error
}

func (e *LoadError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("config: %v", e.Reason)
	}
	return fmt.Sprintf("config: line %d %q: %v", e.Line, e.Text, e.Reason)
}

func (e *LoadError) Unwrap() error { return e.Reason }

// Block is what Redis prints on standard error before it exits with 1; tools
// look for its first words.
func (e *LoadError) Block(version string) string {
	where := ""
	if e.Line > 0 {
		where = fmt.Sprintf("Reading the configuration file, at line %d\n>>> '%s'\n", e.Line, e.Text)
	}
	return fmt.Sprintf("\n*** FATAL CONFIG FILE ERROR (Redis %s) ***\n%s%v\n", version, where, e.Reason)
}

// An OpenError is a configuration file that cannot be read. Its text is the
// line that Redis logs.
type OpenError struct {
	Path string
	Err  error
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("Fatal error, can't open config file '%s': %s", e.Path, Strerror(e.Err))
}

func (e *OpenError) Unwrap() error { return e.Err }

// CommandLine is what the arguments of a server say about its configuration.
type CommandLine struct {
	File    string // configuration file as given; "" = none
	Stdin   bool   // "-": read more from standard input
	Options string // "--name value" as lines of a file
}

// ParseCommandLine reads the arguments after the program's name. The first one
// is a file unless it begins with a dash; "-" at its place or at the end means
// standard input. An argument that begins with "--" opens an option, except
// right after an option's name, where it is that option's value; --save alone
// means no save points.
func ParseCommandLine(args []string) CommandLine {
	var cl CommandLine
	if n := len(args); n > 0 && args[n-1] == "-" {
		cl.Stdin = true
		args = args[:n-1]
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		cl.File = args[0]
		args = args[1:]
	} else if len(args) > 0 && args[0] == "-" {
		cl.Stdin = true
		args = args[1:]
	}
	var b strings.Builder
	for i := 0; i < len(args); i++ {
		name, isOption := strings.CutPrefix(args[i], "--")
		switch {
		case !isOption:
			b.WriteString(" " + Quote(args[i]))
			continue
		case b.Len() > 0:
			b.WriteByte('\n')
		}
		b.WriteString(name)
		last := i+1 == len(args)
		if strings.EqualFold(name, "save") && (last || strings.HasPrefix(args[i+1], "--")) {
			b.WriteString(` ""`)
		} else if !last {
			i++
			b.WriteString(" " + Quote(args[i]))
		}
	}
	cl.Options = strings.TrimPrefix(b.String(), " ")
	return cl
}

// Load applies a command line to c, which must be new: no hooks run. The error
// is a *LoadError, an *OpenError, or that of reading stdin.
func (l Loader) Load(c *Config, cl CommandLine, stdin io.Reader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []byte
	if cl.File != "" {
		path, err := filepath.Abs(cl.File)
		if err != nil {
			return fmt.Errorf("config: %s: %w", cl.File, err)
		}
		if all, err = os.ReadFile(path); err != nil {
			return &OpenError{path, err}
		}
		c.File = path
	}
	if cl.Stdin {
		text, err := io.ReadAll(stdin)
		if err != nil {
			return fmt.Errorf("config: read standard input: %w", err)
		}
		all = append(append(all, '\n'), text...)
	}
	if cl.Options != "" {
		all = append(append(all, '\n'), cl.Options...)
	}
	r := reader{Loader: l, c: c, seen: make(map[*Directive]bool)}
	if err := r.read(all, 0); err != nil {
		return err
	}
	if c.ClusterEnabled.Get() && c.ReplicaOf.Get().Host != "" {
		return &LoadError{Reason: errors.New("replicaof directive not allowed in cluster mode")}
	}
	return nil
}

// reader is one Load under way.
type reader struct {
	Loader
	c    *Config
	seen map[*Directive]bool // given in this load, for directives whose lines add up
}

func (r *reader) read(text []byte, depth int) error {
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		line := string(bytes.Trim(raw, " \t\r\n"))
		if line == "" || line[0] == '#' {
			continue
		}
		args, ok := SplitArgs(line)
		if !ok {
			return &LoadError{n, line, errQuotes}
		}
		if len(args) == 0 {
			continue
		}
		if err := r.directive(args, depth); err != nil {
			if errors.As(err, new(*LoadError)) || errors.As(err, new(*OpenError)) {
				return err // of an included file
			}
			return &LoadError{n, line, err}
		}
	}
	return nil
}

func (r *reader) directive(args []string, depth int) error {
	name, values := strings.ToLower(args[0]), args[1:]
	if d := r.c.byName[name]; d != nil {
		old := d.kind.load()
		if err := r.c.assign(d, values); err != nil {
			return err
		}
		if d.Name == "save" && r.seen[d] && len(r.c.Save.Get()) > 0 { // lines add up, save "" starts again
			r.c.Save.set(append(slices.Clip(old.([]SavePoint)), r.c.Save.Get()...))
		}
		r.seen[d] = true
		return nil
	}
	accept := func(f func([]string) error) error {
		if f == nil {
			return nil
		}
		return f(values)
	}
	switch n := len(values); {
	case name == "include" && n == 1:
		return r.include(values[0], depth)
	case name == "rename-command" && n == 2:
		if r.Rename != nil {
			if err := r.Rename(values[0], values[1]); err != nil {
				return err
			}
		}
		r.c.Renames = append(r.c.Renames, Rename{values[0], values[1]})
		return nil
	case name == "user" && n >= 1:
		r.c.Users = append(r.c.Users, values)
		return accept(r.User)
	case name == "loadmodule" && n >= 1:
		r.c.Modules = append(r.c.Modules, values)
		return accept(r.Module)
	case name == "sentinel":
		return errors.New("sentinel directive while not in sentinel mode")
	case (name == "list-max-ziplist-entries" || name == "list-max-ziplist-value" || name == "lua-replicate-commands") && n == 1:
		return nil // given up by Redis, still in old files
	}
	return errBadDirective
}

// include reads a file, or the files of a pattern; a pattern may match none.
func (r *reader) include(pattern string, depth int) error {
	if depth == maxIncludeDepth {
		return errors.New("include is nested too deeply")
	}
	pattern = r.c.Path(pattern)
	paths := []string{pattern}
	if strings.ContainsAny(pattern, "*?[") {
		var err error
		if paths, err = filepath.Glob(pattern); err != nil {
			return err
		}
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return &OpenError{path, err}
		}
		if err := r.read(text, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// assign parses and stores; c.mu is held.
func (c *Config) assign(d *Directive, args []string) error {
	v, err := d.parse(args)
	if err == nil {
		d.kind.store(v)
	}
	return err
}

// parse takes the words of a line. A list given as one word with spaces, as
// quotes make it, counts as its words.
func (d *Directive) parse(args []string) (any, error) {
	if !d.kind.words() {
		if len(args) != 1 {
			return nil, errArgCount
		}
		return d.kind.parse(args)
	}
	if len(args) == 1 && args[0] != "" {
		args = strings.Fields(args[0])
	}
	return d.kind.parse(args)
}

// Path returns name as seen from the working directory of the configuration.
// The process itself does not change its directory: several nodes may live in it.
func (c *Config) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Dir.Get(), name)
}

// dirKind is the directive dir: always absolute, must exist.
func (c *Config) dirKind() kind {
	k := text(&c.Dir, ".").(*setting[string])
	k.read = one(func(s string) (string, error) {
		path := c.Path(s)
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = syscall.ENOTDIR
		}
		if err != nil {
			return "", errors.New(Strerror(err))
		}
		return path, nil
	})
	k.rewrite = func(name string, v string) []line { return []line{{name + " " + Quote(v), true}} }
	return k
}

// Strerror returns the cause of err as C's strerror spells it: the system's
// text with a capital letter.
func Strerror(err error) string {
	var errno syscall.Errno
	s := err.Error()
	if errors.As(err, &errno) {
		s = errno.Error()
	}
	if s != "" && 'a' <= s[0] && s[0] <= 'z' {
		s = string(s[0]-'a'+'A') + s[1:]
	}
	return s
}
