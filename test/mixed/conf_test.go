package mixed

import (
	"os"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// confLine is a node in a nodes.conf.
type confLine struct {
	hostname string
	aux      map[string]string
}

// readConf reads the nodes.conf of a node, by id.
func readConf(t *testing.T, n *proc.Node) map[string]confLine {
	t.Helper()
	text, err := os.ReadFile(n.Path("nodes.conf"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]confLine{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue // vars, and what 7.0 pads with
		}
		l := confLine{aux: map[string]string{}}
		for i, part := range strings.Split(f[1], ",")[1:] {
			if name, value, ok := strings.Cut(part, "="); ok {
				l.aux[name] = value
			} else if i == 0 {
				l.hostname = part
			}
		}
		all[f[0]] = l
	}
	return all
}
