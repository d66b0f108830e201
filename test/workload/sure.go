package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/test/proc"
)

// A SureWriter changes and reads keys of its own, one after the other, through a
// cluster whose nodes are killed. A change counts as acknowledged when a replica
// has it too (WAIT), so no crash of one node may undo it. For every key the
// writer knows what it may hold: one value after an acknowledged change, more
// after changes whose fate it did not learn. What it reads must be among them.
//
// It never leaves a request behind that may still be carried out: it gives up
// only when the connection ends.
type SureWriter struct {
	seeds []string // addresses
	keys  []string
	may   map[string]map[string]bool // key -> values it may hold; absent is ""
	owner map[uint16]string          // slot -> address, as far as known
	conns map[string]*sureConn
	rnd   *rand.Rand
	turn  sync.Mutex // held during a step

	pausing atomic.Bool // somebody waits for turn

	Sure, Unsure, Reads atomic.Int64
	Ended               chan struct{} // closed after Run
	err                 error         // after Ended
}

type sureConn struct {
	net.Conn
	rd *resp.Reader
}

func NewSureWriter(c *proc.Cluster, id int, keys []string) *SureWriter {
	w := &SureWriter{keys: keys, may: map[string]map[string]bool{}, owner: map[uint16]string{}, conns: map[string]*sureConn{},
		rnd: rand.New(rand.NewPCG(uint64(id), 11)), Ended: make(chan struct{})}
	for _, n := range c.Nodes {
		w.seeds = append(w.seeds, n.Addr())
	}
	for _, k := range keys {
		w.may[k] = map[string]bool{"": true}
	}
	return w
}

// SureWriters work side by side, each with keys of its own.
type SureWriters []*SureWriter

// StartSure starts n of them, each with a number of keys of the slot that tag names.
func StartSure(ctx context.Context, c *proc.Cluster, n, keys int, tag string) (ws SureWriters) {
	for i := range n {
		var own []string
		for k := range keys {
			own = append(own, fmt.Sprintf("{%s}:%d:%d", tag, i, k))
		}
		w := NewSureWriter(c, i, own)
		ws = append(ws, w)
		go w.Run(ctx)
	}
	return ws
}

// Progress waits until each of them has done so many more changes.
func (ws SureWriters) Progress(t *testing.T, n int64, when string) {
	t.Helper()
	for _, w := range ws {
		w.Progress(t, n, when)
	}
}

// Check holds what the cluster has against what each of them knows, once the context
// of Run has ended, and says what they did.
func (ws SureWriters) Check(t *testing.T, c *proc.Cluster) string {
	t.Helper()
	var sure, unsure, reads int64
	for _, w := range ws {
		<-w.Ended
		w.Check(t, c)
		sure, unsure, reads = sure+w.Sure.Load(), unsure+w.Unsure.Load(), reads+w.Reads.Load()
	}
	return fmt.Sprintf("%d acknowledged changes, %d unsure, %d reads", sure, unsure, reads)
}

// Run works until ctx ends or a reply is wrong.
func (w *SureWriter) Run(ctx context.Context) {
	defer close(w.Ended)
	defer func() {
		for _, c := range w.conns {
			c.Close()
		}
	}()
	for n := 1; ctx.Err() == nil && w.err == nil; n++ {
		for w.pausing.Load() {
			time.Sleep(time.Millisecond) // who pauses gets the turn
		}
		w.turn.Lock()
		w.step(ctx, w.keys[w.rnd.IntN(len(w.keys))], strconv.Itoa(n))
		w.turn.Unlock()
	}
}

// Pause makes the writer end or give up the command under way, and holds it until
// resume is called.
func (w *SureWriter) Pause() (resume func()) {
	w.pausing.Store(true)
	w.turn.Lock()
	w.pausing.Store(false)
	return w.turn.Unlock
}

// step is one command on a key.
func (w *SureWriter) step(ctx context.Context, key, value string) {
	switch kind := w.rnd.IntN(10); {
	case kind < 3:
		r, _, err := w.do(ctx, key, "GET", key)
		switch {
		case err != nil || r.Err() != nil:
		case !w.may[key][string(r.Str)]:
			w.err = fmt.Errorf("GET %s = %q, it may hold %q", key, r.Str, slices.Collect(maps.Keys(w.may[key])))
		default:
			w.Reads.Add(1)
		}
		return
	case kind < 4:
		value = ""
	}
	args := []string{"SET", key, value}
	if value == "" {
		args = []string{"DEL", key}
	}
	could := w.may[key][value]
	w.may[key][value] = true
	r, c, err := w.do(ctx, key, args...)
	if err == errGaveUp {
		if !could {
			delete(w.may[key], value)
		}
		return
	}
	if err == nil && r.Err() == nil {
		if r, err = c.do("WAIT", "1", "3000"); err == nil && r.Int >= 1 {
			w.may[key] = map[string]bool{value: true}
			w.Sure.Add(1)
			return
		}
	}
	w.Unsure.Add(1)
}

