package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// Skein and redis-server share a cluster: the primaries are of one kind, the
// replicas of the other. A killed primary is succeeded by its replica, with the
// votes of the others, and comes back as a replica of it with the same data.
func TestMixedCluster(t *testing.T) {
	skein, redis := proc.Skein(t), proc.Redis(t)
	for _, kinds := range [][2]proc.Program{{redis, skein}, {skein, redis}} {
		t.Run(kinds[0].Name+" primaries with "+kinds[1].Name+" replicas", func(t *testing.T) {
			if testing.Short() && kinds[0].Skein {
				t.Skip("the other way round is enough for the short form")
			}
			c := proc.StartClusterOf(t, slices.Concat(slices.Repeat(kinds[:1], 3), slices.Repeat(kinds[1:], 3)), 1)
			fill(t, c)
			victim := owner(t, c, "foo")
			heir := c.Replicas(victim)[0]
			if victim.Program.Name != kinds[0].Name || heir.Program.Name != kinds[1].Name {
				t.Fatalf("primary %s, replica %s", victim, heir)
			}
			proc.WaitInStep(t, victim, heir)
			digest := victim.Digest()

			victim.Kill()
			start := time.Now()
			proc.Wait(t, proc.Patience, heir.String()+" serves", func() string {
				if _, err := heir.Do("SET", "{foo}after", "1"); err != nil {
					return err.Error()
				}
				return ""
			})
			if took := time.Since(start); took > failoverLimit {
				t.Errorf("served again after %v, want at most %v", took, failoverLimit)
			}
			heir.Must("DEL", "{foo}after")
			if got := heir.Digest(); got != digest {
				t.Errorf("digest %s after the failover, %s before", got, digest)
			}
			victim.Start()
			c.WaitHealthy(proc.Patience)
			if me := victim.Myself(); !me.Is("slave") || me.Primary != heir.Myself().ID {
				t.Errorf("%s came back as %+v, want a replica of %s", victim, me, heir.Myself().ID)
			}
			proc.WaitInStep(t, heir, victim)

			// And back by hand, without loss.
			if got := victim.Text("CLUSTER", "FAILOVER"); got != "OK" {
				t.Fatalf("CLUSTER FAILOVER: %s", got)
			}
			proc.Wait(t, proc.Patience, "roles exchanged", func() string {
				if v, h := victim.Myself(), heir.Myself(); !v.Is("master") || !h.Is("slave") {
					return fmt.Sprintf("%s is %v, %s is %v", victim, v.Flags, heir, h.Flags)
				}
				return ""
			})
			c.WaitHealthy(proc.Patience)
			proc.WaitInStep(t, victim, heir)
			if got := victim.Digest(); got != digest {
				t.Errorf("digest %s in the end, %s at the start", got, digest)
			}
		})
	}
}
