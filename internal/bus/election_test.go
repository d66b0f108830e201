package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/disk/disktest"
	"github.com/skeindb/skein/test/forged"
)

// Elections of a node on real sockets among forged peers. The row numbers are
// those of docs/mechanisms.md.

// quarter of the slots.
func quarter(k int) *cluster.SlotSet {
	return forged.Slots(k*cluster.SlotCount/4, (k+1)*cluster.SlotCount/4-1)
}

// tuned changes the machine's settings.
func tuned(o *Options, f func(*cluster.Settings)) {
	base := o.Settings
	o.Settings = func() cluster.Settings {
		s := base()
		f(&s)
		return s
	}
}

// candidate is a replica of forged primary c, with voters b, d, f.
type candidate struct {
	*node
	b, c, d, f *forged.Peer
}

func newCandidate(t *testing.T, slots *cluster.SlotSet, edit func(*Options)) *candidate {
	t.Helper()
	k := &candidate{node: newNodeWith(t, edit), b: forged.Primary(t, "b", 2, quarter(1)), c: forged.Primary(t, "c", 3, slots),
		d: forged.Primary(t, "d", 4, quarter(2)), f: forged.Primary(t, "f", 5, quarter(3))}
	k.repl.offset.Store(100)
	forged.Meet(k.port, k.b, k.c, k.d, k.f)
	k.is("CLUSTER REPLICATE "+k.c.ID.String(), "+OK\r\n")
	return k
}

// failC tells the node that c has failed.
func (k *candidate) failC() {
	k.b.Send(k.b.Fail(k.c.ID))
	k.b.Ping()
}

// log collects what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logBuffer) wait(t *testing.T, want string) {
	t.Helper()
	until(t, "log line", func() string {
		if !strings.Contains(l.String(), want) {
			return fmt.Sprintf("no %q in\n%s", want, l)
		}
		return ""
	})
}

// Row 42: all 16 combinations of a failed primary, a manual failover, slots of
// the primary and the no-failover setting, each with Redis's and Valkey's rule
// about primaries without slots.
func TestElectionTruthTable(t *testing.T) {
	for i := range 32 {
		fail, manual, slots, nofail, slotless := i&1 != 0, i&2 != 0, i&4 != 0, i&8 != 0, i&16 != 0
		t.Run(fmt.Sprintf("fail=%v manual=%v slots=%v nofailover=%v slotless=%v", fail, manual, slots, nofail, slotless), func(t *testing.T) {
			t.Parallel()
			var owned *cluster.SlotSet
			if slots {
				owned = quarter(0)
			}
			k := newCandidate(t, owned, func(o *Options) {
				tuned(o, func(s *cluster.Settings) {
					s.NodeTimeout, s.ElectionDelay, s.ElectionJitter = 15000, 0, 0
					s.ReplicaNoFailover, s.SlotlessFailover = nofail, slotless
				})
			})
			mark := k.b.Mark()
			if fail {
				k.failC()
			}
			if manual {
				k.is("CLUSTER FAILOVER FORCE", "+OK\r\n")
			}
			want := (fail || manual) && (slots || slotless) && (!nofail || manual)
			if want {
				r := k.b.AwaitType(mark, cluster.TypeAuthRequest)
				if forced := r.Msg.MFlags&cluster.MFlagForceAck != 0; forced != manual {
					t.Errorf("FORCEACK %v, want %v", forced, manual)
				}
				return
			}
			// An election would begin within a tick.
			for end := time.Now().Add(5 * time.Duration(cluster.TickPeriod) * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if k.b.Count(mark, cluster.TypeAuthRequest) > 0 {
					t.Fatal("stands for election")
				}
			}
		})
	}
}

