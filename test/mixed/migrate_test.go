package mixed

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/testport"
	"github.com/skeindb/skein/test/proc"
)

// What is said to the source (s) and the target (t) of MIGRATE, in order. In a
// line TARGET is the target's address, CLOSED one where nothing listens; a line
// without a command is something that happens to the target.
const migrations = `
s SET k v
s MIGRATE TARGET k 0 1000
s EXISTS k
t GET k
s MIGRATE TARGET k 0 1000
s SET k new
s MIGRATE TARGET k 0 1000
s MIGRATE TARGET k 0 1000 COPY
s GET k
t GET k
s MIGRATE TARGET k 0 1000 COPY REPLACE
s GET k
t GET k
s MIGRATE TARGET k 0 1000 replace
s EXISTS k
t FLUSHALL
s MSET a 1 b 2 c 3
s MIGRATE TARGET '' 0 1000 KEYS a b nosuch
s EXISTS a b c
t EXISTS a b c
s MIGRATE TARGET '' 0 1000 KEYS nosuch nosuch2
s MIGRATE TARGET c 0 1000 KEYS a
s MIGRATE TARGET '' 0 1000 KEYS
s MIGRATE TARGET '' 0 1000
s MIGRATE TARGET c 0 1000 COPY COPY
s MIGRATE TARGET c 0 1000 NOSUCH
s MIGRATE TARGET c 0
s MIGRATE TARGET c x 1000
s MIGRATE TARGET c 0 x
s MIGRATE TARGET c 0 1000 AUTH
s MIGRATE TARGET c 0 1000 AUTH2 u
s MSET a 9 d 4
s MIGRATE TARGET '' 0 1000 KEYS a d
s EXISTS a c d
t EXISTS a d
s SET ttl v PX 1000000
s MIGRATE TARGET ttl 0 0
t PERSIST ttl
s SET ttl v PX 1000000
s MIGRATE TARGET ttl 0 -5 COPY REPLACE
t PERSIST ttl
s SET two v
s MIGRATE TARGET two 2 1000
t SELECT 2
t GET two
t SELECT 0
s SET many v
s MIGRATE TARGET many 99 1000
s EXISTS many
t CONFIG SET requirepass secret
s SET cached v
s MIGRATE TARGET cached 0 1000
restart
t CONFIG SET requirepass secret
s SET pass v
s MIGRATE TARGET pass 0 1000
s MIGRATE TARGET pass 0 1000 AUTH wrong
s EXISTS pass
s MIGRATE TARGET pass 0 1000 AUTH secret
s EXISTS pass
t GET pass
s MSET e 5 f 6
s MIGRATE TARGET '' 0 1000 AUTH2 default bad KEYS e f
s EXISTS e f
s MIGRATE TARGET '' 0 1000 REPLACE AUTH2 default secret KEYS e f
s EXISTS e f
t MGET e f
s SET g 7
s MIGRATE TARGET g 0 1000 AUTH2 nobody secret
s EXISTS g
t CONFIG SET requirepass ''
s SET h 8
s MIGRATE CLOSED h 0 1000
s EXISTS h
stop
s MIGRATE TARGET h 0 300
s EXISTS h
continue
s MIGRATE TARGET h 0 5000 REPLACE
s EXISTS h
t GET h
s SET i 9
kill
s MIGRATE TARGET i 0 1000
s EXISTS i
start
s MIGRATE TARGET i 0 1000
s EXISTS i
s SET j 10
restart
s MIGRATE TARGET j 0 1000
t GET j
s MULTI
s SET l 11
s MIGRATE TARGET l 0 1000
s EXISTS l
s EXEC
t GET l
`

// MIGRATE between Skein and a real server, in both directions, and between two of
// ours gives the replies that two servers of 7.0 give, byte for byte, and leaves the
// same keys: with every option, with passwords, with a target that refuses, that is
// gone, that does not answer, and that was restarted under a cached connection.
func TestMigrateReplyAlike(t *testing.T) {
	t.Parallel()
	old := proc.Redis7.Program(t)
	want := migrate(t, old, old)
	alike := func(t *testing.T, from, to proc.Program) {
		got := migrate(t, from, to)
		for i, line := range lines(migrations) {
			if got[i] != want[i] {
				t.Errorf("%d %s\n%s to %s: %s\nRedis 7.0: %s", i, line, from.Name, to.Name, got[i], want[i])
			}
		}
	}
	skein := proc.Skein(t)
	t.Run("skein to skein", func(t *testing.T) {
		t.Parallel()
		alike(t, skein, skein)
	})
	forEach(t, func(t *testing.T, r proc.Real) {
		for _, way := range [][2]proc.Program{{skein, r.Program(t)}, {r.Program(t), skein}} {
			t.Run(way[0].Name+" to "+way[1].Name, func(t *testing.T) {
				t.Parallel()
				alike(t, way[0], way[1])
			})
		}
	})
}

