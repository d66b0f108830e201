package internal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Every directive that claims an effect has its setting read by some package; one
// that has none says so in the table (NoEffect), and so in docs/directives.md.
func TestDirectivesHaveTheEffectTheyClaim(t *testing.T) {
	fset := token.NewFileSet()
	table, err := parser.ParseFile(fset, "config/table.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	used := selectors(t, fset)
	seen := 0
	ast.Inspect(table, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !isName(call.Fun, "d") || len(call.Args) < 3 {
			return true
		}
		text, _ := strconv.Unquote(call.Args[0].(*ast.BasicLit).Value)
		kind := call.Args[1].(*ast.CallExpr)
		if id, ok := kind.Fun.(*ast.Ident); ok && strings.HasPrefix(id.Name, "const") {
			return true // has one value
		}
		field := ""
		ast.Inspect(kind, func(n ast.Node) bool {
			if u, ok := n.(*ast.UnaryExpr); ok && u.Op == token.AND && field == "" {
				field = u.X.(*ast.SelectorExpr).Sel.Name
			}
			return true
		})
		seen++
		idle := false
		ast.Inspect(call.Args[2], func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok && isName(e, "idle") {
				idle = true
			}
			return true
		})
		if !idle && field != "" && !used[field] { // "dir" has no setting of its own
			t.Errorf("%s claims an effect, but nobody reads its setting %s", text, field)
		}
		return true
	})
	if seen < 200 {
		t.Errorf("found %d directives in the table", seen)
	}
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// selectors returns the names x of all "something.x" outside of config and of tests.
func selectors(t *testing.T, fset *token.FileSet) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "config/table") {
			return err
		}
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				used[s.Sel.Name] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}
