package repl

import (
	"fmt"
	"testing"
)

// Whether a node's data may stand for its shard: a primary's may; that of a
// replica asked for everything may not until it has come, even if the link
// cannot be made at first; a replica that continues, loses its link or is
// promoted keeps what it has; a file of another place is distrusted until the
// primary has been heard.
func TestComplete(t *testing.T) {
	t.Parallel()
	p, r := newNode(t, nil), newNode(t, nil)
	is := func(want bool, when string) {
		t.Helper()
		if got := r.repl.Complete(); got != want {
			t.Errorf("%s: Complete() = %v, want %v", when, got, want)
		}
	}
	becomes := func(when string) {
		t.Helper()
		eventually(t, when, r.repl.Complete, func() string { return fmt.Sprintf("%+v", r.repl.Status()) })
	}
	p.client().want("SET k v", "+OK")
	is(true, "a primary")
	r.links.cut(true) // no connection is made
	r.repl.Follow("127.0.0.1", p.port, FollowOptions{Full: true})
	is(false, "asked for everything")
	r.links.cut(false)
	becomes("full sync")
	inStep(t, p, r)
	r.links.cut(true)
	is(true, "the link is cut")
	r.repl.Promote()
	is(true, "promoted")
	r.repl.Follow("127.0.0.1", p.port, FollowOptions{})
	is(true, "follows again and may continue")
	r.repl.Distrust()
	is(false, "distrusted")
	r.links.cut(false)
	becomes("continued or synced")
}
