package e2e

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/test/forged"
	"github.com/skeindb/skein/test/proc"
)

// These tests put one process among forged peers: what those say, and when, is
// known to the message, and so is what the process must make of it. The row
// numbers are those of docs/mechanisms.md.

const busOffset = 10000

// A fifth of the slots, for five primaries.
func fifth(k int) *cluster.SlotSet {
	return forged.Slots(k*cluster.SlotCount/5, (k+1)*cluster.SlotCount/5-1)
}

// startNode starts a cluster node with a node timeout in milliseconds.
func startNode(t *testing.T, timeout int, args ...string) *proc.Node {
	t.Helper()
	return proc.StartNode(t, proc.Skein(t), append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", strconv.Itoa(timeout)}, args...)...)
}

// ownSlots makes the node the owner of a range of slots with an epoch.
func ownSlots(n *proc.Node, epoch int, slots *cluster.SlotSet) {
	for first, last := range slots.Ranges() {
		n.Must("CLUSTER", "ADDSLOTSRANGE", first, last)
	}
	n.Must("CLUSTER", "SET-CONFIG-EPOCH", epoch)
}

// meet lets forged peers introduce themselves.
func meet(n *proc.Node, peers ...*forged.Peer) {
	forged.Meet(n.Port+busOffset, peers...)
}

// line is the node's line of CLUSTER NODES about an id, as fields; nil if it does
// not know it.
func line(t *testing.T, n *proc.Node, id cluster.NodeID) []string {
	t.Helper()
	for l := range strings.Lines(n.Text("CLUSTER", "NODES")) {
		if f := strings.Fields(l); len(f) >= 8 && f[0] == id.String() {
			return f
		}
	}
	return nil
}

// flags are the flags of an id in CLUSTER NODES, "" if it is unknown.
func flags(t *testing.T, n *proc.Node, id cluster.NodeID) string {
	t.Helper()
	if f := line(t, n, id); f != nil {
		return f[2]
	}
	return ""
}

// waitFlags waits until the node shows an id with these flags.
func waitFlags(t *testing.T, n *proc.Node, id cluster.NodeID, want string) time.Duration {
	t.Helper()
	return proc.Wait(t, proc.Patience, fmt.Sprintf("%s shows %.4s as %q", n, id, want), func() string {
		if got := flags(t, n, id); got != want {
			return strconv.Quote(got)
		}
		return ""
	})
}

// logged waits for a line in the node's log that has all the words.
func logged(t *testing.T, n *proc.Node, words ...string) {
	t.Helper()
	proc.Wait(t, proc.Patience, fmt.Sprintf("log line with %q", words), func() string {
	lines:
		for l := range strings.Lines(n.Log()) {
			for _, w := range words {
				if !strings.Contains(l, w) {
					continue lines
				}
			}
			return ""
		}
		return "not yet"
	})
}

// vars are the two epochs of nodes.conf on disk.
func vars(t *testing.T, n *proc.Node) (current, lastVote uint64) {
	t.Helper()
	text, err := os.ReadFile(n.Path("nodes.conf"))
	if err != nil {
		t.Fatal(err)
	}
	i := strings.Index(string(text), "vars ")
	if i < 0 {
		t.Fatalf("no vars line in nodes.conf:\n%s", text)
	}
	if _, err := fmt.Sscanf(string(text[i:]), "vars currentEpoch %d lastVoteEpoch %d", &current, &lastVote); err != nil {
		t.Fatalf("vars line: %v", err)
	}
	return current, lastVote
}

// Rows 17, 26, 27, 33, 34: who counts as a reporter, what takes a report back,
// when suspicion becomes FAIL and who hears of it.
func TestFailureReports(t *testing.T) {
	t.Parallel()
	n := startNode(t, 2000, "--loglevel", "verbose")
	ownSlots(n, 1, fifth(0))
	b, c := forged.Primary(t, "b", 2, fifth(1)), forged.Primary(t, "c", 3, fifth(2))
	d, f := forged.Primary(t, "d", 4, fifth(3)), forged.Primary(t, "f", 5, fifth(4))
	r, e := forged.Replica(t, "r", c), forged.New(t, "e")
	voters := []*forged.Peer{b, d, f}
	meet(n, b, c, d, f, r, e)
	var quiet []*forged.Peer // five more that fall silent
	for i := range 5 {
		quiet = append(quiet, forged.New(t, "q"+strconv.Itoa(i)))
	}
	meet(n, quiet...)
	count := func(want string) {
		t.Helper()
		if got := n.Text("CLUSTER", "COUNT-FAILURE-REPORTS", c.ID.String()); got != want {
			t.Fatalf("COUNT-FAILURE-REPORTS: %s, want %s", got, want)
		}
	}
	suspect := c.Entry(cluster.FlagPrimary | cluster.FlagPFail)

	// Without own suspicion no number of reports makes FAIL.
	for _, p := range []*forged.Peer{b, d, f, r, e} {
		p.Ping(suspect)
	}
	count("3") // neither the replica nor the primary without slots
	for _, p := range voters {
		p.Ping(c.Entry(cluster.FlagPrimary))
	}
	count("0")
	logged(t, n, "reported back online", "node="+c.ID.String(), "other="+b.ID.String())
	if got := flags(t, n, c.ID); got != "master" {
		t.Fatalf("c is %q although the node hears from it", got)
	}

	for _, p := range append([]*forged.Peer{c}, quiet...) {
		p.Silence(true)
	}
	for _, p := range append([]*forged.Peer{c}, quiet...) {
		waitFlags(t, n, p.ID, "master,fail?")
	}
	mark := b.Mark()
	b.AwaitFrom(mark, "a ping about all that are suspected", func(r forged.Received) bool {
		seen := 0
		for _, g := range r.Msg.Gossip {
			if g.Flags.Has(cluster.FlagPFail) {
				seen++
			}
		}
		return r.Msg.Type == cluster.TypePing && seen == len(quiet)+1
	})
	// Five primaries with slots: two views of c are not enough, the third is.
	b.Ping(suspect)
	r.Ping(suspect)
	e.Ping(suspect)
	count("1")
	if got := flags(t, n, c.ID); got != "master,fail?" {
		t.Fatalf("with 2 of 5 views c is %q", got)
	}
	marks := map[*forged.Peer]int{b: b.Mark(), d: d.Mark(), f: f.Mark(), r: r.Mark(), e: e.Mark()}
	d.Ping(suspect)
	if got := flags(t, n, c.ID); got != "master,fail" {
		t.Fatalf("with 3 of 5 views c is %q", got)
	}
	for p, mark := range marks {
		if got := p.AwaitType(mark, cluster.TypeFail); got.Msg.Fail != c.ID {
			t.Errorf("FAIL about %v", got.Msg.Fail)
		}
	}
	conf, err := os.ReadFile(n.Path("nodes.conf"))
	if err != nil || !strings.Contains(string(conf), fmt.Sprintf("%s 127.0.0.1:%d@%d,,", c.ID, c.Port, c.Bus)) || !strings.Contains(string(conf), " master,fail ") {
		t.Errorf("FAIL is not in nodes.conf: %v\n%s", err, conf)
	}
}

// Row 24: the number of gossip entries for tables of several sizes. The nodes
// gossiped about all lead to one peer that takes connections and says nothing.
func TestGossipCount(t *testing.T) {
	t.Parallel()
	n := startNode(t, 60000)
	b, sink := forged.New(t, "b"), forged.New(t, "sink")
	sink.Silence(true)
	meet(n, b)
	known := 2
	for _, size := range []int{4, 30, 100, 1000} {
		var entries []cluster.GossipEntry
		for ; known < size; known++ {
			e := sink.Entry(cluster.FlagPrimary)
			e.Node = forged.ID(fmt.Sprintf("%04d", known))
			entries = append(entries, e)
		}
		b.Ping(entries...)
		proc.Wait(t, proc.Patience, "links to all", func() string {
			if got := sink.Conns(); got < size-2 {
				return fmt.Sprintf("%d of %d", got, size-2)
			}
			return ""
		})
		want := min(max(3, size/10), size-2)
		most := 0
		for range 20 {
			k := len(b.Ping().Gossip)
			if k > want {
				t.Errorf("N = %d: %d entries, want at most %d", size, k, want)
			}
			most = max(most, k)
		}
		if most != want {
			t.Errorf("N = %d: %d entries at most, want %d", size, most, want)
		}
	}
}

// Rows 20, 21, 22: a silent peer is suspected T after the ping that it did not
// answer; one that sends anything is not; a link that swallows everything is
// replaced after T/2 and its node never suspected.
func TestSuspicion(t *testing.T) {
	t.Parallel()
	const T = 2000 * time.Millisecond
	n := startNode(t, int(T.Milliseconds()))
	x, y, z := forged.New(t, "x"), forged.New(t, "y"), forged.New(t, "z")
	meet(n, x, y, z)
	meetTime := time.Now()
	proc.Wait(t, proc.Patience, "links older than T", func() string { // younger ones are not replaced
		if time.Since(meetTime) < T+300*time.Millisecond {
			return "not yet"
		}
		return ""
	})
	x.Silence(true)
	y.Silence(true)
	z.Deafen()
	deafAt, conns := time.Now(), z.Conns()
	var suspectedAt, reconnectedAt time.Time
	var ping int64
	for end := time.Now().Add(3 * T); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		y.Send(&cluster.Message{Type: cluster.TypePublish, Sender: y.ID, Port: uint16(y.Port), BusPort: uint16(y.Bus), Flags: cluster.FlagPrimary | cluster.FlagMyself,
			Pub: &cluster.Publish{Channel: []byte("c"), Payload: []byte("m")}})
		if f := line(t, n, x.ID); suspectedAt.IsZero() && f[2] == "master,fail?" {
			suspectedAt = time.Now()
			ping, _ = strconv.ParseInt(f[4], 10, 64)
		}
		for _, p := range []*forged.Peer{y, z} {
			if got := flags(t, n, p.ID); got != "master" {
				t.Fatalf("%s is %q after %v", p, got, time.Since(deafAt))
			}
		}
		if reconnectedAt.IsZero() && z.Conns() > conns {
			reconnectedAt = time.Now()
		}
	}
	if suspectedAt.IsZero() || ping == 0 {
		t.Fatalf("x is not suspected: %v", line(t, n, x.ID))
	}
	// One tick, and what a busy machine takes to answer CLUSTER NODES.
	if took := suspectedAt.Sub(time.UnixMilli(ping)); took < T || took > T+500*time.Millisecond {
		t.Errorf("suspected %v after the ping, want %v", took, T)
	}
	// The ping that is not answered leaves T/2 after the last pong at the latest.
	if reconnectedAt.IsZero() {
		t.Errorf("the black hole was never replaced")
	} else if took := reconnectedAt.Sub(deafAt); took < T/2 || took > T+500*time.Millisecond {
		t.Errorf("new connection %v after the old one fell silent, want %v to %v", took, T/2, T)
	}
}

