package observe

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/config"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/store"
)

// newTest returns an observer of an empty node without connections.
func newTest(t *testing.T) (*Observer, *config.Config) {
	t.Helper()
	heap, err := mem.New(mem.Options{Shards: 4, Reserve: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	st := store.New(heap, 2)
	t.Cleanup(func() {
		st.Close()
		heap.Close()
	})
	cfg := config.New()
	ob := New(Options{Config: cfg, Heap: heap, RunID: strings.Repeat("a", 40), Build: "0", Commit: "00000000"})
	e := engine.New(engine.Options{Store: st, Env: &command.Env{}})
	ob.Attach(e)
	e.SetTable(command.NewTable(ob.Specs()))
	return ob, cfg
}

// fields returns the lines of INFO without their values.
func fields(info string) (names []string) {
	for _, line := range strings.Split(info, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
	}
	return names
}

// Goal: tools that read redis-server's INFO find every field, in the same
// section and order. The file holds the names that 7.0.15 prints.
func TestInfoHasTheFieldsOfRedis(t *testing.T) {
	ob, _ := newTest(t)
	golden, err := os.ReadFile("testdata/info-7.0.15.txt")
	if err != nil {
		t.Fatal(err)
	}
	got := fields(ob.Info([]string{"everything"}, false))
	i := 0
	for _, want := range strings.Split(strings.TrimSpace(string(golden)), "\n") {
		if want == "" {
			continue
		}
		at := i
		for at < len(got) && got[at] != want {
			at++
		}
		if at == len(got) {
			t.Errorf("INFO lacks %q behind %q", want, got[max(i-1, 0)])
			continue
		}
		i = at + 1
	}
}

func TestInfoSections(t *testing.T) {
	ob, _ := newTest(t)
	for _, tt := range []struct{ args, want string }{
		{"", "# Server # Clients # Memory # Persistence # Stats # Replication # CPU # Modules # Errorstats # Cluster # Keyspace"},
		{"default", "# Server # Clients # Memory # Persistence # Stats # Replication # CPU # Modules # Errorstats # Cluster # Keyspace"},
		{"all", "# Server # Clients # Memory # Persistence # Stats # Replication # CPU # Modules # Commandstats # Errorstats # Latencystats # Cluster # Keyspace"},
		{"EVERYTHING", "# Server # Clients # Memory # Persistence # Stats # Replication # CPU # Modules # Commandstats # Errorstats # Latencystats # Cluster # Keyspace"},
		{"keyspace CPU cpu", "# CPU # Keyspace"},
		{"nosuch", ""},
	} {
		var titles []string
		for _, f := range fields(ob.Info(strings.Fields(tt.args), false)) {
			if strings.HasPrefix(f, "#") {
				titles = append(titles, f)
			}
		}
		if got := strings.Join(titles, " "); got != tt.want {
			t.Errorf("INFO %s: sections %q, want %q", tt.args, got, tt.want)
		}
	}
	if got := ob.Info([]string{"cluster", "keyspace"}, false); got != "# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\n" {
		t.Errorf("sections are not parted by one empty line: %q", got)
	}
}

func TestKeyspaceCountsKeysAndExpiries(t *testing.T) {
	ob, _ := newTest(t)
	db := ob.o.Engine.Store.DB(1)
	var o store.Obj
	for i := range 5 {
		k := command.MakeKey(0, fmt.Append(nil, "k", i))
		db.Create(k.Slot, k.Hash, fmt.Append(nil, "k", i), store.String, store.Raw, 3, int64(i%2)*1e15, 0, &o)
	}
	left := 1e15 - ob.o.Engine.Now() // of both that expire
	var ttl int64
	if got := ob.Info([]string{"keyspace"}, false); !strings.HasPrefix(got, "# Keyspace\r\ndb1:keys=5,expires=2,avg_ttl=") {
		t.Errorf("INFO keyspace = %q", got)
	} else if fmt.Sscanf(got[strings.LastIndexByte(got, '=')+1:], "%d", &ttl); ttl > left || ttl < left-60000 {
		t.Errorf("INFO keyspace = %q, want avg_ttl %d", got, left)
	}
	u := ob.usage()
	if u.used != ob.o.Heap.Used() || u.used == 0 || u.overhead+u.dataset != u.used {
		t.Errorf("used %d of %d, overhead %d + dataset %d", u.used, ob.o.Heap.Used(), u.overhead, u.dataset)
	}
}

func TestSlowLogShortensAndHidesSecrets(t *testing.T) {
	many := strings.Fields("mset" + strings.Repeat(" x", 40))
	for _, tt := range []struct{ name, argv, want string }{
		{"plain", "set k v", "set k v"},
		{"long argument", "set k " + strings.Repeat("y", 130), "set k " + strings.Repeat("y", 128) + "... (2 more bytes)"},
		{"many arguments", strings.Join(many, " "), strings.Join(many[:31], " ") + " ... (10 more arguments)"},
		{"32 arguments", strings.Join(many[:32], " "), strings.Join(many[:32], " ")},
		{"AUTH", "AUTH user pass", "AUTH (redacted) (redacted)"},
		{"HELLO", "hello 3 AUTH u p SETNAME n", "hello 3 AUTH (redacted) (redacted) SETNAME n"},
		{"CONFIG SET", "config set maxmemory 1 requirepass p", "config set maxmemory 1 requirepass (redacted)"},
		{"ACL SETUSER", "acl setuser u >p", "acl setuser (redacted) (redacted)"},
		{"MIGRATE AUTH", "migrate h 1 k 0 9 AUTH p", "migrate h 1 k 0 9 AUTH (redacted)"},
		{"MIGRATE AUTH2", "migrate h 1 k 0 9 AUTH2 u p KEYS k", "migrate h 1 k 0 9 AUTH2 (redacted) (redacted) KEYS k"},
	} {
		var argv [][]byte
		for _, a := range strings.Fields(tt.argv) {
			argv = append(argv, []byte(a))
		}
		if got := strings.Join(shorten(argv), " "); got != tt.want {
			t.Errorf("%s: kept %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Goal: whoever adds a secret directive to config must not find it in the slow
// log. Method: every directive that config calls sensitive is asked for.
func TestSlowLogKnowsSensitiveDirectives(t *testing.T) {
	for _, d := range config.New().Directives() {
		for _, name := range append([]string{d.Name}, d.Aliases...) {
			if got := sensitiveDirective(name); got != d.Has(config.Sensitive) {
				t.Errorf("sensitiveDirective(%q) = %v, config says %v", name, got, d.Has(config.Sensitive))
			}
		}
	}
}

func TestSlowLogKeepsTheNewest(t *testing.T) {
	l := NewSlowLog()
	for i := range 10 {
		l.Add(int64(i)*1000, 5, [][]byte{[]byte("x")}, "addr", "name", 3)
	}
	got := l.last(100)
	if len(got) != 3 || got[0].id != 9 || got[2].id != 7 || got[0].at != 9 {
		t.Errorf("last entries %+v, want ids 9, 8, 7", got)
	}
	l.Reset()
	l.Add(0, 5, [][]byte{[]byte("x")}, "", "", 3)
	if got := l.last(1); l.Len() != 1 || got[0].id != 10 {
		t.Errorf("after a reset %+v, want one entry with id 10", got)
	}
	l.Trim(0)
	if l.Len() != 0 {
		t.Errorf("slowlog-max-len 0 left %d entries", l.Len())
	}
}

func TestRecorderThresholds(t *testing.T) {
	ob, cfg := newTest(t)
	r := ob.Recorder()
	for _, tt := range []struct {
		slow, latency string
		want          int64
	}{{"10000", "0", 10000}, {"-1", "0", -1}, {"-1", "3", 3000}, {"10000", "3", 3000}, {"1000", "3", 1000}, {"0", "3", 0}} {
		if err := cfg.Set([]string{"slowlog-log-slower-than", tt.slow, "latency-monitor-threshold", tt.latency}, true); err != nil {
			t.Fatal(err)
		}
		if got := r.ThresholdMicros(); got != tt.want {
			t.Errorf("slower-than %s, monitor %s: threshold %d, want %d", tt.slow, tt.latency, got, tt.want)
		}
	}
	cfg.Set([]string{"slowlog-log-slower-than", "5000", "latency-monitor-threshold", "3"}, true)
	r.Add(0, 4000, [][]byte{[]byte("slowlog"), []byte("len")}, "", "")
	if h, _ := ob.Latency.history("command"); ob.Slow.Len() != 0 || len(h) != 1 || h[0].ms != 4 {
		t.Errorf("4 ms: slow log %d entries, event %+v; want none, one of 4 ms", ob.Slow.Len(), h)
	}
	r.Event("fork", 2*time.Millisecond)
	if h, _ := ob.Latency.history("fork"); len(h) != 0 {
		t.Errorf("an event below the threshold was kept: %+v", h)
	}
}

func TestLatencyKeepsTheWorstOfASecond(t *testing.T) {
	l := NewLatency()
	for _, s := range [][2]int64{{1, 5}, {1, 9}, {1, 7}, {2, 3}} {
		l.Add("command", s[0], s[1])
	}
	got, worst := l.history("command")
	if fmt.Sprint(got, worst) != "[{1 9} {2 3}] 9" {
		t.Errorf("history %v, worst %d", got, worst)
	}
	for i := range int64(1000) {
		l.Add("many", i, 1)
	}
	if got, _ := l.history("many"); len(got) != latencySamples || got[latencySamples-1].at != 999 {
		t.Errorf("%d samples, want the last %d", len(got), latencySamples)
	}
	if n := l.Reset("many", "nosuch"); n != 1 {
		t.Errorf("Reset of one known event = %d", n)
	}
	if n := l.Reset(); n != 1 {
		t.Errorf("Reset of the rest = %d, want 1", n)
	}
}

func TestPercentiles(t *testing.T) {
	var h histogram
	h.counts[0], h.counts[3], h.counts[10] = 90, 9, 1
	h.calls = 100
	for _, tt := range []struct {
		p    float64
		want string
	}{{0, "1.031"}, {50, "1.031"}, {90, "1.031"}, {99, "8.255"}, {99.9, "1056.767"}, {100, "1056.767"}} {
		if got := fmt.Sprintf("%.3f", float64(h.percentile(tt.p))/1000); got != tt.want {
			t.Errorf("p%v = %s, want %s", tt.p, got, tt.want)
		}
	}
}

func TestRates(t *testing.T) {
	var s series
	for i := range int64(samples) {
		s.add((i+1)*50, 100*time.Millisecond)
	}
	if got := s.rate(); got != 500 {
		t.Errorf("50 in each 100 ms: rate %v, want 500", got)
	}
	s.add(0, 100*time.Millisecond) // a counter that was reset
	if got := s.rate(); got != 500*15.0/16 {
		t.Errorf("rate after a reset %v, want %v", got, 500*15.0/16)
	}
}

func TestHuman(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1.00K", 916288: "894.81K", 25276514304: "23.54G", 3 << 20: "3.00M", 1 << 40: "1.00T"} {
		if got := human(n); got != want {
			t.Errorf("human(%d) = %s, want %s", n, got, want)
		}
	}
}
