package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/cluster"
)

// A primary that comes back from a crash with less than its replicas have would
// make them drop the rest: they cannot continue its history, so they take its
// data in full. A primary that saves to disk seldom or never, under a supervisor
// that restarts it within the node timeout, loses a shard that way although
// every replica had it. So before such a primary serves anyone, clients or
// replicas, it asks its replicas what they hold, and if one has more, has that
// one take over. That is a manual failover by force, which needs the votes of a
// majority as any election, and works with replicas of every kind.

// Loaded is what a node found on its disk.
type Loaded struct {
	Keys int
	// ID and Offset are the place in the replication stream that the data stands
	// for; ID is empty if the file did not say, or there was none.
	ID     string
	Offset int64
}

// How long a primary waits for replicas that cannot be asked: a starting replica
// refuses connections for a moment. Without any data of its own it waits as long
// as the node timeout, if that is longer.
const replicaPatience = 2 * time.Second

// Times of the talk with replicas.
const (
	askAgain     = 200 * time.Millisecond // between two rounds
	forceAgain   = 2 * time.Second        // between two orders to take over
	standBackLog = 10 * time.Second       // between two log lines
)

// holding is what a replica said.
type holding struct {
	node   *cluster.NodeView
	keys   bool // any
	id     string
	offset int64
}

// more tells whether a replica has what the data loaded here lacks. Offsets
// compare within one history only; of a history that is not known here nothing
// is said, unless there is nothing here to lose.
func (h *holding) more(own *Loaded) bool {
	if own.ID != "" {
		return h.id == own.ID && h.offset > own.Offset
	}
	return own.Keys == 0 && h.keys
}

// StandBack returns when this node may serve with the data it has loaded: at once
// unless it is a primary with slots and replicas; else when it is clear that no
// replica has more, or when one that has took over. It goes on as long as such a
// replica can be reached, on reports whether it should, and ctx lives. The bus
// must run. Nobody may read or write the data meanwhile.
func (b *Bus) StandBack(ctx context.Context, own Loaded, on func() bool) {
	if own.ID == "" && own.Keys > 0 {
		return // nothing tells how old this is
	}
	began := time.Now()
	patience := replicaPatience
	if own.Keys == 0 && own.ID == "" {
		patience = max(patience, time.Duration(b.opt.Settings().NodeTimeout)*time.Millisecond)
	}
	var logged, forced time.Time
	for on() {
		v := b.View()
		if me := v.Myself(); me.Flags.Has(cluster.FlagReplica) || me.Slots.Empty() {
			b.do(func(*cluster.Machine, cluster.Times) {}) // replication follows by now
			return
		}
		best, silent := b.survey(ctx, v, &own)
		if best == nil && (silent == 0 || time.Since(began) >= patience) {
			return
		}
		if best != nil {
			if time.Since(logged) >= standBackLog {
				logged = time.Now()
				b.opt.Log.Warn("A replica has newer data than this primary has loaded: standing back until it has taken over",
					"replica", best.node.ID, "keys", own.Keys, "offset", own.Offset, "replicaOffset", best.offset)
			}
			if time.Since(forced) >= forceAgain {
				forced = time.Now()
				if err := b.takeOver(ctx, best.node); err != nil {
					b.opt.Log.Warn("The replica with newer data was told to take over and refused", "replica", best.node.ID, "err", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(askAgain):
		}
	}
}

// survey asks this node's replicas what they hold. It returns the one with the
// most of what is lacking here, nil if none, and how many could not be asked but
// may yet be.
func (b *Bus) survey(ctx context.Context, v *cluster.View, own *Loaded) (best *holding, silent int) {
	me := v.Myself().ID
	var asked []*cluster.NodeView
	for _, n := range v.Nodes {
		if n.Primary == me && !n.Flags.Has(cluster.FlagFail) && n.Addr.IP != "" {
			asked = append(asked, n)
		}
	}
	type answer struct {
		h   holding
		err error
	}
	answers := make(chan answer, len(asked))
	for _, n := range asked {
		go func() {
			h, err := b.holdingOf(ctx, n)
			answers <- answer{h, err}
		}()
	}
	for range asked {
		a := <-answers
		switch {
		case a.err != nil:
			silent++
		case a.h.more(own) && (best == nil || a.h.offset > best.offset):
			best = &a.h
		}
	}
	return best, silent
}

// errNotReplica is the answer of a node that is no replica of this one any more.
var errNotReplica = errors.New("bus: it is no replica")

func (b *Bus) holdingOf(ctx context.Context, n *cluster.NodeView) (h holding, err error) {
	h.node = n
	err = b.talk(ctx, n, func(do func(args ...string) (string, error)) error {
		f := map[string]string{}
		for _, section := range []string{"replication", "keyspace"} {
			info, err := do("INFO", section)
			if err != nil {
				return err
			}
			for line := range strings.Lines(info) {
				if k, val, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
					f[k] = val
				}
			}
		}
		if f["role"] != "slave" {
			return errNotReplica
		}
		h.id = f["master_replid"]
		if h.offset, err = strconv.ParseInt(f["slave_repl_offset"], 10, 64); err != nil {
			return fmt.Errorf("bus: slave_repl_offset: %w", err)
		}
		h.keys = strings.HasPrefix(f["db0"], "keys=")
		return nil
	})
	return h, err
}

// takeOver tells a replica to become the primary.
func (b *Bus) takeOver(ctx context.Context, n *cluster.NodeView) error {
	return b.talk(ctx, n, func(do func(args ...string) (string, error)) error {
		// Another may have been elected meanwhile, perhaps with more data.
		if me := b.view.Load().Myself(); !me.Flags.Has(cluster.FlagPrimary) || me.Slots.Empty() {
			return errNotReplica
		}
		// And the replica may follow that one by now, which this node has not heard.
		table, err := do("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		if f := ownLine(table); len(f) < 4 || f[3] != b.view.Load().Myself().ID.String() {
			return errNotReplica
		}
		_, err = do("CLUSTER", "FAILOVER", "FORCE")
		return err
	})
}