// migrate has the dialogue between two fresh servers and returns the replies.
func migrate(t *testing.T, from, to proc.Program) (replies []string) {
	t.Helper()
	source, target := proc.StartNode(t, from), proc.StartNode(t, to)
	s, d := source.Raw(2), target.Raw(2)
	free := testport.Free(t)
	for _, line := range lines(migrations) {
		who, text, _ := strings.Cut(line, " ")
		conn := s
		switch who {
		case "t":
			conn = d
		case "stop", "continue":
			freeze(t, target, who == "stop")
		case "kill", "start", "restart":
			if who != "start" {
				target.Kill()
			}
			if who != "kill" {
				target.Start()
				d = target.Raw(2)
			}
		}
		if text == "" {
			replies = append(replies, "")
			continue
		}
		text = strings.Replace(text, "TARGET", "127.0.0.1 "+strconv.Itoa(target.Port), 1)
		text = strings.Replace(text, "CLOSED", "127.0.0.1 "+strconv.Itoa(free), 1)
		args := strings.Fields(text)
		for i, a := range args {
			if a == "''" {
				args[i] = ""
			}
		}
		replies = append(replies, conn.Do(args...))
	}
	return replies
}

// freeze stops a process, all of it, or lets it go on.
func freeze(t *testing.T, n *proc.Node, stop bool) {
	t.Helper()
	if !stop {
		n.Signal(syscall.SIGCONT)
		return
	}
	n.Freeze()
}

// AUTH2 with a user that may not do everything, at each real target: what it
// refuses stays where it is.
func TestMigrateAsUser(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, r proc.Real) {
		s, d := proc.StartNode(t, proc.Skein(t)), proc.StartNode(t, r.Program(t))
		d.Must("ACL", "SETUSER", "mover", "on", ">word", "~ours:*", "+restore", "+select")
		s.Must("MSET", "ours:1", "a", "theirs:1", "b")
		move := func(key, password string) error {
			_, err := s.Do("MIGRATE", "127.0.0.1", d.Port, key, 0, 1000, "AUTH2", "mover", password)
			return err
		}
		if err := move("ours:1", "bad"); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("with a wrong password: %v", err)
		}
		d.Must("FLUSHALL") // a connection that was let in before may have written
		if err := move("ours:1", "word"); err != nil {
			t.Errorf("its own key: %v", err)
		}
		if err := move("theirs:1", "word"); err == nil || !strings.Contains(err.Error(), "ERR Target instance replied with error: NOPERM") {
			t.Errorf("another's key: %v", err)
		}
		if left, there := s.Text("KEYS", "*"), d.Text("KEYS", "*"); left != "[theirs:1]" || there != "[ours:1]" {
			t.Errorf("the source has %s, the target %s", left, there)
		}
	})
}

// Values of all types and encodings arrive as they were, at a Skein and from one.
func TestMigrateValues(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := proc.StartNode(t, proc.Skein(t)), proc.StartNode(t, r.Program(t))
		for _, way := range [][2]*proc.Node{{skein, real}, {real, skein}} {
			from, to := way[0], way[1]
			from.Must("FLUSHALL")
			to.Must("FLUSHALL")
			fillNode(t, from, "")
			before := from.Digest()
			args := []any{"MIGRATE", "127.0.0.1", to.Port, "", 0, 5000, "KEYS"}
			args = append(args, from.Must("KEYS", "*").([]any)...)
			from.Must(args...)
			if got := to.Digest(); got != before {
				t.Errorf("%s to %s: digest %s, was %s", from, to, got, before)
			}
			if n := from.Text("DBSIZE"); n != "0" {
				t.Errorf("%s to %s: %s keys left", from, to, n)
			}
		}
	})
}

// A connection to a target is used again, and closed when it was idle for ten to
// fifteen seconds. Of a real source, too, so that the test knows what it sees.
func TestMigrateConnections(t *testing.T) {
	if !*long {
		t.Skip("it waits for 15 s: with -long (make mixed)")
	}
	forEach(t, func(t *testing.T, r proc.Real) {
		for _, way := range [][2]proc.Program{{proc.Skein(t), r.Program(t)}, {r.Program(t), proc.Skein(t)}} {
			from, to := proc.StartNode(t, way[0]), proc.StartNode(t, way[1])
			received := func() int64 { return to.InfoInt("stats", "total_connections_received") }
			others := func() int {
				return strings.Count(to.Text("CLIENT", "LIST"), "\n") - int(to.Client().PoolStats().TotalConns)
			}
			before := received()
			for i := range 5 {
				from.Must("SET", i, "v")
				from.Must("MIGRATE", "127.0.0.1", to.Port, i, 0, 1000)
			}
			if n := received() - before; n != 1 {
				t.Errorf("%s made %d connections to %s for 5 keys, want 1", from, n, to)
			}
			if n := others(); n != 1 {
				t.Errorf("%d connections of %s stand, want 1", n, from)
			}
			last := time.Now()
			proc.Wait(t, proc.Patience, fmt.Sprintf("%s closes its connection to %s", from, to), func() string {
				if n := others(); n != 0 {
					return fmt.Sprint(n, " connections")
				}
				return ""
			})
			if idle := time.Since(last); idle < 8*time.Second || idle > 25*time.Second {
				t.Errorf("%s closed its connection after %v, want 10 to 15 s", from, idle)
			}
		}
	})
}
