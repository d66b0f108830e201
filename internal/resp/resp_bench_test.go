package resp

import (
	"bytes"
	"testing"
)

func BenchmarkParserGet(b *testing.B) {
	benchParser(b, []byte("*2\r\n$3\r\nGET\r\n$10\r\nkey:000123\r\n"))
}

func BenchmarkParserSet64(b *testing.B) {
	benchParser(b, AppendCommand(nil, []byte("SET"), []byte("key:000123"), bytes.Repeat([]byte("v"), 64)))
}

func BenchmarkParserInline(b *testing.B) { benchParser(b, []byte("get key:000123\r\n")) }

// benchParser parses a pipeline of 64 times cmd; an op is one command.
func benchParser(b *testing.B, cmd []byte) {
	stream := bytes.Repeat(cmd, 64)
	argv := make([][]byte, 0, 8)
	var p Parser
	b.SetBytes(int64(len(cmd)))
	b.ReportAllocs()
	rest := stream
	for b.Loop() {
		_, n, err := p.Next(rest, argv)
		if err != nil {
			b.Fatal(err)
		}
		if rest = rest[n:]; len(rest) == 0 {
			rest = stream
		}
	}
}

func BenchmarkWriterBulk64(b *testing.B) {
	v := bytes.Repeat([]byte("v"), 64)
	w := Writer{Buf: make([]byte, 0, 1<<10)}
	b.ReportAllocs()
	for b.Loop() {
		w.Buf = w.Buf[:0]
		w.Bulk(v)
	}
}

func BenchmarkAppendDouble(b *testing.B) {
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendDouble(buf[:0], 1234.5678)
	}
}

func BenchmarkReaderBulk64(b *testing.B) {
	one := AppendBulk(nil, bytes.Repeat([]byte("v"), 64))
	src := bytes.NewReader(nil)
	stream := bytes.Repeat(one, 64)
	r := NewReader(src)
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	for b.Loop() {
		if r.Buffered() == 0 && src.Len() == 0 {
			src.Reset(stream)
		}
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
