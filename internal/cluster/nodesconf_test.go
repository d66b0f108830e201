package cluster

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const (
	idA = "07c37dfeb235213a872192d90877d0cd55635b91"
	idB = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1"
	idC = "292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f"
)

func mustID(s string) NodeID {
	id, ok := ParseID(s)
	if !ok {
		panic(s)
	}
	return id
}

// The text of a small cluster, each part of the grammar once.
func TestNodesConfText(t *testing.T) {
	c := &NodesConf{CurrentEpoch: 7, LastVoteEpoch: 6, Nodes: []ConfNode{
		{ID: mustID(idA), Addr: Addr{"127.0.0.1", 7000, 0, 17000}, Flags: FlagMyself | FlagPrimary | FlagLightPubSub,
			ShardID: mustID(idC), ConfigEpoch: 3, Connected: true, Slots: ranges(0, 5460, 5462, 5462, 16383, 16383),
			Migrating: []SlotMark{{10, mustID(idB)}}, Importing: []SlotMark{{10, mustID(idC)}, {9000, mustID(idB)}}},
		{ID: mustID(idB), Addr: Addr{"fe80::1", 7001, 7101, 17001}, Hostname: "host-b", Nodename: "b one",
			ClientIPv4: "10.0.0.1", ClientIPv6: "::2", ShardID: mustID(idC), Flags: FlagReplica | FlagPFail | FlagNoFailover,
			Primary: mustID(idA), PingSent: 1700000000001, PongReceived: 1700000000002, ConfigEpoch: 3},
		{ID: mustID(idC)},
	}}
	want := idA + " 127.0.0.1:7000@17000,,tls-port=0,shard-id=" + idC + " myself,master - 0 0 3 connected" +
		" 0-5460 5462 16383 [10->-" + idB + "] [9000-<-" + idB + "]\n" +
		idB + " fe80::1:7001@17001,host-b,client-ipv6=::2,client-ipv4=10.0.0.1,tls-port=7101,shard-id=" + idC +
		" slave,fail?,nofailover " + idA + " 1700000000001 1700000000002 3 disconnected\n" +
		idC + " :0@0,,tls-port=0 noflags - 0 0 0 disconnected\n" +
		"vars currentEpoch 7 lastVoteEpoch 6\n"
	if got := string(c.Encode()); got != want {
		t.Errorf("Encode:\n%s\nwant:\n%s", got, want)
	}
	c.ClusterID, c.Nodes[1].Hearsay, c.Nodes[2].Hearsay = 9, true, true
	want = strings.TrimSuffix(want, "\n") + " clusterId 9 hearsay " + idB + "," + idC + "\n"
	if got := string(c.Encode()); got != want {
		t.Errorf("Encode:\n%s\nwant:\n%s", got, want)
	}
	back, skipped, err := ParseNodesConf([]byte(want), false)
	if err != nil || len(skipped) > 0 || back.Nodes[0].Hearsay || !back.Nodes[1].Hearsay || !back.Nodes[2].Hearsay {
		t.Errorf("read back: %+v, %v, %v", back, skipped, err)
	}
}

