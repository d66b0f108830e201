package command

import "bytes"

// KeyFlags say what a command does with a key (command documentation, key
// specifications).
type KeyFlags uint16

const (
	RO KeyFlags = 1 << iota // reads the value, or metadata, changes nothing
	RW                      // reads and changes
	OW                      // overwrites without reading
	RM                      // deletes
	Access
	Update
	Insert
	Delete
	NotKey     // hashed like a key, but it is none (shard channels)
	Incomplete // the spec does not find all keys
	VariableFlags
)

var keyFlagNames = []struct {
	f    KeyFlags
	name string
}{{RO, "RO"}, {RW, "RW"}, {OW, "OW"}, {RM, "RM"}, {Access, "access"}, {Update, "update"}, {Insert, "insert"},
	{Delete, "delete"}, {NotKey, "not_key"}, {Incomplete, "incomplete"}, {VariableFlags, "variable_flags"}}

// Names returns the flags as COMMAND INFO prints them.
func (f KeyFlags) Names() []string {
	var out []string
	for _, n := range keyFlagNames {
		if f&n.f != 0 {
			out = append(out, n.name)
		}
	}
	return out
}

// KeySpec finds keys among the arguments: a begin, by index or by keyword, and
// from there a range or a count.
type KeySpec struct {
	Flags     KeyFlags
	Index     int    // begin: position, when Keyword is empty
	Keyword   string // begin: position after this word, searched from StartFrom (negative: from the end)
	StartFrom int

	KeyNum            bool // find: the argument at begin+NumIdx is a count of keys that start at begin+First
	NumIdx, First     int
	Last, Step, Limit int // find: range; Last relative to begin, negative from the end of the arguments

	Unknown bool // there may be keys that no rule finds; see Spec.ExtraKeys
}

// OneKey is the specification of a single key, the first argument.
func OneKey(f KeyFlags) []KeySpec { return []KeySpec{{Flags: f, Index: 1, Last: 0, Step: 1}} }

// KeyAt is the specification of a single key at position i.
func KeyAt(i int, f KeyFlags) KeySpec { return KeySpec{Flags: f, Index: i, Step: 1} }

// KeyRange is the specification of keys from position first to last (negative:
// from the end), every step arguments.
func KeyRange(first, last, step int, f KeyFlags) []KeySpec {
	l := last
	if last > 0 {
		l = last - first
	}
	return []KeySpec{{Flags: f, Index: first, Last: l, Step: step}}
}

// KeyCount is the specification "numkeys key [key ...]" with numkeys at i.
func KeyCount(i int, f KeyFlags) KeySpec {
	return KeySpec{Flags: f, Index: i, KeyNum: true, NumIdx: 0, First: 1, Step: 1}
}

// KeyPos is the position of one key among the arguments.
type KeyPos struct {
	Arg   int
	Flags KeyFlags
}

// EachKey calls visit for every key of argv and reports whether the
// specifications could be followed (a bad count gives false).
func (s *Spec) EachKey(argv [][]byte, visit func(arg int, f KeyFlags)) bool {
	if s.FindKeys != nil {
		return s.FindKeys(argv, visit)
	}
	if s.simple {
		last := s.last
		if last < 0 {
			last += len(argv)
		}
		for i := s.first; i <= last && i < len(argv); i += s.step {
			visit(i, s.Keys[0].Flags)
		}
		return true
	}
	ok := true
	for i := range s.Keys {
		ok = s.Keys[i].each(argv, visit) && ok
	}
	if s.ExtraKeys != nil {
		s.ExtraKeys(argv, visit)
	}
	return ok
}

// FirstKey returns the range of the keys when it needs no look at the
// arguments: first > 0, and every step-th argument up to last.
func (s *Spec) KeyRange(argc int) (first, last, step int, simple bool) {
	last = s.last
	if last < 0 {
		last += argc
	}
	return s.first, last, s.step, s.simple
}

// HasKeys reports whether the command may have keys.
func (s *Spec) HasKeys() bool { return len(s.Keys) > 0 }

func (k *KeySpec) each(argv [][]byte, visit func(arg int, f KeyFlags)) bool {
	if k.Unknown {
		return true
	}
	begin := k.Index
	if k.Keyword != "" {
		begin = k.findKeyword(argv)
		if begin < 0 {
			return true // the keyword is optional
		}
	}
	if begin >= len(argv) {
		return true
	}
	first, last := begin, begin+k.Last
	if k.Last < 0 {
		last = len(argv) + k.Last
		if k.Limit > 1 {
			last = begin + (len(argv)-begin)/k.Limit + k.Last
		}
	}
	step := max(k.Step, 1)
	if k.KeyNum {
		if begin+k.NumIdx >= len(argv) {
			return false
		}
		n, ok := ParseInt(argv[begin+k.NumIdx])
		if !ok || n < 0 || n > int64(len(argv)) {
			return false
		}
		first = begin + k.First
		last = first + (int(n)-1)*step
	}
	if last >= len(argv) {
		return false
	}
	for i := first; i <= last; i += step {
		visit(i, k.Flags)
	}
	return true
}

func (k *KeySpec) findKeyword(argv [][]byte) int {
	start, stop, step := k.StartFrom, len(argv), 1
	if k.StartFrom < 0 {
		start, stop, step = len(argv)+k.StartFrom, 0, -1
	}
	for i := start; i != stop && i > 0 && i < len(argv)-1; i += step {
		if bytes.EqualFold(argv[i], []byte(k.Keyword)) {
			return i + 1
		}
	}
	return -1
}

// derive works out the simple form of the key specifications.
func (s *Spec) derive() {
	if len(s.Keys) == 1 && s.FindKeys == nil && s.Keys[0].Keyword == "" && !s.Keys[0].KeyNum && s.Keys[0].Limit <= 1 {
		k := s.Keys[0]
		s.simple = true
		s.first, s.step = k.Index, max(k.Step, 1)
		s.last = k.Last
		if k.Last >= 0 {
			s.last = k.Index + k.Last
		}
		return
	}
	for _, k := range s.Keys {
		if k.Keyword != "" || k.KeyNum || k.Unknown {
			s.Flags |= MovableKeys
		}
	}
	if len(s.Keys) > 0 && s.Keys[0].Keyword == "" && !s.Keys[0].KeyNum {
		// COMMAND INFO still shows the first range.
		s.first, s.last, s.step = s.Keys[0].Index, s.Keys[0].Index+s.Keys[0].Last, max(s.Keys[0].Step, 1)
	}
}

// InfoRange returns first, last and step as COMMAND INFO prints them.
func (s *Spec) InfoRange() (first, last, step int) {
	if !s.simple && len(s.Keys) > 1 {
		first, last, step = 0, 0, 0
		for _, k := range s.Keys {
			if k.Keyword != "" || k.KeyNum || k.Unknown {
				continue
			}
			f, l := k.Index, k.Index+k.Last
			if k.Last < 0 {
				l = k.Last
			}
			switch {
			case first == 0:
				first, last, step = f, l, max(k.Step, 1)
			case f == last+1 && step == 1:
				last = l
			}
		}
		return first, last, step
	}
	return s.first, s.last, s.step
}
