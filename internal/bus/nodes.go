package bus

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/store"
)

// status asks the driver for what changes with every message.
func (b *Bus) status() (v *cluster.View, st []cluster.NodeStatus) {
	b.ask(func(m *cluster.Machine, now cluster.Times) {
		v = m.View()
		st = m.NodeStatus(now, nil)
	})
	if v == nil { // shutting down
		v = b.View()
		st = make([]cluster.NodeStatus, len(v.Nodes))
	}
	return v, st
}

// nodesCommand is CLUSTER NODES. Source: cluster specification, 11.7.
func nodesCommand(b *Bus, c *command.Ctx) {
	tls := engine.SessionOf(c).Conn().TLS()
	c.Verbatim("txt", b.NodesText(tls))
}

// NodesText is the node table as CLUSTER NODES prints it, for a client with or
// without TLS.
func (b *Bus) NodesText(tls bool) string {
	v, st := b.status()
	var out strings.Builder
	for i := range v.Nodes {
		out.WriteString(nodeLine(v, i, st[i], tls))
		out.WriteByte('\n')
	}
	return out.String()
}

func nodeLine(v *cluster.View, i int, st cluster.NodeStatus, tls bool) string {
	n := v.Nodes[i]
	line := fmt.Appendf(nil, "%s %s:%d@%d", n.ID, n.Addr.IP, clientPort(n, tls), n.Addr.BusPort)
	if n.Hostname != "" {
		line = append(line, ',')
		line = append(line, n.Hostname...)
	}
	line = append(line, ' ')
	line = cluster.AppendFlags(line, n.Flags)
	line = append(line, ' ')
	if n.Primary.IsZero() {
		line = append(line, '-')
	} else {
		line = append(line, n.Primary.String()...)
	}
	link := "disconnected"
	if n.Link != 0 || i == v.Me {
		link = "connected"
	}
	line = fmt.Appendf(line, " %d %d %d %s", st.PingSent, st.PongReceived, n.ConfigEpoch, link)
	line = cluster.AppendRanges(line, n.Slots)
	if i == v.Me && !v.Open.Empty() {
		for slot := range v.Open.All() {
			if to := v.MigratingTo(slot); to != nil {
				line = fmt.Appendf(line, " [%d->-%s]", slot, to.ID)
			} else if from := v.ImportingFrom(slot); from != nil {
				line = fmt.Appendf(line, " [%d-<-%s]", slot, from.ID)
			}
		}
	}
	return string(line)
}

func replicasCommand(b *Bus, c *command.Ctx) {
	v, st := b.status()
	id, ok := cluster.ParseID(c.Arg(2))
	n := (*cluster.NodeView)(nil)
	if ok {
		n = v.Node(id)
	}
	switch {
	case n == nil:
		c.Error("ERR Unknown node " + string(c.Arg(2)))
		return
	case !n.Flags.Has(cluster.FlagPrimary):
		c.Error("ERR The specified node is not a master")
		return
	}
	tls := engine.SessionOf(c).Conn().TLS()
	mark, count := c.Defer(), 0
	for i, r := range v.Nodes {
		if r.Primary == n.ID {
			c.BulkString(nodeLine(v, i, st[i], tls))
			count++
		}
	}
	c.EndArray(mark, count)
}

// infoCommand is CLUSTER INFO. Source: cluster specification, 11.8.
func infoCommand(b *Bus, c *command.Ctx) { c.Verbatim("txt", b.InfoText()) }

