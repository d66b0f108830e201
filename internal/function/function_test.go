package function

import (
	"fmt"
	"strings"
	"testing"
)

// The first line is understood, and refused, as redis-server 7.0.15 does.
func TestParse(t *testing.T) {
	for _, tt := range []struct{ source, want string }{
		{"return 1", "Missing library metadata"},
		{"#!lua", "Invalid library metadata"},
		{"#!lua\nx", "Library name was not given"},
		{"#!lua name=a-b\nx", "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"},
		{"#!lua name=\nx", "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"},
		{"#!lua name=a foo=b\nx", "Invalid metadata value given: foo=b"},
		{"#!lua name=a name=b\nx", "Invalid metadata value, name argument was given multiple times"},
		{"#!lua name=\"q\"\n", "lua q"},
		{"#!LUA  NAME=Abc_1 \nx", "LUA Abc_1"},
		{"#!js name=a\n", "js a"},
		{"#! name=a\n", " a"},
	} {
		lib, err := parse([]byte(tt.source))
		got := fmt.Sprint(err)
		if err == nil {
			got = lib.Engine + " " + lib.Name
		}
		if got != tt.want {
			t.Errorf("parse(%q) = %q, want %q", tt.source, got, tt.want)
		}
	}
}

// Names that are spelled out are found, whatever else there is; others are not.
func TestRegistered(t *testing.T) {
	for _, tt := range []struct{ code, want string }{
		{`redis.register_function('f', function() return 1 end)`, "f"},
		{`redis . register_function ( "f" , g)`, "f"},
		{`server.register_function([[f]], g)`, "f"},
		{`redis.register_function('f' .. x, g)`, ""},
		{`redis.register_function(name, g)`, ""},
		{`redis.register_function('a\110', g)`, ""},
		{`redis.register_function('not-a-name', g)`, ""},
		{`other.register_function('f', g)`, ""},
		{`-- redis.register_function('f', g)`, ""},
		{"--[[ redis.register_function('f', g)\n ]] redis.register_function('h', g)", "h"},
		{"--[==[ ]] redis.register_function('f', g) ]==] redis.register_function('h', g)", "h"},
		{`local s = "redis.register_function('f', g)"`, ""},
		{`local s = 'it\'s'; redis.register_function('f', g)`, "f"},
		{`redis.register_function{function_name='f', callback=g}`, "f"},
		{`redis.register_function({ callback = function() local t = {function_name='no'} return t end, function_name = "f", description='d e', flags = { 'no-writes', "allow-stale" } })`,
			"f(d e)[no-writes allow-stale]"},
		{`redis.register_function{function_name='f' .. x, callback=g}`, ""},
		{`redis.register_function{function_name=x, callback=g} redis.register_function('g', h)`, "g"},
		{`redis.register_function{function_name='f'`, ""},
		{`redis.register_function('f`, ""},
		{`redis.register_function('a', g) redis.redis.register_function('b', g)`, "a b"},
	} {
		var got []string
		for _, f := range registered([]byte(tt.code)) {
			s := f.Name
			if f.Description != "" {
				s += "(" + f.Description + ")"
			}
			if len(f.Flags) > 0 {
				s += fmt.Sprint(f.Flags)
			}
			got = append(got, s)
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("registered(%s) = %q, want %q", tt.code, got, tt.want)
		}
	}
}

// A load of several libraries is whole or has no effect.
func TestAdd(t *testing.T) {
	var l Libraries
	lib := func(name string) *Library { return &Library{Name: name} }
	if _, err := l.Load([]byte("#!lua name=b\n"), false); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		libs    []*Library
		replace bool
		err     bool
		want    string
	}{
		{[]*Library{lib("a"), lib("b")}, false, true, "b"},
		{[]*Library{lib("a"), lib("a")}, true, true, "b"},
		{[]*Library{lib("a"), lib("b")}, true, false, "a b"},
		{nil, false, false, "a b"},
	} {
		err := l.add(tt.libs, tt.replace)
		var got []string
		for _, x := range l.All() {
			got = append(got, x.Name)
		}
		if (err != nil) != tt.err || strings.Join(got, " ") != tt.want {
			t.Errorf("add: %v, then %q, want %q", err, got, tt.want)
		}
	}
	if l.remove("c") == nil || l.remove("a") != nil || len(l.Sources()) != 1 {
		t.Error("remove")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("#!lua name=a\nredis.register_function{function_name='f', flags={'x'}, description=[=[d]=]} --[[ x"))
	f.Add([]byte("#!lua name=a\nredis.register_function('f\\"))
	f.Fuzz(func(t *testing.T, source []byte) {
		if lib, err := parse(source); err == nil && (string(lib.Source) != string(source) || !validName(lib.Name)) {
			t.Fatalf("%q: %+v", source, lib)
		}
	})
}
