package observe

import (
	"fmt"
	"strings"

	"github.com/skeindb/skein/internal/command"
)

// text gathers the lines of INFO.
type text struct{ b []byte }

func (t *text) line(name string, value any) { t.b = fmt.Appendf(t.b, "%s:%v\r\n", name, value) }
func (t *text) format(name, format string, args ...any) {
	t.b = append(append(t.b, name...), ':')
	t.b = fmt.Appendf(t.b, format, args...)
	t.b = append(t.b, '\r', '\n')
}
func (t *text) flag(name string, on bool) {
	n := 0
	if on {
		n = 1
	}
	t.line(name, n)
}

// size writes a size and its form for people.
func (t *text) size(name string, n int64) {
	t.line(name, n)
	t.line(name+"_human", human(n))
}

// A section of INFO. Those by default come with INFO alone; the others with
// INFO all.
type section struct {
	name, title string
	byDefault   bool
	write       func(ob *Observer, t *text, world bool)
}

// The sections in the order in which they are printed, whatever the order of
// the arguments.
var sections = []section{
	{"server", "Server", true, (*Observer).server},
	{"clients", "Clients", true, (*Observer).clients},
	{"memory", "Memory", true, (*Observer).memory},
	{"persistence", "Persistence", true, (*Observer).persistence},
	{"stats", "Stats", true, (*Observer).stats},
	{"replication", "Replication", true, (*Observer).replication},
	{"cpu", "CPU", true, (*Observer).cpu},
	{"modules", "Modules", true, func(*Observer, *text, bool) {}},
	{"commandstats", "Commandstats", false, (*Observer).commandStats},
	{"errorstats", "Errorstats", true, (*Observer).errorStats},
	{"latencystats", "Latencystats", false, (*Observer).latencyStats},
	{"cluster", "Cluster", true, (*Observer).cluster},
	{"keyspace", "Keyspace", true, (*Observer).keyspace},
}

// Info returns the text of INFO with the given arguments. world says that the
// caller holds the world lock.
func (ob *Observer) Info(args []string, world bool) string {
	wanted := map[string]bool{}
	if len(args) == 0 {
		args = []string{"default"}
	}
	for _, a := range args {
		a = strings.ToLower(a)
		for _, s := range sections {
			if a == s.name || a == "all" || a == "everything" || a == "default" && s.byDefault {
				wanted[s.name] = true
			}
		}
	}
	var t text
	for _, s := range sections {
		if !wanted[s.name] {
			continue
		}
		if len(t.b) > 0 {
			t.b = append(t.b, '\r', '\n')
		}
		t.b = fmt.Appendf(t.b, "# %s\r\n", s.title)
		s.write(ob, &t, world)
	}
	return string(t.b)
}

func (ob *Observer) info(c *command.Ctx) {
	args := make([]string, len(c.Argv)-1)
	for i := range args {
		args[i] = string(c.Arg(i + 1))
	}
	c.Verbatim("txt", ob.Info(args, c.World))
}
