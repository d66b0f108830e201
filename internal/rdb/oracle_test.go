package rdb

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/internal/store"
)

// oracle is a real server that loads the same files. It follows a primary that does
// not exist, since a replica keeps keys whose time has come.
type oracle struct {
	c   *redis.Client
	dir string
}

func newOracle(t *testing.T, bin string, args ...string) *oracle {
	t.Helper()
	dir := t.TempDir()
	return &oracle{startServer(t, bin, dir, append([]string{"--replicaof", "127.0.0.1", "1", "--dbfilename", "oracle.rdb"}, args...)...), dir}
}

// load makes the server's data set that of a file.
func (o *oracle) load(t *testing.T, file []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, "oracle.rdb"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	do(t, o.c, "debug", "reload", "nosave")
}

// save returns the file that the server writes of its data set.
func (o *oracle) save(t *testing.T) []byte {
	t.Helper()
	do(t, o.c, "save")
	file, err := os.ReadFile(filepath.Join(o.dir, "oracle.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// compare loads a file here and there. What the server writes of it must be the
// same here, key by key with values, encodings, times and access facts; what is
// written here must have the same digest there. It returns the keys as contents does.
func (o *oracle) compare(t *testing.T, file []byte) map[string]string {
	t.Helper()
	st, got := loaded(t, file)
	o.load(t, file)
	digest := do(t, o.c, "debug", "digest")
	_, want := loaded(t, o.save(t))
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			t.Errorf("key %s is\n%.1000s, want\n%.1000s", k, got[k], want[k])
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("key %s is not there at the server", k)
		}
	}
	o.load(t, saved(t, st))
	if again := do(t, o.c, "debug", "digest"); again != digest {
		t.Errorf("digest %s of the file, %s of what was written of it here", digest, again)
	}
	return got
}

// loaded reads a file, all of it, and renders its keys.
func loaded(t *testing.T, file []byte) (*store.Store, map[string]string) {
	t.Helper()
	st := newStore(t)
	s, err := Load(NewReader(bytes.NewReader(file)), st, &LoadOptions{Limits: DefaultLimits(), NowMs: time.Now().UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	if s.Bytes != int64(len(file)) {
		t.Errorf("%d of %d bytes read", s.Bytes, len(file))
	}
	all := contents(t, st)
	if len(all) != s.Keys {
		t.Errorf("%d keys counted, %d are there", s.Keys, len(all))
	}
	return st, all
}

// saved writes the file of a store.
func saved(t *testing.T, st *store.Store) []byte {
	t.Helper()
	var file bytes.Buffer
	c, snap := cut(t, st, RecordOptions{Compress: true})
	w := NewWriter(&file, WriterOptions{Compress: true, Checksum: true})
	if err := c.Write(snap, w, &Info{ServerVersion: "7.2.4"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}
