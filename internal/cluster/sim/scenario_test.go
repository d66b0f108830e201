package sim

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The scenarios from the field. The largest takes minutes and runs only if
// SKEIN_LONG is set, as make sim-long does.
func TestScenarios(t *testing.T) {
	names, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(names) < 6 {
		t.Fatalf("%d scenarios, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			if strings.Contains(name, "1000") && os.Getenv("SKEIN_LONG") == "" {
				t.Skip("takes minutes: set SKEIN_LONG=1, or make sim-long")
			}
			t.Parallel()
			if err := RunScenario(name, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// A scenario can fail: what it expects is looked for.
func TestScenarioFails(t *testing.T) {
	for text, want := range map[string]string{
		"nodes 6 primaries 3\nkill 0\nexpect serve 0 within 1s": "runs and serves: false",
		"nodes 6 primaries 3\nnever serve 0 for 1s":             "it happened",
		"nodes 6\nfly 0":                            "unknown command",
		"nodes 6\nkill 9":                           "no nodes",
		"nodes 6\nexpect rain within 1s":            "unknown condition",
		"nodes 6\nkill all\nexpect agree within 1s": "no node runs",
	} {
		name := filepath.Join(t.TempDir(), "s.txt")
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := RunScenario(name, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// The report measures what a cluster of default settings must show: nobody is
// taken for failed before T, the replica serves soon after.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	s, err := measure(3, 10, 5000)
	if err != nil {
		t.Fatal(err)
	}
	if s.detect < 4000 || s.detect > 12000 || s.failover < s.detect || s.failover > s.detect+3000 || s.messages < 5 || s.bytes < 5*2256 {
		t.Errorf("measured %+v", s)
	}
	if err := Report(dir, []int{10}, io.Discard); err != nil {
		t.Fatal(err)
	}
	md, err := os.ReadFile(filepath.Join(dir, "sim-report.md"))
	if err != nil || !strings.Contains(string(md), "| 10 | 20 |") {
		t.Errorf("%v\n%s", err, md)
	}
	if err := Report(dir, []int{20}, io.Discard); err != nil {
		t.Fatal(err)
	}
	both, err := os.ReadFile(filepath.Join(dir, "sim-report.md"))
	_, old, _ := strings.Cut(string(md), "| 10 | 20 |")
	old, _, _ = strings.Cut(old, "\n")
	if err != nil || !strings.Contains(string(both), "| 10 | 20 |"+old+"\n| 20 | 20 |") {
		t.Errorf("another size was measured: %v\n%s", err, both)
	}
}
