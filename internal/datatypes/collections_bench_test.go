package datatypes

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkCollections runs everyday commands on a list and a sorted set of 100
// elements (listpacks) and of 100 000 (quicklist, tree), as handlers see them:
// without parsing and locks.
func BenchmarkCollections(b *testing.B) {
	w := newWorld(b)
	for name, n := range map[string]int{"small": 100, "large": 100_000} {
		for i := range n {
			w.do("RPUSH", "l"+name, fmt.Sprintf("element:%d", i))
			w.do("ZADD", "z"+name, strconv.Itoa(i*7919%n), fmt.Sprintf("member:%d", i))
		}
	}
	for _, size := range []string{"small", "large"} {
		for _, cmds := range []string{"LPUSH l element:1; RPOP l", "LRANGE l 0 99", "LINDEX l 50", "ZADD z 55.5 member:50; ZADD z 3 member:50",
			"ZINCRBY z 1 member:3", "ZSCORE z member:70", "ZRANK z member:70", "ZRANGE z 40 49 WITHSCORES", "ZRANGEBYSCORE z 40 60 LIMIT 0 10"} {
			b.Run(size+"/"+cmds, func(b *testing.B) {
				var argvs [][][]byte
				for cmd := range strings.SplitSeq(cmds, ";") {
					var argv [][]byte
					for _, f := range strings.Fields(cmd) {
						argv = append(argv, []byte(f))
					}
					argv[1] = append(argv[1], size...)
					argvs = append(argvs, argv)
				}
				b.ReportAllocs()
				for b.Loop() {
					for _, argv := range argvs {
						w.c.Effects = w.c.Effects[:0]
						w.run(argv...)
					}
				}
			})
		}
	}
}
