package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// node is a store with the commands of this package, without connections.
type node struct {
	t   *testing.T
	e   *engine.Engine
	cfg *config.Config
	ctx command.Ctx
	out resp.Writer
}

func newNode(t *testing.T, change func(*Options)) *node {
	t.Helper()
	heap, err := mem.New(mem.Options{Shards: 4, Reserve: 1 << 28, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, cfg: config.New()}
	st := store.New(heap, 4)
	t.Cleanup(func() {
		if err := heap.Check(); err != nil {
			t.Error(err)
		}
		st.Close()
		heap.Close()
	})
	if err := n.cfg.Assign("enable-debug-command", "yes"); err != nil {
		t.Fatal(err)
	}
	env := &command.Env{}
	n.e = engine.New(engine.Options{Store: st, Env: env})
	o := Options{Config: n.cfg, Engine: n.e, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.UnixMicro(1_700_000_000_123_456) }}
	if change != nil {
		change(&o)
	}
	n.e.SetTable(command.NewTable(Specs(o)))
	n.ctx = command.Ctx{Writer: &n.out, Env: env, Now: 1_700_000_000_000}
	return n
}

// do runs a command on database 0 and returns the reply's bytes.
func (n *node) do(args ...string) string {
	var argv [][]byte
	for _, a := range args {
		argv = append(argv, []byte(a))
	}
	spec := n.e.Table.Lookup(argv)
	if spec == nil || !spec.ArityOK(len(argv)) {
		n.t.Fatalf("bad call %v", args)
	}
	n.out.Buf = n.out.Buf[:0]
	n.ctx.Reset(spec, argv)
	n.ctx.DB = n.e.Store.DB(0)
	spec.Run(&n.ctx)
	return string(n.out.Buf)
}

// Goal: nodes are compared with redis-server's by DEBUG DIGEST, so it must agree
// to the bit, for every type and encoding. Method: values dumped by redis-server
// 7.0.15, with the digests that it gave.
func TestDigestsAgreeWithRedis(t *testing.T) {
	text, err := os.ReadFile("testdata/digests-7.0.15.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Total string
		Keys  []struct {
			Key, Type, Digest, Dump string
			Expire                  int64
		}
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, nil)
	encodings := map[string]bool{}
	for _, k := range golden.Keys {
		dump, err := base64.StdEncoding.DecodeString(k.Dump)
		if err != nil {
			t.Fatal(err)
		}
		restore(t, n, k.Key, dump, k.Expire, encodings)
		if got, want := n.do("debug", "digest-value", k.Key, "nosuch"), "*2\r\n+"+k.Digest+"\r\n+"+strings.Repeat("0", 40)+"\r\n"; got != want {
			t.Errorf("DIGEST-VALUE %s = %q, want %q", k.Key, got, want)
		}
	}
	if got, want := n.do("debug", "digest"), "+"+golden.Total+"\r\n"; got != want {
		t.Errorf("DIGEST = %q, want %q", got, want)
	}
	for _, e := range []string{"int", "embstr", "raw", "listpack", "quicklist", "intset", "hashtable", "skiplist"} {
		if !encodings[e] {
			t.Errorf("no value had the encoding %s", e)
		}
	}
}

func restore(t *testing.T, n *node, key string, dump []byte, expire int64, encodings map[string]bool) {
	t.Helper()
	var r rdb.Reader
	v, err := rdb.OpenDump(&r, dump)
	if err != nil {
		t.Fatal(err)
	}
	b := rdb.Builder{Limits: rdb.DefaultLimits()}
	k := command.MakeKey(0, []byte(key))
	if err := b.Build(v, n.e.Store.Heap, store.StripeOf(k.Slot)); err != nil {
		t.Fatal(err)
	}
	var o store.Obj
	b.Create(n.e.Store.DB(0), k.Slot, k.Hash, []byte(key), expire, 0, &o)
	encodings[o.Encoding().String()] = true
}

