package bus

import (
	"errors"
	"math"

	"github.com/skeindb/skein/internal/cluster"
)

// What DEBUG does to the bus, and INFO sees of it. Any goroutine may call these.

// LinkMemory returns the number of links and the bytes that wait in them.
func (b *Bus) LinkMemory() (n int, bytes int64) {
	b.links.mu.Lock()
	defer b.links.mu.Unlock()
	for _, l := range b.links.m {
		_, size := l.pending()
		bytes += int64(size)
	}
	return len(b.links.m), bytes
}

// KillLinks closes the links to or from a node (DEBUG CLUSTERLINK KILL). The
// error is the reply.
func (b *Bus) KillLinks(to, from bool, node string) error {
	err := errors.New("Unknown node " + node)
	id, ok := cluster.ParseID([]byte(node))
	if !ok {
		return err
	}
	b.ask(func(m *cluster.Machine, now cluster.Times) {
		if m.View().Node(id) == nil {
			return
		}
		err = nil
		for _, l := range m.LinkStatus(now, nil) {
			if l.Node == id && (l.Link.Inbound() && from || !l.Link.Inbound() && to) {
				b.links.close(l.Link)
				m.Step(now, cluster.LinkDown{Link: l.Link})
			}
		}
	})
	return err
}

// DropPackets makes the bus ignore received messages of one type, -1 none, -2
// all.
func (b *Bus) DropPackets(messageType int) {
	b.dropFilter.Store(int32(max(min(messageType, math.MaxInt32), -2)))
}

// CloseOnDrop makes it close the link of an ignored message, too.
func (b *Bus) CloseOnDrop(on bool) { b.dropClose.Store(on) }

// SetRandomPing turns the ping of a random node off and on again.
func (b *Bus) SetRandomPing(on bool) {
	b.noRandomPing.Store(!on)
	b.ask(func(m *cluster.Machine, now cluster.Times) { m.Configure(now, b.settings()) })
}
