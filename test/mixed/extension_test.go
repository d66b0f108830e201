package mixed

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// Ping extension 4 is an address for clients to a Valkey node, which Skein tells
// and takes, and a secret to a Redis node, which Skein neither tells nor takes for
// an address: an address there would become the secret of all, the smallest wins.
func TestExtensionFour(t *testing.T) {
	const ours, theirs = "1.1.1.1", "192.0.2.2"
	forNewer(t, func(t *testing.T, r proc.Real) {
		real := r.Program(t)
		shards := []proc.Shard{{Primary: real}, {Primary: real}}
		c := proc.FormShardsOf(t, shards)
		secrets := func() (s [2]string) {
			for i, n := range c.Nodes[:2] {
				if r == proc.Redis8 {
					s[i] = n.Text("DEBUG", "INTERNAL_SECRET")
				}
			}
			return s
		}
		var before [2]string
		proc.Wait(t, proc.Patience, "one secret", func() string {
			if before = secrets(); before[0] != before[1] {
				return fmt.Sprint(before)
			}
			return ""
		})
		for range 2 { // two, so that there is a link between nodes of ours
			n := proc.StartNode(t, proc.Skein(t), proc.ClusterArgs("--cluster-announce-client-ipv4", ours)...)
			n.Must("CLUSTER", "MEET", "127.0.0.1", c.Nodes[0].Port)
			c.Nodes = append(c.Nodes, n)
		}
		if r == proc.Valkey8 {
			for _, n := range c.Nodes[:2] {
				n.Must("CONFIG", "SET", "cluster-announce-client-ipv4", theirs)
			}
		}
		proc.WaitKnown(t, 4, c.Nodes...)
		want := map[bool]string{true: ours} // of Skein nodes, of real ones
		if r == proc.Valkey8 {
			want[false] = theirs
		}
		told := func() string {
			for _, o := range c.Nodes {
				if !o.Program.Skein && r != proc.Valkey8 {
					continue
				}
				o.Must("CLUSTER", "SAVECONFIG")
				rows := readConf(t, o)
				for _, n := range c.Nodes {
					if got := rows[n.Text("CLUSTER", "MYID")].aux["client-ipv4"]; got != want[n.Program.Skein] {
						return fmt.Sprintf("%s says %q of %s, want %q", o, got, n, want[n.Program.Skein])
					}
				}
			}
			return ""
		}
		proc.Wait(t, proc.Patience, "addresses for clients", told)
		if r == proc.Valkey8 { // what it is for
			for _, o := range c.Nodes {
				if got := fmt.Sprint(o.Must("CLUSTER", "SLOTS")); strings.Count(got, theirs) < 2 {
					t.Errorf("%s: CLUSTER SLOTS %s, want the address %s of both primaries", o, got, theirs)
				}
				key := "foo" // in a slot of the second
				if o == c.Nodes[1] {
					key = "b"
				}
				if _, err := o.Do("GET", key); err == nil || !strings.Contains(err.Error(), " "+theirs+":") {
					t.Errorf("%s: GET %s: %v, want MOVED to %s", o, key, err, theirs)
				}
			}
		}
		// Every node has exchanged pings with every other by now.
		if after := secrets(); after != before {
			t.Errorf("secrets %v, before %v", after, before)
		}
		for _, n := range c.Nodes {
			n.Kill()
			n.Start() // from a file that it accepts
		}
		proc.WaitKnown(t, 4, c.Nodes...)
		c.WaitHealthy(proc.Patience)
		if r != proc.Valkey8 { // Valkey's own has gone with the restart
			proc.Wait(t, proc.Patience, "addresses for clients after a restart", told)
		}
	})
}
