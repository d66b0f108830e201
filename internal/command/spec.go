// Package command says what a command is: its literal (Spec), the table of all
// of them (Table), where its keys are (keys.go), how its arguments are read
// (Args), and what a handler works with (Ctx). It runs nothing: engine does,
// and the handlers live in datatypes, engine and the packages whose state they
// serve.
//
// Read spec.go, keys.go, table.go, ctx.go, args.go, errors.go.
package command

import (
	"slices"
	"strings"
)

// Group is the family a command is documented under.
type Group uint8

// The groups, with the names that COMMAND DOCS prints (groupNames).
const (
	Generic Group = iota
	String
	List
	Set
	SortedSet
	Hash
	PubSub
	Transactions
	Connection
	Server
	Scripting
	HyperLogLog
	Cluster
	Geo
	Stream
	Bitmap
	Sentinel
)

var groupNames = [...]string{"generic", "string", "list", "set", "sorted-set", "hash", "pubsub", "transactions",
	"connection", "server", "scripting", "hyperloglog", "cluster", "geo", "stream", "bitmap", "sentinel"}

func (g Group) String() string { return groupNames[g] }

// Flags say how a command is treated. The low ones are the flags that COMMAND
// INFO prints, the high ones are Skein's own.
type Flags uint64

const (
	Write           Flags = 1 << iota // may change data
	ReadOnly                          // reads keys, changes none
	DenyOOM                           // refused when memory is short
	Admin                             // @admin and @dangerous
	PubSubFlag                        // about channels
	NoScript                          // refused in scripts
	Blocking                          // may block the client
	Loading                           // allowed while a data set is loaded
	Stale                             // allowed on a replica whose data is stale
	SkipMonitor                       // not shown to MONITOR
	SkipSlowlog                       // not put into the slow log
	Asking                            // carries its own ASKING
	Fast                              // O(1) or O(log n): @fast
	NoAuth                            // allowed before AUTH
	MayReplicate                      // not a write, but may be replicated; not printed
	NoAsyncLoading                    // refused while a replica loads beside serving
	NoMulti                           // refused inside MULTI
	MovableKeys                       // key positions depend on arguments (derived)
	AllowBusy                         // allowed while a script is over its time
	NoMandatoryKeys                   // may be called with no key at all

	// World: runs with every slot lock held, for example FLUSHALL.
	World
	// OwnLocks: takes slot locks itself while it runs (SCAN, DBSIZE, KEYS);
	// inside MULTI the transaction then holds the world lock (Ctx.World).
	OwnLocks
	// Session: about the connection or the server, not about keys; runs without
	// any slot lock.
	Session
	// KeepArgs: the handler keeps slices of Argv beyond the call, so they are
	// copied first.
	KeepArgs
)

var flagNames = []struct {
	f    Flags
	name string
}{{Write, "write"}, {ReadOnly, "readonly"}, {DenyOOM, "denyoom"}, {Admin, "admin"}, {PubSubFlag, "pubsub"},
	{NoScript, "noscript"}, {Blocking, "blocking"}, {Loading, "loading"}, {Stale, "stale"}, {SkipMonitor, "skip_monitor"},
	{SkipSlowlog, "skip_slowlog"}, {Asking, "asking"}, {Fast, "fast"}, {NoAuth, "no_auth"},
	{NoAsyncLoading, "no_async_loading"}, {NoMulti, "no_multi"}, {MovableKeys, "movablekeys"}, {AllowBusy, "allow_busy"},
	{NoMandatoryKeys, "no_mandatory_keys"}}

// Names returns the flags as COMMAND INFO prints them.
func (f Flags) Names() []string {
	var out []string
	for _, n := range flagNames {
		if f&n.f != 0 {
			out = append(out, n.name)
		}
	}
	return out
}

// Spec declares a command, once: COMMAND INFO and DOCS, key extraction, ACL
// categories, redirects and gates derive from it.
type Spec struct {
	Name       string // lower case; of a subcommand just its own word
	Group      Group
	Since      string
	Arity      int // as COMMAND INFO: exact count with the name, or minus the least
	Flags      Flags
	Keys       []KeySpec
	Complexity string
	Summary    string
	Syntax     string   // arguments after the name, in the documentation's notation
	Categories []string // ACL categories beyond those that flags and group imply; "-name" takes one of those away
	Tips       []string
	Subs       []*Spec // subcommands of a container; Run then serves the bare name, may be nil
	Run        func(*Ctx)

	// ExtraKeys visits keys that Keys cannot describe (SORT ... STORE).
	ExtraKeys func(argv [][]byte, visit func(arg int, f KeyFlags))
	// FindKeys, if set, visits the keys in place of Keys, which would name an
	// argument that is none (MIGRATE with an empty key); it reports whether they
	// could be found. COMMAND INFO shows Keys all the same.
	FindKeys func(argv [][]byte, visit func(arg int, f KeyFlags)) bool
	// WorldIf reports whether these arguments need every slot lock, as if the
	// World flag were set (SORT ... BY reads keys that no argument names).
	WorldIf func(argv [][]byte) bool

	// Derived by NewTable.
	ID     int    // dense index, for statistics
	Parent *Spec  // container of a subcommand
	Full   string // "get", "config|get"

	first, last, step int  // key range when one key spec of the simple kind says it all
	simple            bool // first, last, step hold
}

// Categories are the ACL categories in the order in which ACL CAT lists them.
var Categories = []string{"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
	"stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting"}

// ACLCategories returns the categories of the command, without '@', in the order
// of Categories.
func (s *Spec) ACLCategories() []string {
	var out []string
	add := func(ok bool, name string) {
		if ok {
			out = append(out, name)
		}
	}
	f := s.Flags
	add(f&Write != 0, "write")
	add(f&ReadOnly != 0 && s.Group != Scripting, "read")
	switch s.Group {
	case Generic:
		add(len(s.Keys) > 0 || f&(World|OwnLocks) != 0, "keyspace")
	case String, List, Set, Hash, Stream, HyperLogLog, Geo, Bitmap, Scripting:
		add(true, s.Group.String())
	case SortedSet:
		add(true, "sortedset")
	case PubSub:
		add(true, "pubsub")
	case Transactions:
		add(true, "transaction")
	case Connection:
		add(true, "connection")
	}
	add(f&Admin != 0, "admin")
	add(f&Admin != 0, "dangerous")
	add(f&PubSubFlag != 0 && s.Group != PubSub, "pubsub")
	add(f&Fast != 0, "fast")
	add(f&Fast == 0, "slow")
	add(f&Blocking != 0, "blocking")
	for _, c := range s.Categories {
		if c[0] == '-' {
			out = slices.DeleteFunc(out, func(o string) bool { return o == c[1:] })
			continue
		}
		dup := false
		for _, o := range out {
			dup = dup || o == c
		}
		add(!dup, c)
	}
	slices.SortFunc(out, func(a, b string) int { return slices.Index(Categories, a) - slices.Index(Categories, b) })
	return out
}

// NeedsWorld reports whether the command, with these arguments, runs under the
// world lock.
func (s *Spec) NeedsWorld(argv [][]byte) bool {
	return s.Flags&World != 0 || s.WorldIf != nil && s.WorldIf(argv)
}

// ArityOK reports whether n arguments, the name included, are acceptable.
func (s *Spec) ArityOK(n int) bool {
	return s.Arity > 0 && n == s.Arity || s.Arity < 0 && n >= -s.Arity
}

func (s *Spec) String() string { return strings.ToUpper(strings.ReplaceAll(s.Full, "|", " ")) }
