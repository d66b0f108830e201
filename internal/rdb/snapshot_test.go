package rdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/store"
)

// A file holds the keyspace as it was at the cut, whatever writers do while it is
// written: they change, delete and create keys, and the output is slow.
func TestSnapshotUnderWriters(t *testing.T) {
	const keys, writers = 2000, 4
	st := newStore(t)
	name := func(i int) []byte { return fmt.Appendf(nil, "key:%d", i) }
	write := func(i int, value uint64) {
		k := name(i)
		slot, hash := hashslot.Slot(k), store.Hash(k)
		st.Lock(slot)
		defer st.Unlock(slot)
		db := st.DB(0)
		var o store.Obj
		found := db.Find(slot, hash, k, &o)
		switch {
		case found && value%5 == 0:
			db.Delete(&o)
			return
		case found:
			db.Write(&o)
			o.Reset(store.String, store.Raw, 8)
		default:
			db.Create(slot, hash, k, store.String, store.Raw, 8, 0, 0, &o)
		}
		binary.LittleEndian.PutUint64(o.Bytes(), value)
	}
	for i := range keys {
		write(i, 1)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 9))
			for !stop.Load() {
				write(rnd.IntN(2*keys), rnd.Uint64())
			}
		})
	}
	for range 3 {
		st.LockWorld()
		want := map[string]string{}
		st.DB(0).EachKey(func(o *store.Obj) bool {
			want[string(o.Key())] = string(o.Bytes())
			return true
		})
		c := NewCollector(st, RecordOptions{Compress: true})
		snap, err := st.BeginSnapshot(c)
		st.UnlockWorld()
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		w := NewWriter(&file, WriterOptions{Checksum: true})
		if err := c.Write(snap, w, &Info{ServerVersion: "7.2.4"}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		st2 := newStore(t)
		if _, err := Load(NewReader(&file), st2, &LoadOptions{Limits: DefaultLimits()}); err != nil {
			t.Fatal(err)
		}
		n := 0
		st2.DB(0).EachKey(func(o *store.Obj) bool {
			n++
			if w := want[string(o.Key())]; w != string(o.Bytes()) {
				t.Errorf("key %s is %x in the file, was %x at the cut", o.Key(), o.Bytes(), w)
				return false
			}
			return true
		})
		if n != len(want) || c.Keys() != n {
			t.Errorf("%d keys in the file, %d counted, %d at the cut", n, c.Keys(), len(want))
		}
	}
	stop.Store(true)
	wg.Wait()
}

// An output that fails ends the walk with its error, and the next snapshot works.
func TestSnapshotOutputFails(t *testing.T) {
	st := newStore(t)
	fillRandom(t, st, rand.New(rand.NewPCG(1, 1)), 300)
	for _, limit := range []int{0, 50_000} {
		c, snap := cut(t, st, RecordOptions{})
		w := NewWriter(&limited{n: limit}, WriterOptions{Checksum: true})
		err := c.Write(snap, w, &Info{})
		if err == nil {
			err = w.Close()
		}
		if err != io.ErrShortBuffer {
			t.Errorf("an output that takes %d bytes: %v, want %v", limit, err, io.ErrShortBuffer)
		}
	}
}

// limited takes n bytes and then fails.
type limited struct{ n int }

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.n {
		return l.n, io.ErrShortBuffer
	}
	l.n -= len(p)
	return len(p), nil
}

// cut begins a snapshot of all that st holds.
func cut(t testing.TB, st *store.Store, o RecordOptions) (*Collector, *store.Snapshot) {
	t.Helper()
	st.LockWorld()
	defer st.UnlockWorld()
	c := NewCollector(st, o)
	snap, err := st.BeginSnapshot(c)
	if err != nil {
		t.Fatal(err)
	}
	return c, snap
}
