package mixed

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// A Skein node and a real one in like state give the same replies, byte for byte,
// to every CLUSTER subcommand, right and wrong, in both protocols. Ids, ports,
// times and offsets are replaced by names first. Where a reply may differ,
// accepted says why; an entry that is not needed any more is an error.
func TestClusterCommandsReplyAlike(t *testing.T) {
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := proc.Skein(t), r.Program(t)
		var mu sync.Mutex
		used := map[int]bool{}
		t.Run("in", func(t *testing.T) {
			for _, st := range states {
				for _, proto := range []int{2, 3} {
					t.Run(fmt.Sprintf("%s RESP%d", st.name, proto), func(t *testing.T) {
						t.Parallel()
						compare(t, r, st, st.start(t, skein, proto), st.start(t, real, proto), func(i int) {
							mu.Lock()
							defer mu.Unlock()
							used[i] = true
						})
					})
				}
			}
		})
		for i, a := range accepted {
			if slices.Contains(a.kinds, r) && !a.rare && !used[i] && !t.Failed() {
				t.Errorf("the accepted difference of %q (%s) does not occur", a.command, a.reason)
			}
		}
	})
}

// compare asks both nodes the commands of a state.
func compare(t *testing.T, r proc.Real, st state, ours, theirs *subject, use func(accepted int)) {
	for _, line := range st.commands {
		skein, real := ours.do(line), theirs.do(line)
		if skein == real {
			continue
		}
		i := slices.IndexFunc(accepted, func(a acceptance) bool { return a.covers(r, line, skein, real) })
		if i < 0 {
			t.Errorf("%s\nSkein: %s\n%s: %s", line, skein, r.Name, real)
			continue
		}
		use(i)
	}
}

// acceptance is a difference of replies that is meant to be.
type acceptance struct {
	kinds       []proc.Real
	command     string // its beginning
	skein, real string // expressions for the replies
	mask        string // or: what may differ in them
	reason      string
	rare        bool // depends on the moment: it need not occur
}

func (a acceptance) covers(r proc.Real, line, skein, real string) bool {
	if !slices.Contains(a.kinds, r) || !strings.HasPrefix(line, a.command) {
		return false
	}
	if a.mask != "" {
		m := regexp.MustCompile(a.mask)
		return m.ReplaceAllString(skein, "") == m.ReplaceAllString(real, "")
	}
	match := func(expr, text string) bool { return regexp.MustCompile("^(?:" + expr + ")$").MatchString(text) }
	return match(a.skein, skein) && match(a.real, real)
}

var (
	only7      = []proc.Real{proc.Redis7}
	bothRedis  = []proc.Real{proc.Redis7, proc.Redis8}
	onlyValkey = []proc.Real{proc.Valkey8}
)

const anything = `(?s).*`

