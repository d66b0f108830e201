package aof_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/aof"
)

// What is read is what the lines say, whatever else stands in them, and it is
// written as redis-server writes it.
func TestManifest(t *testing.T) {
	const text = `# by hand
file appendonly.aof.2.base.rdb seq 2 type b
FILE appendonly.aof.1.incr.aof seq 1 type h startoffset 17
seq 2 new thing type i file "a b\x41\".incr.aof"
file appendonly.aof.4.incr.aof seq 4 type i
`
	m, err := aof.ParseManifest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &aof.Manifest{Base: &aof.FileInfo{Name: "appendonly.aof.2.base.rdb", Seq: 2, Type: aof.Base},
		History: []aof.FileInfo{{Name: "appendonly.aof.1.incr.aof", Seq: 1, Type: aof.History}},
		Incr:    []aof.FileInfo{{Name: `a bA".incr.aof`, Seq: 2, Type: aof.Incr}, {Name: "appendonly.aof.4.incr.aof", Seq: 4, Type: aof.Incr}}}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("ParseManifest = %+v, want %+v", m, want)
	}
	const written = `file appendonly.aof.2.base.rdb seq 2 type b
file appendonly.aof.1.incr.aof seq 1 type h
file "a bA\".incr.aof" seq 2 type i
file appendonly.aof.4.incr.aof seq 4 type i
`
	if got := string(m.Text()); got != written {
		t.Errorf("Text = %q, want %q", got, written)
	}
}

func TestManifestRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty":               "",
		"empty line":          "file a seq 1 type b\n\n",
		"too few words":       "file a seq 1\n",
		"odd number of words": "file a seq 1 type b x\n",
		"no number":           "file a seq x type b\n",
		"number 0":            "file a seq 0 type i\n",
		"other type":          "file a seq 1 type x\n",
		"long type":           "file a seq 1 type bi\n",
		"path":                "file ../a seq 1 type b\n",
		"directory":           "file .. seq 1 type b\n",
		"two bases":           "file a seq 1 type b\nfile b seq 2 type b\n",
		"increments fall":     "file a seq 2 type i\nfile b seq 1 type i\n",
		"increment twice":     "file a seq 2 type i\nfile b seq 2 type i\n",
		"long line":           "file " + strings.Repeat("a", 1024) + " seq 1 type b\n",
		"open quote":          "file \"a seq 1 type b\n",
		"no name":             "x a seq 1 type b\n",
	} {
		if m, err := aof.ParseManifest([]byte(text)); err == nil {
			t.Errorf("%s: accepted as %+v", name, m)
		}
	}
}

// Whatever is accepted is written so that it is read the same, and its numbers can
// be continued.
func FuzzManifest(f *testing.F) {
	f.Add([]byte("file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.1.incr.aof seq 1 type h\nfile appendonly.aof.2.incr.aof seq 2 type i\n"))
	f.Add([]byte("# c\nfile \"a\\x00\\\"b\" seq 9223372036854775807 type i k v\n"))
	f.Add([]byte("file a seq 1 type b\nfile b seq 1 type i\nfile c seq 1 type h"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := aof.ParseManifest(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "aof: manifest: ") {
				t.Fatalf("error %q", err)
			}
			return
		}
		if out := m.Text(); len(out) > 0 {
			again, err := aof.ParseManifest(out)
			if err != nil && !strings.Contains(err.Error(), "bytes long") || err == nil && !reflect.DeepEqual(again, m) {
				t.Fatalf("%+v is written as %q, read as %+v, %v", m, out, again, err)
			}
		}
	})
}
