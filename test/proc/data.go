package proc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// CompareKeys wants two nodes to have the same keys with the same values in the first
// databases, and names those that differ.
func CompareKeys(t testing.TB, dbs int, primary, replica *Node) {
	t.Helper()
	for db := range dbs {
		p, r := describeKeys(primary, db), describeKeys(replica, db)
		for _, k := range slices.Sorted(maps.Keys(p)) {
			if r[k] != p[k] {
				t.Errorf("db %d, key %s: %s has %q, %s has %q", db, k, primary, p[k], replica, r[k])
			}
		}
		for _, k := range slices.Sorted(maps.Keys(r)) {
			if _, ok := p[k]; !ok {
				t.Errorf("db %d, key %s: only %s has it: %q", db, k, replica, r[k])
			}
		}
	}
}

// describeKeys returns type, expiry and value of each key of a database. Scores
// are compared to 14 digits: distances that GEORADIUS stores are computed on each
// server, and the sine of one C library differs from another's in the last bit.
func describeKeys(n *Node, db int) map[string]string {
	ctx := context.Background()
	c := n.NewClient(db)
	keys := map[string]string{}
	for _, k := range c.Keys(ctx, "*").Val() {
		kind := c.Type(ctx, k).Val()
		text := fmt.Sprint(kind, " ", c.Do(ctx, "PEXPIRETIME", k).Val())
		if kind != "zset" {
			keys[k] = fmt.Sprint(text, " ", c.Do(ctx, "DEBUG", "DIGEST-VALUE", k).Val())
			continue
		}
		for _, z := range c.ZRangeWithScores(ctx, k, 0, -1).Val() {
			text += fmt.Sprintf(" %v %.14g", z.Member, z.Score)
		}
		keys[k] = text
	}
	return keys
}
