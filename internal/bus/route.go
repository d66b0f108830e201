package bus

import (
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
)

// RouterSettings are the directives that redirects obey.
type RouterSettings struct {
	Endpoint            config.EndpointType
	ReadsWhenDown       bool // cluster-allow-reads-when-down
	PubsubShardWhenDown bool // cluster-allow-pubsubshard-when-down
}

// router decides by one view where a command's slot is served. Source: cluster
// specification, 10.2.
type router struct {
	b *Bus
	v *cluster.View
}

const (
	errUnbound  = "CLUSTERDOWN Hash slot not served"
	errDown     = "CLUSTERDOWN The cluster is down"
	errDownRead = "CLUSTERDOWN The cluster is down and only accepts read commands"
	errTryAgain = "TRYAGAIN Multiple keys request during rehashing of slot"
)

// Route implements engine.Router.
func (r *router) Route(q *engine.Query) string {
	v, slot := r.v, int(q.Slot)
	if v.NoRedirect {
		return ""
	}
	set := r.b.opt.Router()
	owner, me := v.Owner(slot), v.Myself()
	if owner == nil {
		return errUnbound
	}
	if v.State != cluster.StateOK {
		switch {
		case q.Shard:
			if !set.PubsubShardWhenDown {
				return errDown
			}
		case !set.ReadsWhenDown:
			return errDown
		case q.Write:
			return errDownRead
		}
	}
	isPrimary := me.Flags.Has(cluster.FlagPrimary)
	top := me
	if !isPrimary {
		if p := v.Node(me.Primary); p != nil {
			top = p
		}
	}
	var target *cluster.NodeView
	importing := false
	if isPrimary || q.ReadOnly {
		if owner == top {
			target = v.MigratingTo(slot)
		}
		importing = target == nil && v.ImportingFrom(slot) != nil
	}
	var other *cluster.NodeView // who may have keys of this slot of ours
	draining := false           // this node may have keys of another's slot
	if isPrimary && target == nil {
		if owner == me {
			other = v.DividedWith(slot)
		} else {
			draining = v.Draining(slot)
		}
	}
	moving := target != nil || importing || other != nil || draining
	if moving && q.Migrate && isPrimary {
		return ""
	}
	existing, missing := 0, 0
	if moving && !q.Shard {
		existing, missing = q.Present()
	}
	if target != nil && missing > 0 {
		if existing > 0 {
			return errTryAgain
		}
		return r.redirect("ASK", slot, target, q, set)
	}
	if other != nil && missing > 0 && !q.Asking || draining && missing > 0 && q.Asking {
		if other == nil {
			other = owner
		}
		if existing > 0 {
			return errTryAgain
		}
		return r.redirect("ASK", slot, other, q, set)
	}
	if draining && q.Asking {
		return ""
	}
	if importing && q.Asking {
		if q.Multi && missing > 0 {
			return errTryAgain
		}
		return ""
	}
	if !isPrimary && owner == top && (q.ReadOnly || q.Shard) && !q.Write {
		return ""
	}
	if owner == me {
		return ""
	}
	return r.redirect("MOVED", slot, owner, q, set)
}

func (r *router) redirect(kind string, slot int, to *cluster.NodeView, q *engine.Query, set RouterSettings) string {
	var b strings.Builder
	b.WriteString(kind)
	b.WriteByte(' ')
	b.WriteString(strconv.Itoa(slot))
	b.WriteByte(' ')
	b.WriteString(endpoint(to, q.LocalIP, set.Endpoint))
	b.WriteByte(':')
	b.WriteString(strconv.Itoa(int(clientPort(to, q.TLS))))
	return b.String()
}

// endpoint is the address of a node as clients are told it; localIP is where
// the client connected to, and tells its address family.
func endpoint(n *cluster.NodeView, localIP string, t config.EndpointType) string {
	switch t {
	case config.EndpointHostname:
		if n.Hostname == "" {
			return "?"
		}
		return n.Hostname
	case config.EndpointUnknown:
		return ""
	}
	return clientIP(n, localIP)
}

// clientIP is the node's address for a client that connected to localIP.
func clientIP(n *cluster.NodeView, localIP string) string {
	if six := strings.Contains(localIP, ":"); six && n.ClientIPv6 != "" {
		return n.ClientIPv6
	} else if !six && n.ClientIPv4 != "" {
		return n.ClientIPv4
	}
	return n.Addr.IP
}

func clientPort(n *cluster.NodeView, tls bool) uint16 {
	if tls {
		return n.Addr.TLSPort
	}
	return n.Addr.Port
}
