package cluster

// A Pool is memory for what machines hand out, for drivers that give it back when
// nobody looks at it any more. Several machines may share one if they are stepped
// in turn and each Ready is done with before the next machine is stepped: then the
// memory is few and warm in the processor's cache. Of a nil Pool everything is new.
type Pool struct {
	messages  []*Message
	used      int // how many of them are handed out
	confs     []*NodesConf
	views     []*View
	owners    []*[SlotCount]uint16
	nodeViews []*NodeView
}

// Bounds of what waits in a Pool to be used again.
const (
	maxSpare          = 64
	maxSpareNodeViews = 4096
	maxSpareConfNodes = 1 << 17 // 40 MB
)

// FreeMessages says that all messages handed out so far are over.
func (p *Pool) FreeMessages() { p.used = 0 }

// FreeConf gives back what a Ready said to save.
func (p *Pool) FreeConf(c *NodesConf) {
	if len(p.confs)*cap(c.Nodes) < maxSpareConfNodes {
		p.confs = append(p.confs, c)
	}
}

// FreeView gives back a view of a Ready in whose place the same machine's next
// Ready has put now. Nobody may look at it or an older one any more, nor at what
// it points to and now does not.
func (p *Pool) FreeView(old, now *View) {
	if old.Owners != now.Owners && len(p.owners) < maxSpare {
		p.owners = append(p.owners, old.Owners)
	}
	if old.table == now.table && len(p.nodeViews) < maxSpareNodeViews {
		for i, nv := range old.Nodes {
			if nv != now.Nodes[i] {
				p.nodeViews = append(p.nodeViews, nv)
			}
		}
	}
	if len(p.views) < maxSpare {
		p.views = append(p.views, old)
	}
}

// message is an empty message.
func (p *Pool) message() *Message {
	if p == nil {
		return new(Message)
	}
	if p.used == len(p.messages) {
		p.messages = append(p.messages, new(Message))
	}
	msg := p.messages[p.used]
	p.used++
	*msg = Message{Gossip: msg.Gossip[:0]}
	return msg
}

// conf, view, table and nodeView are to be written over.

func (p *Pool) conf() *NodesConf {
	if p == nil {
		return new(NodesConf)
	}
	return taken(&p.confs)
}

func (p *Pool) view() *View {
	if p == nil {
		return new(View)
	}
	return taken(&p.views)
}

func (p *Pool) table() *[SlotCount]uint16 {
	if p == nil {
		return new([SlotCount]uint16)
	}
	return taken(&p.owners)
}

func (p *Pool) nodeView() *NodeView {
	if p == nil {
		return new(NodeView)
	}
	return taken(&p.nodeViews)
}

// taken is the last of a list, a new one if there is none.
func taken[T any](list *[]*T) *T {
	k := len(*list) - 1
	if k < 0 {
		return new(T)
	}
	v := (*list)[k]
	*list = (*list)[:k]
	return v
}
