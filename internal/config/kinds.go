package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Flag says how a directive may be used.
type Flag uint8

const (
	Immutable Flag = 1 << iota // only at start: CONFIG SET refuses
	Protected                  // CONFIG SET refuses unless enable-protected-configs allows
	Hidden                     // CONFIG GET shows it only when asked by its full name
	Sensitive                  // a secret: kept out of logs, MONITOR and SLOWLOG
	NoEffect                   // accepted and kept so that files load, but it changes nothing in Skein
)

// Directive is one entry of the table.
type Directive struct {
	Name    string
	Aliases []string // older spellings, equally good everywhere
	Flags   Flag
	kind    kind
}

// Has reports whether all of flags are set.
func (d *Directive) Has(flags Flag) bool { return d.Flags&flags == flags }

// kind is what a directive's value is: a setting[T] with T hidden, so that the
// table can hold all of them.
type kind interface {
	reset()                           // back to the default
	parse(args []string) (any, error) // the new value; args may be empty only if words
	load() any
	store(any)
	format(any) string // as CONFIG GET prints it
	initial() string
	words() bool // takes several words
	lines(name string, v any) []line
}

// line is a candidate of CONFIG REWRITE. It replaces a line of the file that
// has the same directive; where the file has none it is added only with force.
type line struct {
	text  string
	force bool
}

// setting joins a value's storage with its grammar.
type setting[T any] struct {
	cell interface {
		Get() T
		set(T)
	}
	def     T
	read    func(args []string) (T, error)
	show    func(T) string
	many    bool                          // several words
	write   func(v T) string              // for CONFIG REWRITE when it differs from show
	rewrite func(name string, v T) []line // when not one line
}

func (s *setting[T]) reset()              { s.cell.set(s.def) }
func (s *setting[T]) load() any           { return s.cell.Get() }
func (s *setting[T]) store(v any)         { s.cell.set(v.(T)) }
func (s *setting[T]) format(v any) string { return s.show(v.(T)) }
func (s *setting[T]) initial() string     { return s.show(s.def) }
func (s *setting[T]) words() bool         { return s.many }
func (s *setting[T]) parse(args []string) (any, error) {
	return s.read(args)
}
func (s *setting[T]) lines(name string, v any) []line {
	x := v.(T)
	if s.rewrite != nil {
		return s.rewrite(name, x)
	}
	shown := s.show(x)
	out := shown
	if s.write != nil {
		out = s.write(x)
	}
	return []line{{name + " " + out, shown != s.show(s.def)}}
}

// one adapts a grammar of a single word.
func one[T any](f func(string) (T, error)) func([]string) (T, error) {
	return func(args []string) (T, error) { return f(args[0]) }
}

func boolean(b *Bool, def bool) kind {
	return &setting[bool]{cell: b, def: def, read: one(parseBool), show: func(v bool) string {
		if v {
			return "yes"
		}
		return "no"
	}}
}

// constBool is a boolean that may only have the value it has.
func constBool(b *Bool, def bool, why string) kind {
	k := boolean(b, def).(*setting[bool])
	k.read = one(func(s string) (bool, error) {
		v, err := parseBool(s)
		if err == nil && v != def {
			err = errors.New(why)
		}
		return v, err
	})
	return k
}

func parseBool(s string) (bool, error) {
	switch {
	case strings.EqualFold(s, "yes"):
		return true, nil
	case strings.EqualFold(s, "no"):
		return false, nil
	}
	return false, errors.New("argument must be 'yes' or 'no'")
}

// Upper bounds of Redis's number types.
const (
	maxInt  = math.MaxInt32
	maxUint = math.MaxUint32
	maxLong = math.MaxInt64
)

func integer(i *Int, def, lo, hi int64) kind {
	return &setting[int64]{cell: i, def: def, show: formatInt, read: one(func(s string) (int64, error) {
		n, ok := parseInt(s)
		if !ok {
			return 0, errors.New("argument couldn't be parsed into an integer")
		}
		return n, inRange(n, lo, hi)
	})}
}

// clamped is an integer whose value is silently forced into [min, max].
func clamped(i *Int, def, lo, hi, min, max int64) kind {
	k := integer(i, def, lo, hi).(*setting[int64])
	read := k.read
	k.read = func(args []string) (int64, error) {
		n, err := read(args)
		return clamp(n, min, max), err
	}
	return k
}

func clamp(n, lo, hi int64) int64 { return max(lo, min(n, hi)) }

func octal(i *Int, def, hi int64) kind {
	show := func(v int64) string { return strconv.FormatInt(v, 8) }
	return &setting[int64]{cell: i, def: def, show: show, read: one(func(s string) (int64, error) {
		n, err := strconv.ParseInt(s, 8, 64)
		if err != nil {
			return 0, errors.New("argument couldn't be parsed as an octal number")
		}
		if n < 0 || n > hi {
			return 0, fmt.Errorf("argument must be between 0 and %o inclusive", hi)
		}
		return n, nil
	})}
}