// errUnsure says that nobody knows whether the command was carried out.
var errUnsure = errors.New("the connection ended before the reply")

// errGaveUp says that the command was not carried out.
var errGaveUp = errors.New("refused until the end")

// do sends a command on a key to whoever serves it and returns the reply with the
// connection that gave it. Redirects are followed; a node that refuses is asked
// again until ctx ends or the writer has to pause.
func (w *SureWriter) do(ctx context.Context, key string, args ...string) (r resp.Reply, c *sureConn, err error) {
	slot := hashslot.Slot([]byte(key))
	addr, asking := w.owner[slot], false
	for ctx.Err() == nil && !w.pausing.Load() {
		if addr == "" {
			addr = w.seeds[w.rnd.IntN(len(w.seeds))]
		}
		if c, err = w.connect(addr); err != nil {
			addr, asking = "", false
			delete(w.owner, slot)
			time.Sleep(5 * time.Millisecond) // a killed node refuses at once
			continue
		}
		if asking {
			if _, err := c.do("ASKING"); err != nil {
				w.drop(addr)
				addr, asking = "", false
				continue
			}
		}
		if r, err = c.do(args...); err != nil {
			w.drop(addr)
			delete(w.owner, slot)
			return r, nil, errUnsure
		}
		word, rest, _ := strings.Cut(string(r.Str), " ")
		if r.Err() == nil {
			if !asking {
				w.owner[slot] = addr
			}
			return r, c, nil
		}
		_, to, _ := strings.Cut(rest, " ")
		switch word {
		case "MOVED":
			addr, asking = to, false
		case "ASK":
			addr, asking = to, true
		case "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "NOREPLICAS":
			addr, asking = "", false
			delete(w.owner, slot)
			time.Sleep(5 * time.Millisecond)
		default:
			w.err = fmt.Errorf("%v: %s", args, r.Str)
			return r, c, r.Err()
		}
	}
	return r, nil, errGaveUp
}

func (w *SureWriter) connect(addr string) (*sureConn, error) {
	if c := w.conns[addr]; c != nil {
		return c, nil
	}
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, err
	}
	c := &sureConn{nc, resp.NewReader(nc)}
	w.conns[addr] = c
	return c, nil
}

func (w *SureWriter) drop(addr string) {
	w.conns[addr].Close()
	delete(w.conns, addr)
}

func (c *sureConn) do(args ...string) (resp.Reply, error) {
	return c.rd.Do(c, args...)
}

// Progress waits until the writer has had n more changes acknowledged.
func (w *SureWriter) Progress(t *testing.T, n int64, when string) {
	t.Helper()
	from := w.Sure.Load()
	proc.Wait(t, proc.Patience, "a writer at work "+when, func() string {
		select {
		case <-w.Ended:
			t.Fatalf("the writer gave up %s: %v", when, w.err)
		default:
		}
		if got := w.Sure.Load() - from; got < n {
			return fmt.Sprintf("%d changes acknowledged, %d unsure, %d reads", got, w.Unsure.Load(), w.Reads.Load())
		}
		return ""
	})
}

// Check compares what is stored with what the writer knows: each key is held by
// the one primary that serves it, with a value that it may have. The writer has
// ended.
func (w *SureWriter) Check(t *testing.T, c *proc.Cluster) {
	t.Helper()
	if w.err != nil {
		t.Errorf("writer: %v", w.err)
	}
	held := map[string]string{}
	for _, p := range c.Primaries() {
		me := p.Myself()
		for _, key := range w.keys {
			slot := int(hashslot.Slot([]byte(key)))
			if !slices.Contains(p.Must("CLUSTER", "GETKEYSINSLOT", slot, 10000).([]any), any(key)) {
				continue
			}
			if other := held[key]; other != "" {
				t.Errorf("key %s is held by %s and by %s", key, other, p)
			}
			held[key] = p.String()
			if !me.Serves(slot) {
				t.Errorf("%s holds %s of slot %d, which it does not serve: %v", p, key, slot, me.Slots)
				continue
			}
			if v := p.Text("GET", key); !w.may[key][v] {
				t.Errorf("%s: GET %s = %q, it may hold %q", p, key, v, slices.Collect(maps.Keys(w.may[key])))
			}
		}
	}
	for _, key := range w.keys {
		if held[key] == "" && !w.may[key][""] {
			t.Errorf("key %s is lost, it may hold %q", key, slices.Collect(maps.Keys(w.may[key])))
		}
	}
}