// Rows 54 to 61: every reason to refuse a vote, each named in the log; what is
// granted is on disk before the ACK is on the wire.
func TestVoting(t *testing.T) {
	t.Parallel()
	n := startNode(t, 5000, "--loglevel", "verbose")
	ownSlots(n, 1, fifth(0))
	b, c := forged.Primary(t, "b", 2, fifth(1)), forged.Primary(t, "c", 3, fifth(2))
	r, s, e := forged.Replica(t, "r", c), forged.Replica(t, "s", c), forged.New(t, "e")
	u := forged.New(t, "u")
	u.Follow(forged.ID("unknown"), forged.ID("5unknown"), 3, fifth(2))
	meet(n, b, c, r, s, e, u)
	epoch := uint64(10)
	// ask sends a request and reports whether it was granted.
	ask := func(p *forged.Peer, epoch uint64, edit func(m *cluster.Message)) bool {
		t.Helper()
		m := p.Request(epoch)
		if edit != nil {
			edit(m)
		}
		mark, before := p.Mark(), acksSent(t, n)
		p.Send(m)
		p.Ping()
		if acksSent(t, n) == before {
			return false
		}
		ack := p.AwaitType(mark, cluster.TypeAuthAck)
		if ack.Conn == 0 || ack.Msg.CurrentEpoch != epoch {
			t.Errorf("ACK on connection %d with epoch %d, want the node's own, %d", ack.Conn, ack.Msg.CurrentEpoch, epoch)
		}
		if _, voted := vars(t, n); voted != epoch {
			t.Errorf("nodes.conf has lastVoteEpoch %d after the ACK of %d", voted, epoch)
		}
		return true
	}
	refused := func(p *forged.Peer, words ...string) {
		t.Helper()
		logged(t, n, append(words, "vote refused: ", "node="+p.ID.String())...)
	}

	if ask(r, epoch, nil) {
		t.Errorf("vote although the primary is up")
	}
	refused(r, "its primary is up")
	epoch++
	if !ask(r, epoch, func(m *cluster.Message) { m.MFlags |= cluster.MFlagForceAck }) {
		t.Errorf("no vote for a forced request")
	}
	b.Send(b.Fail(c.ID))
	b.Ping()
	waitFlags(t, n, c.ID, "master,fail")
	if ask(r, epoch-1, nil) {
		t.Errorf("vote in an old epoch")
	}
	refused(r, "its epoch is older than ours")
	epoch++
	if !ask(s, epoch, nil) {
		t.Errorf("no vote for the first candidate")
	}
	if ask(r, epoch, nil) {
		t.Errorf("two votes in one epoch")
	}
	refused(r, "already voted in this epoch")
	epoch++
	if ask(e, epoch, nil) {
		t.Errorf("vote for a primary")
	}
	refused(e, "it is a primary")
	if ask(u, epoch, nil) {
		t.Errorf("vote for a replica whose primary is unknown")
	}
	refused(u, "its primary is unknown")
	mark := r.Mark()
	stale := forged.Slots(6000, 6000) // b's
	if ask(r, epoch, func(m *cluster.Message) { m.ConfigEpoch, m.Slots = 1, stale }) {
		t.Errorf("vote for a stale claim")
	}
	refused(r, "it claims a slot that has a newer owner", "slot=6000", "epoch=2", "requestEpoch=1", "other="+b.ID.String())
	if up := r.AwaitType(mark, cluster.TypeUpdate).Msg.Update; up.Node != b.ID || up.ConfigEpoch != 2 {
		t.Errorf("UPDATE about %v", up.Node)
	}
	// The same primary twice within 2T: Valkey's rule is the default.
	if !ask(r, epoch, nil) {
		t.Errorf("no second vote about a primary with cluster-vote-spacing no")
	}
	n.Must("CONFIG", "SET", "cluster-vote-spacing", "yes")
	epoch++
	if ask(s, epoch, nil) {
		t.Errorf("second vote about a primary within 2T with cluster-vote-spacing yes")
	}
	refused(s, "voted about this primary not long ago")

	// Neither a primary without slots nor a replica ever votes.
	n = startNode(t, 5000)
	meet(n, b, c, r, s)
	for _, role := range []string{"master", "slave"} {
		if role == "slave" {
			n.Must("CLUSTER", "REPLICATE", b.ID.String())
		}
		b.Send(b.Fail(c.ID))
		b.Ping()
		waitFlags(t, n, c.ID, "master,fail")
		if me := n.Myself(); !me.Is(role) {
			t.Fatalf("the node is %v", me.Flags)
		}
		epoch++
		if ask(r, epoch, nil) {
			t.Errorf("a %s without slots has voted", role)
		}
	}
}

