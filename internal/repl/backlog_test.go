package repl

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// The model of a backlog is the whole stream: every cursor must read it without
// a gap, and the oldest bytes must stay as long as size or a reader says.
func TestBacklogKeepsWhatItMust(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		const base = 1000
		size := int64(minBlock + rng.IntN(20*minBlock))
		var b Backlog
		b.Start(base, size)
		var stream []byte
		var cursors [3]Cursor
		for i := range cursors {
			b.Seek(&cursors[i], base)
		}
		for range 400 {
			switch rng.IntN(4) {
			case 0, 1:
				p := make([]byte, rng.IntN(3*minBlock))
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				stream = append(stream, p...)
				b.Append(p)
			case 2:
				c := &cursors[rng.IntN(len(cursors))]
				got := b.Read(c)
				if want := stream[c.pos-base:]; len(got) > len(want) || len(got) == 0 && len(want) > 0 || !bytes.Equal(got, want[:len(got)]) {
					t.Fatalf("seed %d: %d bytes at %d differ from the stream", seed, len(got), c.pos)
				}
				b.Advance(c, rng.IntN(len(got)+1))
			case 3:
				keep := min(cursors[0].pos, cursors[1].pos, cursors[2].pos)
				b.Trim(keep)
				if b.From() > keep {
					t.Fatalf("seed %d: trimmed to %d, a reader is at %d", seed, b.From(), keep)
				}
				if rng.IntN(4) == 0 {
					b.Seek(&cursors[rng.IntN(3)], b.From()+rng.Int64N(b.To()-b.From()+1))
				}
			}
			if want := base + int64(len(stream)); b.To() != want {
				t.Fatalf("seed %d: To() = %d, want %d", seed, b.To(), want)
			}
			if held := b.To() - b.From(); held < min(size, int64(len(stream))) {
				t.Fatalf("seed %d: holds %d bytes of %d, want at least %d", seed, held, len(stream), size)
			}
		}
		for i := range cursors {
			b.Drop(&cursors[i])
		}
		b.Trim(b.To())
		if held := b.To() - b.From(); held > size+int64(2*b.blockSize)+3*minBlock {
			t.Errorf("seed %d: holds %d bytes after every reader has gone, size is %d", seed, held, size)
		}
		for k := b.first; k != nil; k = k.next {
			if k.pins != 0 {
				t.Errorf("seed %d: block at %d is pinned %d times by nobody", seed, k.start, k.pins)
			}
		}
	}
}

func lagOf(l *Log, r *reader) int64 {
	_, lag := l.where(r)
	return lag
}

// A replica that stands still must not keep the stream for ever.
func TestLogCutsOffAReaderBeyondTheLimit(t *testing.T) {
	l := newLog()
	l.begin(16 << 10)
	l.hardLimit = 64 << 10
	r := l.attach(l.off)
	cmd := bytes.Repeat([]byte("x"), 1000)
	for range 60 {
		l.Append(0, 0, cmd)
	}
	if _, ok := l.next(r, 0); !ok {
		t.Fatalf("cut off at a lag of %d, the limit is %d", lagOf(l, r), l.hardLimit)
	}
	for range 60 {
		l.Append(0, 0, cmd)
	}
	if _, ok := l.next(r, 0); ok {
		t.Errorf("still served at a lag of %d, the limit is %d", lagOf(l, r), l.hardLimit)
	}
	if held := l.back.To() - l.back.From(); held > 32<<10 {
		t.Errorf("%d bytes kept for a reader that was cut off", held)
	}
}

// A replica of a node that is promoted must hear nothing of the new history under the
// old name, whatever comes between the fork and the end of its connection.
func TestForkEndsReaders(t *testing.T) {
	l := newLog()
	l.adopt(idA, 1000, 0, 16<<10)
	l.follow(16 << 10)
	l.AppendRaw(0, []byte("old history"))
	r := l.attach(1000)
	p, ok := l.next(r, 0)
	if !ok || string(p) != "old history" {
		t.Fatalf("next = %q, %v", p, ok)
	}
	l.fork(16 << 10)
	l.AppendControl(pingCommand)
	if p, ok := l.next(r, len(p)); ok {
		t.Errorf("a reader of the old history is served %q of the new", p)
	}
	if d, _, _ := l.tryContinue(idA, 1000+int64(len(p))+1); d != Continue {
		t.Errorf("who has all of the old history cannot continue: %v", d)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	l := newLog()
	l.begin(1 << 20)
	cmd := bytes.Repeat([]byte("x"), 100)
	for range 30000 { // until blocks are reused
		l.Append(0, 0, cmd)
	}
	if n := testing.AllocsPerRun(20000, func() { l.Append(0, 0, cmd) }); n != 0 {
		t.Errorf("Append allocates %v times a command", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	l := newLog()
	l.begin(10 << 20)
	cmd := bytes.Repeat([]byte("x"), 100)
	b.SetBytes(100)
	b.ReportAllocs()
	for b.Loop() {
		l.Append(0, 0, cmd)
	}
}