// Files as older and other servers write them, and what they mean.
func TestParseNodesConf(t *testing.T) {
	const me = idA + " :0@0 myself,master - 0 0 0 connected\n"
	node := func(c *NodesConf, id string) ConfNode {
		for _, n := range c.Nodes {
			if n.ID == mustID(id) {
				return n
			}
		}
		return ConfNode{}
	}
	for _, tt := range []struct {
		name, text string
		tls        bool
		got        func(c *NodesConf) any
		want       any
	}{
		{"address without bus port", idA + " 1.2.3.4:7000 myself,master - 0 0 0 connected", false,
			func(c *NodesConf) any { return c.Nodes[0].Addr }, Addr{"1.2.3.4", 7000, 0, 17000}},
		{"an old file of a TLS cluster", idA + " 1.2.3.4:7000@17000 myself,master - 0 0 0 connected", true,
			func(c *NodesConf) any { return c.Nodes[0].Addr }, Addr{"1.2.3.4", 0, 7000, 17000}},
		{"a new file of a TLS cluster", idA + " 1.2.3.4:0@17000,,tls-port=7000 myself,master - 0 0 0 connected", true,
			func(c *NodesConf) any { return c.Nodes[0].Addr }, Addr{"1.2.3.4", 0, 7000, 17000}},
		{"tcp-port overrides", idA + " 1.2.3.4:7000@17000,,tcp-port=7005 myself,master - 0 0 0 connected", false,
			func(c *NodesConf) any { return c.Nodes[0].Addr }, Addr{"1.2.3.4", 7005, 0, 17000}},
		{"bare IPv6", idA + " ::1:7000@17000 myself,master - 0 0 0 connected", false,
			func(c *NodesConf) any { return c.Nodes[0].Addr.IP }, "::1"},
		{"hostname of Redis 7.0", idA + " 1.2.3.4:7000@17000,host.example myself,master - 0 0 0 connected", false,
			func(c *NodesConf) any { return c.Nodes[0].Hostname }, "host.example"},
		{"flags by their new names", me + idB + " :0@0 replica,fail " + idA + " 0 0 0 connected", false,
			func(c *NodesConf) any { return node(c, idB).Flags }, FlagReplica | FlagFail},
		{"no flags", me + idB + " :0@0 noflags - 0 0 0 connected", false,
			func(c *NodesConf) any { return node(c, idB).Flags }, Flags(0)},
		{"padding of Redis 7.0", me + "vars currentEpoch 5 lastVoteEpoch 4\n\n\n\n", false,
			func(c *NodesConf) any { return [2]uint64{c.CurrentEpoch, c.LastVoteEpoch} }, [2]uint64{5, 4}},
		{"no line end", me + "vars currentEpoch 5 lastVoteEpoch 4", false,
			func(c *NodesConf) any { return c.CurrentEpoch }, uint64(5)},
		{"quoted fields", strings.Replace(me, "-", `"\x2d"`, 1), false,
			func(c *NodesConf) any { return c.Nodes[0].Primary }, NodeID{}},
		{"a slot of two lines is the first's", strings.Replace(me, "connected", "connected 5-7", 1) +
			idB + " :0@0 master - 0 0 0 connected 7-8", false,
			func(c *NodesConf) any { return [2]int{node(c, idA).Slots.Len(), node(c, idB).Slots.Len()} }, [2]int{3, 1}},
		{"a node's second line fills it in", me + idB + " 1.1.1.1:1@1 master - 0 0 0 connected 7\n" +
			idB + " 2.2.2.2:2@2 master - 0 0 4 connected 8", false,
			func(c *NodesConf) any {
				n := node(c, idB)
				return fmt.Sprint(n.Addr, n.ConfigEpoch, n.Slots.Len(), len(c.Nodes))
			}, "{2.2.2.2 2 0 2} 4 2 2"},
		{"markers", strings.Replace(me, "connected", "connected 5 [5->-"+idB+"] [3-<-"+idC+"]", 1), false,
			func(c *NodesConf) any { return fmt.Sprint(c.Nodes[0].Migrating, c.Nodes[0].Importing) },
			fmt.Sprint([]SlotMark{{5, mustID(idB)}}, []SlotMark{{3, mustID(idC)}})},
	} {
		c, skipped, err := ParseNodesConf([]byte(tt.text), tt.tls)
		if err != nil || len(skipped) > 0 {
			t.Errorf("%s: %v, skipped %q", tt.name, err, skipped)
		} else if got := tt.got(c); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if _, skipped, err := ParseNodesConf([]byte(me+"vars newVar x currentEpoch 1"), false); err != nil || !reflect.DeepEqual(skipped, []string{"newVar"}) {
		t.Errorf("an unknown variable: skipped %q, %v", skipped, err)
	}
	if c, _, err := ParseNodesConf(nil, false); c != nil || err != nil {
		t.Errorf("an empty file: %v, %v, want nothing", c, err)
	}
}

// Each row is a fatal fault; the error names the line it is in.
func TestParseNodesConfRefuses(t *testing.T) {
	const me = idA + " :0@0 myself,master - 0 0 0 connected"
	const other = me + "\n" + idB + " 1.1.1.1:1@1 master - 0 0 0 connected"
	for _, tt := range []struct{ name, text, want string }{
		{"only blank lines", "\n\n", "no line is flagged myself"},
		{"no myself", strings.Replace(me, "myself,", "", 1), "no line is flagged myself"},
		{"two myself", me + "\n" + idB + " :0@0 myself,master - 0 0 0 connected", "line 2: a second node"},
		{"too few fields", me + "\n" + idB + " :0@0 master - 0 0 0", "line 2: 7 fields"},
		{"id of 39 characters", me[1:], "line 1: invalid node id"},
		{"id in upper case", strings.ToUpper(idA) + me[40:], "line 1: invalid node id"},
		{"invalid primary", me + "\n" + idB + " :0@0 slave 1234 0 0 0 connected", "line 2: invalid primary id"},
		{"unknown flag", strings.Replace(other, "myself,master", "myself,leader", 1), "line 1: unknown flag \"leader\""},
		{"no port", strings.Replace(other, "1.1.1.1:1@1", "1.1.1.1", 1), "line 2: address \"1.1.1.1\" without port"},
		{"bad port", strings.Replace(other, "1.1.1.1:1@1", "1.1.1.1:x@1", 1), "line 2: port"},
		{"bad bus port", strings.Replace(other, "1.1.1.1:1@1", "1.1.1.1:1@65536", 1), "line 2: bus port"},
		{"bus port beyond 65535", strings.Replace(other, "1.1.1.1:1@1", "1.1.1.1:55536", 1), "line 2: bus port"},
		{"unknown aux", strings.Replace(other, "@1 ", "@1,,zone=1 ", 1), "line 2: unknown address field"},
		{"aux without =", strings.Replace(other, "@1 ", "@1,,zone ", 1), "line 2: malformed address field"},
		{"aux with a forbidden character", strings.Replace(other, "@1 ", "@1,,nodename=a*b ", 1), "line 2: malformed address field"},
		{"hostname with a forbidden character", strings.Replace(other, "@1 ", "@1,a;b ", 1), "line 2: invalid hostname"},
		{"client address", strings.Replace(other, "@1 ", "@1,,client-ipv4=secret ", 1), "line 2: client-ipv4"},
		{"shard id", strings.Replace(other, "@1 ", "@1,,shard-id=12 ", 1), "line 2: invalid shard id"},
		{"slot out of range", other + " 16384", "line 2: malformed slots"},
		{"negative slot", other + " -1", "line 2: malformed slots"},
		{"descending range", other + " 9-8", "line 2: malformed slots"},
		{"no number", other + " x", "line 2: malformed slots"},
		{"marker of a slot out of range", other + " [16384->-" + idB + "]", "line 2: malformed slot marker"},
		{"marker without bracket", other + " [1->-" + idB, "line 2: malformed slot marker"},
		{"marker with another arrow", other + " [1->>" + idB + "]", "line 2: malformed slot marker"},
		{"epoch", strings.Replace(other, "0 0 0", "0 0 z", 1), "line 1: configEpoch"},
		{"time", strings.Replace(other, "0 0 0", "-3 0 0", 1), "line 1: time"},
		{"vars without value", me + "\nvars currentEpoch", "line 2: variable without value"},
		{"vars with a bad value", me + "\nvars currentEpoch -1", "line 2: currentEpoch"},
		{"open quote", me + "\nvars \"currentEpoch 1", "line 2: unbalanced quotes"},
		{"text after a quote", me + "\nvars \"currentEpoch\"x 1", "line 2: text after closing quote"},
	} {
		c, _, err := ParseNodesConf([]byte(tt.text), false)
		if c != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v, want an error with %q", tt.name, c, err, tt.want)
		}
	}
}

