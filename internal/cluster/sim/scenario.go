package sim

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skeindb/skein/internal/cluster"
)

// A scenario is a story from the field, told in a file, a command a line:
//
//	clusters 2           before anything else: two clusters side by side (1)
//	nodes 6  primaries 3 timeout 2000 seed 1   of each cluster
//	kill SET, power SET, start SET, pause SET, resume SET
//	cut SET | SET, mend  partition both ways, and its end
//	bump SET             CLUSTER BUMPEPOCH at the same moment
//	move SET             the stopped nodes come back under other addresses
//	meet A,B             CLUSTER MEET at A with the address of B
//	swap A,B             the stopped nodes A and B exchange addresses
//	rolling SET          one after the other is killed and started
//	wait DURATION
//	expect CONDITION within DURATION
//	never CONDITION for DURATION
//
// A SET is all, primaries, replicas (as the cluster began), half of one of them
// ("half primaries"), numbers and ranges ("0-2,7"). A CONDITION is one of: agree
// (the nodes that run see one whole cluster that serves), fail SET (state fail
// at all of them), serve SET, merged (a node knows one of the other cluster).
type scenario struct {
	w        *World
	clusters int
	nodes    int
	prims    int
	timeout  cluster.Millis
	seed     uint64
	cuts     []func()
	began    bool
	owner    map[cluster.NodeID]int // id -> cluster
}

// RunScenario lives the scenario of a file and tells what went wrong, if anything.
func RunScenario(name string, trace *os.File) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	s := &scenario{clusters: 1, nodes: 6, prims: 3, timeout: 2000, seed: 1}
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if err := s.do(f, trace); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", name, i+1, strings.TrimSpace(line), err)
		}
		if s.w != nil && s.w.err != nil {
			return fmt.Errorf("%s:%d: %s: %w", name, i+1, strings.TrimSpace(line), s.w.err)
		}
	}
	return nil
}

func (s *scenario) do(f []string, trace *os.File) error {
	if set := map[string]bool{"clusters": true, "nodes": true, "primaries": true, "timeout": true, "seed": true}; set[f[0]] && len(f)%2 == 0 {
		if s.began {
			return fmt.Errorf("too late")
		}
		for i := 0; i < len(f); i += 2 {
			n, err := strconv.Atoi(f[i+1])
			if err != nil || n < 0 || !set[f[i]] {
				return fmt.Errorf("%s %s: want a number", f[i], f[i+1])
			}
			switch f[i] {
			case "clusters":
				s.clusters = n
			case "nodes":
				s.nodes = n
			case "primaries":
				s.prims = n
			case "timeout":
				s.timeout = cluster.Millis(n)
			case "seed":
				s.seed = uint64(n)
			}
		}
		return nil
	}
	if !s.began {
		s.begin(trace)
	}
	w, arg := s.w, strings.Join(f[1:], " ")
	if f[0] == "expect" || f[0] == "never" {
		return s.watch(f)
	}
	if f[0] == "wait" {
		d, err := time.ParseDuration(arg)
		w.runUntil(w.now+d.Microseconds(), nil)
		return err
	}
	if f[0] == "mend" {
		for _, undo := range s.cuts {
			undo()
		}
		s.cuts = nil
		w.net.retransmit()
		return nil
	}
	if f[0] == "cut" {
		left, right, _ := strings.Cut(arg, "|")
		a, err := s.set(left)
		if err != nil {
			return err
		}
		b, err := s.set(right)
		if err != nil {
			return err
		}
		by := func(d int) {
			for _, x := range a {
				for _, y := range b {
					w.net.cut(x, y, d)
					w.net.cut(y, x, d)
				}
			}
		}
		by(1)
		s.cuts = append(s.cuts, func() { by(-1) })
		return nil
	}
	set, err := s.set(arg)
	if err != nil {
		return err
	}
	if f[0] == "swap" || f[0] == "meet" {
		if len(set) != 2 {
			return fmt.Errorf("want two nodes")
		}
		a, b := set[0], set[1]
		if f[0] == "meet" {
			a.admin(cluster.Meet{IP: b.ip, Port: clientPort})
			return nil
		}
		a.ip, b.ip = b.ip, a.ip
		w.byIP[a.ip], w.byIP[b.ip] = a, b
		return nil
	}
	for _, n := range set {
		switch f[0] {
		case "kill":
			n.kill()
		case "power":
			n.losePower()
		case "start":
			n.restart()
		case "pause":
			n.pause()
		case "resume":
			n.resume()
		case "bump":
			n.admin(cluster.BumpEpoch{})
		case "move":
			delete(w.byIP, n.ip)
			n.ip = "10.99" + strings.TrimPrefix(n.ip, "10.0")
			w.byIP[n.ip] = n
			n.restart()
		case "rolling":
			n.kill()
			w.runUntil(w.now+2*second, nil)
			n.restart()
			w.runUntil(w.now+10*second+8*int64(s.timeout)*ms, func() error { return s.holds("agree") })
			if err := s.holds("agree"); err != nil {
				return fmt.Errorf("after %v: %w", n, err)
			}
		default:
			return fmt.Errorf("unknown command")
		}
	}
	return nil
}