// memory is a size in bytes, with units.
func memory(i *Int, def, lo, hi int64) kind {
	return &setting[int64]{cell: i, def: def, show: formatInt, write: FormatMemory, read: one(func(s string) (int64, error) {
		n, ok := parseUnits(s)
		if !ok {
			return 0, errors.New("argument must be a memory value")
		}
		if n > math.MaxInt64 {
			return 0, inRange(-1, max(lo, 0), hi)
		}
		return int64(n), inRange(int64(n), lo, hi)
	})}
}

// memoryOrPercent is a size, or a percentage kept as a negative number.
func memoryOrPercent(i *Int, def, hi int64) kind {
	format := func(unit func(int64) string) func(int64) string {
		return func(v int64) string {
			if v < 0 {
				return formatInt(-v) + "%"
			}
			return unit(v)
		}
	}
	return &setting[int64]{cell: i, def: def, show: format(formatInt), write: format(FormatMemory), read: one(func(s string) (int64, error) {
		if p, isPercent := strings.CutSuffix(s, "%"); isPercent {
			n, ok := parseInt(p)
			if !ok || n < 0 {
				return 0, errors.New("argument must be a memory or percent value")
			}
			if n > 100 {
				return 0, errors.New("percentage argument must be less or equal to 100")
			}
			return -n, nil
		}
		n, ok := parseUnits(s)
		if !ok {
			return 0, errors.New("argument must be a memory or percent value")
		}
		if n > math.MaxInt64 {
			return 0, inRange(-1, 0, hi)
		}
		return int64(n), inRange(int64(n), 0, hi)
	})}
}

func choice[T ~int](e *Enum[T], def T, names ...string) kind {
	return &setting[T]{cell: e, def: def, show: func(v T) string { return names[v] }, read: one(func(s string) (T, error) {
		for i, name := range names {
			if strings.EqualFold(name, s) {
				return T(i), nil
			}
		}
		return 0, wantOneOf(names)
	})}
}

func wantOneOf(names []string) error {
	return errors.New("argument(s) must be one of the following: " + strings.Join(names, ", "))
}

// text is one word, quoted in files. The checks see the new value.
func text(t *Text, def string, checks ...func(string) error) kind {
	return &setting[string]{cell: t, def: def, show: func(v string) string { return v }, write: Quote, read: one(func(s string) (string, error) {
		for _, check := range checks {
			if err := check(s); err != nil {
				return "", err
			}
		}
		return s, nil
	})}
}

// fileName refuses a path; what is "filename" or "dirname".
func fileName(directive, what string) func(string) error {
	return func(s string) error {
		if strings.Contains(s, "/") || s == "." || s == ".." {
			return fmt.Errorf("%s can't be a path, just a %s", directive, what)
		}
		return nil
	}
}

func notEmpty(directive string) func(string) error {
	return func(s string) error {
		if s == "" {
			return fmt.Errorf("%s can't be empty", directive)
		}
		return nil
	}
}

func inRange(n, lo, hi int64) error {
	if n < lo || n > hi {
		return fmt.Errorf("argument must be between %d and %d inclusive", lo, hi)
	}
	return nil
}

func formatInt(v int64) string { return strconv.FormatInt(v, 10) }

// parseInt takes the one spelling that printing a number gives: no plus sign,
// no leading zero, no space.
func parseInt(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && formatInt(n) == s
}

// The units of sizes, from large to small; the first with a factor is the one
// FormatMemory prints.
var units = []struct {
	name   string
	factor uint64
}{
	{"gb", 1 << 30}, {"mb", 1 << 20}, {"kb", 1 << 10},
	{"g", 1e9}, {"m", 1e6}, {"k", 1e3}, {"b", 1}, {"", 1},
}

// ParseMemory reads a size such as 100mb (1024-based) or 100m (1000-based), in
// bytes.
func ParseMemory(s string) (int64, bool) {
	n, ok := parseUnits(s)
	return int64(n), ok && n <= math.MaxInt64
}

func parseUnits(s string) (uint64, bool) {
	digits := 0
	for digits < len(s) && '0' <= s[digits] && s[digits] <= '9' {
		digits++
	}
	n := uint64(0)
	if digits > 0 {
		var err error
		if n, err = strconv.ParseUint(s[:digits], 10, 64); err != nil {
			return 0, false
		}
	}
	for _, u := range units {
		if strings.EqualFold(s[digits:], u.name) {
			if n > math.MaxUint64/u.factor {
				return 0, false
			}
			return n * u.factor, true
		}
	}
	return 0, false
}

// FormatMemory prints a size with the largest unit that keeps it exact.
func FormatMemory(n int64) string {
	for _, u := range units[:3] {
		if n > 0 && uint64(n)%u.factor == 0 {
			return formatInt(n/int64(u.factor)) + u.name
		}
	}
	return formatInt(n)
}
