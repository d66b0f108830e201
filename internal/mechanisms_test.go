package internal

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs/mechanisms.md has the 77 rows in order, and every test it names is there,
// in the directory that it names.
func TestMechanismsDoc(t *testing.T) {
	text, err := os.ReadFile("../docs/mechanisms.md")
	if err != nil {
		t.Fatal(err)
	}
	source := map[string]string{} // of all tests of a directory
	has := func(dir, name string) bool {
		if _, ok := source[dir]; !ok {
			files, err := filepath.Glob("../" + dir + "/*_test.go")
			if err != nil || len(files) == 0 {
				t.Fatalf("no tests in %s: %v", dir, err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				source[dir] += string(b)
			}
		}
		return strings.Contains(source[dir], "\nfunc "+name+"(t *testing.T) {")
	}
	row := regexp.MustCompile(`^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`)
	next := 1
	for line := range strings.Lines(string(text)) {
		f := row.FindStringSubmatch(strings.TrimSpace(line))
		if f == nil {
			continue
		}
		if f[1] != strconv.Itoa(next) {
			t.Errorf("row %s where row %d should be", f[1], next)
		}
		next++
		dirs := strings.Split(f[4], ", ")
		found := map[string]bool{}
		for name := range strings.SplitSeq(f[3], ", ") {
			ok := false
			for _, dir := range dirs {
				if has(dir, name) {
					ok, found[dir] = true, true
				}
			}
			if !ok {
				t.Errorf("row %s: there is no %s in %v", f[1], name, dirs)
			}
		}
		if len(found) != len(dirs) {
			t.Errorf("row %s: %v, but the tests are in %v", f[1], dirs, found)
		}
	}
	if next != 78 {
		t.Errorf("%d rows, want 77", next-1)
	}
}
