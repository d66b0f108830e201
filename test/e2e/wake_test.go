package e2e

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/test/proc"
)

// Requests that queue up in the sockets of a stopped primary are not
// acknowledged when it goes on: its successor does not have them. Many clients
// pipeline writes while it is stopped; after it has been replaced it is woken,
// and all that they are told is read.
func TestWokenPrimaryAcknowledgesNothing(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	sleeper := owner(t, c, "foo")
	heir := c.Replicas(sleeper)[0]
	sleeper.Must("SET", "{foo}x", "before")
	proc.WaitInStep(t, sleeper, heir)

	const clients, depth = 50, 100
	var conns []net.Conn
	for range clients {
		conn, err := net.Dial("tcp", sleeper.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	for i, conn := range conns { // every connection is served already
		fmt.Fprintf(conn, "PING\r\n")
		if _, err := io.ReadFull(conn, make([]byte, len("+PONG\r\n"))); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	sleeper.Freeze()
	for i, conn := range conns {
		fmt.Fprint(conn, strings.Repeat(fmt.Sprintf("SET {foo}lost:%d 1\r\n", i), depth))
	}
	heir.WaitSet("{foo}x", "after")
	sleeper.Signal(syscall.SIGCONT)
	told := map[string]int{}
	for _, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(proc.Patience))
		buf := make([]byte, 0, 1<<16)
		for n := 0; n < depth; n = strings.Count(string(buf), "\r\n") {
			if len(buf) == cap(buf) {
				buf = slices.Grow(buf, 1)
			}
			k, err := conn.Read(buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+k]
			if err != nil {
				break // closed, which acknowledges nothing
			}
		}
		for line := range strings.Lines(string(buf)) {
			told[strings.Fields(line)[0]]++
		}
	}
	if told["+OK"] > 0 || told["-CLUSTERDOWN"] == 0 {
		t.Errorf("the woken primary said %v, want CLUSTERDOWN or MOVED and no OK", told)
	}
	t.Logf("the woken primary said %v", told)
	c.WaitHealthy(proc.Patience)
	if got := heir.Text("GET", "{foo}x"); got != "after" {
		t.Errorf("GET {foo}x: %s, want after", got)
	}
}

// During a manual failover clients wait for a moment only: two of three show it, the
// machine may be busy in the other.
func TestManualFailoverPause(t *testing.T) {
	c := proc.StartCluster(t, 3, 1)
	old := owner(t, c, "foo")
	heir := c.Replicas(old)[0]
	old.Must("SET", "{foo}n", "0")
	proc.WaitInStep(t, old, heir)
	var waits []time.Duration
	for range 3 {
		done := make(chan time.Duration)
		stop := make(chan struct{})
		go func() { // a client that writes to whoever takes it, and notes its longest wait
			var longest time.Duration
			last, node := time.Now(), old
			for {
				select {
				case <-stop:
					done <- longest
					return
				default:
				}
				if _, err := node.Do("INCR", "{foo}n"); err != nil {
					if node == old {
						node = heir
					} else {
						node = old
					}
					continue
				}
				longest = max(longest, time.Since(last))
				last = time.Now()
			}
		}()
		proc.Wait(t, proc.Patience, "the primary knows its replica", func() string {
			if list, err := old.Do("CLUSTER", "REPLICAS", old.Myself().ID); err != nil || len(list.([]any)) == 0 {
				return fmt.Sprint(list, err)
			}
			return ""
		})
		heir.Must("CLUSTER", "FAILOVER")
		took := proc.Wait(t, proc.Patience, "roles exchanged", func() string {
			if !heir.Myself().Is("master") || !old.Myself().Is("slave") {
				return "not yet"
			}
			return ""
		})
		var before any // the first value that the heir shows: it serves a moment after it says that it will
		proc.Wait(t, proc.Patience, "writer goes on", func() string {
			now, err := heir.Do("GET", "{foo}n")
			if err == nil && before == nil {
				before = now
			}
			if err != nil || now == before {
				return fmt.Sprint("no write since the failover, ", err)
			}
			return ""
		})
		close(stop)
		longest := <-done
		t.Logf("roles exchanged after %v, longest wait of the writer %v", took.Round(time.Millisecond), longest.Round(time.Millisecond))
		waits = append(waits, longest)
		c.WaitHealthy(proc.Patience)
		old, heir = heir, old
		proc.WaitInStep(t, old, heir)
	}
	slices.Sort(waits)
	if limit := 200 * time.Millisecond; waits[1] > limit && !testing.Short() {
		t.Errorf("writes waited %v during manual failovers, want at most %v", waits, limit)
	}
}
