package mixed

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/skeindb/skein/test/proc"
)

// HELP names every subcommand that a real server names, between the same first
// and last lines.
func TestClusterHelp(t *testing.T) {
	forEach(t, func(t *testing.T, r proc.Real) {
		help := func(p proc.Program) (all []string, names map[string]bool) {
			names = map[string]bool{}
			for _, l := range proc.StartNode(t, p, proc.ClusterArgs()...).Must("CLUSTER", "HELP").([]any) {
				line := l.(string)
				all = append(all, line)
				if !strings.HasPrefix(line, " ") {
					name, _, _ := strings.Cut(line, " ")
					names[name] = true
				}
			}
			return all, names
		}
		ours, ourNames := help(proc.Skein(t))
		theirs, theirNames := help(r.Program(t))
		for name := range theirNames {
			if !ourNames[name] {
				t.Errorf("HELP does not name %s", name)
			}
		}
		frame := func(lines []string) string { // 7.0 says "Prints"
			return strings.Replace(fmt.Sprintf("%q", []string{lines[0], lines[len(lines)-2], lines[len(lines)-1]}), "Prints", "Print", 1)
		}
		if frame(ours) != frame(theirs) {
			t.Errorf("HELP begins and ends with %s, want %s", frame(ours), frame(theirs))
		}
	})
}

// What one node says it has sent is what the other says it has received, for
// every type of message that two nodes exchange, and totals are sums.
func TestMessageCounters(t *testing.T) {
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := startMember(t, proc.Skein(t)), startMember(t, r.Program(t))
		serve(skein)
		skein.Must("CLUSTER", "MEET", "127.0.0.1", real.Port)
		follow(t, real, skein)
		skein.WaitSet("foo", "bar")
		inStep(t, skein, real)
		stateOK(t, skein, real)
		for range 3 {
			for _, n := range []*proc.Node{skein, real} {
				n.Must("PUBLISH", "news", "message")
				n.Must("SPUBLISH", "foo", "message")
			}
		}
		failoverBy(t, real, skein)
		failoverBy(t, skein, real)
		want := []string{"ping", "pong", "publish", "auth-req", "auth-ack", "mfstart", "publishshard"}
		proc.Wait(t, proc.Patience, "counters to agree", func() string {
			for _, pair := range [][2]*proc.Node{{skein, real}, {real, skein}} {
				sent, received := messages(t, pair[0], "sent"), messages(t, pair[1], "received")
				if !maps.Equal(sent, received) {
					return fmt.Sprintf("%s sent %v, %s received %v", pair[0], sent, pair[1], received)
				}
				for _, kind := range want {
					if sent[kind] == 0 {
						return fmt.Sprintf("%s sent no %s: %v", pair[0], kind, sent)
					}
				}
			}
			return ""
		})
		third := startMember(t, r.Program(t))
		skein.Must("CLUSTER", "MEET", "127.0.0.1", third.Port)
		proc.WaitKnown(t, 3, skein, real, third)
		third.Kill()
		proc.Wait(t, proc.Patience, "FAIL to be told", func() string {
			if sent, received := messages(t, skein, "sent")["fail"], messages(t, real, "received")["fail"]; received != 1 || sent != 1 && sent != 2 {
				return fmt.Sprintf("sent %d, received %d, want 1 (and one to the dead, if there still is a link) and 1", sent, received)
			}
			return ""
		})
	})
}

// messages are the counters of CLUSTER INFO by type; the total has to be their
// sum.
func messages(t *testing.T, n *proc.Node, direction string) map[string]int {
	t.Helper()
	info, err := n.ClusterInfo()
	if err != nil {
		return nil
	}
	counts, sum := map[string]int{}, 0
	for name, text := range info {
		kind, ok := strings.CutPrefix(name, "cluster_stats_messages_")
		if kind, ok2 := strings.CutSuffix(kind, "_"+direction); ok && ok2 {
			counts[kind], _ = strconv.Atoi(text)
			sum += counts[kind]
		}
	}
	if total := info["cluster_stats_messages_"+direction]; total != strconv.Itoa(sum) {
		t.Fatalf("%s: %s in all %s, by type %v", n, direction, total, counts)
	}
	return counts
}

// A peer that takes nothing makes its links fill up: CLUSTER LINKS shows it, and
// a link over cluster-link-sendbuf-limit is closed and counted.
func TestLinkBuffers(t *testing.T) {
	skein, real := startMember(t, proc.Skein(t)), startMember(t, proc.Redis7.Program(t))
	skein.Must("CONFIG", "SET", "cluster-node-timeout", 60000) // the links must live
	skein.Must("CLUSTER", "MEET", "127.0.0.1", real.Port)
	proc.WaitKnown(t, 2, skein, real)
	id := real.Text("CLUSTER", "MYID")
	links := func() (used, allocated int64, events string) {
		for _, l := range skein.Must("CLUSTER", "LINKS").([]any) {
			f := map[any]any{}
			for kv := l.([]any); len(kv) > 0; kv = kv[2:] {
				f[kv[0]] = kv[1]
			}
			if f["node"] != id {
				t.Fatalf("a link of %v, want %s", f["node"], id)
			}
			if f["direction"] == "to" {
				used, allocated, events = f["send-buffer-used"].(int64), f["send-buffer-allocated"].(int64), f["events"].(string)
			}
		}
		return used, allocated, events
	}
	real.Freeze()
	defer real.Signal(syscall.SIGCONT)
	message := strings.Repeat("m", 1<<20)
	proc.Wait(t, proc.Patience, "the link to fill", func() string {
		skein.Must("PUBLISH", "news", message)
		if used, allocated, events := links(); used < 4<<20 || allocated < used || events != "rw" {
			return fmt.Sprintf("used %d, allocated %d, events %q", used, allocated, events)
		}
		return ""
	})
	if n := skein.InfoInt("memory", "mem_cluster_links"); n < 4<<20 {
		t.Errorf("mem_cluster_links:%d with 4 MB queued", n)
	}
	skein.Must("CONFIG", "SET", "cluster-link-sendbuf-limit", "1mb")
	proc.Wait(t, proc.Patience, "the link to be closed", func() string {
		info, _ := skein.ClusterInfo()
		if used, _, _ := links(); info["total_cluster_links_buffer_limit_exceeded"] != "1" || used > 1<<20 {
			return fmt.Sprint(info, used)
		}
		return ""
	})
}
