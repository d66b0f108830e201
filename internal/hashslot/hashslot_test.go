package hashslot

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// The vectors of the specification, section "Key hashing".
func TestSlotVectors(t *testing.T) {
	for _, tt := range []struct {
		key  string
		want uint16
		why  string
	}{
		{"", 0, "empty"},
		{"123456789", 12739, "check value 0x31C3"},
		{"foo", 12182, "whole"},
		{"bar", 5061, "whole"},
		{"hello", 866, "whole"},
		{"a", 15495, "whole"},
		{"user1000", 3443, "whole"},
		{"{user1000}.following", 3443, "tag"},
		{"{user1000}.followers", 3443, "tag"},
		{"foo{}{bar}", 8363, "empty first tag hashes the whole key"},
		{"{}", 15257, "empty tag hashes the whole key"},
		{"{}foo", 9500, "empty tag hashes the whole key"},
		{"foo{{bar}}zap", 4015, "the tag is {bar"},
		{"foo{bar}{zap}", 5061, "the first tag counts"},
		{"foo{bar", 15278, "no closing brace"},
		{"}{", 12793, "closer precedes opener"},
		{"a}{b", 11640, "no closer after the opener"},
		{"}a{b}", 3300, "tag b"},
		{"{a}b}", 15495, "tag a"},
	} {
		if got := Slot([]byte(tt.key)); got != tt.want {
			t.Errorf("Slot(%q) = %d, want %d (%s)", tt.key, got, tt.want, tt.why)
		}
	}
}

// The table-driven CRC agrees with the definition, bit by bit, at every length
// up to several blocks.
func TestCRC16AgreesWithDefinition(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 70)
	for n := range len(buf) + 1 {
		for range 20 {
			for i := range buf[:n] {
				buf[i] = byte(rnd.Uint32())
			}
			var want uint16
			for _, b := range buf[:n] {
				want ^= uint16(b) << 8
				for range 8 {
					top := want & 0x8000
					want <<= 1
					if top != 0 {
						want ^= poly
					}
				}
			}
			if got := crc16(buf[:n]); got != want {
				t.Fatalf("crc16(%x) = %#04x, want %#04x", buf[:n], got, want)
			}
		}
	}
}

func TestPatternSlot(t *testing.T) {
	slot := func(s string) int { return int(Slot([]byte(s))) }
	for _, tt := range []struct {
		name, pattern string
		want          int
	}{
		{"a plain name is hashed whole", "foo", slot("foo")},
		{"a star before any tag", "*{tag}", AnySlot},
		{"a star after a complete tag", "{tag}*", slot("tag")},
		{"specials after a complete tag", `x{tag}?[a]\*`, slot("tag")},
		{"a star inside the tag", "{t*g}", AnySlot},
		{"a question mark", "fo?", AnySlot},
		{"a class", "fo[o]", AnySlot},
		{"a backslash", `fo\o`, AnySlot},
		{"an empty first tag without specials", "{}{tag}", slot("{}{tag}")},
		{"an empty first tag with a special", "{}{tag}*", AnySlot},
		{"an open brace never closed", "{tag", slot("{tag")},
		{"a closer before the opener", "}{tag}*", slot("tag")},
		{"a brace inside the tag", "{{bar}}*", slot("{bar")},
		{"the empty pattern", "", 0},
	} {
		if got := PatternSlot([]byte(tt.pattern)); got != tt.want {
			t.Errorf("%s: PatternSlot(%q) = %d, want %d", tt.name, tt.pattern, got, tt.want)
		}
	}
}

// A pattern without special bytes is a key: both functions must agree on it.
func FuzzSlotAgreesWithPatternSlot(f *testing.F) {
	for _, s := range []string{"", "foo", "{a}b", "{}{a}", "}{", "x{{y}}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		slot := Slot(key)
		if slot >= Count {
			t.Fatalf("Slot(%q) = %d", key, slot)
		}
		if bytes.ContainsAny(key, `*?[\`) {
			return
		}
		if got := PatternSlot(key); got != int(slot) {
			t.Errorf("PatternSlot(%q) = %d, Slot gives %d", key, got, slot)
		}
	})
}

func TestSlotDoesNotAllocate(t *testing.T) {
	key := []byte("{user1000}.following")
	if n := testing.AllocsPerRun(100, func() { Slot(key) }); n != 0 {
		t.Errorf("Slot allocates %v times", n)
	}
}

func BenchmarkSlot(b *testing.B) {
	for _, key := range []string{"key:123456", "{user1000}.following", "session:0123456789abcdef0123456789abcdef"} {
		b.Run(key, func(b *testing.B) {
			k := []byte(key)
			b.SetBytes(int64(len(k)))
			b.ReportAllocs()
			var sum uint16
			for b.Loop() {
				sum += Slot(k)
			}
			_ = sum
		})
	}
}
