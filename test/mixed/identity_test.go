package mixed

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// A badge is what a node tells about itself beside its address.
type badge struct {
	hostname string
	nodename string // human name; not with Redis 7.0
}

// told is what an observer says about a node, gathered from wherever it says it.
type told struct {
	badge
	slots, shards string // the host name by CLUSTER SLOTS and SHARDS
	shard         string // by nodes.conf; "" with Redis 7.0
	mates         string // who is in its shard by CLUSTER SHARDS
}

// names reports whether nodes of that program have human names and shard ids.
func names(n *proc.Node) bool { return n.Program.Name != proc.Redis7.Name }

// wear makes a node announce a badge, now and after restarts.
func wear(n *proc.Node, b badge) {
	set := [][2]string{{"cluster-announce-hostname", b.hostname}}
	if names(n) {
		set = append(set, [2]string{"cluster-announce-human-nodename", b.nodename})
	}
	var args []string
	for i := 0; i < len(n.Args); i += 2 { // directives have one value each
		if n.Args[i] != "--cluster-announce-hostname" && n.Args[i] != "--cluster-announce-human-nodename" {
			args = append(args, n.Args[i], n.Args[i+1])
		}
	}
	for _, s := range set {
		args = append(args, "--"+s[0], s[1])
		if n.Running() {
			n.Must("CONFIG", "SET", s[0], s[1])
		}
	}
	n.Args = args
}

// hear asks an observer about all nodes, by id.
func hear(t *testing.T, o *proc.Node) (map[string]told, error) {
	t.Helper()
	all := map[string]told{}
	text, err := o.Do("CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(fmt.Sprint(text)) {
		f := strings.Fields(line)
		_, host, _ := strings.Cut(f[1], ",")
		all[f[0]] = told{badge: badge{hostname: host}}
	}
	change := func(id string, f func(*told)) {
		v := all[id]
		f(&v)
		all[id] = v
	}
	rows, err := o.Do("CLUSTER", "SLOTS")
	if err != nil {
		return nil, err
	}
	for _, row := range rows.([]any) {
		for _, n := range row.([]any)[2:] {
			f := n.([]any)
			for meta := f[3].([]any); len(meta) > 0; meta = meta[2:] {
				if meta[0] == "hostname" {
					change(f[2].(string), func(v *told) { v.slots = meta[1].(string) })
				}
			}
		}
	}
	shards, err := o.Do("CLUSTER", "SHARDS")
	if err != nil {
		return nil, err
	}
	for _, s := range shards.([]any) {
		var ids []string
		for _, n := range pairs(s)[3].([]any) {
			f := map[any]any{}
			for kv := pairs(n); len(kv) > 0; kv = kv[2:] {
				f[kv[0]] = kv[1]
			}
			ids = append(ids, f["id"].(string))
			if h, has := f["hostname"]; has {
				change(f["id"].(string), func(v *told) { v.shards = h.(string) })
			}
		}
		slices.Sort(ids)
		for _, id := range ids {
			change(id, func(v *told) { v.mates = strings.Join(ids, " ") })
		}
	}
	if !names(o) {
		return all, nil
	}
	if _, err := o.Do("CLUSTER", "SAVECONFIG"); err != nil {
		return nil, err
	}
	for id, l := range readConf(t, o) {
		change(id, func(v *told) { v.nodename, v.shard = l.aux["nodename"], l.aux["shard-id"] })
	}
	return all, nil
}

// A roster is the nodes of a cluster in their shards, each with the badge that it
// wears.
type roster struct {
	t      *testing.T
	shards [][]*proc.Node // the primary first
	badges map[*proc.Node]badge
}

func (r *roster) nodes() []*proc.Node { return slices.Concat(r.shards...) }

// dress gives all nodes new badges.
func (r *roster) dress(generation string) {
	for i, n := range r.nodes() {
		r.badges[n] = badge{fmt.Sprintf("%s-%d.example", generation, i), fmt.Sprintf("%s/%d", generation, i)}
		wear(n, r.badges[n])
	}
}

// agreed waits until every node says of every node what that one says of itself,
// as far as both know of it, and all have the same nodes in the same shards.
func (r *roster) agreed(when string) {
	r.t.Helper()
	took := proc.Wait(r.t, proc.Patience, "one view of names and shards "+when, func() string {
		ids, own := map[*proc.Node]string{}, map[*proc.Node]string{}
		for _, n := range r.nodes() {
			ids[n] = n.Text("CLUSTER", "MYID")
			if names(n) {
				own[n] = n.Text("CLUSTER", "MYSHARDID")
			}
		}
		for _, o := range r.nodes() {
			heard, err := hear(r.t, o)
			if err != nil {
				return fmt.Sprintf("%s: %v", o, err)
			}
			for _, s := range r.shards {
				var mates []string
				for _, n := range s {
					mates = append(mates, ids[n])
				}
				slices.Sort(mates)
				for i, n := range s {
					want := told{badge: r.badges[n], mates: strings.Join(mates, " ")}
					want.slots, want.shards = want.hostname, want.hostname
					got := heard[ids[n]]
					if !names(n) || !names(o) {
						want.nodename, got.nodename = "", ""
					}
					switch {
					case !names(o):
						got.shard = ""
					case names(s[0]):
						want.shard = own[s[0]]
					default: // each has drawn one for a primary that has none
						want.shard = heard[ids[s[0]]].shard
					}
					if own[n] != "" && own[s[0]] != "" && own[n] != own[s[0]] {
						return fmt.Sprintf("%s is in shard %s, its primary %s in %s", n, own[n], s[0], own[s[0]])
					}
					if i == 0 && len(s[0].Myself().Slots) == 0 {
						want.slots = "" // in no row
					}
					if o.Program.Name == proc.Redis7.Name && len(s[0].Myself().Slots) == 0 {
						want.mates, got.mates = "", ""
					}
					if got != want {
						return fmt.Sprintf("%s says of %s\n%+v, want\n%+v", o, n, got, want)
					}
				}
			}
		}
		return ""
	})
	r.t.Logf("agreed %s in %v", when, took.Round(time.Millisecond))
}

