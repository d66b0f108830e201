package repl

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
)

// fakePrimary is a listener whose connections a test plays by hand.
type fakePrimary struct {
	t    *testing.T
	ln   net.Listener
	port int
}

func newFakePrimary(t *testing.T) *fakePrimary {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return &fakePrimary{t, ln, ln.Addr().(*net.TCPAddr).Port}
}

// wire is one end of a connection played by hand.
type wire struct {
	t *testing.T
	c net.Conn
	r *resp.Reader
}

func (f *fakePrimary) accept() *wire {
	f.t.Helper()
	f.ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := f.ln.Accept()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return &wire{f.t, c, resp.NewReader(c)}
}

func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.c, text); err != nil {
		w.t.Fatal(err)
	}
}

// expect reads one command and compares it, words joined by blanks.
func (w *wire) expect(command string) {
	w.t.Helper()
	if got := w.command(); got != command {
		w.t.Fatalf("received %q, want %q", got, command)
	}
}

func (w *wire) command() string {
	w.t.Helper()
	w.c.SetReadDeadline(time.Now().Add(patience))
	v, err := w.r.Next()
	if err != nil {
		w.t.Fatal(err)
	}
	var words []string
	for _, e := range v.Elems {
		words = append(words, string(e.Str))
	}
	return strings.Join(words, " ")
}

// shake plays the primary's part of the handshake up to PSYNC.
func (w *wire) shake(port int) {
	w.t.Helper()
	w.expect("PING")
	w.send("\n+PONG\r\n")
	w.expect(fmt.Sprintf("REPLCONF listening-port %d", port))
	w.expect("REPLCONF capa eof capa psync2")
	w.send("+OK\r\n-ERR Unrecognized REPLCONF option: capa\r\n") // not critical
}

