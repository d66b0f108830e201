package engine_test

import (
	"fmt"
	"testing"

	"github.com/skeindb/skein/internal/resp"
)

// Pipelined GET and SET allocate nothing.
func TestPipelineDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	_, s := benchEngine(t, 1000)
	val := make([]byte, 64)
	for _, name := range []string{"GET", "SET"} {
		var buf []byte
		for i := range 64 {
			key := fmt.Appendf(nil, "key:%012d", i*7)
			if name == "GET" {
				buf = resp.AppendCommand(buf, []byte(name), key)
			} else {
				buf = resp.AppendCommand(buf, []byte(name), key, val)
			}
		}
		if n := testing.AllocsPerRun(100, func() { s.Feed(buf) }); n != 0 {
			t.Errorf("a batch of 64 %s allocates %v times", name, n)
		}
	}
}
