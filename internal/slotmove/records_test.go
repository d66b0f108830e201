package slotmove

import (
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// How long or how often a key was used travels with it, whichever this node keeps.
func TestRecordsTellUse(t *testing.T) {
	h, err := mem.New(mem.Options{Reserve: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	st := store.New(h, 1)
	defer st.Close()
	const now = 1_800_000_000
	key := []byte("k")
	var o store.Obj
	copy(st.DB(0).Create(hashslot.Slot(key), store.Hash(key), key, store.String, store.Raw, 1, 0, now, &o), "v")
	for _, tt := range []struct {
		kind store.AccessKind
		idle int64
		freq int
		want string
	}{
		{store.AccessClock, 0, -1, "ABSTTL"}, {store.AccessClock, 30, -1, "ABSTTL IDLETIME 30"}, {store.AccessIdle, 30, -1, "ABSTTL IDLETIME 30"},
		{store.AccessUses, -1, 200, "ABSTTL FREQ 200"}, {store.AccessUses, -1, 0, "ABSTTL FREQ 0"},
	} {
		st.SetAccess(tt.kind, 10, 0)
		o.Touch(now)
		o.SetAccessFacts(now, tt.idle, tt.freq)
		r := &records{second: func() uint32 { return now }}
		r.Record(0, &o)
		var p resp.Parser
		argv, _, err := p.Next(r.take(nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, a := range argv[4:] {
			words = append(words, string(a))
		}
		if got := strings.Join(words, " "); got != tt.want {
			t.Errorf("kind %d: RESTORE ... %s, want %s", tt.kind, got, tt.want)
		}
	}
}
