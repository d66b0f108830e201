package engine_test

import (
	"fmt"
	"testing"

	"github.com/skeindb/skein/internal/hashslot"
	"github.com/skeindb/skein/internal/resp"
)

// What a command costs is counted at its slot: the bytes of its request and its
// reply, and those sent to replicas and subscribers of shard channels. The same
// dialogue gives the same figures on Valkey 8.1 (test/e2e compares).
func TestSlotUsageCountsBytes(t *testing.T) {
	l := newLab(t)
	l.Replicas = func() int { return 2 }
	l.CountSlots(true)
	slot := int(hashslot.Slot([]byte("foo")))
	c, blocked, sub := l.dial(), l.dial(), l.dial()
	seen := [2]int64{}
	took := func(what string, in, out int64) {
		t.Helper()
		u := l.SlotUsage(slot)
		now := [2]int64{u.In.Load(), u.Out.Load()}
		if got := [2]int64{now[0] - seen[0], now[1] - seen[1]}; got != [2]int64{in, out} {
			t.Errorf("%s: bytes in and out %v, want %v", what, got, [2]int64{in, out})
		}
		seen = now
	}
	c.is("SET foo bar", "+OK")
	took("SET", 31, 5)
	if l.SlotUsage(slot).Nanos.Load() <= 0 {
		t.Error("SET has taken no time")
	}
	c.is("GET foo", "$3 bar")
	took("GET", 22, 9)
	c.do("GET foo x")
	took("a command refused for its arity", 0, 0)
	c.do("LPUSH foo x")
	took("a command that failed", 31, 68)
	c.is("MULTI", "+OK")
	c.is("SET foo bar", "+QUEUED")
	took("a queued command", 31, 0)
	c.is("EXEC", "*1 +OK")
	took("EXEC", 15+14, 4+5)
	c.is("PING", "+PONG")
	took("a command without keys", 0, 0)

	c.is("DEL foo", ":1")
	took("DEL", 22, 4)
	blocked.send("BLPOP foo 0")
	l.blocked(1)
	took("a command that waits", 0, 0)
	c.is("RPUSH foo x", ":1")
	blocked.want("*2 $3 foo $1 x")
	l.blocked(0)
	took("RPUSH and the BLPOP that it served", 31+31, 4+20)

	sub.is("SSUBSCRIBE foo", "*3 $10 ssubscribe $3 foo :1")
	took("SSUBSCRIBE", 30, 34)
	c.is("SPUBLISH foo hello", ":1")
	sub.want("*3 $8 smessage $3 foo $5 hello")
	took("SPUBLISH and its message", 38, 42)

	l.SetLog(&memLog{})
	l.SetLogOn(true)
	c.is("SET foo bar", "+OK")
	took("SET with two replicas", 31, 5+2*31)
	c.is("MULTI", "+OK")
	c.is("SET foo bar", "+QUEUED")
	c.is("SET foo bar", "+QUEUED")
	c.is("EXEC", "*2 +OK +OK")
	took("EXEC with two replicas", 15+31+31+14, 14+2*91)
	c.is("MULTI", "+OK")
	c.is("GET foo", "+QUEUED")
	c.is("EXEC", "*1 $3 bar")
	took("EXEC that writes nothing, with two replicas", 15+22+14, 4+9)

	l.CountSlots(false)
	c.is("GET foo", "$3 bar")
	if l.SlotUsage(slot) != nil {
		t.Error("figures while counting is off")
	}
	l.CountSlots(true)
	took("a command while counting was off", 0, 0)
	l.ResetSlotUsage(func(s int) bool { return s == slot })
	if u := l.SlotUsage(slot); u.In.Load()+u.Out.Load()+u.Nanos.Load() != 0 {
		t.Error("figures after they were reset")
	}
}

// memLog drops what is logged.
type memLog struct{ end int64 }

func (l *memLog) Append(_, _ int, cmds []byte) int64 { l.end += int64(len(cmds)); return l.end }

// Counting by slot allocates nothing either.
func TestSlotUsageDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	e, s := benchEngine(t, 1000)
	e.CountSlots(true)
	var buf []byte
	for i := range 64 {
		buf = resp.AppendCommand(buf, []byte("SET"), fmt.Appendf(nil, "key:%012d", i*7), make([]byte, 64))
	}
	if n := testing.AllocsPerRun(100, func() { s.Feed(buf) }); n != 0 {
		t.Errorf("a batch of 64 allocates %v times", n)
	}
}

// BenchmarkSlotUsage is BenchmarkFeed with few keys, so that what counting costs
// shows; an op is one command.
func BenchmarkSlotUsage(b *testing.B) {
	e, s := benchEngine(b, 1000)
	var buf []byte
	for i := range 64 {
		buf = resp.AppendCommand(buf, []byte("GET"), fmt.Appendf(nil, "key:%012d", i*7))
	}
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("on=%v", on), func(b *testing.B) {
			e.CountSlots(on)
			for i := 0; i < b.N; i += 64 {
				s.Feed(buf)
			}
		})
	}
}
