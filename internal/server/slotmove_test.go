package server

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/slotmove"
)

// The mover lets writers that wait at a hand-over go on when it sees another owner
// of the slots. It must not see one while commands still go by the view in which
// this node is the owner: what they wrote then would be acknowledged and lost. Here
// a command that holds the slot keeps the new view from coming into force.
func TestMoverGoesByTheViewInForce(t *testing.T) {
	cfg := config.New()
	for name, value := range map[string]string{"dir": t.TempDir(), "cluster-enabled": "yes", "bind": "127.0.0.1", "port": freePort(t), "save": "",
		"cluster-require-full-coverage": "no"} {
		if err := cfg.Assign(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := cfg.Assign("cluster-port", freePort(t)); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(context.Background(), func() { close(ready) }) }()
	defer func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Errorf("end: %v", err)
		}
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("start: %v", err)
	}
	mover := slotCluster{s.bus, cfg.TLSCluster.Get}
	me := mover.MyID()
	const slot = 7
	var slots slotmove.Slots
	slots.Add(slot)
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("still not: %s", what)
			}
		}
	}
	if _, err := s.bus.Admin(cluster.AddSlots{Slots: []int{slot, slot + 1}}); err != nil {
		t.Fatal(err)
	}
	until("the owner", func() bool { return slices.Equal(mover.Owners(&slots), []string{me}) })

	s.store.Lock(slot) // by a command that runs
	given := make(chan error, 1)
	go func() {
		_, err := s.bus.Admin(cluster.DelSlots{Slots: []int{slot}})
		given <- err
	}()
	until("a view without owner", func() bool { return s.bus.View().Owner(slot) == nil })
	held := mover.Owners(&slots)
	s.store.Unlock(slot)
	if err := <-given; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(held, []string{me}) {
		t.Errorf("while a command goes by the old view the owners are %q, want %q", held, me)
	}
	until("no owner", func() bool { return slices.Equal(mover.Owners(&slots), []string{""}) })
}
