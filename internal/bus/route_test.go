package bus

import (
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
)

// fixed is chance without any.
type fixed struct{}

func (fixed) Uint64() uint64 { return 1 }

// Three primaries a, b, c with a third of the slots each, but slot 16383 of
// nobody's, and a replica r of a. Node a migrates slot 100 to b and imports 6000
// from b.
const routeNodes = `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 10.0.0.1:7001@17001,host-a,tls-port=7101 A - 0 1 1 connected 0-5460 MARKS
bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 10.0.0.2:7002@17002,host-b,tls-port=7102,shard-id=5555555555555555555555555555555555555555 master B - 0 1 2 connected 5461-10922
cccccccccccccccccccccccccccccccccccccccc 10.0.0.3:7003@17003,,tls-port=7103 master - 0 1 3 connected 10923-16382
dddddddddddddddddddddddddddddddddddddddd 10.0.0.4:7004@17004,,tls-port=7104 R aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0 1 1 connected
vars currentEpoch 3 lastVoteEpoch 0
`

// routeView is what the primary a or its replica r knows.
func routeView(t *testing.T, replica, coverage bool) *cluster.View {
	t.Helper()
	return routeMachine(t, replica, coverage).View()
}

func routeMachine(t *testing.T, replica, coverage bool) *cluster.Machine {
	t.Helper()
	a, r, marks := "myself,master", "slave", "[100->-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb] [6000-<-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb]"
	if replica {
		a, r, marks = "master", "myself,slave", ""
	}
	text := strings.NewReplacer(" A ", " "+a+" ", " R ", " "+r+" ", " B ", " ", " MARKS", " "+marks).Replace(routeNodes)
	boot, _, err := cluster.ParseNodesConf([]byte(text), false)
	if err != nil {
		t.Fatal(err)
	}
	set := cluster.DefaultSettings()
	set.StartDelay, set.WakeGuard, set.StalePrimaryGuard, set.RequireFullCoverage = 0, false, false, coverage
	set.Ports = cluster.Addr{Port: 7001, TLSPort: 7101, BusPort: 17001}
	m := cluster.New(set, fixed{}, boot, cluster.Times{Mono: 1, Wall: 1})
	m.Step(cluster.Times{Mono: 101, Wall: 101}, cluster.Tick{})
	return m
}