// randomConf draws a configuration the grammar can hold completely.
func randomConf(r *rand.Rand) *NodesConf {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	c := &NodesConf{CurrentEpoch: r.Uint64(), LastVoteEpoch: r.Uint64()}
	ids := make([]NodeID, 1+r.IntN(8))
	for i := range ids {
		for k := range ids[i] {
			ids[i][k] = "0123456789abcdef"[r.IntN(16)]
		}
	}
	owner := make([]int, SlotCount)
	for s, to := 0, 0; s < SlotCount; s++ {
		if r.IntN(200) == 0 {
			to = r.IntN(len(ids) + 1)
		}
		owner[s] = to
	}
	me := r.IntN(len(ids))
	for i, id := range ids {
		n := ConfNode{
			ID:       id,
			Addr:     Addr{pick("", "10.0.0.1", "fe80::7"), uint16(r.Uint32()), uint16(r.Uint32()), uint16(r.Uint32())},
			Hostname: pick("", "host-7.example"), Nodename: pick("", "n:1", "ünï/x.y"),
			ClientIPv4: pick("", "1.2.3.4"), ClientIPv6: pick("", "::1"),
			Flags:    Flags(r.IntN(4))<<2&^FlagMyself | []Flags{FlagPrimary, FlagReplica, 0}[r.IntN(3)] | Flags(r.IntN(2))*FlagNoFailover,
			PingSent: Millis(r.Int64()), PongReceived: Millis(r.Int64()), ConfigEpoch: r.Uint64(), Connected: r.IntN(2) == 0,
		}
		if r.IntN(2) == 0 {
			n.ShardID = ids[r.IntN(len(ids))]
		}
		if r.IntN(2) == 0 {
			n.Primary = ids[r.IntN(len(ids))]
		}
		for s, to := range owner {
			if to == i {
				if n.Slots == nil {
					n.Slots = new(SlotSet)
				}
				n.Slots.Add(s)
			}
		}
		if i == me {
			n.Flags |= FlagMyself
			for s := r.IntN(4000); s < SlotCount; s += 1 + r.IntN(4000) {
				list := &n.Migrating
				if r.IntN(2) == 0 {
					list = &n.Importing
				}
				*list = append(*list, SlotMark{uint16(s), ids[r.IntN(len(ids))]})
			}
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c
}

// load(save(state)) = state, and saving again gives the same text.
func TestNodesConfRoundTrip(t *testing.T) {
	for seed := range uint64(300) {
		c := randomConf(rand.New(rand.NewPCG(seed, 1)))
		text := c.Encode()
		back, skipped, err := ParseNodesConf(text, false)
		if err != nil || len(skipped) > 0 {
			t.Fatalf("seed %d: %v, skipped %q in\n%s", seed, err, skipped, text)
		}
		if !reflect.DeepEqual(back, c) {
			t.Fatalf("seed %d: read back\n%s\nwant\n%s", seed, back.Encode(), text)
		}
	}
}

// What peers sent may not make the file unreadable.
func TestNodesConfLeavesOutWhatCannotBeRead(t *testing.T) {
	for _, bad := range []string{"a b", "a\nb", "a,b", "a=b", `"`, "'", "a\x00b", "a\x7fb", "x{y}", "a@b", "a\\b", "~"} {
		c := &NodesConf{Nodes: []ConfNode{{ID: mustID(idA), Flags: FlagMyself, Addr: Addr{IP: bad}, Hostname: bad,
			Nodename: bad, ClientIPv4: bad, ClientIPv6: bad}}}
		back, _, err := ParseNodesConf(c.Encode(), false)
		if err != nil {
			t.Errorf("%q: %v", bad, err)
		} else if n := back.Nodes[0]; n.Addr.IP+n.Hostname+n.Nodename+n.ClientIPv4+n.ClientIPv6 != "" {
			t.Errorf("%q was written", bad)
		}
	}
}

// Files of real servers load, and mean the same after we wrote them again.
func TestParseRealNodesConf(t *testing.T) {
	files, _ := filepath.Glob("testdata/nodesconf/*.conf")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c, skipped, err := ParseNodesConf(text, false)
		if err != nil || len(skipped) > 0 {
			t.Errorf("%s: %v, skipped %q", name, err, skipped)
			continue
		}
		if len(c.Nodes) != bytes.Count(bytes.TrimRight(text, "\n"), []byte("\n")) {
			t.Errorf("%s: %d nodes", name, len(c.Nodes))
		}
		back, _, err := ParseNodesConf(c.Encode(), false)
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%s: written again: %v\n%s", name, err, c.Encode())
		}
	}
}

