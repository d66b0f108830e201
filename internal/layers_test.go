package internal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers says which of our packages each package may import, lowest first: a
// name is used only below the line that introduces it. An import that is
// missing here is either a type in the wrong place, or a decision, to be written
// down here and in ARCHITECTURE.md.
const layers = `
	# bytes, texts and memory; they know no other package
	glob:
	hashslot:
	resp:
	logfmt:
	turns:
	uring:
	mem:
	disk:
	disk/disktest: disk
	config: glob

	# the cluster protocol is a pure machine and stands alone
	cluster:
	cluster/sim: cluster

	# data
	ds: mem
	store: ds mem
	rdb: ds hashslot mem store turns

	# commands
	command: glob hashslot rdb resp store
	datatypes: command ds glob hashslot rdb resp store
	engine: command glob hashslot resp store

	# what surrounds the engine: each of these knows it, and none knows another
	netio: engine uring
	acl: command config engine glob
	admin: command config ds engine glob rdb store
	observe: command config engine mem
	function: command glob rdb
	persist: command config disk engine rdb store
	aof: command config disk ds engine rdb resp store
	repl: command engine rdb resp store
	migrate: command engine rdb resp
	slotmove: command engine rdb resp store turns
	bus: cluster command config disk engine hashslot resp store

	# the composition root
	server: acl admin aof bus cluster command config datatypes disk engine function logfmt mem migrate netio observe persist rdb repl slotmove store

	# for tests: free ports; nodes without connections
	testport:
	labtest: command config datatypes disk disk/disktest engine mem persist repl resp store

	# a user of servers, from outside
	up: config

	../cmd/skein: aof cluster/sim disk rdb server up
`

// outside says what else packages may not have of the standard library. A name
// in parentheses is an exception.
const outside = `
	glob: net os time
	hashslot: net os time
	resp: net os time
	mem: net time
	ds: net os time
	store: net os time(Duration Millisecond Minute NewTimer)
	rdb: net os
	command: net os time
	datatypes: net os time
	engine: os
	acl: net os
	admin: net os
	config: net
	persist: net os
	function: net os time
	aof: net
	repl: net(JoinHostPort SplitHostPort) os(Getpid)
	cluster: net os time sync math/rand math/rand/v2 crypto/rand
	cluster/sim: net
	bus: os
	netio: os/exec
	up: net/http
`

// modules are the imports from other modules; what is not listed has none.
const modules = `
	mem: golang.org/x/sys/unix
	disk: golang.org/x/sys/unix
`

const module = "github.com/skeindb/skein/"

// parseRules reads "name: word word(...) ..." lines.
func parseRules(t *testing.T, text string) (names []string, rules map[string][]string) {
	t.Helper()
	rules = make(map[string][]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, ":")
		if !ok || rules[name] != nil {
			t.Fatalf("bad or second rule %q", line)
		}
		names = append(names, name)
		rules[name] = []string{}
		for word := range strings.FieldsSeq(rest) {
			if n := len(rules[name]); n > 0 && strings.Contains(rules[name][n-1], "(") && !strings.HasSuffix(rules[name][n-1], ")") {
				rules[name][n-1] += " " + word
			} else {
				rules[name] = append(rules[name], word)
			}
		}
	}
	return names, rules
}

// Every package imports only what layers, outside and modules let it: in all
// files but tests, for all systems.
func TestLayers(t *testing.T) {
	names, rules := parseRules(t, layers)
	_, forbidden := parseRules(t, outside)
	_, others := parseRules(t, modules)
	for i, name := range names {
		for _, dep := range rules[name] {
			if j := slices.Index(names, dep); j < 0 || j >= i {
				t.Errorf("layers: %s may import %s, which is not above it in the list", name, dep)
			}
		}
	}
	seen := make(map[string]bool)
	used := make(map[string]bool) // "package dep"
	for _, root := range []string{".", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "testdata" || strings.HasSuffix(d.Name(), "_tmp")) {
				return filepath.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			pkg := filepath.ToSlash(filepath.Dir(path))
			if seen[pkg] = true; rules[pkg] == nil {
				t.Errorf("%s: package %s has no line in layers", path, pkg)
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			for _, spec := range file.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				own, isOwn := strings.CutPrefix(imported, module+"internal/")
				switch {
				case isOwn:
					used[pkg+" "+own] = true
					if !slices.Contains(rules[pkg], own) {
						t.Errorf("%s imports %s: layers lets %s import %v", path, own, pkg, rules[pkg])
					}
				case strings.Contains(strings.SplitN(imported, "/", 2)[0], "."):
					if !slices.Contains(others[pkg], imported) {
						t.Errorf("%s imports %s, of another module", path, imported)
					}
				default:
					checkOutside(t, path, file, spec, imported, forbidden[pkg])
				}
			}
			if pkg == "cluster" {
				ast.Inspect(file, func(n ast.Node) bool {
					if _, ok := n.(*ast.GoStmt); ok {
						t.Errorf("%s starts a goroutine: the machine is pure", path)
					}
					return true
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		if !seen[name] {
			t.Errorf("layers has a line for %s, but there is no such package", name)
		}
		for _, dep := range rules[name] {
			if seen[name] && !used[name+" "+dep] {
				t.Logf("%s may import %s and does not", name, dep)
			}
		}
	}
}

// checkOutside holds one import of the standard library against the rules.
func checkOutside(t *testing.T, path string, file *ast.File, spec *ast.ImportSpec, imported string, forbidden []string) {
	t.Helper()
	for _, rule := range forbidden {
		name, rest, hasExceptions := strings.Cut(rule, "(")
		if name != imported {
			continue
		}
		if !hasExceptions {
			t.Errorf("%s imports %s", path, imported)
			continue
		}
		exceptions := strings.Fields(strings.TrimSuffix(rest, ")"))
		local := imported[strings.LastIndexByte(imported, '/')+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if id, ok := s.X.(*ast.Ident); ok && id.Name == local && !slices.Contains(exceptions, s.Sel.Name) {
					t.Errorf("%s uses %s.%s: only %v of %s are allowed there", path, local, s.Sel.Name, exceptions, imported)
				}
			}
			return true
		})
	}
}