func TestPopulate(t *testing.T) {
	n := newNode(t, nil)
	if got := n.do("debug", "populate", "100", "k", "8"); got != "+OK\r\n" {
		t.Fatalf("POPULATE: %q", got)
	}
	if keys, _ := n.e.Store.DB(0).Len(false); keys != 100 {
		t.Errorf("%d keys, want 100", keys)
	}
	value := func(key string) string {
		var o store.Obj
		k := command.MakeKey(0, []byte(key))
		if !n.e.Store.DB(0).Find(k.Slot, k.Hash, []byte(key), &o) {
			return "none"
		}
		return fmt.Sprintf("%q %s", o.Bytes(), o.Encoding())
	}
	n.do("debug", "populate", "12")
	n.do("debug", "populate", "2", "k", "500") // k:0 and k:1 are there: they stay
	n.do("debug", "populate", "1", "big", "45")
	for key, want := range map[string]string{
		"k:7": `"value:7\x00" embstr`, "k:99": `"value:99" embstr`, "key:11": `"value:11" embstr`,
		"k:1": `"value:1\x00" embstr`, "k:100": "none", "big:0": fmt.Sprintf("%q raw", "value:0"+strings.Repeat("\x00", 38)),
	} {
		if got := value(key); got != want {
			t.Errorf("%s holds %s, want %s", key, got, want)
		}
	}
}

// Replies of DEBUG, TIME and MODULE as redis-server 7.0.15 gives them.
func TestReplies(t *testing.T) {
	n := newNode(t, nil)
	n.do("debug", "populate", "1", "s")
	const unknown = "-ERR unknown subcommand or wrong number of arguments for '%s'. Try DEBUG HELP.\r\n"
	for _, tt := range []struct{ args, want string }{
		{"debug FOO", fmt.Sprintf(unknown, "FOO")},
		{"debug SLEEP", fmt.Sprintf(unknown, "SLEEP")},
		{"debug sleep x", "+OK\r\n"},
		{"debug populate x", "-ERR value is out of range, must be positive\r\n"},
		{"debug populate -1", "-ERR value is out of range, must be positive\r\n"},
		{"debug populate 1 k -1", "-ERR value is out of range, must be positive\r\n"},
		{"debug object nosuch", "-ERR no such key\r\n"},
		{"debug sdslen nosuch", "-ERR no such key\r\n"},
		{"debug listpack s:0", "-ERR Not a listpack encoded object.\r\n"},
		{"debug htstats-key s:0", "-ERR The value stored at the specified key is not represented using an hash table\r\n"},
		{"debug digest-value", "*0\r\n"},
		{"debug error WRONG thing", fmt.Sprintf(unknown, "error")},
		{"debug error WRONG", "-WRONG\r\n"},
		{"debug quicklist-packed-threshold 100", "+OK\r\n"},
		{"debug quicklist-packed-threshold x", "-ERR argument must be a memory value bigger than 1 and smaller than 4gb\r\n"},
		{"debug replybuffer resizing 1", "+OK\r\n"},
		{"debug replybuffer foo 1", fmt.Sprintf(unknown, "replybuffer")},
		{"debug pause-cron 0", "+OK\r\n"},
		{"debug protocol push", "-ERR RESP2 is not supported by this command\r\n"},
		{"debug protocol foo", "-" + errProtocolType + "\r\n"},
		{"debug stringmatch-len 5 a*", ":0\r\n"},
		{"debug stringmatch-len 5 A*A", ":1\r\n"},
		{"debug clusterlink kill to x", "-ERR Debug option only available for cluster mode enabled setup!\r\n"},
		{"time", "*2\r\n$10\r\n1700000000\r\n$6\r\n123456\r\n"},
		{"module list", "*0\r\n"},
		{"config get nosuch", "*0\r\n"},
		{"config get hz", "*2\r\n$2\r\nhz\r\n$2\r\n10\r\n"},
		{"config rewrite", "-ERR The server is running without a config file\r\n"},
		{"shutdown foo", "-ERR syntax error\r\n"},
		{"shutdown save nosave", "-ERR syntax error\r\n"},
		{"shutdown abort now", "-ERR syntax error\r\n"},
		{"shutdown abort", "-ERR No shutdown in progress.\r\n"},
		{"lolwut version x", "-ERR value is not an integer or out of range\r\n"},
	} {
		if got := n.do(strings.Fields(tt.args)...); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.args, got, tt.want)
		}
	}
	n.ctx.Env.SetLimits(command.DefaultLimits())
	if n.do("debug", "set-active-expire", "0"); n.ctx.Env.Limits().ActiveExpire {
		t.Error("SET-ACTIVE-EXPIRE 0 left the expiry on")
	}
	if err := n.cfg.Assign("enable-debug-command", "no"); err != nil {
		t.Fatal(err)
	}
	if got := n.do("debug", "digest"); got != "-"+errDebug+"\r\n" {
		t.Errorf("DEBUG although it is forbidden: %q", got)
	}
}

