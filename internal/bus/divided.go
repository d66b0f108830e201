package bus

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/cluster"
)

const (
	dividedEvery = 50 * time.Millisecond
	// idleImport is how many times in a row a node that still imports a slot must
	// have no key of it, before it counts as having none: clients may be on their
	// way to it.
	idleImport = 40
)

// watchDivided asks the nodes that may have keys of slots of this one whether they
// still do. It is a goroutine of its own, since a node may not answer.
func (b *Bus) watchDivided() {
	defer b.wg.Done()
	t := time.NewTicker(dividedEvery)
	defer t.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-b.quit
		cancel()
	}()
	idle := map[cluster.SlotMark]int{}
	for {
		select {
		case <-b.quit:
			return
		case <-t.C:
		}
		v := b.view.Load()
		marks := v.Divided()
		if len(marks) == 0 {
			clear(idle)
			continue
		}
		for _, m := range marks {
			keys, importing, err := b.keysAt(ctx, v.Node(m.Node), int(m.Slot))
			switch {
			case err != nil || keys > 0:
				delete(idle, m)
				continue
			case importing && idle[m] < idleImport:
				idle[m]++
				continue
			}
			delete(idle, m)
			b.opt.Log.Info("a slot is whole again", "slot", m.Slot, "node", m.Node)
			b.settle(func(mc *cluster.Machine, now cluster.Times) {
				mc.Admin(now, cluster.Undivide{Slot: int(m.Slot), Node: m.Node})
			})
		}
	}
}

// keysAt asks a node how many keys of a slot it has and whether it imports it.
func (b *Bus) keysAt(ctx context.Context, n *cluster.NodeView, slot int) (keys int, importing bool, err error) {
	err = b.talk(ctx, n, func(do func(args ...string) (string, error)) error {
		// The marker first: once it is gone no client is served a new key there.
		text, err := do("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		importing = slices.ContainsFunc(ownLine(text), func(f string) bool { return strings.HasPrefix(f, "["+strconv.Itoa(slot)+"-<-") })
		if text, err = do("CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(slot)); err == nil {
			keys, err = strconv.Atoi(text)
		}
		return err
	})
	return keys, importing, err
}