// acksSent is how many votes the node says it has given.
func acksSent(t *testing.T, n *proc.Node) string {
	t.Helper()
	info, err := n.ClusterInfo()
	if err != nil {
		t.Fatal(err)
	}
	return info["cluster_stats_messages_auth-ack_sent"]
}

// Rows 65, 70: what headers and UPDATE messages change, and what they do not.
func TestForgedClaims(t *testing.T) {
	t.Parallel()
	n := startNode(t, 5000, "--loglevel", "verbose")
	ownSlots(n, 1, fifth(0))
	b, c := forged.Primary(t, "b", 2, fifth(1)), forged.Primary(t, "c", 3, fifth(2))
	r := forged.Replica(t, "r", c)
	meet(n, b, c, r)

	// b claims what it lost long ago, to c.
	mark := b.Mark()
	claim := b.Message(cluster.TypePing)
	claim.Slots = forged.Slots(cluster.SlotCount/5, 2*cluster.SlotCount/5+99)
	b.Ask(claim)
	up := b.AwaitType(mark, cluster.TypeUpdate).Msg.Update
	if up.Node != c.ID || up.ConfigEpoch != 3 || up.Slots.Len() != fifth(2).Len() {
		t.Errorf("UPDATE about %v, epoch %d, %d slots", up.Node, up.ConfigEpoch, up.Slots.Len())
	}
	if got := line(t, n, c.ID)[8]; got != "6553-9829" {
		t.Errorf("c has slots %s", got)
	}
	self := forged.ID("") // of the node
	copy(self[:], n.Text("CLUSTER", "MYID"))
	m := b.Message(cluster.TypeUpdate)
	m.Update = &cluster.Update{ConfigEpoch: 99, Node: self, Slots: forged.Slots(0, 0)}
	b.Send(m)
	b.Ping()
	logged(t, n, "UPDATE about this node ignored")
	if me := line(t, n, self); me[8] != "0-3275" || me[6] != "1" {
		t.Errorf("the node obeyed an UPDATE about itself: %v", me)
	}

	// r says that it is a primary, with c's slots and a newer epoch.
	r.Set(func(h *cluster.Message) {
		h.ReplicaOf = cluster.NodeID{}
		h.Flags = h.Flags&^cluster.FlagReplica | cluster.FlagPrimary
		h.ConfigEpoch = 20
	})
	r.Ping()
	if got := line(t, n, r.ID); got[2] != "master" || got[3] != "-" || len(got) != 9 || got[8] != "6553-9829" {
		t.Errorf("r after its promotion: %v", got)
	}
	if got := line(t, n, c.ID); len(got) != 8 {
		t.Errorf("c still has slots: %v", got)
	}
}