// begin makes the clusters and waits until they stand.
func (s *scenario) begin(trace *os.File) {
	s.began = true
	opt := Options{Nodes: s.clusters * s.nodes, Faults: []string{}}
	if trace != nil {
		opt.Trace = trace
	}
	w := newWorld(s.seed, opt)
	w.defaultSettings(s.timeout)
	s.w, s.owner = w, map[cluster.NodeID]int{}
	all := w.nodes
	for c := range s.clusters {
		w.nodes = all[c*s.nodes : (c+1)*s.nodes]
		w.createShards(s.prims)
		for _, n := range w.nodes {
			s.owner[n.id] = c
		}
	}
	w.nodes = all
	w.runUntil(w.now+60*second, func() error { return s.holds("agree") })
	if err := s.holds("agree"); err != nil && w.err == nil {
		w.fail(nil, "setup", "%v", err)
	}
	w.tracef(nil, "the story begins")
}

// set is the nodes that a text names.
func (s *scenario) set(text string) (list []*node, err error) {
	f := strings.Fields(text)
	half := len(f) > 0 && f[0] == "half"
	if half {
		f = f[1:]
	}
	if len(f) == 0 {
		return nil, fmt.Errorf("no nodes named")
	}
	for _, word := range f {
		for _, part := range strings.Split(word, ",") {
			first, last := 0, 0
			switch part {
			case "all", "primaries", "replicas":
				for i, n := range s.w.nodes {
					if primary := i%s.nodes < s.prims; part == "all" || primary == (part == "primaries") {
						list = append(list, n)
					}
				}
				continue
			default:
				a, b, isRange := strings.Cut(part, "-")
				if !isRange {
					b = a
				}
				var err1, err2 error
				first, err1 = strconv.Atoi(a)
				last, err2 = strconv.Atoi(b)
				if err1 != nil || err2 != nil || first > last || last >= len(s.w.nodes) {
					return nil, fmt.Errorf("no nodes %q", part)
				}
			}
			list = append(list, s.w.nodes[first:last+1]...)
		}
	}
	if half {
		list = list[:len(list)/2]
	}
	return list, nil
}

// watch is "expect C within D" or "never C for D".
func (s *scenario) watch(f []string) error {
	i := slices.IndexFunc(f, func(x string) bool { return x == "within" || x == "for" })
	if i < 2 || i+2 != len(f) {
		return fmt.Errorf("want: expect C within D, or never C for D")
	}
	d, err := time.ParseDuration(f[i+1])
	if err != nil {
		return err
	}
	w, cond := s.w, strings.Join(f[1:i], " ")
	w.runUntil(w.now+d.Microseconds(), func() error { return s.holds(cond) })
	err = s.holds(cond)
	switch {
	case w.err != nil:
		return w.err
	case f[0] == "never" && err == nil:
		return fmt.Errorf("it happened, at %d ms", w.now/ms)
	case f[0] == "never":
		return nil
	}
	return err
}

// holds returns nil if a condition holds.
func (s *scenario) holds(cond string) error {
	word, arg, _ := strings.Cut(cond, " ")
	switch word {
	case "agree":
		for c := range s.clusters {
			if err := s.agree(c); err != nil {
				return err
			}
		}
		return nil
	case "fail", "serve":
		set, err := s.set(arg)
		if err != nil {
			return err
		}
		for _, n := range set {
			if ok := n.up && n.view.State == cluster.StateOK; ok != (word == "serve") {
				return fmt.Errorf("%v: runs and serves: %v", n, ok)
			}
		}
		return nil
	case "merged":
		for i, n := range s.w.nodes {
			if !n.up {
				continue
			}
			for _, nv := range n.view.Nodes {
				if c, known := s.owner[nv.ID]; known && c != i/s.nodes {
					return nil
				}
			}
		}
		return fmt.Errorf("not merged")
	}
	return fmt.Errorf("unknown condition")
}

// agree tells whether the running nodes of a cluster see one cluster without
// holes: the same owner of every slot, who runs and knows it, none of them in
// state fail, none seen failing, epochs of owners distinct.
func (s *scenario) agree(c int) error {
	var first *node
	for _, n := range s.w.nodes[c*s.nodes : (c+1)*s.nodes] {
		if !n.up || n.paused {
			continue
		}
		if n.view.State != cluster.StateOK {
			return fmt.Errorf("%v: state fail", n)
		}
		if first == nil {
			first = n
		}
		epochs := map[uint64]bool{}
		covered := 0
		for _, nv := range n.view.Nodes {
			o := s.w.checker.byID[nv.ID]
			runs := o != nil && o.up && !o.paused
			if runs && nv.Flags.Any(cluster.FlagFail|cluster.FlagPFail|cluster.FlagHandshake) {
				return fmt.Errorf("%v sees %v with flags %s", n, o, cluster.AppendFlags(nil, nv.Flags))
			}
			if nv.Slots.Empty() || !nv.Flags.Has(cluster.FlagPrimary) {
				continue
			}
			if !runs || !o.view.Myself().Slots.Equal(nv.Slots) || epochs[nv.ConfigEpoch] {
				return fmt.Errorf("%v: %d slots belong to %v, who does not serve them, or with an epoch used twice", n, nv.Slots.Len(), nv.ID)
			}
			epochs[nv.ConfigEpoch] = true
			covered += nv.Slots.Len()
		}
		if covered != cluster.SlotCount {
			return fmt.Errorf("%v: %d slots have an owner", n, covered)
		}
	}
	if first == nil {
		return fmt.Errorf("no node runs")
	}
	return nil
}