// Whatever loads can be saved and loads as the same again; a machine starts from
// it, consistent and with no epoch less than the file's, and what that machine
// saves loads, too (invariants 3, 24).
func FuzzParseNodesConf(f *testing.F) {
	files, _ := filepath.Glob("testdata/nodesconf/*.conf")
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Add(randomConf(rand.New(rand.NewPCG(1, 1))).Encode())
	f.Add([]byte(idA + " 1.2.3.4:7000@17000,h,nodename='x' myself,master - 0 0 0 connected 1-2 [1->-" + idB + "]\nvars a b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, _, err := ParseNodesConf(text, false)
		if err != nil || c == nil {
			return
		}
		again := c.Encode()
		back, _, err := ParseNodesConf(again, false)
		if err != nil {
			t.Fatalf("%v in our own\n%s", err, again)
		}
		if text := back.Encode(); !bytes.Equal(text, again) {
			t.Fatalf("saved\n%s\nloaded and saved\n%s", again, text)
		}
		m := New(DefaultSettings(), rand.New(rand.NewPCG(1, 2)), c, Times{Mono: 1000, Wall: 1_700_000_000_000})
		if err := m.CheckInvariants(); err != nil {
			t.Fatalf("%v after\n%s", err, text)
		}
		own := m.Conf()
		if own.CurrentEpoch < c.CurrentEpoch || own.LastVoteEpoch < c.LastVoteEpoch {
			t.Fatalf("epochs %d/%d, the file has %d/%d", own.CurrentEpoch, own.LastVoteEpoch, c.CurrentEpoch, c.LastVoteEpoch)
		}
		saved := own.Encode()
		back, skipped, err := ParseNodesConf(saved, false)
		if err != nil || len(skipped) > 0 {
			t.Fatalf("a machine's own file: %v, skipped %q\n%s", err, skipped, saved)
		}
		m = New(DefaultSettings(), rand.New(rand.NewPCG(1, 3)), back, Times{Mono: 1000, Wall: 1_700_000_000_000})
		if again := m.Conf().Encode(); !bytes.Equal(again, saved) {
			t.Fatalf("saved\n%s\nstarted from it and saved\n%s", saved, again)
		}
	})
}