// Host names, human names and shard ids travel between Skein and real nodes in
// both directions and are the same everywhere: at first, changed at run time, taken
// away, after a restart of each node by SIGTERM and by SIGKILL, after a failover,
// and after a node was reset and met again.
func TestMixedIdentity(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, k proc.Real) {
		skein, real := proc.Skein(t), k.Program(t)
		c := proc.FormShardsOf(t, []proc.Shard{{Primary: skein, Replicas: []proc.Program{real}}, {Primary: real, Replicas: []proc.Program{skein}}},
			"--repl-ping-replica-period", "1") // a replica is listed once it has had a byte
		r := &roster{t: t, shards: [][]*proc.Node{{c.Nodes[0], c.Nodes[2]}, {c.Nodes[1], c.Nodes[3]}}, badges: map[*proc.Node]badge{}}
		r.agreed("without names")
		r.dress("first")
		r.agreed("with names")
		r.dress("second")
		r.agreed("after a change")

		for i, n := range r.nodes() {
			if !*long && i != 2 {
				continue
			}
			if i%2 == 0 {
				n.Stop()
			} else {
				n.Kill()
			}
			n.Start()
			c.WaitHealthy(proc.Patience)
			r.agreed("after a restart of " + n.String())
		}

		for i, s := range r.shards {
			failoverBy(t, s[1], s[0], r.nodes()...)
			r.shards[i] = []*proc.Node{s[1], s[0]}
		}
		c.WaitHealthy(proc.Patience)
		r.agreed("after failovers")

		for n := range r.badges {
			r.badges[n] = badge{}
			wear(n, badge{})
		}
		r.agreed("without names again")

		// Softly reset, a node keeps its id; it goes to the other shard, and home.
		r.dress("soft")
		for home := range 2 {
			if !*long {
				break
			}
			n := r.shards[home][1]
			n.Must("CLUSTER", "RESET", "SOFT")
			n.Must("CLUSTER", "MEET", "127.0.0.1", r.shards[home][0].Port)
			proc.WaitKnown(t, 4, r.nodes()...)
			for _, shard := range []int{1 - home, home} {
				r.move(n, shard)
				inStep(t, r.shards[shard][0], n)
				r.agreed(fmt.Sprintf("with %s in shard %d after a soft reset", n, shard))
			}
		}
		// Reset hard, it is a new node, in a shard of its own until it replicates.
		r.dress("hard")
		for home := range 2 {
			if !*long && home == 0 {
				continue
			}
			n := r.shards[home][1]
			old := n.Text("CLUSTER", "MYID")
			n.Must("CLUSTER", "RESET", "HARD")
			forget(t, old, slices.DeleteFunc(r.nodes(), func(o *proc.Node) bool { return o == n }))
			n.Must("CLUSTER", "MEET", "127.0.0.1", r.shards[1-home][0].Port)
			proc.WaitKnown(t, 4, r.nodes()...)
			r.leave(n)
			r.agreed(fmt.Sprintf("with %s alone after a hard reset", n))
			r.move(n, home)
			inStep(t, r.shards[home][0], n)
			r.agreed(fmt.Sprintf("with %s in shard %d after a hard reset", n, home))
		}
	})
}

// leave puts a node into a shard of its own, the last.
func (r *roster) leave(n *proc.Node) {
	for i, s := range r.shards {
		r.shards[i] = slices.DeleteFunc(s, func(o *proc.Node) bool { return o == n })
	}
	r.shards = slices.DeleteFunc(r.shards, func(s []*proc.Node) bool { return len(s) == 0 })
	r.shards = append(r.shards, []*proc.Node{n})
}

// move makes a node a replica of a shard's primary.
func (r *roster) move(n *proc.Node, shard int) {
	primary := r.shards[shard][0]
	r.leave(n)
	r.shards = r.shards[:len(r.shards)-1]
	r.shards[shard] = append(r.shards[shard], n)
	follow(r.t, n, primary)
}

// forget makes nodes forget an id. One of 7.0 has to be told; the others hear of
// it by gossip and may have forgotten it already.
func forget(t *testing.T, id string, nodes []*proc.Node) {
	t.Helper()
	proc.Wait(t, proc.Patience, "a node to be forgotten", func() string {
		for _, n := range nodes {
			if _, err := n.Do("CLUSTER", "FORGET", id); err != nil && !strings.Contains(err.Error(), "Unknown node") {
				return err.Error()
			}
		}
		for _, n := range nodes {
			peers, err := n.Peers()
			if err != nil || slices.ContainsFunc(peers, func(p proc.Peer) bool { return p.ID == id }) {
				return fmt.Sprintf("%s knows %v, %v", n, peers, err)
			}
		}
		return ""
	})
}
