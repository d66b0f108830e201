package resp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// feed gives the parser the pieces one after another, as a connection would,
// in a buffer that moves every time, and returns copies of the commands found.
func feed(p *Parser, pieces [][]byte) (cmds [][]string, err error) {
	var buf []byte
	for _, piece := range pieces {
		if len(buf) == 0 {
			buf = piece
		} else {
			buf = append(append([]byte(nil), buf...), piece...)
		}
		for {
			args, n, err := p.Next(buf, nil)
			buf = buf[n:]
			if err == ErrMore {
				if p.Need() < 1 {
					return cmds, fmt.Errorf("Need() = %d", p.Need())
				}
				break
			}
			if err != nil {
				return cmds, err
			}
			cmd := []string{}
			for _, a := range args {
				cmd = append(cmd, string(a))
			}
			cmds = append(cmds, cmd)
		}
	}
	return cmds, nil
}

func inPieces(b []byte, size func() int) (pieces [][]byte) {
	for len(b) > 0 {
		n := min(max(size(), 1), len(b))
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return pieces
}

// The parser takes and refuses exactly what the reference server does: replies
// recorded from it are compared with those of a server of three commands.
func TestParserAgreesWithRedis(t *testing.T) {
	file, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for i, line := range strings.Split(string(file), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		kind, rest, _ := strings.Cut(line, " ")
		in, rest := unquoteGolden(t, rest)
		x, rest, _ := strings.Cut(rest[1:], " ")
		want, rest := unquoteGolden(t, rest)
		if n, _ := strconv.Atoi(x); n > 0 {
			in += strings.Repeat(in[len(in)-1:], n-1)
		}
		closed := rest == " +"
		if kind == "quirk" {
			continue
		}
		rows++
		for _, size := range []int{len(in), 1, 7, 16 << 10} {
			if len(in) > 1000 && size < 1000 {
				size = 1000 + size
			}
			p := &Parser{Unauthenticated: kind == "unauth"}
			cmds, err := feed(p, inPieces([]byte(in), func() int { return size }))
			var w Writer
			for _, c := range cmds {
				tinyServer(&w, p, c)
			}
			if err != nil {
				w.Error("ERR " + err.Error())
			}
			if string(w.Buf) != want || (err != nil) != closed {
				t.Errorf("line %d in pieces of %d: %.60q -> %q (closed %v), want %q (closed %v)", i+1, size, in, w.Buf, err != nil, want, closed)
			}
		}
	}
	if rows < 100 {
		t.Errorf("only %d rows were compared", rows)
	}
}

func tinyServer(w *Writer, p *Parser, c []string) {
	switch {
	case p.Unauthenticated:
		w.Error("NOAUTH Authentication required.")
	case c[0] == "PING" && len(c) == 2:
		w.BulkString(c[1])
	case c[0] == "PING":
		w.Simple("PONG")
	case c[0] == "EVAL":
		w.Array(len(c) - 3)
		for _, a := range c[3:] {
			w.BulkString(a)
		}
	default:
		w.Error("ERR unknown command '" + c[0] + "', with args beginning with: ")
	}
}

// unquoteGolden takes a quoted string off the front of s; \xHH is one byte.
func unquoteGolden(t *testing.T, s string) (string, string) {
	t.Helper()
	end := 1
	for ; s[end] != '"'; end++ {
		if s[end] == '\\' {
			end++
		}
	}
	v, err := strconv.Unquote(s[:end+1])
	if err != nil {
		t.Fatalf("%s: %v", s[:end+1], err)
	}
	return v, s[end+1:]
}

// Commands of all shapes come out the same however the stream is cut.
func TestParserAnySplit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	var want [][]string
	for range 300 {
		cmd := []string{"c"}
		for range rnd.IntN(12) {
			n := rnd.IntN(30)
			if rnd.IntN(20) == 0 {
				n = rnd.IntN(3000)
			}
			b := make([]byte, n)
			for i := range b {
				b[i] = "\r\n*$a0"[rnd.IntN(6)]
			}
			cmd = append(cmd, string(b))
		}
		if rnd.IntN(5) == 0 {
			stream = append(stream, "*0\r\n\r\n"...)
		}
		if rnd.IntN(5) == 0 {
			stream = append(stream, "  get \"a\\x00b\" 'q'\r\n"...)
			want = append(want, []string{"get", "a\x00b", "q"})
		}
		stream = AppendCommandStrings(stream, cmd...)
		want = append(want, cmd)
	}
	for _, most := range []int{1, 2, 5, 50, 500, 5000, 1 << 20} {
		got, err := feed(new(Parser), inPieces(stream, func() int { return rnd.IntN(most) + 1 }))
		if err != nil {
			t.Fatalf("pieces up to %d: %v", most, err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("pieces up to %d: commands differ from those sent", most)
		}
	}
}

// A big argument that arrives in small reads costs time linear in its size:
// Next looks at headers once and Need tells exactly what is missing.
func TestParserBigBulkIsNotRescanned(t *testing.T) {
	const size = 4 << 20
	stream := AppendCommand(nil, []byte("SET"), []byte("k"), bytes.Repeat([]byte("\r"), size))
	var p Parser
	for n := 20; n < len(stream); n += 1 << 10 {
		if _, c, err := p.Next(stream[:n:n], nil); c != 0 || err != ErrMore {
			t.Fatalf("Next of %d bytes: %d, %v", n, c, err)
		}
		if n > 40 && p.Need() != len(stream)-n {
			t.Fatalf("Need() after %d bytes = %d, want %d", n, p.Need(), len(stream)-n)
		}
		if p.scan != 0 && n > 40 {
			t.Fatalf("the body was searched for a line end (scan %d)", p.scan)
		}
	}
	args, n, err := p.Next(stream, nil)
	if err != nil || n != len(stream) || len(args) != 3 || len(args[2]) != size {
		t.Fatalf("whole command: %d args, %d bytes, %v", len(args), n, err)
	}
	if p.Pending() {
		t.Error("still pending after the whole command")
	}
}

// A line end that never comes is searched once too.
func TestParserInlineIsScannedOnce(t *testing.T) {
	line := append(bytes.Repeat([]byte("a"), MaxInline), "b c\n"...)
	var p Parser
	for n := 1; n <= MaxInline; n++ {
		if _, _, err := p.Next(line[:n], nil); err != ErrMore {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if p.scan != n {
			t.Fatalf("after %d bytes scan = %d", n, p.scan)
		}
	}
	if _, _, err := p.Next(line, nil); err != errInlineTooBig {
		t.Errorf("a line of %d bytes: %v, want %v", len(line), err, errInlineTooBig)
	}
}

func TestParserLimits(t *testing.T) {
	tests := []struct {
		name string
		p    Parser
		in   string
		want error
	}{
		{"an argument of MaxBulk passes", Parser{MaxBulk: 4}, "*1\r\n$4\r\nPING\r\n", nil},
		{"one byte more does not", Parser{MaxBulk: 4}, "*1\r\n$5\r\nPINGS\r\n", errBulkInvalid},
		{"without a limit 600 MB are awaited", Parser{MaxBulk: -1}, "*1\r\n$600000000\r\n", ErrMore},
		{"without a limit absurd lengths are not", Parser{MaxBulk: -1}, "*1\r\n$9223372036854775807\r\n", errBulkInvalid},
		{"MaxArgs passes", Parser{MaxArgs: 1}, "*1\r\n$4\r\nPING\r\n", nil},
		{"MaxArgs + 1 does not", Parser{MaxArgs: 1}, "*2\r\n$4\r\nPING\r\n$1\r\na\r\n", errCountInvalid},
	}
	for _, tt := range tests {
		_, _, err := tt.p.Next([]byte(tt.in), nil)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestParserDoesNotAllocate(t *testing.T) {
	stream := append([]byte("*2\r\n$3\r\nGET\r\n$10\r\nkey:000123\r\n*0\r\n"), "PING\r\n"...)
	cut := stream[:20]
	argv := make([][]byte, 0, 16)
	var p Parser
	p.spans = make([]span, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := p.Next(cut, argv); err != ErrMore {
			t.Fatal(err)
		}
		b := stream
		for len(b) > 0 {
			_, n, err := p.Next(b, argv)
			if err != nil {
				t.Fatal(err)
			}
			b = b[n:]
		}
	}); n != 0 {
		t.Errorf("%v allocations per run", n)
	}
}

// Goal: no input makes the parser panic, and cutting the input differently
// never changes the commands or the error.
func FuzzParser(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*-1\r\n*1\r\n$4\r\nPING\r\n"), uint64(3), false)
	f.Add([]byte("set \"a\\x41\" 'b'\r\n\r\n*1\r\n+"), uint64(9), true)
	f.Add([]byte("*1\r\n$20000\r\n"), uint64(1), true)
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, unauth bool) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		before := string(in)
		whole, err1 := feed(&Parser{Unauthenticated: unauth}, [][]byte{in})
		if string(in) != before {
			t.Errorf("the buffer was changed from %q to %q", before, in)
		}
		cut, err2 := feed(&Parser{Unauthenticated: unauth}, inPieces(in, func() int { return rnd.IntN(9) }))
		if fmt.Sprintf("%q %v", whole, err1) != fmt.Sprintf("%q %v", cut, err2) {
			t.Errorf("%q: in one piece %q %v, cut %q %v", in, whole, err1, cut, err2)
		}
		// What was understood means the same when written out again.
		var again []byte
		for _, c := range whole {
			again = AppendCommandStrings(again, c...)
		}
		if back, err := feed(new(Parser), [][]byte{again}); err != nil || fmt.Sprintf("%q", back) != fmt.Sprintf("%q", whole) {
			t.Errorf("%q: %q became %q, %v", in, whole, back, err)
		}
	})
}
