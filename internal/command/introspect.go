package command

import (
	"slices"
	"strings"

	"github.com/skeindb/skein/internal/glob"
)

// IntrospectSpecs returns the literals of COMMAND and its subcommands, which
// describe the table that they find in Ctx.Env.
func IntrospectSpecs() []*Spec {
	const f = Session | Loading | Stale
	anyOrder := []string{"nondeterministic_output_order"}
	sub := func(name, since string, arity int, syntax, complexity, summary string, tips []string, run func(*Ctx)) *Spec {
		return &Spec{Name: name, Group: Server, Since: since, Arity: arity, Syntax: syntax, Complexity: complexity, Summary: summary,
			Flags: f, Categories: []string{"connection"}, Tips: tips, Run: run}
	}
	return []*Spec{{Name: "command", Group: Server, Since: "2.8.13", Arity: -1, Complexity: "O(N), N being the number of commands.",
		Summary: "Describes every command.", Flags: f, Categories: []string{"connection"}, Tips: anyOrder, Run: commandAll,
		Subs: []*Spec{
			sub("count", "2.8.13", 2, "", "O(1)", "Returns the number of commands.", nil, func(c *Ctx) { c.Int(int64(len(c.Env.Table.list))) }),
			sub("docs", "7.0.0", -2, "[command-name [command-name ...]]", "O(N), N being the number of commands asked for.",
				"Returns the documentation of commands.", anyOrder, commandDocs),
			sub("getkeys", "2.8.13", -4, "command [arg [arg ...]]", "O(N), N being the number of arguments.",
				"Finds the keys in a command with its arguments.", nil, commandGetKeys),
			sub("getkeysandflags", "7.0.0", -4, "command [arg [arg ...]]", "O(N), N being the number of arguments.",
				"Finds the keys in a command with its arguments, and what would be done to them.", nil, commandGetKeys),
			sub("info", "2.8.13", -2, "[command-name [command-name ...]]", "O(N), N being the number of commands asked for.",
				"Describes some commands.", anyOrder, commandInfo),
			sub("list", "7.0.0", -2, "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]", "O(N), N being the number of commands.",
				"Lists the names of the commands.", anyOrder, commandList),
			sub("help", "5.0.0", 2, "", "O(1)", "Explains the subcommands.", nil, commandHelp),
		}}}
}

func commandAll(c *Ctx) {
	if len(c.Argv) > 1 { // a container's unknown subcommand
		c.Error("ERR unknown subcommand '" + string(c.Arg(1)[:min(len(c.Arg(1)), 128)]) + "'. Try COMMAND HELP.")
		return
	}
	c.Array(len(c.Env.Table.list))
	for _, s := range c.Env.Table.list {
		writeInfo(c, s)
	}
}

func commandInfo(c *Ctx) {
	if len(c.Argv) == 2 {
		c.Array(len(c.Env.Table.list))
		for _, s := range c.Env.Table.list {
			writeInfo(c, s)
		}
		return
	}
	c.Array(len(c.Argv) - 2)
	for _, name := range c.Argv[2:] {
		if s := c.Env.Table.ByName(string(name)); s != nil {
			writeInfo(c, s)
		} else {
			c.Null()
		}
	}
}

// writeInfo replies with one element of COMMAND.
func writeInfo(c *Ctx, s *Spec) {
	c.Array(10)
	c.BulkString(s.Full)
	c.Int(int64(s.Arity))
	writeStatusSet(c, s.Flags.Names(), "")
	first, last, step := s.InfoRange()
	c.Int(int64(first))
	c.Int(int64(last))
	c.Int(int64(step))
	writeStatusSet(c, s.ACLCategories(), "@")
	c.Set(len(s.Tips))
	for _, t := range s.Tips {
		c.BulkString(t)
	}
	c.Set(len(s.Keys))
	for i := range s.Keys {
		writeKeySpec(c, &s.Keys[i])
	}
	if len(s.Subs) == 0 {
		c.Set(0)
		return
	}
	c.Array(len(s.Subs))
	for _, sub := range s.Subs {
		writeInfo(c, sub)
	}
}

func writeStatusSet(c *Ctx, names []string, prefix string) {
	c.Set(len(names))
	for _, n := range names {
		c.Simple(prefix + n)
	}
}