var accepted = []acceptance{
	{kinds: only7, command: "CLUSTER MYSHARDID", skein: anything, real: "-ERR unknown subcommand.*", reason: "came with 7.2"},
	{kinds: bothRedis, command: "CLUSTER SLOT-STATS", skein: anything, real: "-ERR unknown subcommand.*", reason: "came with Valkey 8.0"},
	{kinds: bothRedis, command: "cluster slot-stats", skein: anything, real: "-ERR unknown subcommand.*", reason: "came with Valkey 8.0"},
	{kinds: only7, command: "COMMAND INFO cluster|myshardid", skein: anything, real: `\*\[(\$-1|_)\]`, reason: "came with 7.2"},
	{kinds: bothRedis, command: "COMMAND INFO cluster|slot-stats", skein: anything, real: `\*\[(\$-1|_)\]`, reason: "came with Valkey 8.0"},
	{kinds: only7, command: "CLUSTER MEET", skein: "-ERR Invalid (base|bus) port specified: .*", real: "-ERR Invalid TCP (base|bus) port specified: .*",
		reason: "the words of 7.2"},
	{kinds: bothRedis, command: "CLUSTER MEET", skein: "-ERR .* number is out of range", real: "-ERR Invalid node address specified: .*",
		reason: "the words of Valkey 8.1, which name the fault"},
	{kinds: bothRedis, command: "READONLY", skein: `\+OK`, real: "-ERR This instance has cluster support disabled",
		reason: "as Valkey 8.0: a client need not know the mode"},
	{kinds: bothRedis, command: "READWRITE", skein: `\+OK`, real: "-ERR This instance has cluster support disabled",
		reason: "as Valkey 8.0: a client need not know the mode"},
	{kinds: bothRedis, command: "CLUSTER SETSLOT 1 NODE <me> TIMEOUT", skein: "-ERR .*timeout.*", real: "-ERR Invalid CLUSTER SETSLOT action or number of arguments.*",
		reason: "TIMEOUT came with Valkey 8.0"},
	{kinds: bothRedis, command: "CLUSTER SETSLOT 1 STABLE TIMEOUT", skein: "-ERR .*timeout.*", real: "-ERR Invalid CLUSTER SETSLOT action or number of arguments.*",
		reason: "TIMEOUT came with Valkey 8.0"},
	{kinds: onlyValkey, command: "CLUSTER SETSLOT 1 STABLE x", skein: "-ERR Invalid CLUSTER SETSLOT action or number of arguments.*", real: `\+OK`,
		reason: "Valkey 8 takes anything behind STABLE, as no Redis does"},
	{kinds: bothRedis, command: "COMMAND INFO CLUSTER|INFO", mask: `\+loading, `, reason: "what is allowed while loading, as Valkey 8.1"},
	{kinds: bothRedis, command: "COMMAND INFO cluster|", mask: `\+loading, `, reason: "what is allowed while loading, as Valkey 8.1"},
	{kinds: proc.Reals, command: "CLUSTER INFO", mask: `cluster_size:[01]|cluster_id:[0-9a-f]+\\r\\n`, reason: "real servers count only two seconds after their start, and have no cluster id", rare: true},
	{kinds: proc.Reals, command: "EXEC", mask: `cluster_size:[01]|cluster_id:[0-9a-f]+\\r\\n`, reason: "real servers count only two seconds after their start, and have no cluster id", rare: true},
	{kinds: proc.Reals, command: "INFO cluster", mask: `slot_migration_\w+:\d+\\r\\n`, reason: "atomic slot migration, which none of them has"},
	{kinds: onlyValkey, command: "cluster slot-stats", mask: `"network-bytes-out"[,=] ?:\d+`, reason: "Valkey counts replies within EXEC more than once"},
}

// subject is a node in a state, with what is to be replaced in its replies.
type subject struct {
	t    *testing.T
	conn *proc.Raw
	swap []string // pairs, as strings.NewReplacer takes them
	ids  map[string]string
}

// do runs a command line; <me> and <peer> in it are the ids of the node and its
// primary, two apostrophes are the empty string.
func (s *subject) do(line string) string {
	args := strings.Fields(line)
	for i, a := range args {
		switch {
		case a == "''":
			args[i] = ""
		case s.ids[a] != "":
			args[i] = s.ids[a]
		}
	}
	reply := s.plain(s.conn.Do(args...))
	if strings.HasPrefix(line, "CLUSTER GETKEYSINSLOT") && strings.HasPrefix(reply, "*[") { // in any order
		keys := strings.Split(strings.Trim(reply, "*[]"), ", ")
		slices.Sort(keys)
		reply = fmt.Sprint("*", keys)
	}
	return reply
}

var (
	anyID     = regexp.MustCompile(`\b[0-9a-f]{40}\b`)
	anyTime   = regexp.MustCompile(`\b1[0-9]{12}\b`)
	offset    = regexp.MustCompile(`("replication-offset"[,=] ?):\d+`)
	linkState = regexp.MustCompile(`("events"[,=] ?)\$"r?w?"`)
	linkSize  = regexp.MustCompile(`("send-buffer-[a-z]+"[,=] ?):\d+`)
	pingPong  = regexp.MustCompile(`(master|slave|handshake|fail\??|noaddr)( \S+) (?:\d+|<time>) (?:\d+|<time>) (\d+ (?:dis)?connected)`)
	counters  = regexp.MustCompile(`cluster_stats_messages_(?:[a-z-]+_)?(?:sent|received):\d+\\r\\n`)
	nodeTable = regexp.MustCompile(`^(\$"|="txt:)(.* <ping> .*\\n)"$`)
	anyOffset = regexp.MustCompile(`(\*\[\$"master"|"connected"), :\d+`) // of ROLE
	metrics   = regexp.MustCompile(`("cpu-usec"[,=] ?):\d+`)
)

