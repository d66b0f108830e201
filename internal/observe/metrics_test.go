package observe

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/resp"
)

// Goal: Prometheus takes the text. Method: every line has the form of the text
// format, a name's samples come together behind one TYPE, no sample twice.
func TestMetricsAreWellFormed(t *testing.T) {
	ob, _ := newTest(t)
	ob.o.ClusterInfo = func() string { return "cluster_state:ok\r\ncluster_slots_fail:3\r\n" }
	ob.o.Replication = func() string {
		return "role:master\r\nslave0:ip=10.0.0.1,port=7001,state=online,offset=14,lag=1\r\nmaster_link_status:down\r\n"
	}
	ob.o.Engine.Stats.CountError(`ODD"\thing x`)
	stats := ob.o.Engine.Stats.Command(ob.o.Engine.Table.ByName("slowlog|get"))
	stats.Calls.Add(2)
	stats.Nanos.Add(3_000_000)
	req := httptest.NewRecorder()
	ob.Handler().ServeHTTP(req, httptest.NewRequest("GET", "/metrics", nil))
	text := req.Body.String()
	form := regexp.MustCompile(`^(redis_[a-z_0-9]+)(\{([a-z_]+="([^"\\]|\\.)*",?)+\})? -?[0-9.e+-]+$`)
	current, seen, samples := "", map[string]bool{}, map[string]bool{}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			current, _, _ = strings.Cut(rest, " ")
			if seen[current] {
				t.Errorf("two TYPE lines for %s", current)
			}
			seen[current] = true
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		m := form.FindStringSubmatch(line)
		if m == nil || m[1] != current {
			t.Errorf("line %q under %s", line, current)
			continue
		}
		if samples[m[1]+m[2]] {
			t.Errorf("sample %s twice", m[1]+m[2])
		}
		samples[m[1]+m[2]] = true
	}
	for _, want := range []string{"redis_up 1\n", "redis_cluster_state 1\n", "redis_cluster_slots_fail 3\n", "redis_master_link_up 0\n",
		`redis_connected_slave_offset_bytes{slave_ip="10.0.0.1",slave_port="7001",slave_state="online"} 14` + "\n",
		`redis_commands_total{cmd="slowlog|get"} 2` + "\n", `redis_commands_duration_seconds_total{cmd="slowlog|get"} 0.003` + "\n",
		`redis_errors_total{err="ODD\"\\thing"} 1` + "\n", "# TYPE redis_commands_processed_total counter\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Goal: what clients send cannot become part of the page.
func TestPageEscapes(t *testing.T) {
	ob, _ := newTest(t)
	ob.Slow.Add(0, 5, [][]byte{[]byte("<script>alert(1)</script>")}, "1.2.3.4:5", "", 10)
	w := httptest.NewRecorder()
	ob.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	text := w.Body.String()
	if strings.Contains(text, "<script>") || !strings.Contains(text, "&lt;script&gt;") {
		t.Errorf("the page does not escape:\n%s", text)
	}
	for _, want := range []string{"Skein master on port 6379", "operations per second", "used_memory"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	w = httptest.NewRecorder()
	if ob.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/other", nil)); w.Code != 404 {
		t.Errorf("another path: %d", w.Code)
	}
}

func TestHelpNamesEverySubcommand(t *testing.T) {
	ob, _ := newTest(t)
	for _, name := range []string{"slowlog", "latency", "memory"} {
		container := ob.o.Engine.Table.ByName(name)
		for _, s := range container.Subs {
			if s.Name != "help" {
				continue
			}
			text := run(ob, s)
			for _, s := range container.Subs {
				if !strings.Contains(text, "\r\n+"+strings.ToUpper(s.Name)) {
					t.Errorf("%s HELP says nothing of %s", name, s.Name)
				}
			}
		}
	}
}

// run carries out a command without arguments.
func run(ob *Observer, s *command.Spec) string {
	var c command.Ctx
	c.Writer = new(resp.Writer)
	c.Env = ob.o.Engine.Env
	c.Reset(s, [][]byte{[]byte(s.Parent.Name), []byte(s.Name)})
	s.Run(&c)
	return string(c.Writer.Buf)
}