// Row 30: a node that failed is found again at the address that a member gossips;
// rows 31 and 32: who is added to the table, and when not.
func TestGossipAddsAndMoves(t *testing.T) {
	t.Parallel()
	n := startNode(t, 1000, "--cluster-blacklist-ttl", "2")
	ownSlots(n, 1, fifth(0))
	b, x := forged.Primary(t, "b", 2, fifth(1)), forged.New(t, "x")
	meet(n, b, x)
	x.Close()
	waitFlags(t, n, x.ID, "master,fail?")
	moved := forged.New(t, "x")
	b.Ping(moved.Entry(cluster.FlagPrimary))
	waitFlags(t, n, x.ID, "master")
	if got, want := line(t, n, x.ID)[1], fmt.Sprintf("127.0.0.1:%d@%d", moved.Port, moved.Bus); got != want {
		t.Errorf("address %s, want %s", got, want)
	}

	// A stranger is answered, and what it says is ignored; a member's word adds.
	y, stranger := forged.New(t, "y"), forged.New(t, "w")
	stranger.Dial(n.Port + busOffset)
	stranger.Ping(y.Entry(cluster.FlagPrimary))
	for _, p := range []*forged.Peer{y, stranger} {
		if got := flags(t, n, p.ID); got != "" {
			t.Errorf("%s is in the table by a stranger's word: %q", p, got)
		}
	}
	b.Ping(y.Entry(cluster.FlagPrimary))
	waitFlags(t, n, y.ID, "master")
	y.AwaitType(0, cluster.TypePing)

	// A member that never heard of FORGET goes on talking of y.
	forgot := time.Now()
	n.Must("CLUSTER", "FORGET", y.ID.String())
	proc.Wait(t, proc.Patience, "y is known again", func() string {
		b.Ping(y.Entry(cluster.FlagPrimary))
		if flags(t, n, y.ID) == "" {
			return "not yet"
		}
		return ""
	})
	// Not at once, and not after the minute of the default, as which Wait is shorter.
	if back := time.Since(forgot); back < 1900*time.Millisecond {
		t.Errorf("added again %v after FORGET, want cluster-blacklist-ttl, 2 s", back)
	}
}