func writeKeySpec(c *Ctx, k *KeySpec) {
	c.Map(3)
	c.BulkString("flags")
	writeStatusSet(c, k.Flags.Names(), "")
	pairs := func(kind string, facts ...any) {
		c.Map(2)
		c.BulkString("type")
		c.BulkString(kind)
		c.BulkString("spec")
		c.Map(len(facts) / 2)
		for i := 0; i < len(facts); i += 2 {
			c.BulkString(facts[i].(string))
			switch v := facts[i+1].(type) {
			case int:
				c.Int(int64(v))
			case string:
				c.BulkString(v)
			}
		}
	}
	c.BulkString("begin_search")
	switch {
	case k.Unknown:
		pairs("unknown")
	case k.Keyword != "":
		pairs("keyword", "keyword", k.Keyword, "startfrom", k.StartFrom)
	default:
		pairs("index", "index", k.Index)
	}
	c.BulkString("find_keys")
	switch {
	case k.Unknown:
		pairs("unknown")
	case k.KeyNum:
		pairs("keynum", "keynumidx", k.NumIdx, "firstkey", k.First, "keystep", k.Step)
	default:
		pairs("range", "lastkey", k.Last, "keystep", k.Step, "limit", k.Limit)
	}
}

func commandDocs(c *Ctx) {
	var list []*Spec
	if len(c.Argv) == 2 {
		list = c.Env.Table.list
	}
	for _, name := range c.Argv[2:] {
		if s := c.Env.Table.ByName(string(name)); s != nil {
			list = append(list, s)
		}
	}
	writeDocs(c, list)
}

func writeDocs(c *Ctx, list []*Spec) {
	c.Map(len(list))
	for _, s := range list {
		c.BulkString(s.Full)
		writeDoc(c, s)
	}
}

func writeDoc(c *Ctx, s *Spec) {
	args := ParseSyntax(s.Syntax, len(s.Keys))
	m, n := c.Defer(), 4
	for _, p := range [...][2]string{{"summary", s.Summary}, {"since", s.Since}, {"group", s.Group.String()}, {"complexity", s.Complexity}} {
		c.BulkString(p[0])
		c.BulkString(p[1])
	}
	if len(args) > 0 {
		n++
		c.BulkString("arguments")
		writeArguments(c, args)
	}
	if len(s.Subs) > 0 {
		n++
		c.BulkString("subcommands")
		writeDocs(c, s.Subs)
	}
	c.EndMap(m, n)
}

func writeArguments(c *Ctx, args []Argument) {
	c.Array(len(args))
	for i := range args {
		a := &args[i]
		m, n := c.Defer(), 2
		c.BulkString("name")
		c.BulkString(a.Name)
		c.BulkString("type")
		c.BulkString(a.Type)
		if len(a.Args) == 0 {
			n++
			c.BulkString("display_text")
			c.BulkString(a.Name)
		}
		if a.Type == "key" {
			n++
			c.BulkString("key_spec_index")
			c.Int(int64(a.KeySpec))
		}
		if a.Token != "" {
			n++
			c.BulkString("token")
			c.BulkString(a.Token)
		}
		var flags []string
		if a.Optional {
			flags = append(flags, "optional")
		}
		if a.Multiple {
			flags = append(flags, "multiple")
		}
		if a.MultipleToken {
			flags = append(flags, "multiple_token")
		}
		if len(flags) > 0 {
			n++
			c.BulkString("flags")
			writeStatusSet(c, flags, "")
		}
		if len(a.Args) > 0 {
			n++
			c.BulkString("arguments")
			writeArguments(c, a.Args)
		}
		c.EndMap(m, n)
	}
}

func commandList(c *Ctx) {
	match := func(*Spec) bool { return true }
	if len(c.Argv) > 2 {
		if len(c.Argv) != 5 || !Word(c.Arg(2), "filterby") {
			c.Error(ErrSyntax)
			return
		}
		arg := c.Arg(4)
		switch {
		case Word(c.Arg(3), "module"):
			match = func(*Spec) bool { return false }
		case Word(c.Arg(3), "aclcat"):
			match = func(s *Spec) bool {
				return slices.ContainsFunc(s.ACLCategories(), func(cat string) bool { return Word(arg, cat) })
			}
		case Word(c.Arg(3), "pattern"):
			match = func(s *Spec) bool { return glob.Match(arg, []byte(s.Full), true) }
		default:
			c.Error(ErrSyntax)
			return
		}
	}
	m, n := c.Defer(), 0
	for _, s := range c.Env.Table.all {
		// Without a filter only whole commands are listed.
		if (len(c.Argv) > 2 || s.Parent == nil) && match(s) {
			c.BulkString(s.Full)
			n++
		}
	}
	c.EndArray(m, n)
}

