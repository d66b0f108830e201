package engine_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestMulti(t *testing.T) {
	l := newLab(t)
	c, o := l.dial(), l.dial()
	c.is("EXEC", "-ERR^EXEC^without^MULTI")
	c.is("DISCARD", "-ERR^DISCARD^without^MULTI")
	c.is("MULTI", "+OK")
	c.is("MULTI", "-ERR^MULTI^calls^can^not^be^nested")
	c.is("WATCH a", "-ERR^WATCH^inside^MULTI^is^not^allowed")
	c.is("SET a 1", "+QUEUED")
	c.is("INCR a", "+QUEUED")
	c.is("LPUSH a x", "+QUEUED")
	c.is("EXEC", "*3 +OK :2 -WRONGTYPE^Operation^against^a^key^holding^the^wrong^kind^of^value")
	c.is("EXEC", "-ERR^EXEC^without^MULTI")

	c.is("MULTI", "+OK")
	c.is("GET", "-ERR^wrong^number^of^arguments^for^'get'^command")
	c.is("SET a 9", "+QUEUED")
	c.is("EXEC", "-EXECABORT^Transaction^discarded^because^of^previous^errors.")
	c.is("GET a", "$1 2")

	c.is("MULTI", "+OK")
	c.is("EXEC x", "-EXECABORT^Transaction^discarded^because^of:^wrong^number^of^arguments^for^'exec'^command")
	c.is("EXEC", "-ERR^EXEC^without^MULTI")
	c.is("MULTI", "+OK")
	c.is("EXEC", "*0")

	// WATCH: a change, even to the same value, by anyone, fails EXEC.
	c.is("WATCH a b", "+OK")
	o.is("SET b 1", "+OK")
	c.is("MULTI", "+OK")
	c.is("GET a", "+QUEUED")
	c.is("EXEC", "*-1")
	c.is("WATCH a", "+OK")
	c.is("SET a 2", "+OK")
	c.is("UNWATCH", "+OK")
	c.send("MULTI", "GET a", "EXEC")
	c.want("+OK +QUEUED *1 $1 2")

	// A flush counts for keys that exist, in their own database.
	c.is("WATCH a nokey", "+OK")
	o.is("SELECT 1", "+OK")
	o.is("SET nokey x", "+OK")
	o.is("FLUSHDB", "+OK")
	o.is("SELECT 0", "+OK")
	c.send("MULTI", "EXEC")
	c.want("+OK *0")
	c.is("WATCH nokey", "+OK")
	o.is("FLUSHALL", "+OK")
	c.send("MULTI", "EXEC")
	c.want("+OK *0")
	o.is("SET a 1", "+OK")
	c.is("WATCH a", "+OK")
	o.is("FLUSHALL", "+OK")
	c.send("MULTI", "PING", "EXEC")
	c.want("+OK +QUEUED *-1")

	// SELECT in a transaction holds behind it, too.
	c.send("MULTI", "SELECT 2", "SET z 1", "EXEC", "GET z")
	c.want("+OK +QUEUED +QUEUED *2 +OK +OK $1 1")
	o.is("EXISTS z", ":0")
}

// Accounts of many slots: money moves between random ones in transactions that
// hold several locks, and every reader sees the same sum. At the end no
// transaction is half applied, and none waits for another for ever.
func TestTransactionsAreAtomic(t *testing.T) {
	l := newLab(t)
	const accounts, movers, moves = 8, 4, 150
	setup := l.dial()
	var mget strings.Builder
	mget.WriteString("MGET")
	for i := range accounts {
		setup.is(fmt.Sprintf("SET acc%d 100", i), "+OK")
		fmt.Fprintf(&mget, " acc%d", i)
	}
	sum := func(reply string) (n int) {
		for i, f := range strings.Fields(reply) {
			if i > 0 && i%2 == 0 {
				k, err := strconv.Atoi(f)
				if err != nil {
					t.Errorf("balance %q", f)
				}
				n += k
			}
		}
		return n
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	for m := range movers {
		c := l.dial()
		wg.Go(func() {
			for i := range moves {
				from, to := (m*7+i*3)%accounts, (m*5+i*11+1)%accounts
				c.send("MULTI", fmt.Sprintf("DECRBY acc%d 7", from), "GET nothing", fmt.Sprintf("INCRBY acc%d 7", to), "EXEC")
				for range 5 {
					c.reply()
				}
			}
		})
	}
	// An optimistic one: WATCH, read, write what was read plus one.
	const bumps = 60
	for range 2 {
		c := l.dial()
		wg.Go(func() {
			for ok := 0; ok < bumps; {
				c.do("WATCH counter acc0")
				v := c.do("GET counter")
				n := 0
				if v != "$-1\r\n" {
					n, _ = strconv.Atoi(strings.Fields(v)[1])
				}
				c.send("MULTI", "SET counter "+strconv.Itoa(n+1), "EXEC")
				c.reply()
				c.reply()
				if c.reply() == "*1\r\n+OK\r\n" {
					ok++
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(done)
	}()
	reader := l.dial()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if n := sum(reader.do(mget.String())); n != accounts*100 {
			t.Fatalf("the sum is %d", n)
		}
	}
	reader.is("GET counter", "$3 "+strconv.Itoa(2*bumps))
}
