package rdb

import (
	"hash/crc64"
	"math/rand/v2"
	"testing"
)

// The published values, and agreement with hash/crc64 (whose result is inverted
// before and after) at every length and split.
func TestCRC64(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want uint64
	}{
		{"", 0},
		{"\x00\x00\x00\x00\x00\x00\x00\x00\x00", 0},
		{"a", 0x5fb354025b277b14},
		{"123456789", 0xe9c6d914c4b8d9ca},
		{"REDIS0010", 0xa720f12f2be328d2},
		{"The quick brown fox jumps over the lazy dog", 0xbf7ee596c3aa372b},
	} {
		if got := CRC64(0, []byte(tt.in)); got != tt.want {
			t.Errorf("CRC64(%q) = %016x, want %016x", tt.in, got, tt.want)
		}
	}
	tab := crc64.MakeTable(crcPoly)
	rnd := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 300)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	for n := range p {
		cut := rnd.IntN(n + 1)
		want := ^crc64.Update(^uint64(0), tab, p[:n])
		if got := CRC64(CRC64(0, p[:cut]), p[cut:n]); got != want {
			t.Fatalf("CRC64 of %d bytes cut at %d = %016x, want %016x", n, cut, got, want)
		}
	}
}

func BenchmarkCRC64(b *testing.B) {
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		CRC64(0, p)
	}
}

func BenchmarkCRC64Std(b *testing.B) {
	p := make([]byte, 64<<10)
	tab := crc64.MakeTable(crcPoly)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		crc64.Update(0, tab, p)
	}
}