// commandGetKeys serves GETKEYS and GETKEYSANDFLAGS.
func commandGetKeys(c *Ctx) {
	argv := c.Argv[2:]
	s := c.Env.Table.Lookup(argv)
	switch {
	case s == nil:
		c.Error("ERR Invalid command specified")
		return
	case len(s.Keys) == 0 && s.ExtraKeys == nil:
		c.Error("ERR The command has no key arguments")
		return
	case !s.ArityOK(len(argv)):
		c.Error("ERR Invalid number of arguments specified for command")
		return
	}
	m, n := c.Defer(), 0
	ok := s.EachKey(argv, func(arg int, f KeyFlags) {
		n++
		if c.Spec.Name == "getkeys" {
			c.Bulk(argv[arg])
			return
		}
		c.Array(2)
		c.Bulk(argv[arg])
		writeStatusSet(c, preciseFlags(s, argv, f).Names(), "")
	})
	if !ok || n == 0 && s.Flags&NoMandatoryKeys == 0 {
		c.Rewind(m)
		c.Error("ERR Invalid arguments specified for command")
		return
	}
	c.EndArray(m, n)
}

// preciseFlags says what a command with these very arguments does to a key,
// where the specification covers several uses.
func preciseFlags(s *Spec, argv [][]byte, f KeyFlags) KeyFlags {
	if f&VariableFlags == 0 {
		return f
	}
	has := func(words ...string) bool {
		for _, a := range argv[2:] {
			for _, w := range words {
				if Word(a, w) {
					return true
				}
			}
		}
		return false
	}
	switch {
	case s.Name == "set" && !has("get"):
		return OW | Update
	case s.Name == "bitfield" && !has("set", "incrby"):
		return RO | Access
	}
	return f &^ VariableFlags
}

func commandHelp(c *Ctx) {
	c.Help("(no subcommand)",
		"    Describe every command.",
		"COUNT",
		"    The number of commands.",
		"DOCS [<command-name> ...]",
		"    The documentation of some commands, or of all.",
		"GETKEYS <full-command>",
		"    The keys in a command.",
		"GETKEYSANDFLAGS <full-command>",
		"    The keys in a command, and how each is used.",
		"INFO [<command-name> ...]",
		"    Describe some commands, or all.",
		"LIST [FILTERBY <MODULE <module>|ACLCAT <category>|PATTERN <pattern>>]",
		"    The names of the commands.")
}

// Argument is one part of a command's syntax, as COMMAND DOCS tells it.
type Argument struct {
	Name    string
	Type    string // key, string, integer, double, pattern, unix-time, pure-token, oneof, block
	Token   string // word that stands in front
	KeySpec int    // for type key: which of the key specifications

	Optional, Multiple, MultipleToken bool
	Args                              []Argument // of oneof and block
}

// ParseSyntax reads a command's arguments in the notation of the documentation:
//
//	word       a value, named
//	WORD       the word itself; with words behind it, what introduces them
//	[ ... ]    optional
//	< a | b >  one of several; in [ ] too
//	x [x ...]  x once or more; x may be several words
//	... [...]  all that stands before it, up to the bracket around, once or more
//
// keys is the number of key specifications that arguments may refer to.
func ParseSyntax(text string, keys int) []Argument {
	for _, b := range []string{"[", "]", "<", ">"} {
		text = strings.ReplaceAll(text, b, " "+b+" ")
	}
	p := syntaxParser{words: strings.Fields(text)}
	args := p.sequence()
	n := 0
	numberKeys(args, keys, &n)
	return args
}

type syntaxParser struct {
	words []string
	i     int
}

func (p *syntaxParser) peek() string {
	if p.i < len(p.words) {
		return p.words[p.i]
	}
	return ""
}

// sequence reads arguments up to a closing bracket or a bar.
func (p *syntaxParser) sequence() (args []Argument) {
	for {
		switch w := p.peek(); w {
		case "", "]", ">", "|":
			return args
		case "...":
			p.i++
		case "[":
			if n := p.repeats(args); n > 0 {
				args = repeated(args, n)
				continue
			}
			p.i++
			if p.peek() == "..." && p.i+1 < len(p.words) && p.words[p.i+1] == "]" && len(args) > 0 {
				p.i += 2
				args = repeated(args, len(args))
				continue
			}
			if a, ok := p.oneOf(); ok {
				a.Optional = true
				args = append(args, a)
			}
		case "<":
			p.i++
			if a, ok := p.oneOf(); ok {
				args = append(args, a)
			}
		default:
			p.i++
			if !isToken(w) {
				args = append(args, value(w))
				continue
			}
			args = append(args, p.introduced(w))
		}
	}
}

// introduced reads the plain words behind a token, which belong to it.
func (p *syntaxParser) introduced(token string) Argument {
	var own []Argument
	for {
		w := p.peek()
		if w == "[" {
			n := p.repeats(own)
			if n == 0 {
				break
			}
			own = repeated(own, n)
			continue
		}
		if w == "" || w == "<" || w == "]" || w == ">" || w == "|" || w == "..." || isToken(w) {
			break
		}
		p.i++
		own = append(own, value(w))
	}
	switch len(own) {
	case 0:
		return Argument{Name: strings.ToLower(token), Type: "pure-token", Token: token}
	case 1:
		own[0].Token = token
		return own[0]
	}
	return Argument{Name: joinNames(own), Type: "block", Token: token, Args: own}
}

