package datatypes

import (
	"fmt"
	"testing"
)

// Commands through their handlers, keys planned, 100 k keys, values of 64 bytes.
func BenchmarkString(b *testing.B) {
	value := fmt.Sprintf("%064d", 7)
	for _, bb := range []struct{ name, cmd, arg string }{{"get", "GET", ""}, {"set", "SET", value}, {"incr", "INCR", ""}} {
		b.Run(bb.name, func(b *testing.B) {
			w := newWorld(b)
			w.c.LogOn = false
			const keys = 100_000
			var cmds [keys][][]byte
			for i := range cmds {
				cmds[i] = [][]byte{[]byte(bb.cmd), fmt.Appendf(nil, "key:%06d", i)}
				if bb.arg != "" {
					cmds[i] = append(cmds[i], []byte(bb.arg))
				}
				v := value
				if bb.cmd == "INCR" {
					v = "1000"
				}
				w.run([]byte("SET"), cmds[i][1], []byte(v))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				w.run(cmds[i*7919%keys]...)
				w.c.Changes = w.c.Changes[:0]
			}
		})
	}
}