// Where a command runs or is sent, by whose slot it is, what moves, who asks
// and how. Source: cluster specification, 10.2 and 10.3.
func TestRoute(t *testing.T) {
	const (
		down     = "CLUSTERDOWN The cluster is down"
		downRead = "CLUSTERDOWN The cluster is down and only accepts read commands"
		unbound  = "CLUSTERDOWN Hash slot not served"
		tryAgain = "TRYAGAIN Multiple keys request during rehashing of slot"
	)
	type q = engine.Query
	tests := []struct {
		name              string
		replica, fail     bool // who decides, and whether the cluster is down
		set               RouterSettings
		q                 q
		existing, missing int
		want              string
	}{
		{name: "own slot", q: q{Slot: 5}},
		{name: "slot of another", q: q{Slot: 5461}, want: "MOVED 5461 10.0.0.2:7002"},
		{name: "slot of another, TLS client", q: q{Slot: 5461, TLS: true}, want: "MOVED 5461 10.0.0.2:7102"},
		{name: "slot of another by host name", set: RouterSettings{Endpoint: config.EndpointHostname}, q: q{Slot: 5461}, want: "MOVED 5461 host-b:7002"},
		{name: "slot of another without host name", set: RouterSettings{Endpoint: config.EndpointHostname}, q: q{Slot: 10923}, want: "MOVED 10923 ?:7003"},
		{name: "slot of another, unknown endpoint", set: RouterSettings{Endpoint: config.EndpointUnknown}, q: q{Slot: 5461}, want: "MOVED 5461 :7002"},
		{name: "slot of nobody", q: q{Slot: 16383}, want: unbound},
		{name: "asking for the slot of another that is not imported", q: q{Slot: 5461, Asking: true}, want: "MOVED 5461 10.0.0.2:7002"},
		{name: "migrating, all keys here", q: q{Slot: 100}, existing: 1},
		{name: "migrating, key gone", q: q{Slot: 100}, missing: 1, want: "ASK 100 10.0.0.2:7002"},
		{name: "migrating, keys on both sides", q: q{Slot: 100, Multi: true}, existing: 1, missing: 1, want: tryAgain},
		{name: "migrating, MIGRATE", q: q{Slot: 100, Migrate: true, Write: true}, missing: 1},
		{name: "migrating, shard channel", q: q{Slot: 100, Shard: true}, missing: 1},
		{name: "importing without asking", q: q{Slot: 6000}, existing: 1, want: "MOVED 6000 10.0.0.2:7002"},
		{name: "importing, asking", q: q{Slot: 6000, Asking: true}, missing: 1},
		{name: "importing, asking, some keys missing", q: q{Slot: 6000, Asking: true, Multi: true}, existing: 1, missing: 1, want: tryAgain},
		{name: "importing, asking, all keys here", q: q{Slot: 6000, Asking: true, Multi: true}, existing: 2},
		{name: "importing, MIGRATE", q: q{Slot: 6000, Migrate: true, Write: true}},

		{name: "replica, slot of its primary", replica: true, q: q{Slot: 5}, want: "MOVED 5 10.0.0.1:7001"},
		{name: "replica, READONLY read", replica: true, q: q{Slot: 5, ReadOnly: true}},
		{name: "replica, READONLY write", replica: true, q: q{Slot: 5, ReadOnly: true, Write: true}, want: "MOVED 5 10.0.0.1:7001"},
		{name: "replica, READONLY read elsewhere", replica: true, q: q{Slot: 5461, ReadOnly: true}, want: "MOVED 5461 10.0.0.2:7002"},
		{name: "replica, shard channel", replica: true, q: q{Slot: 5, Shard: true}},
		{name: "replica, shard channel elsewhere", replica: true, q: q{Slot: 5461, Shard: true}, want: "MOVED 5461 10.0.0.2:7002"},

		{name: "down", fail: true, q: q{Slot: 5}, want: down},
		{name: "down, slot of another", fail: true, q: q{Slot: 5461}, want: down},
		{name: "down, slot of nobody", fail: true, q: q{Slot: 16383}, want: unbound},
		{name: "down, reads allowed", fail: true, set: RouterSettings{ReadsWhenDown: true}, q: q{Slot: 5}},
		{name: "down, reads allowed, elsewhere", fail: true, set: RouterSettings{ReadsWhenDown: true}, q: q{Slot: 5461}, want: "MOVED 5461 10.0.0.2:7002"},
		{name: "down, reads allowed, write", fail: true, set: RouterSettings{ReadsWhenDown: true}, q: q{Slot: 5, Write: true}, want: downRead},
		{name: "down, shard channel", fail: true, q: q{Slot: 5, Shard: true}, want: down},
		{name: "down, shard channel allowed", fail: true, set: RouterSettings{PubsubShardWhenDown: true}, q: q{Slot: 5, Shard: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := routeView(t, tt.replica, tt.fail) // an uncovered slot makes a cluster fail that wants all
			if ok := v.State == cluster.StateOK; ok == tt.fail {
				t.Fatalf("state %d", v.State)
			}
			asked := 0
			tt.q.Present = func() (int, int) { asked++; return tt.existing, tt.missing }
			r := &router{b: &Bus{opt: Options{Router: func() RouterSettings { return tt.set }}}, v: v}
			if got := r.Route(&tt.q); got != tt.want {
				t.Errorf("Route(%+v) = %q, want %q", tt.q, got, tt.want)
			}
			if moving := v.Open.Has(int(tt.q.Slot)); asked > 0 && !moving {
				t.Errorf("keys were counted %d times though the slot does not move", asked)
			}
		})
	}
}