// plain replaces in a reply what no two nodes have in common, and puts the lines
// of CLUSTER NODES into order.
func (s *subject) plain(reply string) string {
	reply = strings.NewReplacer(s.swap...).Replace(reply)
	reply = anyID.ReplaceAllString(reply, "<id>")
	reply = anyTime.ReplaceAllString(reply, "<time>")
	reply = offset.ReplaceAllString(reply, "$1:<offset>")
	reply = anyOffset.ReplaceAllString(reply, "$1, :<offset>")
	reply = linkState.ReplaceAllString(reply, "$1<events>")
	reply = linkSize.ReplaceAllString(reply, "$1:<bytes>")
	reply = pingPong.ReplaceAllString(reply, "$1$2 <ping> <pong> $3")
	reply = counters.ReplaceAllString(reply, "")
	reply = metrics.ReplaceAllString(reply, "$1:<usec>")
	if table := nodeTable.FindStringSubmatch(reply); table != nil {
		lines := strings.SplitAfter(table[2], `\n`)
		slices.Sort(lines)
		reply = table[1] + strings.Join(lines, "") + `"`
	}
	return reply
}

// state is a situation a node can be in, and what it is asked there, in order.
type state struct {
	name     string
	start    func(t *testing.T, p proc.Program, proto int) *subject
	commands []string
}

func newSubject(t *testing.T, n *proc.Node, proto int) *subject {
	s := &subject{t: t, conn: n.Raw(proto), ids: map[string]string{}}
	s.port(n, "<port>")
	return s
}

func (s *subject) port(n *proc.Node, name string) {
	s.swap = append(s.swap, strconv.Itoa(n.Port+10000), "<bus"+name[1:], strconv.Itoa(n.Port), name)
}

func (s *subject) id(n *proc.Node, name string) {
	id := n.Text("CLUSTER", "MYID")
	s.ids[name] = id
	s.swap = append(s.swap, id, name)
}

func standalone(t *testing.T, p proc.Program, proto int) *subject {
	return newSubject(t, proc.StartNode(t, p), proto)
}

func startMember(t *testing.T, p proc.Program) *proc.Node {
	n := proc.StartNode(t, p, proc.ClusterArgs()...)
	if p.Name != proc.Redis7.Name && p.Name != proc.Redis8.Name {
		n.Must("CONFIG", "SET", "cluster-slot-stats-enabled", "yes")
	}
	return n
}

func fresh(t *testing.T, p proc.Program, proto int) *subject {
	n := startMember(t, p)
	s := newSubject(t, n, proto)
	s.id(n, "<me>")
	return s
}

// serve gives a node all slots.
func serve(n *proc.Node) {
	n.Must("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
}

func primary(t *testing.T, p proc.Program, proto int) *subject {
	n := startMember(t, p)
	serve(n)
	n.WaitSet("foo", "bar")
	n.Must("SET", "{foo}2", "x")
	n.Must("CONFIG", "RESETSTAT")
	s := newSubject(t, n, proto)
	s.id(n, "<me>")
	return s
}

// replica starts a primary and its replica, both of p; the replica is asked.
func replica(t *testing.T, p proc.Program, proto int) *subject {
	n, top := startMember(t, p), startMember(t, p)
	serve(top)
	n.Must("CLUSTER", "SET-CONFIG-EPOCH", 2) // so that there is nothing to settle
	top.Must("CLUSTER", "SET-CONFIG-EPOCH", 1)
	n.Must("CLUSTER", "MEET", "127.0.0.1", top.Port)
	topID := top.Text("CLUSTER", "MYID")
	proc.Wait(t, proc.Patience, "replica", func() string {
		if _, err := n.Do("CLUSTER", "REPLICATE", topID); err != nil {
			return err.Error()
		}
		return ""
	})
	top.WaitSet("foo", "bar")
	proc.Wait(t, proc.Patience, "both know each other", func() string {
		if i := n.Info("replication"); i["master_link_status"] != "up" {
			return "link " + i["master_link_status"]
		}
		for _, node := range []*proc.Node{n, top} {
			info, err := node.ClusterInfo()
			if err != nil || info["cluster_state"] != "ok" || info["cluster_size"] != "1" || info["cluster_known_nodes"] != "2" {
				return fmt.Sprint(node, info, err)
			}
			if slots := fmt.Sprint(node.Must("CLUSTER", "SLOTS")); strings.Count(slots, "127.0.0.1") != 2 {
				return fmt.Sprint(node, slots)
			}
		}
		if n := strings.Count(fmt.Sprint(n.Must("CLUSTER", "LINKS")), "direction"); n != 2 {
			return fmt.Sprint(n, " links")
		}
		return ""
	})
	n.Must("CONFIG", "RESETSTAT")
	s := newSubject(t, n, proto)
	s.port(top, "<peerport>")
	s.id(n, "<me>")
	s.id(top, "<peer>")
	return s
}