// Goal: DEBUG SLEEP freezes what runs beside commands for its whole length, with
// every slot locked. Method: the hooks look.
func TestSleepFreezesTheNode(t *testing.T) {
	var n *node
	var frozen, thawed time.Time
	n = newNode(t, func(o *Options) {
		o.Freeze = func() {
			frozen = time.Now()
			if !n.e.Gate(engine.GateStall) {
				t.Error("commands run while the node is frozen")
			}
		}
		o.Thaw = func() { thawed = time.Now() }
	})
	if got := n.do("debug", "sleep", "0.05"); got != "+OK\r\n" {
		t.Fatalf("SLEEP: %q", got)
	}
	if d := thawed.Sub(frozen); d < 50*time.Millisecond {
		t.Errorf("frozen for %v, want 50 ms", d)
	}
	if n.e.Gate(engine.GateStall) {
		t.Error("the stall never ended")
	}
	n.e.Store.LockWorld() // hangs if a lock was kept
	n.e.Store.UnlockWorld()
}

func TestProtocolTypes(t *testing.T) {
	n := newNode(t, nil)
	for _, tt := range []struct{ kind, two, three string }{
		{"string", "$11\r\nHello World\r\n", "$11\r\nHello World\r\n"},
		{"integer", ":12345\r\n", ":12345\r\n"},
		{"double", "$5\r\n3.141\r\n", ",3.141\r\n"},
		{"bignum", "$37\r\n1234567999999999999999999999999999999\r\n", "(1234567999999999999999999999999999999\r\n"},
		{"null", "$-1\r\n", "_\r\n"},
		{"array", "*3\r\n:0\r\n:1\r\n:2\r\n", "*3\r\n:0\r\n:1\r\n:2\r\n"},
		{"set", "*3\r\n:0\r\n:1\r\n:2\r\n", "~3\r\n:0\r\n:1\r\n:2\r\n"},
		{"map", "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n", "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n"},
		{"attrib", "$39\r\nSome real reply following the attribute\r\n",
			"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n$39\r\nSome real reply following the attribute\r\n"},
		{"push", "-ERR RESP2 is not supported by this command\r\n",
			">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n$40\r\nSome real reply following the push reply\r\n"},
		{"verbatim", "$25\r\nThis is a verbatim\nstring\r\n", "=29\r\ntxt:This is a verbatim\nstring\r\n"},
		{"true", ":1\r\n", "#t\r\n"},
		{"false", ":0\r\n", "#f\r\n"},
	} {
		n.out.Proto = 2
		if got := n.do("debug", "protocol", tt.kind); got != tt.two {
			t.Errorf("RESP2 %s: %q, want %q", tt.kind, got, tt.two)
		}
		n.out.Proto = 3
		if got := n.do("debug", "protocol", tt.kind); got != tt.three {
			t.Errorf("RESP3 %s: %q, want %q", tt.kind, got, tt.three)
		}
	}
}

func TestHelpNamesEverySubcommand(t *testing.T) {
	n := newNode(t, nil)
	for _, name := range []string{"config", "module"} {
		text := n.do(name, "help")
		for _, s := range n.e.Table.ByName(name).Subs {
			if !bytes.Contains([]byte(text), []byte("\r\n+"+strings.ToUpper(s.Name))) {
				t.Errorf("%s HELP says nothing of %s", name, s.Name)
			}
		}
	}
}