// Row 14: a link that breaks is made anew within a tick, from bind-source-addr.
func TestReconnect(t *testing.T) {
	t.Parallel()
	n := startNode(t, 5000, "--bind-source-addr", "127.0.0.2")
	x := forged.New(t, "x")
	meet(n, x)
	best := time.Hour // a busy machine makes some longer
	for range 3 {
		conns := x.Conns()
		x.Cut()
		took := proc.Wait(t, proc.Patience, "a new connection", func() string {
			if x.Conns() == conns {
				return "none"
			}
			return ""
		})
		best = min(best, took)
		mark := x.Mark()
		x.AwaitFrom(mark-1, "PING on it", func(r forged.Received) bool { return r.Conn == conns+1 && r.Msg.Type == cluster.TypePing })
	}
	if best > 300*time.Millisecond { // three ticks
		t.Errorf("connected again after %v at best", best)
	}
	for i := 1; i <= x.Conns(); i++ {
		if got := x.Remote(i); !strings.HasPrefix(got, "127.0.0.2:") {
			t.Errorf("connection %d comes from %s", i, got)
		}
	}
	// The same by DEBUG and as CLUSTER LINKS shows it.
	created := func() (at int64) {
		for _, l := range n.Must("CLUSTER", "LINKS").([]any) {
			f := l.([]any)
			if f[1] == "to" && f[3] == x.ID.String() {
				at = f[5].(int64)
			}
		}
		return at
	}
	least := int64(math.MaxInt64)
	for range 3 {
		old := created()
		killed := time.Now()
		n.Must("DEBUG", "CLUSTERLINK", "KILL", "to", x.ID.String())
		proc.Wait(t, proc.Patience, "a new link in CLUSTER LINKS", func() string {
			if at := created(); at == 0 || at == old {
				return "none"
			}
			return ""
		})
		least = min(least, created()-killed.UnixMilli())
	}
	if least > 200 {
		t.Errorf("link created %d ms after the old one was killed, at best", least)
	}
}

