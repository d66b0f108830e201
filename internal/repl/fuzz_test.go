package repl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/datatypes"
	"github.com/skeindb/skein/internal/engine"
	"github.com/skeindb/skein/internal/mem"
	"github.com/skeindb/skein/internal/resp"
	"github.com/skeindb/skein/internal/store"
)

// bytesConn is a primary that has said all it will ever say, in pieces of at
// most some bytes.
type bytesConn struct {
	in    []byte
	piece func() int
}

func (c *bytesConn) Read(b []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.in[:min(len(c.in), max(1, c.piece()))])
	c.in = c.in[n:]
	return n, nil
}

func (c *bytesConn) Write(b []byte) (int, error) { return len(b), nil }
func (c *bytesConn) Close() error                { return nil }

// bytesSpool is a Spool in memory.
type bytesSpool struct{ b []byte }

func (s *bytesSpool) Write(b []byte) (int, error) { s.b = append(s.b, b...); return len(b), nil }
func (s *bytesSpool) ReadAt(b []byte, off int64) (int, error) {
	n := copy(b, s.b[min(int(off), len(s.b)):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
func (s *bytesSpool) Close() error { return nil }

// lonely is a replica without a network, made once for all inputs.
type lonely struct {
	e      *engine.Engine
	r      *Repl
	heap   *mem.Heap
	conn   *bytesConn
	toDisk bool
}

func newLonely(f *testing.F) *lonely {
	heap, err := mem.New(mem.Options{Shards: 2, Reserve: 256 << 20, Poison: true})
	if err != nil {
		f.Fatal(err)
	}
	fo := &lonely{heap: heap}
	env := &command.Env{}
	l := command.DefaultLimits()
	l.MaxBulk = 1 << 20
	env.SetLimits(l)
	fo.e = engine.New(engine.Options{Store: store.New(heap, 2), Env: env})
	fo.r = New(Options{Engine: fo.e,
		Settings: func() Settings { s := DefaultSettings(); s.LoadFromSocket = !fo.toDisk; return s },
		Dial:     func(context.Context, string, int) (io.ReadWriteCloser, error) { return fo.conn, nil },
		NewSpool: func() (Spool, error) { return &bytesSpool{}, nil }})
	fo.e.SetTable(command.NewTable(engine.Specs(), datatypes.Specs(), fo.r.Specs()))
	fo.r.publishRole(true)
	fo.r.log.follow(1 << 20)
	fo.r.updateLogOn()
	f.Cleanup(func() { fo.r.Close(); fo.e.Store.Close(); heap.Close() })
	return fo
}

// empty makes it a replica of no data at offset 100.
func (fo *lonely) empty() {
	s := DefaultSettings()
	fo.r.dropData(&s)
	fo.r.e.SetGate(engine.GateLoading, false)
	fo.r.log.adopt(idA, 100, 0, 1<<20)
}

// settled checks what must hold after any link: it left no session and no gate
// behind, every key is in good order, and memory is in proportion.
func (fo *lonely) settled(t *testing.T, input int, before uint64) {
	t.Helper()
	if n := fo.e.ClientCount(); n != 0 {
		t.Fatalf("%d sessions are left", n)
	}
	if fo.e.Gate(engine.GateLoading) {
		t.Fatal("still loading")
	}
	for fo.e.Store.LazyfreePending() > 0 {
	}
	if err := fo.heap.Check(); err != nil {
		t.Fatal(err)
	}
	// A stream may ask for much (SETRANGE k 1000000 x), a megabyte a command of 40 bytes.
	if got := int64(allocated() - before); got > 4<<20+int64(input)<<16 {
		t.Fatalf("%d bytes of input: %d bytes of Go memory", input, got)
	}
}

func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// harmless reports whether the commands of a stream mean the same at any time
// and use no great memory.
func harmless(in []byte) bool {
	upper := bytes.ToUpper(in)
	for _, word := range []string{"SETRANGE", "SETBIT", "BITFIELD", "BITOP", "CLIENT"} {
		if bytes.Contains(upper, []byte(word)) {
			return false
		}
	}
	return true
}

// FuzzStream takes any bytes as what a primary sends after the handshake. However
// they are cut, the same commands are applied and the same offset is reached; what
// is not a stream is refused as that, and everything is then asked for anew.
func FuzzStream(f *testing.F) {
	fo := newLonely(f)
	for _, s := range []string{
		set("a", "1") + string(pingCommand) + string(getackCommand),
		"*1\r\n$5\r\nMULTI\r\n" + set("a", "1") + "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n" + set("b", "2"),
		"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n" + set("a", "1") + "*1\r\n$5\r\nMULTI\r\n" + set("never", "1"),
		"\r\n\r\n" + set("a", "1") + "PING\r\n",
		"*2\r\n$4\r\nLPOP\r\n$1\r\nl\r\n*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$2\r\n12\r\n*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\n",
		"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1099511627776\r\n",
		"*3\r\n$9\r\nREPLICAOF\r\n$2\r\nNO\r\n$3\r\nONE\r\n" + set("a", "1"),
		"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n" + set("a", "1") + "*1\r\n$4\r\nSYNC\r\n",
		"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n" + set("a", "1") + "*1\r\n$7\r\nMONITOR\r\n*1\r\n$5\r\nRESET\r\n" + set("b", "1"),
		"*1\r\n$4\r\nQUIT\r\n" + set("a", "1"), "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n" + set("a", "1"), "*3\r\n$4\r\nAUTH\r\n$1\r\na\r\n$1\r\nb\r\n" + set("a", "1"),
	} {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		if !harmless(in) || len(in) > 1<<16 {
			return
		}
		var offs [2]int64
		var whole [2]bool
		var errs [2]error
		rnd := rand.New(rand.NewPCG(seed, 3))
		for i, piece := range []func() int{func() int { return len(in) }, func() int { return rnd.IntN(20) }} {
			fo.empty()
			before := allocated()
			fl := newFollower(fo.r, "127.0.0.1", 1, FollowOptions{})
			l := &link{f: fl, r: fo.r, conn: &bytesConn{in, piece}, down: make(chan struct{})}
			l.br = bufio.NewReaderSize(heard{l}, streamBuffer)
			errs[i] = l.stream()
			_, offs[i], _, whole[i] = fo.r.log.place()
			if offs[i] < 100 || offs[i] > 100+int64(len(in)) {
				t.Fatalf("offset %d after %d bytes from 100 on", offs[i], len(in))
			}
			switch damaged := errors.Is(errs[i], engine.ErrStream); {
			case damaged == whole[i]:
				t.Fatalf("%v: the history is whole: %v", errs[i], whole[i])
			case !damaged && errs[i] != io.EOF && errs[i] != errClosed:
				t.Fatalf("stream: %v", errs[i])
			}
			fo.settled(t, len(in), before)
		}
		// A command that ends its session (QUIT) ends the link behind the batch.
		if (offs[0] != offs[1] || errs[0] != errs[1]) && errs[0] != errClosed {
			t.Fatalf("%q: in one piece to %d, %v, cut to %d, %v", in, offs[0], errs[0], offs[1], errs[1])
		}
	})
}

// FuzzSync takes any bytes as all that a primary says on a link: answers to the
// handshake, snapshot, stream. A link that fails leaves the data set as it was or
// empty, and in the second case the next one asks for everything.
func FuzzSync(f *testing.F) {
	fo := newLonely(f)
	hello := "+PONG\r\n+OK\r\n+OK\r\n"
	file := string(snapshotOf(f, map[string]string{"old": "1", "older": strings.Repeat("x", 100)}))
	for _, s := range []string{
		hello + "\n+FULLRESYNC " + idA + " 100\r\n\n$EOF:" + mark + "\r\n" + file + mark + set("a", "1"),
		hello + "+FULLRESYNC " + idA + " 9\r\n$" + string(resp.AppendInt(nil, int64(len(file))))[1:] + file + set("a", "1"),
		hello + "+CONTINUE " + idB + "\r\n" + set("a", "1"),
		hello + "+CONTINUE\r\n" + set("a", "1"),
		hello + "-ERR unknown command\r\n$1000000000000\r\nREDIS0010",
		hello + "+FULLRESYNC " + idA + " 9\r\n$EOF:" + mark + "\r\nREDIS0011\xfe\x00\x02\x01k\x81\x00\x00\x01\x00\x00\x00\x00\x00",
		"-NOAUTH a\r\n-ERR b\r\n-ERR c\r\n-LOADING d\r\n",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, how uint8) {
		if !harmless(in) || len(in) > 1<<16 {
			return
		}
		fo.empty()
		fo.conn = &bytesConn{in, func() int { return 1<<16 - int(how)<<8 }}
		fo.toDisk = how&1 != 0
		before := allocated()
		fl := newFollower(fo.r, "127.0.0.1", 1, FollowOptions{Full: how&2 != 0})
		up := fl.once()
		fo.settled(t, len(in), before)
		_, off, _, whole := fo.r.log.place()
		if !up && fo.e.Store.DB(0).Keys()+fo.e.Store.DB(1).Keys() != 0 {
			t.Fatalf("no stream, and %d keys", fo.e.Store.DB(0).Keys())
		}
		if !up && whole && off != 100 {
			t.Fatalf("no stream, and a history up to %d", off)
		}
	})
}