// Rows 53, 54, 62, 63: the request carries an epoch that is on disk, and the
// primary's claim; only votes of primaries with slots, in this epoch, count, and
// exactly the quorum wins.
func TestElectionAmongForgedVoters(t *testing.T) {
	k := newCandidate(t, quarter(0), func(o *Options) { tuned(o, func(s *cluster.Settings) { s.NodeTimeout = 15000 }) })
	r, e := forged.Replica(t, "r", k.b), forged.New(t, "e")
	forged.Meet(k.port, r, e)
	everyone := []*forged.Peer{k.b, k.d, k.f, r, e}
	mark := k.b.Mark()
	k.failC()
	req := k.b.AwaitType(mark, cluster.TypeAuthRequest).Msg
	if req.ConfigEpoch != 3 || !req.Slots.Equal(quarter(0)) || req.MFlags&cluster.MFlagForceAck != 0 || req.ReplicaOf != k.c.ID {
		t.Errorf("request: configEpoch %d, %d slots, mflags %x", req.ConfigEpoch, req.Slots.Len(), req.MFlags)
	}
	text, err := os.ReadFile(filepath.Join(k.dir, "nodes.conf"))
	if want := fmt.Sprintf("vars currentEpoch %d ", req.CurrentEpoch); err != nil || !strings.Contains(string(text), want) {
		t.Errorf("nodes.conf lacks %q although the request has left: %v\n%s", want, err, text)
	}
	for _, p := range everyone {
		p.AwaitType(0, cluster.TypeAuthRequest)
	}
	ack := func(p *forged.Peer, epoch uint64) {
		m := p.Message(cluster.TypeAuthAck)
		m.CurrentEpoch = epoch
		p.Send(m)
		p.Ping()
	}
	ack(r, req.CurrentEpoch)
	ack(e, req.CurrentEpoch)
	ack(k.b, req.CurrentEpoch-1)
	ack(k.b, req.CurrentEpoch)
	ack(k.b, req.CurrentEpoch)
	ack(k.d, req.CurrentEpoch)
	if !k.View().Myself().Flags.Has(cluster.FlagReplica) {
		t.Fatal("promoted by two of four votes, and some that do not count")
	}
	ack(k.f, req.CurrentEpoch)
	until(t, "promotion", func() string {
		if me := k.View().Myself(); !me.Flags.Has(cluster.FlagPrimary) || me.ConfigEpoch != req.CurrentEpoch || !me.Slots.Equal(quarter(0)) {
			return k.NodesText(false)
		}
		return ""
	})
	for _, p := range everyone {
		p.AwaitFrom(0, "PONG of the winner", func(r forged.Received) bool {
			return r.Msg.Type == cluster.TypePong && r.Conn > 0 && r.Msg.ConfigEpoch == req.CurrentEpoch && r.Msg.ReplicaOf.IsZero() && r.Msg.Slots.Equal(quarter(0))
		})
	}
}

// Rows 47, 48: of three replicas with different offsets each knows its rank, and
// when an election is scheduled only the siblings are told the offset.
func TestRanksAndSiblings(t *testing.T) {
	b, c := forged.Primary(t, "b", 2, quarter(1)), forged.Primary(t, "c", 3, quarter(0))
	sibling := forged.Replica(t, "s", c)
	sibling.Set(func(h *cluster.Message) { h.Offset = 1 })
	var nodes []*node
	var logs []*logBuffer
	for i := range 3 {
		l := &logBuffer{}
		n := newNodeWith(t, func(o *Options) {
			o.Log = slog.New(slog.NewTextHandler(l, nil))
			tuned(o, func(s *cluster.Settings) { s.NodeTimeout, s.ElectionDelay, s.PingInterval = 15000, 60000, 300 })
		})
		n.repl.offset.Store(int64(300 - 100*i))
		nodes, logs = append(nodes, n), append(logs, l)
	}
	for _, n := range nodes {
		forged.Meet(n.port, b, c, sibling) // one connection each: the last node is the one they talk to
		n.is("CLUSTER REPLICATE "+c.ID.String(), "+OK\r\n")
	}
	for _, n := range nodes[1:] {
		nodes[0].is(fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", n.port-10000, n.port), "+OK\r\n")
	}
	until(t, "all know all offsets", func() string {
		for _, n := range nodes {
			text := n.client().do("CLUSTER SHARDS")
			for _, off := range []string{":300\r\n", ":200\r\n", ":100\r\n", ":1\r\n"} {
				if !strings.Contains(text, off) {
					return n.NodesText(false)
				}
			}
		}
		return ""
	})
	markB, markS := b.Mark(), sibling.Mark()
	for _, n := range nodes {
		b.Dial(n.port)
		b.Send(b.Fail(c.ID))
		b.Ping()
	}
	for i, l := range logs {
		l.wait(t, fmt.Sprintf("rank=%d failedPrimaryRank=0 offset=%d", i, 300-100*i))
	}
	for i := range nodes {
		sibling.AwaitFrom(markS, "PONG with the offset", func(r forged.Received) bool {
			return r.Conn > 0 && r.Msg.Type == cluster.TypePong && r.Msg.Offset == uint64(300-100*i)
		})
	}
	for _, r := range b.Since(markB) {
		if r.Msg.Type == cluster.TypePong && r.Conn > 0 {
			t.Errorf("a PONG that nobody asked for went to a primary of another shard")
		}
	}
}

// Row 51: why a failover does not go ahead is in the log.
func TestFailoverReasonsLogged(t *testing.T) {
	l := &logBuffer{}
	k := newCandidate(t, quarter(0), func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(l, nil))
		tuned(o, func(s *cluster.Settings) { s.NodeTimeout, s.ReplicaValidityFactor, s.ReplPingPeriod = 1000, 1, 1000 })
	})
	k.repl.age.Store(int64(time.Hour))
	k.failC()
	l.wait(t, "failover not possible yet: data too old")
	k.repl.age.Store(0)
	for _, reason := range []string{"waiting before the election", "waiting for votes", "election expired"} {
		l.wait(t, "failover not possible yet: "+reason)
	}
	l.wait(t, "votes=0 quorum=3")
}

// gatedFS holds every sync of a file back while the gate is shut.
type gatedFS struct {
	*disktest.FS
	gate    sync.RWMutex
	waiting chan struct{}
}

type gatedFile struct {
	disk.File
	fs *gatedFS
}