// Row 12: a handshake with nobody ends after max(T, 1 s).
func TestMeetDeadPort(t *testing.T) {
	t.Parallel()
	for _, T := range []int{200, 2000} {
		n := startNode(t, T)
		start := time.Now()
		n.Must("CLUSTER", "MEET", "127.0.0.1", "1", "1")
		if text := n.Text("CLUSTER", "NODES"); !strings.Contains(text, " handshake ") {
			t.Errorf("no handshake in\n%s", text)
		}
		proc.Wait(t, proc.Patience, "the end of the handshake", func() string {
			if info, err := n.ClusterInfo(); err != nil || info["cluster_known_nodes"] != "1" {
				return fmt.Sprint(info["cluster_known_nodes"], err)
			}
			return ""
		})
		want := max(time.Duration(T)*time.Millisecond, time.Second)
		if took := time.Since(start); took < want-20*time.Millisecond || took > want+5*time.Second {
			t.Errorf("T = %d ms: handshake ended after %v, want %v", T, took, want)
		}
	}
}

// Rows 71, 72: a replica asks its primary to pause, and never goes on. The
// primary pings it at every tick with PAUSED and the offset at which writes
// stopped; after cluster-manual-failover-timeout it goes on by itself.
func TestManualFailoverAborts(t *testing.T) {
	t.Parallel()
	n := startNode(t, 15000) // the timeout is the default, 5 s
	ownSlots(n, 1, forged.Slots(0, cluster.SlotCount-1))
	n.WaitSet("k", "0")
	r := forged.New(t, "r")
	meet(n, r)
	var self, shard cluster.NodeID
	copy(self[:], n.Text("CLUSTER", "MYID"))
	copy(shard[:], n.Text("CLUSTER", "MYSHARDID"))
	r.Follow(self, shard, 1, forged.Slots(0, cluster.SlotCount-1))
	r.Ping()
	waitFlags(t, n, r.ID, "slave")

	start, mark := time.Now(), r.Mark()
	r.Send(r.Message(cluster.TypeMFStart))
	r.AwaitFrom(mark, "a ping with PAUSED", func(m forged.Received) bool { return m.Msg.MFlags&cluster.MFlagPaused != 0 })
	offset := n.InfoInt("replication", "master_repl_offset")
	if _, err := n.Do("SET", "k", "1"); err != nil { // waits
		t.Fatal(err)
	}
	if took := time.Since(start); took < 4900*time.Millisecond || took > 9*time.Second {
		t.Errorf("a write waited until %v after MFSTART, want 5 s, and not twice that", took)
	}
	paused, pings := 0, 0
	for _, m := range r.Since(mark) {
		if m.Msg.MFlags&cluster.MFlagPaused == 0 {
			continue
		}
		paused++
		if m.Msg.Type == cluster.TypePing {
			pings++
		}
		if m.Msg.Offset != uint64(offset) {
			t.Errorf("%s with PAUSED and offset %d, want %d", m.Msg.Type, m.Msg.Offset, offset)
		}
	}
	if pings < 25 || pings > 60 {
		t.Errorf("%d pings with PAUSED in 5 s, want one a tick", pings)
	}
	mark = r.Mark()
	if m := r.Ping(); m.MFlags&cluster.MFlagPaused != 0 {
		t.Errorf("PAUSED after the end")
	}
}

