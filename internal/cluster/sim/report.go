package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
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

// reportTimeout is the node timeout of the clusters measured: the default.
const reportTimeout = 15000

// Report measures clusters of several sizes and writes sim-report.md and its
// plots into a directory, anew after each size. What the file there already says
// of other sizes remains in it.
func Report(dir string, sizes []int, progress io.Writer) error {
	// Large worlds keep most of what they allocate, and that is gigabytes.
	defer debug.SetGCPercent(debug.SetGCPercent(30))
	rows, err := readRows(filepath.Join(dir, "sim-report.md"))
	if err != nil {
		return err
	}
	for _, n := range sizes {
		r, err := measureSize(n)
		if err != nil {
			return err
		}
		i, found := slices.BinarySearchFunc(rows, n, func(r row, n int) int { return r.nodes - n })
		if !found {
			rows = slices.Insert(rows, i, r)
		}
		rows[i] = r
		fmt.Fprintf(progress, "%d nodes: %d worlds, detected in %d ms, failed over in %d ms, %.1f messages and %.0f bytes per node and second\n",
			n, r.worlds, r.detect, r.failover, r.messages, r.bytes)
		if err := writeReport(dir, rows); err != nil {
			return err
		}
	}
	return nil
}

// measureSize lives some worlds of one size, fewer of the large ones.
func measureSize(n int) (row, error) {
	r := row{nodes: n, worlds: min(max(2000/n, 1), 20)}
	var detect, failover []cluster.Millis
	for seed := range uint64(r.worlds) {
		s, err := measure(seed+1, n, reportTimeout)
		if err != nil {
			return r, fmt.Errorf("sim: report: %d nodes, seed %d: %w", n, seed+1, err)
		}
		detect, failover = append(detect, s.detect), append(failover, s.failover)
		r.messages += s.messages / float64(r.worlds)
		r.bytes += s.bytes / float64(r.worlds)
	}
	slices.Sort(detect)
	slices.Sort(failover)
	r.detect, r.failover = detect[len(detect)/2], failover[len(failover)/2]
	r.detectMost, r.failoverMost = detect[len(detect)-1], failover[len(failover)-1]
	return r, nil
}

// row is a line of the report.
type row struct {
	nodes, worlds            int
	detect, failover         cluster.Millis // medians
	detectMost, failoverMost cluster.Millis
	messages, bytes          float64
}

const rowFormat = "| %d | %d | %d (%d) | %d (%d) | %.1f | %.0f |\n"

// readRows reads the lines of an earlier report; no report is none.
func readRows(name string) (rows []row, err error) {
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("sim: report: %w", err)
	}
	format := strings.NewReplacer("%.1f", "%f", "%.0f", "%f").Replace(rowFormat)
	for line := range strings.Lines(string(text)) {
		var r row
		if n, _ := fmt.Sscanf(line, format, &r.nodes, &r.worlds, &r.detect, &r.detectMost, &r.failover, &r.failoverMost, &r.messages, &r.bytes); n == 8 {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return a.nodes - b.nodes })
	return rows, nil
}

func writeReport(dir string, rows []row) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# What the simulator measures

Made by `+"`make sim-report`"+` (node timeout %d ms, half of the nodes primaries, a replica each, delays of 0.05 to 4 ms;
`+"`SIZES=200,500`"+` measures these again and leaves the rest). Times are of the virtual clock, from the loss of power of one
primary: until every other primary has it as FAIL, and until its replica serves its slots. Messages and bytes are those
sent per node and second by a cluster at rest: a node pings each other one that it was not heard of for half a node timeout, and
a message tells of a tenth of the nodes, so bytes grow faster than messages do.

| nodes | worlds | detected, median (most), ms | failed over, median (most), ms | messages / node / s | bytes / node / s |
|---|---|---|---|---|---|
`, reportTimeout)
	for _, r := range rows {
		fmt.Fprintf(&b, rowFormat, r.nodes, r.worlds, r.detect, r.detectMost, r.failover, r.failoverMost, r.messages, r.bytes)
	}
	b.WriteString("\n![time to detect and to fail over](sim-report-time.svg)\n![messages](sim-report-messages.svg)\n![bytes](sim-report-bytes.svg)\n")
	files := map[string][]byte{
		"sim-report.md": b.Bytes(),
		"sim-report-time.svg": plot("seconds from the death of a primary (median)", rows, []string{"failed over", "detected"}, false,
			func(r row) []float64 { return []float64{float64(r.failover) / 1000, float64(r.detect) / 1000} }),
		"sim-report-messages.svg": plot("messages sent per node and second", rows, []string{"messages"}, true,
			func(r row) []float64 { return []float64{r.messages} }),
		"sim-report-bytes.svg": plot("bytes sent per node and second", rows, []string{"bytes"}, true,
			func(r row) []float64 { return []float64{r.bytes} }),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("sim: report: %w", err)
		}
	}
	return nil
}

// plot draws lines over the sizes, which are set apart evenly, with the values at
// the points. The scale begins at 0, or goes by powers of ten.
func plot(title string, rows []row, names []string, tens bool, values func(row) []float64) []byte {
	const width, height, left, right, bottom, top = 720, 360, 70, 40, 45, 60
	least, most := math.Inf(1), 1.0
	for _, r := range rows {
		least, most = min(least, slices.Min(values(r))), max(most, slices.Max(values(r)))
	}
	var marks []float64
	share := func(v float64) float64 { return v / most }
	if tens {
		low, high := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
		share = func(v float64) float64 { return (math.Log10(v) - low) / max(high-low, 1) }
		for e := low; e <= high; e++ {
			marks = append(marks, math.Pow(10, e))
		}
	} else {
		step := math.Pow(10, math.Floor(math.Log10(most)))
		for step*3 > most {
			step /= 2
		}
		most = math.Ceil(most/step) * step
		for v := 0.0; v <= most; v += step {
			marks = append(marks, v)
		}
	}
	x := func(i int) float64 {
		return left + 30 + float64(i)*float64(width-left-right-60)/float64(max(len(rows)-1, 1))
	}
	y := func(v float64) float64 { return height - bottom - share(v)*(height-bottom-top) }
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="22" font-size="14">%s</text>`+"\n", left, title)
	for _, v := range marks {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, y(v), width-right, left-8, y(v)+4, figure(v))
	}
	for i, r := range rows {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(i), height-bottom+18, r.nodes)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">nodes</text>`+"\n", (left+width-right)/2, height-8)
	for k, name := range names {
		colour := []string{"#1769aa", "#c2410c"}[k]
		var points []string
		for i, r := range rows {
			v := values(r)[k]
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(i), y(v)))
			above := y(v) - 8
			if k > 0 { // the lower of two lines
				above = y(v) + 18
			}
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/><text x="%.1f" y="%.1f" fill="%s" text-anchor="middle" font-size="11">%s</text>`+"\n",
				x(i), y(v), colour, x(i), above, colour, figure(v))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colour)
		if len(names) > 1 {
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s" text-anchor="end">%s</text>`+"\n", width-right, 22+16*k, colour, name)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// figure writes a number with three figures or so, in thousands or millions.
func figure(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.3gk", v/1e3)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