// snapshotOf is an RDB with the given strings in database 0.
func snapshotOf(t testing.TB, keys map[string]string) []byte {
	var b bytes.Buffer
	w := rdb.NewWriter(&b, rdb.WriterOptions{Checksum: true})
	w.Info(&rdb.Info{ServerVersion: "7.0.15", Repl: &rdb.ReplInfo{DB: 0, ID: strings.Repeat("a", 40), Offset: 100}})
	w.SelectDB(0, uint64(len(keys)), 0)
	for k, v := range keys {
		w.Key(&rdb.Key{Name: []byte(k), IdleSec: rdb.NoIdle, Freq: rdb.NoFreq}, rdb.TypeString, rdb.AppendString(nil, []byte(v), false))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const (
	idA  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB  = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	mark = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
)

func set(k, v string) string { return string(resp.AppendCommandStrings(nil, "SET", k, v)) }

// The exchange of the protocol's description, byte for byte: keepalives, full
// sync at 100, offsets that count PING and not the GETACK that asks, a link cut
// inside MULTI, and +CONTINUE with a new id.
func TestExchangeAsDescribed(t *testing.T) {
	t.Parallel()
	a := newNode(t, nil)
	f := newFakePrimary(t)
	a.repl.Follow("127.0.0.1", f.port, FollowOptions{Full: true})
	w := f.accept()
	w.shake(a.port)
	w.expect("PSYNC ? -1")
	w.send("\n\n+FULLRESYNC " + idA + " 100\r\n\n")
	w.send("$EOF:" + mark + "\r\n")
	w.send(string(snapshotOf(t, map[string]string{"old": "1"})) + mark)
	w.expect("REPLCONF ACK 100")
	getack := string(getackCommand)
	w.send(set("foo", "bar") + string(pingCommand) + getack)
	w.expect("REPLCONF ACK 145")
	if got := w.command(); got != "REPLCONF ACK 182" {
		t.Errorf("periodic acknowledgement %q, want offset 182", got)
	}
	w.send("*1\r\n$5\r\nMULTI\r\n" + set("foo", "never"))
	w.send(getack[:10])
	w.c.Close()
	w = f.accept()
	w.shake(a.port)
	w.expect("PSYNC " + idA + " 183")
	w.send("+CONTINUE " + idB + "\r\n")
	w.expect("REPLCONF ACK 182")
	for field, want := range map[string]string{"master_replid": idB, "master_replid2": idA, "second_repl_offset": "183", "master_repl_offset": "182"} {
		if got := a.info(field); got != want {
			t.Errorf("%s = %s, want %s", field, got, want)
		}
	}
	c := a.client()
	c.want("GET foo", `"bar"`)
	c.want("GET old", `"1"`)
	// A transaction counts when it is whole.
	multi := "*1\r\n$5\r\nMULTI\r\n" + set("foo", "baz") + set("x", "y")
	w.send(multi)
	w.send("*1\r\n$4\r\nEXEC\r\n" + getack)
	want := fmt.Sprintf("REPLCONF ACK %d", 182+len(multi)+14)
	for got := ""; got != want; {
		if got = w.command(); got != "REPLCONF ACK 182" && got != want {
			t.Fatalf("received %q, want %q", got, want)
		}
	}
	c.want("GET foo", `"baz"`)
	// An inline command is no stream: everything is asked for anew.
	w.send("SET foo inline\r\n")
	w = f.accept()
	w.shake(a.port)
	w.expect("PSYNC ? -1")
	c.want("GET foo", `"baz"`)
}

// The stream may be cut anywhere.
func TestSnapshotInPieces(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		sized, disk := i&1 != 0, i&2 != 0
		t.Run(fmt.Sprint("sized ", sized, " disk ", disk), func(t *testing.T) {
			a := newNode(t, func(s *Settings) { s.LoadFromSocket = !disk })
			f := newFakePrimary(t)
			a.repl.Follow("127.0.0.1", f.port, FollowOptions{})
			w := f.accept()
			w.shake(a.port)
			if got := w.command(); !strings.HasSuffix(got, " 1") {
				t.Fatalf("received %q, want PSYNC with an own id and offset 1", got)
			}
			keys := map[string]string{"k": mark[:39], "l": mark + mark}
			if disk { // a mark within the data would be taken for the end; it is random
				keys["l"] = mark[1:]
			}
			body := snapshotOf(t, keys)
			text := "+FULLRESYNC " + idA + " 0\r\n"
			if sized {
				text += fmt.Sprintf("$%d\r\n%s", len(body), body) + set("after", "x")
			} else {
				text += "$EOF:" + mark + "\r\n" + string(body) + mark
			}
			w.c.(*net.TCPConn).SetNoDelay(true)
			for i := range len(text) {
				w.send(text[i : i+1])
			}
			w.expect("REPLCONF ACK 0")
			eventually(t, "loaded", func() bool { return len(a.content()) >= 2 }, a.logs.String)
			a.client().want("GET k", strconv.Quote(mark[:39]))
		})
	}
}

// A snapshot that is damaged or ends early leaves an empty data set, or the old
// one if that was seen in time, which no one may continue: the next attempt
// asks for everything.
func TestBrokenSnapshot(t *testing.T) {
	t.Parallel()
	good := snapshotOf(t, map[string]string{"k": "v", "l": "w"})
	bad := bytes.Clone(good)
	bad[len(bad)-20] ^= 1
	for _, tt := range []struct {
		name string
		disk bool // received whole before the old data goes
		left int  // keys
		text string
	}{
		{"checksum", false, 0, "$EOF:" + mark + "\r\n" + string(bad) + mark},
		{"checksum on disk", true, 0, "$EOF:" + mark + "\r\n" + string(bad) + mark},
		{"mark", false, 0, "$EOF:" + mark + "\r\n" + string(good) + strings.Repeat("y", 40)},
		{"mark on disk", true, 1, "$EOF:" + mark + "\r\n" + string(good) + strings.Repeat("y", 40)},
		{"cut short", false, 0, "$EOF:" + mark + "\r\n" + string(good[:len(good)-15])},
		{"cut short on disk", true, 1, "$EOF:" + mark + "\r\n" + string(good[:len(good)-15])},
		{"size too big", false, 0, fmt.Sprintf("$%d\r\n%s", len(good)+5, good)},
		{"size too small on disk", true, 0, fmt.Sprintf("$%d\r\n%s", len(good)-5, good)},
		{"error", false, 1, "-ERR no\r\n"},
		{"no snapshot", false, 1, "*1\r\n$4\r\nPING\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newNode(t, func(s *Settings) { s.LoadFromSocket = !tt.disk })
			a.client().want("SET mine 1", "+OK")
			f := newFakePrimary(t)
			a.repl.Follow("127.0.0.1", f.port, FollowOptions{Full: true})
			w := f.accept()
			w.shake(a.port)
			w.expect("PSYNC ? -1")
			w.send("+FULLRESYNC " + idA + " 100\r\n" + tt.text)
			w.c.(*net.TCPConn).CloseWrite()
			w = f.accept()
			w.shake(a.port)
			w.expect("PSYNC ? -1")
			if left := len(a.content()); left != tt.left {
				t.Errorf("%d keys left, want %d\n%s", left, tt.left, a.logs)
			}
			if a.e.Gate(engine.GateLoading) {
				t.Errorf("still refuses clients as loading")
			}
			// The retry works.
			w.send("+FULLRESYNC " + idA + " 100\r\n$EOF:" + mark + "\r\n" + string(good) + mark)
			w.expect("REPLCONF ACK 100")
			if left := len(a.content()); left != 2 {
				t.Errorf("%d keys after the retry, want 2", left)
			}
		})
	}
}

