package sim

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skeindb/skein/internal/cluster"
)

// sample is what one world of a size showed.
type sample struct {
	detect, failover cluster.Millis // after the death of a primary
	messages, bytes  float64        // sent per node and second, at rest
}

// measure lives one world: a cluster at rest for two ping rounds, then one of its
// primaries loses power. Detection is over when every other primary has it as
// FAIL, the failover when its replica owns its slots.
func measure(seed uint64, nodes int, T cluster.Millis) (s sample, err error) {
	w := newWorld(seed, Options{Nodes: nodes, Faults: []string{}})
	w.defaultSettings(T)
	primaries := max(nodes/2, 3)
	w.createShards(primaries)
	w.runUntil(w.now+60*second, w.checker.agreed)
	if err := w.checker.agreed(); err != nil {
		return s, err
	}
	w.runUntil(w.now+int64(T)*ms/2, nil) // replication stands, first pings are answered
	sent, bytes, from := w.net.frames, w.net.bytes, w.now
	w.runUntil(w.now+int64(T)*ms, nil)
	seconds := float64(w.now-from) / float64(second) * float64(nodes)
	s.messages, s.bytes = float64(w.net.frames-sent)/seconds, float64(w.net.bytes-bytes)/seconds

	victim := w.nodes[w.rnd.IntN(primaries)]
	victim.losePower()
	died := w.now
	until := func(what string, done func() bool) cluster.Millis {
		for w.err == nil && !done() {
			if w.now-died > 10*int64(T)*ms {
				w.fail(nil, "report", "%s: not in 10 node timeouts", what)
			}
			w.runUntil(w.now+20*ms, nil)
		}
		return cluster.Millis((w.now - died) / ms)
	}
	s.detect = until("detection", func() bool {
		for _, n := range w.nodes[:primaries] {
			if n != victim && !n.view.Node(victim.id).Flags.Has(cluster.FlagFail) {
				return false
			}
		}
		return true
	})
	s.failover = until("failover", func() bool {
		for _, n := range w.nodes[primaries:] {
			if me := n.view.Myself(); me.Flags.Has(cluster.FlagPrimary) && !me.Slots.Empty() && n.view.State == cluster.StateOK {
				return true
			}
		}
		return false
	})
	return s, w.err
}

// Report measures clusters of several sizes and writes sim-report.md and its
// plots into a directory.
func Report(dir string, sizes []int, progress io.Writer) error {
	const T = 15000
	var rows []row
	for _, n := range sizes {
		r := row{nodes: n, worlds: min(max(2000/n, 1), 20)}
		var detect, failover []cluster.Millis
		for seed := range uint64(r.worlds) {
			s, err := measure(seed+1, n, T)
			if err != nil {
				return fmt.Errorf("sim: report: %d nodes, seed %d: %w", n, seed+1, err)
			}
			detect, failover = append(detect, s.detect), append(failover, s.failover)
			r.messages += s.messages / float64(r.worlds)
			r.bytes += s.bytes / float64(r.worlds)
		}
		slices.Sort(detect)
		slices.Sort(failover)
		r.detect, r.failover = detect[len(detect)/2], failover[len(failover)/2]
		r.detectMost, r.failoverMost = detect[len(detect)-1], failover[len(failover)-1]
		rows = append(rows, r)
		fmt.Fprintf(progress, "%d nodes: %d worlds, detected in %d ms, failed over in %d ms, %.1f messages and %.0f bytes per node and second\n",
			n, r.worlds, r.detect, r.failover, r.messages, r.bytes)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `# What the simulator measures

Made by `+"`make sim-report`"+` (node timeout %d ms, half of the nodes primaries, a replica each, delays of 0.05 to 4 ms).
Times are of the virtual clock, from the loss of power of one primary: until every other primary has it as FAIL, and until
its replica serves its slots. Messages and bytes are those sent per node and second by a cluster at rest.

| nodes | worlds | detected, median (most), ms | failed over, median (most), ms | messages / node / s | bytes / node / s |
|---|---|---|---|---|---|
`, T)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %d | %d | %d (%d) | %d (%d) | %.1f | %.0f |\n", r.nodes, r.worlds, r.detect, r.detectMost, r.failover, r.failoverMost, r.messages, r.bytes)
	}
	b.WriteString("\n![time to detect and to fail over](sim-report-time.svg)\n![messages](sim-report-messages.svg)\n![bytes](sim-report-bytes.svg)\n")
	files := map[string][]byte{
		"sim-report.md": b.Bytes(),
		"sim-report-time.svg": plot("ms after the death of a primary", rows, []string{"detected", "failed over"},
			func(r row) []float64 { return []float64{float64(r.detect), float64(r.failover)} }),
		"sim-report-messages.svg": plot("messages per node and second", rows, []string{"messages"}, func(r row) []float64 { return []float64{r.messages} }),
		"sim-report-bytes.svg":    plot("bytes per node and second", rows, []string{"bytes"}, func(r row) []float64 { return []float64{r.bytes} }),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("sim: report: %w", err)
		}
	}
	return nil
}

type row struct {
	nodes, worlds            int
	detect, failover         cluster.Millis // medians
	detectMost, failoverMost cluster.Millis
	messages, bytes          float64
}

// plot draws lines over the sizes, which are set apart evenly.
func plot(title string, rows []row, names []string, values func(row) []float64) []byte {
	const width, height, left, bottom, top = 640, 320, 70, 40, 40
	most := 1.0
	for _, r := range rows {
		most = max(most, slices.Max(values(r)))
	}
	x := func(i int) float64 { return left + float64(i)*float64(width-left-40)/float64(max(len(rows)-1, 1)) }
	y := func(v float64) float64 { return height - bottom - v/most*(height-bottom-top) }
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="20" font-size="14">%s</text>`+"\n", left, title)
	for k := range 5 {
		v := most * float64(k) / 4
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n", left, y(v), width-40, left-8, y(v)+4, v)
	}
	for i, r := range rows {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(i), height-bottom+18, r.nodes)
	}
	for k, name := range names {
		colour := []string{"#1769aa", "#c2410c"}[k]
		var points []string
		for i, r := range rows {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(i), y(values(r)[k])))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colour)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s" text-anchor="end">%s</text>`+"\n", width-40, 20+16*k, colour, name)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">nodes</text></svg>`+"\n", width-4, height-6)
	return b.Bytes()
}
