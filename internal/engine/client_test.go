package engine_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The replies to faulty CLIENT commands are those of redis-server.
func TestClientErrors(t *testing.T) {
	l := newLab(t)
	c := l.dial()
	for _, tt := range []struct{ line, want string }{
		{"CLIENT", "-ERR wrong number of arguments for 'client' command"},
		{"CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP."},
		{"CLIENT MAINT_NOTIFICATIONS ON", "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP."},
		{"CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'"},
		{"CLIENT LIST ID a", "-ERR Invalid client ID"},
		{"CLIENT LIST X", "-ERR syntax error"},
		{"CLIENT LIST TYPE normal x", "-ERR syntax error"},
		{"CLIENT LIST ID 999", "$0\r\n"},
		{"CLIENT KILL", "-ERR wrong number of arguments for 'client|kill' command"},
		{"CLIENT KILL 1.1.1.1:1", "-ERR No such client"},
		{"CLIENT KILL ID", "-ERR No such client"},
		{"CLIENT KILL ID x", "-ERR client-id should be greater than 0"},
		{"CLIENT KILL ID 0", "-ERR client-id should be greater than 0"},
		{"CLIENT KILL ID 99", ":0"},
		{"CLIENT KILL ID 1 2", "-ERR syntax error"},
		{"CLIENT KILL TYPE x", "-ERR Unknown client type 'x'"},
		{"CLIENT KILL TYPE normal", ":0"},
		{"CLIENT KILL USER x", "-ERR No such user 'x'"},
		{"CLIENT KILL SKIPME x", "-ERR syntax error"},
		{"CLIENT KILL FOO x", "-ERR syntax error"},
		{"CLIENT PAUSE", "-ERR wrong number of arguments for 'client|pause' command"},
		{"CLIENT PAUSE x", "-ERR timeout is not an integer or out of range"},
		{"CLIENT PAUSE -1", "-ERR timeout is negative"},
		{"CLIENT PAUSE 10 x", "-ERR CLIENT PAUSE mode must be WRITE or ALL"},
		{"CLIENT UNPAUSE x", "-ERR wrong number of arguments for 'client|unpause' command"},
		{"CLIENT REPLY x", "-ERR syntax error"},
		{"CLIENT NO-EVICT x", "-ERR syntax error"},
		{"CLIENT TRACKING x", "-ERR syntax error"},
		{"CLIENT TRACKING on foo", "-ERR syntax error"},
		{"CLIENT TRACKING on PREFIX a", "-ERR PREFIX option requires BCAST mode to be enabled"},
		{"CLIENT TRACKING on OPTIN OPTOUT", "-ERR You can't specify both OPTIN mode and OPTOUT mode"},
		{"CLIENT TRACKING on BCAST OPTIN", "-ERR OPTIN and OPTOUT are not compatible with BCAST"},
		{"CLIENT TRACKING on REDIRECT 999", "-ERR The client ID you want redirect to does not exist"},
		{"CLIENT TRACKING on BCAST PREFIX a PREFIX ab", "-ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap."},
		{"CLIENT TRACKINGINFO", "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0"},
		{"CLIENT GETREDIR", ":-1"},
		{"CLIENT CACHING YES", "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"},
		{"CLIENT UNBLOCK x", "-ERR value is not an integer or out of range"},
		{"CLIENT UNBLOCK 9", ":0"},
		{"CLIENT UNBLOCK 9 x", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"},
		{"CLIENT GETNAME", "$-1"},
		{"CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command"},
		{"CLIENT SETINFO foo bar", "-ERR Unrecognized option 'foo'"},
		{"CLIENT SETINFO lib-name a\x01", "-ERR lib-name cannot contain spaces, newlines or special characters."},
		{"FOO", "-ERR unknown command 'FOO', with args beginning with: "},
		{"FOO a b", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' "},
		{"F" + strings.Repeat("o", 200) + " " + strings.Repeat("a", 100) + " " + strings.Repeat("b", 100) + " c",
			"-ERR unknown command 'F" + strings.Repeat("o", 127) + "', with args beginning with: '" + strings.Repeat("a", 100) + "' '" + strings.Repeat("b", 25) + "' "},
		{"GET", "-ERR wrong number of arguments for 'get' command"},
		{"GET \xff\xfe x", "-ERR wrong number of arguments for 'get' command"},
		{"X\xff", "-ERR unknown command 'X\xff', with args beginning with: "},
	} {
		if got := c.do(tt.line); got != tt.want+"\r\n" {
			t.Errorf("%s:\n got %q\nwant %q", tt.line, got, tt.want)
		}
	}
}

// The line of CLIENT LIST has the fields of Redis 7.2, in order, and the state
// of other sessions shows in it.
func TestClientList(t *testing.T) {
	l := newLab(t)
	a, b, sub := l.dial(), l.dial(), l.dial()
	a.is("CLIENT SETNAME alice", "+OK")
	a.is("CLIENT SETINFO LIB-NAME lib(x)", "+OK")
	a.is("CLIENT SETINFO LIB-VER 1.2", "+OK")
	a.is("CLIENT GETNAME", "$5 alice")
	a.is("SELECT 3", "+OK")
	a.is("MULTI", "+OK")
	a.is("SET k v", "+QUEUED")
	sub.do("SUBSCRIBE x")
	sub.do("PSUBSCRIBE y*")
	idA := strconv.FormatInt(a.s.ID, 10)
	line := b.do("CLIENT LIST ID " + idA)
	want := regexp.MustCompile(`^\$\d+\r\nid=` + idA + ` addr=127\.0\.0\.1:\d+ laddr=127\.0\.0\.1:2 fd=3 name=alice age=\d+ idle=\d+ flags=x db=3 sub=0 psub=0 ssub=0 multi=1 qbuf=\d+ qbuf-free=\d+ argv-mem=0 multi-mem=5 rbs=\d+ rbp=\d+ obl=0 oll=0 omem=0 tot-mem=\d+ events=r cmd=set user=default redir=-1 resp=2 lib-name=lib\(x\) lib-ver=1\.2\n\r\n$`)
	if !want.MatchString(line) && !regexp.MustCompile(strings.Replace(want.String(), "cmd=set", "cmd=multi", 1)).MatchString(line) {
		t.Errorf("got %q\nwant %v", line, want)
	}
	if got := b.do("CLIENT LIST TYPE pubsub"); strings.Count(got, "\n") != 3 || !strings.Contains(got, " flags=P db=0 sub=1 psub=1 ssub=0 multi=-1 ") {
		t.Errorf("pubsub clients: %q", got)
	}
	if got := b.do("CLIENT LIST"); strings.Count(got, " addr=") != 3 {
		t.Errorf("all clients: %q", got)
	}
	if got := b.do("CLIENT INFO"); !strings.Contains(got, " cmd=client|info ") || !strings.Contains(got, " flags=N ") {
		t.Errorf("info: %q", got)
	}
	b.is("CLIENT NO-EVICT ON", "+OK")
	b.is("CLIENT NO-TOUCH ON", "+OK")
	if got := b.do("CLIENT INFO"); !strings.Contains(got, " flags=eT ") {
		t.Errorf("info: %q", got)
	}
	b.do("HELLO 3")
	if got := b.do("CLIENT INFO"); !strings.HasPrefix(got, "=") || !strings.Contains(got, "\r\ntxt:id=") || !strings.Contains(got, " resp=3 ") {
		t.Errorf("info: %q", got)
	}
}

// CLIENT LIST runs while the sessions it is about change everything that it
// shows: for the race detector.
func TestClientListWhileSessionsRun(t *testing.T) {
	l := newLab(t)
	watcher, stop := l.dial(), make(chan struct{})
	defer func() { <-stop }()
	c := l.dial()
	go func() {
		defer close(stop)
		for range 200 {
			watcher.do("CLIENT LIST")
		}
	}()
	for i := range 100 {
		n := strconv.Itoa(i)
		c.do("CLIENT SETNAME n" + n)
		c.do("CLIENT TRACKING ON NOLOOP")
		c.do("MULTI")
		c.do("SET k" + n + " v")
		c.do("EXEC")
		c.do("SSUBSCRIBE s" + n)
		c.do("SELECT " + strconv.Itoa(i%16))
		c.do("RESET")
	}
}

func TestClientKill(t *testing.T) {
	l := newLab(t)
	a, b, c := l.dial(), l.dial(), l.dial()
	gone := func(x *client) {
		t.Helper()
		l.until("the client is gone", func() bool {
			select {
			case <-x.done:
				return true
			default:
				return false
			}
		})
	}
	c.is("CLIENT KILL ID "+strconv.FormatInt(a.s.ID, 10), ":1")
	gone(a)
	c.is("CLIENT KILL "+b.conn.addr, "+OK")
	gone(b)
	d := l.dial()
	d.send("BLPOP k 0") // a blocked one too
	l.blocked(1)
	c.is("CLIENT KILL TYPE normal SKIPME yes", ":1")
	gone(d)
	l.blocked(0)
	c.is("CLIENT KILL USER default SKIPME no", ":1")
	gone(c)
}

// OFF silences everything, SKIP the next command, in the midst of a batch too;
// pushes are not concerned.
func TestClientReply(t *testing.T) {
	l := newLab(t)
	c := l.dial()
	c.send("SET a 1", "CLIENT REPLY SKIP", "SET a 2", "GET a", "CLIENT REPLY OFF", "SET a 3", "GET a", "NOPE", "CLIENT REPLY SKIP", "GET a",
		"CLIENT REPLY ON", "GET a")
	c.want("+OK $1 2 +OK $1 3")
	c.send("CLIENT REPLY SKIP")
	c.send("BLPOP q 0")
	l.blocked(1)
	l.dial().is("RPUSH q x", ":1")
	l.blocked(0)
	c.quiet()
	c.send("CLIENT REPLY OFF", "SUBSCRIBE ch")
	c.want("*3 $9 subscribe $2 ch :1")
	l.dial().is("PUBLISH ch hi", ":1")
	c.want("*3 $7 message $2 ch $2 hi")
}
