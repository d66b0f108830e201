package engine_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The sweep deletes fields whose time has come, of small hashes and of big ones,
// of which it takes several steps; a key moved, copied or made anew on the way is
// found all the same, and a hash that becomes empty goes.
func TestFieldsExpireInTheSweep(t *testing.T) {
	l := newLab(t)
	c := l.dial()
	const n = 3000
	var pairs, fields strings.Builder
	for i := range n {
		fmt.Fprintf(&pairs, " f%d v", i)
		fmt.Fprintf(&fields, " f%d", i)
	}
	c.do("HSET {x}big" + pairs.String())
	c.do("HPEXPIRE {x}big 1 FIELDS " + strconv.Itoa(n-1) + fields.String()[:strings.LastIndex(fields.String(), " ")])
	c.do("HSET {x}gone a 1 b 2")
	c.do("HPEXPIRE {x}gone 1 FIELDS 2 a b")
	c.do("HSET {x}moved a 1 b 2")
	c.do("HPEXPIRE {x}moved 1 FIELDS 1 a")
	c.do("COPY {x}moved {x}copy")
	c.do("RENAME {x}moved {x}renamed")
	c.do("HSET {x}later a 1 b 2")
	c.do("HPEXPIRE {x}later 100000 FIELDS 1 a")
	c.do("SET {x}other v PX 100000")
	c.do("DEL {x}other") // the last key with an expiry: the slot stays due
	never := func() bool { return false }
	for deadline := time.Now().Add(10 * time.Second); ; {
		l.SyncClock()
		l.ExpireCycle(never)
		if c.do("EXISTS {x}gone") == ":0\r\n" && c.do("HLEN {x}big") == ":1\r\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: big %q, gone %q", c.do("HLEN {x}big"), c.do("EXISTS {x}gone"))
		}
		time.Sleep(time.Millisecond)
	}
	c.is("HGETALL {x}renamed", "*2 $1 b $1 2")
	c.is("HLEN {x}copy", ":1")
	c.is("HLEN {x}later", ":2")
	c.is("OBJECT ENCODING {x}renamed", "$8 listpack")
	for i := range l.Store.DBs() {
		if n := l.Store.DB(i).Fielded(); i == 0 && n != 1 || i > 0 && n != 0 {
			t.Errorf("database %d counts %d hashes of which fields expire", i, n)
		}
	}
}
