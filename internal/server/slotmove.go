package server

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/skeindb/skein/internal/bus"
	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/slotmove"
)

// newMover makes the node's part in migrations of whole slots.
func (s *Server) newMover() {
	c := s.Config
	s.mover = slotmove.New(slotmove.Options{
		Engine: s.engine, Slog: s.Log, Cluster: slotCluster{s.bus, c.TLSCluster.Get},
		Settings: func() slotmove.Settings {
			return slotmove.Settings{User: c.MasterUser.Get(), Password: c.MasterAuth.Get(),
				Silence:     time.Duration(c.ReplTimeout.Get()) * time.Second,
				NodeTimeout: time.Duration(c.ClusterNodeTimeout.Get()) * time.Millisecond,
				LogLen:      int(c.ClusterSlotMigrationLogMaxLen.Get())}
		},
		Dial: func(ctx context.Context, host, port string) (net.Conn, error) { return s.dialTarget(ctx, host, port) },
		OpenTail: func(begin func() error) (slotmove.Tail, error) {
			t, err := s.repl.OpenTail(begin)
			if err != nil {
				return nil, err
			}
			return t, nil
		},
		AwaitReplicas: func(ctx context.Context, limit time.Duration) bool {
			return moveReplicas{s}.await(ctx, s.repl.Log().Offset(), limit)
		},
		Announce: s.repl.Append,
	})
}

// clusterSpecs are CLUSTER with the subcommands of all who have some.
func (s *Server) clusterSpecs() []*command.Spec {
	specs := bus.Specs(s.bus)
	i := slices.IndexFunc(specs, func(c *command.Spec) bool { return c.Name == "cluster" })
	specs[i].Subs = append(specs[i].Subs, slotmove.Specs(s.mover)...)
	return specs
}

// slotCluster is the cluster as slot migrations ask for it.
type slotCluster struct {
	b   *bus.Bus
	tls func() bool
}

func (c slotCluster) MyID() string { return c.b.View().Myself().ID.String() }

func (c slotCluster) Node(id string) (n slotmove.Node, ok bool) {
	parsed, ok := cluster.ParseID(id)
	if !ok {
		return n, false
	}
	v := c.b.View().Node(parsed)
	if v == nil || v.Flags.Has(cluster.FlagHandshake) {
		return n, false
	}
	port := v.Addr.Port
	if c.tls() {
		port = v.Addr.TLSPort
	}
	return slotmove.Node{Host: v.Addr.IP, Port: strconv.Itoa(int(port)), Shard: v.ShardID.String(),
		Primary: v.Flags.Has(cluster.FlagPrimary) && !v.Flags.Has(cluster.FlagFail)}, true
}

func (c slotCluster) Owner(slot int) string {
	if n := c.b.View().Owner(slot); n != nil {
		return n.ID.String()
	}
	return ""
}

// Owners goes by the view in force: writers that a hand-over has stopped go on when
// the target owns the slots, and must not find the view in which this node does.
func (c slotCluster) Owners(slots *slotmove.Slots) (ids []string) {
	v := c.b.InForce()
	var seen []*cluster.NodeView
	slots.Each(func(slot int) {
		n := v.Owner(slot)
		if slices.Contains(seen, n) {
			return
		}
		seen = append(seen, n)
		if n == nil {
			ids = append(ids, "")
		} else {
			ids = append(ids, n.ID.String())
		}
	})
	return ids
}

func (c slotCluster) Open(slot int) (importing, migrating bool) {
	v := c.b.View()
	return v.ImportingFrom(slot) != nil || v.Draining(slot), v.MigratingTo(slot) != nil || v.DividedWith(slot) != nil
}

func (c slotCluster) Leave(slots *slotmove.Slots) { c.b.LeaveWhole(slots.Each) }

func (c slotCluster) Take(slots *slotmove.Slots, from string, until time.Time) error {
	err := c.b.TakeSlots(from, until, slots.Each)
	if errors.Is(err, bus.ErrStopping) {
		return slotmove.ErrUnsure
	}
	return err
}