func (g *gatedFS) OpenFile(path string, flag int, perm os.FileMode) (disk.File, error) {
	f, err := g.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return &gatedFile{f, g}, nil
}

func (f *gatedFile) Sync() error {
	if !f.fs.gate.TryRLock() {
		f.fs.waiting <- struct{}{}
		f.fs.gate.RLock()
	}
	defer f.fs.gate.RUnlock()
	return f.File.Sync()
}

// Rows 10, 61: no vote leaves before it is durable; a crash before that gives
// none, a crash after it does not forget it.
func TestVoteIsDurable(t *testing.T) {
	for _, crashFirst := range []bool{true, false} {
		g := &gatedFS{FS: disktest.New(), waiting: make(chan struct{}, 100)}
		died := make(chan error, 10)
		n := newNodeWith(t, func(o *Options) {
			g.MkdirAll(filepath.Dir(o.Path), 0o755)
			o.FS, o.Fatal = g, func(err error) { died <- err }
			tuned(o, func(s *cluster.Settings) { s.NodeTimeout = 15000 })
		})
		n.is("CLUSTER ADDSLOTSRANGE 0 4095", "+OK\r\n")
		b, c := forged.Primary(t, "b", 2, quarter(1)), forged.Primary(t, "c", 3, quarter(2))
		r, s := forged.Replica(t, "r", c), forged.Replica(t, "s", c)
		forged.Meet(n.port, b, c, r, s)
		b.Send(b.Fail(c.ID))
		b.Ping()
		const epoch = 11
		g.gate.Lock()
		mark := r.Mark()
		r.Send(r.Request(epoch))
		<-g.waiting // the vote is being written
		if r.Count(mark, cluster.TypeAuthAck) > 0 {
			t.Fatalf("ACK before the sync")
		}
		if crashFirst {
			g.StopAt(1)
			g.gate.Unlock()
			if err := <-died; !errors.Is(err, disktest.ErrCrashed) {
				t.Fatal(err)
			}
		} else {
			g.gate.Unlock()
			r.AwaitType(mark, cluster.TypeAuthAck)
			g.StopAt(1)
		}
		n.Close()
		g.Crash(rand.New(rand.NewPCG(1, 1)))
		if got := r.Count(mark, cluster.TypeAuthAck); got > 0 == crashFirst {
			t.Fatalf("crash before the sync %v: %d votes", crashFirst, got)
		}
		n.open()
		voted := n.View().LastVoteEpoch
		if crashFirst {
			if voted >= epoch {
				t.Errorf("a vote that was never synced is remembered: %d", voted)
			}
			continue
		}
		if voted != epoch {
			t.Errorf("lastVoteEpoch %d after the crash, want %d", voted, epoch)
		}
		s.Dial(n.port)
		mark = s.Mark()
		s.Ping()
		m := s.Request(epoch)
		s.Send(m)
		s.Ping()
		if info := n.InfoText(); strings.Contains(info, "auth-ack_sent") {
			t.Errorf("a second vote in epoch %d after the crash", epoch)
		}
		n.Close()
	}
}

// A crash of the machine at any operation on the disk, whatever it loses, leaves a
// nodes.conf that the node starts from, with the votes that it has given.
func TestNodesConfSurvivesPowerLoss(t *testing.T) {
	for stop := 1; stop <= 24; stop++ {
		g := disktest.New()
		died := make(chan error, 10)
		n := newNodeWith(t, func(o *Options) {
			g.MkdirAll(filepath.Dir(o.Path), 0o755)
			o.FS, o.Fatal = g, func(err error) { died <- err }
			tuned(o, func(s *cluster.Settings) { s.NodeTimeout = 15000 })
		})
		n.is("CLUSTER ADDSLOTSRANGE 0 4095", "+OK\r\n")
		id := n.id()
		c := forged.Primary(t, "c", 3, quarter(2))
		r := forged.Replica(t, "r", c)
		forged.Meet(n.port, c, r)
		g.StopAt(stop)
		voted := uint64(0)
		for epoch := uint64(11); len(died) == 0; epoch++ { // votes, and plain saves between them
			m := r.Request(epoch)
			m.MFlags |= cluster.MFlagForceAck
			mark := r.Mark()
			r.Send(m)
			h := r.Message(cluster.TypePing)
			h.Ext.Hostname = fmt.Sprintf("host-%d", epoch)
			r.Send(h)
			until(t, "a vote, or the end", func() string {
				if r.Count(mark, cluster.TypeAuthAck) > 0 {
					voted = epoch
				} else if len(died) == 0 {
					return "neither"
				}
				return ""
			})
		}
		n.Close()
		g.Crash(rand.New(rand.NewPCG(uint64(stop), 2)))
		n.open()
		if n.id() != id || n.View().LastVoteEpoch < voted {
			t.Errorf("stopped at operation %d: id %s, was %s; lastVoteEpoch %d, voted in %d", stop, n.id(), id, n.View().LastVoteEpoch, voted)
		}
		n.Close() // before its peers' ports are free for others
		r.Close()
		c.Close()
	}
}
