package proc

import (
	"testing"
	"time"
)

// Wait polls until ok returns "" and fails the test with what ok said last if
// that does not happen within limit. It returns the time that it took.
func Wait(t testing.TB, limit time.Duration, what string, ok func() (missing string)) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		missing := ok()
		took := time.Since(start)
		if missing == "" {
			return took
		}
		if took > limit {
			t.Fatalf("after %v still waiting: %s: %s", took.Round(time.Millisecond), what, missing)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