// InfoText is what CLUSTER INFO prints.
func (b *Bus) InfoText() string {
	var v *cluster.View
	var cnt cluster.Counters
	b.ask(func(m *cluster.Machine, now cluster.Times) { v, cnt = m.View(), m.Counters() })
	if v == nil {
		v = b.View()
	}
	var assigned, ok, pfail, fail int
	for _, o := range v.Owners {
		if o == cluster.NoSlotOwner {
			continue
		}
		assigned++
		switch f := v.Nodes[o].Flags; {
		case f.Has(cluster.FlagFail):
			fail++
		case f.Has(cluster.FlagPFail):
			pfail++
		default:
			ok++
		}
	}
	state := "ok"
	if v.State != cluster.StateOK {
		state = "fail"
	}
	var out strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&out, "%s:%v\r\n", name, value) }
	line("cluster_state", state)
	line("cluster_slots_assigned", assigned)
	line("cluster_slots_ok", ok)
	line("cluster_slots_pfail", pfail)
	line("cluster_slots_fail", fail)
	line("cluster_known_nodes", len(v.Nodes))
	line("cluster_size", v.Size)
	line("cluster_current_epoch", v.CurrentEpoch)
	line("cluster_my_epoch", v.Myself().ConfigEpoch)
	if v.ClusterID != 0 {
		line("cluster_id", fmt.Sprintf("%016x", v.ClusterID))
	}
	count := func(dir string, machine [cluster.TypeCount]uint64, own func(t cluster.Type) uint64) {
		total := uint64(0)
		for t := cluster.Type(0); int(t) < len(machine); t++ {
			n := machine[t] + own(t)
			if n > 0 {
				line("cluster_stats_messages_"+t.String()+"_"+dir, n)
			}
			total += n
		}
		line("cluster_stats_messages_"+dir, total)
	}
	count("sent", cnt.Sent, func(t cluster.Type) uint64 { return b.pubSent[t].Load() })
	count("received", cnt.Received, func(t cluster.Type) uint64 { return b.pubReceived[t].Load() })
	line("total_cluster_links_buffer_limit_exceeded", b.limitHits.Load())
	return out.String()
}

// linksCommand is CLUSTER LINKS. Source: cluster specification, 11.6.
func linksCommand(b *Bus, c *command.Ctx) {
	var st []cluster.LinkStatus
	b.ask(func(m *cluster.Machine, now cluster.Times) { st = m.LinkStatus(now, nil) })
	c.Array(len(st))
	for _, s := range st {
		direction := "to"
		if s.Link.Inbound() {
			direction = "from"
		}
		n, size := 0, 0
		if l := b.links.get(s.Link); l != nil {
			n, size = l.pending()
		}
		events := "r"
		if n > 0 {
			events = "rw"
		}
		c.Map(6)
		c.BulkString("direction")
		c.BulkString(direction)
		c.BulkString("node")
		c.BulkString(s.Node.String())
		c.BulkString("create-time")
		c.Int(int64(s.Created))
		c.BulkString("events")
		c.BulkString(events)
		c.BulkString("send-buffer-allocated")
		c.Int(int64(size))
		c.BulkString("send-buffer-used")
		c.Int(int64(size))
	}
}

// slotsCommand is CLUSTER SLOTS. Source: cluster specification, 11.9.
func slotsCommand(b *Bus, c *command.Ctx) {
	v := b.view.Load()
	s := engine.SessionOf(c)
	set := b.opt.Router()
	replicas := map[cluster.NodeID][]*cluster.NodeView{}
	for _, n := range v.Nodes {
		if !n.Primary.IsZero() && n.HasOffset && !n.Flags.Has(cluster.FlagFail) {
			replicas[n.Primary] = append(replicas[n.Primary], n)
		}
	}
	mark, count := c.Defer(), 0
	for first := 0; first < store.Slots; {
		o := v.Owners[first]
		last := first
		for last+1 < store.Slots && v.Owners[last+1] == o {
			last++
		}
		if o != cluster.NoSlotOwner {
			n := v.Nodes[o]
			c.Array(3 + len(replicas[n.ID]))
			c.Int(int64(first))
			c.Int(int64(last))
			slotsNode(c, n, s, set)
			for _, r := range replicas[n.ID] {
				slotsNode(c, r, s, set)
			}
			count++
		}
		first = last + 1
	}
	c.EndArray(mark, count)
}