// A peer that does not read is cut off when more waits for it than
// cluster-link-sendbuf-limit; the others get everything.
func TestLinkSendLimit(t *testing.T) {
	t.Parallel()
	n := startNode(t, 60000, "--cluster-link-sendbuf-limit", "1mb")
	x, y := forged.New(t, "x"), forged.New(t, "y")
	meet(n, x, y)
	conns, mark := x.Conns(), y.Mark()
	resume := x.Stall()
	message := strings.Repeat("m", 100_000)
	sent := 0
	proc.Wait(t, proc.Patience, "the limit is hit", func() string {
		n.Must("PUBLISH", "channel", message)
		sent++
		info, err := n.ClusterInfo()
		if err != nil || info["total_cluster_links_buffer_limit_exceeded"] == "0" {
			return fmt.Sprintf("%d messages, %v", sent, err)
		}
		return ""
	})
	resume()
	proc.Wait(t, proc.Patience, "a new connection to x", func() string {
		if x.Conns() == conns {
			return "none"
		}
		return ""
	})
	proc.Wait(t, proc.Patience, "y gets all", func() string {
		if got := y.Count(mark, cluster.TypePublish); got != sent {
			return fmt.Sprintf("%d of %d", got, sent)
		}
		return ""
	})
	if y.Conns() != 1 {
		t.Errorf("y was connected to %d times", y.Conns())
	}
}
