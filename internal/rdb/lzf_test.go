package rdb

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "", "|", "").Replace(s))
	if err != nil {
		panic(err)
	}
	return b
}

// The two worked examples of the grammar, as another compressor wrote them.
func TestExpandLZF(t *testing.T) {
	for _, tt := range []struct{ packed, want string }{
		{"01 61 61 | e0 1b 00 | 01 61 61", strings.Repeat("a", 40)},
		{"03 61 62 63 61 | e0 0c 02 | 01 62 63", strings.Repeat("abc", 9)},
	} {
		got, err := expandLZF(nil, unhex(tt.packed), uint64(len(tt.want)))
		if err != nil || string(got) != tt.want {
			t.Errorf("expandLZF(%s) = %q, %v, want %q", tt.packed, got, err, tt.want)
		}
	}
	for name, packed := range map[string]string{
		"literals cut":         "05 61 62",
		"copy without offset":  "00 61 20",
		"long copy cut":        "00 61 e0",
		"copy from before":     "00 61 20 01",
		"more than announced":  "05 61 62 63 64 65 66",
		"less than announced":  "01 61 62",
		"copy past the end":    "00 61 80 00",
		"size beyond any copy": "",
	} {
		if got, err := expandLZF([]byte("x"), unhex(packed), 4); !errors.Is(err, errLZF) || string(got) != "x" {
			t.Errorf("%s: expandLZF = %q, %v, want damage", name, got, err)
		}
	}
	if _, err := expandLZF(nil, make([]byte, 30), 1<<40); err == nil {
		t.Error("a terabyte out of 30 bytes was not refused")
	}
}

// Whatever compresses must expand to itself and keep to the limit.
func TestLZFRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	packed := 0
	for range 1000 {
		n := rnd.IntN(1 << rnd.IntN(16))
		alphabet := 1 + rnd.IntN(1<<rnd.IntN(9))
		src := make([]byte, n)
		for i := range src {
			if i > 10 && rnd.IntN(20) == 0 { // repeat something from anywhere before
				from := rnd.IntN(i)
				i += copy(src[i:], src[from:from+min(i-from, rnd.IntN(400))])
			} else {
				src[i] = byte(rnd.IntN(alphabet))
			}
		}
		limit := n - lzfMinGain
		out, ok := appendLZF([]byte("pre"), src, limit)
		if string(out[:3]) != "pre" || !ok && len(out) != 3 || len(out)-3 > max(limit, 0) {
			t.Fatalf("appendLZF of %d bytes made %d, limit %d, %v", n, len(out)-3, limit, ok)
		}
		if !ok {
			continue
		}
		packed++
		back, err := expandLZF(nil, out[3:], uint64(n))
		if err != nil || !bytes.Equal(back, src) {
			t.Fatalf("round trip of %d bytes: %v", n, err)
		}
	}
	if packed < 300 {
		t.Errorf("only %d of 1000 inputs were compressed", packed)
	}
}

func FuzzLZF(f *testing.F) {
	f.Add([]byte("\x01aa\xe0\x1b\x00\x01aa"), uint64(40))
	f.Add([]byte("\x03abca\xe0\x0c\x02\x01bc"), uint64(27))
	f.Add([]byte(strings.Repeat("a", 100)), uint64(1<<60))
	f.Fuzz(func(t *testing.T, p []byte, size uint64) {
		out, err := expandLZF(nil, p, size)
		if err == nil && uint64(len(out)) != size || len(out) > len(p)*lzfMaxRatio || cap(out) > 2*len(p)*lzfMaxRatio+64 {
			t.Fatalf("expandLZF of %d bytes to %d: %d bytes, %v", len(p), size, len(out), err)
		}
		if packed, ok := appendLZF(nil, p, len(p)); ok {
			back, err := expandLZF(nil, packed, uint64(len(p)))
			if err != nil || !bytes.Equal(back, p) {
				t.Fatalf("round trip: %v", err)
			}
		}
	})
}

func BenchmarkLZF(b *testing.B) {
	rnd := rand.New(rand.NewPCG(5, 6))
	random := make([]byte, 64<<10)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	for _, bb := range []struct {
		name string
		p    []byte
	}{
		{"text64", []byte(strings.Repeat("the quick brown fox ", 4)[:64])},
		{"text8K", []byte(strings.Repeat("user:1000 name:jane city:oslo ", 280)[:8192])},
		{"random64", random[:64]},
		{"random64K", random},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var dst []byte
			b.SetBytes(int64(len(bb.p)))
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = appendLZF(dst[:0], bb.p, len(bb.p)-4)
			}
		})
	}
}