// A snapshot with what only a module can read is refused, and the primary is not
// asked for the next every second: it is when the setting lets it be left out. Until
// then the follower sleeps, though the snapshot took longer than links are apart.
func TestModuleDataInSnapshot(t *testing.T) {
	t.Parallel()
	a := newNode(t, nil)
	f := newFakePrimary(t)
	var b bytes.Buffer
	w := rdb.NewWriter(&b, rdb.WriterOptions{})
	w.Key(&rdb.Key{Name: []byte("doc"), IdleSec: rdb.NoIdle, Freq: rdb.NoFreq}, rdb.TypeModule, append(rdb.AppendLen(nil, 0x45e25238df912c03), 0))
	w.Key(&rdb.Key{Name: []byte("k"), IdleSec: rdb.NoIdle, Freq: rdb.NoFreq}, rdb.TypeString, []byte("\x01v"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	snapshot := "+FULLRESYNC " + idA + " 100\r\n$EOF:" + mark + "\r\n" + b.String() + mark
	a.repl.Follow("127.0.0.1", f.port, FollowOptions{Full: true})
	c := f.accept()
	c.shake(a.port)
	c.expect("PSYNC ? -1")
	c.send(snapshot[:len(snapshot)-10])
	time.Sleep(2 * a.repl.retry)
	c.send(snapshot[len(snapshot)-10:])
	c.c.(*net.TCPConn).CloseWrite()
	eventually(t, "the refusal is logged", func() bool { return strings.Contains(a.logs.String(), "the next is asked for in 60 seconds") }, a.logs.String)
	if log := a.logs.String(); !strings.Contains(log, "ReJSON-RL") || !strings.Contains(log, "doc") {
		t.Errorf("the log does not say what was refused:\n%s", log)
	}
	asked := a.asked.Load()
	f.ln.(*net.TCPListener).SetDeadline(time.Now().Add(20 * a.repl.retry))
	if c, err := f.ln.Accept(); err == nil {
		c.Close()
		t.Fatal("the primary is asked again at once")
	}
	if n := a.asked.Load() - asked; n > 1000 {
		t.Errorf("the settings were read %d times meanwhile: the follower does not sleep", n)
	}
	a.change(func(s *Settings) { s.SkipModules = true })
	c = f.accept()
	c.shake(a.port)
	c.expect("PSYNC ? -1")
	c.send(snapshot)
	c.expect("REPLCONF ACK 100")
	if n := len(a.content()); n != 1 {
		t.Errorf("%d keys, want 1", n)
	}
	if !strings.Contains(a.logs.String(), "1 keys with values of modules") {
		t.Errorf("the log does not say what was left out:\n%s", a.logs)
	}
}

// A primary that is not heard of while its snapshot is loaded, since nobody listens,
// is not taken for dead, however long that lasts.
func TestLongLoadKeepsLink(t *testing.T) {
	t.Parallel()
	a := newNode(t, func(s *Settings) { s.Timeout = time.Second })
	a.repl.o.KeyDelay = func() time.Duration { return 100 * time.Millisecond }
	f := newFakePrimary(t)
	keys := map[string]string{}
	for i := range 16 {
		keys[fmt.Sprint(i)] = "v"
	}
	a.repl.Follow("127.0.0.1", f.port, FollowOptions{Full: true})
	c := f.accept()
	c.shake(a.port)
	c.expect("PSYNC ? -1")
	c.send("+FULLRESYNC " + idA + " 100\r\n$EOF:" + mark + "\r\n" + string(snapshotOf(t, keys)) + mark)
	c.c.SetReadDeadline(time.Now().Add(patience))
	for got, buf := "", make([]byte, 100); !strings.Contains(got, "ACK\r\n$3\r\n100"); { // behind a newline a second
		n, err := c.c.Read(buf)
		if got += string(buf[:n]); err != nil {
			t.Fatalf("%q was received, then %v", got, err)
		}
	}
	if log := a.logs.String(); strings.Contains(log, "Timeout") {
		t.Errorf("a link is given up during a load:\n%s", log)
	}
}

// A primary that answers with errors is tried again; credentials are sent.
func TestHandshakeErrors(t *testing.T) {
	t.Parallel()
	a := newNode(t, func(s *Settings) { s.User, s.Password, s.AnnounceIP = "repl", "secret", "10.0.0.1" })
	f := newFakePrimary(t)
	a.repl.Follow("127.0.0.1", f.port, FollowOptions{})
	w := f.accept()
	w.expect("PING")
	w.send("-LOADING Redis is loading the dataset in memory\r\n")
	w = f.accept()
	w.expect("PING")
	w.send("-NOAUTH Authentication required.\r\n")
	w.expect("AUTH repl secret")
	w.expect(fmt.Sprintf("REPLCONF listening-port %d", a.port))
	w.expect("REPLCONF ip-address 10.0.0.1")
	w.expect("REPLCONF capa eof capa psync2")
	w.send("-WRONGPASS invalid username-password pair or user is disabled.\r\n")
	w = f.accept()
	if !strings.Contains(a.logs.String(), "Unable to AUTH to MASTER") {
		t.Errorf("the log does not say that AUTH failed:\n%s", a.logs)
	}
	w.expect("PING")
	w.send("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n")
	for range 4 {
		w.command()
	}
	w.command()
	w.send("-NOMASTERLINK Can't SYNC while not connected with my master\r\n")
	w = f.accept()
	w.expect("PING")
}

// A primary that falls silent is left after repl-timeout, and asked to continue.
func TestSilentPrimary(t *testing.T) {
	t.Parallel()
	a := newNode(t, nil)
	f := newFakePrimary(t)
	a.repl.Follow("127.0.0.1", f.port, FollowOptions{Full: true})
	w := f.accept()
	w.shake(a.port)
	w.expect("PSYNC ? -1")
	w.send("+FULLRESYNC " + idA + " 100\r\n$EOF:" + mark + "\r\n" + string(snapshotOf(t, nil)) + mark)
	// The short timeout is for the silence only: on a busy machine the handshakes
	// may take longer.
	eventually(t, "the link is up", func() bool { return a.repl.Status().LinkUp }, a.logs.String)
	a.change(func(s *Settings) { s.Timeout = time.Second })
	eventually(t, "the silence is noticed", func() bool { return strings.Contains(a.logs.String(), "MASTER timeout") }, a.logs.String)
	a.change(func(s *Settings) { s.Timeout = patience })
	w = f.accept()
	w.shake(a.port)
	w.expect("PSYNC " + idA + " 101")
	if !strings.Contains(a.logs.String(), "MASTER timeout") {
		t.Errorf("the log does not say that the primary fell silent:\n%s", a.logs)
	}
}

// asReplica opens a connection that plays a replica.
func asReplica(n *node, hello ...string) *wire {
	c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(n.port))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	w := &wire{n.t.(*testing.T), c, resp.NewReader(c)}
	for _, line := range hello {
		c.SetDeadline(time.Now().Add(patience))
		v, err := w.r.Do(c, strings.Fields(line)...)
		if err != nil || v.String() != "+OK" {
			n.t.Fatalf("%s: %v %v", line, v, err)
		}
	}
	return w
}

func (w *wire) line() string {
	w.t.Helper()
	w.c.SetReadDeadline(time.Now().Add(patience))
	for {
		b, err := w.r.Line()
		if err != nil {
			w.t.Fatal(err)
		}
		if len(b) > 0 {
			return string(b)
		}
	}
}

// take reads a snapshot that starts at the next byte into a new store and
// returns how many keys it has.
func (w *wire) take(n int64) int {
	w.t.Helper()
	var src io.Reader = w.r
	if n >= 0 {
		src = io.LimitReader(w.r, n)
	}
	rd := rdb.NewReader(onlySome{src})
	keys := 0
	for {
		ev, err := rd.Next()
		if err != nil {
			w.t.Fatal(err)
		}
		switch ev {
		case rdb.EventKey:
			keys++
		case rdb.EventEnd:
			if len(rd.Buffered()) > 0 {
				w.t.Fatalf("%q follows", rd.Buffered())
			}
			return keys
		}
	}
}

// onlySome gives one byte at a time, so that nothing past the file is read.
type onlySome struct{ io.Reader }

func (o onlySome) Read(b []byte) (int, error) { return o.Reader.Read(b[:min(1, len(b))]) }

// Nothing may follow the mark until the replica has acknowledged; then the
// stream starts with SELECT.
func TestNothingAfterTheMark(t *testing.T) {
	t.Parallel()
	p := newNode(t, nil)
	c := p.client()
	fill(c, 10)
	w := asReplica(p, "REPLCONF listening-port 7777 ip-address 10.1.1.1", "REPLCONF capa eof capa psync2 version 8.1.1")
	w.send("PSYNC ? -1\r\n")
	hello := strings.Fields(w.line())
	if len(hello) != 3 || hello[0] != "+FULLRESYNC" || len(hello[1]) != 40 {
		t.Fatalf("answer %v", hello)
	}
	mark, ok := strings.CutPrefix(w.line(), "$EOF:")
	if !ok || len(mark) != 40 {
		t.Fatalf("mark %q", mark)
	}
	if n := w.take(-1); n != 10 {
		t.Errorf("%d keys in the snapshot, want 10", n)
	}
	got := make([]byte, 40)
	if _, err := io.ReadFull(w.r, got); err != nil || string(got) != mark {
		t.Fatalf("after the snapshot %q, want the mark %q", got, mark)
	}
	c.want("SET a b", "+OK")
	w.c.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	if n, err := w.r.Read(got); n > 0 || err == nil {
		t.Fatalf("%q follows the mark before the acknowledgement", got[:n])
	}
	w.r.Reset(w.c)
	w.send("REPLCONF ACK " + hello[2] + "\r\n")
	cmd := w.command()
	for cmd == "PING" {
		cmd = w.command()
	}
	if cmd != "SELECT 0" {
		t.Errorf("the stream starts with %q, want SELECT 0", cmd)
	}
	for cmd = w.command(); cmd == "PING"; cmd = w.command() {
	}
	if cmd != "SET a b" {
		t.Errorf("then comes %q, want SET a b", cmd)
	}
	if got := p.info("slave0"); !strings.HasPrefix(got, "ip=10.1.1.1,port=7777,state=online,offset="+hello[2]+",lag=") {
		t.Errorf("slave0:%s", got)
	}
}

// A replica without the capability gets the size first and the stream at once;
// one that speaks SYNC no greeting either.
func TestSizedSnapshot(t *testing.T) {
	t.Parallel()
	for _, ask := range []string{"PSYNC ? -1", "SYNC"} {
		t.Run(ask, func(t *testing.T) {
			p := newNode(t, nil)
			c := p.client()
			fill(c, 10)
			w := asReplica(p)
			w.send(ask + "\r\n")
			line := w.line()
			if ask != "SYNC" {
				if !strings.HasPrefix(line, "+FULLRESYNC ") {
					t.Fatalf("answer %q", line)
				}
				line = w.line()
			}
			n, err := strconv.ParseInt(strings.TrimPrefix(line, "$"), 10, 64)
			if err != nil {
				t.Fatalf("size %q", line)
			}
			if keys := w.take(n); keys != 10 {
				t.Errorf("%d keys in the snapshot, want 10", keys)
			}
			c.want("SET a b", "+OK")
			for cmd := ""; cmd != "SET a b"; cmd = w.command() {
				if cmd != "" && cmd != "PING" && cmd != "SELECT 0" {
					t.Fatalf("received %q", cmd)
				}
			}
		})
	}
}

// A replica that stops reading in the middle of a snapshot holds up the walk,
// not writers, and is dropped; the one beside it is served.
func TestStuckReplica(t *testing.T) {
	t.Parallel()
	p := newNode(t, func(s *Settings) { s.Timeout = time.Minute; s.Compress = false })
	c := p.client()
	big := strings.Repeat("x", 1<<20)
	for i := range 40 {
		c.want(fmt.Sprintf("SET big:%d %s", i, big), "+OK")
	}
	p.change(func(s *Settings) { s.DisklessDelay = 100 * time.Millisecond })
	w := asReplica(p, "REPLCONF capa eof capa psync2")
	w.send("PSYNC ? -1\r\n")
	a := newNode(t, nil)
	a.repl.Follow("127.0.0.1", p.port, FollowOptions{})
	eventually(t, "the snapshot stands still", func() bool { return strings.Contains(p.logs.String(), "transfer started") }, p.logs.String)
	for i := range 40 { // each is written out before it is changed
		c.want(fmt.Sprintf("SET big:%d small", i), "+OK")
	}
	if a.repl.Status().LinkUp {
		t.Errorf("the snapshot was over before the writes: the test shows nothing")
	}
	p.change(func(s *Settings) { s.Timeout = 500 * time.Millisecond })
	eventually(t, "the stuck replica is dropped", func() bool { return strings.Contains(p.logs.String(), "timedout replica") }, p.logs.String)
	p.change(func(s *Settings) { s.Timeout = time.Minute })
	inStep(t, p, a)
	if !strings.Contains(p.logs.String(), "Disconnecting timedout replica (full sync)") {
		t.Errorf("the stuck replica was not dropped:\n%s", p.logs)
	}
	if n := p.repl.Stats.Full.Load(); n < 2 {
		t.Errorf("%d full syncs, want 2", n)
	}
}

// A replica that does not read the stream is cut off beyond its limit, and the
// bytes kept for it are given up.
func TestSlowReplicaIsCutOff(t *testing.T) {
	t.Parallel()
	p, a := newNode(t, func(s *Settings) { s.BacklogSize, s.OutputHard, s.OutputSoft = 64<<10, 1<<20, 0 }), newNode(t, nil)
	follow(t, p, a)
	a.repl.Promote()
	w := asReplica(p, "REPLCONF listening-port 7777")
	w.send(fmt.Sprintf("PSYNC %s %d\r\n", p.info("master_replid"), p.repl.Offset()+1))
	eventually(t, "the slow replica online", func() bool { return strings.Contains(p.repl.Info(), "port=7777,state=online") }, p.repl.Info)
	c := p.client()
	big := strings.Repeat("x", 1<<20)
	for i := 0; i < 60 && !strings.Contains(p.logs.String(), "output buffer limits"); i++ { // sockets hold some
		c.want("SET big "+big, "+OK")
	}
	eventually(t, "cut off", func() bool { return p.info("connected_slaves") == "0" }, p.repl.Info)
	if !strings.Contains(p.logs.String(), "127.0.0.1:7777 scheduled to be closed ASAP for overcoming of output buffer limits") {
		t.Errorf("the log does not say why:\n%s", p.logs)
	}
	c.want("SET big "+big, "+OK")
	if total, _, _ := p.repl.Buffered(); total > 256<<10 {
		t.Errorf("%d bytes of the stream are kept, for nobody", total)
	}
}
