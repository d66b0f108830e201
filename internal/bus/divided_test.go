package bus

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/resp"
)

// A slot is divided between a, its owner, and b (100), and another is b's while a
// drains it (6000): a key that is missing at the owner is asked for at the other,
// and one that is missing at the other goes back, so no client goes to and fro.
func TestRouteOfDividedSlots(t *testing.T) {
	const tryAgain = "TRYAGAIN Multiple keys request during rehashing of slot"
	m := routeMachine(t, false, false)
	for _, slot := range []int{100, 6000} {
		if _, err := m.Admin(cluster.Times{Mono: 201, Wall: 201}, cluster.SetSlot{Slot: slot, Action: cluster.SlotStable}); err != nil {
			t.Fatal(err)
		}
	}
	v := m.View()
	if v.DividedWith(100) == nil || !v.Draining(6000) {
		t.Fatalf("divided with %v, draining %v", v.DividedWith(100), v.Draining(6000))
	}
	type q = engine.Query
	for _, tt := range []struct {
		name              string
		q                 q
		existing, missing int
		want              string
	}{
		{"owner, key here", q{Slot: 100}, 1, 0, ""},
		{"owner, key missing", q{Slot: 100}, 0, 1, "ASK 100 10.0.0.2:7002"},
		{"owner, a write of a missing key", q{Slot: 100, Write: true}, 0, 1, "ASK 100 10.0.0.2:7002"},
		{"owner, client has been at the other", q{Slot: 100, Asking: true}, 0, 1, ""},
		{"owner, keys at both", q{Slot: 100, Multi: true}, 1, 1, tryAgain},
		{"owner, MIGRATE", q{Slot: 100, Migrate: true}, 0, 1, ""},
		{"draining, not asking", q{Slot: 6000}, 1, 0, "MOVED 6000 10.0.0.2:7002"},
		{"draining, key here", q{Slot: 6000, Asking: true}, 1, 0, ""},
		{"draining, key missing: no new one is made", q{Slot: 6000, Asking: true, Write: true}, 0, 1, "ASK 6000 10.0.0.2:7002"},
		{"draining, keys at both", q{Slot: 6000, Asking: true, Multi: true}, 1, 1, tryAgain},
		{"draining, MIGRATE", q{Slot: 6000, Migrate: true}, 0, 1, ""},
	} {
		tt.q.Present = func() (int, int) { return tt.existing, tt.missing }
		r := &router{b: &Bus{opt: Options{Router: func() RouterSettings { return RouterSettings{} }}}, v: v}
		if got := r.Route(&tt.q); got != tt.want {
			t.Errorf("%s: Route = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The question to the other node: how many keys of the slot it has, and whether
// clients may still be sent there; an error is no answer.
func TestKeysAtOtherNode(t *testing.T) {
	const line = "a 1.2.3.4:1@2 master - 0 0 1 connected 7\nb 1.2.3.4:3@4 myself,master - 0 0 2 connected 0-5 %s\n"
	for _, tt := range []struct {
		name, nodes, count string
		keys               int
		importing, fails   bool
	}{
		{"none left", fmt.Sprintf(line, ""), "0", 0, false, false},
		{"some, importing", fmt.Sprintf(line, "[7-<-a]"), "12", 12, true, false},
		{"importing another slot", fmt.Sprintf(line, "[77-<-a]"), "3", 3, false, false},
		{"migrating the slot", fmt.Sprintf(line, "[7->-a]"), "3", 3, false, false},
		{"refuses", "", "", 0, false, true},
		{"no number", fmt.Sprintf(line, ""), "x", 0, false, true},
	} {
		asked := make(chan string, 2)
		dial := func(context.Context, cluster.Addr) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				r := resp.NewReader(far)
				for {
					req, err := r.Next()
					if err != nil {
						return
					}
					var words []string
					for _, e := range req.Elems {
						words = append(words, string(e.Str))
					}
					asked <- strings.Join(words, " ")
					switch {
					case tt.nodes == "":
						fmt.Fprint(far, "-NOPERM no\r\n")
					case words[1] == "NODES":
						fmt.Fprintf(far, "$%d\r\n%s\r\n", len(tt.nodes), tt.nodes)
					case tt.count == "x":
						fmt.Fprint(far, "+x\r\n")
					default:
						fmt.Fprintf(far, ":%s\r\n", tt.count)
					}
				}
			}()
			return near, nil
		}
		b := &Bus{opt: Options{DialNode: dial, NodeAuth: func() (string, string) { return "", "" }}}
		keys, importing, err := b.keysAt(t.Context(), &cluster.NodeView{}, 7)
		if (err != nil) != tt.fails || !tt.fails && (keys != tt.keys || importing != tt.importing) {
			t.Errorf("%s: %d keys, importing %v, %v", tt.name, keys, importing, err)
		}
		if first := <-asked; first != "CLUSTER NODES" {
			t.Errorf("%s: the first question was %q: a key may be made after the count", tt.name, first)
		}
	}
}
