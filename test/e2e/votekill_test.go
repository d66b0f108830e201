package e2e

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

var voteKillTime = flag.Duration("vote-kill", 0, "how long elections are held while voters are killed (default 8s, 4s with -short)")

// ledger is what the nodes of a cluster have ever written about epochs.
type ledger struct {
	t      *testing.T
	mu     sync.Mutex
	vars   map[*proc.Node][2]uint64 // currentEpoch, lastVoteEpoch of its file
	owners map[uint64]string        // configEpoch -> id of the primary that had it
	files  int
}

// owns notes that a primary says it has an epoch.
func (l *ledger) owns(id string, epoch uint64, where string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.owners[epoch]; other != "" && other != id {
		l.t.Errorf("epoch %d is of %s, by %s also of %s", epoch, other, where, id)
	}
	l.owners[epoch] = id
}

// read takes the nodes.conf of a node that is not running into the books.
func (l *ledger) read(n *proc.Node) {
	text, err := os.ReadFile(n.Path("nodes.conf"))
	if err != nil {
		l.t.Errorf("%s: %v", n, err)
		return
	}
	myself, vars := 0, 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && f[0] == "vars":
			vars++
			current, _ := strconv.ParseUint(f[2], 10, 64)
			vote, _ := strconv.ParseUint(f[4], 10, 64)
			if was := l.vars[n]; current < was[0] || vote < was[1] || vote > current {
				l.t.Errorf("%s: currentEpoch %d and lastVoteEpoch %d, its file had %d and %d before", n, current, vote, was[0], was[1])
			}
			l.vars[n] = [2]uint64{current, vote}
		case len(f) >= 8 && strings.HasPrefix(f[2], "myself"):
			myself++
			if epoch, _ := strconv.ParseUint(f[6], 10, 64); strings.Contains(f[2], "master") {
				l.owns(f[0], epoch, "the file of "+n.String())
			}
		}
	}
	if myself != 1 || vars != 1 {
		l.t.Errorf("%s: %d lines of itself and %d of epochs in its file:\n%s", n, myself, vars, text)
	}
	if left, _ := filepath.Glob(n.Path("nodes.conf*")); len(left) > 4 {
		l.t.Errorf("%s leaves files behind: %v", n, left)
	}
	l.files++
}

var granted = regexp.MustCompile(`vote granted .*epoch=(\d+)`)

// votes counts the votes in a node's log; none may be given twice.
func (l *ledger) votes(n *proc.Node) (count int) {
	seen := map[string]bool{}
	for _, m := range granted.FindAllStringSubmatch(n.Log(), -1) {
		if seen[m[1]] {
			l.t.Errorf("%s voted twice in epoch %s", n, m[1])
		}
		seen[m[1]] = true
	}
	return len(seen)
}

// Goal: nodes.conf is whole and never goes back whenever a node dies, so that no
// vote is given twice and no two nodes ever have one config epoch.
// Method: elections by CLUSTER FAILOVER FORCE all the time, while a random node is
// killed after a random time, its file read, and it is started again.
func TestVotersKilled(t *testing.T) {
	limit := *voteKillTime
	if limit == 0 {
		limit = 8 * time.Second
		if testing.Short() {
			limit = 4 * time.Second
		}
	}
	c := proc.FormShards(t, []int{1, 1, 1}, "--cluster-node-timeout", "1000")
	l := &ledger{t: t, vars: map[*proc.Node][2]uint64{}, owners: map[uint64]string{}}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for i := range c.Nodes {
		wg.Go(func() { // asks its node to stand for election whenever it is a replica
			n := c.Nodes[i]
			for {
				select {
				case <-quit:
					return
				case <-time.After(20 * time.Millisecond):
				}
				peers, _ := n.Peers()
				for _, p := range peers {
					if !p.Is("myself") {
						continue
					}
					if p.Is("slave") {
						n.Do("CLUSTER", "FAILOVER", "FORCE")
					} else {
						l.owns(p.ID, p.Epoch, "the word of "+n.String())
					}
				}
			}
		})
	}
	kills, nodes := 0, append([]*proc.Node(nil), c.Nodes...)
	for began := time.Now(); time.Since(began) < limit && !t.Failed(); kills++ {
		rnd.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		victims := nodes[:1+rnd.IntN(2)]
		for _, n := range victims {
			time.Sleep(time.Duration(rnd.IntN(120)) * time.Millisecond)
			n.Kill()
			l.read(n)
		}
		for _, n := range victims {
			n.Start() // it loads
		}
		if kills%4 == 3 { // now and then they live long enough for an election
			before := elections(c)
			proc.Wait(t, proc.Patience, "an election", func() string {
				if elections(c) == before {
					return "nobody was elected"
				}
				return ""
			})
		}
	}
	close(quit)
	wg.Wait()
	c.WaitHealthy(proc.Patience)
	votes, won := 0, elections(c)
	for _, n := range c.Nodes {
		n.Kill()
		l.read(n)
		votes += l.votes(n)
	}
	t.Logf("%d files read after %d rounds of kills, %d votes, %d elections won, %d epochs owned", l.files, kills, votes, won, len(l.owners))
	if votes < 2 || won < 1 || l.files < 8 {
		t.Error("too little has happened")
	}
}

// elections is how many a cluster has held.
func elections(c *proc.Cluster) (won int) {
	for _, n := range c.Nodes {
		won += strings.Count(n.Log(), "election won")
	}
	return won
}