// repeats looks whether the bracket ahead repeats the arguments just read; then
// it passes over it and returns how many of them are repeated.
func (p *syntaxParser) repeats(before []Argument) int {
	end := p.i + 1
	for end < len(p.words) && p.words[end] != "]" && p.words[end] != "[" && p.words[end] != "<" {
		end++
	}
	inside := p.words[p.i+1 : min(end, len(p.words))]
	if len(inside) < 2 || end >= len(p.words) || p.words[end] != "]" || inside[len(inside)-1] != "..." {
		return 0
	}
	inside = inside[:len(inside)-1]
	var names []string
	for n := len(before) - 1; n >= 0; n-- {
		names = append(flatNames(&before[n]), names...)
		if slices.Equal(names, inside) {
			p.i = end + 1
			return len(before) - n
		}
		if len(names) > len(inside) {
			break
		}
	}
	return 0
}

// flatNames are the words that stand for an argument without choices.
func flatNames(a *Argument) (words []string) {
	if a.Token != "" {
		words = append(words, a.Token)
	}
	if len(a.Args) == 0 && a.Type != "pure-token" {
		words = append(words, a.Name)
	}
	for i := range a.Args {
		words = append(words, flatNames(&a.Args[i])...)
	}
	return words
}

// repeated marks the last n arguments as repeatable, as a block if they are
// several.
func repeated(args []Argument, n int) []Argument {
	at := len(args) - n
	last := args[at]
	if n > 1 {
		own := slices.Clone(args[at:])
		last = Argument{Name: joinNames(own), Type: "block", Args: own}
	}
	last.Multiple = true
	last.MultipleToken = last.Token != ""
	return append(args[:at], last)
}

// oneOf reads alternatives up to the closing bracket. It reports false if there
// are none: clients crash on a choice of nothing.
func (p *syntaxParser) oneOf() (a Argument, ok bool) {
	var choices []Argument
	for {
		alt := p.sequence()
		if len(alt) == 1 {
			choices = append(choices, alt[0])
		} else if len(alt) > 1 {
			b := Argument{Type: "block", Args: alt}
			// A word in front introduces all that follows.
			if alt[0].Type == "pure-token" && !alt[0].Optional {
				b.Name, b.Args = alt[0].Name, alt
			} else {
				b.Name = joinNames(alt)
			}
			choices = append(choices, b)
		}
		if p.peek() != "|" {
			break
		}
		p.i++
	}
	if w := p.peek(); w == "]" || w == ">" {
		p.i++
	}
	switch len(choices) {
	case 0:
		return Argument{}, false
	case 1:
		return choices[0], true
	}
	return Argument{Name: joinNames(choices), Type: "oneof", Args: choices}, true
}

func joinNames(args []Argument) string {
	var names []string
	for i := range args {
		names = append(names, args[i].Name)
	}
	return strings.Join(names, "_")
}

// isToken reports whether a word stands for itself.
func isToken(w string) bool { return strings.ToUpper(w) == w }

func value(name string) Argument { return Argument{Name: name, Type: typeOfValue(name)} }

// typeOfValue derives the type of a value from the name that the documentation
// always gives to values of that type.
func typeOfValue(name string) string {
	switch name {
	case "key", "newkey", "source", "destination", "destkey", "key1", "key2", "shardchannel":
		return "key"
	case "pattern":
		return "pattern"
	case "score", "longitude", "latitude", "radius", "width", "height", "weight":
		return "double"
	case "seconds", "milliseconds", "count", "start", "stop", "end", "offset", "index", "cursor", "numkeys", "decrement", "bit", "db",
		"destination-db", "port", "len", "numreplicas", "numlocal", "numslaves", "slot", "start-slot", "end-slot", "epoch", "config-epoch",
		"rank", "num-matches", "protover", "ms", "timestamp", "client-id", "index1", "index2", "idletime", "frequency", "bits":
		return "integer"
	}
	if strings.HasPrefix(name, "unix-time") {
		return "unix-time"
	}
	return "string"
}

// numberKeys gives the arguments that are keys their key specification, in the
// order in which they come.
func numberKeys(args []Argument, keys int, n *int) {
	for i := range args {
		a := &args[i]
		if a.Type == "key" {
			if keys == 0 {
				a.Type = "string"
				continue
			}
			a.KeySpec = min(*n, keys-1)
			*n++
		}
		numberKeys(a.Args, keys, n)
	}
}
