package command

import (
	"fmt"
	"strings"
	"testing"
)

// notation writes arguments back in a form that shows their structure:
// name:type, token in front, ? optional, + multiple, ++ with its token again.
func notation(args []Argument) string {
	var parts []string
	for _, a := range args {
		s := a.Name
		switch {
		case a.Type == "pure-token":
			s = ""
		case a.Type == "key":
			s += fmt.Sprintf(":key%d", a.KeySpec)
		case len(a.Args) > 0:
			open, end := "(", ")"
			if a.Type == "oneof" {
				open, end = "<", ">"
			}
			s = open + notation(a.Args) + end
		default:
			s += ":" + a.Type
		}
		if a.Token != "" {
			s = strings.TrimSuffix(a.Token+" "+s, " ")
		}
		if a.Multiple {
			s += "+"
		}
		if a.MultipleToken {
			s += "+"
		}
		if a.Optional {
			s += "?"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

func TestParseSyntax(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		keys       int
		want       string
	}{
		{"nothing", "", 0, ""},
		{"one key", "key", 1, "key:key0"},
		{"keys", "key [key ...]", 1, "key:key0+"},
		{"a key that is none", "key", 0, "key:string"},
		{"pairs", "key value [key value ...]", 1, "(key:key0, value:string)+"},
		{"pairs behind a key", "key field value [field value ...]", 1, "key:key0, (field:string, value:string)+"},
		{"optional words", "key [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]", 1,
			"key:key0, <NX, XX>?, GET?, <EX seconds:integer, PX milliseconds:integer, KEEPTTL>?"},
		{"token with several values", "key [LIMIT offset count]", 1, "key:key0, LIMIT (offset:integer, count:integer)?"},
		{"repeated token", "key [BY pattern] [GET pattern [GET pattern ...]] [ASC | DESC]", 1,
			"key:key0, BY pattern:pattern?, GET pattern:pattern++?, <ASC, DESC>?"},
		{"choice of blocks", "key <FROMMEMBER member | FROMLONLAT longitude latitude>", 1,
			"key:key0, <FROMMEMBER member:string, FROMLONLAT (longitude:double, latitude:double)>"},
		{"nested options", "key [MAXLEN [= | ~] threshold [LIMIT count]]", 1,
			"key:key0, (MAXLEN, <=, ~>?, threshold:string, LIMIT count:integer?)?"},
		{"two keys", "source destination <LEFT | RIGHT> <LEFT | RIGHT>", 2, "source:key0, destination:key1, <LEFT, RIGHT>, <LEFT, RIGHT>"},
		{"optional rest", "[section [section ...]]", 0, "section:string+?"},
		{"filter", "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]", 0,
			"(FILTERBY, <MODULE module-name:string, ACLCAT category:string, PATTERN pattern:pattern>)?"},
		{"streams", "[COUNT count] STREAMS key [key ...] id [id ...]", 1, "COUNT count:integer?, STREAMS (key:key0+, id:string+)"},
		{"options in any number", "<id | <[ID id] | [TYPE <A | B>] [...]>>", 0, "<id:string, <ID id:string?, (TYPE, <A, B>)+?>>"},
		{"all before it in any number", "<[ID id] [ADDR addr] [...]>", 0, "(ID id:string?, ADDR addr:string?)+"},
		{"brackets around nothing", "key [] <> [...] [ | ]", 1, "key:key0+"},
		{"unclosed bracket", "key [NX", 1, "key:key0, NX?"},
		{"stray bracket", "] key", 1, ""},
	} {
		if got := notation(ParseSyntax(tt.text, tt.keys)); got != tt.want {
			t.Errorf("%s: %q is\n     %s, want\n     %s", tt.name, tt.text, got, tt.want)
		}
	}
}

// FuzzParseSyntax: any text comes to an end without a panic, and without a
// choice or a block of nothing, on which redis-cli 7.0 crashes.
func FuzzParseSyntax(f *testing.F) {
	f.Add("key [NX | XX] <a [b ...] | c> ...")
	f.Fuzz(func(t *testing.T, text string) {
		var check func(args []Argument)
		check = func(args []Argument) {
			for i := range args {
				if composed := args[i].Type == "oneof" || args[i].Type == "block"; composed != (len(args[i].Args) > 0) {
					t.Fatalf("%q has %+v", text, args[i])
				}
				check(args[i].Args)
			}
		}
		check(ParseSyntax(text, 2))
	})
}