func slotsNode(c *command.Ctx, n *cluster.NodeView, s *engine.Session, set RouterSettings) {
	c.Array(4)
	if set.Endpoint == config.EndpointUnknown {
		c.Null()
	} else {
		c.BulkString(endpoint(n, s.Conn().LocalIP(), set.Endpoint))
	}
	c.Int(int64(clientPort(n, s.Conn().TLS())))
	c.BulkString(n.ID.String())
	withIP := set.Endpoint != config.EndpointIP
	withName := set.Endpoint != config.EndpointHostname && n.Hostname != ""
	size := 0
	if withIP {
		size++
	}
	if withName {
		size++
	}
	c.Map(size)
	if withIP {
		c.BulkString("ip")
		c.BulkString(clientIP(n, s.Conn().LocalIP()))
	}
	if withName {
		c.BulkString("hostname")
		c.BulkString(n.Hostname)
	}
}

// shardsCommand is CLUSTER SHARDS. Source: cluster specification, 11.10.
func shardsCommand(b *Bus, c *command.Ctx) {
	v, st := b.status()
	s := engine.SessionOf(c)
	set := b.opt.Router()
	var order []cluster.NodeID
	shards := map[cluster.NodeID][]int{}
	for i, n := range v.Nodes {
		if n.Flags.Has(cluster.FlagHandshake) {
			continue
		}
		if _, ok := shards[n.ShardID]; !ok {
			order = append(order, n.ShardID)
		}
		shards[n.ShardID] = append(shards[n.ShardID], i)
	}
	c.Array(len(order))
	for _, id := range order {
		slices.SortStableFunc(shards[id], func(i, j int) int { // the primary first
			return cmp.Compare(v.Nodes[i].Flags&cluster.FlagReplica, v.Nodes[j].Flags&cluster.FlagReplica)
		})
		c.Map(2)
		c.BulkString("slots")
		mark, count := c.Defer(), 0
		for _, i := range shards[id] {
			for first, last := range v.Nodes[i].Slots.Ranges() {
				c.Int(int64(first))
				c.Int(int64(last))
				count += 2
			}
		}
		c.EndArray(mark, count)
		c.BulkString("nodes")
		c.Array(len(shards[id]))
		for _, i := range shards[id] {
			shardNode(c, v.Nodes[i], st[i], s, set)
		}
	}
}

func shardNode(c *command.Ctx, n *cluster.NodeView, st cluster.NodeStatus, s *engine.Session, set RouterSettings) {
	size := 6
	for _, has := range []bool{n.Addr.Port != 0, n.Addr.TLSPort != 0, n.Hostname != ""} {
		if has {
			size++
		}
	}
	c.Map(size)
	c.BulkString("id")
	c.BulkString(n.ID.String())
	if n.Addr.Port != 0 {
		c.BulkString("port")
		c.Int(int64(n.Addr.Port))
	}
	if n.Addr.TLSPort != 0 {
		c.BulkString("tls-port")
		c.Int(int64(n.Addr.TLSPort))
	}
	c.BulkString("ip")
	c.BulkString(clientIP(n, s.Conn().LocalIP()))
	c.BulkString("endpoint")
	c.BulkString(endpoint(n, s.Conn().LocalIP(), set.Endpoint))
	if n.Hostname != "" {
		c.BulkString("hostname")
		c.BulkString(n.Hostname)
	}
	role, health := "master", "online"
	if n.Flags.Has(cluster.FlagReplica) {
		role = "replica"
		if st.Offset == 0 {
			health = "loading"
		}
	}
	if n.Flags.Has(cluster.FlagFail) {
		health = "fail"
	}
	c.BulkString("role")
	c.BulkString(role)
	c.BulkString("replication-offset")
	c.Int(int64(st.Offset))
	c.BulkString("health")
	c.BulkString(health)
}
