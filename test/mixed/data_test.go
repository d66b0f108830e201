package mixed

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// tags have slots in the first, second and last third of all.
var tags = []string{"{b}", "{c}", "{foo}"}

// fill gives each primary values of all types, in the small and the large
// encodings of each, with a hash tag of its own; it returns the tags.
func fill(t *testing.T, c *proc.Cluster) map[*proc.Node]string {
	t.Helper()
	tag := map[*proc.Node]string{}
	for _, n := range c.Primaries() {
		for _, candidate := range tags {
			if _, err := n.Do("EXISTS", candidate); err == nil {
				tag[n] = candidate
			}
		}
		if tag[n] == "" {
			t.Fatalf("%s serves none of %v", n, tags)
		}
		fillNode(t, n, tag[n])
	}
	return tag
}

func fillNode(t *testing.T, n *proc.Node, tag string) {
	t.Helper()
	n.Must("SET", tag+"int", "12345")
	n.Must("SET", tag+"raw", strings.Repeat("0123456789", 2000))
	n.Must("SET", tag+"binary", "\x00\xff\r\n")
	n.Must("SET", tag+"ttl", "v", "EX", "10000")
	n.Must("PFADD", tag+"hll", "a", "b", "c")
	n.Must("SETBIT", tag+"bits", 1000, 1)
	for _, size := range []int{3, 600} { // below and above all limits of the small encodings
		for command, element := range map[string]func(i int) []any{
			"RPUSH": func(i int) []any { return []any{fmt.Sprintf("element-%d", i)} },
			"SADD":  func(i int) []any { return []any{fmt.Sprintf("member-%d", i)} },
			"HSET":  func(i int) []any { return []any{fmt.Sprintf("field-%d", i), strings.Repeat("v", i%90)} },
			"ZADD":  func(i int) []any { return []any{strconv.FormatFloat(float64(i)/8, 'g', -1, 64), fmt.Sprintf("m%d", i)} },
		} {
			args := []any{command, fmt.Sprintf("%s%s-%d", tag, command, size)}
			for i := range size {
				args = append(args, element(i)...)
			}
			n.Must(args...)
		}
		ints := []any{"SADD", fmt.Sprintf("%sintset-%d", tag, size)}
		for i := range size {
			ints = append(ints, i*7)
			n.Must("XADD", fmt.Sprintf("%sstream-%d", tag, size), fmt.Sprintf("%d-1", i+1), "field", i)
		}
		n.Must(ints...)
		n.Must("XGROUP", "CREATE", fmt.Sprintf("%sstream-%d", tag, size), "group", "0")
		n.Must("XREADGROUP", "GROUP", "group", "reader", "COUNT", 2, "STREAMS", fmt.Sprintf("%sstream-%d", tag, size), ">")
	}
}
